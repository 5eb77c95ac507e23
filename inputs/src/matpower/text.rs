//! The part of the MATLAB language that case files are written in: one function line, then assignments of numbers,
//! strings, matrices and cell arrays to fields of its struct.
//!
//! Anything else (expressions, loops, assignments to parts of a matrix) is program code and an error: to skip it would
//! change the numbers silently. Every value keeps its byte offset, so that a later complaint can name its line.

use crate::table::{ParseError, shown};

/// The text of a file and its name, for messages.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
}

impl Source<'_> {
    /// An error at a byte offset.
    pub(super) fn error(&self, at: usize, reason: impl Into<String>) -> ParseError {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        // Characters, not bytes: continuation bytes of UTF-8 do not count.
        let column = 1 + before[start..].iter().filter(|byte| *byte & 0xc0 != 0x80).count();
        ParseError { file: self.file.to_owned(), line: line as u64, column: column.to_string(), reason: reason.into() }
    }
}

/// A matrix: values row by row, each with its place.
#[derive(Default)]
pub(super) struct Matrix {
    pub(super) at: usize,
    pub(super) values: Vec<f64>,
    pub(super) places: Vec<usize>,
    pub(super) columns: usize,
}

impl Matrix {
    pub(super) fn rows(&self) -> usize {
        if self.columns == 0 { 0 } else { self.values.len() / self.columns }
    }
}

/// What a field is set to.
pub(super) enum Value {
    Number(f64),
    Text(String),
    Matrix(Matrix),
    Cell(Vec<(String, usize)>),
    /// The field is unknown and its value was passed over.
    Skipped,
}

/// One assignment.
pub(super) struct Assignment<'a> {
    pub(super) field: &'a str,
    /// Where the field's name stands.
    pub(super) at: usize,
    pub(super) value: Value,
}

/// A file, parsed.
pub(super) struct Document<'a> {
    pub(super) name: &'a str,
    pub(super) assignments: Vec<Assignment<'a>>,
}

/// Parses a file; values of fields for which `known` is false are passed over.
pub(super) fn parse<'a>(source: Source<'a>, known: impl Fn(&str) -> bool) -> Result<Document<'a>, ParseError> {
    let mut cursor = Cursor { source, bytes: source.text.as_bytes(), at: 0 };
    if source.text.starts_with('\u{feff}') {
        cursor.at = '\u{feff}'.len_utf8();
    }
    cursor.skip_blank(true);
    let (variable, name) = cursor.function_line()?;
    let mut assignments = Vec::new();
    loop {
        cursor.skip_blank(true);
        match cursor.peek() {
            None => return Ok(Document { name, assignments }),
            Some(b';' | b',') => cursor.at += 1,
            Some(_) => {
                let at = cursor.at;
                match cursor.word() {
                    "end" | "return" | "endfunction" => continue,
                    word => match word.strip_prefix(variable).and_then(|rest| rest.strip_prefix('.')) {
                        Some(field) if !field.is_empty() => {
                            let value = cursor.assigned(field, known(field))?;
                            assignments.push(Assignment { field, at, value });
                        }
                        _ => return Err(cursor.unexpected(at, &format!("an assignment to a field of {variable}"))),
                    },
                }
            }
        }
    }
}

