//! `gridflow import`.
use clap::Args;
use super::Failed;
#[derive(Args)]
pub(crate) struct ImportArguments {}
pub(crate) fn run(_arguments: &ImportArguments) -> Result<i32, Failed> { Ok(0) }
