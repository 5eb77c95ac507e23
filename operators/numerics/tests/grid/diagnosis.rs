//! Wrong statuses of branches, wrong taps and conforming bad data, planted and found.

use crate::measurements::{all_kinds, buses_of, measured, readings, reference, truth};
use crate::support::{Noise, published};
use gridflow_numerics::admittance::branch_flows;
use gridflow_numerics::case::{Case, CaseMeasurement, MeasurementKind as Kind};
use gridflow_numerics::estimation::{BadDataOptions, BadDatum, Cache, Diagnosis, Options, diagnose};
use gridflow_numerics::power_flow;

/// Voltages, injections, and flows at one side of each branch and both of every third.
fn usual(case: &Case) -> Vec<Kind> {
    let mut kinds = all_kinds(case);
    kinds.retain(|kind| !matches!(kind, Kind::ActiveFlowTo(branch) | Kind::ReactiveFlowTo(branch) if branch % 3 != 0));
    kinds
}

/// Meters of usual accuracy, none better than 0.2 MW.
fn metered(kinds: &[Kind], values: &[f64], noise: &mut Noise) -> Vec<CaseMeasurement> {
    let mut meters = measured(kinds, values, || 0.0);
    for meter in &mut meters {
        meter.sigma = meter.sigma.max(2e-3);
        meter.value += meter.sigma * noise.normal();
    }
    meters
}

fn run(case: &Case, open: &[gridflow_numerics::case::CaseBranch], measurements: &[CaseMeasurement]) -> Diagnosis {
    let bad_data = BadDataOptions::default();
    diagnose(case, open, reference(case), measurements, &Options::default(), &bad_data, &mut Cache::new())
        .unwrap_or_else(|error| panic!("{error}"))
}

fn without(case: &Case, branch: usize) -> Option<Case> {
    let mut other = case.clone();
    other.branches.remove(branch);
    (other.components().iter().all(|lowest| *lowest == 0)).then_some(other)
}

/// The kinds of a case that lacks a branch, as those of the case that has it; what is at the branch reads nothing.
fn shifted(kind: Kind, branch: usize) -> Option<Kind> {
    let at = |index: usize, of: fn(usize) -> Kind| (index != branch).then(|| of(index - usize::from(index > branch)));
    match kind {
        Kind::ActiveFlowFrom(index) => at(index, Kind::ActiveFlowFrom),
        Kind::ActiveFlowTo(index) => at(index, Kind::ActiveFlowTo),
        Kind::ReactiveFlowFrom(index) => at(index, Kind::ReactiveFlowFrom),
        Kind::ReactiveFlowTo(index) => at(index, Kind::ReactiveFlowTo),
        other => Some(other),
    }
}

/// A branch can be told from its status when its flow is at least this many standard deviations of the difference between
/// the flow meter and the injection meters at its ends.
const DETECTABLE: f64 = 10.0;

fn power_flow_of(case: &Case) -> Option<power_flow::PowerFlow> {
    power_flow::solve(case, &power_flow::Options::default(), &mut power_flow::Cache::new()).ok()
}

fn deviation(case: &Case, branch: usize, measurements: &[CaseMeasurement]) -> f64 {
    let ends = [case.branches[branch].from, case.branches[branch].to];
    let at_ends = measurements.iter().filter(|meter| matches!(meter.kind, Kind::ActiveInjection(bus) if ends.contains(&bus)));
    at_ends.map(|meter| meter.sigma * meter.sigma).fold(0.0, f64::max).sqrt()
}

