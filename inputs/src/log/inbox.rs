//! The inbox of a log: a directory through which other processes hand rows to the one process that writes it.
//!
//! A row is a file `inbox/NAME.row` that appears whole or not at all: `GFINBOX1`, the CRC-32 of the row (4 bytes, little
//! endian), the row in its one byte form ([`Input::write`]). Only facts of the engine and orders of operators come this
//! way; all else has connectors. The writer takes rows in the order of their names, appends them to the log, makes that
//! durable, and only then deletes the files: a row comes **at least once**. When the writer dies in between it comes
//! twice. A fact stated twice is the same fact, and an order carries its number.
//!
//! What is no such file is moved to `inbox/refused/`, with the reason beside it. Names that begin with a dot are drafts.

use super::directory::sync_directory;
use super::frame::crc;
use crate::input::{Input, Kind};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// Name of the directory beside the segments.
pub const INBOX: &str = "inbox";
/// Name of the directory in it where refused files go.
pub const REFUSED: &str = "refused";
/// Greatest length of a file.
pub const FILE_BYTES: u64 = 64 << 10;

const MAGIC: [u8; 8] = *b"GFINBOX1";
const SUFFIX: &str = ".row";
const NAME_BYTES: usize = 100;

/// Why the inbox could not be used.
#[derive(Debug, thiserror::Error)]
pub enum InboxError {
    /// The name cannot be a file's.
    #[error("\"{name}\" cannot name a row: 1 to {NAME_BYTES} letters, digits, `-`, `_` and `.`, not beginning with `.`")]
    Name {
        /// The name.
        name: String,
    },
    /// Another row waits under that name.
    #[error("another row waits in {} already: choose another name", path.display())]
    Taken {
        /// Its file.
        path: PathBuf,
    },
    /// Rows of that kind do not come through the inbox.
    #[error("a row of kind {kind} does not come through the inbox: only EngineFact and OperatorCommand do")]
    Kind {
        /// Name of the kind.
        kind: &'static str,
    },
    /// The row is longer than a file may be.
    #[error("a row of {bytes} bytes is too long for the inbox: {FILE_BYTES} at most")]
    TooLarge {
        /// Its length in the file.
        bytes: usize,
    },
    /// The file system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

/// A file that held no row for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Where it lies now.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// What was taken out of an inbox. The files are still there until [`delete`](Self::delete).
#[derive(Debug)]
#[must_use = "rows that are not deleted come again"]
pub struct Drained {
    /// The rows, in the order of their names.
    pub rows: Vec<Input>,
    /// What was moved aside.
    pub refused: Vec<Refused>,
    dir: PathBuf,
    files: Vec<PathBuf>,
}

impl Drained {
    /// Deletes the files of the rows: to be called when the rows are durable in the log.
    ///
    /// # Errors
    /// When the file system refuses; the rows left come again.
    pub fn delete(self) -> Result<(), InboxError> {
        for path in &self.files {
            match fs::remove_file(path) {
                Err(source) if source.kind() != ErrorKind::NotFound => return Err(failed(path, "delete")(source)),
                _ => {}
            }
        }
        if self.files.is_empty() { Ok(()) } else { sync(&self.dir) }
    }
}

fn failed(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> InboxError {
    move |source| InboxError::Io { path: path.to_owned(), doing, source }
}

fn sync(dir: &Path) -> Result<(), InboxError> {
    sync_directory(dir).map_err(|error| failed(dir, "sync")(io::Error::other(error)))
}

/// Whether rows of this kind come through the inbox.
fn accepted(kind: Kind) -> Result<(), InboxError> {
    if matches!(kind, Kind::EngineFact | Kind::OperatorCommand) { Ok(()) } else { Err(InboxError::Kind { kind: kind.name() }) }
}

fn to_bytes(row: &Input) -> Vec<u8> {
    let mut bytes = [MAGIC.as_slice(), &[0; 4]].concat();
    row.write(&mut bytes);
    let check = crc(&bytes[MAGIC.len() + 4..]);
    bytes[MAGIC.len()..][..4].copy_from_slice(&check.to_le_bytes());
    bytes
}

fn from_bytes(bytes: &[u8]) -> Result<Input, String> {
    let rest = bytes.strip_prefix(&MAGIC).ok_or("it does not begin with GFINBOX1")?;
    let (check, mut rest) = rest.split_first_chunk::<4>().ok_or("it ends inside its checksum")?;
    if u32::from_le_bytes(*check) != crc(rest) {
        return Err("its checksum does not fit".to_owned());
    }
    let row = Input::read(&mut rest).map_err(|error| format!("it holds no row of this build: {error}"))?;
    if !rest.is_empty() {
        return Err("bytes are left over behind its row".to_owned());
    }
    accepted(row.kind()).map_err(|error| error.to_string())?;
    Ok(row)
}

/// Hands a row to the writer of the log in `log`, under a name that no other row waiting has; saying the same again is no
/// error. The row is durable when this returns.
///
/// # Errors
/// When the name, the kind or the length does not fit, another row waits under the name, or the file system refuses.
pub fn post(log: &Path, name: &str, row: &Input) -> Result<(), InboxError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > NAME_BYTES || name.starts_with('.') || !name.bytes().all(fits) {
        return Err(InboxError::Name { name: name.to_owned() });
    }
    accepted(row.kind())?;
    let bytes = to_bytes(row);
    if bytes.len() as u64 > FILE_BYTES {
        return Err(InboxError::TooLarge { bytes: bytes.len() });
    }
    let dir = log.join(INBOX);
    fs::create_dir_all(&dir).map_err(failed(&dir, "create"))?;
    let (draft, mut file) = draft(&dir, name)?;
    let path = dir.join(format!("{name}{SUFFIX}"));
    // A link, not a renaming: that would replace a row that waits.
    let posted = file.write_all(&bytes).and_then(|()| file.sync_all()).and_then(|()| fs::hard_link(&draft, &path));
    let _ = fs::remove_file(&draft);
    match posted {
        Ok(()) => sync(&dir),
        Err(source) if source.kind() == ErrorKind::AlreadyExists => {
            // Whoever takes the row that waits has it from us too.
            if fs::read(&path).is_ok_and(|waiting| waiting == bytes) { Ok(()) } else { Err(InboxError::Taken { path }) }
        }
        Err(source) => Err(failed(&path, "create")(source)),
    }
}

fn draft(dir: &Path, name: &str) -> Result<(PathBuf, File), InboxError> {
    let mut attempt = 0u32;
    loop {
        let path = dir.join(format!(".{name}-{attempt}"));
        match File::options().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && attempt < u32::MAX => attempt += 1,
            Err(source) => return Err(failed(&path, "create")(source)),
        }
    }
}

