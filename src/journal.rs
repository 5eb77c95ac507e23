//! The output log: one stream a directory, chained into digests, byte-identical between runs of the same log.
//!
//! Stream digest: a BLAKE3 chain over non-empty epochs, each link over (digest before, epoch, number of changes,
//! canonical bytes of each change). Total: BLAKE3 over (name, digest) of all streams, by name. Nothing in an output
//! directory depends on paths, times or the number of workers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gridflow_inputs::Epoch;
use gridflow_inputs::log::{Header, LogError, LogWriter, Options, StreamReader, Sync};
use gridflow_inputs::row::{Canonical, Record, write_integer};
use gridflow_operators::decision::{Output, Stream, WithRecord};
use gridflow_operators::seal::Sealed;
use serde::Serialize;

/// Where the digests of an output directory stand.
pub const DIGESTS: &str = "digests.json";

/// What a stream came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamSummary {
    /// Changes: rows asserted or withdrawn.
    pub rows: u64,
    /// Chained digest, hexadecimal.
    pub digest: String,
}

/// What all streams came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Digests {
    /// Build and kind of machine the bits are promised for.
    pub fingerprint: String,
    /// Last epoch of the input.
    pub last_epoch: Option<Epoch>,
    /// Total digest.
    pub digest: String,
    /// Each stream.
    pub streams: BTreeMap<String, StreamSummary>,
}

/// The first place where a run differs from an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    /// Epoch of the difference.
    pub epoch: Epoch,
    /// The stream.
    pub stream: String,
    /// Place of the row among the epoch's changes, from 0.
    pub row: usize,
    /// The change of the earlier run there, if any.
    pub expected: Option<String>,
    /// The change of this run there, if any.
    pub found: Option<String>,
}

/// Build and kind of machine: digests are comparable where it is equal.
#[must_use]
pub fn fingerprint() -> String {
    let schemas: String = Stream::ALL.iter().map(|stream| stream.schema()).collect();
    format!("gridflow {} {} schema {:016x}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH, gridflow_inputs::log::fingerprint(&schemas))
}

struct Chain {
    rows: u64,
    digest: blake3::Hash,
    bytes: Vec<u8>,
}

impl Chain {
    fn link(&mut self, epoch: Epoch, rows: &[(Output, i64)]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(self.digest.as_bytes());
        self.bytes.extend_from_slice(&epoch.to_le_bytes());
        self.bytes.extend_from_slice(&(rows.len() as u64).to_le_bytes());
        for (row, change) in rows {
            row.write(&mut self.bytes);
            write_integer(*change, &mut self.bytes);
        }
        self.digest = blake3::hash(&self.bytes);
        self.rows += rows.len() as u64;
    }
}

/// A stream's log by its record type.
trait StreamLog: Send {
    fn append(&mut self, epoch: Epoch, rows: Vec<(Output, i64)>) -> Result<(), LogError>;
    fn close(self: Box<Self>) -> Result<(), LogError>;
}

struct TypedLog<R> {
    writer: LogWriter,
    to_record: fn(Output) -> Option<R>,
}

impl<R: Record + Send> StreamLog for TypedLog<R> {
    fn append(&mut self, epoch: Epoch, rows: Vec<(Output, i64)>) -> Result<(), LogError> {
        let rows: Vec<(R, i64)> = rows.into_iter().filter_map(|(row, change)| Some(((self.to_record)(row)?, change))).collect();
        self.writer.append_records(epoch, &rows)
    }

    fn close(self: Box<Self>) -> Result<(), LogError> {
        self.writer.close()
    }
}

struct Create<'a> {
    dir: &'a Path,
    region: &'a str,
    stream: Stream,
}

impl WithRecord for Create<'_> {
    type Result = Result<Box<dyn StreamLog>, LogError>;
    fn with<R: Record + Send + 'static>(self, _: fn(R) -> Output, to_record: fn(Output) -> Option<R>) -> Self::Result {
        let header = Header::output::<R>(self.region, self.stream.name());
        let options = Options { sync: Sync::OnClose, ..Options::default() };
        let writer = LogWriter::create(&self.dir.join(self.stream.name()), header, options)?;
        Ok(Box::new(TypedLog { writer, to_record }))
    }
}

