//! Telemetry case by case: what storms seldom reach, each with its expected answer spelled out.

use gridflow_inputs::ids::{BusId, FeederId, SensorId, SourceId, ZoneId};
use gridflow_inputs::input::{FeederAssignment, Kind, Measurement, PmuSample, Quality, Quantity, Sensor, Tick, Timer};
use gridflow_inputs::network::{EquipmentKind, Generator};
use gridflow_inputs::units::{MicroHertz, MicroRadians, MicroVolts};
use gridflow_inputs::{Epoch, Input};
use gridflow_operators::decision::{AlarmKind, Kpi, Measure, Output, Reason, Window, WindowScope};
use gridflow_operators::telemetry::STUCK_READINGS;

use crate::harness::State;
use crate::telemetry::{BEGIN, Region, Tell, generator, reading, region, sensor, sums};
use crate::telemetry_reference::{Log, Picture};

/// A log from rows and the seconds after the beginning at which they arrive.
fn log(lateness_ms: i64, later: Vec<(i64, Vec<Input>)>) -> Log {
    let mut log = vec![(BEGIN as Epoch, vec![region(lateness_ms)])];
    log.extend(later.into_iter().map(|(seconds, rows)| ((BEGIN + seconds * 1_000) as Epoch, rows)));
    log
}

fn end(log: &Log) -> Picture {
    sums(log, 1).pop().expect("a log has epochs")
}

fn load_sensor() -> Sensor {
    sensor(1, Quantity::ActiveLoad, EquipmentKind::Load, 1, 1, 1)
}

fn at(seconds: i64, value: i64, revision: u16) -> Measurement {
    Measurement { revision, ..reading(1, BEGIN + seconds * 1_000, value) }
}

fn bad(row: Measurement) -> Measurement {
    Measurement { quality: Quality::Withdrawn, ..row }
}

fn figure(picture: &Picture, measure: Measure) -> Vec<i64> {
    let of_measure = |row: &Output| if let Output::Kpi(Kpi { value, .. }) = row { Some(*value) } else { None };
    let rows = picture.outputs.0.keys().filter(|row| matches!(row, Output::Kpi(row) if row.measure == measure));
    rows.filter_map(of_measure).collect()
}

/// One-minute windows of a scope.
fn windows(picture: &Picture, scope: WindowScope) -> Vec<Window> {
    let rows = picture.outputs.0.keys().filter_map(|row| if let Output::Window(row) = row { Some(row.clone()) } else { None });
    rows.filter(|row| row.scope == scope && row.length_ms == 60_000).collect()
}

fn newest(picture: &Picture) -> Vec<(i64, i64)> {
    picture.newest.0.keys().map(|reading| ((reading.event_ms - BEGIN) / 1_000, reading.value)).collect()
}

#[test]
fn a_quarter_without_power_is_stated_as_zero_energy() {
    let solar = Generator { variable: true, ..generator(1, 1, 50) };
    let night = sensor(4, Quantity::ActiveGeneration, EquipmentKind::Generator, 1, 1, 1);
    let rows = vec![solar.into(), night.into(), reading(4, BEGIN, 0).into()];
    let picture = end(&log(60_000, vec![(1, rows), (1_000, vec![])]));
    assert_eq!(figure(&picture, Measure::RenewableEnergy), [0]);
}

#[test]
fn a_duplicate_of_a_later_revision_is_not_beaten_by_an_earlier_one() {
    let rows = |place: i64, row: Measurement| (place, vec![Input::from(row)]);
    let later = vec![(1, vec![load_sensor().into()]), rows(2, at(0, 5, 0)), rows(3, at(0, 5, 2)), rows(4, at(0, 7, 1)), (70, vec![])];
    let picture = end(&log(60_000, later));
    assert_eq!(windows(&picture, WindowScope::Sensor)[0].sum, 5);
}

#[test]
fn a_bad_reading_after_a_long_silence_leaves_the_newest_good_one() {
    let later = vec![(1, vec![load_sensor().into()]), (2, vec![at(1, 5, 0).into()]), (400, vec![]), (500, vec![bad(at(499, 5, 0)).into()])];
    assert_eq!(newest(&end(&log(60_000, later))), [(1, 5)]);
}

