//! A network as tables: a directory of CSV files named after the kinds of rows (`bus.csv`, `branch.csv`, `node_switch.csv` …).
//!
//! - Columns are named after the fields of the rows, those of quantities with their customary unit behind: `base_voltage_kv`,
//!   `rating_mva`, `p_mw`, `shift_deg`. A column that no row has is an error; an optional one may be absent or its cells empty.
//! - `bus.csv` must be there. `network.csv` may state `name` and `base_mva` (100 otherwise).
//! - Words of closed lists are their names in lower case (`reference`, `breaker`, `gas`), truth is `true` or `false`.
//! - `three_winding.csv` has transformers of three windings by their nameplates; each becomes a star ([`star`]).
//! - Without switches of either kind every branch and unit gets a closed breaker, as with other files.

mod equipment;
mod star;
#[cfg(test)]
mod tests;

pub use star::{Pair, StarError, ThreeWinding, star};

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::Path;

use crate::ids::BusId;
use crate::network::Network;
use crate::network_file::{NetworkFile, RAD_PER_DEG, add_breakers};
use crate::row::Real;
use crate::table::{Header, ParseError, Row, for_each_row, read_text, shown};
use crate::units::MilliVoltAmperes;

/// Whether the header of a `bus.csv` is that of these tables.
#[must_use]
pub fn is_header(line: &str) -> bool {
    Header::read("bus.csv", 1, line).is_ok_and(|header| header.find("id").is_some())
}

/// Reads the tables of a directory.
///
/// # Errors
/// When a table or column is missing, unknown, or a value is not what it should be; names file, line and column.
pub fn read(dir: &Path) -> Result<NetworkFile, ParseError> {
    let name = dir.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let mut file = NetworkFile {
        name,
        base_power: MilliVoltAmperes::from_mva(100.0).expect("100 MVA is a power"),
        network: Network::default(),
        warnings: Vec::new(),
    };
    let tables = Tables { dir, kinds: RefCell::default() };
    tables.each("network", &["name", "base_mva"], false, |cells| {
        if !cells.text("name").is_empty() {
            file.name = cells.text("name").to_owned();
        }
        file.base_power =
            cells.quantity_or("base_mva", file.base_power, |mva| MilliVoltAmperes::from_mva(mva).filter(|base| base.0 > 0))?;
        Ok(())
    })?;
    equipment::read(&tables, &mut file)?;
    file.warnings.extend(tables.strange().into_iter().map(|name| format!("{name} is no table of a network and is passed over")));
    if file.network.switches.is_empty() && file.network.node_switches.is_empty() {
        add_breakers(&mut file.network);
    }
    Ok(file)
}

/// Where the tables are.
struct Tables<'a> {
    dir: &'a Path,
    /// What was asked for.
    kinds: RefCell<BTreeSet<String>>,
}

impl Tables<'_> {
    /// Tables that nobody asked for.
    fn strange(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.dir).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| name.strip_suffix(".csv").is_some_and(|kind| !self.kinds.borrow().contains(kind))).collect()
    }

    /// Calls `each` for every row of a table, of which these are the columns.
    fn each(
        &self,
        kind: &str,
        columns: &[&str],
        required: bool,
        mut each: impl FnMut(&Cells<'_>) -> Result<(), ParseError>,
    ) -> Result<(), ParseError> {
        self.kinds.borrow_mut().insert(kind.to_owned());
        let path = self.dir.join(format!("{kind}.csv"));
        if !required && !path.exists() {
            return Ok(());
        }
        let (text, name) = (read_text(&path)?, path.display().to_string());
        let unknown = |header: &Header| header.names().iter().find(|name| !columns.contains(&name.as_str())).cloned();
        let mut checked = false;
        let header = for_each_row(&name, &text, |header, row| {
            if !checked && let Some(column) = unknown(header) {
                return Err(no_column(&name, column, columns));
            }
            checked = true;
            each(&Cells { header, row })
        })?;
        unknown(&header).map_or(Ok(()), |column| Err(no_column(&name, column, columns)))
    }
}

