//! Commands on a network file: what `power-flow` and `what-if` print, their exit codes, and what becomes of files that make no
//! sense.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gridflow_inputs::Input;
use gridflow_inputs::matpower::IEEE14;
use gridflow_operators::decision::{Output as Told, Stream};
use serde_json::Value;

use crate::support::{changelog, epochs, replay_into, scratch, state, workers};

fn gridflow(command: &str, case: &Path, options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gridflow")).arg(command).arg(case).args(options).output().expect("the binary is built")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it was not killed")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", errors(output)))
}

/// The embedded network with pieces of its text replaced.
fn written(dir: &Path, name: &str, replacements: &[(&str, &str)]) -> PathBuf {
    let mut text = IEEE14.to_owned();
    for (from, to) in replacements {
        assert!(text.contains(from), "{from:?} is not in the file");
        text = text.replacen(from, to, 1);
    }
    let path = dir.join(name);
    std::fs::write(&path, text).expect("scratch can be written");
    path
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

// REQ: GRID-14, GRID-31
#[test]
fn a_power_flow_has_the_published_numbers_under_the_stated_keys() {
    let dir = scratch();
    let case = written(dir.path(), "case14.m", &[]);
    let output = gridflow("power-flow", &case, &["--json", "--repeat", "3"]);
    assert_eq!(code(&output), 0, "{}", errors(&output));
    let found = json(&output);
    assert_eq!(found["converged"], true);
    assert!(found["iterations"].is_u64() && number(&found["max_mismatch_pu"]) <= 1e-8 && number(&found["seconds_solve"]) > 0.0);
    assert!((number(&found["losses_mw"]) - 13.393).abs() <= 5e-4);
    let buses = found["buses"].as_array().expect("a list");
    assert_eq!(buses.len(), 14);
    assert!((number(&buses[13]["va_deg"]) + 16.034).abs() <= 5e-4 && (number(&buses[0]["vm_pu"]) - 1.06).abs() < 1e-12);
    let branches = found["branches"].as_array().expect("a list");
    assert_eq!((branches.len(), &branches[9]["branch"]), (20, &Value::from(10)));
    let leaving: f64 = branches.iter().map(|branch| number(&branch["p_from_mw"]) + number(&branch["p_to_mw"])).sum();
    assert!((leaving - number(&found["losses_mw"])).abs() < 1e-9);
    for key in ["q_from_mvar", "q_to_mvar", "loading_percent"] {
        assert!(branches[0][key].is_number(), "{key}");
    }
    let text = gridflow("power-flow", &case, &[]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    for part in ["14 buses, 20 branches", "losses 13.4 MW", "lowest voltages", "loading"] {
        assert!(text.contains(part), "{text}");
    }
}

// REQ: GRID-19
#[test]
fn options_change_the_model_and_not_the_keys() {
    let dir = scratch();
    let case = written(dir.path(), "case14.m", &[]);
    let base = json(&gridflow("power-flow", &case, &["--json"]));
    let flat = json(&gridflow("power-flow", &case, &["--json", "--flat"]));
    let fast = json(&gridflow("power-flow", &case, &["--json", "--fast-decoupled"]));
    for other in [&flat, &fast] {
        for (a, b) in base["buses"].as_array().expect("a list").iter().zip(other["buses"].as_array().expect("a list")) {
            assert!((number(&a["vm_pu"]) - number(&b["vm_pu"])).abs() < 1e-7);
        }
    }
    let dc = json(&gridflow("power-flow", &case, &["--json", "--dc"]));
    assert_eq!((&dc["model"], number(&dc["losses_mw"])), (&Value::from("dc"), 0.0));
    assert_eq!(dc["branches"].as_array().map(Vec::len), Some(20));
    let spread = json(&gridflow("power-flow", &case, &["--json", "--distributed-slack"]));
    let moved = |found: &Value, unit: usize| number(&found["units"][unit]["p_mw"]);
    assert!((moved(&base, 1) - 40.0).abs() < 1e-9 && (moved(&spread, 1) - 40.0).abs() > 1e-9);
    // The unit at bus 2 gives 42 Mvar by itself.
    let tight = written(dir.path(), "tight.m", &[("2\t40\t42.4\t50\t-40", "2\t40\t42.4\t30\t-40")]);
    let limited = json(&gridflow("power-flow", &tight, &["--json", "--q-limits"]));
    assert!((number(&limited["units"][1]["q_mvar"]) - 30.0).abs() < 1e-3);
    assert_eq!(limited["limited_buses"], Value::from(vec![2]));
    assert!(number(&limited["buses"][1]["vm_pu"]) < 1.045);
    assert_eq!(code(&gridflow("power-flow", &case, &["--dc", "--flat"])), 2);
    assert_eq!(code(&gridflow("power-flow", &case, &["--repeat", "0"])), 2);
}

#[test]
fn a_case_without_solution_exits_with_4_and_names_mismatch_bus_and_iteration() {
    let dir = scratch();
    let heavy = written(dir.path(), "heavy.m", &[("\t14\t1\t14.9\t5\t", "\t14\t1\t1490\t500\t")]);
    let output = gridflow("power-flow", &heavy, &["--json"]);
    assert_eq!(code(&output), 4);
    let found = json(&output);
    assert_eq!(found["converged"], false);
    assert!(found["iterations"].is_u64() && found["worst_bus"].is_u64());
    assert!(errors(&output).contains("iterations") && errors(&output).contains("bus"), "{}", errors(&output));
    assert_eq!(code(&gridflow("what-if", &heavy, &["--open", "1"])), 4);
}

#[test]
fn contradictory_files_are_an_error_that_names_the_thing_or_are_treated_as_documented() {
    let dir = scratch();
    let line = "\t2\t3\t0.04699\t0.19797";
    // (what, replacements, exit code, words of the message)
    type Bad<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);
    let refused: [Bad; 7] = [
        ("two references", &[("\t2\t2\t21.7", "\t2\t3\t21.7")], &["buses 1 and 2", "reference"]),
        ("negative rating", &[("0.0438\t105", "0.0438\t-105")], &["-105", "branch"]),
        ("negative ratio", &[("0.978", "-0.978")], &["ratio", "negative"]),
        ("no number", &[(line, "\t2\t3\tNaN\t0.19797")], &["NaN"]),
        ("duplicate bus", &[("\t14\t1\t14.9", "\t13\t1\t14.9")], &["13", "earlier bus"]),
        ("unknown bus", &[(line, "\t2\t33\t0.04699\t0.19797")], &["33"]),
        ("a tap without impedance", &[("\t4\t7\t0\t0.20912", "\t4\t7\t0\t0")], &["branch 8", "impedance"]),
    ];
    for (what, replacements, words) in refused {
        let case = written(dir.path(), "bad.m", replacements);
        let output = gridflow("power-flow", &case, &["--json"]);
        assert_eq!(code(&output), 3, "{what}: {}", errors(&output));
        let message = errors(&output);
        assert!(message.contains("bad.m"), "{what}: {message}");
        words.iter().for_each(|word| assert!(message.contains(word), "{what}: {message}"));
    }

    // Isolated: left out, with its load and lines. No reference: one at the largest unit.
    let isolated = written(dir.path(), "isolated.m", &[("\t14\t1\t14.9", "\t14\t4\t14.9")]);
    let found = json(&gridflow("power-flow", &isolated, &["--json"]));
    assert_eq!((found["buses"].as_array().map(Vec::len), found["branches"].as_array().map(Vec::len)), (Some(13), Some(18)));
    let without = written(dir.path(), "without.m", &[("\t1\t3\t0\t0", "\t1\t2\t0\t0")]);
    assert_eq!(json(&gridflow("power-flow", &without, &["--json"]))["islands"][0]["reference"], 1);
    // A tap of 0 is a tap of 1.
    let tap = |text: &str| {
        let case = written(dir.path(), "tap.m", &[("\t0.978\t", text)]);
        json(&gridflow("power-flow", &case, &["--json"]))["buses"].clone()
    };
    assert_eq!(tap("\t0\t"), tap("\t1\t"));
}

#[test]
fn a_branch_without_impedance_makes_its_ends_one_bus() {
    let dir = scratch();
    // Buses 9 and 10 as one, and the judge: an impedance that hardly is one (from a flat start: the start voltages of the file would
    // drive thousands of per unit through it).
    let merged = written(dir.path(), "merged.m", &[("\t9\t10\t0.03181\t0.08450", "\t9\t10\t0\t0")]);
    let nearly = written(dir.path(), "nearly.m", &[("\t9\t10\t0.03181\t0.08450", "\t9\t10\t0\t1e-7")]);
    let (found, judge) =
        (json(&gridflow("power-flow", &merged, &["--json"])), json(&gridflow("power-flow", &nearly, &["--json", "--flat"])));
    assert_eq!(found["merged_buses"], serde_json::json!([{ "bus": 10, "into": 9 }]));
    let buses = |found: &Value| found["buses"].as_array().expect("a list").clone();
    assert_eq!(buses(&found).len(), 14);
    for (a, b) in buses(&found).iter().zip(buses(&judge)) {
        assert_eq!(a["bus"], b["bus"]);
        assert!((number(&a["vm_pu"]) - number(&b["vm_pu"])).abs() < 1e-6, "{a} {b}");
    }
    assert_eq!(found["branches"].as_array().map(Vec::len), Some(19));
    // What is recorded keeps its buses, with a switch in the branch's place, under the number of its breaker.
    let log = dir.path().join("log");
    let output = gridflow("import", &merged, &["--out", log.to_str().expect("UTF-8")]);
    assert_eq!(code(&output), 0, "{}", errors(&output));
    let rows: Vec<Input> = epochs(&log).into_iter().flat_map(|(_, rows)| rows).collect();
    let joints = rows.iter().filter_map(|row| if let Input::NodeSwitch(row) = row { Some(row) } else { None });
    let joints: Vec<_> = joints.map(|row| (row.id.0, row.from.0, row.to.0, row.normally_closed)).collect();
    assert_eq!(joints, [(16, 9, 10, true)]);
    assert!(rows.iter().all(|row| !matches!(row, Input::Branch(row) if row.id.0 == 16)));
    assert!(rows.iter().all(|row| !matches!(row, Input::Switch(row) if row.id.0 == 16)));
    assert_eq!(rows.iter().filter(|row| matches!(row, Input::Bus(_))).count(), 14);
    let out = dir.path().join("out");
    replay_into(&log, &out, workers(1));
    let assigned: Vec<_> = state(&changelog(&out, Stream::BusAssignment)).into_keys().collect();
    assert!(matches!(&assigned[..], [Told::BusAssignment(row)] if (row.node.0, row.bus.0) == (10, 9)), "{assigned:?}");
    // A tap and no impedance can be neither.
    let tapped = written(dir.path(), "tapped.m", &[("\t9\t10\t0.03181\t0.08450\t0\t18\t20\t23\t0", "\t9\t10\t0\t0\t0\t18\t20\t23\t0.95")]);
    let output = gridflow("import", &tapped, &[]);
    assert_eq!(code(&output), 3);
    assert!(errors(&output).contains("branch 16") && errors(&output).contains("no impedance"), "{}", errors(&output));
}

// REQ: GRID-04, GRID-05, SHED-10, SHED-19
#[test]
fn what_if_compares_before_and_after_and_exits_with_4_when_something_breaks() {
    let dir = scratch();
    let case = written(dir.path(), "case14.m", &[]);
    let nothing = gridflow("what-if", &case, &["--json"]);
    assert_eq!(code(&nothing), 0, "{}", errors(&nothing));
    assert_eq!(json(&nothing)["secure"], true);

    // Bus 8 and its unit hang on branch 14; bus 14 on branches 17 and 20.
    let output = gridflow("what-if", &case, &["--open", "17", "20", "--scale-load", "1.05", "--scale-generation", "1.05", "--json"]);
    assert_eq!(code(&output), 4, "{}", errors(&output));
    let found = json(&output);
    assert_eq!(found["secure"], false);
    assert!((number(&found["lost_load_mw"]) - 14.9 * 1.05).abs() < 1e-9);
    assert_eq!(found["after"]["islands"][1]["energised"], false);
    let text = gridflow("what-if", &case, &["--open", "1", "--outage-unit", "2"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    for part in ["before", "after", "newly broken", "insecure"] {
        assert!(text.contains(part), "{text}");
    }
    let dc = gridflow("what-if", &case, &["--open", "1", "--dc", "--json"]);
    assert!(json(&dc)["new_violations"].as_array().is_some_and(|list| list.iter().all(|found| found["kind"] != "bus")));

    let missing = gridflow("what-if", &case, &["--open", "21"]);
    assert_eq!(code(&missing), 3);
    assert!(errors(&missing).contains("branch 21"), "{}", errors(&missing));
    assert_eq!(code(&gridflow("what-if", &case, &["--scale-load", "-1"])), 2);
    let collapse = gridflow("what-if", &case, &["--scale-load", "20", "--json"]);
    assert_eq!((code(&collapse), &json(&collapse)["after"]["converged"]), (4, &Value::from(false)));
}
