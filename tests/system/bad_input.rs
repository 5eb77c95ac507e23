//! Bad input: a clear error or a refused row, never a panic, a hang or silence.

use gridflow_inputs::Input;
use gridflow_inputs::ids::{SensorId, SwitchId};
use gridflow_inputs::input::{Kind, Measurement, Quality, SwitchStatus};
use gridflow_operators::decision::{Failure, Output, Reason, Stream};

use crate::support::{changelog, epochs, record_demo, replay_into, scratch, state, workers, write_log};

fn measurement(sensor: u32, event_ms: i64, value: i64) -> Input {
    Measurement { sensor: SensorId(sensor), event_ms, revision: 0, value, quality: Quality::Good }.into()
}

#[test]
fn every_row_that_cannot_be_used_is_refused_with_its_reason() {
    let dir = scratch();
    let log = dir.path().join("log");
    record_demo(&log, 2, 31);
    let mut all = epochs(&log);
    let plain = dir.path().join("plain");
    replay_into(&log, &plain, workers(1));
    let (last, rows) = all.last_mut().expect("epochs");
    let now = *last as i64;
    let status = |switch, event_ms| Input::from(SwitchStatus { switch: SwitchId(switch), event_ms, closed: false, quality: Quality::Good });
    rows.extend([
        measurement(4_000_000, now, 1),
        measurement(1, now + 60_000, 1),
        measurement(1, i64::MIN, 1),
        measurement(1, now, i64::MAX),
        measurement(1, now, -1_000_000_000_000),
        measurement(1, now - 86_400_000, 1),
        status(4_000_000, now),
        status(1, now + 3_600_000),
    ]);
    let (bad_log, bad) = (dir.path().join("bad-log"), dir.path().join("bad"));
    write_log(&bad_log, &all);
    replay_into(&bad_log, &bad, workers(2));
    let refused: Vec<(u8, u32, Reason)> = changelog(&bad, Stream::Rejected)
        .remove(&(now as u64))
        .expect("rows were refused")
        .into_iter()
        .filter_map(|(row, _)| match row {
            Output::Rejected(row) => Some((row.kind, row.subject, row.reason)),
            _ => None,
        })
        .collect();
    let (reading, switch) = (Kind::Measurement as u8, Kind::SwitchStatus as u8);
    for expected in [
        (reading, 4_000_000, Reason::Unknown),
        (reading, 1, Reason::Future),
        (reading, 1, Reason::Malformed),
        (reading, 1, Reason::OutOfRange),
        (switch, 4_000_000, Reason::Unknown),
        (switch, 1, Reason::Future),
    ] {
        assert!(refused.contains(&expected), "{expected:?} is missing among {refused:?}");
    }
    assert_eq!(
        changelog(&bad, Stream::Late).values().map(Vec::len).sum::<usize>(),
        changelog(&plain, Stream::Late).values().map(Vec::len).sum::<usize>() + 1
    );
    for stream in [Stream::Estimate, Stream::Topology, Stream::Dispatch] {
        assert_eq!(changelog(&plain, stream), changelog(&bad, stream), "{}", stream.name());
    }
}

#[test]
fn a_region_without_a_source_says_so_and_goes_on() {
    let dir = scratch();
    let log = dir.path().join("log");
    record_demo(&log, 1, 32);
    let mut all = epochs(&log);
    for (_, rows) in &mut all {
        rows.retain(|row| !matches!(row, Input::Generator(_)));
    }
    let (log, out) = (dir.path().join("dead-log"), dir.path().join("dead"));
    write_log(&log, &all);
    let summary = replay_into(&log, &out, workers(1));
    assert_eq!(summary.summary.epochs, 61);
    assert_eq!(summary.summary.streams["estimate"].rows, 0);
    let alarms = state(&changelog(&out, Stream::Alarm));
    assert_eq!(
        alarms.keys().filter(|row| matches!(row, Output::Alarm(row) if row.kind == gridflow_operators::decision::AlarmKind::Dead)).count(),
        14
    );
}

#[test]
fn contradictory_network_rows_are_an_outcome_and_withdrawn_when_cured() {
    let dir = scratch();
    let log = dir.path().join("log");
    // The cure at 40 s merges into the solve at 50 s, whose answer holds from 80 s on.
    record_demo(&log, 2, 33);
    let mut all = epochs(&log);
    let broken = all[0].1.iter().find_map(|row| match row {
        Input::Branch(branch) => Some(branch.clone()),
        _ => None,
    });
    let good = broken.expect("the network has branches");
    let zero = gridflow_inputs::row::Real::ZERO;
    let at = |index: usize| all[index].0 as i64;
    let (bad_from, cured_from) = (at(20), at(40));
    let bad = gridflow_inputs::input::Branch { tap_ratio: zero, valid_from_ms: bad_from, ..good.clone() };
    let cured = gridflow_inputs::input::Branch { valid_from_ms: cured_from, ..good };
    all[20].1.push(bad.into());
    all[40].1.push(cured.into());
    let (log, out) = (dir.path().join("bad-log"), dir.path().join("bad"));
    write_log(&log, &all);
    replay_into(&log, &out, workers(2));
    let outcomes = changelog(&out, Stream::Outcome);
    let raised = outcomes.values().flatten().any(|(row, change)| {
        *change > 0 && matches!(row, Output::Outcome(row) if row.failure == Failure::BadNetwork && row.message.contains("branch"))
    });
    assert!(raised, "{outcomes:?}");
    let left: Vec<Output> =
        state(&outcomes).into_keys().filter(|row| matches!(row, Output::Outcome(row) if row.failure == Failure::BadNetwork)).collect();
    assert!(left.is_empty(), "{left:?}");
}
