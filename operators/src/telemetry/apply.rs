//! Rows as they come: readings, and the rows that say what readings mean.
//!
//! A row that changes where readings count moves those that are not final yet: each is taken out of its accounts as they
//! were and put into them as they are. What is final stays.

use gridflow_inputs::ids::{GeneratorId, SourceId, ZoneId};
use gridflow_inputs::input::{Generator, Kind, Quantity, Sensor, Timer};
use gridflow_inputs::log::{EpochBatch, SequencedReading};
use gridflow_inputs::network::EquipmentKind;
use gridflow_inputs::units::{MAX_MAGNITUDE, divide_half_even};
use gridflow_inputs::{Epoch, Input};

use super::held::{Entry, Held, MINUTE_MS};
use super::minutes::{AHEAD, Slot, first_with_slots};
use super::places::{NOWHERE, Place, Room, VERSIONS, drop_until, hold_from};
use super::sensors::{Cell, NEVER, adds_up, counts_energy, feeds_solvers};
use super::{
    Aggregate, Before, Bound, Bounds, Correction, Counts, FUTURE_MS, INTERVAL_MS, LENGTHS_MS, QUARTER, Reading, SETTLE_MS, STALE_MS,
    STUCK_READINGS, Telemetry, TelemetryOutput, WINDOW_MS, floor,
};
use crate::decision::{AlarmKind, Late, Measure, Reason, Rejected, WindowScope};
use crate::hygiene::{refusal, rejected};

/// What is the same for all readings of an epoch.
#[derive(Clone, Copy)]
struct Moment {
    epoch: Epoch,
    now: i64,
    /// Minutes that begin before these are final, by bound.
    limits: [i64; 2],
    first_with_slots: i64,
    /// The present quarter of an hour.
    quarter: i64,
}

/// Words that the readings of a sensor will take: those of the time in which they can change and of a minute before and
/// after, and one for each minute with any.
fn words_expected(lateness_ms: i64, period_ms: i64) -> usize {
    let span_ms = lateness_ms + 2 * MINUTE_MS;
    let readings = span_ms / period_ms.max(1) + 1;
    usize::try_from(readings + readings.min(span_ms / MINUTE_MS + 1)).unwrap_or(usize::MAX)
}

impl Telemetry {
    /// Applies the rows of an epoch, and ends it. Epochs strictly increase.
    pub fn apply(&mut self, batch: &EpochBatch, out: &mut Vec<TelemetryOutput>) {
        let now = batch.epoch as i64;
        let mut readings = &batch.readings[..];
        let mut estimate = false;
        self.finish(now, out);
        for (sequence, row) in &batch.rows {
            match row {
                Input::Tick(tick) => {
                    estimate |= tick.timer == Timer::Estimate;
                    continue;
                }
                Input::Region(_) | Input::Generator(_) | Input::Sensor(_) | Input::FeederAssignment(_) | Input::PmuSample(_) => {}
                _ => continue,
            }
            let (before, after) = readings.split_at(readings.partition_point(|reading| reading.sequence < *sequence));
            self.take_readings(batch.epoch, before, out);
            readings = after;
            self.take_row(batch.epoch, *sequence, row, out);
        }
        self.take_readings(batch.epoch, readings, out);
        self.close(now, estimate, out);
    }

