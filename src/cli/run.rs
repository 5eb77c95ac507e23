//! `gridflow run`.

use std::path::PathBuf;

use clap::Args;
use gridflow::engine::EngineConfig;
use gridflow::journal::JournalError;
use gridflow::running::{RunConfig, RunError, run as run_log};
use gridflow::{EXIT_DONE, EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_VERIFICATION};

use super::cluster::ClusterArguments;
use super::output::complain;
use super::{Failed, report, stop_flag};

#[derive(Args)]
#[command(
    after_help = "Stop it as you like (Ctrl-C, kill -9, power) and start it again with the same words: it goes on from its last checkpoint, and its outputs are those of a run that never stopped.\n\nExample: gridflow run --from-log day.log --state day.state --until-end && gridflow replay day.log --verify day.state/out\n\nTwo that watch each other: gridflow run --from-log LOG --state STATE --lease-ms 15000, and the same with --standby."
)]
pub(crate) struct RunArguments {
    /// Directory of the input log; another process may be writing it.
    #[arg(long, value_name = "LOGDIR")]
    from_log: PathBuf,
    /// Directory of outputs and checkpoints; made where it is not there.
    #[arg(long, value_name = "STATEDIR")]
    state: PathBuf,
    /// End with the log instead of waiting for more.
    #[arg(long)]
    until_end: bool,
    /// A checkpoint after so many epochs.
    #[arg(long, value_name = "EPOCHS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_every: u64,
    /// Worker threads; all cores by default.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Follow the process that runs this state, compare with it, and take over when it is gone or the log orders it.
    #[arg(long)]
    standby: bool,
    /// Length of the leader's lease, milliseconds, the same for leader and standby: renewed through the log's inbox; a standby
    /// takes over when it lapses.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(3_000..))]
    lease_ms: Option<u64>,
    /// Who this process is, in lease rows: letters, digits, `-` and `_`.
    #[arg(long, default_value_t = format!("process-{}", std::process::id()))]
    name: String,
    /// Print one line of JSON on standard output.
    #[arg(long)]
    json: bool,
    /// Let the process die at a place, `NAME:COUNT`, to show that nothing is lost.
    #[arg(long, hide = true)]
    fail_at: Option<String>,
}

pub(crate) fn run(arguments: &RunArguments) -> Result<i32, Failed> {
    if let Some(place) = &arguments.fail_at {
        gridflow::failpoint::choose(place).map_err(Failed::usage)?;
    }
    let name = &arguments.name;
    if name.is_empty() || name.len() > 40 || !name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_') {
        return Err(Failed::usage(format!("--name {name}: 1 to 40 letters, digits, `-` and `_`")));
    }
    let config = RunConfig {
        log: arguments.from_log.clone(),
        state: arguments.state.clone(),
        engine: EngineConfig {
            workers: arguments.workers.map_or_else(report::all_cores, usize::from),
            cluster: arguments.cluster.read()?,
            ..EngineConfig::default()
        },
        until_end: arguments.until_end,
        checkpoint_every: arguments.checkpoint_every,
        standby: arguments.standby,
        lease_ms: arguments.lease_ms,
        name: arguments.name.clone(),
    };
    let summary = run_log(&config, &*stop_flag()?, &mut ()).map_err(failed)?;
    for unusable in &summary.unusable_checkpoints {
        complain!("gridflow: the checkpoint of epoch {} was passed over: {}", unusable.epoch, unusable.what);
    }
    if arguments.json {
        report::json(&summary);
    } else {
        report::run(&summary);
    }
    Ok(if summary.summary.interrupted { EXIT_INTERRUPTED } else { EXIT_DONE })
}

/// The exit code an error asks for.
fn failed(error: RunError) -> Failed {
    let code = match &error {
        RunError::Journal(JournalError::Diverged(_)) | RunError::Differs(_) => EXIT_VERIFICATION,
        RunError::Journal(_)
        | RunError::Checkpoint(_)
        | RunError::Superseded
        | RunError::Inbox(_)
        | RunError::Engine(gridflow::engine::EngineError::Start(_)) => EXIT_INTERNAL,
        _ => return Failed::from(error),
    };
    Failed { code, error: error.into() }
}
