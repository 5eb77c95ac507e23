//! The arbiter: the one door for set points. A plan arrives at its effect epoch; an AC power flow checks it on the
//! topology known then, and only what it passes leaves.
//!
//! What the power flow had to add for losses is shared among the units that run and can be steered, by their headroom,
//! and the set points leave as the power flow balanced them. Set points leave for equipment of the island as it is at the
//! effect epoch and for nothing else. Every limit that would be broken is a violation row; it blocks the plan when the plan
//! causes it: when it would be broken by more than it is now and by more than a margin (2 % of a rating, 1 % of a
//! voltage, which a dispatch of active power steers only in passing). A plan that fails is refused with an outcome row,
//! and the last safe set points stand. Stability actions pass on a path of their own and are boundary conditions here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gridflow_inputs::ids::IslandId;
use gridflow_inputs::network::{EquipmentKind, Network, Side};
use gridflow_inputs::units::{MilliVars, MilliVoltAmperes, MilliWatts, to_fixed};
use gridflow_numerics::admittance::{BranchFlow, branch_flows};
use gridflow_numerics::case::{Case, CaseGenerator};
use gridflow_numerics::power_flow::{self, PowerFlow, Slack, Start};

use crate::decision::{Dispatch, Failure, Outcome, Output, SetpointSource, Solver, Violation, ViolationKind};
use crate::dispatch::Plan;
use crate::estimation::island_case;
use crate::grid::{GridRow, IslandRows};
use crate::islands::Place;
use crate::operating_point::{OperatingPoint, put_storage};
use crate::solver::{Answer, Problem, Solve};

/// How much further than now a plan may break the rating of a branch, or a unit's active limit, as a share of it.
const RATING_MARGIN: f64 = 0.02;
/// How much further than now a plan may break a voltage limit, per unit.
const VOLTAGE_MARGIN: f64 = 0.01;
/// Rounding a value may be beyond its limit by, per unit.
const TOLERANCE: f64 = 1e-6;

/// State of an island's arbiter: the set points that stand, and since when plans are refused.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct ArbiterState {
    safe: Vec<Output>,
    refused_since: Option<i64>,
}

/// A limit, what it is about, and how the value stands against it.
type LimitKey = (ViolationKind, EquipmentKind, u32, Side);

#[derive(Clone, Copy, Debug)]
struct Broken {
    value: i64,
    limit: i64,
    /// How far beyond, as a share of the limit.
    beyond: f64,
}

/// Where the power flow of a checked point stands against limits.
#[derive(Clone, Debug)]
pub struct Check {
    /// The power flow.
    pub flow: PowerFlow,
    /// Violations, `blocking` where the point causes them.
    pub violations: Vec<Violation>,
}

fn fixed(value: f64, units: f64) -> i64 {
    to_fixed(value, units).unwrap_or(gridflow_inputs::units::MAX_MAGNITUDE)
}

/// Branches and voltages beyond their limits.
fn broken_network(case: &Case, v: &[f64], flows: &[BranchFlow]) -> BTreeMap<LimitKey, Broken> {
    let mut broken = BTreeMap::new();
    let mva = MilliVoltAmperes::PER_MVA * case.base_mva;
    for (branch, flow) in case.branches.iter().zip(flows) {
        for (side, p, q) in [(Side::From, flow.p_from, flow.q_from), (Side::To, flow.p_to, flow.q_to)] {
            let s = (p * p + q * q).sqrt();
            if s > branch.rating + TOLERANCE {
                let key = (ViolationKind::BranchRating, EquipmentKind::Branch, branch.id.0, side);
                broken.insert(key, Broken { value: fixed(s, mva), limit: fixed(branch.rating, mva), beyond: s / branch.rating - 1.0 });
            }
        }
    }
    for (index, bus) in case.buses.iter().enumerate() {
        let microvolts = |v: f64| case.microvolts(index, v).map_or(gridflow_inputs::units::MAX_MAGNITUDE, |value| value.0);
        let mut add = |kind, limit: f64, beyond: f64| {
            if beyond > TOLERANCE {
                broken.insert(
                    (kind, EquipmentKind::Bus, bus.id.0, Side::None),
                    Broken { value: microvolts(v[index]), limit: microvolts(limit), beyond },
                );
            }
        };
        add(ViolationKind::VoltageLow, bus.v_min, bus.v_min - v[index]);
        add(ViolationKind::VoltageHigh, bus.v_max, v[index] - bus.v_max);
    }
    broken
}

