//! State estimation: the voltages that fit all measurements best, by weighted least squares.
//!
//! Minimises `J = Σ ((z - h(x))/σ)²` over angles and magnitudes by Gauss-Newton steps (Abur and Expósito, "Power System State
//! Estimation", chapters 2 to 6), with zero injections as equality constraints. Observability comes first: what the
//! measurements do not determine is named, held at its start value, and kept out of the estimate of the rest. All per unit and
//! radians; sums run in the order of buses, branches and, at each, measurements, which the caller sorts by sensor.
//!
//! | file | owns |
//! |---|---|
//! | `model.rs` | what measurements read at a state, and derivatives |
//! | `system.rs` | the linear system of a step, by bus |
//! | `gathered.rs` | values and weights by place |
//! | `right.rs` | what is measured at a state, and the right side of a step |
//! | `solve.rs` | the steps |
//! | `mixing.rs` | acceleration of steps that keep their matrix |
//! | `plan.rs` | what follows from places alone, kept from one estimate to the next |
//! | `observability.rs` | what the measurements determine |
//! | `residuals.rs` | normalised residuals, critical measurements |
//! | `removals.rs` | residuals without a measurement or with one more, without another factor |
//! | `bad_data.rs` | gross errors found and taken out |
//! | `multipliers.rs` | normalised multipliers of branches and taps |
//! | `diagnosis.rs` | bad data, a wrong status or a wrong tap: which of them explains J |
//! | `alternatives.rs` | what may be bad in the place of what was blamed |
//! | `placement.rs` | measurements that would restore observability |
//! | `tracking.rs` | estimates from the previous one, on a frozen matrix |

mod alternatives;
mod bad_data;
mod diagnosis;
mod gathered;
mod mixing;
mod model;
mod multipliers;
mod observability;
mod placement;
mod plan;
mod removals;
mod residuals;
mod right;
mod solve;
mod system;
mod tracking;

pub use bad_data::{BadDataOptions, BadDatum, Identification, greatest_by_chance, identify};
pub use diagnosis::{Diagnosis, SuspectedBranch, SuspectedTap, diagnose};
pub use placement::placements;
pub use plan::Cache;
pub use residuals::{Residuals, critical, normalize};
pub use tracking::{Frozen, Tracker, TrackerState};

use crate::case::{Case, CaseMeasurement, MeasurementKind, Place};
use crate::statistics::chi_squared_quantile;
use gridflow_inputs::ids::{BusId, SensorId};
use model::{Model, Point};
use plan::Plan;
use solve::{Iterate, Job};
use system::{Given, System, residual};

/// Probability below the bad-data threshold of [`Estimate::threshold`] when all errors are as stated.
pub const CONFIDENCE: f64 = 0.99;

/// What is minimised.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Method {
    /// The sum of squares of residuals by their standard deviations.
    #[default]
    LeastSquares,
    /// Huber's function of them: squares up to `threshold` standard deviations, straight lines beyond, so that a gross error pulls
    /// with the force of one of `threshold`; by iteratively reweighted least squares.
    Huber {
        /// In standard deviations, positive; 1.5 is usual.
        threshold: f64,
    },
}

impl Method {
    /// What is minimised, of the squares of residuals by their deviations.
    fn objective(self, squares: impl Iterator<Item = f64>) -> f64 {
        match self {
            Method::LeastSquares => squares.sum(),
            Method::Huber { threshold } => {
                let limit = threshold * threshold;
                squares.map(|square| if square <= limit { square } else { 2.0 * threshold * square.sqrt() - limit }).sum()
            }
        }
    }
}

/// How to estimate.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Magnitudes and angles to start from, one per bus each; without, the start values of the case.
    pub start: Option<(Vec<f64>, Vec<f64>)>,
    /// Buses that inject nothing, ascending: equality constraints.
    pub zero_injections: Vec<usize>,
    /// What is minimised.
    pub method: Method,
    /// Largest last step of a converged state.
    pub tolerance: f64,
    /// Steps before giving up; five times as many with [`Method::Huber`].
    pub max_iterations: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { start: None, zero_injections: Vec::new(), method: Method::default(), tolerance: 1e-8, max_iterations: 20 }
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
    /// J: weighted squares of the residuals of the measurements used; Huber's function of them, doubled, if that is minimised.
    pub objective: f64,
    /// Measurements used and constraints, less states estimated.
    pub degrees_of_freedom: usize,
    /// 99 % point of J when all errors are as stated; above it some measurement or the topology is wrong. None
    /// without redundancy, when J says nothing.
    pub threshold: Option<f64>,
    /// Gauss-Newton steps.
    pub iterations: usize,
    /// Multipliers of the constraints on P and Q of each bus that injects nothing, in the order given: how much J falls, by half, with
    /// each unit it would inject. 0 where the constraint takes no part.
    pub multipliers: Vec<[f64; 2]>,
}

/// Why there is no estimate.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EstimationError {
    /// A bus said to inject nothing is not in the case, or not in ascending order.
    #[error("the buses that inject nothing are not given by ascending index of the case")]
    ZeroInjections,
    /// A threshold that is not positive.
    #[error("the threshold of Huber's function is {0}, not a positive number of standard deviations")]
    Threshold(f64),
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
    #[error(
        "no estimate after {iterations} steps: the last one still moved bus {bus} by {step:.1e} per unit or radians; measurements contradict each other or the network"
    )]
    NotConverged {
        /// Steps done.
        iterations: usize,
        /// Largest change in the last one, per unit or radians; infinite without any step.
        step: f64,
        /// Where.
        bus: BusId,
    },
    /// The steps ended, or escaped, where no grid is.
    #[error("measurements contradict each other or the network: they lead to a state of no grid, at bus {bus}")]
    Implausible {
        /// Steps done.
        iterations: usize,
        /// Where.
        bus: BusId,
    },
}

