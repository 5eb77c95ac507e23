//! Judges: the golden figures of four cases, and a search over a grid of states that knows no linear programming.

use super::*;
use proptest::prelude::*;

const PRICES: [f64; 24] = [
    30.0, 28.0, 26.0, 25.0, 25.0, 27.0, 35.0, 45.0, 50.0, 40.0, 30.0, 20.0, 15.0, 12.0, 15.0, 25.0, 40.0, 60.0, 90.0, 110.0, 95.0, 70.0,
    50.0, 40.0,
];

fn battery() -> Battery {
    Battery {
        capacity_mwh: 20.0,
        charge_mw_max: 5.0,
        discharge_mw_max: 5.0,
        charge_efficiency: 0.95,
        discharge_efficiency: 0.95,
        soc_min: 0.1,
        soc_max: 0.9,
        soc: 0.5,
        wear_cost_per_mwh: 0.5,
    }
}

fn golden(value: f64, printed: f64) {
    assert!((value - printed).abs() <= 0.5e-4, "{value} is not {printed}");
}

fn negative_hours() -> Vec<f64> {
    let mut prices = PRICES.to_vec();
    for price in &mut prices[11..=14] {
        *price = -20.0;
    }
    prices
}

/// State of charge carried forward by the rows alone.
fn assert_consistent(battery: &Battery, hours: f64, plan: &DayPlan) {
    let mut soc = battery.soc * battery.capacity_mwh;
    for row in &plan.rows {
        soc += match row.action {
            Action::Charge => row.power_mw * hours * battery.charge_efficiency,
            Action::Discharge => -row.power_mw * hours / battery.discharge_efficiency,
            Action::Idle => 0.0,
        };
        assert!((soc - row.soc_pct / 100.0 * battery.capacity_mwh).abs() < 1e-9, "interval {}", row.interval);
        assert_eq!(row.idle.is_some(), row.action == Action::Idle);
    }
    assert!((plan.profit - (plan.revenue - plan.charging_cost - plan.wear_cost + plan.regulation_revenue)).abs() < 1e-9);
}

// REQ: STOR-05, STOR-10, STOR-11, STOR-13
#[test]
fn a_free_end_earns_the_golden_profit_and_leaves_two_megawatt_hours() {
    let plan = plan(&battery(), &PRICES, 1.0, &Options { end: EndRule::Free, ..Options::default() }).unwrap();
    golden(plan.profit, 1703.4662);
    assert!((plan.rows[23].soc_pct - 10.0).abs() < 1e-6);
    assert_consistent(&battery(), 1.0, &plan);
}

// REQ: STOR-06, STOR-08, STOR-10, STOR-14
#[test]
fn keeping_the_start_earns_the_golden_profit_and_energies() {
    let plan = plan(&battery(), &PRICES, 1.0, &Options::default()).unwrap();
    golden(plan.profit, 1332.4136);
    golden(plan.charge_mwh, 39.2244);
    assert!((plan.discharge_mwh - 35.4).abs() < 0.05);
    assert!((plan.break_even - (12.0 / 0.9025 + 0.5)).abs() < 1e-12);
    assert!(plan.rows[23].soc_pct >= 50.0 - 1e-6);
    assert_eq!((plan.nodes, plan.gap), (1, 0.0));
    assert_consistent(&battery(), 1.0, &plan);
}

// REQ: STOR-12
#[test]
fn with_negative_prices_no_hour_charges_and_discharges_and_the_profit_is_the_exact_one() {
    let plan = plan(&battery(), &negative_hours(), 1.0, &Options::default()).unwrap();
    golden(plan.profit, 1916.0978);
    assert_eq!(plan.gap, 0.0);
    assert_consistent(&battery(), 1.0, &plan);
}

#[test]
fn the_relaxation_alone_would_promise_more_than_is_possible() {
    let prices = negative_hours();
    golden(super::plan::relaxed_profit(&battery(), &prices, 1.0, &Options::default()), 1918.5855);
}

// REQ: STOR-25, STOR-26
#[test]
fn an_idle_hour_says_what_stands_in_the_way() {
    let reason = |battery: &Battery, prices: &[f64]| {
        let plan = plan(battery, prices, 1.0, &Options::default()).unwrap();
        plan.rows.iter().map(|row| row.idle).collect::<Vec<_>>()
    };
    assert_eq!(reason(&battery(), &[20.0, 20.0]), [Some(Idle::SpreadTooSmall); 2]);
    // 20 / 0.9025 + 0.5 = 22.66
    assert!((battery().break_even(20.0) - 22.66).abs() < 0.005);
    assert_eq!(reason(&battery(), &[20.0, 22.0]), [Some(Idle::EfficiencyTooLow); 2]);
    assert_eq!(reason(&battery(), &[20.0, 22.5]), [Some(Idle::WearTooHigh); 2]);
    assert_eq!(reason(&battery(), &[20.0, 22.7]), [None; 2]);
    let full = Battery { soc: 0.9, ..battery() };
    assert_eq!(reason(&full, &[20.0, 40.0])[0], Some(Idle::SocLimit));
}

