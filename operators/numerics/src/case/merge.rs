//! Closed node switches and branches without impedance: their ends are one bus.
//!
//! The merged bus has the lowest number of its buses and the strongest kind among them (reference before generator before
//! load), and must keep the voltage limits of all. Charging of such a branch becomes a shunt. What cannot be
//! one bus (other base voltages, a tap, a phase shift) is an error.

use gridflow_inputs::ids::{BranchId, BusId, ShuntId, SwitchId};
use gridflow_inputs::network::{Branch, Bus, BusKind, Network, Shunt};
use gridflow_inputs::units::{MilliVars, MilliWatts};
use std::collections::{BTreeMap, BTreeSet};

/// What joins two buses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joint {
    /// A branch without impedance.
    Branch(BranchId),
    /// A closed node switch.
    NodeSwitch(SwitchId),
}

impl std::fmt::Display for Joint {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Branch(id) => write!(out, "branch {id}"),
            Self::NodeSwitch(id) => write!(out, "node switch {id}"),
        }
    }
}

/// Why the ends of a closed node switch or of a branch without impedance are not one bus.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{joint} from bus {from} to bus {to} {reason}")]
pub struct MergeError {
    /// What joins them.
    pub joint: Joint,
    /// Its first end.
    pub from: BusId,
    /// Its other end.
    pub to: BusId,
    /// What keeps them apart.
    pub reason: &'static str,
}

/// Two buses that became one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergedBus {
    /// The bus that is no more.
    pub bus: BusId,
    /// The bus that it is a part of now.
    pub into: BusId,
}

pub(super) fn has_impedance(branch: &Branch) -> bool {
    branch.r_pu.get() != 0.0 || branch.x_pu.get() != 0.0
}

/// The network with the ends of each closed node switch and of each branch in service without impedance merged, and the
/// buses that this took, ascending. A node switch to a bus that is isolated or not there joins nothing.
///
/// # Errors
/// When such ends cannot be one bus.
pub fn merge(base_mva: f64, network: Network) -> Result<(Network, Vec<MergedBus>), MergeError> {
    let buses: BTreeMap<BusId, &Bus> = network.buses.iter().map(|bus| (bus.id, bus)).collect();
    let connected = |id: BusId| buses.get(&id).is_some_and(|bus| bus.kind != BusKind::Isolated);
    let mut parent: BTreeMap<BusId, BusId> = BTreeMap::new();
    let root = |parent: &BTreeMap<BusId, BusId>, mut bus: BusId| {
        while let Some(next) = parent.get(&bus) {
            bus = *next;
        }
        bus
    };
    let merges = |branch: &&Branch| branch.in_service && !has_impedance(branch) && connected(branch.from) && connected(branch.to);
    for switch in network.node_switches.iter().filter(|row| row.normally_closed && connected(row.from) && connected(row.to)) {
        if buses[&switch.from].base_voltage != buses[&switch.to].base_voltage {
            let reason = "joins two base voltages: nodes of one bus have one";
            return Err(MergeError { joint: Joint::NodeSwitch(switch.id), from: switch.from, to: switch.to, reason });
        }
        let (from, to) = (root(&parent, switch.from), root(&parent, switch.to));
        if from != to {
            parent.insert(from.max(to), from.min(to));
        }
    }
    for branch in network.branches.iter().filter(merges) {
        let refused = |reason| MergeError { joint: Joint::Branch(branch.id), from: branch.from, to: branch.to, reason };
        if buses[&branch.from].base_voltage != buses[&branch.to].base_voltage {
            return Err(refused("has no impedance and joins two base voltages: give it one"));
        }
        if branch.tap_ratio.get() != 1.0 || branch.shift_rad.get() != 0.0 {
            return Err(refused("has a tap or a phase shift and no impedance: give it one"));
        }
        let (from, to) = (root(&parent, branch.from), root(&parent, branch.to));
        if from != to {
            parent.insert(from.max(to), from.min(to));
        }
    }
    if parent.is_empty() {
        return Ok((network, vec![]));
    }
    let bridged = |branch: &&Branch| branch.in_service && has_impedance(branch) && root(&parent, branch.from) == root(&parent, branch.to);
    if let Some(branch) =
        network.branches.iter().filter(bridged).find(|branch| branch.tap_ratio.get() != 1.0 || branch.shift_rad.get() != 0.0)
    {
        let reason =
            "has a tap or a phase shift and is bridged by closed switches or branches without impedance: take one of them out of service";
        return Err(MergeError { joint: Joint::Branch(branch.id), from: branch.from, to: branch.to, reason });
    }
    let merged = Vec::from_iter(parent.keys().map(|bus| MergedBus { bus: *bus, into: root(&parent, *bus) }));
    Ok((renumbered(base_mva, network, &merged), merged))
}

fn renumbered(base_mva: f64, mut network: Network, merged: &[MergedBus]) -> Network {
    let into = |bus: BusId| merged.binary_search_by_key(&bus, |row| row.bus).map_or(bus, |found| merged[found].into);
    let strength = |kind: BusKind| [BusKind::Reference, BusKind::Generator, BusKind::Load].iter().position(|other| *other == kind);
    let mut buses: BTreeMap<BusId, Bus> = BTreeMap::new();
    network.buses.sort_by_key(|bus| bus.id);
    for bus in network.buses {
        let whole = buses.entry(into(bus.id)).or_insert_with(|| bus.clone());
        whole.v_min_pu = whole.v_min_pu.max(bus.v_min_pu);
        whole.v_max_pu = whole.v_max_pu.min(bus.v_max_pu);
        if strength(bus.kind) < strength(whole.kind) {
            (whole.kind, whole.v_start_pu, whole.angle_start_rad) = (bus.kind, bus.v_start_pu, bus.angle_start_rad);
        }
    }
    network.buses = buses.into_values().collect();
    let mut next_shunt = network.shunts.iter().map(|shunt| shunt.id.0).max().unwrap_or(0);
    for branch in &mut network.branches {
        (branch.from, branch.to) = (into(branch.from), into(branch.to));
        // An outright loop with impedance carries nothing but its charging either.
        if branch.in_service && branch.from == branch.to && branch.b_pu.get() != 0.0 {
            next_shunt = next_shunt.saturating_add(1);
            let q = MilliVars::from_mvar(branch.b_pu.get() * base_mva).unwrap_or(MilliVars(0));
            let row = Shunt { id: ShuntId(next_shunt), valid_from_ms: 0, bus: branch.from, load_p: MilliWatts(0), q, in_service: true };
            network.shunts.push(row);
        }
    }
    network.branches.retain(|branch| branch.from != branch.to);
    let left: BTreeSet<BranchId> = network.branches.iter().map(|branch| branch.id).collect();
    network.transformers.retain(|row| left.contains(&row.branch));
    network.generators.iter_mut().for_each(|row| row.bus = into(row.bus));
    network.loads.iter_mut().for_each(|row| row.bus = into(row.bus));
    network.shunts.iter_mut().for_each(|row| row.bus = into(row.bus));
    network.storages.iter_mut().for_each(|row| row.bus = into(row.bus));
    network.dc_lines.iter_mut().for_each(|row| (row.from, row.to) = (into(row.from), into(row.to)));
    network.dc_lines.retain(|row| row.from != row.to);
    network.node_switches.clear();
    for bus in network.transformers.iter_mut().flat_map(|row| &mut row.controlled_bus) {
        *bus = into(*bus);
    }
    for bus in network.shunt_banks.iter_mut().flat_map(|row| &mut row.controlled_bus) {
        *bus = into(*bus);
    }
    network
}
