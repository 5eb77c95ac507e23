//! LDU of a matrix whose pattern is symmetric, with the diagonal as pivots, for many right-hand sides: what contingency
//! analysis solves with, where one factor of the base case serves thousands of outages.
//!
//! Two things make a solve cheap. A right-hand side of few entries touches, going forward, only the paths from them to the
//! root of the elimination tree, and to know a few unknowns only such paths are gone backward. And several right-hand
//! sides are solved side by side, so that a value of the factor is fetched once for all of them. Lanes do not
//! touch each other: a lane has the same bits beside any others. Vectors are in the order of elimination; [`StaticLu::position`]
//! tells where an unknown is. After T. Davis, "Direct Methods for Sparse Linear Systems".

use super::fill::Fill;
use super::{Pattern, ZeroPivot};

/// One value per lane; as wide as a cache line.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(align(64))]
pub struct Lanes(pub [f64; Lanes::COUNT]);

impl Lanes {
    /// Right-hand sides solved at once.
    pub const COUNT: usize = 8;
    /// Zero in all lanes.
    pub const ZERO: Self = Self([0.0; Self::COUNT]);
}

/// A pivot below this share of the terms it is the difference of is lost in rounding.
const LOST: f64 = 1e-14;

/// A factored matrix.
#[derive(Clone, Debug)]
pub struct StaticLu {
    /// `position[old] = new`.
    position: Vec<usize>,
    /// Columns of L below the diagonal, which are also the rows of U right of it: ascending.
    starts: Vec<usize>,
    places: Vec<u32>,
    lower: Vec<f64>,
    /// U with a diagonal of ones.
    upper: Vec<f64>,
    inverse_pivots: Vec<f64>,
}

impl StaticLu {
    /// Factors the matrix of `values`, one per slot of a square pattern that has (j, i) where it has (i, j), and its diagonal.
    ///
    /// # Errors
    /// When a pivot vanished.
    ///
    /// # Panics
    /// When the pattern is not as said or the number of values is another.
    pub fn factor(pattern: &Pattern, values: &[f64]) -> Result<Self, ZeroPivot> {
        assert_eq!(values.len(), pattern.len(), "one value per slot of the pattern");
        let order = children_first(pattern, &pattern.fill_reducing_order());
        let n = order.len();
        let mut position = vec![0; n];
        for (new, &old) in order.iter().enumerate() {
            position[old] = new;
        }
        let Fill { row_starts, row_columns, column_starts: starts, column_rows: places } = fill_of(pattern, &order, &position);
        let zeros = || vec![0.0; places.len()];
        let mut factor = Self { position, starts, lower: zeros(), upper: zeros(), places, inverse_pivots: vec![1.0; n] };
        // End of the part of each column that is computed so far.
        let mut ends = factor.starts[..n].to_vec();
        let (mut row, mut column) = (vec![0.0; n], vec![0.0; n]);
        for (k, &old) in order.iter().enumerate() {
            let mut pivot = 0.0;
            for slot in pattern.slots(old) {
                let other = pattern.indices()[slot];
                let i = factor.position[other];
                if i < k {
                    column[i] = values[slot];
                    row[i] = values[pattern.find(old, other).expect("the pattern is symmetric")];
                } else if i == k {
                    pivot = values[slot];
                }
            }
            let mut terms = f64::abs(pivot);
            for &i in &row_columns[row_starts[k]..row_starts[k + 1]] {
                let i = i as usize;
                let (down, across) = (std::mem::take(&mut column[i]), std::mem::take(&mut row[i]));
                let (start, end) = (factor.starts[i], ends[i]);
                for slot in start..end {
                    let place = factor.places[slot] as usize;
                    column[place] -= factor.lower[slot] * down;
                    row[place] -= factor.upper[slot] * across;
                }
                let l = across * factor.inverse_pivots[i];
                pivot -= l * down;
                terms += (l * down).abs();
                factor.lower[end] = l;
                factor.upper[end] = down * factor.inverse_pivots[i];
                ends[i] = end + 1;
            }
            // Written so that a pivot that is no number counts as zero.
            if !(pivot.abs() > LOST * terms && pivot.is_finite()) {
                return Err(ZeroPivot { row: old });
            }
            factor.inverse_pivots[k] = 1.0 / pivot;
        }
        Ok(factor)
    }

    /// Number of unknowns.
    #[must_use]
    pub fn size(&self) -> usize {
        self.position.len()
    }

