//! The dialects of MATPOWER files, what is refused and where, and the published networks.

use super::*;
use crate::input::Input;
use crate::network::{BusKind, EquipmentKind, Fuel, LoadClass};
use crate::row::Real;
use crate::units::{MilliVoltAmperes, MilliWatts};
use proptest::prelude::*;

/// A case with every form the dialects use.
const SMALL: &str = "%% A case
function mpc = small()
%{
mpc.bus = [ this is a comment ];
%}
mpc.version = \"2\"; mpc.baseMVA = 1e2
mpc.bus = [ % columns
  7, 3, 0, 0, 0, 0, 1, 1.02, 0, 220, 1, 1.1, .9; 8 1 50.5 -3e0 1 -19 2 1 -5. 220 1 1.1 0.9 % last
  5 2 -4 0 0 0 ...  a continued row
    2 1 0 110 1 1.1 0.9
];
mpc.gen = [
\t7\t10\t0\tInf\t-Inf\t1.02\t100\t1\t200\t0;
\t5\t0\t0\t20\t-20\t1\t100\t0\tInf\t-50;
];
mpc.branch = [
  7 8 0.01 0.1 0.02 0 Inf 120 0 0 1 -360 360;
  8 5 0 0.2 0 90 95 100 0.98 30 1 0 0;
];
mpc.gencost = [
  2 100 0 3 0.01 20 5 0 0 0;
  1 0 0 3 0 0 10 300 20 400;
  2 0 0 0 0 0 0 0 0 0;
  2 0 0 0 0 0 0 0 0 0;
];
mpc.dcline = [ 7 5 1 10 9.8 0 0 1 1 -20 20 -5 5 -5 5 0.1 0.01 ];
mpc.bus_name = { 'A''s bus'; 'B', 'C' };
mpc.genfuel = {'wind'; 'coal'};
mpc.user.note = { 'x]', [1 2; 3 4] };
mpc.areas = [1 7; 2 8];
end
";

fn data(file: &str) -> Option<(String, String)> {
    let path = crate::test_data::find(&format!("matpower/{file}"))?;
    Some((file.to_owned(), std::fs::read_to_string(path).expect("a test file can be read")))
}

#[test]
fn every_form_of_the_dialects_is_understood() {
    let file = read("small.m", SMALL).unwrap();
    let network = &file.network;
    assert_eq!((file.name.as_str(), file.base_power), ("small", MilliVoltAmperes::from_mva(100.0).unwrap()));
    let buses: Vec<_> = network.buses.iter().map(|bus| (bus.id.0, bus.name.as_str(), bus.kind, bus.zone.0)).collect();
    assert_eq!(buses, [(5, "C", BusKind::Generator, 2), (7, "A's bus", BusKind::Reference, 1), (8, "B", BusKind::Load, 2)]);
    let loads: Vec<_> = network.loads.iter().map(|load| (load.id.0, load.load_p.mw(), load.load_q.mvar())).collect();
    assert_eq!(loads, [(5, -4.0, 0.0), (8, 50.5, -3.0)]);
    let shunts: Vec<_> = network.shunts.iter().map(|shunt| (shunt.id.0, shunt.load_p.mw(), shunt.q.mvar())).collect();
    assert_eq!(shunts, [(8, 1.0, -19.0)]);

    let [line, transformer] = &network.branches[..] else { panic!("two branches") };
    assert_eq!((line.tap_ratio, line.rating.0, line.rating_long_term.0, line.rating_short_term.mva()), (Real::ONE, 0, 0, 120.0));
    assert!((line.angle_max_rad.get() - std::f64::consts::TAU).abs() < 1e-15);
    assert!((transformer.shift_rad.get() - std::f64::consts::FRAC_PI_6).abs() < 1e-15);
    assert_eq!((transformer.angle_min_rad, transformer.angle_max_rad), (Real::ZERO, Real::ZERO));
    assert_eq!(network.transformers.len(), 1);
    assert_eq!((network.transformers[0].branch.0, network.transformers[0].tap_max.get()), (2, 0.98));

    let [wind, coal] = &network.generators[..] else { panic!("two units") };
    assert_eq!((wind.q_min.mvar(), wind.q_max.mvar(), wind.variable, wind.in_service), (-1e6, 1e6, true, true));
    assert_eq!(wind.cost_polynomial.iter().map(|c| c.get()).collect::<Vec<_>>(), [5.0, 20.0, 0.01]);
    assert_eq!((coal.p_max.mw(), coal.p_min.mw(), coal.in_service, coal.emission_t_per_mwh.get()), (1e6, -50.0, false, 0.9));
    assert_eq!(coal.cost_polynomial, []);
    let points: Vec<_> = coal.cost_points.iter().map(|(mw, cost)| (mw.mw(), cost.get())).collect();
    assert_eq!(points, [(0.0, 0.0), (20.0, 400.0)]);

    let line = &network.dc_lines[0];
    assert_eq!((line.p.mw(), line.p_min.mw(), line.loss.mw(), line.loss_ratio.ratio()), (10.0, -20.0, 0.1, 0.01));
    let switches: Vec<_> = network.switches.iter().map(|switch| (switch.id.0, switch.equipment, switch.equipment_id)).collect();
    use EquipmentKind::{Branch, Generator};
    assert_eq!(switches, [(1, Branch, 1), (2, Branch, 2), (100_001, Generator, 1), (100_002, Generator, 2)]);
    assert_eq!(
        file.warnings,
        [
            "the field user.note is not known and was passed over",
            "costs of reactive power (second half of gencost) were passed over",
            "generator 2: the cost is not convex; 1 of its 3 points were cut off",
        ]
    );
}

