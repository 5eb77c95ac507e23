//! Generation costs: the `gencost` matrix, one row a unit, in currency per hour.
//!
//! Model 1 gives points `x1 y1 … xn yn`, model 2 coefficients from the highest power down. A second block of rows, for
//! reactive power, is passed over with a warning.

use super::build::Row;
use super::text::{Matrix, Source};
use crate::network_file::{convex_points, cost_rows};
use crate::row::Real;
use crate::table::ParseError;
use crate::units::MilliWatts;

/// Cost of a unit: the polynomial (lowest power first) or the points; the other is empty.
#[derive(Clone, Debug)]
pub(super) struct Cost {
    pub(super) polynomial: Vec<Real>,
    pub(super) points: Vec<(MilliWatts, Real)>,
    pub(super) start_up: Real,
}

const NAMES: &[&str] = &["model", "startup", "shutdown", "n"];

/// Reads the costs of `units` units; a case without any has cost 0, with a warning.
pub(super) fn read(source: Source<'_>, matrix: Option<&Matrix>, units: usize, warnings: &mut Vec<String>) -> Result<Vec<Cost>, ParseError> {
    let Some(matrix) = matrix else {
        warnings.push("the case has no gencost: generation costs nothing".to_owned());
        return Ok(vec![Cost { polynomial: vec![Real::ZERO], points: Vec::new(), start_up: Real::ZERO }; units]);
    };
    if matrix.rows() == units.saturating_mul(2) && units > 0 {
        warnings.push("costs of reactive power (second half of gencost) were passed over".to_owned());
    } else if matrix.rows() != units {
        let reason = format!("expected {units} rows in gencost, one a row of gen, found {}", matrix.rows());
        return Err(source.error(matrix.at, reason));
    }
    if units > 0 && matrix.columns < 4 {
        return Err(source.error(matrix.at, format!("expected at least 4 columns in gencost, found {}", matrix.columns)));
    }
    let rows = (0..units).map(|row| Row { source, matrix, names: NAMES, thing: "gencost", row });
    rows.map(|row| cost(&row, warnings)).collect()
}

fn cost(row: &Row<'_>, warnings: &mut Vec<String>) -> Result<Cost, ParseError> {
    let start_up = row.real(1)?;
    let count = row.integer(3, 0)? as usize;
    let model = row.integer(0, 1)?;
    let width = match model {
        1 => count.saturating_mul(2),
        2 => count,
        other => return Err(row.error(0, format!("expected model as 1 (points) or 2 (polynomial), found {other}"))),
    };
    if width > row.matrix.columns - 4 {
        let reason = format!("n = {count} needs {width} values behind it, the row has {}", row.matrix.columns - 4);
        return Err(row.error(3, reason));
    }
    if (4 + width..row.matrix.columns).any(|column| row.value(column) != 0.0) {
        warnings.push(format!("generator {}: gencost has values beyond its n = {count}; they were passed over", row.row + 1));
    }
    if model == 1 {
        let points = points(row, count, warnings)?;
        return Ok(Cost { polynomial: Vec::new(), points, start_up });
    }
    let mut polynomial: Vec<Real> = (4..4 + count).rev().map(|column| row.real(column)).collect::<Result<_, _>>()?;
    while polynomial.len() > 3 && polynomial.last() == Some(&Real::ZERO) {
        polynomial.pop();
    }
    if polynomial.len() > 3 {
        let degree = polynomial.len() - 1;
        return Err(row.error(4, format!("a cost polynomial of degree {degree} is not supported: at most 2, or points (model 1)")));
    }
    if polynomial.len() == 3 && polynomial[2].get() < 0.0 {
        return Err(row.error(4, format!("the quadratic coefficient {} is negative: the cost is not convex", polynomial[2].get())));
    }
    if polynomial.is_empty() {
        polynomial.push(Real::ZERO);
    }
    Ok(Cost { polynomial, points: Vec::new(), start_up })
}

fn points(row: &Row<'_>, count: usize, warnings: &mut Vec<String>) -> Result<Vec<(MilliWatts, Real)>, ParseError> {
    if count < 2 {
        return Err(row.error(3, format!("expected at least 2 cost points, found {count}")));
    }
    let mut points: Vec<(f64, f64)> = Vec::with_capacity(count);
    for column in (4..4 + 2 * count).step_by(2) {
        let point = (row.finite(column)?, row.finite(column + 1)?);
        if points.last().is_some_and(|last| last.0 >= point.0) {
            return Err(row.error(column, format!("cost points must ascend in power, {} does not", point.0)));
        }
        points.push(point);
    }
    let (hull, bent) = convex_points(&points);
    if bent {
        let dropped = points.len() - hull.len();
        warnings.push(format!("generator {}: the cost is not convex; {dropped} of its {count} points were cut off", row.row + 1));
    }
    cost_rows(&hull).ok_or_else(|| row.error(4, "a cost point is beyond what a row may hold"))
}
