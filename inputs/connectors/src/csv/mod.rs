//! Exports of a historian: text tables of sensors, readings and switch states become rows.
//!
//! | file | columns |
//! |---|---|
//! | `sensors.csv` | `id,quantity,element,element_id,side,sigma,range_min,range_max,feeder,zone,period_s,source` |
//! | `measurements.csv` | `sensor,time,value` and, if wanted, `quality,revision` |
//! | `switches.csv` | `switch,time,state` and, if wanted, `quality` |
//!
//! - `quantity` names its unit: `voltage_magnitude_kv`, `voltage_angle_deg`, `active_injection_mw`,
//!   `reactive_injection_mvar`, `active_flow_mw`, `reactive_flow_mvar`, `current_magnitude_ka`, `active_load_mw`,
//!   `reactive_load_mvar`, `active_generation_mw`, `reactive_generation_mvar`, `frequency_hz`, `metered_power_mw`; `sigma`,
//!   the range and the readings are in it.
//! - `element`: `bus`, `branch`, `generator`, `load`, `shunt`, `storage`, `dc_line`, `zone`, `feeder`; `side`: `from` or
//!   `to` for a branch, else `none` or empty.
//! - `time`: RFC 3339 with an offset, or UTC milliseconds. `state`: `open`, `closed`, `0` (open) or `1`.
//! - `quality`: `good`, `doubtful`, `bad`, `withdrawn`, or their codes 0 to 3; good without the column.
//!
//! Sensors come first, in file order; then readings and switch states, merged by event time, each file in its own order.
//! A bad line is an `Err` that names file, line and column, and costs nothing but itself: every physical line is one
//! record, of at most 64 KiB.

mod config;
mod source;

#[cfg(test)]
mod tests;

pub use config::Config;
pub use gridflow_inputs::table::ParseError as BadLine;
pub use source::Source;
