//! Dispatch of an island each five minutes, and at once when its topology changes: a DC optimal power flow over a
//! short horizon, storage and direct-current links included, with prices from its duals.
//!
//! Loads start from the operating point, with losses added, and follow the zone's forecast; weather-bounded units may give what they give
//! now. Until there is a commitment, a first pass lets every unit run down to zero and a second holds those above half
//! their least output at or above it and the rest at zero. A branch that an AC power flow of the plan overloads is
//! given a tighter limit and the plan is made again, so that plans rarely fail the arbiter's check. A plan is a
//! proposal: only the arbiter's rows leave.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridflow_inputs::ids::{DcLineId, GeneratorId, IslandId, ZoneId};
use gridflow_inputs::network::EquipmentKind;
use gridflow_inputs::units::{MicroPerMwh, MilliWatts, PartsPerMillion};
use gridflow_numerics::case::Case;
use gridflow_numerics::dispatch::{self as numerics, DispatchError, Interval, Options, StorageEnd};
use gridflow_numerics::pricing::{Shortage, zone_signal};
use serde::{Deserialize, Serialize};

use crate::arbiter;
use crate::decision::{Failure, ForecastSeries, Output, PriceSignal, Solver, StoragePlan, ViolationKind};
use crate::estimation::island_case;
use crate::features::quarter_of;
use crate::grid::{GridRow, IslandRows};
use crate::operating_point::{OperatingPoint, put_storage, too_early};
use crate::solver::{Answer, Problem, Solve};
use crate::standing::Standing;
use crate::telemetry::INTERVAL_MS;

/// Length of the binding interval and of those looked ahead to, milliseconds.
const INTERVALS_MS: [i64; 4] = [300_000, INTERVAL_MS, INTERVAL_MS, INTERVAL_MS];
/// Value of lost load: cap of price signals, currency per MWh.
const LOST_LOAD_PER_MWH: f64 = 10_000.0;
/// Standard deviation of load until reserve can follow, as a share of load.
const LOAD_ERROR: f64 = 0.01;
/// Weight of a new price in the running mean that stored energy is valued at: about a day of dispatches.
const PRICE_WEIGHT: f64 = 1.0 / 288.0;
/// Times a plan is made again with tighter branch limits.
const TIGHTENINGS: usize = 3;
/// How much below its rating an overloaded branch is planned, on top of what it was overloaded by.
const TIGHTER: f64 = 0.98;
/// Slack below this many per unit is rounding.
const SLACK: f64 = 1e-6;

/// A unit of a plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PlannedUnit {
    /// The unit.
    pub generator: GeneratorId,
    /// Its output.
    pub p: MilliWatts,
    /// Available power given up.
    pub curtailed: MilliWatts,
}

/// A proposal of the dispatch to the arbiter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Plan {
    /// The island.
    pub island: IslandId,
    /// Epoch from which on it would hold.
    pub effect_ms: i64,
    /// Epoch of the rows it rests on.
    pub decided_ms: i64,
    /// Units, by id.
    pub units: Vec<PlannedUnit>,
    /// Direct-current links and the power leaving their sending end.
    pub dc_lines: Vec<(DcLineId, MilliWatts)>,
    /// Storage units, by id.
    pub storages: Vec<StoragePlan>,
    /// Prices that hold with it.
    pub prices: Vec<PriceSignal>,
}

/// What the dispatch tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DispatchRow {
    /// For the arbiter.
    Plan(Plan),
    /// A row for a stream.
    Row(Output),
}

/// State of an island's dispatch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DispatchState {
    /// Running mean of the energy price, currency per MWh: what stored energy is worth.
    mean_price: Option<f64>,
    /// The last plan, which stands when there is no new one.
    plan: Option<Plan>,
    failure: Standing,
}

