//! Removals without a new factor against ones with.

use super::*;
use crate::dispatch::testing::matpower;
use gridflow_inputs::ids::SensorId;

/// All voltages, injections, flows and currents near the start state, off by so many deviations as a wheel says.
fn scattered(case: &Case) -> Vec<CaseMeasurement> {
    use MeasurementKind as Kind;
    let buses =
        (0..case.buses.len()).flat_map(|bus| [Kind::VoltageMagnitude(bus), Kind::ActiveInjection(bus), Kind::ReactiveInjection(bus)]);
    let flows = |branch| [Kind::ActiveFlowFrom(branch), Kind::ReactiveFlowTo(branch), Kind::CurrentRealFrom(branch)];
    let kinds = Vec::from_iter(buses.chain([Kind::VoltageAngle(0), Kind::VoltageAngle(5)]).chain((0..case.branches.len()).flat_map(flows)));
    let (v, va) = case.buses.iter().map(|bus| (bus.v_start, bus.va_start)).unzip::<f64, f64, Vec<_>, Vec<_>>();
    let values = super::super::readings(case, kinds.iter().copied(), &v, &va);
    let wheel = |index: usize| ((index * 7919) % 201) as f64 / 100.0 - 1.0;
    let measurement = |(index, (kind, value)): (usize, (Kind, f64))| {
        let sigma = 0.01 + 0.002 * (index % 5) as f64;
        CaseMeasurement { sensor: SensorId(index as u32 + 1), kind, value: value + sigma * wheel(index), sigma }
    };
    kinds.into_iter().zip(values).enumerate().map(measurement).collect()
}

#[test]
fn residuals_after_removals_are_those_of_a_new_factor() {
    for (name, reference) in [("pglib_opf_case118_ieee.m", 68), ("case1354pegase.m", 0)] {
        let Some(case) = matpower(name) else { return };
        let measurements = scattered(&case);
        let options = Options { zero_injections: vec![4, 8], ..Options::default() };
        let mut cache = Cache::new();
        let kinds = measurements.iter().map(|measurement| measurement.kind);
        let (model, plan, work) = cache.plan(&case, reference, kinds, &options.zero_injections);
        let (values, weights) = values_and_weights(&measurements, &plan.used);
        let (v, va) = start(&case, &options).unwrap();
        let mut search = Search { case: &case, model, plan, options: &options, values, weights, iterate: Iterate::new(v, va), steps: 0 };
        let found = search.settle(work).unwrap();
        let whole = Linear::new(&search, &found, &mut work.system);
        let mut linear = whole.clone();
        let n = case.buses.len();
        let all = [3 * 6, 3 * 6 + 1, 3 * 7 + 2, 3 * n, 3 * n + 2 + 3 * 9, 3 * n + 2 + 3 * 9 + 2, 3 * n + 2 + 3 * 10 + 1];
        for index in all {
            linear.take_out(&mut search, index, &work.factor);
        }
        let kept = work.factor.clone();
        compare(&search, &linear, work);
        // The same with some of them back.
        for index in all[2..5].iter().rev() {
            linear.put_in(&mut search, *index, inverse_variance(&measurements[*index]), &kept);
        }
        compare(&search, &linear, work);
        for index in [all[6], all[0], all[1], all[5]] {
            linear.put_in(&mut search, index, inverse_variance(&measurements[index]), &kept);
        }
        let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9);
        assert!(near(&linear.residuals, &whole.residuals) && near(&linear.shares, &whole.shares));
        assert!(linear.moved.iter().all(|moved| moved.abs() < 1e-9) && (linear.objective - whole.objective).abs() < 1e-9 * whole.objective);
    }
}

/// Holds shares, the step and J against the system with the weights that the search has now.
fn compare(search: &Search, linear: &Linear, work: &mut Work) {
    let point = &search.iterate.point;
    let found = residuals::at(&search.given(), point, &mut work.factor, &mut work.system).unwrap();
    let mut largest = 0.0f64;
    for (share, fresh) in linear.shares.iter().zip(&found.redundancy) {
        assert!((share - fresh).abs() < 1e-9, "{share} {fresh}");
    }
    work.system.take(&search.given(), point, &search.iterate.multipliers);
    work.factor.ldlt.solve(&mut work.system.right);
    for (state, moved) in linear.moved.iter().enumerate() {
        let fresh = work.system.right[WIDTH * (state / 2) + state % 2];
        largest = largest.max(moved.abs());
        assert!((moved - fresh).abs() < 1e-9, "{moved} {fresh}");
    }
    assert!(largest > 1e-5, "something moves");
    let mut objective = 0.0;
    for (index, estimated) in work.system.estimated.iter().enumerate() {
        let row = search.row(search.plan.kinds[index], point);
        let along: f64 = row.iter().map(|(state, value)| value * linear.moved[*state]).sum();
        let fresh = residuals_of(search, index, *estimated) - along;
        assert!((linear.residuals[index] - fresh).abs() < 1e-9, "{index}");
        objective += search.weights[index] * fresh * fresh;
    }
    assert!((linear.objective - objective).abs() < 1e-9 * objective, "{} {objective}", linear.objective);
}

fn residuals_of(search: &Search, index: usize, estimated: f64) -> f64 {
    super::super::system::residual(search.plan.sites.place(index), search.values[index], estimated)
}
