//! Power flow and estimation on published networks.

mod power_flow;
mod support;
