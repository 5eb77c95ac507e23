//! Cost curves as pieces that a convex program can sum: each piece starts at its own zero.

use super::DispatchError;
use crate::case::{CaseGenerator, Cost};

/// A stretch of output with `slope · x + ½ curvature · x²`, 0 ≤ x ≤ width, MW and currency per hour.
pub(super) struct Piece {
    pub(super) width: f64,
    pub(super) slope: f64,
    pub(super) curvature: f64,
}

/// Cost of an output in MW, currency per hour; a piecewise curve goes on with its outer slopes.
#[must_use]
pub fn cost_per_h(cost: &Cost, mw: f64) -> f64 {
    match cost {
        Cost::Polynomial([a, b, c]) => a + mw * (b + mw * c),
        Cost::Points(points) => match points.windows(2).find(|pair| mw <= pair[1].0).or_else(|| points.windows(2).last()) {
            Some(pair) => pair[0].1 + (mw - pair[0].0) * slope(pair),
            None => points.first().map_or(0.0, |point| point.1),
        },
    }
}

fn slope(pair: &[(f64, f64)]) -> f64 {
    (pair[1].1 - pair[0].1) / (pair[1].0 - pair[0].0)
}

/// The pieces between two outputs in MW; none when they are equal.
pub(super) fn pieces(cost: &Cost, low: f64, high: f64) -> Vec<Piece> {
    if low >= high {
        return Vec::new();
    }
    match cost {
        Cost::Polynomial([_, b, c]) => vec![Piece { width: high - low, slope: b + 2.0 * c * low, curvature: 2.0 * c }],
        Cost::Points(points) if points.len() < 2 => vec![Piece { width: high - low, slope: 0.0, curvature: 0.0 }],
        Cost::Points(points) => {
            let last = points.len() - 2;
            let mut pieces: Vec<Piece> = Vec::new();
            for (at, pair) in points.windows(2).enumerate() {
                let from = if at == 0 { low } else { pair[0].0.max(low) };
                let to = if at == last { high } else { pair[1].0.min(high) };
                if to <= from {
                    continue;
                }
                let slope = slope(pair);
                match pieces.last_mut() {
                    // Equal slopes are one piece: between two the optimum would be arbitrary.
                    Some(piece) if slope <= piece.slope => piece.width += to - from,
                    _ => pieces.push(Piece { width: to - from, slope, curvature: 0.0 }),
                }
            }
            pieces
        }
    }
}

/// Refuses what is not finite or not convex.
pub(super) fn check(unit: &CaseGenerator) -> Result<(), DispatchError> {
    let refuse = |what: &str| Err(DispatchError::Input(format!("unit {}: its cost {what}", unit.id)));
    match &unit.cost {
        Cost::Polynomial(coefficients) if !coefficients.iter().all(|c| c.is_finite()) => refuse("is not finite"),
        Cost::Polynomial([_, _, c]) if *c < 0.0 => refuse("falls off with output (not convex)"),
        Cost::Polynomial(_) => Ok(()),
        Cost::Points(points) if !points.iter().all(|point| point.0.is_finite() && point.1.is_finite()) => refuse("is not finite"),
        Cost::Points(points) if points.windows(2).any(|pair| pair[1].0 <= pair[0].0) => refuse("has points out of order"),
        Cost::Points(points) => {
            let slopes: Vec<f64> = points.windows(2).map(slope).collect();
            let falls = slopes.windows(2).any(|pair| pair[1] < pair[0] - 1e-6 * (1.0 + pair[0].abs()));
            if falls { refuse("has a falling slope (not convex)") } else { Ok(()) }
        }
    }
}

/// Greatest magnitude of the marginal cost between two outputs.
pub(super) fn steepest(cost: &Cost, low: f64, high: f64) -> f64 {
    pieces(cost, low, high)
        .iter()
        .map(|piece| piece.slope.abs().max((piece.slope + piece.curvature * piece.width).abs()))
        .fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_sum_to_the_curve_inside_and_beyond_its_points() {
        let curve = Cost::Points(vec![(10.0, 100.0), (20.0, 200.0), (30.0, 300.0), (40.0, 500.0)]);
        let pieces = pieces(&curve, 5.0, 45.0);
        assert_eq!(pieces.iter().map(|piece| (piece.width, piece.slope)).collect::<Vec<_>>(), [(25.0, 10.0), (15.0, 20.0)]);
        let sum: f64 = pieces.iter().map(|piece| piece.width * piece.slope).sum();
        assert!((cost_per_h(&curve, 5.0) + sum - cost_per_h(&curve, 45.0)).abs() < 1e-9);
        assert_eq!(cost_per_h(&curve, 35.0), 400.0);
    }

    #[test]
    fn a_parabola_is_one_piece_from_its_least_output_on() {
        let curve = Cost::Polynomial([5.0, 2.0, 0.5]);
        let pieces = pieces(&curve, 2.0, 6.0);
        let (x, piece) = (4.0, &pieces[0]);
        let sum = piece.slope * x + 0.5 * piece.curvature * x * x;
        assert_eq!(cost_per_h(&curve, 2.0) + sum, cost_per_h(&curve, 6.0));
    }
}
