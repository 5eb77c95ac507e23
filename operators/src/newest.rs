//! Keeps the newest row of each key, by event time rather than by arrival; older ones leave memory.

use std::collections::BTreeMap;

use timely::ExchangeData;

use crate::grid::changes;
use crate::sealed::{Changes, Rows, sealed};

/// Of rows (key, event time, row), a collection of each key's newest; of equal times the greatest row holds.
///
/// `route` says on which worker a key's rows meet.
pub fn newest<'scope, K, V>(rows: Rows<'scope, (K, i64, V)>, name: &str, route: fn(&K) -> u64) -> Changes<'scope, (K, V)>
where
    K: ExchangeData + Ord + Clone,
    V: ExchangeData + Ord + Clone,
{
    let mut held: BTreeMap<K, (i64, V)> = BTreeMap::new();
    changes(sealed(
        rows,
        name,
        move |(key, ..)| route(key),
        move |_, rows, out| {
            for (key, event_ms, row) in rows.drain(..) {
                let old = held.get(&key);
                if old.is_some_and(|old| *old >= (event_ms, row.clone())) {
                    continue;
                }
                out.push(((key.clone(), row.clone()), 1));
                if let Some((_, old)) = held.insert(key.clone(), (event_ms, row)) {
                    out.push(((key, old), -1));
                }
            }
        },
    ))
}
