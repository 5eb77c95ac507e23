//! Accounts that several sensors add up to: one-minute windows of feeders and zones, key figures of zones.
//!
//! Fed by exact integer changes, so the result cannot depend on how sensors are sharded. A window is stated in each
//! epoch in which it changes; a key figure first when its interval has settled, then once per epoch with a revision.

use std::collections::{BTreeMap, BTreeSet};

use gridflow_inputs::Epoch;
use gridflow_inputs::ids::ZoneId;
use gridflow_inputs::input::Quantity;
use serde::{Deserialize, Serialize};

use crate::decision::{Kpi, Measure, Output, Window, WindowScope};
use crate::sealed::{Clock, Logic, Rows, sealed};
use crate::state::{Registry, State, StateError};
use crate::telemetry::{INTERVAL_MS, LATENESS_MS, Partial, SETTLE_MS, WINDOW_MS, held_after_end, lateness_bound};

/// What the accounts are told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AccountInput {
    /// How late a SCADA row may be; a copy for each worker.
    Lateness(u64, i64),
    /// A change.
    Partial(Partial),
    /// The epoch passes; a copy for each worker.
    Clock(Clock),
}

type WindowKey = (i64, WindowScope, u32, Quantity);
type FigureKey = (i64, ZoneId, Measure);

#[derive(Debug, Default)]
struct Accounts {
    lateness_ms: Option<i64>,
    windows: BTreeMap<WindowKey, Window>,
    /// Wide: a zone of absurd readings may pass what a row holds, and come back.
    figures: BTreeMap<FigureKey, (i128, Option<Kpi>)>,
    due: BTreeSet<FigureKey>,
}

impl Accounts {
    fn apply(&mut self, epoch: Epoch, inputs: &mut Vec<AccountInput>, out: &mut Vec<(Output, i64)>) {
        let now = epoch as i64;
        let mut changes: BTreeMap<WindowKey, (i64, i128, i128)> = BTreeMap::new();
        for input in inputs.drain(..) {
            match input {
                AccountInput::Lateness(_, lateness_ms) => self.lateness_ms = Some(lateness_bound(lateness_ms)),
                AccountInput::Partial(Partial::Window { scope, id, quantity, start_ms, count, sum, sum_squares }) => {
                    let change = changes.entry((start_ms, scope, id, quantity)).or_default();
                    *change = (change.0 + count, change.1 + sum, change.2 + sum_squares);
                }
                AccountInput::Partial(Partial::Figure { zone, measure, start_ms, value }) => {
                    self.figures.entry((start_ms, zone, measure)).or_default().0 += i128::from(value);
                    self.due.insert((start_ms, zone, measure));
                }
                AccountInput::Clock(_) => {}
            }
        }
        for (key, (count, sum, sum_squares)) in changes {
            if (count, sum, sum_squares) != (0, 0, 0) {
                self.state_window(key, count, sum, sum_squares, out);
            }
        }
        let settled = now - SETTLE_MS - INTERVAL_MS;
        while let Some(key) = self.due.first().copied().filter(|(start, ..)| *start <= settled) {
            self.due.remove(&key);
            self.state_figure(key, out);
        }
        let held_ms = held_after_end(self.lateness_ms.unwrap_or(LATENESS_MS));
        let first_window = (now - WINDOW_MS - held_ms, WindowScope::Sensor, 0, Quantity::VoltageMagnitude);
        self.windows = std::mem::take(&mut self.windows).split_off(&first_window);
        let first_figure = (now - INTERVAL_MS - held_ms, ZoneId(0), Measure::LoadEnergy);
        self.figures = std::mem::take(&mut self.figures).split_off(&first_figure);
    }

    fn state_window(&mut self, key: WindowKey, count: i64, sum: i128, sum_squares: i128, out: &mut Vec<(Output, i64)>) {
        let (start_ms, scope, id, quantity) = key;
        let mut row = match self.windows.remove(&key) {
            Some(old) => {
                out.push((old.clone().into(), -1));
                Window { revision: old.revision + 1, ..old }
            }
            None => Window {
                scope,
                id,
                quantity,
                start_ms,
                length_ms: WINDOW_MS,
                revision: 0,
                count: 0,
                sum: 0,
                sum_squares: 0,
                min: None,
                max: None,
            },
        };
        row.count += count;
        row.sum += sum;
        row.sum_squares += sum_squares;
        out.push((row.clone().into(), 1));
        self.windows.insert(key, row);
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
}

impl State for Accounts {
    fn save(&self) -> Vec<u8> {
        Vec::new()
    }

    fn load(&mut self, _: &[u8], _: &dyn Fn(u64) -> bool) -> Result<(), StateError> {
        Ok(())
    }
}

impl Logic for Accounts {
    type Row = AccountInput;
    type Result = (Output, i64);

    fn epoch(&mut self, epoch: Epoch, rows: &mut Vec<AccountInput>, out: &mut Vec<(Output, i64)>) {
        self.apply(epoch, rows, out);
    }
}

/// Adds up the accounts of feeders and zones.
pub fn accounts<'scope>(inputs: Rows<'scope, AccountInput>, registry: &Registry) -> Rows<'scope, (Output, i64)> {
    let route = |input: &AccountInput| match input {
        AccountInput::Lateness(worker, _) => *worker,
        AccountInput::Clock(clock) => clock.worker,
        AccountInput::Partial(Partial::Window { scope, id, .. }) => u64::from(*id) + *scope as u64,
        AccountInput::Partial(Partial::Figure { zone, .. }) => u64::from(zone.0),
    };
    let state = Accounts::default();
    sealed(inputs, "Accounts", registry, route, state)
}
