//! The process: workers, the feed and the seal. The one path from rows of a log to sealed outputs, whoever reads the log.
//!
//! A feeder thread reads epochs and hands each to every worker over a bounded channel; a worker feeds its share into
//! its dataflow, keeps several epochs in flight, and parks when there is nothing to do. Sealed epochs go to the
//! journal's thread. The run ends at the last epoch L of the log when all streams have sealed L: answers that would
//! take effect later stay pending, so the outputs of a prefix are a prefix of the outputs.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::Thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use gridflow_dataflows::region::{self, Leads, Pools};
use gridflow_inputs::log::{EpochBatch, LogError};
use gridflow_inputs::{Epoch, Input, Sequenced};
use gridflow_operators::seal::Sealed;
use gridflow_operators::sealed::{Clock, Feed};
use gridflow_operators::state::Registry;
use timely::dataflow::operators::{Input as _, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};
use timely::worker::Worker;

use crate::clock::Stopwatch;
use crate::pool;

/// Epochs a worker keeps in flight: enough that workers rarely wait for each other, and more than any lead needs.
const IN_FLIGHT: usize = 256;
/// Epochs read ahead of the workers.
const READ_AHEAD: usize = 64;
/// Sealed epochs on their way to the journal.
const JOURNAL_QUEUE: usize = 1_024;
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
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { workers: 1, cluster: None, pace: None, delay_seed: None }
    }
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
    /// Rows fed, without ticks.
    pub rows: u64,
    /// Epochs fed.
    pub epochs: u64,
    /// First and last epoch.
    pub span: Option<(Epoch, Epoch)>,
    /// Whether the run was asked to stop before the end of its input.
    pub interrupted: bool,
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
}

/// What the feeder tells a worker.
#[derive(Clone)]
enum Told {
    Epoch(Arc<EpochBatch>),
    End,
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

/// Runs the region over `epochs` and gives every sealed epoch to `take`, on a thread of its own.
///
/// `progress` is called with each epoch as it is fed. The run stops after the present epoch when `stop` becomes true.
///
/// # Errors
/// When the input is damaged or the workers cannot start.
pub fn run<I>(
    config: &EngineConfig,
    epochs: I,
    stop: &AtomicBool,
    mut progress: impl FnMut(Epoch) + Send,
    mut take: impl FnMut(Sealed) + Send,
) -> Result<RunReport, EngineError>
where
    I: Iterator<Item = Result<EpochBatch, LogError>> + Send,
{
    let workers = config.workers.max(1);
    let pool = |name| pool::start(name, workers, config.delay_seed).map_err(|error| EngineError::Start(error.to_string()));
    let pools = Pools { stability: pool("stability")?, economy: pool("economy")? };
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| bounded::<Told>(READ_AHEAD)).unzip();
    let (sealed_sender, sealed_receiver) = bounded::<Sealed>(JOURNAL_QUEUE);
    let wakers: Arc<Mutex<Vec<Thread>>> = Arc::default();

