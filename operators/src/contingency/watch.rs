//! When an island's contingency view is to be looked at again: when its equipment changed, at the first estimate after that, when
//! the last full refresh was [`REFRESH_MS`](super::REFRESH_MS) ago, and at an estimate in which the injection of a bus is [`CHANGE`] and
//! [`FLOOR`] or more from what it was when the view was looked at last.
//!
//! An estimate in which no bus moved that far asks for nothing, so that in a quiet grid no solver gathers an island's rows. Slow
//! drifts are seen once they add up. Remembered is what each island's view was asked on; islands and estimates come again from
//! their collections.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gridflow_inputs::Epoch;
use gridflow_inputs::ids::{BusId, IslandId};
use gridflow_inputs::input::Timer;
use gridflow_inputs::units::{MilliWatts, PartsPerMillion};
use serde::{Deserialize, Serialize};

use super::{Basis, is_of_now};
use crate::decision::Estimate;
use crate::grid::GridRow;
use crate::islands::IslandRow;
use crate::operating_point::PATIENCE_MS;
use crate::sealed::{Feed, Logic, Rows, sealed};
use crate::state::{Registry, State, StateError, decode, encode};

/// Change of a bus's injection, as a share of it, from which on the view is looked at.
pub const CHANGE: PartsPerMillion = PartsPerMillion(50_000);
/// A smaller change is none, whatever share it is: measurements are no better.
pub const FLOOR: MilliWatts = MilliWatts(1_000_000_000);

/// What the operator is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum WatchInput {
    /// An island's row begins or ceases to hold.
    Island(IslandId, IslandRow, i64),
    /// An island's estimate begins or ceases to hold.
    Estimate(IslandId, Arc<Estimate>, i64),
    /// What belongs to an island changed, or it became observable.
    Changed(IslandId),
    /// The estimator's timer rings; one copy for each worker.
    Tick(u64),
}

/// What a view was asked on.
#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    /// What the last full refresh rests on.
    basis: Basis,
    /// Whether there was nothing to start from.
    early: bool,
    /// Injection of each bus whose state was known, by bus.
    injections: Vec<(BusId, MilliWatts)>,
}

/// Islands, and what their views were asked on.
#[derive(Debug, Default)]
pub struct Watch {
    asked: BTreeMap<IslandId, Asked>,
    islands: BTreeMap<IslandId, IslandRow>,
    estimates: BTreeMap<IslandId, Arc<Estimate>>,
}

impl State for Watch {
    fn save(&self) -> Vec<u8> {
        encode(&self.asked)
    }

    fn load(&mut self, saved: &[u8], mine: &dyn Fn(u64) -> bool) -> Result<(), StateError> {
        let saved: BTreeMap<IslandId, Asked> = decode(saved)?;
        self.asked.extend(saved.into_iter().filter(|(island, _)| mine(u64::from(island.0))));
        Ok(())
    }
}

fn injections(estimate: &Estimate) -> impl Iterator<Item = (BusId, MilliWatts)> {
    estimate.buses.iter().filter(|state| !estimate.leaves_open(state.bus)).map(|state| (state.bus, state.p))
}

/// Whether a bus became known or unknown, or its injection is far from what it was.
fn moved(then: &[(BusId, MilliWatts)], estimate: &Estimate) -> bool {
    let mut known = then.iter();
    let far = |(bus, now): (BusId, MilliWatts)| {
        known.next().is_none_or(|(same, then)| {
            let change = i128::from(now.0) - i128::from(then.0);
            *same != bus
                || (change.abs() >= i128::from(FLOOR.0) && change.abs() * 1_000_000 >= i128::from(then.0).abs() * i128::from(CHANGE.0))
        })
    };
    injections(estimate).any(far) || known.next().is_some()
}

impl Watch {
    /// Whether the view is to be looked at now, and takes note that it is.
    fn asks(&mut self, island: IslandId, now_ms: i64) -> bool {
        let Some(row) = self.islands.get(&island) else {
            // What is told of an island that is no more has to go.
            self.asked.remove(&island);
            return true;
        };
        let estimate = self.estimates.get(&island).filter(|estimate| is_of_now(estimate, row, now_ms));
        let asked = self.asked.get(&island);
        let stands = asked.is_some_and(|asked| !asked.early && asked.basis.stands(row, estimate.is_some(), now_ms));
        let calm = || asked.zip(estimate).is_none_or(|(asked, estimate)| !moved(&asked.injections, estimate));
        if stands && calm() {
            return false;
        }
        let fresh = Basis { solved_ms: now_ms, changed_ms: row.changed_ms, estimated: estimate.is_some() };
        let basis = asked.filter(|_| stands).map_or(fresh, |asked| asked.basis);
        let early = !self.estimates.contains_key(&island) && now_ms - row.changed_ms < PATIENCE_MS;
        let injections = estimate.map(|estimate| injections(estimate).collect()).unwrap_or_default();
        self.asked.insert(island, Asked { basis, early, injections });
        true
    }
}

impl Logic for Watch {
    type Row = WatchInput;
    type Result = IslandId;

    fn epoch(&mut self, epoch: Epoch, rows: &mut Vec<WatchInput>, out: &mut Vec<IslandId>) {
        let (mut looked_at, mut tick) = (BTreeSet::new(), false);
        for row in rows.drain(..) {
            match row {
                WatchInput::Island(island, row, 1..) => drop(self.islands.insert(island, row)),
                WatchInput::Island(island, row, _) => {
                    if self.islands.get(&island) == Some(&row) {
                        self.islands.remove(&island);
                    }
                }
                WatchInput::Estimate(island, row, 1..) => drop(self.estimates.insert(island, row)),
                WatchInput::Estimate(island, row, _) => {
                    if self.estimates.get(&island) == Some(&row) {
                        self.estimates.remove(&island);
                    }
                }
                WatchInput::Changed(island) => drop(looked_at.insert(island)),
                WatchInput::Tick(_) => tick = true,
            }
        }
        if tick {
            looked_at.extend(self.islands.keys());
        }
        out.extend(looked_at.into_iter().filter(|island| self.asks(*island, epoch as i64)));
    }
}

/// What of an island's rows matters.
#[must_use]
pub fn of_island((island, row): (IslandId, GridRow), change: i64) -> Option<WatchInput> {
    match row {
        GridRow::Island(row) => Some(WatchInput::Island(island, row, change)),
        GridRow::Estimate(row) => Some(WatchInput::Estimate(island, row, change)),
        _ => None,
    }
}

/// What of the feed matters.
#[must_use]
pub fn of_feed(feed: Feed) -> Option<WatchInput> {
    match feed {
        Feed::Clock(clock) if clock.ticks.iter().any(|tick| tick.timer == Timer::Estimate) => Some(WatchInput::Tick(clock.worker)),
        _ => None,
    }
}

/// Islands whose view is to be looked at, in the epoch in which it is.
pub fn watch<'scope>(inputs: Rows<'scope, WatchInput>, registry: &Registry) -> Rows<'scope, IslandId> {
    let route = |input: &WatchInput| match input {
        WatchInput::Island(island, ..) | WatchInput::Estimate(island, ..) | WatchInput::Changed(island) => u64::from(island.0),
        WatchInput::Tick(worker) => *worker,
    };
    sealed(inputs, "Contingency watch", registry, route, Watch::default())
}
