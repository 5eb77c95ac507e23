//! The ends of an epoch: at its beginning what has become final leaves, at its end what is due or changed is told.
//!
//! A window is stated in the first epoch at or after its end and the time to settle, then in each in which it changed. Of
//! a stated window only how often it was restated is remembered: what it said is computed from its readings before the
//! first of them changes.

use gridflow_inputs::ids::{SourceId, ZoneId};

use super::held::{Block, MINUTE_MS};
use super::minutes::{AHEAD, Minute, Slot, Slots, first_with_slots};
use super::places::{AccountKey, drop_until};
use super::revisable::Revisable;
use super::sensors::Cell;
use super::{
    Aggregate, Bound, Counts, INTERVAL_MS, LENGTHS_MS, Partial, QUARTER, SETTLE_MS, Telemetry, TelemetryOutput, WINDOW_MS, floor,
    horizon_at,
};
use crate::decision::{Measure, WindowScope};

/// So many words of each of the next sensors are read beforehand.
const LOOKED_AT: usize = 96;

/// Starts of the windows of a length that are due after `previous` and not after `now`, among the given times.
pub(crate) fn due_starts(length_ms: i64, previous: i64, now: i64, times: impl Iterator<Item = i64>) -> Vec<i64> {
    let ends = |at: i64| floor(at.saturating_sub(SETTLE_MS), length_ms);
    if ends(previous) == ends(now) {
        return Vec::new();
    }
    let due = |start: &i64| {
        let due = start + length_ms + SETTLE_MS;
        due > previous && due <= now
    };
    let mut starts: Vec<i64> = times.map(|time| floor(time, length_ms)).filter(due).collect();
    starts.sort_unstable();
    starts.dedup();
    starts
}

impl Telemetry {
    /// States what was never stated and is final now, and drops what is final.
    pub(super) fn finish(&mut self, now: i64, out: &mut Vec<TelemetryOutput>) {
        let mut gone = false;
        for bound in Bound::ALL {
            gone |= self.finish_minutes(bound, now, out);
        }
        if gone {
            self.places.forget(floor(self.horizon(), INTERVAL_MS));
            let until = floor(self.revisable[Bound::Scada as usize].horizon, INTERVAL_MS);
            self.variable_units.values_mut().for_each(|versions| drop(drop_until(versions, until)));
            let sensors: Vec<u32> = self.sensors.history.keys().copied().collect();
            for sensor in sensors {
                self.drop_versions(sensor as usize);
            }
        }
    }

    /// The same of what goes by one bound; whether there was anything.
    fn finish_minutes(&mut self, bound: Bound, now: i64, out: &mut Vec<TelemetryOutput>) -> bool {
        let revisable = &self.revisable[bound as usize];
        let horizon = revisable.horizon.max(horizon_at(now, self.bounds.ms(bound)));
        if horizon == revisable.horizon {
            return false;
        }
        let last = revisable.minutes.list.partition_point(|minute| minute.minute * MINUTE_MS < horizon);
        if last > 0 || revisable.base_starts != [None; 3] {
            // Whoever sleeps through a window's last epochs states it before it goes.
            self.state_due(bound, now, i64::MIN..horizon, out);
        }
        let gone: Vec<_> = self.revisable[bound as usize].minutes.list.drain(..last).collect();
        for minute in &gone {
            self.fold(bound, minute.minute, minute);
        }
        // The same on every worker, whether its sensors had readings or not.
        self.roll(bound, horizon - WINDOW_MS);
        let revisable = &mut self.revisable[bound as usize];
        revisable.horizon = horizon;
        for (length, length_ms) in LENGTHS_MS.into_iter().enumerate() {
            loop {
                let first = (length as u8, i64::MIN, 0)..=(length as u8, horizon - length_ms, u32::MAX);
                let Some(key) = revisable.restated.range(first).next().map(|(key, _)| *key) else { break };
                revisable.restated.remove(&key);
            }
        }
        !gone.is_empty()
    }

