//! The slow reference of telemetry: after every epoch, everything is computed anew from all rows accepted so far.
//!
//! Written from the definitions: identity (sensor, event time); the greatest (revision, epoch, sequence) wins; equal
//! value and quality is a duplicate; a winner of bad quality withdraws; a window is final when epoch > end + bound;
//! sensor windows are first stated at end + 5 s; key figures of a quarter of an hour likewise. Values in the sensor's
//! unit, energy in a quarter of it (mean power times 15 minutes), half to even.

use std::collections::{BTreeMap, BTreeSet};

use gridflow_inputs::ids::{GeneratorId, SensorId, SourceId, ZoneId};
use gridflow_inputs::input::{Kind, Measurement, Quantity, Sensor, Timer};
use gridflow_inputs::network::EquipmentKind;
use gridflow_inputs::{Epoch, Input};
use gridflow_operators::decision::{Alarm, AlarmKind, Kpi, Late, Measure, Output, Reason, Rejected, Window, WindowScope};
use gridflow_operators::telemetry::{Correction, Reading};

use crate::harness::State;

const MINUTE: i64 = 60_000;
const QUARTER: i64 = 15 * MINUTE;
const SETTLE: i64 = 5_000;

/// A log: epochs with their rows, sequence numbers by place.
pub(crate) type Log = Vec<(Epoch, Vec<Input>)>;

/// Everything that holds after an epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) outputs: State<Output>,
    pub(crate) newest: State<Reading>,
    /// Corrections of this epoch alone.
    pub(crate) corrections: State<Correction>,
    /// Rows that entered the accounts since the beginning: first readings, duplicates, corrections.
    pub(crate) entered: i64,
}

struct Accepted {
    epoch: Epoch,
    sequence: u32,
    row: Measurement,
}

#[derive(Default)]
struct Reference {
    lateness: i64,
    sensors: BTreeMap<SensorId, Sensor>,
    variable: BTreeSet<GeneratorId>,
    accepted: Vec<Accepted>,
    /// Counts of events that are no function of the winners: (zone, measure, quarter).
    counts: BTreeMap<(ZoneId, Measure, i64), i64>,
    windows: BTreeMap<(WindowScope, u32, Quantity, i64), Window>,
    figures: BTreeMap<(ZoneId, Measure, i64), Kpi>,
    stale: BTreeMap<SensorId, Alarm>,
    refused: State<Output>,
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

impl Reference {
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

    fn refusal(&self, epoch: Epoch, sequence: u32, row: &Measurement) -> Option<Output> {
        let now = epoch as i64;
        let rejected = |source, reason, detail| {
            Some(Output::from(Rejected { epoch, sequence, kind: Kind::Measurement as u8, source, subject: row.sensor.0, reason, detail }))
        };
        let Some(sensor) = self.sensors.get(&row.sensor) else { return rejected(SourceId(0), Reason::Unknown, row.value) };
        let bound = 10i128.pow(15);
        if i128::from(row.value).abs() > bound || i128::from(row.event_ms).abs() > bound {
            return rejected(sensor.source, Reason::Malformed, row.value);
        }
        if row.event_ms - now > 10_000 {
            return rejected(sensor.source, Reason::Future, row.event_ms);
        }
        if !row.quality.is_bad() && (row.value < sensor.range_min || row.value > sensor.range_max) {
            return rejected(sensor.source, Reason::OutOfRange, row.value);
        }
        if now > start_of(row.event_ms, MINUTE) + MINUTE + self.lateness {
            let (source, lateness_ms) = (sensor.source, now - row.event_ms);
            return Some(
                Late { epoch, sequence, source, sensor: row.sensor, event_ms: row.event_ms, lateness_ms, value: row.value }.into(),
            );
        }
        let winner = self.winners(row.sensor).get(&row.event_ms).copied();
        let beaten = winner.filter(|winner| winner.revision > row.revision && (winner.value, winner.quality) != (row.value, row.quality));
        beaten.and_then(|_| rejected(sensor.source, Reason::Superseded, row.event_ms))
    }

    fn arrives(&mut self, epoch: Epoch, sequence: u32, row: &Measurement, corrections: &mut State<Correction>) {
        if let Some(refusal) = self.refusal(epoch, sequence, row) {
            self.refused.add(refusal, 1);
            return;
        }
        let before = self.winners(row.sensor).get(&row.event_ms).map(|row| (row.value, row.quality));
        let measure = match before {
            None => Measure::Readings,
            Some(same) if same == (row.value, row.quality) => Measure::Duplicates,
            Some(_) => Measure::Corrections,
        };
        *self.counts.entry((self.sensors[&row.sensor].zone, measure, start_of(row.event_ms, QUARTER))).or_insert(0) += 1;
        let (old, newest_before) = (self.good(row.sensor).get(&row.event_ms).copied(), self.good(row.sensor).into_iter().next_back());
        self.accepted.push(Accepted { epoch, sequence, row: row.clone() });
        let (new, newest) = (self.good(row.sensor).get(&row.event_ms).copied(), self.good(row.sensor).into_iter().next_back());
        if let Some(old) = old.filter(|old| Some(*old) != new) {
            corrections.add(Correction { sensor: row.sensor, event_ms: row.event_ms, sequence, old, new }, 1);
        }
        // A sensor is heard of again when a good reading is newer than all before.
        if newest.map(|(event_ms, _)| event_ms) > newest_before.map(|(event_ms, _)| event_ms) {
            self.stale.remove(&row.sensor);
        }
    }