    fn take_row(&mut self, epoch: Epoch, sequence: u32, row: &Input, out: &mut Vec<TelemetryOutput>) {
        let refused = refusal(epoch, row);
        match row {
            Input::Sensor(sensor) if self.mine(sensor.id) => match refused.or_else(|| self.contradiction(sensor)) {
                // Others are refused at the door.
                Some(why) => out.push(TelemetryOutput::Row(rejected(epoch, sequence, row, why), 1)),
                None => {
                    let refused = self.define(sensor.clone());
                    out.extend(refused.map(|why| TelemetryOutput::Row(rejected(epoch, sequence, row, why), 1)));
                }
            },
            // Malformed ones are refused at the door.
            Input::PmuSample(sample) if self.mine(sample.sensor) && refused.is_none() => {
                self.take_phasor(epoch, sequence, row, sample, out)
            }
            Input::Region(region) if refused.is_none() => self.bounds = Bounds::from(region),
            Input::Generator(unit) if refused.is_none() => {
                // Every worker finds the same: one says so.
                let full = !self.set_unit(unit) && self.worker == 0;
                let full = full.then(|| rejected(epoch, sequence, row, (Reason::Malformed, VERSIONS as i64)));
                out.extend(full.map(|refused| TelemetryOutput::Row(refused, 1)));
            }
            Input::FeederAssignment(assigned) if refused.is_none() => {
                let (bus, from_ms, feeder) = (assigned.bus.0, assigned.valid_from_ms, assigned.feeder.0);
                match self.places.room(bus, from_ms, feeder, floor(self.horizon(), INTERVAL_MS)) {
                    Room::Known => {}
                    Room::Free => {
                        let sensors = self.places.known_bus(bus).map_or_else(Vec::new, |bus| bus.sensors.clone());
                        self.rearrange(&sensors, |this| this.places.assign(bus, from_ms, feeder));
                    }
                    // Every worker finds the same: one says so.
                    Room::None if self.worker == 0 => {
                        let why = (Reason::Malformed, VERSIONS as i64);
                        out.push(TelemetryOutput::Row(rejected(epoch, sequence, row, why), 1));
                    }
                    Room::None => {}
                }
            }
            _ => {}
        }
    }

    /// A sensor measures one quantity for ever: windows of several could not be told apart.
    fn contradiction(&self, sensor: &Sensor) -> Option<(Reason, i64)> {
        let known = &self.sensors.newest[self.sensors.find(sensor.id.0)?];
        (known.quantity != sensor.quantity).then_some((Reason::Malformed, sensor.quantity as i64))
    }

    /// Takes a version of a sensor, or says why not. What is told again changes nothing, and costs next to nothing.
    pub(super) fn define(&mut self, sensor: Sensor) -> Option<(Reason, i64)> {
        let Some(place) = self.sensors.find(sensor.id.0) else {
            self.enter(vec![sensor]);
            return None;
        };
        let versions = self.sensors.versions(place);
        match versions.binary_search_by_key(&sensor.valid_from_ms, |version| version.valid_from_ms) {
            Ok(known) if versions[known] == sensor => return None,
            Ok(_) => {}
            Err(_) if versions.len() < VERSIONS => {}
            Err(_) => {
                // How many are still listed depends on when other sensors' readings went; how many are needed does not.
                self.drop_versions(place);
                if self.sensors.versions(place).len() >= VERSIONS {
                    return Some((Reason::Malformed, VERSIONS as i64));
                }
            }
        }
        self.touch_newest(place);
        self.touch_quarters(place);
        self.rearrange(&[place as u32], |this| this.set_versions(place, sensor));
        None
    }

    /// Makes room for a sensor with its versions.
    pub(super) fn enter(&mut self, versions: Vec<Sensor>) -> usize {
        let newest = versions.last().expect("a sensor has a version").clone();
        let (adds, solves) = (adds_up(newest.quantity), feeds_solvers(newest.quantity));
        let cell = Cell {
            held: Held::default(),
            newest_ms: NEVER,
            newest: 0,
            settled_ms: NEVER,
            settled: 0,
            since_ms: i64::MAX,
            fresh_ms: STALE_MS,
            range_min: 0,
            range_max: 0,
            place: Place { bus: NOWHERE, feeder: NOWHERE, zone: NOWHERE, tally: 0 },
            source: 0,
            id: newest.id.0,
            quantity: newest.quantity,
            run: 0,
            adds,
            solves,
            sticks: false,
            stale: false,
            stuck: false,
            touched: false,
        };
        let place = self.sensors.enter(newest, cell);
        self.revisable_mut(place).sensors.push(place as u32);
        self.bases.push([Aggregate::default(); 3]);
        self.stale_after.push(i64::MAX);
        self.sensors.set_versions(place, versions);
        self.attach(place);
        self.refresh(place);
        place
    }

