//! The truth: loads and weather move, units follow an economic dispatch, an AC power flow with distributed slack says
//! what the grid then does.
//!
//! Open loop: nothing the engine decides reaches it. Outputs are linear between dispatches of five minutes; what loads
//! ripple and lines lose beyond the plan is covered by the running units in proportion to their room upwards. A
//! power flow without solution is retried flat, then with the injections of the last solved step, then the last
//! state stands; each is counted. Per unit inside.

use super::dispatch::{self, Schedule};
use super::drivers::Drivers;
use super::outcome::{SimulationError, SimulationSummary};
use super::random::{Purpose, Random};
use super::state::State;
use super::storage::StorageUnit;
use gridflow_inputs::ids::LoadId;
use gridflow_inputs::network::LoadClass;
use gridflow_numerics::case::{Case, CaseLoad};
use gridflow_numerics::power_flow::{self, Cache, Options, PowerFlow, PowerFlowError, Slack, Start};
use std::collections::BTreeSet;

/// Time between dispatches.
const DISPATCH_MS: i64 = 300_000;
/// Standard deviation of a load's ripple.
const RIPPLE: f64 = 0.005;
/// Time after which a ripple has mostly died away.
const RIPPLE_MS: f64 = 300_000.0;

/// Planned outputs at a time, by the indices of the whole case.
struct Plan {
    time_ms: i64,
    generator_p: Vec<f64>,
    dc_line_p: Vec<f64>,
}

/// The true grid.
pub(super) struct Truth {
    /// Everything in service. The storage units stand behind the file's loads as loads of negative power.
    pub(super) whole: Case,
    pub(super) drivers: Drivers,
    pub(super) storages: Vec<StorageUnit>,
    /// Zone of each storage unit, as a position among the drivers' zones.
    pub(super) storage_zones: Vec<usize>,
    pub(super) state: State,
    /// Indices of branches and units that are out.
    pub(super) branches_out: BTreeSet<usize>,
    pub(super) units_out: BTreeSet<usize>,
    period_ms: i64,
    /// Number of loads of the file.
    loads: usize,
    /// Zone of each of the file's loads, likewise.
    load_zone: Vec<usize>,
    ripple: Vec<f64>,
    random: Random,
    /// The case without what is out, and where its branches and units are in the whole one.
    active: Case,
    active_branches: Vec<usize>,
    active_units: Vec<usize>,
    from: Plan,
    to: Plan,
    /// Losses as a share of generation, of the last power flow.
    loss_share: f64,
    solved: Option<Solved>,
    cache: Cache,
}

/// The last power flow with what it was solved for.
struct Solved {
    v: Vec<f64>,
    va: Vec<f64>,
    loads: Vec<(f64, f64)>,
    generator_p: Vec<f64>,
    dc_line_p: Vec<f64>,
}

