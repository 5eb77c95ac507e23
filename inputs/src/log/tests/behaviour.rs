//! What goes in comes out; who may write; where reading starts; what is refused.

use super::*;
use crate::ids::SensorId;
use crate::input::{Kind, MAX_EPOCH, Measurement, Quality, Tick, Timer};
use proptest::prelude::*;

fn epochs() -> impl Strategy<Value = Vec<(Epoch, Vec<Input>)>> {
    let rows = prop::collection::vec(strategy::input(), 0..12);
    prop::collection::vec((1u64..5, rows), 0..8).prop_map(|steps| {
        let mut epoch = 0;
        let next = |(step, rows)| {
            epoch += step * 1000;
            (epoch, rows)
        };
        steps.into_iter().map(next).collect()
    })
}

fn reading(sensor: u32, event_ms: i64) -> Input {
    Measurement {
        sensor: SensorId(sensor),
        event_ms,
        revision: 0,
        value: event_ms * 7919 % 100_000 - i64::from(sensor),
        quality: Quality::Good,
    }
    .into()
}

fn readings(epoch: u64, rows: u32) -> (Epoch, Vec<Input>) {
    (epoch, (0..rows).map(|sensor| reading(sensor, epoch as i64 - i64::from(sensor % 900))).collect())
}

fn tick(epoch: Epoch) -> (Epoch, Vec<Input>) {
    (epoch, vec![Tick { timer: Timer::Estimate, event_ms: epoch as i64 }.into()])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_rows_of_any_kind_come_back(epochs in epochs(), segment_bytes in 0u64..2000) {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &epochs, Options { segment_bytes, ..SMALL });
        let outcome = read(dir.path());
        prop_assert!(outcome.error.is_none() && outcome.torn.is_none());
        prop_assert_eq!(outcome.epochs, epochs);
    }
}

#[test]
fn every_kind_is_generated() {
    for kind in Kind::ALL {
        for seed in 0..50 {
            assert_eq!(strategy::row(*kind, seed).kind(), *kind);
        }
    }
}

#[test]
fn event_time_is_kept_apart_from_the_epoch() {
    // REQ: DQ-32
    let dir = tempfile::tempdir().unwrap();
    let late = vec![(1_600_000_000_000, vec![reading(1, 1_500_000_000_123), reading(1, 1_400_000_000_456)])];
    write(dir.path(), &late, Options::default());
    assert_eq!(read(dir.path()).epochs, late);
}

#[test]
fn more_rows_than_a_frame_holds_take_more_frames() {
    let dir = tempfile::tempdir().unwrap();
    let (epoch, mut rows) = readings(5_000_000, FRAME_ROWS * 2 + 10);
    rows[70_000] = strategy::row(Kind::Generator, 3);
    let epochs = vec![(epoch, rows)];
    write(dir.path(), &epochs, Options::default());
    let blocks = BlockReader::open(dir.path()).unwrap().next().unwrap().unwrap();
    assert_eq!(blocks.blocks.iter().filter(|block| block.code == Kind::Measurement as u16).count(), 3);
    assert!(read(dir.path()).epochs == epochs);
}

#[test]
fn two_recordings_of_the_same_rows_have_the_same_bytes() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(one.path(), &sample(), SMALL);
    write(two.path(), &sample(), Options { sync: Sync::EveryN(2), ..SMALL });
    assert_eq!(files(one.path()), files(two.path()));
    assert!(files(one.path()).len() > 4, "several segments, the index and the lock");
}