/// Reads [`SMALL`] with `from` replaced by `to` and returns line, column and reason.
fn refusal(from: &str, to: &str) -> (u64, String, String) {
    assert!(SMALL.contains(from), "{from:?} is not in the case");
    let error = read("small.m", &SMALL.replacen(from, to, 1)).expect_err(to);
    assert_eq!(error.file, "small.m");
    (error.line, error.column, error.reason)
}

#[test]
fn what_is_wrong_is_named_by_line_column_and_expectation() {
    let at = |line: u64, column: u32, reason: &str| (line, column.to_string(), reason.to_owned());
    let file = |reason: &str| (0, String::new(), reason.to_owned());
    assert_eq!(refusal("  8 5 0 0.2", "  8 6 0 0.2"), at(18, 5, "row 2 of branch: there is no bus 6"));
    assert_eq!(refusal("\t5\t0\t0\t20", "\t4\t0\t0\t20"), at(14, 2, "row 2 of gen: there is no bus 4"));
    assert_eq!(refusal("; 8 1 50.5", "; 7 1 50.5"), at(8, 50, "row 2 of bus: the number 7 belongs to an earlier bus already"));
    assert_eq!(refusal("; 8 1 50.5", "; 8.5 1 50.5"), at(8, 50, "row 2 of bus: expected bus_i as an integer from 1 on, found 8.5"));
    assert_eq!(refusal("50.5", "NaN"), at(8, 54, "bus: expected a number, found NaN"));
    assert_eq!(refusal("50.5", "Inf"), at(8, 54, "row 2 of bus: expected Pd as a finite number, found inf"));
    assert_eq!(refusal("50.5", "1e400"), at(8, 54, "bus: \"1e400\" is too large for a number"));
    assert_eq!(
        refusal("50.5", "2*5"),
        at(8, 55, "expected a blank, comma or semicolon behind a number of bus, found \"*5 -3e0 1 -19 2 1 -5. 220 1 1.1 0.9 % la\"…")
    );
    assert_eq!(refusal("50.5", "50-5"), at(8, 56, "bus: expected a number, found an expression"));
    assert_eq!(refusal("50.5", "1e7"), at(8, 54, "row 2 of bus: Pd 10000000 is beyond what a row may hold"));
    assert_eq!(refusal("  8 5 0 0.2", "  8 5 0 2e300"), at(18, 9, "row 2 of branch: x 2e300 is beyond what a row may hold"));
    assert_eq!(refusal("7, 3, 0", "7, 3,, 0").0, 8);
    assert_eq!(refusal("50.5", ""), at(8, 50, "a row of bus has 12 columns where the rows above have 13"));
    assert_eq!(refusal("0 0 1 -360 360;", "0 0 1 -360;"), at(18, 3, "a row of branch has 13 columns where the rows above have 12"));
    assert_eq!(refusal("1e2", "0"), at(6, 20, "expected baseMVA as a positive number, found 0"));
    assert_eq!(refusal("1e2", "-100").0, 6);
    assert_eq!(refusal("\"2\"", "'1'"), at(6, 1, "expected version '2' of the case format"));
    assert_eq!(refusal("mpc.branch", "mpc.twig"), file("the case has no field branch"));
    assert_eq!(refusal("mpc.gen ", "mpc.generators "), file("the case has no field gen"));
    assert_eq!(refusal("mpc.baseMVA", "mpc.base"), file("the case has no field baseMVA"));
    assert_eq!(refusal("7 8 0.01", "7 7 0.01"), at(17, 5, "row 1 of branch: both ends are bus 7"));
    assert_eq!(
        refusal("2 100 0 3 0.01", "2 100 0 4 0.01"),
        at(21, 13, "row 1 of gencost: a cost polynomial of degree 3 is not supported: at most 2, or points (model 1)")
    );
    assert_eq!(
        refusal("3 0.01 20", "3 -.01 20"),
        at(21, 13, "row 1 of gencost: the quadratic coefficient -0.01 is negative: the cost is not convex")
    );
    assert_eq!(refusal("10 300 20", "10 300 10"), at(22, 22, "row 2 of gencost: cost points must ascend in power, 10 does not"));
    assert_eq!(refusal("2 100 0 3", "2 100 0 9"), at(21, 11, "row 1 of gencost: n = 9 needs 9 values behind it, the row has 6"));
    assert_eq!(refusal("2 100 0 3", "3 100 0 3").0, 21);
    assert_eq!(refusal("'coal'", "'cole'"), at(28, 24, "\"cole\" is no fuel"));
    assert_eq!(refusal(", 'C'", ""), at(27, 1, "expected 3 strings in bus_name, one a row of its table, found 2"));
    assert_eq!(refusal("-50;", "-50 1;"), at(14, 2, "a row of gen has 11 columns where the rows above have 10"));
    assert_eq!(refusal("mpc.areas = ", "mpc.bus(1, 3) = "), at(30, 8, "bus is changed in part: files are read as data, not run"));
    assert_eq!(refusal("mpc.areas = ", "mpc.bus = "), at(30, 1, "bus is set a second time"));
    assert_eq!(refusal("mpc.areas", "areas").0, 30);
    assert_eq!(refusal("function mpc = small()", "function [baseMVA, bus] = small()").0, 2);
    assert_eq!(refusal("function mpc = small()", "mpc = 1"), at(2, 1, "expected the line \"function mpc = <name>\", found \"mpc = 1\""));
    assert_eq!(refusal("1 7; 2 8];\nend\n", "1 7; 2 8"), at(30, 13, "the matrix areas is not closed by \"]\""));
}

