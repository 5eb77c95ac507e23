//! The RTS-GMLC network with its storage and link: dispatched in four quarters, short of supply, in any plight; and how
//! long dispatches take.

use super::*;

/// The reference network over an hour in quarters, load scaled so that limits bind.
fn rts_hour() -> Option<(Case, Vec<Interval>)> {
    let case = rts_gmlc()?;
    let mut intervals = vec![Interval::of(&case, 0.25); 4];
    for (t, interval) in intervals.iter_mut().enumerate() {
        interval.load_p.iter_mut().for_each(|p| *p *= 0.85 + 0.02 * t as f64);
        for (available, unit) in interval.available_p.iter_mut().zip(&case.generators) {
            *available = if unit.variable { 0.3 * unit.p_max } else { f64::INFINITY };
        }
    }
    Some((case, intervals))
}

#[test]
fn the_reference_network_is_dispatched_over_four_quarters_with_its_storage_and_link() {
    let Some((case, intervals)) = rts_hour() else { return };
    let dispatch = solve(&case, &intervals, &Options::default()).unwrap();
    assert_eq!(dispatch.shed_mwh, 0.0);
    for (result, interval) in dispatch.intervals.iter().zip(&intervals) {
        let supply: f64 = result.generator_p.iter().chain(&result.storage_p).sum();
        assert!((supply - interval.load_p.iter().sum::<f64>()).abs() < 1e-6);
        assert!(result.dc_line_p[0].abs() <= 1.0 + 1e-9);
        assert!(result.flow_p.iter().zip(&case.branches).all(|(flow, branch)| flow.abs() <= branch.rating + 1e-6));
    }
    let options = Options { ignore_cost: true, ..Options::default() };
    assert_eq!(solve(&case, &intervals, &options).unwrap().shed_mwh, 0.0);
}

// REQ: SHED-03, SHED-08
#[test]
fn the_reference_network_short_of_supply_spares_the_critical_class() {
    let Some((case, mut intervals)) = rts_hour() else { return };
    intervals.truncate(1);
    for available in &mut intervals[0].available_p {
        *available = available.min(0.2);
    }
    let dispatch = solve(&case, &intervals, &Options::default()).unwrap();
    assert!(dispatch.shed_mwh > 10.0);
    for (shed, load) in dispatch.intervals[0].shed_p.iter().zip(&case.loads) {
        assert!(*shed == 0.0 || load.class != LoadClass::Critical, "load {}", load.id);
    }
    let order: Vec<LoadClass> = SHED_ORDER.to_vec();
    let left = |class: LoadClass| {
        case.loads
            .iter()
            .enumerate()
            .any(|(index, load)| load.class == class && dispatch.intervals[0].shed_p[index] < intervals[0].load_p[index] - 1e-5)
    };
    let touched =
        |class: LoadClass| case.loads.iter().zip(&dispatch.intervals[0].shed_p).any(|(load, shed)| load.class == class && *shed > 1e-5);
    for pair in order.windows(2) {
        assert!(!touched(pair[1]) || !left(pair[0]), "{:?} is touched before {:?} is used up", pair[1], pair[0]);
    }
}

fn tightened(mut case: Case, share: f64) -> Case {
    case.branches.iter_mut().for_each(|branch| branch.rating *= share);
    case
}

// REQ: DISP-24, DISP-25
#[test]
fn the_reference_network_is_dispatched_in_any_plight() {
    let Some((case, intervals)) = rts_hour() else { return };
    let mut seed = 7u64;
    let mut random = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f64 / (1u64 << 24) as f64
    };
    let (mut shed, mut failures) = (0, Vec::new());
    for trial in 0..40 {
        let case = tightened(case.clone(), 0.3 + 0.9 * random());
        let mut intervals = intervals[..1 + trial % 2].to_vec();
        let (weather, stress) = (random(), 0.3 + 1.2 * random());
        for interval in &mut intervals {
            interval.load_p.iter_mut().for_each(|p| *p *= stress);
            for (available, unit) in interval.available_p.iter_mut().zip(&case.generators) {
                *available = if unit.variable { weather * unit.p_max } else { unit.p_max * (0.2 + random()).min(1.0) };
            }
        }
        match solve(&case, &intervals, &Options::default()) {
            Ok(dispatch) => {
                shed += usize::from(dispatch.shed_mwh > 0.0);
                for (result, interval) in dispatch.intervals.iter().zip(&intervals) {
                    let supply: f64 = result.generator_p.iter().chain(&result.storage_p).chain(&result.shed_p).sum();
                    let taken: f64 = interval.load_p.iter().chain(&result.surplus_p).sum();
                    assert!((supply - taken).abs() < 1e-4, "trial {trial}: {supply} {taken}");
                    assert!(result.flow_p.iter().zip(&case.branches).all(|(flow, branch)| flow.abs() <= branch.rating + 1e-5));
                }
            }
            Err(failure) => failures.push(format!("trial {trial}: {failure}")),
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(shed > 5 && shed < 35, "{shed}");
}

/// Times for the record: `cargo test --release -p gridflow-numerics -- --ignored --nocapture times`.
#[test]
#[ignore = "a measurement"]
#[allow(clippy::disallowed_methods)] // a measurement reads the clock
fn times_of_a_dispatch() {
    let mut cases = Vec::new();
    cases.extend(rts_hour().map(|(case, intervals)| ("rts x 4", case, intervals)));
    cases.extend(rts_hour().map(|(case, intervals)| ("rts x 4, ratings at 60 %", tightened(case, 0.6), intervals)));
    cases.extend(rts_hour().map(|(case, intervals)| ("rts x 4, ratings at 45 %", tightened(case, 0.45), intervals)));
    cases.extend(rts_hour().map(|(case, intervals)| ("rts x 1, ratings at 60 %", tightened(case, 0.6), intervals[..1].to_vec())));
    for name in ["pglib_opf_case118_ieee.m", "pglib_opf_case300_ieee.m", "pglib_opf_case1354_pegase.m", "pglib_opf_case9241_pegase.m"] {
        cases.extend(matpower(name).map(|case| (name, case.clone(), one_hour(&case))));
    }
    for (name, case, intervals) in cases {
        let mut times = Vec::new();
        for _ in 0..if case.buses.len() > 5000 { 1 } else { 15 } {
            let start = std::time::Instant::now();
            let answer = solve(&case, &intervals, &Options::default());
            times.push((start.elapsed().as_secs_f64() * 1e3, answer));
        }
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        let ((median, answer), least) = (&times[times.len() / 2], times[0].0);
        match answer {
            Ok(d) => println!(
                "{name}: {median:.1} ms (least {least:.1}), cost {}, {} rounds, {} iterations, {} limits",
                d.cost, d.rounds, d.iterations, d.limits_stated
            ),
            Err(failure) => println!("{name}: {median:.1} ms, {failure}"),
        }
    }
}
