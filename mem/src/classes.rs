//! Blocks by size class: how they are taken and given back.
//!
//! A class page holds equal blocks and a bitmap in which a set bit means free. Taking a block
//! clears its bit under the lock of one of a few *heaps* (a slot uses heap `slot % heaps`, so the
//! lock is nearly always uncontended); freeing sets the bit from any process without a lock. That
//! one bit is the truth: a process killed anywhere in `alloc` or `free` leaves either a free block,
//! or one whose header says RESERVED by its slot, which the sweep after a death frees. Lists of
//! pages are conveniences and are rebuilt in each repair.
//!
//! Pages that become empty return to the page map at once, except the one a class currently takes
//! blocks from. Blocks beyond 32 KiB are runs of pages. When no more than the reserve is free (`pages`),
//! only those who may [use the reserve](crate::heap::use_reserve) get new ones, for a heap of their own, so that nobody else takes
//! the other blocks of such a page. Exhaustion is an answer, never an abort.

use crate::arena::Arena;
use crate::atomic::{AtomicU32, Ordering};
use crate::block::{Block, HEADER};
use crate::heap::{Blob, OutOfMemory, Tag};
use crate::lock::{RANK_HEAP, RawLock};
use crate::pages::{PAGE, PAGE_GRANULES, PageDesc, PageState};
use crate::slot::current_slot;

/// One heap: the pages from which some of the slots take blocks, by class.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Heap {
    pub lock: RawLock,
    pub classes: [ClassHead; CLASSES],
}

#[derive(Debug)]
#[repr(C)]
pub(crate) struct ClassHead {
    /// The page blocks are taken from; 0 is none.
    pub current: AtomicU32,
    /// First of the other pages with free blocks; 0 is none.
    pub partial: AtomicU32,
}

impl Arena {
    #[inline]
    pub(crate) fn alloc(&self, len: usize, tag: Tag, dip: bool) -> Result<Blob, OutOfMemory> {
        let granules = (len.saturating_add(HEADER + 15)) / 16;
        let block = if granules <= MAX_CLASS_GRANULES {
            self.alloc_small(class_of(granules.max(2)), len, tag, dip)
        } else {
            self.alloc_large(len, tag, dip)
        };
        block.map(Blob::own).ok_or(OutOfMemory { tag, size: len })
    }

    /// Frees a block this process has reserved.
    #[inline]
    pub(crate) fn free(&self, block: Block) {
        let number = block.0 / PAGE_GRANULES;
        let page = &self.pages[number as usize];
        let state = page.state();
        block.condemn(current_slot());
        if !state.is_small() {
            return self.give_pages(number, self.run_of(number));
        }
        let class = state.class();
        let at = index_in_page(block.0 % PAGE_GRANULES, class);
        let (word, bit) = (at / 64, 1_u64 << (at % 64));
        let before = page.bits[word].fetch_or(bit, Ordering::SeqCst);
        debug_assert_eq!(before & bit, 0, "block {} freed twice", block.0);
        // From here on the page may change hands: what follows looks again under its heap's lock.
        if page.full.load(Ordering::SeqCst) == 1 {
            self.return_to_list(number, state);
        } else if before | bit == word_mask(class, word) && is_empty(page, class) {
            self.return_to_map(number, state);
        }
    }

    #[inline]
    fn alloc_small(&self, class: usize, len: usize, tag: Tag, dip: bool) -> Option<Block> {
        let heap = usize::from(current_slot()) % self.reserve_heap();
        let block = self.take_block(heap, class, len, tag, Some(false));
        if block.is_some() {
            return block;
        }
        self.scrape_together(heap, class, len, tag, dip)
    }

    /// No page was to be had: gives back empty ones, then looks for a block anywhere, and in the
    /// reserve if that is allowed.
    #[cold]
    fn scrape_together(
        &self,
        heap: usize,
        class: usize,
        len: usize,
        tag: Tag,
        dip: bool,
    ) -> Option<Block> {
        for heap in self.heaps {
            let _guard = heap.lock.lock(RANK_HEAP);
            for (class, head) in heap.classes.iter().enumerate() {
                let current = head.current.load(Ordering::Relaxed);
                if current != 0 && is_empty(&self.pages[current as usize], class) {
                    head.current.store(0, Ordering::Release);
                    self.give_pages(current, 1);
                }
            }
        }
        if let Some(block) = self.take_block(heap, class, len, tag, Some(false)) {
            return Some(block);
        }
        if dip
            && let Some(block) = self.take_block(self.reserve_heap(), class, len, tag, Some(true))
        {
            return Some(block);
        }
        let heaps = self.reserve_heap() + usize::from(dip);
        (class..(class + 6).min(CLASSES))
            .flat_map(|class| (0..heaps).map(move |heap| (heap, class)))
            .find_map(|(heap, class)| self.take_block(heap, class, len, tag, None))
    }

