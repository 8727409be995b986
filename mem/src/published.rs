//! A blob that everybody reads and that is replaced as a whole: a generation.
//!
//! One atomic word says which generation is current, so that a worker's check before each message is
//! one load. The last eight generations are kept for rollback. A blob that falls out of the history
//! is freed once no slot reads in an epoch in which it could still be seen: readers pin the epoch in
//! their slot's word while they hold a [`View`]; a dead slot's pin is cleared by the repair.
//!
//! Writers (main, a control process) take the lock; readers never do.

use crate::arena::{ArenaError, arena};
use crate::block::{Block, State};
use crate::heap::{Blob, OutOfMemory, Tag};
use crate::lock::{RANK_PUBLISHED, RawLock};
use crate::registry::{self, Structure};
use crate::slot::current_slot;
use crate::{Fault, RepairReport};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// A published blob and its last generations.
#[derive(Debug, Clone, Copy)]
pub struct Published {
    inner: &'static Inner,
}

/// Why a generation was not published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// Another reload came between.
    #[error("the current generation is {current}, not {expected}: another reload came between")]
    Conflict {
        /// What the caller took for current.
        expected: u32,
        /// What is.
        current: u32,
    },
    /// Not, or no longer, in the history.
    #[error("generation {0} is not kept")]
    Unknown(u32),
    /// Too many old generations are still being read.
    #[error("old generations are still being read by other processes; try again")]
    Busy,
    /// No room.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
}

/// The bytes of a generation, pinned: keep it short, it delays the freeing of old generations. Not
/// to be held across a fork.
#[derive(Debug)]
pub struct View {
    block: Block,
    _pin: Pin,
}

impl std::ops::Deref for View {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: published bytes are never written, and the pin keeps the block from being freed.
        unsafe { self.block.bytes() }
    }
}

impl Published {
    /// Creates one, empty. In main, before the first fork.
    pub fn create(name: &str) -> Result<Published, ArenaError> {
        // SAFETY: Shared is made of atomics.
        let shared: &'static [Shared] = unsafe { arena().region_of(name, 1)? };
        let shared = &shared[0];
        let inner = Inner {
            name: name.to_owned(),
            tag: Tag::register(name),
            shared,
        };
        let published = Published {
            inner: Box::leak(Box::new(inner)),
        };
        crate::lock::register(name, 1, |_| &shared.lock);
        registry::add(Box::new(published));
        Ok(published)
    }

    /// Makes `bytes` the current generation; returns its number.
    pub fn publish(&self, bytes: &[u8]) -> Result<u32, PublishError> {
        self.publish_when(None, bytes)
    }

    /// As `publish`, if `expected` is current (0: nothing published yet).
    pub fn publish_if(&self, expected: u32, bytes: &[u8]) -> Result<u32, PublishError> {
        self.publish_when(Some(expected), bytes)
    }

    /// The number of the current generation, 0 if there is none: one acquire load.
    #[inline]
    pub fn generation(&self) -> u32 {
        (self.inner.shared.current.load(Ordering::Acquire) >> 32) as u32
    }

    /// The current generation.
    pub fn current(&self) -> Option<(u32, View)> {
        let pin = Pin::new();
        let word = self.inner.shared.current.load(Ordering::SeqCst);
        (word != 0).then(|| {
            (
                (word >> 32) as u32,
                View {
                    block: Block(word as u32),
                    _pin: pin,
                },
            )
        })
    }

    /// A kept generation.
    pub fn get(&self, generation: u32) -> Option<View> {
        let pin = Pin::new();
        let word = self.find(generation)?;
        Some(View {
            block: Block(word as u32),
            _pin: pin,
        })
    }

    /// Makes a kept generation current again.
    pub fn set(&self, generation: u32) -> Result<(), PublishError> {
        let shared = self.inner.shared;
        let _guard = shared.lock.lock(RANK_PUBLISHED);
        let word = self
            .find(generation)
            .ok_or(PublishError::Unknown(generation))?;
        shared.current.store(word, Ordering::SeqCst);
        Ok(())
    }

    /// The generations in the history, ascending.
    pub fn kept(&self) -> Vec<u32> {
        let words = self
            .inner
            .shared
            .history
            .iter()
            .map(|word| (word.load(Ordering::Acquire) >> 32) as u32);
        let mut kept: Vec<u32> = words.filter(|&generation| generation != 0).collect();
        kept.sort_unstable();
        kept
    }

