//! `gridflow contingency --cascade`: what trips after an outage, stage by stage.

use gridflow::{EXIT_DONE, EXIT_VERIFICATION};
use gridflow_inputs::ids::BranchId;
use gridflow_numerics::case::Case;
use gridflow_numerics::contingency::cascade::{Options, Stage, preview};
use gridflow_numerics::contingency::{Element, Rating};

use super::output::say;
use super::{Failed, report};

fn branches(stage: &Stage, case: &Case) -> Vec<u32> {
    let id = |element: &Element| match *element {
        Element::Branch(branch) => Some(case.branches[branch].id.0),
        Element::Generator(_) => None,
    };
    stage.out.iter().filter_map(id).collect()
}

fn as_json(stage: &Stage, case: &Case) -> serde_json::Value {
    let mw = |p: f64| p * case.base_mva;
    let islands = stage.islands.iter().map(|island| {
        serde_json::json!({
            "bus": case.buses[island.bus].id.0, "buses": island.buses, "load_mw": mw(island.load),
            "shed_mw": mw(island.shed), "curtailed_mw": mw(island.curtailed),
        })
    });
    let overloads = stage
        .overloads
        .iter()
        .map(|(branch, loading)| serde_json::json!({ "branch": case.branches[*branch].id.0, "loading_percent": 100.0 * loading }));
    serde_json::json!({
        "out": branches(stage, case), "islands": Vec::from_iter(islands), "overloads": Vec::from_iter(overloads),
        "load_mw": mw(stage.load_p.iter().sum()), "shed_mw": mw(stage.islands.iter().map(|island| island.shed).sum()),
        "curtailed_mw": mw(stage.islands.iter().map(|island| island.curtailed).sum()),
    })
}

fn print(stages: &[Stage], case: &Case) {
    for (number, stage) in stages.iter().enumerate() {
        let mw = |p: f64| p * case.base_mva;
        let sum = |value: fn(&gridflow_numerics::contingency::cascade::Island) -> f64| mw(stage.islands.iter().map(value).sum());
        let out = Vec::from_iter(branches(stage, case).iter().map(u32::to_string)).join(", ");
        say!("stage {}: {} {out}", number + 1, if number == 0 { "outage of branch" } else { "trips: branch" });
        say!(
            "  {} islands, {:.1} MW of load served, {:.1} MW shed, {:.1} MW of generation curtailed, {} branches above their rating",
            stage.islands.len(),
            mw(stage.load_p.iter().sum()),
            sum(|island| island.shed),
            sum(|island| island.curtailed),
            stage.overloads.len()
        );
        let worst = stage.overloads.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((branch, loading)) = worst {
            say!("  most loaded: branch {} at {:.1} %", case.branches[*branch].id, 100.0 * loading);
        }
    }
    say!("stable after stage {}", stages.len());
}

/// Tells the cascade after the outage of a branch; the exit code is that of a failed check when anything trips or is shed.
pub(crate) fn run(case: &Case, branch: u32, rating: Rating, trip_percent: f64, as_line: bool) -> Result<i32, Failed> {
    let index = case.branch_index(BranchId(branch));
    let index = index.ok_or_else(|| {
        anyhow::anyhow!("--cascade {branch}: there is no branch {branch} in service; branches are 1-based rows of the branch table")
    })?;
    let options = Options { rating, trip: trip_percent / 100.0, ..Options::default() };
    let stages = preview(case, &vec![Element::Branch(index)], &options)?;
    if as_line {
        report::json(&serde_json::json!({ "stages": Vec::from_iter(stages.iter().map(|stage| as_json(stage, case))) }));
    } else {
        print(&stages, case);
    }
    let fails = stages.len() > 1 || stages.iter().flat_map(|stage| &stage.islands).any(|island| island.shed > 0.0);
    Ok(if fails { EXIT_VERIFICATION } else { EXIT_DONE })
}
