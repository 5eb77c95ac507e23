//! What the network readers share: their result, and the stated rules for what network files do not say.
//!
//! The rules are fixed functions of ids and fuels, so that a file always becomes the same rows. Costs are in the
//! region's currency, emissions in tonnes of CO2 per MWh.

use crate::ids::{BranchId, SwitchId};
use crate::network::{Branch, EquipmentKind, Fuel, LoadClass, Network, Side, Switch, SwitchKind, Transformer};
use crate::row::Real;
use crate::units::{MAX_MAGNITUDE, MicroPerMwh, MilliVoltAmperes, MilliWatts};

/// Radians in a degree.
pub const RAD_PER_DEG: f64 = std::f64::consts::PI / 180.0;

/// A file, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkFile {
    /// The network's name.
    pub name: String,
    /// Base of its per-unit values.
    pub base_power: MilliVoltAmperes,
    /// Its rows, each kind sorted by id, valid from event time 0.
    pub network: Network,
    /// What was passed over or changed, in words.
    pub warnings: Vec<String>,
}

/// Class of the load at a bus, for files that state none: of any 100 consecutive bus numbers 5 are critical, 45
/// residential, 25 commercial, 15 industrial and 10 interruptible.
///
/// The share is `(37 · bus + 80) mod 100`; 37 has no factor in common with 100, so neighbours differ.
#[must_use]
pub fn load_class(bus: u32) -> LoadClass {
    match (37 * u64::from(bus) + 80) % 100 {
        0..=4 => LoadClass::Critical,
        5..=49 => LoadClass::Residential,
        50..=74 => LoadClass::Commercial,
        75..=89 => LoadClass::Industrial,
        _ => LoadClass::Interruptible,
    }
}

/// What an interruption costs by class, for files that state nothing: the earlier shed, the cheaper, and all of them
/// dearer than any generation.
#[must_use]
pub fn interruption_cost(class: LoadClass) -> MicroPerMwh {
    let per_mwh = match class {
        LoadClass::Critical => 50_000,
        LoadClass::Residential => 12_000,
        LoadClass::Commercial => 8_000,
        LoadClass::Industrial => 4_000,
        LoadClass::Interruptible => 1_000,
    };
    MicroPerMwh(per_mwh * 1_000_000)
}

/// Emitted CO2 by fuel, for files that state nothing: coal 0.9, gas 0.4, oil 0.7 t/MWh, the others 0.
#[must_use]
pub fn emission_t_per_mwh(fuel: Fuel) -> Real {
    let rate = match fuel {
        Fuel::Coal => 0.9,
        Fuel::Gas => 0.4,
        Fuel::Oil => 0.7,
        _ => 0.0,
    };
    Real::new(rate).expect("a literal is finite")
}

/// Adds one closed breaker per branch (its `from` side, same number), per generating unit and per storage unit.
///
/// A unit's breaker has the number of its row plus 100,000; in a file of 100,000 branches or more, plus the next power
/// of ten above their count, so that numbers never meet. Storage units count with the rows of the generator table.
pub(crate) fn add_breakers(network: &mut Network) {
    let last_branch = network.branches.iter().map(|branch| branch.id.0).max().unwrap_or(0);
    let mut first = 100_000u32;
    while first <= last_branch {
        first = first.saturating_mul(10);
    }
    let breaker = |id: u32, name: String, equipment, equipment_id, side| Switch {
        id: SwitchId(id),
        valid_from_ms: 0,
        name,
        kind: SwitchKind::Breaker,
        equipment,
        equipment_id,
        side,
        normally_closed: true,
    };
    let mut switches = Vec::with_capacity(network.branches.len() + network.generators.len() + network.storages.len());
    for branch in &network.branches {
        switches.push(breaker(branch.id.0, format!("breaker of {}", branch.name), EquipmentKind::Branch, branch.id.0, Side::From));
    }
    for unit in &network.generators {
        let id = first.saturating_add(unit.id.0);
        switches.push(breaker(id, format!("breaker of {}", unit.name), EquipmentKind::Generator, unit.id.0, Side::None));
    }
    for unit in &network.storages {
        let id = first.saturating_add(unit.id.0);
        switches.push(breaker(id, format!("breaker of {}", unit.name), EquipmentKind::Storage, unit.id.0, Side::None));
    }
    switches.sort_by_key(|switch| switch.id);
    network.switches = switches;
}

/// The transformer of a branch for which the file states a tap ratio: fixed at it, since files give no range.
pub(crate) fn fixed_transformer(branch: &Branch) -> Transformer {
    Transformer {
        branch: BranchId(branch.id.0),
        valid_from_ms: 0,
        rated: branch.rating,
        tap_min: branch.tap_ratio,
        tap_max: branch.tap_ratio,
        tap_step: Real::ZERO,
        controlled_bus: None,
    }
}

/// The lower convex hull of cost points in ascending order of power: the greatest convex curve that is nowhere above
/// them. Also says whether any point was dropped.
///
/// A point on the straight line between its neighbours, within a relative 1e-9, stays: it is only rounding that bends
/// the curve there.
pub(crate) fn convex_points(points: &[(f64, f64)]) -> (Vec<(f64, f64)>, bool) {
    let mut hull: Vec<(f64, f64)> = Vec::with_capacity(points.len());
    for &(x, y) in points {
        while let [.., (x0, y0), (x1, y1)] = hull[..] {
            let chord = y0 + (y - y0) * ((x1 - x0) / (x - x0));
            if y1 <= chord + 1e-9 * y1.abs() {
                break;
            }
            hull.pop();
        }
        hull.push((x, y));
    }
    let dropped = hull.len() < points.len();
    (hull, dropped)
}

/// Cost points as rows hold them; `None` when one is beyond what a row may hold.
pub(crate) fn cost_rows(points: &[(f64, f64)]) -> Option<Vec<(MilliWatts, Real)>> {
    points.iter().map(|(mw, cost)| Some((MilliWatts::from_mw(*mw)?, Real::new(*cost)?))).collect()
}

/// The greatest power a row may hold: what "unlimited" becomes where a row has no word for it.
pub(crate) const UNLIMITED: i64 = MAX_MAGNITUDE;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_hundred_neighbouring_buses_five_are_critical() {
        let mut counts = [0; 6];
        for bus in 4_294_967_195..=4_294_967_294u32 {
            counts[load_class(bus) as usize] += 1;
        }
        assert_eq!(counts, [0, 5, 45, 25, 15, 10]);
    }

    #[test]
    fn what_is_shed_later_costs_more() {
        for pair in LoadClass::ALL.windows(2) {
            assert!(interruption_cost(pair[0]) > interruption_cost(pair[1]));
        }
    }

    #[test]
    fn a_concave_corner_is_cut_off_and_a_convex_one_stays() {
        let convex = [(10.0, 100.0), (20.0, 150.0), (30.0, 250.0)];
        assert_eq!(convex_points(&convex), (convex.to_vec(), false));
        let bent = [(10.0, 100.0), (20.0, 250.0), (30.0, 300.0), (40.0, 500.0)];
        assert_eq!(convex_points(&bent), (vec![(10.0, 100.0), (30.0, 300.0), (40.0, 500.0)], true));
        let straight = [(0.0, 0.0), (0.1, 0.3), (0.2, 0.6), (0.3, 0.9)];
        assert_eq!(convex_points(&straight).0.len(), 4);
    }
}
