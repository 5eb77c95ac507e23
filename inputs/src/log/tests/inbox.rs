//! The inbox gives each row at least once, in the order of names, and nothing else.

use super::*;
use crate::input::Kind;
use crate::log::inbox::{FILE_BYTES, InboxError, drain, post};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn fact(seed: u64) -> Input {
    strategy::row([Kind::EngineFact, Kind::OperatorCommand][(seed % 2) as usize], seed)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .map_or_else(|_| Vec::new(), |entries| entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect());
    names.sort();
    names
}

#[test]
fn rows_come_in_the_order_of_their_names_until_they_are_deleted() {
    let log = tempfile::tempdir().unwrap();
    assert!(drain(log.path(), 10).unwrap().rows.is_empty(), "no inbox, no rows");
    for seed in [4, 0, 3, 1, 2] {
        post(log.path(), &format!("fact-{seed}"), &fact(seed)).unwrap();
    }
    let first = drain(log.path(), 3).unwrap();
    assert_eq!(first.rows, [fact(0), fact(1), fact(2)]);
    drop(first); // the writer dies before it has appended them
    let again = drain(log.path(), 3).unwrap();
    assert_eq!(again.rows, [fact(0), fact(1), fact(2)]);
    again.delete().unwrap();
    let rest = drain(log.path(), 3).unwrap();
    assert_eq!((rest.rows.as_slice(), rest.refused.len()), ([fact(3), fact(4)].as_slice(), 0));
    rest.delete().unwrap();
    assert!(drain(log.path(), 3).unwrap().rows.is_empty());
    assert!(names(&log.path().join("inbox")).is_empty(), "no draft is left");
    assert!(drain(log.path(), 0).unwrap().rows.is_empty());
}

#[test]
fn a_waiting_row_is_not_replaced() {
    let log = tempfile::tempdir().unwrap();
    post(log.path(), "one", &fact(1)).unwrap();
    post(log.path(), "one", &fact(1)).unwrap();
    assert!(matches!(post(log.path(), "one", &fact(2)), Err(InboxError::Taken { .. })));
    assert_eq!(drain(log.path(), 9).unwrap().rows, [fact(1)]);
    for name in ["", ".one", "a/b", "..", "a b", &"n".repeat(101)] {
        assert!(matches!(post(log.path(), name, &fact(1)), Err(InboxError::Name { .. })), "{name:?}");
    }
    for kind in Kind::ALL.iter().filter(|kind| !matches!(kind, Kind::EngineFact | Kind::OperatorCommand)) {
        assert!(matches!(post(log.path(), "two", &strategy::row(*kind, 1)), Err(InboxError::Kind { .. })));
    }
    let Input::EngineFact(mut long) = strategy::row(Kind::EngineFact, 1) else { panic!() };
    long.subject = "s".repeat(FILE_BYTES as usize);
    assert!(matches!(post(log.path(), "two", &long.into()), Err(InboxError::TooLarge { .. })));
}

#[test]
fn what_is_no_row_is_moved_aside_with_its_reason() {
    // REQ: DQ-35
    let log = tempfile::tempdir().unwrap();
    let inbox = log.path().join("inbox");
    post(log.path(), "good", &fact(1)).unwrap();
    let good = fs::read(inbox.join("good.row")).unwrap();
    let mut refused = 0;
    for at in 0..good.len() {
        let mut flipped = good.clone();
        flipped[at] ^= 1 << (at % 8);
        for bytes in [flipped, good[..at].to_vec(), [good.clone(), vec![0; at + 1]].concat()] {
            fs::write(inbox.join("bad.row"), bytes).unwrap();
            let drained = drain(log.path(), 9).unwrap();
            assert_eq!((drained.rows.as_slice(), drained.refused.len()), ([fact(1)].as_slice(), 1));
            refused += 1;
        }
    }
    assert_eq!(names(&inbox.join("refused")).len(), 2 * refused, "none replaces another, each has a reason");
    assert_eq!(names(&inbox), ["good.row", "refused"]);

    let other = |bytes: &[u8]| {
        let mut file = [b"GFINBOX1".as_slice(), &frame::crc(bytes).to_le_bytes()].concat();
        file.extend_from_slice(bytes);
        file
    };
    let mut tick = Vec::new();
    strategy::row(Kind::Tick, 1).write(&mut tick);
    fs::write(inbox.join("a.row"), other(&tick)).unwrap();
    fs::write(inbox.join("b.row"), vec![7; FILE_BYTES as usize + 1]).unwrap();
    fs::create_dir(inbox.join("c.row")).unwrap();
    fs::write(inbox.join("d.txt"), &good).unwrap();
    fs::write(inbox.join("e.row"), other(&[99])).unwrap();
    let found = drain(log.path(), 9).unwrap().refused;
    let expected = ["kind Tick", "longer than 64 KiB", "no file", "end in .row", "no row of this build"];
    assert_eq!(found.len(), expected.len());
    for (refused, part) in found.iter().zip(expected) {
        assert!(refused.reason.contains(part), "{refused:?}");
        let beside = format!("{}.reason", refused.path.display());
        assert_eq!(fs::read_to_string(beside).unwrap(), format!("{}\n", refused.reason));
    }
}

#[test]
fn rows_posted_while_others_are_taken_all_come() {
    let log = tempfile::tempdir().unwrap();
    const EACH: u64 = 60;
    let mut seen: BTreeSet<Input> = BTreeSet::new();
    let Input::EngineFact(template) = strategy::row(Kind::EngineFact, 1) else { panic!() };
    let row = |who: u64, number: u64| {
        let mut row = template.clone();
        row.value = (who * EACH + number) as i64;
        Input::from(row)
    };
    std::thread::scope(|scope| {
        let posters: Vec<_> = (0..2)
            .map(|who| {
                let log = log.path();
                scope.spawn(move || (0..EACH).for_each(|number| post(log, &format!("{number:03}-{who}"), &row(who, number)).unwrap()))
            })
            .collect();
        while posters.iter().any(|poster| !poster.is_finished()) {
            let drained = drain(log.path(), 7).unwrap();
            assert!(drained.rows.len() <= 7 && drained.refused.is_empty());
            seen.extend(drained.rows.iter().cloned());
            drained.delete().unwrap();
        }
    });
    let rest = drain(log.path(), 1000).unwrap();
    seen.extend(rest.rows);
    assert!(seen.into_iter().eq((0..2 * EACH).map(|number| row(number / EACH, number % EACH))));
}

proptest! {
    #[test]
    fn any_file_is_a_row_or_refused(bytes: Vec<u8>, fits: bool) {
        let log = tempfile::tempdir().unwrap();
        let inbox = log.path().join("inbox");
        fs::create_dir(&inbox).unwrap();
        let check = frame::crc(&bytes).to_le_bytes();
        let content = if fits { [b"GFINBOX1".as_slice(), &check, &bytes].concat() } else { bytes };
        fs::write(inbox.join("any.row"), content).unwrap();
        let drained = drain(log.path(), 9).unwrap();
        prop_assert_eq!(drained.rows.len() + drained.refused.len(), 1);
    }

    #[test]
    fn any_row_has_one_byte_form_that_is_read_back(row in strategy::input()) {
        let mut bytes = Vec::new();
        row.write(&mut bytes);
        let mut rest = bytes.as_slice();
        prop_assert_eq!(Input::read(&mut rest), Ok(row));
        prop_assert!(rest.is_empty());
        prop_assert!(Input::read(&mut &bytes[..bytes.len() - 1]).is_err());
    }
}
