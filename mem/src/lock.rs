//! The lock word: who holds it is written in it.
//!
//! A [`RawLock`] is one `u32` in shared memory: 0 when free, else the holder's slot plus one, and
//! a top bit that says somebody sleeps on the futex. Because the owner is *in* the word, main can
//! find every lock a dead process held, repair what the lock protects while it is still held, and
//! only then release it. Sleepers never trust a wake-up to come: a holder can be killed between
//! its unlocking store and its `FUTEX_WAKE`, so every wait is bounded and then looks again.
//!
//! Nothing slow ever runs under a lock: no script, callback into a script, or I/O. In debug builds
//! each thread keeps the ranks it holds and a lock may only be taken with a rank above all of them,
//! which makes lock-order inversions and self-deadlocks a panic in the tests, not a frozen server.

use crate::slot::current_slot;
use std::marker::PhantomData;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// The place of a lock in the order in which locks may be taken: only upwards.
pub type Rank = u8;

/// First rank of the hash tables: each table created gets the next one.
pub(crate) const RANK_TABLE_FIRST: Rank = 16;
/// Last rank of the hash tables.
pub(crate) const RANK_TABLE_LAST: Rank = 140;
/// The lock that a timer process holds while it takes one entry out of a wheel.
pub(crate) const RANK_WHEEL: Rank = 150;
/// The ring of a queue.
pub(crate) const RANK_QUEUE: Rank = 160;
/// The history of a published blob.
pub(crate) const RANK_PUBLISHED: Rank = 170;
/// A heap of size-class pages.
pub(crate) const RANK_HEAP: Rank = 200;
/// The page map.
pub(crate) const RANK_PAGES: Rank = 210;
/// The directory of tags.
pub(crate) const RANK_TAGS: Rank = 220;

/// A lock in shared memory whose word names its owner.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct RawLock {
    word: AtomicU32,
}

impl RawLock {
    /// Takes the lock, sleeping in bounded steps while another process has it.
    #[inline]
    pub fn lock(&self, rank: Rank) -> LockGuard<'_> {
        ranks::enter(rank);
        let me = u32::from(current_slot()) + 1;
        if self
            .word
            .compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            self.lock_contended(me);
        }
        LockGuard {
            lock: self,
            rank,
            not_send: PhantomData,
        }
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self, rank: Rank) -> Option<LockGuard<'_>> {
        let me = u32::from(current_slot()) + 1;
        self.word
            .compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        ranks::enter(rank);
        Some(LockGuard {
            lock: self,
            rank,
            not_send: PhantomData,
        })
    }

    /// The slot that holds the lock now, if any.
    pub fn owner(&self) -> Option<u16> {
        decode_owner(self.word.load(Ordering::Acquire))
    }

    /// Does anybody sleep on this lock (as far as the word says)?
    pub fn has_waiters(&self) -> bool {
        self.word.load(Ordering::Relaxed) & WAITERS != 0
    }

    /// Takes the lock away from a dead process, after what it protects was repaired.
    /// Does nothing if `dead` does not hold it.
    pub(crate) fn release_of(&self, dead: u16) -> bool {
        if self.owner() != Some(dead) {
            return false;
        }
        self.word.store(0, Ordering::Release);
        futex_wake(&self.word, i32::MAX);
        true
    }

    #[cold]
    fn lock_contended(&self, me: u32) {
        for _ in 0..SPINS {
            std::hint::spin_loop();
            if self.word.load(Ordering::Relaxed) == 0
                && self
                    .word
                    .compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
            {
                return;
            }
        }
        loop {
            let seen = self.word.load(Ordering::Relaxed);
            if seen == 0 {
                // Others may still sleep: whoever slept takes the lock with the bit set.
                if self
                    .word
                    .compare_exchange(0, me | WAITERS, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
                {
                    return;
                }
                continue;
            }
            if seen & WAITERS == 0
                && self
                    .word
                    .compare_exchange(seen, seen | WAITERS, Ordering::Relaxed, Ordering::Relaxed)
                    .is_err()
            {
                continue;
            }
            futex_wait(&self.word, seen | WAITERS, WAIT_BOUND_NS);
        }
    }

    #[inline]
    fn unlock(&self) {
        if self.word.swap(0, Ordering::Release) & WAITERS != 0 {
            futex_wake(&self.word, 1);
        }
    }
}

/// Holds a [`RawLock`] until dropped.
#[derive(Debug)]
pub struct LockGuard<'a> {
    lock: &'a RawLock,
    rank: Rank,
    // The rank stack is per thread.
    not_send: PhantomData<*const ()>,
}

impl Drop for LockGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.lock.unlock();
        ranks::leave(self.rank);
    }
}

