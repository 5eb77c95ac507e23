//! What solvers of an island are given: rows of its equipment and of the sensors at it, which `placement` joins with where they belong.

use std::collections::BTreeMap;
use std::sync::Arc;

use differential_dataflow::AsCollection;
use gridflow_inputs::ids::IslandId;
use gridflow_inputs::input::{OutageRequest, Region, StorageTelemetry};
use gridflow_inputs::network::{EquipmentKind, Network};
use gridflow_inputs::{Epoch, Input};
use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Map;

use crate::decision::{Estimate, Forecast, Shed};
use crate::deficit::Before;
use crate::dispatch::Plan;
use crate::hygiene::about;
use crate::islands::{IslandRow, Place};
use crate::multiset::Slotted;
use crate::sealed::{Changes, Rows};
use crate::solver::SolverInput;
use crate::telemetry::Reading;

/// A row of an island's problem. All but small ones are shared: rows are passed on and copied for each reader by the hundred thousand.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GridRow {
    /// The region; shared by all islands.
    Region(Arc<Region>),
    /// The island as a whole.
    Island(IslandRow),
    /// A piece of equipment in service.
    Element(Arc<Input>),
    /// The newest good reading of a sensor.
    Reading(Reading),
    /// What a storage unit last reported.
    Storage(Arc<StorageTelemetry>),
    /// The newest estimate.
    Estimate(Arc<Estimate>),
    /// A load that is shed.
    Shed(Arc<Shed>),
    /// A plan that wants to take effect.
    Plan(Arc<Plan>),
    /// What is expected of a zone; shared by all islands.
    Forecast(Arc<Forecast>),
    /// What was known just before the island's equipment changed.
    Before(Arc<Before>),
    /// Equipment of the island is to go out.
    Outage(Arc<OutageRequest>),
    /// An element of a contingency that operators named, with its number; shared by all islands.
    Contingency(u64, Place),
}

impl Slotted for GridRow {
    /// By what it is, as the list above has them, and of whom.
    fn slot(&self) -> u64 {
        let (list, of) = match self {
            Self::Region(_) => (0, 0),
            Self::Island(_) => (1, 0),
            Self::Element(row) => (2, (row.kind() as u64) << 32 | u64::from(about(row).0)),
            Self::Reading(row) => (3, u64::from(row.sensor.id.0)),
            Self::Storage(row) => (4, u64::from(row.storage.0)),
            Self::Estimate(_) => (5, 0),
            Self::Shed(row) => (6, u64::from(row.load.0)),
            Self::Plan(_) => (7, 0),
            Self::Forecast(row) => (8, u64::from(row.zone.0) << 24 | (row.valid_at_ms / 900_000) as u64 & 0xff_ffff),
            Self::Before(_) => (9, 0),
            Self::Outage(row) => (10, row.id & 0xff_ffff_ffff_ffff),
            Self::Contingency(id, _) => (11, id & 0xff_ffff_ffff_ffff),
        };
        list << 56 | of
    }
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
                GridRow::Reading(row) => sorted.readings.push(row.clone()),
                GridRow::Storage(row) => sorted.storages.push(StorageTelemetry::clone(row)),
                GridRow::Estimate(row) => sorted.estimate = Some(Estimate::clone(row)),
                GridRow::Shed(row) => sorted.sheds.push(Shed::clone(row)),
                GridRow::Plan(row) => sorted.plan = Some(Plan::clone(row)),
                GridRow::Forecast(row) => sorted.forecasts.push(Forecast::clone(row)),
                GridRow::Before(row) => sorted.before = Some(Arc::clone(row)),
                GridRow::Outage(row) => sorted.outages.push(OutageRequest::clone(row)),
                // Of no problem but that of contingencies, which asks for them before all else.
                GridRow::Contingency(..) => {}
            }
        }
        sorted.network = Network::from_rows(elements);
        sorted
    }
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
