//! Columns as bytes: for each an encoding byte, the length of its body, its body.
//!
//! Bodies of integers: 0 plain, 1 deltas, 2 constant, 3 linear (first, step), 4 offsets of fixed width from the least
//! value, 5 packed bits, 6 first value and packed differences, 7 dictionary (see `packed`). Bodies of byte strings:
//! 16 lengths and bytes, 17 constant. Constant and linear are taken where they apply, else the shortest form, the faster one
//! of two equally short: equal columns have equal bytes. Differences wrap, so
//! that any `i64` can be stored. Reading checks every length before it allocates; what it allocates is bounded by the
//! rows and the bytes given.

use super::frame::{FRAME_ROWS, PAYLOAD_BYTES};
use super::packed;
use crate::row::{Column, DecodeError, read_integer, write_integer};

const PLAIN: u8 = 0;
const DELTA: u8 = 1;
const CONSTANT: u8 = 2;
const LINEAR: u8 = 3;
const FIXED: u8 = 4;
const PACKED: u8 = 5;
const PACKED_DELTA: u8 = 6;
const DICTIONARY: u8 = 7;
const TEXT: u8 = 16;
const CONSTANT_TEXT: u8 = 17;
/// A constant byte string is repeated for each row on reading: at most to this size.
const CONSTANT_TEXT_EXPANDED: usize = 1 << 20;

/// Appends the columns, each in its shortest form, to `out`.
///
/// # Panics
/// When a byte column's ends do not increase to the end of its data.
pub fn encode(columns: &[Column], out: &mut Vec<u8>) {
    for column in columns {
        match column {
            Column::Integers(values) => encode_integers(values, out),
            Column::Bytes { ends, data } => encode_bytes(ends, data, out),
        }
    }
}

/// Reads `count` columns of `rows` values each; `from` must hold nothing else.
///
/// # Errors
/// When the bytes are no such columns.
pub fn decode(mut from: &[u8], count: usize, rows: usize) -> Result<Vec<Column>, DecodeError> {
    if rows > FRAME_ROWS as usize {
        return Err(DecodeError::Malformed("more rows than a frame may have"));
    }
    let mut columns = Vec::with_capacity(count.min(256));
    for _ in 0..count {
        let (encoding, body) = take_body(&mut from)?;
        columns.push(if encoding < TEXT {
            Column::Integers(decode_integers(encoding, body, rows)?)
        } else {
            decode_bytes(encoding, body, rows)?
        });
    }
    if from.is_empty() { Ok(columns) } else { Err(DecodeError::Malformed("bytes left over behind the last column")) }
}

/// Bytes of the zigzag LEB128 form.
pub(super) fn integer_length(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)) as u64;
    ((70 - (zigzag | 1).leading_zeros()) / 7) as usize
}

fn put(encoding: u8, body_length: usize, out: &mut Vec<u8>) {
    out.push(encoding);
    write_integer(body_length as i64, out);
}

fn take_body<'a>(from: &mut &'a [u8]) -> Result<(u8, &'a [u8]), DecodeError> {
    let (&encoding, rest) = from.split_first().ok_or(DecodeError::Short("a column"))?;
    *from = rest;
    let length = read_integer(from)?;
    let length = usize::try_from(length).ok().filter(|length| *length <= from.len());
    let (body, rest) = from.split_at(length.ok_or(DecodeError::Short("a column's body"))?);
    *from = rest;
    Ok((encoding, body))
}

