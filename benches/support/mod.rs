//! Networks the benches measure on: the demo's, and published ones where the data sets are.

#![allow(dead_code, clippy::print_stdout, reason = "each bench uses its part, and says what it leaves out")]

pub mod machine;
pub mod w1;

use gridflow_inputs::network_file::NetworkFile;
use gridflow_inputs::{matpower, rts_gmlc};
use gridflow_numerics::case::Case;
use std::fmt;
use std::path::{Path, PathBuf};

/// A network by its name.
#[derive(Clone, Debug)]
pub struct Named {
    /// Its name.
    pub name: &'static str,
    /// The network.
    pub case: Case,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} buses)", self.name, self.case.buses.len())
    }
}

/// A part of the data directory (`GRIDFLOW_DATA`, by default `../shared/data`), if it is there; says so otherwise.
pub fn data(part: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let path = std::env::var_os("GRIDFLOW_DATA").map_or(beside, PathBuf::from).join(part);
    if !path.exists() {
        println!("skipped: {} is not here", path.display());
        return None;
    }
    Some(path)
}

fn named(name: &'static str, file: &NetworkFile) -> Named {
    Named { name, case: Case::new(file.base_power.mva(), &file.network).expect("a network that was read makes sense") }
}

/// The demo's network.
pub fn demo() -> Named {
    named("demo", &gridflow::demo::network().expect("the embedded network is whole"))
}

/// The demo's network, then those of these MATPOWER files that are there.
pub fn demo_and(names: &[&'static str]) -> Vec<Named> {
    let published = names.iter().filter_map(|name| {
        let text = std::fs::read_to_string(data(&format!("matpower/{name}.m"))?).expect("the file can be read");
        Some(named(name, &matpower::read(name, &text).expect("a published file can be read")))
    });
    std::iter::once(demo()).chain(published).collect()
}

/// The RTS-GMLC network, if it is there.
pub fn rts() -> Option<Named> {
    let tables = data("rts-gmlc/source")?;
    Some(named("RTS-GMLC", &rts_gmlc::read(&tables).expect("the published tables can be read")))
}