/// Ratio of a zone's forecast at each interval to now, 1 where there is none.
fn load_ratios(rows: &IslandRows, zone: ZoneId, now_ms: i64) -> [f64; INTERVALS_MS.len()] {
    let forecast = |at_ms: i64| {
        let slot = quarter_of(at_ms);
        let of_slot = |row: &&crate::decision::Forecast| {
            row.zone == zone && row.series == ForecastSeries::Load && quarter_of(row.valid_at_ms) == slot
        };
        rows.forecasts.iter().find(of_slot).map(|row| row.p.mw()).filter(|p| *p > 0.0)
    };
    let now = forecast(now_ms);
    let mut at_ms = now_ms;
    INTERVALS_MS.map(|length_ms| {
        let ratio = match (now, forecast(at_ms)) {
            (Some(now), Some(then)) => (then / now).clamp(0.5, 2.0),
            _ => 1.0,
        };
        at_ms += length_ms;
        ratio
    })
}

struct Island<'a> {
    case: Case,
    point: OperatingPoint<'a>,
    intervals: Vec<Interval>,
    options: Options,
}

impl<'a> Island<'a> {
    fn new(rows: &'a IslandRows, now_ms: i64, mean_price: Option<f64>) -> Result<Self, String> {
        let region = rows.region.as_ref().ok_or("there is no region row")?;
        let reference = rows.island.map(|island| island.reference).ok_or("the island has no source")?;
        let mut case = island_case(&rows.network, reference, region.base_power.mva())?;
        let point = OperatingPoint::new(rows, now_ms);
        point.apply(&mut case);
        crate::shedding::apply(&rows.sheds, &mut case);
        for storage in &mut case.storages {
            if let Some(report) = rows.storages.iter().find(|report| report.storage == storage.id) {
                storage.soc = report.soc.ratio();
            }
        }
        let initial = case.generators.iter().map(|unit| point.generation(&case, unit.id)).collect::<Option<Vec<_>>>();
        let available: Vec<f64> =
            case.generators.iter().map(|unit| if unit.variable { point.available(&case, unit) } else { f64::INFINITY }).collect();
        let with_losses = 1.0 + point.loss_share(&case);
        let mut ratios: BTreeMap<ZoneId, [f64; INTERVALS_MS.len()]> = BTreeMap::new();
        for bus in &case.buses {
            ratios.entry(bus.zone).or_insert_with(|| load_ratios(rows, bus.zone, now_ms));
        }
        let intervals = INTERVALS_MS
            .iter()
            .enumerate()
            .map(|(index, length_ms)| {
                let ratio = |bus: usize| ratios[&case.buses[bus].zone][index];
                let load_p = case.loads.iter().map(|load| load.p * ratio(load.bus) * with_losses).collect();
                Interval { hours: *length_ms as f64 / 3_600_000.0, load_p, available_p: available.clone(), p_bounds: None }
            })
            .collect();
        let end = mean_price.map_or(StorageEnd::AtLeastStart, StorageEnd::Value);
        let options = Options { initial_p: initial, storage_end: vec![end; case.storages.len()], ..Options::default() };
        Ok(Self { case, point, intervals, options })
    }

    fn solve(&mut self, bounds: Vec<(f64, f64)>) -> Result<numerics::Dispatch, DispatchError> {
        for interval in &mut self.intervals {
            interval.p_bounds = Some(bounds.clone());
        }
        numerics::solve(&self.case, &self.intervals, &self.options)
    }

    /// Both passes: which units run, then how much.
    fn commit_and_solve(&mut self) -> Result<(Vec<(f64, f64)>, numerics::Dispatch), DispatchError> {
        let free: Vec<(f64, f64)> = self.case.generators.iter().map(|unit| (unit.p_min.min(0.0), unit.p_max)).collect();
        let relaxed = self.solve(free.clone())?;
        if self.case.generators.iter().all(|unit| unit.p_min <= 0.0) {
            return Ok((free, relaxed));
        }
        let runs = |unit: usize| relaxed.intervals[0].generator_p[unit] >= self.case.generators[unit].p_min / 2.0;
        let bounds: Vec<(f64, f64)> = self
            .case
            .generators
            .iter()
            .enumerate()
            .map(|(index, unit)| if runs(index) { (unit.p_min, unit.p_max) } else { (0.0, 0.0) })
            .collect();
        let slack = |plan: &numerics::Dispatch| plan.intervals[0].shed_p.iter().chain(&plan.intervals[0].surplus_p).sum::<f64>();
        match self.solve(bounds.clone()) {
            Ok(plan) if slack(&plan) <= slack(&relaxed) + SLACK => Ok((bounds, plan)),
            _ => Ok((free, relaxed)),
        }
    }

