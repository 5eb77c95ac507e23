//! `gridflow estimate`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use gridflow::clock::Stopwatch;
use gridflow::estimating::{Known, Measurements, estimate_from_either, flat_start, out_of_service, read_measurements, reference_bus};
use gridflow::{EXIT_DONE, EXIT_VERIFICATION, networks};
use gridflow_numerics::case::{Case, CaseBranch, MeasurementKind};
use gridflow_numerics::estimation::{self, Cache, Estimate, EstimationError, Method, Options, SuspectedBranch, SuspectedTap, Tracker};
use serde_json::{Value, json};

use super::grid::median;
use super::output::say;
use super::{Failed, report};

/// Threshold of Huber's function in standard deviations: 95 % efficient where all errors are normal.
const HUBER: f64 = 1.5;
/// Lines of a list in the table for reading.
const SHOWN: usize = 12;

#[derive(Clone, Copy, ValueEnum)]
enum Start {
    /// All magnitudes 1 pu, all angles that of the reference bus; the file's voltages should that not converge.
    Flat,
    /// The voltages of the file.
    File,
}

#[derive(Args)]
#[command(
    after_help = "FILE is CSV with the columns id,kind,element,side,value,sigma. Kinds: vm (pu) and va (degrees), p_inj and q_inj (MW, Mvar into the\nbus, shunts excluded), element = bus number; p_flow and q_flow (MW, Mvar leaving the side), i_mag (kA), i_re and i_im (kA, phasors),\nelement = row of the branch table from 1, side = from or to. Measurements of equipment out of service are left out and named.\nBuses that closed node switches or branches without impedance join are one: an injection counts as the sum over its nodes, if each\nthat injects has a meter, under their ids joined by \" + \"; flows within it are left out.\n\nBad data: while J is above its chi-squared point (99 %), or one residual beyond what chance leaves among so many, the measurement\nwith the largest normalised residual above 3 is taken out and the state estimated again. Those that nothing else checks stay.\nWhere one branch with another status or one transformer with another tap explains more with fewer assumptions, it is suspected\ninstead, and the answer is that of the network so corrected.\nThe network is one island: buses that are not joined to the reference bus are unobservable.\n\nExit code 4: bad data, a suspected branch or tap, an unobservable bus, no convergence, or J above its threshold for a cause that cannot be named.\n\nExample: gridflow estimate case118.m --measurements scada.csv --json"
)]
pub(crate) struct EstimateArguments {
    /// MATPOWER .m file, a directory of tables by kind (bus.csv, branch.csv …), or the `source` directory of an RTS-GMLC data set.
    network: PathBuf,
    /// Measurements.
    #[arg(long, value_name = "FILE")]
    measurements: PathBuf,
    /// Later scans, each tracked from the state before it; the answer is that of the last.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    then: Vec<PathBuf>,
    /// Huber's function in place of squares: bad data loses its weight and is not taken out.
    #[arg(long)]
    robust: bool,
    /// Buses with neither load, unit nor storage inject exactly nothing: equality constraints.
    #[arg(long)]
    zero_injections: bool,
    /// Do not take bad data out; tell it all the same.
    #[arg(long)]
    keep_bad_data: bool,
    /// Where the steps start.
    #[arg(long, value_enum, default_value_t = Start::Flat)]
    start: Start,
    /// Estimate so many times again with what follows from network and meters kept; seconds_solve is their median.
    #[arg(long, value_name = "N", default_value_t = 0)]
    repeat: usize,
    /// Print one line of JSON on standard output.
    #[arg(long)]
    json: bool,
}

/// What a measurement file said of a case, and what came of it.
struct Done {
    case: Case,
    read: Measurements,
    estimate: Result<Estimate, EstimationError>,
    bad: Vec<Bad>,
    critical: Vec<usize>,
    placements: Vec<MeasurementKind>,
    suspicious: bool,
    /// Branches out of service, which follow those of the case in the count of suspected ones.
    open: Vec<CaseBranch>,
    suspected_branches: Vec<SuspectedBranch>,
    suspected_taps: Vec<SuspectedTap>,
    /// Without an estimate: measurements far from a robust one, and by how many of their standard deviations.
    far: Vec<(usize, f64)>,
    /// Without an estimate: why nothing is blamed for it.
    unexplained: Option<String>,
    seconds_solve: f64,
    seconds_bad_data: f64,
    scans: Vec<Value>,
}

