//! Clocks that are wrong, gaps of years, floods, sources that fall silent: what is true of the others stays as it was, and
//! memory follows the region, not the rows.
//!
//! Each test compares with a run of the same log without the disturbance.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use gridflow::clock::Stopwatch;
use gridflow::replay::ReplaySummary;
use gridflow_inputs::ids::{SensorId, SourceId};
use gridflow_inputs::input::{Kind, Measurement, Quality};
use gridflow_inputs::log::{Header, LogError, LogWriter, Options, Sync};
use gridflow_inputs::{Epoch, Input};
use gridflow_operators::decision::{AlarmKind, Output, Reason, Stream, Window, WindowScope};

use crate::support::{Changes, changelog, epochs, files, record_demo, replay_into, scratch, state, workers, write_log};

type Epochs = Vec<(Epoch, Vec<Input>)>;

const YEAR_MS: i64 = 365 * 86_400_000;
/// A source of every fifth sensor.
const FIFTH: SourceId = SourceId(77);

fn is_of_fifth(sensor: SensorId) -> bool {
    sensor.0.is_multiple_of(5)
}

/// The demo region, in which every fifth sensor reports through a source of its own.
fn recorded(dir: &Path, minutes: u32, seed: u64) -> Epochs {
    let log = dir.join("recorded");
    record_demo(&log, minutes, seed);
    let mut all = epochs(&log);
    for row in all.iter_mut().flat_map(|(_, rows)| rows) {
        if let Input::Sensor(sensor) = row
            && is_of_fifth(sensor.id)
        {
            sensor.source = FIFTH;
        }
    }
    all
}

fn replayed(dir: &Path, name: &str, all: &Epochs) -> (ReplaySummary, std::path::PathBuf) {
    let (log, out) = (dir.join(format!("{name}-log")), dir.join(name));
    write_log(&log, all);
    (replay_into(&log, &out, workers(2)), out)
}

fn readings(rows: &mut [Input], of: impl Fn(SensorId) -> bool) -> impl Iterator<Item = &mut Measurement> {
    rows.iter_mut().filter_map(move |row| match row {
        Input::Measurement(row) if of(row.sensor) => Some(row),
        _ => None,
    })
}

/// When each one-minute window of a sensor outside the fifth was stated, and how.
fn windows_of_others(out: &Path) -> BTreeMap<Epoch, Changes> {
    let is_other = |(row, _): &(Output, i64)| matches!(row, Output::Window(Window { scope: WindowScope::Sensor, id, .. }) if !is_of_fifth(SensorId(*id)));
    let mut windows = changelog(out, Stream::Window);
    windows.values_mut().for_each(|changes| changes.retain(is_other));
    windows.retain(|_, changes| !changes.is_empty());
    windows
}

/// When the clock of a source was called wrong (+1) and right again (-1).
fn clock_alarms(out: &Path, source: SourceId) -> Vec<(Epoch, i64)> {
    let of = |row: &Output| matches!(row, Output::Alarm(row) if row.kind == AlarmKind::Clock && row.id == source.0);
    let alarms = changelog(out, Stream::Alarm);
    alarms.iter().flat_map(|(epoch, changes)| changes.iter().filter(|(row, _)| of(row)).map(|(_, change)| (*epoch, *change))).collect()
}

fn gaps(out: &Path) -> BTreeMap<(Epoch, SourceId), [i64; 5]> {
    let rows = state(&changelog(out, Stream::Gap)).into_keys().map(|row| match row {
        Output::Gap(row) => ((row.epoch, row.source), [row.received, row.applied, row.rejected, row.late, row.duplicate]),
        _ => unreachable!("another row in `gap`"),
    });
    rows.collect()
}

/// State of every operator stays within a twentieth of what it was, and a few rows.
fn assert_no_larger(found: &ReplaySummary, plain: &ReplaySummary) {
    assert!(found.summary.state_bytes.contains_key("Telemetry") && plain.summary.state_bytes.len() == found.summary.state_bytes.len());
    for (operator, bytes) in &found.summary.state_bytes {
        let before = plain.summary.state_bytes[operator];
        assert!(*bytes <= before + before / 20 + 8_192, "{operator} holds {bytes} bytes, without the disturbance {before}");
    }
}

