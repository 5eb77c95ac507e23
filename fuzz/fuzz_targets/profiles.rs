//! Any text is equidistant finite series or an error; looking a value up never panics.
#![no_main]

use gridflow_inputs::profiles::{plain_series, rts_series};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    for read in [plain_series("fuzz.csv", &text), rts_series("fuzz.csv", true, &text), rts_series("fuzz.csv", false, &text)] {
        for series in read.iter().flat_map(|profiles| profiles.series.values()) {
            assert!(series.step_ms > 0 && series.values.iter().all(|value| value.is_finite()));
            assert_eq!(series.at(series.start_ms), series.values.first().copied());
            let _ = (series.at(i64::MIN), series.at(i64::MAX), series.end_ms());
        }
    }
});
