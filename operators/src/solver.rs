//! The sealed-epoch solver: pure functions of a key's rows, solved off the worker, answered at a fixed epoch.
//!
//! Rows of a key meet on one worker and are kept sorted. When an epoch is sealed and the key was triggered in it, the
//! rows are handed with the key's `previous` state to a pure function on a background pool; the operator holds the
//! capability of epoch E + lead meanwhile, so that only its own stream waits. Solves of a key run one after another in
//! epoch order; triggers in (E, E + lead] merge into one solve at E + lead. The answer replaces the key's last one:
//! old rows are withdrawn, new ones asserted, at E + lead. Results therefore depend on the rows alone, never on how
//! long a solve took or on which thread it ran.
//!
//! Remembered are each key's answer and `previous`, the problems whose answers take effect later, and merged triggers;
//! a key's rows come again from the collections they came from. An answer is told once no input before its effect epoch
//! can come, so that what is told never runs ahead of a checkpoint.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use differential_dataflow::AsCollection;
use gridflow_inputs::Epoch;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use timely::ExchangeData;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;
use timely::scheduling::SyncActivator;

use crate::multiset::{Multiset, Slotted};
use crate::sealed::{Changes, Rows};
use crate::state::{Registry, State, StateError, decode, encode};

/// Runs jobs off the worker; `src` owns the threads.
pub type Pool = Arc<dyn Fn(Box<dyn FnOnce() + Send>) + Send + Sync>;

/// A pool that runs each job at once on the calling thread: for tests and examples.
#[must_use]
pub fn inline_pool() -> Pool {
    Arc::new(|job| job())
}

/// Runs the blocks of one solve, each of so many once, in whatever order and on whatever threads, and returns when all are done;
/// `src` owns the threads. For work whose parts know nothing of each other, so that who does them changes no bit.
pub type Blocks = Arc<dyn Fn(usize, &(dyn Fn(usize) + Sync)) + Send + Sync>;

/// Blocks one after another on the calling thread.
#[must_use]
pub fn inline_blocks() -> Blocks {
    Arc::new(|count, run| (0..count).for_each(run))
}

/// What a solver is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SolverInput<R> {
    /// A change of a row of one key.
    Row {
        /// The key.
        key: u32,
        /// The row.
        row: R,
        /// Its change in multiplicity.
        change: i64,
    },
    /// A change of a row that all keys see; one copy goes to each worker.
    Shared {
        /// The worker this copy is for.
        worker: u64,
        /// The row.
        row: R,
        /// Its change in multiplicity.
        change: i64,
    },
    /// The key is to be solved.
    Trigger {
        /// The key.
        key: u32,
    },
    /// The key is to be solved if its last solve failed, which the solve itself judges by its `previous`.
    Retry {
        /// The key.
        key: u32,
    },
    /// All keys are to be solved; one copy goes to each worker.
    TriggerAll {
        /// The worker this copy is for.
        worker: u64,
    },
}

/// A key's rows as they were when an epoch was sealed.
#[derive(Clone, Debug)]
pub struct Problem<R, P> {
    /// The key.
    pub key: u32,
    /// The sealed epoch.
    pub epoch: Epoch,
    /// The epoch at which the answer takes effect.
    pub effect: Epoch,
    /// Whether nothing but a retry asked: what succeeded is to be answered as before.
    pub retry: bool,
    /// The key's rows, ascending by slot, then by row.
    pub rows: Arc<Vec<R>>,
    /// Rows that all keys see, likewise.
    pub shared: Arc<Vec<R>>,
    /// State left by the key's solve before this one.
    pub previous: Option<P>,
}

/// What a solve leaves.
#[derive(Clone, Debug)]
pub struct Answer<P, O> {
    /// State for the key's next solve: part of checkpoints, so explicit.
    pub previous: P,
    /// All rows that hold from the effect epoch on; what the last answer held besides is withdrawn.
    pub rows: Vec<O>,
}

/// A pure function of a sealed problem.
pub type Solve<R, P, O> = Arc<dyn Fn(Problem<R, P>) -> Answer<P, O> + Send + Sync>;

