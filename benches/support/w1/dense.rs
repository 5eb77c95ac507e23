//! Floor: W1 answered with arrays alone, knowing what no general program may know: sensors are numbered from zero, each
//! reports once a period, moves arrive in order. What memory and arithmetic allow at most, more or less.
//!
//! Readings lie by turn, then by sensor: arrivals of a second are close together in both.

use std::collections::VecDeque;

use gridflow::workload::{FEEDERS, Record, feeder_of};

use super::{Cell, Change, Latest, Program, RETENTION_MS, Task, WINDOW_MS, first_feeders, is_final, since_start};

/// A reading: event time and one, doubled, plus one when good; 0 where there is none.
#[derive(Clone, Copy, Default)]
struct Slot {
    mark: u32,
    value: i32,
}

impl Slot {
    fn new(ts: u32, value: i32, good: bool) -> Self {
        assert!(ts < (1 << 31) - 1, "this program holds 24 days");
        Self { mark: (ts + 1) << 1 | u32::from(good), value }
    }

    fn is_good(self) -> bool {
        self.mark & 1 == 1
    }

    /// Its event time, when there is one.
    fn ts(self) -> Option<u32> {
        (self.mark >> 1).checked_sub(1)
    }
}

#[derive(Clone, Copy)]
struct Newest {
    mark: u32,
    value: i32,
    feeder: u32,
}

/// The program.
pub struct Dense {
    task: Task,
    sensors: usize,
    period_ms: u32,
    /// Turns held at once (T2).
    turns: u32,
    slots: Vec<Slot>,
    feeder: Vec<u32>,
    /// Since when (T2).
    since: Vec<u32>,
    /// Earlier feeders of sensors that moved, with the times they held from (T2).
    past: Vec<Vec<(u32, u32)>>,
    /// The minute of the first row of windows.
    first_minute: u32,
    windows: VecDeque<Vec<Cell>>,
    newest: Vec<Newest>,
    waiting: Vec<(u32, u32)>,
    now: u32,
    late: u64,
}

impl Dense {
    pub fn new(task: Task, sensors: u32, period_ms: u32) -> Self {
        // All that can be revised: the retention, the window itself, the minute under way and some more.
        let turns = (RETENTION_MS + 2 * WINDOW_MS) / period_ms + 2;
        let count = sensors as usize;
        let full = if task == Task::T2 { count } else { 0 };
        Self {
            task,
            sensors: count,
            period_ms,
            turns,
            slots: vec![Slot::default(); full * turns as usize],
            feeder: first_feeders(sensors),
            since: vec![0; full],
            past: vec![Vec::new(); full],
            first_minute: 0,
            windows: VecDeque::new(),
            newest: vec![Newest { mark: 0, value: 0, feeder: 0 }; count],
            waiting: Vec::new(),
            now: 0,
            late: 0,
        }
    }

    fn feeder_at(&self, sensor: usize, ts: u32) -> u32 {
        if self.task == Task::T1 || ts >= self.since[sensor] {
            return self.feeder[sensor];
        }
        self.past[sensor].iter().rev().find(|(from, _)| *from <= ts).expect("the first holds from the start").1
    }

    fn place(&self, sensor: usize, ts: u32) -> usize {
        (ts / self.period_ms % self.turns) as usize * self.sensors + sensor
    }

    fn cell(&mut self, minute: u32, feeder: u32) -> &mut Cell {
        let row = (minute - self.first_minute) as usize;
        while self.windows.len() <= row {
            self.windows.push_back(vec![Cell::default(); FEEDERS as usize]);
        }
        &mut self.windows[row][feeder as usize]
    }

    /// The greatest good reading of a window: a walk over all sensors, as the maximum itself is rarely withdrawn.
    fn greatest(&self, minute: u32, feeder: u32) -> i32 {
        let (from, to) = (minute * WINDOW_MS, (minute + 1) * WINDOW_MS);
        let turns = (from / self.period_ms..=(to - 1) / self.period_ms).map(|turn| (turn % self.turns) as usize * self.sensors);
        let rows = turns.flat_map(|first| self.slots[first..first + self.sensors].iter().enumerate());
        let inside = rows.filter(|(sensor, slot)| {
            slot.is_good() && slot.ts().is_some_and(|ts| (from..to).contains(&ts) && self.feeder_at(*sensor, ts) == feeder)
        });
        inside.map(|(_, slot)| slot.value).max().expect("the count is not zero")
    }

