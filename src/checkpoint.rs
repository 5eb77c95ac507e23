//! Checkpoints: everything a run needs to go on after an epoch without reading its log again.
//!
//! Each process of a region writes a part: operator states of its workers, what was fed, and, from the first process,
//! where the digests of all streams stand. A checkpoint is whole when the parts of all processes are there. A part is
//! written beside its name, forced to the disk and renamed, so that a part under its name is whole; a BLAKE3 hash at
//! its end says so again. The two newest checkpoints are kept: when the newest is damaged the one before it serves.
//!
//! Bytes of a part: `GFCHECK1`; length of the head, u32 little endian; the head; the sections as LZ4 blocks, end to end;
//! BLAKE3 of all before. Nothing in it depends on a clock or a path.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use gridflow_inputs::Epoch;
use gridflow_operators::state::Saved;
use serde::{Deserialize, Serialize};

use crate::engine::Totals;
use crate::failpoint;
use crate::journal::{JournalMark, fingerprint};

const MAGIC: &[u8; 8] = b"GFCHECK1";
const HASH: usize = blake3::OUT_LEN;
/// Form of operator states: one more whenever an operator saves something else.
const STATE_FORM: u32 = 2;

/// What one process saved after an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Name of the region.
    pub region: String,
    /// The epoch.
    pub epoch: Epoch,
    /// This process, and how many there are.
    pub process: (usize, usize),
    /// What had been fed.
    pub totals: Totals,
    /// Where the digests stand; of the first process.
    pub mark: Option<JournalMark>,
    /// Operator states, one per worker.
    pub shares: BTreeMap<String, Vec<Vec<u8>>>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    build: String,
    region: String,
    epoch: Epoch,
    process: (usize, usize),
    totals: Totals,
    mark: Option<JournalMark>,
    /// Operator, bytes of the state, bytes of its block.
    sections: Vec<(String, u64, u64)>,
}

/// Everything to go on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// States of all operators.
    pub saved: Saved,
    /// What had been fed.
    pub totals: Totals,
    /// Where the digests stand.
    pub mark: JournalMark,
}

/// A checkpoint that cannot serve, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unusable {
    /// The epoch.
    pub epoch: Epoch,
    /// What is wrong with it.
    pub what: String,
}

/// Why checkpoints cannot be kept or found.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Another build wrote it.
    #[error("the checkpoint of epoch {epoch} at {} was written by build \"{found}\", this is \"{own}\": go on with that build, or start with a new state directory", dir.display())]
    OtherBuild {
        /// The directory.
        dir: PathBuf,
        /// The epoch.
        epoch: Epoch,
        /// The build that wrote it.
        found: String,
        /// This build.
        own: String,
    },
    /// It belongs to another region.
    #[error("{} holds the state of region \"{found}\", the log is of \"{expected}\": name another state directory", dir.display())]
    OtherRegion {
        /// The directory.
        dir: PathBuf,
        /// The region it holds.
        found: String,
        /// The region of the log.
        expected: String,
    },
}

fn io(path: &Path, doing: &'static str) -> impl FnOnce(std::io::Error) -> CheckpointError {
    move |source| CheckpointError::Io { path: path.to_owned(), doing, source }
}

fn build() -> String {
    format!("{} state {STATE_FORM}", fingerprint())
}

fn name(epoch: Epoch, (process, processes): (usize, usize)) -> String {
    format!("checkpoint-{epoch:020}-{process}-of-{processes}.gfc")
}

fn parse_name(name: &str) -> Option<(Epoch, usize, usize)> {
    let rest = name.strip_prefix("checkpoint-")?.strip_suffix(".gfc")?;
    let (epoch, process) = rest.split_once('-')?;
    let (process, processes) = process.split_once("-of-")?;
    Some((epoch.parse().ok()?, process.parse().ok()?, processes.parse().ok()?))
}

