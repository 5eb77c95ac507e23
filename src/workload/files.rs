//! Writing a workload: one pass of the generator into a log, a binary file and a CSV file, whichever are wanted. All
//! carry the same records in the same order; the log has the reference rows before them and the ticks among them.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use gridflow_inputs::Input;
use gridflow_inputs::log::{Header, LogError, LogWriter, Options, Sync};
use serde::Serialize;

use super::{CSV_HEADER, Generator, START_MS, WORKLOAD_REGION, WorkloadConfig, WorkloadError, WorkloadSummary, log};
use crate::sequencer::{Cadence, Sequencer};

/// Where to write a workload.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    /// Directory of a new log.
    pub log: Option<PathBuf>,
    /// File of 24-byte records.
    pub binary: Option<PathBuf>,
    /// CSV file.
    pub csv: Option<PathBuf>,
}

/// What was written. Serialised, this is what `--json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Workload {
    /// What it was made from.
    pub config: WorkloadConfig,
    /// What it holds.
    #[serde(flatten)]
    pub summary: WorkloadSummary,
    /// Rows of the log: records, reference rows and ticks.
    pub log_rows: u64,
    /// Whether it was stopped before the end.
    pub interrupted: bool,
}

/// Why writing ended early.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// There is no such workload.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A file.
    #[error("cannot write {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A file being written, and its name for messages.
struct Sink {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Sink {
    fn create(path: &Path) -> Result<Self, WriteError> {
        let file = File::create(path).map_err(|source| WriteError::File { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file: BufWriter::with_capacity(1 << 18, file) })
    }

    fn with(&mut self, write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>) -> Result<(), WriteError> {
        write(&mut self.file).map_err(|source| WriteError::File { path: self.path.clone(), source })
    }
}

/// Writes a workload to all targets. `progress` is called after each epoch with the epoch, in milliseconds after the
/// start. When `stop` becomes true, what is there ends with the present epoch, whole.
///
/// # Errors
/// When the configuration describes no workload, the directory holds a log, or the disk refuses.
pub fn write(config: WorkloadConfig, targets: &Targets, stop: &AtomicBool, mut progress: impl FnMut(u64)) -> Result<Workload, WriteError> {
    let mut generator = Generator::new(config)?;
    let options = Options { sync: Sync::OnClose, ..Options::default() };
    let mut writer = targets.log.as_deref().map(|dir| LogWriter::create(dir, Header::input(WORKLOAD_REGION), options)).transpose()?;
    let mut binary = targets.binary.as_deref().map(Sink::create).transpose()?;
    let mut csv = targets.csv.as_deref().map(Sink::create).transpose()?;
    if let Some(csv) = &mut csv {
        csv.with(|file| file.write_all(CSV_HEADER.as_bytes()))?;
    }
    let mut sequencer = Sequencer::new(config.epoch_ms, Cadence::default(), None);
    let mut before = if writer.is_some() { log::rows_before(&config) } else { Vec::new() };
    let (mut log_rows, mut interrupted) = (0, false);
    for arrivals in generator.by_ref() {
        if let Some(writer) = &mut writer {
            let mut rows: Vec<Input> = std::mem::take(&mut before);
            rows.extend(arrivals.records.iter().map(|record| log::row(&config, record)));
            let (epoch, rows) = sequencer.seal(START_MS + arrivals.epoch_ms, rows);
            writer.append_epoch(epoch, &rows)?;
            log_rows += rows.len() as u64;
        }
        if let Some(binary) = &mut binary {
            binary.with(|file| arrivals.records.iter().try_for_each(|record| file.write_all(&record.encode())))?;
        }
        if let Some(csv) = &mut csv {
            csv.with(|file| arrivals.records.iter().try_for_each(|record| record.write_csv(file)))?;
        }
        progress(arrivals.epoch_ms);
        if stop.load(Ordering::Relaxed) {
            interrupted = true;
            break;
        }
    }
    for sink in [&mut binary, &mut csv].into_iter().flatten() {
        sink.with(|file| file.flush())?;
    }
    if let Some(writer) = writer {
        writer.close()?;
    }
    Ok(Workload { config, summary: generator.summary().clone(), log_rows, interrupted })
}
