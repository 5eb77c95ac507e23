//! The process: workers, the feed and the seal. The one path from rows of a log to sealed outputs, whoever reads the log.
//!
//! A feeder thread reads epochs and hands each to every worker over a bounded channel; a worker feeds its share into
//! its dataflow, keeps several epochs in flight, and parks when there is nothing to do. Sealed epochs go to the
//! outlet's thread, and so do operator states: a worker saves them once all streams have sealed the epoch, before it
//! feeds a later one. The run ends at the last epoch L of the log when all streams have sealed L: answers that would
//! take effect later stay pending, so the outputs of a prefix are a prefix of the outputs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::Thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use gridflow_dataflows::region::{self, Leads, Pools};
use gridflow_inputs::log::{EpochBatch, LogError};
use gridflow_inputs::{Epoch, Input, Sequenced};
use gridflow_operators::seal::Sealed;
use gridflow_operators::sealed::{Clock, Feed};
use gridflow_operators::state::{Registry, Saved, StateError};
use serde::{Deserialize, Serialize};
use timely::dataflow::operators::{Input as _, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};
use timely::worker::Worker;

use crate::agreement::Agreement;
use crate::clock::Stopwatch;
use crate::metrics::Metrics;
use crate::pool;

/// Epochs a worker keeps in flight: enough that workers rarely wait for each other, and more than any lead needs.
const IN_FLIGHT: usize = 256;
/// Rows a worker keeps in flight beyond its first epoch: under overload an epoch may hold a million.
const ROWS_IN_FLIGHT: usize = 4_000_000;
/// Epochs read ahead of the workers.
const READ_AHEAD: usize = 16;
/// Sealed epochs on their way to the outlet.
const OUTLET_QUEUE: usize = 1_024;
/// Longest the outlet waits before it is told that nothing came.
const IDLE: Duration = Duration::from_millis(100);
/// Longest a parked worker waits for a wake-up it might have missed.
const PARK: Duration = Duration::from_millis(20);
/// Longest a paced run sleeps before it looks whether it is to stop.
const PACE: Duration = Duration::from_millis(100);

/// How a run is made. Nothing here may change an output.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Worker threads of this process.
    pub workers: usize,
    /// This process and the addresses of all, when there are several.
    pub cluster: Option<Cluster>,
    /// Seconds of epoch time per second: `Some(1.0)` is real time, `None` as fast as possible.
    pub pace: Option<f64>,
    /// For tests: delays solves, seeded.
    pub delay_seed: Option<u64>,
    /// States of all operators are saved after so many epochs, and at the end.
    pub save_every: Option<u64>,
    /// What to go on from.
    pub resume: Option<Resume>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { workers: 1, cluster: None, pace: None, delay_seed: None, save_every: None, resume: None }
    }
}

/// Where a run goes on.
#[derive(Clone, Debug)]
pub struct Resume {
    /// States of all operators after an epoch; the input must begin behind it.
    pub saved: Arc<Saved>,
    /// What had been fed up to then.
    pub totals: Totals,
}

/// What has been fed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Rows, without ticks.
    pub rows: u64,
    /// Epochs.
    pub epochs: u64,
    /// First and last epoch.
    pub span: Option<(Epoch, Epoch)>,
    /// Of the last epoch before states were saved, see [`mark`].
    pub mark: u64,
}

/// One of several processes of a region.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Index of this process.
    pub process: usize,
    /// `host:port` of each process.
    pub addresses: Vec<String>,
}

/// What a run went through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunReport {
    /// What was fed, since the first epoch and over all restarts.
    pub totals: Totals,
    /// Whether the run was asked to stop before the end of its input.
    pub interrupted: bool,
    /// Bytes of state by operator, this process's workers together, after the last epoch.
    pub state_bytes: BTreeMap<String, u64>,
}

