//! The estimator in its dataflow, from rows of the network, breakers and readings: at every solve, that of a switch's epoch included,
//! its state is what `numerics::estimate` finds from scratch, from measurements that this file makes of the same rows by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use gridflow_inputs::ids::{BusId, GeneratorId, LoadId, SensorId};
use gridflow_inputs::input::{Quantity, Region};
use gridflow_inputs::network::{BusKind, EquipmentKind, Network};
use gridflow_inputs::units::{MicroHertz, MilliVoltAmperes, MilliWatts};
use gridflow_inputs::{Epoch, Input, Sequenced};
use gridflow_numerics::case::{Case, CaseMeasurement, MeasurementKind};
use gridflow_numerics::estimation::{Cache, Options, estimate, unobservable};
use gridflow_operators::decision::{Failure, Output};
use gridflow_operators::estimation::{EstimationRow, EstimationState, solve_estimation};
use gridflow_operators::grid::{GridRow, changes, place_of, solver_rows};
use gridflow_operators::islands::{IslandInput, IslandOutput, IslandRow, islands};
use gridflow_operators::placement::by_island;
use gridflow_operators::sealed::Clock;
use gridflow_operators::solver::{Answer, Problem, Solve, SolverInput, inline_pool, solver};
use gridflow_operators::state::{Registry, decode, encode};
use gridflow_operators::telemetry::Reading;
use proptest::prelude::*;
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::vec::Map;

use crate::estimation_world::{BASE_MVA, World, published};
use crate::harness::{Told, run};

const START: i64 = 1_000_000_000;
/// Readings are so much older than the tick that uses them.
const AGE_MS: i64 = 200;

/// What is fed: a row for the islands, a reading that begins or ceases, a tick for a worker.
#[derive(Clone)]
enum Fed {
    Row(IslandInput),
    Reading(Reading, i64),
    Tick(u64),
}

/// An epoch: rows, readings, whether the timer rings.
type Step = (Epoch, Vec<Input>, Vec<(Reading, i64)>, bool);

fn region() -> Region {
    Region {
        name: "judged".to_owned(),
        currency: "EUR".to_owned(),
        base_power: MilliVoltAmperes::from_mva(BASE_MVA).expect("it is a power"),
        epoch_ms: 1_000,
        utc_offset_ms: 0,
        frequency: MicroHertz(50_000_000),
        lateness_scada_ms: 0,
        lateness_meter_ms: 0,
    }
}

/// Runs the estimator behind topology and placement join.
fn told(workers: usize, steps: &[Step], solve: &Solve<GridRow, EstimationState, EstimationRow>) -> Told<(EstimationRow, Epoch, i64)> {
    let epochs: Vec<Epoch> = steps.iter().map(|step| step.0).collect();
    let (steps, solve) = (steps.to_vec(), Arc::clone(solve));
    let share = move |worker: usize, workers: usize, place: usize| {
        let (epoch, rows, readings, tick) = &steps[place];
        let rows = rows.iter().enumerate().map(|(sequence, input)| {
            Fed::Row(IslandInput::Row(Sequenced { epoch: *epoch, sequence: sequence as u32, input: input.clone() }))
        });
        let fed: Vec<Fed> = rows.chain(readings.iter().map(|(reading, change)| Fed::Reading(reading.clone(), *change))).collect();
        let mut mine = crate::harness::part(&fed, worker, workers, place);
        if worker == 0 {
            mine.push(Fed::Row(IslandInput::Clock(Clock { worker: 0, ticks: Vec::new() })));
        }
        mine.extend(tick.then_some(Fed::Tick(worker as u64)));
        mine
    };
    run(workers, &epochs, share, move |fed| {
        let registry = Registry::default();
        let drawn = islands(fed.clone().flat_map(|fed| if let Fed::Row(row) = fed { Some(row) } else { None }), &registry);
        let placed = changes(drawn.clone().flat_map(|drawn| match drawn {
            IslandOutput::Placed(place, island, change) => Some(((place, island), change)),
            _ => None,
        }));
        let equipment = changes(drawn.clone().flat_map(|drawn| match drawn {
            IslandOutput::Element(place, row, change) => Some(((place, GridRow::Element(Arc::new(row))), change)),
            _ => None,
        }));
        let readings = changes(fed.clone().flat_map(|fed| match fed {
            Fed::Reading(reading, change) => Some(((place_of(&reading), GridRow::Reading(reading)), change)),
            _ => None,
        }));
        let references = changes(drawn.clone().flat_map(|drawn| match drawn {
            IslandOutput::Island(island, row, change) => Some(((island, GridRow::Island(row)), change)),
            _ => None,
        }));
        let idle = changes(drawn.clone().flat_map(|drawn| match drawn {
            IslandOutput::Idle(place, idle, change) => Some(((place, idle), change)),
            _ => None,
        }));
        let changed = drawn.flat_map(|drawn| match drawn {
            IslandOutput::Changed(island) => Some(SolverInput::<GridRow>::Trigger { key: island.0 }),
            _ => None,
        });
        let ticks = fed.flat_map(|fed| if let Fed::Tick(worker) = fed { Some(SolverInput::TriggerAll { worker }) } else { None });
        let (grid, _) = by_island(equipment.concat(readings), placed, idle);
        let rows = solver_rows(grid.concat(references));
        solver(rows.concat(changed).concat(ticks), "Estimation", &registry, 0, inline_pool(), Arc::clone(&solve)).inner
    })
}

