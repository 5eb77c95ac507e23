//! Blocks of columns turned back into rows: inputs merged into sequence order, records with their differences.
//!
//! Nothing is taken on trust: kinds, columns and sequences that do not fit are errors. A column that was decoded has as
//! many values as its block has rows, so that no access can go out of bounds.

use super::batch::{EpochBatch, SequencedReading};
use super::frame::RECORDS;
use super::reader::{Block, EpochBlocks};
use crate::ids::SensorId;
use crate::input::{Kind, Quality};
use crate::row::{Column, DecodeError, Record, Storage};
use std::collections::BTreeMap;

/// The order column, after checking that the block has the columns of these fields.
fn order_of<'a>(block: &'a Block, fields: &[(&str, Storage)]) -> Result<&'a [i64], DecodeError> {
    let (order, columns) = block.columns.split_first().ok_or(DecodeError::Malformed("a frame without columns"))?;
    let fits = |column: &Column, storage| {
        matches!((column, storage), (Column::Integers(_), Storage::Integer) | (Column::Bytes { .. }, Storage::Bytes))
    };
    if columns.len() != fields.len() || !columns.iter().zip(fields).all(|(column, (_, storage))| fits(column, *storage)) {
        return Err(DecodeError::Malformed("a frame whose columns are not those of its kind"));
    }
    let Column::Integers(order) = order else { return Err(DecodeError::Malformed("a frame whose order column holds bytes")) };
    Ok(order)
}

pub(super) fn record_rows<R: Record>(epoch: &EpochBlocks) -> Result<Vec<(R, i64)>, DecodeError> {
    let mut rows = Vec::new();
    for block in &epoch.blocks {
        if block.code != RECORDS {
            return Err(DecodeError::Invalid(i64::from(block.code), "kind of record"));
        }
        let order = order_of(block, R::FIELDS)?;
        rows.reserve(order.len());
        for (row, difference) in order.iter().enumerate() {
            rows.push((R::pull(&block.columns[1..], row)?, *difference));
        }
    }
    Ok(rows)
}

/// Readings straight from their columns, appended to `readings` in the order of the block.
fn readings(columns: &[Column], order: &[i64], readings: &mut Vec<SequencedReading>) -> Result<(), DecodeError> {
    let [
        Column::Integers(sensors),
        Column::Integers(events),
        Column::Integers(revisions),
        Column::Integers(values),
        Column::Integers(qualities),
    ] = columns
    else {
        return Err(DecodeError::Malformed("a frame whose columns are not those of its kind"));
    };
    readings.reserve(order.len());
    let fields = sensors.iter().zip(events).zip(revisions).zip(values.iter().zip(qualities)).zip(order);
    for ((((sensor, event_ms), revision), (value, quality)), sequence) in fields {
        readings.push(SequencedReading {
            event_ms: *event_ms,
            value: *value,
            sensor: SensorId(u32::try_from(*sensor).map_err(|_| DecodeError::Invalid(*sensor, "SensorId"))?),
            // That it is a place in the epoch was checked.
            sequence: *sequence as u32,
            revision: u16::try_from(*revision).map_err(|_| DecodeError::Invalid(*revision, "u16"))?,
            quality: Quality::from_code(*quality).ok_or(DecodeError::Invalid(*quality, "Quality"))?,
        });
    }
    Ok(())
}

/// Merges the blocks of an epoch back into sequence order. The sequences are 0, 1, 2 … without a gap.
pub(super) fn input_batch(epoch: &EpochBlocks) -> Result<EpochBatch, DecodeError> {
    const NOBODY: u16 = u16::MAX;
    let total = epoch.rows as usize;
    let mut blocks = Vec::with_capacity(epoch.blocks.len());
    for block in &epoch.blocks {
        let kind = Kind::from_code(i64::from(block.code)).ok_or(DecodeError::Invalid(i64::from(block.code), "kind of row"))?;
        blocks.push((kind, order_of(block, kind.fields())?, &block.columns[1..], 0usize));
    }
    if blocks.len() >= usize::from(NOBODY) {
        return Err(DecodeError::Malformed("an epoch in more frames than its rows need"));
    }
    // Which block each sequence is in. Every row of a block must find its own free place, later than the row before.
    let mut owner = vec![NOBODY; total];
    for (number, (_, order, ..)) in blocks.iter().enumerate() {
        let mut least = 0;
        for &sequence in *order {
            let place = usize::try_from(sequence).ok().filter(|place| *place >= least).and_then(|place| owner.get_mut(place));
            let place = place.filter(|place| **place == NOBODY);
            *place.ok_or(DecodeError::Invalid(sequence, "sequence, or it appears twice"))? = number as u16;
            least = sequence as usize + 1;
        }
    }
    // As many rows as places, each in its own place: no place is left over.
    let mut batch = EpochBatch { epoch: epoch.epoch, ..EpochBatch::default() };
    let (metered, others): (Vec<_>, Vec<_>) = blocks.into_iter().enumerate().partition(|(_, (kind, ..))| *kind == Kind::Measurement);
    for (_, (_, order, columns, _)) in &metered {
        readings(columns, order, &mut batch.readings)?;
    }
    if metered.len() > 1 {
        batch.readings.sort_unstable_by_key(|reading| reading.sequence);
    }
    if others.is_empty() {
        return Ok(batch);
    }
    let mut others: BTreeMap<u16, _> = others.into_iter().map(|(number, block)| (number as u16, block)).collect();
    batch.rows.reserve(total - batch.readings.len());
    for (sequence, number) in (0u32..).zip(owner) {
        if let Some((kind, _, columns, next)) = others.get_mut(&number) {
            batch.rows.push((sequence, kind.pull(columns, *next)?));
            *next += 1;
        }
    }
    Ok(batch)
}
