#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

#[cfg(feature = "csv")]
pub mod csv;
