//! `gridflow estimate` from outside: exit codes, messages, JSON.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::{data, scratch};
use serde_json::Value;

fn gridflow(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_gridflow")).args(arguments).output().expect("the binary is built");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (status.code().expect("it was not killed"), text(&stdout), text(&stderr))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("scratch paths are plain")
}

fn json(out: &str) -> Value {
    serde_json::from_str(out).expect("one line of JSON")
}

/// Two buses and a line of x = 0.1: at V = 1 and 0 degrees, and V = 1 and -3 degrees, it carries 52.336 MW from bus 1 to bus 2.
const TWO_BUSES: &str = "function mpc = two
mpc.version = '2';
mpc.baseMVA = 100;
mpc.bus = [
    1 3 0 0 0 0 1 1.0 0 230 1 1.1 0.9;
    2 1 50 0 0 0 1 1.0 0 230 1 1.1 0.9;
];
mpc.gen = [ 1 0 0 100 -100 1.0 100 1 200 0; ];
mpc.branch = [ 1 2 0 0.1 0 0 0 0 0 0 1 -360 360; ];
";
const MEASURED: &str = "id,kind,element,side,value,sigma
a,vm,1,,1.0,0.01
b,vm,2,,1.0,0.01
c,p_flow,1,from,52.3359562,0.5
d,p_flow,1,to,-52.3359562,0.5
e,p_inj,2,,-52.3359562,1
f,q_inj,1,,1.3704652,1
";

#[test]
fn two_buses_are_estimated_by_hand() {
    let dir = scratch();
    let (network, file) = (dir.path().join("two.m"), dir.path().join("m.csv"));
    std::fs::write(&network, TWO_BUSES).expect("scratch can be written");
    std::fs::write(&file, MEASURED).expect("scratch can be written");
    let run = |more: &[&str]| gridflow(&[&["estimate", text(&network), "--measurements", text(&file)], more].concat());
    let (code, out, errors) = run(&["--json", "--repeat", "3"]);
    assert_eq!(code, 0, "{out} {errors}");
    let found = json(&out);
    assert_eq!((&found["observable"], &found["converged"]), (&Value::Bool(true), &Value::Bool(true)));
    let number = |value: &Value| value.as_f64().expect("a number");
    assert!(number(&found["objective"]) < 1e-8 && number(&found["seconds_solve"]) > 0.0, "{out}");
    assert_eq!(found["degrees_of_freedom"], 3);
    assert!((number(&found["chi2_threshold"]) - 11.345).abs() < 0.001);
    assert_eq!(found["buses"][1]["bus"], 2);
    assert!((number(&found["buses"][1]["va_deg"]) + 3.0).abs() < 1e-5 && (number(&found["buses"][1]["vm_pu"]) - 1.0).abs() < 1e-6);
    assert_eq!((&found["bad_data"], &found["unobservable_buses"]), (&Value::Array(vec![]), &Value::Array(vec![])));
    assert_eq!((&found["suspected_branches"], &found["suspected_taps"]), (&Value::Array(vec![]), &Value::Array(vec![])));
    // Two of the active powers check the third; of the voltages and Q each two determine the third.
    assert_eq!(found["critical_measurements"], Value::Array(vec![]));

    let (code, out, _) = run(&[]);
    assert_eq!(code, 0);
    assert!(out.contains("observable") && out.contains("-3.00000"), "{out}");

    // The same scan again, tracked.
    let (code, out, _) = run(&["--json", "--then", text(&file), text(&file)]);
    assert_eq!(code, 0);
    assert_eq!(json(&out)["scans"].as_array().expect("a list").len(), 2);
}

