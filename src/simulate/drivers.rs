//! What drives the grid from outside, at any time: zone load, power available from wind, sun and water, temperature,
//! price. From the profiles where they have it, else synthetic with the same shape.
//!
//! A profile's value is the mean of its step; between the middles of steps it is interpolated linearly, so that nothing
//! jumps. MW, degrees Celsius, currency per MWh; times are UTC milliseconds.

use super::outcome::SimulationError;
use super::weather::{Climate, Weather};
use gridflow_inputs::ids::{GeneratorId, ZoneId};
use gridflow_inputs::network::{Fuel, Network};
use gridflow_inputs::profiles::{Profiles, Series, SeriesKey};
use std::collections::BTreeMap;
use std::f64::consts::PI;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// A zone and what the profiles know about it.
struct Zone {
    id: ZoneId,
    /// Sum of the file's loads.
    nominal_mw: f64,
    load: Option<Series>,
    temperature: Option<Series>,
    price: Option<Series>,
}

/// A unit in service whose output something outside bounds.
struct Unit {
    zone: usize,
    fuel: Fuel,
    p_max_mw: f64,
    available: Option<Series>,
}

/// The outside world.
pub(super) struct Drivers {
    pub(super) climate: Climate,
    zones: Vec<Zone>,
    units: BTreeMap<GeneratorId, Unit>,
    /// Profiles that fit nothing in the network.
    pub(super) unused: Vec<String>,
}

impl Drivers {
    pub(super) fn new(climate: Climate, network: &Network, profiles: Option<Profiles>) -> Self {
        let mut series = profiles.map(|profiles| profiles.series).unwrap_or_default();
        let mut nominal: BTreeMap<ZoneId, f64> = network.buses.iter().map(|bus| (bus.zone, 0.0)).collect();
        let zone_of: BTreeMap<_, _> = network.buses.iter().map(|bus| (bus.id, bus.zone)).collect();
        for load in network.loads.iter().filter(|load| load.in_service) {
            if let Some(zone) = zone_of.get(&load.bus).and_then(|zone| nominal.get_mut(zone)) {
                *zone += load.load_p.mw();
            }
        }
        let mut zones = Vec::from_iter(nominal.iter().map(|(&id, &nominal_mw)| Zone {
            id,
            nominal_mw,
            load: series.remove(&SeriesKey::ZoneLoad(id)),
            temperature: series.remove(&SeriesKey::ZoneTemperature(id)),
            price: series.remove(&SeriesKey::ZonePrice(id)),
        }));
        zones.sort_by_key(|zone| zone.id);
        let mut units = BTreeMap::new();
        for unit in network.generators.iter().filter(|unit| unit.in_service) {
            let available = series.remove(&SeriesKey::UnitAvailable(unit.name.clone()));
            if available.is_none() && !unit.variable {
                continue;
            }
            let zone = zone_of.get(&unit.bus).and_then(|id| zones.binary_search_by_key(id, |zone| zone.id).ok());
            if let Some(zone) = zone {
                units.insert(unit.id, Unit { zone, fuel: unit.fuel, p_max_mw: unit.p_max.mw(), available });
            }
        }
        let unused = series.keys().map(SeriesKey::to_string).collect();
        Self { climate, zones, units, unused }
    }

    /// Whether every load profile covers the run.
    pub(super) fn check_range(&self, start_ms: i64, end_ms: i64) -> Result<(), SimulationError> {
        for zone in &self.zones {
            if let Some(load) = &zone.load {
                let (from_ms, until_ms) = (load.start_ms, load.end_ms());
                if start_ms < from_ms || end_ms > until_ms {
                    return Err(SimulationError::ProfileRange { zone: zone.id, from_ms, until_ms, start_ms, end_ms });
                }
            }
        }
        Ok(())
    }

    /// The zones, by id.
    pub(super) fn zones(&self) -> impl Iterator<Item = ZoneId> {
        self.zones.iter().map(|zone| zone.id)
    }

    /// Position of a zone in the order of ids.
    pub(super) fn zone_index(&self, zone: ZoneId) -> usize {
        self.zones.binary_search_by_key(&zone, |row| row.id).expect("every bus has its zone here")
    }

    /// Load of a zone as a multiple of the file's.
    pub(super) fn load_factor(&self, zone: usize, time_ms: i64) -> f64 {
        let row = &self.zones[zone];
        match row.load.as_ref().and_then(|series| value_at(series, time_ms)) {
            Some(mw) if row.nominal_mw > 0.0 => mw / row.nominal_mw,
            _ => self.synthetic_load(row.id, time_ms),
        }
    }

    /// Load of a zone.
    pub(super) fn load_mw(&self, zone: usize, time_ms: i64) -> f64 {
        self.zones[zone].nominal_mw * self.load_factor(zone, time_ms)
    }

    /// Power a unit has available; none where only its rating bounds it.
    pub(super) fn available_mw(&self, unit: GeneratorId, time_ms: i64) -> Option<f64> {
        self.units.get(&unit).map(|unit| self.available_of(unit, time_ms))
    }

    fn available_of(&self, unit: &Unit, time_ms: i64) -> f64 {
        let profile = unit.available.as_ref().and_then(|series| value_at(series, time_ms));
        let available = profile.unwrap_or_else(|| {
            let weather = self.climate.at(self.zones[unit.zone].id, time_ms);
            unit.p_max_mw
                * match unit.fuel {
                    Fuel::Wind => weather.wind_share(),
                    Fuel::Solar => weather.solar_share(),
                    _ => 1.0,
                }
        });
        available.min(unit.p_max_mw).max(0.0)
    }

