//! The slow reference of telemetry: after every epoch, everything is computed anew from all rows accepted so far.
//!
//! Written from the definitions: identity (sensor, event time); the greatest (revision, epoch, sequence) wins; equal
//! value and quality is a duplicate; a winner of bad quality withdraws; a minute is final when epoch > end + bound, the
//! bound being that of meters for metered power and that of SCADA for all else, and
//! stays where it counts then; a reading counts for the bus, feeder and zone that were true at its event time; windows
//! are first stated at end + 5 s, those of feeders and zones at once; key figures of a quarter of an hour likewise.
//! Values in the sensor's unit, energy in a quarter of it (mean power times 15 minutes), half to even.

use std::collections::BTreeMap;

use gridflow_inputs::ids::{FeederId, GeneratorId, SensorId, SourceId, ZoneId};
use gridflow_inputs::input::{Kind, Measurement, Quantity, Sensor, Timer};
use gridflow_inputs::network::EquipmentKind;
use gridflow_inputs::{Epoch, Input};
use gridflow_operators::decision::{Alarm, AlarmKind, Gap, Kpi, Late, Measure, Output, Reason, Rejected, Window, WindowScope};
use gridflow_operators::telemetry::{Correction, Reading};

use crate::harness::State;

const MINUTE: i64 = 60_000;
const QUARTER: i64 = 15 * MINUTE;
const SETTLE: i64 = 5_000;
const LENGTHS: [i64; 4] = [MINUTE, 5 * MINUTE, QUARTER, 60 * MINUTE];

/// A log: epochs with their rows, sequence numbers by place.
pub(crate) type Log = Vec<(Epoch, Vec<Input>)>;

/// Everything that holds after an epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) outputs: State<Output>,
    pub(crate) newest: State<Reading>,
    /// Corrections of this epoch alone.
    pub(crate) corrections: State<Correction>,
}

struct Accepted {
    epoch: Epoch,
    sequence: u32,
    row: Measurement,
}

/// Bus, feeder and zone.
type Place = (u32, u32, u32);
type Key = (WindowScope, u32, Quantity, i64, i64);

/// How late readings may be, and what follows.
struct Bound {
    lateness: i64,
    /// Minutes that begin before are final.
    horizon: i64,
}

impl Bound {
    fn of(lateness: i64) -> Self {
        Self { lateness, horizon: i64::MIN }
    }

    fn begin(&mut self, now: i64) {
        // The first whole minute that is not over for longer than the bound, or than windows need to be stated.
        let mut first = start_of(now, MINUTE) - self.lateness.max(SETTLE) - 3 * MINUTE;
        first = start_of(first, MINUTE);
        while now > first + MINUTE + self.lateness.max(SETTLE) {
            first += MINUTE;
        }
        self.horizon = self.horizon.max(first);
    }
}

struct Reference {
    scada: Bound,
    meter: Bound,
    sensors: BTreeMap<SensorId, BTreeMap<i64, Sensor>>,
    assignments: BTreeMap<u32, BTreeMap<i64, u32>>,
    variable: BTreeMap<GeneratorId, BTreeMap<i64, bool>>,
    accepted: Vec<Accepted>,
    /// Where final readings count for ever, and final quarters.
    frozen: BTreeMap<(SensorId, i64), Place>,
    frozen_quarters: BTreeMap<(SensorId, i64), Option<(ZoneId, Measure)>>,
    /// Counts of events that are no function of the winners: (zone, measure, quarter).
    counts: BTreeMap<(ZoneId, Measure, i64), i64>,
    windows: BTreeMap<Key, Window>,
    figures: BTreeMap<(ZoneId, Measure, i64), Kpi>,
    alarms: BTreeMap<(AlarmKind, u32), Alarm>,
    clocks: BTreeMap<SourceId, (i64, i64)>,
    refused: State<Output>,
    gaps: BTreeMap<SourceId, Gap>,
}

fn start_of(event_ms: i64, length: i64) -> i64 {
    event_ms - event_ms.rem_euclid(length)
}

fn half_even(numerator: i128, denominator: i128) -> i64 {
    let (whole, rest) = (numerator.div_euclid(denominator), numerator.rem_euclid(denominator));
    let up = match (2 * rest).cmp(&denominator) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => whole & 1,
        std::cmp::Ordering::Greater => 1,
    };
    i64::try_from(whole + up).expect("a mean lies between readings")
}

