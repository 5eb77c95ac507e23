//! Contingency analysis: what becomes of the grid when branches or units fail.
//!
//! One factor of the base case serves all outages. DC: an outage is a correction of low rank (LODF, Woodbury). AC: Newton's
//! method with the base Jacobian frozen and the same correction of it. What an outage cuts off is lost, with its balance told;
//! what that leaves open, and the loss of a unit, is covered by the units that are left, each by its share ([`Cover`]).
//! Loadings are shares of the rating that fits the duration ([`Rating`]). Each contingency is solved by itself, in any
//! grouping to the same bits. Per unit and radians; indices are those of the case. After Abur and Expósito, "Power System State
//! Estimation", and Wood, Wollenberg, Sheblé, "Power Generation, Operation, and Control", chapter 7.

pub mod ac;
mod bridges;
pub mod cascade;
pub mod dc;
mod participation;
pub mod ranking;
mod remainder;
mod scan;
pub mod security;
mod small;
#[cfg(test)]
mod testing;

pub use bridges::LostIsland;

use crate::case::{Case, CaseBranch};
use crate::power_flow::PowerFlowError;
use gridflow_inputs::ids::BusId;

/// A piece of equipment that fails, by its index in the case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Element {
    /// A branch: line or transformer.
    Branch(usize),
    /// A generating unit.
    Generator(usize),
}

/// What fails together.
pub type Contingency = Vec<Element>;

/// The failure of each branch by itself.
#[must_use]
pub fn each_branch(case: &Case) -> Vec<Contingency> {
    (0..case.branches.len()).map(|branch| vec![Element::Branch(branch)]).collect()
}

/// The failure of each unit by itself.
#[must_use]
pub fn each_generator(case: &Case) -> Vec<Contingency> {
    (0..case.generators.len()).map(|unit| vec![Element::Generator(unit)]).collect()
}

/// For how long a branch is to carry what it carries after an outage: what it is rated for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Rating {
    /// Without end.
    #[default]
    Normal,
    /// Hours: the long-term emergency rating.
    LongTerm,
    /// Minutes: the short-term emergency rating.
    ShortTerm,
}

impl Rating {
    /// All of them, the longest first.
    pub const EACH: [Self; 3] = [Self::Normal, Self::LongTerm, Self::ShortTerm];

    /// The rating of a branch; infinite when unlimited.
    #[must_use]
    pub fn of(self, branch: &CaseBranch) -> f64 {
        match self {
            Self::Normal => branch.rating,
            Self::LongTerm => branch.rating_long_term,
            Self::ShortTerm => branch.rating_short_term,
        }
    }
}

/// How units that are left share what an outage leaves open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cover {
    /// In proportion to `p_max`.
    #[default]
    Capacity,
    /// In proportion to what they can still give, or take back when there is too much; by `p_max` where nobody can.
    Headroom,
}

/// A voltage outside of its band.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct VoltageViolation {
    /// The bus furthest outside.
    pub bus: usize,
    /// Its magnitude.
    pub v: f64,
    /// How many buses are outside that were not before the outage.
    pub buses: usize,
}

/// Why an outage has no solution.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Unsolved {
    /// Iterations done.
    pub iterations: usize,
    /// Largest mismatch left; not finite when the iteration escaped, 0 when the equations are singular.
    pub mismatch: f64,
    /// Where.
    pub bus: BusId,
}

/// What becomes of the grid.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Outcome {
    /// Greatest loading as a share of the rating; 0 when no rated branch is left.
    pub max_loading: f64,
    /// The branch that has it, the lowest among equals.
    pub worst_branch: Option<usize>,
    /// The longest rating that no branch exceeds, of those that have the rating loadings are shares of; none where one exceeds
    /// all of its ratings or there is no solution.
    pub within: Option<Rating>,
    /// What is cut off.
    pub lost: Option<LostIsland>,
    /// Voltages outside of their band; never in DC.
    pub voltage: Option<VoltageViolation>,
    /// Why there is no solution, when there is none; loading and voltage then say nothing.
    pub unsolved: Option<Unsolved>,
}

impl Outcome {
    /// Nothing is left.
    fn all_lost(lost: LostIsland) -> Self {
        Self { max_loading: 0.0, worst_branch: None, within: Some(Rating::Normal), lost: Some(lost), voltage: None, unsolved: None }
    }

    /// Whether a limit is broken or there is no solution. What is lost is told and breaks no limit.
    #[must_use]
    pub fn violates(&self) -> bool {
        self.unsolved.is_some() || self.max_loading > 1.0 || self.voltage.is_some()
    }
}

/// The order of severity: without solution first, then by loading from the highest; equals in the order given. Indices into
/// `outcomes`.
#[must_use]
pub fn ranked(outcomes: &[Outcome]) -> Vec<usize> {
    let mut order = Vec::from_iter(0..outcomes.len());
    let key = |index: usize| (outcomes[index].unsolved.is_some(), outcomes[index].max_loading);
    order.sort_by(|a, b| {
        let (a, b) = (key(*a), key(*b));
        b.0.cmp(&a.0).then(b.1.total_cmp(&a.1))
    });
    order
}

/// Why there is no contingency analysis.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ContingencyError {
    /// The base case has no power flow.
    #[error("the base case has no power flow: {0}")]
    Base(#[from] PowerFlowError),
    /// The base case's equations cannot be factored with the diagonal as pivots.
    #[error("the equations of the base case are singular at bus {0}: look for branches there whose susceptances cancel out")]
    Singular(BusId),
}