struct Bad {
    index: usize,
    normalized_residual: f64,
    alike: Vec<usize>,
}

pub(crate) fn run(arguments: &EstimateArguments) -> Result<i32, Failed> {
    let file = networks::normal(&arguments.network)?;
    let known = Known::of(&file.network);
    let case = Case::of_nodes(file.base_power.mva(), &file.network)?;
    let read = read_measurements(&arguments.measurements, &case, &known)?;
    let open = out_of_service(file.base_power.mva(), &file.network, &case);
    let done = work(arguments, case, open, &known, read)?;
    let observable = done.estimate.as_ref().is_ok_and(|estimate| estimate.unobservable.is_empty());
    let suspected = !(done.suspected_branches.is_empty() && done.suspected_taps.is_empty());
    let sound = observable && done.bad.is_empty() && !suspected && !done.suspicious;
    if arguments.json {
        report::json(&as_json(&done));
    } else {
        tell(arguments, &done);
    }
    Ok(if sound { EXIT_DONE } else { EXIT_VERIFICATION })
}

/// Runs what is asked; the clock is read here, and nowhere in the methods.
fn work(arguments: &EstimateArguments, case: Case, open: Vec<CaseBranch>, known: &Known, read: Measurements) -> Result<Done, Failed> {
    let reference = reference_bus(&case);
    let start = match arguments.start {
        Start::Flat => Some(flat_start(&case, reference)),
        Start::File => None,
    };
    let method = if arguments.robust { Method::Huber { threshold: HUBER } } else { Method::LeastSquares };
    let zero_injections = if arguments.zero_injections { case.zero_injections() } else { Vec::new() };
    let options = Options { start, zero_injections, method, ..Options::default() };
    let mut cache = Cache::new();
    let mut timed = |measurements: &_| {
        let begun = Stopwatch::start();
        let found = estimate_from_either(&case, reference, measurements, &options, &mut cache);
        (begun.elapsed().as_secs_f64(), found)
    };
    let (cold, mut estimate) = timed(&read.measurements);
    let again = (0..arguments.repeat).map(|_| timed(&read.measurements).0).collect();
    let seconds_solve = median(again).unwrap_or(cold);
    let mut done = Done {
        read,
        estimate: Err(EstimationError::Reference(reference)),
        bad: Vec::new(),
        critical: Vec::new(),
        placements: Vec::new(),
        suspicious: false,
        open,
        suspected_branches: Vec::new(),
        suspected_taps: Vec::new(),
        far: Vec::new(),
        unexplained: None,
        seconds_solve,
        seconds_bad_data: 0.0,
        scans: Vec::new(),
        case,
    };
    let case = &done.case;
    if !arguments.then.is_empty() {
        // The first scan is tracked too, so that the state goes on from it.
        let (mut tracker, mut tracked) = (Tracker::default(), Vec::new());
        if estimate.is_ok() {
            estimate = tracker.scan(case, reference, &done.read.measurements, &options);
        }
        for path in &arguments.then {
            let scan = read_measurements(path, case, known)?;
            let begun = Stopwatch::start();
            estimate = tracker.scan(case, reference, &scan.measurements, &options);
            let seconds_solve = begun.elapsed().as_secs_f64();
            tracked.push(seconds_solve);
            done.scans.push(match &estimate {
                Ok(found) => json!({
                    "file": path.display().to_string(), "converged": true, "iterations": found.iterations, "objective": found.objective,
                    "seconds_solve": seconds_solve,
                }),
                Err(error) => json!({ "file": path.display().to_string(), "converged": false, "reason": error.to_string() }),
            });
            done.read = scan;
        }
        done.seconds_solve = median(tracked).unwrap_or(seconds_solve);
    }
    if let Ok(found) = &estimate {
        let begun = Stopwatch::start();
        let measurements = &done.read.measurements;
        // From the state that is known.
        let warm = Options { start: Some((found.v.clone(), found.va.clone())), ..options.clone() };
        if arguments.robust || arguments.keep_bad_data {
            let residuals = estimation::normalize(case, reference, measurements, &warm, found, &mut cache)?;
            let used = found.used.iter().filter(|used| **used).count();
            let chance = estimation::greatest_by_chance(used);
            let beyond =
                residuals.normalized.iter().enumerate().filter_map(|(index, size)| Some((index, size.filter(|size| *size > chance)?)));
            done.bad = beyond.map(|(index, normalized_residual)| Bad { index, normalized_residual, alike: Vec::new() }).collect();
            done.suspicious = !arguments.robust && found.threshold.is_some_and(|threshold| found.objective > threshold);
        } else {
            let bad_data = estimation::BadDataOptions::default();
            let found = estimation::diagnose(case, &done.open, reference, measurements, &warm, &bad_data, &mut cache)?;
            (done.suspected_branches, done.suspected_taps) = (found.branches, found.taps);
            let found = found.identification;
            done.suspicious = found.suspicious;
            let iterations = estimate.as_ref().map_or(0, |estimate| estimate.iterations);
            done.bad = found.bad.into_iter().map(Bad::from).collect();
            if !(done.bad.is_empty() && done.suspected_branches.is_empty() && done.suspected_taps.is_empty()) {
                estimate = Ok(Estimate { iterations, ..found.estimate });
            }
        }
        done.seconds_bad_data = begun.elapsed().as_secs_f64();
        done.critical = estimation::critical(case, reference, measurements, &warm, &mut cache)?;
        done.placements = estimation::placements(case, reference, measurements, &warm, &mut cache)?;
    } else if !arguments.robust && !arguments.keep_bad_data {
        let begun = Stopwatch::start();
        estimate = explain(&mut done, reference, &options, estimate, &mut cache);
        done.seconds_bad_data = begun.elapsed().as_secs_f64();
    }
    done.estimate = estimate;
    Ok(done)
}

