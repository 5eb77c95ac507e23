//! Which of several processes that run one state writes its outputs: the leader of the newest term.
//!
//! The leader has a lease: a row it renews in the input log as it reads on, each third of the lease's length. A standby follows the log, computes what the leader does,
//! and compares. It takes over when the log orders it (`OperatorCommand` `HandOver`) or when the lease lapses, both read
//! from the log alone: a lease lapses at the first epoch more than its length behind its newest row. Taking over is the
//! claim of the next term, which fences what the leader before it may still write (see the terms of the log). A leader
//! looks for a later term before it writes and ends when it finds one.
//!
//! The thread that reads the log only notes that it is time; the one that keeps outputs claims, so that nothing is compared
//! with the leader between the measuring of its logs and the first write of the term after it.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use gridflow_inputs::input::{CommandKind, EngineFact, EngineFactKind};
use gridflow_inputs::log::inbox::{InboxError, post};
use gridflow_inputs::log::{ClaimError, EpochBatch, LogError, LogReader, Terms};
use gridflow_inputs::{Epoch, Input};
use gridflow_operators::decision::Stream;

use crate::journal::Difference;
use crate::running::{RunConfig, RunError, StateLock};

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
    /// The newest term known to lead.
    term: u64,
    /// Epoch of its newest lease row.
    lease: Option<Epoch>,
    /// Whether an order to hand over stands that no later term has answered.
    ordered: bool,
    /// First and last epoch read.
    span: Option<(Epoch, Epoch)>,
}

impl Seen {
    fn take(&mut self, batch: &EpochBatch, lease_ms: Option<u64>) {
        let (first, last) = self.span.unwrap_or((batch.epoch, batch.epoch));
        if self.span.is_some() && batch.epoch <= last {
            // Looked at before, by whoever reads ahead.
            return;
        }
        self.span = Some((first, batch.epoch));
        // While nobody wrote the log, nobody could renew a lease in it.
        if let (Some(lease), Some(lease_ms)) = (&mut self.lease, lease_ms) {
            let pause = batch.epoch - last;
            *lease += if pause > lease_ms / 3 { pause } else { 0 };
        }
        for (_, row) in &batch.rows {
            match row {
                Input::EngineFact(fact) if fact.kind == EngineFactKind::Lease => {
                    let term = u64::try_from(fact.value).unwrap_or(0);
                    // A leader that was fenced off may still say that it leads.
                    if term >= self.term {
                        self.answer(term, batch.epoch);
                    }
                }
                Input::OperatorCommand(order) if order.kind == CommandKind::HandOver => self.ordered = true,
                _ => {}
            }
        }
    }

    /// A term leads as of an epoch.
    fn answer(&mut self, term: u64, epoch: Epoch) {
        self.ordered &= term == self.term;
        (self.term, self.lease) = (term, Some(epoch));
    }

    /// Why to take over, if so. A leader that was never seen to have a lease must also be `gone`.
    fn cause(&self, lease_ms: Option<u64>, gone: impl FnOnce(u64) -> bool) -> Option<Cause> {
        if self.ordered {
            return Some(Cause::Order);
        }
        let (Some((first, last)), Some(lease_ms)) = (self.span, lease_ms) else { return None };
        let lapsed = last > self.lease.unwrap_or(first).saturating_add(lease_ms);
        (lapsed && (self.lease.is_some() || gone(self.term))).then_some(Cause::Lapse)
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
    standby: bool,
    seen: Mutex<Seen>,
    /// Reads the log ahead while the run waits for its leader.
    ahead: Mutex<Option<LogReader>>,
    /// The term it leads in.
    leads: Mutex<Option<Terms>>,
    /// Set when it is time to take over.
    due: Mutex<Option<Cause>>,
    superseded: AtomicBool,
    /// Epoch at which the lease was renewed last.
    renewed: AtomicU64,
}

impl Leadership {
    pub(crate) fn new(config: &RunConfig, terms: Terms, leads: bool) -> Self {
        Self {
            log: config.log.clone(),
            out: config.state.join(crate::running::OUT),
            state: config.state.clone(),
            name: config.name.clone(),
            lease_ms: config.lease_ms,
            standby: config.standby,
            seen: Mutex::new(Seen { term: terms.newest(), ..Seen::default() }),
            ahead: Mutex::default(),
            leads: Mutex::new(leads.then_some(terms)),
            due: Mutex::default(),
            superseded: AtomicBool::new(false),
            renewed: AtomicU64::new(0),
        }
    }

    /// Takes notice of an epoch of the log, and renews the lease when that is due.
    pub(crate) fn see(&self, batch: &EpochBatch) -> Result<(), RunError> {
        self.seen.lock().expect("looking does not panic").take(batch, self.lease_ms);
        let due = |lease_ms: u64| batch.epoch >= self.renewed.load(Ordering::Relaxed).saturating_add(lease_ms / 3);
        if self.lease_ms.is_some_and(due) {
            self.renewed.store(batch.epoch, Ordering::Relaxed);
            self.renew()?;
        }
        Ok(())
    }