#[test]
fn a_withdrawn_reading_gives_way_to_a_good_one_that_is_final() {
    let rows = vec![at(400, 8, 0).into()];
    let later = vec![(1, vec![load_sensor().into(), at(0, 5, 0).into()]), (401, rows), (402, vec![bad(at(400, 8, 1)).into()])];
    assert_eq!(newest(&end(&log(60_000, later))), [(0, 5)]);
}

#[test]
fn a_unit_that_turns_out_variable_does_not_stop_the_withdrawal_of_what_it_gave() {
    let unit = generator(1, 1, 50);
    let output = sensor(1, Quantity::ActiveGeneration, EquipmentKind::Generator, 1, 1, 1);
    let later = vec![
        (1, vec![unit.clone().into(), output.into(), at(0, 40, 0).into()]),
        (2, vec![Generator { variable: true, ..unit }.into()]),
        (3, vec![bad(at(0, 40, 1)).into()]),
        (1_000, vec![]),
    ];
    assert!(figure(&end(&log(900_000, later)), Measure::RenewableEnergy).iter().all(|energy| *energy == 0));
}

#[test]
fn a_correction_takes_a_reading_out_of_the_feeder_it_was_put_in() {
    let moved = Sensor { valid_from_ms: BEGIN + 1_000, feeder: FeederId(9), zone: ZoneId(9), ..load_sensor() };
    let later = vec![
        (1, vec![load_sensor().into(), at(0, 40, 0).into()]),
        (2, vec![moved.into()]),
        (3, vec![bad(at(0, 40, 1)).into()]),
        (1_000, vec![]),
    ];
    let picture = end(&log(900_000, later));
    for scope in [WindowScope::Feeder, WindowScope::Zone] {
        assert!(windows(&picture, scope).iter().all(|window| (window.count, window.sum, window.sum_squares) == (0, 0, 0)), "{picture:?}");
    }
    assert!(figure(&picture, Measure::LoadEnergy).iter().all(|energy| *energy == 0));
}

#[test]
fn a_sensor_of_another_quantity_does_not_stop_the_withdrawal_of_what_it_measured() {
    let before = Sensor { quantity: Quantity::VoltageMagnitude, ..load_sensor() };
    let after = Sensor { valid_from_ms: BEGIN + 1_000, ..load_sensor() };
    let later =
        vec![(1, vec![before.into(), at(0, 40, 0).into()]), (2, vec![after.into()]), (3, vec![bad(at(0, 40, 1)).into()]), (1_000, vec![])];
    assert!(figure(&end(&log(900_000, later)), Measure::LoadEnergy).iter().all(|energy| *energy == 0));
}

#[test]
fn windows_and_figures_are_stated_even_when_they_are_final_at_once() {
    let later = vec![(1, vec![load_sensor().into(), at(0, 40, 0).into()]), (62, vec![]), (903, vec![]), (910, vec![])];
    let picture = end(&log(0, later));
    assert_eq!(windows(&picture, WindowScope::Sensor).len(), 1);
    assert_eq!(figure(&picture, Measure::LoadEnergy), [10]);
}

#[test]
fn no_lateness_bound_stops_the_engine() {
    for lateness_ms in [i64::MIN, -1, 0, i64::MAX] {
        let later = vec![(1, vec![load_sensor().into(), at(0, 40, 0).into()]), (2_000, vec![at(1_999, 41, 0).into()]), (4_000, vec![])];
        let picture = end(&log(lateness_ms, later));
        assert_eq!(windows(&picture, WindowScope::Sensor).len(), 2, "bound {lateness_ms}");
    }
}

// REQ: DQ-11
#[test]
fn a_stuck_sensor_is_kept_from_solvers_until_it_moves_or_is_corrected() {
    let sensor = Sensor { sigma: 1, ..load_sensor() };
    let readings = |from: i64, to: i64| (from..to).map(|second| at(second, 40, 0).into()).collect::<Vec<Input>>();
    let alarms = |picture: &Picture| -> Vec<AlarmKind> {
        picture.outputs.0.keys().filter_map(|row| if let Output::Alarm(row) = row { Some(row.kind) } else { None }).collect()
    };
    let last = i64::from(STUCK_READINGS) - 1;
    let mut later = vec![(1, vec![sensor.into()]), (100, readings(0, last)), (101, readings(last, last + 1))];
    let stuck = log(900_000, later.clone());
    let pictures = sums(&stuck, 1);
    assert_eq!(alarms(&pictures[2]), []);
    assert_eq!(newest(&pictures[2]), [(last - 1, 40)]);
    assert_eq!(alarms(&pictures[3]), [AlarmKind::Stuck]);
    assert_eq!(pictures[3].newest, State::default());
    later.push((102, vec![at(last, 41, 1).into()]));
    let corrected = end(&log(900_000, later.clone()));
    assert_eq!(alarms(&corrected), []);
    assert_eq!(newest(&corrected), [(last, 41)]);
    later.pop();
    later.push((102, vec![at(last + 1, 39, 0).into()]));
    let moved = end(&log(900_000, later));
    assert_eq!((alarms(&moved), newest(&moved)), (vec![], vec![(last + 1, 39)]));
}

