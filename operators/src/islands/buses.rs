//! Which connectivity nodes are one bus: those that closed node switches join. A bus is named by its lowest node.
//!
//! A switch that moves has the nodes of its bus, or of its two buses, walked through: a substation's worth, whatever the
//! size of the network. Nodes that are a bus by themselves are not stored.

use std::collections::{BTreeMap, BTreeSet};

use gridflow_inputs::ids::BusId;

use super::graph::Node;
use crate::decision::BusAssignment;

#[derive(Debug, Default)]
pub(super) struct Buses {
    /// Closed switches at each node: other node and number of the switch. Several may lead to one node.
    closed: BTreeMap<Node, BTreeSet<(Node, u32)>>,
    /// Nodes whose switches moved.
    touched: BTreeSet<Node>,
    /// Bus of each node that is part of another's.
    told: BTreeMap<BusId, BusId>,
    /// Nodes walked through since the start.
    pub(super) walked: u64,
}

impl Buses {
    /// A switch closes.
    pub(super) fn join(&mut self, [a, b]: [Node; 2], switch: u32) {
        self.closed.entry(a).or_default().insert((b, switch));
        self.closed.entry(b).or_default().insert((a, switch));
        self.touched.extend([a, b]);
    }

    /// A switch opens.
    pub(super) fn cut(&mut self, [a, b]: [Node; 2], switch: u32) {
        for (here, there) in [(a, b), (b, a)] {
            if let Some(switches) = self.closed.get_mut(&here) {
                switches.remove(&(there, switch));
            }
        }
        self.touched.extend([a, b]);
    }

    /// Assignments that begin or cease to hold: those that cease first, each by node.
    pub(super) fn settle(&mut self, number: impl Fn(Node) -> BusId) -> Vec<(BusAssignment, i64)> {
        let mut seen: BTreeSet<Node> = BTreeSet::new();
        let mut now: BTreeMap<BusId, Option<BusId>> = BTreeMap::new();
        for first in std::mem::take(&mut self.touched) {
            if !seen.insert(first) {
                continue;
            }
            let mut bus = vec![first];
            let mut at = 0;
            while let Some(node) = bus.get(at) {
                at += 1;
                let others = self.closed.get(node).into_iter().flatten().map(|(other, _)| *other);
                bus.extend(others.filter(|other| seen.insert(*other)));
            }
            self.walked += bus.len() as u64;
            let nodes: BTreeSet<BusId> = bus.into_iter().map(&number).collect();
            let lowest = nodes.first().copied();
            now.extend(nodes.into_iter().map(|node| (node, lowest.filter(|lowest| *lowest != node))));
        }
        let (mut ended, mut begun) = (Vec::new(), Vec::new());
        for (node, bus) in now {
            let before = self.told.get(&node).copied();
            if before == bus {
                continue;
            }
            ended.extend(before.map(|bus| (BusAssignment { node, bus }, -1)));
            begun.extend(bus.map(|bus| (BusAssignment { node, bus }, 1)));
            match bus {
                Some(bus) => drop(self.told.insert(node, bus)),
                None => drop(self.told.remove(&node)),
            }
        }
        ended.extend(begun);
        ended
    }
}
