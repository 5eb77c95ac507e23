//! A run that lasts: follows a log that another process writes, keeps outputs and checkpoints in a state directory, and
//! goes on from there when started again, however it ended.
//!
//! `STATEDIR/out` is the output log, `STATEDIR/checkpoints` what to go on from, `STATEDIR/lock-N-T` the right of process N
//! to write there in leadership term T. A standby shares the state directory with its leader and writes nothing there
//! until it leads. Outputs are the same bytes as those of a run that never stopped: operator states are loaded, the log
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
use gridflow_inputs::log::inbox::InboxError;
use gridflow_inputs::log::{EpochBatch, LogError, LogReader, Terms, Torn};
use gridflow_operators::seal::Sealed;
use serde::Serialize;

use crate::checkpoint::{self, CheckpointError, Part, Unusable};
use crate::clock::Stopwatch;
use crate::engine::{self, EngineConfig, EngineError, Outlet, Resume, Share, Totals};
use crate::failpoint;
use crate::follower::Follower;
use crate::journal::{Difference, Journal, JournalError, JournalMark, StreamSummary};
use crate::leadership::{Cause, Leadership};
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
pub(crate) struct StateLock(#[allow(dead_code, reason = "held, not read")] File);

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
    /// Raised when results can't be kept: no more is read then.
    halted: &'a AtomicBool,
    /// Why reading ended early.
    failed: &'a Mutex<Option<RunError>>,
}

impl Iterator for Tail<'_> {
    type Item = Result<EpochBatch, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let next = self.reader.lock().expect("one reader").next();
            if let Some(Ok(batch)) = &next
                && let Err(error) = self.leadership.see(batch)
            {
                *self.failed.lock().expect("keeping an error does not panic") = Some(error);
                return None;
            }
            if next.is_some() || self.stop.load(Ordering::Relaxed) || self.halted.load(Ordering::Relaxed) {
                return next;
            }
            if let Err(error) = self.leadership.at_end() {
                *self.failed.lock().expect("keeping an error does not panic") = Some(error);
                return None;
            }
            if self.until_end {
                return None;
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

/// What a process does with outputs.
enum Role {
    /// Writes them.
    Leads(Journal),
    /// Compares them.
    Follows(Follower),
    /// Has none: they all go to the first process.
    Helps,
}

/// Keeps outputs, or compares them, and puts checkpoints together.
struct Keeper<'a> {
    stopwatch: &'a Stopwatch,
    first_sealed: Option<Duration>,
    watch: &'a mut dyn Watch,
    region: &'a str,
    process: (usize, usize),
    workers: usize,
    out: &'a Path,
    stop: &'a AtomicBool,
    role: Role,
    leadership: &'a Leadership,
    took_over: Option<(StateLock, Cause, u64)>,
    compared: u64,
    mark: Option<JournalMark>,
    shares: Vec<Share>,
    parts: Option<Sender<Part>>,
    writer: &'a Writer,
    halted: &'a AtomicBool,
    failed: &'a Mutex<Option<RunError>>,
}

impl Keeper<'_> {
    /// Keeps the first error; the run then stops.
    fn check(&self, result: Result<(), RunError>) -> bool {
        let Err(error) = result else { return true };
        self.failed.lock().expect("keeping an error does not panic").get_or_insert(error);
        false
    }

    /// Begins to write, when a term was won since.
    fn promote(&mut self) -> Result<(), RunError> {
        let Some((terms, lock, cause)) = self.leadership.won() else { return Ok(()) };
        if let Role::Follows(follower) = std::mem::replace(&mut self.role, Role::Helps) {
            self.compared = follower.equal();
            self.role = Role::Leads(follower.lead(terms.newest())?);
            self.took_over = Some((lock, cause, terms.newest()));
        }
        Ok(())
    }

    fn differs(&self, difference: Option<Difference>) -> Result<(), RunError> {
        let Some(difference) = difference else { return Ok(()) };
        self.leadership.differs(&difference)?;
        Err(RunError::Differs(difference))
    }

    fn keep(&mut self, sealed: Sealed) -> Result<(), RunError> {
        self.promote()?;
        match &mut self.role {
            Role::Helps => {}
            Role::Leads(journal) => {
                if !self.leadership.holds()? {
                    return Err(RunError::Superseded);
                }
                let log = self.out.join(sealed.stream.name());
                journal.take(sealed);
                failpoint::pass("output-appended");
                if failpoint::due("output-torn") {
                    tear(&log);
                }
            }
            Role::Follows(follower) => {
                let difference = follower.take(sealed)?;
                self.differs(difference)?;
                self.wait_for_leader()?;
            }
        }
        Ok(())
    }

    /// A standby that has kept much waits until its leader has written some of it, or until it leads itself.
    fn wait_for_leader(&mut self) -> Result<(), RunError> {
        while let Role::Follows(follower) = &mut self.role {
            if !follower.is_full() || self.stop.load(Ordering::Relaxed) {
                break;
            }
            std::thread::sleep(POLL);
            let difference = follower.catch_up()?;
            self.differs(difference)?;
            self.promote()?;
        }
        Ok(())
    }
}

