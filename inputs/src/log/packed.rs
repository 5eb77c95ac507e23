//! Integers in as many bits as most of them need: offsets from one end of their range, with exceptions, and dictionaries.
//!
//! Packed: the base, an *integer*; one byte with the width in bits (0 to 56) and, as its highest bit, whether offsets go
//! down from the base; the number of exceptions, an *integer*; the low bits of each offset end to end, least bit
//! first; for each exception how many values lie between it and the one before, and the rest of its offset, two *integers*.
//! So ten late readings among ten thousand punctual ones cost the ten, not the ten thousand. Dictionary: the number of
//! values (2 to 256), the least of them and the difference of each to the one before, *integers*; the place of
//! each row's value among them in as many bits as the last place needs.

use super::columns::integer_length;
use crate::row::{DecodeError, read_integer, write_integer};

/// Greatest width of a packed offset: with the bits before it, it fits into eight bytes.
const MAX_WIDTH: u32 = 56;
const DOWN: u8 = 0x80;
const DICTIONARY: usize = 256;
/// About so many values of a column are looked at for the best width.
const LOOKED_AT: usize = 1024;

/// How a column is best packed, and in how many bytes, nearly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    base: i64,
    down: bool,
    width: u32,
    pub(super) cost: usize,
}

fn bits(offset: u64) -> u32 {
    64 - offset.leading_zeros()
}

/// About the cheapest way to pack so many values, of which `least` and `greatest` are the ends; `None` when they are too
/// far apart. Of many values some are looked at: what others need beyond is an exception.
pub(super) fn plan(rows: usize, value: impl Fn(usize) -> i64, least: i64, greatest: i64) -> Option<Plan> {
    if bits(greatest.wrapping_sub(least) as u64) > MAX_WIDTH {
        return None;
    }
    // Odd, as rows often come in pairs.
    let stride = (rows / LOOKED_AT) | 1;
    // How many offsets need how many bits: upwards from the least, downwards from the greatest.
    let (mut up, mut down) = ([0usize; MAX_WIDTH as usize + 1], [0usize; MAX_WIDTH as usize + 1]);
    for row in (0..rows).step_by(stride) {
        let value = value(row);
        up[bits(value.wrapping_sub(least) as u64) as usize] += stride;
        down[bits(greatest.wrapping_sub(value) as u64) as usize] += stride;
    }
    let (up, down) = (cheapest(&up, rows, least, false), cheapest(&down, rows, greatest, true));
    Some(if down.cost < up.cost { down } else { up })
}

fn cheapest(needs: &[usize; MAX_WIDTH as usize + 1], rows: usize, base: i64, down: bool) -> Plan {
    let used: Vec<(u32, usize)> = (0u32..).zip(needs.iter().copied()).filter(|(_, count)| *count > 0).collect();
    let cost = |width: u32| {
        let beyond = || used.iter().filter(|(bits, _)| *bits > width);
        let exceptions: usize = beyond().map(|(_, count)| count).sum();
        // A gap of 64 or more takes a second byte.
        let gap = if exceptions * 64 < rows { 2 } else { 1 };
        let rest: usize = beyond().map(|(bits, count)| count * (gap + (bits - width + 7) as usize / 7)).sum();
        integer_length(base) + 1 + integer_length(exceptions as i64) + (rows * width as usize).div_ceil(8) + rest
    };
    let widths = std::iter::once(0).chain(used.iter().map(|(bits, _)| *bits));
    let (width, cost) = widths.map(|width| (width, cost(width))).min_by_key(|(width, cost)| (*cost, *width)).expect("there is a width");
    Plan { base, down, width, cost }
}

/// Appends bits end to end.
struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    pending: u64,
    count: u32,
}