    /// Adds a minute that is final to the longer windows it lies in, and drops its readings.
    fn fold(&mut self, bound: Bound, number: i64, minute: &Minute) {
        self.roll(bound, number * MINUTE_MS);
        let Self { sensors, wide, bases, .. } = self;
        let mut each = |sensor: u32, cell: &mut Cell, block: Block| {
            let aggregate = cell.held.aggregate(block, sensor, wide);
            if let Some((event_ms, value)) = cell.held.good(block, sensor, wide).next_back() {
                (cell.settled_ms, cell.settled) = (event_ms, value);
            }
            bases[sensor as usize].iter_mut().for_each(|base| base.combine(&aggregate));
            cell.held.drop_first(block, sensor, wide);
        };
        minute.members.in_batches(|members| {
            let mut blocks = [None; AHEAD];
            let read = members.iter().fold(0, |read, sensor| read ^ sensors.cells[*sensor as usize].held.read_ahead(LOOKED_AT));
            std::hint::black_box(read);
            for (block, sensor) in blocks.iter_mut().zip(members) {
                *block = sensors.cells[*sensor as usize].held.find(number).ok();
            }
            for (sensor, block) in members.iter().zip(blocks) {
                if let Some(block) = block {
                    each(*sensor, &mut sensors.cells[*sensor as usize], block);
                }
            }
        });
    }

    /// Begins the longer windows that a final minute lies in, where they are not those of the minute before.
    fn roll(&mut self, bound: Bound, start_ms: i64) {
        let revisable = &mut self.revisable[bound as usize];
        for (length, length_ms) in LENGTHS_MS.into_iter().enumerate().skip(1) {
            let start = Some(floor(start_ms, length_ms));
            if revisable.base_starts[length - 1] != start {
                revisable.base_starts[length - 1] = start;
                revisable.sensors.iter().for_each(|sensor| self.bases[*sensor as usize][length - 1] = Aggregate::default());
            }
        }
    }

    /// Ends an epoch.
    pub(super) fn close(&mut self, now: i64, estimate: bool, out: &mut Vec<TelemetryOutput>) {
        for bound in Bound::ALL {
            self.state_due(bound, now, self.revisable[bound as usize].horizon..i64::MAX, out);
        }
        self.restate(out);
        self.tell_accounts(out);
        if estimate {
            self.check_stale(now, out);
        }
        for (sensor, was) in std::mem::take(&mut self.newest) {
            self.sensors.cells[sensor as usize].touched = false;
            let is = self.in_force(sensor as usize);
            if was != is {
                out.extend(was.map(|reading| TelemetryOutput::Newest(reading, -1)));
                out.extend(is.map(|reading| TelemetryOutput::Newest(reading, 1)));
            }
        }
        self.tell_counts(now, out);
        for revisable in &mut self.revisable {
            revisable.minutes.drop_slots(self.previous, now);
        }
        self.previous = now;
    }

    /// States windows that end in `ends` (exclusive of its start) and became due since the epoch before.
    fn state_due(&mut self, bound: Bound, now: i64, ends: std::ops::Range<i64>, out: &mut Vec<TelemetryOutput>) {
        let within = |start: i64, length_ms: i64| start + length_ms > ends.start && start + length_ms <= ends.end;
        let mut buses = Slots::default();
        // Sought, as there may be ten thousand: windows of the first minutes were stated days ago.
        let due = |minute: &Minute| minute.minute * MINUTE_MS + WINDOW_MS + SETTLE_MS;
        let list = &self.revisable[bound as usize].minutes.list;
        let (first, end) = (list.partition_point(|minute| due(minute) <= self.previous), list.partition_point(|minute| due(minute) <= now));
        for at in first..end {
            let start = self.revisable[bound as usize].minutes.list[at].minute * MINUTE_MS;
            if within(start, WINDOW_MS) {
                buses.clear();
                self.state_minute(bound, at, &mut buses, out);
                for slot in &buses.slots {
                    Self::tell_slot(self.worker, self.places.buses(), start, slot, false, out);
                }
            }
        }
        for (length, length_ms) in LENGTHS_MS.into_iter().enumerate().skip(1) {
            let Revisable { minutes, base_starts, .. } = &self.revisable[bound as usize];
            let times = minutes.list.iter().map(|minute| minute.minute * MINUTE_MS);
            let starts = due_starts(length_ms, self.previous, now, times.chain(base_starts[length - 1]));
            for start in starts.into_iter().filter(|start| within(*start, length_ms)) {
                self.state_longer(bound, length, start, out);
            }
        }
    }

