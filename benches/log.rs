//! How fast readings enter and leave the recorded log, one core, and how many bytes they take there.
//!
//! `cargo bench --bench log`. Rates are readings a second and, beside them, bytes of segment files a second. Two shapes:
//! `scada`, one million readings in epochs of 10,000, sensors in order, times with jitter, values with noise; and `w1`, one
//! minute of workload W1: 100,000 sensors in the order of arrival, a tenth of the readings late, some twice, some bad.
//! `cargo bench --bench log -- csv=FILE` writes the second as a table instead, for `benches/peers/parquet_size.py`.

#![allow(clippy::print_stdout)] // bytes a reading is a figure too

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use gridflow_inputs::ids::SensorId;
use gridflow_inputs::input::{Input, Measurement, Quality};
use gridflow_inputs::log::{BlockReader, Header, LogReader, LogWriter, Options, Sync, inspect};
use std::io::{BufWriter, Write};
use std::path::Path;

type Epochs = Vec<(u64, Vec<Input>)>;

const SHAPES: [&str; 2] = ["scada", "w1"];
const START_MS: u64 = 1_767_225_600_000;

fn main() {
    if let Some(path) = std::env::args().find_map(|argument| argument.strip_prefix("csv=").map(str::to_owned)) {
        table(Path::new(&path)).expect("room for the table");
        return;
    }
    for shape in SHAPES {
        let dir = tempfile::tempdir().expect("a temporary directory");
        record(dir.path(), &epochs(shape));
        let found = inspect(dir.path()).expect("the log just written");
        println!("{shape}: {} readings, {} bytes, {:.2} bytes a reading", found.rows, found.bytes, found.bytes as f64 / found.rows as f64);
    }
    divan::main();
}

fn table(path: &Path) -> std::io::Result<()> {
    let mut out = BufWriter::new(std::fs::File::create(path)?);
    writeln!(out, "sensor,event_ms,revision,value,quality")?;
    for (_, rows) in epochs("w1") {
        for row in rows {
            let Input::Measurement(row) = row else { continue };
            writeln!(out, "{},{},{},{},{}", row.sensor.0, row.event_ms, row.revision, row.value, row.quality as u8)?;
        }
    }
    out.flush()
}

/// A linear congruential generator: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % bound) as i64
    }
}

fn epochs(shape: &str) -> Epochs {
    if shape == "w1" { w1() } else { scada() }
}

fn scada() -> Epochs {
    let mut random = Random(42);
    let mut epochs = Vec::new();
    for number in 0..100 {
        let epoch = START_MS + number * 1000;
        let rows = (0..10_000).map(|sensor| {
            let base = i64::from(sensor) * 7_919 % 400_000 * 1000;
            let quality = if random.below(1000) == 0 { Quality::Doubtful } else { Quality::Good };
            Measurement {
                sensor: SensorId(sensor),
                event_ms: epoch as i64 - random.below(900),
                revision: 0,
                value: base + random.below(2_000_000),
                quality,
            }
        });
        epochs.push((epoch, rows.map(Input::from).collect()));
    }
    epochs
}

fn w1() -> Epochs {
    const SENSORS: i64 = 100_000;
    const SECONDS: i64 = 60;
    let mut random = Random(1);
    // Six minutes are made, so that the last one has the late readings of those before.
    let mut arrivals: Vec<(i64, Measurement)> = Vec::new();
    for second in -300..SECONDS {
        for place in 0..SENSORS / 10 {
            // Each sensor every ten seconds, in no order of numbers.
            let sensor = (place * 10 + second.rem_euclid(10)) * 7_919 % SENSORS;
            let event_ms = second * 1000 + random.below(1000);
            let delay = match random.below(100) {
                0..90 => random.below(2000),
                90..99 => 2000 + random.below(28_000),
                _ => 60_000 + random.below(240_000),
            };
            let value = sensor * 6_151 % 1_000_003 * 100 + random.below(20_000);
            let quality = if random.below(200) == 0 { Quality::Bad } else { Quality::Good };
            let row = Measurement { sensor: SensorId(sensor as u32), event_ms: START_MS as i64 + event_ms, revision: 0, value, quality };
            if random.below(200) == 0 {
                let value = row.value + random.below(2) * random.below(5000);
                arrivals.push((event_ms + delay + 1000 + random.below(119_000), Measurement { value, ..row.clone() }));
            }
            arrivals.push((event_ms + delay, row));
        }
    }
    arrivals.sort_by_key(|(arrival, row)| (*arrival, row.sensor));
    let of = |second: i64| {
        let rows = arrivals.iter().filter(move |(arrival, _)| arrival.div_euclid(1000) == second).map(|(_, row)| Input::from(row.clone()));
        (START_MS + (second as u64 + 1) * 1000, rows.collect())
    };
    (0..SECONDS).map(of).collect()
}

fn record(dir: &Path, epochs: &Epochs) {
    let options = Options { sync: Sync::OnClose, ..Options::default() };
    let mut writer = LogWriter::create(dir, Header::input("bench"), options).expect("an empty directory");
    for (epoch, rows) in epochs {
        writer.append_epoch(*epoch, rows).expect("epochs in order");
    }
    writer.close().expect("room on the disk");
}

fn count<'a, 'b>(bencher: Bencher<'a, 'b>, dir: &Path) -> Bencher<'a, 'b> {
    let found = inspect(dir).expect("the log just written");
    bencher.counter(ItemsCount::new(found.rows as usize)).counter(BytesCount::new(found.bytes))
}

#[divan::bench(sample_count = 20, args = SHAPES)]
fn encode(bencher: Bencher<'_, '_>, shape: &str) {
    let rows = epochs(shape);
    let sized = tempfile::tempdir().expect("a temporary directory");
    record(sized.path(), &rows);
    count(bencher, sized.path())
        .with_inputs(|| tempfile::tempdir().expect("a temporary directory"))
        .bench_refs(|dir| record(dir.path(), &rows));
}

/// As rows, in sequence order.
#[divan::bench(sample_count = 50, args = SHAPES)]
fn decode_rows(bencher: Bencher<'_, '_>, shape: &str) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    record(dir.path(), &epochs(shape));
    count(bencher, dir.path()).bench(|| {
        let reader = LogReader::open(dir.path()).expect("a log");
        reader.map(|batch| batch.expect("no damage").len()).sum::<usize>()
    });
}

/// As columns, for operators that take them so.
#[divan::bench(sample_count = 50, args = SHAPES)]
fn decode_columns(bencher: Bencher<'_, '_>, shape: &str) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    record(dir.path(), &epochs(shape));
    count(bencher, dir.path()).bench(|| {
        let reader = BlockReader::open(dir.path()).expect("a log");
        reader.map(|epoch| epoch.expect("no damage").rows as usize).sum::<usize>()
    });
}
