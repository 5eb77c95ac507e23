//! AC power flow: voltages of all buses from scheduled injections and voltage set points.
//!
//! By default as the file says it: its start values and bus types, one slack at the reference bus, no reactive limits, no
//! controls, at most 50 Newton iterations to a mismatch of 10⁻⁸ per unit. Options add a flat start, a given start, a
//! slack spread over the units, a fast decoupled iteration and a sweep for radial networks; [`control`] adds reactive limits, taps and shunts. Each component needs exactly one reference bus; several components are solved
//! together. A generator bus without a unit counts as a load bus; where units of a bus disagree about its voltage the last
//! one's set point holds. After MATPOWER's conventions (manual, chapter 4).

pub mod control;
pub mod dc;
mod fast_decoupled;
mod network;
mod newton;
mod schedule;
mod sweep;
pub mod violations;

pub use network::Cache;

use crate::admittance::{BranchFlow, flows_at};
use crate::case::Case;
use gridflow_inputs::ids::BusId;
use schedule::{Role, Schedule};

/// Where the iteration starts. Set points and reference angles of the case hold whatever the start.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Start {
    /// At the start values of the case.
    #[default]
    File,
    /// At magnitude 1 and the angles of a DC power flow.
    Flat,
    /// At given values, one of each per bus: the result of an earlier solve.
    Given {
        /// Magnitudes, positive.
        v: Vec<f64>,
        /// Angles.
        va: Vec<f64>,
    },
}

/// Who covers what the schedule leaves open, losses included.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Slack {
    /// The reference bus of each component; there its units in proportion to `p_max`.
    #[default]
    Reference,
    /// The units of each component in proportion to `p_max`.
    Distributed,
    /// The units of each component in proportion to these weights, one per unit, none negative.
    Weighted(Vec<f64>),
}

/// How to get from the start to the solution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// Newton's method.
    #[default]
    Newton,
    /// Fast decoupled (XB): two constant matrices, more and cheaper iterations of two half-steps each. The slack must be at
    /// the reference bus.
    FastDecoupled,
    /// Backward/forward sweep: radial networks whose only held voltage is that of the reference bus. Many iterations of next to
    /// no work.
    Sweep,
}

/// How to solve.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// How to iterate.
    pub method: Method,
    /// Where to start.
    pub start: Start,
    /// Who covers the difference.
    pub slack: Slack,
    /// Largest mismatch of a solution, per unit.
    pub tolerance: f64,
    /// Iterations before giving up.
    pub max_iterations: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { method: Method::Newton, start: Start::File, slack: Slack::Reference, tolerance: 1e-8, max_iterations: 50 }
    }
}

/// A solved power flow; all per unit and radians, indices as in the case.
#[derive(Clone, Debug, PartialEq)]
pub struct PowerFlow {
    /// Voltage magnitude of each bus.
    pub v: Vec<f64>,
    /// Voltage angle of each bus.
    pub va: Vec<f64>,
    /// Active injection of each bus, from all but branches and shunts.
    pub p: Vec<f64>,
    /// Reactive injection of each bus.
    pub q: Vec<f64>,
    /// Active output of each unit.
    pub generator_p: Vec<f64>,
    /// Reactive output of each unit: at a bus that holds its voltage shared so that all units stand at the same
    /// point of their range.
    pub generator_q: Vec<f64>,
    /// Power leaving both sides of each branch.
    pub flows: Vec<BranchFlow>,
    /// Active losses of all branches.
    pub loss: f64,
    /// Of each component its reference bus and what was added to the schedule there.
    pub slack: Vec<(usize, f64)>,
    /// Iterations.
    pub iterations: usize,
    /// Largest mismatch left.
    pub mismatch: f64,
}

