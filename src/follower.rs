//! What a standby does with its outputs: compares them with what the leader writes, and keeps what the leader has not
//! written yet, to write it itself should it take over.
//!
//! A stream is compared epoch by epoch as far as both have come. Whoever is behind is waited for: nothing is read ahead
//! of what was computed here, and when too much is kept, this process waits.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use gridflow_inputs::Epoch;
use gridflow_inputs::log::LogError;
use gridflow_operators::decision::Stream;
use gridflow_operators::seal::Sealed;

use crate::journal::{Chain, Changes, Difference, Digests, Epochs, Journal, JournalError, JournalMark, read_stream_behind};

/// Changes kept at most before the standby waits for its leader.
const KEPT: usize = 1_000_000;

/// A standby's view of the outputs.
pub(crate) struct Follower {
    region: String,
    out: PathBuf,
    /// Digests of what was found equal.
    chains: BTreeMap<Stream, Chain>,
    leaders: BTreeMap<Stream, Epochs>,
    /// An epoch of the leader's that has been read and not compared.
    read: BTreeMap<Stream, Changes>,
    own: BTreeMap<Stream, VecDeque<Sealed>>,
    kept: usize,
    /// Epochs found equal.
    equal: u64,
}

impl Follower {
    /// Goes on where a checkpoint's digests stood; from the first epoch without one.
    pub(crate) fn new(region: &str, out: &Path, mark: Option<&JournalMark>) -> Self {
        Self {
            region: region.to_owned(),
            out: out.to_owned(),
            chains: Chain::of_mark(mark),
            leaders: BTreeMap::new(),
            read: BTreeMap::new(),
            own: BTreeMap::new(),
            kept: 0,
            equal: 0,
        }
    }

    /// Takes an epoch sealed here and compares what there is to compare; the difference, if there is one.
    pub(crate) fn take(&mut self, sealed: Sealed) -> Result<Option<Difference>, JournalError> {
        let stream = sealed.stream;
        self.kept += sealed.rows.len();
        self.own.entry(stream).or_default().push_back(sealed);
        self.compare(stream)
    }

    /// Whether no more should be taken until the leader has come further.
    pub(crate) fn is_full(&self) -> bool {
        self.kept > KEPT
    }

    /// Epochs found equal so far.
    pub(crate) fn equal(&self) -> u64 {
        self.equal
    }

    /// Compares all streams as far as the leader has come.
    pub(crate) fn catch_up(&mut self) -> Result<Option<Difference>, JournalError> {
        for stream in Stream::ALL {
            if let Some(difference) = self.compare(*stream)? {
                return Ok(Some(difference));
            }
        }
        Ok(None)
    }

    /// Compares once everything up to `upto` is computed: what the leader wrote up to there must have been computed here.
    pub(crate) fn settle(&mut self, upto: Epoch) -> Result<Option<Difference>, JournalError> {
        if let Some(difference) = self.catch_up()? {
            return Ok(Some(difference));
        }
        for stream in Stream::ALL {
            if self.own.get(stream).is_none_or(VecDeque::is_empty)
                && let Some((epoch, rows)) = self.leader(*stream)?
            {
                if epoch <= upto {
                    return Ok(Difference::of(*stream, (epoch, &rows), (epoch, &[])));
                }
                self.read.insert(*stream, (epoch, rows));
            }
        }
        Ok(None)
    }

    fn compare(&mut self, stream: Stream) -> Result<Option<Difference>, JournalError> {
        while self.own.get(&stream).is_some_and(|own| !own.is_empty()) {
            let Some((epoch, rows)) = self.leader(stream)? else { break };
            let own = self.own.get_mut(&stream).and_then(VecDeque::pop_front).expect("it was just looked at");
            self.kept -= own.rows.len();
            if (epoch, &rows) != (own.epoch, &own.rows) {
                return Ok(Difference::of(stream, (epoch, &rows), (own.epoch, &own.rows)));
            }
            self.chains.get_mut(&stream).expect("every stream has a chain").link(epoch, &rows);
            self.equal += 1;
        }
        Ok(None)
    }

    /// The leader's next epoch of a stream, if it is there.
    fn leader(&mut self, stream: Stream) -> Result<Option<Changes>, JournalError> {
        if let Some(read) = self.read.remove(&stream) {
            return Ok(Some(read));
        }
        // Once more after a later term was claimed: what this reader had read ahead of the claim does not count.
        for _ in 0..2 {
            if !self.leaders.contains_key(&stream) {
                match read_stream_behind(&self.out, stream, self.chains[&stream].last) {
                    Ok(epochs) => self.leaders.insert(stream, epochs),
                    // The leader has not begun it yet.
                    Err(LogError::Missing { .. } | LogError::Empty { .. } | LogError::NoHeader { .. }) => return Ok(None),
                    Err(error) => return Err(error.into()),
                };
            }
            match self.leaders.get_mut(&stream).and_then(Iterator::next).transpose() {
                Err(LogError::Fenced { .. }) => self.leaders.remove(&stream),
                next => return Ok(next?),
            };
        }
        Ok(None)
    }

    /// What the follower came to, when it ends without having led.
    pub(crate) fn digests(&self, last_epoch: Option<Epoch>) -> Digests {
        Digests::of(&self.chains, last_epoch)
    }

    /// Begins to write, as the leader of `term`: what was kept, behind what the term before left; what that wrote and was
    /// not compared yet is compared now.
    pub(crate) fn lead(self, term: u64) -> Result<Journal, JournalError> {
        let mut journal = Journal::resume(&self.region, &self.out, term, Some(&JournalMark::of_chains(&self.chains)))?;
        for sealed in self.own.into_values().flatten() {
            journal.take(sealed);
        }
        Ok(journal)
    }
}
