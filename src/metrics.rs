//! What the engine tells of itself: latency from arrival to sealed output by stream, rate, lag, processor time, memory.
//!
//! Latencies run from the moment an epoch was complete (in a paced run: was due to be) to the moment its changes were
//! taken by the outlet, in HDR histograms of microseconds with two digits. Metrics are read from the wall clock and
//! never reach a row.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use gridflow_inputs::Epoch;
use gridflow_operators::decision::Stream;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::clock::Stopwatch;

/// Epochs whose arrival is remembered: more than may be in flight, so that none is forgotten before it is sealed.
const REMEMBERED: usize = 4_096;
/// Longest latency that is told apart from longer ones.
const LONGEST_US: u64 = 3_600_000_000;

/// Latency of a stream, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// Sealed epochs with changes.
    pub count: u64,
    /// Half of them were faster.
    pub p50: f64,
    /// 99 of 100 were faster.
    pub p99: f64,
    /// 999 of 1,000 were faster.
    pub p999: f64,
    /// The slowest.
    pub max: f64,
}

struct Measured {
    /// When each epoch was complete.
    arrived: BTreeMap<Epoch, Duration>,
    latency: BTreeMap<Stream, Histogram<u64>>,
    newest_fed: Option<Epoch>,
    /// Newest epoch sealed by any stream, and the greatest distance of it to the newest fed.
    newest_sealed: Option<Epoch>,
    lag_max: u64,
    stood_max: Option<Duration>,
}

/// Measures a run.
pub struct Metrics {
    watch: Stopwatch,
    cpu_at_start: Option<f64>,
    measured: Mutex<Measured>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::start()
    }
}

impl Metrics {
    /// Starts measuring.
    #[must_use]
    pub fn start() -> Self {
        let (arrived, latency) = (BTreeMap::new(), BTreeMap::new());
        let measured = Measured { arrived, latency, newest_fed: None, newest_sealed: None, lag_max: 0, stood_max: None };
        Self { watch: Stopwatch::start(), cpu_at_start: cpu_seconds(), measured: Mutex::new(measured) }
    }

    /// An epoch is fed that has waited for `waited` since it was complete.
    pub(crate) fn fed(&self, epoch: Epoch, waited: Duration) {
        let arrived = self.watch.elapsed().saturating_sub(waited);
        let mut measured = self.measured.lock().expect("measuring does not panic");
        measured.arrived.insert(epoch, arrived);
        if measured.arrived.len() > REMEMBERED {
            measured.arrived.pop_first();
        }
        measured.newest_fed = Some(epoch);
        let lag = measured.newest_sealed.map_or(0, |sealed| epoch.saturating_sub(sealed));
        measured.lag_max = measured.lag_max.max(lag);
    }

    /// The changes of a stream in an epoch were taken.
    pub(crate) fn sealed(&self, stream: Stream, epoch: Epoch) {
        let now = self.watch.elapsed();
        let mut measured = self.measured.lock().expect("measuring does not panic");
        measured.newest_sealed = measured.newest_sealed.max(Some(epoch));
        // Answers take effect at epochs of their own; where no rows came in at one, nothing arrived.
        let Some(arrived) = measured.arrived.get(&epoch).copied() else { return };
        let histogram = measured
            .latency
            .entry(stream)
            .or_insert_with(|| Histogram::new_with_max(LONGEST_US, 2).expect("two digits up to an hour can be told apart"));
        histogram.saturating_record(now.saturating_sub(arrived).as_micros() as u64);
    }

    /// A worker fed nothing for so long, to save its states.
    pub(crate) fn stood(&self, stood: Duration) {
        let mut measured = self.measured.lock().expect("measuring does not panic");
        measured.stood_max = measured.stood_max.max(Some(stood));
    }

    /// What was measured so far, of `rows` fed.
    #[must_use]
    pub fn summary(&self, rows: u64) -> MetricsSummary {
        let measured = self.measured.lock().expect("measuring does not panic");
        let seconds = self.watch.elapsed().as_secs_f64();
        let cpu = cpu_seconds().zip(self.cpu_at_start).map(|(now, then)| now - then);
        let latency_ms = measured.latency.iter().map(|(stream, histogram)| {
            let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
            let latency =
                Latency { count: histogram.len(), p50: at(0.5), p99: at(0.99), p999: at(0.999), max: histogram.max() as f64 / 1_000.0 };
            (stream.name().to_owned(), latency)
        });
        MetricsSummary {
            rows_per_second: rows as f64 / seconds.max(1e-9),
            cpu_seconds: cpu,
            rows_per_cpu_second: cpu.filter(|cpu| *cpu > 0.0).map(|cpu| rows as f64 / cpu),
            peak_memory_bytes: peak_memory_bytes(),
            lag_ms_max: measured.lag_max,
            save_ms_max: measured.stood_max.map(|stood| stood.as_secs_f64() * 1_000.0),
            latency_ms: latency_ms.collect(),
        }
    }
}

/// What was measured. Serialised, it is part of what `--json` prints.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MetricsSummary {
    /// Rows fed per second of wall time.
    pub rows_per_second: f64,
    /// Processor time of this process, all threads; where the system tells.
    pub cpu_seconds: Option<f64>,
    /// Rows fed per second of processor time.
    pub rows_per_cpu_second: Option<f64>,
    /// Most memory this process ever held; where the system tells.
    pub peak_memory_bytes: Option<u64>,
    /// Greatest distance between the newest epoch fed and the newest sealed by any stream, milliseconds of epoch time.
    pub lag_ms_max: u64,
    /// Longest a worker fed nothing so as to save its states; `None` when nothing was saved.
    pub save_ms_max: Option<f64>,
    /// Latency from arrival to sealed output, by stream.
    pub latency_ms: BTreeMap<String, Latency>,
}

/// Processor time of this process so far.
fn cpu_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in parentheses, may hold anything; behind it utime and stime are the 12th and 13th.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    // Linux counts these in hundredths of a second on every platform it gives a /proc to.
    Some((user + system) / 100.0)
}

/// Most memory this process ever held.
fn peak_memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_counts_from_when_an_epoch_was_complete() {
        let metrics = Metrics::start();
        metrics.fed(1_000, Duration::from_millis(250).min(metrics.watch.elapsed()));
        std::thread::sleep(Duration::from_millis(20));
        metrics.sealed(Stream::Alarm, 1_000);
        metrics.sealed(Stream::Alarm, 31_000);
        let summary = metrics.summary(10);
        let latency = summary.latency_ms["alarm"];
        assert_eq!(latency.count, 1, "nothing arrived at epoch 31,000");
        assert!(latency.p50 >= 20.0 && latency.max >= latency.p50, "{latency:?}");
    }

    #[test]
    fn the_system_tells_time_and_memory_where_it_has_them() {
        if std::path::Path::new("/proc/self/stat").exists() {
            assert!(cpu_seconds().is_some_and(|seconds| seconds >= 0.0));
            assert!(peak_memory_bytes().is_some_and(|bytes| bytes > 1 << 20));
        } else {
            println!("skipped: no /proc here");
        }
    }
}
