//! What a log promises, seen from outside.

mod behaviour;
mod damage;
mod disk;
mod inbox;
mod tailing;
mod terms;

use super::*;
use crate::input::Input;
use std::fs;

/// Segments of a few hundred bytes, so that small tests roll.
pub(super) const SMALL: Options = Options { segment_bytes: 900, sync: Sync::Never, forced: None };

/// Writes a log of the given epochs and closes it.
pub(super) fn write(dir: &Path, epochs: &[(Epoch, Vec<Input>)], options: Options) {
    let mut writer = LogWriter::create(dir, Header::input("north"), options).unwrap();
    for (epoch, rows) in epochs {
        writer.append_epoch(*epoch, rows).unwrap();
    }
    writer.close().unwrap();
}

/// What a reader gives until it stops.
pub(super) struct Outcome {
    pub(super) epochs: Vec<(Epoch, Vec<Input>)>,
    pub(super) error: Option<LogError>,
    pub(super) torn: Option<Torn>,
}

pub(super) fn read(dir: &Path) -> Outcome {
    let mut outcome = Outcome { epochs: Vec::new(), error: None, torn: None };
    let mut reader = match LogReader::open(dir) {
        Ok(reader) => reader,
        Err(error) => return Outcome { error: Some(error), ..outcome },
    };
    for batch in &mut reader {
        match batch {
            Ok(batch) => {
                assert!(batch.iter().map(|(sequence, _)| sequence).eq(0..batch.len() as u32));
                outcome.epochs.push((batch.epoch, batch.iter().map(|(_, row)| row).collect()));
            }
            Err(error) => outcome.error = Some(error),
        }
    }
    outcome.torn = reader.torn().cloned();
    outcome
}

/// All files of a directory with their bytes.
pub(super) fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> = entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect();
    files.sort();
    files
}

pub(super) fn segment(dir: &Path, number: u32) -> PathBuf {
    directory::segment_path(dir, number, 0)
}

/// Number of segments of a log.
pub(super) fn count(dir: &Path) -> u32 {
    layout::Layout::load(dir).unwrap().count().unwrap()
}

/// A few epochs of every kind, over several small segments.
pub(super) fn sample() -> Vec<(Epoch, Vec<Input>)> {
    let kinds = crate::input::Kind::ALL;
    (0..9u64)
        .map(|epoch| {
            let rows = (0..epoch * 2).map(|row| strategy::row(kinds[((epoch * 7 + row) % kinds.len() as u64) as usize], epoch * 100 + row));
            (1_577_836_800_000 + epoch * 1000, rows.collect())
        })
        .collect()
}
