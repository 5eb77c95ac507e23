//! Cases for tests: the four-bus case, a reader of MATPOWER files that knows what these tests need, the RTS-GMLC tables.

use crate::case::{Case, CaseBranch, CaseBus, CaseDcLine, CaseGenerator, CaseLoad, CaseStorage, Cost};
use gridflow_inputs::ids::{BranchId, BusId, DcLineId, GeneratorId, LoadId, StorageId, ZoneId};
use gridflow_inputs::network::{BusKind, LoadClass};
use std::collections::BTreeMap;

pub(crate) fn bus(id: u32, kind: BusKind) -> CaseBus {
    CaseBus { id: BusId(id), zone: ZoneId(1), kind, base_kv: 230.0, v_start: 1.0, va_start: 0.0, v_min: 0.9, v_max: 1.1, g: 0.0, b: 0.0 }
}

pub(crate) fn branch(id: u32, from: usize, to: usize, x: f64, rating: f64) -> CaseBranch {
    let (angle_min, angle_max) = (f64::NEG_INFINITY, f64::INFINITY);
    CaseBranch { id: BranchId(id), from, to, r: 0.0, x, b: 0.0, tap: 1.0, shift: 0.0, rating, angle_min, angle_max }
}

pub(crate) fn unit(id: u32, bus: usize, limits: (f64, f64), cost: [f64; 3]) -> CaseGenerator {
    CaseGenerator {
        id: GeneratorId(id),
        bus,
        p: 0.0,
        q: 0.0,
        p_min: limits.0,
        p_max: limits.1,
        q_min: 0.0,
        q_max: 0.0,
        v_setpoint: 1.0,
        variable: false,
        cost: Cost::Polynomial(cost),
        ramp_per_minute: f64::INFINITY,
        emission_t_per_mwh: 0.0,
    }
}

pub(crate) fn load(id: u32, bus: usize, p: f64, class: LoadClass) -> CaseLoad {
    CaseLoad { id: LoadId(id), bus, p, q: 0.0, class, interruption_cost_per_mwh: 1000.0 }
}

pub(crate) fn storage(id: u32, bus: usize) -> CaseStorage {
    CaseStorage {
        id: StorageId(id),
        bus,
        capacity: 0.2,
        charge_max: 0.05,
        discharge_max: 0.05,
        charge_efficiency: 0.95,
        discharge_efficiency: 0.95,
        soc_min: 0.1,
        soc_max: 0.9,
        soc: 0.5,
        wear_cost_per_mwh: 0.5,
    }
}

pub(crate) fn dc_line(id: u32, from: usize, to: usize, limits: (f64, f64)) -> CaseDcLine {
    CaseDcLine { id: DcLineId(id), from, to, p: 0.0, p_min: limits.0, p_max: limits.1, loss: 0.0, loss_ratio: 0.0 }
}

/// The four-bus case with line limits scaled. Solar at bus 3 and wind at bus 4 are all available, at no cost.
pub(crate) fn four_bus(limits: f64) -> Case {
    let mut generators = vec![
        unit(1, 0, (0.5, 2.0), [1000.0, 20.0, 0.05]),
        unit(2, 1, (0.3, 1.5), [500.0, 15.0, 0.07]),
        unit(3, 2, (0.0, 0.75), [0.0; 3]),
        unit(4, 3, (0.0, 0.6), [0.0; 3]),
    ];
    generators[0].emission_t_per_mwh = 0.9;
    generators[1].emission_t_per_mwh = 0.4;
    generators[2].variable = true;
    generators[3].variable = true;
    let class = LoadClass::Residential;
    Case {
        base_mva: 100.0,
        buses: vec![bus(1, BusKind::Reference), bus(2, BusKind::Generator), bus(3, BusKind::Generator), bus(4, BusKind::Generator)],
        branches: vec![
            branch(1, 0, 1, 0.05, 1.0 * limits),
            branch(2, 1, 2, 0.06, 0.8 * limits),
            branch(3, 2, 3, 0.04, 0.7 * limits),
            branch(4, 0, 3, 0.07, 0.9 * limits),
        ],
        generators,
        loads: vec![load(1, 0, 0.8, class), load(2, 1, 1.2, class), load(3, 2, 0.9, class), load(4, 3, 0.7, class)],
        storages: Vec::new(),
        dc_lines: Vec::new(),
    }
}

