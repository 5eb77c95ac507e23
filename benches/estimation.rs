//! How long a state estimate (weighted least squares) takes: alone, and as at every tick but the first, with the
//! analysis of the network kept and the last state to start from. Voltage and injections of each bus are measured and
//! the flows at one side of each branch, with errors of up to a standard deviation.
//!
//! `cargo bench --bench estimation`. Rates are measurements a second. The floor is one evaluation of what the
//! measurements would read, without which no iteration can be had.

mod support;

use divan::Bencher;
use divan::counter::ItemsCount;
use gridflow_inputs::ids::SensorId;
use gridflow_inputs::network::BusKind;
use gridflow_numerics::admittance::{Admittance, branch_flows};
use gridflow_numerics::case::{CaseMeasurement, MeasurementKind as Kind};
use gridflow_numerics::estimation::{Cache, Options, estimate};
use gridflow_numerics::power_flow::{self, PowerFlow};
use support::Named;

fn main() {
    divan::main();
}

fn networks() -> Vec<Named> {
    support::demo_and(&["pglib_opf_case118_ieee", "case1354pegase", "case9241pegase"])
}

/// A network with its true state, what is measured of it, and its reference bus.
struct Measured<'a> {
    network: &'a Named,
    truth: PowerFlow,
    measurements: Vec<CaseMeasurement>,
    reference: usize,
}

impl<'a> Measured<'a> {
    fn new(network: &'a Named) -> Self {
        let case = &network.case;
        let truth = power_flow::solve(case, &power_flow::Options::default(), &mut power_flow::Cache::new()).expect("it converges");
        let (p, q) = Admittance::new(case).injections(&truth.v, &truth.va);
        let mut values = Vec::new();
        for bus in 0..case.buses.len() {
            values.push((Kind::VoltageMagnitude(bus), truth.v[bus], 0.004));
            values.push((Kind::ActiveInjection(bus), p[bus], 0.01));
            values.push((Kind::ReactiveInjection(bus), q[bus], 0.01));
        }
        for (branch, flow) in branch_flows(case, &truth.v, &truth.va).iter().enumerate() {
            values.push((Kind::ActiveFlowFrom(branch), flow.p_from, 0.01));
            values.push((Kind::ReactiveFlowFrom(branch), flow.q_from, 0.01));
        }
        let mut random = 42u64;
        let mut error = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as f64 / f64::from(1u32 << 30) - 1.0
        };
        let measurement = |(sensor, (kind, value, share)): (u32, (Kind, f64, f64))| {
            let sigma = (share * value.abs()).max(1e-4);
            CaseMeasurement { sensor: SensorId(sensor), kind, value: value + sigma * error(), sigma }
        };
        let measurements = (0..).zip(values).map(measurement).collect();
        let reference = case.buses.iter().position(|bus| bus.kind == BusKind::Reference).expect("a reference bus");
        Self { network, truth, measurements, reference }
    }

    fn estimate(&self, options: &Options, cache: &mut Cache) -> usize {
        let found = estimate(&self.network.case, self.reference, &self.measurements, options, cache).expect("it converges");
        assert!(found.unobservable.is_empty(), "every bus is measured");
        found.iterations
    }

    fn count<'b, 'c>(&self, bencher: Bencher<'b, 'c>) -> Bencher<'b, 'c> {
        bencher.counter(ItemsCount::new(self.measurements.len()))
    }
}

/// From the file's start values.
#[divan::bench(args = networks(), sample_count = 10)]
fn cold(bencher: Bencher<'_, '_>, network: &Named) {
    let measured = Measured::new(network);
    measured.count(bencher).bench(|| measured.estimate(&Options::default(), &mut Cache::new()));
}

/// From the true state, which is about where the last estimate was.
#[divan::bench(args = networks(), sample_count = 10)]
fn cached(bencher: Bencher<'_, '_>, network: &Named) {
    let measured = Measured::new(network);
    let options = Options { start: Some((measured.truth.v.clone(), measured.truth.va.clone())), ..Options::default() };
    let mut cache = Cache::new();
    measured.estimate(&options, &mut cache);
    measured.count(bencher).bench_local(|| measured.estimate(&options, &mut cache));
}

#[divan::bench(args = networks(), sample_count = 10)]
fn floor_one_evaluation(bencher: Bencher<'_, '_>, network: &Named) {
    let measured = Measured::new(network);
    let admittance = Admittance::new(&network.case);
    let (v, va) = (&measured.truth.v, &measured.truth.va);
    measured.count(bencher).bench(|| (admittance.injections(v, va), branch_flows(&network.case, v, va)));
}
