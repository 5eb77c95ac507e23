//! Sensors by dense places, and the versions of each that something held still needs.
//!
//! The newest version of every sensor stands in one list; only sensors that have more of them have a history. A time
//! before the first version belongs to the first.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridflow_inputs::input::{Quantity, Sensor};

use super::held::Held;
use crate::lookup::Lookup;

/// Numbers below this are looked up in a list, others in a table.
const DIRECT: u32 = 1 << 22;
const NONE: u32 = u32::MAX;

/// Time of no reading.
pub(super) const NEVER: i64 = i64::MIN;

/// What is looked at for every reading of a sensor: two lines of a cache.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Cell {
    pub(super) held: Held,
    /// The newest good reading.
    pub(super) newest_ms: i64,
    pub(super) newest: i64,
    /// The newest good reading whose window is final.
    pub(super) settled_ms: i64,
    pub(super) settled: i64,
    /// From this time on readings count where the next fields say.
    pub(super) since_ms: i64,
    pub(super) range_min: i64,
    pub(super) range_max: i64,
    /// So long its newest reading is fresh.
    pub(super) fresh_ms: i64,
    pub(super) place: super::places::Place,
    pub(super) source: u32,
    /// Its number.
    pub(super) id: u32,
    /// What it measures, for ever.
    pub(super) quantity: Quantity,
    /// Length of the present run of equal newest readings.
    pub(super) run: u32,
    /// One-minute windows add up over bus, feeder and zone.
    pub(super) adds: bool,
    /// Solvers use its readings.
    pub(super) solves: bool,
    pub(super) sticks: bool,
    pub(super) stale: bool,
    pub(super) stuck: bool,
    /// What solvers are told of it may change in this epoch.
    pub(super) touched: bool,
}

/// Sensors of this worker.
#[derive(Debug, Default)]
pub(super) struct Sensors {
    direct: Vec<u32>,
    others: Lookup,
    pub(super) cells: Vec<Cell>,
    /// The newest version of each.
    pub(super) newest: Vec<Sensor>,
    /// The same for solvers, of those they use.
    shared: Vec<Option<Arc<Sensor>>>,
    /// All versions of those that have several, ascending.
    pub(super) history: BTreeMap<u32, Vec<Sensor>>,
}

impl Sensors {
    /// The place of a sensor.
    #[inline]
    pub(super) fn find(&self, number: u32) -> Option<usize> {
        if number < DIRECT {
            self.direct.get(number as usize).filter(|place| **place != NONE).map(|place| *place as usize)
        } else {
            self.others.get(u64::from(number)).map(|place| place as usize)
        }
    }

    /// Enters a sensor that was not known.
    pub(super) fn enter(&mut self, sensor: Sensor, cell: Cell) -> usize {
        let (number, place) = (sensor.id.0, self.cells.len());
        if number < DIRECT {
            if self.direct.len() <= number as usize {
                self.direct.resize(number as usize + 1, NONE);
            }
            self.direct[number as usize] = place as u32;
        } else {
            self.others.place(u64::from(number), place);
        }
        self.shared.push(cell.solves.then(|| Arc::new(sensor.clone())));
        self.cells.push(cell);
        self.newest.push(sensor);
        place
    }

    /// All versions of a sensor, ascending.
    pub(super) fn versions(&self, place: usize) -> &[Sensor] {
        self.history.get(&(place as u32)).map_or_else(|| &self.newest[place..=place], |versions| &versions[..])
    }

    /// The version that holds at a time.
    pub(super) fn version(&self, place: usize, event_ms: i64) -> &Sensor {
        let versions = self.versions(place);
        &versions[versions.partition_point(|version| version.valid_from_ms <= event_ms).saturating_sub(1)]
    }

    /// The same, to be passed on.
    pub(super) fn shared(&self, place: usize, event_ms: i64) -> Arc<Sensor> {
        match &self.shared[place] {
            Some(newest) if newest.valid_from_ms <= event_ms || !self.history.contains_key(&(place as u32)) => Arc::clone(newest),
            _ => Arc::new(self.version(place, event_ms).clone()),
        }
    }

    /// Adds a version; of two from the same time on the later row holds.
    pub(super) fn add_version(&mut self, place: usize, sensor: Sensor) {
        let mut versions = self.versions(place).to_vec();
        match versions.binary_search_by_key(&sensor.valid_from_ms, |version| version.valid_from_ms) {
            Ok(known) => versions[known] = sensor,
            Err(new) => versions.insert(new, sensor),
        }
        self.set_versions(place, versions);
    }

    pub(super) fn set_versions(&mut self, place: usize, versions: Vec<Sensor>) {
        self.newest[place] = versions.last().expect("a sensor has a version").clone();
        if let Some(shared) = &mut self.shared[place] {
            *shared = Arc::new(self.newest[place].clone());
        }
        if versions.len() > 1 {
            self.history.insert(place as u32, versions);
        } else {
            self.history.remove(&(place as u32));
        }
    }

    /// Versions without those that hold at no time that matters: at or after `until_ms`, or of the readings kept for
    /// their being the newest.
    pub(super) fn needed(&self, place: usize, until_ms: i64) -> Vec<Sensor> {
        let versions = self.versions(place);
        let cell = &self.cells[place];
        let mut needed = Vec::with_capacity(versions.len());
        for (number, version) in versions.iter().enumerate() {
            let Some(next) = versions.get(number + 1) else {
                needed.push(version.clone());
                break;
            };
            let holds = |time: i64| time != NEVER && time < next.valid_from_ms && (number == 0 || time >= version.valid_from_ms);
            if next.valid_from_ms > until_ms || holds(cell.newest_ms) || holds(cell.settled_ms) {
                needed.push(version.clone());
            }
        }
        needed
    }

    pub(super) fn bytes(&self) -> usize {
        self.direct.capacity() * 4
            + self.others.bytes()
            + self.cells.capacity() * size_of::<Cell>()
            + self.newest.capacity() * size_of::<Sensor>()
            + self.shared.capacity() * size_of::<usize>()
            + self.shared.iter().flatten().count() * (16 + size_of::<Sensor>())
            + self.history.values().map(|versions| 48 + versions.capacity() * size_of::<Sensor>()).sum::<usize>()
            + self.cells.iter().map(|cell| cell.held.bytes() + 16).sum::<usize>()
    }
}

/// Whether one-minute windows of this quantity are added up over bus, feeder and zone.
pub(super) fn adds_up(quantity: Quantity) -> bool {
    matches!(quantity, Quantity::ActiveLoad | Quantity::ActiveGeneration | Quantity::MeteredPower)
}

/// Whether quarters of an hour of this quantity may count in a key figure.
pub(super) fn counts_energy(quantity: Quantity) -> bool {
    matches!(quantity, Quantity::ActiveLoad | Quantity::ActiveGeneration)
}

/// Whether solvers use readings of this quantity.
pub(super) fn feeds_solvers(quantity: Quantity) -> bool {
    !matches!(quantity, Quantity::MeteredPower | Quantity::Frequency)
}
