//! Connectivity nodes, and tap changers and banks that report their steps: what solvers are told of them.

use gridflow_inputs::ids::{BusId, ShuntId};
use gridflow_inputs::input::{Quality, StepPosition};
use gridflow_inputs::network::{BusKind, EquipmentKind, ShuntBank, Side, Switch, Transformer};
use gridflow_inputs::row::Real;
use gridflow_inputs::{Epoch, Input};
use gridflow_operators::decision::{BusAssignment, Output, Reason};
use gridflow_operators::islands::{IdleState, IslandOutput, Islands};
use gridflow_operators::sealed::Logic;
use gridflow_operators::state::State as _;

use crate::harness::State;
use crate::islands_network::{at, branch, bus, load, node_switch, shunt, status, switch, transformer, unit};

fn told(islands: &mut Islands, epoch: Epoch, rows: Vec<Input>) -> Vec<IslandOutput> {
    let mut out = Vec::new();
    islands.epoch(epoch, &mut at(epoch, rows), &mut out);
    out
}

/// Two busbars, 1 and 2, with a coupler; a feeder at node 3 with a disconnector to each; lines 4-1 and 4-2.
fn substation() -> Vec<Input> {
    let mut rows: Vec<Input> = (1..5).map(|id| bus(id, BusKind::Load, 0)).collect();
    rows.extend([branch(1, 4, 1, true, 0), branch(2, 4, 2, true, 0), unit(1, 4, 50, true, 0), load(1, 3, true, 0)]);
    rows.extend([node_switch(1, 1, 3, true, 0), node_switch(2, 2, 3, false, 0), node_switch(3, 1, 2, false, 0)]);
    rows
}

fn assigned(sum: &State<Output>) -> Vec<(u32, u32)> {
    let rows = sum
        .0
        .keys()
        .filter_map(|row| if let Output::BusAssignment(BusAssignment { node, bus }) = row { Some((node.0, bus.0)) } else { None });
    rows.collect()
}

fn add(sum: &mut State<Output>, out: &[IslandOutput]) {
    for row in out {
        if let IslandOutput::Row(row, by) = row {
            sum.add(row.clone(), *by);
        }
    }
}

/// The feeder goes from busbar 1 to busbar 2: coupler in, the other disconnector in, the first out, coupler out.
const TRANSFER: [(u32, bool); 4] = [(3, true), (2, true), (1, false), (3, false)];

// REQ: GRID-01
#[test]
fn each_step_of_a_transfer_between_busbars_is_told_at_its_epoch() {
    let (mut islands, mut sum) = (Islands::default(), State::default());
    add(&mut sum, &told(&mut islands, 0, substation()));
    assert_eq!(assigned(&sum), [(3, 1)]);
    let expected: [&[(u32, u32)]; 4] = [&[(2, 1), (3, 1)], &[(2, 1), (3, 1)], &[(2, 1), (3, 1)], &[(3, 2)]];
    for (place, ((id, closed), expected)) in TRANSFER.into_iter().zip(expected).enumerate() {
        let epoch = (place as Epoch + 1) * 1_000;
        let before = islands.work();
        add(&mut sum, &told(&mut islands, epoch, vec![status(id, epoch as i64, closed).into()]));
        assert_eq!(assigned(&sum), expected);
        assert!(islands.work().since(&before).touched() < 40, "a switch touches its substation");
    }
}

