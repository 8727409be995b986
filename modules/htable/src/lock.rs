//! `sht_lock` and `sht_unlock`: locks that scripts hold, which may therefore last.
//!
//! They are not the locks of buckets: a word per (hash of) table and key says who holds it and how
//! often. Waiting is bounded, a message gives back at its end what it left locked, and a dead
//! worker's locks are given back by main.

use olelo_core::route::ctx::Ctx;
use olelo_mem::slot::current_slot;
use olelo_mem::words::Words;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const LOCKS: usize = 1024;
/// A script that waits longer goes on without the lock, with an error in the log.
const PATIENCE: Duration = Duration::from_secs(2);

static WORDS: OnceLock<Words> = OnceLock::new();

/// Locks that the message holds.
#[derive(Default)]
struct Held(Vec<usize>);

pub(crate) fn init() -> Result<(), String> {
    let words = Words::create("htable_locks", LOCKS)
        .map_err(|e| format!("can't make htable's locks: {e}"))?;
    let _ = WORDS.set(words);
    Ok(())
}

/// Takes the lock of this hash; false if it was not to be had in time.
pub(crate) fn lock(ctx: &mut Ctx, hash: u32) -> bool {
    let at = hash as usize % LOCKS;
    let Some(word) = WORDS.get().and_then(|w| w.get(at)) else {
        return false;
    };
    let me = (u64::from(current_slot()) + 1) << 32;
    let until = Instant::now() + PATIENCE;
    loop {
        let now = word.load(Ordering::Relaxed);
        // Free, or mine: taken once more.
        let next = match now {
            0 => me | 1,
            w if w & !0xffff_ffff == me => w + 1,
            _ => 0,
        };
        if next != 0
            && word
                .compare_exchange(now, next, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        {
            ctx.ext::<Held>().0.push(at);
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// Gives the lock back; false if this message does not hold it.
pub(crate) fn unlock(ctx: &mut Ctx, hash: u32) -> bool {
    let at = hash as usize % LOCKS;
    let held = &mut ctx.ext::<Held>().0;
    match held.iter().rposition(|h| *h == at) {
        Some(i) => {
            held.swap_remove(i);
            release(at);
            true
        }
        None => false,
    }
}

/// Gives back all that a message left locked.
pub(crate) fn unlock_all(ctx: &mut Ctx) {
    if ctx.ext_ref::<Held>().is_none() {
        return;
    }
    let held = std::mem::take(&mut ctx.ext::<Held>().0);
    if !held.is_empty() {
        olelo_core::warn!(
            "htable",
            "the script ended with {} sht_lock left; unlocked",
            held.len()
        );
    }
    held.into_iter().for_each(release);
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

/// Only the holder calls this, so the word does not change meanwhile.
fn release(at: usize) {
    if let Some(word) = WORDS.get().and_then(|w| w.get(at)) {
        let now = word.load(Ordering::Relaxed);
        let next = if now & 0xffff_ffff <= 1 { 0 } else { now - 1 };
        word.store(next, Ordering::Release);
    }
}
