//! Telemetry and accounts against their slow reference, after every epoch, for one to four workers, straight through and
//! saved and loaded on the way; and in a dataflow, as the engine runs them.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridflow_inputs::ids::{BusId, FeederId, GeneratorId, SensorId, SourceId, ZoneId};
use gridflow_inputs::input::{FeederAssignment, Measurement, Quality, Quantity, Sensor, Tick, Timer};
use gridflow_inputs::log::EpochBatch;
use gridflow_inputs::network::{EquipmentKind, Fuel, Generator, Side};
use gridflow_inputs::row::Real;
use gridflow_inputs::units::{MicroHertz, MilliVars, MilliVoltAmperes, MilliWatts};
use gridflow_inputs::{Epoch, Input, Sequenced};
use gridflow_operators::accounts::{AccountInput, Accounts, accounts};
use gridflow_operators::decision::{AlarmKind, Output};
use gridflow_operators::sealed::{Clock, Feed, Logic, Rows};
use gridflow_operators::state::State as _;
use gridflow_operators::telemetry::{Bounds, Correction, Partial, Reading, Telemetry, TelemetryOutput, telemetry};
use proptest::prelude::*;
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::vec::Map;

use crate::harness::{State, run};
use crate::telemetry_reference::{Log, Picture, pictures};

/// A whole number of days, so that windows and quarters begin here.
pub(crate) const BEGIN: i64 = 18_262 * DAY;
pub(crate) const DAY: i64 = 86_400_000;

/// A region with one bound for all.
pub(crate) fn region(lateness_ms: i64) -> Input {
    region_of(lateness_ms, lateness_ms).into()
}

pub(crate) fn region_of(lateness_scada_ms: i64, lateness_meter_ms: i64) -> gridflow_inputs::input::Region {
    let (name, currency) = ("test".to_owned(), "EUR".to_owned());
    let (base_power, frequency) = (MilliVoltAmperes(100_000_000_000), MicroHertz(50_000_000));
    gridflow_inputs::input::Region {
        name,
        currency,
        base_power,
        epoch_ms: 1_000,
        utc_offset_ms: 0,
        frequency,
        lateness_scada_ms,
        lateness_meter_ms,
    }
}

pub(crate) fn generator(id: u32, bus: u32, p_max: i64) -> Generator {
    Generator {
        id: GeneratorId(id),
        valid_from_ms: BEGIN,
        name: String::new(),
        bus: BusId(bus),
        fuel: Fuel::Other,
        p: MilliWatts(0),
        q: MilliVars(0),
        p_min: MilliWatts(0),
        p_max: MilliWatts(p_max),
        q_min: MilliVars(0),
        q_max: MilliVars(0),
        v_setpoint_pu: Real::ONE,
        variable: false,
        in_service: true,
        cost_polynomial: Vec::new(),
        cost_points: Vec::new(),
        ramp_per_minute: MilliWatts(0),
        start_up_cost: Real::ZERO,
        min_up_ms: 0,
        min_down_ms: 0,
        emission_t_per_mwh: Real::ZERO,
    }
}

pub(crate) fn sensor(id: u32, quantity: Quantity, element: EquipmentKind, element_id: u32, feeder: u32, zone: u32) -> Sensor {
    Sensor {
        id: SensorId(id),
        valid_from_ms: BEGIN,
        quantity,
        element,
        element_id,
        side: Side::None,
        sigma: 0,
        range_min: -100,
        range_max: 100,
        feeder: FeederId(feeder),
        zone: ZoneId(zone),
        period_ms: if id.is_multiple_of(2) { 1_000 } else { 60_000 },
        source: SourceId(id + 10),
    }
}

pub(crate) fn reading(sensor: u32, event_ms: i64, value: i64) -> Measurement {
    Measurement { sensor: SensorId(sensor), event_ms, revision: 0, value, quality: Quality::Good }
}

