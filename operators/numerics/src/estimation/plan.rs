//! What follows from the network and from what is measured where, but not from values: observability, the order of
//! elimination. Worked out once and kept in a [`super::Cache`].

use super::EstimationError;
use super::model::{Model, Point};
use super::observability::{self, MAGNIFIED, Observability};
use super::system::{Given, Sites, System};
use crate::case::{Case, MeasurementKind};
use crate::sparse::{Block4, BlockLdlt, WIDTH};

/// Orders tried for a matrix that loses pivots: what is lost is postponed by one generation of the elimination tree, then by four, by
/// sixteen and so on, further than any tree is high.
const ORDERS: u32 = 7;

/// How long a factor looks for an order in which no pivot is lost.
#[derive(Clone, Copy)]
struct Patience {
    /// How much larger than in the order that reduces fill it may become.
    grown: usize,
    /// Share of the pivots lost in one order that may be lost in the next.
    left: f64,
}

/// For a matrix that should be regular.
const PATIENT: Patience = Patience { grown: 16, left: 1.0 };
/// To see whether one is: what goes on losing pivots is likely singular, and eliminating H tells that for sure and for less.
const CURIOUS: Patience = Patience { grown: 2, left: 0.75 };

/// A factor of a system, in the order that reduces its fill or in one that it needs.
#[derive(Clone, Debug)]
pub(super) struct Factor {
    pub(super) ldlt: BlockLdlt,
    /// Empty where it is the one that reduces fill.
    pub(super) order: Vec<usize>,
}

impl Factor {
    /// In an order of the model's buses; when that is empty, in the one that reduces fill.
    pub(super) fn new(model: &Model, order: Vec<usize>) -> Self {
        let taken = if order.is_empty() { &model.order } else { &order };
        Self { ldlt: BlockLdlt::analyze(&model.pairs, taken.clone()), order }
    }

    /// Factors the matrix; buses that lose their pivot are postponed until they stand, as they do if the matrix is regular.
    ///
    /// # Errors
    /// A bus that does not. The order is then what it was, and nothing is factored.
    pub(super) fn take(&mut self, model: &Model, blocks: &[Block4]) -> Result<(), usize> {
        self.attempt(model, blocks, PATIENT)
    }

    fn attempt(&mut self, model: &Model, blocks: &[Block4], patience: Patience) -> Result<(), usize> {
        let mut lost = self.ldlt.factor(blocks);
        if lost.is_empty() {
            return Ok(());
        }
        let own = self.order.clone();
        let size = |ldlt: &BlockLdlt| ldlt.fill() + ldlt.size();
        // What has grown before may not grow by as much again.
        let least = if own.is_empty() { size(&self.ldlt) } else { size(&BlockLdlt::analyze(&model.pairs, model.order.clone())) };
        let most = patience.grown * least;
        for attempt in 0..ORDERS {
            let order = self.ldlt.postponed(&lost, 1 << (2 * attempt));
            if order == self.ldlt.order() {
                break;
            }
            let next = BlockLdlt::analyze(&model.pairs, order.clone());
            if next.fill() > most {
                break;
            }
            (self.ldlt, self.order) = (next, order);
            let before = lost.len();
            lost = self.ldlt.factor(blocks);
            if lost.len() as f64 > patience.left * before as f64 {
                break;
            }
        }
        let Some(bus) = lost.first() else { return Ok(()) };
        if self.order != own {
            *self = Self::new(model, own);
        }
        Err(*bus)
    }

    /// How much the inverse magnifies, by two steps of inverse iteration from a vector that stands in no relation to it.
    fn magnifies(&self) -> f64 {
        let largest =
            |x: &[f64]| x.iter().fold(0.0f64, |largest, value| if value.is_nan() { f64::INFINITY } else { largest.max(value.abs()) });
        let mut x = Vec::from_iter((0..WIDTH * self.ldlt.size()).map(|k| observability::weight(k as u64) - 1.5));
        self.ldlt.solve(&mut x);
        let before = largest(&x);
        self.ldlt.solve(&mut x);
        largest(&x) / before
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Number among those of its cache: as long as it stays, so do network and places.
    pub(super) number: u64,
    pub(super) kinds: Vec<MeasurementKind>,
    reference: usize,
    asked_idle: Vec<usize>,
    pub(super) sites: Sites,
    pub(super) unobservable: Vec<usize>,
    /// By state (angle of bus i: 2i, magnitude: 2i + 1): 1 where it is estimated, 0 where it is held.
    pub(super) free: Vec<f64>,
    /// Whether the reference angle is held as the origin of angles.
    pub(super) reference_held: bool,
    pub(super) used: Vec<bool>,
    /// By bus: whether it is held to inject nothing.
    pub(super) idle: Vec<bool>,
    /// Order of elimination; empty where it is the one that reduces fill.
    pub(super) order: Vec<usize>,
    /// Reciprocal squared length of each measurement's row at the flat state; 0 where the row is empty.
    pub(super) flat_weights: Vec<f64>,
}

/// What solves on a plan write to.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) factor: Factor,
    pub(super) system: System,
    /// Measurements without redundancy, once asked for.
    pub(super) critical: Option<Vec<usize>>,
}

