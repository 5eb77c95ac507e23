//! Flipped bytes, cut files and crafted frames: never other rows, never a panic.

use super::*;
use crate::log::frame::{COMMIT, FrameHeader, SEGMENT_HEADER, SegmentHeader, crc};
use proptest::prelude::*;

/// A reader gave the beginning of `whole` and nothing else; how many epochs.
fn prefix(outcome: &Outcome, whole: &[(Epoch, Vec<Input>)]) -> usize {
    let count = outcome.epochs.len();
    assert!(whole.get(..count).is_some_and(|beginning| beginning == outcome.epochs), "other rows than were written");
    count
}

/// How many epochs are complete in the first `length` bytes of each segment, by `(segment, end of epoch)`.
fn ends(dir: &Path) -> Vec<(u32, u64)> {
    let mut ends = Vec::new();
    for number in 1..=count(dir) {
        let segment::Opened::Segment(mut segment) = segment::Segment::open(&segment(dir, number), number, None, None).unwrap() else {
            panic!()
        };
        while let segment::Step::Epoch(_) = segment.step().unwrap() {
            ends.push((number, segment.position));
        }
    }
    ends
}

#[test]
fn a_flipped_byte_anywhere_is_damage_or_lies_in_the_torn_end() {
    let dir = tempfile::tempdir().unwrap();
    let whole = sample();
    write(dir.path(), &whole, SMALL);
    let segments = count(dir.path());
    assert!(segments > 2);
    // Leave a torn end: the last epoch without its commit frame.
    let last = segment(dir.path(), segments);
    let bytes = fs::read(&last).unwrap();
    fs::write(&last, &bytes[..bytes.len() - 32]).unwrap();
    let committed = &whole[..whole.len() - 1];
    let torn = read(dir.path()).torn.expect("the end is torn");
    assert_eq!((torn.segment, torn.epoch), (segments, Some(whole[8].0)));
    for number in 1..=segments {
        let path = segment(dir.path(), number);
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(&path, &flipped).unwrap();
            let outcome = read(dir.path());
            let count = prefix(&outcome, committed);
            let in_torn_end = number == segments && at as u64 >= torn.offset;
            match outcome.error {
                None => assert!(in_torn_end && count == committed.len(), "segment {number}, byte {at} went unnoticed"),
                Some(LogError::Damage { segment, offset, .. }) => assert!(segment == number && offset <= at as u64),
                Some(_) => assert!(at < 10, "magic and version have errors of their own"),
            }
            if !in_torn_end {
                assert!(number == 1 && at < 256 || inspect(dir.path()).unwrap().damage.is_some());
            }
        }
        fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn a_file_cut_anywhere_keeps_all_complete_epochs_before_the_cut() {
    let dir = tempfile::tempdir().unwrap();
    let whole = sample();
    write(dir.path(), &whole, SMALL);
    let ends = ends(dir.path());
    let segments = ends.last().unwrap().0;
    for number in 1..=segments {
        let path = segment(dir.path(), number);
        let bytes = fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            fs::write(&path, &bytes[..length]).unwrap();
            let outcome = read(dir.path());
            let complete = ends.iter().filter(|(segment, end)| (*segment, *end) <= (number, length as u64)).count();
            if number == 1 && length < SEGMENT_HEADER {
                assert!(matches!(outcome.error, Some(LogError::NoHeader { .. })));
                continue;
            }
            assert_eq!(prefix(&outcome, &whole), complete);
            if number < segments {
                assert!(matches!(outcome.error, Some(LogError::Damage { .. })), "segment {number} cut at {length} went unnoticed");
                let from = BlockReader::open_at(dir.path(), whole[0].0).unwrap();
                assert!(from.last().unwrap().is_err(), "nor does a start by the index hide it");
                continue;
            }
            assert!(outcome.error.is_none());
            let clean = length == SEGMENT_HEADER || ends.contains(&(number, length as u64));
            assert_eq!(outcome.torn.is_none(), clean, "cut at {length}");
        }
        fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn a_torn_tail_is_cut_and_reported_and_appending_continues() {
    let whole = sample();
    let straight = tempfile::tempdir().unwrap();
    write(straight.path(), &whole, SMALL);
    let ends = ends(straight.path());
    let last = ends.last().unwrap().0;
    let bytes = fs::read(segment(straight.path(), last)).unwrap();
    for length in (0..bytes.len()).step_by(7) {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files(straight.path()) {
            fs::write(dir.path().join(name), content).unwrap();
        }
        fs::write(segment(dir.path(), last), &bytes[..length]).unwrap();
        let torn = read(dir.path()).torn;
        let mut writer = LogWriter::open_append(dir.path(), SMALL).unwrap();
        assert_eq!(writer.cut(), torn.as_ref(), "the writer cuts what the reader reports");
        let complete = ends.iter().filter(|(segment, end)| (*segment, *end) <= (last, length as u64)).count();
        assert_eq!(writer.last_epoch(), Some(whole[complete - 1].0));
        for (epoch, rows) in &whole[complete..] {
            writer.append_epoch(*epoch, rows).unwrap();
        }
        writer.close().unwrap();
        assert!(files(dir.path()) == files(straight.path()), "cut at {length}: other bytes than without the crash");
    }
}

#[test]
fn a_waiting_reader_follows_when_a_torn_end_is_cut_and_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let whole = sample();
    write(dir.path(), &whole, Options::default());
    let path = segment(dir.path(), 1);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
    let mut reader = LogReader::open(dir.path()).unwrap();
    assert_eq!((&mut reader).count(), whole.len() - 1);
    assert!(reader.torn().is_some());
    let mut writer = LogWriter::open_append(dir.path(), Options::default()).unwrap();
    assert!(reader.next().is_none() && reader.torn().is_none(), "cut, and nothing new yet");
    let (epoch, rows) = (whole[8].0 + 500, [whole[7].1.clone(), whole[8].1.clone()].concat());
    writer.append_epoch(epoch, &rows).unwrap();
    let batch = reader.next().unwrap().unwrap();
    assert_eq!(batch.epoch, epoch);
    assert!(batch.iter().map(|(_, row)| row).eq(rows));
    fs::write(&path, &bytes[..300]).unwrap();
    assert!(matches!(reader.next(), Some(Err(LogError::Damage { .. }))), "what was read is gone");
    assert!(reader.next().is_none(), "an error is final");
}

#[test]
fn an_epoch_that_stands_twice_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &sample()[..2], Options::default());
    let path = segment(dir.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    let second = bytes[288..].to_vec();
    bytes.extend(second);
    fs::write(&path, bytes).unwrap();
    let outcome = read(dir.path());
    assert_eq!(prefix(&outcome, &sample()), 2);
    assert!(outcome.error.is_some_and(|error| error.to_string().contains("or later was due")));
}