impl Truth {
    /// The truth of a case at its first step.
    pub(super) fn new(
        mut whole: Case,
        drivers: Drivers,
        storages: Vec<(usize, StorageUnit)>,
        seed: u64,
        period_ms: i64,
        time_ms: i64,
        summary: &mut SimulationSummary,
    ) -> Result<Self, SimulationError> {
        if whole.generators.is_empty() {
            return Err(SimulationError::NoGenerator);
        }
        let loads = whole.loads.len();
        whole.storages.clear();
        for (place, (bus, _)) in storages.iter().enumerate() {
            // Numbers from the top: behind the file's, so that the case stays in the order of its ids.
            let id = LoadId(u32::MAX - (storages.len() - place) as u32);
            whole.loads.push(CaseLoad { id, bus: *bus, p: 0.0, q: 0.0, class: LoadClass::Critical, interruption_cost_per_mwh: 0.0 });
        }
        let mut load_zone = Vec::from_iter(whole.loads.iter().map(|load| drivers.zone_index(whole.buses[load.bus].zone)));
        let storage_zones = load_zone.split_off(loads);
        let mut random = Random::new(seed, Purpose::Ripple);
        let ripple = (0..loads).map(|_| random.gaussian()).collect();
        let empty = || Plan { time_ms, generator_p: vec![], dc_line_p: vec![] };
        let mut truth = Self {
            active_branches: Vec::from_iter(0..whole.branches.len()),
            active_units: Vec::from_iter(0..whole.generators.len()),
            active: whole.clone(),
            drivers,
            storages: storages.into_iter().map(|(_, unit)| unit).collect(),
            storage_zones,
            state: State::default(),
            branches_out: BTreeSet::new(),
            units_out: BTreeSet::new(),
            period_ms,
            loads,
            load_zone,
            ripple,
            random,
            from: empty(),
            to: empty(),
            loss_share: 0.02,
            solved: None,
            cache: Cache::new(),
            whole,
        };
        truth.storages.iter_mut().for_each(|unit| unit.step(time_ms, period_ms));
        truth.from = truth.dispatch(time_ms, summary);
        truth.to = truth.dispatch(next_mark(time_ms), summary);
        truth.set(time_ms);
        // Twice: the first flow says what the lines lose, the second dispatch counts on it.
        let flow = truth.solve_from(&[Start::File, Start::Flat]).map_err(SimulationError::FirstPowerFlow)?;
        truth.take(flow);
        truth.from = truth.dispatch(time_ms, summary);
        truth.to = truth.dispatch(next_mark(time_ms), summary);
        truth.set(time_ms);
        truth.solve(summary);
        summary.steps += 1;
        Ok(truth)
    }

    /// Goes on to a time, one period after the last.
    pub(super) fn step(&mut self, time_ms: i64, summary: &mut SimulationSummary) {
        let keep = libm::exp(-(self.period_ms as f64) / RIPPLE_MS);
        let fresh = (1.0 - keep * keep).sqrt();
        for ripple in &mut self.ripple {
            *ripple = keep * *ripple + fresh * self.random.gaussian();
        }
        self.storages.iter_mut().for_each(|unit| unit.step(time_ms, self.period_ms));
        if time_ms >= self.to.time_ms {
            let reached = if time_ms == self.to.time_ms { None } else { Some(self.dispatch(time_ms, summary)) };
            let next = self.dispatch(next_mark(time_ms), summary);
            self.from =
                reached.unwrap_or_else(|| std::mem::replace(&mut self.to, Plan { time_ms, generator_p: vec![], dc_line_p: vec![] }));
            self.to = next;
        }
        self.set(time_ms);
        self.solve(summary);
        summary.steps += 1;
    }

    /// Puts the equipment that is out into effect at a time: units keep what they gave, those tripped give nothing, and
    /// the next dispatch counts on what is left. Call before the [`step`](Self::step) of that time.
    pub(super) fn switch(&mut self, time_ms: i64, summary: &mut SimulationSummary) {
        let last = Vec::from_iter(self.state.generation.iter().map(|(p, _)| p / self.whole.base_mva));
        let dc_line_p = self.active.dc_lines.iter().map(|link| link.p).collect();
        self.active_branches = (0..self.whole.branches.len()).filter(|branch| !self.branches_out.contains(branch)).collect();
        self.active_units = (0..self.whole.generators.len()).filter(|unit| !self.units_out.contains(unit)).collect();
        self.active = self.whole.clone();
        self.active.branches = self.active_branches.iter().map(|&branch| self.whole.branches[branch].clone()).collect();
        self.active.generators = self.active_units.iter().map(|&unit| self.whole.generators[unit].clone()).collect();
        let in_service = |unit: usize| if self.units_out.contains(&unit) { 0.0 } else { last[unit] };
        self.from = Plan { time_ms, generator_p: (0..last.len()).map(in_service).collect(), dc_line_p };
        self.to = self.dispatch(next_mark(time_ms), summary);
    }

