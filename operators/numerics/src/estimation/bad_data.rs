//! Gross errors: found by the largest normalised residual, taken out one by one.
//!
//! What a removal makes of the others follows without a new estimate, as long as the linearisation agrees with the network (see
//! `removals`). Then the state converges anew and is judged anew, until nothing more is found.
//!
//! A measurement is bad when its normalised residual is the largest, above 3, and is one that among so many good measurements has a
//! probability of 1 % at most: the largest of 10,000 good residuals is near 4, which says nothing against it, and in J of a
//! large network one gross error drowns. Smaller ones above 3 are blamed while J is above its χ² point, if a few of them
//! bring it below. What was taken out wrongly, because a worse one beside
//! it was still in, fits the final estimate and is put back. Measurements that nothing else checks are never taken out.

use super::model::{Model, Point};
use super::plan::{Factor, Plan, Work, singular};
use super::removals::Linear;
use super::residuals::{self, Residuals};
use super::solve::{Iterate, Job};
use super::system::Given;
use super::{CONFIDENCE, Cache, Estimate, EstimationError, Method, Options, check, conclude, inverse_variance, start, values_and_weights};
use crate::case::{Case, CaseMeasurement, MeasurementKind};
use crate::sparse::WIDTH;
use crate::statistics::chi_squared_quantile;

/// Residuals that are correlated more than this tell the same of two measurements.
const ALIKE: f64 = 0.98;

/// So many measurements at most are blamed for J alone.
const FEW: usize = 2;

/// How bad data is looked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BadDataOptions {
    /// Least normalised residual of bad data.
    pub threshold: f64,
    /// Measurements taken out before giving up.
    pub max_removals: usize,
}

impl Default for BadDataOptions {
    fn default() -> Self {
        Self { threshold: 3.0, max_removals: 100 }
    }
}

/// A measurement found bad.
#[derive(Clone, Debug, PartialEq)]
pub struct BadDatum {
    /// Its index among those given.
    pub index: usize,
    /// Its normalised residual when it was taken out.
    pub normalized_residual: f64,
    /// Others that explain J as well in its place, alone or two together, ascending: those whose residuals say the same, and those that
    /// conform. What is bad is among the group, and it need not be this one.
    pub alike: Vec<usize>,
}

/// An estimate without the bad data.
#[derive(Clone, Debug, PartialEq)]
pub struct Identification {
    /// The estimate from what was left.
    pub estimate: Estimate,
    /// Its residuals.
    pub residuals: Residuals,
    /// What was taken out, in this order.
    pub bad: Vec<BadDatum>,
    /// Whether J is still above its threshold: what is wrong cannot be named, or [`BadDataOptions::max_removals`] did not suffice.
    pub suspicious: bool,
}

/// What the greatest of so many normalised residuals exceeds with a probability of 1 % at most when all errors are as stated.
#[must_use]
pub fn greatest_by_chance(residuals: usize) -> f64 {
    // By Boole's inequality.
    chi_squared_quantile(1.0 - (1.0 - CONFIDENCE) / residuals.max(1) as f64, 1).map_or(0.0, f64::sqrt)
}

/// Estimates and takes out bad data.
///
/// # Errors
/// As [`super::estimate`].
pub fn identify(
    case: &Case,
    reference: usize,
    measurements: &[CaseMeasurement],
    options: &Options,
    bad_data: &BadDataOptions,
    cache: &mut Cache,
) -> Result<Identification, EstimationError> {
    search(case, reference, measurements, options, bad_data, true, cache)
}

