//! A small network as tables, what is refused by name, and stars against nameplates.

use std::path::Path;

use super::{Pair, StarError, ThreeWinding, read, star};
use crate::ids::{BranchId, BusId, SwitchId};
use crate::network::{BusKind, EquipmentKind, SwitchKind};
use crate::row::Real;
use crate::units::MilliVoltAmperes;

const BUS: &str = "id,kind,base_voltage_kv\n1,reference,220\n2,,110\n3,,20\n11,,220\n";
const THREE: &str = "name,star_bus,bus_hv,bus_mv,bus_lv,branch_hv,branch_mv,branch_lv,rating_hv_mva,rating_mv_mva,rating_lv_mva,\
z_hv_mv_percent,z_hv_lv_percent,z_mv_lv_percent,r_hv_mv_percent\nT1,9,1,2,3,7,8,9,100,100,40,10,12,5,0.6\n";

fn tables(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(format!("{name}.csv")), text).unwrap();
    }
    dir
}

fn refused(files: &[(&str, &str)]) -> String {
    let dir = tables(files);
    let error = read(dir.path()).unwrap_err();
    assert!(Path::new(&error.file).starts_with(dir.path()));
    error.to_string().replace(&format!("{}/", dir.path().display()), "")
}

#[test]
fn all_kinds_are_read_in_customary_units() {
    let dir = tables(&[
        ("network", "name,base_mva\nstation,50\n"),
        ("bus", BUS),
        ("branch", "id,from,to,r_pu,x_pu,shift_deg,rating_mva\n1,1,2,0.01,0.1,30,80\n"),
        ("transformer", "branch,tap_min,tap_max,tap_step,controlled_bus\n1,0.9,1.1,0.0125,2\n"),
        ("node_switch", "id,kind,from,to,normally_closed\n5,disconnector,1,11,false\n"),
        ("switch", "id,equipment,equipment_id,side\n6,branch,1,to\n"),
        ("generator", "id,bus,fuel,p_max_mw,q_min_mvar,q_max_mvar,cost_polynomial\n1,1,wind,60,-20,20,0;21.5;0.01\n2,2,none,0,-30,30,\n"),
        ("static_var", "generator\n2\n"),
        ("load", "id,bus,load_p_mw,class\n1,2,12.5,critical\n"),
        ("shunt", "id,bus,q_mvar\n1,2,5\n"),
        ("shunt_bank", "shunt,sections,normally_on\n1,4,3\n"),
        ("storage", "id,bus,capacity_mwh,charge_max_mw,discharge_max_mw\n1,2,10,5,5\n"),
        ("dc_line", "id,from,to,p_mw\n1,1,2,4\n"),
    ]);
    let file = read(dir.path()).unwrap();
    let network = file.network;
    assert_eq!((file.name.as_str(), file.base_power.mva()), ("station", 50.0));
    assert_eq!(
        network.buses.iter().map(|row| (row.id.0, row.kind)).collect::<Vec<_>>(),
        [(1, BusKind::Reference), (2, BusKind::Load), (3, BusKind::Load), (11, BusKind::Load)]
    );
    assert!((network.branches[0].shift_rad.get() - std::f64::consts::FRAC_PI_6).abs() < 1e-15);
    assert_eq!((network.branches[0].rating.mva(), network.transformers[0].controlled_bus), (80.0, Some(BusId(2))));
    let joint = &network.node_switches[0];
    assert_eq!(
        (joint.id, joint.kind, joint.from, joint.to, joint.normally_closed),
        (SwitchId(5), SwitchKind::Disconnector, BusId(1), BusId(11), false)
    );
    assert_eq!((network.switches.len(), network.switches[0].equipment), (1, EquipmentKind::Branch));
    assert!(network.generators[0].variable && network.generators[0].cost_polynomial.len() == 3);
    assert_eq!((network.static_vars[0].generator.0, network.loads[0].load_p.mw(), network.shunt_banks[0].normally_on), (2, 12.5, 3));
    assert_eq!((network.storages[0].soc_start.ratio(), network.dc_lines[0].p_min.mw()), (0.5, -4.0));
    // Without switches of its own, as any other file.
    let bare = read(tables(&[("bus", BUS), ("branch", "id,from,to,r_pu,x_pu\n1,1,2,0.01,0.1\n")]).path()).unwrap();
    assert_eq!((bare.network.switches.len(), bare.base_power.mva()), (1, 100.0));
}

#[test]
fn a_table_of_another_name_is_told() {
    let dir = tables(&[("bus", BUS), ("loads", "id,bus,load_p_mw\n1,2,12.5\n")]);
    let file = read(dir.path()).unwrap();
    assert!(file.warnings.iter().any(|warning| warning == "loads.csv is no table of a network and is passed over"), "{:?}", file.warnings);
    assert!(read(tables(&[("bus", BUS)]).path()).unwrap().warnings.iter().all(|warning| !warning.contains("passed over")));
}

#[test]
fn what_is_stated_of_a_winding_holds() {
    let tapped = THREE.replacen("name", "tap_mv,name", 1).replacen('\n', "\n1.05,", 1);
    let dir = tables(&[("bus", BUS), ("three_winding", &tapped), ("transformer", "branch,tap_min,tap_max,tap_step\n8,0.9,1.1,0.01\n")]);
    let file = read(dir.path()).unwrap();
    let of_winding: Vec<_> = file.network.transformers.iter().filter(|row| row.branch.0 == 8).collect();
    assert!(matches!(of_winding[..], [row] if row.tap_max.get() == 1.1), "{of_winding:?}");
}

