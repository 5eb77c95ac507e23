#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod case;
pub mod dispatch;
pub mod forecasting;
pub mod pricing;
pub mod sparse;
pub mod storage;
