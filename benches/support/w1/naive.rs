//! Judge: W1 answered by definition, all of it anew at each tick, and small inputs made to hurt: few sensors, many
//! corrections, good readings that turn bad, equal maxima, rows beyond the retention.

use std::collections::{BTreeMap, BTreeSet};

use gridflow::workload::{BUSES, Record, START_MS, feeder_of, splitmix64};

use super::{Account, Change, Latest, Program, Task, WINDOW_MS, first_feeders, is_final, since_start};

/// The program.
pub struct Naive {
    task: Task,
    feeders: Vec<Vec<(u32, u32)>>,
    /// All good or bad readings that stand, by (sensor, event time, place); the place is 0 where the key is unique (T2).
    stand: BTreeMap<(u32, u32, u64), (i32, bool)>,
    told: BTreeMap<(u32, u32), Account>,
    latest: BTreeMap<u32, Latest>,
    place: u64,
    late: u64,
}

impl Naive {
    pub fn new(task: Task, sensors: u32) -> Self {
        let feeders = first_feeders(sensors).into_iter().map(|feeder| vec![(0, feeder)]).collect();
        Self { task, feeders, stand: BTreeMap::new(), told: BTreeMap::new(), latest: BTreeMap::new(), place: 0, late: 0 }
    }

    fn feeder(&self, sensor: u32, ts: u32) -> u32 {
        self.feeders[sensor as usize].iter().rev().find(|(from, _)| *from <= ts).expect("the first holds from the start").1
    }
}

impl Program for Naive {
    fn apply(&mut self, record: &Record, now: u32) {
        let (sensor, ts) = (record.sensor, since_start(record));
        if record.kind == Record::MOVE {
            if self.task == Task::T2 {
                self.feeders[sensor as usize].push((ts, feeder_of(record.value as u32)));
            }
            return;
        }
        if self.task == Task::T2 && is_final(ts / WINDOW_MS, now) {
            self.late += 1;
            return;
        }
        self.place += 1;
        let place = if self.task == Task::T1 { self.place } else { 0 };
        self.stand.insert((sensor, ts, place), (record.value, record.quality < 2));
        // What a final window holds stays the latest until something later is there.
        let held = self.latest.get(&sensor).filter(|row| self.task == Task::T2 && is_final(row.ts / WINDOW_MS, now)).copied();
        let rows = self.stand.range((sensor, 0, 0)..=(sensor, u32::MAX, u64::MAX)).filter(|(_, (_, good))| *good);
        let open = rows.map(|((_, ts, _), (value, _))| Latest { sensor, ts: *ts, value: *value, feeder: self.feeder(sensor, *ts) });
        let open = open.filter(|row| self.task == Task::T1 || !is_final(row.ts / WINDOW_MS, now));
        match held.into_iter().chain(open).max_by_key(|row| row.ts) {
            Some(row) => self.latest.insert(sensor, row),
            None => self.latest.remove(&sensor),
        };
    }

    fn seal(&mut self, out: &mut Vec<Change>) {
        let mut accounts: BTreeMap<(u32, u32), Account> = BTreeMap::new();
        for ((sensor, ts, _), (value, good)) in &self.stand {
            if *good {
                accounts.entry((ts / WINDOW_MS, self.feeder(*sensor, *ts))).or_default().add(*value);
            }
        }
        let keys: BTreeSet<(u32, u32)> = accounts.keys().chain(self.told.keys()).copied().collect();
        for (minute, feeder) in keys {
            let of = |accounts: &BTreeMap<_, Account>| accounts.get(&(minute, feeder)).copied().unwrap_or_default();
            let (old, new) = (of(&self.told), of(&accounts));
            if old != new {
                out.push(Change { minute, feeder, old, new });
            }
        }
        self.told = accounts;
    }

    fn latest(&self) -> Vec<Latest> {
        self.latest.values().copied().collect()
    }

    fn late(&self) -> u64 {
        self.late
    }
}

/// Sensors of [`nasty`].
pub const NASTY_SENSORS: u32 = 7;

/// Records over some 20 minutes that meet every rule often, one a second or so, in order of arrival.
pub fn nasty(seed: u64, count: u64) -> Vec<Record> {
    let mut state = splitmix64(seed);
    let mut below = |bound: u64| {
        state = splitmix64(state);
        state % bound
    };
    let mut records: Vec<Record> = Vec::new();
    let mut arr_ms = 0;
    for _ in 0..count {
        arr_ms += below(2_400) as u32;
        let sensor = below(u64::from(NASTY_SENSORS)) as u32;
        if below(12) == 0 {
            let ts_ms = START_MS + u64::from(arr_ms);
            records.push(Record { ts_ms, value: below(u64::from(BUSES)) as i32, sensor, arr_ms, quality: 0, kind: Record::MOVE });
            continue;
        }
        // Mostly of late, often of a turn that was reported already, at times far beyond the retention.
        let ago = match below(10) {
            0..6 => below(20_000),
            6..9 => below(700_000),
            _ => below(1_300_000),
        };
        let turn = u64::from(arr_ms).saturating_sub(ago) / 10_000;
        let ts = (turn * 10_000 + u64::from(sensor) * 1_000).min(u64::from(arr_ms));
        let ts = if ts / 10_000 == turn && ts % 10_000 == u64::from(sensor) * 1_000 { ts } else { continue };
        let quality = [0, 0, 0, 1, 2, 3][below(6) as usize];
        let value = below(4) as i32 - 2;
        records.push(Record { ts_ms: START_MS + ts, value, sensor, arr_ms, quality, kind: Record::READING });
    }
    records
}