#[test]
fn what_hangs_on_an_isolated_bus_is_out_of_service() {
    let text = SMALL.replace("  5 2 -4", "  5 4 -4");
    let network = read("small.m", &text).unwrap().network;
    assert_eq!(network.branches.iter().map(|row| row.in_service).collect::<Vec<_>>(), [true, false]);
    assert_eq!(network.loads.iter().map(|row| row.in_service).collect::<Vec<_>>(), [false, true]);
    assert!(!network.dc_lines[0].in_service);
}

#[test]
fn every_public_case_reads_with_its_counts_and_its_load() {
    // Counts and sums were taken from the files by a script of a few lines, not by this reader.
    for (name, buses, branches, units, units_on, taps, load_mw, load_mvar) in [
        ("pglib_opf_case14_ieee.m", 14, 20, 5, 5, 3, 259.0, 73.5),
        ("pglib_opf_case118_ieee.m", 118, 186, 54, 54, 11, 4242.0, 1438.0),
        ("pglib_opf_case300_ieee.m", 300, 411, 69, 69, 129, 23_525.85, 7_787.97),
        ("case1354pegase.m", 1354, 1991, 260, 260, 234, 73_059.67, 13_401.44),
        ("pglib_opf_case1354_pegase.m", 1354, 1991, 260, 260, 240, 73_059.67, 13_401.44),
        ("case_ACTIVSg2000.m", 2000, 3206, 544, 432, 861, 67_109.21, 19_014.34),
        ("case9241pegase.m", 9241, 16_049, 1445, 1445, 1319, 312_354.12, 73_581.61),
        ("pglib_opf_case9241_pegase.m", 9241, 16_049, 1445, 1445, 2252, 312_354.12, 73_581.61),
    ] {
        let Some((file, text)) = data(name) else { continue };
        let read = read(&file, &text).unwrap_or_else(|error| panic!("{error}"));
        let network = read.network;
        assert_eq!(format!("{}.m", read.name), name);
        assert_eq!((network.buses.len(), network.branches.len(), network.generators.len()), (buses, branches, units), "{name}");
        assert_eq!(network.generators.iter().filter(|unit| unit.in_service).count(), units_on, "{name}");
        assert_eq!(network.transformers.len(), taps, "{name}");
        assert_eq!(network.switches.len(), branches + units, "{name}");
        // Fixed point: the sum is exact, whatever the order.
        assert_eq!(network.loads.iter().map(|load| load.load_p).sum::<MilliWatts>(), MilliWatts::from_mw(load_mw).unwrap(), "{name}");
        assert_eq!(network.loads.iter().map(|load| load.load_q.0).sum::<i64>(), (load_mvar * 1e9_f64).round_ties_even() as i64, "{name}");
        let rows = crate::network::Network::from_rows(&network.clone().into_rows());
        assert_eq!(rows, network, "{name}");
    }
}

