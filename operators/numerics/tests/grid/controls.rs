//! Reactive limits, taps and shunts as outer loops, and the fast decoupled iteration. The judge is the plain power flow of
//! a case written down as the loops ended.

use crate::support::published;
use gridflow_inputs::network::BusKind;
use gridflow_numerics::case::Case;
use gridflow_numerics::power_flow::control::{Bound, Controlled, Controls, Rest, ShuntControl, TapControl, solve as controlled};
use gridflow_numerics::power_flow::{Cache, Method, Options, PowerFlow, PowerFlowError, Slack, solve};

fn plain(case: &Case) -> PowerFlow {
    solve(case, &Options::default(), &mut Cache::new()).unwrap_or_else(|error| panic!("{error}"))
}

fn solved(case: &Case, controls: &Controls) -> Controlled {
    controlled(case, &Options::default(), controls, &mut Cache::new()).unwrap_or_else(|error| panic!("{error}"))
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn units_keep_their_reactive_limits_and_a_bus_at_a_limit_lies_on_its_side_of_the_set_point() {
    let mut at_limits = 0;
    for name in ["pglib_opf_case14_ieee", "pglib_opf_case118_ieee", "case1354pegase", "case_ACTIVSg2000", "case9241pegase"] {
        let Some(case) = published(name) else { return };
        let controls = Controls { reactive_limits: true, ..Controls::default() };
        let found = solved(&case, &controls);
        at_limits += found.limited.len();
        let (mut output, mut least, mut greatest, mut set_point) =
            (vec![0.0; case.buses.len()], vec![0.0; case.buses.len()], vec![0.0; case.buses.len()], vec![None; case.buses.len()]);
        for (unit, q) in case.generators.iter().zip(&found.flow.generator_q) {
            output[unit.bus] += q;
            least[unit.bus] += unit.q_min;
            greatest[unit.bus] += unit.q_max;
            set_point[unit.bus] = Some(unit.v_setpoint);
        }
        for (bus, row) in case.buses.iter().enumerate().filter(|(_, row)| row.kind == BusKind::Generator) {
            let Some(set_point) = set_point[bus] else { continue };
            assert!(output[bus] <= greatest[bus] + 1e-5 && output[bus] >= least[bus] - 1e-5, "{name} bus {}", row.id);
            let v = found.flow.v[bus];
            match found.limited.iter().find(|limited| limited.bus == bus) {
                None => assert!((v - set_point).abs() < 1e-12, "{name} bus {}", row.id),
                Some(limited) if limited.switched_too_often => {}
                Some(limited) if limited.bound == Bound::Max => assert!(v <= set_point + controls.hysteresis, "{name} bus {}", row.id),
                Some(_) => assert!(v >= set_point - controls.hysteresis, "{name} bus {}", row.id),
            }
        }
        // The judge: load buses that inject what the limits allow.
        let mut written = case.clone();
        for limited in &found.limited {
            written.buses[limited.bus].kind = BusKind::Load;
            for unit in written.generators.iter_mut().filter(|unit| unit.bus == limited.bus) {
                unit.q = if limited.bound == Bound::Max { unit.q_max } else { unit.q_min };
            }
        }
        let judge = solve(&written, &Options::default(), &mut Cache::new()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(distance(&judge.v, &found.flow.v) < 1e-7 && distance(&judge.va, &found.flow.va) < 1e-7, "{name}");
    }
    assert!(at_limits > 20, "only {at_limits} buses came to a limit");
}

#[test]
fn a_bus_returns_from_its_limit_when_shunts_relieve_it() {
    let Some(mut case) = published("pglib_opf_case14_ieee") else { return };
    // The unit at index 2 can give little; shunts at its bus do its work.
    let bus = case.generators[2].bus;
    let free = plain(&case);
    (case.generators[2].q_min, case.generators[2].q_max) = (-0.4, free.generator_q[2] - 0.02);
    let alone = solved(&case, &Controls { reactive_limits: true, ..Controls::default() });
    assert!(alone.limited.iter().any(|limited| limited.bus == bus && limited.bound == Bound::Max));
    let bank = ShuntControl { bus, target: case.generators[2].v_setpoint + 0.004, deadband: 0.002, step: 0.02, sections: 50, on: 0 };
    let relieved = solved(&case, &Controls { reactive_limits: true, shunts: vec![bank], ..Controls::default() });
    assert!(relieved.limited.iter().all(|limited| limited.bus != bus), "{:?}", relieved.limited);
    // Holding its voltage again, the bus leaves the bank nothing to move.
    assert!(relieved.shunts[0].value > 0.0 && relieved.shunts[0].rest == Rest::WithoutEffect);
}

/// The branch of an index between two buses.
fn between(case: &Case, from: usize, to: usize) -> usize {
    case.branches.iter().position(|branch| (branch.from, branch.to) == (from, to)).expect("the branch is there")
}

#[test]
fn a_tap_holds_a_voltage_by_whole_steps_and_rests_where_it_cannot() {
    let Some(case) = published("pglib_opf_case14_ieee") else { return };
    let branch = between(&case, 3, 8);
    let (before, step) = (plain(&case), 0.00625);
    let ratio = case.branches[branch].tap;
    let tap = TapControl { branch, bus: 8, target: before.v[8] + 0.012, deadband: 0.002, step, min: 0.85, max: 1.15 };
    let found = solved(&case, &Controls { taps: vec![tap.clone()], ..Controls::default() });
    assert_eq!(found.taps[0].rest, Rest::Held);
    assert!((found.flow.v[8] - tap.target).abs() <= tap.deadband && found.taps[0].value < ratio);
    let steps = (found.taps[0].value - ratio) / step;
    assert!((steps - steps.round()).abs() < 1e-9, "{steps} steps");
    let mut written = case.clone();
    written.branches[branch].tap = found.taps[0].value;
    assert!(distance(&plain(&written).v, &found.flow.v) < 1e-8);
    assert_eq!(found.case, Some(written));

    let far = TapControl { target: before.v[8] + 0.2, min: ratio - 4.0 * step, ..tap.clone() };
    let found = solved(&case, &Controls { taps: vec![far], ..Controls::default() });
    assert_eq!(found.taps[0].rest, Rest::Bound(Bound::Min));
    assert!((found.taps[0].value - (ratio - 4.0 * step)).abs() < 1e-9);
    let held = TapControl { bus: case.generators[1].bus, target: 0.9, ..tap.clone() };
    assert_eq!(solved(&case, &Controls { taps: vec![held], ..Controls::default() }).taps[0].rest, Rest::WithoutEffect);
    let narrow = TapControl { target: before.v[8] + 0.0007, deadband: 1e-6, ..tap };
    assert_eq!(solved(&case, &Controls { taps: vec![narrow], ..Controls::default() }).taps[0].rest, Rest::Hunting);
}

#[test]
fn banks_switch_whole_sections_and_taps_and_banks_settle_together() {
    let Some(case) = published("case1354pegase") else { return };
    let before = plain(&case);
    let load_buses = case.buses.iter().enumerate().filter(|(_, bus)| bus.kind == BusKind::Load);
    let banks = load_buses.step_by(97).map(|(bus, _)| ShuntControl {
        bus,
        target: before.v[bus] + 0.004,
        deadband: 0.003,
        step: 0.05,
        sections: 40,
        on: 0,
    });
    let transformers = case.branches.iter().enumerate().filter(|(_, branch)| branch.tap != 1.0);
    let taps =
        transformers.filter(|(_, branch)| case.buses[branch.to].kind == BusKind::Load).step_by(7).map(|(index, branch)| TapControl {
            branch: index,
            bus: branch.to,
            target: before.v[branch.to] - 0.004,
            deadband: 0.003,
            step: 0.002,
            min: branch.tap - 0.1,
            max: branch.tap + 0.1,
        });
    let controls = Controls { taps: taps.collect(), shunts: banks.collect(), ..Controls::default() };
    assert!(controls.taps.len() >= 3 && controls.shunts.len() >= 5, "{} and {}", controls.taps.len(), controls.shunts.len());
    let found = solved(&case, &controls);
    let moved = found.case.as_ref().expect("there are taps and shunts");
    let held = found.taps.iter().chain(&found.shunts).filter(|position| position.rest == Rest::Held).count();
    assert!(held + 2 >= found.taps.len() + found.shunts.len(), "{:?} {:?}", found.taps, found.shunts);
    for (control, position) in controls.shunts.iter().zip(&found.shunts) {
        let outside = (found.flow.v[control.bus] - control.target).abs() > control.deadband;
        assert!(!outside || position.rest != Rest::Held);
        assert!((moved.buses[control.bus].b - case.buses[control.bus].b - position.value * control.step).abs() < 1e-12);
    }
    for (control, position) in controls.taps.iter().zip(&found.taps) {
        assert!((found.flow.v[control.bus] - control.target).abs() <= control.deadband || position.rest != Rest::Held);
    }
    assert!(distance(&plain(moved).v, &found.flow.v) < 1e-8);
    // A cache with a history changes nothing.
    let mut cache = Cache::new();
    solve(moved, &Options::default(), &mut cache).unwrap();
    assert_eq!(controlled(&case, &Options::default(), &controls, &mut cache).unwrap(), found);
}

#[test]
fn controls_that_make_no_sense_are_refused_and_rounds_end() {
    let Some(case) = published("pglib_opf_case14_ieee") else { return };
    let run = |controls: &Controls| controlled(&case, &Options::default(), controls, &mut Cache::new());
    let tap = TapControl { branch: between(&case, 3, 8), bus: 8, target: 1.0, deadband: 0.01, step: 0.01, min: 0.8, max: 1.2 };
    let bank = ShuntControl { bus: 4, target: 1.0, deadband: 0.01, step: 0.1, sections: 2, on: 0 };
    let taps = [
        TapControl { branch: 99, ..tap.clone() },
        TapControl { step: f64::NAN, ..tap.clone() },
        TapControl { step: -0.1, ..tap.clone() },
        TapControl { min: 1.1, ..tap.clone() },
        TapControl { target: 0.0, ..tap.clone() },
    ];
    for tap in taps {
        assert!(matches!(run(&Controls { taps: vec![tap], ..Controls::default() }), Err(PowerFlowError::Given(_))));
    }
    for bank in
        [ShuntControl { on: 3, ..bank.clone() }, ShuntControl { bus: 14, ..bank.clone() }, ShuntControl { step: 0.0, ..bank.clone() }]
    {
        assert!(matches!(run(&Controls { shunts: vec![bank], ..Controls::default() }), Err(PowerFlowError::Given(_))));
    }
    let tap = TapControl { target: plain(&case).v[8] + 0.03, ..tap };
    let short = run(&Controls { taps: vec![tap], max_rounds: 1, ..Controls::default() });
    assert_eq!(short.unwrap_err(), PowerFlowError::Unsettled { rounds: 1, bus: case.buses[8].id });
}

/// A made-up radial network: feeders of a hundred buses with laterals, a transformer with tap and shift at the head of each, its
/// `from` side at the reference bus in every second one.
fn radial(buses: usize) -> Case {
    let (mut bus, mut branch) = (String::new(), String::new());
    for k in 0..buses {
        let (kind, p, q) = if k == 0 { (3, 0.0, 0.0) } else { (1, 3.0 / buses as f64, 1.5 / buses as f64) };
        bus += &format!("{} {kind} {p} {q} 0 {} 1 1 0 12.66 1 1.1 0.9;\n", k + 1, if k % 50 == 20 { 0.05 } else { 0.0 });
        if k == 0 {
            continue;
        }
        let (head, lateral) = (k % 100 == 1, k % 10 == 0);
        let parent = if head { 0 } else { k - if lateral { 7 } else { 1 } };
        let (from, to) = if head && k % 200 == 1 { (k, parent) } else { (parent, k) };
        let (r, x) = (0.3 * (1.0 + (k % 7) as f64 * 0.1), 0.25 * (1.0 + (k % 5) as f64 * 0.1));
        let (ratio, shift) = if head { (0.98, 30) } else { (0.0, 0) };
        branch += &format!("{} {} {r} {x} 0.0001 0 0 0 {ratio} {shift} 1 -360 360;\n", from + 1, to + 1);
    }
    let gen_row = "mpc.gen = [1 0 0 100 -100 1.02 100 1 200 0];";
    let text = format!(
        "function mpc = radial\nmpc.version = '2';\nmpc.baseMVA = 100;\nmpc.bus = [\n{bus}];\n{gen_row}\nmpc.branch = [\n{branch}];\n"
    );
    let file = gridflow_inputs::matpower::read("radial.m", &text).unwrap_or_else(|error| panic!("{error}"));
    Case::new(100.0, &file.network).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_sweep_arrives_where_newton_does_on_radial_networks_and_is_refused_elsewhere() {
    for buses in [2, 33, 1000] {
        let case = radial(buses);
        let newton = plain(&case);
        let sweep = Options { method: Method::Sweep, ..Options::default() };
        let found = solve(&case, &sweep, &mut Cache::new()).unwrap_or_else(|error| panic!("{buses}: {error}"));
        assert!(found.mismatch <= 1e-8);
        assert!(distance(&found.v, &newton.v) < 1e-6 && distance(&found.va, &newton.va) < 1e-6, "{buses}");
        assert!((found.loss - newton.loss).abs() < 1e-6 && distance(&found.generator_p, &newton.generator_p) < 1e-6);
        let mut heavy = case.clone();
        heavy.loads.iter_mut().for_each(|load| load.p *= 1e4);
        assert!(matches!(solve(&heavy, &sweep, &mut Cache::new()), Err(PowerFlowError::Diverged { .. })));
        let mut meshed = case.clone();
        meshed.branches.push(case.branches[0].clone());
        assert!(matches!(solve(&meshed, &sweep, &mut Cache::new()), Err(PowerFlowError::Given(_))));
    }
}

#[test]
fn the_fast_decoupled_iteration_arrives_where_newton_does() {
    for name in ["pglib_opf_case14_ieee", "pglib_opf_case118_ieee", "case1354pegase", "case_ACTIVSg2000", "case9241pegase"] {
        let Some(case) = published(name) else { return };
        let newton = plain(&case);
        let options = Options { method: Method::FastDecoupled, ..Options::default() };
        let found = solve(&case, &options, &mut Cache::new()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(found.mismatch <= 1e-8 && found.iterations > newton.iterations, "{name}: {} iterations", found.iterations);
        assert!(distance(&found.v, &newton.v) < 1e-6 && distance(&found.va, &newton.va) < 1e-6, "{name}");
        let slack = Options { slack: Slack::Distributed, ..options };
        assert!(matches!(solve(&case, &slack, &mut Cache::new()), Err(PowerFlowError::Given(_))));
    }
}

#[test]
fn a_static_var_compensator_at_its_limit_is_a_shunt() {
    let Some(mut case) = published("pglib_opf_case14_ieee") else { return };
    let bus = case.generators[2].bus;
    case.generators.iter_mut().filter(|unit| unit.bus == bus).for_each(|unit| unit.v_setpoint = 1.04);
    (case.generators[2].q_min, case.generators[2].q_max) = (-10.0, 10.0);
    let controls = Controls { reactive_limits: true, ..Controls::default() };
    let free = solved(&case, &controls).flow;
    let (v, needed) = (free.v[bus], free.generator_q[2]);
    case.generators[2].static_var = true;
    // It can give at 1 per unit what is needed here, and so more at the voltage it holds.
    (case.generators[2].q_min, case.generators[2].q_max) = (-0.4, needed / (v * v) + 1e-3);
    assert!(v > 1.0 && case.generators[2].q_max < needed);
    assert!(solved(&case, &controls).limited.iter().all(|limited| limited.bus != bus));
    // At its limit, which is the susceptance.
    case.generators[2].q_max = needed / (v * v) - 0.05;
    let found = solved(&case, &controls);
    let at_limit = found.limited.iter().find(|limited| limited.bus == bus).map(|limited| limited.bound);
    assert_eq!(at_limit, Some(Bound::Max));
    assert!(found.flow.v[bus] < v - 1e-4);
    let mut written = case.clone();
    for limited in &found.limited {
        written.buses[limited.bus].kind = BusKind::Load;
        for unit in written.generators.iter_mut().filter(|unit| unit.bus == limited.bus) {
            unit.q = match (unit.static_var, limited.bound) {
                (true, _) => 0.0,
                (false, Bound::Max) => unit.q_max,
                (false, Bound::Min) => unit.q_min,
            };
        }
    }
    written.buses[bus].b += case.generators[2].q_max;
    let judge = plain(&written);
    assert!(distance(&judge.v, &found.flow.v) < 1e-7 && distance(&judge.va, &found.flow.va) < 1e-7);
    assert!((found.flow.generator_q[2] - case.generators[2].q_max * found.flow.v[bus] * found.flow.v[bus]).abs() < 1e-7);
}

#[test]
fn a_limited_bus_stays_within_the_hysteresis_and_returns_no_oftener_than_it_may() {
    let Some(mut case) = published("pglib_opf_case14_ieee") else { return };
    let (bus, set_point) = (case.generators[2].bus, case.generators[2].v_setpoint);
    (case.generators[2].q_min, case.generators[2].q_max) = (-0.4, plain(&case).generator_q[2] - 0.02);
    let controls = Controls { reactive_limits: true, hysteresis: 0.1, ..Controls::default() };
    let found = solved(&case, &controls);
    let limited = found.limited.iter().find(|limited| limited.bus == bus).expect("it gives what it can");
    assert!(limited.bound == Bound::Max && !limited.switched_too_often);
    let v = found.flow.v[bus];
    assert!(v < set_point && v > set_point - controls.hysteresis, "{v}");
    // A bus that may return before its voltage says so does, as often as it may.
    let rounds = [0, 1, 3].map(|max_switches| {
        let found = solved(&case, &Controls { hysteresis: -0.1, max_switches, ..controls.clone() });
        assert!(found.limited.iter().any(|limited| limited.bus == bus && limited.switched_too_often));
        found.rounds
    });
    assert_eq!(rounds, [found.rounds, found.rounds + 2, found.rounds + 6]);
}

#[test]
fn a_static_var_compensator_at_its_least_is_a_shunt_too() {
    let Some(mut case) = published("pglib_opf_case14_ieee") else { return };
    let (free, unit) = (plain(&case).generator_q[2], &mut case.generators[2]);
    (unit.static_var, unit.q_min, unit.q_max) = (true, free + 0.1, free + 1.0);
    let (bus, set_point, least) = (unit.bus, unit.v_setpoint, unit.q_min);
    let found = solved(&case, &Controls { reactive_limits: true, ..Controls::default() });
    let limited = found.limited.iter().find(|limited| limited.bus == bus).map(|limited| limited.bound);
    assert_eq!(limited, Some(Bound::Min));
    let v = found.flow.v[bus];
    assert!(v > set_point + 5e-4 && (found.flow.generator_q[2] - least * v * v).abs() < 1e-7, "{v}");
}