    /// Whether the grid stays in one piece and has a power flow without a branch.
    pub(super) fn survives_without_branch(&self, branch: usize) -> bool {
        let Some(place) = self.active_branches.iter().position(|index| *index == branch) else { return false };
        let mut trial = self.active.clone();
        let pieces = |case: &Case| case.components().iter().enumerate().filter(|(bus, lowest)| bus == *lowest).count();
        let before = pieces(&trial);
        trial.branches.remove(place);
        pieces(&trial) == before && self.has_power_flow(&trial)
    }

    /// Whether the others can take over from a unit at once.
    pub(super) fn survives_without_unit(&self, unit: usize) -> bool {
        let Some(place) = self.active_units.iter().position(|index| *index == unit) else { return false };
        let mut trial = self.active.clone();
        trial.generators.remove(place);
        self.has_power_flow(&trial)
    }

    fn has_power_flow(&self, trial: &Case) -> bool {
        let options = Options { start: self.given_start(), slack: slack(trial), ..Options::default() };
        power_flow::solve(trial, &options, &mut Cache::new()).is_ok()
    }

    /// Dispatches for a time. Losses are foreseen as the last power flow's share.
    fn dispatch(&self, time_ms: i64, summary: &mut SimulationSummary) -> Plan {
        let base_mva = self.whole.base_mva;
        let with_losses = 1.0 / (1.0 - self.loss_share.clamp(0.0, 0.3));
        let load_p = self.whole.loads.iter().enumerate().map(|(index, load)| match index.checked_sub(self.loads) {
            Some(storage) => -self.storages[storage].scheduled_mw(time_ms) / base_mva,
            None => with_losses * load.p * self.drivers.load_factor(self.load_zone[index], time_ms),
        });
        let available_p = self.active.generators.iter().map(|unit| {
            let available = self.drivers.available_mw(unit.id, time_ms);
            available.map_or(f64::INFINITY, |mw| mw / base_mva)
        });
        let Schedule { generator_p, dc_line_p, by_merit } = dispatch::economic(&self.active, load_p.collect(), available_p.collect());
        summary.dispatches += 1;
        summary.dispatches_by_merit += u64::from(by_merit);
        let mut whole = vec![0.0; self.whole.generators.len()];
        for (p, unit) in generator_p.into_iter().zip(&self.active_units) {
            whole[*unit] = p;
        }
        Plan { time_ms, generator_p: whole, dc_line_p }
    }

    /// Puts loads and outputs of a time into the active case.
    fn set(&mut self, time_ms: i64) {
        let base_mva = self.whole.base_mva;
        let factors = Vec::from_iter((0..self.drivers.zones().count()).map(|zone| self.drivers.load_factor(zone, time_ms)));
        for (index, load) in self.active.loads.iter_mut().enumerate() {
            if let Some(storage) = index.checked_sub(self.loads) {
                load.p = -self.storages[storage].p_mw() / base_mva;
            } else {
                let factor = factors[self.load_zone[index]] * (1.0 + RIPPLE * self.ripple[index]);
                load.p = self.whole.loads[index].p * factor;
                load.q = self.whole.loads[index].q * factor;
            }
        }
        let length = (self.to.time_ms - self.from.time_ms).max(1) as f64;
        let share = ((time_ms - self.from.time_ms) as f64 / length).clamp(0.0, 1.0);
        let between = |from: f64, to: f64| from + (to - from) * share;
        for (unit, &index) in self.active.generators.iter_mut().zip(&self.active_units) {
            unit.p = between(self.from.generator_p[index], self.to.generator_p[index]);
        }
        for (index, link) in self.active.dc_lines.iter_mut().enumerate() {
            link.p = between(self.from.dc_line_p[index], self.to.dc_line_p[index]);
        }
    }

    fn given_start(&self) -> Start {
        self.solved.as_ref().map_or(Start::Flat, |solved| Start::Given { v: solved.v.clone(), va: solved.va.clone() })
    }

