//! The generic solver against a plain loop over epochs: posing, merging, `previous` chains, withdrawal, prefixes.
//!
//! The problem's answer names everything it rests on, so that a wrong row, epoch, chain or effect shows in the rows.
//! Solve times are random and on real threads: none of it may show.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gridflow_inputs::Epoch;
use gridflow_operators::solver::{Answer, Pool, Problem, Solve, SolverInput, inline_pool, solver};
use proptest::prelude::*;

use crate::harness::{Told, consolidated, run};

/// Everything an answer rests on: key, sealed epoch, effect, rows, shared rows, how many solves came before and a
/// number that chains all of them.
type Trace = (u32, Epoch, Epoch, Vec<u8>, Vec<u8>, u32, u64);
type Change = ((Trace, u8), i64);

fn chain(before: u64, key: u32, epoch: Epoch, rows: &[u8], shared: &[u8]) -> u64 {
    let words = [u64::from(key), epoch].into_iter().chain(rows.iter().chain(shared).map(|row| u64::from(*row)));
    words.fold(before, |sum, word| (sum ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(7))
}

fn trace() -> Solve<u8, (u32, u64), (Trace, u8)> {
    Arc::new(|problem: Problem<u8, (u32, u64)>| {
        let (solves, before) = problem.previous.unwrap_or_default();
        let number = chain(before, problem.key, problem.epoch, &problem.rows, &problem.shared);
        let row = (problem.key, problem.epoch, problem.effect, problem.rows.to_vec(), problem.shared.to_vec(), solves, number);
        // A second row, which seldom changes, shows that only differences are told.
        let steady = (problem.key, 0, 0, Vec::new(), Vec::new(), 0, 0);
        Answer { previous: (solves + 1, number), rows: vec![(row, 0), (steady, 1)] }
    })
}

/// Threads that wait a while before each job, differently for each job.
fn slow_pool(threads: usize, seed: u64, greatest: Duration) -> Pool {
    let (sender, receiver) = channel::<Box<dyn FnOnce() + Send>>();
    let receiver = Arc::new(Mutex::new(receiver));
    for index in 0..threads {
        let receiver = Arc::clone(&receiver);
        let mut random = seed.wrapping_add(index as u64 + 1);
        let work = move || {
            loop {
                let job = receiver.lock().expect("no job runs while this is held").recv();
                let Ok(job) = job else { break };
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                std::thread::sleep(greatest.mul_f64((random >> 40) as f64 / (1u64 << 24) as f64));
                job();
            }
        };
        // They end when the pool's last handle is dropped.
        drop(std::thread::Builder::new().spawn(work).expect("the system gives a thread"));
    }
    let sender = Mutex::new(sender);
    Arc::new(move |job| sender.lock().expect("no sender panics").send(job).expect("threads outlive the pool"))
}

/// An epoch of a run: changes of keys' rows, changes of shared rows, triggers.
#[derive(Clone, Debug, Default)]
struct Step {
    gap: u64,
    rows: Vec<(u32, u8, i64)>,
    shared: Vec<(u8, i64)>,
    triggers: Vec<u32>,
    all: bool,
}

fn epochs_of(steps: &[Step]) -> Vec<Epoch> {
    let mut epoch = 0;
    steps
        .iter()
        .map(|step| {
            epoch += step.gap;
            epoch
        })
        .collect()
}

/// The rule in words: a trigger poses what the key's rows are; while an answer is due, triggers wait for its effect;
/// without rows there is nothing to solve, and what stands is withdrawn.
#[derive(Default)]
struct Reference {
    /// Rows of each key, whatever their count.
    rows: BTreeMap<u32, BTreeMap<u8, i64>>,
    shared: BTreeMap<u8, i64>,
    due: BTreeMap<u32, Epoch>,
    waiting: BTreeMap<Epoch, BTreeSet<u32>>,
    standing: BTreeMap<u32, Vec<(Trace, u8)>>,
    previous: BTreeMap<u32, (u32, u64)>,
    told: Told<Change>,
}

impl Reference {
    fn pose(&mut self, epoch: Epoch, lead: u64, triggered: BTreeSet<u32>) {
        let present = |rows: &BTreeMap<u8, i64>| rows.iter().filter(|(_, count)| **count > 0).map(|(row, _)| *row).collect::<Vec<u8>>();
        for key in triggered {
            if let Some(due) = self.due.get(&key).filter(|due| **due > epoch) {
                self.waiting.entry(*due).or_default().insert(key);
                continue;
            }
            let rows = self.rows.get(&key).map(present).unwrap_or_default();
            let effect = epoch + lead;
            let mut answer = Vec::new();
            if rows.is_empty() {
                if !self.standing.contains_key(&key) {
                    continue;
                }
                self.previous.remove(&key);
            } else {
                let shared = present(&self.shared);
                let (solves, before) = self.previous.get(&key).copied().unwrap_or_default();
                let number = chain(before, key, epoch, &rows, &shared);
                self.previous.insert(key, (solves + 1, number));
                answer = vec![((key, epoch, effect, rows, shared, solves, number), 0), ((key, 0, 0, Vec::new(), Vec::new(), 0, 0), 1)];
            }
            self.due.insert(key, effect);
            let told = self.told.entry(effect).or_default();
            told.extend(self.standing.remove(&key).into_iter().flatten().map(|row| (row, -1)));
            told.extend(answer.iter().cloned().map(|row| (row, 1)));
            if !answer.is_empty() {
                self.standing.insert(key, answer);
            }
        }
    }

    /// Epochs at which triggers wait, before `epoch`.
    fn catch_up(&mut self, epoch: Epoch, lead: u64) {
        while let Some(entry) = self.waiting.first_entry().filter(|entry| *entry.key() < epoch) {
            let (due, keys) = entry.remove_entry();
            self.pose(due, lead, keys);
        }
    }

    fn run(steps: &[Step], lead: u64) -> Told<Change> {
        let mut reference = Self::default();
        let epochs = epochs_of(steps);
        for (step, epoch) in steps.iter().zip(&epochs) {
            reference.catch_up(*epoch, lead);
            let mut triggered = reference.waiting.remove(epoch).unwrap_or_default();
            for (key, row, change) in &step.rows {
                *reference.rows.entry(*key).or_default().entry(*row).or_insert(0) += change;
            }
            for (row, change) in &step.shared {
                *reference.shared.entry(*row).or_insert(0) += change;
            }
            triggered.extend(&step.triggers);
            if step.all {
                triggered.extend(reference.rows.keys());
            }
            reference.pose(*epoch, lead, triggered);
        }
        let last = epochs.last().copied().unwrap_or(0);
        reference.catch_up(last + 1, lead);
        let told = reference.told.into_iter().filter(|(epoch, _)| *epoch <= last);
        told.map(|(epoch, rows)| (epoch, consolidated(rows))).filter(|(_, rows)| !rows.is_empty()).collect()
    }
}

fn solved(workers: usize, steps: &[Step], lead: u64, pool: Pool) -> Told<Change> {
    let steps: Arc<Vec<Step>> = Arc::new(steps.to_vec());
    let epochs = epochs_of(&steps);
    let share = move |worker: usize, workers: usize, place: usize| {
        let step = &steps[place];
        let mine = |key: u32| (key as usize + place) % workers == worker;
        let worker = worker as u64;
        let mut rows: Vec<SolverInput<u8>> = Vec::new();
        rows.extend(step.triggers.iter().filter(|key| mine(**key)).map(|key| SolverInput::Trigger { key: *key }));
        rows.extend(step.shared.iter().map(|(row, change)| SolverInput::Shared { worker, row: *row, change: *change }));
        rows.extend(step.rows.iter().filter(|(key, ..)| mine(*key)).map(|(key, row, change)| SolverInput::Row {
            key: *key,
            row: *row,
            change: *change,
        }));
        rows.extend(step.all.then_some(SolverInput::TriggerAll { worker }));
        rows
    };
    let told = run(workers, &epochs, share, move |rows| {
        solver(rows, "Traced", &gridflow_operators::state::Registry::default(), lead, pool.clone(), trace()).inner
    });
    told.into_iter()
        .map(|(epoch, rows)| {
            assert!(rows.iter().all(|(_, stamped, _)| *stamped == epoch), "a row is stamped with another epoch than it was told at");
            (epoch, consolidated(rows.into_iter().map(|(row, _, change)| (row, change))))
        })
        .filter(|(_, rows)| !rows.is_empty())
        .collect()
}

/// Steps whose rows come and go: a row is only taken away where it is, so that multiplicities stay 0, 1 or 2.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let row = (0..4u32, 0..3u8, 0..3u8);
    let shared = (0..2u8, any::<bool>());
    let step = (
        prop_oneof![Just(1u64), Just(1), 2..9u64],
        prop::collection::vec(row, 0..4),
        prop::collection::vec(shared, 0..2),
        prop::collection::vec(0..5u32, 0..3),
        prop::bool::weighted(0.25),
    );
    prop::collection::vec(step, 1..24).prop_map(|drawn| {
        let mut held: BTreeMap<(u32, u8), i64> = BTreeMap::new();
        let mut held_shared: BTreeMap<u8, i64> = BTreeMap::new();
        drawn
            .into_iter()
            .map(|(gap, rows, shared, triggers, all)| {
                let rows = rows.into_iter().map(|(key, row, toss)| {
                    let count = held.entry((key, row)).or_insert(0);
                    let change = if *count == 2 || (*count > 0 && toss > 0) { -*count } else { 1 };
                    *count += change;
                    (key, row, change)
                });
                let rows = rows.collect();
                let shared = shared.into_iter().map(|(row, up)| {
                    let count = held_shared.entry(row).or_insert(0);
                    let change = if up || *count == 0 { 1 } else { -1 };
                    *count += change;
                    (row, change)
                });
                Step { gap, rows, shared: shared.collect(), triggers, all }
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn solves_follow_the_rule_whatever_the_lead(steps in steps(), lead in prop_oneof![Just(0u64), 1..12u64], workers in 1..4usize) {
        prop_assert_eq!(solved(workers, &steps, lead, inline_pool()), Reference::run(&steps, lead));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn how_long_solves_take_and_where_they_run_does_not_show(steps in steps(), lead in 0..10u64, seed: u64) {
        let expected = Reference::run(&steps, lead);
        for workers in 1..5 {
            let pool = slow_pool(workers, seed, Duration::from_millis(3));
            prop_assert_eq!(&solved(workers, &steps, lead, pool), &expected, "{} workers", workers);
        }
    }

    #[test]
    fn outputs_of_a_prefix_are_a_prefix_of_the_outputs(steps in steps(), lead in 0..10u64, cut in 0..24usize, seed: u64) {
        let kept = cut.min(steps.len() - 1) + 1;
        let last = epochs_of(&steps)[kept - 1];
        let whole = solved(2, &steps, lead, slow_pool(2, seed, Duration::from_millis(2)));
        let prefix = solved(2, &steps[..kept], lead, slow_pool(2, seed ^ 1, Duration::from_millis(2)));
        let expected: Told<_> = whole.into_iter().filter(|(epoch, _)| *epoch <= last).collect();
        prop_assert_eq!(prefix, expected);
    }
}

fn step(gap: u64, rows: &[(u32, u8, i64)], triggers: &[u32]) -> Step {
    Step { gap, rows: rows.to_vec(), triggers: triggers.to_vec(), ..Step::default() }
}

/// Effect and sealed epoch of each answer of a key that begins to hold, in order.
fn answers(told: &Told<Change>) -> Vec<(Epoch, Epoch, Vec<u8>)> {
    let begun = |(epoch, rows): (&Epoch, &Vec<Change>)| {
        let traces = rows.iter().filter(|((_, kind), change)| *kind == 0 && *change > 0);
        traces.map(|((trace, _), _)| (*epoch, trace.1, trace.3.clone())).collect::<Vec<_>>()
    };
    told.iter().flat_map(begun).collect()
}

#[test]
fn triggers_while_an_answer_is_due_merge_into_one_solve_at_its_effect() {
    let mut steps = vec![step(10, &[(1, 7, 1)], &[1])];
    steps.extend((11..=20).map(|_| step(1, &[(1, 8, 1)], &[1])));
    steps.push(step(30, &[], &[]));
    let told = solved(1, &steps, 10, inline_pool());
    // Posed at 10 and at 20; the trigger at 20 itself merges too.
    assert_eq!(answers(&told), [(20, 10, vec![7]), (30, 20, vec![7, 8])]);
}

#[test]
fn a_merged_solve_needs_no_row_at_its_epoch() {
    let steps = [step(10, &[(1, 7, 1)], &[1]), step(3, &[(1, 8, 1)], &[1]), step(40, &[], &[])];
    assert_eq!(answers(&solved(2, &steps, 10, inline_pool())), [(20, 10, vec![7]), (30, 20, vec![7, 8])]);
}

#[test]
fn an_answer_whose_effect_lies_beyond_the_end_stays_pending() {
    let steps = [step(10, &[(1, 7, 1)], &[1]), step(9, &[], &[])];
    assert_eq!(solved(2, &steps, 10, slow_pool(1, 1, Duration::from_millis(1))), BTreeMap::new());
    let longer = [step(10, &[(1, 7, 1)], &[1]), step(10, &[], &[])];
    assert_eq!(answers(&solved(2, &longer, 10, slow_pool(1, 1, Duration::from_millis(1)))), [(20, 10, vec![7])]);
}

#[test]
fn an_answer_is_withdrawn_when_the_rows_of_its_key_vanish() {
    let steps = [step(10, &[(1, 7, 1)], &[1]), step(10, &[(1, 7, -1)], &[1]), step(30, &[(1, 9, 1)], &[1]), step(30, &[], &[])];
    let told = solved(1, &steps, 5, inline_pool());
    let sums: Vec<(Epoch, i64)> = told.iter().map(|(epoch, rows)| (*epoch, rows.iter().map(|(_, change)| change).sum())).collect();
    assert_eq!(sums, [(15, 2), (25, -2), (55, 2)]);
    // A key that comes back starts without a past.
    let solves: Vec<u32> = told[&55].iter().map(|((trace, _), _)| trace.5).collect();
    assert_eq!(solves, [0, 0]);
}

/// A withdrawal that has to wait for a slow solve, and one that does not, must merge later triggers alike.
#[test]
fn a_key_that_comes_back_is_solved_at_the_same_epoch_however_long_the_solve_before_took() {
    let steps = [step(10, &[(1, 7, 1)], &[1]), step(10, &[(1, 7, -1)], &[1]), step(4, &[(1, 8, 1)], &[1]), step(60, &[], &[])];
    let expected = Reference::run(&steps, 10);
    assert_eq!(answers(&expected), [(20, 10, vec![7]), (40, 30, vec![8])]);
    assert_eq!(solved(1, &steps, 10, inline_pool()), expected);
    assert_eq!(solved(1, &steps, 10, slow_pool(1, 3, Duration::from_millis(40))), expected);
}

#[test]
fn a_retry_is_told_as_such_unless_the_key_was_asked_for_besides() {
    let epochs = [1_000, 2_000, 3_000, 4_000];
    let told = run(
        1,
        &epochs,
        |_, _, place| match place {
            0 => vec![SolverInput::Row { key: 7, row: 1u8, change: 1 }, SolverInput::Trigger { key: 7 }],
            1 => vec![SolverInput::Retry { key: 7 }],
            2 => vec![SolverInput::Retry { key: 7 }, SolverInput::Trigger { key: 7 }],
            // Nothing to solve, and nothing to withdraw.
            _ => vec![SolverInput::Retry { key: 8 }],
        },
        |rows| {
            let solve: Solve<u8, (), (u32, Epoch, bool)> =
                Arc::new(|problem| Answer { previous: (), rows: vec![(problem.key, problem.epoch, problem.retry)] });
            solver(rows, "Retries", &Default::default(), 0, inline_pool(), solve).inner
        },
    );
    let begun: Vec<_> = told.values().flatten().filter(|(.., change)| *change == 1).map(|(row, ..)| *row).collect();
    assert_eq!(begun, [(7, 1_000, false), (7, 2_000, true), (7, 3_000, false)]);
}
