//! Decide: stability actions on a path of their own, then dispatch, and the arbiter as the one door for set points.

use std::sync::Arc;

use gridflow_inputs::input::{Region, Timer};
use gridflow_operators::arbiter::solve_arbiter;
use gridflow_operators::decision::{Forecast, Output};
use gridflow_operators::dispatch::{DispatchRow, solve_dispatch};
use gridflow_operators::grid::{GridRow, solver_rows};
use gridflow_operators::sealed::{Changes, Feed, Rows};
use gridflow_operators::shedding::solve_shedding;
use gridflow_operators::solver::{SolverInput, solver};
use gridflow_operators::state::Registry;
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::vec::{Broadcast, Map};

use crate::observe::{Observed, on_timer, shared_region};
use crate::region::{Leads, Pools};

/// What deciding gives.
pub struct Decided<'scope> {
    /// Stream `shed`: it waits for no economy.
    pub stability: Changes<'scope, Output>,
    /// Streams dispatch, price, storage, violation.
    pub decisions: Changes<'scope, Output>,
    /// Of shedding, dispatch and the check.
    pub outcomes: Changes<'scope, Output>,
}

/// Wires decisions.
pub fn build<'scope>(
    feed: Rows<'scope, Feed>,
    region: Changes<'scope, (u64, Region)>,
    observed: &Observed<'scope>,
    forecasts: Changes<'scope, Forecast>,
    leads: Leads,
    pools: &Pools,
    registry: &Registry,
) -> Decided<'scope> {
    let worker = feed.scope().index() as u64;
    let changed = observed.changed.clone().map(|island| SolverInput::<GridRow>::Trigger { key: island.0 });
    let timer = on_timer::<GridRow>(feed, Timer::Dispatch);
    let known = solver_rows(observed.at_equipment.clone().concat(observed.states.clone())).concat(shared_region(region));

    let stable = solver(
        known.clone().concat(changed.clone()).concat(timer.clone()),
        "Shedding",
        registry,
        0,
        pools.stability.clone(),
        solve_shedding(),
    );
    let sheds = stable.clone().flat_map(|row| match row {
        Output::Shed(row) => Some((row.island, GridRow::Shed(Arc::new(row)))),
        _ => None,
    });
    let known = known.concat(solver_rows(sheds));

    let forecasts = forecasts.inner.broadcast().map(move |(row, _, change)| SolverInput::Shared {
        worker,
        row: GridRow::Forecast(Arc::new(row)),
        change,
    });
    let planned = solver(
        known.clone().concat(forecasts).concat(changed).concat(timer),
        "Dispatch",
        registry,
        leads.dispatch_ms,
        pools.economy.clone(),
        solve_dispatch(),
    );
    let plans = planned.clone().inner.flat_map(|(row, _, change)| match row {
        DispatchRow::Plan(plan) => {
            let key = plan.island.0;
            vec![SolverInput::Row { key, row: GridRow::Plan(Arc::new(plan)), change }, SolverInput::Trigger { key }]
        }
        DispatchRow::Row(_) => Vec::new(),
    });
    let passed = solver(known.concat(plans), "Arbiter", registry, 0, pools.stability.clone(), solve_arbiter());

    let is_outcome = |row: &Output| matches!(row, Output::Outcome(_));
    let plan_rows = planned.flat_map(|row| match row {
        DispatchRow::Row(row) => Some(row),
        DispatchRow::Plan(_) => None,
    });
    let stability_rows = |row: &Output| matches!(row, Output::Shed(_));
    Decided {
        stability: stable.clone().filter(stability_rows),
        // The check of a stability action reports into `violation` like that of a plan.
        decisions: passed
            .clone()
            .filter(move |row| !is_outcome(row))
            .concat(stable.clone().filter(move |row| !is_outcome(row) && !stability_rows(row))),
        outcomes: passed.concat(stable).concat(plan_rows).filter(is_outcome),
    }
}
