//! What a replay or a run came to, in so far as both tell it.

use std::collections::BTreeMap;

use gridflow_inputs::Epoch;
use gridflow_inputs::log::Torn;
use serde::Serialize;

use crate::journal::StreamSummary;
use crate::metrics::MetricsSummary;

/// Rows in, streams out, and what it took.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Name of the region.
    pub region: String,
    /// Input rows without ticks; of a run, over all restarts.
    pub rows: u64,
    /// Epochs; of a run, over all restarts.
    pub epochs: u64,
    /// First epoch.
    pub first_epoch: Option<Epoch>,
    /// Last epoch.
    pub last_epoch: Option<Epoch>,
    /// Digest of all streams since the first epoch.
    pub digest: String,
    /// Each stream.
    pub streams: BTreeMap<String, StreamSummary>,
    /// Build and kind of machine the bits are promised for.
    pub fingerprint: String,
    /// Worker threads of this process.
    pub workers: usize,
    /// Wall time.
    pub seconds: f64,
    /// Whether Ctrl-C stopped it.
    pub interrupted: bool,
    /// The torn end of the log, if it is torn.
    pub torn: Option<Torn>,
    /// What the engine tells of itself, of this start.
    #[serde(flatten)]
    pub metrics: MetricsSummary,
    /// Bytes of state by operator at the end.
    pub state_bytes: BTreeMap<String, u64>,
}
