//! Writing a log: one group commit per epoch, a new segment when the present one is full.
//!
//! An epoch is built whole in memory and goes out in one write: its frames and its commit frame. A segment is full when the next epoch would take it past the bound, which
//! depends on the data alone. After a failed write the writer takes no more: what the disk then holds is unknown, and
//! reopening finds out.

use super::builder::Builder;
use super::directory::{WriteLock, sync_directory};
use super::frame::{EPOCH_ROWS, FrameHeader, MAGIC, RECORDS, SEGMENT_HEADER, SegmentHeader};
use super::index::{Index, SegmentIndex};
use super::layout::Layout;
use super::segment::{Opened, Segment, Step};
use super::{Header, INPUT_STREAM, LogError, Torn, fingerprint, generation, io_error, record_fingerprint, write_error};
use crate::input::{Epoch, Input, Kind, MAX_EPOCH};
use crate::row::Record;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// When what was written is forced to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// After each epoch: an appended epoch survives a power failure.
    EveryEpoch,
    /// After every so many epochs.
    EveryN(u32),
    /// When a segment ends and when the log is closed: a crash of the process loses nothing, a power failure may.
    OnClose,
    /// Never: for logs that can be made again, as a replay's outputs and a test's.
    Never,
}

/// How a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// A segment ends before the epoch that would take it past this many bytes.
    pub segment_bytes: u64,
    /// When data is forced to the disk.
    pub sync: Sync,
    /// Segment and length that are known to have been forced there. Damage behind that is what a power failure left of writes
    /// under way: it is cut off like a torn end. Without, damage is an error wherever it lies.
    pub forced: Option<(u32, u64)>,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, sync: Sync::EveryEpoch, forced: None }
    }
}

/// The one writer of a log in a leadership term.
#[derive(Debug)]
pub struct LogWriter {
    dir: PathBuf,
    layout: Layout,
    header: Header,
    options: Options,
    path: PathBuf,
    file: File,
    number: u32,
    length: u64,
    last: Option<Epoch>,
    link: u32,
    unsynced: u32,
    failed: bool,
    cut: Option<Torn>,
    index: Index,
    builder: Builder,
    /// Of an input log: the generation of row kinds it was begun in.
    generation: u8,
    _lock: WriteLock,
}

impl LogWriter {
    /// Creates a log in `dir`, which is made if it is not there, in the newest leadership term.
    ///
    /// # Errors
    /// When there is a log already, another writer holds the directory, a name is too long, or the file system refuses.
    pub fn create(dir: &Path, header: Header, options: Options) -> Result<Self, LogError> {
        fs::create_dir_all(dir).map_err(|source| write_error(dir, dir, "create", source))?;
        let layout = Layout::load(dir)?;
        let lock = WriteLock::take(dir, layout.newest())?;
        match layout.count_known()? {
            0 => {}
            1 if creation_was_interrupted(&layout) => remove(&layout.path(1))?,
            _ => return Err(LogError::Exists { dir: dir.to_owned() }),
        }
        Self::begin_segment(layout, lock, header, options, 1, None)
    }

    /// Opens the log in `dir` to append, in the newest leadership term. A torn tail is cut off; [`cut`](Self::cut) tells
    /// what that was. Nothing an older term wrote is touched.
    ///
    /// The last segment is read whole, with all checksums: nothing is ever appended behind damage in it.
    ///
    /// # Errors
    /// When there is no log, it is damaged, its rows have another shape, another writer holds it, or the file system refuses.
    pub fn open_append(dir: &Path, options: Options) -> Result<Self, LogError> {
        let mut layout = Layout::load(dir)?;
        if layout.count()? == 0 {
            return Err(LogError::Empty { dir: dir.to_owned() });
        }
        let lock = WriteLock::take(dir, layout.newest())?;
        Self::append_in(layout, lock, options, None)
    }

