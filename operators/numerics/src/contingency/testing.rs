//! Small networks for the tests of this module.

use crate::case::Case;
use gridflow_inputs::matpower;
use std::fmt::Write;

/// A case of so many buses: the first is the reference with a unit, every third has one; loads elsewhere, branches as
/// given, each rated 100 MVA.
pub(crate) fn network(buses: usize, branches: &[(usize, usize)]) -> Case {
    let mut text = String::from("function mpc = net\nmpc.version = '2';\nmpc.baseMVA = 100;\nmpc.bus = [\n");
    for bus in 0..buses {
        let kind = if bus == 0 { 3 } else { 1 };
        let load = if bus % 3 == 0 { 0 } else { 7 * bus };
        writeln!(text, "{} {kind} {load} 0 0 0 1 1.0 0 230 1 1.1 0.9;", bus + 1).expect("a string can be written to");
    }
    text.push_str("];\nmpc.gen = [\n");
    for bus in (0..buses).step_by(3) {
        writeln!(text, "{} {} 0 100 -100 1.0 100 1 {} 0;", bus + 1, 10 * bus, 100 + bus).expect("a string can be written to");
    }
    text.push_str("];\nmpc.branch = [\n");
    for (index, (from, to)) in branches.iter().enumerate() {
        writeln!(text, "{} {} 0.01 {} 0 100 120 150 0 0 1 -360 360;", from + 1, to + 1, 0.1 + 0.01 * index as f64)
            .expect("a string can be written to");
    }
    text.push_str("];\nmpc.gencost = [\n");
    (0..buses).step_by(3).for_each(|_| text.push_str("2 0 0 2 10 0;\n"));
    text.push_str("];\n");
    let file = matpower::read("net.m", &text).expect("it is well formed");
    Case::new(file.base_power.mva(), &file.network).expect("it makes sense")
}
