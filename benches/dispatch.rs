//! How long a dispatch (DC optimal power flow) takes: one interval of the demo's and of published networks, and four
//! intervals of RTS-GMLC with its storage and direct-current link, as the engine plans each five minutes.
//!
//! `cargo bench --bench dispatch`. Rates are buses times intervals a second. The floor is the DC power flow by which
//! each plan can be judged.

mod support;

use divan::Bencher;
use divan::counter::ItemsCount;
use gridflow_numerics::dispatch::{Interval, Options, solve};
use gridflow_numerics::power_flow::dc;
use support::Named;

fn main() {
    divan::main();
}

fn networks() -> Vec<Named> {
    support::demo_and(&["pglib_opf_case14_ieee", "pglib_opf_case118_ieee", "pglib_opf_case1354_pegase"])
}

fn bench(bencher: Bencher<'_, '_>, network: &Named, intervals: &[Interval]) {
    let plan = || solve(&network.case, intervals, &Options::default()).expect("there is a plan");
    assert!(plan().shed_mwh < 1e-6, "{network} can serve its load");
    bencher.counter(ItemsCount::new(network.case.buses.len() * intervals.len())).bench(plan);
}

#[divan::bench(args = networks(), sample_count = 10)]
fn one_hour(bencher: Bencher<'_, '_>, network: &Named) {
    bench(bencher, network, &[Interval::of(&network.case, 1.0)]);
}

/// Units may run down to zero, as in the engine's first pass; weather gives a third of what it could.
#[divan::bench(args = support::rts(), sample_count = 10)]
fn four_quarters(bencher: Bencher<'_, '_>, network: &Named) {
    let mut network = network.clone();
    for unit in &mut network.case.generators {
        unit.p_min = unit.p_min.min(0.0);
    }
    let mut intervals = vec![Interval::of(&network.case, 0.25); 4];
    for (interval, scale) in intervals.iter_mut().zip([0.85, 0.87, 0.89, 0.91]) {
        interval.load_p.iter_mut().for_each(|p| *p *= scale);
        for (available, unit) in interval.available_p.iter_mut().zip(&network.case.generators).filter(|(_, unit)| unit.variable) {
            *available = 0.3 * unit.p_max;
        }
    }
    bench(bencher, &network, &intervals);
}

#[divan::bench(args = networks(), sample_count = 10)]
fn floor_dc(bencher: Bencher<'_, '_>, network: &Named) {
    bencher.counter(ItemsCount::new(network.case.buses.len())).bench(|| dc::solve(&network.case, dc::Model::Pglib).expect("it is linear"));
}
