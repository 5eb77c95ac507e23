//! Telemetry and accounts against their slow reference, after every epoch, for one to three workers.

use std::collections::BTreeMap;

use gridflow_inputs::ids::{BusId, FeederId, GeneratorId, SensorId, SourceId, ZoneId};
use gridflow_inputs::input::{Measurement, Quality, Quantity, Region, Sensor, Tick, Timer};
use gridflow_inputs::network::{EquipmentKind, Fuel, Generator, Side};
use gridflow_inputs::row::Real;
use gridflow_inputs::units::{MicroHertz, MilliVars, MilliVoltAmperes, MilliWatts};
use gridflow_inputs::{Epoch, Input, Sequenced};
use gridflow_operators::accounts::{AccountInput, accounts};
use gridflow_operators::decision::{Measure, Output};
use gridflow_operators::sealed::{Clock, Feed, Rows};
use gridflow_operators::telemetry::{Correction, Partial, Reading, TelemetryInput, TelemetryOutput, telemetry};
use proptest::prelude::*;
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::vec::Map;

use crate::harness::{State, part, run};
use crate::telemetry_reference::{Log, Picture, pictures};

/// A whole number of days, so that windows and quarters begin here.
pub(crate) const BEGIN: i64 = 18_262 * 86_400_000;

pub(crate) fn region(lateness_scada_ms: i64) -> Input {
    let (name, currency) = ("test".to_owned(), "EUR".to_owned());
    let (base_power, frequency) = (MilliVoltAmperes(100_000_000_000), MicroHertz(50_000_000));
    Region { name, currency, base_power, epoch_ms: 1_000, utc_offset_ms: 0, frequency, lateness_scada_ms, lateness_meter_ms: 0 }.into()
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

/// Two loads on different feeders of a zone, one in another zone, a wind unit, a steam unit, a voltage, a meter.
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
    ]
}

/// What the operators tell, as one type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tell {
    Row(Output, i64),
    Newest(Reading, i64),
    Correction(Correction),
    Entered(i64),
    Partial(Partial),
}

