//! The readings of a sensor that can still change, in eight bytes each.
//!
//! A list of words, a block a minute, in event-time order: the minute's readings by time, then a word with the minute, how
//! many they are, and how often their window was restated. Blocks are found from the end, where almost all readings go.
//! A reading that does not fit a word (a value of 2^43 or more, a third correction) leaves a mark there and stands in
//! [`Wide`]. Nothing says in which epoch a reading came: rows are applied in order, so the later of equal revisions wins.

use std::collections::BTreeMap;

use gridflow_inputs::input::Quality;

use super::aggregate::{Aggregate, square};

/// Value and revision of readings that fit no word, by place of their sensor and event time.
pub(super) type Wide = BTreeMap<(u32, i64), (i64, u16)>;

/// Length of a block.
pub(super) const MINUTE_MS: i64 = 60_000;

const WIDE: u64 = 3;
const COUNT_ONE: u64 = 1 << 13;
const REVISIONS: u64 = COUNT_ONE - 1;
const MINUTE_BIAS: i64 = 1 << 34;
/// Room is made for so many words, and a fourth of what there is: doubling would waste a third of all memory.
const ROOM: usize = 8;
/// Room made beforehand ends here: what a sensor says of its period is no promise.
const MOST_EXPECTED: usize = 128;
/// Words of a line of a cache.
const LINE: usize = 8;

/// A reading without its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) value: i64,
    pub(super) quality: Quality,
    pub(super) revision: u16,
}

impl Entry {
    pub(super) fn good(self) -> Option<i64> {
        (!self.quality.is_bad()).then_some(self.value)
    }
}

fn quality(word: u64) -> Quality {
    match word >> 2 & 3 {
        0 => Quality::Good,
        1 => Quality::Doubtful,
        2 => Quality::Bad,
        _ => Quality::Withdrawn,
    }
}

fn is_good(word: u64) -> bool {
    word & 0b1000 == 0
}

fn offset(word: u64) -> i64 {
    (word >> 48) as i64
}

fn minute_of(end: u64) -> i64 {
    (end >> 29) as i64 - MINUTE_BIAS
}

fn count_of(end: u64) -> usize {
    (end >> 13 & 0xffff) as usize
}

/// Where the readings of a minute stand; the word at `end` closes the block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Readings of one sensor.
#[derive(Debug, Default)]
pub(super) struct Held(Vec<u64>);

impl Held {
    pub(super) fn words(&self) -> &[u64] {
        &self.0
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<u64>()
    }

    /// Reads each line of the last so many words, so that the memory answers for all of them, and those of other sensors,
    /// at once.
    #[inline]
    pub(super) fn read_ahead(&self, words: usize) -> u64 {
        let last = &self.0[self.0.len().saturating_sub(words)..];
        last.iter().step_by(LINE).fold(last.last().copied().unwrap_or(0), |read, word| read ^ word)
    }

    /// Makes room for so many words before the first comes.
    pub(super) fn expect(&mut self, words: usize) {
        if self.0.capacity() == 0 {
            self.0.reserve_exact(words.clamp(2, MOST_EXPECTED));
        }
    }

    /// Of words that [`words`](Self::words) gave; `None` when they cannot have been.
    pub(super) fn from_words(words: Vec<u64>) -> Option<Self> {
        let (mut end, mut later) = (words.len(), i64::MAX);
        while end > 0 {
            let (minute, count) = (minute_of(words[end - 1]), count_of(words[end - 1]));
            if minute >= later || count == 0 || count >= end {
                return None;
            }
            let readings = &words[end - 1 - count..end - 1];
            if !readings.is_sorted_by(|one, next| offset(*one) < offset(*next)) || readings.iter().any(|word| offset(*word) >= MINUTE_MS) {
                return None;
            }
            (end, later) = (end - 1 - count, minute);
        }
        Some(Self(words))
    }

    /// The block of a minute, or where it would begin.
    pub(super) fn find(&self, minute: i64) -> Result<Block, usize> {
        let mut end = self.0.len();
        while end > 0 {
            let last = self.0[end - 1];
            let start = end - 1 - count_of(last);
            match minute_of(last).cmp(&minute) {
                std::cmp::Ordering::Equal => return Ok(Block { start, end: end - 1 }),
                std::cmp::Ordering::Less => return Err(end),
                std::cmp::Ordering::Greater => end = start,
            }
        }
        Err(0)
    }

