//! `gridflow what-if`.

use std::path::PathBuf;

use clap::Args;
use gridflow::clock::Stopwatch;
use gridflow::{EXIT_DONE, EXIT_VERIFICATION};
use gridflow_inputs::ids::{BranchId, GeneratorId};
use gridflow_numerics::case::CaseBranch;
use gridflow_numerics::power_flow::violations::{Violation, loading};
use gridflow_numerics::power_flow::{Cache, Method};
use gridflow_numerics::what_if::{Change, Comparison, State, WhatIfError, compare};
use serde_json::{Value, json};

use super::grid::{self, Solving, degrees};
use super::output::{complain, say};
use super::power_flow::{failure_json, has_no_solution};
use super::{Failed, report};

#[derive(Args)]
#[command(
    after_help = "Solves the case as it is and as it would be, and tells what sets them apart: limits newly broken, worse or cured, islands, load\nthat is cut off. What units do not cover falls to the reference bus, or to all units with --distributed-slack. A worse limit is\none that was broken before and is broken by more.\n\nExit code 4: the change breaks a limit that held, makes a broken one worse, cuts off load, or leaves no solution.\n\nExample: gridflow what-if case118.m --open 8 --open 37 --scale-load 1.1 --distributed-slack"
)]
pub(crate) struct WhatIfArguments {
    /// MATPOWER .m file, a directory of tables by kind (bus.csv, branch.csv …), or the `source` directory of an RTS-GMLC data set.
    #[arg(value_name = "CASE")]
    case: PathBuf,
    /// Branches that open: 1-based rows of the branch table.
    #[arg(long, value_name = "BRANCH", num_args = 1.., value_delimiter = ',')]
    open: Vec<u32>,
    /// Units that trip: 1-based rows of the generator table.
    #[arg(long, value_name = "UNIT", num_args = 1.., value_delimiter = ',')]
    outage_unit: Vec<u32>,
    /// Factor of all loads, active and reactive.
    #[arg(long, value_name = "F", default_value_t = 1.0)]
    scale_load: f64,
    /// Factor of the active set points of all units.
    #[arg(long, value_name = "F", default_value_t = 1.0)]
    scale_generation: f64,
    /// DC model: angles and active power alone.
    #[arg(long, conflicts_with_all = ["q_limits", "distributed_slack"])]
    dc: bool,
    /// Keep the reactive limits of units.
    #[arg(long)]
    q_limits: bool,
    /// Spread the slack over all units in proportion to their greatest output.
    #[arg(long)]
    distributed_slack: bool,
    /// Print one line of JSON on standard output.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &WhatIfArguments) -> Result<i32, Failed> {
    let change = Change {
        open: arguments.open.iter().copied().map(BranchId).collect(),
        outages: arguments.outage_unit.iter().copied().map(GeneratorId).collect(),
        load_factor: arguments.scale_load,
        generation_factor: arguments.scale_generation,
    };
    let study = grid::read(&arguments.case)?;
    let WhatIfArguments { dc, q_limits, distributed_slack, .. } = *arguments;
    let model = Solving { dc, flat: false, q_limits, distributed_slack, method: Method::Newton }.model();
    let clock = Stopwatch::start();
    let found = match compare(&study.case, &change, &model, &mut Cache::new()) {
        Ok(found) => found,
        Err(WhatIfError::Factor { what, factor }) => {
            return Err(Failed::usage(format!("--scale-{what} takes a number of 0 and above, such as 1.1, not {factor}")));
        }
        Err(WhatIfError::PowerFlow(error)) if has_no_solution(&error) => {
            if arguments.json {
                report::json(&json!({ "secure": false, "before": failure_json(&error), "after": null }));
            }
            complain!("gridflow: {}: before the change already: {error}", arguments.case.display());
            complain!("gridflow: see `gridflow power-flow {}` first", arguments.case.display());
            return Ok(EXIT_VERIFICATION);
        }
        Err(error) => return Err(Failed::from(anyhow::anyhow!("{}: {error}", arguments.case.display()))),
    };
    let seconds = clock.elapsed().as_secs_f64();
    if arguments.json {
        report::json(&comparison_json(&found, seconds));
    } else {
        grid::tell_case(&study.file.name, &study.case);
        tell(&found, dc);
    }
    Ok(if found.is_secure() { EXIT_DONE } else { EXIT_VERIFICATION })
}

/// Branches with a rating and how much of it they carry, the most loaded first.
fn loadings(state: &State) -> Vec<(f64, &CaseBranch)> {
    let rated = state.case.branches.iter().zip(&state.flow.flows).filter_map(|(branch, flow)| Some((loading(branch, flow)?, branch)));
    let mut rated = Vec::from_iter(rated);
    rated.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.id.cmp(&b.1.id)));
    rated
}

fn loading_before(found: &Comparison, branch: &CaseBranch) -> Option<f64> {
    found.before.flow_of(branch.id).and_then(|flow| loading(branch, flow))
}