fn no_column(file: &str, column: String, columns: &[&str]) -> ParseError {
    let reason = format!("the table has no such column; it may have {}", columns.join(", "));
    ParseError { file: file.to_owned(), line: 1, column, reason }
}

/// A row of a table, by the names of its columns.
struct Cells<'a> {
    header: &'a Header,
    row: &'a Row<'a>,
}

impl Cells<'_> {
    /// A cell as text; empty where there is none.
    fn text(&self, name: &str) -> &str {
        self.header.find(name).map_or("", |column| self.row.text(column))
    }

    fn error(&self, name: &str, reason: impl Into<String>) -> ParseError {
        match self.header.column(name) {
            Ok(column) => self.row.error(column, reason),
            Err(error) => error,
        }
    }

    fn id(&self, name: &str) -> Result<u32, ParseError> {
        self.row.integer(self.header.column(name)?)
    }

    fn integer_or<T: TryFrom<i64>>(&self, name: &str, otherwise: T) -> Result<T, ParseError> {
        match self.text(name) {
            "" => Ok(otherwise),
            _ => self.row.integer(self.header.column(name)?),
        }
    }

    fn quantity<T>(&self, name: &str, from: impl Fn(f64) -> Option<T>) -> Result<T, ParseError> {
        self.row.quantity(self.header.column(name)?, from)
    }

    fn quantity_or<T>(&self, name: &str, otherwise: T, from: impl Fn(f64) -> Option<T>) -> Result<T, ParseError> {
        if self.text(name).is_empty() { Ok(otherwise) } else { self.quantity(name, from) }
    }

    fn real_or(&self, name: &str, otherwise: Real) -> Result<Real, ParseError> {
        self.quantity_or(name, otherwise, Real::new)
    }

    fn degrees_or(&self, name: &str, otherwise: f64) -> Result<Real, ParseError> {
        let radians = |deg: f64| Real::new(deg * RAD_PER_DEG);
        self.quantity_or(name, radians(otherwise).unwrap_or(Real::ZERO), radians)
    }

    fn flag_or(&self, name: &str, otherwise: bool) -> Result<bool, ParseError> {
        match self.text(name) {
            "" => Ok(otherwise),
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            other => Err(self.error(name, format!("expected true or false, found {}", shown(other)))),
        }
    }

    /// A word of a closed list.
    fn word_or<T: Copy + Debug>(&self, name: &str, otherwise: Option<T>, all: &[T]) -> Result<T, ParseError> {
        let word = |value: &T| {
            let name = format!("{value:?}");
            let mut word = String::new();
            for (place, letter) in name.chars().enumerate() {
                if place > 0 && letter.is_uppercase() {
                    word.push('_');
                }
                word.extend(letter.to_lowercase());
            }
            word
        };
        let found = self.text(name);
        if let ("", Some(otherwise)) = (found, otherwise) {
            return Ok(otherwise);
        }
        self.header.column(name)?;
        all.iter().find(|value| word(value) == found).copied().ok_or_else(|| {
            let words: Vec<String> = all.iter().map(word).collect();
            self.error(name, format!("expected one of {}, found {}", words.join(", "), shown(found)))
        })
    }

    /// A number that no row before has.
    fn new_id(&self, name: &str, known: &mut BTreeSet<u32>) -> Result<u32, ParseError> {
        let id = self.id(name)?;
        if known.insert(id) { Ok(id) } else { Err(self.error(name, format!("number {id} is there already"))) }
    }

    /// The number of something that is there.
    fn known(&self, name: &str, what: &str, known: &BTreeSet<u32>) -> Result<u32, ParseError> {
        let id = self.id(name)?;
        if known.contains(&id) { Ok(id) } else { Err(self.error(name, format!("there is no {what} {id}"))) }
    }

    fn bus(&self, name: &str, buses: &BTreeSet<u32>) -> Result<BusId, ParseError> {
        self.known(name, "bus", buses).map(BusId)
    }

    fn bus_or_none(&self, name: &str, buses: &BTreeSet<u32>) -> Result<Option<BusId>, ParseError> {
        if self.text(name).is_empty() { Ok(None) } else { self.bus(name, buses).map(Some) }
    }
}
