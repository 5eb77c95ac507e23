//! Leadership terms: who may write the logs below an output directory, and where the term before ended.
//!
//! A term is a file `terms/term-00000001` … beside the logs. It comes into being whole and only once: written under another
//! name, forced to the disk, then linked to its own, which fails if the name is taken. It holds a [`Fence`] for each log:
//! how far that was written when the term was claimed. What an older term writes behind its fence counts for nobody,
//! so that a leader which wakes up late can do no harm. Before the first claim there is term 0, without a file.
//!
//! Bytes of the file: `GFTERM01`, the [`TermRecord`] in its canonical form, CRC-32 of all before (4, little endian).

use super::directory::{segment_files, sync_directory};
use super::frame::crc;
use super::layout::{Layout, Survey};
use super::segment::{Opened, Step};
use super::{LogError, io_error, write_error};
use crate::row::Canonical;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"GFTERM01";
const TERMS: &str = "terms";
/// A term file larger than this is none: room for the fences of some hundred thousand logs.
const TERM_BYTES: u64 = 16 << 20;
const WHO_BYTES: usize = 96;

crate::record! {
    /// How far a log was written when a term was claimed: what older terms write behind that is no part of it.
    pub struct Fence {
        /// Name of the log: that of its directory.
        stream: String,
        /// Number of the last segment; 0 when nothing had been written.
        segment: u32,
        /// Length of that segment up to its last complete epoch.
        length: u64,
        /// The last complete epoch.
        last_epoch: Option<u64>,
        /// Link of the commit frames up to there: the next segment states it.
        link: u32,
    }

    /// What a term's file says.
    pub struct TermRecord {
        /// Number of the term.
        term: u64,
        /// Who claimed it, in the claimer's words.
        who: String,
        /// For each log there was, by name, where the term before ended.
        fences: Vec<Fence>,
    }
}

impl Fence {
    /// Of a log that was not there.
    pub(super) fn nothing(stream: &str) -> Self {
        Self { stream: stream.to_owned(), segment: 0, length: 0, last_epoch: None, link: 0 }
    }
}

impl TermRecord {
    /// Where the term before ended in a log.
    #[must_use]
    pub fn fence(&self, stream: &str) -> Fence {
        self.fences.iter().find(|fence| fence.stream == stream).cloned().unwrap_or_else(|| Fence::nothing(stream))
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        self.write(&mut bytes);
        let check = crc(&bytes);
        bytes.extend_from_slice(&check.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8], term: u64) -> Result<Self, String> {
        let (content, check) = bytes.split_last_chunk::<4>().ok_or("it is too short")?;
        let mut rest = content.strip_prefix(&MAGIC).ok_or("it does not begin with GFTERM01")?;
        if crc(content) != u32::from_le_bytes(*check) {
            return Err("its checksum does not fit".to_owned());
        }
        let record = Self::read(&mut rest).map_err(|error| error.to_string())?;
        if !rest.is_empty() {
            return Err("bytes are left over behind its last fence".to_owned());
        }
        if record.term != term {
            return Err(format!("it states term {}", record.term));
        }
        Ok(record)
    }
}

/// The terms claimed in an output directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    out: PathBuf,
    records: Vec<TermRecord>,
}