/// Units beyond their limits.
fn broken_units(case: &Case, flow: &PowerFlow) -> BTreeMap<LimitKey, Broken> {
    let mut broken = BTreeMap::new();
    for (index, unit) in case.generators.iter().enumerate() {
        let limits = [
            (ViolationKind::GeneratorActive, flow.generator_p[index], unit.p_min.min(0.0), unit.p_max, MilliWatts::PER_MW),
            (ViolationKind::GeneratorReactive, flow.generator_q[index], unit.q_min, unit.q_max, MilliVars::PER_MVAR),
        ];
        for (kind, value, min, max, units) in limits {
            let (limit, beyond) = if value > max { (max, value - max) } else { (min, min - value) };
            if beyond > TOLERANCE {
                let units = units * case.base_mva;
                let key = (kind, EquipmentKind::Generator, unit.id.0, Side::None);
                broken
                    .insert(key, Broken { value: fixed(value, units), limit: fixed(limit, units), beyond: beyond / limit.abs().max(1.0) });
            }
        }
    }
    broken
}

/// Who may cover what a plan leaves open, in order of preference: units that run and can be steered, by the room they have
/// upwards (losses were planned too small) or downwards (too large); then all that can be steered. A weather-bounded unit
/// has no more to give, and one that the plan lets stand still would have to start first.
fn participations(case: &Case) -> Vec<Slack> {
    let steerable = |unit: &CaseGenerator| !unit.variable;
    // As the dispatch decides which units run.
    let runs = |unit: &CaseGenerator| steerable(unit) && unit.p >= unit.p_min / 2.0;
    let weights = |takes_part: &dyn Fn(&CaseGenerator) -> bool, room: &dyn Fn(&CaseGenerator) -> f64| -> Vec<f64> {
        case.generators.iter().map(|unit| if takes_part(unit) { room(unit).max(0.0) } else { 0.0 }).collect()
    };
    let up = |unit: &CaseGenerator| unit.p_max - unit.p;
    let down = |unit: &CaseGenerator| unit.p - unit.p_min.max(0.0);
    let choices = [weights(&runs, &up), weights(&runs, &down), weights(&steerable, &up), weights(&steerable, &down)];
    choices.into_iter().filter(|weights| weights.iter().sum::<f64>() > 0.0).map(Slack::Weighted).chain([Slack::Distributed]).collect()
}

/// Checks a case whose units and loads stand as they would: by power flow, against what holds now.
///
/// # Errors
/// In words, when the power flow has no solution.
pub fn check(island: IslandId, case: &Case, point: &OperatingPoint<'_>, effect_ms: i64) -> Result<Check, String> {
    let (v, va) = point.voltages(case);
    let now = if point.is_complete(case) { broken_network(case, &v, &branch_flows(case, &v, &va)) } else { BTreeMap::new() };
    let mut found = Err("it has no unit".into());
    for slack in participations(case) {
        let mut cache = power_flow::Cache::new();
        let mut options =
            power_flow::Options { start: Start::Given { v: v.clone(), va: va.clone() }, slack, ..power_flow::Options::default() };
        found = power_flow::solve(case, &options, &mut cache)
            .or_else(|_| {
                options.start = Start::Flat;
                power_flow::solve(case, &options, &mut cache)
            })
            .map_err(|error| error.to_string());
        // What runs may have too little room; then others help.
        let beyond = |(unit, p): (&CaseGenerator, &f64)| *p > unit.p_max + TOLERANCE || *p < unit.p_min.min(0.0) - TOLERANCE;
        if found.as_ref().is_ok_and(|flow| !case.generators.iter().zip(&flow.generator_p).any(beyond)) {
            break;
        }
    }
    let flow = found?;
    let mut broken = broken_network(case, &flow.v, &flow.flows);
    broken.extend(broken_units(case, &flow));
    let violations = broken
        .into_iter()
        .map(|(key, then)| {
            let (kind, equipment, id, side) = key;
            let margin = match kind {
                ViolationKind::BranchRating | ViolationKind::GeneratorActive => RATING_MARGIN,
                ViolationKind::VoltageLow | ViolationKind::VoltageHigh => VOLTAGE_MARGIN,
                // Reactive limits are not yet part of the power flow: they are reported, the voltages they cost are not.
                ViolationKind::GeneratorReactive => f64::INFINITY,
            };
            let blocking = then.beyond > now.get(&key).map_or(0.0, |now| now.beyond) + margin;
            Violation { island, kind, equipment, id, side, effect_ms, value: then.value, limit: then.limit, blocking }
        })
        .collect();
    Ok(Check { flow, violations })
}

