//! Several outages iterated side by side: Newton steps with the base case's Jacobian, corrected for each outage.
//!
//! Voltages are rectangular, `V ← V (1 + Δv) e^{jΔθ}`. A lane knows nothing of the others; when its outage is done the next one
//! takes its place.

use super::base::{Base, NONE};
use super::border::Border;
use super::correction::Correction;
use crate::case::Case;
use crate::sparse::Lanes;

/// Angles up to this many radians are rotated by their series.
const SMALL_ANGLE: f64 = 0.25;

/// An outage in a lane.
#[derive(Default)]
pub(super) struct Outage {
    /// Branches that are out.
    pub(super) branches: Vec<usize>,
    /// What that does to the Jacobian.
    pub(super) correction: Option<Correction>,
    /// The bus that lost what held its magnitude.
    pub(super) border: Option<Border>,
    /// What the units cover, times the share of each bus, in the component of this lowest bus.
    pub(super) covered: f64,
    pub(super) component: usize,
    /// A bus whose injection is another besides, and by how much: active, reactive.
    pub(super) injected: Option<(usize, [f64; 2])>,
    /// Buses that are cut off.
    pub(super) dead: Vec<usize>,
    pub(super) iterations: usize,
    pub(super) mismatch: f64,
}

/// State of all lanes.
pub(super) struct State {
    e: Vec<Lanes>,
    f: Vec<Lanes>,
    /// Right-hand sides, then steps.
    y: Vec<Lanes>,
    /// What the equation of a border leaves open; 0 without one.
    open: [f64; Lanes::COUNT],
}

impl State {
    pub(super) fn new(base: &Base) -> Self {
        let spread = |values: &[f64]| Vec::from_iter(values.iter().map(|value| Lanes([*value; Lanes::COUNT])));
        Self { e: spread(&base.e), f: spread(&base.f), y: vec![Lanes::ZERO; base.left.len()], open: [0.0; Lanes::COUNT] }
    }

    /// Puts the base case into a lane, with the equations an outage leaves open there.
    pub(super) fn enter(&mut self, base: &Base, case: &Case, lane: usize, outage: &Outage, shares: &[f64]) {
        self.e.iter_mut().zip(&base.e).for_each(|(lanes, value)| lanes.0[lane] = *value);
        self.f.iter_mut().zip(&base.f).for_each(|(lanes, value)| lanes.0[lane] = *value);
        self.y.iter_mut().zip(&base.left).for_each(|(lanes, value)| lanes.0[lane] = *value);
        self.adjust(base, case, lane, outage, shares);
    }

    /// From equations of the whole case to those without what failed, with what the units cover.
    fn adjust(&mut self, base: &Base, case: &Case, lane: usize, outage: &Outage, shares: &[f64]) {
        for &branch in &outage.branches {
            let (from, to) = (case.branches[branch].from, case.branches[branch].to);
            let voltage = |bus: usize| (self.e[bus].0[lane], self.f[bus].0[lane]);
            let powers = base.branch_power(branch, voltage(from), voltage(to));
            for (bus, (p, q)) in [from, to].into_iter().zip(powers) {
                for (unknown, power) in base.unknowns[bus].into_iter().zip([p, q]) {
                    if unknown != NONE {
                        self.y[unknown].0[lane] += power;
                    }
                }
            }
        }
        if outage.covered != 0.0 {
            for ((own, share), component) in base.unknowns.iter().zip(shares).zip(&base.component) {
                if *share != 0.0 && own[0] != NONE && *component == outage.component {
                    self.y[own[0]].0[lane] += outage.covered * share;
                }
            }
        }
        if let Some((bus, injected)) = outage.injected {
            for (unknown, value) in base.unknowns[bus].into_iter().zip(injected).filter(|(unknown, _)| *unknown != NONE) {
                self.y[unknown].0[lane] += value;
            }
        }
        for &bus in &outage.dead {
            base.unknowns[bus].into_iter().filter(|unknown| *unknown != NONE).for_each(|unknown| self.y[unknown].0[lane] = 0.0);
        }
        self.open[lane] = outage.border.as_ref().map_or(0.0, |border| border.left(base, &self.e, &self.f, lane));
    }

    /// Schedule less injection of all lanes, for the whole case.
    fn evaluate(&mut self, base: &Base) {
        let (pattern, g, b) = (&base.admittance.pattern, &base.admittance.g, &base.admittance.b);
        for (bus, own) in base.unknowns.iter().enumerate() {
            let (mut re, mut im) = (Lanes::ZERO, Lanes::ZERO);
            for slot in pattern.slots(bus) {
                let other = pattern.indices()[slot];
                let (g, b, e, f) = (g[slot], b[slot], &self.e[other].0, &self.f[other].0);
                for lane in 0..Lanes::COUNT {
                    re.0[lane] += g * e[lane] - b * f[lane];
                    im.0[lane] += g * f[lane] + b * e[lane];
                }
            }
            let (e, f) = (&self.e[bus].0, &self.f[bus].0);
            if own[0] != NONE {
                for lane in 0..Lanes::COUNT {
                    self.y[own[0]].0[lane] = base.p[bus] - (e[lane] * re.0[lane] + f[lane] * im.0[lane]);
                }
            }
            if own[1] != NONE {
                for lane in 0..Lanes::COUNT {
                    self.y[own[1]].0[lane] = base.q[bus] - (f[lane] * re.0[lane] - e[lane] * im.0[lane]);
                }
            }
        }
    }

