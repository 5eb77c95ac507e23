//! Newton's method on the polar power-flow equations, with a sparse Jacobian.
//!
//! Unknowns: angles of all but reference buses, relative magnitudes of load buses, in the same order as their equations, so
//! that the Jacobian's pattern is symmetric. A distributed slack adds one unknown and one equation (the reference
//! bus's active balance) per component; they are eliminated as a border, which leaves pattern and factor untouched.

use super::schedule::{Role, Schedule};
use super::{Options, PowerFlowError};
use crate::admittance::Admittance;
use crate::case::Case;
use crate::sparse::{Lu, Pattern};

const NONE: usize = usize::MAX;

/// The symbolic part of earlier solves. May change the speed of a solve, never a bit of it.
#[derive(Clone, Debug, Default)]
pub struct Cache(Option<Structure>);

impl Cache {
    /// An empty cache.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// What depends on the pattern of the network and the roles of its buses alone.
#[derive(Clone, Debug)]
struct Structure {
    network: Pattern,
    roles: Vec<Role>,
    /// Unknown (and equation) of each bus's angle and magnitude, or none.
    angle: Vec<usize>,
    magnitude: Vec<usize>,
    unknowns: usize,
    /// Jacobian slots of each entry of the admittance matrix: ∂P/∂θ, ∂P/∂V, ∂Q/∂θ, ∂Q/∂V, or none.
    slots: Vec<[usize; 4]>,
    values: usize,
    lu: Lu,
}

impl Structure {
    fn new(network: &Pattern, roles: &[Role]) -> Self {
        let (mut angle, mut magnitude) = (vec![NONE; roles.len()], vec![NONE; roles.len()]);
        let mut unknowns = 0;
        for (bus, role) in roles.iter().enumerate() {
            if *role != Role::Reference {
                angle[bus] = unknowns;
                unknowns += 1;
            }
            if *role == Role::Load {
                magnitude[bus] = unknowns;
                unknowns += 1;
            }
        }
        let mut places = Vec::new();
        let mut slots = vec![[NONE; 4]; network.len()];
        for i in 0..roles.len() {
            for slot in network.slots(i) {
                let k = network.indices()[slot];
                let four = [(angle[i], angle[k]), (angle[i], magnitude[k]), (magnitude[i], angle[k]), (magnitude[i], magnitude[k])];
                for (part, (row, column)) in four.into_iter().enumerate() {
                    if row != NONE && column != NONE {
                        slots[slot][part] = places.len();
                        places.push((row, column));
                    }
                }
            }
        }
        let (jacobian, slot_of) = Pattern::from_places(unknowns, unknowns, &places);
        for place in slots.iter_mut().flatten().filter(|place| **place != NONE) {
            *place = slot_of[*place];
        }
        let lu = Lu::analyze(&jacobian);
        Self { network: network.clone(), roles: roles.to_vec(), angle, magnitude, unknowns, slots, values: jacobian.len(), lu }
    }

    /// Fills the Jacobian, of injections `p` and `q` at magnitudes `v` and rotors (sin, cos).
    fn jacobian(&self, admittance: &Admittance, v: &[f64], rotors: &[(f64, f64)], p: &[f64], q: &[f64]) -> Vec<f64> {
        let mut values = vec![0.0; self.values];
        for i in 0..v.len() {
            for slot in self.network.slots(i) {
                let k = self.network.indices()[slot];
                let derivatives = if k == i {
                    let (g, b) = (admittance.g[slot] * v[i] * v[i], admittance.b[slot] * v[i] * v[i]);
                    [-q[i] - b, p[i] + g, p[i] - g, q[i] - b]
                } else {
                    let (active, reactive) = admittance.term(slot, rotors[i], rotors[k]);
                    let (active, reactive) = (v[i] * v[k] * active, v[i] * v[k] * reactive);
                    [reactive, active, -active, reactive]
                };
                for (place, derivative) in self.slots[slot].iter().zip(derivatives) {
                    if *place != NONE {
                        values[*place] = derivative;
                    }
                }
            }
        }
        values
    }

