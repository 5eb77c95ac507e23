//! What every row is to the log, the exchange and the digest: a record of named fields with one byte form.
//!
//! [`Canonical`] is the row-wise form (digests, nested values); [`Field`] says how a field lies in a column;
//! [`Record`] is a row of such fields. The macros [`record!`](crate::record) and [`code!`](crate::code) write the
//! implementations, so that a row is declared once and its schema fingerprint follows it.
//!
//! Integers are zigzag LEB128, minimal; reals eight bytes little endian; text and lists are preceded by their length.

mod real;
mod values;

pub use real::Real;

#[cfg(doc)]
use crate::units::MAX_MAGNITUDE;
use std::fmt::Debug;

/// Why bytes are not a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside a value.
    #[error("the bytes end inside {0}")]
    Short(&'static str),
    /// A value is outside what its type allows.
    #[error("{0} is not a valid {1}")]
    Invalid(i64, &'static str),
    /// A column has another length than the frame says, or bytes are left over.
    #[error("a column holds {found} values where {expected} were expected")]
    Count {
        /// Values the frame announced.
        expected: usize,
        /// Values found.
        found: usize,
    },
    /// Anything else, in words.
    #[error("{0}")]
    Malformed(&'static str),
}

/// A value with exactly one byte form.
pub trait Canonical: Sized {
    /// Adds the type's shape to a schema description.
    fn describe(schema: &mut String);
    /// Appends the one byte form.
    fn write(&self, out: &mut Vec<u8>);
    /// Takes a value off the front of `from`.
    ///
    /// # Errors
    /// When the bytes are no such value.
    fn read(from: &mut &[u8]) -> Result<Self, DecodeError>;
    /// The first number in it that no sound row holds, if there is one: arithmetic on what is left cannot overflow.
    ///
    /// Quantities may reach [`MAX_MAGNITUDE`], plain integers ten times that (microseconds since 1970 must fit), reals
    /// ±10¹⁵. Identities may be any number.
    fn implausible(&self) -> Option<i64> {
        None
    }
}

/// `number`, when its magnitude is beyond `bound`.
#[must_use]
pub fn beyond(number: i64, bound: i64) -> Option<i64> {
    (number.unsigned_abs() > bound.unsigned_abs()).then_some(number)
}

/// How a field lies in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// One `i64` a row: delta and constant encodings apply.
    Integer,
    /// One byte string a row.
    Bytes,
}

/// A column under construction or being read: values of one field, in row order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    /// Values of an integer field.
    Integers(Vec<i64>),
    /// Values of a byte field, end to end, with the end offset of each.
    Bytes {
        /// End offset of each value in `data`.
        ends: Vec<usize>,
        /// The values, end to end.
        data: Vec<u8>,
    },
}

impl Column {
    /// An empty column.
    #[must_use]
    pub fn new(storage: Storage) -> Self {
        match storage {
            Storage::Integer => Self::Integers(Vec::new()),
            Storage::Bytes => Self::Bytes { ends: Vec::new(), data: Vec::new() },
        }
    }

    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Integers(values) => values.len(),
            Self::Bytes { ends, .. } => ends.len(),
        }
    }

    /// Whether there are no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A value that can be a field of a [`Record`].
pub trait Field: Canonical {
    /// How it lies in a column.
    const STORAGE: Storage;
    /// Appends the value to its column.
    fn push(&self, column: &mut Column) {
        let Column::Bytes { ends, data } = column else { unreachable!("a byte field in an integer column") };
        self.write(data);
        ends.push(data.len());
    }
    /// Reads value `row` of its column.
    ///
    /// # Errors
    /// When the stored value is none of this type.
    fn pull(column: &Column, row: usize) -> Result<Self, DecodeError> {
        let Column::Bytes { ends, data } = column else {
            return Err(DecodeError::Malformed("an integer column where bytes were expected"));
        };
        let start = if row == 0 { 0 } else { ends[row - 1] };
        let mut slice = &data[start..ends[row]];
        let value = Self::read(&mut slice)?;
        if slice.is_empty() { Ok(value) } else { Err(DecodeError::Malformed("bytes left over behind a value")) }
    }
}

