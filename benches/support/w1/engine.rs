//! The engine's own answer to W1: what its `window` stream tells of feeders when it replays the workload's log or is fed
//! from the workload's file, as the changelog that the floors tell, so that both can be compared to the byte; and its
//! telemetry operator and accounts alone, fed from memory.
//!
//! A log without moves and repetitions asks T1 (each good record counts, and is the last of its key), any other T2.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use crossbeam_channel::bounded;
use gridflow::engine::{self, EngineConfig, Outlet};
use gridflow::journal::Journal;
use gridflow::metrics::Metrics;
use gridflow::replay::{ReplayConfig, replay};
use gridflow::workload::{START_MS, WORKLOAD_REGION, WorkloadConfig};
use gridflow_inputs::Input;
use gridflow_inputs::input::Quantity;
use gridflow_inputs::log::{EpochBatch, StreamReader};
use gridflow_operators::accounts::{AccountInput, Accounts};
use gridflow_operators::decision::{Output, Window, WindowScope};
use gridflow_operators::seal::Sealed;
use gridflow_operators::sealed::Clock;
use gridflow_operators::telemetry::{Bounds, Telemetry, TelemetryOutput};

use super::fed::Epochs;
use super::reader::read;
use super::{Account, Change, TICK_MS, Told, WINDOW_MS};
use crate::support::machine::cpu_seconds;

/// Epochs read ahead of the engine.
const READ_AHEAD: usize = 16;

/// An account with its (minute, feeder), or why the engine's row holds none.
type Placed = Result<((u32, u32), Account), &'static str>;

/// The account of a row; `None` for another kind of window.
fn account(row: &Window) -> Option<Placed> {
    let of_feeder = row.scope == WindowScope::Feeder && row.quantity == Quantity::MeteredPower && row.length_ms == i64::from(WINDOW_MS);
    of_feeder.then(|| {
        let minute = (row.start_ms - START_MS as i64) / i64::from(WINDOW_MS);
        let max = match row.max {
            Some(max) => i32::try_from(max).expect("values of the workload fit"),
            None if row.count == 0 => 0,
            None => return Err("its windows of feeders carry no maximum yet"),
        };
        let sum = i64::try_from(row.sum).expect("sums of the workload fit");
        let count = u32::try_from(row.count).expect("counts of the workload fit");
        Ok(((u32::try_from(minute).expect("no window before the start"), row.id), Account { sum, count, max }))
    })
}

/// Replays a log with epochs of a tick and tells what the engine told; or why that is no answer to W1 yet.
pub fn listen(log: &Path, workers: usize) -> Result<Told, &'static str> {
    let out = tempfile::tempdir().expect("a temporary directory");
    let config = ReplayConfig {
        log: log.to_owned(),
        engine: EngineConfig { workers, ..EngineConfig::default() },
        out: Some(out.path().join("out")),
        ..ReplayConfig::default()
    };
    replay(&config, &AtomicBool::new(false), &mut ()).expect("the workload's log can be replayed");
    told_in(&out.path().join("out"))
}

/// What the engine told of feeders in an output directory.
pub fn told_in(out: &Path) -> Result<Told, &'static str> {
    let mut told = Told::new();
    for epoch in StreamReader::<Window>::open(&out.join("window"), "window").expect("the engine has such a stream") {
        let epoch = epoch.expect("what was just written is whole");
        let mut changes: BTreeMap<(u32, u32), Change> = BTreeMap::new();
        for (row, difference) in &epoch.rows {
            let Some(found) = account(row) else { continue };
            let (key, account) = found?;
            let change =
                changes.entry(key).or_insert(Change { minute: key.0, feeder: key.1, old: Account::default(), new: Account::default() });
            match difference {
                1 => change.new = account,
                -1 => change.old = account,
                _ => panic!("a window is told {difference} times"),
            }
        }
        // A new revision may tell of squares alone.
        let changes: Vec<Change> = changes.into_values().filter(|change| change.old != change.new).collect();
        let tick = (epoch.epoch - START_MS) / u64::from(TICK_MS);
        told.take(u32::try_from(tick).expect("ticks of the workload fit"), &changes);
    }
    Ok(told)
}

