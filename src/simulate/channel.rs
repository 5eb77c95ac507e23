//! What lies between a sensor and the control centre: noise, delay, loss, repetition, correction, and the occasional row
//! that has to be refused.
//!
//! Rows are kept by the epoch they arrive in and leave in the order of arrival, ties in the order of sending. Memory holds
//! only what is on its way: at most 25 minutes of the slowest. Everything that happens to a reading is counted.

use super::config::ChannelConfig;
use super::outcome::SimulationSummary;
use super::random::{Purpose, Random};
use super::sensors::Instrument;
use gridflow_inputs::ids::SensorId;
use gridflow_inputs::input::{Input, Measurement, Quality};
use gridflow_inputs::units::MAX_MAGNITUDE;
use std::collections::BTreeMap;

/// A row on its way. Measurements are kept plain since there are so many.
enum Parcel {
    Measurement(Measurement),
    Other(Box<Input>),
}

/// A time within which one sensor misbehaves.
struct Spell {
    sensor: SensorId,
    from_ms: i64,
    until_ms: i64,
}

impl Spell {
    fn new(sensor: SensorId, share: (f64, f64), start_ms: i64, length_ms: i64) -> Self {
        let at = |share: f64| start_ms + (share * length_ms as f64) as i64;
        Self { sensor, from_ms: at(share.0), until_ms: at(share.1) }
    }

    fn holds(&self, sensor: SensorId, time_ms: i64) -> bool {
        self.sensor == sensor && (self.from_ms..self.until_ms).contains(&time_ms)
    }
}

/// The channel.
pub(super) struct Channel {
    config: ChannelConfig,
    /// By epoch of arrival: time of arrival, number of sending, row.
    pending: BTreeMap<i64, Vec<(i64, u64, Parcel)>>,
    sent: u64,
    noise: Random,
    random: Random,
    stuck: Spell,
    /// The value the stuck sensor repeats.
    stuck_value: Option<i64>,
    silent: Spell,
    /// First number no sensor has.
    unknown: u32,
}

impl Channel {
    /// A channel of a fleet of `sensors` numbered from 1.
    pub(super) fn new(config: &ChannelConfig, seed: u64, sensors: usize, start_ms: i64, length_ms: i64) -> Self {
        let mut random = Random::new(seed, Purpose::Channel);
        let mut choose = || SensorId(1 + random.below(sensors) as u32);
        let (stuck, silent) = (choose(), choose());
        Self {
            config: config.clone(),
            pending: BTreeMap::new(),
            sent: 0,
            noise: Random::new(seed, Purpose::Noise),
            random,
            stuck: Spell::new(stuck, config.stuck, start_ms, length_ms),
            stuck_value: None,
            silent: Spell::new(silent, config.silent, start_ms, length_ms),
            unknown: sensors as u32 + 1,
        }
    }

    /// Sends a row that is neither lost nor repeated.
    pub(super) fn send(&mut self, arrival_ms: i64, row: impl Into<Input>) {
        self.post(arrival_ms, Parcel::Other(Box::new(row.into())));
    }

    /// Delay of a small message, milliseconds.
    pub(super) fn short_delay(&mut self) -> i64 {
        self.random.milliseconds(200, 2_000)
    }

