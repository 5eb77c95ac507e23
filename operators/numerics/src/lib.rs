#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod admittance;
pub mod case;
pub mod contingency;
pub mod dispatch;
pub mod estimation;
pub mod forecasting;
pub mod power_flow;
pub mod pricing;
pub mod shedding;
pub mod sparse;
pub mod statistics;
pub mod storage;
pub mod what_if;