#[test]
fn a_log_reopened_after_each_epoch_has_the_bytes_of_a_straight_one() {
    let (straight, resumed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(straight.path(), &sample(), SMALL);
    LogWriter::create(resumed.path(), Header::input("north"), SMALL).unwrap();
    for (number, (epoch, rows)) in sample().into_iter().enumerate() {
        let mut writer = LogWriter::open_append(resumed.path(), SMALL).unwrap();
        assert_eq!(writer.cut(), None);
        writer.append_epoch(epoch, &rows).unwrap();
        if number % 3 != 0 {
            writer.close().unwrap(); // otherwise it ends as in a crash, and the index is old
        }
    }
    LogWriter::open_append(resumed.path(), SMALL).unwrap().close().unwrap();
    assert_eq!(files(straight.path()), files(resumed.path()));
}

#[test]
fn a_log_of_an_earlier_generation_is_read_and_goes_on_with_the_kinds_it_knows() {
    // As the builds wrote it that knew these kinds.
    const FIRST: u64 = 0xbf90_0db7_d69b_5e75;
    const SECOND: u64 = 0x98d0_caa6_71bb_fa87;
    let known = [1, 2].map(|generation| fingerprint(&Kind::schema(generation)));
    assert_eq!(known, [FIRST, SECOND], "kinds of a generation never change: {known:#x?}");
    let dir = tempfile::tempdir().unwrap();
    let early = Header { schema: FIRST, ..Header::input("north") };
    LogWriter::create(dir.path(), early.clone(), SMALL).unwrap();
    let mut writer = LogWriter::open_append(dir.path(), SMALL).unwrap();
    let row = |kind| strategy::row(kind, 1);
    writer.append_epoch(1, &[row(Kind::Bus), row(Kind::Measurement)]).unwrap();
    let error = writer.append_epoch(2, &[row(Kind::Bus), row(Kind::NodeSwitch)]).unwrap_err();
    assert!(error.to_string().contains("before there were rows of kind NodeSwitch"), "{error}");
    writer.append_epoch(2, &[row(Kind::Switch)]).unwrap();
    writer.close().unwrap();
    // Who goes on with it may know more kinds.
    LogWriter::open_term(dir.path(), 0, Header::input("north"), SMALL).unwrap().append_epoch(3, &[]).unwrap();
    let found = inspect(dir.path()).unwrap();
    assert_eq!((found.header, found.schema_known, found.epochs, found.rows), (early, Some(true), 3, 3));
    assert_eq!(LogReader::open(dir.path()).unwrap().map(|batch| batch.unwrap().epoch).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn a_second_writer_is_refused_until_the_first_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let writer = LogWriter::create(dir.path(), Header::input("north"), SMALL).unwrap();
    assert!(matches!(LogWriter::open_append(dir.path(), SMALL), Err(LogError::Locked { .. })));
    assert!(matches!(LogWriter::create(dir.path(), Header::input("north"), SMALL), Err(LogError::Locked { .. })));
    assert!(LogReader::open(dir.path()).is_ok(), "readers need no lock");
    drop(writer);
    assert!(LogWriter::open_append(dir.path(), SMALL).is_ok());
}

#[test]
fn epochs_strictly_increase() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::create(dir.path(), Header::input("north"), SMALL).unwrap();
    writer.append_epoch(0, &[]).unwrap();
    writer.append_epoch(1000, &[]).unwrap();
    assert!(matches!(writer.append_epoch(1000, &[]), Err(LogError::Order { epoch: 1000, last: 1000 })));
    assert!(matches!(writer.append_epoch(10, &[]), Err(LogError::Order { .. })));
    assert!(matches!(writer.append_epoch(MAX_EPOCH + 1, &[]), Err(LogError::Beyond { .. })));
    writer.append_epoch(MAX_EPOCH, &[reading(1, 1)]).unwrap();
    drop(writer);
    assert_eq!(read(dir.path()).epochs.len(), 3, "epochs without rows are epochs");
}

#[test]
fn a_reader_goes_on_when_the_log_grows() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::create(dir.path(), Header::input("north"), SMALL).unwrap();
    let mut reader = LogReader::open(dir.path()).unwrap();
    for (epoch, rows) in sample() {
        assert!(reader.next().is_none());
        writer.append_epoch(epoch, &rows).unwrap();
        let batch = reader.next().unwrap().unwrap();
        assert_eq!((batch.epoch, batch.len()), (epoch, rows.len()));
    }
    assert!(writer.position().0 > 2, "segments were rolled");
    assert!(reader.next().is_none() && reader.torn().is_none());
}

