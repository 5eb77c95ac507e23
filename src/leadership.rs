//! Which of several processes that run one state writes its outputs: the leader of the newest term.
//!
//! The leader has a lease: a row it renews in the input log as it reads on, each third of the lease's length. A standby follows the log, computes what the leader does,
//! and compares. It takes over when the log orders it (`OperatorCommand` `HandOver`) or when the lease lapses, both read
//! from the log alone: a lease lapses at the first epoch more than its length behind its newest row. Taking over is the
//! claim of the next term, which fences what the leader before it may still write (see the terms of the log). A leader
//! looks for a later term before it writes and ends when it finds one.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use gridflow_inputs::input::{CommandKind, EngineFact, EngineFactKind};
use gridflow_inputs::log::inbox::{InboxError, post};
use gridflow_inputs::log::{ClaimError, EpochBatch, LogError, Terms};
use gridflow_inputs::{Epoch, Input};
use gridflow_operators::decision::Stream;

use crate::journal::Difference;
use crate::running::{RunError, StateLock};

/// What a term's file says behind the claimer's name of why it was claimed.
const BY_ORDER: &str = ", by order";
const BY_LAPSE: &str = ", the lease lapsed";

/// Why a standby takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Cause {
    /// The log orders it.
    Order,
    /// The leader's lease lapsed.
    Lapse,
}

/// What the rows of a log say of leadership.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// The newest lease row: its epoch and term.
    lease: Option<(Epoch, u64)>,
    /// Whether an order to hand over stands that no later term has answered.
    ordered: bool,
    last: Epoch,
}

impl Seen {
    fn take(&mut self, batch: &EpochBatch) {
        self.last = batch.epoch;
        for (_, row) in &batch.rows {
            match row {
                Input::EngineFact(fact) if fact.kind == EngineFactKind::Lease => {
                    let term = u64::try_from(fact.value).unwrap_or(0);
                    // A leader that was fenced off may still say that it leads.
                    if self.lease.is_none_or(|(_, known)| term >= known) {
                        self.ordered &= self.lease.is_none_or(|(_, known)| term == known);
                        self.lease = Some((batch.epoch, term));
                    }
                }
                Input::OperatorCommand(order) if order.kind == CommandKind::HandOver => self.ordered = true,
                _ => {}
            }
        }
    }

    fn cause(&self, lease_ms: u64) -> Option<Cause> {
        let lapsed = self.lease.is_some_and(|(epoch, _)| self.last > epoch + lease_ms);
        if self.ordered { Some(Cause::Order) } else { lapsed.then_some(Cause::Lapse) }
    }
}

/// This process's part in it.
pub(crate) struct Leadership {
    log: PathBuf,
    out: PathBuf,
    state: PathBuf,
    /// Who it is, in lease rows and term files.
    name: String,
    lease_ms: Option<u64>,
    seen: Mutex<Seen>,
    /// The term it leads in.
    leads: Mutex<Option<Terms>>,
    /// Set when the outlet is to begin writing, taken by it.
    won: Mutex<Option<(Terms, StateLock, Cause)>>,
    superseded: AtomicBool,
    /// Epoch at which the lease was renewed last.
    renewed: AtomicU64,
}

impl Leadership {
    pub(crate) fn new(log: PathBuf, state: PathBuf, name: String, lease_ms: Option<u64>, leads: Option<Terms>) -> Self {
        let out = state.join(crate::running::OUT);
        let won = Mutex::new(None);
        Self {
            log,
            out,
            state,
            name,
            lease_ms,
            seen: Mutex::default(),
            leads: Mutex::new(leads),
            won,
            superseded: AtomicBool::new(false),
            renewed: AtomicU64::new(0),
        }
    }

    /// Takes notice of an epoch of the log, and renews the lease when that is due.
    pub(crate) fn see(&self, batch: &EpochBatch) -> Result<(), RunError> {
        self.seen.lock().expect("looking does not panic").take(batch);
        let due = |lease_ms: u64| batch.epoch >= self.renewed.load(Ordering::Relaxed).saturating_add(lease_ms / 3);
        if self.lease_ms.is_some_and(due) {
            self.renewed.store(batch.epoch, Ordering::Relaxed);
            self.renew()?;
        }
        Ok(())
    }

