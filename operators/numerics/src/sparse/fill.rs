//! The pattern of a factor whose order of elimination is fixed and whose matrix has a symmetric pattern: what all
//! factorisations without a search for pivots share.
//!
//! Row k of L has the columns on the paths of the elimination tree from the entries of row k up to k (J. W. H. Liu, "The role
//! of elimination trees in sparse factorization", 1990). U has the transposed pattern.

/// Pattern of L below the diagonal, by row and by column; both ascending.
pub(super) struct Fill {
    pub(super) row_starts: Vec<usize>,
    pub(super) row_columns: Vec<u32>,
    pub(super) column_starts: Vec<usize>,
    pub(super) column_rows: Vec<u32>,
}

impl Fill {
    /// Of a matrix of `n` rows with columns `row(k)`, in the order of elimination; those from the diagonal on are passed over.
    pub(super) fn new<I: Iterator<Item = usize>>(n: usize, row: impl Fn(usize) -> I) -> Self {
        let (mut parent, mut mark) = (vec![usize::MAX; n], vec![usize::MAX; n]);
        let (mut row_starts, mut row_columns) = (vec![0; n + 1], Vec::new());
        let mut column_starts = vec![0; n + 1];
        for k in 0..n {
            mark[k] = k;
            for mut i in row(k) {
                while i < k && mark[i] != k {
                    if parent[i] == usize::MAX {
                        parent[i] = k;
                    }
                    mark[i] = k;
                    column_starts[i + 1] += 1;
                    row_columns.push(i as u32);
                    i = parent[i];
                }
            }
            row_columns[row_starts[k]..].sort_unstable();
            row_starts[k + 1] = row_columns.len();
        }
        prefix_sums(&mut column_starts);
        let (mut next, mut column_rows) = (column_starts.clone(), vec![0; row_columns.len()]);
        for k in 0..n {
            for &i in &row_columns[row_starts[k]..row_starts[k + 1]] {
                column_rows[next[i as usize]] = k as u32;
                next[i as usize] += 1;
            }
        }
        Self { row_starts, row_columns, column_starts, column_rows }
    }
}

/// Turns counts, one place late, into starts.
pub(super) fn prefix_sums(counts: &mut [usize]) {
    for k in 1..counts.len() {
        counts[k] += counts[k - 1];
    }
}