    /// Opens the log in `dir` to write in a leadership term, which must be the newest: creates it when there is none,
    /// begins a segment behind the fence, or goes on where the same term stopped, as [`open_append`](Self::open_append).
    ///
    /// # Errors
    /// As [`open_append`](Self::open_append), when a later term was claimed, and when the log is of another region, stream
    /// or record than `header` says.
    pub fn open_term(dir: &Path, term: u64, header: Header, options: Options) -> Result<Self, LogError> {
        fs::create_dir_all(dir).map_err(|source| write_error(dir, dir, "create", source))?;
        let layout = Layout::load(dir)?;
        if layout.newest() != term {
            return Err(LogError::Superseded { dir: dir.to_owned(), term, newest: layout.newest() });
        }
        let lock = WriteLock::take(dir, term)?;
        let count = layout.count_known()?;
        if count == 1 && creation_was_interrupted(&layout) {
            remove(&layout.path(1))?;
        } else if count > 0 {
            return Self::append_in(layout, lock, options, Some(&header));
        }
        Self::begin_segment(layout, lock, header, options, 1, None)
    }

    /// Begins the first segment of a term: behind its fence.
    fn begin_segment(
        layout: Layout,
        lock: WriteLock,
        header: Header,
        options: Options,
        number: u32,
        cut: Option<Torn>,
    ) -> Result<Self, LogError> {
        let (dir, fence) = (layout.dir().to_owned(), layout.fence());
        // Before the first claim a header may name any term, as the logs of other programs of ours may.
        let header = if layout.newest() == 0 { header } else { Header { term: layout.newest(), ..header } };
        // Any log may be begun, also one of rows that are not ours; nothing is appended to such a one.
        let generation = generation(header.schema).unwrap_or(0);
        let base_epoch = fence.last_epoch.map_or(0, |last| last.saturating_add(1));
        let first = SegmentHeader { log: header.clone(), number, base_epoch, link: fence.link };
        let bytes = first.write()?;
        let path = layout.path(number);
        let mut file = create_segment(&dir, &path)?;
        file.write_all(&bytes).and_then(|()| sync_file(&file, options)).map_err(|source| io_error(&path, "write", source))?;
        sync_entries(&dir, options)?;
        let mut index = Index::of_earlier(&layout, number)?;
        index.segments.push(SegmentIndex::new(&first)?);
        Ok(Self {
            dir,
            layout,
            header,
            options,
            path,
            file,
            number,
            length: bytes.len() as u64,
            last: fence.last_epoch,
            link: fence.link,
            unsynced: 0,
            failed: false,
            cut,
            index,
            builder: Builder::default(),
            generation,
            _lock: lock,
        })
    }

