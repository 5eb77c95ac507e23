//! Dense systems of a few unknowns, as corrections of low rank have them.

/// The most unknowns.
pub(super) const MOST: usize = 8;

/// A few rows and columns, of which the leading ones are used.
pub(super) type Small = [[f64; MOST]; MOST];

/// `a⁻¹ b` of the leading `n` rows and columns by Gaussian elimination with row pivoting; none when a pivot is not greater than
/// `least`.
pub(super) fn solve(mut a: Small, mut b: Small, n: usize, least: f64) -> Option<Small> {
    for k in 0..n {
        let mut best = k;
        for row in k + 1..n {
            if a[row][k].abs() > a[best][k].abs() {
                best = row;
            }
        }
        a.swap(k, best);
        b.swap(k, best);
        // Written so that what is no number is refused.
        if !(a[k][k].abs() > least && a[k][k].is_finite()) {
            return None;
        }
        for row in k + 1..n {
            let factor = a[row][k] / a[k][k];
            for column in 0..n {
                a[row][column] -= factor * a[k][column];
                b[row][column] -= factor * b[k][column];
            }
        }
    }
    for k in (0..n).rev() {
        let below = b;
        for (column, value) in b[k].iter_mut().enumerate().take(n) {
            let known: f64 = (k + 1..n).map(|row| a[k][row] * below[row][column]).sum();
            *value = (*value - known) / a[k][k];
        }
    }
    Some(b)
}

/// `a b` of the leading `n` rows and columns.
pub(super) fn multiply(a: &Small, b: &Small, n: usize) -> Small {
    let mut product = [[0.0; MOST]; MOST];
    for row in 0..n {
        for column in 0..n {
            product[row][column] = (0..n).map(|k| a[row][k] * b[k][column]).sum();
        }
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_solution_times_the_matrix_is_the_right_side_and_a_singular_matrix_is_refused() {
        let mut a = [[0.0; MOST]; MOST];
        for (row, values) in a.iter_mut().enumerate().take(4) {
            for (column, value) in values.iter_mut().enumerate().take(4) {
                *value = ((row * 7 + column * 3) % 5) as f64 - if row == column { 3.0 } else { 0.0 };
            }
        }
        let mut b = [[0.0; MOST]; MOST];
        (0..4).for_each(|k| b[k][k] = 1.0 + k as f64);
        let x = solve(a, b, 4, 1e-12).expect("it is regular");
        let product = multiply(&a, &x, 4);
        for (product, expected) in product.iter().flatten().zip(b.iter().flatten()) {
            assert!((product - expected).abs() < 1e-12);
        }
        a[3] = a[2];
        assert_eq!(solve(a, b, 4, 1e-12), None);
    }
}
