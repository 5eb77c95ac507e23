//! Ridge regression by normal equations: `min Σ (y − b₀ − z·b)² + λ n |b|²` with standardised features z.
//!
//! Features are centred and scaled by the rows' own mean and deviation, the intercept is not penalised, and sums run in
//! row order, so that equal rows give equal bits. A feature that never changes has no weight.

/// A fitted linear model.
#[derive(Clone, Debug, PartialEq)]
pub struct Ridge {
    intercept: f64,
    /// Weight of each feature as it is, not standardised.
    weights: Vec<f64>,
}

impl Ridge {
    /// Fits rows of `width` features each, stored one after another, to as many targets.
    ///
    /// `penalty` is λ; `None` when there is no row, or features are so alike that no penalty makes them separable.
    ///
    /// # Panics
    /// When `features` does not hold `width` numbers per target.
    #[must_use]
    pub fn fit(features: &[f64], targets: &[f64], width: usize, penalty: f64) -> Option<Self> {
        assert_eq!(features.len(), width * targets.len(), "a row of features per target");
        if targets.is_empty() {
            return None;
        }
        let count = targets.len() as f64;
        let target_mean = targets.iter().sum::<f64>() / count;
        let mut mean = vec![0.0; width];
        for row in features.chunks_exact(width) {
            for (mean, value) in mean.iter_mut().zip(row) {
                *mean += value;
            }
        }
        mean.iter_mut().for_each(|mean| *mean /= count);
        // Moments about the mean: about zero they would cancel where a feature is large and steady.
        let mut moments = vec![0.0; width * width];
        let mut products = vec![0.0; width];
        let mut centred = vec![0.0; width];
        for (row, target) in features.chunks_exact(width).zip(targets) {
            for ((centred, value), mean) in centred.iter_mut().zip(row).zip(&mean) {
                *centred = value - mean;
            }
            for (i, value) in centred.iter().enumerate() {
                products[i] += value * (target - target_mean);
                for (sum, other) in moments[i * width..=i * width + i].iter_mut().zip(&centred) {
                    *sum += value * other;
                }
            }
        }
        let deviation: Vec<f64> = (0..width).map(|i| (moments[i * width + i] / count).sqrt()).collect();
        let varies: Vec<usize> = (0..width).filter(|i| deviation[*i] > 1e-9 * (1.0 + mean[*i].abs())).collect();
        let size = varies.len();
        let mut matrix = vec![0.0; size * size];
        let mut weights_scaled = vec![0.0; size];
        for (a, &i) in varies.iter().enumerate() {
            for (b, &j) in varies[..=a].iter().enumerate() {
                matrix[a * size + b] = moments[i * width + j] / (count * deviation[i] * deviation[j]);
            }
            matrix[a * size + a] += penalty;
            weights_scaled[a] = products[i] / (count * deviation[i]);
        }
        solve_positive(&mut matrix, &mut weights_scaled)?;
        let mut weights = vec![0.0; width];
        for (a, &i) in varies.iter().enumerate() {
            weights[i] = weights_scaled[a] / deviation[i];
        }
        let intercept = target_mean - weights.iter().zip(&mean).map(|(weight, mean)| weight * mean).sum::<f64>();
        (intercept.is_finite() && weights.iter().all(|weight| weight.is_finite())).then_some(Self { intercept, weights })
    }

    /// The model's value for a row of features.
    ///
    /// # Panics
    /// When the row has another width than the model.
    #[must_use]
    pub fn predict(&self, row: &[f64]) -> f64 {
        assert_eq!(row.len(), self.weights.len(), "as many features as weights");
        self.intercept + self.weights.iter().zip(row).map(|(weight, value)| weight * value).sum::<f64>()
    }
}

/// Solves a positive definite system in place by Cholesky's LLᵀ; the lower half of `matrix` is read. `None` when it is
/// not positive definite.
fn solve_positive(matrix: &mut [f64], right: &mut [f64]) -> Option<()> {
    let size = right.len();
    for column in 0..size {
        for row in column..size {
            let mut sum = matrix[row * size + column];
            for k in 0..column {
                sum -= matrix[row * size + k] * matrix[column * size + k];
            }
            if row == column {
                // Standardised, the diagonal is about 1: less than this is rounding.
                if sum.is_nan() || sum <= 1e-13 {
                    return None;
                }
                matrix[row * size + column] = sum.sqrt();
            } else {
                matrix[row * size + column] = sum / matrix[column * size + column];
            }
        }
    }
    for row in 0..size {
        for k in 0..row {
            right[row] -= matrix[row * size + k] * right[k];
        }
        right[row] /= matrix[row * size + row];
    }
    for row in (0..size).rev() {
        for k in row + 1..size {
            right[row] -= matrix[k * size + row] * right[k];
        }
        right[row] /= matrix[row * size + row];
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn without_penalty_a_linear_law_is_found_again() {
        let rows: Vec<[f64; 3]> = (0..20).map(|i| [f64::from(i), f64::from(i * i % 7), 3.0]).collect();
        let targets: Vec<f64> = rows.iter().map(|row| 5.0 + 2.0 * row[0] - 0.5 * row[1]).collect();
        let model = Ridge::fit(rows.as_flattened(), &targets, 3, 0.0).unwrap();
        assert!((model.predict(&[100.0, 3.0, 3.0]) - 203.5).abs() < 1e-9);
        assert_eq!(model.weights[2], 0.0, "a constant feature has no weight");
    }

    #[test]
    fn a_great_penalty_leaves_the_mean_and_equal_features_need_one() {
        let rows = [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]];
        let targets = [10.0, 20.0, 30.0];
        assert_eq!(Ridge::fit(rows.as_flattened(), &targets, 2, 0.0), None);
        let model = Ridge::fit(rows.as_flattened(), &targets, 2, 1e12).unwrap();
        assert!((model.predict(&[9.0, 9.0]) - 20.0).abs() < 1e-6);
        assert_eq!(Ridge::fit(&[], &[], 2, 1.0), None);
    }

    proptest! {
        /// At the optimum no weight can be moved: the gradient of the penalised sum of squares is zero.
        #[test]
        fn the_fit_is_stationary(values in prop::collection::vec(-10.0..10.0f64, 40), penalty in 0.001..1.0f64) {
            let (features, targets) = values.split_at(30);
            let model = Ridge::fit(features, targets, 3, penalty).unwrap();
            let residuals: Vec<f64> = features.chunks(3).zip(targets).map(|(row, y)| y - model.predict(row)).collect();
            prop_assert!(residuals.iter().sum::<f64>().abs() < 1e-8);
            for i in 0..3 {
                let column: Vec<f64> = features.chunks(3).map(|row| row[i]).collect();
                let mean = column.iter().sum::<f64>() / 10.0;
                let variance = column.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / 10.0;
                let pull: f64 = column.iter().zip(&residuals).map(|(x, r)| (x - mean) * r).sum::<f64>() / 10.0;
                prop_assert!((pull - penalty * variance * model.weights[i]).abs() < 1e-7, "{pull}");
            }
        }
    }
}
