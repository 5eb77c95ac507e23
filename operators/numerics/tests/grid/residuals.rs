//! Normalised residuals, critical measurements, placements and bad data.

use crate::dense::{derivatives, gain, rank, solve, unit};
use crate::measurements::{all_kinds, buses_of, measured, readings, reference, truth};
use crate::support::{Noise, published};
use gridflow_inputs::ids::SensorId;
use gridflow_numerics::case::{Case, CaseMeasurement, MeasurementKind as Kind};
use gridflow_numerics::estimation::{
    BadDataOptions, Cache, Method, Options, critical, estimate, greatest_by_chance, identify, normalize, placements,
};

/// Voltages, injections, and flows at one side of each branch and both of every third.
fn usual(case: &Case) -> Vec<Kind> {
    let to_side = |kind: &Kind| match *kind {
        Kind::ActiveFlowTo(branch) | Kind::ReactiveFlowTo(branch) => branch % 3 == 0,
        _ => true,
    };
    all_kinds(case).into_iter().filter(to_side).collect()
}

#[test]
fn normalised_residuals_are_those_of_the_dense_covariance() {
    let Some(case) = published("pglib_opf_case14_ieee") else { return };
    let truth = truth(&case);
    for seed in 0..12 {
        let mut noise = Noise(seed);
        let mut kinds = usual(&case);
        kinds.extend([Kind::ActiveInjection(4), Kind::ReactiveInjection(4), Kind::VoltageMagnitude(4), Kind::ActiveFlowFrom(3)]);
        kinds.extend([Kind::CurrentMagnitudeFrom(0), Kind::CurrentMagnitudeTo(7)]);
        let phasors = seed % 2 == 1;
        if phasors {
            kinds.extend([Kind::VoltageAngle(2), Kind::VoltageAngle(9), Kind::CurrentRealTo(5), Kind::CurrentImaginaryTo(5)]);
        }
        kinds.retain(|_| !noise.bits().is_multiple_of(5) || seed < 2);
        let measurements = measured(&kinds, &readings(&case, &kinds, &truth.v, &truth.va), || noise.normal());
        let (options, mut cache) = (Options::default(), Cache::new());
        let found = estimate(&case, reference(&case), &measurements, &options, &mut cache).unwrap();
        if !found.held.is_empty() || found.reference_held == phasors {
            continue;
        }
        let residuals = normalize(&case, reference(&case), &measurements, &options, &found, &mut cache).unwrap();
        let h = derivatives(&case, &kinds, &found.v, &found.va, phasors);
        let weights = Vec::from_iter(measurements.iter().map(|measurement| 1.0 / (measurement.sigma * measurement.sigma)));
        let columns = Vec::from_iter((0..h[0].len()).map(|state| Vec::from_iter(h.iter().map(|row| row[state]))));
        let spread = solve(gain(&h, &weights), columns);
        for (index, measurement) in measurements.iter().enumerate() {
            let variance: f64 = h[index].iter().zip(&spread).map(|(value, row)| value * row[index]).sum();
            let share = 1.0 - variance * weights[index];
            assert!(
                (residuals.redundancy[index] - share).abs() < 1e-6,
                "seed {seed} {:?}: {} {share}",
                measurement.kind,
                residuals.redundancy[index]
            );
            if share > 1e-4 {
                let expected = found.residuals[index].abs() / (measurement.sigma * share.sqrt());
                let size = residuals.normalized[index].expect("it is checked by others");
                assert!((size - expected).abs() < 1e-3 * expected.max(1.0), "{size} {expected}");
            }
        }
        // The trace of Ω/R is the number of degrees of freedom.
        let trace: f64 = residuals.redundancy.iter().sum();
        assert!((trace - found.degrees_of_freedom as f64).abs() < 1e-6, "{trace} {}", found.degrees_of_freedom);
    }
}

