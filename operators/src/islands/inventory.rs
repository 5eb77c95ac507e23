//! Which version of every network row holds, and how every switch, tap changer and bank of shunts stands.
//!
//! Invariant: after the rows of an epoch, the version that holds is the one with the greatest `valid_from_ms` not after
//! the epoch, of equal ones the last to come; a switch is as its newest status says, by event time, else as its row says.
//! Rows are told as they stand: the normal state of a node switch or a bank is replaced by the actual one, the tap ratio
//! of a branch by that of the step its tap changer reports.

use std::collections::{BTreeMap, BTreeSet};

use gridflow_inputs::Input;
use gridflow_inputs::ids::{BusId, SwitchId};
use gridflow_inputs::input::{Kind, NodeSwitch, Quality, StepPosition, Switch, SwitchStatus};
use gridflow_inputs::network::{BusKind, EquipmentKind, Side, Transformer};
use serde::{Deserialize, Serialize};

use super::{Place, Thing};
use crate::decision::Reason;
use crate::state::StateError;

/// Identity of a network row. Transformers share their branch, banks their shunt: the kind tells.
pub(super) type Key = (Thing, Kind);

/// What a network row describes and from when on it holds.
fn describe(row: &Input) -> Option<(Thing, i64)> {
    let (equipment, id, from_ms) = match row {
        Input::Bus(row) => (EquipmentKind::Bus, row.id.0, row.valid_from_ms),
        Input::Branch(row) => (EquipmentKind::Branch, row.id.0, row.valid_from_ms),
        Input::Transformer(row) => (EquipmentKind::Branch, row.branch.0, row.valid_from_ms),
        Input::NodeSwitch(row) => return Some((Thing::NodeSwitch(row.id), row.valid_from_ms)),
        Input::Generator(row) => (EquipmentKind::Generator, row.id.0, row.valid_from_ms),
        Input::StaticVar(row) => (EquipmentKind::Generator, row.generator.0, row.valid_from_ms),
        Input::Load(row) => (EquipmentKind::Load, row.id.0, row.valid_from_ms),
        Input::Shunt(row) => (EquipmentKind::Shunt, row.id.0, row.valid_from_ms),
        Input::ShuntBank(row) => (EquipmentKind::Shunt, row.shunt.0, row.valid_from_ms),
        Input::Storage(row) => (EquipmentKind::Storage, row.id.0, row.valid_from_ms),
        Input::DcLine(row) => (EquipmentKind::DcLine, row.id.0, row.valid_from_ms),
        _ => return None,
    };
    Some((Thing::Equipment((equipment, id)), from_ms))
}

/// The place at which a row is told; a node switch goes with its first node.
fn place_of(thing: Thing, row: &Input) -> Option<Place> {
    match (thing, row) {
        (Thing::Equipment(place), _) => Some(place),
        (Thing::NodeSwitch(_), Input::NodeSwitch(row)) => Some((EquipmentKind::Bus, row.from.0)),
        (Thing::NodeSwitch(_), _) => None,
    }
}