/// What can be said of measurements without an estimate: a branch or tap that is not as the file has it, with which there is one; else the
/// measurements furthest from a robust estimate, which is told and is not the answer.
fn explain(
    done: &mut Done,
    reference: usize,
    options: &Options,
    estimate: Result<Estimate, EstimationError>,
    cache: &mut Cache,
) -> Result<Estimate, EstimationError> {
    let error = match estimate {
        Err(error) if error.steps().is_some() => error,
        other => return other,
    };
    let (case, measurements) = (&done.case, &done.read.measurements);
    let mut starts = vec![options.clone()];
    starts.extend(options.start.is_some().then(|| Options { start: None, ..options.clone() }));
    let bad_data = estimation::BadDataOptions::default();
    for start in &starts {
        if let Ok(found) = estimation::diagnose(case, &done.open, reference, measurements, start, &bad_data, cache) {
            (done.suspected_branches, done.suspected_taps) = (found.branches, found.taps);
            let found = found.identification;
            done.suspicious = found.suspicious;
            done.bad = found.bad.into_iter().map(Bad::from).collect();
            return Ok(found.estimate);
        }
    }
    let huber = Options { method: Method::Huber { threshold: HUBER }, ..options.clone() };
    match estimate_from_either(case, reference, measurements, &huber, cache) {
        Ok(robust) => {
            let chance = estimation::greatest_by_chance(robust.used.iter().filter(|used| **used).count());
            let sizes = robust.residuals.iter().zip(measurements).map(|(residual, measurement)| residual.abs() / measurement.sigma);
            let far = sizes.enumerate().filter(|(index, size)| robust.used[*index] && *size > chance);
            done.far = far.collect();
            done.far.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            done.unexplained = Some("no branch or tap was found whose correction gives an estimate".to_owned());
        }
        Err(also) => {
            done.unexplained =
                Some(format!("no branch or tap was found whose correction gives an estimate, nor is there a robust one: {also}"))
        }
    }
    Err(error)
}