/// What a judge remembers of an island: what was connected to each bus, and since when.
#[derive(Default)]
struct Known {
    connected: BTreeMap<BusId, BTreeSet<(u8, u32)>>,
    since: BTreeMap<BusId, i64>,
    /// Since when a bus is in the island, if that is later than its first estimate.
    came: BTreeMap<BusId, i64>,
}

/// What judges come to.
#[derive(Default)]
struct Verdict {
    islands: BTreeMap<u32, Known>,
    /// Solves compared, of these at the epoch of a change, and the greatest distance.
    compared: usize,
    /// Of these, where of what was read before a change only voltages took part.
    voltages_only: usize,
    at_changes: usize,
    distance: f64,
    faults: Vec<String>,
    /// Of each solve: epoch, magnitudes by bus.
    magnitudes: BTreeMap<(Epoch, u32), Vec<(BusId, f64)>>,
}

fn island_row(rows: &[GridRow]) -> Option<IslandRow> {
    rows.iter().find_map(|row| if let GridRow::Island(row) = row { Some(*row) } else { None })
}

/// The network of a problem as a case with its reference bus.
fn case_of(rows: &[GridRow], reference: BusId) -> Case {
    let elements = rows.iter().filter_map(|row| if let GridRow::Element(row) = row { Some(&**row) } else { None });
    let mut network = Network::from_rows(elements);
    for bus in network.buses.iter_mut().filter(|bus| bus.kind == BusKind::Reference) {
        bus.kind = BusKind::Generator;
    }
    network.buses.iter_mut().filter(|bus| bus.id == reference).for_each(|bus| bus.kind = BusKind::Reference);
    Case::new(BASE_MVA, &network).expect("it is a case")
}

impl Known {
    /// Takes note of what is connected now.
    fn connect(&mut self, case: &Case, changed_ms: i64) {
        let mut connected: BTreeMap<BusId, BTreeSet<(u8, u32)>> = case.buses.iter().map(|bus| (bus.id, BTreeSet::new())).collect();
        let loads = case.loads.iter().map(|load| (load.bus, (0, load.id.0)));
        for (bus, connection) in loads.chain(case.generators.iter().map(|unit| (unit.bus, (1, unit.id.0)))) {
            connected.entry(case.buses[bus].id).or_default().insert(connection);
        }
        for (bus, set) in &connected {
            match self.connected.get(bus) {
                None if self.connected.is_empty() => {}
                None => drop(self.came.insert(*bus, changed_ms)),
                Some(before) if before != set => drop(self.since.insert(*bus, changed_ms)),
                Some(_) => {}
            }
        }
        self.connected = connected;
    }

