//! How long an outage takes: DC for all branches, AC for all branches and units of a smaller network and a sample of a large one. Floors in the same run:
//! a DC and an AC power flow of the same network from scratch, as each outage would cost without what is kept.
//!
//! `cargo bench --bench contingency`. On a quiet machine it fails above 150 µs (DC, 9,241 buses), 0.4 ms (AC, 1,354) and 5 ms
//! (AC, 9,241) an outage of a branch or of a unit, and always when an outage that parts nothing neither converges nor says where it stands.

#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "it measures, and says what")]

mod support;

use std::time::Instant;

use gridflow_numerics::case::Case;
use gridflow_numerics::contingency::{Outcome, ac, dc, each_branch, each_generator};
use gridflow_numerics::power_flow::{self, Cache};
use support::{Named, machine};

/// Network, outages of which one in so many is solved in AC, targets in microseconds: DC, AC.
const CASES: [(&str, usize, Option<f64>, Option<f64>); 4] = [
    ("pglib_opf_case118_ieee", 1, None, None),
    ("case1354pegase", 1, None, Some(400.0)),
    ("case9241pegase", 20, Some(150.0), Some(5000.0)),
    ("pglib_opf_case9241_pegase", 0, Some(150.0), None),
];

/// Median of some runs, microseconds, and what the last one gave.
fn timed<T>(runs: usize, mut work: impl FnMut() -> T) -> (f64, T) {
    let mut last = work();
    let times = Vec::from_iter((0..runs).map(|_| {
        let start = Instant::now();
        last = work();
        1e6 * start.elapsed().as_secs_f64()
    }));
    (machine::median(times), last)
}

fn tell(what: &str, case: &Case, outcomes: &[Outcome], each: f64, prepared: f64, floor: f64) {
    let lost = outcomes.iter().filter(|outcome| outcome.lost.is_some()).count();
    println!(
        "  {what}: {} outages, {each:.1} us each, prepared in {:.1} ms; a power flow alone {floor:.0} us; {lost} part the grid",
        outcomes.len(),
        1e-3 * prepared
    );
    for unsolved in outcomes.iter().filter(|outcome| outcome.lost.is_none()).filter_map(|outcome| outcome.unsolved) {
        assert!(case.bus_index(unsolved.bus).is_some(), "an outage without solution names a bus of the case");
        println!("    no solution: {:.3e} left at bus {} after {}", unsolved.mismatch, unsolved.bus, unsolved.iterations);
    }
}

fn main() {
    println!("{}", machine::line());
    let measuring = machine::is_measuring();
    let (runs, quiet) = if measuring { (3, machine::is_quiet()) } else { (1, false) };
    let names = CASES.map(|case| case.0);
    let mut failed = false;
    for Named { name, case } in support::demo_and(if measuring { &names } else { &names[..1] }) {
        println!("{name} ({} buses)", case.buses.len());
        let (_, sample, dc_target, ac_target) = CASES.into_iter().find(|case| case.0 == name).unwrap_or((name, 1, None, None));
        let all = each_branch(&case);
        let (prepared, analysis) = timed(runs, || dc::Analysis::new(&case, dc::Options::default()).expect("it has a flow"));
        let (floor, _) = timed(runs, || power_flow::dc::solve(&case, power_flow::dc::Model::Exact).expect("it has a flow"));
        let (taken, outcomes) = timed(runs, || analysis.solve(&all));
        let each = taken / all.len() as f64;
        tell("DC", &case, &outcomes, each, prepared, floor);
        failed |= quiet && dc_target.is_some_and(|target| each > target);
        if sample == 0 {
            continue;
        }
        let some = Vec::from_iter(all.iter().step_by(sample).cloned());
        let (prepared, analysis) = timed(runs, || ac::Analysis::new(&case, ac::Options::default()).expect("it converges"));
        let mut cache = Cache::new();
        let start = power_flow::Start::Given { v: analysis.base().v.iter().map(|v| v * 1.001).collect(), va: analysis.base().va.clone() };
        let options = power_flow::Options { start, ..power_flow::Options::default() };
        let (floor, _) = timed(runs, || power_flow::solve(&case, &options, &mut cache).expect("it converges"));
        let units = Vec::from_iter(each_generator(&case).into_iter().step_by(sample));
        for (what, some) in [("AC, branches", &some), ("AC, units", &units)] {
            let (taken, outcomes) = timed(runs.min(2), || analysis.solve(some));
            let each = taken / some.len() as f64;
            tell(what, &case, &outcomes, each, prepared, floor);
            failed |= quiet && ac_target.is_some_and(|target| each > target);
        }
    }
    assert!(!failed, "an outage takes longer than it may on a quiet machine");
}
