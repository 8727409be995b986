//! A blob that everybody reads and that is replaced as a whole: a generation.
//!
//! One atomic word says which generation is current, so that a worker's check before each message is
//! one load. The last eight generations are kept for rollback. A blob that falls out of the history
//! is freed once no slot reads in an epoch in which it could still be seen: readers pin the epoch in
//! their slot's word while they hold a [`View`]; a dead slot's pin is cleared by the repair.
//!
//! Writers (main, a control process) take the lock; readers never do. In front of the bytes is a sum of
//! them, by which a check tells a generation that was scribbled over; one that is sound survives even
//! the making anew of the whole heap.

use crate::RepairReport;
use crate::arena::{ArenaError, arena};
use crate::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use crate::block::{Block, State};
use crate::heap::{Blob, OutOfMemory, Tag};
use crate::lock::{RANK_PUBLISHED, RawLock};
use crate::registry::{self, Structure, Walk};
use crate::slot::current_slot;
use std::sync::Mutex;

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

impl View {
    /// `None` where `word` names nothing that can be read.
    fn new(word: u64, pin: Pin) -> Option<View> {
        let block = arena().sound(word as u32)?;
        (word >> 32 != 0 && block.len() >= SUM).then_some(View { block, _pin: pin })
    }
}

impl std::ops::Deref for View {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: published bytes are never written, and the pin keeps the block from being freed.
        unsafe { &self.block.bytes()[SUM..] }
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
        crate::lock::register(
            name,
            1,
            |_| &shared.lock,
            move |_, dead| registry::repair_early(dead, |report| published.repair(dead, report)),
        );
        registry::add(published);
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
        Some(((word >> 32) as u32, View::new(word, pin)?))
    }

    /// A kept generation.
    pub fn get(&self, generation: u32) -> Option<View> {
        let pin = Pin::new();
        View::new(self.find(generation)?, pin)
    }

    /// Makes a kept generation current again.
    pub fn set(&self, generation: u32) -> Result<(), PublishError> {
        self.set_when(None, generation)
    }

    /// As `set`, if `expected` is current.
    pub fn set_if(&self, expected: u32, generation: u32) -> Result<(), PublishError> {
        self.set_when(Some(expected), generation)
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

    fn set_when(&self, expected: Option<u32>, generation: u32) -> Result<(), PublishError> {
        let shared = self.inner.shared;
        let _guard = shared.lock.lock(RANK_PUBLISHED);
        self.expect(expected)?;
        let word = self
            .find(generation)
            .ok_or(PublishError::Unknown(generation))?;
        shared.current.store(word, Ordering::SeqCst);
        Ok(())
    }

    /// The number of the current generation, if that is the expected one. Under the lock.
    fn expect(&self, expected: Option<u32>) -> Result<u32, PublishError> {
        let current = self.generation();
        match expected {
            Some(expected) if expected != current => {
                Err(PublishError::Conflict { expected, current })
            }
            _ => Ok(current),
        }
    }

    fn publish_when(&self, expected: Option<u32>, bytes: &[u8]) -> Result<u32, PublishError> {
        let blob = Blob::from_parts(&[&sum(bytes).to_le_bytes(), bytes], self.inner.tag)?;
        let shared = self.inner.shared;
        let _guard = shared.lock.lock(RANK_PUBLISHED);
        let current = self.expect(expected)?;
        self.reclaim();
        let generation = shared.last.load(Ordering::Relaxed).wrapping_add(1).max(1);
        shared.last.store(generation, Ordering::Relaxed);
        let place = self.make_place(current)?;
        let block = blob.into_block();
        let word = u64::from(generation) << 32 | u64::from(block.0);
        shared.publishing.store(word, Ordering::Release);
        let evicted = place.swap(word, Ordering::SeqCst);
        block.set_state(State::Live);
        if evicted != 0 {
            self.stamp(evicted);
        }
        shared.current.store(word, Ordering::SeqCst);
        shared.publishing.store(0, Ordering::Release);
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
            let epoch = arena().header.epoch.fetch_add(1, Ordering::SeqCst);
            retired
                .epoch
                .store(epoch.wrapping_add(1), Ordering::Release);
        }
    }

    /// Frees what was retired and can no longer be read. Under the lock.
    fn reclaim(&self) {
        fence(Ordering::SeqCst);
        let pins = arena()
            .slots
            .iter()
            .map(|line| line.epoch.load(Ordering::SeqCst));
        let oldest = pins.filter(|&pin| pin != 0).min().unwrap_or(u64::MAX);
        for retired in &self.inner.shared.retired {
            let word = retired.word.load(Ordering::Relaxed);
            if word != 0 && retired.epoch.load(Ordering::Relaxed) < oldest {
                let block = arena().sound(word as u32);
                if let Some(block) = block {
                    block.set_state(State::Reserved(current_slot()));
                }
                retired.word.store(0, Ordering::Release);
                if let Some(block) = block {
                    arena().free(block);
                }
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

    /// The block of a word whose bytes are what was published, as their sum says.
    fn vouched(&self, word: u64) -> Option<Block> {
        let block = arena().sound(word as u32)?;
        // SAFETY: sound blocks can be read to their end; callers hold the lock, or are alone.
        let (told, bytes) = unsafe { block.bytes() }.split_first_chunk::<SUM>()?;
        let right = word >> 32 != 0 && u64::from_le_bytes(*told) == sum(bytes);
        (right && block.tag() == self.inner.tag).then_some(block)
    }

    /// The generation to go on with where not everything can be trusted: the current one, else the
    /// newest whose bytes are right.
    fn survivor(&self) -> Option<u64> {
        let shared = self.inner.shared;
        let kept = shared.history.iter().rev();
        let mut words: Vec<u64> = kept.map(|word| word.load(Ordering::Acquire)).collect();
        words.sort_unstable_by(|a, b| b.cmp(a));
        words.insert(0, shared.current.load(Ordering::Acquire));
        words.into_iter().find(|&word| self.vouched(word).is_some())
    }

    /// `word` is current and all there is; 0: nothing is.
    fn start_over(&self, word: u64) {
        let shared = self.inner.shared;
        shared.lock.wipe();
        shared.publishing.store(0, Ordering::Release);
        for (at, kept) in shared.history.iter().enumerate() {
            kept.store(if at == 0 { word } else { 0 }, Ordering::SeqCst);
        }
        for retired in &shared.retired {
            retired.word.store(0, Ordering::Release);
        }
        shared
            .last
            .fetch_max((word >> 32) as u32, Ordering::Relaxed);
        shared.current.store(word, Ordering::SeqCst);
    }
}

/// FNV-1a, over words of eight bytes.
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let rest = rest.iter().map(|&byte| u64::from(byte));
    words
        .chain(rest)
        .fold(0xcbf2_9ce4_8422_2325 ^ bytes.len() as u64, |sum, word| {
            (sum ^ word).wrapping_mul(0x0000_0100_0000_01b3)
        })
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
    /// The generation being put in the history, until it is current.
    publishing: AtomicU64,
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
            && let Some(line) = crate::slot::line(slot)
        {
            let epoch = arena().header.epoch.load(Ordering::SeqCst);
            line.epoch
                .store(epoch.wrapping_add(1).max(1), Ordering::SeqCst);
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
        if pins.1 == 0
            && let Some(line) = crate::slot::line(self.slot)
        {
            line.epoch.store(0, Ordering::SeqCst);
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
            if arena().sound(block.0).is_some() && block.state() == State::Reserved(dead) {
                block.set_state(State::Live);
            }
        }
        // What is in the history has displaced another for good: its publication is completed.
        let publishing = shared.publishing.load(Ordering::Acquire);
        if publishing != 0 {
            let kept = |word: &AtomicU64| word.load(Ordering::Relaxed) == publishing;
            if shared.history.iter().any(kept) {
                shared.current.store(publishing, Ordering::SeqCst);
            }
            shared.publishing.store(0, Ordering::Release);
        }
        shared.lock.release_of(dead);
        report.locks_released.push(self.inner.name.clone());
    }

    fn check(&self, walk: &mut Walk) {
        let (name, shared) = (&self.inner.name, self.inner.shared);
        let Some(_guard) = walk.lock(&shared.lock, RANK_PUBLISHED, name, 0) else {
            return;
        };
        let history = shared
            .history
            .iter()
            .map(|word| word.load(Ordering::Acquire));
        let mut kept: Vec<u64> = history.filter(|&word| word != 0).collect();
        let retired = shared
            .retired
            .iter()
            .map(|retired| retired.word.load(Ordering::Acquire));
        for word in kept
            .iter()
            .copied()
            .chain(retired.filter(|&word| word != 0))
        {
            let block = Block(word as u32);
            if self.vouched(word).is_none() {
                let what = format!("generation {} is not what was published", word >> 32);
                walk.fault(name, what);
            } else if block.state() != State::Live {
                walk.fault(name, format!("block {} is {:?}", block.0, block.state()));
            }
        }
        let current = shared.current.load(Ordering::Acquire);
        if current != 0 && !kept.contains(&current) {
            let what = format!("the current generation {} is not kept", current >> 32);
            walk.fault(name, what);
        }
        kept.sort_unstable();
        if kept.windows(2).any(|pair| pair[0] >> 32 == pair[1] >> 32) {
            walk.fault(name, "two generations have one number".into());
        }
        if shared.publishing.load(Ordering::Acquire) != 0 {
            walk.fault(name, "a publication is left unfinished".into());
        }
    }

    fn forget(&self) -> String {
        let name = &self.inner.name;
        let survivor = self.survivor();
        if let Some(block) = survivor.and_then(|word| self.vouched(word)) {
            block.set_state(State::Live);
        }
        self.start_over(survivor.unwrap_or(0));
        match survivor {
            Some(word) => format!("{name}: generation {} kept", word >> 32),
            None => format!("{name}: empty"),
        }
    }

    fn reach(&self, visit: &mut dyn FnMut(Block)) {
        self.blocks().for_each(visit);
    }

    fn save(&self) -> Option<(u32, Vec<u8>)> {
        let word = self.survivor()?;
        let block = self.vouched(word)?;
        // SAFETY: vouched for, and nobody else runs.
        let bytes = unsafe { block.bytes() };
        Some(((word >> 32) as u32, bytes[SUM..].to_vec()))
    }

    fn restore(&self, generation: u32, bytes: &[u8]) -> bool {
        let parts = [&sum(bytes).to_le_bytes()[..], bytes];
        let Ok(blob) = Blob::from_parts(&parts, self.inner.tag) else {
            return false;
        };
        let block = blob.into_block();
        block.set_state(State::Live);
        self.start_over(u64::from(generation) << 32 | u64::from(block.0));
        true
    }
}

static PINS: Mutex<(u16, u32)> = Mutex::new((0, 0));

/// Bytes of the sum in front of a generation.
const SUM: usize = 8;
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
        let late = script.set_if(20, 14);
        assert!(matches!(
            late,
            Err(PublishError::Conflict { current: 13, .. })
        ));
        assert_eq!(script.generation(), 13);
        script.set_if(13, 14).unwrap();
        assert_eq!(script.generation(), 14);
        script.set_if(14, 13).unwrap();
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
        let mut walk = Walk::new();
        script.check(&mut walk);
        assert_eq!(walk.end(), crate::Checkup::default());
    }
}
