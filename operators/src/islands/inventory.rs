//! Which version of every network row holds, and how every switch stands.
//!
//! Invariant: after the rows of an epoch, the version that holds is the one with the greatest `valid_from_ms` not after
//! the epoch, of equal ones the last to come; a switch is as its newest status says, by event time, else as its row says.

use std::collections::{BTreeMap, BTreeSet};

use gridflow_inputs::Input;
use gridflow_inputs::ids::{BusId, SwitchId};
use gridflow_inputs::input::{Kind, Quality, Switch, SwitchStatus};
use gridflow_inputs::network::{BusKind, EquipmentKind};
use serde::{Deserialize, Serialize};

use super::Place;
use crate::decision::Reason;
use crate::state::StateError;

/// Identity of a network row. Transformers share a place with their branch: the kind tells.
pub(super) type Key = (Place, Kind);

/// Where a network row belongs and from when on it holds.
fn describe(row: &Input) -> Option<(Place, i64)> {
    Some(match row {
        Input::Bus(row) => ((EquipmentKind::Bus, row.id.0), row.valid_from_ms),
        Input::Branch(row) => ((EquipmentKind::Branch, row.id.0), row.valid_from_ms),
        Input::Transformer(row) => ((EquipmentKind::Branch, row.branch.0), row.valid_from_ms),
        Input::Generator(row) => ((EquipmentKind::Generator, row.id.0), row.valid_from_ms),
        Input::Load(row) => ((EquipmentKind::Load, row.id.0), row.valid_from_ms),
        Input::Shunt(row) => ((EquipmentKind::Shunt, row.id.0), row.valid_from_ms),
        Input::Storage(row) => ((EquipmentKind::Storage, row.id.0), row.valid_from_ms),
        Input::DcLine(row) => ((EquipmentKind::DcLine, row.id.0), row.valid_from_ms),
        _ => return None,
    })
}

/// Kind of the row that says where a piece of equipment is connected.
fn kind_of(equipment: EquipmentKind) -> Option<Kind> {
    Some(match equipment {
        EquipmentKind::Bus => Kind::Bus,
        EquipmentKind::Branch => Kind::Branch,
        EquipmentKind::Generator => Kind::Generator,
        EquipmentKind::Load => Kind::Load,
        EquipmentKind::Shunt => Kind::Shunt,
        EquipmentKind::Storage => Kind::Storage,
        EquipmentKind::DcLine => Kind::DcLine,
        EquipmentKind::Zone | EquipmentKind::Feeder => return None,
    })
}

/// Buses a piece of equipment needs, when its own row has it in service.
fn terminals(row: &Input) -> Option<(BusId, Option<BusId>)> {
    match row {
        Input::Bus(row) => (row.kind != BusKind::Isolated).then_some((row.id, None)),
        Input::Branch(row) => row.in_service.then_some((row.from, Some(row.to))),
        Input::Generator(row) => row.in_service.then_some((row.bus, None)),
        Input::Load(row) => row.in_service.then_some((row.bus, None)),
        Input::Shunt(row) => row.in_service.then_some((row.bus, None)),
        Input::Storage(row) => row.in_service.then_some((row.bus, None)),
        Input::DcLine(row) => row.in_service.then_some((row.from, Some(row.to))),
        _ => None,
    }
}

/// How a piece of equipment stands, whatever its buses do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// The buses it needs; `None` when its row or a switch has it out of service.
    pub(super) ends: Option<(BusId, Option<BusId>)>,
    /// Power it can give as a source; 0 when it is none.
    pub(super) source: i64,
}

#[derive(Debug, Default)]
struct Record {
    holds: Option<Input>,
    /// Versions that hold from a time still to come.
    later: BTreeMap<i64, Input>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct SwitchState {
    row: Switch,
    /// Event time and state of the newest status; the row's normal state holds until there is one.
    status: Option<(i64, bool)>,
}

impl SwitchState {
    fn closed(&self) -> bool {
        self.status.map_or(self.row.normally_closed, |(_, closed)| closed)
    }

