//! Power flow and estimation on published networks.

mod contingency;
mod controls;
mod estimation;
mod measurements;
mod power_flow;
mod support;
mod timing;
