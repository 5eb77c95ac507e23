//! Gauss-Newton steps to the state that fits best.
//!
//! A step is taken with the matrix at the state it starts from, or with an earlier one: near the solution that costs a few more
//! but cheaper steps, as the right side is always that of the present state and the answer the same. Which it is follows from
//! the sizes of the steps before alone.

use super::model::{Model, Point};
use super::plan::{Factor, Plan, singular};
use super::system::{Given, System, residual};
use super::{EstimationError, Method, Options};
use crate::case::{AtEnd, Case, Place};
use crate::sparse::WIDTH;

/// After a step below this the matrix is kept.
const NEAR: f64 = 1e-2;
/// A kept matrix is taken anew when a step is not below this share of the one before.
const SLOW: f64 = 0.2;
/// The last step taken with a kept matrix is below this share of the tolerance: it errs by more than a Gauss-Newton step does.
const KEPT: f64 = 0.1;
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
    /// State and weights of the last matrix taken; none when none was.
    pub(super) taken: Option<(Vec<f64>, Vec<f64>, Vec<f64>)>,
    /// Weights of the last step.
    pub(super) weights: Vec<f64>,
}

impl Iterate {
    pub(super) fn new(v: Vec<f64>, va: Vec<f64>) -> Self {
        let multipliers = vec![[0.0; 2]; v.len()];
        let point = Point::new(v, va);
        Self { point, multipliers, keeps: false, settled: false, iterations: 0, taken: None, weights: Vec::new() }
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
        let mut nothing_left = plan.unknowns() == 0;
        self.weights = weights.to_vec();
        while !nothing_left {
            if self.iterations == limit || (self.iterations > 0 && !f64::is_finite(last.0)) {
                let (step, state) = last;
                return Err(EstimationError::NotConverged { iterations: self.iterations, step, bus: case.buses[state / 2].id });
            }
            if late {
                self.weigh(job, plan, system);
            }
            let kept = self.keeps;
            let given = Given { model, sites: &plan.sites, values, weights: &self.weights, free: &plan.free, idle: &plan.idle };
            system.take(&given, &self.point, &self.multipliers, !kept);
            if !kept {
                factor.take(model, &system.blocks).map_err(|bus| singular(case, self.iterations, bus))?;
                self.taken = Some((self.point.v.clone(), self.point.va.clone(), self.weights.clone()));
            }
            let before = last.0;
            last = self.step(plan, factor, system);
            self.iterations += 1;
            let enough = if kept { KEPT * options.tolerance } else { options.tolerance };
            nothing_left = last.0 < enough && (self.settled || !late);
            self.keeps = if kept { last.0 < SLOW * before } else { last.0 < NEAR };
            // A first step with a matrix of old has none before it to be judged by.
            self.keeps |= kept && before == f64::INFINITY && last.0 < SETTLED;
            self.settled |= last.0 < SETTLED;
        }
        Ok(())
    }

    /// Solves and moves; gives the largest change and its state.
    fn step(&mut self, plan: &Plan, factor: &Factor, system: &mut System) -> (f64, usize) {
        factor.ldlt.solve(&mut system.right);
        let mut largest = (0.0, 0);
        for state in (0..plan.free.len()).filter(|state| plan.free[*state] > 0.0) {
            let change = system.right[WIDTH * (state / 2) + state % 2];
            if state % 2 == 0 {
                self.point.va[state / 2] += change;
            } else {
                self.point.v[state / 2] += change;
            }
            if change.abs() > largest.0 || change.is_nan() {
                largest = (change.abs(), state);
            }
        }
        for (bus, multipliers) in self.multipliers.iter_mut().enumerate().filter(|(bus, _)| plan.idle[*bus]) {
            for (which, multiplier) in multipliers.iter_mut().enumerate() {
                *multiplier += system.right[WIDTH * bus + 2 + which] / system.scales[bus][which];
            }
        }
        self.point.turn();
        largest
    }

    /// Weights of the next step: by the residuals at the state of the last one, which the present one is close to when it matters.
    fn weigh(&mut self, job: &Job, plan: &Plan, system: &System) {
        let Job { options, values, weights, .. } = *job;
        for (index, weight) in self.weights.iter_mut().enumerate() {
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
