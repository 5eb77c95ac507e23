//! A switch, seen from outside: the epoch it opens in has the new islands and, of what is left, the outages it would not bear;
//! and the limits that the estimate of that epoch is near to.

use std::collections::{BTreeMap, BTreeSet};

use gridflow_inputs::ids::{BranchId, BusId, IslandId};
use gridflow_inputs::input::{ContingencyElement, Quality, SwitchStatus};
use gridflow_inputs::network::EquipmentKind;
use gridflow_inputs::units::MilliVoltAmperes;
use gridflow_inputs::{Epoch, Input, Kind};
use gridflow_operators::decision::{Constraint, Contingency, ContingencyMethod, Output, Reason, Stream};

use crate::support::{Changes, assert_same_bytes, changelog, epochs, record_demo, replay_into, scratch, workers, write_log};

/// What holds of an island after `until`.
fn at(changelog: &BTreeMap<Epoch, Changes>, until: Epoch) -> Vec<Output> {
    let mut state: BTreeMap<&Output, i64> = BTreeMap::new();
    for (row, change) in changelog.range(..=until).flat_map(|(_, rows)| rows) {
        *state.entry(row).or_insert(0) += change;
    }
    state.into_iter().filter(|(_, count)| *count != 0).map(|(row, _)| row.clone()).collect()
}

fn contingencies(rows: &[Output]) -> Vec<&Contingency> {
    rows.iter().filter_map(|row| if let Output::Contingency(row) = row { Some(row) } else { None }).collect()
}

fn constraints(rows: &[Output]) -> Vec<&Constraint> {
    rows.iter().filter_map(|row| if let Output::Constraint(row) = row { Some(row) } else { None }).collect()
}

// REQ: GRID-06, GRID-13
#[test]
fn the_epoch_of_a_switch_has_its_islands_and_what_they_would_not_bear() {
    let dir = scratch();
    let log = dir.path().join("log");
    record_demo(&log, 4, 41);
    let mut all = epochs(&log);
    // Ratings that an outage breaks, and that branches come near to.
    for row in &mut all[0].1 {
        if let Input::Branch(row) = row {
            row.rating = MilliVoltAmperes::from_mva(if row.id.0 % 2 == 0 { 18.0 } else { 60.0 }).expect("it is small");
        }
    }
    let hangs = |row: &Input| match row {
        Input::Branch(row) if row.from == BusId(8) || row.to == BusId(8) => Some(row.id),
        _ => None,
    };
    let branch: BranchId = all[0].1.iter().find_map(hangs).expect("bus 8 hangs on a branch");
    let switch = all[0].1.iter().find_map(|row| match row {
        Input::Switch(row) if (row.equipment, row.equipment_id) == (EquipmentKind::Branch, branch.0) => Some(row.id),
        _ => None,
    });
    // Between two ticks of the estimator.
    let opened = all[62].0;
    all[62]
        .1
        .push(SwitchStatus { switch: switch.expect("it has one"), event_ms: opened as i64, closed: false, quality: Quality::Good }.into());
    let (log, out) = (dir.path().join("opened"), dir.path().join("out"));
    write_log(&log, &all);
    replay_into(&log, &out, workers(2));

    let (topology, view, near) =
        (changelog(&out, Stream::Topology), changelog(&out, Stream::Contingency), changelog(&out, Stream::Constraint));
    let estimated: BTreeSet<Epoch> = changelog(&out, Stream::Estimate).into_keys().collect();
    assert!(estimated.contains(&opened) && !opened.is_multiple_of(5_000), "a switch does not wait for a tick");
    let next = *estimated.range(opened + 1..).next().expect("the estimator goes on");
    assert!(next <= opened + 5_000);

    let island = |row: &Output| {
        if let Output::Topology(row) = row { (row.id == 8 && row.equipment == EquipmentKind::Bus).then_some(row.island) } else { None }
    };
    assert_eq!(at(&topology, opened).iter().find_map(island), Some(Some(IslandId(2))), "the new island, in the same epoch");

    let before = at(&view, opened - 1);
    let names_branch = |row: &&Contingency| (row.equipment, row.id) == (EquipmentKind::Branch, branch.0);
    assert!(contingencies(&before).iter().any(|row| row.loading.0 > 1_000_000), "nothing is insecure, so this shows nothing");
    let first = *estimated.first().expect("there is an estimate");
    // All solved when the grid changed, and at the first estimate that rests on readings from after that.
    let changed = topology.keys().copied().filter(|epoch| *epoch >= first).chain([first]);
    let solved: BTreeSet<Epoch> = changed.flat_map(|epoch| [Some(epoch), estimated.range(epoch + 1..).next().copied()]).flatten().collect();
    let stands = *solved.range(..opened).next_back().expect("the first estimate is before it");
    // What injections touched since then was solved again, at an estimate.
    let since =
        |row: &&Contingency| row.solved_ms == stands as i64 || estimated.range(stands..opened).any(|tick| *tick as i64 == row.solved_ms);
    assert!(contingencies(&before).iter().all(since), "{before:?} of {stands}");
    for (moment, what) in [(opened, "at once"), (next, "at the first estimate of the new grid")] {
        let rows = at(&view, moment);
        let rows = contingencies(&rows);
        assert!(rows.iter().any(|row| row.island == IslandId(1)), "{what}");
        assert!(rows.iter().all(|row| row.solved_ms == moment as i64), "{what}: {rows:?}");
        assert!(!rows.iter().any(names_branch), "{what}: what is out cannot fail");
    }
    let asked = |epoch: &Epoch| solved.contains(epoch) || estimated.contains(epoch);
    assert!(view.keys().all(asked), "solved at other epochs than {solved:?}: {:?}", view.keys());
    assert!(contingencies(&at(&view, next)).iter().all(|row| row.method == ContingencyMethod::Ac), "the worst are told by AC");

    assert!(!constraints(&at(&near, opened - 1)).is_empty());
    let told = near.get(&opened).expect("the list is told anew at the switch");
    assert!(told.iter().any(|(_, change)| *change > 0) || !constraints(&at(&near, opened)).is_empty());
    let of_branch = |row: &&Constraint| (row.equipment, row.id) == (EquipmentKind::Branch, branch.0);
    assert!(!constraints(&at(&near, opened)).iter().any(of_branch), "what is out carries nothing");
    assert!(constraints(&at(&near, next)).iter().any(|row| row.margin < 0), "the demo is within its limits, so this shows nothing");
}

