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
use serde::{Deserialize, Serialize};

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

impl Difference {
    /// The first difference between two epochs of a stream: of the earlier one, or between their rows.
    pub(crate) fn of(stream: Stream, expected: (Epoch, &[(Output, i64)]), found: (Epoch, &[(Output, i64)])) -> Option<Self> {
        match expected.0.cmp(&found.0) {
            std::cmp::Ordering::Less => Self::between(stream, expected.0, expected.1, &[]),
            std::cmp::Ordering::Equal => Self::between(stream, found.0, expected.1, found.1),
            std::cmp::Ordering::Greater => Self::between(stream, found.0, &[], found.1),
        }
    }

    fn between(stream: Stream, epoch: Epoch, expected: &[(Output, i64)], found: &[(Output, i64)]) -> Option<Self> {
        let row = (0..expected.len().max(found.len())).find(|row| expected.get(*row) != found.get(*row))?;
        let show = |rows: &[(Output, i64)]| rows.get(row).map(|(row, change)| format!("{change:+} {row:?}"));
        Some(Self { epoch, stream: stream.name().to_owned(), row, expected: show(expected), found: show(found) })
    }
}

impl Digests {
    /// Of chains as far as they have come.
    pub(crate) fn of(chains: &BTreeMap<Stream, Chain>, last_epoch: Option<Epoch>) -> Self {
        let summary = |chain: &Chain| StreamSummary { rows: chain.rows, digest: chain.digest.to_hex().to_string() };
        let streams: BTreeMap<String, StreamSummary> =
            chains.iter().map(|(stream, chain)| (stream.name().to_owned(), summary(chain))).collect();
        let mut total = Vec::new();
        for (name, summary) in &streams {
            name.write(&mut total);
            summary.digest.write(&mut total);
        }
        Self { fingerprint: fingerprint(), last_epoch, digest: blake3::hash(&total).to_hex().to_string(), streams }
    }
}

/// Build and kind of machine: digests are comparable where it is equal.
#[must_use]
pub fn fingerprint() -> String {
    let schemas: String = Stream::ALL.iter().map(|stream| stream.schema()).collect();
    format!("gridflow {} {} schema {:016x}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH, gridflow_inputs::log::fingerprint(&schemas))
}

/// The digest of a stream as far as it has come.
pub(crate) struct Chain {
    rows: u64,
    digest: blake3::Hash,
    /// The newest epoch linked.
    pub(crate) last: Option<Epoch>,
    bytes: Vec<u8>,
}

impl Chain {
    /// Chains of all streams where a mark left them.
    pub(crate) fn of_mark(mark: Option<&JournalMark>) -> BTreeMap<Stream, Self> {
        let chain = |stream: &Stream| {
            let StreamMark { rows, digest, last, .. } = stream_mark(mark, *stream);
            Self { rows, digest: digest.into(), last, bytes: Vec::new() }
        };
        Stream::ALL.iter().map(|stream| (*stream, chain(stream))).collect()
    }

    pub(crate) fn link(&mut self, epoch: Epoch, rows: &[(Output, i64)]) {
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
        self.last = Some(epoch);
    }
}

/// A stream's log by its record type.
trait StreamLog: Send {
    fn append(&mut self, epoch: Epoch, rows: &[(Output, i64)]) -> Result<(), LogError>;
    fn last_epoch(&self) -> Option<Epoch>;
    fn position(&self) -> (u32, u64);
    fn sync(&mut self) -> Result<(), LogError>;
    fn close(self: Box<Self>) -> Result<(), LogError>;
}

struct TypedLog<R> {
    writer: LogWriter,
    as_record: fn(&Output) -> Option<&R>,
}

impl<R: Record + Send> StreamLog for TypedLog<R> {
    fn append(&mut self, epoch: Epoch, rows: &[(Output, i64)]) -> Result<(), LogError> {
        let rows = rows.iter().map(|(row, change)| ((self.as_record)(row).expect("a stream has rows of one kind"), *change));
        self.writer.append_records(epoch, rows)
    }

    fn last_epoch(&self) -> Option<Epoch> {
        self.writer.last_epoch()
    }

    fn position(&self) -> (u32, u64) {
        self.writer.position()
    }

    fn sync(&mut self) -> Result<(), LogError> {
        self.writer.sync()
    }

    fn close(self: Box<Self>) -> Result<(), LogError> {
        self.writer.close()
    }
}

/// Opens the log of a stream for writing: creates it, or goes on in a term where it may be there already.
struct Write<'a> {
    dir: &'a Path,
    region: &'a str,
    stream: Stream,
    /// The term, and how much of the log is known to be on the disk.
    term: Option<(u64, (u32, u64))>,
}