#[test]
fn without_an_estimate_what_was_tried_is_told() {
    let dir = scratch();
    let (network, file) = (dir.path().join("two.m"), dir.path().join("m.csv"));
    std::fs::write(&network, TWO_BUSES).expect("scratch can be written");
    // More than twice what the line can carry at these voltages, by all meters.
    let beyond = MEASURED.replace("52.3359562", "2500").replace(",0.01", ",0.0001");
    std::fs::write(&file, beyond).expect("scratch can be written");
    let run = |more: &[&str]| gridflow(&[&["estimate", text(&network), "--measurements", text(&file)], more].concat());
    let (code, out, errors) = run(&["--json"]);
    assert_eq!(code, 4, "{out} {errors}");
    let found = json(&out);
    assert_eq!(found["converged"], false, "{out}");
    assert!(found["unexplained"].as_str().is_some_and(|reason| reason.contains("no branch or tap")), "{out}");
    assert!(found["reason"].as_str().is_some_and(|reason| reason.contains("contradict")), "{out}");
    for nothing in ["buses", "unobservable_buses", "bad_data", "suspected_branches", "suspected_taps"] {
        assert_eq!(found[nothing], Value::Array(vec![]), "{nothing}: {out}");
    }
    for unknown in ["observable", "objective", "iterations", "degrees_of_freedom", "chi2_threshold"] {
        assert!(found[unknown].is_null(), "{unknown}: {out}");
    }
    // With two meters for each power against all physics there is no robust estimate either, and no meter to name.
    assert!(found["unexplained"].as_str().is_some_and(|reason| reason.contains("nor is there a robust one: no estimate after")), "{out}");
    assert_eq!(found["far_from_robust_estimate"], Value::Array(vec![]), "{out}");
    let (code, out, _) = run(&[]);
    assert!(code == 4 && out.contains("NOT CONVERGED") && out.contains("no branch or tap"), "{out}");
}

#[test]
fn bad_data_and_unobservable_buses_exit_with_4_and_are_named() {
    let dir = scratch();
    let (network, file) = (dir.path().join("two.m"), dir.path().join("m.csv"));
    std::fs::write(&network, TWO_BUSES).expect("scratch can be written");
    let estimate = |measured: &str, more: &[&str]| {
        std::fs::write(&file, measured).expect("scratch can be written");
        let (code, out, errors) = gridflow(&[&["estimate", text(&network), "--measurements", text(&file), "--json"], more].concat());
        assert!(code == 0 || code == 4, "{code}: {errors}");
        (code, json(&out))
    };
    let wrong = MEASURED.replace("d,p_flow,1,to,-52.3359562", "d,p_flow,1,to,-40");
    let (code, found) = estimate(&wrong, &[]);
    assert_eq!((code, &found["bad_data"][0]["id"]), (4, &Value::from("d")));
    assert!(found["bad_data"][0]["normalized_residual"].as_f64().expect("a number") > 10.0);
    assert_eq!(found["bad_data"].as_array().expect("a list").len(), 1);
    assert!(found["objective"].as_f64().expect("a number") < 1e-6);
    let (code, kept) = estimate(&wrong, &["--keep-bad-data"]);
    assert_eq!((code, &kept["degrees_of_freedom"]), (4, &Value::from(3)));
    assert!(kept["objective"].as_f64() > kept["chi2_threshold"].as_f64());
    let (code, robust) = estimate(&wrong, &["--robust"]);
    assert_eq!((code, &robust["bad_data"][0]["id"]), (4, &Value::from("d")));

    let few: String = MEASURED.lines().filter(|line| !line.contains(",p_")).fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{line}");
        text
    });
    let (code, found) = estimate(&few, &[]);
    assert_eq!((code, &found["observable"]), (4, &Value::Bool(false)));
    assert_eq!(found["unobservable_buses"], Value::from(vec![2]));
    assert_eq!(found["placements"][0]["kind"], "p_flow");
    assert_eq!(found["buses"][1], serde_json::json!({ "bus": 2, "vm_pu": null, "va_deg": null }), "a start value is no estimate");
    assert!(found["buses"][0]["vm_pu"].is_number());

    // A node of the bus is where its bus is.
    let nodes = TWO_BUSES.replace("0.9;\n];", "0.9;\n    3 1 0 0 0 0 1 1.0 0 230 1 1.1 0.9;\n];");
    let nodes = nodes.replace("-360 360; ]", "-360 360; 2 3 0 0 0 0 0 0 0 0 1 -360 360; ]");
    std::fs::write(&network, nodes).expect("scratch can be written");
    let (code, found) = estimate(&few, &[]);
    assert_eq!((code, &found["unobservable_buses"]), (4, &Value::from(vec![2, 3])));
    assert_eq!(found["buses"][2], serde_json::json!({ "bus": 3, "vm_pu": null, "va_deg": null }));
    let (code, found) = estimate(MEASURED, &[]);
    assert_eq!((code, &found["buses"][2]["vm_pu"]), (0, &found["buses"][1]["vm_pu"]));
    assert!(found["buses"][2]["vm_pu"].is_number());
}