/// Takes at most `limit` files out of the inbox of the log in `log`, in the order of their names, and moves aside those
/// that are no rows. Memory is bounded by `limit`, however many files wait.
///
/// # Errors
/// When the file system refuses.
pub fn drain(log: &Path, limit: usize) -> Result<Drained, InboxError> {
    let dir = log.join(INBOX);
    let mut drained = Drained { rows: Vec::new(), refused: Vec::new(), dir: dir.clone(), files: Vec::new() };
    for name in first_names(&dir, limit)? {
        let path = dir.join(&name);
        match take(&path)? {
            Some(Ok(row)) => {
                drained.rows.push(row);
                drained.files.push(path);
            }
            Some(Err(reason)) => drained.refused.push(set_aside(&dir, &path, &name, reason)?),
            // Somebody removed it.
            None => {}
        }
    }
    Ok(drained)
}

/// The least `limit` names in the inbox that are neither drafts nor its own directory.
fn first_names(dir: &Path, limit: usize) -> Result<BTreeSet<OsString>, InboxError> {
    let mut names = BTreeSet::new();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(names),
        Err(source) => return Err(failed(dir, "list")(source)),
    };
    for entry in entries {
        let name = entry.map_err(failed(dir, "list"))?.file_name();
        if name == REFUSED || name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        names.insert(name);
        if names.len() > limit {
            names.pop_last();
        }
    }
    Ok(names)
}

/// The row of a file, or why it holds none; nothing when it is gone.
fn take(path: &Path) -> Result<Option<Result<Input, String>>, InboxError> {
    let refuse = |reason: &str| Ok(Some(Err(reason.to_owned())));
    let gone = |error: &io::Error| error.kind() == ErrorKind::NotFound;
    // Not followed, and not opened when it is no file: a pipe would never answer.
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if gone(&error) => return Ok(None),
        Err(source) => return Err(failed(path, "look at")(source)),
    };
    if !found.is_file() {
        return refuse("it is no file");
    }
    if !path.as_os_str().as_encoded_bytes().ends_with(SUFFIX.as_bytes()) {
        return refuse("its name does not end in .row");
    }
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(FILE_BYTES + 1).read_to_end(&mut bytes)) {
        Ok(_) if bytes.len() as u64 > FILE_BYTES => refuse("it is longer than 64 KiB"),
        Ok(_) => Ok(Some(from_bytes(&bytes))),
        Err(error) if gone(&error) => Ok(None),
        // What this process may not read, it cannot wait for either.
        Err(error) => refuse(&format!("it cannot be read: {error}")),
    }
}

/// Moves a file to where the refused ones are, under a free name, and puts the reason beside it.
fn set_aside(dir: &Path, path: &Path, name: &OsString, reason: String) -> Result<Refused, InboxError> {
    let refused = dir.join(REFUSED);
    fs::create_dir_all(&refused).map_err(failed(&refused, "create"))?;
    let (mut to, mut attempt) = (refused.join(name), 0u64);
    while fs::symlink_metadata(&to).is_ok() {
        attempt += 1;
        let mut name = name.clone();
        name.push(format!("-{attempt}"));
        to = refused.join(name);
    }
    fs::rename(path, &to).map_err(failed(path, "move aside"))?;
    let mut beside = to.clone().into_os_string();
    beside.push(".reason");
    let beside = PathBuf::from(beside);
    fs::write(&beside, format!("{reason}\n")).map_err(failed(&beside, "write"))?;
    Ok(Refused { path: to, reason })
}
