//! Time series that drive a simulation: load by zone, available power by unit, temperature and price by zone.
//!
//! Values are MW, °C or currency per MWh, equidistant, each held constant over its step. Two forms are read.
//!
//! **RTS-GMLC** (`REAL_TIME_<kind>.csv` or `DAY_AHEAD_<kind>.csv`, kind one of `regional_Load`, `wind`, `pv`, `rtpv`,
//! `hydro`; a suffix such as `_derived` may follow the kind): columns `Year,Month,Day,Period` and then zones or units.
//! Real time wins over day ahead where both are there. A day has 24 or 288 periods; period 1 begins at 00:00 UTC−7 all
//! year. All of it is available power, load aside.
//!
//! **Plain**: every other `.csv` of the directory. First column `time` (RFC 3339) or `time_ms` (UTC); the others are
//! `load_mw:<zone>`, `available_mw:<unit>`, `temperature_deg_c:<zone>`, `price_per_mwh:<zone>`. At least two rows.
//!
//! A gap, an empty cell or anything that is no number is an error that names file, line and column.

use crate::ids::ZoneId;
use crate::table::{Header, ParseError, Row, for_each_row, read_text, shown};
use crate::time::{HOUR_MS, day_ms, format_rfc3339, parse_rfc3339};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a series is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SeriesKey {
    /// Load of a zone, MW, positive.
    ZoneLoad(ZoneId),
    /// Greatest power a unit can give, MW; the unit by its name in the network file.
    UnitAvailable(String),
    /// Air temperature in a zone, °C.
    ZoneTemperature(ZoneId),
    /// Price of energy in a zone, currency per MWh.
    ZonePrice(ZoneId),
}

impl std::fmt::Display for SeriesKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ZoneLoad(zone) => write!(f, "load_mw:{zone}"),
            Self::UnitAvailable(unit) => write!(f, "available_mw:{unit}"),
            Self::ZoneTemperature(zone) => write!(f, "temperature_deg_c:{zone}"),
            Self::ZonePrice(zone) => write!(f, "price_per_mwh:{zone}"),
        }
    }
}

/// An equidistant series; value `i` holds from `start_ms + i · step_ms` for one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Start of the first step, UTC milliseconds.
    pub start_ms: i64,
    /// Length of a step, positive.
    pub step_ms: i64,
    /// The values, finite.
    pub values: Vec<f64>,
}

impl Series {
    /// The value that holds at an event time; `None` before the first step and after the last.
    #[must_use]
    pub fn at(&self, event_ms: i64) -> Option<f64> {
        let step = event_ms.checked_sub(self.start_ms)?.checked_div_euclid(self.step_ms)?;
        self.values.get(usize::try_from(step).ok()?).copied()
    }

    /// End of the last step, UTC milliseconds.
    #[must_use]
    pub fn end_ms(&self) -> i64 {
        self.start_ms.saturating_add(self.step_ms.saturating_mul(self.values.len() as i64))
    }
}

/// Series by what they are of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profiles {
    /// The series.
    pub series: BTreeMap<SeriesKey, Series>,
}

impl Profiles {
    /// The value of a series at an event time; `None` when there is no such series, or none of its steps holds then.
    #[must_use]
    pub fn at(&self, key: &SeriesKey, event_ms: i64) -> Option<f64> {
        self.series.get(key)?.at(event_ms)
    }

    /// The time for which all series have values: from the latest start to the earliest end; `None` when there is none.
    #[must_use]
    pub fn span_ms(&self) -> Option<(i64, i64)> {
        let start = self.series.values().map(|series| series.start_ms).max()?;
        let end = self.series.values().map(Series::end_ms).min()?;
        (start < end).then_some((start, end))
    }

    fn add(&mut self, file: &str, other: Self) -> Result<(), ParseError> {
        for (key, series) in other.series {
            if self.series.contains_key(&key) {
                return Err(ParseError {
                    file: file.to_owned(),
                    line: 1,
                    column: key.to_string(),
                    reason: "another file has this series already".into(),
                });
            }
            self.series.insert(key, series);
        }
        Ok(())
    }
}

/// The kinds of RTS-GMLC files: loads name zones, the others units.
const RTS_KINDS: [&str; 5] = ["regional_Load", "wind", "pv", "rtpv", "hydro"];

/// Local standard time of RTS-GMLC minus UTC; it has no daylight saving time.
pub const RTS_UTC_OFFSET_MS: i64 = -7 * HOUR_MS;

