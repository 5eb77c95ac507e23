//! `gridflow power-flow`.

use std::path::PathBuf;

use clap::Args;
use gridflow::clock::Stopwatch;
use gridflow::networks::Study;
use gridflow::{EXIT_DONE, EXIT_VERIFICATION};
use gridflow_numerics::power_flow::violations::loading;
use gridflow_numerics::power_flow::{Cache, Method, PowerFlowError};
use gridflow_numerics::what_if::{Energised, Model, State, WhatIfError};
use serde_json::json;

use super::grid::{self, Solving, degrees};
use super::output::{complain, say};
use super::{Failed, report};

#[derive(Args)]
#[command(
    after_help = "By default as the file says it: its start values and bus types, the slack at the reference bus, no reactive limits, at most 50\niterations to a mismatch of 1e-8 per unit. Branches without impedance merge their buses. An island without a reference bus gets\none at its largest unit; one without a unit is dead.\n\nJSON: `buses` has every bus that is energised (a merged one with the voltage of the bus it became), `branches` every branch that\ncarries something by its row in the branch table; what is out of service, dead or merged is left out. `loading_percent` is of the\nnormal rating, null where there is none.\n\nExit code 4: there is no solution (the message names the mismatch, the bus and the iteration).\n\nExample: gridflow power-flow case118.m --q-limits"
)]
pub(crate) struct PowerFlowArguments {
    /// MATPOWER .m file, a directory of tables by kind (bus.csv, branch.csv …), or the `source` directory of an RTS-GMLC data set.
    #[arg(value_name = "CASE")]
    case: PathBuf,
    /// DC model: angles and active power alone.
    #[arg(long, conflicts_with_all = ["flat", "q_limits", "distributed_slack", "fast_decoupled", "sweep"])]
    dc: bool,
    /// Start at magnitude 1 and the angles of the DC model instead of the file's start values.
    #[arg(long)]
    flat: bool,
    /// Keep the reactive limits of units: a bus at a limit no longer holds its voltage.
    #[arg(long)]
    q_limits: bool,
    /// Spread the slack over all units in proportion to their greatest output.
    #[arg(long)]
    distributed_slack: bool,
    /// Fast decoupled iteration (XB) instead of Newton's.
    #[arg(long, conflicts_with = "distributed_slack")]
    fast_decoupled: bool,
    /// Backward/forward sweep instead of Newton's method: radial networks without generator buses.
    #[arg(long, conflicts_with_all = ["distributed_slack", "fast_decoupled"])]
    sweep: bool,
    /// Solve again so many times with the symbolic analysis kept; `seconds_solve` is then their median.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    repeat: Option<u32>,
    /// Print one line of JSON on standard output.
    #[arg(long)]
    json: bool,
}

/// The first solution, and the median time of the repetitions (of the first when there are none).
fn timed(study: &Study, model: &Model, repeat: Option<u32>) -> Result<(State, f64), WhatIfError> {
    let energised = Energised::new(&study.case)?;
    let mut cache = Cache::new();
    let mut run = || {
        let clock = Stopwatch::start();
        let solved = energised.solve(model, &mut cache)?;
        Ok::<_, WhatIfError>((solved, clock.elapsed().as_secs_f64()))
    };
    let (solved, first) = run()?;
    let again = (0..repeat.unwrap_or(0)).map(|_| Ok(run()?.1)).collect::<Result<Vec<f64>, WhatIfError>>()?;
    let seconds = grid::median(again).unwrap_or(first);
    Ok((energised.state(solved), seconds))
}

