//! State estimation of an island at a tick: from its equipment and newest good readings to the most likely voltages.
//!
//! A reading older than [`STALE_MS`] becomes a pseudo-measurement: its standard deviation grows with its age. Buses to
//! which nothing is connected inject nothing and are measured by that. An estimate that does not succeed is an outcome
//! row; the last good one stays, its tick telling its age.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridflow_inputs::Input;
use gridflow_inputs::ids::{BusId, IslandId, SensorId};
use gridflow_inputs::network::{BusKind, Network};
use gridflow_inputs::units::{MicroAmperes, MilliVoltAmperes, to_fixed};
use gridflow_numerics::admittance::Admittance;
use gridflow_numerics::case::{Case, CaseMeasurement, MeasurementKind};
use gridflow_numerics::estimation::{self, EstimationError};

use crate::audit::{Used, UsedReading};
use crate::decision::{BusState, Estimate, EstimateResidual, Failure, Output, Solver};
use crate::grid::{GridRow, IslandRows};
use crate::solver::{Answer, Problem, Solve};
use crate::standing::{Failed, Standing};
use crate::telemetry::{Reading, STALE_MS};
use serde::{Deserialize, Serialize};

/// Standard deviation of a zero injection, per unit: far below any meter's, far above rounding.
const ZERO_INJECTION_SIGMA: f64 = 1e-4;
/// A residual of this many standard deviations is a row.
const SUSPECT: f64 = 3.0;

/// What the estimator tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EstimationRow {
    /// A row for a stream.
    Row(Output),
    /// For the audit: the readings the estimate used.
    Used(Used),
    /// The island has an estimate of every bus: decisions need not wait for their timer.
    Observable(IslandId),
}

/// State of an island's estimator from one tick to the next.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct EstimationState {
    /// Voltage magnitude and angle to start from.
    voltages: BTreeMap<BusId, (f64, f64)>,
    /// The last good answer.
    good: Vec<EstimationRow>,
    /// The present failure.
    failure: Standing,
    /// Speeds up the next solve, never changes it.
    #[serde(skip)]
    cached: Option<Cached>,
}

/// What follows from the equipment alone, in per unit of the region's base.
#[derive(Debug)]
struct Cached {
    elements: Vec<Input>,
    reference: BusId,
    base: MilliVoltAmperes,
    case: Case,
    admittance: Admittance,
    /// Buses that inject nothing.
    idle: Vec<usize>,
    cache: estimation::Cache,
}

impl Cached {
    fn new(elements: Vec<Input>, reference: BusId, base: MilliVoltAmperes) -> Result<Self, String> {
        let case = island_case(&Network::from_rows(&elements), reference, base.mva())?;
        let mut busy = vec![false; case.buses.len()];
        let attached = case.generators.iter().map(|unit| unit.bus).chain(case.loads.iter().map(|load| load.bus));
        let attached =
            attached.chain(case.storages.iter().map(|unit| unit.bus)).chain(case.dc_lines.iter().flat_map(|line| [line.from, line.to]));
        attached.for_each(|bus| busy[bus] = true);
        let idle = (0..busy.len()).filter(|bus| !busy[*bus]).collect();
        Ok(Self { admittance: Admittance::new(&case), elements, reference, base, case, idle, cache: estimation::Cache::new() })
    }

    /// Whether all it follows from is the same.
    fn holds(&self, elements: &[Input], reference: BusId, base: MilliVoltAmperes) -> bool {
        self.reference == reference && self.base == base && self.elements == elements
    }
}

/// The case of an island, with `reference` as its one reference bus.
///
/// # Errors
/// When the network rows contradict each other.
pub(crate) fn island_case(network: &Network, reference: BusId, base_mva: f64) -> Result<Case, String> {
    let mut case = Case::of_nodes(base_mva, network).map_err(|error| error.to_string())?;
    let reference = case.nodes.bus(reference);
    for bus in &mut case.buses {
        if bus.id == reference {
            bus.kind = BusKind::Reference;
        } else if bus.kind == BusKind::Reference {
            bus.kind = BusKind::Generator;
        }
    }
    Ok(case)
}

/// Elements of a problem, as the key of what follows from them.
pub(crate) fn elements(rows: &[GridRow]) -> Vec<Input> {
    rows.iter()
        .filter_map(|row| match row {
            GridRow::Element(row) => Some(Input::clone(row)),
            _ => None,
        })
        .collect()
}