    /// Measurements from the definitions of the words, for a network metered throughout, buses whose injection is passed over, and how many of the
    /// former are from before the last change.
    fn measurements(
        &self,
        case: &Case,
        rows: &[GridRow],
        row: IslandRow,
        tick_ms: i64,
        voltages_only: bool,
    ) -> (Vec<CaseMeasurement>, Vec<usize>, u32) {
        let readings: Vec<&Reading> =
            rows.iter().filter_map(|row| if let GridRow::Reading(reading) = row { Some(reading) } else { None }).collect();
        let forgotten =
            |reading: &Reading| voltages_only && reading.event_ms < row.changed_ms && reading.sensor.quantity != Quantity::VoltageMagnitude;
        // A bus that came later, or whose voltage was next to nothing before the change, was not what it is.
        let before_it_came = |reading: &Reading, bus: BusId| {
            let low = |other: &&&Reading| {
                let base = case.bus_index(bus).map_or(0.0, |bus| case.buses[bus].base_kv) * 1e9;
                let of_bus = other.sensor.quantity == Quantity::VoltageMagnitude && other.sensor.element_id == bus.0;
                of_bus && other.event_ms < row.changed_ms && (other.value as f64) < 0.1 * base
            };
            let came = if readings.iter().any(|other| low(&other)) { Some(row.changed_ms) } else { self.came.get(&bus).copied() };
            came.is_some_and(|came| reading.event_ms < came)
        };
        let factor = |reading: &Reading, before: f64| {
            let age = tick_ms - reading.event_ms;
            let stale = if age > 30_000 { (1 + age / 30_000) as f64 } else { 1.0 };
            stale * if reading.event_ms < row.changed_ms { before } else { 1.0 }
        };
        let (mut found, mut passed_over, mut outdated) = (Vec::new(), Vec::new(), 0);
        for reading in &readings {
            let (flow, injection) = match reading.sensor.quantity {
                Quantity::ActiveFlow | Quantity::ReactiveFlow => (true, false),
                Quantity::ActiveInjection | Quantity::ReactiveInjection => (false, true),
                Quantity::VoltageMagnitude => (false, false),
                _ => continue,
            };
            let since = self.since.get(&BusId(reading.sensor.element_id)).copied().unwrap_or(i64::MIN);
            let ends = match reading.sensor.element {
                EquipmentKind::Branch => {
                    let branch =
                        case.branch_index(gridflow_inputs::ids::BranchId(reading.sensor.element_id)).map(|index| &case.branches[index]);
                    branch.map_or(vec![], |branch| vec![case.buses[branch.from].id, case.buses[branch.to].id])
                }
                _ => vec![BusId(reading.sensor.element_id)],
            };
            if ends.into_iter().any(|bus| before_it_came(reading, bus)) {
                continue;
            }
            if forgotten(reading) || injection && reading.event_ms < since {
                passed_over.extend(case.bus_index(BusId(reading.sensor.element_id)).filter(|_| injection));
                continue;
            }
            let sigma = reading.sensor.sigma as f64 * factor(reading, if flow { 100.0 } else { 10.0 });
            let measured = case.measurement(&reading.sensor, reading.value, sigma as i64);
            outdated += u32::from(measured.is_some() && reading.event_ms < row.changed_ms);
            found.extend(measured);
        }
        let one = MilliWatts::PER_MW * case.base_mva;
        for (bus, bus_row) in case.buses.iter().enumerate() {
            let meter = |quantity, id: u32| {
                let of = |reading: &&&Reading| reading.sensor.quantity == quantity && reading.sensor.element_id == id;
                readings.iter().find(of).filter(|reading| !before_it_came(reading, bus_row.id) && !forgotten(reading))
            };
            let loads: Vec<LoadId> = case.loads.iter().filter(|load| load.bus == bus).map(|load| load.id).collect();
            let units: Vec<GeneratorId> = case.generators.iter().filter(|unit| unit.bus == bus).map(|unit| unit.id).collect();
            let parts = [(Quantity::ActiveLoad, Quantity::ActiveGeneration), (Quantity::ReactiveLoad, Quantity::ReactiveGeneration)];
            for (part, (of_load, of_unit)) in parts.into_iter().enumerate() {
                let drawn: Option<Vec<_>> = loads.iter().map(|load| meter(of_load, load.0)).collect();
                let given: Option<Vec<_>> = units.iter().map(|unit| meter(of_unit, unit.0)).collect();
                let kind = [MeasurementKind::ActiveInjection(bus), MeasurementKind::ReactiveInjection(bus)][part];
                let (value, sigma) = match (drawn, given) {
                    (Some(drawn), Some(given)) if !(drawn.is_empty() && given.is_empty()) => {
                        outdated += u32::from(drawn.iter().chain(&given).any(|reading| reading.event_ms < row.changed_ms));
                        let value = given.iter().map(|r| r.value).sum::<i64>() - drawn.iter().map(|r| r.value).sum::<i64>();
                        let sigmas = drawn.iter().chain(&given).map(|r| r.sensor.sigma as f64 * factor(r, 10.0));
                        (value as f64 / one, sigmas.map(|sigma| sigma * sigma).sum::<f64>().sqrt() / one)
                    }
                    _ => continue,
                };
                found.push(CaseMeasurement { sensor: SensorId(0), kind, value, sigma });
            }
        }
        (found, passed_over, outdated)
    }
}

