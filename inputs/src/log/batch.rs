//! An epoch of the input log in memory: readings in a compact form, for they are almost all there is, and all other rows.
//!
//! Invariant: both lists are in sequence order, and together their sequences are 0, 1, 2 … without a gap.

use crate::ids::SensorId;
use crate::input::{Epoch, Input, Measurement, Quality};

/// A reading with its place in its epoch: a [`Measurement`] in 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SequencedReading {
    /// When it was taken, UTC milliseconds.
    pub event_ms: i64,
    /// In the unit of the sensor's quantity.
    pub value: i64,
    /// Which sensor.
    pub sensor: SensorId,
    /// Its place within the epoch.
    pub sequence: u32,
    /// 0, or the number of the correction.
    pub revision: u16,
    /// How far it can be trusted.
    pub quality: Quality,
}

impl SequencedReading {
    /// The row at a place.
    #[must_use]
    pub fn new(sequence: u32, row: &Measurement) -> Self {
        let Measurement { sensor, event_ms, revision, value, quality } = *row;
        Self { event_ms, value, sensor, sequence, revision, quality }
    }

    /// The row without its place.
    #[must_use]
    pub fn measurement(&self) -> Measurement {
        let Self { event_ms, value, sensor, revision, quality, .. } = *self;
        Measurement { sensor, event_ms, revision, value, quality }
    }
}

/// An epoch of the input log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochBatch {
    /// The epoch.
    pub epoch: Epoch,
    /// Its readings, in sequence order.
    pub readings: Vec<SequencedReading>,
    /// All other rows with their sequence, in sequence order.
    pub rows: Vec<(u32, Input)>,
}

impl EpochBatch {
    /// Of rows in the order in which they were sequenced.
    #[must_use]
    pub fn new(epoch: Epoch, rows: impl IntoIterator<Item = Input>) -> Self {
        let mut batch = Self { epoch, ..Self::default() };
        for (sequence, row) in (0u32..).zip(rows) {
            match row {
                Input::Measurement(row) => batch.readings.push(SequencedReading::new(sequence, &row)),
                row => batch.rows.push((sequence, row)),
            }
        }
        batch
    }

    /// How many rows it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.readings.len() + self.rows.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.readings.is_empty() && self.rows.is_empty()
    }

    /// All rows in sequence order, readings among them.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Input)> + '_ {
        let (mut readings, mut rows) = (self.readings.iter().peekable(), self.rows.iter().peekable());
        std::iter::from_fn(move || {
            let other = rows.peek().map_or(u32::MAX, |(sequence, _)| *sequence);
            match readings.next_if(|reading| reading.sequence < other || rows.peek().is_none()) {
                Some(reading) => Some((reading.sequence, Input::Measurement(reading.measurement()))),
                None => rows.next().cloned(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::strategy;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_come_out_in_the_order_in_which_they_went_in(rows in prop::collection::vec(strategy::input(), 0..40)) {
            let batch = EpochBatch::new(7, rows.clone());
            prop_assert_eq!(batch.len(), rows.len());
            prop_assert!(batch.readings.is_sorted_by_key(|reading| reading.sequence));
            let (places, read): (Vec<u32>, Vec<Input>) = batch.iter().unzip();
            prop_assert!(places.into_iter().eq(0..rows.len() as u32));
            prop_assert_eq!(read, rows);
        }
    }
}
