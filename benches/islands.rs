//! How long the move of a breaker takes on networks of 10,000 buses, and how many records it touches: in the islands
//! operator alone, and through the dataflow with the join that brings 70,000 readings to their islands. Beside them two
//! floors: labelling all buses by union-find, bare, and drawing everything anew and comparing, as the operator once did.
//!
//! `cargo bench --bench islands`. Breakers are drawn at random, at most some two hundred stand open at once; then each
//! breaker there is, of branches and of units, opens and closes by itself. Fails when the dearest of those takes more than
//! 1 ms (the least of three times counts, as the machine may be busy otherwise), or when the operator tells anything but the
//! full redraw.

#![allow(clippy::print_stdout, reason = "its purpose")]

#[path = "../operators/tests/operators/islands_network.rs"]
#[allow(dead_code)]
mod islands_network;
#[path = "../operators/tests/operators/islands_redraw.rs"]
mod islands_redraw;
mod support;

use gridflow::clock::Stopwatch;
use gridflow_inputs::ids::{FeederId, SensorId, SourceId, ZoneId};
use gridflow_inputs::input::{Quantity, Sensor};
use gridflow_inputs::network::{EquipmentKind, Side};
use gridflow_inputs::{Epoch, Input, matpower};
use gridflow_operators::grid::{GridRow, changes, place_of};
use gridflow_operators::islands::{IslandInput, IslandOutput, Islands, Work, islands};
use gridflow_operators::placement::by_island;
use gridflow_operators::sealed::Logic;
use gridflow_operators::state::{Registry, State};
use gridflow_operators::telemetry::Reading;
use islands_network::{Dice, at, meshed, status, switch};
use islands_redraw::Redraw;
use std::collections::{BTreeMap, BTreeSet};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Input as _, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};

const FLIPS: usize = 20_000;
const REDRAWS: usize = 60;
const THROUGH_DATAFLOW: usize = 1_000;
const READINGS: usize = 70_000;
const LIMIT_SECONDS: f64 = 0.001;

/// Moves of breakers, one an epoch of a second.
fn moves(network: &[Input], count: usize) -> Vec<(Epoch, Input)> {
    let breakers = network.iter().filter_map(|row| match row {
        Input::Switch(row) if row.equipment == EquipmentKind::Branch && row.normally_closed => Some(row.id.0),
        _ => None,
    });
    let (breakers, mut open, mut dice) = (breakers.collect::<Vec<u32>>(), Vec::new(), Dice(2_024));
    let mut closed: BTreeMap<u32, bool> = breakers.iter().map(|id| (*id, true)).collect();
    let mut turn = |turn: usize| {
        // Not more than two hundred stand open at once.
        let close = !open.is_empty() && (turn.is_multiple_of(3) || open.len() > 200);
        let id = if close { open.swap_remove(dice.below(open.len())) } else { breakers[dice.below(breakers.len())] };
        let now = closed.get_mut(&id).expect("it is a breaker");
        *now = !*now;
        if *now {
            open.retain(|other| *other != id)
        } else {
            open.push(id)
        }
        let epoch = turn as Epoch * 1_000;
        (epoch, status(id, epoch as i64, *now).into())
    };
    (1..=count).map(&mut turn).collect()
}

/// A kind of work, counted.
type Count = fn(&Work) -> u64;

fn percentiles<T: Copy + PartialOrd>(mut values: Vec<T>) -> [T; 3] {
    values.sort_by(|a, b| a.partial_cmp(b).expect("no measurement is not a number"));
    [50, 99, 100].map(|percent| values[(values.len() * percent / 100).min(values.len() - 1)])
}

fn print(what: &str, seconds: Vec<f64>) -> f64 {
    let count = seconds.len();
    let [median, p99, most] = percentiles(seconds);
    println!("  {what:<44} p50 {:>9.1} us  p99 {:>9.1} us  max {:>9.1} us  ({count} times)", median * 1e6, p99 * 1e6, most * 1e6);
    p99
}

fn timed(run: impl FnOnce()) -> f64 {
    let watch = Stopwatch::start();
    run();
    watch.elapsed().as_secs_f64()
}

