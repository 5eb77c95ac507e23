//! Comma-separated text, one record per physical line, and the error all file readers share.
//!
//! Quotes (`"a, b"`, `""` inside for one quote) are understood within a line but never span lines: a stray quote damages
//! its own line only, which is why this is not a general CSV reader. A byte-order mark and `\r\n` are accepted, blank
//! lines are passed over. Lines count from 1; columns are named by the header.

use std::borrow::Cow;
use std::path::Path;

/// Where a file is wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{}: {reason}", self.place())]
pub struct ParseError {
    /// The file, as the caller named it.
    pub file: String,
    /// Its line, from 1; 0 when the file as a whole is meant.
    pub line: u64,
    /// Name of the column in a table, number of the character in other text; empty when the line as a whole is meant.
    pub column: String,
    /// What was found and what was expected.
    pub reason: String,
}

impl ParseError {
    /// An error about a file as a whole.
    #[must_use]
    pub fn file(file: &str, reason: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: 0, column: String::new(), reason: reason.into() }
    }

    fn place(&self) -> String {
        let mut place = self.file.clone();
        if self.line > 0 {
            place.push_str(&format!(", line {}", self.line));
        }
        if !self.column.is_empty() {
            place.push_str(&format!(", column {}", self.column));
        }
        place
    }
}

/// Reads a whole file as text.
///
/// # Errors
/// When it cannot be read, or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, ParseError> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| ParseError::file(&name, format!("cannot be read: {error}")))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count() as u64;
        ParseError { file: name, line, column: String::new(), reason: "the text is not UTF-8".to_owned() }
    })
}

/// The cells of one line, unquoted and without surrounding blanks.
///
/// # Errors
/// When a quote is not closed on the line, or text follows a closing quote.
pub fn split_line(line: &str) -> Result<Vec<Cow<'_, str>>, &'static str> {
    let mut cells = Vec::new();
    let mut rest = line;
    loop {
        let trimmed = rest.trim_start_matches([' ', '\t']);
        if let Some(quoted) = trimmed.strip_prefix('"') {
            let (cell, behind) = unquote(quoted)?;
            cells.push(cell);
            let behind = behind.trim_start_matches([' ', '\t']);
            match behind.strip_prefix(',') {
                Some(next) => rest = next,
                None if behind.is_empty() => return Ok(cells),
                None => return Err("text follows a closing quote"),
            }
        } else if let Some((cell, next)) = rest.split_once(',') {
            cells.push(Cow::Borrowed(cell.trim()));
            rest = next;
        } else {
            cells.push(Cow::Borrowed(rest.trim()));
            return Ok(cells);
        }
    }
}

/// Takes a quoted cell, whose opening quote is gone, off the front of `text`.
fn unquote(text: &str) -> Result<(Cow<'_, str>, &str), &'static str> {
    let mut cell = Cow::Borrowed("");
    let mut rest = text;
    loop {
        let (part, behind) = rest.split_once('"').ok_or("a quote is not closed on its line")?;
        if cell.is_empty() {
            cell = Cow::Borrowed(part);
        } else {
            cell.to_mut().push_str(part);
        }
        match behind.strip_prefix('"') {
            Some(next) => {
                cell.to_mut().push('"');
                rest = next;
            }
            None => return Ok((cell, behind)),
        }
    }
}

/// The names of a table's columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    file: String,
    names: Vec<String>,
}

impl Header {
    /// Reads a header line.
    ///
    /// # Errors
    /// When its quotes are wrong, or two columns have one name.
    pub fn read(file: &str, line: u64, text: &str) -> Result<Self, ParseError> {
        let error =
            |column: &str, reason: &str| ParseError { file: file.to_owned(), line, column: column.to_owned(), reason: reason.to_owned() };
        let cells = split_line(text.trim_start_matches('\u{feff}')).map_err(|reason| error("", reason))?;
        let names: Vec<String> = cells.into_iter().map(Cow::into_owned).collect();
        for (index, name) in names.iter().enumerate() {
            if !name.is_empty() && names[..index].contains(name) {
                return Err(error(name, "the header names this column twice"));
            }
        }
        Ok(Self { file: file.to_owned(), names })
    }

    /// The columns' names, in order.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Place of a column, if there is one of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|other| other == name)
    }

    /// Place of a column.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn column(&self, name: &str) -> Result<usize, ParseError> {
        self.find(name).ok_or_else(|| ParseError {
            file: self.file.clone(),
            line: 1,
            column: name.to_owned(),
            reason: "the table has no such column".to_owned(),
        })
    }

    /// Reads a line of the table.
    ///
    /// # Errors
    /// When its quotes are wrong, or it has another number of cells than the header.
    pub fn row<'a>(&'a self, line: u64, text: &'a str) -> Result<Row<'a>, ParseError> {
        let error = |reason: String| ParseError { file: self.file.clone(), line, column: String::new(), reason };
        let cells = split_line(text).map_err(|reason| error(reason.to_owned()))?;
        if cells.len() != self.names.len() {
            return Err(error(format!("expected {} cells as in the header, found {}", self.names.len(), cells.len())));
        }
        Ok(Row { header: self, line, cells })
    }
}

/// A line of a table.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    header: &'a Header,
    line: u64,
    cells: Vec<Cow<'a, str>>,
}

