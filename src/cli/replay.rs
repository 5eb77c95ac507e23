//! `gridflow replay`.

use std::path::PathBuf;

use clap::Args;
use gridflow::engine::EngineConfig;
use gridflow::replay::{ReplayConfig, Watch, replay};
use gridflow::{EXIT_DONE, EXIT_INTERRUPTED, EXIT_VERIFICATION};
use gridflow_inputs::Epoch;
use indicatif::ProgressBar;

use super::cluster::ClusterArguments;
use super::{Failed, report, stop_flag};

#[derive(Args)]
#[command(
    after_help = "The digest is the same for any number of workers or processes, at any pace.\n\nExample: gridflow replay day.log --out day.out && gridflow replay day.log --workers 1 --verify day.out"
)]
pub(crate) struct ReplayArguments {
    /// Directory of the log, as written by `simulate` or `import`.
    log: PathBuf,
    /// Worker threads; all cores by default.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// Write outputs of this epoch (UTC milliseconds) and later only; all are computed.
    #[arg(long, value_name = "EPOCH")]
    from: Option<Epoch>,
    /// Stop after this epoch (UTC milliseconds).
    #[arg(long, value_name = "EPOCH")]
    to: Option<Epoch>,
    /// Write the output streams into this new directory.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Compare with this earlier output directory; exit code 4 and the first difference when they differ.
    #[arg(long, value_name = "DIR")]
    verify: Option<PathBuf>,
    /// Pace: 1 is real time, 60 a minute per second; as fast as possible by default.
    #[arg(long, value_name = "FACTOR")]
    pace: Option<f64>,
    /// Print one line of JSON on standard output.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Delay solves at random, seeded, to show that results do not depend on it.
    #[arg(long, hide = true)]
    delay_seed: Option<u64>,
}

struct Bar {
    bar: ProgressBar,
    first: Epoch,
}

impl Watch for Bar {
    fn fed(&mut self, epoch: Epoch) {
        self.bar.set_position(epoch.saturating_sub(self.first));
    }
}

pub(crate) fn run(arguments: &ReplayArguments) -> Result<i32, Failed> {
    if arguments.pace.is_some_and(|pace| !pace.is_finite() || pace <= 0.0) {
        return Err(Failed::usage("--pace takes a number above 0, such as 1 for real time"));
    }
    if let (Some(from), Some(to)) = (arguments.from, arguments.to)
        && from > to
    {
        return Err(Failed::usage(format!("--from {from} is after --to {to}")));
    }
    let config = ReplayConfig {
        log: arguments.log.clone(),
        engine: EngineConfig {
            workers: arguments.workers.map_or_else(report::all_cores, usize::from),
            cluster: arguments.cluster.read()?,
            pace: arguments.pace,
            delay_seed: arguments.delay_seed,
            ..EngineConfig::default()
        },
        from: arguments.from,
        to: arguments.to,
        out: arguments.out.clone(),
        verify: arguments.verify.clone(),
    };
    let mut bar = Bar { bar: ProgressBar::hidden(), first: 0 };
    if report::on_terminal() {
        let span = gridflow_inputs::log::inspect(&arguments.log)?;
        bar.first = span.first_epoch.unwrap_or(0);
        let last = span.last_epoch.unwrap_or(bar.first).min(arguments.to.unwrap_or(Epoch::MAX));
        bar.bar = report::progress(last.saturating_sub(bar.first), "replaying");
    }
    let summary = replay(&config, &*stop_flag()?, &mut bar)?;
    bar.bar.finish_and_clear();
    if arguments.json {
        report::json(&summary);
    } else {
        report::replay(&summary);
    }
    Ok(match (&summary.difference, summary.summary.interrupted) {
        (Some(_), _) => EXIT_VERIFICATION,
        (None, true) => EXIT_INTERRUPTED,
        (None, false) => EXIT_DONE,
    })
}
