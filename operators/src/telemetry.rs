//! Everything that happens per reading, in one sealed-epoch operator on dense per-sensor state: hygiene, identity and
//! corrections, the newest good reading, one-minute windows, and the partial sums that feeder and zone accounts add up.
//!
//! Rows are applied in (epoch, sequence) order. Identity of a reading: (sensor, event time); the greatest (revision,
//! epoch, sequence) wins; equal value and quality is a duplicate. A window is final when `epoch > end + bound`; rows
//! for it are late from then on. All sums are exact integers, so that feeders and zones do not depend on sharding.

use std::collections::{BTreeMap, BTreeSet};

use gridflow_inputs::ids::{FeederId, GeneratorId, SensorId, SourceId, ZoneId};
use gridflow_inputs::input::{Kind, Measurement, Quality, Quantity, Sensor, Timer};
use gridflow_inputs::network::EquipmentKind;
use gridflow_inputs::units::{MAX_MAGNITUDE, divide_half_even};
use gridflow_inputs::{Epoch, Input, Sequenced};
use serde::{Deserialize, Serialize};

use crate::decision::{Alarm, AlarmKind, Late, Measure, Output, Reason, Rejected, Window, WindowScope};
use crate::sealed::{Clock, Logic, Rows, sealed};
use crate::state::{Registry, State, StateError};

/// Length of the shortest windows.
pub const WINDOW_MS: i64 = 60_000;
/// Length of the intervals of key figures.
pub const INTERVAL_MS: i64 = 900_000;
/// Windows other than those of feeders and zones are first stated this long after their end.
pub const SETTLE_MS: i64 = 5_000;
/// A reading may be this far ahead of its arrival.
pub const FUTURE_MS: i64 = 10_000;
/// A reading older than this is stale: the estimator uses it as a pseudo-measurement only.
pub const STALE_MS: i64 = 30_000;
/// A sensor that repeats one value other than zero this often is stuck.
pub const STUCK_READINGS: u32 = 30;
/// How late a SCADA row may be, unless the region row says otherwise.
pub const LATENESS_MS: i64 = 900_000;

/// The lateness bound as a region row states it, kept within what times can be added to.
pub(crate) fn lateness_bound(stated_ms: i64) -> i64 {
    stated_ms.clamp(0, MAX_MAGNITUDE)
}

/// How long after its end a window or interval is held: until no row can change it and it has been stated.
pub(crate) fn held_after_end(lateness_ms: i64) -> i64 {
    lateness_ms.max(SETTLE_MS)
}

/// What the telemetry operator is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TelemetryInput {
    /// How late a SCADA row may be; a copy for each worker.
    Lateness(u64, i64),
    /// Whether a unit is bounded by weather; a copy for each worker.
    Unit(u64, GeneratorId, bool),
    /// A sensor or a reading.
    Row(Sequenced),
    /// The epoch passes; a copy for each worker.
    Clock(Clock),
}

/// The newest good reading of a sensor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Reading {
    /// The sensor.
    pub sensor: Sensor,
    /// When it was taken.
    pub event_ms: i64,
    /// Its value.
    pub value: i64,
}

/// A change of an account that several sensors add up to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Partial {
    /// Of a one-minute window of a feeder or zone.
    Window {
        /// Feeder or zone.
        scope: WindowScope,
        /// Its number.
        id: u32,
        /// The quantity.
        quantity: Quantity,
        /// Start of the window.
        start_ms: i64,
        /// Change of the number of readings.
        count: i64,
        /// Change of their sum.
        sum: i128,
        /// Change of their sum of squares.
        sum_squares: i128,
    },
    /// Of a key figure of a zone.
    Figure {
        /// The zone.
        zone: ZoneId,
        /// Which figure.
        measure: Measure,
        /// Start of the interval.
        start_ms: i64,
        /// Its change.
        value: i64,
    },
}

