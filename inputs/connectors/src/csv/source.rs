//! Lines to rows. Readings need their sensor's quantity, so the sensors are read first; the rest is streamed.

use super::lines::Table;
use super::translate::{MeasurementColumns, SensorColumns, SwitchColumns};
use super::{BadLine, Config};
use gridflow_inputs::Input;
use gridflow_inputs::ids::SensorId;
use gridflow_inputs::input::Quantity;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

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
