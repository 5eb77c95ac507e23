//! Workload W1: the readings of a region of meters, made from one seed with integers alone, as they arrive.
//!
//! Every draw is a hash of (seed, purpose, sensor, number), never the next number of a stream, so that the same record
//! comes out whatever the length of an epoch. Records are totally ordered by arrival: (arrival, moves first, event
//! time, sensor, original before repetition). What the generator holds is bounded by the longest delay.
//!
//! Sensors report every period, evenly spread over it. Delays are uniform within their class: 90 % in 0..2 s, 9 % in
//! 2..30 s, 1 % in 60..300 s. One reading in 200 comes again 1..120 s after its first arrival, by turns of a coin as an
//! exact duplicate or as a good correction with another value. One reading in 200 is bad (quality 2 or 3).

mod config;
mod files;
mod log;
mod record;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

pub use config::{WorkloadConfig, WorkloadError};
pub use files::{Targets, Workload, WriteError, write};
pub use log::{SOURCES, WORKLOAD_REGION, ZONE, row, rows_before};
pub use record::{CSV_HEADER, RECORD_BYTES, Record, RecordError};
use serde::Serialize;

/// 2026-01-01T00:00Z in UTC milliseconds: where event times and arrivals begin.
pub const START_MS: u64 = 1_767_225_600_000;
/// Buses a sensor may sit at.
pub const BUSES: u32 = 20_000;
/// Feeders a bus may belong to.
pub const FEEDERS: u32 = 500;
/// Sensors that move to another bus in each second.
pub const MOVES_PER_SECOND: u64 = 10;

/// The output of SplitMix64 for a state (Steele, Lea and Flood 2014): a hash of 64 bits.
#[must_use]
pub fn splitmix64(state: u64) -> u64 {
    let z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The bus a sensor sits at until it moves.
#[must_use]
pub fn first_bus(sensor: u32) -> u32 {
    (splitmix64(0xB05 ^ (u64::from(sensor) << 8)) % u64::from(BUSES)) as u32
}

/// The feeder a bus belongs to.
#[must_use]
pub fn feeder_of(bus: u32) -> u32 {
    (splitmix64(0xFEED ^ (u64::from(bus) << 16)) % u64::from(FEEDERS)) as u32
}

/// What a draw decides; part of the workload's definition, so the numbers stay.
#[derive(Clone, Copy)]
enum Purpose {
    Base = 1,
    Noise = 2,
    Delay = 3,
    Quality = 4,
    Repeat = 5,
    Correction = 6,
    MovingSensor = 7,
    MoveTarget = 8,
}

/// What has been generated so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WorkloadSummary {
    /// Records handed out: readings, repetitions and moves.
    pub records: u64,
    /// Readings generated, each once; those on their way are no records yet.
    pub readings: u64,
    /// Of these, bad.
    pub bad: u64,
    /// Of these, with a delay under 2 s.
    pub fast: u64,
    /// Of these, with a delay of 2 to 30 s.
    pub slow: u64,
    /// Of these, with a delay of 60 to 300 s.
    pub very_slow: u64,
    /// Repetitions with the same value.
    pub duplicates: u64,
    /// Repetitions with another value.
    pub corrections: u64,
    /// Moves of a sensor to another bus.
    pub moves: u64,
    /// Epochs.
    pub epochs: u64,
}

/// The records that arrive in one epoch, in order of arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrivals {
    /// Start of the epoch, milliseconds after [`START_MS`].
    pub epoch_ms: u64,
    /// The records.
    pub records: Vec<Record>,
}

/// The workload as an iterator over its epochs; ends with the last arrival.
#[derive(Clone, Debug)]
pub struct Generator {
    config: WorkloadConfig,
    /// Start of the next epoch.
    next_ms: u64,
    /// Where each sensor sits; moves happen in order of time.
    buses: Vec<u32>,
    /// Records of the coming epochs, the next one first.
    coming: VecDeque<Vec<Record>>,
    summary: WorkloadSummary,
}

impl Generator {
    /// The workload that a configuration describes.
    ///
    /// # Errors
    /// When it describes none.
    pub fn new(config: WorkloadConfig) -> Result<Self, WorkloadError> {
        config.check()?;
        let buses = if config.append_only { Vec::new() } else { (0..config.sensors).map(first_bus).collect() };
        Ok(Self { config, next_ms: 0, buses, coming: VecDeque::new(), summary: WorkloadSummary::default() })
    }

    /// What has been generated so far.
    #[must_use]
    pub fn summary(&self) -> &WorkloadSummary {
        &self.summary
    }

    fn draw(&self, purpose: Purpose, subject: u64, number: u64) -> u64 {
        let seeded = splitmix64(self.config.seed ^ ((purpose as u64) << 56));
        splitmix64(splitmix64(seeded ^ subject) ^ number)
    }

    fn put(&mut self, record: Record) {
        let place = (u64::from(record.arr_ms) - self.next_ms) / self.config.epoch_ms;
        let place = usize::try_from(place).expect("delays are minutes");
        if self.coming.len() <= place {
            self.coming.resize_with(place + 1, Vec::new);
        }
        self.coming[place].push(record);
    }

