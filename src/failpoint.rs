//! Places where a test lets the process die: after something was half done and before the rest. What was written by then
//! survives, as it does a kill; a power cut may take more (`DESIGN.md`).
//!
//! Nothing happens unless the hidden option `--fail-at NAME:COUNT` names the place; at its COUNTth passing the process
//! aborts, without running anything that would tidy up.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Places there are, with what is half done there.
pub const PLACES: [&str; 5] = ["output-torn", "output-appended", "checkpoint-begun", "checkpoint-written", "checkpoint-named"];

static CHOSEN: OnceLock<(String, AtomicU64)> = OnceLock::new();

/// Chooses the place, once a process: `NAME:COUNT`.
///
/// # Errors
/// When it is no such place.
pub fn choose(place: &str) -> Result<(), String> {
    let (name, count) = place.split_once(':').and_then(|(name, count)| Some((name, count.parse().ok()?))).unwrap_or((place, 1));
    if !PLACES.contains(&name) {
        return Err(format!("--fail-at knows {}, not {name}", PLACES.join(", ")));
    }
    let _ = CHOSEN.set((name.to_owned(), AtomicU64::new(count)));
    Ok(())
}

/// Whether the process is to die at this passing of the place.
pub(crate) fn due(name: &str) -> bool {
    CHOSEN.get().is_some_and(|(chosen, left)| chosen == name && left.fetch_sub(1, Ordering::Relaxed) == 1)
}

/// Dies here, if it is due.
pub(crate) fn pass(name: &str) {
    if due(name) {
        std::process::abort();
    }
}