// REQ: GRID-09
#[test]
#[allow(clippy::print_stdout)] // says what was missed
fn a_branch_that_is_open_in_truth_and_closed_in_the_model_is_named() {
    for (name, step) in [("pglib_opf_case118_ieee", 3), ("case1354pegase", 111)] {
        let Some(case) = published(name) else { return };
        let closed = truth(&case);
        let flows = branch_flows(&case, &closed.v, &closed.va);
        let (mut found, mut detectable) = (0, 0);
        let mut missed = Vec::new();
        for branch in (0..case.branches.len()).step_by(step) {
            let Some(now) = without(&case, branch) else { continue };
            let Some(state) = power_flow_of(&now) else { continue };
            let kinds = usual(&case);
            let known = Vec::from_iter(kinds.iter().filter_map(|kind| shifted(*kind, branch)));
            let mut read = readings(&now, &known, &state.v, &state.va).into_iter();
            let values = Vec::from_iter(kinds.iter().map(|kind| shifted(*kind, branch).and_then(|_| read.next()).unwrap_or(0.0)));
            let measurements = metered(&kinds, &values, &mut Noise(branch as u64));
            let flow = flows[branch].p_from.abs().max(flows[branch].p_to.abs());
            if flow < DETECTABLE * deviation(&case, branch, &measurements) {
                continue;
            }
            detectable += 1;
            let diagnosis = run(&case, &[], &measurements);
            let right =
                matches!(&diagnosis.branches[..], [one] if one.branch == branch && !one.closed && one.objective[1] < one.objective[0]);
            found += usize::from(right && diagnosis.taps.is_empty());
            if !right {
                missed.push((branch, diagnosis.branches.clone(), diagnosis.taps.len(), diagnosis.identification.bad.len()));
            }
        }
        println!("{name}: open {found} of {detectable}; missed {missed:?}");
        assert!(detectable >= 8 && 100 * found >= 95 * detectable, "{name}: {found} of {detectable}");
    }
}

#[test]
#[allow(clippy::print_stdout)] // says what was missed
fn a_branch_that_is_closed_in_truth_and_open_in_the_model_is_named() {
    for (name, step) in [("pglib_opf_case118_ieee", 3), ("case1354pegase", 111)] {
        let Some(case) = published(name) else { return };
        let state = truth(&case);
        let flows = branch_flows(&case, &state.v, &state.va);
        let (mut found, mut detectable) = (0, 0);
        let mut missed = Vec::new();
        for branch in (0..case.branches.len()).step_by(step) {
            let Some(model) = without(&case, branch) else { continue };
            let known = Vec::from_iter(usual(&case).into_iter().filter(|kind| shifted(*kind, branch).is_some()));
            let values = readings(&case, &known, &state.v, &state.va);
            let kinds_of_model = Vec::from_iter(known.iter().filter_map(|kind| shifted(*kind, branch)));
            let measurements = metered(&kinds_of_model, &values, &mut Noise(branch as u64));
            let flow = flows[branch].p_from.abs().max(flows[branch].p_to.abs());
            if flow < DETECTABLE * deviation(&case, branch, &measurements) {
                continue;
            }
            detectable += 1;
            // Others that are open in truth: between buses that are neighbours of its ends, so that they could be mistaken for it.
            let ends = [case.branches[branch].from, case.branches[branch].to];
            let mut open = vec![case.branches[branch].clone()];
            let near = model.branches.iter().filter(|one| ends.contains(&one.from) != ends.contains(&one.to)).take(4);
            open.extend(
                near.map(|one| {
                    let other = if ends.contains(&one.from) { ends[0] } else { ends[1] };
                    let mut wrong = case.branches[branch].clone();
                    (wrong.from, wrong.to) = (one.from, if one.to == other { one.from } else { one.to });
                    wrong
                })
                .filter(|one| one.from != one.to),
            );
            let diagnosis = run(&model, &open, &measurements);
            let right = matches!(&diagnosis.branches[..], [one] if one.branch == model.branches.len() && one.closed);
            found += usize::from(right && diagnosis.taps.is_empty());
            if !right {
                missed.push((branch, diagnosis.branches.clone(), diagnosis.taps.len(), diagnosis.identification.bad.len()));
            }
        }
        println!("{name}: closed {found} of {detectable}; missed {missed:?}");
        assert!(detectable >= 8 && 100 * found >= 95 * detectable, "{name}: {found} of {detectable}");
    }
}

#[test]
#[allow(clippy::print_stdout)] // says what was missed
fn nothing_is_suspected_where_all_is_as_the_model_has_it() {
    for (name, seeds) in [("pglib_opf_case118_ieee", 20), ("case1354pegase", 5)] {
        let Some(case) = published(name) else { return };
        let state = truth(&case);
        let kinds = usual(&case);
        let values = readings(&case, &kinds, &state.v, &state.va);
        for seed in 0..seeds {
            let mut measurements = metered(&kinds, &values, &mut Noise(seed));
            let clean = run(&case, &[], &measurements);
            assert!(clean.branches.is_empty() && clean.taps.is_empty(), "{name}, seed {seed}: {:?} {:?}", clean.branches, clean.taps);
            assert_eq!(clean.case, case);
            // A meter that lies is a meter that lies.
            let mut noise = Noise(1000 + seed);
            let index = (noise.bits() % measurements.len() as u64) as usize;
            measurements[index].value += 25.0 * measurements[index].sigma;
            let lied = run(&case, &[], &measurements);
            assert!(lied.branches.is_empty() && lied.taps.is_empty(), "{name}, seed {seed}: {:?} {:?}", lied.branches, lied.taps);
        }
    }
}