#[test]
fn a_measurement_is_critical_when_the_rank_of_h_needs_it() {
    let Some(case) = published("pglib_opf_case14_ieee") else { return };
    let truth = truth(&case);
    let (mut some, mut unclear) = (0, 0);
    for seed in 0..60 {
        let mut noise = Noise(seed);
        let mut kinds = all_kinds(&case);
        kinds.retain(|_| noise.bits() % 10 < 5);
        let measurements = measured(&kinds, &readings(&case, &kinds, &truth.v, &truth.va), || 0.0);
        let options = Options { start: Some((truth.v.clone(), truth.va.clone())), ..Options::default() };
        let mut cache = Cache::new();
        let found = estimate(&case, reference(&case), &measurements, &options, &mut cache).unwrap();
        if !found.held.is_empty() {
            continue;
        }
        let rows = unit(derivatives(&case, &kinds, &[1.0; 14], &[0.0; 14], false));
        let mut expected = Some(Vec::new());
        for index in 0..kinds.len() {
            let mut others = rows.clone();
            others.remove(index);
            expected = rank(others).zip(expected).map(|(rank, mut list)| {
                list.extend((rank < 27).then_some(index));
                list
            });
        }
        let Some(expected) = expected else {
            unclear += 1;
            continue;
        };
        let critical = critical(&case, reference(&case), &measurements, &options, &mut cache).unwrap();
        assert_eq!(critical, expected, "seed {seed}");
        some += usize::from(!critical.is_empty());
    }
    assert!(some >= 5 && unclear <= 6, "{some} cases had critical measurements, {unclear} were unclear");
}

#[test]
fn placements_restore_observability_and_each_is_needed() {
    let Some(case) = published("pglib_opf_case118_ieee") else { return };
    let truth = truth(&case);
    let (mut some, mut spare) = (0, 0);
    for seed in 0..25 {
        let mut noise = Noise(seed);
        let mut kinds = usual(&case);
        // All meters near some buses are gone.
        let blind = Vec::from_iter((0..6).map(|_| (noise.bits() % 118) as usize));
        kinds.retain(|kind| !buses_of(&case, *kind).iter().any(|bus| blind.contains(bus)));
        kinds.retain(|_| noise.bits() % 10 < 6);
        let at = |kinds: &[Kind]| measured(kinds, &readings(&case, kinds, &truth.v, &truth.va), || 0.0);
        let options = Options { start: Some((truth.v.clone(), truth.va.clone())), ..Options::default() };
        let mut cache = Cache::new();
        let unobservable = |kinds: &[Kind], cache: &mut Cache| {
            estimate(&case, reference(&case), &at(kinds), &options, cache)
                .unwrap_or_else(|error| panic!("seed {seed}: {error}"))
                .unobservable
        };
        let before = unobservable(&kinds, &mut cache);
        let found = placements(&case, reference(&case), &at(&kinds), &options, &mut cache).unwrap();
        assert_eq!(found.is_empty(), before.is_empty(), "seed {seed}");
        let whole = Vec::from_iter(kinds.iter().chain(&found).copied());
        assert_eq!(unobservable(&whole, &mut cache), Vec::<usize>::new(), "seed {seed}: {found:?}");
        for left in 0..found.len() {
            let mut fewer = whole.clone();
            fewer.remove(kinds.len() + left);
            spare += usize::from(unobservable(&fewer, &mut cache).is_empty());
        }
        some += usize::from(!found.is_empty());
    }
    // What is determined at the limit of rounding may get a measurement that it could do without.
    assert!(some > 10 && spare <= 2, "{some} had placements, {spare} of which were not needed");
}

/// Measurements of normal errors with ten gross ones on such that others check.
fn planted(case: &Case, seed: u64) -> (Vec<CaseMeasurement>, Vec<usize>) {
    let truth = truth(case);
    let kinds = usual(case);
    let mut noise = Noise(seed);
    let mut measurements = measured(&kinds, &readings(case, &kinds, &truth.v, &truth.va), || noise.normal());
    let (options, mut cache) = (Options::default(), Cache::new());
    let clean = estimate(case, reference(case), &measurements, &options, &mut cache).unwrap();
    let residuals = normalize(case, reference(case), &measurements, &options, &clean, &mut cache).unwrap();
    let mut wrong = Vec::new();
    while wrong.len() < 10 {
        let index = (noise.bits() % measurements.len() as u64) as usize;
        // An error of ten standard deviations is then at least five of its residual: what is less no method tells from chance among
        // ten thousand.
        if residuals.redundancy[index] > 0.3 && !wrong.contains(&index) {
            let sign = if noise.bits().is_multiple_of(2) { 1.0 } else { -1.0 };
            measurements[index].value += sign * (10.0 + (noise.bits() % 20) as f64) * measurements[index].sigma;
            wrong.push(index);
        }
    }
    wrong.sort_unstable();
    (measurements, wrong)
}

