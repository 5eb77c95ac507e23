//! When an island's contingency view is to be looked at again: when its equipment changed, at the first estimate after that, when
//! the last full refresh was [`REFRESH_MS`](super::REFRESH_MS) ago, and at an estimate in which the injection of a bus, or what a unit or
//! storage says that it gives, is [`CHANGE`] and [`FLOOR`] or more from what it was when the view was looked at last; of all islands when
//! operators name other contingencies. Units count by themselves because two of one bus may swap what they give, and their outages with
//! it. What failed is tried again every [`RETRY_MS`]; only the solver knows whether it did.
//!
//! An estimate in which nothing moved that far asks for nothing, so that in a quiet grid no solver gathers an island's rows but for that
//! retry. Slow drifts are seen once they add up; what moves reactive power alone is seen at a refresh. Remembered is what each island's view was asked on; islands, estimates and outputs come again
//! from their collections.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gridflow_inputs::Epoch;
use gridflow_inputs::ids::{BusId, IslandId};
use gridflow_inputs::input::{Quantity, Timer};
use gridflow_inputs::units::{MilliWatts, PartsPerMillion};
use serde::{Deserialize, Serialize};

use super::Basis;
use crate::decision::Estimate;
use crate::grid::GridRow;
use crate::islands::IslandRow;
use crate::multiset::Slotted;
use crate::operating_point::{PATIENCE_MS, is_of_now};
use crate::sealed::{Feed, Logic, Rows, sealed};
use crate::solver::SolverInput;
use crate::state::{Registry, State, StateError, decode, encode};
use crate::telemetry::STALE_MS;

/// A view that was looked at without success is looked at again after so long, at the next estimate.
pub const RETRY_MS: i64 = 15_000;
/// Change of an injection, as a share of it, from which on the view is looked at.
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
    /// What a sensor of a unit or a storage reports begins or ceases to hold.
    Output(IslandId, Output, i64),
    /// What belongs to an island changed, or it became observable.
    Changed(IslandId),
    /// Named contingencies changed; one copy for each worker.
    Named(u64),
    /// The estimator's timer rings; one copy for each worker.
    Tick(u64),
}

/// What a unit or a storage gives, as one sensor or report has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Output {
    /// The slot of its row.
    pub slot: u64,
    /// When it was measured, milliseconds.
    pub at_ms: i64,
    /// How much.
    pub p: MilliWatts,
}

/// How a view is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Look {
    /// In any case.
    At(IslandId),
    /// If the last look failed.
    Again(IslandId),
}

/// What a view was asked on.
#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    /// When it was last.
    at_ms: i64,
    /// What the last full refresh rests on.
    basis: Basis,
    /// Whether there was nothing to start from.
    early: bool,
    /// Injection of each bus whose state was known, by bus.
    injections: Vec<(BusId, MilliWatts)>,
    /// What each fresh sensor of a unit and report of a storage said, by slot.
    outputs: Vec<(u64, MilliWatts)>,
}

/// Islands, what they inject, and what their views were asked on.
#[derive(Debug, Default)]
pub struct Watch {
    asked: BTreeMap<IslandId, Asked>,
    islands: BTreeMap<IslandId, IslandRow>,
    estimates: BTreeMap<IslandId, Arc<Estimate>>,
    outputs: BTreeMap<IslandId, BTreeMap<u64, Output>>,
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

/// Whether something became known or unknown, or is far from what it was.
fn moved<K: PartialEq>(then: &[(K, MilliWatts)], mut now: impl Iterator<Item = (K, MilliWatts)>) -> bool {
    let mut known = then.iter();
    let far = |(of, now): (K, MilliWatts)| {
        known.next().is_none_or(|(same, then)| {
            let change = i128::from(now.0) - i128::from(then.0);
            *same != of
                || (change.abs() >= i128::from(FLOOR.0) && change.abs() * 1_000_000 >= i128::from(then.0).abs() * i128::from(CHANGE.0))
        })
    };
    now.any(far) || known.next().is_some()
}

impl From<Look> for SolverInput<GridRow> {
    fn from(look: Look) -> Self {
        match look {
            Look::At(island) => Self::Trigger { key: island.0 },
            Look::Again(island) => Self::Retry { key: island.0 },
        }
    }
}

impl Watch {
    /// What counts of what units and storages report, as [`OperatingPoint`](crate::operating_point::OperatingPoint) has it.
    fn outputs(&self, island: IslandId, now_ms: i64) -> impl Iterator<Item = (u64, MilliWatts)> {
        let told = self.outputs.get(&island).into_iter().flat_map(BTreeMap::values);
        told.filter(move |output| now_ms - output.at_ms <= STALE_MS).map(|output| (output.slot, output.p))
    }

