//! The slow reference of topology: after every epoch, everything that arrived is looked through again.
//!
//! Of a row's versions the greatest `valid_from_ms` not in the future holds, of equal ones the last to come; a switch
//! is as its newest status says, by event time, else as its row says; an island has the reference bus of its largest source,
//! ties lowest bus.

use std::collections::{BTreeMap, BTreeSet};

use gridflow_inputs::ids::{BusId, FeederId, IslandId, SourceId, SwitchId};
use gridflow_inputs::input::{Kind, NodeSwitch, Switch, SwitchStatus};
use gridflow_inputs::network::{BusKind, EquipmentKind, Side};
use gridflow_inputs::{Epoch, Input};
use gridflow_operators::decision::{Alarm, AlarmKind, BusAssignment, Output, Reason, Rejected, Topology};
use gridflow_operators::islands::{Idle, IdleState, Place};

use crate::harness::State;
use crate::islands_redraw::{buses, renamed};

/// A log: epochs with their rows, sequence numbers by place.
pub(crate) type Log = Vec<(Epoch, Vec<Input>)>;

fn identity(row: &Input) -> Option<(Place, Kind, i64)> {
    let (place, valid_from_ms) = match row {
        Input::Bus(row) => ((EquipmentKind::Bus, row.id.0), row.valid_from_ms),
        Input::Branch(row) => ((EquipmentKind::Branch, row.id.0), row.valid_from_ms),
        Input::Transformer(row) => ((EquipmentKind::Branch, row.branch.0), row.valid_from_ms),
        Input::Generator(row) => ((EquipmentKind::Generator, row.id.0), row.valid_from_ms),
        Input::Load(row) => ((EquipmentKind::Load, row.id.0), row.valid_from_ms),
        Input::DcLine(row) => ((EquipmentKind::DcLine, row.id.0), row.valid_from_ms),
        _ => return None,
    };
    Some((place, row.kind(), valid_from_ms))
}

/// The switch that the row of a switch or of a node switch describes; the first node is its equipment then.
fn switch_of(row: &Input) -> Option<Switch> {
    match row {
        Input::Switch(row) => Some(row.clone()),
        Input::NodeSwitch(row) => {
            let (id, valid_from_ms, name, kind, normally_closed) =
                (row.id, row.valid_from_ms, String::new(), row.kind, row.normally_closed);
            let (equipment, equipment_id, side) = (EquipmentKind::Zone, id.0, Side::None);
            Some(Switch { id, valid_from_ms, name, kind, equipment, equipment_id, side, normally_closed })
        }
        _ => None,
    }
}

/// What holds after an epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) elements: State<(Place, Input)>,
    pub(crate) placed: State<(Place, IslandId)>,
    pub(crate) references: State<(IslandId, BusId)>,
    pub(crate) outputs: State<Output>,
    pub(crate) idle: State<(Place, Idle)>,
    /// Islands whose rows changed in this epoch: their equipment's rows, what belongs to them, their reference bus.
    pub(crate) changed: BTreeSet<IslandId>,
}

/// Buses in service and the branches in service between them, as known at one epoch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    pub(crate) buses: BTreeSet<u32>,
    pub(crate) edges: BTreeSet<(u32, u32)>,
    /// Nodes that closed switches join; among the edges too.
    joints: Vec<(u32, u32)>,
}

impl Graph {
    /// Every bus with the least bus it is connected to: labels fall along edges until none falls.
    fn labels(&self) -> BTreeMap<u32, u32> {
        let mut labels: BTreeMap<u32, u32> = self.buses.iter().map(|bus| (*bus, *bus)).collect();
        loop {
            let before = labels.clone();
            for (from, to) in &self.edges {
                let least = labels[from].min(labels[to]);
                labels.extend([(*from, least), (*to, least)]);
            }
            if labels == before {
                return labels;
            }
        }
    }
}

#[derive(Default)]
pub(crate) struct Reference {
    /// Network rows in the order they came.
    rows: Vec<Input>,
    switches: Vec<Switch>,
    node_switches: Vec<NodeSwitch>,
    /// Accepted statuses in the order they came.
    statuses: Vec<SwitchStatus>,
    rejected: State<Output>,
    dead: BTreeMap<u32, i64>,
    names: BTreeMap<u32, u32>,
    /// Since when branches and buses are without supply.
    idle: BTreeMap<Place, i64>,
}

impl Reference {
    /// The valid version of each row: the greatest `valid_from_ms` not in the future, of equal ones the last to come.
    fn valid(&self, now: i64) -> BTreeMap<(Place, Kind), &Input> {
        let mut valid: BTreeMap<(Place, Kind), (i64, &Input)> = BTreeMap::new();
        for row in &self.rows {
            let (place, kind, from) = identity(row).expect("only network rows are kept");
            let known = valid.get(&(place, kind)).map_or(i64::MIN, |(from, _)| *from);
            if from <= now && from >= known {
                valid.insert((place, kind), (from, row));
            }
        }
        valid.into_iter().map(|(key, (_, row))| (key, row)).collect()
    }

