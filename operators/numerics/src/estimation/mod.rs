//! State estimation: the voltages that fit all measurements best, by weighted least squares.
//!
//! Minimises `J = Σ ((z - h(x))/σ)²` over angles and magnitudes by Gauss-Newton steps `G Δx = Hᵀ W r`, `G = Hᵀ W H`
//! (Abur and Expósito, "Power System State Estimation", chapters 2 and 4). Observability comes first: what the measurements do not
//! determine is named, held at its start value, and kept out of the estimate of the rest. All per unit and
//! radians; sums run in the order of the measurements, which the caller sorts by sensor.

mod model;
mod observability;

use crate::case::{Case, CaseMeasurement, MeasurementKind};
use crate::sparse::{Ldlt, Pattern};
use crate::statistics::chi_squared_quantile;
use gridflow_inputs::ids::{BusId, SensorId};
use model::Model;
use std::f64::consts::PI;

/// Marks a state that is held.
const HELD: usize = usize::MAX;

/// Probability below the bad-data threshold of [`Estimate::threshold`] when all errors are as stated.
pub const CONFIDENCE: f64 = 0.99;

/// How to estimate.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Magnitudes and angles to start from, one per bus each; without, the start values of the case.
    pub start: Option<(Vec<f64>, Vec<f64>)>,
    /// Largest last step of a converged state.
    pub tolerance: f64,
    /// Steps before giving up.
    pub max_iterations: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { start: None, tolerance: 1e-8, max_iterations: 20 }
    }
}

/// An estimated state; buses as indices of the case, measurements in the order given.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// Voltage magnitude of each bus.
    pub v: Vec<f64>,
    /// Voltage angle of each bus.
    pub va: Vec<f64>,
    /// Buses whose angle or magnitude the measurements do not determine, ascending: those at which some vector of the null space
    /// of H differs from zero. Empty when the whole case is observable.
    pub unobservable: Vec<usize>,
    /// Buses with an angle or magnitude that is no estimate but its start value, ascending: the unobservable ones and, rarely, some
    /// that only differences of measurements at unobservable buses would determine.
    pub held: Vec<usize>,
    /// Whether the reference angle is held at its start as the origin of angles; otherwise angle measurements set it.
    pub reference_held: bool,
    /// What each measurement would read at the state.
    pub estimated: Vec<f64>,
    /// Measured minus estimated; of an angle the shortest way round.
    pub residuals: Vec<f64>,
    /// Whether a measurement took part: it touches no held bus, and is no angle beside a held reference.
    pub used: Vec<bool>,
    /// J: weighted squares of the residuals of the measurements used.
    pub objective: f64,
    /// Measurements used less states estimated.
    pub degrees_of_freedom: usize,
    /// 99 % point of J when all errors are as stated; above it some measurement or the topology is wrong. None
    /// without redundancy, when J says nothing.
    pub threshold: Option<f64>,
    /// Gauss-Newton steps.
    pub iterations: usize,
}

/// Why there is no estimate.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EstimationError {
    /// The reference bus is not in the case.
    #[error("the reference bus has index {0}, which the case does not have")]
    Reference(usize),
    /// A measurement that cannot be.
    #[error("the measurement of sensor {sensor} {reason}")]
    Measurement {
        /// Its sensor.
        sensor: SensorId,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A start that is not one positive magnitude and one angle per bus.
    #[error("the start is not one positive magnitude and one angle per bus")]
    Start,
    /// Away from the start the measurements no longer determine a bus.
    #[error("after {iterations} steps the measurements no longer determine bus {bus}")]
    Singular {
        /// Steps before.
        iterations: usize,
        /// Where.
        bus: BusId,
    },
    /// The steps did not die out.
    #[error("no estimate after {iterations} steps: the last one moved bus {bus} by {step}")]
    NotConverged {
        /// Steps done.
        iterations: usize,
        /// Largest change in the last one, per unit or radians; not finite when the iteration escaped.
        step: f64,
        /// Where.
        bus: BusId,
    },
}

/// What earlier estimates of the same network and measurement places worked out: observability and symbolic analysis.
/// May change the speed of an estimate, never a bit of it.
#[derive(Clone, Debug, Default)]
pub struct Cache(Option<Plan>);

impl Cache {
    /// An empty cache.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// What depends on the network and on what is measured where, but not on values.
#[derive(Clone, Debug)]
struct Plan {
    /// Everything the plan follows from, as bits.
    key: Vec<u64>,
    unobservable: Vec<usize>,
    /// Unknown of each state (angle of bus i: 2i, magnitude: 2i + 1), or [`HELD`].
    unknown: Vec<usize>,
    unknowns: usize,
    /// Whether the reference angle is held as the origin of angles.
    reference_held: bool,
    used: Vec<bool>,
    gain: Gain,
    ldlt: Ldlt,
}

/// The gain matrix HᵀWH: its upper triangle, and where the products of each row of H go.
#[derive(Clone, Debug)]
struct Gain {
    pattern: Pattern,
    slots: Vec<u32>,
}

impl Gain {
    /// The pattern from the unknowns of each row.
    fn new<'a>(unknowns: usize, rows: impl Iterator<Item = &'a [usize]>) -> Self {
        // The diagonal first: unknowns no row touches have a place too.
        let mut places = Vec::from_iter((0..unknowns).map(|k| (k, k)));
        for row in rows {
            for (k, &a) in row.iter().enumerate() {
                places.extend(row[..=k].iter().map(|&b| (a.min(b), a.max(b))));
            }
        }
        let (pattern, slots) = Pattern::from_places(unknowns, unknowns, &places);
        Self { pattern, slots: slots[unknowns..].iter().map(|slot| *slot as u32).collect() }
    }