/// Why a term could not be claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Somebody else claimed it first.
    #[error("leadership term {term} was claimed by another process first: follow it, or claim the next one when it is gone")]
    Taken {
        /// The term.
        term: u64,
    },
    /// The logs or the term's file.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl Terms {
    /// Reads all terms of an output directory; none when it has none.
    ///
    /// # Errors
    /// When a term file is missing between others or damaged, or the file system refuses.
    pub fn load(out: &Path) -> Result<Self, LogError> {
        let mut records = Vec::new();
        for term in 1..=newest_term(out)? {
            let missing = || LogError::Term { path: term_path(out, term), what: "it is missing, but later terms are there".to_owned() };
            records.push(read_term(out, term)?.ok_or_else(missing)?);
        }
        Ok(Self { out: out.to_owned(), records })
    }

    /// Number of the newest term; 0 before the first claim.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.records.len() as u64
    }

    /// What the newest term's file says.
    #[must_use]
    pub fn record(&self) -> Option<&TermRecord> {
        self.records.last()
    }

    /// What all terms' files say, term 1 first.
    #[must_use]
    pub fn records(&self) -> &[TermRecord] {
        &self.records
    }

    /// Where the term before `term` ended in a log; `term` is a known one.
    pub(super) fn fence_of(&self, term: u64, stream: &str) -> Fence {
        self.records[term as usize - 1].fence(stream)
    }

    /// Whether a later term was claimed since. Looks at one file name: for a leader, before all it writes or emits.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn superseded(&self) -> Result<bool, LogError> {
        let path = term_path(&self.out, self.newest() + 1);
        path.try_exists().map_err(|source| io_error(&path, "look for", source))
    }

    /// Claims the next term for `who` (free text of at most 96 bytes): measures how far each log below `out` is written,
    /// the named ones and all others there, and records that. Nothing of the term before that comes later counts.
    ///
    /// What the term before writes between the measurement and the claim does not count either; a reader that
    /// has read it is told so ([`LogError::Fenced`]). It is lost to nobody: outputs are a function of the input log.
    ///
    /// # Errors
    /// When somebody else claims the same term first, the last segment of a log is damaged, or the file system refuses.
    pub fn claim(out: &Path, streams: &[&str], who: &str) -> Result<Self, ClaimError> {
        if who.len() > WHO_BYTES {
            return Err(LogError::Name { name: who.to_owned() }.into());
        }
        let dir = out.join(TERMS);
        fs::create_dir_all(&dir).map_err(|source| write_error(out, &dir, "create", source))?;
        let mut terms = Self::load(out)?;
        let term = terms.newest() + 1;
        let mut names: BTreeSet<String> = streams.iter().map(|name| (*name).to_owned()).collect();
        names.extend(terms.record().into_iter().flat_map(|record| record.fences.iter().map(|fence| fence.stream.clone())));
        names.extend(logs(out)?);
        let measured = names.iter().map(|name| measure(&Layout::of(out, name, &terms)?)).collect::<Result<Vec<_>, _>>();
        let fences = match measured {
            Ok(fences) => fences,
            // The winner may have begun to write already.
            Err(LogError::UnknownTerm { .. }) if terms.superseded()? => return Err(ClaimError::Taken { term }),
            Err(error) => return Err(error.into()),
        };
        let record = TermRecord { term, who: who.to_owned(), fences };
        publish(&dir, out, &record)?;
        terms.records.push(record);
        Ok(terms)
    }
}

/// Number of the newest term of an output directory, from a listing alone; 0 before the first claim.
///
/// # Errors
/// When the directory of terms cannot be listed.
pub fn newest_term(out: &Path) -> Result<u64, LogError> {
    let mut newest = 0;
    each_name(&out.join(TERMS), |name| {
        let term = name.strip_prefix("term-").and_then(|digits| digits.parse().ok()).filter(|term| name == term_name(*term));
        newest = newest.max(term.unwrap_or(0));
    })?;
    Ok(newest)
}

/// Whether there are terms at all.
pub(super) fn any(out: &Path) -> Result<bool, LogError> {
    Ok(newest_term(out)? > 0)
}

fn term_name(term: u64) -> String {
    format!("term-{term:08}")
}

/// Path of a term's file.
pub(super) fn term_path(out: &Path, term: u64) -> PathBuf {
    out.join(TERMS).join(term_name(term))
}

/// Reads a term's file; `None` when the term is not claimed.
pub(super) fn read_term(out: &Path, term: u64) -> Result<Option<TermRecord>, LogError> {
    let path = term_path(out, term);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(source) => return Err(io_error(&path, "open", source)),
    };
    let mut bytes = Vec::new();
    file.take(TERM_BYTES + 1).read_to_end(&mut bytes).map_err(|source| io_error(&path, "read", source))?;
    if bytes.len() as u64 > TERM_BYTES {
        return Err(LogError::Term { path, what: "it is larger than any term file".to_owned() });
    }
    match TermRecord::from_bytes(&bytes, term) {
        Ok(record) => Ok(Some(record)),
        Err(what) => Err(LogError::Term { path, what }),
    }
}