#[test]
#[allow(clippy::print_stdout)] // says what was missed
fn a_wrong_tap_is_named_and_no_meter_blamed_for_it() {
    for (name, step) in [("pglib_opf_case118_ieee", 1), ("case1354pegase", 23)] {
        let Some(case) = published(name) else { return };
        let state = truth(&case);
        let kinds = usual(&case);
        let values = readings(&case, &kinds, &state.v, &state.va);
        let (mut found, mut planted) = (0, 0);
        let mut missed = Vec::new();
        let transformers = Vec::from_iter((0..case.branches.len()).filter(|branch| case.branches[*branch].tap != 1.0));
        for (round, &branch) in transformers.iter().step_by(step).enumerate() {
            // The model is wrong by 2 to 5 %, up or down.
            let share = 0.02 + 0.01 * (round % 4) as f64;
            let mut model = case.clone();
            model.branches[branch].tap *= if round % 2 == 0 { 1.0 + share } else { 1.0 - share };
            let measurements = metered(&kinds, &values, &mut Noise(branch as u64));
            let diagnosis = run(&model, &[], &measurements);
            planted += 1;
            let right = matches!(&diagnosis.taps[..], [one] if one.branch == branch
                && (one.suspected - case.branches[branch].tap).abs() < 5.0 * one.sigma);
            // What chance does to meters elsewhere is not blamed on the tap.
            let ends = [case.branches[branch].from, case.branches[branch].to];
            let beside = |bad: &BadDatum| buses_of(&case, kinds[bad.index]).iter().any(|bus| ends.contains(bus));
            let right = right && diagnosis.branches.is_empty() && !diagnosis.identification.bad.iter().any(beside);
            found += usize::from(right);
            if !right {
                missed.push((branch, share, diagnosis.branches.clone(), diagnosis.taps.clone(), diagnosis.identification.bad.len()));
            }
        }
        println!("{name}: taps {found} of {planted}; missed {missed:?}");
        assert!(planted >= 8 && 100 * found >= 95 * planted, "{name}: {found} of {planted}");
    }
}

#[test]
#[allow(clippy::print_stdout)] // says what was missed
fn conforming_pairs_are_found_or_named() {
    let Some(case) = published("pglib_opf_case118_ieee") else { return };
    let state = truth(&case);
    let kinds = usual(&case);
    let values = readings(&case, &kinds, &state.v, &state.va);
    let (mut found, mut planted) = (0, 0);
    let mut missed = Vec::new();
    for bus in (0..case.buses.len()).step_by(4) {
        // An injection and the flow of a branch that leaves the bus, wrong by the same power.
        let Some(branch) = case.branches.iter().position(|branch| branch.from == bus) else { continue };
        let index = |kind: Kind| kinds.iter().position(|other| *other == kind).expect("it is measured");
        let pair = [index(Kind::ActiveInjection(bus)), index(Kind::ActiveFlowFrom(branch))];
        let mut measurements = metered(&kinds, &values, &mut Noise(bus as u64));
        let sigma = pair.map(|index| measurements[index].sigma).into_iter().fold(0.0, f64::max);
        pair.iter().for_each(|index| measurements[*index].value += 20.0 * sigma);
        planted += 1;
        let diagnosis = run(&case, &[], &measurements);
        let all = Vec::from_iter(diagnosis.identification.bad.iter().flat_map(|bad| [&[bad.index], &bad.alike[..]].concat()));
        let right = pair.iter().all(|index| all.contains(index)) && diagnosis.branches.is_empty() && diagnosis.taps.is_empty();
        found += usize::from(right);
        if !right {
            missed.push((bus, pair, diagnosis.identification.bad.clone(), diagnosis.branches.clone(), diagnosis.taps.clone()));
        }
    }
    println!("conforming: {found} of {planted}; missed {missed:#?}");
    assert!(planted >= 15 && 100 * found >= 95 * planted, "{found} of {planted}");
}
