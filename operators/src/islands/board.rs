//! Where every piece of equipment belongs, and what was told of it.
//!
//! An update looks at the equipment whose own state changed, at what hangs on buses that went to another part of the
//! network, and at what belongs to a part that is called otherwise or came to be or ceased to be supplied: of the last
//! all rows change. Nothing else is touched. Invariant: after an update, what was told is what a drawing from scratch
//! would give.

use std::collections::{BTreeMap, BTreeSet};

use gridflow_inputs::ids::{BusId, FeederId, IslandId};
use gridflow_inputs::network::EquipmentKind;
use serde::{Deserialize, Serialize};

use super::buses::Buses;
use super::graph::{Graph, Node};
use super::inventory::Standing;
use super::{Idle, IdleState, IslandOutput, IslandRow, Place, Thing, Work};
use crate::decision::{Alarm, AlarmKind, Topology};

/// What was told of a piece of equipment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    island: Option<IslandId>,
    energised: bool,
    reference: bool,
}

impl Told {
    /// Its island, when that has a source.
    fn placed(self) -> Option<IslandId> {
        self.island.filter(|_| self.energised)
    }

    fn row(self, (equipment, id): Place) -> Topology {
        Topology { equipment, id, island: self.island, energised: self.energised, reference: self.reference }
    }
}

/// A place with what was told of it and what is seen now.
type Change = (Place, Option<Told>, Told);

#[derive(Debug)]
struct Item {
    thing: Thing,
    ends: Option<(Node, Option<Node>)>,
    source: i64,
    /// Whether switches have it open at both ends.
    both_open: bool,
    /// The link it is in the graph.
    link: Option<[Node; 2]>,
    told: Option<Told>,
    idle: Option<Idle>,
}

/// What hangs on a bus.
#[derive(Debug, Default)]
struct Hung {
    /// Whether the bus is in service.
    on: bool,
    items: BTreeSet<u32>,
    /// Units that are sources, by power.
    sources: BTreeSet<(i64, u32)>,
}

/// Names and times that the rows of the network do not say.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct History {
    /// The lowest bus of each island.
    names: BTreeMap<IslandId, BusId>,
    /// Since when each island is as it is.
    islands: BTreeMap<IslandId, i64>,
    /// Since when each branch or bus is without supply.
    idle: BTreeMap<Place, i64>,
}

#[derive(Debug, Default)]
pub(super) struct Board {
    graph: Graph,
    nodes: BTreeMap<BusId, Node>,
    hung: Vec<Hung>,
    buses: Buses,
    things: BTreeMap<Thing, u32>,
    items: Vec<Item>,
    islands: BTreeMap<IslandId, IslandRow>,
    compared: u64,
    told: u64,
}

impl Item {
    fn is(&self, kind: EquipmentKind) -> bool {
        matches!(self.thing, Thing::Equipment((equipment, _)) if equipment == kind)
    }

    /// Whether it can join two nodes.
    fn joins(&self) -> bool {
        self.is(EquipmentKind::Branch) || matches!(self.thing, Thing::NodeSwitch(_))
    }
}

impl Board {
    /// Work done since the start.
    pub(super) fn work(&self) -> Work {
        let (searched, relabelled) = (self.graph.searched + self.buses.walked, self.graph.relabelled);
        Work { searched, relabelled, compared: self.compared, told: self.told }
    }

    /// Takes how equipment stands now and tells what that changes; `renewed` are the places whose rows changed.
    pub(super) fn update(
        &mut self,
        now: i64,
        standing: impl Iterator<Item = (Thing, Standing)>,
        renewed: impl Iterator<Item = Place>,
        out: &mut Vec<IslandOutput>,
    ) {
        let before = out.len();
        let mut looked_at = self.reconnect(standing);
        let settled = self.graph.settle();
        let mut names = BTreeSet::new();
        for node in settled.moved {
            looked_at.extend(&self.hung[node as usize].items);
        }
        for (part, before, now) in settled.parts {
            names.extend([before.name, now.name].into_iter().flatten());
            // Of a part that was not there before, every bus has moved.
            if before.name.is_some() && (before.name, before.reference.is_some()) != (now.name, now.reference.is_some()) {
                let hung = &self.hung;
                looked_at.extend(self.graph.members(part).flat_map(|node| &hung[node as usize].items));
            } else {
                let places = [before.reference, now.reference].into_iter().flatten().map(|bus| (EquipmentKind::Bus, bus.0));
                looked_at.extend(places.filter_map(|place| self.things.get(&Thing::Equipment(place))));
            }
        }
        let (changes, alarms) = self.compare(now, looked_at, out);
        self.tell(now, &changes, names, renewed, out);
        out.extend(alarms);
        let Self { buses, graph, .. } = self;
        out.extend(buses.settle(|node| graph.id(node)).into_iter().map(|(row, by)| IslandOutput::Row(row.into(), by)));
        self.told += (out.len() - before) as u64;
    }

