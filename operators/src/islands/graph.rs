//! Buses in service and the links between them, with the connected parts kept up to date change by change.
//!
//! A new link between two parts moves the buses of the smaller one. A link that opens is searched for a way round from
//! both ends, one step here, one step there: the search ends when the two meet or when one side has nowhere to go, so
//! that it costs no more than twice the smaller side. When the openings of an epoch cost more than labelling everything,
//! everything is labelled anew; closings alone move a bus no oftener than its part can double. Invariant: between two calls of `settle` every bus in service is in exactly one part,
//! and two buses are in one part exactly when links connect them.

use std::cmp::Reverse;
use std::collections::btree_set::Iter;
use std::collections::{BTreeMap, BTreeSet};

use gridflow_inputs::ids::{BusId, IslandId};

use super::names::{Names, Present};

/// A bus by the order in which it was first named.
pub(super) type Node = u32;

const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Bus {
    id: BusId,
    /// Its part; `NONE` when out of service.
    part: u32,
    /// Greatest power of a source here; 0 when there is none.
    source: i64,
    /// Links in service: other end and number. Several may lead to one bus.
    links: BTreeSet<(Node, u32)>,
}

/// What a part is called and supplied by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Face {
    /// Its name; `None` of a part that was not there.
    pub(super) name: Option<IslandId>,
    /// Bus of its largest source, ties lowest bus.
    pub(super) reference: Option<BusId>,
}

#[derive(Debug, Default)]
struct Part {
    members: BTreeSet<(BusId, Node)>,
    sources: BTreeSet<(Reverse<i64>, BusId)>,
    /// As last settled.
    face: Face,
    stale: bool,
}

/// What settling found.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Buses that went from one part to another, into service or out of it.
    pub(super) moved: Vec<Node>,
    /// Parts that are called or supplied otherwise than before: part, before, now.
    pub(super) parts: Vec<(u32, Face, Face)>,
}

#[derive(Debug, Default)]
pub(super) struct Graph {
    buses: Vec<Bus>,
    /// Search that came by a bus last.
    marks: Vec<u64>,
    search: u64,
    links: usize,
    parts: Vec<Part>,
    free: Vec<u32>,
    stale: Vec<u32>,
    names: Names,
    /// Buses moved since last settled, with the island they were in; of several entries of a bus the first is true.
    moved: Vec<(Node, Option<IslandId>)>,
    /// Steps of searches and buses moved since last settled.
    spent: u64,
    /// More was spent than labelling everything costs: parts are unknown until settled.
    lost: bool,
    /// Steps of searches since the start.
    pub(super) searched: u64,
    /// Buses moved since the start.
    pub(super) relabelled: u64,
}

/// One end's part of a search.
struct Side<'a> {
    reached: Vec<Node>,
    at: usize,
    links: Iter<'a, (Node, u32)>,
}

impl Graph {
    /// Takes a bus in, out of service.
    pub(super) fn enter(&mut self, id: BusId) -> Node {
        let node = u32::try_from(self.buses.len()).expect("bus numbers have 32 bits");
        self.buses.push(Bus { id, part: NONE, source: 0, links: BTreeSet::new() });
        self.marks.push(0);
        node
    }

    /// Its number.
    pub(super) fn id(&self, node: Node) -> BusId {
        self.buses[node as usize].id
    }

    /// Its part, when in service.
    pub(super) fn part(&self, node: Node) -> Option<u32> {
        Some(self.buses[node as usize].part).filter(|part| *part != NONE)
    }

    /// What a part is called and supplied by, as last settled.
    pub(super) fn face(&self, part: u32) -> Face {
        self.parts[part as usize].face
    }

    /// The part of this name, as last settled.
    pub(super) fn named(&self, name: IslandId) -> Option<u32> {
        self.names.part(name)
    }

    /// All names, with the lowest bus of each island.
    pub(super) fn names(&self) -> impl Iterator<Item = (IslandId, BusId)> {
        self.names.all().filter_map(|(name, part)| Some((name, self.parts[part as usize].members.first()?.0)))
    }

