//! Zero injections as constraints; magnitudes and phasors of currents.

use crate::dense::{derivatives, solve};
use crate::measurements::{all_kinds, flat, measured, readings, reference, truth};
use crate::support::{Noise, published};
use gridflow_numerics::admittance::Admittance;
use gridflow_numerics::case::{Case, MeasurementKind as Kind};
use gridflow_numerics::estimation::{Cache, EstimationError, Options, estimate};

fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

fn at_idle(idle: &[usize]) -> Vec<Kind> {
    idle.iter().flat_map(|bus| [Kind::ActiveInjection(*bus), Kind::ReactiveInjection(*bus)]).collect()
}

/// The constrained least squares by dense Newton steps on the conditions of Karush, Kuhn and Tucker: state and multipliers.
fn dense_kkt(case: &Case, kinds: &[Kind], values: &[f64], weights: &[f64], idle: &[usize]) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let (n, constraints) = (case.buses.len(), at_idle(idle));
    let (mut v, mut va) = (vec![1.0; n], vec![case.buses[reference(case)].va_start; n]);
    let mut multipliers = vec![0.0; constraints.len()];
    for _ in 0..12 {
        let (h, a) = (derivatives(case, kinds, &v, &va, false), derivatives(case, &constraints, &v, &va, false));
        let (found, held) = (readings(case, kinds, &v, &va), readings(case, &constraints, &v, &va));
        let states = 2 * n - 1;
        let size = states + constraints.len();
        let (mut matrix, mut right) = (vec![vec![0.0; size]; size], vec![vec![0.0]; size]);
        for i in 0..states {
            for j in 0..states {
                matrix[i][j] = h.iter().zip(weights).map(|(row, weight)| weight * row[i] * row[j]).sum();
            }
            right[i][0] = (0..kinds.len()).map(|k| h[k][i] * weights[k] * (values[k] - found[k])).sum();
            for (k, row) in a.iter().enumerate() {
                (matrix[i][states + k], matrix[states + k][i]) = (row[i], row[i]);
            }
        }
        held.iter().enumerate().for_each(|(k, value)| right[states + k][0] = -value);
        let step = solve(matrix, right);
        let mut next = step.iter().map(|row| row[0]);
        for state in (0..2 * n).filter(|state| *state != 2 * reference(case)) {
            let change = next.next().expect("one per state");
            if state % 2 == 0 { va[state / 2] += change } else { v[state / 2] += change }
        }
        multipliers = next.collect();
    }
    (v, va, multipliers)
}

#[test]
fn zero_injections_are_met_exactly_and_the_estimate_is_that_of_a_dense_constrained_solve() {
    let Some(case) = published("pglib_opf_case14_ieee") else { return };
    let idle = case.zero_injections();
    assert_eq!(idle, [6]);
    let truth = truth(&case);
    for (seed, share) in [(1, 10), (2, 10), (3, 7), (4, 6)] {
        let mut noise = Noise(seed);
        let mut kinds = all_kinds(&case);
        kinds.retain(|kind| !at_idle(&idle).contains(kind) && noise.bits() % 10 < share);
        let measurements = measured(&kinds, &readings(&case, &kinds, &truth.v, &truth.va), || noise.normal());
        let options = Options { zero_injections: idle.clone(), ..flat(&case) };
        let found = estimate(&case, reference(&case), &measurements, &options, &mut Cache::new()).unwrap();
        if !found.held.is_empty() {
            continue;
        }
        let (p, q) = Admittance::new(&case).injections(&found.v, &found.va);
        assert!(p[6].abs() < 1e-11 && q[6].abs() < 1e-11, "{} {}", p[6], q[6]);
        let values = Vec::from_iter(measurements.iter().map(|measurement| measurement.value));
        let weights = Vec::from_iter(measurements.iter().map(|measurement| 1.0 / (measurement.sigma * measurement.sigma)));
        let (v, va, multipliers) = dense_kkt(&case, &kinds, &values, &weights, &idle);
        assert!(distance(&found.v, &v) < 1e-7 && distance(&found.va, &va) < 1e-7, "seed {seed}");
        for (own, dense) in found.multipliers[0].iter().zip(&multipliers) {
            assert!((own - dense).abs() < 1e-4 * dense.abs().max(1.0), "seed {seed}: {own} {dense}");
        }
        assert_eq!(found.degrees_of_freedom, kinds.len() + 2 - 27);
    }
}