    /// Number of values of L below the diagonal: the fill of each half.
    #[must_use]
    pub fn fill(&self) -> usize {
        self.places.len()
    }

    /// Where each unknown of the matrix is in the order of elimination.
    #[must_use]
    pub fn position(&self) -> &[usize] {
        &self.position
    }

    /// All positions on the ways from `from` to the roots of the elimination tree, ascending, into `path`.
    ///
    /// # Panics
    /// When a position is none.
    pub fn path(&self, from: &[usize], path: &mut Vec<usize>) {
        path.clear();
        const END: usize = usize::MAX;
        let mut heads = [END; 8];
        assert!(from.len() <= heads.len(), "at most eight entries have a path");
        heads[..from.len()].copy_from_slice(from);
        loop {
            let next = heads[..from.len()].iter().copied().min().unwrap_or(END);
            if next == END {
                return;
            }
            path.push(next);
            let above = if self.starts[next] < self.starts[next + 1] { self.places[self.starts[next]] as usize } else { END };
            heads[..from.len()].iter_mut().filter(|head| **head == next).for_each(|head| *head = above);
        }
    }

    /// L y = b of a `b` that is zero off `path`; in place.
    pub fn forward_on(&self, path: &[usize], y: &mut [f64]) {
        for &k in path {
            let value = y[k];
            for slot in self.starts[k]..self.starts[k + 1] {
                y[self.places[slot] as usize] -= self.lower[slot] * value;
            }
        }
    }

    /// The unknowns on `path` of D U x = y; in place.
    pub fn backward_on(&self, path: &[usize], x: &mut [f64]) {
        for &k in path.iter().rev() {
            let mut value = x[k] * self.inverse_pivots[k];
            for slot in self.starts[k]..self.starts[k + 1] {
                value -= self.upper[slot] * x[self.places[slot] as usize];
            }
            x[k] = value;
        }
    }

    /// L y = b in all lanes; in place.
    ///
    /// # Panics
    /// When `y` has another length than the matrix.
    pub fn forward(&self, y: &mut [Lanes]) {
        assert_eq!(y.len(), self.size(), "one value per unknown");
        for k in 0..y.len() {
            let value = y[k];
            let range = self.starts[k]..self.starts[k + 1];
            for (&place, &l) in self.places[range.clone()].iter().zip(&self.lower[range]) {
                let target = &mut y[place as usize];
                for (t, v) in target.0.iter_mut().zip(&value.0) {
                    *t -= l * v;
                }
            }
        }
    }

    /// D U x = y in all lanes; in place.
    ///
    /// # Panics
    /// When `x` has another length than the matrix.
    pub fn backward(&self, x: &mut [Lanes]) {
        assert_eq!(x.len(), self.size(), "one value per unknown");
        for k in (0..x.len()).rev() {
            let mut value = x[k];
            value.0.iter_mut().for_each(|v| *v *= self.inverse_pivots[k]);
            let range = self.starts[k]..self.starts[k + 1];
            for (&place, &u) in self.places[range.clone()].iter().zip(&self.upper[range]) {
                let other = &x[place as usize];
                for (v, o) in value.0.iter_mut().zip(&other.0) {
                    *v -= u * o;
                }
            }
            x[k] = value;
        }
    }

    /// The same in a single vector, to the bit as a lane would have it.
    ///
    /// # Panics
    /// When `x` has another length than the matrix.
    pub fn backward_one(&self, x: &mut [f64]) {
        assert_eq!(x.len(), self.size(), "one value per unknown");
        for k in (0..x.len()).rev() {
            let mut value = x[k] * self.inverse_pivots[k];
            for slot in self.starts[k]..self.starts[k + 1] {
                value -= self.upper[slot] * x[self.places[slot] as usize];
            }
            x[k] = value;
        }
    }
}

/// The pattern of the factor in an order of elimination.
fn fill_of(pattern: &Pattern, order: &[usize], position: &[usize]) -> Fill {
    Fill::new(order.len(), |k| pattern.column(order[k]).iter().map(|other| position[*other]))
}

