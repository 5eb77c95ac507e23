//! `gridflow demo`.

use std::path::{Path, PathBuf};

use clap::Args;
use gridflow::demo::{Story, network, simulation};
use gridflow::engine::EngineConfig;
use gridflow::recording::record;
use gridflow::replay::{ReplayConfig, replay};
use gridflow::simulate::Simulation;
use gridflow::{EXIT_DONE, EXIT_INTERRUPTED};
use gridflow_inputs::time::format_rfc3339;

use super::output::{complain, say};
use super::{Failed, report, stop_flag};

#[derive(Args)]
pub(crate) struct DemoArguments {
    /// How long a time to simulate.
    #[arg(long, default_value_t = 120, value_name = "N")]
    minutes: u32,
    /// Seed of everything random.
    #[arg(long, default_value_t = 3, value_name = "S")]
    seed: u64,
    /// Directory for the demo's log; a directory of the system for temporary files by default.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the replay's summary as one line of JSON on standard output instead of the story.
    #[arg(long)]
    json: bool,
}

/// The default place, emptied of an earlier demo.
fn default_place() -> Result<PathBuf, Failed> {
    let dir = std::env::temp_dir().join(format!("gridflow-demo-{}", std::process::id()));
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(dir)
}

fn clock(ms: i64) -> String {
    format_rfc3339(ms).get(11..16).map_or_else(|| ms.to_string(), str::to_owned)
}

pub(crate) fn run(arguments: &DemoArguments) -> Result<i32, Failed> {
    let dir = match &arguments.out {
        Some(dir) => dir.clone(),
        None => default_place()?,
    };
    let stop = stop_flag()?;
    let file = network()?;
    let (buses, branches, units) = (file.network.buses.len(), file.network.branches.len(), file.network.generators.len());
    let config = simulation(arguments.minutes, arguments.seed);
    let region = file.name.clone();
    let mut simulation = Simulation::new(config, file, None)?;
    let bar = report::progress(u64::from(arguments.minutes) * 60, "simulating");
    let recorded = record(&mut simulation, &region, &dir, &stop, |_| bar.inc(1))?;
    bar.finish_and_clear();
    if recorded.interrupted {
        complain!("stopped; what was recorded is whole: {}", dir.display());
        return Ok(EXIT_INTERRUPTED);
    }
    if !arguments.json {
        say!("A region on the IEEE 14-bus network: {buses} buses, {branches} branches, {units} units, a battery; seed {}.", arguments.seed);
        say!(
            "Recorded {} rows of {} minutes from {} sensors (with noise, delay, loss, duplicates, corrections).",
            report::grouped(recorded.rows),
            arguments.minutes,
            simulation.summary().sensors
        );
        for (event_ms, happening) in &simulation.summary().happenings {
            say!("  {}  {happening:?}", clock(*event_ms));
        }
        say!("");
    }
    let mut story = Story::default();
    let engine = EngineConfig { workers: report::all_cores(), ..EngineConfig::default() };
    let summary = replay(&ReplayConfig { log: dir.clone(), engine, ..ReplayConfig::default() }, &stop, &mut story)?;
    if arguments.json {
        report::json(&summary);
    } else {
        tell(&story, &dir);
        say!(
            "Replayed with {} workers in {:.1} s; digest {}",
            summary.summary.workers,
            summary.summary.seconds,
            &summary.summary.digest[..16]
        );
        say!("");
        say!("What to try next (the digest is the same for any number of workers):");
        say!("  gridflow replay {} --workers 1", dir.display());
        say!("  gridflow inspect {}", dir.display());
        say!("  gridflow simulate --help");
    }
    Ok(if summary.summary.interrupted { EXIT_INTERRUPTED } else { EXIT_DONE })
}

fn tell(story: &Story, dir: &Path) {
    say!(
        "state      {} estimates, one each 5 s; in {} the measurements contradicted each other (J above its threshold)",
        story.estimates.0,
        story.estimates.1
    );
    say!("topology   changed at {}", list(story.switchings.iter().map(|epoch| clock(*epoch as i64))));
    let methods = list(story.forecasts.1.iter().map(|(method, rows)| format!("{method} {rows} rows")));
    say!("forecast   {} issues of the next 24 h ({methods})", story.forecasts.0.len());
    say!(
        "dispatch   {} plans passed the power flow and left; in {} intervals the last safe set points stood; {} violations named",
        story.plans.0.len(),
        story.plans.1.len(),
        story.violations
    );
    for (zone, ((least, _), (greatest, at))) in &story.prices {
        say!("price      zone {zone}: {:.2} to {:.2} per MWh, highest at {}", *least as f64 / 1e6, *greatest as f64 / 1e6, clock(*at));
    }
    match &story.shed {
        Some((p, epoch, loads, reason)) => {
            say!("shed       up to {:.1} MW of {loads} loads, at {} ({reason:?})", p.mw(), clock(*epoch as i64))
        }
        None => say!("shed       nothing"),
    }
    say!(
        "refused    {} rows, each with its reason; {} rows too late; {} corrections touched an estimate",
        story.refused.0,
        story.refused.1,
        story.audits
    );
    say!("alarms     {}", list(story.alarms.iter().map(|(kind, count)| format!("{kind} {count}"))));
    say!("log        {}", dir.display());
    say!("");
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() { "none".into() } else { items.join(", ") }
}