fn encode_integers(values: &[i64], out: &mut Vec<u8>) {
    let first = values.first().copied().unwrap_or(0);
    let step = values.get(1).map_or(0, |second| second.wrapping_sub(first));
    let (mut plain, mut deltas, mut linear) = (0, 0, true);
    let (mut least, mut greatest, mut previous) = (first, first, 0i64);
    let (mut least_step, mut greatest_step) = (step, step);
    for (row, &value) in values.iter().enumerate() {
        let difference = value.wrapping_sub(previous);
        plain += integer_length(value);
        deltas += integer_length(difference);
        if row > 0 {
            linear &= difference == step;
            least_step = least_step.min(difference);
            greatest_step = greatest_step.max(difference);
        }
        least = least.min(value);
        greatest = greatest.max(value);
        previous = value;
    }
    if linear {
        if step == 0 {
            put(CONSTANT, integer_length(first), out);
            write_integer(first, out);
        } else {
            put(LINEAR, integer_length(first) + integer_length(step), out);
            write_integer(first, out);
            write_integer(step, out);
        }
        return;
    }
    let span = greatest.wrapping_sub(least) as u64;
    let width = (71 - span.leading_zeros() as usize) / 8;
    let fixed = integer_length(least) + 1 + width * values.len();
    let whole_bytes = [(fixed, FIXED), (plain, PLAIN), (deltas, DELTA)];
    let (mut cheapest, whole_bytes) = whole_bytes.into_iter().min_by_key(|(cost, _)| *cost).expect("there are three");
    let mut form = Form::WholeBytes(whole_bytes);
    let mut offer = |cost: usize, offered: Form| {
        if cost < cheapest {
            (cheapest, form) = (cost, offered);
        }
    };
    if let Some(plan) = packed::plan(values.iter().copied(), least, greatest) {
        offer(plan.cost, Form::Packed(plan));
    }
    if let Some(plan) = packed::plan(steps(values), least_step, greatest_step) {
        offer(integer_length(first) + plan.cost, Form::PackedDelta(plan));
    }
    // A dictionary takes a bit a row at least.
    if cheapest > values.len() / 8 + 4
        && let Some(known) = packed::dictionary(values)
    {
        let cost = packed::dictionary_cost(&known, values.len());
        if cost < cheapest {
            (cheapest, form) = (cost, Form::Dictionary(known));
        }
    }
    let mut body = Vec::with_capacity(cheapest);
    let encoding = match form {
        Form::WholeBytes(FIXED) => {
            write_integer(least, &mut body);
            body.push(width as u8);
            for value in values {
                body.extend_from_slice(&(value.wrapping_sub(least) as u64).to_le_bytes()[..width]);
            }
            FIXED
        }
        Form::WholeBytes(encoding) => {
            let mut previous = 0i64;
            for value in values {
                write_integer(if encoding == DELTA { value.wrapping_sub(previous) } else { *value }, &mut body);
                previous = *value;
            }
            encoding
        }
        Form::Packed(plan) => {
            packed::encode(plan, values.iter().copied(), &mut body);
            PACKED
        }
        Form::PackedDelta(plan) => {
            write_integer(first, &mut body);
            packed::encode(plan, steps(values), &mut body);
            PACKED_DELTA
        }
        Form::Dictionary(known) => {
            packed::encode_dictionary(&known, values, &mut body);
            DICTIONARY
        }
    };
    put(encoding, body.len(), out);
    out.extend_from_slice(&body);
}

/// How a column is going to be stored.
enum Form {
    /// One of the encodings 0, 1, 4.
    WholeBytes(u8),
    Packed(packed::Plan),
    PackedDelta(packed::Plan),
    Dictionary(Vec<i64>),
}

/// The difference of each value but the first to the one before it.
fn steps(values: &[i64]) -> impl Iterator<Item = i64> + '_ {
    values.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]))
}