#[test]
fn ten_gross_errors_are_found_and_nothing_else_is_blamed() {
    for (name, seeds) in [("pglib_opf_case118_ieee", 0..12), ("case1354pegase", 0..4)] {
        let Some(case) = published(name) else { return };
        for seed in seeds {
            let (measurements, wrong) = planted(&case, seed);
            let options = Options::default();
            let found = identify(&case, reference(&case), &measurements, &options, &BadDataOptions::default(), &mut Cache::new()).unwrap();
            // Where residuals say the same of two, either is named with the other beside it.
            let mut blamed = Vec::from_iter(found.bad.iter().map(|bad| {
                if wrong.contains(&bad.index) {
                    bad.index
                } else {
                    bad.alike.iter().copied().find(|index| wrong.contains(index)).unwrap_or(bad.index)
                }
            }));
            blamed.sort_unstable();
            assert_eq!(blamed, wrong, "{name}, seed {seed}: {:?}", found.bad);
            assert!(found.bad.iter().all(|bad| bad.normalized_residual > 3.0));
            assert!(found.estimate.used.iter().enumerate().all(|(index, used)| *used != found.bad.iter().any(|bad| bad.index == index)));
            // The judge: an estimate without them from scratch.
            let mut without = measurements.clone();
            let mut index = 0;
            without.retain(|_| {
                index += 1;
                found.estimate.used[index - 1]
            });
            let alone = estimate(&case, reference(&case), &without, &options, &mut Cache::new()).unwrap();
            let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-8);
            assert!(near(&alone.v, &found.estimate.v) && near(&alone.va, &found.estimate.va));
            assert!((alone.objective - found.estimate.objective).abs() < 1e-6 * alone.objective);
            assert_eq!((alone.degrees_of_freedom, alone.threshold), (found.estimate.degrees_of_freedom, found.estimate.threshold));
        }
    }
}

/// Errors side by side make good measurements look worst at first.
#[test]
fn what_stays_out_contradicts_what_is_left() {
    let Some(case) = published("pglib_opf_case14_ieee") else { return };
    let truth = truth(&case);
    let kinds = usual(&case);
    let values = readings(&case, &kinds, &truth.v, &truth.va);
    let mut blamed = 0;
    for seed in 0..60 {
        let mut noise = Noise(seed);
        let mut measurements = measured(&kinds, &values, || noise.normal());
        let bus = (noise.bits() % 14) as usize;
        let beside = Vec::from_iter((0..kinds.len()).filter(|index| buses_of(&case, kinds[*index]).contains(&bus)));
        for _ in 0..4 {
            let index = beside[(noise.bits() % beside.len() as u64) as usize];
            measurements[index].value += (noise.bits() % 30) as f64 * measurements[index].sigma;
        }
        let (options, bad_data) = (Options::default(), BadDataOptions::default());
        let found = identify(&case, reference(&case), &measurements, &options, &bad_data, &mut Cache::new()).unwrap();
        let estimate = &found.estimate;
        let h = derivatives(&case, &kinds, &estimate.v, &estimate.va, false);
        let weight =
            |(used, measurement): (&bool, &CaseMeasurement)| if *used { 1.0 / (measurement.sigma * measurement.sigma) } else { 0.0 };
        let weights = Vec::from_iter(estimate.used.iter().zip(&measurements).map(weight));
        let out = Vec::from_iter(found.bad.iter().map(|bad| bad.index));
        let columns = Vec::from_iter((0..h[0].len()).map(|state| Vec::from_iter(out.iter().map(|index| h[*index][state]))));
        let spread = solve(gain(&h, &weights), columns);
        for (place, index) in out.iter().enumerate() {
            let variance: f64 = h[*index].iter().zip(&spread).map(|(value, row)| value * row[place]).sum();
            let sigma = measurements[*index].sigma;
            let deviation = (sigma * sigma + variance).sqrt();
            // The last that was put back may have moved the others a little.
            assert!(estimate.residuals[*index].abs() > 2.9 * deviation, "seed {seed}: {index} of {out:?} fits");
        }
        blamed += out.len();
    }
    assert!(blamed > 60, "{blamed} were blamed");
}

#[test]
fn good_data_is_not_blamed() {
    let Some(case) = published("pglib_opf_case118_ieee") else { return };
    let truth = truth(&case);
    let kinds = usual(&case);
    let values = readings(&case, &kinds, &truth.v, &truth.va);
    let mut blamed = 0;
    for seed in 100..140 {
        let mut noise = Noise(seed);
        let measurements = measured(&kinds, &values, || noise.normal());
        let found =
            identify(&case, reference(&case), &measurements, &Options::default(), &BadDataOptions::default(), &mut Cache::new()).unwrap();
        blamed += usize::from(!found.bad.is_empty());
    }
    // Two tests of 1 % each in 40 cases.
    assert!(blamed <= 3, "{blamed} of 40 cases");
    assert!((greatest_by_chance(1) - 2.575_829).abs() < 1e-6);
}

