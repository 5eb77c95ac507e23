//! Bad data from scan to scan: what contradicts the rest is kept out of the estimate until it fits again.
//!
//! Normalised residuals cost as much as a solve, and each removal another, so they are asked for only when the residuals
//! of an estimate say that something is wrong: J above its χ² point, or one residual beyond what chance leaves among so
//! many even before it is normalised (in J of a large network one gross error drowns).
//!
//! Parameters that are a little off and readings a few seconds apart lift J of a large network above its point at all times, and no
//! search can name a meter for it. So J is held against what searches left: the greatest such share of its point stands for
//! what is unexplained here, forgotten slowly, and a search for J alone is made when it is exceeded by [`MARGIN`]. Besides,
//! the work is bounded by counts: [`REMOVALS`] a scan; one measurement of [`SHARE`] in all; and after a search in
//! vain [`PAUSE`] scans without one, twice as many after each further one up to [`PAUSE_MAX`], until an estimate is
//! without contradiction or the equipment changes. The estimate itself says when J is too large.

use std::collections::BTreeMap;

use gridflow_inputs::ids::{IslandId, SensorId};
use gridflow_inputs::input::Quantity;
use gridflow_inputs::units::{MAX_MAGNITUDE, to_fixed};
use gridflow_numerics::case::CaseMeasurement;
use gridflow_numerics::estimation::{BadDataOptions, Estimate, Identification, greatest_by_chance};
use serde::{Deserialize, Serialize};

use super::measurements::{Gathered, Source};
use crate::decision::Suspect;

/// Measurements taken out in one scan, at most.
const REMOVALS: usize = 4;
/// Of so many measurements one may be kept out, and [`FEW`] of less.
const SHARE: usize = 50;
const FEW: usize = 8;
/// Scans without a search after one in vain; at most.
const PAUSE: u32 = 12;
const PAUSE_MAX: u32 = 720;
/// J beyond so many times what was unexplained before is new.
const MARGIN: f64 = 1.1;
/// Share of it that is forgotten a scan: half in seven hours of scans every 5 s.
const FORGOTTEN: f64 = 1.0 / 7_200.0;
/// Standard deviations within which a value that is kept out fits, and scans in a row in which it must.
const FITS: f64 = 3.0;
const SCANS: u32 = 3;

/// A reading of a sensor.
type Named = (SensorId, Quantity);

/// A measurement that is kept out.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct KeptOut {
    since_ms: i64,
    normalized_milli: i64,
    /// Scans in a row in which it fitted.
    fits: u32,
    sensors: Vec<Named>,
    /// Of these it could not be told.
    alike: Vec<Named>,
}

/// See the module.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Suspects {
    kept_out: BTreeMap<Source, KeptOut>,
    /// Searches in vain in a row, and scans until the next may be.
    in_vain: u32,
    pause: u32,
    /// J that searches could not explain, by its χ² point.
    unexplained: f64,
}

/// J by its χ² point; 0 without redundancy.
fn excess(solved: &Estimate) -> f64 {
    solved.threshold.filter(|threshold| *threshold > 0.0).map_or(0.0, |threshold| solved.objective / threshold)
}

impl Suspects {
    pub(super) fn holds(&self, source: &Source) -> bool {
        self.kept_out.contains_key(source)
    }

    /// The equipment changed: what was in vain may not be any more.
    pub(super) fn renew(&mut self) {
        (self.in_vain, self.pause) = (0, 0);
    }

    /// Whether bad data is to be looked for after an estimate; passes a scan. Not while readings from before a switch take part, half a minute
    /// at most.
    pub(super) fn ask(&mut self, gathered: &Gathered, solved: &Estimate) -> bool {
        if gathered.unsettled {
            // Readings from before a switch contradict those from after it: most will have come anew at the next tick.
            return false;
        }
        let used = solved.used.iter().filter(|used| **used).count();
        let limit = greatest_by_chance(used);
        let beyond = |index: usize| solved.used[index] && solved.residuals[index].abs() > limit * gathered.rows[index].sigma;
        let (excess, single) = (excess(solved), (0..gathered.rows.len()).any(beyond));
        self.unexplained *= 1.0 - FORGOTTEN;
        if excess <= 1.0 && !single {
            self.renew();
        }
        if excess <= (MARGIN * self.unexplained).max(1.0) && !single {
            return false;
        }
        if self.pause > 0 {
            self.pause -= 1;
            return false;
        }
        if self.room(gathered) == 0 {
            self.vain();
            return false;
        }
        true
    }

