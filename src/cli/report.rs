//! What commands print: progress on a terminal, summaries on standard output.

use std::collections::BTreeMap;
use std::io::IsTerminal;

use gridflow::journal::StreamSummary;
use gridflow::leadership::Cause;
use gridflow::metrics::MetricsSummary;
use gridflow::replay::ReplaySummary;
use gridflow::running::RunSummary;
use gridflow::simulate::SimulationSummary;
use gridflow::workload::Workload;
use gridflow_numerics::case::MergedBus;
use indicatif::{ProgressBar, ProgressStyle};

use super::output::say;

/// Whether a person watches.
pub(crate) fn on_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// A progress bar on a terminal; nothing in a pipe.
pub(crate) fn progress(length: u64, what: &'static str) -> ProgressBar {
    if !on_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} {bar:40} {percent}% {elapsed} (about {eta} left)").expect("the template is valid");
    ProgressBar::new(length).with_style(style).with_message(what)
}

/// Number of worker threads when none is asked for: all cores.
pub(crate) fn all_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A number with thin groups of three, for reading.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Buses that became a part of another, as JSON.
pub(crate) fn merged(buses: &[MergedBus]) -> serde_json::Value {
    buses.iter().map(|row| serde_json::json!({ "bus": row.bus.0, "into": row.into.0 })).collect()
}

/// Prints a value as one line of JSON.
pub(crate) fn json(value: &impl serde::Serialize) {
    say!("{}", serde_json::to_string(value).expect("summaries are plain data"));
}

/// Prints a replay for reading.
pub(crate) fn replay(summary: &ReplaySummary) {
    let ReplaySummary { summary, verified, difference } = summary;
    say!(
        "region {}: {} rows in {} epochs, {} workers, {:.1} s",
        summary.region,
        grouped(summary.rows),
        grouped(summary.epochs),
        summary.workers,
        summary.seconds
    );
    streams(&summary.streams);
    metrics(&summary.metrics);
    say!("digest {}", summary.digest);
    say!("fingerprint {}", summary.fingerprint);
    if let Some(torn) = &summary.torn {
        say!(
            "the log's end is torn: {} bytes of segment {} from byte {} hold no complete epoch and were left out",
            torn.bytes,
            torn.segment,
            torn.offset
        );
    }
    match (difference, verified) {
        (Some(first), _) => {
            say!("DIFFERS first at epoch {}, stream {}, row {}", first.epoch, first.stream, first.row);
            say!("  expected {}", first.expected.as_deref().unwrap_or("nothing"));
            say!("  found    {}", first.found.as_deref().unwrap_or("nothing"));
        }
        (None, Some(_)) => say!("verified: the same rows in every stream"),
        (None, None) => {}
    }
    if summary.interrupted {
        say!("stopped by Ctrl-C at epoch {}; run again for the rest", summary.last_epoch.unwrap_or(0));
    }
}

/// Prints a run for reading.
pub(crate) fn run(run: &RunSummary) {
    let summary = &run.summary;
    say!(
        "region {}: {} rows in {} epochs since the first start, {} workers, {:.1} s",
        summary.region,
        grouped(summary.rows),
        grouped(summary.epochs),
        summary.workers,
        summary.seconds
    );
    match run.resumed_from {
        Some(epoch) => say!("went on behind epoch {epoch}, after {:.2} s", run.start_seconds),
        None => say!("started with the log's first epoch"),
    }
    match (run.term, run.took_over) {
        (Some(term), Some(cause)) => {
            say!("took over in term {term}: {}", if cause == Cause::Order { "the log ordered it" } else { "the leader's lease lapsed" })
        }
        (Some(term), None) if term > 0 => say!("led in term {term}"),
        (None, _) => say!("followed: {} epochs of streams equal to the leader's", grouped(run.compared)),
        _ => {}
    }
    if run.handed_over {
        say!("handed over, as the log ordered");
    }
    streams(&summary.streams);
    say!("checkpoints {}, the newest {} bytes", grouped(run.checkpoints), grouped(run.checkpoint_bytes));
    metrics(&summary.metrics);
    say!("digest {}", summary.digest);
    say!("fingerprint {}", summary.fingerprint);
    if summary.interrupted {
        say!("stopped by Ctrl-C at epoch {}; start again to go on", summary.last_epoch.unwrap_or(0));
    }
}

fn streams(streams: &BTreeMap<String, StreamSummary>) {
    say!("  {:<18} {:>12}  digest", "stream", "changes");
    for (name, stream) in streams {
        say!("  {:<18} {:>12}  {}", name, grouped(stream.rows), &stream.digest[..16]);
    }
}

/// Prints rate, processor time and the slowest streams.
fn metrics(metrics: &MetricsSummary) {
    let cpu = metrics.cpu_seconds.map_or(String::new(), |cpu| format!(", {cpu:.1} s of processor time"));
    let memory = metrics.peak_memory_bytes.map_or(String::new(), |bytes| format!(", at most {} MB of memory", grouped(bytes >> 20)));
    say!("{} rows a second{cpu}{memory}, lag at most {} ms", grouped(metrics.rows_per_second as u64), grouped(metrics.lag_ms_max));
    for (stream, latency) in &metrics.latency_ms {
        say!(
            "  {:<18} {:>8} epochs sealed after {:.1} ms (half), {:.1} ms (99 of 100), {:.1} ms (all)",
            stream,
            grouped(latency.count),
            latency.p50,
            latency.p99,
            latency.max
        );
    }
}

/// Prints what a simulation did, for reading.
pub(crate) fn simulation(summary: &SimulationSummary) {
    say!(
        "  {} sensors took {} readings; lost {}, late by 60 s and more {}, duplicates {}, corrections {}, bad quality {}, gross errors {}",
        grouped(summary.sensors),
        grouped(summary.readings),
        grouped(summary.lost),
        grouped(summary.very_slow),
        grouped(summary.duplicates),
        grouped(summary.corrections + summary.late_corrections),
        grouped(summary.bad_quality),
        grouped(summary.gross_errors)
    );
    say!(
        "  {} power flows; {} from a second start, {} with held loads, {} with a held state; {} dispatches, {} by merit order alone",
        grouped(summary.steps),
        summary.retried_flat,
        summary.held_loads,
        summary.held_state,
        summary.dispatches,
        summary.dispatches_by_merit
    );
    for (event_ms, happening) in &summary.happenings {
        say!("  {}  {happening:?}", gridflow_inputs::time::format_rfc3339(*event_ms));
    }
}

/// Prints what a workload holds, for reading.
pub(crate) fn workload(written: &Workload) {
    let summary = &written.summary;
    say!("{} records in {} epochs", grouped(summary.records), grouped(summary.epochs));
    say!(
        "  {} readings of {} sensors: {} under 2 s late, {} 2 to 30 s, {} 60 to 300 s; {} bad",
        grouped(summary.readings),
        grouped(u64::from(written.config.sensors)),
        grouped(summary.fast),
        grouped(summary.slow),
        grouped(summary.very_slow),
        grouped(summary.bad)
    );
    say!("  {} duplicates, {} corrections, {} moves", grouped(summary.duplicates), grouped(summary.corrections), grouped(summary.moves));
}
