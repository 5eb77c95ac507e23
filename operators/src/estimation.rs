//! State estimation of an island at a tick, and at the epoch of a change of its equipment: from its equipment and newest good
//! readings to the most likely voltages.
//!
//! A [`Tracker`] goes from scan to scan; buses to which nothing is connected inject nothing, as constraints. Where readings do
//! not reach, usual injections do, and the row names the buses that rest on them. An estimate that does not succeed is an
//! outcome row; the last good one stays, its tick telling its age. `network` is what follows from the equipment,
//! `measurements` what readings say, `suspects` what contradicts the rest.
//!
//! At the epoch of a switch all readings are older than the switch. What they say then counts for less (see `measurements`), and
//! the estimate says of how many that holds; the next tick has new ones.

mod measurements;
mod network;
mod suspects;

use std::collections::BTreeMap;
use std::f64::consts::PI;
use std::sync::Arc;

use gridflow_inputs::ids::{BusId, IslandId};
use gridflow_inputs::input::{Quantity, Region};
use gridflow_inputs::units::{MAX_MAGNITUDE, to_fixed};
use gridflow_numerics::case::{Case, CaseBranch, CaseBus, MeasurementKind};
use gridflow_numerics::estimation::{self as numerics, EstimationError, Options, Tracker, TrackerState};

use crate::audit::{Used, UsedReading};
use crate::decision::{BusState, Estimate, EstimateResidual, Failure, Output, Solver};
use crate::grid::GridRow;
use crate::islands::IslandRow;
use crate::solver::{Answer, Problem, Solve};
use crate::standing::{Failed, Standing};
use measurements::{Gathered, Moment, Since, Source, add_usual, gather};
use network::Grid;
pub(crate) use network::island_case;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use suspects::Suspects;

/// A residual of this many standard deviations is a row.
const SUSPECT: f64 = 3.0;

/// Largest last step of an estimate, and steps at most. Where readings from before a switch contradict others, steps die out slowly, and
/// how the state was come by must not show.
const TOLERANCE: f64 = 1e-10;
const ITERATIONS: usize = 60;
/// A first estimate waits no longer than this for sensors that have not reported yet.
const FIRST_MS: i64 = 30_000;
/// An angle over a branch that is beyond the stable ones of a line, radians.
const STRAINED: f64 = PI / 2.0;
/// J of so many times its χ² point.
const FAR: f64 = 4.0;
const LEFT_OPEN: &str = "sensors that have not had the time to report leave buses open";

/// What the estimator tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EstimationRow {
    /// A row for a stream.
    Row(Output),
    /// For the audit: the readings the estimate used.
    Used(Used),
    /// Readings determine every bus of the island: decisions need not wait for their timer.
    Observable(IslandId),
}

/// State of an island's estimator from one scan to the next.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct EstimationState {
    #[serde(serialize_with = "save_tracker", deserialize_with = "load_tracker")]
    tracker: Tracker,
    /// When the equipment last changed.
    changed_ms: Option<i64>,
    /// When sensors were first seen to report.
    first_ms: Option<i64>,
    /// Nodes that were part of another's bus, and of which.
    nodes: BTreeMap<BusId, BusId>,
    /// By bus, what was connected to it, as a number.
    attached: BTreeMap<BusId, u64>,
    since: Since,
    suspects: Suspects,
    /// The last good answer.
    good: Vec<EstimationRow>,
    /// The present failure.
    failure: Standing,
    /// Speeds up the next solve, never changes it.
    #[serde(skip)]
    grid: Option<Grid>,
}

fn save_tracker<S: Serializer>(tracker: &Tracker, serializer: S) -> Result<S::Ok, S::Error> {
    tracker.state().serialize(serializer)
}

fn load_tracker<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tracker, D::Error> {
    TrackerState::deserialize(deserializer).map(Tracker::new)
}

impl EstimationState {
    /// The state last arrived at: buses, magnitudes per unit, angles in radians in a frame of their own.
    #[must_use]
    pub fn tracked(&self) -> &TrackerState {
        self.tracker.state()
    }

