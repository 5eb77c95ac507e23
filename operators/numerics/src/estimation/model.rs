//! What measurements read at a state, h(x), and the rows of its derivative H.
//!
//! States are numbered by bus: the angle of bus i is 2i, its magnitude 2i + 1. Rows hold the unknowns of the states they touch,
//! in a fixed order: for a flow own angle, own magnitude, other angle, other magnitude; for an injection angle and
//! magnitude of each bus of the admittance row.

use super::HELD;
use crate::admittance::{Admittance, End, EndPower, ends};
use crate::case::{Case, CaseMeasurement, MeasurementKind as Kind};

/// The measurement functions of a case.
pub(super) struct Model {
    admittance: Admittance,
    /// Ends of each branch and their buses, `from` first.
    branches: Vec<([End; 2], [usize; 2])>,
}

/// H by row, on unknowns, and h.
pub(super) struct Rows {
    starts: Vec<usize>,
    unknowns: Vec<usize>,
    derivatives: Vec<f64>,
    /// h of each measurement.
    pub(super) estimated: Vec<f64>,
}

impl Rows {
    /// Unknowns and derivatives of a measurement.
    pub(super) fn row(&self, index: usize) -> (&[usize], &[f64]) {
        let range = self.starts[index]..self.starts[index + 1];
        (&self.unknowns[range.clone()], &self.derivatives[range])
    }
}

impl Model {
    pub(super) fn new(case: &Case) -> Self {
        let branches = case.branches.iter().map(|branch| (ends(branch), [branch.from, branch.to])).collect();
        Self { admittance: Admittance::new(case), branches }
    }

    pub(super) fn buses(&self) -> usize {
        self.admittance.diagonal.len()
    }

    /// h of all measurements and the rows of H of those `used`, at magnitudes `v` and angles `va`.
    ///
    /// `unknown` numbers the states; a held one has no place in a row.
    pub(super) fn evaluate(&self, measurements: &[CaseMeasurement], unknown: &[usize], used: &[bool], v: &[f64], va: &[f64]) -> Rows {
        let rotors = Vec::from_iter(va.iter().map(|angle| libm::sincos(*angle)));
        let mut rows = Rows { starts: vec![0], unknowns: Vec::new(), derivatives: Vec::new(), estimated: Vec::new() };
        let mut row = Vec::new();
        for (measurement, used) in measurements.iter().zip(used) {
            row.clear();
            rows.estimated.push(self.row(measurement.kind, v, va, &rotors, &mut row));
            for &(state, derivative) in row.iter().filter(|(state, _)| *used && unknown[*state] != HELD) {
                rows.unknowns.push(unknown[state]);
                rows.derivatives.push(derivative);
            }
            rows.starts.push(rows.unknowns.len());
        }
        rows
    }

    /// The same at the flat state: all magnitudes 1, all angles 0.
    pub(super) fn at_flat_state(&self, measurements: &[CaseMeasurement], unknown: &[usize], used: &[bool]) -> Rows {
        self.evaluate(measurements, unknown, used, &vec![1.0; self.buses()], &vec![0.0; self.buses()])
    }

    /// h of one measurement, and its derivatives by state in `row`.
    fn row(&self, kind: Kind, v: &[f64], va: &[f64], rotors: &[(f64, f64)], row: &mut Vec<(usize, f64)>) -> f64 {
        let mut flow = |branch: usize, side: usize, part: fn(EndPower) -> (f64, [f64; 3])| {
            let (ends, buses) = &self.branches[branch];
            let (own, other) = (buses[side], buses[1 - side]);
            let (value, [angle, magnitude, other_magnitude]) = part(ends[side].power(v[own], v[other], va[own] - va[other]));
            row.extend([(2 * own, angle), (2 * own + 1, magnitude), (2 * other, -angle), (2 * other + 1, other_magnitude)]);
            value
        };
        match kind {
            Kind::VoltageAngle(bus) => {
                row.push((2 * bus, 1.0));
                va[bus]
            }
            Kind::VoltageMagnitude(bus) => {
                row.push((2 * bus + 1, 1.0));
                v[bus]
            }
            Kind::ActiveFlowFrom(branch) => flow(branch, 0, |power| (power.p, power.p_derivatives)),
            Kind::ActiveFlowTo(branch) => flow(branch, 1, |power| (power.p, power.p_derivatives)),
            Kind::ReactiveFlowFrom(branch) => flow(branch, 0, |power| (power.q, power.q_derivatives)),
            Kind::ReactiveFlowTo(branch) => flow(branch, 1, |power| (power.q, power.q_derivatives)),
            Kind::ActiveInjection(bus) => self.injection(bus, true, v, rotors, row),
            Kind::ReactiveInjection(bus) => self.injection(bus, false, v, rotors, row),
        }
    }

    /// Injection of bus i. With `T_k = G cos + B sin`, `U_k = G sin - B cos`: `P = V_i Σ V_k T_k`, `Q = V_i Σ V_k U_k`,
    /// and by angles `∂P/∂θ_k = V_i V_k U_k`, `∂Q/∂θ_k = -V_i V_k T_k`.
    fn injection(&self, i: usize, active: bool, v: &[f64], rotors: &[(f64, f64)], row: &mut Vec<(usize, f64)>) -> f64 {
        let (mut sum, mut by_own_angle, mut own) = (0.0, 0.0, 0);
        for slot in self.admittance.pattern.slots(i) {
            let k = self.admittance.pattern.indices()[slot];
            let (t, u) = self.admittance.term(slot, rotors[i], rotors[k]);
            let (value, by_angle) = if active { (t, u) } else { (u, -t) };
            sum += v[k] * value;
            if k == i {
                own = row.len();
            } else {
                by_own_angle -= v[i] * v[k] * by_angle;
            }
            row.extend([(2 * k, v[i] * v[k] * by_angle), (2 * k + 1, v[i] * value)]);
        }
        row[own].1 = by_own_angle;
        row[own + 1].1 += sum;
        v[i] * sum
    }
}