    /// Takes a reading of an instrument whose true value is given, and sends what comes of it.
    pub(super) fn read(&mut self, instrument: &Instrument, event_ms: i64, truth: f64, summary: &mut SimulationSummary) {
        summary.readings += 1;
        let mut value = self.measure(instrument, truth);
        if self.stuck.holds(instrument.id, event_ms) {
            value = *self.stuck_value.get_or_insert(value);
            summary.stuck += 1;
        }
        self.strays(instrument, event_ms, value, summary);
        if self.silent.holds(instrument.id, event_ms) {
            summary.silent += 1;
            return;
        }
        if self.random.happens(self.config.loss) {
            summary.lost += 1;
            return;
        }
        let mut quality = Quality::Good;
        let mut correct = None;
        if self.random.happens(self.config.bad_quality) {
            quality = Quality::Bad;
            summary.bad_quality += 1;
        }
        if self.random.happens(self.config.gross_error) {
            let error = if self.random.happens(0.5) { 20 } else { -20 };
            value = limited(value as f64 + error as f64 * instrument.sigma as f64);
            summary.gross_errors += 1;
            if self.random.happens(self.config.gross_error_corrected) {
                summary.gross_errors_corrected += 1;
                correct = Some((1_000, 120_000));
            }
        }
        if self.random.happens(self.config.out_of_range) {
            let (low, high) = instrument.range;
            value = (high + 1 + (high - low) / 20).min(MAX_MAGNITUDE);
            summary.out_of_range += 1;
        }
        let arrival_ms = event_ms + self.delay(summary);
        let reading = Measurement { sensor: instrument.id, event_ms, revision: 0, value, quality };
        if self.random.happens(self.config.duplicate) {
            summary.duplicates += 1;
            let again = arrival_ms + self.random.milliseconds(1_000, 120_000);
            self.post(again, Parcel::Measurement(reading.clone()));
        }
        self.post(arrival_ms, Parcel::Measurement(reading));
        let kind = self.random.unit();
        if correct.is_some() || kind < self.config.correction {
            summary.corrections += 1;
            correct = Some((1_000, 120_000));
        } else if kind < self.config.correction + self.config.late_correction {
            summary.late_corrections += 1;
            correct = Some((300_000, 720_000));
        }
        if let Some((least, greatest)) = correct {
            let value = self.measure(instrument, truth);
            let later = arrival_ms + self.random.milliseconds(least, greatest);
            let row = Measurement { sensor: instrument.id, event_ms, revision: 1, value, quality: Quality::Good };
            self.post(later, Parcel::Measurement(row));
        }
    }

    /// Rows that nobody should have sent, now and then beside a reading.
    fn strays(&mut self, instrument: &Instrument, event_ms: i64, value: i64, summary: &mut SimulationSummary) {
        let mut row = Measurement { sensor: instrument.id, event_ms, revision: 0, value, quality: Quality::Good };
        if self.random.happens(self.config.future) {
            row.event_ms = event_ms + self.random.milliseconds(60_000, 600_000);
            summary.future += 1;
            self.post(event_ms + 500, Parcel::Measurement(row.clone()));
            row.event_ms = event_ms;
        }
        if self.random.happens(self.config.unknown_sensor) {
            row.sensor = SensorId(self.unknown + self.random.below(1_000) as u32);
            summary.unknown_sensor += 1;
            self.post(event_ms + 500, Parcel::Measurement(row));
        }
    }

    fn delay(&mut self, summary: &mut SimulationSummary) -> i64 {
        let config = &self.config;
        if self.random.happens(config.too_late) {
            summary.too_late += 1;
            return self.random.milliseconds(17 * 60_000, 25 * 60_000);
        }
        let kind = self.random.unit();
        if kind < config.very_slow {
            summary.very_slow += 1;
            self.random.milliseconds(60_000, 300_000)
        } else if kind < config.very_slow + config.slow {
            summary.slow += 1;
            self.random.milliseconds(2_000, 30_000)
        } else {
            self.random.milliseconds(50, 1_999)
        }
    }

    fn measure(&mut self, instrument: &Instrument, truth: f64) -> i64 {
        limited(truth + instrument.sigma as f64 * self.noise.gaussian())
    }

    fn post(&mut self, arrival_ms: i64, parcel: Parcel) {
        let epoch = (arrival_ms + 999).div_euclid(1_000) * 1_000;
        self.pending.entry(epoch).or_default().push((arrival_ms, self.sent, parcel));
        self.sent += 1;
    }

    /// What has arrived by an epoch, in order.
    pub(super) fn arrived(&mut self, epoch_ms: i64, rows: &mut Vec<Input>) {
        while let Some(entry) = self.pending.first_entry().filter(|entry| *entry.key() <= epoch_ms) {
            let mut parcels = entry.remove();
            parcels.sort_unstable_by_key(|(arrival_ms, number, _)| (*arrival_ms, *number));
            rows.extend(parcels.into_iter().map(|(_, _, parcel)| match parcel {
                Parcel::Measurement(row) => Input::Measurement(row),
                Parcel::Other(row) => *row,
            }));
        }
    }

    /// Rows still on their way.
    pub(super) fn in_flight(&self) -> u64 {
        self.pending.values().map(|parcels| parcels.len() as u64).sum()
    }
}

/// A value as a row has it; what no row may hold is cut to the limit.
fn limited(value: f64) -> i64 {
    let limit = MAX_MAGNITUDE as f64;
    value.round_ties_even().clamp(-limit, limit) as i64
}
