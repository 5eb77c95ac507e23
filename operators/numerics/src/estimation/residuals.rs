//! Normalised residuals: each residual by its own standard deviation, from the inverse of the system on the pattern of its factor.
//!
//! The covariance of residuals is `Ω = R - H C Hᵀ` with the covariance C of the estimated states. C is the upper left part of the
//! inverse Z of the augmented matrix. For a measurement at a bus or branch all of C that its row touches lies on the pattern.
//! For an injection, whose row reaches all neighbours, the inverse has the answer on its diagonal: `Ω = -R² Z_μμ`; so the
//! pattern of the admittance matrix is enough, and nothing beyond it is computed.

use super::model::{Model, Point};
use super::plan::{Factor, Plan, Work, singular};
use super::solve::is_magnitude;
use super::system::{Given, System, residual};
use super::{Cache, Estimate, EstimationError, Options, check, values_and_weights};
use crate::case::{AtBus, Case, CaseMeasurement};
use crate::sparse::{BlockInverse, WIDTH};

/// A share of a measurement's own variance below which its residual is rounding: nothing checks the measurement.
pub(super) const NO_REDUNDANCY: f64 = 1e-8;

/// What residuals say of their measurements; in the order given.
#[derive(Clone, Debug, PartialEq)]
pub struct Residuals {
    /// Size of each residual by its own standard deviation. None for what takes no part and for what no other measurement checks.
    pub normalized: Vec<Option<f64>>,
    /// Share of each measurement's variance that is left in its residual, `Ω/R`: 0 of a critical measurement, near 1 of one whose value
    /// hardly matters. 0 for what takes no part.
    pub redundancy: Vec<f64>,
}

/// Normalised residuals of an estimate that [`super::estimate`] gave for the same input.
///
/// # Errors
/// When the input cannot be, or the measurements do not determine the state it is of.
pub fn normalize(
    case: &Case,
    reference: usize,
    measurements: &[CaseMeasurement],
    options: &Options,
    estimate: &Estimate,
    cache: &mut Cache,
) -> Result<Residuals, EstimationError> {
    check(case, reference, measurements, options)?;
    let kinds = measurements.iter().map(|measurement| measurement.kind);
    let (model, plan, Work { factor, system, .. }) = cache.plan(case, reference, kinds, &options.zero_injections);
    let (values, weights) = values_and_weights(measurements, &plan.used);
    let given = Given { model, sites: &plan.sites, values: &values, weights: &weights, free: &plan.free, idle: &plan.idle };
    let point = Point::new(estimate.v.clone(), estimate.va.clone());
    at(&given, &point, factor, system).map_err(|bus| singular(case, estimate.iterations, bus))
}

/// Normalised residuals at a state.
///
/// # Errors
/// The bus at which the system is singular.
pub(super) fn at(given: &Given, point: &Point, factor: &mut Factor, system: &mut System) -> Result<Residuals, usize> {
    system.take_blocks(given, point);
    factor.take(given.model, &system.blocks)?;
    Ok(with(given, point, factor, system))
}

/// Normalised residuals at a state with a factor taken there.
pub(super) fn with(given: &Given, point: &Point, factor: &Factor, system: &mut System) -> Residuals {
    let Given { sites, values, weights, .. } = *given;
    system.read(given, point);
    let redundancy = redundancies(given, point, factor, system);
    let normalized = (0..values.len()).map(|index| {
        let deviation = residual(sites.place(index), values[index], system.estimated[index]).abs() * weights[index].sqrt();
        (redundancy[index] > NO_REDUNDANCY).then(|| deviation / redundancy[index].sqrt())
    });
    Residuals { normalized: normalized.collect(), redundancy }
}

