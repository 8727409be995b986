//! The CPU time that the routing of one message may use.
//!
//! Rounds of loops and calls of routes are the only things that multiply, so these are counted, and
//! at every [`EVERY`]th the clock is looked at: a route as operators write them never asks for the
//! time. The clock is of CPU time, so that a function that waits for an answer costs nothing. One
//! message at a time runs in a process, with all machines within machines on one account.

use nix::time::{ClockId, clock_gettime};
use olelo_core::route::module::IntParam;
use olelo_ipc::signals::interrupted;
use std::cell::Cell;

/// `time_limit`: milliseconds, 0 for no limit.
pub static TIME_LIMIT: IntParam = IntParam::new(500);

/// The longest value that is kept, bytes: doubling one reaches any length in a few statements.
pub const LONGEST: usize = 1 << 20;

/// How many rounds and calls pass between two looks at the clock.
const EVERY: u32 = 16;

thread_local! {
    static COUNT: Cell<u32> = const { Cell::new(0) };
    /// CPU time at the first look, nanoseconds.
    static SINCE: Cell<Option<u64>> = const { Cell::new(None) };
    static SPENT: Cell<bool> = const { Cell::new(false) };
    /// Statements of the message that failed.
    static FAILED: Cell<u32> = const { Cell::new(0) };
}

/// How many failed statements of one message the log has.
const MOST_LOGGED: u32 = 100;

/// A message begins.
pub fn begin() {
    COUNT.set(0);
    SINCE.set(None);
    SPENT.set(false);
    FAILED.set(0);
}

/// Counts a statement that failed: whether the log has it.
pub fn is_logged() -> bool {
    let n = FAILED.get().saturating_add(1);
    FAILED.set(n);
    n <= MOST_LOGGED
}

/// Counts a round or a call. True where the time is over: nothing more may run.
pub fn spend() -> bool {
    let n = COUNT.get().wrapping_add(1);
    COUNT.set(n);
    if n.is_multiple_of(EVERY) {
        look();
    }
    if interrupted() {
        SPENT.set(true);
    }
    SPENT.get()
}

/// Whether the time was over.
pub fn is_spent() -> bool {
    SPENT.get()
}

/// What the log says of it.
pub fn complaint(place: &str) -> String {
    format!(
        "{}, last at {place}",
        if interrupted() {
            "it took longer than watchdog_time".into()
        } else {
            format!(
                "it used more than {} ms of CPU (time_limit)",
                TIME_LIMIT.get()
            )
        }
    )
}

#[cold]
fn look() {
    let limit = TIME_LIMIT.get();
    let Ok(t) = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID) else {
        return;
    };
    let now = t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64;
    match SINCE.get() {
        None => SINCE.set(Some(now)),
        Some(since) if limit > 0 && now.saturating_sub(since) > limit as u64 * 1_000_000 => {
            SPENT.set(true)
        }
        Some(_) => {}
    }
}
