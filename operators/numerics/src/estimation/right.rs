//! What measurements read at a state, and the right side of a step there: h and Hᵀ W r, without H.
//!
//! The powers at both sides of a branch follow from two products of its voltages, `c = V V' cos(θ - θ')` and `s = V V' sin(θ - θ')`,
//! and injections are their sums. So the pull of a measured injection acts on the powers of its branches as the pull of
//! a measured flow does, and the derivative of all that is measured around a branch is taken once, by c and s.

use super::model::Point;
use super::system::{CONSTRAINT_SCALE, Given, System, residual};
use crate::admittance::End;
use crate::case::{AtBus, AtEnd, Place};
use crate::sparse::WIDTH;

/// `V V' cos(θ - θ')` and `V V' sin(θ - θ')`.
#[inline(always)]
fn products(at: &Point, [from, to]: [usize; 2]) -> (f64, f64) {
    let ([re, im], [re_to, im_to]) = (at.phasors[from], at.phasors[to]);
    (re * re_to + im * im_to, im * re_to - re * im_to)
}

/// Squares of both magnitudes.
#[inline(always)]
fn squares(at: &Point, [from, to]: [usize; 2]) -> [f64; 2] {
    [at.v[from] * at.v[from], at.v[to] * at.v[to]]
}

/// Active and reactive power leaving both sides.
#[inline(always)]
fn powers([from, to]: &[End; 2], (c, s): (f64, f64), squares: [f64; 2]) -> [[f64; 2]; 2] {
    [
        [from.g_own * squares[0] + (from.g_other * c + from.b_other * s), (from.g_other * s - from.b_other * c) - from.b_own * squares[0]],
        [to.g_own * squares[1] + (to.g_other * c - to.b_other * s), -(to.g_other * s + to.b_other * c) - to.b_own * squares[1]],
    ]
}

/// Where the measurements of a state go: what they read, and the right side as far as it comes by angle and magnitude.
struct Taken<'a> {
    estimated: &'a mut [f64],
    right: &'a mut [f64],
}

impl System {
    /// Takes h and the right side at a state; `multipliers` are those of P and Q by idle bus.
    pub(super) fn take_right(&mut self, given: &Given, at: &Point, multipliers: &[[f64; 2]]) {
        let Given { model, sites, values, free, .. } = *given;
        let n = model.buses();
        self.right.clear();
        self.right.resize(WIDTH * n, 0.0);
        self.estimated.resize(values.len(), 0.0);
        self.injections.clear();
        // By angle and by logarithm of the magnitude, as far as it comes from powers.
        self.by_polar.clear();
        let Self { estimated, right, injections, by_polar, .. } = self;
        take_injections(given, at, injections);
        let mut taken = Taken { estimated, right };
        // What was injected becomes its pull.
        for (bus, injection) in injections.iter_mut().enumerate() {
            by_polar.push(pull_bus(given, at, multipliers[bus], bus, injection, &mut taken));
        }
        let (pulls, by_polar) = (&injections[..], &mut by_polar[..]);
        for (branch, (ends, buses)) in model.branches.iter().enumerate() {
            let products = products(at, *buses);
            let squares = squares(at, *buses);
            let (mut pull, mut pull_to) = (pulls[buses[0]], pulls[buses[1]]);
            let (indices, indices_to) = (sites.at_end(branch, 0), sites.at_end(branch, 1));
            if !(indices.is_empty() && indices_to.is_empty()) {
                let powers = powers(ends, products, squares);
                pull_end(given, at, (branch, 0), indices, powers[0], &mut pull, &mut taken);
                pull_end(given, at, (branch, 1), indices_to, powers[1], &mut pull_to, &mut taken);
            }
            // Derivatives of Σ pull · power by c, s and the squares; from there by angles and logarithms of magnitudes.
            let ([from, to], [p, q], [p_to, q_to], (c, s)) = (ends, pull, pull_to, products);
            let by_c = (p * from.g_other - q * from.b_other) + (p_to * to.g_other - q_to * to.b_other);
            let by_s = (p * from.b_other + q * from.g_other) - (p_to * to.b_other + q_to * to.g_other);
            let (by_angle, by_magnitude) = (by_s * c - by_c * s, by_c * c + by_s * s);
            let own = &mut by_polar[buses[0]];
            own[0] += by_angle;
            own[1] += by_magnitude + 2.0 * squares[0] * (p * from.g_own - q * from.b_own);
            let other = &mut by_polar[buses[1]];
            other[0] -= by_angle;
            other[1] += by_magnitude + 2.0 * squares[1] * (p_to * to.g_own - q_to * to.b_own);
        }
        for (bus, (right, by)) in taken.right.chunks_exact_mut(WIDTH).zip(by_polar).enumerate() {
            right[0] = free[2 * bus] * (right[0] + by[0]);
            right[1] = free[2 * bus + 1] * (right[1] + by[1] / at.v[bus]);
        }
    }
}