fn is_summed(quantity: Quantity) -> bool {
    [Quantity::ActiveLoad, Quantity::ActiveGeneration, Quantity::MeteredPower].contains(&quantity)
}

fn is_solved_with(quantity: Quantity) -> bool {
    ![Quantity::MeteredPower, Quantity::Frequency].contains(&quantity)
}

/// The version at a time; before the first the first.
fn at<T>(versions: &BTreeMap<i64, T>, time: i64) -> &T {
    versions.range(..=time).next_back().or_else(|| versions.iter().next()).expect("there is a version").1
}

impl Reference {
    fn new() -> Self {
        Self {
            scada: Bound::of(15 * MINUTE),
            meter: Bound::of(7 * 24 * 60 * MINUTE),
            sensors: BTreeMap::new(),
            assignments: BTreeMap::new(),
            variable: BTreeMap::new(),
            accepted: Vec::new(),
            frozen: BTreeMap::new(),
            frozen_quarters: BTreeMap::new(),
            counts: BTreeMap::new(),
            windows: BTreeMap::new(),
            figures: BTreeMap::new(),
            alarms: BTreeMap::new(),
            clocks: BTreeMap::new(),
            refused: State::default(),
            gaps: BTreeMap::new(),
        }
    }

    /// The winner of each identity of a sensor.
    fn winners(&self, sensor: SensorId) -> BTreeMap<i64, &Measurement> {
        let mut winners: BTreeMap<i64, &Accepted> = BTreeMap::new();
        for accepted in self.accepted.iter().filter(|accepted| accepted.row.sensor == sensor) {
            let rank = |accepted: &Accepted| (accepted.row.revision, accepted.epoch, accepted.sequence);
            let winner = winners.entry(accepted.row.event_ms).or_insert(accepted);
            if rank(accepted) > rank(winner) {
                *winner = accepted;
            }
        }
        winners.into_iter().map(|(event_ms, accepted)| (event_ms, &accepted.row)).collect()
    }

    fn good(&self, sensor: SensorId) -> BTreeMap<i64, i64> {
        self.winners(sensor).into_iter().filter(|(_, row)| !row.quality.is_bad()).map(|(event_ms, row)| (event_ms, row.value)).collect()
    }

    fn feeder_of(&self, bus: u32, time: i64) -> u32 {
        self.assignments.get(&bus).and_then(|versions| versions.range(..=time).next_back()).map_or(bus, |(_, feeder)| *feeder)
    }

    fn place(&self, sensor: SensorId, event_ms: i64) -> Place {
        self.frozen.get(&(sensor, event_ms)).copied().unwrap_or_else(|| {
            let version = at(&self.sensors[&sensor], event_ms);
            (version.feeder.0, self.feeder_of(version.feeder.0, event_ms), version.zone.0)
        })
    }

    fn energy_of(&self, sensor: SensorId, quarter: i64) -> Option<(ZoneId, Measure)> {
        if let Some(frozen) = self.frozen_quarters.get(&(sensor, quarter)) {
            return *frozen;
        }
        let version = at(&self.sensors[&sensor], quarter);
        match version.quantity {
            Quantity::ActiveLoad => Some((version.zone, Measure::LoadEnergy)),
            Quantity::ActiveGeneration
                if version.element == EquipmentKind::Generator
                    && self.variable.get(&GeneratorId(version.element_id)).is_some_and(|versions| *at(versions, quarter)) =>
            {
                Some((version.zone, Measure::RenewableEnergy))
            }
            _ => None,
        }
    }

    /// What becomes final before the rows of an epoch are looked at.
    fn begin(&mut self, now: i64) {
        self.scada.begin(now);
        self.meter.begin(now);
        let sensors: Vec<SensorId> = self.sensors.keys().copied().collect();
        for sensor in sensors {
            let events: Vec<i64> = self.winners(sensor).into_keys().collect();
            let horizon = self.bound(sensor).horizon;
            for event_ms in events {
                if start_of(event_ms, MINUTE) < horizon {
                    let place = self.place(sensor, event_ms);
                    self.frozen.insert((sensor, event_ms), place);
                }
                let quarter = start_of(event_ms, QUARTER);
                if quarter + QUARTER <= horizon {
                    let energy = self.energy_of(sensor, quarter);
                    self.frozen_quarters.insert((sensor, quarter), energy);
                }
            }
        }
    }

