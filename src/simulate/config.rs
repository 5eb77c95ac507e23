//! What a simulation is told.
//!
//! Shares are 0 to 1 of the readings taken; times are milliseconds unless the name says otherwise. The defaults are a
//! control centre's ordinary day: a tenth of the readings late, one in five hundred lost, one in two hundred bad.

use super::outcome::SimulationError;

/// Settings of a [`Simulation`](super::Simulation).
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimulationConfig {
    /// Where all randomness comes from.
    pub seed: u64,
    /// Length of the run.
    pub minutes: u32,
    /// First epoch, UTC milliseconds, a multiple of 1,000. Default: 28 days after the profiles' first step; without
    /// profiles 2020-01-29 00:00 UTC.
    pub start_ms: Option<i64>,
    /// How often the truth moves and each sensor reports.
    pub period_s: u32,
    /// Number of sensors; the basic fleet by default.
    pub sensors: Option<usize>,
    /// How often the truth is given; 0 for never.
    pub truth_every_s: u32,
    /// Local standard time minus UTC. Default: -7 h for RTS-GMLC, else 0.
    pub utc_offset_ms: Option<i64>,
    /// ISO 4217 code.
    pub currency: String,
    /// Latitude of the synthetic sun, degrees north.
    pub latitude_deg: f64,
    /// Errors of the sensors.
    pub accuracy: Accuracy,
    /// What lies between sensor and control centre.
    pub channel: ChannelConfig,
    /// What happens to the grid.
    pub events: EventConfig,
}

impl Default for SimulationConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            minutes: 60,
            start_ms: None,
            period_s: 10,
            sensors: None,
            truth_every_s: 60,
            utc_offset_ms: None,
            currency: "USD".to_owned(),
            latitude_deg: 35.0,
            accuracy: Accuracy::default(),
            channel: ChannelConfig::default(),
            events: EventConfig::default(),
        }
    }
}

/// Standard deviations as shares of a sensor's typical value.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Accuracy {
    /// Of voltage magnitudes.
    pub voltage: f64,
    /// Of branch flows.
    pub flow: f64,
    /// Of bus injections.
    pub injection: f64,
    /// Of loads, units and meters below buses.
    pub meter: f64,
}

impl Default for Accuracy {
    fn default() -> Self {
        Self { voltage: 0.004, flow: 0.01, injection: 0.02, meter: 0.01 }
    }
}

/// Rates of the channel.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChannelConfig {
    /// Share delayed 2 to 30 s.
    pub slow: f64,
    /// Share delayed 60 to 300 s. The rest takes 0.05 to 2 s.
    pub very_slow: f64,
    /// Share that never arrives.
    pub loss: f64,
    /// Share that arrives again, 1 to 120 s later.
    pub duplicate: f64,
    /// Share measured again and corrected 1 to 120 s later.
    pub correction: f64,
    /// Share measured again and corrected 5 to 12 min later.
    pub late_correction: f64,
    /// Share marked bad.
    pub bad_quality: f64,
    /// Share off by 20 standard deviations.
    pub gross_error: f64,
    /// Share of those corrected later.
    pub gross_error_corrected: f64,
    /// Share that arrives 17 to 25 min late: beyond the lateness bound of all but meters.
    pub too_late: f64,
    /// Rows stamped 1 to 10 min ahead, per reading.
    pub future: f64,
    /// Share outside the sensor's range.
    pub out_of_range: f64,
    /// Rows of sensors nobody announced, per reading.
    pub unknown_sensor: f64,
    /// Start and end, as shares of the run, of the time one sensor repeats its value.
    pub stuck: (f64, f64),
    /// Start and end, as shares of the run, of the time one sensor says nothing.
    pub silent: (f64, f64),
}

impl Default for ChannelConfig {
    fn default() -> Self {
        Self {
            slow: 0.09,
            very_slow: 0.01,
            loss: 0.002,
            duplicate: 0.0025,
            correction: 0.0025,
            late_correction: 0.0002,
            bad_quality: 0.005,
            gross_error: 0.0002,
            gross_error_corrected: 0.5,
            too_late: 1e-5,
            future: 1e-5,
            out_of_range: 1e-5,
            unknown_sensor: 1e-5,
            stuck: (0.3, 0.5),
            silent: (0.55, 0.65),
        }
    }
}

