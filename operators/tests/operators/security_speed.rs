//! What the contingency view and verdicts cost on 9,241 buses with 71,000 sensors, in CPU time of one thread.
//!
//! `cargo test --release -p gridflow-operators --test operators security_speed -- --ignored --nocapture`

#![allow(clippy::print_stdout)] // its purpose

use std::collections::BTreeMap;
use std::sync::Arc;

use gridflow_inputs::ids::{BusId, IslandId};
use gridflow_inputs::input::{OutageRequest, Quantity, Sensor};
use gridflow_inputs::network::{BusKind, EquipmentKind, Network, Side};
use gridflow_inputs::units::MilliWatts;
use gridflow_operators::contingency::watch::{Watch, WatchInput, of_island};
use gridflow_operators::contingency::{ContingencyState, solve_contingencies};
use gridflow_operators::decision::{Contingency, Estimate, Output};
use gridflow_operators::grid::GridRow;
use gridflow_operators::islands::IslandRow;
use gridflow_operators::maintenance::{MaintenanceState, solve_maintenance};
use gridflow_operators::operating_point;
use gridflow_operators::sealed::Logic;
use gridflow_operators::solver::{Answer, Blocks, Problem, SolverInput, inline_blocks, inline_pool, solver};
use gridflow_operators::state::{Registry, encode};
use gridflow_operators::telemetry::Reading;
use rustix::time::{ClockId, clock_gettime};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::{Input as _, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};

use crate::estimation_world::published;
use crate::harness::sensor;
use crate::security::{START, elements, estimate, region};

/// CPU time of this thread, milliseconds.
fn now() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let wall = || {
        let time = clock_gettime(ClockId::Monotonic);
        time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
    };
    let begun = (now(), wall());
    let result = run();
    println!("{what}: {:.1} ms of this thread, {:.1} ms until it was there", now() - begun.0, wall() - begun.1);
    result
}

/// Every other block on a second thread.
fn two_threads() -> Blocks {
    Arc::new(|count, run| {
        std::thread::scope(|scope| {
            scope.spawn(|| (1..count).step_by(2).for_each(run));
            (0..count).step_by(2).for_each(run);
        });
    })
}

/// What is measured: voltages and injections of buses, flows at one end, units, loads.
fn sensors(network: &Network) -> Vec<Arc<Sensor>> {
    let mut places = Vec::new();
    let bus = [Quantity::VoltageMagnitude, Quantity::ActiveInjection, Quantity::ReactiveInjection];
    network.buses.iter().for_each(|row| places.extend(bus.map(|quantity| (quantity, EquipmentKind::Bus, row.id.0))));
    let flow = [Quantity::ActiveFlow, Quantity::ReactiveFlow];
    network.branches.iter().for_each(|row| places.extend(flow.map(|quantity| (quantity, EquipmentKind::Branch, row.id.0))));
    network.generators.iter().for_each(|row| places.push((Quantity::ActiveGeneration, EquipmentKind::Generator, row.id.0)));
    let load = [Quantity::ActiveLoad, Quantity::ReactiveLoad];
    network.loads.iter().for_each(|row| places.extend(load.map(|quantity| (quantity, EquipmentKind::Load, row.id.0))));
    let sensor = |(number, (quantity, element, id)): (usize, (Quantity, EquipmentKind, u32))| {
        let side = if element == EquipmentKind::Branch { Side::From } else { Side::None };
        sensor(number as u32, quantity, (element, id), side)
    };
    places.into_iter().enumerate().map(sensor).map(Arc::new).collect()
}

/// Readings at a tick: units and loads as in the network.
fn readings(network: &Network, sensors: &[Arc<Sensor>], tick_ms: u64) -> Vec<GridRow> {
    let units: BTreeMap<u32, i64> = network.generators.iter().map(|row| (row.id.0, row.p.0)).collect();
    let loads: BTreeMap<u32, (i64, i64)> = network.loads.iter().map(|row| (row.id.0, (row.load_p.0, row.load_q.0))).collect();
    let reading = |sensor: &Arc<Sensor>| {
        let value = match sensor.quantity {
            Quantity::ActiveGeneration => units[&sensor.element_id],
            Quantity::ActiveLoad => loads[&sensor.element_id].0,
            Quantity::ReactiveLoad => loads[&sensor.element_id].1,
            _ => 0,
        };
        GridRow::Reading(Reading { sensor: Arc::clone(sensor), event_ms: tick_ms as i64 - 1_000, value })
    };
    sensors.iter().map(reading).collect()
}