// REQ: DQ-02
#[test]
fn a_source_whose_clock_is_wrong_is_named_until_it_is_right_and_holds_back_nobody() {
    let tick = |seconds: i64| Input::from(Tick { timer: Timer::Estimate, event_ms: BEGIN + seconds * 1_000 });
    let other = sensor(2, Quantity::ActiveLoad, EquipmentKind::Load, 2, 1, 1);
    let ahead = |from: i64, shift: i64| (from..from + 20).map(|second| Input::from(at(second + shift, second % 7, 0))).collect::<Vec<_>>();
    let mut wrong = ahead(0, 1_000);
    wrong.extend([reading(2, BEGIN + 10_000, 3).into(), tick(20)]);
    let mut right = ahead(100, 0);
    right.push(tick(120));
    let log = log(60_000, vec![(1, vec![load_sensor().into(), other.into()]), (20, wrong), (120, right), (200, vec![])]);
    let alarms = |picture: &Picture| -> Vec<(AlarmKind, u32)> {
        let rows = picture.outputs.0.keys().filter_map(|row| if let Output::Alarm(row) = row { Some((row.kind, row.id)) } else { None });
        rows.filter(|(kind, _)| *kind == AlarmKind::Clock).collect()
    };
    for workers in 1..3 {
        let pictures = sums(&log, workers);
        assert_eq!(pictures, crate::telemetry_reference::pictures(&log));
        // Sensor 1 is of source 11. That the source of sensor 2 falls silent holds back no window.
        assert_eq!(alarms(&pictures[2]), [(AlarmKind::Clock, 11)]);
        assert_eq!(alarms(&pictures[3]), []);
        assert_eq!(windows(&pictures[4], WindowScope::Sensor).len(), 2);
    }
}

/// Each reading is one a row may hold; their sum over a zone is more than that.
#[test]
fn a_zone_of_absurd_readings_is_stated_as_the_greatest_figure_there_is() {
    const SENSORS: u32 = 37_000;
    let greatest = 1_000_000_000_000_000;
    let mut region_of = Region::new(1);
    let sensors = (1..=SENSORS).map(|id| {
        let sensor = sensor(id, Quantity::ActiveLoad, EquipmentKind::Load, id, 1, 1);
        Input::from(Sensor { range_max: greatest, source: SourceId(1), ..sensor })
    });
    let readings = (1..=SENSORS).map(|id| reading(id, BEGIN, greatest).into());
    let rows: Vec<Input> = [region(900_000)].into_iter().chain(sensors).chain(readings).collect();
    region_of.apply(BEGIN as Epoch, &rows);
    region_of.apply((BEGIN + 905_000) as Epoch, &[]);
    let energy: Vec<i64> = region_of
        .told
        .iter()
        .filter_map(|told| match told {
            Tell::Row(Output::Kpi(row), 1) if row.measure == Measure::LoadEnergy => Some(row.value),
            _ => None,
        })
        .collect();
    assert!(i128::from(SENSORS) * i128::from(greatest) / 4 > i128::from(i64::MAX));
    assert_eq!(energy, [i64::MAX]);
}

/// What became of rows of this kind.
fn refusals(picture: &Picture, kind: Kind) -> Vec<(u32, i64)> {
    let rows = picture.outputs.0.iter().filter_map(|(row, count)| match row {
        Output::Rejected(row) if row.kind == kind as u8 && row.reason == Reason::Malformed => {
            assert_eq!(*count, 1, "it is told once");
            Some((row.subject, row.detail))
        }
        _ => None,
    });
    rows.collect()
}