/// Buses with the lowest and the highest voltage.
fn extremes(state: &State) -> (usize, usize) {
    let by = |a: &usize, b: &usize| state.flow.v[*a].total_cmp(&state.flow.v[*b]).then(b.cmp(a));
    let buses = 0..state.case.buses.len();
    (buses.clone().min_by(by).unwrap_or(0), buses.max_by(by).unwrap_or(0))
}

fn state_json(state: &State) -> Value {
    let (base, flow) = (state.case.base_mva, &state.flow);
    let (lowest, highest) = extremes(state);
    let bus = |bus: usize| json!({ "bus": state.case.buses[bus].id.0, "vm_pu": flow.v[bus], "va_deg": degrees(flow.va[bus]) });
    json!({
        "converged": true, "iterations": flow.iterations, "max_mismatch_pu": flow.mismatch, "losses_mw": flow.loss * base,
        "generation_mw": flow.generator_p.iter().sum::<f64>() * base,
        "load_mw": state.case.loads.iter().map(|load| load.p).sum::<f64>() * base,
        "dead_load_mw": state.dead_load() * base, "violations": state.violations.len(),
        "max_loading_percent": loadings(state).first().map(|(share, _)| 100.0 * share),
        "lowest_voltage": bus(lowest), "highest_voltage": bus(highest),
        "islands": state.islands.iter().map(|island| grid::island_json(island, base)).collect::<Vec<_>>(),
    })
}

fn comparison_json(found: &Comparison, seconds: f64) -> Value {
    let base = found.before.case.base_mva;
    let list = |violations: &[Violation]| violations.iter().map(|violation| grid::violation_json(violation, base)).collect::<Vec<_>>();
    let (after, worst) = match &found.after {
        Ok(state) => {
            let percent = |share: f64| 100.0 * share;
            let worst = loadings(state).into_iter().take(10).map(|(share, branch)| {
                json!({ "branch": branch.id.0, "loading_percent": percent(share), "before_percent": loading_before(found, branch).map(percent) })
            });
            (state_json(state), worst.collect::<Vec<_>>())
        }
        Err(error) => (failure_json(error), vec![]),
    };
    json!({
        "secure": found.is_secure(), "before": state_json(&found.before), "after": after, "new_violations": list(&found.new),
        "worse_violations": list(&found.worse), "cured_violations": list(&found.cured), "worst_loadings": worst,
        "lost_load_mw": found.lost_load * base, "seconds_solve": seconds,
    })
}

fn tell(found: &Comparison, dc: bool) {
    let base = found.before.case.base_mva;
    let after = match &found.after {
        Ok(state) => state,
        Err(error) => {
            say!("no solution after the change: {error}");
            return;
        }
    };
    say!("{:<22} {:>12} {:>12}", "", "before", "after");
    let row = |what: &str, value: &dyn Fn(&State) -> String| say!("{what:<22} {:>12} {:>12}", value(&found.before), value(after));
    row("generation (MW)", &|state| format!("{:.1}", state.flow.generator_p.iter().sum::<f64>() * base));
    row("load (MW)", &|state| format!("{:.1}", state.case.loads.iter().map(|load| load.p).sum::<f64>() * base));
    row("losses (MW)", &|state| format!("{:.1}", state.flow.loss * base));
    row("cut-off load (MW)", &|state| format!("{:.1}", state.dead_load() * base));
    row("islands", &|state| state.islands.len().to_string());
    if !dc {
        row("lowest voltage (pu)", &|state| format!("{:.4}", state.flow.v[extremes(state).0]));
        row("highest voltage (pu)", &|state| format!("{:.4}", state.flow.v[extremes(state).1]));
    }
    row("worst loading (%)", &|state| loadings(state).first().map_or("-".to_owned(), |(share, _)| format!("{:.1}", 100.0 * share)));
    row("limits broken", &|state| state.violations.len().to_string());
    let worst = loadings(after);
    if !worst.is_empty() {
        say!("{:>8} {:>8} {:>8} {:>10} {:>10}", "branch", "from", "to", "before", "after");
        for (share, branch) in worst.iter().take(5) {
            let (from, to) = (after.case.buses[branch.from].id.0, after.case.buses[branch.to].id.0);
            let before = loading_before(found, branch).map_or("-".to_owned(), |share| format!("{:.1} %", 100.0 * share));
            say!("{:>8} {from:>8} {to:>8} {before:>10} {:>8.1} %", branch.id.0, 100.0 * share);
        }
    }
    grid::tell_islands(&after.islands, base);
    grid::tell_violations("newly broken", &found.new, base);
    grid::tell_violations("broken before, and worse", &found.worse, base);
    grid::tell_violations("cured", &found.cured, base);
    if found.lost_load > 0.0 {
        say!("load cut off by the change: {:.1} MW", found.lost_load * base);
    }
    say!("{}", if found.is_secure() { "secure: the change breaks nothing that held" } else { "insecure" });
}
