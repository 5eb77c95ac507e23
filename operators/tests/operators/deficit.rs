//! The balance of islands that break off, by hand: four buses in a row, units at the first and third.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridflow_inputs::Input;
use gridflow_inputs::ids::{BusId, GeneratorId, IslandId, LoadId, StorageId};
use gridflow_inputs::input::{Quantity, StorageTelemetry};
use gridflow_inputs::network::{EquipmentKind, Generator, Load, Side};
use gridflow_inputs::units::{MicroRadians, MicroVolts, MilliCelsius, MilliVars, MilliWattHours, MilliWatts, PartsPerMillion};
use gridflow_operators::decision::{BusAssignment, BusState, Deficit, Estimate, Topology};
use gridflow_operators::deficit::{Before, DeficitInput, DeficitOutput, Deficits};
use gridflow_operators::sealed::Logic;
use gridflow_operators::state::State;
use gridflow_operators::telemetry::Reading;

use crate::harness::sensor;

const MW: i64 = 1_000_000_000;
const START: i64 = 1_000_000;

fn loads() -> Vec<Load> {
    let ieee = gridflow_inputs::matpower::read("ieee14.m", gridflow_inputs::matpower::IEEE14).expect("it is whole").network;
    let load =
        |id: u32| Load { id: LoadId(id), bus: BusId(id), load_p: MilliWatts(10 * MW), load_q: MilliVars(2 * MW), ..ieee.loads[0].clone() };
    (1..=4).map(load).collect()
}

fn units() -> Vec<Generator> {
    let ieee = gridflow_inputs::matpower::read("ieee14.m", gridflow_inputs::matpower::IEEE14).expect("it is whole").network;
    let unit = |(id, p_max): (u32, i64)| Generator {
        id: GeneratorId(id),
        bus: BusId(id),
        p: MilliWatts(20 * MW),
        p_max: MilliWatts(p_max * MW),
        variable: false,
        ..ieee.generators[0].clone()
    };
    [(1, 60), (3, 12)].into_iter().map(unit).collect()
}

fn reading(id: u32, quantity: Quantity, element: EquipmentKind, event_ms: i64, mw: i64) -> DeficitInput {
    let sensor = sensor(id, quantity, (element, id % 10), Side::None);
    DeficitInput::Reading(Reading { sensor: sensor.into(), event_ms, value: mw * MW }, 1)
}

/// Bus injections as estimated: 41 in, 40 out.
fn estimate(tick_ms: i64) -> DeficitInput {
    let state = |(bus, p): (u32, i64)| BusState {
        bus: BusId(bus),
        voltage: MicroVolts(0),
        angle: MicroRadians(0),
        p: MilliWatts(p * MW),
        q: MilliVars(-3 * MW),
    };
    let estimate = Estimate {
        island: IslandId(1),
        tick_ms,
        reference: BusId(1),
        iterations: 1,
        measurements: 0,
        pseudo: 0,
        outdated: 0,
        degrees_of_freedom: 0,
        objective_ppm: 0,
        threshold_ppm: 0,
        buses: [(1, 30), (2, -14), (3, -1), (4, -14)].map(state).to_vec(),
        resting: Vec::new(),
        unobservable: Vec::new(),
    };
    DeficitInput::Estimate(Arc::new(estimate), 1)
}

fn belongs(equipment: EquipmentKind, id: u32, island: Option<u32>, energised: bool, change: i64) -> DeficitInput {
    DeficitInput::Belongs(Topology { equipment, id, island: island.map(IslandId), energised, reference: false }, change)
}

/// (island, since in seconds, energised, generation, load, nominal, deficit, reserve) in MW, the deficit in kW.
type Row = (u32, i64, bool, i64, i64, i64, i64, i64);

/// The operator, and what holds of what it told.
#[derive(Default)]
struct Told {
    deficits: Deficits,
    rows: BTreeMap<Deficit, i64>,
    before: BTreeMap<(IslandId, Arc<Before>), i64>,
}

