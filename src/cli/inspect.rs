//! `gridflow inspect`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use gridflow::{EXIT_BAD_INPUT, EXIT_DONE, journal};
use gridflow_inputs::log::{INPUT_STREAM, Inspection, LogReader, inspect};
use gridflow_operators::decision::Stream;

use super::output::{is_heard, say};
use super::{Failed, report};

#[derive(Args)]
#[command(
    after_help = "Works on input logs and on each stream of an output directory (DIR/estimate, DIR/price …). Every checksum is tested. Exit code 3 when the log is damaged."
)]
pub(crate) struct InspectArguments {
    /// Directory of the log.
    log: PathBuf,
    /// Print the first N rows too: of an output stream its changes, `+1` when a row begins to hold, `-1` when it ceases to.
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "json")]
    rows: usize,
    /// Print one line of JSON on standard output.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &InspectArguments) -> Result<i32, Failed> {
    let found = inspect(&arguments.log)?;
    if arguments.json {
        report::json(&found);
    } else {
        print(&found);
        if arguments.rows > 0 {
            print_rows(&arguments.log, &found, arguments.rows)?;
        }
    }
    Ok(if found.damage.is_some() { EXIT_BAD_INPUT } else { EXIT_DONE })
}

fn print(found: &Inspection) {
    let grouped = report::grouped;
    say!("stream {} of region {}, format {}", found.header.stream, found.header.region, gridflow_inputs::log::FORMAT_VERSION);
    say!("{} segments, {} bytes, {} epochs, {} rows", found.segments, grouped(found.bytes), grouped(found.epochs), grouped(found.rows));
    if let (Some(first), Some(last)) = (found.first_epoch, found.last_epoch) {
        say!("epochs {first} to {last}: {:.1} hours", (last - first) as f64 / 3.6e6);
    }
    say!("  {:<18} {:>14} {:>14} {:>8}  event times", "kind", "rows", "bytes", "B/row");
    for kind in &found.kinds {
        let span = match (kind.event_first, kind.event_last) {
            (Some(first), Some(last)) => format!("{first} to {last}"),
            _ => "-".into(),
        };
        let per_row = kind.bytes as f64 / kind.rows.max(1) as f64;
        say!("  {:<18} {:>14} {:>14} {:>8.2}  {span}", kind.name, grouped(kind.rows), grouped(kind.bytes), per_row);
    }
    if let Some(torn) = &found.torn {
        say!("torn end: {} bytes of segment {} from byte {} hold no complete epoch", torn.bytes, torn.segment, torn.offset);
    }
    for ignored in &found.ignored {
        say!(
            "ignored: {} bytes of term {} in segment {}, behind the fence of a later term",
            grouped(ignored.bytes),
            ignored.term,
            ignored.segment
        );
    }
    match &found.damage {
        Some(damage) => say!("DAMAGED: {damage}"),
        None => say!("no damage"),
    }
}

/// Rows as they are named in the code, one a line, behind their epoch, until there are no more or nobody listens.
fn print_rows(log: &Path, found: &Inspection, count: usize) -> Result<(), Failed> {
    let mut left = count;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if found.header.stream == INPUT_STREAM {
        for batch in LogReader::open(log)? {
            let batch = batch?;
            for (sequence, row) in batch.iter().take(left) {
                if !is_heard(writeln!(out, "{} {sequence} {row:?}", batch.epoch)) {
                    return Ok(());
                }
            }
            left = left.saturating_sub(batch.len());
            if left == 0 {
                break;
            }
        }
        is_heard(out.flush());
        return Ok(());
    }
    let Some(stream) = Stream::from_name(&found.header.stream) else { return Ok(()) };
    for epoch in journal::read_log(log, stream)? {
        let (epoch, rows) = epoch?;
        for (row, change) in rows.iter().take(left) {
            if !is_heard(writeln!(out, "{epoch} {change:+} {row:?}")) {
                return Ok(());
            }
        }
        left = left.saturating_sub(rows.len());
        if left == 0 {
            break;
        }
    }
    is_heard(out.flush());
    Ok(())
}