    fn place(&self) -> Place {
        (self.row.equipment, self.row.equipment_id)
    }
}

/// What must be remembered of the inventory.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct SavedInventory {
    /// Versions that hold, and those that will.
    holds: Vec<Input>,
    later: Vec<Input>,
    switches: Vec<SwitchState>,
    /// Rows of switches that hold from a time still to come.
    later_switches: Vec<Switch>,
}

impl SavedInventory {
    pub(super) fn is_empty(&self) -> bool {
        [self.holds.len(), self.later.len(), self.switches.len(), self.later_switches.len()] == [0; 4]
    }
}

/// What an epoch changed.
#[derive(Debug, Default)]
pub(super) struct Renewed {
    /// Rows of which another version came to hold, with the one that held before.
    before: BTreeMap<Key, Option<Input>>,
    /// Places that may stand otherwise than before.
    pub(super) places: BTreeSet<Place>,
}

#[derive(Debug, Default)]
pub(super) struct Inventory {
    records: BTreeMap<Key, Record>,
    /// Rows that hold from a time still to come.
    pending: BTreeMap<i64, BTreeSet<Key>>,
    switches: BTreeMap<SwitchId, SwitchState>,
    pending_switches: BTreeMap<i64, BTreeMap<SwitchId, Switch>>,
    by_equipment: BTreeMap<Place, BTreeSet<SwitchId>>,
}

impl Inventory {
    /// Lets what was announced for a time up to `now` hold.
    pub(super) fn mature(&mut self, now: i64, renewed: &mut Renewed) {
        while let Some(entry) = self.pending_switches.first_entry().filter(|entry| *entry.key() <= now) {
            entry.remove().into_values().for_each(|switch| self.define_switch(switch, renewed));
        }
        while let Some(entry) = self.pending.first_entry().filter(|entry| *entry.key() <= now) {
            let (from_ms, keys) = entry.remove_entry();
            for key in keys {
                if let Some(row) = self.records.get_mut(&key).and_then(|record| record.later.remove(&from_ms)) {
                    self.hold(key, from_ms, row, renewed);
                }
            }
        }
    }

    /// Takes a network row or the row of a switch; passes over any other.
    pub(super) fn define(&mut self, now: i64, row: Input, renewed: &mut Renewed) {
        if let Input::Switch(switch) = row {
            if switch.valid_from_ms <= now {
                self.define_switch(switch, renewed);
            } else {
                self.pending_switches.entry(switch.valid_from_ms).or_default().insert(switch.id, switch);
            }
        } else if let Some((place, from_ms)) = describe(&row) {
            let key = (place, row.kind());
            if from_ms <= now {
                self.hold(key, from_ms, row, renewed);
            } else {
                self.pending.entry(from_ms).or_default().insert(key);
                self.records.entry(key).or_default().later.insert(from_ms, row);
            }
        }
    }

    /// A version holds unless a newer one does.
    fn hold(&mut self, key: Key, from_ms: i64, row: Input, renewed: &mut Renewed) {
        let record = self.records.entry(key).or_default();
        if record.holds.as_ref().and_then(describe).is_some_and(|(_, holds_from)| holds_from > from_ms) {
            return;
        }
        let before = record.holds.replace(row);
        renewed.before.entry(key).or_insert(before);
    }

    fn define_switch(&mut self, row: Switch, renewed: &mut Renewed) {
        let (id, place) = (row.id, (row.equipment, row.equipment_id));
        let mut status = None;
        if let Some(known) = self.switches.get(&id) {
            if known.row.valid_from_ms > row.valid_from_ms {
                return;
            }
            status = known.status;
            renewed.places.insert(known.place());
            if let Some(switches) = self.by_equipment.get_mut(&known.place()) {
                switches.remove(&id);
            }
        }
        renewed.places.insert(place);
        self.by_equipment.entry(place).or_default().insert(id);
        self.switches.insert(id, SwitchState { row, status });
    }