    fn bound(&self, sensor: SensorId) -> &Bound {
        if at(&self.sensors[&sensor], 0).quantity == Quantity::MeteredPower { &self.meter } else { &self.scada }
    }

    fn source(&self, sensor: SensorId) -> SourceId {
        self.sensors.get(&sensor).map_or(SourceId(0), |versions| at(versions, i64::MAX).source)
    }

    fn refusal(&self, epoch: Epoch, sequence: u32, row: &Measurement) -> Option<Output> {
        let now = epoch as i64;
        let source = self.source(row.sensor);
        let rejected = |reason, detail| {
            Some(Output::from(Rejected { epoch, sequence, kind: Kind::Measurement as u8, source, subject: row.sensor.0, reason, detail }))
        };
        let Some(versions) = self.sensors.get(&row.sensor) else { return rejected(Reason::Unknown, row.value) };
        let bound = 10i128.pow(15);
        if i128::from(row.value).abs() > bound || i128::from(row.event_ms).abs() > bound {
            return rejected(Reason::Malformed, row.value);
        }
        if row.event_ms - now > 10_000 {
            return rejected(Reason::Future, row.event_ms);
        }
        let (start, bound) = (start_of(row.event_ms, MINUTE), self.bound(row.sensor));
        if now > start + MINUTE + bound.lateness || start < bound.horizon {
            let lateness_ms = now - row.event_ms;
            return Some(
                Late { epoch, sequence, source, sensor: row.sensor, event_ms: row.event_ms, lateness_ms, value: row.value }.into(),
            );
        }
        let sensor = at(versions, row.event_ms);
        if !row.quality.is_bad() && (row.value < sensor.range_min || row.value > sensor.range_max) {
            return rejected(Reason::OutOfRange, row.value);
        }
        let winner = self.winners(row.sensor).get(&row.event_ms).copied();
        let beaten = winner.filter(|winner| winner.revision > row.revision && (winner.value, winner.quality) != (row.value, row.quality));
        beaten.and_then(|_| rejected(Reason::Superseded, row.event_ms))
    }

    fn arrives(&mut self, epoch: Epoch, sequence: u32, row: &Measurement, corrections: &mut State<Correction>) {
        let source = self.source(row.sensor);
        let refusal = self.refusal(epoch, sequence, row);
        let before = self.winners(row.sensor).get(&row.event_ms).map(|row| (row.value, row.quality));
        let duplicate = before == Some((row.value, row.quality));
        let gap = self.gaps.entry(source).or_insert(Gap { epoch, source, received: 0, applied: 0, rejected: 0, late: 0, duplicate: 0 });
        let clock = self.clocks.entry(source).or_default();
        gap.received += 1;
        clock.0 += 1;
        if let Some(refusal) = refusal {
            match &refusal {
                Output::Late(_) => {
                    gap.late += 1;
                    clock.1 += 1;
                }
                Output::Rejected(row) => {
                    gap.rejected += 1;
                    clock.1 += i64::from(row.reason == Reason::Future);
                }
                _ => {}
            }
            self.refused.add(refusal, 1);
            return;
        }
        let measure = match before {
            None => Measure::Readings,
            Some(_) if duplicate => Measure::Duplicates,
            Some(_) => Measure::Corrections,
        };
        *(if duplicate { &mut gap.duplicate } else { &mut gap.applied }) += 1;
        let zone = at(&self.sensors[&row.sensor], row.event_ms).zone;
        *self.counts.entry((zone, measure, start_of(row.event_ms, QUARTER))).or_insert(0) += 1;
        let (old, newest_before) = (self.good(row.sensor).get(&row.event_ms).copied(), self.good(row.sensor).into_iter().next_back());
        self.accepted.push(Accepted { epoch, sequence, row: row.clone() });
        let (new, newest) = (self.good(row.sensor).get(&row.event_ms).copied(), self.good(row.sensor).into_iter().next_back());
        let solved_with = is_solved_with(at(&self.sensors[&row.sensor], 0).quantity);
        if let Some(old) = old.filter(|old| Some(*old) != new && solved_with) {
            corrections.add(Correction { sensor: row.sensor, event_ms: row.event_ms, sequence, old, new }, 1);
        }
        // A sensor is heard of again when a good reading is newer than all before.
        if newest.map(|(event_ms, _)| event_ms) > newest_before.map(|(event_ms, _)| event_ms) {
            self.alarms.remove(&(AlarmKind::Stale, row.sensor.0));
        }
    }

