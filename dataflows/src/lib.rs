#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod decide;
pub mod observe;
pub mod predict;
pub mod region;
pub mod secure;
