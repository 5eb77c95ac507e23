//! Which file holds a segment of a log, and how far: the fences of all leadership terms put together.
//!
//! Each term but the first begins behind a fence: the last segment and its length at the end of the term before (see
//! `terms`). So segment `n` belongs to the newest term whose fence lies before it, and a segment a fence names ends there.
//! All else (the rest of a fenced segment, later segments of an older term) was written by a leader that had been
//! superseded: it is no part of the log, and only an inspection speaks of it. Without terms all segments are term 0's.

use super::directory::{segment_files, segment_path};
use super::segment::{Opened, Segment};
use super::terms::{Fence, Terms, read_term, term_path};
use super::{LogError, io_error};
use crate::input::Epoch;
use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of an older term behind its fence: no part of the log.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Ignored {
    /// Term that wrote them.
    pub term: u64,
    /// Number of the segment.
    pub segment: u32,
    /// How many they are.
    pub bytes: u64,
}

/// Where the segments of one log are, as of the newest term known.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    dir: PathBuf,
    /// The directory whose terms count, and the log's name in it; none for a log at the root of a file system.
    place: Option<(PathBuf, String)>,
    /// Fence of term 1, 2 …; neither segments nor epochs fall.
    fences: Vec<Fence>,
}

impl Layout {
    /// The layout of the log in `dir`, which need not be there.
    pub(super) fn load(dir: &Path) -> Result<Self, LogError> {
        let mut layout = Self { dir: dir.to_owned(), place: place(dir)?, fences: Vec::new() };
        if let Some((out, _)) = layout.place.clone() {
            layout.extend(&Terms::load(&out)?)?;
        }
        Ok(layout)
    }

    /// The layout of the log `stream` below `out`, as of these terms.
    pub(super) fn of(out: &Path, stream: &str, terms: &Terms) -> Result<Self, LogError> {
        let mut layout = Self { dir: out.join(stream), place: Some((out.to_owned(), stream.to_owned())), fences: Vec::new() };
        layout.extend(terms)?;
        Ok(layout)
    }

    fn extend(&mut self, terms: &Terms) -> Result<(), LogError> {
        (1..=terms.newest()).try_for_each(|term| self.push(terms.fence_of(term, self.stream())))
    }

