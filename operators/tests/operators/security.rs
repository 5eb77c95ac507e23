//! The contingency view, judged by a dense DC power flow of what each outage leaves, and an AC one of those told; what both security streams are fed with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gridflow_inputs::Input;
use gridflow_inputs::ids::{BranchId, BusId, IslandId, LoadId, StorageId};
use gridflow_inputs::input::Region;
use gridflow_inputs::network::{EquipmentKind, Network, Storage};
use gridflow_inputs::units::{
    MicroHertz, MicroPerMwh, MicroRadians, MicroVolts, MilliVars, MilliVoltAmperes, MilliWattHours, MilliWatts, PartsPerMillion,
};
use gridflow_numerics::case::Case;
use gridflow_numerics::power_flow;
use gridflow_operators::constraints::solve_constraints;
use gridflow_operators::contingency::watch::{self, WatchInput};
use gridflow_operators::contingency::{REFRESH_MS, WORST, solve_contingencies};
use gridflow_operators::decision::{BusState, Contingency, ContingencyMethod, Estimate, Failure, Output, RatingDuration, Solver};
use gridflow_operators::grid::GridRow;
use gridflow_operators::islands::IslandRow;
use gridflow_operators::maintenance::solve_maintenance;
use gridflow_operators::sealed::Rows;
use gridflow_operators::solver::{SolverInput, inline_blocks, inline_pool, solver};
use gridflow_operators::state::Registry;
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::vec::{Filter, Map};

use crate::harness::{State, Told, run};

const ISLAND: u32 = 1;
pub(crate) const BASE_MVA: f64 = 100.0;
/// A bus that hangs on the network by one branch, with a load.
pub(crate) const HANGING: BusId = BusId(15);
pub(crate) const START: u64 = 1_000_000;

/// The IEEE network with a bus that hangs on it, its branches rated a little above what they carry, for any duration.
pub(crate) fn network() -> Network {
    let mut network = gridflow_inputs::matpower::read("ieee14.m", gridflow_inputs::matpower::IEEE14).expect("it is whole").network;
    let mut bus = network.buses.iter().find(|bus| bus.id == BusId(14)).expect("it has 14 buses").clone();
    bus.id = HANGING;
    network.buses.push(bus);
    let mut branch = network.branches.last().expect("it has branches").clone();
    (branch.id, branch.from, branch.to) = (BranchId(21), BusId(14), HANGING);
    network.branches.push(branch);
    let mut load = network.loads.last().expect("it has loads").clone();
    (load.id, load.bus, load.load_p, load.load_q) = (LoadId(99), HANGING, MilliWatts(3_000_000_000), MilliVars(500_000_000));
    network.loads.push(load);
    let (case, flow) = flow_of(&network, 1.0);
    for (branch, flow) in network.branches.iter_mut().zip(&flow.flows) {
        branch.rating = MilliVoltAmperes::from_mva((1.25 * flow.p_from.abs() * case.base_mva + 8.0).round()).expect("it is small");
        (branch.rating_long_term, branch.rating_short_term) = (MilliVoltAmperes(0), MilliVoltAmperes(0));
    }
    network
}

pub(crate) fn flow_of(network: &Network, loads: f64) -> (Case, power_flow::PowerFlow) {
    let mut case = Case::new(BASE_MVA, network).expect("it is a case");
    case.loads.iter_mut().for_each(|load| (load.p, load.q) = (loads * load.p, loads * load.q));
    let flow = power_flow::solve(&case, &power_flow::Options::default(), &mut power_flow::Cache::new()).expect("it has a power flow");
    (case, flow)
}

/// The estimate at a tick: the power flow at so many times the nominal loads.
pub(crate) fn estimate(network: &Network, loads: f64, tick_ms: u64) -> Estimate {
    let (case, flow) = flow_of(network, loads);
    let state = |(index, bus): (usize, &gridflow_numerics::case::CaseBus)| BusState {
        bus: bus.id,
        voltage: MicroVolts::from_kv(flow.v[index] * bus.base_kv).expect("it is small"),
        angle: MicroRadians::from_rad(flow.va[index]).expect("it is small"),
        p: MilliWatts::from_mw(flow.p[index] * BASE_MVA).expect("it is small"),
        q: MilliVars::from_mvar(flow.q[index] * BASE_MVA).expect("it is small"),
    };
    Estimate {
        island: IslandId(ISLAND),
        tick_ms: tick_ms as i64,
        reference: BusId(1),
        iterations: 1,
        measurements: 0,
        pseudo: 0,
        outdated: 0,
        degrees_of_freedom: 0,
        objective_ppm: 0,
        threshold_ppm: 0,
        buses: case.buses.iter().enumerate().map(state).collect(),
        unobservable: Vec::new(),
        resting: Vec::new(),
    }
}

