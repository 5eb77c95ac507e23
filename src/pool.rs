//! Background threads for solves that would stall a worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gridflow_operators::solver::Pool;

/// Starts a pool of `threads` threads, named after what it is for; they end when the last handle is dropped.
///
/// `delay_seed`, for tests, makes each job wait a few milliseconds, differently for each: what a busy machine does.
///
/// # Errors
/// When the system gives no thread.
pub fn start(name: &str, threads: usize, delay_seed: Option<u64>) -> std::io::Result<Pool> {
    let (sender, receiver) = crossbeam_channel::unbounded::<Box<dyn FnOnce() + Send>>();
    for index in 0..threads.max(1) {
        let receiver = receiver.clone();
        std::thread::Builder::new().name(format!("gridflow:{name}-{index}")).spawn(move || {
            for job in receiver {
                job();
            }
        })?;
    }
    let jobs = AtomicU64::new(0);
    Ok(Arc::new(move |job| {
        let job: Box<dyn FnOnce() + Send> = match delay_seed {
            None => job,
            Some(seed) => {
                let mixed = (seed ^ jobs.fetch_add(1, Ordering::Relaxed)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                let delay = Duration::from_micros((mixed >> 32) % 4_000);
                Box::new(move || {
                    std::thread::sleep(delay);
                    job();
                })
            }
        };
        // Fails only when all threads are gone, which only a panic can cause, and that ends the process.
        let _ = sender.send(job);
    }))
}
