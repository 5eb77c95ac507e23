//! Which outages of one branch or unit an island would not bear: DC contingency analysis of all of them at the operating point,
//! AC of the worst.
//!
//! Asked by [`watch`]. All outages are solved when the island's equipment changed, at the first estimate after that, and when the
//! last time was [`REFRESH_MS`] ago; in between, when injections moved, those are that this touches, by the rule of
//! [`gridflow_numerics::contingency::ranking`]; the others stand and their rows tell their age. Told are the
//! [`WORST`]: outages without a solution first, then those that overload a branch, by loading, then those that cut load off, by how
//! much; equals by branch, then unit. So they are ranked by DC; what their rows say is by AC. A branch that is overloaded already is so after each outage, and counts.
//! In DC losses are carried as so much more load, as in plans.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use gridflow_inputs::ids::IslandId;
use gridflow_inputs::network::EquipmentKind;
use gridflow_inputs::units::{MAX_MAGNITUDE, MicroVolts, MilliVoltAmperes, MilliWatts, PartsPerMillion};
use gridflow_numerics::case::Case;
use gridflow_numerics::contingency::dc::{Analysis, Options};
use gridflow_numerics::contingency::ranking::{Moment, Ranking, Row};
use gridflow_numerics::contingency::{self as numerics, Element, Outcome};
use serde::{Deserialize, Serialize};

use crate::decision::{Contingency, ContingencyMethod, Failure, Output, Solver};
use crate::estimation::island_case;
use crate::grid::{GridRow, IslandRows};
use crate::islands::IslandRow;
use crate::operating_point::{OperatingPoint, is_of_now, too_early};
use crate::solver::{Answer, Blocks, Problem, Solve};
use crate::standing::{Failed, Standing};

pub mod watch;
mod worst;

/// Outages told of an island.
pub const WORST: usize = 20;
/// Outages solved together: enough that a block is worth a thread, and one number for any number of threads.
const BLOCK: usize = 1_024;
/// All outages are solved anew when the last time was so long ago, milliseconds.
pub const REFRESH_MS: i64 = 300_000;

/// State of an island's contingency view.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ContingencyState {
    basis: Option<Basis>,
    ranking: Ranking,
    /// What per-unit values are of.
    base_power: MilliVoltAmperes,
    view: Vec<Contingency>,
    failure: Standing,
    /// The row of the present failure.
    outcome: Option<Output>,
}

impl ContingencyState {
    /// How many outages were last solved at a moment.
    #[must_use]
    pub fn solved_at(&self, now_ms: i64) -> usize {
        self.ranking.rows().iter().filter(|row| row.solved_at == now_ms).count()
    }
}

/// What all of a view was last solved on.
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

fn share(ratio: f64) -> PartsPerMillion {
    PartsPerMillion::from_ratio(ratio).unwrap_or(PartsPerMillion(MAX_MAGNITUDE))
}

/// How bad an outage is: without a solution, overload, load cut off.
type Severity = (bool, PartsPerMillion, MilliWatts);

/// An outage as DC has it, at what loads were scaled by then, and how bad it is.
fn by_dc(island: IslandId, case: &Case, outage: Element, outcome: &Outcome, at: Moment) -> (Severity, (Element, Contingency)) {
    let loading = share(outcome.max_loading);
    let lost = outcome.lost.as_ref().map_or(0.0, |lost| lost.load.max(0.0) / at.with_losses);
    let lost_load = case.mw(lost).unwrap_or(MilliWatts(MAX_MAGNITUDE));
    let solved = outcome.unsolved.is_none();
    let overload = if loading > PartsPerMillion(1_000_000) { loading } else { PartsPerMillion(0) };
    let (equipment, id) = worst::named(case, outage);
    let row = Contingency {
        island,
        equipment,
        id,
        solved_ms: at.now_ms,
        method: ContingencyMethod::Dc,
        solved,
        worst_branch: outcome.worst_branch.map(|index| case.branches[index].id),
        loading,
        lost_load,
        voltage_bus: None,
        voltage: MicroVolts(0),
        voltage_limit: MicroVolts(0),
        buses_outside: 0,
        mismatch: MilliVoltAmperes(0),
        mismatch_bus: None,
    };
    ((!solved, overload, lost_load), (outage, row))
}

/// Outcomes in the order of the outages; blocks of them may be solved on several threads.
fn in_blocks(analysis: &Analysis<'_>, outages: &[numerics::Contingency], blocks: &Blocks) -> Vec<Outcome> {
    let parts = Vec::from_iter(outages.chunks(BLOCK).map(|part| (part, OnceLock::new())));
    blocks(parts.len(), &|block| {
        let (part, solved) = &parts[block];
        solved.get_or_init(|| analysis.solve(part));
    });
    parts.into_iter().flat_map(|(_, solved)| solved.into_inner().expect("each block was run")).collect()
}

