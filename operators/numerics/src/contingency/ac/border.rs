//! A bus that holds its magnitude no more, because its last unit failed: one unknown and one equation beside those of the base case.
//!
//! With the column c of what its magnitude u does to the base case's equations, the row r of what their unknowns do to its reactive
//! injection, and d of u to that: `u = (s - r J⁻¹ y) / (d - r J⁻¹ c)` and `x = J⁻¹ (y - c u)`, s being what its equation leaves open.
//! All of it lies on the ways from the bus's neighbours to the roots of the elimination tree.

use super::base::{Base, NONE};
use crate::sparse::Lanes;

/// What is left of the diagonal below which the border would be rounding.
const SINGULAR: f64 = 1e-7;
/// Entries that have a path at once.
const HEADS: usize = 8;

pub(super) struct Border {
    pub(super) bus: usize,
    path: Vec<usize>,
    /// L⁻¹ c along the path.
    column: Vec<f64>,
    /// r: places and derivatives.
    row: Vec<(usize, f64)>,
    inverse: f64,
}

impl Border {
    /// For a bus whose angle is an unknown and whose magnitude is none; nothing when what is left is singular. `vector` is zero, and again
    /// so at the end.
    pub(super) fn new(base: &Base, bus: usize, vector: &mut [f64]) -> Option<Self> {
        let (pattern, voltage) = (&base.admittance.pattern, |bus: usize| (base.e[bus], base.f[bus]));
        let (e, f) = voltage(bus);
        let (mut row, mut column, mut diagonal) = (Vec::new(), Vec::new(), 0.0);
        // Active and reactive part of a product of voltages through an admittance.
        let through = |slot: usize, re: f64, im: f64| {
            let (g, b) = (base.admittance.g[slot], base.admittance.b[slot]);
            (g * re + b * im, g * im - b * re)
        };
        let (mut p, mut q) = (0.0, 0.0);
        for slot in pattern.slots(bus) {
            let other = pattern.indices()[slot];
            let (oe, of) = voltage(other);
            let (active, reactive) = through(slot, e * oe + f * of, f * oe - e * of);
            (p, q) = (p + active, q + reactive);
            if other != bus {
                let [angle, magnitude] = base.unknowns[other];
                row.extend([(angle, -active), (magnitude, reactive)]);
                let (active, reactive) = through(pattern.find(bus, other)?, oe * e + of * f, of * e - oe * f);
                column.extend([(angle, active), (magnitude, reactive)]);
            }
        }
        let (own, angle) = (pattern.find(bus, bus)?, base.unknowns[bus][0]);
        let (active, reactive) = through(own, e * e + f * f, 0.0);
        row.push((angle, p - active));
        column.push((angle, p + active));
        diagonal += q + reactive;
        row.retain(|(place, _)| *place != NONE);
        column.retain(|(place, _)| *place != NONE);
        let path = path(base, &row);
        column.iter().for_each(|(place, value)| vector[*place] = *value);
        base.factor.forward_on(&path, vector);
        let column = Vec::from_iter(path.iter().map(|place| vector[*place]));
        base.factor.backward_on(&path, vector);
        let left = diagonal - row.iter().map(|(place, value)| value * vector[*place]).sum::<f64>();
        path.iter().for_each(|place| vector[*place] = 0.0);
        let regular = left.is_finite() && left.abs() > SINGULAR * diagonal.abs();
        regular.then(|| Self { bus, path, column, row, inverse: 1.0 / left })
    }

    /// What its equation leaves open in a lane.
    pub(super) fn left(&self, base: &Base, e: &[Lanes], f: &[Lanes], lane: usize) -> f64 {
        let (mut re, mut im) = (0.0, 0.0);
        for slot in base.admittance.pattern.slots(self.bus) {
            let other = base.admittance.pattern.indices()[slot];
            let (g, b) = (base.admittance.g[slot], base.admittance.b[slot]);
            re += g * e[other].0[lane] - b * f[other].0[lane];
            im += g * f[other].0[lane] + b * e[other].0[lane];
        }
        base.q[self.bus] - (f[self.bus].0[lane] * re - e[self.bus].0[lane] * im)
    }

    /// The relative change of the magnitude for what its equation leaves open; takes its part from `L⁻¹` of a right-hand side.
    pub(super) fn apply(&self, base: &Base, vector: &mut [f64], lane: usize, y: &mut [Lanes], left: f64) -> f64 {
        self.path.iter().for_each(|place| vector[*place] = y[*place].0[lane]);
        base.factor.backward_on(&self.path, vector);
        let known: f64 = self.row.iter().map(|(place, value)| value * vector[*place]).sum();
        self.path.iter().for_each(|place| vector[*place] = 0.0);
        let change = (left - known) * self.inverse;
        self.path.iter().zip(&self.column).for_each(|(place, value)| y[*place].0[lane] -= change * value);
        change
    }
}

/// The ways from places to the roots of the elimination tree, ascending.
fn path(base: &Base, places: &[(usize, f64)]) -> Vec<usize> {
    let (mut all, mut some) = (Vec::new(), Vec::new());
    for places in places.chunks(HEADS) {
        base.factor.path(&Vec::from_iter(places.iter().map(|(place, _)| *place)), &mut some);
        all.extend_from_slice(&some);
    }
    all.sort_unstable();
    all.dedup();
    all
}