impl From<estimation::BadDatum> for Bad {
    fn from(datum: estimation::BadDatum) -> Self {
        Self { index: datum.index, normalized_residual: datum.normalized_residual, alike: datum.alike }
    }
}

/// An id as JSON: a number if it is one.
fn id(text: &str) -> Value {
    match text.parse::<u64>() {
        Ok(number) if number.to_string() == text => json!(number),
        _ => json!(text),
    }
}

/// Kind, element and side of a place as in the file.
fn place(case: &Case, kind: MeasurementKind) -> (&'static str, u32, &'static str) {
    use MeasurementKind as Kind;
    let bus = |index: usize| case.buses[index].id.0;
    let branch = |index: usize| case.branches[index].id.0;
    match kind {
        Kind::VoltageMagnitude(index) => ("vm", bus(index), ""),
        Kind::VoltageAngle(index) => ("va", bus(index), ""),
        Kind::ActiveInjection(index) => ("p_inj", bus(index), ""),
        Kind::ReactiveInjection(index) => ("q_inj", bus(index), ""),
        Kind::ActiveFlowFrom(index) => ("p_flow", branch(index), "from"),
        Kind::ActiveFlowTo(index) => ("p_flow", branch(index), "to"),
        Kind::ReactiveFlowFrom(index) => ("q_flow", branch(index), "from"),
        Kind::ReactiveFlowTo(index) => ("q_flow", branch(index), "to"),
        Kind::CurrentMagnitudeFrom(index) => ("i_mag", branch(index), "from"),
        Kind::CurrentMagnitudeTo(index) => ("i_mag", branch(index), "to"),
        Kind::CurrentRealFrom(index) => ("i_re", branch(index), "from"),
        Kind::CurrentRealTo(index) => ("i_re", branch(index), "to"),
        Kind::CurrentImaginaryFrom(index) => ("i_im", branch(index), "from"),
        Kind::CurrentImaginaryTo(index) => ("i_im", branch(index), "to"),
    }
}

/// Number of a branch of the case or, beyond it, of those out of service.
fn branch_number(done: &Done, index: usize) -> u32 {
    let inside = done.case.branches.len();
    if index < inside { done.case.branches[index].id.0 } else { done.open[index - inside].id.0 }
}

/// The status that measurements say a branch has.
fn status(suspected: &SuspectedBranch) -> &'static str {
    if suspected.closed { "closed" } else { "open" }
}

