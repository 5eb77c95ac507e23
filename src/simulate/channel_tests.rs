//! The channel as a control centre sees it: rates, refusals and noise, counted from the rows and not from the summary.

use super::tests::{config, ieee14, run};
use super::*;
use gridflow_inputs::ids::SensorId;
use gridflow_inputs::input::{Measurement, Quality, Quantity, Sensor};
use gridflow_inputs::network::{EquipmentKind, Side};
use std::collections::BTreeMap;

/// Whether a count of `trials` with probability `share` is within five standard deviations of what it should be.
#[track_caller]
fn assert_share(what: &str, count: usize, trials: usize, share: f64) {
    let expected = trials as f64 * share;
    let deviation = (expected * (1.0 - share)).sqrt().max(1.0);
    assert!((count as f64 - expected).abs() <= 5.0 * deviation, "{what}: {count} of {trials}, expected about {expected}");
}

#[test]
fn the_channel_keeps_its_stated_rates() {
    let mut config = config(5, 20);
    // No spells, so that every sensor's readings are alike.
    (config.channel.stuck, config.channel.silent) = ((0.0, 0.0), (0.0, 0.0));
    let run = run(config, ieee14(), None);
    let end = run.simulation.end_ms();
    let sensors = run.sensors();
    // Readings of the first twelve minutes: all that comes of them but the slowest corrections has arrived by the end.
    let horizon = START_MS + 720_000;
    let trials = sensors.len() * 72;
    let mut first = BTreeMap::new();
    let (mut again, mut corrected, mut bad) = (0, 0, 0);
    for (epoch, row) in run.measurements().filter(|(_, row)| row.event_ms < horizon && sensors.contains_key(&row.sensor)) {
        assert!(epoch <= end);
        if row.revision == 1 {
            corrected += 1;
        } else if first.insert((row.sensor, row.event_ms), epoch - row.event_ms).is_some() {
            again += 1;
        } else {
            bad += usize::from(row.quality == Quality::Bad);
        }
    }
    assert_share("lost", trials - first.len(), trials, 0.002);
    assert_share("duplicates", again, trials, 0.0025);
    assert_share("corrections", corrected, trials, 0.0026);
    assert_share("bad quality", bad, trials, 0.005);
    let delayed = |from: i64, until: i64| first.values().filter(|delay| (from..until).contains(*delay)).count();
    // Arrival is known to the second: a delay below 2 s shows as less than 3.
    assert_share("60 to 300 s", delayed(58_000, 301_001), trials, 0.01);
    assert_share("3 to 30 s", delayed(3_000, 31_001), trials, 0.09 * 27.0 / 28.0 + 0.09 * 0.5 / 28.0);
}

#[test]
fn rows_that_must_be_refused_occur_as_often_as_told() {
    let mut config = config(8, 40);
    let channel = &mut config.channel;
    (channel.future, channel.unknown_sensor, channel.out_of_range, channel.too_late) = (0.004, 0.004, 0.004, 0.004);
    let run = run(config, ieee14(), None);
    let (sensors, summary) = (run.sensors(), run.simulation.summary().clone());
    let count = |judge: &dyn Fn(i64, &Measurement, Option<&Sensor>) -> bool| {
        run.measurements().filter(|(epoch, row)| row.revision == 0 && judge(*epoch, row, sensors.get(&row.sensor))).count()
    };
    let readings = summary.readings as usize;
    let unknown = count(&|_, _, sensor| sensor.is_none());
    let future = count(&|epoch, row, _| row.event_ms > epoch + 10_000);
    let outside = count(&|_, row, sensor| sensor.is_some_and(|s| row.value < s.range_min || row.value > s.range_max));
    assert_eq!([unknown as u64, future as u64], [summary.unknown_sensor, summary.future]);
    assert_share("unknown", unknown, readings, 0.004);
    assert_share("future", future, readings, 0.004);
    assert_share("out of range", outside, readings, 0.004);
    let late = count(&|epoch, row, _| epoch - row.event_ms > 16 * 60_000) as u64;
    assert!(late > 0 && late <= summary.too_late, "{late} arrived beyond the bound of {} sent", summary.too_late);
}

