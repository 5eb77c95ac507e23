//! Reading a log, epoch by epoch: as blocks of columns, as rows that entered, or as records with differences.
//!
//! Only committed epochs come out. At the end of the log the readers return `None` and keep their place: asked again
//! after the log grew, they go on, into the segments of a new leadership term too. An error is final: what lies behind
//! damage is never handed out.

use super::batch::EpochBatch;
use super::columns;
use super::frame::{FRAME_HEADER, FrameHeader, RECORDS, SegmentHeader};
use super::index::Index;
use super::layout::{Layout, Survey};
use super::rows::{input_batch, record_rows};
use super::segment::{Frames, Opened, Segment, Step};
use super::writer::{check_input_schema, check_schema};
use super::{Header, INPUT_STREAM, LogError, Torn, generation, record_fingerprint};
use crate::input::{Epoch, Kind};
use crate::row::{Column, DecodeError, Record};
use std::io::ErrorKind;
use std::marker::PhantomData;
use std::path::Path;

/// Rows of one kind of one epoch, in columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Number of the kind ([`Kind`] in the input log, 1 in output streams).
    pub code: u16,
    /// The order column (sequence, or difference), then the fields in their order; all of equal length.
    pub columns: Vec<Column>,
    /// Bytes in the file, header included.
    pub stored_bytes: u64,
    /// Bytes of the columns before compression.
    pub raw_bytes: u64,
}

/// An epoch in columns. A kind may have several blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochBlocks {
    /// The epoch.
    pub epoch: Epoch,
    /// Rows in all blocks.
    pub rows: u32,
    /// The blocks, as stored.
    pub blocks: Vec<Block>,
}

/// An epoch of an output stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochRecords<R> {
    /// The epoch.
    pub epoch: Epoch,
    /// Its records with their differences, in the order they were written.
    pub rows: Vec<(R, i64)>,
}

/// Reads any log as columns, without knowing the shape of its rows.
#[derive(Debug)]
pub struct BlockReader {
    layout: Layout,
    header: Header,
    segment: Segment,
    /// Epochs before are passed over.
    from: Epoch,
    /// The last epoch handed out.
    handed: Option<Epoch>,
    /// The segment's length was looked at, and not yet whether a new term fences what that let in.
    unfenced: bool,
    torn: Option<Torn>,
    scratch: Vec<u8>,
    /// How many columns a frame of a code has, where the shape of the rows is known: a frame that says otherwise is refused
    /// before its columns are decoded, because constant columns of many rows take next to no bytes.
    shape: Option<Shape>,
    at_end: bool,
    failed: bool,
}

/// Number of columns of the frames of a code, the order column included.
type Shape = fn(u16) -> Result<usize, DecodeError>;

fn input_shape(code: u16) -> Result<usize, DecodeError> {
    let kind = Kind::from_code(i64::from(code)).ok_or(DecodeError::Invalid(i64::from(code), "kind of row"))?;
    Ok(kind.fields().len() + 1)
}

fn record_shape<R: Record>(code: u16) -> Result<usize, DecodeError> {
    if code != RECORDS {
        return Err(DecodeError::Invalid(i64::from(code), "kind of record"));
    }
    Ok(R::FIELDS.len() + 1)
}

/// Where an epoch lies in its segment, for messages.
type Place = Frames;

impl BlockReader {
    /// Opens the log in `dir` at its first epoch.
    ///
    /// # Errors
    /// When there is no log, segments are missing, or the first segment's header cannot be read.
    pub fn open(dir: &Path) -> Result<Self, LogError> {
        Self::with(Layout::load(dir)?, dir)
    }

    fn with(mut layout: Layout, dir: &Path) -> Result<Self, LogError> {
        if layout.count()? == 0 {
            return Err(LogError::Empty { dir: dir.to_owned() });
        }
        let Opened::Segment(segment) = layout.open(1, None)? else { return Err(LogError::NoHeader { path: layout.path(1) }) };
        let segment = *segment;
        let header = segment.header.log.clone();
        let known = header.stream == INPUT_STREAM && generation(header.schema).is_some();
        let shape = known.then_some(input_shape as Shape);
        let (unfenced, at_end, failed) = (true, false, false);
        Ok(Self { layout, header, segment, from: 0, handed: None, unfenced, torn: None, scratch: Vec::new(), shape, at_end, failed })
    }

