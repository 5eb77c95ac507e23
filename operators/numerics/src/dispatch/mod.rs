//! DC optimal power flow of one island over one or several intervals: who produces what, at which price where.
//!
//! Minimise Σ hours · cost, subject to one balance per interval, limits of units (with ramps), storage over the horizon,
//! direct-current links, and branch limits `low ≤ Σ PTDF · injection ≤ high`, generated only as they are violated. Load
//! that can't be served and generation that can't be used are slacks, each non-zero one reported: shedding costs far more
//! than any fuel, the classes strictly ordered. Each answer is verified (see `quadratic.rs`).
//!
//! The LMP of a bus is the change of cost per MWh of load there: energy (at the reference bus) plus congestion
//! (`Σ μ · PTDF`, losses are not modelled). Results are per unit unless a name says otherwise.

mod answer;
mod cost;
#[cfg(test)]
mod judge;
mod model;
mod network;
mod penalty;
pub(crate) mod quadratic;
mod rounds;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use crate::case::Case;
use gridflow_inputs::ids::{BranchId, BusId, DcLineId, GeneratorId, StorageId};

pub use crate::power_flow::dc::Model;
pub use cost::cost_per_h;
pub(crate) use penalty::{SHED_ORDER, in_shed_order};
pub(crate) use rounds::shortage_mw;
pub use rounds::solve;

/// What an interval demands and offers.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval {
    /// Its length, hours.
    pub hours: f64,
    /// Active power of each load; a negative one injects and is not shed.
    pub load_p: Vec<f64>,
    /// Power each unit has available (weather, derating); infinite where only `p_max` bounds it.
    pub available_p: Vec<f64>,
    /// Bounds of each unit in place of `p_min` and `p_max`, from a commitment or a contract; (0, 0) is off.
    pub p_bounds: Option<Vec<(f64, f64)>>,
}

impl Interval {
    /// The loads and units of a case as they are.
    #[must_use]
    pub fn of(case: &Case, hours: f64) -> Self {
        let load_p = case.loads.iter().map(|load| load.p).collect();
        Self { hours, load_p, available_p: vec![f64::INFINITY; case.generators.len()], p_bounds: None }
    }
}

/// What a storage unit must hold at the end of the horizon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StorageEnd {
    /// As much as at the start.
    AtLeastStart,
    /// At least this state of charge, 0 to 1; what is missing costs dearly and is reported.
    AtLeast(f64),
    /// Nothing, but each MWh left is worth this much: the value of water.
    Value(f64),
}

/// How to dispatch.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// How branches are represented.
    pub model: Model,
    /// Whether load may be shed and surplus be dumped; without, what does not fit is [`DispatchError::Infeasible`].
    pub allow_shedding: bool,
    /// Output of each unit before the horizon, from which ramps start.
    pub initial_p: Option<Vec<f64>>,
    /// End rule of each storage unit; empty for [`StorageEnd::AtLeastStart`] throughout.
    pub storage_end: Vec<StorageEnd>,
    /// Take all energy as free: only shedding and surplus count.
    pub ignore_cost: bool,
    /// Rounds of added branch limits at most.
    pub round_limit: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { model: Model::Pglib, allow_shedding: true, initial_p: None, storage_end: Vec::new(), ignore_cost: false, round_limit: 60 }
    }
}

/// Price of energy at a bus, currency per MWh.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lmp {
    /// At the reference bus.
    pub energy: f64,
    /// What branch limits add here.
    pub congestion: f64,
}

impl Lmp {
    /// Energy plus congestion.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.energy + self.congestion
    }
}

/// What bounds a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LimitKind {
    /// The branch's rating.
    Rating,
    /// The greatest or least angle difference.
    Angle,
}

/// A branch limit that costs something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Binding {
    /// Index of the branch.
    pub branch: usize,
    /// What bounds it.
    pub kind: LimitKind,
    /// The bound on the flow leaving the `from` side; negative for flow the other way.
    pub limit_p: f64,
    /// What one MWh more of room would save, positive, currency per MWh.
    pub price_per_mwh: f64,
}

/// The dispatch of an interval; indices as in the case.
#[derive(Clone, Debug, PartialEq)]
pub struct IntervalDispatch {
    /// Output of each unit.
    pub generator_p: Vec<f64>,
    /// What a variable unit could have given beyond its output; 0 for others.
    pub curtailed_p: Vec<f64>,
    /// Power of each storage unit into the grid; negative when charging.
    pub storage_p: Vec<f64>,
    /// State of charge of each storage unit at the end of the interval, 0 to 1.
    pub soc: Vec<f64>,
    /// Power leaving the sending bus of each direct-current link.
    pub dc_line_p: Vec<f64>,
    /// What each load does not get.
    pub shed_p: Vec<f64>,
    /// Generation at each bus that nothing can take: must-run units are to be stopped.
    pub surplus_p: Vec<f64>,
    /// Power leaving the `from` side of each branch.
    pub flow_p: Vec<f64>,
    /// Angle of each bus, radians.
    pub va: Vec<f64>,
    /// Price at each bus.
    pub lmp: Vec<Lmp>,
    /// Branch limits that bind, by branch.
    pub binding: Vec<Binding>,
    /// Cost of generation and wear, currency per hour.
    pub cost_per_h: f64,
    /// Emitted CO2, tonnes per hour.
    pub emission_t_per_h: f64,
}

