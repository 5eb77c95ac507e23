//! The recorded log: the one container of input rows and of output streams, format version 1.
//!
//! A log is a directory of segment files. A segment is a header and frames; a frame is the rows of one kind of one
//! epoch, in columns; a commit frame ends each epoch. Invariants:
//! * an epoch is there with all its rows or not at all, and epochs strictly increase;
//! * the bytes are a function of the header, the options and the rows alone: no times, no paths, no chance;
//! * reading never skips silently: what is torn is reported, what is damaged is an error naming segment, offset, epoch.
//!
//! `columns` and `packed` store values, `frame` is the byte layout, `builder` makes frames of rows and `rows` rows of columns, `batch`
//! is an epoch of rows in memory, `segment` walks a file, `directory` knows names and locks, `terms` who may write,
//! `layout` which file holds what, `index` finds an epoch; `writer`, `reader`, `inspect`, `terms` and `inbox` are what
//! others use. The crate's front page has every byte.

mod batch;
mod builder;
mod columns;
mod directory;
mod frame;
pub mod inbox;
mod index;
mod inspect;
mod layout;
mod packed;
mod reader;
mod rows;
mod segment;
#[cfg(test)]
pub(crate) mod strategy;
mod terms;
#[cfg(test)]
mod tests;
mod writer;

pub use batch::{EpochBatch, SequencedReading};
pub use columns::{decode as decode_columns, encode as encode_columns};
pub use frame::{EPOCH_ROWS, FORMAT_VERSION, FRAME_ROWS, PAYLOAD_BYTES};
pub use inspect::{Inspection, KindInspection, inspect};
pub use layout::Ignored;
pub use reader::{Block, BlockReader, EpochBlocks, EpochRecords, LogReader, StreamReader};
pub use terms::{ClaimError, Fence, TermRecord, Terms, newest_term};
pub use writer::{LogWriter, Options, Sync};

use crate::input::{Epoch, Kind, MAX_EPOCH};
use crate::row::Record;
use std::io;
use std::path::{Path, PathBuf};

/// Name of the stream that holds the rows which entered.
pub const INPUT_STREAM: &str = "input";

/// What a log is: the same in each of its segments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Header {
    /// Name of the region, at most 96 bytes.
    pub region: String,
    /// Name of the stream, at most 96 bytes; [`INPUT_STREAM`] for rows that enter.
    pub stream: String,
    /// Fingerprint of the shape of its rows, see [`fingerprint`].
    pub schema: u64,
    /// Leadership term that writes; 0 until terms exist. Later segments may carry a later term. A writer puts in its own.
    pub term: u64,
}

impl Header {
    /// Of the input log of a region, with the row kinds of this build.
    #[must_use]
    pub fn input(region: &str) -> Self {
        Self { region: region.to_owned(), stream: INPUT_STREAM.to_owned(), schema: fingerprint(&Kind::schema(Kind::GENERATION)), term: 0 }
    }

    /// Of an output stream of records `R`.
    #[must_use]
    pub fn output<R: Record>(region: &str, stream: &str) -> Self {
        Self { region: region.to_owned(), stream: stream.to_owned(), schema: record_fingerprint::<R>(), term: 0 }
    }
}

/// The first eight bytes, little endian, of the BLAKE3 hash of a schema description.
#[must_use]
pub fn fingerprint(schema: &str) -> u64 {
    let hash = blake3::hash(schema.as_bytes());
    u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes"))
}

/// The generation of row kinds whose fingerprint `schema` is; none when it is none of this build's.
fn generation(schema: u64) -> Option<u8> {
    (1..=Kind::GENERATION).find(|generation| fingerprint(&Kind::schema(*generation)) == schema)
}

fn record_fingerprint<R: Record>() -> u64 {
    let mut schema = String::new();
    R::describe(&mut schema);
    fingerprint(&schema)
}

/// The end of a log that was being written when its writer stopped: no complete epoch is in it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Torn {
    /// Number of the segment.
    pub segment: u32,
    /// Where in it the torn part begins.
    pub offset: u64,
    /// How many bytes it has.
    pub bytes: u64,
    /// The epoch that was being written, where that can be read.
    pub epoch: Option<Epoch>,
}

