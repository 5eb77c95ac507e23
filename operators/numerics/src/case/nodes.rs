//! Connectivity nodes of a case: which of them closed node switches, and branches without impedance, made one bus, and what
//! injection meters at them are worth.
//!
//! Injections can be metered node by node, and only their sum is one of the bus. So meters count only when every node of
//! the bus at which something injects has one: then as their sum, with the sum of their variances.

use std::collections::BTreeMap;

use gridflow_inputs::ids::BusId;
use gridflow_inputs::network::Network;

use super::merge::{MergedBus, has_impedance, merge};
use super::{Case, CaseError, CaseMeasurement, MeasurementKind};

/// Nodes of the buses that are more than one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Nodes {
    /// Nodes that are part of another's bus, ascending.
    merged: Vec<MergedBus>,
    /// For each bus of several nodes those at which something other than branches and shunts is connected, ascending.
    injecting: BTreeMap<BusId, Vec<BusId>>,
}

impl Nodes {
    /// Nodes that are part of another's bus, ascending.
    #[must_use]
    pub fn merged(&self) -> &[MergedBus] {
        &self.merged
    }

    /// The bus of a node.
    #[must_use]
    pub fn bus(&self, node: BusId) -> BusId {
        self.merged.binary_search_by_key(&node, |row| row.bus).map_or(node, |found| self.merged[found].into)
    }

    fn new(network: &Network, merged: Vec<MergedBus>) -> Self {
        let mut nodes = Self { injecting: merged.iter().map(|row| (row.into, Vec::new())).collect(), merged };
        let units = network.generators.iter().filter(|row| row.in_service).map(|row| row.bus);
        let loads = network.loads.iter().filter(|row| row.in_service).map(|row| row.bus);
        let storages = network.storages.iter().filter(|row| row.in_service).map(|row| row.bus);
        let links = network.dc_lines.iter().filter(|row| row.in_service).flat_map(|row| [row.from, row.to]);
        for node in units.chain(loads).chain(storages).chain(links) {
            let bus = nodes.bus(node);
            if let Some(here) = nodes.injecting.get_mut(&bus) {
                here.push(node);
            }
        }
        for here in nodes.injecting.values_mut() {
            here.sort_unstable();
            here.dedup();
        }
        nodes
    }
}

impl Case {
    /// The case of a network in which buses may be nodes: those joined by closed node switches (`normally_closed` tells, as
    /// network rows stand) or by branches without impedance are one bus. Numbers of nodes find their bus.
    ///
    /// # Errors
    /// When what is joined cannot be one bus, or the rest makes no sense; see [`CaseError`].
    pub fn of_nodes(base_mva: f64, network: &Network) -> Result<Self, CaseError> {
        let joins = network.node_switches.iter().any(|row| row.normally_closed);
        if !joins && network.branches.iter().filter(|row| row.in_service).all(has_impedance) {
            return Self::new(base_mva, network);
        }
        let (whole, merged) = merge(base_mva, network.clone())?;
        Ok(Self { nodes: Nodes::new(network, merged), ..Self::new(base_mva, &whole)? })
    }

    /// Measurements taken at nodes, each with its node (of a branch, whatever): those of injections at one of several nodes of
    /// a bus become one, or none. Tells for each which measurement it is part of.
    #[must_use]
    pub fn pooled(&self, taken: &[(BusId, CaseMeasurement)]) -> (Vec<CaseMeasurement>, Vec<Option<usize>>) {
        // Of several meters at a node the one with the least deviation, of equal ones the first.
        let mut meters: BTreeMap<MeasurementKind, BTreeMap<BusId, usize>> = BTreeMap::new();
        for (place, (node, row)) in taken.iter().enumerate() {
            if let Some(nodes) = self.injecting_nodes(row.kind) {
                let meters = meters.entry(row.kind).or_default();
                if nodes.binary_search(node).is_ok() && meters.get(node).is_none_or(|best| row.sigma < taken[*best].1.sigma) {
                    meters.insert(*node, place);
                }
            }
        }
        let (mut rows, mut part_of): (Vec<CaseMeasurement>, _) = (Vec::with_capacity(taken.len()), vec![None; taken.len()]);
        for (place, (_, row)) in taken.iter().enumerate() {
            let Some(nodes) = self.injecting_nodes(row.kind) else {
                part_of[place] = Some(rows.len());
                rows.push(*row);
                continue;
            };
            let Some(meters) = meters.remove(&row.kind).filter(|meters| !nodes.is_empty() && meters.len() == nodes.len()) else {
                continue;
            };
            let at = || meters.values().map(|place| &taken[*place].1);
            let variance: f64 = at().map(|row| row.sigma * row.sigma).sum();
            let sensor = at().map(|row| row.sensor).min().unwrap_or(row.sensor);
            meters.values().for_each(|place| part_of[*place] = Some(rows.len()));
            rows.push(CaseMeasurement { sensor, kind: row.kind, value: at().map(|row| row.value).sum(), sigma: variance.sqrt() });
        }
        (rows, part_of)
    }

    /// Of an injection at a bus of several nodes those at which something injects.
    fn injecting_nodes(&self, kind: MeasurementKind) -> Option<&[BusId]> {
        let (MeasurementKind::ActiveInjection(bus) | MeasurementKind::ReactiveInjection(bus)) = kind else { return None };
        self.nodes.injecting.get(&self.buses[bus].id).map(Vec::as_slice)
    }
}