// REQ: DQ-01
#[test]
fn a_source_whose_clock_jumps_by_years_is_named_and_disturbs_no_other() {
    let dir = scratch();
    let all = recorded(dir.path(), 4, 41);
    let (plain, plain_out) = replayed(dir.path(), "plain", &all);
    let mut jumped = all.clone();
    let (forth, back, right) = (60, 110, 160);
    for (place, (_, rows)) in jumped.iter_mut().enumerate() {
        let by = match place {
            _ if place < forth || place >= right => 0,
            _ if place < back => 3 * YEAR_MS,
            _ => -3 * YEAR_MS,
        };
        readings(rows, is_of_fifth).for_each(|row| row.event_ms += by);
    }
    let (found, out) = replayed(dir.path(), "jumped", &jumped);

    let alarms = clock_alarms(&out, FIFTH);
    let changes: Vec<i64> = alarms.iter().map(|(_, change)| *change).collect();
    assert_eq!(changes, [1, -1], "it is wrong once, for as long as it is: {alarms:?}");
    let (named, cleared) = (alarms[0].0, alarms[1].0);
    assert!((all[forth].0..all[forth].0 + 20_000).contains(&named), "named within 20 s");
    assert!((all[right].0..all[right].0 + 20_000).contains(&cleared), "and right again within 20 s");
    assert_eq!(clock_alarms(&plain_out, FIFTH), []);
    for source in [SourceId(1), SourceId(2)] {
        assert_eq!(clock_alarms(&out, source), []);
    }

    // Ahead is refused, behind is late, all of it counted; what others say counts as ever, at the same epochs.
    let (before, after) = (gaps(&plain_out), gaps(&out));
    let of_others = |gaps: &BTreeMap<(Epoch, SourceId), [i64; 5]>| -> BTreeMap<_, _> {
        gaps.clone().into_iter().filter(|((_, source), _)| *source != FIFTH).collect()
    };
    assert_eq!(of_others(&before), of_others(&after));
    for ((epoch, source), [received, _, rejected, late, _]) in after.into_iter().filter(|((_, source), _)| *source == FIFTH) {
        assert_eq!(received, before[&(epoch, source)][0]);
        if (all[forth].0..all[back].0).contains(&epoch) {
            assert_eq!((rejected, late), (received, 0));
        } else if (all[back].0..all[right].0).contains(&epoch) {
            assert_eq!((rejected, late), (0, received));
        }
    }
    assert_eq!(windows_of_others(&plain_out), windows_of_others(&out));
    assert_no_larger(&found, &plain);
}

/// A row as it would have been years later.
fn moved(row: &Input, by: i64) -> Input {
    let mut row = row.clone();
    match &mut row {
        Input::Measurement(row) => row.event_ms += by,
        Input::SwitchStatus(row) => row.event_ms += by,
        Input::WeatherObservation(row) => row.event_ms += by,
        Input::StorageTelemetry(row) => row.event_ms += by,
        Input::Tick(row) => row.event_ms += by,
        _ => {}
    }
    row
}

