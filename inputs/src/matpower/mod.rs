//! MATPOWER case files (`.m`, case format version 2) as network rows, in the dialects of MATPOWER, PGLib-OPF and PEGASE.
//!
//! Strict: what cannot be read exactly is an error that names file, line, column and what was expected. Fields of the
//! struct that are not known are passed over with a warning. File units: MW, Mvar, MVA, kV, degrees, per unit.
//!
//! - A bus with demand becomes a load, one with a shunt a shunt, each with the bus's number; areas become zones.
//! - A tap ratio of 0 is a line (1); any other also gives a `Transformer` fixed at it.
//! - A rating of 0, `Inf` or 10⁶ MVA and more is unlimited (0); an unlimited power is ±10⁶ MW or Mvar, an unlimited
//!   angle difference ±360°.
//! - Costs: polynomials up to degree 2, and points (concave corners cut off by the lower convex hull, with a warning).
//! - Load class, interruption cost and emission rate follow the rules of [`network_file`](crate::network_file).
//! - What is connected to an isolated bus (type 4) is out of service.
//!
//! Source: MATPOWER User's Manual, appendix "Data File Format".

mod build;
mod cost;
mod text;

#[cfg(test)]
mod tests;

pub use crate::network_file::NetworkFile;
pub use crate::table::ParseError;

/// The IEEE 14-bus test case in two zones, with ratings, limits, costs and fuels of our own; see its comment.
pub const IEEE14: &str = include_str!("../ieee14.m");

/// Reads a case; `name` is the file's name, for messages.
///
/// # Errors
/// When the text is no case this reader understands exactly; see the module's page.
pub fn read(name: &str, text: &str) -> Result<NetworkFile, ParseError> {
    build::build(text::Source { file: name, text })
}
