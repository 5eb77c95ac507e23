//! Outcomes of outages, kept up to date. Of single ones ([`Ranking`]) what a change of injections touches is solved again, the rest
//! keeps its outcome and grows old; given ones of several elements ([`Given`]) are few, and all solved each time.
//!
//! The rule for single ones. An outage that is not solved again has, by what units and loads are now, a greatest loading that differs from
//! the one kept by [`TOLERANCE`] at most, as a share of the rating, and cuts off what is kept but for that share of it. Half of the
//! tolerance is for what the flow over a branch may have moved before any outage; a branch that moved by more than a
//! quarter since everything was solved (twice a quarter then lies between any two moments) has its loading after each outage
//! worked out from sensitivities, and where that is beyond what is kept, or is what is kept and is no more, the outage is
//! touched. The other half is for what the outage takes away: its change times the outage's reach. An outage that is no
//! such sum is always touched. All this holds while the network is one: with another one, everything is solved. Drifts
//! add up, as all is compared with when it was solved. Which rating an outage is within is that of when it was solved: the rule
//! asks for the branch loaded most, which need not be the one whose emergency rating is next.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::dc::{Analysis, Sensitivity};
use super::{Contingency, Element, Outcome};

/// By how much, as a share of the rating, what is shown may differ from what would be solved now.
pub const TOLERANCE: f64 = 0.05;
/// Load cut off that may come or go unnoticed, per unit.
const LOST: f64 = 0.01;
/// One of so many outages as branches that moved: beyond, everything is solved.
const MOVED: usize = 4;

/// An outage in the view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The outcome; indices are those of the case.
    pub outcome: Outcome,
    /// When it was solved.
    pub solved_at: i64,
    /// What loads were scaled by then to carry the losses: what is lost is so many times greater.
    pub with_losses: f64,
    /// What it took away then.
    taken: f64,
}

/// When and on what is solved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// Now, milliseconds.
    pub now_ms: i64,
    /// What loads are scaled by.
    pub with_losses: f64,
}

impl Moment {
    fn row(self, taken: f64, outcome: Outcome) -> Row {
        Row { outcome, solved_at: self.now_ms, with_losses: self.with_losses, taken }
    }
}

/// Solves outages of a prepared case as [`Analysis::solve`] does, in whatever blocks.
pub type Solve<'a> = &'a dyn Fn(&Analysis<'_>, &[Contingency]) -> Vec<Outcome>;

/// The view of a network's outages; a plain value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    rows: Vec<Row>,
    /// Loading of each branch when everything was last solved; none without a rating.
    loadings: Vec<Option<f64>>,
    /// Branches that moved since.
    moved: BTreeSet<usize>,
    /// Made when first needed.
    sensitivities: Vec<Sensitivity>,
}

impl Ranking {
    /// All outages, in the order given.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Solves everything. `same`: whether the network is the one of before, of which sensitivities are known.
    pub fn refresh(&mut self, analysis: &Analysis<'_>, outages: &[Element], same: bool, moment: Moment, solve: Solve<'_>) {
        if !same {
            self.sensitivities.clear();
        }
        self.moved.clear();
        self.loadings = (0..analysis.base_flows().len()).map(|branch| analysis.loading(branch)).collect();
        self.rows.clear();
        let outcomes = solve(analysis, &Vec::from_iter(outages.iter().map(|outage| vec![*outage])));
        let rows = outages.iter().zip(outcomes);
        self.rows.extend(rows.map(|(outage, outcome)| moment.row(analysis.taken(*outage), outcome)));
    }

