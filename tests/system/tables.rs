//! A network as tables by kind: the same answers as from the file it was taken from, also when buses are taken apart into
//! nodes; what is wrong is named by file, line and column.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Output};

use gridflow_inputs::matpower::{self, IEEE14};
use gridflow_inputs::network::BusKind;
use serde_json::Value;

use crate::support::scratch;

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
    let simulated = path(&dir.path().join("simulated"));
    let estimated = gridflow(&["simulate", "--network", &path(&tables), "--minutes", "1", "--seed", "1", "--out", &simulated]);
    assert_eq!(estimated.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&estimated.stderr).contains("takes networks of buses"));
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
