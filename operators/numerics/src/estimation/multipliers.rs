//! Normalised Lagrange multipliers of branches (Clements and Simões-Costa 1988; Zhu and Abur 2006): whether what is measured around
//! a branch says that its model is wrong.
//!
//! Suppose that unknown powers φ (P and Q at the `from` side, P and Q at the `to` side) leave the sides of a branch beside those that its
//! model gives. They enter the injections of its buses and its measured flows. With φ held at 0, J falls by `2 λᵀφ` with
//! the first of each: λ is the sum of weighted residuals that see it, an idle bus's its multiplier. The covariance S of λ is
//! `w - Uᵀ Z U`, with the weights w of the measured flows, the right sides U that φ gives to the augmented system, and its
//! inverse Z, of which only blocks on the pattern are needed. J falls by `λᵀ S⁻¹ λ` when φ is free. An error of the tap alone
//! moves the powers along `g = ∂(powers)/∂tap`: its multiplier is gᵀλ, of variance gᵀSg, and `gᵀλ / gᵀSg` is its estimate.

use super::model::{Model, Point};
use super::plan::{Factor, Work, singular};
use super::system::{Given, System};
use super::{Cache, Estimate, EstimationError, Options, values_and_weights};
use crate::case::{AtEnd, Case, CaseMeasurement};
use crate::sparse::{Block4, BlockInverse, WIDTH, ZERO};

/// A variance below this share of what is measured of it is rounding: nothing checks it.
const UNCHECKED: f64 = 1e-6;

/// What is measured around a branch says of its model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct BranchMultiplier {
    /// How much J falls, to first order, when any powers at its sides are allowed.
    pub(super) explained: f64,
    /// The estimate of its tap's error, and how many of its standard deviations that is; none where nothing checks the tap.
    pub(super) tap: Option<TapMultiplier>,
}

/// An error of a tap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TapMultiplier {
    /// To be added to the tap.
    pub(super) error: f64,
    /// Its standard deviation.
    pub(super) sigma: f64,
}

impl TapMultiplier {
    /// Size of the error in standard deviations.
    pub(super) fn normalized(&self) -> f64 {
        self.error.abs() / self.sigma
    }
}

/// The multipliers of each branch of a case at an estimate of [`super::estimate`] for the same input, and of branches that are not
/// in it, by their buses.
///
/// # Errors
/// When the measurements do not determine the state it is of.
pub(super) fn multipliers(
    case: &Case,
    reference: usize,
    measurements: &[CaseMeasurement],
    options: &Options,
    estimate: &Estimate,
    outside: &[[usize; 2]],
    cache: &mut Cache,
) -> Result<(Vec<BranchMultiplier>, Vec<f64>), EstimationError> {
    let kinds = measurements.iter().map(|measurement| measurement.kind);
    let (model, plan, Work { factor, system, .. }) = cache.plan(case, reference, kinds, &options.zero_injections);
    let (values, mut weights) = values_and_weights(measurements, &plan.used);
    weights.iter_mut().zip(&estimate.used).for_each(|(weight, used)| *weight = if *used { *weight } else { 0.0 });
    let given = Given { model, sites: &plan.sites, values: &values, weights: &weights, free: &plan.free, idle: &plan.idle };
    let point = Point::new(estimate.v.clone(), estimate.va.clone());
    let mut held = vec![[0.0; 2]; model.buses()];
    options.zero_injections.iter().zip(&estimate.multipliers).for_each(|(bus, multipliers)| held[*bus] = *multipliers);
    system.take(&given, &point, &held);
    system.take_blocks(&given, &point);
    factor.take(model, &system.blocks).map_err(|bus| singular(case, estimate.iterations, bus))?;
    let inverse = BlockInverse::new(&factor.ldlt);
    let inside = (0..model.branches.len()).map(|branch| of_branch(&given, &point, system, &inverse, branch, case.branches[branch].tap));
    let inside = inside.collect();
    let outside = outside.iter().map(|buses| of_pair(model, system, factor, *buses)).collect();
    Ok((inside, outside))
}