    /// Plans, checks by AC power flow, and plans again with tighter limits where it overloads a branch.
    fn plan(&mut self, island: IslandId, effect_ms: i64) -> Result<numerics::Dispatch, DispatchError> {
        let (bounds, mut plan) = self.commit_and_solve()?;
        // The check goes by the ratings as they are; the plan alone is made against tighter ones.
        let rated = self.case.clone();
        for _ in 0..TIGHTENINGS {
            let first = &plan.intervals[0];
            let mut checked = rated.clone();
            for (unit, p) in checked.generators.iter_mut().zip(&first.generator_p) {
                unit.p = *p;
            }
            for (line, p) in checked.dc_lines.iter_mut().zip(&first.dc_line_p) {
                line.p = *p;
            }
            put_storage(&mut checked, &first.storage_p);
            let Ok(check) = arbiter::check(island, &checked, &self.point, effect_ms) else { break };
            // An overloaded branch is overloaded at both ends; the worse one counts.
            let mut kept: BTreeMap<u32, f64> = BTreeMap::new();
            for row in check.violations.iter().filter(|row| row.kind == ViolationKind::BranchRating) {
                let share = kept.entry(row.id).or_insert(1.0);
                *share = share.min(row.limit as f64 / row.value as f64);
            }
            if kept.is_empty() {
                break;
            }
            for branch in &mut self.case.branches {
                branch.rating *= kept.get(&branch.id.0).map_or(1.0, |share| TIGHTER * share);
            }
            match self.solve(bounds.clone()) {
                Ok(tighter) if tighter.shed_mwh <= plan.shed_mwh + SLACK => plan = tighter,
                _ => break,
            }
        }
        Ok(plan)
    }

    fn prices(&self, plan: &numerics::Dispatch, effect_ms: i64) -> Vec<PriceSignal> {
        let first = &plan.intervals[0];
        let base = self.case.base_mva;
        let price = |value: f64| MicroPerMwh::from_per_mwh(value).unwrap_or_default();
        let mut rows = Vec::new();
        for (bus, lmp) in self.case.buses.iter().zip(&first.lmp) {
            let (scope, id) = (EquipmentKind::Bus, bus.id.0);
            let (energy, congestion) = (price(lmp.energy), price(lmp.congestion));
            rows.push(PriceSignal { scope, id, effect_ms, price: price(lmp.total()), energy, congestion, shortage: MicroPerMwh(0) });
        }
        let dispatchable = self.case.generators.iter().zip(&first.generator_p).filter(|(unit, _)| !unit.variable);
        let reserve_mw = dispatchable.map(|(unit, p)| (unit.p_max - p).max(0.0)).sum::<f64>() * base;
        let largest_mw = first.generator_p.iter().fold(0.0, |largest: f64, p| largest.max(*p)) * base;
        let mut load = vec![0.0; self.case.buses.len()];
        for (row, shed) in self.case.loads.iter().zip(&first.shed_p) {
            load[row.bus] += (row.p - shed).max(0.0);
        }
        let total_mw = load.iter().sum::<f64>() * base;
        let shortage = Shortage { lost_load_per_mwh: LOST_LOAD_PER_MWH, reserve_mw_min: largest_mw, error_mw: LOAD_ERROR * total_mw };
        let mut zones: BTreeMap<ZoneId, Vec<(f64, f64)>> = BTreeMap::new();
        for (index, bus) in self.case.buses.iter().enumerate() {
            zones.entry(bus.zone).or_default().push((load[index] * base, first.lmp[index].total()));
        }
        for (zone, buses) in zones {
            let Ok(signal) = zone_signal(&buses, reserve_mw, &shortage) else { continue };
            let (scope, id) = (EquipmentKind::Zone, zone.0);
            let (energy, adder) = (price(signal.energy), price(signal.adder));
            rows.push(PriceSignal {
                scope,
                id,
                effect_ms,
                price: price(signal.price),
                energy,
                congestion: MicroPerMwh(0),
                shortage: adder,
            });
        }
        rows
    }
}

