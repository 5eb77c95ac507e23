//! The slow reference of the islands operator: at every change all buses are labelled by union-find, everything is drawn
//! anew and the whole picture is compared with the one before.
//!
//! Invariant: what it tells in an epoch, and the order in which it tells it, is what the operator must tell.

use std::collections::{BTreeMap, BTreeSet};

use gridflow_inputs::ids::{BusId, FeederId, IslandId, SourceId, SwitchId};
use gridflow_inputs::input::{Kind, NodeSwitch, Quality, Switch, SwitchStatus};
use gridflow_inputs::network::{BusKind, EquipmentKind, Side};
use gridflow_inputs::{Epoch, Input, Sequenced};
use gridflow_operators::decision::{Alarm, AlarmKind, BusAssignment, Reason, Rejected, Topology};
use gridflow_operators::islands::{Idle, IdleState, IslandInput, IslandOutput, IslandRow, Place};

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

/// The bus of each node that closed switches join with a lower one: of all nodes so joined the lowest.
pub(crate) fn buses(closed: &[(u32, u32)]) -> BTreeMap<u32, u32> {
    let mut lowest: BTreeMap<u32, u32> = closed.iter().flat_map(|(a, b)| [(*a, *a), (*b, *b)]).collect();
    for _ in 0..lowest.len() {
        for (a, b) in closed {
            let least = lowest[a].min(lowest[b]);
            lowest.extend([(*a, least), (*b, least)]);
        }
    }
    lowest.retain(|node, bus| node != bus);
    lowest
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

/// Where everything belongs at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Picture {
    placed: BTreeMap<Place, IslandId>,
    islands: BTreeMap<IslandId, IslandRow>,
    topology: BTreeMap<Place, Topology>,
    idle: BTreeMap<Place, Idle>,
    /// Buses of nodes that are part of another's.
    buses: BTreeMap<u32, u32>,
}

#[derive(Debug)]
struct SwitchState {
    row: Switch,
    /// Whether it is a node switch.
    node: bool,
    /// Event time and state of the newest status; the row's normal state holds until there is one.
    status: Option<(i64, bool)>,
}

impl SwitchState {
    fn closed(&self) -> bool {
        self.status.map_or(self.row.normally_closed, |(_, closed)| closed)
    }
}

/// The names of islands, by bus: those of before go on by the rule, in the plainest words.
pub(crate) fn renamed(before: &BTreeMap<u32, u32>, islands: &BTreeSet<BTreeSet<u32>>) -> BTreeMap<u32, u32> {
    let held = |name: u32, island: &BTreeSet<u32>| island.iter().filter(|bus| before.get(bus) == Some(&name)).count();
    let names: BTreeSet<u32> = before.values().copied().collect();
    let mut claims: BTreeMap<&BTreeSet<u32>, BTreeSet<u32>> = BTreeMap::new();
    for name in names {
        // Sets of buses are ordered by their lowest bus.
        let most = islands.iter().map(|island| held(name, island)).max().filter(|most| *most > 0);
        if let Some(heir) = most.and_then(|most| islands.iter().find(|island| held(name, island) == most)) {
            claims.entry(heir).or_default().insert(name);
        }
    }
    let mut named: BTreeMap<&BTreeSet<u32>, u32> = BTreeMap::new();
    for (island, names) in claims {
        let most = names.iter().map(|name| held(*name, island)).max();
        named.extend(names.into_iter().find(|name| Some(held(*name, island)) == most).map(|name| (island, name)));
    }
    let mut nameless: Vec<&BTreeSet<u32>> = islands.iter().filter(|island| !named.contains_key(island)).collect();
    nameless.sort_by_key(|island| std::cmp::Reverse(island.len()));
    for island in nameless {
        let free = (1..).find(|name| named.values().all(|used| used != name)).expect("there are more numbers than islands");
        named.insert(island, free);
    }
    named.into_iter().flat_map(|(island, name)| island.iter().map(move |bus| (*bus, name))).collect()
}

