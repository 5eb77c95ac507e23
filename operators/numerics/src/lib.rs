#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod admittance;
pub mod case;
pub mod power_flow;
pub mod sparse;