struct Cursor<'a> {
    source: Source<'a>,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn line_end(&self) -> usize {
        self.bytes[self.at..].iter().position(|byte| *byte == b'\n').map_or(self.bytes.len(), |length| self.at + length)
    }

    /// An error that shows what stands at `at`.
    fn unexpected(&self, at: usize, expected: &str) -> ParseError {
        let rest = self.source.text.get(at..).unwrap_or("");
        let line = rest.lines().next().unwrap_or("").trim_end();
        let found = if rest.is_empty() {
            "the end of the file".to_owned()
        } else if line.is_empty() {
            "the end of the line".to_owned()
        } else {
            shown(line)
        };
        self.source.error(at, format!("expected {expected}, found {found}"))
    }

    /// Passes over blanks, comments and continuations, and over newlines when told.
    fn skip_blank(&mut self, newlines: bool) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' => self.at += 1,
                b'\n' if newlines => self.at += 1,
                b'%' => self.skip_comment(),
                b'.' if self.bytes[self.at..].starts_with(b"...") => self.at = (self.line_end() + 1).min(self.bytes.len()),
                _ => return,
            }
        }
    }

    /// Passes over a comment up to its newline, or over a block `%{ … %}` whose marks stand alone on their lines.
    fn skip_comment(&mut self) {
        let alone = |cursor: &Self, mark: &str| {
            let start = cursor.bytes[..cursor.at].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
            cursor.source.text.get(start..cursor.line_end()).is_some_and(|line| line.trim() == mark)
        };
        let mut depth = 0;
        loop {
            if alone(self, "%{") {
                depth += 1;
            } else if alone(self, "%}") && depth > 0 {
                depth -= 1;
            }
            self.at = self.line_end();
            if depth == 0 || self.at == self.bytes.len() {
                return;
            }
            self.at += 1;
        }
    }

    /// Takes a word of letters, digits, underscores and dots; empty when none stands here.
    fn word(&mut self) -> &'a str {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.') {
            self.at += 1;
        }
        &self.source.text[start..self.at]
    }

    fn function_line(&mut self) -> Result<(&'a str, &'a str), ParseError> {
        let at = self.at;
        if self.word() != "function" {
            return Err(self.unexpected(at, "the line \"function mpc = <name>\""));
        }
        self.skip_blank(false);
        if self.peek() == Some(b'[') {
            return Err(self.source.error(self.at, "several results: case format version 1 is not supported, save the case in version 2"));
        }
        let variable = self.word();
        self.skip_blank(false);
        if variable.is_empty() || self.peek() != Some(b'=') {
            return Err(self.unexpected(at, "the line \"function mpc = <name>\""));
        }
        self.at += 1;
        self.skip_blank(false);
        let (start, name) = (self.at, self.word());
        if name.is_empty() {
            return Err(self.unexpected(start, "the name of the case"));
        }
        self.skip_blank(false);
        if self.bytes[self.at..].starts_with(b"()") {
            self.at += 2;
        }
        self.end_of_statement()?;
        Ok((variable, name))
    }

    fn end_of_statement(&mut self) -> Result<(), ParseError> {
        self.skip_blank(false);
        match self.peek() {
            None => Ok(()),
            Some(b';' | b',' | b'\n') => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(self.unexpected(self.at, "the end of the statement (files are read as data, not run)")),
        }
    }

    /// Takes `= value` off.
    fn assigned(&mut self, field: &str, known: bool) -> Result<Value, ParseError> {
        self.skip_blank(false);
        match self.peek() {
            Some(b'=') => self.at += 1,
            Some(b'(' | b'{') => {
                return Err(self.source.error(self.at, format!("{field} is changed in part: files are read as data, not run")));
            }
            _ => return Err(self.unexpected(self.at, &format!("\"=\" after {field}"))),
        }
        self.skip_blank(false);
        if !known {
            return self.skip_value(field);
        }
        let value = match self.peek() {
            Some(b'[') => Value::Matrix(self.matrix(field)?),
            Some(b'{') => Value::Cell(self.cell(field)?),
            Some(b'\'' | b'"') => Value::Text(self.string()?),
            _ => Value::Number(self.number(field)?),
        };
        self.end_of_statement()?;
        Ok(value)
    }

    /// Passes over a value of any form: up to the end of the statement outside brackets and strings.
    fn skip_value(&mut self, field: &str) -> Result<Value, ParseError> {
        let start = self.at;
        let mut depth = 0u64;
        loop {
            self.skip_blank(depth > 0);
            match self.peek() {
                None if depth > 0 => return Err(self.source.error(start, format!("the bracket of {field} is not closed"))),
                None => return Ok(Value::Skipped),
                Some(b';' | b',' | b'\n') if depth == 0 => return Ok(Value::Skipped),
                Some(b'\'' | b'"') => drop(self.string()?),
                Some(byte) => {
                    match byte {
                        b'[' | b'{' | b'(' => depth += 1,
                        b']' | b'}' | b')' => depth = depth.saturating_sub(1),
                        _ => {}
                    }
                    self.at += 1;
                }
            }
        }
    }

    /// Takes a string in single or double quotes; a doubled quote inside stands for one.
    fn string(&mut self) -> Result<String, ParseError> {
        let (start, quote) = (self.at, self.bytes[self.at]);
        let mut text = String::new();
        let mut from = start + 1;
        let end = self.line_end();
        loop {
            let Some(length) = self.bytes[from..end].iter().position(|byte| *byte == quote) else {
                return Err(self.source.error(start, "the string is not closed on its line"));
            };
            text.push_str(&self.source.text[from..from + length]);
            from += length + 1;
            self.at = from;
            if from < end && self.bytes[from] == quote {
                text.push(char::from(quote));
                from += 1;
            } else {
                return Ok(text);
            }
        }
    }

    /// Takes a number; `Inf` is one, NaN is not.
    fn number(&mut self, field: &str) -> Result<f64, ParseError> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'-')) {
            if self.bytes[self.at..].starts_with(b"...") {
                break;
            }
            // A sign belongs to the number at its start and after the exponent's letter; elsewhere it is arithmetic.
            if matches!(self.bytes[self.at], b'+' | b'-') && self.at > start && !matches!(self.bytes[self.at - 1], b'e' | b'E') {
                return Err(self.source.error(self.at, format!("{field}: expected a number, found an expression")));
            }
            self.at += 1;
        }
        let token = &self.source.text[start..self.at];
        let (sign, magnitude) = match token.as_bytes() {
            [b'-', ..] => (-1.0, &token[1..]),
            [b'+', ..] => (1.0, &token[1..]),
            _ => (1.0, token),
        };
        if magnitude.eq_ignore_ascii_case("inf") {
            return Ok(sign * f64::INFINITY);
        }
        let decimal = magnitude.starts_with(|first: char| first.is_ascii_digit() || first == '.');
        match token.parse::<f64>() {
            Ok(value) if decimal && value.is_finite() => Ok(value),
            Ok(_) if decimal => Err(self.source.error(start, format!("{field}: {} is too large for a number", shown(token)))),
            _ if magnitude.eq_ignore_ascii_case("nan") => Err(self.source.error(start, format!("{field}: expected a number, found NaN"))),
            _ => Err(self.unexpected(start, &format!("a number of {field}"))),
        }
    }

    fn matrix(&mut self, field: &str) -> Result<Matrix, ParseError> {
        let mut matrix = Matrix { at: self.at, ..Matrix::default() };
        self.at += 1;
        let mut row = 0; // index of the first value of the row being read
        let mut comma = true; // whether a comma would follow nothing
        loop {
            self.skip_blank(false);
            let Some(byte) = self.peek() else {
                return Err(self.source.error(matrix.at, format!("the matrix {field} is not closed by \"]\"")));
            };
            match byte {
                b';' | b'\n' | b']' => {
                    self.at += 1;
                    self.end_row(&mut matrix, row, field)?;
                    (row, comma) = (matrix.values.len(), true);
                    if byte == b']' {
                        return Ok(matrix);
                    }
                }
                b',' if comma => return Err(self.unexpected(self.at, &format!("a number of {field}"))),
                b',' => {
                    self.at += 1;
                    comma = true;
                }
                _ => {
                    matrix.places.push(self.at);
                    let value = self.number(field)?;
                    matrix.values.push(value);
                    comma = false;
                    if !matches!(self.peek(), None | Some(b' ' | b'\t' | b'\r' | b'\n' | b',' | b';' | b']' | b'%' | b'.')) {
                        return Err(self.unexpected(self.at, &format!("a blank, comma or semicolon behind a number of {field}")));
                    }
                }
            }
        }
    }

    fn end_row(&self, matrix: &mut Matrix, row: usize, field: &str) -> Result<(), ParseError> {
        let columns = matrix.values.len() - row;
        if columns == 0 {
            return Ok(());
        }
        if matrix.columns == 0 {
            matrix.columns = columns;
        }
        if columns == matrix.columns {
            return Ok(());
        }
        let reason = format!("a row of {field} has {columns} columns where the rows above have {}", matrix.columns);
        Err(self.source.error(matrix.places[row], reason))
    }

    fn cell(&mut self, field: &str) -> Result<Vec<(String, usize)>, ParseError> {
        let start = self.at;
        self.at += 1;
        let mut strings = Vec::new();
        loop {
            self.skip_blank(true);
            match self.peek() {
                None => return Err(self.source.error(start, format!("the cell array {field} is not closed by \"}}\""))),
                Some(b'}') => {
                    self.at += 1;
                    return Ok(strings);
                }
                Some(b';' | b',') => self.at += 1,
                Some(b'\'' | b'"') => {
                    let at = self.at;
                    strings.push((self.string()?, at));
                }
                Some(_) => return Err(self.unexpected(self.at, &format!("a quoted string of {field}"))),
            }
        }
    }
}