/// CPU time of ticks, without the first: all readings and the estimate come anew, and the key is triggered or not.
fn ticks(network: &Network, sensors: &[Arc<Sensor>], estimate: &Estimate, triggered: bool, keep: fn(Quantity) -> bool) -> Vec<f64> {
    let rows_at = |tick: u64| {
        let mut rows = readings(network, sensors, START + 5_000 * tick);
        rows.retain(|row| if let GridRow::Reading(reading) = row { keep(reading.sensor.quantity) } else { true });
        rows.push(GridRow::Estimate(Arc::new(Estimate { tick_ms: (START + 5_000 * tick) as i64, ..estimate.clone() })));
        rows
    };
    let fixed = elements(network);
    let told: Vec<Vec<GridRow>> = (0..6).map(rows_at).collect();
    timely::execute_directly(move |worker| {
        let mut input: InputHandle<u64, CapacityContainerBuilder<Vec<SolverInput<GridRow>>>> = InputHandle::new_with_builder();
        let probe = ProbeHandle::new();
        worker.dataflow::<u64, _, _>(|scope| {
            // What a view that stands does: it looks for the island and its estimate.
            let stands = Arc::new(|problem: Problem<GridRow, ()>| {
                let estimated = problem.rows.iter().any(|row| matches!(row, GridRow::Estimate(_)));
                Answer { previous: (), rows: vec![u64::from(estimated)] }
            });
            solver(scope.input_from(&mut input), "Idle", &Registry::default(), 0, inline_pool(), stands).inner.probe_with(&probe);
        });
        let mut spent = Vec::new();
        for (tick, rows) in told.iter().enumerate() {
            let epoch = START + 5_000 * tick as u64;
            let row = |row: &GridRow, change| SolverInput::Row { key: 1, row: row.clone(), change };
            let mut batch = Vec::from_iter(rows.iter().map(|new| row(new, 1)));
            batch.extend(told[..tick].last().into_iter().flatten().map(|old| row(old, -1)));
            if tick == 0 {
                batch.extend(fixed.iter().map(|element| row(element, 1)));
            }
            batch.extend(triggered.then_some(SolverInput::TriggerAll { worker: 0 }));
            input.advance_to(epoch);
            let begun = now();
            input.send_batch(&mut batch);
            input.advance_to(epoch + 1);
            while probe.less_equal(&epoch) {
                worker.step();
            }
            spent.push(now() - begun);
        }
        spent.remove(0);
        spent
    })
}

struct World {
    network: Network,
    readings: Vec<GridRow>,
    island: IslandRow,
    estimate: Estimate,
}

impl World {
    fn problem<P>(&self, epoch: u64, requests: &[OutageRequest], previous: Option<P>) -> Problem<GridRow, P> {
        let mut rows = elements(&self.network);
        rows.extend(self.readings.iter().cloned());
        rows.push(GridRow::Island(self.island));
        rows.push(GridRow::Estimate(Arc::new(Estimate { tick_ms: epoch as i64, ..self.estimate.clone() })));
        rows.extend(requests.iter().cloned().map(|request| GridRow::Outage(Arc::new(request))));
        rows.sort_unstable();
        Problem { key: 1, epoch, effect: epoch, retry: false, rows: Arc::new(rows), shared: Arc::new(vec![region()]), previous }
    }
}

fn solved(what: &str, problem: Problem<GridRow, ContingencyState>, blocks: Blocks) -> ContingencyState {
    let now_ms = problem.epoch as i64;
    let solve = solve_contingencies(blocks);
    let answer = timed(what, || solve(problem));
    let rows = answer.rows.iter().map(|row| if let Output::Contingency(row) = row { row } else { panic!("{row:?}") });
    let rows: Vec<&Contingency> = rows.collect();
    let anew = rows.iter().filter(|row| row.solved_ms == now_ms).count();
    let unsolved = rows.iter().filter(|row| !row.solved).count();
    println!("  {} rows, {anew} of now, {unsolved} without a solution; {} outages solved", rows.len(), answer.previous.solved_at(now_ms));
    answer.previous
}

#[test]
fn blocks_in_any_order_give_the_same_view() {
    let Some(network) = published("case1354pegase") else { return };
    let reference = network.buses.iter().find(|bus| bus.kind == BusKind::Reference).expect("it has one").id;
    let estimate = estimate(&network, 1.0, START);
    let world = World { network, readings: Vec::new(), island: IslandRow { reference, changed_ms: 0 }, estimate };
    let view = |blocks: Blocks| {
        let answer = solve_contingencies(blocks)(world.problem(START, &[], None));
        (answer.rows, encode(&answer.previous))
    };
    let backward: Blocks = Arc::new(|count, run| {
        assert!(count > 1, "one block shows nothing");
        (0..count).rev().for_each(run);
    });
    assert!(view(inline_blocks()) == view(backward));
}

