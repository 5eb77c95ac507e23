//! `gridflow import`.

use std::path::{Path, PathBuf};

use clap::Args;
use gridflow::importing::{ImportConfig, Imported, import};
use gridflow::{EXIT_DONE, networks};
use gridflow_inputs::network_file::NetworkFile;

use super::output::say;
use super::{Failed, report};

#[derive(Args)]
#[command(
    after_help = "Without --out the network is only checked. With --out it is recorded as a log; with --readings the exports of a historian\n(sensors.csv, measurements.csv, switches.csv) are recorded behind it, each reading arriving at its event time.\nA branch without impedance is recorded as a closed node switch between its ends (with the number and state of its switch, if it has\none): buses keep their numbers, and are one bus while it is closed.\n\nExample: gridflow import case118.m --readings export/ --out history.log"
)]
pub(crate) struct ImportArguments {
    /// MATPOWER .m file, a directory of tables by kind (bus.csv, branch.csv …), or the `source` directory of an RTS-GMLC data set.
    network: PathBuf,
    /// Directory with sensors.csv, measurements.csv and switches.csv of a historian.
    #[arg(long, value_name = "DIR", requires = "out")]
    readings: Option<PathBuf>,
    /// With --out: outages of several elements that contingency analysis is to suppose beside each by itself: a line for each, branches
    /// separated by commas, units as `unit 3`.
    #[arg(long, value_name = "FILE", requires = "out")]
    contingencies: Option<PathBuf>,
    /// Directory of the log to be created.
    #[arg(long, value_name = "LOGDIR")]
    out: Option<PathBuf>,
    /// Print one line of JSON on standard output.
    #[arg(long)]
    json: bool,
}

fn describe(path: &Path, file: &NetworkFile) {
    let network = &file.network;
    let load: f64 = network.loads.iter().filter(|load| load.in_service).map(|load| load.load_p.mw()).sum();
    let capacity: f64 = network.generators.iter().filter(|unit| unit.in_service).map(|unit| unit.p_max.mw()).sum();
    say!("{}: network {}, base {} MVA", path.display(), file.name, file.base_power.mva());
    say!(
        "  {} buses, {} branches, {} units ({capacity:.1} MW), {} loads ({load:.1} MW), {} shunts, {} storage units, {} direct-current links, {} switches",
        network.buses.len(),
        network.branches.len(),
        network.generators.len(),
        network.loads.len(),
        network.shunts.len(),
        network.storages.len(),
        network.dc_lines.len(),
        network.switches.len() + network.node_switches.len()
    );
    for warning in &file.warnings {
        say!("  note: {warning}");
    }
}

fn tell(imported: &Imported, out: &Path) {
    say!("{} rows in {} epochs recorded at {}", report::grouped(imported.rows), report::grouped(imported.epochs), out.display());
    for line in &imported.bad_lines {
        say!("  left out: {line}");
    }
    if imported.bad_line_count > imported.bad_lines.len() as u64 {
        say!("  and {} more lines", imported.bad_line_count - imported.bad_lines.len() as u64);
    }
    say!("next: gridflow replay {}", out.display());
}

pub(crate) fn run(arguments: &ImportArguments) -> Result<i32, Failed> {
    let file = networks::read(&arguments.network)?;
    if !arguments.json {
        describe(&arguments.network, &file);
    }
    let network = &file.network;
    let counts = serde_json::json!({
        "name": file.name, "buses": network.buses.len(), "branches": network.branches.len(), "generators": network.generators.len(),
        "loads": network.loads.len(), "storages": network.storages.len(), "dc_lines": network.dc_lines.len(), "warnings": file.warnings,
    });
    let mut imported = None;
    if let Some(out) = &arguments.out {
        let (readings, contingencies) = (arguments.readings.clone(), arguments.contingencies.clone());
        let done = import(file, &ImportConfig { readings, contingencies, out: out.clone() })?;
        if !arguments.json {
            tell(&done, out);
        }
        imported = Some(done);
    }
    if arguments.json {
        report::json(&serde_json::json!({ "network": counts, "log": imported }));
    }
    Ok(EXIT_DONE)
}
