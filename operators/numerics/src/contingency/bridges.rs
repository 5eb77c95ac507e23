//! Bridges: branches whose outage parts a component, and the part that is then lost.
//!
//! Found once per case by a depth-first search with low-links (Tarjan 1974) on the multigraph: of two parallel branches neither
//! is a bridge. Buses are numbered in the order of the search, so that what hangs on a bridge is a range of them. Which side
//! counts as lost: one that nobody can balance (no unit takes part, and the reference, where it would stand in, is on the other
//! side); else the one with fewer buses; of two equal ones that without the reference bus.

use super::participation::Participation;
use crate::case::Case;

const NONE: usize = usize::MAX;

/// What an outage cuts off: its buses are without supply, what they drew and put in is missing from the rest.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LostIsland {
    /// Number of buses.
    pub buses: usize,
    /// Active load, bus conductances at magnitude 1 included.
    pub load: f64,
    /// Scheduled active output of its units.
    pub generation: f64,
}

/// The search's order and the bridges of a case.
#[derive(Clone, Debug)]
pub(super) struct Bridges {
    /// Buses in the order of the search.
    order: Vec<usize>,
    rank: Vec<usize>,
    /// Rank behind the last bus of each bus's subtree.
    end: Vec<usize>,
    /// Rank of the first bus of each bus's component.
    first: Vec<usize>,
    /// Of each branch that is a bridge the bus on its far side from the search's root.
    below: Vec<usize>,
    /// Active load and generation of each bus.
    load: Vec<f64>,
    generation: Vec<f64>,
    is_reference: Vec<bool>,
}

/// A side of a bridge, as ranges of ranks.
pub(super) struct Side {
    ranges: [std::ops::Range<usize>; 2],
    /// The bus on the other side of the bridge.
    pub(super) beyond: usize,
}

impl Bridges {
    pub(super) fn new(case: &Case) -> Self {
        let n = case.buses.len();
        // Branches at each bus, by their index.
        let mut starts = vec![0; n + 1];
        for branch in &case.branches {
            starts[branch.from + 1] += 1;
            starts[branch.to + 1] += 1;
        }
        for bus in 0..n {
            starts[bus + 1] += starts[bus];
        }
        let (mut next, mut at) = (starts.clone(), vec![0; 2 * case.branches.len()]);
        for (index, branch) in case.branches.iter().enumerate() {
            for bus in [branch.from, branch.to] {
                at[next[bus]] = index;
                next[bus] += 1;
            }
        }
        let mut found = Self {
            order: Vec::with_capacity(n),
            rank: vec![NONE; n],
            end: vec![0; n],
            first: vec![0; n],
            below: vec![NONE; case.branches.len()],
            load: Vec::from_iter(case.buses.iter().map(|bus| bus.g)),
            generation: vec![0.0; n],
            is_reference: Vec::from_iter(case.buses.iter().map(|bus| bus.kind == gridflow_inputs::network::BusKind::Reference)),
        };
        case.loads.iter().for_each(|load| found.load[load.bus] += load.p);
        case.generators.iter().for_each(|unit| found.generation[unit.bus] += unit.p);
        let mut low = vec![NONE; n];
        // (bus, branch it was reached by, next of its branches)
        let mut stack: Vec<(usize, usize, usize)> = Vec::new();
        for root in 0..n {
            if found.rank[root] != NONE {
                continue;
            }
            let first = found.order.len();
            found.enter(root, first, &mut low);
            stack.push((root, NONE, starts[root]));
            while let Some((bus, by, next)) = stack.last_mut() {
                let (bus, by) = (*bus, *by);
                if *next == starts[bus + 1] {
                    stack.pop();
                    found.end[bus] = found.order.len();
                    if let Some((parent, ..)) = stack.last() {
                        low[*parent] = low[*parent].min(low[bus]);
                        if low[bus] > found.rank[*parent] {
                            found.below[by] = bus;
                        }
                    }
                    continue;
                }
                let index = at[*next];
                *next += 1;
                let branch = &case.branches[index];
                let other = if branch.from == bus { branch.to } else { branch.from };
                if index == by {
                    continue;
                }
                if found.rank[other] == NONE {
                    found.enter(other, first, &mut low);
                    stack.push((other, index, starts[other]));
                } else {
                    low[bus] = low[bus].min(found.rank[other]);
                }
            }
        }
        found
    }

