//! What a minute that can still change needs besides its readings: which sensors have some, and for feeders and zones
//! the changes of the present epoch and this worker's least and greatest reading.
//!
//! A slot counts how many readings equal its extremes, so that other readings are looked at only when the last of them is
//! withdrawn. Of buses, which are many, and of minutes long past, of which a bound of days keeps ten thousand, no extremes
//! are kept: new readings widen those that the accounts know.

use super::aggregate::square;
use super::held::MINUTE_MS;

/// No slot.
const NONE: u32 = u32::MAX;

/// Slots of a minute are kept for so long after it began.
const KEPT_MS: i64 = 3_600_000;

/// The first minute that has slots after an epoch.
pub(super) fn first_with_slots(epoch: i64) -> i64 {
    (epoch - KEPT_MS).div_euclid(MINUTE_MS)
}

/// So many sensors are looked at side by side, so that the memory answers for all at once.
pub(super) const AHEAD: usize = 32;

/// Places of sensors: few as a list, many as bits.
#[derive(Debug)]
pub(super) enum Members {
    Few(Vec<u32>),
    Many(Vec<u64>),
}

impl Members {
    pub(super) fn insert(&mut self, sensor: u32, sensors: usize) {
        match self {
            Self::Few(list) if list.len() < sensors / 64 + 8 => {
                // A sensor begins a minute once.
                list.push(sensor);
            }
            Self::Few(list) => {
                let list = std::mem::take(list);
                *self = Self::Many(vec![0; sensors.div_ceil(64)]);
                list.into_iter().chain([sensor]).for_each(|sensor| self.insert(sensor, sensors));
            }
            Self::Many(bits) => {
                let word = sensor as usize / 64;
                if word >= bits.len() {
                    bits.resize(word + 1, 0);
                }
                bits[word] |= 1 << (sensor % 64);
            }
        }
    }

    /// Gives each sensor to `each`.
    pub(super) fn for_each(&self, mut each: impl FnMut(u32)) {
        match self {
            Self::Few(list) => list.iter().copied().for_each(each),
            Self::Many(bits) => {
                for (word, bits) in bits.iter().enumerate() {
                    let mut left = *bits;
                    while left != 0 {
                        each(word as u32 * 64 + left.trailing_zeros());
                        left &= left - 1;
                    }
                }
            }
        }
    }

    /// Gives the sensors to `each`, some at a time.
    pub(super) fn in_batches(&self, mut each: impl FnMut(&[u32])) {
        let (mut batch, mut len) = ([0; AHEAD], 0);
        self.for_each(|sensor| {
            batch[len] = sensor;
            len += 1;
            if len == AHEAD {
                each(&batch);
                len = 0;
            }
        });
        each(&batch[..len]);
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Few(list) => list.capacity() * 4,
            Self::Many(bits) => bits.capacity() * 8,
        }
    }
}

/// One account in one minute, as far as this worker's sensors go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) account: u32,
    pub(super) touched: bool,
    /// An extreme was withdrawn: the other readings must be looked at.
    pub(super) unsure: bool,
    /// Changes of this epoch.
    pub(super) count: i64,
    pub(super) sum: i128,
    pub(super) sum_squares: i128,
    /// Good readings there are.
    pub(super) readings: u64,
    pub(super) min: i64,
    pub(super) max: i64,
    pub(super) at_min: u32,
    pub(super) at_max: u32,
}

impl Slot {
    pub(super) fn new(account: u32) -> Self {
        Self {
            account,
            touched: false,
            unsure: false,
            count: 0,
            sum: 0,
            sum_squares: 0,
            readings: 0,
            min: i64::MAX,
            max: i64::MIN,
            at_min: 0,
            at_max: 0,
        }
    }

