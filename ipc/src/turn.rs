//! Turns at a socket: of the processes that share it, one waits in the kernel, the others for it.
//!
//! When all of them wait in `recvmmsg`, every datagram of a burst wakes another one, most of which
//! find the queue empty: the wake-ups cost more than the work. So one process holds the turn,
//! receives, and keeps the turn while it works through a small batch. It gives the turn away where
//! the batch was full (there is work for two) or its messages take long. A holder that got stuck in
//! its work loses the turn to [`Turn::relieve`], which the timer process calls; one that died, to
//! [`Turn::release_of`], which main calls.
//!
//! Three words in shared memory: holder (slot + 1), since when it works (milliseconds; 0 while it
//! receives), and how many wait. Every change is one store; a lost wake-up costs at most [`LONGEST`].

use olelo_mem::arena::ArenaError;
use olelo_mem::atomic::{AtomicU32, AtomicU64, Ordering};
use olelo_mem::words::{Words, Words32};
use std::ptr;

/// The longest wait without looking again.
const LONGEST: libc::timespec = libc::timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// The turn at one socket.
#[derive(Clone, Copy)]
pub struct Turn {
    holder: &'static AtomicU32,
    waiting: &'static AtomicU32,
    since_ms: &'static AtomicU64,
}

/// Makes turns for `n` sockets; main, before the forks.
pub fn create(n: usize) -> Result<Vec<Turn>, ArenaError> {
    let words = Words32::create("turns", n * 2)?;
    let since = Words::create("turns-since", n)?;
    Ok((0..n)
        .filter_map(|i| {
            Some(Turn {
                holder: words.get(i * 2)?,
                waiting: words.get(i * 2 + 1)?,
                since_ms: since.get(i)?,
            })
        })
        .collect())
}

impl Turn {
    /// Waits for the turn; true once this slot has it. False after a signal or [`LONGEST`]: the
    /// caller looks what it was woken for and asks again.
    pub fn take(&self, slot: u16) -> bool {
        let me = u32::from(slot) + 1;
        match self
            .holder
            .compare_exchange(0, me, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => return true,
            Err(h) if h == me => return true,
            Err(h) => {
                self.waiting.fetch_add(1, Ordering::AcqRel);
                wait(self.holder, h);
                self.waiting.fetch_sub(1, Ordering::AcqRel);
            }
        }
        self.holder
            .compare_exchange(0, me, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// The slot that has the turn.
    pub fn holder(&self) -> Option<u16> {
        let word = self.holder.load(Ordering::Acquire);
        Some(word.checked_sub(1)? as u16)
    }

    /// Whether its holder is at work, not receiving.
    pub fn is_working(&self) -> bool {
        self.since_ms.load(Ordering::Relaxed) != 0
    }

    /// Gives the turn to one who waits for it.
    pub fn give(&self, slot: u16) {
        let me = u32::from(slot) + 1;
        if self
            .holder
            .compare_exchange(me, 0, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            self.wake_one();
        }
    }

    /// The holder works now, since `now_ms`; 0: it receives.
    pub fn set_working(&self, now_ms: u64) {
        self.since_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Takes the turn from a holder that has worked since before `before_ms`.
    pub fn relieve(&self, before_ms: u64) {
        let since = self.since_ms.load(Ordering::Relaxed);
        let holder = self.holder.load(Ordering::Acquire);
        if since != 0 && since < before_ms && holder != 0 {
            self.since_ms.store(0, Ordering::Relaxed);
            if self
                .holder
                .compare_exchange(holder, 0, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
            {
                self.wake_one();
            }
        }
    }

    /// Takes the turn from a slot whose process died. One that waited is counted out by nobody; the
    /// count only decides whether a wake-up is worth a system call, so too high is harmless.
    pub fn release_of(&self, slot: u16) {
        if self.holder.load(Ordering::Acquire) == u32::from(slot) + 1 {
            self.since_ms.store(0, Ordering::Relaxed);
        }
        self.give(slot);
    }

    fn wake_one(&self) {
        if self.waiting.load(Ordering::Acquire) > 0 {
            // SAFETY: the word lies in shared memory that is never unmapped; FUTEX_WAKE only looks
            // its address up.
            unsafe {
                libc::syscall(
                    libc::SYS_futex,
                    ptr::from_ref(self.holder),
                    libc::FUTEX_WAKE,
                    1,
                )
            };
        }
    }
}

fn wait(word: &AtomicU32, expected: u32) {
    // SAFETY: as in `wake_one`; the time-out is a constant that outlives the call.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            ptr::from_ref(word),
            libc::FUTEX_WAIT,
            expected,
            ptr::from_ref(&LONGEST),
        )
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_and_gives_it_on() {
        olelo_mem::arena::init_for_tests();
        let t = create(1).expect("room")[0];
        assert!(t.take(3) && t.take(3));
        t.give(4);
        assert!(t.take(3), "only the holder gives");
        t.give(3);
        assert!(t.take(4));
    }

    #[test]
    fn a_stuck_or_dead_holder_loses_it() {
        olelo_mem::arena::init_for_tests();
        let t = create(1).expect("room")[0];
        assert!(t.take(1));
        t.set_working(100);
        t.relieve(100);
        assert!(t.take(1), "not long enough");
        t.relieve(101);
        assert!(t.take(2));
        t.release_of(2);
        assert!(t.take(5));
    }
}