/// Labels all buses by union-find and nothing else: buses by place, lines by the places of their ends.
fn label(buses: usize, lines: &[(u32, u32)], parent: &mut Vec<u32>) -> usize {
    fn root(parent: &mut [u32], mut bus: u32) -> u32 {
        while parent[bus as usize] != bus {
            parent[bus as usize] = parent[parent[bus as usize] as usize];
            bus = parent[bus as usize];
        }
        bus
    }
    parent.clear();
    parent.extend(0..buses as u32);
    for (from, to) in lines {
        let (from, to) = (root(parent, *from), root(parent, *to));
        parent[from.max(to) as usize] = from.min(to);
    }
    (0..buses as u32).filter(|bus| root(parent, *bus) == *bus).count()
}

fn measure(name: &str, network: &[Input]) {
    let buses: BTreeMap<u32, u32> =
        network.iter().filter_map(|row| if let Input::Bus(row) = row { Some(row.id.0) } else { None }).zip(0..).collect();
    let lines: Vec<(u32, u32)> = network
        .iter()
        .filter_map(|row| match row {
            Input::Branch(row) if row.in_service => Some((buses[&row.from.0], buses[&row.to.0])),
            _ => None,
        })
        .collect();
    println!("{name}: {} buses, {} lines, {} rows", buses.len(), lines.len(), network.len());

    let (mut parent, mut found) = (Vec::new(), 0);
    print("floor: union-find over all buses, bare", (0..200).map(|_| timed(|| found = label(buses.len(), &lines, &mut parent))).collect());
    assert!(found > 0, "there is an island");

    let mut state = Islands::default();
    let mut out = Vec::new();
    let first = timed(|| state.epoch(0, &mut at(0, network.to_vec()), &mut out));
    let moves = moves(network, FLIPS);
    let (mut redraw, mut redrawn, mut redraw_seconds) = (Redraw::default(), Vec::new(), Vec::new());
    redraw.epoch(0, &mut at(0, network.to_vec()), &mut redrawn);
    assert!(out == redrawn, "the operator tells what a full redraw tells");
    let (mut seconds, mut works) = (Vec::new(), Vec::new());
    for (place, (epoch, row)) in moves.iter().enumerate() {
        out.clear();
        let mut rows = at(*epoch, [row.clone()]);
        let before = state.work();
        seconds.push(timed(|| state.epoch(*epoch, &mut rows, &mut out)));
        works.push(state.work().since(&before));
        if place < REDRAWS {
            redrawn.clear();
            let mut rows = at(*epoch, [row.clone()]);
            redraw_seconds.push(timed(|| redraw.epoch(*epoch, &mut rows, &mut redrawn)));
            assert!(out == redrawn, "move {place}: the operator tells what a full redraw tells");
        }
    }
    print("floor: full redraw, as formerly", redraw_seconds);
    let p99 = print("a breaker moves", seconds);
    let counts: [(&str, Count); 5] = [
        ("records touched", Work::touched),
        ("  steps of the search", |work| work.searched),
        ("  buses moved", |work| work.relabelled),
        ("  equipment compared", |work| work.compared),
        ("  rows told", |work| work.told),
    ];
    for (what, count) in counts {
        let [median, p99, most] = percentiles(works.iter().map(count).collect());
        println!("  {what:<44} p50 {median:>9}     p99 {p99:>9}     max {most:>9}");
    }
    let mut saved = Vec::new();
    let saving = timed(|| saved = state.save());
    let mut loaded = Islands::default();
    let loading = timed(|| loaded.load(&saved, &|_| true).expect("what was saved can be loaded"));
    println!(
        "  first rows {:.1} ms; state: {} kB, saved in {:.1} ms, loaded in {:.1} ms",
        first * 1e3,
        saved.len() / 1_000,
        saving * 1e3,
        loading * 1e3
    );
    assert!(loaded.save() == saved, "a loaded state is the one that was saved");
    let dearest = every_switch(network);
    lowest(network);
    through_dataflow(network, &moves[..THROUGH_DATAFLOW]);
    assert!(p99 <= LIMIT_SECONDS, "the move of a breaker takes {:.2} ms at the 99th percentile", p99 * 1e3);
    assert!(dearest <= LIMIT_SECONDS, "the dearest move of a breaker takes {:.2} ms", dearest * 1e3);
}

