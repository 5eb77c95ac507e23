//! Power flow and estimation on published networks.

mod controls;
mod estimation;
mod measurements;
mod power_flow;
mod support;
mod timing;
