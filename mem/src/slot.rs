//! Which process-table slot this process is.
//!
//! A slot number names a process in every lock word and every reserved block, so that main knows
//! what a dead process left behind. It is process-private state: main is slot 0 and each child
//! sets its own number first thing after the fork. It is *not* the process table itself (that is
//! `olelo-ipc`), nor a pid: pids are reused by the kernel, slots only after a repair.

use std::sync::atomic::{AtomicU16, Ordering};

/// The slot of the main process.
pub const MAIN: u16 = 0;

/// States which slot this process is; called once, directly after the fork.
pub fn set_current_slot(slot: u16) {
    CURRENT.store(slot, Ordering::Relaxed);
}

/// The slot of this process; [`MAIN`] until [`set_current_slot`] said otherwise.
#[inline]
pub fn current_slot() -> u16 {
    CURRENT.load(Ordering::Relaxed)
}

static CURRENT: AtomicU16 = AtomicU16::new(MAIN);