/// Kind of the row that says where a thing is connected.
fn kind_of(thing: Thing) -> Option<Kind> {
    let Thing::Equipment((equipment, _)) = thing else { return Some(Kind::NodeSwitch) };
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

/// Buses a thing needs, when its own row has it in service.
fn terminals(row: &Input) -> Option<(BusId, Option<BusId>)> {
    match row {
        Input::Bus(row) => (row.kind != BusKind::Isolated).then_some((row.id, None)),
        Input::Branch(row) => row.in_service.then_some((row.from, Some(row.to))),
        Input::NodeSwitch(row) => Some((row.from, Some(row.to))),
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
    /// Of a branch: whether switches have it open at both its ends.
    pub(super) both_open: bool,
}

#[derive(Debug, Default)]
struct Record {
    holds: Option<Input>,
    /// Versions that hold from a time still to come.
    later: BTreeMap<i64, Input>,
}

/// What a row says of a switch.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct SwitchRow {
    id: SwitchId,
    valid_from_ms: i64,
    /// What it opens.
    thing: Thing,
    side: Side,
    normally_closed: bool,
}

impl From<&Switch> for SwitchRow {
    fn from(row: &Switch) -> Self {
        let Switch { id, valid_from_ms, side, normally_closed, .. } = *row;
        Self { id, valid_from_ms, thing: Thing::Equipment((row.equipment, row.equipment_id)), side, normally_closed }
    }
}

impl From<&NodeSwitch> for SwitchRow {
    fn from(row: &NodeSwitch) -> Self {
        let NodeSwitch { id, valid_from_ms, normally_closed, .. } = *row;
        Self { id, valid_from_ms, thing: Thing::NodeSwitch(id), side: Side::None, normally_closed }
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct SwitchState {
    row: SwitchRow,
    /// Event time and state of the newest status; the row's normal state holds until there is one.
    status: Option<(i64, bool)>,
}

impl SwitchState {
    fn closed(&self) -> bool {
        self.status.map_or(self.row.normally_closed, |(_, closed)| closed)
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
    later_switches: Vec<SwitchRow>,
    /// Steps, with their event times.
    steps: Vec<(Place, (i64, i64))>,
}

impl SavedInventory {
    pub(super) fn is_empty(&self) -> bool {
        [self.holds.len(), self.later.len(), self.switches.len(), self.later_switches.len(), self.steps.len()] == [0; 5]
    }
}

/// What an epoch changed.
#[derive(Debug, Default)]
pub(super) struct Renewed {
    /// Rows that may be told otherwise than before, as they were told.
    before: BTreeMap<Key, Option<Input>>,
    /// Things that may stand otherwise than before.
    pub(super) things: BTreeSet<Thing>,
}

/// A row that ceases or begins to be told at a place.
pub(super) struct Change {
    pub(super) place: Place,
    pub(super) row: Input,
    pub(super) by: i64,
}

#[derive(Debug, Default)]
pub(super) struct Inventory {
    records: BTreeMap<Key, Record>,
    /// Rows that hold from a time still to come.
    pending: BTreeMap<i64, BTreeSet<Key>>,
    switches: BTreeMap<SwitchId, SwitchState>,
    pending_switches: BTreeMap<i64, BTreeMap<SwitchId, SwitchRow>>,
    by_thing: BTreeMap<Thing, BTreeSet<SwitchId>>,
    /// Event time and step that a tap changer or a bank reported last.
    steps: BTreeMap<Place, (i64, i64)>,
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

    /// Takes a network row or the row of a switch; passes over any other. A node switch is both.
    pub(super) fn define(&mut self, now: i64, row: Input, renewed: &mut Renewed) {
        let switch = match &row {
            Input::Switch(row) => Some(SwitchRow::from(row)),
            Input::NodeSwitch(row) => Some(SwitchRow::from(row)),
            _ => None,
        };
        if let Some(switch) = switch {
            if switch.valid_from_ms <= now {
                self.define_switch(switch, renewed);
            } else {
                self.pending_switches.entry(switch.valid_from_ms).or_default().insert(switch.id, switch);
            }
        }
        if let Some((thing, from_ms)) = describe(&row) {
            let key = (thing, row.kind());
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
        if self.held(key).and_then(describe).is_some_and(|(_, holds_from)| holds_from > from_ms) {
            return;
        }
        self.note(key, renewed);
        if key.1 == Kind::Transformer {
            self.note((key.0, Kind::Branch), renewed);
        }
        self.records.entry(key).or_default().holds = Some(row);
    }

    fn held(&self, key: Key) -> Option<&Input> {
        self.records.get(&key)?.holds.as_ref()
    }

    /// Remembers how a row was told before the epoch.
    fn note(&self, key: Key, renewed: &mut Renewed) {
        renewed.before.entry(key).or_insert_with(|| self.told(key));
    }

    /// A row as it stands.
    fn told(&self, key: Key) -> Option<Input> {
        let mut row = self.held(key)?.clone();
        match &mut row {
            Input::NodeSwitch(row) => row.normally_closed = self.closed(key.0),
            Input::Branch(row) => {
                if let (Some(changer), Thing::Equipment(place)) = (self.changer(key.0), key.0)
                    && let Some((_, step)) = self.steps.get(&place)
                {
                    row.tap_ratio = changer.ratio(*step).unwrap_or(row.tap_ratio);
                }
            }
            Input::ShuntBank(row) => {
                if let Thing::Equipment(place) = key.0
                    && let Some((_, step)) = self.steps.get(&place)
                {
                    row.normally_on = u16::try_from(*step).ok().filter(|on| *on <= row.sections).unwrap_or(row.normally_on);
                }
            }
            _ => {}
        }
        Some(row)
    }

    /// The tap changer of a branch, when it has steps.
    fn changer(&self, thing: Thing) -> Option<&Transformer> {
        let Input::Transformer(row) = self.held((thing, Kind::Transformer))? else { return None };
        Some(row).filter(|row| row.is_stepped())
    }

    fn define_switch(&mut self, row: SwitchRow, renewed: &mut Renewed) {
        let mut status = None;
        if let Some(known) = self.switches.get(&row.id).copied() {
            if known.row.valid_from_ms > row.valid_from_ms {
                return;
            }
            status = known.status;
            self.note((known.row.thing, Kind::NodeSwitch), renewed);
            renewed.things.insert(known.row.thing);
            if let Some(switches) = self.by_thing.get_mut(&known.row.thing) {
                switches.remove(&row.id);
            }
        }
        self.note((row.thing, Kind::NodeSwitch), renewed);
        renewed.things.insert(row.thing);
        self.by_thing.entry(row.thing).or_default().insert(row.id);
        self.switches.insert(row.id, SwitchState { row, status });
    }

    /// Applies a status. The newest event time wins, not the newest arrival.
    pub(super) fn switch(&mut self, now: i64, status: &SwitchStatus, renewed: &mut Renewed) -> Result<(), (Reason, i64)> {
        let switch = self.switches.get(&status.switch).copied().ok_or((Reason::Unknown, i64::from(status.closed)))?;
        trusted(now, status.event_ms, status.quality, switch.status.map(|(event_ms, _)| event_ms))?;
        if switch.closed() != status.closed {
            self.note((switch.row.thing, Kind::NodeSwitch), renewed);
            renewed.things.insert(switch.row.thing);
        }
        self.switches.insert(status.switch, SwitchState { status: Some((status.event_ms, status.closed)), ..switch });
        Ok(())
    }

    /// Applies a step. A step beyond what the tap changer or the bank has is refused.
    pub(super) fn step(&mut self, now: i64, position: &StepPosition, renewed: &mut Renewed) -> Result<(), (Reason, i64)> {
        let place = (position.equipment, position.equipment_id);
        let thing = Thing::Equipment(place);
        let (kind, possible) = match position.equipment {
            EquipmentKind::Branch => (Kind::Branch, self.changer(thing).map(|changer| changer.ratio(position.step).is_some())),
            EquipmentKind::Shunt => {
                let bank = if let Some(Input::ShuntBank(row)) = self.held((thing, Kind::ShuntBank)) { Some(row.sections) } else { None };
                (Kind::ShuntBank, bank.map(|sections| (0..=i64::from(sections)).contains(&position.step)))
            }
            _ => (Kind::Branch, None),
        };
        let possible = possible.ok_or((Reason::Unknown, position.step))?;
        trusted(now, position.event_ms, position.quality, self.steps.get(&place).map(|(event_ms, _)| *event_ms))?;
        if !possible {
            return Err((Reason::OutOfRange, position.step));
        }
        self.note((thing, kind), renewed);
        self.steps.insert(place, (position.event_ms, position.step));
        Ok(())
    }

    /// Rows told otherwise than before, by what they describe and kind; notes what they describe among what may stand otherwise.
    pub(super) fn changed(&self, renewed: &mut Renewed) -> Vec<Change> {
        let mut changed = Vec::new();
        for ((thing, kind), before) in std::mem::take(&mut renewed.before) {
            let now = self.told((thing, kind));
            if before != now {
                renewed.things.insert(thing);
                let change = |row: Input, by| Some(Change { place: place_of(thing, &row)?, row, by });
                changed.extend(before.and_then(|row| change(row, -1)));
                changed.extend(now.and_then(|row| change(row, 1)));
            }
        }
        changed
    }

    /// Whether all switches of a thing are closed. A node switch whose number went to another switch is open.
    fn closed(&self, thing: Thing) -> bool {
        let mut switches = self.by_thing.get(&thing).into_iter().flatten().peekable();
        let none = matches!(thing, Thing::NodeSwitch(_)) && switches.peek().is_none();
        !none && switches.all(|id| self.switches[id].closed())
    }

    /// How a thing stands; `None` when no row of it holds.
    pub(super) fn standing(&self, thing: Thing) -> Option<Standing> {
        let row = self.held((thing, kind_of(thing)?))?;
        let ends = terminals(row).filter(|_| self.closed(thing));
        let source = match row {
            Input::Generator(unit) if ends.is_some() => unit.p_max.0.max(0),
            _ => 0,
        };
        let open_at = |side: Side| {
            let switches = self.by_thing.get(&thing).into_iter().flatten().map(|id| &self.switches[id]);
            switches.into_iter().any(|switch| switch.row.side == side && !switch.closed())
        };
        let both_open = ends.is_none() && matches!(row, Input::Branch(_)) && open_at(Side::From) && open_at(Side::To);
        Some(Standing { ends, source, both_open })
    }

    /// How everything stands.
    pub(super) fn all(&self) -> impl Iterator<Item = (Thing, Standing)> + '_ {
        let things = self.records.keys().filter(|(thing, kind)| kind_of(*thing) == Some(*kind));
        things.filter_map(|(thing, _)| Some((*thing, self.standing(*thing)?)))
    }

    /// All rows that hold, as they stand.
    pub(super) fn rows(&self) -> impl Iterator<Item = (Place, Input)> {
        self.records.keys().filter_map(|key| {
            let row = self.told(*key)?;
            Some((place_of(key.0, &row)?, row))
        })
    }

    pub(super) fn save(&self) -> SavedInventory {
        SavedInventory {
            holds: self.records.values().filter_map(|record| record.holds.clone()).collect(),
            later: self.records.values().flat_map(|record| record.later.values().cloned()).collect(),
            switches: self.switches.values().copied().collect(),
            later_switches: self.pending_switches.values().flat_map(|switches| switches.values().copied()).collect(),
            steps: self.steps.iter().map(|(place, step)| (*place, *step)).collect(),
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
            let (thing, from_ms) = describe(&row).ok_or_else(no_row)?;
            let key = (thing, row.kind());
            self.pending.entry(from_ms).or_default().insert(key);
            self.records.entry(key).or_default().later.insert(from_ms, row);
        }
        for switch in saved.switches {
            self.by_thing.entry(switch.row.thing).or_default().insert(switch.row.id);
            self.switches.insert(switch.row.id, switch);
        }
        for switch in saved.later_switches {
            self.pending_switches.entry(switch.valid_from_ms).or_default().insert(switch.id, switch);
        }
        self.steps.extend(saved.steps);
        Ok(())
    }
}

/// Whether a report of a state counts: not ahead of its arrival, not bad, not older than the one that holds.
fn trusted(now: i64, event_ms: i64, quality: Quality, holds_ms: Option<i64>) -> Result<(), (Reason, i64)> {
    if event_ms > now + crate::telemetry::FUTURE_MS {
        return Err((Reason::Future, event_ms));
    }
    if quality >= Quality::Bad {
        return Err((Reason::Malformed, quality as i64));
    }
    if holds_ms.is_some_and(|holds_ms| event_ms < holds_ms) {
        return Err((Reason::Superseded, event_ms));
    }
    Ok(())
}
