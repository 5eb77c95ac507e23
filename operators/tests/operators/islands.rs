//! Topology against two references: label propagation by differential's `iterate`, and a relabelling from scratch of
//! everything that arrived, in plain loops; after every epoch of storms of switches, outages and row versions.

use std::collections::{BTreeMap, BTreeSet};

use differential_dataflow::AsCollection;
use differential_dataflow::operators::Iterate;
use gridflow_inputs::ids::IslandId;
use gridflow_inputs::input::{Quality, SwitchStatus};
use gridflow_inputs::network::{BusKind, EquipmentKind, Generator};
use gridflow_inputs::{Epoch, Input, Sequenced};
use gridflow_operators::decision::Output;
use gridflow_operators::islands::{IslandInput, IslandOutput, islands};
use gridflow_operators::sealed::{Clock, Rows};
use proptest::prelude::*;

use crate::harness::{State, part, run};
use crate::islands_network::{branch, bus, dc_line, load, node_switch, status, switch, transformer};
use crate::islands_reference::{Graph, Log, Picture, Reference, pictures};
use crate::telemetry::{BEGIN, generator};

fn sums(log: &Log, workers: usize) -> Vec<Picture> {
    let epochs: Vec<Epoch> = log.iter().map(|(epoch, _)| *epoch).collect();
    let shared = log.clone();
    let share = move |worker: usize, workers: usize, place: usize| {
        let (epoch, rows) = &shared[place];
        let sequenced = rows
            .iter()
            .enumerate()
            .map(|(sequence, row)| IslandInput::Row(Sequenced { epoch: *epoch, sequence: sequence as u32, input: row.clone() }));
        let mut mine = part(&sequenced.collect::<Vec<_>>(), worker, workers, place);
        if worker == 0 {
            mine.push(IslandInput::Clock(Clock { worker: 0, ticks: Vec::new() }));
        }
        mine
    };
    let told = run(workers, &epochs, share, |rows| islands(rows, &gridflow_operators::state::Registry::default()));
    let mut sum = Picture::default();
    let add = |epoch: &Epoch| {
        sum.changed.clear();
        for told in told.get(epoch).into_iter().flatten().cloned() {
            match told {
                IslandOutput::Element(place, row, change) => sum.elements.add((place, row), change),
                IslandOutput::Placed(place, island, change) => sum.placed.add((place, island), change),
                IslandOutput::Island(island, row, change) => sum.references.add((island, row.reference), change),
                IslandOutput::Changed(island) => assert!(sum.changed.insert(island), "island {island} is told twice to have changed"),
                IslandOutput::Row(row, change) => sum.outputs.add(row, change),
                IslandOutput::Idle(place, idle, change) => sum.idle.add((place, idle), change),
            }
        }
        sum.clone()
    };
    epochs.iter().map(add).collect()
}