    /// Goes on with the last segment of the newest term, or begins its first.
    fn append_in(layout: Layout, lock: WriteLock, options: Options, expected: Option<&Header>) -> Result<Self, LogError> {
        let dir = layout.dir().to_owned();
        let fenced = layout.fence().segment;
        let mut number = layout.count_known()?;
        let mut cut = None;
        let mut segment = loop {
            match layout.open(number, None)? {
                Opened::Segment(segment) => break segment,
                Opened::Torn(_) if number == 1 => return Err(LogError::NoHeader { path: layout.path(1) }),
                Opened::Torn(_) if cut.is_some() => {
                    let what = "the segment ends inside its header, but others follow".to_owned();
                    return Err(LogError::Damage { segment: number, offset: 0, epoch: None, what });
                }
                Opened::Torn(torn) => {
                    remove(&layout.path(number))?;
                    cut = Some(torn);
                    number -= 1;
                }
            }
        };
        let header = segment.header.log.clone();
        if let Some(expected) = expected {
            check_header(&dir, &header, expected)?;
        }
        let generation = if header.stream == INPUT_STREAM { check_input_schema(&dir, &header)? } else { 0 };
        if number == fenced {
            return Self::begin_segment(layout, lock, header, options, number + 1, cut);
        }
        segment.last = segment.header.base_epoch.checked_sub(1);
        let mut last_index = SegmentIndex::new(&segment.header)?;
        let mut scratch = Vec::new();
        let torn = loop {
            let place = (segment.position, segment.last, segment.link);
            match segment.step_whole(&mut scratch) {
                Ok(Step::Epoch(frames)) => last_index.note_frames(&frames),
                Ok(Step::End(torn)) => break torn,
                Err(LogError::Damage { .. }) if options.forced.is_some_and(|forced| (number, place.0) >= forced) => {
                    (segment.position, segment.last, segment.link) = place;
                    break Some(segment.rest());
                }
                Err(error) => return Err(error),
            }
        };
        let path = layout.path(number);
        let file = File::options().append(true).open(&path).map_err(|source| write_error(&dir, &path, "open for writing", source))?;
        if let Some(torn) = torn {
            if cut.is_some() {
                return Err(segment.damage(torn.offset, "the segment ends inside an epoch, but another follows"));
            }
            file.set_len(torn.offset)
                .and_then(|()| sync_file(&file, options))
                .map_err(|source| io_error(&path, "cut the torn end of", source))?;
            cut = Some(torn);
        }
        sync_entries(&dir, options)?;
        let mut index = Index::of_earlier(&layout, number)?;
        index.segments.push(last_index);
        let Segment { position: length, last, link, .. } = *segment;
        let link = link.expect("the segment was walked from its beginning");
        let builder = Builder::default();
        Ok(Self {
            dir,
            layout,
            header,
            options,
            path,
            file,
            number,
            length,
            last,
            link,
            unsynced: 0,
            failed: false,
            cut,
            index,
            builder,
            generation,
            _lock: lock,
        })
    }

