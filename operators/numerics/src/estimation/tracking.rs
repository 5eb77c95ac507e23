//! Tracking: each scan is estimated from the state of the one before, with a matrix that is kept from an earlier state.
//!
//! The right side of each step is that of the present state, measurements and weights, so the estimate is the one a solve from
//! scratch arrives at, within the tolerance; the matrix decides how many steps that takes. It is taken anew (the refresh rule)
//! when the network, what is measured of it or what injects nothing changes, or a weight by more than a factor of four; after so many
//! scans; and within a scan when a step is not below half of the one before, or a tenth of that before it. All of it follows from the inputs and counts. What is kept is a value
//! ([`TrackerState`]); a tracker made of it goes on with the same bits.

use super::model::{Model, Point};
use super::plan::Factor;
use super::solve::{Iterate, Job, Taken};
use super::system::{Given, Sites, System};
use super::{Cache, Estimate, EstimationError, Options, check, conclude, start, values_and_weights};
use crate::case::{Case, CaseMeasurement, MeasurementKind};
use gridflow_inputs::ids::BusId;

/// Scans with one matrix, at most: an hour of scans every 5 s.
const SCANS: u64 = 720;

/// A weight that changed by more than this makes another matrix.
const OTHER_WEIGHT: f64 = 4.0;

/// What a kept matrix was taken from.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Frozen {
    /// The network it belongs to: buses, and admittances as bits.
    pub network: Vec<u64>,
    /// What was measured, and with which inverse variance; 0 took no part.
    pub kinds: Vec<MeasurementKind>,
    /// See `kinds`.
    pub weights: Vec<f64>,
    /// Magnitudes and angles it was taken at.
    pub v: Vec<f64>,
    /// See `v`.
    pub va: Vec<f64>,
    /// By state (angle of bus i: 2i, magnitude: 2i + 1): 1 where it is estimated, 0 where it is held.
    pub free: Vec<f64>,
    /// By bus: whether it was held to inject nothing.
    pub idle: Vec<bool>,
    /// Its order of elimination; empty where it is the one that reduces fill.
    pub order: Vec<usize>,
    /// Scans it has served.
    pub scans: u64,
}

/// What a tracker remembers.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct TrackerState {
    /// Buses of the last state.
    pub buses: Vec<BusId>,
    /// Their magnitudes.
    pub v: Vec<f64>,
    /// Their angles.
    pub va: Vec<f64>,
    /// Multipliers of P and Q of each bus; 0 where nothing is held.
    pub multipliers: Vec<[f64; 2]>,
    /// The kept matrix, as what it was taken from.
    pub frozen: Option<Frozen>,
}

impl TrackerState {
    /// Whether it is a state of the buses of a case.
    fn fits(&self, case: &Case) -> bool {
        let n = case.buses.len();
        let whole = self.v.len() == n && self.va.len() == n && self.multipliers.len() == n;
        whole && case.buses.iter().map(|bus| bus.id).eq(self.buses.iter().copied())
    }
}

/// Estimates scan after scan.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    state: TrackerState,
    cache: Cache,
    /// The factor of the frozen matrix, once it is needed.
    factor: Option<Factor>,
    /// The plan of which the frozen matrix is known to be, by its number.
    plan: u64,
}

impl Tracker {
    /// A tracker that goes on from a state; from the default one it starts.
    #[must_use]
    pub fn new(state: TrackerState) -> Self {
        Self { state, cache: Cache::new(), factor: None, plan: 0 }
    }

    /// What is remembered.
    #[must_use]
    pub fn state(&self) -> &TrackerState {
        &self.state
    }

    /// What it works out of network and places, for other questions about the same scan; changes no answer.
    pub fn cache(&mut self) -> &mut Cache {
        &mut self.cache
    }

    /// Starts anew at the next scan.
    pub fn forget(&mut self) {
        (self.state, self.factor) = (TrackerState::default(), None);
    }

    /// Estimates a scan. A network of other buses, and a state from which the steps do not converge, is started anew as by
    /// [`super::estimate`].
    ///
    /// # Errors
    /// As [`super::estimate`]; what is remembered is then forgotten.
    pub fn scan(
        &mut self,
        case: &Case,
        reference: usize,
        measurements: &[CaseMeasurement],
        options: &Options,
    ) -> Result<Estimate, EstimationError> {
        check(case, reference, measurements, options)?;
        if self.state.fits(case) {
            match self.attempt(case, reference, measurements, options, true) {
                Err(error) if error.steps().is_some() => {}
                other => return other,
            }
        }
        self.attempt(case, reference, measurements, options, false)
    }