impl Part {
    fn bytes(&self) -> Vec<u8> {
        let mut sections = Vec::new();
        let mut blocks = Vec::new();
        for (operator, states) in &self.shares {
            for state in states {
                let block = lz4_flex::block::compress(state);
                sections.push((operator.clone(), state.len() as u64, block.len() as u64));
                blocks.extend_from_slice(&block);
            }
        }
        let head = Head {
            build: build(),
            region: self.region.clone(),
            epoch: self.epoch,
            process: self.process,
            totals: self.totals,
            mark: self.mark.clone(),
            sections,
        };
        let head = postcard::to_stdvec(&head).expect("plain data in memory can always be written");
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&(head.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(&blocks);
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        bytes
    }

    /// Reads a part; the build that wrote it comes first, because another one's states may look like anything.
    fn read(bytes: &[u8]) -> Result<(String, Option<Self>), String> {
        let body = bytes.len().checked_sub(HASH).map(|length| &bytes[..length]).ok_or("it is cut off")?;
        if blake3::hash(body).as_bytes() != &bytes[body.len()..] {
            return Err("its checksum does not fit".to_owned());
        }
        let rest = body.strip_prefix(MAGIC.as_slice()).ok_or("it is no checkpoint")?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or("it has no head")?;
        let (head, mut blocks) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or("its head is cut off")?;
        let head: Head = postcard::from_bytes(head).map_err(|error| format!("its head cannot be read: {error}"))?;
        if head.build != build() {
            return Ok((head.build, None));
        }
        let mut shares: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        for (operator, raw, stored) in head.sections {
            let (block, rest) = blocks.split_at_checked(stored as usize).ok_or("a section is cut off")?;
            blocks = rest;
            // LZ4 makes at most 255 bytes of one: no more is allocated on the word of a head.
            if raw > stored.saturating_mul(255).saturating_add(64) {
                return Err(format!("the state of {operator} claims more bytes than its block can hold"));
            }
            let state = lz4_flex::block::decompress(block, raw as usize).map_err(|error| format!("the state of {operator}: {error}"))?;
            shares.entry(operator).or_default().push(state);
        }
        let Head { build, region, epoch, process, totals, mark, .. } = head;
        Ok((build, Some(Self { region, epoch, process, totals, mark, shares })))
    }

    /// Writes the part into `dir`: there whole or not at all, whenever the process or the machine stops.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn write(&self, dir: &Path) -> Result<u64, CheckpointError> {
        std::fs::create_dir_all(dir).map_err(io(dir, "create"))?;
        if let (true, Some(parent)) = (cfg!(unix), dir.parent()) {
            File::open(parent).and_then(|parent| parent.sync_all()).map_err(io(parent, "sync"))?;
        }
        let path = dir.join(name(self.epoch, self.process));
        // A leader and the one that takes over from it may be at the same epoch.
        let unnamed = path.with_extension(format!("{}.new", std::process::id()));
        let bytes = self.bytes();
        let mut file = File::create(&unnamed).map_err(io(&unnamed, "create"))?;
        let (first, second) = bytes.split_at(bytes.len() / 2);
        file.write_all(first).map_err(io(&unnamed, "write"))?;
        failpoint::pass("checkpoint-begun");
        file.write_all(second).and_then(|()| file.sync_all()).map_err(io(&unnamed, "write"))?;
        failpoint::pass("checkpoint-written");
        std::fs::rename(&unnamed, &path).map_err(io(&path, "name"))?;
        if cfg!(unix) {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(io(dir, "sync"))?;
        }
        failpoint::pass("checkpoint-named");
        Ok(bytes.len() as u64)
    }
}

/// Whole checkpoints: epoch and number of processes; all parts: epoch and path.
type Listed = (BTreeSet<(Epoch, usize)>, Vec<(Epoch, PathBuf)>);

/// Epochs of whole checkpoints in `dir`, ascending, each with the number of its processes; and all parts' paths, unfinished
/// ones too.
fn list(dir: &Path) -> Result<Listed, CheckpointError> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Default::default()),
        entries => entries.map_err(io(dir, "list"))?,
    };
    let mut found: BTreeMap<(Epoch, usize), BTreeSet<usize>> = BTreeMap::new();
    let mut parts = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io(dir, "list"))?;
        let file_name = entry.file_name();
        let file_name = file_name.to_str().unwrap_or_default();
        if let Some(epoch) =
            file_name.strip_suffix(".new").and_then(|name| name.strip_prefix("checkpoint-")?.split('-').next()?.parse().ok())
        {
            // A part that was never finished.
            parts.push((epoch, entry.path()));
        }
        if let Some((epoch, process, processes)) = parse_name(file_name) {
            found.entry((epoch, processes)).or_default().insert(process);
            parts.push((epoch, entry.path()));
        }
    }
    let whole = found.into_iter().filter(|((_, processes), present)| present.iter().copied().eq(0..*processes)).map(|(key, _)| key);
    Ok((whole.collect(), parts))
}

/// Removes all but the two newest whole checkpoints, and what is older than those.
///
/// # Errors
/// When the file system refuses.
pub fn tidy(dir: &Path) -> Result<(), CheckpointError> {
    let (whole, parts) = list(dir)?;
    let Some((oldest, _)) = whole.iter().rev().nth(1) else { return Ok(()) };
    for (_, path) in parts.iter().filter(|(epoch, _)| epoch < oldest) {
        match std::fs::remove_file(path) {
            // Whoever took over tidies up too.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            removed => removed.map_err(io(path, "remove"))?,
        }
    }
    Ok(())
}