type Done<P, O> = (u32, Option<Answer<P, O>>);
type DoneChannel<P, O> = (Sender<Done<P, O>>, Receiver<Done<P, O>>);

/// A problem before it is given its `previous`.
#[derive(Debug, Serialize, Deserialize)]
struct Posed<R> {
    epoch: Epoch,
    effect: Epoch,
    retry: bool,
    rows: Arc<Vec<R>>,
    shared: Arc<Vec<R>>,
}

impl<R> Clone for Posed<R> {
    fn clone(&self) -> Self {
        let Self { epoch, effect, retry, .. } = *self;
        Self { epoch, effect, retry, rows: Arc::clone(&self.rows), shared: Arc::clone(&self.shared) }
    }
}

/// A problem that is being solved, or was and waits for its effect epoch.
struct Running<R> {
    capability: Capability<Epoch>,
    /// The problem and the `previous` it was given, as bytes: kept where a checkpoint may come before the answer is told.
    kept: Option<(Posed<R>, Vec<u8>)>,
}

struct Held<R> {
    capability: Capability<Epoch>,
    inputs: Vec<SolverInput<R>>,
    merged: BTreeSet<u32>,
}

/// Everything the operator knows of a key.
struct Key<R, P, O> {
    rows: Multiset<R>,
    /// Effect epoch of the newest posed problem.
    busy_until: Option<Epoch>,
    /// Whether the newest posed problem has an answer to stand, rather than withdrawing one.
    stands: bool,
    /// Problems posed and not yet handed out, with the capability to answer; `None` withdraws the key's answer.
    waiting: VecDeque<(Capability<Epoch>, Option<Posed<R>>)>,
    running: Option<Running<R>>,
    previous: Option<P>,
    answer: Vec<O>,
}

/// What a checkpoint keeps of a key. Its rows are told again by the collections they come from.
#[derive(Serialize, Deserialize)]
struct SavedKey<R> {
    key: u32,
    busy_until: Option<Epoch>,
    stands: bool,
    /// The problem whose answer takes effect later; `Some(None)` withdraws.
    pending: Option<Option<Posed<R>>>,
    /// Whether triggers were merged into a solve at `busy_until`.
    merged: bool,
    /// `previous` of the next solve: an encoded `Option<P>`.
    previous: Vec<u8>,
    /// The answer that stands: an encoded `Vec<O>`.
    answer: Vec<u8>,
}

impl<R, P, O> Default for Key<R, P, O> {
    fn default() -> Self {
        Self {
            rows: Multiset::default(),
            busy_until: None,
            stands: false,
            waiting: VecDeque::new(),
            running: None,
            previous: None,
            answer: Vec::new(),
        }
    }
}

impl<R: Slotted + Ord, P, O> Key<R, P, O> {
    /// Whether forgetting the key after `sealed` changes nothing: not what is told, not which triggers merge. It must not
    /// hang on how far solves have come, so the epoch decides, not the answer's arrival.
    fn is_idle(&self, sealed: Epoch) -> bool {
        let done = self.running.is_none() && self.waiting.is_empty() && self.answer.is_empty();
        done && !self.stands && self.rows.is_empty() && self.busy_until <= Some(sealed)
    }
}

/// Rows of `new` not in `old` with +1, rows of `old` not in `new` with -1.
fn differences<O: Ord + Clone>(old: &[O], new: &[O], mut give: impl FnMut(O, i64)) {
    let mut counts: BTreeMap<&O, i64> = BTreeMap::new();
    for row in old {
        *counts.entry(row).or_insert(0) -= 1;
    }
    for row in new {
        *counts.entry(row).or_insert(0) += 1;
    }
    for (row, count) in counts {
        if count != 0 {
            give(row.clone(), count);
        }
    }
}

struct Solver<R, P, O> {
    lead: u64,
    keys: BTreeMap<u32, Key<R, P, O>>,
    shared: Multiset<R>,
    /// `shared` as a vector, made once per change.
    shared_rows: Option<Arc<Vec<R>>>,
    held: BTreeMap<Epoch, Held<R>>,
    /// The newest sealed epoch.
    sealed: Epoch,
    /// Up to this epoch inputs are told again: their triggers rang before.
    resumed: Option<Epoch>,
    /// Of a resumed solver: problems to be posed again, and keys with merged triggers.
    loaded: Vec<(u32, Option<Posed<R>>)>,
    merged: Vec<(u32, Epoch)>,
    /// Answers whose effect epoch the frontier has not passed.
    early: BTreeMap<u32, Option<Answer<P, O>>>,
    pool: Pool,
    solve: Solve<R, P, O>,
    done: DoneChannel<P, O>,
    /// Known once the operator is built.
    activator: Option<Arc<Mutex<SyncActivator>>>,
}

