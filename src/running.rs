//! A run that lasts: follows a log that another process writes, keeps outputs and checkpoints in a state directory, and
//! goes on from there when started again, however it ended.
//!
//! `STATEDIR/out` is the output log, `STATEDIR/checkpoints` what to go on from, `STATEDIR/lock-N` the right of process N
//! to write there. Outputs are the same bytes as those of a run that never stopped: operator states are loaded, the log
//! is read from behind the checkpoint, and what is made again is compared with what is there and not appended.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use gridflow_inputs::Epoch;
use gridflow_inputs::log::{EpochBatch, LogError, LogReader, Torn};
use gridflow_operators::seal::Sealed;
use serde::Serialize;

use crate::checkpoint::{self, CheckpointError, Part, Unusable};
use crate::clock::Stopwatch;
use crate::engine::{self, EngineConfig, EngineError, Outlet, Resume, Share, Totals};
use crate::failpoint;
use crate::journal::{Journal, JournalError, JournalMark, StreamSummary};
use crate::metrics::{Metrics, MetricsSummary};
use crate::replay::Watch;

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
}

/// What a run came to. Serialised, this is what `--json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct RunSummary {
    /// Name of the region.
    pub region: String,
    /// Input rows without ticks, over all restarts.
    pub rows: u64,
    /// Epochs, over all restarts.
    pub epochs: u64,
    /// First epoch.
    pub first_epoch: Option<Epoch>,
    /// Last epoch.
    pub last_epoch: Option<Epoch>,
    /// Digest of all streams since the first epoch, over all restarts.
    pub digest: String,
    /// Each stream.
    pub streams: BTreeMap<String, StreamSummary>,
    /// Build and kind of machine the bits are promised for.
    pub fingerprint: String,
    /// Worker threads of this process.
    pub workers: usize,
    /// Epoch of the checkpoint it went on from.
    pub resumed_from: Option<Epoch>,
    /// Checkpoints that were passed over, and why.
    pub unusable_checkpoints: Vec<Unusable>,
    /// Time from the start to the first epoch fed, seconds: loading what was saved, finding the place in the log.
    pub start_seconds: f64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Bytes of the newest of them.
    pub checkpoint_bytes: u64,
    /// Wall time.
    pub seconds: f64,
    /// Whether Ctrl-C stopped it.
    pub interrupted: bool,
    /// The torn end of the log, if it is torn.
    pub torn: Option<Torn>,
    /// What the engine tells of itself, of this start.
    #[serde(flatten)]
    pub metrics: MetricsSummary,
    /// Bytes of state by operator at the end.
    pub state_bytes: BTreeMap<String, u64>,
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
    /// Another process runs in the state directory.
    #[error("another process runs with the state at {}: stop it first, or name another state directory", state.display())]
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
    #[error("the log at {} has no epoch {epoch}, up to which the state at {} was made: give that log, or name a new state directory", log.display(), state.display())]
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
struct StateLock(#[allow(dead_code, reason = "held, not read")] File);

impl StateLock {
    fn take(state: &Path, process: usize) -> Result<Self, RunError> {
        std::fs::create_dir_all(state).map_err(|source| RunError::Io { path: state.to_owned(), doing: "create", source })?;
        let path = state.join(format!("lock-{process}"));
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
}

impl Iterator for Tail<'_> {
    type Item = Result<EpochBatch, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let next = self.reader.lock().expect("one reader").next();
            if next.is_some() || self.until_end || self.stop.load(Ordering::Relaxed) {
                return next;
            }
            std::thread::sleep(POLL);
        }
    }
}

/// Writes checkpoints on a thread of its own, so that sealing need not wait for the disk.
struct Writer {
    dir: PathBuf,
    first_process: bool,
    written: AtomicU64,
    bytes: AtomicU64,
    failed: Mutex<Option<CheckpointError>>,
}

impl Writer {
    fn write(&self, part: &Part) {
        let written = part.write(&self.dir).and_then(|bytes| {
            // One process tidies up after all, so that none removes what another still needs for a whole checkpoint.
            if self.first_process { checkpoint::tidy(&self.dir).map(|()| bytes) } else { Ok(bytes) }
        });
        match written {
            Ok(bytes) => {
                self.written.fetch_add(1, Ordering::Relaxed);
                self.bytes.store(bytes, Ordering::Relaxed);
            }
            Err(error) => {
                self.failed.lock().expect("writing does not panic").get_or_insert(error);
            }
        }
    }
}

/// Keeps outputs in the journal and puts checkpoints together.
struct Keeper<'a> {
    watch: &'a mut dyn Watch,
    region: &'a str,
    process: (usize, usize),
    workers: usize,
    /// Of the first process.
    journal: Option<Journal>,
    mark: Option<JournalMark>,
    shares: Vec<Share>,
    parts: Option<Sender<Part>>,
    writer: &'a Writer,
    failed: Option<JournalError>,
}

impl Outlet for Keeper<'_> {
    fn sealed(&mut self, sealed: Sealed) -> bool {
        self.watch.sealed(&sealed);
        let Some(journal) = &mut self.journal else { return true };
        journal.take(sealed);
        failpoint::pass("output-appended");
        journal.is_sound()
    }

    fn saved(&mut self, share: Share) -> bool {
        if let (0, Some(journal)) = (share.worker, &mut self.journal) {
            match journal.mark() {
                Ok(mark) => self.mark = Some(mark),
                Err(error) => {
                    self.failed = Some(error);
                    return false;
                }
            }
        }
        self.shares.push(share);
        if self.shares.len() == self.workers {
            self.shares.sort_unstable_by_key(|share| share.worker);
            let Some(Share { epoch, totals, .. }) = self.shares.first() else { return true };
            let (epoch, totals) = (*epoch, *totals);
            let mut shares: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
            for (operator, state) in self.shares.drain(..).flat_map(|share| share.states) {
                shares.entry(operator.to_owned()).or_default().push(state);
            }
            let part = Part { region: self.region.to_owned(), epoch, process: self.process, totals, mark: self.mark.take(), shares };
            if let Some(parts) = &self.parts {
                // Fails only when the writer is gone, which only a panic can cause, and that ends the process.
                let _ = parts.send(part);
            }
        }
        self.writer.failed.lock().expect("writing does not panic").is_none()
    }
}

