//! How long a power flow and an estimate take: `cargo test --release -p gridflow-numerics --test grid timing -- --ignored --nocapture`.

use crate::measurements::{all_kinds, buses_of, flat, measured, readings, reference, truth};
use crate::support::{Noise, published};
use gridflow_numerics::case::MeasurementKind as Kind;
use gridflow_numerics::{estimation, power_flow};
use std::time::Duration;

/// Least and greatest time of some runs, in milliseconds.
#[allow(clippy::disallowed_methods)] // a timing needs a clock
fn time<T>(runs: usize, mut work: impl FnMut() -> T) -> (f64, f64, T) {
    let (mut least, mut greatest, mut last) = (Duration::MAX, Duration::ZERO, None);
    for _ in 0..runs {
        let start = std::time::Instant::now();
        last = Some(work());
        let taken = start.elapsed();
        (least, greatest) = (least.min(taken), greatest.max(taken));
    }
    (1e3 * least.as_secs_f64(), 1e3 * greatest.as_secs_f64(), last.expect("at least one run"))
}

#[test]
#[ignore = "prints timings; meaningful in release only"]
#[allow(clippy::print_stdout)] // its purpose
fn timing() {
    for name in ["pglib_opf_case118_ieee", "case1354pegase", "case_ACTIVSg2000", "case9241pegase"] {
        let Some(case) = published(name) else { return };
        let options = power_flow::Options::default();
        let mut cache = power_flow::Cache::new();
        let (cold, _, _) = time(5, || power_flow::solve(&case, &options, &mut power_flow::Cache::new()).expect("solved"));
        let (least, most, flow) = time(10, || power_flow::solve(&case, &options, &mut cache).expect("solved"));
        println!("{name}: power flow {cold:.2} ms cold, {least:.2}-{most:.2} ms with cache, {} iterations", flow.iterations);

        let truth = truth(&case);
        let injections_and_voltages =
            |kind: &Kind| matches!(kind, Kind::VoltageMagnitude(_) | Kind::ActiveInjection(_) | Kind::ReactiveInjection(_));
        let typical = |kind: &Kind| injections_and_voltages(kind) || matches!(kind, Kind::ActiveFlowFrom(_) | Kind::ReactiveFlowFrom(_));
        // One bus in fifty has lost all that touches it.
        let blind = |bus: usize| bus % 50 == 7;
        let beside_blind = |bus: usize| {
            case.branches.iter().any(|branch| branch.from == bus && blind(branch.to) || branch.to == bus && blind(branch.from))
        };
        let holes = |kind: &Kind| {
            let is_injection = matches!(kind, Kind::ActiveInjection(_) | Kind::ReactiveInjection(_));
            buses_of(&case, *kind).into_iter().all(|bus| !(blind(bus) || is_injection && beside_blind(bus)))
        };
        type Wanted<'a> = &'a dyn Fn(&Kind) -> bool;
        let sets: [(&str, Wanted); 4] =
            [("all", &|_| true), ("one side", &typical), ("no flows", &injections_and_voltages), ("with holes", &holes)];
        for (label, wanted) in sets {
            let kinds = Vec::from_iter(all_kinds(&case).into_iter().filter(wanted));
            let mut noise = Noise(1);
            let measurements = measured(&kinds, &readings(&case, &kinds, &truth.v, &truth.va), || noise.normal());
            for (start, options) in [("flat", flat(&case)), ("file", estimation::Options::default())] {
                let run = |cache: &mut estimation::Cache| estimation::estimate(&case, reference(&case), &measurements, &options, cache);
                let mut cache = estimation::Cache::new();
                let (cold, _, _) = time(2, || run(&mut estimation::Cache::new()));
                let (least, most, found) = time(3, || run(&mut cache));
                match found {
                    Ok(found) => println!(
                        "  {label} ({}), {start} start: {cold:.1} ms cold, {least:.1}-{most:.1} ms with cache, {} steps, {} unobservable, J {:.0} of {:.0}",
                        kinds.len(),
                        found.iterations,
                        found.unobservable.len(),
                        found.objective,
                        found.threshold.unwrap_or(0.0)
                    ),
                    Err(error) => println!("  {label}, {start}: {cold:.1} ms, {error}"),
                }
            }
        }
    }
}