    fn set_versions(&mut self, place: usize, sensor: Sensor) {
        self.detach(place);
        self.sensors.add_version(place, sensor);
        self.attach(place);
    }

    /// Drops versions that nothing needs any more.
    pub(super) fn drop_versions(&mut self, place: usize) {
        let needed = self.sensors.needed(place, floor(self.revisable(place).horizon, INTERVAL_MS));
        if needed.len() < self.sensors.versions(place).len() {
            self.detach(place);
            self.sensors.set_versions(place, needed);
            self.attach(place);
            self.refresh(place);
        }
    }

    /// Lists the sensor where its versions put it.
    fn attach(&mut self, place: usize) {
        for number in 0..self.sensors.versions(place).len() {
            let version = &self.sensors.versions(place)[number];
            let (bus, element, unit) = (version.feeder.0, version.element, version.element_id);
            let quantity = version.quantity;
            if adds_up(quantity) && !self.sensors.versions(place)[..number].iter().any(|known| known.feeder.0 == bus) {
                let bus = self.places.bus(bus);
                self.places.buses[bus].sensors.push(place as u32);
            }
            if quantity == Quantity::ActiveGeneration && element == EquipmentKind::Generator {
                self.sensors_of_unit.entry(GeneratorId(unit)).or_default().insert(place as u32);
            }
        }
    }

    fn detach(&mut self, place: usize) {
        for version in self.sensors.versions(place) {
            if adds_up(version.quantity) {
                let bus = self.places.bus(version.feeder.0);
                let sensors = &mut self.places.buses[bus].sensors;
                if let Some(at) = sensors.iter().position(|known| *known == place as u32) {
                    sensors.swap_remove(at);
                }
            }
            let unit = GeneratorId(version.element_id);
            if let Some(sensors) = self.sensors_of_unit.get_mut(&unit) {
                sensors.remove(&(place as u32));
            }
        }
    }

    /// Brings what is kept of the newest version next to the readings up to date.
    fn refresh(&mut self, place: usize) {
        let newest = &self.sensors.newest[place];
        let (bus, zone, quantity) = (newest.feeder.0, newest.zone, newest.quantity);
        let (source, from_ms) = (newest.source, newest.valid_from_ms);
        let sole = self.sensors.versions(place).len() == 1;
        let assigned_ms = self.places.known_bus(bus).and_then(|bus| bus.feeders.last()).map_or(i64::MIN, |(from, _)| *from);
        let since_ms = if sole { assigned_ms } else { assigned_ms.max(from_ms) };
        let now_at = self.place_of(bus, zone, quantity, since_ms);
        let (source_place, new) = self.source_of.place(u64::from(source.0), self.sources.len());
        if new {
            self.sources.push(source);
            self.gaps.push(Counts::default());
        }
        if self.tallies.len() < self.places.zones.len() {
            self.tallies.resize(self.places.zones.len(), [0; 3]);
        }
        let newest = &self.sensors.newest[place];
        let cell = &mut self.sensors.cells[place];
        (cell.range_min, cell.range_max, cell.sticks) = (newest.range_min, newest.range_max, newest.sigma > 0);
        (cell.since_ms, cell.place, cell.source) = (since_ms, now_at, source_place as u32);
        cell.fresh_ms = STALE_MS.max(3 * newest.period_ms);
        if cell.stale {
            self.perhaps_fresh.insert(place as u32);
        }
        self.stale_after[place] = self.becomes_stale(place);
    }

