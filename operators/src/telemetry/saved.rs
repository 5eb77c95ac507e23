//! The state of telemetry as bytes: what every worker has, then sensor by sensor, so that any number of workers can each
//! take theirs. Readings are saved as they are held; what adds them up is made of them again.
//!
//! Layout: postcard of [`Everywhere`]; then for each sensor the length and postcard of [`OfSensor`], the number of its
//! words and the words, eight bytes each, little endian.

use std::collections::BTreeMap;

use gridflow_inputs::ids::GeneratorId;
use gridflow_inputs::input::Sensor;
use serde::{Deserialize, Serialize};

use super::held::{Held, MINUTE_MS};
use super::minutes::{Slot, first_with_slots};
use super::places::hold_from;
use super::sensors::NEVER;
use super::{Aggregate, Bounds, Telemetry};
use crate::decision::{Alarm, AlarmKind};
use crate::state::{State, StateError, encode};

#[derive(Serialize, Deserialize)]
struct Everywhere {
    bounds: Bounds,
    previous: i64,
    /// By bound.
    horizons: [i64; 2],
    variable_units: BTreeMap<GeneratorId, Vec<(i64, bool)>>,
    /// By bound.
    base_starts: [[Option<i64>; 3]; 2],
    /// Assignments by bus.
    feeders: BTreeMap<u32, Vec<(i64, u32)>>,
}

#[derive(Serialize, Deserialize)]
struct OfSensor {
    versions: Vec<Sensor>,
    newest: Option<(i64, i64)>,
    settled: Option<(i64, i64)>,
    run: u32,
    alarms: Vec<Alarm>,
    bases: [Aggregate; 3],
    /// Event time, value, revision.
    wide: Vec<(i64, i64, u16)>,
    /// Length, start, how often.
    restated: Vec<(u8, i64, u32)>,
}

/// Takes the first `count` bytes off.
fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], StateError> {
    let (taken, rest) = bytes.split_at_checked(count).ok_or_else(|| StateError::new("it ends early"))?;
    *bytes = rest;
    Ok(taken)
}

fn take_length(bytes: &mut &[u8]) -> Result<usize, StateError> {
    let length = take(bytes, 4)?.try_into().expect("four bytes were taken");
    Ok(u32::from_le_bytes(length) as usize)
}

fn put_length(length: usize, out: &mut Vec<u8>) {
    out.extend(u32::try_from(length).expect("a sensor's part fits four gigabytes").to_le_bytes());
}

fn timed(event_ms: i64, value: i64) -> Option<(i64, i64)> {
    (event_ms != NEVER).then_some((event_ms, value))
}

impl State for Telemetry {
    fn save(&self) -> Vec<u8> {
        let feeders = self.places.buses.iter().filter(|bus| !bus.feeders.is_empty());
        let everywhere = encode(&Everywhere {
            bounds: self.bounds,
            previous: self.previous,
            horizons: self.revisable.each_ref().map(|revisable| revisable.horizon),
            variable_units: self.variable_units.clone(),
            base_starts: self.revisable.each_ref().map(|revisable| revisable.base_starts),
            feeders: feeders.map(|bus| (bus.number, bus.feeders.clone())).collect(),
        });
        let mut out = Vec::with_capacity(everywhere.len() + self.sensors.cells.iter().map(|cell| cell.held.bytes() + 256).sum::<usize>());
        put_length(everywhere.len(), &mut out);
        out.extend(everywhere);
        let mut restated: BTreeMap<u32, Vec<(u8, i64, u32)>> = BTreeMap::new();
        for ((length, start, sensor), count) in self.revisable.iter().flat_map(|revisable| &revisable.restated) {
            restated.entry(*sensor).or_default().push((*length, *start, *count));
        }
        for (place, cell) in (0u32..).zip(&self.sensors.cells) {
            let wide = self.wide.range((place, i64::MIN)..=(place, i64::MAX));
            let alarms = self.alarms.range((place, AlarmKind::ALL[0])..).take_while(|((sensor, _), _)| *sensor == place);
            let of_sensor = encode(&OfSensor {
                versions: self.sensors.versions(place as usize).to_vec(),
                newest: timed(cell.newest_ms, cell.newest),
                settled: timed(cell.settled_ms, cell.settled),
                run: cell.run,
                alarms: alarms.map(|(_, alarm)| alarm.clone()).collect(),
                bases: self.bases[place as usize],
                wide: wide.map(|((_, event_ms), (value, revision))| (*event_ms, *value, *revision)).collect(),
                restated: restated.remove(&place).unwrap_or_default(),
            });
            put_length(of_sensor.len(), &mut out);
            out.extend(of_sensor);
            put_length(cell.held.words().len(), &mut out);
            cell.held.words().iter().for_each(|word| out.extend(word.to_le_bytes()));
        }
        out
    }