#[test]
fn a_gap_of_three_years_between_two_epochs_is_passed_at_once() {
    let dir = scratch();
    let all = recorded(dir.path(), 3, 42);
    let (plain, plain_out) = replayed(dir.path(), "plain", &all);
    let (gap, middle) = (3 * YEAR_MS, 90);
    let mut years_later = all.clone();
    for (epoch, rows) in &mut years_later[middle..] {
        *epoch += gap as Epoch;
        rows.iter_mut().for_each(|row| *row = moved(row, gap));
    }
    // A correction of what is final now.
    let corrected =
        readings(&mut years_later[30].1, |_| true).find(|row| row.quality == Quality::Good).expect("there is a reading").clone();
    let correction = Measurement { revision: 9, value: corrected.value + 1, ..corrected };
    years_later[middle + 10].1.push(correction.clone().into());
    let watch = Stopwatch::start();
    let (found, out) = replayed(dir.path(), "years-later", &years_later);
    let seconds = watch.elapsed().as_secs_f64();
    assert!(seconds < 30.0 + 5.0 * plain.summary.seconds, "{seconds} s, and {} s without the gap", plain.summary.seconds);
    assert_no_larger(&found, &plain);

    // The stated windows of all lengths that began before the gap are final at the first epoch behind it.
    let behind = years_later[middle].0;
    let is_before = |row: &Output| matches!(row, Output::Window(row) if row.start_ms < all[middle].0 as i64);
    let changed: BTreeMap<Epoch, usize> = changelog(&out, Stream::Window)
        .into_iter()
        .map(|(epoch, changes)| (epoch, changes.iter().filter(|(row, _)| is_before(row)).count()))
        .filter(|(epoch, changes)| *epoch >= behind && *changes > 0)
        .collect();
    assert_eq!(changed.keys().copied().collect::<Vec<_>>(), [behind], "stated once, and never again");
    let lengths: BTreeSet<(WindowScope, i64)> = state(&changelog(&out, Stream::Window))
        .into_keys()
        .filter(is_before)
        .filter_map(|row| if let Output::Window(row) = row { Some((row.scope, row.length_ms)) } else { None })
        .collect();
    let scopes = [WindowScope::Sensor, WindowScope::Bus, WindowScope::Feeder, WindowScope::Zone];
    let expected = scopes.iter().flat_map(|scope| [60_000, 300_000, 900_000, 3_600_000].map(|length_ms| (*scope, length_ms)));
    assert_eq!(lengths, expected.collect(), "windows of every scope and length are stated");
    let late = |row: &Output| matches!(row, Output::Late(row) if row.sensor == correction.sensor && row.event_ms == correction.event_ms);
    assert!(changelog(&out, Stream::Late)[&years_later[middle + 10].0].iter().any(|(row, _)| late(row)));
    // The gap is no reason to say more than once what is to be said: nothing is made up for the years between.
    let rows = |summary: &ReplaySummary| summary.summary.streams.values().map(|stream| stream.rows).sum::<u64>();
    assert!(rows(&found) < 3 * rows(&plain), "{} rows, and {} without the gap", rows(&found), rows(&plain));
    // Answers that were under way take effect when they were due, within a minute; then there is silence.
    let between = all[middle].0 + 60_000..behind;
    for stream in Stream::ALL {
        assert_eq!(changelog(&out, *stream).range(between.clone()).count(), 0, "{} tells of a time when nothing came", stream.name());
    }
    let estimates = |out: &Path, from: Epoch| changelog(out, Stream::Estimate).range(from..).count();
    assert!(estimates(&plain_out, all[middle].0) > 5);
    assert!(estimates(&out, behind) > 5, "the region is estimated again");
}

#[test]
fn a_flood_of_readings_of_unknown_sensors_is_counted_and_kept_nowhere() {
    const FLOOD: i64 = 200_000;
    let dir = scratch();
    let all = recorded(dir.path(), 1, 43);
    let (plain, plain_out) = replayed(dir.path(), "plain", &all);
    let mut flooded = all.clone();
    // Numbers all over the range but for those of the region's own sensors, each from a linear congruence.
    let mut number = 43u64;
    let mut unknown = |event_ms: i64| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let sensor = SensorId(((number >> 32) as u32).max(1_000_000));
        Input::from(Measurement { sensor, event_ms, revision: 0, value: 1, quality: Quality::Good })
    };
    for (epoch, rows) in &mut flooded[10..50] {
        rows.extend((0..FLOOD / 40).map(|_| unknown(*epoch as i64)));
    }
    let (found, out) = replayed(dir.path(), "flooded", &flooded);
    let of_nobody: Vec<[i64; 5]> =
        gaps(&out).into_iter().filter(|((_, source), _)| *source == SourceId(0)).map(|(_, counts)| counts).collect();
    assert_eq!(of_nobody, vec![[FLOOD / 40, 0, FLOOD / 40, 0, 0]; 40]);
    assert_no_larger(&found, &plain);
    assert_eq!(found.summary.streams["rejected"].rows, plain.summary.streams["rejected"].rows + FLOOD as u64);
    let unknown_rows = changelog(&out, Stream::Rejected)
        .into_values()
        .flatten()
        .filter(|(row, _)| matches!(row, Output::Rejected(row) if row.reason == Reason::Unknown && row.source == SourceId(0)));
    assert_eq!(unknown_rows.count(), FLOOD as usize);
    for stream in Stream::ALL.iter().filter(|stream| ![Stream::Rejected, Stream::Gap].contains(stream)) {
        assert_eq!(changelog(&plain_out, *stream), changelog(&out, *stream), "{}", stream.name());
    }
}

#[test]
fn epochs_that_do_not_increase_are_refused_and_nothing_of_them_is_written() {
    let dir = scratch();
    let log = dir.path().join("log");
    let all = recorded(dir.path(), 1, 44);
    let options = Options { sync: Sync::OnClose, ..Options::default() };
    let mut writer = LogWriter::create(&log, Header::input("demo"), options).expect("a new log");
    for (place, (epoch, rows)) in all.iter().enumerate() {
        writer.append_epoch(*epoch, rows).expect("epochs increase");
        for again in [*epoch, epoch - 1, all[place / 2].0, 0] {
            match writer.append_epoch(again, rows) {
                Err(LogError::Order { epoch: refused, last }) => assert_eq!((refused, last), (again, *epoch)),
                other => panic!("epoch {again} behind {epoch}: {other:?}"),
            }
        }
    }
    writer.close().expect("the log can be closed");
    assert_eq!(epochs(&log), all);
    let straight = dir.path().join("straight");
    write_log(&straight, &all);
    assert_eq!(files(&log), files(&straight), "byte by byte the log of a writer that never tried");
}

