//! What the commands on a network file share: how it is read, how limits and islands are named.

use std::path::Path;

use gridflow::networks::{self, Study};
use gridflow_numerics::case::{Case, Island};
use gridflow_numerics::power_flow::Method;
use gridflow_numerics::power_flow::control::Controls;
use gridflow_numerics::power_flow::violations::{Limit, Violation};
use gridflow_numerics::power_flow::{Options, Slack, Start};
use gridflow_numerics::what_if::Model;
use serde_json::{Value, json};

use super::Failed;
use super::output::{complain, say};

/// Radians as degrees.
pub(crate) fn degrees(radians: f64) -> f64 {
    radians * 180.0 / std::f64::consts::PI
}

/// The median of some times; none of none.
pub(crate) fn median(mut seconds: Vec<f64>) -> Option<f64> {
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied()
}

/// Reads a network for a study; warnings go to standard error.
pub(crate) fn read(path: &Path) -> Result<Study, Failed> {
    let study = networks::study(path)?;
    // What a study does not ask for, such as costs, is not worth a word here.
    for warning in study.file.warnings.iter().filter(|warning| !warning.contains("cost")) {
        complain!("gridflow: {}: {warning}", path.display());
    }
    Ok(study)
}

/// How to solve, as the options of a command say.
pub(crate) struct Solving {
    pub(crate) dc: bool,
    pub(crate) flat: bool,
    pub(crate) q_limits: bool,
    pub(crate) distributed_slack: bool,
    pub(crate) method: Method,
}

impl Solving {
    pub(crate) fn model(&self) -> Model {
        if self.dc {
            return Model::Dc;
        }
        let options = Options {
            method: self.method,
            start: if self.flat { Start::Flat } else { Start::File },
            slack: if self.distributed_slack { Slack::Distributed } else { Slack::Reference },
            ..Options::default()
        };
        Model::Ac(options, Controls { reactive_limits: self.q_limits, ..Controls::default() })
    }
}

/// The name of a limit's thing, what of it, its unit, and what a per-unit value is multiplied with to be in that unit.
fn parts(limit: Limit, base_mva: f64) -> (&'static str, u32, &'static str, &'static str, f64) {
    match limit {
        Limit::Rating(branch) => ("branch", branch.0, "rating", "MVA", base_mva),
        Limit::VoltageMin(bus) => ("bus", bus.0, "v_min", "pu", 1.0),
        Limit::VoltageMax(bus) => ("bus", bus.0, "v_max", "pu", 1.0),
        Limit::ReactiveMin(unit) => ("unit", unit.0, "q_min", "Mvar", base_mva),
        Limit::ReactiveMax(unit) => ("unit", unit.0, "q_max", "Mvar", base_mva),
        Limit::ActiveMax(unit) => ("unit", unit.0, "p_max", "MW", base_mva),
    }
}

/// A violation as JSON.
pub(crate) fn violation_json(violation: &Violation, base_mva: f64) -> Value {
    let (thing, id, limit, unit, factor) = parts(violation.limit, base_mva);
    json!({ "kind": thing, "id": id, "limit": limit, "unit": unit, "allowed": violation.allowed * factor, "value": violation.value * factor })
}

/// Prints violations, the greatest excess relative to its limit first.
pub(crate) fn tell_violations(title: &str, violations: &[Violation], base_mva: f64) {
    const SHOWN: usize = 10;
    if violations.is_empty() {
        return;
    }
    say!("{title}: {}", violations.len());
    let mut sorted = violations.to_vec();
    let relative = |violation: &Violation| violation.excess() / violation.allowed.abs().max(0.01);
    sorted.sort_by(|a, b| relative(b).total_cmp(&relative(a)).then(a.limit.cmp(&b.limit)));
    for violation in sorted.iter().take(SHOWN) {
        let (thing, id, limit, unit, factor) = parts(violation.limit, base_mva);
        let (value, allowed) = (violation.value * factor, violation.allowed * factor);
        if unit == "pu" {
            say!("  {thing} {id}: {value:.4} pu, {limit} {allowed:.4}");
        } else {
            say!("  {thing} {id}: {value:.1} {unit}, {limit} {allowed:.1}");
        }
    }
    if sorted.len() > SHOWN {
        say!("  and {} more (--json has all)", sorted.len() - SHOWN);
    }
}

/// An island as JSON.
pub(crate) fn island_json(island: &Island, base_mva: f64) -> Value {
    json!({
        "buses": island.buses.len(), "lowest_bus": island.buses.first().map(|bus| bus.0), "energised": island.reference.is_some(),
        "reference": island.reference.map(|bus| bus.0), "generation_mw": island.generation * base_mva, "load_mw": island.load * base_mva,
    })
}

/// Prints islands when there is more than one or one is dead.
pub(crate) fn tell_islands(islands: &[Island], base_mva: f64) {
    const SHOWN: usize = 10;
    if islands.len() == 1 && islands[0].reference.is_some() {
        return;
    }
    say!("islands: {}", islands.len());
    for island in islands.iter().take(SHOWN) {
        let lowest = island.buses.first().map_or(0, |bus| bus.0);
        let state = island.reference.map_or("dead, nothing feeds it".to_owned(), |bus| format!("reference bus {bus}"));
        let (generation, load) = (island.generation * base_mva, island.load * base_mva);
        say!("  of bus {lowest}: {} buses, scheduled generation {generation:.1} MW, load {load:.1} MW, {state}", island.buses.len());
    }
    if islands.len() > SHOWN {
        say!("  and {} more (--json has all)", islands.len() - SHOWN);
    }
}

/// Counts of a case for its first line.
pub(crate) fn tell_case(name: &str, case: &Case) {
    say!("{name}: {} buses, {} branches in service, base {} MVA", case.buses.len(), case.branches.len(), case.base_mva);
}