/// As [`identify`]; what may be bad in the place of what is blamed only if it is wanted.
pub(super) fn search(
    case: &Case,
    reference: usize,
    measurements: &[CaseMeasurement],
    options: &Options,
    bad_data: &BadDataOptions,
    alternatives: bool,
    cache: &mut Cache,
) -> Result<Identification, EstimationError> {
    check(case, reference, measurements, options)?;
    let (v, va) = start(case, options)?;
    let kinds = measurements.iter().map(|measurement| measurement.kind);
    let (model, plan, work) = cache.plan(case, reference, kinds, &options.zero_injections);
    let (values, weights) = values_and_weights(measurements, &plan.used);
    let mut search = Search { case, model, plan, options, values, weights, iterate: Iterate::new(v, va), steps: 0 };
    let mut bad = Vec::new();
    // Of the removals those that chance does not explain; whether others are tried.
    let (mut firm, mut few) = (0, true);
    let mut found = search.settle(work)?;
    loop {
        let before = Vec::from_iter(bad.iter().map(|datum: &BadDatum| datum.index));
        let mut linear = Linear::new(&search, &found, &mut work.system);
        let done = loop {
            let Some(worst) = search.worst(&linear, bad_data.threshold, few, bad.len()).filter(|_| bad.len() < bad_data.max_removals)
            else {
                break true;
            };
            let alike = search.take_out(&mut linear, &worst, &work.factor);
            bad.push(BadDatum { index: worst.index, normalized_residual: worst.size, alike });
            if worst.beyond_chance {
                firm = bad.len();
            }
            // Huber's function weighs by residual, which no linearisation knows.
            if options.method != Method::LeastSquares || !linear.agrees(&search, &mut work.system) {
                break false;
            }
        };
        // A few may have lifted J above its threshold; that many at once are no errors of single measurements.
        if done && bad.len() > firm && (bad.len() > firm + FEW || search.is_wrong(linear.objective, bad.len())) {
            few = false;
            if firm == before.len() {
                for datum in bad.drain(firm..) {
                    search.weights[datum.index] = inverse_variance(&measurements[datum.index]);
                }
                break;
            }
            for datum in bad.drain(firm..).rev() {
                linear.put_in(&mut search, datum.index, inverse_variance(&measurements[datum.index]), &work.factor);
            }
        }
        if bad.iter().map(|datum| datum.index).eq(before) {
            break;
        }
        search.iterate.point.go(&linear.moved);
        found = search.settle(work)?;
    }
    let mut linear = Linear::new(&search, &found, &mut work.system);
    if search.put_back(&mut linear, &mut bad, measurements, bad_data.threshold, &work.factor) {
        search.iterate.point.go(&linear.moved);
        found = search.settle(work)?;
        linear = Linear::new(&search, &found, &mut work.system);
    }
    if alternatives {
        search.name_alternatives(&linear, &mut bad, measurements, &work.factor);
    }
    let estimate = search.conclude(work, bad.len());
    let suspicious = estimate.threshold.is_some_and(|threshold| estimate.objective > threshold);
    Ok(Identification { estimate, residuals: found, bad, suspicious })
}

/// The measurement to blame first.
struct Worst {
    index: usize,
    size: f64,
    beyond_chance: bool,
}

/// A factor of a state this near, per unit and radians, is that of the state.
const SAME: f64 = 1e-5;

/// A search for bad data; `weights` are 0 for what was taken out.
#[derive(Clone)]
pub(super) struct Search<'a> {
    case: &'a Case,
    model: &'a Model,
    pub(super) plan: &'a Plan,
    pub(super) options: &'a Options,
    pub(super) values: Vec<f64>,
    pub(super) weights: Vec<f64>,
    pub(super) iterate: Iterate,
    /// Steps of all estimates.
    steps: usize,
}

