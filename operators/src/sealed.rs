//! One operator shape for all state that is not a collection: rows are held until their epoch is sealed, then
//! shown to the logic once, sorted, so that the order of arrival and the number of workers cannot matter.
//!
//! Invariant: `Logic::epoch` is called with strictly increasing epochs on each worker, and only with rows routed there.

use std::collections::BTreeMap;

use differential_dataflow::VecCollection;
use gridflow_inputs::Epoch;
use timely::ExchangeData;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, ParallelizationContract, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;

use crate::state::{Registry, State};

/// Room for so many results is kept from epoch to epoch: an hour that ends tells ten times as many, and their room is not held for a day.
const KEPT: usize = 1 << 16;

/// Rows, each at the epoch it belongs to.
pub type Rows<'scope, D> = StreamVec<'scope, Epoch, D>;

/// Rows with a change of their multiplicity: a differential collection.
pub type Changes<'scope, D> = VecCollection<'scope, Epoch, D, i64>;

/// What a sealed operator does with its rows. Its state is all it remembers.
pub trait Logic: State + 'static {
    /// What it is told.
    type Row;
    /// What it tells.
    type Result;

    /// Takes the rows of a sealed epoch and tells what comes of them. The rows are in ascending order under [`sealed`], as they
    /// came under [`sealed_at_home`].
    fn epoch(&mut self, epoch: Epoch, rows: &mut Vec<Self::Row>, out: &mut Vec<Self::Result>);

    /// Tells again what collections downstream must hold, after the state was loaded.
    fn hold(&self, _out: &mut Vec<Self::Result>) {}
}

/// Shows each sealed epoch to `logic` once: the epoch, its rows in ascending order, and where results go.
///
/// Rows with equal `route` meet on one worker. The logic is not called for an epoch without rows.
///
/// ```
/// use gridflow_operators::sealed::{Logic, sealed};
/// use gridflow_operators::state::{Registry, State, StateError, decode, encode};
/// use timely::dataflow::operators::{Capture, ToStream, capture::Extract};
///
/// /// Adds up all rows there ever were.
/// struct Sum(u64);
///
/// impl State for Sum {
///     fn save(&self) -> Vec<u8> {
///         encode(&self.0)
///     }
///     fn load(&mut self, saved: &[u8], mine: &dyn Fn(u64) -> bool) -> Result<(), StateError> {
///         self.0 += if mine(0) { decode(saved)? } else { 0 };
///         Ok(())
///     }
/// }
///
/// impl Logic for Sum {
///     type Row = u64;
///     type Result = (u64, u64);
///     fn epoch(&mut self, epoch: u64, rows: &mut Vec<u64>, out: &mut Vec<(u64, u64)>) {
///         assert!(rows.is_sorted());
///         self.0 += rows.drain(..).sum::<u64>();
///         out.push((epoch, self.0));
///     }
/// }
///
/// let sums = timely::example(|scope| {
///     let rows = vec![3u64, 1, 2].to_stream(scope).container::<Vec<_>>();
///     // The only epoch here is 0; every row goes to one worker.
///     sealed(rows, "Sums", &Registry::default(), |_| 0, Sum(0)).capture()
/// });
/// assert_eq!(sums.extract(), [(0, vec![(0, 6)])]);
/// ```
pub fn sealed<'scope, L>(
    rows: Rows<'scope, L::Row>,
    name: &'static str,
    registry: &Registry,
    route: impl Fn(&L::Row) -> u64 + 'static,
    logic: L,
) -> Rows<'scope, L::Result>
where
    L: Logic,
    L::Row: ExchangeData + Ord,
    L::Result: Clone + 'static,
{
    let pact = Exchange::new(move |row: &L::Row| route(row));
    sealed_by(rows, name, registry, pact, |rows: &mut Vec<L::Row>| rows.sort_unstable(), logic)
}

/// The same for rows that stay on the worker that fed them, in the order in which it fed them: for a logic that is given
/// whole epochs and brings their rows into sequence order itself.
pub fn sealed_at_home<'scope, L>(rows: Rows<'scope, L::Row>, name: &'static str, registry: &Registry, logic: L) -> Rows<'scope, L::Result>
where
    L: Logic,
    L::Row: 'static,
    L::Result: Clone + 'static,
{
    sealed_by(rows, name, registry, Pipeline, |_: &mut Vec<L::Row>| (), logic)
}

fn sealed_by<'scope, L, P>(
    rows: Rows<'scope, L::Row>,
    name: &'static str,
    registry: &Registry,
    pact: P,
    order: impl Fn(&mut Vec<L::Row>) + 'static,
    logic: L,
) -> Rows<'scope, L::Result>
where
    L: Logic,
    L::Row: 'static,
    L::Result: Clone + 'static,
    P: ParallelizationContract<Epoch, Vec<L::Row>>,
{
    let logic = registry.enter(name, logic);
    let mut resumed = registry.resumed();
    rows.unary_frontier::<CapacityContainerBuilder<Vec<L::Result>>, _, _, _>(pact, name, |capability, _| {
        let mut held: BTreeMap<Epoch, (Capability<Epoch>, Vec<L::Row>)> = BTreeMap::new();
        let mut results = Vec::new();
        let mut capability = Some(capability);
        move |(input, frontier), output| {
            if let (Some(capability), Some(epoch)) = (capability.take(), resumed.take()) {
                logic.borrow().hold(&mut results);
                output.session(&capability.delayed(&epoch)).give_iterator(results.drain(..));
            }
            input.for_each_time(|time, batches| {
                let (_, rows) = held.entry(*time.time()).or_insert_with(|| (time.retain(0), Vec::new()));
                for batch in batches {
                    rows.append(batch);
                }
            });
            let frontier = frontier.frontier();
            while let Some(entry) = held.first_entry() {
                if frontier.less_equal(entry.key()) {
                    break;
                }
                let (epoch, (capability, mut rows)) = entry.remove_entry();
                order(&mut rows);
                logic.borrow_mut().epoch(epoch, &mut rows, &mut results);
                output.session(&capability).give_iterator(results.drain(..));
                results.shrink_to(KEPT);
            }
        }
    })
}

/// The passing of an epoch, as one worker sees it: each sees every epoch of the log, with rows or without, so that timers
/// ring at the same place in a replay.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Clock {
    /// The worker it is for.
    pub worker: u64,
    /// Ticks of the epoch.
    pub ticks: Vec<gridflow_inputs::input::Tick>,
}

/// A row as a worker feeds it into its dataflow. Every worker reads the whole log and feeds its share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Feed {
    /// A row, fed by one worker.
    Row(gridflow_inputs::Sequenced),
    /// A row that every worker needs, fed by each for itself: the region, units.
    Everywhere(u64, gridflow_inputs::Sequenced),
    /// The epoch passes, fed by each worker for itself.
    Clock(Clock),
}
