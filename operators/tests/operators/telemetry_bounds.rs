//! Meters go by a bound of days where SCADA goes by one of minutes: case by case, each against its spelled-out answer, and
//! against the slow reference with any number of workers, straight through and saved and loaded at each epoch.

use gridflow_inputs::ids::{BusId, FeederId};
use gridflow_inputs::input::{FeederAssignment, Quantity, Sensor, Tick, Timer};
use gridflow_inputs::network::EquipmentKind;
use gridflow_inputs::{Epoch, Input};
use gridflow_operators::decision::{AlarmKind, Kpi, Measure, Output, Window, WindowScope};

use crate::telemetry::{BEGIN, DAY, reading, region_of, resumed_sums, sensor, sums};
use crate::telemetry_reference::{Log, Picture, pictures};

const LOAD: u32 = 1;
const METER: u32 = 2;
const QUARTER: i64 = 900_000;

/// Both at bus 1, which is its own feeder, in zone 1.
fn sensors() -> Vec<Input> {
    let load = sensor(LOAD, Quantity::ActiveLoad, EquipmentKind::Load, 1, 1, 1);
    let meter = sensor(METER, Quantity::MeteredPower, EquipmentKind::Feeder, 1, 1, 1);
    vec![load.into(), meter.into()]
}

/// Rows and when they arrive, after a region of 15 minutes and 7 days, the sensors, and a reading of each taken at the
/// beginning.
fn log(later: Vec<(i64, Vec<Input>)>) -> Log {
    let mut first = vec![Input::from(region_of(QUARTER, 7 * DAY))];
    first.extend(sensors());
    first.extend([reading(LOAD, BEGIN, 40).into(), reading(METER, BEGIN, 50).into()]);
    let mut log = vec![(BEGIN as Epoch, first)];
    log.extend(later.into_iter().map(|(after_ms, rows)| ((BEGIN + after_ms) as Epoch, rows)));
    log
}

/// What holds after each epoch, once all ways to it agree.
fn judged(log: &Log) -> Vec<Picture> {
    let expected = pictures(log);
    for workers in 1..4 {
        assert_eq!(sums(log, workers), expected, "{workers} workers");
        assert_eq!(resumed_sums(log, &[(workers, true)]), expected, "{workers} workers, resumed at each epoch");
    }
    assert_eq!(resumed_sums(log, &[(1, true), (3, true), (2, true)]), expected, "resumed by other numbers of workers");
    expected
}

/// Scope, length in minutes, count, sum and revision of the windows of a quantity that begin at the beginning.
fn windows(picture: &Picture, of: Quantity) -> Vec<(WindowScope, i64, i64, i128, u32)> {
    let window = |row: &Output| match row {
        Output::Window(Window { scope, quantity, start_ms: BEGIN, length_ms, count, sum, revision, .. }) if *quantity == of => {
            Some((*scope, length_ms / 60_000, *count, *sum, *revision))
        }
        _ => None,
    };
    let mut windows: Vec<_> = picture.outputs.0.keys().filter_map(window).collect();
    windows.sort_unstable();
    windows
}

fn all_scopes(count: i64, sum: i128, revision: u32) -> Vec<(WindowScope, i64, i64, i128, u32)> {
    let mut windows: Vec<_> = [WindowScope::Sensor, WindowScope::Bus, WindowScope::Feeder, WindowScope::Zone]
        .into_iter()
        .flat_map(|scope| [1, 5, 15, 60].map(|minutes| (scope, minutes, count, sum, revision)))
        .collect();
    windows.sort_unstable();
    windows
}

/// Sensors and lateness of what came too late.
fn late(picture: &Picture) -> Vec<(u32, i64)> {
    picture
        .outputs
        .0
        .keys()
        .filter_map(|row| if let Output::Late(row) = row { Some((row.sensor.0, row.lateness_ms)) } else { None })
        .collect()
}

/// The count of readings in the first quarter of an hour, and its revision.
fn readings_counted(picture: &Picture) -> (i64, u32) {
    let of = |row: &Output| match row {
        Output::Kpi(Kpi { measure: Measure::Readings, start_ms: BEGIN, value, revision, .. }) => Some((*value, *revision)),
        _ => None,
    };
    picture.outputs.0.keys().find_map(of).expect("the quarter was stated")
}

// REQ: DQ-01
#[test]
fn a_meter_is_revised_for_seven_days_and_late_after_them_while_scada_is_late_after_minutes() {
    let both = |at_ms: i64, value: i64| vec![reading(LOAD, BEGIN + at_ms, value).into(), reading(METER, BEGIN + at_ms, value).into()];
    let log = log(vec![(2 * 3_600_000, vec![]), (3 * DAY, both(10_000, 7)), (8 * DAY, both(20_000, 9)), (8 * DAY + 1_000, vec![])]);
    let pictures = judged(&log);
    assert_eq!(windows(&pictures[1], Quantity::MeteredPower), all_scopes(1, 50, 0));
    assert_eq!(readings_counted(&pictures[1]), (2, 0));
    // Three days on.
    assert_eq!(windows(&pictures[2], Quantity::MeteredPower), all_scopes(2, 57, 1));
    assert_eq!(readings_counted(&pictures[2]), (3, 1));
    assert_eq!(late(&pictures[2]), [(LOAD, 3 * DAY - 10_000)]);
    // Eight days on.
    assert_eq!(windows(&pictures[4], Quantity::MeteredPower), all_scopes(2, 57, 1));
    assert_eq!(readings_counted(&pictures[4]), (3, 1));
    let mut expected = [(LOAD, 3 * DAY - 10_000), (LOAD, 8 * DAY - 20_000), (METER, 8 * DAY - 20_000)];
    let mut found = late(&pictures[4]);
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(windows(&pictures[4], Quantity::ActiveLoad), all_scopes(1, 40, 0));
}

