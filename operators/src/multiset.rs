//! Rows with how often they hold, found by a number that is cheap to compare.
//!
//! A new reading withdraws the one before it: both have the slot of their sensor, so that the change is made in place and rows
//! are compared only with their like. What is shown is ascending by slot, then by row; the order of changes leaves no trace.

use std::collections::BTreeMap;

/// Rows that replace each other have one slot.
pub trait Slotted {
    /// The number; few rows that hold at a time should share it.
    fn slot(&self) -> u64;
}

impl Slotted for u8 {
    fn slot(&self) -> u64 {
        u64::from(*self)
    }
}

impl Slotted for u64 {
    fn slot(&self) -> u64 {
        *self
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Multiset<R> {
    /// Of each slot its rows, ascending, none of them as often as not.
    slots: BTreeMap<u64, Vec<(R, i64)>>,
    /// Slots without a row, which most are for a moment only.
    vacant: usize,
}

impl<R> Default for Multiset<R> {
    fn default() -> Self {
        Self { slots: BTreeMap::new(), vacant: 0 }
    }
}

impl<R: Ord> Multiset<R> {
    /// Adds to the count of a row of this slot.
    pub(crate) fn change(&mut self, slot: u64, row: R, by: i64) {
        if by == 0 {
            return;
        }
        let mut is_new = false;
        let rows = self.slots.entry(slot).or_insert_with(|| {
            is_new = true;
            Vec::new()
        });
        self.vacant -= usize::from(rows.is_empty() && !is_new);
        // That they are equal is seen sooner than which is the greater.
        if let Some(place) = rows.iter().position(|(known, _)| *known == row) {
            rows[place].1 += by;
            if rows[place].1 == 0 {
                rows.remove(place);
            }
        } else {
            let place = rows.partition_point(|(known, _)| *known < row);
            // Almost always the only one: no room for more.
            rows.reserve_exact(1);
            rows.insert(place, (row, by));
        }
        self.vacant += usize::from(rows.is_empty());
    }

    /// Whether there is no row at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.vacant == self.slots.len()
    }

    /// Rows and their counts, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&R, i64)> {
        self.slots.values().flatten().map(|(row, count)| (row, *count))
    }

    /// Rows that hold, ascending. Slots that were left are forgotten.
    pub(crate) fn present(&mut self) -> Vec<R>
    where
        R: Clone,
    {
        if self.vacant > 0 {
            self.slots.retain(|_, rows| !rows.is_empty());
            self.vacant = 0;
        }
        let mut present = Vec::with_capacity(self.slots.len());
        present.extend(self.iter().filter(|(_, count)| *count > 0).map(|(row, _)| row.clone()));
        present
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_that_were_left_are_counted_and_forgotten() {
        let mut rows = Multiset::default();
        assert!(rows.is_empty());
        for round in 0..3 {
            rows.change(1, 10, 1);
            rows.change(2, 20, -1);
            assert!(!rows.is_empty() && rows.vacant == 0, "round {round}: a row that is owed is one");
            rows.change(1, 10, -1);
            assert_eq!((rows.vacant, rows.is_empty()), (1, false));
            rows.change(2, 20, 1);
            assert_eq!((rows.vacant, rows.slots.len(), rows.is_empty()), (2, 2, true));
        }
        assert!(rows.present().is_empty() && rows.slots.is_empty() && rows.vacant == 0 && rows.is_empty());
    }
}