/// The states of one worker's operators after an epoch.
#[derive(Debug)]
pub struct Share {
    /// The epoch.
    pub epoch: Epoch,
    /// Index of the worker among those of all processes.
    pub worker: usize,
    /// What had been fed up to then.
    pub totals: Totals,
    /// States by operator.
    pub states: Vec<(&'static str, Vec<u8>)>,
    /// How long the worker fed nothing for it: until all streams had sealed the epoch, and the states were bytes.
    pub stood: Duration,
}

/// Where a run's results go, on a thread of its own.
pub trait Outlet: Send {
    /// Nothing came for a while; otherwise as [`sealed`](Self::sealed).
    fn idle(&mut self) -> bool {
        true
    }
    /// An epoch of a stream is sealed. When `false` comes back the run stops: its results can't be kept.
    fn sealed(&mut self, sealed: Sealed) -> bool;
    /// A worker's states are saved. The first worker's come behind all epochs sealed up to then and before any later one.
    fn saved(&mut self, _share: Share) -> bool {
        true
    }
}

/// Why a run did not reach the end of its input.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The input cannot be read further; all epochs before were processed.
    #[error(transparent)]
    Input(#[from] LogError),
    /// The system refused a thread or a socket.
    #[error("cannot start the workers: {0}")]
    Start(String),
    /// What was to be resumed from cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
}

/// What the feeder tells a worker.
#[derive(Clone)]
enum Told {
    Epoch(Arc<EpochBatch>),
    Save(Totals),
    End,
}

/// What workers tell the outlet's thread.
enum Produced {
    Sealed(Sealed),
    Saved(Share),
}

/// Makes a panic of any thread end the process with exit code 5: timely by itself would hang, and so would workers that
/// wait for a feeder that is gone.
pub fn stop_process_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        before(info);
        eprintln!("gridflow: the engine failed; the process stops so that nothing hangs. The log is intact: run again to continue.");
        std::process::exit(crate::EXIT_INTERNAL);
    }));
}

