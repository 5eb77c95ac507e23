//! Leadership terms: one claimer wins, and what a superseded leader writes counts for nobody.

use super::*;
use crate::input::{Kind, Tick, Timer};
use crate::log::directory::segment_path;
use proptest::prelude::*;
use std::io::Write;

type Epochs = Vec<(Epoch, Vec<Input>)>;

/// One epoch whose row says who wrote it.
fn mark(epoch: Epoch, who: i64) -> (Epoch, Vec<Input>) {
    (epoch, vec![Tick { timer: Timer::Estimate, event_ms: who }.into()])
}

fn append(writer: &mut LogWriter, epoch: Epoch, who: i64) {
    writer.append_epoch(epoch, &mark(epoch, who).1).unwrap();
}

fn lead(log: &Path, term: u64) -> LogWriter {
    LogWriter::open_term(log, term, Header::input("north"), SMALL).unwrap()
}

fn drain(reader: &mut LogReader) -> Epochs {
    let rows = |batch: EpochBatch| (batch.epoch, batch.iter().map(|(_, row)| row).collect());
    reader.map(|batch| rows(batch.unwrap())).collect()
}

fn whole(log: &Path) -> Epochs {
    let outcome = read(log);
    assert!(outcome.error.is_none() && outcome.torn.is_none(), "{:?} {:?}", outcome.error, outcome.torn);
    outcome.epochs
}

#[test]
fn of_two_claimers_one_wins_each_term() {
    let out = tempfile::tempdir().unwrap();
    drop(lead(&out.path().join("alarm"), 0));
    for round in 1..=200u64 {
        let barrier = std::sync::Barrier::new(2);
        let claim = |who: &'static str| {
            barrier.wait();
            Terms::claim(out.path(), &["window"], who)
        };
        let (one, two) = std::thread::scope(|scope| {
            let one = scope.spawn(|| claim("one"));
            let two = scope.spawn(|| claim("two"));
            (one.join().unwrap(), two.join().unwrap())
        });
        // Both may win when the second begins after the first is done: then in two terms.
        let names = fs::read_dir(out.path().join("terms"))
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with("term-"));
        let newest = newest_term(out.path()).unwrap();
        assert_eq!(names.count() as u64, newest);
        match (one, two) {
            (Ok(terms), Err(ClaimError::Taken { term })) | (Err(ClaimError::Taken { term }), Ok(terms)) => {
                assert_eq!((terms.newest(), newest), (term, term), "round {round}");
                assert!(!terms.superseded().unwrap());
            }
            (Ok(one), Ok(two)) => assert_eq!(one.newest().abs_diff(two.newest()), 1, "both won the same term"),
            (one, two) => panic!("{one:?} {two:?}"),
        }
        let terms = Terms::load(out.path()).unwrap();
        assert_eq!(terms.newest(), newest);
        let fences: Vec<_> = terms.record().unwrap().fences.iter().map(|fence| (fence.stream.as_str(), fence.segment)).collect();
        assert_eq!(fences, [("alarm", 1), ("window", 0)], "logs that are there are fenced unasked");
    }
}

#[test]
fn what_a_superseded_leader_writes_counts_for_nobody() {
    let out = tempfile::tempdir().unwrap();
    let log = out.path().join("alarm");
    let mut old = LogWriter::create(&log, Header::input("north"), SMALL).unwrap();
    append(&mut old, 1000, 0);
    append(&mut old, 2000, 0);
    // It is in the middle of an epoch when it stops.
    tear(&log, &old, 44);
    let mut tail = LogReader::open(&log).unwrap();
    assert_eq!(drain(&mut tail), [mark(1000, 0), mark(2000, 0)]);
    assert!(tail.torn().is_some());

    let terms = Terms::claim(out.path(), &["alarm"], "the standby").unwrap();
    assert_eq!((terms.newest(), terms.record().unwrap().fence("alarm").last_epoch), (1, Some(2000)));
    assert!(tail.next().is_none() && tail.torn().is_none(), "what was torn is no part of the log any more");
    // It wakes up: the rest of its epoch, more epochs, whole segments.
    fs::OpenOptions::new().write(true).open(segment(&log, 1)).unwrap().set_len(fs::metadata(segment(&log, 1)).unwrap().len() - 44).unwrap();
    for epoch in 3..20 {
        append(&mut old, epoch * 1000, 0);
    }
    old.close().unwrap();
    assert!(segment(&log, 3).exists(), "it rolled");
    assert_eq!(whole(&log), [mark(1000, 0), mark(2000, 0)]);
    assert!(tail.next().is_none());

    let mut new = lead(&log, 1);
    assert_eq!((new.term(), new.header().term, new.last_epoch(), new.cut()), (1, 1, Some(2000), None));
    for epoch in 5..15 {
        append(&mut new, epoch * 500, 1);
    }
    let expected: Epochs = [mark(1000, 0), mark(2000, 0)].into_iter().chain((5..15).map(|epoch| mark(epoch * 500, 1))).collect();
    assert_eq!(drain(&mut tail), expected[2..]);
    assert_eq!(whole(&log), expected);
    new.close().unwrap();
    for from in [0, 2000, 2001, 2500, 4100, 9_000] {
        let found = drain(&mut LogReader::open_at(&log, from).unwrap());
        assert_eq!(found, expected.iter().filter(|(epoch, _)| *epoch >= from).cloned().collect::<Epochs>());
    }
    assert!(segment_path(&log, 2, 1).exists() && segment(&log, 2).exists(), "two second segments, by two terms");

    let found = inspect(&log).unwrap();
    assert_eq!((found.epochs, found.term, found.damage), (12, 1, None));
    let ignored: u64 = found.ignored.iter().map(|ignored| ignored.bytes).sum();
    assert!(found.ignored.iter().all(|ignored| ignored.term == 0) && found.ignored[0].segment == 1);
    let on_disk: u64 = directory::segment_files(&log)
        .unwrap()
        .into_iter()
        .map(|(number, term)| fs::metadata(segment_path(&log, number, term)).unwrap().len())
        .sum();
    assert_eq!(found.bytes + ignored, on_disk);
}

