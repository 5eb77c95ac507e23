//! Records of W1 as epochs of the engine, without a log between: for programs that feed it from memory or from CSV.
//!
//! Invariant: they are the epochs that `gridflow workload --log` writes of the same records, row by row.

use gridflow::sequencer::{Cadence, Sequencer};
use gridflow::workload::{Record, START_MS, WorkloadConfig, row, rows_before};
use gridflow_inputs::Input;
use gridflow_inputs::ids::SensorId;
use gridflow_inputs::input::Quality;
use gridflow_inputs::log::{EpochBatch, SequencedReading};

/// Makes epochs of records in order of arrival.
pub struct Epochs {
    config: WorkloadConfig,
    sequencer: Sequencer,
    /// Number of the epoch that is being filled.
    number: u64,
    batch: EpochBatch,
    /// Readings of the epoch before: the next is about as long.
    expected: usize,
}

impl Epochs {
    pub fn new(config: WorkloadConfig) -> Self {
        let batch = EpochBatch::new(0, rows_before(&config));
        Self { config, sequencer: Sequencer::new(config.epoch_ms, Cadence::default(), None), number: 0, batch, expected: 0 }
    }

    /// Takes the next record, and gives the epochs that end before it.
    pub fn take(&mut self, record: &Record, give: &mut impl FnMut(EpochBatch)) {
        while u64::from(record.arr_ms) / self.config.epoch_ms > self.number {
            give(self.seal());
        }
        let sequence = self.batch.len() as u32;
        if record.kind == Record::MOVE {
            self.batch.rows.push((sequence, row(&self.config, record)));
            return;
        }
        let quality = match record.quality {
            0 => Quality::Good,
            1 => Quality::Doubtful,
            2 => Quality::Bad,
            _ => Quality::Withdrawn,
        };
        let (event_ms, value, sensor) = (record.ts_ms as i64, i64::from(record.value), SensorId(record.sensor));
        self.batch.readings.push(SequencedReading { event_ms, value, sensor, sequence, revision: 0, quality });
    }

    fn seal(&mut self) -> EpochBatch {
        let (epoch, ticks) = self.sequencer.seal(START_MS + self.number * self.config.epoch_ms, Vec::new());
        let first = self.batch.len() as u32;
        self.batch.rows.extend((first..).zip(ticks));
        self.batch.epoch = epoch;
        self.number += 1;
        self.expected = self.batch.readings.len();
        let next = EpochBatch { readings: Vec::with_capacity(self.expected + self.expected / 8), ..EpochBatch::default() };
        std::mem::replace(&mut self.batch, next)
    }

    /// Gives the last epoch.
    pub fn end(mut self, give: &mut impl FnMut(EpochBatch)) {
        give(self.seal());
    }
}

/// Rows of a batch that are no ticks.
pub fn rows_of(batch: &EpochBatch) -> u64 {
    let others = batch.rows.iter().filter(|(_, row)| !matches!(row, Input::Tick(_))).count();
    (batch.readings.len() + others) as u64
}
