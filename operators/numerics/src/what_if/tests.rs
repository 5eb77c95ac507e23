//! What a change does to the IEEE 14-bus network, judged by cases that are written down as changed.

use super::*;
use crate::case::Case;
use crate::power_flow::control::Controls;
use gridflow_inputs::matpower;

fn ieee14() -> Case {
    let file = matpower::read("ieee14.m", matpower::IEEE14).unwrap();
    Case::new(file.base_power.mva(), &file.network).unwrap()
}

fn ac() -> Model {
    Model::Ac(Options::default(), Controls::default())
}

// REQ: GRID-04, GRID-05
#[test]
fn the_state_after_is_that_of_the_case_written_down_as_changed() {
    let case = ieee14();
    let change = Change { open: vec![BranchId(4)], outages: vec![case.generators[1].id], load_factor: 1.1, generation_factor: 0.9 };
    let mut judge = case.clone();
    judge.branches.remove(3);
    judge.generators.remove(1);
    judge.loads.iter_mut().for_each(|load| (load.p, load.q) = (load.p * 1.1, load.q * 1.1));
    judge.generators.iter_mut().for_each(|unit| unit.p *= 0.9);
    let expected = power_flow::solve(&judge, &Options::default(), &mut Cache::new()).unwrap();
    let found = compare(&case, &change, &ac(), &mut Cache::new()).unwrap();
    let after = found.after.as_ref().unwrap();
    for (found, expected) in [(&after.flow.v, &expected.v), (&after.flow.va, &expected.va)] {
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-8));
    }
    assert_eq!(after.flow_of(BranchId(4)), None);
    let dc = compare(&case, &change, &Model::Dc, &mut Cache::new()).unwrap();
    let expected = dc::solve(&judge, dc::Model::Exact).unwrap();
    assert!(dc.after.unwrap().flow.flows.iter().zip(&expected.flows).all(|(a, b)| (a.p_from - b).abs() < 1e-12));
}

#[test]
fn a_change_of_nothing_is_secure_and_a_cut_off_load_is_not() {
    let case = ieee14();
    let nothing = compare(&case, &Change::default(), &ac(), &mut Cache::new()).unwrap();
    assert!(nothing.is_secure() && nothing.cured.is_empty());
    let lines = case.branches.iter().filter(|branch| [branch.from, branch.to].contains(&13));
    let open = Vec::from_iter(lines.map(|branch| branch.id));
    let found = compare(&case, &Change { open, ..Change::default() }, &ac(), &mut Cache::new()).unwrap();
    let load: f64 = case.loads.iter().filter(|load| load.bus == 13).map(|load| load.p).sum();
    assert!((found.lost_load - load).abs() < 1e-12 && load > 0.0 && !found.is_secure());
    let islands = &found.after.as_ref().unwrap().islands;
    assert_eq!((islands.len(), islands[1].reference, islands[1].buses.len()), (2, None, 1));
}

#[test]
fn an_island_with_a_unit_lives_on_with_a_reference_of_its_own() {
    let mut case = ieee14();
    // Buses 6, 11, 12, 13 and the unit at 6, cut off along 5-6, 10-11 and 13-14.
    let cut = [(4, 5), (9, 10), (12, 13)];
    let open = Vec::from_iter(case.branches.iter().filter(|branch| cut.contains(&(branch.from, branch.to))).map(|branch| branch.id));
    assert_eq!(open.len(), 3);
    for unit in case.generators.iter_mut().filter(|unit| unit.bus == 5) {
        unit.p_max = 1.0;
    }
    let found = compare(&case, &Change { open, ..Change::default() }, &ac(), &mut Cache::new()).unwrap();
    let after = found.after.unwrap();
    assert_eq!(after.islands.len(), 2);
    assert_eq!(after.islands[1].reference, Some(case.buses[5].id));
    assert_eq!(after.case.buses.len(), 14);
    assert_eq!(found.lost_load, 0.0);
}

#[test]
fn a_limit_that_breaks_is_new_and_one_that_breaks_more_is_worse() {
    let mut case = ieee14();
    let base = power_flow::solve(&case, &Options::default(), &mut Cache::new()).unwrap();
    let carried = |branch: usize| power_flow::violations::apparent_power(&base.flows[branch]);
    case.branches.iter_mut().for_each(|branch| branch.rating = f64::INFINITY);
    case.branches[0].rating = 0.9 * carried(0);
    case.branches[1].rating = 1.01 * carried(1);
    let change = Change { load_factor: 1.1, ..Change::default() };
    let found = compare(&case, &change, &ac(), &mut Cache::new()).unwrap();
    let ratings = |list: &[Violation]| Vec::from_iter(list.iter().filter(|found| found.excess() > 0.005).map(|found| found.limit));
    use power_flow::violations::Limit::Rating;
    assert!(ratings(&found.worse).contains(&Rating(BranchId(1))) && !ratings(&found.new).contains(&Rating(BranchId(1))));
    assert!(ratings(&found.new).contains(&Rating(BranchId(2))) && !found.is_secure());
    let lighter = Change { load_factor: 0.7, ..Change::default() };
    let found = compare(&case, &lighter, &ac(), &mut Cache::new()).unwrap();
    assert!(ratings(&found.cured).contains(&Rating(BranchId(1))));
}

#[test]
fn what_cannot_change_is_named() {
    let case = ieee14();
    let error = |change| compare(&case, &change, &ac(), &mut Cache::new()).unwrap_err();
    assert_eq!(error(Change { open: vec![BranchId(99)], ..Change::default() }), WhatIfError::NoBranch(BranchId(99)));
    assert_eq!(error(Change { outages: vec![GeneratorId(0)], ..Change::default() }), WhatIfError::NoUnit(GeneratorId(0)));
    assert!(matches!(error(Change { load_factor: f64::NAN, ..Change::default() }), WhatIfError::Factor { what: "load", .. }));
    assert!(matches!(error(Change { generation_factor: -1.0, ..Change::default() }), WhatIfError::Factor { what: "generation", .. }));
    let collapse = compare(&case, &Change { load_factor: 20.0, ..Change::default() }, &ac(), &mut Cache::new()).unwrap();
    assert!(matches!(collapse.after, Err(PowerFlowError::Diverged { .. } | PowerFlowError::Singular { .. })) && !collapse.is_secure());
}
