//! What a window says about its readings, and the lengths of windows: exact integers, so that parts add up in any order.
//!
//! Least and greatest cannot be taken back: whoever withdraws one of them must look at the other readings again.

use gridflow_inputs::input::Quantity;
use serde::{Deserialize, Serialize};

use crate::decision::{Window, WindowScope};

/// Lengths of windows; each is a multiple of all shorter ones.
pub const LENGTHS_MS: [i64; 4] = [60_000, 300_000, 900_000, 3_600_000];

/// Start of the window of a length that holds a time.
pub(crate) fn floor(event_ms: i64, length_ms: i64) -> i64 {
    event_ms.div_euclid(length_ms) * length_ms
}

/// The square of a value; it cannot overflow, and need not be asked whether it does.
#[inline]
pub(crate) fn square(value: i64) -> i128 {
    i128::from(value).wrapping_mul(i128::from(value))
}

/// Count, sums and extremes of the good readings of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Aggregate {
    pub(crate) count: i64,
    pub(crate) sum: i128,
    pub(crate) sum_squares: i128,
    /// Least and greatest; where there are none, the greatest and the least number there is.
    pub(crate) min: i64,
    pub(crate) max: i64,
    /// Whether there are readings at all, bad ones too.
    pub(crate) seen: bool,
}

impl Default for Aggregate {
    fn default() -> Self {
        Self { count: 0, sum: 0, sum_squares: 0, min: i64::MAX, max: i64::MIN, seen: false }
    }
}

impl Aggregate {
    /// Adds the readings of another part.
    pub(crate) fn combine(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.sum_squares += other.sum_squares;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.seen |= other.seen;
    }

    /// The row that states it.
    pub(crate) fn window(&self, scope: WindowScope, id: u32, quantity: Quantity, start_ms: i64, length_ms: i64, revision: u32) -> Window {
        Window {
            scope,
            id,
            quantity,
            start_ms,
            length_ms,
            revision,
            count: self.count,
            sum: self.sum,
            sum_squares: self.sum_squares,
            min: (self.count > 0).then_some(self.min),
            max: (self.count > 0).then_some(self.max),
        }
    }
}