/// A reading was replaced after it had counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Correction {
    /// The sensor.
    pub sensor: SensorId,
    /// Event time of the reading.
    pub event_ms: i64,
    /// Place of the correcting row in its epoch.
    pub sequence: u32,
    /// The value until now.
    pub old: i64,
    /// The value from now on; `None` when it was withdrawn.
    pub new: Option<i64>,
}

/// What the telemetry operator tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TelemetryOutput {
    /// A row for a stream, with its change.
    Row(Output, i64),
    /// The newest good reading of a sensor begins or ceases to hold.
    Newest(Reading, i64),
    /// For the feeder and zone accounts.
    Partial(Partial),
    /// For the audit of estimates.
    Correction(Correction),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    value: i64,
    quality: Quality,
    revision: u16,
    epoch: Epoch,
    sequence: u32,
}

impl Entry {
    /// What decides between rows of one identity: the greatest wins.
    fn rank(&self) -> (u16, Epoch, u32) {
        (self.revision, self.epoch, self.sequence)
    }

    fn good(&self) -> Option<i64> {
        (!self.quality.is_bad()).then_some(self.value)
    }
}

/// Where the readings of a window count: as the sensor and its unit were when the first of them came, so that a
/// correction takes a reading out of where it was put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Account {
    quantity: Quantity,
    feeder: FeederId,
    zone: ZoneId,
    energy: Option<Measure>,
}

impl Account {
    fn of(sensor: &Sensor, variable_units: &BTreeSet<GeneratorId>) -> Self {
        let variable = || sensor.element == EquipmentKind::Generator && variable_units.contains(&GeneratorId(sensor.element_id));
        let energy = match sensor.quantity {
            Quantity::ActiveLoad => Some(Measure::LoadEnergy),
            Quantity::ActiveGeneration if variable() => Some(Measure::RenewableEnergy),
            _ => None,
        };
        Self { quantity: sensor.quantity, feeder: sensor.feeder, zone: sensor.zone, energy }
    }
}

#[derive(Debug)]
struct SensorWindow {
    account: Account,
    entries: BTreeMap<i64, Entry>,
    stated: Option<Window>,
}

/// Readings of one sensor in one interval of key figures: exact sum and count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Quarter {
    count: i64,
    sum: i128,
}

impl Quarter {
    /// Mean power times a quarter of an hour, half to even.
    fn energy(self) -> i64 {
        if self.count == 0 {
            0
        } else {
            i64::try_from(divide_half_even(self.sum, i128::from(self.count) * 4)).expect("a mean lies between readings")
        }
    }
}

#[derive(Debug)]
struct SensorState {
    sensor: Sensor,
    windows: BTreeMap<i64, SensorWindow>,
    quarters: BTreeMap<(i64, ZoneId, Measure), Quarter>,
    newest: Option<Reading>,
    /// Event time and value of the newest good reading whose window is final.
    settled: Option<(i64, i64)>,
    /// Value and length of the present run of equal readings.
    run: (i64, u32),
    stale: Option<Alarm>,
    stuck: Option<Alarm>,
}

/// Whether one-minute windows of this quantity are added up over a feeder and a zone.
fn adds_up(quantity: Quantity) -> bool {
    matches!(quantity, Quantity::ActiveLoad | Quantity::ActiveGeneration | Quantity::MeteredPower)
}

/// Whether solvers use readings of this quantity.
fn feeds_solvers(quantity: Quantity) -> bool {
    !matches!(quantity, Quantity::MeteredPower | Quantity::Frequency)
}

fn floor(event_ms: i64, length_ms: i64) -> i64 {
    event_ms.div_euclid(length_ms) * length_ms
}

/// The state of one worker's share of the sensors.
#[derive(Debug)]
struct Telemetry {
    lateness_ms: i64,
    variable_units: BTreeSet<GeneratorId>,
    sensors: BTreeMap<SensorId, SensorState>,
    /// Windows not yet stated, by the time they are due.
    due: BTreeMap<i64, BTreeSet<SensorId>>,
    /// Windows held, by start.
    held: BTreeMap<i64, BTreeSet<SensorId>>,
}

