//! What an island is short of the moment its equipment changed: generation, load and reserve, by what was known just before.
//!
//! Sealed and not solved: integers are added up, and no solver is waited for. A loss of a unit or a line has its islands and
//! their deficits in its own epoch; an estimate counts from the epoch after its tick (`after`). Known is, of what the island
//! was before: of a load the estimate, where no unit stands at its bus, else its own meter; of a unit its meter, else what
//! the estimate leaves for it; while there is neither, what was known at the change before, for [`AVAILABILITY_MS`]. The rest
//! stands at nominal values. Losses are a share of load, as estimated before. Told besides, to decisions, is all that was
//! known ([`Before`]), so that they need not wait for the first estimate of a part that broke off.
//!
//! Remembered are equipment and where it belongs, what was known, and what was told; readings, reports and estimates come
//! again from their collections.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gridflow_inputs::ids::{BusId, GeneratorId, IslandId, LoadId, SensorId, StorageId};
use gridflow_inputs::input::{Generator, Quantity, StorageTelemetry};
use gridflow_inputs::network::EquipmentKind;
use gridflow_inputs::units::{MAX_MAGNITUDE, MilliVars, MilliWatts, PartsPerMillion, divide_half_even};
use gridflow_inputs::{Epoch, Input};
use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use crate::decision::{BusAssignment, BusState, Deficit, Estimate, Output, Topology};
use crate::grid::GridRow;
use crate::islands::{IslandOutput, Place};
use crate::operating_point::{AVAILABILITY_MS, LOSS_SHARE_MAX, LOSS_SHARE_UNKNOWN};
use crate::sealed::{Changes, Logic, Rows, sealed};
use crate::state::{Registry, State, StateError, decode, encode};
use crate::telemetry::{Reading, STALE_MS};

/// What was known of an island's loads and units just before its equipment changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Before {
    /// When it changed.
    pub at_ms: i64,
    /// Whether an estimate was among what was known.
    pub estimated: bool,
    /// Losses as a share of load.
    pub losses: PartsPerMillion,
    /// Loads of which something was known, by number.
    pub loads: Vec<LoadBefore>,
    /// Units of which something was known, by number.
    pub units: Vec<UnitBefore>,
}

/// What a load drew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LoadBefore {
    /// The load.
    pub load: LoadId,
    /// Active power, positive.
    pub p: MilliWatts,
    /// Reactive power.
    pub q: MilliVars,
}

/// What a unit gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnitBefore {
    /// The unit.
    pub unit: GeneratorId,
    /// Active power.
    pub p: MilliWatts,
}

/// What the operator is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DeficitInput {
    /// The version of a unit, load, storage unit or direct-current link that holds from now on.
    Element(Place, Input),
    /// Where such a piece of equipment begins or ceases to belong.
    Belongs(Topology, i64),
    /// A node begins or ceases to be part of another node's bus.
    Node(BusAssignment, i64),
    /// What belongs to an island changed.
    Changed(IslandId),
    /// The newest reading of a unit or load begins or ceases to hold.
    Reading(Reading, i64),
    /// What a storage unit last reported begins or ceases to hold.
    Report(Arc<StorageTelemetry>, i64),
    /// The newest estimate of an island begins or ceases to hold.
    Estimate(Arc<Estimate>, i64),
}

/// What the operator tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeficitOutput {
    /// A row of the stream, with its change.
    Row(Deficit, i64),
    /// For decisions of an island.
    Before(IslandId, Arc<Before>, i64),
}

#[derive(Debug, Serialize, Deserialize)]
struct Item {
    row: Input,
    /// Its island, and whether that has a source.
    belongs: Option<(IslandId, bool)>,
}

