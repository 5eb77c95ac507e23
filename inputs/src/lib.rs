#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

// The macros name this crate by its own name, so that they work inside it too.
extern crate self as gridflow_inputs;

pub mod ids;
pub mod input;
pub mod log;
pub mod matpower;
pub mod network;
pub mod network_file;
pub mod network_tables;
pub mod profiles;
pub mod row;
pub mod rts_gmlc;
pub mod table;
#[cfg(test)]
mod test_data;
pub mod time;
pub mod units;

pub use input::{Epoch, Input, Kind, MAX_EPOCH, Sequenced};
