//! Event time as text: RFC 3339 to and from UTC milliseconds, in the proleptic Gregorian calendar.
//!
//! Years 0000 to 9999. An offset from UTC is required (`Z` or `±hh:mm`): a time without one is ambiguous and refused.
//! Digits below the millisecond are cut off. A leap second (`:60`) has no UTC millisecond of its own and is refused.
//! Days are counted from 0000-03-01, so that the leap day ends a year; 1970-01-01 is day 719,468 of that count.

const DAYS_TO_1970: i64 = 719_468;
const DAYS_IN_400_YEARS: i64 = 146_097;
/// Milliseconds in an hour.
pub const HOUR_MS: i64 = 3_600_000;
/// Milliseconds in a day.
pub const DAY_MS: i64 = 86_400_000;

/// Why a text is not a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Not of the form `2020-01-01T00:00:00Z`.
    #[error("expected a time such as 2020-01-01T00:00:00Z or 2020-01-01T01:00:00.250+01:00")]
    Form,
    /// No offset from UTC.
    #[error("the time has no offset from UTC: end it with Z or an offset such as -07:00")]
    Offset,
    /// The calendar has no such day, or the clock no such time.
    #[error("there is no such day or time of day")]
    Range,
}

/// Midnight UTC of a calendar day in milliseconds; `None` when the calendar has no such day.
#[must_use]
pub fn day_ms(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(0..=9999).contains(&year) || !(1..=length).contains(&day) {
        return None;
    }
    let march_year = if month > 2 { year } else { year - 1 };
    // Months from March: 31 30 31 30 31 repeats, so that (153 m + 2) / 5 days precede month m.
    let days_before_month = (153 * ((month + 9) % 12) + 2) / 5;
    let days = 365 * march_year + march_year.div_euclid(4) - march_year.div_euclid(100) + march_year.div_euclid(400);
    Some((days + days_before_month + day - 1 - DAYS_TO_1970) * DAY_MS)
}

/// Reads an RFC 3339 time as UTC milliseconds.
///
/// ```
/// use gridflow_inputs::time::parse_rfc3339;
/// assert_eq!(parse_rfc3339("1970-01-01T00:00:00.25Z"), Ok(250));
/// assert_eq!(parse_rfc3339("2020-01-01T00:00:00-07:00"), parse_rfc3339("2020-01-01T07:00:00Z"));
/// assert!(parse_rfc3339("2020-01-01T00:00:00").is_err());
/// ```
///
/// # Errors
/// When the text has another form, no offset, or names a day or time that does not exist.
pub fn parse_rfc3339(text: &str) -> Result<i64, TimeError> {
    let bytes = text.as_bytes();
    if bytes.len() < 19 {
        return Err(TimeError::Form);
    }
    let separators = bytes[4] == b'-' && bytes[7] == b'-' && matches!(bytes[10], b'T' | b't' | b' ');
    if !separators || bytes[13] != b':' || bytes[16] != b':' {
        return Err(TimeError::Form);
    }
    let date = day_ms(digits(&bytes[0..4])?, digits(&bytes[5..7])?, digits(&bytes[8..10])?);
    let (hour, minute, second) = (digits(&bytes[11..13])?, digits(&bytes[14..16])?, digits(&bytes[17..19])?);
    if hour > 23 || minute > 59 || second > 59 {
        return Err(TimeError::Range);
    }
    let mut rest = &bytes[19..];
    let mut fraction_ms = 0;
    if let Some(fraction) = rest.strip_prefix(b".") {
        let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if length == 0 {
            return Err(TimeError::Form);
        }
        for place in 0..3 {
            let digit = if place < length { i64::from(fraction[place] - b'0') } else { 0 };
            fraction_ms = fraction_ms * 10 + digit;
        }
        rest = &fraction[length..];
    }
    let local = date.ok_or(TimeError::Range)? + hour * HOUR_MS + minute * 60_000 + second * 1000 + fraction_ms;
    Ok(local - offset_ms(rest)?)
}

fn offset_ms(text: &[u8]) -> Result<i64, TimeError> {
    match text {
        [] => Err(TimeError::Offset),
        b"Z" | b"z" => Ok(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return Err(TimeError::Range);
            }
            let offset = hours * HOUR_MS + minutes * 60_000;
            Ok(if *sign == b'-' { -offset } else { offset })
        }
        _ => Err(TimeError::Form),
    }
}

fn digits(bytes: &[u8]) -> Result<i64, TimeError> {
    bytes
        .iter()
        .try_fold(0, |value, byte| if byte.is_ascii_digit() { Ok(value * 10 + i64::from(byte - b'0')) } else { Err(TimeError::Form) })
}

