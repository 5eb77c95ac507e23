//! Series of both layouts: values where they belong in time, and errors that name the cell.

use super::*;
use proptest::prelude::*;

const PLAIN: &str = "time,load_mw:1,available_mw:101_PV_1,temperature_deg_c:2,price_per_mwh:2\n\
    2020-06-01T00:00:00Z,100,0,-3.5,40\n2020-06-01T00:15:00Z,110,1.5,-4,-2\n2020-06-01T02:30:00+02:00,120,2,0,0\n";

fn data() -> Option<std::path::PathBuf> {
    crate::test_data::find("rts-gmlc/timeseries")
}

fn rts_text(periods: i64, days: i64) -> String {
    let mut text = "Year,Month,Day,Period,1,2\r\n".to_owned();
    for day in 1..=days {
        for period in 1..=periods {
            text.push_str(&format!("2020,2,{day},{period},{},{}\r\n", day * 1000 + period, -period));
        }
    }
    text
}

#[test]
fn a_value_holds_for_its_step_and_no_longer() {
    let profiles = plain_series("a.csv", PLAIN).unwrap();
    let start = parse_rfc3339("2020-06-01T00:00:00Z").unwrap();
    let load = SeriesKey::ZoneLoad(ZoneId(1));
    assert_eq!(profiles.at(&load, start - 1), None);
    assert_eq!(profiles.at(&load, start), Some(100.0));
    assert_eq!(profiles.at(&load, start + 899_999), Some(100.0));
    assert_eq!(profiles.at(&load, start + 900_000), Some(110.0));
    assert_eq!(profiles.at(&load, start + 2_699_999), Some(120.0));
    assert_eq!(profiles.at(&load, start + 2_700_000), None);
    assert_eq!((profiles.at(&load, i64::MIN), profiles.at(&load, i64::MAX)), (None, None));
    assert_eq!(profiles.at(&SeriesKey::ZoneTemperature(ZoneId(2)), start), Some(-3.5));
    assert_eq!(profiles.at(&SeriesKey::ZonePrice(ZoneId(2)), start + 900_000), Some(-2.0));
    assert_eq!(profiles.at(&SeriesKey::UnitAvailable("101_PV_1".into()), start + 900_000), Some(1.5));
    assert_eq!(profiles.at(&SeriesKey::ZoneLoad(ZoneId(2)), start), None);
    assert_eq!(profiles.span_ms(), Some((start, start + 2_700_000)));
}

#[test]
fn what_is_wrong_is_named_by_file_line_and_column() {
    let plain = |from: &str, to: &str| plain_series("a.csv", &PLAIN.replacen(from, to, 1)).unwrap_err().to_string();
    assert_eq!(plain("110", ""), "a.csv, line 3, column load_mw:1: expected a number, the cell is empty");
    assert_eq!(plain("110", "NaN"), "a.csv, line 3, column load_mw:1: expected a finite number, found \"NaN\"");
    assert_eq!(plain("110", "much"), "a.csv, line 3, column load_mw:1: expected a finite number, found \"much\"");
    assert_eq!(plain("1.5", "-1.5"), "a.csv, line 3, column available_mw:101_PV_1: available power is negative: -1.5");
    assert_eq!(
        plain("00:15", "00:16"),
        "a.csv, line 4, column time: the rows above are 960000 ms apart, this one does not follow them by as much"
    );
    assert_eq!(plain("00:15", "00:00"), "a.csv, line 3, column time: the times do not ascend");
    assert!(plain("T00:15:00Z", "T00:15:00").starts_with("a.csv, line 3, column time: the time has no offset from UTC"));
    assert_eq!(plain("load_mw:1", "load_mw"), "a.csv, line 1, column load_mw: the column names no series this reader knows");
    assert_eq!(plain("load_mw:1", "price_per_mwh:02"), "a.csv, line 1, column price_per_mwh:2: an earlier column has this series already");
    assert_eq!(plain("time,", "when,"), "a.csv, line 2, column when: expected time or time_ms as the first column");
    assert_eq!(
        plain_series("a.csv", "time_ms,load_mw:1\n5,1\n").unwrap_err().to_string(),
        "a.csv: expected at least two rows, which tell the step"
    );

    let rts = |from: &str, to: &str| rts_series("r.csv", true, &rts_text(24, 2).replacen(from, to, 1)).unwrap_err().to_string();
    assert_eq!(
        rts("2,2,3,2003", "2,2,4,2003"),
        "r.csv, line 28, column Period: expected the period that follows the row above, found period 4 of 2020-02-02T00:00:00Z"
    );
    assert_eq!(rts("2,1,24,1024,-24\r\n2020,", ""), "r.csv, line 24, column Period: expected 24 or 288 periods in the first day, found 23");
    assert_eq!(rts("2,2,3,2003", "2,30,3,2003"), "r.csv, line 28, column Day: the calendar has no such day");
    assert_eq!(rts("Period", "Hour"), "r.csv, line 1, column Period: the table has no such column");
    assert_eq!(rts_series("r.csv", true, &rts_text(23, 1)).unwrap_err().reason, "expected 24 or 288 periods in the first day, found 23");
    assert_eq!(rts_series("r.csv", true, "Year,Month,Day,Period,1\n").unwrap_err().reason, "the file has no rows");
}