/// Usual injections: where one was passed over and no meter says it, and where readings leave a bus open.
fn usual(case: &Case, reference: usize, found: &[CaseMeasurement], passed_over: &[usize], options: &Options) -> Vec<CaseMeasurement> {
    let open = |rows: &[CaseMeasurement]| unobservable(case, reference, rows, options, &mut Cache::new()).expect("it can be");
    let mut wanted: BTreeSet<usize> = open(found).into_iter().collect();
    if !wanted.is_empty() {
        let mut all = found.to_vec();
        for bus in wanted.iter().filter(|bus| !options.zero_injections.contains(bus)) {
            for kind in [MeasurementKind::ActiveInjection(*bus), MeasurementKind::ReactiveInjection(*bus)] {
                all.push(CaseMeasurement { sensor: SensorId(0), kind, value: 0.0, sigma: 1.0 });
            }
        }
        if !open(&all).is_empty() {
            let ends = case.branches.iter().flat_map(|branch| [(branch.from, branch.to), (branch.to, branch.from)]);
            let beside: Vec<usize> = ends.filter(|(from, _)| wanted.contains(from)).map(|(_, to)| to).collect();
            wanted.extend(beside);
        }
    }
    wanted.extend(passed_over);
    let (mut drawn, mut nominal) = (0.0, 0.0);
    for row in found {
        let MeasurementKind::ActiveInjection(bus) = row.kind else { continue };
        let here: Vec<f64> = case.loads.iter().filter(|load| load.bus == bus).map(|load| load.p).collect();
        if !here.is_empty() && case.generators.iter().all(|unit| unit.bus != bus) {
            drawn -= row.value;
            nominal += here.iter().sum::<f64>();
        }
    }
    let level = if nominal > 0.0 { f64::clamp(drawn / nominal, 0.0, 2.0) } else { 1.0 };
    let mut more = Vec::new();
    for bus in wanted {
        let loads: Vec<_> = case.loads.iter().filter(|load| load.bus == bus).collect();
        let units: Vec<_> = case.generators.iter().filter(|unit| unit.bus == bus).collect();
        if loads.is_empty() && units.is_empty() {
            continue;
        }
        let sigma = 0.3 * loads.iter().map(|load| load.p.abs()).sum::<f64>()
            + 0.3 * units.iter().map(|unit| unit.p_max.abs().max(unit.p.abs())).sum::<f64>();
        let p = units.iter().map(|unit| unit.p).sum::<f64>() - level * loads.iter().map(|load| load.p).sum::<f64>();
        let q = units.iter().map(|unit| unit.q).sum::<f64>() - level * loads.iter().map(|load| load.q).sum::<f64>();
        for (kind, value) in [(MeasurementKind::ActiveInjection(bus), p), (MeasurementKind::ReactiveInjection(bus), q)] {
            if !found.iter().any(|row| row.kind == kind) {
                more.push(CaseMeasurement { sensor: SensorId(0), kind, value, sigma: sigma.max(1e-3) });
            }
        }
    }
    more
}

