//! A run that is stopped anywhere and started again gives the outputs of one that never stopped: none twice, none lost.
//!
//! Stopped means killed with SIGKILL at random moments, and aborted at each named place between two steps that belong
//! together (`src/failpoint.rs`). Judge: the output directory of a replay of the same log, byte by byte.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use gridflow_operators::decision::Stream;

use crate::nodes::{COUPLER, apart, moved};
use crate::support::{assert_same_bytes, changelog, epochs, files, free_hosts, record_demo, replay_into, scratch, workers, write_log};

/// A log and what one worker makes of it.
struct Reference {
    _dir: tempfile::TempDir,
    log: PathBuf,
    straight: PathBuf,
    digest: String,
}

/// Of 4, 8 or 16 minutes; recorded and replayed once: the tests only read it.
fn reference(minutes: u32) -> &'static Reference {
    static REFERENCES: [OnceLock<Reference>; 3] = [const { OnceLock::new() }; 3];
    let place = [4, 8, 16].iter().position(|known| *known == minutes).expect("one of these");
    REFERENCES[place].get_or_init(|| {
        let dir = scratch();
        let (log, straight) = (dir.path().join("log"), dir.path().join("straight"));
        record_demo(&log, minutes, 7);
        let digest = replay_into(&log, &straight, workers(1)).summary.digest;
        Reference { _dir: dir, log, straight, digest }
    })
}

