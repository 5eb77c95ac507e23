//! How fast readings enter and leave the recorded log: one core, one million measurements in epochs of 10,000.
//!
//! `cargo bench --bench log`. Rates are readings a second and, beside them, bytes of segment files a second. The readings
//! come like SCADA's: sensors in order, times with jitter, values with noise; one in a thousand is doubtful.

#![allow(clippy::print_stdout)] // bytes a reading is a figure too

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use gridflow_inputs::ids::SensorId;
use gridflow_inputs::input::{Input, Measurement, Quality};
use gridflow_inputs::log::{BlockReader, Header, LogReader, LogWriter, Options, Sync, inspect};
use std::path::Path;

const EPOCHS: u64 = 100;
const ROWS: u32 = 10_000;

fn main() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    record(dir.path(), &epochs());
    let found = inspect(dir.path()).expect("the log just written");
    println!("{} readings, {} bytes, {:.2} bytes a reading", found.rows, found.bytes, found.bytes as f64 / found.rows as f64);
    divan::main();
}

fn epochs() -> Vec<(u64, Vec<Input>)> {
    let mut random = 42u64;
    let mut below = |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as i64 % bound as i64
    };
    let mut epochs = Vec::new();
    for number in 0..EPOCHS {
        let epoch = 1_577_836_800_000 + number * 1000;
        let rows = (0..ROWS).map(|sensor| {
            let base = i64::from(sensor) * 7_919 % 400_000 * 1000;
            let quality = if below(1000) == 0 { Quality::Doubtful } else { Quality::Good };
            Measurement {
                sensor: SensorId(sensor),
                event_ms: epoch as i64 - below(900),
                revision: 0,
                value: base + below(2_000_000),
                quality,
            }
        });
        epochs.push((epoch, rows.map(Input::from).collect()));
    }
    epochs
}

fn record(dir: &Path, epochs: &[(u64, Vec<Input>)]) {
    let options = Options { sync: Sync::OnClose, ..Options::default() };
    let mut writer = LogWriter::create(dir, Header::input("bench"), options).expect("an empty directory");
    for (epoch, rows) in epochs {
        writer.append_epoch(*epoch, rows).expect("epochs in order");
    }
    writer.close().expect("room on the disk");
}

fn count<'a, 'b>(bencher: Bencher<'a, 'b>, dir: &Path) -> Bencher<'a, 'b> {
    let bytes = inspect(dir).expect("the log just written").bytes;
    bencher.counter(ItemsCount::new(EPOCHS as usize * ROWS as usize)).counter(BytesCount::new(bytes))
}

#[divan::bench(sample_count = 20)]
fn encode(bencher: Bencher<'_, '_>) {
    let rows = epochs();
    let sized = tempfile::tempdir().expect("a temporary directory");
    record(sized.path(), &rows);
    count(bencher, sized.path())
        .with_inputs(|| tempfile::tempdir().expect("a temporary directory"))
        .bench_refs(|dir| record(dir.path(), &rows));
}

/// As rows, in sequence order.
#[divan::bench(sample_count = 50)]
fn decode_rows(bencher: Bencher<'_, '_>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    record(dir.path(), &epochs());
    count(bencher, dir.path()).bench(|| {
        let reader = LogReader::open(dir.path()).expect("a log");
        reader.map(|batch| batch.expect("no damage").len()).sum::<usize>()
    });
}

/// As columns, for operators that take them so.
#[divan::bench(sample_count = 50)]
fn decode_columns(bencher: Bencher<'_, '_>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    record(dir.path(), &epochs());
    count(bencher, dir.path()).bench(|| {
        let reader = BlockReader::open(dir.path()).expect("a log");
        reader.map(|epoch| epoch.expect("no damage").rows as usize).sum::<usize>()
    });
}
