//! What a simulation can refuse, and what it counts: nothing that deviates from plain delivery or a plain solution is
//! silent.
//!
//! Counts are of what was sent, so that what a control centre counts can be compared with them.

use gridflow_inputs::ids::{BranchId, GeneratorId, ZoneId};
use gridflow_numerics::case::CaseError;
use gridflow_numerics::power_flow::PowerFlowError;

/// Why there is no simulation, or why it ended early.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SimulationError {
    /// A setting makes no sense.
    #[error("{setting} is {value}; expected {expected}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What was given.
        value: String,
        /// What would do.
        expected: &'static str,
    },
    /// The network is no case.
    #[error("the network cannot be simulated: {0}")]
    Network(#[from] CaseError),
    /// Nothing generates.
    #[error("the network has no generator in service")]
    NoGenerator,
    /// The first state has no power flow, so there is nothing to measure.
    #[error("the first operating point has no power flow: {0}")]
    FirstPowerFlow(PowerFlowError),
    /// The run goes beyond the load profile of a zone.
    #[error("the load profile of zone {zone} covers {from_ms} to {until_ms} ms, the run needs {start_ms} to {end_ms} ms")]
    ProfileRange {
        /// Which zone.
        zone: ZoneId,
        /// Begin of the profile.
        from_ms: i64,
        /// Its end.
        until_ms: i64,
        /// Begin of the run.
        start_ms: i64,
        /// Its end.
        end_ms: i64,
    },
    /// More meters are wanted than the basic fleet, and no bus has a load they could sit below.
    #[error("{wanted} sensors are wanted but only {possible} have something to measure: no bus has a load")]
    NothingToMeter {
        /// Sensors wanted.
        wanted: usize,
        /// Sensors possible.
        possible: usize,
    },
}

/// Something that happened to the grid.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Happening {
    /// An operator opened a branch.
    BranchOpened(BranchId),
    /// An operator closed it again.
    BranchClosed(BranchId),
    /// A branch tripped.
    BranchTripped(BranchId),
    /// It was restored.
    BranchRestored(BranchId),
    /// A unit tripped.
    UnitTripped(GeneratorId),
    /// It came back.
    UnitRestored(GeneratorId),
    /// An event was due and no equipment was there for it; its name.
    Skipped(&'static str),
}

/// What a simulation has done so far; every deviation from plain delivery is counted here.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SimulationSummary {
    /// Epochs given.
    pub epochs: u64,
    /// Rows given.
    pub rows: u64,
    /// Measurement rows given, repeated, corrected and refusable ones included.
    pub measurements: u64,
    /// Sensors.
    pub sensors: u64,
    /// Readings taken by sensors.
    pub readings: u64,
    /// Readings that never arrive.
    pub lost: u64,
    /// Readings delayed 2 to 30 s.
    pub slow: u64,
    /// Readings delayed 60 to 300 s.
    pub very_slow: u64,
    /// Readings sent twice.
    pub duplicates: u64,
    /// Corrections 1 to 120 s later, those of gross errors included.
    pub corrections: u64,
    /// Corrections 5 to 12 min later.
    pub late_corrections: u64,
    /// Readings marked bad.
    pub bad_quality: u64,
    /// Readings off by 20 standard deviations.
    pub gross_errors: u64,
    /// Those of them that are corrected.
    pub gross_errors_corrected: u64,
    /// Readings beyond the lateness bound of all but meters.
    pub too_late: u64,
    /// Rows stamped in the future.
    pub future: u64,
    /// Readings outside their sensor's range.
    pub out_of_range: u64,
    /// Rows of unknown sensors.
    pub unknown_sensor: u64,
    /// Readings of the sensor that repeats its value.
    pub stuck: u64,
    /// Readings the silent sensor did not send.
    pub silent: u64,
    /// Rows on their way when the run ended.
    pub in_flight: u64,
    /// Steps of the truth.
    pub steps: u64,
    /// Steps that needed a second power flow, from a flat start.
    pub retried_flat: u64,
    /// Steps that hold the loads of the last solved one.
    pub held_loads: u64,
    /// Steps that hold the whole last solved state.
    pub held_state: u64,
    /// Economic dispatches.
    pub dispatches: u64,
    /// Those that fell back to the merit order, without network limits.
    pub dispatches_by_merit: u64,
    /// Profiles that fit nothing in the network, by name.
    pub unused_profiles: Vec<String>,
    /// What happened to the grid, with its event time.
    pub happenings: Vec<(i64, Happening)>,
}
