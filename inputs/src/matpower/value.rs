//! Values of a case file: strings, numbers, matrices and cell arrays.

use super::text::{Cursor, Matrix};
use crate::table::{ParseError, shown};

impl Cursor<'_> {
    /// Takes a string in single or double quotes; a doubled quote inside stands for one.
    pub(super) fn string(&mut self) -> Result<String, ParseError> {
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
    pub(super) fn number(&mut self, field: &str) -> Result<f64, ParseError> {
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

    pub(super) fn matrix(&mut self, field: &str) -> Result<Matrix, ParseError> {
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

    pub(super) fn cell(&mut self, field: &str) -> Result<Vec<(String, usize)>, ParseError> {
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
