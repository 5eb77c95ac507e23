//! The whole system seen from outside: recorded rows in, output streams and exit codes out.

mod support;

#[path = "system/bad_input.rs"]
mod bad_input;
#[path = "system/clocks.rs"]
mod clocks;
#[path = "system/command_line.rs"]
mod command_line;
#[path = "system/contingency.rs"]
mod contingency;
#[path = "system/estimate.rs"]
mod estimate;
#[path = "system/islands.rs"]
mod islands;
#[path = "system/late_rows.rs"]
mod late_rows;
#[path = "system/losses.rs"]
mod losses;
#[path = "system/maintenance.rs"]
mod maintenance;
#[path = "system/nodes.rs"]
mod nodes;
#[path = "system/prefix.rs"]
mod prefix;
#[path = "system/processes.rs"]
mod processes;
#[path = "system/real_networks.rs"]
mod real_networks;
#[path = "system/resume.rs"]
mod resume;
#[path = "system/security.rs"]
mod security;
#[path = "system/standby.rs"]
mod standby;
#[path = "system/studies.rs"]
mod studies;
#[path = "system/tables.rs"]
mod tables;