#[test]
fn a_critical_measurement_stays_and_a_critical_pair_is_named() {
    let Some(case) = published("pglib_opf_case14_ieee") else { return };
    let truth = truth(&case);
    // Bus 8 (index 7) hangs on one line; two meters of its reactive flow, one of its active flow.
    let line = case.branches.iter().position(|branch| branch.from == 7 || branch.to == 7).expect("its line");
    let mut kinds = usual(&case);
    let gone = |kind: &Kind| buses_of(&case, *kind).contains(&7) || [Kind::ActiveInjection(6), Kind::ReactiveInjection(6)].contains(kind);
    kinds.retain(|kind| !gone(kind));
    let first = kinds.len();
    kinds.extend([Kind::ActiveFlowFrom(line), Kind::VoltageMagnitude(7), Kind::ReactiveFlowFrom(line)]);
    let mut noise = Noise(5);
    let mut measurements = measured(&kinds, &readings(&case, &kinds, &truth.v, &truth.va), || noise.normal());
    measurements[first].value += 0.1;
    measurements[first + 2].value += 0.15;
    let (options, mut cache) = (Options::default(), Cache::new());
    let critical = critical(&case, reference(&case), &measurements, &options, &mut cache).unwrap();
    assert_eq!(critical, [first]);
    let found = identify(&case, reference(&case), &measurements, &options, &BadDataOptions::default(), &mut cache).unwrap();
    let [bad] = &found.bad[..] else { panic!("{:?}", found.bad) };
    let mut pair = bad.alike.clone();
    pair.push(bad.index);
    pair.sort_unstable();
    assert_eq!(pair, [first + 1, first + 2]);
    assert!(found.residuals.normalized[first].is_none() && found.estimate.used[first]);
}

#[test]
fn hubers_function_bounds_the_pull_of_gross_errors() {
    let Some(case) = published("pglib_opf_case118_ieee") else { return };
    let truth = truth(&case);
    for seed in 0..4 {
        let (measurements, wrong) = planted(&case, seed);
        let run = |measurements: &[CaseMeasurement], method| {
            let options = Options { method, ..Options::default() };
            estimate(&case, reference(&case), measurements, &options, &mut Cache::new()).unwrap_or_else(|error| panic!("{error}"))
        };
        let huber = run(&measurements, Method::Huber { threshold: 1.5 });
        let squares = run(&measurements, Method::LeastSquares);
        let error = |va: &[f64]| va.iter().zip(&truth.va).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
        assert!(error(&huber.va) < error(&squares.va), "seed {seed}");
        // One may hide where little else checks it.
        let deviation = |index: &usize| (huber.residuals[*index] / measurements[*index].sigma).abs();
        assert!(wrong.iter().filter(|index| deviation(index) > 3.0).count() >= 9, "seed {seed}");
        // The judge: stationarity, the derivative of Huber's function summed over H by differences.
        let kinds = Vec::from_iter(measurements.iter().map(|measurement| measurement.kind));
        let h = derivatives(&case, &kinds, &huber.v, &huber.va, false);
        let pull = |(row, (residual, meter)): (&Vec<f64>, (&f64, &CaseMeasurement))| {
            let force = (residual / meter.sigma).clamp(-1.5, 1.5) / meter.sigma;
            Vec::from_iter(row.iter().map(|derivative| derivative * force))
        };
        let pulls = Vec::from_iter(h.iter().zip(huber.residuals.iter().zip(&measurements)).map(pull));
        for state in 0..2 * case.buses.len() - 1 {
            let sum: f64 = pulls.iter().map(|row| row[state]).sum();
            let size: f64 = pulls.iter().map(|row| row[state].abs()).sum();
            assert!(sum.abs() < 1e-3 * size.max(1.0), "seed {seed}, state {state}: {sum} of {size}");
        }
        assert!(huber.objective < squares.objective);
    }
    let refused = Options { method: Method::Huber { threshold: 0.0 }, ..Options::default() };
    let good = CaseMeasurement { sensor: SensorId(0), kind: Kind::VoltageMagnitude(0), value: 1.0, sigma: 0.01 };
    assert!(estimate(&case, 0, &[good], &refused, &mut Cache::new()).is_err());
}
