//! The ranked view of single outages, kept up to date: what a change of the grid touches is solved again, the rest keeps its
//! outcome and grows old.
//!
//! An outage is touched when what its branch or its worst branch carries without any outage has moved by a share of the rating
//! (5 % by default) since it was solved, when its branch was switched, or when what it cuts off has changed. So slow drifts add
//! up and are noticed too. Every so many moments everything is solved again. Time is a number given from outside.

use super::dc::{Analysis, Options as DcOptions};
use super::{ContingencyError, Element, Outcome, Rating};
use crate::case::Case;
use gridflow_inputs::ids::BranchId;

/// When outages are solved again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// How they are solved.
    pub dc: DcOptions,
    /// Change of a flow, as a share of the rating, that touches an outage.
    pub change: f64,
    /// Everything is solved again when the last time was so long ago.
    pub refresh_after: u64,
}

impl Options {
    /// A change of 5 % and a given time between full refreshes.
    #[must_use]
    pub fn new(refresh_after: u64) -> Self {
        Self { dc: DcOptions::default(), change: 0.05, refresh_after }
    }
}

/// An outage in the view; values as of `solved_at`.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The branch that fails.
    pub branch: BranchId,
    /// The outcome; indices are those of the case it was solved on.
    pub outcome: Outcome,
    /// The most loaded branch.
    pub worst: Option<BranchId>,
    /// When it was solved.
    pub solved_at: u64,
    /// What the branch and the worst one carried then without an outage.
    carried: [f64; 2],
}

/// The view.
#[derive(Clone, Debug)]
pub struct Ranking {
    options: Options,
    /// By branch.
    rows: Vec<Row>,
    refreshed_at: Option<u64>,
}

impl Ranking {
    /// An empty view.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, rows: Vec::new(), refreshed_at: None }
    }

    /// Brings the view to `case` at the moment `now`; the number of outages solved again.
    ///
    /// # Errors
    /// When the case has no DC power flow; the view then stays as it was.
    pub fn update(&mut self, case: &Case, now: u64) -> Result<usize, ContingencyError> {
        let analysis = Analysis::new(case, self.options.dc)?;
        let full = self.refreshed_at.is_none_or(|at| now.saturating_sub(at) >= self.options.refresh_after);
        let mut rows = Vec::with_capacity(case.branches.len());
        let mut touched = Vec::new();
        for (index, branch) in case.branches.iter().enumerate() {
            let known = self.rows.binary_search_by_key(&branch.id, |row| row.branch).ok().map(|place| &self.rows[place]);
            match known.filter(|row| !full && !self.touches(case, &analysis, index, row)) {
                Some(row) => rows.push(Some(row.clone())),
                None => {
                    touched.push(vec![Element::Branch(index)]);
                    rows.push(None);
                }
            }
        }
        let mut solved = analysis.solve(&touched).into_iter();
        let flows = analysis.base_flows();
        let fresh = |index: usize, outcome: Outcome| Row {
            branch: case.branches[index].id,
            worst: outcome.worst_branch.map(|worst| case.branches[worst].id),
            carried: [flows[index], outcome.worst_branch.map_or(0.0, |worst| flows[worst])],
            solved_at: now,
            outcome,
        };
        let complete = rows.into_iter().enumerate().filter_map(|(index, row)| row.or_else(|| Some(fresh(index, solved.next()?))));
        self.rows = complete.collect();
        if full {
            self.refreshed_at = Some(now);
        }
        Ok(touched.len())
    }

    /// Rows, the most severe first.
    #[must_use]
    pub fn rows(&self) -> Vec<&Row> {
        let mut rows = Vec::from_iter(&self.rows);
        rows.sort_by(|a, b| {
            let (one, other) = (&a.outcome, &b.outcome);
            other.unsolved.is_some().cmp(&one.unsolved.is_some()).then(other.max_loading.total_cmp(&one.max_loading))
        });
        rows
    }

    fn touches(&self, case: &Case, analysis: &Analysis<'_>, index: usize, row: &Row) -> bool {
        let moved = |branch: usize, then: f64| {
            let now = analysis.base_flows()[branch];
            let rating = Rating::of(self.options.dc.rating, &case.branches[branch]);
            // Without a rating the flow itself is the measure.
            let scale = if rating.is_finite() { rating } else { then.abs().max(now.abs()) };
            (now - then).abs() > self.options.change * scale
        };
        analysis.lost(index).map(|lost| lost.buses) != row.outcome.lost.as_ref().map(|lost| lost.buses)
            || moved(index, row.carried[0])
            || match row.worst.map(|worst| case.branch_index(worst)) {
                Some(Some(worst)) => moved(worst, row.carried[1]),
                // The worst branch was switched off.
                Some(None) => true,
                None => false,
            }
    }
}
