//! The engine's own answer to W1: what its `window` stream tells of feeders when it replays the workload's log, as the
//! changelog that the floors tell, so that both can be compared to the byte.
//!
//! A log without moves and repetitions asks T1 (each good record counts, and is the last of its key), any other T2.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use gridflow::engine::EngineConfig;
use gridflow::replay::{ReplayConfig, replay};
use gridflow::workload::START_MS;
use gridflow_inputs::input::Quantity;
use gridflow_inputs::log::StreamReader;
use gridflow_operators::decision::{Window, WindowScope};

use super::{Account, Change, TICK_MS, Told, WINDOW_MS};

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
    let mut told = Told::new();
    for epoch in StreamReader::<Window>::open(&out.path().join("out/window"), "window").expect("the engine has such a stream") {
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
