//! LDLᵀ of a symmetric sparse matrix of dense 4 × 4 blocks, indefinite, in an order fixed beforehand: the augmented matrix of
//! state estimation, with a block for each pair of buses joined by a branch.
//!
//! Up-looking by block row, on an approximate-minimum-degree order of the blocks. D is block-diagonal; each of its blocks is
//! inverted with complete pivoting, which is all the pivoting there is. A block that is lost in the rounding of the terms it is
//! the difference of is told to the caller, who may [`BlockLdlt::analyze`] again with it [`BlockLdlt::postponed`]: a few steps up
//! the elimination tree what could give it a pivot has been eliminated, and the factor hardly grows; put at the end of the order,
//! thousands of such blocks would fill it. After T. Davis, "Direct Methods for Sparse Linear
//! Systems"; a block order with pivots inside the blocks is also what power-grid-model does with its LU.

use std::collections::BTreeMap;

use super::Pattern;
use super::fill::{Fill, prefix_sums};

/// Unknowns of a block.
pub const WIDTH: usize = 4;

/// A block by rows.
pub type Block4 = [f64; WIDTH * WIDTH];

/// A block of zeros.
pub const ZERO: Block4 = [0.0; WIDTH * WIDTH];

/// A pivot below this share of the largest term of its row or column is lost in rounding.
const LOST: f64 = 1e-12;

/// `c -= a b`.
#[inline(always)]
pub(super) fn subtract_product(c: &mut Block4, a: &Block4, b: &Block4) {
    for row in 0..WIDTH {
        for k in 0..WIDTH {
            let factor = a[WIDTH * row + k];
            for column in 0..WIDTH {
                c[WIDTH * row + column] -= factor * b[WIDTH * k + column];
            }
        }
    }
}

/// The transpose.
#[inline(always)]
pub(super) fn transposed(a: &Block4) -> Block4 {
    let mut t = ZERO;
    for row in 0..WIDTH {
        for column in 0..WIDTH {
            t[WIDTH * column + row] = a[WIDTH * row + column];
        }
    }
    t
}

/// The inverse of a symmetric block, by Gauss-Jordan elimination with complete pivoting; none when a pivot is not above
/// `floor[row] floor[column]`, the rounding of the terms it comes from.
fn inverse(block: &Block4, floor: &[f64; WIDTH]) -> Option<Block4> {
    let mut a = *block;
    let (mut rows, mut columns) = ([0; WIDTH], [0; WIDTH]);
    let mut done = [[false; WIDTH]; 2];
    for step in 0..WIDTH {
        let (mut best, mut at) = (0.0, None);
        for row in (0..WIDTH).filter(|row| !done[0][*row]) {
            for column in (0..WIDTH).filter(|column| !done[1][*column]) {
                // Sizes are compared in units of the rows' own terms, so that the choice does not depend on units.
                let size = a[WIDTH * row + column].abs() / (floor[row] * floor[column]);
                if size > best {
                    (best, at) = (size, Some((row, column)));
                }
            }
        }
        let (row, column) = at.filter(|_| best > 1.0 && best.is_finite())?;
        (done[0][row], done[1][column]) = (true, true);
        (rows[step], columns[step]) = (row, column);
        let pivot = 1.0 / a[WIDTH * row + column];
        for k in 0..WIDTH {
            if k != column {
                a[WIDTH * row + k] *= pivot;
            }
        }
        for other in (0..WIDTH).filter(|other| *other != row) {
            let factor = a[WIDTH * other + column];
            for k in (0..WIDTH).filter(|k| *k != column) {
                a[WIDTH * other + k] -= factor * a[WIDTH * row + k];
            }
            a[WIDTH * other + column] = -factor * pivot;
        }
        a[WIDTH * row + column] = pivot;
    }
    // Column `columns[s]` of the block became row of the inverse, row `rows[s]` its column.
    let mut unscrambled = ZERO;
    for s in 0..WIDTH {
        for t in 0..WIDTH {
            unscrambled[WIDTH * columns[s] + rows[t]] = a[WIDTH * rows[s] + columns[t]];
        }
    }
    let mirrored = transposed(&unscrambled);
    unscrambled.iter_mut().zip(&mirrored).for_each(|(value, mirror)| *value = 0.5 * (*value + mirror));
    Some(unscrambled)
}

