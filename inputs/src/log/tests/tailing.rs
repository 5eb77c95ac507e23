//! Readers that follow a log while it is written, torn, cut and written anew: never an error, never an epoch left out.

use super::*;
use crate::input::Kind;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

/// The rows of an epoch are a function of it, so that a reader knows what it must find.
fn rows(epoch: Epoch) -> Vec<Input> {
    let kinds = [Kind::Measurement, Kind::Tick, Kind::Generator, Kind::EngineFact];
    (0..epoch * 7 % 23).map(|row| strategy::row(kinds[((epoch + row) % 4) as usize], epoch * 100 + row)).collect()
}

/// An epoch's bytes, which are the same in every log.
fn bytes(epoch: Epoch) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[(epoch, rows(epoch))], SMALL);
    fs::read(segment(dir.path(), 1)).unwrap()[256..].to_vec()
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// Writes bytes to the end of a file, in pieces.
fn pieces(path: &Path, bytes: &[u8], random: &mut Random) {
    let file = fs::File::options().append(true).create(true).open(path).unwrap();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at(1 + random.below(rest.len()));
        (&file).write_all(piece).unwrap();
        rest = tail;
        std::thread::yield_now();
    }
}

/// What a writer that lives dangerously recorded: the epochs.
fn write_dangerously(dir: &Path, options: Options, steps: usize, random: &mut Random) -> Vec<Epoch> {
    let mut writer = Some(LogWriter::open_append(dir, options).unwrap());
    let (mut epochs, mut epoch) = (Vec::new(), 0);
    for _ in 0..steps {
        epoch += 1 + random.below(3) as u64;
        let open = writer.get_or_insert_with(|| LogWriter::open_append(dir, options).unwrap());
        let (number, _) = open.position();
        match random.below(6) {
            // Dies inside an epoch, comes back, cuts it, and may write another in its place.
            0 => {
                writer = None;
                let bytes = bytes(epoch);
                pieces(&segment(dir, number), &bytes[..random.below(bytes.len())], random);
            }
            // Dies inside the header of the next segment.
            1 => {
                writer = None;
                let header = fs::read(segment(dir, 1)).unwrap();
                pieces(&segment(dir, number + 1), &header[..random.below(256)], random);
            }
            // The system takes its time with one write.
            2 => {
                writer = None;
                pieces(&segment(dir, number), &bytes(epoch), random);
                epochs.push(epoch);
            }
            _ => {
                open.append_epoch(epoch, &rows(epoch)).unwrap();
                epochs.push(epoch);
            }
        }
    }
    epochs
}

#[test]
fn readers_that_follow_a_writer_never_err_and_never_skip() {
    for seed in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        // Both many small segments and one that grows.
        let options = Options { segment_bytes: [1500, 1 << 20][seed as usize % 2], ..SMALL };
        LogWriter::create(dir.path(), Header::input("north"), options).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // One stays, one opens anew each time it has read a little.
            let readers: Vec<_> = [usize::MAX, 5]
                .map(|patience| {
                    let (dir, done) = (dir.path(), &done);
                    scope.spawn(move || {
                        let (mut found, mut reader, mut read) = (Vec::new(), LogReader::open(dir).unwrap(), 0);
                        loop {
                            // Asked before the end is looked for: what was written before it is read then.
                            let last_round = done.load(Ordering::SeqCst);
                            while let Some(batch) = reader.next() {
                                let batch = batch.unwrap();
                                let expected: Vec<_> = (0u32..).zip(rows(batch.epoch)).collect();
                                assert!(batch.iter().collect::<Vec<_>>() == expected, "other rows in epoch {}", batch.epoch);
                                found.push(batch.epoch);
                                read += 1;
                                if read % patience == 0 {
                                    reader = LogReader::open_at(dir, batch.epoch + 1).unwrap();
                                }
                            }
                            if last_round {
                                return found;
                            }
                            std::thread::yield_now();
                        }
                    })
                })
                .into_iter()
                .collect();
            let written = write_dangerously(dir.path(), options, 200, &mut Random(seed));
            done.store(true, Ordering::SeqCst);
            for reader in readers {
                assert!(reader.join().unwrap() == written, "seed {seed}");
            }
        });
        let outcome = read(dir.path());
        assert!(outcome.error.is_none());
    }
}

#[test]
fn a_reader_opened_at_an_epoch_to_come_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::create(dir.path(), Header::input("north"), SMALL).unwrap();
    let mut waiting = LogReader::open_at(dir.path(), 30).unwrap();
    let mut late = Vec::new();
    for epoch in (1..60).filter(|epoch| epoch % 5 != 0) {
        if epoch % 9 == 0 {
            late.push((epoch, LogReader::open_at(dir.path(), epoch + 4).unwrap()));
        }
        let found = waiting.next();
        assert!(if epoch <= 31 { found.is_none() } else { found.unwrap().unwrap().epoch == epoch - 1 - u64::from(epoch % 5 == 1) });
        writer.append_epoch(epoch, &rows(epoch)).unwrap();
    }
    assert!(writer.position().0 > 5, "segments were rolled");
    for (epoch, mut reader) in late {
        let first = reader.next().unwrap().unwrap().epoch;
        assert_eq!(first, epoch + 4 + u64::from((epoch + 4) % 5 == 0));
    }
}

#[test]
fn an_epoch_is_found_by_index_while_the_log_is_still_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::create(dir.path(), Header::input("north"), SMALL).unwrap();
    for epoch in 1..60 {
        writer.append_epoch(epoch, &rows(epoch)).unwrap();
    }
    let segments = writer.position().0;
    let stored = index::Index::load(dir.path()).unwrap();
    assert_eq!(stored.segments.len() as u32, segments, "the one that is being written is known, without entries yet");
    assert!(stored.segments[..segments as usize - 1].iter().all(|segment| segment.entries.len() == 1));
    assert!(stored.segments[segments as usize - 1].entries.is_empty());
    // A writer that comes back after a crash walks the last segment only: the first is not even readable.
    drop(writer);
    let first = segment(dir.path(), 1);
    let mut bytes = fs::read(&first).unwrap();
    let length = bytes.len();
    bytes[length - 1] ^= 1;
    fs::write(&first, bytes).unwrap();
    assert_eq!(LogWriter::open_append(dir.path(), SMALL).unwrap().last_epoch(), Some(59));
}
