//! Everything that happens per reading, in one operator on dense per-sensor state: hygiene, identity and corrections, the
//! newest good reading, windows of sensors, and the partial sums that bus, feeder and zone accounts add up.
//!
//! Rows are applied in (epoch, sequence) order; every worker reads the whole batch and applies its own sensors. Identity
//! of a reading: (sensor, event time); the greatest (revision, epoch, sequence) wins; equal value and quality is a
//! duplicate. A minute is final when `epoch > end + bound`, and stays so; rows for it are late from then on. All sums are
//! exact integers, so that accounts do not depend on sharding. `held` packs readings, `revisable` is what can still change
//! by which bound, `phasors` takes synchrophasors, `minutes` and `places` say where readings count, `sensors` are the versions, `apply` takes rows, `close`
//! ends an epoch, `alarms` are those of sensors, `saved` is the state as bytes.

mod aggregate;
mod alarms;
mod apply;
mod close;
mod held;
mod minutes;
mod phasors;
mod places;
mod revisable;
mod saved;
mod sensors;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gridflow_inputs::Epoch;
use gridflow_inputs::ids::{GeneratorId, SensorId, SourceId, ZoneId};
use gridflow_inputs::input::{Quantity, Sensor};
use gridflow_inputs::log::EpochBatch;
use serde::{Deserialize, Serialize};

pub use aggregate::LENGTHS_MS;
pub(crate) use aggregate::{Aggregate, floor};
pub(crate) use close::due_starts;
pub(crate) use revisable::Bound;
pub use revisable::Bounds;

use crate::decision::{Alarm, AlarmKind, Measure, Output, WindowScope};
use crate::lookup::Lookup;
use crate::sealed::{Logic, Rows, sealed_at_home};
use crate::state::Registry;
use held::Wide;
use minutes::Slot;
use places::Places;
use revisable::Revisable;
use sensors::Sensors;

/// Length of the shortest windows.
pub const WINDOW_MS: i64 = LENGTHS_MS[0];
/// Length of the intervals of key figures.
pub const INTERVAL_MS: i64 = LENGTHS_MS[QUARTER];
/// Windows other than those of feeders and zones are first stated this long after their end.
pub const SETTLE_MS: i64 = 5_000;
/// A reading may be this far ahead of its arrival.
pub const FUTURE_MS: i64 = 10_000;
/// A reading older than this is stale: the estimator uses it as a pseudo-measurement only.
pub const STALE_MS: i64 = 30_000;
/// A sensor that repeats one value other than zero this often is stuck.
pub const STUCK_READINGS: u32 = 30;
/// How late a reading may be, unless the region row says otherwise; those of meters go by the next.
pub const LATENESS_MS: i64 = 900_000;
/// How late a reading of a meter (metered power) may be, unless the region row says otherwise.
pub const METER_LATENESS_MS: i64 = 7 * 86_400_000;

/// Which of the lengths is a quarter of an hour.
const QUARTER: usize = 2;

/// How long after its end a window or interval is held: until no row can change it and it has been stated.
pub(crate) fn held_after_end(lateness_ms: i64) -> i64 {
    lateness_ms.max(SETTLE_MS)
}

/// After an epoch, minutes that begin before this are final.
pub(crate) fn horizon_at(now: i64, lateness_ms: i64) -> i64 {
    let first = now - WINDOW_MS - held_after_end(lateness_ms);
    floor(first + WINDOW_MS - 1, WINDOW_MS)
}

/// The newest good reading of a sensor, with the version of the sensor that held when it was taken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Reading {
    /// The sensor.
    pub sensor: Arc<Sensor>,
    /// When it was taken.
    pub event_ms: i64,
    /// Its value.
    pub value: i64,
}

/// Readings of a source in an epoch, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Counts {
    /// All.
    pub received: u64,
    /// New ones and corrections.
    pub applied: u64,
    /// Refused for another reason than lateness.
    pub rejected: u64,
    /// Beyond the lateness bound.
    pub late: u64,
    /// Equal to what was known.
    pub duplicate: u64,
    /// Of the refused, those whose time cannot be right: ahead of their arrival, or late.
    pub untimely: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.received += other.received;
        self.applied += other.applied;
        self.rejected += other.rejected;
        self.late += other.late;
        self.duplicate += other.duplicate;
        self.untimely += other.untimely;
    }
}