impl Plan {
    pub(super) fn new(model: &Model, reference: usize, kinds: Vec<MeasurementKind>, asked_idle: &[usize]) -> (Self, Work) {
        let n = model.buses();
        let sites = Sites::new(model, &kinds);
        let mut all = kinds.clone();
        all.extend(asked_idle.iter().flat_map(|bus| [MeasurementKind::ActiveInjection(*bus), MeasurementKind::ReactiveInjection(*bus)]));
        let rows = model.flat_rows(&all);
        let mut idle = vec![false; n];
        asked_idle.iter().for_each(|bus| idle[*bus] = true);
        let reference_held = !kinds.iter().any(|kind| observability::is_absolute(*kind));
        let mut held = vec![false; 2 * n];
        held[2 * reference] = reference_held;
        let squares = rows.squares(&held);
        let mut plan = Self {
            number: 0,
            reference,
            asked_idle: asked_idle.to_vec(),
            unobservable: Vec::new(),
            free: free(&held),
            reference_held,
            used: vec![true; kinds.len()],
            idle,
            order: Vec::new(),
            flat_weights: squares[..kinds.len()].iter().map(|square| if *square > 0.0 { 1.0 / square } else { 0.0 }).collect(),
            sites,
            kinds,
        };
        let mut work = Work { factor: Factor::new(model, Vec::new()), system: System::default(), critical: None };
        // Redundant in number at least, or nothing is determined and the cheap way is none.
        let enough = all.len() + usize::from(reference_held) >= 2 * n;
        let regular = enough && plan.factor_flat(model, &mut work, CURIOUS).is_ok() && work.factor.magnifies() < MAGNIFIED;
        if !regular {
            let found = observability::analyze(model, reference, &all, &rows);
            plan.hold(found);
            work.factor = Factor::new(model, Vec::new());
            // What is lost here may be regular at the state; the estimate tells.
            let _ = plan.factor_flat(model, &mut work, PATIENT);
        }
        plan.order = work.factor.order.clone();
        (plan, work)
    }

    fn hold(&mut self, found: Observability) {
        let Observability { unobservable, held, reference_held, mut used } = found;
        let constraints = used.split_off(self.kinds.len());
        for (bus, used) in self.asked_idle.iter().zip(constraints.chunks_exact(2)) {
            self.idle[*bus] = used[0] && used[1];
        }
        (self.unobservable, self.free, self.reference_held, self.used) = (unobservable, free(&held), reference_held, used);
    }

    /// Factors the system at the flat state with rows of unit length.
    fn factor_flat(&self, model: &Model, work: &mut Work, patience: Patience) -> Result<(), usize> {
        let flat = Point::flat(model.buses());
        let weights = Vec::from_iter(self.flat_weights.iter().zip(&self.used).map(|(weight, used)| if *used { *weight } else { 0.0 }));
        let values = vec![0.0; self.kinds.len()];
        let given = Given { model, sites: &self.sites, values: &values, weights: &weights, free: &self.free, idle: &self.idle };
        work.system.take_blocks(&given, &flat);
        work.factor.attempt(model, &work.system.blocks, patience)
    }

    /// Factors the system at the flat state with rows of unit length.
    ///
    /// # Errors
    /// A bus at which it is singular.
    pub(super) fn retake_flat(&self, model: &Model, work: &mut Work) -> Result<(), usize> {
        self.factor_flat(model, work, PATIENT)
    }

    /// Whether it is that of these measurements.
    pub(super) fn holds(&self, reference: usize, kinds: impl Iterator<Item = MeasurementKind>, idle: &[usize]) -> bool {
        self.reference == reference && self.asked_idle == idle && kinds.eq(self.kinds.iter().copied())
    }

