//! The maintenance check, judged the slow way: the network without the equipment is built anew, balanced and solved by AC, and
//! each outage on top by a dense DC power flow; what breaks is compared with the same of the whole network.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gridflow_inputs::ids::{BranchId, BusId, IslandId, LoadId, SourceId, StorageId};
use gridflow_inputs::input::{OutageRequest, Sequenced, StorageTelemetry, Tick, Timer};
use gridflow_inputs::network::{BusKind, EquipmentKind, Load, Network};
use gridflow_inputs::units::{MilliCelsius, MilliVars, MilliWattHours, MilliWatts, PartsPerMillion};
use gridflow_inputs::{Input, Kind};
use gridflow_numerics::case::{Case, CaseLoad};
use gridflow_numerics::power_flow::{self, Slack};
use gridflow_operators::contingency::REFRESH_MS;
use gridflow_operators::decision::{BreachKind, Estimate, Maintenance, Output, Reason, Rejected, Verdict};
use gridflow_operators::grid::GridRow;
use gridflow_operators::islands::Place;
use gridflow_operators::maintenance::BREACHES;
use gridflow_operators::maintenance::requests::{RequestInput, RequestOutput, Requests};
use gridflow_operators::sealed::{Clock, Logic};
use gridflow_operators::state::State;

use crate::security::{BASE_MVA, Dense, HANGING, START, Step, Which, elements, estimate, insecure, island, network, storage, told};

const BRANCH: EquipmentKind = EquipmentKind::Branch;
const UNIT: EquipmentKind = EquipmentKind::Generator;
const STORAGE: EquipmentKind = EquipmentKind::Storage;
/// What storage units give.
const STORED_MW: f64 = 25.0;

fn request(id: u64, place: Place) -> OutageRequest {
    let (equipment, equipment_id) = place;
    let now = START as i64;
    OutageRequest { id, event_ms: now, equipment, equipment_id, start_ms: now + 3_600_000, end_ms: now + 7_200_000, withdrawn: false }
}

/// What is broken of a grid: limits by what they are of, with the share they are broken by and value; outages, with loading,
/// its branch and lost load.
struct Slow {
    limits: BTreeMap<(BreachKind, u32), (f64, f64)>,
    outages: BTreeMap<Place, (f64, BranchId, f64)>,
    lost: f64,
}