/// The estimator, watched: for failures and, if `from_scratch`, each answer is compared with an estimate from scratch and with that of a
/// state that was saved and loaded; and nothing may be blamed.
fn watched(verdict: &Arc<Mutex<Verdict>>, from_scratch: bool) -> Solve<GridRow, EstimationState, EstimationRow> {
    let (inner, verdict) = (solve_estimation(), Arc::clone(verdict));
    Arc::new(move |problem: Problem<GridRow, EstimationState>| {
        let mut verdict = verdict.lock().expect("no judge panics");
        let Problem { key, epoch, effect, ref rows, .. } = problem;
        let (tick_ms, rows) = (epoch as i64, Arc::clone(rows));
        let problem = Problem { shared: Arc::new(vec![GridRow::Region(Arc::new(region()))]), ..problem };
        let fresh = problem.previous.is_none();
        let saved = from_scratch.then(|| encode(&problem.previous));
        let shared = Arc::clone(&problem.shared);
        let answer = inner(problem);
        if let Some(saved) = saved {
            let again = Problem {
                key,
                epoch,
                effect,
                retry: false,
                rows: Arc::clone(&rows),
                shared,
                previous: decode(&saved).expect("it was saved"),
            };
            let resumed = inner(again);
            if resumed.rows != answer.rows || encode(&resumed.previous) != encode(&answer.previous) {
                verdict.faults.push(format!("{epoch}, island {key}: a resumed state answers otherwise"));
            }
        }
        judge(&mut verdict, key, tick_ms, &rows, &answer, fresh, from_scratch);
        answer
    })
}

fn judge(
    verdict: &mut Verdict,
    key: u32,
    tick_ms: i64,
    rows: &[GridRow],
    answer: &Answer<EstimationState, EstimationRow>,
    fresh: bool,
    from_scratch: bool,
) {
    for told in &answer.rows {
        match told {
            EstimationRow::Row(Output::Outcome(row)) if !matches!(row.failure, Failure::NoData | Failure::Unobservable) => {
                verdict.faults.push(format!("{tick_ms}: {row:?}"))
            }
            EstimationRow::Row(Output::Suspect(row)) if from_scratch => {
                verdict.faults.push(format!("{tick_ms}: blamed without reason: {row:?}"))
            }
            _ => {}
        }
    }
    let known = verdict.islands.entry(key).or_default();
    if fresh {
        *known = Known::default();
    }
    let Some(row) = island_row(rows) else { return };
    let case = case_of(rows, row.reference);
    known.connect(&case, row.changed_ms);
    let estimated = answer.rows.iter().any(|told| matches!(told, EstimationRow::Row(Output::Estimate(row)) if row.tick_ms == tick_ms));
    if !estimated {
        return;
    }
    let found = answer.previous.tracked();
    verdict.magnitudes.insert((tick_ms as Epoch, key), found.buses.iter().copied().zip(found.v.iter().copied()).collect());
    verdict.compared += 1;
    verdict.at_changes += usize::from(row.changed_ms == tick_ms);
    if !from_scratch {
        return;
    }
    let options = Options { zero_injections: case.zero_injections(), tolerance: 1e-10, max_iterations: 100, ..Options::default() };
    let reference = case.bus_index(row.reference).expect("it is in the network");
    let told = answer
        .rows
        .iter()
        .find_map(|told| if let EstimationRow::Row(Output::Estimate(row)) = told { Some((row.measurements, row.outdated)) } else { None });
    let taken = |voltages_only: bool| {
        let (mut found, passed_over, outdated) = known.measurements(&case, rows, row, tick_ms, voltages_only);
        found.extend(usual(&case, reference, &found, &passed_over, &options));
        (found.len() as u32, outdated, found)
    };
    let (mut count, mut outdated, mut measurements) = taken(false);
    if told != Some((count, outdated)) {
        verdict.voltages_only += 1;
        (count, outdated, measurements) = taken(true);
    }
    assert_eq!(told, Some((count, outdated)), "{tick_ms}, island {key}: other measurements");
    let scratch = match estimate(&case, reference, &measurements, &options, &mut Cache::new()) {
        // From the network's start values contradictions may lead away; then what was found must be where steps from it end.
        Err(error) if error.steps().is_some() && row.changed_ms > START => {
            let options = Options { start: Some((found.v.clone(), found.va.clone())), ..options };
            estimate(&case, reference, &measurements, &options, &mut Cache::new())
        }
        scratch => scratch,
    };
    match scratch {
        Ok(scratch) => {
            for (index, bus) in case.buses.iter().enumerate() {
                assert_eq!(found.buses[index], bus.id);
                let angle = |va: &[f64]| va[index] - va[reference];
                let distance = (found.v[index] - scratch.v[index]).abs().max((angle(&found.va) - angle(&scratch.va)).abs());
                verdict.distance = verdict.distance.max(distance);
                if distance.is_nan() || distance > 1e-9 {
                    verdict.faults.push(format!("{tick_ms}, island {key}, bus {}: {distance:e} from the estimate from scratch", bus.id));
                    break;
                }
            }
        }
        Err(error) => verdict.faults.push(format!("{tick_ms}, island {key}: from scratch: {error}")),
    }
}

