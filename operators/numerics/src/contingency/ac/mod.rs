//! AC contingency analysis: voltages and apparent power after each outage, from the solved base case.
//!
//! Newton's method with the base case's Jacobian frozen and corrected for the outage, several outages side by side. An outage
//! that does not get there in a fixed number of steps, or that no correction describes (a unit with others of another set point beside it,
//! a unit together with a branch, a lost reference bus, a list that parts the grid in other ways), is solved by the full method from the base case's voltages. Equations are met to the same tolerance either way. As in the power flow's defaults the reference bus covers losses,
//! and reactive limits are left out. Loading: the greater apparent power of both ends as a share of the rating.

mod base;
mod border;
mod correction;
mod lanes;

use self::base::Base;
use self::border::Border;
use self::correction::Correction;
use self::lanes::{Outage, State};
use super::bridges::{Bridges, LostIsland};
use super::participation::Participation;
use super::remainder::remainder;
use super::{Contingency, ContingencyError, Cover, Element, Outcome, Rating, Unsolved, VoltageViolation};
use crate::case::{Case, CaseGenerator};
use crate::power_flow::{self, Cache, PowerFlow, PowerFlowError};
use crate::sparse::Lanes;
use gridflow_inputs::network::BusKind;

/// How to analyse.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// What loadings are shares of.
    pub rating: Rating,
    /// Who covers what an outage leaves open.
    pub cover: Cover,
    /// Least and greatest magnitude after an outage; each bus's own limits when none is given.
    pub voltage_band: Option<(f64, f64)>,
    /// Largest mismatch of a solution, per unit.
    pub tolerance: f64,
    /// Steps with the frozen Jacobian before the full method is called.
    pub frozen_iterations: usize,
    /// Iterations of the full method. From the voltages before the outage it arrives in a few or not at all.
    pub full_iterations: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rating: Rating::Normal,
            cover: Cover::Capacity,
            voltage_band: None,
            tolerance: 1e-8,
            frozen_iterations: 16,
            full_iterations: 25,
        }
    }
}

/// How far outside of its band the square of a magnitude may be for rounding: set points often stand at a limit.
const ROUNDING: f64 = 1e-9;
/// How much a mismatch may grow over the first one before the full method is called.
const ESCAPED: f64 = 10.0;

/// A solved base case, prepared for any number of outages.
pub struct Analysis<'a> {
    case: &'a Case,
    options: Options,
    solved: PowerFlow,
    base: Base,
    bridges: Bridges,
    participation: Participation,
    /// Output that no unit covers, at reference buses without one.
    open: Vec<f64>,
    /// Squares of the limits of each bus; of those outside before the outage none.
    band: Vec<Option<(f64, f64)>>,
}

/// How an outage is solved.
enum Plan {
    Frozen(Box<Outage>, Option<LostIsland>),
    Full,
}

/// Voltages after an outage, for those who ask for all of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Voltages {
    /// Magnitude of each bus; 0 where it is cut off.
    pub v: Vec<f64>,
    /// Angle of each bus.
    pub va: Vec<f64>,
}

/// What a solve works with.
struct Work {
    vector: Vec<f64>,
    cache: Cache,
}

impl<'a> Analysis<'a> {
    /// Solves the base case from its start values and factors its Jacobian.
    ///
    /// # Errors
    /// When it has no power flow.
    pub fn new(case: &'a Case, options: Options) -> Result<Self, ContingencyError> {
        let by_default = power_flow::Options { tolerance: options.tolerance, ..power_flow::Options::default() };
        let solved = power_flow::solve(case, &by_default, &mut Cache::new())?;
        let base = Base::new(case, &solved)?;
        let mut scheduled = case.clone();
        scheduled.generators.iter_mut().zip(&solved.generator_p).for_each(|(unit, p)| unit.p = *p);
        let mut open = vec![0.0; case.buses.len()];
        for (bus, slack) in &solved.slack {
            open[*bus] = if case.generators.iter().any(|unit| unit.bus == *bus) { 0.0 } else { *slack };
        }
        let limits = |bus: usize| options.voltage_band.unwrap_or((case.buses[bus].v_min, case.buses[bus].v_max));
        let band = Vec::from_iter((0..case.buses.len()).map(|bus| {
            let (low, high) = limits(bus);
            let (low, high) = (low * low, high * high);
            (low - ROUNDING..=high + ROUNDING).contains(&(solved.v[bus] * solved.v[bus])).then_some((low, high))
        }));
        let participation = Participation::new(&scheduled, options.cover);
        Ok(Self { case, options, solved, base, bridges: Bridges::new(case), participation, open, band })
    }

