//! What residuals and their covariances become when measurements are taken out or put back, with the factor as it is.
//!
//! Taking measurement k out changes the gain by its own row alone. With C the covariance of the states, `s = C h_kᵀ` (one solve) and
//! `D = R_k - h_k s`, the variance of its residual, the Sherman-Morrison formula gives, at the linearisation,
//!
//! ```text
//! x' = x - s r_k / D        r_j' = r_j + h_j s r_k / D
//! C' = C + s sᵀ / D         Ω_jj' = Ω_jj - (h_j s)² / D        J' = J - r_k² / D
//! ```
//!
//! Putting one in is the same with `D = -R_k - h_k s`. Several are turned one after the other, each by the columns of those
//! before (Monticelli, "State Estimation in Electric Power Systems", chapter 8, takes the same way by blocks). How far the linearisation may be
//! believed is seen by reading the network where it leads.

use super::bad_data::Search;
use super::plan::Factor;
use super::residuals::{NO_REDUNDANCY, Residuals};
use super::system::{System, residual};

/// Where no residual of the linearisation is off by more of its measurement's standard deviations, its judgement is that of the network.
const AGREES: f64 = 0.25;

/// A measurement that was taken out or put in.
#[derive(Clone, Debug)]
struct Turned {
    /// `C hᵀ` by state.
    spread: Vec<f64>,
    /// `-h_j C hᵀ` by measurement.
    column: Vec<f64>,
    /// See D of the module.
    pivot: f64,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Linear {
    /// Measured less estimated, also of what takes no part.
    pub(super) residuals: Vec<f64>,
    /// `Ω/R`; 0 of what takes no part.
    pub(super) shares: Vec<f64>,
    /// J.
    pub(super) objective: f64,
    /// Change of the state, by state.
    pub(super) moved: Vec<f64>,
    turned: Vec<Turned>,
}

impl Linear {
    /// At the state of a search, which `found` is of.
    pub(super) fn new(search: &Search, found: &Residuals, system: &mut System) -> Self {
        system.read(&search.given(), &search.iterate.point);
        let of = |(index, value): (usize, &f64)| residual(search.plan.sites.place(index), *value, system.estimated[index]);
        let residuals = Vec::from_iter(search.values.iter().enumerate().map(of));
        let squares = residuals.iter().zip(&search.weights).map(|(residual, weight)| residual * residual * weight);
        let objective = search.options.method.objective(squares);
        let moved = vec![0.0; search.plan.free.len()];
        Self { residuals, shares: found.redundancy.clone(), objective, moved, turned: Vec::new() }
    }

    /// The normalised residual; none for what takes no part and what no other measurement checks.
    pub(super) fn normalized(&self, index: usize, weight: f64) -> Option<f64> {
        let share = self.shares[index];
        (weight > 0.0 && share > NO_REDUNDANCY).then(|| self.residuals[index].abs() * (weight / share).sqrt())
    }

    /// `-h_j C h_kᵀ` of a measurement k with each other j, as things are, and `C h_kᵀ`.
    pub(super) fn column(&self, search: &Search, index: usize, factor: &Factor) -> (Vec<f64>, Vec<f64>) {
        let point = &search.iterate.point;
        let mut spread = search.spread(&search.row(search.plan.kinds[index], point), factor);
        let mut column = System::slopes(&search.given(), point, &spread);
        column.iter_mut().for_each(|value| *value = -*value);
        for turned in &self.turned {
            let by = turned.column[index] / turned.pivot;
            column.iter_mut().zip(&turned.column).for_each(|(value, other)| *value -= by * other);
            spread.iter_mut().zip(&turned.spread).for_each(|(value, other)| *value -= by * other);
        }
        (column, spread)
    }

    /// Takes a measurement out of the search; gives `-h_j C hᵀ` of it with each other while it was in.
    pub(super) fn take_out(&mut self, search: &mut Search, index: usize, factor: &Factor) -> &[f64] {
        let (column, spread) = self.column(search, index, factor);
        let pivot = 1.0 / search.weights[index] + column[index];
        search.weights[index] = 0.0;
        self.turn(search, index, Turned { spread, column, pivot });
        self.shares[index] = 0.0;
        self.turned.last().map_or(&[], |turned| &turned.column)
    }

    /// Puts a measurement that is out back in, with its weight.
    pub(super) fn put_in(&mut self, search: &mut Search, index: usize, weight: f64, factor: &Factor) {
        let (column, spread) = self.column(search, index, factor);
        let pivot = -1.0 / weight + column[index];
        self.turn(search, index, Turned { spread, column, pivot });
        self.shares[index] = -1.0 / (weight * pivot);
        search.weights[index] = weight;
    }

    fn turn(&mut self, search: &Search, index: usize, turned: Turned) {
        let Turned { spread, column, pivot } = &turned;
        let by = self.residuals[index] / pivot;
        self.objective -= by * self.residuals[index];
        for (residual, column) in self.residuals.iter_mut().zip(column) {
            *residual -= by * column;
        }
        for ((share, weight), column) in self.shares.iter_mut().zip(&search.weights).zip(column) {
            *share = (*share - weight * column * column / pivot).clamp(0.0, 1.0);
        }
        self.moved.iter_mut().zip(spread).for_each(|(moved, spread)| *moved -= by * spread);
        self.turned.push(turned);
    }

    /// What turning makes of `-h_j C h_kᵀ` of two measurements.
    pub(super) fn turned(&self, covariance: f64, j: usize, k: usize) -> f64 {
        self.turned.iter().fold(covariance, |covariance, turned| covariance - turned.column[j] * turned.column[k] / turned.pivot)
    }

    /// Whether what is measured would read at the changed state as the linearisation says.
    pub(super) fn agrees(&self, search: &Search, system: &mut System) -> bool {
        let mut point = search.iterate.point.clone();
        point.go(&self.moved);
        let given = search.given();
        system.read(&given, &point);
        (0..search.values.len()).all(|index| {
            let weight = search.weights[index];
            let there = residual(search.plan.sites.place(index), search.values[index], system.estimated[index]);
            // Not a number is no agreement.
            weight == 0.0 || (there - self.residuals[index]).abs() * weight.sqrt() <= AGREES
        })
    }
}