impl<R, P, O> State for Solver<R, P, O>
where
    R: ExchangeData + Slotted + Ord + Clone + Sync,
    P: Serialize + DeserializeOwned,
    O: Serialize + DeserializeOwned,
{
    fn save(&self) -> Vec<u8> {
        let keys: Vec<SavedKey<R>> = self
            .keys
            .iter()
            .map(|(key, state)| {
                // All problems whose answer has taken effect are solved: what is left takes effect later, and is one.
                let waiting = state.waiting.front().map(|(_, posed)| posed.clone());
                let kept = state.running.as_ref().map(|running| running.kept.as_ref());
                let (pending, previous) = match kept {
                    Some(Some((posed, previous))) => (Some(Some(posed.clone())), previous.clone()),
                    Some(None) => (Some(None), encode(&None::<P>)),
                    None => (waiting, encode(&state.previous)),
                };
                let until = state.busy_until.filter(|until| *until > self.sealed);
                let merged = until.and_then(|until| self.held.get(&until)).is_some_and(|held| held.merged.contains(key));
                SavedKey { key: *key, busy_until: until, stands: state.stands, pending, merged, previous, answer: encode(&state.answer) }
            })
            .collect();
        encode(&keys)
    }

    fn load(&mut self, saved: &[u8], mine: &dyn Fn(u64) -> bool) -> Result<(), StateError> {
        let keys: Vec<SavedKey<R>> = decode(saved)?;
        for saved in keys.into_iter().filter(|saved| mine(u64::from(saved.key))) {
            let SavedKey { key, busy_until, stands, pending, merged, previous, answer } = saved;
            let state = Key { busy_until, stands, previous: decode(&previous)?, answer: decode(&answer)?, ..Key::default() };
            self.keys.insert(key, state);
            self.loaded.extend(pending.map(|posed| (key, posed)));
            self.merged.extend(busy_until.filter(|_| merged).map(|until| (key, until)));
        }
        Ok(())
    }
}