    fn solve_from(&mut self, starts: &[Start]) -> Result<PowerFlow, PowerFlowError> {
        let mut outcome = Err(PowerFlowError::Given("start is missing"));
        for start in starts {
            let options = Options { start: start.clone(), slack: slack(&self.active), ..Options::default() };
            outcome = power_flow::solve(&self.active, &options, &mut self.cache);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    fn solve(&mut self, summary: &mut SimulationSummary) {
        let given = self.given_start();
        if let Ok(flow) = self.solve_from(std::slice::from_ref(&given)) {
            return self.take(flow);
        }
        summary.retried_flat += 1;
        if let Ok(flow) = self.solve_from(&[Start::Flat]) {
            return self.take(flow);
        }
        summary.held_loads += 1;
        if let Some(solved) = &self.solved {
            for (load, (p, q)) in self.active.loads.iter_mut().zip(&solved.loads) {
                (load.p, load.q) = (*p, *q);
            }
            for (unit, index) in self.active.generators.iter_mut().zip(&self.active_units) {
                unit.p = solved.generator_p[*index];
            }
            for (link, p) in self.active.dc_lines.iter_mut().zip(&solved.dc_line_p) {
                link.p = *p;
            }
        }
        match self.solve_from(&[given, Start::Flat]) {
            Ok(flow) => self.take(flow),
            Err(_) => summary.held_state += 1,
        }
    }

    /// Makes a power flow the state.
    fn take(&mut self, flow: PowerFlow) {
        let mva = self.whole.base_mva;
        let generation: f64 = flow.generator_p.iter().sum();
        self.loss_share = if generation > 0.0 { flow.loss / generation } else { 0.0 };
        let state = &mut self.state;
        state.injection = flow.p.iter().zip(&flow.q).map(|(p, q)| (p * mva, q * mva)).collect();
        state.flow = vec![[0.0; 4]; self.whole.branches.len()];
        for (branch, power) in self.active_branches.iter().zip(&flow.flows) {
            state.flow[*branch] = [power.p_from * mva, power.q_from * mva, power.p_to * mva, power.q_to * mva];
        }
        state.generation = vec![(0.0, 0.0); self.whole.generators.len()];
        let mut generator_p = vec![0.0; self.whole.generators.len()];
        for (place, unit) in self.active_units.iter().enumerate() {
            state.generation[*unit] = (flow.generator_p[place] * mva, flow.generator_q[place] * mva);
            generator_p[*unit] = self.active.generators[place].p;
        }
        state.load = self.active.loads[..self.loads].iter().map(|load| (load.p * mva, load.q * mva)).collect();
        state.bus_load = vec![0.0; self.whole.buses.len()];
        for (load, (p, _)) in self.active.loads.iter().zip(&state.load) {
            state.bus_load[load.bus] += p;
        }
        state.v_pu.clone_from(&flow.v);
        state.va_rad.clone_from(&flow.va);
        self.solved = Some(Solved {
            v: flow.v,
            va: flow.va,
            loads: self.active.loads.iter().map(|load| (load.p, load.q)).collect(),
            generator_p,
            dc_line_p: self.active.dc_lines.iter().map(|link| link.p).collect(),
        });
    }
}

/// Running units that weather does not bound cover the difference, by their room upwards and a little by size.
fn slack(case: &Case) -> Slack {
    let weights = Vec::from_iter(case.generators.iter().map(|unit| {
        let runs = unit.p > 1e-6 && !unit.variable;
        if runs { (unit.p_max - unit.p).max(0.0) + 0.05 * unit.p_max } else { 0.0 }
    }));
    if weights.iter().any(|weight| *weight > 0.0) { Slack::Weighted(weights) } else { Slack::Distributed }
}

/// The next time a dispatch is due, after `time_ms`.
fn next_mark(time_ms: i64) -> i64 {
    (time_ms.div_euclid(DISPATCH_MS) + 1) * DISPATCH_MS
}
