//! What slack costs: far more than any fuel, and more for the more critical class.
//!
//! With F the steepest marginal cost in the case: surplus and a missed storage target cost 10 F, a load 20 F · 3^k with
//! k = 0 for interruptible to 4 for critical, and within a class up to half as much again by rank (interruption cost,
//! then id). A MW of a class is so never shed to spare less than two of the next. That a class is spared wherever the
//! others suffice, at any effort, is seen to in `rounds.rs`: wider steps here would only cost the solver its digits.

use super::cost::steepest;
use super::{Options, StorageEnd};
use crate::case::Case;
use gridflow_inputs::network::LoadClass;

/// Classes from the first shed to the last.
pub(crate) const SHED_ORDER: [LoadClass; 5] =
    [LoadClass::Interruptible, LoadClass::Industrial, LoadClass::Commercial, LoadClass::Residential, LoadClass::Critical];

/// Place of a class in [`SHED_ORDER`].
pub(super) fn place(class: LoadClass) -> usize {
    SHED_ORDER.iter().position(|other| *other == class).expect("every class has its place")
}

/// Indices of the loads in the order in which they give way: by class, within one the cheapest interruption first, then
/// the lowest id.
pub(crate) fn in_shed_order(case: &Case) -> Vec<usize> {
    let mut loads = Vec::from_iter(0..case.loads.len());
    let rank = |load: usize| {
        let load = &case.loads[load];
        (place(load.class), load.interruption_cost_per_mwh, load.id)
    };
    loads.sort_by(|a, b| {
        let ((class, cost, id), (other_class, other_cost, other_id)) = (rank(*a), rank(*b));
        class.cmp(&other_class).then(cost.total_cmp(&other_cost)).then(id.cmp(&other_id))
    });
    loads
}

/// Currency per MWh.
pub(super) struct Penalties {
    pub(super) load: Vec<f64>,
    pub(super) surplus: f64,
    pub(super) storage_end: f64,
}

impl Penalties {
    pub(super) fn new(case: &Case, options: &Options) -> Self {
        let base = case.base_mva;
        let units = case.generators.iter().map(|unit| steepest(&unit.cost, unit.p_min * base, unit.p_max * base));
        let storages = case.storages.iter().map(|storage| storage.wear_cost_per_mwh);
        let ends = options.storage_end.iter().map(|end| if let StorageEnd::Value(value) = end { value.abs() } else { 0.0 });
        let dearest = if options.ignore_cost { 1.0 } else { units.chain(storages).chain(ends).fold(1.0, f64::max) };
        let mut load = vec![0.0; case.loads.len()];
        let mut class_price = 20.0 * dearest;
        let order = in_shed_order(case);
        for class in SHED_ORDER {
            let members: Vec<usize> = order.iter().copied().filter(|index| case.loads[*index].class == class).collect();
            for (rank, index) in members.iter().enumerate() {
                load[*index] = class_price * (1.0 + 0.5 * rank as f64 / members.len() as f64);
            }
            class_price *= 3.0;
        }
        Self { load, surplus: 10.0 * dearest, storage_end: 10.0 * dearest }
    }
}