    /// Brings the graph up to date; gives the equipment that was looked at.
    fn reconnect(&mut self, standing: impl Iterator<Item = (Thing, Standing)>) -> Vec<u32> {
        let (mut looked_at, mut turned, mut supplied, mut links) = (Vec::new(), Vec::new(), BTreeSet::new(), BTreeSet::new());
        for (thing, standing) in standing {
            let item = self.item(thing);
            looked_at.push(item);
            self.items[item as usize].both_open = standing.both_open;
            let ends = standing.ends.map(|(first, second)| (self.node(first), second.map(|second| self.node(second))));
            let (had, gave) = (self.items[item as usize].ends, self.items[item as usize].source);
            if (had, gave) == (ends, standing.source) {
                continue;
            }
            for node in nodes(had) {
                self.hung[node as usize].items.remove(&item);
                if gave > 0 {
                    self.hung[node as usize].sources.remove(&(gave, item));
                    supplied.insert(node);
                }
            }
            for node in nodes(ends) {
                self.hung[node as usize].items.insert(item);
                if standing.source > 0 {
                    self.hung[node as usize].sources.insert((standing.source, item));
                    supplied.insert(node);
                }
            }
            self.items[item as usize].ends = ends;
            self.items[item as usize].source = standing.source;
            if let Thing::Equipment((EquipmentKind::Bus, id)) = thing {
                turned.push((self.node(BusId(id)), ends.is_some()));
            } else if self.items[item as usize].joins() {
                links.insert(item);
            }
        }
        for (node, on) in &turned {
            let hung = &mut self.hung[*node as usize];
            hung.on = *on;
            links.extend(hung.items.iter().filter(|item| self.items[**item as usize].joins()));
        }
        // Openings first: what is moved from one island to another in one epoch is small while it is between them.
        let mut joins = Vec::new();
        for item in links {
            let link = self.link(&self.items[item as usize]);
            let had = std::mem::replace(&mut self.items[item as usize].link, link);
            if had != link {
                let of_nodes = matches!(self.items[item as usize].thing, Thing::NodeSwitch(_));
                if let Some(ends) = had {
                    self.graph.cut(ends, item);
                    of_nodes.then(|| self.buses.cut(ends, item));
                }
                if let Some(ends) = link {
                    joins.push((ends, item));
                    of_nodes.then(|| self.buses.join(ends, item));
                }
            }
        }
        for (node, on) in turned {
            if on {
                self.graph.add(node);
            } else {
                self.graph.remove(node);
            }
        }
        for (ends, item) in joins {
            self.graph.join(ends, item);
        }
        for node in supplied {
            let source = self.hung[node as usize].sources.last().map_or(0, |(source, _)| *source);
            self.graph.supply(node, source);
        }
        looked_at
    }

    /// The link a piece of equipment is now.
    fn link(&self, item: &Item) -> Option<[Node; 2]> {
        let (first, second) = item.ends.filter(|_| item.joins())?;
        let second = second.filter(|second| *second != first)?;
        let on = [first, second].iter().all(|node| self.hung[*node as usize].on);
        on.then_some([first.min(second), first.max(second)])
    }

    fn node(&mut self, bus: BusId) -> Node {
        let Self { graph, nodes, hung, .. } = self;
        *nodes.entry(bus).or_insert_with(|| {
            hung.push(Hung::default());
            graph.enter(bus)
        })
    }

    fn item(&mut self, thing: Thing) -> u32 {
        let Self { items, things, .. } = self;
        *things.entry(thing).or_insert_with(|| {
            items.push(Item { thing, ends: None, source: 0, both_open: false, link: None, told: None, idle: None });
            u32::try_from(items.len() - 1).expect("equipment is counted in 32 bits")
        })
    }