/// The network without equipment, with the injections of an estimate, from scratch. One unit a bus; what hangs on a cut branch
/// is dead.
fn slow(network: &Network, estimate: &Estimate, out: &[Place]) -> Slow {
    let mut rest = network.clone();
    rest.branches.retain(|row| !out.contains(&(BRANCH, row.id.0)));
    rest.generators.retain(|row| !out.contains(&(UNIT, row.id.0)));
    rest.storages.retain(|row| !out.contains(&(STORAGE, row.id.0)));
    let mut reached = BTreeSet::from([BusId(3)]);
    for _ in 0..rest.buses.len() {
        for row in &rest.branches {
            if reached.contains(&row.from) || reached.contains(&row.to) {
                reached.extend([row.from, row.to]);
            }
        }
    }
    let lost: f64 = rest.loads.iter().filter(|row| !reached.contains(&row.bus)).map(|row| row.load_p.mw()).sum();
    rest.buses.retain(|row| reached.contains(&row.id));
    rest.loads.retain(|row| reached.contains(&row.bus));
    rest.shunts.retain(|row| reached.contains(&row.bus));
    let mut case = Case::new(BASE_MVA, &rest).expect("it is a case");
    let state = |bus: BusId| estimate.buses.iter().find(|state| state.bus == bus).expect("it was estimated");
    let stores = || network.storages.iter().map(|row| row.bus);
    let fed: BTreeSet<BusId> = network.generators.iter().map(|unit| unit.bus).chain(stores()).collect();
    let nominal = |bus: BusId| network.loads.iter().filter(|row| row.bus == bus).map(|row| row.load_p.mw()).sum::<f64>();
    for load in &mut case.loads {
        let bus = case.buses[load.bus].id;
        if !fed.contains(&bus) {
            (load.p, load.q) = (-state(bus).p.mw() / BASE_MVA, -state(bus).q.mvar() / BASE_MVA);
        }
    }
    for row in &rest.storages {
        let (bus, p) = (case.bus_index(row.bus).expect("it is energised"), -STORED_MW / BASE_MVA);
        case.loads.push(CaseLoad { bus, p, q: 0.0, ..case.loads[0].clone() });
    }
    for unit in &mut case.generators {
        let bus = &case.buses[unit.bus];
        unit.p = (state(bus.id).p.mw() + nominal(bus.id)) / BASE_MVA;
        unit.v_setpoint = state(bus.id).voltage.kv() / bus.base_kv;
    }
    // Losses as a share of load, as the estimate has them.
    let all: f64 = network.loads.iter().map(|row| if fed.contains(&row.bus) { row.load_p.mw() } else { -state(row.bus).p.mw() }).sum();
    let share = estimate.buses.iter().map(|state| state.p.mw()).sum::<f64>() / all;
    let load: f64 = case.loads.iter().map(|load| load.p).sum();
    let missing = load * (1.0 + share) - case.generators.iter().map(|unit| unit.p).sum::<f64>();
    let room = |unit: &gridflow_numerics::case::CaseGenerator| {
        if missing >= 0.0 { (unit.p_max - unit.p).max(0.0) } else { (unit.p - unit.p_min).max(0.0) }
    };
    let rooms: Vec<f64> = case.generators.iter().map(room).collect();
    let total: f64 = rooms.iter().sum();
    case.generators.iter_mut().zip(&rooms).for_each(|(unit, room)| unit.p += missing * room / total);
    let largest = case.generators.iter().fold((0.0, 0), |best, unit| if unit.p_max > best.0 { (unit.p_max, unit.bus) } else { best });
    for (index, bus) in case.buses.iter_mut().enumerate() {
        let held = case.generators.iter().any(|unit| unit.bus == index);
        bus.kind = if index == largest.1 {
            BusKind::Reference
        } else if held {
            BusKind::Generator
        } else {
            BusKind::Load
        };
    }
    let weights = case.generators.iter().map(|unit| (unit.p_max - unit.p).max(0.0)).collect();
    let options = power_flow::Options { slack: Slack::Weighted(weights), ..power_flow::Options::default() };
    let flow = power_flow::solve(&case, &options, &mut power_flow::Cache::new()).expect("it has a power flow");

    let mut limits = BTreeMap::new();
    for (branch, flow) in case.branches.iter().zip(&flow.flows) {
        let apparent = |p: f64, q: f64| (p * p + q * q).sqrt();
        let s = apparent(flow.p_from, flow.q_from).max(apparent(flow.p_to, flow.q_to));
        if s > branch.rating {
            limits.insert((BreachKind::BranchLoading, branch.id.0), (s - branch.rating, s * BASE_MVA * 1e9));
        }
    }
    for (bus, v) in case.buses.iter().zip(&flow.v) {
        let microvolts = v * bus.base_kv * 1e9;
        if *v < bus.v_min {
            limits.insert((BreachKind::VoltageLow, bus.id.0), (bus.v_min - v, microvolts));
        } else if *v > bus.v_max {
            limits.insert((BreachKind::VoltageHigh, bus.id.0), (v - bus.v_max, microvolts));
        }
    }
    for (unit, p) in case.generators.iter().zip(&flow.generator_p) {
        if *p > unit.p_max + 1e-6 {
            limits.insert((BreachKind::GeneratorActive, unit.id.0), (p - unit.p_max, p * BASE_MVA * 1e9));
        }
    }
    let with_losses = 1.0 + flow.loss / load;
    let grid = Dense {
        buses: case.buses.iter().map(|bus| bus.id).collect(),
        load: (0..case.buses.len())
            .map(|bus| case.loads.iter().filter(|load| load.bus == bus).map(|load| load.p * BASE_MVA * with_losses).sum())
            .collect(),
        units: case.generators.iter().zip(&flow.generator_p).map(|(unit, p)| (unit.bus, p * BASE_MVA, unit.p_max * BASE_MVA)).collect(),
        branches: case.branches.iter().map(|row| (row.id, row.from, row.to, BASE_MVA / (row.x * row.tap), row.rating * BASE_MVA)).collect(),
    };
    Slow { limits, outages: insecure(&rest, &grid, with_losses), lost }
}