    fn switch(&self, id: SwitchId, now: i64) -> Option<&Switch> {
        let mut valid: Option<&Switch> = None;
        for row in self.switches.iter().filter(|row| row.id == id && row.valid_from_ms <= now) {
            if valid.is_none_or(|valid| row.valid_from_ms >= valid.valid_from_ms) {
                valid = Some(row);
            }
        }
        valid
    }

    fn newest_status(&self, id: SwitchId) -> Option<&SwitchStatus> {
        let mut newest: Option<&SwitchStatus> = None;
        for row in self.statuses.iter().filter(|row| row.switch == id) {
            if newest.is_none_or(|newest| row.event_ms >= newest.event_ms) {
                newest = Some(row);
            }
        }
        newest
    }

    pub(crate) fn arrives(&mut self, epoch: Epoch, sequence: u32, row: &Input) {
        self.switches.extend(switch_of(row));
        match row {
            Input::Switch(_) => {}
            Input::NodeSwitch(row) => self.node_switches.push(row.clone()),
            Input::SwitchStatus(row) => {
                let refused = if self.switch(row.switch, epoch as i64).is_none() {
                    Some((Reason::Unknown, i64::from(row.closed)))
                } else if row.event_ms > epoch as i64 + 10_000 {
                    Some((Reason::Future, row.event_ms))
                } else if row.quality.is_bad() {
                    Some((Reason::Malformed, row.quality as i64))
                } else if self.newest_status(row.switch).is_some_and(|newest| newest.event_ms > row.event_ms) {
                    Some((Reason::Superseded, row.event_ms))
                } else {
                    None
                };
                let Some((reason, detail)) = refused else { return self.statuses.push(row.clone()) };
                let (kind, source, subject) = (Kind::SwitchStatus as u8, SourceId(0), row.switch.0);
                self.rejected.add(Rejected { epoch, sequence, kind, source, subject, reason, detail }.into(), 1);
            }
            row => self.rows.push(row.clone()),
        }
    }

    /// Whether all switches of a place are closed.
    fn is_closed(&self, place: Place, now: i64) -> bool {
        let ids: BTreeSet<SwitchId> = self.switches.iter().map(|row| row.id).collect();
        let mine = ids.iter().filter_map(|id| self.switch(*id, now)).filter(|row| (row.equipment, row.equipment_id) == place);
        mine.into_iter().all(|row| self.newest_status(row.id).map_or(row.normally_closed, |status| status.closed))
    }

    /// Buses a piece of equipment needs; none when it is out of service.
    fn needs(&self, place: Place, row: &Input, now: i64) -> Vec<u32> {
        let buses = match row {
            Input::Bus(row) if row.kind != BusKind::Isolated => vec![row.id.0],
            Input::Branch(row) if row.in_service => vec![row.from.0, row.to.0],
            Input::Generator(row) if row.in_service => vec![row.bus.0],
            Input::Load(row) if row.in_service => vec![row.bus.0],
            Input::DcLine(row) if row.in_service => vec![row.from.0, row.to.0],
            _ => Vec::new(),
        };
        if self.is_closed(place, now) { buses } else { Vec::new() }
    }

    /// Node switches as they stand: the valid version of each, closed or open.
    fn joints(&self, now: i64) -> Vec<NodeSwitch> {
        let ids: BTreeSet<SwitchId> = self.node_switches.iter().map(|row| row.id).collect();
        let valid = |id: SwitchId| {
            let mut valid: Option<&NodeSwitch> = None;
            for row in self.node_switches.iter().filter(|row| row.id == id && row.valid_from_ms <= now) {
                if valid.is_none_or(|valid| row.valid_from_ms >= valid.valid_from_ms) {
                    valid = Some(row);
                }
            }
            valid
        };
        let stands = |row: &NodeSwitch| {
            // Its number may be another switch's by now.
            let is_mine = self.switch(row.id, now).is_some_and(|switch| switch.equipment == EquipmentKind::Zone);
            let closed = is_mine && self.newest_status(row.id).map_or(row.normally_closed, |status| status.closed);
            NodeSwitch { normally_closed: closed, ..row.clone() }
        };
        ids.into_iter().filter_map(valid).map(stands).collect()
    }

    pub(crate) fn graph(&self, now: i64) -> Graph {
        let valid = self.valid(now);
        let mut graph = Graph::default();
        for ((place, _), row) in valid.iter().filter(|((_, kind), _)| *kind == Kind::Bus) {
            graph.buses.extend(self.needs(*place, row, now));
        }
        for ((place, _), row) in valid.iter().filter(|((_, kind), _)| *kind == Kind::Branch) {
            let ends = self.needs(*place, row, now);
            if ends.len() == 2 && ends.iter().all(|bus| graph.buses.contains(bus)) {
                graph.edges.insert((ends[0], ends[1]));
            }
        }
        for row in self.joints(now).iter().filter(|row| row.normally_closed) {
            if [row.from, row.to].iter().all(|node| graph.buses.contains(&node.0)) {
                graph.edges.insert((row.from.0, row.to.0));
                graph.joints.push((row.from.0, row.to.0));
            }
        }
        graph
    }

