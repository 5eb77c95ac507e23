//! Gridflow.
#![deny(missing_docs)]

pub mod simulate;
