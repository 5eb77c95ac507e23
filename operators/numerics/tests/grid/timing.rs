//! How long a power flow and an estimate take: `cargo test --release -p gridflow-numerics --test grid timing -- --ignored --nocapture`.

use crate::measurements::{all_kinds, buses_of, flat, measured, readings, reference, truth};
use crate::support::{Noise, published};
use gridflow_numerics::case::{Case, MeasurementKind as Kind};
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

/// Voltages and injections by bus, then flows, in the order of their sensors.
fn by_sensor(case: &Case) -> Vec<Kind> {
    let at_bus = |bus| [Kind::VoltageMagnitude(bus), Kind::ActiveInjection(bus), Kind::ReactiveInjection(bus)];
    let branches = 0..case.branches.len();
    let from = branches.clone().flat_map(|branch| [Kind::ActiveFlowFrom(branch), Kind::ReactiveFlowFrom(branch)]);
    let to = branches.flat_map(|branch| [Kind::ActiveFlowTo(branch), Kind::ReactiveFlowTo(branch)]);
    (0..case.buses.len()).flat_map(at_bus).chain(from).chain(to).collect()
}

/// What only part of the sensors determine took five hundred times as long as what all do: buses that had no pivot of their own were put at
/// the end of the order, by thousands, and filled the factor there.
#[test]
#[ignore = "judges timings in release; run by .ci/run"]
#[allow(clippy::print_stdout)] // the figures it judges
fn what_a_part_of_the_sensors_determines_takes_no_longer_than_a_few_times_what_all_do() {
    let Some(case) = published("case9241pegase") else { return };
    let kinds = &by_sensor(&case)[..69_000];
    let whole = time(2, || open_buses(&case, kinds)).0;
    for fifths in 1..5 {
        let part = fifths_of(kinds, fifths);
        let (least, _, open) = time(2, || open_buses(&case, &part));
        println!("{fifths} of 5 ({}): {least:.1} ms, {:.1} times what all take; {open} buses unobservable", part.len(), least / whole);
        assert!(least < 15.0 * whole, "{fifths} of 5 take {least:.0} ms, all {whole:.0} ms");
    }
}

/// How many buses measurements do not determine.
fn open_buses(case: &Case, kinds: &[Kind]) -> usize {
    let options = estimation::Options { zero_injections: case.zero_injections(), ..estimation::Options::default() };
    let measurements = measured(kinds, &vec![1.0; kinds.len()], || 0.0);
    let found = estimation::unobservable(case, reference(case), &measurements, &options, &mut estimation::Cache::new());
    found.expect("the input is sound").len()
}

/// So many of each five.
fn fifths_of(kinds: &[Kind], fifths: usize) -> Vec<Kind> {
    kinds.iter().enumerate().filter(|(sensor, _)| sensor % 5 < fifths).map(|(_, kind)| *kind).collect()
}

#[test]
fn each_part_of_the_sensors_leaves_the_buses_open_that_it_does() {
    let Some(case) = published("case9241pegase") else { return };
    let kinds = &by_sensor(&case)[..69_000];
    let open = Vec::from_iter((1..=5).map(|fifths| open_buses(&case, &fifths_of(kinds, fifths))));
    // Of the first fifth one state is determined so weakly that its pivot is rounding or not by the order of elimination: 5,593 in the present one.
    assert!((5_592..=5_594).contains(&open[0]), "{open:?}");
    assert_eq!(open[1..], [282, 22, 0, 0]);
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

/// Scans with the loads of 9,241 buses half a percent up and down, on one matrix.
#[test]
#[ignore = "prints timings; meaningful in release only"]
#[allow(clippy::print_stdout)] // its purpose
fn tracking() {
    let Some(case) = published("case9241pegase") else { return };
    let kinds = by_sensor(&case);
    let mut noise = Noise(1);
    let mut scan = |level: f64| {
        let mut loaded = case.clone();
        loaded.loads.iter_mut().for_each(|load| (load.p, load.q) = (level * load.p, level * load.q));
        let truth = truth(&loaded);
        let mut scan = measured(&kinds, &readings(&case, &kinds, &truth.v, &truth.va), || noise.normal());
        // No meter is so good that its weight follows its reading.
        scan.iter_mut().for_each(|meter| meter.sigma = 0.01);
        scan
    };
    let scans = [1.0, 1.005, 1.01, 1.005, 1.0, 0.995].map(&mut scan);
    let mut tracker = estimation::Tracker::default();
    let mut next = scans.iter().cycle();
    let mut one = || {
        let scan = next.next().expect("endless");
        tracker.scan(&case, reference(&case), scan, &estimation::Options::default()).expect("it converges").iterations
    };
    one();
    for _ in 0..20 {
        let (least, most, steps) = time(6, &mut one);
        println!("tracked {least:.2}-{most:.2} ms, {steps} steps");
    }
}

/// Outages of units and of branches on the base factor, and by the full method.
#[test]
#[ignore = "prints timings; meaningful in release only"]
#[allow(clippy::print_stdout)] // its purpose
fn outages() {
    use gridflow_numerics::contingency::{ac, each_branch, each_generator};
    for (name, step) in [("case1354pegase", 2), ("case9241pegase", 20)] {
        let Some(case) = published(name) else { return };
        for frozen_iterations in [ac::Options::default().frozen_iterations, 0] {
            let options = ac::Options { frozen_iterations, ..ac::Options::default() };
            let analysis = ac::Analysis::new(&case, options).expect("the base case has a power flow");
            for (what, all) in [("branches", each_branch(&case)), ("units", each_generator(&case))] {
                let some = Vec::from_iter(all.into_iter().step_by(step));
                let (least, _, outcomes) = time(1, || analysis.solve(&some));
                let unsolved = outcomes.iter().filter(|outcome| outcome.unsolved.is_some()).count();
                println!(
                    "{name}: {} {what}, {frozen_iterations} steps: {:.2} ms each, {unsolved} unsolved",
                    some.len(),
                    least / some.len() as f64
                );
            }
        }
    }
}
