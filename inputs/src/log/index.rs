//! The index file: where in each segment some epochs begin, so that a reader can start near one.
//!
//! It is a cache. It holds one entry for the first epoch that begins in each stretch of 1 MiB of a segment, which makes
//! it a function of the log alone; a writer stores it when a segment ends and when it closes. A reader uses an entry only when the segment's
//! header is the one the index was made from and the very frame header it names lies at the offset; else it walks the
//! segment from its beginning. So a missing, old or foreign index costs time and nothing else.

use super::frame::{SegmentHeader, crc};
use super::layout::Layout;
use super::segment::{Frames, Opened, Step};
use super::{LogError, io_error};
use crate::input::Epoch;
use std::fs;
use std::path::Path;

const NAME: &str = "index.gfi";
const DRAFT: &str = "index.gfi.draft";
const MAGIC: [u8; 8] = *b"GFINDEX1";
const STRETCH: u64 = 1 << 20;
const ENTRY: usize = 20;

/// Where an epoch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) epoch: Epoch,
    pub(super) offset: u64,
    /// CRC of the frame header that lies there.
    pub(super) frame_crc: u32,
}

/// The entries of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentIndex {
    /// CRC of the segment's header, to know it by.
    pub(super) header_crc: u32,
    pub(super) entries: Vec<Entry>,
}

/// The index of a log: segment 1 first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) segments: Vec<SegmentIndex>,
}

impl SegmentIndex {
    /// Without entries yet.
    pub(super) fn new(header: &SegmentHeader) -> Result<Self, LogError> {
        Ok(Self { header_crc: header.own_crc()?, entries: Vec::new() })
    }

    /// Notes an epoch, if it is the first to begin in its stretch.
    pub(super) fn note(&mut self, epoch: Epoch, offset: u64, frame_crc: u32) {
        if self.entries.last().is_none_or(|entry| entry.offset / STRETCH != offset / STRETCH) {
            self.entries.push(Entry { epoch, offset, frame_crc });
        }
    }

    /// Notes an epoch that was passed.
    pub(super) fn note_frames(&mut self, frames: &Frames) {
        self.note(frames.epoch, frames.offset, frames.first_crc);
    }

    /// Walks a segment that must end cleanly.
    pub(super) fn scan(layout: &Layout, number: u32) -> Result<Self, LogError> {
        let Opened::Segment(mut segment) = layout.open(number, None)? else {
            let what = "the segment ends inside its header, but others follow".to_owned();
            return Err(LogError::Damage { segment: number, offset: 0, epoch: None, what });
        };
        let mut index = Self::new(&segment.header)?;
        loop {
            match segment.step()? {
                Step::Epoch(frames) => index.note_frames(&frames),
                Step::End(None) => return Ok(index),
                Step::End(Some(torn)) => return Err(segment.damage(torn.offset, "the segment ends inside an epoch, but others follow")),
            }
        }
    }
}

impl Index {
    /// The index of a log as stored, if there is a whole one.
    pub(super) fn load(dir: &Path) -> Option<Self> {
        let bytes = fs::read(dir.join(NAME)).ok()?;
        let (content, check) = bytes.split_last_chunk::<4>()?;
        if crc(content) != u32::from_le_bytes(*check) {
            return None;
        }
        let mut rest = content.strip_prefix(&MAGIC)?;
        let mut index = Self::default();
        while !rest.is_empty() {
            let (head, tail) = rest.split_first_chunk::<8>()?;
            let header_crc = u32::from_le_bytes(head[..4].try_into().ok()?);
            let count = u32::from_le_bytes(head[4..].try_into().ok()?) as usize;
            let (table, tail) = tail.split_at_checked(count.checked_mul(ENTRY)?)?;
            rest = tail;
            let entries = table.chunks_exact(ENTRY).map(|bytes| {
                let (epoch, bytes) = bytes.split_first_chunk()?;
                let (offset, bytes) = bytes.split_first_chunk()?;
                let frame_crc = u32::from_le_bytes(bytes.try_into().ok()?);
                Some(Entry { epoch: u64::from_le_bytes(*epoch), offset: u64::from_le_bytes(*offset), frame_crc })
            });
            index.segments.push(SegmentIndex { header_crc, entries: entries.collect::<Option<_>>()? });
        }
        Some(index)
    }

    /// The entries of the segments before `number`: as stored where they are those segments', else found by walking them.
    pub(super) fn of_earlier(layout: &Layout, number: u32) -> Result<Self, LogError> {
        let stored = Self::load(layout.dir()).unwrap_or_default();
        let mut index = Self::default();
        for earlier in 1..number {
            index.segments.push(match stored.reusable(layout, earlier)? {
                Some(segment) => segment,
                None => SegmentIndex::scan(layout, earlier)?,
            });
        }
        Ok(index)
    }

    /// The entries of a segment, if they are that segment's and complete: the index knew the next one.
    fn reusable(&self, layout: &Layout, number: u32) -> Result<Option<SegmentIndex>, LogError> {
        let Opened::Segment(segment) = layout.open(number, None)? else { return Ok(None) };
        let known = self.of(number, segment.header.own_crc()?).filter(|_| (number as usize) < self.segments.len());
        let Some(mut known) = known.cloned() else { return Ok(None) };
        // A superseded leader may have noted what it wrote behind the fence.
        known.entries.retain(|entry| layout.limit(number).is_none_or(|limit| entry.offset < limit));
        Ok(Some(known))
    }

    /// Stores the index beside the segments.
    pub(super) fn store(&self, dir: &Path) -> Result<(), LogError> {
        let mut bytes = MAGIC.to_vec();
        for segment in &self.segments {
            bytes.extend_from_slice(&segment.header_crc.to_le_bytes());
            bytes.extend_from_slice(&(segment.entries.len() as u32).to_le_bytes());
            for entry in &segment.entries {
                bytes.extend_from_slice(&entry.epoch.to_le_bytes());
                bytes.extend_from_slice(&entry.offset.to_le_bytes());
                bytes.extend_from_slice(&entry.frame_crc.to_le_bytes());
            }
        }
        let check = crc(&bytes);
        bytes.extend_from_slice(&check.to_le_bytes());
        // A reader finds the one before or this one. What a crash leaves torn has no fitting checksum and counts as missing.
        let (path, draft) = (dir.join(NAME), dir.join(DRAFT));
        let stored = fs::write(&draft, bytes).and_then(|()| fs::rename(&draft, &path));
        stored.map_err(|source| {
            let _ = fs::remove_file(&draft);
            io_error(&path, "write", source)
        })
    }

    /// Entries of segment `number`, if they were made from a segment with this header.
    pub(super) fn of(&self, number: u32, header_crc: u32) -> Option<&SegmentIndex> {
        let segment = self.segments.get(number as usize - 1)?;
        (segment.header_crc == header_crc).then_some(segment)
    }
}