impl<R, P, O> Solver<R, P, O>
where
    R: ExchangeData + Slotted + Ord + Clone + Sync,
    P: Serialize + Send + 'static,
    O: Ord + Clone + Send + 'static,
{
    /// Takes up what was loaded: poses again what was pending, and tells the answers that stand.
    fn resume(&mut self, capability: &Capability<Epoch>, mut give: impl FnMut(&Capability<Epoch>, O, i64)) {
        let Some(resumed) = self.resumed else { return };
        let at = capability.delayed(&resumed);
        for state in self.keys.values() {
            state.answer.iter().for_each(|row| give(&at, row.clone(), 1));
        }
        for (key, until) in std::mem::take(&mut self.merged) {
            self.merge(key, until, &at);
        }
        for (key, posed) in std::mem::take(&mut self.loaded) {
            let state = self.keys.get_mut(&key).expect("its key was loaded with it");
            let effect = posed.as_ref().map(|posed| posed.effect).or(state.busy_until).expect("a key with a pending problem is busy");
            state.waiting.push_back((at.delayed(&effect), posed));
            self.start(key);
        }
    }

    /// Lets the key be solved at `until` besides what comes then.
    fn merge(&mut self, key: u32, until: Epoch, capability: &Capability<Epoch>) {
        let merged = self.held.entry(until).or_insert_with(|| Held {
            capability: capability.delayed(&until),
            inputs: Vec::new(),
            merged: BTreeSet::new(),
        });
        merged.merged.insert(key);
    }

    /// Applies a sealed epoch and poses what it triggers.
    fn seal(&mut self, epoch: Epoch, mut held: Held<R>) {
        self.sealed = epoch;
        let told_again = self.resumed.is_some_and(|resumed| epoch <= resumed);
        let mut triggered = std::mem::take(&mut held.merged);
        let (mut all, mut again) = (false, BTreeSet::new());
        // In any order: counts add up to the same.
        for input in held.inputs {
            match input {
                SolverInput::Row { key, row, change } => self.keys.entry(key).or_default().rows.change(row.slot(), row, change),
                SolverInput::Shared { row, change, .. } => {
                    self.shared.change(row.slot(), row, change);
                    self.shared_rows = None;
                }
                SolverInput::Trigger { key } => {
                    triggered.insert(key);
                }
                SolverInput::Retry { key } => drop(again.insert(key)),
                SolverInput::TriggerAll { .. } => all = true,
            }
        }
        if all {
            triggered.extend(self.keys.keys());
        }
        if told_again {
            return;
        }
        let retries = again.difference(&triggered).map(|key| (*key, true));
        for (key, retry) in triggered.iter().map(|key| (*key, false)).chain(retries) {
            let state = self.keys.entry(key).or_default();
            if let Some(until) = state.busy_until.filter(|until| *until > epoch) {
                // What is being solved began after what failed: a retry has nothing to add.
                if !retry {
                    self.merge(key, until, &held.capability);
                }
                continue;
            }
            let rows = state.rows.present();
            if rows.is_empty() && !state.stands {
                // Nothing to solve and nothing to withdraw.
                if state.is_idle(epoch) {
                    self.keys.remove(&key);
                }
                continue;
            }
            let effect = epoch + self.lead;
            state.busy_until = Some(effect);
            state.stands = !rows.is_empty();
            let problem = if rows.is_empty() {
                None
            } else {
                let shared = Arc::clone(self.shared_rows.get_or_insert_with(|| Arc::new(self.shared.present())));
                Some(Posed { epoch, effect, retry, rows: Arc::new(rows), shared })
            };
            state.waiting.push_back((held.capability.delayed(&effect), problem));
            self.start(key);
        }
    }

    /// Hands the key's next problem to the pool, if none is being solved.
    fn start(&mut self, key: u32) {
        let state = self.keys.get_mut(&key).expect("only known keys are started");
        if state.running.is_some() {
            return;
        }
        let Some((capability, posed)) = state.waiting.pop_front() else { return };
        let Some(posed) = posed else {
            state.running = Some(Running { capability, kept: None });
            self.done.0.send((key, None)).expect("the operator holds the receiver");
            return;
        };
        // Without a lead the answer is told before any checkpoint can come.
        let kept = (self.lead > 0).then(|| (posed.clone(), encode(&state.previous)));
        state.running = Some(Running { capability, kept });
        let Posed { epoch, effect, retry, rows, shared } = posed;
        let problem = Problem { key, epoch, effect, retry, rows, shared, previous: state.previous.take() };
        let activator = Arc::clone(self.activator.as_ref().expect("it is set before anything is solved"));
        let (sender, solve) = (self.done.0.clone(), Arc::clone(&self.solve));
        (self.pool)(Box::new(move || {
            let answer = solve(problem);
            // Either fails only when the dataflow is being torn down, when nobody waits for the answer.
            let _ = sender.send((key, Some(answer)));
            let _ = activator.lock().expect("no job panics while it holds the activator").activate();
        }));
    }

    /// Takes finished answers and gives their changes, each at its effect epoch, once `passed` says that the frontier
    /// has passed it.
    fn finish(&mut self, passed: impl Fn(&Epoch) -> bool, mut give: impl FnMut(&Capability<Epoch>, O, i64)) {
        loop {
            self.early.extend(self.done.1.try_iter());
            let due = |key: &u32| {
                self.keys.get(key).and_then(|state| state.running.as_ref()).is_some_and(|running| passed(running.capability.time()))
            };
            let Some(key) = self.early.keys().copied().find(due) else { return };
            let answer = self.early.remove(&key).expect("it was just found");
            let state = self.keys.get_mut(&key).expect("a key is kept while a problem of it is solved");
            let Running { capability, .. } = state.running.take().expect("an answer has a problem");
            let (previous, rows) = match answer {
                Some(answer) => (Some(answer.previous), answer.rows),
                None => (None, Vec::new()),
            };
            differences(&state.answer, &rows, |row, by| give(&capability, row, by));
            state.previous = previous;
            state.answer = rows;
            if state.is_idle(self.sealed) {
                self.keys.remove(&key);
            } else {
                self.start(key);
            }
        }
    }
}

