//! Predict: features of zones, kept up to date, and from them forecasts each quarter of an hour.

use gridflow_inputs::ids::ZoneId;
use gridflow_inputs::input::{Region, Timer};
use gridflow_inputs::{Input, Sequenced};
use gridflow_operators::decision::{Forecast, Kpi, Output};
use gridflow_operators::features::{figure_part, history_parts, quarters, weather_part};
use gridflow_operators::forecasting::{ZoneRow, solve_forecast};
use gridflow_operators::grid::changes;
use gridflow_operators::newest::newest;
use gridflow_operators::sealed::{Changes, Feed, Rows};
use gridflow_operators::solver::{Pool, SolverInput, solver};
use gridflow_operators::state::Registry;
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::vec::Map;

use crate::observe::on_timer;

/// What predicting gives.
pub struct Predicted<'scope> {
    /// Stream `forecast`.
    pub rows: Changes<'scope, Output>,
    /// Of the forecaster.
    pub outcomes: Changes<'scope, Output>,
    /// The same forecasts, for decisions.
    pub forecasts: Changes<'scope, Forecast>,
}

/// Wires prediction.
pub fn build<'scope>(
    feed: Rows<'scope, Feed>,
    region: Changes<'scope, (u64, Region)>,
    figures: Changes<'scope, (ZoneId, Kpi)>,
    pool: &Pool,
    registry: &Registry,
) -> Predicted<'scope> {
    let recorded = changes(feed.clone().flat_map(|feed| match feed {
        Feed::Row(row) => match row.input {
            Input::History(row) => history_parts(&row).map(|part| (part, 1)).to_vec(),
            Input::WeatherObservation(row) => vec![(weather_part(&row), 1)],
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }));
    let quarters = quarters(recorded.concat(figures.flat_map(|(_, row)| figure_part(&row))), registry);
    let rows = quarters.inner.map(|((zone, quarter), _, change)| SolverInput::Row { key: zone.0, row: ZoneRow::Quarter(quarter), change });
    // Of several runs of one hour the newest holds.
    let foreseen = feed.clone().flat_map(|feed| match feed {
        Feed::Row(Sequenced { input: Input::WeatherForecast(row), .. }) => Some(((row.zone, row.valid_at_ms), row.issued_at_ms, row)),
        _ => None,
    });
    let foreseen = newest(foreseen, "Weather foreseen", registry, |(zone, _)| u64::from(zone.0));
    let weather = foreseen.inner.map(|(((zone, _), row), _, change)| SolverInput::Row { key: zone.0, row: ZoneRow::Weather(row), change });
    let region = region.inner.map(|((worker, region), _, change)| SolverInput::Shared { worker, row: ZoneRow::Region(region), change });
    let problem = rows.concat(weather).concat(region).concat(on_timer(feed, Timer::Forecast));
    let solved = solver(problem, "Forecasting", registry, 0, pool.clone(), solve_forecast());
    Predicted {
        rows: solved.clone().filter(|row| matches!(row, Output::Forecast(_))),
        outcomes: solved.clone().filter(|row| matches!(row, Output::Outcome(_))),
        forecasts: solved.flat_map(|row| match row {
            Output::Forecast(row) => Some(row),
            _ => None,
        }),
    }
}
