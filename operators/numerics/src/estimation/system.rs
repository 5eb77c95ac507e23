//! The linear system of a Gauss-Newton step, by bus: unknowns Δθ, ΔV and a multiplier for each injection.
//!
//! With gain G of what is measured at buses and branches, the rows A of the injections and their variances R the step solves
//!
//! ```text
//! ⎡ G   Aᵀ ⎤ ⎡ Δx ⎤   ⎡ Hᵀ W r - Aᵀ μ ⎤
//! ⎣ A  -R  ⎦ ⎣ Δμ ⎦ = ⎣ z - h + R μ   ⎦
//! ```
//!
//! (Hachtel's augmented form, for injections only). An injection known exactly has R = 0: it is a constraint, not a high weight.
//! A measured one has μ = -(z - h)/R, so its right side is zero. Unlike HᵀWH, which joins the neighbours of a neighbour, this
//! matrix has the pattern of the admittance matrix. Rows of injections are scaled by their standard deviation.

use super::gathered::Gathered;
use super::model::{Model, Point, Term};
use crate::case::{AtBus, AtEnd, MeasurementKind, Place};
use crate::sparse::{Block4, WIDTH, ZERO};
use std::f64::consts::PI;

/// Scale of a constraint's row, per unit: about the standard deviation of a good meter.
pub(super) const CONSTRAINT_SCALE: f64 = 1e-3;

/// What is measured where: measurements by bus and by side of a branch, in their order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sites {
    kinds: Vec<Place>,
    bus_starts: Vec<usize>,
    at_bus: Vec<(u32, AtBus)>,
    /// By 2 × branch + side.
    end_starts: Vec<usize>,
    at_end: Vec<(u32, AtEnd)>,
}

impl Sites {
    pub(super) fn new(model: &Model, kinds: &[MeasurementKind]) -> Self {
        let kinds = Vec::from_iter(kinds.iter().map(|kind| kind.place()));
        let (bus_starts, at_bus) = sorted(model.buses(), &kinds, |place| match place {
            Place::Bus(bus, quantity) => Some((bus, quantity)),
            Place::End(..) => None,
        });
        let (end_starts, at_end) = sorted(2 * model.branches.len(), &kinds, |place| match place {
            Place::End(branch, side, quantity) => Some((2 * branch + side, quantity)),
            Place::Bus(..) => None,
        });
        Self { kinds, bus_starts, at_bus, end_starts, at_end }
    }

    /// What a measurement is of.
    pub(super) fn place(&self, index: usize) -> Place {
        self.kinds[index]
    }

    #[inline]
    pub(super) fn at_bus(&self, bus: usize) -> &[(u32, AtBus)] {
        &self.at_bus[self.bus_starts[bus]..self.bus_starts[bus + 1]]
    }

    #[inline]
    pub(super) fn at_end(&self, branch: usize, side: usize) -> &[(u32, AtEnd)] {
        let end = 2 * branch + side;
        &self.at_end[self.end_starts[end]..self.end_starts[end + 1]]
    }
}

/// Indices of measurements with their quantity, by place and in their order, and where those of each place begin.
fn sorted<T: Copy>(places: usize, kinds: &[Place], of: impl Fn(Place) -> Option<(usize, T)>) -> (Vec<usize>, Vec<(u32, T)>) {
    let mut found =
        Vec::from_iter((0u32..).zip(kinds).filter_map(|(index, kind)| of(*kind).map(|(place, quantity)| (place, index, quantity))));
    found.sort_by_key(|(place, ..)| *place);
    let mut starts = vec![0; places + 1];
    found.iter().for_each(|(place, ..)| starts[place + 1] += 1);
    for place in 0..places {
        starts[place + 1] += starts[place];
    }
    (starts, found.into_iter().map(|(_, index, quantity)| (index, quantity)).collect())
}

/// What a system is made of besides the state.
pub(super) struct Given<'a> {
    pub(super) model: &'a Model,
    pub(super) sites: &'a Sites,
    /// By measurement; weights are inverse variances, 0 for what takes no part.
    pub(super) values: &'a [f64],
    pub(super) weights: &'a [f64],
    /// By state: 1 where it is estimated, 0 where it is held.
    pub(super) free: &'a [f64],
    /// By bus: whether it injects exactly nothing.
    pub(super) idle: &'a [bool],
}

/// The system at a state; buffers are used again.
#[derive(Clone, Debug, Default)]
pub(super) struct System {
    /// h of each measurement where it was last asked for.
    pub(super) estimated: Vec<f64>,
    /// By slot of `Model::pairs`; only when it was asked for.
    pub(super) blocks: Vec<Block4>,
    /// [`WIDTH`] values per bus.
    pub(super) right: Vec<f64>,
    /// Scale of the row of each injection, P and Q by bus, of the last matrix; 0 where there is none.
    pub(super) scales: Vec<[f64; 2]>,
    jacobian: Vec<[f64; 4]>,
    /// What right sides are of.
    pub(super) gathered: Gathered,
    /// While a right side is taken the injections, then their pulls.
    pub(super) injections: Vec<[f64; 2]>,
    pub(super) by_polar: Vec<[f64; 2]>,
}

/// Measured less estimated; of an angle the shortest way round.
pub(super) fn residual(place: Place, value: f64, estimated: f64) -> f64 {
    let difference = value - estimated;
    match place {
        Place::Bus(_, AtBus::Angle) => wrapped(difference),
        _ => difference,
    }
}