impl Telemetry {
    fn new() -> Self {
        Self {
            lateness_ms: LATENESS_MS,
            variable_units: BTreeSet::new(),
            sensors: BTreeMap::new(),
            due: BTreeMap::new(),
            held: BTreeMap::new(),
        }
    }

    fn apply(&mut self, epoch: Epoch, inputs: &mut Vec<TelemetryInput>, out: &mut Vec<TelemetryOutput>) {
        let mut touched: BTreeSet<(SensorId, i64)> = BTreeSet::new();
        let mut estimate_tick = false;
        for input in inputs.drain(..) {
            match input {
                TelemetryInput::Lateness(_, lateness_ms) => self.lateness_ms = lateness_bound(lateness_ms),
                TelemetryInput::Unit(_, unit, variable) => {
                    if variable {
                        self.variable_units.insert(unit);
                    } else {
                        self.variable_units.remove(&unit);
                    }
                }
                TelemetryInput::Row(Sequenced { input: Input::Sensor(sensor), .. }) => self.define(sensor),
                TelemetryInput::Row(Sequenced { epoch, sequence, input: Input::Measurement(row) }) => {
                    if let Some(start) = self.reading(epoch, sequence, &row, out) {
                        touched.insert((row.sensor, start));
                    }
                }
                TelemetryInput::Row(row) => unreachable!("{:?} is not routed to telemetry", row.input.kind()),
                TelemetryInput::Clock(clock) => estimate_tick |= clock.ticks.iter().any(|tick| tick.timer == Timer::Estimate),
            }
        }
        let now = epoch as i64;
        while let Some(entry) = self.due.first_entry().filter(|entry| *entry.key() <= now) {
            let (due, sensors) = entry.remove_entry();
            touched.extend(sensors.into_iter().map(|sensor| (sensor, due - SETTLE_MS - WINDOW_MS)));
        }
        for (sensor, start) in touched {
            if now >= start + WINDOW_MS + SETTLE_MS {
                self.state_window(sensor, start, out);
            }
        }
        if estimate_tick {
            self.check_stale(now, out);
        }
        self.forget(now);
    }

    fn define(&mut self, sensor: Sensor) {
        match self.sensors.get_mut(&sensor.id) {
            Some(known) if known.sensor.valid_from_ms > sensor.valid_from_ms => {}
            Some(known) => known.sensor = sensor,
            None => {
                let state = SensorState {
                    sensor,
                    windows: BTreeMap::new(),
                    quarters: BTreeMap::new(),
                    newest: None,
                    settled: None,
                    run: (0, 0),
                    stale: None,
                    stuck: None,
                };
                self.sensors.insert(state.sensor.id, state);
            }
        }
    }

    /// Why a reading cannot enter the accounts, if so: a row of `rejected` or `late`.
    fn refusal(&self, epoch: Epoch, sequence: u32, row: &Measurement) -> Option<Output> {
        let refuse = |source, reason, detail| {
            let kind = Kind::Measurement as u8;
            Some(Rejected { epoch, sequence, kind, source, subject: row.sensor.0, reason, detail }.into())
        };
        let Some(state) = self.sensors.get(&row.sensor) else {
            return refuse(SourceId(0), Reason::Unknown, row.value);
        };
        let SensorState { sensor, windows, .. } = state;
        let plausible = |number: i64| number.checked_abs().is_some_and(|magnitude| magnitude <= MAX_MAGNITUDE);
        if !plausible(row.value) || !plausible(row.event_ms) {
            return refuse(sensor.source, Reason::Malformed, row.value);
        }
        if row.event_ms > epoch as i64 + FUTURE_MS {
            return refuse(sensor.source, Reason::Future, row.event_ms);
        }
        if !row.quality.is_bad() && !(sensor.range_min..=sensor.range_max).contains(&row.value) {
            return refuse(sensor.source, Reason::OutOfRange, row.value);
        }
        let start = floor(row.event_ms, WINDOW_MS);
        if epoch as i64 > start + WINDOW_MS + self.lateness_ms {
            let late = Late {
                epoch,
                sequence,
                source: sensor.source,
                sensor: row.sensor,
                event_ms: row.event_ms,
                lateness_ms: epoch as i64 - row.event_ms,
                value: row.value,
            };
            return Some(late.into());
        }
        let old = windows.get(&start).and_then(|window| window.entries.get(&row.event_ms))?;
        let superseded = old.rank() > (row.revision, epoch, sequence);
        if superseded && (old.value, old.quality) != (row.value, row.quality) {
            return refuse(sensor.source, Reason::Superseded, row.event_ms);
        }
        None
    }