    /// At the end of the log, when nothing newer is known: notes whether the log says to take over.
    pub(crate) fn at_end(&self) {
        if !self.standby || self.leads.lock().expect("claiming does not panic").is_some() {
            return;
        }
        let gone = |term| StateLock::take(&self.state, 0, term).is_ok();
        let cause = self.seen.lock().expect("looking does not panic").cause(self.lease_ms, gone);
        *self.due.lock().expect("noting does not panic") = cause;
    }

    /// Looks at what the log holds beyond what the run has read, for a run that waits.
    pub(crate) fn look_ahead(&self) -> Result<(), RunError> {
        let mut ahead = self.ahead.lock().expect("looking does not panic");
        if ahead.is_none() {
            let last = self.seen.lock().expect("looking does not panic").span.map_or(0, |(_, last)| last);
            *ahead = Some(LogReader::open_at(&self.log, last + 1)?);
        }
        for batch in ahead.iter_mut().flatten() {
            self.seen.lock().expect("looking does not panic").take(&batch?, self.lease_ms);
        }
        self.at_end();
        Ok(())
    }

    /// Claims the next term, when it is time to: the term, the right to write in the state directory, and why.
    pub(crate) fn claim(&self) -> Result<Option<(Terms, StateLock, Cause)>, RunError> {
        let Some(cause) = *self.due.lock().expect("noting does not panic") else { return Ok(None) };
        let known = Terms::load(&self.out)?.newest();
        {
            let mut seen = self.seen.lock().expect("looking does not panic");
            if known > seen.term {
                // Another standby was faster: its lease row is on its way.
                let last = seen.span.map_or(0, |(_, last)| last);
                seen.answer(known, last);
                *self.due.lock().expect("noting does not panic") = None;
                return Ok(None);
            }
        }
        let lock = match StateLock::take(&self.state, 0, known + 1) {
            Ok(lock) => lock,
            // Another standby is just about to.
            Err(RunError::Locked { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let streams: Vec<&str> = Stream::ALL.iter().map(|stream| stream.name()).collect();
        let who = format!("{}{}", self.name, if cause == Cause::Order { BY_ORDER } else { BY_LAPSE });
        let terms = match Terms::claim(&self.out, &streams, &who) {
            Ok(terms) => terms,
            Err(ClaimError::Taken { .. }) => return Ok(None),
            Err(ClaimError::Log(error)) => return Err(error.into()),
        };
        *self.leads.lock().expect("claiming does not panic") = Some(terms.clone());
        *self.due.lock().expect("noting does not panic") = None;
        self.renew()?;
        Ok(Some((terms, lock, cause)))
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

    fn causes(gone: bool, epochs: &[(Epoch, Vec<Input>)]) -> Vec<Option<Cause>> {
        let mut seen = Seen::default();
        epochs
            .iter()
            .map(|(epoch, rows)| {
                seen.take(&EpochBatch::new(*epoch, rows.iter().cloned()), Some(3_000));
                seen.cause(Some(3_000), |_| gone)
            })
            .collect()
    }

    #[test]
    fn a_lease_lapses_by_the_epochs_of_the_log_and_lives_when_renewed() {
        let epochs = |rows: [Vec<Input>; 8]| (1..).map(|second| second * 1_000).zip(rows).collect::<Vec<_>>();
        let log = epochs([vec![], vec![lease(0)], vec![], vec![], vec![], vec![], vec![lease(0)], vec![]]);
        assert_eq!(causes(false, &log), [None, None, None, None, None, Some(Cause::Lapse), None, None]);
    }

    #[test]
    fn a_pause_of_the_log_lets_no_lease_lapse() {
        let log = [(1_000, vec![lease(0)]), (60_000, vec![]), (61_000, vec![]), (62_000, vec![]), (63_000, vec![]), (64_000, vec![])];
        assert_eq!(causes(true, &log), [None, None, None, None, None, Some(Cause::Lapse)]);
    }

    #[test]
    fn a_leader_whose_lease_was_never_seen_must_be_gone() {
        let log: Vec<_> = (1..7).map(|second| (second * 1_000, vec![])).collect();
        assert_eq!(causes(false, &log).last(), Some(&None));
        assert_eq!(causes(true, &log).last(), Some(&Some(Cause::Lapse)));
    }

    #[test]
    fn an_order_stands_until_a_later_term_leads_and_a_fenced_leader_renews_nothing() {
        let epochs = |rows: [Vec<Input>; 9]| (1..).map(|second| second * 1_000).zip(rows).collect::<Vec<_>>();
        let rows = [vec![lease(0)], vec![order()], vec![lease(0)], vec![lease(1)], vec![], vec![lease(0)], vec![], vec![lease(0)], vec![]];
        let (order, lapse) = (Some(Cause::Order), Some(Cause::Lapse));
        assert_eq!(causes(false, &epochs(rows)), [None, order, order, None, None, None, None, lapse, lapse]);
    }
}
