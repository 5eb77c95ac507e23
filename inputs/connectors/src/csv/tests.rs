//! Bad lines, good lines, and what a historian may export: each line judged alone.

use super::*;
use gridflow_inputs::Input;
use gridflow_inputs::input::{Measurement, Quality, Quantity, SwitchStatus};
use gridflow_inputs::network::{EquipmentKind, Side};
use gridflow_inputs::units::MilliWatts;
use proptest::prelude::*;
use std::io::{BufRead, BufReader, Cursor, Read};

const SENSORS: &str = "id,quantity,element,element_id,side,sigma,range_min,range_max,feeder,zone,period_s,source\n\
    1,active_flow_mw,branch,7,from,0.5,-500,500,3,1,2.5,9\n\
    2,voltage_angle_deg,bus,3,,0.1,-180,180,3,1,0.02,9\n\
    3,frequency_hz,zone,1,none,0.001,45,65,0,1,1,9\n";
const MEASUREMENTS: &str = "sensor,time,value,quality,revision\n\
    1,2020-01-01T00:00:00Z,12.5,good,0\n\
    2,1577836801000,-90,1,2\n\
    3,2020-01-01T01:00:02+01:00,50.01,bad,0\n";
const SWITCHES: &str = "switch,time,state\n7,2020-01-01T00:00:00.5Z,open\n7,2020-01-01T00:00:01Z,1\n";
const START_MS: i64 = 1_577_836_800_000;

fn named(name: &str, bytes: impl AsRef<[u8]>) -> (String, Box<dyn BufRead>) {
    (name.to_owned(), Box::new(Cursor::new(bytes.as_ref().to_vec())))
}

fn source(sensors: impl AsRef<[u8]>, measurements: impl AsRef<[u8]>, switches: impl AsRef<[u8]>) -> Result<Source, BadLine> {
    let (measurements, switches) = (named("measurements.csv", measurements), named("switches.csv", switches));
    Source::from_readers(named("sensors.csv", sensors), Some(measurements), Some(switches), 0)
}

fn rows(measurements: impl AsRef<[u8]>) -> Vec<Result<Input, String>> {
    let rows = source(SENSORS, measurements, SWITCHES).unwrap();
    rows.skip(3).filter(|row| !matches!(row, Ok(Input::SwitchStatus(_)))).map(|row| row.map_err(|error| error.to_string())).collect()
}

#[test]
fn an_export_becomes_rows_in_the_order_of_event_time() {
    let rows: Vec<Input> = source(SENSORS, MEASUREMENTS, SWITCHES).unwrap().map(|row| row.unwrap()).collect();
    let Input::Sensor(flow) = &rows[0] else { panic!("a sensor comes first") };
    assert_eq!(
        (flow.id.0, flow.quantity, flow.element, flow.element_id, flow.side),
        (1, Quantity::ActiveFlow, EquipmentKind::Branch, 7, Side::From)
    );
    assert_eq!((flow.sigma, flow.range_max, flow.period_ms), (500_000_000, MilliWatts::from_mw(500.0).unwrap().0, 2500));
    assert_eq!((flow.feeder.0, flow.zone.0, flow.source.0), (3, 1, 9));
    let measurement = |sensor, ms, revision, value, quality| {
        let sensor = gridflow_inputs::ids::SensorId(sensor);
        Input::Measurement(Measurement { sensor, event_ms: START_MS + ms, revision, value, quality })
    };
    let status = |ms, closed| {
        let switch = gridflow_inputs::ids::SwitchId(7);
        Input::SwitchStatus(SwitchStatus { switch, event_ms: START_MS + ms, closed, quality: Quality::Good })
    };
    assert_eq!(
        rows[3..],
        [
            measurement(1, 0, 0, 12_500_000_000, Quality::Good),
            status(500, false),
            measurement(2, 1000, 2, -1_570_796, Quality::Doubtful),
            status(1000, true),
            measurement(3, 2000, 0, 50_010_000, Quality::Bad),
        ]
    );
}

#[test]
fn a_bad_line_is_named_and_costs_nothing_but_itself() {
    for (from, to, error) in [
        ("12.5", "NaN", "measurements.csv, line 2, column value: expected a finite number, found \"NaN\""),
        ("12.5", "1e9", "measurements.csv, line 2, column value: 1000000000 is beyond what a row may hold"),
        ("12.5", "", "measurements.csv, line 2, column value: expected a number, the cell is empty"),
        ("12.5", "\"12.5", "measurements.csv, line 2: a quote is not closed on its line"),
        ("12.5,", "", "measurements.csv, line 2: expected 5 cells as in the header, found 4"),
        ("1,2020", "8,2020", "measurements.csv, line 2, column sensor: sensor 8 is not known: the unit of its value is not either"),
        ("1,2020", "-1,2020", "measurements.csv, line 2, column sensor: expected an integer in range, found \"-1\""),
        (
            "00Z,12.5,good",
            "00Z,12.5,fine",
            "measurements.csv, line 2, column quality: expected good, doubtful, bad, withdrawn or 0 to 3, found \"fine\"",
        ),
        ("good,0", "good,65536", "measurements.csv, line 2, column revision: expected an integer in range, found \"65536\""),
    ] {
        let rows = rows(MEASUREMENTS.replacen(from, to, 1));
        assert_eq!(rows.len(), 3, "{to}");
        assert_eq!(rows[0], Err(error.to_owned()), "{to}");
        assert!(rows[1].is_ok() && rows[2].is_ok(), "{to}");
    }
    let rows = rows(MEASUREMENTS.replacen("00:00:00Z", "00:00:00", 1));
    assert!(rows[0].as_ref().unwrap_err().starts_with("measurements.csv, line 2, column time: the time has no offset from UTC"));
}