/// A symbolic analysis with the numeric factor last computed on it.
#[derive(Clone, Debug)]
pub struct BlockLdlt {
    /// `order[new] = old`.
    order: Vec<usize>,
    /// `position[old] = new`.
    position: Vec<usize>,
    slots: usize,
    /// Strict upper triangle of the permuted matrix by column: (row, slot, whether the block there is the transposed one).
    upper_starts: Vec<usize>,
    upper: Vec<(u32, u32, bool)>,
    /// Slot of each diagonal block.
    diagonal: Vec<usize>,
    /// L by column: rows ascending.
    pub(super) lower_starts: Vec<usize>,
    pub(super) lower_rows: Vec<u32>,
    pub(super) lower: Vec<Block4>,
    /// Pattern of L by row: columns ascending, and where in `lower` the block of each lies.
    row_starts: Vec<usize>,
    row_columns: Vec<u32>,
    /// D⁻¹; zero where a block was lost.
    pub(super) inverse_pivots: Vec<Block4>,
    work: Vec<Block4>,
    ends: Vec<usize>,
}

impl BlockLdlt {
    /// Symbolic analysis of a square pattern of blocks, of which those with row ≤ column are given and all diagonal ones are, to be
    /// eliminated in this order: [`Pattern::fill_reducing_order`], or that with some blocks [`Self::postponed`].
    ///
    /// # Panics
    /// When the pattern is not square, holds a place below the diagonal or lacks one on it, or the order is none of its blocks.
    #[must_use]
    pub fn analyze(pattern: &Pattern, order: Vec<usize>) -> Self {
        let n = pattern.columns();
        assert_eq!(order.len(), n, "an order names each block once");
        let mut position = vec![0; n];
        order.iter().enumerate().for_each(|(new, old)| position[*old] = new);
        let mut diagonal = vec![usize::MAX; n];
        let mut counts = vec![0; n + 1];
        for column in 0..n {
            for slot in pattern.slots(column) {
                let row = pattern.indices()[slot];
                assert!(row <= column, "block ({row}, {column}) lies below the diagonal");
                if row == column {
                    diagonal[position[row]] = slot;
                } else {
                    counts[position[row].max(position[column]) + 1] += 1;
                }
            }
        }
        assert!(diagonal.iter().all(|slot| *slot != usize::MAX), "every diagonal block has a place");
        prefix_sums(&mut counts);
        let upper_starts = counts;
        let mut next = upper_starts.clone();
        let mut upper = vec![(0, 0, false); upper_starts[n]];
        for column in 0..n {
            for slot in pattern.slots(column).filter(|slot| pattern.indices()[*slot] != column) {
                let (a, b) = (position[pattern.indices()[slot]], position[column]);
                upper[next[a.max(b)]] = (a.min(b) as u32, slot as u32, a > b);
                next[a.max(b)] += 1;
            }
        }
        for k in 0..n {
            upper[upper_starts[k]..upper_starts[k + 1]].sort_unstable();
        }
        let columns = |k: usize| upper[upper_starts[k]..upper_starts[k + 1]].iter().map(|(row, _, _)| *row as usize);
        let Fill { row_starts, row_columns, column_starts: lower_starts, column_rows: lower_rows } = Fill::new(n, columns);
        Self {
            order,
            position,
            slots: pattern.len(),
            upper_starts,
            upper,
            diagonal,
            lower: vec![ZERO; lower_rows.len()],
            lower_starts,
            lower_rows,
            row_starts,
            row_columns,
            inverse_pivots: vec![ZERO; n],
            work: vec![ZERO; n],
            ends: vec![0; n],
        }
    }

    /// Number of blocks on the diagonal.
    #[must_use]
    pub fn size(&self) -> usize {
        self.order.len()
    }

