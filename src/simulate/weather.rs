//! Synthetic weather of a zone: a function of (seed, zone, time), so forecasts can look ahead and history back.
//!
//! Temperature = season + time of day + weather systems of days and hours. Sun: declination after Cooper (1969), clear
//! sky after Haurwitz (1945), clouds after Kasten and Czeplak (1980). Degrees Celsius, m/s, W/m², shares 0 to 1.

use super::random::SmoothNoise;
use gridflow_inputs::ids::{StationId, ZoneId};
use gridflow_inputs::input::{WeatherForecast, WeatherObservation};
use gridflow_inputs::units::{MilliCelsius, PartsPerMillion};
use std::f64::consts::PI;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The weather of a zone at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Weather {
    pub(super) temperature_deg_c: f64,
    pub(super) humidity: f64,
    pub(super) wind_m_per_s: f64,
    pub(super) cloud_cover: f64,
    pub(super) ghi_w_per_m2: f64,
}

/// Where a seeded climate is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Climate {
    pub(super) noise: SmoothNoise,
    pub(super) utc_offset_ms: i64,
    pub(super) latitude_deg: f64,
}

/// Keys of the noise, so that quantities vary apart. Forecast errors have keys of their own.
#[derive(Clone, Copy)]
enum Key {
    Temperature = 1,
    Cloud = 2,
    Wind = 3,
    Humidity = 4,
    TemperatureError = 5,
    CloudError = 6,
    WindError = 7,
}

impl Climate {
    fn noise(&self, key: Key, zone: ZoneId, scale_ms: i64, time_ms: i64) -> f64 {
        self.noise.at(u64::from(zone.0) << 8 | key as u64, scale_ms, time_ms)
    }

    /// Day of the year (0 to 365.25) and hour of the day (0 to 24), local.
    fn local(&self, time_ms: i64) -> (f64, f64) {
        let local = time_ms + self.utc_offset_ms;
        ((local.div_euclid(DAY) as f64).rem_euclid(365.25), local.rem_euclid(DAY) as f64 / HOUR as f64)
    }

    pub(super) fn at(&self, zone: ZoneId, time_ms: i64) -> Weather {
        let (day, hour) = self.local(time_ms);
        let turn = |x: f64, period: f64| libm::cos(2.0 * PI * x / period);
        // Warmest in the last third of July and at 15:00; south of the equator half a year later.
        let summer = if self.latitude_deg >= 0.0 { 203.0 } else { 20.0 };
        let temperature = 14.0
            + 10.0 * turn(day - summer, 365.25)
            + 5.0 * turn(hour - 15.0, 24.0)
            + 3.0 * self.noise(Key::Temperature, zone, 60 * HOUR, time_ms)
            + 0.7 * self.noise(Key::Temperature, zone, 3 * HOUR, time_ms);
        let cloud =
            0.40 + 0.28 * self.noise(Key::Cloud, zone, 20 * HOUR, time_ms) + 0.15 * self.noise(Key::Cloud, zone, 90 * MINUTE, time_ms);
        let wind = 7.5
            + 2.8 * self.noise(Key::Wind, zone, 18 * HOUR, time_ms)
            + 1.2 * self.noise(Key::Wind, zone, 3 * HOUR, time_ms)
            + 0.4 * self.noise(Key::Wind, zone, 20 * MINUTE, time_ms);
        let humidity = 0.55 - 0.012 * (temperature - 14.0) + 0.1 * self.noise(Key::Humidity, zone, 12 * HOUR, time_ms);
        self.bounded(time_ms, temperature, humidity, wind, cloud)
    }

    /// What a forecast issued at `issued_ms` says about `valid_ms`: the truth and an error that grows with the square
    /// root of the lead, up to 2.4 K, 2.4 m/s and 0.24 of cloud cover after 36 h.
    pub(super) fn foreseen(&self, zone: ZoneId, truth: Weather, issued_ms: i64, valid_ms: i64) -> Weather {
        let lead_h = (valid_ms - issued_ms).max(0) as f64 / HOUR as f64;
        let grown = 0.4 * lead_h.sqrt();
        // Errors of one model run hang together over hours; a new run has new ones.
        let run = (issued_ms / HOUR).wrapping_mul(1_000_003).wrapping_mul(HOUR);
        let error = |key| self.noise(key, zone, 6 * HOUR, valid_ms.wrapping_add(run));
        self.bounded(
            valid_ms,
            truth.temperature_deg_c + grown * error(Key::TemperatureError),
            truth.humidity,
            truth.wind_m_per_s + grown * error(Key::WindError),
            truth.cloud_cover + 0.1 * grown * error(Key::CloudError),
        )
    }

