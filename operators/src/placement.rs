//! The placement join: rows of equipment and of sensors at it, by the island the equipment belongs to; and readings that contradict
//! switches.
//!
//! By definition it is relational: a row and a place of the same equipment give a row of the island, so many times as both
//! hold, and a switch moves the rows of the equipment it moves and no others. As an arranged join it would hold each new
//! reading as a retraction and an insertion in batches that are merged again and again; here both meet in the slot of their
//! sensor. Nothing is saved: all of it is told again by the collections it comes from.

use std::collections::BTreeMap;

use differential_dataflow::AsCollection;
use gridflow_inputs::Epoch;
use gridflow_inputs::ids::IslandId;
use gridflow_inputs::input::Quantity;
use gridflow_inputs::network::EquipmentKind;
use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Capability, Concat, OkErr};

use crate::decision::{StatusError, StatusErrorKind};
use crate::grid::GridRow;
use crate::islands::{Idle, IdleState, Place};
use crate::lookup::Lookup;
use crate::multiset::{Multiset, Slotted};
use crate::sealed::{Changes, Rows};

/// What is told of a place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Told {
    Row(GridRow),
    Belongs(IslandId),
    Idle(Idle),
}

type Change = (Place, Told, i64);
/// With its slot.
type Row = (u64, GridRow, i64);
type Placed = ((IslandId, GridRow), i64);
type Error = (StatusError, i64);

/// Counts of the few values that a place has at a time.
#[derive(Debug)]
struct Counts<T>(Vec<(T, i64)>);

impl<T> Default for Counts<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: PartialEq> Counts<T> {
    fn change(&mut self, value: T, by: i64) {
        match self.0.iter().position(|(known, _)| *known == value) {
            Some(place) => {
                self.0[place].1 += by;
                if self.0[place].1 == 0 {
                    self.0.swap_remove(place);
                }
            }
            None if by != 0 => self.0.push((value, by)),
            None => {}
        }
    }
}

/// A place, what is there and where it belongs.
#[derive(Debug, Default)]
struct At {
    rows: Multiset<GridRow>,
    islands: Counts<IslandId>,
    idle: Counts<Idle>,
}

#[derive(Default)]
struct Placement {
    places: Lookup,
    at: Vec<At>,
}

fn number((equipment, id): Place) -> u64 {
    (equipment as u64) << 32 | u64::from(id)
}

impl Placement {
    /// Takes the changes of an epoch, and tells those of both joins.
    fn epoch(&mut self, mut changes: Vec<Change>, placed: &mut Vec<Placed>, errors: &mut Vec<Error>) {
        changes.sort_by_key(|(place, ..)| number(*place));
        let mut changes = changes.into_iter().peekable();
        let (mut rows, mut islands, mut idle): (Vec<Row>, _, _) = (Vec::new(), Counts::default(), Counts::default());
        while let Some((place, told, change)) = changes.next() {
            let mut take = |told, change| match told {
                Told::Row(row) => rows.push((row.slot(), row, change)),
                Told::Belongs(island) => islands.change(island, change),
                Told::Idle(state) => idle.change(state, change),
            };
            take(told, change);
            while let Some((_, told, change)) = changes.next_if(|(next, ..)| *next == place) {
                take(told, change);
            }
            net(&mut rows);
            let (index, is_new) = self.places.place(number(place), self.at.len());
            if is_new {
                self.at.push(At::default());
            }
            let at = &mut self.at[index];
            let of_island = |row: &GridRow, island| Some((island, row.clone()));
            if islands.0.is_empty() {
                // A reading in the place of another: nothing cancels.
                for (_, row, by) in &rows {
                    placed.extend(at.islands.0.iter().filter_map(|(island, count)| Some((of_island(row, *island)?, count * by))));
                }
            } else {
                join(&at.rows, &rows, &mut at.islands, std::mem::take(&mut islands), of_island, placed);
            }
            if !(idle.0.is_empty() && at.idle.0.is_empty()) {
                join(&at.rows, &rows, &mut at.idle, std::mem::take(&mut idle), |row, idle| contradiction(place, row, idle), errors);
            }
            rows.drain(..).for_each(|(slot, row, change)| at.rows.change(slot, row, change));
        }
    }
}

