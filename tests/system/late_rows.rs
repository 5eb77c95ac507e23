//! A late or corrected row restates every account that rests on it, and leaves facts alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use gridflow_inputs::Input;
use gridflow_inputs::ids::SensorId;
use gridflow_inputs::input::{Measurement, Quality, Quantity, Sensor};
use gridflow_inputs::network::EquipmentKind;
use gridflow_operators::decision::{Kpi, Measure, Output, Stream, Window, WindowScope};

use crate::support::{Changes, changelog, epochs, record_demo, replay_into, scratch, state, workers, write_log};

type Epochs = Vec<(u64, Vec<Input>)>;

fn sensors(all: &Epochs, quantity: Quantity) -> BTreeSet<SensorId> {
    let sensors = all.iter().flat_map(|(_, rows)| rows).filter_map(|row| match row {
        Input::Sensor(sensor) if sensor.quantity == quantity => Some(sensor.id),
        _ => None,
    });
    sensors.collect()
}

/// A good reading of one of the sensors, the only one at its event time, taken about `age_ms` before the end.
fn reading(all: &Epochs, of: &BTreeSet<SensorId>, age_ms: i64) -> (usize, usize, Measurement) {
    let taken_before = all.last().expect("epochs").0 as i64 - age_ms;
    let rows = all.iter().enumerate().flat_map(|(epoch, (_, rows))| rows.iter().enumerate().map(move |(place, row)| (epoch, place, row)));
    let readings: Vec<(usize, usize, &Measurement)> = rows
        .filter_map(|(epoch, place, row)| match row {
            Input::Measurement(row) if of.contains(&row.sensor) && row.quality == Quality::Good && row.value != 0 => {
                Some((epoch, place, row))
            }
            _ => None,
        })
        .collect();
    let alone = |row: &Measurement| {
        readings.iter().filter(|(_, _, other)| (other.sensor, other.event_ms) == (row.sensor, row.event_ms)).count() == 1
    };
    let on_time = |epoch: usize, row: &Measurement| all[epoch].0 as i64 - row.event_ms < 3_000;
    let (epoch, place, row) = readings
        .iter()
        .filter(|(epoch, _, row)| row.event_ms <= taken_before && on_time(*epoch, row) && alone(row))
        .max_by_key(|(_, _, row)| (row.event_ms, row.sensor))
        .expect("the log has such a reading");
    (*epoch, *place, (*row).clone())
}

/// Twenty minutes of the demo, and what is made of them: recorded and replayed once.
struct Plain {
    _dir: tempfile::TempDir,
    all: Epochs,
    out: PathBuf,
}

fn plain() -> &'static Plain {
    static PLAIN: OnceLock<Plain> = OnceLock::new();
    PLAIN.get_or_init(|| {
        let dir = scratch();
        let (log, out) = (dir.path().join("log"), dir.path().join("out"));
        record_demo(&log, 20, 21);
        replay_into(&log, &out, workers(2));
        Plain { all: epochs(&log), out, _dir: dir }
    })
}

fn differing<'a>(before: &'a BTreeMap<u64, Changes>, after: &'a BTreeMap<u64, Changes>) -> Vec<&'a (Output, i64)> {
    let before: BTreeSet<&(Output, i64)> = before.values().flatten().collect();
    after.values().flatten().filter(|change| !before.contains(change)).collect()
}

