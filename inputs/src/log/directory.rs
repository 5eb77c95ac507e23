//! The directory of a log: names of its segments, and the lock that keeps a second writer out.
//!
//! Segments are numbered from 1 without gaps. The lock is the operating system's, on an empty file: it goes when its
//! holder does, however that ends. Readers take no lock.

use super::{LogError, io_error};
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const LOCK: &str = "lock";

/// Path of a segment.
pub(super) fn segment_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("segment-{number:08}.gfl"))
}

/// Number of segments: they are 1 to that, without a gap.
pub(super) fn count_segments(dir: &Path) -> Result<u32, LogError> {
    let entries = fs::read_dir(dir).map_err(|source| match source.kind() {
        ErrorKind::NotFound => LogError::Missing { dir: dir.to_owned() },
        _ => io_error(dir, "list", source),
    })?;
    let mut numbers = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| io_error(dir, "list", source))?;
        let name = entry.file_name();
        let Some(digits) = name.to_str().and_then(|name| name.strip_prefix("segment-")?.strip_suffix(".gfl")) else { continue };
        let number = digits.parse().ok().filter(|number| *number > 0 && segment_path(dir, *number) == entry.path());
        numbers.push(
            number.ok_or_else(|| LogError::Foreign { path: entry.path(), what: "segments are named segment-00000001.gfl and so on" })?,
        );
    }
    numbers.sort_unstable();
    match numbers.iter().zip(1u32..).find(|(found, expected)| *found != expected) {
        Some((_, missing)) => Err(LogError::Gap { dir: dir.to_owned(), missing }),
        None => Ok(numbers.len() as u32),
    }
}

/// Makes the entries of a directory durable.
pub(super) fn sync_directory(dir: &Path) -> Result<(), LogError> {
    if cfg!(unix) {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| io_error(dir, "sync", source))?;
    }
    Ok(())
}

/// The right to write in a directory; given back when dropped.
#[derive(Debug)]
pub(super) struct WriteLock {
    _file: File,
}

impl WriteLock {
    /// Takes the lock, or says who is in the way.
    pub(super) fn take(dir: &Path) -> Result<Self, LogError> {
        let path = dir.join(LOCK);
        let file = File::options().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|source| io_error(&path, "open for writing", source))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(LogError::Locked { dir: dir.to_owned() }),
            Err(TryLockError::Error(source)) => Err(io_error(&path, "lock", source)),
        }
    }
}