fn wire(feed: Rows<'_, Feed>) -> Rows<'_, Tell> {
    let told = telemetry(
        feed.clone().flat_map(|feed| match feed {
            Feed::Row(row) => matches!(row.input, Input::Sensor(_) | Input::Measurement(_)).then_some(TelemetryInput::Row(row)),
            Feed::Everywhere(worker, row) => match row.input {
                Input::Region(row) => Some(TelemetryInput::Lateness(worker, row.lateness_scada_ms)),
                Input::Generator(row) => Some(TelemetryInput::Unit(worker, row.id, row.variable)),
                _ => None,
            },
            Feed::Clock(clock) => Some(TelemetryInput::Clock(clock)),
        }),
        &gridflow_operators::state::Registry::default(),
    );
    let partials = told.clone().flat_map(|told| match told {
        TelemetryOutput::Partial(partial) => Some(AccountInput::Partial(partial)),
        _ => None,
    });
    let clocks = feed.flat_map(|feed| match feed {
        Feed::Everywhere(worker, Sequenced { input: Input::Region(row), .. }) => {
            Some(AccountInput::Lateness(worker, row.lateness_scada_ms))
        }
        Feed::Clock(clock) => Some(AccountInput::Clock(clock)),
        _ => None,
    });
    let summed =
        accounts(partials.concat(clocks), &gridflow_operators::state::Registry::default()).map(|(row, change)| Tell::Row(row, change));
    let told = told.flat_map(|told| match told {
        TelemetryOutput::Row(row, change) => vec![Tell::Row(row, change)],
        TelemetryOutput::Newest(row, change) => vec![Tell::Newest(row, change)],
        TelemetryOutput::Correction(row) => vec![Tell::Correction(row)],
        TelemetryOutput::Partial(Partial::Figure {
            measure: Measure::Readings | Measure::Duplicates | Measure::Corrections,
            value,
            ..
        }) => {
            vec![Tell::Entered(value)]
        }
        TelemetryOutput::Partial(partial) => vec![Tell::Partial(partial)],
    });
    told.concat(summed)
}

/// Feeds a log as the engine does.
fn tell(log: &Log, workers: usize) -> BTreeMap<Epoch, Vec<Tell>> {
    let epochs: Vec<Epoch> = log.iter().map(|(epoch, _)| *epoch).collect();
    let log = log.clone();
    let share = move |worker: usize, workers: usize, place: usize| {
        let (epoch, rows) = (log[place].0, &log[place].1);
        let index = worker as u64;
        let sequenced: Vec<Feed> = rows
            .iter()
            .enumerate()
            .map(|(place, row)| Feed::Row(Sequenced { epoch, sequence: place as u32, input: row.clone() }))
            .collect();
        let mut mine = part(&sequenced, worker, workers, place);
        let ticks = rows.iter().filter_map(|row| if let Input::Tick(tick) = row { Some(tick.clone()) } else { None }).collect();
        mine.push(Feed::Clock(Clock { worker: index, ticks }));
        let everywhere = rows.iter().filter(|row| matches!(row, Input::Region(_) | Input::Generator(_)));
        mine.extend(everywhere.map(|row| Feed::Everywhere(index, Sequenced { epoch: 0, sequence: 0, input: row.clone() })));
        mine
    };
    run(workers, &epochs, share, wire)
}

/// What holds after each epoch of the log, as the sum of what the operators told.
pub(crate) fn sums(log: &Log, workers: usize) -> Vec<Picture> {
    let told = tell(log, workers);
    assert!(told.keys().all(|epoch| log.iter().any(|(known, _)| known == epoch)), "something is told at an epoch that is not in the log");
    let mut sum = Picture::default();
    let add = |(epoch, _): &(Epoch, Vec<Input>)| {
        sum.corrections = State::default();
        for tell in told.get(epoch).into_iter().flatten() {
            match tell.clone() {
                Tell::Row(row, change) => sum.outputs.add(row, change),
                Tell::Newest(row, change) => sum.newest.add(row, change),
                Tell::Correction(row) => sum.corrections.add(row, 1),
                Tell::Entered(count) => sum.entered += count,
                Tell::Partial(_) => {}
            }
        }
        sum.clone()
    };
    log.iter().map(add).collect()
}

/// The first epoch's rows: region, units, all sensors but the last, which is defined later.
fn opening(lateness_ms: i64) -> Vec<Input> {
    let wind = Generator { variable: true, ..generator(1, 1, 50) };
    let mut rows = vec![region(lateness_ms), wind.into(), generator(2, 3, 50).into()];
    rows.extend(sensors().into_iter().filter(|sensor| sensor.id.0 != 3).map(Input::from));
    rows
}

/// Storms of late, early, duplicate, corrected and withdrawn readings of few identities.
fn storms() -> impl Strategy<Value = Log> {
    let reading = (
        1..9u32,
        // How long ago, in ten seconds; negative is ahead.
        prop_oneof![4 => 0..4i64, 2 => 4..13i64, 2 => 13..25i64, 1 => -3..0i64],
        0..4u16,
        prop_oneof![6 => -2..3i64, 1 => Just(100i64), 1 => 99..103i64, 1 => Just(i64::MIN)],
        prop_oneof![6 => Just(Quality::Good), 1 => Just(Quality::Doubtful), 2 => Just(Quality::Bad), 1 => Just(Quality::Withdrawn)],
    );
    let gap = prop_oneof![4 => 1..10i64, 3 => 10..70i64, 1 => 70..400i64, 1 => 900..1_000i64];
    let epoch = (gap, prop::collection::vec(reading, 0..9), any::<bool>());
    (prop::collection::vec(epoch, 2..20), prop_oneof![Just(0i64), Just(60_000), Just(120_000), Just(900_000)]).prop_map(
        |(epochs, lateness_ms)| {
            let mut now = BEGIN;
            let mut log = vec![(now as Epoch, opening(lateness_ms))];
            for (place, (gap, readings, tick)) in epochs.into_iter().enumerate() {
                now += gap * 1_000;
                let mut rows: Vec<Input> = Vec::new();
                if place == 4 {
                    rows.extend(sensors().into_iter().filter(|sensor| sensor.id.0 == 3).map(Input::from));
                }
                rows.extend(readings.into_iter().map(|(sensor, back, revision, value, quality)| {
                    let event_ms = (now - now.rem_euclid(10_000)) - back * 10_000;
                    Input::from(Measurement { sensor: SensorId(sensor), event_ms, revision, value, quality })
                }));
                if tick {
                    rows.push(Tick { timer: Timer::Estimate, event_ms: now }.into());
                }
                log.push((now as Epoch, rows));
            }
            log
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    // REQ: DQ-01
    #[test]
    fn after_every_epoch_what_was_told_sums_to_what_the_rows_say(log in storms()) {
        let expected = pictures(&log);
        for workers in 1..4 {
            for ((epoch, _), (sum, expected)) in log.iter().zip(sums(&log, workers).iter().zip(&expected)) {
                prop_assert_eq!(sum, expected, "{} workers, epoch {}", workers, *epoch as i64 - BEGIN);
            }
        }
    }

    #[test]
    fn every_reading_is_counted_rejected_or_late(log in storms()) {
        let readings = log.iter().flat_map(|(_, rows)| rows).filter(|row| matches!(row, Input::Measurement(_))).count() as i64;
        let end = sums(&log, 2).pop().expect("a log has epochs");
        let refused: i64 = end.outputs.0.iter().filter(|(row, _)| matches!(row, Output::Rejected(_) | Output::Late(_))).map(|(_, count)| count).sum();
        prop_assert_eq!(end.entered + refused, readings);
    }
}

#[test]
fn storms_reach_every_way_a_reading_can_go() {
    use gridflow_operators::decision::Reason;
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut reached = std::collections::BTreeSet::new();
    for _ in 0..150 {
        let log = storms().new_tree(&mut runner).expect("a storm is drawn").current();
        let pictures = pictures(&log);
        for row in pictures.last().expect("a log has epochs").outputs.0.keys() {
            reached.insert(match row {
                Output::Rejected(row) => format!("{:?}", row.reason),
                Output::Kpi(row) => format!("{:?}{}", row.measure, if row.revision > 0 { " restated" } else { "" }),
                Output::Window(row) => format!("{:?}{}", row.scope, if row.revision > 1 { " restated" } else { "" }),
                Output::Alarm(row) => format!("{:?}", row.kind),
                other => format!("{:?}", other.stream()),
            });
        }
    }
    let reasons =
        [Reason::Unknown, Reason::OutOfRange, Reason::Malformed, Reason::Future, Reason::Superseded].map(|reason| format!("{reason:?}"));
    let others =
        ["Late", "Stale", "Sensor restated", "Feeder restated", "Zone restated", "LoadEnergy restated", "RenewableEnergy", "Corrections"];
    for way in reasons.into_iter().chain(others.map(str::to_owned)) {
        assert!(reached.contains(&way), "no storm reaches {way}: {reached:?}");
    }
}