fn decode_integers(encoding: u8, mut body: &[u8], rows: usize) -> Result<Vec<i64>, DecodeError> {
    let values = match encoding {
        CONSTANT => vec![read_integer(&mut body)?; rows],
        LINEAR => {
            let (mut value, step) = (read_integer(&mut body)?, read_integer(&mut body)?);
            let mut values = Vec::with_capacity(rows);
            for _ in 0..rows {
                values.push(value);
                value = value.wrapping_add(step);
            }
            values
        }
        FIXED => {
            let least = read_integer(&mut body)?;
            let (&width, packed) = body.split_first().ok_or(DecodeError::Short("the width of a column"))?;
            if packed.len() != usize::from(width) * rows {
                return Err(DecodeError::Malformed("a column of fixed width with another length than its rows take"));
            }
            body = &[];
            match width {
                1 => unpack::<1>(packed, least),
                2 => unpack::<2>(packed, least),
                3 => unpack::<3>(packed, least),
                4 => unpack::<4>(packed, least),
                5 => unpack::<5>(packed, least),
                6 => unpack::<6>(packed, least),
                7 => unpack::<7>(packed, least),
                8 => unpack::<8>(packed, least),
                _ => return Err(DecodeError::Invalid(i64::from(width), "width of a column")),
            }
        }
        PLAIN | DELTA => {
            // Each value takes at least one byte.
            if rows > body.len() {
                return Err(DecodeError::Count { expected: rows, found: body.len() });
            }
            let mut values = Vec::with_capacity(rows);
            let mut previous = 0i64;
            for _ in 0..rows {
                let value = read_integer(&mut body)?;
                previous = if encoding == DELTA { previous.wrapping_add(value) } else { value };
                values.push(previous);
            }
            values
        }
        PACKED => packed::decode(&mut body, rows)?,
        PACKED_DELTA => {
            let mut value = read_integer(&mut body)?;
            // A column has a row at least; none is left for its differences when it has one.
            let mut values = packed::decode(&mut body, rows.saturating_sub(1))?;
            for step in &mut values {
                let before = value;
                value = value.wrapping_add(*step);
                *step = before;
            }
            values.extend((rows > 0).then_some(value));
            values
        }
        DICTIONARY => packed::decode_dictionary(&mut body, rows)?,
        other => return Err(DecodeError::Invalid(i64::from(other), "encoding of a column of integers")),
    };
    if body.is_empty() { Ok(values) } else { Err(DecodeError::Malformed("bytes left over behind a column of integers")) }
}

fn unpack<const WIDTH: usize>(packed: &[u8], least: i64) -> Vec<i64> {
    let chunks = packed.chunks_exact(WIDTH);
    chunks
        .map(|chunk| {
            let mut bytes = [0; 8];
            bytes[..WIDTH].copy_from_slice(chunk);
            least.wrapping_add(u64::from_le_bytes(bytes) as i64)
        })
        .collect()
}

fn encode_bytes(ends: &[usize], data: &[u8], out: &mut Vec<u8>) {
    let length = ends.first().copied().unwrap_or(0);
    let first = &data[..length];
    let mut lengths = Vec::with_capacity(ends.len());
    let mut start = 0;
    let mut constant = data.len() <= CONSTANT_TEXT_EXPANDED;
    for &end in ends {
        constant = constant && &data[start..end] == first;
        lengths.push((end - start) as i64);
        start = end;
    }
    assert_eq!(start, data.len(), "a byte column ends at its last value");
    if constant {
        put(CONSTANT_TEXT, length, out);
        out.extend_from_slice(first);
        return;
    }
    let mut packed = Vec::new();
    encode_integers(&lengths, &mut packed);
    put(TEXT, packed.len() + data.len(), out);
    out.extend_from_slice(&packed);
    out.extend_from_slice(data);
}

