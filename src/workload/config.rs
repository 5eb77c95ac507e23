//! What a workload is made from, and why some numbers make none.

use serde::Serialize;

/// The longest a record can be under way: 300 s of delay, and 120 s until it is repeated.
const LONGEST_DELAY_MS: u64 = 420_000;

/// What a workload is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct WorkloadConfig {
    /// Seed of all draws.
    pub seed: u64,
    /// Minutes of event time; arrivals go on for up to seven more.
    pub minutes: u32,
    /// Number of sensors.
    pub sensors: u32,
    /// Time between two readings of a sensor, milliseconds.
    pub period_ms: u64,
    /// Length of an epoch of arrival, milliseconds.
    pub epoch_ms: u64,
    /// Without moves and repetitions (T1): every good record counts and the last arrival wins are then the same, so that
    /// programs that can only append have the same answers from the same file.
    pub append_only: bool,
}

impl Default for WorkloadConfig {
    fn default() -> Self {
        Self { seed: 1, minutes: 10, sensors: 100_000, period_ms: 10_000, epoch_ms: 1_000, append_only: false }
    }
}

/// Why a configuration describes no workload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkloadError {
    /// Something there must be some of.
    #[error("a workload needs {0}")]
    Nothing(&'static str),
    /// A period or epoch out of bounds.
    #[error("{what} of {ms} ms: it must be 1 to 60000 ms")]
    Length {
        /// Period or epoch.
        what: &'static str,
        /// Its length.
        ms: u64,
    },
    /// Arrival times are stored in 32 bits of milliseconds.
    #[error("{minutes} minutes are too long: arrivals must end within 2^32 ms, at most {most} minutes")]
    TooLong {
        /// What was asked for.
        minutes: u32,
        /// What there can be.
        most: u64,
    },
    /// Numbers of sensors are stored in 32 bits and their state is held.
    #[error("{0} sensors are too many: at most 16000000")]
    TooManySensors(u32),
}

impl WorkloadConfig {
    /// Length of the event time, milliseconds.
    #[must_use]
    pub fn event_ms(&self) -> u64 {
        u64::from(self.minutes) * 60_000
    }

    /// Whether there is such a workload.
    ///
    /// # Errors
    /// When there is none.
    pub fn check(&self) -> Result<(), WorkloadError> {
        let most = (u64::from(u32::MAX) - LONGEST_DELAY_MS) / 60_000;
        let length = |what, ms| if (1..=60_000).contains(&ms) { Ok(()) } else { Err(WorkloadError::Length { what, ms }) };
        length("a period", self.period_ms)?;
        length("an epoch", self.epoch_ms)?;
        match self {
            Self { minutes: 0, .. } => Err(WorkloadError::Nothing("at least one minute")),
            Self { sensors: 0, .. } => Err(WorkloadError::Nothing("at least one sensor")),
            Self { sensors: 16_000_001.., .. } => Err(WorkloadError::TooManySensors(self.sensors)),
            _ if u64::from(self.minutes) > most => Err(WorkloadError::TooLong { minutes: self.minutes, most }),
            _ => Ok(()),
        }
    }
}
