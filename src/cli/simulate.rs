//! `gridflow simulate`.

use std::path::PathBuf;

use clap::Args;
use gridflow::recording::{TRUTH, record, record_live};
use gridflow::simulate::{Simulation, SimulationConfig};
use gridflow::{EXIT_DONE, EXIT_INTERRUPTED, networks};
use gridflow_inputs::profiles;
use gridflow_inputs::time::parse_rfc3339;

use super::output::{complain, say};
use super::{Failed, report, stop_flag};

#[derive(Args)]
#[command(
    after_help = "The same seed gives the same bytes. Beside the log's segments stands truth.csv with the true states, which the engine never reads.\nNodes that closed switches or branches without impedance join are recorded as the bus they are; switches stand as normally.\n\nExample: gridflow simulate --network case118.m --minutes 60 --seed 1 --out hour.log"
)]
pub(crate) struct SimulateArguments {
    /// MATPOWER .m file, a directory of tables by kind (bus.csv, branch.csv …), or the `source` directory of an RTS-GMLC data set.
    #[arg(long, value_name = "FILE|DIR")]
    network: PathBuf,
    /// Directory of load, wind, solar, temperature and price series (RTS-GMLC `timeseries`, or plain CSV); synthetic without.
    #[arg(long, value_name = "DIR")]
    profiles: Option<PathBuf>,
    /// How long.
    #[arg(long, value_name = "N")]
    minutes: u32,
    /// Seed of everything random.
    #[arg(long, value_name = "S")]
    seed: u64,
    /// Number of sensors; the network's basic fleet by default, more add meters below buses.
    #[arg(long, value_name = "N")]
    sensors: Option<usize>,
    /// Seconds between two readings of a sensor.
    #[arg(long, value_name = "S", default_value_t = 10)]
    period_s: u32,
    /// First moment, as 2020-02-01T00:00:00Z or UTC milliseconds; by default 28 days into the profiles.
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// Directory of the log to be created.
    #[arg(long, value_name = "LOGDIR")]
    out: PathBuf,
    /// Record as it happens: 1 is real time, 60 a minute per second. Facts and orders from the log's inbox enter with the rows.
    #[arg(long, value_name = "FACTOR")]
    pace: Option<f64>,
    /// Print one line of JSON on standard output.
    #[arg(long)]
    json: bool,
}

/// A moment as a user writes it.
fn moment(text: &str) -> Result<i64, Failed> {
    if let Ok(ms) = text.parse() {
        return Ok(ms);
    }
    parse_rfc3339(text).map_err(|error| {
        Failed::usage(format!("--start {text}: {error}; expected a time such as 2020-02-01T00:00:00Z, or UTC milliseconds"))
    })
}

pub(crate) fn run(arguments: &SimulateArguments) -> Result<i32, Failed> {
    if arguments.pace.is_some_and(|pace| !pace.is_finite() || pace <= 0.0) {
        return Err(Failed::usage("--pace takes a number above 0, such as 1 for real time"));
    }
    let start_ms = arguments.start.as_deref().map(moment).transpose()?;
    let (file, merged) = networks::read_merged(&arguments.network)?;
    for warning in &file.warnings {
        complain!("gridflow: {}: {warning}", arguments.network.display());
    }
    let profiles = arguments.profiles.as_deref().map(profiles::read).transpose()?;
    let config = SimulationConfig {
        seed: arguments.seed,
        minutes: arguments.minutes,
        start_ms,
        period_s: arguments.period_s,
        sensors: arguments.sensors,
        ..SimulationConfig::default()
    };
    let region = file.name.clone();
    let mut simulation = Simulation::new(config, file, profiles)?;
    let bar = report::progress(u64::from(arguments.minutes) * 60, "simulating");
    let stop = stop_flag()?;
    let recorded = match arguments.pace {
        Some(pace) => record_live(&mut simulation, &region, &arguments.out, pace, &stop, |_| bar.inc(1))?,
        None => record(&mut simulation, &region, &arguments.out, &stop, |_| bar.inc(1))?,
    };
    bar.finish_and_clear();
    if arguments.json {
        report::json(&serde_json::json!({ "log": recorded, "simulation": simulation.summary(), "merged_buses": report::merged(&merged) }));
    } else {
        say!(
            "{} rows in {} epochs recorded at {}",
            report::grouped(recorded.rows),
            report::grouped(recorded.epochs),
            arguments.out.display()
        );
        if !merged.is_empty() {
            say!("{} buses merged with others by closed node switches and branches without impedance", merged.len());
        }
        report::simulation(simulation.summary());
        say!("true states: {}", arguments.out.join(TRUTH).display());
        say!("next: gridflow replay {}", arguments.out.display());
    }
    Ok(if recorded.interrupted { EXIT_INTERRUPTED } else { EXIT_DONE })
}
