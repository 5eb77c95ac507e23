//! Judges: golden figures, published costs, the angle formulation, and differences of the optimum itself.
#![allow(clippy::print_stdout)] // skipped tests and measurements say so

mod reference;

use super::testing::*;
use super::*;
use crate::case::{CaseStorage, Cost};
use crate::power_flow::dc::Model as FlowModel;
use gridflow_inputs::network::{BusKind, LoadClass};

fn near(value: f64, printed: f64, digits: i32) {
    let half = (0..digits).fold(0.5, |half, _| half / 10.0);
    assert!((value - printed).abs() <= half * 1.000_001, "{value} is not {printed}");
}

fn one_hour(case: &Case) -> Vec<Interval> {
    vec![Interval::of(case, 1.0)]
}

fn strict() -> Options {
    Options { allow_shedding: false, ..Options::default() }
}

// REQ: DISP-10, DISP-12, DISP-14, DISP-15, DISP-16
#[test]
fn the_four_bus_case_gives_its_golden_figures() {
    let case = four_bus(1.0);
    let dispatch = solve(&case, &one_hour(&case), &strict()).unwrap();
    let result = &dispatch.intervals[0];
    near(result.generator_p[0] * 100.0, 110.4167, 4);
    near(result.generator_p[1] * 100.0, 114.5833, 4);
    near(dispatch.cost, 6955.7292, 4);
    near(result.emission_t_per_h, 145.2083, 4);
    for lmp in &result.lmp {
        near(lmp.total(), 31.0417, 4);
        near(lmp.congestion, 0.0, 6);
    }
    for (flow, printed) in result.flow_p.iter().zip([14.867, 9.451, -5.549, 15.549]) {
        near(flow * 100.0, printed, 3);
    }
    let variable: f64 = result.generator_p[2..].iter().sum();
    near(100.0 * variable / 3.6, 37.5, 1);
    assert!(result.binding.is_empty() && result.curtailed_p.iter().all(|p| p.abs() < 1e-7));
}

// REQ: DISP-37
#[test]
fn limits_at_fifteen_percent_split_the_prices_as_printed() {
    let case = four_bus(0.15);
    let dispatch = solve(&case, &one_hour(&case), &strict()).unwrap();
    let result = &dispatch.intervals[0];
    near(result.generator_p[0] * 100.0, 101.4, 1);
    near(result.generator_p[1] * 100.0, 123.6, 1);
    near(dispatch.cost, 6965.4852, 4);
    near(result.emission_t_per_h, 140.70, 2);
    for (lmp, printed) in result.lmp.iter().zip([30.140, 32.304, 34.901, 36.632]) {
        near(lmp.total(), printed, 3);
    }
    assert_eq!(result.binding.iter().map(|binding| (binding.branch, binding.kind)).collect::<Vec<_>>(), [(3, LimitKind::Rating)]);
}

// REQ: DISP-23, DISP-28
#[test]
fn limits_at_ten_percent_are_infeasible_and_the_proof_names_lines() {
    let case = four_bus(0.10);
    match solve(&case, &one_hour(&case), &strict()) {
        Err(DispatchError::Infeasible(conflicts)) => {
            assert!(conflicts.iter().any(|conflict| matches!(conflict, Conflict::Branch { .. })), "{conflicts:?}");
        }
        other => panic!("{other:?}"),
    }
    let dispatch = solve(&case, &one_hour(&case), &Options::default()).unwrap();
    assert!(dispatch.shed_mwh > 0.1 && dispatch.shed_mwh < 50.0, "{}", dispatch.shed_mwh);
    for (flow, branch) in dispatch.intervals[0].flow_p.iter().zip(&case.branches) {
        assert!(flow.abs() <= branch.rating + 1e-6);
    }
}