    /// Largest mismatch of each lane; a value that is no number makes it infinite.
    pub(super) fn mismatches(&self) -> [f64; Lanes::COUNT] {
        let mut largest = [0.0; Lanes::COUNT];
        for lanes in self.y.iter().chain([&Lanes(self.open)]) {
            for (largest, value) in largest.iter_mut().zip(&lanes.0) {
                let value = value.abs();
                *largest = if value <= *largest { *largest } else { value };
            }
        }
        largest.map(|largest| if largest.is_finite() { largest } else { f64::INFINITY })
    }

    /// One step of all lanes, and what is left after it.
    pub(super) fn step(&mut self, base: &Base, case: &Case, outages: &[Option<Box<Outage>>], shares: [&[f64]; 2], vector: &mut [f64]) {
        base.factor.forward(&mut self.y);
        let mut grows = [None; Lanes::COUNT];
        for (lane, outage) in outages.iter().enumerate() {
            let Some(outage) = outage else { continue };
            if let Some(correction) = &outage.correction {
                correction.apply(base, vector, lane, &mut self.y);
            }
            if let Some(border) = &outage.border {
                grows[lane] = Some((border.bus, 1.0 + border.apply(base, vector, lane, &mut self.y, self.open[lane])));
            }
        }
        base.factor.backward(&mut self.y);
        for (lane, outage) in outages.iter().enumerate() {
            for &bus in outage.iter().flat_map(|outage| &outage.dead) {
                base.unknowns[bus].into_iter().filter(|unknown| *unknown != NONE).for_each(|unknown| self.y[unknown].0[lane] = 0.0);
            }
        }
        for (bus, own) in base.unknowns.iter().enumerate() {
            let step = |unknown: usize| if unknown == NONE { Lanes::ZERO } else { self.y[unknown] };
            rotate(&mut self.e[bus], &mut self.f[bus], &step(own[0]), &step(own[1]));
        }
        for (lane, (bus, factor)) in grows.iter().enumerate().filter_map(|(lane, grows)| Some((lane, (*grows)?))) {
            self.e[bus].0[lane] *= factor;
            self.f[bus].0[lane] *= factor;
        }
        self.evaluate(base);
        for (lane, outage) in outages.iter().enumerate() {
            if let Some(outage) = outage {
                self.adjust(base, case, lane, outage, shares[usize::from(outage.covered < 0.0)]);
            }
        }
    }

    /// Voltages of a lane.
    pub(super) fn voltages(&self, lane: usize) -> (Vec<f64>, Vec<f64>) {
        (self.e.iter().map(|lanes| lanes.0[lane]).collect(), self.f.iter().map(|lanes| lanes.0[lane]).collect())
    }
}

/// `V (1 + grow) e^{j turn}` in all lanes.
fn rotate(e: &mut Lanes, f: &mut Lanes, turn: &Lanes, grow: &Lanes) {
    let small = turn.0.iter().all(|turn| turn.abs() <= SMALL_ANGLE);
    let (mut sin, mut cos) = (Lanes::ZERO, Lanes::ZERO);
    for lane in 0..Lanes::COUNT {
        let t = turn.0[lane];
        let x = t * t;
        // To the last bit within the range: the next terms are below 1e-20.
        sin.0[lane] = t
            * (1.0
                + x * (-1.0 / 6.0
                    + x * (1.0 / 120.0 + x * (-1.0 / 5040.0 + x * (1.0 / 362_880.0 + x * (-1.0 / 39_916_800.0 + x / 6_227_020_800.0))))));
        cos.0[lane] =
            1.0 + x * (-0.5 + x * (1.0 / 24.0 + x * (-1.0 / 720.0 + x * (1.0 / 40_320.0 + x * (-1.0 / 3_628_800.0 + x / 479_001_600.0)))));
    }
    if !small {
        // Lane by lane, so that a lane has the same bits beside any others.
        for lane in (0..Lanes::COUNT).filter(|lane| turn.0[*lane].abs() > SMALL_ANGLE) {
            (sin.0[lane], cos.0[lane]) = libm::sincos(turn.0[lane]);
        }
    }
    for lane in 0..Lanes::COUNT {
        let (re, im, scale) = (e.0[lane], f.0[lane], 1.0 + grow.0[lane]);
        e.0[lane] = scale * (re * cos.0[lane] - im * sin.0[lane]);
        f.0[lane] = scale * (im * cos.0[lane] + re * sin.0[lane]);
    }
}
