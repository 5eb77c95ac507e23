//! What a run does with what it seals: keeps it, or compares it with a leader's, and puts checkpoints together.
//!
//! All of it happens on the outlet's thread, in the order in which things were sealed: claiming a term, comparing and
//! writing never run side by side. The first failure stops the run; what was kept before stays.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::Sender;
use gridflow_inputs::Epoch;
use gridflow_operators::seal::Sealed;

use crate::checkpoint::{self, Part};
use crate::clock::Stopwatch;
use crate::engine::{Outlet, Share};
use crate::failpoint;
use crate::follower::Follower;
use crate::journal::{Difference, Journal, JournalMark};
use crate::leadership::{Cause, Leadership};
use crate::replay::Watch;
use crate::running::{RunError, StateLock};

/// How often a standby that waits looks at its leader, and how often it looks ahead in the log.
const POLL: Duration = Duration::from_millis(20);
const LOOKS: u32 = 25;

/// The first failure of a run, from whichever thread.
pub(crate) struct Failure {
    several: bool,
    known: AtomicBool,
    error: Mutex<Option<RunError>>,
}

impl Failure {
    /// Of a process that is one of `several` or not.
    pub(crate) fn new(several: bool) -> Self {
        Self { several, known: AtomicBool::new(false), error: Mutex::default() }
    }

    /// Keeps an error, if it is the first; whether all is well.
    ///
    /// One of several processes ends at once: the others wait for it, so that nothing would end by itself. They lose it, stop,
    /// and all go on when they are started again.
    pub(crate) fn check(&self, result: Result<(), impl Into<RunError>>) -> bool {
        let Err(error) = result else { return true };
        let error = error.into();
        if self.several {
            eprintln!("gridflow: {error}; the region's other processes stop too, start all again when that is mended");
            std::process::exit(crate::EXIT_INTERNAL);
        }
        self.error.lock().expect("keeping an error does not panic").get_or_insert(error);
        self.known.store(true, Ordering::Relaxed);
        false
    }

    pub(crate) fn is_known(&self) -> bool {
        self.known.load(Ordering::Relaxed)
    }

    pub(crate) fn into_error(self) -> Option<RunError> {
        self.error.into_inner().expect("keeping an error does not panic")
    }
}

/// Writes checkpoints, on a thread of its own, so that sealing need not wait for the disk.
pub(crate) struct Writer {
    dir: PathBuf,
    first_process: bool,
    written: AtomicU64,
    bytes: AtomicU64,
}