impl Told {
    fn epoch(&mut self, seconds: i64, mut rows: Vec<DeficitInput>) {
        rows.sort();
        let mut out = Vec::new();
        self.deficits.epoch((START + 1_000 * seconds) as u64, &mut rows, &mut out);
        for row in out {
            match row {
                DeficitOutput::Row(row, change) => *self.rows.entry(row).or_default() += change,
                DeficitOutput::Before(island, row, change) => *self.before.entry((island, row)).or_default() += change,
            }
        }
        self.rows.retain(|_, count| *count != 0);
        self.before.retain(|_, count| *count != 0);
        assert!(self.rows.values().chain(self.before.values()).all(|count| *count == 1));
    }

    fn rows(&self) -> Vec<Row> {
        let mw = |p: MilliWatts| p.0 / MW;
        let row = |row: &Deficit| {
            let since = (row.since_ms - START) / 1_000;
            let kw = row.deficit.0 / 1_000_000;
            (row.island.0, since, row.energised, mw(row.generation), mw(row.load), mw(row.nominal), kw, mw(row.reserve))
        };
        self.rows.keys().map(row).collect()
    }
}

// REQ: GRID-13
#[test]
fn an_island_that_breaks_off_has_its_balance_by_what_was_known_before() {
    const LOAD: EquipmentKind = EquipmentKind::Load;
    const UNIT: EquipmentKind = EquipmentKind::Generator;
    let mut told = Told::default();
    let mut rows: Vec<_> = loads().into_iter().map(|row| DeficitInput::Element((LOAD, row.id.0), Input::from(row))).collect();
    rows.extend(units().into_iter().map(|row| DeficitInput::Element((UNIT, row.id.0), Input::from(row))));
    rows.extend((1..=4).map(|id| belongs(LOAD, id, Some(1), true, 1)));
    rows.extend([1, 3].map(|id| belongs(UNIT, id, Some(1), true, 1)));
    rows.push(DeficitInput::Changed(IslandId(1)));
    let network = rows.clone();
    told.epoch(0, rows);
    // Nominal values; losses unknown, 2 %. The second unit has 12 of its 20 MW at most: no reserve.
    assert_eq!(told.rows(), [(1, 0, true, 40, 40, 40, 800, 40)]);
    assert!(told.before.keys().all(|(_, before)| !before.estimated && before.loads.is_empty()));

    // The load at bus 1 and the unit there are metered; of bus 3 the estimate alone tells, of its load nobody.
    let at = START + 9_000;
    told.epoch(
        9,
        vec![
            reading(21, Quantity::ActiveLoad, LOAD, at, 11),
            reading(31, Quantity::ReactiveLoad, LOAD, at, 4),
            reading(41, Quantity::ActiveGeneration, UNIT, at, 41),
            estimate(START + 5_000),
        ],
    );
    assert_eq!(told.rows.len(), 1, "nothing changed");

    // Buses 3 and 4 break off. Resumed in between.
    let saved = told.deficits.save();
    told.deficits = Deficits::default();
    told.deficits.load(&saved, &|_| true).expect("it was saved");
    let mut again: Vec<_> = network.into_iter().filter(|row| matches!(row, DeficitInput::Element(..))).collect();
    again.extend([
        reading(21, Quantity::ActiveLoad, LOAD, at, 11),
        reading(31, Quantity::ReactiveLoad, LOAD, at, 4),
        reading(41, Quantity::ActiveGeneration, UNIT, at, 41),
        estimate(START + 5_000),
    ]);
    let rows = told.rows();
    told.epoch(9, again);
    assert_eq!(told.rows(), rows, "loading tells nothing");
    let moved = [(LOAD, 3), (LOAD, 4), (UNIT, 3)];
    let mut split: Vec<_> = moved.iter().map(|(kind, id)| belongs(*kind, *id, Some(1), true, -1)).collect();
    split.extend(moved.iter().map(|(kind, id)| belongs(*kind, *id, Some(3), true, 1)));
    split.extend([1, 3].map(|island| DeficitInput::Changed(IslandId(island))));
    told.epoch(10, split);
    // Losses before: 1 of 49 MW drawn (11, 14, 10 nominal, 14): 20,408 ppm. Unit 3 gave -1 + 10.
    assert_eq!(told.rows(), [(1, 10, true, 41, 25, 0, -15_489, 19), (3, 10, true, 9, 24, 10, 24_489 - 9_000, 3)]);
    let before = told.before.keys().find(|(island, _)| island.0 == 3).map(|(_, before)| Arc::clone(before)).expect("it is told");
    assert_eq!((before.estimated, before.losses, before.at_ms), (true, PartsPerMillion(20_408), START + 10_000));
    assert_eq!(before.loads.iter().map(|load| (load.load.0, load.p.0 / MW, load.q.0 / MW)).collect::<Vec<_>>(), [(4, 14, 3)]);
    assert_eq!(before.units.iter().map(|unit| (unit.unit.0, unit.p.0 / MW)).collect::<Vec<_>>(), [(3, 9)]);

    // A second later, before any estimate of the part, its unit trips: its load is lost, as it was known.
    let mut trip = vec![belongs(UNIT, 3, Some(3), true, -1), belongs(UNIT, 3, None, false, 1)];
    for id in [3, 4] {
        trip.extend([belongs(LOAD, id, Some(3), true, -1), belongs(LOAD, id, Some(3), false, 1)]);
    }
    trip.push(DeficitInput::Changed(IslandId(3)));
    told.epoch(11, trip);
    assert_eq!(told.rows()[1], (3, 11, false, 0, 24, 10, 24_000, 0));
    assert!(told.before.keys().all(|(island, _)| island.0 != 3), "no decision is about a dead island");

    // It joins again: one island, and what broke off has none.
    let mut join = Vec::new();
    for id in [3, 4] {
        join.extend([belongs(LOAD, id, Some(3), false, -1), belongs(LOAD, id, Some(1), true, 1)]);
    }
    join.push(DeficitInput::Changed(IslandId(1)));
    told.epoch(400, join);
    // All that was known is five minutes old but for nothing: nominal values again.
    assert_eq!(told.rows(), [(1, 400, true, 20, 40, 40, 40_800 - 20_000, 40)]);
}