#[test]
fn a_sensor_and_a_bus_have_a_greatest_number_of_versions_whatever_the_number_of_workers() {
    let version = |number: i64| Input::from(Sensor { valid_from_ms: BEGIN + number, ..load_sensor() });
    let assignment = |number: i64| Input::from(FeederAssignment { bus: BusId(1), valid_from_ms: BEGIN + number, feeder: FeederId(7) });
    let rows = |numbers: std::ops::Range<i64>| numbers.flat_map(|number| [version(number), assignment(number)]).collect::<Vec<_>>();
    // A second sensor, of another worker, has readings that become final; the first has none.
    let other = sensor(2, Quantity::ActiveLoad, EquipmentKind::Load, 2, 1, 1);
    let mut full = rows(0..1_024);
    full.extend([other.into(), reading(2, BEGIN, 1).into()]);
    let log = log(
        60_000,
        vec![
            (1, full),
            // Known rows, and others in place of known ones, are no new versions; one more is one too many.
            (2, rows(0..1_024)),
            (3, vec![Sensor { valid_from_ms: BEGIN + 5, feeder: FeederId(9), ..load_sensor() }.into()]),
            (4, rows(1_024..1_025)),
            // All but the last hold for nothing when their quarter of an hour is final.
            (2_000, vec![]),
            (2_001, rows(2_000_000..2_000_001)),
        ],
    );
    for workers in 1..4 {
        let pictures = sums(&log, workers);
        assert_eq!(refusals(&pictures[3], Kind::Sensor), [], "{workers} workers");
        for picture in &pictures[4..] {
            assert_eq!(refusals(picture, Kind::Sensor), [(1, 1_024)], "{workers} workers");
            assert_eq!(refusals(picture, Kind::FeederAssignment), [(1, 1_024)], "{workers} workers");
        }
    }
}

#[test]
fn a_synchrophasor_frame_is_taken_by_the_worker_of_its_sensor_and_by_no_other() {
    let sensors = (30..38).map(|id| Sensor {
        range_min: 0,
        range_max: 10_000_000,
        ..sensor(id, Quantity::VoltageMagnitude, EquipmentKind::Bus, id, 1, 1)
    });
    let mut rows: Vec<Input> = sensors.map(Input::from).collect();
    rows.insert(0, region(60_000));
    let frame = |id: u32, quality| PmuSample {
        sensor: SensorId(id),
        event_us: (BEGIN + 900) * 1_000 + 250,
        voltage: MicroVolts(1_000_000 + i64::from(id)),
        angle: MicroRadians(-i64::from(id)),
        frequency: MicroHertz(50_000_000),
        rocof: 0,
        quality,
    };
    // One of a sensor that nobody knows, and one that says itself that it is bad.
    let frames: Vec<Input> =
        (30..37).map(|id| frame(id, Quality::Good)).chain([frame(99, Quality::Good), frame(37, Quality::Bad)]).map(Input::from).collect();
    for workers in 1..=4 {
        let mut of = Region::new(workers);
        of.apply(BEGIN as Epoch, &rows);
        let mut of = if workers == 3 { of.resumed(BEGIN as Epoch, 2) } else { of };
        of.told.clear();
        of.apply((BEGIN + 1_000) as Epoch, &frames);
        let mut phasors: Vec<_> = of.told.iter().filter_map(|told| if let Tell::Phasor(row) = told { Some(row) } else { None }).collect();
        phasors.sort_by_key(|row| (row.sensor.id, row.sensor.quantity));
        let found: Vec<_> = phasors.iter().map(|row| (row.sensor.id.0, row.sensor.quantity, row.event_ms - BEGIN, row.value)).collect();
        let expected = (30..37).flat_map(|id: u32| {
            [(id, Quantity::VoltageMagnitude, 900, 1_000_000 + i64::from(id)), (id, Quantity::VoltageAngle, 900, -i64::from(id))]
        });
        let mut expected: Vec<_> = expected.collect();
        expected.sort();
        assert_eq!(found, expected, "{workers} workers");
        let refused = of
            .told
            .iter()
            .filter(|told| matches!(told, Tell::Row(Output::Rejected(row), 1) if (row.subject, row.reason) == (99, Reason::Unknown)));
        assert_eq!(refused.count(), 1, "{workers} workers");
    }
}
