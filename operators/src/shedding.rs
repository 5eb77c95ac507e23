//! Load shedding of an island: which loads to cut, least critical class first, when supply or the network cannot serve
//! all. Lead 0 and a stream of its own: it rests on no price and waits for no plan.
//!
//! Planned at each dispatch tick and at once when the topology changes. The cut is checked by an AC power flow before
//! it leaves; the check names violations but does not hold the cut back, because not cutting would be worse.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridflow_inputs::ids::{IslandId, LoadId};
use gridflow_numerics::case::Case;
use gridflow_numerics::dispatch::{DispatchError, Interval, Options};
use gridflow_numerics::shedding::{Reason, plan};

use crate::arbiter;
use crate::decision::{Failure, Output, Shed, ShedReason, Solver, Violation};
use crate::estimation::island_case;
use crate::grid::{GridRow, IslandRows};
use crate::operating_point::{OperatingPoint, too_early};
use crate::solver::{Answer, Problem, Solve};
use crate::standing::Standing;

/// Length of the interval a cut is planned for, hours: until the next dispatch.
const HOURS: f64 = 1.0 / 12.0;

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

/// State of an island's shedding: the cut that stands, and the present failure.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct SheddingState {
    cut: Vec<Output>,
    failure: Standing,
}

fn cut(island: IslandId, now_ms: i64, rows: &IslandRows) -> Result<Vec<Output>, (Failure, String)> {
    if too_early(rows, now_ms) {
        return Err((Failure::NoData, "there is no estimate to start from yet".into()));
    }
    let bad = |why: String| (Failure::BadNetwork, why);
    let region = rows.region.as_ref().ok_or_else(|| bad("there is no region row".into()))?;
    let reference = rows.island.map(|island| island.reference).ok_or_else(|| bad("the island has no source".into()))?;
    let mut case = island_case(&rows.network, reference, region.base_power.mva()).map_err(bad)?;
    let point = OperatingPoint::new(rows, now_ms);
    point.apply(&mut case);
    for storage in &mut case.storages {
        if let Some(report) = rows.storages.iter().find(|report| report.storage == storage.id) {
            storage.soc = report.soc.ratio();
        }
    }
    let with_losses = 1.0 + point.loss_share(&case);
    let mut interval = Interval::of(&case, HOURS);
    interval.load_p.iter_mut().for_each(|p| *p *= with_losses);
    for (available, unit) in interval.available_p.iter_mut().zip(&case.generators).filter(|(_, unit)| unit.variable) {
        *available = point.available(&case, unit);
    }
    // Units can be stopped before load is cut; ramps do not bind an emergency plan.
    interval.p_bounds = Some(case.generators.iter().map(|unit| (unit.p_min.min(0.0), unit.p_max)).collect());
    let planned = plan(&case, &interval, &Options::default()).map_err(|error| match error {
        DispatchError::Infeasible(_) => (Failure::Infeasible, error.to_string()),
        DispatchError::Input(_) => (Failure::BadNetwork, error.to_string()),
        DispatchError::NotSolved { .. } => (Failure::WorkLimit, error.to_string()),
    })?;
    let Some(reason) = planned.reason else { return Ok(Vec::new()) };
    let reason = match reason {
        Reason::Supply | Reason::SupplyAndNetwork => ShedReason::Supply,
        Reason::Network => ShedReason::Network,
    };
    let sheds: Vec<Shed> = planned
        .reductions
        .iter()
        .map(|row| Shed {
            island,
            load: row.id,
            class: row.class,
            decided_ms: now_ms,
            load_p: case.mw(row.shed_p).unwrap_or_default(),
            reason,
        })
        .collect();
    let mut out: Vec<Output> = Vec::new();
    if !sheds.is_empty() {
        apply(&sheds, &mut case);
        share_load(&mut case);
        if let Ok(check) = arbiter::check(island, &case, &point, now_ms) {
            // Named, never blocking.
            out.extend(check.violations.into_iter().map(|violation| Violation { blocking: false, ..violation }.into()));
        }
    }
    out.extend(sheds.into_iter().map(Output::from));
    Ok(out)
}

/// Shares what is left of the load among units by capacity, for the check: the dispatch will do better.
fn share_load(case: &mut Case) {
    let load: f64 = case.loads.iter().map(|load| load.p).sum();
    let capacity: f64 = case.generators.iter().map(|unit| unit.p_max).sum();
    for unit in &mut case.generators {
        unit.p = if capacity > 0.0 { unit.p_max * (load / capacity).clamp(0.0, 1.0) } else { 0.0 };
    }
}

fn shed(problem: Problem<GridRow, SheddingState>) -> Answer<SheddingState, Output> {
    let mut state = problem.previous.unwrap_or_default();
    let island = IslandId(problem.key);
    let now_ms = problem.epoch as i64;
    let rows = IslandRows::new(problem.rows.iter().chain(problem.shared.iter()));
    if rows.island.is_none() {
        // The island is no more: its loads are another island's, or dead.
        return Answer { previous: SheddingState::default(), rows: Vec::new() };
    }
    let failed = match cut(island, now_ms, &rows) {
        Ok(cut) => {
            state.cut = cut;
            None
        }
        Err(failed) => Some(failed),
    };
    let mut answer = state.cut.clone();
    let failed = failed.map(|(failure, why)| (failure, 0, format!("shedding of island {island}: {why}")));
    answer.extend(state.failure.outcome(Solver::Shedding, island.0, now_ms, failed).map(Output::from));
    Answer { previous: state, rows: answer }
}

/// The shedding plan, for the generic solver.
#[must_use]
pub fn solve_shedding() -> Solve<GridRow, SheddingState, Output> {
    Arc::new(shed)
}
