//! What solvers of an island are given: rows of its equipment and of the sensors at it, joined with where they belong.
//!
//! The join is relational: a switch moves the rows of the equipment it moves and no others.

use std::collections::BTreeMap;
use std::sync::Arc;

use differential_dataflow::AsCollection;
use gridflow_inputs::ids::IslandId;
use gridflow_inputs::input::{OutageRequest, Quantity, Region, StorageTelemetry};
use gridflow_inputs::network::{EquipmentKind, Network};
use gridflow_inputs::{Epoch, Input};
use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Map;

use crate::decision::{Estimate, Forecast, Shed, StatusError, StatusErrorKind};
use crate::deficit::Before;
use crate::dispatch::Plan;
use crate::islands::{Idle, IdleState, IslandRow, Place};
use crate::sealed::{Changes, Rows};
use crate::solver::SolverInput;
use crate::telemetry::Reading;

/// A row of an island's problem. What is large is shared: rows are copied into arrangements and into each solver.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GridRow {
    /// The region; shared by all islands.
    Region(Arc<Region>),
    /// The island as a whole.
    Island(IslandRow),
    /// A piece of equipment in service.
    Element(Arc<Input>),
    /// The newest good reading of a sensor.
    Reading(Arc<Reading>),
    /// What a storage unit last reported.
    Storage(StorageTelemetry),
    /// The newest estimate.
    Estimate(Arc<Estimate>),
    /// A load that is shed.
    Shed(Shed),
    /// A plan that wants to take effect.
    Plan(Arc<Plan>),
    /// What is expected of a zone; shared by all islands.
    Forecast(Forecast),
    /// What was known just before the island's equipment changed.
    Before(Arc<Before>),
    /// Equipment of the island is to go out.
    Outage(OutageRequest),
}

/// The rows of a problem, sorted by what they are.
#[derive(Debug, Default)]
#[allow(missing_docs)] // each field holds the rows of that name
pub struct IslandRows {
    pub region: Option<Region>,
    pub island: Option<IslandRow>,
    pub network: Network,
    pub readings: Vec<Reading>,
    pub storages: Vec<StorageTelemetry>,
    pub estimate: Option<Estimate>,
    pub sheds: Vec<Shed>,
    pub plan: Option<Plan>,
    pub forecasts: Vec<Forecast>,
    pub before: Option<Arc<Before>>,
    pub outages: Vec<OutageRequest>,
}

impl IslandRows {
    /// Sorts the rows of a problem.
    pub fn new<'a>(rows: impl IntoIterator<Item = &'a GridRow>) -> Self {
        let mut sorted = Self::default();
        let mut elements = Vec::new();
        for row in rows {
            match row {
                GridRow::Region(row) => sorted.region = Some(Region::clone(row)),
                GridRow::Island(row) => sorted.island = Some(*row),
                GridRow::Element(row) => elements.push(&**row),
                GridRow::Reading(row) => sorted.readings.push(Reading::clone(row)),
                GridRow::Storage(row) => sorted.storages.push(row.clone()),
                GridRow::Estimate(row) => sorted.estimate = Some(Estimate::clone(row)),
                GridRow::Shed(row) => sorted.sheds.push(row.clone()),
                GridRow::Plan(row) => sorted.plan = Some(Plan::clone(row)),
                GridRow::Forecast(row) => sorted.forecasts.push(row.clone()),
                GridRow::Before(row) => sorted.before = Some(Arc::clone(row)),
                GridRow::Outage(row) => sorted.outages.push(row.clone()),
            }
        }
        sorted.network = Network::from_rows(elements);
        sorted
    }
}

/// Rows of equipment and of sensors at it, by the island the equipment belongs to; and the readings that contradict what
/// `idle` says of their place. Both look into one index of the rows.
#[must_use]
pub fn by_island<'scope>(
    rows: Changes<'scope, (Place, GridRow)>,
    placed: Changes<'scope, (Place, IslandId)>,
    idle: Changes<'scope, (Place, Idle)>,
) -> (Changes<'scope, (IslandId, GridRow)>, Changes<'scope, StatusError>) {
    let rows = rows.arrange_by_key();
    let grid = rows.clone().join_core(placed.arrange_by_key(), |_place, row, island| Some((*island, row.clone())));
    let errors = rows.join_core(idle.arrange_by_key(), |place, row, idle| contradiction(*place, row, *idle));
    // A sensor that goes on reporting withdraws and states the same.
    (at_own_epochs(grid), at_own_epochs(errors.consolidate()))
}