/// A storage unit.
pub(crate) fn storage(id: u32, bus: BusId) -> Storage {
    let power = MilliWatts::from_mw(40.0).expect("it is small");
    Storage {
        id: StorageId(id),
        valid_from_ms: 0,
        name: String::new(),
        bus,
        capacity: MilliWattHours(80_000_000_000),
        charge_max: power,
        discharge_max: power,
        charge_efficiency: PartsPerMillion(950_000),
        discharge_efficiency: PartsPerMillion(950_000),
        soc_min: PartsPerMillion(0),
        soc_max: PartsPerMillion(1_000_000),
        soc_start: PartsPerMillion(500_000),
        wear_cost: MicroPerMwh(0),
        in_service: true,
    }
}

pub(crate) fn region() -> GridRow {
    GridRow::Region(Arc::new(Region {
        name: "test".to_owned(),
        currency: "EUR".to_owned(),
        base_power: MilliVoltAmperes::from_mva(BASE_MVA).expect("it is a power"),
        epoch_ms: 1_000,
        utc_offset_ms: 0,
        frequency: MicroHertz(50_000_000),
        lateness_scada_ms: 0,
        lateness_meter_ms: 0,
    }))
}

pub(crate) fn island(changed_ms: u64) -> GridRow {
    GridRow::Island(IslandRow { reference: BusId(1), changed_ms: changed_ms as i64 })
}

/// An epoch: what begins to hold, what ceases to, whether the estimator's timer rings; else the island changed.
pub(crate) struct Step {
    pub(crate) epoch: u64,
    pub(crate) begins: Vec<GridRow>,
    pub(crate) ceases: Vec<GridRow>,
    pub(crate) tick: bool,
}

fn inputs(steps: &[Step]) -> impl Fn(usize, usize, usize) -> Vec<SolverInput<GridRow>> + Send + Sync + 'static {
    let is_shared = |row: &GridRow| matches!(row, GridRow::Contingency(..));
    let changes = |step: &Step| {
        let ceases = step.ceases.iter().map(|row| (row.clone(), -1));
        Vec::from_iter(step.begins.iter().map(|row| (row.clone(), 1)).chain(ceases))
    };
    let row = |(row, change): (GridRow, i64)| (!is_shared(&row)).then_some(SolverInput::Row { key: ISLAND, row, change });
    let epochs = Vec::from_iter(steps.iter().map(|step| Vec::from_iter(changes(step).into_iter().filter_map(row))));
    let shared = Vec::from_iter(steps.iter().map(|step| Vec::from_iter(changes(step).into_iter().filter(|(row, _)| is_shared(row)))));
    let ticks: Vec<bool> = steps.iter().map(|step| step.tick).collect();
    move |worker, workers, place| {
        let mut rows: Vec<_> = crate::harness::part(&epochs[place], worker, workers, place);
        let worker_number = worker as u64;
        if ticks[place] {
            rows.push(SolverInput::TriggerAll { worker: worker_number });
        } else if worker == 0 {
            rows.push(SolverInput::Trigger { key: ISLAND });
        }
        if place == 0 {
            rows.push(SolverInput::Shared { worker: worker_number, row: region(), change: 1 });
        }
        rows.extend(shared[place].iter().map(|(row, change)| SolverInput::Shared {
            worker: worker_number,
            row: row.clone(),
            change: *change,
        }));
        rows
    }
}

