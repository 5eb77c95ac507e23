//! Maintenance check: whether the grid would bear a planned outage, alone and with any single outage on top.
//!
//! Each request is solved when it comes or changes, when its island's equipment does, at the first estimate after that, and
//! again when the last time was [`REFRESH_MS`](crate::contingency::REFRESH_MS) ago, until its end: on the grid and injections of that moment, without its
//! equipment. So many in one epoch ([`turns`]). What units gave that are out, and what is lost or spared, the others cover by headroom. The grid itself by AC, the
//! outages on top by DC. Reactive limits are not enforced; units hold the voltage they hold now. Insecure is what breaks a
//! limit that holds without the request, or makes one worse by a thousandth and more; load that an outage cuts off counts
//! where it is more than without the request.

pub mod requests;
pub mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gridflow_inputs::ids::{IslandId, LoadId};
use gridflow_inputs::input::OutageRequest;
use gridflow_inputs::network::{EquipmentKind, Network};
use gridflow_inputs::units::{MAX_MAGNITUDE, MicroVolts, MilliVoltAmperes, MilliWatts, to_fixed};
use gridflow_numerics::case::{Case, CaseLoad};
use gridflow_numerics::contingency::security::{Outage, Security, SecurityError, security};
use gridflow_numerics::power_flow::violations::Limit;
use serde::{Deserialize, Serialize};

use crate::contingency::Basis;
use crate::decision::{Breach, BreachKind, Maintenance, Output, Verdict};
use crate::estimation::island_case;
use crate::grid::{GridRow, IslandRows};
use crate::islands::Place;
use crate::operating_point::{OperatingPoint, is_of_now, too_early};
use crate::solver::{Answer, Problem, Solve};

/// Breaches told of a request.
pub const BREACHES: usize = 20;
/// Growth of what is broken already that counts as worse: as a share of it, and per unit.
const WORSE: f64 = 1e-3;

/// What an island remembers of its requests: the verdicts that stand.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MaintenanceState {
    verdicts: BTreeMap<u64, Kept>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    outages: Vec<OutageRequest>,
    /// What the verdict rests on; nothing while there was nothing to start from.
    basis: Option<Basis>,
    row: Maintenance,
}

/// The island as it stands: its case, of whose loads the first `loads` are loads and the next stand for storage units, each in
/// its order, and the rest for what else the estimate says flows in.
struct Present<'a> {
    case: Case,
    loads: usize,
    losses: f64,
    network: &'a Network,
    security: Result<Security, SecurityError>,
}

impl<'a> Present<'a> {
    fn new(rows: &'a IslandRows, now_ms: i64) -> Result<Self, String> {
        let region = rows.region.as_ref().ok_or("there is no region row")?;
        let reference = rows.island.map(|island| island.reference).ok_or("the island has no source")?;
        let mut case = island_case(&rows.network, reference, region.base_power.mva())?;
        let point = OperatingPoint::new(rows, now_ms);
        point.apply(&mut case);
        let (loads, losses) = (case.loads.len(), point.loss_share(&case));
        point.feed(&mut case, &rows.storages);
        point.hold_voltages(&mut case);
        let security = security(&case, losses);
        Ok(Self { case, loads, losses, network: &rows.network, security })
    }

    /// The case without some equipment; all else stands as it does.
    fn without(&self, out: &BTreeSet<Place>) -> Result<Case, String> {
        let whole = &self.case;
        let mut rest = Case::of_nodes(whole.base_mva, &without(self.network, out)).map_err(|error| error.to_string())?;
        for bus in &mut rest.buses {
            if let Some(known) = whole.bus_index(bus.id).map(|index| &whole.buses[index]) {
                (bus.v_start, bus.va_start) = (known.v_start, known.va_start);
            }
        }
        let drawn: BTreeMap<_, _> = whole.loads[..self.loads].iter().map(|load| (load.id, (load.p, load.q))).collect();
        for load in &mut rest.loads {
            (load.p, load.q) = drawn.get(&load.id).copied().unwrap_or((load.p, load.q));
        }
        for unit in &mut rest.generators {
            if let Some(known) = whole.generator_index(unit.id).map(|index| &whole.generators[index]) {
                (unit.p, unit.v_setpoint) = (known.p, known.v_setpoint);
            }
        }
        let links = whole.dc_lines.iter().filter(|link| out.contains(&(EquipmentKind::DcLine, link.id.0)));
        let stores = whole.storages.iter().filter(|row| out.contains(&(EquipmentKind::Storage, row.id.0))).map(|row| row.bus);
        let freed: BTreeSet<usize> = links.flat_map(|link| [link.from, link.to]).chain(stores).collect();
        for (place, load) in whole.loads[self.loads..].iter().enumerate() {
            // A storage unit stays where it is connected, what else an estimate says flows in at the bus.
            let stays = match whole.storages.get(place) {
                Some(storage) => rest.storages.iter().find(|row| row.id == storage.id).map(|row| row.bus),
                None => rest.bus_index(whole.buses[load.bus].id).filter(|_| !freed.contains(&load.bus)),
            };
            if let Some(bus) = stays {
                rest.loads.push(CaseLoad { bus, ..load.clone() });
            }
        }
        Ok(rest)
    }
}