/// Adds up changes of the same row.
fn net(rows: &mut Vec<Row>) {
    rows.sort_by_key(|(slot, ..)| *slot);
    let mut kept: usize = 0;
    for next in 0..rows.len() {
        let (slot, row, by) = &rows[next];
        let by = *by;
        let alike = (0..kept).rev().take_while(|known| rows[*known].0 == *slot).find(|known| rows[*known].1 == *row);
        match alike {
            Some(known) => rows[known].2 += by,
            None => {
                rows.swap(kept, next);
                kept += 1;
            }
        }
    }
    rows.truncate(kept);
    rows.retain(|(.., by)| *by != 0);
}

/// Changes of the product of rows and values, both of which change, without those that cancel; takes those of the values.
fn join<T: Copy + PartialEq, D: Ord>(
    before: &Multiset<GridRow>,
    rows: &[Row],
    values: &mut Counts<T>,
    changes: Counts<T>,
    product: impl Fn(&GridRow, T) -> Option<D>,
    out: &mut Vec<(D, i64)>,
) {
    // Where both change, what goes comes from before, what comes from after.
    let mut told = BTreeMap::new();
    let mut tell = |row, value, by| {
        if let Some(row) = product(row, value) {
            *told.entry(row).or_insert(0) += by;
        }
    };
    for (value, by) in changes.0 {
        before.iter().for_each(|(row, count)| tell(row, value, count * by));
        values.change(value, by);
    }
    for (_, row, by) in rows {
        values.0.iter().for_each(|(value, count)| tell(row, *value, count * by));
    }
    out.extend(told.into_iter().filter(|(_, by)| *by != 0));
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

/// Rows of equipment and of sensors at it, by the island the equipment belongs to; and the readings that contradict what
/// `idle` says of their place. A sensor that goes on contradicting tells nothing new.
#[must_use]
#[allow(clippy::result_large_err, reason = "no errors: one of two ways a row goes")]
pub fn by_island<'scope>(
    rows: Changes<'scope, (Place, GridRow)>,
    placed: Changes<'scope, (Place, IslandId)>,
    idle: Changes<'scope, (Place, Idle)>,
) -> (Changes<'scope, (IslandId, GridRow)>, Changes<'scope, StatusError>) {
    let rows: Rows<'scope, _> = rows.inner.map(|((place, row), at, change)| (at, (place, Told::Row(row), change)));
    let placed = placed.inner.map(|((place, island), at, change)| (at, (place, Told::Belongs(island), change)));
    let idle = idle.inner.map(|((place, idle), at, change)| (at, (place, Told::Idle(idle), change)));
    let route = Exchange::new(|(_, (place, ..)): &(Epoch, Change)| number(*place));
    let (grid, errors) = rows
        .concat(placed)
        .concat(idle)
        .unary_frontier::<CapacityContainerBuilder<Vec<_>>, _, _, _>(route, "Placement", |_, _| {
            let mut placement = Placement::default();
            let mut held: BTreeMap<Epoch, (Capability<Epoch>, Vec<Change>)> = BTreeMap::new();
            let (mut placed, mut errors) = (Vec::new(), Vec::new());
            move |(input, frontier), output| {
                input.for_each_time(|time, batches| {
                    for (epoch, change) in batches.flat_map(|batch| batch.drain(..)) {
                        held.entry(epoch).or_insert_with(|| (time.delayed(&epoch, 0), Vec::new())).1.push(change);
                    }
                });
                let frontier = frontier.frontier();
                while let Some(entry) = held.first_entry() {
                    if frontier.less_equal(entry.key()) {
                        break;
                    }
                    let (epoch, (capability, changes)) = entry.remove_entry();
                    placement.epoch(changes, &mut placed, &mut errors);
                    let mut session = output.session(&capability);
                    session.give_iterator(placed.drain(..).map(|(row, by)| Ok((row, epoch, by))));
                    session.give_iterator(errors.drain(..).map(|(row, by)| Err((row, epoch, by))));
                }
            }
        })
        .ok_err::<Vec<_>, _, Vec<_>, _, _>(|told| told);
    (grid.as_collection(), errors.as_collection())
}
