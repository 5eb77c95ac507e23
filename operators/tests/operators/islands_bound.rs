//! What the islands operator may touch for the move of one breaker, worked out from a plain map of the lines.
//!
//! Invariant: the bounds come from walks of this file's own and from no count of the operator's.

use std::collections::VecDeque;

use gridflow_inputs::Input;
use gridflow_inputs::network::BusKind;

/// Most that the move of a breaker may cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bound {
    /// Steps of searches.
    pub(crate) searched: u64,
    /// Buses put into another part.
    pub(crate) moved: u64,
    /// Pieces of equipment at those.
    pub(crate) equipment: u64,
    /// Pieces of equipment on the side with fewer buses.
    pub(crate) smaller: u64,
}

/// Lines between buses, and whether they are closed. Buses are numbered by the order in which their rows come.
pub(crate) struct Map {
    branches: Vec<u32>,
    ends: Vec<(usize, usize)>,
    closed: Vec<bool>,
    at: Vec<Vec<usize>>,
    /// Pieces of equipment at each bus, itself among them.
    equipment: Vec<u64>,
}

/// A walk from one bus: the buses seen, and the steps to look at all up to each distance and at their lines.
struct Walk {
    seen: Vec<usize>,
    steps: Vec<u64>,
    /// Distance of the bus that was looked for.
    length: Option<usize>,
}

impl Walk {
    fn all_steps(&self) -> u64 {
        self.steps[self.steps.len() - 1]
    }

    /// Steps to look at so many levels of distance.
    fn levels(&self, levels: usize) -> u64 {
        levels.checked_sub(1).map_or(0, |last| self.steps[last.min(self.steps.len() - 1)])
    }
}

impl Map {
    pub(crate) fn new(rows: &[Input]) -> Self {
        let buses: Vec<u32> = rows.iter().filter_map(|row| if let Input::Bus(row) = row { Some(row.id.0) } else { None }).collect();
        let place = |bus: u32| buses.iter().position(|other| *other == bus).expect("every end has a bus");
        let count = buses.len();
        let (branches, ends, closed) = (Vec::new(), Vec::new(), Vec::new());
        let mut map = Self { branches, ends, closed, at: vec![Vec::new(); count], equipment: vec![0; count] };
        for row in rows {
            let buses = match row {
                Input::Bus(row) if row.kind != BusKind::Isolated => vec![row.id.0],
                Input::Branch(row) if row.in_service => vec![row.from.0, row.to.0],
                Input::Generator(row) => vec![row.bus.0],
                Input::Load(row) => vec![row.bus.0],
                Input::Shunt(row) => vec![row.bus.0],
                Input::Storage(row) => vec![row.bus.0],
                Input::DcLine(row) => vec![row.from.0, row.to.0],
                _ => continue,
            };
            let buses: Vec<usize> = buses.into_iter().map(place).collect();
            buses.iter().for_each(|bus| map.equipment[*bus] += 1);
            if let Input::Branch(row) = row {
                buses.iter().for_each(|bus| map.at[*bus].push(map.ends.len()));
                map.branches.push(row.id.0);
                map.ends.push((buses[0], buses[1]));
                map.closed.push(true);
            }
        }
        map
    }

    /// Numbers of all lines.
    pub(crate) fn branches(&self) -> Vec<u32> {
        self.branches.clone()
    }

    pub(crate) fn is_closed(&self, branch: u32) -> bool {
        self.closed[self.line(branch)]
    }

    fn line(&self, branch: u32) -> usize {
        self.branches.iter().position(|other| *other == branch).expect("it is one of the lines")
    }

    /// Walks from a bus until all buses are seen that are no further than another, or all there are.
    fn walk(&self, from: usize, until: usize) -> Walk {
        let mut far = vec![usize::MAX; self.at.len()];
        far[from] = 0;
        let mut walk = Walk { seen: vec![from], steps: Vec::new(), length: None };
        let mut queue = VecDeque::from([from]);
        while let Some(bus) = queue.pop_front() {
            if walk.length == Some(far[bus]) {
                break;
            }
            let before = walk.steps.last().copied().unwrap_or(0);
            walk.steps.resize(far[bus] + 1, before);
            walk.steps[far[bus]] += 1;
            for line in self.at[bus].iter().filter(|line| self.closed[**line]) {
                walk.steps[far[bus]] += 1;
                let (a, b) = self.ends[*line];
                let other = if a == bus { b } else { a };
                if far[other] == usize::MAX {
                    far[other] = far[bus] + 1;
                    walk.seen.push(other);
                    queue.push_back(other);
                }
                if other == until {
                    walk.length = Some(far[other]);
                }
            }
        }
        walk
    }

    fn equipment(&self, side: &Walk) -> u64 {
        side.seen.iter().map(|bus| self.equipment[*bus]).sum()
    }

    /// Moves a breaker and gives what the operator may touch for it.
    pub(crate) fn flip(&mut self, branch: u32) -> Bound {
        let line = self.line(branch);
        let opened = std::mem::replace(&mut self.closed[line], false);
        let (a, b) = self.ends[line];
        let (near, far) = (self.walk(a, b), self.walk(b, a));
        self.closed[line] = !opened;
        if let Some(length) = near.length {
            // The two have met when all buses up to some distance are seen here and the others of the way there.
            let steps = (0..=length).map(|levels| near.levels(levels).max(far.levels(length - levels))).min();
            let steps = steps.expect("a way has a length");
            return Bound { searched: if opened { 2 * steps + 2 } else { 0 }, ..Bound::default() };
        }
        // Opened, the side sooner seen moves; closed, the side with fewer buses; of sides about equal either may.
        let measure = |walk: &Walk| if opened { walk.all_steps() } else { walk.seen.len() as u64 };
        let least = measure(&near).min(measure(&far));
        let fewer = near.seen.len().min(far.seen.len());
        let mut bound = Bound { searched: if opened { 2 * least + 2 } else { 0 }, ..Bound::default() };
        for side in [&near, &far].into_iter().filter(|side| measure(side) <= least + u64::from(opened)) {
            bound.moved = bound.moved.max(side.seen.len() as u64);
            bound.equipment = bound.equipment.max(self.equipment(side));
        }
        let smaller = [&near, &far].into_iter().filter(|side| side.seen.len() == fewer);
        bound.smaller = smaller.map(|side| self.equipment(side)).max().unwrap_or(0);
        bound
    }
}
