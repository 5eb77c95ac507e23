//! Reading a log, epoch by epoch: as blocks of columns, as rows that entered, or as records with differences.
//!
//! Only committed epochs come out. At the end of the log the readers return `None` and keep their place: asked again
//! after the log grew, they go on. An error is final: what lies behind damage is never handed out.

use super::columns;
use super::directory::{count_segments, segment_path};
use super::frame::{FRAME_HEADER, SegmentHeader};

use super::index::Index;
use super::batch::EpochBatch;
use super::rows::{input_batch, record_rows};
use super::segment::{Frames, Opened, Segment, Step};
use super::writer::check_schema;
use super::{Header, INPUT_STREAM, LogError, Torn, fingerprint, record_fingerprint};
use crate::input::{Epoch, Kind};
use crate::row::{Column, DecodeError, Record};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

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
    dir: PathBuf,
    header: Header,
    segment: Segment,
    from: Epoch,
    torn: Option<Torn>,
    scratch: Vec<u8>,
    at_end: bool,
    failed: bool,
}

/// Where an epoch lies in its segment, for messages.
type Place = Frames;

impl BlockReader {
    /// Opens the log in `dir` at its first epoch.
    ///
    /// # Errors
    /// When there is no log, segments are missing, or the first segment's header cannot be read.
    pub fn open(dir: &Path) -> Result<Self, LogError> {
        if count_segments(dir)? == 0 {
            return Err(LogError::Empty { dir: dir.to_owned() });
        }
        let path = segment_path(dir, 1);
        let Opened::Segment(segment) = Segment::open(&path, 1, None)? else { return Err(LogError::NoHeader { path }) };
        let segment = *segment;
        let header = segment.header.log.clone();
        Ok(Self { dir: dir.to_owned(), header, segment, from: 0, torn: None, scratch: Vec::new(), at_end: false, failed: false })
    }

    /// Opens the log in `dir` at the first epoch not before `epoch`, without reading what lies far before it.
    ///
    /// # Errors
    /// As [`open`](Self::open), and when a segment header on the way is damaged.
    pub fn open_at(dir: &Path, epoch: Epoch) -> Result<Self, LogError> {
        let mut reader = Self::open(dir)?;
        reader.from = epoch;
        // The last segment whose least epoch is not behind the one asked for.
        let (mut low, mut high) = (1, count_segments(dir)?);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            match Segment::open(&segment_path(dir, middle), middle, None)? {
                Opened::Segment(segment) if segment.header.base_epoch <= epoch => {
                    check_identity(&reader.header, &segment)?;
                    reader.segment = *segment;
                    low = middle;
                }
                _ => high = middle - 1,
            }
        }
        let known = Index::load(dir);
        let header_crc = reader.segment.header.own_crc()?;
        let known = known.as_ref().and_then(|index| index.of(reader.segment.header.number, header_crc));
        if let Some(entry) = known.and_then(|known| known.entries.iter().rfind(|entry| entry.epoch <= epoch)) {
            let found = reader.segment.peek(entry.offset)?;
            if found.is_some_and(|header| header.epoch == entry.epoch && header.own_crc() == entry.frame_crc) {
                reader.segment.seek(entry.offset, entry.epoch);
            }
        }
        Ok(reader)
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
            self.at_end = false;
        }
        loop {
            let torn = match self.segment.step()? {
                Step::Epoch(frames) if frames.epoch < self.from => continue,
                Step::Epoch(frames) => {
                    self.torn = None;
                    let blocks = self.decode(&frames)?;
                    return Ok(Some((frames, blocks)));
                }
                Step::End(torn) => torn,
            };
            // Whether another segment follows must be known before this one's length is looked at again: a writer
            // finishes a segment before it begins the next.
            let number = self.segment.header.number + 1;
            let path = segment_path(&self.dir, number);
            let follows = path.exists();
            if self.segment.refresh()? {
                continue;
            }
            self.torn = torn;
            if !follows {
                self.at_end = true;
                return Ok(None);
            }
            if let Some(torn) = &self.torn {
                return Err(self.segment.damage(torn.offset, "the segment ends inside an epoch, but another segment follows"));
            }
            match Segment::open(&path, number, self.segment.last)? {
                Opened::Segment(next) => {
                    check_identity(&self.header, &next)?;
                    let SegmentHeader { base_epoch, link, log, .. } = &next.header;
                    if *base_epoch != self.segment.floor
                        || self.segment.link.is_some_and(|due| due != *link)
                        || log.term < self.segment.header.log.term
                    {
                        return Err(
                            next.damage(0, "the segment does not continue the one before it: epochs are missing or it is of another log")
                        );
                    }
                    self.segment = *next;
                }
                Opened::Torn(_) if segment_path(&self.dir, number + 1).exists() => {
                    let what = "the segment ends inside its header, but others follow".to_owned();
                    return Err(LogError::Damage { segment: number, offset: 0, epoch: self.segment.last, what });
                }
                Opened::Torn(torn) => {
                    self.torn = Some(torn);
                    return Ok(None);
                }
            }
        }
    }

    fn decode(&mut self, frames: &Frames) -> Result<EpochBlocks, LogError> {
        let mut blocks = Vec::with_capacity(frames.frames.len());
        for (index, (offset, header)) in frames.frames.iter().enumerate() {
            let raw = self.segment.payload(frames, index, &mut self.scratch)?;
            let columns = columns::decode(raw, usize::from(header.columns), header.rows as usize);
            let columns =
                columns.map_err(|error| self.segment.damage_in(frames, *offset, format!("{error}, in epoch {}", header.epoch)))?;
            let stored_bytes = u64::from(header.stored) + FRAME_HEADER as u64;
            blocks.push(Block { code: header.code, columns, stored_bytes, raw_bytes: u64::from(header.raw) });
        }
        Ok(EpochBlocks { epoch: frames.epoch, rows: frames.rows, blocks })
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
        check_schema(dir, &blocks.header, fingerprint(&Kind::schema()))?;
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

    fn of(dir: &Path, stream: &str, blocks: BlockReader) -> Result<Self, LogError> {
        check_stream(dir, &blocks.header, stream)?;
        check_schema(dir, &blocks.header, record_fingerprint::<R>())?;
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