#[test]
fn demand_beyond_capacity_is_infeasible_by_the_missing_power() {
    let mut case = four_bus(1.0);
    case.loads[1].p = 3.0;
    let failure = solve(&case, &one_hour(&case), &strict()).unwrap_err();
    assert!(
        matches!(&failure, DispatchError::Infeasible(conflicts) if matches!(conflicts[..], [Conflict::Shortage { interval: 0, missing_mw }] if (missing_mw - 55.0).abs() < 1e-6)),
        "{failure}"
    );
    assert!(failure.to_string().contains("55.000 MW"));
}

// REQ: GRID-20
#[test]
fn published_cases_cost_what_is_published() {
    for (name, published) in
        [("case14_ieee", 2.0515e3), ("case118_ieee", 9.3101e4), ("case300_ieee", 5.1785e5), ("case1354_pegase", 1.2182e6)]
    {
        let Some(case) = matpower(&format!("pglib_opf_{name}.m")) else { return };
        let dispatch = solve(&case, &one_hour(&case), &strict()).unwrap_or_else(|failure| panic!("{name}: {failure}"));
        println!("{name}: {} ({} rounds, {} limits)", dispatch.cost, dispatch.rounds, dispatch.limits_stated);
        assert!((dispatch.cost / published - 1.0).abs() < 1e-3, "{name}: {} is not {published}", dispatch.cost);
        check_flows(&case, &dispatch);
    }
}

/// Flows recomputed by the DC power flow, and held against the limits.
fn check_flows(case: &Case, dispatch: &Dispatch) {
    let mut fixed = case.clone();
    for (unit, p) in fixed.generators.iter_mut().zip(&dispatch.intervals[0].generator_p) {
        unit.p = *p;
    }
    let reference = fixed.buses.iter().position(|bus| bus.kind == BusKind::Reference).unwrap();
    let flows = crate::power_flow::dc::solve(&fixed, FlowModel::Pglib).unwrap();
    assert!(flows.slack.iter().all(|(bus, power)| *bus == reference && power.abs() < 1e-6), "{:?}", flows.slack);
    for (place, branch) in case.branches.iter().enumerate() {
        assert!((flows.flows[place] - dispatch.intervals[0].flow_p[place]).abs() < 1e-6);
        assert!(flows.flows[place].abs() <= branch.rating + 1e-6);
        let angle = flows.va[branch.from] - flows.va[branch.to];
        assert!(angle <= branch.angle_max + 1e-6 && angle >= branch.angle_min - 1e-6);
    }
}

// REQ: SHED-01, SHED-03, SHED-05
#[test]
fn shedding_takes_interruptible_load_first_and_spares_hospitals() {
    let mut case = four_bus(10.0);
    case.loads[0].class = LoadClass::Critical;
    case.loads[1].class = LoadClass::Interruptible;
    case.loads[2].class = LoadClass::Industrial;
    let short = |capacity: f64| {
        let mut interval = Interval::of(&case, 1.0);
        interval.available_p = vec![2.0 * capacity, 1.5 * capacity, 0.75 * capacity, 0.6 * capacity];
        solve(&case, &[interval], &Options::default()).unwrap().intervals[0].shed_p.clone()
    };
    let assert_shed = |shed: Vec<f64>, expected: [f64; 4]| {
        assert!(shed.iter().zip(expected).all(|(shed, expected)| (shed - expected).abs() < 1e-6), "{shed:?}");
    };
    assert_shed(short(1.0), [0.0; 4]);
    assert_shed(short(0.6), [0.0, 0.69, 0.0, 0.0]);
    assert_shed(short(0.4), [0.0, 1.2, 0.46, 0.0]);
    assert_shed(short(0.1), [0.315, 1.2, 0.9, 0.7]);
}

