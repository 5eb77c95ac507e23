//! One segment file, walked epoch by epoch through its frame headers.
//!
//! A walk stands between epochs. A step either returns all frames up to a commit frame that fits them, or says that
//! the file ends, cleanly or torn. Whether a torn end is acceptable depends on what follows and is the caller's
//! business. The bytes of the epoch under way are kept, so that payloads are not read twice.

use super::frame::{COMMIT, EPOCH_ROWS, FRAME_CRC_AT, FRAME_HEADER, FrameHeader, SEGMENT_HEADER, SegmentHeader, crc};
use super::{LogError, Torn, io_error};
use crate::input::{Epoch, MAX_EPOCH};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Least number of bytes to ask the file for at once.
const CHUNK: u64 = 1 << 18;

/// A segment being walked.
#[derive(Debug)]
pub(super) struct Segment {
    /// Its header.
    pub(super) header: SegmentHeader,
    /// Where the next epoch begins.
    pub(super) position: u64,
    /// Least epoch that may come next.
    pub(super) floor: Epoch,
    /// Last complete epoch passed, here or in a segment before.
    pub(super) last: Option<Epoch>,
    /// Link of the commit frames passed so far, see [`SegmentHeader::link`]; unknown after a jump.
    pub(super) link: Option<u32>,
    path: PathBuf,
    file: File,
    /// Where it ends for us, if a later term begins behind it.
    limit: Option<u64>,
    length: u64,
    /// Bytes of the file from `buffer_at` on.
    buffer: Vec<u8>,
    buffer_at: u64,
}

/// The frames of a complete epoch.
#[derive(Debug)]
pub(super) struct Frames {
    pub(super) epoch: Epoch,
    pub(super) rows: u32,
    /// The complete epoch before it, if known.
    pub(super) before: Option<Epoch>,
    /// Where the first frame header is.
    pub(super) offset: u64,
    /// CRC of the first frame header.
    pub(super) first_crc: u32,
    /// Offset of each frame's payload, and its header.
    pub(super) frames: Vec<(u64, FrameHeader)>,
}

/// What a step came upon.
#[derive(Debug)]
pub(super) enum Step {
    Epoch(Frames),
    /// The end of the file, with what is torn there.
    End(Option<Torn>),
}

/// A segment, or what there is of one whose header is not yet whole.
#[derive(Debug)]
pub(super) enum Opened {
    Segment(Box<Segment>),
    Torn(Torn),
}

impl Segment {
    /// Opens segment `number` and reads its header; nothing behind `limit` is looked at.
    pub(super) fn open(path: &Path, number: u32, limit: Option<u64>, last: Option<Epoch>) -> Result<Opened, LogError> {
        let mut file = File::open(path).map_err(|source| io_error(path, "open", source))?;
        let found = file.metadata().map_err(|source| io_error(path, "measure", source))?.len();
        let length = found.min(limit.unwrap_or(found));
        if limit.is_some_and(|limit| length < limit) {
            let what = format!("the file has {found} bytes, a later term found more");
            return Err(LogError::Damage { segment: number, offset: found, epoch: last, what });
        }
        if length < SEGMENT_HEADER as u64 {
            return Ok(Opened::Torn(Torn { segment: number, offset: 0, bytes: length, epoch: None }));
        }
        let mut bytes = [0; SEGMENT_HEADER];
        file.read_exact(&mut bytes).map_err(|source| io_error(path, "read", source))?;
        let header = SegmentHeader::read(&bytes, path, number)?;
        let at = SEGMENT_HEADER as u64;
        let (floor, link) = (header.base_epoch, Some(header.link));
        let path = path.to_owned();
        Ok(Opened::Segment(Box::new(Self {
            header,
            position: at,
            floor,
            last,
            link,
            path,
            file,
            limit,
            length,
            buffer: Vec::new(),
            buffer_at: at,
        })))
    }

    /// Looks at the file's length again; whether it changed.
    pub(super) fn refresh(&mut self) -> Result<bool, LogError> {
        let found = self.file.metadata().map_err(|source| io_error(&self.path, "measure", source))?.len();
        let length = found.min(self.limit.unwrap_or(found));
        if length < self.position {
            return Err(self.damage(length, "the file became shorter than what was read of it"));
        }
        let changed = length != self.length;
        self.length = length;
        // What was uncommitted may have been cut and written anew since.
        self.buffer.truncate((self.position - self.buffer_at) as usize);
        Ok(changed)
    }

