//! Files of workload W1, 24-byte records or CSV, read as a stream and run through a program tick by tick.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use gridflow::workload::{CSV_HEADER, RECORD_BYTES, Record};

use super::{Change, Program, TICK_MS};

/// Bytes read at once.
const BLOCK: usize = 1 << 20;

fn bad(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Gives each record of a file to `take`, in order. A name that ends in `.csv` is CSV.
pub fn read(path: &Path, mut take: impl FnMut(&Record)) -> io::Result<()> {
    let mut file = File::open(path)?;
    if path.extension().is_some_and(|extension| extension == "csv") {
        return read_csv(file, take);
    }
    let mut block = vec![0; BLOCK / RECORD_BYTES * RECORD_BYTES];
    loop {
        let mut length = 0;
        while length < block.len() {
            match file.read(&mut block[length..])? {
                0 => break,
                more => length += more,
            }
        }
        if length == 0 {
            return Ok(());
        }
        let (records, rest) = block[..length].as_chunks::<RECORD_BYTES>();
        if !rest.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends within a record"));
        }
        for bytes in records {
            take(&Record::decode(bytes).map_err(bad)?);
        }
    }
}

fn read_csv(mut file: File, mut take: impl FnMut(&Record)) -> io::Result<()> {
    let mut header = vec![0; CSV_HEADER.len()];
    file.read_exact(&mut header)?;
    if header != CSV_HEADER.as_bytes() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the first line is not that of a workload"));
    }
    let mut block = vec![0; BLOCK];
    // The start of a line whose end is not yet read.
    let mut held = 0;
    loop {
        let length = held + file.read(&mut block[held..])?;
        let at_end = length == held;
        let whole = if at_end { length } else { block[..length].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1) };
        let mut lines = &block[..whole];
        while !lines.is_empty() {
            take(&Record::take_csv(&mut lines).map_err(bad)?);
        }
        if at_end {
            return Ok(());
        }
        block.copy_within(whole..length, 0);
        held = length - whole;
        if held == block.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a line without an end"));
        }
    }
}

/// Runs a program over records, as they are given to the closure it hands out; `told` gets the changes of each tick.
pub struct Run<'a, P: ?Sized, T> {
    program: &'a mut P,
    told: T,
    tick: Option<u32>,
    changes: Vec<Change>,
    /// Records so far.
    pub records: u64,
}

impl<'a, P: Program + ?Sized, T: FnMut(u32, &[Change], &P)> Run<'a, P, T> {
    pub fn new(program: &'a mut P, told: T) -> Self {
        Self { program, told, tick: None, changes: Vec::new(), records: 0 }
    }

    /// Takes the next record; ends the tick before it when it arrives in a later one.
    pub fn take(&mut self, record: &Record) {
        let tick = record.arr_ms / TICK_MS;
        if let Some(before) = self.tick
            && before != tick
        {
            self.seal(before);
        }
        self.tick = Some(tick);
        self.records += 1;
        self.program.apply(record, tick * TICK_MS);
    }

    fn seal(&mut self, tick: u32) {
        self.program.seal(&mut self.changes);
        (self.told)(tick, &self.changes, self.program);
        self.changes.clear();
    }

    /// Ends the last tick.
    pub fn end(mut self) -> u64 {
        if let Some(tick) = self.tick {
            self.seal(tick);
        }
        self.records
    }
}
