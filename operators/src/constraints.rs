//! Which limits of an island the estimate is near to or beyond: loading of branches, voltages, angles across branches.
//!
//! Told at each tick of the estimator for what it determines: a branch has a loading when both its ends do. At a change of
//! the equipment the list is withdrawn with the estimate it rests on, until the next one.

use std::sync::Arc;

use gridflow_inputs::ids::{BusId, IslandId};
use gridflow_inputs::network::{EquipmentKind, Side};
use gridflow_inputs::units::{MAX_MAGNITUDE, MicroRadians, MicroVolts, MilliVoltAmperes, to_fixed};
use gridflow_numerics::admittance::branch_flows;
use gridflow_numerics::case::Case;

use crate::decision::{Constraint, ConstraintKind, Output};
use crate::estimation::island_case;
use crate::grid::{GridRow, IslandRows};
use crate::operating_point::OperatingPoint;
use crate::solver::{Answer, Problem, Solve};

/// Loading from which on a branch is told, as a share of its normal rating.
pub const LOADING: f64 = 0.8;
/// How near to the end of its band a voltage is told, per unit.
pub const VOLTAGE_MARGIN: f64 = 0.01;
/// Rounding an angle may be beyond its limit by, radians.
const TOLERANCE: f64 = 1e-6;

fn fixed(value: f64, units: f64) -> i64 {
    to_fixed(value, units).unwrap_or(if value < 0.0 { -MAX_MAGNITUDE } else { MAX_MAGNITUDE })
}

/// Limits near or beyond at voltages `v` and angles `va`; of buses, and branches between buses, that are `known`.
fn constraints(island: IslandId, case: &Case, v: &[f64], va: &[f64], known: impl Fn(BusId) -> bool) -> Vec<Constraint> {
    let mut found = Vec::new();
    let known: Vec<bool> = case.buses.iter().map(|bus| known(bus.id)).collect();
    for (index, bus) in case.buses.iter().enumerate().filter(|(index, _)| known[*index]) {
        let microvolts = |v: f64| fixed(v, bus.base_kv * MicroVolts::PER_KV);
        let (value, low, high) = (microvolts(v[index]), microvolts(bus.v_min), microvolts(bus.v_max));
        let (equipment, id, side) = (EquipmentKind::Bus, bus.id.0, Side::None);
        if v[index] - bus.v_min <= VOLTAGE_MARGIN {
            found.push(Constraint {
                island,
                kind: ConstraintKind::VoltageLow,
                equipment,
                id,
                side,
                value,
                limit: low,
                margin: value - low,
            });
        }
        if bus.v_max - v[index] <= VOLTAGE_MARGIN {
            found.push(Constraint {
                island,
                kind: ConstraintKind::VoltageHigh,
                equipment,
                id,
                side,
                value,
                limit: high,
                margin: high - value,
            });
        }
    }
    let mva = MilliVoltAmperes::PER_MVA * case.base_mva;
    for (branch, flow) in case.branches.iter().zip(branch_flows(case, v, va)) {
        if !(known[branch.from] && known[branch.to]) {
            continue;
        }
        let (equipment, id) = (EquipmentKind::Branch, branch.id.0);
        let apparent = |p: f64, q: f64| (p * p + q * q).sqrt();
        let (from, to) = (apparent(flow.p_from, flow.q_from), apparent(flow.p_to, flow.q_to));
        let (side, s) = if to > from { (Side::To, to) } else { (Side::From, from) };
        if s >= LOADING * branch.rating {
            let (value, limit) = (fixed(s, mva), fixed(branch.rating, mva));
            found.push(Constraint {
                island,
                kind: ConstraintKind::BranchLoading,
                equipment,
                id,
                side,
                value,
                limit,
                margin: limit - value,
            });
        }
        let angle = va[branch.from] - va[branch.to];
        let beyond = if angle > branch.angle_max + TOLERANCE {
            Some((branch.angle_max, branch.angle_max - angle))
        } else if angle < branch.angle_min - TOLERANCE {
            Some((branch.angle_min, angle - branch.angle_min))
        } else {
            None
        };
        if let Some((limit, margin)) = beyond {
            let (kind, side) = (ConstraintKind::AngleDifference, Side::None);
            let (value, limit, margin) =
                (fixed(angle, MicroRadians::PER_RAD), fixed(limit, MicroRadians::PER_RAD), fixed(margin, MicroRadians::PER_RAD));
            found.push(Constraint { island, kind, equipment, id, side, value, limit, margin });
        }
    }
    found
}

fn list(problem: Problem<GridRow, ()>) -> Answer<(), Output> {
    let rows = IslandRows::new(problem.rows.iter().chain(problem.shared.iter()));
    let point = OperatingPoint::new(&rows, problem.epoch as i64);
    let case = rows.region.as_ref().zip(rows.island).filter(|_| point.is_estimated()).and_then(|(region, island)| {
        // A network that is no case has no estimate either, and the estimator says why.
        island_case(&rows.network, island.reference, region.base_power.mva()).ok()
    });
    let found = case.map_or_else(Vec::new, |case| {
        let (v, va) = point.voltages(&case);
        constraints(IslandId(problem.key), &case, &v, &va, |bus| point.knows(bus))
    });
    Answer { previous: (), rows: found.into_iter().map(Output::from).collect() }
}

/// The list of constraints, for the generic solver.
#[must_use]
pub fn solve_constraints() -> Solve<GridRow, (), Output> {
    Arc::new(list)
}