impl BitWriter<'_> {
    /// `value` has no bits beyond `width`, which is at most 56.
    fn put(&mut self, value: u64, width: u32) {
        self.pending |= value << self.count;
        self.count += width;
        let whole = self.count / 8;
        // Eight bytes for the few that are whole: a copy of fixed length costs next to nothing.
        let end = self.out.len() + whole as usize;
        self.out.extend_from_slice(&self.pending.to_le_bytes());
        self.out.truncate(end);
        self.pending >>= whole * 8;
        self.count -= whole * 8;
    }

    fn finish(self) {
        if self.count > 0 {
            self.out.push(self.pending as u8);
        }
    }
}

/// Appends the packed form of the values the plan was made of.
pub(super) fn encode(plan: Plan, values: impl Iterator<Item = i64>, out: &mut Vec<u8>) {
    let Plan { base, down, width, .. } = plan;
    let mask = (1u64 << width) - 1;
    let (mut packed, mut exceptions, mut count, mut next) = (Vec::new(), Vec::new(), 0i64, 0usize);
    let mut writer = BitWriter { out: &mut packed, pending: 0, count: 0 };
    for (row, value) in values.enumerate() {
        let offset = if down { base.wrapping_sub(value) } else { value.wrapping_sub(base) } as u64;
        writer.put(offset & mask, width);
        if offset > mask {
            write_integer((row - next) as i64, &mut exceptions);
            write_integer((offset >> width) as i64, &mut exceptions);
            (count, next) = (count + 1, row + 1);
        }
    }
    writer.finish();
    write_integer(base, out);
    out.push(width as u8 | if down { DOWN } else { 0 });
    write_integer(count, out);
    out.extend_from_slice(&packed);
    out.extend_from_slice(&exceptions);
}

/// The fields of `width` bits in `packed`, which has as many bytes as `rows` of them take.
fn unpack(packed: &[u8], width: u32, rows: usize) -> impl Iterator<Item = u64> + '_ {
    let mask = (1u64 << width) - 1;
    // Rows whose eight bytes are all there.
    let quick = if width == 0 { rows } else { (packed.len().saturating_sub(7) * 8).div_ceil(width as usize).min(rows) };
    let field = move |row: usize, bytes: [u8; 8]| (u64::from_le_bytes(bytes) >> (row * width as usize % 8)) & mask;
    let fast = (0..quick).map(move |row| {
        let at = row * width as usize / 8;
        field(row, packed.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default())
    });
    let slow = (quick..rows).map(move |row| {
        let left = &packed[row * width as usize / 8..];
        let mut bytes = [0; 8];
        let count = left.len().min(8);
        bytes[..count].copy_from_slice(&left[..count]);
        field(row, bytes)
    });
    fast.chain(slow)
}

fn take<'a>(body: &mut &'a [u8], width: u32, rows: usize) -> Result<&'a [u8], DecodeError> {
    let length = (rows * width as usize).div_ceil(8);
    let (packed, rest) = body.split_at_checked(length).ok_or(DecodeError::Short("packed values"))?;
    *body = rest;
    Ok(packed)
}

/// Takes `rows` packed values off the front of `body`. The caller bounds `rows`.
pub(super) fn decode(body: &mut &[u8], rows: usize) -> Result<Vec<i64>, DecodeError> {
    let base = read_integer(body)?;
    let (&shape, rest) = body.split_first().ok_or(DecodeError::Short("the width of a column"))?;
    *body = rest;
    let (width, down) = (u32::from(shape & !DOWN), shape & DOWN != 0);
    if width > MAX_WIDTH {
        return Err(DecodeError::Invalid(i64::from(width), "width of a packed column"));
    }
    let exceptions = read_integer(body)?;
    if usize::try_from(exceptions).map_or(true, |count| count > rows) {
        return Err(DecodeError::Invalid(exceptions, "number of exceptions"));
    }
    let packed = take(body, width, rows)?;
    let mut values = Vec::with_capacity(rows);
    if down {
        values.extend(unpack(packed, width, rows).map(|offset| base.wrapping_sub_unsigned(offset)));
    } else {
        values.extend(unpack(packed, width, rows).map(|offset| base.wrapping_add_unsigned(offset)));
    }
    let mut next = 0usize;
    for _ in 0..exceptions {
        let (gap, rest) = (read_integer(body)?, read_integer(body)?);
        let row = usize::try_from(gap).ok().and_then(|gap| next.checked_add(gap));
        let Some((row, value)) = row.and_then(|row| Some((row, values.get_mut(row)?))) else {
            return Err(DecodeError::Invalid(gap, "gap between exceptions"));
        };
        let offset = (rest as u64) << width;
        *value = if down { value.wrapping_sub_unsigned(offset) } else { value.wrapping_add_unsigned(offset) };
        next = row + 1;
    }
    Ok(values)
}

