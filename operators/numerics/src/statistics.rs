//! Distributions that decide whether a deviation is chance: the χ² distribution by the regularised incomplete gamma
//! function, its quantiles by inverting that to the last digits of a double.
//!
//! `P(a, x)` by its series below x = a + 1, by the continued fraction of its complement above (Abramowitz and Stegun
//! 6.5.29, 6.5.31; the latter in Lentz's form).

/// Terms after which series and fraction stand to double precision for all a below 10⁸.
const TERMS: usize = 200_000;

/// Regularised lower and upper incomplete gamma functions, P(a, x) and Q(a, x) = 1 - P, each to full relative precision
/// on its own side of x = a + 1. NaN unless a > 0 and x ≥ 0.
#[must_use]
pub fn incomplete_gamma(a: f64, x: f64) -> (f64, f64) {
    if !(a > 0.0 && x >= 0.0 && a.is_finite()) {
        return (f64::NAN, f64::NAN);
    }
    if x == 0.0 {
        return (0.0, 1.0);
    }
    if x == f64::INFINITY {
        return (1.0, 0.0);
    }
    let front = libm::exp(a * libm::log(x) - x - libm::lgamma(a));
    if x < a + 1.0 {
        let (mut term, mut sum) = (1.0 / a, 1.0 / a);
        for k in 1..TERMS {
            term *= x / (a + k as f64);
            sum += term;
            if term < sum * 1e-17 {
                break;
            }
        }
        let lower = (front * sum).min(1.0);
        (lower, 1.0 - lower)
    } else {
        // Lentz: Q = front / (x + 1 - a - 1 (1 - a) / (x + 3 - a - ...)).
        const TINY: f64 = 1e-300;
        let mut b = x + 1.0 - a;
        let mut c = 1.0 / TINY;
        let mut d = 1.0 / b;
        let mut fraction = d;
        for k in 1..TERMS {
            let numerator = -(k as f64) * (k as f64 - a);
            b += 2.0;
            d = numerator * d + b;
            d = 1.0 / if d.abs() < TINY { TINY } else { d };
            c = b + numerator / c;
            c = if c.abs() < TINY { TINY } else { c };
            fraction *= c * d;
            if (c * d - 1.0).abs() < 1e-16 {
                break;
            }
        }
        let upper = (front * fraction).min(1.0);
        (1.0 - upper, upper)
    }
}

/// The value that a χ² variable of `degrees` degrees of freedom exceeds with probability `1 - probability`.
///
/// None without degrees of freedom or unless 0 < `probability` < 1.
#[must_use]
pub fn chi_squared_quantile(probability: f64, degrees: usize) -> Option<f64> {
    if degrees == 0 || !(probability > 0.0 && probability < 1.0) {
        return None;
    }
    let a = 0.5 * degrees as f64;
    let below = |x: f64| {
        let (lower, upper) = incomplete_gamma(a, 0.5 * x);
        if probability < 0.5 { lower < probability } else { upper > 1.0 - probability }
    };
    let (mut low, mut high) = (0.0, 2.0 * a + 10.0);
    while below(high) {
        (low, high) = (high, 2.0 * high);
    }
    // Halving to neighbouring numbers: at most 60 odd steps from here, more only for tiny quantiles.
    for _ in 0..2000 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if below(middle) { low = middle } else { high = middle }
    }
    Some(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_equal_published_tables_to_their_last_digit() {
        let table = [(10, 23.21), (20, 37.57), (50, 76.15), (100, 135.81), (1000, 1106.97)];
        for (degrees, value) in table {
            let found = chi_squared_quantile(0.99, degrees).unwrap();
            assert!((found - value).abs() <= 0.005, "{degrees}: {found}");
        }
        // Two degrees of freedom have the closed form -2 ln(1 - p).
        for p in [0.001, 0.5, 0.95, 0.99, 0.9999] {
            let found = chi_squared_quantile(p, 2).unwrap();
            assert!((found + 2.0 * libm::log(1.0 - p)).abs() < 1e-12 * found.max(1.0), "{p}: {found}");
        }
    }

    #[test]
    fn gamma_equals_its_closed_forms_and_both_sides_add_up() {
        for x in [0.0, 0.01, 0.7, 1.9, 2.1, 30.0] {
            let (lower, upper) = incomplete_gamma(1.0, x);
            assert!((upper - libm::exp(-x)).abs() < 1e-15 && (lower + upper - 1.0).abs() < 1e-15);
            let (lower, _) = incomplete_gamma(0.5, x);
            assert!((lower - libm::erf(x.sqrt())).abs() < 1e-14);
        }
    }

    #[test]
    fn large_degrees_approach_the_normal_distribution_and_small_probabilities_still_invert() {
        let degrees = 60_000;
        let n = f64::from(degrees);
        let cube = 1.0 - 2.0 / (9.0 * n) + 2.326_347_874 * (2.0 / (9.0 * n)).sqrt();
        let found = chi_squared_quantile(0.99, degrees as usize).unwrap();
        assert!((found / (n * cube * cube * cube) - 1.0).abs() < 1e-6, "{found}");
        let tiny = chi_squared_quantile(1e-12, 3).unwrap();
        assert!((incomplete_gamma(1.5, 0.5 * tiny).0 / 1e-12 - 1.0).abs() < 1e-9);
    }

    #[test]
    fn what_has_no_quantile_gives_none() {
        assert_eq!(chi_squared_quantile(0.99, 0), None);
        assert_eq!(chi_squared_quantile(1.0, 3), None);
        assert_eq!(chi_squared_quantile(f64::NAN, 3), None);
        assert!(incomplete_gamma(-1.0, 1.0).0.is_nan());
    }
}