/// A storm: for each second the breakers that move, as places in the list of breakers; ticks each five seconds.
fn storm(network: Network, seed: u64, seconds: &[Vec<usize>]) -> (Vec<Step>, usize, usize) {
    let mut world = World::new(network, seed);
    let breakers = world.breakers();
    let mut steps = vec![(START as Epoch, world.rows(), world.scan(START - AGE_MS, 0.5, 0), true)];
    let (mut moved, mut most) = (0, 1);
    for (second, turns) in (1..).zip(seconds) {
        let now = START + 1_000 * second;
        let rows: Vec<Input> = turns.iter().filter_map(|place| world.turn(breakers[place % breakers.len()], now - AGE_MS)).collect();
        (moved, most) = (moved + rows.len(), most.max(world.islands()));
        let tick = second % 5 == 0;
        let readings = if tick { world.scan(now - AGE_MS, 0.5, 40) } else { Vec::new() };
        steps.push((now as Epoch, rows, readings, tick));
    }
    (steps, moved, most)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    // REQ: GRID-09, GRID-33
    #[test]
    fn storms_of_breakers_leave_the_estimate_that_a_solve_from_scratch_finds(
        seed in any::<u64>(),
        seconds in prop::collection::vec(prop::collection::vec(0..400usize, 0..3), 10..30),
    ) {
        let network = gridflow_inputs::matpower::read("ieee14.m", gridflow_inputs::matpower::IEEE14).expect("it is whole").network;
        let (steps, _, _) = storm(network, seed, &seconds);
        let verdict = Arc::default();
        let one = told(1, &steps, &watched(&verdict, true));
        let verdict = verdict.lock().expect("no judge panics");
        prop_assert!(verdict.faults.is_empty(), "{:#?}", &verdict.faults[..verdict.faults.len().min(5)]);
        prop_assert!(verdict.compared > 2);
        for workers in [2, 4] {
            prop_assert_eq!(&told(workers, &steps, &solve_estimation_of_region()), &one);
        }
    }
}

/// The estimator with the region's row.
fn solve_estimation_of_region() -> Solve<GridRow, EstimationState, EstimationRow> {
    let inner = solve_estimation();
    Arc::new(move |problem: Problem<GridRow, EstimationState>| {
        inner(Problem { shared: Arc::new(vec![GridRow::Region(Arc::new(region()))]), ..problem })
    })
}