#[test]
#[ignore = "a measurement: needs a release build"]
fn ticks_views_and_verdicts_of_a_large_island() {
    let Some(network) = published("case9241pegase") else { return };
    let reference = network.buses.iter().find(|bus| bus.kind == BusKind::Reference).expect("it has one").id;
    let sensors = sensors(&network);
    println!("{} sensors", sensors.len());
    let estimate = estimate(&network, 1.0, START);
    let median = |mut spent: Vec<f64>| {
        spent.sort_by(f64::total_cmp);
        spent[spent.len() / 2]
    };
    println!("tick, asked and given all readings: {:.1} ms", median(ticks(&network, &sensors, &estimate, true, |_| true)));
    println!("tick, asked: {:.1} ms", median(ticks(&network, &sensors, &estimate, true, operating_point::reads)));
    println!("tick, not asked: {:.1} ms", median(ticks(&network, &sensors, &estimate, false, operating_point::reads)));
    let mut watch = Watch::default();
    let mut at = |tick_ms: u64, tick: bool| {
        let row = Arc::new(Estimate { tick_ms: tick_ms as i64, ..estimate.clone() });
        let mut rows = vec![WatchInput::Estimate(IslandId(1), row, 1)];
        let told = |tick_ms, change| {
            readings(&network, &sensors, tick_ms).into_iter().filter_map(move |row| of_island((IslandId(1), row), change))
        };
        rows.extend(told(tick_ms, 1).chain(told(tick_ms - 5_000, -1)));
        rows.push(WatchInput::Island(IslandId(1), IslandRow { reference, changed_ms: 0 }, 1));
        rows.extend(tick.then_some(WatchInput::Tick(0)));
        rows.sort_unstable();
        timed("the watch's own tick", || watch.epoch(tick_ms, &mut rows, &mut Vec::new()));
    };
    at(START, true);
    at(START + 5_000, true);

    let mut readings = readings(&network, &sensors, START);
    readings.retain(|row| if let GridRow::Reading(reading) = row { operating_point::reads(reading.sensor.quantity) } else { true });
    let mut world = World { network, readings, island: IslandRow { reference, changed_ms: 0 }, estimate };
    let inline = inline_blocks;
    let mut state = solved("view, first", world.problem(START, &[], None), inline());
    // Loads at buses without units: the median one and the greatest.
    let fed: Vec<BusId> = world.network.generators.iter().map(|unit| unit.bus).collect();
    let mut loads = Vec::from_iter(world.network.loads.iter().filter(|load| !fed.contains(&load.bus) && load.load_p.0 > 10_000_000_000));
    loads.sort_by_key(|load| (load.load_p, load.id));
    let places = [loads[loads.len() / 2], loads[loads.len() * 9 / 10], loads[loads.len() - 1]].map(|load| (load.bus, load.load_p));
    for (round, (bus, p)) in [places[0], places[0], places[1], places[2]].into_iter().enumerate() {
        let place = world.estimate.buses.iter().position(|state| state.bus == bus).expect("it is estimated");
        let known = &mut world.estimate.buses[place].p;
        *known = MilliWatts(known.0 / 10 * 11);
        let what = format!("view, a load of {:.0} MW by 10 %", p.mw());
        state = solved(&what, world.problem(START + 5_000 * (round as u64 + 1), &[], Some(state)), inline());
    }
    let state = solved("view, full refresh", world.problem(START + 400_000, &[], Some(state)), inline());
    let state = solved("view, full refresh on two threads", world.problem(START + 800_000, &[], Some(state)), two_threads());
    world.network.branches.remove(5_000);
    world.island.changed_ms = START as i64 + 801_000;
    let state = solved("view, a switch", world.problem(START + 801_000, &[], Some(state)), inline());
    world.island.changed_ms = START as i64 + 802_000;
    solved("view, a switch, on two threads", world.problem(START + 802_000, &[], Some(state)), two_threads());

    let request = |id: u64| OutageRequest {
        id,
        event_ms: START as i64,
        equipment: EquipmentKind::Branch,
        equipment_id: world.network.branches[id as usize * 37].id.0,
        start_ms: START as i64 + 3_600_000,
        end_ms: START as i64 + 7_200_000,
        withdrawn: false,
    };
    let solve = solve_maintenance();
    for count in [1, 20] {
        let requests: Vec<OutageRequest> = (0..count).map(request).collect();
        let mut state: Option<MaintenanceState> = None;
        for round in 0..3 {
            let epoch = START + 805_000 + 5_000 * round;
            let problem = world.problem(epoch, &requests, state.take());
            let answer = timed(&format!("verdicts of {count} requests, tick {round}"), || solve(problem));
            println!("  {} verdicts stand", answer.rows.len());
            state = Some(answer.previous);
        }
    }
}
