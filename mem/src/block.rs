//! The 16-byte header in front of every block, and raw access to what is behind it.
//!
//! A block is FREE (its bit in the page's bitmap is set, or it is part of a free page), RESERVED
//! by one process slot, or LIVE. State, owner and generation share one 64-bit word, so that each
//! change of hands is a single store (or one compare-and-swap where two processes may compete).
//! A reserved block belongs to one process alone; a live one to the structure it hangs in, under
//! that structure's rules. The sweep after a death frees what the dead slot had reserved.
//!
//! The payload of a record begins with a link, an id, and the handles of its children; plain blobs
//! use the bytes only.

use crate::arena::{Arena, arena};
use crate::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering, copy_bytes};
use crate::heap::{Ref, Tag};
use crate::pages::{PAGE_GRANULES, PageState};

/// Bytes of the header.
pub(crate) const HEADER: usize = 16;

/// A block by the granule index of its header. Only ever made for blocks that exist; what may be
/// done with it follows from the state and the structure's lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Block(pub u32);

#[repr(C)]
struct BlockHeader {
    /// generation << 32 | state << 30 | owner slot.
    state: AtomicU64,
    len: AtomicU32,
    tag: AtomicU16,
    children: AtomicU8,
    words: AtomicU8,
}

/// Decoded state word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Free,
    Reserved(u16),
    /// Reachable from a structure, and subject to its lock.
    Live,
    /// Let go by its owner under its handle; whoever wins the change to RESERVED has it.
    Loose,
}

impl Block {
    #[inline]
    pub fn name(self) -> Ref {
        Ref {
            index: self.0,
            generation: (self.header().state.load(Ordering::Acquire) >> 32) as u32,
        }
    }

    #[inline]
    pub fn state(self) -> State {
        decode(self.header().state.load(Ordering::Acquire)).1
    }

    pub fn generation_and_state(self) -> (u32, State) {
        decode(self.header().state.load(Ordering::Acquire))
    }

    /// Writes the header of a block just taken from a page.
    #[inline]
    pub fn format(self, generation: u32, owner: u16, len: usize, tag: Tag) {
        let header = self.header();
        header.len.store(len as u32, Ordering::Relaxed);
        header.tag.store(tag.0, Ordering::Relaxed);
        header.children.store(0, Ordering::Relaxed);
        header.words.store(0, Ordering::Relaxed);
        header.state.store(
            encode(generation, State::Reserved(owner)),
            Ordering::Release,
        );
    }

    /// A plain store: only for the one who has the block, by reservation or by its structure's lock.
    #[inline]
    pub fn set_state(self, state: State) {
        let word = &self.header().state;
        let generation = (word.load(Ordering::Relaxed) >> 32) as u32;
        word.store(encode(generation, state), Ordering::Release);
    }

    /// Where two processes may compete: true for the one that made the change.
    pub fn change_state(self, generation: u32, from: State, to: State) -> bool {
        let word = &self.header().state;
        let (old, new) = (encode(generation, from), encode(generation, to));
        word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Makes every handle to the block stale; it stays reserved by `owner` until its bit is set.
    #[inline]
    pub fn condemn(self, owner: u16) {
        self.header()
            .state
            .store(encode(0, State::Reserved(owner)), Ordering::Release);
    }

    #[inline]
    pub fn len(self) -> usize {
        self.header().len.load(Ordering::Relaxed) as usize
    }

    pub fn tag(self) -> Tag {
        Tag(self.header().tag.load(Ordering::Relaxed))
    }

    #[inline]
    pub fn children_len(self) -> usize {
        usize::from(self.header().children.load(Ordering::Relaxed))
    }

    /// Declares the payload a record: link, id, children, words; `len` counts the bytes after them.
    pub fn make_record(self, len: usize, children: usize, words: usize) {
        let header = self.header();
        header.len.store(len as u32, Ordering::Relaxed);
        header.children.store(children as u8, Ordering::Relaxed);
        header.words.store(words as u8, Ordering::Relaxed);
    }

    /// The next record of the same bucket (0: none).
    #[inline]
    pub fn link(self) -> &'static AtomicU32 {
        &self.record_head()[0]
    }