/// Reads a directory: RTS-GMLC files when there are any, else all plain `.csv` files; or one file, by its name.
///
/// # Errors
/// When nothing can be read, or a file is not as this module's page says.
pub fn read(path: &Path) -> Result<Profiles, ParseError> {
    let paths = if path.is_dir() { csv_files(path)? } else { vec![path.to_owned()] };
    let mut profiles = Profiles::default();
    let rts: Vec<&PathBuf> = RTS_KINDS.iter().filter_map(|kind| rts_file(&paths, kind)).collect();
    let chosen = if rts.is_empty() { paths.iter().collect() } else { rts };
    for file in chosen {
        let (name, text) = (file.display().to_string(), read_text(file)?);
        let read = match rts_kind(file) {
            Some(kind) => rts_series(&name, kind == "regional_Load", &text)?,
            None => plain_series(&name, &text)?,
        };
        profiles.add(&name, read)?;
    }
    if profiles.series.is_empty() {
        return Err(ParseError::file(
            &path.display().to_string(),
            "there is no time series here: expected RTS-GMLC files or plain .csv files",
        ));
    }
    Ok(profiles)
}

/// The `.csv` files of a directory, by name.
fn csv_files(directory: &Path) -> Result<Vec<PathBuf>, ParseError> {
    let error = |error: std::io::Error| ParseError::file(&directory.display().to_string(), format!("cannot be listed: {error}"));
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(error)? {
        let path = entry.map_err(error)?.path();
        if path.is_file() && path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The kind of an RTS-GMLC file, by its name.
fn rts_kind(path: &Path) -> Option<&'static str> {
    let stem = path.file_stem()?.to_str()?;
    let rest = stem.strip_prefix("REAL_TIME_").or_else(|| stem.strip_prefix("DAY_AHEAD_"))?;
    let of_kind = |kind: &&str| rest.strip_prefix(*kind).is_some_and(|suffix| suffix.is_empty() || suffix.starts_with('_'));
    RTS_KINDS.into_iter().find(of_kind)
}

/// The file of a kind: real time before day ahead, then the first by name.
fn rts_file<'a>(paths: &'a [PathBuf], kind: &str) -> Option<&'a PathBuf> {
    let day_ahead = |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"DAY_AHEAD"));
    paths.iter().filter(|path| rts_kind(path) == Some(kind)).min_by_key(|path| (day_ahead(path), path.as_path()))
}

/// Reads an RTS-GMLC file from memory; its columns are zones when `loads`, else units.
///
/// # Errors
/// When the file is not as this module's page says.
pub fn rts_series(file: &str, loads: bool, text: &str) -> Result<Profiles, ParseError> {
    let mut rows = Columns::default();
    let mut days: Vec<(i64, u64)> = Vec::new(); // (midnight, line) of each row, until the first day is complete
    let mut step_ms = None;
    let mut expected_ms = 0;
    for_each_row(file, text, |header, row| {
        let [year, month, day, period] = ["Year", "Month", "Day", "Period"].map(|name| header.column(name));
        let (day_column, period_column) = (day?, period?);
        let midnight = day_ms(row.integer(year?)?, row.integer(month?)?, row.integer(day_column)?);
        let midnight = midnight.ok_or_else(|| row.error(day_column, "the calendar has no such day"))?;
        let period: i64 = row.integer(period_column)?;
        // The number of periods of the first day tells their length; it is known when the second day begins.
        if step_ms.is_none() && days.first().is_some_and(|(first, _)| *first != midnight) {
            let step = step_of(file, &days)?;
            expected_ms = days[0].0 + days.len() as i64 * step;
            step_ms = Some(step);
        }
        let in_order = match step_ms {
            None => {
                days.push((midnight, row.line()));
                period == days.len() as i64
            }
            Some(step) => {
                let at_ms =
                    period.checked_sub(1).and_then(|before| before.checked_mul(step)).filter(|within| (0..24 * HOUR_MS).contains(within));
                let in_order = at_ms.is_some_and(|within| midnight + within == expected_ms);
                expected_ms += step;
                in_order
            }
        };
        if !in_order {
            return Err(row.error(
                period_column,
                format!("expected the period that follows the row above, found period {period} of {}", format_rfc3339(midnight)),
            ));
        }
        rows.push(
            header,
            row,
            4,
            |name| if loads { zone(name).map(SeriesKey::ZoneLoad) } else { Some(SeriesKey::UnitAvailable(name.to_owned())) },
        )
    })?;
    let Some((first, _)) = days.first() else { return Err(ParseError::file(file, "the file has no rows")) };
    let step_ms = step_ms.map_or_else(|| step_of(file, &days), Ok)?;
    Ok(rows.into_profiles(first - RTS_UTC_OFFSET_MS, step_ms))
}

