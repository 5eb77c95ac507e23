//! Accounts that several sensors add up to: windows of buses, feeders and zones, key figures of zones, and what became of
//! the readings of each source.
//!
//! Fed by exact integer changes and each worker's extremes, so the result cannot depend on how sensors are sharded.
//! One-minute windows of feeders and zones are stated in each epoch in which they change, those of buses and all longer
//! ones first when they have settled, key figures likewise; then once per epoch with a revision.

mod sources;
mod windows;

use std::collections::{BTreeMap, BTreeSet};

use gridflow_inputs::Epoch;
use gridflow_inputs::ids::{SourceId, ZoneId};
use gridflow_inputs::input::Timer;
use serde::{Deserialize, Serialize};

use crate::decision::{Kpi, Measure, Output};
use crate::sealed::{Clock, Logic, Rows, sealed};
use crate::state::{Registry, State, StateError, decode, encode};
use crate::telemetry::{Bound, Bounds, Counts, INTERVAL_MS, Partial, SETTLE_MS, horizon_at};
use sources::Sources;
use windows::Windows;

/// What the accounts are told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AccountInput {
    /// How late rows may be; a copy for each worker.
    Lateness {
        /// The worker.
        worker: u64,
        /// Place of the row in its epoch: of several the last holds, as for telemetry.
        sequence: u32,
        /// The bounds.
        bounds: Bounds,
    },
    /// A change.
    Partial(Partial),
    /// The epoch passes; a copy for each worker.
    Clock(Clock),
}

impl AccountInput {
    /// On which worker what belongs together meets.
    #[must_use]
    pub fn route(&self) -> u64 {
        match self {
            Self::Lateness { worker, .. } => *worker,
            Self::Clock(clock) => clock.worker,
            Self::Partial(Partial::Window { scope, id, .. } | Partial::Share { scope, id, .. }) => windows::route(*scope, *id),
            Self::Partial(Partial::Figure { zone, .. }) => u64::from(zone.0),
            Self::Partial(Partial::Gap { source, .. }) => u64::from(source.0),
        }
    }
}

type FigureKey = (i64, ZoneId, Measure);

/// The accounts of one worker. Usable without a dataflow, as the benches do.
#[derive(Debug)]
pub struct Accounts {
    bounds: Bounds,
    /// The epoch before.
    previous: i64,
    /// Minutes that begin before these are final, by bound.
    horizons: [i64; 2],
    windows: Windows,
    /// Wide: a zone of absurd readings may pass what a row holds, and come back.
    figures: BTreeMap<FigureKey, (i128, Option<Kpi>)>,
    due: BTreeSet<FigureKey>,
    sources: Sources,
}

impl Accounts {
    /// Accounts that the sensors of `peers` workers add up to.
    #[must_use]
    pub fn new(peers: usize) -> Self {
        Self {
            bounds: Bounds::default(),
            previous: i64::MIN / 4,
            horizons: [i64::MIN / 4; 2],
            windows: Windows::new(peers),
            figures: BTreeMap::new(),
            due: BTreeSet::new(),
            sources: Sources::default(),
        }
    }

    /// Takes what was told in an epoch, in any order. Epochs strictly increase.
    pub fn apply(&mut self, epoch: Epoch, inputs: &mut Vec<AccountInput>, out: &mut Vec<(Output, i64)>) {
        inputs.sort_unstable();
        self.take(epoch, inputs, out);
    }