    /// What the log is.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The leadership term it writes in. Whether that is still the newest is for the caller to ask before each batch
    /// ([`newest_term`](super::newest_term)): what is written later counts for nobody.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.layout.newest()
    }

    /// The last epoch in the log.
    #[must_use]
    pub fn last_epoch(&self) -> Option<Epoch> {
        self.last
    }

    /// The torn tail that was cut off when the log was opened.
    #[must_use]
    pub fn cut(&self) -> Option<&Torn> {
        self.cut.as_ref()
    }

    /// Number of the segment being written and its length in bytes: where the next epoch goes, if it fits.
    #[must_use]
    pub fn position(&self) -> (u32, u64) {
        (self.number, self.length)
    }

    /// Appends an epoch of the input log; row `n` gets sequence `n`. An epoch without rows is an epoch too.
    ///
    /// # Errors
    /// When the epoch does not come after the last one, is too large or holds a kind of row that came after the log was begun
    /// (the log is then as before), when this is no input log, or when writing fails (the writer then takes no more).
    pub fn append_epoch(&mut self, epoch: Epoch, rows: &[Input]) -> Result<(), LogError> {
        if self.header.stream != INPUT_STREAM {
            return Err(self.other_stream(INPUT_STREAM));
        }
        if let Some(row) = rows.iter().find(|row| row.kind().since() > self.generation) {
            return Err(LogError::LaterKind { dir: self.dir.clone(), kind: row.kind().name() });
        }
        self.begin(epoch, rows.len())?;
        for (row, sequence) in rows.iter().zip(0i64..) {
            let kind = row.kind();
            self.builder.row(epoch, kind as u16, kind.fields(), sequence, |columns| row.push(columns))?;
        }
        self.commit(epoch, rows.len())
    }

    /// Appends an epoch of an output stream: records with their differences, in the order given.
    ///
    /// # Errors
    /// As [`append_epoch`](Self::append_epoch), and when the log is of other records.
    pub fn append_records<'a, R: Record + 'a>(
        &mut self,
        epoch: Epoch,
        rows: impl ExactSizeIterator<Item = (&'a R, i64)>,
    ) -> Result<(), LogError> {
        if self.header.stream == INPUT_STREAM {
            return Err(self.other_stream(R::NAME));
        }
        check_schema(&self.dir, &self.header, record_fingerprint::<R>())?;
        let count = rows.len();
        self.begin(epoch, count)?;
        for (row, difference) in rows {
            self.builder.row(epoch, RECORDS, R::FIELDS, difference, |columns| row.push(columns))?;
        }
        self.commit(epoch, count)
    }

    /// Forces all to the disk and stores the index.
    ///
    /// # Errors
    /// When the file system refuses, or an earlier write failed.
    pub fn close(mut self) -> Result<(), LogError> {
        if self.failed {
            return Err(LogError::Failed { last_epoch: self.last });
        }
        self.sync()?;
        self.index.store(&self.dir)
    }

    fn other_stream(&self, expected: &str) -> LogError {
        LogError::Stream { dir: self.dir.clone(), found: self.header.stream.clone(), expected: expected.to_owned() }
    }

    fn begin(&mut self, epoch: Epoch, rows: usize) -> Result<(), LogError> {
        if self.failed {
            return Err(LogError::Failed { last_epoch: self.last });
        }
        if let Some(last) = self.last.filter(|last| epoch <= *last) {
            return Err(LogError::Order { epoch, last });
        }
        if epoch > MAX_EPOCH {
            return Err(LogError::Beyond { epoch });
        }
        if rows > EPOCH_ROWS as usize {
            return Err(LogError::TooLarge { epoch, what: format!("it has {rows} rows, at most {EPOCH_ROWS} fit") });
        }
        self.builder.clear();
        Ok(())
    }

    /// One group commit.
    fn commit(&mut self, epoch: Epoch, rows: usize) -> Result<(), LogError> {
        let commit = self.builder.finish(epoch, rows as u32)?;
        let roll = self.length > SEGMENT_HEADER as u64 && self.length + self.builder.out.len() as u64 > self.options.segment_bytes;
        let written = if roll { self.roll() } else { Ok(()) };
        let written = written.and_then(|()| {
            let write = self.file.write_all(&self.builder.out);
            write.map_err(|source| LogError::Write { path: self.path.clone(), last_epoch: self.last, source })
        });
        if written.is_err() {
            // Best effort: a reader skips the incomplete epoch anyway, and reopening cuts it.
            let _ = self.file.set_len(self.length);
            self.failed = true;
            return written;
        }
        let first = FrameHeader::read(self.builder.out.first_chunk().expect("an epoch has a commit frame")).expect("a header just written");
        self.index.segments.last_mut().expect("there is a segment").note(epoch, self.length, first.own_crc());
        self.length += self.builder.out.len() as u64;
        self.last = Some(epoch);
        self.link = commit.chain(self.link);
        self.unsynced += 1;
        match self.options.sync {
            Sync::EveryEpoch => self.sync(),
            Sync::EveryN(epochs) if self.unsynced >= epochs => self.sync(),
            Sync::EveryN(_) | Sync::OnClose | Sync::Never => Ok(()),
        }
    }

    /// Forces what was appended to the disk, unless the options say never.
    ///
    /// # Errors
    /// When the disk refuses; the writer then takes no more.
    pub fn sync(&mut self) -> Result<(), LogError> {
        self.unsynced = 0;
        if self.options.sync == Sync::Never {
            return Ok(());
        }
        self.file.sync_data().map_err(|source| {
            self.failed = true;
            LogError::Write { path: self.path.clone(), last_epoch: self.last, source }
        })
    }

    /// Ends the segment and begins the next.
    fn roll(&mut self) -> Result<(), LogError> {
        self.sync()?;
        let number = self.number + 1;
        let base_epoch = self.last.map_or(0, |last| last.saturating_add(1));
        let header = SegmentHeader { log: self.header.clone(), number, base_epoch, link: self.link };
        let bytes = header.write()?;
        let path = self.layout.path(number);
        let failed = |source| LogError::Write { path: path.clone(), last_epoch: self.last, source };
        let mut file = File::options().append(true).create_new(true).open(&path).map_err(failed)?;
        file.write_all(&bytes).map_err(failed)?;
        sync_entries(&self.dir, self.options)?;
        self.index.segments.push(SegmentIndex::new(&header)?);
        (self.file, self.path, self.number, self.length) = (file, path, number, bytes.len() as u64);
        // For those who open a log that is being written. It is a cache: that it cannot be stored is no reason to stop.
        let _ = self.index.store(&self.dir);
        Ok(())
    }
}

