//! What if: the grid before and after branches open, units trip, and loads and generation grow.
//!
//! Both states are solved alike, each on the islands that are energised then; what units do not cover falls to the slack. A
//! limit counts as newly broken when it held before, and as worse when it is broken by more than before and a thousandth.

use crate::admittance::BranchFlow;
use crate::case::{Case, CaseBus, Island};
use crate::power_flow::control::{self, Controlled, Controls};
use crate::power_flow::violations::{Violation, violations};
use crate::power_flow::{self, Cache, Options, PowerFlow, PowerFlowError, dc};
use gridflow_inputs::ids::{BranchId, GeneratorId};
use gridflow_inputs::network::BusKind;

/// Growth of an excess, relative and per unit, that counts as worse.
const WORSE: f64 = 1e-3;

/// How both states are solved.
#[derive(Clone, Debug, PartialEq)]
pub enum Model {
    /// The exact DC model.
    Dc,
    /// AC, with outer loops.
    Ac(Options, Controls),
}

/// What happens.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Branches that open.
    pub open: Vec<BranchId>,
    /// Units that trip.
    pub outages: Vec<GeneratorId>,
    /// Factor of active and reactive power of all loads.
    pub load_factor: f64,
    /// Factor of the active set point of all units.
    pub generation_factor: f64,
}

impl Default for Change {
    fn default() -> Self {
        Self { open: vec![], outages: vec![], load_factor: 1.0, generation_factor: 1.0 }
    }
}

/// Why there is no comparison.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WhatIfError {
    /// A branch cannot open.
    #[error("branch {0} cannot open: no branch of this number (row of the branch table) is in service")]
    NoBranch(BranchId),
    /// A unit cannot trip.
    #[error("unit {0} cannot trip: no unit of this number (row of the generator table) is in service")]
    NoUnit(GeneratorId),
    /// A factor is no factor.
    #[error("the factor of {what} is {factor}: give a number of 0 and above")]
    Factor {
        /// Of what.
        what: &'static str,
        /// What was given.
        factor: f64,
    },
    /// Nothing is energised, so there is nothing to solve.
    #[error("no island has a unit or a reference bus: nothing is energised")]
    NothingEnergised,
    /// A state has no power flow.
    #[error(transparent)]
    PowerFlow(#[from] PowerFlowError),
}

/// A solved state.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// What is energised, with controls where they ended.
    pub case: Case,
    /// All islands, dead ones too.
    pub islands: Vec<Island>,
    /// Its power flow.
    pub flow: PowerFlow,
    /// Reactive limits, taps and shunts; none of a DC power flow.
    pub controlled: Option<ControlledState>,
    /// The limits it breaks.
    pub violations: Vec<Violation>,
}

/// How the outer loops of a state ended.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlledState {
    /// Buses at a reactive limit.
    pub limited: Vec<control::LimitedBus>,
    /// Solves.
    pub rounds: usize,
}

impl State {
    /// Load of all islands that nothing energises, per unit.
    #[must_use]
    pub fn dead_load(&self) -> f64 {
        self.islands.iter().filter(|island| island.reference.is_none()).fold(0.0, |sum, island| sum + island.load)
    }

    /// What flows through a branch; none when it is not in service or dead.
    #[must_use]
    pub fn flow_of(&self, branch: BranchId) -> Option<&BranchFlow> {
        self.case.branch_index(branch).map(|index| &self.flow.flows[index])
    }
}

/// Both states and what sets them apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// As things are.
    pub before: State,
    /// As they would be, or why that cannot be told.
    pub after: Result<State, PowerFlowError>,
    /// Limits broken after and not before.
    pub new: Vec<Violation>,
    /// Limits broken before and worse after, as after.
    pub worse: Vec<Violation>,
    /// Limits broken before and no more.
    pub cured: Vec<Violation>,
    /// Load that only the change cuts off, per unit.
    pub lost_load: f64,
}

impl Comparison {
    /// Whether the change has a power flow, breaks nothing that held, makes nothing worse and cuts off no load.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.after.is_ok() && self.new.is_empty() && self.worse.is_empty() && self.lost_load <= 0.0
    }
}

/// What of a case is energised, ready to be solved.
#[derive(Clone, Debug, PartialEq)]
pub struct Energised {
    case: Case,
    islands: Vec<Island>,
}

/// A solution of what is energised.
#[derive(Clone, Debug, PartialEq)]
pub struct Solved {
    flow: PowerFlow,
    /// The case with taps and shunts where they ended, where there are any.
    moved: Option<Case>,
    /// None of the DC model.
    controlled: Option<ControlledState>,
}

impl Energised {
    /// Of a case.
    ///
    /// # Errors
    /// When nothing is.
    pub fn new(case: &Case) -> Result<Self, WhatIfError> {
        let (case, islands) = case.energised();
        if case.buses.is_empty() { Err(WhatIfError::NothingEnergised) } else { Ok(Self { case, islands }) }
    }

