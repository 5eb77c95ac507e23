//! Same log, same bits: any number of workers or processes, any pace, however long solves take.
//!
//! How it was checked that these tests can fail: see `DESIGN.md`, "Would the determinism tests notice?".

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use gridflow::engine::EngineConfig;
use support::{assert_same_bytes, record_demo, replay_into, scratch, workers};

/// Minutes of the log: a forecast, four dispatches, a breaker operation, an outage and a trip lie in it.
const MINUTES: u32 = 16;

/// The log and what one worker makes of it.
struct Reference {
    _dir: tempfile::TempDir,
    log: PathBuf,
    one: PathBuf,
}

/// Recorded and replayed once: the tests only read it.
fn reference() -> &'static Reference {
    static REFERENCE: OnceLock<Reference> = OnceLock::new();
    REFERENCE.get_or_init(|| {
        let dir = scratch();
        let (log, one) = (dir.path().join("log"), dir.path().join("one"));
        record_demo(&log, MINUTES, 7);
        let summary = replay_into(&log, &one, workers(1));
        for stream in ["estimate", "topology", "window", "kpi", "forecast", "dispatch", "price", "storage", "contingency", "constraint"] {
            assert!(summary.summary.streams[stream].rows > 0, "a log that exercises nothing in `{stream}` shows nothing");
        }
        Reference { _dir: dir, log, one }
    })
}

fn assert_no_byte_changes(runs: impl IntoIterator<Item = (&'static str, EngineConfig)>) {
    let Reference { log, one, .. } = reference();
    for (what, engine) in runs {
        let dir = scratch();
        let out = dir.path().join("out");
        replay_into(log, &out, engine);
        assert_same_bytes(one, &out, what);
    }
}

// REQ: PLAT-37
#[test]
fn workers_change_no_byte() {
    assert_no_byte_changes([("two workers", workers(2)), ("three workers", workers(3)), ("four workers", workers(4))]);
}

// REQ: PLAT-37, PLAT-39
#[test]
fn delayed_solves_change_no_byte() {
    assert_no_byte_changes([
        ("one worker, solves delayed", EngineConfig { delay_seed: Some(1), ..workers(1) }),
        ("three workers, solves delayed", EngineConfig { delay_seed: Some(2), ..workers(3) }),
    ]);
}

// REQ: PLAT-39
#[test]
fn pace_changes_no_byte() {
    assert_no_byte_changes([("two workers, paced", EngineConfig { pace: Some(120.0), ..workers(2) })]);
}

#[test]
fn the_same_seed_records_the_same_bytes() {
    let dir = scratch();
    for (name, seed) in [("a", 3), ("b", 3), ("c", 4)] {
        record_demo(&dir.path().join(name), 2, seed);
    }
    assert_same_bytes(&dir.path().join("a"), &dir.path().join("b"), "seed 3 twice");
    assert_ne!(support::files(&dir.path().join("a")), support::files(&dir.path().join("c")));
}

/// The digests of a recorded log and of its outputs, as text: a change of any bit of either shows in a review.
/// `GRIDFLOW_BLESS=1` rewrites them.
#[test]
fn the_golden_log_still_gives_its_golden_digests() {
    let Reference { log, one: out, .. } = reference();
    let mut text = String::new();
    for (path, bytes) in support::files(log).into_iter().filter(|(path, _)| path.extension().is_some_and(|extension| extension == "gfl")) {
        text += &format!("{} {}\n", blake3::hash(&bytes).to_hex(), path.display());
    }
    text += &std::fs::read_to_string(out.join(gridflow::journal::DIGESTS)).expect("a replay states its digests");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/determinism/golden.txt");
    #[allow(clippy::disallowed_methods, reason = "asks the person at the keyboard, not the log")]
    if std::env::var("GRIDFLOW_BLESS").is_ok() {
        std::fs::write(&golden, &text).expect("the golden file can be written");
    }
    assert_eq!(
        std::fs::read_to_string(&golden).expect("the golden file is part of the project"),
        text,
        "GRIDFLOW_BLESS=1 rewrites it, if the change is meant"
    );
}

// REQ: PLAT-38
#[test]
fn two_processes_on_loopback_change_no_byte() {
    let dir = scratch();
    let Reference { log, one, .. } = reference();
    let hosts = support::free_hosts(2);
    let out = dir.path().join("cluster");
    let start = |process: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gridflow"));
        command.arg("replay").arg(log).args(["--workers", "1", "--json", "--process", process, "--hosts", &hosts]);
        command.stdout(Stdio::null());
        if process == "0" {
            command.arg("--out").arg(&out);
        }
        command.spawn().expect("the binary is built")
    };
    let children = [start("0"), start("1")];
    for mut child in children {
        assert!(child.wait().expect("it was started").success(), "a process failed");
    }
    assert_same_bytes(one, &out, "two processes");
}
