//! What slack costs: far more than any fuel, and more for the more critical class.
//!
//! With F the steepest marginal cost in the case: surplus and a missed storage target cost 10 F, a load 20 F · 10^k with
//! k = 0 for interruptible to 4 for critical, and within a class up to half as much again by rank (interruption cost,
//! then id). A MW of a class is so never shed to spare less than six of the next; that a class is spared wherever the
//! others suffice is seen to in `rounds.rs`.

use super::cost::steepest;
use super::{Options, StorageEnd};
use crate::case::Case;
use gridflow_inputs::network::LoadClass;

/// Classes from the first shed to the last.
pub(super) const SHED_ORDER: [LoadClass; 5] =
    [LoadClass::Interruptible, LoadClass::Industrial, LoadClass::Commercial, LoadClass::Residential, LoadClass::Critical];

/// Place of a class in [`SHED_ORDER`].
pub(super) fn place(class: LoadClass) -> usize {
    SHED_ORDER.iter().position(|other| *other == class).expect("every class has its place")
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
        for class in SHED_ORDER {
            let mut members: Vec<usize> = (0..case.loads.len()).filter(|index| case.loads[*index].class == class).collect();
            let cost = |index: usize| case.loads[index].interruption_cost_per_mwh;
            members.sort_by(|a, b| cost(*a).total_cmp(&cost(*b)).then(case.loads[*a].id.cmp(&case.loads[*b].id)));
            for (rank, index) in members.iter().enumerate() {
                load[*index] = class_price * (1.0 + 0.5 * rank as f64 / members.len() as f64);
            }
            class_price *= 10.0;
        }
        Self { load, surplus: 10.0 * dearest, storage_end: 10.0 * dearest }
    }
}