impl Row<'_> {
    /// Its line in the file.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.line
    }

    /// An error about one of its cells.
    #[must_use]
    pub fn error(&self, column: usize, reason: impl Into<String>) -> ParseError {
        let column = self.header.names.get(column).cloned().unwrap_or_default();
        ParseError { file: self.header.file.clone(), line: self.line, column, reason: reason.into() }
    }

    /// A cell as text; empty when the cell is.
    #[must_use]
    pub fn text(&self, column: usize) -> &str {
        self.cells.get(column).map_or("", |cell| cell.as_ref())
    }

    /// A cell as a finite decimal number.
    ///
    /// # Errors
    /// When it is empty, not a number, NaN or not finite.
    pub fn number(&self, column: usize) -> Result<f64, ParseError> {
        let text = self.text(column);
        // `f64::from_str` also takes words such as `inf`: only what begins like a decimal is one.
        let decimal = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
        match text.parse::<f64>() {
            Ok(value) if decimal && value.is_finite() => Ok(value),
            _ if text.is_empty() => Err(self.error(column, "expected a number, the cell is empty")),
            _ => Err(self.error(column, format!("expected a finite number, found {}", shown(text)))),
        }
    }

    /// A cell as an integer of the type wanted; `7.0` counts as one.
    ///
    /// # Errors
    /// When it is empty, not an integer or out of the type's range.
    pub fn integer<T: TryFrom<i64>>(&self, column: usize) -> Result<T, ParseError> {
        let text = self.text(column);
        let whole = text.split_once('.').map_or(text, |(whole, zeros)| if zeros.bytes().all(|b| b == b'0') { whole } else { text });
        let value = whole.parse::<i64>().ok().and_then(|value| T::try_from(value).ok());
        value.ok_or_else(|| self.error(column, format!("expected an integer in range, found {}", shown(text))))
    }

    /// A cell in fixed point, by the constructor of its quantity.
    ///
    /// # Errors
    /// When it is not a finite number, or beyond what a row may hold.
    pub fn quantity<T>(&self, column: usize, from: impl Fn(f64) -> Option<T>) -> Result<T, ParseError> {
        let value = self.number(column)?;
        from(value).ok_or_else(|| self.error(column, format!("{} is beyond what a row may hold", number(value))))
    }
}

/// A number as a message shows it: without hundreds of zeros.
pub(crate) fn number(value: f64) -> String {
    if value.abs() < 1e16 { value.to_string() } else { format!("{value:e}") }
}

/// Text from a file as a message shows it: quoted, and cut when long.
#[must_use]
pub fn shown(text: &str) -> String {
    let start: String = text.chars().take(40).collect();
    if start.len() < text.len() { format!("{start:?}…") } else { format!("{start:?}") }
}

/// Calls `each` for every line of a whole table that is not blank, header aside.
///
/// # Errors
/// When the file has no header, a line is malformed, or `each` says so.
pub fn for_each_row(
    file: &str,
    text: &str,
    mut each: impl FnMut(&Header, &Row<'_>) -> Result<(), ParseError>,
) -> Result<Header, ParseError> {
    let mut lines = text.lines().zip(1u64..).filter(|(line, _)| !line.trim().is_empty());
    let (first, number) = lines.next().ok_or_else(|| ParseError::file(file, "the file is empty; expected a header line"))?;
    let header = Header::read(file, number, first)?;
    for (line, number) in lines {
        each(&header, &header.row(number, line)?)?;
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_splits_at_commas_outside_quotes() {
        assert_eq!(split_line(r#" a ,"b, ""c""",, "" ,d"#).unwrap(), ["a", r#"b, "c""#, "", "", "d"]);
        assert_eq!(split_line("").unwrap(), [""]);
        assert_eq!(split_line("a,").unwrap(), ["a", ""]);
        assert_eq!(split_line(r#""""#).unwrap(), [""]);
        assert!(split_line(r#"a,"b"#).is_err());
        assert!(split_line(r#""a"b,c"#).is_err());
    }

    #[test]
    fn a_wrong_cell_is_named_by_file_line_and_column() {
        let text = "\u{feff}id,p_mw\r\n\r\n1,2.5\r\n2,NaN\r\n";
        let mut seen = Vec::new();
        let error = for_each_row("a.csv", text, |header, row| {
            seen.push((row.integer::<u32>(header.column("id")?)?, row.number(header.column("p_mw")?)?));
            Ok(())
        })
        .unwrap_err();
        assert_eq!(seen, [(1, 2.5)]);
        assert_eq!(error.to_string(), r#"a.csv, line 4, column p_mw: expected a finite number, found "NaN""#);
        let short = for_each_row("a.csv", "a,b\n1\n", |_, _| Ok(())).unwrap_err();
        assert_eq!(short.to_string(), "a.csv, line 2: expected 2 cells as in the header, found 1");
        let twice = for_each_row("a.csv", "a,a\n", |_, _| Ok(())).unwrap_err();
        assert_eq!((twice.line, twice.column.as_str()), (1, "a"));
    }

    #[test]
    fn words_for_infinity_and_fractions_of_a_count_are_no_numbers() {
        let header = Header::read("a.csv", 1, "a,b,c,d,e,f").unwrap();
        let row = header.row(2, "inf,7.0,7.5,-1,1e400,+.5e1").unwrap();
        assert!(row.number(0).is_err());
        assert_eq!(row.integer::<u32>(1), Ok(7));
        assert!(row.integer::<u32>(2).is_err());
        assert!(row.integer::<u32>(3).is_err());
        assert!(row.number(4).is_err());
        assert_eq!(row.number(5), Ok(5.0));
    }

    proptest! {
        #[test]
        fn quoted_cells_split_back_into_what_they_were(cells in prop::collection::vec("[a-z\", ]{0,6}", 1..6)) {
            let line: Vec<String> = cells.iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\""))).collect();
            let line = line.join(",");
            prop_assert_eq!(split_line(&line).unwrap(), cells);
        }

        #[test]
        fn any_line_splits_or_is_refused_without_panic(line: String) {
            let _ = split_line(&line);
        }
    }
}
