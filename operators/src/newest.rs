//! Keeps the newest row of each key, by event time rather than by arrival; older ones leave memory.

use std::collections::BTreeMap;

use gridflow_inputs::Epoch;
use timely::ExchangeData;

use crate::grid::changes;
use crate::sealed::{Changes, Logic, Rows, sealed};
use crate::state::{Registry, State, StateError, decode, encode};

struct Newest<K, V> {
    held: BTreeMap<K, (i64, V)>,
    route: fn(&K) -> u64,
}

impl<K: ExchangeData + Ord, V: ExchangeData> State for Newest<K, V> {
    fn save(&self) -> Vec<u8> {
        encode(&self.held)
    }

    fn load(&mut self, saved: &[u8], mine: &dyn Fn(u64) -> bool) -> Result<(), StateError> {
        let held: BTreeMap<K, (i64, V)> = decode(saved)?;
        self.held.extend(held.into_iter().filter(|(key, _)| mine((self.route)(key))));
        Ok(())
    }
}

impl<K: ExchangeData + Ord + Clone, V: ExchangeData + Ord + Clone> Logic for Newest<K, V> {
    type Row = (K, i64, V);
    type Result = ((K, V), i64);

    fn epoch(&mut self, _: Epoch, rows: &mut Vec<Self::Row>, out: &mut Vec<Self::Result>) {
        for (key, event_ms, row) in rows.drain(..) {
            let old = self.held.get(&key);
            if old.is_some_and(|old| *old >= (event_ms, row.clone())) {
                continue;
            }
            out.push(((key.clone(), row.clone()), 1));
            if let Some((_, old)) = self.held.insert(key.clone(), (event_ms, row)) {
                out.push(((key, old), -1));
            }
        }
    }

    fn hold(&self, out: &mut Vec<Self::Result>) {
        out.extend(self.held.iter().map(|(key, (_, row))| ((key.clone(), row.clone()), 1)));
    }
}

/// Of rows (key, event time, row), a collection of each key's newest; of equal times the greatest row holds.
///
/// `route` says on which worker a key's rows meet.
pub fn newest<'scope, K, V>(
    rows: Rows<'scope, (K, i64, V)>,
    name: &'static str,
    registry: &Registry,
    route: fn(&K) -> u64,
) -> Changes<'scope, (K, V)>
where
    K: ExchangeData + Ord + Clone,
    V: ExchangeData + Ord + Clone,
{
    changes(sealed(rows, name, registry, move |(key, ..)| route(key), Newest { held: BTreeMap::new(), route }))
}