impl Outlet for Keeper<'_> {
    fn sealed(&mut self, sealed: Sealed) -> bool {
        let kept = self.take(sealed);
        self.halted.fetch_or(!kept, Ordering::Relaxed);
        kept
    }

    fn saved(&mut self, share: Share) -> bool {
        let kept = self.gather(share);
        self.halted.fetch_or(!kept, Ordering::Relaxed);
        kept
    }
}

impl Keeper<'_> {
    fn take(&mut self, sealed: Sealed) -> bool {
        self.first_sealed.get_or_insert_with(|| self.stopwatch.elapsed());
        self.watch.sealed(&sealed);
        if self.failed.lock().expect("keeping an error does not panic").is_some() {
            // The run is about to stop: what comes until then is made again by the next.
            return false;
        }
        let kept = self.keep(sealed);
        self.check(kept) && !matches!(&self.role, Role::Leads(journal) if !journal.is_sound())
    }

    /// Puts a checkpoint together when the shares of all workers are there.
    fn gather(&mut self, share: Share) -> bool {
        if self.failed.lock().expect("keeping an error does not panic").is_some() {
            return false;
        }
        if let (0, Role::Leads(journal)) = (share.worker, &mut self.role) {
            match journal.mark() {
                Ok(mark) => self.mark = Some(mark),
                Err(error) => return self.check(Err(error.into())),
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
            // A standby has written nothing that a checkpoint could stand for.
            if let (Some(parts), Role::Leads(_) | Role::Helps) = (&self.parts, &self.role) {
                // Fails only when the writer is gone, which only a panic can cause, and that ends the process.
                let _ = parts.send(part);
            }
        }
        self.writer.failed.lock().expect("writing does not panic").is_none()
    }
}

