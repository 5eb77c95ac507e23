//! From an island's newest readings to measurements.
//!
//! * A reading older than [`STALE_MS`] counts as a pseudo-measurement: its standard deviation grows with its age.
//! * A reading from before the last change of the island's equipment is of another network. What units give and loads
//!   draw hardly changes with a switch, how it flows does: the standard deviation of a flow or current counts a
//!   hundredfold, that of anything else tenfold, until the sensor has read anew.
//! * Where such readings contradict each other so much that there is no estimate, of them only voltages take part.
//! * An injection read before something was connected to the bus or disconnected from it is passed over.
//! * What was read at a bus before it came to the island, or while it was dead, is passed over: a bus that is energised again does not
//!   stand at the nothing that it read before.
//! * What is connected to a bus and metered, all of it, is an injection of the bus.
//! * Angles take part when they were read at one instant: against the time reference they turn with the frequency.
//! * A current of a few standard deviations has no direction, and is passed over.

use std::collections::BTreeMap;
use std::f64::consts::PI;
use std::ops::Range;

use gridflow_inputs::ids::{BusId, GeneratorId, LoadId, SensorId};
use gridflow_inputs::input::{Quantity, StorageTelemetry};
use gridflow_inputs::network::EquipmentKind;
use gridflow_inputs::units::{MicroVolts, MilliWatts};
use gridflow_numerics::case::{CaseMeasurement, MeasurementKind};
use serde::{Deserialize, Serialize};

use super::network::Grid;
use crate::grid::GridRow;
use crate::telemetry::{Reading, STALE_MS};

/// Factors on the standard deviation of what was read before the last change: of flows and currents, and of anything else.
const FLOW_BEFORE: i64 = 100;
const OTHER_BEFORE: i64 = 10;
/// A voltage below this, per unit, is that of a dead bus.
const DEAD: f64 = 0.1;
/// A current must be so many standard deviations.
const CURRENT_MIN: i64 = 5;
/// What a storage unit reports may be off by this share of what it can take or give.
const STORAGE_SIGMA: f64 = 0.01;
/// The least standard deviation of a sum of meters, per unit.
const SIGMA_MIN: f64 = 1e-6;
/// Loads are thought to be between nothing and so many times their nominal power.
const LEVEL_MAX: f64 = 2.0;

/// What a measurement comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Source {
    /// A reading.
    Reading(SensorId, Quantity),
    /// Meters of all that is connected to a bus: of active (0) or reactive power (1).
    Metered(BusId, u8),
    /// A usual injection, likewise.
    Usual(BusId, u8),
}

/// When it is, and since when the island is as it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) tick_ms: i64,
    pub(super) changed_ms: i64,
    /// Whether sensors may still be about to report for the first time.
    pub(super) early: bool,
    /// Whether of what was read before the change only voltages take part.
    pub(super) voltages_only: bool,
}

/// Measurements, and what each comes from.
#[derive(Debug, Default)]
pub(super) struct Gathered<'a> {
    pub(super) rows: Vec<CaseMeasurement>,
    pub(super) sources: Vec<Source>,
    /// Readings of each measurement, as a range of `readings`.
    ranges: Vec<Range<u32>>,
    readings: Vec<&'a Reading>,
    /// What suspicion keeps out.
    pub(super) kept_out: Vec<(Source, CaseMeasurement)>,
    /// Buses whose injection was passed over.
    passed_over: Vec<usize>,
    pub(super) pseudo: u32,
    pub(super) outdated: u32,
    /// Whether some of the latter may still be read anew.
    pub(super) unsettled: bool,
}

impl<'a> Gathered<'a> {
    /// Readings of a measurement; none of a usual injection.
    pub(super) fn readings(&self, index: usize) -> &[&'a Reading] {
        let Range { start, end } = self.ranges[index];
        &self.readings[start as usize..end as usize]
    }

    /// Whether any sensor has a part in it.
    pub(super) fn is_read(&self) -> bool {
        !self.readings.is_empty()
    }

    fn push(&mut self, source: Source, row: CaseMeasurement, readings: &[&'a Reading], age: Age, kept_out: &dyn Fn(&Source) -> bool) {
        if kept_out(&source) {
            self.kept_out.push((source, row));
            return;
        }
        let start = self.readings.len() as u32;
        self.readings.extend(readings);
        self.ranges.push(start..self.readings.len() as u32);
        self.rows.push(row);
        self.sources.push(source);
        self.pseudo += u32::from(age.stale);
        self.outdated += u32::from(age.outdated);
        self.unsettled |= age.outdated && !age.stale;
    }
}

/// What its age makes of a reading.
#[derive(Clone, Copy, Debug, Default)]
struct Age {
    stale: bool,
    outdated: bool,
    /// Factor on its standard deviation.
    factor: i64,
}

impl Moment {
    /// Whether anything was read before the change.
    pub(super) fn is_after_change(self, rows: &[GridRow]) -> bool {
        rows.iter().any(|row| if let GridRow::Reading(reading) = row { reading.event_ms < self.changed_ms } else { false })
    }

