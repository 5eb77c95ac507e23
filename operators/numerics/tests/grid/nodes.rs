//! Networks of connectivity nodes against the networks of buses they stand for: each bus is taken apart into nodes, its
//! equipment spread over them, and closed switches put it together again. The judge is the case of the file.

use std::collections::BTreeMap;

use gridflow_inputs::ids::{BusId, SensorId, SwitchId};
use gridflow_inputs::network::{Network, NodeSwitch, SwitchKind};
use gridflow_numerics::case::{Case, CaseMeasurement, MeasurementKind, Nodes};
use gridflow_numerics::estimation::{self, Options, estimate};

use crate::support::published_network;

const NODES: u32 = 4;

/// Node `place` of a bus; the first has the bus's number.
fn node(bus: BusId, place: u32) -> BusId {
    BusId(bus.0 + 100_000 * (place % NODES))
}

/// The network with each bus as nodes in a row; `joined` tells which of the switches between them are closed.
fn apart(mut network: Network, joined: impl Fn(u32) -> bool) -> Network {
    let buses = network.buses.clone();
    for bus in &buses {
        for place in 1..NODES {
            network.buses.push(gridflow_inputs::network::Bus { id: node(bus.id, place), ..bus.clone() });
            let id = SwitchId(bus.id.0 * NODES + place);
            network.node_switches.push(NodeSwitch {
                id,
                valid_from_ms: 0,
                name: String::new(),
                kind: SwitchKind::Breaker,
                from: node(bus.id, place - 1),
                to: node(bus.id, place),
                normally_closed: joined(id.0),
            });
        }
    }
    // The strongest kind is the whole bus's: the reference sits at one node.
    network.branches.iter_mut().for_each(|row| (row.from, row.to) = (node(row.from, row.id.0), node(row.to, row.id.0 * 3 + 1)));
    network.generators.iter_mut().for_each(|row| row.bus = node(row.bus, row.id.0));
    network.loads.iter_mut().for_each(|row| row.bus = node(row.bus, row.id.0 + 1));
    network.shunts.iter_mut().for_each(|row| row.bus = node(row.bus, row.id.0 + 2));
    network
}

#[test]
fn buses_taken_apart_and_joined_by_switches_are_the_same_case() {
    for name in ["pglib_opf_case14_ieee", "pglib_opf_case118_ieee", "case1354pegase"] {
        let Some((base_mva, network)) = published_network(name) else { return };
        let whole = Case::new(base_mva, &network).unwrap();
        let mut joined = Case::of_nodes(base_mva, &apart(network, |_| true)).unwrap();
        assert_eq!(joined.nodes.merged().len(), whole.buses.len() * (NODES as usize - 1));
        for bus in &whole.buses {
            assert!((0..NODES).all(|place| joined.bus_index(node(bus.id, place)) == whole.bus_index(bus.id)), "{name}");
        }
        joined.nodes = Nodes::default();
        assert!(joined == whole, "{name}");
    }
}

#[test]
fn a_bus_whose_coupler_opens_is_two() {
    let Some((base_mva, network)) = published_network("pglib_opf_case14_ieee") else { return };
    let opened = 4 * NODES + 2;
    let case = Case::of_nodes(base_mva, &apart(network, |id| id != opened)).unwrap();
    assert_eq!(case.buses.len(), 15);
    let [here, there] = [case.bus_index(node(BusId(4), 1)), case.bus_index(node(BusId(4), 3))];
    assert!(here.is_some() && there.is_some() && here != there);
    assert_eq!(case.buses[there.unwrap()].id, node(BusId(4), 2), "the lowest of its nodes");
}

#[test]
fn nodes_of_two_base_voltages_are_no_bus() {
    let Some((base_mva, network)) = published_network("pglib_opf_case14_ieee") else { return };
    let mut network = apart(network, |_| true);
    let last = network.buses.len() - 1;
    network.buses[last].base_voltage.0 += 1_000_000;
    let error = Case::of_nodes(base_mva, &network).unwrap_err().to_string();
    assert!(error.contains("node switch 59") && error.contains("two base voltages"), "{error}");
}

/// A measurement at a node, numbered by its place.
fn taken(rows: &[(BusId, MeasurementKind, f64, f64)]) -> Vec<(BusId, CaseMeasurement)> {
    (0..)
        .zip(rows)
        .map(|(id, (at, kind, value, sigma))| (*at, CaseMeasurement { sensor: SensorId(id), kind: *kind, value: *value, sigma: *sigma }))
        .collect()
}

