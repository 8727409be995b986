//! Work at intervals: modules ask in `init`, the timer processes do it.
//!
//! Two processes share the work: `timer` runs what must be on time (transactions), `slow timer`
//! runs sweeps. A job runs outside of any lock and should return within its interval; a job that is
//! late is run once, not once per interval missed.

use std::sync::RwLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

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
    wall().as_secs() as i64
}

/// The wall clock: time since 1970.
pub fn wall() -> Duration {
    match WALL_AHEAD.load(Ordering::Relaxed) {
        0 => std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default(),
        ms => Duration::from_millis(monotonic_ms().saturating_add_signed(ms)),
    }
}

/// From now on the wall clock of this process goes with the monotonic one, which [`set_clock`] may
/// have stopped, and shows `wall_ms` now. For simulations.
pub fn set_wall(wall_ms: u64) {
    let ahead = wall_ms as i64 - monotonic_ms() as i64;
    WALL_AHEAD.store(ahead, Ordering::Relaxed);
}

/// Milliseconds from the monotonic clock to the wall clock; 0 while that is the machine's.
static WALL_AHEAD: AtomicI64 = AtomicI64::new(0);