#[test]
fn two_writers_of_one_term_exclude_each_other_and_an_older_one_holds_up_nobody() {
    let out = tempfile::tempdir().unwrap();
    let log = out.path().join("alarm");
    let old = lead(&log, 0);
    assert!(matches!(LogWriter::open_term(&log, 0, Header::input("north"), SMALL), Err(LogError::Locked { .. })));
    Terms::claim(out.path(), &[], "one").unwrap();
    assert!(matches!(LogWriter::open_term(&log, 0, Header::input("north"), SMALL), Err(LogError::Superseded { term: 0, newest: 1, .. })));
    assert!(matches!(LogWriter::open_term(&log, 2, Header::input("north"), SMALL), Err(LogError::Superseded { term: 2, newest: 1, .. })));
    let new = lead(&log, 1);
    assert!(matches!(LogWriter::open_term(&log, 1, Header::input("north"), SMALL), Err(LogError::Locked { .. })));
    assert!(matches!(LogWriter::open_append(&log, SMALL), Err(LogError::Locked { .. })));
    drop(old);
    assert!(matches!(LogWriter::open_append(&log, SMALL), Err(LogError::Locked { .. })));
    drop(new);
    assert_eq!(LogWriter::open_append(&log, SMALL).unwrap().term(), 1);
    let other = |header| LogWriter::open_term(&log, 1, header, SMALL).unwrap_err();
    assert!(matches!(other(Header::input("south")), LogError::Region { .. }));
    assert!(matches!(other(Header::output::<Tick>("north", "alarm")), LogError::Stream { .. }));
    assert!(matches!(LogWriter::create(&log, Header::input("north"), SMALL), Err(LogError::Exists { .. })));
}

#[test]
fn a_term_resumed_after_a_crash_goes_on_in_its_own_segments() {
    let out = tempfile::tempdir().unwrap();
    let log = out.path().join("alarm");
    append(&mut lead(&log, 0), 1000, 0);
    Terms::claim(out.path(), &[], "one").unwrap();
    append(&mut lead(&log, 1), 2000, 1);
    let own = segment_path(&log, 2, 1);
    let good = fs::read(&own).unwrap();
    // Torn epoch, torn header: both are cut, and the fenced segment stays as it is.
    for length in [good.len() - 7, 300, 255, 3, 0] {
        fs::write(&own, &good[..length]).unwrap();
        let torn = read(&log).torn.expect("the end is torn");
        let mut again = lead(&log, 1);
        assert_eq!((again.cut(), again.last_epoch()), (Some(&torn), Some(1000)));
        append(&mut again, 2000, 1);
        drop(again);
        assert!(fs::read(&own).unwrap() == good, "cut at {length}: other bytes than without the crash");
        assert_eq!(whole(&log), [mark(1000, 0), mark(2000, 1)]);
    }
    // A damaged fenced segment, or one that lost what the term found, is damage.
    let fenced = fs::read(segment(&log, 1)).unwrap();
    fs::write(segment(&log, 1), &fenced[..fenced.len() - 1]).unwrap();
    assert!(matches!(LogReader::open(&log), Err(LogError::Damage { segment: 1, .. })));
    fs::remove_file(segment(&log, 1)).unwrap();
    assert!(matches!(LogReader::open(&log), Err(LogError::Gap { missing: 1, .. })));
}

