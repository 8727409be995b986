//! Which process-table slot this process is, and whether the one of another slot still lives.
//!
//! A slot number names a process in every lock word and every reserved block, so that main knows
//! what a dead process left behind. It is process-private state: main is slot 0 and each child
//! sets its own number first thing after the fork. It is *not* the process table itself (that is
//! `olelo-ipc`), nor a pid: pids are reused by the kernel, slots only after a repair.
//!
//! Each slot has a line of words in the arena that only its process writes: its pid, the epoch in
//! which it reads published blobs, and the lock it waits for. All can be read while everybody else
//! stands still.

use crate::arena::{arena, mapped};
use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// The slot of the main process.
pub const MAIN: u16 = 0;

/// States which slot this process is; called once, directly after the fork.
pub fn set_current_slot(slot: u16) {
    if let Some(line) = mapped().and_then(|arena| arena.slots.get(usize::from(slot))) {
        line.pid.store(std::process::id(), Ordering::Release);
    }
    CURRENT.store(slot, Ordering::Relaxed);
}

/// The slot of this process; [`MAIN`] until [`set_current_slot`] said otherwise.
#[inline]
pub fn current_slot() -> u16 {
    CURRENT.load(Ordering::Relaxed)
}

/// What a slot's process says of itself.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct SlotLine {
    /// The epoch since when it reads published blobs; 0 when it reads none.
    pub epoch: AtomicU64,
    pub pid: AtomicU32,
    /// The slot it waits for, plus one.
    pub waits_for: AtomicU32,
    /// The lock it waits for: number of the set plus one << 32 | index in the set; 0 is none.
    pub waits_at: AtomicU64,
    /// Since when, in monotonic milliseconds.
    pub waits_since: AtomicU64,
}

impl SlotLine {
    /// Its process is buried. The pid is forgotten too: the kernel gives it to others.
    pub fn bury(&self) {
        self.pid.store(0, Ordering::Release);
        self.clear();
    }

    /// As if the slot's process had never done anything.
    pub fn clear(&self) {
        self.epoch.store(0, Ordering::SeqCst);
        self.waits_at.store(0, Ordering::Release);
        self.waits_for.store(0, Ordering::Relaxed);
    }
}

/// The line of a slot, if such a slot can exist.
pub(crate) fn line(slot: u16) -> Option<&'static SlotLine> {
    arena().slots.get(usize::from(slot))
}

/// Is the process of `slot` known to be dead? Only main asks, who buries the dead: elsewhere the answer
/// is no. A slot that cannot exist is dead. A process whose parent is another is dead once it has ended,
/// whether that parent has taken note or not.
pub(crate) fn is_dead(slot: u16) -> bool {
    let Some(arena) = mapped().filter(|_| current_slot() == MAIN) else {
        return false;
    };
    let Some(line) = arena.slots.get(usize::from(slot)) else {
        return true;
    };
    let pid = line.pid.load(Ordering::Acquire);
    if pid == 0 || pid == std::process::id() {
        // A child says its pid before it can take anything.
        return pid == 0 && slot != MAIN;
    }
    // SAFETY: all-zero bytes are a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the kernel fills the struct we own; WNOWAIT leaves the corpse to who reaps it.
    let answer = unsafe { libc::waitid(libc::P_PID, pid, &raw mut info, options) };
    if answer != 0 {
        let foreign = std::io::Error::last_os_error().raw_os_error() == Some(libc::ECHILD);
        return foreign && has_ended(pid);
    }
    // SAFETY: waitid filled the fields of a child's change of state, or left them zero.
    unsafe { info.si_pid() != 0 }
}

/// Has a process that is not our child ended? Where the kernel doesn't say, it lives.
fn has_ended(pid: u32) -> bool {
    // SAFETY: a plain system call; what it gives is a descriptor or an error.
    let answer = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if answer < 0 {
        return std::io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH);
    }
    // SAFETY: the kernel gave us this descriptor a moment ago, and nobody else has it.
    let process = unsafe { OwnedFd::from_raw_fd(answer as i32) };
    let mut end = libc::pollfd {
        fd: process.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one element, ours; the descriptor is open.
    unsafe { libc::poll(&raw mut end, 1, 0) == 1 }
}

static CURRENT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(MAIN);