#[test]
fn reading_starts_at_an_epoch_whatever_the_index_says() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let options = Options { segment_bytes: 3 << 20, ..SMALL };
    let random = |epoch: u64, row: u32| {
        // Without a pattern that a column could be packed by.
        let mixed = (epoch * 65_599 + u64::from(row)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        reading(row, (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) as i64 >> 20)
    };
    let epochs: Vec<_> = (1..60u64).map(|epoch| (epoch * 1000, (0..12_000).map(|row| random(epoch, row)).collect())).collect();
    write(dir.path(), &epochs, options);
    let fewer: Vec<_> = epochs.iter().map(|(epoch, rows)| (*epoch, rows[..9_000].to_vec())).collect();
    write(other.path(), &fewer, options);
    let index = dir.path().join("index.gfi");
    let own = fs::read(&index).unwrap();
    assert!(own.len() > 20 * 5, "more than an entry a segment");
    let mut flipped = own.clone();
    flipped[30] ^= 1;
    let foreign = fs::read(other.path().join("index.gfi")).unwrap();
    for content in [Some(own), Some(flipped), Some(foreign), Some(b"GFINDEX1".to_vec()), None] {
        fs::remove_file(&index).unwrap_or(());
        if let Some(content) = content {
            fs::write(&index, content).unwrap();
        }
        for from in [0, 1000, 1001, 17_000, 30_500, 59_000, 59_001] {
            let found: Vec<_> = BlockReader::open_at(dir.path(), from).unwrap().map(|epoch| epoch.unwrap().epoch).collect();
            let expected: Vec<_> = epochs.iter().map(|(epoch, _)| *epoch).filter(|epoch| *epoch >= from).collect();
            assert_eq!(found, expected, "from {from}");
        }
    }
}

#[test]
fn an_output_stream_holds_records_with_their_differences() {
    let dir = tempfile::tempdir().unwrap();
    let header = Header::output::<Tick>("north", "alarm");
    let mut writer = LogWriter::create(dir.path(), header.clone(), Options::default()).unwrap();
    let row = |event_ms| Tick { timer: Timer::Dispatch, event_ms };
    writer.append_records(1, [(&row(1), 1), (&row(2), -3)].into_iter()).unwrap();
    writer.append_records::<Tick>(2, [].into_iter()).unwrap();
    assert!(matches!(writer.append_epoch(3, &[]), Err(LogError::Stream { .. })));
    assert!(matches!(writer.append_records::<Measurement>(3, [].into_iter()), Err(LogError::Schema { .. })));
    writer.append_records(4, [(&row(1), -1)].into_iter()).unwrap();
    writer.close().unwrap();
    let reader = StreamReader::<Tick>::open(dir.path(), "alarm").unwrap();
    assert_eq!(*reader.header(), header);
    let found: Vec<_> = reader.map(|epoch| epoch.unwrap()).map(|epoch| (epoch.epoch, epoch.rows)).collect();
    assert_eq!(found, [(1, vec![(row(1), 1), (row(2), -3)]), (2, vec![]), (4, vec![(row(1), -1)])]);
    assert!(matches!(StreamReader::<Tick>::open(dir.path(), "late"), Err(LogError::Stream { .. })));
    assert!(matches!(StreamReader::<Measurement>::open(dir.path(), "alarm"), Err(LogError::Schema { .. })));
    assert!(matches!(LogReader::open(dir.path()), Err(LogError::Stream { .. })));
    assert_eq!(StreamReader::<Tick>::open_at(dir.path(), "alarm", 2).unwrap().count(), 2);
}

