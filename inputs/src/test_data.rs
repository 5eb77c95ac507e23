//! Where tests find the public data sets, which are not part of the repository.

use std::path::PathBuf;

/// A path below `GRIDFLOW_DATA`, by default `../shared/data` beside the workspace; `None`, said aloud, when it is not there.
pub(crate) fn find(part: &str) -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");
    let path = std::env::var_os("GRIDFLOW_DATA").map_or_else(|| PathBuf::from(beside), PathBuf::from).join(part);
    if !path.exists() {
        eprintln!("skipped: {} is not here", path.display());
        return None;
    }
    Some(path)
}
