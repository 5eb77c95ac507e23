//! `gridflow contingency`: exit codes, JSON, threads, lists.

use std::path::Path;
use std::process::{Command, Output};

use gridflow_inputs::Input;
use gridflow_inputs::network::EquipmentKind;

use crate::support::{data, epochs, scratch};

fn gridflow(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gridflow")).args(arguments).output().expect("the binary is built")
}

fn run(arguments: &[&str]) -> Output {
    gridflow(&[&["contingency"], arguments].concat())
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it was not killed")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", errors(output)))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("scratch paths are plain")
}

/// Three buses in a ring and one behind a bridge; the ring's lines are rated so that `rate` MVA is enough or not.
fn ring(rate: u32) -> String {
    format!(
        "function mpc = ring\nmpc.version = '2';\nmpc.baseMVA = 100;\nmpc.bus = [\n1 3 0 0 0 0 1 1 0 230 1 1.1 0.9;\n2 1 60 0 0 0 1 1 0 230 1 1.1 0.9;\n3 1 30 0 0 0 1 1 0 230 1 1.1 0.9;\n4 1 10 2 0 0 1 1 0 230 1 1.1 0.9;\n];\nmpc.gen = [ 1 100 0 100 -100 1 100 1 200 0; ];\nmpc.branch = [\n1 2 0.01 0.1 0 {rate} 0 0 0 0 1 -360 360;\n2 3 0.01 0.1 0 {rate} 0 0 0 0 1 -360 360;\n1 3 0.01 0.1 0 {rate} 0 0 0 0 1 -360 360;\n3 4 0.01 0.1 0 {rate} 0 0 0 0 1 -360 360;\n];\nmpc.gencost = [ 2 0 0 2 10 0; ];\n"
    )
}

#[test]
fn a_file_without_a_reference_bus_gets_one_at_its_largest_unit() {
    let dir = scratch();
    let path = dir.path().join("ring.m");
    std::fs::write(&path, ring(80)).expect("scratch can be written");
    let stated = run(&[text(&path), "--json"]);
    std::fs::write(&path, ring(80).replace("1 3 0 0 0 0", "1 2 0 0 0 0")).expect("scratch can be written");
    let chosen = run(&[text(&path), "--json"]);
    assert!(errors(&chosen).contains("no bus is a reference bus"), "{}", errors(&chosen));
    assert_eq!(json(&stated)["outages"], json(&chosen)["outages"]);
}

// REQ: GRID-05, GRID-06, GRID-21
#[test]
fn outages_of_a_small_ring_are_told_as_they_can_be_worked_out_by_hand() {
    let dir = scratch();
    let path = dir.path().join("ring.m");
    std::fs::write(&path, ring(80)).expect("scratch can be written");
    let output = run(&[text(&path), "--json"]);
    assert_eq!(code(&output), 4, "{}", errors(&output));
    let found = json(&output);
    let outages = found["outages"].as_array().expect("a list");
    // Without 1-2 all 100 MW pass over 1-3; without 1-3 all over 1-2; without 2-3 60 and 40; without 3-4 the load of bus 4 is lost.
    let expected = [("overload", 125.0, 3, 0.0), ("secure", 75.0, 1, 0.0), ("overload", 125.0, 1, 0.0), ("islanded", 62.5, 1, 10.0)];
    assert_eq!(outages.len(), expected.len());
    for (number, (outage, (status, loading, worst, lost))) in outages.iter().zip(expected).enumerate() {
        assert_eq!(outage["branch"], number as u64 + 1);
        assert_eq!(outage["status"], status, "{outage}");
        assert!((outage["max_loading_percent"].as_f64().expect("a number") - loading).abs() < 1e-9, "{outage}");
        assert_eq!(outage["worst_branch"], worst, "{outage}");
        assert_eq!(outage["lost_load_mw"], lost, "{outage}");
    }
    assert_eq!((found["counts"]["outages"].as_u64(), found["counts"]["violating"].as_u64()), (Some(4), Some(2)));
    assert!(found["seconds_solve"].is_number());
    // Before any outage 1-2 carries (2 · 60 + 40) / 3 MW.
    let base = found["base"]["max_loading_percent"].as_f64().expect("a number");
    assert!((base - 160.0 / 3.0 / 0.8).abs() < 1e-9 && found["base"]["worst_branch"] == 1, "{found}");

    std::fs::write(&path, ring(200)).expect("scratch can be written");
    for method in ["--dc", "--ac"] {
        // With the only unit all is lost.
        let units = json(&run(&[text(&path), method, "--units", "--json"]));
        let lost = units["outages"][4]["lost_load_mw"].as_f64().expect("a number");
        assert!(units["outages"][4]["unit"] == 1 && (lost - 100.0).abs() < 1e-9, "{units}");
        let output = run(&[text(&path), method]);
        assert_eq!(code(&output), 0, "{}{}", String::from_utf8_lossy(&output.stdout), errors(&output));
        assert!(String::from_utf8_lossy(&output.stdout).contains("4 outages"));
    }
}

#[test]
fn threads_change_no_byte_and_screening_checks_the_worst() {
    let Some(data) = data() else { return };
    let path = data.join("matpower/case1354pegase.m");
    let all = |more: &[&str]| json(&run(&[&[text(&path), "--json"], more].concat()))["outages"].to_string();
    let one = all(&[]);
    assert_eq!(all(&["--threads", "3"]), one);
    let screened = ["--ac", "--screen", "30"];
    let checked = json(&run(&[&[text(&path), "--json"][..], &screened].concat()));
    let methods = checked["outages"].as_array().expect("a list").iter().filter(|outage| outage["method"] == "ac").count();
    assert_eq!(methods, 30);
    assert_eq!(all(&[&screened[..], &["--threads", "2"]].concat()), checked["outages"].to_string());
}

