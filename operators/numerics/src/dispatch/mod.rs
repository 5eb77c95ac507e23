//! Optimal power flow.
pub(crate) mod quadratic;
