//! The last deaths of processes, for `core.crashes`: a ring in shared memory that main writes.
//!
//! Fixed in size and made at the boot: remembering a death must not need memory when memory is what
//! is short. A reader that looks while main writes may see a mixed entry; it is for people.

use olelo_ipc::text;
use olelo_mem::Words;
use olelo_mem::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;

/// Deaths that are remembered.
pub const KEPT: usize = 32;

const HOW_BYTES: usize = 64;
const NAME_BYTES: usize = 64;
const MESSAGE_BYTES: usize = 256;

const AT: usize = 0;
const PLACE: usize = 1;
const KEY: usize = 2;
const LOCKS: usize = 3;
const HOW: usize = 4;
const NAME: usize = HOW + text::words(HOW_BYTES);
const MESSAGE: usize = NAME + text::words(NAME_BYTES);
const WORDS: usize = MESSAGE + text::words(MESSAGE_BYTES);

static RING: OnceLock<Words> = OnceLock::new();

/// A process that died.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Crash {
    /// When: seconds of the wall clock.
    pub at: i64,
    /// Slot and pid.
    pub slot: u16,
    /// Pid.
    pub pid: i32,
    /// What ran there.
    pub name: String,
    /// Signal or exit code, and who sent it where that is known.
    pub how: String,
    /// Shared locks it held.
    pub locks: u64,
    /// Beginning of the message it worked on; empty where it worked on none.
    pub message: String,
    /// What tells that message from others; 0 where there is none.
    pub key: u64,
}

/// Makes the ring; main, before the forks.
pub fn create() -> Result<(), String> {
    let words = Words::create("crashes", 1 + KEPT * WORDS).map_err(|e| e.to_string())?;
    let _ = RING.set(words);
    Ok(())
}

/// Keeps a death; main only.
pub(super) fn remember(c: &Crash) {
    let Some(count) = RING.get().and_then(|r| r.get(0)) else {
        return;
    };
    let number = count.load(Ordering::Relaxed);
    let Some(w) = entry(number) else { return };
    w[AT].store(c.at as u64, Ordering::Relaxed);
    let place = u64::from(c.slot) << 32 | u64::from(c.pid as u32);
    w[PLACE].store(place, Ordering::Relaxed);
    w[KEY].store(c.key, Ordering::Relaxed);
    w[LOCKS].store(c.locks, Ordering::Relaxed);
    text::put(&w[HOW..NAME], HOW_BYTES, c.how.as_bytes());
    text::put(&w[NAME..MESSAGE], NAME_BYTES, c.name.as_bytes());
    text::put(&w[MESSAGE..], MESSAGE_BYTES, c.message.as_bytes());
    count.store(number + 1, Ordering::Release);
}

/// The deaths that are remembered, the oldest first.
pub fn list() -> Vec<Crash> {
    let count = RING.get().and_then(|r| r.get(0));
    let count = count.map_or(0, |c| c.load(Ordering::Acquire));
    (count.saturating_sub(KEPT as u64)..count)
        .filter_map(|n| entry(n).map(read))
        .collect()
}

/// How many processes have died since the start.
pub fn count() -> u64 {
    let count = RING.get().and_then(|r| r.get(0));
    count.map_or(0, |c| c.load(Ordering::Acquire))
}

fn read(w: &[AtomicU64]) -> Crash {
    let string = |at: &[AtomicU64], most| String::from_utf8_lossy(&text::get(at, most).1).into();
    let place = w[PLACE].load(Ordering::Relaxed);
    Crash {
        at: w[AT].load(Ordering::Relaxed) as i64,
        slot: (place >> 32) as u16,
        pid: place as u32 as i32,
        name: string(&w[NAME..MESSAGE], NAME_BYTES),
        how: string(&w[HOW..NAME], HOW_BYTES),
        locks: w[LOCKS].load(Ordering::Relaxed),
        message: string(&w[MESSAGE..], MESSAGE_BYTES),
        key: w[KEY].load(Ordering::Relaxed),
    }
}

fn entry(number: u64) -> Option<&'static [AtomicU64]> {
    let at = 1 + (number as usize % KEPT) * WORDS;
    RING.get()?.range(at, WORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept_in_order() {
        olelo_mem::init_for_tests();
        create().expect("room");
        for i in 0..KEPT as u64 + 3 {
            remember(&Crash {
                at: i as i64,
                slot: 3,
                pid: 77,
                name: "timer".into(),
                how: "SIGSEGV".into(),
                locks: 1,
                message: "OPTIONS".into(),
                key: i,
            });
        }
        let all = list();
        assert_eq!((all.len(), all[0].at, count()), (KEPT, 3, KEPT as u64 + 3));
        let last = &all[KEPT - 1];
        assert_eq!((last.slot, last.pid, last.locks), (3, 77, 1));
        assert_eq!((&*last.name, &*last.how), ("timer", "SIGSEGV"));
    }
}