    fn take(&mut self, epoch: Epoch, inputs: &mut Vec<AccountInput>, out: &mut Vec<(Output, i64)>) {
        let now = epoch as i64;
        // By the bound of the epoch before, as telemetry does: what it holds no more must be final here.
        let horizons = Bound::ALL.map(|bound| self.horizons[bound as usize].max(horizon_at(now, self.bounds.ms(bound))));
        let mut gaps: BTreeMap<SourceId, Counts> = BTreeMap::new();
        let mut estimate = false;
        let mut changes = Vec::new();
        for input in inputs.drain(..) {
            match input {
                AccountInput::Lateness { bounds, .. } => self.bounds = bounds,
                AccountInput::Partial(change @ Partial::Window { .. }) => changes.push(change),
                AccountInput::Partial(Partial::Share { scope, id, quantity, start_ms, worker, extremes }) => {
                    self.windows.share(scope, id, quantity, start_ms, worker, extremes);
                }
                AccountInput::Partial(Partial::Figure { zone, measure, start_ms, value }) => {
                    self.figures.entry((start_ms, zone, measure)).or_default().0 += value;
                    self.due.insert((start_ms, zone, measure));
                }
                AccountInput::Partial(Partial::Gap { source, counts }) => *gaps.entry(source).or_default() += counts,
                AccountInput::Clock(clock) => estimate |= clock.ticks.iter().any(|tick| tick.timer == Timer::Estimate),
            }
        }
        self.windows.take(self.previous, &changes, out);
        self.windows.state_due(self.previous, now, out);
        let settled = now - SETTLE_MS - INTERVAL_MS;
        while let Some(key) = self.due.first().copied().filter(|(start, ..)| *start <= settled) {
            self.due.remove(&key);
            self.state_figure(key, out);
        }
        self.sources.take(epoch, &gaps, estimate, out);
        if horizons != self.horizons {
            self.horizons = horizons;
            self.windows.forget(horizons);
            // Readings of both bounds count in key figures.
            let until = horizons[0].min(horizons[1]) - INTERVAL_MS;
            while let Some(figure) = self.figures.first_entry().filter(|figure| figure.key().0 <= until) {
                figure.remove();
            }
        }
        self.previous = now;
    }

    fn state_figure(&mut self, key: FigureKey, out: &mut Vec<(Output, i64)>) {
        let (start_ms, zone, measure) = key;
        let Some((value, stated)) = self.figures.get_mut(&key) else { return };
        // What no row can hold is stated as the greatest that one can.
        let value = (*value).clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
        let revision = match stated {
            Some(stated) if stated.value == value => return,
            Some(stated) => {
                out.push((stated.clone().into(), -1));
                stated.revision + 1
            }
            None => 0,
        };
        let row = Kpi { zone, measure, start_ms, length_ms: INTERVAL_MS, revision, value };
        out.push((row.clone().into(), 1));
        *stated = Some(row);
    }

    /// Bytes of its parts, by name.
    #[must_use]
    pub fn memory_bytes(&self) -> [(&'static str, usize); 2] {
        [("accounts", self.windows.bytes()), ("figures and sources", self.figures.len() * 128 + self.sources.bytes())]
    }
}

#[derive(Serialize, Deserialize)]
struct Saved {
    bounds: Bounds,
    previous: i64,
    horizons: [i64; 2],
    windows: Vec<windows::Account>,
    figures: BTreeMap<FigureKey, (i128, Option<Kpi>)>,
    due: BTreeSet<FigureKey>,
    sources: Sources,
}

impl State for Accounts {
    fn save(&self) -> Vec<u8> {
        encode(&Saved {
            bounds: self.bounds,
            previous: self.previous,
            horizons: self.horizons,
            windows: self.windows.save(),
            figures: self.figures.clone(),
            due: self.due.clone(),
            sources: self.sources.clone(),
        })
    }

    fn load(&mut self, saved: &[u8], mine: &dyn Fn(u64) -> bool) -> Result<(), StateError> {
        let saved: Saved = decode(saved)?;
        (self.bounds, self.previous, self.horizons) = (saved.bounds, saved.previous, saved.horizons);
        saved.windows.into_iter().filter(|account| mine(account.route())).for_each(|account| self.windows.load(account));
        self.figures.extend(saved.figures.into_iter().filter(|((_, zone, _), _)| mine(u64::from(zone.0))));
        self.due.extend(saved.due.into_iter().filter(|(_, zone, _)| mine(u64::from(zone.0))));
        self.sources.load(saved.sources, mine);
        Ok(())
    }

    fn size_bytes(&self) -> usize {
        self.memory_bytes().iter().map(|(_, bytes)| bytes).sum()
    }
}

impl Logic for Accounts {
    type Row = AccountInput;
    type Result = (Output, i64);

    fn epoch(&mut self, epoch: Epoch, rows: &mut Vec<AccountInput>, out: &mut Vec<(Output, i64)>) {
        self.take(epoch, rows, out);
    }
}

/// Adds up the accounts of buses, feeders, zones and sources.
pub fn accounts<'scope>(inputs: Rows<'scope, AccountInput>, registry: &Registry) -> Rows<'scope, (Output, i64)> {
    let state = Accounts::new(inputs.scope().peers());
    sealed(inputs, "Accounts", registry, AccountInput::route, state)
}
