//! Where the exports are.

use std::path::{Path, PathBuf};

/// Settings of the connector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The table of sensors.
    pub sensors: PathBuf,
    /// The table of readings, if there is one.
    pub measurements: Option<PathBuf>,
    /// The table of switch states, if there is one.
    pub switches: Option<PathBuf>,
    /// From which event time on the sensors are valid, UTC milliseconds.
    pub valid_from_ms: i64,
}

impl Config {
    /// The customary names in a directory; readings and switch states where their files exist.
    #[must_use]
    pub fn directory(directory: &Path) -> Self {
        let existing = |name: &str| Some(directory.join(name)).filter(|path| path.exists());
        Self {
            sensors: directory.join("sensors.csv"),
            measurements: existing("measurements.csv"),
            switches: existing("switches.csv"),
            valid_from_ms: 0,
        }
    }
}
