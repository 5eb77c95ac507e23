//! LU of an unsymmetric sparse matrix that chooses pivots: what the Newton Jacobian falls back to when [`BlockLu`](super::BlockLu)
//! meets a weak one.
//!
//! Columns in approximate-minimum-degree order of A + Aᵀ. A fresh factor is left-looking (Gilbert and Peierls 1988)
//! with threshold partial pivoting that prefers the diagonal; a repeated one keeps pattern and pivots and falls back to a
//! fresh one when a pivot got too small. [`Lu::reset`] forgets pivots chosen for earlier values, so that what was
//! factored before can never change a bit of what comes after.

use super::Pattern;
use std::sync::Arc;

/// No row can serve as pivot of a column: the matrix is singular.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column} has no pivot")]
pub struct SingularColumn {
    /// Column of the matrix, as the caller numbers it.
    pub column: usize,
}

/// A diagonal value of at least this share of the largest candidate is taken as pivot.
const PREFER_DIAGONAL: f64 = 1e-2;
/// A frozen pivot below this share of the largest value in its column asks for a fresh factor.
const KEEP_FROZEN: f64 = 1e-5;
const NONE: usize = usize::MAX;

/// Pivots and patterns of L and U, all in pivot positions.
#[derive(Debug)]
struct Frame {
    /// Pivot position of each row of the matrix, and back.
    position: Vec<usize>,
    row_at: Vec<usize>,
    lower_starts: Vec<usize>,
    lower_rows: Vec<u32>,
    /// Strict upper part; ascending rows are a topological order of the elimination.
    upper_starts: Vec<usize>,
    upper_rows: Vec<u32>,
}

/// A symbolic analysis with the numeric factor last computed on it.
#[derive(Clone, Debug)]
pub struct Lu {
    pattern: Pattern,
    /// `order[new] = old`, of columns.
    order: Vec<usize>,
    /// The frame with the diagonal as pivots: a function of the pattern alone. None when the diagonal has a gap.
    diagonal: Option<Arc<Frame>>,
    frozen: Option<Arc<Frame>>,
    lower: Vec<f64>,
    upper: Vec<f64>,
    pivots: Vec<f64>,
}

impl Lu {
    /// Symbolic analysis of a square pattern; the diagonal becomes the first choice of pivots.
    ///
    /// # Panics
    /// When the pattern is not square.
    #[must_use]
    pub fn analyze(pattern: &Pattern) -> Self {
        let n = pattern.columns();
        let order = pattern.fill_reducing_order();
        let mut lu = Self { pattern: pattern.clone(), order, diagonal: None, frozen: None, lower: vec![], upper: vec![], pivots: vec![] };
        // Values play no part in the frame except for pivoting: with the identity the diagonal is chosen throughout.
        let mut identity = vec![0.0; pattern.len()];
        for slot in (0..n).filter_map(|k| pattern.find(k, k)) {
            identity[slot] = 1.0;
        }
        if lu.factor(&identity).is_ok() {
            lu.diagonal.clone_from(&lu.frozen);
        }
        lu.frozen.clone_from(&lu.diagonal);
        lu
    }

    /// Number of values in L and U off the diagonal: the fill.
    #[must_use]
    pub fn fill(&self) -> usize {
        self.lower.len() + self.upper.len()
    }

    /// Takes the diagonal as pivots again, as after [`analyze`](Self::analyze).
    pub fn reset(&mut self) {
        self.frozen.clone_from(&self.diagonal);
    }