impl EstimationError {
    /// Steps done, where the input could be and yet no state was found: another start or other measurements may find one.
    #[must_use]
    pub fn steps(&self) -> Option<usize> {
        match self {
            Self::Singular { iterations, .. } | Self::NotConverged { iterations, .. } | Self::Implausible { iterations, .. } => {
                Some(*iterations)
            }
            Self::ZeroInjections | Self::Threshold(_) | Self::Reference(_) | Self::Measurement { .. } | Self::Start => None,
        }
    }
}

/// Estimates the state of a case, which is one island with the bus of index `reference` as origin of angles.
///
/// Without measurements of angles or current phasors the reference angle is held at its start (0 in the case by custom). With
/// them it is estimated too; but where they do not reach the reference bus, it is held and they are left out if that leaves
/// fewer buses unobservable. A bus whose angle nothing ties to the origin is unobservable. Magnitudes of currents determine
/// nothing by themselves: they take part where other measurements determine the state.
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
    check(case, reference, measurements, options)?;
    let (v, va) = start(case, options)?;
    let kinds = measurements.iter().map(|measurement| measurement.kind);
    let (model, plan, work) = cache.plan(case, reference, kinds, &options.zero_injections);
    let (values, weights) = values_and_weights(measurements, &plan.used);
    let job = Job { case, model, options, values: &values, weights: &weights };
    let mut iterate = Iterate::new(v, va);
    iterate.converge(&job, plan, &mut work.factor, &mut work.system)?;
    Ok(conclude(&job, plan, &iterate, &mut work.system))
}

/// Buses that [`Estimate::unobservable`] would name, without an estimate: they follow from the network and from what is measured where.
///
/// # Errors
/// When the input cannot be.
pub fn unobservable(
    case: &Case,
    reference: usize,
    measurements: &[CaseMeasurement],
    options: &Options,
    cache: &mut Cache,
) -> Result<Vec<usize>, EstimationError> {
    check(case, reference, measurements, options)?;
    let kinds = measurements.iter().map(|measurement| measurement.kind);
    Ok(cache.plan(case, reference, kinds, &options.zero_injections).1.unobservable.clone())
}

/// What measurements of these kinds read at a state, per unit and radians.
///
/// # Panics
/// When a place is not one of the case, or there is not a voltage for each bus.
#[must_use]
pub fn readings(case: &Case, kinds: impl Iterator<Item = MeasurementKind>, v: &[f64], va: &[f64]) -> Vec<f64> {
    let (model, at) = (Model::new(case, Vec::new()), Point::new(v.to_vec(), va.to_vec()));
    let mut derivatives = Vec::new();
    kinds.map(|kind| model.row(kind, &at, &mut derivatives)).collect()
}

fn inverse_variance(measurement: &CaseMeasurement) -> f64 {
    1.0 / (measurement.sigma * measurement.sigma)
}

/// Values, and inverse variances; 0 for what takes no part.
fn values_and_weights(measurements: &[CaseMeasurement], used: &[bool]) -> (Vec<f64>, Vec<f64>) {
    let (mut values, mut weights) = (Vec::with_capacity(measurements.len()), Vec::with_capacity(measurements.len()));
    for (measurement, used) in measurements.iter().zip(used) {
        values.push(measurement.value);
        weights.push(if *used { inverse_variance(measurement) } else { 0.0 });
    }
    (values, weights)
}

/// The estimate at the state the steps arrived at.
fn conclude(job: &Job, plan: &Plan, iterate: &Iterate, system: &mut System) -> Estimate {
    let Job { model, options, values, weights, .. } = *job;
    let given = Given { model, sites: &plan.sites, values, weights, free: &plan.free, idle: &plan.idle };
    system.read(&given, &iterate.point);
    let estimated = std::mem::take(&mut system.estimated);
    let residuals = Vec::from_iter((0..values.len()).map(|index| residual(plan.sites.place(index), values[index], estimated[index])));
    let squares = residuals.iter().zip(weights).map(|(residual, weight)| residual * residual * weight);
    let objective = options.method.objective(squares);
    let degrees_of_freedom = plan.equations().saturating_sub(plan.unknowns());
    Estimate {
        v: iterate.point.v.clone(),
        va: iterate.point.va.clone(),
        unobservable: plan.unobservable.clone(),
        held: plan.held_buses(),
        reference_held: plan.reference_held,
        estimated,
        residuals,
        used: plan.used.clone(),
        objective,
        degrees_of_freedom,
        threshold: chi_squared_quantile(CONFIDENCE, degrees_of_freedom),
        iterations: iterate.iterations,
        multipliers: options.zero_injections.iter().map(|bus| iterate.multipliers[*bus]).collect(),
    }
}

fn check(case: &Case, reference: usize, measurements: &[CaseMeasurement], options: &Options) -> Result<(), EstimationError> {
    if reference >= case.buses.len() {
        return Err(EstimationError::Reference(reference));
    }
    let idle = &options.zero_injections;
    if idle.iter().any(|bus| *bus >= case.buses.len()) || idle.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err(EstimationError::ZeroInjections);
    }
    if let Method::Huber { threshold } = options.method
        && !(threshold > 0.0 && threshold.is_finite())
    {
        return Err(EstimationError::Threshold(threshold));
    }
    for measurement in measurements {
        let refused = |reason| Err(EstimationError::Measurement { sensor: measurement.sensor, reason });
        let exists = match measurement.kind.place() {
            Place::Bus(bus, _) => bus < case.buses.len(),
            Place::End(branch, ..) => branch < case.branches.len(),
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