/// What is told after each epoch, the same for any number of workers.
pub(crate) fn told(steps: &[Step], what: fn() -> Which) -> Vec<(Vec<Output>, usize)> {
    let epochs: Vec<u64> = steps.iter().map(|step| step.epoch).collect();
    let of = |workers: usize| -> Told<(Output, u64, i64)> {
        run(workers, &epochs, inputs(steps), move |rows| match what() {
            Which::Contingencies => {
                let rows = watched(rows);
                solver(rows, "Contingencies", &Registry::default(), 0, inline_pool(), solve_contingencies(inline_blocks())).inner
            }
            Which::Constraints => solver(rows, "Constraints", &Registry::default(), 0, inline_pool(), solve_constraints()).inner,
            Which::Maintenance => solver(rows, "Maintenance", &Registry::default(), 0, inline_pool(), solve_maintenance()).inner,
        })
    };
    let one = of(1);
    for workers in [2, 3] {
        assert!(of(workers) == one, "{workers} workers tell other rows");
    }
    let mut state = State::default();
    epochs
        .iter()
        .map(|epoch| {
            let changes = one.get(epoch).cloned().unwrap_or_default();
            let count = changes.len();
            changes.into_iter().for_each(|(row, _, change)| state.add(row, change));
            assert!(state.0.values().all(|count| *count == 1));
            (state.0.keys().cloned().collect(), count)
        })
        .collect()
}

/// Rows with triggers where the watch asks, instead of at each timer and change.
fn watched<'scope>(rows: Rows<'scope, SolverInput<GridRow>>) -> Rows<'scope, SolverInput<GridRow>> {
    let seen = rows.clone().flat_map(|input| match input {
        SolverInput::Row { key, row, change } => watch::of_island((IslandId(key), row), change),
        SolverInput::Trigger { key } => Some(WatchInput::Changed(IslandId(key))),
        SolverInput::TriggerAll { worker } => Some(WatchInput::Tick(worker)),
        SolverInput::Shared { worker, row: GridRow::Contingency(..), .. } => Some(WatchInput::Named(worker)),
        SolverInput::Retry { .. } | SolverInput::Shared { .. } => None,
    });
    let asked = watch::watch(seen, &Registry::default()).map(SolverInput::from);
    rows.filter(|input| matches!(input, SolverInput::Row { .. } | SolverInput::Shared { .. })).concat(asked)
}

pub(crate) enum Which {
    Contingencies,
    Constraints,
    Maintenance,
}

pub(crate) fn elements(network: &Network) -> Vec<GridRow> {
    network.clone().into_rows().into_iter().map(|row| GridRow::Element(Arc::new(row))).collect()
}

/// `x` of `a x = b`, by Gaussian elimination with row pivoting.
fn solved(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for k in 0..n {
        let best = (k..n).max_by(|one, other| a[*one][k].abs().total_cmp(&a[*other][k].abs())).expect("rows are left");
        a.swap(k, best);
        b.swap(k, best);
        for row in k + 1..n {
            let factor = a[row][k] / a[k][k];
            let (above, below) = a.split_at_mut(row);
            below[0].iter_mut().zip(&above[k]).skip(k).for_each(|(value, pivot)| *value -= factor * pivot);
            b[row] -= factor * b[k];
        }
    }
    for k in (0..n).rev() {
        let known: f64 = (k + 1..n).map(|column| a[k][column] * b[column]).sum();
        b[k] = (b[k] - known) / a[k][k];
    }
    b
}

/// A DC grid in megawatts: what each bus draws, what each unit gives.
#[derive(Clone)]
pub(crate) struct Dense {
    pub(crate) buses: Vec<BusId>,
    pub(crate) load: Vec<f64>,
    /// (bus, output, capacity).
    pub(crate) units: Vec<(usize, f64, f64)>,
    /// (id, from, to, susceptance, rating).
    pub(crate) branches: Vec<(BranchId, usize, usize, f64, f64)>,
}