    /// Counts one more reading among the extremes.
    #[inline]
    pub(super) fn meet(&mut self, value: i64) {
        self.readings += 1;
        match value.cmp(&self.max) {
            std::cmp::Ordering::Greater => (self.max, self.at_max) = (value, 1),
            std::cmp::Ordering::Equal => self.at_max += 1,
            std::cmp::Ordering::Less => {}
        }
        match value.cmp(&self.min) {
            std::cmp::Ordering::Less => (self.min, self.at_min) = (value, 1),
            std::cmp::Ordering::Equal => self.at_min += 1,
            std::cmp::Ordering::Greater => {}
        }
    }

    /// Counts all readings of another slot among the extremes.
    pub(super) fn meet_all(&mut self, other: &Self) {
        self.readings += other.readings;
        match other.max.cmp(&self.max) {
            std::cmp::Ordering::Greater => (self.max, self.at_max) = (other.max, other.at_max),
            std::cmp::Ordering::Equal => self.at_max += other.at_max,
            std::cmp::Ordering::Less => {}
        }
        match other.min.cmp(&self.min) {
            std::cmp::Ordering::Less => (self.min, self.at_min) = (other.min, other.at_min),
            std::cmp::Ordering::Equal => self.at_min += other.at_min,
            std::cmp::Ordering::Greater => {}
        }
    }

    fn part(&mut self, value: i64) {
        self.readings -= 1;
        // What equals no extreme cannot be one: those were sure when it came, or were lowered since by what is unsure.
        if value == self.max {
            self.at_max = self.at_max.saturating_sub(1);
        }
        if value == self.min {
            self.at_min = self.at_min.saturating_sub(1);
        }
        self.unsure |= self.at_max == 0 || self.at_min == 0;
    }

    /// Replaces a value by another; `None` is no good reading.
    #[inline]
    pub(super) fn shift(&mut self, was: Option<i64>, is: Option<i64>) {
        self.change(was, is);
        was.into_iter().for_each(|was| self.part(was));
        is.into_iter().for_each(|is| self.meet(is));
    }

    /// The same where only the changes of this epoch are kept: unsure once one of them withdraws something.
    pub(super) fn widen(&mut self, was: Option<i64>, is: Option<i64>) {
        self.change(was, is);
        self.unsure |= was.is_some();
        is.into_iter().for_each(|is| self.meet(is));
    }

    #[inline]
    fn change(&mut self, was: Option<i64>, is: Option<i64>) {
        if let Some(was) = was {
            self.count -= 1;
            self.sum -= i128::from(was);
            self.sum_squares -= square(was);
        }
        if let Some(is) = is {
            self.count += 1;
            self.sum += i128::from(is);
            self.sum_squares += square(is);
        }
    }

    /// Begins to look at all readings again.
    pub(super) fn forget_extremes(&mut self) {
        *self = Self { count: self.count, sum: self.sum, sum_squares: self.sum_squares, touched: self.touched, ..Self::new(self.account) };
    }

    /// Least and greatest, where there are readings.
    pub(super) fn extremes(&self) -> Option<(i64, i64)> {
        (self.readings > 0).then_some((self.min, self.max))
    }
}

/// Accounts of a minute.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// Of each account, where its slot stands.
    place: Vec<u32>,
    pub(super) slots: Vec<Slot>,
    /// Slots that changed in this epoch.
    pub(super) touched: Vec<u32>,
}

impl Slots {
    /// Where the slot of an account stands, which is made when there is none.
    #[inline]
    fn place(&mut self, account: u32) -> usize {
        match self.place.get(account as usize) {
            Some(place) if *place != NONE => *place as usize,
            _ => self.enter(account),
        }
    }

    #[cold]
    fn enter(&mut self, account: u32) -> usize {
        if self.place.len() <= account as usize {
            self.place.resize(account as usize + 1, NONE);
        }
        let place = self.slots.len();
        self.place[account as usize] = place as u32;
        self.slots.push(Slot::new(account));
        place
    }

    /// The slot of an account.
    #[inline]
    pub(super) fn known(&mut self, account: u32) -> &mut Slot {
        let place = self.place(account);
        &mut self.slots[place]
    }