#[test]
fn one_sensor_sticks_and_one_falls_silent_for_their_time() {
    let mut config = config(4, 30);
    (config.channel.loss, config.channel.duplicate, config.channel.correction, config.channel.late_correction) = (0.0, 0.0, 0.0, 0.0);
    (config.channel.gross_error, config.channel.out_of_range) = (0.0, 0.0);
    let run = run(config, ieee14(), None);
    let at = |share: f64| START_MS + (1_800_000.0 * share) as i64;
    let mut values: BTreeMap<SensorId, BTreeMap<i64, i64>> = BTreeMap::new();
    for (_, row) in run.measurements().filter(|(epoch, row)| row.event_ms < *epoch) {
        values.entry(row.sensor).or_default().insert(row.event_ms, row.value);
    }
    let within = |from: f64, until: f64| values.values().map(move |series| Vec::from_iter(series.range(at(from)..at(until))));
    let stuck = within(0.3, 0.5).filter(|series| series.len() > 30 && series.windows(2).all(|pair| pair[0].1 == pair[1].1)).count();
    let silent = within(0.551, 0.649).filter(|series| series.is_empty()).count();
    assert_eq!((stuck, silent), (1, 1));
    assert_eq!([run.simulation.summary().stuck, run.simulation.summary().silent], [36, 18]);
}

#[test]
fn readings_scatter_about_the_truth_with_the_sigma_of_their_sensor() {
    let mut config = config(6, 20);
    (config.truth_every_s, config.channel.stuck) = (10, (0.0, 0.0));
    (config.channel.gross_error, config.channel.out_of_range, config.channel.future) = (0.0, 0.0, 0.0);
    let network = ieee14().network;
    let run = run(config, ieee14(), None);
    let truth: BTreeMap<i64, &TruthStep> =
        run.epochs.iter().filter_map(|epoch| Some((epoch.epoch as i64, epoch.truth.as_ref()?))).collect();
    let sensors = run.sensors();
    let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
    for (_, row) in run.measurements() {
        let Some(sensor) = sensors.get(&row.sensor) else { continue };
        let step = truth[&(row.event_ms / 10_000 * 10_000)];
        let bus = step.buses.iter().find(|bus| sensor.element == EquipmentKind::Bus && bus.0.0 == sensor.element_id);
        let branch = step.branches.iter().find(|branch| sensor.element == EquipmentKind::Branch && branch.0.0 == sensor.element_id);
        let value = match (sensor.quantity, bus, branch, sensor.side) {
            (Quantity::VoltageMagnitude, Some(bus), ..) => {
                bus.1 * network.buses.iter().find(|row| row.id == bus.0).expect("it is a bus of the file").base_voltage.kv().max(1.0)
            }
            (Quantity::ActiveInjection, Some(bus), ..) => bus.3,
            (Quantity::ReactiveInjection, Some(bus), ..) => bus.4,
            (Quantity::ActiveFlow, _, Some(branch), Side::From) => branch.1,
            (Quantity::ReactiveFlow, _, Some(branch), Side::From) => branch.2,
            _ => continue,
        };
        let residual = (row.value as f64 - value * 1e9) / sensor.sigma as f64;
        assert!(residual.abs() < 6.0, "{sensor:?} read {} where {value} is true", row.value);
        (sum, squares, count) = (sum + residual, squares + residual * residual, count + 1.0);
    }
    let (mean, deviation) = (sum / count, (squares / count).sqrt());
    assert!(count > 9_000.0 && mean.abs() < 0.05 && (deviation - 1.0).abs() < 0.03, "{count}: mean {mean}, deviation {deviation}");
}
