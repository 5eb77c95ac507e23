//! `gridflow demo`.
use clap::Args;
use super::Failed;
#[derive(Args)]
pub(crate) struct DemoArguments {}
pub(crate) fn run(_arguments: &DemoArguments) -> Result<i32, Failed> { Ok(0) }
