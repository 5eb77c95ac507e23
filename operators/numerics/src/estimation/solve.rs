//! Gauss-Newton steps to the state that fits best.
//!
//! A step is taken with the matrix at the state it starts from, or with an earlier one: near the solution that costs a few more
//! but cheaper steps, as the right side is always that of the present state and the answer the same. Which it is follows from
//! the sizes of the steps before alone.

use super::mixing::Mixing;
use super::model::{Model, Point};
use super::plan::{Factor, Plan, singular};
use super::system::{CONSTRAINT_SCALE, Given, System, residual};
use super::{EstimationError, Method, Options};
use crate::case::{AtEnd, Case, Place};
use crate::sparse::WIDTH;

/// After a step below this the matrix is kept.
const NEAR: f64 = 1e-2;
/// A kept matrix is taken anew when a step is not below this share of the one before, or not below [`SLOWER`] of the one before that:
/// a new one costs as much as five steps.
const SLOW: f64 = 0.5;
const SLOWER: f64 = 0.1;
/// What is left after the last step with a kept matrix is below this share of the tolerance: it is never as little as after a
/// Gauss-Newton step.
const LEFT: f64 = 0.025;
/// Least share of a step with a kept matrix that is taken to be left after it, whatever the steps before say.
const SHARE: f64 = 0.1;
/// Below this step a state is near enough for what only makes sense close to the solution: weights by residual, and magnitudes of
/// currents, which have no direction at a flat start.
const SETTLED: f64 = 0.1;

/// What a solve works on.
pub(super) struct Job<'a> {
    pub(super) case: &'a Case,
    pub(super) model: &'a Model,
    pub(super) options: &'a Options,
    /// Values and inverse variances by measurement; 0 for what takes no part.
    pub(super) values: &'a [f64],
    pub(super) weights: &'a [f64],
}

/// What a matrix was taken at.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) v: Vec<f64>,
    pub(super) va: Vec<f64>,
    /// If they were not those of the job.
    pub(super) weights: Option<Vec<f64>>,
}

/// Where the steps are, and where they took their matrix.
#[derive(Clone, Debug)]
pub(super) struct Iterate {
    pub(super) point: Point,
    /// Of P and Q by idle bus.
    pub(super) multipliers: Vec<[f64; 2]>,
    /// Whether the factor at hand may be used, and whether the state is near the solution.
    pub(super) keeps: bool,
    pub(super) settled: bool,
    pub(super) iterations: usize,
    /// Of the last matrix taken; none when none was.
    pub(super) taken: Option<Taken>,
}

/// No grid has a magnitude of so many per unit.
const BEYOND: f64 = 10.0;

impl Iterate {
    pub(super) fn new(v: Vec<f64>, va: Vec<f64>) -> Self {
        let multipliers = vec![[0.0; 2]; v.len()];
        let point = Point::new(v, va);
        Self { point, multipliers, keeps: false, settled: false, iterations: 0, taken: None }
    }

