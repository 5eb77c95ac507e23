//! Judges: the order of classes by hand, and exhaustive spans of load on random single-bus shortages.

use super::*;
use crate::dispatch::testing::{branch, bus, four_bus, load, storage, unit};
use gridflow_inputs::network::BusKind;
use proptest::prelude::*;

/// Two buses: all generation at the first, `rating` between them.
fn two_buses(rating: f64, loads: &[(usize, f64, LoadClass)]) -> Case {
    let mut case = four_bus(1.0);
    case.buses = vec![bus(1, BusKind::Reference), bus(2, BusKind::Load)];
    case.branches = vec![branch(1, 0, 1, 0.1, rating)];
    case.generators = vec![unit(1, 0, (0.0, 2.0), [0.0, 10.0, 0.0])];
    case.loads = loads.iter().enumerate().map(|(place, (bus, p, class))| load(place as u32 + 1, *bus, *p, *class)).collect();
    case
}

fn planned(case: &Case) -> ShedPlan {
    plan(case, &Interval::of(case, 1.0), &Options::default()).unwrap()
}

// REQ: SHED-01
#[test]
fn without_shortage_nobody_gives_way() {
    let plan = planned(&two_buses(5.0, &[(0, 1.0, LoadClass::Residential), (1, 1.0, LoadClass::Interruptible)]));
    assert_eq!((plan.reason, plan.reductions.len(), plan.deficit_mw_before), (None, 0, 0.0));
}

// REQ: SHED-01, SHED-04, SHED-05
#[test]
fn a_shortage_of_supply_is_met_in_the_order_of_classes_then_cost_then_id() {
    let mut case = two_buses(
        5.0,
        &[
            (0, 1.0, LoadClass::Critical),
            (0, 0.5, LoadClass::Residential),
            (1, 0.4, LoadClass::Interruptible),
            (1, 0.4, LoadClass::Industrial),
            (0, 0.4, LoadClass::Industrial),
        ],
    );
    case.loads[4].interruption_cost_per_mwh = 500.0;
    let plan = planned(&case);
    assert_eq!(plan.reason, Some(Reason::Supply));
    assert_eq!(plan.reductions.iter().map(|reduction| reduction.id.0).collect::<Vec<_>>(), [3, 5]);
    assert!((plan.deficit_mw_before - 70.0).abs() < 1e-6 && plan.deficit_mw_after < 1e-6);
    assert!((plan.interruption_cost_per_h - (40.0 * 1000.0 + 30.0 * 500.0)).abs() < 1e-3);
    assert!((plan.remaining_mw[1].1 - 50.0).abs() < 1e-6 && plan.remaining_mw[4] == (LoadClass::Critical, 100.0));
    case.loads[4].interruption_cost_per_mwh = 1000.0;
    assert_eq!(planned(&case).reductions[1].id.0, 4, "equal cost: the lower id");
}

// REQ: SHED-03
#[test]
fn hospitals_give_way_only_when_nothing_else_suffices() {
    // The far bus gets 0.5 of 1.0: its homes give way, not its hospital, and not the interruptible load next to the unit.
    let mut case = two_buses(0.5, &[(1, 0.4, LoadClass::Critical), (1, 0.6, LoadClass::Residential), (0, 0.3, LoadClass::Interruptible)]);
    let plan = planned(&case);
    assert_eq!(plan.reason, Some(Reason::Network));
    assert_eq!(plan.reductions.len(), 1, "{:?}", plan.reductions);
    assert!((plan.shed_p[1] - 0.5).abs() < 1e-6, "{:?}", plan.shed_p);
    // With less than the hospital needs there is no other way.
    case.branches[0].rating = 0.1;
    let plan = planned(&case);
    assert!((plan.shed_p[0] - 0.3).abs() < 1e-6 && (plan.shed_p[1] - 0.6).abs() < 1e-6 && plan.shed_p[2] == 0.0, "{:?}", plan.shed_p);
}

#[test]
fn a_shortage_behind_a_limit_has_both_reasons() {
    let loads = [(1, 1.0, LoadClass::Residential), (0, 1.6, LoadClass::Interruptible)];
    let plan = planned(&two_buses(0.5, &loads));
    assert_eq!(plan.reason, Some(Reason::SupplyAndNetwork));
    assert!((plan.shed_p[0] - 0.5).abs() < 1e-6 && (plan.shed_p[1] - 0.1).abs() < 1e-6, "{:?}", plan.shed_p);
}

#[test]
fn storage_serves_before_load_gives_way_as_far_as_it_holds() {
    let mut case = two_buses(5.0, &[(0, 2.5, LoadClass::Residential)]);
    case.storages.push(crate::case::CaseStorage { discharge_max: 0.4, ..storage(1, 0) });
    // 40 % of 20 MWh at 0.95: 7.6 MWh.
    assert!((planned(&case).shed_p[0] - (0.5 - 0.076)).abs() < 1e-6);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// On one bus the shed loads, laid end to end in order, cover exactly the deficit: no load before is spared, none after touched.
    #[test]
    fn a_shortage_is_a_stretch_of_the_order(loads in prop::collection::vec((0.0..0.8f64, 0usize..5, 0u8..3), 1..12)) {
        let rows: Vec<_> = loads.iter().map(|(p, class, _)| (0, *p, LoadClass::ALL[*class])).collect();
        let mut case = two_buses(1.0, &rows);
        for (load, (_, _, cost)) in case.loads.iter_mut().zip(&loads) {
            load.interruption_cost_per_mwh = f64::from(*cost);
        }
        let total: f64 = loads.iter().map(|load| load.0).sum();
        let plan = planned(&case);
        prop_assert!((plan.shed_p.iter().sum::<f64>() - (total - 2.0).max(0.0)).abs() < 1e-6);
        let earlier = |a: usize, b: usize| {
            let key = |load: usize| (std::cmp::Reverse(case.loads[load].class), loads[load].2, load);
            key(a) < key(b)
        };
        for a in 0..loads.len() {
            for b in 0..loads.len() {
                if earlier(a, b) && plan.shed_p[b] > NOISE {
                    prop_assert!((plan.shed_p[a] - loads[a].0).abs() < 1e-9, "{a} is spared though {b} is not");
                }
            }
        }
    }
}