fn decode_bytes(encoding: u8, body: &[u8], rows: usize) -> Result<Column, DecodeError> {
    match encoding {
        CONSTANT_TEXT => {
            if body.len().saturating_mul(rows) > CONSTANT_TEXT_EXPANDED {
                return Err(DecodeError::Malformed("a constant byte column larger than the format allows"));
            }
            Ok(Column::Bytes { ends: (1..=rows).map(|row| row * body.len()).collect(), data: body.repeat(rows) })
        }
        TEXT => {
            let mut data = body;
            let (encoding, packed) = take_body(&mut data)?;
            let lengths = decode_integers(encoding, packed, rows)?;
            let mut ends = Vec::with_capacity(rows);
            let mut end = 0usize;
            for length in lengths {
                // The bound keeps the sum far from overflow; the end is compared below.
                let length = usize::try_from(length).ok().filter(|length| *length <= PAYLOAD_BYTES as usize);
                end += length.ok_or(DecodeError::Malformed("the length of a value is out of range"))?;
                ends.push(end);
            }
            if end != data.len() {
                return Err(DecodeError::Count { expected: end, found: data.len() });
            }
            Ok(Column::Bytes { ends, data: data.to_vec() })
        }
        other => Err(DecodeError::Invalid(i64::from(other), "encoding of a column of bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn column() -> impl Strategy<Value = Vec<i64>> {
        let runs = prop::collection::vec(prop_oneof![any::<i64>(), -200i64..200, Just(1_600_000_000_000)], 0..40);
        let linear = (any::<i64>(), any::<i64>(), 0i64..40)
            .prop_map(|(first, step, rows)| (0..rows).map(|row| first.wrapping_add(step.wrapping_mul(row))).collect());
        let walk = (any::<i64>(), prop::collection::vec(-9i64..9, 0..40)).prop_map(|(first, steps)| {
            steps
                .iter()
                .scan(first, |value, step| {
                    *value = value.wrapping_add(*step);
                    Some(*value)
                })
                .collect()
        });
        prop_oneof![runs, linear, walk]
    }

    proptest! {
        #[test]
        fn any_integers_come_back(values in column()) {
            let columns = [Column::Integers(values)];
            let mut bytes = Vec::new();
            encode(&columns, &mut bytes);
            prop_assert_eq!(decode(&bytes, 1, columns[0].len()).unwrap(), columns);
        }

        #[test]
        fn any_texts_come_back(texts in prop::collection::vec(prop_oneof![Just(vec![7, 7]), any::<Vec<u8>>()], 0..20)) {
            let mut ends = Vec::new();
            let mut data = Vec::new();
            for text in &texts {
                data.extend_from_slice(text);
                ends.push(data.len());
            }
            let columns = [Column::Bytes { ends, data }];
            let mut bytes = Vec::new();
            encode(&columns, &mut bytes);
            prop_assert_eq!(decode(&bytes, 1, texts.len()).unwrap(), columns);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, encoding in 0u8..20, count in 0usize..4, rows in 0usize..70_000) {
            let _ = decode(&bytes, count, rows);
            let mut one = Vec::new();
            put(encoding, bytes.len(), &mut one);
            one.extend_from_slice(&bytes);
            if let Ok(columns) = decode(&one, 1, rows) {
                prop_assert_eq!(columns[0].len(), rows);
            }
        }
    }

    #[test]
    fn what_earlier_builds_wrote_is_read() {
        let column = |encoding: u8, body: &[u8], rows| {
            let mut bytes = Vec::new();
            put(encoding, body.len(), &mut bytes);
            bytes.extend_from_slice(body);
            decode(&bytes, 1, rows).unwrap()
        };
        assert_eq!(column(PLAIN, &[2, 1, 0x80, 1], 3), [Column::Integers(vec![1, -1, 64])]);
        assert_eq!(column(DELTA, &[2, 1, 0x80, 1], 3), [Column::Integers(vec![1, 0, 64])]);
        assert_eq!(column(CONSTANT, &[5], 2), [Column::Integers(vec![-3, -3])]);
        assert_eq!(column(LINEAR, &[5, 4], 3), [Column::Integers(vec![-3, -1, 1])]);
        assert_eq!(column(FIXED, &[5, 2, 0, 0, 1, 1], 2), [Column::Integers(vec![-3, 254])]);
        assert_eq!(column(TEXT, &[FIXED, 8, 0, 1, 1, 2, 7, 8, 9], 2), [Column::Bytes { ends: vec![1, 3], data: vec![7, 8, 9] }]);
    }

    fn size(values: &[i64]) -> usize {
        let mut bytes = Vec::new();
        encode_integers(values, &mut bytes);
        bytes.len()
    }

    #[test]
    fn each_shape_takes_its_short_form() {
        let times: Vec<i64> = (0..1000).map(|row| 1_600_000_000_000 + 1000 * row).collect();
        assert!(size(&times) < 16, "a clock is linear");
        assert!(size(&vec![i64::MIN; 1000]) < 16, "a constant is stored once");
        let jittered: Vec<i64> = times.iter().map(|time| time + time % 7).collect();
        assert!(size(&jittered) < 2100, "a clock with jitter takes two bytes a row, not six");
        let narrow: Vec<i64> = (0..1000).map(|row| 1_600_000_000_000 + row * 37 % 251).collect();
        assert!(size(&narrow) < 1020, "a narrow range takes one byte a row");
        assert_eq!(integer_length(i64::MIN), 10);
        assert_eq!((integer_length(0), integer_length(-64), integer_length(64)), (1, 1, 2));
    }

    #[test]
    fn a_constant_text_does_not_expand_without_bound() {
        let mut bytes = Vec::new();
        put(CONSTANT_TEXT, 100, &mut bytes);
        bytes.extend_from_slice(&[1; 100]);
        assert!(decode(&bytes, 1, 60_000).is_err());
        assert!(decode(&bytes, 1, 10_000).is_ok());
    }
}