    fn place_of(&mut self, bus: u32, zone: ZoneId, quantity: Quantity, event_ms: i64) -> Place {
        let tally = self.places.zone(zone);
        if !adds_up(quantity) {
            return Place { bus: NOWHERE, feeder: NOWHERE, zone: NOWHERE, tally };
        }
        let feeder = self.places.known_bus(bus).map_or(bus, |known| known.feeder(event_ms));
        Place {
            bus: self.places.account(WindowScope::Bus, bus, quantity),
            feeder: self.places.account(WindowScope::Feeder, feeder, quantity),
            zone: self.places.account(WindowScope::Zone, zone.0, quantity),
            tally,
        }
    }

    /// Where a reading of a sensor counts.
    pub(super) fn place_at(&mut self, sensor: usize, event_ms: i64) -> Place {
        let cell = &self.sensors.cells[sensor];
        if event_ms >= cell.since_ms {
            return cell.place;
        }
        let version = self.sensors.version(sensor, event_ms);
        let (bus, zone, quantity) = (version.feeder.0, version.zone, version.quantity);
        let place = self.place_of(bus, zone, quantity, event_ms);
        if self.tallies.len() < self.places.zones.len() {
            self.tallies.resize(self.places.zones.len(), [0; 3]);
        }
        place
    }

    /// Changes where some sensors count, and moves what they hold.
    fn rearrange(&mut self, sensors: &[u32], change: impl FnOnce(&mut Self)) {
        let mut held: Vec<(usize, i64, i64, Place)> = Vec::new();
        for sensor in sensors.iter().map(|sensor| *sensor as usize) {
            if !self.sensors.cells[sensor].adds {
                continue;
            }
            let readings: Vec<(i64, i64)> = self.good_readings(sensor);
            held.extend(readings.into_iter().map(|(event_ms, value)| (sensor, event_ms, value, self.place_at(sensor, event_ms))));
        }
        change(self);
        for sensor in sensors {
            self.refresh(*sensor as usize);
        }
        for (sensor, event_ms, value, was) in held {
            let is = self.place_at(sensor, event_ms);
            let minute = event_ms.div_euclid(MINUTE_MS);
            let stated = (minute + 1) * MINUTE_MS + SETTLE_MS <= self.previous;
            let first = first_with_slots(self.previous);
            for (was, is) in [(was.feeder, is.feeder), (was.zone, is.zone)].into_iter().filter(|(was, is)| was != is) {
                if minute < first {
                    self.change_group(minute, was).widen(Some(value), None);
                    self.change_group(minute, is).widen(None, Some(value));
                } else {
                    let minutes = &mut self.revisable_mut(sensor).minutes;
                    let place = minutes.place(minute);
                    let slots = minutes.touch(place);
                    slots.touch(was).shift(Some(value), None);
                    slots.touch(is).shift(None, Some(value));
                }
            }
            if stated && was.bus != is.bus {
                self.change_bus(minute, was.bus).widen(Some(value), None);
                self.change_bus(minute, is.bus).widen(None, Some(value));
            }
        }
    }

    /// The changes of a bus in a minute that was stated.
    fn change_bus(&mut self, minute: i64, account: u32) -> &mut Slot {
        self.bus_changes.entry((minute, account)).or_insert_with(|| Slot::new(account))
    }

    /// The changes of a feeder or zone in a minute without slots.
    fn change_group(&mut self, minute: i64, account: u32) -> &mut Slot {
        self.group_changes.entry((minute, account)).or_insert_with(|| Slot::new(account))
    }

    fn good_readings(&self, sensor: usize) -> Vec<(i64, i64)> {
        let held = &self.sensors.cells[sensor].held;
        held.blocks().flat_map(|(_, block)| held.good(block, sensor as u32, &self.wide)).collect()
    }

