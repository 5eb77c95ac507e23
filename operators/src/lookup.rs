//! A table from numbers to places in a list, for what is looked up once a reading: open addressing, no order to iterate in.
//!
//! Invariant: nothing can be learnt from it but the place of a number, so that no result can depend on its layout.

/// No number has this place.
const FREE: u32 = u32::MAX;

/// Places by number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lookup {
    slots: Vec<(u64, u32)>,
    len: usize,
}

impl Lookup {
    fn home(&self, key: u64) -> usize {
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & (self.slots.len() - 1)
    }

    /// The place of a number.
    pub(crate) fn get(&self, key: u64) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = self.home(key);
        loop {
            let (known, place) = self.slots[at];
            if place == FREE {
                return None;
            }
            if known == key {
                return Some(place);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// The place of a number, which is `next` when it had none.
    pub(crate) fn place(&mut self, key: u64, next: usize) -> (usize, bool) {
        if let Some(place) = self.get(key) {
            return (place as usize, false);
        }
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            let room = (self.slots.len() * 2).max(8);
            let old = std::mem::replace(&mut self.slots, vec![(0, FREE); room]);
            old.into_iter().filter(|(_, place)| *place != FREE).for_each(|(key, place)| self.put(key, place));
        }
        self.put(key, u32::try_from(next).expect("fewer than four billion places"));
        self.len += 1;
        (next, true)
    }

    fn put(&mut self, key: u64, place: u32) {
        let mut at = self.home(key);
        while self.slots[at].1 != FREE {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = (key, place);
    }

    /// Bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<(u64, u32)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_keeps_its_place() {
        let mut lookup = Lookup::default();
        let key = |place: u64| place.wrapping_mul(0x1234_5678_9abc_def1) ^ (place << 60);
        for place in 0..5_000 {
            assert_eq!(lookup.get(key(place)), None);
            assert_eq!(lookup.place(key(place), place as usize), (place as usize, true));
            assert_eq!(lookup.place(key(place), 9_999_999), (place as usize, false));
        }
        assert!((0..5_000).all(|place| lookup.get(key(place)) == Some(place as u32)));
    }
}
