//! What the programs that answer workload W1 have in common: the questions (T1, T2), the changelog they tell, and the
//! state a reader of the changelog ends up with.
//!
//! An account is sum, count and maximum of a feeder's good readings in a one-minute window of event time. A tick is a
//! second of arrival. Changes of a tick are told in order of (minute, feeder), each with the account before and after, so
//! that a withdrawal is exact or is found out. A sensor's latest reading is state, not changelog: 10,000 of them change at
//! each tick.

pub mod dense;
pub mod engine;
pub mod fed;
pub mod hashed;
pub mod naive;
pub mod reader;

use std::collections::BTreeMap;

use gridflow::workload::{BUSES, Record, START_MS, feeder_of, first_bus};

/// Length of a window, milliseconds.
pub const WINDOW_MS: u32 = 60_000;
/// How long after its end a window can be revised (T2), milliseconds.
pub const RETENTION_MS: u32 = 600_000;
/// Length of a tick, milliseconds of arrival.
pub const TICK_MS: u32 = 1_000;

/// Which of the two questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Task {
    /// Append: the first topology, every good record counts, nothing is dropped.
    T1,
    /// Full: (sensor, event time) is a key, the last arrival wins, the feeder is that of the event time.
    T2,
}

/// Sum, count and maximum; all zero when there is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub sum: i64,
    pub count: u32,
    pub max: i32,
}

impl Account {
    /// With one more reading.
    pub fn add(&mut self, value: i32) {
        self.max = if self.count == 0 { value } else { self.max.max(value) };
        self.sum += i64::from(value);
        self.count += 1;
    }

    /// With one reading less. Whether the maximum has to be looked for: it may be the one that went.
    pub fn withdraw(&mut self, value: i32) -> bool {
        self.sum -= i64::from(value);
        self.count -= 1;
        if self.count == 0 {
            self.max = 0;
        }
        self.count > 0 && value == self.max
    }
}

/// An account that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub minute: u32,
    pub feeder: u32,
    pub old: Account,
    pub new: Account,
}

/// An account while it can change: as it is, as it was told last, and whether it waits to be told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cell {
    pub now: Account,
    pub told: Account,
    pub waits: bool,
}

/// A sensor's reading with the greatest event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Latest {
    pub sensor: u32,
    /// Milliseconds after the start of the workload.
    pub ts: u32,
    pub value: i32,
    pub feeder: u32,
}

/// A program that answers T1 or T2.
pub trait Program {
    /// Takes a record; `now` is the start of the tick it arrives in.
    fn apply(&mut self, record: &Record, now: u32);
    /// Ends a tick: what changed in it, in order of (minute, feeder).
    fn seal(&mut self, out: &mut Vec<Change>);
    /// Each sensor's latest good reading, by sensor.
    fn latest(&self) -> Vec<Latest>;
    /// Rows that came too late.
    fn late(&self) -> u64;
}

/// Event time after the start of the workload.
pub fn since_start(record: &Record) -> u32 {
    u32::try_from(record.ts_ms - START_MS).expect("event times of the workload are below 2^32 ms")
}

/// Whether a window can no longer be revised.
pub fn is_final(minute: u32, now: u32) -> bool {
    now > (minute + 1) * WINDOW_MS + RETENTION_MS
}

/// The feeder each sensor starts at.
pub fn first_feeders(sensors: u32) -> Vec<u32> {
    let of_bus: Vec<u32> = (0..BUSES).map(feeder_of).collect();
    (0..sensors).map(|sensor| of_bus[first_bus(sensor) as usize]).collect()
}

/// What a reader of a changelog has at its end, and the digest of all it was told.
pub struct Told {
    hasher: blake3::Hasher,
    pub changes: u64,
    pub accounts: BTreeMap<(u32, u32), Account>,
    bytes: Vec<u8>,
}

impl Told {
    pub fn new() -> Self {
        Self { hasher: blake3::Hasher::new(), changes: 0, accounts: BTreeMap::new(), bytes: Vec::new() }
    }

    /// Takes the changes of a tick.
    ///
    /// # Panics
    /// When one withdraws what does not stand, changes nothing, or is out of order.
    pub fn take(&mut self, tick: u32, changes: &[Change]) {
        assert!(changes.is_sorted_by(|a, b| (a.minute, a.feeder) < (b.minute, b.feeder)), "tick {tick} is out of order");
        for change in changes {
            let key = (change.minute, change.feeder);
            let before = self.accounts.get(&key).copied().unwrap_or_default();
            assert_eq!(before, change.old, "tick {tick}, (minute, feeder) {key:?}: withdrawn is not what stood");
            assert_ne!(change.new, change.old, "tick {tick}, (minute, feeder) {key:?}: nothing changed");
            if change.new.count == 0 {
                self.accounts.remove(&key);
            } else {
                self.accounts.insert(key, change.new);
            }
            self.write(&[tick, change.minute, change.feeder]);
            for account in [change.old, change.new] {
                self.bytes.extend(account.sum.to_le_bytes());
                self.bytes.extend(account.count.to_le_bytes());
                self.bytes.extend(account.max.to_le_bytes());
            }
        }
        self.changes += changes.len() as u64;
        self.flush();
    }

    /// Takes the latest readings.
    pub fn take_latest(&mut self, latest: &[Latest]) {
        assert!(latest.is_sorted_by(|a, b| a.sensor < b.sensor), "latest readings are out of order");
        for row in latest {
            self.write(&[row.sensor, row.ts, row.value as u32, row.feeder]);
        }
        self.flush();
    }

    pub fn digest(&self) -> String {
        self.hasher.finalize().to_hex().to_string()
    }

    fn write(&mut self, numbers: &[u32]) {
        numbers.iter().for_each(|number| self.bytes.extend(number.to_le_bytes()));
    }

    fn flush(&mut self) {
        self.hasher.update(&self.bytes);
        self.bytes.clear();
    }
}
