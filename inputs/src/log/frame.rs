//! Byte layout of the segment header (256 bytes) and the frame header (32 bytes), both little endian, both with a CRC.
//!
//! Both have a fixed size, so that no changed byte can change where the next structure begins: a header is whole and
//! right, or it is damage, or the file is shorter than it, which is torn. CRC-32 is ISO-HDLC (the one of zip and
//! Ethernet): as strong as CRC32C for our lengths, and `crc32fast` is pure Rust with equal results on every processor.

use super::{Header, LogError};
use crate::input::Epoch;
use std::path::Path;

/// Version of the log format this build writes, and the newest it reads.
pub const FORMAT_VERSION: u16 = 1;
/// Greatest number of rows in one frame; more rows of a kind take more frames.
pub const FRAME_ROWS: u32 = 1 << 16;
/// Greatest number of rows in one epoch.
pub const EPOCH_ROWS: u32 = 1 << 26;
/// Greatest payload of one frame in bytes, stored or not.
pub const PAYLOAD_BYTES: u32 = 1 << 30;

/// First bytes of every segment.
pub(super) const MAGIC: [u8; 8] = *b"GRIDFLOW";
/// Size of a segment's header.
pub(super) const SEGMENT_HEADER: usize = 256;
/// Size of a frame's header.
pub(super) const FRAME_HEADER: usize = 32;
/// Code of the frame that ends an epoch.
pub(super) const COMMIT: u16 = 0;
/// Code of the frames of an output stream's records.
pub(super) const RECORDS: u16 = 1;

const NAME_BYTES: usize = 96;
const REGION_AT: usize = 48;
const STREAM_AT: usize = REGION_AT + NAME_BYTES;
const SEGMENT_CRC_AT: usize = SEGMENT_HEADER - 4;
/// Where a frame header's own CRC is. What is summed over headers stops before it: a CRC over bytes and their CRC is the
/// same whatever the bytes are.
pub(super) const FRAME_CRC_AT: usize = FRAME_HEADER - 4;

/// First thing in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// What the log is.
    pub(super) log: Header,
    /// Number of the segment, from 1.
    pub(super) number: u32,
    /// Least epoch it may hold: one more than the last epoch of the segment before it, 0 in the first.
    pub(super) base_epoch: Epoch,
    /// All commit frames before it chained by their CRCs, 0 in the first: ties the segments of one recording together.
    pub(super) link: u32,
}

/// A frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// Kind of the rows; [`COMMIT`] ends the epoch.
    pub(super) code: u16,
    /// Whether the payload is LZ4-compressed.
    pub(super) compressed: bool,
    /// Number of columns, the order column included.
    pub(super) columns: u8,
    /// Rows in the frame; in a commit frame, rows in the epoch.
    pub(super) rows: u32,
    /// The epoch.
    pub(super) epoch: Epoch,
    /// Length of the columns; in a commit frame, number of frames in the epoch.
    pub(super) raw: u32,
    /// Length of what follows in the file; 0 in a commit frame.
    pub(super) stored: u32,
    /// CRC of what follows; in a commit frame, of the frame headers of the epoch without their own CRCs.
    pub(super) payload_crc: u32,
}

/// CRC-32/ISO-HDLC.
pub(super) fn crc(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the slice has the array's length")
}

impl SegmentHeader {
    /// The header's bytes.
    pub(super) fn write(&self) -> Result<[u8; SEGMENT_HEADER], LogError> {
        let mut bytes = [0; SEGMENT_HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.log.term.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.base_epoch.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.log.schema.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.link.to_le_bytes());
        for (name, length_at, at) in [(&self.log.region, 44, REGION_AT), (&self.log.stream, 46, STREAM_AT)] {
            if name.len() > NAME_BYTES {
                return Err(LogError::Name { name: name.clone() });
            }
            bytes[length_at..length_at + 2].copy_from_slice(&(name.len() as u16).to_le_bytes());
            bytes[at..at + name.len()].copy_from_slice(name.as_bytes());
        }
        let check = crc(&bytes[..SEGMENT_CRC_AT]);
        bytes[SEGMENT_CRC_AT..].copy_from_slice(&check.to_le_bytes());
        Ok(bytes)
    }