/// Measurements, the readings they are made of with the place of each one's measurement, and how many are none of a meter.
fn measurements<'a>(
    case: &Case,
    idle: &[usize],
    readings: &'a [Reading],
    tick_ms: i64,
) -> (Vec<CaseMeasurement>, Vec<(usize, &'a Reading)>, u32) {
    let mut taken = Vec::new();
    let mut known = Vec::new();
    let mut pseudo = 0;
    for reading in readings {
        let age_ms = tick_ms - reading.event_ms;
        let sigma = if age_ms > STALE_MS { reading.sensor.sigma.saturating_mul(1 + age_ms / STALE_MS) } else { reading.sensor.sigma };
        if let Some(row) = case.measurement(&reading.sensor, reading.value, sigma) {
            pseudo += u32::from(age_ms > STALE_MS);
            taken.push((BusId(reading.sensor.element_id), row));
            known.push(reading);
        }
    }
    let (mut rows, part_of) = case.pooled(&taken);
    let used = part_of.iter().zip(known).filter_map(|(place, reading)| Some(((*place)?, reading))).collect();
    for bus in idle {
        for kind in [MeasurementKind::ActiveInjection(*bus), MeasurementKind::ReactiveInjection(*bus)] {
            rows.push(CaseMeasurement { sensor: SensorId(u32::MAX), kind, value: 0.0, sigma: ZERO_INJECTION_SIGMA });
            pseudo += 1;
        }
    }
    (rows, used, pseudo)
}

/// An estimated value in the unit of its sensor.
fn in_units(case: &Case, kind: MeasurementKind, value: f64) -> i64 {
    use MeasurementKind as Kind;
    let fixed = match kind {
        Kind::VoltageMagnitude(bus) => case.microvolts(bus, value).map(|value| value.0),
        Kind::VoltageAngle(_) => case.microradians(value).map(|value| value.0),
        Kind::ActiveInjection(_) | Kind::ActiveFlowFrom(_) | Kind::ActiveFlowTo(_) => case.mw(value).map(|value| value.0),
        Kind::ReactiveInjection(_) | Kind::ReactiveFlowFrom(_) | Kind::ReactiveFlowTo(_) => case.mvar(value).map(|value| value.0),
        Kind::CurrentMagnitudeFrom(_)
        | Kind::CurrentMagnitudeTo(_)
        | Kind::CurrentRealFrom(_)
        | Kind::CurrentRealTo(_)
        | Kind::CurrentImaginaryFrom(_)
        | Kind::CurrentImaginaryTo(_) => MicroAmperes::from_ka(value * case.customary(kind)).map(|value| value.0),
    };
    fixed.unwrap_or(gridflow_inputs::units::MAX_MAGNITUDE)
}

fn names(buses: &[BusId]) -> String {
    let shown: Vec<String> = buses.iter().take(8).map(ToString::to_string).collect();
    let more = if buses.len() > 8 { format!(" and {} more", buses.len() - 8) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// Solves one island at one tick.
fn estimate(problem: Problem<GridRow, EstimationState>) -> Answer<EstimationState, EstimationRow> {
    let mut state = problem.previous.unwrap_or_default();
    let island = IslandId(problem.key);
    let tick_ms = problem.epoch as i64;
    let rows = IslandRows::new(problem.rows.iter().chain(problem.shared.iter()));
    let mut failed = None;
    match solve(island, tick_ms, &rows, elements(&problem.rows), &mut state) {
        Ok((good, unobservable)) => {
            state.good = good;
            if !unobservable.is_empty() {
                let message = format!("island {island} is not observable: no measurement determines bus {}", names(&unobservable));
                failed = Some((Failure::Unobservable, 0, message));
            }
        }
        Err(failure) => failed = Some(failure),
    }
    let mut answer = state.good.clone();
    answer.extend(state.failure.outcome(Solver::Estimation, island.0, tick_ms, failed).map(|row| EstimationRow::Row(row.into())));
    Answer { previous: state, rows: answer }
}

fn solve(
    island: IslandId,
    tick_ms: i64,
    rows: &IslandRows,
    elements: Vec<Input>,
    state: &mut EstimationState,
) -> Result<(Vec<EstimationRow>, Vec<BusId>), Failed> {
    let no_data = |what: &str| (Failure::NoData, 0, format!("island {island} cannot be estimated: {what}"));
    let region = rows.region.as_ref().ok_or_else(|| no_data("there is no region row"))?;
    let reference = rows.island.map(|island| island.reference).ok_or_else(|| no_data("it has no source"))?;
    let base = region.base_power;
    let mut cached = match state.cached.take().filter(|cached| cached.holds(&elements, reference, base)) {
        Some(cached) => cached,
        None => Cached::new(elements, reference, base).map_err(|message| (Failure::BadNetwork, 0, message))?,
    };
    let Cached { case, admittance, idle, cache, .. } = &mut cached;
    let (measurements, used, pseudo) = measurements(case, idle, &rows.readings, tick_ms);
    if used.is_empty() {
        return Err(no_data("no sensor has reported"));
    }
    let reference_index = case.bus_index(reference).ok_or_else(|| no_data("its reference bus is not in the network"))?;
    let warm = case.buses.iter().map(|bus| state.voltages.get(&bus.id).copied().unwrap_or((bus.v_start, bus.va_start))).unzip();
    let options = estimation::Options { start: Some(warm), ..estimation::Options::default() };
    let mut solved = estimation::estimate(case, reference_index, &measurements, &options, cache);
    if matches!(solved, Err(EstimationError::NotConverged { .. } | EstimationError::Singular { .. })) {
        // A state far from the old one, after a switch say, is found from the start values of the network.
        solved = estimation::estimate(case, reference_index, &measurements, &estimation::Options::default(), cache);
    }
    let solved = solved.map_err(|error| {
        state.voltages.clear();
        let iterations = match error {
            EstimationError::NotConverged { iterations, .. } | EstimationError::Singular { iterations, .. } => iterations as u32,
            _ => 0,
        };
        (Failure::Diverged, iterations, format!("island {island}: {error}"))
    })?;

    let (p, q) = admittance.injections(&solved.v, &solved.va);
    let beyond = |what: &str| {
        (Failure::Diverged, solved.iterations as u32, format!("island {island}: an estimated {what} is beyond what a row may hold"))
    };
    let mut buses = Vec::with_capacity(case.buses.len());
    for (index, bus) in case.buses.iter().enumerate() {
        buses.push(BusState {
            bus: bus.id,
            voltage: case.microvolts(index, solved.v[index]).ok_or_else(|| beyond("voltage"))?,
            angle: case.microradians(solved.va[index]).ok_or_else(|| beyond("angle"))?,
            p: case.mw(p[index]).ok_or_else(|| beyond("injection"))?,
            q: case.mvar(q[index]).ok_or_else(|| beyond("injection"))?,
        });
    }
    state.voltages = case.buses.iter().enumerate().map(|(index, bus)| (bus.id, (solved.v[index], solved.va[index]))).collect();
    // A node that a switch makes a bus of its own starts from the bus it was part of.
    let nodes = case.nodes.merged().iter().filter_map(|row| Some((row.bus, *state.voltages.get(&row.into)?)));
    state.voltages.extend(nodes.collect::<Vec<_>>());
    let unobservable: Vec<BusId> = solved.unobservable.iter().map(|index| case.buses[*index].id).collect();
    let row = Estimate {
        island,
        tick_ms,
        reference: case.buses[reference_index].id,
        iterations: solved.iterations as u32,
        measurements: measurements.len() as u32,
        pseudo,
        degrees_of_freedom: solved.degrees_of_freedom as i64,
        objective_ppm: to_fixed(solved.objective, 1e6).unwrap_or(gridflow_inputs::units::MAX_MAGNITUDE),
        threshold_ppm: solved.threshold.and_then(|threshold| to_fixed(threshold, 1e6)).unwrap_or(0),
        buses,
        unobservable: unobservable.clone(),
    };
    let mut answer = vec![EstimationRow::Row(row.into())];
    let mut audited = Vec::with_capacity(used.len());
    for (index, reading) in used.iter().copied().filter(|(index, _)| solved.used[*index]) {
        let measurement = &measurements[index];
        // Where meters of several nodes are summed, the residual of the sum falls on each of them: which it is cannot be told.
        let alone = || case.measurement(&reading.sensor, reading.value, reading.sensor.sigma);
        let summed = if case.nodes.merged().is_empty() { 0.0 } else { measurement.value - alone().map_or(0.0, |row| row.value) };
        let estimated = in_units(case, measurement.kind, solved.estimated[index] - summed);
        audited.push(UsedReading { sensor: reading.sensor.id, event_ms: reading.event_ms, value: reading.value, estimated });
        let weighted = solved.residuals[index].abs() / measurement.sigma;
        if weighted >= SUSPECT {
            let row = EstimateResidual {
                island,
                sensor: reading.sensor.id,
                tick_ms,
                value: reading.value,
                estimated,
                residual: reading.value - estimated,
                weighted_milli: to_fixed(weighted, 1e3).unwrap_or(gridflow_inputs::units::MAX_MAGNITUDE),
            };
            answer.push(EstimationRow::Row(row.into()));
        }
    }
    answer.push(EstimationRow::Used(Used { island, tick_ms, readings: audited }));
    if unobservable.is_empty() {
        answer.push(EstimationRow::Observable(island));
    }
    state.cached = Some(cached);
    Ok((answer, unobservable))
}

/// The estimator, for the generic solver.
#[must_use]
pub fn solve_estimation() -> Solve<GridRow, EstimationState, EstimationRow> {
    Arc::new(estimate)
}

#[cfg(test)]
mod tests {
    use gridflow_inputs::ids::{FeederId, SourceId, ZoneId};
    use gridflow_inputs::input::{Quantity, Region, Sensor};
    use gridflow_inputs::network::{EquipmentKind, Side};
    use gridflow_inputs::units::MicroHertz;

    use super::*;
    use crate::islands::IslandRow;

    /// The IEEE network with voltages and injections measured everywhere, on a base of so many MVA.
    fn problem(base_mva: f64, previous: Option<EstimationState>) -> Problem<GridRow, EstimationState> {
        let file = gridflow_inputs::matpower::read("ieee14.m", gridflow_inputs::matpower::IEEE14).expect("the embedded network is whole");
        let buses = file.network.buses.clone();
        let reference = buses.iter().find(|bus| bus.kind == BusKind::Reference).expect("there is one").id;
        let mut rows: Vec<GridRow> = file.network.into_rows().into_iter().map(|row| GridRow::Element(Arc::new(row))).collect();
        rows.push(GridRow::Island(IslandRow { reference, changed_ms: 0 }));
        for (place, bus) in (0u32..).zip(&buses) {
            let injected = if place == 0 { 65_000_000 } else { -5_000_000 };
            for (kind, (quantity, value)) in (0u32..).zip([
                (Quantity::VoltageMagnitude, bus.base_voltage.0),
                (Quantity::ActiveInjection, injected),
                (Quantity::ReactiveInjection, 0),
            ]) {
                let sensor = Sensor {
                    id: SensorId(3 * place + kind),
                    valid_from_ms: 0,
                    quantity,
                    element: EquipmentKind::Bus,
                    element_id: bus.id.0,
                    side: Side::None,
                    sigma: 1_000_000,
                    range_min: i64::MIN,
                    range_max: i64::MAX,
                    feeder: FeederId(bus.id.0),
                    zone: ZoneId(1),
                    period_ms: 1_000,
                    source: SourceId(1),
                };
                rows.push(GridRow::Reading(Arc::new(Reading { sensor, event_ms: 9_000, value })));
            }
        }
        rows.sort();
        let region = Region {
            name: "test".to_owned(),
            currency: "EUR".to_owned(),
            base_power: MilliVoltAmperes::from_mva(base_mva).expect("it is a power"),
            epoch_ms: 1_000,
            utc_offset_ms: 0,
            frequency: MicroHertz(50_000_000),
            lateness_scada_ms: 0,
            lateness_meter_ms: 0,
        };
        let shared = Arc::new(vec![GridRow::Region(Arc::new(region))]);
        Problem { key: 1, epoch: 10_000, effect: 10_000, rows: Arc::new(rows), shared, previous }
    }

    /// What a checkpoint keeps of a state.
    fn resumed(state: &EstimationState) -> EstimationState {
        crate::state::decode(&crate::state::encode(state)).expect("it was saved")
    }

    #[test]
    fn a_base_that_changes_is_not_answered_from_what_followed_from_the_old_one() {
        let first = estimate(problem(100.0, None));
        let estimated = |rows: &[EstimationRow]| rows.iter().any(|row| matches!(row, EstimationRow::Row(Output::Estimate(_))));
        assert!(estimated(&first.rows), "{:?}", first.rows);
        let saved = resumed(&first.previous);
        let straight = estimate(problem(50.0, Some(first.previous)));
        let fresh = estimate(problem(50.0, Some(saved)));
        assert_eq!(straight.rows, fresh.rows);
        // Impedances per unit of another base are others.
        assert!(estimated(&fresh.rows) && fresh.rows != first.rows);
    }
}