impl Dense {
    /// The grid as the estimate has it, or, without one, as the network's nominal values.
    pub(crate) fn new(network: &Network, estimate: Option<&Estimate>) -> (Self, f64) {
        let buses: Vec<BusId> = network.buses.iter().map(|bus| bus.id).collect();
        let at = |id: BusId| buses.binary_search(&id).expect("it is there");
        let nominal: Vec<f64> =
            buses.iter().map(|bus| network.loads.iter().filter(|load| load.bus == *bus).map(|load| load.load_p.mw()).sum()).collect();
        let mut units: Vec<_> = network.generators.iter().map(|unit| (at(unit.bus), unit.p.mw(), unit.p_max.mw())).collect();
        let mut load = nominal;
        let mut losses = 0.02 * load.iter().sum::<f64>();
        if let Some(estimate) = estimate {
            losses = estimate.buses.iter().map(|state| state.p.mw()).sum();
            for (bus, state) in estimate.buses.iter().enumerate() {
                // One unit a bus: it gives what flows in and what is drawn beside it.
                match units.iter_mut().find(|unit| unit.0 == bus) {
                    Some(unit) => unit.1 = state.p.mw() + load[bus],
                    None => load[bus] = -state.p.mw(),
                }
            }
        }
        let with_losses = 1.0 + losses / load.iter().sum::<f64>();
        load.iter_mut().for_each(|p| *p *= with_losses);
        let branches = network
            .branches
            .iter()
            .map(|row| (row.id, at(row.from), at(row.to), BASE_MVA / (row.x_pu.get() * row.tap_ratio.get()), row.rating.mva()))
            .collect();
        let mut grid = Self { buses, load, units, branches };
        let open: f64 = grid.load.iter().sum::<f64>() - grid.units.iter().map(|unit| unit.1).sum::<f64>();
        grid.units[0].1 += open;
        (grid, with_losses)
    }

    /// Buses that hang together with the first.
    fn reached(&self) -> Vec<bool> {
        let mut reached = vec![false; self.buses.len()];
        reached[0] = true;
        for _ in 0..self.buses.len() {
            for (_, from, to, ..) in &self.branches {
                (reached[*from], reached[*to]) = (reached[*from] || reached[*to], reached[*from] || reached[*to]);
            }
        }
        reached
    }

    /// Cuts off what does not hang together with the first bus, shares what is open by capacity, and solves: the greatest
    /// loading, its branch, and the load that is lost.
    pub(crate) fn worst(mut self) -> (f64, BranchId, f64) {
        let reached = self.reached();
        let lost: f64 = (0..self.buses.len()).filter(|bus| !reached[*bus]).map(|bus| self.load[bus]).sum();
        self.units.retain(|unit| reached[unit.0]);
        self.branches.retain(|branch| reached[branch.1]);
        let kept = |bus: &usize| reached[*bus];
        let load: f64 = (0..self.buses.len()).filter(kept).map(|bus| self.load[bus]).sum();
        let open = load - self.units.iter().map(|unit| unit.1).sum::<f64>();
        let capacity: f64 = self.units.iter().map(|unit| unit.2).sum();
        self.units.iter_mut().for_each(|unit| unit.1 += open * unit.2 / capacity);
        let n = self.buses.len();
        let (mut a, mut b) = (vec![vec![0.0; n]; n], vec![0.0; n]);
        for (_, from, to, susceptance, _) in &self.branches {
            a[*from][*from] += susceptance;
            a[*to][*to] += susceptance;
            a[*from][*to] -= susceptance;
            a[*to][*from] -= susceptance;
        }
        (0..n).for_each(|bus| b[bus] = -self.load[bus]);
        self.units.iter().for_each(|unit| b[unit.0] += unit.1);
        for bus in (0..n).filter(|bus| *bus == 0 || !reached[*bus]) {
            a[bus].fill(0.0);
            (a[bus][bus], b[bus]) = (1.0, 0.0);
        }
        let angles = solved(a, b);
        let loading = |branch: &(BranchId, usize, usize, f64, f64)| (branch.3 * (angles[branch.1] - angles[branch.2])).abs() / branch.4;
        let worst = self.branches.iter().max_by(|one, other| loading(one).total_cmp(&loading(other))).expect("branches are left");
        (loading(worst), worst.0, lost)
    }
}

/// Every outage that overloads or cuts off, by what failed: loading, its branch, lost load.
pub(crate) fn expected(network: &Network, estimate: Option<&Estimate>) -> BTreeMap<(EquipmentKind, u32), (f64, BranchId, f64)> {
    let (grid, with_losses) = Dense::new(network, estimate);
    insecure(network, &grid, with_losses)
}

/// The same of a grid, and of the units of a network in their order.
pub(crate) fn insecure(network: &Network, grid: &Dense, with_losses: f64) -> BTreeMap<(EquipmentKind, u32), (f64, BranchId, f64)> {
    let mut found = BTreeMap::new();
    for index in 0..grid.branches.len() {
        let mut rest = grid.clone();
        let (id, ..) = rest.branches.remove(index);
        found.insert((EquipmentKind::Branch, id.0), rest.worst());
    }
    for (index, unit) in network.generators.iter().enumerate() {
        let mut rest = grid.clone();
        rest.units.remove(index);
        found.insert((EquipmentKind::Generator, unit.id.0), rest.worst());
    }
    found.values_mut().for_each(|(_, _, lost)| *lost /= with_losses);
    found.retain(|_, (loading, _, lost)| *loading > 1.0 || *lost > 0.0);
    found
}

