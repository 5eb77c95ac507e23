//! What islands are called: by numbers from 1 up that stay with the larger side when switches move.
//!
//! A name goes to the part that holds most buses of the island that had it, of equal ones to that with the lowest bus.
//! A part that would have several names takes that of which it holds most buses, of equal ones the lowest name. All other
//! parts take the least free numbers, the largest part first, of equal ones that with the lowest bus. Only what was
//! before the epoch and what is after it counts: the order of changes in between does not.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use gridflow_inputs::ids::{BusId, IslandId};

/// A part that came to be or changed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Present {
    /// Its place.
    pub(super) part: u32,
    /// Number of its buses.
    pub(super) size: usize,
    /// Its lowest bus.
    pub(super) lowest: BusId,
}

/// Names in use. Invariant: those below `next` that are not in use are `free`.
#[derive(Debug)]
pub(super) struct Names {
    parts: BTreeMap<IslandId, u32>,
    free: BTreeSet<IslandId>,
    next: u32,
}

impl Default for Names {
    fn default() -> Self {
        Self { parts: BTreeMap::new(), free: BTreeSet::new(), next: 1 }
    }
}

impl Names {
    /// The part of this name.
    pub(super) fn part(&self, name: IslandId) -> Option<u32> {
        self.parts.get(&name).copied()
    }

    /// All names with their parts.
    pub(super) fn all(&self) -> impl Iterator<Item = (IslandId, u32)> {
        self.parts.iter().map(|(name, part)| (*name, *part))
    }

    /// Names parts anew: `before` are the names that parts among them had, `shared` tells how many buses of each name
    /// each part holds now. Gives the name of each part, in the order of `present`.
    pub(super) fn renew(
        &mut self,
        before: BTreeSet<IslandId>,
        shared: &BTreeMap<(IslandId, u32), usize>,
        present: &[Present],
    ) -> Vec<IslandId> {
        let place: BTreeMap<u32, usize> = present.iter().zip(0..).map(|(here, place)| (here.part, place)).collect();
        let mut heirs: BTreeMap<IslandId, (usize, Reverse<BusId>, usize)> = BTreeMap::new();
        for ((name, part), count) in shared {
            let place = place[part];
            let heir = (*count, Reverse(present[place].lowest), place);
            heirs.entry(*name).and_modify(|best| *best = heir.max(*best)).or_insert(heir);
        }
        let mut names: Vec<Option<(usize, Reverse<IslandId>)>> = vec![None; present.len()];
        for (name, (count, _, place)) in heirs {
            names[place] = names[place].max(Some((count, Reverse(name))));
        }
        for name in before {
            self.parts.remove(&name);
            self.free.insert(name);
        }
        let mut given: Vec<Option<IslandId>> = names.into_iter().map(|claim| claim.map(|(_, Reverse(name))| name)).collect();
        for name in given.iter().flatten() {
            self.free.remove(name);
        }
        let mut nameless: Vec<usize> = (0..present.len()).filter(|place| given[*place].is_none()).collect();
        nameless.sort_unstable_by_key(|place| (Reverse(present[*place].size), present[*place].lowest));
        for place in nameless {
            given[place] = Some(self.least_free());
        }
        let given: Vec<IslandId> = given.into_iter().flatten().collect();
        self.parts.extend(given.iter().copied().zip(present.iter().map(|here| here.part)));
        given
    }

    fn least_free(&mut self) -> IslandId {
        self.free.pop_first().unwrap_or_else(|| {
            self.next += 1;
            IslandId(self.next - 1)
        })
    }

    /// Takes note that these names are in use, before parts are given them.
    pub(super) fn reserve(&mut self, names: impl Iterator<Item = IslandId>) {
        for name in names {
            self.free.extend((self.next..name.0).map(IslandId));
            self.next = self.next.max(name.0.saturating_add(1));
            self.free.remove(&name);
        }
    }
}