/// A network without some of its equipment; what hangs on a bus goes with it.
fn without(network: &Network, out: &BTreeSet<Place>) -> Network {
    let mut rest = network.clone();
    let stays = |kind: EquipmentKind, id: u32| !out.contains(&(kind, id));
    let bus = |id: u32| stays(EquipmentKind::Bus, id);
    rest.buses.retain(|row| bus(row.id.0));
    rest.node_switches.retain(|row| bus(row.from.0) && bus(row.to.0));
    rest.branches.retain(|row| stays(EquipmentKind::Branch, row.id.0) && bus(row.from.0) && bus(row.to.0));
    rest.generators.retain(|row| stays(EquipmentKind::Generator, row.id.0) && bus(row.bus.0));
    rest.loads.retain(|row| stays(EquipmentKind::Load, row.id.0) && bus(row.bus.0));
    rest.shunts.retain(|row| stays(EquipmentKind::Shunt, row.id.0) && bus(row.bus.0));
    rest.storages.retain(|row| stays(EquipmentKind::Storage, row.id.0) && bus(row.bus.0));
    rest.dc_lines.retain(|row| stays(EquipmentKind::DcLine, row.id.0) && bus(row.from.0) && bus(row.to.0));
    let branches: BTreeSet<_> = rest.branches.iter().map(|row| row.id).collect();
    rest.transformers.retain(|row| branches.contains(&row.branch));
    rest
}

fn fixed(value: f64, units: f64) -> i64 {
    to_fixed(value, units).unwrap_or(if value < 0.0 { -MAX_MAGNITUDE } else { MAX_MAGNITUDE })
}

/// What a request breaks, and how much stands broken whether or not it goes ahead.
#[derive(Default)]
struct Found {
    breaches: Vec<Breach>,
    present: u32,
}

impl Found {
    /// Takes what is broken by `excess`, and by `before` without the request; both positive.
    fn take(&mut self, excess: f64, before: f64, breach: impl FnOnce() -> Breach) {
        if before > 0.0 && excess <= before * (1.0 + WORSE) + WORSE { self.present += 1 } else { self.breaches.push(breach()) }
    }
}

/// Limits of the grid itself.
fn broken(found: &mut Found, base_mva: f64, now: Option<&Security>, then: &Security) {
    let before: BTreeMap<Limit, f64> =
        now.iter().flat_map(|now| &now.violations).map(|violation| (violation.limit, violation.excess())).collect();
    let mut over: Vec<_> = then.violations.iter().collect();
    over.sort_by(|one, other| (other.excess() / other.allowed.abs().max(1e-3)).total_cmp(&(one.excess() / one.allowed.abs().max(1e-3))));
    for violation in over {
        let volts = |bus| then.case.bus_index(bus).map_or(1.0, |index| then.case.buses[index].base_kv) * MicroVolts::PER_KV;
        let (kind, equipment, id, units) = match violation.limit {
            Limit::Rating(branch) => (BreachKind::BranchLoading, EquipmentKind::Branch, branch.0, base_mva * MilliVoltAmperes::PER_MVA),
            Limit::VoltageMin(bus) => (BreachKind::VoltageLow, EquipmentKind::Bus, bus.0, volts(bus)),
            Limit::VoltageMax(bus) => (BreachKind::VoltageHigh, EquipmentKind::Bus, bus.0, volts(bus)),
            Limit::ActiveMax(unit) => (BreachKind::GeneratorActive, EquipmentKind::Generator, unit.0, base_mva * MilliWatts::PER_MW),
            // Not asked for.
            Limit::ReactiveMin(_) | Limit::ReactiveMax(_) => continue,
        };
        let (value, limit) = (fixed(violation.value, units), fixed(violation.allowed, units));
        found.take(violation.excess(), before.get(&violation.limit).copied().unwrap_or(0.0), || Breach {
            outage: None,
            kind,
            equipment,
            id,
            value,
            limit,
        });
    }
}