// REQ: GRID-09, GRID-33
#[test]
fn a_storm_over_118_buses_splits_and_joins_islands_and_is_estimated_as_from_scratch() {
    let Some(network) = published("pglib_opf_case118_ieee") else { return };
    // What moves: anything, and what was opened before; and all branches of buses with a unit, which are islands then, and join again.
    let mut random = crate::estimation_world::Random(7);
    let mut seconds: Vec<Vec<usize>> = Vec::new();
    for second in 0..120usize {
        let again = seconds.get(second.wrapping_sub(9)).and_then(|turns| turns.first().copied());
        seconds.push(again.into_iter().chain((random.below(2) == 0).then(|| random.below(186 + 54 + 99))).collect());
    }
    let fed = network.generators.iter().filter(|unit| unit.p_max.0 > 0).map(|unit| unit.bus);
    let cuts = fed.map(|bus| -> Vec<usize> {
        let ends = |row: &gridflow_inputs::network::Branch| row.from == bus || row.to == bus;
        network.branches.iter().enumerate().filter(|(_, row)| ends(row)).map(|(place, _)| place).collect()
    });
    for (number, cut) in cuts.filter(|cut| cut.len() < 4).take(8).enumerate() {
        seconds[14 * number + 3].extend(&cut);
        seconds[14 * number + 12].extend(&cut);
    }
    let (steps, moved, most) = storm(network, 3, &seconds);
    let verdict = Arc::default();
    told(1, &steps, &watched(&verdict, true));
    let verdict = verdict.lock().expect("no judge panics");
    assert!(verdict.faults.is_empty(), "{:#?}", &verdict.faults[..verdict.faults.len().min(5)]);
    assert!(moved > 60 && verdict.at_changes > 30 && verdict.compared > 60, "{moved} moved, {} compared", verdict.compared);
    assert!(verdict.voltages_only * 10 < verdict.compared, "{} of {} rest on voltages only", verdict.voltages_only, verdict.compared);
    assert!(most > 1, "no island was split off");
}

// REQ: GRID-09, GRID-10
#[test]
fn two_thousand_scans_with_breakers_a_day_of_loads_and_lost_readings_do_not_diverge() {
    let Some(network) = published("pglib_opf_case118_ieee") else { return };
    let mut world = World::new(network, 11);
    let breakers = world.breakers();
    let mut steps = vec![(START as Epoch, world.rows(), world.scan(START - AGE_MS, 1.0, 0), true)];
    let mut truth: BTreeMap<Epoch, BTreeMap<BusId, f64>> = BTreeMap::new();
    let buses: Vec<BusId> = world.network.buses.iter().map(|bus| bus.id).collect();
    let (mut moved, mut most) = (0, 1);
    for scan in 1..=2_000i64 {
        let now = START + 5_000 * scan;
        let before = std::mem::replace(&mut world.level, 0.95 - 0.15 * wave(scan as f64 / 2_000.0));
        if world.solve().is_none() {
            world.level = before;
        }
        let mut rows = Vec::new();
        if scan % 4 == 0 {
            // What is open closes half of the time, so that a handful is.
            let open: Vec<_> = world.open.iter().copied().collect();
            let closes = open.len() > 6 || !open.is_empty() && world.random.below(2) == 0;
            let place = if closes { open[world.random.below(open.len())] } else { breakers[world.random.below(breakers.len())] };
            rows.extend(world.turn(place, now - AGE_MS));
            (moved, most) = (moved + rows.len(), most.max(world.islands()));
        }
        // At the epoch of a move readings are from before it: five seconds later they are not.
        let readings = if rows.is_empty() { world.scan(now - AGE_MS, 1.0, 50) } else { Vec::new() };
        if rows.is_empty() {
            truth.insert(now as Epoch, buses.iter().filter_map(|bus| Some((*bus, world.voltage(*bus)?))).collect());
        }
        steps.push((now as Epoch, rows, readings, true));
    }
    let verdict = Arc::default();
    told(1, &steps, &watched(&verdict, false));
    let verdict = verdict.lock().expect("no judge panics");
    assert!(verdict.faults.is_empty(), "{:#?}", &verdict.faults[..verdict.faults.len().min(5)]);
    assert!(verdict.compared >= 2_000 && moved > 300 && most > 1, "{} solves, {moved} moves, {most} islands", verdict.compared);
    let (mut sum, mut count) = (0.0, 0usize);
    for ((epoch, _), magnitudes) in &verdict.magnitudes {
        let Some(truth) = truth.get(epoch) else { continue };
        for (bus, v) in magnitudes {
            sum += (v - truth[bus]).abs();
            count += 1;
        }
    }
    // A voltmeter alone is off by 0.4 %.
    assert!(count > 100_000 && sum / (count as f64) < 1e-3, "{count} voltages, off by {} on average", sum / count as f64);
}

/// A wave of period 1, from 1 over -1 to 1.
fn wave(turns: f64) -> f64 {
    let x = (turns.fract() - 0.5).abs() * 2.0;
    2.0 * (x * x * (3.0 - 2.0 * x)) - 1.0
}
