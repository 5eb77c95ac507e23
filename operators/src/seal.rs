//! Sealing of output streams: when the frontier passes an epoch, its changes are consolidated, sorted and given on.
//!
//! All rows meet on the first worker. Streams sealed by different calls seal independently, so that a slow plan never
//! delays an alarm.

use std::collections::BTreeMap;

use gridflow_inputs::Epoch;
use timely::ExchangeData;
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
    take: impl FnMut(Sealed) + 'static,
) -> Rows<'scope, ()> {
    // A relational operator's updates go by their own epochs, whatever message they came in.
    seal_rows(changes.inner, name, registry, |(row, epoch, change), _| (epoch, (row, change)), take)
}

/// The same for rows that are told at the epoch they belong to, as sealed operators do.
pub fn seal_at_own_epochs<'scope>(
    rows: Rows<'scope, (Output, i64)>,
    name: &str,
    registry: &Registry,
    take: impl FnMut(Sealed) + 'static,
) -> Rows<'scope, ()> {
    seal_rows(rows, name, registry, |change, epoch| (epoch, change), take)
}

fn seal_rows<'scope, D: ExchangeData>(
    rows: Rows<'scope, D>,
    name: &str,
    registry: &Registry,
    at: impl Fn(D, Epoch) -> (Epoch, (Output, i64)) + 'static,
    mut take: impl FnMut(Sealed) + 'static,
) -> Rows<'scope, ()> {
    let resumed = registry.resumed();
    let pact = Exchange::new(|_: &D| 0);
    rows.unary_frontier::<CapacityContainerBuilder<Vec<()>>, _, _, _>(pact, name, move |capability, _| {
        // No rows leave here, so no capability is held; the frontier follows the input's.
        drop(capability);
        let mut held: BTreeMap<Epoch, Vec<(Output, i64)>> = BTreeMap::new();
        move |(input, frontier), _output| {
            input.for_each_time(|time, batches| {
                let message = *time.time();
                let mut of_message = held.remove(&message).unwrap_or_default();
                for batch in batches {
                    of_message.reserve(batch.len());
                    for row in batch.drain(..) {
                        let (epoch, change) = at(row, message);
                        if epoch == message { of_message.push(change) } else { held.entry(epoch).or_default().push(change) }
                    }
                }
                if !of_message.is_empty() {
                    held.insert(message, of_message);
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
                // Consolidation sorts by row, and rows sort by stream first: cut from the end, nothing is moved twice.
                let mut streams = Vec::new();
                while let Some(stream) = rows.last().map(|(row, _)| row.stream()) {
                    let first = rows.partition_point(|(row, _)| row.stream() < stream);
                    let of_stream = if first == 0 { std::mem::take(&mut rows) } else { rows.split_off(first) };
                    streams.push(Sealed { stream, epoch, rows: of_stream });
                }
                streams.into_iter().rev().for_each(&mut take);
            }
        }
    })
}