/// Runs the region over `epochs` and gives every sealed epoch to `outlet`, on a thread of its own.
///
/// `progress` is called with each epoch as it is fed. The run stops after the present epoch when `stop` becomes true.
///
/// # Errors
/// When the input is damaged, the workers cannot start, or saved states cannot be read.
pub fn run<I>(
    config: &EngineConfig,
    epochs: I,
    stop: &AtomicBool,
    mut progress: impl FnMut(&EpochBatch) + Send,
    outlet: &mut dyn Outlet,
    metrics: &Metrics,
) -> Result<RunReport, EngineError>
where
    I: Iterator<Item = Result<EpochBatch, LogError>> + Send,
{
    let workers = config.workers.max(1);
    let pool = |name| pool::start(name, workers, config.delay_seed).map_err(|error| EngineError::Start(error.to_string()));
    let pools =
        Pools { stability: pool("stability")?, security: pool("security")?, economy: pool("economy")?, blocks: pool::blocks(workers) };
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| bounded::<Told>(READ_AHEAD)).unzip();
    let (produced_sender, produced_receiver) = bounded::<Produced>(OUTLET_QUEUE);
    let wakers: Arc<Mutex<Vec<Thread>>> = Arc::default();
    let refused = AtomicBool::new(false);
    let gone = AtomicBool::new(false);

    std::thread::scope(|scope| {
        let refused = &refused;
        let take = move || {
            loop {
                let kept = match produced_receiver.recv_timeout(IDLE) {
                    Err(RecvTimeoutError::Disconnected) => break,
                    Err(RecvTimeoutError::Timeout) => outlet.idle(),
                    Ok(Produced::Sealed(sealed)) => {
                        let (stream, epoch) = (sealed.stream, sealed.epoch);
                        let kept = outlet.sealed(sealed);
                        metrics.sealed(stream, epoch);
                        kept
                    }
                    Ok(Produced::Saved(share)) => {
                        metrics.stood(share.stood);
                        outlet.saved(share)
                    }
                };
                if !kept {
                    refused.store(true, Ordering::Relaxed);
                }
            }
        };
        std::thread::Builder::new()
            .name("gridflow:outlet".into())
            .spawn_scoped(scope, take)
            .map_err(|error| EngineError::Start(error.to_string()))?;

        let receivers = Mutex::new(receivers.into_iter().map(Some).collect::<Vec<_>>());
        let registered = Arc::clone(&wakers);
        let saved = config.resume.as_ref().map(|resume| Arc::clone(&resume.saved));
        let guards = timely::execute(timely_config(config), move |worker| {
            #[allow(clippy::disallowed_methods, reason = "to be woken; no result depends on it")]
            let thread = std::thread::current();
            registered.lock().expect("no worker panics while it registers").push(thread);
            let local = worker.index() % workers;
            let receiver = receivers.lock().expect("no worker panics while it registers")[local].take().expect("one receiver a worker");
            work(worker, &receiver, &pools, &produced_sender, saved.clone())
        })
        .map_err(EngineError::Start)?;

        let mut report =
            RunReport { totals: config.resume.as_ref().map_or_else(Totals::default, |resume| resume.totals), ..RunReport::default() };
        let stops = || {
            let (asked, refused) = (stop.load(Ordering::Relaxed), refused.load(Ordering::Relaxed));
            if config.cluster.is_some() && (asked || refused) {
                leave_cluster(refused);
            }
            asked || refused || gone.load(Ordering::Relaxed)
        };
        let fed = feed(config, epochs, &stops, &mut progress, &mut report, metrics, |told| {
            for sender in &senders {
                // Fails only when a worker is gone: all of them, for they could not load their states. (One that
                // panics ends the process.)
                if sender.send(told.clone()).is_err() {
                    gone.store(true, Ordering::Relaxed);
                }
            }
            wakers.lock().expect("no worker panics while it registers").iter().for_each(Thread::unpark);
        });
        report.interrupted &= !refused.load(Ordering::Relaxed);
        drop(senders);
        let mut failed = None;
        for result in guards.join() {
            match result.map_err(EngineError::Start)? {
                Ok(sizes) => sizes
                    .into_iter()
                    .for_each(|(operator, bytes)| *report.state_bytes.entry(operator.to_owned()).or_default() += bytes as u64),
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) => Err(error.into()),
            None => fed.map(|()| report),
        }
    })
}

fn timely_config(config: &EngineConfig) -> timely::Config {
    let threads = config.workers.max(1);
    let communication = match &config.cluster {
        Some(Cluster { process, addresses }) => timely::CommunicationConfig::Cluster {
            threads,
            process: *process,
            addresses: addresses.clone(),
            report: false,
            zerocopy: false,
        },
        None if threads == 1 => timely::CommunicationConfig::Thread,
        None => timely::CommunicationConfig::Process(threads),
    };
    timely::Config { communication, worker: timely::WorkerConfig::default() }
}

