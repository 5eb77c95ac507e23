//! Observe: hygiene, windows, topology, estimation. What it tells is the region's picture of itself.

use std::sync::Arc;

use gridflow_inputs::ids::{IslandId, ZoneId};
use gridflow_inputs::input::{Region, Timer};
use gridflow_inputs::log::EpochBatch;
use gridflow_inputs::network::EquipmentKind;
use gridflow_inputs::{Input, Sequenced};
use gridflow_operators::accounts::{AccountInput, accounts};
use gridflow_operators::audit::{AuditInput, audit};
use gridflow_operators::decision::{Estimate, Kpi, Output};
use gridflow_operators::estimation::{EstimationRow, solve_estimation};
use gridflow_operators::grid::{GridRow, changes, place_of, solver_rows};
use gridflow_operators::islands::{IslandInput, IslandOutput, islands};
use gridflow_operators::newest::newest;
use gridflow_operators::operating_point;
use gridflow_operators::placement::by_island;
use gridflow_operators::sealed::{Changes, Feed, Rows};
use gridflow_operators::solver::{Pool, SolverInput, solver};
use gridflow_operators::state::Registry;
use gridflow_operators::telemetry::{Bounds, TelemetryOutput, telemetry};
use timely::dataflow::operators::vec::{Filter, Map};
use timely::dataflow::operators::{Concat, OkErr};

/// What observing gives.
pub struct Observed<'scope> {
    /// Streams that wait for no solver: topology, `bus_assignment`, `status_error`, window, kpi, rejected, late, alarm, gap.
    pub accounts: Rows<'scope, (Output, i64)>,
    /// Streams of the estimator: estimate, `estimate_residual`, `estimate_audit`, suspect.
    pub estimates: Changes<'scope, Output>,
    /// Of the estimator.
    pub outcomes: Changes<'scope, Output>,
    /// Key figures, for features.
    pub figures: Changes<'scope, (ZoneId, Kpi)>,
    /// Equipment of each island, its storage telemetry, and what its units give and loads draw: of all that is measured, what
    /// is not in the estimate.
    pub at_equipment: Changes<'scope, (IslandId, GridRow)>,
    /// The newest estimate of each island.
    pub states: Changes<'scope, (IslandId, GridRow)>,
    /// Islands whose equipment changed, or that became observable: to be decided anew at once.
    pub changed: Rows<'scope, IslandId>,
    /// All that topology tells.
    pub drawn: Rows<'scope, IslandOutput>,
}

/// How late rows may be, if the row says so: for which worker, the place of the row in its epoch, the bounds.
fn lateness_of(feed: Feed) -> Option<(u64, u32, Bounds)> {
    match feed {
        Feed::Everywhere(worker, Sequenced { sequence, input: Input::Region(region), .. }) => {
            Some((worker, sequence, Bounds::from(&region)))
        }
        _ => None,
    }
}

/// Tells a worker's solvers to solve all keys when `timer` rings.
pub(crate) fn on_timer<'scope, R: Clone + 'static>(feed: Rows<'scope, Feed>, timer: Timer) -> Rows<'scope, SolverInput<R>> {
    feed.flat_map(move |feed| match feed {
        Feed::Clock(clock) if clock.ticks.iter().any(|tick| tick.timer == timer) => Some(SolverInput::TriggerAll { worker: clock.worker }),
        _ => None,
    })
}

/// The region as a row that all keys see.
pub(crate) fn shared_region<'scope>(region: Changes<'scope, (u64, Region)>) -> Rows<'scope, SolverInput<GridRow>> {
    region.inner.map(|((worker, region), _, change)| SolverInput::Shared { worker, row: GridRow::Region(Arc::new(region)), change })
}