    /// All that follows, as a torn end.
    pub(super) fn rest(&self) -> Torn {
        Torn { segment: self.header.number, offset: self.position, bytes: self.length - self.position, epoch: None }
    }

    /// Damage at `offset`.
    pub(super) fn damage(&self, offset: u64, what: impl Into<String>) -> LogError {
        LogError::Damage { segment: self.header.number, offset, epoch: self.last, what: what.into() }
    }

    /// Damage inside the epoch just passed.
    pub(super) fn damage_in(&self, frames: &Frames, offset: u64, what: impl Into<String>) -> LogError {
        LogError::Damage { segment: self.header.number, offset, epoch: frames.before, what: what.into() }
    }

    /// Goes to the epoch that begins at `offset`, without knowing what lies before it.
    pub(super) fn seek(&mut self, offset: u64, epoch: Epoch) {
        self.position = offset;
        self.floor = epoch;
        self.link = None;
        self.buffer.clear();
        self.buffer_at = offset;
    }

    /// The header of the frame at `offset`, if a whole and right one lies there. The walk stays where it is.
    pub(super) fn peek(&mut self, offset: u64) -> Result<Option<FrameHeader>, LogError> {
        if offset.checked_add(FRAME_HEADER as u64).is_none_or(|end| end > self.length) {
            return Ok(None);
        }
        let mut bytes = [0; FRAME_HEADER];
        let read = self.file.seek(SeekFrom::Start(offset)).and_then(|_| self.file.read_exact(&mut bytes));
        read.map_err(|source| io_error(&self.path, "read", source))?;
        Ok(FrameHeader::read(&bytes).ok())
    }

    /// Runs `read` on the next epoch, again when it fails on bytes that are being replaced.
    ///
    /// A writer that comes back cuts the torn end of the log and writes it anew. Whoever reads there meanwhile may see the
    /// end of one and the beginning of the other, or a file that is shorter than it just was. So damage is what reads the
    /// same twice.
    pub(super) fn settled<T>(&mut self, mut read: impl FnMut(&mut Self) -> Result<T, LogError>) -> Result<T, LogError> {
        /// More often than anybody writes anew: a device that gives other bytes each time must not hold us for ever.
        const ATTEMPTS: u32 = 100;
        let place = (self.position, self.floor, self.last, self.link);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let error = match read(self) {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            (self.position, self.floor, self.last, self.link) = place;
            let seen = self.buffer[(self.position - self.buffer_at) as usize..].to_vec();
            let length = self.length;
            self.refresh()?;
            let same = self.length >= length
                && (seen.is_empty() || self.bytes(self.position, seen.len()).is_ok_and(|bytes| bytes == seen.as_slice()));
            if same || attempt == ATTEMPTS {
                return Err(error);
            }
        }
    }

    /// Passes one epoch and tests the checksums of its payloads too.
    pub(super) fn step_whole(&mut self, scratch: &mut Vec<u8>) -> Result<Step, LogError> {
        let step = self.step()?;
        if let Step::Epoch(frames) = &step {
            for index in 0..frames.frames.len() {
                self.payload(frames, index, scratch)?;
            }
        }
        Ok(step)
    }