/// Outages on top.
fn exposed(found: &mut Found, base_mva: f64, now: Option<&Security>, then: &Security) {
    let lost = |security: &Security, index: usize| {
        security.insecure[index].outcome.lost.as_ref().map_or(0.0, |lost| lost.load.max(0.0)) / security.with_losses
    };
    let before: BTreeMap<Outage, usize> =
        now.iter().flat_map(|now| now.insecure.iter().enumerate()).map(|(index, row)| (row.outage, index)).collect();
    let mut order: Vec<usize> = (0..then.insecure.len()).collect();
    let severity = |index: usize| {
        let outcome = &then.insecure[index].outcome;
        (outcome.unsolved.is_some(), if outcome.max_loading > 1.0 { outcome.max_loading } else { 0.0 })
    };
    order.sort_by(|one, other| {
        let (a, b) = (severity(*one), severity(*other));
        b.0.cmp(&a.0).then(b.1.total_cmp(&a.1)).then(lost(then, *other).total_cmp(&lost(then, *one)))
    });
    for index in order {
        let row = &then.insecure[index];
        let known = now.zip(before.get(&row.outage));
        let (equipment, id) = match row.outage {
            Outage::Branch(branch) => (EquipmentKind::Branch, branch.0),
            Outage::Generator(unit) => (EquipmentKind::Generator, unit.0),
        };
        let outage = Some((equipment, id));
        let told = known.map(|(now, index)| (&now.insecure[*index].outcome, lost(now, *index)));
        let unsolved = row.outcome.unsolved.is_some();
        let was_unsolved = told.is_some_and(|(outcome, _)| outcome.unsolved.is_some());
        let was_loaded = told.map_or(0.0, |(outcome, _)| outcome.max_loading.max(1.0) - 1.0);
        let (excess, more) = (row.outcome.max_loading - 1.0, lost(then, index));
        let was_lost = told.map_or(0.0, |(_, lost)| lost);
        let worse = |excess: f64, before: f64| excess > 0.0 && (before <= 0.0 || excess > before * (1.0 + WORSE) + WORSE);
        let breach = match row.outcome.worst_branch.filter(|_| worse(excess, was_loaded)) {
            _ if unsolved && !was_unsolved => Some(Breach { outage, kind: BreachKind::NoSolution, equipment, id, value: 0, limit: 0 }),
            _ if unsolved => None,
            Some(branch) => {
                let branch = &then.case.branches[branch];
                let units = base_mva * MilliVoltAmperes::PER_MVA;
                let (value, limit) = (fixed(row.outcome.max_loading * branch.rating, units), fixed(branch.rating, units));
                let (kind, equipment, id) = (BreachKind::BranchLoading, EquipmentKind::Branch, branch.id.0);
                Some(Breach { outage, kind, equipment, id, value, limit })
            }
            None if worse(more, was_lost) => {
                let units = base_mva * MilliWatts::PER_MW;
                let (value, limit) = (fixed(more, units), fixed(was_lost, units));
                Some(Breach { outage, kind: BreachKind::LostLoad, equipment, id, value, limit })
            }
            None => None,
        };
        match breach {
            Some(breach) => found.breaches.push(breach),
            None => found.present += 1,
        }
    }
}

/// Load that is cut off with the equipment out: by the lowest bus of each dead part, and by each bus that is itself out.
fn cut_off(found: &mut Found, present: &Present<'_>, out: &BTreeSet<Place>, rest: &Case) {
    let units = present.case.base_mva * MilliWatts::PER_MW;
    let mut lost: BTreeMap<u32, f64> = BTreeMap::new();
    // Storage and links are not what is lost, though they stand among the loads.
    let drawing = |load: &&CaseLoad| load.id != LoadId(u32::MAX) && load.p > 0.0;
    let drawing = Case { loads: rest.loads.iter().filter(drawing).cloned().collect(), ..rest.clone() };
    let (_, islands) = unreferenced(&drawing).energised();
    for island in islands.iter().filter(|island| island.reference.is_none()) {
        lost.extend(island.buses.first().map(|bus| (bus.0, island.load)));
    }
    let drawn: BTreeMap<_, _> = present.case.loads[..present.loads].iter().map(|load| (load.id, load.p)).collect();
    for load in &present.network.loads {
        if out.contains(&(EquipmentKind::Bus, load.bus.0)) && !out.contains(&(EquipmentKind::Load, load.id.0)) {
            *lost.entry(load.bus.0).or_default() += drawn.get(&load.id).copied().unwrap_or(0.0);
        }
    }
    for (bus, load) in lost.into_iter().filter(|(_, load)| *load > 0.0) {
        let (kind, equipment, value) = (BreachKind::LostLoad, EquipmentKind::Bus, fixed(load, units));
        found.breaches.push(Breach { outage: None, kind, equipment, id: bus, value, limit: 0 });
    }
}

/// A case whose references are what its units make them.
fn unreferenced(case: &Case) -> Case {
    let mut case = case.clone();
    for bus in &mut case.buses {
        if bus.kind == gridflow_inputs::network::BusKind::Reference {
            bus.kind = gridflow_inputs::network::BusKind::Generator;
        }
    }
    case
}

