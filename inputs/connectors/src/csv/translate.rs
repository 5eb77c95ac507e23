//! Cells to rows: names to codes, customary units to fixed point, with checks that an element can have its quantity.

use super::BadLine;
use gridflow_inputs::ids::{FeederId, SensorId, SourceId, SwitchId, ZoneId};
use gridflow_inputs::input::{Measurement, Quality, Quantity, Sensor, SwitchStatus};
use gridflow_inputs::network::{EquipmentKind, Side};
use gridflow_inputs::table::{Header, Row, shown};
use gridflow_inputs::time::parse_rfc3339;
use gridflow_inputs::units::{MicroAmperes, MicroHertz, MicroRadians, MicroVolts, MilliVars, MilliWatts, to_fixed};
use std::collections::BTreeMap;

/// Names of the quantities, and the elements they can sit at; none where any will do.
const QUANTITIES: [(&str, Quantity, &[EquipmentKind]); 13] = [
    ("voltage_magnitude_kv", Quantity::VoltageMagnitude, &[EquipmentKind::Bus]),
    ("voltage_angle_deg", Quantity::VoltageAngle, &[EquipmentKind::Bus]),
    ("active_injection_mw", Quantity::ActiveInjection, &[EquipmentKind::Bus]),
    ("reactive_injection_mvar", Quantity::ReactiveInjection, &[EquipmentKind::Bus]),
    ("active_flow_mw", Quantity::ActiveFlow, &[EquipmentKind::Branch, EquipmentKind::DcLine]),
    ("reactive_flow_mvar", Quantity::ReactiveFlow, &[EquipmentKind::Branch]),
    ("current_magnitude_ka", Quantity::CurrentMagnitude, &[EquipmentKind::Branch]),
    ("active_load_mw", Quantity::ActiveLoad, &[EquipmentKind::Load]),
    ("reactive_load_mvar", Quantity::ReactiveLoad, &[EquipmentKind::Load]),
    ("active_generation_mw", Quantity::ActiveGeneration, &[EquipmentKind::Generator, EquipmentKind::Storage]),
    ("reactive_generation_mvar", Quantity::ReactiveGeneration, &[EquipmentKind::Generator, EquipmentKind::Storage]),
    ("frequency_hz", Quantity::Frequency, &[EquipmentKind::Bus, EquipmentKind::Zone]),
    ("metered_power_mw", Quantity::MeteredPower, &[EquipmentKind::Feeder, EquipmentKind::Bus, EquipmentKind::Zone]),
];

const ELEMENTS: [(&str, EquipmentKind); 9] = [
    ("bus", EquipmentKind::Bus),
    ("branch", EquipmentKind::Branch),
    ("generator", EquipmentKind::Generator),
    ("load", EquipmentKind::Load),
    ("shunt", EquipmentKind::Shunt),
    ("storage", EquipmentKind::Storage),
    ("dc_line", EquipmentKind::DcLine),
    ("zone", EquipmentKind::Zone),
    ("feeder", EquipmentKind::Feeder),
];

/// A value in the customary unit as the sensor's quantity holds it.
fn fixed(quantity: Quantity, value: f64) -> Option<i64> {
    Some(match quantity {
        Quantity::VoltageMagnitude => MicroVolts::from_kv(value)?.0,
        Quantity::VoltageAngle => MicroRadians::from_rad(value * std::f64::consts::PI / 180.0)?.0,
        Quantity::ActiveInjection | Quantity::ActiveFlow | Quantity::ActiveLoad | Quantity::ActiveGeneration | Quantity::MeteredPower => {
            MilliWatts::from_mw(value)?.0
        }
        Quantity::ReactiveInjection | Quantity::ReactiveFlow | Quantity::ReactiveLoad | Quantity::ReactiveGeneration => {
            MilliVars::from_mvar(value)?.0
        }
        Quantity::CurrentMagnitude => MicroAmperes::from_ka(value)?.0,
        Quantity::Frequency => MicroHertz::from_hz(value)?.0,
    })
}

/// Places of the columns of `sensors.csv`.
pub(super) struct SensorColumns {
    pub(super) id: usize,
    quantity: usize,
    element: usize,
    element_id: usize,
    side: usize,
    sigma: usize,
    range_min: usize,
    range_max: usize,
    feeder: usize,
    zone: usize,
    period_s: usize,
    source: usize,
}

impl SensorColumns {
    pub(super) fn of(header: &Header) -> Result<Self, BadLine> {
        Ok(Self {
            id: header.column("id")?,
            quantity: header.column("quantity")?,
            element: header.column("element")?,
            element_id: header.column("element_id")?,
            side: header.column("side")?,
            sigma: header.column("sigma")?,
            range_min: header.column("range_min")?,
            range_max: header.column("range_max")?,
            feeder: header.column("feeder")?,
            zone: header.column("zone")?,
            period_s: header.column("period_s")?,
            source: header.column("source")?,
        })
    }