/// Island of each bus in service at each epoch, by differential label propagation over the changes of the graph.
fn propagated(log: &Log) -> Vec<BTreeMap<u32, u32>> {
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    enum Change {
        Bus(u32, Epoch, i64),
        Edge(u32, u32, Epoch, i64),
    }
    fn build(changes: Rows<'_, Change>) -> Rows<'_, ((u32, u32), Epoch, i64)> {
        use timely::dataflow::operators::vec::Map;
        let buses =
            changes.clone().flat_map(|change| if let Change::Bus(bus, epoch, by) = change { Some(((bus, bus), epoch, by)) } else { None });
        let edges = changes.flat_map(|change| match change {
            Change::Edge(from, to, epoch, by) => vec![((from, to), epoch, by), ((to, from), epoch, by)],
            Change::Bus(..) => Vec::new(),
        });
        let (buses, edges) = (buses.as_collection(), edges.as_collection());
        let labels = buses.clone().iterate(|scope, labels| {
            let (buses, edges) = (buses.enter(scope), edges.enter(scope));
            let heard = labels.join_map(edges, |_bus, label, neighbour| (*neighbour, *label));
            heard.concat(buses).reduce(|_bus, labels, out| out.push((*labels[0].0, 1)))
        });
        labels.consolidate().inner
    }
    let mut reference = Reference::default();
    let mut before = Graph::default();
    let mut changes: Vec<Vec<Change>> = Vec::new();
    for (epoch, rows) in log {
        rows.iter().enumerate().for_each(|(sequence, row)| reference.arrives(*epoch, sequence as u32, row));
        let graph = reference.graph(*epoch as i64);
        let mut told: Vec<Change> = Vec::new();
        told.extend(graph.buses.difference(&before.buses).map(|bus| Change::Bus(*bus, *epoch, 1)));
        told.extend(before.buses.difference(&graph.buses).map(|bus| Change::Bus(*bus, *epoch, -1)));
        told.extend(graph.edges.difference(&before.edges).map(|(from, to)| Change::Edge(*from, *to, *epoch, 1)));
        told.extend(before.edges.difference(&graph.edges).map(|(from, to)| Change::Edge(*from, *to, *epoch, -1)));
        changes.push(told);
        before = graph;
    }
    let epochs: Vec<Epoch> = log.iter().map(|(epoch, _)| *epoch).collect();
    let told = run(2, &epochs, move |worker, workers, place| part(&changes[place], worker, workers, place), build);
    // Rows of a collection carry their own epoch, which may be later than that of the message they come in.
    let told: Vec<((u32, u32), Epoch, i64)> = told.into_values().flatten().collect();
    let mut state = State::default();
    epochs
        .iter()
        .map(|epoch| {
            told.iter().filter(|(_, at, _)| at == epoch).for_each(|(row, _, change)| state.add(*row, *change));
            state.0.keys().copied().collect()
        })
        .collect()
}

/// Eight buses on a ring with two chords, units of equal and unequal size, loads, a link, switches on all kinds.
fn network() -> Vec<Input> {
    let mut rows: Vec<Input> = (1..9).map(|id| bus(id, BusKind::Load, BEGIN)).collect();
    rows.extend((1..9).map(|id| branch(id, id, id % 8 + 1, true, BEGIN)));
    rows.extend([branch(9, 1, 5, true, BEGIN), branch(10, 3, 7, true, BEGIN), transformer(9, 1, BEGIN)]);
    rows.extend([(1, 2, 50), (2, 6, 50), (3, 6, 20), (4, 8, 0)].map(|(id, bus, p_max)| generator(id, bus, p_max).into()));
    rows.extend([load(1, 3, true, BEGIN), load(2, 7, true, BEGIN), dc_line(1, 2, 6, true, BEGIN)]);
    rows.extend((1..9).map(|id| switch(id, EquipmentKind::Branch, id, true, BEGIN)));
    rows.extend([switch(9, EquipmentKind::Generator, 1, true, BEGIN), switch(10, EquipmentKind::Bus, 4, true, BEGIN)]);
    rows.extend([node_switch(13, 2, 8, false, BEGIN), node_switch(14, 7, 4, false, BEGIN), node_switch(15, 4, 2, true, BEGIN)]);
    rows.extend([switch(11, EquipmentKind::Branch, 2, false, BEGIN), switch(12, EquipmentKind::Load, 1, true, BEGIN)]);
    rows
}

#[derive(Clone, Debug)]
enum Event {
    Status(u32, i64, bool, Quality),
    Branch(u32, bool, i64),
    Unit(u32, i64, bool, i64),
    Bus(u32, bool, i64),
    Load(u32, u32, bool, i64),
    Transformer(i64, i64),
    Switch(u32, u32, bool, i64),
    NodeSwitch(u32, u32, bool, i64),
}

fn events() -> impl Strategy<Value = Event> {
    let quality = prop_oneof![8 => Just(Quality::Good), 1 => Just(Quality::Bad)];
    // Seconds from now: most rows hold at once, some since earlier, some from later on.
    let from = || prop_oneof![4 => Just(0i64), 1 => -20..0i64, 2 => 1..20i64];
    prop_oneof![
        8 => (1..16u32, prop_oneof![6 => -3..1i64, 1 => 5..15i64], any::<bool>(), quality).prop_map(|(id, ahead, closed, quality)| Event::Status(id, ahead, closed, quality)),
        2 => (1..11u32, any::<bool>(), from()).prop_map(|(id, on, from)| Event::Branch(id, on, from)),
        2 => (1..5u32, prop_oneof![Just(0i64), Just(50), Just(80)], any::<bool>(), from()).prop_map(|(id, p_max, on, from)| Event::Unit(id, p_max, on, from)),
        1 => (1..10u32, any::<bool>(), from()).prop_map(|(id, on, from)| Event::Bus(id, on, from)),
        1 => (1..3u32, 1..10u32, any::<bool>(), from()).prop_map(|(id, bus, on, from)| Event::Load(id, bus, on, from)),
        1 => (1..3i64, from()).prop_map(|(rated, from)| Event::Transformer(rated, from)),
        1 => (1..13u32, 1..11u32, any::<bool>(), from()).prop_map(|(id, branch, closed, from)| Event::Switch(id, branch, closed, from)),
        2 => (12..17u32, 1..9u32, any::<bool>(), from()).prop_map(|(id, node, closed, from)| Event::NodeSwitch(id, node, closed, from)),
    ]
}

fn storms() -> impl Strategy<Value = Log> {
    let epoch = (1..8i64, prop::collection::vec(events(), 0..5));
    prop::collection::vec(epoch, 1..16).prop_map(|epochs| {
        let mut now = BEGIN;
        let mut log = vec![(now as Epoch, network())];
        for (gap, events) in epochs {
            now += gap * 1_000;
            let at = |seconds: i64| now + seconds * 1_000;
            let rows = events.into_iter().map(|event| match event {
                Event::Status(id, ahead, closed, quality) => SwitchStatus { quality, ..status(id, at(ahead), closed) }.into(),
                Event::Branch(id, on, from) => match id {
                    9 => branch(9, 1, 5, on, at(from)),
                    10 => branch(10, 3, 7, on, at(from)),
                    id => branch(id, id, id % 8 + 1, on, at(from)),
                },
                Event::Unit(id, p_max, in_service, from) => {
                    Generator { in_service, valid_from_ms: at(from), ..generator(id, [2, 6, 6, 8][id as usize - 1], p_max) }.into()
                }
                Event::Bus(id, on, from) => bus(id, if on { BusKind::Generator } else { BusKind::Isolated }, at(from)),
                Event::Load(id, bus, on, from) => load(id, bus, on, at(from)),
                Event::Transformer(rated, from) => transformer(9, rated, at(from)),
                Event::NodeSwitch(id, node, closed, from) => node_switch(id, node, node * 3 % 8 + 1, closed, at(from)),
                Event::Switch(id, branch, closed, from) => switch(id, EquipmentKind::Branch, branch, closed, at(from)),
            });
            log.push((now as Epoch, rows.collect()));
        }
        log
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    // REQ: GRID-01
    // REQ: GRID-08
    #[test]
    fn after_every_epoch_the_topology_is_that_of_a_rebuild_from_scratch(log in storms()) {
        let expected = pictures(&log);
        for workers in 1..4 {
            for ((epoch, _), (sum, expected)) in log.iter().zip(sums(&log, workers).iter().zip(&expected)) {
                prop_assert_eq!(sum, expected, "{} workers, epoch {}", workers, *epoch as i64 - BEGIN);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]

    // REQ: GRID-01
    #[test]
    fn islands_are_those_of_label_propagation(log in storms()) {
        let labels = propagated(&log);
        for ((epoch, _), (sum, labels)) in log.iter().zip(sums(&log, 2).iter().zip(&labels)) {
            let told = sum.outputs.0.keys().filter_map(|row| match row {
                Output::Topology(row) if row.equipment == EquipmentKind::Bus => Some((row.id, row.island?.0)),
                _ => None,
            });
            let told: BTreeMap<u32, u32> = told.collect();
            let mut lowest: BTreeMap<u32, u32> = BTreeMap::new();
            told.iter().rev().for_each(|(bus, island)| _ = lowest.insert(*island, *bus));
            let told: BTreeMap<u32, u32> = told.into_iter().map(|(bus, island)| (bus, lowest[&island])).collect();
            prop_assert_eq!(&told, labels, "epoch {}", *epoch as i64 - BEGIN);
        }
    }
}

fn later(rows: Vec<(i64, Vec<Input>)>) -> Log {
    let mut log = vec![(BEGIN as Epoch, network())];
    log.extend(rows.into_iter().map(|(seconds, rows)| ((BEGIN + seconds * 1_000) as Epoch, rows)));
    log
}

fn references(picture: &Picture) -> Vec<(u32, u32)> {
    picture.references.0.keys().map(|(island, bus)| (island.0, bus.0)).collect()
}

fn dead(picture: &Picture) -> Vec<(u32, i64)> {
    let alarms = picture.outputs.0.keys().filter_map(|row| if let Output::Alarm(row) = row { Some(row) } else { None });
    alarms.map(|row| (row.id, (row.since_ms - BEGIN) / 1_000)).collect()
}

/// Opens or closes all branches that tie buses 6, 7 and 8 to the others (6 and 7 also to each other).
fn cut(seconds: i64, closed: bool) -> Vec<Input> {
    let statuses = [5, 8].map(|id| status(id, BEGIN + seconds * 1_000, closed).into());
    let chord = branch(10, 3, 7, closed, BEGIN + seconds * 1_000);
    statuses.into_iter().chain([chord]).collect()
}

#[test]
fn a_cut_makes_an_island_with_the_reference_of_its_own_largest_source_at_that_epoch() {
    let log = later(vec![(1, cut(1, false)), (2, cut(2, true))]);
    let pictures = sums(&log, 2);
    // Branch 2 is open from the start; units 1 and 2 are equal and the lower bus has the reference.
    assert_eq!(references(&pictures[0]), [(1, 2)]);
    assert_eq!(references(&pictures[1]), [(1, 2), (2, 6)]);
    assert_eq!(pictures[1].changed, BTreeSet::from([IslandId(1), IslandId(2)]));
    assert_eq!(references(&pictures[2]), [(1, 2)]);
    assert_eq!(pictures[2].changed, BTreeSet::from([IslandId(1), IslandId(2)]));
}

#[test]
fn a_name_stays_with_the_larger_side_and_the_least_free_number_is_given_again() {
    let off = |id: u32, seconds: i64| bus(id, BusKind::Isolated, BEGIN + seconds * 1_000);
    let on = |id: u32, seconds: i64| bus(id, BusKind::Load, BEGIN + seconds * 1_000);
    // Buses 1 and 3 by themselves beside 4 to 8, of which bus 2 was one; then 4 and 5 too; at last all in one again.
    let log = later(vec![
        (1, vec![off(2, 1), status(8, BEGIN + 1_000, false).into(), branch(9, 1, 5, false, BEGIN + 1_000)]),
        (2, vec![status(3, BEGIN + 2_000, false).into()]),
        (3, vec![status(5, BEGIN + 3_000, false).into()]),
        (4, vec![status(8, BEGIN + 4_000, true).into()]),
        (5, vec![status(5, BEGIN + 5_000, true).into(), off(1, 5)]),
        (6, vec![on(1, 6), on(2, 6)]),
    ]);
    let islands = |picture: &Picture| {
        let mut islands: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for row in picture.outputs.0.keys() {
            if let Output::Topology(row) = row
                && row.equipment == EquipmentKind::Bus
                && let Some(island) = row.island
            {
                islands.entry(island.0).or_default().push(row.id);
            }
        }
        islands.into_iter().collect::<Vec<_>>()
    };
    let pictures = sums(&log, 2);
    let expected: [&[(u32, &[u32])]; 7] = [
        &[(1, &[1, 2, 3, 4, 5, 6, 7, 8])],
        &[(1, &[3, 4, 5, 6, 7, 8]), (2, &[1])],
        &[(1, &[3, 4, 5, 6, 7, 8]), (2, &[1])],
        &[(1, &[3, 6, 7, 8]), (2, &[1]), (3, &[4, 5])],
        &[(1, &[1, 3, 6, 7, 8]), (3, &[4, 5])],
        &[(1, &[3, 4, 5, 6, 7, 8])],
        &[(1, &[1, 2, 3, 4, 5, 6, 7, 8])],
    ];
    for (picture, expected) in pictures.iter().zip(expected) {
        let expected: Vec<(u32, Vec<u32>)> = expected.iter().map(|(island, buses)| (*island, buses.to_vec())).collect();
        assert_eq!(islands(picture), expected);
    }
}

#[test]
fn an_island_without_a_source_is_dead_until_it_is_reconnected() {
    let off = |id, bus| Input::from(Generator { in_service: false, valid_from_ms: BEGIN + 1_000, ..generator(id, bus, 50) });
    let log = later(vec![(1, vec![off(2, 6), off(3, 6)]), (3, cut(3, false)), (4, vec![]), (9, cut(9, true))]);
    let pictures = sums(&log, 2);
    assert_eq!(dead(&pictures[1]), []);
    assert_eq!(dead(&pictures[2]), [(6, 3), (7, 3), (8, 3)]);
    assert_eq!(dead(&pictures[3]), [(6, 3), (7, 3), (8, 3)]);
    assert_eq!(references(&pictures[2]), [(1, 2)]);
    assert_eq!(dead(&pictures[4]), []);
}

#[test]
fn a_change_names_no_island_it_does_not_touch() {
    let log =
        later(vec![(1, cut(1, false)), (2, vec![load(2, 7, false, BEGIN + 2_000)]), (3, vec![status(12, BEGIN + 3_000, true).into()])]);
    let pictures = sums(&log, 1);
    assert_eq!(pictures[2].changed, BTreeSet::from([IslandId(2)]));
    assert_eq!(pictures[3].changed, BTreeSet::new());
}

#[test]
fn a_switch_row_holds_from_its_time_on_and_not_before() {
    let bypassed = switch(11, EquipmentKind::Branch, 2, true, BEGIN + 5_000);
    let log = later(vec![(1, vec![bypassed]), (4, vec![]), (5, vec![])]);
    let in_service = |picture: &Picture| picture.placed.0.contains_key(&((EquipmentKind::Branch, 2), IslandId(1)));
    assert_eq!(sums(&log, 1).iter().map(in_service).collect::<Vec<_>>(), [false, false, false, true]);
}
