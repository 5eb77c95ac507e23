//! `gridflow workload`.

use std::path::PathBuf;

use clap::Args;
use gridflow::workload::{Targets, WorkloadConfig, write};
use gridflow::{EXIT_DONE, EXIT_INTERRUPTED};

use super::output::say;
use super::{Failed, report, stop_flag};

#[derive(Args)]
#[command(
    after_help = "The same options give the same bytes. Log, binary file and CSV file carry the same records in the same order; the columns are ts_ms, value, sensor, arr_ms, quality, kind.\n\nExample: gridflow workload --minutes 10 --log w1.log --binary w1.bin --csv w1.csv && gridflow replay w1.log"
)]
pub(crate) struct WorkloadArguments {
    /// Minutes of event time; late readings and repetitions arrive for up to seven more.
    #[arg(long, value_name = "N")]
    minutes: u32,
    /// Seed of everything random.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Number of sensors.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    sensors: u32,
    /// Milliseconds between two readings of a sensor.
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    period_ms: u64,
    /// Length of an epoch in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    epoch_ms: u64,
    /// Without moves, duplicates and corrections (T1), for programs that can only append.
    #[arg(long)]
    append_only: bool,
    /// Directory of a log to be created.
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
    /// File for records of 24 bytes.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// CSV file.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Print one line of JSON on standard output.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &WorkloadArguments) -> Result<i32, Failed> {
    let targets = Targets { log: arguments.log.clone(), binary: arguments.binary.clone(), csv: arguments.csv.clone() };
    if let Targets { log: None, binary: None, csv: None } = targets {
        return Err(Failed::usage("nowhere to write to: give --log, --binary or --csv"));
    }
    let config = WorkloadConfig {
        seed: arguments.seed,
        minutes: arguments.minutes,
        sensors: arguments.sensors,
        period_ms: arguments.period_ms,
        epoch_ms: arguments.epoch_ms,
        append_only: arguments.append_only,
    };
    config.check().map_err(Failed::usage)?;
    let bar = report::progress(config.event_ms() / 1000, "writing the workload");
    let written = write(config, &targets, &*stop_flag()?, |epoch_ms| bar.set_position(epoch_ms / 1000))?;
    bar.finish_and_clear();
    if arguments.json {
        report::json(&written);
    } else {
        report::workload(&written);
        for path in [&targets.binary, &targets.csv, &targets.log].into_iter().flatten() {
            say!("written: {}", path.display());
        }
        if let Some(log) = &targets.log {
            say!("next: gridflow replay {}", log.display());
        }
    }
    Ok(if written.interrupted { EXIT_INTERRUPTED } else { EXIT_DONE })
}
