//! Background threads for solves that would stall a worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use gridflow_operators::solver::{Blocks, Pool, inline_blocks};

/// Runs blocks of a solve on up to `threads` threads, the calling one among them.
#[must_use]
pub fn blocks(threads: usize) -> Blocks {
    if threads <= 1 {
        return inline_blocks();
    }
    Arc::new(move |count, run| {
        let next = AtomicUsize::new(0);
        let work = || {
            loop {
                let block = next.fetch_add(1, Ordering::Relaxed);
                if block >= count {
                    return;
                }
                run(block);
            }
        };
        std::thread::scope(|scope| {
            // Where the system gives no thread the others do more.
            (1..threads.min(count)).for_each(|_| drop(std::thread::Builder::new().spawn_scoped(scope, work)));
            work();
        });
    })
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_block_runs_once_on_any_number_of_threads() {
        for threads in [0, 1, 2, 5] {
            for count in [0, 1, 3, 100] {
                let runs = Vec::from_iter((0..count).map(|_| AtomicUsize::new(0)));
                blocks(threads)(count, &|block| {
                    runs[block].fetch_add(1, Ordering::Relaxed);
                });
                assert!(runs.iter().all(|runs| runs.load(Ordering::Relaxed) == 1), "{threads} threads, {count} blocks");
            }
        }
    }
}
