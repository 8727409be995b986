//! The lock word: who holds it is written in it.
//!
//! A [`RawLock`] is one `u32` in shared memory: 0 when free, else the holder's slot plus one, and
//! a top bit that says somebody sleeps on the futex. Because the owner is *in* the word, main can
//! find every lock a dead process held, repair what the lock protects while it is still held, and
//! only then release it. Sleepers never trust a wake-up to come: a holder can be killed between
//! its unlocking store and its `FUTEX_WAKE`, so every wait is bounded and then looks again.
//!
//! Main must never wait for the dead, since nobody else buries them: where the holder of the lock it
//! wants has died, it repairs what that one lock protects, then and there, and goes on. A sleeper
//! notes in its slot's words what it waits for and since when, so that [`stuck`] can tell, without
//! taking any lock, who keeps whom waiting. A panic under a lock leaves a [`suspicion`](take_suspicions).
//! So does a word that names main where main does not hold the lock: main relieves it like a dead one.
//!
//! Nothing slow ever runs under a lock: no script, callback into a script, or I/O. In debug builds
//! each thread keeps the ranks it holds and a lock may only be taken with a rank above all of them,
//! which makes lock-order inversions and self-deadlocks a panic in the tests, not a frozen server.

mod ranks;

use crate::arena::{arena, mapped};
use crate::atomic::{AtomicU32, Ordering};
use crate::slot::{MAIN, SlotLine, current_slot, is_dead, line};
use crate::wheel::monotonic_ms;
use std::marker::PhantomData;
use std::sync::{Mutex, OnceLock};

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
        if !self.take() {
            let _ = self.lock_contended(None);
        }
        LockGuard::new(self, rank)
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self, rank: Rank) -> Option<LockGuard<'_>> {
        if !self.take() {
            return None;
        }
        ranks::enter(rank);
        Some(LockGuard::new(self, rank))
    }

    /// Takes the lock unless it is still held at `deadline` ([`monotonic_ms`]), by the slot in the
    /// error: for checks, which must end even where a lock word is garbage.
    pub(crate) fn lock_until(&self, rank: Rank, deadline: u64) -> Result<LockGuard<'_>, u16> {
        ranks::enter(rank);
        if self.take() {
            return Ok(LockGuard::new(self, rank));
        }
        match self.lock_contended(Some(deadline)) {
            Ok(()) => Ok(LockGuard::new(self, rank)),
            Err(holder) => {
                ranks::leave(rank);
                Err(holder)
            }
        }
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

    /// Makes the lock free, whoever holds it: only where nobody is left who could.
    pub(crate) fn wipe(&self) {
        self.word.store(0, Ordering::Release);
        futex_wake(&self.word, i32::MAX);
    }

    #[inline]
    fn take(&self) -> bool {
        let me = u32::from(current_slot()) + 1;
        self.word
            .compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    #[cold]
    fn lock_contended(&self, deadline: Option<u64>) -> Result<(), u16> {
        for _ in 0..SPINS {
            std::hint::spin_loop();
            if self.word.load(Ordering::Relaxed) == 0 && self.take() {
                return Ok(());
            }
        }
        let me = u32::from(current_slot()) + 1;
        let mut wait = Wait::new(self);
        loop {
            let seen = self.word.load(Ordering::Relaxed);
            let Some(holder) = decode_owner(seen) else {
                // Others may still sleep: whoever slept takes the lock with the bit set.
                if self
                    .word
                    .compare_exchange(seen, me | WAITERS, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
                {
                    return Ok(());
                }
                continue;
            };
            if is_dead(holder) {
                relieve(self, holder);
                continue;
            }
            if wait.is_for_main_itself(holder, deadline) {
                suspect(self);
                relieve(self, holder);
                continue;
            }
            if deadline.is_some_and(|deadline| wait.is_over(holder, deadline)) {
                return Err(holder);
            }
            if seen & WAITERS == 0
                && self
                    .word
                    .compare_exchange(seen, seen | WAITERS, Ordering::Relaxed, Ordering::Relaxed)
                    .is_err()
            {
                continue;
            }
            wait.note(holder);
            let released = futex_wait(&self.word, seen | WAITERS, WAIT_BOUND_NS);
            wait.woken(released, holder);
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
    /// Whether the thread was panicking already when it took the lock.
    in_panic: bool,
    // The rank stack is per thread.
    not_send: PhantomData<*const ()>,
}

impl<'a> LockGuard<'a> {
    #[inline]
    fn new(lock: &'a RawLock, rank: Rank) -> LockGuard<'a> {
        LockGuard {
            lock,
            rank,
            in_panic: std::thread::panicking(),
            not_send: PhantomData,
        }
    }
}

impl Drop for LockGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        if std::thread::panicking() && !self.in_panic {
            suspect(self.lock);
        }
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
    /// The slots that sleep until it is released.
    pub waiters: Vec<u16>,
    /// How long the first of them has waited for this holder, milliseconds.
    pub waited_ms: u64,
}

/// A process that keeps another waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// The holder's slot.
    pub holder_slot: u16,
    /// The structure the lock belongs to.
    pub name: String,
    /// Which of the structure's locks.
    pub index: usize,
    /// The slot that waits.
    pub waiter: u16,
    /// How long it has waited for this holder, milliseconds.
    pub waited_ms: u64,
}

/// Every lock that is held now, over all structures; a snapshot, taken without locking anything.
pub fn held() -> Vec<HeldLock> {
    let stuck = stuck(0);
    let mut out = Vec::new();
    for set in sets() {
        for index in 0..set.count {
            let Some(slot) = (set.nth)(index).owner() else {
                continue;
            };
            let waits = stuck
                .iter()
                .filter(|wait| wait.index == index && wait.name == set.name);
            out.push(HeldLock {
                slot,
                name: set.name.clone(),
                index,
                waiters: waits.clone().map(|wait| wait.waiter).collect(),
                waited_ms: waits.map(|wait| wait.waited_ms).max().unwrap_or(0),
            });
        }
    }
    out
}

/// Who has been waiting for one holder for at least `longer_than_ms`. Takes no lock and asks nobody:
/// it answers while all others stand still.
///
/// A wait counts from when the sleeper last saw the lock free or with another holder.
pub fn stuck(longer_than_ms: u64) -> Vec<Stuck> {
    let (now, sets) = (monotonic_ms(), sets());
    let mut out = Vec::new();
    for (slot, line) in arena().slots.iter().enumerate() {
        let at = line.waits_at.load(Ordering::Acquire);
        let Some(set) = (at >> 32)
            .checked_sub(1)
            .and_then(|number| sets.get(number as usize))
        else {
            continue;
        };
        let index = at as u32 as usize;
        let waited_ms = now.saturating_sub(line.waits_since.load(Ordering::Acquire));
        let Some(holder_slot) = (index < set.count)
            .then(|| (set.nth)(index).owner())
            .flatten()
        else {
            continue;
        };
        let waits_for = line.waits_for.load(Ordering::Acquire);
        if waited_ms < longer_than_ms || waits_for != u32::from(holder_slot) + 1 {
            continue;
        }
        out.push(Stuck {
            holder_slot,
            name: set.name.clone(),
            index,
            waiter: slot as u16,
            waited_ms,
        });
    }
    out
}

/// By main, while it holds no lock: relieves each lock for which others have waited that long and
/// whose word names main, or nobody alive, as a stray write may have left it. What such a lock protects
/// is [suspicious](take_suspicions). Returns how many.
pub fn relieve_orphans(longer_than_ms: u64) -> usize {
    if current_slot() != MAIN {
        return 0;
    }
    let sets = sets();
    let mut relieved = 0;
    for wait in stuck(longer_than_ms) {
        let orphaned = wait.holder_slot == MAIN || is_dead(wait.holder_slot);
        let set = sets.iter().find(|set| set.name == wait.name);
        if let Some(set) = set.filter(|_| orphaned) {
            let lock = (set.nth)(wait.index);
            suspect(lock);
            relieve(lock, wait.holder_slot);
            relieved += 1;
        }
    }
    relieved
}

/// The structures under a lock of which somebody panicked since the last call, or whose lock named main
/// by mistake: what the lock protects may be half-changed. For main, which checks them and [resets](crate::reset) what is broken.
pub fn take_suspicions() -> Vec<String> {
    let sets = sets();
    let mut out = Vec::new();
    for (at, word) in arena().header.suspicions.iter().enumerate() {
        let mut bits = word.swap(0, Ordering::AcqRel);
        while bits != 0 {
            let number = at * 64 + bits.trailing_zeros() as usize;
            bits &= bits - 1;
            out.extend(sets.get(number).map(|set| set.name.clone()));
        }
    }
    out
}

/// Sets what main calls about every 30 ms while it sleeps on a lock itself, with the holder's slot and
/// the time waited for it in milliseconds: the only watchdog that runs then. It may kill the holder,
/// whose lock main then repairs; it must take no lock.
pub fn on_main_waits(watchdog: fn(u16, u64)) {
    let _ = WATCHDOG.set(watchdog);
}

/// Makes the locks of a structure known. `repair` makes good what the `index`-th of them protects
/// after the death of its holder, and releases it; it may take locks of higher rank only.
pub(crate) fn register(
    name: &str,
    count: usize,
    nth: impl Fn(usize) -> &'static RawLock + Send + Sync + 'static,
    repair: impl Fn(usize, u16) + Send + Sync + 'static,
) {
    let address = |index| std::ptr::from_ref(nth(index)).addr();
    let first = address(0);
    let stride = if count > 1 { address(1) - first } else { 1 };
    let set = LockSet {
        name: name.to_owned(),
        count,
        first,
        stride,
        nth: Box::new(nth),
        repair: Box::new(repair),
    };
    LOCK_SETS
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
        .push(Box::leak(Box::new(set)));
}

/// Makes every lock of every structure free: only where nobody is left who could hold one.
pub(crate) fn wipe_all() {
    for set in sets() {
        (0..set.count).for_each(|index| (set.nth)(index).wipe());
    }
}

/// What a sleeper says of itself in its slot's words, as long as it sleeps.
struct Wait {
    line: Option<&'static SlotLine>,
    at: u64,
    holder: Option<u16>,
    since: u64,
}

impl Wait {
    fn new(lock: &RawLock) -> Wait {
        let place = mapped().and_then(|_| find(lock));
        Wait {
            line: place.as_ref().and_then(|_| line(current_slot())),
            at: place.map_or(0, |(_, number, index)| {
                (number as u64 + 1) << 32 | index as u64
            }),
            holder: None,
            since: 0,
        }
    }

    /// Is there no use in waiting any longer? For this process itself least of all.
    fn is_over(&self, holder: u16, deadline: u64) -> bool {
        self.is_for_itself(holder, IN_VAIN_MS) || monotonic_ms() >= deadline
    }

    /// Main waits for itself: the word is a stray write, since main has one thread. Those who do have
    /// more, in tests, hand the lock on long before.
    fn is_for_main_itself(&self, holder: u16, deadline: Option<u64>) -> bool {
        let patience = deadline.map_or(MAIN_IN_VAIN_MS, |_| IN_VAIN_MS);
        holder == MAIN && self.is_for_itself(holder, patience)
    }

    fn is_for_itself(&self, holder: u16, patience: u64) -> bool {
        let same = self.holder == Some(holder) && holder == current_slot();
        same && monotonic_ms() >= self.since + patience
    }

    fn note(&mut self, holder: u16) {
        if self.holder == Some(holder) {
            return;
        }
        self.holder = Some(holder);
        self.since = monotonic_ms();
        if let Some(line) = self.line {
            line.waits_since.store(self.since, Ordering::Relaxed);
            line.waits_for
                .store(u32::from(holder) + 1, Ordering::Relaxed);
            line.waits_at.store(self.at, Ordering::Release);
        }
    }

    fn woken(&mut self, released: bool, holder: u16) {
        if released {
            self.holder = None;
        } else if current_slot() == MAIN
            && holder != MAIN
            && let Some(watchdog) = WATCHDOG.get()
        {
            watchdog(holder, monotonic_ms().saturating_sub(self.since));
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(line) = self.line {
            line.waits_at.store(0, Ordering::Release);
            line.waits_for.store(0, Ordering::Relaxed);
        }
    }
}

/// A lock's word names `dead`: what it protects is repaired now.
#[cold]
fn relieve(lock: &RawLock, dead: u16) {
    if let Some((set, _, index)) = find(lock) {
        (set.repair)(index, dead);
    }
    lock.release_of(dead);
}

#[cold]
fn suspect(lock: &RawLock) {
    if let Some((_, number, _)) = mapped().and_then(|_| find(lock))
        && let Some(word) = arena().header.suspicions.get(number / 64)
    {
        word.fetch_or(1 << (number % 64), Ordering::AcqRel);
    }
}

/// Which lock of which set this is.
fn find(lock: &RawLock) -> Option<(&'static LockSet, usize, usize)> {
    let address = std::ptr::from_ref(lock).addr();
    sets().into_iter().enumerate().find_map(|(number, set)| {
        let index = address.checked_sub(set.first)? / set.stride;
        (index < set.count && set.first + index * set.stride == address)
            .then_some((set, number, index))
    })
}

fn sets() -> Vec<&'static LockSet> {
    LOCK_SETS
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
        .clone()
}

struct LockSet {
    name: String,
    count: usize,
    /// Address of the first lock, and bytes from each to the next.
    first: usize,
    stride: usize,
    nth: Box<dyn Fn(usize) -> &'static RawLock + Send + Sync>,
    repair: Box<dyn Fn(usize, u16) + Send + Sync>,
}

// Process-private, filled in main before the first fork and only read afterwards.
static LOCK_SETS: Mutex<Vec<&'static LockSet>> = Mutex::new(Vec::new());
static WATCHDOG: OnceLock<fn(u16, u64)> = OnceLock::new();

/// Words of the suspicions in the arena: one bit per set of locks.
pub(crate) const SUSPICION_WORDS: usize = 16;

/// The longest sleep before a waiter looks again by itself.
const WAIT_BOUND_NS: i64 = 30_000_000;
/// How long a check waits for a lock whose word names the process that checks.
const IN_VAIN_MS: u64 = 50;
/// How long main waits for a lock whose word names main.
const MAIN_IN_VAIN_MS: u64 = 2_000;
/// How long checks and repairs wait for one lock: longer than main's watchdog lets any process hold it.
pub(crate) const PATIENCE_MS: u64 = 4_000;
const WAITERS: u32 = 1 << 31;
const SPINS: u32 = 64;

fn decode_owner(word: u32) -> Option<u16> {
    let owner = word & !WAITERS;
    (owner != 0).then(|| (owner - 1) as u16)
}

/// True when woken, or when the word was no longer `expected`; false when the time was up.
fn futex_wait(word: &AtomicU32, expected: u32, bound_ns: i64) -> bool {
    let timeout = libc::timespec {
        tv_sec: 0,
        tv_nsec: bound_ns,
    };
    // SAFETY: `word` is a live aligned u32 for the whole call and the kernel only reads it; the
    // timeout outlives the call. Whatever the outcome, the caller looks at the word again.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            expected,
            &raw const timeout,
        )
    };
    answer == 0 || std::io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN)
}

fn futex_wake(word: &AtomicU32, count: i32) {
    // SAFETY: `word` is a live aligned u32; FUTEX_WAKE does not access it.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count);
    }
}

#[cfg(test)]
mod tests;