/// Reads epochs and tells the workers, at the pace asked for; always ends with the end of the input.
fn feed(
    config: &EngineConfig,
    epochs: impl Iterator<Item = Result<EpochBatch, LogError>>,
    stops: &dyn Fn() -> bool,
    progress: &mut impl FnMut(&EpochBatch),
    report: &mut RunReport,
    metrics: &Metrics,
    tell: impl Fn(Told),
) -> Result<(), EngineError> {
    let watch = Stopwatch::start();
    let mut outcome = Ok(());
    let (mut first, mut unsaved, mut newest) = (None, 0, None);
    for batch in epochs {
        if stops() {
            report.interrupted = true;
            break;
        }
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                outcome = Err(error.into());
                break;
            }
        };
        let first = *first.get_or_insert(batch.epoch);
        let mut arrived = watch.elapsed();
        if let Some(pace) = config.pace {
            let due = Duration::try_from_secs_f64((batch.epoch - first) as f64 / 1_000.0 / pace).unwrap_or(Duration::MAX);
            wait_until(due, &watch, stops);
            if stops() {
                report.interrupted = true;
                break;
            }
            // What was due earlier and had to wait has waited: the load is open.
            arrived = due;
        }
        metrics.fed(batch.epoch, watch.elapsed().saturating_sub(arrived));
        let totals = &mut report.totals;
        totals.span = Some((totals.span.map_or(batch.epoch, |(first, _)| first), batch.epoch));
        totals.epochs += 1;
        totals.rows += (batch.readings.len() + batch.rows.iter().filter(|(_, row)| !matches!(row, Input::Tick(_))).count()) as u64;
        progress(&batch);
        let batch = Arc::new(batch);
        tell(Told::Epoch(Arc::clone(&batch)));
        unsaved += 1;
        newest = Some(batch);
        if config.save_every.is_some_and(|every| unsaved >= every) {
            tell(Told::Save(marked(totals, newest.as_deref())));
            unsaved = 0;
        }
    }
    if config.save_every.is_some() && unsaved > 0 {
        tell(Told::Save(marked(&mut report.totals, newest.as_deref())));
    }
    tell(Told::End);
    outcome
}

/// Ends this process, one of several, when it was asked to stop or its results can't be kept: the others have fed other
/// epochs and would wait for it; they stop with it and go on with it.
fn leave_cluster(refused: bool) -> ! {
    let (why, code) = if refused { ("its results cannot be kept", crate::EXIT_INTERNAL) } else { ("stopped", crate::EXIT_INTERRUPTED) };
    eprintln!("gridflow: {why}; the region's other processes stop too. Start all again to go on.");
    std::process::exit(code);
}

/// What was fed, with the mark of the newest epoch.
fn marked(totals: &mut Totals, newest: Option<&EpochBatch>) -> Totals {
    totals.mark = newest.map_or(totals.mark, mark);
    *totals
}

/// What tells an epoch of a log from one of another log: a hash of its rows.
#[must_use]
pub fn mark(batch: &EpochBatch) -> u64 {
    let mut bytes = batch.epoch.to_le_bytes().to_vec();
    batch.iter().for_each(|(_, row)| row.write(&mut bytes));
    u64::from_le_bytes(blake3::hash(&bytes).as_bytes()[..8].try_into().expect("a hash has 32 bytes"))
}

/// Waits until the watch reads `due`, or until the run is asked to stop.
fn wait_until(due: Duration, watch: &Stopwatch, stops: &dyn Fn() -> bool) {
    while !stops() {
        let left = due.saturating_sub(watch.elapsed());
        if left.is_zero() {
            break;
        }
        std::thread::sleep(left.min(PACE));
    }
}