    /// Applies a reading; gives the start of the window it changed.
    fn reading(&mut self, epoch: Epoch, sequence: u32, row: &Measurement, out: &mut Vec<TelemetryOutput>) -> Option<i64> {
        if let Some(refusal) = self.refusal(epoch, sequence, row) {
            out.push(TelemetryOutput::Row(refusal, 1));
            return None;
        }
        let state = self.sensors.get_mut(&row.sensor).expect("a reading of an unknown sensor was refused");
        let sensor = &state.sensor;
        let start = floor(row.event_ms, WINDOW_MS);
        let quarter_start = floor(row.event_ms, INTERVAL_MS);
        let entry = Entry { value: row.value, quality: row.quality, revision: row.revision, epoch, sequence };
        let new_window = || SensorWindow { account: Account::of(sensor, &self.variable_units), entries: BTreeMap::new(), stated: None };
        let window = state.windows.entry(start).or_insert_with(new_window);
        let Account { quantity, feeder, zone, energy } = window.account;
        let mut figure =
            |measure, value| out.push(TelemetryOutput::Partial(Partial::Figure { zone, measure, start_ms: quarter_start, value }));
        let old = window.entries.get(&row.event_ms).copied();
        if let Some(old) = old {
            if (old.value, old.quality) == (entry.value, entry.quality) {
                figure(Measure::Duplicates, 1);
                // It says nothing new, but says it with its own rank.
                if entry.rank() > old.rank() {
                    window.entries.insert(row.event_ms, entry);
                }
                return None;
            }
            figure(Measure::Corrections, 1);
        } else {
            figure(Measure::Readings, 1);
        }
        if window.entries.is_empty() {
            self.held.entry(start).or_default().insert(row.sensor);
            self.due.entry(start + WINDOW_MS + SETTLE_MS).or_default().insert(row.sensor);
        }
        window.entries.insert(row.event_ms, entry);

        let (was, is) = (old.and_then(|old| old.good()), entry.good());
        let count = i64::from(is.is_some()) - i64::from(was.is_some());
        let sum = i128::from(is.unwrap_or(0)) - i128::from(was.unwrap_or(0));
        let square = |value: Option<i64>| value.map_or(0, |value| i128::from(value) * i128::from(value));
        if let Some(measure) = energy {
            let known = state.quarters.get(&(quarter_start, zone, measure)).copied();
            let before = known.unwrap_or_default();
            let quarter = Quarter { count: before.count + count, sum: before.sum + sum };
            state.quarters.insert((quarter_start, zone, measure), quarter);
            // The first reading of a quarter counts even when it adds nothing: no power is not the same as not metered.
            let change = quarter.energy() - before.energy();
            if change != 0 || known.is_none() {
                figure(measure, change);
            }
        }
        if adds_up(quantity) && (count, sum) != (0, 0) {
            for (scope, id) in [(WindowScope::Feeder, feeder.0), (WindowScope::Zone, zone.0)] {
                let sum_squares = square(is) - square(was);
                out.push(TelemetryOutput::Partial(Partial::Window { scope, id, quantity, start_ms: start, count, sum, sum_squares }));
            }
        }
        if let (Some(old), true) = (was, was != is) {
            out.push(TelemetryOutput::Correction(Correction { sensor: row.sensor, event_ms: row.event_ms, sequence, old, new: is }));
        }
        state.renew(out);
        Some(start)
    }