    fn defines(&mut self, epoch: Epoch, sequence: u32, sensor: &Sensor) {
        let known = self.sensors.get(&sensor.id).map(|versions| at(versions, 0).quantity);
        let detail = match known {
            _ if sensor.range_min > sensor.range_max => sensor.range_min,
            Some(quantity) if quantity != sensor.quantity => sensor.quantity as i64,
            _ => {
                self.sensors.entry(sensor.id).or_default().insert(sensor.valid_from_ms, sensor.clone());
                return;
            }
        };
        let (kind, source, subject, reason) = (Kind::Sensor as u8, sensor.source, sensor.id.0, Reason::Malformed);
        self.refused.add(Rejected { epoch, sequence, kind, source, subject, reason, detail }.into(), 1);
    }

    fn check_stale(&mut self, now: i64) {
        for (id, versions) in &self.sensors {
            let sensor = at(versions, i64::MAX);
            let Some((event_ms, _)) = self.good(*id).into_iter().next_back() else { continue };
            let key = (AlarmKind::Stale, id.0);
            if now - event_ms <= (3 * sensor.period_ms).max(30_000) {
                self.alarms.remove(&key);
            } else {
                let present = at(versions, now);
                let feeder = FeederId(self.feeder_of(present.feeder.0, now));
                let alarm = Alarm { kind: AlarmKind::Stale, equipment: present.element, id: id.0, feeder, since_ms: event_ms };
                self.alarms.entry(key).or_insert(alarm);
            }
        }
    }

    fn check_clocks(&mut self, now: i64) {
        for (source, (received, untimely)) in self.clocks.iter_mut().filter(|(_, (received, _))| *received >= 20) {
            let key = (AlarmKind::Clock, source.0);
            if 2 * *untimely >= *received {
                let (kind, equipment, id) = (AlarmKind::Clock, EquipmentKind::Zone, source.0);
                self.alarms.entry(key).or_insert(Alarm { kind, equipment, id, feeder: FeederId(0), since_ms: now });
            } else {
                self.alarms.remove(&key);
            }
            (*received, *untimely) = (0, 0);
        }
    }

    /// Every window that has a row, from scratch.
    fn windows_now(&self) -> BTreeMap<Key, Window> {
        let mut windows: BTreeMap<Key, Window> = self.windows.keys().map(|key| (*key, empty(*key))).collect();
        for (id, versions) in &self.sensors {
            let quantity = at(versions, 0).quantity;
            for (event_ms, row) in self.winners(*id) {
                let (bus, feeder, zone) = self.place(*id, event_ms);
                let scopes =
                    [(WindowScope::Sensor, id.0), (WindowScope::Bus, bus), (WindowScope::Feeder, feeder), (WindowScope::Zone, zone)];
                for length in LENGTHS {
                    for (scope, id) in scopes.into_iter().filter(|(scope, _)| *scope == WindowScope::Sensor || is_summed(quantity)) {
                        let key = (scope, id, quantity, length, start_of(event_ms, length));
                        let window = windows.entry(key).or_insert(empty(key));
                        if row.quality.is_bad() {
                            continue;
                        }
                        let value = i128::from(row.value);
                        window.count += 1;
                        window.sum += value;
                        window.sum_squares += value * value;
                        window.min = [window.min, Some(row.value)].into_iter().flatten().min();
                        window.max = [window.max, Some(row.value)].into_iter().flatten().max();
                    }
                }
            }
        }
        windows
    }

    /// Every key figure of a quarter that has a row, from scratch.
    fn figures_now(&self) -> BTreeMap<(ZoneId, Measure, i64), i64> {
        let mut figures: BTreeMap<(ZoneId, Measure, i64), i64> = self.figures.keys().map(|key| (*key, 0)).collect();
        figures.extend(self.counts.clone());
        for id in self.sensors.keys() {
            let mut quarters: BTreeMap<i64, (i128, i128)> = BTreeMap::new();
            for (event_ms, row) in self.winners(*id) {
                let quarter = quarters.entry(start_of(event_ms, QUARTER)).or_default();
                if !row.quality.is_bad() {
                    *quarter = (quarter.0 + 1, quarter.1 + i128::from(row.value));
                }
            }
            for (start, (count, sum)) in quarters {
                if let Some((zone, measure)) = self.energy_of(*id, start) {
                    *figures.entry((zone, measure, start)).or_insert(0) += if count == 0 { 0 } else { half_even(sum, 4 * count) };
                }
            }
        }
        figures
    }