    /// How the view is to be looked at now, if it is; `anew`: it is; takes note of it.
    fn asks(&mut self, island: IslandId, anew: bool, now_ms: i64) -> Option<Look> {
        let Some(row) = self.islands.get(&island) else {
            // What is told of an island that is no more has to go.
            self.asked.remove(&island);
            return Some(Look::At(island));
        };
        let estimate = self.estimates.get(&island).filter(|estimate| is_of_now(estimate, row, now_ms));
        let asked = self.asked.get(&island);
        let stands = !anew && asked.is_some_and(|asked| !asked.early && asked.basis.stands(row, estimate.is_some(), now_ms));
        let outputs = || self.outputs(island, now_ms);
        let calm = |(asked, estimate): (&Asked, _)| {
            let moved = moved(&asked.injections, injections(estimate)) || moved(&asked.outputs, outputs());
            !moved
        };
        if stands && asked.zip(estimate.map(|row| &**row)).is_none_or(calm) {
            let due = estimate.is_some() && asked.is_some_and(|asked| now_ms - asked.at_ms >= RETRY_MS);
            if due {
                self.asked.get_mut(&island)?.at_ms = now_ms;
            }
            return due.then_some(Look::Again(island));
        }
        let fresh = Basis { solved_ms: now_ms, changed_ms: row.changed_ms, estimated: estimate.is_some() };
        let basis = asked.filter(|_| stands).map_or(fresh, |asked| asked.basis);
        let early = !self.estimates.contains_key(&island) && now_ms - row.changed_ms < PATIENCE_MS;
        let injections = estimate.map(|estimate| injections(estimate).collect()).unwrap_or_default();
        let outputs = outputs().collect();
        self.asked.insert(island, Asked { at_ms: now_ms, basis, early, injections, outputs });
        Some(Look::At(island))
    }
}

impl Logic for Watch {
    type Row = WatchInput;
    type Result = Look;

    fn epoch(&mut self, epoch: Epoch, rows: &mut Vec<WatchInput>, out: &mut Vec<Look>) {
        let (mut looked_at, mut named, mut tick) = (BTreeSet::new(), false, false);
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
                WatchInput::Output(island, row, 1..) => drop(self.outputs.entry(island).or_default().insert(row.slot, row)),
                WatchInput::Output(island, row, _) => {
                    let told = self.outputs.entry(island).or_default();
                    if told.get(&row.slot) == Some(&row) {
                        told.remove(&row.slot);
                    }
                    if told.is_empty() {
                        self.outputs.remove(&island);
                    }
                }
                WatchInput::Changed(island) => drop(looked_at.insert(island)),
                WatchInput::Named(_) => named = true,
                WatchInput::Tick(_) => tick = true,
            }
        }
        if tick || named {
            looked_at.extend(self.islands.keys());
        }
        out.extend(looked_at.into_iter().filter_map(|island| self.asks(island, named, epoch as i64)));
    }
}

/// What of an island's rows matters.
#[must_use]
pub fn of_island((island, row): (IslandId, GridRow), change: i64) -> Option<WatchInput> {
    let output = |at_ms, p| WatchInput::Output(island, Output { slot: row.slot(), at_ms, p }, change);
    match row {
        GridRow::Reading(ref reading) if reading.sensor.quantity == Quantity::ActiveGeneration => {
            Some(output(reading.event_ms, MilliWatts(reading.value)))
        }
        GridRow::Storage(ref report) => Some(output(i64::MAX, report.p)),
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

/// Whose view is to be looked at, in the epoch in which it is.
pub fn watch<'scope>(inputs: Rows<'scope, WatchInput>, registry: &Registry) -> Rows<'scope, Look> {
    let route = |input: &WatchInput| match input {
        WatchInput::Island(island, ..)
        | WatchInput::Estimate(island, ..)
        | WatchInput::Output(island, ..)
        | WatchInput::Changed(island) => u64::from(island.0),
        WatchInput::Named(worker) | WatchInput::Tick(worker) => *worker,
    };
    sealed(inputs, "Contingency watch", registry, route, Watch::default())
}
