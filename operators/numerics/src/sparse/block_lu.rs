//! LU of a sparse matrix of 2 × 2 blocks whose pattern is symmetric: the Newton Jacobian, one block per pair of buses.
//!
//! Blocks are eliminated in approximate-minimum-degree order without a search for pivots, so that the pattern of the factor
//! is a function of the matrix's pattern alone and one analysis serves for ever. What a search would have found is watched
//! instead: a multiplier beyond [`MULTIPLIER`] is reported, and the caller takes a method that chooses pivots
//! ([`Lu`](super::Lu)). Row by row (Crout's up-looking form): `A = (I + L)(D + U)`.

use super::Pattern;
use super::fill::Fill;

/// A 2 × 2 block by row.
pub type Block2 = [f64; 4];

/// Largest multiplier that passes: beyond it the elimination loses more than five of sixteen digits.
const MULTIPLIER: f64 = 1e5;

/// The elimination without pivoting met a pivot that is too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("block row {row} has no pivot that could stand without a search")]
pub struct WeakPivot {
    /// Block2 row, as the caller numbers it.
    pub row: usize,
}

/// A symbolic analysis with the numeric factor last computed on it.
#[derive(Clone, Debug)]
pub struct BlockLu {
    /// `order[new] = old`.
    order: Vec<usize>,
    /// Of each new row its entries: new column, slot of the pattern.
    entry_starts: Vec<usize>,
    entries: Vec<(u32, u32)>,
    lower_starts: Vec<usize>,
    lower_columns: Vec<u32>,
    upper_starts: Vec<usize>,
    upper_columns: Vec<u32>,
    /// Whether the row below has the same columns but itself: both are then subtracted in one pass.
    paired: Vec<bool>,
    lower: Vec<Block2>,
    upper: Vec<Block2>,
    /// Inverses of the diagonal blocks of the factor.
    inverses: Vec<Block2>,
    work: Vec<Block2>,
}

fn product(a: Block2, b: Block2) -> Block2 {
    [a[0] * b[0] + a[1] * b[2], a[0] * b[1] + a[1] * b[3], a[2] * b[0] + a[3] * b[2], a[2] * b[1] + a[3] * b[3]]
}

fn subtract_product(target: &mut Block2, a: Block2, b: Block2) {
    let product = product(a, b);
    for (value, term) in target.iter_mut().zip(product) {
        *value -= term;
    }
}

fn largest(block: Block2) -> f64 {
    block.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()))
}

/// The inverse of a block; not finite when it is singular.
fn inverse(block: Block2) -> Block2 {
    let [a, b, c, d] = block;
    let determinant = 1.0 / (a * d - b * c);
    [d * determinant, -b * determinant, -c * determinant, a * determinant]
}

impl BlockLu {
    /// Symbolic analysis of a symmetric pattern of blocks, read by row: `pattern.column(i)` are the columns of row i.
    ///
    /// # Panics
    /// When the pattern is not square.
    #[must_use]
    pub fn analyze(pattern: &Pattern) -> Self {
        let n = pattern.columns();
        let order = pattern.fill_reducing_order();
        let mut place = vec![0; n];
        for (new, &old) in order.iter().enumerate() {
            place[old] = new;
        }
        let (mut entry_starts, mut entries) = (vec![0], Vec::with_capacity(pattern.len()));
        for &old in &order {
            entries.extend(pattern.slots(old).map(|slot| (place[pattern.indices()[slot]] as u32, slot as u32)));
            entry_starts.push(entries.len());
        }
        let columns = |row: usize| entries[entry_starts[row]..entry_starts[row + 1]].iter().map(|(column, _)| *column as usize);
        let fill = Fill::new(n, columns);
        let Fill { row_starts: lower_starts, row_columns: lower_columns, column_starts: upper_starts, column_rows: upper_columns } = fill;
        let count = |row: usize| upper_starts[row + 1] - upper_starts[row];
        let follows = |row: usize| upper_columns[upper_starts[row]..].first() == Some(&(row as u32 + 1));
        let paired = (0..n).map(|row| row + 1 < n && count(row) == count(row + 1) + 1 && follows(row)).collect();
        let (zero, off) = ([0.0; 4], upper_columns.len());
        Self {
            order,
            entry_starts,
            entries,
            lower_starts,
            lower_columns,
            upper_starts,
            upper_columns,
            paired,
            lower: vec![zero; off],
            upper: vec![zero; off],
            inverses: vec![zero; n],
            work: vec![zero; n],
        }
    }