/// The values there are, in order, when they are few.
pub(super) fn dictionary(values: &[i64]) -> Option<Vec<i64>> {
    let mut known: Vec<i64> = Vec::new();
    for value in values {
        if let Err(place) = known.binary_search(value) {
            if known.len() == DICTIONARY {
                return None;
            }
            known.insert(place, *value);
        }
    }
    (known.len() > 1).then_some(known)
}

fn dictionary_width(entries: usize) -> u32 {
    bits(entries as u64 - 1)
}

/// Bytes of a dictionary's form.
pub(super) fn dictionary_cost(known: &[i64], rows: usize) -> usize {
    let mut entries = Vec::new();
    write_dictionary(known, &mut entries);
    entries.len() + (rows * dictionary_width(known.len()) as usize).div_ceil(8)
}

fn write_dictionary(known: &[i64], out: &mut Vec<u8>) {
    write_integer(known.len() as i64, out);
    let mut before = 0i64;
    for value in known {
        write_integer(value.wrapping_sub(before), out);
        before = *value;
    }
}

/// Appends the values as places in their dictionary.
pub(super) fn encode_dictionary(known: &[i64], values: &[i64], out: &mut Vec<u8>) {
    write_dictionary(known, out);
    let width = dictionary_width(known.len());
    let mut writer = BitWriter { out, pending: 0, count: 0 };
    for value in values {
        writer.put(known.binary_search(value).expect("the dictionary is of these values") as u64, width);
    }
    writer.finish();
}

