//! Which outages an island would not bear, of one branch or unit or of those that operators name together: DC contingency analysis
//! of all of them at the operating point, AC of the worst.
//!
//! Asked by [`watch`]. All outages are solved when the island's equipment changed, at the first estimate after that, and when the
//! last time was [`REFRESH_MS`] ago; in between, when injections moved, those are that this touches, by the rule of
//! [`gridflow_numerics::contingency::ranking`]; the others stand and their rows tell their age. Told are the
//! [`WORST`]: outages without a solution first, then those that overload a branch, the shorter its ratings bear that the worse, then by
//! loading, then those that cut load off, by how much; equals by branch, then unit. Of those named ([`named`]) as many besides.
//! So they are ranked by DC; what their rows say is by AC. Where fewer break a limit, the next by what they take away are solved
//! by AC too, and told when that says that they do: by a voltage, mostly. A branch that is overloaded already is so after each outage, and counts.
//! In DC losses are carried as so much more load, as in plans.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use gridflow_inputs::ids::{BranchId, GeneratorId, IslandId};
use gridflow_inputs::network::EquipmentKind;
use gridflow_inputs::units::{MAX_MAGNITUDE, MicroVolts, MilliVoltAmperes, MilliWatts, PartsPerMillion};
use gridflow_numerics::case::Case;
use gridflow_numerics::contingency::dc::{Analysis, Options};
use gridflow_numerics::contingency::ranking::{Given, Moment, Ranking, Row};
use gridflow_numerics::contingency::{self as numerics, Element, Outcome};
use serde::{Deserialize, Serialize};

use crate::decision::{Contingency, ContingencyMethod, Failure, Output, RatingDuration, Solver};
use crate::estimation::island_case;
use crate::grid::{GridRow, IslandRows};
use crate::islands::{IslandRow, Place};
use crate::operating_point::{OperatingPoint, is_of_now, too_early};
use crate::solver::{Answer, Blocks, Problem, Solve};
use crate::standing::{Failed, Standing};

pub mod named;
pub mod watch;
mod worst;

/// Outages of one branch or unit told of an island, and as many of those named.
pub const WORST: usize = 20;
/// Outages solved together: enough that a block is worth a thread, and one number for any number of threads.
const BLOCK: usize = 1_024;
/// A loading of 100 %.
const FULL: PartsPerMillion = PartsPerMillion(1_000_000);
/// All outages are solved anew when the last time was so long ago, milliseconds.
pub const REFRESH_MS: i64 = 300_000;

/// State of an island's contingency view.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ContingencyState {
    basis: Option<Basis>,
    ranking: Ranking,
    /// Named contingencies as they were last solved, by number, and what they came to.
    named: BTreeMap<u64, Vec<Place>>,
    given: Given,
    /// What per-unit values are of.
    base_power: MilliVoltAmperes,
    view: Vec<Told>,
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

    fn told(&self) -> Vec<Output> {
        let told = self.view.iter().filter(|told| told.breaks_a_limit()).map(|told| Output::from(told.row.clone()));
        told.chain(self.outcome.clone()).collect()
    }
}

/// A row of a view, told if DC says that a limit is broken or the row does.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Told {
    by_dc: bool,
    row: Contingency,
}

impl Told {
    /// Which outage it is of.
    fn outage(row: &Contingency) -> (EquipmentKind, u32, Option<u64>, &[Place]) {
        (row.equipment, row.id, row.number, &row.with)
    }