/// An equivalent order (same fill) in which each subtree of the elimination tree is eliminated in one go: what a solve
/// touches one after the other then lies together.
fn children_first(pattern: &Pattern, order: &[usize]) -> Vec<usize> {
    let n = order.len();
    let mut position = vec![0; n];
    for (new, &old) in order.iter().enumerate() {
        position[old] = new;
    }
    let Fill { row_starts, row_columns, .. } = fill_of(pattern, order, &position);
    // The parent of i is the first row that has i.
    let mut parent = vec![n; n];
    for k in (0..n).rev() {
        row_columns[row_starts[k]..row_starts[k + 1]].iter().for_each(|i| parent[*i as usize] = k);
    }
    // First child and next sibling; n is the root above all roots.
    let (mut child, mut sibling) = (vec![usize::MAX; n + 1], vec![usize::MAX; n]);
    for k in (0..n).rev() {
        sibling[k] = child[parent[k]];
        child[parent[k]] = k;
    }
    let (mut sorted, mut stack) = (Vec::with_capacity(n), vec![n]);
    while let Some(&top) = stack.last() {
        match child[top] {
            usize::MAX => {
                stack.pop();
                sorted.extend(order.get(top));
            }
            next => {
                child[top] = sibling[next];
                stack.push(next);
            }
        }
    }
    sorted
}

#[cfg(test)]
mod tests {
    use super::super::Matrix;
    use super::*;
    use proptest::prelude::*;

    /// A matrix of symmetric pattern and unsymmetric values with a dominant diagonal.
    fn matrix(n: usize) -> impl Strategy<Value = Matrix> {
        prop::collection::vec((0..n, 0..n, -1.0..1.0f64, -1.0..1.0f64), 0..3 * n).prop_map(move |pairs| {
            let mut triplets = Vec::new();
            for (row, column, one, other) in pairs {
                if row != column {
                    triplets.extend([(row, column, one), (column, row, other)]);
                }
            }
            for k in 0..n {
                let sum: f64 = triplets.iter().filter(|entry| entry.0 == k || entry.1 == k).map(|entry| entry.2.abs()).sum();
                triplets.push((k, k, if k % 3 == 0 { -1.0 - sum } else { 1.0 + sum }));
            }
            Matrix::from_triplets(n, n, &triplets)
        })
    }

    proptest! {
        #[test]
        fn all_lanes_solve_their_system_and_paths_give_the_same_bits(matrix in matrix(19), (a, b) in (0..19usize, 0..19usize)) {
            let lu = StaticLu::factor(matrix.pattern(), matrix.values()).unwrap();
            let mut x = vec![Lanes::ZERO; 19];
            let at = |unknown: usize| lu.position()[unknown];
            for lane in 0..Lanes::COUNT {
                x[at((a + lane) % 19)].0[lane] += 1.0;
                x[at(b)].0[lane] -= 2.0;
            }
            lu.forward(&mut x);
            lu.backward(&mut x);
            for lane in 0..Lanes::COUNT {
                let solution = Vec::from_iter((0..19).map(|unknown| x[at(unknown)].0[lane]));
                let mut right = vec![0.0; 19];
                right[(a + lane) % 19] += 1.0;
                right[b] -= 2.0;
                for (product, right) in matrix.multiply(&solution).iter().zip(&right) {
                    prop_assert!((product - right).abs() < 1e-12);
                }
            }
            // One right-hand side along its path, then everywhere.
            let (mut path, mut y) = (Vec::new(), vec![0.0; 19]);
            lu.path(&[at(a), at(b)], &mut path);
            prop_assert!(path.windows(2).all(|pair| pair[0] < pair[1]));
            y[at(a)] += 1.0;
            y[at(b)] -= 2.0;
            lu.forward_on(&path, &mut y);
            let mut few = y.clone();
            lu.backward_on(&path, &mut few);
            lu.backward_one(&mut y);
            for unknown in 0..19 {
                prop_assert_eq!(y[at(unknown)], x[at(unknown)].0[0]);
            }
            prop_assert_eq!(few[at(a)], y[at(a)]);
            prop_assert_eq!(few[at(b)], y[at(b)]);
        }
    }

    #[test]
    fn a_singular_matrix_is_named() {
        let matrix = Matrix::from_triplets(2, 2, &[(0, 0, 1.0), (0, 1, -1.0), (1, 0, -1.0), (1, 1, 1.0)]);
        assert!(StaticLu::factor(matrix.pattern(), matrix.values()).is_err());
        let bad = Matrix::from_triplets(1, 1, &[(0, 0, f64::NAN)]);
        assert_eq!(StaticLu::factor(bad.pattern(), bad.values()).unwrap_err(), ZeroPivot { row: 0 });
    }
}