/// Wires observation.
#[allow(clippy::result_large_err, reason = "no errors: one of two ways a row goes")]
pub fn build<'scope>(
    feed: Rows<'scope, Feed>,
    batches: Rows<'scope, Arc<EpochBatch>>,
    region: Changes<'scope, (u64, Region)>,
    pool: &Pool,
    registry: &Registry,
) -> Observed<'scope> {
    // Rows for streams and parts of accounts are almost all there is: they are moved apart, not copied for each reader.
    let (rows_of_sensors, told) = telemetry(batches, registry).ok_err::<Vec<_>, _, Vec<_>, _, _>(|told| match told {
        TelemetryOutput::Row(row, change) => Ok((row, change)),
        told => Err(told),
    });
    let (partials, told) = told.ok_err::<Vec<_>, _, Vec<_>, _, _>(|told| match told {
        TelemetryOutput::Partial(partial) => Ok(AccountInput::Partial(partial)),
        told => Err(told),
    });
    let drawn = islands(
        feed.clone().flat_map(|feed| match feed {
            Feed::Row(row) => match row.input {
                Input::Bus(_) | Input::Branch(_) | Input::Transformer(_) | Input::Generator(_) | Input::Load(_) | Input::Shunt(_) => {
                    Some(IslandInput::Row(row))
                }
                Input::Storage(_) | Input::DcLine(_) | Input::NodeSwitch(_) | Input::StaticVar(_) | Input::ShuntBank(_) => {
                    Some(IslandInput::Row(row))
                }
                Input::Switch(_) | Input::SwitchStatus(_) | Input::StepPosition(_) => Some(IslandInput::Row(row)),
                _ => None,
            },
            Feed::Clock(clock) if clock.worker == 0 => Some(IslandInput::Clock(clock)),
            _ => None,
        }),
        registry,
    );

    let clocks = feed.clone().flat_map(|feed| match feed {
        Feed::Clock(clock) => Some(AccountInput::Clock(clock)),
        feed => lateness_of(feed).map(|(worker, sequence, bounds)| AccountInput::Lateness { worker, sequence, bounds }),
    });
    let (figures, summed) = accounts(partials.concat(clocks), registry).ok_err::<Vec<_>, _, Vec<_>, _, _>(|(row, change)| match row {
        Output::Kpi(row) => Ok((row, change)),
        row => Err((row, change)),
    });
    let rows_of_figures = figures.clone().map(|(row, change)| (row.into(), change));
    let figures = changes(figures.map(|(row, change)| ((row.zone, row), change)));
    let rows_of_islands = drawn.clone().flat_map(|drawn| match drawn {
        IslandOutput::Row(row, change) => Some((row, change)),
        _ => None,
    });

    let placed = changes(drawn.clone().flat_map(|drawn| match drawn {
        IslandOutput::Placed(place, island, change) => Some(((place, island), change)),
        _ => None,
    }));
    let equipment = changes(drawn.clone().flat_map(|drawn| match drawn {
        IslandOutput::Element(place, row, change) => Some(((place, GridRow::Element(Arc::new(row))), change)),
        _ => None,
    }));
    let readings = changes(told.clone().flat_map(|told| match told {
        TelemetryOutput::Newest(reading, change) => Some(((place_of(&reading), GridRow::Reading(reading)), change)),
        _ => None,
    }));
    let reports = feed.clone().flat_map(|feed| match feed {
        Feed::Row(Sequenced { input: Input::StorageTelemetry(row), .. }) => {
            Some(((EquipmentKind::Storage, row.storage.0), row.event_ms, GridRow::Storage(row.into())))
        }
        _ => None,
    });
    let storages = newest(reports, "Storage reports", registry, |(_, id)| u64::from(*id));
    let phasors = told.clone().flat_map(|told| match told {
        TelemetryOutput::Phasor(reading) => {
            let key = (reading.sensor.id.0, reading.sensor.quantity);
            Some((key, reading.event_ms, (place_of(&reading), GridRow::Reading(reading))))
        }
        _ => None,
    });
    let phasors = newest(phasors, "Phasors", registry, |(sensor, _)| u64::from(*sensor)).map(|(_, placed)| placed);
    let references = changes(drawn.clone().flat_map(|drawn| match drawn {
        IslandOutput::Island(island, row, change) => Some(((island, GridRow::Island(row)), change)),
        _ => None,
    }));
    let idle = changes(drawn.clone().flat_map(|drawn| match drawn {
        IslandOutput::Idle(place, idle, change) => Some(((place, idle), change)),
        _ => None,
    }));
    let (grid, status_errors) = by_island(equipment.concat(readings).concat(phasors).concat(storages), placed, idle);
    let grid = grid.concat(references);
    let status_errors = status_errors.inner.map(|(row, _, change)| (Output::from(row), change));
    let at_equipment = grid.clone().filter(|(_, row)| match row {
        GridRow::Reading(reading) => operating_point::reads(reading.sensor.quantity),
        _ => true,
    });
    let changed = drawn.clone().flat_map(|drawn| match drawn {
        IslandOutput::Changed(island) => Some(island),
        _ => None,
    });

    // At a switch at once: what comes of it is sealed with its epoch.
    let at_changes = changed.clone().map(|island: IslandId| SolverInput::Trigger { key: island.0 });
    let triggers = on_timer(feed.clone(), Timer::Estimate).concat(at_changes);
    let problem = solver_rows(grid).concat(triggers).concat(shared_region(region));
    let estimated = solver(problem, "Estimation", registry, 0, pool.clone(), solve_estimation());
    let corrections = told.flat_map(|told| match told {
        TelemetryOutput::Correction(row) => Some(AuditInput::Correction(row)),
        _ => None,
    });
    let used = estimated.clone().inner.flat_map(|(row, _, change)| match row {
        EstimationRow::Used(used) if change > 0 => Some(AuditInput::Used(used)),
        _ => None,
    });
    let lateness = feed.flat_map(lateness_of).filter(|(worker, ..)| *worker == 0);
    let lateness = lateness.map(|(_, sequence, bounds)| AuditInput::Lateness { sequence, bounds });
    let audited = changes(audit(used.concat(corrections).concat(lateness), registry));
    let estimation_rows = estimated.clone().flat_map(|row| match row {
        EstimationRow::Row(row) => Some(row),
        EstimationRow::Used(_) | EstimationRow::Observable(_) => None,
    });
    // The marker is asserted once and stands while the island stays observable.
    let observable = estimated.inner.flat_map(|(row, _, change)| match row {
        EstimationRow::Observable(island) if change > 0 => Some(island),
        _ => None,
    });
    let states = estimation_rows.clone().flat_map(|row| match row {
        Output::Estimate(row) => Some((row.island, row)),
        _ => None,
    });
    let states = states.map(|(island, row): (IslandId, Estimate)| (island, GridRow::Estimate(Arc::new(row))));
    Observed {
        accounts: summed.concat(rows_of_figures).concat(rows_of_sensors).concat(rows_of_islands).concat(status_errors),
        estimates: estimation_rows.clone().filter(|row| !matches!(row, Output::Outcome(_))).concat(audited),
        outcomes: estimation_rows.filter(|row| matches!(row, Output::Outcome(_))),
        figures,
        at_equipment,
        states,
        changed: changed.concat(observable),
        drawn,
    }
}