/// Dies with the newest epoch of a log half written.
fn tear(log: &Path) -> ! {
    let segments = std::fs::read_dir(log).into_iter().flatten().flatten().map(|entry| entry.path());
    let newest = segments.filter(|path| path.extension().is_some_and(|extension| extension == "gfl")).max();
    if let Some(file) = newest.and_then(|path| File::options().write(true).open(path).ok()) {
        let _ = file.metadata().and_then(|metadata| file.set_len(metadata.len() - 9));
    }
    std::process::abort();
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
    let (found, unusable_checkpoints) = checkpoint::newest(&checkpoints, &region)?;
    let resumed_from = found.as_ref().map(|found| found.saved.epoch);
    let reader = open_behind(config, resumed_from)?;
    let mark = found.as_ref().map(|found| &found.mark);
    let role = match process.0 {
        0 if config.standby => Role::Follows(Follower::new(&region, &out, mark)),
        0 => Role::Leads(Journal::resume(&region, &out, term, mark)?),
        _ => Role::Helps,
    };
    let leads = matches!(role, Role::Leads(_)).then_some(terms);
    let leadership = Leadership::new(config.log.clone(), config.state.clone(), config.name.clone(), config.lease_ms, leads);
    let before = found.as_ref().map_or_else(Totals::default, |found| found.totals);
    let engine = EngineConfig {
        save_every: Some(config.checkpoint_every.max(1)),
        resume: found.map(|found| Resume { saved: Arc::new(found.saved), totals: found.totals }),
        ..config.engine.clone()
    };

    let reader = Mutex::new(reader);
    let failed: Mutex<Option<RunError>> = Mutex::default();
    let halted = AtomicBool::new(false);
    let tail = Tail { reader: &reader, until_end: config.until_end, stop, leadership: &leadership, halted: &halted, failed: &failed };
    let writer = Writer {
        dir: checkpoints,
        first_process: process.0 == 0,
        written: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        failed: Mutex::new(None),
    };
    let metrics = Metrics::start();
    let fed = Mutex::new(None);
    let (report, role, took_over, compared, first_sealed) = std::thread::scope(|scope| {
        let spawn = |name: &str| std::thread::Builder::new().name(format!("gridflow:{name}"));
        let refused = |error: std::io::Error| EngineError::Start(error.to_string());
        // One checkpoint may be waiting while another is written; more would mean that the disk cannot keep up.
        let (parts, to_write) = bounded::<Part>(1);
        let (writer, leadership, failed) = (&writer, &leadership, &failed);
        spawn("checkpoint").spawn_scoped(scope, move || to_write.into_iter().for_each(|part| writer.write(&part))).map_err(refused)?;
        let mut keeper = Keeper {
            stopwatch: &stopwatch,
            first_sealed: None,
            watch,
            region: &region,
            process,
            workers: engine.workers.max(1),
            out: &out,
            stop,
            role,
            leadership,
            took_over: None,
            compared: 0,
            mark: None,
            shares: Vec::new(),
            parts: Some(parts),
            writer,
            halted: &halted,
            failed,
        };
        let first_fed = |_: &EpochBatch| {
            fed.lock().expect("a time is a time").get_or_insert_with(|| stopwatch.elapsed());
        };
        let report = engine::run(&engine, tail, stop, first_fed, &mut keeper, &metrics);
        let promoted = keeper.promote();
        keeper.check(promoted);
        if let Role::Follows(follower) = &mut keeper.role {
            let compared = follower.catch_up().map_err(RunError::from);
            keeper.compared = follower.equal();
            let agreed = compared.and_then(|difference| keeper.differs(difference));
            keeper.check(agreed);
        }
        keeper.parts = None;
        Ok::<_, RunError>((report, keeper.role, keeper.took_over, keeper.compared, keeper.first_sealed))
    })?;
    let handed_over = match failed.into_inner().expect("keeping an error does not panic") {
        // What was left to write is the later term's to write now.
        Some(RunError::Superseded) if leadership.was_ordered()? => true,
        Some(error) => return Err(error),
        None => false,
    };
    let totals = report.as_ref().map(|report| report.totals).unwrap_or_default();
    let last_epoch = totals.span.map(|(_, last)| last);
    let leads = matches!(role, Role::Leads(_));
    let kept = match role {
        Role::Leads(journal) if !handed_over => Some(journal.close(last_epoch).map(|kept| kept.digests)),
        Role::Leads(_) | Role::Helps => None,
        Role::Follows(follower) => Some(Ok(follower.digests(last_epoch))),
    };
    let report = report?;
    let (digest, streams) = kept.transpose()?.map(|digests| (digests.digest, digests.streams)).unwrap_or_default();
    if let Some(error) = writer.failed.into_inner().expect("writing does not panic") {
        return Err(error.into());
    }
    let start = fed.into_inner().expect("a time is a time").unwrap_or_else(|| stopwatch.elapsed());
    let torn = reader.into_inner().expect("one reader").torn().cloned();
    Ok(RunSummary {
        region,
        rows: totals.rows,
        epochs: totals.epochs,
        first_epoch: totals.span.map(|(first, _)| first),
        last_epoch,
        digest,
        streams,
        fingerprint: crate::journal::fingerprint(),
        workers: engine.workers.max(1),
        resumed_from,
        unusable_checkpoints,
        start_seconds: start.as_secs_f64(),
        first_sealed_seconds: first_sealed.map(|time| time.as_secs_f64()),
        term: leads.then(|| took_over.as_ref().map_or(term, |(_, _, term)| *term)),
        took_over: took_over.map(|(_, cause, _)| cause),
        handed_over,
        compared,
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