    fn age(self, event_ms: i64, flows: bool) -> Age {
        let age_ms = self.tick_ms - event_ms;
        let (stale, outdated) = (age_ms > STALE_MS, event_ms < self.changed_ms);
        let grown = if stale { 1 + age_ms / STALE_MS } else { 1 };
        let before = if flows { FLOW_BEFORE } else { OTHER_BEFORE };
        Age { stale, outdated, factor: if outdated { grown.saturating_mul(before) } else { grown } }
    }
}

/// The usual injection of a bus with loads at a level.
pub(super) fn usual(grid: &Grid, bus: usize, part: usize, level: f64) -> CaseMeasurement {
    let kind = [MeasurementKind::ActiveInjection(bus), MeasurementKind::ReactiveInjection(bus)][part];
    let (value, sigma) = grid.usual_injection(bus, part, level);
    CaseMeasurement { sensor: SensorId(u32::MAX), kind, value, sigma }
}

/// Newest readings and reports of what is connected, by index of the case.
struct Meters<'a> {
    loads: [Vec<Option<&'a Reading>>; 2],
    units: [Vec<Option<&'a Reading>>; 2],
    storages: Vec<Option<&'a StorageTelemetry>>,
}

impl<'a> Meters<'a> {
    fn new(grid: &Grid) -> Self {
        let (loads, units) = (vec![None; grid.case.loads.len()], vec![None; grid.case.generators.len()]);
        Self { loads: [loads.clone(), loads], units: [units.clone(), units], storages: vec![None; grid.case.storages.len()] }
    }

    /// Takes a reading if it is of a load or unit; of several meters the one that read last counts, of equals the first.
    fn take(&mut self, grid: &Grid, reading: &'a Reading) {
        let id = reading.sensor.element_id;
        let place = match (reading.sensor.quantity, reading.sensor.element) {
            (Quantity::ActiveLoad, EquipmentKind::Load) => grid.case.load_index(LoadId(id)).map(|index| &mut self.loads[0][index]),
            (Quantity::ReactiveLoad, EquipmentKind::Load) => grid.case.load_index(LoadId(id)).map(|index| &mut self.loads[1][index]),
            (Quantity::ActiveGeneration, EquipmentKind::Generator) => {
                grid.case.generator_index(GeneratorId(id)).map(|index| &mut self.units[0][index])
            }
            (Quantity::ReactiveGeneration, EquipmentKind::Generator) => {
                grid.case.generator_index(GeneratorId(id)).map(|index| &mut self.units[1][index])
            }
            _ => None,
        };
        if let Some(place) = place
            && place.is_none_or(|known| known.event_ms < reading.event_ms)
        {
            *place = Some(reading);
        }
    }

    /// What meters say of a bus's injection, if all that is connected is metered.
    fn injection(
        &self,
        grid: &Grid,
        moment: Moment,
        (bus, came_ms): (usize, i64),
        part: usize,
        members: &mut Vec<&'a Reading>,
    ) -> Option<(CaseMeasurement, Age)> {
        members.clear();
        let attached = &grid.attached[bus];
        // What a storage unit does with reactive power it does not report.
        if attached.is_empty() || attached.link || (part == 1 && !attached.storages.is_empty()) {
            return None;
        }
        let (mut value, mut variance, mut age) = (0i64, 0.0, Age::default());
        let mut add = |sign: i64, read: i64, sigma: f64, event_ms: i64| {
            let of = moment.age(event_ms, false);
            value = value.saturating_add(sign * read);
            let sigma = sigma * of.factor as f64;
            variance += sigma * sigma;
            (age.stale, age.outdated) = (age.stale || of.stale, age.outdated || of.outdated);
        };
        for (sign, meters, indices) in [(-1, &self.loads[part], &attached.loads), (1, &self.units[part], &attached.units)] {
            for index in indices {
                let reading = meters[*index].filter(|reading| reading.event_ms >= came_ms)?;
                add(sign, reading.value, reading.sensor.sigma as f64, reading.event_ms);
                members.push(reading);
            }
        }
        for index in &attached.storages {
            let report = self.storages[*index].filter(|report| report.event_ms >= came_ms)?;
            let storage = &grid.case.storages[*index];
            let rating = storage.charge_max.max(storage.discharge_max) * grid.case.base_mva * MilliWatts::PER_MW;
            add(1, report.p.0, STORAGE_SIGMA * rating, report.event_ms);
        }
        let kind = [MeasurementKind::ActiveInjection(bus), MeasurementKind::ReactiveInjection(bus)][part];
        let one = MilliWatts::PER_MW * grid.case.base_mva;
        let sensor = members.first().map_or(SensorId(u32::MAX), |reading| reading.sensor.id);
        Some((CaseMeasurement { sensor, kind, value: value as f64 / one, sigma: (variance.sqrt() / one).max(SIGMA_MIN) }, age))
    }
}

/// Since when buses are what they are, where that is later than the island's first estimate.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Since {
    /// What is connected to the bus.
    pub(super) connected_ms: BTreeMap<BusId, i64>,
    /// The bus is in the island.
    pub(super) came_ms: BTreeMap<BusId, i64>,
}

/// By bus, the time before which nothing read there counts.
fn came(grid: &Grid, rows: &[GridRow], moment: Moment, since: &Since) -> Vec<i64> {
    let mut came = vec![i64::MIN; grid.case.buses.len()];
    for (bus, since) in &since.came_ms {
        if let Some(bus) = grid.case.bus_index(*bus) {
            came[bus] = *since;
        }
    }
    for row in rows {
        if let GridRow::Reading(reading) = row
            && reading.sensor.quantity == Quantity::VoltageMagnitude
            && reading.event_ms < moment.changed_ms
            && let Some(bus) = grid.case.bus_index(BusId(reading.sensor.element_id))
            && (reading.value as f64) < DEAD * grid.case.buses[bus].base_kv * MicroVolts::PER_KV
        {
            came[bus] = moment.changed_ms;
        }
    }
    came
}

/// Measurements of an island's rows, by sensor; then of what is metered at buses, by bus. `angles`: of each bus, about; `kept_out`: what
/// does not take part.
pub(super) fn gather<'a>(
    grid: &Grid,
    rows: &'a [GridRow],
    moment: Moment,
    since: &Since,
    angles: &[f64],
    kept_out: &dyn Fn(&Source) -> bool,
) -> Gathered<'a> {
    let mut gathered = Gathered::default();
    let mut meters = Meters::new(grid);
    let mut of_angles = Vec::new();
    let came = came(grid, rows, moment, since);
    let before = |reading: &Reading| {
        let bus = grid.case.nodes.bus(BusId(reading.sensor.element_id));
        since.connected_ms.get(&bus).is_some_and(|since| reading.event_ms < *since)
    };
    let (mut at_nodes, mut read_at_nodes) = (Vec::new(), Vec::new());
    for row in rows {
        let reading: &'a Reading = match row {
            GridRow::Reading(reading) => reading,
            GridRow::Storage(report) => {
                if let Some(index) = grid.case.storage_index(report.storage) {
                    meters.storages[index] = Some(report);
                }
                continue;
            }
            _ => continue,
        };
        let quantity = reading.sensor.quantity;
        let flows = matches!(quantity, Quantity::ActiveFlow | Quantity::ReactiveFlow | Quantity::CurrentMagnitude);
        let injected = matches!(quantity, Quantity::ActiveInjection | Quantity::ReactiveInjection);
        let age = moment.age(reading.event_ms, flows);
        let forgotten = moment.voltages_only && age.outdated && quantity != Quantity::VoltageMagnitude;
        match quantity {
            Quantity::ActiveLoad | Quantity::ReactiveLoad | Quantity::ActiveGeneration | Quantity::ReactiveGeneration => {
                meters.take(grid, reading);
                continue;
            }
            Quantity::CurrentMagnitude if reading.value < reading.sensor.sigma.saturating_mul(CURRENT_MIN) => continue,
            Quantity::VoltageAngle if age.stale || age.outdated => continue,
            _ if forgotten && !injected => continue,
            _ => {}
        }
        let sigma = reading.sensor.sigma.saturating_mul(age.factor);
        let Some(row) = grid.case.measurement(&reading.sensor, reading.value, sigma) else { continue };
        if row.kind.buses(&grid.case).iter().any(|bus| reading.event_ms < came[*bus]) {
            continue;
        }
        if quantity == Quantity::VoltageAngle {
            of_angles.push((reading, row));
        } else if injected && (forgotten || before(reading)) {
            gathered.passed_over.extend(grid.case.bus_index(BusId(reading.sensor.element_id)));
        } else if injected && !grid.case.nodes.merged().is_empty() {
            at_nodes.push((BusId(reading.sensor.element_id), row));
            read_at_nodes.push((reading, age));
        } else {
            gathered.push(Source::Reading(reading.sensor.id, quantity), row, &[reading], age, kept_out);
        }
    }
    // Injections of nodes that are one bus are one measurement.
    let (pooled, part_of) = grid.case.pooled(&at_nodes);
    let mut parts: Vec<(Vec<&Reading>, Age)> = vec![Default::default(); pooled.len()];
    for (place, (reading, age)) in part_of.into_iter().zip(read_at_nodes) {
        let Some((readings, of)) = place.and_then(|place| parts.get_mut(place)) else { continue };
        readings.push(reading);
        (of.stale, of.outdated) = (of.stale || age.stale, of.outdated || age.outdated);
    }
    for (row, (readings, age)) in pooled.into_iter().zip(parts) {
        if let Some(first) = readings.first() {
            gathered.push(Source::Reading(first.sensor.id, first.sensor.quantity), row, &readings, age, kept_out);
        }
    }
    for (reading, row) in at_one_instant(of_angles, angles) {
        gathered.push(Source::Reading(reading.sensor.id, Quantity::VoltageAngle), row, &[reading], Age::default(), kept_out);
    }
    let mut members = Vec::new();
    let least = if moment.voltages_only { moment.changed_ms } else { i64::MIN };
    for (bus, row) in grid.case.buses.iter().enumerate() {
        for part in 0..2 {
            if let Some((measurement, age)) = meters.injection(grid, moment, (bus, came[bus].max(least)), part, &mut members) {
                gathered.push(Source::Metered(row.id, part as u8), measurement, &members, age, kept_out);
            }
        }
    }
    gathered
}

