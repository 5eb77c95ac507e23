//! How long an AC power flow takes: from the file's start, alone and with the analysis kept; and solved again with loads
//! moved by up to 1 % from the voltages before, as a stream of states asks for. Beside them the floor, the DC power flow.
//!
//! `cargo bench --bench power_flow` prints a table of medians. `-- --voltages DIR` also writes the voltages of one re-solve a
//! network, and `peers/power_flow.py` compares them and the times with lightsim2grid's.

#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a bench measures and prints")]

mod support;

use gridflow_numerics::case::Case;
use gridflow_numerics::power_flow::{Cache, Options, PowerFlow, Start, dc, solve};
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Instant;

const RUNS: usize = 31;

/// The median time of some runs in milliseconds; each run gets its number.
fn median<T>(mut run: impl FnMut(usize) -> T) -> f64 {
    let mut times = Vec::from_iter((0..RUNS).map(|number| {
        let start = Instant::now();
        std::hint::black_box(run(number));
        start.elapsed().as_secs_f64() * 1e3
    }));
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}

/// Loads of `case` moved by up to 1 % each: a pattern that `peers/power_flow.py` has too, by bus number.
fn with_loads_moved(case: &Case, scene: usize) -> Case {
    let mut moved = case.clone();
    for load in &mut moved.loads {
        let phase = (case.buses[load.bus].id.0 as usize * 7 + scene * 13) % 201;
        let factor = 1.0 + 0.01 * (phase as f64 - 100.0) / 100.0;
        (load.p, load.q) = (load.p * factor, load.q * factor);
    }
    moved
}

fn solved(case: &Case, options: &Options, cache: &mut Cache) -> PowerFlow {
    solve(case, options, cache).unwrap_or_else(|error| panic!("{error}"))
}

fn main() {
    let arguments = Vec::from_iter(std::env::args());
    let folder = arguments.iter().position(|argument| argument == "--voltages").and_then(|at| arguments.get(at + 1)).map(PathBuf::from);
    println!("median of {RUNS} runs, ms");
    println!("{:<36} {:>9} {:>9} {:>9} {:>11} {:>9}", "network", "cold", "kept", "re-solve", "iterations", "DC flow");
    for network in support::demo_and(&["pglib_opf_case118_ieee", "case1354pegase", "case9241pegase"]) {
        let (case, options) = (&network.case, Options::default());
        let cold = median(|_| solved(case, &options, &mut Cache::new()));
        let mut cache = Cache::new();
        let base = solved(case, &options, &mut cache);
        let kept = median(|_| solved(case, &options, &mut cache));
        let scenes = Vec::from_iter((0..RUNS).map(|scene| with_loads_moved(case, scene)));
        let warm = Options { start: Start::Given { v: base.v.clone(), va: base.va.clone() }, ..options };
        let again = median(|scene| solved(&scenes[scene], &warm, &mut cache));
        let last = solved(&scenes[RUNS - 1], &warm, &mut cache);
        let floor = median(|_| dc::solve(case, dc::Model::Exact).expect("it is linear"));
        println!("{:<36} {cold:>9.3} {kept:>9.3} {again:>9.3} {:>11} {floor:>9.3}", network.to_string(), last.iterations);
        if let Some(folder) = &folder {
            let mut text = format!("# re_solve_ms {again}\nbus,vm_pu,va_rad\n");
            for ((bus, v), va) in case.buses.iter().zip(&last.v).zip(&last.va) {
                let _ = writeln!(text, "{},{v:e},{va:e}", bus.id);
            }
            std::fs::write(folder.join(format!("{}.csv", network.name)), text).expect("the folder can be written");
        }
    }
}