/// What a reading contradicts: beyond three standard deviations, and taken since its place is without supply.
fn contradiction((equipment, id): Place, row: &GridRow, idle: Idle) -> Option<StatusError> {
    let GridRow::Reading(reading) = row else { return None };
    let beyond = reading.value.unsigned_abs() > reading.sensor.sigma.unsigned_abs().saturating_mul(3);
    if !beyond || reading.event_ms <= idle.since_ms {
        return None;
    }
    let quantity = reading.sensor.quantity;
    let kind = match (equipment, quantity, idle.state) {
        (EquipmentKind::Branch, Quantity::ActiveFlow | Quantity::ReactiveFlow | Quantity::CurrentMagnitude, state) => match state {
            IdleState::Out => StatusErrorKind::FlowOnOpenBranch,
            IdleState::OpenAtBothEnds => StatusErrorKind::FlowWithBothEndsOpen,
            IdleState::Dead => StatusErrorKind::FlowOnDeadBranch,
        },
        (EquipmentKind::Bus, Quantity::ActiveInjection | Quantity::ReactiveInjection, _) => StatusErrorKind::InjectionAtDeadBus,
        _ => return None,
    };
    Some(StatusError { kind, equipment, id, sensor: reading.sensor.id, quantity })
}

/// The place a reading is joined at: its element, for meters below a bus that bus.
#[must_use]
pub fn place_of(reading: &Reading) -> Place {
    match reading.sensor.element {
        EquipmentKind::Feeder => (EquipmentKind::Bus, reading.sensor.element_id),
        element => (element, reading.sensor.element_id),
    }
}

/// Rows of islands as a solver takes them.
#[must_use]
pub fn solver_rows<'scope>(rows: Changes<'scope, (IslandId, GridRow)>) -> Rows<'scope, SolverInput<GridRow>> {
    rows.inner.map(|((island, row), _, change)| SolverInput::Row { key: island.0, row, change })
}

/// Sends each row of a collection in a message of its own epoch.
///
/// A relational operator works through a batch of several epochs at once and sends what comes of it in messages of the
/// first of them, each row carrying its own. Sealed operators and solvers go by the message: without this step they
/// would take rows of later epochs for known at an earlier one, depending on how epochs happened to be batched.
#[must_use]
pub fn at_own_epochs<'scope, D: Clone + 'static>(rows: Changes<'scope, D>) -> Changes<'scope, D> {
    rows.inner
        .unary::<CapacityContainerBuilder<Vec<_>>, _, _, _>(Pipeline, "At own epochs", |_, _| {
            let mut by_epoch: BTreeMap<Epoch, Vec<_>> = BTreeMap::new();
            move |input, output| {
                input.for_each_time(|time, batches| {
                    for row in batches.flat_map(|batch| batch.drain(..)) {
                        by_epoch.entry(row.1).or_default().push(row);
                    }
                    while let Some((epoch, rows)) = by_epoch.pop_first() {
                        output.session(&time.delayed(&epoch, 0)).give_iterator(rows.into_iter());
                    }
                });
            }
        })
        .as_collection()
}

/// Rows and their changes as a collection, at the epoch they came at.
#[must_use]
pub fn changes<'scope, D: Clone + 'static>(rows: Rows<'scope, (D, i64)>) -> Changes<'scope, D> {
    rows.unary::<CapacityContainerBuilder<Vec<_>>, _, _, _>(Pipeline, "Changes", |_, _| {
        move |input, output| {
            input.for_each_time(|time, batches| {
                let epoch = *time.time();
                output.session(&time).give_iterator(batches.flat_map(|batch| batch.drain(..)).map(|(row, change)| (row, epoch, change)));
            });
        }
    })
    .as_collection()
}