    /// Solves it.
    ///
    /// # Errors
    /// When it has no power flow.
    pub fn solve(&self, model: &Model, cache: &mut Cache) -> Result<Solved, WhatIfError> {
        Ok(match model {
            Model::Dc => Solved { flow: dc::solve_as_ac(&self.case, dc::Model::Exact)?, moved: None, controlled: None },
            Model::Ac(options, controls) => {
                let Controlled { flow, case, limited, rounds, .. } = control::solve(&self.case, options, controls, cache)?;
                Solved { flow, moved: case, controlled: Some(ControlledState { limited, rounds }) }
            }
        })
    }

    /// What a solution means.
    #[must_use]
    pub fn state(self, solved: Solved) -> State {
        let Solved { flow, moved, controlled } = solved;
        let case = moved.unwrap_or(self.case);
        let violations = violations(&case, &flow, controlled.is_none());
        State { case, islands: self.islands, flow, controlled, violations }
    }
}

/// Solves what of a case is energised.
///
/// # Errors
/// When nothing is, or it has no power flow.
pub fn solve(case: &Case, model: &Model, cache: &mut Cache) -> Result<State, WhatIfError> {
    let energised = Energised::new(case)?;
    let solved = energised.solve(model, cache)?;
    Ok(energised.state(solved))
}

/// Applies a change to a case.
///
/// # Errors
/// When a branch or unit is not in service, or a factor is negative or no number.
pub fn changed(case: &Case, change: &Change) -> Result<Case, WhatIfError> {
    for (what, factor) in [("load", change.load_factor), ("generation", change.generation_factor)] {
        if !factor.is_finite() || factor < 0.0 {
            return Err(WhatIfError::Factor { what, factor });
        }
    }
    if let Some(branch) = change.open.iter().find(|branch| case.branch_index(**branch).is_none()) {
        return Err(WhatIfError::NoBranch(*branch));
    }
    if let Some(unit) = change.outages.iter().find(|unit| case.generator_index(**unit).is_none()) {
        return Err(WhatIfError::NoUnit(*unit));
    }
    let mut case = case.clone();
    case.branches.retain(|branch| !change.open.contains(&branch.id));
    case.generators.retain(|unit| !change.outages.contains(&unit.id));
    for load in &mut case.loads {
        (load.p, load.q) = (load.p * change.load_factor, load.q * change.load_factor);
    }
    case.generators.iter_mut().for_each(|unit| unit.p *= change.generation_factor);
    Ok(case)
}

/// Solves a case before and after a change and compares.
///
/// # Errors
/// When the change makes no sense or the case has no power flow before it. That there is none after it is a result.
pub fn compare(case: &Case, change: &Change, model: &Model, cache: &mut Cache) -> Result<Comparison, WhatIfError> {
    let after = changed(case, change)?;
    let before = solve(case, model, cache)?;
    // From where things are; an island that is cut off starts there too.
    let model = match model {
        Model::Dc => Model::Dc,
        Model::Ac(options, controls) => Model::Ac(Options { start: start_of(&before, &after), ..options.clone() }, controls.clone()),
    };
    let after = match solve(&after, &model, cache) {
        Ok(state) => Ok(state),
        Err(WhatIfError::PowerFlow(error)) => Err(error),
        Err(error) => return Err(error),
    };
    let broken = after.as_ref().map_or(&[][..], |state| &state.violations);
    let same = |a: &Violation, list: &[Violation]| list.iter().find(|b| b.limit == a.limit).copied();
    let new = broken.iter().filter(|found| same(found, &before.violations).is_none()).copied().collect();
    let grown = |found: &&Violation| {
        same(found, &before.violations).is_some_and(|earlier| found.excess() > earlier.excess() + WORSE * found.allowed.abs().max(1.0))
    };
    let worse = broken.iter().filter(grown).copied().collect();
    let cured = match &after {
        Ok(state) => before.violations.iter().filter(|earlier| same(earlier, &state.violations).is_none()).copied().collect(),
        Err(_) => vec![],
    };
    // Sums in another order: what differs in the last digits is not lost.
    let lost = |load: f64| if load > 1e-9 { load } else { 0.0 };
    let lost_load = after.as_ref().map_or(0.0, |state| lost(state.dead_load() - before.dead_load() * change.load_factor));
    Ok(Comparison { before, after, new, worse, cured, lost_load })
}

/// The voltages of a state as the start of a changed case's energised part. Angles of an island turn with its reference bus,
/// which may be another one than before.
fn start_of(state: &State, changed: &Case) -> power_flow::Start {
    let (energised, _) = changed.energised();
    let of = |bus: &CaseBus| match state.case.bus_index(bus.id) {
        Some(index) => (state.flow.v[index], state.flow.va[index]),
        None => (bus.v_start, bus.va_start),
    };
    let (v, mut va): (Vec<f64>, Vec<f64>) = energised.buses.iter().map(of).unzip();
    let components = energised.components();
    let mut turn = vec![0.0; va.len()];
    for (index, bus) in energised.buses.iter().enumerate().filter(|(_, bus)| bus.kind == BusKind::Reference) {
        turn[components[index]] = bus.va_start - va[index];
    }
    va.iter_mut().zip(&components).for_each(|(va, component)| *va += turn[*component]);
    power_flow::Start::Given { v, va }
}

#[cfg(test)]
mod tests;
