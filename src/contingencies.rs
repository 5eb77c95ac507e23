//! Contingency analysis outside of the method: lists of outages from files; and blocks of them over threads, results in the
//! order given, so that the number of threads changes no byte.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use gridflow_inputs::ids::BranchId;
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
    #[error("{}, line {line}, field {field}: {found:?} is {problem}; write numbers of branches in service, separated by commas", path.display())]
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

/// Reads outages from a file: a line for each, branches that fail together separated by commas (1-based rows of the branch table);
/// empty lines and those that begin with `#` are left out.
///
/// # Errors
/// When the file cannot be read, or names what is not in service.
pub fn read_list(path: &Path, case: &Case) -> Result<Vec<Contingency>, ListError> {
    let text = std::fs::read_to_string(path).map_err(|source| ListError::Io { path: path.to_owned(), source })?;
    let mut list = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#')) {
        let mut contingency = Contingency::new();
        for (place, field) in line.split(',').enumerate() {
            let refuse = |problem| ListError::Line {
                path: path.to_owned(),
                line: number + 1,
                field: place + 1,
                found: field.trim().to_owned(),
                problem,
            };
            let id = field.trim().parse().map_err(|_| refuse("no number of a branch"))?;
            let branch = Element::Branch(case.branch_index(BranchId(id)).ok_or_else(|| refuse("no branch in service"))?);
            if contingency.contains(&branch) {
                return Err(refuse("named twice"));
            }
            contingency.push(branch);
        }
        list.push(contingency);
    }
    Ok(list)
}
