//! Lines to rows. Readings need their sensor's quantity, so the sensors are read first; the rest is streamed.

use super::{BadLine, Config};
use gridflow_inputs::Input;
use gridflow_inputs::ids::{FeederId, SensorId, SourceId, SwitchId, ZoneId};
use gridflow_inputs::input::{Measurement, Quality, Quantity, Sensor, SwitchStatus};
use gridflow_inputs::network::{EquipmentKind, Side};
use gridflow_inputs::table::{Header, Row, shown};
use gridflow_inputs::time::parse_rfc3339;
use gridflow_inputs::units::{MicroAmperes, MicroHertz, MicroRadians, MicroVolts, MilliVars, MilliWatts, to_fixed};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Longest line that is read; what is longer is a bad line.
const LINE_BYTES: usize = 64 * 1024;

/// Rows of an export, bad lines among them.
pub struct Source {
    /// Sensors, and bad lines of their table.
    sensors: std::vec::IntoIter<Result<Input, BadLine>>,
    quantities: BTreeMap<SensorId, Quantity>,
    /// Readings and switch states, each with its next row.
    streams: Vec<Stream>,
}

struct Stream {
    table: Table,
    kind: StreamKind,
    next: Option<Result<Input, BadLine>>,
}

enum StreamKind {
    Measurements(MeasurementColumns),
    Switches(SwitchColumns),
}

impl Source {
    /// Opens the files and reads the sensors.
    ///
    /// # Errors
    /// When a file cannot be opened, is empty, or its header lacks a column.
    pub fn open(config: &Config) -> Result<Self, BadLine> {
        let measurements = config.measurements.as_deref().map(open).transpose()?;
        let switches = config.switches.as_deref().map(open).transpose()?;
        Self::from_readers(open(&config.sensors)?, measurements, switches, config.valid_from_ms)
    }

    /// As [`open`](Self::open), from anything that gives bytes; each with its name for messages.
    ///
    /// # Errors
    /// When a table cannot be read, is empty, or its header lacks a column.
    pub fn from_readers(
        sensors: (String, Box<dyn BufRead>),
        measurements: Option<(String, Box<dyn BufRead>)>,
        switches: Option<(String, Box<dyn BufRead>)>,
        valid_from_ms: i64,
    ) -> Result<Self, BadLine> {
        let mut table = Table::open(sensors)?;
        let columns = SensorColumns::of(&table.header)?;
        let mut rows = Vec::new();
        let mut quantities = BTreeMap::new();
        while let Some(row) = table.next(|row| {
            let sensor = columns.sensor(row, valid_from_ms)?;
            if quantities.insert(sensor.id, sensor.quantity).is_some() {
                return Err(row.error(columns.id, format!("sensor {} is there already", sensor.id)));
            }
            Ok(sensor.into())
        }) {
            rows.push(row);
        }
        let mut streams = Vec::new();
        if let Some(reader) = measurements {
            let table = Table::open(reader)?;
            let kind = StreamKind::Measurements(MeasurementColumns::of(&table.header)?);
            streams.push(Stream { table, kind, next: None });
        }
        if let Some(reader) = switches {
            let table = Table::open(reader)?;
            let kind = StreamKind::Switches(SwitchColumns::of(&table.header)?);
            streams.push(Stream { table, kind, next: None });
        }
        let mut source = Self { sensors: rows.into_iter(), quantities, streams };
        for stream in &mut source.streams {
            stream.advance(&source.quantities);
        }
        Ok(source)
    }
}

impl Iterator for Source {
    type Item = Result<Input, BadLine>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(row) = self.sensors.next() {
            return Some(row);
        }
        // The earliest row goes first; a bad line has no time and goes at once; at a tie the first stream wins.
        let stream = self.streams.iter_mut().filter(|stream| stream.next.is_some()).min_by_key(|stream| stream.event_ms())?;
        let row = stream.next.take();
        stream.advance(&self.quantities);
        row
    }
}

impl Stream {
    fn event_ms(&self) -> i64 {
        match &self.next {
            Some(Ok(Input::Measurement(row))) => row.event_ms,
            Some(Ok(Input::SwitchStatus(row))) => row.event_ms,
            _ => i64::MIN,
        }
    }

    fn advance(&mut self, quantities: &BTreeMap<SensorId, Quantity>) {
        let kind = &self.kind;
        self.next = self.table.next(|row| match kind {
            StreamKind::Measurements(columns) => columns.measurement(row, quantities).map(Input::from),
            StreamKind::Switches(columns) => columns.status(row).map(Input::from),
        });
    }
}

