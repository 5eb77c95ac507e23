//! What a power flow breaks: ratings, voltage bands, reactive limits.

use super::PowerFlow;
use crate::admittance::BranchFlow;
use crate::case::{Case, CaseBranch};
use gridflow_inputs::ids::{BranchId, BusId, GeneratorId};

/// Excess that counts as rounding, per unit.
const ROUNDING: f64 = 1e-6;

/// What a limit belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// Normal rating of a branch, of its apparent power.
    Rating(BranchId),
    /// Least voltage of a bus.
    VoltageMin(BusId),
    /// Greatest voltage of a bus.
    VoltageMax(BusId),
    /// Least reactive output of a unit.
    ReactiveMin(GeneratorId),
    /// Greatest reactive output of a unit.
    ReactiveMax(GeneratorId),
    /// Greatest active output of a unit.
    ActiveMax(GeneratorId),
}

/// A limit that does not hold; per unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Violation {
    /// Which limit.
    pub limit: Limit,
    /// What it allows.
    pub allowed: f64,
    /// What there is.
    pub value: f64,
}

impl Violation {
    /// By how much the limit is broken, positive.
    #[must_use]
    pub fn excess(&self) -> f64 {
        (self.value - self.allowed).abs()
    }
}

/// The greater apparent power of the two sides of a branch.
#[must_use]
pub fn apparent_power(flow: &BranchFlow) -> f64 {
    let side = |p: f64, q: f64| (p * p + q * q).sqrt();
    side(flow.p_from, flow.q_from).max(side(flow.p_to, flow.q_to))
}

/// Share of its rating that a branch carries; none when it is unlimited.
#[must_use]
pub fn loading(branch: &CaseBranch, flow: &BranchFlow) -> Option<f64> {
    (branch.rating.is_finite() && branch.rating > 0.0).then(|| apparent_power(flow) / branch.rating)
}

/// All limits that a solution of `case` breaks: branches, buses, units, each by id.
///
/// Of a DC power flow (`active_only`) only ratings and active outputs are asked for: it knows no voltages.
#[must_use]
pub fn violations(case: &Case, flow: &PowerFlow, active_only: bool) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut check = |limit, value: f64, allowed: f64, above: bool| {
        let excess = if above { value - allowed } else { allowed - value };
        if excess > ROUNDING {
            found.push(Violation { limit, allowed, value });
        }
    };
    for (branch, flow) in case.branches.iter().zip(&flow.flows) {
        check(Limit::Rating(branch.id), apparent_power(flow), branch.rating, true);
    }
    for (bus, v) in case.buses.iter().zip(&flow.v).filter(|_| !active_only) {
        check(Limit::VoltageMin(bus.id), *v, bus.v_min, false);
        check(Limit::VoltageMax(bus.id), *v, bus.v_max, true);
    }
    for (unit, (p, q)) in case.generators.iter().zip(flow.generator_p.iter().zip(&flow.generator_q)) {
        if !active_only {
            let (least, greatest) = unit.reactive_limits(flow.v[unit.bus]);
            check(Limit::ReactiveMin(unit.id), *q, least, false);
            check(Limit::ReactiveMax(unit.id), *q, greatest, true);
        }
        check(Limit::ActiveMax(unit.id), *p, unit.p_max, true);
    }
    found
}