#[test]
fn injections_at_nodes_count_when_every_node_that_injects_is_metered() {
    let Some((base_mva, network)) = published_network("pglib_opf_case14_ieee") else { return };
    let case = Case::of_nodes(base_mva, &apart(network, |_| true)).unwrap();
    // At bus 2 a unit and a load hang on nodes of their own.
    let bus = case.bus_index(BusId(2)).unwrap();
    let unit = case.generators.iter().find(|unit| unit.bus == bus).unwrap().id.0;
    let load = case.loads.iter().find(|load| load.bus == bus).unwrap().id.0;
    let (fed, drawing) = (node(BusId(2), unit), node(BusId(2), load + 1));
    let idle = (0..NODES).map(|place| node(BusId(2), place)).find(|at| *at != fed && *at != drawing).unwrap();
    assert!(fed != drawing);
    let (p, q, v) =
        (MeasurementKind::ActiveInjection(bus), MeasurementKind::ReactiveInjection(bus), MeasurementKind::VoltageMagnitude(bus));
    let rows = taken(&[
        (fed, p, 0.4, 0.03),
        (idle, v, 1.04, 0.001),
        (drawing, p, -0.2, 0.05),
        (fed, p, 0.5, 0.04),
        (fed, q, 0.1, 0.01),
        (idle, p, 7.0, 1e-6),
    ]);
    let (pooled, part_of) = case.pooled(&rows);
    // The second meter of the feeding node has the greater deviation; one meter of reactive power is too few.
    assert_eq!(part_of, [Some(0), Some(1), Some(0), None, None, None]);
    assert_eq!(pooled.len(), 2);
    assert_eq!((pooled[0].kind, pooled[1].kind), (p, v));
    assert!((pooled[0].value - 0.2).abs() < 1e-15 && (pooled[0].sigma - 0.0034f64.sqrt()).abs() < 1e-15);
    let alone = Case::new(base_mva, &published_network("pglib_opf_case14_ieee").unwrap().1).unwrap();
    let (same, part_of) = alone.pooled(&rows);
    assert_eq!(same.len(), rows.len());
    assert!(part_of.into_iter().eq((0..rows.len()).map(Some)));
}

/// Measured node by node, the estimate is that of the bus-branch network measured at its buses with the sums.
#[test]
fn an_estimate_of_nodes_is_that_of_their_buses() {
    let Some((base_mva, network)) = published_network("pglib_opf_case118_ieee") else { return };
    let whole = Case::new(base_mva, &network).unwrap();
    let case = Case::of_nodes(base_mva, &apart(network, |_| true)).unwrap();
    let flow = gridflow_numerics::power_flow::solve(&whole, &Default::default(), &mut gridflow_numerics::power_flow::Cache::new()).unwrap();
    let mut rows = Vec::new();
    let mut sums: BTreeMap<MeasurementKind, (f64, f64)> = BTreeMap::new();
    for (bus, row) in whole.buses.iter().enumerate() {
        // Any node's voltage serves.
        rows.push((node(row.id, bus as u32), MeasurementKind::VoltageMagnitude(bus), flow.v[bus] + 1e-4 * (bus % 5) as f64, 0.002));
    }
    let unit_p = whole.generators.iter().zip(&flow.generator_p).map(|(unit, p)| (whole.buses[unit.bus].id, unit.bus, unit.id.0, *p));
    let load_p = whole.loads.iter().map(|load| (whole.buses[load.bus].id, load.bus, load.id.0 + 1, -load.p));
    let mut at_nodes: BTreeMap<(usize, BusId), f64> = BTreeMap::new();
    unit_p.chain(load_p).for_each(|(id, bus, place, p)| *at_nodes.entry((bus, node(id, place))).or_default() += p);
    for ((bus, at), p) in at_nodes {
        let p = p + 1e-3 * (bus % 3) as f64;
        rows.push((at, MeasurementKind::ActiveInjection(bus), p, 0.01));
        let sum = sums.entry(MeasurementKind::ActiveInjection(bus)).or_default();
        *sum = (sum.0 + p, sum.1 + 0.01 * 0.01);
    }
    for (branch, flows) in flow.flows.iter().enumerate() {
        rows.push((BusId(0), MeasurementKind::ActiveFlowFrom(branch), flows.p_from, 0.01));
        rows.push((BusId(0), MeasurementKind::ReactiveFlowFrom(branch), flows.q_from, 0.01));
    }
    let taken = taken(&rows);
    let (pooled, _) = case.pooled(&taken);
    let injection = |row: &&(BusId, CaseMeasurement)| matches!(row.1.kind, MeasurementKind::ActiveInjection(_));
    let mut judged: Vec<CaseMeasurement> = taken.iter().filter(|row| !injection(row)).map(|(_, row)| *row).collect();
    judged.extend(sums.into_iter().map(|(kind, (value, variance))| CaseMeasurement {
        sensor: SensorId(9_999),
        kind,
        value,
        sigma: variance.sqrt(),
    }));
    let solve =
        |case: &Case, rows: &[CaseMeasurement]| estimate(case, 68, rows, &Options::default(), &mut estimation::Cache::new()).unwrap();
    let (nodes, buses) = (solve(&case, &pooled), solve(&whole, &judged));
    assert!(pooled.len() == judged.len() && pooled.len() < taken.len());
    let apart = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(apart(&nodes.v, &buses.v) < 1e-9 && apart(&nodes.va, &buses.va) < 1e-9);
    assert!((nodes.objective / buses.objective - 1.0).abs() < 1e-9 && nodes.objective > 1.0);
}