    /// Number of blocks in L and U off the diagonal: the fill.
    #[must_use]
    pub fn fill(&self) -> usize {
        self.lower.len() + self.upper.len()
    }

    /// Factors the matrix of `values`, one block per slot of the analysed pattern.
    ///
    /// # Errors
    /// When a pivot is too weak to stand; the factor is then of no use.
    ///
    /// # Panics
    /// When there are fewer values than slots.
    pub fn factor(&mut self, values: &[Block2]) -> Result<(), WeakPivot> {
        let n = self.order.len();
        for row in 0..n {
            for &(column, slot) in &self.entries[self.entry_starts[row]..self.entry_starts[row + 1]] {
                self.work[column as usize] = values[slot as usize];
            }
            let growth = self.eliminate(row);
            let pivot = inverse(std::mem::take(&mut self.work[row]));
            self.inverses[row] = pivot;
            // Written so that what is no number is refused.
            if !(growth <= MULTIPLIER && pivot.iter().all(|value| value.is_finite())) {
                self.work.fill([0.0; 4]);
                return Err(WeakPivot { row: self.order[row] });
            }
            for slot in self.upper_starts[row]..self.upper_starts[row + 1] {
                self.upper[slot] = std::mem::take(&mut self.work[self.upper_columns[slot] as usize]);
            }
        }
        Ok(())
    }

    /// Subtracts from the row in `work` all rows above that it meets; the largest multiplier. What is no number is left to the
    /// pivot to show, which it always reaches.
    fn eliminate(&mut self, row: usize) -> f64 {
        let mut growth = 0.0f64;
        let mut slot = self.lower_starts[row];
        let end = self.lower_starts[row + 1];
        while slot < end {
            let above = self.lower_columns[slot] as usize;
            let multiplier = product(std::mem::take(&mut self.work[above]), self.inverses[above]);
            self.lower[slot] = multiplier;
            growth = growth.max(largest(multiplier));
            let range = self.upper_starts[above]..self.upper_starts[above + 1];
            // A row that meets one of a pair above meets the other too, unless it is the other.
            if self.paired[above] && above + 1 < row {
                let next = above + 1;
                let between = self.upper[range.start];
                subtract_product(&mut self.work[next], multiplier, between);
                let second = product(std::mem::take(&mut self.work[next]), self.inverses[next]);
                self.lower[slot + 1] = second;
                growth = growth.max(largest(second));
                let (first_rows, second_rows) =
                    (&self.upper[range.start + 1..range.end], &self.upper[self.upper_starts[next]..self.upper_starts[next + 1]]);
                let columns = &self.upper_columns[self.upper_starts[next]..self.upper_starts[next + 1]];
                for ((column, first_row), second_row) in columns.iter().zip(first_rows).zip(second_rows) {
                    let target = &mut self.work[*column as usize];
                    subtract_product(target, multiplier, *first_row);
                    subtract_product(target, second, *second_row);
                }
                slot += 2;
            } else {
                for (column, upper) in self.upper_columns[range.clone()].iter().zip(&self.upper[range]) {
                    subtract_product(&mut self.work[*column as usize], multiplier, *upper);
                }
                slot += 1;
            }
        }
        growth
    }

    /// Solves A x = b with the last factor; `x` holds b by block row and receives the solution.
    ///
    /// # Panics
    /// When `x` is shorter than the matrix.
    pub fn solve(&self, x: &mut [[f64; 2]]) {
        let n = self.order.len();
        let mut y = Vec::from_iter(self.order.iter().map(|old| x[*old]));
        for row in 0..n {
            let mut sum = y[row];
            let range = self.lower_starts[row]..self.lower_starts[row + 1];
            for (column, block) in self.lower_columns[range.clone()].iter().zip(&self.lower[range]) {
                subtract_vector(&mut sum, *block, y[*column as usize]);
            }
            y[row] = sum;
        }
        for row in (0..n).rev() {
            let mut sum = y[row];
            let range = self.upper_starts[row]..self.upper_starts[row + 1];
            for (column, block) in self.upper_columns[range.clone()].iter().zip(&self.upper[range]) {
                subtract_vector(&mut sum, *block, y[*column as usize]);
            }
            let pivot = self.inverses[row];
            y[row] = [pivot[0] * sum[0] + pivot[1] * sum[1], pivot[2] * sum[0] + pivot[3] * sum[1]];
        }
        for (value, old) in y.into_iter().zip(&self.order) {
            x[*old] = value;
        }
    }
}