    /// Takes a version of a unit; `false` when it has [`VERSIONS`] that are not final.
    fn set_unit(&mut self, unit: &Generator) -> bool {
        let versions = self.variable_units.entry(unit.id).or_default();
        match versions.binary_search_by_key(&unit.valid_from_ms, |(from, _)| *from) {
            Ok(known) if versions[known].1 == unit.variable => return true,
            Err(_) if versions.len() >= VERSIONS => {
                // Only quarters of what goes by the bound of SCADA hang on it.
                drop(drop_until(versions, floor(self.revisable[Bound::Scada as usize].horizon, INTERVAL_MS)));
                if versions.len() >= VERSIONS {
                    return false;
                }
            }
            _ => {}
        }
        let sensors: Vec<u32> = self.sensors_of_unit.get(&unit.id).into_iter().flatten().copied().collect();
        for sensor in sensors {
            self.touch_quarters(sensor as usize);
        }
        hold_from(self.variable_units.entry(unit.id).or_default(), unit.valid_from_ms, unit.variable);
        true
    }

    /// Whether a unit hangs on the weather at a time; before its first version as in it.
    fn is_variable(&self, unit: GeneratorId, time: i64) -> bool {
        let Some(versions) = self.variable_units.get(&unit) else { return false };
        let holds = versions.partition_point(|(from, _)| *from <= time).saturating_sub(1);
        versions.get(holds).is_some_and(|(_, variable)| *variable)
    }

    fn take_readings(&mut self, epoch: Epoch, readings: &[SequencedReading], out: &mut Vec<TelemetryOutput>) {
        let now = epoch as i64;
        let limits = Bound::ALL.map(|bound| self.revisable[bound as usize].horizon.max(now - WINDOW_MS - self.bounds.ms(bound)));
        let (first_with_slots, quarter) = (first_with_slots(self.previous), floor(now, INTERVAL_MS));
        let moment = Moment { epoch, now, limits, first_with_slots, quarter };
        for readings in readings.chunks(AHEAD) {
            self.look_ahead(readings);
            for reading in readings {
                if self.mine(reading.sensor) {
                    self.take_reading(moment, reading, out);
                }
            }
        }
    }

    /// Reads what the next readings will need, so that the memory answers many at once and not one after another: sensors
    /// come in any order, and no cache holds them all. Changes nothing.
    fn look_ahead(&self, readings: &[SequencedReading]) {
        let mut places = [usize::MAX; AHEAD];
        for (place, reading) in places.iter_mut().zip(readings) {
            if self.mine(reading.sensor) {
                *place = self.sensors.find(reading.sensor.0).unwrap_or(usize::MAX);
            }
        }
        let (mut first, mut second, mut sum) = (0u64, 0i64, 0u64);
        for cell in places.iter().filter_map(|place| self.sensors.cells.get(*place)) {
            first ^= cell.held.words().len() as u64;
            second ^= cell.range_max ^ i64::from(cell.run);
        }
        for cell in places.iter().filter_map(|place| self.sensors.cells.get(*place)) {
            sum ^= cell.held.read_ahead(4);
        }
        std::hint::black_box((first, second, sum));
    }

    fn refuse(moment: Moment, row: &SequencedReading, source: SourceId, reason: Reason, detail: i64, out: &mut Vec<TelemetryOutput>) {
        let (epoch, sequence, subject) = (moment.epoch, row.sequence, row.sensor.0);
        let kind = Kind::Measurement as u8;
        out.push(TelemetryOutput::Row(Rejected { epoch, sequence, kind, source, subject, reason, detail }.into(), 1));
    }

