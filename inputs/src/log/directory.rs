//! Names in the directory of a log, and the lock that keeps a second writer out.
//!
//! A segment's name says its number and, from the first leadership term on, the term that writes it: a leader that was
//! superseded and does not know it yet can never write into a file of its successor. The lock is the operating system's,
//! on an empty file, one for each term: it goes when its holder does, however that ends, and a leader that is stopped but
//! not dead holds up nobody. Readers take no lock.

use super::{LogError, io_error, write_error};
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Path of the segment that a term writes under a number.
pub(super) fn segment_path(dir: &Path, number: u32, term: u64) -> PathBuf {
    dir.join(if term == 0 { format!("segment-{number:08}.gfl") } else { format!("segment-{number:08}-term-{term:08}.gfl") })
}

/// Number and term of all segment files of a directory, in order.
pub(super) fn segment_files(dir: &Path) -> Result<Vec<(u32, u64)>, LogError> {
    let entries = fs::read_dir(dir).map_err(|source| match source.kind() {
        ErrorKind::NotFound => LogError::Missing { dir: dir.to_owned() },
        _ => io_error(dir, "list", source),
    })?;
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| io_error(dir, "list", source))?;
        let name = entry.file_name();
        let Some(name) = name.to_str().and_then(|name| name.strip_prefix("segment-")?.strip_suffix(".gfl")) else { continue };
        let (number, term) = name.split_once("-term-").unwrap_or((name, "0"));
        let file = number.parse().ok().zip(term.parse().ok());
        let file = file.filter(|(number, term)| *number > 0 && segment_path(dir, *number, *term) == entry.path());
        let what = "segments are named segment-00000001.gfl and so on";
        files.push(file.ok_or_else(|| LogError::Foreign { path: entry.path(), what })?);
    }
    files.sort_unstable();
    Ok(files)
}

/// Makes the entries of a directory durable.
pub(super) fn sync_directory(dir: &Path) -> Result<(), LogError> {
    if cfg!(unix) {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| io_error(dir, "sync", source))?;
    }
    Ok(())
}

/// The right to write in a directory in one term; given back when dropped.
#[derive(Debug)]
pub(super) struct WriteLock {
    file: File,
}

impl WriteLock {
    /// Takes the lock, or says who is in the way.
    pub(super) fn take(dir: &Path, term: u64) -> Result<Self, LogError> {
        let path = dir.join(if term == 0 { "lock".to_owned() } else { format!("lock-term-{term:08}") });
        let file = File::options().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|source| write_error(dir, &path, "open for writing", source))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => Err(LogError::Locked { dir: dir.to_owned() }),
            Err(TryLockError::Error(source)) => Err(io_error(&path, "lock", source)),
        }
    }
}

impl Drop for WriteLock {
    /// Gives the lock back by name: closed alone it would last for as long as a child that is being started, and has not yet come to its
    /// own program, holds a copy of the file.
    fn drop(&mut self) {
        // Closing what cannot be unlocked is all that is left.
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod lock_tests {
    use super::*;

    #[test]
    fn a_lock_that_is_given_back_is_free_though_a_copy_of_its_file_is_open() {
        let dir = tempfile::tempdir().expect("scratch can be made");
        let lock = WriteLock::take(dir.path(), 0).expect("nobody has it");
        let copy = lock.file.try_clone().expect("a file can be copied");
        assert!(matches!(WriteLock::take(dir.path(), 0), Err(LogError::Locked { .. })));
        drop(lock);
        drop(WriteLock::take(dir.path(), 0).expect("it was given back"));
        drop(copy);
    }
}