/// Against the slow way.
fn assert_verdict(row: &Maintenance, network: &Network, estimate: &Estimate, out: &[Place], solved_ms: u64) {
    let (now, then) = (slow(network, estimate, &[]), slow(network, estimate, out));
    let worse = |excess: f64, before: f64| excess > 0.0 && (before <= 0.0 || excess > before * 1.001 + 0.001);
    let limits: Vec<_> = then
        .limits
        .iter()
        .filter(|(limit, (excess, _))| worse(*excess, now.limits.get(limit).map_or(0.0, |(before, _)| *before)))
        .collect();
    let mut exposed: BTreeMap<Place, (BreachKind, u32, f64)> = BTreeMap::new();
    for (place, (loading, branch, lost)) in &then.outages {
        let (loaded, lost_now) = now.outages.get(place).map_or((1.0, 0.0), |(loading, _, lost)| (loading.max(1.0), *lost));
        if worse(loading - 1.0, loaded - 1.0) {
            let rating = network.branches.iter().find(|row| row.id == *branch).expect("it is there").rating.mva();
            exposed.insert(*place, (BreachKind::BranchLoading, branch.0, loading * rating * 1e9));
        } else if worse(*lost, lost_now + if lost_now > 0.0 { 0.1 } else { 0.0 }) {
            exposed.insert(*place, (BreachKind::LostLoad, place.1, lost * 1e9));
        }
    }
    let cut = usize::from(then.lost > 0.0);
    let count = limits.len() + exposed.len() + cut;
    assert_eq!((row.violations as usize, row.breaches.len()), (count, count.min(BREACHES)), "{row:?}\n{limits:?}\n{exposed:?}");
    assert_eq!(row.present as usize, then.limits.len() - limits.len() + then.outages.len() - exposed.len());
    assert_eq!(row.verdict, if count == 0 { Verdict::Secure } else { Verdict::Insecure }, "{row:?}");
    assert_eq!((row.island, row.solved_ms), (Some(IslandId(1)), solved_ms as i64));
    let close = |value: i64, expected: f64| assert!((value as f64 - expected).abs() <= 2e-6 * expected.abs() + 2.0, "{value} {expected}");
    for breach in &row.breaches {
        match (breach.outage, breach.kind) {
            (None, BreachKind::LostLoad) => close(breach.value, then.lost * 1e9),
            (None, kind) => close(breach.value, then.limits[&(kind, breach.id)].1),
            (Some(place), kind) => {
                let expected = exposed[&place];
                assert_eq!((kind, breach.id), (expected.0, expected.1), "{breach:?}");
                close(breach.value, expected.2);
            }
        }
    }
}

fn verdicts(rows: &[Output]) -> BTreeMap<u64, &Maintenance> {
    rows.iter().map(|row| if let Output::Maintenance(row) = row { (row.request, row) } else { panic!("{row:?} is no verdict") }).collect()
}

// REQ: GRID-07
#[test]
fn a_planned_outage_breaks_what_a_grid_built_anew_without_it_breaks() {
    let network = network();
    let between = |one: u32, other: u32| {
        let found = network.branches.iter().find(|row| (row.from, row.to) == (BusId(one), BusId(other)));
        (BRANCH, found.expect("it is there").id.0)
    };
    let unit = |bus: u32| (UNIT, network.generators.iter().find(|row| row.bus == BusId(bus)).expect("it is there").id.0);
    let asked: [(u64, Vec<Place>); 5] = [
        (1, vec![between(2, 4)]),
        (2, vec![between(14, HANGING.0)]),
        (3, vec![unit(2), between(6, 11)]),
        (4, vec![unit(1)]),
        (5, vec![unit(8)]),
    ];
    let rows = |id: u64| asked[id as usize - 1].1.iter().map(move |place| GridRow::Outage(request(id, *place).into())).collect::<Vec<_>>();
    let at = |seconds: u64| START + 1_000 * seconds;
    let estimates = [(1.0, 5), (1.05, 10), (1.05, 305)].map(|(loads, seconds)| estimate(&network, loads, at(seconds)));
    let row = |index: usize| GridRow::Estimate(Arc::new(estimates[index].clone()));
    let step = |seconds, begins, ceases, tick| Step { epoch: at(seconds), begins, ceases, tick };
    let mut first = elements(&network);
    first.push(island(at(0)));
    first.extend(rows(1));
    let steps = [
        step(0, first, vec![], false),
        step(5, vec![row(0)], vec![], true),
        step(7, [rows(2), rows(3), rows(4), rows(5)].concat(), vec![], false),
        step(10, vec![row(1)], vec![row(0)], true),
        step(305, vec![row(2)], vec![row(1)], true),
        step(310, vec![], rows(3), false),
    ];
    assert_eq!(REFRESH_MS, 300_000);
    let told = told(&steps, || Which::Maintenance);
    let first = verdicts(&told[0].0);
    assert_eq!((first[&1].verdict, first[&1].breaches.len()), (Verdict::Unsolved, 0), "there is nothing to start from");
    assert_verdict(verdicts(&told[1].0)[&1], &network, &estimates[0], &asked[0].1, at(5));
    let second = verdicts(&told[2].0);
    assert_eq!(second.len(), 5);
    assert_eq!(second[&1], verdicts(&told[1].0)[&1], "one request is no reason to solve another again");
    for (id, out) in &asked[1..] {
        assert_verdict(second[id], &network, &estimates[0], out, at(7));
    }
    let of = |verdict: Verdict| second.values().filter(|row| row.verdict == verdict).count();
    assert!(of(Verdict::Secure) > 0 && of(Verdict::Insecure) > 1, "{second:?}");
    let lost = second[&2].breaches.iter().find(|row| row.outage.is_none() && row.kind == BreachKind::LostLoad);
    assert_eq!(lost.map(|row| row.id), Some(HANGING.0), "what it cuts off is named");
    assert_eq!(told[3].1, 0, "five minutes have not passed");
    assert_eq!(verdicts(&told[4].0)[&1].solved_ms, at(305) as i64);
    for (id, out) in asked.iter().filter(|(id, _)| verdicts(&told[4].0)[id].solved_ms == at(305) as i64) {
        assert_verdict(verdicts(&told[4].0)[id], &network, &estimates[2], out, at(305));
    }
    assert_eq!(verdicts(&told[5].0).keys().copied().collect::<Vec<_>>(), [1, 2, 4, 5], "what is taken back has no verdict");
}