    #[inline]
    fn take_reading(&mut self, moment: Moment, row: &SequencedReading, out: &mut Vec<TelemetryOutput>) {
        let Some(sensor) = self.sensors.find(row.sensor.0) else {
            self.unknown.received += 1;
            self.unknown.rejected += 1;
            Self::refuse(moment, row, SourceId(0), Reason::Unknown, row.value, out);
            return;
        };
        let cell = &mut self.sensors.cells[sensor];
        let (number, source, bound) = (sensor as u32, cell.source as usize, Bound::of(cell.quantity));
        let gap = &mut self.gaps[source];
        if gap.received == 0 {
            self.gaps_touched.push(cell.source);
        }
        gap.received += 1;
        let plausible = |number: i64| number.checked_abs().is_some_and(|magnitude| magnitude <= MAX_MAGNITUDE);
        if !plausible(row.value) || !plausible(row.event_ms) {
            gap.rejected += 1;
            Self::refuse(moment, row, self.sources[source], Reason::Malformed, row.value, out);
            return;
        }
        if row.event_ms > moment.now + FUTURE_MS {
            gap.rejected += 1;
            gap.untimely += 1;
            Self::refuse(moment, row, self.sources[source], Reason::Future, row.event_ms, out);
            return;
        }
        let (minute, at_ms) = (row.event_ms.div_euclid(MINUTE_MS), row.event_ms.rem_euclid(MINUTE_MS));
        let start = minute * MINUTE_MS;
        if start < moment.limits[bound as usize] {
            gap.late += 1;
            gap.untimely += 1;
            let (epoch, sequence, source) = (moment.epoch, row.sequence, self.sources[source]);
            let (sensor, event_ms, value) = (row.sensor, row.event_ms, row.value);
            let lateness_ms = moment.now - event_ms;
            out.push(TelemetryOutput::Row(Late { epoch, sequence, source, sensor, event_ms, lateness_ms, value }.into(), 1));
            return;
        }
        let (place, range) = if row.event_ms >= cell.since_ms {
            (cell.place, cell.range_min..=cell.range_max)
        } else {
            let version = self.sensors.version(sensor, row.event_ms);
            let range = version.range_min..=version.range_max;
            (self.place_at(sensor, row.event_ms), range)
        };
        let gap = &mut self.gaps[source];
        if !row.quality.is_bad() && !range.contains(&row.value) {
            gap.rejected += 1;
            Self::refuse(moment, row, self.sources[source], Reason::OutOfRange, row.value, out);
            return;
        }
        let entry = Entry { value: row.value, quality: row.quality, revision: row.revision };
        let held = &mut self.sensors.cells[sensor].held;
        let block = held.find(minute);
        let within = block.map_err(|_| 0).and_then(|block| held.within(block, at_ms));
        let old = within.ok().map(|place| held.entry(place, number, row.event_ms, &self.wide));
        let mut tally = 0;
        if let (Some(old), Ok(at)) = (old, within) {
            if (old.value, old.quality) == (entry.value, entry.quality) {
                gap.duplicate += 1;
                // It says nothing new, but says it with its own rank.
                if entry.revision > old.revision {
                    held.replace(at, number, row.event_ms, entry, &mut self.wide);
                }
                self.count(moment, row.event_ms, place.tally, 1);
                return;
            }
            if old.revision > entry.revision {
                gap.rejected += 1;
                Self::refuse(moment, row, self.sources[source], Reason::Superseded, row.event_ms, out);
                return;
            }
            tally = 2;
        }
        gap.applied += 1;
        let stated = start + WINDOW_MS + SETTLE_MS <= self.previous;
        if stated {
            self.touch_windows(sensor, start);
        }
        let held = &mut self.sensors.cells[sensor].held;
        let minutes = &mut self.revisable[bound as usize].minutes;
        let minute_place = minutes.place(minute);
        match (block, within) {
            (Ok(_), Ok(at)) => held.replace(at, number, row.event_ms, entry, &mut self.wide),
            (Ok(block), Err(at)) => held.insert(block, at, number, row.event_ms, entry, &mut self.wide),
            (Err(at), _) => {
                if held.words().is_empty() {
                    held.expect(words_expected(self.bounds.ms(bound), self.sensors.newest[sensor].period_ms));
                }
                held.begin(at, number, row.event_ms, entry, &mut self.wide);
                minutes.list[minute_place].members.insert(number, self.sensors.cells.len());
            }
        }
        self.count(moment, row.event_ms, place.tally, tally);
        let (was, is) = (old.and_then(Entry::good), entry.good());
        if was == is {
            return;
        }
        let Cell { adds, solves, .. } = self.sensors.cells[sensor];
        if adds {
            if minute >= moment.first_with_slots {
                let slots = self.revisable[bound as usize].minutes.touch(minute_place);
                slots.touch(place.feeder).shift(was, is);
                slots.touch(place.zone).shift(was, is);
            } else {
                for account in [place.feeder, place.zone] {
                    self.change_group(minute, account).widen(was, is);
                }
            }
            if stated {
                self.change_bus(minute, place.bus).widen(was, is);
            }
        }
        if let (Some(old), true) = (was, solves) {
            let (sensor, event_ms, sequence) = (row.sensor, row.event_ms, row.sequence);
            out.push(TelemetryOutput::Correction(Correction { sensor, event_ms, sequence, old, new: is }));
        }
        self.renew(moment.now, sensor, row.event_ms, is, out);
    }

