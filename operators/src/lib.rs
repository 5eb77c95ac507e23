#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod accounts;
pub mod decision;
pub mod sealed;
pub mod solver;
pub mod telemetry;
