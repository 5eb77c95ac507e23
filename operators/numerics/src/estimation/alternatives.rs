//! What may be bad in the place of what was blamed: errors that conform.
//!
//! An injection and the flow that carries it on, wrong by the same power, agree with each other; a good meter beyond them contradicts
//! both and has the largest residual. Two such sets explain J equally well, and only counting assumptions decides. So, with a blamed
//! measurement back in, all pairs of those with the largest normalised residuals are asked how much of J each explains: to
//! first order `λᵀ S⁻¹ λ` with weighted residuals λ and their covariance S (Monticelli, Wu and Yen 1986 search the same sets).
//! Those that explain as much as the blamed ones, but for what chance leaves, are named beside them.

use std::collections::BTreeMap;

use super::bad_data::{BadDatum, Search};
use super::inverse_variance;
use super::plan::Factor;
use super::removals::Linear;
use crate::case::CaseMeasurement;
use crate::sparse::WIDTH;

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
    /// Adds to each of the measurements that were taken out what may be bad in its place; `linear` and the factor are of the state without
    /// them.
    pub(super) fn name_alternatives(&self, linear: &Linear, bad: &mut [BadDatum], measurements: &[CaseMeasurement], factor: &Factor) {
        let weight = |index: usize| inverse_variance(&measurements[index]);
        let blamed = Vec::from_iter(bad.iter().map(|datum| datum.index));
        let rows = Vec::from_iter(blamed.iter().map(|index| self.climbed(*index, factor)));
        let common = |a: usize, b: usize| factor.ldlt.product(&rows[a], &rows[b]);
        let variance = |a: usize| 1.0 / weight(blamed[a]) + common(a, a);
        for (place, datum) in bad.iter_mut().enumerate().take(BLAMED) {
            // With the other blamed one that its residual goes with most.
            let mut partner = None;
            for other in (0..blamed.len()).filter(|other| *other != place) {
                let (common, own) = (common(place, other), variance(place));
                let correlation = common.abs() / (own * variance(other) - common * common).max(0.0).sqrt();
                if correlation > partner.map_or(TOGETHER, |(_, most)| most) {
                    partner = Some((other, correlation));
                }
            }
            let (mut search, mut linear) = (self.clone(), linear.clone());
            let mut group = Vec::new();
            for index in [Some(place), partner.map(|(other, _)| other)].into_iter().flatten().map(|place| blamed[place]) {
                linear.put_in(&mut search, index, weight(index), factor);
                group.push(index);
                datum.alike.extend(search.alternatives(&linear, &group, factor));
            }
            datum.alike.sort_unstable();
            datum.alike.dedup();
        }
        bad.iter_mut().for_each(|datum| datum.alike.retain(|index| !blamed.contains(index)));
    }

    fn climbed(&self, index: usize, factor: &Factor) -> BTreeMap<usize, [f64; WIDTH]> {
        let row = self.row(self.plan.kinds[index], &self.iterate.point);
        factor.ldlt.climbed(&Vec::from_iter(row.into_iter().map(|(state, value)| (WIDTH * (state / 2) + state % 2, value))))
    }

    /// Members of pairs that explain as much as a group, which takes part.
    fn alternatives(&self, linear: &Linear, group: &[usize], factor: &Factor) -> Vec<usize> {
        let size = |index: usize| linear.normalized(index, self.weights[index]).unwrap_or(0.0);
        let mut candidates = Vec::from_iter((0..self.values.len()).filter(|index| size(*index) > LEAST && !group.contains(index)));
        candidates.sort_by(|a, b| size(*b).total_cmp(&size(*a)).then(a.cmp(b)));
        candidates.truncate(CANDIDATES);
        candidates.splice(0..0, group.iter().copied());
        let rows = Vec::from_iter(candidates.iter().map(|index| self.climbed(*index, factor)));
        // In units of their own deviations: normalised residuals with their signs, and correlations.
        let deviation = |k: usize| (linear.shares[candidates[k]] / self.weights[candidates[k]]).sqrt();
        let signed = |k: usize| linear.residuals[candidates[k]] / deviation(k);
        let explained = |set: &[usize]| match *set {
            [k] => signed(k) * signed(k),
            [k, l] => {
                let covariance = linear.turned(-factor.ldlt.product(&rows[k], &rows[l]), candidates[k], candidates[l]);
                let (a, b, c) = (signed(k), signed(l), covariance / (deviation(k) * deviation(l)));
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
        named
    }
}
