//! Load reductions when supply or the network cannot meet the load: who gives way, how much, and why.
//!
//! Order: interruptible, industrial, commercial, residential, critical; within a class the cheapest interruption first,
//! then the lowest id. A shortage of supply is met by exactly that order. Where branch limits forbid it, the reductions
//! are those of least penalty in the DC model with free energy (see `dispatch`), which spares a class wherever the classes
//! before it suffice. Powers per unit unless a name says otherwise.

#[cfg(test)]
mod tests;

use crate::case::Case;
use crate::dispatch::{self, DispatchError, Interval, Options, SHED_ORDER, StorageEnd, in_shed_order};
use gridflow_inputs::ids::LoadId;
use gridflow_inputs::network::LoadClass;

/// Reductions below this are none, per unit.
const NOISE: f64 = 1e-7;

/// Why load must give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Load exceeds all that can be supplied.
    Supply,
    /// Branch limits keep power from the load.
    Network,
    /// Both.
    SupplyAndNetwork,
}

/// A reduction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reduction {
    /// Index of the load.
    pub load: usize,
    /// Its id.
    pub id: LoadId,
    /// Its class.
    pub class: LoadClass,
    /// What it does not get.
    pub shed_p: f64,
}

/// A plan of reductions.
#[derive(Clone, Debug, PartialEq)]
pub struct ShedPlan {
    /// Why, when there are reductions.
    pub reason: Option<Reason>,
    /// The reductions in the order of shedding.
    pub reductions: Vec<Reduction>,
    /// What each load does not get, by load.
    pub shed_p: Vec<f64>,
    /// Load beyond all that can be supplied before the plan, MW; the network may ask for more.
    pub deficit_mw_before: f64,
    /// What remains of it.
    pub deficit_mw_after: f64,
    /// Sheddable load that is left, MW by class in the order of shedding.
    pub remaining_mw: [(LoadClass, f64); 5],
    /// What the interruptions cost, currency per hour.
    pub interruption_cost_per_h: f64,
}

/// Plans the least reductions with which the interval can be dispatched.
///
/// Of the options the end rules of storage are not used: what is stored may serve.
///
/// # Errors
/// When a number is not usable, or even without any load the limits cannot be kept.
pub fn plan(case: &Case, interval: &Interval, options: &Options) -> Result<ShedPlan, DispatchError> {
    let free_storage = vec![StorageEnd::Value(0.0); case.storages.len()];
    let relaxed = Options { ignore_cost: true, allow_shedding: true, storage_end: free_storage, ..options.clone() };
    let strict = Options { allow_shedding: false, ..relaxed.clone() };
    let deficit_mw = dispatch::shortage_mw(case, interval, &relaxed)?;
    let in_order = in_order(case, interval, deficit_mw / case.base_mva);
    let mut reduced = interval.clone();
    for (p, shed) in reduced.load_p.iter_mut().zip(&in_order) {
        *p -= shed;
    }
    if dispatch::solve(case, &[reduced], &strict).is_ok() {
        let reason = (deficit_mw > 0.0).then_some(Reason::Supply);
        return Ok(report(case, interval, in_order, deficit_mw, reason));
    }
    let mut dispatch = dispatch::solve(case, std::slice::from_ref(interval), &relaxed)?;
    let shed_p = dispatch.intervals.swap_remove(0).shed_p;
    let reason = match (deficit_mw > 0.0, shed_p.iter().any(|shed| *shed > NOISE)) {
        (true, _) => Some(Reason::SupplyAndNetwork),
        (false, true) => Some(Reason::Network),
        // Only surplus kept the strict dispatch from being possible.
        (false, false) => None,
    };
    Ok(report(case, interval, shed_p, deficit_mw, reason))
}

/// Loads that can be shed, in the order in which they are.
fn order(case: &Case, interval: &Interval) -> impl Iterator<Item = usize> {
    in_shed_order(case).into_iter().filter(|load| interval.load_p[*load] > 0.0)
}

/// Reductions that cover a deficit, one load after another.
fn in_order(case: &Case, interval: &Interval, deficit: f64) -> Vec<f64> {
    let mut shed = vec![0.0; case.loads.len()];
    let mut missing = deficit;
    for load in order(case, interval) {
        shed[load] = interval.load_p[load].min(missing);
        missing -= shed[load];
    }
    shed
}

fn report(case: &Case, interval: &Interval, shed_p: Vec<f64>, deficit_mw: f64, reason: Option<Reason>) -> ShedPlan {
    let base = case.base_mva;
    let reduction = |load: usize| Reduction { load, id: case.loads[load].id, class: case.loads[load].class, shed_p: shed_p[load] };
    let reductions: Vec<Reduction> = order(case, interval).filter(|load| shed_p[*load] > NOISE).map(reduction).collect();
    let remaining = |class: LoadClass| {
        let loads = case.loads.iter().enumerate().filter(|(_, load)| load.class == class);
        (class, loads.map(|(load, _)| (interval.load_p[load] - shed_p[load]).max(0.0) * base).sum::<f64>())
    };
    let cost = case.loads.iter().zip(&shed_p).map(|(load, shed)| shed * base * load.interruption_cost_per_mwh).sum();
    ShedPlan {
        reason,
        reductions,
        deficit_mw_before: deficit_mw,
        deficit_mw_after: (deficit_mw - shed_p.iter().sum::<f64>() * base).max(0.0),
        remaining_mw: SHED_ORDER.map(remaining),
        interruption_cost_per_h: cost,
        shed_p,
    }
}