/// Two loads on different feeders of a zone, one in another zone, a wind unit, a steam unit, a voltage, two meters, a
/// frequency.
pub(crate) fn sensors() -> Vec<Sensor> {
    use EquipmentKind as Kind;
    vec![
        sensor(1, Quantity::ActiveLoad, Kind::Load, 1, 1, 1),
        sensor(2, Quantity::ActiveLoad, Kind::Load, 2, 2, 1),
        sensor(3, Quantity::ActiveLoad, Kind::Load, 3, 3, 2),
        sensor(4, Quantity::ActiveGeneration, Kind::Generator, 1, 1, 1),
        sensor(5, Quantity::ActiveGeneration, Kind::Generator, 2, 3, 2),
        sensor(6, Quantity::VoltageMagnitude, Kind::Bus, 1, 1, 1),
        sensor(7, Quantity::MeteredPower, Kind::Feeder, 2, 2, 1),
        sensor(8, Quantity::MeteredPower, Kind::Feeder, 1, 1, 2),
        sensor(9, Quantity::Frequency, Kind::Bus, 1, 1, 1),
    ]
}

/// What the operators tell, as one type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tell {
    Row(Output, i64),
    Newest(Reading, i64),
    Correction(Correction),
    Phasor(Reading),
}

/// Telemetry and accounts of some workers, without a dataflow.
pub(crate) struct Region {
    telemetry: Vec<Telemetry>,
    accounts: Vec<Accounts>,
    pub(crate) told: Vec<Tell>,
    pub(crate) partials: Vec<Partial>,
}

impl Region {
    pub(crate) fn new(workers: usize) -> Self {
        let telemetry = (0..workers).map(|worker| Telemetry::new(worker, workers)).collect();
        let accounts = (0..workers).map(|_| Accounts::new(workers)).collect();
        Self { telemetry, accounts, told: Vec::new(), partials: Vec::new() }
    }

    /// Hands on what telemetry told.
    fn hand_on(&mut self, epoch: Epoch, told: Vec<TelemetryOutput>, others: impl Fn(u64) -> Vec<AccountInput>) {
        let workers = self.accounts.len() as u64;
        let mut inputs: Vec<Vec<AccountInput>> = (0..workers).map(others).collect();
        for told in told {
            match told {
                TelemetryOutput::Row(row, change) => self.told.push(Tell::Row(row, change)),
                TelemetryOutput::Newest(row, change) => self.told.push(Tell::Newest(row, change)),
                TelemetryOutput::Correction(row) => self.told.push(Tell::Correction(row)),
                TelemetryOutput::Phasor(row) => self.told.push(Tell::Phasor(row)),
                TelemetryOutput::Partial(partial) => {
                    self.partials.push(partial.clone());
                    let input = AccountInput::Partial(partial);
                    inputs[(input.route() % workers) as usize].push(input);
                }
            }
        }
        for (accounts, mut inputs) in self.accounts.iter_mut().zip(inputs) {
            let mut out = Vec::new();
            accounts.apply(epoch, &mut inputs, &mut out);
            self.told.extend(out.into_iter().map(|(row, change)| Tell::Row(row, change)));
        }
    }

    pub(crate) fn apply(&mut self, epoch: Epoch, rows: &[Input]) {
        let batch = EpochBatch::new(epoch, rows.iter().cloned());
        let mut out = Vec::new();
        self.telemetry.iter_mut().for_each(|telemetry| telemetry.apply(&batch, &mut out));
        let ticks: Vec<Tick> = rows.iter().filter_map(|row| if let Input::Tick(tick) = row { Some(tick.clone()) } else { None }).collect();
        self.hand_on(epoch, out, |worker| {
            let bounds = (0u32..).zip(rows).filter_map(|(sequence, row)| match row {
                Input::Region(row) => Some(AccountInput::Lateness { worker, sequence, bounds: Bounds::from(row) }),
                _ => None,
            });
            bounds.chain([AccountInput::Clock(Clock { worker, ticks: ticks.clone() })]).collect()
        });
    }

    /// The same, saved and loaded by another number of workers; what solvers know is told again.
    pub(crate) fn resumed(&self, epoch: Epoch, workers: usize) -> Self {
        let mut resumed = Self::new(workers);
        let mine = |worker: usize| move |route: u64| route % workers as u64 == worker as u64;
        for (worker, telemetry) in resumed.telemetry.iter_mut().enumerate() {
            for saved in &self.telemetry {
                telemetry.load(&saved.save(), &mine(worker)).expect("it was saved");
            }
        }
        for (worker, accounts) in resumed.accounts.iter_mut().enumerate() {
            for saved in &self.accounts {
                accounts.load(&saved.save(), &mine(worker)).expect("it was saved");
            }
        }
        let mut out = Vec::new();
        resumed.telemetry.iter().for_each(|telemetry| telemetry.hold(&mut out));
        resumed.hand_on(epoch, out, |_| Vec::new());
        resumed
    }
}

