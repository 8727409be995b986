//! Wake-ups: telling a process that something waits for it.
//!
//! A worker that blocks in `recvmmsg` is interrupted by a signal; one that waits in `epoll` has an
//! eventfd, made in main before the fork so that every process can write to it. A signal that comes
//! just before the blocking call is lost, so who needs an answer repeats it until it has it.

use crate::process;
use crate::signals;
use nix::sys::eventfd::{EfdFlags, EventFd};
use olelo_mem::words::Words;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

static EVENTS: OnceLock<Vec<EventFd>> = OnceLock::new();
/// One word per slot: its eventfd has been written and not yet read.
static PENDING: OnceLock<Words> = OnceLock::new();

/// Makes an eventfd per slot; main, before the forks.
pub fn create(slots: u16) -> std::io::Result<()> {
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    let fds = (0..slots)
        .map(|_| EventFd::from_value_and_flags(0, flags))
        .collect::<Result<Vec<_>, _>>()?;
    let _ = EVENTS.set(fds);
    let words = Words::create("wake", usize::from(slots)).map_err(std::io::Error::other)?;
    let _ = PENDING.set(words);
    Ok(())
}

/// Interrupts whatever the process in `slot` blocks in.
pub fn wake(slot: u16) {
    write(slot);
    if let Some(pid) = process::table().get(slot).map(|p| p.pid()) {
        signals::kill(pid, signals::WAKE);
    }
}

/// Makes the eventfd of `slot` readable. Costs no system call where it is already: the owner takes
/// all that was posted at once. An owner that died in between is replaced by one that looks by itself.
pub fn post(slot: u16) {
    let pending = PENDING.get().and_then(|p| p.get(usize::from(slot)));
    if pending.is_none_or(|p| p.swap(1, Ordering::AcqRel) == 0) {
        write(slot);
    }
}

fn write(slot: u16) {
    if let Some(e) = EVENTS.get().and_then(|e| e.get(usize::from(slot))) {
        let _ = e.write(1);
    }
}

/// The eventfd of `slot`, to register with epoll.
pub fn event_fd(slot: u16) -> Option<BorrowedFd<'static>> {
    EVENTS
        .get()
        .and_then(|e| e.get(usize::from(slot)))
        .map(AsFd::as_fd)
}

/// Makes the eventfd unreadable again.
pub fn drain(slot: u16) {
    if let Some(e) = EVENTS.get().and_then(|e| e.get(usize::from(slot))) {
        let _ = e.read();
    }
    // Before the owner looks at what was posted: what comes after it looked is announced anew.
    if let Some(p) = PENDING.get().and_then(|p| p.get(usize::from(slot))) {
        p.store(0, Ordering::Release);
    }
}
