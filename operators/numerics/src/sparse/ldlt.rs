//! LDLᵀ of a symmetric sparse matrix, without pivoting: gain matrices, DC susceptance matrices, normal equations.
//!
//! Up-looking and simplicial (row k of L from the rows above it), on an approximate-minimum-degree order. The matrix may be
//! indefinite (negative reactances) as long as no pivot vanishes. A pivot counts as zero when it is lost in the
//! rounding of the terms it is the difference of, so the test does not depend on the matrix's scale. Zero pivots of a
//! positive semidefinite matrix count its null space; to find them all, the rounding that small pivots before them have
//! magnified counts too. After T. Davis, "Direct Methods for Sparse Linear Systems".

use super::Pattern;
use super::fill::{Fill, prefix_sums};

/// A pivot vanished: the matrix is singular, or needs pivoting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pivot of row {row} vanished")]
pub struct ZeroPivot {
    /// Row of the matrix, as the caller numbers it.
    pub row: usize,
}

/// A pivot below this share of the terms it is the difference of is lost in rounding.
const LOST: f64 = 1e-14;

/// A symbolic analysis with the numeric factor last computed on it.
#[derive(Clone, Debug)]
pub struct Ldlt {
    /// `order[new] = old`.
    order: Vec<usize>,
    /// Number of slots of the analysed pattern.
    slots: usize,
    /// Strict upper triangle of the permuted matrix by column: starts, (row, slot).
    upper_starts: Vec<usize>,
    upper: Vec<(usize, usize)>,
    /// Slot of each diagonal value; none where the pattern has no place there.
    diagonal: Vec<Option<usize>>,
    /// L by column: rows ascending; a row k is appended to its columns when row k is computed.
    lower_starts: Vec<usize>,
    lower_rows: Vec<u32>,
    lower: Vec<f64>,
    /// Pattern of L by row: columns ascending, which is a topological order of the elimination.
    row_starts: Vec<usize>,
    row_columns: Vec<u32>,
    /// D; infinite where a zero pivot was replaced, so that its unknown is held at 0.
    pivots: Vec<f64>,
    /// Permuted indices of the zero pivots of the last factor.
    zero: Vec<usize>,
}

impl Ldlt {
    /// Symbolic analysis of a square pattern; of its places only those with row ≤ column are read, so a full symmetric
    /// pattern and an upper triangle give the same.
    ///
    /// # Panics
    /// When the pattern is not square.
    #[must_use]
    pub fn analyze(pattern: &Pattern) -> Self {
        let n = pattern.columns();
        let order = pattern.fill_reducing_order();
        let mut position = vec![0; n];
        for (new, &old) in order.iter().enumerate() {
            position[old] = new;
        }
        let mut diagonal = vec![None; n];
        let mut entries = Vec::with_capacity(pattern.len());
        for column in 0..n {
            for slot in pattern.slots(column) {
                let row = pattern.indices()[slot];
                let (a, b) = (position[row], position[column]);
                match row.cmp(&column) {
                    std::cmp::Ordering::Less => entries.push((a.max(b), a.min(b), slot)),
                    std::cmp::Ordering::Equal => diagonal[a] = Some(slot),
                    std::cmp::Ordering::Greater => {}
                }
            }
        }
        entries.sort_unstable();
        let mut upper_starts = vec![0; n + 1];
        for &(column, _, _) in &entries {
            upper_starts[column + 1] += 1;
        }
        prefix_sums(&mut upper_starts);
        let upper = Vec::from_iter(entries.into_iter().map(|(_, row, slot)| (row, slot)));

        let columns = |k: usize| upper[upper_starts[k]..upper_starts[k + 1]].iter().map(|(row, _)| *row);
        let Fill { row_starts, row_columns, column_starts: lower_starts, column_rows: lower_rows } = Fill::new(n, columns);
        Self {
            order,
            slots: pattern.len(),
            upper_starts,
            upper,
            diagonal,
            lower_starts,
            lower: vec![0.0; lower_rows.len()],
            lower_rows,
            row_starts,
            row_columns,
            pivots: vec![1.0; n],
            zero: Vec::new(),
        }
    }

    /// Number of unknowns.
    #[must_use]
    pub fn size(&self) -> usize {
        self.order.len()
    }

    /// The order of elimination: `order[new] = old`.
    #[must_use]
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// Number of values in L below the diagonal: the fill.
    #[must_use]
    pub fn fill(&self) -> usize {
        self.lower.len()
    }

