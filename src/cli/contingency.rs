//! `gridflow contingency`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use gridflow::clock::Stopwatch;
use gridflow::contingencies::{over_threads, read_list};
use gridflow::{EXIT_DONE, EXIT_VERIFICATION};
use gridflow_numerics::case::Case;
use gridflow_numerics::contingency::{Contingency, Cover, Element, Outcome, Rating, ac, dc, each_branch, each_generator, ranked};

use super::output::say;
use super::{Failed, cascade, grid, report};

#[derive(Clone, Copy, ValueEnum)]
enum RatingChoice {
    /// Without end: rate A.
    Normal,
    /// For hours: rate B, or A where the file has none.
    Long,
    /// For minutes: rate C, or B where the file has none.
    Short,
}

#[derive(Clone, Copy, ValueEnum)]
enum CoverChoice {
    /// By greatest output.
    Capacity,
    /// By what units can still give or take back.
    Headroom,
}

#[derive(Args)]
#[command(
    after_help = "What an outage cuts off is lost: its load is told, and the units that are left cover the difference. A violation is a branch\nabove its rating, with --ac a voltage that leaves its band, or an outage without solution; what is lost is none.\n\nExit codes: 0 no violation, 4 some outage violates a limit, 2 usage, 3 bad input.\n\nExample: gridflow contingency case118.m --ac --screen 20 --rating short --top 5"
)]
#[allow(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(crate) struct ContingencyArguments {
    /// MATPOWER .m file, a directory of tables by kind (bus.csv, branch.csv …), or the `source` directory of an RTS-GMLC data set.
    case: PathBuf,
    /// DC model: active power, no losses (the default).
    #[arg(long, conflicts_with = "ac")]
    dc: bool,
    /// AC power flow after each outage: apparent power and voltages.
    #[arg(long)]
    ac: bool,
    /// With --ac: rank all by the DC model and solve the worst N in AC.
    #[arg(long, value_name = "N", requires = "ac")]
    screen: Option<usize>,
    /// Outages of units too, behind those of branches.
    #[arg(long)]
    units: bool,
    /// Outages of this list instead: a line for each, what fails together separated by commas: branches, or units as `unit 3`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["units", "pairs"])]
    n2: Option<PathBuf>,
    /// All pairs of the N worst single outages too, behind them.
    #[arg(long, value_name = "N")]
    pairs: Option<usize>,
    /// Instead: follow the outage of this branch stage by stage, branches above the trip rating tripping, until nothing does (DC).
    #[arg(long, value_name = "BRANCH", conflicts_with_all = ["ac", "units", "n2", "pairs"])]
    cascade: Option<u32>,
    /// With --cascade: loading above which a branch trips.
    #[arg(long, value_name = "PERCENT", requires = "cascade", default_value_t = 125.0)]
    trip: f64,
    /// Lines of the table; --json has all outages.
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    /// What loadings are percent of.
    #[arg(long, value_enum, default_value = "normal")]
    rating: RatingChoice,
    /// How units share what an outage leaves open.
    #[arg(long, value_enum, default_value = "capacity")]
    cover: CoverChoice,
    /// With --ac: least and greatest voltage after an outage, per unit; each bus's own limits by default.
    #[arg(long, value_name = "LOW,HIGH", requires = "ac", value_parser = band)]
    voltage_band: Option<(f64, f64)>,
    /// Threads; the results are the same for any number.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Print one line of JSON on standard output.
    #[arg(long)]
    json: bool,
}

fn band(text: &str) -> Result<(f64, f64), String> {
    let numbers = text.split_once(',').and_then(|(low, high)| Some((low.trim().parse().ok()?, high.trim().parse().ok()?)));
    match numbers {
        Some((low, high)) if 0.0 < low && low < high && f64::is_finite(high) => Ok((low, high)),
        _ => Err("expected two magnitudes, the lower first, such as 0.9,1.1".into()),
    }
}

/// The method and what it needs, prepared.
enum Method<'a> {
    Dc(Box<dc::Analysis<'a>>),
    Ac(Box<ac::Analysis<'a>>),
}

impl Method<'_> {
    fn solve(&self, contingencies: &[Contingency]) -> Vec<Outcome> {
        match self {
            Self::Dc(analysis) => analysis.solve(contingencies),
            Self::Ac(analysis) => analysis.solve(contingencies),
        }
    }
}

/// An outage with its outcome.
struct Solved {
    contingency: Contingency,
    outcome: Outcome,
    method: &'static str,
}

struct Runner<'a> {
    arguments: &'a ContingencyArguments,
    case: &'a Case,
    rating: Rating,
    cover: Cover,
}

