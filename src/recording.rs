//! Recording: rows of a simulation through the sequencer into a log, with the truth beside it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use gridflow_inputs::Epoch;
use gridflow_inputs::log::{Header, LogError, LogWriter, Options, Sync};
use serde::Serialize;

use crate::sequencer::{Cadence, Sequencer};
use crate::simulate::{Simulation, SimulationError, TruthStep};

/// File of the true states, in the log's directory; the engine never reads it.
pub const TRUTH: &str = "truth.csv";

/// What was recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Recorded {
    /// Rows, ticks included.
    pub rows: u64,
    /// Epochs.
    pub epochs: u64,
    /// First epoch.
    pub first_epoch: Option<Epoch>,
    /// Last epoch.
    pub last_epoch: Option<Epoch>,
    /// Whether it was stopped before the end.
    pub interrupted: bool,
}

/// Why recording ended early.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The simulation.
    #[error(transparent)]
    Simulation(#[from] SimulationError),
    /// The truth file.
    #[error("cannot write {}: {source}", path.display())]
    Truth {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Records a simulation into a new log at `dir`, with [`TRUTH`] beside its segments.
///
/// `progress` is called after each epoch. When `stop` becomes true the log ends with the present epoch, whole.
///
/// # Errors
/// When the directory holds a log, the disk refuses, or the simulation fails; what was recorded before stays readable.
pub fn record(
    simulation: &mut Simulation,
    region: &str,
    dir: &Path,
    stop: &AtomicBool,
    mut progress: impl FnMut(Epoch),
) -> Result<Recorded, RecordError> {
    let mut writer = LogWriter::create(dir, Header::input(region), Options { sync: Sync::OnClose, ..Options::default() })?;
    let path = dir.join(TRUTH);
    let truth_error = |source| RecordError::Truth { path: path.clone(), source };
    let mut truth = BufWriter::new(File::create(&path).map_err(truth_error)?);
    TruthStep::write_csv_header(&mut truth).map_err(truth_error)?;
    let mut sequencer = Sequencer::new(1_000, Cadence::default(), None);
    let mut recorded = Recorded::default();
    for step in simulation {
        if stop.load(Ordering::Relaxed) {
            recorded.interrupted = true;
            break;
        }
        let step = step?;
        let (epoch, rows) = sequencer.seal(step.epoch, step.rows);
        writer.append_epoch(epoch, &rows)?;
        if let Some(step) = step.truth {
            step.write_csv(&mut truth).map_err(truth_error)?;
        }
        recorded.rows += rows.len() as u64;
        recorded.epochs += 1;
        recorded.first_epoch.get_or_insert(epoch);
        recorded.last_epoch = Some(epoch);
        progress(epoch);
    }
    truth.flush().map_err(truth_error)?;
    writer.close()?;
    Ok(recorded)
}
