//! What is wrong with a network or its meters: bad data, the status of a branch, or the tap of a transformer.
//!
//! All hypotheses are judged alike: by the J that they leave and what they assume, each assumption (a meter that lies, a branch that is
//! not as the model has it, a tap that is not) costing as much as the largest of so many normalised residuals falls by chance, squared.
//! The least sum wins: the fewest assumptions that explain J. Bad data alone comes first ([`super::identify`]). Then, as long as one
//! lowers the sum, branches are tried with their status flipped and transformers with their tap estimated, those with the greatest
//! normalised multipliers first, a bounded number; each trial estimates anew and looks for bad data in what is left.
//!
//! A branch that is taken out reads no flow; its flow meters stay, and say so or not. A branch without which the network falls
//! apart is not tried, nor one whose ends are one bus.

use super::bad_data::{BadDataOptions, Identification, greatest_by_chance, search};
use super::multipliers::{BranchMultiplier, multipliers};
use super::{CONFIDENCE, Cache, EstimationError, Options, estimate};
use crate::case::{Case, CaseBranch, CaseMeasurement};
use crate::statistics::chi_squared_quantile;

/// Reactance of a branch that is open: its square is infinite, and the admittances are exactly zero.
const OPEN: f64 = 1e200;
/// Wrong branches and taps found before giving up.
const ERRORS: usize = 3;
/// Statuses and taps tried for each.
const STATUSES: usize = 6;
const TAPS: usize = 3;
/// Steps to the estimate of a tap, and its error in standard deviations that ends them.
const TAP_STEPS: usize = 8;
const TAP_TOLERANCE: f64 = 0.01;
/// Steps below this are near enough to tell what they fail at.
const ROUGH: f64 = 0.3;
/// A tap beyond these is none.
const TAP_RANGE: std::ops::Range<f64> = 0.5..2.0;

/// A branch that is not as the model has it.
#[derive(Clone, Debug, PartialEq)]
pub struct SuspectedBranch {
    /// Its index in the case, or the number of branches there and its place among those said to be open.
    pub branch: usize,
    /// Whether measurements say that it is closed; the model has the opposite.
    pub closed: bool,
    /// J of all measurements before, and with the status flipped without what is then bad data.
    pub objective: [f64; 2],
}

/// A transformer whose tap is not that of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct SuspectedTap {
    /// Its index in the case.
    pub branch: usize,
    /// The ratio in the model.
    pub tap: f64,
    /// The ratio that fits best.
    pub suspected: f64,
    /// Standard deviation of that estimate.
    pub sigma: f64,
    /// J of all measurements before, and with the ratio that fits best without what is then bad data.
    pub objective: [f64; 2],
}

/// An estimate on the network as measurements have it.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnosis {
    /// The network with suspected branches and taps put right; measurements keep their meaning, branches that were closed are the last.
    pub case: Case,
    /// Estimate and bad data on it.
    pub identification: Identification,
    /// Branches with another status, in the order in which they were found.
    pub branches: Vec<SuspectedBranch>,
    /// Transformers with another tap.
    pub taps: Vec<SuspectedTap>,
}

impl Diagnosis {
    /// J and what is assumed, as one figure.
    fn score(&self, penalty: f64) -> f64 {
        let assumptions = self.identification.bad.len() + self.branches.len() + self.taps.len();
        self.identification.estimate.objective + penalty * assumptions as f64
    }
}

/// Estimates, takes out bad data, and finds branches with the wrong status and transformers with the wrong tap. `open` are branches out
/// of service that may be closed, with indices of the buses of `case`.
///
/// # Errors
/// As [`super::estimate`].
pub fn diagnose(
    case: &Case,
    open: &[CaseBranch],
    reference: usize,
    measurements: &[CaseMeasurement],
    options: &Options,
    bad_data: &BadDataOptions,
    cache: &mut Cache,
) -> Result<Diagnosis, EstimationError> {
    let mut lost = None;
    let identification = search(case, reference, measurements, options, bad_data, false, cache).or_else(|error| {
        // Steps may swing where measurements contradict the network; where they swing shows what is wrong.
        let none = BadDataOptions { max_removals: 0, ..*bad_data };
        let rough = search(case, reference, measurements, &rough(options), &none, false, cache).map_err(|_| error.clone())?;
        lost = Some(error);
        Ok(rough)
    })?;
    let used = identification.estimate.used.iter().filter(|used| **used).count();
    let hypotheses =
        Search { open, reference, measurements, options, bad_data, penalty: square(greatest_by_chance(used + case.branches.len())) };
    let mut found = Diagnosis { case: case.clone(), identification, branches: Vec::new(), taps: Vec::new() };
    for _ in 0..ERRORS {
        // A trial that leads nowhere takes nothing from what was found.
        let Some(better) = hypotheses.better(&found, cache).unwrap_or_default() else { break };
        found = better;
    }
    let nothing = found.branches.is_empty() && found.taps.is_empty();
    if let Some(error) = lost.filter(|_| nothing) {
        return Err(error);
    }
    if !found.identification.bad.is_empty() {
        let state = &found.identification.estimate;
        let start = Options { start: Some((state.v.clone(), state.va.clone())), ..options.clone() };
        if let Ok(named) = search(&found.case, reference, measurements, &start, bad_data, true, cache) {
            found.identification = named;
        }
    }
    Ok(found)
}

fn rough(options: &Options) -> Options {
    Options { tolerance: ROUGH, ..options.clone() }
}

fn square(value: f64) -> f64 {
    value * value
}

/// What a search for wrong branches and taps works on.
struct Search<'a> {
    open: &'a [CaseBranch],
    reference: usize,
    measurements: &'a [CaseMeasurement],
    options: &'a Options,
    bad_data: &'a BadDataOptions,
    penalty: f64,
}

