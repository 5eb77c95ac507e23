//! What a load depends on: calendar, its own past, temperature; one row of numbers per slot of 15 minutes.
//!
//! Local time comes from an offset to UTC alone; day 0 of the epoch is a Thursday. All that a row reads of the series
//! lies at least `lag_day` slots before its own, so that a row of the training set knows no more than a row forecast.

use super::SLOTS_PER_DAY;

/// Waves of the day used: 24, 12, 8 and 6 hours.
const WAVES: usize = 4;
/// Below this temperature heating starts, degrees Celsius.
const HEATING_BELOW: f64 = 18.0;
/// Above this temperature cooling starts.
const COOLING_ABOVE: f64 = 21.0;

/// Sine and cosine of the local time of day for the waves 24 h, 12 h, 8 h, 6 h.
///
/// `slot_of_day` counts quarters of an hour from local midnight: 72 (18 h) gives (-1, 0) first.
#[must_use]
pub fn day_waves(slot_of_day: i64) -> [(f64, f64); WAVES] {
    std::array::from_fn(|wave| {
        let turns = slot_of_day as f64 / SLOTS_PER_DAY as f64 * (wave + 1) as f64;
        libm::sincos(std::f64::consts::TAU * turns)
    })
}

/// Weekday of a local slot: Monday is 0, Sunday 6.
#[must_use]
pub fn weekday(local_slot: i64) -> usize {
    (local_slot.div_euclid(SLOTS_PER_DAY) + 3).rem_euclid(7) as usize
}

/// Heating and cooling degrees of a temperature.
#[must_use]
pub fn degrees(temperature: f64) -> (f64, f64) {
    ((HEATING_BELOW - temperature).max(0.0), (temperature - COOLING_ABOVE).max(0.0))
}

/// A dense stretch of a series from `first` on; `None` where nothing is known.
pub(super) struct Series {
    first: i64,
    values: Vec<Option<f64>>,
    /// Sum and count of the known values before each place.
    sums: Vec<(f64, usize)>,
}

impl Series {
    pub(super) fn new(first: i64, values: Vec<Option<f64>>) -> Self {
        let mut sums = vec![(0.0, 0)];
        for value in &values {
            let (sum, count) = sums[sums.len() - 1];
            sums.push(value.map_or((sum, count), |value| (sum + value, count + 1)));
        }
        Self { first, values, sums }
    }

    pub(super) fn get(&self, slot: i64) -> Option<f64> {
        let place = usize::try_from(slot - self.first).ok()?;
        self.values.get(place).copied().flatten()
    }

    /// Mean of the day that ends with `slot`; `None` when less than half of it is known.
    fn day_mean(&self, slot: i64) -> Option<f64> {
        let place = |slot: i64| (slot - self.first).clamp(0, self.values.len() as i64) as usize;
        let (before, upto) = (self.sums[place(slot + 1 - SLOTS_PER_DAY)], self.sums[place(slot + 1)]);
        let count = upto.1 - before.1;
        (count as i64 >= SLOTS_PER_DAY / 2).then(|| (upto.0 - before.0) / count as f64)
    }
}

/// How rows are made.
pub(super) struct Features<'a> {
    /// The load, known before the issue slot only.
    pub(super) load: &'a Series,
    /// The temperature, past and foreseen; `None` when weather is not used.
    pub(super) temperature: Option<&'a Series>,
    /// Slots of the lag that stands for yesterday.
    pub(super) lag_day: i64,
    /// Slots of the lag that stands for the same weekday.
    pub(super) lag_week: i64,
    /// Local time minus UTC in slots.
    pub(super) offset: i64,
    /// Waves by slot of the day.
    pub(super) waves: &'a [[(f64, f64); WAVES]],
}

impl Features<'_> {
    /// Appends the row of `slot`; `false`, with `row` as it was, when something it needs is unknown.
    pub(super) fn push(&self, slot: i64, row: &mut Vec<f64>) -> bool {
        let length = row.len();
        let complete = self.try_push(slot, row).is_some();
        if !complete {
            row.truncate(length);
        }
        complete
    }

    fn try_push(&self, slot: i64, row: &mut Vec<f64>) -> Option<()> {
        let (day, week) = (slot - self.lag_day, slot - self.lag_week);
        // The load: then, its level then.
        row.extend([self.load.get(day)?, self.load.get(week)?, self.load.day_mean(day)?, self.load.day_mean(week)?]);
        // The calendar.
        let local = slot + self.offset;
        let waves = &self.waves[local.rem_euclid(SLOTS_PER_DAY) as usize];
        row.extend(waves.iter().flat_map(|(sin, cos)| [*sin, *cos]));
        let (today, then) = (weekday(local), weekday(local - self.lag_day));
        row.extend((0..6).map(|other| f64::from(u8::from(today == other))));
        // What changes between the day of the lag and this one depends on the hour.
        let weekend = |weekday: usize| f64::from(u8::from(weekday >= 5));
        for change in [weekend(today) - weekend(then), f64::from(u8::from(today == 5)), f64::from(u8::from(today == 0))] {
            row.push(change);
            row.extend(waves[..3].iter().flat_map(|(sin, cos)| [change * sin, change * cos]));
        }
        if let Some(temperature) = self.temperature {
            let now = temperature.get(slot)?;
            let mean = temperature.day_mean(slot)?;
            let (heating, cooling) = degrees(now);
            let (mean_heating, mean_cooling) = degrees(mean);
            row.extend([now, heating, cooling, mean, mean_heating, mean_cooling, cooling * cooling]);
            for lag in [day, week] {
                let (heating_then, cooling_then) = degrees(temperature.get(lag)?);
                let (mean_heating_then, mean_cooling_then) = degrees(temperature.day_mean(lag)?);
                row.extend([heating - heating_then, cooling - cooling_then]);
                row.extend([mean_heating - mean_heating_then, mean_cooling - mean_cooling_then]);
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_six_in_the_evening_the_day_wave_is_minus_one_and_zero() {
        let (sin, cos) = day_waves(72)[0];
        assert!((sin + 1.0).abs() < 1e-15 && cos.abs() < 1e-15);
    }

    #[test]
    fn weekdays_start_with_a_thursday_and_run_back_before_the_epoch() {
        assert_eq!(weekday(0), 3);
        assert_eq!(weekday(-1), 2);
        // 2020-01-01, day 18,262, was a Wednesday.
        assert_eq!(weekday(18_262 * SLOTS_PER_DAY + 95), 2);
    }

    #[test]
    fn a_day_mean_needs_half_of_its_day() {
        let series = Series::new(10, (0..96).map(|i| (i < 48).then_some(2.0)).collect());
        assert_eq!(series.day_mean(105), Some(2.0));
        assert_eq!(series.day_mean(106), None);
        assert_eq!((series.get(9), series.get(10), series.get(200)), (None, Some(2.0), None));
    }
}