    /// Buses of a part, ascending.
    pub(super) fn members(&self, part: u32) -> impl Iterator<Item = Node> + '_ {
        self.parts[part as usize].members.iter().map(|(_, node)| *node)
    }

    /// States the greatest power of a source at a bus; 0 when there is none.
    pub(super) fn supply(&mut self, node: Node, source: i64) {
        let bus = &mut self.buses[node as usize];
        let (id, part) = (bus.id, bus.part);
        let before = std::mem::replace(&mut bus.source, source);
        if before != source && part != NONE && !self.lost {
            let sources = &mut self.parts[part as usize].sources;
            sources.remove(&(Reverse(before), id));
            if source > 0 {
                sources.insert((Reverse(source), id));
            }
            self.stale(part);
        }
    }

    /// Puts a bus into service, by itself.
    pub(super) fn add(&mut self, node: Node) {
        let part = self.new_part();
        self.put(node, part);
    }

    /// Takes a bus out of service. Its links have been cut.
    pub(super) fn remove(&mut self, node: Node) {
        debug_assert!(self.buses[node as usize].links.is_empty(), "a bus goes after its links");
        if self.lost {
            let part = std::mem::replace(&mut self.buses[node as usize].part, NONE);
            self.moved.push((node, self.parts[part as usize].face.name));
        } else {
            self.take(node);
        }
    }

    /// Links two buses in service.
    pub(super) fn join(&mut self, [a, b]: [Node; 2], link: u32) {
        self.buses[a as usize].links.insert((b, link));
        self.buses[b as usize].links.insert((a, link));
        self.links += 1;
        if self.lost {
            return;
        }
        let [into, from] = [a, b].map(|node| self.buses[node as usize].part);
        if into == from {
            return;
        }
        let size = |part: u32| self.parts[part as usize].members.len();
        let (into, from) = if size(into) < size(from) { (from, into) } else { (into, from) };
        let gone = std::mem::take(&mut self.parts[from as usize]);
        // Its place in the list of stale parts stays as it was.
        self.parts[from as usize].stale = gone.stale;
        self.free.push(from);
        for (_, node) in &gone.members {
            self.buses[*node as usize].part = into;
        }
        self.count_moved(gone.members.iter().map(|(_, node)| (*node, gone.face.name)));
        let larger = &mut self.parts[into as usize];
        larger.members.extend(gone.members);
        larger.sources.extend(gone.sources);
        self.stale(into);
    }

    /// Takes a link away.
    pub(super) fn cut(&mut self, [a, b]: [Node; 2], link: u32) {
        self.buses[a as usize].links.remove(&(b, link));
        self.buses[b as usize].links.remove(&(a, link));
        self.links -= 1;
        if self.lost {
            return;
        }
        if let Some(side) = self.cut_off([a, b]) {
            let part = self.new_part();
            for node in side {
                self.take(node);
                self.put(node, part);
            }
        }
        // A bus and its links are looked at once each when everything is labelled.
        self.lost = self.spent > 2 * (self.buses.len() + 2 * self.links) as u64;
    }

    /// The buses on one side of a link just cut, when there is no way round it: of the two sides the one sooner seen.
    fn cut_off(&mut self, ends: [Node; 2]) -> Option<Vec<Node>> {
        let Self { buses, marks, .. } = self;
        let own = [self.search + 1, self.search + 2];
        self.search += 2;
        let mut sides = ends.map(|end| Side { reached: vec![end], at: 0, links: buses[end as usize].links.iter() });
        ends.iter().zip(own).for_each(|(end, mark)| marks[*end as usize] = mark);
        let mut steps = 0;
        let found = 'search: loop {
            for side in 0..2 {
                steps += 1;
                let here = &mut sides[side];
                if let Some((other, _)) = here.links.next() {
                    let mark = &mut marks[*other as usize];
                    if *mark == own[1 - side] {
                        break 'search None;
                    }
                    if *mark != own[side] {
                        *mark = own[side];
                        here.reached.push(*other);
                    }
                } else {
                    here.at += 1;
                    let Some(next) = here.reached.get(here.at) else { break 'search Some(std::mem::take(&mut here.reached)) };
                    here.links = buses[*next as usize].links.iter();
                }
            }
        };
        self.spent += steps;
        self.searched += steps;
        found
    }

    /// Names and references of all parts that changed. Everything is told at most once.
    pub(super) fn settle(&mut self) -> Settled {
        if self.lost {
            self.label_all();
        }
        self.spent = 0;
        let mut moved = std::mem::take(&mut self.moved);
        moved.sort_by_key(|(node, _)| *node);
        moved.dedup_by_key(|(node, _)| *node);

        let (mut arrived, mut shared) = (BTreeMap::<u32, usize>::new(), BTreeMap::<(IslandId, u32), usize>::new());
        let mut before: BTreeSet<IslandId> = BTreeSet::new();
        for (node, name) in &moved {
            before.extend(name);
            if let Some(part) = self.part(*node) {
                *arrived.entry(part).or_default() += 1;
                name.iter().for_each(|name| *shared.entry((*name, part)).or_default() += 1);
            }
        }
        let mut present = Vec::new();
        for part in std::mem::take(&mut self.stale) {
            let here = &mut self.parts[part as usize];
            here.stale = false;
            let Some((lowest, _)) = here.members.first() else { continue };
            let (size, name) = (here.members.len(), here.face.name);
            before.extend(name);
            // Whoever did not move was here.
            let stayed = size - arrived.get(&part).copied().unwrap_or(0);
            name.filter(|_| stayed > 0).into_iter().for_each(|name| *shared.entry((name, part)).or_default() += stayed);
            present.push(Present { part, size, lowest: *lowest });
        }

        let names = self.names.renew(before, &shared, &present);
        let mut parts = Vec::new();
        for (Present { part, .. }, name) in present.into_iter().zip(names) {
            let here = &mut self.parts[part as usize];
            let now = Face { name: Some(name), reference: here.sources.first().map(|(_, id)| *id) };
            let before = std::mem::replace(&mut here.face, now);
            if before != now {
                parts.push((part, before, now));
            }
        }
        Settled { moved: moved.into_iter().map(|(node, _)| node).collect(), parts }
    }

    /// Forgets all parts and lets the next `settle` find them by walking through everything once, and give each of these
    /// names to the island of its bus.
    pub(super) fn lose(&mut self, names: impl Iterator<Item = (IslandId, Node)>) {
        self.lost = true;
        self.moved.extend(names.map(|(name, node)| (node, Some(name))));
        self.names.reserve(self.moved.iter().filter_map(|(_, name)| *name));
    }

    fn label_all(&mut self) {
        self.lost = false;
        self.searched += 2 * self.links as u64;
        let places = self.buses.iter().zip(0..).filter(|(bus, _)| bus.part != NONE);
        self.moved.extend(places.map(|(bus, node)| (node, self.parts[bus.part as usize].face.name)));
        self.parts.clear();
        self.free.clear();
        self.stale.clear();
        let in_service: Vec<Node> = (0..).zip(&self.buses).filter(|(_, bus)| bus.part != NONE).map(|(node, _)| node).collect();
        in_service.iter().for_each(|node| self.buses[*node as usize].part = NONE);
        let mut reached = Vec::new();
        for first in in_service {
            if self.buses[first as usize].part != NONE {
                continue;
            }
            let part = self.new_part();
            self.put(first, part);
            reached.push(first);
            while let Some(node) = reached.pop() {
                let unseen = |(other, _): &(Node, u32)| (self.buses[*other as usize].part == NONE).then_some(*other);
                for other in self.buses[node as usize].links.iter().filter_map(unseen).collect::<BTreeSet<Node>>() {
                    self.put(other, part);
                    reached.push(other);
                }
            }
        }
    }

    fn new_part(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.parts.push(Part::default());
            u32::try_from(self.parts.len() - 1).expect("there are no more parts than buses")
        })
    }

    fn stale(&mut self, part: u32) {
        if !std::mem::replace(&mut self.parts[part as usize].stale, true) {
            self.stale.push(part);
        }
    }

    fn put(&mut self, node: Node, part: u32) {
        let bus = &mut self.buses[node as usize];
        bus.part = part;
        let (id, source) = (bus.id, bus.source);
        let here = &mut self.parts[part as usize];
        here.members.insert((id, node));
        if source > 0 {
            here.sources.insert((Reverse(source), id));
        }
        self.stale(part);
        self.count_moved([(node, None)]);
    }

    /// Takes a bus out of its part.
    fn take(&mut self, node: Node) {
        let bus = &mut self.buses[node as usize];
        let part = std::mem::replace(&mut bus.part, NONE);
        let (id, source) = (bus.id, bus.source);
        let here = &mut self.parts[part as usize];
        here.members.remove(&(id, node));
        here.sources.remove(&(Reverse(source), id));
        self.moved.push((node, here.face.name));
        if here.members.is_empty() {
            here.face = Face::default();
            self.free.push(part);
        }
        self.stale(part);
    }

    fn count_moved(&mut self, nodes: impl IntoIterator<Item = (Node, Option<IslandId>)>) {
        let before = self.moved.len();
        self.moved.extend(nodes);
        let count = (self.moved.len() - before) as u64;
        self.spent += count;
        self.relabelled += count;
    }
}
