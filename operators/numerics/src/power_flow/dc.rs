//! DC power flow: angles and active flows at magnitude 1 and without losses.
//!
//! Flow of a branch: `f = b (θ_from - θ_to - shift)`. The exact model takes `b = 1/(x tap)` with its shift, PGLib's
//! `b = x/(r² + x²)` ignores taps and shifts. Bus conductances draw their power at magnitude 1. The reference bus of each
//! component covers the difference. Per unit and radians.

use super::schedule::Schedule;
use super::{PowerFlow, PowerFlowError};
use crate::admittance::BranchFlow;
use crate::case::{Case, CaseBranch};
use crate::sparse::{Ldlt, Pattern};

/// How a branch is represented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// `b = 1/(x tap)`, with shift.
    Exact,
    /// `b = x/(r² + x²)`, taps and shifts ignored.
    Pglib,
}

/// A solved DC power flow; indices as in the case.
#[derive(Clone, Debug, PartialEq)]
pub struct DcPowerFlow {
    /// Angle of each bus.
    pub va: Vec<f64>,
    /// Power leaving the `from` side of each branch; as much arrives.
    pub flows: Vec<f64>,
    /// Of each component its reference bus and what was added to the schedule there.
    pub slack: Vec<(usize, f64)>,
}

/// Solves the DC power flow of a case's schedule.
///
/// # Errors
/// When a component has not exactly one reference bus, a branch no reactance, or the equations are singular.
pub fn solve(case: &Case, model: Model) -> Result<DcPowerFlow, PowerFlowError> {
    let schedule = Schedule::new(case, &case.components(), &super::Slack::Reference)?;
    let lines = case.branches.iter().map(|branch| {
        if branch.x == 0.0 {
            let (from, to) = (case.buses[branch.from].id, case.buses[branch.to].id);
            return Err(PowerFlowError::NoReactance { from, to });
        }
        Ok(match model {
            Model::Exact => (1.0 / (branch.x * branch.tap), branch.shift),
            Model::Pglib => (series_susceptance(branch), 0.0),
        })
    });
    let lines = lines.collect::<Result<Vec<_>, _>>()?;
    let va = angles(case, &schedule, &lines)?;
    let flow = |(branch, (b, shift)): (&CaseBranch, &(f64, f64))| b * (va[branch.from] - va[branch.to] - shift);
    let flows = Vec::from_iter(case.branches.iter().zip(&lines).map(flow));
    let mut open = Vec::from_iter(case.buses.iter().zip(&schedule.p).map(|(bus, p)| bus.g - p));
    for (branch, flow) in case.branches.iter().zip(&flows) {
        open[branch.from] += flow;
        open[branch.to] -= flow;
    }
    Ok(DcPowerFlow { slack: schedule.references.iter().map(|&bus| (bus, open[bus])).collect(), va, flows })
}

/// Solves the DC power flow and gives it in the form of an AC one: magnitudes 1, no reactive power, no losses; what the
/// reference buses cover is shared by their units in proportion to `p_max`.
///
/// # Errors
/// As [`solve`].
pub fn solve_as_ac(case: &Case, model: Model) -> Result<PowerFlow, PowerFlowError> {
    let found = solve(case, model)?;
    let schedule = Schedule::new(case, &case.components(), &super::Slack::Reference)?;
    let n = case.buses.len();
    let (mut p, mut slack) = (schedule.p.clone(), vec![0.0; n]);
    for &(bus, added) in &found.slack {
        p[bus] += added;
        slack[bus] = added;
    }
    // What is left open at the other buses, of which rounding is all.
    let mut open = Vec::from_iter(case.buses.iter().zip(&p).map(|(bus, p)| bus.g - p));
    for (branch, flow) in case.branches.iter().zip(&found.flows) {
        open[branch.from] += flow;
        open[branch.to] -= flow;
    }
    let flow = |p: &f64| BranchFlow { p_from: *p, q_from: 0.0, p_to: -p, q_to: 0.0 };
    Ok(PowerFlow {
        v: vec![1.0; n],
        va: found.va,
        q: vec![0.0; n],
        generator_p: schedule.active_outputs(case, &slack),
        generator_q: vec![0.0; case.generators.len()],
        flows: found.flows.iter().map(flow).collect(),
        loss: 0.0,
        slack: found.slack,
        iterations: 0,
        mismatch: open.iter().fold(0.0, |largest: f64, left| largest.max(left.abs())),
        p,
    })
}

/// Angles for a flat start of the AC power flow; branches without reactance carry nothing here.
pub(super) fn start_angles(case: &Case, schedule: &Schedule) -> Result<Vec<f64>, PowerFlowError> {
    let lines = Vec::from_iter(case.branches.iter().map(|branch| (series_susceptance(branch) / branch.tap, branch.shift)));
    match angles(case, schedule, &lines) {
        // A start need not be good: where the DC model has none, all angles are those of their reference.
        Err(PowerFlowError::Singular { .. }) => Ok(schedule.reference.iter().map(|reference| case.buses[*reference].va_start).collect()),
        other => other,
    }
}

fn series_susceptance(branch: &CaseBranch) -> f64 {
    branch.x / (branch.r * branch.r + branch.x * branch.x)
}

/// Angles with the (susceptance, shift) of each branch.
fn angles(case: &Case, schedule: &Schedule, lines: &[(f64, f64)]) -> Result<Vec<f64>, PowerFlowError> {
    let n = case.buses.len();
    let is_reference = |bus: usize| schedule.reference[bus] == bus;
    let mut places = Vec::from_iter((0..n).map(|bus| (bus, bus)));
    places.extend(case.branches.iter().map(|branch| (branch.from.min(branch.to), branch.from.max(branch.to))));
    let (pattern, slots) = Pattern::from_places(n, n, &places);
    let mut values = vec![0.0; pattern.len()];
    let mut va = Vec::from_iter((0..n).map(|bus| schedule.p[bus] - case.buses[bus].g));
    // Rows of reference buses become θ = its start value; what it means to the neighbours goes to the right-hand side.
    for bus in (0..n).filter(|bus| is_reference(*bus)) {
        values[slots[bus]] = 1.0;
        va[bus] = case.buses[bus].va_start;
    }
    for ((branch, (b, shift)), between) in case.branches.iter().zip(lines).zip(&slots[n..]) {
        for (own, other, sign) in [(branch.from, branch.to, 1.0), (branch.to, branch.from, -1.0)] {
            if is_reference(own) {
                continue;
            }
            values[slots[own]] += b;
            va[own] += sign * b * shift;
            if is_reference(other) {
                va[own] += b * case.buses[other].va_start;
            }
        }
        if !is_reference(branch.from) && !is_reference(branch.to) {
            values[*between] -= b;
        }
    }
    let mut ldlt = Ldlt::analyze(&pattern);
    ldlt.factor(&values).map_err(|pivot| PowerFlowError::Singular { iterations: 0, bus: case.buses[pivot.row].id })?;
    ldlt.solve(&mut va);
    Ok(va)
}
