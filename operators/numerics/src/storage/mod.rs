//! Day plan of one battery against prices: when to charge and when to discharge.
//!
//! Maximise `Σ (price · (discharge − charge) − wear · discharge) · hours` over charge, discharge and state of charge:
//!
//! `s' = s + η_c · charge · hours − discharge · hours / η_d`, within power and state-of-charge limits, with an end rule.
//!
//! Charging and discharging never overlap: the linear relaxation is branched on exactly where it lets them (which takes
//! negative prices). Powers in MW, energies in MWh, state of charge as a share of capacity, money in the currency of the
//! prices. The relaxation's cut and the branching are in `plan.rs`, the words of a schedule row in `schedule.rs`.

mod plan;
mod schedule;
#[cfg(test)]
mod tests;

use crate::case::CaseStorage;

pub use plan::plan;
pub use schedule::{Action, Idle, ScheduleRow};

/// A battery.
#[derive(Clone, Debug, PartialEq)]
pub struct Battery {
    /// Energy it can hold, MWh.
    pub capacity_mwh: f64,
    /// Greatest charging power, MW.
    pub charge_mw_max: f64,
    /// Greatest discharging power, MW.
    pub discharge_mw_max: f64,
    /// One-way efficiency of charging, above 0 to 1.
    pub charge_efficiency: f64,
    /// One-way efficiency of discharging, above 0 to 1.
    pub discharge_efficiency: f64,
    /// Least state of charge, 0 to 1.
    pub soc_min: f64,
    /// Greatest state of charge, 0 to 1.
    pub soc_max: f64,
    /// State of charge at the start, 0 to 1.
    pub soc: f64,
    /// Wear, currency per MWh discharged.
    pub wear_cost_per_mwh: f64,
}

impl Battery {
    /// The battery of a case with this base power.
    #[must_use]
    pub fn from_case(storage: &CaseStorage, base_mva: f64) -> Self {
        Self {
            capacity_mwh: storage.capacity * base_mva,
            charge_mw_max: storage.charge_max * base_mva,
            discharge_mw_max: storage.discharge_max * base_mva,
            charge_efficiency: storage.charge_efficiency,
            discharge_efficiency: storage.discharge_efficiency,
            soc_min: storage.soc_min,
            soc_max: storage.soc_max,
            soc: storage.soc,
            wear_cost_per_mwh: storage.wear_cost_per_mwh,
        }
    }

    /// The price at which energy bought at `price_low` is worth selling: `price_low / (η_c η_d) + wear`.
    #[must_use]
    pub fn break_even(&self, price_low: f64) -> f64 {
        price_low / (self.charge_efficiency * self.discharge_efficiency) + self.wear_cost_per_mwh
    }
}

/// What must be left at the end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EndRule {
    /// Nothing.
    Free,
    /// As much as at the start.
    AtLeastStart,
    /// At least this state of charge, 0 to 1.
    AtLeast(f64),
}

/// An offer of regulation beside arbitrage.
#[derive(Clone, Debug, PartialEq)]
pub struct Regulation {
    /// Payment per MW offered and hour, by interval (capacity and expected mileage times score together).
    pub price_per_mw_hour: Vec<f64>,
    /// How long the offered power must be sustained either way, hours.
    pub duration_h: f64,
    /// Weight of arbitrage in the objective.
    pub arbitrage_weight: f64,
    /// Weight of regulation in the objective.
    pub regulation_weight: f64,
}

/// How to plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The end rule.
    pub end: EndRule,
    /// Regulation to offer, if any.
    pub regulation: Option<Regulation>,
    /// Relaxations solved at most; then the best plan found stands, with its gap.
    pub node_limit: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { end: EndRule::AtLeastStart, regulation: None, node_limit: 200 }
    }
}

/// A rule that could not be kept, and by how much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Relaxed {
    /// The start lies below the band: it is left as fast as pays; greatest distance below, MWh.
    StartBelowBand(f64),
    /// The start lies above the band; greatest distance above, MWh.
    StartAboveBand(f64),
    /// The end target is out of reach: what is missing, MWh.
    EndTargetMissed(f64),
}

/// A plan.
#[derive(Clone, Debug, PartialEq)]
pub struct DayPlan {
    /// One row per interval.
    pub rows: Vec<ScheduleRow>,
    /// Income from discharging.
    pub revenue: f64,
    /// Cost of charging.
    pub charging_cost: f64,
    /// Cost of wear.
    pub wear_cost: f64,
    /// Income from regulation, unweighted.
    pub regulation_revenue: f64,
    /// `revenue − charging_cost − wear_cost + regulation_revenue`.
    pub profit: f64,
    /// Energy taken from the grid, MWh.
    pub charge_mwh: f64,
    /// Energy given to the grid, MWh.
    pub discharge_mwh: f64,
    /// Lowest price of the horizon.
    pub price_min: f64,
    /// Highest price of the horizon.
    pub price_max: f64,
    /// Standard deviation of the prices.
    pub price_deviation: f64,
    /// What the lowest price must sell for to pay.
    pub break_even: f64,
    /// Rules that could not be kept.
    pub relaxed: Vec<Relaxed>,
    /// Relaxations solved.
    pub nodes: usize,
    /// By how much a better plan could beat this one's weighted objective at most; 0 when proven best.
    pub gap: f64,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StorageError {
    /// A number of the battery is not possible.
    #[error("the battery's {0} is not possible")]
    Battery(&'static str),
    /// Prices are missing or not finite, or the interval has no length.
    #[error("the horizon is not usable: {0}")]
    Horizon(&'static str),
    /// The solver's answer failed verification.
    #[error("the plan was not solved: {status} after {iterations} iterations")]
    NotSolved {
        /// What the solver says.
        status: &'static str,
        /// Iterations it took.
        iterations: u32,
    },
}
