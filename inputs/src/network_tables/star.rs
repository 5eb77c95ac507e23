//! A transformer of three windings as a star: a bus in the middle and a branch to each winding.
//!
//! Nameplates state the short-circuit impedance of each pair of windings, the third being open. Of impedances on one base the
//! star's are `Z_h = (Z_hm + Z_hl - Z_ml) / 2` and so on; one of them is often near 0 or below.

use crate::ids::{BranchId, BusId};
use crate::network::{Branch, Bus, BusKind};
use crate::network_file::RAD_PER_DEG;
use crate::row::Real;
use crate::units::MilliVoltAmperes;

/// Least impedance of an arm, per unit.
const ARM_MIN: f64 = 1e-6;

/// What the nameplate says of a pair of windings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Short-circuit impedance in percent.
    pub z_percent: f64,
    /// Its real part: copper losses in percent.
    pub r_percent: f64,
    /// Power in MVA that the percents are of.
    pub base_mva: f64,
}

/// The nameplate; windings in the order high, medium, low voltage.
#[derive(Clone, Debug, PartialEq)]
pub struct ThreeWinding {
    /// Its name.
    pub name: String,
    /// Bus of each winding; the star's middle takes base voltage and zone of the first.
    pub buses: [BusId; 3],
    /// Number of the middle.
    pub star_bus: BusId,
    /// Number of each branch.
    pub branches: [BranchId; 3],
    /// Rating of each winding.
    pub ratings: [MilliVoltAmperes; 3],
    /// Off-nominal ratio of each winding.
    pub taps: [Real; 3],
    /// High to medium, high to low, medium to low.
    pub pairs: [Pair; 3],
    /// Whether it is in service.
    pub in_service: bool,
}

/// Why a nameplate is no star.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StarError {
    /// A pair whose impedance makes no sense.
    #[error("windings {0}: the impedance must be above 0, its real part between 0 and it, the base power above 0")]
    Pair(&'static str),
    /// The percents are beyond what a row may hold.
    #[error("the impedances are beyond what a row may hold")]
    Range,
}

/// The star of a transformer on a base power: its middle, and the branches from the windings to it.
///
/// # Errors
/// When a pair makes no sense.
pub fn star(transformer: &ThreeWinding, hv: &Bus, base_mva: f64) -> Result<(Bus, [Branch; 3]), StarError> {
    let mut pairs = [(0.0, 0.0); 3];
    for ((pair, name), per_unit) in transformer.pairs.iter().zip(["hv-mv", "hv-lv", "mv-lv"]).zip(&mut pairs) {
        let Pair { z_percent: z, r_percent: r, base_mva: base } = *pair;
        if !(z > 0.0 && (0.0..=z).contains(&r) && base > 0.0 && (z + base).is_finite()) {
            return Err(StarError::Pair(name));
        }
        let to_base = base_mva / base / 100.0;
        *per_unit = (r * to_base, (z * z - r * r).sqrt() * to_base);
    }
    let [hm, hl, ml] = pairs;
    let half = |a: (f64, f64), b: (f64, f64), c: (f64, f64)| ((a.0 + b.0 - c.0) / 2.0, (a.1 + b.1 - c.1) / 2.0);
    let arms = [half(hm, hl, ml), half(hm, ml, hl), half(hl, ml, hm)];
    let real = |value: f64| Real::new(value).ok_or(StarError::Range);
    let middle = Bus {
        id: transformer.star_bus,
        valid_from_ms: 0,
        name: format!("star of {}", transformer.name),
        kind: BusKind::Load,
        zone: hv.zone,
        base_voltage: hv.base_voltage,
        // Nothing is connected there that could suffer.
        v_min_pu: Real::ZERO,
        v_max_pu: real(2.0)?,
        v_start_pu: hv.v_start_pu,
        angle_start_rad: hv.angle_start_rad,
    };
    let arm = |winding: usize| -> Result<Branch, StarError> {
        let (r, x) = arms[winding];
        // A nameplate may leave nothing for an arm, or what rounding leaves of nothing: that is a small impedance, not none.
        let x = if r.abs().max(x.abs()) < ARM_MIN { ARM_MIN } else { x };
        Ok(Branch {
            id: transformer.branches[winding],
            valid_from_ms: 0,
            name: format!("{} {}", transformer.name, ["hv", "mv", "lv"][winding]),
            from: transformer.buses[winding],
            to: transformer.star_bus,
            r_pu: real(r)?,
            x_pu: real(x)?,
            b_pu: Real::ZERO,
            tap_ratio: transformer.taps[winding],
            shift_rad: Real::ZERO,
            rating: transformer.ratings[winding],
            rating_long_term: MilliVoltAmperes(0),
            rating_short_term: MilliVoltAmperes(0),
            angle_min_rad: real(-360.0 * RAD_PER_DEG)?,
            angle_max_rad: real(360.0 * RAD_PER_DEG)?,
            in_service: transformer.in_service,
        })
    };
    Ok((middle, [arm(0)?, arm(1)?, arm(2)?]))
}