#[allow(clippy::disallowed_methods)] // tests find their data by the environment
pub(crate) fn data() -> std::path::PathBuf {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    std::env::var("GRIDFLOW_DATA").unwrap_or_else(|_| default.to_string()).into()
}

/// Reads a MATPOWER file of the data directory; none when it is not there.
pub(crate) fn matpower(name: &str) -> Option<Case> {
    let Ok(text) = std::fs::read_to_string(data().join("matpower").join(name)) else {
        println!("skipped: {name} is not there");
        return None;
    };
    let matrix = |field: &str| -> Vec<Vec<f64>> {
        let start = text.find(&format!("mpc.{field} = [")).expect("the matrix is there");
        let body = &text[start..];
        let body = &body[body.find('[').unwrap() + 1..body.find(']').unwrap()];
        let lines = body.lines().map(|line| line.split('%').next().unwrap().trim().trim_end_matches(';'));
        lines.filter(|line| !line.is_empty()).map(|line| line.split_whitespace().map(|cell| cell.parse().unwrap()).collect()).collect()
    };
    let start = text.find("mpc.baseMVA = ").unwrap() + 14;
    let base: f64 = text[start..start + text[start..].find(';').unwrap()].parse().unwrap();
    let mut rows = matrix("bus");
    rows.retain(|row| row[1] != 4.0);
    rows.sort_by(|a, b| a[0].total_cmp(&b[0]));
    let index: BTreeMap<u32, usize> = rows.iter().enumerate().map(|(place, row)| (row[0] as u32, place)).collect();
    let mut buses = Vec::new();
    let mut loads = Vec::new();
    for (place, row) in rows.iter().enumerate() {
        let kind = if row[1] == 3.0 { BusKind::Reference } else { BusKind::Load };
        buses.push(CaseBus { g: row[4] / base, b: row[5] / base, ..bus(row[0] as u32, kind) });
        if row[2] != 0.0 {
            loads.push(load(row[0] as u32, place, row[2] / base, LoadClass::Residential));
        }
    }
    let costs = matrix("gencost");
    let mut generators = Vec::new();
    for (place, row) in matrix("gen").iter().enumerate().filter(|(_, row)| row[7] > 0.0) {
        let cost = &costs[place];
        let count = cost[3] as usize;
        assert_eq!(cost[0], 2.0, "these tests read polynomials");
        let mut coefficients = [0.0; 3];
        for (power, coefficient) in cost[4..4 + count].iter().rev().enumerate() {
            coefficients[power] = *coefficient;
        }
        generators.push(unit(place as u32 + 1, index[&(row[0] as u32)], (row[9] / base, row[8] / base), coefficients));
    }
    let mut branches = Vec::new();
    for (place, row) in matrix("branch").iter().enumerate().filter(|(_, row)| row[10] > 0.0) {
        let rating = if row[5] == 0.0 { f64::INFINITY } else { row[5] / base };
        let radians = std::f64::consts::PI / 180.0;
        branches.push(CaseBranch {
            r: row[2],
            tap: if row[8] == 0.0 { 1.0 } else { row[8] },
            shift: row[9] * radians,
            angle_min: if row[11] <= -360.0 { f64::NEG_INFINITY } else { row[11] * radians },
            angle_max: if row[12] >= 360.0 { f64::INFINITY } else { row[12] * radians },
            ..branch(place as u32 + 1, index[&(row[0] as u32)], index[&(row[1] as u32)], row[3], rating)
        });
    }
    Some(Case { base_mva: base, buses, branches, generators, loads, storages: Vec::new(), dc_lines: Vec::new() })
}

