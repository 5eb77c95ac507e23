//! Sparse matrices by columns and their factorisations: what power flow, estimation and dispatch solve with.
//!
//! Pattern and values are apart, so that a symbolic analysis is done once and the numeric work is repeated on the same
//! pattern. Within a column row indices ascend and are unique; duplicates of an assembly are summed in the order they
//! were pushed. Everything is single-threaded and a function of its input alone: equal input gives equal bits.

mod block_inverse;
mod block_ldlt;
mod block_lu;
mod fill;
mod ldlt;
mod lu;
mod null_space;
mod static_lu;

pub use block_inverse::BlockInverse;
pub use block_ldlt::{Block4, BlockLdlt, WIDTH, ZERO};
pub use block_lu::{Block2, BlockLu, WeakPivot};
pub use ldlt::{Ldlt, ZeroPivot};
pub use lu::{Lu, SingularColumn};
pub use null_space::NullSpace;
pub use static_lu::{Lanes, StaticLu};

/// Where a sparse matrix may hold values: row indices by column, ascending and unique.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    rows: usize,
    starts: Vec<usize>,
    indices: Vec<usize>,
}

impl Pattern {
    /// The pattern of the given (row, column) places, and for each place its slot among the values.
    ///
    /// Places may repeat; equal places get the same slot.
    ///
    /// # Panics
    /// When a place lies outside the matrix: a mistake of the caller, never of input.
    #[must_use]
    pub fn from_places(rows: usize, columns: usize, places: &[(usize, usize)]) -> (Self, Vec<usize>) {
        for &(row, column) in places {
            assert!(row < rows && column < columns, "place ({row}, {column}) lies outside {rows} x {columns}");
        }
        // Two stable counting sorts: by row, then by column.
        let by_row = counting_sort(rows, &Vec::from_iter(0..places.len()), |entry| places[entry].0);
        let sorted = counting_sort(columns, &by_row, |entry| places[entry].1);
        let mut starts = vec![0; columns + 1];
        let mut indices = Vec::with_capacity(places.len());
        let mut slots = vec![0; places.len()];
        let mut last = None;
        for entry in sorted {
            if last != Some(places[entry]) {
                last = Some(places[entry]);
                indices.push(places[entry].0);
                starts[places[entry].1 + 1] += 1;
            }
            slots[entry] = indices.len() - 1;
        }
        for column in 0..columns {
            starts[column + 1] += starts[column];
        }
        (Self { rows, starts, indices }, slots)
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.starts.len() - 1
    }

    /// Number of places.
    #[must_use]
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether there is no place.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// Slots of a column: `slots(j)` are the places of its values, `indices()[slot]` their rows.
    #[must_use]
    pub fn slots(&self, column: usize) -> std::ops::Range<usize> {
        self.starts[column]..self.starts[column + 1]
    }

    /// First slot of each column, and the number of places at the end.
    #[must_use]
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// Row of each slot.
    #[must_use]
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }

    /// Rows of a column.
    #[must_use]
    pub fn column(&self, column: usize) -> &[usize] {
        &self.indices[self.slots(column)]
    }

    /// Slot of a place, if the pattern has it.
    #[must_use]
    pub fn find(&self, row: usize, column: usize) -> Option<usize> {
        self.column(column).binary_search(&row).ok().map(|offset| self.starts[column] + offset)
    }

    /// A fill-reducing order of A + Aᵀ (approximate minimum degree): `order[new] = old`.
    ///
    /// # Panics
    /// When the matrix is not square.
    #[must_use]
    pub fn fill_reducing_order(&self) -> Vec<usize> {
        let n = self.columns();
        assert_eq!(self.rows, n, "only a square matrix has a symmetric order");
        // The `amd` crate counts on a full diagonal, which plays no part in the order.
        let (mut starts, mut indices) = (vec![0], Vec::with_capacity(self.len() + n));
        for column in 0..n {
            let rows = self.column(column);
            let split = rows.partition_point(|row| *row < column);
            indices.extend(rows[..split].iter().map(|row| *row as isize));
            indices.push(column as isize);
            indices.extend(rows[split..].iter().filter(|row| **row != column).map(|row| *row as isize));
            starts.push(indices.len() as isize);
        }
        let control = amd::Control::default();
        let (order, _, _) = amd::order(n as isize, &starts, &indices, &control)
            .expect("columns ascend, rows ascend and are unique and inside: the order accepts it");
        order.into_iter().map(|old| old as usize).collect()
    }
}

/// Sorts `entries` stably by `key`, which is below `keys`.
fn counting_sort(keys: usize, entries: &[usize], key: impl Fn(usize) -> usize) -> Vec<usize> {
    let mut next = vec![0; keys + 1];
    for &entry in entries {
        next[key(entry) + 1] += 1;
    }
    for k in 0..keys {
        next[k + 1] += next[k];
    }
    let mut sorted = vec![0; entries.len()];
    for &entry in entries {
        sorted[next[key(entry)]] = entry;
        next[key(entry)] += 1;
    }
    sorted
}