/// Epochs of a stream with their changes.
pub type Epochs = Box<dyn Iterator<Item = Result<(Epoch, Vec<(Output, i64)>), LogError>> + Send>;

struct Open<'a> {
    log: &'a Path,
    stream: Stream,
}

impl WithRecord for Open<'_> {
    type Result = Result<Epochs, LogError>;
    fn with<R: Record + Send + 'static>(self, to_output: fn(R) -> Output, _: fn(Output) -> Option<R>) -> Self::Result {
        let reader = StreamReader::<R>::open(self.log, self.stream.name())?;
        Ok(Box::new(reader.map(move |epoch| {
            let epoch = epoch?;
            Ok((epoch.epoch, epoch.rows.into_iter().map(|(row, change)| (to_output(row), change)).collect()))
        })))
    }
}

/// Reads a stream of an output directory.
///
/// # Errors
/// When the stream's log is missing or damaged.
pub fn read_stream(dir: &Path, stream: Stream) -> Result<Epochs, LogError> {
    read_log(&dir.join(stream.name()), stream)
}

/// Reads the log of a stream from its own directory.
///
/// # Errors
/// When it is missing, damaged, or another stream's.
pub fn read_log(log: &Path, stream: Stream) -> Result<Epochs, LogError> {
    stream.with_record(Open { log, stream })
}

/// Compares a run with an earlier output log, stream by stream.
struct Verifier {
    earlier: BTreeMap<Stream, std::iter::Peekable<Epochs>>,
    /// Epochs the earlier log does not reach are not compared.
    until: Epoch,
    first: Option<Difference>,
}

impl Verifier {
    fn open(dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join(DIGESTS);
        let text =
            std::fs::read_to_string(&path).map_err(|source| JournalError::Digests { path: path.clone(), what: source.to_string() })?;
        let value: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| JournalError::Digests { path: path.clone(), what: error.to_string() })?;
        // Without it nothing would be compared and every run would agree.
        let Some(until) = value.get("last_epoch").and_then(serde_json::Value::as_u64) else {
            return Err(JournalError::Digests { path, what: "it names no last epoch, so there is nothing to compare with".into() });
        };
        let earlier =
            Stream::ALL.iter().map(|stream| Ok((*stream, read_stream(dir, *stream)?.peekable()))).collect::<Result<_, LogError>>()?;
        Ok(Self { earlier, until, first: None })
    }

    fn note(&mut self, stream: Stream, epoch: Epoch, expected: &[(Output, i64)], found: &[(Output, i64)]) {
        if epoch > self.until {
            return;
        }
        let Some(row) = (0..expected.len().max(found.len())).find(|row| expected.get(*row) != found.get(*row)) else { return };
        let show = |rows: &[(Output, i64)]| rows.get(row).map(|(row, change)| format!("{change:+} {row:?}"));
        let difference = Difference { epoch, stream: stream.name().to_owned(), row, expected: show(expected), found: show(found) };
        if self.first.as_ref().is_none_or(|first| difference < *first) {
            self.first = Some(difference);
        }
    }

    fn compare(&mut self, stream: Stream, epoch: Epoch, found: &[(Output, i64)]) -> Result<(), LogError> {
        loop {
            let earlier = self.earlier.get_mut(&stream).expect("all streams are opened");
            let (expected_epoch, expected) = match earlier.next_if(|next| next.as_ref().map_or(true, |(next, _)| *next <= epoch)) {
                None => {
                    self.note(stream, epoch, &[], found);
                    return Ok(());
                }
                Some(next) => next?,
            };
            if expected_epoch == epoch {
                self.note(stream, epoch, &expected, found);
                return Ok(());
            }
            self.note(stream, expected_epoch, &expected, &[]);
        }
    }

    fn finish(&mut self, last: Option<Epoch>) -> Result<(), LogError> {
        for stream in Stream::ALL {
            loop {
                let earlier = self.earlier.get_mut(stream).expect("all streams are opened");
                let Some(next) = earlier.next_if(|next| next.as_ref().map_or(true, |(next, _)| Some(*next) <= last)) else { break };
                let (epoch, expected) = next?;
                self.note(*stream, epoch, &expected, &[]);
            }
        }
        Ok(())
    }
}

