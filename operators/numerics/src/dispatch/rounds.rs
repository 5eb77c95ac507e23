//! Rounds of solving: branch limits are stated as they are violated, slack is opened only when it must be.
//!
//! First without slack. When that is infeasible, or a bus price shows that slack would pay, with slack for all classes of
//! load; then each class that was shed is spared on trial, the most critical first, and stays spared when the others
//! suffice. Everything is decided by the case and the answers, never by time.

use super::cost;
use super::model::{Meaning, Model};
use super::network::DcNetwork;
use super::penalty::{Penalties, SHED_ORDER, place};
use super::quadratic::{NoOptimum, Optimum};
use super::{Conflict, Dispatch, DispatchError, Interval, Options, StorageEnd};
use crate::case::Case;
use std::collections::{BTreeMap, BTreeSet};

/// Violation of a branch limit that still passes, MW, beside its share of the limit.
const FLOW_TOLERANCE: (f64, f64) = (1e-5, 1e-8);
/// Branch limits added per interval and round.
const LIMITS_PER_ROUND: usize = 40;
/// Powers below this are the solver's noise, MW.
pub(super) const NOISE_MW: f64 = 1e-5;
/// Share in a proof of infeasibility below which a part is not named.
const NAMED: f64 = 1e-4;

/// A stated branch limit: interval, branch, and whether it is the upper one.
type Limit = (usize, usize, bool);

/// Dispatches a case, which must be one island, over the intervals in order.
///
/// # Errors
/// When a number is not usable, no dispatch keeps all limits, or the solver's answer fails verification.
pub fn solve(case: &Case, intervals: &[Interval], options: &Options) -> Result<Dispatch, DispatchError> {
    check(case, intervals, options)?;
    let network = DcNetwork::new(case, options.model)?;
    let penalties = Penalties::new(case, options);
    let mut rounds = Rounds {
        case,
        intervals,
        options,
        network,
        penalties,
        limits: BTreeSet::new(),
        distributions: BTreeMap::new(),
        iterations: 0,
        count: 0,
    };
    rounds.solve()
}

/// An answer with the model it is of and the rows of the stated limits.
pub(super) struct Answer<'a> {
    pub(super) model: Model<'a>,
    pub(super) optimum: Optimum,
    pub(super) limits: Vec<(Limit, usize)>,
}

pub(super) struct Rounds<'a> {
    pub(super) case: &'a Case,
    pub(super) intervals: &'a [Interval],
    options: &'a Options,
    pub(super) network: DcNetwork,
    penalties: Penalties,
    /// Branch limits that were ever violated.
    limits: BTreeSet<Limit>,
    /// Distribution factors of their branches.
    pub(super) distributions: BTreeMap<usize, Vec<f64>>,
    pub(super) iterations: u32,
    pub(super) count: usize,
}

impl<'a> Rounds<'a> {
    fn solve(&mut self) -> Result<Dispatch, DispatchError> {
        let tight = match self.attempt(None) {
            Ok(answer) if !self.options.allow_shedding || !self.slack_pays(&answer) => return Ok(self.dispatch(&answer)),
            Ok(_) => None,
            Err(failure) if !self.options.allow_shedding => return Err(failure),
            Err(failure) => Some(failure),
        };
        let mut answer = match self.attempt(Some(SHED_ORDER.len() - 1)) {
            Ok(answer) => answer,
            // Of two failures the proof says more.
            Err(DispatchError::NotSolved { .. }) if matches!(tight, Some(DispatchError::Infeasible(_))) => {
                return Err(tight.expect("just matched"));
            }
            Err(failure) => return Err(failure),
        };
        while let Some(dearest) = self.dearest_class_shed(&answer) {
            let Some(spared) = dearest.checked_sub(1) else { break };
            match self.attempt(Some(spared)) {
                Ok(milder) => answer = milder,
                Err(_) => break,
            }
        }
        Ok(self.dispatch(&answer))
    }

