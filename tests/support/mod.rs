//! What the system tests share: recorded demo logs, replays into directories, comparison byte by byte.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use gridflow::engine::EngineConfig;
use gridflow::recording::record;
use gridflow::replay::{ReplayConfig, ReplaySummary, replay};
use gridflow::simulate::Simulation;
use gridflow_inputs::log::{Header, LogReader, LogWriter, Options, Sync};
use gridflow_inputs::{Epoch, Input};
use gridflow_operators::decision::{Output, Stream};

/// An empty directory that goes when the test ends.
pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target directory can be written")
}

/// Records the demo region.
pub fn record_demo(dir: &Path, minutes: u32, seed: u64) {
    let file = gridflow::demo::network().expect("the embedded network is whole");
    let region = file.name.clone();
    let mut simulation = Simulation::new(gridflow::demo::simulation(minutes, seed), file, None).expect("the demo can be simulated");
    record(&mut simulation, &region, dir, &AtomicBool::new(false), |_| {}).expect("the demo can be recorded");
}

/// All epochs of a log.
pub fn epochs(dir: &Path) -> Vec<(Epoch, Vec<Input>)> {
    LogReader::open(dir)
        .expect("the log is there")
        .map(|batch| batch.expect("the log is whole"))
        .map(|batch| (batch.epoch, batch.iter().map(|(_, row)| row).collect()))
        .collect()
}

/// Writes epochs as a log.
pub fn write_log(dir: &Path, epochs: &[(Epoch, Vec<Input>)]) {
    let mut writer =
        LogWriter::create(dir, Header::input("demo"), Options { sync: Sync::OnClose, ..Options::default() }).expect("a new log");
    for (epoch, rows) in epochs {
        writer.append_epoch(*epoch, rows).expect("epochs increase");
    }
    writer.close().expect("the log can be closed");
}

/// Replays a log into `out`.
pub fn replay_into(log: &Path, out: &Path, engine: EngineConfig) -> ReplaySummary {
    let config = ReplayConfig { log: log.to_owned(), engine, out: Some(out.to_owned()), ..ReplayConfig::default() };
    replay(&config, &AtomicBool::new(false), &mut ()).expect("the log can be replayed")
}

/// An engine with so many workers.
pub fn workers(workers: usize) -> EngineConfig {
    EngineConfig { workers, ..EngineConfig::default() }
}

/// Addresses on loopback that are free just now, as `--hosts` takes them.
pub fn free_hosts(count: usize) -> String {
    let listeners: Vec<_> = (0..count).map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has ports")).collect();
    let hosts = listeners.iter().map(|listener| listener.local_addr().expect("it is bound").to_string());
    hosts.collect::<Vec<_>>().join(",")
}

/// Every file below a directory, by its path there.
pub fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(root: &Path, dir: &Path, into: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in std::fs::read_dir(dir).expect("the directory can be read") {
            let path = entry.expect("its entries too").path();
            if path.is_dir() {
                walk(root, &path, into);
            } else {
                into.insert(path.strip_prefix(root).expect("below").to_owned(), std::fs::read(&path).expect("the file can be read"));
            }
        }
    }
    let mut into = BTreeMap::new();
    walk(dir, dir, &mut into);
    into
}

/// Asserts that two output directories hold the same bytes.
pub fn assert_same_bytes(left: &Path, right: &Path, what: &str) {
    let (left, right) = (files(left), files(right));
    assert_eq!(left.keys().collect::<Vec<_>>(), right.keys().collect::<Vec<_>>(), "{what}: other files");
    for (path, bytes) in &left {
        assert!(bytes == &right[path], "{what}: {} differs", path.display());
    }
}

/// An epoch of a stream: its changes.
pub type Changes = Vec<(Output, i64)>;

/// The changelog of a stream.
pub fn changelog(out: &Path, stream: Stream) -> BTreeMap<Epoch, Changes> {
    gridflow::journal::read_stream(out, stream).expect("the stream is there").map(|epoch| epoch.expect("the stream is whole")).collect()
}

/// What holds at the end of a changelog.
pub fn state(changelog: &BTreeMap<Epoch, Changes>) -> BTreeMap<Output, i64> {
    let mut state = BTreeMap::new();
    for (row, change) in changelog.values().flatten() {
        *state.entry(row.clone()).or_insert(0) += change;
    }
    state.retain(|_, count| *count != 0);
    assert!(state.values().all(|count| *count == 1), "a row holds once or not at all");
    state
}

/// Where real networks and series stand, if they do.
pub fn data() -> Option<PathBuf> {
    #[allow(clippy::disallowed_methods, reason = "where data stands is no row of the log")]
    let dir = std::env::var("GRIDFLOW_DATA").map_or_else(|_| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    if dir.is_dir() {
        return Some(dir);
    }
    println!("skipped: no data at {}", dir.display());
    None
}
