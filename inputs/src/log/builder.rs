//! The bytes of one epoch: rows go into columns by kind, columns into frames, and the commit frame ends it.
//!
//! A frame is closed at 65,536 rows or 8 MiB of byte columns; what is left at the end follows in the order of the
//! kinds' numbers. So the bytes are a function of the rows and their order alone.

use super::LogError;
use super::columns;
use super::frame::{COMMIT, FRAME_CRC_AT, FRAME_ROWS, FrameHeader, PAYLOAD_BYTES, crc};
use crate::input::Epoch;
use crate::row::{Column, Storage};

/// A frame is closed early when its byte columns hold this much.
const FRAME_BYTES: usize = 8 << 20;

/// A frame is compressed when byte strings are more than this part of it: in packed integers LZ4 finds nothing.
const TEXTS_WORTH: usize = 16;

/// Columns of one kind under construction; the order column first. Kept between epochs for their memory.
#[derive(Debug)]
struct KindColumns {
    code: u16,
    columns: Vec<Column>,
    has_bytes: bool,
}

/// The bytes of one epoch under construction.
#[derive(Debug, Default)]
pub(super) struct Builder {
    /// By code.
    kinds: Vec<KindColumns>,
    /// The slot used last: rows of a kind come in runs.
    recent: usize,
    /// The frames so far, as they go into the file.
    pub(super) out: Vec<u8>,
    raw: Vec<u8>,
    frames: u32,
    headers: crc32fast::Hasher,
}

impl Builder {
    /// Forgets the epoch before.
    pub(super) fn clear(&mut self) {
        self.kinds.iter_mut().for_each(|kind| clear(&mut kind.columns));
        self.out.clear();
        self.frames = 0;
        self.headers = crc32fast::Hasher::new();
    }

    /// Adds a row of a kind with these fields: `order` to the order column, the rest by `push`.
    pub(super) fn row(
        &mut self,
        epoch: Epoch,
        code: u16,
        fields: &[(&str, Storage)],
        order: i64,
        push: impl FnOnce(&mut [Column]),
    ) -> Result<(), LogError> {
        let slot = self.slot(code, fields);
        let Some((Column::Integers(orders), columns)) = self.kinds[slot].columns.split_first_mut() else {
            unreachable!("the first column is the order column and holds integers")
        };
        orders.push(order);
        push(columns);
        self.flush_when_full(slot, epoch)
    }

    /// Where the columns of a kind are.
    fn slot(&mut self, code: u16, fields: &[(&str, Storage)]) -> usize {
        if self.kinds.get(self.recent).is_none_or(|kind| kind.code != code) {
            self.recent = self.kinds.partition_point(|kind| kind.code < code);
            if self.kinds.get(self.recent).is_none_or(|kind| kind.code != code) {
                assert!(fields.len() < usize::from(u8::MAX), "kind {code} has {} fields, a frame holds 254", fields.len());
                let storages = std::iter::once(Storage::Integer).chain(fields.iter().map(|(_, storage)| *storage));
                let has_bytes = storages.clone().any(|storage| storage == Storage::Bytes);
                self.kinds.insert(self.recent, KindColumns { code, columns: storages.map(Column::new).collect(), has_bytes });
            }
        }
        self.recent
    }

    fn flush_when_full(&mut self, slot: usize, epoch: Epoch) -> Result<(), LogError> {
        let kind = &self.kinds[slot];
        let bytes = |column: &Column| if let Column::Bytes { data, .. } = column { data.len() } else { 0 };
        let full =
            kind.columns[0].len() >= FRAME_ROWS as usize || kind.has_bytes && kind.columns.iter().map(bytes).sum::<usize>() >= FRAME_BYTES;
        if full { self.frame(slot, epoch) } else { Ok(()) }
    }

    /// Turns the columns of one kind into a frame.
    fn frame(&mut self, slot: usize, epoch: Epoch) -> Result<(), LogError> {
        let KindColumns { code, columns, .. } = &mut self.kinds[slot];
        let rows = columns[0].len();
        if rows == 0 {
            return Ok(());
        }
        self.raw.clear();
        let texts = columns::encode(columns, &mut self.raw);
        if self.raw.len() > PAYLOAD_BYTES as usize {
            return Err(LogError::TooLarge {
                epoch,
                what: format!("a frame of {rows} rows of kind {code} takes {} bytes", self.raw.len()),
            });
        }
        let compressed = (texts > self.raw.len() / TEXTS_WORTH).then(|| lz4_flex::block::compress(&self.raw));
        let smaller = compressed.as_ref().is_some_and(|compressed| compressed.len() < self.raw.len());
        let stored = compressed.as_ref().filter(|_| smaller).unwrap_or(&self.raw);
        let header = FrameHeader {
            code: *code,
            compressed: smaller,
            columns: columns.len() as u8,
            rows: rows as u32,
            epoch,
            raw: self.raw.len() as u32,
            stored: stored.len() as u32,
            payload_crc: crc(stored),
        };
        let bytes = header.write();
        self.headers.update(&bytes[..FRAME_CRC_AT]);
        self.out.extend_from_slice(&bytes);
        self.out.extend_from_slice(stored);
        self.frames += 1;
        clear(columns);
        Ok(())
    }

    /// Writes what is left, kind by kind, and the commit frame, which is returned.
    pub(super) fn finish(&mut self, epoch: Epoch, rows: u32) -> Result<FrameHeader, LogError> {
        for slot in 0..self.kinds.len() {
            self.frame(slot, epoch)?;
        }
        let payload_crc = self.headers.clone().finalize();
        let commit = FrameHeader { code: COMMIT, compressed: false, columns: 0, rows, epoch, raw: self.frames, stored: 0, payload_crc };
        self.out.extend_from_slice(&commit.write());
        Ok(commit)
    }
}

fn clear(columns: &mut [Column]) {
    for column in columns {
        match column {
            Column::Integers(values) => values.clear(),
            Column::Bytes { ends, data } => {
                ends.clear();
                data.clear();
            }
        }
    }
}