    fn breaks_a_limit(&self) -> bool {
        let row = &self.row;
        self.by_dc || !row.solved || row.loading > FULL || row.voltage_bus.is_some()
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

/// How bad an outage is: without a solution, for how long what is overloaded bears it, overload, load cut off.
type Severity = (bool, RatingDuration, PartsPerMillion, MilliWatts);

/// An outage that is looked at: what fails, and its row.
struct Candidate {
    severity: Severity,
    outage: numerics::Contingency,
    told: Told,
}

impl Candidate {
    /// An outage as DC has it, at what loads were scaled by then.
    fn new(island: IslandId, case: &Case, number: Option<u64>, outage: &[Element], outcome: &Outcome, at: Moment) -> Self {
        let loading = share(outcome.max_loading);
        let lost = outcome.lost.as_ref().map_or(0.0, |lost| lost.load.max(0.0) / at.with_losses);
        let lost_load = case.mw(lost).unwrap_or(MilliWatts(MAX_MAGNITUDE));
        let (solved, duration) = (outcome.unsolved.is_none(), worst::duration(outcome, loading));
        let overload = if loading > FULL { loading } else { PartsPerMillion(0) };
        let mut places = outage.iter().map(|element| worst::named(case, *element));
        let (equipment, id) = places.next().expect("something fails");
        let row = Contingency {
            island,
            equipment,
            id,
            number,
            with: places.collect(),
            solved_ms: at.now_ms,
            method: ContingencyMethod::Dc,
            solved,
            worst_branch: outcome.worst_branch.map(|index| case.branches[index].id),
            loading,
            duration,
            lost_load,
            voltage_bus: None,
            voltage: MicroVolts(0),
            voltage_limit: MicroVolts(0),
            buses_outside: 0,
            mismatch: MilliVoltAmperes(0),
            mismatch_bus: None,
        };
        let by_dc = breaks(case, outcome, at.with_losses);
        Self { severity: (!solved, duration, overload, lost_load), outage: outage.to_vec(), told: Told { by_dc, row } }
    }
}

/// Whether an outage as DC has it overloads, cuts off or has no solution.
fn breaks(case: &Case, outcome: &Outcome, with_losses: f64) -> bool {
    let lost = outcome.lost.as_ref().map_or(0.0, |lost| lost.load.max(0.0) / with_losses);
    outcome.unsolved.is_some() || share(outcome.max_loading) > FULL || case.mw(lost).is_none_or(|lost| lost.0 > 0)
}

/// An outage by its number, what fails, and what it came to by DC.
type Solved<'a> = (Option<u64>, &'a [Element], &'a Row);

/// The [`WORST`] of outages, and the next by what they take away.
fn worst_of<'a>(island: IslandId, case: &Case, analysis: &Analysis<'_>, all: impl Iterator<Item = Solved<'a>>) -> Vec<Candidate> {
    let candidate = |(number, outage, kept): Solved<'a>| {
        let at = Moment { now_ms: kept.solved_at, with_losses: kept.with_losses };
        Candidate::new(island, case, number, outage, &kept.outcome, at)
    };
    let (bad, good): (Vec<_>, Vec<_>) = all.partition(|(_, _, kept)| breaks(case, &kept.outcome, kept.with_losses));
    let mut found = Vec::from_iter(bad.into_iter().map(candidate));
    // Stable: equals stay in the order of the outages.
    found.sort_by_key(|candidate| std::cmp::Reverse(candidate.severity));
    found.truncate(WORST);
    if found.len() < WORST {
        let mut next = Vec::from_iter(good.into_iter().map(|solved| (analysis.stress(solved.1), solved)));
        next.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        next.truncate(WORST - found.len());
        found.extend(next.into_iter().map(|(_, solved)| candidate(solved)));
    }
    found
}