// REQ: GRID-07
#[test]
fn a_planned_outage_of_a_storage_unit_takes_what_it_gives_and_leaves_the_load_beside_it() {
    let (grid, bus, at) = (network(), BusId(13), |seconds: u64| START + 1_000 * seconds);
    let store = (STORAGE, 1);
    // To the estimator what storage gives is as good as a load that gives.
    let given = MilliWatts::from_mw(STORED_MW).expect("it is small");
    let mut giving = grid.clone();
    giving.loads.push(Load { id: LoadId(98), bus, load_p: MilliWatts(-given.0), load_q: MilliVars(0), ..grid.loads[0].clone() });
    let estimate = estimate(&giving, 1.0, at(5));
    let network = Network { storages: vec![storage(1, bus)], ..grid };
    let report = StorageTelemetry {
        storage: StorageId(1),
        event_ms: at(4) as i64,
        soc: PartsPerMillion(500_000),
        p: given,
        temperature: MilliCelsius(20_000),
        milli_cycles: 0,
        capacity: MilliWattHours(80_000_000_000),
    };
    let mut first = elements(&network);
    first.extend([island(at(0)), GridRow::Storage(Arc::new(report)), GridRow::Estimate(Arc::new(estimate.clone()))]);
    first.push(GridRow::Outage(Arc::new(request(1, store))));
    let told = told(&[Step { epoch: at(5), begins: first, ceases: vec![], tick: true }], || Which::Maintenance);
    let row = verdicts(&told[0].0)[&1].clone();
    assert_verdict(&row, &network, &estimate, &[store], at(5));
    assert!(row.verdict == Verdict::Insecure && row.breaches.iter().any(|breach| breach.kind == BreachKind::BranchLoading), "{row:?}");
}

/// What a book of requests holds after an epoch: outages of islands, and verdicts on what is out.
#[derive(Default)]
struct Book {
    requests: Requests,
    held: BTreeMap<(u32, u64, Place), i64>,
    out: BTreeMap<(u64, Place), i64>,
}

impl Book {
    /// An epoch; gives refusals and islands that are asked.
    fn epoch(&mut self, epoch: u64, rows: Vec<RequestInput>) -> (Vec<Output>, Vec<u32>) {
        // Saved and loaded each time, with what the topology tells again.
        let (mut told, mut refused, mut asked) = (Vec::new(), Vec::new(), Vec::new());
        let mut rows = rows;
        rows.sort();
        self.requests.epoch(epoch, &mut rows, &mut told);
        for row in told {
            match row {
                RequestOutput::Rejected(row) => refused.push(row),
                RequestOutput::Ask(island) => asked.push(island.0),
                RequestOutput::Out(row, change) => {
                    *self.out.entry((row.request, (row.breaches[0].equipment, row.breaches[0].id))).or_default() += change;
                }
                RequestOutput::Outage(island, row, change) => {
                    *self.held.entry((island.0, row.id, (row.equipment, row.equipment_id))).or_default() += change;
                }
            }
        }
        self.out.retain(|_, count| *count != 0);
        self.held.retain(|_, count| *count != 0);
        (refused, asked)
    }
}