#[test]
fn a_load_that_gives_is_known_by_the_estimate_as_any_other() {
    let mut told = Told::default();
    let load = Load { load_p: MilliWatts(-10 * MW), ..loads()[1].clone() };
    let unit = units()[0].clone();
    let mut rows = vec![
        DeficitInput::Element((EquipmentKind::Load, 2), Input::from(load)),
        DeficitInput::Element((EquipmentKind::Generator, 1), Input::from(unit)),
        belongs(EquipmentKind::Load, 2, Some(1), true, 1),
        belongs(EquipmentKind::Generator, 1, Some(1), true, 1),
    ];
    rows.push(DeficitInput::Changed(IslandId(1)));
    told.epoch(0, rows);
    told.epoch(6, vec![estimate(START + 5_000)]);
    told.epoch(10, vec![DeficitInput::Changed(IslandId(1))]);
    let before = told.before.keys().next().map(|(_, before)| Arc::clone(before)).expect("it is told");
    assert_eq!(before.loads.iter().map(|load| load.p.0 / MW).collect::<Vec<_>>(), [14], "what flows out of its bus");
}

#[test]
fn a_storage_unit_that_trips_takes_what_it_gave_with_it() {
    const STORAGE: EquipmentKind = EquipmentKind::Storage;
    let mut told = Told::default();
    // At the bus of the second unit, which is not metered.
    let storage = crate::security::storage(7, BusId(3));
    let mut rows: Vec<_> =
        loads().into_iter().map(|row| DeficitInput::Element((EquipmentKind::Load, row.id.0), Input::from(row))).collect();
    rows.extend(units().into_iter().map(|row| DeficitInput::Element((EquipmentKind::Generator, row.id.0), Input::from(row))));
    rows.push(DeficitInput::Element((STORAGE, 7), Input::from(storage)));
    rows.extend((1..=4).map(|id| belongs(EquipmentKind::Load, id, Some(1), true, 1)));
    rows.extend([1, 3].map(|id| belongs(EquipmentKind::Generator, id, Some(1), true, 1)));
    rows.push(belongs(STORAGE, 7, Some(1), true, 1));
    let report = |change| {
        let row = StorageTelemetry {
            storage: StorageId(7),
            event_ms: START,
            soc: PartsPerMillion(500_000),
            p: MilliWatts(5 * MW),
            temperature: MilliCelsius(20_000),
            milli_cycles: 0,
            capacity: MilliWattHours(10 * MW),
        };
        DeficitInput::Report(Arc::new(row), change)
    };
    rows.extend([report(1), DeficitInput::Changed(IslandId(1))]);
    told.epoch(0, rows);
    assert_eq!(told.rows(), [(1, 0, true, 45, 40, 40, -4_200, 40)]);

    // Without an island its report does not hold any more; what it gave is known of the moment before all the same.
    told.epoch(6, vec![estimate(START + 5_000)]);
    let trip = [belongs(STORAGE, 7, Some(1), true, -1), belongs(STORAGE, 7, None, false, 1), report(-1)];
    told.epoch(10, trip.into_iter().chain([DeficitInput::Changed(IslandId(1))]).collect());
    // The first unit gave 30 + 10, the second -1 + 10 - 5; the loads beside them are nobody's, the others 14 each: losses 1 of 48.
    assert_eq!(told.rows(), [(1, 10, true, 44, 48, 20, 4_999, 28)]);
    let before = told.before.keys().next().map(|(_, before)| Arc::clone(before)).expect("it is told");
    assert_eq!(before.units.iter().map(|unit| (unit.unit.0, unit.p.0 / MW)).collect::<Vec<_>>(), [(1, 40), (3, 4)]);
}