fn dispatch(problem: Problem<GridRow, DispatchState>) -> Answer<DispatchState, DispatchRow> {
    let mut state = problem.previous.unwrap_or_default();
    let island = IslandId(problem.key);
    let (now_ms, effect_ms) = (problem.epoch as i64, problem.effect as i64);
    let rows = IslandRows::new(problem.rows.iter().chain(problem.shared.iter()));
    if rows.island.is_none() {
        // The island is no more: its units are another island's, and so is its plan.
        return Answer { previous: DispatchState::default(), rows: Vec::new() };
    }
    let mut failed = None;
    match Island::new(&rows, now_ms, state.mean_price) {
        _ if too_early(&rows, now_ms) => failed = Some((Failure::NoData, 0, "there is no estimate to start from yet".into())),
        Err(why) => failed = Some((Failure::BadNetwork, 0, why)),
        Ok(mut solver) => match solver.plan(island, effect_ms) {
            Err(error) => {
                let failure = match &error {
                    DispatchError::Infeasible(_) => Failure::Infeasible,
                    DispatchError::Input(_) => Failure::BadNetwork,
                    DispatchError::NotSolved { .. } => Failure::WorkLimit,
                };
                failed = Some((failure, 0, error.to_string()));
            }
            Ok(plan) => {
                let first = &plan.intervals[0];
                let mw = |p: f64| solver.case.mw(p).unwrap_or_default();
                let slack = first.shed_p.iter().chain(&first.surplus_p).sum::<f64>();
                if slack > SLACK {
                    let what = format!("{} MW of load beyond the shedding plan is not served or generation has no use", mw(slack).mw());
                    failed = Some((Failure::Infeasible, plan.iterations, what));
                }
                let energy = first.lmp.first().map_or(0.0, |lmp| lmp.energy).clamp(-LOST_LOAD_PER_MWH, LOST_LOAD_PER_MWH);
                state.mean_price = Some(state.mean_price.map_or(energy, |mean| mean + PRICE_WEIGHT * (energy - mean)));
                let planned = |(index, unit): (usize, &gridflow_numerics::case::CaseGenerator)| PlannedUnit {
                    generator: unit.id,
                    p: mw(first.generator_p[index]),
                    curtailed: mw(first.curtailed_p[index]),
                };
                state.plan = Some(Plan {
                    island,
                    effect_ms,
                    decided_ms: now_ms,
                    units: solver.case.generators.iter().enumerate().map(planned).collect(),
                    dc_lines: solver.case.dc_lines.iter().zip(&first.dc_line_p).map(|(line, p)| (line.id, mw(*p))).collect(),
                    storages: solver
                        .case
                        .storages
                        .iter()
                        .enumerate()
                        .map(|(index, storage)| StoragePlan {
                            storage: storage.id,
                            start_ms: effect_ms,
                            length_ms: INTERVALS_MS[0],
                            decided_ms: now_ms,
                            p: mw(first.storage_p[index]),
                            soc: PartsPerMillion::from_ratio(first.soc[index]).unwrap_or_default(),
                        })
                        .collect(),
                    prices: solver.prices(&plan, effect_ms),
                });
            }
        },
    }
    let mut answer: Vec<DispatchRow> = state.plan.iter().cloned().map(DispatchRow::Plan).collect();
    let failed = failed.map(|(failure, iterations, why)| (failure, iterations, format!("dispatch of island {island}: {why}")));
    answer.extend(state.failure.outcome(Solver::Dispatch, island.0, now_ms, failed).map(|row| DispatchRow::Row(row.into())));
    Answer { previous: state, rows: answer }
}

/// The dispatch, for the generic solver.
#[must_use]
pub fn solve_dispatch() -> Solve<GridRow, DispatchState, DispatchRow> {
    Arc::new(dispatch)
}
