//! The inverse of a factored block matrix on the pattern of its factor (Takahashi, Fagan and Chin 1973): enough for the
//! covariance of everything a measurement touches, at twice the work of the factor.
//!
//! From `A⁻¹ = L⁻ᵀ D⁻¹ L⁻¹` follows `Z = D⁻¹ L⁻¹ + (I - Lᵀ) Z`; taken from the last column on, with S the rows of column j:
//! `Z(i, j) = -Σ_{k ∈ S} Z(i, k) L(k, j)` for i in S, and `Z(j, j) = D⁻¹(j) - Σ_{k ∈ S} L(k, j)ᵀ Z(k, j)`. For i, k in S the
//! block Z(i, k) lies on the pattern: elimination of j joined them.

use super::block_ldlt::{Block4, BlockLdlt, WIDTH, ZERO, subtract_product, transposed};

/// The blocks of an inverse on the pattern of a factor.
#[derive(Clone, Debug)]
pub struct BlockInverse<'a> {
    factor: &'a BlockLdlt,
    /// Place of each block in the order of elimination.
    position: Vec<u32>,
    diagonal: Vec<Block4>,
    /// By slot of L.
    lower: Vec<Block4>,
}

impl<'a> BlockInverse<'a> {
    /// The inverse of the matrix last factored.
    #[must_use]
    pub fn new(factor: &'a BlockLdlt) -> Self {
        let n = factor.size();
        let mut position = vec![0; n];
        factor.order().iter().enumerate().for_each(|(new, old)| position[*old] = new as u32);
        let mut diagonal = vec![ZERO; n];
        let mut lower = vec![ZERO; factor.lower.len()];
        let mut sums: Vec<Block4> = Vec::new();
        for j in (0..n).rev() {
            let (start, end) = (factor.lower_starts[j], factor.lower_starts[j + 1]);
            let (rows, column) = (&factor.lower_rows[start..end], &factor.lower[start..end]);
            sums.clear();
            sums.resize(rows.len(), ZERO);
            for (a, &k) in rows.iter().enumerate() {
                subtract_product(&mut sums[a], &diagonal[k as usize], &column[a]);
                // Rows of column k ascend, and hold all those of S behind k.
                let mut slot = factor.lower_starts[k as usize];
                for (b, &row) in rows.iter().enumerate().skip(a + 1) {
                    while factor.lower_rows[slot] != row {
                        slot += 1;
                    }
                    let z = &lower[slot];
                    subtract_product(&mut sums[b], z, &column[a]);
                    subtract_product(&mut sums[a], &transposed(z), &column[b]);
                }
            }
            let mut own = factor.inverse_pivots[j];
            for (l, z) in column.iter().zip(&sums) {
                subtract_product(&mut own, &transposed(l), z);
            }
            let mirrored = transposed(&own);
            own.iter_mut().zip(&mirrored).for_each(|(value, mirror)| *value = 0.5 * (*value + mirror));
            diagonal[j] = own;
            lower[start..end].copy_from_slice(&sums);
        }
        Self { factor, position, diagonal, lower }
    }

    /// The block of a row and a column of blocks; none outside the pattern of the factor.
    #[must_use]
    pub fn block(&self, row: usize, column: usize) -> Option<Block4> {
        let (a, b) = (self.position[row] as usize, self.position[column] as usize);
        if a == b {
            return Some(self.diagonal[a]);
        }
        let (first, second) = (a.min(b), a.max(b));
        let start = self.factor.lower_starts[first];
        let rows = &self.factor.lower_rows[start..self.factor.lower_starts[first + 1]];
        let slot = start + rows.binary_search(&(second as u32)).ok()?;
        Some(if a > b { self.lower[slot] } else { transposed(&self.lower[slot]) })
    }

    /// Entry of unknown `i` of block `row` and unknown `j` of block `column`; 0 outside the pattern.
    #[must_use]
    pub fn get(&self, (row, i): (usize, usize), (column, j): (usize, usize)) -> f64 {
        self.block(row, column).map_or(0.0, |block| block[WIDTH * i + j])
    }
}
