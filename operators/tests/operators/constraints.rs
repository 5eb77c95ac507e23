//! The list of constraints, judged by complex voltages and currents.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridflow_inputs::ids::BusId;
use gridflow_inputs::network::Side;
use gridflow_inputs::row::Real;
use gridflow_inputs::units::MilliVoltAmperes;
use gridflow_operators::constraints::{LOADING, VOLTAGE_MARGIN};
use gridflow_operators::decision::{Constraint, ConstraintKind, Output};
use gridflow_operators::grid::GridRow;

use crate::security::{BASE_MVA, HANGING, START, Step, Which, elements, estimate, flow_of, island, network, told};

type Complex = (f64, f64);

fn times(a: Complex, b: Complex) -> Complex {
    (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)
}

fn over(a: Complex, b: Complex) -> Complex {
    let square = b.0 * b.0 + b.1 * b.1;
    ((a.0 * b.0 + a.1 * b.1) / square, (a.1 * b.0 - a.0 * b.1) / square)
}

/// Apparent power, per unit, into a pi section without tap at its first end: of the current through it.
fn apparent(row: &gridflow_inputs::network::Branch, near: Complex, far: Complex) -> f64 {
    let series = over((near.0 - far.0, near.1 - far.1), (row.r_pu.get(), row.x_pu.get()));
    let charging = times((0.0, row.b_pu.get() / 2.0), near);
    let current = (series.0 + charging.0, series.1 + charging.1);
    let power = times(near, (current.0, -current.1));
    (power.0 * power.0 + power.1 * power.1).sqrt()
}

// REQ: GRID-06
#[test]
fn constraints_are_what_the_estimate_is_near_to_or_beyond() {
    let mut network = network();
    let (_, flow) = flow_of(&network, 1.0);
    for row in &mut network.branches {
        // Half of them are loaded beyond the threshold, some beyond the rating.
        if row.id.0 % 2 == 0 {
            row.rating = MilliVoltAmperes((row.rating.0 as f64 * (0.6 + 0.03 * f64::from(row.id.0 % 7))) as i64);
        }
    }
    let across = flow.va[0] - flow.va[1];
    network.branches[0].angle_max_rad = Real::new(across - 0.01).expect("it is finite");
    network.branches[1].angle_max_rad = Real::new(flow.va[0] - flow.va[4] + 0.01).expect("it is finite");
    network.buses[3].v_max_pu = Real::new(flow.v[3] + 0.5 * VOLTAGE_MARGIN).expect("it is finite");
    network.buses[4].v_min_pu = Real::new(flow.v[4] + 0.002).expect("it is finite");
    let mut estimate = estimate(&network, 1.0, START);
    estimate.unobservable = vec![HANGING];

    let mut rows = elements(&network);
    rows.push(island(START));
    rows.push(GridRow::Estimate(Arc::new(estimate.clone())));
    let steps = [
        Step { epoch: START, begins: rows, ceases: vec![], tick: true },
        Step { epoch: START + 5_000, begins: vec![], ceases: vec![], tick: true },
        // What was estimated is of another grid, and nothing is near a limit that is known of this one.
        Step { epoch: START + 6_000, begins: vec![island(START + 6_000)], ceases: vec![island(START)], tick: false },
    ];
    let told = told(&steps, || Which::Constraints);
    let found: BTreeMap<(ConstraintKind, u32), &Constraint> =
        told[0].0.iter().map(|row| if let Output::Constraint(row) = row { ((row.kind, row.id), row) } else { panic!("{row:?}") }).collect();

    let near = |value: i64, expected: f64, tolerance: f64| (value as f64 - expected).abs() <= tolerance;
    let voltage = |bus: BusId| {
        let index = network.buses.iter().position(|row| row.id == bus).expect("it is there");
        let (v, angle) = (estimate.buses[index].voltage.kv() / network.buses[index].base_voltage.kv(), estimate.buses[index].angle.rad());
        (turned(angle, v), v, angle)
    };
    let mut count = 0;
    for row in network.branches.iter().filter(|row| row.to != HANGING) {
        let ((near_v, _, near_angle), (far_v, _, far_angle)) = (voltage(row.from), voltage(row.to));
        if row.angle_max_rad.get() > 0.0 && near_angle - far_angle > row.angle_max_rad.get() {
            let told = found[&(ConstraintKind::AngleDifference, row.id.0)];
            assert!(near(told.value, (near_angle - far_angle) * 1e6, 2.0) && near(told.margin, -0.01 * 1e6, 2.0), "{told:?}");
            count += 1;
        }
        if row.tap_ratio.get() != 1.0 {
            continue;
        }
        let (from, to) = (apparent(row, near_v, far_v), apparent(row, far_v, near_v));
        let mva = from.max(to) * BASE_MVA;
        match found.get(&(ConstraintKind::BranchLoading, row.id.0)) {
            None => assert!(mva < LOADING * row.rating.mva() + 1e-3, "{row:?} carries {mva}"),
            Some(told) => {
                assert!(near(told.value, mva * 1e9, 1e6), "{told:?} against {mva}");
                assert_eq!((told.limit, told.margin), (row.rating.0, row.rating.0 - told.value));
                assert_eq!(told.side, if to > from { Side::To } else { Side::From });
                count += 1;
            }
        }
    }
    for row in network.buses.iter().filter(|row| row.id != HANGING) {
        let (_, v, _) = voltage(row.id);
        for (kind, margin, limit) in [
            (ConstraintKind::VoltageLow, v - row.v_min_pu.get(), row.v_min_pu),
            (ConstraintKind::VoltageHigh, row.v_max_pu.get() - v, row.v_max_pu),
        ] {
            let told = found.get(&(kind, row.id.0));
            assert_eq!(told.is_some(), margin <= VOLTAGE_MARGIN, "{row:?} at {v}");
            if let Some(told) = told {
                let kv = row.base_voltage.kv();
                assert!(near(told.limit, limit.get() * kv * 1e9, 1.0) && near(told.margin, margin * kv * 1e9, 2.0), "{told:?}");
                count += 1;
            }
        }
    }
    let transformers = |row: &&&Constraint| {
        row.kind == ConstraintKind::BranchLoading
            && network.branches.iter().any(|branch| branch.id.0 == row.id && branch.tap_ratio.get() != 1.0)
    };
    assert_eq!(found.len(), count + found.values().filter(transformers).count(), "others are told: {found:?}");
    for kind in ConstraintKind::ALL {
        assert!(found.keys().any(|(found, _)| found == kind), "nothing of {kind:?}: this shows nothing");
    }

    assert_eq!(told[1].1, 0, "nothing changed, nothing is told");
    assert_eq!(told[2].0, []);
}

/// `v` turned by an angle, by the series: small angles need no more terms.
fn turned(angle: f64, v: f64) -> Complex {
    let (mut cos, mut sin, mut term) = (0.0, 0.0, 1.0);
    for k in 0..24 {
        match k % 4 {
            0 => cos += term,
            1 => sin += term,
            2 => cos -= term,
            _ => sin -= term,
        }
        term *= angle / f64::from(k + 1);
    }
    (v * cos, v * sin)
}