/// Everything, drawn anew at every change.
#[derive(Debug, Default)]
pub(crate) struct Redraw {
    /// Versions of each row by the time they hold from. Transformers share a place with their branch: the kind tells.
    versions: BTreeMap<(Place, Kind), BTreeMap<i64, Input>>,
    valid: BTreeMap<(Place, Kind), Input>,
    /// Rows that hold from a time still to come.
    pending: BTreeMap<i64, BTreeSet<(Place, Kind)>>,
    switches: BTreeMap<SwitchId, SwitchState>,
    /// Switch rows that hold from a time still to come.
    pending_switches: BTreeMap<i64, BTreeMap<SwitchId, Switch>>,
    by_equipment: BTreeMap<Place, BTreeSet<SwitchId>>,
    picture: Picture,
    /// Name of each bus's island.
    names: BTreeMap<u32, u32>,
    /// Rows of node switches, and those that hold from a time still to come.
    node_switches: BTreeMap<SwitchId, NodeSwitch>,
    later_node_switches: Vec<NodeSwitch>,
    /// Node switches as told.
    told: BTreeMap<SwitchId, NodeSwitch>,
    dead: BTreeMap<BusId, Alarm>,
}

impl Redraw {
    /// Takes the rows of an epoch, in ascending order.
    pub(crate) fn epoch(&mut self, epoch: Epoch, inputs: &mut Vec<IslandInput>, out: &mut Vec<IslandOutput>) {
        let now = epoch as i64;
        let mut renewed = BTreeSet::new();
        let mut switched = false;
        while let Some(entry) = self.pending_switches.first_entry().filter(|entry| *entry.key() <= now) {
            entry.remove().into_values().for_each(|switch| self.define_switch(switch));
            switched = true;
        }
        let (due, later) = std::mem::take(&mut self.later_node_switches).into_iter().partition(|row| row.valid_from_ms <= now);
        self.later_node_switches = later;
        let mut due: Vec<NodeSwitch> = due;
        due.sort_by_key(|row| row.valid_from_ms);
        due.into_iter().for_each(|row| self.define_node_switch(row));
        for input in inputs.drain(..) {
            match input {
                IslandInput::Row(Sequenced { input: Input::NodeSwitch(row), .. }) => {
                    if row.valid_from_ms <= now {
                        self.define_node_switch(row);
                    } else {
                        self.later_node_switches.push(row);
                    }
                }
                IslandInput::Row(Sequenced { input: Input::Switch(switch), .. }) => {
                    if switch.valid_from_ms <= now {
                        self.define_switch(switch);
                        switched = true;
                    } else {
                        self.pending_switches.entry(switch.valid_from_ms).or_default().insert(switch.id, switch);
                    }
                }
                IslandInput::Row(Sequenced { epoch, sequence, input: Input::SwitchStatus(status) }) => match self.switch(now, &status) {
                    Ok(moved) => switched |= moved,
                    Err((reason, detail)) => {
                        let kind = Kind::SwitchStatus as u8;
                        let row = Rejected { epoch, sequence, kind, source: SourceId(0), subject: status.switch.0, reason, detail };
                        out.push(IslandOutput::Row(row.into(), 1));
                    }
                },
                IslandInput::Row(row) => {
                    let (place, valid_from_ms) = describe(&row.input).unwrap_or_else(|| panic!("{:?} is no network row", row.input.kind()));
                    let key = (place, row.input.kind());
                    self.versions.entry(key).or_default().insert(valid_from_ms, row.input);
                    if valid_from_ms <= now {
                        renewed.insert(key);
                    } else {
                        self.pending.entry(valid_from_ms).or_default().insert(key);
                    }
                }
                IslandInput::Clock(_) => {}
            }
        }
        while let Some(entry) = self.pending.first_entry().filter(|entry| *entry.key() <= now) {
            renewed.extend(entry.remove());
        }
        let mut changed = BTreeSet::new();
        for key in renewed {
            let versions = self.versions.get_mut(&key).expect("a renewed row has a version");
            let holds_from = *versions.range(..=now).next_back().expect("a renewed row is valid now").0;
            // Older versions can not hold again.
            *versions = versions.split_off(&holds_from);
            let newest = versions[&holds_from].clone();
            if self.valid.get(&key) == Some(&newest) {
                continue;
            }
            if let Some(old) = self.valid.insert(key, newest.clone()) {
                out.push(IslandOutput::Element(key.0, old, -1));
            }
            out.push(IslandOutput::Element(key.0, newest, 1));
            changed.insert(key.0);
        }
        let stands = |(id, row): (&SwitchId, &NodeSwitch)| (*id, NodeSwitch { normally_closed: self.joined(*id), ..row.clone() });
        let told: BTreeMap<SwitchId, NodeSwitch> = self.node_switches.iter().map(stands).collect();
        for (id, row) in &told {
            if self.told.get(id) == Some(row) {
                continue;
            }
            let place = |row: &NodeSwitch| (EquipmentKind::Bus, row.from.0);
            if let Some(old) = self.told.get(id) {
                changed.insert(place(old));
                out.push(IslandOutput::Element(place(old), old.clone().into(), -1));
            }
            changed.insert(place(row));
            out.push(IslandOutput::Element(place(row), row.clone().into(), 1));
        }
        self.told = told;
        if !changed.is_empty() || switched {
            self.redraw(now, &changed, out);
        }
    }

