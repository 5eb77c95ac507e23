//! Fixed-point quantities: integers that order, hash and add up the same in any order.
//!
//! Rows carry these; floating point exists only inside `numerics`. One unit per type, the unit in the name.
//! Conversion from a decimal rounds half to even; a magnitude above [`MAX_MAGNITUDE`] is refused, so that
//! sums of a billion rows still fit and a corrupt value never looks like a reading.

use serde::{Deserialize, Serialize};

/// Largest magnitude a fixed-point value may have in a row: 10^15 of its smallest unit.
pub const MAX_MAGNITUDE: i64 = 1_000_000_000_000_000;

/// Rounds half to even and refuses what is not finite or beyond [`MAX_MAGNITUDE`].
#[must_use]
pub fn to_fixed(value: f64, units_per_one: f64) -> Option<i64> {
    let scaled = (value * units_per_one).round_ties_even();
    (scaled.is_finite() && scaled.abs() <= MAX_MAGNITUDE as f64).then_some(scaled as i64)
}

/// `numerator / denominator` on integers, half to even: the one rounding rule for quotients of rows.
///
/// # Panics
/// When `denominator` is not positive.
#[must_use]
pub fn divide_half_even(numerator: i128, denominator: i128) -> i128 {
    assert!(denominator > 0, "a mean needs a positive count, got {denominator}");
    let quotient = numerator.div_euclid(denominator);
    let twice = 2 * numerator.rem_euclid(denominator);
    if twice > denominator || (twice == denominator && quotient % 2 != 0) { quotient + 1 } else { quotient }
}

macro_rules! quantity {
    ($($(#[$doc:meta])* $name:ident, $one:ident = $per_one:expr, $from:ident, $to:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub i64);

        impl $name {
            /// Smallest units in one of the customary unit.
            pub const $one: f64 = $per_one;

            /// From the customary unit, rounded half to even; `None` when not finite or out of range.
            #[must_use]
            pub fn $from(value: f64) -> Option<Self> {
                to_fixed(value, $per_one).map(Self)
            }

            /// In the customary unit.
            #[must_use]
            pub fn $to(self) -> f64 {
                self.0 as f64 / $per_one
            }
        }

        impl std::ops::Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
        }

        impl std::ops::Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(self.0 - other.0)
            }
        }

        impl std::ops::Neg for $name {
            type Output = Self;
            fn neg(self) -> Self {
                Self(-self.0)
            }
        }

        impl std::iter::Sum for $name {
            fn sum<I: Iterator<Item = Self>>(values: I) -> Self {
                Self(values.map(|value| value.0).sum())
            }
        }

        $crate::row::integer_field!($name);
    )*};
}

quantity! {
    /// Active power in milliwatts. Positive flows into the bus; `load_` and `charge_` values are positive magnitudes.
    MilliWatts, PER_MW = 1e9, from_mw, mw;
    /// Reactive power in millivars.
    MilliVars, PER_MVAR = 1e9, from_mvar, mvar;
    /// Apparent power in millivolt-amperes.
    MilliVoltAmperes, PER_MVA = 1e9, from_mva, mva;
    /// Energy in milliwatt-hours.
    MilliWattHours, PER_MWH = 1e9, from_mwh, mwh;
    /// Voltage in microvolts, line to line.
    MicroVolts, PER_KV = 1e9, from_kv, kv;
    /// Current in microamperes.
    MicroAmperes, PER_KA = 1e9, from_ka, ka;
    /// Frequency in microhertz.
    MicroHertz, PER_HZ = 1e6, from_hz, hz;
    /// Angle in microradians.
    MicroRadians, PER_RAD = 1e6, from_rad, rad;
    /// Temperature in thousandths of a degree Celsius.
    MilliCelsius, PER_DEG_C = 1e3, from_deg_c, deg_c;
    /// A ratio in millionths.
    PartsPerMillion, PER_ONE = 1e6, from_ratio, ratio;
    /// Money in millionths of the region's currency.
    MicroCurrency, PER_UNIT = 1e6, from_currency, currency;
    /// Price of energy in millionths of the region's currency per megawatt-hour.
    MicroPerMwh, PER_UNIT_PER_MWH = 1e6, from_per_mwh, per_mwh;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversion_rounds_half_to_even_and_refuses_what_is_no_reading() {
        assert_eq!(MilliCelsius::from_deg_c(0.0005), Some(MilliCelsius(0)));
        assert_eq!(MilliCelsius::from_deg_c(0.0015), Some(MilliCelsius(2)));
        assert_eq!(MilliWatts::from_mw(f64::NAN), None);
        assert_eq!(MilliWatts::from_mw(f64::INFINITY), None);
        assert_eq!(MilliWatts::from_mw(1_000_001.0), None);
        assert_eq!(MilliWatts::from_mw(-1_000_000.0), Some(MilliWatts(-MAX_MAGNITUDE)));
    }

    #[test]
    fn a_quotient_rounds_half_to_even_on_both_sides_of_zero() {
        let rounded: Vec<i128> = [-5, -3, -1, 1, 3, 5].iter().map(|n| divide_half_even(*n, 2)).collect();
        assert_eq!(rounded, [-2, -2, 0, 0, 2, 2]);
        assert_eq!(divide_half_even(-7, 3), -2);
        assert_eq!(divide_half_even(8, 3), 3);
    }
}