#[test]
fn a_wrong_file_of_measurements_exits_with_3_and_names_the_place() {
    let dir = scratch();
    let (network, file) = (dir.path().join("two.m"), dir.path().join("m.csv"));
    std::fs::write(&network, TWO_BUSES).expect("scratch can be written");
    for (line, place) in [
        ("g,vm,3,,1,0.01", "line 8, column element"),
        ("g,vm,1,,1,nan", "line 8, column sigma"),
        ("g,p_flow,2,from,1,1", "line 8, column element"),
        ("a,vm,1,,1,0.01", "line 8, column id"),
        ("g,vm,1", "line 8"),
    ] {
        std::fs::write(&file, format!("{MEASURED}{line}\n")).expect("scratch can be written");
        let (code, _, errors) = gridflow(&["estimate", text(&network), "--measurements", text(&file)]);
        assert_eq!(code, 3, "{line}");
        assert!(errors.contains("m.csv") && errors.contains(place), "{line}: {errors}");
    }
    let (code, _, errors) = gridflow(&["estimate", text(&network), "--measurements", text(&dir.path().join("nowhere.csv"))]);
    assert!(code == 3 && errors.contains("nowhere.csv"), "{errors}");
    assert_eq!(gridflow(&["estimate", text(&network)]).0, 2);
}

// REQ: GRID-09
#[test]
fn a_published_network_is_estimated_from_its_reference_voltages() {
    let Some(data) = data() else { return };
    let (case, reference) = (data.join("matpower/case1354pegase.m"), data.join("matpower/reference_pf/case1354pegase.csv"));
    let Ok(voltages) = std::fs::read_to_string(reference) else {
        println!("skipped: no reference power flow of case1354pegase");
        return;
    };
    let rows = Vec::from_iter(voltages.lines().skip(1).map(|line| Vec::from_iter(line.split(',').map(str::to_owned))));
    // Phasors of every bus determine the state by themselves.
    let mut measured = "id,kind,element,side,value,sigma\n".to_owned();
    for row in &rows {
        let _ = writeln!(measured, "v{0},vm,{0},,{1},0.001\na{0},va,{0},,{2},0.01", row[0], row[1], row[2]);
    }
    let dir = scratch();
    let file = dir.path().join("m.csv");
    std::fs::write(&file, measured).expect("scratch can be written");
    let (code, out, errors) = gridflow(&["estimate", text(&case), "--measurements", text(&file), "--zero-injections", "--json"]);
    assert_eq!(code, 0, "{errors}");
    let found = json(&out);
    for (bus, row) in found["buses"].as_array().expect("a list").iter().zip(&rows) {
        let near = |field: &str, text: &str| (bus[field].as_f64().expect("a number") - text.parse::<f64>().expect("a number")).abs() < 1e-6;
        assert!(
            bus["bus"] == row[0].parse::<u32>().expect("a number") && near("vm_pu", &row[1]) && near("va_deg", &row[2]),
            "{bus} {row:?}"
        );
    }
}