#[test]
fn a_log_that_began_in_a_later_term_is_one() {
    let out = tempfile::tempdir().unwrap();
    let log = out.path().join("alarm");
    Terms::claim(out.path(), &["alarm"], "one").unwrap();
    // A leader of term 0 that did not notice creates the log too; so does one that was interrupted.
    drop(Terms::load(out.path()).unwrap());
    fs::create_dir_all(&log).unwrap();
    fs::write(segment(&log, 1), b"GRID").unwrap();
    assert!(matches!(LogReader::open(&log), Err(LogError::Empty { .. })));
    let mut writer = lead(&log, 1);
    append(&mut writer, 1000, 1);
    assert_eq!(whole(&log), [mark(1000, 1)]);
    drop(writer);
    // Two claims without a segment between, then a third with one.
    for term in 2..=4 {
        assert_eq!(Terms::claim(out.path(), &[], "again").unwrap().newest(), term);
    }
    append(&mut lead(&log, 4), 2000, 4);
    assert_eq!(whole(&log), [mark(1000, 1), mark(2000, 4)]);
    assert!(segment_path(&log, 2, 4).exists());
}

#[test]
fn a_reader_that_read_beyond_a_fence_is_told() {
    let out = tempfile::tempdir().unwrap();
    let log = out.path().join("alarm");
    let mut old = lead(&log, 0);
    append(&mut old, 1000, 0);
    let measured = Terms::claim(out.path(), &[], "one").unwrap();
    let term = fs::read(out.path().join("terms/term-00000001")).unwrap();
    // The claim as it is between measurement and link: the old leader still writes, and is read.
    fs::remove_file(out.path().join("terms/term-00000001")).unwrap();
    append(&mut old, 2000, 0);
    let mut beyond = LogReader::open(&log).unwrap();
    let mut waiting = LogReader::open_at(&log, 2500).unwrap();
    let mut behind = LogReader::open(&log).unwrap();
    assert_eq!((drain(&mut beyond).len(), waiting.next().is_none(), behind.next().unwrap().unwrap().epoch), (2, true, 1000));
    fs::write(out.path().join("terms/term-00000001"), term).unwrap();
    assert!(matches!(beyond.next(), Some(Err(LogError::Fenced { term: 1, epoch: Some(1000) }))));
    assert!(beyond.next().is_none(), "an error is final");
    assert!(measured.record().unwrap().who == "one" && waiting.next().is_none());
    let mut new = lead(&log, 1);
    append(&mut new, 2000, 1);
    append(&mut new, 3000, 1);
    assert_eq!(drain(&mut waiting), [mark(3000, 1)], "it had handed out nothing");
    // Opened before the claim, with epochs of the old leader in its buffer.
    assert!(matches!(behind.next(), Some(Ok(_))), "it knew the length before the claim");
    assert!(matches!(behind.next(), Some(Err(LogError::Fenced { .. }))));
}

#[test]
fn a_changed_byte_in_a_term_file_is_found() {
    let out = tempfile::tempdir().unwrap();
    let log = out.path().join("alarm");
    append(&mut lead(&log, 0), 1000, 0);
    Terms::claim(out.path(), &[], "one").unwrap();
    Terms::claim(out.path(), &[], "two").unwrap();
    let path = out.path().join("terms/term-00000001");
    let good = fs::read(&path).unwrap();
    let refused = || {
        assert!(matches!(Terms::load(out.path()), Err(LogError::Term { .. })));
        assert!(matches!(LogReader::open(&log), Err(LogError::Term { .. })));
        assert!(matches!(LogWriter::open_append(&log, SMALL), Err(LogError::Term { .. })));
        assert!(matches!(Terms::claim(out.path(), &[], "three"), Err(ClaimError::Log(LogError::Term { .. }))));
    };
    for at in 0..good.len() {
        let mut flipped = good.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&path, flipped).unwrap();
        refused();
        fs::write(&path, &good[..at]).unwrap();
        refused();
    }
    fs::remove_file(&path).unwrap();
    refused();
    fs::write(&path, &good).unwrap();
    assert_eq!(whole(&log).len(), 1);
    // A segment of a term nobody claimed is not passed over in silence.
    fs::write(segment_path(&log, 2, 3), b"").unwrap();
    assert!(matches!(LogReader::open(&log), Err(LogError::UnknownTerm { term: 3, .. })));
}

