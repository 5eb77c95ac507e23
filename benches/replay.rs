//! How fast a recorded log goes through the whole engine: 30 minutes of the demo region, recorded once, replayed as fast
//! as possible with one worker and with two. Beside them the floor, reading the same log and doing nothing with it.
//!
//! `cargo bench --bench replay`. Each figure is the median of five runs. Fails when digests differ between runs or
//! workers, or when the engine is not ten times faster than real time.

#![allow(clippy::print_stdout, reason = "its purpose")]

use gridflow::clock::Stopwatch;
use gridflow::engine::EngineConfig;
use gridflow::recording::record;
use gridflow::replay::{ReplayConfig, replay};
use gridflow::simulate::{Simulation, SimulationConfig};
use gridflow_inputs::log::LogReader;
use std::path::Path;
use std::sync::atomic::AtomicBool;

const MINUTES: u32 = 30;
const RUNS: usize = 5;

/// Median time of some runs, in seconds.
fn median(mut run: impl FnMut()) -> f64 {
    let mut seconds = Vec::new();
    for _ in 0..RUNS {
        let watch = Stopwatch::start();
        run();
        seconds.push(watch.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    seconds[RUNS / 2]
}

fn read(log: &Path) -> usize {
    LogReader::open(log).expect("the log is there").map(|batch| batch.expect("it is whole").len()).sum()
}

fn main() {
    // `cargo test --benches` runs this too, and a measurement there means nothing.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = gridflow::demo::network().expect("the embedded network is whole");
    let config = SimulationConfig { seed: 14, minutes: MINUTES, ..SimulationConfig::default() };
    let mut simulation = Simulation::new(config, file, None).expect("the demo can be simulated");
    let never = AtomicBool::new(false);
    let watch = Stopwatch::start();
    record(&mut simulation, "demo", dir.path(), &never, |_| {}).expect("the demo can be recorded");
    let rows = read(dir.path());
    let print = |what: &str, seconds: f64| {
        let speed = f64::from(MINUTES) * 60.0 / seconds;
        println!("{what:<24} {:>9.1} ms {:>12.0} rows/s {speed:>10.0} x real time", seconds * 1e3, rows as f64 / seconds);
        speed
    };
    println!("{MINUTES} minutes of the demo region: {rows} rows");
    print("simulated and recorded", watch.elapsed().as_secs_f64());
    print("floor: read only", median(|| assert_eq!(read(dir.path()), rows)));
    let mut digests = Vec::new();
    for workers in [1, 2] {
        let engine = EngineConfig { workers, ..EngineConfig::default() };
        let config = ReplayConfig { log: dir.path().to_owned(), engine, ..ReplayConfig::default() };
        let seconds = median(|| digests.push(replay(&config, &never, &mut ()).expect("the log can be replayed").summary.digest));
        let speed = print(&format!("replayed, {workers} worker(s)"), seconds);
        assert!(speed > 10.0, "the engine keeps up with ten regions like this one");
    }
    digests.dedup();
    assert_eq!(digests.len(), 1, "same log, same bits");
}
