//! Death at a chosen store: the counter behind the facade of `atomic` (feature `kill-points`).
//!
//! For tests. Points are counted per process from [`arm`] on; at the armed one the process kills
//! itself by SIGKILL, so nothing runs after it: no destructor, no handler. A child inherits the
//! counter through a fork and arms its own.

use std::sync::atomic::{AtomicU64, Ordering};

/// The process is to die at the `n`-th point from now (1 is the next).
pub fn arm(n: u64) {
    PASSED.store(0, Ordering::SeqCst);
    ARMED.store(n, Ordering::SeqCst);
}

/// No death is due any more; returns how many points were passed since [`arm`].
pub fn disarm() -> u64 {
    ARMED.store(0, Ordering::SeqCst);
    passed()
}

/// Points passed since [`arm`].
pub fn passed() -> u64 {
    PASSED.load(Ordering::SeqCst)
}

/// One more point: the end, if it is the armed one.
#[inline]
pub(crate) fn pass() {
    let point = PASSED.fetch_add(1, Ordering::Relaxed) + 1;
    if point == ARMED.load(Ordering::Relaxed) {
        // SAFETY: plain system calls; a process may always kill itself, and SIGKILL takes effect
        // before the call returns to user space.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }
}

static PASSED: AtomicU64 = AtomicU64::new(0);
static ARMED: AtomicU64 = AtomicU64::new(0);
