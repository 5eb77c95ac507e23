//! Contingency analysis outside of the method: lists of outages from files; and blocks of them over threads, results in the
//! order given, so that the number of threads changes no byte.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use gridflow_inputs::Input;
use gridflow_inputs::ids::{BranchId, GeneratorId};
use gridflow_inputs::input::ContingencyElement;
use gridflow_inputs::network::{EquipmentKind, Network};
use gridflow_numerics::case::Case;
use gridflow_numerics::contingency::{Contingency, Element, Outcome};

/// Contingencies a thread takes at a time.
const BLOCK: usize = 256;

/// The outcomes of `contingencies` by `solve`, which must give the same for a contingency in any company, on so many threads.
/// `done` hears how many more are done.
pub fn over_threads(
    contingencies: &[Contingency],
    threads: usize,
    solve: impl Fn(&[Contingency]) -> Vec<Outcome> + Sync,
    done: impl Fn(usize) + Sync,
) -> Vec<Outcome> {
    let blocks = Vec::from_iter(contingencies.chunks(BLOCK));
    let next = AtomicUsize::new(0);
    let work = || {
        let mut solved = Vec::new();
        loop {
            let block = next.fetch_add(1, Ordering::Relaxed);
            let Some(contingencies) = blocks.get(block) else { return solved };
            solved.push((block, solve(contingencies)));
            done(contingencies.len());
        }
    };
    let mut parts = if threads <= 1 {
        work()
    } else {
        std::thread::scope(|scope| {
            let workers = Vec::from_iter((0..threads.min(blocks.len().max(1))).map(|_| scope.spawn(work)));
            workers.into_iter().flat_map(|worker| worker.join().expect("a panic ends the process")).collect()
        })
    };
    parts.sort_by_key(|part: &(usize, Vec<Outcome>)| part.0);
    parts.into_iter().flat_map(|part| part.1).collect()
}

/// Why a list of outages cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is no outage.
    #[error("{}, line {line}, field {field}: {found:?} is {problem}; write numbers of branches in service, or units as 'unit 3', separated by commas", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Field, from 1.
        field: usize,
        /// What stands there.
        found: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// Reads outages from a file: a line for each, what fails together separated by commas: branches (1-based rows of the branch table),
/// or units as `unit 3`; empty lines and those that begin with `#` are left out.
///
/// # Errors
/// When the file cannot be read, or names what is not in service.
pub fn read_list(path: &Path, case: &Case) -> Result<Vec<Contingency>, ListError> {
    read(path, |place| match place {
        (EquipmentKind::Generator, id) => case.generator_index(GeneratorId(id)).map(Element::Generator),
        (_, id) => case.branch_index(BranchId(id)).map(Element::Branch),
    })
}

/// The same as rows of a log, contingencies numbered from 1 up.
///
/// # Errors
/// When the file cannot be read, or names what the network does not have in service.
pub fn read_elements(path: &Path, network: &Network) -> Result<Vec<Input>, ListError> {
    let units: BTreeSet<u32> = network.generators.iter().filter(|unit| unit.in_service).map(|unit| unit.id.0).collect();
    let branches: BTreeSet<u32> = network.branches.iter().filter(|branch| branch.in_service).map(|branch| branch.id.0).collect();
    let known = |(kind, id): (EquipmentKind, u32)| if kind == EquipmentKind::Generator { &units } else { &branches }.contains(&id);
    let list = read(path, |place| known(place).then_some(place))?;
    let rows = list.into_iter().zip(1..).flat_map(|(places, id)| {
        places.into_iter().map(move |(equipment, equipment_id)| {
            Input::from(ContingencyElement { id, event_ms: 0, equipment, equipment_id, withdrawn: false })
        })
    });
    Ok(rows.collect())
}

fn read<T: PartialEq>(path: &Path, find: impl Fn((EquipmentKind, u32)) -> Option<T>) -> Result<Vec<Vec<T>>, ListError> {
    let text = std::fs::read_to_string(path).map_err(|source| ListError::Io { path: path.to_owned(), source })?;
    let mut list = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#')) {
        let mut contingency = Vec::new();
        for (place, field) in line.split(',').enumerate() {
            let refuse = |problem| ListError::Line {
                path: path.to_owned(),
                line: number + 1,
                field: place + 1,
                found: field.trim().to_owned(),
                problem,
            };
            let (kind, id, no_number, not_there) = match field.trim().strip_prefix("unit ") {
                Some(id) => (EquipmentKind::Generator, id, "no number of a unit", "no unit in service"),
                None => (EquipmentKind::Branch, field, "no number of a branch", "no branch in service"),
            };
            let id = id.trim().parse().map_err(|_| refuse(no_number))?;
            let element = find((kind, id)).ok_or_else(|| refuse(not_there))?;
            if contingency.contains(&element) {
                return Err(refuse("named twice"));
            }
            contingency.push(element);
        }
        list.push(contingency);
    }
    Ok(list)
}
