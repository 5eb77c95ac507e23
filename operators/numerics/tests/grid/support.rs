//! A reader of the numbers of MATPOWER files, just enough for these tests, and a source of noise.

use gridflow_inputs::ids::{BranchId, BusId, GeneratorId, LoadId, ShuntId, ZoneId};
use gridflow_inputs::network::{Branch, Bus, BusKind, Fuel, Generator, Load, LoadClass, Network, Shunt};
use gridflow_inputs::row::Real;
use gridflow_inputs::units::{MicroPerMwh, MicroVolts, MilliVars, MilliVoltAmperes, MilliWatts};
use gridflow_numerics::case::Case;
use std::f64::consts::PI;
use std::path::PathBuf;

/// The directory of public data sets, when it is there.
pub(crate) fn data() -> Option<PathBuf> {
    #[allow(clippy::disallowed_methods)] // where test data lies is no row of a log
    let given = std::env::var("GRIDFLOW_DATA").map(PathBuf::from);
    let path = given.unwrap_or_else(|_| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")));
    path.is_dir().then_some(path)
}

/// A MATPOWER file of the data sets as a case, when it is there; says so otherwise.
#[allow(clippy::print_stdout)] // a test that checks nothing has to say so
pub(crate) fn published(name: &str) -> Option<Case> {
    let text = data().and_then(|data| std::fs::read_to_string(data.join(format!("matpower/{name}.m"))).ok());
    if text.is_none() {
        println!("skipped: {name}.m is not in the data directory");
    }
    text.map(|text| case(&text))
}

/// A case from the text of a MATPOWER file.
pub(crate) fn case(text: &str) -> Case {
    let base_mva = text.split("mpc.baseMVA").nth(1).and_then(|rest| rest.split(['=', ';']).nth(1));
    let base_mva = base_mva.expect("a base power").trim().parse().expect("a number");
    Case::new(base_mva, &network(text)).expect("a published file makes sense")
}

fn table(text: &str, name: &str) -> Vec<Vec<f64>> {
    let rest = text.split(&format!("mpc.{name} = [")).nth(1).expect("the table is there");
    let lines = rest.split("];").next().expect("a table ends").lines();
    let numbers = lines.map(|line| {
        let line = line.split('%').next().unwrap_or_default();
        line.split([' ', '\t', ';', ',']).filter(|word| !word.is_empty()).map(|word| word.parse().expect("a number")).collect()
    });
    numbers.filter(|row: &Vec<f64>| !row.is_empty()).collect()
}

/// Loads and shunts are numbered as their buses.
pub(crate) fn network(text: &str) -> Network {
    let real = |value: f64| Real::new(value).expect("finite");
    let mut network = Network::default();
    for row in table(text, "bus") {
        let id = row[0] as u32;
        let kind = [BusKind::Load, BusKind::Generator, BusKind::Reference, BusKind::Isolated][row[1] as usize - 1];
        network.buses.push(Bus {
            id: BusId(id),
            valid_from_ms: 0,
            name: String::new(),
            kind,
            zone: ZoneId(row[6] as u32),
            base_voltage: MicroVolts::from_kv(row[9]).expect("in range"),
            v_min_pu: real(row[12]),
            v_max_pu: real(row[11]),
            v_start_pu: real(row[7]),
            angle_start_rad: real(row[8] * PI / 180.0),
        });
        let (load_p, load_q) = (MilliWatts::from_mw(row[2]).expect("in range"), MilliVars::from_mvar(row[3]).expect("in range"));
        network.loads.push(Load {
            id: LoadId(id),
            valid_from_ms: 0,
            name: String::new(),
            bus: BusId(id),
            load_p,
            load_q,
            class: LoadClass::Residential,
            interruption_cost: MicroPerMwh(0),
            in_service: true,
        });
        let (load_p, q) = (MilliWatts::from_mw(row[4]).expect("in range"), MilliVars::from_mvar(row[5]).expect("in range"));
        network.shunts.push(Shunt { id: ShuntId(id), valid_from_ms: 0, bus: BusId(id), load_p, q, in_service: true });
    }
    for (index, row) in table(text, "gen").into_iter().enumerate() {
        let mw = |value| MilliWatts::from_mw(value).expect("in range");
        // Files say "unlimited" as a number no row can hold.
        let mvar = |value: f64| MilliVars::from_mvar(value.clamp(-1e6, 1e6)).expect("in range");
        network.generators.push(Generator {
            id: GeneratorId(index as u32 + 1),
            valid_from_ms: 0,
            name: String::new(),
            bus: BusId(row[0] as u32),
            fuel: Fuel::Other,
            p: mw(row[1]),
            q: mvar(row[2]),
            p_min: mw(row[9]),
            p_max: mw(row[8]),
            q_min: mvar(row[4]),
            q_max: mvar(row[3]),
            v_setpoint_pu: real(row[5]),
            variable: false,
            in_service: row[7] > 0.0,
            cost_polynomial: vec![],
            cost_points: vec![],
            ramp_per_minute: MilliWatts(0),
            start_up_cost: Real::ZERO,
            min_up_ms: 0,
            min_down_ms: 0,
            emission_t_per_mwh: Real::ZERO,
        });
    }
    for (index, row) in table(text, "branch").into_iter().enumerate() {
        let mva = |value| MilliVoltAmperes::from_mva(value).expect("in range");
        network.branches.push(Branch {
            id: BranchId(index as u32 + 1),
            valid_from_ms: 0,
            name: String::new(),
            from: BusId(row[0] as u32),
            to: BusId(row[1] as u32),
            r_pu: real(row[2]),
            x_pu: real(row[3]),
            b_pu: real(row[4]),
            tap_ratio: if row[8] == 0.0 { Real::ONE } else { real(row[8]) },
            shift_rad: real(row[9] * PI / 180.0),
            rating: mva(row[5]),
            rating_long_term: mva(row[6]),
            rating_short_term: mva(row[7]),
            angle_min_rad: real(row[11] * PI / 180.0),
            angle_max_rad: real(row[12] * PI / 180.0),
            in_service: row[10] > 0.0,
        });
    }
    network
}