#[test]
fn surplus_is_returned_where_units_cannot_go_lower() {
    let mut case = four_bus(1.0);
    for load in &mut case.loads {
        load.p = 0.1;
    }
    let dispatch = solve(&case, &one_hour(&case), &Options::default()).unwrap();
    let result = &dispatch.intervals[0];
    assert!((result.surplus_p.iter().sum::<f64>() - 0.4).abs() < 1e-6, "{:?}", result.surplus_p);
    assert!((result.curtailed_p.iter().sum::<f64>() - 1.35).abs() < 1e-6, "weather-bound units give way first");
    assert!(matches!(solve(&case, &one_hour(&case), &strict()), Err(DispatchError::Infeasible(_))));
}

#[test]
fn ramps_hold_a_unit_back_and_an_unreachable_bound_is_reported() {
    let mut case = four_bus(1.0);
    case.generators[1].ramp_per_minute = 0.1 / 60.0;
    let mut intervals = vec![Interval::of(&case, 1.0); 3];
    for (interval, scale) in intervals.iter_mut().zip([0.9, 0.95, 1.0]) {
        interval.load_p.iter_mut().for_each(|p| *p *= scale);
    }
    let options = Options { initial_p: Some(vec![0.8, 0.5, 0.75, 0.6]), ..strict() };
    let dispatch = solve(&case, &intervals, &options).unwrap();
    let mut before = 0.5;
    for interval in &dispatch.intervals {
        assert!((interval.generator_p[1] - before).abs() <= 0.1 + 1e-7);
        before = interval.generator_p[1];
    }
    assert!(dispatch.relaxed.is_empty());
    let cold = Options { initial_p: Some(vec![0.8, 0.0, 0.75, 0.6]), ..strict() };
    let dispatch = solve(&case, &intervals, &cold).unwrap();
    assert_eq!(dispatch.relaxed, [Relaxed::Ramp { interval: 0, generator: 1 }]);
}

#[test]
fn storage_moves_energy_from_the_cheap_to_the_dear_interval_and_never_both_ways() {
    let mut case = four_bus(1.0);
    case.storages.push(CaseStorage { capacity: 4.0, charge_max: 1.0, discharge_max: 1.0, ..storage(1, 3) });
    let mut intervals = vec![Interval::of(&case, 1.0); 4];
    for (interval, scale) in intervals.iter_mut().zip([0.7, 0.7, 1.3, 1.3]) {
        interval.load_p.iter_mut().for_each(|p| *p *= scale);
    }
    let dispatch = solve(&case, &intervals, &strict()).unwrap();
    let power: Vec<f64> = dispatch.intervals.iter().map(|interval| interval.storage_p[0]).collect();
    assert!(power[0] < -0.05 && power[1] < -0.05 && power[2] > 0.05 && power[3] > 0.05, "{power:?}");
    let mut soc = 0.5;
    for power in &power {
        soc += if *power < 0.0 { -power * 0.95 } else { -power / 0.95 } / 4.0;
    }
    assert!((soc - dispatch.intervals[3].soc[0]).abs() < 1e-6 && soc >= 0.5 - 1e-6);
    let price = |t: usize| dispatch.intervals[t].lmp[3].total();
    // Moving a MWh pays until the price spread has shrunk to the losses and the wear.
    assert!((price(2) - (price(0) / 0.9025 + 0.5)).abs() < 1e-3, "{} {}", price(0), price(2));
    let worthy = Options { storage_end: vec![StorageEnd::Value(500.0)], ..strict() };
    assert!(solve(&case, &intervals, &worthy).unwrap().intervals[3].soc[0] > 0.9 - 1e-5);
    let greedy = Options { storage_end: vec![StorageEnd::AtLeast(1.0)], ..strict() };
    let relaxed = solve(&case, &intervals[..1], &greedy).unwrap().relaxed;
    assert!(matches!(relaxed[..], [Relaxed::StorageEnd { storage: 0, missing_mwh }] if missing_mwh > 10.0), "{relaxed:?}");
}