    /// Slot of an unknown's own value.
    fn diagonal(&self, unknown: usize) -> usize {
        // The last of its column in an upper triangle.
        self.pattern.slots(unknown).end - 1
    }

    /// The values from the weight and the derivatives of each row.
    fn values<'a>(&self, rows: impl Iterator<Item = (f64, &'a [f64])>) -> Vec<f64> {
        let mut values = vec![0.0; self.pattern.len()];
        let mut slots = self.slots.iter();
        for (weight, row) in rows {
            for (k, a) in row.iter().enumerate() {
                let weighted = weight * a;
                for (b, slot) in row[..=k].iter().zip(slots.by_ref()) {
                    values[*slot as usize] += weighted * b;
                }
            }
        }
        values
    }
}

/// Estimates the state of a case, which is one island with the bus of index `reference` as origin of angles.
///
/// Without angle measurements the reference angle is held at its start (0 in the case by custom). With them it is estimated
/// too; but where they do not reach the reference bus, it is held and they are left out if that leaves fewer buses
/// unobservable. A bus whose angle nothing ties to the origin is unobservable.
///
/// # Errors
/// When the input cannot be, or no estimate was found; see [`EstimationError`]. Lack of observability is no error.
pub fn estimate(
    case: &Case,
    reference: usize,
    measurements: &[CaseMeasurement],
    options: &Options,
    cache: &mut Cache,
) -> Result<Estimate, EstimationError> {
    check(case, reference, measurements)?;
    let (mut v, mut va) = start(case, options)?;
    let model = Model::new(case);
    let key = key(case, reference, measurements);
    if cache.0.as_ref().is_none_or(|plan| plan.key != key) {
        cache.0 = Some(plan(&model, reference, measurements, key));
    }
    let plan = cache.0.as_mut().expect("it was just put there");
    let mut iterations = 0;
    let mut converged = plan.unknowns == 0;
    let mut last = (0.0, 0);
    while !converged {
        if iterations == options.max_iterations || !f64::is_finite(last.0) {
            let (step, state) = last;
            return Err(EstimationError::NotConverged { iterations, step, bus: case.buses[state / 2].id });
        }
        let rows = model.evaluate(measurements, &plan.unknown, &plan.used, &v, &va);
        let mut step = vec![0.0; plan.unknowns];
        for (index, measurement) in measurements.iter().enumerate().filter(|(index, _)| plan.used[*index]) {
            let weighted = residual(measurement, rows.estimated[index]) / (measurement.sigma * measurement.sigma);
            let (unknowns, derivatives) = rows.row(index);
            for (unknown, derivative) in unknowns.iter().zip(derivatives) {
                step[*unknown] += derivative * weighted;
            }
        }
        let weights = measurements.iter().map(|measurement| 1.0 / (measurement.sigma * measurement.sigma));
        let used = weights.enumerate().filter(|(index, _)| plan.used[*index]);
        let gain = plan.gain.values(used.map(|(index, weight)| (weight, rows.row(index).1)));
        if let Err(pivot) = plan.ldlt.factor(&gain) {
            let state = plan.unknown.iter().position(|unknown| *unknown == pivot.row).expect("every unknown is a state");
            return Err(EstimationError::Singular { iterations, bus: case.buses[state / 2].id });
        }
        plan.ldlt.solve(&mut step);
        last = (0.0, 0);
        for (state, &unknown) in plan.unknown.iter().enumerate().filter(|(_, unknown)| **unknown != HELD) {
            let change = step[unknown];
            if state % 2 == 0 {
                va[state / 2] += change
            } else {
                v[state / 2] += change
            }
            if change.abs() > last.0 || change.is_nan() {
                last = (change.abs(), state);
            }
        }
        iterations += 1;
        converged = last.0 < options.tolerance;
    }
    let estimated = model.evaluate(measurements, &plan.unknown, &plan.used, &v, &va).estimated;
    let residuals = Vec::from_iter(measurements.iter().zip(&estimated).map(|(measurement, value)| residual(measurement, *value)));
    let used = measurements.iter().zip(&residuals).zip(&plan.used).filter(|(_, used)| **used);
    let objective = used.map(|((measurement, residual), _)| (residual / measurement.sigma) * (residual / measurement.sigma)).sum();
    let count = plan.used.iter().filter(|used| **used).count();
    let degrees_of_freedom = count.saturating_sub(plan.unknowns);
    Ok(Estimate {
        v,
        va,
        unobservable: plan.unobservable.clone(),
        held: plan.held_buses(reference),
        reference_held: plan.reference_held,
        estimated,
        residuals,
        used: plan.used.clone(),
        objective,
        degrees_of_freedom,
        threshold: chi_squared_quantile(CONFIDENCE, degrees_of_freedom),
        iterations,
    })
}