fn open(path: &Path) -> Result<(String, Box<dyn BufRead>), BadLine> {
    let name = path.display().to_string();
    match File::open(path) {
        Ok(file) => Ok((name, Box::new(BufReader::with_capacity(1 << 16, file)))),
        Err(error) => Err(BadLine::file(&name, format!("cannot be opened: {error}"))),
    }
}

/// A table that is read line by line.
struct Table {
    reader: Box<dyn BufRead>,
    file: String,
    line: u64,
    header: Header,
    bytes: Vec<u8>,
    failed: bool,
}

/// What became of a line.
enum Line {
    Whole,
    TooLong,
    End,
}

impl Table {
    fn open((file, reader): (String, Box<dyn BufRead>)) -> Result<Self, BadLine> {
        let header = Header::read(&file, 0, "")?;
        let mut table = Self { reader, file, line: 0, header, bytes: Vec::new(), failed: false };
        loop {
            match table.read_line()? {
                Line::End => return Err(BadLine::file(&table.file, "the file is empty; expected a header line")),
                Line::TooLong => return Err(table.error("the header line is longer than 64 KiB")),
                Line::Whole if table.bytes.trim_ascii().is_empty() => {}
                Line::Whole => {
                    let text = std::str::from_utf8(&table.bytes).map_err(|_| table.error("the text is not UTF-8"))?;
                    table.header = Header::read(&table.file, table.line, text)?;
                    return Ok(table);
                }
            }
        }
    }

    fn error(&self, reason: impl Into<String>) -> BadLine {
        BadLine { line: self.line, ..BadLine::file(&self.file, reason) }
    }

    /// Reads the next line into `bytes`, without its end; a line that is too long is passed over as it comes in.
    fn read_line(&mut self) -> Result<Line, BadLine> {
        self.bytes.clear();
        let (mut begun, mut too_long) = (false, false);
        loop {
            let chunk = match self.reader.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.line += 1;
                    self.failed = true;
                    return Err(self.error(format!("cannot be read: {error}")));
                }
            };
            if chunk.is_empty() && !begun {
                return Ok(Line::End);
            }
            let newline = chunk.iter().position(|byte| *byte == b'\n');
            let part = &chunk[..newline.unwrap_or(chunk.len())];
            too_long |= self.bytes.len() + part.len() > LINE_BYTES;
            if !too_long {
                self.bytes.extend_from_slice(part);
            }
            let (used, end) = (newline.map_or(chunk.len(), |at| at + 1), newline.is_some() || chunk.is_empty());
            self.reader.consume(used);
            begun = true;
            if end {
                self.line += 1;
                return Ok(if too_long { Line::TooLong } else { Line::Whole });
            }
        }
    }

    /// The next line that is not blank, through `translate`; `None` at the end, or after the file could not be read on.
    fn next(&mut self, translate: impl FnOnce(&Row<'_>) -> Result<Input, BadLine>) -> Option<Result<Input, BadLine>> {
        loop {
            if self.failed {
                return None;
            }
            match self.read_line() {
                Err(error) => return Some(Err(error)),
                Ok(Line::End) => return None,
                Ok(Line::TooLong) => return Some(Err(self.error("the line is longer than 64 KiB"))),
                Ok(Line::Whole) if self.bytes.trim_ascii().is_empty() => {}
                Ok(Line::Whole) => {
                    let Ok(text) = std::str::from_utf8(&self.bytes) else { return Some(Err(self.error("the text is not UTF-8"))) };
                    return Some(self.header.row(self.line, text).and_then(|row| translate(&row)));
                }
            }
        }
    }
}

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
struct SensorColumns {
    id: usize,
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
    fn of(header: &Header) -> Result<Self, BadLine> {
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

    fn sensor(&self, row: &Row<'_>, valid_from_ms: i64) -> Result<Sensor, BadLine> {
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
struct MeasurementColumns {
    sensor: usize,
    time: usize,
    value: usize,
    quality: Option<usize>,
    revision: Option<usize>,
}

impl MeasurementColumns {
    fn of(header: &Header) -> Result<Self, BadLine> {
        Ok(Self {
            sensor: header.column("sensor")?,
            time: header.column("time")?,
            value: header.column("value")?,
            quality: header.find("quality"),
            revision: header.find("revision"),
        })
    }

    fn measurement(&self, row: &Row<'_>, quantities: &BTreeMap<SensorId, Quantity>) -> Result<Measurement, BadLine> {
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
struct SwitchColumns {
    switch: usize,
    time: usize,
    state: usize,
    quality: Option<usize>,
}

impl SwitchColumns {
    fn of(header: &Header) -> Result<Self, BadLine> {
        let (switch, time, state) = (header.column("switch")?, header.column("time")?, header.column("state")?);
        Ok(Self { switch, time, state, quality: header.find("quality") })
    }

    fn status(&self, row: &Row<'_>) -> Result<SwitchStatus, BadLine> {
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