    /// Opens the log in `dir` at the first epoch not before `epoch`, without reading what lies far before it. That epoch
    /// need not be there yet: the reader waits for it.
    ///
    /// # Errors
    /// As [`open`](Self::open), and when a segment header on the way is damaged.
    pub fn open_at(dir: &Path, epoch: Epoch) -> Result<Self, LogError> {
        let mut reader = Self::open(dir)?;
        reader.jump(epoch)?;
        Ok(reader)
    }

    fn jump(&mut self, epoch: Epoch) -> Result<(), LogError> {
        self.from = epoch;
        // The last segment whose least epoch is not behind the one asked for. Should a term have begun meanwhile, it is
        // looked for again before anything is read.
        let (mut low, mut high) = (1, 1);
        if let Survey::Whole { count, .. } = self.layout.survey()? {
            high = count;
        }
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            match self.layout.open(middle, None) {
                Ok(Opened::Segment(segment)) if segment.header.base_epoch <= epoch => {
                    check_identity(&self.header, &segment)?;
                    self.segment = *segment;
                    low = middle;
                }
                Err(error) if !is_gone(&error) => return Err(error),
                _ => high = middle - 1,
            }
        }
        let known = Index::load(self.layout.dir());
        let header_crc = self.segment.header.own_crc()?;
        let known = known.as_ref().and_then(|index| index.of(self.segment.header.number, header_crc));
        if let Some(entry) = known.and_then(|known| known.entries.iter().rfind(|entry| entry.epoch <= epoch)) {
            let found = self.segment.peek(entry.offset)?;
            if found.is_some_and(|header| header.epoch == entry.epoch && header.own_crc() == entry.frame_crc) {
                self.segment.seek(entry.offset, entry.epoch);
            }
        }
        Ok(())
    }

    /// What the log is.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The torn end of the log, when the end was reached and is torn.
    #[must_use]
    pub fn torn(&self) -> Option<&Torn> {
        self.torn.as_ref()
    }

    fn next_epoch(&mut self) -> Result<Option<(Place, EpochBlocks)>, LogError> {
        if self.at_end {
            // A torn end may have been cut since, so that the file is shorter than it was.
            self.segment.refresh()?;
            (self.at_end, self.unfenced) = (false, true);
        }
        let mut suspected = false;
        loop {
            if self.unfenced {
                // In this order: what a superseded leader wrote after the claim is never seen as the log's.
                self.follow_terms()?;
            }
            let (from, shape, mut scratch) = (self.from, self.shape, std::mem::take(&mut self.scratch));
            let step = self.segment.settled(|segment| match segment.step()? {
                Step::Epoch(frames) if frames.epoch < from => Ok(Passed::Over),
                Step::Epoch(frames) => {
                    let blocks = decode(segment, &frames, shape, &mut scratch)?;
                    Ok(Passed::Epoch(frames, blocks))
                }
                Step::End(torn) => Ok(Passed::End(torn)),
            });
            self.scratch = scratch;
            let torn = match step? {
                Passed::Over => continue,
                Passed::Epoch(frames, blocks) => {
                    (self.torn, self.handed) = (None, Some(frames.epoch));
                    return Ok(Some((frames, blocks)));
                }
                Passed::End(torn) => torn,
            };
            match self.beyond(torn)? {
                Beyond::Segment(next) => {
                    self.segment = *next;
                    self.unfenced = true;
                }
                Beyond::More => self.unfenced = true,
                // Nobody who is told that this is the end has read what does not count.
                Beyond::End(_) if self.follow_terms()? => {}
                Beyond::End(torn) => {
                    (self.torn, self.at_end) = (torn, true);
                    return Ok(None);
                }
                // A writer that comes back may have been at work between two looks: damage is what shows twice.
                Beyond::Damage(error) if suspected => return Err(error),
                Beyond::Damage(_) => suspected = true,
            }
        }
    }

    /// What lies behind the end of the segment, where `torn` was found.
    fn beyond(&mut self, torn: Option<Torn>) -> Result<Beyond, LogError> {
        // In this order. A writer finishes a segment before it begins the next, and a header before a segment behind that:
        // so when the next has a header, this one's length, looked at once more, is its last.
        let number = self.segment.header.number + 1;
        let others_follow = self.layout.path(number + 1).exists();
        let next = match self.layout.open(number, self.segment.last) {
            Err(error) if is_gone(&error) => None,
            next => Some(next?),
        };
        if self.segment.refresh()? {
            return Ok(Beyond::More);
        }
        let fenced = self.layout.limit(number - 1).is_some();
        let damage = |segment: &Segment, offset, what: &str| Ok(Beyond::Damage(segment.damage(offset, what)));
        match (next, torn) {
            (_, Some(torn)) if fenced => {
                damage(&self.segment, torn.offset, "the segment ends inside an epoch, but a later term found it complete")
            }
            (None, torn) => Ok(Beyond::End(torn)),
            (Some(_), Some(torn)) => damage(&self.segment, torn.offset, "the segment ends inside an epoch, but another segment follows"),
            (Some(Opened::Torn(_)), None) if others_follow => {
                let what = "the segment ends inside its header, but others follow".to_owned();
                Ok(Beyond::Damage(LogError::Damage { segment: number, offset: 0, epoch: self.segment.last, what }))
            }
            (Some(Opened::Torn(torn)), None) => Ok(Beyond::End(Some(torn))),
            (Some(Opened::Segment(next)), None) => {
                check_identity(&self.header, &next)?;
                let SegmentHeader { base_epoch, link, log, .. } = &next.header;
                if *base_epoch != self.segment.floor
                    || self.segment.link.is_some_and(|due| due != *link)
                    || log.term < self.segment.header.log.term
                {
                    return damage(&next, 0, "the segment does not continue the one before it: epochs are missing or it is of another log");
                }
                Ok(Beyond::Segment(next))
            }
        }
    }

    /// Takes up terms claimed since, and says whether there were any: goes on behind the fence of the first of them, unless
    /// what was handed out lies beyond it.
    fn follow_terms(&mut self) -> Result<bool, LogError> {
        let known = self.layout.newest();
        let mut followed = false;
        while self.layout.grew()? {
            let fence = self.layout.fence_of(known + 1);
            if self.handed > fence.last_epoch {
                return Err(LogError::Fenced { term: known + 1, epoch: fence.last_epoch });
            }
            let dir = self.layout.dir().to_owned();
            let mut again = Self::with(self.layout.clone(), &dir)?;
            check_identity(&self.header, &again.segment)?;
            again.jump(self.handed.map_or(self.from, |handed| self.from.max(handed + 1)))?;
            (again.handed, again.shape) = (self.handed, self.shape);
            (*self, followed) = (again, true);
        }
        self.unfenced = false;
        Ok(followed)
    }

    /// The next epoch, turned into something else, unless an error came before; errors are final.
    fn next_as<T>(&mut self, convert: impl FnOnce(EpochBlocks) -> Result<T, DecodeError>) -> Option<Result<T, LogError>> {
        if self.failed {
            return None;
        }
        let next = self.next_epoch().and_then(|next| match next {
            None => Ok(None),
            Some((place, blocks)) => {
                let epoch = blocks.epoch;
                let damage = |error| self.segment.damage_in(&place, place.offset, format!("{error}, in epoch {epoch}"));
                convert(blocks).map(Some).map_err(damage)
            }
        });
        self.failed = next.is_err();
        next.transpose()
    }
}

