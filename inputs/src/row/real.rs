//! Real numbers as rows hold them: finite, ordered, with one zero.

use super::values::take;
use super::{Canonical, DecodeError, Field, Storage};
use crate::units::MAX_MAGNITUDE;

/// A finite real number with a total order: network parameters and cost coefficients, never telemetry or money.
///
/// Negative zero is stored as zero, so that equal numbers have equal bytes.
#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Real(f64);

impl Real {
    /// Zero.
    pub const ZERO: Self = Self(0.0);
    /// One.
    pub const ONE: Self = Self(1.0);

    /// `None` when `value` is not finite.
    #[must_use]
    pub fn new(value: f64) -> Option<Self> {
        value.is_finite().then_some(Self(value + 0.0))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

impl PartialEq for Real {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}
impl Eq for Real {}
impl PartialOrd for Real {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Real {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}
impl std::hash::Hash for Real {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl Canonical for Real {
    fn describe(schema: &mut String) {
        schema.push_str("Real");
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_bits().to_le_bytes());
    }
    fn read(from: &mut &[u8]) -> Result<Self, DecodeError> {
        let bytes = take(from, 8, "a real number")?;
        let bits = u64::from_le_bytes(bytes.try_into().expect("eight bytes were taken"));
        match Self::new(f64::from_bits(bits)) {
            Some(real) if real.0.to_bits() == bits => Ok(real),
            _ => Err(DecodeError::Malformed("a real number that is not finite, or negative zero")),
        }
    }
    fn implausible(&self) -> Option<i64> {
        // The cast saturates.
        (self.0.abs() > MAX_MAGNITUDE as f64).then_some(self.0 as i64)
    }
}
impl Field for Real {
    const STORAGE: Storage = Storage::Bytes;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_is_finite_and_has_one_zero() {
        assert_eq!(Real::new(f64::NAN), None);
        assert_eq!(Real::new(f64::NEG_INFINITY), None);
        assert_eq!(Real::new(-0.0), Some(Real::ZERO));
    }
}