/// Puts a plan into a case whose loads stand at the operating point.
fn apply(plan: &Plan, case: &mut Case) -> Result<(), String> {
    let planned: BTreeMap<_, _> = plan.units.iter().map(|unit| (unit.generator, unit.p)).collect();
    if let Some(unit) = plan.units.iter().find(|unit| case.generator_index(unit.generator).is_none() && unit.p.0 > 0) {
        return Err(format!("unit {} is planned at {} MW and is no longer in service in this island", unit.generator, unit.p.mw()));
    }
    for unit in &mut case.generators {
        unit.p = planned.get(&unit.id).map_or(0.0, |p| p.mw() / case.base_mva);
    }
    for line in &mut case.dc_lines {
        line.p = plan.dc_lines.iter().find(|(id, _)| *id == line.id).map_or(line.p, |(_, p)| p.mw() / case.base_mva);
    }
    let planned: BTreeMap<_, _> = plan.storages.iter().map(|row| (row.storage, row.p.mw() / case.base_mva)).collect();
    let stored: Vec<f64> = case.storages.iter().map(|storage| planned.get(&storage.id).copied().unwrap_or(0.0)).collect();
    put_storage(case, &stored);
    Ok(())
}

/// What a plan's check came to: rows that leave, or why it is refused (with the violations that block it).
fn judge(island: IslandId, plan: &Plan, rows: &IslandRows, now_ms: i64) -> Result<Vec<Output>, (String, Vec<Violation>)> {
    let refuse = |why: String| (why, Vec::new());
    let region = rows.region.as_ref().ok_or_else(|| refuse("there is no region row".into()))?;
    let reference = rows.island.map(|island| island.reference).ok_or_else(|| refuse("the island has no source".into()))?;
    let mut case = island_case(&rows.network, reference, region.base_power.mva()).map_err(refuse)?;
    let point = OperatingPoint::new(rows, now_ms);
    point.apply(&mut case);
    crate::shedding::apply(&rows.sheds, &mut case);
    apply(plan, &mut case).map_err(refuse)?;
    let checked = check(island, &case, &point, plan.effect_ms).map_err(|why| refuse(format!("the power flow of the plan: {why}")))?;
    if let Some(worst) = checked.violations.iter().find(|violation| violation.blocking) {
        let why = format!("it would break {:?} of {:?} {}: {} against {}", worst.kind, worst.equipment, worst.id, worst.value, worst.limit);
        return Err((why, checked.violations));
    }
    let mut out: Vec<Output> = Vec::new();
    for (unit, p) in case.generators.iter().zip(&checked.flow.generator_p) {
        let curtailed = plan.units.iter().find(|planned| planned.generator == unit.id).map_or(MilliWatts(0), |planned| planned.curtailed);
        out.push(
            Dispatch {
                island,
                equipment: EquipmentKind::Generator,
                id: unit.id.0,
                effect_ms: plan.effect_ms,
                decided_ms: plan.decided_ms,
                p: case.mw(*p).unwrap_or_default(),
                curtailed,
                source: SetpointSource::Plan,
            }
            .into(),
        );
    }
    for (line, p) in &plan.dc_lines {
        let (equipment, id, source) = (EquipmentKind::DcLine, line.0, SetpointSource::Plan);
        let (effect_ms, decided_ms) = (plan.effect_ms, plan.decided_ms);
        out.push(Dispatch { island, equipment, id, effect_ms, decided_ms, p: *p, curtailed: MilliWatts(0), source }.into());
    }
    out.extend(plan.storages.iter().cloned().map(Output::from));
    out.extend(plan.prices.iter().cloned().map(Output::from));
    out.extend(checked.violations.into_iter().map(Output::from));
    let here = equipment(&rows.network);
    out.retain(|row| concerns(row, &here));
    Ok(out)
}

/// Equipment that set points can be about.
fn equipment(network: &Network) -> BTreeSet<Place> {
    let buses = network.buses.iter().map(|row| (EquipmentKind::Bus, row.id.0));
    let units = network.generators.iter().map(|row| (EquipmentKind::Generator, row.id.0));
    let lines = network.dc_lines.iter().map(|row| (EquipmentKind::DcLine, row.id.0));
    let storages = network.storages.iter().map(|row| (EquipmentKind::Storage, row.id.0));
    buses.chain(units).chain(lines).chain(storages).collect()
}