/// What is wrong with a log, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// There is no such directory.
    #[error("there is no log at {}: check the path, or record one first", dir.display())]
    Missing {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory has no segment.
    #[error("{} holds no segment of a log: check the path, or create a log there", dir.display())]
    Empty {
        /// The directory.
        dir: PathBuf,
    },
    /// The first segment ends before its header does: a log whose creation was interrupted.
    #[error("{} ends inside its header, so that nothing was ever recorded: create the log again", path.display())]
    NoHeader {
        /// The file.
        path: PathBuf,
    },
    /// A file is in a segment's place but is none.
    #[error("{} is no segment of a Gridflow log ({what}): move it out of the directory", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What tells.
        what: &'static str,
    },
    /// The log was written by a later build.
    #[error("{} has log format version {found}, this build reads up to {FORMAT_VERSION}: use the build that wrote it or a later one", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version it states.
        found: u16,
    },
    /// A row of a kind that came after the log was begun.
    #[error("the log at {} was begun before there were rows of kind {kind}: begin a new log for them", dir.display())]
    LaterKind {
        /// The directory.
        dir: PathBuf,
        /// Name of the kind.
        kind: &'static str,
    },
    /// The rows of the log have another shape than this build's.
    #[error("stream \"{stream}\" at {} was recorded with other row shapes (schema {found:016x}, this build has {expected:016x}): read it with the build that recorded it", dir.display())]
    Schema {
        /// The directory.
        dir: PathBuf,
        /// The stream.
        stream: String,
        /// Fingerprint in the log.
        found: u64,
        /// Fingerprint of this build.
        expected: u64,
    },
    /// The log holds another stream than was asked for.
    #[error("{} holds stream \"{found}\", not \"{expected}\": check the path", dir.display())]
    Stream {
        /// The directory.
        dir: PathBuf,
        /// The stream it holds.
        found: String,
        /// The stream asked for.
        expected: String,
    },
    /// A segment is missing between others.
    #[error("segment {missing} of the log at {} is missing: restore it, nothing behind it can be used", dir.display())]
    Gap {
        /// The directory.
        dir: PathBuf,
        /// Number of the first segment missing.
        missing: u32,
    },
    /// Another writer has the log open.
    #[error("another process is writing the log at {}: stop it first, two writers would mix their rows", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// There is a log where one was to be created.
    #[error("there is a log at {} already: append to it, or choose another directory", dir.display())]
    Exists {
        /// The directory.
        dir: PathBuf,
    },
    /// The log is of another region than was asked for.
    #[error("{} is of region \"{found}\", not \"{expected}\": check the path", dir.display())]
    Region {
        /// The directory.
        dir: PathBuf,
        /// The region it is of.
        found: String,
        /// The region asked for.
        expected: String,
    },
    /// The file of a leadership term is not what was written.
    #[error("{} cannot be used ({what}): restore it from a copy, without it nobody can tell which outputs count", path.display())]
    Term {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// A segment of a term that nobody claimed.
    #[error("{} is of leadership term {term}, but no such term was claimed: restore the file of that term", path.display())]
    UnknownTerm {
        /// The segment.
        path: PathBuf,
        /// Its term.
        term: u64,
    },
    /// A writer is of a term that is over.
    #[error("leadership term {term} is not the newest at {}, which is {newest}: stop writing and follow", dir.display())]
    Superseded {
        /// The directory of the log.
        dir: PathBuf,
        /// The writer's term.
        term: u64,
        /// The newest term.
        newest: u64,
    },
    /// What was read does not belong to the log any more.
    #[error("leadership term {term} begins behind {}: what was read beyond that does not count, open the log again", end(*epoch))]
    Fenced {
        /// The term that says so.
        term: u64,
        /// The last epoch before it.
        epoch: Option<Epoch>,
    },
    /// The bytes are not what was written.
    #[error("segment {segment} is damaged at byte {offset}, {}: {what}; restore it from a copy", after(*epoch))]
    Damage {
        /// Number of the segment.
        segment: u32,
        /// Where in it.
        offset: u64,
        /// The last complete epoch before the damage; `None` when none was read before it.
        epoch: Option<Epoch>,
        /// What does not fit.
        what: String,
    },
    /// The file system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// The directory of a log cannot be written.
    #[error("{} cannot be written ({source}): give this user the right to write there, or record in another directory", dir.display())]
    ReadOnly {
        /// The directory.
        dir: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// An epoch could not be stored.
    #[error("cannot write to {}: {source}; {} is safe in the log: make room or repair the disk, then reopen it", path.display(), last(*last_epoch))]
    Write {
        /// The segment file.
        path: PathBuf,
        /// The last epoch that was written.
        last_epoch: Option<Epoch>,
        /// The system's reason.
        source: io::Error,
    },
    /// The writer failed before and takes no more.
    #[error("the log was closed by an earlier write failure; {} is safe in it: reopen it", last(*last_epoch))]
    Failed {
        /// The last epoch that was written.
        last_epoch: Option<Epoch>,
    },
    /// An epoch does not come after the last one.
    #[error("epoch {epoch} cannot follow epoch {last} in the log: epochs strictly increase")]
    Order {
        /// The epoch offered.
        epoch: Epoch,
        /// The last one in the log.
        last: Epoch,
    },
    /// An epoch lies beyond any calendar.
    #[error("epoch {epoch} cannot be stored: epochs are milliseconds since 1970 and end at {MAX_EPOCH}")]
    Beyond {
        /// The epoch offered.
        epoch: Epoch,
    },
    /// An epoch or a row is beyond what the format can hold.
    #[error("epoch {epoch} cannot be stored: {what}: spread its rows over more epochs")]
    TooLarge {
        /// The epoch.
        epoch: Epoch,
        /// What is too large.
        what: String,
    },
    /// A region or stream name does not fit.
    #[error("the name \"{name}\" has {} bytes, a log holds at most 96", name.len())]
    Name {
        /// The name.
        name: String,
    },
}

fn after(epoch: Option<Epoch>) -> String {
    epoch.map_or_else(|| "before any epoch was complete".to_owned(), |epoch| format!("after epoch {epoch}"))
}

fn end(epoch: Option<Epoch>) -> String {
    epoch.map_or_else(|| "the beginning of the log".to_owned(), |epoch| format!("epoch {epoch}"))
}

fn last(epoch: Option<Epoch>) -> String {
    epoch.map_or_else(|| "no epoch yet".to_owned(), |epoch| format!("everything up to epoch {epoch}"))
}

/// What a file system's refusal to let us write in `dir` means; `path` is what was touched.
fn write_error(dir: &Path, path: &Path, doing: &'static str, source: io::Error) -> LogError {
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => LogError::ReadOnly { dir: dir.to_owned(), source },
        _ => io_error(path, doing, source),
    }
}

fn io_error(path: &Path, doing: &'static str, source: io::Error) -> LogError {
    LogError::Io { path: path.to_owned(), doing, source }
}