/// Solves keys when their epochs are sealed; see the module page for the rules.
///
/// `lead` is in milliseconds of epoch time: the answer to a problem sealed at E takes effect at E + lead.
///
/// ```
/// use std::sync::Arc;
/// use gridflow_operators::solver::{Answer, SolverInput, inline_pool, solver};
/// use gridflow_operators::state::Registry;
/// use timely::dataflow::operators::{Capture, ToStream, capture::Extract};
///
/// let answers = timely::example(|scope| {
///     let inputs = vec![
///         SolverInput::Row { key: 7, row: 2u64, change: 1 },
///         SolverInput::Row { key: 7, row: 3, change: 1 },
///         SolverInput::TriggerAll { worker: 0 },
///     ];
///     let stream = inputs.to_stream(scope).container::<Vec<_>>();
///     let product = Arc::new(|problem: gridflow_operators::solver::Problem<u64, ()>| Answer {
///         previous: (),
///         rows: vec![problem.rows.iter().product::<u64>()],
///     });
///     solver(stream, "Product", &Registry::default(), 30_000, inline_pool(), product).inner.capture()
/// });
/// assert_eq!(answers.extract(), [(30_000, vec![(6, 30_000, 1)])]);
/// ```
pub fn solver<'scope, R, P, O>(
    inputs: Rows<'scope, SolverInput<R>>,
    name: &'static str,
    registry: &Registry,
    lead: u64,
    pool: Pool,
    solve: Solve<R, P, O>,
) -> Changes<'scope, O>
where
    R: ExchangeData + Slotted + Ord + Clone + Sync,
    P: Serialize + DeserializeOwned + Send + 'static,
    O: ExchangeData + Ord + Clone,
{
    let scope = inputs.scope();
    let route = |input: &SolverInput<R>| match input {
        SolverInput::Row { key, .. } | SolverInput::Trigger { key } | SolverInput::Retry { key } => u64::from(*key),
        SolverInput::Shared { worker, .. } | SolverInput::TriggerAll { worker } => *worker,
    };
    let solver = Solver {
        lead,
        keys: BTreeMap::new(),
        shared: Multiset::default(),
        shared_rows: None,
        held: BTreeMap::new(),
        sealed: Epoch::MIN,
        resumed: registry.resumed(),
        loaded: Vec::new(),
        merged: Vec::new(),
        early: BTreeMap::new(),
        pool,
        solve,
        done: channel(),
        activator: None,
    };
    let solver: Rc<RefCell<Solver<R, P, O>>> = registry.enter(name, solver);
    inputs
        .unary_frontier::<CapacityContainerBuilder<Vec<(O, Epoch, i64)>>, _, _, _>(Exchange::new(route), name, move |capability, info| {
            solver.borrow_mut().activator = Some(Arc::new(Mutex::new(scope.worker().sync_activator_for(info.address.to_vec()))));
            let mut start = Some(capability);
            move |(input, frontier), output| {
                let mut solver = solver.borrow_mut();
                let mut give = |capability: &Capability<Epoch>, row, by| output.session(capability).give((row, *capability.time(), by));
                if let Some(capability) = start.take() {
                    solver.resume(&capability, &mut give);
                }
                input.for_each_time(|time, batches| {
                    let held = solver.held.entry(*time.time()).or_insert_with(|| Held {
                        capability: time.retain(0),
                        inputs: Vec::new(),
                        merged: BTreeSet::new(),
                    });
                    for batch in batches {
                        held.inputs.append(batch);
                    }
                });
                let frontier = frontier.frontier();
                while let Some(entry) = solver.held.first_entry() {
                    if frontier.less_equal(entry.key()) {
                        break;
                    }
                    let (epoch, held) = entry.remove_entry();
                    solver.seal(epoch, held);
                }
                solver.finish(|effect| !frontier.less_equal(effect), give);
            }
        })
        .as_collection()
}
