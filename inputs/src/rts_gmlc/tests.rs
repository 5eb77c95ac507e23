//! The RTS-GMLC tables against the published unit-commitment instances, and what is refused.

use super::*;
use crate::network::Fuel;

fn data() -> Option<std::path::PathBuf> {
    crate::test_data::find("rts-gmlc")
}

/// The number behind `"key":` in JSON text from `from` on, and where it ends.
fn json_number(text: &str, from: usize, key: &str) -> Option<(f64, usize)> {
    let start = from + text[from..].find(&format!("\"{key}\":"))? + key.len() + 3;
    let length = text[start..].find([',', '}'])?;
    Some((text[start..start + length].trim().parse().ok()?, start + length))
}

#[test]
fn the_system_has_its_published_size() {
    let Some(path) = data() else { return };
    let file = read(&path.join("source")).unwrap_or_else(|error| panic!("{error}"));
    let network = &file.network;
    assert_eq!((network.buses.len(), network.branches.len(), network.transformers.len()), (73, 120, 16));
    assert_eq!((network.generators.len(), network.storages.len(), network.dc_lines.len()), (158 - 1, 1, 1));
    assert_eq!(network.loads.iter().map(|load| load.load_p).sum::<MilliWatts>().mw(), 3.0 * 2850.0);
    for zone in 1..=3 {
        assert_eq!(network.buses.iter().filter(|bus| bus.zone.0 == zone).count(), if zone == 3 { 25 } else { 24 });
    }
    assert_eq!(
        network.shunts.iter().map(|shunt| (shunt.bus.0, shunt.q.mvar())).collect::<Vec<_>>(),
        [(106, -100.0), (206, -100.0), (306, -100.0)]
    );
    let link = &network.dc_lines[0];
    assert_eq!((link.from.0, link.to.0, link.p.mw(), link.p_min.mw(), link.p_max.mw()), (113, 316, 100.0, -100.0, 100.0));
    let storage = &network.storages[0];
    assert_eq!(
        (storage.name.as_str(), storage.bus.0, storage.capacity.mwh(), storage.charge_max.mw()),
        ("313_STORAGE_1", 313, 150.0, 50.0)
    );
    assert_eq!((storage.charge_efficiency.0, storage.soc_start.0), (921_954, 500_000));
    assert!(!network.generators.iter().any(|unit| unit.name == "313_STORAGE_1" || unit.id.0 == storage.id.0));
    assert_eq!(network.generators[0].name, "101_CT_1");
    assert_eq!(network.switches.len(), 120 + 157 + 1);
    assert_eq!(network.generators.iter().filter(|unit| unit.variable).count(), 4 + 25 + 31 + 20 + 1);
    assert_eq!(network.generators.iter().filter(|unit| unit.fuel == Fuel::None && unit.p_max.0 == 0).count(), 3);
    assert_eq!(file.warnings.len(), 1, "{:?}", file.warnings);
}