/// A run of `log` with the state in `state`, up to the end of the log.
pub(crate) fn command(log: &Path, state: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gridflow"));
    command.arg("run").arg("--from-log").arg(log).arg("--state").arg(state).args(["--json"]).args(more);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn finish(log: &Path, state: &Path, more: &[&str]) -> serde_json::Value {
    let output = command(log, state, more).output().expect("the binary is built");
    assert!(output.status.success(), "{}", text(&output));
    serde_json::from_slice(&output.stdout).expect("one line of JSON")
}

fn text(output: &Output) -> String {
    format!("{:?}: {}", output.status, String::from_utf8_lossy(&output.stderr))
}

/// Waits for `child` at most so long; whether it ended.
fn ends_within(child: &mut Child, limit: Duration) -> bool {
    for _ in 0..limit.as_millis().div_ceil(10) {
        if child.try_wait().expect("it was started").is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

fn stderr(child: &mut Child) -> String {
    let mut text = String::new();
    child.stderr.take().expect("it is piped").read_to_string(&mut text).expect("it is text");
    text
}

/// Kills runs at random moments until so many were killed; each time a state has run to the end of the log its outputs
/// are compared and a new state is begun.
fn kill_at_random(kills: usize, seed: u64) {
    let dir = scratch();
    let Reference { log, straight, digest, .. } = reference(16);
    let mut random = seed;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let (mut killed, mut state_number) = (0, 0);
    while killed < kills {
        state_number += 1;
        let state = dir.path().join(format!("state-{state_number}"));
        let mut patience = 50;
        loop {
            let workers = (1 + next(3)).to_string();
            let every = (20 + next(200)).to_string();
            let mut child = command(log, &state, &["--until-end", "--workers", &workers, "--checkpoint-every", &every])
                .spawn()
                .expect("the binary is built");
            if killed < kills && !ends_within(&mut child, Duration::from_millis(5 + next(patience))) {
                child.kill().expect("it runs");
                child.wait().expect("it was started");
                killed += 1;
                // A machine that is slow just now gets further next time.
                patience += 40;
                continue;
            }
            let output = child.wait_with_output().expect("it was started");
            assert!(output.status.success(), "after {killed} kills: {}", text(&output));
            let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
            assert_eq!(summary["digest"], digest.as_str(), "after {killed} kills");
            break;
        }
        assert_same_bytes(straight, &state.join("out"), &format!("after {killed} kills"));
        std::fs::remove_dir_all(&state).expect("it is ours");
    }
}

// REQ: PLAT-39
#[test]
fn a_run_killed_at_random_goes_on_as_if_it_had_never_stopped() {
    kill_at_random(20, 3);
}

#[test]
#[ignore = "slow: 200 kills; run in release"]
fn a_run_killed_two_hundred_times_goes_on_as_if_it_had_never_stopped() {
    kill_at_random(200, 11);
}

#[test]
fn a_run_that_dies_between_two_steps_goes_on_as_if_it_had_not() {
    let dir = scratch();
    let Reference { log, straight, digest, .. } = reference(8);
    for (place, counts) in [
        ("output-torn", [1, 700]),
        ("output-appended", [300, 1_200]),
        ("checkpoint-begun", [1, 3]),
        ("checkpoint-written", [1, 2]),
        ("checkpoint-named", [1, 3]),
    ] {
        let state = dir.path().join(place);
        for count in counts {
            let fail_at = format!("{place}:{count}");
            let more = ["--until-end", "--workers", "2", "--checkpoint-every", "100", "--fail-at", &fail_at];
            let output = command(log, &state, &more).output().expect("the binary is built");
            // A second death may lie behind what is left of the log.
            assert!(count != counts[0] || !output.status.success(), "nothing was passed at {fail_at}");
        }
        let summary = finish(log, &state, &["--until-end", "--workers", "1"]);
        assert_eq!(summary["digest"], digest.as_str(), "{place}");
        assert_same_bytes(straight, &state.join("out"), place);
        assert!(!summary["resumed_from"].is_null() || place == "output-torn", "{place}: it began anew");
    }
}

#[test]
fn zeros_that_a_power_cut_left_behind_the_last_checkpoint_are_made_again() {
    let dir = scratch();
    let Reference { log, straight, .. } = reference(8);
    for (every, lost) in [("100", 200), ("10000", 5_000)] {
        let state = dir.path().join(format!("{every}-{lost}"));
        let more = ["--until-end", "--workers", "1", "--checkpoint-every", every, "--fail-at", "output-appended:700"];
        assert!(!command(log, &state, &more).output().expect("the binary is built").status.success());
        let window = state.join("out").join("window");
        let segment = files(&window).into_keys().find(|path| path.extension().is_some_and(|kind| kind == "gfl")).expect("it was begun");
        let mut bytes = std::fs::read(window.join(&segment)).expect("it can be read");
        let from = bytes.len() - lost;
        bytes[from..].fill(0);
        std::fs::write(window.join(&segment), &bytes).expect("it can be written");
        let summary = finish(log, &state, &["--until-end", "--workers", "1"]);
        assert_eq!(summary["resumed_from"].is_null(), every == "10000");
        assert_same_bytes(straight, &state.join("out"), &format!("{lost} bytes lost"));
    }
}

#[test]
fn a_log_that_grew_is_gone_on_with_by_any_number_of_workers() {
    let dir = scratch();
    let (whole, log) = (dir.path().join("whole"), dir.path().join("log"));
    record_demo(&whole, 12, 5);
    let all = epochs(&whole);
    let state = dir.path().join("state");
    // A dispatch is pending at some of these ends: 30 s before it takes effect.
    for (cut, workers) in [(120, "1"), (310, "3"), (320, "2"), (605, "4"), (606, "1"), (all.len(), "2")] {
        let _ = std::fs::remove_dir_all(&log);
        write_log(&log, &all[..cut]);
        let summary = finish(&log, &state, &["--until-end", "--workers", workers, "--checkpoint-every", "250"]);
        assert_eq!(summary["epochs"], cut, "over all restarts");
        let expected = dir.path().join(format!("cut-{cut}"));
        replay_into(&log, &expected, crate::support::workers(1));
        assert_same_bytes(&expected, &state.join("out"), &format!("{cut} epochs"));
    }
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_named() {
    let dir = scratch();
    let (Reference { log, straight, .. }, state) = (reference(4), dir.path().join("state"));
    finish(log, &state, &["--until-end", "--checkpoint-every", "100"]);
    let mut checkpoints: Vec<_> = files(&state.join("checkpoints")).into_keys().collect();
    checkpoints.sort();
    let newest = state.join("checkpoints").join(checkpoints.last().expect("there are checkpoints"));
    let mut bytes = std::fs::read(&newest).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&newest, bytes).expect("it can be changed");
    let summary = finish(log, &state, &["--until-end"]);
    assert_eq!(summary["unusable_checkpoints"].as_array().map(Vec::len), Some(1), "{summary}");
    assert!(!summary["resumed_from"].is_null(), "the one before it serves");
    assert_same_bytes(straight, &state.join("out"), "from the checkpoint before");
    // With none left, everything is made again and compared with what is there.
    std::fs::remove_dir_all(state.join("checkpoints")).expect("they can be removed");
    let summary = finish(log, &state, &["--until-end"]);
    assert!(summary["resumed_from"].is_null());
    assert_same_bytes(straight, &state.join("out"), "from the beginning");
}

#[test]
fn outputs_that_were_tampered_with_are_found_and_named() {
    let dir = scratch();
    let (log, other, state) = (dir.path().join("log"), dir.path().join("other"), dir.path().join("state"));
    record_demo(&log, 3, 5);
    record_demo(&other, 3, 6);
    finish(&log, &state, &["--until-end"]);
    std::fs::remove_dir_all(state.join("checkpoints")).expect("they can be removed");
    let output = command(&other, &state, &["--until-end"]).output().expect("the binary is built");
    assert_eq!(output.status.code(), Some(gridflow::EXIT_VERIFICATION), "{}", text(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("differs from what was written before"), "{}", text(&output));
}

#[test]
fn a_second_run_on_one_state_is_refused() {
    let dir = scratch();
    let (log, state) = (dir.path().join("log"), dir.path().join("state"));
    record_demo(&log, 1, 5);
    let mut first = command(&log, &state, &[]).spawn().expect("the binary is built");
    while !state.join("out/window/segment-00000001.gfl").exists() {
        assert!(first.try_wait().expect("it was started").is_none(), "it follows the log: {}", stderr(&mut first));
        std::thread::sleep(Duration::from_millis(10));
    }
    let second = command(&log, &state, &["--until-end"]).output().expect("the binary is built");
    assert_eq!(second.status.code(), Some(gridflow::EXIT_BAD_INPUT));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another process runs with the state at"), "{}", text(&second));
    first.kill().expect("it runs");
    first.wait().expect("it was started");
    finish(&log, &state, &["--until-end"]);
}

#[test]
fn a_state_of_another_log_is_refused() {
    let dir = scratch();
    let (log, state) = (dir.path().join("log"), dir.path().join("state"));
    record_demo(&log, 2, 5);
    finish(&log, &state, &["--until-end"]);
    let all = epochs(&log);
    let short = dir.path().join("short");
    write_log(&short, &all[..60]);
    let output = command(&short, &state, &["--until-end"]).output().expect("the binary is built");
    assert_eq!(output.status.code(), Some(gridflow::EXIT_BAD_INPUT));
    assert!(String::from_utf8_lossy(&output.stderr).contains("has no epoch"), "{}", text(&output));
    // Nor one that has the epoch, with other rows in it.
    let other = dir.path().join("other");
    record_demo(&other, 3, 6);
    let output = command(&other, &state, &["--until-end"]).output().expect("the binary is built");
    assert_eq!(output.status.code(), Some(gridflow::EXIT_BAD_INPUT));
    assert!(String::from_utf8_lossy(&output.stderr).contains("or another one"), "{}", text(&output));
}

#[cfg(unix)]
#[test]
fn ctrl_c_to_one_of_several_processes_stops_all_and_they_go_on_together() {
    let dir = scratch();
    let (Reference { log, straight, .. }, state) = (reference(4), dir.path().join("state"));
    let mut children = cluster(log, &state, 2, &["--checkpoint-every", "60"]);
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(Command::new("kill").args(["-INT", &children[1].id().to_string()]).status().is_ok_and(|status| status.success()));
    for child in &mut children {
        assert!(ends_within(child, Duration::from_secs(20)), "they wait for each other");
    }
    assert_eq!(children[1].wait().expect("it was started").code(), Some(gridflow::EXIT_INTERRUPTED));
    for child in cluster(log, &state, 2, &["--until-end"]) {
        let output = child.wait_with_output().expect("it was started");
        assert!(output.status.success(), "{}", text(&output));
    }
    assert_same_bytes(straight, &state.join("out"), "2 processes, one stopped");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_stops_the_run_with_the_last_good_epoch_and_it_goes_on_when_there_is_room() {
    let dir = scratch();
    let (Reference { log, straight, .. }, disk) = (reference(8), dir.path().join("disk"));
    std::fs::create_dir(&disk).expect("scratch can be written");
    let mount = |size: &str, more: &[&str]| {
        let size = format!("size={size}{}", if more.is_empty() { "" } else { ",remount" });
        Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&disk).output().is_ok_and(|output| output.status.success())
    };
    if !mount("300k", &[]) {
        println!("skipped: no file system of a given size can be mounted here");
        return;
    }
    let state = disk.join("state");
    let output = command(log, &state, &["--until-end", "--checkpoint-every", "100"]).output().expect("the binary is built");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    let larger = mount("64m", &["remount"]);
    let result = std::panic::catch_unwind(|| {
        assert_eq!(output.status.code(), Some(gridflow::EXIT_INTERNAL), "{message}");
        assert!(message.contains("No space left") || message.contains("os error 28"), "{message}");
        assert!(larger, "the file system can be given room");
        finish(log, &state, &["--until-end"]);
        assert_same_bytes(straight, &state.join("out"), "after there was room again");
    });
    assert!(Command::new("umount").arg(&disk).status().is_ok_and(|status| status.success()));
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// Starts a region as several processes.
fn cluster(log: &Path, state: &Path, processes: usize, more: &[&str]) -> Vec<Child> {
    let hosts = free_hosts(processes);
    let count = processes.to_string();
    (0..processes)
        .map(|process| {
            let index = process.to_string();
            let more: Vec<&str> =
                more.iter().copied().chain(["--workers", "1", "--processes", &count, "--process", &index, "--hosts", &hosts]).collect();
            command(log, state, &more).spawn().expect("the binary is built")
        })
        .collect()
}

// REQ: PLAT-38
#[test]
fn a_lost_process_stops_all_and_a_restart_goes_on_with_any_number_of_processes() {
    let dir = scratch();
    let (Reference { log, straight, .. }, state) = (reference(16), dir.path().join("state"));
    for (processes, victim) in [(2, 1), (4, 2), (2, 0)] {
        // They follow the log, so that none ends before one is lost.
        let mut children = cluster(log, &state, processes, &["--checkpoint-every", "60"]);
        std::thread::sleep(Duration::from_millis(1_500));
        children[victim].kill().expect("it runs");
        for (process, child) in children.iter_mut().enumerate() {
            assert!(ends_within(child, Duration::from_secs(20)), "process {process} of {processes} goes on without process {victim}");
            if process != victim {
                let code = child.wait().expect("it was started").code();
                assert_eq!(code, Some(gridflow::EXIT_INTERNAL), "process {process} of {processes}: {}", stderr(child));
            }
        }
    }
    for (process, child) in cluster(log, &state, 2, &["--until-end"]).into_iter().enumerate() {
        let output = child.wait_with_output().expect("it was started");
        assert!(output.status.success(), "process {process}: {}", text(&output));
    }
    assert_same_bytes(straight, &state.join("out"), "2, 4 and 2 processes, each time with one lost");
}

#[test]
fn processes_that_were_given_different_ends_stop_instead_of_waiting_for_ever() {
    let dir = scratch();
    let (log, short) = (dir.path().join("log"), dir.path().join("short"));
    record_demo(&log, 2, 7);
    write_log(&short, &epochs(&log)[..60]);
    let hosts = free_hosts(2);
    let start = |log: &Path, process: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gridflow"));
        command.arg("replay").arg(log).args(["--workers", "1", "--json", "--process", process, "--hosts", &hosts]);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary is built")
    };
    let mut children = [start(&log, "0"), start(&short, "1")];
    let mut said = String::new();
    for child in &mut children {
        assert!(ends_within(child, Duration::from_secs(30)), "they wait for each other");
        assert_eq!(child.wait().expect("it was started").code(), Some(gridflow::EXIT_INTERNAL));
        said += &stderr(child);
    }
    assert!(said.contains("the processes disagree"), "{said}");
}

// REQ: GRID-01
#[test]
fn a_coupler_that_is_open_when_a_run_dies_is_open_when_it_goes_on() {
    let dir = scratch();
    let recorded = dir.path().join("recorded");
    record_demo(&recorded, 6, 41);
    let mut all = epochs(&recorded);
    apart(&mut all[0].1);
    // Open from the second hundred of epochs on until behind the checkpoint at which the run dies.
    for (place, closed) in [(150, false), (290, true)] {
        let (epoch, rows) = &mut all[place];
        rows.push(moved(COUPLER, *epoch, closed));
    }
    let (log, straight, state) = (dir.path().join("log"), dir.path().join("straight"), dir.path().join("state"));
    write_log(&log, &all);
    let digest = replay_into(&log, &straight, workers(1)).summary.digest;
    let more = ["--until-end", "--workers", "2", "--checkpoint-every", "100", "--fail-at", "checkpoint-named:2"];
    let output = command(&log, &state, &more).output().expect("the binary is built");
    assert!(!output.status.success(), "it did not die");
    let summary = finish(&log, &state, &["--until-end", "--workers", "3"]);
    let resumed = summary["resumed_from"].as_u64().expect("it went on from a checkpoint");
    assert!((all[150].0..all[290].0).contains(&resumed), "{resumed}: the coupler is closed there");
    assert_eq!(summary["digest"], digest.as_str());
    assert_same_bytes(&straight, &state.join("out"), "resumed with an open coupler");
    let told: Vec<_> = changelog(&straight, Stream::BusAssignment).into_iter().map(|(epoch, rows)| (epoch, rows[0].1)).collect();
    assert_eq!(told, [(all[0].0, 1), (all[150].0, -1), (all[290].0, 1)]);
}