    /// Where in a block the reading of an offset stands, or would.
    pub(super) fn within(&self, block: Block, at_ms: i64) -> Result<usize, usize> {
        let mut place = block.end;
        while place > block.start {
            let known = offset(self.0[place - 1]);
            if known == at_ms {
                return Ok(place - 1);
            }
            if known < at_ms {
                break;
            }
            place -= 1;
        }
        Err(place)
    }

    /// The reading at a place; `event_ms` is its time.
    pub(super) fn entry(&self, place: usize, sensor: u32, event_ms: i64, wide: &Wide) -> Entry {
        let word = self.0[place];
        let (value, revision) = if word & WIDE == WIDE {
            wide.get(&(sensor, event_ms)).copied().unwrap_or_default()
        } else {
            (((word << 16) as i64) >> 20, (word & WIDE) as u16)
        };
        Entry { value, quality: quality(word), revision }
    }

    fn pack(sensor: u32, event_ms: i64, at_ms: i64, entry: Entry, wide: &mut Wide) -> u64 {
        let Entry { value, quality, revision } = entry;
        let word = (at_ms as u64) << 48 | (quality as u64) << 2;
        if (-(1 << 43)..1 << 43).contains(&value) && u64::from(revision) < WIDE {
            word | ((value as u64) << 20 >> 16) | u64::from(revision)
        } else {
            wide.insert((sensor, event_ms), (value, revision));
            word | WIDE
        }
    }

    /// Replaces the reading at a place.
    pub(super) fn replace(&mut self, place: usize, sensor: u32, event_ms: i64, entry: Entry, wide: &mut Wide) {
        if self.0[place] & WIDE == WIDE {
            wide.remove(&(sensor, event_ms));
        }
        self.0[place] = Self::pack(sensor, event_ms, offset(self.0[place]), entry, wide);
    }

    fn make_room(&mut self, words: usize) {
        if self.0.capacity() - self.0.len() < words {
            self.0.reserve_exact((ROOM + self.0.len() / 4).max(words));
        }
    }

    /// Puts a reading into a block, at the place where [`within`](Self::within) missed it.
    pub(super) fn insert(&mut self, block: Block, place: usize, sensor: u32, event_ms: i64, entry: Entry, wide: &mut Wide) {
        let word = Self::pack(sensor, event_ms, event_ms.rem_euclid(MINUTE_MS), entry, wide);
        self.make_room(1);
        self.0[block.end] += COUNT_ONE;
        self.0.insert(place, word);
    }

    /// Begins a block with a reading, at the place where [`find`](Self::find) missed it.
    pub(super) fn begin(&mut self, place: usize, sensor: u32, event_ms: i64, entry: Entry, wide: &mut Wide) {
        let word = Self::pack(sensor, event_ms, event_ms.rem_euclid(MINUTE_MS), entry, wide);
        let end = ((event_ms.div_euclid(MINUTE_MS) + MINUTE_BIAS) as u64) << 29 | COUNT_ONE;
        self.make_room(2);
        if place == self.0.len() {
            self.0.extend([word, end]);
        } else {
            self.0.splice(place..place, [word, end]);
        }
    }

    /// Good readings of a block with their times.
    pub(super) fn good<'a>(&'a self, block: Block, sensor: u32, wide: &'a Wide) -> impl DoubleEndedIterator<Item = (i64, i64)> + 'a {
        let start_ms = minute_of(self.0[block.end]) * MINUTE_MS;
        (block.start..block.end).filter(|place| is_good(self.0[*place])).map(move |place| {
            let event_ms = start_ms + offset(self.0[place]);
            (event_ms, self.entry(place, sensor, event_ms, wide).value)
        })
    }

    /// What a block says.
    pub(super) fn aggregate(&self, block: Block, sensor: u32, wide: &Wide) -> Aggregate {
        let mut aggregate = Aggregate { seen: true, ..Aggregate::default() };
        let (mut sum, mut sum_wide, mut sum_squares) = (0i64, 0i128, 0i128);
        for (place, word) in self.0[block.start..block.end].iter().enumerate() {
            if !is_good(*word) {
                continue;
            }
            let value = if word & WIDE == WIDE {
                let event_ms = minute_of(self.0[block.end]) * MINUTE_MS + offset(*word);
                let value = self.entry(block.start + place, sensor, event_ms, wide).value;
                sum_wide += i128::from(value);
                value
            } else {
                // At most 60,000 values below 2^43: their sum lies below 2^59.
                let value = ((word << 16) as i64) >> 20;
                sum += value;
                value
            };
            aggregate.count += 1;
            sum_squares += square(value);
            aggregate.min = aggregate.min.min(value);
            aggregate.max = aggregate.max.max(value);
        }
        (aggregate.sum, aggregate.sum_squares) = (i128::from(sum) + sum_wide, sum_squares);
        aggregate
    }

