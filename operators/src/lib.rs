//! Gridflow.
