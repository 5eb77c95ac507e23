//! Judges of the operators: each module recomputes what one family tells from scratch, in the slowest and plainest way,
//! and compares after every epoch, for one, two and three workers, under random late, duplicate, corrected and
//! withdrawn rows. References are written from the definitions of the words, not from the operators' code.

#[path = "operators/constraints.rs"]
mod constraints;
#[path = "operators/deficit.rs"]
mod deficit;
#[path = "operators/estimation.rs"]
mod estimation;
#[path = "operators/estimation_world.rs"]
mod estimation_world;
#[path = "operators/harness.rs"]
mod harness;
#[path = "operators/islands.rs"]
mod islands;
#[path = "operators/islands_bound.rs"]
mod islands_bound;
#[path = "operators/islands_incremental.rs"]
mod islands_incremental;
#[path = "operators/islands_network.rs"]
mod islands_network;
#[path = "operators/islands_nodes.rs"]
mod islands_nodes;
#[path = "operators/islands_redraw.rs"]
mod islands_redraw;
#[path = "operators/islands_reference.rs"]
mod islands_reference;
#[path = "operators/maintenance.rs"]
mod maintenance;
#[path = "operators/relations.rs"]
mod relations;
#[path = "operators/security.rs"]
mod security;
#[path = "operators/security_looks.rs"]
mod security_looks;
#[path = "operators/security_named.rs"]
mod security_named;
#[path = "operators/security_speed.rs"]
mod security_speed;
#[path = "operators/security_watch.rs"]
mod security_watch;
#[path = "operators/solver.rs"]
mod solver;
#[path = "operators/telemetry.rs"]
mod telemetry;
#[path = "operators/telemetry_bounds.rs"]
mod telemetry_bounds;
#[path = "operators/telemetry_cases.rs"]
mod telemetry_cases;
#[path = "operators/telemetry_differential.rs"]
mod telemetry_differential;
#[path = "operators/telemetry_reference.rs"]
mod telemetry_reference;
