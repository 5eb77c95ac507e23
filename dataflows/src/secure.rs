//! Secure: how near the present state is to its limits, and which outages it would not bear.

use gridflow_inputs::input::{Quantity, Region, Timer};
use gridflow_operators::constraints::solve_constraints;
use gridflow_operators::contingency::solve_contingencies;
use gridflow_operators::decision::Output;
use gridflow_operators::grid::{GridRow, solver_rows};
use gridflow_operators::sealed::{Changes, Feed, Rows};
use gridflow_operators::solver::{SolverInput, solver};
use gridflow_operators::state::Registry;
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::vec::Map;

use crate::observe::{Observed, on_timer, shared_region};
use crate::region::Pools;

/// What securing gives.
pub struct Secured<'scope> {
    /// Stream `contingency`.
    pub contingencies: Changes<'scope, Output>,
    /// Stream `constraint`.
    pub constraints: Changes<'scope, Output>,
    /// Of contingency analysis.
    pub outcomes: Changes<'scope, Output>,
}

/// Wires security.
pub fn build<'scope>(
    feed: Rows<'scope, Feed>,
    region: Changes<'scope, (u64, Region)>,
    observed: &Observed<'scope>,
    pools: &Pools,
    registry: &Registry,
) -> Secured<'scope> {
    let triggers = || {
        let changed = observed.changed.clone().map(|island| SolverInput::<GridRow>::Trigger { key: island.0 });
        changed.concat(on_timer(feed.clone(), Timer::Estimate))
    };
    // Of all that is measured, what units give and loads draw: the rest is in the estimate.
    let at_equipment = observed.grid.clone().filter(|(_, row)| match row {
        GridRow::Reading(reading) => {
            matches!(reading.sensor.quantity, Quantity::ActiveGeneration | Quantity::ActiveLoad | Quantity::ReactiveLoad)
        }
        _ => true,
    });
    let equipment = observed.grid.clone().filter(|(_, row)| matches!(row, GridRow::Island(_) | GridRow::Element(_)));
    let problem = |grid: Changes<'scope, _>| {
        solver_rows(grid.concat(observed.states.clone())).concat(shared_region(region.clone())).concat(triggers())
    };
    let analysed = solver(problem(at_equipment), "Contingencies", registry, 0, pools.security.clone(), solve_contingencies());
    let constraints = solver(problem(equipment), "Constraints", registry, 0, pools.stability.clone(), solve_constraints());
    let is_outcome = |row: &Output| matches!(row, Output::Outcome(_));
    Secured { contingencies: analysed.clone().filter(move |row| !is_outcome(row)), constraints, outcomes: analysed.filter(is_outcome) }
}