pub(crate) fn run(arguments: &PowerFlowArguments) -> Result<i32, Failed> {
    let study = grid::read(&arguments.case)?;
    let PowerFlowArguments { dc, flat, q_limits, distributed_slack, fast_decoupled, sweep, .. } = *arguments;
    let method = match (fast_decoupled, sweep) {
        (true, _) => Method::FastDecoupled,
        (_, true) => Method::Sweep,
        _ => Method::Newton,
    };
    let model = Solving { dc, flat, q_limits, distributed_slack, method }.model();
    match timed(&study, &model, arguments.repeat) {
        Ok((state, seconds)) => {
            if arguments.json {
                report::json(&solution_json(&study, &state, dc, seconds));
            } else {
                tell(&study, &state, dc, seconds);
            }
            Ok(EXIT_DONE)
        }
        Err(WhatIfError::PowerFlow(error)) if has_no_solution(&error) => {
            if arguments.json {
                report::json(&failure_json(&error));
            }
            complain!("gridflow: {}: {error}", arguments.case.display());
            if !flat && !dc {
                complain!("gridflow: try --flat, lighter loads, or `gridflow power-flow --dc` to see where power would have to flow");
            }
            Ok(EXIT_VERIFICATION)
        }
        Err(error) => Err(Failed::from(anyhow::anyhow!("{}: {error}", arguments.case.display()))),
    }
}

/// Whether it is the iteration that failed, and not what it was given.
pub(crate) fn has_no_solution(error: &PowerFlowError) -> bool {
    matches!(error, PowerFlowError::Diverged { .. } | PowerFlowError::Singular { .. } | PowerFlowError::Unsettled { .. })
}

/// A power flow that is none, as JSON.
pub(crate) fn failure_json(error: &PowerFlowError) -> serde_json::Value {
    let (iterations, mismatch, bus) = match error {
        PowerFlowError::Diverged { iterations, mismatch, bus } => (*iterations, Some(*mismatch), bus.0),
        PowerFlowError::Singular { iterations, bus } => (*iterations, None, bus.0),
        PowerFlowError::Unsettled { rounds, bus } => (*rounds, None, bus.0),
        _ => (0, None, 0),
    };
    json!({
        "converged": false, "iterations": iterations, "max_mismatch_pu": mismatch.filter(|value| value.is_finite()), "worst_bus": bus,
        "error": error.to_string(), "losses_mw": null, "buses": [], "branches": [], "seconds_solve": null,
    })
}

fn solution_json(study: &Study, state: &State, dc: bool, seconds: f64) -> serde_json::Value {
    let (case, flow, base) = (&state.case, &state.flow, state.case.base_mva);
    let mut buses = Vec::from_iter(case.buses.iter().enumerate().map(|(index, bus)| (bus.id, index)));
    buses.extend(study.merged.iter().filter_map(|merged| Some((merged.bus, case.bus_index(merged.into)?))));
    buses.sort_unstable();
    let bus = |&(id, index): &(gridflow_inputs::ids::BusId, usize)| json!({ "bus": id.0, "vm_pu": flow.v[index], "va_deg": degrees(flow.va[index]) });
    let branches = case.branches.iter().zip(&flow.flows).map(|(branch, flow)| {
        json!({
            "branch": branch.id.0, "p_from_mw": flow.p_from * base, "q_from_mvar": flow.q_from * base, "p_to_mw": flow.p_to * base,
            "q_to_mvar": flow.q_to * base, "loading_percent": loading(branch, flow).map(|share| 100.0 * share),
        })
    });
    let units = case.generators.iter().zip(flow.generator_p.iter().zip(&flow.generator_q));
    let units =
        units.map(|(unit, (p, q))| json!({ "unit": unit.id.0, "bus": case.buses[unit.bus].id.0, "p_mw": p * base, "q_mvar": q * base }));
    let limited = state.controlled.iter().flat_map(|controlled| &controlled.limited).map(|limited| case.buses[limited.bus].id.0);
    json!({
        "model": if dc { "dc" } else { "ac" }, "converged": true, "iterations": flow.iterations, "max_mismatch_pu": flow.mismatch,
        "losses_mw": flow.loss * base, "buses": buses.iter().map(bus).collect::<Vec<_>>(), "branches": branches.collect::<Vec<_>>(),
        "units": units.collect::<Vec<_>>(),
        "slack": flow.slack.iter().map(|(bus, p)| json!({ "bus": case.buses[*bus].id.0, "added_mw": p * base })).collect::<Vec<_>>(),
        "limited_buses": limited.collect::<Vec<_>>(),
        "violations": state.violations.iter().map(|violation| grid::violation_json(violation, base)).collect::<Vec<_>>(),
        "islands": state.islands.iter().map(|island| grid::island_json(island, base)).collect::<Vec<_>>(),
        "merged_buses": report::merged(&study.merged),
        "seconds_solve": seconds,
    })
}