#[test]
fn an_island_without_a_source_has_its_lost_load_and_nothing_is_decided_about_it() {
    const LOAD: EquipmentKind = EquipmentKind::Load;
    let mut told = Told::default();
    let mut rows: Vec<_> = loads().into_iter().map(|row| DeficitInput::Element((LOAD, row.id.0), Input::from(row))).collect();
    rows.push(DeficitInput::Element((EquipmentKind::Generator, 1), Input::from(units()[0].clone())));
    rows.extend([1, 2].map(|id| belongs(LOAD, id, Some(1), true, 1)));
    rows.extend([3, 4].map(|id| belongs(LOAD, id, Some(3), false, 1)));
    rows.push(belongs(EquipmentKind::Generator, 1, Some(1), true, 1));
    rows.extend([1, 3].map(|island| DeficitInput::Changed(IslandId(island))));
    told.epoch(0, rows);
    assert_eq!(told.rows(), [(1, 0, true, 20, 20, 20, 400, 40), (3, 0, false, 0, 20, 20, 20_000, 0)]);

    // Of a row of dead equipment the topology tells no change.
    let more = Load { load_p: MilliWatts(15 * MW), ..loads()[2].clone() };
    told.epoch(5, vec![DeficitInput::Element((LOAD, 3), Input::from(more.clone()))]);
    assert_eq!(told.rows(), [(1, 0, true, 20, 20, 20, 400, 40), (3, 5, false, 0, 25, 25, 25_000, 0)]);
    told.epoch(6, vec![DeficitInput::Element((LOAD, 3), Input::from(more))]);
    assert_eq!(told.rows()[1].1, 5, "the same row again changes nothing");

    // Resumed, decisions hear of the living again.
    let saved = told.deficits.save();
    told.deficits = Deficits::default();
    told.deficits.load(&saved, &|_| true).expect("it was saved");
    let mut held = Vec::new();
    told.deficits.hold(&mut held);
    assert!(matches!(&held[..], [DeficitOutput::Before(IslandId(1), _, 1)]), "{held:?}");

    // One load opens, then the other joins the living: nothing is left of the island.
    let opens = [belongs(LOAD, 4, Some(3), false, -1), belongs(LOAD, 4, None, false, 1), DeficitInput::Changed(IslandId(3))];
    told.epoch(8, opens.into());
    assert_eq!(told.rows()[1], (3, 8, false, 0, 15, 15, 15_000, 0));
    let joins = [belongs(LOAD, 3, Some(3), false, -1), belongs(LOAD, 3, Some(1), true, 1), DeficitInput::Changed(IslandId(1))];
    told.epoch(9, joins.into());
    assert_eq!(told.rows(), [(1, 9, true, 20, 35, 35, 15_700, 40)]);
}