/// A rule that could not be kept and was loosened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Relaxed {
    /// The unit cannot get within its bounds at its ramp in this interval (a start, a stop, a derating): it jumps.
    Ramp {
        /// Number of the interval.
        interval: usize,
        /// Index of the unit.
        generator: usize,
    },
    /// The storage unit starts outside its band, which was widened to its start.
    StorageBand {
        /// Index of the storage unit.
        storage: usize,
    },
    /// The storage unit's end target is missed.
    StorageEnd {
        /// Index of the storage unit.
        storage: usize,
        /// What is missing, MWh.
        missing_mwh: f64,
    },
}

/// A dispatch.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatch {
    /// One per interval.
    pub intervals: Vec<IntervalDispatch>,
    /// Cost of generation and wear over the horizon, currency; shedding is not in it.
    pub cost: f64,
    /// Energy not served, MWh.
    pub shed_mwh: f64,
    /// What the interruptions cost by the loads' own figures, currency.
    pub interruption_cost: f64,
    /// Rules that were loosened.
    pub relaxed: Vec<Relaxed>,
    /// Iterations of the solver, over all rounds.
    pub iterations: u32,
    /// Programs solved.
    pub rounds: usize,
    /// Branch limits that had to be stated.
    pub limits_stated: usize,
}

/// A part of the proof that demands contradict each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Conflict {
    /// Load exceeds all that can be supplied, by so many MW.
    Shortage {
        /// Number of the interval.
        interval: usize,
        /// What is missing.
        missing_mw: f64,
    },
    /// Least outputs exceed all that can be taken, by so many MW.
    Surplus {
        /// Number of the interval.
        interval: usize,
        /// What is too much.
        excess_mw: f64,
    },
    /// The balance of supply and demand.
    Balance {
        /// Number of the interval.
        interval: usize,
    },
    /// The limit of a branch.
    Branch {
        /// Number of the interval.
        interval: usize,
        /// The branch.
        branch: BranchId,
    },
    /// The least output of a unit.
    GeneratorMin {
        /// Number of the interval.
        interval: usize,
        /// The unit.
        generator: GeneratorId,
    },
    /// The greatest output of a unit.
    GeneratorMax {
        /// Number of the interval.
        interval: usize,
        /// The unit.
        generator: GeneratorId,
    },
    /// The ramp of a unit.
    Ramp {
        /// Number of the interval.
        interval: usize,
        /// The unit.
        generator: GeneratorId,
    },
    /// Power or energy of a storage unit.
    Storage {
        /// Number of the interval.
        interval: usize,
        /// The storage unit.
        storage: StorageId,
    },
    /// The limits of a direct-current link.
    DcLine {
        /// Number of the interval.
        interval: usize,
        /// The link.
        dc_line: DcLineId,
    },
    /// All loads of a bus are shed, or all its surplus is dumped, and it is still not enough.
    Slack {
        /// Number of the interval.
        interval: usize,
        /// The bus.
        bus: BusId,
    },
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Shortage { interval, missing_mw } => write!(f, "load exceeds capacity by {missing_mw:.3} MW in interval {interval}"),
            Self::Surplus { interval, excess_mw } => write!(f, "least outputs exceed load by {excess_mw:.3} MW in interval {interval}"),
            Self::Balance { interval } => write!(f, "balance of interval {interval}"),
            Self::Branch { interval, branch } => write!(f, "limit of branch {branch} in interval {interval}"),
            Self::GeneratorMin { interval, generator } => write!(f, "least output of unit {generator} in interval {interval}"),
            Self::GeneratorMax { interval, generator } => write!(f, "greatest output of unit {generator} in interval {interval}"),
            Self::Ramp { interval, generator } => write!(f, "ramp of unit {generator} into interval {interval}"),
            Self::Storage { interval, storage } => write!(f, "storage unit {storage} in interval {interval}"),
            Self::DcLine { interval, dc_line } => write!(f, "direct-current link {dc_line} in interval {interval}"),
            Self::Slack { interval, bus } => write!(f, "shedding and surplus at bus {bus} in interval {interval}"),
        }
    }
}

/// The first conflicts, and how many more there are.
fn in_words(conflicts: &[Conflict]) -> String {
    const NAMED: usize = 8;
    let mut words: Vec<String> = conflicts.iter().take(NAMED).map(ToString::to_string).collect();
    if conflicts.len() > NAMED {
        words.push(format!("and {} more", conflicts.len() - NAMED));
    }
    words.join(", ")
}

/// Why there is no dispatch.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DispatchError {
    /// A number or the network is not usable; the message names it.
    #[error("{0}")]
    Input(String),
    /// No dispatch keeps all limits; these demands, taken together, contradict each other. Those that weigh most first.
    #[error("infeasible: {}", in_words(.0))]
    Infeasible(Vec<Conflict>),
    /// The solver's answer did not pass verification.
    #[error("not solved: {status} after {iterations} iterations (residuals: primal {primal:e}, dual {dual:e}, gap {gap:e})")]
    NotSolved {
        /// What the solver says.
        status: &'static str,
        /// Iterations it took.
        iterations: u32,
        /// Worst relative violation of a limit.
        primal: f64,
        /// Worst relative imbalance of prices.
        dual: f64,
        /// Relative gap.
        gap: f64,
    },
}
