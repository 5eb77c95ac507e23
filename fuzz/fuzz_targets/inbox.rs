//! Whatever lies in an inbox file, it is a row for the log or set aside, and a row that is taken can be posted again.
//!
//! `cargo +nightly fuzz run inbox`. With an odd first byte the rest is the file as it is; with an even one it is the row
//! behind a head that fits.

#![no_main]

use gridflow_inputs::log::inbox::{drain, post};
use libfuzzer_sys::fuzz_target;
use std::fs;

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_first() else { return };
    let file = match mode % 2 {
        1 => rest.to_vec(),
        _ => [b"GFINBOX1".as_slice(), &crc32fast::hash(rest).to_le_bytes(), rest].concat(),
    };
    let log = tempfile::tempdir().expect("a temporary directory");
    let inbox = log.path().join("inbox");
    fs::create_dir(&inbox).expect("an empty directory");
    fs::write(inbox.join("any.row"), file).expect("room for the file");
    let drained = drain(log.path(), 9).expect("a directory that can be read and written");
    assert_eq!(drained.rows.len() + drained.refused.len(), 1);
    let rows = drained.rows.clone();
    drained.delete().expect("a file that is there");
    for row in rows {
        post(log.path(), "again", &row).expect("a row that was taken");
        assert_eq!(drain(log.path(), 9).expect("a row that was posted").rows, [row]);
    }
});