impl Plan {
    /// Buses with a held state; that the origin of angles is held makes a bus no less estimated.
    fn held_buses(&self, reference: usize) -> Vec<usize> {
        let held = |bus: &usize| {
            let angle = self.unknown[2 * bus] == HELD && !(*bus == reference && self.reference_held);
            angle || self.unknown[2 * bus + 1] == HELD
        };
        (0..self.unknown.len() / 2).filter(held).collect()
    }
}

fn plan(model: &Model, reference: usize, measurements: &[CaseMeasurement], key: Vec<u64>) -> Plan {
    let found = observability::analyze(model, reference, measurements);
    let mut unknown = vec![HELD; found.held.len()];
    let mut unknowns = 0;
    for (state, _) in found.held.iter().enumerate().filter(|(_, held)| !**held) {
        unknown[state] = unknowns;
        unknowns += 1;
    }
    let rows = model.at_flat_state(measurements, &unknown, &found.used);
    let gain = Gain::new(unknowns, (0..measurements.len()).filter(|index| found.used[*index]).map(|index| rows.row(index).0));
    let ldlt = Ldlt::analyze(&gain.pattern);
    let (unobservable, reference_held, used) = (found.unobservable, found.reference_held, found.used);
    Plan { key, unobservable, unknown, unknowns, reference_held, used, gain, ldlt }
}

fn residual(measurement: &CaseMeasurement, estimated: f64) -> f64 {
    let difference = measurement.value - estimated;
    match measurement.kind {
        MeasurementKind::VoltageAngle(_) => difference - 2.0 * PI * (difference / (2.0 * PI)).round_ties_even(),
        _ => difference,
    }
}

fn check(case: &Case, reference: usize, measurements: &[CaseMeasurement]) -> Result<(), EstimationError> {
    use MeasurementKind as Kind;
    if reference >= case.buses.len() {
        return Err(EstimationError::Reference(reference));
    }
    for measurement in measurements {
        let refused = |reason| Err(EstimationError::Measurement { sensor: measurement.sensor, reason });
        let exists = match measurement.kind {
            Kind::VoltageMagnitude(bus) | Kind::VoltageAngle(bus) | Kind::ActiveInjection(bus) | Kind::ReactiveInjection(bus) => {
                bus < case.buses.len()
            }
            Kind::ActiveFlowFrom(branch) | Kind::ActiveFlowTo(branch) | Kind::ReactiveFlowFrom(branch) | Kind::ReactiveFlowTo(branch) => {
                branch < case.branches.len()
            }
        };
        if !exists {
            return refused("is of a bus or branch the case does not have");
        }
        if !measurement.value.is_finite() {
            return refused("is no number");
        }
        if !(measurement.sigma.is_finite() && measurement.sigma > 0.0) {
            return refused("has a standard deviation that is not positive");
        }
    }
    Ok(())
}

fn start(case: &Case, options: &Options) -> Result<(Vec<f64>, Vec<f64>), EstimationError> {
    let Some((v, va)) = &options.start else {
        return Ok(case.buses.iter().map(|bus| (bus.v_start, bus.va_start)).unzip());
    };
    let sound = v.len() == case.buses.len()
        && va.len() == case.buses.len()
        && v.iter().all(|v| v.is_finite() && *v > 0.0)
        && va.iter().all(|va| va.is_finite());
    if sound { Ok((v.clone(), va.clone())) } else { Err(EstimationError::Start) }
}

/// Everything a [`Plan`] follows from.
fn key(case: &Case, reference: usize, measurements: &[CaseMeasurement]) -> Vec<u64> {
    use MeasurementKind as Kind;
    let mut key = vec![case.buses.len() as u64, case.branches.len() as u64, reference as u64];
    key.extend(case.buses.iter().flat_map(|bus| [bus.g.to_bits(), bus.b.to_bits()]));
    for branch in &case.branches {
        key.extend([branch.from as u64, branch.to as u64]);
        key.extend([branch.r, branch.x, branch.b, branch.tap, branch.shift].map(f64::to_bits));
    }
    key.extend(measurements.iter().map(|measurement| {
        let (code, index) = match measurement.kind {
            Kind::VoltageMagnitude(bus) => (0, bus),
            Kind::VoltageAngle(bus) => (1, bus),
            Kind::ActiveInjection(bus) => (2, bus),
            Kind::ReactiveInjection(bus) => (3, bus),
            Kind::ActiveFlowFrom(branch) => (4, branch),
            Kind::ActiveFlowTo(branch) => (5, branch),
            Kind::ReactiveFlowFrom(branch) => (6, branch),
            Kind::ReactiveFlowTo(branch) => (7, branch),
        };
        8 * index as u64 + code
    }));
    key
}