    std::thread::scope(|scope| {
        let journal = move || sealed_receiver.into_iter().for_each(&mut take);
        std::thread::Builder::new()
            .name("gridflow:journal".into())
            .spawn_scoped(scope, journal)
            .map_err(|error| EngineError::Start(error.to_string()))?;

        let receivers = Mutex::new(receivers.into_iter().map(Some).collect::<Vec<_>>());
        let registered = Arc::clone(&wakers);
        let guards = timely::execute(timely_config(config), move |worker| {
            #[allow(clippy::disallowed_methods, reason = "to be woken; no result depends on it")]
            let thread = std::thread::current();
            registered.lock().expect("no worker panics while it registers").push(thread);
            let local = worker.index() % workers;
            let receiver = receivers.lock().expect("no worker panics while it registers")[local].take().expect("one receiver a worker");
            work(worker, &receiver, &pools, &sealed_sender);
        })
        .map_err(EngineError::Start)?;

        let mut report = RunReport::default();
        let fed = feed(config, epochs, stop, &mut progress, &mut report, |told| {
            for sender in &senders {
                // Fails only when a worker is gone, which only a panic can cause, and that ends the process.
                let _ = sender.send(told.clone());
            }
            wakers.lock().expect("no worker panics while it registers").iter().for_each(Thread::unpark);
        });
        for result in guards.join() {
            result.map_err(EngineError::Start)?;
        }
        fed.map(|()| report)
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
    stop: &AtomicBool,
    progress: &mut impl FnMut(Epoch),
    report: &mut RunReport,
    tell: impl Fn(Told),
) -> Result<(), EngineError> {
    let watch = Stopwatch::start();
    let mut outcome = Ok(());
    for batch in epochs {
        if stop.load(Ordering::Relaxed) {
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
        let (first, _) = *report.span.get_or_insert((batch.epoch, batch.epoch));
        if let Some(pace) = config.pace {
            let due = Duration::try_from_secs_f64((batch.epoch - first) as f64 / 1_000.0 / pace).unwrap_or(Duration::MAX);
            wait_until(due, &watch, stop);
            if stop.load(Ordering::Relaxed) {
                report.interrupted = true;
                break;
            }
        }
        report.span = Some((first, batch.epoch));
        report.epochs += 1;
        report.rows += (batch.readings.len() + batch.rows.iter().filter(|(_, row)| !matches!(row, Input::Tick(_))).count()) as u64;
        progress(batch.epoch);
        tell(Told::Epoch(Arc::new(batch)));
    }
    tell(Told::End);
    outcome
}

/// Waits until the watch reads `due`, or until the run is asked to stop.
fn wait_until(due: Duration, watch: &Stopwatch, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let left = due.saturating_sub(watch.elapsed());
        if left.is_zero() {
            break;
        }
        std::thread::sleep(left.min(PACE));
    }
}

/// A worker's life: feed a share of each epoch, let the dataflow work, stop when all streams have sealed the last one.
fn work(worker: &mut Worker, receiver: &Receiver<Told>, pools: &Pools, sealed: &Sender<Sealed>) {
    let (index, peers) = (worker.index() as u64, worker.peers());
    let sealed = sealed.clone();
    let registry = Registry::new(worker.index(), peers, None);
    let progress = ProbeHandle::new();
    let mut input: InputHandle<Epoch, timely::container::CapacityContainerBuilder<Vec<Feed>>> = InputHandle::new_with_builder();
    let dataflow = worker.next_dataflow_index();
    worker.dataflow::<Epoch, _, _>(|scope| {
        let feed = scope.input_from(&mut input);
        region::build(feed, Leads::default(), pools, &registry, move |row| {
            // Fails only when the journal is gone, which only a panic can cause, and that ends the process.
            let _ = sealed.send(row);
        })
        .probe_with(&progress);
    });
    let mut in_flight: VecDeque<Epoch> = VecDeque::new();
    let mut last = None;
    let mut ended = false;
    loop {
        while in_flight.front().is_some_and(|epoch| !progress.less_equal(epoch)) {
            in_flight.pop_front();
        }
        if ended && last.is_none_or(|last| !progress.less_equal(&last)) {
            break;
        }
        if !ended && in_flight.len() < IN_FLIGHT {
            match receiver.try_recv() {
                Ok(Told::Epoch(batch)) => {
                    feed_share(&mut input, &batch, index, peers);
                    in_flight.push_back(batch.epoch);
                    last = Some(batch.epoch);
                    worker.step();
                    continue;
                }
                Ok(Told::End) | Err(TryRecvError::Disconnected) => {
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
}

/// Feeds this worker's share of an epoch, and what every worker needs.
fn feed_share(
    input: &mut InputHandle<Epoch, timely::container::CapacityContainerBuilder<Vec<Feed>>>,
    batch: &EpochBatch,
    index: u64,
    peers: usize,
) {
    let epoch = batch.epoch;
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
        if place % peers == index as usize {
            input.send(Feed::Row(Sequenced { epoch, sequence: *sequence, input: row.clone() }));
        }
    }
    input.send(Feed::Clock(Clock { worker: index, ticks }));
    // The epoch is complete: it need not wait for the next one to be sealed.
    input.advance_to(epoch + 1);
}
