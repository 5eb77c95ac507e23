//! What an island's loads draw and its units give now: the point decisions start from.
//!
//! A bus without units or storage draws what the estimate says flows into it; at the others the load's own meter
//! counts. Where neither reaches, what was known just before the equipment changed does, and else the network's nominal
//! value. Stale readings and estimates of a topology that no longer holds do not count: old data never looks like fresh data.

use std::collections::BTreeMap;

use gridflow_inputs::ids::{BusId, GeneratorId, LoadId};
use gridflow_inputs::input::{Quantity, StorageTelemetry};
use gridflow_inputs::network::{EquipmentKind, LoadClass};
use gridflow_inputs::units::{MilliVars, MilliWatts, PartsPerMillion};
use gridflow_numerics::case::{Case, CaseGenerator, CaseLoad};

use crate::decision::{BusState, Estimate};
use crate::deficit::Before;
use crate::grid::IslandRows;
use crate::islands::IslandRow;
use crate::telemetry::STALE_MS;

/// How long the last output of a wind or solar unit says what it can give: a lost meter must not look like a calm. For so
/// long too what was known before a change stands in for what is not measured after it.
pub(crate) const AVAILABILITY_MS: i64 = 300_000;
/// How long decisions wait for an estimate after an island came up or changed, before meters and nominal values do.
pub(crate) const PATIENCE_MS: i64 = 60_000;
/// Losses beyond this share of load are an error of measurement, not of the grid.
pub(crate) const LOSS_SHARE_MAX: PartsPerMillion = PartsPerMillion(200_000);
/// Losses as a share of load where they cannot be told: what transmission networks usually lose.
pub(crate) const LOSS_SHARE_UNKNOWN: PartsPerMillion = PartsPerMillion(20_000);

/// Whether readings of a quantity are looked at.
#[must_use]
pub fn reads(quantity: Quantity) -> bool {
    matches!(quantity, Quantity::ActiveGeneration | Quantity::ActiveLoad | Quantity::ReactiveLoad)
}

/// Fresh readings and the estimate of an island.
#[derive(Debug)]
pub struct OperatingPoint<'a> {
    readings: BTreeMap<(Quantity, EquipmentKind, u32), i64>,
    /// Output of units, for a while longer.
    outputs: BTreeMap<u32, i64>,
    states: BTreeMap<BusId, &'a BusState>,
    before: Option<&'a Before>,
}

/// Whether there is no estimate yet and one may still be expected: decisions on nominal values alone would shed load that
/// nobody has to miss. An island that broke off from one that had an estimate need not wait: what it drew is known.
#[must_use]
pub fn too_early(rows: &IslandRows, now_ms: i64) -> bool {
    let known = rows.estimate.is_some() || rows.before.as_ref().is_some_and(|before| before.estimated);
    !known && rows.island.is_none_or(|island| now_ms - island.changed_ms < PATIENCE_MS)
}

/// Whether an estimate says what is now. One made before a switch is of another network: a unit that has tripped still
/// feeds its bus in it.
pub(crate) fn holds(estimate: &Estimate, changed_ms: i64, now_ms: i64) -> bool {
    now_ms - estimate.tick_ms <= STALE_MS && estimate.tick_ms >= changed_ms
}

/// Whether an estimate rests on readings from after the island's last change. That of a switch's own epoch rests on those from before it: it
/// serves until the next one.
pub(crate) fn is_of_now(estimate: &Estimate, island: &IslandRow, now_ms: i64) -> bool {
    holds(estimate, island.changed_ms, now_ms) && estimate.tick_ms > island.changed_ms
}

impl<'a> OperatingPoint<'a> {
    /// From an island's rows as known at `now_ms`.
    #[must_use]
    pub fn new(rows: &'a IslandRows, now_ms: i64) -> Self {
        let fresh = rows.readings.iter().filter(|reading| now_ms - reading.event_ms <= STALE_MS);
        let readings =
            fresh.map(|reading| ((reading.sensor.quantity, reading.sensor.element, reading.sensor.element_id), reading.value)).collect();
        let outputs = rows
            .readings
            .iter()
            .filter(|reading| reading.sensor.quantity == Quantity::ActiveGeneration && now_ms - reading.event_ms <= AVAILABILITY_MS)
            .map(|reading| (reading.sensor.element_id, reading.value))
            .collect();
        let mut states = BTreeMap::new();
        let changed_ms = rows.island.map_or(i64::MIN, |island| island.changed_ms);
        // The estimate of a switch's own epoch puts readings from before it on the network after it: what was estimated before says
        // better what loads draw.
        let known_before = |estimate: &Estimate| {
            rows.before.as_ref().is_some_and(|before| before.estimated && before.at_ms == changed_ms && estimate.tick_ms == changed_ms)
        };
        let counts = |estimate: &&Estimate| holds(estimate, changed_ms, now_ms) && !known_before(estimate);
        if let Some(estimate) = rows.estimate.as_ref().filter(counts) {
            let known = estimate.buses.iter().filter(|state| !estimate.leaves_open(state.bus));
            states.extend(known.map(|state| (state.bus, state)));
        }
        let before = rows.before.as_deref().filter(|before| now_ms - before.at_ms <= AVAILABILITY_MS);
        Self { readings, outputs, states, before }
    }

