//! Network files by path: a MATPOWER `.m` file, a directory of tables by kind or one in the RTS-GMLC layout.

use std::path::{Path, PathBuf};

use gridflow_inputs::ids::BranchId;
use gridflow_inputs::network::{BusKind, EquipmentKind, Network};
use gridflow_inputs::network_file::NetworkFile;
use gridflow_inputs::table::read_text;
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
    /// A branch without impedance, where buses keep their numbers and none can be merged with another.
    #[error("{}: branch {branch} has no impedance (r = x = 0): give it one, or merge its two buses", path.display())]
    ZeroImpedance {
        /// The path.
        path: PathBuf,
        /// Row of the branch table.
        branch: BranchId,
    },
    /// A network of nodes, for a command that takes networks of buses.
    #[error(
        "{}: this command takes networks of buses, and here node switches join them: let it be a network of buses, or record it (gridflow import) and replay it",
        path.display()
    )]
    Nodes {
        /// The path.
        path: PathBuf,
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
    let mut file = read_file(path)?;
    switch_normally(&mut file.network);
    let (network, merged) = merge(file.base_power.mva(), std::mem::take(&mut file.network))
        .map_err(|source| NetworkError::Merge { path: path.to_owned(), source })?;
    file.network = network;
    let case = Case::new(file.base_power.mva(), &file.network).map_err(|source| NetworkError::Case { path: path.to_owned(), source })?;
    Ok(Study { file, case, merged })
}

/// Reads the network at `path` to be recorded; each of its branches has an impedance.
///
/// # Errors
/// When it cannot be read or is wrong.
pub fn read(path: &Path) -> Result<NetworkFile, NetworkError> {
    let file = read_file(path)?;
    let bare = |branch: &&gridflow_inputs::network::Branch| branch.r_pu.get() == 0.0 && branch.x_pu.get() == 0.0;
    match file.network.branches.iter().find(bare) {
        Some(branch) => Err(NetworkError::ZeroImpedance { path: path.to_owned(), branch: branch.id }),
        None => Ok(file),
    }
}

/// Reads the network at `path` where buses are to keep their numbers.
///
/// # Errors
/// As [`read`], and when it is one of nodes.
pub fn read_buses(path: &Path) -> Result<NetworkFile, NetworkError> {
    let file = read(path)?;
    if file.network.node_switches.is_empty() { Ok(file) } else { Err(NetworkError::Nodes { path: path.to_owned() }) }
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