    /// The base case's power flow.
    #[must_use]
    pub fn base(&self) -> &PowerFlow {
        &self.solved
    }

    /// Solves contingencies one by one; an outcome for each, which does not depend on the others.
    ///
    /// # Panics
    /// When an element is none of the case.
    #[must_use]
    pub fn solve(&self, contingencies: &[Contingency]) -> Vec<Outcome> {
        self.run(contingencies, false).into_iter().map(|(outcome, _)| outcome).collect()
    }

    /// The outcome of one contingency and the voltages; none when there is no solution.
    ///
    /// # Panics
    /// When an element is none of the case.
    #[must_use]
    pub fn voltages(&self, contingency: &Contingency) -> (Outcome, Option<Voltages>) {
        self.run(std::slice::from_ref(contingency), true).pop().unwrap_or_else(|| (self.no_solution(None), None))
    }

    fn run(&self, contingencies: &[Contingency], keep: bool) -> Vec<(Outcome, Option<Voltages>)> {
        let mut work = Work { vector: vec![0.0; self.base.left.len()], cache: Cache::new() };
        let mut state = State::new(&self.base);
        let mut results: Vec<Option<(Outcome, Option<Voltages>)>> = vec![None; contingencies.len()];
        let mut lanes: Vec<Option<Box<Outage>>> = (0..Lanes::COUNT).map(|_| None).collect();
        let mut numbers = [0; Lanes::COUNT];
        let mut islands: Vec<Option<LostIsland>> = vec![None; Lanes::COUNT];
        let shares = [self.participation.buses(1.0), self.participation.buses(-1.0)];
        let mut next = 0;
        loop {
            for lane in 0..Lanes::COUNT {
                while lanes[lane].is_none() && next < contingencies.len() {
                    let number = next;
                    next += 1;
                    match self.plan(&contingencies[number], &mut work) {
                        Plan::Full => results[number] = Some(self.full(&contingencies[number], keep, &mut work)),
                        Plan::Frozen(outage, lost) => {
                            state.enter(&self.base, self.case, lane, &outage, shares[usize::from(outage.covered < 0.0)]);
                            (lanes[lane], numbers[lane], islands[lane]) = (Some(outage), number, lost);
                        }
                    }
                }
            }
            if lanes.iter().all(Option::is_none) {
                return results.into_iter().flatten().collect();
            }
            let mismatches = state.mismatches();
            let mut finished = false;
            for lane in 0..Lanes::COUNT {
                let Some(outage) = &mut lanes[lane] else { continue };
                let mismatch = mismatches[lane];
                if outage.iterations == 0 {
                    outage.mismatch = mismatch;
                }
                let number = numbers[lane];
                if mismatch <= self.options.tolerance {
                    let (e, f) = state.voltages(lane);
                    let outcome = self.outcome(&e, &f, &outage.branches, &outage.dead, islands[lane].take());
                    results[number] = Some((outcome, keep.then(|| voltages(&e, &f, &outage.dead))));
                } else if outage.iterations == self.options.frozen_iterations || mismatch > ESCAPED * outage.mismatch.max(1.0) {
                    results[number] = Some(self.full(&contingencies[number], keep, &mut work));
                } else {
                    continue;
                }
                lanes[lane] = None;
                finished = true;
            }
            if finished {
                continue;
            }
            state.step(&self.base, self.case, &lanes, shares, &mut work.vector);
            lanes.iter_mut().flatten().for_each(|outage| outage.iterations += 1);
        }
    }