    /// Whether sensors may still be about to report for the first time: for the longest of their periods before the first
    /// estimate, [`FIRST_MS`] at most.
    fn is_early(&mut self, tick_ms: i64, rows: &[GridRow]) -> bool {
        if !self.good.is_empty() {
            return false;
        }
        let periods = rows.iter().filter_map(|row| if let GridRow::Reading(row) = row { Some(row.sensor.period_ms) } else { None });
        let Some(longest) = periods.max() else { return false };
        tick_ms - *self.first_ms.get_or_insert(tick_ms) < longest.min(FIRST_MS)
    }

    /// Magnitudes and angles to start from.
    fn start(&self, case: &Case) -> (Vec<f64>, Vec<f64>) {
        let known = self.tracker.state();
        // A node that a switch makes a bus of its own starts from the bus it was part of.
        let place = |bus: BusId| {
            let found = known.buses.binary_search(&bus).ok();
            found.or_else(|| known.buses.binary_search(self.nodes.get(&bus)?).ok())
        };
        let start = |bus: &CaseBus| place(bus.id).map_or((bus.v_start, bus.va_start), |place| (known.v[place], known.va[place]));
        case.buses.iter().map(start).unzip()
    }

    /// Takes note of a changed network: where something else is connected than was, and what is new in the island.
    fn connect(&mut self, grid: &Grid, changed_ms: i64) {
        let now: BTreeMap<BusId, u64> = grid.signatures().collect();
        // What has been a bus of its own is no longer a part of another.
        self.nodes.retain(|node, _| !self.attached.contains_key(node));
        let Since { connected_ms, came_ms } = &mut self.since;
        connected_ms.retain(|bus, _| now.contains_key(bus));
        came_ms.retain(|bus, _| now.contains_key(bus));
        for (bus, signature) in now.iter().filter(|_| !self.attached.is_empty()) {
            let since = match self.attached.get(bus) {
                None if self.nodes.get(bus).is_some_and(|into| self.attached.contains_key(into)) => &mut *connected_ms,
                None => &mut *came_ms,
                Some(before) if before != signature => &mut *connected_ms,
                Some(_) => continue,
            };
            since.insert(*bus, changed_ms);
        }
        self.attached = now;
        self.nodes.extend(grid.case.nodes.merged().iter().map(|row| (row.bus, row.into)));
    }
}

/// An estimated value in the unit of its sensor.
fn in_units(case: &Case, kind: MeasurementKind, value: f64) -> i64 {
    use MeasurementKind as Kind;
    let fixed = match kind {
        Kind::VoltageMagnitude(bus) => case.microvolts(bus, value).map(|value| value.0),
        Kind::VoltageAngle(_) => case.microradians(value).map(|value| value.0),
        Kind::ActiveInjection(_) | Kind::ActiveFlowFrom(_) | Kind::ActiveFlowTo(_) => case.mw(value).map(|value| value.0),
        Kind::ReactiveInjection(_) | Kind::ReactiveFlowFrom(_) | Kind::ReactiveFlowTo(_) => case.mvar(value).map(|value| value.0),
        // What a current is per unit and in kiloamperes follows from the same place.
        _ => to_fixed(value * case.customary(kind), gridflow_inputs::units::MicroAmperes::PER_KA),
    };
    fixed.unwrap_or(MAX_MAGNITUDE)
}

