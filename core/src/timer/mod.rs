//! Work at intervals: modules ask in `init`, the timer processes do it.
//!
//! Two processes share the work: `timer` runs what must be on time (transactions), `slow timer`
//! runs sweeps. A job runs outside of any lock and should return within its interval; a job that is
//! late is run once, not once per interval missed.

use std::sync::RwLock;

pub use olelo_mem::wheel::{monotonic_ms, set_clock};

/// Which process runs a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// On time: tens of milliseconds.
    Fast,
    /// Sweeps: seconds.
    Slow,
}

/// A job at an interval.
#[derive(Clone, Copy)]
pub struct Job {
    /// For `core.psx` and messages.
    pub name: &'static str,
    /// Milliseconds between runs.
    pub every_ms: u64,
    /// Which process.
    pub pace: Pace,
    /// The work.
    pub run: fn(now_ms: u64),
}

static JOBS: RwLock<Vec<Job>> = RwLock::new(Vec::new());

/// Asks for a job; main, in a module's `init`.
pub fn every(name: &'static str, every_ms: u64, pace: Pace, run: fn(u64)) {
    if let Ok(mut j) = JOBS.write() {
        j.push(Job {
            name,
            every_ms: every_ms.max(1),
            pace,
            run,
        });
    }
}

/// The jobs of one process.
pub fn jobs(pace: Pace) -> Vec<Job> {
    JOBS.read()
        .map(|j| j.iter().copied().filter(|j| j.pace == pace).collect())
        .unwrap_or_default()
}

/// Seconds of the wall clock.
pub fn wall_s() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs() as i64)
}
