//! What operators remember from epoch to epoch: part of checkpoints, explicit, and bytes of its own form.
//!
//! A [`Registry`] belongs to one worker. An operator enters its state when it is built; a resumed worker finds it
//! loaded. Saved is the state after an epoch that all streams have sealed, before any later one was shown to the
//! operator. Each worker saves its share; the shares are loaded by however many workers there are then, each taking the
//! rows that are routed to it. Loading emits nothing that leaves: operators tell again, at the epoch resumed from, only what collections
//! downstream must hold, and sealing passes over that epoch.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use gridflow_inputs::Epoch;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why saved bytes are not the state of an operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the saved state of operator \"{operator}\" cannot be read ({what}): it was saved by another build; go on with that build, or start with a new state directory"
)]
pub struct StateError {
    /// Which operator; empty until the registry names it.
    pub operator: String,
    /// What does not fit.
    pub what: String,
}

impl StateError {
    /// An error of an operator that the registry will name.
    #[must_use]
    pub fn new(what: impl ToString) -> Self {
        Self { operator: String::new(), what: what.to_string() }
    }
}

/// What an operator remembers.
pub trait State {
    /// This worker's share as bytes.
    fn save(&self) -> Vec<u8>;
    /// Takes from one saved share what belongs to this worker: all rows for whose route `mine` is true, and what every
    /// worker has. Called once for each share that was saved; of what every worker has, any share will do.
    ///
    /// # Errors
    /// When the bytes are none that `save` gives.
    fn load(&mut self, saved: &[u8], mine: &dyn Fn(u64) -> bool) -> Result<(), StateError>;
    /// Bytes of memory it takes, about: those of its saved form, where nothing better is known.
    fn size_bytes(&self) -> usize {
        self.save().len()
    }
}

/// Bytes of a plain value.
#[must_use]
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain data in memory can always be written")
}

/// The plain value of which these are the bytes.
///
/// # Errors
/// When they are not, or when bytes are left over.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StateError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(StateError::new("bytes are left over")),
        Err(error) => Err(StateError::new(error)),
    }
}

/// States of all operators after an epoch: by operator, the share of each worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// The epoch.
    pub epoch: Epoch,
    /// Shares by operator.
    pub shares: BTreeMap<String, Vec<Vec<u8>>>,
}

type Entries = RefCell<Vec<(&'static str, Rc<RefCell<dyn State>>)>>;

/// The states of one worker's operators.
#[derive(Clone, Default)]
pub struct Registry(Rc<Inner>);

#[derive(Default)]
struct Inner {
    worker: (u64, u64),
    resumed: Option<Arc<Saved>>,
    entries: Entries,
    failed: RefCell<Option<StateError>>,
}

impl Registry {
    /// Of worker `index` of `peers`, starting afresh or from saved states.
    #[must_use]
    pub fn new(index: usize, peers: usize, resumed: Option<Arc<Saved>>) -> Self {
        Self(Rc::new(Inner { worker: (index as u64, peers as u64), resumed, ..Inner::default() }))
    }

    /// The epoch resumed from: it is told again and not sealed again.
    #[must_use]
    pub fn resumed(&self) -> Option<Epoch> {
        self.0.resumed.as_ref().map(|saved| saved.epoch)
    }

    /// Enters the state of an operator, loaded with what was saved of it.
    ///
    /// # Panics
    /// When two operators have one name: their states would be mixed up.
    pub fn enter<S: State + 'static>(&self, operator: &'static str, mut state: S) -> Rc<RefCell<S>> {
        let (index, peers) = self.0.worker;
        let mine = |route: u64| peers <= 1 || route % peers == index;
        let shares = self.0.resumed.as_ref().map(|saved| saved.shares.get(operator));
        if let Some(None) = shares {
            let what = "nothing was saved of it".to_owned();
            self.0.failed.borrow_mut().get_or_insert(StateError { operator: operator.to_owned(), what });
        }
        for share in shares.flatten().into_iter().flatten() {
            if let Err(error) = state.load(share, &mine) {
                self.0.failed.borrow_mut().get_or_insert(StateError { operator: operator.to_owned(), ..error });
            }
        }
        let state = Rc::new(RefCell::new(state));
        let mut entries = self.0.entries.borrow_mut();
        assert!(entries.iter().all(|(name, _)| *name != operator), "two operators are named \"{operator}\"");
        entries.push((operator, Rc::clone(&state) as Rc<RefCell<dyn State>>));
        state
    }

    /// The first state that could not be loaded, if one could not: the worker must not go on.
    #[must_use]
    pub fn failed(&self) -> Option<StateError> {
        let entered = |operator: &str| self.0.entries.borrow().iter().any(|(name, _)| *name == operator);
        let left = self.0.resumed.iter().flat_map(|saved| saved.shares.keys()).find(|operator| !entered(operator));
        let left = left.map(|operator| StateError { operator: operator.clone(), what: "there is no such operator".to_owned() });
        self.0.failed.borrow().clone().or(left)
    }

    /// Bytes of memory each operator's state takes.
    #[must_use]
    pub fn sizes(&self) -> Vec<(&'static str, usize)> {
        self.0.entries.borrow().iter().map(|(name, state)| (*name, state.borrow().size_bytes())).collect()
    }

    /// The states of all operators as they are now.
    #[must_use]
    pub fn save(&self) -> Vec<(&'static str, Vec<u8>)> {
        self.0.entries.borrow().iter().map(|(name, state)| (*name, state.borrow().save())).collect()
    }
}