pub(crate) fn contingencies(rows: &[Output]) -> Vec<&Contingency> {
    rows.iter().filter_map(|row| if let Output::Contingency(row) = row { Some(row) } else { None }).collect()
}

/// What AC says of an outage, by a power flow of what is left: loading, its branch, voltages that leave their band.
pub(crate) fn by_ac(network: &Network, loads: f64, failing: &[(EquipmentKind, u32)]) -> Option<(f64, BranchId, BTreeMap<BusId, f64>)> {
    let (before, flow) = flow_of(network, loads);
    // A load beside a unit stays nominal, and the unit is taken to feed it: the estimate tells the sum.
    let fed: BTreeSet<BusId> = network.generators.iter().map(|unit| unit.bus).collect();
    let beside = |bus: BusId| network.loads.iter().filter(|row| row.bus == bus).map(|row| row.load_p.mw() / BASE_MVA).sum::<f64>();
    let given = |unit: usize| flow.generator_p[unit] + (1.0 - loads) * beside(before.buses[before.generators[unit].bus].id);
    let mut rest = network.clone();
    let mut missing = 0.0;
    for (equipment, id) in failing.iter().copied() {
        if equipment == EquipmentKind::Branch {
            let failed = before.branch_index(BranchId(id)).expect("it is there");
            rest.branches.retain(|row| row.id.0 != id);
            // Two buses hang on one branch, one of them with a unit.
            let hangs = network.branches[failed].to;
            if hangs == HANGING || hangs == BusId(8) {
                missing += -flow.flows[failed].p_from;
                rest.buses.retain(|row| row.id != hangs);
                rest.loads.retain(|row| row.bus != hangs);
                rest.generators.retain(|row| row.bus != hangs);
            }
        } else {
            missing += given(before.generators.iter().position(|unit| unit.id.0 == id).expect("it is there"));
            rest.generators.retain(|row| row.id.0 != id);
        }
    }
    let mut case = Case::new(BASE_MVA, &rest).expect("it is a case");
    for load in case.loads.iter_mut().filter(|load| !fed.contains(&case.buses[load.bus].id)) {
        (load.p, load.q) = (loads * load.p, loads * load.q);
    }
    let capacity: f64 = case.generators.iter().map(|unit| unit.p_max).sum();
    for unit in &mut case.generators {
        let known = before.generators.iter().position(|known| known.id == unit.id).expect("it was there");
        unit.p = given(known) + missing * unit.p_max / capacity;
    }
    let after = power_flow::solve(&case, &power_flow::Options::default(), &mut power_flow::Cache::new()).ok()?;
    let apparent = |p: f64, q: f64| (p * p + q * q).sqrt();
    let mut worst = (0.0, BranchId(0));
    for (branch, flow) in case.branches.iter().zip(&after.flows) {
        let loading = apparent(flow.p_from, flow.q_from).max(apparent(flow.p_to, flow.q_to)) / branch.rating;
        worst = if loading > worst.0 { (loading, branch.id) } else { worst };
    }
    let within = |bus: &gridflow_numerics::case::CaseBus, v: f64| (bus.v_min - 1e-9..=bus.v_max + 1e-9).contains(&v);
    let outside = case.buses.iter().zip(&after.v).filter(|(bus, v)| {
        let old = before.bus_index(bus.id).expect("it was there");
        !within(bus, **v) && within(bus, flow.v[old])
    });
    let outside = outside.map(|(bus, v)| (bus.id, v * bus.base_kv)).collect();
    Some((worst.0, worst.1, outside))
}

/// What a row says fails.
pub(crate) fn failing(row: &Contingency) -> Vec<(EquipmentKind, u32)> {
    std::iter::once((row.equipment, row.id)).chain(row.with.iter().copied()).collect()
}

