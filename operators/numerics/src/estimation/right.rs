//! What measurements read at a state, and the right side of a step there: h and Hᵀ W r, without H.
//!
//! The powers at both sides of a branch follow from two products of its voltages, `c = V V' cos(θ - θ')` and `s = V V' sin(θ - θ')`,
//! and injections are their sums. So the pull of a measured injection acts on the powers of its branches as the pull of
//! a measured flow does, and the derivative of all that is measured around a branch is taken once, by c and s. Values and weights are
//! [`Gathered`] by place once a scan, so that a step goes through buses and branches in their order and looks nothing up.

use super::gathered::Gathered;
use super::model::Point;
use super::system::{CONSTRAINT_SCALE, Given, System, wrapped};
use crate::admittance::End;
use crate::case::{AtBus, AtEnd};
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

impl System {
    /// Takes what each measurement reads at a state.
    pub(super) fn read(&mut self, given: &Given, at: &Point) {
        let Given { model, sites, .. } = *given;
        self.estimated.resize(given.values.len(), 0.0);
        self.take_injections(given, at);
        let Self { estimated, injections, .. } = self;
        for (bus, [p, q]) in injections.iter().enumerate() {
            for &(index, quantity) in sites.at_bus(bus) {
                estimated[index as usize] = match quantity {
                    AtBus::Magnitude => at.v[bus],
                    AtBus::Angle => at.va[bus],
                    AtBus::Active => *p,
                    AtBus::Reactive => *q,
                };
            }
        }
        for (branch, (ends, buses)) in model.branches.iter().enumerate() {
            let powers = powers(ends, products(at, *buses), squares(at, *buses));
            for (side, [p, q]) in powers.into_iter().enumerate() {
                for &(index, quantity) in sites.at_end(branch, side) {
                    estimated[index as usize] = match quantity {
                        AtEnd::Active => p,
                        AtEnd::Reactive => q,
                        _ => model.at_end(branch, side, quantity, at).0,
                    };
                }
            }
        }
    }

    /// Derivatives of what each measurement reads, along a direction: one value per state.
    pub(super) fn slopes(given: &Given, at: &Point, along: &[f64]) -> Vec<f64> {
        let Given { model, sites, .. } = *given;
        let mut slopes = vec![0.0; given.values.len()];
        let squared = |bus: usize| 2.0 * at.v[bus] * along[2 * bus + 1];
        let by_shunt = |(bus, [g, b]): (usize, &[f64; 2])| [g * squared(bus), -b * squared(bus)];
        let mut injections = Vec::from_iter(model.shunts.iter().enumerate().map(by_shunt));
        for (branch, (ends, buses)) in model.branches.iter().enumerate() {
            let ([from, to], (c, s)) = (*buses, products(at, *buses));
            let turned = along[2 * from] - along[2 * to];
            let stretched = along[2 * from + 1] / at.v[from] + along[2 * to + 1] / at.v[to];
            let powers = powers(ends, (c * stretched - s * turned, s * stretched + c * turned), [squared(from), squared(to)]);
            for (side, [p, q]) in powers.into_iter().enumerate() {
                let (own, other) = (buses[side], buses[1 - side]);
                injections[own] = [injections[own][0] + p, injections[own][1] + q];
                for &(index, quantity) in sites.at_end(branch, side) {
                    slopes[index as usize] = match quantity {
                        AtEnd::Active => p,
                        AtEnd::Reactive => q,
                        _ => {
                            let (_, by) = model.at_end(branch, side, quantity, at);
                            let along = [along[2 * own], along[2 * own + 1], along[2 * other], along[2 * other + 1]];
                            by.iter().zip(along).map(|(by, along)| by * along).sum()
                        }
                    };
                }
            }
        }
        for (bus, [p, q]) in injections.into_iter().enumerate() {
            for &(index, quantity) in sites.at_bus(bus) {
                slopes[index as usize] = match quantity {
                    AtBus::Magnitude => along[2 * bus + 1],
                    AtBus::Angle => along[2 * bus],
                    AtBus::Active => p,
                    AtBus::Reactive => q,
                };
            }
        }
        slopes
    }

    /// Takes the right side at a state for what was gathered; `multipliers` are those of P and Q by idle bus.
    pub(super) fn take_right(&mut self, given: &Given, at: &Point, multipliers: &[[f64; 2]]) {
        let Given { model, free, .. } = *given;
        self.take_injections(given, at);
        self.right.resize(WIDTH * model.buses(), 0.0);
        // By angle and by logarithm of the magnitude, as far as it comes from powers.
        self.by_polar.clear();
        let Self { right, injections, by_polar, gathered, .. } = self;
        let Gathered { buses, ends, currents } = gathered;
        // What was injected becomes its pull.
        for (bus, (injection, right)) in injections.iter_mut().zip(right.chunks_exact_mut(WIDTH)).enumerate() {
            let [p, q, angle, magnitude] = &buses[bus];
            let taken = *injection;
            *injection = [p.pull(taken[0]), q.pull(taken[1])];
            right[0] = if angle.weight == 0.0 { 0.0 } else { angle.weight * wrapped(angle.value - at.va[bus]) };
            (right[1], right[2], right[3]) = (magnitude.pull(at.v[bus]), 0.0, 0.0);
            if given.idle[bus] {
                *injection = multipliers[bus].map(|multiplier| -multiplier);
                (right[2], right[3]) = (-taken[0] / CONSTRAINT_SCALE, -taken[1] / CONSTRAINT_SCALE);
            }
            let ([g, b], v) = (model.shunts[bus], at.v[bus]);
            by_polar.push([0.0, 2.0 * v * v * (g * injection[0] - b * injection[1])]);
        }
        let (pulls, by_polar) = (&injections[..], &mut by_polar[..]);
        for ((ends, buses), measured) in model.branches.iter().zip(&ends[..]) {
            let products = products(at, *buses);
            let squares = squares(at, *buses);
            let [flow, flow_to] = powers(ends, products, squares);
            let (pull, pull_to) = (pulls[buses[0]], pulls[buses[1]]);
            let (p, q) = (pull[0] + measured[0].pull(flow[0]), pull[1] + measured[1].pull(flow[1]));
            let (p_to, q_to) = (pull_to[0] + measured[2].pull(flow_to[0]), pull_to[1] + measured[3].pull(flow_to[1]));
            // Derivatives of Σ pull · power by c, s and the squares; from there by angles and logarithms of magnitudes.
            let ([from, to], (c, s)) = (ends, products);
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
        // Currents pull at their voltages.
        for &(branch, side, quantity, measured) in &*currents {
            let (estimated, by) = model.at_end(branch, side, quantity, at);
            let pull = measured.pull(estimated);
            let buses = model.branches[branch].1;
            for (bus, by) in [(buses[side], [by[0], by[1]]), (buses[1 - side], [by[2], by[3]])] {
                right[WIDTH * bus] += by[0] * pull;
                right[WIDTH * bus + 1] += by[1] * pull;
            }
        }
        for (bus, (right, by)) in right.chunks_exact_mut(WIDTH).zip(by_polar).enumerate() {
            right[0] = free[2 * bus] * (right[0] + by[0]);
            right[1] = free[2 * bus + 1] * (right[1] + by[1] / at.v[bus]);
        }
    }

    /// Active and reactive injection of each bus: what its shunt and the sides of its branches take.
    fn take_injections(&mut self, given: &Given, at: &Point) {
        let (model, injections) = (given.model, &mut self.injections);
        injections.clear();
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
}