#[test]
fn nothing_is_appended_behind_damage() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &sample(), Options::default());
    let path = segment(dir.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(LogWriter::open_append(dir.path(), SMALL), Err(LogError::Damage { segment: 1, .. })));
    assert_eq!(fs::read(&path).unwrap(), bytes, "and nothing is cut");
}

#[test]
fn segments_of_another_recording_do_not_fit() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(one.path(), &sample(), SMALL);
    let mut other = sample();
    other[1].1.reverse();
    write(two.path(), &other, SMALL);
    fs::copy(segment(two.path(), 2), segment(one.path(), 2)).unwrap();
    let outcome = read(one.path());
    assert!(matches!(outcome.error, Some(LogError::Damage { segment: 2, offset: 0, .. })), "{:?}", outcome.error);
}

#[test]
fn a_frame_of_another_recording_does_not_fit_the_commit_frame() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let epochs = |event_ms| [(7, vec![Input::from(crate::input::Tick { timer: crate::input::Timer::Estimate, event_ms })])];
    write(one.path(), &epochs(40), SMALL);
    write(two.path(), &epochs(41), SMALL);
    let (ours, theirs) = (fs::read(segment(one.path(), 1)).unwrap(), fs::read(segment(two.path(), 1)).unwrap());
    assert_eq!(ours.len(), theirs.len());
    let commit = ours.len() - 32;
    fs::write(segment(one.path(), 1), [&theirs[..commit], &ours[commit..]].concat()).unwrap();
    let outcome = read(one.path());
    assert!(outcome.error.is_some_and(|error| error.to_string().contains("does not fit the frames")));
}

/// Code, rows, columns, whether compressed, stated length of the columns, payload.
type Crafted = (u16, u32, u8, bool, u32, Vec<u8>);

/// A log of one segment with the given frames, all checksums right.
fn crafted(dir: &Path, frames: &[Crafted]) {
    let header = SegmentHeader { log: Header::input("north"), number: 1, base_epoch: 0, link: 0 };
    let mut bytes = header.write().unwrap().to_vec();
    let mut headers = Vec::new();
    for (code, rows, columns, compressed, raw, payload) in frames {
        let raw = if *compressed { *raw } else { payload.len() as u32 };
        let header = FrameHeader {
            code: *code,
            compressed: *compressed,
            columns: *columns,
            rows: *rows,
            epoch: 7,
            raw,
            stored: payload.len() as u32,
            payload_crc: crc(payload),
        };
        headers.extend_from_slice(&header.write()[..28]); // without its CRC: a CRC over a CRC says nothing
        bytes.extend_from_slice(&header.write());
        bytes.extend_from_slice(payload);
    }
    let rows = frames.iter().map(|frame| frame.1).fold(0, u32::wrapping_add);
    let raw = frames.len() as u32;
    let commit = FrameHeader { code: COMMIT, compressed: false, columns: 0, rows, epoch: 7, raw, stored: 0, payload_crc: crc(&headers) };
    bytes.extend_from_slice(&commit.write());
    fs::write(segment(dir, 1), bytes).unwrap();
}