/// Active and reactive injection of each bus: what its shunt and the sides of its branches take.
fn take_injections(given: &Given, at: &Point, injections: &mut Vec<[f64; 2]>) {
    let model = given.model;
    injections.extend(model.shunts.iter().zip(&at.v).map(|([g, b], v)| [g * v * v, -b * v * v]));
    let injections = &mut injections[..];
    for (ends, buses) in &model.branches {
        let [from, to] = powers(ends, products(at, *buses), squares(at, *buses));
        let own = &mut injections[buses[0]];
        *own = [own[0] + from[0], own[1] + from[1]];
        let other = &mut injections[buses[1]];
        *other = [other[0] + to[0], other[1] + to[1]];
    }
}

/// What the measurements at a bus read, and how they pull: `injection` becomes the pull at what is injected. Gives the derivative
/// of its shunt's part.
#[inline(always)]
fn pull_bus(given: &Given, at: &Point, multipliers: [f64; 2], bus: usize, injection: &mut [f64; 2], taken: &mut Taken) -> [f64; 2] {
    let Given { model, sites, values, weights, idle, .. } = *given;
    let mut pull = [0.0; 2];
    for &(index, quantity) in sites.at_bus(bus) {
        let index = index as usize;
        let (value, weight) = (values[index], weights[index]);
        let estimated = match quantity {
            AtBus::Magnitude => at.v[bus],
            AtBus::Angle => at.va[bus],
            AtBus::Active => injection[0],
            AtBus::Reactive => injection[1],
        };
        taken.estimated[index] = estimated;
        match quantity {
            AtBus::Angle => taken.right[WIDTH * bus] += weight * residual(Place::Bus(bus, quantity), value, estimated),
            AtBus::Magnitude => taken.right[WIDTH * bus + 1] += weight * (value - estimated),
            AtBus::Active => pull[0] += weight * (value - estimated),
            AtBus::Reactive => pull[1] += weight * (value - estimated),
        }
    }
    if idle[bus] {
        for which in 0..2 {
            pull[which] = -multipliers[which];
            taken.right[WIDTH * bus + 2 + which] = -injection[which] / CONSTRAINT_SCALE;
        }
    }
    *injection = pull;
    let ([g, b], v) = (model.shunts[bus], at.v[bus]);
    [0.0, 2.0 * v * v * (g * pull[0] - b * pull[1])]
}

/// What the measurements at a side of a branch read, and how they pull at its power; those of its current at its voltages.
#[inline(always)]
fn pull_end(
    given: &Given,
    at: &Point,
    (branch, side): (usize, usize),
    indices: &[(u32, AtEnd)],
    power: [f64; 2],
    pull: &mut [f64; 2],
    taken: &mut Taken,
) {
    let Given { model, values, weights, .. } = *given;
    for &(index, quantity) in indices {
        let index = index as usize;
        let (value, weight) = (values[index], weights[index]);
        match quantity {
            AtEnd::Active => {
                taken.estimated[index] = power[0];
                pull[0] += weight * (value - power[0]);
            }
            AtEnd::Reactive => {
                taken.estimated[index] = power[1];
                pull[1] += weight * (value - power[1]);
            }
            _ => {
                let (estimated, by) = model.at_end(branch, side, quantity, at);
                taken.estimated[index] = estimated;
                let weighted = weight * (value - estimated);
                let buses = model.branches[branch].1;
                for (bus, by) in [(buses[side], [by[0], by[1]]), (buses[1 - side], [by[2], by[3]])] {
                    taken.right[WIDTH * bus] += by[0] * weighted;
                    taken.right[WIDTH * bus + 1] += by[1] * weighted;
                }
            }
        }
    }
}
