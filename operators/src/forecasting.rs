//! Forecasts of a zone, issued each quarter of an hour for the next day, from its quarters as known at the issue.
//!
//! Nothing is read before it was available: metered quarters enter when they are stated, weather forecasts when
//! `available_at` has passed. Load and net load (load less wind and solar) are forecast alike.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridflow_inputs::ids::ZoneId;
use gridflow_inputs::input::{Region, WeatherForecast};
use gridflow_inputs::units::MilliWatts;
use gridflow_numerics::forecasting::{Method, Slot, forecast};
use serde::{Deserialize, Serialize};

use crate::decision::{Failure, Forecast, ForecastMethod, ForecastSeries, Outcome, Output, Solver};
use crate::features::{Quarter, quarter_of};
use crate::multiset::Slotted;
use crate::solver::{Answer, Problem, Solve};
use crate::telemetry::INTERVAL_MS;

/// Quarters forecast at each issue: a day.
pub const HORIZON: usize = 96;
/// Most quarters before the issue that may be unknown before the fallback chain takes over.
const GAP: i64 = 8;

/// A row of a zone's problem.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ZoneRow {
    /// The region; shared by all zones.
    Region(Region),
    /// A quarter of the past.
    Quarter(Quarter),
    /// Weather foreseen.
    Weather(WeatherForecast),
}

impl Slotted for ZoneRow {
    fn slot(&self) -> u64 {
        match self {
            Self::Region(_) => 0,
            Self::Quarter(row) => 1 << 60 | (row.index as u64 & ((1 << 60) - 1)),
            Self::Weather(row) => 2 << 60 | (row.valid_at_ms as u64 & ((1 << 60) - 1)),
        }
    }
}

fn method(method: Method) -> ForecastMethod {
    match method {
        Method::Ridge => ForecastMethod::Ridge,
        Method::RidgeWithoutWeather => ForecastMethod::RidgeWithoutWeather,
        Method::SameTimeLastWeek => ForecastMethod::SameTimeLastWeek,
        Method::SameTimeYesterday => ForecastMethod::SameTimeYesterday,
        Method::Persistence => ForecastMethod::Persistence,
    }
}

/// Issues the forecasts of one zone. State: since when there has been nothing to forecast from.
fn issue(problem: Problem<ZoneRow, Option<i64>>) -> Answer<Option<i64>, Output> {
    let zone = ZoneId(problem.key);
    let issued_at_ms = problem.epoch as i64;
    let issue_slot = quarter_of(issued_at_ms);
    let mut utc_offset_ms = 0;
    let mut quarters = Vec::new();
    let mut weather: BTreeMap<i64, f64> = BTreeMap::new();
    for row in problem.rows.iter().chain(problem.shared.iter()) {
        match row {
            ZoneRow::Region(region) => utc_offset_ms = region.utc_offset_ms,
            ZoneRow::Quarter(quarter) => quarters.push(quarter),
            ZoneRow::Weather(row) if row.available_at_ms <= issued_at_ms => {
                weather.insert(quarter_of(row.valid_at_ms), row.temperature.deg_c());
            }
            ZoneRow::Weather(_) => {}
        }
    }
    let mut rows: Vec<Output> = Vec::new();
    for kind in [ForecastSeries::Load, ForecastSeries::NetLoad] {
        let slots = series(&quarters, kind);
        // The quarters just before the issue are not stated yet: what is forecast begins at the first of them.
        let Some(last) = slots.iter().map(|slot| slot.index).filter(|index| *index < issue_slot).max() else { continue };
        let first = (last + 1).max(issue_slot - GAP);
        let gap = (issue_slot - first) as usize;
        let foreseen = temperatures(&quarters, &weather, first, HORIZON + gap);
        let Some(made) = forecast(&slots, first, HORIZON + gap, &foreseen, utc_offset_ms) else { continue };
        for (ahead, value) in made.values.iter().skip(gap).enumerate() {
            let Some(p) = MilliWatts::from_mw(*value) else { continue };
            let valid_at_ms = (issue_slot + ahead as i64) * INTERVAL_MS;
            rows.push(Forecast { zone, series: kind, valid_at_ms, issued_at_ms, p, method: method(made.method) }.into());
        }
    }
    let mut since = None;
    if rows.is_empty() {
        let since_ms = problem.previous.flatten().unwrap_or(issued_at_ms);
        since = Some(since_ms);
        let message = format!("zone {zone} has no history: nothing was metered in the eight weeks before the issue");
        rows.push(Outcome { solver: Solver::Forecasting, key: zone.0, since_ms, failure: Failure::NoData, iterations: 0, message }.into());
    }
    Answer { previous: since, rows }
}

/// Known slots of a series.
fn series(quarters: &[&Quarter], series: ForecastSeries) -> Vec<Slot> {
    // A zone without wind and sun never states their output: there it is none, elsewhere it is unknown.
    let none = quarters.iter().all(|quarter| quarter.renewable.is_none_or(|p| p.0 == 0)).then_some(MilliWatts(0));
    let value = |quarter: &Quarter| match series {
        ForecastSeries::Load => quarter.load,
        ForecastSeries::NetLoad => Some(quarter.load? - quarter.renewable.or(none)?),
    };
    let slot = |quarter: &&Quarter| {
        Some(Slot { index: quarter.index, value: value(quarter)?.mw(), temperature: quarter.temperature.map(|t| t.deg_c()) })
    };
    quarters.iter().filter_map(slot).collect()
}

/// Temperatures from `first` on: as observed, else as foreseen, hourly runs held until the next one.
fn temperatures(quarters: &[&Quarter], weather: &BTreeMap<i64, f64>, first: i64, count: usize) -> Vec<Option<f64>> {
    const HOUR: i64 = 4;
    let observed: BTreeMap<i64, f64> = quarters
        .iter()
        .filter(|quarter| quarter.index >= first)
        .filter_map(|quarter| Some((quarter.index, quarter.temperature?.deg_c())))
        .collect();
    (first..first + count as i64)
        .map(|slot| {
            observed.get(&slot).or_else(|| weather.range(slot - HOUR + 1..=slot).next_back().map(|(_, temperature)| temperature)).copied()
        })
        .collect()
}

/// The forecaster, for the generic solver.
#[must_use]
pub fn solve_forecast() -> Solve<ZoneRow, Option<i64>, Output> {
    Arc::new(issue)
}