    pub(super) fn unknowns(&self) -> usize {
        self.free.iter().filter(|free| **free > 0.0).count()
    }

    /// Measurements and constraints that take part.
    pub(super) fn equations(&self) -> usize {
        self.used.iter().filter(|used| **used).count() + 2 * self.idle.iter().filter(|idle| **idle).count()
    }

    /// Buses with a held state; that the origin of angles is held makes a bus no less estimated.
    pub(super) fn held_buses(&self) -> Vec<usize> {
        let held = |bus: &usize| {
            let angle = self.free[2 * bus] == 0.0 && !(*bus == self.reference && self.reference_held);
            angle || self.free[2 * bus + 1] == 0.0
        };
        (0..self.free.len() / 2).filter(held).collect()
    }
}

fn free(held: &[bool]) -> Vec<f64> {
    held.iter().map(|held| if *held { 0.0 } else { 1.0 }).collect()
}

/// Everything a [`Model`] follows from, as bits.
fn network_key(case: &Case) -> impl Iterator<Item = u64> + '_ {
    let sizes = [case.buses.len() as u64, case.branches.len() as u64].into_iter();
    let shunts = case.buses.iter().flat_map(|bus| [bus.g.to_bits(), bus.b.to_bits()]);
    let branches = case.branches.iter().flat_map(|branch| {
        let [r, x, b, tap, shift] = [branch.r, branch.x, branch.b, branch.tap, branch.shift].map(f64::to_bits);
        [branch.from as u64, branch.to as u64, r, x, b, tap, shift]
    });
    sizes.chain(shunts).chain(branches)
}

/// What earlier estimates of the same network and measurement places worked out: observability, order of elimination.
/// May change the speed of an estimate, never a bit of it.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    model: Option<Model>,
    plan: Option<(Plan, Work)>,
    /// Plans made so far.
    plans: u64,
}

impl Cache {
    /// An empty cache.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Model and plan of a case and what is measured there.
    pub(super) fn plan(
        &mut self,
        case: &Case,
        reference: usize,
        kinds: impl Iterator<Item = MeasurementKind> + Clone,
        idle: &[usize],
    ) -> (&Model, &Plan, &mut Work) {
        let model = match self.model.take() {
            Some(model) if network_key(case).eq(model.key.iter().copied()) => model,
            _ => {
                self.plan = None;
                Model::new(case, network_key(case).collect())
            }
        };
        let model = self.model.insert(model);
        let (plan, mut work) = match self.plan.take() {
            Some(known) if known.0.holds(reference, kinds.clone(), idle) => known,
            _ => {
                self.plans += 1;
                let (plan, work) = Plan::new(model, reference, kinds.collect(), idle);
                (Plan { number: self.plans, ..plan }, work)
            }
        };
        // A state may have needed another order; the next answer must not depend on it.
        if work.factor.order != plan.order {
            work.factor = Factor::new(model, plan.order.clone());
        }
        let (plan, work) = self.plan.insert((plan, work));
        (model, plan, work)
    }
}

/// The error of a system that cannot be solved at a state.
pub(super) fn singular(case: &Case, iterations: usize, bus: usize) -> EstimationError {
    EstimationError::Singular { iterations, bus: case.buses[bus].id }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Case;

    #[test]
    fn a_factor_that_finds_no_order_goes_back_to_its_own() {
        let file = gridflow_inputs::matpower::read("ieee14.m", gridflow_inputs::matpower::IEEE14).expect("it is whole");
        let case = Case::new(file.base_power.mva(), &file.network).expect("it is a case");
        let model = Model::new(&case, Vec::new());
        let kinds = (0..case.buses.len()).flat_map(|bus| [MeasurementKind::ActiveInjection(bus), MeasurementKind::ReactiveInjection(bus)]);
        let kinds = Vec::from_iter(kinds.chain([MeasurementKind::VoltageMagnitude(0)]));
        let (mut plan, mut work) = Plan::new(&model, 0, kinds, &[]);
        assert!(plan.unobservable.is_empty() && plan.retake_flat(&model, &mut work).is_ok());
        let order = work.factor.ldlt.order().to_vec();
        // Without half of the injections nothing determines the rest.
        plan.used.iter_mut().step_by(2).for_each(|used| *used = false);
        assert!(plan.retake_flat(&model, &mut work).is_err());
        assert_eq!((work.factor.ldlt.order(), &work.factor.order), (&order[..], &plan.order));
    }
}