    /// Counts a reading for its zone: 0 a first one, 1 a duplicate, 2 a correction.
    #[inline]
    fn count(&mut self, moment: Moment, event_ms: i64, zone: u32, which: usize) {
        if event_ms >= moment.quarter && event_ms < moment.quarter + INTERVAL_MS {
            let tally = &mut self.tallies[zone as usize];
            if *tally == [0; 3] {
                self.tallies_touched.push(zone);
            }
            tally[which] += 1;
        } else {
            let measure = [Measure::Readings, Measure::Duplicates, Measure::Corrections][which];
            *self.figures.entry((floor(event_ms, INTERVAL_MS), self.places.zones[zone as usize], measure)).or_insert(0) += 1;
        }
    }

    /// Keeps what the stated windows that hold a minute of a sensor said before they change.
    fn touch_windows(&mut self, sensor: usize, start_ms: i64) {
        for (length, length_ms) in LENGTHS_MS.into_iter().enumerate() {
            let start = floor(start_ms, length_ms);
            if start + length_ms + SETTLE_MS <= self.previous {
                self.touch_window(length, start, sensor);
            }
        }
    }

    fn touch_window(&mut self, length: usize, start: i64, sensor: usize) {
        let key = (length as u8, start, sensor as u32);
        if !self.before.contains_key(&key) {
            let aggregate = self.window(length, start, sensor);
            let energy = if length == QUARTER { self.energy(start, sensor, aggregate.as_ref()) } else { None };
            self.before.insert(key, Before { aggregate, energy });
        }
    }

    /// Keeps what the stated quarters of a sensor counted for before where they count changes.
    fn touch_quarters(&mut self, sensor: usize) {
        if !counts_energy(self.sensors.cells[sensor].quantity) {
            return;
        }
        let held = self.sensors.cells[sensor].held.blocks().map(|(minute, _)| floor(minute * MINUTE_MS, INTERVAL_MS));
        let (horizon, base_start) = (self.revisable(sensor).horizon, self.revisable(sensor).base_starts[QUARTER - 1]);
        let mut starts: Vec<i64> = held.chain(base_start).collect();
        starts.dedup();
        for start in starts {
            // Of a final quarter not even where it counts can change.
            if start + INTERVAL_MS + SETTLE_MS <= self.previous && start + INTERVAL_MS > horizon {
                self.touch_window(QUARTER, start, sensor);
            }
        }
    }

    /// What a window of a sensor says; `None` when it has no reading.
    pub(super) fn window(&self, length: usize, start: i64, sensor: usize) -> Option<Aggregate> {
        let mut aggregate = Aggregate::default();
        if length > 0 && self.revisable(sensor).base_starts[length - 1] == Some(start) {
            aggregate = self.bases[sensor][length - 1];
        }
        let held = &self.sensors.cells[sensor].held;
        let (first, end) = (start.div_euclid(MINUTE_MS), (start + LENGTHS_MS[length]).div_euclid(MINUTE_MS));
        for (_, block) in held.blocks().skip_while(|(minute, _)| *minute >= end).take_while(|(minute, _)| *minute >= first) {
            aggregate.combine(&held.aggregate(block, sensor as u32, &self.wide));
        }
        aggregate.seen.then_some(aggregate)
    }