    fn load(&mut self, saved: &[u8], mine: &dyn Fn(u64) -> bool) -> Result<(), StateError> {
        let bytes = &mut { saved };
        let length = take_length(bytes)?;
        let everywhere: Everywhere = crate::state::decode(take(bytes, length)?)?;
        (self.bounds, self.previous) = (everywhere.bounds, everywhere.previous);
        for (revisable, (horizon, base_starts)) in
            self.revisable.iter_mut().zip(everywhere.horizons.into_iter().zip(everywhere.base_starts))
        {
            (revisable.horizon, revisable.base_starts) = (horizon, base_starts);
        }
        for (unit, versions) in everywhere.variable_units {
            let known = self.variable_units.entry(unit).or_default();
            versions.into_iter().for_each(|(from_ms, variable)| hold_from(known, from_ms, variable));
        }
        for (bus, feeders) in everywhere.feeders {
            feeders.into_iter().for_each(|(from_ms, feeder)| self.places.assign(bus, from_ms, feeder));
        }
        while !bytes.is_empty() {
            let length = take_length(bytes)?;
            let of_sensor = take(bytes, length)?;
            let count = take_length(bytes)?;
            let words = take(bytes, count.checked_mul(8).ok_or_else(|| StateError::new("it ends early"))?)?;
            let of_sensor: OfSensor = crate::state::decode(of_sensor)?;
            let number = of_sensor.versions.first().ok_or_else(|| StateError::new("a sensor without a version"))?.id.0;
            if mine(u64::from(number)) {
                let words = words.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes a word"))).collect();
                let held = Held::from_words(words).ok_or_else(|| StateError::new("readings that are in no order"))?;
                self.load_sensor(of_sensor, held);
            }
        }
        Ok(())
    }

    fn size_bytes(&self) -> usize {
        self.memory_bytes().iter().map(|(_, bytes)| bytes).sum()
    }
}

impl Telemetry {
    fn load_sensor(&mut self, saved: OfSensor, held: Held) {
        let place = self.enter(saved.versions);
        let number = place as u32;
        let cell = &mut self.sensors.cells[place];
        (cell.newest_ms, cell.newest) = saved.newest.unwrap_or((NEVER, 0));
        (cell.settled_ms, cell.settled) = saved.settled.unwrap_or((NEVER, 0));
        (cell.run, cell.held) = (saved.run, held);
        for alarm in saved.alarms {
            match alarm.kind {
                AlarmKind::Stale => {
                    cell.stale = true;
                    self.perhaps_fresh.insert(number);
                }
                _ => cell.stuck = true,
            }
            self.alarms.insert((number, alarm.kind), alarm);
        }
        self.bases[place] = saved.bases;
        self.wide.extend(saved.wide.into_iter().map(|(event_ms, value, revision)| ((number, event_ms), (value, revision))));
        let restated = saved.restated.into_iter().map(|(length, start, count)| ((length, start, number), count));
        self.revisable_mut(place).restated.extend(restated);
        self.stale_after[place] = self.becomes_stale(place);

        let cell = &self.sensors.cells[place];
        let blocks: Vec<_> = cell.held.blocks().collect();
        let adds = cell.adds;
        let (sensors, first) = (self.sensors.cells.len(), first_with_slots(self.previous));
        for (minute, block) in blocks {
            let minutes = &mut self.revisable_mut(place).minutes;
            let at = minutes.place(minute);
            minutes.list[at].members.insert(number, sensors);
            if !adds {
                continue;
            }
            let cell = &self.sensors.cells[place];
            if minute * MINUTE_MS >= cell.since_ms {
                // All count at one place.
                let mut met = Slot::new(0);
                cell.held.good(block, number, &self.wide).for_each(|(_, value)| met.meet(value));
                if met.readings > 0 && minute >= first {
                    let (feeder, zone) = (cell.place.feeder, cell.place.zone);
                    let slots = &mut self.revisable_mut(place).minutes.list[at].slots;
                    slots.known(feeder).meet_all(&met);
                    slots.known(zone).meet_all(&met);
                }
                continue;
            }
            let good: Vec<(i64, i64)> = cell.held.good(block, number, &self.wide).collect();
            for (event_ms, value) in good {
                let counts = self.place_at(place, event_ms);
                if minute >= first {
                    let slots = &mut self.revisable_mut(place).minutes.list[at].slots;
                    slots.known(counts.feeder).meet(value);
                    slots.known(counts.zone).meet(value);
                }
            }
        }
    }
}