/// What a reader comes upon.
enum Passed {
    /// An epoch before the first one wanted.
    Over,
    Epoch(Frames, EpochBlocks),
    /// The end of the segment, with what is torn there.
    End(Option<Torn>),
}

/// What a reader finds behind the end of a segment.
enum Beyond {
    /// The next one, which continues it.
    Segment(Box<Segment>),
    /// The segment has grown.
    More,
    /// The end of the log, with what is torn there.
    End(Option<Torn>),
    /// Something that does not fit.
    Damage(LogError),
}

fn decode(segment: &Segment, frames: &Frames, shape: Option<Shape>, scratch: &mut Vec<u8>) -> Result<EpochBlocks, LogError> {
    let as_shaped = |header: &FrameHeader| match shape.map(|shape| shape(header.code)).transpose()? {
        Some(columns) if columns != usize::from(header.columns) => {
            Err(DecodeError::Malformed("a frame whose columns are not those of its kind"))
        }
        _ => Ok(()),
    };
    let mut blocks = Vec::with_capacity(frames.frames.len());
    for (index, (offset, header)) in frames.frames.iter().enumerate() {
        let damage = |error: DecodeError| segment.damage_in(frames, *offset, format!("{error}, in epoch {}", header.epoch));
        as_shaped(header).map_err(damage)?;
        let raw = segment.payload(frames, index, scratch)?;
        let columns = columns::decode(raw, usize::from(header.columns), header.rows as usize).map_err(damage)?;
        let stored_bytes = u64::from(header.stored) + FRAME_HEADER as u64;
        blocks.push(Block { code: header.code, columns, stored_bytes, raw_bytes: u64::from(header.raw) });
    }
    Ok(EpochBlocks { epoch: frames.epoch, rows: frames.rows, blocks })
}