#[test]
fn periods_begin_at_midnight_seven_hours_behind() {
    for (periods, step) in [(24, HOUR_MS), (288, 300_000)] {
        let profiles = rts_series("r.csv", true, &rts_text(periods, 2)).unwrap();
        let start = parse_rfc3339("2020-02-01T07:00:00Z").unwrap();
        let series = &profiles.series[&SeriesKey::ZoneLoad(ZoneId(1))];
        assert_eq!((series.start_ms, series.step_ms, series.values.len() as i64), (start, step, 2 * periods));
        assert_eq!(series.at(start + 24 * HOUR_MS), Some(2001.0));
        assert_eq!(series.at(start + 24 * HOUR_MS - 1), Some(1000.0 + periods as f64));
    }
}

#[test]
fn a_directory_is_known_by_its_files_and_real_time_wins() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    assert!(read(directory.path()).unwrap_err().reason.contains("no time series"));
    write("notes.txt", "not a table");
    write("b.csv", PLAIN);
    assert_eq!(read(directory.path()).unwrap(), plain_series("b.csv", PLAIN).unwrap());
    assert_eq!(read(&directory.path().join("b.csv")).unwrap().series.len(), 4);
    write("a.csv", PLAIN);
    assert!(read(directory.path()).unwrap_err().reason.contains("another file has this series"));
    write("DAY_AHEAD_regional_Load.csv", &rts_text(24, 1));
    assert_eq!(read(directory.path()).unwrap().series[&SeriesKey::ZoneLoad(ZoneId(2))].step_ms, HOUR_MS);
    write("REAL_TIME_regional_Load_derived.csv", &rts_text(288, 1));
    assert_eq!(read(directory.path()).unwrap().series[&SeriesKey::ZoneLoad(ZoneId(2))].step_ms, HOUR_MS / 12);
    write("DAY_AHEAD_rtpv.csv", "Year,Month,Day,Period,308_RTPV_1\n");
    assert!(read(directory.path()).unwrap_err().file.ends_with("DAY_AHEAD_rtpv.csv"));
}

#[test]
fn the_year_of_rts_gmlc_reads_whole() {
    let Some(directory) = data() else { return };
    let profiles = read(&directory).unwrap_or_else(|error| panic!("{error}"));
    let count = |part: &str| profiles.series.keys().filter(|key| key.to_string().contains(part)).count();
    assert_eq!((count("load_mw"), count("_WIND_"), count("_PV_"), count("_RTPV_"), count("_HYDRO_")), (3, 4, 25, 31, 20));
    let year = parse_rfc3339("2020-01-01T07:00:00Z").unwrap();
    assert_eq!(profiles.span_ms(), Some((year, year + 366 * 24 * HOUR_MS)));
    let wind = &profiles.series[&SeriesKey::UnitAvailable("309_WIND_1".into())];
    assert_eq!((wind.step_ms, wind.values.len(), wind.at(year)), (300_000, 105_408, Some(146.0)));
    let last = profiles.at(&SeriesKey::UnitAvailable("317_WIND_1".into()), year + 366 * 24 * HOUR_MS - 1);
    assert_eq!(last, Some(16.0));
    assert_eq!(profiles.at(&SeriesKey::ZoneLoad(ZoneId(2)), year), Some(1106.418));
    assert_eq!(profiles.at(&SeriesKey::UnitAvailable("122_HYDRO_1".into()), year + HOUR_MS - 1), Some(4.2));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_without_panic(text in "(time_ms,load_mw:1\n|Year,Month,Day,Period,1\n)?([-0-9,.\nNa\"]|\\PC){0,60}") {
        let _ = plain_series("a.csv", &text);
        let _ = rts_series("a.csv", true, &text);
    }

    #[test]
    fn a_file_with_bytes_changed_is_read_or_refused_without_panic(at in 0..10_000usize, with in "[-0-9.,:TZ\"\n]{0,5}", rts: bool) {
        let mut text = if rts { rts_text(24, 2) } else { PLAIN.to_owned() };
        let at = at % text.len();
        text.replace_range(at..=at, &with);
        let read = if rts { rts_series("a.csv", true, &text) } else { plain_series("a.csv", &text) };
        if let Ok(profiles) = read {
            prop_assert!(profiles.series.values().all(|series| series.step_ms > 0 && series.values.iter().all(|value| value.is_finite())));
        }
    }
}
