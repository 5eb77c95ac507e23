//! Dense judges: derivatives by differences of the readings, solutions by elimination.

use crate::measurements::{readings, reference};
use gridflow_numerics::case::{Case, MeasurementKind as Kind};

/// H by row at a state, by central differences; without the angle of the reference bus unless it is `origin_free`. Columns: for each
/// bus angle, then magnitude.
pub(crate) fn derivatives(case: &Case, kinds: &[Kind], v: &[f64], va: &[f64], origin_free: bool) -> Vec<Vec<f64>> {
    const STEP: f64 = 1e-5;
    let mut rows = vec![Vec::new(); kinds.len()];
    for state in (0..2 * v.len()).filter(|state| origin_free || *state != 2 * reference(case)) {
        let at = |change: f64| {
            let (mut v, mut va) = (v.to_vec(), va.to_vec());
            let changed = if state % 2 == 0 { &mut va[state / 2] } else { &mut v[state / 2] };
            *changed += change;
            readings(case, kinds, &v, &va)
        };
        for (row, (up, down)) in rows.iter_mut().zip(at(STEP).iter().zip(at(-STEP))) {
            row.push((up - down) / (2.0 * STEP));
        }
    }
    rows
}

/// Solves A X = B by Gauss-Jordan elimination with row pivoting; B and X by row.
pub(crate) fn solve(mut a: Vec<Vec<f64>>, b: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let n = a.len();
    a.iter_mut().zip(b).for_each(|(row, b)| row.extend(b));
    for k in 0..n {
        let best = (k..n).max_by(|i, j| a[*i][k].abs().total_cmp(&a[*j][k].abs())).expect("not empty");
        a.swap(k, best);
        let pivot = a[k][k];
        a[k].iter_mut().for_each(|value| *value /= pivot);
        let row = a[k].clone();
        for (_, other) in a.iter_mut().enumerate().filter(|(i, _)| *i != k) {
            let factor = other[k];
            other.iter_mut().zip(&row).for_each(|(value, pivot)| *value -= factor * pivot);
        }
    }
    a.into_iter().map(|row| row[n..].to_vec()).collect()
}

/// HᵀWH.
pub(crate) fn gain(h: &[Vec<f64>], weights: &[f64]) -> Vec<Vec<f64>> {
    let n = h.first().map_or(0, Vec::len);
    let entry = |i: usize, j: usize| h.iter().zip(weights).map(|(row, weight)| weight * row[i] * row[j]).sum();
    (0..n).map(|i| (0..n).map(|j| entry(i, j)).collect()).collect()
}

/// Rank of a dense matrix by elimination with complete pivoting; none when it hangs on a few digits.
pub(crate) fn rank(mut rows: Vec<Vec<f64>>) -> Option<usize> {
    let mut rank = 0;
    let columns = rows.first().map_or(0, Vec::len);
    while rank < rows.len() && rank < columns {
        let places = (rank..rows.len()).flat_map(|row| (rank..columns).map(move |column| (row, column)));
        let (row, column) = places.max_by(|a, b| rows[a.0][a.1].abs().total_cmp(&rows[b.0][b.1].abs())).expect("not empty");
        let pivot = rows[row][column].abs();
        if pivot < 1e-4 {
            return (pivot < 1e-9).then_some(rank);
        }
        rows.swap(rank, row);
        rows.iter_mut().for_each(|row| row.swap(rank, column));
        let pivot = rows[rank].clone();
        for row in &mut rows[rank + 1..] {
            let factor = row[rank] / pivot[rank];
            row.iter_mut().zip(&pivot).skip(rank).for_each(|(value, pivot)| *value -= factor * pivot);
        }
        rank += 1;
    }
    Some(rank)
}

/// Rows scaled to unit length; empty ones stay.
pub(crate) fn unit(mut rows: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    for row in &mut rows {
        let length = row.iter().map(|value| value * value).sum::<f64>().sqrt();
        row.iter_mut().filter(|_| length > 0.0).for_each(|value| *value /= length);
    }
    rows
}