/// The newest checkpoint in `dir` before epoch `before` that can serve; those newer that cannot join `unusable`.
///
/// # Errors
/// When the directory cannot be read, or what it holds is of another region or build.
pub fn newest(dir: &Path, region: &str, before: Epoch, unusable: &mut Vec<Unusable>) -> Result<Option<Checkpoint>, CheckpointError> {
    let (whole, _) = list(dir)?;
    for (epoch, processes) in whole.into_iter().rev().filter(|(epoch, _)| *epoch < before) {
        match read(dir, region, epoch, processes)? {
            Ok(checkpoint) => return Ok(Some(checkpoint)),
            Err(what) => unusable.push(Unusable { epoch, what }),
        }
    }
    Ok(None)
}

fn read(dir: &Path, region: &str, epoch: Epoch, processes: usize) -> Result<Result<Checkpoint, String>, CheckpointError> {
    let mut saved = Saved { epoch, shares: BTreeMap::new() };
    let mut first = None;
    for process in 0..processes {
        let path = dir.join(name(epoch, (process, processes)));
        let part = match std::fs::read(&path) {
            Ok(bytes) => Part::read(&bytes),
            // Whoever leads tidies up meanwhile.
            Err(error) => Err(error.to_string()),
        };
        let part = match part {
            Ok((_, Some(part))) => part,
            Ok((found, None)) => return Err(CheckpointError::OtherBuild { dir: dir.to_owned(), epoch, found, own: build() }),
            Err(what) => return Ok(Err(format!("{}: {what}", path.display()))),
        };
        if part.region != region {
            return Err(CheckpointError::OtherRegion { dir: dir.to_owned(), found: part.region, expected: region.to_owned() });
        }
        if (part.epoch, part.process) != (epoch, (process, processes)) {
            return Ok(Err(format!("{} holds another part than its name says", path.display())));
        }
        for (operator, states) in part.shares {
            saved.shares.entry(operator).or_default().extend(states);
        }
        if process == 0 {
            first = part.mark.map(|mark| (part.totals, mark));
        }
    }
    Ok(match first {
        Some((totals, mark)) => Ok(Checkpoint { saved, totals, mark }),
        None => Err("the first process saved no digests".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(epoch: Epoch, process: (usize, usize)) -> Part {
        let shares = [("Telemetry".to_owned(), vec![vec![7; 1_000], vec![process.0 as u8; 10]]), ("Audit".to_owned(), vec![vec![]])];
        Part {
            region: "north".into(),
            epoch,
            process,
            totals: Totals { rows: 5, epochs: 2, span: Some((1_000, epoch)), mark: 7 },
            mark: (process.0 == 0).then(JournalMark::default),
            shares: shares.into(),
        }
    }

    #[test]
    fn a_checkpoint_is_whole_with_the_parts_of_all_processes() {
        let dir = tempfile::tempdir().unwrap();
        let look = |region| {
            let mut unusable = Vec::new();
            newest(dir.path(), region, Epoch::MAX, &mut unusable).map(|found| (found, unusable))
        };
        assert_eq!(look("north").unwrap(), (None, vec![]));
        part(2_000, (0, 2)).write(dir.path()).unwrap();
        part(2_000, (1, 2)).write(dir.path()).unwrap();
        part(3_000, (1, 2)).write(dir.path()).unwrap();
        let (found, unusable) = look("north").unwrap();
        let found = found.unwrap();
        assert_eq!((found.saved.epoch, unusable), (2_000, vec![]));
        assert_eq!(found.saved.shares["Telemetry"].len(), 4);
        assert!(matches!(look("south"), Err(CheckpointError::OtherRegion { .. })));
    }

    #[test]
    fn any_changed_or_missing_byte_is_noticed_and_the_checkpoint_before_serves() {
        let dir = tempfile::tempdir().unwrap();
        part(2_000, (0, 1)).write(dir.path()).unwrap();
        part(3_000, (0, 1)).write(dir.path()).unwrap();
        let path = dir.path().join(name(3_000, (0, 1)));
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(Part::read(&changed).is_err(), "byte {at}");
            assert!(Part::read(&bytes[..at]).is_err(), "cut at {at}");
        }
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let mut unusable = Vec::new();
        let found = newest(dir.path(), "north", Epoch::MAX, &mut unusable).unwrap();
        assert_eq!((found.unwrap().saved.epoch, unusable.len()), (2_000, 1));
    }

    #[test]
    fn the_two_newest_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        for epoch in [1_000, 2_000, 3_000, 4_000] {
            part(epoch, (0, 1)).write(dir.path()).unwrap();
            tidy(dir.path()).unwrap();
        }
        let (whole, _) = list(dir.path()).unwrap();
        assert_eq!(whole.into_iter().map(|(epoch, _)| epoch).collect::<Vec<_>>(), [3_000, 4_000]);
    }
}