    /// States the windows of a minute, and gathers what it adds up to for buses.
    fn state_minute(&mut self, bound: Bound, at: usize, buses: &mut Slots, out: &mut Vec<TelemetryOutput>) {
        let minute = &self.revisable[bound as usize].minutes.list[at];
        let (number, start) = (minute.minute, minute.minute * MINUTE_MS);
        let mut moved: Vec<(usize, i64, i64)> = Vec::new();
        let mut each = |sensor: u32, block: Block| {
            let cell = &self.sensors.cells[sensor as usize];
            let aggregate = cell.held.aggregate(block, sensor, &self.wide);
            let row = aggregate.window(WindowScope::Sensor, cell.id, cell.quantity, start, WINDOW_MS, 0);
            out.push(TelemetryOutput::Row(row.into(), 1));
            if !cell.adds || aggregate.count == 0 {
                return;
            }
            if start >= cell.since_ms {
                let slot = buses.touch(cell.place.bus);
                slot.count += aggregate.count;
                slot.sum += aggregate.sum;
                slot.sum_squares += aggregate.sum_squares;
                slot.readings += aggregate.count as u64;
                slot.min = slot.min.min(aggregate.min);
                slot.max = slot.max.max(aggregate.max);
            } else {
                moved.extend(cell.held.good(block, sensor, &self.wide).map(|(event_ms, value)| (sensor as usize, event_ms, value)));
            }
        };
        minute.members.in_batches(|sensors| {
            // Found first, so that the memory answers for many at once.
            let mut blocks = [None; AHEAD];
            for (block, sensor) in blocks.iter_mut().zip(sensors) {
                *block = self.sensors.cells[*sensor as usize].held.find(number).ok();
            }
            sensors.iter().zip(blocks).for_each(|(sensor, block)| block.into_iter().for_each(|block| each(*sensor, block)));
        });
        for (sensor, event_ms, value) in moved {
            let place = self.place_at(sensor, event_ms);
            buses.touch(place.bus).shift(None, Some(value));
        }
    }

    fn state_longer(&mut self, bound: Bound, length: usize, start: i64, out: &mut Vec<TelemetryOutput>) {
        for at in 0..self.revisable[bound as usize].sensors.len() {
            let sensors = &self.revisable[bound as usize].sensors;
            if at % AHEAD == 0 {
                let next = sensors[at..sensors.len().min(at + AHEAD)].iter().map(|sensor| &self.sensors.cells[*sensor as usize]);
                std::hint::black_box(next.fold(0, |read, cell| read ^ cell.held.read_ahead(LOOKED_AT)));
            }
            let sensor = sensors[at] as usize;
            let Some(aggregate) = self.window(length, start, sensor) else { continue };
            let cell = &self.sensors.cells[sensor];
            let row = aggregate.window(WindowScope::Sensor, cell.id, cell.quantity, start, LENGTHS_MS[length], 0);
            out.push(TelemetryOutput::Row(row.into(), 1));
            if length == QUARTER
                && let Some((zone, measure, value)) = self.energy(start, sensor, Some(&aggregate))
            {
                *self.figures.entry((start, zone, measure)).or_insert(0) += i128::from(value);
            }
        }
    }

    /// States anew the windows that had been stated and changed in this epoch.
    fn restate(&mut self, out: &mut Vec<TelemetryOutput>) {
        for ((length, start, sensor), before) in std::mem::take(&mut self.before) {
            let (length, place) = (usize::from(length), sensor as usize);
            let after = self.window(length, start, place);
            if length == QUARTER {
                let energy = self.energy(start, place, after.as_ref());
                if energy != before.energy {
                    for ((zone, measure, value), sign) in before.energy.map(|old| (old, -1)).into_iter().chain(energy.map(|new| (new, 1))) {
                        *self.figures.entry((start, zone, measure)).or_insert(0) += sign * i128::from(value);
                    }
                }
            }
            if after == before.aggregate {
                continue;
            }
            let Some(after) = after else { continue };
            let cell = &self.sensors.cells[place];
            let (id, quantity) = (cell.id, cell.quantity);
            let mut tell = |aggregate: &Aggregate, revision, change| {
                let row = aggregate.window(WindowScope::Sensor, id, quantity, start, LENGTHS_MS[length], revision);
                out.push(TelemetryOutput::Row(row.into(), change));
            };
            let Some(old) = before.aggregate else {
                tell(&after, 0, 1);
                continue;
            };
            let revision = self.count_restatement(length, start, sensor);
            tell(&old, revision - 1, -1);
            tell(&after, revision, 1);
        }
    }