    /// Voltage magnitude (per unit) and angle of each bus, at the estimate where there is one.
    #[must_use]
    pub fn voltages(&self, case: &Case) -> (Vec<f64>, Vec<f64>) {
        case.buses
            .iter()
            .map(|bus| {
                self.states.get(&bus.id).map_or((bus.v_start, bus.va_start), |state| (state.voltage.kv() / bus.base_kv, state.angle.rad()))
            })
            .unzip()
    }

    /// Whether there is an estimate of any bus.
    #[must_use]
    pub fn is_estimated(&self) -> bool {
        !self.states.is_empty()
    }

    /// Whether there is an estimate of a bus.
    #[must_use]
    pub fn knows(&self, bus: BusId) -> bool {
        self.states.contains_key(&bus)
    }

    /// Whether there is an estimate of every bus of the case.
    #[must_use]
    pub fn is_complete(&self, case: &Case) -> bool {
        case.buses.iter().all(|bus| self.knows(bus.id))
    }

    /// Losses now as a share of load: what the estimate says flows in beyond what flows out; without a whole estimate, as in
    /// the seconds after a switch, the share of before, and a customary one where that is not known either.
    /// The DC model has no losses, so plans carry them as so much more load.
    #[must_use]
    pub fn loss_share(&self, case: &Case) -> f64 {
        if !self.is_complete(case) {
            return self.before.map_or(LOSS_SHARE_UNKNOWN, |before| before.losses).ratio();
        }
        let injected: f64 = case.buses.iter().map(|bus| self.states[&bus.id].p.mw()).sum::<f64>() / case.base_mva;
        let load: f64 = case.loads.iter().map(|load| load.p).sum();
        if load > 0.0 { (injected / load).clamp(0.0, LOSS_SHARE_MAX.ratio()) } else { 0.0 }
    }

    /// Output of a unit, per unit, if measured.
    #[must_use]
    pub fn generation(&self, case: &Case, unit: GeneratorId) -> Option<f64> {
        let value = self.readings.get(&(Quantity::ActiveGeneration, EquipmentKind::Generator, unit.0))?;
        Some(MilliWatts(*value).mw() / case.base_mva)
    }

    /// What a weather-bounded unit can give, per unit: what it gave last, for as long as weather may be thought to hold.
    #[must_use]
    pub fn available(&self, case: &Case, unit: &CaseGenerator) -> f64 {
        let output = self.outputs.get(&unit.id.0).map_or(0.0, |value| MilliWatts(*value).mw() / case.base_mva);
        output.clamp(0.0, unit.p_max.max(0.0))
    }

    fn metered(&self, case: &Case, load: LoadId) -> Option<(f64, f64)> {
        let reading = |quantity| self.readings.get(&(quantity, EquipmentKind::Load, load.0)).copied();
        let (p, q) = (reading(Quantity::ActiveLoad)?, reading(Quantity::ReactiveLoad)?);
        Some((MilliWatts(p).mw() / case.base_mva, MilliVars(q).mvar() / case.base_mva))
    }

    /// What was known of a load before the island changed.
    fn drawn_before(&self, case: &Case, load: LoadId) -> Option<(f64, f64)> {
        let loads = &self.before?.loads;
        let known = &loads[loads.binary_search_by_key(&load, |known| known.load).ok()?];
        Some((known.p.mw() / case.base_mva, known.q.mvar() / case.base_mva))
    }

    /// What was known of a unit before the island changed.
    fn given_before(&self, case: &Case, unit: GeneratorId) -> Option<f64> {
        let units = &self.before?.units;
        let known = &units[units.binary_search_by_key(&unit, |known| known.unit).ok()?];
        Some(known.p.mw() / case.base_mva)
    }