#[test]
fn lists_and_pairs_are_solved_and_bad_lists_named() {
    let dir = scratch();
    let (path, list) = (dir.path().join("ring.m"), dir.path().join("pairs.csv"));
    std::fs::write(&path, ring(80)).expect("scratch can be written");
    std::fs::write(&list, "# together\n1,3\n\n 2 , 4\n").expect("scratch can be written");
    let found = json(&run(&[text(&path), "--n2", text(&list), "--json"]));
    let outages = found["outages"].as_array().expect("a list");
    assert_eq!(outages.len(), 2);
    // Without 1-2 and 1-3 nothing reaches the loads; without 2-3 and 3-4 they are fed apart.
    let number = |outage: usize, field: &str| outages[outage][field].as_f64().expect("a number");
    assert!(outages[0]["status"] == "islanded" && (number(0, "lost_load_mw") - 100.0).abs() < 1e-9);
    assert_eq!(outages[0]["branches"].to_string(), "[1,3]");
    assert!((number(1, "lost_load_mw") - 10.0).abs() < 1e-9 && (number(1, "max_loading_percent") - 75.0).abs() < 1e-9);
    // A line beside the only unit: all is lost.
    std::fs::write(&list, "unit 1, 1\n3\n").expect("scratch can be written");
    let found = json(&run(&[text(&path), "--n2", text(&list), "--json"]));
    assert_eq!((&found["outages"][0]["unit"], &found["outages"][0]["status"]), (&1.into(), &"islanded".into()), "{found}");
    let log = dir.path().join("log");
    let arguments = ["import", text(&path), "--contingencies", text(&list), "--out", text(&log)];
    assert_eq!(code(&gridflow(&arguments)), 0);
    let rows = epochs(&log).into_iter().flat_map(|(_, rows)| rows);
    let named = rows.filter_map(|row| if let Input::ContingencyElement(row) = row { Some(row) } else { None });
    let named = Vec::from_iter(named.map(|row| (row.id, row.equipment, row.equipment_id, row.withdrawn)));
    let (branch, unit) = (EquipmentKind::Branch, EquipmentKind::Generator);
    assert_eq!(named, [(1, unit, 1, false), (1, branch, 1, false), (2, branch, 3, false)]);
    let pairs = json(&run(&[text(&path), "--pairs", "3", "--json"]));
    assert_eq!(pairs["counts"]["outages"], 4 + 3);

    for (content, place, problem) in [
        ("1,9\n", "line 1, field 2", "no branch in service"),
        ("1,2\n1,x\n", "line 2, field 2", "no number"),
        ("unit 2\n", "line 1, field 1", "no unit in service"),
    ] {
        std::fs::write(&list, content).expect("scratch can be written");
        let output = run(&[text(&path), "--n2", text(&list)]);
        assert_eq!(code(&output), 3);
        let message = errors(&output);
        assert!(message.contains("pairs.csv") && message.contains(place) && message.contains(problem), "{message}");
    }
}

// REQ: GRID-12
#[test]
fn a_cascade_is_told_stage_by_stage() {
    let dir = scratch();
    let path = dir.path().join("ring.m");
    std::fs::write(&path, ring(70)).expect("scratch can be written");
    let output = run(&[text(&path), "--cascade", "1", "--json"]);
    assert_eq!(code(&output), 4, "{}", errors(&output));
    // Without 1-2 all 100 MW pass over 1-3, 143 % of 70: it trips too, and the loads are dark.
    let found = json(&output);
    let stages = found["stages"].as_array().expect("a list");
    assert_eq!(stages.len(), 2, "{found}");
    assert_eq!((stages[0]["out"].to_string(), stages[1]["out"].to_string()), ("[1]".into(), "[3]".into()));
    assert!((stages[1]["shed_mw"].as_f64().expect("a number") - 100.0).abs() < 1e-9, "{found}");
    let output = run(&[text(&path), "--cascade", "1", "--trip", "150"]);
    assert_eq!(code(&output), 0, "{}", errors(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("stable after stage 1"));
    assert_eq!(code(&run(&[text(&path), "--cascade", "9"])), 3);
}

#[test]
fn command_lines_that_make_no_sense_and_files_that_are_wrong_are_refused() {
    let dir = scratch();
    let path = dir.path().join("ring.m");
    std::fs::write(&path, ring(80)).expect("scratch can be written");
    for arguments in [
        &["--dc", "--ac"][..],
        &["--screen", "5"],
        &["--threads", "0"],
        &["--rating", "daily"],
        &["--ac", "--voltage-band", "1.1,0.9"],
        &["--voltage-band", "0.9,1.1"],
    ] {
        assert_eq!(code(&run(&[&[text(&path)], arguments].concat())), 2, "{arguments:?}");
    }
    assert_eq!(code(&run(&[text(&dir.path().join("nowhere.m"))])), 3);
    std::fs::write(&path, ring(80).replace("1 2 0.01 0.1", "1 2 0.01 NaN")).expect("scratch can be written");
    let output = run(&[text(&path)]);
    assert_eq!(code(&output), 3);
    assert!(errors(&output).contains("ring.m, line 12"), "{}", errors(&output));
    // Without impedance its ends are one bus, and its outage is none that could be told of.
    std::fs::write(&path, ring(80).replace("1 2 0.01 0.1", "1 2 0 0")).expect("scratch can be written");
    let output = run(&[text(&path), "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    assert!(found["outages"].as_array().is_some_and(|outages| outages.iter().all(|outage| outage["branch"] != 1)), "{found}");
}