    /// Whether a node switch is closed.
    fn joined(&self, id: SwitchId) -> bool {
        // Its number may have gone to another switch.
        self.switches.get(&id).is_some_and(|switch| switch.node && switch.closed())
    }

    fn define_node_switch(&mut self, row: NodeSwitch) {
        if self.node_switches.get(&row.id).is_none_or(|known| known.valid_from_ms <= row.valid_from_ms) {
            self.node_switches.insert(row.id, row.clone());
        }
        let (id, valid_from_ms, name, kind, normally_closed) = (row.id, row.valid_from_ms, row.name, row.kind, row.normally_closed);
        // Of the zones nothing is ever drawn.
        let (equipment, equipment_id, side) = (EquipmentKind::Zone, id.0, Side::None);
        self.define_switch(Switch { id, valid_from_ms, name, kind, equipment, equipment_id, side, normally_closed });
        if let Some(switch) = self.switches.get_mut(&id).filter(|switch| switch.row.equipment == EquipmentKind::Zone) {
            switch.node = true;
        }
    }

    fn define_switch(&mut self, row: Switch) {
        let (id, place) = (row.id, (row.equipment, row.equipment_id));
        let mut status = None;
        if let Some(known) = self.switches.get(&id) {
            if known.row.valid_from_ms > row.valid_from_ms {
                return;
            }
            status = known.status;
            if let Some(switches) = self.by_equipment.get_mut(&(known.row.equipment, known.row.equipment_id)) {
                switches.remove(&id);
            }
        }
        self.by_equipment.entry(place).or_default().insert(id);
        self.switches.insert(id, SwitchState { row, node: false, status });
    }

    /// Applies a status; tells whether the switch moved. The newest event time wins, not the newest arrival.
    fn switch(&mut self, now: i64, status: &SwitchStatus) -> Result<bool, (Reason, i64)> {
        let switch = self.switches.get_mut(&status.switch).ok_or((Reason::Unknown, i64::from(status.closed)))?;
        if status.event_ms > now + gridflow_operators::telemetry::FUTURE_MS {
            return Err((Reason::Future, status.event_ms));
        }
        if status.quality >= Quality::Bad {
            return Err((Reason::Malformed, status.quality as i64));
        }
        if switch.status.is_some_and(|(event_ms, _)| status.event_ms < event_ms) {
            return Err((Reason::Superseded, status.event_ms));
        }
        let before = switch.closed();
        switch.status = Some((status.event_ms, status.closed));
        Ok(before != status.closed)
    }

