//! Byte forms of plain values: integers, truth values, text, lists, options, pairs.

use super::{Canonical, Column, DecodeError, Field, Storage, beyond, read_integer, write_integer};
use crate::units::MAX_MAGNITUDE;

pub(super) fn take<'a>(from: &mut &'a [u8], count: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
    if from.len() < count {
        return Err(DecodeError::Short(what));
    }
    let (head, tail) = from.split_at(count);
    *from = tail;
    Ok(head)
}

fn read_length(from: &mut &[u8], what: &'static str) -> Result<usize, DecodeError> {
    let length = read_integer(from)?;
    // Every element takes at least one byte, so a length beyond the bytes left is damage and must not allocate.
    match usize::try_from(length) {
        Ok(length) if length <= from.len() => Ok(length),
        _ => Err(DecodeError::Invalid(length, what)),
    }
}

macro_rules! plain_integers {
    ($($name:ty),*) => {$(
        impl Canonical for $name {
            fn describe(schema: &mut String) {
                schema.push_str(stringify!($name));
            }
            fn write(&self, out: &mut Vec<u8>) {
                write_integer(i64::from(*self), out);
            }
            fn read(from: &mut &[u8]) -> Result<Self, DecodeError> {
                let value = read_integer(from)?;
                value.try_into().map_err(|_| DecodeError::Invalid(value, stringify!($name)))
            }
            fn implausible(&self) -> Option<i64> {
                beyond(i64::from(*self), 10 * MAX_MAGNITUDE)
            }
        }
        impl Field for $name {
            const STORAGE: Storage = Storage::Integer;
            fn push(&self, column: &mut Column) {
                let Column::Integers(values) = column else { unreachable!("an integer field in a byte column") };
                values.push(i64::from(*self));
            }
            fn pull(column: &Column, row: usize) -> Result<Self, DecodeError> {
                let Column::Integers(values) = column else {
                    return Err(DecodeError::Malformed("a byte column where integers were expected"));
                };
                values[row].try_into().map_err(|_| DecodeError::Invalid(values[row], stringify!($name)))
            }
        }
    )*};
}
plain_integers!(i64, i32, u32, u16, u8);

/// Bit for bit as an `i64`, so that every number has a form.
impl Canonical for u64 {
    fn describe(schema: &mut String) {
        schema.push_str("u64");
    }
    fn write(&self, out: &mut Vec<u8>) {
        write_integer(self.cast_signed(), out);
    }
    fn read(from: &mut &[u8]) -> Result<Self, DecodeError> {
        read_integer(from).map(i64::cast_unsigned)
    }
}
impl Field for u64 {
    const STORAGE: Storage = Storage::Integer;
    fn push(&self, column: &mut Column) {
        self.cast_signed().push(column);
    }
    fn pull(column: &Column, row: usize) -> Result<Self, DecodeError> {
        i64::pull(column, row).map(i64::cast_unsigned)
    }
}

impl Canonical for bool {
    fn describe(schema: &mut String) {
        schema.push_str("bool");
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self) << 1);
    }
    fn read(from: &mut &[u8]) -> Result<Self, DecodeError> {
        match read_integer(from)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError::Invalid(other, "bool")),
        }
    }
}

impl Field for bool {
    const STORAGE: Storage = Storage::Integer;
    fn push(&self, column: &mut Column) {
        u8::from(*self).push(column);
    }
    fn pull(column: &Column, row: usize) -> Result<Self, DecodeError> {
        match u8::pull(column, row)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError::Invalid(i64::from(other), "bool")),
        }
    }
}

/// Sums and sums of squares of telemetry: sixteen bytes little endian.
impl Canonical for i128 {
    fn describe(schema: &mut String) {
        schema.push_str("i128");
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }
    fn read(from: &mut &[u8]) -> Result<Self, DecodeError> {
        let bytes = take(from, 16, "a wide integer")?;
        Ok(Self::from_le_bytes(bytes.try_into().expect("sixteen bytes were taken")))
    }
}
impl Field for i128 {
    const STORAGE: Storage = Storage::Bytes;
}

impl Canonical for String {
    fn describe(schema: &mut String) {
        schema.push_str("text");
    }
    fn write(&self, out: &mut Vec<u8>) {
        write_integer(self.len() as i64, out);
        out.extend_from_slice(self.as_bytes());
    }
    fn read(from: &mut &[u8]) -> Result<Self, DecodeError> {
        let length = read_length(from, "text length")?;
        let bytes = take(from, length, "text")?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| DecodeError::Malformed("text that is not UTF-8"))
    }
}
impl Field for String {
    const STORAGE: Storage = Storage::Bytes;
}

impl<T: Canonical> Canonical for Vec<T> {
    fn describe(schema: &mut String) {
        schema.push('[');
        T::describe(schema);
        schema.push(']');
    }
    fn write(&self, out: &mut Vec<u8>) {
        write_integer(self.len() as i64, out);
        for value in self {
            value.write(out);
        }
    }
    fn read(from: &mut &[u8]) -> Result<Self, DecodeError> {
        let length = read_length(from, "list length")?;
        (0..length).map(|_| T::read(from)).collect()
    }
    fn implausible(&self) -> Option<i64> {
        self.iter().find_map(T::implausible)
    }
}
impl<T: Canonical> Field for Vec<T> {
    const STORAGE: Storage = Storage::Bytes;
}

impl<T: Canonical> Canonical for Option<T> {
    fn describe(schema: &mut String) {
        T::describe(schema);
        schema.push('?');
    }
    fn write(&self, out: &mut Vec<u8>) {
        self.is_some().write(out);
        if let Some(value) = self {
            value.write(out);
        }
    }
    fn read(from: &mut &[u8]) -> Result<Self, DecodeError> {
        Ok(if bool::read(from)? { Some(T::read(from)?) } else { None })
    }
    fn implausible(&self) -> Option<i64> {
        self.as_ref().and_then(T::implausible)
    }
}
impl<T: Canonical> Field for Option<T> {
    const STORAGE: Storage = Storage::Bytes;
}

impl<A: Canonical, B: Canonical> Canonical for (A, B) {
    fn describe(schema: &mut String) {
        schema.push('(');
        A::describe(schema);
        schema.push(',');
        B::describe(schema);
        schema.push(')');
    }
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
    }
    fn read(from: &mut &[u8]) -> Result<Self, DecodeError> {
        Ok((A::read(from)?, B::read(from)?))
    }
    fn implausible(&self) -> Option<i64> {
        self.0.implausible().or_else(|| self.1.implausible())
    }
}
