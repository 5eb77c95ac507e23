//! Network files by path: a MATPOWER `.m` file, a directory of tables by kind or one in the RTS-GMLC layout.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use gridflow_inputs::ids::{BranchId, ShuntId, SwitchId};
use gridflow_inputs::network::{Branch, BusKind, EquipmentKind, Network, NodeSwitch, Shunt, SwitchKind};
use gridflow_inputs::network_file::NetworkFile;
use gridflow_inputs::table::read_text;
use gridflow_inputs::units::{MilliVars, MilliWatts};
use gridflow_inputs::{matpower, network_tables, rts_gmlc};
use gridflow_numerics::case::{Case, CaseError, MergeError, MergedBus, merge};

/// Why a network cannot be read; the message names file, line and column where there are any.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The path is neither.
    #[error(
        "{}: expected a MATPOWER .m file, a directory with tables by kind (bus.csv, branch.csv, generator.csv …), or one with the RTS-GMLC files bus.csv, branch.csv and gen.csv",
        path.display()
    )]
    Unknown {
        /// The path.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is wrong.
    #[error(transparent)]
    Parse(#[from] gridflow_inputs::table::ParseError),
    /// A branch without impedance that several switches operate: one node switch cannot stand for them.
    #[error("{}: branch {branch} has no impedance (r = x = 0) and {switches} switches: give it an impedance, or one switch", path.display())]
    SeveralSwitches {
        /// The path.
        path: PathBuf,
        /// Row of the branch table.
        branch: BranchId,
        /// How many.
        switches: usize,
    },
    /// What joins two buses, whose ends cannot be one bus.
    #[error("{}: {source}", path.display())]
    Merge {
        /// The path.
        path: PathBuf,
        /// Why.
        source: MergeError,
    },
    /// The rows make no sense together.
    #[error("{}: {source}", path.display())]
    Case {
        /// The path.
        path: PathBuf,
        /// Why.
        source: CaseError,
    },
}

/// A network file ready for a study: branches without impedance are gone, their ends one bus.
#[derive(Clone, Debug)]
pub struct Study {
    /// The file as merged.
    pub file: NetworkFile,
    /// Its network on dense indices.
    pub case: Case,
    /// Buses that became a part of another.
    pub merged: Vec<MergedBus>,
}

/// Reads the network at `path` for a study, with its switches in their normal state.
///
/// # Errors
/// When it cannot be read, is wrong, or is no case.
pub fn study(path: &Path) -> Result<Study, NetworkError> {
    let (file, merged) = merged(path, normal(path)?)?;
    let case = Case::new(file.base_power.mva(), &file.network).map_err(|source| NetworkError::Case { path: path.to_owned(), source })?;
    Ok(Study { file, case, merged })
}

/// Reads the network at `path` as it stands, with what its switches have out in their normal state out of service. Buses may be nodes.
///
/// # Errors
/// When it cannot be read or is wrong.
pub fn normal(path: &Path) -> Result<NetworkFile, NetworkError> {
    let mut file = read_file(path)?;
    switch_normally(&mut file.network);
    Ok(file)
}

/// Reads the network at `path` to be recorded. Buses may be nodes, and all keep their numbers: a branch in service without impedance becomes a node
/// switch between them (with the number and state of the switch that operates it, else closed), its charging a shunt. One out of service
/// stays the branch that it is: it joins nothing, and a later row that takes it into service makes its ends one bus.
///
/// # Errors
/// When it cannot be read, is wrong, or the ends of a branch without impedance cannot be one bus: by themselves, or for what lies beside it in the
/// normal state of the switches.
pub fn read(path: &Path) -> Result<NetworkFile, NetworkError> {
    of_nodes(path, read_file(path)?)
}

fn of_nodes(path: &Path, mut file: NetworkFile) -> Result<NetworkFile, NetworkError> {
    let joins = |branch: &&Branch| branch.in_service && branch.r_pu.get() == 0.0 && branch.x_pu.get() == 0.0;
    let joins: Vec<Branch> = file.network.branches.iter().filter(joins).cloned().collect();
    if joins.is_empty() {
        return Ok(file);
    }
    let base_mva = file.base_power.mva();
    let can_merge = |network| merge(base_mva, network).map_err(|source| NetworkError::Merge { path: path.to_owned(), source });
    let mut normal = file.network.clone();
    switch_normally(&mut normal);
    can_merge(normal)?;
    for branch in &joins {
        // What is open now may close.
        let ends = file.network.buses.iter().filter(|bus| [branch.from, branch.to].contains(&bus.id)).cloned();
        can_merge(Network { buses: ends.collect(), branches: vec![branch.clone()], ..Network::default() })?;
        let switches = file.network.switches.iter().filter(|row| (row.equipment, row.equipment_id) == (EquipmentKind::Branch, branch.id.0));
        let switches = switches.count();
        if switches > 1 {
            return Err(NetworkError::SeveralSwitches { path: path.to_owned(), branch: branch.id, switches });
        }
        join_nodes(&mut file.network, base_mva, branch);
    }
    Ok(file)
}

/// Puts a node switch in the place of a branch.
fn join_nodes(network: &mut Network, base_mva: f64, branch: &Branch) {
    let operates = |row: &gridflow_inputs::network::Switch| (row.equipment, row.equipment_id) == (EquipmentKind::Branch, branch.id.0);
    let switch = network.switches.iter().position(operates).map(|place| network.switches.remove(place));
    let ids = network.switches.iter().map(|row| row.id).chain(network.node_switches.iter().map(|row| row.id));
    let next = || SwitchId(ids.map(|id| id.0).max().unwrap_or(0).saturating_add(1));
    let row = match switch {
        Some(row) => NodeSwitch {
            id: row.id,
            valid_from_ms: branch.valid_from_ms,
            name: row.name,
            kind: row.kind,
            from: branch.from,
            to: branch.to,
            normally_closed: row.normally_closed,
        },
        None => NodeSwitch {
            id: next(),
            valid_from_ms: branch.valid_from_ms,
            name: format!("branch {}", branch.id),
            kind: SwitchKind::Disconnector,
            from: branch.from,
            to: branch.to,
            normally_closed: true,
        },
    };
    let normally_closed = row.normally_closed;
    network.node_switches.push(row);
    // While the switch is open the branch has no charging; no switch operates a shunt.
    if branch.b_pu.get() != 0.0 && normally_closed {
        let id = ShuntId(network.shunts.iter().map(|row| row.id.0).max().unwrap_or(0).saturating_add(1));
        let q = MilliVars::from_mvar(branch.b_pu.get() * base_mva).unwrap_or(MilliVars(0));
        let valid_from_ms = branch.valid_from_ms;
        network.shunts.push(Shunt { id, valid_from_ms, bus: branch.from, load_p: MilliWatts(0), q, in_service: true });
    }
    network.branches.retain(|row| row.id != branch.id);
    network.transformers.retain(|row| row.branch != branch.id);
}

/// Reads the network at `path` as one of buses: nodes that are joined by switches in their normal state, or by branches without
/// impedance, are one. Tells which became a part of another.
///
/// # Errors
/// As [`read`].
pub fn read_merged(path: &Path) -> Result<(NetworkFile, Vec<MergedBus>), NetworkError> {
    merged_in_service(path, read(path)?)
}

/// As [`merged`], of a file whose switches move later.
fn merged_in_service(path: &Path, mut file: NetworkFile) -> Result<(NetworkFile, Vec<MergedBus>), NetworkError> {
    // A node that a switch has out joins nothing, and comes back as what it is when the switch closes.
    let out: Vec<_> = file.network.switches.iter().filter(|row| row.equipment == EquipmentKind::Bus && !row.normally_closed).collect();
    let out: BTreeSet<u32> = out.into_iter().map(|row| row.equipment_id).collect();
    let mut kinds = Vec::new();
    for bus in file.network.buses.iter_mut().filter(|bus| out.contains(&bus.id.0)) {
        kinds.push((bus.id, std::mem::replace(&mut bus.kind, BusKind::Isolated)));
    }
    let (mut file, merged) = merged(path, file)?;
    for (id, kind) in kinds {
        file.network.buses.iter_mut().filter(|bus| bus.id == id).for_each(|bus| bus.kind = kind);
    }
    Ok((file, merged))
}

fn merged(path: &Path, mut file: NetworkFile) -> Result<(NetworkFile, Vec<MergedBus>), NetworkError> {
    let (network, merged) = merge(file.base_power.mva(), std::mem::take(&mut file.network))
        .map_err(|source| NetworkError::Merge { path: path.to_owned(), source })?;
    file.network = network;
    let network = &mut file.network;
    // Those that are open join nothing; and what operated a bus or branch that is no more has nothing to operate.
    network.node_switches.clear();
    let branches: BTreeSet<u32> = network.branches.iter().map(|row| row.id.0).collect();
    let links: BTreeSet<u32> = network.dc_lines.iter().map(|row| row.id.0).collect();
    network.switches.retain(|row| match row.equipment {
        EquipmentKind::Bus => !merged.iter().any(|bus| bus.bus.0 == row.equipment_id),
        EquipmentKind::Branch => branches.contains(&row.equipment_id),
        EquipmentKind::DcLine => links.contains(&row.equipment_id),
        _ => true,
    });
    Ok((file, merged))
}

/// Takes out of service what a switch that is normally open has out.
pub fn switch_normally(network: &mut Network) {
    let open: Vec<_> = network.switches.iter().filter(|row| !row.normally_closed).map(|row| (row.equipment, row.equipment_id)).collect();
    for (equipment, id) in open {
        match equipment {
            EquipmentKind::Bus => network.buses.iter_mut().filter(|row| row.id.0 == id).for_each(|row| row.kind = BusKind::Isolated),
            EquipmentKind::Branch => network.branches.iter_mut().filter(|row| row.id.0 == id).for_each(|row| row.in_service = false),
            EquipmentKind::Generator => network.generators.iter_mut().filter(|row| row.id.0 == id).for_each(|row| row.in_service = false),
            EquipmentKind::Load => network.loads.iter_mut().filter(|row| row.id.0 == id).for_each(|row| row.in_service = false),
            EquipmentKind::Shunt => network.shunts.iter_mut().filter(|row| row.id.0 == id).for_each(|row| row.in_service = false),
            EquipmentKind::Storage => network.storages.iter_mut().filter(|row| row.id.0 == id).for_each(|row| row.in_service = false),
            EquipmentKind::DcLine => network.dc_lines.iter_mut().filter(|row| row.id.0 == id).for_each(|row| row.in_service = false),
            EquipmentKind::Zone | EquipmentKind::Feeder => {}
        }
    }
}

fn read_file(path: &Path) -> Result<NetworkFile, NetworkError> {
    if path.is_dir() {
        if !path.join("bus.csv").exists() {
            return Err(NetworkError::Unknown { path: path.to_owned() });
        }
        let first = read_text(&path.join("bus.csv"))?.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned();
        return Ok(if network_tables::is_header(&first) { network_tables::read(path)? } else { rts_gmlc::read(path)? });
    }
    if path.extension().is_none_or(|extension| extension != "m") && path.exists() {
        return Err(NetworkError::Unknown { path: path.to_owned() });
    }
    let text = std::fs::read_to_string(path).map_err(|source| NetworkError::Io { path: path.to_owned(), source })?;
    Ok(matpower::read(&path.display().to_string(), &text)?)
}

#[cfg(test)]
mod tests {
    use gridflow_inputs::network::{Side, Switch};

    use super::*;

    /// The IEEE network with a switch that operates a branch without impedance beside the transformer between buses 4 and 7.
    fn bridged(normally_closed: bool) -> NetworkFile {
        let mut file = matpower::read("ieee14.m", matpower::IEEE14).expect("it is whole");
        let network = &mut file.network;
        let transformer = network.branches.iter().find(|row| (row.from.0, row.to.0) == (4, 7)).expect("it is there").clone();
        assert!(transformer.tap_ratio.get() != 1.0);
        let base_voltage = network.buses.iter().find(|bus| bus.id.0 == 4).expect("it is there").base_voltage;
        network.buses.iter_mut().filter(|bus| bus.id.0 == 7).for_each(|bus| bus.base_voltage = base_voltage);
        let other = network.branches.iter().find(|row| row.tap_ratio.get() == 1.0).expect("it has lines");
        let (id, none) = (BranchId(99), Default::default());
        network.branches.push(Branch {
            id,
            from: transformer.from,
            to: transformer.to,
            r_pu: none,
            x_pu: none,
            b_pu: none,
            ..other.clone()
        });
        network.switches.push(Switch {
            id: SwitchId(902),
            valid_from_ms: 0,
            name: String::new(),
            kind: SwitchKind::Breaker,
            equipment: EquipmentKind::Branch,
            equipment_id: 99,
            side: Side::None,
            normally_closed,
        });
        file
    }

    #[test]
    fn a_bypass_of_a_transformer_is_refused_if_it_is_normally_closed_and_an_impossible_one_in_any_case() {
        let of_nodes = |file| of_nodes(Path::new("ieee14"), file);
        let file = of_nodes(bridged(false)).expect("as it is for a study");
        let switch = file.network.node_switches.iter().find(|row| row.id.0 == 902).expect("the bypass");
        assert!(!switch.normally_closed && file.network.branches.iter().all(|row| row.id.0 != 99));
        let named = |file, branch| match of_nodes(file) {
            Err(NetworkError::Merge { source, .. }) => assert_eq!(source.joint, gridflow_numerics::case::Joint::Branch(branch), "{source}"),
            other => panic!("{other:?}"),
        };
        let transformer = bridged(true).network.branches.iter().find(|row| (row.from.0, row.to.0) == (4, 7)).expect("it is there").id;
        named(bridged(true), transformer);
        // Once closed it would join two base voltages.
        let mut two = bridged(false);
        two.network.buses.iter_mut().filter(|bus| bus.id.0 == 7).for_each(|bus| bus.base_voltage.0 += 1_000_000);
        named(two, BranchId(99));
    }

    #[test]
    fn a_branch_without_impedance_out_of_service_stays_one() {
        let mut file = bridged(true);
        let bypass = file.network.branches.iter_mut().find(|row| row.id.0 == 99).expect("the bypass");
        bypass.in_service = false;
        let bypass = bypass.clone();
        let read = of_nodes(Path::new("ieee14"), file).expect("it joins nothing");
        assert!(read.network.node_switches.is_empty() && read.network.branches.contains(&bypass));
    }

    #[test]
    fn a_node_that_a_switch_has_out_is_joined_to_nothing_and_keeps_its_kind() {
        let ieee = matpower::read("ieee14.m", matpower::IEEE14).expect("it is whole");
        for out in [13, 14] {
            let mut network = ieee.network.clone();
            let bus = |id: u32| ieee.network.buses.iter().find(|bus| bus.id.0 == id).expect("it is one").id;
            network.node_switches.push(NodeSwitch {
                id: SwitchId(901),
                valid_from_ms: 0,
                name: String::new(),
                kind: SwitchKind::Breaker,
                from: bus(13),
                to: bus(14),
                normally_closed: true,
            });
            network.switches.push(Switch {
                id: SwitchId(902),
                valid_from_ms: 0,
                name: String::new(),
                kind: SwitchKind::Breaker,
                equipment: EquipmentKind::Bus,
                equipment_id: out,
                side: Side::None,
                normally_closed: false,
            });
            let file = NetworkFile { network, ..ieee.clone() };
            let (file, merged) = merged_in_service(Path::new("ieee14"), file).expect("it can be merged");
            assert_eq!(merged, []);
            let kind = |network: &Network| network.buses.iter().find(|bus| bus.id.0 == out).map(|bus| bus.kind);
            assert_eq!(kind(&file.network), kind(&ieee.network));
            assert!(file.network.switches.iter().any(|row| row.id.0 == 902), "what has it out can bring it back");
        }
    }
}