/// Writes UTC milliseconds as RFC 3339 in `Z`, with three digits of fraction only where they are not zero.
///
/// A time outside the years 0000 to 9999, which RFC 3339 cannot name, is written as its number of milliseconds.
#[must_use]
pub fn format_rfc3339(event_ms: i64) -> String {
    let days = event_ms.div_euclid(DAY_MS) + DAYS_TO_1970;
    let (era, day_of_era) = (days.div_euclid(DAYS_IN_400_YEARS), days.rem_euclid(DAYS_IN_400_YEARS));
    // Take the leap days out, so that every year has 365 days: one each 4 years, none each 100, one each 400.
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    if !(0..=9999).contains(&year) {
        return event_ms.to_string();
    }
    let ms = event_ms.rem_euclid(DAY_MS);
    let (hour, minute, second, fraction) = (ms / HOUR_MS, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
    let whole = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if fraction == 0 { format!("{whole}Z") } else { format!("{whole}.{fraction:03}Z") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const YEAR_0000_MS: i64 = -62_167_219_200_000;
    const YEAR_9999_END_MS: i64 = 253_402_300_799_999;

    #[test]
    fn known_times_are_known() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31T23:59:59.999Z", -1),
            ("2000-02-29T12:00:00Z", 951_825_600_000),
            ("2020-01-01T00:00:00-07:00", 1_577_862_000_000),
            ("2020-01-01t07:00:00.0009z", 1_577_862_000_000),
            ("2026-11-21 03:27:33.5+01:30", 1_795_226_253_500),
            ("0000-01-01T00:00:00Z", YEAR_0000_MS),
            ("9999-12-31T23:59:59.999Z", YEAR_9999_END_MS),
        ] {
            assert_eq!(parse_rfc3339(text), Ok(ms), "{text}");
        }
        assert_eq!(format_rfc3339(951_825_600_000), "2000-02-29T12:00:00Z");
        assert_eq!(format_rfc3339(YEAR_9999_END_MS + 1), (YEAR_9999_END_MS + 1).to_string());
        assert_eq!(format_rfc3339(i64::MIN), i64::MIN.to_string());
    }

    #[test]
    fn what_is_no_time_is_refused_with_its_reason() {
        for (text, error) in [
            ("2020-01-01T00:00:00", TimeError::Offset),
            ("2020-01-01", TimeError::Form),
            ("2020-01-01T00:00:00.Z", TimeError::Form),
            ("2020-01-01T00:00:00+0100", TimeError::Form),
            ("2020-1-01T00:00:00Z000", TimeError::Form),
            ("2019-02-29T00:00:00Z", TimeError::Range),
            ("1900-02-29T00:00:00Z", TimeError::Range),
            ("2020-13-01T00:00:00Z", TimeError::Range),
            ("2020-01-00T00:00:00Z", TimeError::Range),
            ("2020-01-01T24:00:00Z", TimeError::Range),
            ("2016-12-31T23:59:60Z", TimeError::Range),
            ("2020-01-01T00:00:00+24:00", TimeError::Range),
            ("２０20-01-01T00:00:00Z", TimeError::Form),
        ] {
            assert_eq!(parse_rfc3339(text), Err(error), "{text}");
        }
    }

    #[test]
    fn days_follow_each_other_without_gap_over_four_centuries() {
        let mut expected = day_ms(1999, 1, 1).expect("a day of the calendar");
        for year in 1999..2400 {
            for month in 1..=12 {
                for day in 1..=31 {
                    if let Some(ms) = day_ms(year, month, day) {
                        assert_eq!(ms, expected);
                        assert_eq!(format_rfc3339(ms), format!("{year:04}-{month:02}-{day:02}T00:00:00Z"));
                        expected += DAY_MS;
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_written_time_reads_back_the_same(ms in YEAR_0000_MS..=YEAR_9999_END_MS, minutes in -1439i64..=1439) {
            prop_assert_eq!(parse_rfc3339(&format_rfc3339(ms)), Ok(ms));
            let local = format_rfc3339((ms + minutes * 60_000).clamp(YEAR_0000_MS, YEAR_9999_END_MS));
            let sign = if minutes < 0 { '-' } else { '+' };
            let offset = format!("{}{sign}{:02}:{:02}", local.trim_end_matches('Z'), minutes.abs() / 60, minutes.abs() % 60);
            if (YEAR_0000_MS..=YEAR_9999_END_MS).contains(&(ms + minutes * 60_000)) {
                prop_assert_eq!(parse_rfc3339(&offset), Ok(ms));
            }
        }

        #[test]
        fn reading_any_text_as_a_time_never_panics(text: String) {
            let _ = parse_rfc3339(&text);
        }
    }
}