impl Search<'_> {
    /// The best diagnosis with one assumption more, if it is better.
    fn better(&self, found: &Diagnosis, cache: &mut Cache) -> Result<Option<Diagnosis>, EstimationError> {
        let case = &found.case;
        let start = &found.identification.estimate;
        let options = Options { start: Some((start.v.clone(), start.va.clone())), ..self.options.clone() };
        // Every measurement is in: bad data may have been blamed for what the network does.
        let run = |options: &Options, cache: &mut Cache| estimate(case, self.reference, self.measurements, options, cache);
        let whole = run(&options, cache).or_else(|_| run(&rough(self.options), cache))?;
        let sites = Vec::from_iter(self.open.iter().map(|branch| [branch.from, branch.to]));
        let (inside, outside) = multipliers(case, self.reference, self.measurements, &options, &whole, &sites, cache)?;
        let mut best: Option<Diagnosis> = None;
        let mut consider = |next: Option<Diagnosis>| {
            let score = best.as_ref().map_or(found.score(self.penalty), |best| best.score(self.penalty));
            if let Some(next) = next.filter(|next| next.score(self.penalty) < score) {
                best = Some(next);
            }
        };
        let known = case.branches.len() - found.branches.iter().filter(|one| one.closed).count();
        let is_new = |branch: &usize| !found.branches.iter().any(|one| one.branch == *branch) && *branch < known;
        let statuses = (0..inside.len()).filter(is_new).map(|branch| (branch, inside[branch].explained));
        let closings = (known..known + self.open.len()).map(|branch| (branch, outside[branch - known]));
        let closings = closings.filter(|(branch, _)| !found.branches.iter().any(|one| one.branch == *branch));
        // By Boole's inequality, of four powers each.
        let chance = 1.0 - (1.0 - CONFIDENCE) / (inside.len() + outside.len()).max(1) as f64;
        let chance = chi_squared_quantile(chance, 4).map_or(self.penalty, |chance| chance.max(self.penalty));
        for (branch, _) in greatest(statuses.chain(closings), chance, STATUSES) {
            consider(self.flipped(found, branch, known, &options, whole.objective));
        }
        let is_transformer = |branch: &usize| (case.branches[*branch].tap != 1.0 || case.branches[*branch].shift != 0.0) && is_new(branch);
        let size = |branch: usize| inside[branch].tap.map_or(0.0, |tap| square(tap.normalized()));
        let taps = (0..inside.len()).filter(is_transformer).map(|branch| (branch, size(branch)));
        for (branch, _) in greatest(taps.filter(|(branch, _)| !found.taps.iter().any(|one| one.branch == *branch)), self.penalty, TAPS) {
            consider(self.tapped(found, branch, &options, &inside[branch], whole.objective));
        }
        Ok(best)
    }

    /// With the status of a branch flipped; none where that cannot be or has no estimate.
    fn flipped(&self, found: &Diagnosis, branch: usize, known: usize, options: &Options, before: f64) -> Option<Diagnosis> {
        let mut case = found.case.clone();
        let closed = branch >= known;
        if closed {
            case.branches.push(self.open[branch - known].clone());
        } else {
            let one = &mut case.branches[branch];
            (one.r, one.x, one.b) = (0.0, OPEN, 0.0);
            if !is_whole(&case) {
                return None;
            }
        }
        let identification = self.identify(&case, options)?;
        let objective = [before, identification.estimate.objective];
        let mut branches = found.branches.clone();
        branches.push(SuspectedBranch { branch, closed, objective });
        Some(Diagnosis { case, identification, branches, taps: found.taps.clone() })
    }

    /// With the tap of a branch that fits best.
    fn tapped(&self, found: &Diagnosis, branch: usize, options: &Options, first: &BranchMultiplier, before: f64) -> Option<Diagnosis> {
        let mut case = found.case.clone();
        let tap = case.branches[branch].tap;
        let mut step = first.tap?;
        for _ in 0..TAP_STEPS {
            let next = case.branches[branch].tap + step.error;
            if !TAP_RANGE.contains(&next) {
                return None;
            }
            case.branches[branch].tap = next;
            if step.normalized() < TAP_TOLERANCE {
                break;
            }
            let mut cache = Cache::new();
            let whole = estimate(&case, self.reference, self.measurements, options, &mut cache).ok()?;
            let (inside, _) = multipliers(&case, self.reference, self.measurements, options, &whole, &[], &mut cache).ok()?;
            step = inside[branch].tap?;
        }
        let identification = self.identify(&case, options)?;
        let objective = [before, identification.estimate.objective];
        let mut taps = found.taps.clone();
        taps.push(SuspectedTap { branch, tap, suspected: case.branches[branch].tap, sigma: step.sigma, objective });
        Some(Diagnosis { case, identification, branches: found.branches.clone(), taps })
    }

    fn identify(&self, case: &Case, options: &Options) -> Option<Identification> {
        let run = |options: &Options| search(case, self.reference, self.measurements, options, self.bad_data, false, &mut Cache::new());
        run(options).or_else(|_| run(self.options)).ok()
    }
}

/// The first of them by size, those above a limit.
fn greatest(sizes: impl Iterator<Item = (usize, f64)>, limit: f64, count: usize) -> Vec<(usize, f64)> {
    let mut sizes = Vec::from_iter(sizes.filter(|(_, size)| *size > limit));
    sizes.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    sizes.truncate(count);
    sizes
}

/// Whether branches that are not open join all buses of a case that all its branches join.
fn is_whole(case: &Case) -> bool {
    let joined = Case { branches: case.branches.iter().filter(|branch| branch.x != OPEN).cloned().collect(), ..case.clone() };
    joined.components() == case.components()
}
