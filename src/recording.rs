//! Recording: rows of a simulation through the sequencer into a log, with the truth beside it.
//!
//! As fast as possible each step is an epoch, and the bytes follow from the seed alone. At a pace the simulation offers its
//! rows when they are due, the sequencer takes what has come each time its clock moves on, and facts and orders that other
//! processes left in the log's inbox enter with them: that is how a live region is recorded.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gridflow_inputs::log::inbox::{self, InboxError};
use gridflow_inputs::log::{Header, LogError, LogWriter, Options, Sync};
use gridflow_inputs::{Epoch, Input};
use serde::Serialize;

use crate::clock::Stopwatch;
use crate::intake::{Intake, Pressure};
use crate::sequencer::{Cadence, Sequencer};
use crate::simulate::{SimulatedEpoch, Simulation, SimulationError, TruthStep};

/// File of the true states, in the log's directory; the engine never reads it.
pub const TRUTH: &str = "truth.csv";
/// Length of an epoch.
const STEP_MS: u64 = 1_000;
/// Rows that may wait for the sequencer, in each of its queues.
const QUEUE: usize = 1 << 17;
/// Rows of an epoch at most; the others wait for the next.
const ROWS: usize = 1 << 20;
/// Facts taken from the inbox for an epoch at most.
const FACTS: usize = 64;
/// Longest sleep before it is looked whether to stop.
const LOOK: Duration = Duration::from_millis(50);

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
    /// At a pace: how hard the queues before the sequencer were pressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pressure: Option<Pressure>,
    /// At a pace: epochs skipped because the sequencer had fallen behind.
    pub skipped_epochs: u64,
}

impl Recorded {
    fn note(&mut self, epoch: Epoch, rows: usize) {
        self.rows += rows as u64;
        self.epochs += 1;
        self.first_epoch.get_or_insert(epoch);
        self.last_epoch = Some(epoch);
    }
}

/// Why recording ended early.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log's inbox.
    #[error(transparent)]
    Inbox(#[from] InboxError),
    /// The simulation.
    #[error(transparent)]
    Simulation(#[from] SimulationError),
    /// The system gives no thread.
    #[error("cannot start recording: {source}")]
    Thread {
        /// Why.
        source: std::io::Error,
    },
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
    let mut sequencer = Sequencer::new(STEP_MS, Cadence::default(), None);
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
        recorded.note(epoch, rows.len());
        progress(epoch);
    }
    truth.flush().map_err(truth_error)?;
    writer.close()?;
    Ok(recorded)
}

/// Records a simulation as it happens: `pace` seconds of it in each second.
///
/// # Errors
/// As [`record`], and when the log's inbox cannot be read.
pub fn record_live(
    simulation: &mut Simulation,
    region: &str,
    dir: &Path,
    pace: f64,
    stop: &AtomicBool,
    mut progress: impl FnMut(Epoch),
) -> Result<Recorded, RecordError> {
    let mut writer = LogWriter::create(dir, Header::input(region), Options::default())?;
    let path = dir.join(TRUTH);
    let truth_error = |source| RecordError::Truth { path: path.clone(), source };
    let mut truth = BufWriter::new(File::create(&path).map_err(truth_error)?);
    TruthStep::write_csv_header(&mut truth).map_err(truth_error)?;
    let Some(first) = simulation.next().transpose()? else { return Ok(Recorded::default()) };
    let (start_ms, watch) = (first.epoch, Stopwatch::start());
    // What is due at an epoch may be offered when the clock has reached it.
    let due = |epoch: Epoch| Duration::try_from_secs_f64((epoch - start_ms) as f64 / 1_000.0 / pace).unwrap_or(Duration::MAX);
    let intake = Intake::new(QUEUE);
    let mut recorded = Recorded::default();
    std::thread::scope(|scope| {
        let intake = &intake;
        let produce = move || {
            let produced = produce(std::iter::once(Ok(first)).chain(simulation), intake, &watch, due, stop, &mut truth);
            intake.close();
            produced
        };
        let producer = std::thread::Builder::new().name("gridflow:simulation".into()).spawn_scoped(scope, produce);
        let producer = producer.map_err(|source| RecordError::Thread { source })?;
        let written = sequence(&mut writer, dir, intake, &watch, (start_ms, pace), &mut recorded, &mut progress);
        // Whoever still offers rows to a log that cannot be written must not wait for ever.
        intake.close();
        let produced = producer.join().expect("a panic ends the process");
        written?;
        match produced {
            Ok(()) => Ok(()),
            Err(ProduceError::Simulation(error)) => Err(error.into()),
            Err(ProduceError::Truth(source)) => Err(truth_error(source)),
        }
    })?;
    writer.close()?;
    recorded.interrupted = stop.load(Ordering::Relaxed);
    recorded.pressure = Some(intake.pressure());
    Ok(recorded)
}

