//! A network as tables by kind: the same answers as from the file it was taken from, also when buses are taken apart into
//! nodes; what is wrong is named by file, line and column.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Output};

use gridflow_inputs::Input;
use gridflow_inputs::matpower::{self, IEEE14};
use gridflow_inputs::network::BusKind;
use gridflow_operators::decision::{Output as Told, Stream};
use serde_json::Value;

use crate::support::{changelog, epochs, replay_into, scratch, workers};

fn gridflow(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gridflow")).args(arguments).output().expect("the binary is built")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Bus 4 has a second node, to which every other branch leads.
const FAR: u32 = 104;

/// Writes the embedded network as tables.
fn write_tables(dir: &Path, coupler_closed: bool) {
    let network = matpower::read("ieee14.m", IEEE14).expect("it is whole").network;
    std::fs::create_dir_all(dir).expect("scratch can be written");
    let write = |kind: &str, text: String| std::fs::write(dir.join(format!("{kind}.csv")), text).expect("scratch can be written");
    let mut text = "id,kind,base_voltage_kv,v_start_pu,angle_start_deg\n".to_owned();
    for bus in &network.buses {
        let kind = match bus.kind {
            BusKind::Reference => "reference",
            BusKind::Generator => "generator",
            BusKind::Load | BusKind::Isolated => "load",
        };
        let kv = if bus.base_voltage.0 > 0 { bus.base_voltage.kv() } else { 1.0 };
        let row = |id: u32| format!("{id},{kind},{kv},{},{}\n", bus.v_start_pu.get(), bus.angle_start_rad.get().to_degrees());
        text += &row(bus.id.0);
        if bus.id.0 == 4 {
            text += &row(FAR);
        }
    }
    write("bus", text);
    let mut text = "id,from,to,r_pu,x_pu,b_pu,tap_ratio\n".to_owned();
    for row in &network.branches {
        let end = |bus: u32| if bus == 4 && row.id.0 % 2 == 0 { FAR } else { bus };
        let (from, to) = (end(row.from.0), end(row.to.0));
        writeln!(text, "{},{from},{to},{},{},{},{}", row.id, row.r_pu.get(), row.x_pu.get(), row.b_pu.get(), row.tap_ratio.get())
            .expect("text");
    }
    write("branch", text);
    let mut text = "id,bus,p_mw,q_mvar,p_max_mw,q_min_mvar,q_max_mvar,v_setpoint_pu\n".to_owned();
    for row in &network.generators {
        let (p, q, most) = (row.p.mw(), row.q.mvar(), row.p_max.mw());
        let (low, high, v) = (row.q_min.mvar(), row.q_max.mvar(), row.v_setpoint_pu.get());
        writeln!(text, "{},{},{p},{q},{most},{low},{high},{v}", row.id, row.bus).expect("text");
    }
    write("generator", text);
    let mut text = "id,bus,load_p_mw,load_q_mvar\n".to_owned();
    network.loads.iter().for_each(|row| writeln!(text, "{},{},{},{}", row.id, row.bus, row.load_p.mw(), row.load_q.mvar()).expect("text"));
    write("load", text);
    let mut text = "id,bus,q_mvar\n".to_owned();
    network.shunts.iter().for_each(|row| writeln!(text, "{},{},{}", row.id, row.bus, row.q.mvar()).expect("text"));
    write("shunt", text);
    write("node_switch", format!("id,from,to,normally_closed\n1,4,{FAR},{coupler_closed}\n"));
}

// REQ: GRID-01
#[test]
fn a_network_of_nodes_as_tables_has_the_answers_of_its_file() {
    let dir = scratch();
    let (case, tables) = (dir.path().join("case14.m"), dir.path().join("station"));
    std::fs::write(&case, IEEE14).expect("scratch can be written");
    write_tables(&tables, true);
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let of_file = json(&gridflow(&["power-flow", &path(&case), "--json"]));
    let of_tables = json(&gridflow(&["power-flow", &path(&tables), "--json"]));
    assert_eq!(of_tables["merged_buses"], serde_json::json!([{ "bus": FAR, "into": 4 }]));
    let voltage = |found: &Value, id: u32| -> f64 {
        let buses = found["buses"].as_array().expect("a list");
        let bus = buses.iter().find(|bus| bus["bus"] == id).unwrap_or_else(|| panic!("there is no bus {id}"));
        bus["vm_pu"].as_f64().expect("a number")
    };
    for bus in 1..=14 {
        assert!((voltage(&of_file, bus) - voltage(&of_tables, bus)).abs() < 1e-12, "bus {bus}");
    }
    assert_eq!(voltage(&of_tables, FAR), voltage(&of_tables, 4));
    // Open, the coupler leaves two buses with voltages of their own.
    let apart = dir.path().join("apart");
    write_tables(&apart, false);
    let of_apart = json(&gridflow(&["power-flow", &path(&apart), "--json"]));
    assert!((voltage(&of_apart, FAR) - voltage(&of_apart, 4)).abs() > 1e-4);
    // What is recorded has the nodes and their switch.
    let log = path(&dir.path().join("log"));
    let imported = gridflow(&["import", &path(&tables), "--out", &log]);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    let rows = gridflow(&["inspect", &log, "--rows", "100"]);
    assert!(String::from_utf8_lossy(&rows.stdout).contains("NodeSwitch"));
}

// REQ: GRID-01
#[test]
fn nodes_are_simulated_and_estimated_as_the_buses_they_make() {
    let dir = scratch();
    let (case, tables) = (dir.path().join("case14.m"), dir.path().join("station"));
    std::fs::write(&case, IEEE14).expect("scratch can be written");
    write_tables(&tables, true);
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let (log, out) = (dir.path().join("log"), dir.path().join("out"));
    let simulated = gridflow(&["simulate", "--network", &path(&tables), "--minutes", "1", "--seed", "1", "--out", &path(&log), "--json"]);
    assert_eq!(json(&simulated)["merged_buses"], serde_json::json!([{ "bus": FAR, "into": 4 }]));
    let rows: Vec<Input> = epochs(&log).into_iter().flat_map(|(_, rows)| rows).collect();
    let buses = rows.iter().filter(|row| matches!(row, Input::Bus(_))).count();
    assert_eq!((buses, rows.iter().any(|row| matches!(row, Input::NodeSwitch(_)))), (14, false));
    replay_into(&log, &out, workers(1));
    let states = changelog(&out, Stream::Estimate).into_values().flatten();
    assert!(states.filter(|(row, _)| matches!(row, Told::Estimate(row) if row.buses.len() == 14)).count() > 1);

    // Exact measurements of all flows: of the tables they are those of the file, under the same numbers.
    let flow = json(&gridflow(&["power-flow", &path(&case), "--json"]));
    let list = |key: &str| flow[key].as_array().expect("a list").clone();
    let mut text = "id,kind,element,side,value,sigma\nfar,vm,104,,1.01767,0.01\nnone,p_inj,104,,0,0.1\n".to_owned();
    for row in list("branches") {
        writeln!(text, "p{0},p_flow,{0},from,{1},0.5\nq{0},q_flow,{0},from,{2},0.5", row["branch"], row["p_from_mw"], row["q_from_mvar"])
            .expect("text");
    }
    let scan = dir.path().join("scan.csv");
    std::fs::write(&scan, text).expect("scratch can be written");
    let found = json(&gridflow(&["estimate", &path(&tables), "--measurements", &path(&scan), "--json"]));
    assert_eq!((&found["observable"], &found["merged_buses"][0]["into"]), (&Value::Bool(true), &Value::from(4)));
    assert_eq!(found["left_out"][0]["id"], "none", "nothing injects at that node: {found}");
    let (estimated, expected) = (found["buses"].as_array().expect("a list"), list("buses"));
    assert_eq!((estimated.len(), &estimated[14]["bus"]), (15, &Value::from(FAR)));
    let of = |row: &Value, key: &str| row[key].as_f64().expect("a number");
    for (found, expected) in estimated.iter().zip(expected.iter().chain([&expected[3]])) {
        for key in ["vm_pu", "va_deg"] {
            assert!((of(found, key) - of(expected, key)).abs() < 1e-4, "{found} {expected}");
        }
    }
}

#[test]
fn a_wrong_cell_ends_the_command_and_is_named() {
    let dir = scratch();
    let tables = dir.path().join("station");
    write_tables(&tables, true);
    std::fs::write(tables.join("load.csv"), "id,bus,load_p_mw\n1,2,3\n2,77,4\n").expect("scratch can be written");
    let output = gridflow(&["import", tables.to_str().expect("UTF-8")]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3));
    assert!(errors.contains("load.csv, line 3, column bus: there is no bus 77"), "{errors}");
}