#[test]
fn costs_and_times_are_those_of_the_unit_commitment_instance() {
    // PGLib-UC was made from the same tables by others: its points are rounded to 0.01 MW and 0.01 dollars, its times to hours.
    let Some(path) = data() else { return };
    let network = read(&path.join("source")).unwrap().network;
    let text = std::fs::read_to_string(path.join("uc/2020-07-06.json")).expect("the instance is text");
    let mut compared = 0;
    for unit in network.generators.iter().filter(|unit| !unit.variable && unit.fuel != Fuel::None) {
        let at =
            text.find(&format!("\"{}\": {{\"must_run\"", unit.name)).unwrap_or_else(|| panic!("{} is no unit of the instance", unit.name));
        for (key, ours) in [("power_output_minimum", unit.p_min.mw()), ("power_output_maximum", unit.p_max.mw())] {
            assert_eq!(json_number(&text, at, key).unwrap().0, ours, "{} {key}", unit.name);
        }
        for (key, ours) in [("time_up_minimum", unit.min_up_ms), ("time_down_minimum", unit.min_down_ms)] {
            let hours = json_number(&text, at, key).unwrap().0;
            assert!((hours - ours as f64 / 3.6e6).abs() < 1.0, "{} {key} {hours}", unit.name);
        }
        let end = at + text[at..].find("\"name\"").unwrap();
        let mut place = at + text[at..].find("piecewise_production").unwrap();
        for (mw, cost) in &unit.cost_points {
            let (their_mw, behind) = json_number(&text[..end], place, "mw").unwrap_or_else(|| panic!("{} has fewer points", unit.name));
            let (their_cost, behind) = json_number(&text[..end], behind, "cost").unwrap();
            place = behind;
            assert!((mw.mw() - their_mw).abs() <= 0.005_001, "{} {} {their_mw}", unit.name, mw.mw());
            // Their costs belong to their rounded powers: ours are read off the same curve there.
            let costs: Vec<(f64, f64)> = unit.cost_points.iter().map(|(mw, cost)| (mw.mw(), cost.get())).collect();
            let segment = costs.windows(2).find(|pair| their_mw <= pair[1].0).unwrap_or(&costs[costs.len() - 2..]);
            let slope = (segment[1].1 - segment[0].1) / (segment[1].0 - segment[0].0);
            let ours = segment[0].1 + (their_mw - segment[0].0) * slope;
            assert!((ours - their_cost).abs() <= 0.1, "{} {} {ours} {their_cost}", unit.name, cost.get());
            compared += 1;
        }
        assert_eq!(json_number(&text[..end], place, "mw"), None, "{} has more points", unit.name);
        let starts = at + text[at..].find("\"startup\"").unwrap();
        let starts = &text[starts..starts + text[starts..].find(']').unwrap()];
        let dearest = starts.match_indices("\"cost\"").map(|(place, _)| json_number(starts, place, "cost").unwrap().0).fold(0.0, f64::max);
        assert!((unit.start_up_cost.get() - dearest).abs() <= 0.005_001, "{} start {dearest}", unit.name);
    }
    assert!(compared > 250, "{compared} points compared");
}

const BUS: &str = "Bus ID,Bus Name,BaseKV,Bus Type,MW Load,MVAR Load,V Mag,V Angle,MW Shunt G,MVAR Shunt B,Area\n\
    1,One,138,Ref,10,2,1,0,0,0,1\n2,Two,138,PQ,0,0,1,0,0,0,2\n";
const BRANCH: &str = "UID,From Bus,To Bus,R,X,B,Cont Rating,LTE Rating,STE Rating,Tr Ratio\nA1,1,2,0.01,0.1,0,100,110,120,0\n";
const GEN: &str = "GEN UID,Bus ID,Unit Type,Fuel,MW Inj,MVAR Inj,V Setpoint p.u.,PMax MW,PMin MW,QMax MVAR,QMin MVAR,Min Down Time Hr,\
    Min Up Time Hr,Ramp Rate MW/Min,Start Heat Cold MBTU,Non Fuel Start Cost $,Fuel Price $/MMBTU,Output_pct_0,Output_pct_1,Output_pct_2,\
    Output_pct_3,Output_pct_4,HR_avg_0,HR_incr_1,HR_incr_2,HR_incr_3,HR_incr_4,VOM,Emissions CO2 Lbs/MMBTU,Pump Load MW,\
    Storage Roundtrip Efficiency\n\
    1_CT_1,1,CT,NG,5,0,1,20,10,5,-5,1,2.5,3,100,7,2,0.5,0.75,1,NA,NA,10000,9000,8000,NA,NA,1,200,0,0\n\
    2_S_1,2,STORAGE,Storage,0,0,1,50,0,0,0,0,0,50,0,0,0,0,0,0,0,NA,0,0,0,0,NA,0,0,40,81\n";