// REQ: GRID-08
#[test]
fn of_a_switching_sequence_within_an_epoch_only_the_end_is_told() {
    let statuses = |moves: &[(u32, bool)], epoch: i64| -> Vec<Input> {
        moves.iter().zip(1..).map(|((id, closed), step)| status(*id, epoch - 500 + step, *closed).into()).collect()
    };
    let (mut islands, mut direct) = (Islands::default(), Islands::default());
    let first = told(&mut islands, 0, substation());
    assert_eq!(told(&mut direct, 0, substation()), first);
    // The whole transfer in one epoch is its two lasting moves, told once: the feeder was never off, the bars never one bus.
    let sequence = told(&mut islands, 1_000, statuses(&TRANSFER, 1_000));
    assert_eq!(sequence, told(&mut direct, 1_000, statuses(&[(2, true), (1, false)], 1_000)));
    let assignments: Vec<&IslandOutput> = sequence.iter().filter(|row| matches!(row, IslandOutput::Row(..))).collect();
    let moved = |bus: u32, by| IslandOutput::Row(BusAssignment { node: BusId(3), bus: BusId(bus) }.into(), by);
    assert_eq!(assignments, [&moved(1, -1), &moved(2, 1)]);
    // There and back is nothing at all.
    let back: Vec<(u32, bool)> = [(3, true), (3, false), (2, false), (2, true)].into();
    assert_eq!(told(&mut islands, 2_000, statuses(&back, 2_000)), []);
}

#[test]
fn a_node_switch_is_told_as_it_stands_with_its_first_node() {
    let mut islands = Islands::default();
    told(&mut islands, 0, substation());
    let stands = |out: Vec<IslandOutput>| -> Vec<(u32, bool, i64)> {
        let element = |row| match row {
            IslandOutput::Element((EquipmentKind::Bus, node), Input::NodeSwitch(row), by) => Some((node, row.normally_closed, by)),
            _ => None,
        };
        out.into_iter().filter_map(element).collect()
    };
    assert_eq!(stands(told(&mut islands, 1_000, vec![status(2, 1_000, true).into()])), [(2, false, -1), (2, true, 1)]);
    // Loaded, the same is told again.
    let mut loaded = Islands::default();
    loaded.load(&islands.save(), &|_| true).unwrap();
    let mut held = Vec::new();
    loaded.hold(&mut held);
    assert_eq!(stands(held), [(1, true, 1), (2, true, 1), (1, false, 1)]);
    // A number that goes to another switch leaves its nodes apart.
    let taken = crate::islands_network::switch(2, EquipmentKind::Load, 1, true, 2_000);
    assert_eq!(stands(told(&mut islands, 2_000, vec![taken])), [(2, true, -1), (2, false, 1)]);
}

fn step(equipment: EquipmentKind, id: u32, event_ms: i64, step: i64) -> Input {
    StepPosition { equipment, equipment_id: id, event_ms, step, quality: Quality::Good }.into()
}

fn real(value: f64) -> Real {
    Real::new(value).unwrap()
}

/// A tap changer from 0.9 to 1.1 in 16 steps at branch 1, one that is fixed at branch 2, a bank of four sections at shunt 1.
fn stepped() -> Vec<Input> {
    let mut rows = substation();
    let Input::Transformer(row) = transformer(1, 1, 0) else { unreachable!() };
    rows.push(Transformer { tap_min: real(0.9), tap_max: real(1.1), tap_step: real(0.0125), ..row }.into());
    rows.extend([transformer(2, 1, 0), shunt(1, 1, true, 0)]);
    let (controlled_bus, v_setpoint_pu) = (None, Real::ONE);
    rows.push(ShuntBank { shunt: ShuntId(1), valid_from_ms: 0, sections: 4, normally_on: 2, controlled_bus, v_setpoint_pu }.into());
    rows
}

/// Tap ratios and sections on, as told with +1.
fn positions(out: &[IslandOutput]) -> Vec<f64> {
    let position = |row: &IslandOutput| match row {
        IslandOutput::Element(_, Input::Branch(row), 1) => Some(row.tap_ratio.get()),
        IslandOutput::Element(_, Input::ShuntBank(row), 1) => Some(f64::from(row.normally_on)),
        _ => None,
    };
    out.iter().filter_map(position).collect()
}

fn reasons(out: &[IslandOutput]) -> Vec<(Reason, u32)> {
    out.iter()
        .filter_map(|row| if let IslandOutput::Row(Output::Rejected(row), 1) = row { Some((row.reason, row.subject)) } else { None })
        .collect()
}

