//! Replay: a recorded log through the engine, to digests, an output log, and a comparison with an earlier one.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use gridflow_inputs::Epoch;
use gridflow_inputs::log::{LogError, LogReader};
use gridflow_operators::seal::Sealed;
use serde::Serialize;

use crate::clock::Stopwatch;
use crate::engine::{self, EngineConfig, EngineError, Outlet};
use crate::journal::{Difference, Journal, JournalError};
use crate::metrics::Metrics;
use crate::summary::Summary;

/// What to replay and how.
#[derive(Clone, Debug, Default)]
pub struct ReplayConfig {
    /// The input log.
    pub log: PathBuf,
    /// Workers, processes, pace.
    pub engine: EngineConfig,
    /// Outputs of earlier epochs are computed and not written.
    pub from: Option<Epoch>,
    /// The last epoch to feed.
    pub to: Option<Epoch>,
    /// Where to write the output log.
    pub out: Option<PathBuf>,
    /// An earlier output log to compare with.
    pub verify: Option<PathBuf>,
}

/// What a replay came to. Serialised, this is what `--json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct ReplaySummary {
    /// What any run tells.
    #[serde(flatten)]
    pub summary: Summary,
    /// Whether the outputs agree with those given to compare with; absent when none were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<bool>,
    /// The first difference from them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<Difference>,
}

/// Why a replay failed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The input log cannot be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The engine stopped.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The outputs cannot be kept or compared.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The log has no epoch.
    #[error("the log at {} holds no complete epoch: record one with `gridflow simulate`", log.display())]
    Empty {
        /// The log.
        log: PathBuf,
    },
}

/// Watches a replay: called with each epoch as it is fed, and with each sealed epoch before it is kept.
pub trait Watch: Send {
    /// An epoch is fed.
    fn fed(&mut self, _epoch: Epoch) {}
    /// An epoch of a stream is sealed.
    fn sealed(&mut self, _sealed: &Sealed) {}
}

impl Watch for () {}

/// Keeps what is sealed, and lets a watch see it first.
struct Kept<'a, 'b> {
    watch: &'a Mutex<&'b mut (dyn Watch + 'b)>,
    journal: Journal,
}

impl Outlet for Kept<'_, '_> {
    fn sealed(&mut self, sealed: Sealed) -> bool {
        self.watch.lock().expect("watches do not panic").sealed(&sealed);
        self.journal.take(sealed);
        self.journal.is_sound()
    }
}

/// Opens a log; its header names the region.
///
/// # Errors
/// When there is no readable log.
pub fn open(log: &Path) -> Result<LogReader, LogError> {
    LogReader::open(log)
}

/// Replays a log.
///
/// # Errors
/// When the log, the engine or the output directory fails; see [`ReplayError`].
pub fn replay(config: &ReplayConfig, stop: &AtomicBool, watch: &mut dyn Watch) -> Result<ReplaySummary, ReplayError> {
    let stopwatch = Stopwatch::start();
    let reader = Mutex::new(open(&config.log)?);
    let region = reader.lock().expect("not yet shared").header().region.clone();
    let first_process = config.engine.cluster.as_ref().is_none_or(|cluster| cluster.process == 0);
    let out = config.out.as_deref().filter(|_| first_process);
    let verify = config.verify.as_deref().filter(|_| first_process);
    let journal = Journal::open(&region, out, config.from.unwrap_or(0), verify)?;
    let watch: Mutex<&mut dyn Watch> = Mutex::new(watch);
    let metrics = Metrics::start();

    let last = config.to.unwrap_or(Epoch::MAX);
    let epochs = std::iter::from_fn(|| reader.lock().expect("one reader").next())
        .take_while(|batch| batch.as_ref().map_or(true, |batch| batch.epoch <= last));
    let mut outlet = Kept { watch: &watch, journal };
    let report = engine::run(
        &config.engine,
        epochs,
        stop,
        |batch| watch.lock().expect("watches do not panic").fed(batch.epoch),
        &mut outlet,
        &metrics,
    );
    // What was sealed is kept even when the input turned out to be damaged further on.
    let totals = report.as_ref().map(|report| report.totals).unwrap_or_default();
    let kept = outlet.journal.close(totals.span.map(|(_, last)| last));
    let report = report?;
    let kept = kept?;
    if totals.epochs == 0 && !report.interrupted {
        return Err(ReplayError::Empty { log: config.log.clone() });
    }
    let torn = reader.into_inner().expect("one reader").torn().cloned();
    let (first_epoch, last_epoch) = totals.span.unzip();
    let summary = Summary {
        region,
        rows: totals.rows,
        epochs: totals.epochs,
        first_epoch,
        last_epoch,
        digest: kept.digests.digest,
        streams: kept.digests.streams,
        fingerprint: kept.digests.fingerprint,
        workers: config.engine.workers,
        seconds: stopwatch.elapsed().as_secs_f64(),
        interrupted: report.interrupted,
        torn,
        metrics: metrics.summary(totals.rows),
        state_bytes: report.state_bytes,
    };
    Ok(ReplaySummary { summary, verified: verify.map(|_| kept.difference.is_none()), difference: kept.difference })
}
