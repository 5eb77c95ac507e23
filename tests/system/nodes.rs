//! A grid of connectivity nodes, seen from outside: joined by closed switches it is the grid of buses to the bit; a coupler
//! that opens takes its bus apart in the same epoch, and what still measures a flow on a line then open is named.

use std::collections::BTreeSet;

use gridflow_inputs::ids::{BusId, SwitchId};
use gridflow_inputs::input::{Quality, Quantity, SwitchStatus};
use gridflow_inputs::network::{Bus, EquipmentKind, NodeSwitch, Switch, SwitchKind};
use gridflow_inputs::{Epoch, Input};
use gridflow_operators::decision::{Output, StatusErrorKind, Stream};

use crate::support::{assert_same_bytes, changelog, epochs, record_demo, replay_into, scratch, state, workers, write_log};

/// The bus that is taken apart, and its two nodes with the coupler between them.
const BUS: BusId = BusId(4);
const FAR: BusId = BusId(104);
pub(crate) const COUPLER: SwitchId = SwitchId(9_001);

/// Takes the bus apart: every other branch hangs on the far node.
pub(crate) fn apart(rows: &mut Vec<Input>) {
    let mut added = Vec::new();
    for row in rows.iter_mut() {
        match row {
            Input::Bus(row) if row.id == BUS => {
                added.push(Bus { id: FAR, ..row.clone() }.into());
                let (name, kind) = ("coupler".to_owned(), SwitchKind::Breaker);
                let valid_from_ms = row.valid_from_ms;
                added.push(NodeSwitch { id: COUPLER, valid_from_ms, name, kind, from: BUS, to: FAR, normally_closed: true }.into());
            }
            Input::Branch(row) if row.id.0.is_multiple_of(2) => {
                for end in [&mut row.from, &mut row.to] {
                    *end = if *end == BUS { FAR } else { *end };
                }
            }
            _ => {}
        }
    }
    rows.extend(added);
}

pub(crate) fn moved(switch: SwitchId, epoch: Epoch, closed: bool) -> Input {
    SwitchStatus { switch, event_ms: epoch as i64, closed, quality: Quality::Good }.into()
}

// REQ: GRID-01
#[test]
fn nodes_that_are_joined_are_the_bus_they_make() {
    let dir = scratch();
    let log = dir.path().join("log");
    record_demo(&log, 3, 41);
    let mut all = epochs(&log);
    let out = dir.path().join("buses");
    replay_into(&log, &out, workers(1));
    apart(&mut all[0].1);
    let (log, nodes) = (dir.path().join("nodes-log"), dir.path().join("nodes"));
    write_log(&log, &all);
    replay_into(&log, &nodes, workers(2));
    for stream in [Stream::Estimate, Stream::EstimateResidual, Stream::Dispatch, Stream::Price, Stream::Constraint, Stream::Contingency] {
        let (buses, nodes) = (changelog(&out, stream), changelog(&nodes, stream));
        assert!(!buses.is_empty() || stream == Stream::EstimateResidual, "{stream:?}");
        assert_eq!(buses, nodes, "{stream:?}");
    }
    let assigned: Vec<Output> = state(&changelog(&nodes, Stream::BusAssignment)).into_keys().collect();
    assert!(matches!(&assigned[..], [Output::BusAssignment(row)] if (row.node, row.bus) == (FAR, BUS)), "{assigned:?}");
}

// REQ: GRID-01, GRID-08
#[test]
fn a_coupler_and_a_line_that_open_are_told_at_once_and_what_contradicts_them() {
    let dir = scratch();
    let log = dir.path().join("log");
    record_demo(&log, 3, 41);
    let mut all = epochs(&log);
    apart(&mut all[0].1);
    let measured: BTreeSet<u32> = all
        .iter()
        .flat_map(|(_, rows)| rows)
        .filter_map(|row| match row {
            Input::Sensor(row) if row.quantity == Quantity::ActiveFlow => Some(row.element_id),
            _ => None,
        })
        .collect();
    // A line that is measured and has a switch; its readings, recorded with it closed, go on.
    let line: Switch = all[0]
        .1
        .iter()
        .find_map(|row| match row {
            Input::Switch(row) if row.equipment == EquipmentKind::Branch && measured.contains(&row.equipment_id) => Some(row.clone()),
            _ => None,
        })
        .expect("there is one");
    let (opened, closed) = (all[62].0, all[120].0);
    all[62].1.extend([moved(COUPLER, opened, false), moved(line.id, opened, false)]);
    all[120].1.extend([moved(COUPLER, closed, true), moved(line.id, closed, true)]);
    let (log, out) = (dir.path().join("opened"), dir.path().join("out"));
    write_log(&log, &all);
    replay_into(&log, &out, workers(1));

    let assignments = changelog(&out, Stream::BusAssignment);
    assert_eq!(assignments.keys().copied().filter(|epoch| *epoch >= opened).collect::<Vec<_>>(), [opened, closed]);
    assert_eq!(assignments[&opened].iter().map(|(_, by)| *by).collect::<Vec<_>>(), [-1]);
    // Between the two the estimate has one bus more.
    let buses = |from: Epoch, until: Epoch| -> BTreeSet<usize> {
        let rows = changelog(&out, Stream::Estimate);
        let rows: Vec<_> = rows.range(from..until).flat_map(|(_, rows)| rows.clone()).collect();
        rows.iter().filter_map(|(row, by)| if let (Output::Estimate(row), 1) = (row, by) { Some(row.buses.len()) } else { None }).collect()
    };
    assert_eq!((buses(0, opened), buses(opened + 5_000, closed)), ([14].into(), [15].into()));

    let errors = changelog(&out, Stream::StatusError);
    let mut held: BTreeSet<Output> = BTreeSet::new();
    let mut begun = 0;
    for (epoch, rows) in &errors {
        for (row, by) in rows {
            let Output::StatusError(error) = row else { panic!("{row:?}") };
            assert_eq!(
                (error.kind, error.equipment, error.id),
                (StatusErrorKind::FlowOnOpenBranch, EquipmentKind::Branch, line.equipment_id)
            );
            if *by > 0 {
                assert!(*epoch > opened && *epoch <= closed, "not before a reading taken since");
                begun += 1;
                assert!(held.insert(row.clone()));
            } else {
                assert!(held.remove(row));
            }
        }
    }
    assert!(begun > 0 && held.is_empty(), "{begun} begun, {held:?} left");
    assert_eq!(*errors.keys().next_back().expect("there are some"), closed, "withdrawn when the line closes");
    for count in [2, 3] {
        let other = dir.path().join(format!("{count} workers"));
        replay_into(&log, &other, workers(count));
        assert_same_bytes(&out, &other, "workers");
    }
}