#[test]
fn the_newest_row_of_a_request_counts_until_its_end_and_what_is_out_says_so() {
    let (line, unit, dead): (Place, Place, Place) = ((BRANCH, 7), (UNIT, 2), (BRANCH, 9));
    let row = |sequence, input: OutageRequest| RequestInput::Request(Sequenced { epoch: START, sequence, input: input.into() });
    let at = |event_ms: i64, row: OutageRequest| OutageRequest { event_ms: START as i64 + event_ms, ..row };
    let clock = |tick: bool| {
        let ticks = if tick { vec![Tick { timer: Timer::Estimate, event_ms: 0 }] } else { Vec::new() };
        RequestInput::Clock(Clock { worker: 0, ticks })
    };
    let topology = || {
        let known = [line, unit, dead].map(RequestInput::Known);
        known.into_iter().chain([line, unit].map(|place| RequestInput::Placed(place, IslandId(1), 1)))
    };
    let mut book = Book::default();
    let requests = [
        row(0, request(1, line)),
        row(1, request(1, unit)),
        row(2, request(2, dead)),
        row(3, request(3, (BRANCH, 99))),
        row(4, at(-5, request(1, line))),
    ];
    let (refused, asked) = book.epoch(START, topology().chain(requests).collect());
    let why = |row: &Output| match row {
        Output::Rejected(Rejected { sequence, kind, subject, reason, source, .. }) => {
            assert_eq!((*kind, *source), (Kind::OutageRequest as u8, SourceId(0)));
            (*sequence, *subject, *reason)
        }
        _ => panic!("{row:?}"),
    };
    assert_eq!(refused.iter().map(why).collect::<Vec<_>>(), [(3, 99, Reason::Unknown), (4, 7, Reason::Superseded)]);
    assert_eq!(asked, [1]);
    assert_eq!(book.held.keys().copied().collect::<Vec<_>>(), [(1, 1, line), (1, 1, unit)]);
    assert_eq!(book.out.keys().copied().collect::<Vec<_>>(), [(2, dead)]);

    assert_eq!(book.epoch(START + 1_000, vec![clock(false)]), (vec![], vec![]));
    assert_eq!(book.epoch(START + 5_000, vec![clock(true)]), (vec![], vec![1]), "at ticks, islands with requests");
    assert_eq!(book.epoch(START + 6_000, vec![RequestInput::Changed(IslandId(1)), RequestInput::Changed(IslandId(4))]), (vec![], vec![1]));

    // Resumed, with what the topology tells again.
    let saved = book.requests.save();
    book.requests = Requests::default();
    book.requests.load(&saved, &|_| true).expect("it was saved");
    assert_eq!(book.epoch(START + 6_000, topology().collect()), (vec![], vec![]));

    // The line opens: it is out, and the unit still in question; then it comes back.
    let opens = vec![RequestInput::Placed(line, IslandId(1), -1), RequestInput::Changed(IslandId(1))];
    assert_eq!(book.epoch(START + 7_000, opens), (vec![], vec![1]));
    assert_eq!((book.held.len(), book.out.keys().copied().collect::<Vec<_>>()), (1, vec![(1, line), (2, dead)]));
    assert_eq!(book.epoch(START + 8_000, vec![RequestInput::Placed(line, IslandId(4), 1)]), (vec![], vec![4]));
    assert_eq!(book.held.keys().copied().collect::<Vec<_>>(), [(1, 1, unit), (4, 1, line)]);

    // Taken back, and past.
    let back = OutageRequest { withdrawn: true, ..at(9_000, request(1, unit)) };
    assert_eq!(book.epoch(START + 9_000, vec![row(0, back)]), (vec![], vec![1]));
    assert_eq!(book.epoch(START + 9_500, vec![row(0, request(1, unit))]).0.len(), 1, "older than what takes it back");
    assert_eq!(book.held.keys().copied().collect::<Vec<_>>(), [(4, 1, line)]);
    assert_eq!(book.epoch(START + 7_200_000, vec![clock(false)]), (vec![], vec![4]));
    assert!(book.held.is_empty() && book.out.is_empty());
    let _ = Input::from(request(1, line));
}