/// Length of a period, from the rows of the first day.
fn step_of(file: &str, day: &[(i64, u64)]) -> Result<i64, ParseError> {
    match day.len() {
        24 => Ok(HOUR_MS),
        288 => Ok(HOUR_MS / 12),
        other => {
            let line = day.last().map_or(0, |(_, line)| *line);
            let reason = format!("expected 24 or 288 periods in the first day, found {other}");
            Err(ParseError { file: file.to_owned(), line, column: "Period".to_owned(), reason })
        }
    }
}

/// Reads a plain file from memory.
///
/// # Errors
/// When the file is not as this module's page says.
pub fn plain_series(file: &str, text: &str) -> Result<Profiles, ParseError> {
    let mut rows = Columns::default();
    let (mut first, mut last, mut step) = (0i64, 0i64, 0i64);
    for_each_row(file, text, |header, row| {
        let event_ms = match header.names().first().map(String::as_str) {
            Some("time") => parse_rfc3339(row.text(0)).map_err(|error| row.error(0, format!("{error}, found {}", shown(row.text(0)))))?,
            Some("time_ms") => row.integer(0)?,
            _ => return Err(row.error(0, "expected time or time_ms as the first column")),
        };
        match rows.len() {
            0 => first = event_ms,
            1 => step = event_ms.checked_sub(first).filter(|step| *step > 0).ok_or_else(|| row.error(0, "the times do not ascend"))?,
            _ if last.checked_add(step) == Some(event_ms) => {}
            _ => {
                return Err(row.error(0, format!("the rows above are {step} ms apart, this one does not follow them by as much")));
            }
        }
        last = event_ms;
        rows.push(header, row, 1, plain_key)
    })?;
    if rows.len() < 2 {
        return Err(ParseError::file(file, "expected at least two rows, which tell the step"));
    }
    Ok(rows.into_profiles(first, step))
}

fn plain_key(name: &str) -> Option<SeriesKey> {
    let (kind, of) = name.split_once(':')?;
    match kind {
        "load_mw" => zone(of).map(SeriesKey::ZoneLoad),
        "available_mw" if !of.is_empty() => Some(SeriesKey::UnitAvailable(of.to_owned())),
        "temperature_deg_c" => zone(of).map(SeriesKey::ZoneTemperature),
        "price_per_mwh" => zone(of).map(SeriesKey::ZonePrice),
        _ => None,
    }
}

fn zone(text: &str) -> Option<ZoneId> {
    text.parse().ok().map(ZoneId)
}

/// Values of a file, column by column.
#[derive(Default)]
struct Columns {
    columns: Vec<(SeriesKey, Vec<f64>)>,
    rows: usize,
}

impl Columns {
    fn len(&self) -> usize {
        self.rows
    }

    /// Takes the cells of a row from column `from` on; `key` names their series.
    fn push(&mut self, header: &Header, row: &Row<'_>, from: usize, key: impl Fn(&str) -> Option<SeriesKey>) -> Result<(), ParseError> {
        if self.rows == 0 {
            for (column, name) in header.names().iter().enumerate().skip(from) {
                let key =
                    key(name).ok_or_else(|| ParseError { line: 1, ..row.error(column, "the column names no series this reader knows") })?;
                if self.columns.iter().any(|(other, _)| *other == key) {
                    return Err(ParseError { line: 1, ..row.error(column, "an earlier column has this series already") });
                }
                self.columns.push((key, Vec::new()));
            }
        }
        for ((key, values), column) in self.columns.iter_mut().zip(from..) {
            let value = row.number(column)?;
            if value < 0.0 && matches!(key, SeriesKey::UnitAvailable(_)) {
                return Err(row.error(column, format!("available power is negative: {value}")));
            }
            values.push(value);
        }
        self.rows += 1;
        Ok(())
    }

    fn into_profiles(self, start_ms: i64, step_ms: i64) -> Profiles {
        let series = self.columns.into_iter().map(|(key, values)| (key, Series { start_ms, step_ms, values }));
        Profiles { series: series.collect() }
    }
}

#[cfg(test)]
#[path = "profiles_tests.rs"]
mod tests;