/// Verdict, what is broken, how much stands broken anyway, and all in words.
fn judge(present: &Present<'_>, outages: &[OutageRequest]) -> Result<(Verdict, Found, String), String> {
    let out: BTreeSet<Place> = outages.iter().map(|row| (row.equipment, row.equipment_id)).collect();
    let rest = present.without(&out)?;
    let mut found = Found::default();
    cut_off(&mut found, present, &out, &rest);
    let now = present.security.as_ref().ok();
    match security(&rest, present.losses) {
        Ok(then) => {
            broken(&mut found, rest.base_mva, now, &then);
            let alone = found.breaches.len();
            exposed(&mut found, rest.base_mva, now, &then);
            let on_top = found.breaches.len() - alone;
            let verdict = if found.breaches.is_empty() { Verdict::Secure } else { Verdict::Insecure };
            let reason = match (alone, on_top) {
                (0, 0) => "no limit breaks that holds without it, alone or with a single outage on top".to_owned(),
                (alone, 0) => format!("breaks {alone} limits by itself"),
                (0, on_top) => format!("holds by itself, and not with any of {on_top} single outages on top"),
                (alone, on_top) => format!("breaks {alone} limits by itself, and more with {on_top} single outages on top"),
            };
            Ok((verdict, found, reason))
        }
        Err(SecurityError::NothingEnergised) => Ok((Verdict::Insecure, found, "nothing is left that has a source".to_owned())),
        Err(error) => Err(format!("without it {error}")),
    }
}

fn verdict(present: &Result<Present<'_>, String>, island: IslandId, outages: &[OutageRequest], now_ms: i64) -> Maintenance {
    let judged = present.as_ref().map_err(Clone::clone).and_then(|present| judge(present, outages));
    let (verdict, mut found, reason) = judged.unwrap_or_else(|why| (Verdict::Unsolved, Found::default(), why));
    let violations = u32::try_from(found.breaches.len()).unwrap_or(u32::MAX);
    found.breaches.truncate(BREACHES);
    Maintenance {
        request: outages[0].id,
        island: Some(island),
        start_ms: outages.iter().map(|row| row.start_ms).min().unwrap_or_default(),
        end_ms: outages.iter().map(|row| row.end_ms).max().unwrap_or_default(),
        solved_ms: now_ms,
        verdict,
        violations,
        present: found.present,
        reason,
        breaches: found.breaches,
    }
}

fn verdicts(problem: Problem<GridRow, MaintenanceState>) -> Answer<MaintenanceState, Output> {
    let (island, now_ms) = (IslandId(problem.key), problem.epoch as i64);
    let (mut requests, mut whole, mut estimate): (BTreeMap<u64, Vec<OutageRequest>>, _, _) = (BTreeMap::new(), None, None);
    for row in problem.rows.iter() {
        match row {
            GridRow::Outage(row) => requests.entry(row.id).or_default().push(OutageRequest::clone(row)),
            GridRow::Island(row) => whole = Some(*row),
            GridRow::Estimate(row) => estimate = Some(row),
            _ => {}
        }
    }
    let Some(whole) = whole.filter(|_| !requests.is_empty()) else {
        return Answer { previous: MaintenanceState::default(), rows: Vec::new() };
    };
    let estimated = estimate.is_some_and(|estimate| is_of_now(estimate, &whole, now_ms));
    let mut state = problem.previous.unwrap_or_default();
    state.verdicts.retain(|id, kept| requests.get(id).is_some_and(|outages| *outages == kept.outages));
    let stands = |kept: &Kept| kept.basis.is_some_and(|basis| basis.stands(&whole, estimated, now_ms));
    requests.retain(|id, _| !state.verdicts.get(id).is_some_and(stands));
    if !requests.is_empty() {
        let rows = IslandRows::new(problem.rows.iter().chain(problem.shared.iter()));
        let early = too_early(&rows, now_ms);
        let present = if early { Err("there is no estimate to start from yet".to_owned()) } else { Present::new(&rows, now_ms) };
        let basis = (!early).then_some(Basis { solved_ms: now_ms, changed_ms: whole.changed_ms, estimated });
        if let Ok(present) = &present {
            requests = turns::turns(requests, &state.verdicts, present.case.branches.len() + present.case.generators.len());
        }
        // That there is nothing to start from is told once.
        for (id, outages) in requests {
            if early && state.verdicts.get(&id).is_some_and(|kept| kept.basis.is_none()) {
                continue;
            }
            let row = verdict(&present, island, &outages, now_ms);
            state.verdicts.insert(id, Kept { outages, basis, row });
        }
    }
    Answer { rows: state.verdicts.values().map(|kept| kept.row.clone().into()).collect(), previous: state }
}

/// The maintenance check, for the generic solver.
#[must_use]
pub fn solve_maintenance() -> Solve<GridRow, MaintenanceState, Output> {
    Arc::new(verdicts)
}