/// A row: named fields, one column each.
pub trait Record: Canonical + Ord + Clone + Debug {
    /// The record's name.
    const NAME: &'static str;
    /// Field names and storage, in order.
    const FIELDS: &'static [(&'static str, Storage)];
    /// Appends each field to its column.
    fn push(&self, columns: &mut [Column]);
    /// Reads row `row` of the columns.
    ///
    /// # Errors
    /// When a stored value is none of its field's type.
    fn pull(columns: &[Column], row: usize) -> Result<Self, DecodeError>;
}

/// Appends `value` as zigzag LEB128.
#[inline]
pub fn write_integer(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    if rest < 0x80 {
        out.push(rest as u8);
        return;
    }
    // Put together aside: growing `out` byte by byte was a tenth of what the journal took.
    let (mut bytes, mut length) = ([0; 10], 0);
    while rest >= 0x80 {
        bytes[length] = rest as u8 | 0x80;
        rest >>= 7;
        length += 1;
    }
    bytes[length] = rest as u8;
    // All ten bytes for the few that count: a copy of fixed length needs no call.
    let end = out.len() + length + 1;
    out.extend_from_slice(&bytes);
    out.truncate(end);
}

/// Takes a zigzag LEB128 integer off the front of `from`; a form that is not the shortest is refused.
///
/// # Errors
/// When the bytes end early or are not the shortest form of an `i64`.
pub fn read_integer(from: &mut &[u8]) -> Result<i64, DecodeError> {
    let mut value = 0u64;
    for (index, byte) in from.iter().enumerate() {
        let bits = u64::from(byte & 0x7f);
        if index == 9 && bits > 1 || index > 9 {
            return Err(DecodeError::Malformed("an integer longer than 64 bits"));
        }
        value |= bits << (7 * index);
        if byte & 0x80 == 0 {
            if *byte == 0 && index > 0 {
                return Err(DecodeError::Malformed("an integer that is not in its shortest form"));
            }
            *from = &from[index + 1..];
            return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    Err(DecodeError::Short("an integer"))
}

/// Implements [`Canonical`] and [`Field`] for a newtype over an integer.
macro_rules! integer_field {
    ($name:ident) => {
        impl $crate::row::Canonical for $name {
            fn describe(schema: &mut String) {
                schema.push_str(stringify!($name));
            }
            fn write(&self, out: &mut Vec<u8>) {
                $crate::row::write_integer(self.0 as i64, out);
            }
            fn read(from: &mut &[u8]) -> Result<Self, $crate::row::DecodeError> {
                let value = $crate::row::read_integer(from)?;
                value.try_into().map(Self).map_err(|_| $crate::row::DecodeError::Invalid(value, stringify!($name)))
            }
            fn implausible(&self) -> Option<i64> {
                $crate::row::beyond(self.0 as i64, $crate::units::MAX_MAGNITUDE)
            }
        }
        impl $crate::row::Field for $name {
            const STORAGE: $crate::row::Storage = $crate::row::Storage::Integer;
            fn push(&self, column: &mut $crate::row::Column) {
                let $crate::row::Column::Integers(values) = column else { unreachable!("an integer field in a byte column") };
                values.push(self.0 as i64);
            }
            fn pull(column: &$crate::row::Column, row: usize) -> Result<Self, $crate::row::DecodeError> {
                let $crate::row::Column::Integers(values) = column else {
                    return Err($crate::row::DecodeError::Malformed("a byte column where integers were expected"));
                };
                values[row].try_into().map(Self).map_err(|_| $crate::row::DecodeError::Invalid(values[row], stringify!($name)))
            }
        }
    };
}
pub(crate) use integer_field;

/// Declares a row: a struct of public fields whose order is its sort order, with its byte forms.
///
/// ```
/// gridflow_inputs::record! {
///     /// A reading of a tank.
///     pub struct TankLevel {
///         /// Which tank.
///         tank: u32,
///         /// Level in millimetres.
///         level_mm: i64,
///     }
/// }
/// use gridflow_inputs::row::Canonical;
/// let mut bytes = Vec::new();
/// let row = TankLevel { tank: 7, level_mm: -3 };
/// row.write(&mut bytes);
/// assert_eq!(TankLevel::read(&mut bytes.as_slice()), Ok(row));
/// ```
#[macro_export]
macro_rules! record {
    ($($(#[$doc:meta])* pub struct $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ::serde::Serialize, ::serde::Deserialize)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

        impl $crate::row::Canonical for $name {
            fn describe(schema: &mut String) {
                schema.push_str(concat!(stringify!($name), "{"));
                $(
                    schema.push_str(concat!(stringify!($field), ":"));
                    <$type as $crate::row::Canonical>::describe(schema);
                    schema.push(';');
                )*
                schema.push('}');
            }
            fn write(&self, out: &mut Vec<u8>) {
                $($crate::row::Canonical::write(&self.$field, out);)*
            }
            fn read(from: &mut &[u8]) -> Result<Self, $crate::row::DecodeError> {
                Ok(Self { $($field: $crate::row::Canonical::read(from)?,)* })
            }
            fn implausible(&self) -> Option<i64> {
                None$(.or_else(|| $crate::row::Canonical::implausible(&self.$field)))*
            }
        }

        impl $crate::row::Record for $name {
            const NAME: &'static str = stringify!($name);
            const FIELDS: &'static [(&'static str, $crate::row::Storage)] =
                &[$((stringify!($field), <$type as $crate::row::Field>::STORAGE)),*];
            fn push(&self, columns: &mut [$crate::row::Column]) {
                let mut columns = columns.iter_mut();
                $($crate::row::Field::push(&self.$field, columns.next().expect("one column a field"));)*
            }
            fn pull(columns: &[$crate::row::Column], row: usize) -> Result<Self, $crate::row::DecodeError> {
                let mut columns = columns.iter();
                Ok(Self { $($field: $crate::row::Field::pull(columns.next().ok_or($crate::row::DecodeError::Malformed("too few columns"))?, row)?,)* })
            }
        }
    )*};
}

/// Declares a closed list of named codes: an enum with fixed numbers, stored as an integer.
#[macro_export]
macro_rules! code {
    ($($(#[$doc:meta])* pub enum $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $code:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ::serde::Serialize, ::serde::Deserialize)]
        #[repr(u8)]
        pub enum $name { $($(#[$variant_doc])* $variant = $code,)* }

        impl $name {
            /// All codes, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The code with this number.
            #[must_use]
            pub fn from_code(code: i64) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }
        }

        impl $crate::row::Canonical for $name {
            fn describe(schema: &mut String) {
                schema.push_str(concat!(stringify!($name), "<", $(stringify!($variant), "=", stringify!($code), ",",)* ">"));
            }
            fn write(&self, out: &mut Vec<u8>) {
                $crate::row::write_integer(*self as i64, out);
            }
            fn read(from: &mut &[u8]) -> Result<Self, $crate::row::DecodeError> {
                let code = $crate::row::read_integer(from)?;
                Self::from_code(code).ok_or($crate::row::DecodeError::Invalid(code, stringify!($name)))
            }
        }

        impl $crate::row::Field for $name {
            const STORAGE: $crate::row::Storage = $crate::row::Storage::Integer;
            fn push(&self, column: &mut $crate::row::Column) {
                $crate::row::Field::push(&(*self as i64), column);
            }
            fn pull(column: &$crate::row::Column, row: usize) -> Result<Self, $crate::row::DecodeError> {
                let code = <i64 as $crate::row::Field>::pull(column, row)?;
                Self::from_code(code).ok_or($crate::row::DecodeError::Invalid(code, stringify!($name)))
            }
        }
    )*};
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{MAX_MAGNITUDE, MilliWatts};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_integer_has_one_byte_form(value: i64) {
            let mut bytes = Vec::new();
            write_integer(value, &mut bytes);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(read_integer(&mut rest), Ok(value));
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn reading_any_bytes_never_panics(bytes: Vec<u8>) {
            let _ = Vec::<(String, Option<Real>)>::read(&mut bytes.as_slice());
            if let Ok(value) = read_integer(&mut bytes.as_slice()) {
                let mut again = Vec::new();
                write_integer(value, &mut again);
                prop_assert!(bytes.starts_with(&again));
            }
        }
    }

    #[test]
    fn a_number_beyond_any_sound_row_is_found_wherever_it_stands() {
        let huge = Real::new(-1e16).unwrap();
        assert_eq!(vec![(MilliWatts(1), Real::ONE), (MilliWatts(-2), huge)].implausible(), Some(-10_000_000_000_000_000));
        assert_eq!(Some(MilliWatts(i64::MIN)).implausible(), Some(i64::MIN));
        assert_eq!((MilliWatts(-MAX_MAGNITUDE), 1_800_000_000_000_000i64).implausible(), None);
        assert_eq!(i64::MAX.implausible(), Some(i64::MAX));
        assert_eq!((u64::MAX, u32::MAX).implausible(), None);
    }
}