#[test]
fn a_link_relieves_a_limit_and_pays_its_losses() {
    let mut case = four_bus(0.10);
    case.dc_lines.push(dc_line(1, 3, 0, (-0.5, 0.5)));
    case.dc_lines[0].loss_ratio = 0.02;
    case.dc_lines[0].loss = 0.001;
    let dispatch = solve(&case, &one_hour(&case), &strict()).unwrap();
    let link = dispatch.intervals[0].dc_line_p[0];
    assert!(link < -0.01, "{link}");
    let generation: f64 = dispatch.intervals[0].generator_p.iter().sum();
    assert!((generation - 3.6 - 0.001 + 0.02 * link).abs() < 1e-6, "{generation} {link}");
}

#[test]
fn a_piecewise_curve_is_as_cheap_as_the_parabola_it_touches() {
    let mut case = four_bus(1.0);
    let parabola = solve(&case, &one_hour(&case), &strict()).unwrap().cost;
    for unit in &mut case.generators[..2] {
        let points = (0..=400).map(|step| {
            let mw = f64::from(step) * 0.5;
            (mw, cost_per_h(&unit.cost, mw))
        });
        unit.cost = Cost::Points(points.collect());
    }
    let pieces = solve(&case, &one_hour(&case), &strict()).unwrap().cost;
    assert!(pieces >= parabola - 1e-6 && pieces < parabola + 0.02, "{pieces} {parabola}");
}

#[test]
fn a_phase_shifter_and_a_tap_are_seen_by_the_exact_model_only() {
    let mut case = four_bus(1.0);
    case.branches[0].shift = 0.02;
    case.branches[1].tap = 1.05;
    let flows = |model: Model, flow_model: FlowModel| {
        let dispatch = solve(&case, &one_hour(&case), &Options { model, ..strict() }).unwrap();
        let mut fixed = case.clone();
        for (unit, p) in fixed.generators.iter_mut().zip(&dispatch.intervals[0].generator_p) {
            unit.p = *p;
        }
        let judge = crate::power_flow::dc::solve(&fixed, flow_model).unwrap().flows;
        assert!(judge.iter().zip(&dispatch.intervals[0].flow_p).all(|(judge, flow)| (judge - flow).abs() < 1e-7));
        judge
    };
    assert!((flows(Model::Exact, FlowModel::Exact)[0] - flows(Model::Pglib, FlowModel::Pglib)[0]).abs() > 0.01);
}

#[test]
fn unusable_numbers_are_refused_by_name() {
    let message = |change: &dyn Fn(&mut Case)| {
        let mut case = four_bus(1.0);
        change(&mut case);
        match solve(&case, &one_hour(&case), &Options::default()) {
            Err(DispatchError::Input(message)) => message,
            other => panic!("{other:?}"),
        }
    };
    assert!(message(&|case| case.branches[1].x = 0.0).contains("branch 2 has no reactance"));
    assert!(message(&|case| case.generators[1].p_max = 0.1).contains("unit 2 has impossible limits"));
    assert!(message(&|case| case.generators[0].cost = Cost::Polynomial([0.0, 1.0, -1.0])).contains("not convex"));
    assert!(message(&|case| case.loads[2].p = f64::NAN).contains("load 3"));
    assert!(message(&|case| case.branches.truncate(1)).contains("bus 3 is not connected with bus 1"));
}

#[test]
fn a_single_bus_needs_no_network() {
    let mut case = four_bus(1.0);
    case.buses.truncate(1);
    case.branches.clear();
    case.generators.truncate(1);
    case.loads.truncate(1);
    let dispatch = solve(&case, &one_hour(&case), &strict()).unwrap();
    assert!((dispatch.intervals[0].lmp[0].total() - 28.0).abs() < 1e-6);
}

// REQ: DISP-08
#[test]
fn equal_input_gives_equal_bits() {
    let case = four_bus(0.10);
    let run = || solve(&case, &one_hour(&case), &Options::default()).unwrap();
    let bits = |dispatch: &Dispatch| format!("{dispatch:?}");
    assert_eq!(bits(&run()), bits(&run()));
}
