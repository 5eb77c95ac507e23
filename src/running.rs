//! A run that lasts: follows a log that another process writes, keeps outputs and checkpoints in a state directory, and
//! goes on from there when started again, however it ended.
//!
//! `STATEDIR/out` is the output log, `STATEDIR/checkpoints` what to go on from, `STATEDIR/lock-N-T` the right of process N
//! to write there in leadership term T. A standby shares the state directory with its leader and writes nothing there
//! until it leads. Outputs are the same bytes as those of a run that never stopped: operator states are loaded, the log
//! is read from behind the checkpoint, and what is made again is compared with what is there and not appended.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::bounded;
use gridflow_inputs::Epoch;
use gridflow_inputs::log::inbox::InboxError;
use gridflow_inputs::log::{EpochBatch, LogError, LogReader, Terms};
use serde::Serialize;

use crate::checkpoint::{self, CheckpointError, Part, Unusable};
use crate::clock::Stopwatch;
use crate::engine::{self, EngineConfig, EngineError, Resume, Totals};
use crate::follower::Follower;
use crate::journal::{Difference, Journal, JournalError};
use crate::keeper::{Failure, Finished, Keeper, Role, Setting, Writer};
use crate::leadership::{Cause, Leadership};
use crate::metrics::Metrics;
use crate::replay::Watch;
use crate::summary::Summary;

/// Directory of the output log in a state directory.
pub const OUT: &str = "out";
/// Directory of the checkpoints in a state directory.
pub const CHECKPOINTS: &str = "checkpoints";
/// How often the end of a log is looked at again.
const POLL: Duration = Duration::from_millis(5);

/// What to run and how.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// The input log; another process may be writing it.
    pub log: PathBuf,
    /// The state directory; made where it is not there.
    pub state: PathBuf,
    /// Workers and processes; what to save and where to go on is set by the run.
    pub engine: EngineConfig,
    /// Whether to end with the log rather than to wait for more.
    pub until_end: bool,
    /// A checkpoint after so many epochs, and at the end.
    pub checkpoint_every: u64,
    /// Whether to follow a leader that runs the same state, and to take over when it is gone or the log orders it.
    pub standby: bool,
    /// How long the leader's lease lasts unless renewed, milliseconds of epoch time; no lease without.
    pub lease_ms: Option<u64>,
    /// Who this process is, in lease rows and term files.
    pub name: String,
}

/// What a run came to. Serialised, this is what `--json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct RunSummary {
    /// What any run tells; nothing of its streams when it only helped.
    #[serde(flatten)]
    pub summary: Summary,
    /// Epoch of the checkpoint it went on from.
    pub resumed_from: Option<Epoch>,
    /// Checkpoints that were passed over, and why.
    pub unusable_checkpoints: Vec<Unusable>,
    /// Time from the start to the first epoch fed, seconds: finding the checkpoint and the place in the log.
    pub start_seconds: f64,
    /// Time from the start to the first epoch of a stream sealed, seconds: workers have loaded their states by then.
    pub first_sealed_seconds: Option<f64>,
    /// Leadership term in which it wrote; `None` when it only followed.
    pub term: Option<u64>,
    /// Why a standby took over.
    pub took_over: Option<Cause>,
    /// Whether a later term took over from it, as the log had ordered.
    pub handed_over: bool,
    /// Of a standby: epochs of streams found equal to the leader's.
    pub compared: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Bytes of the newest of them.
    pub checkpoint_bytes: u64,
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The input log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The engine stopped.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The output log.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Checkpoints.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Facts for the log.
    #[error(transparent)]
    Inbox(#[from] InboxError),
    /// A standby and its leader differ.
    #[error("epoch {} of stream {} differs from the leader's (leader {}, here {}): the log has been told; find out which of the two is wrong before either is trusted", .0.epoch, .0.stream, .0.expected.as_deref().unwrap_or("nothing"), .0.found.as_deref().unwrap_or("nothing"))]
    Differs(Difference),
    /// A later term writes now.
    #[error("another process leads in a later term: nothing more was written; start this one again with --standby")]
    Superseded,
    /// A standby is one process.
    #[error("a standby of a region of several processes is not there yet: start one process with --standby, with as many workers")]
    StandbyOfSeveral,
    /// Another process runs in the state directory.
    #[error("another process runs with the state at {}: stop it first, name another state directory, or follow it with --standby", state.display())]
    Locked {
        /// The state directory.
        state: PathBuf,
    },
    /// The state directory cannot be used.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The log is not the one the state was made of.
    #[error("the log at {} has no epoch {epoch}, or another one than that up to which the state at {} was made: give that log, or name a new state directory", log.display(), state.display())]
    OtherLog {
        /// The log.
        log: PathBuf,
        /// The state directory.
        state: PathBuf,
        /// The epoch.
        epoch: Epoch,
    },
}

