//! Newton's method on the polar power-flow equations.
//!
//! Unknowns are angles and logarithms of magnitudes; the Jacobian is a matrix of 2 × 2 blocks on the pattern of the
//! admittance matrix. A distributed slack adds one unknown and one equation (the reference bus's active balance) per
//! component; they are eliminated as a border, which leaves pattern and factor untouched.

use super::network::Network;
use super::schedule::{Role, Schedule};
use super::{Options, PowerFlowError};
use crate::admittance::{Admittance, rectangular};
use crate::case::Case;
use crate::sparse::Block2;

/// What an iteration arrives at, besides magnitudes and angles.
pub(super) struct Solution {
    /// Complex voltages.
    pub(super) voltages: Vec<(f64, f64)>,
    pub(super) p: Vec<f64>,
    pub(super) q: Vec<f64>,
    /// At each reference bus what its component adds to the schedule.
    pub(super) slack: Vec<f64>,
    pub(super) iterations: usize,
    pub(super) mismatch: f64,
}

/// Iterates from `v`, `va`, which receive the solution.
pub(super) fn solve(
    case: &Case,
    network: &mut Network,
    schedule: &Schedule,
    options: &Options,
    v: &mut [f64],
    va: &mut [f64],
) -> Result<Solution, PowerFlowError> {
    let n = v.len();
    let (admittance, jacobian) = (&network.admittance, &mut network.jacobian);
    let free = free(&schedule.roles);
    let (mut p, mut q) = (vec![0.0; n], vec![0.0; n]);
    let mut slack = vec![0.0; n];
    let mut step = vec![[0.0; 2]; n];
    let mut iterations = 0;
    loop {
        let voltages = rectangular(v, va);
        evaluate(admittance, &voltages, &free, &mut p, &mut q, &mut jacobian.blocks);
        if !schedule.distributed {
            for &bus in &schedule.references {
                slack[bus] = p[bus] - schedule.p[bus];
            }
        }
        let active = |bus: usize| p[bus] - schedule.p[bus] - schedule.share[bus] * slack[schedule.reference[bus]];
        let reactive = |bus: usize| q[bus] - schedule.q[bus];
        let (mismatch, worst) = schedule.largest_mismatch(active, reactive);
        if mismatch <= options.tolerance {
            return Ok(Solution { voltages, p, q, slack, iterations, mismatch });
        }
        if iterations == options.max_iterations || !mismatch.is_finite() {
            return Err(PowerFlowError::Diverged { iterations, mismatch, bus: case.buses[worst].id });
        }
        let singular = |bus: usize| PowerFlowError::Singular { iterations, bus: case.buses[bus].id };
        jacobian.factor(&admittance.pattern).map_err(singular)?;
        for (bus, (step, free)) in step.iter_mut().zip(&free).enumerate() {
            *step = [-active(bus) * free[0], -reactive(bus) * free[1]];
        }
        jacobian.solve(&mut step);
        if schedule.distributed {
            // J step = -f + share λ and, at the reference, row · step = -f + share λ: one border per component.
            let mut border = Vec::from_iter(schedule.share.iter().zip(&free).map(|(share, free)| [share * free[0], 0.0]));
            jacobian.solve(&mut border);
            let mut change = vec![0.0; n];
            for &bus in &schedule.references {
                let along = |step: &[[f64; 2]]| reference_row(admittance, &voltages, bus, step);
                change[bus] = (-active(bus) - along(&step)) / (along(&border) - schedule.share[bus]);
            }
            for (bus, (step, border)) in step.iter_mut().zip(&border).enumerate() {
                let change = change[schedule.reference[bus]];
                *step = [step[0] + border[0] * change, step[1] + border[1] * change];
            }
            for &bus in &schedule.references {
                slack[bus] += change[bus];
            }
        }
        for ((v, va), step) in v.iter_mut().zip(va.iter_mut()).zip(&step) {
            *va += step[0];
            *v += *v * step[1];
        }
        iterations += 1;
    }
}

/// Evaluates and factors the Jacobian at complex voltages, with 1 in `free` for what may move. An error is the bus whose
/// equations are singular.
pub(super) fn linearise(network: &mut Network, voltages: &[(f64, f64)], free: &[[f64; 2]]) -> Result<(), usize> {
    let (mut p, mut q) = (vec![0.0; free.len()], vec![0.0; free.len()]);
    evaluate(&network.admittance, voltages, free, &mut p, &mut q, &mut network.jacobian.blocks);
    network.jacobian.factor(&network.admittance.pattern)
}

/// Of each bus 1 for what is unknown, 0 for what is held: angle, magnitude.
fn free(roles: &[Role]) -> Vec<[f64; 2]> {
    let of = |role: &Role| match role {
        Role::Load => [1.0, 1.0],
        Role::Generator => [1.0, 0.0],
        Role::Reference => [0.0, 0.0],
    };
    roles.iter().map(of).collect()
}

/// Injections `p` and `q` at complex voltages, and in the same pass the blocks of the Jacobian there.
fn evaluate(admittance: &Admittance, voltages: &[(f64, f64)], free: &[[f64; 2]], p: &mut [f64], q: &mut [f64], blocks: &mut [Block2]) {
    for (i, (own, [angle, magnitude])) in voltages.iter().zip(free).enumerate() {
        let (mut active_sum, mut reactive_sum) = (0.0, 0.0);
        let range = admittance.pattern.slots(i);
        let entries = admittance.pattern.column(i).iter().zip(&admittance.g[range.clone()]).zip(&admittance.b[range.clone()]);
        for (((k, g), b), block) in entries.zip(&mut blocks[range]) {
            let (other, [angle_k, magnitude_k]) = (voltages[*k], free[*k]);
            let (cos, sin) = (own.0 * other.0 + own.1 * other.1, own.1 * other.0 - own.0 * other.1);
            let (active, reactive) = (g * cos + b * sin, g * sin - b * cos);
            active_sum += active;
            reactive_sum += reactive;
            let (by_angle, by_magnitude) = ([reactive * angle_k, -active * angle_k], [active * magnitude_k, reactive * magnitude_k]);
            *block = [angle * by_angle[0], angle * by_magnitude[0], magnitude * by_angle[1], magnitude * by_magnitude[1]];
        }
        (p[i], q[i]) = (active_sum, reactive_sum);
        let slot = admittance.diagonal[i];
        let square = own.0 * own.0 + own.1 * own.1;
        let (g, b) = (admittance.g[slot] * square, admittance.b[slot] * square);
        let both = angle * magnitude;
        blocks[slot] = [
            angle * (-reactive_sum - b) + (1.0 - angle),
            both * (active_sum + g),
            both * (active_sum - g),
            magnitude * (reactive_sum - b) + (1.0 - magnitude),
        ];
    }
}

/// Change of the active injection of the reference bus `i` with a step of the unknowns.
fn reference_row(admittance: &Admittance, voltages: &[(f64, f64)], i: usize, step: &[[f64; 2]]) -> f64 {
    let mut change = 0.0;
    for slot in admittance.pattern.slots(i).filter(|slot| *slot != admittance.diagonal[i]) {
        let k = admittance.pattern.indices()[slot];
        let (own, other) = (voltages[i], voltages[k]);
        let (cos, sin) = (own.0 * other.0 + own.1 * other.1, own.1 * other.0 - own.0 * other.1);
        let (active, reactive) = (admittance.g[slot] * cos + admittance.b[slot] * sin, admittance.g[slot] * sin - admittance.b[slot] * cos);
        change += reactive * step[k][0] + active * step[k][1];
    }
    change
}
