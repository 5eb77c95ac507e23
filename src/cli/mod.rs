//! The command line: what a user types, what is printed, and the exit codes.

// `println!` panics when nobody listens: `output` has what does not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod cascade;
mod cluster;
mod contingency;
mod demo;
mod estimate;
mod grid;
mod import;
mod inspect;
mod output;
mod power_flow;
mod replay;
mod report;
mod run;
mod simulate;
mod what_if;
mod workload;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Parser, Subcommand};
use gridflow::{EXIT_BAD_INPUT, EXIT_INTERNAL, EXIT_USAGE};
use output::complain;

/// A smart-grid stream processor: recorded rows in; state, forecasts, dispatch and prices out; the same bits every time.
#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "Start with `gridflow demo`. Every command explains itself with --help.\n\nExit codes: 0 done, 2 usage, 3 bad input, 4 verification or check failed, 5 internal failure, 130 stopped by Ctrl-C."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Simulates a small region, replays it with all cores and tells what happened. Needs no files, takes under a minute.
    Demo(demo::DemoArguments),
    /// Simulates a region on a network file and records its rows as a log.
    Simulate(simulate::SimulateArguments),
    /// Runs a recorded log through the engine and states the digests of its outputs.
    Replay(replay::ReplayArguments),
    /// Follows a log, keeps outputs and checkpoints, and goes on where it was when started again.
    Run(run::RunArguments),
    /// Tells what is in a log: rows, spans, damage.
    Inspect(inspect::InspectArguments),
    /// Checks a network (and historian exports) and turns them into a log.
    Import(import::ImportArguments),
    /// Solves the power flow of a network file: voltages, flows, losses, limits broken.
    PowerFlow(power_flow::PowerFlowArguments),
    /// Compares a network before and after branches open, units trip, loads grow.
    WhatIf(what_if::WhatIfArguments),
    /// Tells what the outage of each branch (or unit, or pair) of a network file would overload, cut off or leave unsolved.
    Contingency(contingency::ContingencyArguments),
    /// Estimates the state of a network from a file of measurements: observability, bad data, voltages.
    Estimate(estimate::EstimateArguments),
    /// Writes the streaming benchmark's workload W1: readings of 100,000 meters as they arrive.
    Workload(workload::WorkloadArguments),
}

/// Why a command ended early, with its exit code.
#[derive(Debug)]
pub(crate) struct Failed {
    /// The exit code.
    pub(crate) code: i32,
    /// What to tell the user.
    pub(crate) error: anyhow::Error,
}

impl<E: Into<anyhow::Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self { code: EXIT_BAD_INPUT, error: error.into() }
    }
}

impl Failed {
    /// A command line that makes no sense.
    pub(crate) fn usage(message: impl std::fmt::Display) -> Self {
        Self { code: EXIT_USAGE, error: anyhow::anyhow!("{message}") }
    }

    /// A failure that is not the input's fault.
    pub(crate) fn internal(error: impl Into<anyhow::Error>) -> Self {
        Self { code: EXIT_INTERNAL, error: error.into() }
    }
}

/// A flag that Ctrl-C raises; a second Ctrl-C ends the process at once.
pub(crate) fn stop_flag() -> Result<Arc<AtomicBool>, Failed> {
    let stop = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if raised.swap(true, Ordering::Relaxed) {
            std::process::exit(gridflow::EXIT_INTERRUPTED);
        }
        complain!("stopping after the present epoch; press Ctrl-C again to stop at once");
    })
    .map_err(Failed::internal)?;
    Ok(stop)
}

/// An error with its causes. Many messages end with their cause as it is: it is said once.
fn with_causes(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |mut told, cause| {
        let cause = cause.to_string();
        if !told.ends_with(&cause) {
            told.push_str(if told.is_empty() { "" } else { ": " });
            told.push_str(&cause);
        }
        told
    })
}

/// Runs the command line; gives the exit code.
pub(crate) fn run() -> i32 {
    let arguments = Arguments::parse();
    gridflow::engine::stop_process_on_panic();
    let result = match arguments.command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Simulate(arguments) => simulate::run(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::PowerFlow(arguments) => power_flow::run(&arguments),
        Command::WhatIf(arguments) => what_if::run(&arguments),
        Command::Contingency(arguments) => contingency::run(&arguments),
        Command::Estimate(arguments) => estimate::run(&arguments),
        Command::Workload(arguments) => workload::run(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(Failed { code, error }) => {
            complain!("gridflow: {}", with_causes(&error));
            code
        }
    }
}
