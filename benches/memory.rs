//! Memory on workload W1 with 100,000 sensors: bytes of state a sensor, by part, and growth over a day.
//!
//! `cargo bench --bench memory` first feeds telemetry and accounts alone at a period of 10 s until every revisable minute
//! is full (ten minutes of lateness), and tells the most bytes of each part at the end of a minute. Then it feeds the
//! engine in this process from the generator, as fast as it takes it, and reads its resident memory once an hour of
//! event time. Two hours warm up: windows of an hour are told for the first time in the second. Fails above 1 kB a sensor
//! with one-minute windows, or when memory ever is 5 % above what it was after these. A day is `-- --hours 24`; the
//! default is four hours.

#![allow(clippy::print_stdout, reason = "its purpose")]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use crossbeam_channel::bounded;
use gridflow::engine::{self, EngineConfig, Outlet};
use gridflow::journal::Journal;
use gridflow::metrics::Metrics;
use gridflow::workload::{Generator, START_MS, WORKLOAD_REGION, WorkloadConfig};
use gridflow_inputs::log::EpochBatch;
use gridflow_operators::seal::Sealed;
use support::machine::{cpu_seconds, is_measuring, line, memory_bytes};
use support::w1::engine::Alone;
use support::w1::fed::Epochs;

const HOUR_MS: u64 = 3_600_000;
const MINUTE_MS: u64 = 60_000;
/// Until every revisable minute is full: ten of lateness, and the one that fills.
const FULL_MINUTES: u32 = 13;
/// Hours until all that windows ever take is taken.
const WARM_UP: usize = 2;
/// Epochs made ahead of the engine.
const AHEAD: usize = 16;

#[derive(Parser)]
struct Arguments {
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
    /// Hours of event time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(3..))]
    hours: u32,
    /// Number of sensors.
    #[arg(long, default_value_t = 100_000)]
    sensors: u32,
    /// Milliseconds between two readings of a sensor, in the long run.
    #[arg(long, default_value_t = 60_000)]
    period_ms: u64,
}

/// Gives the epochs of a workload until `give` wants no more.
fn feed(config: WorkloadConfig, mut give: impl FnMut(EpochBatch) -> bool) {
    let mut epochs = Epochs::new(config);
    let mut more = true;
    for arrivals in Generator::new(config).expect("the options describe a workload") {
        arrivals.records.iter().for_each(|record| epochs.take(record, &mut |batch| more &= give(batch)));
        if !more {
            return;
        }
    }
    epochs.end(&mut |batch| more = give(batch));
}

/// Most bytes of each part at the end of a minute.
fn bytes_by_part(config: WorkloadConfig) -> BTreeMap<&'static str, usize> {
    let (mut alone, mut most) = (Alone::new(), BTreeMap::new());
    let last = START_MS + u64::from(config.minutes) * MINUTE_MS;
    feed(config, |batch| {
        let epoch = batch.epoch;
        alone.take(&batch);
        if epoch.is_multiple_of(MINUTE_MS) {
            for (part, bytes) in alone.bytes() {
                let known = most.entry(part).or_insert(0);
                *known = bytes.max(*known);
            }
        }
        epoch < last
    });
    most
}

struct Digested(Journal);

impl Outlet for Digested {
    fn sealed(&mut self, sealed: Sealed) -> bool {
        self.0.take(sealed);
        self.0.is_sound()
    }
}

/// Resident memory after each hour of event time.
fn hourly(config: WorkloadConfig) -> Vec<u64> {
    let mut outlet = Digested(Journal::open(WORKLOAD_REGION, None, 0, None).expect("nothing is written"));
    let (sender, receiver) = bounded::<EpochBatch>(AHEAD);
    let (started, mut samples) = (cpu_seconds(), Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(move || feed(config, |batch| sender.send(batch).is_ok()));
        // What is fed is a little ahead of what is sealed: by what may be in flight.
        let look = |batch: &EpochBatch| {
            let since = batch.epoch - START_MS;
            if since > 0 && since.is_multiple_of(HOUR_MS) {
                samples.push(memory_bytes());
                let megabytes = samples[samples.len() - 1] as f64 * 1e-6;
                println!("  hour {:>2}: {megabytes:>7.1} MB, {:>7.1} CPU-s", samples.len(), cpu_seconds() - started);
            }
        };
        let stop = AtomicBool::new(false);
        engine::run(&EngineConfig::default(), receiver.into_iter().map(Ok), &stop, look, &mut outlet, &Metrics::start())
    })
    .expect("the engine runs");
    samples
}

/// How much the greatest sample is above that at the end of the warm-up.
fn growth(samples: &[u64]) -> f64 {
    let warm = &samples[WARM_UP - 1..];
    let most = warm.iter().max().expect("there is an hour");
    *most as f64 / warm[0] as f64 - 1.0
}

fn main() {
    if !is_measuring() {
        // Under `cargo test`: there are samples, and parts that take memory.
        let small = WorkloadConfig { minutes: 61, sensors: 20, period_ms: 60_000, epoch_ms: 60_000, ..WorkloadConfig::default() };
        assert_eq!(hourly(small).len(), 1);
        assert!(bytes_by_part(WorkloadConfig { minutes: 2, sensors: 50, ..small })["minutes"] > 0);
        assert!((growth(&[70, 100, 90, 110]) - 0.1).abs() < 1e-9);
        return;
    }
    let arguments = Arguments::parse();
    println!("{}", line());
    let config = WorkloadConfig { minutes: FULL_MINUTES, sensors: arguments.sensors, ..WorkloadConfig::default() };
    let parts = bytes_by_part(config);
    println!("bytes a sensor, {} sensors, a reading every 10 s, 10 min revisable:", arguments.sensors);
    let of = |part: &str| parts[part] / arguments.sensors as usize;
    parts.keys().for_each(|part| println!("  {part:<22} {:>6}", of(part)));
    let minutes = of("sensors") + of("minutes");
    println!("  sensors and minutes    {minutes:>6}");
    println!("resident memory, {} hours of event time, a reading every {} s:", arguments.hours, arguments.period_ms / 1_000);
    let samples = hourly(WorkloadConfig { minutes: arguments.hours * 60 + 1, period_ms: arguments.period_ms, ..config });
    let growth = growth(&samples);
    println!("  at most {:.1} % above the end of the warm-up", growth * 100.0);
    // REQ: PLAT-10, ING-11
    assert!(minutes <= 1_000, "{minutes} bytes a sensor");
    assert!(growth < 0.05, "memory grew by {:.1} %", growth * 100.0);
}
