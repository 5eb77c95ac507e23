//! Fast decoupled power flow, the XB scheme (Stott and Alsac 1974): `B' Δθ = -ΔP/V` and `B″ ΔV = -ΔQ/V` in turns.
//!
//! B' has 1/x of each branch, without taps, shunts and charging; B″ is -Im Y without phase shifts. Both are
//! factored once. What converges meets the same mismatch as Newton's method; only the way there is another.

use super::network::Network;
use super::newton::Solution;
use super::schedule::{Role, Schedule};
use super::{Options, PowerFlowError};
use crate::admittance::{Admittance, rectangular};
use crate::case::{Case, CaseBranch};
use crate::sparse::{Ldlt, Pattern};

/// Iterates from `v`, `va`, which receive the solution.
pub(super) fn solve(
    case: &Case,
    network: &Network,
    schedule: &Schedule,
    options: &Options,
    v: &mut [f64],
    va: &mut [f64],
) -> Result<Solution, PowerFlowError> {
    if schedule.distributed {
        return Err(PowerFlowError::Given("fast decoupled method needs the slack at the reference bus"));
    }
    if let Some(branch) = case.branches.iter().find(|branch| branch.x == 0.0) {
        return Err(PowerFlowError::NoReactance { from: case.buses[branch.from].id, to: case.buses[branch.to].id });
    }
    let angles = factored(case, |bus| schedule.roles[bus] != Role::Reference, |branch| [1.0 / branch.x; 3], |_| 0.0)?;
    let susceptances = |branch: &CaseBranch| {
        let series = branch.x / (branch.r * branch.r + branch.x * branch.x);
        let own = series - 0.5 * branch.b;
        [own / (branch.tap * branch.tap), series / branch.tap, own]
    };
    let magnitudes = factored(case, |bus| schedule.roles[bus] == Role::Load, susceptances, |bus| -case.buses[bus].b)?;
    let mut iterations = 0;
    loop {
        for (half, matrix) in [&angles, &magnitudes].into_iter().enumerate() {
            let voltages = rectangular(v, va);
            let (p, q) = injections(&network.admittance, &voltages);
            let mut slack = vec![0.0; v.len()];
            schedule.references.iter().for_each(|&bus| slack[bus] = p[bus] - schedule.p[bus]);
            let active = |bus: usize| p[bus] - schedule.p[bus] - schedule.share[bus] * slack[schedule.reference[bus]];
            let reactive = |bus: usize| q[bus] - schedule.q[bus];
            let (mismatch, worst) = schedule.largest_mismatch(active, reactive);
            if mismatch <= options.tolerance {
                return Ok(Solution { voltages, p, q, slack, iterations: iterations + half, mismatch });
            }
            if (half == 0 && iterations == options.max_iterations) || !mismatch.is_finite() {
                return Err(PowerFlowError::Diverged { iterations, mismatch, bus: case.buses[worst].id });
            }
            let moves = |bus: usize| if half == 0 { schedule.roles[bus] != Role::Reference } else { schedule.roles[bus] == Role::Load };
            let left = |bus: usize| if half == 0 { active(bus) } else { reactive(bus) };
            let mut step = Vec::from_iter((0..v.len()).map(|bus| if moves(bus) { -left(bus) / v[bus] } else { 0.0 }));
            matrix.solve(&mut step);
            let moved = if half == 0 { &mut *va } else { &mut *v };
            moved.iter_mut().zip(&step).for_each(|(value, step)| *value += step);
        }
        iterations += 1;
    }
}

/// Active and reactive injections of all buses.
pub(super) fn injections(admittance: &Admittance, voltages: &[(f64, f64)]) -> (Vec<f64>, Vec<f64>) {
    let of = |bus: usize| {
        let (own, mut p, mut q) = (voltages[bus], 0.0, 0.0);
        for slot in admittance.pattern.slots(bus) {
            let other = voltages[admittance.pattern.indices()[slot]];
            let (cos, sin) = (own.0 * other.0 + own.1 * other.1, own.1 * other.0 - own.0 * other.1);
            p += admittance.g[slot] * cos + admittance.b[slot] * sin;
            q += admittance.g[slot] * sin - admittance.b[slot] * cos;
        }
        (p, q)
    };
    (0..voltages.len()).map(of).unzip()
}

/// The factor of a matrix of branches (from-from, between, to-to) and buses, with an identity for what does not move.
fn factored(
    case: &Case,
    moves: impl Fn(usize) -> bool,
    branch: impl Fn(&CaseBranch) -> [f64; 3],
    bus: impl Fn(usize) -> f64,
) -> Result<Ldlt, PowerFlowError> {
    let n = case.buses.len();
    let mut places = Vec::from_iter((0..n).map(|bus| (bus, bus)));
    places.extend(case.branches.iter().map(|branch| (branch.from.min(branch.to), branch.from.max(branch.to))));
    let (pattern, slots) = Pattern::from_places(n, n, &places);
    let mut values = vec![0.0; pattern.len()];
    for index in 0..n {
        values[slots[index]] = if moves(index) { bus(index) } else { 1.0 };
    }
    for (row, slot) in case.branches.iter().zip(&slots[n..]) {
        let [from, between, to] = branch(row);
        if moves(row.from) {
            values[slots[row.from]] += from;
        }
        if moves(row.to) {
            values[slots[row.to]] += to;
        }
        if moves(row.from) && moves(row.to) {
            values[*slot] -= between;
        }
    }
    let mut ldlt = Ldlt::analyze(&pattern);
    ldlt.factor(&values).map_err(|pivot| PowerFlowError::Singular { iterations: 0, bus: case.buses[pivot.row].id })?;
    Ok(ldlt)
}
