//! Secure: how near the present state is to its limits, which outages it would not bear, planned ones among them, and what
//! islands are short of when something is lost.

use gridflow_inputs::ids::IslandId;
use gridflow_inputs::input::{Quantity, Region, Timer};
use gridflow_operators::constraints::solve_constraints;
use gridflow_operators::contingency::named::{self, NamedOutput, named};
use gridflow_operators::contingency::solve_contingencies;
use gridflow_operators::contingency::watch::{self, WatchInput};
use gridflow_operators::decision::Output;
use gridflow_operators::deficit::{self, DeficitOutput, after, deficits};
use gridflow_operators::grid::{GridRow, changes, solver_rows};
use gridflow_operators::maintenance::requests::{self, RequestOutput, requests};
use gridflow_operators::maintenance::solve_maintenance;
use gridflow_operators::sealed::{Changes, Feed, Rows};
use gridflow_operators::solver::{SolverInput, solver};
use gridflow_operators::state::Registry;
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::vec::{Broadcast, Filter, Map};

use crate::observe::{Observed, on_timer, shared_region};
use crate::region::Pools;

/// What securing gives.
pub struct Secured<'scope> {
    /// Stream `contingency`.
    pub contingencies: Changes<'scope, Output>,
    /// Stream `constraint`.
    pub constraints: Changes<'scope, Output>,
    /// Stream `maintenance`.
    pub maintenance: Changes<'scope, Output>,
    /// Stream `deficit`: it waits for no solver.
    pub deficits: Rows<'scope, (Output, i64)>,
    /// What was known of each island just before it changed, for decisions.
    pub before: Changes<'scope, (IslandId, GridRow)>,
    /// Requests of outages and elements of contingencies that are refused.
    pub refused: Rows<'scope, (Output, i64)>,
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
    let triggers = observed.changed.clone().map(|island| SolverInput::<GridRow>::Trigger { key: island.0 });
    let triggers = triggers.concat(on_timer(feed.clone(), Timer::Estimate));
    let at_equipment = observed.at_equipment.clone();
    let equipment = at_equipment.clone().filter(|(_, row)| matches!(row, GridRow::Island(_) | GridRow::Element(_)));

    let measured = at_equipment.clone().inner.flat_map(|((_, row), _, change)| deficit::of_island(row, change));
    let estimated = after(observed.states.clone()).flat_map(|((_, row), change)| deficit::of_island(row, change));
    let short = deficits(observed.drawn.clone().flat_map(deficit::of_topology).concat(measured).concat(estimated), registry);
    let before = changes(short.clone().flat_map(|told| match told {
        DeficitOutput::Before(island, known, change) => Some(((island, GridRow::Before(known)), change)),
        DeficitOutput::Row(..) => None,
    }));

    let asked = requests(observed.drawn.clone().flat_map(requests::of_topology).concat(feed.clone().flat_map(requests::of_feed)), registry);
    let outages = changes(asked.clone().flat_map(|told| match told {
        RequestOutput::Outage(island, request, change) => Some(((island, GridRow::Outage(request.into())), change)),
        _ => None,
    }));
    let ask = asked.clone().flat_map(|told| match told {
        RequestOutput::Ask(island) => Some(SolverInput::<GridRow>::Trigger { key: island.0 }),
        _ => None,
    });
    let out_already = changes(asked.clone().flat_map(|told| match told {
        RequestOutput::Out(row, change) => Some((Output::from(row), change)),
        _ => None,
    }));
    let refused = asked.flat_map(|told| match told {
        RequestOutput::Rejected(row) => Some((row, 1)),
        _ => None,
    });
    // What loads draw is in the estimate, or was known before; of units alone it matters which of a bus gives what.
    let at_units = at_equipment.clone().filter(|(_, row)| match row {
        GridRow::Reading(reading) => reading.sensor.quantity == Quantity::ActiveGeneration,
        _ => true,
    });
    let planned = solver_rows(at_units.clone().concat(observed.states.clone()).concat(before.clone()).concat(outages));
    let planned = planned.concat(shared_region(region.clone())).concat(ask);
    let judged = solver(planned, "Maintenance", registry, 0, pools.security.clone(), solve_maintenance());

    let problem = |grid: Changes<'scope, _>| solver_rows(grid.concat(observed.states.clone())).concat(shared_region(region.clone()));
    let worker = feed.scope().index() as u64;
    let listed = named(observed.drawn.clone().flat_map(named::of_topology).concat(feed.clone().flat_map(named::of_feed)), registry);
    let refused = refused.concat(listed.clone().flat_map(|told| match told {
        NamedOutput::Rejected(row) => Some((row, 1)),
        _ => None,
    }));
    let listed = listed.filter(|told| !matches!(told, NamedOutput::Rejected(_))).broadcast();
    let elements = listed.clone().flat_map(move |told| match told {
        NamedOutput::Element(id, place, change) => Some(SolverInput::Shared { worker, row: GridRow::Contingency(id, place), change }),
        _ => None,
    });
    let relisted = listed.flat_map(move |told| match told {
        NamedOutput::Changed => Some(WatchInput::Named(worker)),
        _ => None,
    });

    let analysed = problem(at_equipment.concat(before.clone())).concat(elements);
    let watched = at_units.clone().concat(observed.states.clone()).inner.flat_map(|(row, _, change)| watch::of_island(row, change));
    let watched =
        watched.concat(observed.changed.clone().map(WatchInput::Changed)).concat(feed.clone().flat_map(watch::of_feed)).concat(relisted);
    let analysed = analysed.concat(watch::watch(watched, registry).map(SolverInput::from));
    let analysed = solver(analysed, "Contingencies", registry, 0, pools.security.clone(), solve_contingencies(pools.blocks.clone()));
    let constraints = solver(problem(equipment).concat(triggers), "Constraints", registry, 0, pools.stability.clone(), solve_constraints());
    let is_outcome = |row: &Output| matches!(row, Output::Outcome(_));
    Secured {
        contingencies: analysed.clone().filter(move |row| !is_outcome(row)),
        constraints,
        maintenance: judged.concat(out_already),
        deficits: short.flat_map(|told| match told {
            DeficitOutput::Row(row, change) => Some((Output::from(row), change)),
            DeficitOutput::Before(..) => None,
        }),
        before,
        refused,
        outcomes: analysed.filter(is_outcome),
    }
}