/// Runs a log, from the newest checkpoint on, until it is stopped or, where asked for, to the end of the log.
///
/// # Errors
/// See [`RunError`]. What was sealed before stays, and the next run goes on from there.
pub fn run(config: &RunConfig, stop: &AtomicBool, watch: &mut dyn Watch) -> Result<RunSummary, RunError> {
    let stopwatch = Stopwatch::start();
    let process = config.engine.cluster.as_ref().map_or((0, 1), |cluster| (cluster.process, cluster.addresses.len()));
    let region = LogReader::open(&config.log)?.header().region.clone();
    let _lock = StateLock::take(&config.state, process.0)?;
    let checkpoints = config.state.join(CHECKPOINTS);
    let (found, unusable_checkpoints) = checkpoint::newest(&checkpoints, &region)?;
    let resumed_from = found.as_ref().map(|found| found.saved.epoch);
    let reader = open_behind(config, resumed_from)?;
    let journal = if process.0 == 0 {
        let mark = found.as_ref().map(|found| (found.saved.epoch, &found.mark));
        Some(Journal::resume(&region, &config.state.join(OUT), mark)?)
    } else {
        None
    };
    let before = found.as_ref().map_or_else(Totals::default, |found| found.totals);
    let engine = EngineConfig {
        save_every: Some(config.checkpoint_every.max(1)),
        resume: found.map(|found| Resume { saved: Arc::new(found.saved), totals: found.totals }),
        ..config.engine.clone()
    };

    let reader = Mutex::new(reader);
    let tail = Tail { reader: &reader, until_end: config.until_end, stop };
    let writer = Writer {
        dir: checkpoints,
        first_process: process.0 == 0,
        written: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        failed: Mutex::new(None),
    };
    let metrics = Metrics::start();
    let fed = Mutex::new(None);
    let (report, keeper) = std::thread::scope(|scope| {
        // One checkpoint may be waiting while another is written; more would mean that the disk cannot keep up.
        let (parts, to_write) = bounded::<Part>(1);
        let writer = &writer;
        let write = move || to_write.into_iter().for_each(|part| writer.write(&part));
        let started = std::thread::Builder::new().name("gridflow:checkpoint".into()).spawn_scoped(scope, write);
        started.map_err(|error| EngineError::Start(error.to_string()))?;
        let mut keeper = Keeper {
            watch,
            region: &region,
            process,
            workers: engine.workers.max(1),
            journal,
            mark: None,
            shares: Vec::new(),
            parts: Some(parts),
            writer,
            failed: None,
        };
        let first_fed = |_: &EpochBatch| {
            fed.lock().expect("a time is a time").get_or_insert_with(|| stopwatch.elapsed());
        };
        let report = engine::run(&engine, tail, stop, first_fed, &mut keeper, &metrics);
        keeper.parts = None;
        Ok::<_, RunError>((report, (keeper.journal.take(), keeper.failed.take())))
    })?;
    let (journal, failed) = keeper;
    if let Some(error) = failed {
        return Err(error.into());
    }
    let totals = report.as_ref().map(|report| report.totals).unwrap_or_default();
    let kept = journal.map(|journal| journal.close(totals.span.map(|(_, last)| last))).transpose();
    let report = report?;
    let kept = kept?.map(|kept| kept.digests);
    if let Some(error) = writer.failed.into_inner().expect("writing does not panic") {
        return Err(error.into());
    }
    let start = fed.into_inner().expect("a time is a time").unwrap_or_else(|| stopwatch.elapsed());
    let torn = reader.into_inner().expect("one reader").torn().cloned();
    let (digest, streams) = kept.map(|kept| (kept.digest, kept.streams)).unwrap_or_default();
    Ok(RunSummary {
        region,
        rows: totals.rows,
        epochs: totals.epochs,
        first_epoch: totals.span.map(|(first, _)| first),
        last_epoch: totals.span.map(|(_, last)| last),
        digest,
        streams,
        fingerprint: crate::journal::fingerprint(),
        workers: engine.workers.max(1),
        resumed_from,
        unusable_checkpoints,
        start_seconds: start.as_secs_f64(),
        checkpoints: writer.written.into_inner(),
        checkpoint_bytes: writer.bytes.into_inner(),
        seconds: stopwatch.elapsed().as_secs_f64(),
        interrupted: report.interrupted || (!config.until_end && stop.load(Ordering::Relaxed)),
        torn,
        metrics: metrics.summary(totals.rows - before.rows),
        state_bytes: report.state_bytes,
    })
}

/// The log from behind the epoch the state was made up to, which must be in it.
fn open_behind(config: &RunConfig, resumed_from: Option<Epoch>) -> Result<LogReader, RunError> {
    let Some(epoch) = resumed_from else { return Ok(LogReader::open(&config.log)?) };
    let mut reader = LogReader::open_at(&config.log, epoch)?;
    match reader.next().transpose()? {
        Some(batch) if batch.epoch == epoch => Ok(reader),
        _ => Err(RunError::OtherLog { log: config.log.clone(), state: config.state.clone(), epoch }),
    }
}