    fn bounded(&self, time_ms: i64, temperature_deg_c: f64, humidity: f64, wind: f64, cloud: f64) -> Weather {
        let cloud_cover = cloud.clamp(0.0, 1.0);
        Weather {
            temperature_deg_c,
            humidity: humidity.clamp(0.05, 1.0),
            wind_m_per_s: wind.max(0.0),
            cloud_cover,
            ghi_w_per_m2: self.clear_sky(time_ms) * (1.0 - 0.75 * libm::pow(cloud_cover, 3.4)),
        }
    }

    /// Global horizontal irradiance without clouds.
    fn clear_sky(&self, time_ms: i64) -> f64 {
        let (day, hour) = self.local(time_ms);
        let declination = 23.45_f64.to_radians() * libm::sin(2.0 * PI * (285.0 + day) / 365.25);
        let latitude = self.latitude_deg.to_radians();
        let hour_angle = PI * (hour - 12.0) / 12.0;
        let height = libm::sin(latitude) * libm::sin(declination) + libm::cos(latitude) * libm::cos(declination) * libm::cos(hour_angle);
        if height > 0.0 { 1_098.0 * height * libm::exp(-0.057 / height) } else { 0.0 }
    }
}

impl Weather {
    /// Output of a wind unit as a share of its rating: cubic between 3 and 12 m/s, cut out at 25 m/s.
    pub(super) fn wind_share(&self) -> f64 {
        let wind = self.wind_m_per_s;
        match wind {
            _ if !(3.0..25.0).contains(&wind) => 0.0,
            _ if wind >= 12.0 => 1.0,
            _ => (wind * wind * wind - 27.0) / (1_728.0 - 27.0),
        }
    }

    /// Output of a solar unit as a share of its rating at 1,000 W/m².
    pub(super) fn solar_share(&self) -> f64 {
        (self.ghi_w_per_m2 / 1_000.0).min(1.0)
    }

    /// The row of an observation.
    pub(super) fn observation(&self, zone: ZoneId, event_ms: i64) -> WeatherObservation {
        let row = self.forecast(zone, event_ms, event_ms, event_ms);
        WeatherObservation {
            station: row.station,
            event_ms,
            zone,
            temperature: row.temperature,
            humidity: row.humidity,
            wind_mm_per_s: row.wind_mm_per_s,
            cloud_cover: row.cloud_cover,
            ghi_mw_per_m2: row.ghi_mw_per_m2,
        }
    }

    /// The row of a forecast. One station per zone, of the same number.
    pub(super) fn forecast(&self, zone: ZoneId, valid_at_ms: i64, issued_at_ms: i64, available_at_ms: i64) -> WeatherForecast {
        let thousandths = |value: f64| (value * 1_000.0).round_ties_even() as i64;
        WeatherForecast {
            station: StationId(zone.0),
            valid_at_ms,
            issued_at_ms,
            available_at_ms,
            zone,
            temperature: MilliCelsius(thousandths(self.temperature_deg_c)),
            humidity: PartsPerMillion(1_000 * thousandths(self.humidity)),
            wind_mm_per_s: thousandths(self.wind_m_per_s),
            cloud_cover: PartsPerMillion(1_000 * thousandths(self.cloud_cover)),
            ghi_mw_per_m2: thousandths(self.ghi_w_per_m2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn climate() -> Climate {
        Climate { noise: SmoothNoise::new(5), utc_offset_ms: -7 * HOUR, latitude_deg: 35.0 }
    }

    #[test]
    fn the_sun_shines_by_day_and_higher_in_summer() {
        let noon = |day: i64| climate().clear_sky(day * DAY + 19 * HOUR);
        assert_eq!(climate().clear_sky(7 * HOUR), 0.0, "local midnight");
        assert!((500.0..620.0).contains(&noon(355)), "winter noon {}", noon(355));
        assert!((980.0..1_080.0).contains(&noon(172)), "summer noon {}", noon(172));
    }

    #[test]
    fn a_year_of_weather_stays_within_what_is_plausible() {
        for hour in 0..365 * 24 {
            let weather = climate().at(ZoneId(2), hour * HOUR);
            assert!((-20.0..45.0).contains(&weather.temperature_deg_c), "{weather:?}");
            assert!((0.0..25.0).contains(&weather.wind_m_per_s) && (0.0..1_100.0).contains(&weather.ghi_w_per_m2), "{weather:?}");
        }
    }

    #[test]
    fn forecast_errors_grow_with_the_lead() {
        let climate = climate();
        let error = |lead: i64| {
            let errors = (0..500).map(|run| {
                let (issued, valid) = (run * HOUR, (run + lead) * HOUR);
                let truth = climate.at(ZoneId(1), valid);
                (climate.foreseen(ZoneId(1), truth, issued, valid).temperature_deg_c - truth.temperature_deg_c).abs()
            });
            errors.sum::<f64>() / 500.0
        };
        let (near, far) = (error(1), error(36));
        assert!((0.2..0.5).contains(&near) && (1.4..2.6).contains(&far), "{near} K after 1 h, {far} K after 36 h");
    }
}
