//! The command line: exit codes, messages, JSON.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::{record_demo, scratch};

fn gridflow(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gridflow")).args(arguments).output().expect("the binary is built")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it was not killed")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("scratch paths are plain")
}

#[test]
fn usage_errors_exit_with_2_and_name_the_mistake() {
    for arguments in [
        &["replay"][..],
        &["frobnicate"],
        &["replay", "x", "--workers", "0"],
        &["replay", "x", "--from", "9", "--to", "3"],
        &["replay", "x", "--pace", "-1"],
        &["workload", "--minutes", "1"],
        &["workload", "--minutes", "0", "--csv", "x"],
        &["workload", "--minutes", "1", "--csv", "x", "--epoch-ms", "0"],
    ] {
        let output = gridflow(arguments);
        assert_eq!(code(&output), 2, "{arguments:?}: {}", errors(&output));
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn bad_input_exits_with_3_and_names_file_and_place() {
    let dir = scratch();
    let missing = dir.path().join("nowhere");
    let output = gridflow(&["replay", text(&missing)]);
    assert_eq!(code(&output), 3);
    assert!(errors(&output).contains("nowhere"), "{}", errors(&output));

    let network = dir.path().join("bad.m");
    std::fs::write(&network, "function mpc = bad\nmpc.version = '2';\nmpc.baseMVA = 100;\nmpc.bus = [\n\t1 3 x 0;\n];\n")
        .expect("scratch can be written");
    let out = dir.path().join("log");
    let output = gridflow(&["simulate", "--network", text(&network), "--minutes", "1", "--seed", "1", "--out", text(&out)]);
    assert_eq!(code(&output), 3);
    let message = errors(&output);
    assert!(message.contains("bad.m") && message.contains('5'), "{message}");

    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).expect("scratch can be written");
    assert_eq!(code(&gridflow(&["replay", text(&empty)])), 3);
    assert_eq!(code(&gridflow(&["inspect", text(&empty)])), 3);
}

#[test]
fn a_file_that_is_not_there_is_named_with_the_cause_once() {
    for arguments in [&["power-flow", "missing.m"][..], &["contingency", "missing.m"], &["replay", "missing.log"]] {
        let output = gridflow(arguments);
        assert_eq!(code(&output), 3, "{arguments:?}: {}", errors(&output));
        let errors = errors(&output);
        assert!(errors.contains(arguments[1]) && errors.matches("No such file").count() <= 1, "{errors}");
    }
}

#[test]
fn replay_verifies_against_earlier_outputs_and_names_the_first_difference() {
    let dir = scratch();
    let (log, other, out) = (dir.path().join("log"), dir.path().join("other"), dir.path().join("out"));
    record_demo(&log, 2, 1);
    record_demo(&other, 2, 2);
    let output = gridflow(&["replay", text(&log), "--workers", "1", "--out", text(&out), "--json"]);
    assert_eq!(code(&output), 0, "{}", errors(&output));
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    for field in ["rows", "epochs", "digest", "streams", "seconds"] {
        assert!(!summary[field].is_null(), "`{field}` is missing");
    }
    assert_eq!(summary["epochs"], 121);
    assert!(summary["streams"]["estimate"]["digest"].is_string());

    let same = gridflow(&["replay", text(&log), "--workers", "2", "--verify", text(&out)]);
    assert_eq!(code(&same), 0, "{}", errors(&same));
    let differs = gridflow(&["replay", text(&other), "--verify", text(&out), "--json"]);
    assert_eq!(code(&differs), 4);
    let summary: serde_json::Value = serde_json::from_slice(&differs.stdout).expect("one line of JSON");
    assert!(summary["difference"]["epoch"].is_u64() && summary["difference"]["stream"].is_string(), "{summary}");

    let again = gridflow(&["replay", text(&log), "--out", text(&out)]);
    assert_eq!(code(&again), 3, "outputs are not written over others");
}

#[test]
fn inspect_counts_a_log_and_finds_damage() {
    let dir = scratch();
    let log = dir.path().join("log");
    record_demo(&log, 1, 1);
    let output = gridflow(&["inspect", text(&log), "--json"]);
    assert_eq!(code(&output), 0);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    assert_eq!(found["epochs"], 61);
    let segment = log.join("segment-00000001.gfl");
    let mut bytes = std::fs::read(&segment).expect("the segment is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(&segment, bytes).expect("it can be written");
    assert_eq!(code(&gridflow(&["inspect", text(&log)])), 3);
    let output = gridflow(&["replay", text(&log)]);
    assert_eq!(code(&output), 3);
    assert!(errors(&output).contains("segment 1 is damaged"), "{}", errors(&output));
}

#[test]
fn a_workload_is_written_in_the_forms_asked_for_and_can_be_inspected() {
    let dir = scratch();
    let (log, csv) = (dir.path().join("log"), dir.path().join("w1.csv"));
    let arguments = ["workload", "--minutes", "1", "--sensors", "200", "--log", text(&log), "--csv", text(&csv), "--json"];
    let output = gridflow(&arguments);
    assert_eq!(code(&output), 0, "{}", errors(&output));
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    let lines = std::fs::read_to_string(&csv).expect("it was written").lines().count() as u64;
    assert_eq!(summary["records"], lines - 1);
    let output = gridflow(&["inspect", text(&log), "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    assert_eq!(found["rows"], summary["log_rows"]);
    // A log is never written over.
    assert_eq!(code(&gridflow(&arguments)), 3);
    let nowhere = dir.path().join("nowhere/w1.csv");
    let output = gridflow(&["workload", "--minutes", "1", "--sensors", "1", "--csv", text(&nowhere)]);
    assert_eq!(code(&output), 3);
    assert!(errors(&output).contains("nowhere"), "{}", errors(&output));
}

/// As `gridflow … | head -0`: nobody reads what is printed.
#[test]
fn a_reader_that_stops_listening_stops_no_command() {
    let dir = scratch();
    let (log, out, workload, demo) = (dir.path().join("log"), dir.path().join("out"), dir.path().join("w1"), dir.path().join("demo"));
    record_demo(&log, 1, 1);
    let network = dir.path().join("case14.m");
    std::fs::write(&network, gridflow_inputs::matpower::IEEE14).expect("scratch can be written");
    for arguments in [
        &["inspect", text(&log)][..],
        &["inspect", text(&log), "--json"],
        &["inspect", text(&log), "--rows", "100000"],
        &["replay", text(&log), "--out", text(&out)],
        &["replay", text(&log), "--json"],
        &["inspect", text(&out.join("window")), "--rows", "100000"],
        &["import", text(&network)],
        &["workload", "--minutes", "1", "--sensors", "20", "--log", text(&workload)],
        &["demo", "--minutes", "1", "--out", text(&demo)],
        &["--help"],
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_gridflow"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary is built");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(code(&output), 0, "{arguments:?}: {}", errors(&output));
        assert_eq!(errors(&output), "", "{arguments:?}");
    }
    // Complaints that nobody reads change no exit code either.
    let mut child = Command::new(env!("CARGO_BIN_EXE_gridflow"))
        .args(["replay", text(&dir.path().join("nowhere"))])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary is built");
    drop(child.stderr.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(3));
}

#[test]
fn output_that_is_lost_is_a_failure() {
    let dir = scratch();
    let log = dir.path().join("log");
    record_demo(&log, 1, 1);
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else {
        println!("skipped: no /dev/full here");
        return;
    };
    let output = Command::new(env!("CARGO_BIN_EXE_gridflow"))
        .args(["inspect", text(&log), "--json"])
        .stdout(full)
        .output()
        .expect("the binary is built");
    assert_eq!(code(&output), 5);
    assert!(errors(&output).contains("standard output"), "{}", errors(&output));
}
