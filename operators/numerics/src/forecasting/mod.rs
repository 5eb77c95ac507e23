//! Load forecasts for the next day or week in slots of 15 minutes: ridge regression and what remains without it.
//!
//! A forecast issued for slot `issue` reads values of slots before `issue` only; temperature may be foreseen. Each day of
//! the horizon has its own model, whose lags are known at issue: "yesterday" becomes the day before that for the second
//! day. Models are fitted anew at each issue, on at most eight weeks. Falls back ridge → ridge without weather → same
//! time last week → same time yesterday → persistence, and names what it used. Units are the caller's.

mod features;
mod ridge;
#[cfg(test)]
mod tests;

pub use features::{day_waves, degrees, weekday};
pub use ridge::Ridge;

use features::{Features, Series};

/// Slots of a day.
pub const SLOTS_PER_DAY: i64 = 96;
/// Slots of a week.
const WEEK: i64 = 7 * SLOTS_PER_DAY;
/// Length of a slot in milliseconds.
pub const SLOT_MS: i64 = 900_000;
/// Longest history a model is fitted on: older values tell of another season.
const DAYS_MAX: i64 = 56;
/// Shortest history, and share of it that must be known, for a model.
const DAYS_MIN: i64 = 14;
/// Gaps up to this many slots are bridged by a line.
const BRIDGED: usize = 4;
/// λ of the regression: features are standardised, so it is a share of a feature's own variance.
const PENALTY: f64 = 2e-2;

/// A known slot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slot {
    /// Event time in milliseconds divided by [`SLOT_MS`].
    pub index: i64,
    /// Mean value over the slot.
    pub value: f64,
    /// Mean air temperature over the slot, degrees Celsius, if known.
    pub temperature: Option<f64>,
}

/// How a forecast was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Regression on calendar, past load and temperature.
    Ridge,
    /// Regression without temperature: it was not known or not foreseen throughout.
    RidgeWithoutWeather,
    /// The newest known value a whole number of weeks earlier.
    SameTimeLastWeek,
    /// The newest known value a whole number of days earlier.
    SameTimeYesterday,
    /// The last known value.
    Persistence,
}

/// A forecast.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// How it was made.
    pub method: Method,
    /// Values of the slots `issue`, `issue + 1`, …
    pub values: Vec<f64>,
}

/// Forecasts `horizon` slots from `issue_slot` on.
///
/// `history` may hold slots in any order (of equal ones the last counts) and with gaps; slots at or after the issue and
/// values that are not finite are not read. `future_temperature` begins at the issue slot; missing ones cost the weather
/// features. `utc_offset_ms` is local time minus UTC. `None` when nothing is known of the eight weeks before the issue.
#[must_use]
pub fn forecast(
    history: &[Slot],
    issue_slot: i64,
    horizon: usize,
    future_temperature: &[Option<f64>],
    utc_offset_ms: i64,
) -> Option<Forecast> {
    let first = issue_slot - DAYS_MAX * SLOTS_PER_DAY;
    let length = (DAYS_MAX * SLOTS_PER_DAY) as usize;
    let (mut load, mut temperature) = (vec![None; length], vec![None; length]);
    for slot in history.iter().filter(|slot| (first..issue_slot).contains(&slot.index)) {
        let place = (slot.index - first) as usize;
        load[place] = Some(slot.value).filter(|value| value.is_finite());
        temperature[place] = slot.temperature.filter(|value| value.is_finite());
    }
    let last = load.iter().rev().copied().find(Option::is_some).flatten()?;
    temperature.extend((0..horizon).map(|ahead| future_temperature.get(ahead).copied().flatten().filter(|value| value.is_finite())));
    bridge(&mut load);
    bridge(&mut temperature);
    let known = Known {
        load: Series::new(first, load),
        temperature: Series::new(first, temperature),
        issue: issue_slot,
        horizon: horizon as i64,
        offset: utc_offset_ms.div_euclid(SLOT_MS),
    };
    let made = |method: Method, values: Option<Vec<f64>>| values.map(|values| Forecast { method, values });
    made(Method::Ridge, known.ridge(true))
        .or_else(|| made(Method::RidgeWithoutWeather, known.ridge(false)))
        .or_else(|| made(Method::SameTimeLastWeek, known.same_time(WEEK, 3)))
        .or_else(|| made(Method::SameTimeYesterday, known.same_time(SLOTS_PER_DAY, 3)))
        .or_else(|| made(Method::Persistence, Some(vec![last; horizon])))
}

/// Fills gaps of at most [`BRIDGED`] slots between two known ones by a straight line.
fn bridge(values: &mut [Option<f64>]) {
    let mut before: Option<(usize, f64)> = None;
    for place in 0..values.len() {
        let Some(value) = values[place] else { continue };
        if let Some((from, start)) = before
            && place - from - 1 <= BRIDGED
        {
            for gap in from + 1..place {
                values[gap] = Some(start + (value - start) * (gap - from) as f64 / (place - from) as f64);
            }
        }
        before = Some((place, value));
    }
}

/// What is known at issue.
struct Known {
    load: Series,
    temperature: Series,
    issue: i64,
    horizon: i64,
    offset: i64,
}

impl Known {
    /// A model per day of the horizon; `None` when the history is too short or a row to forecast is incomplete.
    fn ridge(&self, with_weather: bool) -> Option<Vec<f64>> {
        let known = (1..=DAYS_MIN * SLOTS_PER_DAY).filter(|back| self.load.get(self.issue - back).is_some()).count() as i64;
        if known * 10 < DAYS_MIN * SLOTS_PER_DAY * 9 {
            return None;
        }
        let waves: Vec<_> = (0..SLOTS_PER_DAY).map(day_waves).collect();
        let mut values = Vec::with_capacity(self.horizon as usize);
        let mut day = 0;
        while day * SLOTS_PER_DAY < self.horizon {
            let ahead = day * SLOTS_PER_DAY..self.horizon.min((day + 1) * SLOTS_PER_DAY);
            let features = Features {
                load: &self.load,
                temperature: with_weather.then_some(&self.temperature),
                lag_day: (day + 1) * SLOTS_PER_DAY,
                lag_week: (ahead.end - 1).div_euclid(WEEK) * WEEK + WEEK,
                offset: self.offset,
                waves: &waves,
            };
            let (mut rows, mut targets) = (Vec::new(), Vec::new());
            for slot in self.issue - DAYS_MAX * SLOTS_PER_DAY..self.issue {
                if let Some(target) = self.load.get(slot)
                    && features.push(slot, &mut rows)
                {
                    targets.push(target);
                }
            }
            let mut row = Vec::new();
            let complete = ahead.clone().all(|ahead| {
                row.clear();
                features.push(self.issue + ahead, &mut row)
            });
            // A week of rows is the least that has seen every weekday.
            if !complete || (targets.len() as i64) < 6 * SLOTS_PER_DAY {
                return None;
            }
            let model = Ridge::fit(&rows, &targets, row.len(), PENALTY)?;
            for ahead in ahead {
                row.clear();
                features.push(self.issue + ahead, &mut row);
                values.push(model.predict(&row));
            }
            day += 1;
        }
        Some(values)
    }

    /// The newest known value a multiple of `period` earlier, at most `tries` periods before the newest possible.
    fn same_time(&self, period: i64, tries: i64) -> Option<Vec<f64>> {
        let value = |ahead: i64| {
            let nearest = ahead.div_euclid(period) + 1;
            (nearest..nearest + tries).find_map(|periods| self.load.get(self.issue + ahead - periods * period))
        };
        (0..self.horizon).map(value).collect()
    }
}
