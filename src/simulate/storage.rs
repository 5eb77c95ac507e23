//! What the storage units of the truth do: a fixed daily cycle, charging 01:00 to 05:00 and discharging 17:00 to 21:00
//! local time, with a quarter of an hour to rise and to fall.
//!
//! Open loop: decisions of the engine do not reach the truth. Power is positive into the grid, MW.

use gridflow_inputs::ids::StorageId;
use gridflow_inputs::input::StorageTelemetry;
use gridflow_inputs::network::Storage;
use gridflow_inputs::units::{MilliCelsius, MilliWatts, PartsPerMillion};

const HOUR: i64 = 3_600_000;

/// A storage unit in its cycle.
#[derive(Clone, Debug)]
pub(super) struct StorageUnit {
    row: Storage,
    utc_offset_ms: i64,
    charge_mw: f64,
    discharge_mw: f64,
    /// State of charge, 0 to 1.
    soc: f64,
    discharged_mwh: f64,
    p_mw: f64,
}

impl StorageUnit {
    pub(super) fn new(row: &Storage, utc_offset_ms: i64) -> Self {
        let (charging, discharging) = (row.charge_efficiency.ratio(), row.discharge_efficiency.ratio());
        // Nine tenths of the band in 3.75 hours at full power, as far as the power limits and the other half allow.
        let band = 0.9 * row.capacity.mwh() * (row.soc_max.ratio() - row.soc_min.ratio()).max(0.0);
        let hours = 3.75;
        let stored = (row.charge_max.mw() * hours * charging).min(row.discharge_max.mw() * hours / discharging.max(1e-6)).min(band);
        Self {
            utc_offset_ms,
            charge_mw: stored / hours / charging.max(1e-6),
            discharge_mw: stored / hours * discharging,
            soc: row.soc_start.ratio(),
            discharged_mwh: 0.0,
            p_mw: 0.0,
            row: row.clone(),
        }
    }

    /// Power by the daily cycle at a time.
    pub(super) fn scheduled_mw(&self, time_ms: i64) -> f64 {
        let hour = (time_ms + self.utc_offset_ms).rem_euclid(24 * HOUR) as f64 / HOUR as f64;
        let window = |from: f64| (4.0 * (hour - from)).min(4.0 * (from + 4.0 - hour)).clamp(0.0, 1.0);
        self.discharge_mw * window(17.0) - self.charge_mw * window(1.0)
    }

    pub(super) fn id(&self) -> StorageId {
        self.row.id
    }

    /// Present power.
    pub(super) fn p_mw(&self) -> f64 {
        self.p_mw
    }

    /// Holds the power of `time_ms` for `duration_ms`, as long as the state of charge stays in its band.
    pub(super) fn step(&mut self, time_ms: i64, duration_ms: i64) {
        let hours = duration_ms as f64 / HOUR as f64;
        let wanted = self.scheduled_mw(time_ms);
        let inside =
            if wanted > 0.0 { -wanted / self.row.discharge_efficiency.ratio() } else { -wanted * self.row.charge_efficiency.ratio() };
        let soc = self.soc + inside * hours / self.row.capacity.mwh();
        self.p_mw = 0.0;
        if wanted != 0.0 && soc.is_finite() && (self.row.soc_min.ratio()..=self.row.soc_max.ratio()).contains(&soc) {
            self.soc = soc;
            self.p_mw = wanted;
            self.discharged_mwh += wanted.max(0.0) * hours;
        }
    }

    /// What it reports.
    pub(super) fn telemetry(&self, event_ms: i64, ambient_deg_c: f64) -> StorageTelemetry {
        let cycles = self.discharged_mwh / self.row.capacity.mwh().max(1e-9);
        StorageTelemetry {
            storage: self.row.id,
            event_ms,
            soc: PartsPerMillion::from_ratio(self.soc).unwrap_or_default(),
            p: MilliWatts::from_mw(self.p_mw).unwrap_or_default(),
            // Cells in a conditioned room: little of the weather, and 5 K at full power.
            temperature: MilliCelsius::from_deg_c(
                22.0 + 0.1 * (ambient_deg_c - 22.0) + 5.0 * self.p_mw.abs() / self.row.discharge_max.mw().max(1e-9),
            )
            .unwrap_or_default(),
            milli_cycles: (cycles * 1_000.0) as i64,
            capacity: self.row.capacity,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridflow_inputs::ids::BusId;
    use gridflow_inputs::units::{MicroPerMwh, MilliWattHours};

    #[test]
    fn a_unit_goes_through_one_cycle_a_day_within_its_band() {
        let row = Storage {
            id: StorageId(1),
            valid_from_ms: 0,
            name: "battery".to_owned(),
            bus: BusId(1),
            capacity: MilliWattHours::from_mwh(100.0).unwrap(),
            charge_max: MilliWatts::from_mw(50.0).unwrap(),
            discharge_max: MilliWatts::from_mw(50.0).unwrap(),
            charge_efficiency: PartsPerMillion(950_000),
            discharge_efficiency: PartsPerMillion(950_000),
            soc_min: PartsPerMillion(100_000),
            soc_max: PartsPerMillion(900_000),
            soc_start: PartsPerMillion(150_000),
            wear_cost: MicroPerMwh(0),
            in_service: true,
        };
        let mut unit = StorageUnit::new(&row, 0);
        let mut steepest = 0.0_f64;
        for step in 0..8_640 {
            let before = unit.p_mw;
            unit.step(step * 10_000, 10_000);
            steepest = steepest.max((unit.p_mw - before).abs());
            assert!((0.1..=0.9).contains(&unit.soc), "soc {}", unit.soc);
        }
        assert!((0.149..0.151).contains(&unit.soc), "the day ends at {}", unit.soc);
        assert!((68.0..69.0).contains(&unit.discharged_mwh) && steepest < 0.3, "{} MWh, {steepest} MW", unit.discharged_mwh);
    }
}
