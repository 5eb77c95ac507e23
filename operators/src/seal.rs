//! Sealing of output streams: when the frontier passes an epoch, its changes are consolidated, sorted and given on.
//!
//! All rows meet on the first worker. Streams sealed by different calls seal independently, so that a slow plan never
//! delays an alarm.

use std::collections::BTreeMap;

use gridflow_inputs::Epoch;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;

use crate::decision::{Output, Stream};
use crate::sealed::{Changes, Rows};
use crate::state::Registry;

/// What became of an epoch in one stream: rows in ascending order with their change in multiplicity, none zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The stream.
    pub stream: Stream,
    /// The epoch.
    pub epoch: Epoch,
    /// The changes.
    pub rows: Vec<(Output, i64)>,
}

/// Gives each sealed epoch of each stream to `take`, on the first worker, in epoch order and stream by stream.
///
/// The result carries no rows; its frontier tells how far all of these streams are sealed. What is told again up to the
/// epoch resumed from was sealed before and is passed over.
pub fn seal<'scope>(
    changes: Changes<'scope, Output>,
    name: &str,
    registry: &Registry,
    mut take: impl FnMut(Sealed) + 'static,
) -> Rows<'scope, ()> {
    let resumed = registry.resumed();
    let pact = Exchange::new(|_: &(Output, Epoch, i64)| 0);
    changes.inner.unary_frontier::<CapacityContainerBuilder<Vec<()>>, _, _, _>(pact, name, move |capability, _| {
        // No rows leave here, so no capability is held; the frontier follows the input's.
        drop(capability);
        let mut held: BTreeMap<Epoch, Vec<(Output, i64)>> = BTreeMap::new();
        // The memory of an epoch that was sealed, for the next: a hundred thousand windows fall due in one.
        let mut spare: Vec<(Output, i64)> = Vec::new();
        move |(input, frontier), _output| {
            input.for_each_time(|_, batches| {
                for (row, epoch, change) in batches.flat_map(|batch| batch.drain(..)) {
                    held.entry(epoch).or_insert_with(|| std::mem::take(&mut spare)).push((row, change));
                }
            });
            let frontier = frontier.frontier();
            while let Some(entry) = held.first_entry() {
                if frontier.less_equal(entry.key()) {
                    break;
                }
                let (epoch, mut rows) = entry.remove_entry();
                if resumed.is_some_and(|resumed| epoch <= resumed) {
                    continue;
                }
                differential_dataflow::consolidation::consolidate(&mut rows);
                // Consolidation sorts by row, and rows sort by stream first.
                let lengths: Vec<usize> = rows.chunk_by(|one, next| one.0.stream() == next.0.stream()).map(<[_]>::len).collect();
                let mut left = rows.drain(..);
                for length in lengths {
                    let rows: Vec<_> = left.by_ref().take(length).collect();
                    let Some(stream) = rows.first().map(|(row, _)| row.stream()) else { continue };
                    take(Sealed { stream, epoch, rows });
                }
                drop(left);
                if rows.capacity() > spare.capacity() {
                    spare = rows;
                }
            }
        }
    })
}