impl<'a> Runner<'a> {
    fn dc(&self) -> Result<Method<'a>, Failed> {
        let options = dc::Options { rating: self.rating, cover: self.cover, ..dc::Options::default() };
        Ok(Method::Dc(Box::new(dc::Analysis::new(self.case, options)?)))
    }

    fn ac(&self) -> Result<Method<'a>, Failed> {
        let voltage_band = self.arguments.voltage_band;
        let options = ac::Options { rating: self.rating, cover: self.cover, voltage_band, ..ac::Options::default() };
        Ok(Method::Ac(Box::new(ac::Analysis::new(self.case, options)?)))
    }

    fn solve(&self, method: &Method<'_>, contingencies: Vec<Contingency>) -> Vec<Solved> {
        let bar = report::progress(contingencies.len() as u64, "outages");
        let threads = usize::from(self.arguments.threads);
        let outcomes = over_threads(&contingencies, threads, |block| method.solve(block), |done| bar.inc(done as u64));
        bar.finish_and_clear();
        let name = if matches!(method, Method::Dc(_)) { "dc" } else { "ac" };
        contingencies.into_iter().zip(outcomes).map(|(contingency, outcome)| Solved { contingency, outcome, method: name }).collect()
    }

    /// The case without an outage, and all that is asked for, in the order of the list.
    fn run(&self) -> Result<(Solved, Vec<Solved>), Failed> {
        let arguments = self.arguments;
        let single = match &arguments.n2 {
            Some(list) => read_list(list, self.case)?,
            None => {
                let mut single = each_branch(self.case);
                single.extend(if arguments.units { each_generator(self.case) } else { Vec::new() });
                single
            }
        };
        let first = if arguments.ac && arguments.screen.is_none() { self.ac()? } else { self.dc()? };
        let before = self.solve(&first, vec![Contingency::new()]).remove(0);
        let mut solved = self.solve(&first, single);
        if let Some(count) = arguments.pairs {
            let worst = worst_branches(&solved, count);
            let pairs = worst.iter().enumerate().flat_map(|(place, one)| worst[place + 1..].iter().map(|other| vec![*one, *other]));
            solved.extend(self.solve(&first, pairs.collect()));
        }
        if let Some(count) = arguments.screen {
            let worst = Vec::from_iter(order(&solved).into_iter().take(count));
            let contingencies = Vec::from_iter(worst.iter().map(|index| solved[*index].contingency.clone()));
            for (index, checked) in worst.into_iter().zip(self.solve(&self.ac()?, contingencies)) {
                solved[index] = checked;
            }
        }
        Ok((before, solved))
    }
}

/// The branches of the worst outages of one branch.
fn worst_branches(solved: &[Solved], count: usize) -> Vec<Element> {
    let single = |index: usize| match solved[index].contingency[..] {
        [element @ Element::Branch(_)] => Some(element),
        _ => None,
    };
    order(solved).into_iter().filter_map(single).take(count).collect()
}

fn order(solved: &[Solved]) -> Vec<usize> {
    ranked(&Vec::from_iter(solved.iter().map(|solved| solved.outcome.clone())))
}

/// What became of the grid, in a word.
fn status(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome { unsolved: Some(_), .. } => "unsolved",
        Outcome { lost: Some(_), .. } => "islanded",
        Outcome { max_loading, .. } if *max_loading > 1.0 => "overload",
        Outcome { voltage: Some(_), .. } => "voltage",
        _ => "secure",
    }
}

fn name(element: &Element, case: &Case) -> String {
    match *element {
        Element::Branch(branch) => {
            let row = &case.branches[branch];
            format!("{} ({}-{})", row.id, case.buses[row.from].id, case.buses[row.to].id)
        }
        Element::Generator(unit) => format!("unit {}", case.generators[unit].id),
    }
}

fn as_json(solved: &Solved, case: &Case) -> serde_json::Value {
    let outcome = &solved.outcome;
    let ids = Vec::from_iter(solved.contingency.iter().filter_map(|element| match *element {
        Element::Branch(branch) => Some(case.branches[branch].id.0),
        Element::Generator(_) => None,
    }));
    let lost = outcome.lost.as_ref();
    let solution = outcome.unsolved.is_none();
    let within = outcome.within.map(|rating| match rating {
        Rating::Normal => "normal",
        Rating::LongTerm => "long",
        Rating::ShortTerm => "short",
    });
    let mut row = serde_json::json!({
        "branch": ids.first(),
        "status": status(outcome),
        "max_loading_percent": solution.then_some(100.0 * outcome.max_loading),
        "worst_branch": outcome.worst_branch.map(|branch| case.branches[branch].id.0),
        "within_rating": within,
        "lost_load_mw": lost.map_or(0.0, |lost| lost.load * case.base_mva),
        "lost_generation_mw": lost.map_or(0.0, |lost| lost.generation * case.base_mva),
        "lost_buses": lost.map_or(0, |lost| lost.buses),
        "violates": outcome.violates(),
        "method": solved.method,
    });
    if ids.len() > 1 {
        row["branches"] = ids.into();
    }
    let units = Vec::from_iter(solved.contingency.iter().filter_map(|element| match *element {
        Element::Generator(unit) => Some(case.generators[unit].id.0),
        Element::Branch(_) => None,
    }));
    if let Some(unit) = units.first() {
        row["unit"] = (*unit).into();
    }
    if units.len() > 1 {
        row["units"] = units.into();
    }
    if let Some(voltage) = &outcome.voltage {
        row["voltage"] = serde_json::json!({ "bus": case.buses[voltage.bus].id.0, "vm_pu": voltage.v, "buses": voltage.buses });
    }
    if let Some(unsolved) = &outcome.unsolved {
        let mismatch = Some(unsolved.mismatch).filter(|mismatch| mismatch.is_finite());
        row["unsolved"] = serde_json::json!({ "bus": unsolved.bus.0, "iterations": unsolved.iterations, "max_mismatch_pu": mismatch });
    }
    row
}

