//! The state of the grid at one step of the truth, indexed as the case with everything in service; and its file form.
//!
//! MW, Mvar, per unit of voltage, radians. What is out of service has zeros.

use gridflow_inputs::ids::{BranchId, BusId};
use gridflow_numerics::case::Case;
use std::io::{self, Write};

/// True values; every list is indexed as in the case with everything in service.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct State {
    pub(super) v_pu: Vec<f64>,
    pub(super) va_rad: Vec<f64>,
    /// Injection of each bus: active, reactive.
    pub(super) injection: Vec<(f64, f64)>,
    /// Power leaving both sides of each branch: active and reactive at `from`, active and reactive at `to`.
    pub(super) flow: Vec<[f64; 4]>,
    pub(super) generation: Vec<(f64, f64)>,
    /// Of the file's loads.
    pub(super) load: Vec<(f64, f64)>,
    /// Sum of the file's loads at each bus, active.
    pub(super) bus_load: Vec<f64>,
}

impl State {
    /// The row of this state.
    pub(super) fn step(&self, case: &Case, event_ms: i64) -> TruthStep {
        let buses = case.buses.iter().enumerate().map(|(bus, row)| {
            let (p, q) = self.injection[bus];
            (row.id, self.v_pu[bus], self.va_rad[bus], p, q)
        });
        let branches = case.branches.iter().zip(&self.flow).map(|(row, flow)| (row.id, flow[0], flow[1]));
        TruthStep { event_ms, buses: buses.collect(), branches: branches.collect() }
    }
}

/// The true state at one time: what an estimate is judged by.
#[derive(Clone, Debug, PartialEq)]
pub struct TruthStep {
    /// When, UTC milliseconds.
    pub event_ms: i64,
    /// Of each bus, by id: voltage magnitude (pu) and angle (rad), active (MW) and reactive (Mvar) injection from all
    /// but branches and shunts.
    pub buses: Vec<(BusId, f64, f64, f64, f64)>,
    /// Of each branch, by id: active (MW) and reactive (Mvar) power leaving its `from` side; zero when out of service.
    pub branches: Vec<(BranchId, f64, f64)>,
}

impl TruthStep {
    /// Writes the line that names the columns. `v_pu` and `va_rad` are empty for branches.
    ///
    /// # Errors
    /// When writing fails.
    pub fn write_csv_header(out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "event_ms,element,id,v_pu,va_rad,p_mw,q_mvar")
    }

    /// Writes one line per bus, then one per branch. Reals are printed so that reading gives the same bits.
    ///
    /// # Errors
    /// When writing fails.
    pub fn write_csv(&self, out: &mut impl Write) -> io::Result<()> {
        let time = self.event_ms;
        for (id, v, va, p, q) in &self.buses {
            writeln!(out, "{time},bus,{id},{v},{va},{p},{q}")?;
        }
        for (id, p, q) in &self.branches {
            writeln!(out, "{time},branch,{id},,,{p},{q}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truth_file_has_one_line_per_bus_and_branch() {
        let step =
            TruthStep { event_ms: 60_000, buses: vec![(BusId(7), 1.02, -0.1, 12.5, 0.0)], branches: vec![(BranchId(3), 0.1 + 0.2, -1e-9)] };
        let mut file = Vec::new();
        TruthStep::write_csv_header(&mut file).unwrap();
        step.write_csv(&mut file).unwrap();
        let expected = "event_ms,element,id,v_pu,va_rad,p_mw,q_mvar\n60000,bus,7,1.02,-0.1,12.5,0\n60000,branch,3,,,0.30000000000000004,-0.000000001\n";
        assert_eq!(String::from_utf8(file).unwrap(), expected);
    }
}