    fn publish_when(&self, expected: Option<u32>, bytes: &[u8]) -> Result<u32, PublishError> {
        let blob = Blob::from_bytes(bytes, self.inner.tag)?;
        let shared = self.inner.shared;
        let _guard = shared.lock.lock(RANK_PUBLISHED);
        let current = self.generation();
        if let Some(expected) = expected
            && expected != current
        {
            return Err(PublishError::Conflict { expected, current });
        }
        self.reclaim();
        let generation = shared.last.load(Ordering::Relaxed).wrapping_add(1).max(1);
        shared.last.store(generation, Ordering::Relaxed);
        let place = self.make_place(current)?;
        let block = blob.into_block();
        let word = u64::from(generation) << 32 | u64::from(block.0);
        let evicted = place.swap(word, Ordering::SeqCst);
        block.set_state(State::Live);
        if evicted != 0 {
            self.stamp(evicted);
        }
        shared.current.store(word, Ordering::SeqCst);
        Ok(generation)
    }

    /// A place in the history: an empty one, or the oldest but the current, already noted as
    /// retired (not to be freed before it is stamped).
    fn make_place(&self, current: u32) -> Result<&'static AtomicU64, PublishError> {
        let shared = self.inner.shared;
        let generation_of = |word: &&AtomicU64| (word.load(Ordering::Relaxed) >> 32) as u32;
        let others = shared
            .history
            .iter()
            .filter(|word| generation_of(word) != current || current == 0);
        let Some(place) = others.min_by_key(generation_of) else {
            return Err(PublishError::Busy);
        };
        let evicted = place.load(Ordering::Relaxed);
        if evicted != 0 {
            let free = shared
                .retired
                .iter()
                .find(|retired| retired.word.load(Ordering::Relaxed) == 0);
            let retired = free.ok_or(PublishError::Busy)?;
            retired.epoch.store(NOT_STAMPED, Ordering::Relaxed);
            retired.word.store(evicted, Ordering::Release);
        }
        Ok(place)
    }

    /// Out of the history: from the next epoch on nobody can find it.
    fn stamp(&self, word: u64) {
        let retired = self
            .inner
            .shared
            .retired
            .iter()
            .find(|retired| retired.word.load(Ordering::Relaxed) == word);
        if let Some(retired) = retired {
            retired.epoch.store(
                arena().header.epoch.fetch_add(1, Ordering::SeqCst) + 1,
                Ordering::Release,
            );
        }
    }

    /// Frees what was retired and can no longer be read. Under the lock.
    fn reclaim(&self) {
        fence(Ordering::SeqCst);
        let pins = arena()
            .epochs
            .iter()
            .map(|pin| pin.0.load(Ordering::SeqCst));
        let oldest = pins.filter(|&pin| pin != 0).min().unwrap_or(u64::MAX);
        for retired in &self.inner.shared.retired {
            let word = retired.word.load(Ordering::Relaxed);
            if word != 0 && retired.epoch.load(Ordering::Relaxed) < oldest {
                let block = Block(word as u32);
                block.set_state(State::Reserved(current_slot()));
                retired.word.store(0, Ordering::Release);
                arena().free(block);
            }
        }
    }

    fn find(&self, generation: u32) -> Option<u64> {
        let words = self
            .inner
            .shared
            .history
            .iter()
            .map(|word| word.load(Ordering::SeqCst));
        words
            .filter(|&word| word != 0)
            .find(|word| (word >> 32) as u32 == generation)
    }

    fn blocks(&self) -> impl Iterator<Item = Block> + '_ {
        let retired = self
            .inner
            .shared
            .retired
            .iter()
            .map(|retired| &retired.word);
        let words = self
            .inner
            .shared
            .history
            .iter()
            .chain(retired)
            .map(|word| word.load(Ordering::Acquire));
        words
            .filter(|&word| word != 0)
            .map(|word| Block(word as u32))
    }
}

