//! Locks that scripts hold: `lock`, `trylock`, `unlock`.
//!
//! A lock is one shared word: who holds it (slot + 1, upper half) and how often (lower half). A key
//! is hashed to one of them, so that two keys may share a lock; who holds it may therefore take it
//! again. Waiting is bounded. A message gives back at its end what its script left locked, and main
//! gives back what a dead worker held.

use olelo_core::route::ctx::Ctx;
use olelo_core::{error, warn};
use olelo_mem::atomic::{AtomicU64, Ordering};
use olelo_mem::slot::current_slot;
use olelo_mem::words::Words;
use std::hash::{DefaultHasher, Hasher};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A script that waits longer goes on without the lock, with an error in the log.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most locks, as a power of two.
const LARGEST: i64 = 14;

static WORDS: OnceLock<Words> = OnceLock::new();

/// Locks that a message holds.
#[derive(Default)]
struct Held(Vec<usize>);

impl Drop for Held {
    fn drop(&mut self) {
        give_back(&mut self.0);
    }
}

/// Makes `2^size` locks; none for 0.
pub(crate) fn init(size: i64) -> Result<(), String> {
    if !(0..=LARGEST).contains(&size) {
        return Err(format!(
            "lock_set_size is {size}; it is a power of two from 0 (no locks) to {LARGEST}"
        ));
    }
    if size > 0 {
        let words = Words::create("cfgutils_locks", 1 << size)
            .map_err(|e| format!("can't make the locks of cfgutils: {e}"))?;
        let _ = WORDS.set(words);
    }
    Ok(())
}

/// Takes the lock of a key, waiting for it; false if it was not to be had.
pub(crate) fn lock(ctx: &mut Ctx, key: &[u8]) -> bool {
    let Some((at, word)) = of_key(key) else {
        return false;
    };
    let until = Instant::now() + PATIENCE;
    while !take(word, true) {
        if Instant::now() > until {
            error!(
                "cfgutils",
                "lock(\"{}\"): another message held it for {PATIENCE:?}; the script goes on without it",
                String::from_utf8_lossy(key)
            );
            return false;
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    ctx.ext::<Held>().0.push(at);
    true
}

/// Takes the lock of a key if nobody has it.
pub(crate) fn trylock(ctx: &mut Ctx, key: &[u8]) -> bool {
    let Some((at, word)) = of_key(key) else {
        return false;
    };
    let taken = take(word, false);
    if taken {
        ctx.ext::<Held>().0.push(at);
    }
    taken
}

/// Gives the lock of a key back. True also where this message did not hold it.
pub(crate) fn unlock(ctx: &mut Ctx, key: &[u8]) -> bool {
    let Some((at, _)) = of_key(key) else {
        return false;
    };
    let held = &mut ctx.ext::<Held>().0;
    match held.iter().rposition(|h| *h == at) {
        Some(i) => {
            held.swap_remove(i);
            release(at);
        }
        None => warn!(
            "cfgutils",
            "unlock(\"{}\"): this message does not hold it",
            String::from_utf8_lossy(key)
        ),
    }
    true
}

/// Gives back what the message's script left locked.
pub(crate) fn unlock_all(ctx: &mut Ctx) {
    if let Some(held) = ctx.ext_mut::<Held>() {
        give_back(&mut held.0);
    }
}

/// Gives back what a dead worker held.
pub(crate) fn worker_died(slot: u16) {
    let Some(words) = WORDS.get() else { return };
    for word in (0..words.len()).filter_map(|i| words.get(i)) {
        let now = word.load(Ordering::Relaxed);
        if now >> 32 == u64::from(slot) + 1 {
            let _ = word.compare_exchange(now, 0, Ordering::Release, Ordering::Relaxed);
        }
    }
}

fn of_key(key: &[u8]) -> Option<(usize, &'static AtomicU64)> {
    let Some(words) = WORDS.get() else {
        error!(
            "cfgutils",
            "there are no locks; set modparam(\"cfgutils\", \"lock_set_size\", 4) or more"
        );
        return None;
    };
    let mut h = DefaultHasher::new();
    h.write_u64(olelo_core::proc::secret());
    h.write(key);
    let at = h.finish() as usize % words.len();
    Some((at, words.get(at)?))
}

fn me() -> u64 {
    (u64::from(current_slot()) + 1) << 32
}

fn take(word: &AtomicU64, again: bool) -> bool {
    let now = word.load(Ordering::Relaxed);
    let next = match now {
        0 => me() | 1,
        w if again && w >> 32 << 32 == me() => w + 1,
        _ => return false,
    };
    word.compare_exchange(now, next, Ordering::Acquire, Ordering::Relaxed)
        .is_ok()
}

fn give_back(held: &mut Vec<usize>) {
    if !held.is_empty() {
        warn!(
            "cfgutils",
            "the script ended with {} lock(s) held; unlocked",
            held.len()
        );
    }
    held.drain(..).for_each(release);
}

/// Only the holder changes a held word, so it stays what was read.
fn release(at: usize) {
    if let Some(word) = WORDS.get().and_then(|w| w.get(at)) {
        let now = word.load(Ordering::Relaxed);
        if now >> 32 << 32 == me() {
            let next = if now & 0xffff_ffff <= 1 { 0 } else { now - 1 };
            word.store(next, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() {
        olelo_core::server::for_tests(vec![crate::module()]);
        if WORDS.get().is_none() {
            let _ = init(1);
        }
    }

    // One test: the words are shared by all of this process.
    #[test]
    fn locks_are_held_by_messages_and_given_back() {
        ready();
        assert!(init(-1).is_err() && init(15).is_err());
        let free = |at: usize| {
            WORDS
                .get()
                .unwrap()
                .get(at)
                .unwrap()
                .load(Ordering::Relaxed)
                == 0
        };
        let (mut a, mut b) = (Ctx::new(), Ctx::new());
        let (at, word) = of_key(b"k").unwrap();
        assert!(lock(&mut a, b"k"));
        assert!(!trylock(&mut b, b"k") && !trylock(&mut a, b"k"));
        assert!(lock(&mut a, b"k"), "who has it may have it again");
        assert!(unlock(&mut a, b"k") && !free(at));
        assert!(unlock(&mut a, b"k") && free(at));
        assert!(unlock(&mut a, b"k"), "as the original says");
        // The end of a message.
        assert!(trylock(&mut a, b"k"));
        unlock_all(&mut a);
        assert!(free(at));
        assert!(trylock(&mut b, b"k"));
        b.reset();
        assert!(
            free(at),
            "what was remembered about the message is dropped with it"
        );
        // Another process holds it and dies.
        word.store(78 << 32 | 1, Ordering::Relaxed);
        assert!(!trylock(&mut a, b"k"));
        worker_died(76);
        assert!(!free(at));
        worker_died(77);
        assert!(trylock(&mut a, b"k"));
    }
}
