//! Real networks and series, where they are: to the end, a decision in every interval, the state near the truth.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use gridflow::recording::{TRUTH, record};
use gridflow::simulate::{Simulation, SimulationConfig};
use gridflow_inputs::profiles;
use gridflow_operators::decision::{Output, SetpointSource, Stream};

use crate::support::{changelog, data, replay_into, scratch, workers};

fn record_file(network: &Path, profiles: Option<&Path>, minutes: u32, log: &Path) {
    let (file, _) = gridflow::networks::read_merged(network).expect("the network can be read");
    let profiles = profiles.map(|dir| profiles::read(dir).expect("the series can be read"));
    let region = file.name.clone();
    let config = SimulationConfig { seed: 1, minutes, ..SimulationConfig::default() };
    let mut simulation = Simulation::new(config, file, profiles).expect("it can be simulated");
    record(&mut simulation, &region, log, &AtomicBool::new(false), |_| {}).expect("it can be recorded");
    let summary = simulation.summary();
    assert_eq!((summary.held_loads, summary.held_state), (0, 0), "every truth has a power flow");
}

/// Every dispatch interval of the log has set points that took effect, most of them planned in it.
fn assert_decided(out: &Path, minutes: i64) {
    let decided: BTreeMap<i64, SetpointSource> = changelog(out, Stream::Dispatch)
        .into_values()
        .flatten()
        .filter(|(_, change)| *change > 0)
        .filter_map(|(row, _)| match row {
            Output::Dispatch(row) => Some((row.effect_ms / 300_000, row.source)),
            _ => None,
        })
        .collect();
    let first = *decided.keys().next().expect("a decision");
    for interval in first..first + minutes / 5 {
        assert!(decided.contains_key(&interval), "no decision in interval {} of {}", interval - first, minutes / 5);
    }
    let refused = decided.values().filter(|source| **source == SetpointSource::LastSafe).count();
    println!("{} intervals decided, the last safe set points stood in {refused}", decided.len());
    assert!(refused * 4 < decided.len(), "plans were refused in {refused} of {} intervals", decided.len());
}

/// Mean absolute error of estimated voltage magnitudes against the truth, per unit.
fn voltage_error(log: &Path, out: &Path) -> f64 {
    let truth = std::fs::read_to_string(log.join(TRUTH)).expect("the truth stands beside the log");
    let mut lines = truth.lines();
    let header: Vec<&str> = lines.next().expect("a header").split(',').collect();
    let column = |name: &str| header.iter().position(|other| *other == name).unwrap_or_else(|| panic!("no column {name} in {header:?}"));
    let (time, kind, id, v) = (column("event_ms"), column("element"), column("id"), column("v_pu"));
    let mut voltages: BTreeMap<(i64, u32), f64> = BTreeMap::new();
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        if cells[kind] == "bus" {
            voltages
                .insert((cells[time].parse().expect("a time"), cells[id].parse().expect("a bus")), cells[v].parse().expect("a voltage"));
        }
    }
    let base: BTreeMap<u32, f64> = crate::support::epochs(log)[0]
        .1
        .iter()
        .filter_map(|row| match row {
            gridflow_inputs::Input::Bus(bus) => Some((bus.id.0, bus.base_voltage.kv())),
            _ => None,
        })
        .collect();
    let (mut sum, mut count) = (0.0, 0u32);
    for (row, _) in changelog(out, Stream::Estimate).into_values().flatten().filter(|(_, change)| *change > 0) {
        let Output::Estimate(row) = row else { continue };
        // The first seconds have few readings.
        if row.measurements < 100 {
            continue;
        }
        for bus in row.buses.iter().filter(|bus| !row.unobservable.contains(&bus.bus)) {
            if let Some(truth) = voltages.get(&(row.tick_ms, bus.bus.0)) {
                sum += (bus.voltage.kv() / base[&bus.bus.0] - truth).abs();
                count += 1;
            }
        }
    }
    assert!(count > 0, "no estimate at a time of the truth");
    sum / f64::from(count)
}

// REQ: GRID-09, PLAT-04
#[test]
fn ten_minutes_of_case118_are_estimated_near_the_truth_and_decided() {
    let Some(data) = data() else { return };
    let dir = scratch();
    let (log, out) = (dir.path().join("log"), dir.path().join("out"));
    record_file(&data.join("matpower/pglib_opf_case118_ieee.m"), None, 10, &log);
    let summary = replay_into(&log, &out, workers(2));
    assert_eq!(summary.summary.epochs, 601);
    assert_decided(&out, 10);
    let error = voltage_error(&log, &out);
    assert!(error <= 0.01, "voltage error {error} per unit");
}

#[test]
#[ignore = "a minute in release; run by .ci/run"]
fn an_hour_of_case118_is_decided_throughout() {
    let Some(data) = data() else { return };
    let dir = scratch();
    let (log, out) = (dir.path().join("log"), dir.path().join("out"));
    record_file(&data.join("matpower/pglib_opf_case118_ieee.m"), None, 60, &log);
    replay_into(&log, &out, workers(2));
    assert_decided(&out, 60);
}

#[test]
#[ignore = "minutes in release; run by .ci/run"]
fn a_day_of_rts_gmlc_is_decided_throughout() {
    let Some(data) = data() else { return };
    let dir = scratch();
    let (log, out) = (dir.path().join("log"), dir.path().join("out"));
    record_file(&data.join("rts-gmlc/source"), Some(&data.join("rts-gmlc/timeseries")), 24 * 60, &log);
    let summary = replay_into(&log, &out, workers(2));
    assert_eq!(summary.summary.epochs, 86_401);
    assert_decided(&out, 24 * 60);
    let error = voltage_error(&log, &out);
    assert!(error <= 0.01, "voltage error {error} per unit");
}