/// Shows the UTF-8 names in a directory to `look`; there are none in one that is missing.
fn each_name(dir: &Path, mut look: impl FnMut(&str)) -> Result<(), LogError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
        Err(source) => return Err(io_error(dir, "list", source)),
    };
    for entry in entries {
        let entry = entry.map_err(|source| io_error(dir, "list", source))?;
        entry.file_name().to_str().into_iter().for_each(&mut look);
    }
    Ok(())
}

/// Names of the directories below `out` that hold segments.
fn logs(out: &Path) -> Result<Vec<String>, LogError> {
    let mut names = Vec::new();
    each_name(out, |name| names.push(name.to_owned()))?;
    names.retain(|name| out.join(name).is_dir() && segment_files(&out.join(name)).is_ok_and(|files| !files.is_empty()));
    Ok(names)
}

/// How far a log is written, with all checksums of its last segment tested; that much is forced to the disk.
fn measure(layout: &Layout) -> Result<Fence, LogError> {
    let before = layout.fence();
    let mut number = match layout.survey() {
        Ok(Survey::Whole { count, .. }) => count,
        Ok(Survey::UnknownTerm { path, term }) => return Err(LogError::UnknownTerm { path, term }),
        Err(LogError::Missing { .. }) if before.segment == 0 => 0,
        Err(error) => return Err(error),
    };
    let last = number;
    while number > before.segment {
        let mut segment = match layout.open(number, None)? {
            Opened::Segment(segment) => segment,
            // The term before was about to begin it, or to create the log.
            Opened::Torn(_) if number == last => {
                number -= 1;
                continue;
            }
            Opened::Torn(torn) => {
                let what = "the segment ends inside its header, but others follow".to_owned();
                return Err(LogError::Damage { segment: number, offset: torn.bytes, epoch: None, what });
            }
        };
        segment.last = segment.header.base_epoch.checked_sub(1);
        let mut scratch = Vec::new();
        while let Step::Epoch(frames) = segment.settled(|segment| segment.step_whole(&mut scratch))? {
            drop(frames);
        }
        let path = layout.path(number);
        File::open(&path).and_then(|file| file.sync_all()).map_err(|source| io_error(&path, "sync", source))?;
        sync_directory(path.parent().unwrap_or(Path::new(".")))?;
        let link = segment.link.expect("the segment was walked from its beginning");
        return Ok(Fence { segment: number, length: segment.position, last_epoch: segment.last, link, ..before });
    }
    Ok(before)
}

/// Gives the record its name, unless somebody else has it.
fn publish(dir: &Path, out: &Path, record: &TermRecord) -> Result<(), ClaimError> {
    let path = term_path(out, record.term);
    let (draft, mut file) = draft(dir, record.term)?;
    let written = file.write_all(&record.to_bytes()).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| fs::hard_link(&draft, &path));
    // Only a name; whether it can be removed changes nothing.
    let _ = fs::remove_file(&draft);
    if let Err(source) = linked {
        return Err(if path.exists() { ClaimError::Taken { term: record.term } } else { io_error(&path, "create", source).into() });
    }
    sync_directory(dir)?;
    sync_directory(if out.as_os_str().is_empty() { Path::new(".") } else { out })?;
    // Drafts of claimers that died. One that still lives has lost: its link cannot succeed any more.
    let mut old = Vec::new();
    each_name(dir, |name| {
        let term: Option<u64> = name.strip_prefix("draft-").and_then(|rest| rest.split_once('-')?.0.parse().ok());
        old.extend(term.filter(|term| *term <= record.term).map(|_| dir.join(name)));
    })?;
    old.iter().for_each(|draft| drop(fs::remove_file(draft)));
    Ok(())
}

/// A new file to write a claim into.
fn draft(dir: &Path, term: u64) -> Result<(PathBuf, File), LogError> {
    let mut attempt = 0u32;
    loop {
        let path = dir.join(format!("draft-{term:08}-{attempt}"));
        match File::options().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && attempt < u32::MAX => attempt += 1,
            Err(source) => return Err(write_error(dir, &path, "create", source)),
        }
    }
}