const STORAGE: &str = "GEN UID,Storage,Max Volume GWh,Initial Volume GWh,position\n2_S_1,H,0.1,0.025,head\n2_S_1,T,0.1,0.025,tail\n";
const DC: &str = "UID,From Bus,To Bus,MW Load\nD,1,2,30\n";

fn tables() -> Tables<'static> {
    Tables { bus: BUS, branch: BRANCH, gen_: GEN, storage: STORAGE, dc_branch: DC }
}

#[test]
fn heat_becomes_cost_start_cost_and_emission() {
    let file = read_tables(tables()).unwrap();
    let unit = &file.network.generators[0];
    // 10 MW: 100 MMBTU/h · 2 + 10; 15 MW: 145 · 2 + 15; 20 MW: 185 · 2 + 20. The middle one lies above the line: cut off.
    let points: Vec<(f64, f64)> = unit.cost_points.iter().map(|(mw, cost)| (mw.mw(), cost.get())).collect();
    assert_eq!(points, [(10.0, 210.0), (20.0, 390.0)]);
    assert_eq!(file.warnings, ["1_CT_1: the cost is not convex; 1 of its points were cut off"]);
    assert_eq!((unit.start_up_cost.get(), unit.min_up_ms), (207.0, 9_000_000));
    assert!((unit.emission_t_per_mwh.get() - 200.0 * 9.25 * 0.000_453_592_37).abs() < 1e-12);
    let storage = &file.network.storages[0];
    assert_eq!((storage.charge_max.mw(), storage.discharge_max.mw(), storage.charge_efficiency.0), (40.0, 50.0, 900_000));
}

#[test]
fn what_is_wrong_is_named_by_file_line_and_column() {
    let wrong = |change: &dyn Fn(&mut Tables<'static>)| {
        let mut tables = tables();
        change(&mut tables);
        read_tables(tables).unwrap_err().to_string()
    };
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    let message = wrong(&|t| t.bus = leak(BUS.replace("138,PQ", "high,PQ")));
    assert_eq!(message, "bus.csv, line 3, column BaseKV: expected a finite number, found \"high\"");
    let message = wrong(&|t| t.bus = leak(BUS.replace("MW Load", "Load")));
    assert_eq!(message, "bus.csv, line 1, column MW Load: the table has no such column");
    let message = wrong(&|t| t.branch = leak(BRANCH.replace("A1,1,2", "A1,1,3")));
    assert_eq!(message, "branch.csv, line 2, column To Bus: there is no bus 3");
    let message = wrong(&|t| t.gen_ = leak(GEN.replace("CT,NG", "CT,Peat")));
    assert_eq!(message, "gen.csv, line 2, column Fuel: expected a fuel, found \"Peat\"");
    let message = wrong(&|t| t.gen_ = leak(GEN.replace("0.5,0.75", "0.5,0.25")));
    assert_eq!(message, "gen.csv, line 2, column Output_pct_1: output points must ascend, 5 MW does not follow 10 MW");
    let message = wrong(&|t| t.storage = leak(STORAGE.replace("2_S_1", "9_S_1")));
    assert_eq!(message, "gen.csv, line 3, column GEN UID: 2_S_1 has no head reservoir in storage.csv");
    assert_eq!(wrong(&|t| t.dc_branch = ""), "dc_branch.csv: the file is empty; expected a header line");
    let missing = read(Path::new("/nonexistent")).unwrap_err().to_string();
    assert!(missing.starts_with("/nonexistent/bus.csv: cannot be read"), "{missing}");
}

proptest::proptest! {
    #[test]
    fn changed_tables_are_read_or_refused_without_panic(table in 0..5usize, at in 0..2000usize, with in "[-0-9.,eNA\"\n]{0,4}") {
        let mut texts = [BUS, BRANCH, GEN, STORAGE, DC].map(str::to_owned);
        let at = at % texts[table].len();
        texts[table].replace_range(at..=at, &with);
        let [bus, branch, gen_, storage, dc_branch] = &texts;
        let _ = read_tables(Tables { bus, branch, gen_, storage, dc_branch });
    }
}
