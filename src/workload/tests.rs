//! The workload against its own description: rates, shares, bounds of delays, order, placements, and that its three
//! forms carry the same records. Shares are judged by a count of what came out, not by the generator's own summary.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use gridflow_inputs::Input;
use gridflow_inputs::input::Quality;
use gridflow_inputs::log::LogReader;
use proptest::prelude::*;

use super::*;

fn config() -> WorkloadConfig {
    WorkloadConfig { minutes: 2, sensors: 5_000, ..WorkloadConfig::default() }
}

fn records(config: WorkloadConfig) -> Vec<Record> {
    Generator::new(config).expect("there is such a workload").flat_map(|arrivals| arrivals.records).collect()
}

/// Whether a count is within six standard deviations of a share of so many.
fn near(count: usize, share: f64, of: usize) -> bool {
    let mean = share * of as f64;
    (count as f64 - mean).abs() <= 6.0 * (mean * (1.0 - share)).sqrt()
}

/// Readings by (sensor, event time), in order of arrival.
fn by_identity(records: &[Record]) -> BTreeMap<(u32, u64), Vec<Record>> {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for record in records.iter().filter(|record| record.kind == Record::READING) {
        found.entry((record.sensor, record.ts_ms)).or_default().push(*record);
    }
    found
}

#[test]
fn splitmix64_gives_its_published_numbers() {
    // First outputs for the state 1234567, as listed beside the reference implementation.
    let outputs: Vec<u64> = (0..3u64).map(|n| splitmix64(1_234_567u64.wrapping_add(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)))).collect();
    assert_eq!(outputs, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
}

#[test]
fn every_sensor_reports_once_a_period_and_evenly() {
    let records = records(config());
    let found = by_identity(&records);
    assert_eq!(found.len(), 5_000 * 12);
    let mut seconds: BTreeMap<u64, usize> = BTreeMap::new();
    for (sensor, ts_ms) in found.keys() {
        assert_eq!((ts_ms - START_MS) % 10_000, u64::from(*sensor) * 2, "a sensor keeps its place in the period");
        *seconds.entry((ts_ms - START_MS) / 1000).or_default() += 1;
    }
    assert_eq!(seconds.len(), 120);
    assert!(seconds.values().all(|count| *count == 500), "{seconds:?}");
}

#[test]
fn delays_keep_to_their_classes() {
    let records = records(config());
    let found = by_identity(&records);
    let mut classes = [0usize; 3];
    for first in found.values().map(|rows| rows[0]) {
        match u64::from(first.arr_ms) + START_MS - first.ts_ms {
            0..2_000 => classes[0] += 1,
            2_000..30_000 => classes[1] += 1,
            60_000..=300_000 => classes[2] += 1,
            delay => panic!("a delay of {delay} ms is of no class"),
        }
    }
    let all = found.len();
    assert!(near(classes[0], 0.90, all) && near(classes[1], 0.09, all) && near(classes[2], 0.01, all), "{classes:?} of {all}");
}

#[test]
fn one_in_two_hundred_comes_again_and_one_in_two_hundred_is_bad() {
    let records = records(config());
    let found = by_identity(&records);
    let (mut duplicates, mut corrections, mut bad) = (0, 0, 0);
    for rows in found.values() {
        let first = rows[0];
        assert!([0, 2, 3].contains(&first.quality));
        assert!((50_000..3_000_000).contains(&first.value), "{first:?} is no meter's power");
        bad += usize::from(first.quality >= 2);
        match rows[1..] {
            [] => {}
            [again] => {
                assert!((1_000..=120_000).contains(&(again.arr_ms - first.arr_ms)), "{first:?} {again:?}");
                if again == (Record { arr_ms: again.arr_ms, ..first }) {
                    duplicates += 1;
                } else {
                    assert!(again.value != first.value && again.quality == 0, "{first:?} {again:?}");
                    corrections += 1;
                }
            }
            _ => panic!("more than two: {rows:?}"),
        }
    }
    let all = found.len();
    assert!(near(duplicates + corrections, 0.005, all), "{duplicates} and {corrections} of {all}");
    assert!(near(duplicates, 0.5, duplicates + corrections), "{duplicates} and {corrections}");
    assert!(near(bad, 0.005, all), "{bad} of {all}");
}