    /// The number of the heap whose pages come from the reserve.
    fn reserve_heap(&self) -> usize {
        self.heaps.len() - 1
    }

    /// Takes a block of `class` from `heap`. `dip`: whether a new page may come from the reserve;
    /// `None` when no new page is to be taken at all.
    #[inline]
    fn take_block(
        &self,
        heap: usize,
        class: usize,
        len: usize,
        tag: Tag,
        dip: Option<bool>,
    ) -> Option<Block> {
        let head = &self.heaps[heap].classes[class];
        let _guard = self.heaps[heap].lock.lock(RANK_HEAP);
        loop {
            let mut number = head.current.load(Ordering::Relaxed);
            if number == 0 {
                number = head.partial.load(Ordering::Relaxed);
                if number != 0 {
                    self.unlink(head, number);
                } else {
                    number = self.new_page(heap, class, dip?)?;
                }
                head.current.store(number, Ordering::Release);
            }
            let page = &self.pages[number as usize];
            if let Some(at) = find_free(page, class) {
                let block =
                    Block(number * PAGE_GRANULES + at as u32 * u32::from(CLASS_GRANULES[class]));
                let generation = page
                    .generation
                    .load(Ordering::Relaxed)
                    .wrapping_add(1)
                    .max(1);
                page.generation.store(generation, Ordering::Relaxed);
                // The header first: while the bit is set, the block is free whatever it says.
                block.format(generation, current_slot(), len, tag);
                page.bits[at / 64].fetch_and(!(1 << (at % 64)), Ordering::SeqCst);
                return Some(block);
            }
            page.full.store(1, Ordering::SeqCst);
            if find_free(page, class).is_some() {
                // Somebody freed meanwhile, and may have looked at `full` before it was set.
                page.full.store(0, Ordering::SeqCst);
                continue;
            }
            head.current.store(0, Ordering::Release);
        }
    }

    fn new_page(&self, heap: usize, class: usize, dip: bool) -> Option<u32> {
        self.take_pages(1, PageState::small(heap, class), dip, |number| {
            let page = &self.pages[number as usize];
            page.hint.store(0, Ordering::Relaxed);
            page.full.store(0, Ordering::Relaxed);
            for (word, bits) in page.bits.iter().enumerate() {
                bits.store(word_mask(class, word), Ordering::Relaxed);
            }
        })
    }

    fn alloc_large(&self, len: usize, tag: Tag, dip: bool) -> Option<Block> {
        let pages = u32::try_from(len.checked_add(HEADER)?.div_ceil(PAGE)).ok()?;
        if pages as usize >= self.pages.len() {
            return None;
        }
        let owner = current_slot();
        let first = self.take_pages(pages, PageState::LARGE, dip, |number| {
            let page = &self.pages[number as usize];
            let generation = page
                .generation
                .load(Ordering::Relaxed)
                .wrapping_add(1)
                .max(1);
            page.generation.store(generation, Ordering::Relaxed);
            Block(number * PAGE_GRANULES).format(generation, owner, len, tag);
        })?;
        Some(Block(first * PAGE_GRANULES))
    }

    /// A page that had no free block has one again.
    #[cold]
    fn return_to_list(&self, number: u32, seen: PageState) {
        let heap = &self.heaps[seen.heap()];
        let _guard = heap.lock.lock(RANK_HEAP);
        let page = &self.pages[number as usize];
        if page.state() != seen || page.full.load(Ordering::SeqCst) == 0 {
            return;
        }
        page.full.store(0, Ordering::SeqCst);
        if is_empty(page, seen.class()) {
            self.give_pages(number, 1);
        } else {
            self.link(&heap.classes[seen.class()], number);
        }
    }

    /// The last block of a page was freed.
    #[cold]
    fn return_to_map(&self, number: u32, seen: PageState) {
        let heap = &self.heaps[seen.heap()];
        let head = &heap.classes[seen.class()];
        let _guard = heap.lock.lock(RANK_HEAP);
        let page = &self.pages[number as usize];
        if page.state() != seen
            || page.full.load(Ordering::SeqCst) == 1
            || head.current.load(Ordering::Relaxed) == number
            || !is_empty(page, seen.class())
        {
            return;
        }
        self.unlink(head, number);
        self.give_pages(number, 1);
    }

    pub(crate) fn link(&self, head: &ClassHead, number: u32) {
        let first = head.partial.load(Ordering::Relaxed);
        let page = &self.pages[number as usize];
        page.prev.store(0, Ordering::Relaxed);
        page.next.store(first, Ordering::Relaxed);
        if let Some(first) = self.listed(first) {
            first.prev.store(number, Ordering::Relaxed);
        }
        head.partial.store(number, Ordering::Release);
    }