/// One lock that is held at the moment of asking; a row of `core.locks`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldLock {
    /// The holder's slot.
    pub slot: u16,
    /// The structure the lock belongs to.
    pub name: String,
    /// Which of the structure's locks: a bucket number, a heap number, or 0.
    pub index: usize,
    /// Whether somebody waits for it.
    pub waiters: bool,
}

/// Every lock that is held now, over all structures; a snapshot, taken without locking anything.
pub fn held() -> Vec<HeldLock> {
    let sets = LOCK_SETS
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut out = Vec::new();
    for set in sets.iter() {
        for index in 0..set.count {
            let lock = (set.nth)(index);
            if let Some(slot) = lock.owner() {
                out.push(HeldLock {
                    slot,
                    name: set.name.clone(),
                    index,
                    waiters: lock.has_waiters(),
                });
            }
        }
    }
    out
}

/// Makes the locks of a structure known to [`held`].
pub(crate) fn register(
    name: &str,
    count: usize,
    nth: impl Fn(usize) -> &'static RawLock + Send + 'static,
) {
    let mut sets = LOCK_SETS
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    sets.push(LockSet {
        name: name.to_owned(),
        count,
        nth: Box::new(nth),
    });
}

struct LockSet {
    name: String,
    count: usize,
    nth: Box<dyn Fn(usize) -> &'static RawLock + Send>,
}

// Process-private, filled in main before the first fork and only read afterwards.
static LOCK_SETS: Mutex<Vec<LockSet>> = Mutex::new(Vec::new());

const WAITERS: u32 = 1 << 31;
const SPINS: u32 = 64;
const WAIT_BOUND_NS: i64 = 30_000_000;

fn decode_owner(word: u32) -> Option<u16> {
    let owner = word & !WAITERS;
    (owner != 0).then(|| (owner - 1) as u16)
}

fn futex_wait(word: &AtomicU32, expected: u32, bound_ns: i64) {
    let timeout = libc::timespec {
        tv_sec: 0,
        tv_nsec: bound_ns,
    };
    // SAFETY: `word` is a live aligned u32 for the whole call and the kernel only reads it; the
    // timeout outlives the call. Every outcome (woken, timed out, EAGAIN, EINTR) is handled alike:
    // the caller looks at the word again.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            expected,
            &raw const timeout,
        );
    }
}

fn futex_wake(word: &AtomicU32, count: i32) {
    // SAFETY: `word` is a live aligned u32; FUTEX_WAKE does not access it.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count);
    }
}

#[cfg(debug_assertions)]
mod ranks {
    //! The ranks this thread holds, checked on each acquisition (debug builds).
    use super::Rank;
    use std::cell::RefCell;

    thread_local! {
        static HELD: RefCell<Vec<Rank>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn enter(rank: Rank) {
        HELD.with_borrow_mut(|held| {
            if let Some(&highest) = held.iter().max() {
                assert!(
                    rank > highest,
                    "lock of rank {rank} asked for while one of rank {highest} is held: \
                     locks are taken upwards only, or two processes can wait for each other for ever"
                );
            }
            held.push(rank);
        });
    }

    pub(super) fn leave(rank: Rank) {
        HELD.with_borrow_mut(|held| {
            if let Some(at) = held.iter().rposition(|&r| r == rank) {
                held.remove(at);
            }
        });
    }
}

#[cfg(not(debug_assertions))]
mod ranks {
    use super::Rank;
    #[inline]
    pub(super) fn enter(_: Rank) {}
    #[inline]
    pub(super) fn leave(_: Rank) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_names_its_owner() {
        let lock = RawLock::default();
        assert_eq!(lock.owner(), None);
        let guard = lock.lock(1);
        assert_eq!(lock.owner(), Some(current_slot()));
        assert!(lock.try_lock(2).is_none());
        drop(guard);
        assert_eq!(lock.owner(), None);
    }

    #[test]
    fn threads_exclude_each_other() {
        let lock = RawLock::default();
        let shared = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let _guard = lock.lock(1);
                        let seen = shared.load(Ordering::Relaxed);
                        std::hint::spin_loop();
                        shared.store(seen + 1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(shared.load(Ordering::Relaxed), 80_000);
    }

    #[test]
    fn a_dead_owner_is_relieved() {
        let lock = RawLock {
            word: AtomicU32::new(7 + 1),
        };
        assert!(!lock.release_of(6));
        assert!(lock.release_of(7));
        assert_eq!(lock.owner(), None);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "upwards only")]
    fn taking_locks_downwards_panics_in_debug() {
        let (low, high) = (RawLock::default(), RawLock::default());
        let _high = high.lock(9);
        let _low = low.lock(8);
    }
}