#[test]
fn an_inspection_counts_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let epochs = [readings(1_000_000, 1000), readings(1_001_000, 500), tick(1_002_000)];
    write(dir.path(), &epochs, Options::default());
    let found = inspect(dir.path()).unwrap();
    assert_eq!((found.segments, found.epochs, found.rows), (1, 3, 1501));
    assert_eq!((found.first_epoch, found.last_epoch), (Some(1_000_000), Some(1_002_000)));
    assert_eq!(found.bytes, fs::metadata(segment(dir.path(), 1)).unwrap().len());
    let names: Vec<_> = found.kinds.iter().map(|kind| (kind.name.as_str(), kind.rows)).collect();
    assert_eq!(names, [("Measurement", 1500), ("Tick", 1)]);
    assert_eq!((found.kinds[0].event_first, found.kinds[0].event_last), (Some(999_101), Some(1_001_000)));
    let counted: u64 = found.kinds.iter().map(|kind| kind.bytes).sum();
    assert_eq!(counted + 256 + 3 * 32, found.bytes, "segment header and commit frames are the rest");
    assert_eq!((found.torn, found.damage, found.schema_known), (None, None, Some(true)));
}

#[test]
fn each_thing_that_is_no_log_has_its_own_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let missing = path.join("nowhere");
    assert!(matches!(LogReader::open(&missing), Err(LogError::Missing { .. })));
    assert!(matches!(LogWriter::open_append(&missing, SMALL), Err(LogError::Missing { .. })));
    assert!(matches!(inspect(&missing), Err(LogError::Missing { .. })));
    assert!(matches!(LogReader::open(path), Err(LogError::Empty { .. })));
    assert!(matches!(LogWriter::open_append(path, SMALL), Err(LogError::Empty { .. })));

    let first = segment(path, 1);
    fs::write(&first, b"").unwrap();
    assert!(matches!(LogReader::open(path), Err(LogError::NoHeader { .. })));
    assert!(matches!(LogWriter::open_append(path, SMALL), Err(LogError::NoHeader { .. })));
    fs::write(&first, [b'x'; 300]).unwrap();
    assert!(matches!(LogReader::open(path), Err(LogError::Foreign { .. })));
    assert!(matches!(LogWriter::create(path, Header::input("north"), SMALL), Err(LogError::Exists { .. })));
    fs::write(&first, b"GRIDFL").unwrap();
    write(path, &sample(), SMALL); // an interrupted creation is no obstacle

    let bytes = fs::read(&first).unwrap();
    let mut newer = bytes.clone();
    newer[8] = 2;
    fs::write(&first, newer).unwrap();
    assert!(matches!(LogReader::open(path), Err(LogError::Version { found: 2, .. })));
    fs::write(&first, &bytes).unwrap();

    fs::rename(segment(path, 2), path.join("aside")).unwrap();
    assert!(matches!(LogReader::open(path), Err(LogError::Gap { missing: 2, .. })));
    assert!(matches!(LogWriter::open_append(path, SMALL), Err(LogError::Gap { missing: 2, .. })));
    fs::rename(path.join("aside"), segment(path, 2)).unwrap();
    fs::write(path.join("segment-2.gfl"), b"").unwrap();
    assert!(matches!(LogReader::open(path), Err(LogError::Foreign { .. })));

    let other = tempfile::tempdir().unwrap();
    let header = Header { schema: 7, ..Header::input("north") };
    LogWriter::create(other.path(), header, SMALL).unwrap();
    assert!(matches!(LogReader::open(other.path()), Err(LogError::Schema { found: 7, .. })));
    assert!(matches!(LogWriter::open_append(other.path(), SMALL), Err(LogError::Schema { found: 7, .. })));
    let long = tempfile::tempdir().unwrap();
    assert!(matches!(LogWriter::create(long.path(), Header::input(&"n".repeat(97)), SMALL), Err(LogError::Name { .. })));
    let file = long.path().join("file");
    fs::write(&file, b"").unwrap();
    assert!(matches!(LogWriter::create(&file, Header::input("north"), SMALL), Err(LogError::Io { .. })));
    assert!(matches!(LogReader::open(&file), Err(LogError::Io { .. })));
}
