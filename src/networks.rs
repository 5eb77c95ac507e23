//! Network files by path: a MATPOWER `.m` file or a directory in the RTS-GMLC layout.

use std::path::{Path, PathBuf};

use gridflow_inputs::network_file::NetworkFile;
use gridflow_inputs::{matpower, rts_gmlc};

/// Why a network cannot be read; the message names file, line and column where there are any.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The path is neither.
    #[error("{}: expected a MATPOWER .m file, or a directory with the RTS-GMLC files bus.csv, branch.csv and gen.csv", path.display())]
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
}

/// Reads the network at `path`.
///
/// # Errors
/// When it cannot be read or is wrong.
pub fn read(path: &Path) -> Result<NetworkFile, NetworkError> {
    if path.is_dir() {
        if !path.join("bus.csv").exists() {
            return Err(NetworkError::Unknown { path: path.to_owned() });
        }
        return Ok(rts_gmlc::read(path)?);
    }
    if path.extension().is_none_or(|extension| extension != "m") && path.exists() {
        return Err(NetworkError::Unknown { path: path.to_owned() });
    }
    let text = std::fs::read_to_string(path).map_err(|source| NetworkError::Io { path: path.to_owned(), source })?;
    Ok(matpower::read(&path.display().to_string(), &text)?)
}