fn as_json(done: &Done) -> Value {
    let name = |index: &usize| id(&done.read.ids[*index]);
    let bad = done.bad.iter().map(|bad| {
        json!({ "id": name(&bad.index), "normalized_residual": bad.normalized_residual, "alike": bad.alike.iter().map(name).collect::<Vec<_>>() })
    });
    let placements = done.placements.iter().map(|kind| {
        let (kind, element, side) = place(&done.case, *kind);
        json!({ "kind": kind, "element": element, "side": side })
    });
    let suspected_branches = done.suspected_branches.iter().map(|one| {
        json!({
            "branch": branch_number(done, one.branch), "status": status(one),
            "objective_before": one.objective[0], "objective_after": one.objective[1],
        })
    });
    let suspected_taps = done.suspected_taps.iter().map(|one| {
        json!({
            "branch": branch_number(done, one.branch), "tap": one.tap, "suspected_tap": one.suspected, "sigma": one.sigma,
            "objective_before": one.objective[0], "objective_after": one.objective[1],
        })
    });
    let left_out = done.read.left_out.iter().map(|(text, reason)| json!({ "id": id(text), "reason": reason }));
    let mut out = json!({
        "converged": done.estimate.is_ok(),
        "measurements": done.read.ids.len(),
        "bad_data": bad.collect::<Vec<_>>(),
        "suspected_branches": suspected_branches.collect::<Vec<_>>(),
        "suspected_taps": suspected_taps.collect::<Vec<_>>(),
        "suspicious": done.suspicious,
        "critical_measurements": done.critical.iter().map(name).collect::<Vec<_>>(),
        "placements": placements.collect::<Vec<_>>(),
        "left_out": left_out.collect::<Vec<_>>(),
        "merged_buses": report::merged(done.case.nodes.merged()),
        "seconds_solve": done.seconds_solve,
        "seconds_bad_data": done.seconds_bad_data,
        "scans": done.scans,
    });
    let more = match &done.estimate {
        Ok(found) => {
            let bus = |index: usize| done.case.buses[index].id.0;
            let degrees = 180.0 / std::f64::consts::PI;
            // What is held at its start value is no estimate.
            let estimated = |index: usize, value: f64| found.held.binary_search(&index).is_err().then_some(value);
            let state = |bus: u32, index: usize| {
                let (vm_pu, va_deg) = (estimated(index, found.v[index]), estimated(index, found.va[index] * degrees));
                json!({ "bus": bus, "vm_pu": vm_pu, "va_deg": va_deg })
            };
            let nodes = done.case.nodes.merged().iter().filter_map(|row| Some((row.bus.0, done.case.bus_index(row.into)?)));
            let mut buses = Vec::from_iter((0..found.v.len()).map(|index| (bus(index), index)).chain(nodes));
            buses.sort_unstable();
            let unobservable = |(_, index): &&(u32, usize)| found.unobservable.binary_search(index).is_ok();
            let unobservable = Vec::from_iter(buses.iter().filter(unobservable).map(|(bus, _)| *bus));
            json!({
                "observable": found.unobservable.is_empty(),
                "iterations": found.iterations,
                "objective": found.objective,
                "degrees_of_freedom": found.degrees_of_freedom,
                "chi2_threshold": found.threshold,
                "buses": buses.into_iter().map(|(bus, index)| state(bus, index)).collect::<Vec<_>>(),
                "unobservable_buses": unobservable,
            })
        }
        Err(error) => json!({
            "observable": Value::Null, "iterations": Value::Null, "objective": Value::Null, "degrees_of_freedom": Value::Null,
            "chi2_threshold": Value::Null, "buses": [], "unobservable_buses": [], "reason": error.to_string(),
            "far_from_robust_estimate": done.far.iter().map(|(index, deviation)| json!({ "id": name(index), "deviation": deviation })).collect::<Vec<_>>(),
            "unexplained": done.unexplained,
        }),
    };
    if let (Value::Object(out), Value::Object(more)) = (&mut out, more) {
        out.extend(more);
    }
    out
}