    /// The order of elimination: `order[new] = old`.
    #[must_use]
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// The order with these blocks after their ancestor in the elimination tree `steps` generations up, counting those that stay; where
    /// there are not as many, after the last. An ancestor has all neighbours that elimination gives a block, so that L grows little.
    ///
    /// # Panics
    /// When a block is none of the matrix.
    #[must_use]
    pub fn postponed(&self, blocks: &[usize], steps: usize) -> Vec<usize> {
        let n = self.size();
        let mut moves = vec![false; n];
        blocks.iter().for_each(|block| moves[*block] = true);
        let parent = |k: usize| self.lower_rows[self.lower_starts[k]..self.lower_starts[k + 1]].first().map(|row| *row as usize);
        let mut places = Vec::with_capacity(n);
        for (k, block) in self.order.iter().enumerate() {
            let (mut place, mut left) = (k, if moves[*block] { steps } else { 0 });
            while let Some(next) = parent(place).filter(|_| left > 0) {
                left -= usize::from(!moves[self.order[next]]);
                place = next;
            }
            places.push((place, moves[*block], k));
        }
        places.sort_unstable();
        places.into_iter().map(|(_, _, k)| self.order[k]).collect()
    }

    /// Number of blocks of L below the diagonal.
    #[must_use]
    pub fn fill(&self) -> usize {
        self.lower.len()
    }

    /// Factors the matrix of `values`, one block per slot of the analysed pattern. Gives the blocks whose pivot was lost, in the
    /// order of elimination; the factor holds their unknowns at 0 and is that of the matrix only when there are none.
    ///
    /// # Panics
    /// When the number of values is not that of the pattern.
    pub fn factor(&mut self, values: &[Block4]) -> Vec<usize> {
        assert_eq!(values.len(), self.slots, "one block per slot of the analysed pattern");
        let n = self.size();
        let mut lost = Vec::new();
        self.ends.copy_from_slice(&self.lower_starts[..n]);
        for k in 0..n {
            for &(row, slot, mirrored) in &self.upper[self.upper_starts[k]..self.upper_starts[k + 1]] {
                let value = &values[slot as usize];
                self.work[row as usize] = if mirrored { transposed(value) } else { *value };
            }
            let mut pivot = values[self.diagonal[k]];
            // The largest term of each unknown: a pivot is known to a share of the terms it is the difference of.
            let mut terms = [0.0f64; WIDTH];
            let note = |terms: &mut [f64; WIDTH], block: &Block4| {
                for (row, term) in terms.iter_mut().enumerate() {
                    *term = term.max(block[(WIDTH + 1) * row].abs());
                }
            };
            for row in 0..WIDTH {
                for column in 0..WIDTH {
                    // An indefinite block may have its size beside the diagonal.
                    terms[row] = terms[row].max(pivot[WIDTH * row + column].abs());
                }
            }
            for &i in &self.row_columns[self.row_starts[k]..self.row_starts[k + 1]] {
                let i = i as usize;
                let y = std::mem::replace(&mut self.work[i], ZERO);
                let (start, end) = (self.lower_starts[i], self.ends[i]);
                for (&row, l) in self.lower_rows[start..end].iter().zip(&self.lower[start..end]) {
                    subtract_product(&mut self.work[row as usize], l, &y);
                }
                // L(k, i) = yᵀ D⁻¹.
                let mut l = ZERO;
                let negative = transposed(&y).map(|value| -value);
                subtract_product(&mut l, &negative, &self.inverse_pivots[i]);
                let before = pivot;
                subtract_product(&mut pivot, &l, &y);
                let mut change = ZERO;
                for (change, (after, before)) in change.iter_mut().zip(pivot.iter().zip(&before)) {
                    *change = after - before;
                }
                note(&mut terms, &change);
                self.lower[end] = l;
                self.ends[i] = end + 1;
            }
            let floor = terms.map(|term| (LOST * term.max(f64::MIN_POSITIVE)).sqrt());
            match inverse(&pivot, &floor) {
                Some(inverse) => self.inverse_pivots[k] = inverse,
                None => {
                    self.inverse_pivots[k] = ZERO;
                    lost.push(self.order[k]);
                }
            }
        }
        lost
    }