/// A change of an account that several sensors add up to, by one worker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Partial {
    /// Of a minute of a bus, feeder or zone.
    Window {
        /// Bus, feeder or zone.
        scope: WindowScope,
        /// Its number.
        id: u32,
        /// The quantity.
        quantity: Quantity,
        /// Start of the minute.
        start_ms: i64,
        /// The worker.
        worker: u32,
        /// Change of the number of readings.
        count: i64,
        /// Change of their sum.
        sum: i128,
        /// Change of their sum of squares.
        sum_squares: i128,
        /// Least and greatest of all readings the worker has there now.
        extremes: Option<(i64, i64)>,
        /// Of the new readings only: the worker's others stay.
        widens: bool,
    },
    /// After resuming, what a worker has in a minute of a bus, feeder or zone: its part in what is known already.
    Share {
        /// Bus, feeder or zone.
        scope: WindowScope,
        /// Its number.
        id: u32,
        /// The quantity.
        quantity: Quantity,
        /// Start of the minute.
        start_ms: i64,
        /// The worker.
        worker: u32,
        /// Least and greatest.
        extremes: (i64, i64),
    },
    /// Of a key figure of a zone.
    Figure {
        /// The zone.
        zone: ZoneId,
        /// Which figure.
        measure: Measure,
        /// Start of the interval.
        start_ms: i64,
        /// Its change: wide, as thousands of absurd readings may add up.
        value: i128,
    },
    /// Of what became of a source's readings.
    Gap {
        /// The source.
        source: SourceId,
        /// How many, in this epoch.
        counts: Counts,
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
    /// The newest good reading of a sensor that solvers use begins or ceases to hold.
    Newest(Reading, i64),
    /// A voltage or an angle of a synchrophasor frame; the newest of a sensor holds.
    Phasor(Reading),
    /// For the accounts.
    Partial(Partial),
    /// For the audit of estimates: a reading that solvers may have used.
    Correction(Correction),
}

/// A stated window that changes in this epoch, as it was before: `None` when it had no reading.
#[derive(Debug)]
struct Before {
    aggregate: Option<Aggregate>,
    /// Of a quarter of an hour: the key figure it counted in.
    energy: Option<(ZoneId, Measure, i64)>,
}

/// A window of a sensor: which length, its start, the place of the sensor.
type WindowKey = (u8, i64, u32);

/// The state of one worker's share of the sensors. Usable without a dataflow, as the benches do.
#[derive(Debug)]
pub struct Telemetry {
    worker: u32,
    peers: u32,
    bounds: Bounds,
    /// The epoch before.
    previous: i64,
    /// By bound.
    revisable: [Revisable; 2],
    /// Whether units hang on the weather, by the time that holds from, ascending.
    variable_units: BTreeMap<GeneratorId, Vec<(i64, bool)>>,
    /// Sensors of the output of a unit.
    sensors_of_unit: BTreeMap<GeneratorId, BTreeSet<u32>>,
    sensors: Sensors,
    places: Places,
    wide: Wide,
    /// What final minutes contributed to the three longer windows they lie in.
    bases: Vec<[Aggregate; 3]>,
    /// Until when each sensor need not be looked at: its newest reading does not become stale before. Set when a sensor is
    /// looked at, not with each reading.
    stale_after: Vec<i64>,
    /// Stale sensors of which a reading may count as fresh for longer than it did.
    perhaps_fresh: BTreeSet<u32>,
    alarms: BTreeMap<(u32, AlarmKind), Alarm>,
    source_of: Lookup,
    sources: Vec<SourceId>,
    // What follows is empty between epochs.
    gaps: Vec<Counts>,
    gaps_touched: Vec<u32>,
    unknown: Counts,
    before: BTreeMap<WindowKey, Before>,
    newest: Vec<(u32, Option<Reading>)>,
    /// Numbers of first readings, duplicates and corrections in the present quarter of an hour, by zone.
    tallies: Vec<[i64; 3]>,
    tallies_touched: Vec<u32>,
    figures: BTreeMap<(i64, ZoneId, Measure), i128>,
    /// Changes of buses in minutes that were stated before this epoch, by minute and account.
    bus_changes: BTreeMap<(i64, u32), Slot>,
    /// Changes of feeders and zones in minutes that have no slots any more.
    group_changes: BTreeMap<(i64, u32), Slot>,
}

