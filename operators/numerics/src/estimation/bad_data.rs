//! Gross errors: found by the largest normalised residual, taken out one by one, each with a new estimate.
//!
//! A measurement is bad when its normalised residual is the largest, above 3, and is one that among so many good measurements has a
//! probability of 1 % at most: the largest of 10,000 good residuals is near 4, which says nothing against it, and in J of a
//! large network one gross error drowns. Smaller ones above 3 are blamed while J is above its χ² point, if a few of them
//! bring it below. What was taken out wrongly, because a worse one beside
//! it was still in, fits the final estimate and is put back. Measurements that nothing else checks are never taken out.

use super::model::{Model, Point};
use super::plan::{Factor, Plan, Work, singular};
use super::residuals::{self, Residuals};
use super::solve::{Iterate, Job};
use super::system::{Given, residual};
use super::{CONFIDENCE, Cache, Estimate, EstimationError, Options, check, conclude, inverse_variance, start, values_and_weights};
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
    search.converge(work)?;
    let mut bad = Vec::new();
    let mut found = search.residuals(work)?;
    // Of the removals those that chance does not explain, and the state after them.
    let (mut firm, mut firm_state) = (0, search.iterate.clone());
    while let Some(worst) = search.worst(&found, bad_data.threshold, work, bad.len())
        && bad.len() < bad_data.max_removals
    {
        let index = worst.index;
        let alike = search.alike(index, &found, &work.factor);
        search.weights[index] = 0.0;
        bad.push(BadDatum { index, normalized_residual: worst.size, alike });
        search.converge(work)?;
        found = search.residuals(work)?;
        if worst.beyond_chance {
            (firm, firm_state) = (bad.len(), search.iterate.clone());
        }
    }
    // A few may have lifted J above its threshold; that many at once are no errors of single measurements.
    if bad.len() > firm && (bad.len() > firm + FEW || search.wrong(work, bad.len())) {
        for datum in bad.drain(firm..) {
            search.weights[datum.index] = inverse_variance(&measurements[datum.index]);
        }
        search.iterate = firm_state;
        found = search.residuals(work)?;
    }
    if search.put_back(&mut bad, measurements, bad_data.threshold, work)? {
        found = search.residuals(work)?;
    }
    if alternatives && !bad.is_empty() {
        search.name_alternatives(&mut bad, measurements, work)?;
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

/// A search for bad data; `weights` are 0 for what was taken out.
pub(super) struct Search<'a> {
    case: &'a Case,
    model: &'a Model,
    pub(super) plan: &'a Plan,
    options: &'a Options,
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

    fn given(&self) -> Given<'_> {
        let (sites, free, idle) = (&self.plan.sites, &self.plan.free, &self.plan.idle);
        Given { model: self.model, sites, values: &self.values, weights: &self.weights, free, idle }
    }

    pub(super) fn converge(&mut self, work: &mut Work) -> Result<(), EstimationError> {
        let mut iterate = self.iterate.clone();
        (iterate.iterations, iterate.keeps) = (0, false);
        iterate.converge(&self.job(), self.plan, &mut work.factor, &mut work.system)?;
        self.steps += iterate.iterations;
        self.iterate = iterate;
        Ok(())
    }

    pub(super) fn residuals(&self, work: &mut Work) -> Result<Residuals, EstimationError> {
        residuals::at(&self.given(), &self.iterate.point, &mut work.factor, &mut work.system)
            .map_err(|bus| singular(self.case, self.iterate.iterations, bus))
    }

    /// The largest normalised residual, of the first of equals, if it may be one of bad data.
    fn worst(&self, found: &Residuals, threshold: f64, work: &mut Work, removed: usize) -> Option<Worst> {
        let sizes = found.normalized.iter().enumerate().filter_map(|(index, size)| Some((index, (*size)?)));
        let (index, size) = sizes.reduce(|worst, next| if next.1 > worst.1 { next } else { worst })?;
        let used = self.weights.iter().filter(|weight| **weight > 0.0).count();
        let beyond_chance = size > greatest_by_chance(used);
        (size > threshold && (beyond_chance || self.wrong(work, removed))).then_some(Worst { index, size, beyond_chance })
    }

    /// Whether J is above its threshold.
    fn wrong(&self, work: &mut Work, removed: usize) -> bool {
        let estimate = self.conclude(work, removed);
        estimate.threshold.is_some_and(|threshold| estimate.objective > threshold)
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

    /// Measurements whose residuals are correlated with that of `index` so much that they say the same.
    fn alike(&self, index: usize, found: &Residuals, factor: &Factor) -> Vec<usize> {
        let point = &self.iterate.point;
        let size = found.normalized[index].unwrap_or(0.0);
        let spread = self.spread(&self.row(self.plan.kinds[index], point), factor);
        let omega = |other: usize| found.redundancy[other] / self.weights[other];
        let similar = |other: &usize| *other != index && found.normalized[*other].is_some_and(|own| own > ALIKE * ALIKE * size);
        let is_alike = |other: &usize| {
            let covariance: f64 = self.row(self.plan.kinds[*other], point).iter().map(|(state, value)| value * spread[*state]).sum();
            covariance.abs() > ALIKE * (omega(index) * omega(*other)).sqrt()
        };
        (0..self.values.len()).filter(similar).filter(is_alike).collect()
    }

    /// Puts back what fits the final state; whether there was any.
    fn put_back(
        &mut self,
        bad: &mut Vec<BadDatum>,
        measurements: &[CaseMeasurement],
        threshold: f64,
        work: &mut Work,
    ) -> Result<bool, EstimationError> {
        let mut any = false;
        for datum in std::mem::take(bad) {
            let (kind, sigma) = (measurements[datum.index].kind, measurements[datum.index].sigma);
            let row = self.row(kind, &self.iterate.point);
            let spread = self.spread(&row, &work.factor);
            let variance: f64 = row.iter().map(|(state, value)| value * spread[*state]).sum();
            let place = self.plan.sites.place(datum.index);
            let estimated = self.model.row(kind, &self.iterate.point, &mut Vec::new());
            let deviation = residual(place, self.values[datum.index], estimated).abs() / (sigma * sigma + variance.max(0.0)).sqrt();
            if deviation < threshold {
                self.weights[datum.index] = inverse_variance(&measurements[datum.index]);
                self.converge(work)?;
                // The next is judged by the factor at the new state.
                self.residuals(work)?;
                any = true;
            } else {
                bad.push(datum);
            }
        }
        Ok(any)
    }
}