    /// `L⁻¹ b` of a right side of few entries (unknown, value), by place in the order of elimination: all of it lies on the ways from
    /// those up the elimination tree. For [`Self::product`].
    ///
    /// # Panics
    /// When an entry is of no unknown.
    #[must_use]
    pub fn climbed(&self, entries: &[(usize, f64)]) -> BTreeMap<usize, [f64; WIDTH]> {
        let mut y = BTreeMap::<usize, [f64; WIDTH]>::new();
        for (unknown, value) in entries {
            y.entry(self.position[unknown / WIDTH]).or_default()[unknown % WIDTH] += value;
        }
        let mut next = 0;
        while let Some((&k, &value)) = y.range(next..).next() {
            let column = self.lower_starts[k]..self.lower_starts[k + 1];
            for (l, target) in self.lower[column.clone()].iter().zip(&self.lower_rows[column]) {
                let target = y.entry(*target as usize).or_default();
                for (l, target) in l.chunks_exact(WIDTH).zip(target) {
                    *target -= l.iter().zip(&value).map(|(l, value)| l * value).sum::<f64>();
                }
            }
            next = k + 1;
        }
        y
    }

    /// `aᵀ A⁻¹ b` of two [`Self::climbed`] right sides.
    #[must_use]
    pub fn product(&self, a: &BTreeMap<usize, [f64; WIDTH]>, b: &BTreeMap<usize, [f64; WIDTH]>) -> f64 {
        let mut sum = 0.0;
        for (k, a) in a {
            let Some(b) = b.get(k) else { continue };
            for (d, a) in self.inverse_pivots[*k].chunks_exact(WIDTH).zip(a) {
                sum += a * d.iter().zip(b).map(|(d, b)| d * b).sum::<f64>();
            }
        }
        sum
    }

    /// Solves A x = b with the last factor; `x` holds b and receives the solution, [`WIDTH`] values per block.
    ///
    /// # Panics
    /// When `x` has another length than the matrix.
    pub fn solve(&self, x: &mut [f64]) {
        let n = self.size();
        assert_eq!(x.len(), WIDTH * n, "one value per unknown");
        let mut y = Vec::with_capacity(n);
        for &old in &self.order {
            let x = &x[WIDTH * old..WIDTH * old + WIDTH];
            y.push([x[0], x[1], x[2], x[3]]);
        }
        for k in 0..n {
            let value = y[k];
            let column = self.lower_starts[k]..self.lower_starts[k + 1];
            for (l, target) in self.lower[column.clone()].iter().zip(&self.lower_rows[column]) {
                let target = &mut y[*target as usize];
                for row in 0..WIDTH {
                    let l = &l[WIDTH * row..WIDTH * row + WIDTH];
                    target[row] -= l[0] * value[0] + l[1] * value[1] + l[2] * value[2] + l[3] * value[3];
                }
            }
        }
        for k in (0..n).rev() {
            let (d, value) = (&self.inverse_pivots[k], y[k]);
            let mut sum = [0.0; WIDTH];
            for (d, sum) in d.chunks_exact(WIDTH).zip(&mut sum) {
                *sum = d[0] * value[0] + d[1] * value[1] + d[2] * value[2] + d[3] * value[3];
            }
            let column = self.lower_starts[k]..self.lower_starts[k + 1];
            for (l, source) in self.lower[column.clone()].iter().zip(&self.lower_rows[column]) {
                let source = &y[*source as usize];
                for row in 0..WIDTH {
                    for (column, sum) in sum.iter_mut().enumerate() {
                        *sum -= l[WIDTH * row + column] * source[row];
                    }
                }
            }
            y[k] = sum;
        }
        for (value, &old) in y.iter().zip(&self.order) {
            x[WIDTH * old..WIDTH * old + WIDTH].copy_from_slice(value);
        }
    }
}

#[cfg(test)]
#[path = "block_tests.rs"]
mod tests;
