//! Contingencies that operators name, for how long ratings bear an outage, and voltages that leave their bands after one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gridflow_inputs::ids::{BranchId, BusId};
use gridflow_inputs::network::{EquipmentKind, Network};
use gridflow_inputs::row::Real;
use gridflow_inputs::units::MilliVoltAmperes;
use gridflow_operators::contingency::WORST;
use gridflow_operators::decision::{Output, RatingDuration};
use gridflow_operators::grid::GridRow;

use crate::security::{
    Dense, START, Step, Which, assert_ac, assert_view, by_ac, contingencies, elements, estimate, expected, failing, flow_of, island,
    network, told,
};

fn named(number: u64, failing: &[(EquipmentKind, u32)]) -> Vec<GridRow> {
    failing.iter().map(|place| GridRow::Contingency(number, *place)).collect()
}

// REQ: GRID-05
#[test]
fn named_contingencies_are_solved_beside_single_outages_and_kept_up_to_date() {
    let network = network();
    let at = |seconds: u64| START + 1_000 * seconds;
    let loads = [1.0, 1.001, 1.001, 1.06, 1.06];
    let estimates = Vec::from_iter(loads.iter().zip(1..).map(|(loads, tick)| estimate(&network, *loads, at(5 * tick))));
    let row = |index: usize| GridRow::Estimate(Arc::new(estimates[index].clone()));
    let place = |from: u32, to: u32| {
        let found = network.branches.iter().find(|row| (row.from, row.to) == (BusId(from), BusId(to)));
        (EquipmentKind::Branch, found.expect("it is there").id.0)
    };
    let unit = (EquipmentKind::Generator, 2);
    // Two lines, a line and a unit, what parts the grid, with what hangs on it, and some that are not (all) there.
    let lists = [
        named(7, &[place(1, 2), place(2, 3)]),
        named(8, &[place(4, 5), unit]),
        named(9, &[place(6, 12), (EquipmentKind::Branch, 21)]),
        named(10, &[place(2, 4), (EquipmentKind::Branch, 999)]),
        named(11, &[(EquipmentKind::Branch, 998), (EquipmentKind::Branch, 999)]),
    ];
    let first = Vec::from_iter(elements(&network).into_iter().chain([island(at(0)), row(0)]).chain(lists[..2].concat()));
    let tick = |place: usize| Step { epoch: at(5 * place as u64 + 5), begins: vec![row(place)], ceases: vec![row(place - 1)], tick: true };
    let mut steps = vec![Step { epoch: at(5), begins: first, ceases: vec![], tick: true }, tick(1), tick(2), tick(3), tick(4)];
    steps[2].begins.extend(lists[2..].concat());
    steps[4].ceases.extend(lists[0].clone());
    let told = told(&steps, || Which::Contingencies);
    let of = |rows: &[Output]| Vec::from_iter(contingencies(rows).into_iter().filter(|row| row.number.is_some()).cloned());
    let without = |place: usize, failing: &[(EquipmentKind, u32)]| {
        let (mut grid, with_losses) = Dense::new(&network, Some(&estimates[place]));
        grid.branches.retain(|row| !failing.contains(&(EquipmentKind::Branch, row.0.0)));
        let mut units = network.generators.iter();
        grid.units.retain(|_| !failing.contains(&(EquipmentKind::Generator, units.next().expect("as many").id.0)));
        let (loading, _, lost) = grid.worst();
        (loading, lost / with_losses)
    };
    for (place, numbers) in [(0, vec![7, 8]), (1, vec![7, 8]), (2, vec![7, 8, 9]), (3, vec![7, 8, 9]), (4, vec![8, 9])] {
        let rows = of(&told[place].0);
        let broken = |list: &Vec<GridRow>| {
            let failing =
                Vec::from_iter(list.iter().filter_map(|row| if let GridRow::Contingency(_, place) = row { Some(*place) } else { None }));
            let (loading, lost) = without(place, &failing);
            loading > 1.0 || lost > 0.0
        };
        assert!(lists.iter().take(3).filter(|list| broken(list)).count() >= 2, "the judge finds too few");
        for row in &rows {
            let number = row.number.expect("it was named");
            assert!(numbers.contains(&number), "{row:?}");
            let then = estimates.iter().position(|estimate| estimate.tick_ms == row.solved_ms).expect("it tells its age");
            let (loading, lost) = without(place, &failing(row));
            assert!((row.lost_load.0 as f64 - lost * 1e9).abs() <= 0.05 * lost * 1e9 + 1e4, "{row:?} against {lost}");
            assert_ac(row, &network, loads[then]);
            let (before, _) = without(then, &failing(row));
            assert!((loading - before).abs() <= 0.05, "{row:?}: {loading} now, {before} then");
        }
        for list in lists.iter().filter(|list| broken(list)) {
            let GridRow::Contingency(number, _) = &list[0] else { panic!("{list:?}") };
            assert!(!numbers.contains(number) || rows.iter().any(|row| row.number == Some(*number)), "{number} is missing: {rows:?}");
        }
        // Named ones take no place of single outages.
        let single =
            Vec::from_iter(told[place].0.iter().filter(|row| matches!(row, Output::Contingency(row) if row.number.is_none())).cloned());
        let solved_ms = contingencies(&single).iter().map(|row| row.solved_ms).max().expect("some are told") as u64;
        if contingencies(&single).iter().all(|row| row.solved_ms == solved_ms as i64) && solved_ms == at(5 * place as u64 + 5) {
            assert_view(&single, &network, Some(&estimates[place]), loads[place], solved_ms);
        }
    }
    assert!(of(&told[1].0).iter().all(|row| row.solved_ms == at(5) as i64), "nothing moved far");
    assert_eq!(told[1].1, 0);
    assert!(of(&told[2].0).iter().all(|row| row.solved_ms == at(15) as i64), "another list: all anew");
    assert!(of(&told[4].0).iter().all(|row| row.solved_ms == at(25) as i64));
}