    fn picture(&mut self, now: i64) -> Picture {
        let mut islands: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        let graph = self.graph(now);
        graph.labels().into_iter().for_each(|(bus, label)| _ = islands.entry(label).or_default().insert(bus));
        let labels = renamed(&self.names, &islands.into_values().collect());
        let mut picture = Picture { outputs: self.rejected.clone(), ..Picture::default() };
        for (node, bus) in buses(&graph.joints) {
            picture.outputs.add(BusAssignment { node: BusId(node), bus: BusId(bus) }.into(), 1);
        }
        for row in self.joints(now) {
            picture.elements.add(((EquipmentKind::Bus, row.from.0), row.into()), 1);
        }
        let mut homes: BTreeMap<Place, Option<u32>> = BTreeMap::new();
        let mut sources: BTreeMap<u32, Vec<(i64, u32)>> = BTreeMap::new();
        for ((place, kind), row) in self.valid(now) {
            picture.elements.add((place, row.clone()), 1);
            if kind == Kind::Transformer {
                continue;
            }
            let islands: Vec<Option<u32>> = self.needs(place, row, now).iter().map(|bus| labels.get(bus).copied()).collect();
            let home = islands.first().copied().flatten().filter(|home| islands.iter().all(|other| *other == Some(*home)));
            homes.insert(place, home);
            if let (Some(home), Input::Generator(unit)) = (home, row) {
                sources.entry(home).or_default().push((unit.p_max.0, unit.bus.0));
            }
        }
        // The largest source; of equal ones the lowest bus.
        let references: BTreeMap<u32, u32> = sources
            .into_iter()
            .filter_map(|(island, units)| {
                let greatest = units.iter().map(|(p_max, _)| *p_max).max().filter(|p_max| *p_max > 0)?;
                let lowest = units.iter().filter(|(p_max, _)| *p_max == greatest).map(|(_, bus)| *bus).min()?;
                Some((island, lowest))
            })
            .collect();
        let (mut dead, mut idle) = (BTreeMap::new(), BTreeMap::new());
        for (place, home) in &homes {
            let reference = home.and_then(|home| references.get(&home));
            let row = Topology {
                equipment: place.0,
                id: place.1,
                island: home.map(IslandId),
                energised: reference.is_some(),
                reference: place.0 == EquipmentKind::Bus && reference == Some(&place.1),
            };
            picture.outputs.add(row.into(), 1);
            if reference.is_none() && matches!(place.0, EquipmentKind::Bus | EquipmentKind::Branch) {
                let since_ms = self.idle.get(place).copied().unwrap_or(now);
                // No switch of these networks is at one end.
                let state = if home.is_some() { IdleState::Dead } else { IdleState::Out };
                idle.insert(*place, since_ms);
                picture.idle.add((*place, Idle { since_ms, state }), 1);
            }
            match (home, reference) {
                (Some(home), Some(_)) => picture.placed.add((*place, IslandId(*home)), 1),
                _ if place.0 == EquipmentKind::Bus => drop(dead.insert(place.1, self.dead.get(&place.1).copied().unwrap_or(now))),
                _ => {}
            }
        }
        for (bus, since_ms) in &dead {
            let (kind, equipment, id, feeder) = (AlarmKind::Dead, EquipmentKind::Bus, *bus, FeederId(*bus));
            picture.outputs.add(Alarm { kind, equipment, id, feeder, since_ms: *since_ms }.into(), 1);
        }
        self.dead = dead;
        self.names = labels;
        self.idle = idle;
        references.iter().for_each(|(island, bus)| picture.references.add((IslandId(*island), BusId(*bus)), 1));
        picture
    }
}

/// All rows of each island: what its solver is given.
fn rows_by_island(picture: &Picture) -> BTreeMap<IslandId, BTreeSet<(Place, Option<Input>)>> {
    let mut rows: BTreeMap<IslandId, BTreeSet<(Place, Option<Input>)>> = BTreeMap::new();
    let placed: BTreeMap<Place, IslandId> = picture.placed.0.keys().copied().collect();
    for (place, row) in picture.elements.0.keys() {
        if let Some(island) = placed.get(place) {
            rows.entry(*island).or_default().insert((*place, Some(row.clone())));
        }
    }
    for (island, bus) in picture.references.0.keys() {
        rows.entry(*island).or_default().insert(((EquipmentKind::Bus, bus.0), None));
    }
    rows
}

pub(crate) fn pictures(log: &Log) -> Vec<Picture> {
    let mut reference = Reference::default();
    let mut before = BTreeMap::new();
    let draw = |(epoch, rows): &(Epoch, Vec<Input>)| {
        rows.iter().enumerate().for_each(|(sequence, row)| reference.arrives(*epoch, sequence as u32, row));
        let mut picture = reference.picture(*epoch as i64);
        let after = rows_by_island(&picture);
        let islands: BTreeSet<IslandId> = before.keys().chain(after.keys()).copied().collect();
        picture.changed = islands.into_iter().filter(|island| before.get(island) != after.get(island)).collect();
        before = after;
        picture
    };
    log.iter().map(draw).collect()
}