    /// The revision a window has from now on.
    fn count_restatement(&mut self, length: usize, start: i64, sensor: u32) -> u32 {
        let held = &mut self.sensors.cells[sensor as usize].held;
        if length == 0
            && let Ok(block) = held.find(start.div_euclid(MINUTE_MS))
            && let Some(revision) = held.restated(block)
        {
            if held.restate(block) {
                return revision + 1;
            }
            self.revisable_mut(sensor as usize).restated.insert((0, start, sensor), revision + 1);
            return revision + 1;
        }
        let revision = self.revisable_mut(sensor as usize).restated.entry((length as u8, start, sensor)).or_insert(0);
        *revision += 1;
        *revision
    }

    fn tell_slot(worker: u32, accounts: &[AccountKey], start_ms: i64, slot: &Slot, widens: bool, out: &mut Vec<TelemetryOutput>) {
        let AccountKey { scope, id, quantity } = accounts[slot.account as usize];
        let (count, sum, sum_squares, extremes) = (slot.count, slot.sum, slot.sum_squares, slot.extremes());
        let told = Partial::Window { scope, id, quantity, start_ms, worker, count, sum, sum_squares, extremes, widens };
        out.push(TelemetryOutput::Partial(told));
    }

    /// Tells the changes of minutes to the accounts.
    fn tell_accounts(&mut self, out: &mut Vec<TelemetryOutput>) {
        for bound in Bound::ALL {
            for minute in self.revisable[bound as usize].minutes.take_touched() {
                let minutes = &mut self.revisable[bound as usize].minutes;
                let at = minutes.place(minute);
                for place in std::mem::take(&mut minutes.list[at].slots.touched) {
                    let mut slot = self.revisable[bound as usize].minutes.list[at].slots.slots[place as usize];
                    if slot.unsure {
                        let key = self.places.groups()[slot.account as usize];
                        self.look_again(minute, key, &mut slot);
                    }
                    Self::tell_slot(self.worker, self.places.groups(), minute * MINUTE_MS, &slot, false, out);
                    (slot.count, slot.sum, slot.sum_squares, slot.touched, slot.unsure) = (0, 0, 0, false, false);
                    self.revisable[bound as usize].minutes.list[at].slots.slots[place as usize] = slot;
                }
            }
        }
        for ((minute, account), mut slot) in std::mem::take(&mut self.bus_changes) {
            let whole = slot.unsure;
            if whole {
                self.look_again(minute, self.places.buses()[account as usize], &mut slot);
            }
            Self::tell_slot(self.worker, self.places.buses(), minute * MINUTE_MS, &slot, !whole, out);
        }
        for ((minute, account), mut slot) in std::mem::take(&mut self.group_changes) {
            let whole = slot.unsure;
            if whole {
                self.look_again(minute, self.places.groups()[account as usize], &mut slot);
            }
            Self::tell_slot(self.worker, self.places.groups(), minute * MINUTE_MS, &slot, !whole, out);
        }
    }

    /// Finds the extremes of an account in a minute among the readings that count there.
    fn look_again(&mut self, number: i64, AccountKey { scope, id, quantity }: AccountKey, slot: &mut Slot) {
        let account = slot.account;
        let sensors = match scope {
            WindowScope::Feeder => self.places.sensors_of_feeder(id),
            WindowScope::Bus => self.places.known_bus(id).map_or_else(Vec::new, |bus| bus.sensors.clone()),
            _ => {
                let mut sensors = Vec::new();
                let minutes = &mut self.revisable[Bound::of(quantity) as usize].minutes;
                let at = minutes.place(number);
                minutes.list[at].members.for_each(|sensor| sensors.push(sensor));
                sensors
            }
        };
        slot.forget_extremes();
        for sensor in sensors.into_iter().map(|sensor| sensor as usize) {
            let cell = &self.sensors.cells[sensor];
            if cell.quantity != quantity {
                continue;
            }
            let Ok(block) = cell.held.find(number) else { continue };
            let counts = |place: super::places::Place| match scope {
                WindowScope::Feeder => place.feeder,
                WindowScope::Bus => place.bus,
                _ => place.zone,
            };
            if number * MINUTE_MS >= cell.since_ms {
                if counts(cell.place) == account {
                    cell.held.good(block, sensor as u32, &self.wide).for_each(|(_, value)| slot.meet(value));
                }
                continue;
            }
            let readings: Vec<(i64, i64)> = cell.held.good(block, sensor as u32, &self.wide).collect();
            for (event_ms, value) in readings {
                if counts(self.place_at(sensor, event_ms)) == account {
                    slot.meet(value);
                }
            }
        }
    }