    /// The directory of the log.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    fn stream(&self) -> &str {
        self.place.as_ref().map_or("", |(_, stream)| stream)
    }

    fn push(&mut self, fence: Fence) -> Result<(), LogError> {
        if let Some(last) = self.fences.last() {
            let continues = fence.segment > last.segment && fence.last_epoch >= last.last_epoch || fence == *last;
            if !continues {
                let out = self.place.as_ref().map_or(Path::new(""), |(out, _)| out);
                let what = format!("it fences {} before the term before it does", fence.stream);
                return Err(LogError::Term { path: term_path(out, self.newest() + 1), what });
            }
        }
        self.fences.push(fence);
        Ok(())
    }

    /// Takes up the terms claimed since; whether there were any.
    pub(super) fn grew(&mut self) -> Result<bool, LogError> {
        let Some((out, stream)) = self.place.clone() else { return Ok(false) };
        let before = self.newest();
        while let Some(record) = read_term(&out, self.newest() + 1)? {
            self.push(record.fence(&stream))?;
        }
        Ok(self.newest() > before)
    }

    /// The newest term known.
    pub(super) fn newest(&self) -> u64 {
        self.fences.len() as u64
    }

    /// What the newest term begins behind; the beginning of the log in term 0.
    pub(super) fn fence(&self) -> Fence {
        self.fence_of(self.newest())
    }

    /// What a known term begins behind.
    pub(super) fn fence_of(&self, term: u64) -> Fence {
        (term as usize).checked_sub(1).map_or_else(|| Fence::nothing(self.stream()), |at| self.fences[at].clone())
    }

    /// The term a segment belongs to.
    pub(super) fn term_of(&self, number: u32) -> u64 {
        self.fences.partition_point(|fence| fence.segment < number) as u64
    }

    /// Path of a segment.
    pub(super) fn path(&self, number: u32) -> PathBuf {
        segment_path(&self.dir, number, self.term_of(number))
    }

    /// Where a segment ends, if a later term begins behind it.
    pub(super) fn limit(&self, number: u32) -> Option<u64> {
        let at = self.fences.partition_point(|fence| fence.segment < number);
        self.fences.get(at).filter(|fence| fence.segment == number).map(|fence| fence.length)
    }

    /// Opens a segment; `last` is the last complete epoch before it, if known.
    pub(super) fn open(&self, number: u32, last: Option<Epoch>) -> Result<Opened, LogError> {
        let opened = Segment::open(&self.path(number), number, self.limit(number), last)?;
        let term = self.term_of(number);
        match opened {
            Opened::Segment(segment) if term > 0 && segment.header.log.term != term => {
                Err(segment.damage(0, format!("the segment's header states term {}, its name {term}", segment.header.log.term)))
            }
            Opened::Torn(_) if self.limit(number).is_some() => {
                let what = "the segment ends inside its header, but others follow".to_owned();
                Err(LogError::Damage { segment: number, offset: 0, epoch: last, what })
            }
            opened => Ok(opened),
        }
    }

    /// Number of segments: they are 1 to that, without a gap. Takes up terms claimed since.
    pub(super) fn count(&mut self) -> Result<u32, LogError> {
        loop {
            match self.survey()? {
                Survey::Whole { count, .. } => return Ok(count),
                Survey::UnknownTerm { .. } if self.grew()? => {}
                Survey::UnknownTerm { path, term } => return Err(LogError::UnknownTerm { path, term }),
            }
        }
    }

    /// The same for a writer: a term claimed since is an error.
    pub(super) fn count_known(&self) -> Result<u32, LogError> {
        match self.survey()? {
            Survey::Whole { count, .. } => Ok(count),
            Survey::UnknownTerm { term, .. } => Err(LogError::Superseded { dir: self.dir.clone(), term: self.newest(), newest: term }),
        }
    }

    /// Looks at the files there are.
    pub(super) fn survey(&self) -> Result<Survey, LogError> {
        let mut survey = (0, Vec::new());
        for (number, term) in segment_files(&self.dir)? {
            let path = segment_path(&self.dir, number, term);
            if term > self.newest() {
                return Ok(Survey::UnknownTerm { path, term });
            }
            let owner = self.term_of(number);
            if term < owner {
                survey.1.push((number, term));
            } else if term > owner {
                return Err(LogError::Foreign { path, what: "its term begins behind segments of that number" });
            } else if number == survey.0 + 1 {
                survey.0 = number;
            } else {
                return Err(LogError::Gap { dir: self.dir.clone(), missing: survey.0 + 1 });
            }
        }
        let (count, stale) = survey;
        // What a term began behind must be there.
        if count < self.fence().segment {
            return Err(LogError::Gap { dir: self.dir.clone(), missing: count + 1 });
        }
        Ok(Survey::Whole { count, stale })
    }

    /// The bytes that are no part of the log, by segment and term.
    pub(super) fn ignored(&self) -> Result<Vec<Ignored>, LogError> {
        let Survey::Whole { count, stale } = self.survey()? else { return Ok(Vec::new()) };
        let fenced = (1..=count).filter(|number| self.limit(*number).is_some()).map(|number| (number, self.term_of(number)));
        let mut files: Vec<(u32, u64)> = fenced.chain(stale).collect();
        files.sort_unstable();
        let mut ignored = Vec::new();
        for (number, term) in files {
            let path = segment_path(&self.dir, number, term);
            let length = fs::metadata(&path).map_err(|source| io_error(&path, "measure", source))?.len();
            let kept = if term == self.term_of(number) { self.limit(number).unwrap_or(length) } else { 0 };
            if length > kept {
                ignored.push(Ignored { term, segment: number, bytes: length - kept });
            }
        }
        Ok(ignored)
    }
}

/// What a look at a log's files finds.
#[derive(Debug)]
pub(super) enum Survey {
    /// Segments 1 to `count`; beside them segments of older terms that are no part of the log.
    Whole { count: u32, stale: Vec<(u32, u64)> },
    /// A segment of a term later than those known.
    UnknownTerm { path: PathBuf, term: u64 },
}

/// The directory a log lies in, and its name there.
fn place(dir: &Path) -> Result<Option<(PathBuf, String)>, LogError> {
    let named = |dir: &Path| dir.parent().zip(dir.file_name()).map(|(out, name)| (out.to_owned(), name.to_owned()));
    // `.` and `..` name no entry of a directory.
    let Some((out, name)) = named(dir).or_else(|| fs::canonicalize(dir).ok().and_then(|dir| named(&dir))) else { return Ok(None) };
    match name.to_str() {
        Some(name) => Ok(Some((out, name.to_owned()))),
        None if !super::terms::any(&out)? => Ok(None),
        None => Err(LogError::Foreign { path: dir.to_owned(), what: "beside leadership terms the name of a log is UTF-8" }),
    }
}