/// Loads at buses 2 and 4 and a unit at bus 1, estimated; what it remembers when the island changes `seconds` after the start.
fn known_at(seconds: i64, with: impl Fn(&mut Estimate), more: Vec<DeficitInput>, later: Vec<DeficitInput>) -> Arc<Before> {
    let mut told = Told::default();
    let mut rows = vec![DeficitInput::Element((EquipmentKind::Generator, 1), Input::from(units()[0].clone()))];
    rows.extend(
        [1, 3].map(|place: usize| loads()[place].clone()).map(|row| DeficitInput::Element((EquipmentKind::Load, row.id.0), row.into())),
    );
    rows.extend(
        [(EquipmentKind::Generator, 1), (EquipmentKind::Load, 2), (EquipmentKind::Load, 4)]
            .map(|(kind, id)| belongs(kind, id, Some(1), true, 1)),
    );
    rows.push(DeficitInput::Changed(IslandId(1)));
    rows.extend(more);
    told.epoch(0, rows);
    let DeficitInput::Estimate(row, _) = estimate(START + 5_000) else { unreachable!("it is an estimate") };
    let mut row = Estimate::clone(&row);
    with(&mut row);
    told.epoch(6, vec![DeficitInput::Estimate(Arc::new(row), 1)]);
    told.epoch(seconds, vec![DeficitInput::Changed(IslandId(1))]);
    // And once more, when nothing is estimated any more.
    told.epoch(seconds + 100, later.into_iter().chain([DeficitInput::Changed(IslandId(1))]).collect());
    told.before.keys().next().map(|(_, before)| Arc::clone(before)).expect("it is told")
}

#[test]
fn losses_are_those_of_a_whole_estimate_within_reason_and_are_remembered_with_what_was_known() {
    let losses = |with: &dyn Fn(&mut Estimate)| {
        // All is metered by then, so that nothing but its losses is known from before.
        let at = START + 109_000;
        let (load, unit) = (EquipmentKind::Load, EquipmentKind::Generator);
        let mut later: Vec<_> = [22, 24].map(|id| reading(id, Quantity::ActiveLoad, load, at, 14)).into();
        later.extend([32, 34].map(|id| reading(id, Quantity::ReactiveLoad, load, at, 3)));
        later.push(reading(41, Quantity::ActiveGeneration, unit, at, 30));
        let before = known_at(10, with, Vec::new(), later);
        assert_eq!((before.estimated, before.loads.len(), before.at_ms), (true, 2, START + 110_000));
        before.losses
    };
    // 28 MW drawn; 1 MW and then 12 MW more flow in than out.
    assert_eq!(losses(&|_| ()), PartsPerMillion(1_000_000 / 28));
    assert_eq!(losses(&|row| row.buses[0].p.0 += 11 * MW), PartsPerMillion(200_000), "more than grids lose");
    assert_eq!(losses(&|row| row.buses[0].p.0 -= 11 * MW), PartsPerMillion(0));
    assert_eq!(losses(&|row| row.resting = vec![BusId(9)]), PartsPerMillion(20_000), "some of it rests on usual injections");
    // From before the island was as it is.
    let stale = known_at(10, |row| row.tick_ms = START - 1, Vec::new(), Vec::new());
    assert!(!stale.estimated && stale.loads.is_empty(), "{stale:?}");
}

#[test]
fn a_load_at_a_node_of_another_bus_draws_what_flows_into_that_bus() {
    let node = BusAssignment { node: BusId(4), bus: BusId(2) };
    let before = known_at(10, |_| (), vec![DeficitInput::Node(node, 1)], Vec::new());
    // 14 MW flow out of bus 2, half of it by the load of node 4.
    assert_eq!(before.loads.iter().map(|load| (load.load.0, load.p.0 / MW)).collect::<Vec<_>>(), [(2, 7), (4, 7)]);
}

#[test]
fn what_weather_bounds_is_no_reserve() {
    let mut told = Told::default();
    let rows = units().into_iter().map(|row| Generator { variable: row.id.0 == 1, p_max: MilliWatts(60 * MW), ..row });
    let mut rows: Vec<_> = rows.map(|row| DeficitInput::Element((EquipmentKind::Generator, row.id.0), row.into())).collect();
    rows.extend([1, 3].map(|id| belongs(EquipmentKind::Generator, id, Some(1), true, 1)));
    rows.push(DeficitInput::Changed(IslandId(1)));
    told.epoch(0, rows);
    assert_eq!(told.rows(), [(1, 0, true, 40, 0, 0, -40_000, 40)]);
}