/// A row against AC. Who covers the loss of the reference bus's own unit is the numerics' to test.
pub(crate) fn assert_ac(row: &Contingency, network: &Network, loads: f64) {
    assert_eq!(row.method, ContingencyMethod::Ac, "{row:?}");
    if failing(row).contains(&(EquipmentKind::Generator, 1)) {
        return;
    }
    let Some((loading, branch, outside)) = by_ac(network, loads, &failing(row)) else {
        assert!(!row.solved && row.mismatch.0 > 0 && row.mismatch_bus.is_some(), "{row:?}");
        return;
    };
    assert_eq!((row.solved, row.mismatch.0, row.mismatch_bus), (true, 0, None), "{row:?}");
    assert!((row.loading.0 as f64 - loading * 1e6).abs() <= 20.0, "{row:?} against {loading}");
    assert_eq!((row.worst_branch, row.buses_outside), (Some(branch), outside.len() as u32), "{row:?}: {outside:?}");
    // Branches have one rating each.
    assert_eq!(row.duration == RatingDuration::Normal, row.loading.0 <= 1_000_000, "{row:?}");
    match row.voltage_bus {
        Some(bus) => assert!((row.voltage.kv() - outside[&bus]).abs() < 1e-4, "{row:?}: {outside:?}"),
        None => assert_eq!((outside.len(), row.voltage.0, row.voltage_limit.0), (0, 0, 0)),
    }
}

pub(crate) fn assert_view(rows: &[Output], network: &Network, estimate: Option<&Estimate>, loads: f64, solved_ms: u64) {
    let expected = expected(network, estimate);
    assert_eq!(contingencies(rows).len(), rows.len(), "nothing failed: {rows:?}");
    let is_by_dc = |row: &&Contingency| expected.contains_key(&(row.equipment, row.id));
    let (view, by_ac_alone): (Vec<_>, Vec<_>) = contingencies(rows).into_iter().partition(is_by_dc);
    assert_eq!(view.len(), expected.len().min(WORST));
    assert!(rows.len() <= WORST);
    for row in by_ac_alone {
        assert!(!row.solved || row.loading.0 > 1_000_000 || row.voltage_bus.is_some(), "{row:?} holds");
        assert_ac(row, network, loads);
    }
    assert!(expected.values().any(|(loading, ..)| *loading > 1.0) && expected.values().any(|(.., lost)| *lost > 0.0));
    let mut told = Vec::new();
    for row in view {
        let (loading, _, lost) = expected[&(row.equipment, row.id)];
        assert!((row.lost_load.0 as f64 - lost * 1e9).abs() <= 1e4, "{row:?} against {lost}");
        assert_eq!(row.solved_ms, solved_ms as i64);
        assert_ac(row, network, loads);
        told.push(loading);
    }
    // What is not told is not worse than what is.
    let least = told.iter().copied().filter(|loading| *loading > 1.0).fold(f64::INFINITY, f64::min);
    if expected.len() > WORST {
        let overloads = expected.values().filter(|(loading, ..)| *loading > 1.0 && *loading > least + 1e-5).count();
        assert!(overloads < WORST, "{overloads} are worse than {least}");
    }
}