/// A worker's life: feed a share of each epoch, let the dataflow work, save states when told, stop when all streams have
/// sealed the last epoch. Gives the size of its states at the end.
fn work(
    worker: &mut Worker,
    receiver: &Receiver<Told>,
    pools: &Pools,
    produced: &Sender<Produced>,
    saved: Option<Arc<Saved>>,
) -> Result<Vec<(&'static str, usize)>, StateError> {
    let (index, peers) = (worker.index(), worker.peers());
    let resumed = saved.as_ref().map(|saved| saved.epoch);
    let mut ends = Agreement::start(worker, resumed);
    let registry = Registry::new(index, peers, saved);
    let progress = ProbeHandle::new();
    let (mut input, mut batches): (Entrance<Feed>, Entrance<Arc<EpochBatch>>) =
        (Entrance::new_with_builder(), Entrance::new_with_builder());
    let dataflow = worker.next_dataflow_index();
    let sealed = produced.clone();
    worker.dataflow::<Epoch, _, _>(|scope| {
        let (feed, batches) = (scope.input_from(&mut input), scope.input_from(&mut batches));
        region::build(feed, batches, Leads::default(), pools, &registry, move |row| {
            // Fails only when the outlet is gone, which only a panic can cause, and that ends the process.
            let _ = sealed.send(Produced::Sealed(row));
        })
        .probe_with(&progress);
    });
    if let Some(error) = registry.failed() {
        worker.drop_dataflow(dataflow);
        return Err(error);
    }
    // What operators told again belongs to the epoch resumed from; nothing more will.
    let next = resumed.map_or(0, |epoch| epoch + 1);
    input.advance_to(next);
    batches.advance_to(next);
    let mut in_flight: VecDeque<(Epoch, usize)> = VecDeque::new();
    let mut rows_in_flight = 0;
    let mut last = resumed;
    let mut saving: Option<(Totals, Stopwatch)> = None;
    let mut ended = false;
    loop {
        while let Some((_, rows)) = in_flight.front().copied().filter(|(epoch, _)| !progress.less_equal(epoch)) {
            rows_in_flight -= rows;
            in_flight.pop_front();
        }
        ends.check(last);
        let settled = last.is_none_or(|last| !progress.less_equal(&last));
        if let Some((totals, since)) = saving.take_if(|_| settled) {
            // No worker can have been shown a later epoch: that needs this one to have gone on.
            let states = registry.save();
            let share = Share { epoch: last.unwrap_or(0), worker: index, totals, states, stood: since.elapsed() };
            let _ = produced.send(Produced::Saved(share));
        }
        if ended && settled && saving.is_none() {
            break;
        }
        let room = in_flight.len() < IN_FLIGHT && (rows_in_flight < ROWS_IN_FLIGHT || in_flight.is_empty());
        if !ended && saving.is_none() && room {
            match receiver.try_recv() {
                Ok(Told::Epoch(batch)) => {
                    feed_share(&mut input, &mut batches, &batch, index as u64, peers);
                    in_flight.push_back((batch.epoch, batch.len()));
                    rows_in_flight += batch.len();
                    last = Some(batch.epoch);
                    worker.step();
                    continue;
                }
                Ok(Told::Save(totals)) => {
                    saving = Some((totals, Stopwatch::start()));
                    continue;
                }
                Ok(Told::End) | Err(TryRecvError::Disconnected) => {
                    ends.end(last);
                    ended = true;
                    continue;
                }
                Err(TryRecvError::Empty) => {}
            }
        }
        worker.step_or_park(Some(PARK));
    }
    // What is pending beyond the last epoch must not be emitted: the dataflow goes before its input closes.
    worker.drop_dataflow(dataflow);
    Ok(registry.sizes())
}

/// Where rows enter a worker's dataflow.
type Entrance<D> = InputHandle<Epoch, timely::container::CapacityContainerBuilder<Vec<D>>>;

/// Feeds the batch as it is, which telemetry reads, and of all other rows this worker's share and what every worker needs.
fn feed_share(input: &mut Entrance<Feed>, batches: &mut Entrance<Arc<EpochBatch>>, batch: &Arc<EpochBatch>, index: u64, peers: usize) {
    let epoch = batch.epoch;
    batches.advance_to(epoch);
    batches.send(Arc::clone(batch));
    batches.advance_to(epoch + 1);
    input.advance_to(epoch);
    let mut ticks = Vec::new();
    for (place, (sequence, row)) in batch.rows.iter().enumerate() {
        match row {
            Input::Tick(tick) => ticks.push(tick.clone()),
            Input::Region(_) | Input::Generator(_) => {
                input.send(Feed::Everywhere(index, Sequenced { epoch, sequence: *sequence, input: row.clone() }));
            }
            _ => {}
        }
        // Readings and sensors are telemetry's alone.
        if place % peers == index as usize && !matches!(row, Input::Sensor(_)) {
            input.send(Feed::Row(Sequenced { epoch, sequence: *sequence, input: row.clone() }));
        }
    }
    input.send(Feed::Clock(Clock { worker: index, ticks }));
    // The epoch is complete: it need not wait for the next one to be sealed.
    input.advance_to(epoch + 1);
}
