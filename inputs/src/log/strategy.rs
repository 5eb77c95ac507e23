//! Rows of every kind for property tests, made from the schema itself, so that a new kind or field is covered unasked.
//!
//! A row is a function of its kind and a seed. Values are small, usual or extreme; codes are among those declared.

use crate::input::{Input, Kind};
use crate::row::{Column, Storage, write_integer};
use proptest::prelude::*;

/// Any row of any kind.
pub(crate) fn input() -> impl Strategy<Value = Input> {
    (prop::sample::select(Kind::ALL), any::<u64>()).prop_map(|(kind, seed)| row(kind, seed))
}

/// The row of a kind that belongs to a seed.
pub(crate) fn row(kind: Kind, seed: u64) -> Input {
    let schema = Kind::schema(Kind::GENERATION);
    let prefix = format!("{}={}{{", kind as u8, kind.name());
    let shape = schema.lines().find_map(|line| line.strip_prefix(&prefix)).expect("each kind has a line in the schema");
    let mut random = Random(seed);
    let mut rest = shape;
    let mut columns: Vec<Column> = kind.fields().iter().map(|(_, storage)| Column::new(*storage)).collect();
    for ((name, storage), column) in kind.fields().iter().zip(&mut columns) {
        rest = rest.strip_prefix(&format!("{name}:")).expect("fields stand in the schema in their order");
        let mut bytes = Vec::new();
        rest = value(rest, &mut random, &mut bytes).strip_prefix(';').expect("a field ends with a semicolon");
        match column {
            Column::Integers(values) => values.push(crate::row::read_integer(&mut bytes.as_slice()).expect("an integer was written")),
            Column::Bytes { ends, data } => {
                data.extend_from_slice(&bytes);
                ends.push(data.len());
            }
        }
        assert_eq!(*storage == Storage::Integer, matches!(column, Column::Integers(_)));
    }
    assert_eq!(rest, "}");
    kind.pull(&columns, 0).expect("a value of the field's shape is a value of the field")
}

/// Writes some value of the type at the front of `shape`; returns what follows it.
fn value<'a>(shape: &'a str, random: &mut Random, out: &mut Vec<u8>) -> &'a str {
    // An optional value is described behind its type: write it aside first.
    let mut inner = Vec::new();
    let rest = plain_value(shape, random, &mut inner);
    let Some(rest) = rest.strip_prefix('?') else {
        out.extend_from_slice(&inner);
        return rest;
    };
    let some = random.below(2) == 1;
    write_integer(i64::from(some), out);
    if some {
        out.extend_from_slice(&inner);
    }
    rest
}

fn plain_value<'a>(shape: &'a str, random: &mut Random, out: &mut Vec<u8>) -> &'a str {
    if let Some(item) = shape.strip_prefix('[') {
        let count = random.below(4);
        write_integer(count as i64, out);
        let mut rest = value(item, random, &mut Vec::new());
        for _ in 0..count {
            rest = value(item, random, out);
        }
        return rest.strip_prefix(']').expect("a list ends");
    }
    if let Some(pair) = shape.strip_prefix('(') {
        let rest = value(pair, random, out).strip_prefix(',').expect("a pair has two sides");
        return value(rest, random, out).strip_prefix(')').expect("a pair ends");
    }
    let end = shape.find(|c: char| !c.is_ascii_alphanumeric()).expect("a type is followed by something");
    let (name, rest) = shape.split_at(end);
    if let Some(codes) = rest.strip_prefix('<') {
        let (codes, rest) = codes.split_once('>').expect("a list of codes ends");
        let codes: Vec<i64> = codes.split_terminator(',').map(|code| code.split_once('=').unwrap().1.parse().unwrap()).collect();
        write_integer(codes[random.below(codes.len() as u64) as usize], out);
        return rest;
    }
    match name {
        "text" => {
            let text = ["", "a", "Süd-West 110 kV", "101_CT_1", "\u{1F50C}\n"][random.below(5) as usize];
            write_integer(text.len() as i64, out);
            out.extend_from_slice(text.as_bytes());
        }
        "Real" => {
            let real = [0.0, 1.0, -0.00394, 1e300, f64::MIN_POSITIVE / 4.0][random.below(5) as usize];
            out.extend_from_slice(&f64::to_le_bytes(real));
        }
        "bool" => write_integer(random.below(2) as i64, out),
        name => {
            let (least, greatest) = match name {
                "u8" => (0, i64::from(u8::MAX)),
                "u16" => (0, i64::from(u16::MAX)),
                "u64" => (0, i64::MAX),
                "i32" => (i64::from(i32::MIN), i64::from(i32::MAX)),
                name if name == "u32" || name.ends_with("Id") => (0, i64::from(u32::MAX)),
                _ => (i64::MIN, i64::MAX),
            };
            let usual = [0, 1, -1, 1_577_836_800_000, least, greatest, random.next() as i64, random.below(1000) as i64];
            write_integer(usual[random.below(8) as usize].clamp(least, greatest), out);
        }
    }
    rest
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