fn subtract_vector(sum: &mut [f64; 2], block: Block2, x: [f64; 2]) {
    sum[0] -= block[0] * x[0] + block[1] * x[1];
    sum[1] -= block[2] * x[0] + block[3] * x[1];
}

#[cfg(test)]
mod tests {
    use super::super::{Lu, Matrix};
    use super::*;
    use proptest::prelude::*;

    /// A symmetric pattern with a full diagonal, and blocks on it.
    fn blocks(n: usize, pairs: &[(usize, usize)], value: impl Fn(usize) -> f64) -> (Pattern, Vec<Block2>) {
        let mut places = Vec::from_iter((0..n).map(|k| (k, k)));
        places.extend(pairs.iter().flat_map(|&(a, b)| [(a, b), (b, a)]));
        let (pattern, _) = Pattern::from_places(n, n, &places);
        let mut values = Vec::from_iter((0..pattern.len()).map(|slot| [0, 1, 2, 3].map(|part| value(4 * slot + part))));
        for k in 0..n {
            let slot = pattern.find(k, k).unwrap();
            values[slot][0] += 6.0;
            values[slot][3] += 6.0;
        }
        (pattern, values)
    }

    /// The same matrix of single values, for the factorisation that chooses pivots: the judge.
    fn scalar(pattern: &Pattern, values: &[Block2]) -> Matrix {
        let n = pattern.columns();
        let mut triplets = Vec::new();
        for row in 0..n {
            for slot in pattern.slots(row) {
                let column = pattern.indices()[slot];
                let parts = values[slot].iter().enumerate();
                triplets.extend(parts.map(|(part, value)| (2 * row + part / 2, 2 * column + part % 2, *value)));
            }
        }
        Matrix::from_triplets(2 * n, 2 * n, &triplets)
    }

    proptest! {
        #[test]
        fn a_solution_equals_that_of_the_factorisation_with_pivots(
            pairs in prop::collection::vec((0..14usize, 0..14usize), 0..40),
            numbers in prop::collection::vec(-1.0..1.0f64, 97),
        ) {
            let (pattern, values) = blocks(14, &pairs, |k| numbers[k % 97]);
            let matrix = scalar(&pattern, &values);
            let b = Vec::from_iter((0..28).map(|k| f64::from(k) - 9.0));
            let mut judge = Lu::analyze(matrix.pattern());
            if judge.factor(matrix.values()).is_err() {
                return Ok(());
            }
            let mut expected = b.clone();
            judge.solve(&mut expected);
            let mut lu = BlockLu::analyze(&pattern);
            // Values of before leave no trace.
            let _ = lu.factor(&vec![[3.0, 1.0, -1.0, f64::NAN]; pattern.len()]);
            prop_assume!(lu.factor(&values).is_ok());
            let mut x = Vec::from_iter(b.chunks_exact(2).map(|pair| [pair[0], pair[1]]));
            lu.solve(&mut x);
            let size = expected.iter().fold(1.0f64, |size, value| size.max(value.abs()));
            for (found, expected) in x.iter().flatten().zip(&expected) {
                prop_assert!((found - expected).abs() <= 1e-7 * size, "{found} {expected}");
            }
            let mut fresh = BlockLu::analyze(&pattern);
            fresh.factor(&values).unwrap();
            let mut y = Vec::from_iter(b.chunks_exact(2).map(|pair| [pair[0], pair[1]]));
            fresh.solve(&mut y);
            prop_assert_eq!(x, y);
        }
    }

    #[test]
    fn a_pivot_that_would_need_a_search_is_refused_and_so_is_what_is_no_number() {
        let (pattern, _) = blocks(2, &[(0, 1)], |_| 0.0);
        let mut lu = BlockLu::analyze(&pattern);
        let identity = [1.0, 0.0, 0.0, 1.0];
        let weak = [1e-7, 0.0, 0.0, 0.5];
        assert!(lu.factor(&[weak, identity, identity, weak]).is_err());
        assert!(lu.factor(&[[1.0, 2.0, 2.0, 4.0], identity, identity, [1.0, 2.0, 2.0, 4.0]]).is_err());
        assert!(lu.factor(&[[f64::NAN; 4], identity, identity, identity]).is_err());
        assert!(lu.factor(&[identity, weak, weak, identity]).is_ok());
    }
}