    fn check_stale(&mut self, now: i64) {
        for sensor in self.sensors.values().filter(|sensor| is_solved_with(sensor.quantity)) {
            let Some((event_ms, _)) = self.good(sensor.id).into_iter().next_back() else { continue };
            if now - event_ms <= (3 * sensor.period_ms).max(30_000) {
                self.stale.remove(&sensor.id);
            } else {
                let (equipment, id, feeder) = (sensor.element, sensor.id.0, sensor.feeder);
                let alarm = Alarm { kind: AlarmKind::Stale, equipment, id, feeder, since_ms: event_ms };
                self.stale.entry(sensor.id).or_insert(alarm);
            }
        }
    }

    /// Every window that has a row, from scratch; sums of feeders and zones without least and greatest.
    fn windows_now(&self) -> BTreeMap<(WindowScope, u32, Quantity, i64), Window> {
        let mut windows: BTreeMap<_, Window> = BTreeMap::new();
        for sensor in self.sensors.values() {
            for (event_ms, row) in self.winners(sensor.id) {
                let scopes =
                    [(WindowScope::Sensor, sensor.id.0), (WindowScope::Feeder, sensor.feeder.0), (WindowScope::Zone, sensor.zone.0)];
                for (scope, id) in scopes.into_iter().filter(|(scope, _)| *scope == WindowScope::Sensor || is_summed(sensor.quantity)) {
                    let (quantity, start_ms) = (sensor.quantity, start_of(event_ms, MINUTE));
                    let window = windows.entry((scope, id, quantity, start_ms)).or_insert(Window {
                        scope,
                        id,
                        quantity,
                        start_ms,
                        length_ms: MINUTE,
                        revision: 0,
                        count: 0,
                        sum: 0,
                        sum_squares: 0,
                        min: None,
                        max: None,
                    });
                    if row.quality.is_bad() {
                        continue;
                    }
                    let value = i128::from(row.value);
                    window.count += 1;
                    window.sum += value;
                    window.sum_squares += value * value;
                    if scope == WindowScope::Sensor {
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
        let mut figures = self.counts.clone();
        for sensor in self.sensors.values() {
            let measure = match sensor.quantity {
                Quantity::ActiveLoad => Measure::LoadEnergy,
                Quantity::ActiveGeneration
                    if sensor.element == EquipmentKind::Generator && self.variable.contains(&GeneratorId(sensor.element_id)) =>
                {
                    Measure::RenewableEnergy
                }
                _ => continue,
            };
            let mut quarters: BTreeMap<i64, (i128, i128)> = BTreeMap::new();
            for (event_ms, row) in self.winners(sensor.id) {
                let quarter = quarters.entry(start_of(event_ms, QUARTER)).or_default();
                if !row.quality.is_bad() {
                    *quarter = (quarter.0 + 1, quarter.1 + i128::from(row.value));
                }
            }
            for (start, (count, sum)) in quarters {
                *figures.entry((sensor.zone, measure, start)).or_insert(0) += if count == 0 { 0 } else { half_even(sum, 4 * count) };
            }
        }
        figures
    }

    /// States what is due and differs from what was stated.
    fn state(&mut self, now: i64) {
        for (key, window) in self.windows_now() {
            let due = match key.0 {
                WindowScope::Sensor => now >= window.start_ms + MINUTE + SETTLE,
                _ => (window.count, window.sum, window.sum_squares) != (0, 0, 0) || self.windows.contains_key(&key),
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

    fn picture(&self, corrections: State<Correction>) -> Picture {
        let mut outputs = self.refused.clone();
        self.windows.values().for_each(|row| outputs.add(row.clone().into(), 1));
        self.figures.values().for_each(|row| outputs.add(row.clone().into(), 1));
        self.stale.values().for_each(|row| outputs.add(row.clone().into(), 1));
        let solved_with = self.sensors.values().filter(|sensor| is_solved_with(sensor.quantity));
        let newest = solved_with.filter_map(|sensor| {
            let (event_ms, value) = self.good(sensor.id).into_iter().next_back()?;
            Some(Reading { sensor: sensor.clone(), event_ms, value })
        });
        Picture { outputs, newest: State::of(newest), corrections, entered: self.counts.values().sum() }
    }
}

/// What holds after each epoch of a log.
pub(crate) fn pictures(log: &Log) -> Vec<Picture> {
    let mut reference = Reference { lateness: 900_000, ..Reference::default() };
    log.iter()
        .map(|(epoch, rows)| {
            let mut corrections = State::default();
            let mut estimates = false;
            for (sequence, row) in rows.iter().enumerate() {
                match row {
                    Input::Region(row) => reference.lateness = row.lateness_scada_ms,
                    Input::Generator(row) if row.variable => drop(reference.variable.insert(row.id)),
                    Input::Sensor(row) => drop(reference.sensors.insert(row.id, row.clone())),
                    Input::Measurement(row) => reference.arrives(*epoch, sequence as u32, row, &mut corrections),
                    Input::Tick(tick) => estimates |= tick.timer == Timer::Estimate,
                    _ => {}
                }
            }
            reference.state(*epoch as i64);
            if estimates {
                reference.check_stale(*epoch as i64);
            }
            reference.picture(corrections)
        })
        .collect()
}