// REQ: DQ-01
// REQ: DQ-35
#[test]
fn of_each_source_and_epoch_all_readings_are_applied_rejected_late_or_duplicates() {
    let dir = scratch();
    let mut all = recorded(dir.path(), 20, 45);
    // Readings of every kind of refusal, some of them twice.
    let old: Vec<Input> = all[5].1.iter().filter(|row| matches!(row, Input::Measurement(_))).cloned().collect();
    assert!(old.len() > 10);
    let (last, rows) = all.last_mut().expect("epochs");
    let now = *last as i64;
    rows.extend(old);
    let reading = |sensor, event_ms, value| {
        Input::from(Measurement { sensor: SensorId(sensor), event_ms, revision: 0, value, quality: Quality::Good })
    };
    rows.extend([reading(4_000_000, now, 1), reading(5, now + 60_000, 1), reading(5, i64::MIN, 1), reading(6, now, i64::MAX)]);
    let (_, out) = replayed(dir.path(), "all", &all);

    let mut source_of: BTreeMap<SensorId, SourceId> = BTreeMap::new();
    let mut expected: BTreeMap<(Epoch, SourceId), [i64; 3]> = BTreeMap::new();
    for (epoch, rows) in &all {
        for row in rows {
            match row {
                Input::Sensor(sensor) => drop(source_of.insert(sensor.id, sensor.source)),
                Input::Measurement(row) => {
                    let source = source_of.get(&row.sensor).copied().unwrap_or(SourceId(0));
                    expected.entry((*epoch, source)).or_default()[0] += 1;
                }
                _ => {}
            }
        }
    }
    for (row, _) in changelog(&out, Stream::Rejected).into_values().flatten() {
        if let Output::Rejected(row) = row
            && row.kind == Kind::Measurement as u8
        {
            expected.entry((row.epoch, row.source)).or_default()[1] += 1;
        }
    }
    for (row, _) in changelog(&out, Stream::Late).into_values().flatten() {
        if let Output::Late(row) = row {
            expected.entry((row.epoch, row.source)).or_default()[2] += 1;
        }
    }
    let found = gaps(&out);
    let mut totals = [0; 5];
    for (key, counts) in &found {
        let [received, applied, rejected, late, duplicate] = *counts;
        assert_eq!(received, applied + rejected + late + duplicate, "{key:?}");
        assert_eq!(Some(&[received, rejected, late]), expected.get(key), "{key:?}");
        totals.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
    }
    assert_eq!(found.len(), expected.len());
    assert!(totals.iter().all(|total| *total > 0), "each way is gone: {totals:?}");
}

#[test]
fn a_source_that_falls_silent_holds_nothing_back() {
    let dir = scratch();
    let all = recorded(dir.path(), 4, 46);
    let (_, plain_out) = replayed(dir.path(), "plain", &all);
    let mut silent = all.clone();
    for (_, rows) in &mut silent[60..] {
        rows.retain(|row| !matches!(row, Input::Measurement(row) if is_of_fifth(row.sensor)));
    }
    let (_, out) = replayed(dir.path(), "silent", &silent);
    let others = windows_of_others(&plain_out);
    assert!(others.keys().filter(|epoch| **epoch > all[60].0).count() > 2);
    assert_eq!(others, windows_of_others(&out), "windows of others are stated when they were");
    // Its own windows close without it, and it is missed.
    let of_fifth = |row: &Output| matches!(row, Output::Window(row) if row.scope == WindowScope::Sensor && is_of_fifth(SensorId(row.id)) && row.start_ms <= all[60].0 as i64);
    assert!(state(&changelog(&out, Stream::Window)).keys().any(of_fifth));
    let stale: BTreeSet<u32> = state(&changelog(&out, Stream::Alarm))
        .into_keys()
        .filter_map(|row| if let Output::Alarm(row) = row { (row.kind == AlarmKind::Stale).then_some(row.id) } else { None })
        .filter(|id| is_of_fifth(SensorId(*id)))
        .collect();
    assert!(stale.len() > 5, "{stale:?}");
}