struct Written(Journal);

impl Outlet for Written {
    fn sealed(&mut self, sealed: Sealed) -> bool {
        self.0.take(sealed);
        self.0.is_sound()
    }
}

/// Runs a file of the workload through the whole engine, one worker, into a new output directory; the rows fed.
///
/// The file is read on a thread of its own, so that its form is the feeder's only work.
pub fn run_file(file: &Path, config: WorkloadConfig, out: &Path) -> u64 {
    let mut outlet = Written(Journal::open(WORKLOAD_REGION, Some(out), 0, None).expect("the directory is new"));
    let (sender, receiver) = bounded::<EpochBatch>(READ_AHEAD);
    let report = std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut epochs = Epochs::new(config);
            // Fails only when the engine is gone, and then it has said why.
            let mut give = |batch| drop(sender.send(batch));
            read(file, |record| epochs.take(record, &mut give)).expect("the file is one of the workload");
            epochs.end(&mut give);
        });
        let (config, stop) = (EngineConfig::default(), AtomicBool::new(false));
        engine::run(&config, receiver.into_iter().map(Ok), &stop, |_| (), &mut outlet, &Metrics::start()).expect("the engine runs")
    });
    outlet.0.close(report.totals.span.map(|(_, last)| last)).expect("the outputs can be written");
    report.totals.rows
}

/// Telemetry and the accounts it feeds, on this thread and without a dataflow, as one worker's operators are.
pub struct Alone {
    telemetry: Telemetry,
    accounts: Accounts,
    told: Vec<TelemetryOutput>,
    inputs: Vec<AccountInput>,
    rows: Vec<(Output, i64)>,
    /// CPU seconds in telemetry.
    pub telemetry_seconds: f64,
    /// CPU seconds in the accounts.
    pub accounts_seconds: f64,
    /// Rows told to streams: windows of sensors, buses, feeders and zones, of all lengths, and all else.
    pub rows_told: u64,
}

impl Alone {
    pub fn new() -> Self {
        let (told, inputs, rows) = (Vec::new(), Vec::new(), Vec::new());
        let (telemetry, accounts) = (Telemetry::new(0, 1), Accounts::new(1));
        Self { telemetry, accounts, told, inputs, rows, telemetry_seconds: 0.0, accounts_seconds: 0.0, rows_told: 0 }
    }

    /// Takes the next epoch.
    pub fn take(&mut self, batch: &EpochBatch) {
        let start = cpu_seconds();
        self.telemetry.apply(batch, &mut self.told);
        let applied = cpu_seconds();
        for told in self.told.drain(..) {
            match told {
                TelemetryOutput::Partial(partial) => self.inputs.push(AccountInput::Partial(partial)),
                told => self.rows_told += u64::from(matches!(black_box(told), TelemetryOutput::Row(..))),
            }
        }
        let mut ticks = Vec::new();
        for (sequence, row) in &batch.rows {
            match row {
                Input::Region(region) => {
                    let (worker, sequence, bounds) = (0, *sequence, Bounds::from(region));
                    self.inputs.push(AccountInput::Lateness { worker, sequence, bounds });
                }
                Input::Tick(tick) => ticks.push(tick.clone()),
                _ => {}
            }
        }
        self.inputs.push(AccountInput::Clock(Clock { worker: 0, ticks }));
        self.accounts.apply(batch.epoch, &mut self.inputs, &mut self.rows);
        self.rows_told += self.rows.len() as u64;
        black_box(&mut self.rows).clear();
        self.accounts_seconds += cpu_seconds() - applied;
        self.telemetry_seconds += applied - start;
    }

    /// Bytes of state by part.
    pub fn bytes(&self) -> Vec<(&'static str, usize)> {
        self.telemetry.memory_bytes().into_iter().chain(self.accounts.memory_bytes()).collect()
    }
}
