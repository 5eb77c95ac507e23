//! Audit of estimates: a sealed estimate is a fact and is never solved again, but a correction of a reading it used
//! adds a row that says what its residual was and what it would have been.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridflow_inputs::Epoch;
use gridflow_inputs::ids::{IslandId, SensorId};
use serde::{Deserialize, Serialize};

use crate::decision::{EstimateAudit, Output};
use crate::sealed::{Logic, Rows, sealed};
use crate::state::{Registry, State, StateError, decode, encode};
use crate::telemetry::{Bound, Bounds, Correction, STALE_MS, WINDOW_MS};

/// A reading as an estimate used it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UsedReading {
    /// The sensor.
    pub sensor: SensorId,
    /// Event time of the reading.
    pub event_ms: i64,
    /// Its value.
    pub value: i64,
    /// What the estimate made of it.
    pub estimated: i64,
}

/// All readings an estimate used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Used {
    /// The island.
    pub island: IslandId,
    /// Tick of the estimate.
    pub tick_ms: i64,
    /// The readings, by sensor.
    pub readings: Arc<Vec<UsedReading>>,
}

/// What the audit is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AuditInput {
    /// A new estimate.
    Used(Used),
    /// A correction.
    Correction(Correction),
    /// How late rows may be; what solvers use goes by the bound of SCADA.
    Lateness {
        /// Place of the row in its epoch: of several the last holds, as for telemetry.
        sequence: u32,
        /// The bounds.
        bounds: Bounds,
    },
}

#[derive(Debug)]
struct Audit {
    /// Estimates that a correction can still touch, by tick and island.
    estimates: BTreeMap<(i64, IslandId), Arc<Vec<UsedReading>>>,
    bounds: Option<Bounds>,
}

impl State for Audit {
    fn save(&self) -> Vec<u8> {
        encode(&(&self.estimates, self.bounds))
    }

    fn load(&mut self, saved: &[u8], mine: &dyn Fn(u64) -> bool) -> Result<(), StateError> {
        let (estimates, bounds): (BTreeMap<_, _>, Option<Bounds>) = decode(saved)?;
        // Only the first worker's share has anything in it.
        if mine(0) {
            self.estimates.extend(estimates);
            self.bounds = self.bounds.or(bounds);
        }
        Ok(())
    }
}

impl Logic for Audit {
    type Row = AuditInput;
    type Result = (Output, i64);

    fn epoch(&mut self, epoch: Epoch, inputs: &mut Vec<AuditInput>, out: &mut Vec<(Output, i64)>) {
        let mut corrections: BTreeMap<(SensorId, i64), Option<i64>> = BTreeMap::new();
        for input in inputs.drain(..) {
            match input {
                AuditInput::Used(used) => {
                    self.estimates.insert((used.tick_ms, used.island), used.readings);
                }
                AuditInput::Correction(row) => {
                    // Rows come sorted by sequence: of several in one epoch the last holds.
                    corrections.insert((row.sensor, row.event_ms), row.new);
                }
                AuditInput::Lateness { bounds, .. } => self.bounds = Some(bounds),
            }
        }
        for ((sensor, event_ms), new) in corrections {
            // An estimate never uses a reading before it was taken, less what clocks may be ahead.
            let first = (event_ms - crate::telemetry::FUTURE_MS, IslandId(0));
            for ((tick_ms, island), readings) in self.estimates.range(first..) {
                let Ok(index) = readings.binary_search_by_key(&sensor, |used| used.sensor) else { continue };
                let used = readings[index];
                if used.event_ms != event_ms || Some(used.value) == new {
                    continue;
                }
                let row = EstimateAudit {
                    island: *island,
                    tick_ms: *tick_ms,
                    sensor,
                    event_ms,
                    old_residual: used.value - used.estimated,
                    new_residual: new.map(|new| new - used.estimated),
                };
                out.push((row.into(), 1));
            }
        }
        let oldest = epoch as i64 - self.bounds.unwrap_or_default().ms(Bound::Scada) - WINDOW_MS - STALE_MS;
        self.estimates = std::mem::take(&mut self.estimates).split_off(&(oldest, IslandId(0)));
    }
}

/// Says which sealed estimates a correction touches. All rows meet on one worker: a correction knows its sensor, not
/// the islands the sensor has belonged to.
pub fn audit<'scope>(inputs: Rows<'scope, AuditInput>, registry: &Registry) -> Rows<'scope, (Output, i64)> {
    let state = Audit { estimates: BTreeMap::new(), bounds: None };
    sealed(inputs, "Audit", registry, |_| 0, state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_bounds_in_an_epoch_the_last_holds_whichever_is_greater() {
        for (first, last) in [(60_000, 900_000), (900_000, 60_000)] {
            let mut audit = Audit { estimates: BTreeMap::new(), bounds: None };
            let bounds = |scada_ms| Bounds { scada_ms, ..Bounds::default() };
            let bound = |sequence, scada_ms| AuditInput::Lateness { sequence, bounds: bounds(scada_ms) };
            let mut inputs = vec![bound(1, last), bound(0, first)];
            inputs.sort();
            audit.epoch(1_000, &mut inputs, &mut Vec::new());
            assert_eq!(audit.bounds, Some(bounds(last)));
        }
    }
}
