//! Every line of a historian's export is a row or a bad line: none is lost, none stops the rest.
#![no_main]

use gridflow_connectors::csv::Source;
use libfuzzer_sys::fuzz_target;
use std::io::{BufRead, Cursor};

const SENSORS: &[u8] = b"id,quantity,element,element_id,side,sigma,range_min,range_max,feeder,zone,period_s,source\n\
    1,active_flow_mw,branch,7,from,0.5,-500,500,3,1,2,9\n2,voltage_angle_deg,bus,3,,0.1,-180,180,3,1,2,9\n";

fn table(name: &str, header: &[u8], body: &[u8]) -> (String, Box<dyn BufRead>) {
    (name.to_owned(), Box::new(Cursor::new([header, body].concat())))
}

fn lines(body: &[u8]) -> usize {
    body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count()
}

fuzz_target!(|bytes: &[u8]| {
    let split = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (readings, states) = (&bytes[..split], bytes.get(split + 1..).unwrap_or(&[]));
    let measurements = table("measurements.csv", b"sensor,time,value,quality,revision\n", readings);
    let switches = table("switches.csv", b"switch,time,state\n", states);
    let source = Source::from_readers(table("sensors.csv", SENSORS, b""), Some(measurements), Some(switches), 0);
    let rows = source.expect("the headers are whole").count();
    assert_eq!(rows, 2 + lines(readings) + lines(states));

    // The same bytes as a table of sensors, its header included, may be refused but must not panic.
    if let Ok(source) = Source::from_readers(table("sensors.csv", b"", bytes), None, None, 0) {
        let _ = source.count();
    }
});
