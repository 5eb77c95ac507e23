//! A failure that stands: the outcome row of a method that did not succeed, with since when, withdrawn when cured.

use crate::decision::{Failure, Outcome, Solver};

/// What a method could not do: why, after how many iterations, and in words.
pub(crate) type Failed = (Failure, u32, String);

/// The present failure of one key, and since when it stands.
#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Standing(Option<(Failure, i64)>);

impl Standing {
    /// Takes what a solve came to; gives the row that holds from now on. The same failure keeps the time it began.
    pub(crate) fn outcome(&mut self, solver: Solver, key: u32, now_ms: i64, failed: Option<Failed>) -> Option<Outcome> {
        let Some((failure, iterations, message)) = failed else {
            self.0 = None;
            return None;
        };
        let since_ms = self.0.filter(|(before, _)| *before == failure).map_or(now_ms, |(_, since_ms)| since_ms);
        self.0 = Some((failure, since_ms));
        Some(Outcome { solver, key, since_ms, failure, iterations, message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_the_time_it_began_until_it_is_cured_or_another_takes_its_place() {
        let mut standing = Standing::default();
        let mut since = |now_ms, failure: Option<Failure>| {
            standing.outcome(Solver::Dispatch, 1, now_ms, failure.map(|failure| (failure, 0, String::new()))).map(|row| row.since_ms)
        };
        assert_eq!(since(1, Some(Failure::NoData)), Some(1));
        assert_eq!(since(2, Some(Failure::NoData)), Some(1));
        assert_eq!(since(3, Some(Failure::Infeasible)), Some(3));
        assert_eq!(since(4, None), None);
        assert_eq!(since(5, Some(Failure::Infeasible)), Some(5));
    }
}
