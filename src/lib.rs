#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod agreement;
pub mod checkpoint;
pub mod clock;
pub mod contingencies;
pub mod demo;
pub mod engine;
pub mod estimating;
pub mod failpoint;
mod follower;
pub mod importing;
pub mod intake;
pub mod journal;
mod keeper;
pub mod leadership;
pub mod metrics;
pub mod networks;
pub mod pool;
pub mod recording;
pub mod replay;
pub mod running;
pub mod sequencer;
pub mod simulate;
pub mod summary;
pub mod workload;

/// Exit code of a run that did what was asked.
pub const EXIT_DONE: i32 = 0;
/// Exit code of a command line that makes no sense.
pub const EXIT_USAGE: i32 = 2;
/// Exit code of input that cannot be used.
pub const EXIT_BAD_INPUT: i32 = 3;
/// Exit code of outputs that differ from those they were compared with.
pub const EXIT_VERIFICATION: i32 = 4;
/// Exit code of a lost peer or a failure of the engine itself.
pub const EXIT_INTERNAL: i32 = 5;
/// Exit code of a run the user stopped with Ctrl-C: what was done is kept.
pub const EXIT_INTERRUPTED: i32 = 130;