/// Opens and closes every breaker, of branches and of units, one at a time; gives the seconds of the dearest.
fn every_switch(network: &[Input]) -> f64 {
    let breakers = network.iter().filter_map(|row| if let Input::Switch(row) = row { Some((row.equipment, row.id.0)) } else { None });
    let (mut breakers, mut rows): (Vec<_>, Vec<Input>) = (breakers.collect(), network.to_vec());
    let known: BTreeSet<u32> = breakers.iter().map(|(_, id)| *id).collect();
    let has_breaker = |unit: u32| {
        network.iter().any(|row| matches!(row, Input::Switch(row) if (row.equipment, row.equipment_id) == (EquipmentKind::Generator, unit)))
    };
    let units = network.iter().filter_map(|row| if let Input::Generator(row) = row { Some(row.id.0) } else { None });
    for (id, unit) in (known.last().map_or(1, |last| last + 1)..).zip(units.filter(|unit| !has_breaker(*unit))) {
        breakers.push((EquipmentKind::Generator, id));
        rows.push(switch(id, EquipmentKind::Generator, unit, true, 0));
    }
    let (mut state, mut out) = (Islands::default(), Vec::new());
    state.epoch(0, &mut at(0, rows), &mut out);
    let mut now = 0;
    let mut dearest = 0.0f64;
    for (what, equipment) in
        [("every branch, open and closed", EquipmentKind::Branch), ("every unit, open and closed", EquipmentKind::Generator)]
    {
        let (mut seconds, mut touched) = (Vec::new(), Vec::new());
        for (_, id) in breakers.iter().filter(|(of, _)| *of == equipment) {
            let mut least = [f64::INFINITY; 2];
            for turn in 0..6 {
                now += 1;
                out.clear();
                let mut rows = at(now, [status(*id, now as i64, turn % 2 == 1).into()]);
                let before = state.work();
                let took = timed(|| state.epoch(now, &mut rows, &mut out));
                least[turn % 2] = least[turn % 2].min(took);
                touched.push(state.work().since(&before).touched());
            }
            seconds.extend(least);
        }
        print(what, seconds.clone());
        let [median, p99, most] = percentiles(touched);
        println!("  {:<44} p50 {median:>9}     p99 {p99:>9}     max {most:>9}", "  records touched");
        dearest = seconds.into_iter().fold(dearest, f64::max);
    }
    dearest
}

/// The lowest bus leaves its island and comes back.
fn lowest(network: &[Input]) {
    let lowest = network.iter().filter_map(|row| if let Input::Bus(row) = row { Some(row.id) } else { None }).min();
    let around = |row: &Input| match row {
        Input::Branch(row) if Some(row.from) == lowest || Some(row.to) == lowest => Some(row.id.0),
        _ => None,
    };
    let around: Vec<u32> = network.iter().filter_map(around).collect();
    let breakers: Vec<u32> = network
        .iter()
        .filter_map(|row| match row {
            Input::Switch(row) if row.equipment == EquipmentKind::Branch && around.contains(&row.equipment_id) => Some(row.id.0),
            _ => None,
        })
        .collect();
    let (mut state, mut out) = (Islands::default(), Vec::new());
    state.epoch(0, &mut at(0, network.to_vec()), &mut out);
    let before = state.work();
    let seconds = (1..=20u64).map(|turn| {
        out.clear();
        let mut rows = at(turn, breakers.iter().map(|id| status(*id, turn as i64, turn % 2 == 0).into()));
        timed(|| state.epoch(turn, &mut rows, &mut out))
    });
    print("the lowest bus leaves or comes back", seconds.collect());
    println!("  {:<44}     {:>9}", "  records touched, each time", state.work().since(&before).touched() / 20);
}