    fn enter(&mut self, bus: usize, first: usize, low: &mut [usize]) {
        self.rank[bus] = self.order.len();
        low[bus] = self.rank[bus];
        self.first[bus] = first;
        self.order.push(bus);
    }

    /// Whether the outage of a branch parts its component.
    pub(super) fn is_bridge(&self, branch: usize) -> bool {
        self.below[branch] != NONE
    }

    /// The side lost with a bridge; none when the branch is no bridge.
    pub(super) fn lost_side(&self, case: &Case, branch: usize, participation: &Participation) -> Option<Side> {
        let below = self.below[branch];
        if below == NONE {
            return None;
        }
        let ends = (case.branches[branch].from, case.branches[branch].to);
        let above = if ends.0 == below { ends.1 } else { ends.0 };
        let (start, end) = (self.rank[below], self.end[below]);
        let (first, last) = (self.first[below], self.end[self.order[self.first[below]]]);
        let lower = Side { ranges: [start..end, 0..0], beyond: above };
        let upper = Side { ranges: [first..start, end..last], beyond: below };
        let size = |side: &Side| side.ranges.iter().map(ExactSizeIterator::len).sum::<usize>();
        let balances = |side: &Side| self.buses(side).any(|bus| participation.balances(bus));
        let lower_is_lost = match (balances(&lower), balances(&upper)) {
            (true, false) => false,
            (false, true) => true,
            _ if size(&lower) == size(&upper) => !self.buses(&lower).any(|bus| self.is_reference[bus]),
            _ => size(&lower) < size(&upper),
        };
        Some(if lower_is_lost { lower } else { upper })
    }

    /// The buses of a side.
    pub(super) fn buses(&self, side: &Side) -> impl Iterator<Item = usize> {
        side.ranges.clone().into_iter().flat_map(|range| self.order[range].iter().copied())
    }

    /// What is lost with a side.
    pub(super) fn balance(&self, side: &Side) -> LostIsland {
        let mut lost = LostIsland { buses: 0, load: 0.0, generation: 0.0 };
        for bus in self.buses(side) {
            lost.buses += 1;
            lost.load += self.load[bus];
            lost.generation += self.generation[bus];
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::network;
    use super::super::{Cover, participation::Participation};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bridge_is_what_parts_a_component_when_it_is_removed(pairs in prop::collection::vec((0..9usize, 0..9usize), 1..16)) {
            let branches = Vec::from_iter(pairs.into_iter().filter(|(a, b)| a != b));
            let case = network(9, &branches);
            let bridges = Bridges::new(&case);
            let participation = Participation::new(&case, Cover::Capacity);
            let count = |case: &Case| case.components().iter().enumerate().filter(|(bus, lowest)| *bus == **lowest).count();
            for branch in 0..branches.len() {
                let mut without = case.clone();
                let removed = without.branches.remove(branch);
                prop_assert_eq!(bridges.is_bridge(branch), count(&without) > count(&case));
                if let Some(side) = bridges.lost_side(&case, branch, &participation) {
                    let components = without.components();
                    let mut lost = Vec::from_iter(bridges.buses(&side));
                    lost.sort_unstable();
                    let end = if side.beyond == removed.from { removed.to } else { removed.from };
                    let expected = Vec::from_iter((0..9).filter(|bus| components[*bus] == components[end]));
                    prop_assert_eq!(&lost, &expected);
                    prop_assert_eq!(bridges.balance(&side).buses, lost.len());
                }
            }
        }
    }
}