/// Brings an island's view to now: everything anew, or, where that stands, what injections touch.
fn analyse(
    island: IslandId,
    rows: &IslandRows,
    basis: Basis,
    state: &mut ContingencyState,
    now_ms: i64,
    blocks: &Blocks,
) -> Result<(), Failed> {
    if too_early(rows, now_ms) {
        return Err((Failure::NoData, 0, "there is no estimate to start from yet".into()));
    }
    let bad = |why: String| (Failure::BadNetwork, 0, why);
    let region = rows.region.as_ref().ok_or_else(|| bad("there is no region row".into()))?;
    let reference = rows.island.map(|island| island.reference).ok_or_else(|| bad("the island has no source".into()))?;
    let mut ac = island_case(&rows.network, reference, region.base_power.mva()).map_err(bad)?;
    let point = OperatingPoint::new(rows, now_ms);
    point.apply(&mut ac);
    point.feed(&mut ac, &rows.storages);
    let with_losses = 1.0 + point.loss_share(&ac);
    let mut case = ac.clone();
    case.loads.iter_mut().for_each(|load| load.p *= with_losses);
    let analysis = Analysis::new(&case, Options::default()).map_err(|error| bad(error.to_string()))?;
    let outages = Vec::from_iter(numerics::each_branch(&case).into_iter().chain(numerics::each_generator(&case)).flatten());
    let (moment, same_base) = (Moment { now_ms, with_losses }, state.base_power == region.base_power);
    let solve = |analysis: &Analysis<'_>, outages: &[numerics::Contingency]| in_blocks(analysis, outages, blocks);
    if basis.solved_ms < now_ms && same_base {
        state.ranking.update(&analysis, &outages, moment, &solve);
    } else {
        let same = same_base && state.basis.is_some_and(|before| before.changed_ms == basis.changed_ms);
        state.ranking.refresh(&analysis, &outages, same, moment, &solve);
    }
    (state.basis, state.base_power) = (Some(basis), region.base_power);

    let as_kept = |(outage, kept): (&Element, &Row)| {
        by_dc(island, &case, *outage, &kept.outcome, Moment { now_ms: kept.solved_at, with_losses: kept.with_losses })
    };
    // Those that overload, cut off or have no solution.
    let insecure = |(severity, _): &(Severity, _)| *severity > (false, PartsPerMillion(0), MilliWatts(0));
    let mut found = Vec::from_iter(outages.iter().zip(state.ranking.rows()).map(as_kept).filter(insecure));
    // Stable: equals stay in the order of the outages.
    found.sort_by(|(one, _), (other, _)| other.cmp(one));
    found.truncate(WORST);
    let told: BTreeMap<(EquipmentKind, u32), &Contingency> = state.view.iter().map(|row| ((row.equipment, row.id), row)).collect();
    let (mut view, mut anew) = (Vec::new(), Vec::new());
    for (_, (outage, row)) in found {
        match told.get(&(row.equipment, row.id)) {
            Some(known) if known.method == ContingencyMethod::Ac && known.solved_ms >= row.solved_ms && row.solved_ms < now_ms => {
                view.push((*known).clone());
            }
            // AC says nothing of the load that is lost, nor of anything without a solution: all of a row is of one moment.
            _ if row.solved_ms < now_ms => {
                let now = analysis.solve(&[vec![outage]]).remove(0);
                anew.push(by_dc(island, &case, outage, &now, moment).1);
            }
            _ => anew.push((outage, row)),
        }
    }
    if !anew.is_empty() {
        point.hold_voltages(&mut ac);
    }
    let by_ac = worst::solve(&ac, &mut anew, now_ms);
    view.extend(anew.into_iter().map(|(_, row)| row));
    state.view = view;
    by_ac
}

fn view(problem: Problem<GridRow, ContingencyState>, blocks: &Blocks) -> Answer<ContingencyState, Output> {
    let island = IslandId(problem.key);
    let now_ms = problem.epoch as i64;
    let row = problem.rows.iter().find_map(|row| if let GridRow::Island(row) = row { Some(*row) } else { None });
    let Some(row) = row else {
        // The island is no more: its equipment is another island's, or dead.
        return Answer { previous: ContingencyState::default(), rows: Vec::new() };
    };
    let mut state = problem.previous.unwrap_or_default();
    if problem.retry && state.outcome.is_none() {
        return Answer { rows: state.view.iter().cloned().map(Output::from).collect(), previous: state };
    }
    let of_now = |known: &GridRow| if let GridRow::Estimate(estimate) = known { is_of_now(estimate, &row, now_ms) } else { false };
    let estimated = problem.rows.iter().any(of_now);
    let stands = state.basis.filter(|basis| basis.stands(&row, estimated, now_ms));
    // Nothing has moved that nobody has measured.
    if stands.is_none() || estimated {
        let rows = IslandRows::new(problem.rows.iter().chain(problem.shared.iter()));
        let basis = stands.unwrap_or(Basis { solved_ms: now_ms, changed_ms: row.changed_ms, estimated });
        let failed = analyse(island, &rows, basis, &mut state, now_ms, blocks).err();
        // What was solved stands as long as the island is what it was.
        if failed.is_some() && state.basis.is_some_and(|basis| basis.changed_ms != row.changed_ms) {
            state = ContingencyState { failure: state.failure, ..ContingencyState::default() };
        }
        let failed = failed.map(|(failure, iterations, why)| (failure, iterations, format!("contingencies of island {island}: {why}")));
        state.outcome = state.failure.outcome(Solver::Contingency, island.0, now_ms, failed).map(Output::from);
    }
    Answer { rows: state.view.iter().cloned().map(Output::from).chain(state.outcome.clone()).collect(), previous: state }
}

/// The contingency view, for the generic solver.
#[must_use]
pub fn solve_contingencies(blocks: Blocks) -> Solve<GridRow, ContingencyState, Output> {
    Arc::new(move |problem| view(problem, &blocks))
}
