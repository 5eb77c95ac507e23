//! A table as it streams in: one physical line is one record, so that damage ends with its line.
//!
//! Lines are of at most 64 KiB and longer ones are passed over piece by piece: no input can take memory without bound.

use super::BadLine;
use gridflow_inputs::Input;
use gridflow_inputs::table::{Header, Row};
use std::io::BufRead;

/// Longest line that is read; what is longer is a bad line.
const LINE_BYTES: usize = 64 * 1024;

/// A table that is read line by line.
pub(super) struct Table {
    reader: Box<dyn BufRead>,
    file: String,
    line: u64,
    pub(super) header: Header,
    bytes: Vec<u8>,
    failed: bool,
}

/// What became of a line.
enum Line {
    Whole,
    TooLong,
    End,
}

impl Table {
    pub(super) fn open((file, reader): (String, Box<dyn BufRead>)) -> Result<Self, BadLine> {
        let header = Header::read(&file, 0, "")?;
        let mut table = Self { reader, file, line: 0, header, bytes: Vec::new(), failed: false };
        loop {
            match table.read_line()? {
                Line::End => return Err(BadLine::file(&table.file, "the file is empty; expected a header line")),
                Line::TooLong => return Err(table.error("the header line is longer than 64 KiB")),
                Line::Whole if table.bytes.trim_ascii().is_empty() => {}
                Line::Whole => {
                    let text = std::str::from_utf8(&table.bytes).map_err(|_| table.error("the text is not UTF-8"))?;
                    table.header = Header::read(&table.file, table.line, text)?;
                    return Ok(table);
                }
            }
        }
    }

    fn error(&self, reason: impl Into<String>) -> BadLine {
        BadLine { line: self.line, ..BadLine::file(&self.file, reason) }
    }

    /// Reads the next line into `bytes`, without its end; a line that is too long is passed over as it comes in.
    fn read_line(&mut self) -> Result<Line, BadLine> {
        self.bytes.clear();
        let (mut begun, mut too_long) = (false, false);
        loop {
            let chunk = match self.reader.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.line += 1;
                    self.failed = true;
                    return Err(self.error(format!("cannot be read: {error}")));
                }
            };
            if chunk.is_empty() && !begun {
                return Ok(Line::End);
            }
            let newline = chunk.iter().position(|byte| *byte == b'\n');
            let part = &chunk[..newline.unwrap_or(chunk.len())];
            too_long |= self.bytes.len() + part.len() > LINE_BYTES;
            if !too_long {
                self.bytes.extend_from_slice(part);
            }
            let (used, end) = (newline.map_or(chunk.len(), |at| at + 1), newline.is_some() || chunk.is_empty());
            self.reader.consume(used);
            begun = true;
            if end {
                self.line += 1;
                return Ok(if too_long { Line::TooLong } else { Line::Whole });
            }
        }
    }

    /// The next line that is not blank, through `translate`; `None` at the end, or after the file could not be read on.
    pub(super) fn next(&mut self, translate: impl FnOnce(&Row<'_>) -> Result<Input, BadLine>) -> Option<Result<Input, BadLine>> {
        loop {
            if self.failed {
                return None;
            }
            match self.read_line() {
                Err(error) => return Some(Err(error)),
                Ok(Line::End) => return None,
                Ok(Line::TooLong) => return Some(Err(self.error("the line is longer than 64 KiB"))),
                Ok(Line::Whole) if self.bytes.trim_ascii().is_empty() => {}
                Ok(Line::Whole) => {
                    let Ok(text) = std::str::from_utf8(&self.bytes) else { return Some(Err(self.error("the text is not UTF-8"))) };
                    return Some(self.header.row(self.line, text).and_then(|row| translate(&row)));
                }
            }
        }
    }
}
