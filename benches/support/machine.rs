//! The machine a bench runs on, in one line, and the CPU time of this process: rates per CPU second mean something on a
//! machine that is shared, rates per second of the wall clock do not.

use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};

/// CPU time of this process so far, all threads, user and system, seconds.
pub fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// CPU time of all processes this one started and waited for, seconds; in steps of the kernel's clock, mostly 10 ms.
pub fn children_cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("benches run on Linux");
    // The name of the program, in brackets, may hold blanks; fields are counted from behind it.
    let (_, fields) = stat.rsplit_once(')').expect("the name is in brackets");
    let ticks: u64 = fields.split_whitespace().skip(13).take(2).map(|field| field.parse::<u64>().expect("ticks are numbers")).sum();
    ticks as f64 / clock_ticks_per_second() as f64
}

/// Memory that this process holds now (resident), bytes.
pub fn memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("benches run on Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("in kilobytes") * 1024
}

/// The load of the last minute.
fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// Whether less than half of the cores was busy in the last minute.
pub fn is_quiet() -> bool {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    load().is_some_and(|load| load < 0.5 * cores as f64)
}

/// Processor, cores, memory and load, as far as the system tells.
pub fn line() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kilobytes = field(&read("/proc/meminfo"), "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    let memory = kilobytes.map_or("memory unknown".to_owned(), |kilobytes| format!("{} GB", kilobytes / 1_000_000));
    let load = load().map_or("unknown".to_owned(), |load| load.to_string());
    format!("{model}, {cores} cores, {memory}, load {load}")
}

/// Whether this is a run of `cargo bench` (or of one program alone): the only kind with options. `cargo test --benches` runs
/// benches too, perhaps with options of the test harness; a measurement there means nothing.
pub fn is_measuring() -> bool {
    std::env::args().any(|argument| argument == "--bench" || argument == "--once")
}

/// The median of some numbers.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    assert!(!numbers.is_empty(), "the median of nothing");
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