    /// Wind and solar power available in a zone.
    pub(super) fn renewable_mw(&self, zone: usize, time_ms: i64) -> f64 {
        let units = self.units.values().filter(|unit| unit.zone == zone && matches!(unit.fuel, Fuel::Wind | Fuel::Solar));
        units.map(|unit| self.available_of(unit, time_ms)).sum()
    }

    /// Weather of a zone; the profile's temperature where it has one.
    pub(super) fn weather(&self, zone: usize, time_ms: i64) -> Weather {
        let row = &self.zones[zone];
        let mut weather = self.climate.at(row.id, time_ms);
        if let Some(temperature) = row.temperature.as_ref().and_then(|series| value_at(series, time_ms)) {
            weather.temperature_deg_c = temperature;
        }
        weather
    }

    /// Day-ahead price of the hour that begins at `start_ms`.
    pub(super) fn price_per_mwh(&self, zone: usize, start_ms: i64) -> f64 {
        let middle = start_ms + HOUR / 2;
        let row = &self.zones[zone];
        row.price.as_ref().and_then(|series| value_at(series, middle)).unwrap_or_else(|| {
            let tightness = self.load_factor(zone, middle) - 0.5;
            let sun = self.climate.at(row.id, middle).solar_share();
            let noise = self.climate.noise.at(u64::from(row.id.0) << 8 | 101, 6 * HOUR, middle);
            18.0 + 240.0 * tightness.max(0.0) * tightness - 12.0 * sun + 3.0 * noise
        })
    }

    /// A day with an evening peak and a morning shoulder, weekends lower, heating and cooling on top.
    fn synthetic_load(&self, zone: ZoneId, time_ms: i64) -> f64 {
        let local = time_ms + self.climate.utc_offset_ms;
        let hour_of_week = local.rem_euclid(168 * HOUR) as f64 / HOUR as f64;
        let wave = |peak: f64, period: f64| libm::cos(2.0 * PI * (hour_of_week - peak) / period);
        let ramp = |from: f64| {
            let x = ((hour_of_week - from) / 4.0).clamp(0.0, 1.0);
            x * x * (3.0 - 2.0 * x)
        };
        // The epoch began on a Thursday: Saturday begins in hour 48, Monday in hour 96.
        let weekend = ramp(46.0) - ramp(94.0);
        let temperature = self.climate.at(zone, time_ms).temperature_deg_c;
        let comfort = 0.006 * (temperature - 22.0).max(0.0) + 0.004 * (8.0 - temperature).max(0.0);
        let noise = self.climate.noise.at(u64::from(zone.0) << 8 | 102, 2 * HOUR, time_ms);
        let factor = 0.72 + 0.11 * wave(17.0, 24.0) + 0.05 * wave(8.0, 12.0) - 0.06 * weekend + comfort + 0.008 * noise;
        factor.clamp(0.4, 1.0)
    }
}

/// Value at a time; constant within the first and last half step, and for ten minutes beyond the end, so that a dispatch
/// which looks a little beyond the end of a run finds something. None farther out.
fn value_at(series: &Series, time_ms: i64) -> Option<f64> {
    let last = series.values.len().checked_sub(1)?;
    if time_ms < series.start_ms || time_ms >= series.end_ms() + 10 * MINUTE {
        return None;
    }
    let from_middle = time_ms - series.start_ms - series.step_ms / 2;
    if from_middle < 0 {
        return series.values.first().copied();
    }
    let index = (from_middle / series.step_ms) as usize;
    if index >= last {
        return series.values.last().copied();
    }
    let share = (from_middle % series.step_ms) as f64 / series.step_ms as f64;
    let (a, b) = (series.values[index], series.values[index + 1]);
    Some(a + (b - a) * share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::random::SmoothNoise;

    #[test]
    fn a_profile_passes_through_the_middles_of_its_steps_without_jumps() {
        let series = Series { start_ms: 1_000, step_ms: 100, values: vec![1.0, 3.0, 2.0] };
        let at = |time_ms| value_at(&series, time_ms);
        assert_eq!([at(999), at(1_000), at(1_050), at(1_100)], [None, Some(1.0), Some(1.0), Some(2.0)]);
        assert_eq!([at(1_150), at(1_200), at(1_299), at(1_399)], [Some(3.0), Some(2.5), Some(2.0), Some(2.0)]);
        assert_eq!([at(1_300 + 600_000 - 1), at(1_300 + 600_000)], [Some(2.0), None]);
    }

    #[test]
    fn a_synthetic_year_of_load_moves_smoothly_between_its_bounds() {
        let climate = Climate { noise: SmoothNoise::new(1), utc_offset_ms: 0, latitude_deg: 35.0 };
        let drivers = Drivers { climate, zones: vec![], units: BTreeMap::new(), unused: vec![] };
        let values = Vec::from_iter((0..365 * 288).map(|step| drivers.synthetic_load(ZoneId(1), step * 5 * MINUTE)));
        let step = values.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f64::max);
        let (low, high) = values.iter().fold((1.0_f64, 0.0_f64), |(low, high), v| (low.min(*v), high.max(*v)));
        assert!(step < 0.01, "a step of {step} in five minutes");
        assert!((0.4..0.6).contains(&low) && (0.85..=1.0).contains(&high), "{low} to {high}");
    }
}
