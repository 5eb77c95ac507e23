//! Windows of buses, feeders and zones: minutes that can still change, and what final minutes left in longer windows.
//!
//! Counts and sums are added up as they come. Least and greatest cannot be, so each worker states its own anew whenever
//! its readings changed, or says by what new ones widen them; the least and greatest of all workers hold.

use gridflow_inputs::input::Quantity;
use serde::{Deserialize, Serialize};

use crate::decision::{Output, WindowScope};
use crate::lookup::Lookup;
use crate::telemetry::{Aggregate, Bound, LENGTHS_MS, Partial, SETTLE_MS, due_starts, floor};

const NO_EXTREMES: (i64, i64) = (i64::MAX, i64::MIN);
/// So many minutes and windows are looked through from the end, where almost all changes go: of a week's thousands each step of
/// a search is a line that no cache holds.
const NEAR: usize = 32;
/// No window is longer.
const LONGEST_MS: i64 = LENGTHS_MS[LENGTHS_MS.len() - 1];

pub(super) fn route(scope: WindowScope, id: u32) -> u64 {
    u64::from(id) + scope as u64
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Minute {
    start_ms: i64,
    count: i64,
    sum: i128,
    sum_squares: i128,
    /// How often it was stated.
    stated: u32,
}

/// A bus, feeder or zone and a quantity.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Account {
    scope: WindowScope,
    id: u32,
    quantity: Quantity,
    /// Ascending.
    minutes: Vec<Minute>,
    /// Least and greatest of each minute by worker, as many for each minute as there are workers. Not saved: workers
    /// change, and tell again.
    #[serde(skip)]
    extremes: Vec<(i64, i64)>,
    /// Of each longer length, the window that the newest final minute lies in, and what final minutes left there.
    bases: [(i64, Aggregate); 3],
    /// Longer windows that were stated and can still change, ascending: start, length, how often they were stated.
    longer: Vec<(i64, u8, u32)>,
}

impl Account {
    pub(super) fn route(&self) -> u64 {
        route(self.scope, self.id)
    }

    /// The first minute not before a time.
    fn from(&self, start_ms: i64) -> usize {
        let (before, near) = self.minutes.split_at(self.minutes.len().saturating_sub(NEAR));
        let found = near.iter().rposition(|minute| minute.start_ms < start_ms);
        found.map_or_else(|| before.partition_point(|minute| minute.start_ms < start_ms), |place| before.len() + place + 1)
    }

    fn find_longer(&self, length: usize, start: i64) -> Result<usize, usize> {
        let key = (start, length as u8);
        let (before, near) = self.longer.split_at(self.longer.len().saturating_sub(NEAR));
        let search = |part: &[(i64, u8, u32)]| part.binary_search_by_key(&key, |(start, length, _)| (*start, *length));
        if near.first().is_some_and(|(start, length, _)| key < (*start, *length)) {
            return search(before);
        }
        search(near).map(|place| before.len() + place).map_err(|place| before.len() + place)
    }

    fn place(&mut self, start_ms: i64, peers: usize) -> usize {
        let place = self.from(start_ms);
        if self.minutes.get(place).is_none_or(|minute| minute.start_ms != start_ms) {
            self.minutes.insert(place, Minute { start_ms, count: 0, sum: 0, sum_squares: 0, stated: 0 });
            self.extremes.splice(place * peers..place * peers, std::iter::repeat_n(NO_EXTREMES, peers));
        }
        place
    }

    fn minute(&self, place: usize, peers: usize) -> Aggregate {
        let Minute { count, sum, sum_squares, .. } = self.minutes[place];
        let extremes = &self.extremes[place * peers..(place + 1) * peers];
        let extremes = extremes.iter().fold(NO_EXTREMES, |(min, max), next| (min.min(next.0), max.max(next.1)));
        Aggregate { count, sum, sum_squares, min: extremes.0, max: extremes.1, seen: count > 0 }
    }

    fn window(&self, length: usize, start: i64, peers: usize) -> Aggregate {
        let (base_start, base) = self.bases[length - 1];
        let mut aggregate = if base_start == start { base } else { Aggregate::default() };
        let first = self.from(start);
        for place in first..self.minutes.len() {
            if self.minutes[place].start_ms >= start + LENGTHS_MS[length] {
                break;
            }
            aggregate.combine(&self.minute(place, peers));
        }
        aggregate
    }