/// A dead process reads no more.
pub(crate) fn clear_epoch(dead: u16) {
    if let Some(word) = arena().epochs.get(usize::from(dead)) {
        word.0.store(0, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct Inner {
    name: String,
    tag: Tag,
    shared: &'static Shared,
}

#[derive(Debug)]
#[repr(C, align(64))]
struct Shared {
    /// generation << 32 | block: so are all the words here.
    current: AtomicU64,
    lock: RawLock,
    last: AtomicU32,
    history: [AtomicU64; KEPT],
    retired: [Retired; 16],
}

#[derive(Debug)]
#[repr(C)]
struct Retired {
    word: AtomicU64,
    epoch: AtomicU64,
}

/// This process reads published blobs: its slot's word holds the epoch since when.
#[derive(Debug)]
struct Pin {
    slot: u16,
}

impl Pin {
    fn new() -> Pin {
        let slot = current_slot();
        let mut pins = PINS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if pins.0 != slot {
            // The count was the parent's.
            *pins = (slot, 0);
        }
        if pins.1 == 0
            && let Some(word) = arena().epochs.get(usize::from(slot))
        {
            word.0.store(
                arena().header.epoch.load(Ordering::SeqCst) + 1,
                Ordering::SeqCst,
            );
            fence(Ordering::SeqCst);
        }
        pins.1 += 1;
        Pin { slot }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = PINS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if pins.0 != self.slot {
            return;
        }
        pins.1 = pins.1.saturating_sub(1);
        if pins.1 == 0 {
            clear_epoch(self.slot);
        }
    }
}

impl Structure for Published {
    fn name(&self) -> &str {
        &self.inner.name
    }

    fn repair(&self, dead: u16, report: &mut RepairReport) {
        let shared = self.inner.shared;
        if shared.lock.owner() != Some(dead) {
            return;
        }
        for retired in &shared.retired {
            let word = retired.word.load(Ordering::Relaxed);
            if shared
                .history
                .iter()
                .any(|kept| word != 0 && kept.load(Ordering::Relaxed) == word)
            {
                retired.word.store(0, Ordering::Release);
            } else if word != 0 && retired.epoch.load(Ordering::Relaxed) == NOT_STAMPED {
                self.stamp(word);
            }
        }
        for block in self.blocks() {
            if block.state() == State::Reserved(dead) {
                block.set_state(State::Live);
            }
        }
        shared.lock.release_of(dead);
        report.locks_released.push(self.inner.name.clone());
    }

    fn check(&self, faults: &mut Vec<Fault>) {
        let _guard = self.inner.shared.lock.lock(RANK_PUBLISHED);
        let mut fault = |what| {
            faults.push(Fault {
                structure: self.inner.name.clone(),
                what,
            })
        };
        for block in self.blocks() {
            if block.state() != State::Live || block.tag() != self.inner.tag {
                fault(format!(
                    "block {} is {:?} of {}",
                    block.0,
                    block.state(),
                    block.tag().name()
                ));
            }
        }
        let current = self.generation();
        if current != 0 && self.find(current).is_none() {
            fault(format!(
                "the current generation {current} is not in the history"
            ));
        }
    }
}

static PINS: Mutex<(u16, u32)> = Mutex::new((0, 0));

const KEPT: usize = 8;
const NOT_STAMPED: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_generations_are_kept_and_any_of_them_can_return() {
        crate::init_for_tests();
        let script = Published::create("p:script").unwrap();
        assert!(script.current().is_none());
        assert_eq!(script.generation(), 0);
        for i in 1..=20_u32 {
            assert_eq!(
                script
                    .publish_if(i - 1, format!("route {i}").as_bytes())
                    .unwrap(),
                i
            );
        }
        assert_eq!(script.kept(), (13..=20).collect::<Vec<_>>());
        script.set(13).unwrap();
        let (generation, view) = script.current().unwrap();
        assert_eq!((generation, &view[..]), (13, &b"route 13"[..]));
        assert!(matches!(script.set(12), Err(PublishError::Unknown(12))));
        assert!(matches!(
            script.publish_if(20, b""),
            Err(PublishError::Conflict { current: 13, .. })
        ));
        // What is current stays, however old; what is read stays, however many come.
        let mut published = 0;
        while script.publish(b"more").is_ok() && published < 100 {
            published += 1;
        }
        assert!(published < 100, "a pinned generation was freed");
        assert_eq!(&view[..], b"route 13");
        drop(view);
        script.publish(b"free again").unwrap();
        let mut faults = Vec::new();
        script.check(&mut faults);
        assert!(faults.is_empty(), "{faults:?}");
    }
}