// REQ: GRID-05
#[test]
fn named_contingencies_are_told_in_their_epoch_and_go_when_they_are_taken_back() {
    let dir = scratch();
    let log = dir.path().join("log");
    record_demo(&log, 4, 43);
    let mut all = epochs(&log);
    let between = |one: u32, other: u32| {
        let mut branches = all[0].1.iter().filter_map(|row| if let Input::Branch(row) = row { Some(row) } else { None });
        branches.find(|row| (row.from.0, row.to.0) == (one, other)).expect("it is there").id.0
    };
    // Without both, bus 14 hangs on nothing.
    let (one, other) = (between(9, 14), between(13, 14));
    let element = |id: u64, epoch: Epoch, equipment: EquipmentKind, equipment_id: u32, withdrawn: bool| -> Input {
        ContingencyElement { id, event_ms: epoch as i64, equipment, equipment_id, withdrawn }.into()
    };
    let branch = EquipmentKind::Branch;
    // None of these is a tick of the estimator.
    let [asked, wrong, back] = [61, 93, 127].map(|place| all[place].0);
    all[61].1.extend([element(5, asked, branch, one, false), element(5, asked, branch, other, false)]);
    all[93].1.extend([
        element(6, wrong, branch, 999, false),
        element(6, wrong, EquipmentKind::Load, 1, false),
        element(5, asked - 1_000, branch, one, true),
    ]);
    all[127].1.push(element(5, back, branch, one, true));
    let (log, out) = (dir.path().join("named"), dir.path().join("out"));
    write_log(&log, &all);
    replay_into(&log, &out, workers(1));
    for count in [2, 4] {
        let same = dir.path().join(format!("workers-{count}"));
        replay_into(&log, &same, workers(count));
        assert_same_bytes(&out, &same, &format!("{count} workers"));
    }

    let told = changelog(&out, Stream::Contingency);
    let named = |until: Epoch| {
        let rows = at(&told, until);
        Vec::from_iter(contingencies(&rows).into_iter().filter(|row| row.number.is_some()).cloned())
    };
    assert!(named(asked - 1).is_empty());
    for moment in [asked, wrong, back - 1] {
        let rows = named(moment);
        let [row] = &rows[..] else { panic!("{rows:?} at {moment}") };
        assert_eq!((row.number, row.equipment, row.id, &row.with[..]), (Some(5), branch, one, &[(branch, other)][..]));
        assert!(row.lost_load.0 > 0 && row.solved_ms >= asked as i64, "{row:?}");
    }
    assert!(named(back).is_empty(), "one branch is left of it, which is told by itself");
    let refused = Vec::from_iter(changelog(&out, Stream::Rejected).remove(&wrong).into_iter().flatten().filter_map(|(row, _)| match row {
        Output::Rejected(row) if row.kind == Kind::ContingencyElement as u8 => Some((row.subject, row.reason)),
        _ => None,
    }));
    let refused = BTreeSet::from_iter(refused);
    assert_eq!(refused, BTreeSet::from([(999, Reason::Unknown), (1, Reason::Malformed), (one, Reason::Superseded)]));

    // Stopped anywhere, the run goes on as if it had not: lists are remembered, and loading asks for nothing.
    let (state, grown) = (dir.path().join("state"), dir.path().join("grown"));
    for (cut, workers) in [(70, "2"), (100, "1"), (130, "3"), (all.len(), "1")] {
        let _ = std::fs::remove_dir_all(&grown);
        write_log(&grown, &all[..cut]);
        let run = crate::resume::command(&grown, &state, &["--until-end", "--workers", workers, "--checkpoint-every", "30"]).output();
        assert!(run.expect("it runs").status.success());
        let expected = dir.path().join(format!("cut-{cut}"));
        replay_into(&grown, &expected, crate::support::workers(1));
        assert_same_bytes(&expected, &state.join("out"), &format!("{cut} epochs"));
    }
}