/// Whether a row is about equipment that is `here`: what has left the island since is another island's to decide.
fn concerns(row: &Output, here: &BTreeSet<Place>) -> bool {
    match row {
        Output::Dispatch(row) => here.contains(&(row.equipment, row.id)),
        Output::Storage(row) => here.contains(&(EquipmentKind::Storage, row.storage.0)),
        Output::Price(row) => row.scope != EquipmentKind::Bus || here.contains(&(EquipmentKind::Bus, row.id)),
        _ => true,
    }
}

/// The last safe set points as they stand when a plan is refused.
fn last_safe(safe: &[Output], network: &Network, effect_ms: i64) -> Vec<Output> {
    let here = equipment(network);
    safe.iter()
        .filter(|row| !matches!(row, Output::Violation(_)) && concerns(row, &here))
        .map(|row| match row {
            Output::Dispatch(row) => Dispatch { effect_ms, source: SetpointSource::LastSafe, ..row.clone() }.into(),
            other => other.clone(),
        })
        .collect()
}

fn arbitrate(problem: Problem<GridRow, ArbiterState>) -> Answer<ArbiterState, Output> {
    let mut state = problem.previous.unwrap_or_default();
    let island = IslandId(problem.key);
    let now_ms = problem.epoch as i64;
    let rows = IslandRows::new(problem.rows.iter().chain(problem.shared.iter()));
    if rows.island.is_none() {
        // The island is no more: its equipment is another island's, and so are its set points.
        return Answer { previous: ArbiterState::default(), rows: Vec::new() };
    }
    let Some(plan) = &rows.plan else {
        // The dispatch found no plan; its own outcome says why, and the last safe set points stand.
        state.safe = last_safe(&state.safe, &rows.network, now_ms);
        return Answer { rows: state.safe.clone(), previous: state };
    };
    let mut out;
    match judge(island, plan, &rows, now_ms) {
        Ok(passed) => {
            state.safe = passed.clone();
            state.refused_since = None;
            out = passed;
        }
        Err((why, violations)) => {
            state.safe = last_safe(&state.safe, &rows.network, plan.effect_ms);
            out = state.safe.clone();
            out.extend(violations.into_iter().map(Output::from));
            let since_ms = *state.refused_since.get_or_insert(now_ms);
            let message = format!(
                "the plan of {} ms for island {island} is refused, {} set points stand: {why}",
                plan.decided_ms,
                if state.safe.is_empty() { "no" } else { "the last safe" }
            );
            out.push(
                Outcome { solver: Solver::PowerFlow, key: island.0, since_ms, failure: Failure::Refused, iterations: 0, message }.into(),
            );
        }
    }
    out.sort_unstable();
    Answer { previous: state, rows: out }
}

/// The arbiter, for the generic solver.
#[must_use]
pub fn solve_arbiter() -> Solve<GridRow, ArbiterState, Output> {
    Arc::new(arbitrate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_fall_on_units_that_run_and_can_be_steered() {
        let file = gridflow_inputs::matpower::read("ieee14.m", gridflow_inputs::matpower::IEEE14).expect("the embedded network is whole");
        let mut case = Case::new(file.base_power.mva(), &file.network).expect("it is a case");
        for (unit, (p, p_min, p_max, variable)) in
            case.generators.iter_mut().zip([(2.0, 0.5, 3.0, false), (0.0, 0.4, 1.0, false), (0.3, 0.0, 1.0, true), (0.5, 0.2, 0.5, false)])
        {
            (unit.p, unit.p_min, unit.p_max, unit.variable) = (p, p_min, p_max, variable);
        }
        case.generators.truncate(4);
        let weighted = |weights: [f64; 4]| Slack::Weighted(weights.to_vec());
        let (up, down) = (weighted([1.0, 0.0, 0.0, 0.0]), weighted([1.5, 0.0, 0.0, 0.5 - 0.2]));
        assert_eq!(participations(&case), [up, down.clone(), weighted([1.0, 1.0, 0.0, 0.0]), down, Slack::Distributed]);
        // When what runs is full, one that stands still is better than none.
        case.generators[0].p = 3.0;
        let down = weighted([2.5, 0.0, 0.0, 0.5 - 0.2]);
        assert_eq!(participations(&case), [down.clone(), weighted([0.0, 1.0, 0.0, 0.0]), down, Slack::Distributed]);
    }
}