#[test]
fn bytes_that_are_no_text_and_endless_lines_are_bad_lines() {
    let mut bytes = MEASUREMENTS.as_bytes().to_vec();
    bytes.extend_from_slice(b"1,\xff\xfe,1,good,0\n");
    bytes.extend(std::iter::repeat_n(b'9', 1 << 20));
    bytes.extend_from_slice(b"\n\n1,5,1,good,0");
    let rows = rows(bytes);
    assert_eq!(rows.len(), 6);
    assert_eq!(rows[3], Err("measurements.csv, line 5: the text is not UTF-8".to_owned()));
    assert_eq!(rows[4], Err("measurements.csv, line 6: the line is longer than 64 KiB".to_owned()));
    assert!(rows[5].is_ok());
}

#[test]
fn a_sensor_that_makes_no_sense_is_a_bad_line() {
    for (from, to, error) in [
        ("active_flow_mw,branch", "active_flow,branch", "column quantity: expected a quantity with its unit, found \"active_flow\""),
        ("active_flow_mw,branch", "active_flow_mw,bus", "column element: a bus has no active_flow_mw"),
        ("active_flow_mw,branch", "active_flow_mw,line", "column element: expected a kind of element, found \"line\""),
        ("7,from", "7,", "column side: expected from or to, found \"\""),
        ("7,from,0.5", "7,from,0", "column sigma: expected a positive standard deviation, found \"0\""),
        ("-500,500", "500,500", "column range_max: the range is empty: 500 to 500"),
        ("1,2.5,9", "1,0,9", "column period_s: 0 is beyond what a row may hold"),
    ] {
        let mut rows = source(SENSORS.replacen(from, to, 1), MEASUREMENTS, SWITCHES).unwrap();
        assert_eq!(rows.next().unwrap().unwrap_err().to_string(), format!("sensors.csv, line 2, {error}"));
        assert!(rows.next().unwrap().is_ok());
    }
    let rows: Vec<_> = source(
        format!("{SENSORS}2,frequency_hz,bus,3,to,1,45,65,0,1,1,9\n3,frequency_hz,bus,1,,1,45,65,0,1,1,9\n"),
        MEASUREMENTS,
        SWITCHES,
    )
    .unwrap()
    .filter_map(Result::err)
    .map(|error| error.to_string())
    .collect();
    assert_eq!(
        rows,
        [
            "sensors.csv, line 5, column side: expected none, found \"to\": a bus has no sides",
            "sensors.csv, line 6, column id: sensor 3 is there already"
        ]
    );
}

#[test]
fn a_table_without_its_columns_does_not_open() {
    let error = |result: Result<Source, BadLine>| result.err().map(|error| error.to_string()).unwrap_or_default();
    assert_eq!(error(source("", MEASUREMENTS, SWITCHES)), "sensors.csv: the file is empty; expected a header line");
    let message = error(source(SENSORS, "sensor,when,value\n", SWITCHES));
    assert_eq!(message, "measurements.csv, line 1, column time: the table has no such column");
    assert!(error(source(SENSORS, MEASUREMENTS, "switch,time\n")).contains("column state"));
    let directory = tempfile::tempdir().unwrap();
    assert!(error(Source::open(&Config::directory(directory.path()))).contains("sensors.csv: cannot be opened"));
}

#[test]
fn a_directory_replays_the_same_rows() {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in [("sensors.csv", SENSORS), ("measurements.csv", MEASUREMENTS)] {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let read = || Source::open(&Config::directory(directory.path())).unwrap().collect::<Vec<_>>();
    let rows = read();
    assert_eq!(rows.len(), 6);
    assert_eq!(rows, read());
}

#[test]
fn a_disk_that_fails_is_told_once_and_ends_its_file_only() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("broken"))
        }
    }
    let reader: Box<dyn BufRead> = Box::new(BufReader::new(Cursor::new(MEASUREMENTS.as_bytes().to_vec()).chain(Failing)));
    let rows: Vec<_> =
        Source::from_readers(named("sensors.csv", SENSORS), Some(("m.csv".into(), reader)), Some(named("s.csv", SWITCHES)), 0)
            .unwrap()
            .collect();
    assert_eq!(rows.len(), 3 + 3 + 2 + 1);
    assert_eq!(
        rows.iter().filter_map(|row| row.as_ref().err()).map(ToString::to_string).collect::<Vec<_>>(),
        ["m.csv, line 5: cannot be read: broken"]
    );
}

proptest! {
    #[test]
    fn every_line_of_any_bytes_is_a_row_or_a_bad_line(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut file = b"sensor,time,value,quality,revision\n".to_vec();
        file.extend_from_slice(&bytes);
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count();
        prop_assert_eq!(rows(file).len(), lines);
    }

    #[test]
    fn a_changed_export_never_panics_and_loses_no_line(at in 0..MEASUREMENTS.len(), with in "[-0-9.,:TZ\"]{0,4}", which in 0..3usize) {
        let mut texts = [SENSORS, MEASUREMENTS, SWITCHES].map(str::to_owned);
        let at = at % texts[which].len();
        if texts[which].as_bytes()[at] != b'\n' {
            texts[which].replace_range(at..=at, &with);
        }
        if let Ok(source) = source(&texts[0], &texts[1], &texts[2]) {
            prop_assert_eq!(source.count(), 3 + 3 + 2);
        }
    }
}
