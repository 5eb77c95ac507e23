//! Economic dispatch of the truth: who produces what, so that the power flow has an operating point.
//!
//! First the DC optimal power flow with every unit free between 0 and its greatest output, so that there always is an
//! answer. Units that come out below half of their least output are then off, the others held to their limits, and it
//! is solved again; where that costs load or has no answer, the first one stands. If the optimiser has none at all the
//! merit order without network decides, and that is counted. Per unit.

use gridflow_numerics::case::{Case, CaseGenerator, Cost};
use gridflow_numerics::dispatch::{self, Interval, Options};

/// Outputs of units and of direct-current links.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Schedule {
    pub(super) generator_p: Vec<f64>,
    pub(super) dc_line_p: Vec<f64>,
    /// Whether it is the merit order that decided.
    pub(super) by_merit: bool,
}

/// Dispatches a case without storage units; `available_p` is infinite where only `p_max` bounds a unit.
pub(super) fn economic(case: &Case, load_p: Vec<f64>, available_p: Vec<f64>) -> Schedule {
    let relaxed = Vec::from_iter(case.generators.iter().map(|unit| (unit.p_min.min(0.0), unit.p_max)));
    let mut interval = Interval { hours: 1.0 / 12.0, load_p, available_p, p_bounds: Some(relaxed) };
    let Ok(first) = dispatch::solve(case, std::slice::from_ref(&interval), &Options::default()) else {
        return merit_order(case, &interval.load_p, &interval.available_p);
    };
    let committed = case.generators.iter().zip(&first.intervals[0].generator_p).zip(&interval.available_p).map(|((unit, p), available)| {
        match unit.p_min {
            least if least <= 0.0 || least > *available => (least.min(0.0), unit.p_max),
            least if *p < 0.5 * least => (0.0, 0.0),
            least => (least, unit.p_max),
        }
    });
    interval.p_bounds = Some(committed.collect());
    let second = dispatch::solve(case, std::slice::from_ref(&interval), &Options::default());
    // Within rounding of the optimiser: a kilowatt hour is no interruption.
    let best = match second {
        Ok(second) if second.shed_mwh <= first.shed_mwh + 1e-3 && no_surplus(&second) => second,
        _ => first,
    };
    let answer = &best.intervals[0];
    let generator_p = answer.generator_p.iter().map(|p| if p.abs() < 1e-6 { 0.0 } else { *p }).collect();
    Schedule { generator_p, dc_line_p: answer.dc_line_p.clone(), by_merit: false }
}

fn no_surplus(dispatch: &dispatch::Dispatch) -> bool {
    dispatch.intervals.iter().all(|interval| interval.surplus_p.iter().all(|p| *p < 1e-5))
}

/// Cheapest block first, ties by unit; limits of the network are not seen.
fn merit_order(case: &Case, load_p: &[f64], available_p: &[f64]) -> Schedule {
    let mut generator_p = Vec::from_iter(case.generators.iter().map(|unit| unit.p_min.min(0.0)));
    let mut blocks = Vec::new();
    for (index, unit) in case.generators.iter().enumerate() {
        let greatest = unit.p_max.min(available_p[index]);
        blocks.extend(price_blocks(case.base_mva, unit, greatest).map(|(price, size)| (price, index, size)));
    }
    blocks.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut missing = load_p.iter().sum::<f64>() - generator_p.iter().sum::<f64>();
    for (_, index, size) in blocks {
        if missing <= 0.0 {
            break;
        }
        let taken = size.min(missing);
        generator_p[index] += taken;
        missing -= taken;
    }
    Schedule { generator_p, dc_line_p: case.dc_lines.iter().map(|link| link.p).collect(), by_merit: true }
}

/// Ten blocks of a unit's range with their mean prices.
fn price_blocks(base_mva: f64, unit: &CaseGenerator, greatest: f64) -> impl Iterator<Item = (f64, f64)> {
    const BLOCKS: usize = 10;
    let least = unit.p_min.min(0.0);
    let size = (greatest - least).max(0.0) / BLOCKS as f64;
    let at = move |k: usize| (least + size * k as f64) * base_mva;
    (0..BLOCKS).filter(move |_| size > 0.0).map(move |k| {
        let (low, high) = (at(k), at(k + 1));
        ((cost_at(&unit.cost, high) - cost_at(&unit.cost, low)) / (high - low), size)
    })
}

/// Cost of an output in MW, currency per hour; a piecewise-linear curve goes on straight beyond its ends.
fn cost_at(cost: &Cost, mw: f64) -> f64 {
    match cost {
        Cost::Polynomial([a, b, c]) => a + mw * (b + mw * c),
        Cost::Points(points) => {
            let Some(last) = points.len().checked_sub(2) else { return 0.0 };
            let segment = points[1..=last].iter().take_while(|point| point.0 < mw).count();
            let ((x0, y0), (x1, y1)) = (points[segment], points[segment + 1]);
            y0 + (y1 - y0) * ((mw - x0) / (x1 - x0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridflow_inputs::matpower;

    #[test]
    fn the_merit_order_fills_the_cheapest_units_first_and_meets_the_load() {
        let case = Case::new(100.0, &matpower::read("ieee14.m", matpower::IEEE14).unwrap().network).unwrap();
        let load_p = Vec::from_iter(case.loads.iter().map(|load| load.p));
        let available = |first: f64| Vec::from_iter((0..case.generators.len()).map(|unit| if unit == 0 { first } else { f64::INFINITY }));
        let total = |schedule: &Schedule| schedule.generator_p.iter().sum::<f64>();
        let free = merit_order(&case, &load_p, &available(f64::INFINITY));
        let short = merit_order(&case, &load_p, &available(0.5));
        let load: f64 = load_p.iter().sum();
        assert!((total(&free) - load).abs() < 1e-9 && (total(&short) - load).abs() < 1e-9);
        assert!(free.generator_p[0] > 2.0 && (short.generator_p[0] - 0.5).abs() < 1e-9, "{free:?}, {short:?}");
    }

    #[test]
    fn a_dispatch_serves_the_load_with_units_off_or_above_their_least_output() {
        let case = Case::new(100.0, &matpower::read("ieee14.m", matpower::IEEE14).unwrap().network).unwrap();
        for share in [0.2, 0.6, 1.0] {
            let load_p = Vec::from_iter(case.loads.iter().map(|load| share * load.p));
            let load: f64 = load_p.iter().sum();
            let schedule = economic(&case, load_p, vec![f64::INFINITY; case.generators.len()]);
            assert!((schedule.generator_p.iter().sum::<f64>() - load).abs() < 1e-6 && !schedule.by_merit, "{schedule:?}");
            for (unit, p) in case.generators.iter().zip(&schedule.generator_p) {
                // A fifth of the load is less than the running unit's least output: it is served all the same.
                assert!(*p == 0.0 || share == 0.2 || (unit.p_min - 1e-6..=unit.p_max + 1e-6).contains(p), "unit {} at {p}", unit.id);
            }
        }
    }

    #[test]
    fn a_curve_of_points_is_read_between_and_beyond_them() {
        let cost = Cost::Points(vec![(10.0, 100.0), (20.0, 300.0), (30.0, 700.0)]);
        assert_eq!([5.0, 10.0, 15.0, 25.0, 40.0].map(|mw| cost_at(&cost, mw)), [0.0, 100.0, 200.0, 500.0, 1_100.0]);
        assert_eq!(cost_at(&Cost::Polynomial([5.0, 2.0, 0.5]), 4.0), 21.0);
    }
}
