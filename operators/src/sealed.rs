//! One operator shape for all state that is not a collection: rows are held until their epoch is sealed, then
//! shown to the logic once, sorted, so that the order of arrival and the number of workers cannot matter.
//!
//! Invariant: `logic` is called with strictly increasing epochs on each worker, and only with rows routed there.

use std::collections::BTreeMap;

use differential_dataflow::VecCollection;
use gridflow_inputs::Epoch;
use timely::ExchangeData;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;

/// Rows, each at the epoch it belongs to.
pub type Rows<'scope, D> = StreamVec<'scope, Epoch, D>;

/// Rows with a change of their multiplicity: a differential collection.
pub type Changes<'scope, D> = VecCollection<'scope, Epoch, D, i64>;

/// Shows each sealed epoch to `logic` once: the epoch, its rows in ascending order, and where results go.
///
/// Rows with equal `route` meet on one worker. `logic` is not called for an epoch without rows.
///
/// ```
/// use gridflow_operators::sealed::sealed;
/// use timely::dataflow::operators::{Capture, ToStream, capture::Extract};
///
/// let sums = timely::example(|scope| {
///     let rows = vec![3u64, 1, 2].to_stream(scope).container::<Vec<_>>();
///     // The only epoch here is 0; every row goes to one worker.
///     sealed(rows, "Sums", |_| 0, |epoch, rows, out| {
///         assert!(rows.is_sorted());
///         out.push((epoch, rows.iter().sum::<u64>()));
///     })
///     .capture()
/// });
/// assert_eq!(sums.extract(), [(0, vec![(0, 6)])]);
/// ```
pub fn sealed<'scope, D, O, R, L>(rows: Rows<'scope, D>, name: &str, route: R, mut logic: L) -> Rows<'scope, O>
where
    D: ExchangeData + Ord,
    O: Clone + 'static,
    R: Fn(&D) -> u64 + 'static,
    L: FnMut(Epoch, &mut Vec<D>, &mut Vec<O>) + 'static,
{
    rows.unary_frontier::<CapacityContainerBuilder<Vec<O>>, _, _, _>(Exchange::new(move |row: &D| route(row)), name, |_, _| {
        let mut held: BTreeMap<Epoch, (Capability<Epoch>, Vec<D>)> = BTreeMap::new();
        let mut results = Vec::new();
        move |(input, frontier), output| {
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
                rows.sort_unstable();
                logic(epoch, &mut rows, &mut results);
                output.session(&capability).give_iterator(results.drain(..));
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
    Everywhere(u64, gridflow_inputs::Input),
    /// The epoch passes, fed by each worker for itself.
    Clock(Clock),
}
