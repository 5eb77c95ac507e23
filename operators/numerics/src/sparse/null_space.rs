//! The null space of a rectangular sparse matrix, by left-looking LU with row pivoting.
//!
//! Elimination works on the matrix itself: AᵀA would square its condition and lose what is determined weakly. A column that
//! the columns before it explain has no pivot left; each such column gives one null vector. Rows are taken as pivots by
//! sparsity among those of sufficient size. The matrix should be scaled so that 1 is a usual size of its values.

use super::Matrix;

/// A column with nothing larger left than this depends on the others.
const DEPENDENT: f64 = 1e-10;
/// A pivot is at least this share of the largest candidate.
const SUFFICIENT: f64 = 0.1;
const NONE: usize = usize::MAX;

/// The null space of a matrix; one basis vector per dependent column, which is 1 in its own and 0 in the others.
#[derive(Clone, Debug)]
pub struct NullSpace {
    columns: usize,
    /// Column of each pivot and its value.
    pivots: Vec<(usize, f64)>,
    /// U by pivot: (earlier pivot, value). Columns of their own, here and in L: one list of all would be copied as it grows, and the
    /// memory of a region that runs for days would never fall below that moment's.
    upper: Vec<Box<[(usize, f64)]>>,
    /// Dependent columns, each with its U part.
    dependent: Vec<(usize, Vec<(usize, f64)>)>,
}

impl NullSpace {
    /// The null space of `matrix`, eliminated in the order of columns given: one that reduces the fill of AᵀA.
    ///
    /// # Panics
    /// When `order` names a column the matrix does not have.
    #[must_use]
    pub fn new(matrix: &Matrix, order: &[usize]) -> Self {
        let pattern = matrix.pattern();
        let rows = pattern.rows();
        let mut places_in_row = vec![0usize; rows];
        pattern.indices().iter().for_each(|row| places_in_row[*row] += 1);
        let mut position = vec![NONE; rows];
        let mut lower = Vec::<Box<[(usize, f64)]>>::new();
        let mut space = Self { columns: pattern.columns(), pivots: vec![], upper: vec![], dependent: vec![] };
        let (mut work, mut mark) = (vec![0.0; rows], vec![NONE; rows]);
        let (mut reached, mut path) = (Vec::new(), Vec::<(usize, usize)>::new());
        for (k, &column) in order.iter().enumerate() {
            // Rows the column can touch, in post-order of a depth-first search through finished columns of L.
            reached.clear();
            for &row in pattern.column(column) {
                if mark[row] != k {
                    mark[row] = k;
                    path.push((row, 0));
                }
                while let Some((row, offset)) = path.last_mut() {
                    let pivot = position[*row];
                    let children = if pivot == NONE { &[][..] } else { &lower[pivot] };
                    match children[*offset..].iter().position(|child| mark[child.0] != k) {
                        Some(skipped) => {
                            let child = children[*offset + skipped].0;
                            *offset += skipped + 1;
                            mark[child] = k;
                            path.push((child, 0));
                        }
                        None => {
                            reached.push(*row);
                            path.pop();
                        }
                    }
                }
            }
            for slot in pattern.slots(column) {
                work[pattern.indices()[slot]] = matrix.values()[slot];
            }
            let mut explained = Vec::new();
            let mut largest = 0.0f64;
            for &row in reached.iter().rev() {
                let value: f64 = work[row];
                match position[row] {
                    NONE => largest = largest.max(value.abs()),
                    pivot => {
                        explained.push((pivot, value));
                        for &(target, l) in &lower[pivot] {
                            work[target] -= l * value;
                        }
                    }
                }
            }
            let candidates = reached.iter().filter(|row| position[**row] == NONE && work[**row].abs() >= SUFFICIENT * largest);
            let best = candidates.min_by_key(|row| (places_in_row[**row], **row)).copied();
            match best.filter(|_| largest > DEPENDENT) {
                Some(best) => {
                    let pivot = work[best];
                    let below = reached.iter().filter(|row| position[**row] == NONE && **row != best && work[**row] != 0.0);
                    lower.push(below.map(|row| (*row, work[*row] / pivot)).collect());
                    position[best] = space.pivots.len();
                    space.pivots.push((column, pivot));
                    space.upper.push(explained.into());
                }
                None => space.dependent.push((column, explained)),
            }
            reached.iter().for_each(|row| work[*row] = 0.0);
        }
        space
    }

    /// Dimension: the number of columns less the rank.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.dependent.len()
    }

    /// The basis, one vector per dependent column.
    #[must_use]
    pub fn basis(&self) -> Vec<Vec<f64>> {
        let unit = |own: usize| self.vector(|column| if column == own { 1.0 } else { 0.0 });
        self.dependent.iter().map(|(column, _)| unit(*column)).collect()
    }

    /// A vector of the null space: the combination of its basis vectors with the weights `weight(column)`.
    ///
    /// With weights that stand in no relation its entries are nonzero exactly where some null vector's are.
    #[must_use]
    pub fn vector(&self, weight: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut vector = vec![0.0; self.columns];
        let mut y = vec![0.0; self.pivots.len()];
        for (column, explained) in &self.dependent {
            vector[*column] = weight(*column);
            explained.iter().for_each(|(pivot, value)| y[*pivot] -= value * vector[*column]);
        }
        for (k, ((column, pivot), upper)) in self.pivots.iter().zip(&self.upper).enumerate().rev() {
            let value = y[k] / pivot;
            vector[*column] = value;
            for (earlier, u) in upper {
                y[*earlier] -= u * value;
            }
        }
        vector
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_product_of_thin_factors_has_their_rank_and_a_null_vector_is_one(
            left in prop::collection::vec(-1.0..1.0f64, 12 * 4), right in prop::collection::vec(-1.0..1.0f64, 4 * 9)
        ) {
            let value = |row: usize, column: usize| (0..4).map(|k| left[4 * row + k] * right[9 * k + column]).sum::<f64>();
            let triplets = Vec::from_iter((0..108).map(|k| (k / 9, k % 9, value(k / 9, k % 9))));
            let matrix = Matrix::from_triplets(12, 9, &triplets);
            let space = NullSpace::new(&matrix, &Vec::from_iter((0..9).rev()));
            prop_assert!(space.dimension() >= 5);
            let vector = space.vector(|column| 1.0 + column as f64);
            let size = vector.iter().fold(1.0f64, |size, entry| size.max(entry.abs()));
            prop_assert!(matrix.multiply(&vector).iter().all(|entry| entry.abs() < 1e-8 * size));
        }
    }

    #[test]
    fn what_is_determined_weakly_is_determined() {
        // Singular value 1e-8: its square would be lost in rounding.
        let matrix = Matrix::from_triplets(2, 2, &[(0, 0, 1.0), (0, 1, 1.0), (1, 0, 1.0), (1, 1, 1.0 + 2e-8)]);
        assert_eq!(NullSpace::new(&matrix, &[0, 1]).dimension(), 0);
        let matrix = Matrix::from_triplets(2, 3, &[(0, 0, 1.0), (0, 1, 1.0), (1, 0, 1.0), (1, 1, 1.0)]);
        let space = NullSpace::new(&matrix, &[0, 1, 2]);
        assert_eq!((space.dimension(), space.vector(|_| 1.0)), (2, vec![-1.0, 1.0, 1.0]));
    }
}
