//! Collections that come straight from the feed and end in a relational operator, kept so that a resumed run has them
//! again: relational operators are rebuilt from their inputs, which someone must remember.
//!
//! [`kept`] is for any collection, [`region`] for the one row that every worker needs.

use std::collections::BTreeMap;

use gridflow_inputs::input::{Region, Sequenced};
use gridflow_inputs::{Epoch, Input};
use timely::ExchangeData;
use timely::dataflow::operators::vec::Map;

use crate::grid::changes;
use crate::sealed::{Changes, Feed, Logic, Rows, sealed};
use crate::state::{Registry, State, StateError, decode, encode};

struct Kept<D> {
    rows: BTreeMap<D, i64>,
    route: fn(&D) -> u64,
}

impl<D: ExchangeData + Ord> State for Kept<D> {
    fn save(&self) -> Vec<u8> {
        encode(&self.rows)
    }

    fn load(&mut self, saved: &[u8], mine: &dyn Fn(u64) -> bool) -> Result<(), StateError> {
        let rows: BTreeMap<D, i64> = decode(saved)?;
        self.rows.extend(rows.into_iter().filter(|(row, _)| mine((self.route)(row))));
        Ok(())
    }
}

impl<D: ExchangeData + Ord + Clone> Logic for Kept<D> {
    type Row = (D, i64);
    type Result = (D, i64);

    fn epoch(&mut self, _: Epoch, rows: &mut Vec<(D, i64)>, out: &mut Vec<(D, i64)>) {
        for (row, change) in rows.drain(..) {
            let count = self.rows.entry(row.clone()).or_insert(0);
            *count += change;
            if *count == 0 {
                self.rows.remove(&row);
            }
            out.push((row, change));
        }
    }

    fn hold(&self, out: &mut Vec<(D, i64)>) {
        out.extend(self.rows.iter().map(|(row, count)| (row.clone(), *count)));
    }
}

/// The same collection, remembered. `route` says on which worker equal rows meet.
pub fn kept<'scope, D: ExchangeData + Ord + Clone>(
    rows: Changes<'scope, D>,
    name: &'static str,
    registry: &Registry,
    route: fn(&D) -> u64,
) -> Changes<'scope, D> {
    let rows = rows.inner.map(|(row, _, change)| (row, change));
    changes(sealed(rows, name, registry, move |(row, _)| route(row), Kept { rows: BTreeMap::new(), route }))
}

struct RegionKept {
    worker: u64,
    held: Option<Region>,
}

impl State for RegionKept {
    fn save(&self) -> Vec<u8> {
        encode(&self.held)
    }

    fn load(&mut self, saved: &[u8], _: &dyn Fn(u64) -> bool) -> Result<(), StateError> {
        // Every worker has it: any share will do.
        self.held = decode(saved)?;
        Ok(())
    }
}

impl Logic for RegionKept {
    type Row = (u64, u32, Region);
    type Result = ((u64, Region), i64);

    fn epoch(&mut self, _: Epoch, rows: &mut Vec<Self::Row>, out: &mut Vec<Self::Result>) {
        for (worker, _, region) in rows.drain(..) {
            out.extend(self.held.replace(region.clone()).map(|old| ((worker, old), -1)));
            out.push(((worker, region), 1));
        }
    }

    fn hold(&self, out: &mut Vec<Self::Result>) {
        out.extend(self.held.iter().map(|region| ((self.worker, region.clone()), 1)));
    }
}

/// The region row that holds, on every worker and with its number: the one that entered last.
pub fn region<'scope>(feed: Rows<'scope, Feed>, registry: &Registry) -> Changes<'scope, (u64, Region)> {
    let worker = feed.scope().index() as u64;
    let rows = feed.flat_map(|feed| match feed {
        Feed::Everywhere(worker, Sequenced { sequence, input: Input::Region(region), .. }) => Some((worker, sequence, region)),
        _ => None,
    });
    changes(sealed(rows, "Region", registry, |(worker, ..)| *worker, RegionKept { worker, held: None }))
}
