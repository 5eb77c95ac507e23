//! Columns as bytes: for each an encoding byte, the length of its body, its body.
//!
//! Bodies of integers: 0 plain, 1 deltas, 2 constant, 3 linear (first, step), 4 offsets of fixed width from the least
//! value, 5 packed bits, 6 first value and packed differences, 7 dictionary (see `packed`). Bodies of byte strings:
//! 16 lengths and bytes, 17 constant, 18 strings of sixteen bytes as two columns of integers (the upper eight, the lower
//! eight, as of an `i128`), 19 optional integers as two columns (whether there is one, which; where there is none, the one
//! before). Written is what applies first of: constant, linear, 18, 19; else about the shortest of packed bits, packed
//! differences and a dictionary, or of 0, 1 and 4 where the ends of the column are too far apart to pack. Equal columns have
//! equal bytes. Differences wrap, so that any `i64` can be stored. Reading checks every length before it allocates;
//! what it allocates is bounded by the rows and the bytes given.

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
const WIDE: u8 = 18;
const OPTIONAL: u8 = 19;
/// A constant byte string is repeated for each row on reading: at most to this size.
const CONSTANT_TEXT_EXPANDED: usize = 1 << 20;

/// Appends the columns, each in a short form, to `out`. Returns how many bytes of these are byte strings as they were, in
/// which LZ4 may find repetitions; in what is packed it finds none.
///
/// # Panics
/// When a byte column's ends do not increase to the end of its data.
pub fn encode(columns: &[Column], out: &mut Vec<u8>) -> usize {
    let mut texts = 0;
    for column in columns {
        match column {
            Column::Integers(values) => encode_integers(values, out),
            Column::Bytes { ends, data } => texts += encode_bytes(ends, data, out),
        }
    }
    texts
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

/// Least and greatest.
fn range(values: impl Iterator<Item = i64>, first: i64) -> (i64, i64) {
    values.fold((first, first), |(least, greatest), value| (least.min(value), greatest.max(value)))
}

fn encode_integers(values: &[i64], out: &mut Vec<u8>) {
    let first = values.first().copied().unwrap_or(0);
    let (least, greatest) = range(values.iter().copied(), first);
    if least == greatest {
        put(CONSTANT, integer_length(first), out);
        write_integer(first, out);
        return;
    }
    let step = |row: usize| values[row + 1].wrapping_sub(values[row]);
    let steps = values.len() - 1;
    let (least_step, greatest_step) = range((1..steps).map(step), step(0));
    if least_step == greatest_step {
        put(LINEAR, integer_length(first) + integer_length(least_step), out);
        write_integer(first, out);
        write_integer(least_step, out);
        return;
    }
    let packed = packed::plan(values.len(), |row| values[row], least, greatest).map(|plan| (plan.cost, Form::Packed(plan)));
    let differences = packed::plan(steps, step, least_step, greatest_step);
    let differences = differences.map(|plan| (integer_length(first) + plan.cost, Form::PackedDelta(plan)));
    let (mut cheapest, mut form) = packed.unwrap_or_else(|| whole_bytes(values, least, greatest));
    let mut offer = |offered: Option<(usize, Form)>| {
        if let Some(offered) = offered.filter(|(cost, _)| *cost < cheapest) {
            (cheapest, form) = offered;
        }
        cheapest
    };
    // A dictionary takes a bit a row at least.
    if offer(differences) > values.len() / 8 + 4 {
        let known = packed::dictionary(values);
        offer(known.map(|known| (packed::dictionary_cost(&known, values.len()), Form::Dictionary(known))));
    }
    let mut body = Vec::with_capacity(cheapest + 8);
    let encoding = match form {
        Form::WholeBytes(FIXED) => {
            let width = byte_width(least, greatest);
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
            packed::encode(plan, (0..steps).map(step), &mut body);
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

/// Bytes that the offsets of values from the least take.
fn byte_width(least: i64, greatest: i64) -> usize {
    (71 - (greatest.wrapping_sub(least) as u64).leading_zeros() as usize) / 8
}

/// The shortest form in whole bytes.
fn whole_bytes(values: &[i64], least: i64, greatest: i64) -> (usize, Form) {
    let (mut plain, mut deltas, mut previous) = (0, 0, 0i64);
    for value in values {
        plain += integer_length(*value);
        deltas += integer_length(value.wrapping_sub(previous));
        previous = *value;
    }
    let fixed = integer_length(least) + 1 + byte_width(least, greatest) * values.len();
    let shortest = [(fixed, FIXED), (plain, PLAIN), (deltas, DELTA)].into_iter().min_by_key(|(cost, _)| *cost);
    let (cost, encoding) = shortest.expect("there are three");
    (cost, Form::WholeBytes(encoding))
}

/// How a column is going to be stored.
enum Form {
    /// One of the encodings 0, 1, 4.
    WholeBytes(u8),
    Packed(packed::Plan),
    PackedDelta(packed::Plan),
    Dictionary(Vec<i64>),
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

/// Returns how many bytes of the strings were written as they are.
fn encode_bytes(ends: &[usize], data: &[u8], out: &mut Vec<u8>) -> usize {
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
        return 0;
    }
    let mut body = Vec::new();
    if lengths.iter().all(|length| *length == 16) {
        let half = |at: usize| data.chunks_exact(16).map(|value| integer(&value[at..at + 8])).collect::<Vec<i64>>();
        encode_integers(&half(8), &mut body);
        encode_integers(&half(0), &mut body);
    } else if let Some((there, values)) = optional_integers(ends, data) {
        encode_integers(&there, &mut body);
        encode_integers(&values, &mut body);
        put(OPTIONAL, body.len(), out);
        out.extend_from_slice(&body);
        return 0;
    } else {
        encode_integers(&lengths, &mut body);
        put(TEXT, body.len() + data.len(), out);
        out.extend_from_slice(&body);
        out.extend_from_slice(data);
        return data.len();
    }
    put(WIDE, body.len(), out);
    out.extend_from_slice(&body);
    0
}

fn integer(bytes: &[u8]) -> i64 {
    i64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}

/// Of a column of optional integers, whether each is there, and which it is; `None` of other columns.
fn optional_integers(ends: &[usize], data: &[u8]) -> Option<(Vec<i64>, Vec<i64>)> {
    let (mut there, mut values) = (Vec::with_capacity(ends.len()), Vec::with_capacity(ends.len()));
    let (mut start, mut value) = (0, 0);
    for &end in ends {
        let (is_there, mut rest) = data[start..end].split_first()?;
        match is_there {
            0 => {}
            2 => value = read_integer(&mut rest).ok()?,
            _ => return None,
        }
        if !rest.is_empty() {
            return None;
        }
        there.push(i64::from(is_there / 2));
        values.push(value);
        start = end;
    }
    Some((there, values))
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
        WIDE | OPTIONAL => {
            let mut rest = body;
            let mut half = || take_body(&mut rest).and_then(|(encoding, body)| decode_integers(encoding, body, rows));
            let (one, other) = (half()?, half()?);
            if !rest.is_empty() {
                return Err(DecodeError::Malformed("bytes left over behind a column of integers"));
            }
            let (mut ends, mut data) = (Vec::with_capacity(rows), Vec::with_capacity(16 * rows));
            for (one, other) in one.into_iter().zip(other) {
                match (encoding, one) {
                    (WIDE, upper) => {
                        data.extend_from_slice(&other.to_le_bytes());
                        data.extend_from_slice(&upper.to_le_bytes());
                    }
                    (_, 0) => data.push(0),
                    (_, 1) => {
                        data.push(2);
                        write_integer(other, &mut data);
                    }
                    (_, there) => return Err(DecodeError::Invalid(there, "sign that there is a value")),
                }
                ends.push(data.len());
            }
            Ok(Column::Bytes { ends, data })
        }
        other => Err(DecodeError::Invalid(i64::from(other), "encoding of a column of bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Canonical;
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

    /// Texts, wide integers, optional integers, and mixtures of these.
    fn texts() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let wide = prop_oneof![any::<i128>(), (-300i128..300)].prop_map(|value| value.to_le_bytes().to_vec());
        let optional = prop::option::of(prop_oneof![any::<i64>(), -300i64..300]).prop_map(|value| {
            let mut bytes = Vec::new();
            value.write(&mut bytes);
            bytes
        });
        let any = prop_oneof![Just(vec![7, 7]), Just(vec![2, 0x80, 0]), any::<Vec<u8>>(), wide.clone(), optional.clone()];
        let column = |value: BoxedStrategy<Vec<u8>>| prop::collection::vec(value, 0..20);
        prop_oneof![column(any.boxed()), column(wide.boxed()), column(optional.boxed())]
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
        fn any_texts_come_back(texts in texts()) {
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

    #[test]
    fn sums_and_extremes_are_packed_like_other_integers() {
        let bytes = |value: &dyn Fn(i64, &mut Vec<u8>)| {
            let (mut ends, mut data, mut out) = (Vec::new(), Vec::new(), Vec::new());
            for row in 0..1000 {
                value(row * 7919 % 500, &mut data);
                ends.push(data.len());
            }
            assert_eq!(encode(&[Column::Bytes { ends, data }], &mut out), 0, "nothing is left for LZ4");
            out.len()
        };
        assert!(bytes(&|value, out| i128::from(value).write(out)) < 1150, "nine bits a sum, not sixteen bytes");
        assert!(bytes(&|value, out| Some(value).write(out)) < 1150, "nine bits an extreme");
        assert!(bytes(&|value, out| (value > 7).then_some(value).write(out)) < 1300, "and a bit where some are not there");
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