    /// Factors the matrix of `values`, one per slot of the analysed pattern.
    ///
    /// # Errors
    /// When a pivot vanished; the factor is then of no use.
    ///
    /// # Panics
    /// When the number of values is not that of the pattern.
    pub fn factor(&mut self, values: &[f64]) -> Result<(), ZeroPivot> {
        self.eliminate(values, false)
    }

    /// Factors like [`factor`](Self::factor), but holds the unknown of each zero pivot at 0 and goes on; returns those
    /// unknowns, ascending.
    ///
    /// For a positive semidefinite matrix the count is its rank deficiency, and [`solve`](Self::solve) gives a solution
    /// wherever there is one. What cannot be told from zero for rounding counts as zero.
    ///
    /// # Panics
    /// When the number of values is not that of the pattern.
    pub fn factor_holding(&mut self, values: &[f64]) -> Vec<usize> {
        self.eliminate(values, true).expect("zero pivots are held, not reported");
        let mut held = Vec::from_iter(self.zero.iter().map(|&k| self.order[k]));
        held.sort_unstable();
        held
    }

    fn eliminate(&mut self, values: &[f64], hold: bool) -> Result<(), ZeroPivot> {
        assert_eq!(values.len(), self.slots, "one value per slot of the analysed pattern");
        let n = self.size();
        self.zero.clear();
        let mut work = vec![0.0; n];
        // Rounding errors of the pivots: their own, and when zero pivots are sought those of pivots before them by their share.
        let mut errors = vec![0.0; n];
        // End of the part of each column of L that is computed so far.
        let mut ends = self.lower_starts[..n].to_vec();
        for k in 0..n {
            for &(row, slot) in &self.upper[self.upper_starts[k]..self.upper_starts[k + 1]] {
                work[row] = values[slot];
            }
            let mut pivot = self.diagonal[k].map_or(0.0, |slot| values[slot]);
            let (mut terms, mut inherited) = (pivot.abs(), 0.0);
            for &i in &self.row_columns[self.row_starts[k]..self.row_starts[k + 1]] {
                let i = i as usize;
                let y = std::mem::take(&mut work[i]);
                let (start, end) = (self.lower_starts[i], ends[i]);
                for (&row, l) in self.lower_rows[start..end].iter().zip(&self.lower[start..end]) {
                    work[row as usize] -= l * y;
                }
                let l = y / self.pivots[i];
                pivot -= l * y;
                terms += (l * y).abs();
                inherited += l * l * errors[i];
                self.lower[end] = l;
                ends[i] = end + 1;
            }
            // A pivot that is no number is greater than nothing, so it counts as zero too.
            errors[k] = LOST * terms + if hold { inherited } else { 0.0 };
            let regular = pivot.abs() > errors[k];
            if !regular {
                if !hold {
                    return Err(ZeroPivot { row: self.order[k] });
                }
                self.zero.push(k);
                pivot = f64::INFINITY;
            }
            self.pivots[k] = pivot;
        }
        Ok(())
    }

    /// Solves A x = b with the last factor; `x` holds b and receives the solution.
    ///
    /// # Panics
    /// When `x` has another length than the matrix.
    pub fn solve(&self, x: &mut [f64]) {
        assert_eq!(x.len(), self.size(), "one value per unknown");
        let mut y = Vec::from_iter(self.order.iter().map(|&old| x[old]));
        for k in 0..y.len() {
            let value = y[k];
            if value != 0.0 {
                for slot in self.lower_starts[k]..self.lower_starts[k + 1] {
                    y[self.lower_rows[slot] as usize] -= self.lower[slot] * value;
                }
            }
        }
        for (value, pivot) in y.iter_mut().zip(&self.pivots) {
            *value /= pivot;
        }
        self.solve_transposed(&mut y);
        for (value, &old) in y.iter().zip(&self.order) {
            x[old] = *value;
        }
    }

