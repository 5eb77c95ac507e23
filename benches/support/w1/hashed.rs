//! Floor: W1 answered with hash maps, as one would write it on an afternoon. Generic over the hasher: the standard
//! library's, and a cheap one for keys that nobody attacks.

#![allow(clippy::disallowed_types, reason = "a floor of hash maps; what is told is sorted")]

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use gridflow::workload::{Record, feeder_of};

use super::{Account, Cell, Change, Latest, Program, Task, WINDOW_MS, first_feeders, is_final, since_start};

/// A multiplicative hasher: one rotation, one exclusive or and one multiplication a word.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cheap(u64);

impl Hasher for Cheap {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(26) ^ word).wrapping_mul(0xF135_7AEA_2E62_A9C5);
    }

    fn finish(&self) -> u64 {
        // Hash tables look at the low bits, multiplication mixes into the high ones.
        self.0.rotate_left(26)
    }
}

impl BuildHasher for Cheap {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self(0)
    }
}

/// A window of a feeder: its account, and (T2) the readings it is made of by (sensor, event time).
struct Window<S> {
    cell: Cell,
    readings: HashMap<(u32, u32), (i32, bool), S>,
}

/// The program.
pub struct Hashed<S> {
    task: Task,
    hasher: S,
    /// Feeders of a sensor with the event times they hold from, in order.
    feeders: HashMap<u32, Vec<(u32, u32)>, S>,
    windows: HashMap<(u32, u32), Window<S>, S>,
    latest: HashMap<u32, Latest, S>,
    waiting: Vec<(u32, u32)>,
    now: u32,
    late: u64,
}

impl<S: BuildHasher + Clone> Hashed<S> {
    pub fn new(task: Task, sensors: u32, hasher: S) -> Self {
        let mut feeders = HashMap::with_hasher(hasher.clone());
        feeders.extend((0..).zip(first_feeders(sensors)).map(|(sensor, feeder)| (sensor, vec![(0, feeder)])));
        Self {
            task,
            feeders,
            windows: HashMap::with_hasher(hasher.clone()),
            latest: HashMap::with_hasher(hasher.clone()),
            hasher,
            waiting: Vec::new(),
            now: 0,
            late: 0,
        }
    }

    fn feeder(&self, sensor: u32, ts: u32) -> u32 {
        let versions = self.feeders.get(&sensor).unwrap_or_else(|| panic!("sensor {sensor} is not one of the workload's"));
        versions.iter().rev().find(|(from, _)| *from <= ts).expect("the first holds from the start").1
    }

    /// The latest good reading a sensor has left in windows that can be revised.
    fn fall_back(&self, sensor: u32) -> Option<Latest> {
        let rows = self.windows.iter().filter(|((minute, _), _)| !is_final(*minute, self.now)).flat_map(|((_, feeder), window)| {
            let of_sensor = window.readings.iter().filter(|((of, _), (_, good))| *of == sensor && *good);
            of_sensor.map(|((_, ts), (value, _))| Latest { sensor, ts: *ts, value: *value, feeder: *feeder })
        });
        rows.max_by_key(|row| row.ts)
    }

    fn reading(&mut self, record: &Record) {
        let (sensor, ts, value, good) = (record.sensor, since_start(record), record.value, record.quality < 2);
        let feeder = self.feeder(sensor, ts);
        let key = (ts / WINDOW_MS, feeder);
        let hasher = &self.hasher;
        let fresh = || Window { cell: Cell::default(), readings: HashMap::with_hasher(hasher.clone()) };
        let mut withdrawn = false;
        if self.task == Task::T2 {
            if is_final(key.0, self.now) {
                self.late += 1;
                return;
            }
            let window = self.windows.entry(key).or_insert_with(fresh);
            match window.readings.insert((sensor, ts), (value, good)) {
                Some(before) if before == (value, good) => return,
                Some((before, true)) => {
                    withdrawn = true;
                    if window.cell.now.withdraw(before) {
                        let others = window.readings.iter().filter(|(of, (_, good))| *good && **of != (sensor, ts));
                        window.cell.now.max = others.map(|(_, (value, _))| *value).max().expect("the count is not zero");
                    }
                    if good {
                        window.cell.now.add(value);
                    }
                }
                _ if good => window.cell.now.add(value),
                _ => return,
            }
        } else if good {
            self.windows.entry(key).or_insert_with(fresh).cell.now.add(value);
        } else {
            return;
        }
        let cell = &mut self.windows.get_mut(&key).expect("it was just there").cell;
        if !cell.waits {
            cell.waits = true;
            self.waiting.push(key);
        }
        if good {
            let row = Latest { sensor, ts, value, feeder };
            let newest = self.latest.entry(sensor).or_insert(row);
            if newest.ts <= ts {
                *newest = row;
            }
        } else if withdrawn && self.latest.get(&sensor).is_some_and(|row| row.ts == ts) {
            match self.fall_back(sensor) {
                Some(row) => self.latest.insert(sensor, row),
                None => self.latest.remove(&sensor),
            };
        }
    }
}

impl<S: BuildHasher + Clone> Program for Hashed<S> {
    fn apply(&mut self, record: &Record, now: u32) {
        self.now = now;
        if record.kind == Record::READING {
            self.reading(record);
        } else if self.task == Task::T2 {
            let versions = self.feeders.entry(record.sensor).or_default();
            let ts = since_start(record);
            assert!(versions.last().is_none_or(|(from, _)| *from <= ts), "moves of the workload arrive in order");
            versions.push((ts, feeder_of(record.value as u32)));
        }
    }

    fn seal(&mut self, out: &mut Vec<Change>) {
        self.waiting.sort_unstable();
        for (minute, feeder) in self.waiting.drain(..) {
            let cell = &mut self.windows.get_mut(&(minute, feeder)).expect("what waits is there").cell;
            cell.waits = false;
            let old: Account = std::mem::replace(&mut cell.told, cell.now);
            if old != cell.now {
                out.push(Change { minute, feeder, old, new: cell.now });
            }
        }
        if self.task == Task::T2 && self.now % WINDOW_MS < super::TICK_MS {
            let now = self.now;
            self.windows.retain(|(minute, _), _| !is_final(*minute, now));
        }
    }

    fn latest(&self) -> Vec<Latest> {
        let mut rows: Vec<Latest> = self.latest.values().copied().collect();
        rows.sort_unstable();
        rows
    }

    fn late(&self) -> u64 {
        self.late
    }
}