#[test]
fn rows_of_tap_changers_and_banks_are_told_with_the_step_reported_last() {
    let mut islands = Islands::default();
    let first = told(&mut islands, 0, stepped());
    assert_eq!(positions(&first), [1.0, 1.0, 2.0]);
    let out = told(&mut islands, 1_000, vec![step(EquipmentKind::Branch, 1, 900, 16), step(EquipmentKind::Shunt, 1, 900, 4)]);
    assert_eq!(positions(&out), [0.9 + 16.0 * 0.0125, 4.0]);
    assert!(out.iter().any(|row| matches!(row, IslandOutput::Changed(_))), "solvers are to solve anew");
    // A late step is refused, a correction of the newest counts, and the same again changes nothing.
    let out = told(&mut islands, 2_000, vec![step(EquipmentKind::Branch, 1, 800, 3), step(EquipmentKind::Shunt, 1, 900, 1)]);
    assert_eq!((positions(&out), reasons(&out)), (vec![1.0], vec![(Reason::Superseded, 1)]));
    assert_eq!(told(&mut islands, 3_000, vec![step(EquipmentKind::Branch, 1, 2_900, 16)]), []);
    // What cannot be: too far, none of a fixed ratio or of a thing that is not there, of what has no steps, of the future.
    let refused = [
        (step(EquipmentKind::Branch, 1, 3_900, 17), Reason::OutOfRange),
        (step(EquipmentKind::Branch, 1, 3_900, -1), Reason::OutOfRange),
        (step(EquipmentKind::Shunt, 1, 3_900, 5), Reason::OutOfRange),
        (step(EquipmentKind::Branch, 2, 3_900, 0), Reason::Unknown),
        (step(EquipmentKind::Shunt, 9, 3_900, 0), Reason::Unknown),
        (step(EquipmentKind::Load, 1, 3_900, 0), Reason::Unknown),
        (step(EquipmentKind::Branch, 1, 60_000, 0), Reason::Future),
    ];
    for (row, reason) in refused {
        let out = told(&mut islands, 4_000, vec![row.clone()]);
        assert!(out.len() == 1 && reasons(&out)[0].0 == reason, "{row:?}: {out:?}");
    }
    let mut loaded = Islands::default();
    loaded.load(&islands.save(), &|_| true).unwrap();
    let mut held = Vec::new();
    loaded.hold(&mut held);
    assert_eq!(positions(&held), [0.9 + 16.0 * 0.0125, 1.0, 1.0]);
    // Another changer with fewer steps: the branch's own ratio counts until a step comes that it has.
    let Input::Transformer(row) = transformer(1, 1, 5_000) else { unreachable!() };
    let other = Transformer { tap_min: real(0.95), tap_max: real(1.05), tap_step: real(0.0125), ..row };
    assert_eq!(positions(&told(&mut islands, 5_000, vec![other.into()])), [1.0]);
}

#[test]
fn a_branch_is_open_at_both_ends_when_a_switch_is_at_each_whatever_the_others_do() {
    let mut islands = Islands::default();
    let mut rows = substation();
    for (id, side) in [(11, Side::From), (12, Side::From), (13, Side::To), (14, Side::None)] {
        let Input::Switch(row) = switch(id, EquipmentKind::Branch, 1, true, 0) else { unreachable!("it is a switch") };
        rows.push(Switch { side, ..row }.into());
    }
    told(&mut islands, 0, rows);
    let mut state = None;
    let moves = [(11, false), (14, false), (13, false), (12, false), (11, true), (12, true), (13, true), (14, true)];
    let seen = moves.into_iter().zip(1..).map(|((id, closed), second)| {
        for row in told(&mut islands, second * 1_000, vec![status(id, second as i64 * 1_000, closed).into()]) {
            match row {
                IslandOutput::Idle((EquipmentKind::Branch, 1), idle, 1) => state = Some((idle.state, idle.since_ms)),
                IslandOutput::Idle((EquipmentKind::Branch, 1), ..) => state = None,
                _ => {}
            }
        }
        state
    });
    let (out, both) = (Some((IdleState::Out, 1_000)), Some((IdleState::OpenAtBothEnds, 1_000)));
    assert_eq!(seen.collect::<Vec<_>>(), [out, out, both, both, both, out, out, None]);
}
