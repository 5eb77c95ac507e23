//! What is in a log, without replaying it: sizes, epochs, rows by kind, and the first thing that is wrong with it.
//!
//! Everything is read and every checksum tested, so that a log this calls whole can be read whole.

use super::layout::{Ignored, Layout};
use super::reader::{Block, BlockReader};
use super::rows::input_batch;
use super::{Header, INPUT_STREAM, LogError, Torn, generation, io_error};
use crate::input::{Epoch, Kind};
use crate::row::Column;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What is in a log.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Inspection {
    /// What the log is.
    pub header: Header,
    /// Whether this build's row shapes are the log's; `None` for output streams, whose shape is not known here.
    pub schema_known: Option<bool>,
    /// The newest leadership term beside the log; 0 before the first was claimed.
    pub term: u64,
    /// Number of segment files.
    pub segments: u32,
    /// Their bytes, as far as they belong to the log.
    pub bytes: u64,
    /// Bytes that superseded leaders left: no part of the log.
    pub ignored: Vec<Ignored>,
    /// Complete epochs.
    pub epochs: u64,
    /// The first of them.
    pub first_epoch: Option<Epoch>,
    /// The last of them.
    pub last_epoch: Option<Epoch>,
    /// Rows in them.
    pub rows: u64,
    /// The same by kind, in the order of their numbers.
    pub kinds: Vec<KindInspection>,
    /// The torn end, if it is torn.
    pub torn: Option<Torn>,
    /// The first damage, in words; what lies behind it is not counted.
    pub damage: Option<String>,
}

/// What a log holds of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct KindInspection {
    /// Number of the kind.
    pub code: u16,
    /// Its name, where known.
    pub name: String,
    /// Rows.
    pub rows: u64,
    /// Bytes in the files, frame headers included.
    pub bytes: u64,
    /// Bytes of the columns before compression.
    pub raw_bytes: u64,
    /// Least event time, in the unit of the kind's time field, where it has one.
    pub event_first: Option<i64>,
    /// Greatest event time.
    pub event_last: Option<i64>,
}

/// Reads the log in `dir` from end to end and counts.
///
/// # Errors
/// When there is no log or its first header cannot be read; damage behind that is part of the answer.
pub fn inspect(dir: &Path) -> Result<Inspection, LogError> {
    let mut reader = BlockReader::open(dir)?;
    let header = reader.header().clone();
    let mut layout = Layout::load(dir)?;
    let segments = layout.count()?;
    let mut bytes = 0;
    for number in 1..=segments {
        let path = layout.path(number);
        let length = fs::metadata(&path).map_err(|source| io_error(&path, "measure", source))?.len();
        bytes += length.min(layout.limit(number).unwrap_or(length));
    }
    let input = header.stream == INPUT_STREAM;
    let schema_known = input.then(|| generation(header.schema).is_some());
    let mut found = Inspection {
        header,
        schema_known,
        term: layout.newest(),
        segments,
        bytes,
        ignored: layout.ignored()?,
        epochs: 0,
        first_epoch: None,
        last_epoch: None,
        rows: 0,
        kinds: Vec::new(),
        torn: None,
        damage: None,
    };
    let mut kinds = BTreeMap::new();
    for epoch in &mut reader {
        let epoch = match epoch {
            Ok(epoch) => epoch,
            Err(error) => {
                found.damage = Some(error.to_string());
                break;
            }
        };
        if schema_known == Some(true)
            && let Err(error) = input_batch(&epoch)
        {
            found.damage = Some(format!("epoch {}: {error}", epoch.epoch));
            break;
        }
        found.epochs += 1;
        found.first_epoch.get_or_insert(epoch.epoch);
        found.last_epoch = Some(epoch.epoch);
        found.rows += u64::from(epoch.rows);
        for block in &epoch.blocks {
            let kind = if schema_known == Some(true) { Kind::from_code(i64::from(block.code)) } else { None };
            count(block, kind, kinds.entry(block.code).or_insert_with(KindInspection::default));
        }
    }
    found.torn = reader.torn().cloned();
    found.kinds = kinds.into_values().collect();
    Ok(found)
}

fn count(block: &Block, kind: Option<Kind>, into: &mut KindInspection) {
    into.code = block.code;
    into.name = kind.map_or("", Kind::name).to_owned();
    into.rows += block.columns[0].len() as u64;
    into.bytes += block.stored_bytes;
    into.raw_bytes += block.raw_bytes;
    let is_time = |(name, _): &(&str, _)| matches!(*name, "event_ms" | "event_us" | "start_ms" | "valid_at_ms");
    let Some(field) = kind.and_then(|kind| kind.fields().iter().position(is_time)) else { return };
    let Some(Column::Integers(times)) = block.columns.get(field + 1) else { return };
    into.event_first = into.event_first.into_iter().chain(times.iter().copied()).min();
    into.event_last = into.event_last.into_iter().chain(times.iter().copied()).max();
}
