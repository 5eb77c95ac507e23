//! Power flow and estimation on published networks.

mod constraints;
mod contingency;
mod controls;
mod dense;
mod diagnosis;
mod estimation;
mod measurements;
mod nodes;
mod power_flow;
mod ranking;
mod residuals;
mod support;
mod timing;
mod tracking;