/// What was fed: rows for the accounts, batches for telemetry.
#[derive(Clone)]
enum Fed {
    Feed(Box<Feed>),
    Batch(Arc<EpochBatch>),
}

fn wire(fed: Rows<'_, Fed>) -> Rows<'_, Tell> {
    let registry = gridflow_operators::state::Registry::default();
    let batches = fed.clone().flat_map(|fed| if let Fed::Batch(batch) = fed { Some(batch) } else { None });
    let told = telemetry(batches, &registry);
    let partials = told.clone().flat_map(|told| match told {
        TelemetryOutput::Partial(partial) => Some(AccountInput::Partial(partial)),
        _ => None,
    });
    let clocks = fed.flat_map(|fed| match fed {
        Fed::Feed(feed) => match *feed {
            Feed::Everywhere(worker, Sequenced { sequence, input: Input::Region(row), .. }) => {
                Some(AccountInput::Lateness { worker, sequence, bounds: Bounds::from(&row) })
            }
            Feed::Clock(clock) => Some(AccountInput::Clock(clock)),
            _ => None,
        },
        Fed::Batch(_) => None,
    });
    let summed = accounts(partials.concat(clocks), &registry).map(|(row, change)| Tell::Row(row, change));
    let told = told.flat_map(|told| match told {
        TelemetryOutput::Row(row, change) => Some(Tell::Row(row, change)),
        TelemetryOutput::Newest(row, change) => Some(Tell::Newest(row, change)),
        TelemetryOutput::Correction(row) => Some(Tell::Correction(row)),
        TelemetryOutput::Partial(_) | TelemetryOutput::Phasor(_) => None,
    });
    told.concat(summed)
}

/// Feeds a log as the engine does.
fn tell(log: &Log, workers: usize) -> BTreeMap<Epoch, Vec<Tell>> {
    let epochs: Vec<Epoch> = log.iter().map(|(epoch, _)| *epoch).collect();
    let log = log.clone();
    let share = move |worker: usize, _: usize, place: usize| {
        let (epoch, rows) = (log[place].0, &log[place].1);
        let index = worker as u64;
        let mut mine = vec![Fed::Batch(Arc::new(EpochBatch::new(epoch, rows.iter().cloned())))];
        let ticks = rows.iter().filter_map(|row| if let Input::Tick(tick) = row { Some(tick.clone()) } else { None }).collect();
        mine.push(Fed::Feed(Box::new(Feed::Clock(Clock { worker: index, ticks }))));
        let everywhere = (0u32..).zip(rows).filter(|(_, row)| matches!(row, Input::Region(_)));
        mine.extend(
            everywhere
                .map(|(sequence, row)| Fed::Feed(Box::new(Feed::Everywhere(index, Sequenced { epoch, sequence, input: row.clone() })))),
        );
        mine
    };
    run(workers, &epochs, share, wire)
}

fn add(sum: &mut Picture, told: impl IntoIterator<Item = Tell>) {
    for tell in told {
        match tell {
            Tell::Row(row, change) => sum.outputs.add(row, change),
            Tell::Newest(row, change) => sum.newest.add(row, change),
            Tell::Correction(row) => sum.corrections.add(row, 1),
            Tell::Phasor(row) => unreachable!("no log here has synchrophasors: {row:?}"),
        }
    }
}

/// What holds after each epoch of the log, as the sum of what the operators told in a dataflow.
pub(crate) fn sums(log: &Log, workers: usize) -> Vec<Picture> {
    let mut told = tell(log, workers);
    assert!(told.keys().all(|epoch| log.iter().any(|(known, _)| known == epoch)), "something is told at an epoch that is not in the log");
    let mut sum = Picture::default();
    let after = |(epoch, _): &(Epoch, Vec<Input>)| {
        sum.corrections = State::default();
        add(&mut sum, told.remove(epoch).unwrap_or_default());
        sum.clone()
    };
    log.iter().map(after).collect()
}

/// The same without a dataflow, with so many workers at each epoch; where the number changes, and where it is said, all are
/// saved and loaded before it.
pub(crate) fn resumed_sums(log: &Log, workers: &[(usize, bool)]) -> Vec<Picture> {
    let mut sum = Picture::default();
    let mut region = Region::new(workers[0].0);
    let mut last = (0, workers[0].0);
    let mut pictures = Vec::new();
    for (place, ((epoch, rows), (workers, save))) in log.iter().zip(workers.iter().cycle()).enumerate() {
        if last.1 != *workers || (*save && place > 0) {
            region = region.resumed(last.0, *workers);
            // All that solvers know is told again, once, and nothing else.
            let mut again = Picture::default();
            add(&mut again, std::mem::take(&mut region.told));
            assert_eq!((again.outputs, again.newest), (State::default(), sum.newest.clone()));
        }
        last = (*epoch, *workers);
        region.apply(*epoch, rows);
        sum.corrections = State::default();
        add(&mut sum, std::mem::take(&mut region.told));
        pictures.push(sum.clone());
    }
    pictures
}

/// The first epoch's rows: region, units, all sensors but one, which is defined later.
fn opening((scada_ms, meter_ms): (i64, i64)) -> Vec<Input> {
    let wind = Generator { variable: true, ..generator(1, 1, 50) };
    let mut rows = vec![region_of(scada_ms, meter_ms).into(), wind.into(), generator(2, 3, 50).into()];
    rows.extend(sensors().into_iter().filter(|sensor| sensor.id.0 != 3).map(Input::from));
    rows
}

#[derive(Clone, Debug)]
enum Drawn {
    Reading(u32, i64, u16, i64, Quality),
    /// A sensor moves: how long ago, bus, zone, another range, another quantity.
    Move(u32, i64, u32, u32, bool, bool),
    Assign(u32, i64, u32),
    /// A unit hangs on the weather, or not, from so long ago.
    Unit(i64, bool),
    /// Bounds of SCADA and of meters, one pair after the other.
    Lateness(Vec<(i64, i64)>),
    Tick,
}

/// Bounds of SCADA and of meters: of meters mostly the greater ones.
fn bounds() -> impl Strategy<Value = (i64, i64)> {
    let scada = prop_oneof![Just(0i64), Just(60_000), Just(120_000), Just(900_000), Just(4_000_000)];
    let meter = prop_oneof![1 => Just(0i64), 1 => Just(60_000), 1 => Just(900_000), 2 => Just(3 * DAY), 5 => Just(7 * DAY)];
    (scada, meter)
}

fn drawn() -> impl Strategy<Value = Drawn> {
    // How long ago, in ten seconds; negative is ahead. The longest reach back eight days.
    let back = || {
        let long = prop_oneof![100..400i64, 400..70_000i64, 8_640..60_480i64];
        prop_oneof![6 => 0..4i64, 3 => 4..13i64, 3 => 13..25i64, 2 => 25..100i64, 2 => long, 1 => -3..0i64]
    };
    let value = prop_oneof![8 => -2..3i64, 1 => Just(100i64), 1 => 99..103i64, 1 => Just(i64::MIN)];
    let quality =
        prop_oneof![6 => Just(Quality::Good), 1 => Just(Quality::Doubtful), 2 => Just(Quality::Bad), 1 => Just(Quality::Withdrawn)];
    let reading = (1..11u32, back(), 0..4u16, value, quality);
    prop_oneof![
        30 => reading.prop_map(|(sensor, back, revision, value, quality)| Drawn::Reading(sensor, back, revision, value, quality)),
        2 => (1..10u32, back(), 1..5u32, 1..4u32, prop::bool::weighted(0.2), prop::bool::weighted(0.1))
            .prop_map(|(sensor, back, bus, zone, range, quantity)| Drawn::Move(sensor, back, bus, zone, range, quantity)),
        2 => (1..5u32, back(), 1..4u32).prop_map(|(bus, back, feeder)| Drawn::Assign(bus, back, feeder)),
        1 => (back(), any::<bool>()).prop_map(|(back, variable)| Drawn::Unit(back, variable)),
        1 => prop::collection::vec(bounds(), 1..3).prop_map(Drawn::Lateness),
        3 => Just(Drawn::Tick),
    ]
}

/// Storms of late, early, duplicate, corrected and withdrawn readings of few identities, of moves and assignments, some late.
pub(crate) fn storms() -> impl Strategy<Value = Log> {
    let gap = prop_oneof![40 => 1..10i64, 30 => 10..70i64, 10 => 70..400i64, 10 => 900..1_000i64, 5 => 3_000..4_000i64, 4 => 80_000..400_000i64, 1 => Just(100_000_000i64)];
    let epoch = (gap, prop::collection::vec(drawn(), 0..9));
    (prop::collection::vec(epoch, 2..24), bounds()).prop_map(|(epochs, bounds)| {
        let mut now = BEGIN;
        let mut log = vec![(now as Epoch, opening(bounds))];
        for (place, (gap, drawn)) in epochs.into_iter().enumerate() {
            now += gap * 1_000;
            let mut rows: Vec<Input> = Vec::new();
            if place == 4 {
                rows.extend(sensors().into_iter().filter(|sensor| sensor.id.0 == 3).map(Input::from));
            }
            let ago = |back: i64| (now - now.rem_euclid(10_000)) - back * 10_000;
            for drawn in drawn {
                match drawn {
                    Drawn::Reading(sensor, back, revision, value, quality) => {
                        rows.push(Measurement { sensor: SensorId(sensor), event_ms: ago(back), revision, value, quality }.into());
                    }
                    Drawn::Move(id, back, bus, zone, range, quantity) => {
                        let mut sensor = sensors().swap_remove(id as usize - 1);
                        (sensor.valid_from_ms, sensor.feeder, sensor.zone) = (ago(back), FeederId(bus), ZoneId(zone));
                        sensor.range_max = if range { 50 } else { 100 };
                        sensor.quantity = if quantity { Quantity::Frequency } else { sensor.quantity };
                        rows.push(sensor.into());
                    }
                    Drawn::Assign(bus, back, feeder) => {
                        rows.push(FeederAssignment { bus: BusId(bus), valid_from_ms: ago(back), feeder: FeederId(feeder) }.into());
                    }
                    Drawn::Unit(back, variable) => {
                        rows.push(Generator { valid_from_ms: ago(back), variable, ..generator(1, 1, 50) }.into())
                    }
                    Drawn::Lateness(bounds) => {
                        rows.extend(bounds.into_iter().map(|(scada_ms, meter_ms)| region_of(scada_ms, meter_ms).into()))
                    }
                    Drawn::Tick => rows.push(Tick { timer: Timer::Estimate, event_ms: now }.into()),
                }
            }
            log.push((now as Epoch, rows));
        }
        log
    })
}

fn assert_equal(log: &Log, found: &[Picture], expected: &[Picture], what: &str) -> Result<(), TestCaseError> {
    for ((epoch, rows), (found, expected)) in log.iter().zip(found.iter().zip(expected)) {
        if found != expected {
            let minus = |one: &State<Output>, other: &State<Output>| {
                one.0
                    .iter()
                    .filter(|(row, count)| other.0.get(*row) != Some(count))
                    .map(|(row, count)| format!("{count} {row:?}"))
                    .collect::<Vec<_>>()
            };
            return Err(TestCaseError::fail(format!(
                "{what}, epoch {}, rows {rows:#?}: found but not expected {:#?}; expected but not found {:#?}; newest {:#?} {:#?}; corrections {:#?} {:#?}",
                *epoch as i64 - BEGIN,
                minus(&found.outputs, &expected.outputs),
                minus(&expected.outputs, &found.outputs),
                found.newest,
                expected.newest,
                found.corrections,
                expected.corrections
            )));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(700) })]

    // REQ: DQ-01
    #[test]
    fn after_every_epoch_what_was_told_sums_to_what_the_rows_say(log in storms()) {
        let expected = pictures(&log);
        for workers in 1..5 {
            assert_equal(&log, &resumed_sums(&log, &[(workers, false)]), &expected, &format!("{workers} workers"))?;
        }
    }

    #[test]
    fn saved_and_loaded_by_any_number_of_workers_it_goes_on_as_if_nothing_had_been(log in storms(), workers in prop::collection::vec((1usize..4, any::<bool>()), 1..24)) {
        let straight = resumed_sums(&log, &[(1, false)]);
        assert_equal(&log, &resumed_sums(&log, &workers), &straight, &format!("workers {workers:?}"))?;
    }

    // REQ: DQ-02
    #[test]
    fn every_reading_is_applied_rejected_late_or_a_duplicate(log in storms()) {
        let end = resumed_sums(&log, &[(2, false)]).pop().expect("a log has epochs");
        for (epoch, rows) in &log {
            let readings = rows.iter().filter(|row| matches!(row, Input::Measurement(_))).count() as i64;
            let gaps = || end.outputs.0.keys().filter_map(|row| if let Output::Gap(row) = row { Some(row) } else { None }).filter(|row| row.epoch == *epoch);
            prop_assert_eq!(gaps().map(|row| row.received).sum::<i64>(), readings);
            prop_assert!(gaps().all(|row| row.received > 0 && row.received == row.applied + row.rejected + row.late + row.duplicate));
            let refused = |late: bool| end.outputs.0.iter().filter(move |(row, _)| match row {
                Output::Late(row) => late && row.epoch == *epoch,
                Output::Rejected(row) => !late && row.epoch == *epoch && row.kind == gridflow_inputs::Kind::Measurement as u8,
                _ => false,
            }).map(|(_, count)| *count).sum::<i64>();
            prop_assert_eq!(gaps().map(|row| row.late).sum::<i64>(), refused(true));
            prop_assert_eq!(gaps().map(|row| row.rejected).sum::<i64>(), refused(false));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]

    #[test]
    fn in_a_dataflow_it_tells_the_same(log in storms()) {
        let expected = resumed_sums(&log, &[(1, false)]);
        for workers in 1..4 {
            assert_equal(&log, &sums(&log, workers), &expected, &format!("{workers} workers in a dataflow"))?;
        }
    }

    /// What was saved, with some bytes changed and the end cut off, is loaded or refused.
    #[test]
    fn no_bytes_stop_the_loading(
        log in storms(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
    ) {
        let mut region = Region::new(1);
        log.iter().for_each(|(epoch, rows)| region.apply(*epoch, rows));
        let damaged = |mut bytes: Vec<u8>| {
            for (place, byte) in &changes {
                *place.get_mut(&mut bytes) = *byte;
            }
            bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
            bytes
        };
        let _ = Telemetry::new(0, 1).load(&damaged(region.telemetry[0].save()), &|_| true);
        let _ = Accounts::new(1).load(&damaged(region.accounts[0].save()), &|_| true);
    }
}

#[test]
fn storms_reach_every_way_a_reading_can_go() {
    use gridflow_operators::decision::Reason;
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut reached = std::collections::BTreeSet::new();
    for _ in 0..300 {
        let log = storms().new_tree(&mut runner).expect("a storm is drawn").current();
        let pictures = pictures(&log);
        for (picture, (epoch, _)) in pictures.iter().zip(&log) {
            for row in picture.outputs.0.keys() {
                match row {
                    Output::Late(row) if row.epoch == *epoch && row.sensor.0 == 7 => drop(reached.insert("late meter".to_owned())),
                    // Longer ago than SCADA may ever be late.
                    Output::Window(row)
                        if row.revision > 0 && row.quantity == Quantity::MeteredPower && row.start_ms < *epoch as i64 - DAY =>
                    {
                        reached.insert(format!("{:?} after a day", row.scope));
                    }
                    Output::Alarm(row) if row.kind == AlarmKind::Stale && [7, 9].contains(&row.id) => {
                        reached.insert(format!("stale sensor {}", row.id));
                    }
                    _ => {}
                }
            }
        }
        for row in pictures.last().expect("a log has epochs").outputs.0.keys() {
            reached.insert(match row {
                Output::Rejected(row) => format!("{:?}", row.reason),
                Output::Kpi(row) => format!("{:?}{}", row.measure, if row.revision > 0 { " restated" } else { "" }),
                Output::Window(row) => {
                    format!("{:?} {}{}", row.scope, row.length_ms / 60_000, if row.revision > 0 { " restated" } else { "" })
                }
                Output::Alarm(row) => format!("{:?}", row.kind),
                other => format!("{:?}", other.stream()),
            });
        }
    }
    let reasons =
        [Reason::Unknown, Reason::OutOfRange, Reason::Malformed, Reason::Future, Reason::Superseded].map(|reason| format!("{reason:?}"));
    let others = ["Late", "Stale", "LoadEnergy restated", "RenewableEnergy", "Corrections", "Gap"].map(str::to_owned);
    let windows =
        ["Sensor", "Bus", "Feeder", "Zone"].iter().flat_map(|scope| [1, 5, 15, 60].map(|minutes| format!("{scope} {minutes} restated")));
    let meters = [
        "late meter",
        "stale sensor 7",
        "stale sensor 9",
        "Sensor after a day",
        "Bus after a day",
        "Feeder after a day",
        "Zone after a day",
    ];
    for way in reasons.into_iter().chain(others).chain(windows).chain(meters.map(str::to_owned)) {
        assert!(reached.contains(&way), "no storm reaches {way}: {reached:?}");
    }
}