    /// The latest good reading a sensor has left in windows that can be revised.
    fn fall_back(&self, sensor: usize) -> Newest {
        let rows = (0..self.turns as usize).map(|turn| self.slots[turn * self.sensors + sensor]);
        let left = rows.filter(|slot| slot.is_good() && slot.ts().is_some_and(|ts| !is_final(ts / WINDOW_MS, self.now)));
        let Some((slot, ts)) = left.filter_map(|slot| Some((slot, slot.ts()?))).max_by_key(|(_, ts)| *ts) else {
            return Newest { mark: 0, value: 0, feeder: 0 };
        };
        Newest { mark: slot.mark, value: slot.value, feeder: self.feeder_at(sensor, ts) }
    }

    fn reading(&mut self, record: &Record) {
        let (sensor, ts, value, good) = (record.sensor as usize, since_start(record), record.value, record.quality < 2);
        assert!(sensor < self.sensors, "sensor {sensor} is not one of the workload's");
        let minute = ts / WINDOW_MS;
        let slot = Slot::new(ts, value, good);
        let mut before = Slot::default();
        if self.task == Task::T2 {
            if is_final(minute, self.now) {
                self.late += 1;
                return;
            }
            let place = self.place(sensor, ts);
            let held = std::mem::replace(&mut self.slots[place], slot);
            if held.mark >> 1 == slot.mark >> 1 {
                if held.mark == slot.mark && held.value == value {
                    return;
                }
                before = held;
            } else {
                let free = held.ts().is_none_or(|held| held / self.period_ms != ts / self.period_ms);
                assert!(free, "sensor {sensor} reports more than once a period");
            }
        }
        if !good && !before.is_good() {
            return;
        }
        let feeder = self.feeder_at(sensor, ts);
        let cell = self.cell(minute, feeder);
        let waits = std::mem::replace(&mut cell.waits, true);
        let search = before.is_good() && cell.now.withdraw(before.value);
        if good {
            // A maximum that is not less than the one withdrawn needs no search.
            cell.now.add(value);
        }
        if search && !(good && value >= before.value) {
            let max = self.greatest(minute, feeder);
            self.cell(minute, feeder).now.max = max;
        }
        if !waits {
            self.waiting.push((minute, feeder));
        }
        let newest = &mut self.newest[sensor];
        if good {
            if newest.mark <= slot.mark {
                *newest = Newest { mark: slot.mark, value, feeder };
            }
        } else if newest.mark >> 1 == slot.mark >> 1 {
            self.newest[sensor] = self.fall_back(sensor);
        }
    }
}

impl Program for Dense {
    fn apply(&mut self, record: &Record, now: u32) {
        self.now = now;
        if record.kind == Record::READING {
            self.reading(record);
        } else if self.task == Task::T2 {
            let (sensor, ts) = (record.sensor as usize, since_start(record));
            assert!(ts >= self.since[sensor], "moves of the workload arrive in order");
            self.past[sensor].push((self.since[sensor], self.feeder[sensor]));
            self.since[sensor] = ts;
            self.feeder[sensor] = feeder_of(record.value as u32);
        }
    }

    fn seal(&mut self, out: &mut Vec<Change>) {
        self.waiting.sort_unstable();
        for (minute, feeder) in self.waiting.drain(..) {
            let cell = &mut self.windows[(minute - self.first_minute) as usize][feeder as usize];
            cell.waits = false;
            let old = std::mem::replace(&mut cell.told, cell.now);
            if old != cell.now {
                out.push(Change { minute, feeder, old, new: cell.now });
            }
        }
        while self.task == Task::T2 && is_final(self.first_minute, self.now) {
            self.windows.pop_front();
            self.first_minute += 1;
        }
    }

    fn latest(&self) -> Vec<Latest> {
        let there = (0..).zip(&self.newest).filter(|(_, newest)| newest.mark != 0);
        there.map(|(sensor, newest)| Latest { sensor, ts: (newest.mark >> 1) - 1, value: newest.value, feeder: newest.feeder }).collect()
    }

    fn late(&self) -> u64 {
        self.late
    }
}