#[test]
fn a_bound_that_a_later_region_row_states_holds_and_what_became_final_by_it_stays_so() {
    let meter = |at_ms: i64, value: i64| Input::from(reading(METER, BEGIN + at_ms, value));
    let log = log(vec![
        (3 * DAY, vec![meter(10_000, 7)]),
        // The epoch's later rows go by it.
        (3 * DAY + 10_000, vec![region_of(QUARTER, DAY).into(), meter(DAY, 1)]),
        (3 * DAY + 20_000, vec![meter(DAY, 1), meter(2 * DAY + 3_600_000, 2)]),
        (3 * DAY + 30_000, vec![region_of(QUARTER, 7 * DAY).into()]),
        (4 * DAY, vec![meter(DAY, 1), meter(2 * DAY + 7_200_000, 3)]),
        // SCADA by the bound of a day.
        (5 * DAY, vec![region_of(DAY, QUARTER).into(), reading(LOAD, BEGIN + 5 * DAY - 60_000, 3).into()]),
        (5 * DAY + 7_200_000, vec![reading(LOAD, BEGIN + 5 * DAY - 50_000, 3).into(), meter(5 * DAY, 3)]),
    ]);
    let pictures = judged(&log);
    let late_of_meter = |picture: &Picture| late(picture).into_iter().filter(|(sensor, _)| *sensor == METER).count();
    assert_eq!(pictures.iter().map(late_of_meter).collect::<Vec<_>>(), [0, 0, 1, 2, 2, 3, 3, 4]);
    assert_eq!(late(&pictures[7]).len(), 4);
}

#[test]
fn a_late_assignment_moves_what_meters_told_in_days_and_leaves_what_scada_told() {
    let assigned = FeederAssignment { bus: BusId(1), valid_from_ms: BEGIN, feeder: FeederId(5) };
    let log = log(vec![(3_600_000 + 5_000, vec![]), (3 * DAY, vec![assigned.into()]), (8 * DAY, vec![])]);
    let pictures = judged(&log);
    let feeders = |picture: &Picture, of: Quantity| {
        let feeder = |row: &Output| match row {
            Output::Window(row) if (row.scope, row.quantity, row.length_ms) == (WindowScope::Feeder, of, 3_600_000) => {
                Some((row.id, row.count))
            }
            _ => None,
        };
        picture.outputs.0.keys().filter_map(feeder).collect::<Vec<_>>()
    };
    for picture in &pictures[2..] {
        assert_eq!(feeders(picture, Quantity::ActiveLoad), [(1, 1)]);
        assert_eq!(feeders(picture, Quantity::MeteredPower), [(1, 0), (5, 1)]);
    }
}

// REQ: DQ-02
#[test]
fn every_sensor_is_stale_after_three_periods_or_thirty_seconds_whether_solvers_use_it_or_not() {
    let tick = |after_ms: i64| Input::from(Tick { timer: Timer::Estimate, event_ms: BEGIN + after_ms });
    let of = |id: u32, quantity, period_ms| Sensor { period_ms, ..sensor(id, quantity, EquipmentKind::Bus, 1, 1, 1) };
    let frequency = of(3, Quantity::Frequency, 1_000);
    let meter = of(4, Quantity::MeteredPower, QUARTER);
    let voltage = of(5, Quantity::VoltageMagnitude, 1_000);
    let first = vec![frequency.into(), meter.clone().into(), voltage.into(), reading(3, BEGIN, 5).into(), reading(4, BEGIN, 5).into()];
    let log = log(vec![
        (1_000, first.into_iter().chain([reading(5, BEGIN, 5).into()]).collect()),
        (30_000, vec![tick(30_000)]),
        (31_000, vec![tick(31_000)]),
        // A reading ends it, and so does a period that turns out to be longer, at the next tick.
        (40_000, vec![reading(3, BEGIN + 39_000, 6).into()]),
        (2_700_000, vec![tick(2_700_000)]),
        (2_701_000, vec![tick(2_701_000)]),
        (2_702_000, vec![Sensor { period_ms: 2 * QUARTER, ..meter }.into()]),
        (2_703_000, vec![]),
        (2_705_000, vec![tick(2_705_000)]),
        (5_401_000, vec![tick(5_401_000)]),
    ]);
    let pictures = judged(&log);
    let stale = |picture: &Picture| -> Vec<u32> {
        let rows = picture.outputs.0.keys().filter_map(|row| if let Output::Alarm(row) = row { Some(row) } else { None });
        let mut stale: Vec<u32> = rows.filter(|row| row.kind == AlarmKind::Stale && row.id > METER).map(|row| row.id).collect();
        stale.sort_unstable();
        stale
    };
    let expected: [&[u32]; 11] = [&[], &[], &[], &[3, 5], &[5], &[3, 5], &[3, 4, 5], &[3, 4, 5], &[3, 4, 5], &[3, 5], &[3, 4, 5]];
    assert_eq!(pictures.iter().map(stale).collect::<Vec<_>>(), expected);
}
