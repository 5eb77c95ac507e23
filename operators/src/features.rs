//! What forecasts learn from, kept up to date as a relation: load, renewable output and temperature of each zone and
//! quarter of an hour.
//!
//! A quarter that was metered replaces the one of the `History` rows; of several temperatures in a quarter the newest
//! holds. A late or corrected row restates its quarter through the key figures, and so every later forecast.

use gridflow_inputs::ids::ZoneId;
use gridflow_inputs::input::{History, WeatherObservation};
use gridflow_inputs::units::{MAX_MAGNITUDE, MilliCelsius, MilliWatts};
use serde::{Deserialize, Serialize};

use crate::decision::{Kpi, Measure};
use crate::grid::at_own_epochs;
use crate::kept::kept;
use crate::sealed::Changes;
use crate::state::Registry;
use crate::telemetry::INTERVAL_MS;

/// What is known of one quantity in one quarter, with where it comes from: the greatest holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Part {
    /// Load.
    Load(Origin, MilliWatts),
    /// Wind and solar output.
    Renewable(Origin, MilliWatts),
    /// Air temperature.
    Temperature(Origin, MilliCelsius),
}

/// Where a part comes from; later ones hold before earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Origin {
    /// A history row.
    History,
    /// Measured, at this event time.
    Measured(i64),
}

/// A zone's quarter of an hour.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Quarter {
    /// Number of the quarter: event time over its length.
    pub index: i64,
    /// Mean load.
    pub load: Option<MilliWatts>,
    /// Mean wind and solar output.
    pub renewable: Option<MilliWatts>,
    /// Air temperature, as told last.
    pub temperature: Option<MilliCelsius>,
}

/// A zone and the number of a quarter.
pub type QuarterKey = (ZoneId, i64);

/// Number of the quarter an event lies in.
#[must_use]
pub fn quarter_of(event_ms: i64) -> i64 {
    event_ms.div_euclid(INTERVAL_MS)
}

/// Parts of a history row.
#[must_use]
pub fn history_parts(row: &History) -> [(QuarterKey, Part); 3] {
    let key = (row.zone, quarter_of(row.start_ms));
    [
        (key, Part::Load(Origin::History, row.load)),
        (key, Part::Renewable(Origin::History, row.renewable)),
        (key, Part::Temperature(Origin::History, row.temperature)),
    ]
}

/// The part a key figure gives: mean power of the quarter, at most what a row may hold.
#[must_use]
pub fn figure_part(row: &Kpi) -> Option<(QuarterKey, Part)> {
    let key = (row.zone, quarter_of(row.start_ms));
    let mean = row.value.saturating_mul(3_600_000 / INTERVAL_MS);
    let mean = MilliWatts(mean.clamp(-MAX_MAGNITUDE, MAX_MAGNITUDE));
    match row.measure {
        Measure::LoadEnergy => Some((key, Part::Load(Origin::Measured(row.start_ms), mean))),
        Measure::RenewableEnergy => Some((key, Part::Renewable(Origin::Measured(row.start_ms), mean))),
        Measure::Readings | Measure::Duplicates | Measure::Corrections => None,
    }
}

/// The part an observation gives.
#[must_use]
pub fn weather_part(row: &WeatherObservation) -> (QuarterKey, Part) {
    ((row.zone, quarter_of(row.event_ms)), Part::Temperature(Origin::Measured(row.event_ms), row.temperature))
}

/// Puts the parts of each quarter together.
#[must_use]
pub fn quarters<'scope>(parts: Changes<'scope, (QuarterKey, Part)>, registry: &Registry) -> Changes<'scope, (ZoneId, Quarter)> {
    let quarters = kept(parts, "Quarter parts", registry, |((zone, _), _)| u64::from(zone.0))
        .reduce_named("Quarters", |key: &QuarterKey, parts, out| {
            let mut quarter = Quarter { index: key.1, load: None, renewable: None, temperature: None };
            // Parts come in ascending order, so the last of each quantity holds.
            for (part, _) in parts.iter().filter(|(_, count)| *count > 0) {
                match part {
                    Part::Load(_, p) => quarter.load = Some(*p),
                    Part::Renewable(_, p) => quarter.renewable = Some(*p),
                    Part::Temperature(_, temperature) => quarter.temperature = Some(*temperature),
                }
            }
            if quarter.load.is_some() || quarter.renewable.is_some() || quarter.temperature.is_some() {
                out.push((quarter, 1));
            }
        })
        .map(|((zone, _), quarter)| (zone, quarter));
    at_own_epochs(quarters)
}