    /// Lᵀ y = y, permuted.
    fn solve_transposed(&self, y: &mut [f64]) {
        for k in (0..y.len()).rev() {
            let mut value = y[k];
            for slot in self.lower_starts[k]..self.lower_starts[k + 1] {
                value -= self.lower[slot] * y[self.lower_rows[slot] as usize];
            }
            y[k] = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Matrix;
    use super::*;
    use proptest::prelude::*;

    /// A symmetric matrix with a dominant diagonal of either sign.
    fn symmetric(n: usize) -> impl Strategy<Value = Matrix> {
        (prop::collection::vec((0..n, 0..n, -1.0..1.0f64), 0..4 * n), prop::collection::vec(any::<bool>(), n)).prop_map(
            move |(pairs, signs)| {
                let mut triplets = Vec::new();
                for (row, column, value) in pairs {
                    if row != column {
                        triplets.extend([(row, column, value), (column, row, value)]);
                    }
                }
                for (k, negative) in signs.into_iter().enumerate() {
                    let sum: f64 = triplets.iter().filter(|entry| entry.0 == k && entry.1 != k).map(|entry| entry.2.abs()).sum();
                    triplets.push((k, k, if negative { -1.0 - sum } else { 1.0 + sum }));
                }
                Matrix::from_triplets(n, n, &triplets)
            },
        )
    }

    proptest! {
        #[test]
        fn a_solution_satisfies_its_system_and_a_second_factor_has_the_same_bits(matrix in symmetric(17)) {
            let b = Vec::from_iter((0..17).map(|k| f64::from(k) - 8.0));
            let mut ldlt = Ldlt::analyze(matrix.pattern());
            ldlt.factor(matrix.values()).unwrap();
            let mut x = b.clone();
            ldlt.solve(&mut x);
            for (left, right) in matrix.multiply(&x).iter().zip(&b) {
                prop_assert!((left - right).abs() < 1e-10, "{left} {right}");
            }
            let doubled = Vec::from_iter(matrix.values().iter().map(|value| 2.0 * value));
            ldlt.factor(&doubled).unwrap();
            ldlt.factor(matrix.values()).unwrap();
            let mut again = b;
            ldlt.solve(&mut again);
            prop_assert_eq!(x, again);
        }

        #[test]
        fn a_laplacian_has_one_zero_pivot_per_component(
            edges in prop::collection::vec((0..20usize, 0..20usize, 0.1..10.0f64), 0..30)
        ) {
            let mut triplets = Vec::from_iter((0..20).map(|k| (k, k, 0.0)));
            let mut label = Vec::from_iter(0..20usize);
            for (a, b, weight) in edges.into_iter().filter(|edge| edge.0 != edge.1) {
                triplets.extend([(a, a, weight), (b, b, weight), (a, b, -weight), (b, a, -weight)]);
                let (from, to) = (label[a].max(label[b]), label[a].min(label[b]));
                label.iter_mut().filter(|l| **l == from).for_each(|l| *l = to);
            }
            let matrix = Matrix::from_triplets(20, 20, &triplets);
            let mut ldlt = Ldlt::analyze(matrix.pattern());
            let held = ldlt.factor_holding(matrix.values());
            let mut roots = Vec::from_iter(held.iter().map(|&k| label[k]));
            roots.sort_unstable();
            let mut components = label.clone();
            components.sort_unstable();
            components.dedup();
            prop_assert_eq!(roots, components);
        }
    }

    #[test]
    fn a_zero_pivot_is_reported_by_its_own_index() {
        let triplets = [(0, 0, 2.0), (1, 1, 3.0), (1, 2, 3.0), (2, 1, 3.0), (2, 2, 3.0), (3, 3, 1e-300)];
        let matrix = Matrix::from_triplets(4, 4, &triplets);
        let mut ldlt = Ldlt::analyze(matrix.pattern());
        let ZeroPivot { row } = ldlt.factor(matrix.values()).unwrap_err();
        assert!(row == 1 || row == 2, "row {row} is regular");
        assert_eq!(ldlt.factor_holding(matrix.values()), [row]);
        let mut x = [2.0, 6.0, 6.0, 1e-300];
        ldlt.solve(&mut x);
        assert_eq!((x[0], x[1] + x[2], x[row], x[3]), (1.0, 2.0, 0.0, 1.0));
    }

    #[test]
    fn values_that_are_no_number_are_a_zero_pivot() {
        let matrix = Matrix::from_triplets(1, 1, &[(0, 0, f64::NAN)]);
        assert!(Ldlt::analyze(matrix.pattern()).factor(matrix.values()).is_err());
        let empty = Matrix::from_triplets(2, 2, &[]);
        assert!(Ldlt::analyze(empty.pattern()).factor(empty.values()).is_err());
    }
}
