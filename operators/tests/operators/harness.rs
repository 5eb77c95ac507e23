//! Runs an operator over given epochs as the engine does: every worker feeds its share, several epochs are in flight,
//! and the dataflow goes before its input closes, so that nothing beyond the last epoch is told.
//!
//! Invariant: what is collected at an epoch is complete, because it is taken only once the frontier has passed.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gridflow_inputs::Epoch;
use gridflow_inputs::ids::{FeederId, SensorId, SourceId, ZoneId};
use gridflow_inputs::input::{Quantity, Sensor};
use gridflow_inputs::network::{EquipmentKind, Side};
use gridflow_operators::sealed::Rows;
use timely::WorkerConfig;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::{Input as _, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};

/// A sensor of a quantity of a piece of equipment that reports every five seconds, without limits.
pub(crate) fn sensor(id: u32, quantity: Quantity, (element, element_id): (EquipmentKind, u32), side: Side) -> Sensor {
    Sensor {
        id: SensorId(id),
        valid_from_ms: 0,
        quantity,
        element,
        element_id,
        side,
        sigma: 1,
        range_min: i64::MIN,
        range_max: i64::MAX,
        feeder: FeederId(0),
        zone: ZoneId(0),
        period_ms: 5_000,
        source: SourceId(0),
    }
}

/// What was told at each epoch, sorted.
pub(crate) type Told<O> = BTreeMap<Epoch, Vec<O>>;

/// How the rows of an epoch are shared out: `share(worker, workers, epoch's index)`.
pub(crate) trait Share<I>: Fn(usize, usize, usize) -> Vec<I> + Send + Sync + 'static {}
impl<I, F: Fn(usize, usize, usize) -> Vec<I> + Send + Sync + 'static> Share<I> for F {}

/// The part of `rows` one of `workers` feeds at an epoch, in an order unlike that of the log.
pub(crate) fn part<R: Clone>(rows: &[R], worker: usize, workers: usize, epoch: usize) -> Vec<R> {
    let mine = |place: &usize| (place * 7 + epoch) % workers == worker;
    (0..rows.len()).rev().filter(mine).map(|place| rows[place].clone()).collect()
}

/// Runs what `build` builds on `workers` workers over `epochs`, and gives what it told up to and with the last of them.
pub(crate) fn run<I, O, B>(workers: usize, epochs: &[Epoch], share: impl Share<I>, build: B) -> Told<O>
where
    I: Clone + 'static,
    O: Ord + Clone + Send + 'static,
    B: for<'scope> Fn(Rows<'scope, I>) -> Rows<'scope, O> + Send + Sync + 'static,
{
    let collected: Arc<Mutex<Told<O>>> = Arc::default();
    let (epochs, told) = (epochs.to_vec(), Arc::clone(&collected));
    let communication = if workers == 1 { timely::CommunicationConfig::Thread } else { timely::CommunicationConfig::Process(workers) };
    let guards = timely::execute(timely::Config { communication, worker: WorkerConfig::default() }, move |worker| {
        let (index, peers, told) = (worker.index(), worker.peers(), Arc::clone(&told));
        let _alone = EndsAll(peers > 1);
        let mut input: InputHandle<Epoch, CapacityContainerBuilder<Vec<I>>> = InputHandle::new_with_builder();
        let progress = ProbeHandle::new();
        let dataflow = worker.next_dataflow_index();
        worker.dataflow::<Epoch, _, _>(|scope| {
            let rows = build(scope.input_from(&mut input));
            rows.unary_frontier::<CapacityContainerBuilder<Vec<()>>, _, _, _>(Pipeline, "Collect", |capability, _| {
                drop(capability);
                let mut held: Told<O> = BTreeMap::new();
                move |(input, frontier), _output| {
                    input.for_each_time(|time, batches| {
                        held.entry(*time.time()).or_default().extend(batches.flat_map(|batch| batch.drain(..)));
                    });
                    let frontier = frontier.frontier();
                    while let Some(entry) = held.first_entry().filter(|entry| !frontier.less_equal(entry.key())) {
                        let (epoch, rows) = entry.remove_entry();
                        told.lock().expect("no worker panics while it collects").entry(epoch).or_default().extend(rows);
                    }
                }
            })
            .probe_with(&progress);
        });
        for (place, epoch) in epochs.iter().enumerate() {
            input.advance_to(*epoch);
            for row in share(index, peers, place) {
                input.send(row);
            }
            // Not `flush`: an exchange right behind the input would keep the rows back until the next ones come.
            input.advance_to(epoch + 1);
            // Some epochs pass before the next is fed, some pile up.
            for _ in 0..(place * 5 + index) % 3 {
                worker.step();
            }
        }
        let Some(last) = epochs.last() else { return };
        while progress.less_equal(last) {
            worker.step_or_park(Some(Duration::from_millis(5)));
        }
        worker.drop_dataflow(dataflow);
    })
    .expect("the workers start");
    for worker in guards.join() {
        worker.expect("no worker panics");
    }
    let mut collected = std::mem::take(&mut *collected.lock().expect("all workers are done"));
    collected.values_mut().for_each(|rows| rows.sort());
    collected
}

/// A multiset of rows as the sum of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State<D>(pub BTreeMap<D, i64>);

impl<D: Ord> Default for State<D> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<D: Ord + Clone> State<D> {
    /// Each of `rows` once.
    pub(crate) fn of(rows: impl IntoIterator<Item = D>) -> Self {
        let mut state = Self::default();
        rows.into_iter().for_each(|row| state.add(row, 1));
        state
    }

    /// Adds a change; rows that sum to nothing are not there.
    pub(crate) fn add(&mut self, row: D, change: i64) {
        let count = self.0.entry(row.clone()).or_insert(0);
        *count += change;
        if *count == 0 {
            self.0.remove(&row);
        }
    }
}

/// What an epoch told, as changes without those that cancel.
pub(crate) fn consolidated<D: Ord + Clone>(changes: impl IntoIterator<Item = (D, i64)>) -> Vec<(D, i64)> {
    let mut state = State::default();
    changes.into_iter().for_each(|(row, change)| state.add(row, change));
    state.0.into_iter().collect()
}

#[test]
fn the_harness_tells_nothing_beyond_the_last_epoch() {
    use gridflow_operators::solver::{Answer, SolverInput, inline_pool, solver};
    let share = |worker: usize, _: usize, _: usize| {
        if worker == 0 { vec![SolverInput::Row { key: 1, row: 5u64, change: 1 }, SolverInput::Trigger { key: 1 }] } else { Vec::new() }
    };
    let told = run(1, &[1_000, 2_000], share, |rows| {
        let count =
            Arc::new(|problem: gridflow_operators::solver::Problem<u64, ()>| Answer { previous: (), rows: vec![problem.rows.len()] });
        solver(rows, "Count", &gridflow_operators::state::Registry::default(), 1_500, inline_pool(), count).inner
    });
    assert_eq!(told, BTreeMap::new());
}

/// A worker that panics leaves the others waiting for ever: with it the tests end, as the engine does.
struct EndsAll(bool);

impl Drop for EndsAll {
    fn drop(&mut self) {
        if self.0 && std::thread::panicking() {
            // Past the capture of a test's output, which is lost with it.
            let _ = writeln!(std::io::stderr(), "a worker panicked: --nocapture shows in which test, and why");
            std::process::exit(101);
        }
    }
}