    /// States a window that is due or changed since it was stated.
    fn state_window(&mut self, sensor: SensorId, start: i64, out: &mut Vec<TelemetryOutput>) {
        let Some(state) = self.sensors.get_mut(&sensor) else { return };
        let Some(window) = state.windows.get_mut(&start) else { return };
        let mut row = Window {
            scope: WindowScope::Sensor,
            id: sensor.0,
            quantity: window.account.quantity,
            start_ms: start,
            length_ms: WINDOW_MS,
            revision: window.stated.as_ref().map_or(0, |stated| stated.revision),
            count: 0,
            sum: 0,
            sum_squares: 0,
            min: None,
            max: None,
        };
        for value in window.entries.values().filter_map(Entry::good) {
            row.count += 1;
            row.sum += i128::from(value);
            row.sum_squares += i128::from(value) * i128::from(value);
            row.min = Some(row.min.map_or(value, |min| min.min(value)));
            row.max = Some(row.max.map_or(value, |max| max.max(value)));
        }
        if window.stated.as_ref() == Some(&row) {
            return;
        }
        if let Some(stated) = window.stated.take() {
            row.revision += 1;
            out.push(TelemetryOutput::Row(stated.into(), -1));
        }
        window.stated = Some(row.clone());
        out.push(TelemetryOutput::Row(row.into(), 1));
    }

    fn check_stale(&mut self, now: i64, out: &mut Vec<TelemetryOutput>) {
        for state in self.sensors.values_mut().filter(|state| feeds_solvers(state.sensor.quantity)) {
            let Some(reading) = &state.newest else { continue };
            let stale = now - reading.event_ms > STALE_MS.max(3 * state.sensor.period_ms);
            set_alarm(&mut state.stale, stale, AlarmKind::Stale, &state.sensor, reading.event_ms, out);
        }
    }

    /// Drops what is final.
    fn forget(&mut self, now: i64) {
        let held_ms = WINDOW_MS + held_after_end(self.lateness_ms);
        while let Some(entry) = self.held.first_entry().filter(|entry| now > *entry.key() + held_ms) {
            let (start, sensors) = entry.remove_entry();
            for sensor in sensors {
                let state = self.sensors.get_mut(&sensor).expect("sensors are never dropped");
                let window = state.windows.remove(&start);
                let good = |(event_ms, entry): (&i64, &Entry)| Some((*event_ms, entry.good()?));
                state.settled = window.and_then(|window| window.entries.iter().rev().find_map(good)).or(state.settled);
                // All minutes before this one are final too, and so are the quarters they make up.
                let first = floor(start + WINDOW_MS, INTERVAL_MS);
                while let Some(entry) = state.quarters.first_entry().filter(|entry| entry.key().0 < first) {
                    entry.remove();
                }
            }
        }
    }
}

fn set_alarm(alarm: &mut Option<Alarm>, raised: bool, kind: AlarmKind, sensor: &Sensor, since_ms: i64, out: &mut Vec<TelemetryOutput>) {
    if raised == alarm.is_some() {
        return;
    }
    match alarm.take() {
        Some(old) => out.push(TelemetryOutput::Row(old.into(), -1)),
        None => {
            let new = Alarm { kind, equipment: sensor.element, id: sensor.id.0, feeder: sensor.feeder, since_ms };
            out.push(TelemetryOutput::Row(new.clone().into(), 1));
            *alarm = Some(new);
        }
    }
}