    /// Solves again what injections touch that have changed on the same network; which these are, ascending. Everything,
    /// where nothing is known of as many outages or too much has moved.
    pub fn update(&mut self, analysis: &Analysis<'_>, outages: &[Element], moment: Moment, solve: Solve<'_>) -> Vec<usize> {
        let all = |ranking: &mut Self| {
            ranking.refresh(analysis, outages, true, moment, solve);
            Vec::from_iter(0..outages.len())
        };
        if self.rows.len() != outages.len() || self.loadings.len() != analysis.base_flows().len() {
            self.sensitivities.clear();
            return all(self);
        }
        for (branch, then) in self.loadings.iter().enumerate() {
            if then.zip(analysis.loading(branch)).is_some_and(|(then, now)| (now - then).abs() > TOLERANCE / 4.0) {
                self.moved.insert(branch);
            }
        }
        if self.moved.len() > outages.len() / MOVED {
            return all(self);
        }
        if self.sensitivities.len() != outages.len() {
            self.sensitivities = analysis.sensitivities(outages);
        }
        let mut touched = Vec::from_iter(outages.iter().zip(&self.sensitivities).zip(&self.rows).map(|((outage, known), row)| {
            let shifted = known.reach * (analysis.taken(*outage) - row.taken).abs() > TOLERANCE / 2.0;
            !known.is_linear() || shifted || loses_otherwise(analysis, *outage, &row.outcome)
        }));
        let moved = Vec::from_iter(self.moved.iter().copied());
        analysis.loadings_after(&moved, outages, &self.sensitivities, |outage, branch, loading| {
            let kept = &self.rows[outage].outcome;
            let fell = kept.worst_branch == Some(branch) && loading < kept.max_loading - TOLERANCE;
            touched[outage] |= fell || loading > kept.max_loading + TOLERANCE;
        });
        let touched = Vec::from_iter(touched.iter().enumerate().filter(|(_, touched)| **touched).map(|(outage, _)| outage));
        let again = Vec::from_iter(touched.iter().map(|outage| vec![outages[*outage]]));
        for (outage, outcome) in touched.iter().zip(solve(analysis, &again)) {
            self.rows[*outage] = moment.row(analysis.taken(outages[*outage]), outcome);
        }
        touched
    }
}

/// Given outages of several elements, kept up to date: all are solved each time, and one keeps its row as long as what is solved now
/// has a greatest loading within [`TOLERANCE`] of it, is within the same rating and loses the same but for that share of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Given {
    outages: Vec<Vec<usize>>,
    rows: Vec<Row>,
}

impl Given {
    /// All outages, in the order given.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Solves all outages. `kept`: whether rows of before may stand; not where the network is another one.
    pub fn follow(&mut self, analysis: &Analysis<'_>, outages: &[Contingency], kept: bool, moment: Moment, solve: Solve<'_>) {
        let numbers = |outage: &Contingency| {
            let number = |element: &Element| match *element {
                Element::Branch(branch) => 2 * branch,
                Element::Generator(unit) => 2 * unit + 1,
            };
            Vec::from_iter(outage.iter().map(number))
        };
        let numbers = Vec::from_iter(outages.iter().map(numbers));
        if !kept || numbers != self.outages {
            self.rows.clear();
        }
        self.outages = numbers;
        if outages.is_empty() {
            return;
        }
        let mut before = std::mem::take(&mut self.rows).into_iter();
        for outcome in solve(analysis, outages) {
            let row = before.next().filter(|row| row.shows(&outcome, moment.with_losses));
            self.rows.push(row.unwrap_or_else(|| moment.row(0.0, outcome)));
        }
    }
}

impl Row {
    /// Whether it may stand for an outcome at what loads are scaled by now.
    fn shows(&self, now: &Outcome, with_losses: f64) -> bool {
        let kept = &self.outcome;
        let load = |outcome: &Outcome, with_losses: f64| outcome.lost.as_ref().map_or(0.0, |lost| lost.load.max(0.0) / with_losses);
        let (before, after) = (load(kept, self.with_losses), load(now, with_losses));
        (kept.max_loading - now.max_loading).abs() <= TOLERANCE
            && kept.within == now.within
            && kept.unsolved.is_some() == now.unsolved.is_some()
            && kept.lost.as_ref().map(|lost| lost.buses) == now.lost.as_ref().map(|lost| lost.buses)
            && (before - after).abs() <= (TOLERANCE * before).max(LOST)
    }
}

/// Whether an outage cuts off another load than is kept.
fn loses_otherwise(analysis: &Analysis<'_>, outage: Element, kept: &Outcome) -> bool {
    let Element::Branch(branch) = outage else { return false };
    let now = analysis.lost(branch);
    let load = |lost: &super::LostIsland| lost.load.max(0.0);
    match (&now, &kept.lost) {
        (Some(now), Some(kept)) => now.buses != kept.buses || (load(now) - load(kept)).abs() > (TOLERANCE * load(kept)).max(LOST),
        (now, kept) => now.is_some() != kept.is_some(),
    }
}