    fn plan(&self, contingency: &Contingency, work: &mut Work) -> Plan {
        if let [Element::Generator(unit)] = contingency[..] {
            let outage = self.without_unit(unit, &mut work.vector);
            return outage.map_or(Plan::Full, |outage| Plan::Frozen(Box::new(outage), None));
        }
        let mut branches = Vec::with_capacity(2);
        for element in contingency {
            match *element {
                Element::Branch(branch) if branches.len() < 2 && !branches.contains(&branch) => branches.push(branch),
                _ => return Plan::Full,
            }
        }
        if let [branch] = branches[..]
            && let Some(side) = self.bridges.lost_side(self.case, branch, &self.participation)
        {
            if self.bridges.buses(&side).any(|bus| self.case.buses[bus].kind == BusKind::Reference) {
                return Plan::Full;
            }
            let row = &self.case.branches[branch];
            let flow = &self.solved.flows[branch];
            let missing = if side.beyond == row.from { -flow.p_from } else { -flow.p_to };
            // What left the near end into the bridge was not missing there: it was given.
            let lost_share = self.bridges.buses(&side).map(|bus| self.participation.buses(missing)[bus]).sum();
            let scale = Participation::scale(lost_share);
            let correction = Correction::bridge(&self.base, self.case, branch, side.beyond, &mut work.vector);
            let (Some(scale), Some(correction)) = (scale, correction) else { return Plan::Full };
            let dead = self.bridges.buses(&side).collect();
            let (covered, component) = (missing * scale, self.base.component[side.beyond]);
            let outage = Outage { branches, correction: Some(correction), covered, component, dead, ..Outage::default() };
            return Plan::Frozen(Box::new(outage), Some(self.bridges.balance(&side)));
        }
        if branches.iter().any(|branch| self.bridges.is_bridge(*branch)) {
            return Plan::Full;
        }
        match Correction::branches(&self.base, self.case, &branches, &mut work.vector) {
            Some(correction) => {
                let outage = Outage { branches, correction: Some(correction), ..Outage::default() };
                Plan::Frozen(Box::new(outage), None)
            }
            None => Plan::Full,
        }
    }

    /// An outage of a unit: its output is shared by those that are left, and its bus holds its magnitude as long as another unit does.
    fn without_unit(&self, unit: usize, vector: &mut [f64]) -> Option<Outage> {
        let row = &self.case.generators[unit];
        let (bus, missing) = (row.bus, self.solved.generator_p[unit]);
        let share = self.participation.units(missing)[unit];
        let covered = missing * Participation::scale(share)?;
        let beside = |(index, other): &(usize, &CaseGenerator)| *index != unit && other.bus == bus;
        let left = self.case.generators.iter().enumerate().rfind(beside).map(|(_, other)| other.v_setpoint);
        let before = self.case.generators.iter().rfind(|other| other.bus == bus)?.v_setpoint;
        let holds = matches!(self.case.buses[bus].kind, BusKind::Generator | BusKind::Reference);
        if holds && left.is_some_and(|left| left != before) {
            return None;
        }
        let border = match self.case.buses[bus].kind {
            BusKind::Generator if left.is_none() => Some(Border::new(&self.base, bus, vector)?),
            _ => None,
        };
        let injected = Some((bus, [-missing - covered * share, if holds { 0.0 } else { -row.q }]));
        Some(Outage { border, covered, component: self.base.component[bus], injected, ..Outage::default() })
    }

    /// The full method on what is left.
    fn full(&self, contingency: &Contingency, keep: bool, work: &mut Work) -> (Outcome, Option<Voltages>) {
        let n = self.case.buses.len();
        let loss = |branch: usize| self.solved.flows[branch].p_from + self.solved.flows[branch].p_to;
        let v = |bus: usize| self.solved.v[bus];
        let rest = remainder(self.case, contingency, &self.solved.generator_p, &self.open, loss, v, self.options.cover);
        let mut rest = match rest {
            Ok(rest) => rest,
            Err(lost) => return (Outcome::all_lost(lost), None),
        };
        for (row, &bus) in rest.case.buses.iter_mut().zip(&rest.buses) {
            (row.v_start, row.va_start) = (self.solved.v[bus], self.solved.va[bus]);
        }
        let options = power_flow::Options {
            tolerance: self.options.tolerance,
            max_iterations: self.options.full_iterations,
            ..power_flow::Options::default()
        };
        let solved = match power_flow::solve(&rest.case, &options, &mut work.cache) {
            Ok(solved) => solved,
            Err(error) => {
                let mut outcome = self.no_solution(rest.lost);
                outcome.unsolved = Some(match error {
                    PowerFlowError::Diverged { iterations, mismatch, bus } => Unsolved { iterations, mismatch, bus },
                    PowerFlowError::Singular { iterations, bus } => Unsolved { iterations, mismatch: 0.0, bus },
                    _ => Unsolved { iterations: 0, mismatch: 0.0, bus: rest.case.buses[0].id },
                });
                return (outcome, None);
            }
        };
        let (mut e, mut f, mut lives) = (vec![0.0; n], vec![0.0; n], vec![false; n]);
        for (index, &bus) in rest.buses.iter().enumerate() {
            let (sin, cos) = libm::sincos(solved.va[index]);
            (e[bus], f[bus], lives[bus]) = (solved.v[index] * cos, solved.v[index] * sin, true);
        }
        let dead = Vec::from_iter((0..n).filter(|bus| !lives[*bus]));
        let failed = Vec::from_iter(contingency.iter().filter_map(|element| match *element {
            Element::Branch(branch) => Some(branch),
            Element::Generator(_) => None,
        }));
        let outcome = self.outcome(&e, &f, &failed, &dead, rest.lost);
        (outcome, keep.then(|| voltages(&e, &f, &dead)))
    }

