//! Alarms of sensors: stale ones, which say nothing new, whatever they measure, and stuck ones, which say the same.
//!
//! A sensor is stale when its newest good reading is older than three of its periods, half a minute at least; looked at
//! when the estimator is about to use readings.

use gridflow_inputs::ids::FeederId;

use super::sensors::{Cell, NEVER};
use super::{Telemetry, TelemetryOutput};
use crate::decision::{Alarm, AlarmKind};

impl Telemetry {
    /// Raises alarms of what has become stale.
    pub(super) fn check_stale(&mut self, now: i64, out: &mut Vec<TelemetryOutput>) {
        // A new reading ends an alarm when it comes; without one only a new version of the sensor can.
        for sensor in std::mem::take(&mut self.perhaps_fresh).into_iter().map(|sensor| sensor as usize) {
            let Cell { stale, newest_ms, .. } = self.sensors.cells[sensor];
            if stale && newest_ms != NEVER && now <= self.fresh_until(sensor) {
                self.set_alarm(now, sensor, AlarmKind::Stale, false, newest_ms, out);
                self.stale_after[sensor] = self.fresh_until(sensor);
            }
        }
        let overdue: Vec<u32> = (0u32..).zip(&self.stale_after).filter(|(_, until)| now > **until).map(|(sensor, _)| sensor).collect();
        for sensor in overdue.into_iter().map(|sensor| sensor as usize) {
            let fresh_until = self.fresh_until(sensor);
            if now <= fresh_until {
                self.stale_after[sensor] = fresh_until;
                continue;
            }
            let newest_ms = self.sensors.cells[sensor].newest_ms;
            self.set_alarm(now, sensor, AlarmKind::Stale, true, newest_ms, out);
            self.stale_after[sensor] = i64::MAX;
        }
    }

    /// When the newest reading becomes stale, unless it is already.
    pub(super) fn becomes_stale(&self, sensor: usize) -> i64 {
        let cell = &self.sensors.cells[sensor];
        if !cell.stale && cell.newest_ms != NEVER { self.fresh_until(sensor) } else { i64::MAX }
    }

    pub(super) fn fresh_until(&self, sensor: usize) -> i64 {
        self.sensors.cells[sensor].newest_ms + self.sensors.cells[sensor].fresh_ms
    }

    pub(super) fn set_alarm(
        &mut self,
        now: i64,
        sensor: usize,
        kind: AlarmKind,
        raised: bool,
        since_ms: i64,
        out: &mut Vec<TelemetryOutput>,
    ) {
        let key = (sensor as u32, kind);
        if raised {
            let version = self.sensors.version(sensor, now);
            let bus = version.feeder.0;
            let feeder = FeederId(self.places.known_bus(bus).map_or(bus, |bus| bus.feeder(now)));
            let alarm = Alarm { kind, equipment: version.element, id: version.id.0, feeder, since_ms };
            out.push(TelemetryOutput::Row(alarm.clone().into(), 1));
            self.alarms.insert(key, alarm);
        } else if let Some(old) = self.alarms.remove(&key) {
            out.push(TelemetryOutput::Row(old.into(), -1));
        }
        let cell = &mut self.sensors.cells[sensor];
        match kind {
            AlarmKind::Stale => cell.stale = raised,
            _ => cell.stuck = raised,
        }
    }
}