fn names(buses: &[BusId]) -> String {
    let shown: Vec<String> = buses.iter().take(8).map(ToString::to_string).collect();
    let more = if buses.len() > 8 { format!(" and {} more", buses.len() - 8) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// Solves one island at one epoch.
fn estimate(problem: Problem<GridRow, EstimationState>) -> Answer<EstimationState, EstimationRow> {
    let mut state = problem.previous.unwrap_or_default();
    let island = IslandId(problem.key);
    let tick_ms = problem.epoch as i64;
    let region = problem.shared.iter().find_map(|row| if let GridRow::Region(region) = row { Some(&**region) } else { None });
    let row = problem.rows.iter().find_map(|row| if let GridRow::Island(row) = row { Some(*row) } else { None });
    let mut failed = None;
    match solve(island, tick_ms, region, row, &problem.rows, &mut state) {
        Ok((good, unmeasured)) => {
            state.good = good;
            if !unmeasured.is_empty() {
                let message = format!("island {island} is not observable: no measurement determines bus {}", names(&unmeasured));
                failed = Some((Failure::Unobservable, 0, message));
            }
        }
        // The sensors of an island that has just come up have not had the time to report.
        Err((Failure::NoData, ..)) if state.good.is_empty() && row.is_some_and(|row| row.changed_ms == tick_ms) => {}
        Err(failure) => failed = Some(failure),
    }
    let mut answer = state.good.clone();
    answer.extend(state.failure.outcome(Solver::Estimation, island.0, tick_ms, failed).map(|row| EstimationRow::Row(row.into())));
    Answer { previous: state, rows: answer }
}

/// What there is to tell, and the buses that no reading determines.
type Solved = Result<(Vec<EstimationRow>, Vec<BusId>), Failed>;

fn solve(
    island: IslandId,
    tick_ms: i64,
    region: Option<&Region>,
    row: Option<IslandRow>,
    rows: &[GridRow],
    state: &mut EstimationState,
) -> Solved {
    let no_data = |what: &str| (Failure::NoData, 0, format!("island {island} cannot be estimated: {what}"));
    let region = region.ok_or_else(|| no_data("there is no region row"))?;
    let IslandRow { reference, changed_ms } = row.ok_or_else(|| no_data("it has no source"))?;
    let base = region.base_power;
    let mut grid = match state.grid.take().filter(|grid| grid.holds(rows, reference, base)) {
        Some(grid) => grid,
        None => Grid::new(rows, reference, base).map_err(|message| (Failure::BadNetwork, 0, message))?,
    };
    // Also of equipment that was without a source for a while and is as it was.
    if state.changed_ms != Some(changed_ms) {
        state.changed_ms = Some(changed_ms);
        state.connect(&grid, changed_ms);
        state.suspects.renew();
    }
    let moment = Moment { tick_ms, changed_ms, early: false, voltages_only: false };
    let answer = scan(island, moment, rows, &mut grid, state);
    state.grid = Some(grid);
    answer
}

fn scan(island: IslandId, moment: Moment, rows: &[GridRow], grid: &mut Grid, state: &mut EstimationState) -> Solved {
    let failed = |error: EstimationError| (Failure::Diverged, error.steps().unwrap_or(0) as u32, format!("island {island}: {error}"));
    let start = state.start(&grid.case);
    let moment = Moment { early: state.is_early(moment.tick_ms, rows), ..moment };
    let mut options =
        Options { zero_injections: grid.idle.clone(), tolerance: TOLERANCE, max_iterations: ITERATIONS, ..Options::default() };
    let no_data = |what: &str| (Failure::NoData, 0, format!("island {island} cannot be estimated: {what}"));
    let (moment, scanned) = match attempt(moment, rows, grid, state, &start, &mut options) {
        Err(error) if error.steps().is_some() && moment.is_after_change(rows) => {
            let moment = Moment { voltages_only: true, ..moment };
            (moment, attempt(moment, rows, grid, state, &start, &mut options))
        }
        scanned => (moment, scanned),
    };
    let (mut gathered, mut open, mut solved) = scanned.map_err(failed)?.map_err(no_data)?;
    if state.suspects.ask(&gathered, &solved) {
        options.start = Some((solved.v.clone(), solved.va.clone()));
        let bounds = state.suspects.options(&gathered);
        let found = numerics::identify(&grid.case, grid.reference, &gathered.rows, &options, &bounds, state.tracker.cache()).ok();
        if state.suspects.take(&gathered, found.as_ref(), moment.tick_ms) {
            let without = measured(moment, rows, grid, state, &solved.va, &options).map_err(failed)?;
            (gathered, open) = without.ok_or_else(|| no_data(LEFT_OPEN))?;
            solved = track(grid, &gathered, &mut options, &mut state.tracker).map_err(failed)?;
        }
    }
    let (told, open) = tell(island, moment, grid, &gathered, &solved, &open)?;
    let estimated = if gathered.kept_out.is_empty() {
        Vec::new()
    } else {
        let kinds = gathered.kept_out.iter().map(|(_, row)| row.kind);
        numerics::readings(&grid.case, kinds, &solved.v, &solved.va)
    };
    state.suspects.judge(&gathered.kept_out, &estimated);
    let suspects = state.suspects.rows(island).into_iter().map(|row| EstimationRow::Row(row.into()));
    Ok((told.into_iter().chain(suspects).collect(), open))
}

/// Where a state says that what it rests on contradicts itself: J has several minima then, at which one arrives is chance. A bus
/// of a branch over which the angle is that of no grid in operation; or, at a switch's own epoch, the reference bus when J is far above
/// its point although the standard deviations of old readings were raised.
fn contradicted(grid: &Grid, moment: Moment, solved: &numerics::Estimate) -> Option<BusId> {
    let across = |branch: &&CaseBranch| (solved.va[branch.from] - solved.va[branch.to] - branch.shift).abs() > STRAINED;
    let strained = grid.case.branches.iter().find(across).map(|branch| branch.from);
    let all_old = moment.tick_ms == moment.changed_ms && !moment.voltages_only;
    let far = all_old && solved.threshold.is_some_and(|threshold| solved.objective > FAR * threshold);
    strained.or(far.then_some(grid.reference)).map(|bus| grid.case.buses[bus].id)
}

/// An estimate of what takes part, and the buses that readings leave open; or what is missing for one.
#[allow(clippy::type_complexity, reason = "it is taken apart at once")]
fn attempt<'a>(
    moment: Moment,
    rows: &'a [GridRow],
    grid: &mut Grid,
    state: &mut EstimationState,
    start: &(Vec<f64>, Vec<f64>),
    options: &mut Options,
) -> Result<Result<(Gathered<'a>, Vec<usize>, numerics::Estimate), &'static str>, EstimationError> {
    options.start = None;
    let Some((gathered, open)) = measured(moment, rows, grid, state, &start.1, options)? else { return Ok(Err(LEFT_OPEN)) };
    if !gathered.is_read() {
        return Ok(Err("no sensor has reported"));
    }
    options.start = Some(start.clone());
    let solved = track(grid, &gathered, options, &mut state.tracker)?;
    if let Some(bus) = contradicted(grid, moment, &solved).filter(|_| gathered.outdated > 0) {
        state.tracker.forget();
        return Err(EstimationError::Implausible { iterations: solved.iterations, bus });
    }
    Ok(Ok((gathered, open, solved)))
}

/// What takes part in a scan, and the buses that readings leave open; none when they leave some and it is early.
fn measured<'a>(
    moment: Moment,
    rows: &'a [GridRow],
    grid: &mut Grid,
    state: &mut EstimationState,
    angles: &[f64],
    options: &Options,
) -> Result<Option<(Gathered<'a>, Vec<usize>)>, EstimationError> {
    let EstimationState { tracker, since, suspects, .. } = state;
    let kept_out = |source: &Source| suspects.holds(source);
    let mut gathered = gather(grid, rows, moment, since, angles, &kept_out);
    if !gathered.is_read() {
        return Ok(Some((gathered, Vec::new())));
    }
    let Some(reach) = grid.reach(&gathered.rows, options, tracker.cache(), moment.early)? else { return Ok(None) };
    let (added, open) = (reach.added.clone(), reach.open.clone());
    add_usual(&mut gathered, grid, &added, &kept_out);
    Ok(Some((gathered, open)))
}

/// The estimate of a scan: from the state of the last, or else from the start values of the network, as after a change that leads
/// far away.
fn track(grid: &Grid, gathered: &Gathered, options: &mut Options, tracker: &mut Tracker) -> Result<numerics::Estimate, EstimationError> {
    match tracker.scan(&grid.case, grid.reference, &gathered.rows, options) {
        Err(error) if error.steps().is_some() => {
            options.start = None;
            tracker.scan(&grid.case, grid.reference, &gathered.rows, options)
        }
        solved => solved,
    }
}

/// Rows of an estimate; `open` are the buses that readings alone do not determine.
fn tell(island: IslandId, moment: Moment, grid: &Grid, gathered: &Gathered, solved: &numerics::Estimate, open: &[usize]) -> Solved {
    let (case, tick_ms) = (&grid.case, moment.tick_ms);
    let (p, q) = grid.admittance.injections(&solved.v, &solved.va);
    let beyond = |what: &str| {
        (Failure::Diverged, solved.iterations as u32, format!("island {island}: an estimated {what} is beyond what a row may hold"))
    };
    // The frame is that of synchrophasors, or of an earlier reference bus.
    let origin = solved.va[grid.reference];
    let mut buses = Vec::with_capacity(case.buses.len());
    for (index, bus) in case.buses.iter().enumerate() {
        buses.push(BusState {
            bus: bus.id,
            voltage: case.microvolts(index, solved.v[index]).ok_or_else(|| beyond("voltage"))?,
            angle: case.microradians(solved.va[index] - origin).ok_or_else(|| beyond("angle"))?,
            p: case.mw(p[index]).ok_or_else(|| beyond("injection"))?,
            q: case.mvar(q[index]).ok_or_else(|| beyond("injection"))?,
        });
    }
    let named = |index: &usize| case.buses[*index].id;
    let open: Vec<BusId> = open.iter().map(named).collect();
    let unobservable: Vec<BusId> = solved.unobservable.iter().map(named).collect();
    let row = Estimate {
        island,
        tick_ms,
        reference: case.buses[grid.reference].id,
        iterations: solved.iterations as u32,
        measurements: gathered.rows.len() as u32,
        pseudo: gathered.pseudo,
        outdated: gathered.outdated,
        degrees_of_freedom: solved.degrees_of_freedom as i64,
        objective_ppm: to_fixed(solved.objective, 1e6).unwrap_or(MAX_MAGNITUDE),
        threshold_ppm: solved.threshold.and_then(|threshold| to_fixed(threshold, 1e6)).unwrap_or(0),
        buses,
        resting: open.iter().copied().filter(|bus| unobservable.binary_search(bus).is_err()).collect(),
        unobservable,
    };
    let mut answer = vec![EstimationRow::Row(row.into())];
    let mut audited = Vec::with_capacity(gathered.rows.len());
    for (index, measurement) in gathered.rows.iter().enumerate().filter(|(index, _)| solved.used[*index]) {
        let (residual, weighted) = (solved.residuals[index], solved.residuals[index].abs() / measurement.sigma);
        let readings = gathered.readings(index);
        for reading in readings {
            // Of a sum, each meter as if the others were right.
            let drawn = matches!(reading.sensor.quantity, Quantity::ActiveLoad | Quantity::ReactiveLoad);
            let off = in_units(case, measurement.kind, if drawn { -residual } else { residual });
            let estimated = reading.value.saturating_sub(off);
            audited.push(UsedReading { sensor: reading.sensor.id, event_ms: reading.event_ms, value: reading.value, estimated });
            if weighted >= SUSPECT {
                let row = EstimateResidual {
                    island,
                    sensor: reading.sensor.id,
                    quantity: reading.sensor.quantity,
                    tick_ms,
                    value: reading.value,
                    estimated,
                    residual: off,
                    weighted_milli: to_fixed(weighted, 1e3).unwrap_or(MAX_MAGNITUDE),
                };
                answer.push(EstimationRow::Row(row.into()));
            }
        }
    }
    // Meters of loads and units come behind the others, by bus.
    audited.sort_by_key(|used| used.sensor);
    // Of a synchrophasor one stands for both.
    audited.dedup_by_key(|used| used.sensor);
    answer.push(EstimationRow::Used(Used { island, tick_ms, readings: Arc::new(audited) }));
    if open.is_empty() {
        answer.push(EstimationRow::Observable(island));
    }
    Ok((answer, open))
}

/// The estimator, for the generic solver.
#[must_use]
pub fn solve_estimation() -> Solve<GridRow, EstimationState, EstimationRow> {
    Arc::new(estimate)
}

#[cfg(test)]
mod tests;