    /// Factors the matrix of `values` (one per slot of the pattern), choosing pivots afresh, and freezes them.
    ///
    /// # Errors
    /// When a column has no pivot.
    ///
    /// # Panics
    /// When the number of values is not that of the pattern.
    pub fn factor(&mut self, values: &[f64]) -> Result<(), SingularColumn> {
        assert_eq!(values.len(), self.pattern.len(), "one value per slot of the analysed pattern");
        let n = self.order.len();
        self.frozen = None;
        let mut position = vec![NONE; n];
        let mut row_at = Vec::with_capacity(n);
        // L and U by column as (row or position, value); rows of L are those of the matrix until all have a position.
        let (mut lower, mut upper) = (Vec::<(usize, f64)>::new(), Vec::<(usize, f64)>::new());
        let (mut lower_starts, mut upper_starts) = (vec![0], vec![0]);
        self.pivots.clear();
        let mut work = vec![0.0; n];
        let mut mark = vec![NONE; n];
        let (mut reached, mut path) = (Vec::new(), Vec::<(usize, usize)>::new());
        for (k, &column) in self.order.iter().enumerate() {
            // Rows that column k of L or U can touch: reachable through finished columns of L. `reached` is in post-order.
            reached.clear();
            for &row in self.pattern.column(column) {
                if mark[row] == k {
                    continue;
                }
                mark[row] = k;
                path.push((row, 0));
                while let Some((row, offset)) = path.last_mut() {
                    let column_of_l = position[*row];
                    let range = if column_of_l == NONE { 0..0 } else { lower_starts[column_of_l]..lower_starts[column_of_l + 1] };
                    let next = lower[range].iter().skip(*offset).map(|entry| entry.0);
                    let (mut skipped, mut descend) = (0, None);
                    for candidate in next {
                        skipped += 1;
                        if mark[candidate] != k {
                            descend = Some(candidate);
                            break;
                        }
                    }
                    *offset += skipped;
                    if let Some(candidate) = descend {
                        mark[candidate] = k;
                        path.push((candidate, 0));
                    } else {
                        reached.push(*row);
                        path.pop();
                    }
                }
            }
            for slot in self.pattern.slots(column) {
                work[self.pattern.indices()[slot]] = values[slot];
            }
            let (mut best, mut largest) = (NONE, 0.0);
            for &row in reached.iter().rev() {
                let j = position[row];
                let value: f64 = work[row];
                if j == NONE {
                    // The lowest row among equals, whatever the order of the search.
                    if value.abs() > largest || (value.abs() == largest && row < best) {
                        (best, largest) = (row, value.abs());
                    }
                    continue;
                }
                upper.push((j, value));
                for &(target, l) in &lower[lower_starts[j]..lower_starts[j + 1]] {
                    work[target] -= l * value;
                }
            }
            // A value that is no number never becomes the largest; where it is all there is, there is no pivot.
            if best == NONE || largest == 0.0 || !largest.is_finite() {
                return Err(SingularColumn { column });
            }
            if mark[column] == k && position[column] == NONE && work[column].abs() >= PREFER_DIAGONAL * largest {
                best = column;
            }
            let pivot = work[best];
            for &row in &reached {
                let value = std::mem::take(&mut work[row]);
                if position[row] == NONE && row != best {
                    lower.push((row, value / pivot));
                }
            }
            position[best] = k;
            row_at.push(best);
            self.pivots.push(pivot);
            lower_starts.push(lower.len());
            upper_starts.push(upper.len());
        }
        for entry in &mut lower {
            entry.0 = position[entry.0];
        }
        for k in 0..n {
            lower[lower_starts[k]..lower_starts[k + 1]].sort_unstable_by_key(|entry| entry.0);
            upper[upper_starts[k]..upper_starts[k + 1]].sort_unstable_by_key(|entry| entry.0);
        }
        let rows = |part: &[(usize, f64)]| Vec::from_iter(part.iter().map(|entry| entry.0 as u32));
        self.frozen =
            Some(Arc::new(Frame { position, row_at, lower_rows: rows(&lower), lower_starts, upper_rows: rows(&upper), upper_starts }));
        self.lower = lower.into_iter().map(|entry| entry.1).collect();
        self.upper = upper.into_iter().map(|entry| entry.1).collect();
        Ok(())
    }

    /// Factors the matrix of `values` on the frozen pattern and pivots; with a fresh choice when a pivot got too small.
    ///
    /// # Errors
    /// When a column has no pivot.
    ///
    /// # Panics
    /// When the number of values is not that of the pattern.
    pub fn refactor(&mut self, values: &[f64]) -> Result<(), SingularColumn> {
        assert_eq!(values.len(), self.pattern.len(), "one value per slot of the analysed pattern");
        match self.frozen.clone() {
            Some(frame) if self.repeat(&frame, values) => Ok(()),
            _ => self.factor(values),
        }
    }