impl WithRecord for Write<'_> {
    type Result = Result<Box<dyn StreamLog>, LogError>;
    fn with<R: Record + Send + 'static>(self, _: fn(R) -> Output, as_record: fn(&Output) -> Option<&R>) -> Self::Result {
        let header = Header::output::<R>(self.region, self.stream.name());
        let options = Options { sync: Sync::OnClose, forced: self.term.map(|(_, forced)| forced), ..Options::default() };
        let dir = self.dir.join(self.stream.name());
        let writer = match self.term {
            Some((term, _)) => LogWriter::open_term(&dir, term, header, options)?,
            None => LogWriter::create(&dir, header, options)?,
        };
        Ok(Box::new(TypedLog { writer, as_record }))
    }
}

/// An epoch of a stream with its changes.
pub type Changes = (Epoch, Vec<(Output, i64)>);
/// Epochs of a stream with their changes.
pub type Epochs = Box<dyn Iterator<Item = Result<Changes, LogError>> + Send>;

struct Open<'a> {
    log: &'a Path,
    stream: Stream,
    from: Epoch,
}

impl WithRecord for Open<'_> {
    type Result = Result<Epochs, LogError>;
    fn with<R: Record + Send + 'static>(self, to_output: fn(R) -> Output, _: fn(&Output) -> Option<&R>) -> Self::Result {
        let reader = StreamReader::<R>::open_at(self.log, self.stream.name(), self.from)?;
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

/// Reads a stream of an output directory from behind an epoch; asked again at its end, it goes on when there is more.
pub(crate) fn read_stream_behind(dir: &Path, stream: Stream, after: Option<Epoch>) -> Result<Epochs, LogError> {
    stream.with_record(Open { log: &dir.join(stream.name()), stream, from: after.map_or(0, |after| after + 1) })
}

/// Reads the log of a stream from its own directory.
///
/// # Errors
/// When it is missing, damaged, or another stream's.
pub fn read_log(log: &Path, stream: Stream) -> Result<Epochs, LogError> {
    stream.with_record(Open { log, stream, from: 0 })
}