    fn unlink(&self, head: &ClassHead, number: u32) {
        let page = &self.pages[number as usize];
        let (prev, next) = (
            page.prev.load(Ordering::Relaxed),
            page.next.load(Ordering::Relaxed),
        );
        match self.listed(prev) {
            None => head.partial.store(next, Ordering::Relaxed),
            Some(prev) => prev.next.store(next, Ordering::Relaxed),
        }
        if let Some(next) = self.listed(next) {
            next.prev.store(prev, Ordering::Relaxed);
        }
    }

    /// The page a link names; 0 names none.
    fn listed(&self, number: u32) -> Option<&PageDesc> {
        (number != 0)
            .then(|| self.pages.get(number as usize))
            .flatten()
    }
}

pub(crate) fn register_locks(arena: &'static Arena) {
    let header = arena.header;
    crate::lock::register(
        "heap",
        arena.heaps.len(),
        |heap| &arena.heaps[heap].lock,
        |heap, dead| {
            arena.repair_heap(heap, dead);
        },
    );
    crate::lock::register(
        "pages",
        1,
        |_| &header.pages_lock,
        |_, dead| {
            arena.repair_pages(dead);
        },
    );
    crate::lock::register("tags", 1, |_| &header.tags_lock, |_, _| ());
}

#[inline]
pub(crate) fn find_free(page: &PageDesc, class: usize) -> Option<usize> {
    let words = blocks_in_page(class).div_ceil(64);
    let hint = page.hint.load(Ordering::Relaxed) as usize % words;
    let mut word = hint;
    loop {
        let bits = page.bits[word].load(Ordering::SeqCst);
        if bits != 0 {
            page.hint.store(word as u32, Ordering::Relaxed);
            return Some(word * 64 + bits.trailing_zeros() as usize);
        }
        word = if word + 1 == words { 0 } else { word + 1 };
        if word == hint {
            return None;
        }
    }
}

pub(crate) fn is_empty(page: &PageDesc, class: usize) -> bool {
    let words = blocks_in_page(class).div_ceil(64);
    (0..words).all(|word| page.bits[word].load(Ordering::SeqCst) == word_mask(class, word))
}

#[inline]
pub(crate) fn word_mask(class: usize, word: usize) -> u64 {
    let blocks = blocks_in_page(class).saturating_sub(word * 64);
    if blocks >= 64 {
        u64::MAX
    } else {
        (1 << blocks) - 1
    }
}

#[inline]
pub(crate) fn blocks_in_page(class: usize) -> usize {
    usize::from(CLASS_BLOCKS[class])
}

#[inline]
pub(crate) fn index_in_page(offset: u32, class: usize) -> usize {
    ((u64::from(offset) * u64::from(CLASS_RECIPROCAL[class])) >> 32) as usize
}

/// The class of blocks of `granules` (2 to 2048): each step to 256 bytes, then eight per doubling.
#[inline]
fn class_of(granules: usize) -> usize {
    if granules <= 16 {
        return granules - 2;
    }
    let below = granules - 1;
    let octave = below.ilog2() as usize;
    let step = octave - 3;
    15 + (octave - 4) * 8 + ((below - (1 << octave)) >> step)
}

pub(crate) const CLASSES: usize = 71;
const MAX_CLASS_GRANULES: usize = 2048;

/// Granules per block, by class.
pub(crate) const CLASS_GRANULES: [u16; CLASSES] = {
    let mut table = [0; CLASSES];
    let mut class = 0;
    while class < CLASSES {
        table[class] = if class < 15 {
            class as u16 + 2
        } else {
            let (octave, step) = ((class - 15) / 8 + 4, (class - 15) % 8 + 1);
            (1 << octave) + (step << (octave - 3)) as u16
        };
        class += 1;
    }
    table
};

const CLASS_BLOCKS: [u16; CLASSES] = {
    let mut table = [0; CLASSES];
    let mut class = 0;
    while class < CLASSES {
        table[class] = PAGE_GRANULES as u16 / CLASS_GRANULES[class];
        class += 1;
    }
    table
};

const CLASS_RECIPROCAL: [u32; CLASSES] = {
    let mut table = [0; CLASSES];
    let mut class = 0;
    while class < CLASSES {
        table[class] = ((1_u64 << 32) / CLASS_GRANULES[class] as u64 + 1) as u32;
        class += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_cover_every_size_tightly() {
        for granules in 2..=MAX_CLASS_GRANULES {
            let class = class_of(granules);
            let have = usize::from(CLASS_GRANULES[class]);
            assert!(
                have >= granules && have * 8 <= granules * 9 + 8,
                "{granules} in {have}"
            );
            assert!(class == 0 || usize::from(CLASS_GRANULES[class - 1]) < granules);
            for at in 0..blocks_in_page(class) {
                assert_eq!(index_in_page((at * have) as u32, class), at);
            }
        }
    }
}