#[test]
fn a_start_below_the_band_is_left_at_once_and_reported() {
    let low = Battery { soc: 0.05, ..battery() };
    let plan = plan(&low, &PRICES, 1.0, &Options::default()).unwrap();
    assert!(matches!(plan.relaxed[..], [Relaxed::StartBelowBand(below)] if below < 1e-6), "{:?}", plan.relaxed);
    assert_eq!(plan.rows[0].action, Action::Charge);
    assert!(plan.rows.iter().all(|row| row.soc_pct >= 10.0 - 1e-6));
    assert_consistent(&low, 1.0, &plan);
}

#[test]
fn a_target_out_of_reach_is_approached_and_reported() {
    let plan = plan(&battery(), &PRICES[..1], 1.0, &Options { end: EndRule::AtLeast(0.9), ..Options::default() }).unwrap();
    assert_eq!(plan.rows[0].action, Action::Charge);
    assert!(matches!(plan.relaxed[..], [Relaxed::EndTargetMissed(missing)] if (missing - 3.25).abs() < 1e-5), "{:?}", plan.relaxed);
}

// REQ: STOR-15, STOR-16
#[test]
fn regulation_keeps_head_room_and_both_revenues_are_reported() {
    let regulation = Regulation { price_per_mw_hour: vec![30.0; 24], duration_h: 0.5, arbitrage_weight: 0.6, regulation_weight: 0.4 };
    let plan = plan(&battery(), &PRICES, 1.0, &Options { regulation: Some(regulation), ..Options::default() }).unwrap();
    assert!(plan.regulation_revenue > 100.0 && plan.revenue > 0.0);
    for row in &plan.rows {
        let soc = row.soc_pct / 100.0 * 20.0;
        assert!(row.power_mw + row.regulation_mw <= 5.0 + 1e-5);
        assert!(soc >= 2.0 + row.regulation_mw * 0.5 / 0.95 - 1e-4 && soc <= 18.0 - row.regulation_mw * 0.5 * 0.95 + 1e-4);
    }
    assert_consistent(&battery(), 1.0, &plan);
}

#[test]
fn impossible_numbers_are_refused_by_name() {
    let bad = Battery { charge_efficiency: 0.0, ..battery() };
    assert_eq!(plan(&bad, &PRICES, 1.0, &Options::default()), Err(StorageError::Battery("charging efficiency")));
    assert!(matches!(plan(&battery(), &[f64::NAN], 1.0, &Options::default()), Err(StorageError::Horizon(_))));
    assert!(matches!(plan(&battery(), &[], 1.0, &Options::default()), Err(StorageError::Horizon(_))));
}

#[test]
fn equal_input_gives_equal_bits() {
    let once = plan(&battery(), &negative_hours(), 1.0, &Options::default()).unwrap();
    assert_eq!(once, plan(&battery(), &negative_hours(), 1.0, &Options::default()).unwrap());
}

/// Best profit over moves between states a quarter of a MWh apart: a lower bound by exhaustive search.
fn best_on_grid(battery: &Battery, prices: &[f64], step: f64) -> f64 {
    let states = ((battery.soc_max - battery.soc_min) * battery.capacity_mwh / step + 0.5) as usize;
    let start = ((battery.soc - battery.soc_min) * battery.capacity_mwh / step + 0.5) as usize;
    let mut value: Vec<f64> = (0..=states).map(|state| if state >= start { 0.0 } else { f64::NEG_INFINITY }).collect();
    for price in prices.iter().rev() {
        value = (0..=states)
            .map(|from| {
                (0..=states)
                    .map(|to| {
                        let change = (to as f64 - from as f64) * step;
                        let (charge, discharge) =
                            ((change / battery.charge_efficiency).max(0.0), (-change * battery.discharge_efficiency).max(0.0));
                        if charge > battery.charge_mw_max || discharge > battery.discharge_mw_max {
                            return f64::NEG_INFINITY;
                        }
                        price * (discharge - charge) - battery.wear_cost_per_mwh * discharge + value[to]
                    })
                    .fold(f64::NEG_INFINITY, f64::max)
            })
            .collect();
    }
    value[start]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn no_plan_on_a_grid_of_states_beats_the_optimum_and_it_comes_close(prices in prop::collection::vec(-60.0..120.0f64, 4..9)) {
        let plan = plan(&battery(), &prices, 1.0, &Options::default()).unwrap();
        let grid = best_on_grid(&battery(), &prices, 0.125);
        prop_assert_eq!(plan.gap, 0.0);
        prop_assert!(plan.profit >= grid - 1e-4, "{} < {}", plan.profit, grid);
        // A state off by half a step costs at most its energy at the dearest price, per interval.
        prop_assert!(plan.profit <= grid + 0.125 * 130.0 * prices.len() as f64, "{} > {}", plan.profit, grid);
        assert_consistent(&battery(), 1.0, &plan);
    }
}