/// The right to write in a state directory; given back when dropped, however that comes.
#[derive(Debug)]
pub(crate) struct StateLock(File);

impl Drop for StateLock {
    /// By name, as of a log: a child that is being started may hold a copy of the file.
    fn drop(&mut self) {
        // Closing what cannot be unlocked is all that is left.
        let _ = self.0.unlock();
    }
}

impl StateLock {
    pub(crate) fn take(state: &Path, process: usize, term: u64) -> Result<Self, RunError> {
        std::fs::create_dir_all(state).map_err(|source| RunError::Io { path: state.to_owned(), doing: "create", source })?;
        let path = state.join(format!("lock-{process}-{term}"));
        let file = File::options().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|source| RunError::Io { path: path.clone(), doing: "open for writing", source })?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(RunError::Locked { state: state.to_owned() }),
            Err(TryLockError::Error(source)) => Err(RunError::Io { path, doing: "lock", source }),
        }
    }
}

/// The epochs of a log, and those that are still to be written.
struct Tail<'a> {
    reader: &'a Mutex<LogReader>,
    until_end: bool,
    stop: &'a AtomicBool,
    leadership: &'a Leadership,
    failure: &'a Failure,
}

impl Iterator for Tail<'_> {
    type Item = Result<EpochBatch, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let next = self.reader.lock().expect("one reader").next();
            if let Some(Ok(batch)) = &next
                && !self.failure.check(self.leadership.see(batch))
            {
                return None;
            }
            if next.is_some() || self.stop.load(Ordering::Relaxed) || self.failure.is_known() {
                return next;
            }
            self.leadership.at_end();
            if self.until_end {
                return None;
            }
            std::thread::sleep(POLL);
        }
    }
}

