//! Processes as a user meets them: Ctrl-C, a failing thread, a damaged end.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gridflow_inputs::matpower::IEEE14;

use crate::support::scratch;

/// A simulation that would take hours, on the embedded network.
fn long_simulation(dir: &Path, log: &Path) -> Child {
    let network = dir.join("ieee14.m");
    std::fs::write(&network, IEEE14).expect("scratch can be written");
    Command::new(env!("CARGO_BIN_EXE_gridflow"))
        .args(["simulate", "--minutes", "500000", "--seed", "1", "--network"])
        .arg(&network)
        .arg("--out")
        .arg(log)
        .stdout(Stdio::null())
        .spawn()
        .expect("the binary is built")
}

/// Waits until a file has grown beyond `bytes`.
fn wait_for(file: &Path, bytes: u64) {
    for _ in 0..600 {
        if std::fs::metadata(file).is_ok_and(|metadata| metadata.len() > bytes) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{} did not grow in 30 s", file.display());
}

fn inspect(log: &Path) -> serde_json::Value {
    let output = Command::new(env!("CARGO_BIN_EXE_gridflow")).arg("inspect").arg(log).arg("--json").output().expect("the binary is built");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one line of JSON")
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_a_whole_log() {
    let dir = scratch();
    let log = dir.path().join("log");
    let mut child = long_simulation(dir.path(), &log);
    wait_for(&log.join("segment-00000001.gfl"), 200_000);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("there is a kill").success());
    assert_eq!(child.wait().expect("it was started").code(), Some(gridflow::EXIT_INTERRUPTED));
    let found = inspect(&log);
    assert!(found["epochs"].as_u64() > Some(10));
    assert!(found["torn"].is_null() && found["damage"].is_null(), "{found}");
}

#[test]
fn a_killed_recorder_leaves_all_complete_epochs() {
    let dir = scratch();
    let log = dir.path().join("log");
    let mut child = long_simulation(dir.path(), &log);
    wait_for(&log.join("segment-00000001.gfl"), 200_000);
    child.kill().expect("it runs");
    child.wait().expect("it was started");
    let found = inspect(&log);
    assert!(found["epochs"].as_u64() > Some(10) && found["damage"].is_null(), "{found}");
}

/// Run by the test below in a process of its own: a worker thread that panics must take the process with it.
#[test]
#[ignore = "ends its process; run by a_panic_in_a_worker_ends_the_process_with_its_message"]
fn child_whose_worker_panics() {
    gridflow::engine::stop_process_on_panic();
    let guards = timely::execute(timely::Config::process(2), |worker| {
        assert!(worker.index() != 1, "island 7 has lost its marbles");
        // The other worker waits for a frontier that will never come, as it would in a region.
        loop {
            worker.step_or_park(Some(Duration::from_millis(5)));
        }
    });
    drop(guards);
}

#[test]
fn a_panic_in_a_worker_ends_the_process_with_its_message() {
    let test = std::env::current_exe().expect("a test knows itself");
    let output = Command::new(test)
        .args(["--ignored", "--exact", "processes::child_whose_worker_panics", "--nocapture"])
        .output()
        .expect("the test binary runs");
    assert_eq!(output.status.code(), Some(gridflow::EXIT_INTERNAL));
    assert!(String::from_utf8_lossy(&output.stderr).contains("island 7 has lost its marbles"));
}