    /// States what is due and differs from what was stated.
    fn state(&mut self, now: i64) {
        for (key, window) in self.windows_now() {
            let (scope, _, _, length, start) = key;
            let settled = now >= start + length + SETTLE;
            let counts = window.count > 0 || self.windows.contains_key(&key);
            let due = match scope {
                WindowScope::Sensor => settled,
                WindowScope::Feeder | WindowScope::Zone if length == MINUTE => counts,
                _ => settled && counts,
            };
            match self.windows.get_mut(&key) {
                _ if !due => {}
                Some(stated) if Window { revision: 0, ..stated.clone() } == window => {}
                Some(stated) => *stated = Window { revision: stated.revision + 1, ..window },
                None => drop(self.windows.insert(key, window)),
            }
        }
        for ((zone, measure, start_ms), value) in self.figures_now() {
            let key = (zone, measure, start_ms);
            match self.figures.get_mut(&key) {
                _ if now < start_ms + QUARTER + SETTLE => {}
                Some(stated) if stated.value == value => {}
                Some(stated) => *stated = Kpi { revision: stated.revision + 1, value, ..stated.clone() },
                None => drop(self.figures.insert(key, Kpi { zone, measure, start_ms, length_ms: QUARTER, revision: 0, value })),
            }
        }
    }

    fn picture(&mut self, corrections: State<Correction>) -> Picture {
        for gap in std::mem::take(&mut self.gaps).into_values() {
            self.refused.add(gap.into(), 1);
        }
        let mut outputs = self.refused.clone();
        self.windows.values().for_each(|row| outputs.add(row.clone().into(), 1));
        self.figures.values().for_each(|row| outputs.add(row.clone().into(), 1));
        self.alarms.values().for_each(|row| outputs.add(row.clone().into(), 1));
        let newest = self.sensors.iter().filter(|(_, versions)| is_solved_with(at(versions, 0).quantity)).filter_map(|(id, versions)| {
            let (event_ms, value) = self.good(*id).into_iter().next_back()?;
            Some(Reading { sensor: at(versions, event_ms).clone().into(), event_ms, value })
        });
        let newest = State::of(newest);
        Picture { outputs, newest, corrections }
    }
}

fn empty((scope, id, quantity, length_ms, start_ms): Key) -> Window {
    Window { scope, id, quantity, start_ms, length_ms, revision: 0, count: 0, sum: 0, sum_squares: 0, min: None, max: None }
}

/// What holds after each epoch of a log.
pub(crate) fn pictures(log: &Log) -> Vec<Picture> {
    let mut reference = Reference::new();
    log.iter()
        .map(|(epoch, rows)| {
            let mut corrections = State::default();
            let mut estimates = false;
            reference.begin(*epoch as i64);
            for (sequence, row) in rows.iter().enumerate() {
                match row {
                    Input::Region(row) => {
                        (reference.scada.lateness, reference.meter.lateness) = (row.lateness_scada_ms, row.lateness_meter_ms)
                    }
                    Input::Generator(row) => {
                        reference.variable.entry(row.id).or_default().insert(row.valid_from_ms, row.variable);
                    }
                    Input::Sensor(row) => reference.defines(*epoch, sequence as u32, row),
                    Input::FeederAssignment(row) => {
                        reference.assignments.entry(row.bus.0).or_default().insert(row.valid_from_ms, row.feeder.0);
                    }
                    Input::Measurement(row) => reference.arrives(*epoch, sequence as u32, row, &mut corrections),
                    Input::Tick(tick) => estimates |= tick.timer == Timer::Estimate,
                    _ => {}
                }
            }
            reference.state(*epoch as i64);
            if estimates {
                reference.check_stale(*epoch as i64);
                reference.check_clocks(*epoch as i64);
            }
            reference.picture(corrections)
        })
        .collect()
}