    /// Tells key figures, and what became of the readings of each source.
    fn tell_counts(&mut self, now: i64, out: &mut Vec<TelemetryOutput>) {
        let quarter = floor(now, INTERVAL_MS);
        for zone in std::mem::take(&mut self.tallies_touched) {
            let tally = std::mem::take(&mut self.tallies[zone as usize]);
            for (measure, value) in [Measure::Readings, Measure::Duplicates, Measure::Corrections].into_iter().zip(tally) {
                if value > 0 {
                    let zone: ZoneId = self.places.zones[zone as usize];
                    *self.figures.entry((quarter, zone, measure)).or_insert(0) += i128::from(value);
                }
            }
        }
        for ((start_ms, zone, measure), value) in std::mem::take(&mut self.figures) {
            out.push(TelemetryOutput::Partial(Partial::Figure { zone, measure, start_ms, value }));
        }
        // Sources that are entered twice, by readings and as nobody, are added up behind.
        for source in std::mem::take(&mut self.gaps_touched) {
            let counts = std::mem::take(&mut self.gaps[source as usize]);
            out.push(TelemetryOutput::Partial(Partial::Gap { source: self.sources[source as usize], counts }));
        }
        let counts = std::mem::take(&mut self.unknown);
        if counts != Counts::default() {
            out.push(TelemetryOutput::Partial(Partial::Gap { source: SourceId(0), counts }));
        }
    }

    /// After a state was loaded: what solvers know, and this worker's part in what the accounts know.
    pub(super) fn tell_again(&self, out: &mut Vec<TelemetryOutput>) {
        let told = (0..self.sensors.cells.len()).filter_map(|sensor| self.in_force(sensor));
        out.extend(told.map(|reading| TelemetryOutput::Newest(reading, 1)));
        for minute in self.revisable.iter().flat_map(|revisable| &revisable.minutes.list) {
            let start_ms = minute.minute * MINUTE_MS;
            let mut share = |slot: &Slot, accounts: &[AccountKey]| {
                let AccountKey { scope, id, quantity } = accounts[slot.account as usize];
                if let Some(extremes) = slot.extremes() {
                    let worker = self.worker;
                    out.push(TelemetryOutput::Partial(Partial::Share { scope, id, quantity, start_ms, worker, extremes }));
                }
            };
            minute.slots.slots.iter().for_each(|slot| share(slot, self.places.groups()));
            if start_ms + WINDOW_MS + SETTLE_MS > self.previous {
                continue;
            }
            let (mut buses, mut groups) = (Slots::default(), Slots::default());
            let no_slots = minute.minute < first_with_slots(self.previous);
            minute.members.for_each(|sensor| {
                let cell = &self.sensors.cells[sensor as usize];
                let Ok(block) = cell.held.find(minute.minute) else { return };
                if cell.adds {
                    for (event_ms, value) in cell.held.good(block, sensor, &self.wide) {
                        let [bus, feeder, zone] = self.accounts_at(sensor as usize, event_ms);
                        let groups_of_it = [feeder, zone].into_iter().flatten().filter(|_| no_slots);
                        bus.into_iter().for_each(|bus| buses.known(bus).meet(value));
                        groups_of_it.for_each(|group| groups.known(group).meet(value));
                    }
                }
            });
            buses.slots.iter().for_each(|slot| share(slot, self.places.buses()));
            groups.slots.iter().for_each(|slot| share(slot, self.places.groups()));
        }
    }

    /// The accounts of bus, feeder and zone where a reading counts; that it has some was seen to when it came.
    fn accounts_at(&self, sensor: usize, event_ms: i64) -> [Option<u32>; 3] {
        let version = self.sensors.version(sensor, event_ms);
        let bus = version.feeder.0;
        let feeder = self.places.known_bus(bus).map_or(bus, |known| known.feeder(event_ms));
        let scopes = [(WindowScope::Bus, bus), (WindowScope::Feeder, feeder), (WindowScope::Zone, version.zone.0)];
        scopes.map(|(scope, id)| self.places.known_account(scope, id, version.quantity))
    }
}
