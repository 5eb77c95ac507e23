//! Values and weights by place, in the order in which a step goes through them.

use super::system::{Given, wrapped};
use crate::case::{AtBus, AtEnd};

/// What the meters of a quantity at a place say together: their weighted mean, and the sum of their weights.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Measured {
    pub(super) value: f64,
    pub(super) weight: f64,
}

impl Measured {
    /// With one more meter, `beyond` the value so far.
    #[inline]
    fn add(&mut self, value: f64, weight: f64, beyond: f64) {
        if weight == 0.0 {
            return;
        }
        if self.weight == 0.0 {
            *self = Self { value, weight };
        } else {
            self.weight += weight;
            self.value += beyond * (weight / self.weight);
        }
    }

    /// The weighted residual.
    #[inline(always)]
    pub(super) fn pull(&self, estimated: f64) -> f64 {
        self.weight * (self.value - estimated)
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Gathered {
    /// By bus: active and reactive injection, angle, magnitude.
    pub(super) buses: Vec<[Measured; 4]>,
    /// By branch: active and reactive power at the `from` side, then at the `to` side.
    pub(super) ends: Vec<[Measured; 4]>,
    /// Currents: branch, side, which.
    pub(super) currents: Vec<(usize, usize, AtEnd, Measured)>,
}

impl Gathered {
    /// Gathers what is measured anew.
    pub(super) fn take(&mut self, given: &Given) {
        let Given { model, sites, values, weights, .. } = *given;
        self.buses.clear();
        self.ends.clear();
        self.currents.clear();
        for bus in 0..model.buses() {
            let mut here = [Measured::default(); 4];
            for &(index, quantity) in sites.at_bus(bus) {
                let (value, weight) = (values[index as usize], weights[index as usize]);
                let one = &mut here[match quantity {
                    AtBus::Active => 0,
                    AtBus::Reactive => 1,
                    AtBus::Angle => 2,
                    AtBus::Magnitude => 3,
                }];
                let beyond = value - one.value;
                one.add(value, weight, if quantity == AtBus::Angle { wrapped(beyond) } else { beyond });
            }
            self.buses.push(here);
        }
        for branch in 0..model.branches.len() {
            let mut here = [Measured::default(); 4];
            for side in 0..2 {
                for &(index, quantity) in sites.at_end(branch, side) {
                    let (value, weight) = (values[index as usize], weights[index as usize]);
                    let which = match quantity {
                        AtEnd::Active => 0,
                        AtEnd::Reactive => 1,
                        _ => {
                            self.currents.push((branch, side, quantity, Measured { value, weight }));
                            continue;
                        }
                    };
                    let one = &mut here[2 * side + which];
                    one.add(value, weight, value - one.value);
                }
            }
            self.ends.push(here);
        }
    }
}
