//! The workload as rows of a Gridflow log.
//!
//! A sensor row's `feeder` is the bus the sensor sits at, and an assignment of that bus says which feeder that is; a move
//! is a new sensor row that is valid from the move on. Repetitions have revision 0 like their originals: the later
//! arrival wins.

use gridflow_inputs::Input;
use gridflow_inputs::ids::{BusId, FeederId, SensorId, SourceId, ZoneId};
use gridflow_inputs::input::{FeederAssignment, Measurement, Quality, Quantity, Region, Sensor};
use gridflow_inputs::network::{EquipmentKind, Side};
use gridflow_inputs::units::{MicroHertz, MilliVoltAmperes};

use super::{BUSES, Record, WorkloadConfig, feeder_of, first_bus};

/// Name of the region.
pub const WORKLOAD_REGION: &str = "w1";
/// Senders; a bus's sensors share one.
pub const SOURCES: u32 = 16;
/// The only zone.
pub const ZONE: ZoneId = ZoneId(1);
/// How late a reading may be, milliseconds.
const LATENESS_MS: i64 = 600_000;

fn sensor_row(config: &WorkloadConfig, sensor: u32, bus: u32, valid_from_ms: i64) -> Input {
    Sensor {
        id: SensorId(sensor),
        valid_from_ms,
        quantity: Quantity::MeteredPower,
        element: EquipmentKind::Feeder,
        element_id: bus,
        side: Side::None,
        sigma: 0,
        range_min: i64::from(i32::MIN),
        range_max: i64::from(i32::MAX),
        feeder: FeederId(bus),
        zone: ZONE,
        period_ms: config.period_ms as i64,
        source: SourceId(bus % SOURCES),
    }
    .into()
}

/// The rows that stand before the first record: the region, where each bus belongs, where each sensor sits.
#[must_use]
pub fn rows_before(config: &WorkloadConfig) -> Vec<Input> {
    let region = Region {
        name: WORKLOAD_REGION.into(),
        currency: "USD".into(),
        base_power: MilliVoltAmperes(100_000_000_000),
        epoch_ms: config.epoch_ms as i64,
        utc_offset_ms: 0,
        frequency: MicroHertz(60_000_000),
        lateness_scada_ms: LATENESS_MS,
        lateness_meter_ms: LATENESS_MS,
    };
    let assignments = (0..BUSES).map(|bus| FeederAssignment { bus: BusId(bus), valid_from_ms: 0, feeder: FeederId(feeder_of(bus)) }.into());
    let sensors = (0..config.sensors).map(|sensor| sensor_row(config, sensor, first_bus(sensor), 0));
    std::iter::once(region.into()).chain(assignments).chain(sensors).collect()
}

/// A record as a row.
#[must_use]
pub fn row(config: &WorkloadConfig, record: &Record) -> Input {
    let event_ms = record.ts_ms as i64;
    if record.kind == Record::MOVE {
        return sensor_row(config, record.sensor, record.value as u32, event_ms);
    }
    let quality = match record.quality {
        0 => Quality::Good,
        1 => Quality::Doubtful,
        2 => Quality::Bad,
        _ => Quality::Withdrawn,
    };
    Measurement { sensor: SensorId(record.sensor), event_ms, revision: 0, value: i64::from(record.value), quality }.into()
}