    /// Where a piece of equipment belongs now.
    fn seen(&self, item: &Item) -> Told {
        let part = item.ends.and_then(|(first, second)| {
            let part = self.graph.part(first)?;
            // A direct-current link between islands belongs to neither.
            second.is_none_or(|second| self.graph.part(second) == Some(part)).then_some(part)
        });
        let Some(part) = part else { return Told::default() };
        let face = self.graph.face(part);
        let reference = face.reference.is_some_and(|bus| item.thing == Thing::Equipment((EquipmentKind::Bus, bus.0)));
        Told { island: face.name, energised: face.reference.is_some(), reference }
    }

    /// Why a piece of equipment is without supply, for branches and buses.
    fn idle(now: i64, item: &Item, seen: Told) -> Option<Idle> {
        if seen.energised || !(item.is(EquipmentKind::Branch) || item.is(EquipmentKind::Bus)) {
            return None;
        }
        let state = match seen.island {
            Some(_) => IdleState::Dead,
            None if item.both_open => IdleState::OpenAtBothEnds,
            None => IdleState::Out,
        };
        Some(Idle { since_ms: item.idle.map_or(now, |idle| idle.since_ms), state })
    }

    /// Of the equipment looked at, what belongs elsewhere or otherwise than told: place, before, now. Tells what is without
    /// supply and gives the alarms of buses for it: those that end first.
    fn compare(&mut self, now: i64, looked_at: Vec<u32>, out: &mut Vec<IslandOutput>) -> (Vec<Change>, Vec<IslandOutput>) {
        let equipment = |item: u32| match self.items[item as usize].thing {
            Thing::Equipment(place) => Some((place, item)),
            Thing::NodeSwitch(_) => None,
        };
        let mut items: Vec<(Place, u32)> = looked_at.into_iter().filter_map(equipment).collect();
        items.sort_unstable();
        items.dedup();
        self.compared += items.len() as u64;
        let (mut changes, mut ended, mut begun) = (Vec::new(), Vec::new(), Vec::new());
        for (place, item) in items {
            let seen = self.seen(&self.items[item as usize]);
            let here = &mut self.items[item as usize];
            let idle = Self::idle(now, here, seen);
            let was_idle = std::mem::replace(&mut here.idle, idle);
            if was_idle != idle {
                out.extend(was_idle.map(|idle| IslandOutput::Idle(place, idle, -1)));
                out.extend(idle.map(|idle| IslandOutput::Idle(place, idle, 1)));
            }
            match (was_idle, idle) {
                (Some(was), None) if place.0 == EquipmentKind::Bus => {
                    ended.push(IslandOutput::Row(alarm(place.1, was.since_ms).into(), -1))
                }
                (None, Some(is)) if place.0 == EquipmentKind::Bus => begun.push(IslandOutput::Row(alarm(place.1, is.since_ms).into(), 1)),
                _ => {}
            }
            let told = here.told.replace(seen);
            if told != Some(seen) {
                changes.push((place, told, seen));
            }
        }
        ended.append(&mut begun);
        (changes, ended)
    }

    fn tell(
        &mut self,
        now: i64,
        changes: &[Change],
        mut names: BTreeSet<IslandId>,
        renewed: impl Iterator<Item = Place>,
        out: &mut Vec<IslandOutput>,
    ) {
        let told = |place: Place| self.items[*self.things.get(&Thing::Equipment(place))? as usize].told;
        let mut changed: BTreeSet<IslandId> = renewed.filter_map(|place| told(place)?.placed()).collect();
        let places = changes.iter().map(|(place, before, now)| (*place, before.and_then(Told::placed), now.placed()));
        let places = places.filter(|(_, before, now)| before != now);
        for (place, island) in places.clone().filter_map(|(place, before, _)| Some((place, before?))) {
            changed.insert(island);
            out.push(IslandOutput::Placed(place, island, -1));
        }
        for (place, island) in places.filter_map(|(place, _, now)| Some((place, now?))) {
            changed.insert(island);
            out.push(IslandOutput::Placed(place, island, 1));
        }

        names.extend(&changed);
        let mut begun = Vec::new();
        for island in names {
            let before = self.islands.get(&island).copied();
            let reference = self.reference(island);
            if before.map(|row| row.reference) == reference && !changed.contains(&island) {
                continue;
            }
            changed.extend(before.map(|_| island));
            out.extend(before.map(|row| IslandOutput::Island(island, row, -1)));
            if let Some(reference) = reference {
                let row = IslandRow { reference, changed_ms: now };
                self.islands.insert(island, row);
                begun.push(IslandOutput::Island(island, row, 1));
                changed.insert(island);
            } else {
                self.islands.remove(&island);
            }
        }
        out.append(&mut begun);

        for (place, told, _) in changes {
            out.extend(told.map(|told| IslandOutput::Row(told.row(*place).into(), -1)));
        }
        out.extend(changes.iter().map(|(place, _, seen)| IslandOutput::Row(seen.row(*place).into(), 1)));
        out.extend(changed.into_iter().map(IslandOutput::Changed));
    }