/// One reading after the other at each bus and branch, until there are enough.
fn readings(network: &[Input]) -> Vec<Reading> {
    let places: Vec<(EquipmentKind, u32)> = network
        .iter()
        .filter_map(|row| match row {
            Input::Bus(row) => Some((EquipmentKind::Bus, row.id.0)),
            Input::Branch(row) => Some((EquipmentKind::Branch, row.id.0)),
            _ => None,
        })
        .collect();
    let reading = |(id, (element, element_id)): (u32, (EquipmentKind, u32))| {
        let sensor = Sensor {
            id: SensorId(id),
            valid_from_ms: 0,
            quantity: Quantity::ActiveFlow,
            element,
            element_id,
            side: Side::None,
            sigma: 1,
            range_min: -1_000,
            range_max: 1_000,
            feeder: FeederId(1),
            zone: ZoneId(1),
            period_ms: 5_000,
            source: SourceId(1),
        };
        Reading { sensor: sensor.into(), event_ms: 0, value: i64::from(id) }
    };
    (0..).zip(places.iter().copied().cycle()).take(READINGS).map(reading).collect()
}

/// From the row of a breaker to all rows of islands that it moves, the readings among them.
fn through_dataflow(network: &[Input], moves: &[(Epoch, Input)]) {
    let (network, moves, readings) = (network.to_vec(), moves.to_vec(), readings(network));
    timely::execute_directly(move |worker| {
        let mut rows: InputHandle<Epoch, CapacityContainerBuilder<Vec<IslandInput>>> = InputHandle::new_with_builder();
        let mut newest: InputHandle<Epoch, CapacityContainerBuilder<Vec<Reading>>> = InputHandle::new_with_builder();
        let progress = ProbeHandle::new();
        worker.dataflow::<Epoch, _, _>(|scope| {
            let drawn = islands(scope.input_from(&mut rows), &Registry::default());
            let placed = changes(drawn.clone().flat_map(|drawn| match drawn {
                IslandOutput::Placed(place, island, change) => Some(((place, island), change)),
                _ => None,
            }));
            let idle = changes(drawn.clone().flat_map(|drawn| match drawn {
                IslandOutput::Idle(place, idle, change) => Some(((place, idle), change)),
                _ => None,
            }));
            let equipment = changes(drawn.flat_map(|drawn| match drawn {
                IslandOutput::Element(place, row, change) => Some(((place, GridRow::Element(row.into())), change)),
                _ => None,
            }));
            let readings = changes(scope.input_from(&mut newest).map(|reading| ((place_of(&reading), GridRow::Reading(reading)), 1)));
            let (grid, errors) = by_island(equipment.concat(readings), placed, idle);
            grid.inner.probe_with(&progress);
            errors.inner.probe_with(&progress);
        });
        let mut pass = |epoch: Epoch, told: Vec<IslandInput>, read: Vec<Reading>| {
            told.into_iter().for_each(|row| rows.send(row));
            read.into_iter().for_each(|reading| newest.send(reading));
            rows.advance_to(epoch + 1);
            newest.advance_to(epoch + 1);
            while progress.less_than(&(epoch + 1)) {
                worker.step();
            }
        };
        let first = timed(|| pass(0, at(0, network), readings));
        let seconds = moves.iter().map(|(epoch, row)| timed(|| pass(*epoch, at(*epoch, [row.clone()]), Vec::new()))).collect();
        print(&format!("through the dataflow, {READINGS} readings loaded"), seconds);
        println!("  {:<44} {:.1} ms", "  the network and its readings at once", first * 1e3);
    });
}

// REQ: GRID-33
// REQ: GRID-03
fn main() {
    // `cargo test --benches` runs this too, and a measurement there means nothing.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    measure("lattice with feeders", &meshed(10_000, 90));
    if let Some(path) = support::data("matpower/case9241pegase.m") {
        let text = std::fs::read_to_string(path).expect("the file can be read");
        let network = matpower::read("case9241pegase", &text).expect("a published file can be read").network;
        measure("case9241pegase", &network.into_rows());
    }
}
