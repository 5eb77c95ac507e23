//! How long a state estimate (weighted least squares) takes: from a flat start and nothing known, with what follows from network
//! and meters kept, and tracked from scan to scan on a frozen matrix; and how long its normalised residuals take. Voltage and
//! injections of each bus are measured, the flows at one side of each branch and at the other of every third, with errors of up to a
//! standard deviation.
//!
//! `cargo bench --bench estimation`. Rates are measurements a second. The floor is one evaluation of what the
//! measurements would read, without which no iteration can be had. `benches/peers/estimation.py` has another program beside it.

mod support;

use divan::Bencher;
use divan::counter::ItemsCount;
use gridflow_inputs::ids::SensorId;
use gridflow_inputs::network::BusKind;
use gridflow_numerics::admittance::{Admittance, branch_flows};
use gridflow_numerics::case::{CaseMeasurement, MeasurementKind as Kind};
use gridflow_numerics::estimation::{Cache, Options, Tracker, estimate, normalize};
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
        Self::loaded(network, 1.0, 42)
    }

    /// With all loads so many times those of the file, and errors of a seed.
    fn loaded(network: &'a Named, load: f64, mut random: u64) -> Self {
        let case = &network.case;
        let mut loaded = case.clone();
        loaded.loads.iter_mut().for_each(|row| (row.p, row.q) = (load * row.p, load * row.q));
        let truth = power_flow::solve(&loaded, &power_flow::Options::default(), &mut power_flow::Cache::new()).expect("it converges");
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
            if branch % 3 == 0 {
                values.push((Kind::ActiveFlowTo(branch), flow.p_to, 0.01));
                values.push((Kind::ReactiveFlowTo(branch), flow.q_to, 0.01));
            }
        }
        let mut error = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as f64 / f64::from(1u32 << 30) - 1.0
        };
        let measurement = |(sensor, (kind, value, share)): (u32, (Kind, f64, f64))| {
            let sigma = (share * value.abs()).max(if matches!(kind, Kind::VoltageMagnitude(_)) { 1e-4 } else { 1e-2 });
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

fn flat(network: &Named) -> Options {
    let n = network.case.buses.len();
    Options { start: Some((vec![1.0; n], vec![0.0; n])), ..Options::default() }
}

/// From a flat start, with nothing known.
#[divan::bench(args = networks(), sample_count = 10)]
fn cold(bencher: Bencher<'_, '_>, network: &Named) {
    let measured = Measured::new(network);
    let options = flat(network);
    measured.count(bencher).bench(|| measured.estimate(&options, &mut Cache::new()));
}

/// From a flat start, with observability and order kept.
#[divan::bench(args = networks(), sample_count = 10)]
fn kept(bencher: Bencher<'_, '_>, network: &Named) {
    let measured = Measured::new(network);
    let options = flat(network);
    let mut cache = Cache::new();
    measured.estimate(&options, &mut cache);
    measured.count(bencher).bench_local(|| measured.estimate(&options, &mut cache));
}

/// Scan after scan, loads up and down by half a percent with new errors each time.
#[divan::bench(args = networks(), sample_count = 20)]
fn tracked(bencher: Bencher<'_, '_>, network: &Named) {
    let scans = [1.0, 1.005, 1.01, 1.005, 1.0, 0.995].map(|load| Measured::loaded(network, load, (1e4 * load) as u64));
    let mut tracker = Tracker::default();
    let mut next = scans.iter().cycle();
    let mut scan = || {
        let scan = next.next().expect("endless");
        tracker.scan(&scan.network.case, scan.reference, &scan.measurements, &Options::default()).expect("it converges").iterations
    };
    scan();
    scans[0].count(bencher).bench_local(scan);
}

/// Normalised residuals of an estimate.
#[divan::bench(args = networks(), sample_count = 10)]
fn normalised_residuals(bencher: Bencher<'_, '_>, network: &Named) {
    let measured = Measured::new(network);
    let (options, mut cache) = (flat(network), Cache::new());
    let (case, reference) = (&network.case, measured.reference);
    let found = estimate(case, reference, &measured.measurements, &options, &mut cache).expect("it converges");
    let residuals = |cache: &mut Cache| normalize(case, reference, &measured.measurements, &options, &found, cache).expect("it is regular");
    measured.count(bencher).bench_local(|| residuals(&mut cache));
}

#[divan::bench(args = networks(), sample_count = 10)]
fn floor_one_evaluation(bencher: Bencher<'_, '_>, network: &Named) {
    let measured = Measured::new(network);
    let admittance = Admittance::new(&network.case);
    let (v, va) = (&measured.truth.v, &measured.truth.va);
    measured.count(bencher).bench(|| (admittance.injections(v, va), branch_flows(&network.case, v, va)));
}