    /// Reads a header; `path` and `number` say whose, for messages.
    pub(super) fn read(bytes: &[u8; SEGMENT_HEADER], path: &Path, number: u32) -> Result<Self, LogError> {
        if bytes[..8] != MAGIC {
            return Err(LogError::Foreign { path: path.to_owned(), what: "it does not begin with GRIDFLOW" });
        }
        let version = u16::from_le_bytes(array(bytes, 8));
        if version > FORMAT_VERSION {
            return Err(LogError::Version { path: path.to_owned(), found: version });
        }
        let damage = |what: &str| LogError::Damage { segment: number, offset: 0, epoch: None, what: what.to_owned() };
        if u32::from_le_bytes(array(bytes, SEGMENT_CRC_AT)) != crc(&bytes[..SEGMENT_CRC_AT]) {
            return Err(damage("the checksum of the segment's header does not fit"));
        }
        if version == 0 {
            return Err(damage("there is no log format version 0"));
        }
        let name = |length_at: usize, at: usize| {
            let length = usize::from(u16::from_le_bytes(array(bytes, length_at)));
            let name = bytes[at..at + NAME_BYTES].get(..length).and_then(|name| std::str::from_utf8(name).ok());
            name.map(str::to_owned).ok_or_else(|| damage("a name in the segment's header is no text"))
        };
        let log = Header {
            region: name(44, REGION_AT)?,
            stream: name(46, STREAM_AT)?,
            schema: u64::from_le_bytes(array(bytes, 32)),
            term: u64::from_le_bytes(array(bytes, 16)),
        };
        let header = Self {
            log,
            number: u32::from_le_bytes(array(bytes, 12)),
            base_epoch: u64::from_le_bytes(array(bytes, 24)),
            link: u32::from_le_bytes(array(bytes, 40)),
        };
        if header.number != number {
            return Err(damage("the segment's header states another number than the file's name"));
        }
        Ok(header)
    }

    /// CRC of the header, as it stands in the file.
    pub(super) fn own_crc(&self) -> Result<u32, LogError> {
        Ok(u32::from_le_bytes(array(&self.write()?, SEGMENT_CRC_AT)))
    }
}

impl FrameHeader {
    /// The header's bytes.
    pub(super) fn write(&self) -> [u8; FRAME_HEADER] {
        let mut bytes = [0; FRAME_HEADER];
        bytes[..2].copy_from_slice(&self.code.to_le_bytes());
        bytes[2] = u8::from(self.compressed);
        bytes[3] = self.columns;
        bytes[4..8].copy_from_slice(&self.rows.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.raw.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.stored.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.payload_crc.to_le_bytes());
        let check = crc(&bytes[..FRAME_CRC_AT]);
        bytes[FRAME_CRC_AT..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// Reads a header, refusing lengths the format does not allow.
    pub(super) fn read(bytes: &[u8; FRAME_HEADER]) -> Result<Self, &'static str> {
        if u32::from_le_bytes(array(bytes, FRAME_CRC_AT)) != crc(&bytes[..FRAME_CRC_AT]) {
            return Err("the checksum of a frame's header does not fit");
        }
        let header = Self {
            code: u16::from_le_bytes(array(bytes, 0)),
            compressed: bytes[2] == 1,
            columns: bytes[3],
            rows: u32::from_le_bytes(array(bytes, 4)),
            epoch: u64::from_le_bytes(array(bytes, 8)),
            raw: u32::from_le_bytes(array(bytes, 16)),
            stored: u32::from_le_bytes(array(bytes, 20)),
            payload_crc: u32::from_le_bytes(array(bytes, 24)),
        };
        if bytes[2] > 1 {
            return Err("a frame states a compression this build does not know");
        }
        if header.code == COMMIT {
            let plain = !header.compressed && header.columns == 0 && header.stored == 0 && header.rows <= EPOCH_ROWS;
            return if plain { Ok(header) } else { Err("a commit frame with fields of another frame") };
        }
        // LZ4 expands at most 255-fold, so that what is allocated is bounded by what the file holds.
        let raw_possible = if header.compressed { u64::from(header.stored) * 255 } else { u64::from(header.stored) };
        if header.raw > PAYLOAD_BYTES || header.stored > PAYLOAD_BYTES || u64::from(header.raw) > raw_possible {
            return Err("a frame states a payload larger than the format allows");
        }
        if !header.compressed && header.raw != header.stored {
            return Err("a frame that is not compressed states two lengths");
        }
        if header.rows == 0 || header.rows > FRAME_ROWS || header.columns == 0 {
            return Err("a frame states a number of rows or columns the format does not allow");
        }
        Ok(header)
    }

    /// CRC of the header itself, as it stands in the file.
    pub(super) fn own_crc(&self) -> u32 {
        u32::from_le_bytes(array(&self.write(), FRAME_CRC_AT))
    }

    /// The link behind this commit frame, from the link before it.
    pub(super) fn chain(&self, link: u32) -> u32 {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&link.to_le_bytes());
        bytes[4..].copy_from_slice(&self.own_crc().to_le_bytes());
        crc(&bytes)
    }
}
