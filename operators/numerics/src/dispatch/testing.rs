//! Cases for tests: the four-bus case, published MATPOWER files and the RTS-GMLC tables.
#![allow(clippy::print_stdout)] // skipped tests and measurements say so

use crate::case::{Case, CaseBranch, CaseBus, CaseDcLine, CaseGenerator, CaseLoad, CaseStorage, Cost};
use gridflow_inputs::ids::{BranchId, BusId, DcLineId, GeneratorId, LoadId, StorageId, ZoneId};
use gridflow_inputs::network::{BusKind, LoadClass};

pub(crate) fn bus(id: u32, kind: BusKind) -> CaseBus {
    CaseBus { id: BusId(id), zone: ZoneId(1), kind, base_kv: 230.0, v_start: 1.0, va_start: 0.0, v_min: 0.9, v_max: 1.1, g: 0.0, b: 0.0 }
}

pub(crate) fn branch(id: u32, from: usize, to: usize, x: f64, rating: f64) -> CaseBranch {
    let (angle_min, angle_max) = (f64::NEG_INFINITY, f64::INFINITY);
    CaseBranch {
        id: BranchId(id),
        from,
        to,
        r: 0.0,
        x,
        b: 0.0,
        tap: 1.0,
        shift: 0.0,
        rating,
        rating_long_term: rating,
        rating_short_term: rating,
        angle_min,
        angle_max,
    }
}

pub(crate) fn unit(id: u32, bus: usize, limits: (f64, f64), cost: [f64; 3]) -> CaseGenerator {
    CaseGenerator {
        static_var: false,
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
        nodes: crate::case::Nodes::default(),
    }
}

#[allow(clippy::disallowed_methods)] // tests find their data by the environment
pub(crate) fn data() -> std::path::PathBuf {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    std::env::var("GRIDFLOW_DATA").unwrap_or_else(|_| default.to_string()).into()
}

/// A MATPOWER file of the data directory; none when it is not there.
pub(crate) fn matpower(name: &str) -> Option<Case> {
    let Ok(text) = std::fs::read_to_string(data().join("matpower").join(name)) else {
        println!("skipped: {name} is not there");
        return None;
    };
    let file = gridflow_inputs::matpower::read(name, &text).expect("a published file can be read");
    Some(Case::new(file.base_power.mva(), &file.network).expect("a published file makes sense"))
}

/// The RTS-GMLC tables: 73 buses, 158 units with three-piece costs, one storage unit, one direct-current link.
///
/// All units may run down to zero here, so that every one of these tests has a plan.
pub(crate) fn rts_gmlc() -> Option<Case> {
    let tables = data().join("rts-gmlc/source");
    if !tables.is_dir() {
        println!("skipped: the RTS-GMLC tables are not there");
        return None;
    }
    let file = gridflow_inputs::rts_gmlc::read(&tables).expect("the published tables can be read");
    let mut case = Case::new(file.base_power.mva(), &file.network).expect("the published tables make sense");
    for unit in &mut case.generators {
        unit.p_min = unit.p_min.min(0.0);
    }
    Some(case)
}