    fn tell(&self, aggregate: &Aggregate, length: usize, start: i64, revision: u32, change: i64, out: &mut Vec<(Output, i64)>) {
        out.push((aggregate.window(self.scope, self.id, self.quantity, start, LENGTHS_MS[length], revision).into(), change));
    }

    /// States a longer window, unless nothing has counted in it yet.
    fn state_longer(&mut self, length: usize, start: i64, before: &Aggregate, peers: usize, out: &mut Vec<(Output, i64)>) {
        let after = self.window(length, start, peers);
        match self.find_longer(length, start) {
            Err(place) if after.count > 0 => {
                self.tell(&after, length, start, 0, 1, out);
                self.longer.insert(place, (start, length as u8, 1));
            }
            Ok(place) if after != *before => {
                let stated = self.longer[place].2;
                self.tell(before, length, start, stated - 1, -1, out);
                self.tell(&after, length, start, stated, 1, out);
                self.longer[place].2 += 1;
            }
            _ => {}
        }
    }

    fn state_minute(&mut self, place: usize, before: &Aggregate, peers: usize, out: &mut Vec<(Output, i64)>) {
        let after = self.minute(place, peers);
        let Minute { start_ms, stated, .. } = self.minutes[place];
        if stated == 0 && after.count > 0 {
            self.tell(&after, 0, start_ms, 0, 1, out);
        } else if stated > 0 && after != *before {
            self.tell(before, 0, start_ms, stated - 1, -1, out);
            self.tell(&after, 0, start_ms, stated, 1, out);
        } else {
            return;
        }
        self.minutes[place].stated += 1;
    }

    /// Takes changes, all of this account, by minute; states minutes, and longer windows that are due already.
    fn take(&mut self, previous: i64, changes: &[Partial], peers: usize, out: &mut Vec<(Output, i64)>) {
        let mut longer: Vec<(usize, i64, Aggregate)> = Vec::new();
        for change in changes {
            let Partial::Window { start_ms, .. } = change else { continue };
            self.touch_longer(previous, *start_ms, &mut longer, peers);
        }
        let mut at = 0;
        while let Some(Partial::Window { start_ms, .. }) = changes.get(at) {
            let place = self.place(*start_ms, peers);
            let before = self.minute(place, peers);
            while let Some(Partial::Window { start_ms: same, worker, count, sum, sum_squares, extremes, widens, .. }) = changes.get(at)
                && same == start_ms
            {
                let minute = &mut self.minutes[place];
                minute.count += count;
                minute.sum += sum;
                minute.sum_squares += sum_squares;
                let (known, told) = (&mut self.extremes[place * peers + *worker as usize], extremes.unwrap_or(NO_EXTREMES));
                *known = if *widens { (known.0.min(told.0), known.1.max(told.1)) } else { told };
                at += 1;
            }
            self.state_minute(place, &before, peers, out);
        }
        for (length, start, before) in longer {
            self.state_longer(length, start, &before, peers, out);
        }
    }

    /// Keeps what the longer windows that are due already said before a minute of theirs changes.
    fn touch_longer(&self, previous: i64, start_ms: i64, longer: &mut Vec<(usize, i64, Aggregate)>, peers: usize) {
        for (length, length_ms) in LENGTHS_MS.into_iter().enumerate().skip(1) {
            let start = floor(start_ms, length_ms);
            let known = longer.iter().any(|(known, at, _)| (*known, *at) == (length, start));
            if start + length_ms + SETTLE_MS <= previous && !known {
                longer.push((length, start, self.window(length, start, peers)));
            }
        }
    }

    fn forget(&mut self, horizon: i64, peers: usize) {
        // Asked each minute of every account: the answer is mostly no, and costs two looks.
        let final_minute = self.minutes.first().is_some_and(|minute| minute.start_ms < horizon);
        if !final_minute && self.longer.first().is_none_or(|(start, ..)| start + LONGEST_MS > horizon) {
            return;
        }
        let last = self.minutes.partition_point(|minute| minute.start_ms < horizon);
        for place in 0..last {
            let (minute, start_ms) = (self.minute(place, peers), self.minutes[place].start_ms);
            for (length_ms, (start, base)) in LENGTHS_MS[1..].iter().zip(&mut self.bases) {
                let its = floor(start_ms, *length_ms);
                if *start != its {
                    (*start, *base) = (its, Aggregate::default());
                }
                base.combine(&minute);
            }
        }
        self.minutes.drain(..last);
        self.extremes.drain(..last * peers);
        // Those that are final and not before all others do no harm for the rest of their hour.
        let last = self.longer.partition_point(|(start, ..)| start + LONGEST_MS <= horizon);
        self.longer.drain(..last);
    }
}

