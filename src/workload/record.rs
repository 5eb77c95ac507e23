//! One record of the workload, in the two forms every program reads: 24 bytes little endian, and a line of CSV.
//!
//! Bytes: ts_ms u64, value i32 (the bus, when kind is 1), sensor u32, arr_ms u32 (milliseconds after 2026-01-01T00:00Z),
//! quality u8, kind u8 (0 reading, 1 move), and two bytes of zero.

use std::io::{self, Write};

/// Length of a record in bytes.
pub const RECORD_BYTES: usize = 24;
/// First line of a CSV file, with its end.
pub const CSV_HEADER: &str = "ts_ms,value,sensor,arr_ms,quality,kind\n";

/// A reading, or the move of a sensor to another bus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Record {
    /// When it was taken or happened, UTC milliseconds.
    pub ts_ms: u64,
    /// Milliwatts; of a move, the bus.
    pub value: i32,
    /// Which sensor.
    pub sensor: u32,
    /// When it arrived, milliseconds after the start of the workload.
    pub arr_ms: u32,
    /// 2 and above is bad.
    pub quality: u8,
    /// [`READING`](Self::READING) or [`MOVE`](Self::MOVE).
    pub kind: u8,
}

/// Bytes or a line that are no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The kind is neither of the two.
    #[error("a record of kind {0}: there are 0 (reading) and 1 (move)")]
    Kind(u8),
    /// The last two bytes are not zero.
    #[error("a record that ends in {0:#06x} in place of two bytes of zero")]
    Padding(u16),
    /// A line that is not six numbers.
    #[error("field {field} of a line is no number that fits it")]
    Field {
        /// Its name.
        field: &'static str,
    },
    /// More than one line, where one was expected.
    #[error("there is more than one line")]
    Lines,
}

impl Record {
    /// The kind of a reading.
    pub const READING: u8 = 0;
    /// The kind of a move.
    pub const MOVE: u8 = 1;

    /// Its 24 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut out = [0; RECORD_BYTES];
        out[0..8].copy_from_slice(&self.ts_ms.to_le_bytes());
        out[8..12].copy_from_slice(&self.value.to_le_bytes());
        out[12..16].copy_from_slice(&self.sensor.to_le_bytes());
        out[16..20].copy_from_slice(&self.arr_ms.to_le_bytes());
        out[20] = self.quality;
        out[21] = self.kind;
        out
    }

    /// The record that 24 bytes are.
    ///
    /// # Errors
    /// When the kind is unknown or the end is not zero.
    pub fn decode(bytes: &[u8; RECORD_BYTES]) -> Result<Self, RecordError> {
        let [t0, t1, t2, t3, t4, t5, t6, t7, v0, v1, v2, v3, s0, s1, s2, s3, a0, a1, a2, a3, quality, kind, p0, p1] = *bytes;
        let padding = u16::from_le_bytes([p0, p1]);
        if kind > Self::MOVE {
            return Err(RecordError::Kind(kind));
        }
        if padding != 0 {
            return Err(RecordError::Padding(padding));
        }
        Ok(Self {
            ts_ms: u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
            value: i32::from_le_bytes([v0, v1, v2, v3]),
            sensor: u32::from_le_bytes([s0, s1, s2, s3]),
            arr_ms: u32::from_le_bytes([a0, a1, a2, a3]),
            quality,
            kind,
        })
    }

    /// Writes it as a line of CSV.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_csv(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{},{},{},{},{},{}", self.ts_ms, self.value, self.sensor, self.arr_ms, self.quality, self.kind)
    }

    /// The record that a line of CSV, without its end, is.
    ///
    /// # Errors
    /// When it is not six numbers that fit, or the kind is unknown.
    pub fn parse_csv(mut line: &[u8]) -> Result<Self, RecordError> {
        let record = Self::take_csv(&mut line)?;
        if line.is_empty() { Ok(record) } else { Err(RecordError::Lines) }
    }

    /// Takes the record at the front of lines of CSV, with the end of its line, if that is there.
    ///
    /// # Errors
    /// When the line is not six numbers that fit, or the kind is unknown; the lines are then where they cannot be read.
    pub fn take_csv(lines: &mut &[u8]) -> Result<Self, RecordError> {
        fn fit<T: TryFrom<i64>>(field: &'static str, lines: &mut &[u8], end: u8) -> Result<T, RecordError> {
            number(lines, end).and_then(|number| T::try_from(number).ok()).ok_or(RecordError::Field { field })
        }
        let record = Self {
            ts_ms: fit("ts_ms", lines, b',')?,
            value: fit("value", lines, b',')?,
            sensor: fit("sensor", lines, b',')?,
            arr_ms: fit("arr_ms", lines, b',')?,
            quality: fit("quality", lines, b',')?,
            kind: fit("kind", lines, b'\n')?,
        };
        if record.kind > Self::MOVE {
            return Err(RecordError::Kind(record.kind));
        }
        Ok(record)
    }
}

/// Takes a whole number in decimal digits, with a sign when negative, and the byte that ends it (the end of all ends a
/// line too).
#[inline]
fn number(text: &mut &[u8], end: u8) -> Option<i64> {
    let whole: &[u8] = text;
    let (negative, mut rest) = match whole {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let length = rest.len();
    let mut value = 0u64;
    while let [byte, tail @ ..] = rest
        && byte.is_ascii_digit()
    {
        // Wraps only after more digits than are allowed.
        value = value.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
        rest = tail;
    }
    // Eighteen digits always fit.
    let digits = length - rest.len();
    if digits == 0 || digits > 18 {
        return None;
    }
    *text = match rest {
        [byte, tail @ ..] if *byte == end => tail,
        [] if end == b'\n' => rest,
        _ => return None,
    };
    Some(if negative { -(value as i64) } else { value as i64 })
}
