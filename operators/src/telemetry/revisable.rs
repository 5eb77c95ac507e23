//! What can still change, by lateness bound: meters may report days late, all other sensors minutes.
//!
//! A sensor measures one quantity for ever and a window is of one quantity, so readings of different bounds meet in no
//! window. What they share (assignments of buses, key figures) is kept until it is final by both.

use std::collections::BTreeMap;

use gridflow_inputs::input::{Quantity, Region};
use gridflow_inputs::units::MAX_MAGNITUDE;
use serde::{Deserialize, Serialize};

use super::minutes::Minutes;
use super::{LATENESS_MS, METER_LATENESS_MS, WindowKey};

/// By which of the region's bounds a reading is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    Scada,
    Meter,
}

impl Bound {
    pub(crate) const ALL: [Self; 2] = [Self::Scada, Self::Meter];

    /// The bound of a quantity.
    #[inline]
    pub(crate) fn of(quantity: Quantity) -> Self {
        if quantity == Quantity::MeteredPower { Self::Meter } else { Self::Scada }
    }
}

/// How late rows may be, in milliseconds, kept within what times can be added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Bounds {
    /// Readings of meters (metered power).
    pub(crate) meter_ms: i64,
    /// All other readings.
    pub(crate) scada_ms: i64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { meter_ms: METER_LATENESS_MS, scada_ms: LATENESS_MS }
    }
}

impl From<&Region> for Bounds {
    fn from(region: &Region) -> Self {
        let within = |stated_ms: i64| stated_ms.clamp(0, MAX_MAGNITUDE);
        Self { meter_ms: within(region.lateness_meter_ms), scada_ms: within(region.lateness_scada_ms) }
    }
}

impl Bounds {
    pub(crate) fn ms(self, bound: Bound) -> i64 {
        match bound {
            Bound::Scada => self.scada_ms,
            Bound::Meter => self.meter_ms,
        }
    }
}

/// What can still change of the readings that go by one bound.
#[derive(Debug)]
pub(super) struct Revisable {
    /// Minutes that begin before this are final, whatever the bound has become.
    pub(super) horizon: i64,
    pub(super) minutes: Minutes,
    /// Sensors that go by this bound, ascending.
    pub(super) sensors: Vec<u32>,
    /// Starts of the longer windows that the newest final minute lies in.
    pub(super) base_starts: [Option<i64>; 3],
    /// How often windows longer than a minute were restated, if ever; of minutes, where the block cannot say.
    pub(super) restated: BTreeMap<WindowKey, u32>,
}

impl Default for Revisable {
    fn default() -> Self {
        let (minutes, sensors, restated) = (Minutes::default(), Vec::new(), BTreeMap::new());
        Self { horizon: i64::MIN / 4, minutes, sensors, base_starts: [None; 3], restated }
    }
}