/// The shortest way round of a difference of angles.
pub(super) fn wrapped(difference: f64) -> f64 {
    difference - 2.0 * PI * (difference / (2.0 * PI)).round_ties_even()
}

impl System {
    /// Sums of weighted residuals of P and Q injected, by bus, at the last right side; of an idle bus its negative multipliers.
    pub(super) fn pulls(&self) -> &[[f64; 2]] {
        &self.injections
    }

    /// Takes what is measured, h and the right side at a state; `multipliers` are those of P and Q by idle bus.
    pub(super) fn take(&mut self, given: &Given, at: &Point, multipliers: &[[f64; 2]]) {
        self.read(given, at);
        self.gathered.take(given);
        self.take_right(given, at, multipliers);
    }

    /// Takes the matrix at a state.
    pub(super) fn take_blocks(&mut self, given: &Given, at: &Point) {
        let Given { model, sites, .. } = given;
        let n = model.buses();
        self.scales.clear();
        self.scales.resize(n, [0.0; 2]);
        self.blocks.clear();
        self.blocks.resize(model.pairs.len(), ZERO);
        for bus in 0..n {
            self.take_bus(given, at, bus);
        }
        for branch in 0..model.branches.len() {
            for side in 0..2 {
                let indices = sites.at_end(branch, side);
                if !indices.is_empty() {
                    self.take_end(given, at, (branch, side), indices);
                }
            }
        }
        for (state, _) in given.free.iter().enumerate().filter(|(_, free)| **free == 0.0) {
            self.blocks[model.of_bus[state / 2]][(WIDTH + 1) * (state % 2)] = 1.0;
        }
    }

    fn take_bus(&mut self, given: &Given, at: &Point, bus: usize) {
        let Given { model, sites, weights, free, idle, .. } = *given;
        let own = model.of_bus[bus];
        // Sums of weights of P and of Q.
        let mut weight = [0.0; 2];
        for &(index, quantity) in sites.at_bus(bus) {
            let measured = weights[index as usize];
            let which = usize::from(matches!(quantity, AtBus::Magnitude | AtBus::Reactive));
            match quantity {
                AtBus::Active | AtBus::Reactive => weight[which] += measured,
                AtBus::Angle | AtBus::Magnitude => self.blocks[own][(WIDTH + 1) * which] += free[2 * bus + which] * measured,
            }
        }
        let mut inverse_scale = [0.0; 2];
        for which in 0..2 {
            let mut variance = 1.0;
            if idle[bus] {
                self.scales[bus][which] = CONSTRAINT_SCALE;
                variance = 0.0;
            } else if weight[which] > 0.0 {
                self.scales[bus][which] = 1.0 / weight[which].sqrt();
            }
            if self.scales[bus][which] > 0.0 {
                inverse_scale[which] = 1.0 / self.scales[bus][which];
            }
            self.blocks[own][(WIDTH + 1) * (2 + which)] = -variance;
        }
        if inverse_scale == [0.0; 2] {
            return;
        }
        let row = model.admittance.pattern.slots(bus);
        self.jacobian.resize(row.len(), [0.0; 4]);
        model.injection(bus, at, &mut self.jacobian);
        for (slot, by) in row.zip(&self.jacobian) {
            let k = model.admittance.pattern.indices()[slot];
            let block = &mut self.blocks[model.of_admittance[slot]];
            for which in 0..2 {
                for state in 0..2 {
                    let value = by[2 * which + state] * inverse_scale[which] * free[2 * k + state];
                    // Row of the multiplier where this bus is the block's row, column where it is its column.
                    if bus <= k {
                        block[WIDTH * (2 + which) + state] = value;
                    }
                    if bus >= k {
                        block[WIDTH * state + 2 + which] = value;
                    }
                }
            }
        }
    }

    fn take_end(&mut self, given: &Given, at: &Point, (branch, side): (usize, usize), indices: &[(u32, AtEnd)]) {
        let Given { model, weights, free, .. } = *given;
        let buses = model.branches[branch].1;
        let (own, other) = (buses[side], buses[1 - side]);
        let free = [free[2 * own], free[2 * own + 1], free[2 * other], free[2 * other + 1]];
        let mut power: Option<[Term; 2]> = None;
        let mut gain = [[0.0; 4]; 4];
        for &(index, quantity) in indices {
            let weight = weights[index as usize];
            if weight == 0.0 {
                continue;
            }
            let (_, mut by) = match quantity {
                AtEnd::Active => power.get_or_insert_with(|| model.power(branch, side, at))[0],
                AtEnd::Reactive => power.get_or_insert_with(|| model.power(branch, side, at))[1],
                _ => model.at_end(branch, side, quantity, at),
            };
            by.iter_mut().zip(&free).for_each(|(by, free)| *by *= free);
            for a in 0..4 {
                let scaled = weight * by[a];
                for b in 0..4 {
                    gain[a][b] += scaled * by[b];
                }
            }
        }
        for a in 0..2 {
            for b in 0..2 {
                self.blocks[model.of_bus[own]][WIDTH * a + b] += gain[a][b];
                self.blocks[model.of_bus[other]][WIDTH * a + b] += gain[2 + a][2 + b];
                // The lower bus is the block's row.
                let value = if own < other { gain[a][2 + b] } else { gain[2 + a][b] };
                self.blocks[model.of_branch[branch]][WIDTH * a + b] += value;
            }
        }
    }
}