// REQ: DQ-01
#[test]
fn a_correction_ten_minutes_old_restates_what_rests_on_it_and_nothing_else() {
    let dir = scratch();
    // The demo starts on the hour: minute 20 lies 5 minutes after a settled quarter, and on no forecast tick.
    let Plain { all, out: plain, .. } = plain();
    let (load_epoch, load_place, load) = reading(all, &sensors(all, Quantity::ActiveLoad), 600_000);
    let (flow_epoch, flow_place, flow) = reading(all, &sensors(all, Quantity::ActiveFlow), 600_000);
    let corrected_load = Measurement { revision: 1, value: load.value + load.value / 50, ..load.clone() };
    let corrected_flow = Measurement { revision: 1, value: flow.value + flow.value / 50, ..flow.clone() };

    let mut appended = all.clone();
    appended.last_mut().expect("epochs").1.extend([corrected_load.clone().into(), corrected_flow.clone().into()]);
    let mut from_scratch = all.clone();
    from_scratch[load_epoch].1[load_place] = corrected_load.into();
    from_scratch[flow_epoch].1[flow_place] = corrected_flow.clone().into();
    let mut outs = Vec::new();
    for (name, epochs) in [("corrected", &appended), ("from-scratch", &from_scratch)] {
        let (log, out) = (dir.path().join(format!("{name}-log")), dir.path().join(name));
        write_log(&log, epochs);
        replay_into(&log, &out, workers(2));
        outs.push(out);
    }
    let [corrected, scratch_out] = &outs[..] else { unreachable!() };

    for stream in Stream::ALL {
        let (before, after) = (changelog(plain, *stream), changelog(corrected, *stream));
        let changes = differing(&before, &after);
        let asserted: Vec<&Output> = changes.iter().filter(|(_, change)| *change > 0).map(|(row, _)| row).collect();
        match stream {
            Stream::Window => {
                let scopes: BTreeSet<(WindowScope, u32)> = asserted
                    .iter()
                    .map(|row| match row {
                        Output::Window(row) => (row.scope, row.id),
                        _ => unreachable!("another row in `window`"),
                    })
                    .collect();
                let of = |scope| scopes.iter().filter(|(other, _)| *other == scope).count();
                // The load counts for its bus, feeder and zone; a flow over a feeder means nothing.
                let found = [WindowScope::Sensor, WindowScope::Bus, WindowScope::Feeder, WindowScope::Zone].map(of);
                assert_eq!(found, [2, 1, 1, 1], "{scopes:?}");
                let windows: BTreeSet<(WindowScope, u32, i64, i64)> = asserted
                    .iter()
                    .filter_map(|row| match row {
                        Output::Window(row) => Some((row.scope, row.id, row.length_ms, row.start_ms)),
                        _ => None,
                    })
                    .collect();
                assert_eq!(asserted.len(), windows.len(), "each window is restated once");
                let lengths: BTreeSet<i64> = windows.iter().map(|(_, _, length_ms, _)| *length_ms).collect();
                assert!(lengths.is_superset(&BTreeSet::from([60_000, 300_000])), "the longer windows are restated too: {lengths:?}");
            }
            Stream::Kpi => {
                let measures: Vec<Measure> = asserted
                    .iter()
                    .map(|row| match row {
                        Output::Kpi(row) => row.measure,
                        _ => unreachable!("another row in `kpi`"),
                    })
                    .collect();
                assert!(measures.contains(&Measure::LoadEnergy), "{measures:?}");
                assert!(measures.iter().all(|measure| matches!(measure, Measure::LoadEnergy | Measure::Corrections)), "{measures:?}");
            }
            Stream::EstimateAudit => {
                let corrections = [(&flow, corrected_flow.value - flow.value), (&load, load.value / 50)];
                for (used, by) in corrections {
                    let of = |row: &&&Output| matches!(row, Output::EstimateAudit(row) if row.sensor == used.sensor);
                    assert!(asserted.iter().any(|row| of(&row)), "an estimate used the reading of {}", used.sensor);
                    for row in asserted.iter().filter(|row| of(row)) {
                        let Output::EstimateAudit(row) = row else { unreachable!("another row in `estimate_audit`") };
                        assert_eq!(row.event_ms, used.event_ms);
                        assert_eq!(row.new_residual.map(|new| new - row.old_residual), Some(by));
                    }
                }
                let others = asserted
                    .iter()
                    .filter(|row| matches!(row, Output::EstimateAudit(row) if row.sensor != flow.sensor && row.sensor != load.sensor));
                assert_eq!(others.count(), 0);
            }
            Stream::Gap => assert_eq!(gaps(&before, &after), (2, 2, 0), "both count as applied"),
            _ => assert_eq!(before, after, "{} must not change", stream.name()),
        }
    }

    // Final accounts equal a run on corrected input; only the number of restatements may differ.
    for stream in [Stream::Window, Stream::Kpi] {
        let accounts = |out| -> BTreeSet<Output> {
            let rows = state(&changelog(out, stream))
                .into_keys()
                .filter(|row| !matches!(row, Output::Kpi(Kpi { measure: Measure::Corrections, .. })));
            rows.map(|row| match row {
                Output::Window(row) => Window { revision: 0, ..row }.into(),
                Output::Kpi(row) => Kpi { revision: 0, ..row }.into(),
                other => other,
            })
            .collect()
        };
        assert_eq!(accounts(corrected), accounts(scratch_out), "{}", stream.name());
    }
}

/// What the gap report tells more of: received, applied, late.
fn gaps(before: &BTreeMap<u64, Changes>, after: &BTreeMap<u64, Changes>) -> (i64, i64, i64) {
    let total = |changes: &BTreeMap<u64, Changes>| {
        changes.values().flatten().fold((0, 0, 0), |(received, applied, late), (row, change)| match row {
            Output::Gap(row) => (received + change * row.received, applied + change * row.applied, late + change * row.late),
            _ => unreachable!("another row in `gap`"),
        })
    };
    let (before, after) = (total(before), total(after));
    (after.0 - before.0, after.1 - before.1, after.2 - before.2)
}