/// The first of a list, and how many more there are.
fn list(names: impl ExactSizeIterator<Item = String>) -> String {
    let count = names.len();
    let shown: Vec<String> = names.take(SHOWN).collect();
    let more = if count > SHOWN { format!(" and {} more", count - SHOWN) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

fn tell(arguments: &EstimateArguments, done: &Done) {
    let name = |index: usize| {
        let (kind, element, side) = place(&done.case, done.read.measurements[index].kind);
        let side = if side.is_empty() { String::new() } else { format!(" {side}") };
        format!("{} ({kind} {element}{side})", done.read.ids[index])
    };
    say!("{}: {} buses, {} measurements", arguments.network.display(), done.case.buses.len(), report::grouped(done.read.ids.len() as u64));
    let merged = done.case.nodes.merged().len();
    if merged > 0 {
        say!("{merged} buses merged with others by closed node switches and branches without impedance");
    }
    for (text, reason) in done.read.left_out.iter().take(SHOWN) {
        say!("  left out: {text}: {reason}");
    }
    if done.read.left_out.len() > SHOWN {
        say!("  and {} more left out", done.read.left_out.len() - SHOWN);
    }
    let found = match &done.estimate {
        Ok(found) => found,
        Err(error) => {
            say!("NOT CONVERGED: {error}");
            if let Some(reason) = &done.unexplained {
                say!("  {reason}");
            }
            if !done.far.is_empty() {
                let far = done.far.iter().map(|(index, deviation)| format!("{} by {deviation:.1} sigma", name(*index)));
                say!("  furthest from a robust estimate: {}", list(far));
            }
            return;
        }
    };
    let bus = |index: &usize| done.case.buses[*index].id.to_string();
    if found.unobservable.is_empty() {
        say!("observable, {} measurements critical", done.critical.len());
    } else {
        say!("NOT OBSERVABLE: bus {}", list(found.unobservable.iter().map(bus)));
        let places = done.placements.iter().map(|kind| {
            let (kind, element, side) = place(&done.case, *kind);
            format!("{kind} {element} {side}").trim_end().to_owned()
        });
        say!("  these would restore it: {}", list(places));
    }
    if !done.critical.is_empty() {
        say!("  critical, checked by nothing else: {}", list(done.critical.iter().map(|index| name(*index))));
    }
    match found.threshold {
        Some(threshold) => say!(
            "J = {:.2}, {} degrees of freedom, threshold {threshold:.2} (99 %){}",
            found.objective,
            found.degrees_of_freedom,
            if done.suspicious { ": TOO LARGE, and no measurement can be blamed" } else { "" }
        ),
        None => say!("J = {:.2}: there is no redundancy, and nothing is checked", found.objective),
    }
    if !done.bad.is_empty() {
        say!("BAD DATA{}:", if arguments.robust || arguments.keep_bad_data { " (still in)" } else { ", taken out" });
        say!("  {:>12}  {:<28} {:>10} {:>14} {:>14}", "r / sigma_r", "measurement", "sigma", "measured", "estimated");
        for bad in &done.bad {
            let measurement = &done.read.measurements[bad.index];
            let one = done.case.customary(measurement.kind);
            let (value, estimated) = (measurement.value * one, found.estimated[bad.index] * one);
            say!(
                "  {:>12.2}  {:<28} {:>10.4} {value:>14.4} {estimated:>14.4}",
                bad.normalized_residual,
                name(bad.index),
                measurement.sigma * one
            );
            if !bad.alike.is_empty() {
                say!("{:>16}or {}: their residuals say the same", "", list(bad.alike.iter().map(|index| name(*index))));
            }
        }
    }
    for one in &done.suspected_branches {
        say!(
            "SUSPECTED STATUS: branch {} is {}, not as the file has it: J = {:.2} before, {:.2} so",
            branch_number(done, one.branch),
            status(one),
            one.objective[0],
            one.objective[1]
        );
    }
    for one in &done.suspected_taps {
        say!(
            "SUSPECTED TAP: branch {}: {:.4} (sigma {:.4}) in place of {:.4}: J = {:.2} before, {:.2} so",
            branch_number(done, one.branch),
            one.suspected,
            one.sigma,
            one.tap,
            one.objective[0],
            one.objective[1]
        );
    }
    for scan in &done.scans {
        say!("  scan {scan}");
    }
    say!("{:>10} {:>12} {:>12}", "bus", "vm (pu)", "va (deg)");
    let held = |index: usize| if found.held.contains(&index) { "  not estimated" } else { "" };
    let degrees = 180.0 / std::f64::consts::PI;
    let shown = if done.case.buses.len() <= 2 * SHOWN { done.case.buses.len() } else { SHOWN };
    for index in 0..shown {
        say!("{:>10} {:>12.6} {:>12.5}{}", bus(&index), found.v[index], found.va[index] * degrees, held(index));
    }
    if shown < done.case.buses.len() {
        say!("{:>10} {} more with --json", "...", done.case.buses.len() - shown);
    }
    say!(
        "{} iterations, {:.2} ms; residuals and bad data {:.2} ms",
        found.iterations,
        1e3 * done.seconds_solve,
        1e3 * done.seconds_bad_data
    );
}