    /// Applies a status. The newest event time wins, not the newest arrival.
    pub(super) fn switch(&mut self, now: i64, status: &SwitchStatus, renewed: &mut Renewed) -> Result<(), (Reason, i64)> {
        let switch = self.switches.get_mut(&status.switch).ok_or((Reason::Unknown, i64::from(status.closed)))?;
        if status.event_ms > now + crate::telemetry::FUTURE_MS {
            return Err((Reason::Future, status.event_ms));
        }
        if status.quality >= Quality::Bad {
            return Err((Reason::Malformed, status.quality as i64));
        }
        if switch.status.is_some_and(|(event_ms, _)| status.event_ms < event_ms) {
            return Err((Reason::Superseded, status.event_ms));
        }
        if switch.closed() != status.closed {
            renewed.places.insert(switch.place());
        }
        switch.status = Some((status.event_ms, status.closed));
        Ok(())
    }

    /// Places of which a row changed, with the version that held and the one that holds, by place and kind; notes them
    /// among those that may stand otherwise.
    pub(super) fn changed(&self, renewed: &mut Renewed) -> Vec<(Place, Option<Input>, Input)> {
        let mut changed = Vec::new();
        for ((place, kind), before) in std::mem::take(&mut renewed.before) {
            let holds = self.records.get(&(place, kind)).and_then(|record| record.holds.clone());
            if let Some(holds) = holds
                && before.as_ref() != Some(&holds)
            {
                renewed.places.insert(place);
                changed.push((place, before, holds));
            }
        }
        changed
    }

    /// How a piece of equipment stands; `None` when no row of it holds.
    pub(super) fn standing(&self, place: Place) -> Option<Standing> {
        let row = self.records.get(&(place, kind_of(place.0)?))?.holds.as_ref()?;
        let closed = self.by_equipment.get(&place).is_none_or(|switches| switches.iter().all(|id| self.switches[id].closed()));
        let ends = terminals(row).filter(|_| closed);
        let source = match row {
            Input::Generator(unit) if ends.is_some() => unit.p_max.0.max(0),
            _ => 0,
        };
        Some(Standing { ends, source })
    }

    /// How all equipment stands.
    pub(super) fn all(&self) -> impl Iterator<Item = (Place, Standing)> + '_ {
        let places = self.records.keys().filter(|((equipment, _), kind)| kind_of(*equipment) == Some(*kind));
        places.filter_map(|(place, _)| Some((*place, self.standing(*place)?)))
    }

    /// All rows that hold.
    pub(super) fn rows(&self) -> impl Iterator<Item = (Place, &Input)> {
        self.records.iter().filter_map(|((place, _), record)| Some((*place, record.holds.as_ref()?)))
    }

    pub(super) fn save(&self) -> SavedInventory {
        SavedInventory {
            holds: self.rows().map(|(_, row)| row.clone()).collect(),
            later: self.records.values().flat_map(|record| record.later.values().cloned()).collect(),
            switches: self.switches.values().cloned().collect(),
            later_switches: self.pending_switches.values().flat_map(|switches| switches.values().cloned()).collect(),
        }
    }

    /// Takes saved rows.
    pub(super) fn load(&mut self, saved: SavedInventory) -> Result<(), StateError> {
        let no_row = || StateError::new("a row among those of the network is none");
        for row in saved.holds {
            let key = (describe(&row).ok_or_else(no_row)?.0, row.kind());
            self.records.entry(key).or_default().holds = Some(row);
        }
        for row in saved.later {
            let (place, from_ms) = describe(&row).ok_or_else(no_row)?;
            let key = (place, row.kind());
            self.pending.entry(from_ms).or_default().insert(key);
            self.records.entry(key).or_default().later.insert(from_ms, row);
        }
        for switch in saved.switches {
            self.by_equipment.entry(switch.place()).or_default().insert(switch.row.id);
            self.switches.insert(switch.row.id, switch);
        }
        for switch in saved.later_switches {
            self.pending_switches.entry(switch.valid_from_ms).or_default().insert(switch.id, switch);
        }
        Ok(())
    }
}