    /// Whether all pivots of `frame` are good enough for `values`.
    fn repeat(&mut self, frame: &Frame, values: &[f64]) -> bool {
        let n = self.order.len();
        self.lower.resize(frame.lower_rows.len(), 0.0);
        self.upper.resize(frame.upper_rows.len(), 0.0);
        self.pivots.resize(n, 1.0);
        let mut work = vec![0.0; n];
        for (k, &column) in self.order.iter().enumerate() {
            for slot in self.pattern.slots(column) {
                work[frame.position[self.pattern.indices()[slot]]] = values[slot];
            }
            for slot in frame.upper_starts[k]..frame.upper_starts[k + 1] {
                let j = frame.upper_rows[slot] as usize;
                let value = std::mem::take(&mut work[j]);
                self.upper[slot] = value;
                let range = frame.lower_starts[j]..frame.lower_starts[j + 1];
                for (&row, l) in frame.lower_rows[range.clone()].iter().zip(&self.lower[range]) {
                    work[row as usize] -= l * value;
                }
            }
            let pivot = std::mem::take(&mut work[k]);
            let mut largest = 0.0f64;
            for slot in frame.lower_starts[k]..frame.lower_starts[k + 1] {
                let value = std::mem::take(&mut work[frame.lower_rows[slot] as usize]);
                largest = largest.max(value.abs());
                self.lower[slot] = value / pivot;
            }
            // Written so that a pivot that is no number is refused.
            if !(pivot.abs() > 0.0 && pivot.abs() >= KEEP_FROZEN * largest && pivot.is_finite()) {
                return false;
            }
            self.pivots[k] = pivot;
        }
        true
    }