/// Compares a run with an earlier output log, stream by stream.
struct Verifier {
    earlier: BTreeMap<Stream, std::iter::Peekable<Epochs>>,
    /// Epochs that the earlier log of a stream does not reach are not compared.
    until: BTreeMap<Stream, Epoch>,
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
        let until = Stream::ALL.iter().map(|stream| (*stream, until)).collect();
        Ok(Self { earlier, until, first: None })
    }

    /// Compares with what each log holds behind its chain.
    fn of_logs(dir: &Path, chains: &BTreeMap<Stream, Chain>, logs: &BTreeMap<Stream, Box<dyn StreamLog>>) -> Result<Self, JournalError> {
        let mut verifier = Self { earlier: BTreeMap::new(), until: BTreeMap::new(), first: None };
        for (stream, log) in logs {
            let after = chains[stream].last;
            if let Some(last) = log.last_epoch().filter(|last| Some(*last) > after) {
                verifier.earlier.insert(*stream, read_stream_behind(dir, *stream, after)?.peekable());
                verifier.until.insert(*stream, last);
            }
        }
        Ok(verifier)
    }

    fn note(&mut self, stream: Stream, epoch: Epoch, expected: &[(Output, i64)], found: &[(Output, i64)]) {
        if self.until.get(&stream).is_none_or(|until| epoch > *until) {
            return;
        }
        let Some(difference) = Difference::between(stream, epoch, expected, found) else { return };
        if self.first.as_ref().is_none_or(|first| difference < *first) {
            self.first = Some(difference);
        }
    }

    fn compare(&mut self, stream: Stream, epoch: Epoch, found: &[(Output, i64)]) -> Result<(), LogError> {
        let Some(mut earlier) = self.earlier.remove(&stream) else { return Ok(()) };
        let compared = self.compare_with(&mut earlier, stream, epoch, found);
        self.earlier.insert(stream, earlier);
        compared
    }

    fn compare_with(
        &mut self,
        earlier: &mut std::iter::Peekable<Epochs>,
        stream: Stream,
        epoch: Epoch,
        found: &[(Output, i64)],
    ) -> Result<(), LogError> {
        loop {
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
            while let Some(earlier) = self.earlier.get_mut(stream) {
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
    /// What is made again differs from what was written before the restart.
    #[error("epoch {} of stream {} differs from what was written before the restart (expected {}, found {}): keep the directory and report it, same log must be same bits", .0.epoch, .0.stream, .0.expected.as_deref().unwrap_or("nothing"), .0.found.as_deref().unwrap_or("nothing"))]
    Diverged(Difference),
    /// What was saved of the digests does not fit the output log.
    #[error("the output log at {} ends at {}, the checkpoint was made with epoch {epoch} in it: restore it, or start with a new state directory", path.display(), last.map_or("nothing".to_owned(), |last| format!("epoch {last}")))]
    Behind {
        /// The log.
        path: PathBuf,
        /// Where it ends.
        last: Option<Epoch>,
        /// Where the checkpoint says it ended.
        epoch: Epoch,
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
    /// Of a resumed journal: where each stream's log ended; up to there epochs are compared and not appended.
    written: BTreeMap<Stream, Epoch>,
    failed: Option<JournalError>,
}

/// Where the digests of all streams stand after an epoch: part of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalMark {
    /// By stream.
    pub streams: BTreeMap<String, StreamMark>,
}

/// Where the digest and the log of a stream stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamMark {
    /// Changes so far.
    pub rows: u64,
    /// The chained digest.
    pub digest: [u8; 32],
    /// The last epoch with changes.
    pub last: Option<Epoch>,
    /// Segment and length of the log that were forced to the disk.
    pub forced: (u32, u64),
}

fn stream_mark(mark: Option<&JournalMark>, stream: Stream) -> StreamMark {
    mark.and_then(|mark| mark.streams.get(stream.name()).copied()).unwrap_or_default()
}

impl JournalMark {
    /// Where chains stand, and logs, of which all was forced to the disk.
    fn of(chains: &BTreeMap<Stream, Chain>, logs: &BTreeMap<Stream, Box<dyn StreamLog>>) -> Self {
        let mark = |(stream, chain): (&Stream, &Chain)| {
            let forced = logs.get(stream).map_or((0, 0), |log| log.position());
            (stream.name().to_owned(), StreamMark { rows: chain.rows, digest: *chain.digest.as_bytes(), last: chain.last, forced })
        };
        Self { streams: chains.iter().map(mark).collect() }
    }

    /// Where chains stand that have no logs of their own.
    pub(crate) fn of_chains(chains: &BTreeMap<Stream, Chain>) -> Self {
        Self::of(chains, &BTreeMap::new())
    }
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
                logs.insert(*stream, stream.with_record(Write { dir, region, stream: *stream, term: None })?);
            }
        }
        let verifier = verify.map(Verifier::open).transpose()?;
        Ok(Self {
            chains: Chain::of_mark(None),
            logs,
            out: out.map(Path::to_owned),
            from,
            verifier,
            written: BTreeMap::new(),
            failed: None,
        })
    }

    /// A journal that goes on in `out` behind `mark`, from the first epoch without one, as the leader of `term`.
    ///
    /// What the logs hold behind the mark was written before a crash. It is made again: compared, not appended. Damage there
    /// is what a power failure left of it, and is cut off.
    ///
    /// # Errors
    /// When the logs cannot be written, are damaged before the mark, or end before it.
    pub fn resume(region: &str, out: &Path, term: u64, mark: Option<&JournalMark>) -> Result<Self, JournalError> {
        let digests = out.join(DIGESTS);
        // It told of a run that ended; this one has not.
        match std::fs::remove_file(&digests) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(JournalError::Digests { path: digests, what: error.to_string() });
            }
            _ => {}
        }
        let chains = Chain::of_mark(mark);
        let (mut logs, mut written) = (BTreeMap::new(), BTreeMap::new());
        for (stream, chain) in &chains {
            let term = Some((term, stream_mark(mark, *stream).forced));
            let log = stream.with_record(Write { dir: out, region, stream: *stream, term })?;
            if let Some(epoch) = chain.last.filter(|last| log.last_epoch() < Some(*last)) {
                return Err(JournalError::Behind { path: out.join(stream.name()), last: log.last_epoch(), epoch });
            }
            written.extend(log.last_epoch().map(|last| (*stream, last)));
            logs.insert(*stream, log);
        }
        let verifier = Verifier::of_logs(out, &chains, &logs)?;
        Ok(Self { chains, logs, out: Some(out.to_owned()), from: 0, verifier: Some(verifier), written, failed: None })
    }

    /// Forces what was taken so far to the disk and tells where the digests stand.
    ///
    /// # Errors
    /// When the disk refuses, now or before.
    pub fn mark(&mut self) -> Result<JournalMark, JournalError> {
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        self.logs.values_mut().try_for_each(|log| log.sync())?;
        Ok(JournalMark::of(&self.chains, &self.logs))
    }

    /// Whether what was taken could be kept so far.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.failed.is_none()
    }

    /// The failure that keeps what was taken from being kept, if there is one; it is given once.
    ///
    /// # Errors
    /// That failure.
    pub fn failure(&mut self) -> Result<(), JournalError> {
        self.failed.take().map_or(Ok(()), Err)
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
            Some(log) if epoch >= self.from && self.written.get(&stream).is_none_or(|last| epoch > *last) => log.append(epoch, &rows),
            _ => Ok(()),
        };
        self.failed = compared.and(written).err().map(JournalError::from);
        if let (Some(difference), false) = (self.verifier.as_ref().and_then(|verifier| verifier.first.clone()), self.written.is_empty()) {
            self.failed.get_or_insert(JournalError::Diverged(difference));
        }
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
        let digests = Digests::of(&self.chains, last_epoch);
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
        if let (Some(difference), false) = (&difference, self.written.is_empty()) {
            return Err(JournalError::Diverged(difference.clone()));
        }
        Ok(JournalReport { digests, difference })
    }
}
