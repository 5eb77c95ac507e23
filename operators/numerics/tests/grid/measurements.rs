//! Measurements of a known state: what can be measured, what it reads, and its errors.

use gridflow_inputs::ids::SensorId;
use gridflow_numerics::admittance::{Admittance, BranchFlow, branch_flows};
use gridflow_numerics::case::{Case, CaseMeasurement, MeasurementKind as Kind};
use gridflow_numerics::estimation::Options;
use gridflow_numerics::power_flow;

/// Everything that can be measured.
pub(crate) fn all_kinds(case: &Case) -> Vec<Kind> {
    let buses = 0..case.buses.len();
    let at_bus = |bus| [Kind::VoltageMagnitude(bus), Kind::ActiveInjection(bus), Kind::ReactiveInjection(bus)];
    let at_branch = |branch| {
        let from = [Kind::ActiveFlowFrom(branch), Kind::ReactiveFlowFrom(branch)];
        from.into_iter().chain([Kind::ActiveFlowTo(branch), Kind::ReactiveFlowTo(branch)])
    };
    buses.flat_map(at_bus).chain((0..case.branches.len()).flat_map(at_branch)).collect()
}

/// What measurements read at a state, by the formulas of the power flow.
pub(crate) fn readings(case: &Case, kinds: &[Kind], v: &[f64], va: &[f64]) -> Vec<f64> {
    let (p, q) = Admittance::new(case).injections(v, va);
    let flows = branch_flows(case, v, va);
    let current = |branch: usize, from: bool| current(case, &flows[branch], branch, from, v, va);
    let read = |kind: &Kind| match *kind {
        Kind::VoltageMagnitude(bus) => v[bus],
        Kind::VoltageAngle(bus) => va[bus],
        Kind::ActiveInjection(bus) => p[bus],
        Kind::ReactiveInjection(bus) => q[bus],
        Kind::ActiveFlowFrom(branch) => flows[branch].p_from,
        Kind::ActiveFlowTo(branch) => flows[branch].p_to,
        Kind::ReactiveFlowFrom(branch) => flows[branch].q_from,
        Kind::ReactiveFlowTo(branch) => flows[branch].q_to,
        Kind::CurrentMagnitudeFrom(branch) => length(current(branch, true)),
        Kind::CurrentMagnitudeTo(branch) => length(current(branch, false)),
        Kind::CurrentRealFrom(branch) => current(branch, true).0,
        Kind::CurrentRealTo(branch) => current(branch, false).0,
        Kind::CurrentImaginaryFrom(branch) => current(branch, true).1,
        Kind::CurrentImaginaryTo(branch) => current(branch, false).1,
    };
    kinds.iter().map(read).collect()
}

fn length((re, im): (f64, f64)) -> f64 {
    (re * re + im * im).sqrt()
}

/// The current leaving a side, from the power there: `I = conj(S / V)`.
fn current(case: &Case, flow: &BranchFlow, branch: usize, from: bool, v: &[f64], va: &[f64]) -> (f64, f64) {
    let branch = &case.branches[branch];
    let (bus, p, q) = if from { (branch.from, flow.p_from, flow.q_from) } else { (branch.to, flow.p_to, flow.q_to) };
    let (sin, cos) = libm::sincos(va[bus]);
    ((p * cos + q * sin) / v[bus], (p * sin - q * cos) / v[bus])
}

/// Measurements with errors of `noise` standard deviations: 0.4 % of a voltage, 1 % of a power but at least 0.0001 pu.
pub(crate) fn measured(kinds: &[Kind], values: &[f64], mut noise: impl FnMut() -> f64) -> Vec<CaseMeasurement> {
    let measurement = |(index, (kind, value)): (usize, (&Kind, &f64))| {
        let sigma = match kind {
            Kind::VoltageMagnitude(_) => 0.004 * value,
            Kind::VoltageAngle(_) => 1e-3,
            Kind::CurrentRealFrom(_) | Kind::CurrentRealTo(_) | Kind::CurrentImaginaryFrom(_) | Kind::CurrentImaginaryTo(_) => 1e-2,
            _ => (0.01 * value.abs()).max(1e-4),
        };
        CaseMeasurement { sensor: SensorId(index as u32), kind: *kind, value: value + sigma * noise(), sigma }
    };
    kinds.iter().zip(values).enumerate().map(measurement).collect()
}

/// Buses a measurement touches, of an injection the one it is at.
pub(crate) fn buses_of(case: &Case, kind: Kind) -> Vec<usize> {
    let mut buses = kind.buses(case).to_vec();
    buses.dedup();
    buses
}

pub(crate) fn reference(case: &Case) -> usize {
    case.buses.iter().position(|bus| bus.kind == gridflow_inputs::network::BusKind::Reference).expect("a reference")
}

pub(crate) fn flat(case: &Case) -> Options {
    let n = case.buses.len();
    let va = case.buses[reference(case)].va_start;
    Options { start: Some((vec![1.0; n], vec![va; n])), ..Options::default() }
}

pub(crate) fn truth(case: &Case) -> power_flow::PowerFlow {
    let options = power_flow::Options { tolerance: 1e-11, ..power_flow::Options::default() };
    power_flow::solve(case, &options, &mut power_flow::Cache::new()).unwrap_or_else(|error| panic!("{error}"))
}