    /// Solves A x = b with the last factor; `x` holds b and receives the solution.
    ///
    /// # Panics
    /// When `x` has another length than the matrix, or nothing was factored.
    pub fn solve(&self, x: &mut [f64]) {
        let n = self.order.len();
        assert_eq!(x.len(), n, "one value per unknown");
        let frame = self.frozen.as_ref().expect("a matrix is factored before it is solved with");
        assert_eq!((self.pivots.len(), self.lower.len()), (n, frame.lower_rows.len()), "the factor belongs to the frame");
        let mut y = Vec::from_iter(frame.row_at.iter().map(|&row| x[row]));
        for k in 0..n {
            let value = y[k];
            for slot in frame.lower_starts[k]..frame.lower_starts[k + 1] {
                y[frame.lower_rows[slot] as usize] -= self.lower[slot] * value;
            }
        }
        for k in (0..n).rev() {
            let value = y[k] / self.pivots[k];
            y[k] = value;
            for slot in frame.upper_starts[k]..frame.upper_starts[k + 1] {
                y[frame.upper_rows[slot] as usize] -= self.upper[slot] * value;
            }
        }
        for (value, &old) in y.iter().zip(&self.order) {
            x[old] = *value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Matrix;
    use super::*;
    use proptest::prelude::*;

    /// Gaussian elimination with complete row pivoting on a dense matrix: the judge.
    fn dense_solve(matrix: &Matrix, b: &[f64]) -> Option<Vec<f64>> {
        let n = b.len();
        let mut rows = Vec::from_iter((0..n).map(|row| {
            let mut values = Vec::from_iter((0..n).map(|column| matrix.get(row, column)));
            values.push(b[row]);
            values
        }));
        for k in 0..n {
            let best = (k..n).max_by(|&i, &j| rows[i][k].abs().total_cmp(&rows[j][k].abs()))?;
            rows.swap(k, best);
            if rows[k][k].abs() < 1e-9 {
                return None;
            }
            let pivot_row = rows[k].clone();
            for row in &mut rows[k + 1..] {
                let factor = row[k] / pivot_row[k];
                row.iter_mut().zip(&pivot_row).for_each(|(value, pivot)| *value -= factor * pivot);
            }
        }
        let mut x = vec![0.0; n];
        for k in (0..n).rev() {
            let known: f64 = (k + 1..n).map(|j| rows[k][j] * x[j]).sum();
            x[k] = (rows[k][n] - known) / rows[k][k];
        }
        Some(x)
    }

    fn close(a: &[f64], b: &[f64]) -> bool {
        let size = b.iter().fold(1.0f64, |size, value| size.max(value.abs()));
        a.iter().zip(b).all(|(x, y)| (x - y).abs() <= 1e-7 * size)
    }

    fn any_matrix(n: usize) -> impl Strategy<Value = Vec<(usize, usize, f64)>> {
        prop::collection::vec((0..n, 0..n, -1.0..1.0f64), 2 * n..6 * n)
    }

    proptest! {
        #[test]
        fn a_solution_equals_that_of_dense_elimination(triplets in any_matrix(12), shift in 0.0..2.0f64) {
            let mut triplets = triplets;
            triplets.extend((0..12).map(|k| (k, (k * 5) % 12, shift)));
            let matrix = Matrix::from_triplets(12, 12, &triplets);
            let b = Vec::from_iter((0..12).map(|k| f64::from(k) - 5.0));
            let mut lu = Lu::analyze(matrix.pattern());
            if let Some(expected) = dense_solve(&matrix, &b) {
                lu.refactor(matrix.values()).unwrap();
                let mut x = b.clone();
                lu.solve(&mut x);
                prop_assert!(close(&x, &expected), "{x:?} {expected:?}");
            }
        }

        #[test]
        fn a_repeated_factor_solves_new_values_and_history_leaves_no_trace(triplets in any_matrix(12), other in 0.5..2.0f64) {
            let mut triplets = triplets;
            triplets.extend((0..12).map(|k| (k, k, 3.0)));
            let first = Matrix::from_triplets(12, 12, &triplets);
            triplets.iter_mut().for_each(|entry| if entry.0 < entry.1 { entry.2 *= other });
            let second = Matrix::from_triplets(12, 12, &triplets);
            let b = Vec::from_iter((0..12).map(|k| f64::from(k) - 5.0));
            let Some(expected) = dense_solve(&second, &b) else { return Ok(()) };
            let mut with_history = Lu::analyze(first.pattern());
            if with_history.factor(first.values()).is_err() || with_history.refactor(second.values()).is_err() {
                return Ok(());
            }
            let mut x = b.clone();
            with_history.solve(&mut x);
            prop_assert!(close(&x, &expected));
            with_history.reset();
            with_history.refactor(second.values()).unwrap();
            let mut fresh = Lu::analyze(first.pattern());
            fresh.refactor(second.values()).unwrap();
            let (mut x, mut y) = (b.clone(), b);
            with_history.solve(&mut x);
            fresh.solve(&mut y);
            prop_assert_eq!(x, y);
        }
    }

    #[test]
    fn a_vanished_diagonal_makes_it_choose_pivots_afresh() {
        let triplets = |a: f64| [(0, 0, a), (0, 1, 2.0), (1, 0, 4.0), (1, 1, a)];
        let regular = Matrix::from_triplets(2, 2, &triplets(10.0));
        let swapped = Matrix::from_triplets(2, 2, &triplets(0.0));
        let mut lu = Lu::analyze(regular.pattern());
        lu.refactor(regular.values()).unwrap();
        lu.refactor(swapped.values()).unwrap();
        let mut x = [2.0, 8.0];
        lu.solve(&mut x);
        assert_eq!(x, [2.0, 1.0]);
    }

    #[test]
    fn a_singular_matrix_is_an_error_that_names_a_column() {
        let matrix = Matrix::from_triplets(3, 3, &[(0, 0, 1.0), (1, 1, 1.0), (1, 2, 2.0), (2, 1, 2.0), (2, 2, 4.0)]);
        let SingularColumn { column } = Lu::analyze(matrix.pattern()).refactor(matrix.values()).unwrap_err();
        assert!(column == 1 || column == 2);
        let no_number = Matrix::from_triplets(1, 1, &[(0, 0, f64::NAN)]);
        assert!(Lu::analyze(no_number.pattern()).refactor(no_number.values()).is_err());
    }
}