impl Item {
    fn buses(&self) -> [Option<BusId>; 2] {
        match &self.row {
            Input::Load(row) => [Some(row.bus), None],
            Input::Generator(row) => [Some(row.bus), None],
            Input::Storage(row) => [Some(row.bus), None],
            Input::DcLine(row) => [Some(row.from), Some(row.to)],
            _ => [None; 2],
        }
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Known {
    p: MilliWatts,
    q: MilliVars,
    at_ms: i64,
    /// Whether its island had an estimate, and what that said of losses.
    losses: Option<PartsPerMillion>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Remembered {
    /// Nodes that are part of another node's bus.
    nodes: BTreeMap<BusId, BusId>,
    items: BTreeMap<Place, Item>,
    known: BTreeMap<Place, Known>,
    told: BTreeMap<IslandId, (Deficit, Option<Arc<Before>>)>,
}

/// The balance of each island as it last changed.
#[derive(Debug, Default)]
pub struct Deficits {
    remembered: Remembered,
    members: BTreeMap<IslandId, BTreeSet<Place>>,
    /// By quantity, element and sensor: of two sensors of one element the greater number counts, as elsewhere.
    readings: BTreeMap<(Quantity, u32, SensorId), Reading>,
    reports: BTreeMap<StorageId, Arc<StorageTelemetry>>,
    estimates: BTreeMap<IslandId, Arc<Estimate>>,
}

impl State for Deficits {
    fn save(&self) -> Vec<u8> {
        encode(&self.remembered)
    }

    fn load(&mut self, saved: &[u8], mine: &dyn Fn(u64) -> bool) -> Result<(), StateError> {
        let saved: Remembered = decode(saved)?;
        // All rows meet on one worker: only its share has any.
        if mine(0) && !(saved.items.is_empty() && saved.nodes.is_empty()) {
            for (place, (island, _)) in saved.items.iter().filter_map(|(place, item)| Some((place, item.belongs?))) {
                self.members.entry(island).or_default().insert(*place);
            }
            self.remembered = saved;
        }
        Ok(())
    }
}

impl Deficits {
    fn reading(&self, quantity: Quantity, id: u32, now: i64) -> Option<i64> {
        let of_element = self.readings.range((quantity, id, SensorId(0))..=(quantity, id, SensorId(u32::MAX)));
        of_element.rev().find(|(_, reading)| now - reading.event_ms <= STALE_MS).map(|(_, reading)| reading.value)
    }

    /// What a storage unit last said it gives.
    fn stored(&self, storage: StorageId) -> i64 {
        self.reports.get(&storage).map_or(0, |report| report.p.0)
    }

    /// Learns what is known of an island's loads and units, as the island still is.
    fn learn(&mut self, island: IslandId, now: i64) {
        let Some(members) = self.members.get(&island) else { return };
        let changed_ms = self.remembered.told.get(&island).map_or(i64::MIN, |(told, _)| told.since_ms);
        let holds = |estimate: &&Arc<Estimate>| now - estimate.tick_ms <= STALE_MS && estimate.tick_ms >= changed_ms;
        let estimate = self.estimates.get(&island).filter(holds);
        let bus_of = |node: BusId| self.remembered.nodes.get(&node).copied().unwrap_or(node);
        let items = || members.iter().filter_map(|place| Some((*place, self.remembered.items.get(place)?)));
        let mut at_bus: BTreeMap<BusId, AtBus<'_>> = BTreeMap::new();
        for (_, item) in items() {
            for bus in item.buses().into_iter().flatten().map(bus_of) {
                let here = at_bus.entry(bus).or_default();
                match &item.row {
                    Input::Load(row) => here.nominal += i128::from(row.load_p.0),
                    Input::Storage(row) => {
                        here.fed = true;
                        here.stored += i128::from(self.stored(row.id));
                    }
                    Input::Generator(row) => {
                        here.fed = true;
                        here.units.push(row);
                    }
                    _ => here.fed = true,
                }
            }
        }
        if let Some(estimate) = estimate {
            for state in estimate.buses.iter().filter(|state| !estimate.leaves_open(state.bus)) {
                if let Some(here) = at_bus.get_mut(&state.bus) {
                    here.state = Some(state);
                }
            }
        }
        let mut learnt: BTreeMap<Place, (i64, i64)> = BTreeMap::new();
        let mut drawn: BTreeMap<BusId, i128> = BTreeMap::new();
        for (place, item) in items() {
            let Input::Load(row) = &item.row else { continue };
            let bus = bus_of(row.bus);
            let here = &at_bus[&bus];
            // Loads may be negative: networks write what small plants give so.
            let sign = here.nominal.signum();
            let of = |state: i64| fixed(divide_half_even(-sign * i128::from(state) * i128::from(row.load_p.0), here.nominal.abs()));
            let now = match here.state.filter(|_| !here.fed && here.nominal != 0) {
                Some(state) => Some((of(state.p.0), of(state.q.0))),
                None => self.reading(Quantity::ActiveLoad, place.1, now).zip(self.reading(Quantity::ReactiveLoad, place.1, now)),
            };
            *drawn.entry(bus).or_default() += i128::from(now.map_or(row.load_p.0, |(p, _)| p));
            learnt.extend(now.map(|now| (place, now)));
        }
        let losses = estimate.map(|estimate| {
            let injected: i128 = estimate.buses.iter().map(|state| i128::from(state.p.0)).sum();
            let load: i128 = drawn.values().sum();
            if load <= 0 || !(estimate.unobservable.is_empty() && estimate.resting.is_empty()) {
                return LOSS_SHARE_UNKNOWN;
            }
            PartsPerMillion(divide_half_even(injected * 1_000_000, load).clamp(0, i128::from(LOSS_SHARE_MAX.0)) as i64)
        });
        for (bus, here) in &at_bus {
            let metered = |unit: &&&Generator| self.reading(Quantity::ActiveGeneration, unit.id.0, now).is_some();
            let mut open = here.state.map(|state| i128::from(state.p.0) + drawn.get(bus).copied().unwrap_or(0) - here.stored);
            for unit in here.units.iter().filter(metered) {
                let value = self.reading(Quantity::ActiveGeneration, unit.id.0, now).unwrap_or(0);
                open = open.map(|open| open - i128::from(value));
                learnt.insert((EquipmentKind::Generator, unit.id.0), (value, 0));
            }
            let capacity = |unit: &Generator| i128::from(unit.p_max.0.max(0));
            let total: i128 = here.units.iter().filter(|unit| !metered(unit)).map(|unit| capacity(unit)).sum();
            for unit in here.units.iter().filter(|unit| !metered(unit) && total > 0) {
                let share = open.map(|open| (fixed(divide_half_even(open * capacity(unit), total)), 0));
                learnt.extend(share.map(|share| ((EquipmentKind::Generator, unit.id.0), share)));
            }
        }
        for place in members {
            let known = &mut self.remembered.known;
            match learnt.get(place) {
                Some((p, q)) => {
                    let losses = losses.or_else(|| known.get(place).filter(|known| now - known.at_ms <= AVAILABILITY_MS)?.losses);
                    known.insert(*place, Known { p: MilliWatts(*p), q: MilliVars(*q), at_ms: now, losses });
                }
                None if known.get(place).is_some_and(|known| now - known.at_ms > AVAILABILITY_MS) => {
                    known.remove(place);
                }
                None => {}
            }
        }
    }

    /// The balance of an island as it is now, and what was known of it.
    fn balance(&self, island: IslandId, now: i64) -> Option<(Deficit, Option<Arc<Before>>)> {
        let members = self.members.get(&island)?;
        let (mut energised, mut generation, mut load, mut nominal, mut reserve) = (false, 0i128, 0i128, 0i128, 0i128);
        let (mut loads, mut units, mut losses) = (Vec::new(), Vec::new(), None);
        for place in members {
            let item = &self.remembered.items[place];
            energised |= item.belongs.is_some_and(|(_, energised)| energised);
            let known = self.remembered.known.get(place).filter(|known| now - known.at_ms <= AVAILABILITY_MS);
            losses = losses.max(known.and_then(|known| known.losses));
            match &item.row {
                Input::Load(row) => {
                    let p = known.map_or(row.load_p, |known| known.p);
                    load += i128::from(p.0);
                    nominal += if known.is_none() { i128::from(p.0) } else { 0 };
                    loads.extend(known.map(|known| LoadBefore { load: row.id, p: known.p, q: known.q }));
                }
                Input::Generator(row) => {
                    let p = known.map_or(row.p, |known| known.p);
                    generation += i128::from(p.0);
                    reserve += if p.0 > 0 && !row.variable { i128::from((row.p_max.0 - p.0).max(0)) } else { 0 };
                    units.extend(known.map(|known| UnitBefore { unit: row.id, p: known.p }));
                }
                Input::Storage(row) => generation += i128::from(self.stored(row.id)),
                _ => {}
            }
        }
        let share = losses.unwrap_or(LOSS_SHARE_UNKNOWN);
        let mut lost = divide_half_even(load * i128::from(share.0), 1_000_000);
        if !energised {
            // Nothing flows there: what it would draw is lost.
            (generation, lost, reserve) = (0, 0, 0);
        }
        let deficit = Deficit {
            island,
            since_ms: now,
            energised,
            generation: MilliWatts(fixed(generation)),
            load: MilliWatts(fixed(load)),
            nominal: MilliWatts(fixed(nominal)),
            deficit: MilliWatts(fixed(load + lost - generation)),
            reserve: MilliWatts(fixed(reserve)),
        };
        let before = || Before { at_ms: now, estimated: losses.is_some(), losses: share, loads, units };
        Some((deficit, energised.then(|| Arc::new(before()))))
    }

    fn belongs(&mut self, row: &Topology, change: i64) {
        let place = (row.equipment, row.id);
        let Some(island) = row.island else { return };
        if change < 0 {
            if let Some(members) = self.members.get_mut(&island) {
                members.remove(&place);
                if members.is_empty() {
                    self.members.remove(&island);
                }
            }
            self.remembered.items.entry(place).and_modify(|item| item.belongs = None);
        } else if let Some(item) = self.remembered.items.get_mut(&place) {
            item.belongs = Some((island, row.energised));
            self.members.entry(island).or_default().insert(place);
        }
    }
}

/// As a row holds it.
fn fixed(value: i128) -> i64 {
    value.clamp(-i128::from(MAX_MAGNITUDE), i128::from(MAX_MAGNITUDE)) as i64
}

/// What hangs on a bus.
#[derive(Default)]
struct AtBus<'a> {
    /// Nominal power of its loads.
    nominal: i128,
    /// What its storage units give.
    stored: i128,
    /// Whether anything feeds it.
    fed: bool,
    units: Vec<&'a Generator>,
    state: Option<&'a BusState>,
}

impl Logic for Deficits {
    type Row = DeficitInput;
    type Result = DeficitOutput;

    fn epoch(&mut self, epoch: Epoch, rows: &mut Vec<DeficitInput>, out: &mut Vec<DeficitOutput>) {
        let now = epoch as i64;
        let (mut elements, mut begins, mut ceases, mut touched) = (Vec::new(), Vec::new(), Vec::new(), BTreeSet::new());
        let (mut parted, mut joined) = (Vec::new(), Vec::new());
        let (mut readings, mut reports): (BTreeMap<Reading, i64>, BTreeMap<Arc<StorageTelemetry>, i64>) = Default::default();
        for row in rows.drain(..) {
            match row {
                DeficitInput::Element(place, row) => elements.push((place, row)),
                DeficitInput::Belongs(row, change) => {
                    touched.extend(row.island);
                    if change > 0 { begins.push(row) } else { ceases.push(row) }
                }
                DeficitInput::Node(row, change) if change > 0 => joined.push(row),
                DeficitInput::Node(row, _) => parted.push(row),
                DeficitInput::Changed(island) => drop(touched.insert(island)),
                DeficitInput::Reading(reading, change) => *readings.entry(reading).or_default() += change,
                DeficitInput::Report(report, change) => *reports.entry(report).or_default() += change,
                DeficitInput::Estimate(estimate, change) if change > 0 => drop(self.estimates.insert(estimate.island, estimate)),
                DeficitInput::Estimate(estimate, _) => {
                    if self.estimates.get(&estimate.island) == Some(&estimate) {
                        self.estimates.remove(&estimate.island);
                    }
                }
            }
        }
        let sensor = |reading: &Reading| (reading.sensor.quantity, reading.sensor.element_id, reading.sensor.id);
        let begun = readings.iter().filter(|(_, change)| **change > 0);
        self.readings.extend(begun.map(|(reading, _)| (sensor(reading), reading.clone())));
        let begun = reports.iter().filter(|(_, change)| **change > 0);
        self.reports.extend(begun.map(|(report, _)| (report.storage, report.clone())));
        // Of an island without a source topology tells no change when a row of its equipment does.
        for (place, row) in &elements {
            let item = self.remembered.items.get(place).filter(|item| item.row != *row);
            touched.extend(item.and_then(|item| item.belongs).map(|(island, _)| island));
        }
        touched.iter().for_each(|island| self.learn(*island, now));
        // Only now: what just lost its island loses its readings in the same epoch, and they are what is known of it.
        for reading in readings.iter().filter(|(_, change)| **change < 0).map(|(reading, _)| reading) {
            if self.readings.get(&sensor(reading)) == Some(reading) {
                self.readings.remove(&sensor(reading));
            }
        }
        for report in reports.iter().filter(|(_, change)| **change < 0).map(|(report, _)| report) {
            if self.reports.get(&report.storage) == Some(report) {
                self.reports.remove(&report.storage);
            }
        }
        for row in &parted {
            self.remembered.nodes.remove(&row.node);
        }
        self.remembered.nodes.extend(joined.iter().map(|row| (row.node, row.bus)));
        for (place, row) in elements {
            match self.remembered.items.get_mut(&place) {
                Some(item) => item.row = row,
                None => drop(self.remembered.items.insert(place, Item { row, belongs: None })),
            }
        }
        ceases.iter().for_each(|row| self.belongs(row, -1));
        begins.iter().for_each(|row| self.belongs(row, 1));
        for island in touched {
            let balance = self.balance(island, now);
            let before = match &balance {
                Some(balance) => self.remembered.told.insert(island, balance.clone()),
                None => self.remembered.told.remove(&island),
            };
            for ((row, known), change) in before.into_iter().map(|told| (told, -1)).chain(balance.map(|told| (told, 1))) {
                out.push(DeficitOutput::Row(row, change));
                out.extend(known.map(|known| DeficitOutput::Before(island, known, change)));
            }
        }
    }

    fn hold(&self, out: &mut Vec<DeficitOutput>) {
        let told = self.remembered.told.iter().filter_map(|(island, (_, known))| Some((island, known.as_ref()?)));
        out.extend(told.map(|(island, known)| DeficitOutput::Before(*island, Arc::clone(known), 1)));
    }
}

/// What of the topology the balance is about.
#[must_use]
pub fn of_topology(told: IslandOutput) -> Option<DeficitInput> {
    let counts = |kind| matches!(kind, EquipmentKind::Generator | EquipmentKind::Load | EquipmentKind::Storage | EquipmentKind::DcLine);
    match told {
        // A static var compensator has the place of its unit: only what gives or draws active power counts.
        IslandOutput::Element(place, row @ (Input::Generator(_) | Input::Load(_) | Input::Storage(_) | Input::DcLine(_)), 1) => {
            Some(DeficitInput::Element(place, row))
        }
        IslandOutput::Row(Output::Topology(row), change) if counts(row.equipment) => Some(DeficitInput::Belongs(row, change)),
        IslandOutput::Row(Output::BusAssignment(row), change) => Some(DeficitInput::Node(row, change)),
        IslandOutput::Changed(island) => Some(DeficitInput::Changed(island)),
        _ => None,
    }
}

/// What of an island's rows it is about.
#[must_use]
pub fn of_island(row: GridRow, change: i64) -> Option<DeficitInput> {
    match row {
        GridRow::Reading(reading) => match (reading.sensor.quantity, reading.sensor.element) {
            (Quantity::ActiveGeneration, EquipmentKind::Generator)
            | (Quantity::ActiveLoad | Quantity::ReactiveLoad, EquipmentKind::Load) => Some(DeficitInput::Reading(reading, change)),
            _ => None,
        },
        GridRow::Storage(report) => Some(DeficitInput::Report(report, change)),
        GridRow::Estimate(estimate) => Some(DeficitInput::Estimate(estimate, change)),
        _ => None,
    }
}

/// Rows a moment after they are told: what waits for them does not wait for the solver of its own epoch.
#[must_use]
pub fn after<'scope, D: Clone + 'static>(rows: Changes<'scope, D>) -> Rows<'scope, (D, i64)> {
    rows.inner.unary::<CapacityContainerBuilder<Vec<_>>, _, _, _>(Pipeline, "After", |_, _| {
        move |input, output| {
            input.for_each_time(|time, batches| {
                let later = time.delayed(&(time.time() + 1), 0);
                output.session(&later).give_iterator(batches.flat_map(|batch| batch.drain(..)).map(|(row, _, change)| (row, change)));
            });
        }
    })
}

/// The balance of each island as it last changed. All rows of a region meet on one worker, as topology does.
pub fn deficits<'scope>(inputs: Rows<'scope, DeficitInput>, registry: &Registry) -> Rows<'scope, DeficitOutput> {
    sealed(inputs, "Deficits", registry, |_| 0, Deficits::default())
}