#[test]
fn what_is_wrong_is_named_by_file_line_and_column() {
    let branch = |row: &str| refused(&[("bus", BUS), ("branch", &format!("id,from,to,r_pu,x_pu\n{row}\n"))]);
    assert_eq!(branch("1,1,4,0,0.1"), "branch.csv, line 2, column to: there is no bus 4");
    assert_eq!(branch("1,2,2,0,0.1"), "branch.csv, line 2, column to: both ends are bus 2");
    assert_eq!(branch("1,1,2,0,0.1\n1,1,2,0,0.1"), "branch.csv, line 3, column id: number 1 is there already");
    assert_eq!(branch("1,1,2,,0.1"), "branch.csv, line 2, column r_pu: expected a number, the cell is empty");
    assert!(
        refused(&[("bus", "id,volts\n1,2\n")])
            .starts_with("bus.csv, line 1, column volts: the table has no such column; it may have id, name")
    );
    assert!(refused(&[("bus", "id\n1\n")]).starts_with("bus.csv, line 1, column base_voltage_kv: the table has no such column"));
    assert!(refused(&[("branch", "id\n")]).starts_with("bus.csv: cannot be read"));
    assert!(
        refused(&[("bus", "id,kind,base_voltage_kv\n1,slack,1\n")])
            .contains("column kind: expected one of load, generator, reference, isolated, found \"slack\"")
    );
    let unit = refused(&[("bus", BUS), ("generator", "id,bus,p_max_mw,q_min_mvar,q_max_mvar\n1,1,5,3,2\n")]);
    assert_eq!(unit, "generator.csv, line 2, column q_max_mvar: the greatest reactive output is below the least");
    let switch = [("bus", BUS), ("node_switch", "id,from,to\n1,1,2\n"), ("switch", "id,equipment,equipment_id\n1,bus,1\n")];
    assert_eq!(refused(&switch), "node_switch.csv, line 2, column id: number 1 is there already");
}

fn nameplate(pairs: [Pair; 3]) -> ThreeWinding {
    let mva = |mva| MilliVoltAmperes::from_mva(mva).unwrap();
    ThreeWinding {
        name: "T".to_owned(),
        buses: [BusId(1), BusId(2), BusId(3)],
        star_bus: BusId(9),
        branches: [BranchId(1), BranchId(2), BranchId(3)],
        ratings: [mva(15.0), mva(10.0), mva(5.0)],
        taps: [Real::ONE; 3],
        pairs,
        in_service: true,
    }
}

/// A textbook's example (Grainger and Stevenson, Power System Analysis, chapter 2): 7 % and 9 % of 15 MVA, 8 % of 10 MVA.
#[test]
fn a_published_example_of_a_star_comes_out() {
    let hv = read(tables(&[("bus", BUS)]).path()).unwrap().network.buses[0].clone();
    let pair = |z_percent, base_mva| Pair { z_percent, r_percent: 0.0, base_mva };
    let (middle, arms) = star(&nameplate([pair(7.0, 15.0), pair(9.0, 15.0), pair(8.0, 10.0)]), &hv, 15.0).unwrap();
    for (arm, x) in arms.iter().zip([0.02, 0.05, 0.07]) {
        assert!((arm.x_pu.get() - x).abs() < 1e-15 && arm.r_pu.get() == 0.0 && arm.to == middle.id);
    }
    assert_eq!((middle.base_voltage, middle.zone), (hv.base_voltage, hv.zone));
    // Nameplates that leave nothing for the middle winding, exactly and but for rounding: no arm joins two voltages.
    for pairs in [[12.0, 20.0, 8.0], [10.0, 15.0, 5.0]] {
        let (_, arms) = star(&nameplate(pairs.map(|z| pair(z, 100.0))), &hv, 100.0).unwrap();
        assert!(arms.iter().all(|arm| arm.x_pu.get().abs() >= 1e-6), "{arms:?}");
    }
    for wrong in [pair(0.0, 10.0), pair(-1.0, 10.0), pair(8.0, 0.0), Pair { r_percent: 9.0, ..pair(8.0, 10.0) }, pair(f64::NAN, 10.0)] {
        assert_eq!(star(&nameplate([pair(7.0, 15.0), pair(9.0, 15.0), wrong]), &hv, 15.0), Err(StarError::Pair("mv-lv")));
    }
}

/// Two windings in series are the nameplate's impedance of the pair, whatever the base.
#[test]
fn windings_in_series_are_the_pairs_of_the_nameplate() {
    let file = read(tables(&[("network", "base_mva\n30\n"), ("bus", BUS), ("three_winding", THREE)]).path()).unwrap();
    let arms = &file.network.branches;
    assert_eq!(file.network.buses.iter().map(|bus| bus.id.0).collect::<Vec<_>>(), [1, 2, 3, 9, 11]);
    assert_eq!(
        arms.iter().map(|arm| (arm.id.0, arm.from.0, arm.to.0, arm.rating.mva())).collect::<Vec<_>>(),
        [(7, 1, 9, 100.0), (8, 2, 9, 100.0), (9, 3, 9, 40.0)]
    );
    // Percents are of the smaller rating of the two.
    for ((a, b), z, r, base) in [((0, 1), 0.10, 0.006, 100.0), ((0, 2), 0.12, 0.0, 40.0), ((1, 2), 0.05, 0.0, 40.0)] {
        let series = |part: fn(&crate::network::Branch) -> Real| (part(&arms[a]).get() + part(&arms[b]).get()) * base / 30.0;
        let (found_r, found_x) = (series(|arm| arm.r_pu), series(|arm| arm.x_pu));
        assert!((found_r - r).abs() < 1e-15 && ((found_r * found_r + found_x * found_x).sqrt() - z).abs() < 1e-15);
    }
}