/// Runs a log, from the newest checkpoint on, until it is stopped or, where asked for, to the end of the log.
///
/// # Errors
/// See [`RunError`]. What was sealed before stays, and the next run goes on from there.
pub fn run(config: &RunConfig, stop: &AtomicBool, watch: &mut dyn Watch) -> Result<RunSummary, RunError> {
    let stopwatch = Stopwatch::start();
    let process = config.engine.cluster.as_ref().map_or((0, 1), |cluster| (cluster.process, cluster.addresses.len()));
    if config.standby && process.1 > 1 {
        return Err(RunError::StandbyOfSeveral);
    }
    let region = LogReader::open(&config.log)?.header().region.clone();
    let (out, checkpoints) = (config.state.join(OUT), config.state.join(CHECKPOINTS));
    let terms = Terms::load(&out)?;
    let term = terms.newest();
    let _lock = if config.standby { None } else { Some(StateLock::take(&config.state, process.0, term)?) };
    let mut unusable_checkpoints = Vec::new();
    let mut bound = Epoch::MAX;
    let (found, role) = loop {
        let found = checkpoint::newest(&checkpoints, &region, bound, &mut unusable_checkpoints)?;
        let mark = found.as_ref().map(|found| &found.mark);
        let role = match process.0 {
            0 if config.standby => Role::Follows(Follower::new(&region, &out, mark)),
            0 => match (Journal::resume(&region, &out, term, mark), &found) {
                (Ok(journal), _) => Role::Leads(journal),
                // It speaks of outputs that do not count: an earlier one may not.
                (Err(error @ JournalError::Behind { .. }), Some(found)) => {
                    bound = found.saved.epoch;
                    unusable_checkpoints.push(Unusable { epoch: bound, what: error.to_string() });
                    continue;
                }
                (Err(error), _) => return Err(error.into()),
            },
            _ => Role::Helps,
        };
        break (found, role);
    };
    let resumed_from = found.as_ref().map(|found| found.saved.epoch);
    let reader = open_behind(config, resumed_from, found.as_ref().map(|found| found.totals.mark))?;
    let leadership = Leadership::new(config, terms, matches!(role, Role::Leads(_)));
    let before = found.as_ref().map_or_else(Totals::default, |found| found.totals);
    let engine = EngineConfig {
        save_every: Some(config.checkpoint_every.max(1)),
        resume: found.map(|found| Resume { saved: Arc::new(found.saved), totals: found.totals }),
        ..config.engine.clone()
    };

    let reader = Mutex::new(reader);
    let failure = Failure::new(process.1 > 1);
    let tail = Tail { reader: &reader, until_end: config.until_end, stop, leadership: &leadership, failure: &failure };
    let writer = Writer::new(checkpoints, process.0 == 0);
    let metrics = Metrics::start();
    let fed = Mutex::new(None);
    let (report, kept) = std::thread::scope(|scope| {
        // One checkpoint may be waiting while another is written; more would mean that the disk cannot keep up.
        let (parts, to_write) = bounded::<Part>(1);
        let (writer, failure) = (&writer, &failure);
        let write = move || {
            for part in to_write {
                failure.check(writer.write(&part));
            }
        };
        let spawned = std::thread::Builder::new().name("gridflow:checkpoint".into()).spawn_scoped(scope, write);
        spawned.map_err(|error| EngineError::Start(error.to_string()))?;
        let first_fed = |_: &EpochBatch| {
            fed.lock().expect("a time is a time").get_or_insert_with(|| stopwatch.elapsed());
        };
        let (workers, leadership, stopwatch) = (engine.workers.max(1), &leadership, &stopwatch);
        let setting = Setting { region: &region, process, workers, out: &out, stop, leadership, failure, stopwatch };
        let mut keeper = Keeper::new(setting, watch, role, parts);
        let report = engine::run(&engine, tail, stop, first_fed, &mut keeper, &metrics);
        let last_epoch = report.as_ref().ok().and_then(|report| report.totals.span).map(|(_, last)| last);
        Ok::<_, RunError>((report, keeper.finish(last_epoch)))
    })?;
    let handed_over = match failure.into_error() {
        // What was left to write is the later term's to write now.
        Some(RunError::Superseded) if leadership.was_ordered()? => true,
        Some(error) => return Err(error),
        None => false,
    };
    let Finished { role, took_over, compared, first_sealed } = kept;
    let totals = report.as_ref().map(|report| report.totals).unwrap_or_default();
    let (first_epoch, last_epoch) = totals.span.unzip();
    let leads = matches!(role, Role::Leads(_));
    // Of a run that failed there is nothing to state; what was sealed is kept all the same.
    let report = report?;
    let digests = match role {
        Role::Leads(journal) if !handed_over => Some(journal.close(last_epoch)?.digests),
        Role::Leads(_) | Role::Helps => None,
        Role::Follows(follower) => Some(follower.digests(last_epoch)),
    };
    let (digest, streams) = digests.map(|digests| (digests.digest, digests.streams)).unwrap_or_default();
    let start = fed.into_inner().expect("a time is a time").unwrap_or_else(|| stopwatch.elapsed());
    let torn = reader.into_inner().expect("one reader").torn().cloned();
    let summary = Summary {
        region,
        rows: totals.rows,
        epochs: totals.epochs,
        first_epoch,
        last_epoch,
        digest,
        streams,
        fingerprint: crate::journal::fingerprint(),
        workers: engine.workers.max(1),
        seconds: stopwatch.elapsed().as_secs_f64(),
        interrupted: report.interrupted || (!config.until_end && stop.load(Ordering::Relaxed)),
        torn,
        metrics: metrics.summary(totals.rows - before.rows),
        state_bytes: report.state_bytes,
    };
    Ok(RunSummary {
        summary,
        resumed_from,
        unusable_checkpoints,
        start_seconds: start.as_secs_f64(),
        first_sealed_seconds: first_sealed.map(|time| time.as_secs_f64()),
        term: leads.then(|| took_over.as_ref().map_or(term, |(_, _, term)| *term)),
        took_over: took_over.map(|(_, cause, _)| cause),
        handed_over,
        compared,
        checkpoints: writer.written(),
        checkpoint_bytes: writer.newest_bytes(),
    })
}

/// The log from behind the epoch the state was made up to, which must be in it, with the rows the state was made of.
fn open_behind(config: &RunConfig, resumed_from: Option<Epoch>, mark: Option<u64>) -> Result<LogReader, RunError> {
    let Some(epoch) = resumed_from else { return Ok(LogReader::open(&config.log)?) };
    let mut reader = LogReader::open_at(&config.log, epoch)?;
    match reader.next().transpose()? {
        Some(batch) if batch.epoch == epoch && Some(engine::mark(&batch)) == mark => Ok(reader),
        _ => Err(RunError::OtherLog { log: config.log.clone(), state: config.state.clone(), epoch }),
    }
}
