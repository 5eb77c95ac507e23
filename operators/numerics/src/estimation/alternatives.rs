//! What may be bad in the place of what was blamed: errors that conform.
//!
//! An injection and the flow that carries it on, wrong by the same power, agree with each other; a good meter beyond them contradicts
//! both and has the largest residual. Two such sets explain J equally well, and only counting assumptions decides. So, with a blamed
//! measurement back in, all pairs of those with the largest normalised residuals are asked how much of J each explains: to
//! first order `λᵀ S⁻¹ λ` with weighted residuals λ and their covariance S (Monticelli, Wu and Yen 1986 search the same sets).
//! Those that explain as much as the blamed ones, but for what chance leaves, are named beside them.

use super::bad_data::{BadDatum, Search};
use super::plan::Work;
use super::{EstimationError, inverse_variance};
use crate::case::CaseMeasurement;

/// Measurements of which pairs are made.
const CANDIDATES: usize = 14;
/// Two sets are not told apart when what they explain differs by less: the 99.7 % point of one square.
const ALIKE: f64 = 9.0;
/// A normalised residual below this is none of an error.
const LEAST: f64 = 3.0;
/// Blamed measurements looked into.
const BLAMED: usize = 20;
/// Correlation of the residuals of blamed measurements that are looked into together.
const TOGETHER: f64 = 0.3;
/// A determinant below this share of the product of variances: the two say the same.
const SAME: f64 = 1e-4;

impl Search<'_> {
    /// Adds to each of the measurements that were taken out what may be bad in its place.
    pub(super) fn name_alternatives(
        &mut self,
        bad: &mut [BadDatum],
        measurements: &[CaseMeasurement],
        work: &mut Work,
    ) -> Result<(), EstimationError> {
        let (weights, iterate) = (self.weights.clone(), self.iterate.clone());
        for place in 0..bad.len().min(BLAMED) {
            let blamed = bad[place].index;
            self.weights.copy_from_slice(&weights);
            self.weights[blamed] = inverse_variance(&measurements[blamed]);
            // With the other blamed one that its residual goes with most.
            let row = self.row(self.plan.kinds[blamed], &iterate.point);
            self.residuals(work)?;
            let spread = self.spread(&row, &work.factor);
            let variance = |row: &[(usize, f64)], spread: &[f64]| row.iter().map(|(state, value)| value * spread[*state]).sum::<f64>();
            let square = |index: usize| measurements[index].sigma * measurements[index].sigma;
            let own = square(blamed) - variance(&row, &spread);
            let mut partner = None;
            for other in bad.iter().map(|datum| datum.index).filter(|other| *other != blamed) {
                let other_row = self.row(self.plan.kinds[other], &iterate.point);
                let common = variance(&other_row, &spread);
                let size = square(other) + variance(&other_row, &self.spread(&other_row, &work.factor));
                let correlation = common.abs() / (own.abs() * size).sqrt();
                if correlation > partner.map_or(TOGETHER, |(_, most)| most) {
                    partner = Some((other, correlation));
                }
            }
            let mut more = Vec::new();
            for group in [Some(vec![blamed]), partner.map(|(other, _)| vec![blamed, other])].into_iter().flatten() {
                group.iter().for_each(|index| self.weights[*index] = inverse_variance(&measurements[*index]));
                if self.converge(work).is_ok() {
                    more.extend(self.alternatives(&group, work)?);
                }
                self.iterate = iterate.clone();
            }
            let datum = &mut bad[place];
            datum.alike.extend(more);
            datum.alike.sort_unstable();
            datum.alike.dedup();
        }
        let blamed = Vec::from_iter(bad.iter().map(|datum| datum.index));
        bad.iter_mut().for_each(|datum| datum.alike.retain(|index| !blamed.contains(index)));
        self.weights = weights;
        self.iterate = iterate;
        self.residuals(work)?;
        Ok(())
    }

    /// Members of pairs that explain as much as a group at the present state, in which the group takes part.
    fn alternatives(&self, group: &[usize], work: &mut Work) -> Result<Vec<usize>, EstimationError> {
        let found = self.residuals(work)?;
        let size = |index: usize| found.normalized[index].unwrap_or(0.0);
        let mut candidates = Vec::from_iter((0..self.values.len()).filter(|index| size(*index) > LEAST && !group.contains(index)));
        candidates.sort_by(|a, b| size(*b).total_cmp(&size(*a)).then(a.cmp(b)));
        candidates.truncate(CANDIDATES);
        candidates.splice(0..0, group.iter().copied());
        let point = &self.iterate.point;
        let rows = Vec::from_iter(candidates.iter().map(|index| self.row(self.plan.kinds[*index], point)));
        let spreads = Vec::from_iter(rows.iter().map(|row| self.spread(row, &work.factor)));
        // In units of their own deviations: normalised residuals with their signs, and correlations.
        let deviation = |k: usize| (found.redundancy[candidates[k]] / self.weights[candidates[k]]).sqrt();
        let signed = |k: usize| {
            let estimated = work.system.estimated[candidates[k]];
            super::system::residual(self.plan.sites.place(candidates[k]), self.values[candidates[k]], estimated) / deviation(k)
        };
        let explained = |set: &[usize]| match *set {
            [k] => signed(k) * signed(k),
            [k, l] => {
                let covariance: f64 = rows[k].iter().map(|(state, value)| value * spreads[l][*state]).sum();
                let (a, b, c) = (signed(k), signed(l), -covariance / (deviation(k) * deviation(l)));
                let left = 1.0 - c * c;
                if left < SAME { a * a } else { (a * a - 2.0 * c * a * b + b * b) / left }
            }
            _ => 0.0,
        };
        let own = explained(&Vec::from_iter(0..group.len()));
        let mut named = Vec::new();
        let free = group.len()..candidates.len();
        for k in free.clone() {
            // Alone it may do; else two do that each add to the other.
            if explained(&[k]) > own - ALIKE {
                named.push(candidates[k]);
            }
            for l in (0..candidates.len()).filter(|l| *l < group.len() || *l > k) {
                let both = explained(&[k, l]);
                if both > own - ALIKE && both > explained(&[k]).max(explained(&[l])) + ALIKE {
                    named.extend([candidates[k], candidates[l]]);
                }
            }
        }
        named.sort_unstable();
        named.dedup();
        named.retain(|index| !group.contains(index));
        Ok(named)
    }
}