/// Why outputs could not be kept or compared.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The log of a stream.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The digests of a directory.
    #[error("{}: {what}; is this the --out directory of a finished replay?", path.display())]
    Digests {
        /// The file.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// The output directory holds something already.
    #[error("{} is not empty: name a new directory for the outputs, or delete this one", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
}

/// Takes sealed epochs: chains digests, writes the output log, compares with an earlier one.
pub struct Journal {
    chains: BTreeMap<Stream, Chain>,
    logs: BTreeMap<Stream, Box<dyn StreamLog>>,
    out: Option<PathBuf>,
    from: Epoch,
    verifier: Option<Verifier>,
    failed: Option<JournalError>,
}

/// What a journal came to.
#[derive(Debug)]
pub struct JournalReport {
    /// Digests of all streams.
    pub digests: Digests,
    /// The first difference from the earlier outputs, when there were any to compare with.
    pub difference: Option<Difference>,
}

impl Journal {
    /// A journal that writes epochs from `from` on to `out`, if given, and compares with `verify`, if given.
    ///
    /// # Errors
    /// When `out` is not empty or cannot be written, or `verify` holds no outputs.
    pub fn open(region: &str, out: Option<&Path>, from: Epoch, verify: Option<&Path>) -> Result<Self, JournalError> {
        let mut logs = BTreeMap::new();
        if let Some(dir) = out {
            if std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
                return Err(JournalError::NotEmpty { path: dir.to_owned() });
            }
            for stream in Stream::ALL {
                logs.insert(*stream, stream.with_record(Create { dir, region, stream: *stream })?);
            }
        }
        let chain = || Chain { rows: 0, digest: blake3::Hash::from_bytes([0; 32]), bytes: Vec::new() };
        let verifier = verify.map(Verifier::open).transpose()?;
        let chains = Stream::ALL.iter().map(|stream| (*stream, chain())).collect();
        Ok(Self { chains, logs, out: out.map(Path::to_owned), from, verifier, failed: None })
    }

    /// Takes a sealed epoch of a stream. A failure to write is kept for [`Journal::close`]; digests go on.
    pub fn take(&mut self, sealed: Sealed) {
        let Sealed { stream, epoch, rows } = sealed;
        self.chains.get_mut(&stream).expect("every stream has a chain").link(epoch, &rows);
        if self.failed.is_some() {
            return;
        }
        let compared = self.verifier.as_mut().map_or(Ok(()), |verifier| verifier.compare(stream, epoch, &rows));
        let written = match self.logs.get_mut(&stream) {
            Some(log) if epoch >= self.from => log.append(epoch, rows),
            _ => Ok(()),
        };
        self.failed = compared.and(written).err().map(JournalError::from);
    }

    /// Closes the logs and states the digests.
    ///
    /// # Errors
    /// The first failure to write or to read the earlier outputs.
    pub fn close(mut self, last_epoch: Option<Epoch>) -> Result<JournalReport, JournalError> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        for log in std::mem::take(&mut self.logs).into_values() {
            log.close()?;
        }
        let streams: BTreeMap<String, StreamSummary> = self
            .chains
            .iter()
            .map(|(stream, chain)| {
                (stream.name().to_owned(), StreamSummary { rows: chain.rows, digest: chain.digest.to_hex().to_string() })
            })
            .collect();
        let mut total = Vec::new();
        for (name, summary) in &streams {
            name.write(&mut total);
            summary.digest.write(&mut total);
        }
        let digests = Digests { fingerprint: fingerprint(), last_epoch, digest: blake3::hash(&total).to_hex().to_string(), streams };
        if let Some(dir) = &self.out {
            let path = dir.join(DIGESTS);
            let text = serde_json::to_string_pretty(&digests).expect("a summary is plain data") + "\n";
            std::fs::write(&path, text).map_err(|source| JournalError::Digests { path, what: source.to_string() })?;
        }
        let difference = match &mut self.verifier {
            Some(verifier) => {
                verifier.finish(last_epoch)?;
                verifier.first.take()
            }
            None => None,
        };
        Ok(JournalReport { digests, difference })
    }
}
