//! Any text is a case or an error that names its place; a case's rows survive the way through the list of inputs.
#![no_main]

use gridflow_inputs::matpower::{NetworkFile, ParseError, read};
use gridflow_inputs::network::Network;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    match read("fuzz.m", &text) {
        Ok(NetworkFile { network, .. }) => assert_eq!(Network::from_rows(&network.clone().into_rows()), network),
        Err(ParseError { line, reason, .. }) => assert!(line <= text.len() as u64 + 1 && !reason.is_empty()),
    }
});
