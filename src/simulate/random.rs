//! Seeded randomness: independent ChaCha streams for things that are drawn one after another, and smooth noise for
//! quantities that must be known at any time, past or future, without having been drawn before.
//!
//! Each purpose has its own stream, so that more sensors do not change the weather. Same seed, same bits: integers
//! become reals by exact division, logarithm and sine come from `libm`.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::f64::consts::PI;

/// What a stream of numbers is used for; part of a simulation's definition, so the numbers stay.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Fleet = 1,
    Noise = 2,
    Channel = 3,
    Ripple = 4,
    Events = 5,
}

/// One stream of numbers.
#[derive(Clone, Debug)]
pub(super) struct Random {
    generator: ChaCha8Rng,
    /// The second value of the last pair of gaussians.
    spare: Option<f64>,
}

impl Random {
    pub(super) fn new(seed: u64, purpose: Purpose) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(purpose as u64);
        Self { generator, spare: None }
    }

    /// Uniform in [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        unit_of(self.generator.next_u64())
    }

    /// Uniform in [low, high).
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform whole milliseconds, both ends included.
    pub(super) fn milliseconds(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1) as usize) as i64
    }

    /// Uniform index below `count`, which must not be 0; the bias of the remainder is below 2⁻³².
    pub(super) fn below(&mut self, count: usize) -> usize {
        assert!(count > 0, "a choice among nothing");
        (self.generator.next_u64() % count as u64) as usize
    }

    pub(super) fn happens(&mut self, share: f64) -> bool {
        self.unit() < share
    }

    /// Standard normal (Box and Muller, 1958).
    pub(super) fn gaussian(&mut self) -> f64 {
        if let Some(value) = self.spare.take() {
            return value;
        }
        // 1 - u lies in (0, 1], so the logarithm is finite.
        let radius = (-2.0 * libm::log(1.0 - self.unit())).sqrt();
        let (sin, cos) = libm::sincos(2.0 * PI * self.unit());
        self.spare = Some(radius * sin);
        radius * cos
    }
}

/// Smooth noise over time: a function of (seed, key, time) alone, so any moment can be asked for in any order.
#[derive(Clone, Copy, Debug)]
pub(super) struct SmoothNoise {
    seed: u64,
}

impl SmoothNoise {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// About standard normal, varying over `scale_ms`: gaussian-like values at knots, blended so that value and slope
    /// are continuous and the variance is the same between knots.
    pub(super) fn at(&self, key: u64, scale_ms: i64, time_ms: i64) -> f64 {
        let knot = time_ms.div_euclid(scale_ms);
        let x = time_ms.rem_euclid(scale_ms) as f64 / scale_ms as f64;
        let blend = x * x * (3.0 - 2.0 * x);
        let (a, b) = (1.0 - blend, blend);
        (a * self.knot(key, scale_ms, knot) + b * self.knot(key, scale_ms, knot + 1)) / (a * a + b * b).sqrt()
    }

    /// Sum of twelve uniforms less six would need twelve draws; four give a bounded bell of variance one.
    fn knot(&self, key: u64, scale_ms: i64, knot: i64) -> f64 {
        let mut state = mix(self.seed ^ mix(key ^ mix(scale_ms as u64 ^ mix(knot as u64))));
        let mut sum = 0.0;
        for _ in 0..4 {
            state = mix(state);
            sum += unit_of(state) - 0.5;
        }
        sum * 3.0_f64.sqrt()
    }
}

fn unit_of(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// SplitMix64 (Steele, Lea, Flood, 2014): a bijection that scatters neighbouring numbers.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(values: impl Iterator<Item = f64>) -> (f64, f64) {
        let values: Vec<f64> = values.collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        (mean, (values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / values.len() as f64).sqrt())
    }

    #[test]
    fn gaussians_have_mean_zero_and_deviation_one() {
        let mut random = Random::new(7, Purpose::Noise);
        let values: Vec<f64> = (0..100_000).map(|_| random.gaussian()).collect();
        let (mean, deviation) = moments(values.iter().copied());
        assert!(mean.abs() < 0.01 && (deviation - 1.0).abs() < 0.01, "mean {mean}, deviation {deviation}");
        let beyond_two = values.iter().filter(|v| v.abs() > 1.959_964).count() as f64 / 1e5;
        assert!((beyond_two - 0.05).abs() < 0.003, "{beyond_two} lie beyond 1.96 sigma");
    }

    #[test]
    fn smooth_noise_has_unit_variance_and_no_jumps() {
        let noise = SmoothNoise::new(3);
        let (mean, deviation) = moments((0..200_000).map(|i| noise.at(1, 60_000, i * 7_001)));
        assert!(mean.abs() < 0.06 && (deviation - 1.0).abs() < 0.05, "mean {mean}, deviation {deviation}");
        let largest_step =
            (-5_000..5_000).map(|i| (noise.at(1, 60_000, i * 100) - noise.at(1, 60_000, (i + 1) * 100)).abs()).fold(0.0, f64::max);
        assert!(largest_step < 0.02, "a step of {largest_step} in a six-hundredth of the scale");
    }

    #[test]
    fn purposes_and_seeds_have_streams_of_their_own() {
        let first = |seed, purpose| Random::new(seed, purpose).unit();
        assert_eq!(first(1, Purpose::Noise).to_bits(), first(1, Purpose::Noise).to_bits());
        assert_ne!(first(1, Purpose::Noise).to_bits(), first(1, Purpose::Channel).to_bits());
        assert_ne!(first(1, Purpose::Noise).to_bits(), first(2, Purpose::Noise).to_bits());
    }
}