    /// Passes one epoch.
    pub(super) fn step(&mut self) -> Result<Step, LogError> {
        let mut headers = crc32fast::Hasher::new();
        let mut frames: Vec<(u64, FrameHeader)> = Vec::new();
        let (mut rows, mut first_crc, mut at) = (0u64, 0, self.position);
        loop {
            let epoch = frames.first().map(|(_, header)| header.epoch);
            let left = self.length - at;
            if left < FRAME_HEADER as u64 {
                let torn = Torn { segment: self.header.number, offset: self.position, bytes: self.length - self.position, epoch };
                return Ok(Step::End((torn.bytes > 0).then_some(torn)));
            }
            let bytes: &[u8; FRAME_HEADER] = self.bytes(at, FRAME_HEADER)?.try_into().expect("a frame header was asked for");
            let (header, bytes) = (FrameHeader::read(bytes), *bytes);
            let header = header.map_err(|what| self.damage(at, what))?;
            if epoch.unwrap_or(header.epoch) != header.epoch {
                return Err(self.damage(at, format!("a frame of epoch {} within epoch {}", header.epoch, epoch.unwrap_or(0))));
            }
            if header.epoch < self.floor {
                return Err(self.damage(at, format!("epoch {} where {} or later was due", header.epoch, self.floor)));
            }
            if header.epoch > MAX_EPOCH {
                return Err(self.damage(at, format!("epoch {} lies beyond any calendar: epochs end at {MAX_EPOCH}", header.epoch)));
            }
            if frames.is_empty() {
                first_crc = header.own_crc();
            }
            if header.code == COMMIT {
                let fits =
                    u64::from(header.rows) == rows && header.raw as usize == frames.len() && header.payload_crc == headers.finalize();
                if !fits {
                    return Err(self.damage(at, format!("the commit frame of epoch {} does not fit the frames before it", header.epoch)));
                }
                let found = Frames { epoch: header.epoch, rows: header.rows, before: self.last, offset: self.position, first_crc, frames };
                self.position = at + FRAME_HEADER as u64;
                self.floor = header.epoch.saturating_add(1);
                self.last = Some(header.epoch);
                self.link = self.link.map(|link| header.chain(link));
                return Ok(Step::Epoch(found));
            }
            rows += u64::from(header.rows);
            if rows > u64::from(EPOCH_ROWS) {
                return Err(self.damage(at, format!("epoch {} has more rows than the format allows", header.epoch)));
            }
            headers.update(&bytes[..FRAME_CRC_AT]);
            at += FRAME_HEADER as u64;
            if self.length - at < u64::from(header.stored) {
                let torn = Torn {
                    segment: self.header.number,
                    offset: self.position,
                    bytes: self.length - self.position,
                    epoch: Some(header.epoch),
                };
                return Ok(Step::End(Some(torn)));
            }
            frames.push((at, header));
            at += u64::from(header.stored);
        }
    }

    /// The payload of one frame of the epoch just passed, checked, and decompressed into `scratch` where needed.
    pub(super) fn payload<'a>(&'a self, frames: &Frames, index: usize, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], LogError> {
        let (offset, header) = &frames.frames[index];
        let start = (offset - self.buffer_at) as usize;
        let stored = &self.buffer[start..][..header.stored as usize];
        if crc(stored) != header.payload_crc {
            return Err(self.damage_in(frames, *offset, format!("the checksum of a frame of epoch {} does not fit", header.epoch)));
        }
        if !header.compressed {
            return Ok(stored);
        }
        scratch.resize(header.raw as usize, 0);
        match lz4_flex::block::decompress_into(stored, scratch) {
            Ok(length) if length == scratch.len() => Ok(scratch),
            _ => Err(self.damage_in(frames, *offset, format!("a frame of epoch {} does not decompress to its length", header.epoch))),
        }
    }

    /// Bytes of the file, which must have them. Keeps what lies from the current epoch on.
    fn bytes(&mut self, offset: u64, count: usize) -> Result<&[u8], LogError> {
        let end = offset + count as u64;
        if end > self.buffer_at + self.buffer.len() as u64 {
            // Drop what lies before the epoch under way, then read on.
            let keep_from = self.position.min(offset).max(self.buffer_at);
            let dropped = (keep_from - self.buffer_at) as usize;
            self.buffer.drain(..dropped);
            self.buffer_at = keep_from;
            let held = self.buffer.len();
            let from = self.buffer_at + held as u64;
            let upto = end.max(from + CHUNK).min(self.length);
            self.buffer.resize((upto - self.buffer_at) as usize, 0);
            let read = self.file.seek(SeekFrom::Start(from)).and_then(|_| self.file.read_exact(&mut self.buffer[held..]));
            if let Err(source) = read {
                self.buffer.truncate(held);
                return Err(io_error(&self.path, "read", source));
            }
        }
        let start = (offset - self.buffer_at) as usize;
        Ok(&self.buffer[start..start + count])
    }
}