    fn room(&self, gathered: &Gathered) -> usize {
        ((gathered.rows.len() + self.kept_out.len()) / SHARE).max(FEW).saturating_sub(self.kept_out.len())
    }

    /// How a search is bounded.
    pub(super) fn options(&self, gathered: &Gathered) -> BadDataOptions {
        BadDataOptions { max_removals: REMOVALS.min(self.room(gathered)), ..BadDataOptions::default() }
    }

    /// Whether the next scan is not searched.
    #[cfg(test)]
    pub(super) fn is_paused(&self) -> bool {
        self.pause > 0
    }

    #[cfg(test)]
    pub(super) fn unexplained(&self) -> f64 {
        self.unexplained
    }

    fn vain(&mut self) {
        self.pause = PAUSE.saturating_mul(1 << self.in_vain.min(16)).min(PAUSE_MAX);
        self.in_vain += 1;
    }

    /// Takes what a search found, none when it came to nothing; whether there is anything new to keep out.
    pub(super) fn take(&mut self, gathered: &Gathered, found: Option<&Identification>, tick_ms: i64) -> bool {
        // A search that was cut short, or came to nothing, says nothing of what is left.
        let most = self.options(gathered).max_removals;
        if let Some(found) = found.filter(|found| found.bad.len() < most) {
            self.unexplained = self.unexplained.max(excess(&found.estimate));
        }
        let bad = found.map_or(&[][..], |found| &found.bad);
        if bad.is_empty() {
            self.vain();
            return false;
        }
        let named = |index: usize| gathered.readings(index).iter().map(|reading| (reading.sensor.id, reading.sensor.quantity));
        for datum in bad {
            let kept_out = KeptOut {
                since_ms: tick_ms,
                normalized_milli: to_fixed(datum.normalized_residual, 1e3).unwrap_or(MAX_MAGNITUDE),
                fits: 0,
                sensors: named(datum.index).collect(),
                alike: datum.alike.iter().flat_map(|index| named(*index)).collect(),
            };
            self.kept_out.insert(gathered.sources[datum.index], kept_out);
        }
        true
    }

    /// Looks at what was kept out of a scan: `estimated` is what it would read at the state. What fitted often enough takes part in
    /// the next, and what is not measured any more is forgotten.
    pub(super) fn judge(&mut self, kept_out: &[(Source, CaseMeasurement)], estimated: &[f64]) {
        let mut seen = BTreeMap::new();
        for ((source, row), estimated) in kept_out.iter().zip(estimated) {
            let Some(mut known) = self.kept_out.remove(source) else { continue };
            known.fits = if (row.value - estimated).abs() < FITS * row.sigma { known.fits + 1 } else { 0 };
            if known.fits < SCANS {
                seen.insert(*source, known);
            }
        }
        self.kept_out = seen;
    }

    /// What stands.
    pub(super) fn rows(&self, island: IslandId) -> Vec<Suspect> {
        let mut rows = Vec::new();
        for known in self.kept_out.values() {
            let KeptOut { since_ms, normalized_milli, .. } = *known;
            let row = |removed: bool| {
                move |(sensor, quantity): &Named| Suspect {
                    island,
                    sensor: *sensor,
                    quantity: *quantity,
                    since_ms,
                    normalized_milli,
                    removed,
                }
            };
            rows.extend(known.sensors.iter().map(row(true)).chain(known.alike.iter().map(row(false))));
        }
        // Of what was only named beside another and what is kept out itself the latter is told.
        rows.sort_by_key(|row| (row.sensor, row.quantity, !row.removed, row.since_ms, row.normalized_milli));
        // A sensor may be in two sums, or alike to two.
        rows.dedup_by_key(|row| (row.sensor, row.quantity));
        rows
    }
}