    /// Solves with the given slack until no branch limit is violated.
    fn attempt(&mut self, slack: Option<usize>) -> Result<Answer<'a>, DispatchError> {
        let mut model = Model::new(self.case, self.intervals, self.options, &self.network, &self.penalties, slack);
        if let Some(conflict) = model.imbalance() {
            return Err(DispatchError::Infeasible(vec![conflict]));
        }
        let mut limits = Vec::new();
        for limit in &self.limits {
            limits.push((*limit, state(&self.network, &self.distributions, &mut model, *limit)));
        }
        for _ in 0..self.options.round_limit {
            self.count += 1;
            let optimum = match model.program.solve() {
                Ok(optimum) => optimum,
                Err(failure) => return Err(self.failure(&model, failure)),
            };
            self.iterations += optimum.iterations;
            let violated = self.violated(&model, &optimum);
            for limit in &violated {
                self.limits.insert(*limit);
                let network = &self.network;
                self.distributions.entry(limit.1).or_insert_with(|| network.distribution(limit.1));
                limits.push((*limit, state(&self.network, &self.distributions, &mut model, *limit)));
            }
            let separated = separate(&mut model, &optimum);
            if violated.is_empty() && !separated {
                return Ok(Answer { model, optimum, limits });
            }
        }
        let status = "round limit";
        Err(DispatchError::NotSolved { status, iterations: self.iterations, primal: f64::NAN, dual: f64::NAN, gap: f64::NAN })
    }

    /// Injection of each bus in MW.
    pub(super) fn injection(&self, model: &Model, t: usize, x: &[f64]) -> Vec<f64> {
        let mut injection = model.injections[t].fixed.clone();
        for (bus, column, coefficient) in &model.injections[t].terms {
            injection[*bus] += coefficient * x[*column];
        }
        injection
    }

    /// The most violated branch limits of each interval that are not stated yet.
    fn violated(&self, model: &Model, optimum: &Optimum) -> Vec<Limit> {
        let mut violated = Vec::new();
        for t in 0..self.intervals.len() {
            let (flows, _) = self.network.flows(&self.injection(model, t, &optimum.x));
            let mut worst: Vec<(f64, Limit)> = Vec::new();
            for (branch, (flow, limit)) in flows.iter().zip(&self.network.limits).enumerate() {
                for (excess, bound, upper) in [(flow - limit.high, limit.high, true), (limit.low - flow, limit.low, false)] {
                    if excess > FLOW_TOLERANCE.0 + FLOW_TOLERANCE.1 * bound.abs() && !self.limits.contains(&(t, branch, upper)) {
                        worst.push((excess, (t, branch, upper)));
                    }
                }
            }
            worst.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            violated.extend(worst.into_iter().take(LIMITS_PER_ROUND).map(|(_, limit)| limit));
        }
        violated
    }

    /// Price of each bus by the duals: (energy, congestion), currency per MWh.
    pub(super) fn prices(&self, answer: &Answer, t: usize) -> (f64, Vec<f64>) {
        let hours = self.intervals[t].hours;
        let price = |row: usize| answer.optimum.row_price[row] / hours;
        let mut congestion = vec![0.0; self.case.buses.len()];
        for ((interval, branch, _), row) in &answer.limits {
            if *interval == t {
                for (sum, factor) in congestion.iter_mut().zip(&self.distributions[branch]) {
                    *sum += price(*row) * factor;
                }
            }
        }
        (price(answer.model.balance[t]), congestion)
    }

    /// Whether at some bus shedding or dumping costs less than the price there: then leaving it out was not optimal.
    fn slack_pays(&self, answer: &Answer) -> bool {
        (0..self.intervals.len()).any(|t| {
            let (energy, congestion) = self.prices(answer, t);
            let price = |bus: usize| energy + congestion[bus];
            let shed =
                self.case.loads.iter().enumerate().any(|(index, load)| {
                    self.intervals[t].load_p[index] > 0.0 && price(load.bus) > self.penalties.load[index] * (1.0 + 1e-6)
                });
            shed || self.case.generators.iter().any(|unit| -price(unit.bus) > self.penalties.surplus * (1.0 + 1e-6))
        })
    }

    /// Place of the most critical class with load shed.
    fn dearest_class_shed(&self, answer: &Answer) -> Option<usize> {
        let shed = answer.model.shed.iter().flat_map(|shed| shed.iter().enumerate());
        let cut = shed.filter(|(_, column)| column.is_some_and(|column| answer.optimum.x[column] > NOISE_MW));
        cut.map(|(load, _)| place(self.case.loads[load].class)).max()
    }

    fn failure(&self, model: &Model, failure: NoOptimum) -> DispatchError {
        match failure {
            NoOptimum::NotSolved { status, iterations, primal, dual, gap } => {
                DispatchError::NotSolved { status, iterations: self.iterations + iterations, primal, dual, gap }
            }
            NoOptimum::Infeasible { rows, columns, .. } => {
                let mut conflicts: Vec<Conflict> = Vec::new();
                let mut name = |meanings: &[Meaning], weights: &[f64]| {
                    for (meaning, weight) in meanings.iter().zip(weights) {
                        let conflict = if *weight > 0.0 { meaning.high } else { meaning.low };
                        if weight.abs() > NAMED && !conflicts.contains(&conflict) {
                            conflicts.push(conflict);
                        }
                    }
                };
                name(&model.rows, &rows);
                name(&model.columns, &columns);
                DispatchError::Infeasible(conflicts)
            }
        }
    }
}

/// Adds the row of a branch limit.
fn state(network: &DcNetwork, distributions: &BTreeMap<usize, Vec<f64>>, model: &mut Model, limit: Limit) -> usize {
    let (t, branch, upper) = limit;
    let factors = &distributions[&branch];
    let injection = &model.injections[t];
    let terms = injection.terms.iter().filter(|(bus, _, _)| factors[*bus] != 0.0);
    let terms = terms.map(|(bus, column, coefficient)| (*column, factors[*bus] * coefficient)).collect();
    let fixed = factors.iter().zip(&injection.fixed).map(|(factor, fixed)| factor * fixed).sum::<f64>() + network.offset(branch);
    let bounds = network.limits[branch];
    let (low, high) = if upper { (f64::NEG_INFINITY, bounds.high - fixed) } else { (bounds.low - fixed, f64::INFINITY) };
    model.row(Conflict::Branch { interval: t, branch: model.case.branches[branch].id }, terms, low, high)
}