    /// Reference bus of the island of this name, when there is one with a source.
    fn reference(&self, island: IslandId) -> Option<BusId> {
        self.graph.face(self.graph.named(island)?).reference
    }
}

/// What collections hold, and what is remembered.
impl Board {
    /// Tells again where equipment belongs and what islands there are.
    pub(super) fn hold(&self, out: &mut Vec<IslandOutput>) {
        let equipment = self.things.iter().filter_map(|(thing, item)| match thing {
            Thing::Equipment(place) => Some((*place, &self.items[*item as usize])),
            Thing::NodeSwitch(_) => None,
        });
        for (place, item) in equipment {
            out.extend(item.idle.map(|idle| IslandOutput::Idle(place, idle, 1)));
            out.extend(item.told.and_then(Told::placed).map(|island| IslandOutput::Placed(place, island, 1)));
        }
        out.extend(self.islands.iter().map(|(island, row)| IslandOutput::Island(*island, *row, 1)));
    }

    /// What rows do not say.
    pub(super) fn history(&self) -> History {
        let islands = self.islands.iter().map(|(island, row)| (*island, row.changed_ms)).collect();
        let idle = self.things.iter().filter_map(|(thing, item)| match thing {
            Thing::Equipment(place) => Some((*place, self.items[*item as usize].idle?.since_ms)),
            Thing::NodeSwitch(_) => None,
        });
        History { names: self.graph.names().collect(), islands, idle: idle.collect() }
    }

    /// Draws everything from scratch, as `history` has it; false when that is of another network.
    pub(super) fn restore(&mut self, standing: Vec<(Thing, Standing)>, history: History) -> bool {
        // Numbers are given in turn: there was never one beyond the number of buses.
        let buses = standing.iter().filter(|(thing, _)| matches!(thing, Thing::Equipment((EquipmentKind::Bus, _)))).count();
        if history.names.keys().any(|name| name.0 == 0 || name.0 as usize > buses) {
            return false;
        }
        let names: Vec<(IslandId, Node)> = history.names.iter().map(|(name, bus)| (*name, self.node(*bus))).collect();
        self.graph.lose(names.into_iter());
        self.update(0, standing.into_iter(), std::iter::empty(), &mut Vec::new());
        let fits = self.graph.names().eq(history.names) && self.islands.keys().eq(history.islands.keys());
        self.islands.values_mut().zip(history.islands.into_values()).for_each(|(row, changed_ms)| row.changed_ms = changed_ms);
        let mut idle = history.idle;
        for (thing, item) in &self.things {
            if let (Thing::Equipment(place), Some(here)) = (thing, &mut self.items[*item as usize].idle) {
                match idle.remove(place) {
                    Some(since_ms) => here.since_ms = since_ms,
                    None => return false,
                }
            }
        }
        fits && idle.is_empty()
    }
}

fn nodes(ends: Option<(Node, Option<Node>)>) -> impl Iterator<Item = Node> {
    ends.into_iter().flat_map(|(first, second)| [Some(first), second]).flatten()
}

fn alarm(bus: u32, since_ms: i64) -> Alarm {
    let (kind, equipment, id, feeder) = (AlarmKind::Dead, EquipmentKind::Bus, bus, FeederId(bus));
    Alarm { kind, equipment, id, feeder, since_ms }
}