impl Telemetry {
    /// The share of worker `index` of `peers`, with nothing known.
    #[must_use]
    pub fn new(index: usize, peers: usize) -> Self {
        Self {
            worker: index as u32,
            peers: peers.max(1) as u32,
            bounds: Bounds::default(),
            previous: i64::MIN / 4,
            revisable: Default::default(),
            variable_units: BTreeMap::new(),
            sensors_of_unit: BTreeMap::new(),
            sensors: Sensors::default(),
            places: Places::default(),
            wide: Wide::new(),
            bases: Vec::new(),
            stale_after: Vec::new(),
            perhaps_fresh: BTreeSet::new(),
            alarms: BTreeMap::new(),
            source_of: Lookup::default(),
            sources: Vec::new(),
            gaps: Vec::new(),
            gaps_touched: Vec::new(),
            unknown: Counts::default(),
            before: BTreeMap::new(),
            newest: Vec::new(),
            tallies: Vec::new(),
            tallies_touched: Vec::new(),
            figures: BTreeMap::new(),
            bus_changes: BTreeMap::new(),
            group_changes: BTreeMap::new(),
        }
    }

    fn mine(&self, sensor: SensorId) -> bool {
        self.peers == 1 || sensor.0 % self.peers == self.worker
    }

    /// What can still change of the readings that a sensor's go with.
    fn revisable(&self, sensor: usize) -> &Revisable {
        &self.revisable[Bound::of(self.sensors.cells[sensor].quantity) as usize]
    }

    fn revisable_mut(&mut self, sensor: usize) -> &mut Revisable {
        &mut self.revisable[Bound::of(self.sensors.cells[sensor].quantity) as usize]
    }

    /// Before this time no reading can change, whatever bound it goes by.
    fn horizon(&self) -> i64 {
        self.revisable.iter().map(|revisable| revisable.horizon).min().unwrap_or(i64::MIN)
    }

    /// Bytes of its parts, by name.
    #[must_use]
    pub fn memory_bytes(&self) -> [(&'static str, usize); 4] {
        [
            ("sensors", self.sensors.bytes() + self.stale_after.capacity() * 8 + self.wide.len() * 40 + self.alarms.len() * 80),
            ("minutes", self.revisable.iter().flat_map(|revisable| &revisable.minutes.list).map(minutes::Minute::bytes).sum()),
            (
                "longer windows",
                self.bases.capacity() * size_of::<[Aggregate; 3]>()
                    + self
                        .revisable
                        .iter()
                        .map(|revisable| revisable.sensors.capacity() * 4 + revisable.restated.len() * 40)
                        .sum::<usize>(),
            ),
            ("places", self.places.bytes()),
        ]
    }
}

impl Logic for Telemetry {
    type Row = Arc<EpochBatch>;
    type Result = TelemetryOutput;

    fn epoch(&mut self, epoch: Epoch, rows: &mut Vec<Arc<EpochBatch>>, out: &mut Vec<TelemetryOutput>) {
        for batch in rows.drain(..) {
            assert_eq!(batch.epoch, epoch, "a batch is fed at its own epoch");
            self.apply(&batch, out);
        }
    }

    fn hold(&self, out: &mut Vec<TelemetryOutput>) {
        self.tell_again(out);
    }
}

/// Applies readings in sequence order and tells what changed. Every worker is given every batch, once.
pub fn telemetry<'scope>(batches: Rows<'scope, Arc<EpochBatch>>, registry: &Registry) -> Rows<'scope, TelemetryOutput> {
    let scope = batches.scope();
    let state = Telemetry::new(scope.index(), scope.peers());
    sealed_at_home(batches, "Telemetry", registry, state)
}