    /// At the end of the log, when nothing newer is known: takes over where the log says so.
    pub(crate) fn at_end(&self) -> Result<(), RunError> {
        let cause = match self.lease_ms {
            Some(lease_ms) => self.seen.lock().expect("looking does not panic").cause(lease_ms),
            None => self.seen.lock().expect("looking does not panic").ordered.then_some(Cause::Order),
        };
        let mut leads = self.leads.lock().expect("claiming does not panic");
        let Some(cause) = cause.filter(|_| leads.is_none()) else { return Ok(()) };
        let term = Terms::load(&self.out)?.newest() + 1;
        let lock = match StateLock::take(&self.state, 0, term) {
            Ok(lock) => lock,
            // Another standby is just about to.
            Err(RunError::Locked { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let streams: Vec<&str> = Stream::ALL.iter().map(|stream| stream.name()).collect();
        let who = format!("{}{}", self.name, if cause == Cause::Order { BY_ORDER } else { BY_LAPSE });
        match Terms::claim(&self.out, &streams, &who) {
            Ok(terms) if terms.newest() == term => {
                *self.won.lock().expect("claiming does not panic") = Some((terms.clone(), lock, cause));
                *leads = Some(terms);
                drop(leads);
                self.renew()
            }
            Ok(_) | Err(ClaimError::Taken { .. }) => Ok(()),
            Err(ClaimError::Log(error)) => Err(error.into()),
        }
    }

    /// The term just won, for the outlet to write in.
    pub(crate) fn won(&self) -> Option<(Terms, StateLock, Cause)> {
        self.won.lock().expect("claiming does not panic").take()
    }

    /// Whether this process is still to write: a leader whose term is the newest. Remembers when it is no more.
    pub(crate) fn holds(&self) -> Result<bool, LogError> {
        if let Some(terms) = &*self.leads.lock().expect("claiming does not panic")
            && terms.superseded()?
        {
            self.superseded.store(true, Ordering::Relaxed);
        }
        Ok(!self.superseded.load(Ordering::Relaxed))
    }

    /// Whether a later term was found.
    pub(crate) fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::Relaxed)
    }

    /// Whether the term after this process's was claimed because the log ordered it.
    pub(crate) fn was_ordered(&self) -> Result<bool, LogError> {
        let own = self.leads.lock().expect("claiming does not panic").as_ref().map_or(0, Terms::newest);
        let next = Terms::load(&self.out)?.records().get(own as usize).map(|record| record.who.clone());
        Ok(next.is_some_and(|who| who.ends_with(BY_ORDER)))
    }

    /// Renews the lease, if this process leads.
    fn renew(&self) -> Result<(), RunError> {
        let term = match &*self.leads.lock().expect("claiming does not panic") {
            Some(terms) if self.lease_ms.is_some() && !self.is_superseded() => terms.newest(),
            _ => return Ok(()),
        };
        let fact = EngineFact { kind: EngineFactKind::Lease, event_ms: 0, subject: self.name.clone(), value: term as i64 };
        self.tell(&format!("lease-{}-{term}", self.name), fact)
    }

    /// Tells the log that this replica and the leader differ.
    pub(crate) fn differs(&self, difference: &Difference) -> Result<(), RunError> {
        let name = format!("divergence-{}-{}-{}", self.name, difference.stream, difference.epoch);
        let kind = EngineFactKind::Divergence;
        self.tell(&name, EngineFact { kind, event_ms: 0, subject: difference.stream.clone(), value: difference.epoch as i64 })
    }

    /// Hands a fact to the writer of the log; it stamps the time.
    fn tell(&self, name: &str, fact: EngineFact) -> Result<(), RunError> {
        match post(&self.log, name, &fact.into()) {
            // The one before has not been taken yet: it says the same.
            Ok(()) | Err(InboxError::Taken { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use gridflow_inputs::input::OperatorCommand;
    use gridflow_inputs::network::EquipmentKind;
    use gridflow_inputs::units::MilliWatts;

    use super::*;

    fn lease(term: i64) -> Input {
        EngineFact { kind: EngineFactKind::Lease, event_ms: 0, subject: "a".into(), value: term }.into()
    }

    fn order() -> Input {
        OperatorCommand {
            id: 1,
            event_ms: 0,
            operator: "ada".into(),
            kind: CommandKind::HandOver,
            equipment: EquipmentKind::Zone,
            equipment_id: 0,
            p: MilliWatts(0),
            expires_ms: 0,
        }
        .into()
    }

    fn causes(epochs: &[(Epoch, Vec<Input>)]) -> Vec<Option<Cause>> {
        let mut seen = Seen::default();
        epochs
            .iter()
            .map(|(epoch, rows)| {
                seen.take(&EpochBatch::new(*epoch, rows.iter().cloned()));
                seen.cause(3_000)
            })
            .collect()
    }

    #[test]
    fn a_lease_lapses_by_the_epochs_of_the_log_and_lives_when_renewed() {
        let log = [(1_000, vec![]), (2_000, vec![lease(0)]), (5_000, vec![]), (6_000, vec![]), (7_000, vec![lease(0)]), (8_000, vec![])];
        assert_eq!(causes(&log), [None, None, None, Some(Cause::Lapse), None, None]);
    }

    #[test]
    fn an_order_stands_until_a_later_term_leads_and_a_fenced_leader_renews_nothing() {
        let log = [
            (1_000, vec![lease(0)]),
            (2_000, vec![order()]),
            (3_000, vec![lease(0)]),
            (4_000, vec![lease(1)]),
            (6_000, vec![lease(0)]),
            (8_000, vec![lease(0)]),
        ];
        assert_eq!(causes(&log), [None, Some(Cause::Order), Some(Cause::Order), None, None, Some(Cause::Lapse)]);
    }
}