    pub(super) fn sensor(&self, row: &Row<'_>, valid_from_ms: i64) -> Result<Sensor, BadLine> {
        let found = |column: usize| shown(row.text(column));
        let quantity = QUANTITIES.iter().find(|(name, ..)| *name == row.text(self.quantity));
        let (name, quantity, elements) = quantity
            .ok_or_else(|| row.error(self.quantity, format!("expected a quantity with its unit, found {}", found(self.quantity))))?;
        let element = ELEMENTS.iter().find(|(name, _)| *name == row.text(self.element)).map(|(_, element)| *element);
        let element =
            element.ok_or_else(|| row.error(self.element, format!("expected a kind of element, found {}", found(self.element))))?;
        if !elements.contains(&element) {
            return Err(row.error(self.element, format!("a {} has no {name}", row.text(self.element))));
        }
        let two_ended = matches!(element, EquipmentKind::Branch | EquipmentKind::DcLine);
        let side = match row.text(self.side) {
            "from" if two_ended => Side::From,
            "to" if two_ended => Side::To,
            "none" | "" if !two_ended => Side::None,
            _ if two_ended => return Err(row.error(self.side, format!("expected from or to, found {}", found(self.side)))),
            _ => {
                return Err(
                    row.error(self.side, format!("expected none, found {}: a {} has no sides", found(self.side), row.text(self.element)))
                );
            }
        };
        let value = |column: usize| row.quantity(column, |value| fixed(*quantity, value));
        let sigma = value(self.sigma)?;
        if sigma <= 0 {
            return Err(row.error(self.sigma, format!("expected a positive standard deviation, found {}", found(self.sigma))));
        }
        let (range_min, range_max) = (value(self.range_min)?, value(self.range_max)?);
        if range_min >= range_max {
            return Err(
                row.error(self.range_max, format!("the range is empty: {} to {}", row.text(self.range_min), row.text(self.range_max)))
            );
        }
        let period_ms = row.quantity(self.period_s, |seconds| to_fixed(seconds, 1000.0).filter(|ms| *ms > 0))?;
        Ok(Sensor {
            id: SensorId(row.integer(self.id)?),
            valid_from_ms,
            quantity: *quantity,
            element,
            element_id: row.integer(self.element_id)?,
            side,
            sigma,
            range_min,
            range_max,
            feeder: FeederId(row.integer(self.feeder)?),
            zone: ZoneId(row.integer(self.zone)?),
            period_ms,
            source: SourceId(row.integer(self.source)?),
        })
    }
}

/// Places of the columns of `measurements.csv`.
pub(super) struct MeasurementColumns {
    sensor: usize,
    time: usize,
    value: usize,
    quality: Option<usize>,
    revision: Option<usize>,
}

impl MeasurementColumns {
    pub(super) fn of(header: &Header) -> Result<Self, BadLine> {
        Ok(Self {
            sensor: header.column("sensor")?,
            time: header.column("time")?,
            value: header.column("value")?,
            quality: header.find("quality"),
            revision: header.find("revision"),
        })
    }

    pub(super) fn measurement(&self, row: &Row<'_>, quantities: &BTreeMap<SensorId, Quantity>) -> Result<Measurement, BadLine> {
        let sensor = SensorId(row.integer(self.sensor)?);
        let quantity = quantities.get(&sensor).copied();
        let quantity =
            quantity.ok_or_else(|| row.error(self.sensor, format!("sensor {sensor} is not known: the unit of its value is not either")))?;
        Ok(Measurement {
            sensor,
            event_ms: time(row, self.time)?,
            revision: self.revision.map_or(Ok(0), |column| row.integer(column))?,
            value: row.quantity(self.value, |value| fixed(quantity, value))?,
            quality: quality(row, self.quality)?,
        })
    }
}

/// Places of the columns of `switches.csv`.
pub(super) struct SwitchColumns {
    switch: usize,
    time: usize,
    state: usize,
    quality: Option<usize>,
}

impl SwitchColumns {
    pub(super) fn of(header: &Header) -> Result<Self, BadLine> {
        let (switch, time, state) = (header.column("switch")?, header.column("time")?, header.column("state")?);
        Ok(Self { switch, time, state, quality: header.find("quality") })
    }

    pub(super) fn status(&self, row: &Row<'_>) -> Result<SwitchStatus, BadLine> {
        let closed = match row.text(self.state) {
            "closed" | "1" => true,
            "open" | "0" => false,
            other => return Err(row.error(self.state, format!("expected open, closed, 0 or 1, found {}", shown(other)))),
        };
        let (switch, event_ms) = (SwitchId(row.integer(self.switch)?), time(row, self.time)?);
        Ok(SwitchStatus { switch, event_ms, closed, quality: quality(row, self.quality)? })
    }
}

/// A time in RFC 3339, or in UTC milliseconds.
fn time(row: &Row<'_>, column: usize) -> Result<i64, BadLine> {
    let text = row.text(column);
    if let Ok(ms) = text.parse::<i64>() {
        return Ok(ms);
    }
    parse_rfc3339(text).map_err(|error| row.error(column, format!("{error}, or UTC milliseconds; found {}", shown(text))))
}

fn quality(row: &Row<'_>, column: Option<usize>) -> Result<Quality, BadLine> {
    let Some(column) = column else { return Ok(Quality::Good) };
    match row.text(column) {
        "good" | "0" => Ok(Quality::Good),
        "doubtful" | "1" => Ok(Quality::Doubtful),
        "bad" | "2" => Ok(Quality::Bad),
        "withdrawn" | "3" => Ok(Quality::Withdrawn),
        other => Err(row.error(column, format!("expected good, doubtful, bad, withdrawn or 0 to 3, found {}", shown(other)))),
    }
}
