//! A row of a matrix of the file: takes values by column, checks them, and names column and place where they are wrong.

use super::text::{Matrix, Source};
use crate::network_file::{RAD_PER_DEG, UNLIMITED};
use crate::row::{Canonical, Real};
use crate::table::{ParseError, number};
use crate::units::{MilliVoltAmperes, MilliWatts, to_fixed};

/// What a matrix may look like: its columns' names, and the numbers of columns that occur.
pub(super) struct Shape {
    pub(super) names: &'static [&'static str],
    pub(super) counts: &'static [usize],
}

pub(super) const BUS: Shape = Shape {
    names: &["bus_i", "type", "Pd", "Qd", "Gs", "Bs", "area", "Vm", "Va", "baseKV", "zone", "Vmax", "Vmin"],
    counts: &[13, 17], // 17: with the prices of a solved case
};
pub(super) const GEN: Shape = Shape {
    names: &[
        "bus", "Pg", "Qg", "Qmax", "Qmin", "Vg", "mBase", "status", "Pmax", "Pmin", "Pc1", "Pc2", "Qc1min", "Qc1max", "Qc2min", "Qc2max",
        "ramp_agc", "ramp_10", "ramp_30", "ramp_q", "apf",
    ],
    counts: &[10, 21, 25],
};
pub(super) const BRANCH: Shape = Shape {
    names: &["fbus", "tbus", "r", "x", "b", "rateA", "rateB", "rateC", "ratio", "angle", "status", "angmin", "angmax"],
    counts: &[13, 17, 21],
};
pub(super) const DCLINE: Shape = Shape {
    names: &[
        "fbus", "tbus", "status", "Pf", "Pt", "Qf", "Qt", "Vf", "Vt", "Pmin", "Pmax", "QminF", "QmaxF", "QminT", "QmaxT", "loss0", "loss1",
    ],
    counts: &[17, 23],
};

/// A row of a matrix: checks values and names them in errors.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) source: Source<'a>,
    pub(super) matrix: &'a Matrix,
    pub(super) names: &'static [&'static str],
    pub(super) thing: &'static str,
    pub(super) row: usize,
}

impl Row<'_> {
    /// An error at one of the row's values.
    pub(super) fn error(&self, column: usize, reason: impl std::fmt::Display) -> ParseError {
        let place = self.matrix.places[self.row * self.matrix.columns + column];
        self.source.error(place, format!("row {} of {}: {reason}", self.row + 1, self.thing))
    }

    pub(super) fn value(&self, column: usize) -> f64 {
        self.matrix.values[self.row * self.matrix.columns + column]
    }

    fn name(&self, column: usize) -> &'static str {
        self.names.get(column).copied().unwrap_or("value")
    }

    pub(super) fn finite(&self, column: usize) -> Result<f64, ParseError> {
        let value = self.value(column);
        if value.is_finite() {
            return Ok(value);
        }
        Err(self.error(column, format!("expected {} as a finite number, found {value}", self.name(column))))
    }

    pub(super) fn real(&self, column: usize) -> Result<Real, ParseError> {
        self.quantity(column, |value| Real::new(value).filter(|real| real.implausible().is_none()))
    }

    pub(super) fn radians(&self, column: usize) -> Result<Real, ParseError> {
        let value = self.finite(column)? * RAD_PER_DEG;
        Real::new(value).ok_or_else(|| self.error(column, "expected a finite number"))
    }

    pub(super) fn integer(&self, column: usize, least: u32) -> Result<u32, ParseError> {
        let value = self.value(column);
        if value >= f64::from(least) && value <= f64::from(u32::MAX) && value.fract() == 0.0 {
            return Ok(value as u32);
        }
        Err(self.error(column, format!("expected {} as an integer from {least} on, found {value}", self.name(column))))
    }

    pub(super) fn quantity<T>(&self, column: usize, from: impl Fn(f64) -> Option<T>) -> Result<T, ParseError> {
        let value = self.finite(column)?;
        from(value).ok_or_else(|| self.error(column, format!("{} {} is beyond what a row may hold", self.name(column), number(value))))
    }

    /// A power limit; `Inf` and what is beyond a row's range are unlimited.
    fn limit(&self, column: usize) -> i64 {
        let value = self.value(column);
        to_fixed(value, MilliWatts::PER_MW).unwrap_or(if value > 0.0 { UNLIMITED } else { -UNLIMITED })
    }

    /// A lower and an upper power limit, in that order.
    pub(super) fn limits(&self, low: usize, high: usize) -> Result<(i64, i64), ParseError> {
        let (least, greatest) = (self.limit(low), self.limit(high));
        if least > greatest {
            let (low_name, high_name) = (self.name(low), self.name(high));
            return Err(self.error(low, format!("{low_name} {} is above {high_name} {}", self.value(low), self.value(high))));
        }
        Ok((least, greatest))
    }

    /// A rating; 0, `Inf` and what is beyond a row's range are unlimited, written 0.
    pub(super) fn rating(&self, column: usize) -> Result<MilliVoltAmperes, ParseError> {
        let value = self.value(column);
        if value < 0.0 {
            return Err(self.error(column, format!("{} is negative: {value}", self.name(column))));
        }
        Ok(MilliVoltAmperes::from_mva(value).filter(|rating| rating.0 < UNLIMITED).unwrap_or_default())
    }

    /// An angle limit; beyond ±360° is unlimited, written ±360°.
    pub(super) fn angle_limit(&self, column: usize) -> Result<Real, ParseError> {
        let value = self.value(column).clamp(-360.0, 360.0) * RAD_PER_DEG;
        Real::new(value).ok_or_else(|| self.error(column, "expected an angle"))
    }
}
