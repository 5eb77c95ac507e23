//! Checkpoints on workload W1: what they cost a run, how soon a killed run goes on, and what reading everything again costs.
//!
//! `cargo bench --bench resume` records ten minutes of W1 (`-- --minutes 100`: 60 million readings) below `target/`, where
//! the next run finds it, and runs it with one worker and a checkpoint every 600 epochs: once straight, and once killed
//! with SIGKILL as soon as its last periodic checkpoint is written, and started again. Fails when the outputs of the two
//! differ, or when the killed run takes more than 2 s to go on: from the start of its process to the first epoch sealed,
//! for which workers have loaded their states. The CPU time of a full replay is judged (25 s for 60 million) on a quiet machine or with `--judge`.

#![allow(clippy::print_stdout, reason = "its purpose")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Parser;
use gridflow::clock::Stopwatch;
use gridflow::workload::{Targets, WorkloadConfig, write};
use serde_json::Value;
use support::machine::{is_measuring, is_quiet, line};

/// How often a directory is looked at.
const LOOK: Duration = Duration::from_millis(1);

#[derive(Parser)]
struct Arguments {
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
    /// Minutes of event time; 100 are 60 million readings.
    #[arg(long, default_value_t = 10)]
    minutes: u32,
    /// A checkpoint after so many epochs of a second.
    #[arg(long, default_value_t = 600)]
    checkpoint_every: u64,
    /// Judge CPU time whatever the load of the machine.
    #[arg(long)]
    judge: bool,
}

/// The workload's log, made unless it is there.
fn log(config: WorkloadConfig) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let log = dir.join(format!("w1-{}-{}.log", config.minutes, config.sensors));
    if !log.exists() {
        // Under its name it is whole.
        let unnamed = log.with_extension("unfinished");
        let _ = std::fs::remove_dir_all(&unnamed);
        let targets = Targets { log: Some(unnamed.clone()), ..Targets::default() };
        write(config, &targets, &AtomicBool::new(false), |_| {}).expect("the workload can be recorded");
        std::fs::rename(&unnamed, &log).expect("it was just written");
    }
    log
}

fn run_command(log: &Path, state: &Path, every: u64) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gridflow"));
    command.args(["run", "--until-end", "--workers", "1", "--json", "--checkpoint-every", &every.to_string()]);
    command.arg("--from-log").arg(log).arg("--state").arg(state).stdout(Stdio::piped());
    command
}

fn summary(command: &mut Command) -> Value {
    let output = command.output().expect("the binary is built");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one line of JSON")
}

/// Names and sizes of the files below a directory.
fn bytes_below(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

/// Epochs of the whole checkpoints in a state directory.
fn checkpoints(state: &Path) -> Vec<u64> {
    let Ok(entries) = std::fs::read_dir(state.join("checkpoints")) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let epoch = |name: String| name.strip_suffix(".gfc")?.strip_prefix("checkpoint-")?.split('-').next()?.parse().ok();
    names.filter_map(epoch).collect()
}

/// Runs until the checkpoint of an epoch is there, and kills.
fn kill_behind(log: &Path, state: &Path, every: u64, epoch: u64) {
    let mut child = run_command(log, state, every).spawn().expect("the binary is built");
    while !checkpoints(state).contains(&epoch) {
        assert!(child.try_wait().expect("it was started").is_none(), "it ended before its checkpoint of epoch {epoch}");
        std::thread::sleep(LOOK);
    }
    child.kill().expect("it still runs");
    child.wait().expect("it was started");
}

/// Starts a killed run again: its summary, and seconds from the start of the process to the first new bytes of output.
fn start_again(log: &Path, state: &Path, every: u64) -> (Value, f64) {
    let out = state.join("out");
    let before = bytes_below(&out);
    let watch = Stopwatch::start();
    let mut child = run_command(log, state, every).spawn().expect("the binary is built");
    // A torn end is cut off first: what counts is growth beyond what there was.
    while bytes_below(&out) <= before && child.try_wait().expect("it was started").is_none() {
        std::thread::sleep(LOOK);
    }
    let first_output = watch.elapsed().as_secs_f64();
    let output = child.wait_with_output().expect("it was started");
    assert!(output.status.success(), "the run that was started again failed");
    (serde_json::from_slice(&output.stdout).expect("one line of JSON"), first_output)
}

/// What a straight run and one that was killed and started again came to.
struct Found {
    straight: Value,
    again: Value,
    first_output: f64,
}

fn measure(log: &Path, every: u64) -> Found {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let (straight_state, state) = (dir.path().join("straight"), dir.path().join("killed"));
    let straight = summary(&mut run_command(log, &straight_state, every));
    let number = |name: &str| straight[name].as_u64().expect("a summary has it");
    // Epochs are a second; the first one counts.
    let last_periodic = number("first_epoch") + (number("epochs") / every * every - 1) * 1_000;
    kill_behind(log, &state, every, last_periodic);
    let (again, first_output) = start_again(log, &state, every);
    assert_eq!(again["resumed_from"].as_u64(), Some(last_periodic), "it went on from another checkpoint");
    assert_eq!(again["digest"], straight["digest"], "killed and started again, it tells something else");
    Found { straight, again, first_output }
}

fn main() {
    if !is_measuring() {
        // Under `cargo test` outputs must be the same.
        let found = measure(&log(WorkloadConfig { minutes: 1, sensors: 300, ..WorkloadConfig::default() }), 60);
        assert!(found.again["first_sealed_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0));
        return;
    }
    let arguments = Arguments::parse();
    let judged = is_quiet() || arguments.judge;
    println!("{}{}", line(), if judged { "" } else { "; not quiet: CPU time is told, not judged" });
    let config = WorkloadConfig { minutes: arguments.minutes, ..WorkloadConfig::default() };
    let log = log(config);
    let Found { straight, again, first_output } = measure(&log, arguments.checkpoint_every);
    let number = |summary: &Value, name: &str| summary[name].as_f64().unwrap_or(f64::NAN);
    let rows = number(&straight, "rows") * 1e-6;
    println!(
        "straight run: {rows:.2} M rows, {:.1} CPU-s, {:.1} s, peak memory {:.0} MB, {} checkpoints, the last of {:.1} MB, feeding stood for at most {:.0} ms",
        number(&straight, "cpu_seconds"),
        number(&straight, "seconds"),
        number(&straight, "peak_memory_bytes") * 1e-6,
        straight["checkpoints"],
        number(&straight, "checkpoint_bytes") * 1e-6,
        number(&straight, "save_ms_max")
    );
    let start = number(&again, "start_seconds");
    println!(
        "killed and started again: first epoch after {start:.2} s, first new output after {first_output:.2} s, {:.1} CPU-s to the end, peak memory {:.0} MB, the same digest",
        number(&again, "cpu_seconds"),
        number(&again, "peak_memory_bytes") * 1e-6
    );
    let mut replay = Command::new(env!("CARGO_BIN_EXE_gridflow"));
    let replayed = summary(replay.arg("replay").arg(&log).args(["--workers", "1", "--json"]));
    assert_eq!(replayed["digest"], straight["digest"], "a replay tells something else than the run");
    let cpu = number(&replayed, "cpu_seconds");
    println!(
        "full replay: {cpu:.1} CPU-s, {:.1} s, peak memory {:.0} MB",
        number(&replayed, "seconds"),
        number(&replayed, "peak_memory_bytes") * 1e-6
    );
    // REQ: PLAT-02
    assert!(start <= 2.0, "going on took {start:.2} s");
    assert!(!judged || cpu <= 25.0 * rows / 60.0, "{cpu:.1} CPU-s for {rows:.1} M rows");
}