impl SensorState {
    /// Brings the newest good reading, and what hangs on it, up to date with the windows.
    fn renew(&mut self, out: &mut Vec<TelemetryOutput>) {
        let newest = self
            .windows
            .values()
            .rev()
            .flat_map(|window| window.entries.iter().rev())
            .find_map(|(event_ms, entry)| Some((*event_ms, entry.good()?)));
        let newest = newest.or(self.settled);
        let sensor = &self.sensor;
        let before = self.newest.as_ref().map(|reading| (reading.event_ms, reading.value));
        if newest == before {
            return;
        }
        let usable = self.stuck.is_none() && feeds_solvers(sensor.quantity);
        if let Some(old) = self.newest.take().filter(|_| usable) {
            out.push(TelemetryOutput::Newest(old, -1));
        }
        let Some((event_ms, value)) = newest else { return };
        let advanced = before.is_none_or(|(before_ms, _)| event_ms > before_ms);
        // A correction of the newest reading ends a run as a new one does, but lengthens none.
        self.run = if value == self.run.0 { (value, self.run.1 + u32::from(advanced)) } else { (value, 1) };
        if advanced {
            set_alarm(&mut self.stale, false, AlarmKind::Stale, sensor, event_ms, out);
        }
        let stuck = sensor.sigma > 0 && value != 0 && self.run.1 >= STUCK_READINGS;
        set_alarm(&mut self.stuck, stuck, AlarmKind::Stuck, sensor, event_ms, out);
        let reading = Reading { sensor: sensor.clone(), event_ms, value };
        if !stuck && feeds_solvers(sensor.quantity) {
            out.push(TelemetryOutput::Newest(reading.clone(), 1));
        }
        self.newest = Some(reading);
    }
}

impl State for Telemetry {
    fn save(&self) -> Vec<u8> {
        Vec::new()
    }

    fn load(&mut self, _: &[u8], _: &dyn Fn(u64) -> bool) -> Result<(), StateError> {
        Ok(())
    }
}

impl Logic for Telemetry {
    type Row = TelemetryInput;
    type Result = TelemetryOutput;

    fn epoch(&mut self, epoch: Epoch, rows: &mut Vec<TelemetryInput>, out: &mut Vec<TelemetryOutput>) {
        self.apply(epoch, rows, out);
    }
}

/// Applies readings in sequence order and tells what changed.
pub fn telemetry<'scope>(inputs: Rows<'scope, TelemetryInput>, registry: &Registry) -> Rows<'scope, TelemetryOutput> {
    let route = |input: &TelemetryInput| match input {
        TelemetryInput::Lateness(worker, _) | TelemetryInput::Unit(worker, ..) => *worker,
        TelemetryInput::Clock(clock) => clock.worker,
        TelemetryInput::Row(row) => match &row.input {
            Input::Sensor(sensor) => u64::from(sensor.id.0),
            Input::Measurement(row) => u64::from(row.sensor.0),
            _ => 0,
        },
    };
    let state = Telemetry::new();
    sealed(inputs, "Telemetry", registry, route, state)
}

#[cfg(test)]
mod tests {
    use gridflow_inputs::ids::FeederId;
    use gridflow_inputs::network::Side;

    use super::*;

    /// A meter that reports once a quarter, in its first minute, for ten days: what is final leaves memory all the same.
    #[test]
    fn memory_follows_the_lateness_bound_not_the_log() {
        let sensor = Sensor {
            id: SensorId(1),
            valid_from_ms: 0,
            quantity: Quantity::ActiveLoad,
            element: EquipmentKind::Load,
            element_id: 1,
            side: Side::None,
            sigma: 0,
            range_min: 0,
            range_max: 100,
            feeder: FeederId(1),
            zone: ZoneId(1),
            period_ms: INTERVAL_MS,
            source: SourceId(1),
        };
        let mut telemetry = Telemetry::new();
        let mut out = Vec::new();
        telemetry.define(sensor);
        for quarter in 0..960 {
            let epoch = quarter as Epoch * INTERVAL_MS as Epoch;
            let row = Measurement { sensor: SensorId(1), event_ms: quarter * INTERVAL_MS, revision: 0, value: 7, quality: Quality::Good };
            telemetry.apply(epoch, &mut vec![TelemetryInput::Row(Sequenced { epoch, sequence: 0, input: row.into() })], &mut out);
        }
        let state = &telemetry.sensors[&SensorId(1)];
        let held = [state.windows.len(), state.quarters.len(), telemetry.held.len(), telemetry.due.len()];
        assert!(held.iter().all(|count| *count <= 3), "windows, quarters, held, due: {held:?}");
    }
}
