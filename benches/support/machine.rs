//! The machine a bench runs on, in one line, and the CPU time of this process: rates per CPU second mean something on a
//! machine that is shared, rates per second of the wall clock do not.

use rustix::time::{ClockId, clock_gettime};

/// CPU time of this process so far, all threads, user and system, seconds.
pub fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
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
    let load = read("/proc/loadavg");
    format!("{model}, {cores} cores, {memory}, load {}", load.split(' ').next().filter(|text| !text.is_empty()).unwrap_or("unknown"))
}

/// The median of some numbers.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    assert!(!numbers.is_empty(), "the median of nothing");
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