    /// The key figure that a quarter of a sensor counts in: that of its zone at the start of the quarter.
    pub(super) fn energy(&self, start: i64, sensor: usize, quarter: Option<&Aggregate>) -> Option<(ZoneId, Measure, i64)> {
        let quarter = quarter?;
        if !counts_energy(self.sensors.newest[sensor].quantity) {
            return None;
        }
        let version = self.sensors.version(sensor, start);
        let unit = GeneratorId(version.element_id);
        let measure = match version.quantity {
            Quantity::ActiveLoad => Measure::LoadEnergy,
            _ if version.element == EquipmentKind::Generator && self.is_variable(unit, start) => Measure::RenewableEnergy,
            _ => return None,
        };
        // Mean power times a quarter of an hour, half to even.
        let energy = if quarter.count == 0 { 0 } else { divide_half_even(quarter.sum, i128::from(quarter.count) * 4) };
        Some((version.zone, measure, i64::try_from(energy).expect("a mean lies between readings")))
    }

    /// What solvers are told of a sensor.
    pub(super) fn in_force(&self, sensor: usize) -> Option<Reading> {
        let cell = &self.sensors.cells[sensor];
        let told = cell.solves && !cell.stuck && cell.newest_ms != NEVER;
        told.then(|| Reading { sensor: self.sensors.shared(sensor, cell.newest_ms), event_ms: cell.newest_ms, value: cell.newest })
    }

    fn touch_newest(&mut self, sensor: usize) {
        let cell = &self.sensors.cells[sensor];
        if cell.solves && !cell.touched {
            let told = self.in_force(sensor);
            self.sensors.cells[sensor].touched = true;
            self.newest.push((sensor as u32, told));
        }
    }

    /// Brings the newest good reading, and what hangs on it, up to date: the reading of this time is now `is`.
    #[inline]
    fn renew(&mut self, now: i64, sensor: usize, event_ms: i64, is: Option<i64>, out: &mut Vec<TelemetryOutput>) {
        let cell = &self.sensors.cells[sensor];
        let newest = match is {
            Some(value) if event_ms >= cell.newest_ms => Some((event_ms, value)),
            None if event_ms == cell.newest_ms => {
                let settled = (cell.settled_ms != NEVER).then_some((cell.settled_ms, cell.settled));
                cell.held.newest_good(sensor as u32, &self.wide).or(settled)
            }
            _ => return,
        };
        if cell.solves {
            self.touch_newest(sensor);
        }
        let cell = &mut self.sensors.cells[sensor];
        let (before_ms, before) = (cell.newest_ms, cell.newest);
        (cell.newest_ms, cell.newest) = newest.unwrap_or((NEVER, 0));
        let Some((newest_ms, value)) = newest else {
            cell.run = 0;
            self.stale_after[sensor] = i64::MAX;
            return;
        };
        let advanced = newest_ms > before_ms;
        // A correction of the newest reading ends a run as a new one does, but lengthens none.
        cell.run = if before_ms != NEVER && value == before { cell.run.saturating_add(u32::from(advanced)) } else { 1 };
        let stuck = cell.sticks && value != 0 && cell.run >= STUCK_READINGS;
        let (changed, stale) = (stuck != cell.stuck, cell.stale);
        if advanced && stale {
            self.set_alarm(now, sensor, AlarmKind::Stale, false, newest_ms, out);
        }
        if stale || !advanced || before_ms == NEVER {
            self.stale_after[sensor] = self.becomes_stale(sensor);
        }
        if changed {
            self.set_alarm(now, sensor, AlarmKind::Stuck, stuck, newest_ms, out);
        }
    }
}
