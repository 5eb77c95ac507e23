//! Frames of phasor measurement units: a voltage and an angle of one instant, of which solvers use the newest. They make no windows and
//! are in no account.

use std::sync::Arc;

use gridflow_inputs::input::{PmuSample, Quantity};
use gridflow_inputs::{Epoch, Input};

use super::{FUTURE_MS, Reading, Telemetry, TelemetryOutput};
use crate::decision::Reason;
use crate::hygiene::rejected;

/// Standard deviation of an angle where the sensor's row states that of the magnitude, microradians.
const ANGLE_SIGMA: i64 = 1_000;
/// That of a magnitude where the row states that of the angle: one in so many.
const MAGNITUDE_SIGMA: i64 = 1_000;

impl Telemetry {
    /// Takes a frame of a sensor of voltage or angle; accuracy and range of its row are those of its quantity.
    pub(super) fn take_phasor(&self, epoch: Epoch, sequence: u32, row: &Input, sample: &PmuSample, out: &mut Vec<TelemetryOutput>) {
        let event_ms = sample.event_us.div_euclid(1_000);
        let sensor = self.sensors.find(sample.sensor.0).map(|place| self.sensors.version(place, event_ms));
        let why = match sensor {
            None => Some((Reason::Unknown, sample.voltage.0)),
            Some(_) if event_ms > epoch as i64 + FUTURE_MS => Some((Reason::Future, event_ms)),
            Some(_) if sample.quality.is_bad() => return,
            Some(sensor) => {
                let ranged = match sensor.quantity {
                    Quantity::VoltageMagnitude => Ok(sample.voltage.0),
                    Quantity::VoltageAngle => Ok(sample.angle.0),
                    other => Err((Reason::Malformed, other as i64)),
                };
                let within = |value: &i64| (sensor.range_min..=sensor.range_max).contains(value);
                ranged.map_or_else(Some, |value| (!within(&value)).then_some((Reason::OutOfRange, value)))
            }
        };
        if let Some(why) = why {
            out.push(TelemetryOutput::Row(rejected(epoch, sequence, row, why), 1));
            return;
        }
        let Some(sensor) = sensor else { return };
        let stated = |quantity, otherwise| if sensor.quantity == quantity { sensor.sigma } else { otherwise };
        let magnitude =
            (Quantity::VoltageMagnitude, sample.voltage.0, stated(Quantity::VoltageMagnitude, sample.voltage.0.abs() / MAGNITUDE_SIGMA));
        let angle = (Quantity::VoltageAngle, sample.angle.0, stated(Quantity::VoltageAngle, ANGLE_SIGMA));
        for (quantity, value, sigma) in [magnitude, angle] {
            let sensor = Arc::new(gridflow_inputs::input::Sensor { quantity, sigma, ..sensor.clone() });
            out.push(TelemetryOutput::Phasor(Reading { sensor, event_ms, value }));
        }
    }
}