    /// The record's id, unique in its bucket.
    #[inline]
    pub fn id(self) -> &'static AtomicU32 {
        &self.record_head()[1]
    }

    /// The handles of the children, as bits.
    #[inline]
    pub fn children(self) -> &'static [AtomicU64] {
        let count = self.children_len();
        // SAFETY: `make_record` was given room for `count` 8-byte words after the 8-byte link and
        // id; the address is 16-aligned plus 24; the arena is mapped for ever.
        unsafe { std::slice::from_raw_parts((self.payload() + RECORD) as *const AtomicU64, count) }
    }

    /// The in-place atomics of the record.
    #[inline]
    pub fn words(self) -> &'static [AtomicU64] {
        let header = self.header();
        let (children, words) = (
            self.children_len(),
            usize::from(header.words.load(Ordering::Relaxed)),
        );
        // SAFETY: as for `children`, which precede the words.
        unsafe {
            std::slice::from_raw_parts(
                (self.payload() + RECORD + children * 8) as *const AtomicU64,
                words,
            )
        }
    }

    /// The bytes of a record.
    ///
    /// # Safety
    /// For `'a` nobody writes them: the block is live under a lock the caller holds, or its own.
    #[inline]
    pub unsafe fn record_bytes<'a>(self) -> &'a [u8] {
        let header = self.header();
        let words = self.children_len() + usize::from(header.words.load(Ordering::Relaxed));
        // SAFETY: `make_record` had room for `len` bytes after the words; see above for writes.
        unsafe {
            std::slice::from_raw_parts(
                (self.payload() + RECORD + words * 8) as *const u8,
                self.len(),
            )
        }
    }

    /// Copies `parts` one after another to the byte area of a record that the caller has reserved.
    pub fn fill_record(self, parts: &[&[u8]]) {
        debug_assert!(matches!(self.state(), State::Reserved(_)));
        let words = self.children_len() + usize::from(self.header().words.load(Ordering::Relaxed));
        self.copy_parts(RECORD + words * 8, parts);
    }

    /// The bytes of a plain blob.
    ///
    /// # Safety
    /// As for `record_bytes`.
    #[inline]
    pub unsafe fn bytes<'a>(self) -> &'a [u8] {
        // SAFETY: the block was allocated for `len` bytes; the caller keeps writers away.
        unsafe { std::slice::from_raw_parts(self.payload() as *const u8, self.len()) }
    }

    /// # Safety
    /// The caller has reserved the block, and lends no other view of it for `'a`.
    #[inline]
    pub unsafe fn bytes_mut<'a>(self) -> &'a mut [u8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.payload() as *mut u8, self.len()) }
    }

    /// The first `N` words of the payload of a block of fixed layout (timers).
    #[inline]
    pub fn fixed<const N: usize>(self) -> &'static [AtomicU64; N] {
        debug_assert!(self.len() >= N * 8);
        // SAFETY: the block was allocated for at least N words; 16-byte aligned; mapped for ever.
        unsafe { &*(self.payload() as *const [AtomicU64; N]) }
    }

    fn copy_parts(self, mut at: usize, parts: &[&[u8]]) {
        for part in parts {
            // SAFETY: the block was allocated for the sum of the parts, is reserved by this
            // process, and no reference into it exists yet; source and target cannot overlap.
            unsafe { copy_bytes(part, (self.payload() + at) as *mut u8) }
            at += part.len();
        }
    }

    /// Copies `parts` to the start of a plain blob that the caller has reserved.
    pub fn fill(self, parts: &[&[u8]]) {
        self.copy_parts(0, parts);
    }

    #[inline]
    fn payload(self) -> usize {
        arena().address(self.0) + HEADER
    }

    #[inline]
    fn header(self) -> &'static BlockHeader {
        // SAFETY: `address` checks the range; granules are 16-byte aligned and a header fills
        // exactly one; it is made of atomics, for which any bytes are valid.
        unsafe { &*(arena().address(self.0) as *const BlockHeader) }
    }

    #[inline]
    fn record_head(self) -> &'static [AtomicU32; 2] {
        // SAFETY: every block has at least 16 payload bytes, aligned to 16; all bytes are valid.
        unsafe { &*(self.payload() as *const [AtomicU32; 2]) }
    }
}

/// Bytes in front of a record's children: link and id.
pub(crate) const RECORD: usize = 8;

impl Arena {
    /// The block a handle names, if it still is that block.
    pub(crate) fn find(&self, name: Ref) -> Option<Block> {
        if name.generation == 0 {
            return None;
        }
        let block = self.plausible(name.index)?;
        let (generation, state) = block.generation_and_state();
        (generation == name.generation && state != State::Free).then_some(block)
    }

    /// Is there a block at `index`, by the geometry of its page?
    pub(crate) fn plausible(&self, index: u32) -> Option<Block> {
        let page = self.pages.get((index / PAGE_GRANULES) as usize)?;
        let offset = index % PAGE_GRANULES;
        let state = page.state();
        let fits = if state.is_small() {
            let granules = u32::from(*crate::classes::CLASS_GRANULES.get(state.class())?);
            offset.is_multiple_of(granules) && offset + granules <= PAGE_GRANULES
        } else {
            state == PageState::LARGE && offset == 0
        };
        fits.then_some(Block(index))
    }

    /// The block at `index` if there is one that is taken and whose header fits its place, so that it
    /// can be read to its end. For whoever follows links that may be garbage.
    pub(crate) fn sound(&self, index: u32) -> Option<Block> {
        let block = self.plausible(index)?;
        let header = block.header();
        let head = match block.children_len() + usize::from(header.words.load(Ordering::Relaxed)) {
            0 => 0,
            words => RECORD + words * 8,
        };
        (self.is_taken(block) && head + block.len() <= self.room(block)).then_some(block)
    }

    /// As [`Arena::sound`], of a record: link and id are there even without children and words.
    pub(crate) fn sound_record(&self, index: u32) -> Option<Block> {
        let block = self.sound(index)?;
        let words =
            block.children_len() + usize::from(block.header().words.load(Ordering::Relaxed));
        (RECORD + words * 8 + block.len() <= self.room(block)).then_some(block)
    }
}

fn encode(generation: u32, state: State) -> u64 {
    let low = match state {
        State::Free => 0,
        State::Reserved(owner) => 1 << 30 | u32::from(owner),
        State::Live => 2 << 30,
        State::Loose => 3 << 30,
    };
    u64::from(generation) << 32 | u64::from(low)
}

fn decode(word: u64) -> (u32, State) {
    let state = match word >> 30 & 3 {
        1 => State::Reserved(word as u16),
        2 => State::Live,
        3 => State::Loose,
        _ => State::Free,
    };
    ((word >> 32) as u32, state)
}
