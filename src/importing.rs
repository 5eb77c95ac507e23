//! Import: a network file, and the exports of a historian, as a log.
//!
//! A reading of the past arrives when it was taken: its epoch is the first at or after its event time. Lines that are no
//! rows are left out, counted and named; what is refused later is in the `rejected` stream of a replay.

use std::path::PathBuf;

use gridflow_connectors::csv::{BadLine, Config, Source};
use gridflow_inputs::input::Region;
use gridflow_inputs::log::{Header, LogError, LogWriter, Options, Sync};
use gridflow_inputs::network_file::NetworkFile;
use gridflow_inputs::units::MicroHertz;
use gridflow_inputs::{Epoch, Input};
use gridflow_operators::telemetry::LATENESS_MS;
use serde::Serialize;

use crate::contingencies::{ListError, read_elements};
use crate::sequencer::{Cadence, Sequencer};

/// Length of an epoch, milliseconds.
const EPOCH_MS: u64 = 1_000;
/// Bad lines that are named; the rest is counted.
const NAMED: usize = 20;

/// What to import besides the network.
#[derive(Clone, Debug)]
pub struct ImportConfig {
    /// Directory of a historian's exports.
    pub readings: Option<PathBuf>,
    /// List of outages of several elements.
    pub contingencies: Option<PathBuf>,
    /// Directory of the log to be created.
    pub out: PathBuf,
}

/// What was imported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Rows, ticks included.
    pub rows: u64,
    /// Epochs.
    pub epochs: u64,
    /// Lines that were left out.
    pub bad_line_count: u64,
    /// The first of them, in words.
    pub bad_lines: Vec<String>,
}

/// Why an import failed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The list of outages.
    #[error(transparent)]
    Contingencies(#[from] ListError),
    /// The exports cannot be opened.
    #[error(transparent)]
    Readings(#[from] BadLine),
}

fn event_ms(row: &Input) -> Option<i64> {
    match row {
        Input::Measurement(row) => Some(row.event_ms),
        Input::SwitchStatus(row) => Some(row.event_ms),
        _ => None,
    }
}

/// Records a network, and the readings behind it, into a new log.
///
/// # Errors
/// When the exports cannot be opened, the list names what is not there, the directory holds a log, or the disk refuses.
pub fn import(file: NetworkFile, config: &ImportConfig) -> Result<Imported, ImportError> {
    let mut imported = Imported::default();
    let named = config.contingencies.as_deref().map(|list| read_elements(list, &file.network)).transpose()?;
    let source = config.readings.as_deref().map(|dir| Source::open(&Config::directory(dir))).transpose()?;
    let mut writer = LogWriter::create(&config.out, Header::input(&file.name), Options { sync: Sync::OnClose, ..Options::default() })?;
    let region = Region {
        name: file.name.clone(),
        currency: "USD".into(),
        base_power: file.base_power,
        epoch_ms: EPOCH_MS as i64,
        utc_offset_ms: 0,
        frequency: MicroHertz(60_000_000),
        lateness_scada_ms: LATENESS_MS,
        lateness_meter_ms: 7 * 86_400_000,
    };
    let mut pending: Vec<Input> = vec![region.into()];
    pending.extend(file.network.into_rows());
    pending.extend(named.into_iter().flatten());
    let mut sequencer = Sequencer::new(EPOCH_MS, Cadence::default(), None);
    let mut present: Epoch = 0;
    let mut started = false;
    let mut seal = |clock: Epoch, rows: Vec<Input>, imported: &mut Imported| -> Result<(), LogError> {
        let (epoch, rows) = sequencer.seal(clock, rows);
        imported.rows += rows.len() as u64;
        imported.epochs += 1;
        writer.append_epoch(epoch, &rows)
    };
    for row in source.into_iter().flatten() {
        let row = match row {
            Ok(row) => row,
            Err(line) => {
                imported.bad_line_count += 1;
                if imported.bad_lines.len() < NAMED {
                    imported.bad_lines.push(line.to_string());
                }
                continue;
            }
        };
        if let Some(event_ms) = event_ms(&row) {
            let due = u64::try_from(event_ms).unwrap_or(0).div_ceil(EPOCH_MS) * EPOCH_MS;
            if !started {
                // Reference rows precede the first reading.
                present = due;
                started = true;
            }
            while due > present {
                seal(present, std::mem::take(&mut pending), &mut imported)?;
                // Over a gap the timers need not ring for nothing: the next epoch is the reading's own.
                present = if due - present > 60_000 { due } else { present + EPOCH_MS };
            }
        }
        pending.push(row);
    }
    seal(present, pending, &mut imported)?;
    writer.close()?;
    Ok(imported)
}