// REQ: GRID-05
#[test]
fn what_is_named_while_there_is_no_estimate_is_told_in_its_epoch() {
    let network = network();
    let at = |seconds: u64| START + 1_000 * seconds;
    let told_by = || GridRow::Estimate(Arc::new(estimate(&network, 1.0, at(5))));
    let list = named(3, &[(EquipmentKind::Branch, 21), (EquipmentKind::Branch, 1)]);
    let first = Vec::from_iter(elements(&network).into_iter().chain([island(at(0)), told_by()]));
    let steps = [
        Step { epoch: at(5), begins: first, ceases: vec![], tick: true },
        Step { epoch: at(90), begins: vec![], ceases: vec![told_by()], tick: true },
        Step { epoch: at(100), begins: list, ceases: vec![], tick: false },
    ];
    let told = told(&steps, || Which::Contingencies);
    assert_eq!(told[1].1, 0, "what was solved stands");
    let rows = contingencies(&told[2].0);
    assert!(rows.iter().any(|row| row.number == Some(3) && row.lost_load.0 > 0), "{rows:?}");
    assert!(rows.iter().all(|row| row.solved_ms == at(100) as i64), "all of one moment");
}

// REQ: GRID-05
#[test]
fn ratings_by_duration_say_how_long_and_rank_what_is_told() {
    let rated = network();
    let (mut seen, mut otherwise) = (BTreeSet::new(), 0);
    let few = ([105, 150, 200], [125, 250, 300]);
    let some = [([900, 900, 100], [900, 900, 100]), ([900, 100, 900], [900, 100, 900]), ([100, 900, 900], [100, 900, 900])];
    let cases = [(1.0, few), (1.4, few), (1.0, ([150, 200, 400], [250, 300, 500])), (1.0, ([500; 3], [600; 3]))];
    for (loads, (long_term, short_term)) in cases.into_iter().chain(some.map(|ratings| (1.4, ratings))) {
        let mut network = rated.clone();
        for (place, branch) in network.branches.iter_mut().enumerate() {
            branch.rating_long_term = MilliVoltAmperes(branch.rating.0 / 100 * long_term[place % 3]);
            branch.rating_short_term = MilliVoltAmperes(branch.rating.0 / 100 * short_term[place % 3]);
        }
        // The grid rated by a duration: an outage is within it, or is not.
        let by = |rating: fn(&gridflow_inputs::network::Branch) -> MilliVoltAmperes| {
            let mut rated = network.clone();
            rated.branches.iter_mut().for_each(|row| row.rating = rating(row));
            rated
        };
        let durations = [
            (RatingDuration::Normal, network.clone()),
            (RatingDuration::LongTerm, by(|row| row.rating_long_term)),
            (RatingDuration::ShortTerm, by(|row| row.rating_short_term)),
        ];
        let estimate = estimate(&network, loads, START + 5_000);
        let mut rows = elements(&network);
        rows.extend([island(START), GridRow::Estimate(Arc::new(estimate.clone()))]);
        let steps = [Step { epoch: START + 5_000, begins: rows, ceases: vec![], tick: true }];
        let told = told(&steps, || Which::Contingencies);
        let told = contingencies(&told[0].0);
        for row in told.iter().filter(|row| row.solved && !failing(row).contains(&(EquipmentKind::Generator, 1))) {
            let holds = |grid: &Network| by_ac(grid, loads, &failing(row)).expect("it is solved").0 <= 1.0;
            let within = durations.iter().find(|(_, grid)| holds(grid)).map_or(RatingDuration::Exceeded, |(duration, _)| *duration);
            assert_eq!(row.duration, within, "{row:?}");
            seen.insert(row.duration);
        }
        // Who is told is by DC: the shorter it is borne the worse, then by loading, then by what is cut off.
        let exceeding = durations.each_ref().map(|(duration, grid)| (*duration, expected(grid, Some(&estimate))));
        let severity = |place: &(EquipmentKind, u32), (loading, _, lost): &(f64, BranchId, f64)| {
            let holds = |found: &BTreeMap<_, (f64, BranchId, f64)>| found.get(place).is_none_or(|(loading, ..)| *loading <= 1.0);
            let within = exceeding.iter().find(|(_, found)| holds(found)).map_or(RatingDuration::Exceeded, |(duration, _)| *duration);
            (within, if *loading > 1.0 { *loading } else { 0.0 }, *lost)
        };
        let mut order = Vec::from_iter(exceeding[0].1.iter().map(|(place, found)| (severity(place, found), *place)));
        order.sort_by(|(one, _), (other, _)| other.0.cmp(&one.0).then(other.1.total_cmp(&one.1)).then(other.2.total_cmp(&one.2)));
        let is_told = |place: &(EquipmentKind, u32)| told.iter().any(|row| (row.equipment, row.id) == *place);
        let missing = Vec::from_iter(order.iter().take(WORST).filter(|(_, place)| !is_told(place)));
        assert!(missing.is_empty(), "{missing:?} of {order:?}");
        let last = order[..order.len().min(WORST)].iter().map(|((_, loading, _), _)| *loading).fold(f64::INFINITY, f64::min);
        otherwise += order.iter().skip(WORST).filter(|((_, loading, _), _)| *loading > last).count();
    }
    assert!(seen.is_superset(&[RatingDuration::LongTerm, RatingDuration::ShortTerm, RatingDuration::Exceeded].into()), "{seen:?}");
    assert!(otherwise > 0, "by loading alone the same would be told");
}