    /// Steps until the last one is below the tolerance.
    pub(super) fn converge(&mut self, job: &Job, plan: &Plan, factor: &mut Factor, system: &mut System) -> Result<(), EstimationError> {
        let Job { case, model, options, values, weights } = *job;
        let late = match options.method {
            Method::LeastSquares => plan.kinds.iter().any(|kind| is_magnitude(kind.place())),
            Method::Huber { .. } => true,
        };
        let limit = match options.method {
            Method::LeastSquares => options.max_iterations,
            Method::Huber { .. } => 5 * options.max_iterations,
        };
        let mut last = (f64::INFINITY, 0);
        let mut before_last = f64::INFINITY;
        let mut nothing_left = plan.unknowns() == 0;
        // By residual and distance where that matters, else those of the job.
        let mut weighed = if late { weights.to_vec() } else { Vec::new() };
        let (mut mixing, mut gathered) = (Mixing::default(), false);
        while !nothing_left {
            if self.iterations == limit || (self.iterations > 0 && !f64::is_finite(last.0)) {
                let ((step, state), iterations) = (last, self.iterations);
                let bus = case.buses[state / 2].id;
                return Err(if self.iterations > 0 && !step.is_finite() {
                    EstimationError::Implausible { iterations, bus }
                } else {
                    EstimationError::NotConverged { iterations, step, bus }
                });
            }
            if late {
                self.weigh(job, plan, system, &mut weighed);
            }
            let weights = if late { &weighed } else { weights };
            let kept = self.keeps;
            let given = Given { model, sites: &plan.sites, values, weights, free: &plan.free, idle: &plan.idle };
            if !kept {
                // The matrix is that of the angles alone, however they were come by.
                self.point.turn();
            }
            if late {
                system.read(&given, &self.point);
            }
            if late || !gathered {
                system.gathered.take(&given);
                gathered = true;
            }
            system.take_right(&given, &self.point, &self.multipliers);
            if !kept {
                system.take_blocks(&given, &self.point);
                factor.take(model, &system.blocks).map_err(|bus| singular(case, self.iterations, bus))?;
                let (v, va) = (self.point.v.clone(), self.point.va.clone());
                self.taken = Some(Taken { v, va, weights: late.then(|| weighed.clone()) });
            }
            if !kept || late {
                mixing.forget();
            }
            let (before, earlier) = (last.0, before_last);
            before_last = before;
            last = self.step(plan, factor, system, &mut mixing);
            self.iterations += 1;
            // What is left after a step with a kept matrix is a share of it, which the step before tells.
            let left = if kept { last.0 * (last.0 / before).max(SHARE) / LEFT } else { last.0 };
            nothing_left = left < options.tolerance && (self.settled || !late);
            self.keeps = if kept { last.0 < SLOW * before && last.0 < SLOWER * earlier } else { last.0 < NEAR };
            self.settled |= last.0 < SETTLED;
        }
        // Contradictions have minima of their own, where magnitudes are none.
        match self.point.v.iter().position(|v| !(*v > 0.0 && *v < BEYOND)) {
            Some(bus) => Err(EstimationError::Implausible { iterations: self.iterations, bus: case.buses[bus].id }),
            None => Ok(()),
        }
    }

    /// Solves and moves; gives the largest change that the matrix asked for and its state.
    fn step(&mut self, plan: &Plan, factor: &Factor, system: &mut System, mixing: &mut Mixing) -> (f64, usize) {
        factor.ldlt.solve(&mut system.right);
        let states = plan.free.len();
        let mut step = Vec::with_capacity(states);
        let mut largest = (0.0, 0);
        for (bus, right) in system.right.chunks_exact(WIDTH).enumerate() {
            for (state, right) in (2 * bus..2 * bus + 2).zip(right) {
                let change = if plan.free[state] > 0.0 { *right } else { 0.0 };
                if change.abs() > largest.0 || change.is_nan() {
                    largest = (change.abs(), state);
                }
                step.push(change);
            }
        }
        let idle = || (0..plan.idle.len()).filter(|bus| plan.idle[*bus]);
        step.extend(idle().flat_map(|bus| [0, 1].map(|which| system.right[WIDTH * bus + 2 + which] / CONSTRAINT_SCALE)));
        let moved = mixing.mix(&step, states);
        self.point.go(&moved[..states]);
        for (bus, change) in idle().zip(moved[states..].chunks_exact(2)) {
            self.multipliers[bus][0] += change[0];
            self.multipliers[bus][1] += change[1];
        }
        largest
    }

    /// Weights of the next step: by the residuals at the state of the last one, which the present one is close to when it matters.
    fn weigh(&self, job: &Job, plan: &Plan, system: &System, weighed: &mut [f64]) {
        let Job { options, values, weights, .. } = *job;
        for (index, weight) in weighed.iter_mut().enumerate() {
            let place = plan.sites.place(index);
            *weight = if !self.settled && is_magnitude(place) { 0.0 } else { weights[index] };
            if let (Method::Huber { threshold }, true) = (options.method, self.settled && self.iterations > 0) {
                let deviation = (residual(place, values[index], system.estimated[index]) * weight.sqrt()).abs();
                if deviation > threshold {
                    *weight *= threshold / deviation;
                }
            }
        }
    }
}

/// Whether a measurement is of a current's magnitude.
pub(super) fn is_magnitude(place: Place) -> bool {
    matches!(place, Place::End(_, _, AtEnd::CurrentMagnitude))
}