#[test]
fn ten_sensors_a_second_move_to_another_bus_in_order() {
    let records = records(config());
    let moves: Vec<Record> = records.iter().filter(|record| record.kind == Record::MOVE).copied().collect();
    assert_eq!(moves.len(), 10 * 120);
    assert!(moves.is_sorted_by_key(|record| record.ts_ms));
    let mut at: BTreeMap<u32, i32> = BTreeMap::new();
    for record in &moves {
        assert_eq!(record.ts_ms, START_MS + u64::from(record.arr_ms), "a move arrives at once");
        let before = at.insert(record.sensor, record.value).unwrap_or_else(|| first_bus(record.sensor) as i32);
        assert!(record.value != before && (0..BUSES as i32).contains(&record.value), "{record:?} from {before}");
    }
    assert!(at.len() > 1_000, "it is not always the same sensors");
}

#[test]
fn placements_are_those_of_the_description() {
    assert_eq!(first_bus(0), (splitmix64(0xB05) % 20_000) as u32);
    assert_eq!(first_bus(7), (splitmix64(0xB05 ^ 0x700) % 20_000) as u32);
    assert_eq!(feeder_of(3), (splitmix64(0xFEED ^ 0x3_0000) % 500) as u32);
    let feeders: std::collections::BTreeSet<u32> = (0..BUSES).map(feeder_of).collect();
    assert_eq!(feeders.len(), 500);
}

#[test]
fn arrivals_are_in_order_and_within_their_epoch() {
    let mut last = 0;
    let mut expected = 0;
    let mut generator = Generator::new(config()).expect("there is such a workload");
    for arrivals in &mut generator {
        assert_eq!(arrivals.epoch_ms, expected, "no epoch is skipped");
        expected += 1_000;
        for record in &arrivals.records {
            assert!(record.arr_ms >= last && (arrivals.epoch_ms..expected).contains(&u64::from(record.arr_ms)));
            last = record.arr_ms;
        }
    }
    let summary = generator.summary();
    assert_eq!(summary.records, summary.readings + summary.duplicates + summary.corrections + summary.moves);
    assert_eq!(summary.readings, summary.fast + summary.slow + summary.very_slow);
    assert!((120_000..=541_000).contains(&expected));
}

#[test]
fn the_seed_decides_the_records_and_the_length_of_an_epoch_does_not() {
    let once = records(config());
    assert_eq!(once, records(config()));
    assert_ne!(once, records(WorkloadConfig { seed: 2, ..config() }));
    for epoch_ms in [100, 700, 60_000] {
        assert_eq!(once, records(WorkloadConfig { epoch_ms, ..config() }), "epochs of {epoch_ms} ms");
    }
}

#[test]
fn append_only_has_the_same_first_arrivals_and_nothing_else() {
    let all = by_identity(&records(config()));
    let append = records(WorkloadConfig { append_only: true, ..config() });
    assert!(append.iter().all(|record| record.kind == Record::READING));
    let append = by_identity(&append);
    assert_eq!(all.len(), append.len());
    for (identity, rows) in append {
        assert_eq!(rows, all[&identity][..1]);
    }
}

#[test]
fn binary_csv_and_log_carry_the_same_records() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = WorkloadConfig { minutes: 1, sensors: 500, ..WorkloadConfig::default() };
    let at = |name: &str| Some(dir.path().join(name));
    let targets = Targets { log: at("log"), binary: at("w1.bin"), csv: at("w1.csv") };
    let written = write(config, &targets, &AtomicBool::new(false), |_| {}).expect("it can be written");
    let expected = records(config);
    assert_eq!(written.summary.records, expected.len() as u64);

    let bytes = std::fs::read(dir.path().join("w1.bin")).expect("it was written");
    let (chunks, rest) = bytes.as_chunks::<RECORD_BYTES>();
    assert!(rest.is_empty());
    let binary: Vec<Record> = chunks.iter().map(|chunk| Record::decode(chunk).expect("a record")).collect();
    assert_eq!(binary, expected);

    let text = std::fs::read(dir.path().join("w1.csv")).expect("it was written");
    let body = text.strip_prefix(CSV_HEADER.as_bytes()).expect("it has a header");
    let csv: Vec<Record> =
        body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| Record::parse_csv(line).expect("a record")).collect();
    assert_eq!(csv, expected);

    let mut rows: Vec<(u64, Input)> = Vec::new();
    for batch in LogReader::open(&dir.path().join("log")).expect("a log") {
        let batch = batch.expect("no damage");
        rows.extend(batch.iter().map(|(_, row)| row).filter(|row| !matches!(row, Input::Tick(_))).map(|row| (batch.epoch, row)));
    }
    let before = rows_before(&config);
    assert_eq!(before.len(), 1 + BUSES as usize + 500);
    assert!(matches!(before[0], Input::Region(_)));
    assert_eq!(rows.iter().map(|(_, row)| row).take(before.len()).collect::<Vec<_>>(), before.iter().collect::<Vec<_>>());
    let mut sensors = 0;
    for ((epoch, found), record) in rows[before.len()..].iter().zip(&expected) {
        assert_eq!(*epoch, START_MS + u64::from(record.arr_ms) / 1000 * 1000);
        match found {
            Input::Measurement(found) => {
                assert_eq!((found.sensor.0, found.event_ms, found.value), (record.sensor, record.ts_ms as i64, i64::from(record.value)));
                assert_eq!((found.quality as u8, found.revision, record.kind), (record.quality, 0, Record::READING));
                assert_eq!(found.quality >= Quality::Bad, record.quality >= 2);
            }
            Input::Sensor(found) => {
                sensors += 1;
                assert_eq!((found.id.0, found.valid_from_ms, record.kind), (record.sensor, record.ts_ms as i64, Record::MOVE));
                assert_eq!((found.feeder.0, found.element_id), (record.value as u32, record.value as u32));
            }
            other => panic!("{other:?} is no record"),
        }
    }
    assert_eq!(rows.len(), before.len() + expected.len());
    assert_eq!(sensors, 600);
}