fn tell(study: &Study, state: &State, dc: bool, seconds: f64) {
    let (case, flow, base) = (&state.case, &state.flow, state.case.base_mva);
    grid::tell_case(&study.file.name, &study.case);
    if !study.merged.is_empty() {
        say!("{} buses merged with others by closed node switches and branches without impedance", study.merged.len());
    }
    if dc {
        say!("DC model: solved in {:.2} ms", 1e3 * seconds);
    } else {
        let rounds = state.controlled.as_ref().map_or(1, |controlled| controlled.rounds);
        let rounds = if rounds > 1 { format!(" in {rounds} rounds") } else { String::new() };
        say!("converged after {} iterations{rounds}, largest mismatch {:.1e} pu, {:.2} ms", flow.iterations, flow.mismatch, 1e3 * seconds);
    }
    let generation: f64 = flow.generator_p.iter().sum();
    let load: f64 = case.loads.iter().map(|load| load.p).sum();
    say!("generation {:.1} MW, load {:.1} MW, losses {:.1} MW", generation * base, load * base, flow.loss * base);
    for (bus, added) in flow.slack.iter().take(10) {
        say!("slack of the island of bus {}: {:+.1} MW against the schedule", case.buses[*bus].id, added * base);
    }
    grid::tell_islands(&state.islands, base);
    if let Some(controlled) = state.controlled.as_ref().filter(|controlled| !controlled.limited.is_empty()) {
        say!("buses at a reactive limit: {} ({} of them have switched too often)", controlled.limited.len(), {
            controlled.limited.iter().filter(|bus| bus.switched_too_often).count()
        });
    }
    tell_branches(state);
    if !dc {
        tell_voltages(state);
    }
    grid::tell_violations("limits broken", &state.violations, base);
}

fn tell_branches(state: &State) {
    let (case, flow, base) = (&state.case, &state.flow, state.case.base_mva);
    let rated = case.branches.iter().zip(&flow.flows).filter_map(|(branch, flow)| Some((loading(branch, flow)?, branch, flow)));
    let mut rated = Vec::from_iter(rated);
    rated.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.id.cmp(&b.1.id)));
    if rated.is_empty() {
        say!("no branch has a rating");
        return;
    }
    say!("{:>8} {:>8} {:>8} {:>10} {:>10} {:>10} {:>9}", "branch", "from", "to", "MW", "Mvar", "rating", "loading");
    for (share, branch, flow) in rated.iter().take(5) {
        let (from, to) = (case.buses[branch.from].id.0, case.buses[branch.to].id.0);
        let (p, q, rating) = (flow.p_from * base, flow.q_from * base, branch.rating * base);
        say!("{:>8} {from:>8} {to:>8} {p:>10.1} {q:>10.1} {rating:>10.1} {:>7.1} %", branch.id.0, 100.0 * share);
    }
}

fn tell_voltages(state: &State) {
    let mut order = Vec::from_iter(0..state.case.buses.len());
    order.sort_by(|a, b| state.flow.v[*a].total_cmp(&state.flow.v[*b]).then(a.cmp(b)));
    let voltage = |bus: &usize| format!("{} {:.4} pu {:.2}°", state.case.buses[*bus].id, state.flow.v[*bus], degrees(state.flow.va[*bus]));
    say!("lowest voltages: bus {}", Vec::from_iter(order.iter().take(3).map(voltage)).join(", bus "));
    say!("highest voltages: bus {}", Vec::from_iter(order.iter().rev().take(3).map(voltage)).join(", bus "));
}
