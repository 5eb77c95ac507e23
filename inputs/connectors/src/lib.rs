//! Connectors: protocols and files that become Gridflow rows, one folder each.
//!
//! A connector only translates: it decides nothing, and what it cannot translate it hands on as an error of that line.
#![deny(missing_docs)]

#[cfg(feature = "csv")]
pub mod csv;