#[test]
fn a_workload_that_is_stopped_is_whole_up_to_there() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = dir.path().join("log");
    let targets = Targets { log: Some(log.clone()), ..Targets::default() };
    let written = write(config(), &targets, &AtomicBool::new(true), |_| {}).expect("it can be written");
    assert!(written.interrupted);
    assert_eq!(written.summary.epochs, 1);
    assert_eq!(LogReader::open(&log).expect("a log").map(|batch| batch.expect("no damage").len() as u64).sum::<u64>(), written.log_rows);
}

#[test]
fn what_is_no_workload_is_refused_by_name() {
    let refused = |config: WorkloadConfig| Generator::new(config).map(|_| ()).expect_err("there is no such workload").to_string();
    assert!(refused(WorkloadConfig { minutes: 0, ..config() }).contains("minute"));
    assert!(refused(WorkloadConfig { minutes: u32::MAX, ..config() }).contains("71575"));
    assert!(refused(WorkloadConfig { sensors: 0, ..config() }).contains("sensor"));
    assert!(refused(WorkloadConfig { sensors: u32::MAX, ..config() }).contains("too many"));
    assert!(refused(WorkloadConfig { epoch_ms: 0, ..config() }).contains("epoch of 0 ms"));
    assert!(refused(WorkloadConfig { period_ms: 60_001, ..config() }).contains("period of 60001 ms"));
}

proptest! {
    #[test]
    fn a_record_survives_both_forms(ts_ms in 0u64..1 << 58, value: i32, sensor: u32, arr_ms: u32, quality: u8, kind in 0u8..=1) {
        let record = Record { ts_ms, value, sensor, arr_ms, quality, kind };
        prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
        let mut line = Vec::new();
        record.write_csv(&mut line).expect("memory takes it");
        prop_assert_eq!(Record::parse_csv(line.strip_suffix(b"\n").expect("a line")), Ok(record));
    }

    #[test]
    fn any_bytes_are_a_record_or_an_error(bytes: [u8; RECORD_BYTES], line in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(record) = Record::decode(&bytes) {
            prop_assert_eq!(record.encode(), bytes);
        }
        let _ = Record::parse_csv(&line);
    }

    #[test]
    fn lines_that_are_almost_records_never_panic(line in "[-0-9,a]{0,60}") {
        if let Ok(record) = Record::parse_csv(line.as_bytes()) {
            let mut again = Vec::new();
            record.write_csv(&mut again).expect("memory takes it");
            prop_assert_eq!(Record::parse_csv(again.strip_suffix(b"\n").expect("a line")), Ok(record));
        }
    }

    #[test]
    fn any_size_keeps_the_order(seed: u64, sensors in 1u32..300, period_ms in 500u64..=60_000, epoch_ms in 50u64..=60_000) {
        let config = WorkloadConfig { seed, minutes: 1, sensors, period_ms, epoch_ms, append_only: false };
        let records = records(config);
        prop_assert!(records.is_sorted_by_key(|record| record.arr_ms));
        let readings = by_identity(&records).len() as u64;
        // Each sensor reports in every whole period, and perhaps once more in the last one.
        let whole = 60_000 / period_ms;
        prop_assert!((u64::from(sensors) * whole..=u64::from(sensors) * (whole + 1)).contains(&readings));
    }
}