    fn attempt(
        &mut self,
        case: &Case,
        reference: usize,
        measurements: &[CaseMeasurement],
        options: &Options,
        warm: bool,
    ) -> Result<Estimate, EstimationError> {
        let TrackerState { v, va, multipliers, frozen, .. } = std::mem::take(&mut self.state);
        let mut iterate = if warm {
            Iterate { multipliers, ..Iterate::new(v, va) }
        } else {
            let (v, va) = start(case, options)?;
            Iterate::new(v, va)
        };
        let kinds = measurements.iter().map(|measurement| measurement.kind);
        let (model, plan, work) = self.cache.plan(case, reference, kinds, &options.zero_injections);
        let (values, weights) = values_and_weights(measurements, &plan.used);
        let known = std::mem::replace(&mut self.plan, plan.number) == plan.number;
        let mut frozen = frozen.filter(|frozen| {
            let is_of_it =
                || frozen.network == model.key && frozen.free == plan.free && frozen.idle == plan.idle && frozen.kinds == plan.kinds;
            warm && frozen.scans < SCANS && (known || is_of_it()) && frozen.is_near(&weights)
        });
        let kept = match (frozen.as_ref(), self.factor.take()) {
            (Some(_), Some(factor)) => Some(factor),
            (Some(frozen), None) => frozen.factor(model),
            (None, _) => None,
        };
        iterate.keeps = kept.is_some();
        iterate.settled = warm;
        let mut factor = kept.unwrap_or_else(|| Factor::new(model, plan.order.clone()));
        let job = Job { case, model, options, values: &values, weights: &weights };
        iterate.converge(&job, plan, &mut factor, &mut work.system)?;
        match (iterate.taken.take(), frozen.as_mut()) {
            (Some(Taken { v, va, weights: weighed }), _) => {
                let (kinds, free, idle) = (plan.kinds.clone(), plan.free.clone(), plan.idle.clone());
                let (network, weights) = (model.key.clone(), weighed.unwrap_or_else(|| weights.clone()));
                frozen = Some(Frozen { network, kinds, weights, v, va, free, idle, order: factor.order.clone(), scans: 1 });
            }
            (None, Some(frozen)) => frozen.scans += 1,
            (None, None) => {}
        }
        let estimate = conclude(&job, plan, &iterate, &mut work.system);
        self.factor = Some(factor);
        self.state = TrackerState {
            buses: case.buses.iter().map(|bus| bus.id).collect(),
            v: estimate.v.clone(),
            va: estimate.va.clone(),
            multipliers: iterate.multipliers,
            frozen,
        };
        Ok(estimate)
    }
}

impl Frozen {
    /// Whether weights are much like those of the matrix.
    fn is_near(&self, weights: &[f64]) -> bool {
        let near = |(new, old): (&f64, &f64)| *new <= OTHER_WEIGHT * old && *old <= OTHER_WEIGHT * new;
        self.weights.len() == weights.len() && weights.iter().zip(&self.weights).all(near)
    }

    /// The factor of the matrix; none when the value is not one that a tracker left.
    fn factor(&self, model: &Model) -> Option<Factor> {
        let n = model.buses();
        let sound = self.v.len() == n && self.va.len() == n && self.idle.len() == n && self.free.len() == 2 * n;
        if !sound || self.weights.len() != self.kinds.len() || !is_order(&self.order, n) {
            return None;
        }
        let sites = Sites::new(model, &self.kinds);
        let values = vec![0.0; self.kinds.len()];
        let given = Given { model, sites: &sites, values: &values, weights: &self.weights, free: &self.free, idle: &self.idle };
        let mut system = System::default();
        system.take_blocks(&given, &Point::new(self.v.clone(), self.va.clone()));
        let mut factor = Factor::new(model, self.order.clone());
        factor.take(model, &system.blocks).is_ok().then_some(factor)
    }
}

/// Whether it is empty, or names each of so many buses once.
fn is_order(order: &[usize], buses: usize) -> bool {
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    sorted.is_empty() || sorted.into_iter().eq(0..buses)
}