fn counts(solved: &[Solved]) -> serde_json::Value {
    let of = |name: &str| solved.iter().filter(|solved| status(&solved.outcome) == name).count();
    serde_json::json!({
        "outages": solved.len(), "secure": of("secure"), "overload": of("overload"), "voltage": of("voltage"),
        "islanded": of("islanded"), "unsolved": of("unsolved"),
        "violating": solved.iter().filter(|solved| solved.outcome.violates()).count(),
    })
}

fn print(path: &Path, before: &Solved, solved: &[Solved], case: &Case, top: usize, seconds: f64) {
    let counts = counts(solved);
    let count = |name: &str| report::grouped(counts[name].as_u64().unwrap_or(0));
    say!("{}: {} outages in {:.3} s, {} violate a limit", path.display(), count("outages"), seconds, count("violating"));
    say!(
        "  {} secure, {} overload a branch, {} leave a voltage band, {} cut something off, {} without solution",
        count("secure"),
        count("overload"),
        count("voltage"),
        count("islanded"),
        count("unsolved")
    );
    if let Some(branch) = before.outcome.worst_branch {
        say!("  before any outage: {:.1} % on branch {}", 100.0 * before.outcome.max_loading, name(&Element::Branch(branch), case));
    }
    if top > 0 && !solved.is_empty() {
        say!("  {:<28} {:<9} {:>10}  {:<20} {:>12}", "outage", "status", "loading", "worst branch", "lost load");
    }
    for index in order(solved).into_iter().take(top) {
        let Solved { contingency, outcome, .. } = &solved[index];
        let names = Vec::from_iter(contingency.iter().map(|element| name(element, case))).join(", ");
        let loading = if outcome.unsolved.is_some() { "-".into() } else { format!("{:.1} %", 100.0 * outcome.max_loading) };
        let worst = outcome.worst_branch.map_or("-".into(), |branch| name(&Element::Branch(branch), case));
        let lost = outcome.lost.as_ref().map_or("-".into(), |lost| format!("{:.1} MW", lost.load * case.base_mva));
        say!("  {:<28} {:<9} {:>10}  {:<20} {:>12}", names, status(outcome), loading, worst, lost);
        if let Some(unsolved) = &outcome.unsolved {
            let (iterations, mismatch) = (unsolved.iterations, unsolved.mismatch);
            say!("    after {iterations} iterations a mismatch of {mismatch:.3e} per unit is left at bus {}", unsolved.bus);
        }
        if let Some(voltage) = &outcome.voltage {
            let (buses, id) = (voltage.buses, case.buses[voltage.bus].id);
            say!("    buses that leave their voltage band: {buses}, furthest bus {id} with {:.4} per unit", voltage.v);
        }
    }
}

pub(crate) fn run(arguments: &ContingencyArguments) -> Result<i32, Failed> {
    // Islands without a source have nothing to lose; others get a reference bus where the file names none.
    let (case, _) = grid::read(&arguments.case)?.case.energised();
    let rating = match arguments.rating {
        RatingChoice::Normal => Rating::Normal,
        RatingChoice::Long => Rating::LongTerm,
        RatingChoice::Short => Rating::ShortTerm,
    };
    if let Some(branch) = arguments.cascade {
        if !(arguments.trip > 0.0 && arguments.trip.is_finite()) {
            return Err(Failed::usage("--trip takes a loading above 0, in percent"));
        }
        return cascade::run(&case, branch, rating, arguments.trip, arguments.json);
    }
    let cover = match arguments.cover {
        CoverChoice::Capacity => Cover::Capacity,
        CoverChoice::Headroom => Cover::Headroom,
    };
    let watch = Stopwatch::start();
    let (before, solved) = Runner { arguments, case: &case, rating, cover }.run()?;
    let seconds = watch.elapsed().as_secs_f64();
    if arguments.json {
        let outages = Vec::from_iter(solved.iter().map(|solved| as_json(solved, &case)));
        let base = serde_json::json!({
            "max_loading_percent": 100.0 * before.outcome.max_loading,
            "worst_branch": before.outcome.worst_branch.map(|branch| case.branches[branch].id.0),
        });
        report::json(&serde_json::json!({ "outages": outages, "counts": counts(&solved), "base": base, "seconds_solve": seconds }));
    } else {
        print(&arguments.case, &before, &solved, &case, arguments.top, seconds);
    }
    Ok(if solved.iter().any(|solved| solved.outcome.violates()) { EXIT_VERIFICATION } else { EXIT_DONE })
}
