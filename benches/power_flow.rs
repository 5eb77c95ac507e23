//! How long an AC power flow takes from the file's start: alone, and with the symbolic analysis kept from an earlier
//! one, as the arbiter's checks have it. Beside them its floor, the DC power flow of the same network.
//!
//! `cargo bench --bench power_flow`. Rates are buses a second.

mod support;

use divan::Bencher;
use divan::counter::ItemsCount;
use gridflow_numerics::power_flow::{Cache, Options, dc, solve};
use support::Named;

fn main() {
    divan::main();
}

fn networks() -> Vec<Named> {
    support::demo_and(&["pglib_opf_case118_ieee", "case1354pegase", "case9241pegase"])
}

fn count<'a, 'b>(bencher: Bencher<'a, 'b>, network: &Named) -> Bencher<'a, 'b> {
    bencher.counter(ItemsCount::new(network.case.buses.len()))
}

#[divan::bench(args = networks(), sample_count = 10)]
fn cold(bencher: Bencher<'_, '_>, network: &Named) {
    count(bencher, network).bench(|| solve(&network.case, &Options::default(), &mut Cache::new()).expect("it converges"));
}

#[divan::bench(args = networks(), sample_count = 10)]
fn cached(bencher: Bencher<'_, '_>, network: &Named) {
    let mut cache = Cache::new();
    solve(&network.case, &Options::default(), &mut cache).expect("it converges");
    count(bencher, network).bench_local(|| solve(&network.case, &Options::default(), &mut cache).expect("it converges"));
}

#[divan::bench(args = networks(), sample_count = 10)]
fn floor_dc(bencher: Bencher<'_, '_>, network: &Named) {
    count(bencher, network).bench(|| dc::solve(&network.case, dc::Model::Exact).expect("it is linear"));
}