// REQ: GRID-05
#[test]
fn an_outage_that_breaks_a_voltage_alone_is_told() {
    let mut network = network();
    network.branches.iter_mut().for_each(|row| row.rating = MilliVoltAmperes(10 * row.rating.0));
    let (case, flow) = flow_of(&network, 1.0);
    // A band a little wider than the voltages of now.
    for (bus, v) in network.buses.iter_mut().zip(&flow.v) {
        (bus.v_min_pu, bus.v_max_pu) = (Real::new(v - 0.012).expect("finite"), Real::new(v + 0.012).expect("finite"));
    }
    let mut rows = elements(&network);
    rows.extend([island(START), GridRow::Estimate(Arc::new(estimate(&network, 1.0, START + 5_000)))]);
    let steps = [Step { epoch: START + 5_000, begins: rows, ceases: vec![], tick: true }];
    let told = told(&steps, || Which::Contingencies);
    let told = contingencies(&told[0].0);
    let alone = told.iter().filter(|row| row.voltage_bus.is_some() && row.loading.0 <= 1_000_000 && row.lost_load.0 == 0).count();
    assert!(alone >= 3, "{told:?}");
    told.iter().for_each(|row| assert_ac(row, &network, 1.0));
    // All that break one are among them but for those that take least away.
    let branches = case.branches.iter().map(|row| (EquipmentKind::Branch, row.id.0));
    let all = branches.chain(case.generators.iter().map(|row| (EquipmentKind::Generator, row.id.0)));
    let breaks = |place: &(EquipmentKind, u32)| {
        *place != (EquipmentKind::Generator, 1) && by_ac(&network, 1.0, &[*place]).is_none_or(|(_, _, outside)| !outside.is_empty())
    };
    let breaking = Vec::from_iter(all.filter(breaks));
    let missing = Vec::from_iter(breaking.iter().filter(|place| !told.iter().any(|row| (row.equipment, row.id) == **place)));
    let left = case.branches.len() + case.generators.len() - WORST;
    assert!(breaking.len() > left && missing.len() <= left, "{missing:?} of {breaking:?}, {left} are not looked at");
}