/// What happens to the log of an output directory.
#[derive(Clone, Debug)]
enum Event {
    /// The leader appends an epoch so many later.
    Append(u64),
    /// A leader that was superseded appends.
    StaleAppend(usize, u64),
    /// The leader dies while it writes, this far into an epoch, and comes back in its term.
    Crash(usize),
    /// Somebody claims the next term; the leader before lives on, perhaps in the middle of an epoch.
    Claim(usize),
    /// A leader closes and stores its index.
    Close(usize),
    /// Somebody reads on.
    Read,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1u64..4).prop_map(Event::Append),
        4 => (0usize..4, 1u64..4).prop_map(|(who, step)| Event::StaleAppend(who, step)),
        1 => (0usize..90).prop_map(Event::Crash),
        2 => (0usize..90).prop_map(Event::Claim),
        1 => (0usize..4).prop_map(Event::Close),
        3 => Just(Event::Read),
    ]
}

/// Begins to write an epoch and stops.
fn tear(log: &Path, writer: &LogWriter, bytes: usize) {
    let other = tempfile::tempdir().unwrap();
    write(other.path(), &[mark(writer.last_epoch().unwrap_or(0) + 1, 99)], SMALL);
    let epoch = fs::read(segment(other.path(), 1)).unwrap();
    let path = segment_path(log, writer.position().0, writer.term());
    let file = fs::File::options().append(true).open(path).unwrap();
    // Never the whole epoch.
    (&file).write_all(&epoch[256..(256 + bytes).min(epoch.len() - 1)]).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_interleaving_of_leaders_gives_the_epochs_of_those_that_led(events in prop::collection::vec(event(), 1..40), from in 0u64..60) {
        let out = tempfile::tempdir().unwrap();
        let log = out.path().join("alarm");
        let options = Options { segment_bytes: 500, ..SMALL };
        let open = |term| LogWriter::open_term(&log, term, Header::input("north"), options).unwrap();
        let mut leaders = vec![Some(open(0))];
        let mut model: Epochs = Vec::new();
        let mut tail = LogReader::open(&log).unwrap();
        let mut read_so_far: Epochs = Vec::new();
        for event in events {
            let newest = leaders.len() - 1;
            match event {
                Event::Append(step) => {
                    let writer = leaders[newest].get_or_insert_with(|| open(newest as u64));
                    let epoch = writer.last_epoch().unwrap_or(0) + step;
                    prop_assert_eq!(writer.last_epoch(), model.last().map(|(epoch, _)| *epoch));
                    append(writer, epoch, newest as i64);
                    model.push(mark(epoch, newest as i64));
                }
                Event::StaleAppend(who, step) => {
                    if let Some(Some(writer)) = leaders[..newest].iter_mut().nth_back(who) {
                        let epoch = writer.last_epoch().unwrap_or(0) + step;
                        append(writer, epoch, -1);
                    }
                }
                Event::Crash(bytes) => {
                    if let Some(writer) = leaders[newest].take() {
                        tear(&log, &writer, bytes);
                    }
                }
                Event::Claim(bytes) => {
                    if let (Some(writer), true) = (&leaders[newest], bytes % 3 == 0) {
                        tear(&log, writer, bytes);
                    }
                    prop_assert_eq!(Terms::claim(out.path(), &[], "next").unwrap().newest(), newest as u64 + 1);
                    leaders.push(None);
                    if bytes % 2 == 0 {
                        leaders[newest + 1] = Some(open(newest as u64 + 1));
                    }
                }
                Event::Close(who) => {
                    if let Some(writer) = leaders.iter_mut().nth_back(who).and_then(Option::take) {
                        writer.close().unwrap();
                    }
                }
                Event::Read => {
                    read_so_far.extend(drain(&mut tail));
                    prop_assert_eq!(&read_so_far, &model);
                }
            }
        }
        read_so_far.extend(drain(&mut tail));
        prop_assert_eq!(&read_so_far, &model);
        let outcome = read(&log);
        prop_assert!(outcome.error.is_none());
        prop_assert_eq!(&outcome.epochs, &model);
        let later = drain(&mut LogReader::open_at(&log, from).unwrap());
        prop_assert_eq!(later, model.iter().filter(|(epoch, _)| *epoch >= from).cloned().collect::<Epochs>());
        let found = inspect(&log).unwrap();
        prop_assert_eq!((found.epochs, found.damage), (model.len() as u64, None));
        prop_assert!(found.kinds.iter().all(|kind| kind.code == Kind::Tick as u16));
    }

    #[test]
    fn any_term_file_is_read_or_refused(bytes: Vec<u8>, fits: bool) {
        let out = tempfile::tempdir().unwrap();
        fs::create_dir(out.path().join("terms")).unwrap();
        let mut content = bytes;
        if fits {
            content = [b"GFTERM01".as_slice(), &[2], &content].concat();
            let check = frame::crc(&content);
            content.extend_from_slice(&check.to_le_bytes());
        }
        fs::write(out.path().join("terms/term-00000001"), content).unwrap();
        if let Ok(terms) = Terms::load(out.path()) {
            prop_assert!(fits && terms.newest() == 1);
        }
    }
}