/// Of each named contingency what is in service in the case, where that is more than one element; by number.
fn in_case(case: &Case, named: &BTreeMap<u64, Vec<Place>>) -> Vec<(u64, numerics::Contingency)> {
    let element = |place: &Place| match place {
        (EquipmentKind::Branch, id) => case.branch_index(BranchId(*id)).map(Element::Branch),
        (EquipmentKind::Generator, id) => case.generator_index(GeneratorId(*id)).map(Element::Generator),
        _ => None,
    };
    let elements = |places: &[Place]| BTreeSet::from_iter(places.iter().filter_map(element)).into_iter().collect();
    let lists = named.iter().map(|(number, places)| (*number, elements(places)));
    lists.filter(|(_, elements): &(u64, Vec<Element>)| elements.len() > 1).collect()
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
    named: BTreeMap<u64, Vec<Place>>,
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
    let lists = in_case(&case, &named);
    let together = Vec::from_iter(lists.iter().map(|(_, elements)| elements.clone()));
    state.given.follow(&analysis, &together, basis.solved_ms < now_ms && same_base, moment, &solve);
    (state.basis, state.base_power, state.named) = (Some(basis), region.base_power, named);

    let single = outages.iter().zip(state.ranking.rows()).map(|(outage, kept)| (None, std::slice::from_ref(outage), kept));
    let mut found = worst_of(island, &case, &analysis, single);
    let several = lists.iter().zip(state.given.rows()).map(|((number, elements), kept)| (Some(*number), &elements[..], kept));
    found.extend(worst_of(island, &case, &analysis, several));
    let told: BTreeMap<_, _> = state.view.iter().map(|told| (Told::outage(&told.row), told)).collect();
    let (mut view, mut anew, mut by_dc) = (Vec::new(), Vec::new(), Vec::new());
    for Candidate { outage, told: Told { by_dc: broken, row }, .. } in found {
        match told.get(&Told::outage(&row)) {
            Some(known) if known.row.method == ContingencyMethod::Ac && known.row.solved_ms >= row.solved_ms && row.solved_ms < now_ms => {
                view.push((*known).clone());
            }
            // AC says nothing of the load that is lost, nor of anything without a solution: all of a row is of one moment.
            _ if row.solved_ms < now_ms => {
                let outcome = analysis.solve(std::slice::from_ref(&outage)).remove(0);
                let Candidate { outage, told, .. } = Candidate::new(island, &case, row.number, &outage, &outcome, moment);
                anew.push((outage, told.row));
                by_dc.push(told.by_dc);
            }
            _ => {
                anew.push((outage, row));
                by_dc.push(broken);
            }
        }
    }
    if !anew.is_empty() {
        point.hold_voltages(&mut ac);
    }
    let by_ac = worst::solve(&ac, &mut anew, now_ms);
    view.extend(by_dc.into_iter().zip(anew).map(|(by_dc, (_, row))| Told { by_dc, row }));
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
        return Answer { rows: state.told(), previous: state };
    }
    let of_now = |known: &GridRow| if let GridRow::Estimate(estimate) = known { is_of_now(estimate, &row, now_ms) } else { false };
    let estimated = problem.rows.iter().any(of_now);
    let mut named: BTreeMap<u64, Vec<Place>> = BTreeMap::new();
    for row in problem.shared.iter() {
        if let GridRow::Contingency(id, place) = row {
            named.entry(*id).or_default().push(*place);
        }
    }
    let stands = state.basis.filter(|basis| basis.stands(&row, estimated, now_ms) && state.named == named);
    // Nothing has moved that nobody has measured.
    if stands.is_none() || estimated {
        let rows = IslandRows::new(problem.rows.iter().chain(problem.shared.iter()));
        let basis = stands.unwrap_or(Basis { solved_ms: now_ms, changed_ms: row.changed_ms, estimated });
        let failed = analyse(island, &rows, named, basis, &mut state, now_ms, blocks).err();
        // What was solved stands as long as the island is what it was.
        if failed.is_some() && state.basis.is_some_and(|basis| basis.changed_ms != row.changed_ms) {
            state = ContingencyState { failure: state.failure, ..ContingencyState::default() };
        }
        let failed = failed.map(|(failure, iterations, why)| (failure, iterations, format!("contingencies of island {island}: {why}")));
        state.outcome = state.failure.outcome(Solver::Contingency, island.0, now_ms, failed).map(Output::from);
    }
    Answer { rows: state.told(), previous: state }
}

/// The contingency view, for the generic solver.
#[must_use]
pub fn solve_contingencies(blocks: Blocks) -> Solve<GridRow, ContingencyState, Output> {
    Arc::new(move |problem| view(problem, &blocks))
}
