//! Which outages of one branch or unit an island would not bear: DC contingency analysis of all of them at the operating point.
//!
//! Solved at once when the island's equipment changed, at the first estimate after that, and at a tick of the estimator
//! when the last time was [`REFRESH_MS`] ago; in between the view stands and its rows tell their age. Told are the
//! [`WORST`]: outages without a solution first, then those that overload a branch, by loading, then those that cut load off, by how
//! much; equals by branch, then unit. A branch that is overloaded already is so after each outage, and counts.
//! Losses are carried as so much more load, as in plans.

use std::sync::Arc;

use gridflow_inputs::ids::IslandId;
use gridflow_inputs::network::EquipmentKind;
use gridflow_inputs::units::{MAX_MAGNITUDE, MilliWatts, PartsPerMillion};
use gridflow_numerics::case::Case;
use gridflow_numerics::contingency::dc::{Analysis, Options};
use gridflow_numerics::contingency::{self as numerics, Element};
use serde::{Deserialize, Serialize};

use crate::decision::{Contingency, ContingencyMethod, Estimate, Failure, Output, Solver};
use crate::estimation::island_case;
use crate::grid::{GridRow, IslandRows};
use crate::islands::IslandRow;
use crate::operating_point::{OperatingPoint, holds, too_early};
use crate::solver::{Answer, Problem, Solve};
use crate::standing::{Failed, Standing};

/// Outages told of an island.
pub const WORST: usize = 20;
/// The view is solved anew at the estimator's tick when the last time was so long ago, milliseconds.
pub const REFRESH_MS: i64 = 300_000;

/// State of an island's contingency view.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ContingencyState {
    basis: Option<Basis>,
    view: Vec<Output>,
    failure: Standing,
    /// The row of the present failure.
    outcome: Option<Output>,
}

/// What the view that stands rests on.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Basis {
    pub(crate) solved_ms: i64,
    /// Since when the island was as it was then.
    pub(crate) changed_ms: i64,
    /// Whether an estimate of it told the injections.
    pub(crate) estimated: bool,
}

impl Basis {
    pub(crate) fn stands(&self, island: &IslandRow, estimated: bool, now_ms: i64) -> bool {
        self.changed_ms == island.changed_ms && (self.estimated || !estimated) && now_ms - self.solved_ms < REFRESH_MS
    }
}

/// An outage's severity and row.
type Ranked = ((bool, PartsPerMillion, MilliWatts), Contingency);

/// All outages of a case that overload, cut off or have no solution, the worst first. `with_losses`: what loads were scaled by.
fn insecure(island: IslandId, case: &Case, with_losses: f64, now_ms: i64) -> Result<Vec<Contingency>, Failed> {
    let analysis = Analysis::new(case, Options::default()).map_err(|error| (Failure::BadNetwork, 0, error.to_string()))?;
    let outages: Vec<_> = numerics::each_branch(case).into_iter().chain(numerics::each_generator(case)).collect();
    let mut found: Vec<Ranked> = Vec::new();
    for (outage, outcome) in outages.iter().zip(analysis.solve(&outages)) {
        let (equipment, id) = match outage[0] {
            Element::Branch(index) => (EquipmentKind::Branch, case.branches[index].id.0),
            Element::Generator(index) => (EquipmentKind::Generator, case.generators[index].id.0),
        };
        let loading = PartsPerMillion::from_ratio(outcome.max_loading).unwrap_or(PartsPerMillion(MAX_MAGNITUDE));
        let lost = outcome.lost.as_ref().map_or(0.0, |lost| lost.load.max(0.0) / with_losses);
        let lost_load = case.mw(lost).unwrap_or(MilliWatts(MAX_MAGNITUDE));
        let solved = outcome.unsolved.is_none();
        let overload = if loading > PartsPerMillion(1_000_000) { loading } else { PartsPerMillion(0) };
        if solved && overload.0 == 0 && lost_load.0 == 0 {
            continue;
        }
        let worst_branch = outcome.worst_branch.map(|index| case.branches[index].id);
        let (solved_ms, method) = (now_ms, ContingencyMethod::Dc);
        let row = Contingency { island, equipment, id, solved_ms, method, solved, worst_branch, loading, lost_load };
        found.push(((!solved, overload, lost_load), row));
    }
    // Stable: equals stay in the order of the outages.
    found.sort_by(|(one, _), (other, _)| other.cmp(one));
    Ok(found.into_iter().map(|(_, row)| row).collect())
}

fn analyse(island: IslandId, rows: &IslandRows, now_ms: i64) -> Result<Vec<Output>, Failed> {
    if too_early(rows, now_ms) {
        return Err((Failure::NoData, 0, "there is no estimate to start from yet".into()));
    }
    let bad = |why: String| (Failure::BadNetwork, 0, why);
    let region = rows.region.as_ref().ok_or_else(|| bad("there is no region row".into()))?;
    let reference = rows.island.map(|island| island.reference).ok_or_else(|| bad("the island has no source".into()))?;
    let mut case = island_case(&rows.network, reference, region.base_power.mva()).map_err(bad)?;
    let point = OperatingPoint::new(rows, now_ms);
    point.apply(&mut case);
    point.feed(&mut case, &rows.storages);
    let with_losses = 1.0 + point.loss_share(&case);
    case.loads.iter_mut().for_each(|load| load.p *= with_losses);
    let found = insecure(island, &case, with_losses, now_ms)?;
    Ok(found.into_iter().take(WORST).map(Output::from).collect())
}

fn view(problem: Problem<GridRow, ContingencyState>) -> Answer<ContingencyState, Output> {
    let island = IslandId(problem.key);
    let now_ms = problem.epoch as i64;
    let row = problem.rows.iter().find_map(|row| if let GridRow::Island(row) = row { Some(*row) } else { None });
    let Some(row) = row else {
        // The island is no more: its equipment is another island's, or dead.
        return Answer { previous: ContingencyState::default(), rows: Vec::new() };
    };
    let mut state = problem.previous.unwrap_or_default();
    // The estimate of a switch's own epoch rests on readings from before it: it serves until the next one.
    let of_now = |estimate: &Estimate| holds(estimate, row.changed_ms, now_ms) && estimate.tick_ms > row.changed_ms;
    let estimated = problem.rows.iter().any(|known| if let GridRow::Estimate(estimate) = known { of_now(estimate) } else { false });
    if !state.basis.is_some_and(|basis| basis.stands(&row, estimated, now_ms)) {
        let rows = IslandRows::new(problem.rows.iter().chain(problem.shared.iter()));
        let failed = match analyse(island, &rows, now_ms) {
            Ok(view) => {
                state.view = view;
                state.basis = Some(Basis { solved_ms: now_ms, changed_ms: row.changed_ms, estimated });
                None
            }
            Err((failure, iterations, why)) => {
                // What was solved stands as long as the island is what it was.
                if state.basis.is_some_and(|basis| basis.changed_ms != row.changed_ms) {
                    (state.basis, state.view) = (None, Vec::new());
                }
                Some((failure, iterations, format!("contingencies of island {island}: {why}")))
            }
        };
        state.outcome = state.failure.outcome(Solver::Contingency, island.0, now_ms, failed).map(Output::from);
    }
    Answer { rows: state.view.iter().chain(&state.outcome).cloned().collect(), previous: state }
}

/// The contingency view, for the generic solver.
#[must_use]
pub fn solve_contingencies() -> Solve<GridRow, ContingencyState, Output> {
    Arc::new(view)
}