impl Search<'_> {
    fn job(&self) -> Job<'_> {
        Job { case: self.case, model: self.model, options: self.options, values: &self.values, weights: &self.weights }
    }

    pub(super) fn given(&self) -> Given<'_> {
        let (sites, free, idle) = (&self.plan.sites, &self.plan.free, &self.plan.idle);
        Given { model: self.model, sites, values: &self.values, weights: &self.weights, free, idle }
    }

    /// Converges, and asks for the residuals there.
    fn settle(&mut self, work: &mut Work) -> Result<Residuals, EstimationError> {
        let Work { factor, system, .. } = work;
        (self.iterate.iterations, self.iterate.keeps) = (0, false);
        let mut iterate = self.iterate.clone();
        iterate.converge(&self.job(), self.plan, factor, system)?;
        self.steps += iterate.iterations;
        self.iterate = iterate;
        let (given, point) = (self.given(), &self.iterate.point);
        let near = |(a, b): (&f64, &f64)| (a - b).abs() < SAME;
        let taken = self.iterate.taken.as_ref().filter(|taken| taken.weights.is_none());
        if taken.is_some_and(|taken| taken.v.iter().zip(&point.v).all(near) && taken.va.iter().zip(&point.va).all(near)) {
            return Ok(residuals::with(&given, point, factor, system));
        }
        residuals::at(&given, point, factor, system).map_err(|bus| singular(self.case, self.iterate.iterations, bus))
    }

    /// The largest normalised residual, of the first of equals, if it may be one of bad data; `few`: also of what only lifts J.
    fn worst(&self, linear: &Linear, threshold: f64, few: bool, removed: usize) -> Option<Worst> {
        let sizes = self.weights.iter().enumerate().filter_map(|(index, weight)| Some((index, linear.normalized(index, *weight)?)));
        let (index, size) = sizes.reduce(|worst, next| if next.1 > worst.1 { next } else { worst })?;
        let used = self.weights.iter().filter(|weight| **weight > 0.0).count();
        let beyond_chance = size > greatest_by_chance(used);
        let blamed = size > threshold && (beyond_chance || (few && self.is_wrong(linear.objective, removed)));
        blamed.then_some(Worst { index, size, beyond_chance })
    }

    /// Whether J is above its threshold.
    fn is_wrong(&self, objective: f64, removed: usize) -> bool {
        let degrees_of_freedom = self.plan.equations().saturating_sub(self.plan.unknowns() + removed);
        chi_squared_quantile(CONFIDENCE, degrees_of_freedom).is_some_and(|threshold| objective > threshold)
    }

    /// The estimate at the present state.
    fn conclude(&self, work: &mut Work, removed: usize) -> Estimate {
        let mut estimate = conclude(&self.job(), self.plan, &self.iterate, &mut work.system);
        estimate.used.iter_mut().zip(&self.weights).for_each(|(used, weight)| *used &= *weight > 0.0);
        estimate.degrees_of_freedom = estimate.degrees_of_freedom.saturating_sub(removed);
        estimate.threshold = chi_squared_quantile(CONFIDENCE, estimate.degrees_of_freedom);
        estimate.iterations = self.steps;
        estimate
    }

    /// The row of a measurement on the free states, as a right side.
    pub(super) fn row(&self, kind: MeasurementKind, point: &Point) -> Vec<(usize, f64)> {
        let mut row = Vec::new();
        self.model.row(kind, point, &mut row);
        row.iter_mut().for_each(|(state, value)| *value *= self.plan.free[*state]);
        row
    }

    /// `C hᵀ` of a row, by state; the factor is of the present weights.
    pub(super) fn spread(&self, row: &[(usize, f64)], factor: &Factor) -> Vec<f64> {
        let mut right = vec![0.0; WIDTH * self.model.buses()];
        row.iter().for_each(|(state, value)| right[WIDTH * (state / 2) + state % 2] += value);
        factor.ldlt.solve(&mut right);
        (0..2 * self.model.buses()).map(|state| right[WIDTH * (state / 2) + state % 2]).collect()
    }

    /// Takes a measurement out; gives those whose residuals are correlated with its own so much that they say the same.
    fn take_out(&mut self, linear: &mut Linear, worst: &Worst, factor: &Factor) -> Vec<usize> {
        let Worst { index, size, .. } = *worst;
        let omega = |index: usize| linear.shares[index] / self.weights[index];
        let is_similar = |other: &usize| {
            let own = linear.normalized(*other, self.weights[*other]);
            *other != index && own.is_some_and(|own| own > ALIKE * ALIKE * size)
        };
        let similar = (0..self.values.len()).filter(is_similar).map(|other| (other, ALIKE * (omega(index) * omega(other)).sqrt()));
        let similar = Vec::from_iter(similar);
        let column = linear.take_out(self, index, factor);
        similar.into_iter().filter(|(other, alike)| column[*other].abs() > *alike).map(|(other, _)| other).collect()
    }

    /// Puts back what fits; whether there was any.
    fn put_back(
        &mut self,
        linear: &mut Linear,
        bad: &mut Vec<BadDatum>,
        measurements: &[CaseMeasurement],
        threshold: f64,
        factor: &Factor,
    ) -> bool {
        let before = bad.len();
        bad.retain(|datum| {
            let weight = inverse_variance(&measurements[datum.index]);
            let variance = 1.0 / weight - linear.column(self, datum.index, factor).0[datum.index];
            let fits = linear.residuals[datum.index].abs() < threshold * variance.sqrt();
            if fits {
                linear.put_in(self, datum.index, weight, factor);
            }
            !fits
        });
        bad.len() < before
    }
}

#[cfg(test)]
mod tests;