#[test]
fn the_texas_case_gives_names_and_fuels() {
    let Some((file, text)) = data("case_ACTIVSg2000.m") else { return };
    let network = read(&file, &text).unwrap().network;
    assert_eq!(network.buses[0].name, "ODESSA 2 0");
    let count = |fuel| network.generators.iter().filter(|unit| unit.fuel == fuel).count();
    let counts = [Fuel::Coal, Fuel::Hydro, Fuel::Gas, Fuel::Nuclear, Fuel::Solar, Fuel::Wind].map(count);
    assert_eq!(counts, [39, 25, 367, 4, 22, 87]);
    assert_eq!(network.generators.iter().filter(|unit| unit.variable).count(), 22 + 87);
}

#[test]
fn our_fourteen_buses_carry_the_published_figures() {
    let file = read("ieee14.m", IEEE14).unwrap();
    assert_eq!(file.warnings, Vec::<String>::new());
    let network = file.network;
    assert_eq!((network.buses.len(), network.branches.len(), network.generators.len(), network.transformers.len()), (14, 20, 5, 3));
    assert_eq!(network.loads.iter().map(|load| load.load_p).sum::<MilliWatts>().mw(), 259.0);
    assert_eq!(network.loads.iter().map(|load| load.load_q.0).sum::<i64>(), 73_500_000_000);
    let classes: Vec<LoadClass> = network.loads.iter().map(|load| load.class).collect();
    for class in LoadClass::ALL {
        assert!(classes.contains(class), "no load is {class:?}");
    }
    let zones: std::collections::BTreeSet<u32> = network.buses.iter().map(|bus| bus.zone.0).collect();
    assert_eq!(zones.into_iter().collect::<Vec<_>>(), [1, 2]);
    assert!(network.into_rows().iter().all(|row| !matches!(row, Input::DcLine(_))));
}

