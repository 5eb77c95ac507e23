//! The solved base case of an AC contingency analysis: its voltages, equations and Jacobian, factored once.
//!
//! Unknowns are those of the power flow: angles of all but reference buses, relative magnitudes of load buses.

use crate::admittance::{Admittance, End, ends};
use crate::case::Case;
use crate::contingency::ContingencyError;
use crate::power_flow::PowerFlow;
use crate::sparse::{Pattern, StaticLu};
use gridflow_inputs::network::BusKind;

pub(super) const NONE: usize = usize::MAX;

pub(super) struct Base {
    pub(super) admittance: Admittance,
    pub(super) ends: Vec<[End; 2]>,
    pub(super) factor: StaticLu,
    /// Place in the factor's order of each bus's angle and magnitude, or none.
    pub(super) unknowns: Vec<[usize; 2]>,
    /// Scheduled injections, active and reactive.
    pub(super) p: Vec<f64>,
    pub(super) q: Vec<f64>,
    /// Voltages in rectangular form.
    pub(super) e: Vec<f64>,
    pub(super) f: Vec<f64>,
    /// Lowest bus of each bus's component.
    pub(super) component: Vec<usize>,
    /// What is left of each equation: schedule less injection.
    pub(super) left: Vec<f64>,
}

impl Base {
    pub(super) fn new(case: &Case, solved: &PowerFlow) -> Result<Self, ContingencyError> {
        let n = case.buses.len();
        let admittance = Admittance::new(case);
        let (p, q, holds_voltage) = (case.scheduled_p(), case.scheduled_q(), holds_voltage(case));
        let mut unknowns = vec![[NONE; 2]; n];
        let mut count = 0;
        for (bus, row) in case.buses.iter().enumerate() {
            if row.kind != BusKind::Reference {
                unknowns[bus][0] = count;
                count += 1;
            }
            if !holds_voltage[bus] {
                unknowns[bus][1] = count;
                count += 1;
            }
        }
        let (pattern, values) = jacobian(&admittance, solved, &unknowns, count);
        let bus_of_unknown = |unknown: usize| unknowns.iter().position(|own| own.contains(&unknown)).unwrap_or(0);
        let factor =
            StaticLu::factor(&pattern, &values).map_err(|pivot| ContingencyError::Singular(case.buses[bus_of_unknown(pivot.row)].id))?;
        for unknown in unknowns.iter_mut().flatten().filter(|unknown| **unknown != NONE) {
            *unknown = factor.position()[*unknown];
        }
        let mut left = vec![0.0; count];
        for (bus, own) in unknowns.iter().enumerate() {
            for (unknown, value) in own.iter().zip([p[bus] - solved.p[bus], q[bus] - solved.q[bus]]) {
                if *unknown != NONE {
                    left[*unknown] = value;
                }
            }
        }
        let rotated = solved.v.iter().zip(&solved.va).map(|(v, va)| {
            let (sin, cos) = libm::sincos(*va);
            (v * cos, v * sin)
        });
        let (e, f) = rotated.unzip();
        Ok(Self {
            admittance,
            ends: case.branches.iter().map(ends).collect(),
            factor,
            unknowns,
            p,
            q,
            e,
            f,
            component: case.components(),
            left,
        })
    }

    /// Power leaving both ends of a branch, as (active, reactive), at rectangular voltages.
    pub(super) fn branch_power(&self, branch: usize, from: (f64, f64), to: (f64, f64)) -> [(f64, f64); 2] {
        let power = |end: &End, own: (f64, f64), other: (f64, f64)| {
            let re = end.g_own * own.0 - end.b_own * own.1 + end.g_other * other.0 - end.b_other * other.1;
            let im = end.g_own * own.1 + end.b_own * own.0 + end.g_other * other.1 + end.b_other * other.0;
            (own.0 * re + own.1 * im, own.1 * re - own.0 * im)
        };
        let [from_end, to_end] = &self.ends[branch];
        [power(from_end, from, to), power(to_end, to, from)]
    }
}

/// Whether each bus holds its magnitude, as in the power flow.
fn holds_voltage(case: &Case) -> Vec<bool> {
    let mut holds = Vec::from_iter(case.buses.iter().map(|bus| bus.kind == BusKind::Reference));
    case.generators.iter().for_each(|unit| holds[unit.bus] |= case.buses[unit.bus].kind == BusKind::Generator);
    holds
}

/// Derivatives of injections by angles and relative magnitudes at a solution.
fn jacobian(admittance: &Admittance, solved: &PowerFlow, unknowns: &[[usize; 2]], count: usize) -> (Pattern, Vec<f64>) {
    let rotors = Vec::from_iter(solved.va.iter().map(|angle| libm::sincos(*angle)));
    let (mut places, mut entries) = (Vec::new(), Vec::new());
    for (i, own) in unknowns.iter().enumerate() {
        for slot in admittance.pattern.slots(i) {
            let k = admittance.pattern.indices()[slot];
            let (p, q, v) = (solved.p[i], solved.q[i], &solved.v);
            let derivatives = if k == i {
                let (g, b) = (admittance.g[slot] * v[i] * v[i], admittance.b[slot] * v[i] * v[i]);
                [[-q - b, p + g], [p - g, q - b]]
            } else {
                let (active, reactive) = admittance.term(slot, rotors[i], rotors[k]);
                let (active, reactive) = (v[i] * v[k] * active, v[i] * v[k] * reactive);
                [[reactive, active], [-active, reactive]]
            };
            for (row, derivatives) in own.iter().zip(derivatives) {
                for (column, derivative) in unknowns[k].iter().zip(derivatives) {
                    if *row != NONE && *column != NONE {
                        places.push((*row, *column));
                        entries.push(derivative);
                    }
                }
            }
        }
    }
    let (pattern, slots) = Pattern::from_places(count, count, &places);
    let mut values = vec![0.0; pattern.len()];
    slots.iter().zip(entries).for_each(|(slot, value)| values[*slot] = value);
    (pattern, values)
}
