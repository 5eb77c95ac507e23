//! Rows of a storage schedule and why an idle interval is idle.
//!
//! An interval is judged against every other price of the horizon: it could sell what the cheapest one bought, or buy
//! for the dearest one. What stands in the way is named by taking it away: wear, losses, the band, or a better use.

use super::Battery;

/// What a battery does in an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Takes power from the grid.
    Charge,
    /// Gives power to the grid.
    Discharge,
    /// Neither.
    Idle,
}

/// Why a battery is idle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Idle {
    /// No other price is far enough: even without wear, or even without losses, a trade would not pay.
    SpreadTooSmall,
    /// A trade would pay without the losses.
    EfficiencyTooLow,
    /// A trade would pay without the wear.
    WearTooHigh,
    /// A trade would pay, but the battery is full or empty.
    SocLimit,
    /// A trade would pay, but all of its energy or room earns more in other intervals: the battery is small for the day.
    Undersized,
    /// The power is offered as regulation.
    Reserved,
}

/// An interval of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleRow {
    /// Number of the interval, from 0.
    pub interval: usize,
    /// What it does.
    pub action: Action,
    /// Power of the action, MW, not negative.
    pub power_mw: f64,
    /// State of charge at the end of the interval, percent.
    pub soc_pct: f64,
    /// Price of the interval.
    pub price: f64,
    /// Regulation offered, MW.
    pub regulation_mw: f64,
    /// Why it is idle, when it is.
    pub idle: Option<Idle>,
}

/// Whether energy could be sold at `price` or bought for resale, given the other prices.
fn pays(price: f64, lowest: f64, highest: f64, efficiency: f64, wear: f64) -> bool {
    price > lowest / efficiency + wear || highest > price / efficiency + wear
}

/// Why interval `at` is idle while the battery holds share `soc` of its capacity.
pub(super) fn idle_reason(battery: &Battery, prices: &[f64], at: usize, soc: f64, regulation_mw: f64) -> Idle {
    let (price, efficiency, wear) = (prices[at], battery.charge_efficiency * battery.discharge_efficiency, battery.wear_cost_per_mwh);
    let others = || prices.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, price)| *price);
    let (lowest, highest) = (others().fold(f64::INFINITY, f64::min), others().fold(f64::NEG_INFINITY, f64::max));
    if !pays(price, lowest, highest, efficiency, wear) {
        return match (pays(price, lowest, highest, efficiency, 0.0), pays(price, lowest, highest, 1.0, wear)) {
            (true, _) => Idle::WearTooHigh,
            (false, true) => Idle::EfficiencyTooLow,
            (false, false) => Idle::SpreadTooSmall,
        };
    }
    let sells = price > lowest / efficiency + wear;
    let buys = highest > price / efficiency + wear;
    let (empty, full) = (soc <= battery.soc_min + 1e-6, soc >= battery.soc_max - 1e-6);
    if regulation_mw > 1e-6 {
        Idle::Reserved
    } else if (sells && empty) || (buys && full) {
        Idle::SocLimit
    } else {
        Idle::Undersized
    }
}