fn of_branch(given: &Given, point: &Point, system: &System, inverse: &BlockInverse, branch: usize, tap: f64) -> BranchMultiplier {
    let Given { model, sites, values, weights, free, .. } = *given;
    let (ends, buses) = &model.branches[branch];
    let [from, to] = *buses;
    let blocks = [inverse.block(from, from), inverse.block(from, to), inverse.block(to, from), inverse.block(to, to)];
    let [Some(own), Some(between), Some(back), Some(other)] = blocks else { return BranchMultiplier::default() };
    let z = [[own, between], [back, other]];
    let (mut lambda, mut weight) = ([0.0; 4], [0.0; 4]);
    let mut u = [[0.0; 2 * WIDTH]; 4];
    let mut along = [0.0; 4];
    for side in 0..2 {
        let powers = model.power(branch, side, point);
        for (which, (value, by)) in powers.iter().enumerate() {
            let entry = 2 * side + which;
            lambda[entry] = system.pulls()[buses[side]][which];
            for &(index, quantity) in sites.at_end(branch, side) {
                if usize::from(quantity == AtEnd::Reactive) == which && matches!(quantity, AtEnd::Active | AtEnd::Reactive) {
                    let index = index as usize;
                    weight[entry] += weights[index];
                    lambda[entry] += weights[index] * (values[index] - value);
                }
            }
            // Derivatives by the states of the `from` bus, then of the `to` bus.
            for (state, by) in by.iter().enumerate() {
                let bus = (state / 2 + side) % 2;
                u[entry][WIDTH * bus + state % 2] = -weight[entry] * by * free[2 * buses[bus] + state % 2];
            }
            let scale = system.scales[buses[side]][which];
            if scale > 0.0 {
                u[entry][WIDTH * side + 2 + which] = -1.0 / scale;
            }
            // Of the part by the own voltage, which has the tap squared at the `from` side alone, and of that by both.
            let (v, end) = (point.v[buses[side]], &ends[side]);
            let own = if which == 0 { end.g_own * v * v } else { -end.b_own * v * v };
            along[entry] = -((value - own) + if side == 0 { 2.0 * own } else { 0.0 }) / tap;
        }
    }
    let (covariance, prior) = covariance(&u, &weight, &z);
    let (mut multiplier, mut variance, mut most) = (0.0, 0.0, 0.0);
    for j in 0..4 {
        multiplier += along[j] * lambda[j];
        most += along[j] * along[j] * prior[j];
        for k in 0..4 {
            variance += along[j] * covariance[j][k] * along[k];
        }
    }
    let tap = (variance > UNCHECKED * most).then(|| TapMultiplier { error: multiplier / variance, sigma: 1.0 / variance.sqrt() });
    BranchMultiplier { explained: explained(covariance, lambda, prior), tap }
}

/// How much J falls when any powers leave two buses, as those of a branch between them that is not in the case.
fn of_pair(model: &Model, system: &System, factor: &Factor, buses: [usize; 2]) -> f64 {
    let mut z = [[ZERO; 2]; 2];
    let (mut lambda, mut u) = ([0.0; 4], [[0.0; 2 * WIDTH]; 4]);
    for entry in 0..4 {
        let (side, which) = (entry / 2, entry % 2);
        let mut column = vec![0.0; WIDTH * model.buses()];
        column[WIDTH * buses[side] + 2 + which] = 1.0;
        factor.ldlt.solve(&mut column);
        for (other, bus) in buses.iter().enumerate() {
            for row in 0..WIDTH {
                z[other][side][WIDTH * row + 2 + which] = column[WIDTH * bus + row];
            }
        }
        lambda[entry] = system.pulls()[buses[side]][which];
        let scale = system.scales[buses[side]][which];
        if scale > 0.0 {
            u[entry][WIDTH * side + 2 + which] = -1.0 / scale;
        }
    }
    let (covariance, prior) = covariance(&u, &[0.0; 4], &z);
    explained(covariance, lambda, prior)
}

/// `w - Uᵀ Z U`, and its diagonal were the state known.
fn covariance(u: &[[f64; 2 * WIDTH]; 4], weight: &[f64; 4], z: &[[Block4; 2]; 2]) -> ([[f64; 4]; 4], [f64; 4]) {
    let mut covariance = [[0.0; 4]; 4];
    for (k, u_k) in u.iter().enumerate() {
        let mut image = [0.0; 2 * WIDTH];
        for (row, image) in image.iter_mut().enumerate() {
            for (column, value) in u_k.iter().enumerate() {
                *image += z[row / WIDTH][column / WIDTH][WIDTH * (row % WIDTH) + column % WIDTH] * value;
            }
        }
        for (j, u_j) in u.iter().enumerate() {
            covariance[j][k] = -u_j.iter().zip(&image).map(|(a, b)| a * b).sum::<f64>();
        }
        covariance[k][k] += weight[k];
    }
    let mut prior = *weight;
    for (entry, prior) in prior.iter_mut().enumerate() {
        *prior += u[entry].iter().enumerate().filter(|(row, _)| row % WIDTH >= 2).map(|(_, value)| value * value).sum::<f64>();
    }
    (covariance, prior)
}

/// `λᵀ S⁻¹ λ` by elimination with the largest share of what was known as pivot; directions that nothing checks are left out.
fn explained(mut s: [[f64; 4]; 4], mut lambda: [f64; 4], prior: [f64; 4]) -> f64 {
    let (mut done, mut sum) = ([false; 4], 0.0);
    for _ in 0..4 {
        let share = |k: &usize| if prior[*k] > 0.0 { s[*k][*k] / prior[*k] } else { 0.0 };
        let open = (0..4).filter(|k| !done[*k]);
        let Some(k) = open.reduce(|best, k| if share(&k) > share(&best) { k } else { best }).filter(|k| share(k) > UNCHECKED) else {
            break;
        };
        done[k] = true;
        sum += lambda[k] * lambda[k] / s[k][k];
        for j in (0..4).filter(|j| !done[*j]) {
            let (factor, pivot) = (s[j][k] / s[k][k], s[k]);
            lambda[j] -= factor * lambda[k];
            s[j].iter_mut().zip(&pivot).for_each(|(value, pivot)| *value -= factor * pivot);
        }
    }
    sum
}