enum ProduceError {
    Simulation(SimulationError),
    Truth(std::io::Error),
}

/// Offers the rows of each step when it is due.
fn produce(
    steps: impl Iterator<Item = Result<SimulatedEpoch, SimulationError>>,
    intake: &Intake,
    watch: &Stopwatch,
    due: impl Fn(Epoch) -> Duration,
    stop: &AtomicBool,
    truth: &mut impl Write,
) -> Result<(), ProduceError> {
    for step in steps {
        let step = step.map_err(ProduceError::Simulation)?;
        while watch.elapsed() < due(step.epoch) && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(due(step.epoch).saturating_sub(watch.elapsed()).min(LOOK));
        }
        if stop.load(Ordering::Relaxed) || !step.rows.into_iter().all(|row| intake.offer(row)) {
            break;
        }
        if let Some(step) = step.truth {
            step.write_csv(&mut *truth).map_err(ProduceError::Truth)?;
        }
    }
    truth.flush().map_err(ProduceError::Truth)
}

/// Seals an epoch each time the clock has moved on, until the intake is done.
fn sequence(
    writer: &mut LogWriter,
    dir: &Path,
    intake: &Intake,
    watch: &Stopwatch,
    (start_ms, pace): (Epoch, f64),
    recorded: &mut Recorded,
    progress: &mut impl FnMut(Epoch),
) -> Result<(), RecordError> {
    let mut sequencer = Sequencer::new(STEP_MS, Cadence::default(), None);
    while !intake.is_done() {
        let clock_ms = start_ms.saturating_add((watch.elapsed().as_secs_f64() * 1_000.0 * pace) as u64).min(gridflow_inputs::MAX_EPOCH);
        if recorded.last_epoch.is_some_and(|last| clock_ms < last + STEP_MS) {
            std::thread::sleep(Duration::try_from_secs_f64(STEP_MS as f64 / 1_000.0 / pace / 4.0).map_or(LOOK, |step| step.min(LOOK)));
            continue;
        }
        let mut drained = inbox::drain(dir, FACTS)?;
        let mut rows: Vec<Input> = std::mem::take(&mut drained.rows);
        for row in &mut rows {
            // The sequencer alone reads the clock: what another process says has the time at which it was taken.
            match row {
                Input::EngineFact(fact) => fact.event_ms = clock_ms as i64,
                Input::OperatorCommand(order) if order.event_ms == 0 => order.event_ms = clock_ms as i64,
                _ => {}
            }
        }
        rows.extend(intake.take(ROWS));
        let before = recorded.last_epoch;
        let (epoch, rows) = sequencer.seal(clock_ms, rows);
        writer.append_epoch(epoch, &rows)?;
        drained.delete()?;
        recorded.skipped_epochs += before.map_or(0, |before| (epoch - before) / STEP_MS - 1);
        recorded.note(epoch, rows.len());
        progress(epoch);
    }
    Ok(())
}