/// Takes `rows` values off the front of `body`. The caller bounds `rows`.
pub(super) fn decode_dictionary(body: &mut &[u8], rows: usize) -> Result<Vec<i64>, DecodeError> {
    let entries = read_integer(body)?;
    let count = usize::try_from(entries).ok().filter(|count| (2..=DICTIONARY).contains(count));
    let count = count.ok_or(DecodeError::Invalid(entries, "size of a dictionary"))?;
    let mut known = Vec::with_capacity(count);
    let mut before = 0i64;
    for _ in 0..count {
        before = before.wrapping_add(read_integer(body)?);
        known.push(before);
    }
    if !known.is_sorted_by(|one, next| one < next) {
        return Err(DecodeError::Malformed("a dictionary out of order"));
    }
    let width = dictionary_width(count);
    let packed = take(body, width, rows)?;
    let mut values = Vec::with_capacity(rows);
    for place in unpack(packed, width, rows) {
        values.push(*known.get(place as usize).ok_or(DecodeError::Invalid(place as i64, "place in a dictionary"))?);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values() -> impl Strategy<Value = Vec<i64>> {
        let width = 0u32..=64;
        (any::<i64>(), width, prop::collection::vec((any::<u64>(), 0u32..40), 1..300)).prop_map(|(base, width, offsets)| {
            // Mostly narrow, some anywhere.
            let narrow = |(offset, kind): (u64, u32)| if kind == 0 { offset } else { offset & ((1u128 << width) - 1) as u64 };
            offsets.into_iter().map(|offset| base.wrapping_add_unsigned(narrow(offset))).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn packed_values_come_back_at_nearly_the_cost_planned(values in values()) {
            let (least, greatest) = (*values.iter().min().unwrap(), *values.iter().max().unwrap());
            let Some(plan) = plan(values.len(), |row| values[row], least, greatest) else {
                prop_assert!(bits(greatest.wrapping_sub(least) as u64) > MAX_WIDTH);
                return Ok(());
            };
            for width in [plan.width, 0, 1, 7, 8, 55, 56] {
                let mut bytes = Vec::new();
                encode(Plan { width, ..plan }, values.iter().copied(), &mut bytes);
                prop_assert!(width != plan.width || bytes.len() <= plan.cost + values.len());
                let mut body = bytes.as_slice();
                prop_assert_eq!(&decode(&mut body, values.len()).unwrap(), &values);
                prop_assert!(body.is_empty());
                for cut in 0..bytes.len().min(30) {
                    prop_assert!(decode(&mut &bytes[..cut], values.len()).is_err());
                }
            }
        }

        #[test]
        fn a_dictionary_gives_its_values_back(few in prop::collection::vec(any::<i64>(), 2..256), picks in prop::collection::vec(any::<usize>(), 2..300)) {
            let values: Vec<i64> = picks.iter().map(|pick| few[pick % few.len()]).collect();
            let Some(known) = dictionary(&values) else { return Ok(()) };
            let mut bytes = Vec::new();
            encode_dictionary(&known, &values, &mut bytes);
            prop_assert_eq!(bytes.len(), dictionary_cost(&known, values.len()));
            let mut body = bytes.as_slice();
            prop_assert_eq!(decode_dictionary(&mut body, values.len()).unwrap(), values);
            prop_assert!(body.is_empty());
        }
    }

    #[test]
    fn a_few_late_readings_do_not_widen_the_punctual_ones() {
        let times: Vec<i64> =
            (0..10_000).map(|row| 1_577_836_800_000 - row * 7919 % 2000 - if row % 100 == 3 { 290_000 } else { 0 }).collect();
        let (least, greatest) = (*times.iter().min().unwrap(), *times.iter().max().unwrap());
        let plan = plan(times.len(), |row| times[row], least, greatest).unwrap();
        assert_eq!((plan.down, plan.width), (true, 11));
        let mut bytes = Vec::new();
        encode(plan, times.iter().copied(), &mut bytes);
        assert!((13_750..14_200).contains(&bytes.len()), "{} bytes where 19 bits a row were 23,750", bytes.len());
        assert!(bytes.len().abs_diff(plan.cost) < 150);
    }

    #[test]
    fn crafted_bodies_do_not_reach_out_of_bounds() {
        let body = |bytes: &[u8], rows| decode(&mut &bytes[..], rows);
        assert_eq!(body(&[0, 0, 0], 3), Ok(vec![0, 0, 0]));
        assert!(body(&[0, 57, 0], 3).is_err(), "too wide");
        assert!(body(&[0, 0, 8, 0, 2, 0, 2, 0, 2, 0, 2], 3).is_err(), "more exceptions than rows");
        assert_eq!(body(&[0, 0, 2, 4, 2], 3), Ok(vec![0, 0, 1]));
        assert!(body(&[0, 0, 2, 6, 2], 3).is_err(), "an exception behind the last row");
        assert!(body(&[0, 0, 2, 1, 2], 3).is_err(), "a gap below zero");
        assert!(body(&[0, 8, 0, 1, 2], 3).is_err(), "too short");
        let dictionary = |bytes: &[u8], rows| decode_dictionary(&mut &bytes[..], rows);
        assert_eq!(dictionary(&[4, 2, 2, 0b10], 2), Ok(vec![1, 2]));
        assert!(dictionary(&[4, 2, 0, 0b10], 2).is_err(), "a value twice");
        assert!(dictionary(&[6, 2, 2, 2, 0b1100], 2).is_err(), "a place behind the last value");
        assert!(dictionary(&[2, 2, 0], 2).is_err(), "a dictionary of one");
    }
}
