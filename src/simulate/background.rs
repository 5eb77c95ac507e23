//! Rows beside the measurements: the region and its past in the first epoch; then storage telemetry every minute,
//! weather every quarter of an hour, weather forecasts every hour, day-ahead prices once a day.
//!
//! A forecast issued at a full hour is available, and sent, five minutes later. Prices of the next local day come at
//! 12:45 local time. Nothing is known before its time.

use super::channel::Channel;
use super::config::SimulationConfig;
use super::drivers::Drivers;
use super::truth::Truth;
use gridflow_inputs::ids::ZoneId;
use gridflow_inputs::input::{History, Input, Market, Price, Region, WeatherForecast};
use gridflow_inputs::units::{MAX_MAGNITUDE, MicroHertz, MicroPerMwh, MilliCelsius, MilliVoltAmperes, MilliWatts};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// How far the history reaches back.
pub(super) const HISTORY_MS: i64 = 28 * DAY;
/// Length of a history row.
const QUARTER: i64 = 15 * MINUTE;
/// Time between the issue of a forecast and its arrival.
const FORECAST_DELAY: i64 = 5 * MINUTE;
/// Hours a forecast looks ahead.
const FORECAST_HOURS: i64 = 36;
/// Local time at which the prices of the next day come.
const PRICE_TIME: i64 = 12 * HOUR + 45 * MINUTE;

/// The first row of a log.
pub(super) fn region(config: &SimulationConfig, name: &str, base_power: MilliVoltAmperes, utc_offset_ms: i64) -> Region {
    Region {
        name: name.to_owned(),
        currency: config.currency.clone(),
        base_power,
        epoch_ms: 1_000,
        utc_offset_ms,
        frequency: MicroHertz::from_hz(60.0).expect("60 Hz is in range"),
        lateness_scada_ms: 15 * MINUTE,
        lateness_meter_ms: 7 * DAY,
    }
}

/// Rows of the first epoch behind network and sensors: history, the newest forecast, the prices known.
pub(super) fn opening(drivers: &Drivers, start_ms: i64) -> Vec<Input> {
    let mut rows = Vec::new();
    let zones = Vec::from_iter(drivers.zones().enumerate());
    let first = (start_ms - HISTORY_MS).div_euclid(QUARTER) * QUARTER;
    let quarters = (0..).map(|quarter| first + quarter * QUARTER).take_while(|begin| begin + QUARTER <= start_ms);
    for begin in quarters {
        rows.extend(zones.iter().map(|&(zone, id)| Input::from(history(drivers, zone, id, begin))));
    }
    let issued = (start_ms - FORECAST_DELAY).div_euclid(HOUR) * HOUR;
    for &(zone, id) in &zones {
        rows.extend(forecasts(drivers, zone, id, issued).map(Input::from));
    }
    let day = local_day(drivers, start_ms);
    let days = if start_ms - day >= PRICE_TIME { 2 } else { 1 };
    for &(zone, id) in &zones {
        rows.extend(prices(drivers, zone, id, day, days * 24).map(Input::from));
    }
    rows
}

/// Sends what is due at an epoch; forecasts and prices of the first epoch are in its opening.
pub(super) fn due(truth: &Truth, channel: &mut Channel, epoch_ms: i64, first: bool) {
    let drivers = &truth.drivers;
    let every = |period: i64| epoch_ms.rem_euclid(period) == 0;
    if every(MINUTE) {
        let bus_zone = |unit: usize| truth.storage_zones[unit];
        for (index, unit) in truth.storages.iter().enumerate() {
            let ambient = drivers.weather(bus_zone(index), epoch_ms).temperature_deg_c;
            let arrival = epoch_ms + channel.short_delay();
            channel.send(arrival, unit.telemetry(epoch_ms, ambient));
        }
    }
    if every(QUARTER) {
        for (zone, id) in drivers.zones().enumerate() {
            let arrival = epoch_ms + channel.short_delay();
            channel.send(arrival, drivers.weather(zone, epoch_ms).observation(id, epoch_ms));
        }
    }
    if first {
        return;
    }
    if (epoch_ms - FORECAST_DELAY).rem_euclid(HOUR) == 0 {
        for (zone, id) in drivers.zones().enumerate() {
            forecasts(drivers, zone, id, epoch_ms - FORECAST_DELAY).for_each(|row| channel.send(epoch_ms, row));
        }
    }
    let day = local_day(drivers, epoch_ms);
    if epoch_ms - day == PRICE_TIME {
        for (zone, id) in drivers.zones().enumerate() {
            prices(drivers, zone, id, day + DAY, 24).for_each(|row| channel.send(epoch_ms, row));
        }
    }
}

/// Begin of the local day.
fn local_day(drivers: &Drivers, time_ms: i64) -> i64 {
    let offset = drivers.climate.utc_offset_ms;
    (time_ms + offset).div_euclid(DAY) * DAY - offset
}

fn history(drivers: &Drivers, zone: usize, id: ZoneId, start_ms: i64) -> History {
    // Everything moves almost straight within a quarter of an hour: its middle is its mean.
    let middle = start_ms + QUARTER / 2;
    History {
        zone: id,
        start_ms,
        load: MilliWatts(bounded(drivers.load_mw(zone, middle), MilliWatts::PER_MW)),
        renewable: MilliWatts(bounded(drivers.renewable_mw(zone, middle), MilliWatts::PER_MW)),
        temperature: MilliCelsius(bounded(drivers.weather(zone, middle).temperature_deg_c, MilliCelsius::PER_DEG_C)),
    }
}

fn forecasts(drivers: &Drivers, zone: usize, id: ZoneId, issued_ms: i64) -> impl Iterator<Item = WeatherForecast> {
    (1..=FORECAST_HOURS).map(move |lead| {
        let valid_ms = issued_ms + lead * HOUR;
        let foreseen = drivers.climate.foreseen(id, drivers.weather(zone, valid_ms), issued_ms, valid_ms);
        foreseen.forecast(id, valid_ms, issued_ms, issued_ms + FORECAST_DELAY)
    })
}

fn prices(drivers: &Drivers, zone: usize, id: ZoneId, from_ms: i64, hours: i64) -> impl Iterator<Item = Price> {
    (0..hours).map(move |hour| {
        let start_ms = from_ms + hour * HOUR;
        let price = MicroPerMwh(bounded(drivers.price_per_mwh(zone, start_ms), MicroPerMwh::PER_UNIT_PER_MWH));
        Price { market: Market::DayAhead, zone: id, start_ms, length_ms: HOUR, price }
    })
}

/// In fixed point; a profile may say anything, a row may not.
fn bounded(value: f64, per_one: f64) -> i64 {
    let limit = MAX_MAGNITUDE as f64;
    (value * per_one).round_ties_even().clamp(-limit, limit) as i64
}