/// `Ω/R` of each measurement at the state the factor is of; 0 for what takes no part.
fn redundancies(given: &Given, point: &Point, factor: &Factor, system: &System) -> Vec<f64> {
    let Given { model, sites, weights, free, idle, .. } = *given;
    let inverse = BlockInverse::new(&factor.ldlt);
    let mut redundancy = vec![0.0; weights.len()];
    for bus in 0..model.buses() {
        let Some(block) = inverse.block(bus, bus) else { continue };
        for &(index, quantity) in sites.at_bus(bus) {
            let index = index as usize;
            let weight = weights[index];
            let which = usize::from(matches!(quantity, AtBus::Magnitude | AtBus::Reactive));
            redundancy[index] = match quantity {
                _ if weight == 0.0 => 0.0,
                AtBus::Magnitude | AtBus::Angle => 1.0 - weight * free[2 * bus + which] * block[(WIDTH + 1) * which],
                // The constraint decides, and the measurement checks nothing but itself.
                _ if idle[bus] => 1.0,
                AtBus::Active | AtBus::Reactive => {
                    // In units of the scale, R is 1. Of several at one place, each adds to the weight of their mean.
                    let variance = system.scales[bus][which] * system.scales[bus][which];
                    1.0 - weight * variance * (1.0 + block[(WIDTH + 1) * (2 + which)])
                }
            };
        }
    }
    for branch in 0..model.branches.len() {
        let [from, to] = model.branches[branch].1;
        let indices = [sites.at_end(branch, 0), sites.at_end(branch, 1)];
        if indices.iter().all(|indices| indices.is_empty()) {
            continue;
        }
        let blocks = [inverse.block(from, from), inverse.block(from, to), inverse.block(to, to)];
        let [Some(own), Some(between), Some(other)] = blocks else { continue };
        for (side, &(index, quantity)) in indices.iter().enumerate().flat_map(|(side, indices)| indices.iter().map(move |one| (side, one)))
        {
            let index = index as usize;
            let weight = weights[index];
            if weight == 0.0 {
                continue;
            }
            let (_, by) = model.at_end(branch, side, quantity, point);
            // Derivatives by the states of the `from` bus, then of the `to` bus.
            let by = if side == 0 { by } else { [by[2], by[3], by[0], by[1]] };
            let states = [2 * from, 2 * from + 1, 2 * to, 2 * to + 1];
            let mut variance = 0.0;
            for a in 0..2 {
                for b in 0..2 {
                    let place = WIDTH * a + b;
                    let [f, g, h, k] = [a, b, 2 + a, 2 + b].map(|state| by[state] * free[states[state]]);
                    variance += f * own[place] * g + h * other[place] * k + 2.0 * f * between[place] * k;
                }
            }
            redundancy[index] = 1.0 - weight * variance;
        }
    }
    redundancy.iter_mut().for_each(|share| *share = share.clamp(0.0, 1.0));
    redundancy
}

/// Critical measurements, ascending: those without which some bus would not be observable, and whose error therefore nothing shows.
/// Where they are follows from the network and from what is measured where, not from values or accuracies.
///
/// # Errors
/// When the input cannot be.
pub fn critical(
    case: &Case,
    reference: usize,
    measurements: &[CaseMeasurement],
    options: &Options,
    cache: &mut Cache,
) -> Result<Vec<usize>, EstimationError> {
    check(case, reference, measurements, options)?;
    let kinds = measurements.iter().map(|measurement| measurement.kind);
    let (model, plan, work) = cache.plan(case, reference, kinds, &options.zero_injections);
    if let Some(found) = &work.critical {
        return Ok(found.clone());
    }
    let found = critical_of(model, plan, work).map_err(|bus| singular(case, 0, bus))?;
    work.critical = Some(found.clone());
    Ok(found)
}

fn critical_of(model: &Model, plan: &Plan, work: &mut Work) -> Result<Vec<usize>, usize> {
    /// Below this share of redundancy, with rows of unit length at the flat state, there is none.
    const NONE: f64 = 1e-7;
    plan.retake_flat(model, work)?;
    let weights = Vec::from_iter(plan.flat_weights.iter().zip(&plan.used).map(|(weight, used)| if *used { *weight } else { 0.0 }));
    let values = vec![0.0; weights.len()];
    let given = Given { model, sites: &plan.sites, values: &values, weights: &weights, free: &plan.free, idle: &plan.idle };
    let shares = redundancies(&given, &Point::flat(model.buses()), &work.factor, &work.system);
    let counts = |index: &usize| plan.used[*index] && plan.flat_weights[*index] > 0.0 && !is_magnitude(plan.sites.place(*index));
    Ok((0..shares.len()).filter(|index| counts(index) && shares[*index] < NONE).collect())
}