/// A sparse matrix: a [`Pattern`] with a value in each slot.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    pattern: Pattern,
    values: Vec<f64>,
}

impl Matrix {
    /// A matrix of `values`, one per slot of `pattern`.
    ///
    /// # Panics
    /// When the counts differ.
    #[must_use]
    pub fn new(pattern: Pattern, values: Vec<f64>) -> Self {
        assert_eq!(pattern.len(), values.len(), "one value per slot");
        Self { pattern, values }
    }

    /// The matrix of the given (row, column, value) triplets; equal places are summed in the order given.
    ///
    /// # Panics
    /// When a place lies outside the matrix.
    #[must_use]
    pub fn from_triplets(rows: usize, columns: usize, triplets: &[(usize, usize, f64)]) -> Self {
        let places = Vec::from_iter(triplets.iter().map(|&(row, column, _)| (row, column)));
        let (pattern, slots) = Pattern::from_places(rows, columns, &places);
        let mut values = vec![0.0; pattern.len()];
        for (slot, (_, _, value)) in slots.into_iter().zip(triplets) {
            values[slot] += value;
        }
        Self { pattern, values }
    }

    /// Where the values lie.
    #[must_use]
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// The values, slot by slot.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The values, to be changed in place.
    pub fn values_mut(&mut self) -> &mut [f64] {
        &mut self.values
    }

    /// The value at a place; 0 outside the pattern.
    #[must_use]
    pub fn get(&self, row: usize, column: usize) -> f64 {
        self.pattern.find(row, column).map_or(0.0, |slot| self.values[slot])
    }

    /// A x.
    ///
    /// # Panics
    /// When `x` has another length than a row of the matrix.
    #[must_use]
    pub fn multiply(&self, x: &[f64]) -> Vec<f64> {
        assert_eq!(x.len(), self.pattern.columns(), "one factor per column");
        let mut product = vec![0.0; self.pattern.rows];
        for (column, factor) in x.iter().enumerate() {
            for slot in self.pattern.slots(column) {
                product[self.pattern.indices[slot]] += self.values[slot] * factor;
            }
        }
        product
    }

    /// Aᵀ x.
    ///
    /// # Panics
    /// When `x` has another length than a column of the matrix.
    #[must_use]
    pub fn multiply_transposed(&self, x: &[f64]) -> Vec<f64> {
        assert_eq!(x.len(), self.pattern.rows, "one factor per row");
        let dot = |column| self.pattern.slots(column).map(|slot| self.values[slot] * x[self.pattern.indices[slot]]).sum();
        (0..self.pattern.columns()).map(dot).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_assembly_equals_the_dense_sum(triplets in prop::collection::vec((0..5usize, 0..7usize, -8..8i32), 0..60)) {
            let triplets = Vec::from_iter(triplets.into_iter().map(|(r, c, v)| (r, c, f64::from(v))));
            let mut dense = [[0.0; 7]; 5];
            for &(row, column, value) in &triplets {
                dense[row][column] += value;
            }
            let matrix = Matrix::from_triplets(5, 7, &triplets);
            for (row, values) in dense.iter().enumerate() {
                for (column, value) in values.iter().enumerate() {
                    prop_assert_eq!(matrix.get(row, column), *value);
                }
            }
            for column in 0..7 {
                prop_assert!(matrix.pattern().column(column).windows(2).all(|pair| pair[0] < pair[1]));
            }
            let x = [1.0, -2.0, 3.0, 0.5, 0.0, 7.0, -1.0];
            let product = matrix.multiply(&x);
            for (row, values) in dense.iter().enumerate() {
                prop_assert_eq!(product[row], values.iter().zip(&x).map(|(a, b)| a * b).sum::<f64>());
            }
            let y = [2.0, -1.0, 0.5, 4.0, 1.0];
            let transposed = matrix.multiply_transposed(&y);
            for column in 0..7 {
                prop_assert_eq!(transposed[column], (0..5).map(|row| dense[row][column] * y[row]).sum::<f64>());
            }
        }
    }

    #[test]
    fn duplicates_are_summed_in_the_order_given() {
        // In another order the sum of these three would be 1, not 0.
        let triplets = [(0, 0, 1.0), (0, 0, 1e17), (0, 0, -1e17)];
        assert_eq!(Matrix::from_triplets(1, 1, &triplets).values(), [0.0]);
    }

    #[test]
    fn an_order_is_a_permutation_even_of_an_empty_pattern() {
        let (pattern, _) = Pattern::from_places(4, 4, &[(0, 3)]);
        let mut order = pattern.fill_reducing_order();
        order.sort_unstable();
        assert_eq!(order, [0, 1, 2, 3]);
        let (empty, _) = Pattern::from_places(0, 0, &[]);
        assert!(empty.fill_reducing_order().is_empty());
    }
}
