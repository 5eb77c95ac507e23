//! Who covers what an outage leaves open: the units that are left, each by its share.

use super::Cover;
use crate::case::Case;
use gridflow_inputs::network::BusKind;

/// A total below this share of a component's has nobody behind it.
const NOBODY: f64 = 1e-9;

/// Shares of a case's units, by bus; those of a component add up to 1.
#[derive(Clone, Debug)]
pub(super) struct Participation {
    /// Lowest bus of each bus's component.
    pub(super) component: Vec<usize>,
    /// Of each bus when power is missing.
    upward: Vec<f64>,
    /// Of each bus when there is too much.
    downward: Vec<f64>,
    /// The share of each unit in its bus's component, likewise.
    unit_upward: Vec<f64>,
    unit_downward: Vec<f64>,
}

impl Participation {
    pub(super) fn new(case: &Case, cover: Cover) -> Self {
        let component = case.components();
        let capacity = Vec::from_iter(case.generators.iter().map(|unit| unit.p_max.max(0.0)));
        let (up, down) = match cover {
            Cover::Capacity => (capacity.clone(), capacity.clone()),
            Cover::Headroom => (
                case.generators.iter().map(|unit| (unit.p_max - unit.p).max(0.0)).collect(),
                case.generators.iter().map(|unit| (unit.p - unit.p_min).max(0.0)).collect(),
            ),
        };
        let (upward, unit_upward) = shares(case, &component, up, &capacity);
        let (downward, unit_downward) = shares(case, &component, down, &capacity);
        Self { component, upward, downward, unit_upward, unit_downward }
    }

    /// Share of each bus in covering `missing` power (negative: too much).
    pub(super) fn buses(&self, missing: f64) -> &[f64] {
        if missing >= 0.0 { &self.upward } else { &self.downward }
    }

    /// Share of each unit.
    pub(super) fn units(&self, missing: f64) -> &[f64] {
        if missing >= 0.0 { &self.unit_upward } else { &self.unit_downward }
    }

    /// Whether a bus takes part in balancing whatever is open.
    pub(super) fn balances(&self, bus: usize) -> bool {
        self.upward[bus] > NOBODY || self.downward[bus] > NOBODY
    }

    /// What the units outside of `lost` cover of one per unit, given the lost share; none when that is nobody.
    pub(super) fn scale(lost_share: f64) -> Option<f64> {
        let left = 1.0 - lost_share;
        (left > NOBODY).then(|| 1.0 / left)
    }
}

/// Shares by bus and by unit of `weights`; of `capacity` where they are all zero, and where that is too of the reference bus.
fn shares(case: &Case, component: &[usize], weights: Vec<f64>, capacity: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let n = case.buses.len();
    let total = |weights: &[f64]| {
        let mut total = vec![0.0; n];
        case.generators.iter().zip(weights).for_each(|(unit, weight)| total[component[unit.bus]] += weight);
        total
    };
    let (own, fallback) = (total(&weights), total(capacity));
    let (mut buses, mut units) = (vec![0.0; n], weights);
    for ((unit, weight), capacity) in case.generators.iter().zip(&mut units).zip(capacity) {
        let lowest = component[unit.bus];
        *weight = if own[lowest] > 0.0 {
            *weight / own[lowest]
        } else if fallback[lowest] > 0.0 {
            capacity / fallback[lowest]
        } else {
            0.0
        };
        buses[unit.bus] += *weight;
    }
    for (index, bus) in case.buses.iter().enumerate() {
        let lowest = component[index];
        if bus.kind == BusKind::Reference && own[lowest] <= 0.0 && fallback[lowest] <= 0.0 {
            buses[index] = 1.0;
        }
    }
    (buses, units)
}
