//! Tracking: the same as from scratch, scan after scan, and the same bits from a kept state.

use crate::measurements::{all_kinds, measured, readings, reference};
use crate::support::{Noise, published};
use gridflow_numerics::case::{Case, CaseMeasurement};
use gridflow_numerics::estimation::{Cache, Options, Tracker, TrackerState, estimate};
use gridflow_numerics::power_flow;

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// The case with all loads at a level, each about a percent off it.
fn loaded(case: &Case, level: f64, noise: &mut Noise) -> Case {
    let mut moved = case.clone();
    for load in &mut moved.loads {
        let factor = level + 0.01 * noise.normal();
        (load.p, load.q) = (factor * load.p, factor * load.q);
    }
    moved
}

/// What meters read of a case; their accuracy is that for the values of a usual state.
fn scan_of(case: &Case, usual: &[CaseMeasurement], noise: &mut Noise) -> Option<Vec<CaseMeasurement>> {
    let truth = power_flow::solve(case, &power_flow::Options::default(), &mut power_flow::Cache::new()).ok()?;
    let values = readings(case, &Vec::from_iter(usual.iter().map(|measurement| measurement.kind)), &truth.v, &truth.va);
    let reading = |(measurement, value): (&CaseMeasurement, f64)| CaseMeasurement {
        value: value + measurement.sigma * noise.normal(),
        ..*measurement
    };
    Some(usual.iter().zip(values).map(reading).collect())
}

/// All meters of a case, exact at its own state.
fn usual(case: &Case) -> Option<Vec<CaseMeasurement>> {
    let truth = power_flow::solve(case, &power_flow::Options::default(), &mut power_flow::Cache::new()).ok()?;
    let kinds = all_kinds(case);
    let mut meters = measured(&kinds, &readings(case, &kinds, &truth.v, &truth.va), || 0.0);
    meters.iter_mut().for_each(|meter| meter.sigma = meter.sigma.max(2e-3));
    Some(meters)
}

#[test]
fn tracked_estimates_equal_those_from_scratch_and_resume_with_the_same_bits() {
    for (name, scans) in [("pglib_opf_case118_ieee", 40usize), ("case1354pegase", 12)] {
        let Some(case) = published(name) else { return };
        let kinds = usual(&case).expect("it converges");
        let mut noise = Noise(17);
        let options = Options { zero_injections: case.zero_injections(), ..Options::default() };
        let mut tracker = Tracker::default();
        let mut level = 1.0;
        let mut matrices = 0;
        for scan in 0..scans {
            level += 0.003 * noise.normal();
            let moved = loaded(&case, level, &mut noise);
            // Some telemetry is missing in each scan, another part each time.
            let mut seen = kinds.clone();
            if scan % 5 == 3 {
                seen.retain(|_| !noise.bits().is_multiple_of(50));
            }
            let Some(measurements) = scan_of(&moved, &seen, &mut noise) else { continue };
            let mut resumed = Tracker::new(tracker.state().clone());
            let found = tracker.scan(&case, reference(&case), &measurements, &options).unwrap_or_else(|error| panic!("{name}: {error}"));
            let again = resumed.scan(&case, reference(&case), &measurements, &options).unwrap();
            assert!(found == again, "{name}, scan {scan}: another estimate after a resume");
            assert!(tracker.state() == resumed.state(), "{name}, scan {scan}: another state after a resume");
            let fresh =
                estimate(&case, reference(&case), &measurements, &Options { tolerance: 1e-10, ..options.clone() }, &mut Cache::new())
                    .unwrap();
            let error = distance(&found.v, &fresh.v).max(distance(&found.va, &fresh.va));
            assert!(error < 1e-9, "{name}, scan {scan}: {error} from the estimate from scratch");
            assert!((found.objective - fresh.objective).abs() < 1e-6 * fresh.objective);
            matrices += usize::from(tracker.state().frozen.as_ref().is_some_and(|frozen| frozen.scans == 1));
        }
        // At the start, and for each scan with other meters and the one after it.
        assert!(matrices <= 2 + 2 * scans.div_ceil(5), "{name}: {matrices} matrices for {scans} scans");
    }
}

#[test]
fn breakers_move_and_the_tracked_estimate_is_that_from_scratch() {
    let Some(case) = published("pglib_opf_case118_ieee") else { return };
    for seed in 0..3 {
        let mut noise = Noise(seed);
        let mut tracker = Tracker::default();
        let mut open = Vec::<usize>::new();
        let mut compared = 0;
        for scan in 0..30 {
            if scan % 2 == 1 {
                let branch = (noise.bits() % case.branches.len() as u64) as usize;
                if let Some(place) = open.iter().position(|other| *other == branch) {
                    open.remove(place);
                } else {
                    open.push(branch)
                }
                if open.len() > 6 {
                    open.remove(0);
                }
            }
            let mut now = case.clone();
            let mut index = 0;
            now.branches.retain(|_| {
                index += 1;
                !open.contains(&(index - 1))
            });
            // An island that is cut off is not this test's subject; its breaker closes again.
            if now.components().iter().any(|lowest| *lowest != 0) {
                open.pop();
                continue;
            }
            let Some(measurements) = usual(&now).and_then(|meters| scan_of(&now, &meters, &mut noise)) else {
                open.pop();
                continue;
            };
            let options = Options::default();
            let found = tracker.scan(&now, reference(&now), &measurements, &options).unwrap_or_else(|error| panic!("scan {scan}: {error}"));
            let fresh =
                estimate(&now, reference(&now), &measurements, &Options { tolerance: 1e-10, ..options }, &mut Cache::new()).unwrap();
            let error = distance(&found.v, &fresh.v).max(distance(&found.va, &fresh.va));
            assert!(error < 1e-9, "scan {scan}: {error}");
            compared += 1;
        }
        assert!(compared > 15, "{compared}");
    }
}

#[test]
fn a_state_of_another_network_or_a_damaged_one_starts_anew() {
    let Some(case) = published("pglib_opf_case14_ieee") else { return };
    let mut noise = Noise(2);
    let measurements = usual(&case).and_then(|meters| scan_of(&case, &meters, &mut noise)).expect("it converges");
    let run = |state: TrackerState| Tracker::new(state).scan(&case, reference(&case), &measurements, &Options::default()).unwrap();
    let mut tracker = Tracker::default();
    let plain = tracker.scan(&case, reference(&case), &measurements, &Options::default()).unwrap();
    let mut other = tracker.state().clone();
    other.buses.pop();
    assert_eq!(run(other), plain);
    let mut cut = tracker.state().clone();
    if let Some(frozen) = &mut cut.frozen {
        frozen.v.pop();
    }
    let mut none = tracker.state().clone();
    none.frozen = None;
    assert_eq!(run(cut), run(none));
    let mut short = tracker.state().clone();
    short.v.pop();
    assert_eq!(run(short), plain);
    let mut wild = tracker.state().clone();
    wild.v[3] = f64::NAN;
    assert_eq!(run(wild), plain);
}