    /// Puts what loads draw now into a case, in place of their nominal values.
    pub fn apply(&self, case: &mut Case) {
        let mut fed = vec![false; case.buses.len()];
        let units = case.generators.iter().map(|unit| unit.bus).chain(case.storages.iter().map(|unit| unit.bus));
        units.chain(case.dc_lines.iter().flat_map(|line| [line.from, line.to])).for_each(|bus| fed[bus] = true);
        let mut nominal = vec![0.0; case.buses.len()];
        for load in &case.loads {
            nominal[load.bus] += load.p;
        }
        for index in 0..case.loads.len() {
            let (id, bus) = (case.loads[index].id, case.loads[index].bus);
            let state = self.states.get(&case.buses[bus].id).filter(|_| !fed[bus] && nominal[bus] != 0.0);
            let now = match state {
                Some(state) => {
                    let share = case.loads[index].p / nominal[bus];
                    Some((-state.p.mw() / case.base_mva * share, -state.q.mvar() / case.base_mva * share))
                }
                None => self.metered(case, id).or_else(|| self.drawn_before(case, id)),
            };
            if let Some((p, q)) = now {
                case.loads[index].p = p;
                case.loads[index].q = q;
            }
        }
    }

    /// Lets the voltages of a case start where they stand now, and its units hold them.
    pub(crate) fn hold_voltages(&self, case: &mut Case) {
        let (v, va) = self.voltages(case);
        for (bus, (v, va)) in case.buses.iter_mut().zip(v.into_iter().zip(va)) {
            (bus.v_start, bus.va_start) = (v, va);
        }
        for unit in &mut case.generators {
            if self.knows(case.buses[unit.bus].id) {
                unit.v_setpoint = case.buses[unit.bus].v_start;
            }
        }
    }

    /// Puts what units and storage give now into a case whose loads stand at this point: what their meters and reports say,
    /// and where there is an estimate of their bus, what it says flows in there. What the meters leave open of that falls on
    /// the units of the bus by capacity; on a bus without units it is a load.
    pub fn feed(&self, case: &mut Case, storages: &[StorageTelemetry]) {
        for index in 0..case.generators.len() {
            let id = case.generators[index].id;
            if let Some(p) = self.generation(case, id).or_else(|| self.given_before(case, id)) {
                case.generators[index].p = p;
            }
        }
        let reported: BTreeMap<_, _> = storages.iter().map(|report| (report.storage, report.p.mw() / case.base_mva)).collect();
        let stored: Vec<f64> = case.storages.iter().map(|unit| reported.get(&unit.id).copied().unwrap_or(0.0)).collect();
        put_storage(case, &stored);

        let n = case.buses.len();
        let given = case.scheduled_p();
        let (mut fed, mut capacity, mut units) = (vec![false; n], vec![0.0; n], vec![0usize; n]);
        for unit in &case.generators {
            fed[unit.bus] = true;
            capacity[unit.bus] += unit.p_max.max(0.0);
            units[unit.bus] += 1;
        }
        case.storages.iter().for_each(|unit| fed[unit.bus] = true);
        for line in &case.dc_lines {
            fed[line.from] = true;
            fed[line.to] = true;
        }
        let open: Vec<f64> = (0..n)
            .map(|bus| {
                self.states.get(&case.buses[bus].id).filter(|_| fed[bus]).map_or(0.0, |state| state.p.mw() / case.base_mva - given[bus])
            })
            .collect();
        for unit in &mut case.generators {
            let bus = unit.bus;
            let share = if capacity[bus] > 0.0 { unit.p_max.max(0.0) / capacity[bus] } else { 1.0 / units[bus] as f64 };
            unit.p += share * open[bus];
        }
        for bus in (0..n).filter(|bus| units[*bus] == 0 && open[*bus] != 0.0) {
            case.loads.push(boundary(bus, -open[bus]));
        }
    }
}

/// Lets each storage unit of a case give `p`, per unit, positive into the grid: the power flow knows loads only.
pub(crate) fn put_storage(case: &mut Case, p: &[f64]) {
    let stored: Vec<CaseLoad> = case.storages.iter().zip(p).map(|(storage, p)| boundary(storage.bus, -p)).collect();
    case.loads.extend(stored);
}

/// What draws `p` at a bus and is no load that anybody could shed.
fn boundary(bus: usize, p: f64) -> CaseLoad {
    CaseLoad { id: LoadId(u32::MAX), bus, p, q: 0.0, class: LoadClass::Critical, interruption_cost_per_mwh: 0.0 }
}