#[test]
fn zero_injections_hold_in_large_networks_too_and_make_buses_observable() {
    for name in ["case1354pegase", "case9241pegase"] {
        let Some(case) = published(name) else { return };
        let idle = case.zero_injections();
        assert!(idle.len() > 300, "{name}: {}", idle.len());
        let truth = truth(&case);
        // The injections of all others, and no flow: without the constraints nothing is known of the idle buses.
        let kinds = Vec::from_iter(all_kinds(&case).into_iter().filter(|kind| match *kind {
            Kind::VoltageMagnitude(bus) | Kind::ActiveInjection(bus) | Kind::ReactiveInjection(bus) => idle.binary_search(&bus).is_err(),
            _ => false,
        }));
        let mut noise = Noise(11);
        let measurements = measured(&kinds, &readings(&case, &kinds, &truth.v, &truth.va), || noise.normal());
        let options = Options { zero_injections: idle.clone(), ..Options::default() };
        let found =
            estimate(&case, reference(&case), &measurements, &options, &mut Cache::new()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(found.held.is_empty(), "{name}: {:?}", found.unobservable);
        let (p, q) = Admittance::new(&case).injections(&found.v, &found.va);
        let worst = idle.iter().map(|bus| p[*bus].abs().max(q[*bus].abs())).fold(0.0, f64::max);
        assert!(worst < 1e-9, "{name}: a bus injects {worst}");
        assert!(distance(&found.v, &truth.v) < 0.02, "{name}");
    }
}

#[test]
fn zero_injections_of_buses_the_case_does_not_have_are_refused() {
    let Some(case) = published("pglib_opf_case14_ieee") else { return };
    for wrong in [vec![14], vec![3, 3], vec![5, 2]] {
        let options = Options { zero_injections: wrong, ..Options::default() };
        assert_eq!(estimate(&case, 0, &[], &options, &mut Cache::new()), Err(EstimationError::ZeroInjections));
    }
}

#[test]
fn currents_add_to_what_is_known_and_phasors_alone_suffice() {
    for name in ["pglib_opf_case14_ieee", "pglib_opf_case118_ieee"] {
        let Some(case) = published(name) else { return };
        let truth = truth(&case);
        let branches = 0..case.branches.len();
        let magnitudes = branches.clone().flat_map(|branch| [Kind::CurrentMagnitudeFrom(branch), Kind::CurrentMagnitudeTo(branch)]);
        let mut kinds = Vec::from_iter(all_kinds(&case).into_iter().take(3 * case.buses.len()));
        let plain = measured(&kinds, &readings(&case, &kinds, &truth.v, &truth.va), || 0.0);
        kinds.extend(magnitudes);
        let measurements = measured(&kinds, &readings(&case, &kinds, &truth.v, &truth.va), || 0.0);
        let run = |measurements: &[_]| {
            estimate(&case, reference(&case), measurements, &flat(&case), &mut Cache::new())
                .unwrap_or_else(|error| panic!("{name}: {error}"))
        };
        let (without, found) = (run(&plain), run(&measurements));
        assert!(distance(&found.v, &truth.v) < 1e-8 && distance(&found.va, &truth.va) < 1e-8, "{name}");
        assert!(found.degrees_of_freedom > without.degrees_of_freedom && found.used.iter().all(|used| *used));
        // Noise in the currents moves the estimate: they weigh.
        let mut noise = Noise(3);
        let noisy = measured(&kinds, &readings(&case, &kinds, &truth.v, &truth.va), || noise.normal());
        let deviations = (run(&noisy).objective - found.degrees_of_freedom as f64) / (2.0 * found.degrees_of_freedom as f64).sqrt();
        assert!(deviations.abs() < 4.0, "{name}: {deviations}");

        let parts = branches.flat_map(|branch| [Kind::CurrentRealFrom(branch), Kind::CurrentImaginaryFrom(branch)]);
        let mut kinds = vec![Kind::VoltageMagnitude(3), Kind::VoltageAngle(3)];
        kinds.extend(parts);
        let measurements = measured(&kinds, &readings(&case, &kinds, &truth.v, &truth.va), || 0.0);
        let found = run(&measurements);
        assert!(found.held.is_empty() && !found.reference_held, "{name}");
        assert!(distance(&found.v, &truth.v) < 1e-8 && distance(&found.va, &truth.va) < 1e-8, "{name}");
    }
}