    /// Blocks from the last to the first, with their minutes.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (i64, Block)> + '_ {
        let mut end = self.0.len();
        std::iter::from_fn(move || {
            let last = *self.0[..end].last()?;
            let block = Block { start: end - 1 - count_of(last), end: end - 1 };
            end = block.start;
            Some((minute_of(last), block))
        })
    }

    /// The newest good reading.
    pub(super) fn newest_good(&self, sensor: u32, wide: &Wide) -> Option<(i64, i64)> {
        self.blocks().find_map(|(_, block)| self.good(block, sensor, wide).next_back())
    }

    /// How often the window of a block was restated; `None` when more often than a word can say.
    pub(super) fn restated(&self, block: Block) -> Option<u32> {
        let restated = self.0[block.end] & REVISIONS;
        (restated < REVISIONS).then_some(restated as u32)
    }

    /// Counts one more restatement; `false` when the word cannot.
    pub(super) fn restate(&mut self, block: Block) -> bool {
        if self.0[block.end] & REVISIONS < REVISIONS {
            self.0[block.end] += 1;
        }
        self.0[block.end] & REVISIONS < REVISIONS
    }

    /// Drops the block of a minute, which has become final; all before it are gone.
    pub(super) fn drop_first(&mut self, block: Block, sensor: u32, wide: &mut Wide) {
        let start_ms = minute_of(self.0[block.end]) * MINUTE_MS;
        for word in self.0.drain(block.start..=block.end).take(block.end - block.start) {
            if word & WIDE == WIDE {
                wide.remove(&(sensor, start_ms + offset(word)));
            }
        }
        if self.0.capacity() > 2 * self.0.len() + 4 * ROOM {
            self.0.shrink_to(self.0.len() + ROOM);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a plain map, with values and revisions on either side of what fits a word.
        #[test]
        fn what_is_held_is_what_was_put_in(rows in prop::collection::vec((-300i64..300, prop_oneof![-5i64..5, Just((1 << 43) - 1), Just(1 << 43), Just(-(1 << 43)), Just(-(1 << 43) - 1), Just(1_000_000_000_000_000)], 0usize..4, 0u16..6), 0..80)) {
            let (mut held, mut wide, mut plain) = (Held::default(), Wide::new(), BTreeMap::new());
            for (second, value, quality, revision) in rows {
                let (event_ms, entry) = (second * 1_000, Entry { value, quality: Quality::ALL[quality], revision });
                match held.find(event_ms.div_euclid(MINUTE_MS)) {
                    Err(place) => held.begin(place, 7, event_ms, entry, &mut wide),
                    Ok(block) => match held.within(block, event_ms.rem_euclid(MINUTE_MS)) {
                        Ok(place) => {
                            prop_assert_eq!(Some(&held.entry(place, 7, event_ms, &wide)), plain.get(&event_ms));
                            held.replace(place, 7, event_ms, entry, &mut wide);
                        }
                        Err(place) => held.insert(block, place, 7, event_ms, entry, &mut wide),
                    },
                }
                plain.insert(event_ms, entry);
            }
            let good: Vec<(i64, i64)> = plain.iter().filter_map(|(at, entry)| Some((*at, entry.good()?))).collect();
            prop_assert_eq!(held.newest_good(7, &wide), good.last().copied());
            let mut found: Vec<(i64, i64)> = held.blocks().flat_map(|(_, block)| held.good(block, 7, &wide).rev()).collect();
            found.reverse();
            prop_assert_eq!(&found, &good);
            let whole = held.blocks().fold(Aggregate::default(), |mut whole, (_, block)| { whole.combine(&held.aggregate(block, 7, &wide)); whole });
            prop_assert_eq!((whole.count, whole.sum), (good.len() as i64, good.iter().map(|(_, value)| i128::from(*value)).sum()));
            held = Held::from_words(held.words().to_vec()).expect("they were given");
            let minutes: Vec<i64> = held.blocks().map(|(minute, _)| minute).collect();
            for minute in minutes.into_iter().rev() {
                let block = held.find(minute).expect("it is there");
                held.drop_first(block, 7, &mut wide);
            }
            prop_assert!(held.words().is_empty() && wide.is_empty());
        }

        #[test]
        fn any_words_are_taken_or_refused(words in prop::collection::vec(any::<u64>(), 0..6)) {
            if let Some(held) = Held::from_words(words) {
                held.blocks().for_each(|(minute, _)| assert!(held.find(minute).is_ok()));
            }
        }
    }
}