fn is_gone(error: &LogError) -> bool {
    matches!(error, LogError::Io { source, .. } if source.kind() == ErrorKind::NotFound)
}

/// All segments of a log say the same about it; only the term may rise.
fn check_identity(log: &Header, segment: &Segment) -> Result<(), LogError> {
    let Header { region, stream, schema, .. } = &segment.header.log;
    if (region, stream, schema) == (&log.region, &log.stream, &log.schema) {
        return Ok(());
    }
    Err(segment.damage(0, "the segment is of another region, stream or schema than the first"))
}

impl Iterator for BlockReader {
    type Item = Result<EpochBlocks, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_as(Ok)
    }
}

/// Reads an input log.
#[derive(Debug)]
pub struct LogReader {
    blocks: BlockReader,
}

impl LogReader {
    /// Opens the input log in `dir` at its first epoch.
    ///
    /// # Errors
    /// As [`BlockReader::open`], and when it is another stream or was recorded with other row shapes.
    pub fn open(dir: &Path) -> Result<Self, LogError> {
        Self::of(dir, BlockReader::open(dir)?)
    }

    /// Opens the input log in `dir` at the first epoch not before `epoch`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_at(dir: &Path, epoch: Epoch) -> Result<Self, LogError> {
        Self::of(dir, BlockReader::open_at(dir, epoch)?)
    }

    fn of(dir: &Path, blocks: BlockReader) -> Result<Self, LogError> {
        check_stream(dir, &blocks.header, INPUT_STREAM)?;
        check_input_schema(dir, &blocks.header)?;
        Ok(Self { blocks })
    }

    /// What the log is.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.blocks.header
    }

    /// The torn end of the log, when the end was reached and is torn.
    #[must_use]
    pub fn torn(&self) -> Option<&Torn> {
        self.blocks.torn()
    }
}

impl Iterator for LogReader {
    type Item = Result<EpochBatch, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.blocks.next_as(|epoch| input_batch(&epoch))
    }
}

/// Reads an output stream of records `R`.
#[derive(Debug)]
pub struct StreamReader<R> {
    blocks: BlockReader,
    records: PhantomData<R>,
}

impl<R: Record> StreamReader<R> {
    /// Opens the log in `dir`, which must hold the stream of that name, at its first epoch.
    ///
    /// # Errors
    /// As [`BlockReader::open`], and when it is another stream or was written with another record shape.
    pub fn open(dir: &Path, stream: &str) -> Result<Self, LogError> {
        Self::of(dir, stream, BlockReader::open(dir)?)
    }

    /// Opens the log in `dir` at the first epoch not before `epoch`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_at(dir: &Path, stream: &str, epoch: Epoch) -> Result<Self, LogError> {
        Self::of(dir, stream, BlockReader::open_at(dir, epoch)?)
    }

    fn of(dir: &Path, stream: &str, mut blocks: BlockReader) -> Result<Self, LogError> {
        check_stream(dir, &blocks.header, stream)?;
        check_schema(dir, &blocks.header, record_fingerprint::<R>())?;
        blocks.shape = Some(record_shape::<R>);
        Ok(Self { blocks, records: PhantomData })
    }

    /// What the log is.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.blocks.header
    }

    /// The torn end of the log, when the end was reached and is torn.
    #[must_use]
    pub fn torn(&self) -> Option<&Torn> {
        self.blocks.torn()
    }
}

impl<R: Record> Iterator for StreamReader<R> {
    type Item = Result<EpochRecords<R>, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.blocks.next_as(|epoch| Ok(EpochRecords { epoch: epoch.epoch, rows: record_rows(&epoch)? }))
    }
}

fn check_stream(dir: &Path, header: &Header, expected: &str) -> Result<(), LogError> {
    if header.stream == expected {
        return Ok(());
    }
    Err(LogError::Stream { dir: dir.to_owned(), found: header.stream.clone(), expected: expected.to_owned() })
}