/// Closes one direction wherever a storage unit or a link goes both ways at once; whether there was any.
fn separate(model: &mut Model, optimum: &Optimum) -> bool {
    let x = &optimum.x;
    let mut closed = Vec::new();
    for columns in &model.storages {
        for (storage, columns) in model.case.storages.iter().zip(columns) {
            let (charge, discharge) = (x[columns.charge], x[columns.discharge]);
            if charge.min(discharge) > NOISE_MW {
                let stores = charge * storage.charge_efficiency >= discharge / storage.discharge_efficiency;
                closed.push(if stores { columns.discharge } else { columns.charge });
            }
        }
    }
    for (forward, backward) in model.links.iter().flatten() {
        if let Some(backward) = backward
            && x[*forward].min(x[*backward]) > NOISE_MW
        {
            closed.push(if x[*forward] >= x[*backward] { *backward } else { *forward });
        }
    }
    for column in &closed {
        model.program.bound(*column, 0.0, 0.0);
    }
    !closed.is_empty()
}

fn check(case: &Case, intervals: &[Interval], options: &Options) -> Result<(), DispatchError> {
    let refuse = |message: String| Err(DispatchError::Input(message));
    let (units, loads) = (case.generators.len(), case.loads.len());
    if case.buses.is_empty() || intervals.is_empty() {
        return refuse("a dispatch needs a bus and an interval".to_string());
    }
    for unit in &case.generators {
        cost::check(unit)?;
        if !(unit.p_min.is_finite() && unit.p_max.is_finite() && unit.p_min <= unit.p_max && unit.ramp_per_minute >= 0.0) {
            return refuse(format!("unit {} has impossible limits: {} to {} per unit", unit.id, unit.p_min, unit.p_max));
        }
    }
    for branch in &case.branches {
        if !(branch.rating >= 0.0 && branch.angle_min <= branch.angle_max) {
            return refuse(format!("branch {} has an impossible rating or angle limit", branch.id));
        }
    }
    for link in &case.dc_lines {
        let finite = link.p_min.is_finite() && link.p_max.is_finite() && link.loss.is_finite();
        if !(finite && link.p_min <= link.p_max && (0.0..1.0).contains(&link.loss_ratio)) {
            return refuse(format!("direct-current link {} has impossible limits or losses", link.id));
        }
    }
    for storage in &case.storages {
        let share = |value: f64| (0.0..=1.0).contains(&value);
        let efficiency = |value: f64| value > 0.0 && value <= 1.0;
        let sizes = [storage.capacity, storage.charge_max, storage.discharge_max, storage.wear_cost_per_mwh];
        let possible = sizes.iter().all(|size| size.is_finite() && *size >= 0.0)
            && [storage.soc_min, storage.soc_max, storage.soc].into_iter().all(share)
            && storage.soc_min <= storage.soc_max
            && efficiency(storage.charge_efficiency)
            && efficiency(storage.discharge_efficiency);
        if !possible {
            return refuse(format!("storage unit {} has impossible figures", storage.id));
        }
    }
    if let Some(bus) = case.buses.iter().find(|bus| !bus.g.is_finite()) {
        return refuse(format!("bus {} has an impossible conductance", bus.id));
    }
    for (t, interval) in intervals.iter().enumerate() {
        if !(interval.hours > 0.0 && interval.hours.is_finite()) {
            return refuse(format!("interval {t} has no length"));
        }
        if interval.load_p.len() != loads || interval.available_p.len() != units {
            return refuse(format!("interval {t} needs {loads} loads and {units} units"));
        }
        if let Some(load) = interval.load_p.iter().position(|p| !p.is_finite()) {
            return refuse(format!("load {} has an impossible power in interval {t}", case.loads[load].id));
        }
        let usable = |g: usize| {
            let bounds = interval.p_bounds.as_ref().map_or(Some((0.0, 0.0)), |bounds| bounds.get(g).copied());
            let bounded = bounds.is_some_and(|(low, high)| low.is_finite() && high.is_finite() && low <= high);
            bounded && interval.available_p[g] >= 0.0
        };
        if let Some(unit) = (0..units).find(|g| !usable(*g)) {
            return refuse(format!("unit {} has impossible bounds in interval {t}", case.generators[unit].id));
        }
    }
    if let Some(initial) = &options.initial_p
        && !(initial.len() == units && initial.iter().all(|p| p.is_finite()))
    {
        return refuse(format!("the initial output needs {units} numbers"));
    }
    let ends = &options.storage_end;
    let end_possible = |end: &StorageEnd| match end {
        StorageEnd::AtLeastStart => true,
        StorageEnd::AtLeast(soc) => (0.0..=1.0).contains(soc),
        StorageEnd::Value(value) => value.is_finite(),
    };
    if !(ends.is_empty() || ends.len() == case.storages.len()) || !ends.iter().all(end_possible) {
        return refuse("the end rules of the storage units are impossible".to_string());
    }
    Ok(())
}