/// Why there is no power flow.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PowerFlowError {
    /// A component has no reference bus.
    #[error("the component of bus {bus} (buses: {buses}) has no reference bus: give one of its buses type 3")]
    NoReference {
        /// Its lowest bus.
        bus: BusId,
        /// Its number of buses.
        buses: usize,
    },
    /// A component has several reference buses.
    #[error("buses {first} and {second} are connected and both reference (type 3): make one of them type 2")]
    SeveralReferences {
        /// The one.
        first: BusId,
        /// The other.
        second: BusId,
    },
    /// No unit of a component takes part in a distributed slack.
    #[error("no generator connected to bus {bus} takes part in the slack")]
    NoParticipation {
        /// The component's lowest bus.
        bus: BusId,
    },
    /// A given vector has another length than the case, or a value that cannot be.
    #[error("the given {0}")]
    Given(&'static str),
    /// A branch without reactance has no DC model.
    #[error("the branch from bus {from} to bus {to} has no reactance: the DC model needs one")]
    NoReactance {
        /// Its `from` bus.
        from: BusId,
        /// Its `to` bus.
        to: BusId,
    },
    /// Outer loops were still moving when their rounds were up.
    #[error("limits, taps and shunts did not settle in {rounds} rounds, in the last at bus {bus}; allow more rounds or wider deadbands")]
    Unsettled {
        /// Rounds done.
        rounds: usize,
        /// Where something moved last.
        bus: BusId,
    },
    /// The equations leave a voltage open, or contradict each other.
    #[error("after {iterations} iterations the equations at bus {bus} are singular")]
    Singular {
        /// Iterations before.
        iterations: usize,
        /// Where.
        bus: BusId,
    },
    /// The iteration found no solution.
    #[error("no solution after {iterations} iterations: a mismatch of {mismatch} per unit is left at bus {bus}")]
    Diverged {
        /// Iterations done.
        iterations: usize,
        /// Largest mismatch left; not finite when the iteration escaped.
        mismatch: f64,
        /// Where it is.
        bus: BusId,
    },
}

/// Solves the power flow of a case.
///
/// The cache keeps the symbolic analysis between calls; it makes them faster and never changes a bit of a result.
///
/// # Errors
/// When the case has no power flow, or none was found; see [`PowerFlowError`].
pub fn solve(case: &Case, options: &Options, cache: &mut Cache) -> Result<PowerFlow, PowerFlowError> {
    solve_limited(case, options, &[], cache)
}

/// As [`solve`], with the buses of `limits` at that reactive output of their units in place of their voltage.
fn solve_limited(case: &Case, options: &Options, limits: &[(usize, f64)], cache: &mut Cache) -> Result<PowerFlow, PowerFlowError> {
    let network = cache.of(case);
    let mut schedule = Schedule::new(case, &network.components, &options.slack)?;
    limits.iter().for_each(|&(bus, q)| schedule.limit(bus, q));
    let (mut v, mut va) = start(case, &schedule, &options.start)?;
    let solution = match options.method {
        Method::Newton => newton::solve(case, network, &schedule, options, &mut v, &mut va)?,
        Method::FastDecoupled => fast_decoupled::solve(case, network, &schedule, options, &mut v, &mut va)?,
        Method::Sweep => sweep::solve(case, network, &schedule, options, &mut v, &mut va)?,
    };
    let (generator_p, generator_q) = schedule.outputs(case, &solution);
    let flows = flows_at(case, &network.ends, &solution.voltages);
    let loss = flows.iter().map(|flow| flow.p_from + flow.p_to).sum();
    Ok(PowerFlow {
        v,
        va,
        generator_p,
        generator_q,
        flows,
        loss,
        slack: schedule.references.iter().map(|&bus| (bus, solution.slack[bus])).collect(),
        p: solution.p,
        q: solution.q,
        iterations: solution.iterations,
        mismatch: solution.mismatch,
    })
}

/// Start values with set points and reference angles in place.
fn start(case: &Case, schedule: &Schedule, start: &Start) -> Result<(Vec<f64>, Vec<f64>), PowerFlowError> {
    let file = |bus: usize| (case.buses[bus].v_start, case.buses[bus].va_start);
    let (mut v, mut va): (Vec<f64>, Vec<f64>) = match start {
        Start::File => (0..case.buses.len()).map(file).unzip(),
        Start::Flat => (vec![1.0; case.buses.len()], dc::start_angles(case, schedule)?),
        Start::Given { v, va } => {
            if v.len() != case.buses.len() || va.len() != case.buses.len() {
                return Err(PowerFlowError::Given("start has not one voltage per bus"));
            }
            if v.iter().any(|v| !v.is_finite() || *v <= 0.0) || va.iter().any(|va| !va.is_finite()) {
                return Err(PowerFlowError::Given("start has a voltage that is not positive or an angle that is no number"));
            }
            (v.clone(), va.clone())
        }
    };
    for (bus, role) in schedule.roles.iter().enumerate() {
        if *role != Role::Load {
            v[bus] = schedule.v[bus];
        }
        if *role == Role::Reference {
            va[bus] = case.buses[bus].va_start;
        }
    }
    Ok((v, va))
}