// REQ: DQ-01
#[test]
fn a_row_beyond_the_bound_is_a_row_of_the_late_stream_and_changes_no_account() {
    let dir = scratch();
    let Plain { all, out: plain, .. } = plain();
    let (_, _, load) = reading(all, &sensors(all, Quantity::ActiveLoad), 18 * 60_000);
    let mut appended = all.clone();
    appended.last_mut().expect("epochs").1.push(Measurement { revision: 1, value: load.value + 1, ..load }.into());
    let (log, out) = (dir.path().join("log"), dir.path().join("out"));
    write_log(&log, &appended);
    replay_into(&log, &out, workers(1));
    for stream in Stream::ALL {
        let (before, after) = (changelog(plain, *stream), changelog(&out, *stream));
        match stream {
            Stream::Late => assert_eq!(differing(&before, &after).len(), 1),
            Stream::Gap => assert_eq!(gaps(&before, &after), (1, 0, 1)),
            _ => assert_eq!(before, after, "{}", stream.name()),
        }
    }
}

/// A meter at a bus of the demo, which has none.
fn meter(all: &Epochs) -> Sensor {
    let loads = all.iter().flat_map(|(_, rows)| rows).filter_map(|row| match row {
        Input::Sensor(sensor) if sensor.quantity == Quantity::ActiveLoad => Some(sensor),
        _ => None,
    });
    let load = loads.min_by_key(|sensor| sensor.id).expect("the demo measures loads").clone();
    let (quantity, element) = (Quantity::MeteredPower, EquipmentKind::Feeder);
    Sensor { id: SensorId(1_000_000), quantity, element, element_id: load.feeder.0, period_ms: 900_000, ..load }
}

// REQ: DQ-01
#[test]
fn a_meter_three_days_late_restates_its_windows_and_one_eight_days_late_is_counted_as_late() {
    const DAY: u64 = 86_400_000;
    let dir = scratch();
    let recorded = dir.path().join("recorded");
    record_demo(&recorded, 6, 23);
    let mut all = epochs(&recorded);
    let (_, _, load) = reading(&all, &sensors(&all, Quantity::ActiveLoad), 120_000);
    let meter = meter(&all);
    let taken = |event_ms: i64, value: i64| Measurement { sensor: meter.id, event_ms, revision: 0, value, quality: Quality::Good };
    let (begin, end) = (all[0].0 as i64, all.last().expect("epochs").0);
    all[0].1.push(meter.clone().into());
    all[30].1.push(taken(begin + 1_000, 5_000).into());
    // Two hours on, all windows are stated.
    all.push((end + DAY / 12, Vec::new()));
    all.push((end + 3 * DAY, Vec::new()));
    all.push((end + 8 * DAY, Vec::new()));
    let (third, eighth) = (all.len() - 2, all.len() - 1);
    let mut appended = all.clone();
    appended[third]
        .1
        .extend([taken(begin + 2_000, 7_000).into(), Measurement { revision: 1, value: load.value + 1, ..load.clone() }.into()]);
    appended[eighth].1.push(taken(begin + 3_000, 9_000).into());

    let mut outs = Vec::new();
    for (name, epochs) in [("plain", &all), ("late", &appended)] {
        let (log, out) = (dir.path().join(format!("{name}-log")), dir.path().join(name));
        write_log(&log, epochs);
        let replayed =
            Command::new(env!("CARGO_BIN_EXE_gridflow")).arg("replay").arg(&log).args(["--workers", "2", "--out"]).arg(&out).output();
        let replayed = replayed.expect("the binary is built");
        assert_eq!(replayed.status.code(), Some(0), "{}", String::from_utf8_lossy(&replayed.stderr));
        outs.push(out);
    }
    for stream in Stream::ALL {
        let (before, after) = (changelog(&outs[0], *stream), changelog(&outs[1], *stream));
        let changes = differing(&before, &after);
        match stream {
            Stream::Late => {
                let found: Vec<(SensorId, i64, i64)> = changes
                    .iter()
                    .map(|(row, _)| match row {
                        Output::Late(row) => (row.sensor, row.event_ms, row.lateness_ms),
                        _ => unreachable!("another row in `late`"),
                    })
                    .collect();
                let (third, eighth) = (all[third].0 as i64, all[eighth].0 as i64);
                let of_meter = (meter.id, begin + 3_000, eighth - begin - 3_000);
                assert_eq!(found, [(load.sensor, load.event_ms, third - load.event_ms), of_meter]);
            }
            Stream::Window => {
                // Of sensor, bus, feeder and zone, each length once.
                let stated: Vec<&Window> = changes
                    .iter()
                    .filter(|(_, change)| *change > 0)
                    .map(|(row, _)| match row {
                        Output::Window(row) => row,
                        _ => unreachable!("another row in `window`"),
                    })
                    .collect();
                assert_eq!(stated.len(), 16, "{stated:?}");
                assert!(stated.iter().all(|row| (row.quantity, row.count, row.sum, row.revision) == (meter.quantity, 2, 12_000, 1)));
            }
            Stream::Kpi => assert!(changes.iter().all(|(row, _)| matches!(row, Output::Kpi(row) if row.measure == Measure::Readings))),
            Stream::Gap => assert_eq!(gaps(&before, &after), (3, 1, 2)),
            _ => assert_eq!(before, after, "{} must not change", stream.name()),
        }
    }
}