    /// The slot of an account, about to change.
    #[inline]
    pub(super) fn touch(&mut self, account: u32) -> &mut Slot {
        let place = self.place(account);
        let slot = &mut self.slots[place];
        if !slot.touched {
            slot.touched = true;
            self.touched.push(place as u32);
        }
        slot
    }

    pub(super) fn clear(&mut self) {
        self.place.clear();
        self.slots.clear();
        self.touched.clear();
    }

    pub(super) fn bytes(&self) -> usize {
        self.place.capacity() * 4 + self.slots.capacity() * size_of::<Slot>() + self.touched.capacity() * 4
    }
}

/// A minute that can still change.
#[derive(Debug)]
pub(super) struct Minute {
    /// Its number.
    pub(super) minute: i64,
    pub(super) members: Members,
    pub(super) slots: Slots,
}

impl Minute {
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.members.bytes() + self.slots.bytes()
    }
}

/// Minutes that can still change, in order.
#[derive(Debug, Default)]
pub(super) struct Minutes {
    pub(super) list: Vec<Minute>,
    last: usize,
    /// Minutes whose slots changed in this epoch.
    touched: Vec<i64>,
}

impl Minutes {
    /// Where a minute stands, which is made when there is none.
    #[inline]
    pub(super) fn place(&mut self, minute: i64) -> usize {
        if self.list.get(self.last).is_some_and(|known| known.minute == minute) {
            return self.last;
        }
        self.last = self.list.partition_point(|known| known.minute < minute);
        if self.list.get(self.last).is_none_or(|known| known.minute != minute) {
            let new = Minute { minute, members: Members::Few(Vec::new()), slots: Slots::default() };
            self.list.insert(self.last, new);
        }
        self.last
    }

    /// The slots of a minute that stands at a place, one of them about to change.
    #[inline]
    pub(super) fn touch(&mut self, place: usize) -> &mut Slots {
        let Minute { minute, slots, .. } = &mut self.list[place];
        if slots.touched.is_empty() {
            self.touched.push(*minute);
        }
        slots
    }

    /// Drops the slots of minutes that had them after one epoch and have none after the next.
    pub(super) fn drop_slots(&mut self, previous: i64, now: i64) {
        let [first, end] = [previous, now].map(|epoch| self.list.partition_point(|known| known.minute < first_with_slots(epoch)));
        self.list[first..end.max(first)].iter_mut().for_each(|minute| minute.slots = Slots::default());
    }

    /// The minutes that were touched, ascending.
    pub(super) fn take_touched(&mut self) -> Vec<i64> {
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        touched
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Extremes are right whenever the slot does not say that it is unsure.
        #[test]
        fn a_slot_knows_its_extremes_or_says_that_it_does_not(steps in prop::collection::vec((any::<bool>(), 0i64..4, any::<prop::sample::Index>()), 0..60)) {
            let (mut slot, mut values) = (Slot::new(0), Vec::<i64>::new());
            for (add, value, which) in steps {
                if add || values.is_empty() {
                    values.push(value);
                    slot.shift(None, Some(value));
                } else {
                    let value = values.swap_remove(which.index(values.len()));
                    slot.shift(Some(value), None);
                }
                if slot.unsure {
                    slot.forget_extremes();
                    values.iter().for_each(|value| slot.meet(*value));
                }
                let expected = values.iter().min().map(|min| (*min, *values.iter().max().expect("there is one")));
                prop_assert_eq!(slot.extremes(), expected);
                prop_assert_eq!((slot.count, slot.sum), (values.len() as i64, values.iter().map(|value| i128::from(*value)).sum()));
            }
        }

        #[test]
        fn members_are_given_once_each(sensors in prop::collection::btree_set(0u32..3_000, 0..200)) {
            let mut members = Members::Few(Vec::new());
            sensors.iter().rev().for_each(|sensor| members.insert(*sensor, 2_000));
            let mut found = Vec::new();
            members.for_each(|sensor| found.push(sensor));
            found.sort_unstable();
            prop_assert!(found.into_iter().eq(sensors));
        }
    }
}