/// Columns of a measurement frame: mostly right, some not.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let column = (0u8..19, prop::collection::vec(prop_oneof![Just(0u8), Just(2), any::<u8>()], 0..12)).prop_map(|(encoding, body)| {
        let mut column = vec![encoding];
        crate::row::write_integer(body.len() as i64, &mut column);
        column.extend(body);
        column
    });
    prop_oneof![prop::collection::vec(any::<u8>(), 0..60), prop::collection::vec(column, 1..8).prop_map(|columns| columns.concat())]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn crafted_frames_are_read_or_refused(
        frames in prop::collection::vec((0u16..60, 0u32..9, 0u8..9, any::<bool>(), 0u32..600, payload()), 0..3)
    ) {
        let dir = tempfile::tempdir().unwrap();
        crafted(dir.path(), &frames);
        let outcome = read(dir.path());
        prop_assert!(outcome.error.is_some() || outcome.epochs.len() == 1 || frames.is_empty() || outcome.torn.is_some());
    }

    #[test]
    fn any_file_is_read_or_refused(bytes: Vec<u8>, behind_a_header: bool) {
        let dir = tempfile::tempdir().unwrap();
        crafted(dir.path(), &[]);
        let mut content = if behind_a_header { fs::read(segment(dir.path(), 1)).unwrap() } else { Vec::new() };
        content.extend_from_slice(&bytes);
        fs::write(segment(dir.path(), 1), content).unwrap();
        let outcome = read(dir.path());
        prop_assert!(outcome.epochs.len() <= 1);
        let _ = LogWriter::open_append(dir.path(), SMALL);
    }
}

/// 254 constant columns of 65,536 rows take a kilobyte in the file and 133 MB when decoded: they are refused before that.
#[test]
fn columns_that_a_kind_does_not_have_are_refused_before_they_are_decoded() {
    let constant = |columns: usize| [2u8, 2, 0].repeat(columns);
    for (code, columns) in [(51, 254), (51, 4), (51, 2), (Kind::Measurement as u16, 254), (59, 254)] {
        let dir = tempfile::tempdir().unwrap();
        // A last column that ends early, which only decoding would find.
        let payload = [constant(usize::from(columns) - 1), vec![2, 2]].concat();
        crafted(dir.path(), &[(code, crate::log::frame::FRAME_ROWS, columns, false, 0, payload)]);
        let what = if code == 59 { "kind of row" } else { "a frame whose columns are not those of its kind" };
        let error = read(dir.path()).error.expect("it is refused").to_string();
        assert!(error.contains(what), "{error}");
        let error = BlockReader::open(dir.path()).unwrap().next().unwrap().expect_err("it is refused").to_string();
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn sequences_must_be_complete_and_in_order() {
    // Tick: order column, timer, event time; here two rows, both columns constant.
    let tick = |order: &[u8]| {
        let mut payload = vec![0, (order.len() * 2) as u8];
        payload.extend_from_slice(order);
        payload.extend_from_slice(&[2, 2, 2, 2, 2, 0]);
        payload
    };
    for (order, good) in [([0, 2], true), ([2, 0], false), ([0, 0], false), ([0, 4], false), ([1, 2], false)] {
        let dir = tempfile::tempdir().unwrap();
        crafted(dir.path(), &[(51, 2, 3, false, 0, tick(&order))]);
        assert_eq!(read(dir.path()).error.is_none(), good, "{order:?}");
    }
}

#[test]
fn damage_behind_what_was_forced_to_the_disk_is_cut_off_and_before_it_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let whole = sample();
    write(dir.path(), &whole, Options { segment_bytes: 1 << 20, ..SMALL });
    let ends = ends(dir.path());
    let path = segment(dir.path(), 1);
    let bytes = fs::read(&path).unwrap();
    let open = |forced| LogWriter::open_append(dir.path(), Options { segment_bytes: 1 << 20, forced, ..SMALL });
    for (known, forced) in ends.iter().enumerate().take(ends.len() - 1) {
        for at in (forced.1 as usize + 1..bytes.len()).step_by(37) {
            let mut damaged = bytes.clone();
            // As a file system leaves blocks that it had made room for and not written.
            damaged[at..].fill(0);
            fs::write(&path, &damaged).unwrap();
            let mut writer = open(Some(*forced)).unwrap();
            let complete = ends.iter().filter(|(_, end)| *end <= at as u64).count();
            let kept = writer.last_epoch().and_then(|last| whole.iter().position(|(epoch, _)| *epoch == last)).unwrap() + 1;
            assert!(kept >= complete && kept > known && writer.cut().is_some(), "zeros from byte {at} on");
            for (epoch, rows) in &whole[kept..] {
                writer.append_epoch(*epoch, rows).unwrap();
            }
            writer.close().unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes, "zeros from byte {at} on");
        }
        let mut damaged = bytes.clone();
        damaged[forced.1 as usize - 1] ^= 1;
        fs::write(&path, &damaged).unwrap();
        assert!(matches!(open(Some(*forced)), Err(LogError::Damage { .. })), "what had been forced must be whole");
        assert!(matches!(open(None), Err(LogError::Damage { .. })));
    }
}