/// Gauss-Seidel on the rows, as an independent judge of the data: slow, and without any function but a square root.
// REQ: GRID-31
#[test]
fn the_power_flow_of_our_fourteen_buses_is_the_published_one() {
    type Complex = (f64, f64);
    let multiply = |a: Complex, b: Complex| (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0);
    let divide = |a: Complex, b: Complex| {
        let square = b.0 * b.0 + b.1 * b.1;
        ((a.0 * b.0 + a.1 * b.1) / square, (a.1 * b.0 - a.0 * b.1) / square)
    };
    let network = read("ieee14.m", IEEE14).unwrap().network;
    let mut admittance = [[(0.0, 0.0); 14]; 14];
    let mut add = |i: usize, j: usize, y: Complex| admittance[i][j] = (admittance[i][j].0 + y.0, admittance[i][j].1 + y.1);
    for branch in &network.branches {
        let (i, j) = (branch.from.0 as usize - 1, branch.to.0 as usize - 1);
        let (tap, y) = (branch.tap_ratio.get(), divide((1.0, 0.0), (branch.r_pu.get(), branch.x_pu.get())));
        let half = branch.b_pu.get() / 2.0;
        add(i, i, (y.0 / (tap * tap), (y.1 + half) / (tap * tap)));
        add(j, j, (y.0, y.1 + half));
        add(i, j, (-y.0 / tap, -y.1 / tap));
        add(j, i, (-y.0 / tap, -y.1 / tap));
    }
    for shunt in &network.shunts {
        let bus = shunt.bus.0 as usize - 1;
        add(bus, bus, (shunt.load_p.mw() / 100.0, shunt.q.mvar() / 100.0));
    }
    let (mut power, mut held) = ([(0.0, 0.0); 14], [None; 14]);
    for load in &network.loads {
        power[load.bus.0 as usize - 1] = (-load.load_p.mw() / 100.0, -load.load_q.mvar() / 100.0);
    }
    for unit in &network.generators {
        let bus = unit.bus.0 as usize - 1;
        power[bus].0 += unit.p.mw() / 100.0;
        held[bus] = Some(unit.v_setpoint_pu.get());
    }
    let mut v: [Complex; 14] = std::array::from_fn(|bus| (held[bus].unwrap_or(1.0), 0.0));
    let injection = |v: &[Complex; 14], bus: usize| {
        let current = (0..14).fold((0.0, 0.0), |sum: Complex, other| {
            let part = multiply(admittance[bus][other], v[other]);
            (sum.0 + part.0, sum.1 + part.1)
        });
        multiply(v[bus], (current.0, -current.1))
    };
    for _ in 0..5000 {
        for bus in 1..14 {
            let q = if held[bus].is_some() { injection(&v, bus).1 } else { power[bus].1 };
            let mut current = divide((power[bus].0, -q), (v[bus].0, -v[bus].1));
            for other in (0..14).filter(|other| *other != bus) {
                let part = multiply(admittance[bus][other], v[other]);
                current = (current.0 - part.0, current.1 - part.1);
            }
            v[bus] = divide(current, admittance[bus][bus]);
            if let Some(magnitude) = held[bus] {
                let scale = magnitude / (v[bus].0 * v[bus].0 + v[bus].1 * v[bus].1).sqrt();
                v[bus] = (v[bus].0 * scale, v[bus].1 * scale);
            }
        }
    }
    let slack = injection(&v, 0);
    let losses = (0..14).map(|bus| injection(&v, bus).0).sum::<f64>() * 100.0;
    assert!((slack.0 * 100.0 - 232.393).abs() < 5e-4, "slack {slack:?}");
    assert!((slack.1 * 100.0 + 16.549).abs() < 5e-4, "slack {slack:?}");
    assert!((losses - 13.393).abs() < 5e-4, "losses {losses}");
    // tan(-16.034°) and tan(-16.033°) = -0.28740, -0.28738: bus 14 has the lowest angle.
    assert!((v[13].1 / v[13].0 + 0.287_399).abs() < 2e-5, "bus 14 at {:?}", v[13]);

    for branch in &network.branches {
        let (i, j) = (branch.from.0 as usize - 1, branch.to.0 as usize - 1);
        let (tap, y) = (branch.tap_ratio.get(), divide((1.0, 0.0), (branch.r_pu.get(), branch.x_pu.get())));
        let inner = (v[i].0 / tap, v[i].1 / tap);
        let series = multiply(y, (inner.0 - v[j].0, inner.1 - v[j].1));
        let half = branch.b_pu.get() / 2.0;
        let leaving = (series.0 - half * inner.1, series.1 + half * inner.0);
        let arriving = (series.0 + half * v[j].1, series.1 - half * v[j].0);
        for (voltage, current) in [(inner, leaving), (v[j], arriving)] {
            let s = multiply(voltage, (current.0, -current.1));
            let mva = (s.0 * s.0 + s.1 * s.1).sqrt() * 100.0;
            assert!(mva < branch.rating.mva(), "{} carries {mva} of {} MVA", branch.name, branch.rating.mva());
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_without_panic(text in "(function mpc = a\n)?(mpc\\.(bus|gen|x) ?= ?|[-0-9. \n;,%{}'\\[\\]]|\\PC){0,60}") {
        let _ = read("any.m", &text);
    }

    #[test]
    fn a_case_with_bytes_changed_is_read_or_refused_without_panic(
        edits in prop::collection::vec((0..SMALL.len(), any::<u8>(), 0..4u8), 1..6)
    ) {
        let mut bytes = SMALL.as_bytes().to_vec();
        for (at, byte, kind) in edits {
            // Removals may leave nothing to edit: an empty text is a case of its own.
            let Some(last) = bytes.len().checked_sub(1) else { break };
            let at = at.min(last);
            match kind {
                0 => bytes[at] = byte & 0x7f,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at + 1),
            }
        }
        if let Err(error) = read("any.m", &String::from_utf8_lossy(&bytes)) {
            prop_assert!(error.line as usize <= bytes.len() + 1 && !error.reason.is_empty());
        }
    }
}