/// When things happen, as shares of the run (begin, end); an empty interval (begin = end) leaves the event out.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventConfig {
    /// A branch is opened and closed again by an operator.
    pub breaker_operation: (f64, f64),
    /// A branch trips and is restored.
    pub line_outage: (f64, f64),
    /// A large running unit trips and comes back.
    pub unit_trip: (f64, f64),
    /// Share of the load that the firm units left must be able to carry for a unit to be chosen: below 1 the trip is a
    /// shortage, which the truth rides through on overload and the engine has to shed for.
    pub capacity_left: f64,
}

impl Default for EventConfig {
    fn default() -> Self {
        Self { breaker_operation: (0.20, 0.30), line_outage: (0.40, 0.55), unit_trip: (0.65, 0.85), capacity_left: 1.05 }
    }
}

/// Greatest number of sensors: what fits in the memory of one machine.
const MAX_SENSORS: usize = 20_000_000;

impl SimulationConfig {
    /// Whether the settings make sense.
    ///
    /// # Errors
    /// [`SimulationError::Setting`] names the first that does not.
    pub fn check(&self) -> Result<(), SimulationError> {
        let refuse =
            |setting: &'static str, value: String, expected: &'static str| Err(SimulationError::Setting { setting, value, expected });
        if self.minutes == 0 || self.minutes > 60 * 24 * 366 {
            return refuse("minutes", self.minutes.to_string(), "1 to 527040 (a year)");
        }
        if self.period_s == 0 || self.period_s > 3_600 {
            return refuse("period_s", self.period_s.to_string(), "1 to 3600");
        }
        if let Some(count) = self.sensors.filter(|count| *count == 0 || *count > MAX_SENSORS) {
            return refuse("sensors", count.to_string(), "1 to 20000000");
        }
        // The log counts milliseconds from 1970; a century is room enough for history before and horizons after.
        if let Some(start) = self.start_ms.filter(|s| s % 1_000 != 0 || !(100 * 86_400_000..4_102_444_800_000).contains(s)) {
            return refuse("start_ms", start.to_string(), "a multiple of 1000 between 1970-04-11 and 2100");
        }
        if let Some(offset) = self.utc_offset_ms.filter(|offset| offset.abs() > 14 * 3_600_000) {
            return refuse("utc_offset_ms", offset.to_string(), "at most 14 hours");
        }
        if self.currency.len() != 3 || !self.currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return refuse("currency", self.currency.clone(), "three capital letters");
        }
        if !(-66.0..=66.0).contains(&self.latitude_deg) {
            return refuse("latitude_deg", self.latitude_deg.to_string(), "-66 to 66: where the sun rises every day");
        }
        for (setting, share) in self.shares() {
            if !(0.0..=1.0).contains(&share) {
                return refuse(setting, share.to_string(), "a share, 0 to 1");
            }
        }
        for (setting, (begin, end)) in self.intervals() {
            if !(0.0 <= begin && begin <= end && end <= 1.0) {
                return refuse(setting, format!("{begin} to {end}"), "shares of the run, 0 to 1, the first not above the second");
            }
        }
        if self.channel.slow + self.channel.very_slow > 1.0 {
            return refuse("channel.slow + channel.very_slow", (self.channel.slow + self.channel.very_slow).to_string(), "at most 1");
        }
        Ok(())
    }

    fn shares(&self) -> Vec<(&'static str, f64)> {
        let (accuracy, channel) = (&self.accuracy, &self.channel);
        vec![
            ("accuracy.voltage", accuracy.voltage),
            ("accuracy.flow", accuracy.flow),
            ("accuracy.injection", accuracy.injection),
            ("accuracy.meter", accuracy.meter),
            ("channel.slow", channel.slow),
            ("channel.very_slow", channel.very_slow),
            ("channel.loss", channel.loss),
            ("channel.duplicate", channel.duplicate),
            ("channel.correction", channel.correction),
            ("channel.late_correction", channel.late_correction),
            ("channel.bad_quality", channel.bad_quality),
            ("channel.gross_error", channel.gross_error),
            ("channel.gross_error_corrected", channel.gross_error_corrected),
            ("channel.too_late", channel.too_late),
            ("channel.future", channel.future),
            ("channel.out_of_range", channel.out_of_range),
            ("channel.unknown_sensor", channel.unknown_sensor),
        ]
    }

    fn intervals(&self) -> [(&'static str, (f64, f64)); 5] {
        [
            ("channel.stuck", self.channel.stuck),
            ("channel.silent", self.channel.silent),
            ("events.breaker_operation", self.events.breaker_operation),
            ("events.line_outage", self.events.line_outage),
            ("events.unit_trip", self.events.unit_trip),
        ]
    }
}