    fn no_solution(&self, lost: Option<LostIsland>) -> Outcome {
        let unsolved = Unsolved { iterations: 0, mismatch: 0.0, bus: self.case.buses[0].id };
        Outcome { max_loading: 0.0, worst_branch: None, within: None, lost, voltage: None, unsolved: Some(unsolved) }
    }

    /// Loadings and voltages of a solution.
    fn outcome(&self, e: &[f64], f: &[f64], failed: &[usize], dead: &[usize], lost: Option<LostIsland>) -> Outcome {
        let mut is_dead = vec![false; e.len()];
        dead.iter().for_each(|bus| is_dead[*bus] = true);
        // Squares, so that a root is drawn once.
        let (mut worst, mut beyond) = ((0.0, None), [false; Rating::EACH.len()]);
        for (index, branch) in self.case.branches.iter().enumerate() {
            let rating = self.options.rating.of(branch);
            if !rating.is_finite() || is_dead[branch.from] || is_dead[branch.to] || failed.contains(&index) {
                continue;
            }
            let voltage = |bus: usize| (e[bus], f[bus]);
            let [from, to] = self.base.branch_power(index, voltage(branch.from), voltage(branch.to)).map(|(p, q)| p * p + q * q);
            let square = from.max(to);
            if square > branch.rating * branch.rating {
                for (beyond, rating) in beyond.iter_mut().zip(Rating::EACH.map(|rating| rating.of(branch))) {
                    *beyond |= (square / (rating * rating)).sqrt() > 1.0;
                }
            }
            let loading = square / (rating * rating);
            if loading > worst.0 || worst.1.is_none() {
                worst = (loading, Some(index));
            }
        }
        let mut voltage: Option<(VoltageViolation, f64)> = None;
        for (bus, band) in self.band.iter().enumerate().filter(|(bus, _)| !is_dead[*bus]) {
            let Some((low, high)) = band else { continue };
            let square = e[bus] * e[bus] + f[bus] * f[bus];
            let outside = (low - square).max(square - high);
            if outside > ROUNDING {
                let buses = voltage.as_ref().map_or(0, |(found, _)| found.buses) + 1;
                match &mut voltage {
                    Some((found, most)) if outside <= *most => found.buses = buses,
                    _ => voltage = Some((VoltageViolation { bus, v: square.sqrt(), buses }, outside)),
                }
            }
        }
        let within = Rating::EACH.into_iter().zip(beyond).find(|(_, beyond)| !beyond).map(|(rating, _)| rating);
        Outcome {
            max_loading: worst.0.sqrt(),
            worst_branch: worst.1,
            within,
            lost,
            voltage: voltage.map(|(found, _)| found),
            unsolved: None,
        }
    }
}

fn voltages(e: &[f64], f: &[f64], dead: &[usize]) -> Voltages {
    let mut v = Vec::from_iter(e.iter().zip(f).map(|(e, f)| (e * e + f * f).sqrt()));
    let va = e.iter().zip(f).map(|(e, f)| libm::atan2(*f, *e)).collect();
    dead.iter().for_each(|bus| v[*bus] = 0.0);
    Voltages { v, va }
}