    fn closed(&self, place: Place) -> bool {
        self.by_equipment.get(&place).is_none_or(|switches| switches.iter().all(|id| self.switches[id].closed()))
    }

    /// Labels everything anew.
    fn draw(&mut self) -> Picture {
        let buses: Vec<BusId> = self
            .valid
            .values()
            .filter_map(|row| match row {
                Input::Bus(bus) if terminals(row).is_some() && self.closed((EquipmentKind::Bus, bus.id.0)) => Some(bus.id),
                _ => None,
            })
            .collect();
        let index = |bus: BusId| buses.binary_search(&bus).ok();
        let mut parent: Vec<usize> = (0..buses.len()).collect();
        fn root(parent: &mut [usize], mut bus: usize) -> usize {
            while parent[bus] != bus {
                parent[bus] = parent[parent[bus]];
                bus = parent[bus];
            }
            bus
        }
        for row in self.valid.values() {
            if let Input::Branch(branch) = row
                && branch.in_service
                && self.closed((EquipmentKind::Branch, branch.id.0))
                && let (Some(from), Some(to)) = (index(branch.from), index(branch.to))
            {
                let (from, to) = (root(&mut parent, from), root(&mut parent, to));
                // The lower index becomes the root, so that a root is its island's lowest bus.
                parent[from.max(to)] = from.min(to);
            }
        }
        let mut joined = Vec::new();
        for (id, row) in &self.node_switches {
            if let (true, Some(from), Some(to)) = (self.joined(*id), index(row.from), index(row.to)) {
                joined.push((row.from.0, row.to.0));
                let (from, to) = (root(&mut parent, from), root(&mut parent, to));
                parent[from.max(to)] = from.min(to);
            }
        }
        let mut islands: BTreeMap<usize, BTreeSet<u32>> = BTreeMap::new();
        for (place, bus) in buses.iter().enumerate() {
            islands.entry(root(&mut parent, place)).or_default().insert(bus.0);
        }
        self.names = renamed(&self.names, &islands.into_values().collect());
        let island = |bus: BusId| self.names.get(&bus.0).map(|name| IslandId(*name));

        let mut sources: BTreeMap<IslandId, (i64, BusId)> = BTreeMap::new();
        let mut members = Vec::new();
        for (place, row) in self.valid.iter().filter(|((_, kind), _)| *kind != Kind::Transformer).map(|((place, _), row)| (*place, row)) {
            let home = terminals(row).filter(|_| self.closed(place)).and_then(|(first, second)| {
                let home = island(first)?;
                // A direct-current link between islands belongs to neither.
                second.is_none_or(|second| island(second) == Some(home)).then_some(home)
            });
            if let (Some(home), Input::Generator(unit)) = (home, row)
                && unit.p_max.0 > 0
            {
                let source = (unit.p_max.0, unit.bus);
                let best = sources.entry(home).or_insert(source);
                if source.0 > best.0 || (source.0 == best.0 && source.1 < best.1) {
                    *best = source;
                }
            }
            members.push((place, home));
        }
        let mut picture = Picture { buses: self::buses(&joined), ..Picture::default() };
        for (place, home) in members {
            let source = home.and_then(|home| sources.get(&home));
            let reference = source.is_some_and(|(_, bus)| place == (EquipmentKind::Bus, bus.0));
            let row = Topology { equipment: place.0, id: place.1, island: home, energised: source.is_some(), reference };
            picture.topology.insert(place, row);
            if source.is_none() && matches!(place.0, EquipmentKind::Bus | EquipmentKind::Branch) {
                let open_at = |side: Side| {
                    let mut switches = self.by_equipment.get(&place).into_iter().flatten().map(|id| &self.switches[id]);
                    switches.any(|switch| switch.row.side == side && !switch.closed())
                };
                let state = match home {
                    Some(_) => IdleState::Dead,
                    None if place.0 == EquipmentKind::Branch && open_at(Side::From) && open_at(Side::To) => IdleState::OpenAtBothEnds,
                    None => IdleState::Out,
                };
                picture.idle.insert(place, Idle { since_ms: 0, state });
            }
            if let (Some(home), Some((_, bus))) = (home, source) {
                picture.placed.insert(place, home);
                picture.islands.insert(home, IslandRow { reference: *bus, changed_ms: 0 });
            }
        }
        picture
    }

