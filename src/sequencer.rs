//! The sequencer: gives each row its place `(epoch, sequence)` and writes the timers' ticks.
//!
//! Epochs strictly increase in steps of the epoch length: `max(clock, previous + step)`. A tick rings in the first
//! epoch at or after its time, behind the rows that arrived in it; ticks are rows, so a replay has them.

use gridflow_inputs::input::{Tick, Timer};
use gridflow_inputs::{Epoch, Input};

/// How often each timer rings, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cadence {
    /// State estimation.
    pub estimate_ms: u64,
    /// Dispatch.
    pub dispatch_ms: u64,
    /// Forecast.
    pub forecast_ms: u64,
}

impl Default for Cadence {
    fn default() -> Self {
        Self { estimate_ms: 5_000, dispatch_ms: 300_000, forecast_ms: 900_000 }
    }
}

/// Gives rows their places.
#[derive(Clone, Debug)]
pub struct Sequencer {
    step_ms: u64,
    cadence: Cadence,
    last: Option<Epoch>,
}

impl Sequencer {
    /// A sequencer whose first epoch comes after `last`, if given.
    ///
    /// # Panics
    /// When the step is zero.
    #[must_use]
    pub fn new(step_ms: u64, cadence: Cadence, last: Option<Epoch>) -> Self {
        assert!(step_ms > 0, "an epoch has a length");
        Self { step_ms, cadence, last }
    }

    /// Closes an epoch at `clock_ms`: its number, and its rows with the ticks that rang, in sequence order.
    pub fn seal(&mut self, clock_ms: u64, rows: Vec<Input>) -> (Epoch, Vec<Input>) {
        let clock = clock_ms / self.step_ms * self.step_ms;
        let epoch = self.last.map_or(clock, |last| clock.max(last + self.step_ms));
        let mut sealed = Vec::with_capacity(rows.len());
        // Rows first: all that arrived in the epoch is what the ticks' solves rest on.
        sealed.extend(rows);
        let Cadence { estimate_ms, dispatch_ms, forecast_ms } = self.cadence;
        for (timer, every_ms) in [(Timer::Estimate, estimate_ms), (Timer::Forecast, forecast_ms), (Timer::Dispatch, dispatch_ms)] {
            let due = epoch / every_ms * every_ms;
            if self.last.is_none_or(|last| due > last) {
                sealed.push(Tick { timer, event_ms: due as i64 }.into());
            }
        }
        self.last = Some(epoch);
        (epoch, sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(rows: &[Input]) -> Vec<(Timer, i64)> {
        rows.iter()
            .filter_map(|row| match row {
                Input::Tick(tick) => Some((tick.timer, tick.event_ms)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn epochs_increase_even_when_the_clock_does_not() {
        let mut sequencer = Sequencer::new(1_000, Cadence::default(), None);
        assert_eq!(sequencer.seal(7_300, Vec::new()).0, 7_000);
        assert_eq!(sequencer.seal(6_000, Vec::new()).0, 8_000);
        assert_eq!(sequencer.seal(8_999, Vec::new()).0, 9_000);
        assert_eq!(sequencer.seal(60_000, Vec::new()).0, 60_000);
    }

    #[test]
    fn a_timer_rings_once_for_each_of_its_times_that_an_epoch_reaches() {
        let mut sequencer = Sequencer::new(1_000, Cadence::default(), Some(299_000));
        assert_eq!(ticks(&sequencer.seal(300_000, Vec::new()).1), [(Timer::Estimate, 300_000), (Timer::Dispatch, 300_000)]);
        assert_eq!(ticks(&sequencer.seal(304_000, Vec::new()).1), []);
        // Epochs 305 to 311 were skipped under overload: one tick, for the newest of the times passed.
        assert_eq!(ticks(&sequencer.seal(312_000, Vec::new()).1), [(Timer::Estimate, 310_000)]);
    }
}
