//! The contingency view when it is looked at for what a unit gives, and again for what failed.

use std::sync::Arc;

use gridflow_inputs::ids::{BusId, GeneratorId};
use gridflow_inputs::input::Quantity;
use gridflow_inputs::network::{EquipmentKind, Side};
use gridflow_inputs::units::{MilliVars, MilliVoltAmperes, MilliWatts};
use gridflow_operators::contingency::solve_contingencies;
use gridflow_operators::decision::{ContingencyMethod, Estimate, Failure, Output};
use gridflow_operators::grid::GridRow;
use gridflow_operators::solver::{Problem, inline_blocks};
use gridflow_operators::telemetry::Reading;

use crate::harness::sensor;
use crate::security::{BASE_MVA, HANGING, START, Step, Which, contingencies, elements, estimate, flow_of, island, network, region, told};

/// The view of a network at an estimate, with nothing before it.
fn from_scratch(rows: &[GridRow], epoch: u64) -> Vec<Output> {
    told(&[Step { epoch, begins: rows.to_vec(), ceases: vec![], tick: true }], || Which::Contingencies).remove(0).0
}

// REQ: GRID-05
#[test]
fn two_units_of_a_bus_that_swap_what_they_give_have_their_outages_solved_again() {
    let mut network = network();
    // Beside the unit of bus 2 another one. Only the line from bus 1 is short of room, for what the loss of the greater one brings.
    let mut twin = network.generators.iter().find(|row| row.bus == BusId(2)).expect("it has one").clone();
    let first = twin.id;
    network.generators.iter_mut().filter(|row| row.id == first).for_each(|row| row.p = MilliWatts(100_000_000_000));
    (twin.id, twin.p) = (GeneratorId(77), MilliWatts(20_000_000_000));
    network.generators.push(twin);
    let flow = flow_of(&network, 1.0).1.flows[0].p_from * BASE_MVA;
    network.branches.iter_mut().for_each(|row| row.rating = MilliVoltAmperes(10 * row.rating.0));
    network.branches[0].rating = MilliVoltAmperes::from_mva((1.2 * flow).round()).expect("it is small");
    let at = |seconds: u64| START + 1_000 * seconds;
    let estimate = |seconds| GridRow::Estimate(Arc::new(estimate(&network, 1.0, at(seconds))));
    let meters =
        |seconds, given: [i64; 2]| [(first, given[0]), (GeneratorId(77), given[1])].map(|(unit, p_mw)| output(unit, p_mw, at(seconds)));
    let fixed = || elements(&network).into_iter().chain([island(at(0))]);
    let (before, after) = (meters(5, [100, 20]), meters(10, [20, 100]));
    let begins = Vec::from_iter(fixed().chain([estimate(5)]).chain(before.clone()));
    let steps = [
        Step { epoch: at(5), begins, ceases: vec![], tick: true },
        Step {
            epoch: at(10),
            begins: Vec::from_iter(after.clone().into_iter().chain([estimate(10)])),
            ceases: Vec::from_iter(before.into_iter().chain([estimate(5)])),
            tick: true,
        },
    ];
    let told = told(&steps, || Which::Contingencies);
    let scratch = from_scratch(&Vec::from_iter(fixed().chain([estimate(10)]).chain(after)), at(10));
    let of_unit = |rows: &[Output], unit: GeneratorId| {
        contingencies(rows).into_iter().find(|row| (row.equipment, row.id) == (EquipmentKind::Generator, unit.0)).cloned()
    };
    assert!(of_unit(&told[0].0, first).is_some() && of_unit(&told[0].0, GeneratorId(77)).is_none());
    assert_eq!(of_unit(&told[1].0, first), None);
    assert!(of_unit(&told[1].0, GeneratorId(77)).is_some());
    assert_eq!(of_unit(&told[1].0, GeneratorId(77)), of_unit(&scratch, GeneratorId(77)));
}

/// The newest reading of a unit's output.
fn output(unit: GeneratorId, p_mw: i64, event_ms: u64) -> GridRow {
    let sensor = sensor(unit.0, Quantity::ActiveGeneration, (EquipmentKind::Generator, unit.0), Side::None);
    GridRow::Reading(Reading { sensor: Arc::new(sensor), event_ms: event_ms as i64, value: 1_000_000_000 * p_mw })
}

#[test]
fn a_view_without_a_power_flow_is_tried_again_after_a_few_ticks() {
    let network = network();
    let at = |seconds: u64| START + 1_000 * seconds;
    // What hangs on branch 21 draws a little more by and by, too little for a look.
    let mut later = network.clone();
    later.loads.iter_mut().filter(|row| row.bus == HANGING).for_each(|row| row.load_p = MilliWatts(3_100_000_000));
    let (mut heavy, good) = (estimate(&network, 1.0, at(0)), estimate(&later, 1.0, at(0)));
    // So much reactive load that there is no power flow; what is watched is what it was.
    heavy.buses.iter_mut().for_each(|state| state.q = MilliVars(state.q.0 - 400_000_000_000));
    let of = |estimate: &Estimate, seconds| GridRow::Estimate(Arc::new(Estimate { tick_ms: at(seconds) as i64, ..estimate.clone() }));
    let mut begins = elements(&network);
    begins.extend([island(at(0)), of(&heavy, 5)]);
    let tick = |then, now, before: &Estimate, estimate: &Estimate| Step {
        epoch: at(now),
        begins: vec![of(estimate, now)],
        ceases: vec![of(before, then)],
        tick: true,
    };
    let steps = [Step { epoch: at(5), begins, ceases: vec![], tick: true }, tick(5, 10, &heavy, &good), tick(10, 20, &good, &good)];
    let told = told(&steps, || Which::Contingencies);
    let failed = |rows: &[Output]| rows.iter().any(|row| matches!(row, Output::Outcome(row) if row.failure == Failure::Diverged));
    assert!(failed(&told[0].0) && contingencies(&told[0].0).iter().all(|row| row.method == ContingencyMethod::Dc));
    assert_eq!(told[1].1, 0, "five seconds later");
    assert!(!failed(&told[2].0), "{:?}", told[2].0);
    for row in contingencies(&told[2].0) {
        assert_eq!((row.method, row.solved_ms), (ContingencyMethod::Ac, at(20) as i64), "{row:?}");
        if (row.equipment, row.id) == (EquipmentKind::Branch, 21) {
            assert_eq!(row.lost_load, MilliWatts(3_100_000_000), "of the same moment as the row");
        }
    }
    assert!(contingencies(&told[2].0).iter().any(|row| row.id == 21));
}

#[test]
fn a_retry_of_what_succeeded_answers_what_was_told() {
    let network = network();
    let solve = solve_contingencies(inline_blocks());
    let asked = |seconds: u64, loads: f64, retry: bool, previous| {
        let epoch = START + 1_000 * seconds;
        let mut rows = elements(&network);
        rows.extend([island(START), GridRow::Estimate(Arc::new(estimate(&network, loads, epoch)))]);
        rows.sort_unstable();
        solve(Problem { key: 1, epoch, effect: epoch, retry, rows: Arc::new(rows), shared: Arc::new(vec![region()]), previous })
    };
    let first = asked(5, 1.0, false, None);
    let retried = asked(20, 1.4, true, Some(first.previous.clone()));
    assert!(!first.rows.is_empty() && retried.rows == first.rows, "{:?}", retried.rows);
    assert!(asked(20, 1.4, false, Some(first.previous)).rows != first.rows, "the loads did move");
}