fn create_segment(dir: &Path, path: &Path) -> Result<File, LogError> {
    File::options().append(true).create_new(true).open(path).map_err(|source| write_error(dir, path, "create", source))
}

fn sync_file(file: &File, options: Options) -> io::Result<()> {
    if options.sync == Sync::Never { Ok(()) } else { file.sync_all() }
}

fn sync_entries(dir: &Path, options: Options) -> Result<(), LogError> {
    if options.sync == Sync::Never { Ok(()) } else { sync_directory(dir) }
}

/// Refuses rows of another shape than the log's.
pub(super) fn check_schema(dir: &Path, header: &Header, expected: u64) -> Result<(), LogError> {
    if header.schema == expected {
        return Ok(());
    }
    Err(LogError::Schema { dir: dir.to_owned(), stream: header.stream.clone(), found: header.schema, expected })
}

/// The generation of row kinds an input log was begun in; refuses one of rows this build does not know.
pub(super) fn check_input_schema(dir: &Path, header: &Header) -> Result<u8, LogError> {
    generation(header.schema).ok_or_else(|| {
        let expected = fingerprint(&Kind::schema(Kind::GENERATION));
        LogError::Schema { dir: dir.to_owned(), stream: header.stream.clone(), found: header.schema, expected }
    })
}

/// Refuses a log of another region, stream or record.
fn check_header(dir: &Path, header: &Header, expected: &Header) -> Result<(), LogError> {
    let dir = dir.to_owned();
    if header.region != expected.region {
        return Err(LogError::Region { dir, found: header.region.clone(), expected: expected.region.clone() });
    }
    if header.stream != expected.stream {
        return Err(LogError::Stream { dir, found: header.stream.clone(), expected: expected.stream.clone() });
    }
    if header.stream == INPUT_STREAM { check_input_schema(&dir, header).map(|_| ()) } else { check_schema(&dir, header, expected.schema) }
}

/// Whether the one segment there is is the beginning of a header: all that an interrupted creation leaves.
fn creation_was_interrupted(layout: &Layout) -> bool {
    layout.limit(1).is_none()
        && fs::read(layout.path(1))
            .is_ok_and(|bytes| bytes.len() < SEGMENT_HEADER && (bytes.starts_with(&MAGIC) || MAGIC.starts_with(&bytes)))
}

fn remove(path: &Path) -> Result<(), LogError> {
    fs::remove_file(path).map_err(|source| io_error(path, "remove", source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{Tick, Timer};

    #[test]
    fn a_failed_write_names_the_last_good_epoch_and_ends_the_writer() {
        let dir = tempfile::tempdir().unwrap();
        let tick = [Input::from(Tick { timer: Timer::Estimate, event_ms: 5 })];
        let mut writer = LogWriter::create(dir.path(), Header::input("north"), Options::default()).unwrap();
        writer.append_epoch(1000, &tick).unwrap();
        // A handle that cannot write stands for a full disk.
        writer.file = File::open(writer.layout.path(1)).unwrap();
        let error = writer.append_epoch(2000, &tick).unwrap_err();
        assert!(matches!(error, LogError::Write { last_epoch: Some(1000), .. }), "{error}");
        assert!(error.to_string().contains("everything up to epoch 1000 is safe"), "{error}");
        assert!(matches!(writer.append_epoch(3000, &tick), Err(LogError::Failed { last_epoch: Some(1000) })));
        assert!(matches!(writer.close(), Err(LogError::Failed { .. })));
        let mut again = LogWriter::open_append(dir.path(), Options::default()).unwrap();
        assert_eq!((again.last_epoch(), again.cut()), (Some(1000), None));
        again.append_epoch(2000, &tick).unwrap();
    }
}
