//! The prefix rule: a log that ends at epoch L gives exactly the outputs stamped L or earlier.

use gridflow_operators::decision::Stream;

use crate::support::{changelog, epochs, record_demo, replay_into, scratch, workers, write_log};

#[test]
fn a_log_cut_anywhere_gives_a_prefix_of_the_outputs() {
    let dir = scratch();
    let whole = dir.path().join("whole");
    record_demo(&whole, 8, 11);
    let all = epochs(&whole);
    let out = dir.path().join("whole-out");
    replay_into(&whole, &out, workers(2));
    // Among the cuts: the first epoch, one inside a dispatch's lead, one at an effect epoch, one between ticks.
    let dispatch = changelog(&out, Stream::Dispatch);
    let effect = *dispatch.keys().nth(1).expect("a second plan took effect");
    let position = |epoch| all.iter().position(|(at, _)| *at == epoch).expect("an epoch of the log");
    let effect = position(effect);
    for cut in [1, 2, effect - 20, effect, effect + 1, all.len() - 7] {
        let log = dir.path().join(format!("cut-{cut}"));
        write_log(&log, &all[..cut]);
        let cut_out = dir.path().join(format!("cut-{cut}-out"));
        replay_into(&log, &cut_out, workers(1));
        let last = all[cut - 1].0;
        for stream in Stream::ALL {
            let mut expected = changelog(&out, *stream);
            expected.retain(|epoch, _| *epoch <= last);
            assert_eq!(changelog(&cut_out, *stream), expected, "{} of a log cut at epoch {last}", stream.name());
        }
    }
}

#[test]
fn a_torn_log_replays_up_to_its_last_complete_epoch_and_says_so() {
    let dir = scratch();
    let log = dir.path().join("log");
    record_demo(&log, 2, 5);
    let segment = log.join("segment-00000001.gfl");
    let bytes = std::fs::read(&segment).expect("the segment is there");
    std::fs::write(&segment, &bytes[..bytes.len() - 3]).expect("it can be cut");
    let summary = replay_into(&log, &dir.path().join("out"), workers(1));
    assert_eq!(summary.summary.epochs, 120);
    assert!(summary.summary.torn.is_some_and(|torn| torn.bytes > 0));
}