    /// Replaces the picture and tells the differences.
    fn redraw(&mut self, now: i64, changed: &BTreeSet<Place>, out: &mut Vec<IslandOutput>) {
        let mut new = self.draw();
        let old = std::mem::take(&mut self.picture);
        for (place, idle) in &mut new.idle {
            idle.since_ms = old.idle.get(place).map_or(now, |before| before.since_ms);
        }
        for place in old.idle.keys().chain(new.idle.keys()).collect::<BTreeSet<_>>() {
            let (before, idle) = (old.idle.get(place), new.idle.get(place));
            if before != idle {
                out.extend(before.map(|idle| IslandOutput::Idle(*place, *idle, -1)));
                out.extend(idle.map(|idle| IslandOutput::Idle(*place, *idle, 1)));
            }
        }
        let mut touched: BTreeSet<IslandId> = changed.iter().filter_map(|place| new.placed.get(place).copied()).collect();
        each_difference(&old.placed, &new.placed, |place, island, by| {
            touched.insert(*island);
            out.push(IslandOutput::Placed(*place, *island, by));
        });
        for (island, row) in &mut new.islands {
            let before = old.islands.get(island).filter(|before| before.reference == row.reference && !touched.contains(island));
            row.changed_ms = before.map_or(now, |before| before.changed_ms);
        }
        each_difference(&old.islands, &new.islands, |island, row, by| {
            touched.insert(*island);
            out.push(IslandOutput::Island(*island, *row, by));
        });
        each_difference(&old.topology, &new.topology, |_, row, by| out.push(IslandOutput::Row(row.clone().into(), by)));
        out.extend(touched.into_iter().map(IslandOutput::Changed));

        self.picture = new;
        let dead: BTreeSet<BusId> = self
            .picture
            .topology
            .values()
            .filter(|row| row.equipment == EquipmentKind::Bus && !row.energised)
            .map(|row| BusId(row.id))
            .collect();
        let cured: Vec<BusId> = self.dead.keys().filter(|bus| !dead.contains(bus)).copied().collect();
        for bus in cured {
            let alarm = self.dead.remove(&bus).expect("it was just listed");
            out.push(IslandOutput::Row(alarm.into(), -1));
        }
        for bus in dead {
            self.dead.entry(bus).or_insert_with(|| {
                let alarm =
                    Alarm { kind: AlarmKind::Dead, equipment: EquipmentKind::Bus, id: bus.0, feeder: FeederId(bus.0), since_ms: now };
                out.push(IslandOutput::Row(alarm.clone().into(), 1));
                alarm
            });
        }
        let (mut ended, mut begun) = (Vec::new(), Vec::new());
        each_difference(&old.buses, &self.picture.buses, |node, bus, by| {
            let row = BusAssignment { node: BusId(*node), bus: BusId(*bus) };
            if by < 0 { &mut ended } else { &mut begun }.push(IslandOutput::Row(row.into(), by));
        });
        out.extend(ended.into_iter().chain(begun));
    }
}

/// Entries of `old` that `new` has not with -1, entries of `new` that `old` has not with +1.
fn each_difference<K: Ord, V: PartialEq>(old: &BTreeMap<K, V>, new: &BTreeMap<K, V>, mut give: impl FnMut(&K, &V, i64)) {
    for (key, value) in old {
        if new.get(key) != Some(value) {
            give(key, value, -1);
        }
    }
    for (key, value) in new {
        if old.get(key) != Some(value) {
            give(key, value, 1);
        }
    }
}