/// The RTS-GMLC tables: 73 buses, 158 units with three-piece costs, one storage unit, one direct-current link.
pub(crate) fn rts_gmlc() -> Option<Case> {
    let table = |name: &str| -> Option<Vec<BTreeMap<String, String>>> {
        let text = std::fs::read_to_string(data().join("rts-gmlc/source").join(name)).ok()?;
        let mut lines = text.lines().map(|line| line.split(',').map(str::to_string).collect::<Vec<_>>());
        let header = lines.next()?;
        Some(lines.map(|cells| header.iter().cloned().zip(cells).collect()).collect())
    };
    let (Some(bus_rows), Some(unit_rows), Some(branch_rows)) = (table("bus.csv"), table("gen.csv"), table("branch.csv")) else {
        println!("skipped: the RTS-GMLC tables are not there");
        return None;
    };
    let number = |row: &BTreeMap<String, String>, name: &str| row[name].parse::<f64>().unwrap_or(0.0);
    let index: BTreeMap<u32, usize> = bus_rows.iter().enumerate().map(|(place, row)| (number(row, "Bus ID") as u32, place)).collect();
    let mut case = four_bus(1.0);
    (case.buses, case.branches, case.generators, case.loads) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (place, row) in bus_rows.iter().enumerate() {
        let kind = if row["Bus Type"] == "Ref" { BusKind::Reference } else { BusKind::Load };
        case.buses.push(bus(number(row, "Bus ID") as u32, kind));
        if number(row, "MW Load") > 0.0 {
            let class = LoadClass::ALL[place % 5];
            case.loads.push(load(place as u32, place, number(row, "MW Load") / 100.0, class));
        }
    }
    for (place, row) in unit_rows.iter().enumerate() {
        let high = number(row, "PMax MW");
        let mut output: Vec<f64> = Vec::new();
        for step in 0..5 {
            if let Ok(share) = row[&format!("Output_pct_{step}")].parse::<f64>() {
                output.push(share * high);
            }
        }
        let price = number(row, "Fuel Price $/MMBTU") / 1000.0;
        let mut cost = output.first().map_or(0.0, |p| p * number(row, "HR_avg_0") * price);
        let mut points = Vec::new();
        for (step, p) in output.iter().enumerate() {
            if step > 0 {
                cost += (p - output[step - 1]) * number(row, &format!("HR_incr_{step}")) * price;
            }
            points.push((*p, cost));
        }
        points.dedup_by(|a, b| a.0 <= b.0);
        let weather = matches!(row["Unit Type"].as_str(), "WIND" | "PV" | "RTPV" | "HYDRO" | "CSP");
        case.generators.push(CaseGenerator {
            variable: weather,
            cost: if weather { Cost::Polynomial([0.0; 3]) } else { Cost::Points(points) },
            ramp_per_minute: number(row, "Ramp Rate MW/Min") / 100.0,
            ..unit(place as u32 + 1, index[&(number(row, "Bus ID") as u32)], (0.0, high / 100.0), [0.0; 3])
        });
    }
    for (place, row) in branch_rows.iter().enumerate() {
        let (from, to) = (index[&(number(row, "From Bus") as u32)], index[&(number(row, "To Bus") as u32)]);
        let line = branch(place as u32 + 1, from, to, number(row, "X"), number(row, "Cont Rating") / 100.0);
        case.branches.push(CaseBranch { r: number(row, "R"), ..line });
    }
    case.storages.push(CaseStorage { capacity: 1.5, charge_max: 0.5, discharge_max: 0.5, ..storage(1, index[&313]) });
    case.dc_lines.push(dc_line(1, index[&113], index[&316], (-1.0, 1.0)));
    Some(case)
}
