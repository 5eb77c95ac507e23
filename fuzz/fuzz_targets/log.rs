//! Whatever lies in a segment file, reading it ends without a panic, and what it gives is a log that can be written.
//!
//! `cargo +nightly fuzz run log`. With an odd first byte the rest is the file as it is. With an even one its lengths and
//! checksums are made to fit first, so that the layers behind them are reached.

#![no_main]

use gridflow_inputs::input::Input;
use gridflow_inputs::log::{EpochBatch, Header, LogReader, LogWriter, Options, Sync, inspect};
use libfuzzer_sys::fuzz_target;
use std::fs;
use std::path::Path;

const SEGMENT: &str = "segment-00000001.gfl";

fuzz_target!(|data: &[u8]| {
    let Some((mode, file)) = data.split_first() else { return };
    let file = if mode % 2 == 1 { file.to_vec() } else { repaired(file) };
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(dir.path().join(SEGMENT), file).expect("room for the file");
    let batches = read(dir.path());
    assert!(batches.is_sorted_by(|one, next| one.epoch < next.epoch), "epochs strictly increase");
    if let Ok(found) = inspect(dir.path()) {
        assert!(found.epochs >= batches.len() as u64);
    }

    // What was read can be written, and reads the same.
    let again = tempfile::tempdir().expect("a temporary directory");
    let options = Options { segment_bytes: 1000, sync: Sync::Never, forced: None };
    let mut writer = LogWriter::create(again.path(), Header::input("fuzz"), options).expect("an empty directory");
    for batch in &batches {
        let rows: Vec<Input> = batch.iter().map(|(_, row)| row).collect();
        writer.append_epoch(batch.epoch, &rows).expect("an epoch that was stored before");
    }
    writer.close().expect("room for the log");
    assert_eq!(read(again.path()), batches);

    // A writer that accepts the file cuts nothing that could be read.
    if LogWriter::open_append(dir.path(), options).is_ok() {
        assert_eq!(read(dir.path()), batches);
    }
});

fn read(dir: &Path) -> Vec<EpochBatch> {
    LogReader::open(dir).map_or_else(|_| Vec::new(), |reader| reader.map_while(Result::ok).collect())
}

/// The bytes as a segment whose header, lengths and checksums fit; the format is on the front page of `inputs`.
fn repaired(data: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 256];
    file[..8].copy_from_slice(b"GRIDFLOW");
    file[8] = 1;
    file[12] = 1;
    file[32..40].copy_from_slice(&Header::input("").schema.to_le_bytes());
    file[46] = 5;
    file[144..149].copy_from_slice(b"input");
    let check = crc32fast::hash(&file[..252]);
    file[252..].copy_from_slice(&check.to_le_bytes());

    let (mut rest, mut headers, mut rows, mut frames) = (data, Vec::new(), 0u32, 0u32);
    while let Some((header, tail)) = rest.split_first_chunk::<32>() {
        let mut header = *header;
        rest = tail;
        let commit = header[..2] == [0, 0];
        if commit {
            header[2..4].fill(0);
            header[4..8].copy_from_slice(&rows.to_le_bytes());
            header[16..20].copy_from_slice(&frames.to_le_bytes());
            header[20..24].fill(0);
            header[24..28].copy_from_slice(&crc32fast::hash(&headers).to_le_bytes());
        } else {
            let stored = u32::from_le_bytes([header[20], header[21], 0, 0]) % (rest.len() as u32 + 1);
            header[2] &= 1;
            header[20..24].copy_from_slice(&stored.to_le_bytes());
            if header[2] == 0 {
                header[16..20].copy_from_slice(&stored.to_le_bytes());
            }
            header[24..28].copy_from_slice(&crc32fast::hash(&rest[..stored as usize]).to_le_bytes());
            rows = rows.wrapping_add(u32::from_le_bytes([header[4], header[5], header[6], header[7]]));
            frames += 1;
            headers.extend_from_slice(&header[..28]);
        }
        let check = crc32fast::hash(&header[..28]);
        header[28..].copy_from_slice(&check.to_le_bytes());
        file.extend_from_slice(&header);
        if commit {
            (headers, rows, frames) = (Vec::new(), 0, 0);
        } else {
            let stored = u32::from_le_bytes([header[20], header[21], 0, 0]) as usize;
            file.extend_from_slice(&rest[..stored]);
            rest = &rest[stored..];
        }
    }
    file.extend_from_slice(rest);
    file
}