/// Of angles those of the instant that most were read at, the newest of such, if they are several; in a frame in which the first is as it
/// was: two that differ by nearly half a turn would otherwise be corrected in opposite directions.
fn at_one_instant<'a>(mut read: Vec<(&'a Reading, CaseMeasurement)>, angles: &[f64]) -> Vec<(&'a Reading, CaseMeasurement)> {
    let mut counts = BTreeMap::<i64, usize>::new();
    read.iter().for_each(|(reading, _)| *counts.entry(reading.event_ms).or_default() += 1);
    let Some((instant, count)) = counts.into_iter().max_by_key(|(instant, count)| (*count, *instant)) else { return Vec::new() };
    if count < 2 {
        return Vec::new();
    }
    read.retain(|(reading, _)| reading.event_ms == instant);
    let place = |row: &CaseMeasurement| if let MeasurementKind::VoltageAngle(bus) = row.kind { angles[bus] } else { 0.0 };
    let turn = place(&read[0].1) - read[0].1.value;
    for (_, row) in &mut read {
        let about = place(row);
        let ahead = row.value + turn - about;
        row.value = about + ahead - 2.0 * PI * (ahead / (2.0 * PI)).round();
    }
    read
}

/// Adds usual injections: `added` ones, and of buses whose injection was passed over and is not known otherwise. Of the latter
/// only what stands for a reading.
pub(super) fn add_usual(gathered: &mut Gathered, grid: &Grid, added: &[(usize, [bool; 2])], kept_out: &dyn Fn(&Source) -> bool) {
    if added.is_empty() && gathered.passed_over.is_empty() {
        return;
    }
    let n = grid.case.buses.len();
    let mut wanted = vec![[false; 2]; n];
    added.iter().for_each(|(bus, parts)| wanted[*bus] = *parts);
    gathered.passed_over.iter().for_each(|bus| wanted[*bus] = [true; 2]);
    grid.idle.iter().for_each(|bus| wanted[*bus] = [false; 2]);
    // The level of loads, as far as it is measured.
    let (mut drawn, mut nominal) = (0.0, 0.0);
    for row in &gathered.rows {
        match row.kind {
            MeasurementKind::ActiveInjection(bus) => {
                if grid.attached[bus].only_loads() {
                    drawn -= row.value;
                    nominal += grid.nominal_load(bus);
                }
                wanted[bus][0] = false;
            }
            MeasurementKind::ReactiveInjection(bus) => wanted[bus][1] = false,
            _ => {}
        }
    }
    let level = if nominal > 0.0 { (drawn / nominal).clamp(0.0, LEVEL_MAX) } else { 1.0 };
    for (bus, parts) in wanted.iter().enumerate() {
        for part in (0..2).filter(|part| parts[*part]) {
            let source = Source::Usual(grid.case.buses[bus].id, part as u8);
            gathered.push(source, usual(grid, bus, part, level), &[], Age { stale: true, ..Age::default() }, kept_out);
        }
    }
}
