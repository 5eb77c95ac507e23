#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod accounts;
pub mod arbiter;
pub mod audit;
pub mod constraints;
pub mod contingency;
pub mod decision;
pub mod deficit;
pub mod dispatch;
pub mod estimation;
pub mod facts;
pub mod features;
pub mod forecasting;
pub mod grid;
pub mod hygiene;
pub mod islands;
pub mod kept;
mod lookup;
pub mod maintenance;
pub mod multiset;
pub mod newest;
pub mod operating_point;
pub mod placement;
pub mod seal;
pub mod sealed;
pub mod shedding;
pub mod solver;
mod standing;
pub mod state;
pub mod telemetry;
