//! Random small networks before an independent judge: the angle formulation, and the optimum's own differences.

use super::quadratic::{NoOptimum, Program};
use super::testing::{branch, bus, load, unit};
use super::*;
use gridflow_inputs::network::{BusKind, LoadClass};
use proptest::prelude::*;

/// A network of up to seven buses: a tree with extra branches, a load and perhaps a unit at each bus.
fn network() -> impl Strategy<Value = Case> {
    let bus_row =
        (any::<prop::sample::Index>(), 0.02..0.3f64, 0.1..1.5f64, 0.0..0.8f64, prop::option::of((0.3..2.0f64, 5.0..60.0f64, 0.0..0.1f64)));
    let extra = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0.02..0.3f64, 0.1..1.5f64);
    (prop::collection::vec(bus_row, 2..8), prop::collection::vec(extra, 0..5)).prop_map(|(rows, extras)| {
        let mut case = Case {
            base_mva: 100.0,
            buses: Vec::new(),
            branches: Vec::new(),
            generators: vec![unit(1, 0, (0.0, 6.0), [10.0, 20.0, 0.02])],
            loads: Vec::new(),
            storages: Vec::new(),
            dc_lines: Vec::new(),
            nodes: crate::case::Nodes::default(),
        };
        let size = rows.len();
        for (place, (parent, x, rating, p, generator)) in rows.into_iter().enumerate() {
            case.buses.push(bus(place as u32 + 1, if place == size / 2 { BusKind::Reference } else { BusKind::Load }));
            case.loads.push(load(place as u32 + 1, place, p, LoadClass::Residential));
            if place > 0 {
                case.branches.push(branch(place as u32, parent.index(place), place, x, rating));
            }
            if let Some((p_max, slope, curvature)) = generator {
                case.generators.push(unit(place as u32 + 2, place, (0.0, p_max), [0.0, slope, curvature]));
            }
        }
        for (place, (from, to, x, rating)) in extras.into_iter().enumerate() {
            let (from, to) = (from.index(size), to.index(size));
            if from != to {
                case.branches.push(branch(100 + place as u32, from, to, x, rating));
            }
        }
        case
    })
}

/// The optimum with an angle per bus: one balance per bus, one row per branch; none when infeasible.
fn by_angles(case: &Case) -> Option<f64> {
    let mut program = Program::default();
    let mut constant = 0.0;
    let mut balances: Vec<Vec<(usize, f64)>> = vec![Vec::new(); case.buses.len()];
    for unit in &case.generators {
        let crate::case::Cost::Polynomial([a, b, c]) = unit.cost else { panic!("parabolas only") };
        constant += a;
        let column = program.column(2.0 * c, b, unit.p_min * 100.0, unit.p_max * 100.0);
        balances[unit.bus].push((column, 1.0));
    }
    let angles: Vec<usize> = case
        .buses
        .iter()
        .map(|bus| {
            let reach = if bus.kind == BusKind::Reference { 0.0 } else { 1e3 };
            program.column(0.0, 0.0, -reach, reach)
        })
        .collect();
    for branch in &case.branches {
        let b = 1.0 / branch.x;
        program.row(vec![(angles[branch.from], b), (angles[branch.to], -b)], -branch.rating * 100.0, branch.rating * 100.0);
        balances[branch.from].extend([(angles[branch.from], -b), (angles[branch.to], b)]);
        balances[branch.to].extend([(angles[branch.from], b), (angles[branch.to], -b)]);
    }
    for (bus, terms) in balances.into_iter().enumerate() {
        let demand: f64 = case.loads.iter().filter(|load| load.bus == bus).map(|load| load.p * 100.0).sum();
        program.row(terms, demand, demand);
    }
    match program.solve() {
        Ok(optimum) => Some(optimum.objective + constant),
        Err(NoOptimum::Infeasible { .. }) => None,
        Err(failure) => panic!("the judge does not know: {failure:?}"),
    }
}

fn cost(case: &Case) -> Option<f64> {
    let options = Options { allow_shedding: false, ..Options::default() };
    match solve(case, &[Interval::of(case, 1.0)], &options) {
        Ok(dispatch) => Some(dispatch.cost),
        Err(DispatchError::Infeasible(_)) => None,
        Err(failure) => panic!("{failure}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_angle_formulation_finds_the_same_cost_or_is_infeasible_too(case in network()) {
        match (cost(&case), by_angles(&case)) {
            (Some(cost), Some(judge)) => prop_assert!((cost - judge).abs() <= 1e-6 * (1.0 + judge.abs()), "{cost} {judge}"),
            (None, None) => {}
            (cost, judge) => prop_assert!(false, "{cost:?} {judge:?}"),
        }
    }

    /// The optimum is convex in a load, so its one-sided differences enclose the price.
    #[test]
    fn the_price_of_a_bus_lies_between_the_differences_of_cost_with_its_load(case in network(), at in any::<prop::sample::Index>()) {
        let at = at.index(case.loads.len());
        let changed = |p: f64| {
            let mut case = case.clone();
            case.loads[at].p += p;
            cost(&case)
        };
        let options = Options { allow_shedding: false, ..Options::default() };
        if let (Ok(dispatch), Some(less)) = (solve(&case, &[Interval::of(&case, 1.0)], &options), changed(-0.01)) {
            let price = dispatch.intervals[0].lmp[case.loads[at].bus].total();
            prop_assert!(price >= dispatch.cost - less - 1e-3, "{price} {} {less}", dispatch.cost);
            if let Some(more) = changed(0.01) {
                prop_assert!(price <= more - dispatch.cost + 1e-3, "{price} {more} {}", dispatch.cost);
            }
        }
    }

    #[test]
    fn with_slack_there_is_always_a_dispatch_within_limits_and_its_balance_closes(case in network(), scale in 0.2..3.0f64) {
        let mut interval = Interval::of(&case, 1.0);
        interval.load_p.iter_mut().for_each(|p| *p *= scale);
        let dispatch = solve(&case, &[interval.clone()], &Options::default()).unwrap();
        let result = &dispatch.intervals[0];
        let supply: f64 = result.generator_p.iter().chain(&result.shed_p).sum::<f64>() - result.surplus_p.iter().sum::<f64>();
        prop_assert!((supply - interval.load_p.iter().sum::<f64>()).abs() < 1e-5);
        for (flow, branch) in result.flow_p.iter().zip(&case.branches) {
            prop_assert!(flow.abs() <= branch.rating + 1e-5);
        }
        prop_assert!(result.shed_p.iter().zip(&interval.load_p).all(|(shed, p)| *shed >= 0.0 && *shed <= p + 1e-7));
    }
}