// REQ: GRID-05, GRID-21
#[test]
fn the_view_is_of_the_present_grid_and_its_rows_tell_their_age() {
    let network = network();
    let mut opened = network.clone();
    // In a mesh: between buses 2 and 4.
    let place = opened.branches.iter().position(|row| (row.from, row.to) == (BusId(2), BusId(4))).expect("it is there");
    let branch = opened.branches.remove(place);
    let at = |seconds: u64| START + 1_000 * seconds;
    let estimates = [(&network, 1.0, 5), (&network, 1.03, 10), (&network, 1.03, 305), (&opened, 0.97, 310), (&opened, 1.4, 610)];
    let estimates = estimates.map(|(network, loads, seconds)| estimate(network, loads, at(seconds)));
    let row = |index: usize| GridRow::Estimate(Arc::new(estimates[index].clone()));
    let step = |seconds, begins, ceases, tick| Step { epoch: at(seconds), begins, ceases, tick };
    let mut first = elements(&network);
    first.push(island(at(0)));
    let steps = [
        step(0, first, vec![], false),
        step(5, vec![row(0)], vec![], true),
        step(10, vec![row(1)], vec![row(0)], true),
        step(305, vec![row(2)], vec![row(1)], true),
        step(306, vec![island(at(306))], vec![island(at(0)), GridRow::Element(Arc::new(Input::from(branch)))], false),
        step(310, vec![row(3)], vec![row(2)], true),
        step(610, vec![row(4)], vec![row(3)], true),
    ];
    assert_eq!(REFRESH_MS, 300_000);
    let told = told(&steps, || Which::Contingencies);

    // Before the first estimate it is said why there is none.
    assert!(matches!(&told[0].0[..], [Output::Outcome(row)] if (row.solver, row.failure) == (Solver::Contingency, Failure::NoData)));
    assert_view(&told[1].0, &network, Some(&estimates[0]), 1.0, at(5));
    assert_eq!(told[2].1, 0, "five minutes have not passed");
    assert_view(&told[3].0, &network, Some(&estimates[2]), 1.03, at(305));
    // At once, on nominal values, as the estimate is of another grid; then on the first estimate of this one.
    assert_view(&told[4].0, &opened, None, 1.0, at(306));
    assert_view(&told[5].0, &opened, Some(&estimates[3]), 0.97, at(310));
    // So much load that more outages overload than are told.
    assert!(expected(&opened, Some(&estimates[4])).len() > WORST);
    assert_view(&told[6].0, &opened, Some(&estimates[4]), 1.4, at(610));
    assert!(contingencies(&told[6].0).iter().any(|row| !row.solved), "so much that some outages have no power flow");
}

// REQ: GRID-05
#[test]
fn an_injection_that_moves_has_what_it_touches_solved_again_and_the_rest_shown_with_its_age() {
    let network = network();
    let mut heavier = network.clone();
    let load = heavier.loads.iter_mut().find(|row| row.bus == BusId(11)).expect("it has a load");
    load.load_p = MilliWatts(load.load_p.0 + 1_500_000_000);
    let at = |seconds: u64| START + 1_000 * seconds;
    let estimates =
        [(&network, 5), (&heavier, 10), (&heavier, 15), (&heavier, 305)].map(|(grid, seconds)| estimate(grid, 1.0, at(seconds)));
    let row = |index: usize| GridRow::Estimate(Arc::new(estimates[index].clone()));
    let tick = |place: usize, seconds| Step { epoch: at(seconds), begins: vec![row(place)], ceases: vec![row(place - 1)], tick: true };
    let mut first = elements(&network);
    first.extend([island(at(0)), row(0)]);
    let steps = [Step { epoch: at(5), begins: first, ceases: vec![], tick: true }, tick(1, 10), tick(2, 15), tick(3, 305)];
    let told = told(&steps, || Which::Contingencies);
    assert_view(&told[0].0, &network, Some(&estimates[0]), 1.0, at(5));
    let view = contingencies(&told[1].0);
    let (fresh, old): (Vec<&Contingency>, Vec<&Contingency>) = view.iter().partition(|row| row.solved_ms == at(10) as i64);
    assert!(!fresh.is_empty() && !old.is_empty(), "{} and {}", fresh.len(), old.len());
    fresh.iter().for_each(|row| assert_ac(row, &heavier, 1.0));
    for row in old {
        assert_eq!(row.solved_ms, at(5) as i64);
        assert_ac(row, &network, 1.0);
    }
    assert_eq!(told[2].1, 0, "nothing moved since");
    // DC takes from the estimate what differs, AC from the rows of the loads.
    let rows = &told[3].0;
    assert!(contingencies(rows).len() >= expected(&network, Some(&estimates[3])).len().min(WORST));
    for row in contingencies(rows) {
        assert_eq!(row.solved_ms, at(305) as i64);
        assert_ac(row, &heavier, 1.0);
    }
}

#[test]
fn an_island_that_is_gone_has_no_view() {
    let network = network();
    let mut rows = elements(&network);
    rows.push(island(START));
    rows.push(GridRow::Estimate(Arc::new(estimate(&network, 1.0, START))));
    let steps = [
        Step { epoch: START, begins: rows.clone(), ceases: vec![], tick: true },
        Step { epoch: START + 1_000, begins: vec![], ceases: rows, tick: false },
    ];
    for what in [|| Which::Contingencies, || Which::Constraints] {
        let told = told(&steps, what);
        assert!(!told[0].0.is_empty());
        assert!(told[1].0.is_empty(), "{:?}", told[1].0);
    }
}