    /// The power of a sensor at a time, milliwatts: its base of 0.1 to 2 kW, a swing of a quarter of it over the day and
    /// noise of a sixteenth.
    fn value(&self, sensor: u32, number: u64, event_ms: u64) -> i32 {
        let base = 100_000 + (self.draw(Purpose::Base, u64::from(sensor), 0) % 1_900_000) as i64;
        // A triangle from -1 to 1 and back over 24 h, in thousandths.
        let phase = (event_ms / 1000 % 86_400) as i64;
        let swing = (phase.min(86_400 - phase) * 2000 / 43_200) - 1000;
        let noise = (self.draw(Purpose::Noise, u64::from(sensor), number) % 2001) as i64 - 1000;
        let value = base + base * swing / 4000 + base * noise / 16_000;
        i32::try_from(value).expect("at most 2.7 kW")
    }

    fn reading(&mut self, sensor: u32, number: u64, event_ms: u64) {
        let subject = u64::from(sensor);
        let draw = self.draw(Purpose::Delay, subject, number);
        let within = |low: u64, high: u64, draw: u64| low + draw % (high - low);
        let delay_ms = match draw % 100 {
            0..90 => {
                self.summary.fast += 1;
                within(0, 2_000, draw >> 32)
            }
            90..99 => {
                self.summary.slow += 1;
                within(2_000, 30_000, draw >> 32)
            }
            _ => {
                self.summary.very_slow += 1;
                within(60_000, 300_001, draw >> 32)
            }
        };
        let draw = self.draw(Purpose::Quality, subject, number);
        let bad = draw.is_multiple_of(200);
        let quality = if bad { 2 + (draw >> 32) as u8 % 2 } else { 0 };
        let arr_ms = u32::try_from(event_ms + delay_ms).expect("checked with the configuration");
        let value = self.value(sensor, number, event_ms);
        let record = Record { ts_ms: START_MS + event_ms, value, sensor, arr_ms, quality, kind: Record::READING };
        self.summary.readings += 1;
        self.summary.bad += u64::from(bad);
        self.put(record);
        let draw = self.draw(Purpose::Repeat, subject, number);
        if self.config.append_only || !draw.is_multiple_of(200) {
            return;
        }
        let arr_ms = arr_ms + within(1_000, 120_001, draw >> 32) as u32;
        let again = Record { arr_ms, ..record };
        let draw = self.draw(Purpose::Correction, subject, number);
        if draw.is_multiple_of(2) {
            self.summary.duplicates += 1;
            self.put(again);
        } else {
            self.summary.corrections += 1;
            let change = 1 + ((draw >> 8) % 50_000) as i32;
            let value = if (draw >> 40).is_multiple_of(2) { value + change } else { value - change };
            self.put(Record { value, quality: 0, ..again });
        }
    }

    /// All readings and moves with an event time in [from, to).
    fn happen(&mut self, from_ms: u64, to_ms: u64) {
        let sensors = u64::from(self.config.sensors);
        let period_ms = self.config.period_ms;
        let mut at = from_ms;
        while at < to_ms {
            // The sensors whose turn comes between `at` and the end of the epoch or of the period, whichever is first.
            let cycle = at / period_ms;
            let until = to_ms.min((cycle + 1) * period_ms);
            let first = ((at - cycle * period_ms) * sensors).div_ceil(period_ms);
            let end = ((until - cycle * period_ms) * sensors).div_ceil(period_ms);
            for sensor in first..end {
                let event_ms = cycle * period_ms + sensor * period_ms / sensors;
                self.reading(sensor as u32, cycle, event_ms);
            }
            at = until;
        }
        if self.config.append_only {
            return;
        }
        let slot_ms = 1000 / MOVES_PER_SECOND;
        for slot in from_ms / slot_ms..to_ms.div_ceil(slot_ms) {
            let draw = self.draw(Purpose::MovingSensor, 0, slot);
            let event_ms = slot * slot_ms + (draw >> 40) % slot_ms;
            if !(from_ms..to_ms).contains(&event_ms) {
                continue;
            }
            let sensor = (draw % sensors) as u32;
            let from = self.buses[sensor as usize];
            // Another bus than the present one: a step of 1 to BUSES - 1.
            let step = 1 + (self.draw(Purpose::MoveTarget, 0, slot) % u64::from(BUSES - 1)) as u32;
            let bus = (from + step) % BUSES;
            self.buses[sensor as usize] = bus;
            self.summary.moves += 1;
            let arr_ms = event_ms as u32;
            self.put(Record { ts_ms: START_MS + event_ms, value: bus as i32, sensor, arr_ms, quality: 0, kind: Record::MOVE });
        }
    }
}

impl Iterator for Generator {
    type Item = Arrivals;

    fn next(&mut self) -> Option<Arrivals> {
        let epoch_ms = self.next_ms;
        let end = self.config.event_ms();
        if epoch_ms >= end && self.coming.is_empty() {
            return None;
        }
        let to = (epoch_ms + self.config.epoch_ms).min(end);
        if epoch_ms < to {
            self.happen(epoch_ms, to);
        }
        let mut records = self.coming.pop_front().unwrap_or_default();
        // No two records are equal in all of this but an original and its repetition, which arrives later.
        records.sort_unstable_by_key(|record| (record.arr_ms, std::cmp::Reverse(record.kind), record.ts_ms, record.sensor));
        self.next_ms += self.config.epoch_ms;
        self.summary.epochs += 1;
        self.summary.records += records.len() as u64;
        Some(Arrivals { epoch_ms, records })
    }
}