    /// Change of the active injection of the reference bus `i` with a step of the unknowns.
    fn reference_row(&self, admittance: &Admittance, v: &[f64], rotors: &[(f64, f64)], i: usize, step: &[f64]) -> f64 {
        let mut change = 0.0;
        for slot in self.network.slots(i) {
            let k = self.network.indices()[slot];
            let (active, reactive) = admittance.term(slot, rotors[i], rotors[k]);
            if k != i && self.angle[k] != NONE {
                change += v[i] * v[k] * reactive * step[self.angle[k]];
            }
            if k != i && self.magnitude[k] != NONE {
                change += v[i] * v[k] * active * step[self.magnitude[k]];
            }
        }
        change
    }
}

/// What the iteration arrives at, besides the voltages.
pub(super) struct Solution {
    pub(super) p: Vec<f64>,
    pub(super) q: Vec<f64>,
    /// At each reference bus what its component adds to the schedule.
    pub(super) slack: Vec<f64>,
    pub(super) iterations: usize,
    pub(super) mismatch: f64,
}

/// Iterates from `v`, `va`, which receive the solution.
pub(super) fn solve(
    case: &Case,
    admittance: &Admittance,
    schedule: &Schedule,
    options: &Options,
    cache: &mut Cache,
    v: &mut [f64],
    va: &mut [f64],
) -> Result<Solution, PowerFlowError> {
    if !cache.0.as_ref().is_some_and(|kept| kept.network == admittance.pattern && kept.roles == schedule.roles) {
        cache.0 = Some(Structure::new(&admittance.pattern, &schedule.roles));
    }
    let structure = cache.0.as_mut().expect("it was just put there");
    // Pivots chosen for another solve's values must not show in this one.
    structure.lu.reset();
    let mut slack = vec![0.0; v.len()];
    let mut iterations = 0;
    loop {
        let (p, q) = admittance.injections(v, va);
        if !schedule.distributed {
            for &bus in &schedule.references {
                slack[bus] = p[bus] - schedule.p[bus];
            }
        }
        let active = |bus: usize| p[bus] - schedule.p[bus] - schedule.share[bus] * slack[schedule.reference[bus]];
        let reactive = |bus: usize| q[bus] - schedule.q[bus];
        let (mismatch, worst) = largest_mismatch(schedule, active, reactive);
        if mismatch <= options.tolerance {
            return Ok(Solution { p, q, slack, iterations, mismatch });
        }
        if iterations == options.max_iterations || !mismatch.is_finite() {
            return Err(PowerFlowError::Diverged { iterations, mismatch, bus: case.buses[worst].id });
        }
        let rotors = Vec::from_iter(va.iter().map(|angle| libm::sincos(*angle)));
        let jacobian = structure.jacobian(admittance, v, &rotors, &p, &q);
        if let Err(singular) = structure.lu.refactor(&jacobian) {
            let at = |bus: &usize| structure.angle[*bus] == singular.column || structure.magnitude[*bus] == singular.column;
            let bus = (0..v.len()).find(at).expect("every column belongs to a bus");
            return Err(PowerFlowError::Singular { iterations, bus: case.buses[bus].id });
        }
        let mut step = vec![0.0; structure.unknowns];
        for bus in 0..v.len() {
            if structure.angle[bus] != NONE {
                step[structure.angle[bus]] = -active(bus);
            }
            if structure.magnitude[bus] != NONE {
                step[structure.magnitude[bus]] = -reactive(bus);
            }
        }
        structure.lu.solve(&mut step);
        if schedule.distributed {
            // J step = -f + share λ and, at the reference, row · step = -f + share λ: one border per component.
            let mut border = vec![0.0; structure.unknowns];
            for bus in (0..v.len()).filter(|bus| structure.angle[*bus] != NONE) {
                border[structure.angle[bus]] = schedule.share[bus];
            }
            structure.lu.solve(&mut border);
            let mut change = vec![0.0; v.len()];
            for &bus in &schedule.references {
                let along = |step: &[f64]| structure.reference_row(admittance, v, &rotors, bus, step);
                change[bus] = (-active(bus) - along(&step)) / (along(&border) - schedule.share[bus]);
            }
            for bus in 0..v.len() {
                for unknown in [structure.angle[bus], structure.magnitude[bus]] {
                    if unknown != NONE {
                        step[unknown] += border[unknown] * change[schedule.reference[bus]];
                    }
                }
            }
            for &bus in &schedule.references {
                slack[bus] += change[bus];
            }
        }
        for bus in 0..v.len() {
            if structure.angle[bus] != NONE {
                va[bus] += step[structure.angle[bus]];
            }
            if structure.magnitude[bus] != NONE {
                v[bus] += v[bus] * step[structure.magnitude[bus]];
            }
        }
        iterations += 1;
    }
}

/// The largest mismatch and its bus, the lowest among equals; a value that is no number is the largest.
fn largest_mismatch(schedule: &Schedule, active: impl Fn(usize) -> f64, reactive: impl Fn(usize) -> f64) -> (f64, usize) {
    let mut largest = (0.0, 0);
    for (bus, role) in schedule.roles.iter().enumerate() {
        let reactive = if *role == Role::Load { reactive(bus).abs() } else { 0.0 };
        for value in [active(bus).abs(), reactive] {
            if value.is_nan() {
                return (value, bus);
            }
            if value > largest.0 {
                largest = (value, bus);
            }
        }
    }
    largest
}
