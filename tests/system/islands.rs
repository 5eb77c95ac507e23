//! An island that comes and goes: decided while it is there, and nothing of it left when it is not.

use std::collections::{BTreeMap, BTreeSet};

use gridflow::engine::EngineConfig;
use gridflow_inputs::Input;
use gridflow_inputs::ids::{BranchId, BusId, IslandId};
use gridflow_inputs::input::{Quality, SwitchStatus};
use gridflow_inputs::network::EquipmentKind;
use gridflow_operators::decision::{Output, Stream};

use crate::support::{assert_same_bytes, changelog, epochs, record_demo, replay_into, scratch, state, workers, write_log};

/// Bus 8 hangs on the network by one transformer and has a unit of its own.
const ALONE: BusId = BusId(8);

/// Opens and closes the switch of the branch to bus 8 at these places of the log.
fn with_island(all: &mut [(u64, Vec<Input>)], moves: &[(usize, bool)]) {
    let rows: Vec<Input> = all[0].1.clone();
    let branches: Vec<BranchId> = rows
        .iter()
        .filter_map(|row| match row {
            Input::Branch(row) if row.from == ALONE || row.to == ALONE => Some(row.id),
            _ => None,
        })
        .collect();
    let [branch] = branches[..] else { panic!("bus {ALONE} hangs on {branches:?}") };
    let switch = rows
        .iter()
        .find_map(|row| match row {
            Input::Switch(row) if (row.equipment, row.equipment_id) == (EquipmentKind::Branch, branch.0) => Some(row.id),
            _ => None,
        })
        .expect("the branch has a switch");
    for (place, closed) in moves {
        let (epoch, rows) = &mut all[*place];
        rows.push(SwitchStatus { switch, event_ms: *epoch as i64, closed: *closed, quality: Quality::Good }.into());
    }
}

fn island_of(row: &Output) -> Option<IslandId> {
    match row {
        Output::Dispatch(row) => Some(row.island),
        Output::Shed(row) => Some(row.island),
        Output::Estimate(row) => Some(row.island),
        Output::Violation(row) => Some(row.island),
        Output::Contingency(row) => Some(row.island),
        Output::Constraint(row) => Some(row.island),
        Output::Outcome(row) => Some(IslandId(row.key)),
        _ => None,
    }
}

#[test]
fn an_island_that_is_no_more_leaves_no_decision_behind() {
    let dir = scratch();
    let log = dir.path().join("log");
    record_demo(&log, 4, 41);
    let mut all = epochs(&log);
    // Off the estimate ticks: open, closed again within the lead of the plan, open again, closed for good.
    with_island(&mut all, &[(61, false), (76, true), (87, false), (152, true)]);
    let (log, out) = (dir.path().join("islands-log"), dir.path().join("out"));
    write_log(&log, &all);
    replay_into(&log, &out, workers(1));

    // The least free number.
    let alone = IslandId(2);
    let decided = changelog(&out, Stream::Dispatch);
    let decided_alone = decided.values().flatten().any(|(row, change)| *change > 0 && island_of(row) == Some(alone));
    assert!(decided_alone, "the island was never decided, so this shows nothing");
    let mut set_points: BTreeMap<(EquipmentKind, u32), BTreeSet<IslandId>> = BTreeMap::new();
    for stream in
        [Stream::Dispatch, Stream::Shed, Stream::Estimate, Stream::Violation, Stream::Contingency, Stream::Constraint, Stream::Outcome]
    {
        for row in state(&changelog(&out, stream)).into_keys() {
            assert_ne!(island_of(&row), Some(alone), "{row:?}");
            if let Output::Dispatch(row) = row {
                set_points.entry((row.equipment, row.id)).or_default().insert(row.island);
            }
        }
    }
    assert!(set_points.values().all(|islands| islands.len() == 1), "two islands decide one unit: {set_points:?}");

    for (what, engine) in [
        ("three workers", workers(3)),
        ("solves delayed", EngineConfig { delay_seed: Some(5), ..workers(2) }),
        ("solves delayed otherwise", EngineConfig { delay_seed: Some(77), ..workers(4) }),
    ] {
        let other = dir.path().join(what);
        replay_into(&log, &other, engine);
        assert_same_bytes(&out, &other, what);
    }
}