/// All accounts of a worker.
#[derive(Debug)]
pub(super) struct Windows {
    peers: usize,
    place: Lookup,
    accounts: Vec<Account>,
}

impl Windows {
    pub(super) fn new(peers: usize) -> Self {
        Self { peers: peers.max(1), place: Lookup::default(), accounts: Vec::new() }
    }

    fn account(&mut self, scope: WindowScope, id: u32, quantity: Quantity) -> &mut Account {
        let key = (scope as u64) << 48 | (quantity as u64) << 32 | u64::from(id);
        let (place, new) = self.place.place(key, self.accounts.len());
        if new {
            let bases = [(i64::MIN, Aggregate::default()); 3];
            self.accounts.push(Account { scope, id, quantity, minutes: Vec::new(), extremes: Vec::new(), bases, longer: Vec::new() });
        }
        &mut self.accounts[place]
    }

    /// Takes the changes of an epoch, sorted: those of an account and of a minute side by side.
    pub(super) fn take(&mut self, previous: i64, changes: &[Partial], out: &mut Vec<(Output, i64)>) {
        let key = |change: &Partial| match change {
            Partial::Window { scope, id, quantity, .. } => Some((*scope, *id, *quantity)),
            _ => None,
        };
        let peers = self.peers;
        for changes in changes.chunk_by(|one, next| key(one) == key(next)) {
            let Some((scope, id, quantity)) = changes.first().and_then(key) else { continue };
            self.account(scope, id, quantity).take(previous, changes, peers, out);
        }
    }

    /// A worker's part in a minute that is known already.
    pub(super) fn share(&mut self, scope: WindowScope, id: u32, quantity: Quantity, start_ms: i64, worker: u32, extremes: (i64, i64)) {
        let peers = self.peers;
        let account = self.account(scope, id, quantity);
        let place = account.place(start_ms, peers);
        account.extremes[place * peers + worker as usize] = extremes;
    }

    /// States longer windows that became due since the epoch before.
    pub(super) fn state_due(&mut self, previous: i64, now: i64, out: &mut Vec<(Output, i64)>) {
        for (length, length_ms) in LENGTHS_MS.into_iter().enumerate().skip(1) {
            let ends = |at: i64| floor(at.saturating_sub(SETTLE_MS), length_ms);
            if ends(previous) == ends(now) {
                continue;
            }
            for account in &mut self.accounts {
                let (base_start, base) = account.bases[length - 1];
                let minutes = &account.minutes[account.from(previous.saturating_sub(SETTLE_MS + length_ms))..];
                let times = minutes.iter().map(|minute| minute.start_ms).chain((base.count > 0).then_some(base_start));
                for start in due_starts(length_ms, previous, now, times) {
                    account.state_longer(length, start, &Aggregate::default(), self.peers, out);
                }
            }
        }
    }

    /// Leaves of minutes that begin before the horizon of their bound what they contributed to longer windows.
    pub(super) fn forget(&mut self, horizons: [i64; 2]) {
        for account in &mut self.accounts {
            account.forget(horizons[Bound::of(account.quantity) as usize], self.peers);
        }
    }

    pub(super) fn save(&self) -> Vec<Account> {
        self.accounts.clone()
    }

    pub(super) fn load(&mut self, saved: Account) {
        let peers = self.peers;
        let account = self.account(saved.scope, saved.id, saved.quantity);
        *account = saved;
        account.extremes = vec![NO_EXTREMES; account.minutes.len() * peers];
    }

    pub(super) fn bytes(&self) -> usize {
        let of = |account: &Account| {
            size_of::<Account>()
                + account.minutes.capacity() * size_of::<Minute>()
                + account.extremes.capacity() * 16
                + account.longer.capacity() * 24
        };
        self.accounts.iter().map(of).sum::<usize>() + self.place.bytes()
    }
}
