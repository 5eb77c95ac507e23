//! What a reading costs in telemetry and in the accounts behind it, each alone, without a dataflow, on a log in memory.
//!
//! `gridflow workload --minutes 10 --log DIR`, then
//! `GRIDFLOW_LOG=DIR cargo test --release -p gridflow-operators --test telemetry_speed -- --ignored --nocapture`.
//! Prints nanoseconds of CPU time, and a sum over all that was told, which no optimisation may change, and the same without
//! alarms of stale meters, of which the end of the log makes many. Checks that each
//! reading was counted once and that two runs tell the same.

#![allow(clippy::print_stdout, reason = "its purpose")]

use std::path::PathBuf;

use gridflow_inputs::Input;
use gridflow_inputs::log::{EpochBatch, LogReader};
use gridflow_operators::accounts::{AccountInput, Accounts};
use gridflow_operators::decision::{AlarmKind, Output};
use gridflow_operators::telemetry::{Bounds, Partial, Telemetry, TelemetryOutput};
use rustix::time::{ClockId, clock_gettime};

/// CPU time of this thread, nanoseconds.
fn now() -> i64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// A sum over rows with their changes in which a row and its withdrawal in one epoch cancel.
#[derive(Default)]
struct Sum(u64, Vec<u8>);

impl Sum {
    fn add(&mut self, epoch: u64, row: &Output, change: i64) {
        self.1.clear();
        self.1.extend(epoch.to_le_bytes());
        self.1.push(row.stream() as u8);
        row.write(&mut self.1);
        let hash = self.1.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        self.0 = self.0.wrapping_add((hash ^ hash >> 29).wrapping_mul(change as u64));
    }
}

struct Told {
    telemetry_ns: i64,
    accounts_ns: i64,
    partials: usize,
    rows: usize,
    others: usize,
    received: u64,
    sum: u64,
    sum_without_stale: u64,
}

fn run(batches: &[EpochBatch]) -> Told {
    let (mut telemetry, mut accounts) = (Telemetry::new(0, 1), Accounts::new(1));
    let mut told = Told { telemetry_ns: 0, accounts_ns: 0, partials: 0, rows: 0, others: 0, received: 0, sum: 0, sum_without_stale: 0 };
    let (mut out, mut inputs, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    let (mut sum, mut without_stale) = (Sum::default(), Sum::default());
    for batch in batches {
        let start = now();
        telemetry.apply(batch, &mut out);
        told.telemetry_ns += now() - start;
        for input in batch.rows.iter().filter_map(|(_, row)| if let Input::Region(region) = row { Some(region) } else { None }) {
            inputs.push(AccountInput::Lateness { worker: 0, sequence: 0, bounds: Bounds::from(input) });
        }
        for output in out.drain(..) {
            match output {
                TelemetryOutput::Partial(partial) => {
                    if let Partial::Gap { counts, .. } = &partial {
                        told.received += counts.received;
                    }
                    told.partials += 1;
                    inputs.push(AccountInput::Partial(partial));
                }
                TelemetryOutput::Row(row, change) => rows.push((row, change)),
                _ => told.others += 1,
            }
        }
        let start = now();
        accounts.apply(batch.epoch, &mut inputs, &mut rows);
        told.accounts_ns += now() - start;
        told.rows += rows.len();
        for (row, change) in rows.drain(..) {
            sum.add(batch.epoch, &row, change);
            if !matches!(&row, Output::Alarm(alarm) if alarm.kind == AlarmKind::Stale) {
                without_stale.add(batch.epoch, &row, change);
            }
        }
    }
    (told.sum, told.sum_without_stale) = (sum.0, without_stale.0);
    told
}

#[test]
#[ignore = "a measurement: needs a release build and a log"]
fn nanoseconds_a_reading() {
    #[allow(clippy::disallowed_methods, reason = "the place of the log, which is no part of a result")]
    let log = std::env::var("GRIDFLOW_LOG").map_or_else(|_| PathBuf::from("/tmp/w1.log"), PathBuf::from);
    let batches: Vec<EpochBatch> = LogReader::open(&log).expect("there is a log").map(|batch| batch.expect("it is sound")).collect();
    let readings: usize = batches.iter().map(|batch| batch.readings.len()).sum();
    let sizes = (size_of::<TelemetryOutput>(), size_of::<(Output, i64)>(), size_of::<AccountInput>());
    println!("{readings} readings in {} epochs; bytes of a telemetry output, an output row, an account input: {sizes:?}", batches.len());
    let mut sums = Vec::new();
    for _ in 0..2 {
        let told = run(&batches);
        assert_eq!(told.received as usize, readings, "each reading is received once");
        let each = |ns: i64| ns as f64 / readings as f64;
        println!(
            "telemetry {:.0} ns, accounts {:.0} ns a reading: {:.2} M readings/CPU-s; {} partials, {} rows, {} others, sum {:016x}, without stale {:016x}",
            each(told.telemetry_ns),
            each(told.accounts_ns),
            1_000.0 / each(told.telemetry_ns + told.accounts_ns),
            told.partials,
            told.rows,
            told.others,
            told.sum,
            told.sum_without_stale
        );
        sums.push(told.sum);
    }
    assert_eq!(sums[0], sums[1], "the same log tells the same");
}