impl Writer {
    pub(crate) fn new(dir: PathBuf, first_process: bool) -> Self {
        Self { dir, first_process, written: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    pub(crate) fn write(&self, part: &Part) -> Result<(), RunError> {
        let bytes = part.write(&self.dir)?;
        self.written.fetch_add(1, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        // One process tidies up after all, so that none removes what another still needs for a whole checkpoint.
        if self.first_process { Ok(checkpoint::tidy(&self.dir)?) } else { Ok(()) }
    }

    /// Checkpoints written.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Bytes of the newest.
    pub(crate) fn newest_bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// What a process does with outputs.
pub(crate) enum Role {
    /// Writes them.
    Leads(Journal),
    /// Compares them.
    Follows(Follower),
    /// Has none: they all go to the first process.
    Helps,
}

/// What stands around a keeper as long as the run lasts.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    pub(crate) region: &'a str,
    /// This process, and how many there are.
    pub(crate) process: (usize, usize),
    pub(crate) workers: usize,
    /// Directory of the output log.
    pub(crate) out: &'a Path,
    pub(crate) stop: &'a AtomicBool,
    pub(crate) leadership: &'a Leadership,
    pub(crate) failure: &'a Failure,
    pub(crate) stopwatch: &'a Stopwatch,
}

/// Keeps outputs, or compares them, and puts checkpoints together.
pub(crate) struct Keeper<'a> {
    setting: Setting<'a>,
    watch: &'a mut dyn Watch,
    role: Role,
    took_over: Option<(StateLock, Cause, u64)>,
    compared: u64,
    mark: Option<JournalMark>,
    shares: Vec<Share>,
    parts: Sender<Part>,
    first_sealed: Option<Duration>,
}

/// What a keeper leaves.
pub(crate) struct Finished {
    pub(crate) role: Role,
    pub(crate) took_over: Option<(StateLock, Cause, u64)>,
    /// Epochs of streams found equal to the leader's.
    pub(crate) compared: u64,
    /// When the first epoch of a stream was sealed.
    pub(crate) first_sealed: Option<Duration>,
}

impl<'a> Keeper<'a> {
    /// A keeper that gives the parts of checkpoints to `parts`.
    pub(crate) fn new(setting: Setting<'a>, watch: &'a mut dyn Watch, role: Role, parts: Sender<Part>) -> Self {
        Self { setting, watch, role, took_over: None, compared: 0, mark: None, shares: Vec::new(), parts, first_sealed: None }
    }

    /// Ends keeping behind the last epoch: a term that is due is still claimed, a standby settles with its leader.
    pub(crate) fn finish(mut self, last_epoch: Option<Epoch>) -> Finished {
        if !self.setting.failure.is_known() {
            let settled = self.look(last_epoch);
            self.setting.failure.check(settled);
        }
        if let Role::Follows(follower) = &self.role {
            self.compared = follower.equal();
        }
        Finished { role: self.role, took_over: self.took_over, compared: self.compared, first_sealed: self.first_sealed }
    }

    /// Looks at what others do: claims a term that is due, ends a term that another has followed, compares with the
    /// leader; with everything up to `settled`, if that is given.
    fn look(&mut self, settled: Option<Epoch>) -> Result<(), RunError> {
        match self.role {
            Role::Helps => return Ok(()),
            Role::Leads(_) => return self.hold(),
            Role::Follows(_) => self.promote()?,
        }
        let Role::Follows(follower) = &mut self.role else { return Ok(()) };
        let difference = match settled {
            Some(epoch) => follower.settle(epoch)?,
            None => follower.catch_up()?,
        };
        self.differs(difference)
    }

    /// An error when a later term writes now.
    fn hold(&self) -> Result<(), RunError> {
        if self.setting.leadership.holds()? { Ok(()) } else { Err(RunError::Superseded) }
    }

    /// A standby claims the next term when that is due, and begins to write.
    fn promote(&mut self) -> Result<(), RunError> {
        let Some((terms, lock, cause)) = self.setting.leadership.claim()? else { return Ok(()) };
        if let Role::Follows(follower) = std::mem::replace(&mut self.role, Role::Helps) {
            self.compared = follower.equal();
            self.role = Role::Leads(follower.lead(terms.newest())?);
            self.took_over = Some((lock, cause, terms.newest()));
        }
        Ok(())
    }

    fn differs(&self, difference: Option<Difference>) -> Result<(), RunError> {
        let Some(difference) = difference else { return Ok(()) };
        if let Err(error) = self.setting.leadership.differs(&difference) {
            eprintln!("gridflow: the log cannot be told: {error}");
        }
        Err(RunError::Differs(difference))
    }

    fn keep(&mut self, sealed: Sealed) -> Result<(), RunError> {
        self.first_sealed.get_or_insert_with(|| self.setting.stopwatch.elapsed());
        self.promote()?;
        match &mut self.role {
            Role::Helps => Ok(()),
            Role::Leads(_) => {
                self.hold()?;
                let Role::Leads(journal) = &mut self.role else { return Ok(()) };
                let log = self.setting.out.join(sealed.stream.name());
                journal.take(sealed);
                failpoint::pass("output-appended");
                if failpoint::due("output-torn") {
                    tear(&log);
                }
                Ok(journal.failure()?)
            }
            Role::Follows(follower) => {
                let difference = follower.take(sealed)?;
                self.differs(difference)?;
                self.wait_for_leader()
            }
        }
    }

    /// A standby that has kept much waits until its leader has written some of it, or until it leads itself.
    fn wait_for_leader(&mut self) -> Result<(), RunError> {
        let mut looks = 0;
        while let Role::Follows(follower) = &mut self.role {
            if !follower.is_full() || self.setting.stop.load(Ordering::Relaxed) {
                break;
            }
            std::thread::sleep(POLL);
            // The thread that reads the log waits for this one: what the log says meanwhile is read here.
            looks += 1;
            if looks % LOOKS == 0 {
                self.setting.leadership.look_ahead()?;
            }
            self.look(None)?;
        }
        Ok(())
    }

    /// Puts a checkpoint together when the shares of all workers are there.
    fn gather(&mut self, share: Share) -> Result<(), RunError> {
        if share.worker == 0 {
            self.look(Some(share.epoch))?;
            if let Role::Leads(journal) = &mut self.role {
                self.mark = Some(journal.mark()?);
            }
        }
        self.shares.push(share);
        if self.shares.len() < self.setting.workers {
            return Ok(());
        }
        self.shares.sort_unstable_by_key(|share| share.worker);
        let Some(Share { epoch, totals, .. }) = self.shares.first() else { return Ok(()) };
        let (epoch, totals) = (*epoch, *totals);
        let mut shares: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        for (operator, state) in self.shares.drain(..).flat_map(|share| share.states) {
            shares.entry(operator.to_owned()).or_default().push(state);
        }
        let part =
            Part { region: self.setting.region.to_owned(), epoch, process: self.setting.process, totals, mark: self.mark.take(), shares };
        // A standby has written nothing that a checkpoint could stand for.
        if !matches!(self.role, Role::Follows(_)) && (self.setting.process.0 > 0 || part.mark.is_some()) {
            // Fails only when the writer is gone, which only a panic can cause, and that ends the process.
            let _ = self.parts.send(part);
        }
        Ok(())
    }
}

impl Outlet for Keeper<'_> {
    fn idle(&mut self) -> bool {
        !self.setting.failure.is_known() && {
            let looked = self.look(None);
            self.setting.failure.check(looked)
        }
    }

    fn sealed(&mut self, sealed: Sealed) -> bool {
        self.watch.sealed(&sealed);
        // Once something failed the run is about to stop: what comes until then is made again by the next.
        !self.setting.failure.is_known() && {
            let kept = self.keep(sealed);
            self.setting.failure.check(kept)
        }
    }

    fn saved(&mut self, share: Share) -> bool {
        !self.setting.failure.is_known() && {
            let gathered = self.gather(share);
            self.setting.failure.check(gathered)
        }
    }
}

/// Dies with the newest epoch of a log half written.
fn tear(log: &Path) -> ! {
    let segments = std::fs::read_dir(log).into_iter().flatten().flatten().map(|entry| entry.path());
    let newest = segments.filter(|path| path.extension().is_some_and(|extension| extension == "gfl")).max();
    if let Some(file) = newest.and_then(|path| File::options().write(true).open(path).ok()) {
        let _ = file.metadata().and_then(|metadata| file.set_len(metadata.len() - 9));
    }
    std::process::abort();
}
