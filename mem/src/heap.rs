//! The heap: blocks of shared memory by size class.
//!
//! A class page holds equal blocks and a bitmap in which a set bit means free. Taking a block
//! clears its bit under the lock of one of a few *heaps* (a slot uses heap `slot % heaps`, so the
//! lock is nearly always uncontended); freeing sets the bit from any process without a lock. That
//! one bit is the truth: a process killed anywhere in `alloc` or `free` leaves either a free block,
//! or one whose header says RESERVED by its slot, which the sweep after a death frees. Lists of
//! pages are conveniences and are rebuilt in each repair.
//!
//! Pages that become empty return to the page map at once, except the one a class currently takes
//! blocks from. Blocks beyond 32 KiB are runs of pages. When less than 2 % of the pages are free,
//! only those who may [`use_reserve`] get new ones, for a heap of their own, so that nobody else takes
//! the other blocks of such a page. Exhaustion is an answer, never an abort.

use crate::arena::{Arena, MAX_TAGS, arena};
use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::block::{Block, HEADER, State};
use crate::lock::{RANK_HEAP, RANK_TAGS, RawLock};
use crate::pages::{PAGE, PAGE_GRANULES, PageDesc, PageState};
use crate::registry::Checkup;
use crate::slot::current_slot;
use crate::wheel::monotonic_ms;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, OnceLock};

pub use crate::trend::{TrendRow, sample, trend};
pub use crate::usage::{Level, Stats, Usage, level, stats, usage};

/// A handle to a block: a 32-bit index and the generation that tells a reused block apart.
#[repr(C)]
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Default,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
)]
pub struct Ref {
    /// The block's place, in 16-byte granules.
    pub index: u32,
    /// Which of the blocks that ever were at this place; 0 is none.
    pub generation: u32,
}

impl Ref {
    /// The handle of nothing.
    pub const NULL: Ref = Ref {
        index: 0,
        generation: 0,
    };

    /// Is this [`Ref::NULL`]?
    pub fn is_null(self) -> bool {
        self == Ref::NULL
    }

    /// As one word, for atomics.
    pub fn to_bits(self) -> u64 {
        u64::from(self.index) << 32 | u64::from(self.generation)
    }

    /// Back from [`Ref::to_bits`].
    pub fn from_bits(bits: u64) -> Ref {
        Ref {
            index: (bits >> 32) as u32,
            generation: bits as u32,
        }
    }
}

/// Who uses a block: a module, or a part of one. At most 512 in a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag(pub(crate) u16);

impl Tag {
    /// The tag of that name (31 bytes count), made on first use. When the directory is full, the
    /// tag of the anonymous rest.
    pub fn register(name: &str) -> Tag {
        let header = arena().header;
        let words = encode_name(name);
        let _guard = header.tags_lock.lock(RANK_TAGS);
        let count = (header.tag_count.load(Ordering::Acquire) as usize).min(MAX_TAGS);
        let known = header.tags[..count].iter().position(|tag| {
            tag.0
                .iter()
                .zip(words)
                .all(|(have, want)| have.load(Ordering::Relaxed) == want)
        });
        if let Some(at) = known {
            return Tag(at as u16);
        }
        if count == MAX_TAGS {
            return Tag(MAX_TAGS as u16);
        }
        for (have, want) in header.tags[count].0.iter().zip(words) {
            have.store(want, Ordering::Relaxed);
        }
        // A death before this store leaves the entry unused.
        header.tag_count.store(count as u32 + 1, Ordering::Release);
        known_names().insert(count, words);
        Tag(count as u16)
    }

    /// The name the tag was registered under.
    pub fn name(self) -> String {
        let header = arena().header;
        let Some(tag) = header.tags.get(usize::from(self.0)) else {
            return "(other)".to_owned();
        };
        let bytes: Vec<u8> = tag
            .0
            .iter()
            .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
            .collect();
        let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }
}

/// There was no room for a block. Says who uses the memory when printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfMemory {
    /// For whom the block was to be.
    pub tag: Tag,
    /// The bytes asked for.
    pub size: usize,
}

impl std::error::Error for OutOfMemory {}

impl std::fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (size, tag) = (self.size, self.tag.name());
        write!(
            f,
            "no shared memory for {size} bytes of {tag}; raise -m (largest users:"
        )?;
        for (at, user) in crate::usage::biggest().iter().take(3).enumerate() {
            let separator = if at == 0 { "" } else { "," };
            write!(f, "{separator} {} {} KiB", user.name, user.bytes >> 10)?;
        }
        write!(f, ")")
    }
}

/// An owned block that nobody else can reach; freed when dropped.
///
/// A blob inherited through a fork still belongs to the parent: the child's copy frees nothing.
#[derive(Debug)]
pub struct Blob {
    block: Block,
    generation: u32,
}

/// Takes a zero-length-safe block of `len` bytes with unspecified (old) contents.
#[inline]
pub fn alloc(len: usize, tag: Tag) -> Result<Blob, OutOfMemory> {
    arena().alloc(len, tag, reserve_allowed())
}

/// As [`alloc`], and may use the reserve: for what ends things (ACK, BYE, CANCEL) and for control.
pub fn alloc_reserved(len: usize, tag: Tag) -> Result<Blob, OutOfMemory> {
    arena().alloc(len, tag, true)
}

/// Until dropped, all allocations of this process may use the reserve.
#[derive(Debug)]
pub struct ReserveGuard(());

/// Opens the reserve to this process while the guard lives.
pub fn use_reserve() -> ReserveGuard {
    RESERVE_USERS.fetch_add(1, Ordering::Relaxed);
    ReserveGuard(())
}

impl Drop for ReserveGuard {
    fn drop(&mut self) {
        RESERVE_USERS.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Blob {
    /// A new block with these bytes.
    pub fn from_bytes(bytes: &[u8], tag: Tag) -> Result<Blob, OutOfMemory> {
        Blob::from_parts(&[bytes], tag)
    }

    /// A new block with the concatenation of `parts`.
    pub fn from_parts(parts: &[&[u8]], tag: Tag) -> Result<Blob, OutOfMemory> {
        let blob = alloc(parts.iter().map(|part| part.len()).sum(), tag)?;
        blob.block.fill(parts);
        Ok(blob)
    }

    /// The block's bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        // SAFETY: the block is reserved by this process and reached through this Blob only.
        unsafe { self.block.bytes() }
    }

    /// The block's bytes, to be written.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        crate::atomic::before_change();
        // SAFETY: as above, and `&mut self` excludes other views.
        unsafe { self.block.bytes_mut() }
    }

    /// Its length, bytes.
    pub fn len(&self) -> usize {
        self.block.len()
    }

    /// Is it of no bytes?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whose it is.
    pub fn tag(&self) -> Tag {
        self.block.tag()
    }

    /// Lets the block live on under its name. Somebody must [`Blob::adopt`] it one day: until then
    /// nothing reaches it, and no repair frees it.
    pub fn into_ref(self) -> Ref {
        let block = self.into_block();
        block.set_state(State::Loose);
        block.name()
    }

    /// As [`Blob::into_ref`], leaving the handle in `word`, whatever instant this process may die at:
    /// the word names the block before the block is let go, and until then nobody can adopt it.
    pub fn hand_over(self, word: &AtomicU64) {
        let block = self.into_block();
        word.store(block.name().to_bits(), Ordering::Release);
        block.set_state(State::Loose);
    }

    /// Takes a block let go by [`Blob::into_ref`]; of several takers one wins.
    pub fn adopt(name: Ref) -> Option<Blob> {
        let block = arena().find(name)?;
        let mine = State::Reserved(current_slot());
        // What hangs in a structure is LIVE, not LOOSE, and cannot be taken from under its lock.
        block
            .change_state(name.generation, State::Loose, mine)
            .then(|| Blob::own(block))
    }

    /// The block, no longer to be freed by this value; still reserved by this process.
    pub(crate) fn into_block(self) -> Block {
        let block = self.block;
        std::mem::forget(self);
        block
    }

    /// Owns a block that this process has reserved.
    pub(crate) fn own(block: Block) -> Blob {
        Blob {
            block,
            generation: block.name().generation,
        }
    }

    pub(crate) fn block(&self) -> Block {
        self.block
    }
}

impl Drop for Blob {
    #[inline]
    fn drop(&mut self) {
        // After a fork both parent and child have this value, but one of them the block.
        let name = Ref {
            index: self.block.0,
            generation: self.generation,
        };
        if let Some(block) = arena().find(name)
            && block.state() == State::Reserved(current_slot())
        {
            arena().free(block);
        }
    }
}

/// One heap: the pages from which some of the slots take blocks, by class.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Heap {
    pub lock: RawLock,
    classes: [ClassHead; CLASSES],
}

#[derive(Debug)]
#[repr(C)]
struct ClassHead {
    /// The page blocks are taken from; 0 is none.
    current: AtomicU32,
    /// First of the other pages with free blocks; 0 is none.
    partial: AtomicU32,
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

    /// After a death: releases the heaps' locks that `dead` held, with their lists made anew.
    pub(crate) fn repair_heaps(&self, dead: u16) -> usize {
        (0..self.heaps.len())
            .filter(|&heap| self.repair_heap(heap, dead))
            .count()
    }

    /// The same of one heap.
    pub(crate) fn repair_heap(&self, heap: usize, dead: u16) -> bool {
        let lock = &self.heaps[heap].lock;
        if lock.owner() != Some(dead) {
            return false;
        }
        // A page it was giving back under this lock must be seen as what it then is.
        self.repair_pages(dead);
        self.relist(heap);
        lock.release_of(dead)
    }

    /// After every structure took back what is reachable: frees what `dead` still has reserved.
    /// Returns blocks and bytes.
    pub(crate) fn sweep(&self, dead: u16) -> (usize, usize) {
        let mut lost = Vec::new();
        self.for_each_block(|block, state| {
            if state == State::Reserved(dead) {
                lost.push(block);
            }
        });
        let bytes = lost.iter().map(|block| block.len()).sum();
        for &block in &lost {
            self.free(block);
        }
        // A freer may have died before it put a page back on its list, or into the map.
        self.relist_all();
        (lost.len(), bytes)
    }

    /// Makes the page lists of every heap anew.
    pub(crate) fn relist_all(&self) {
        let deadline = monotonic_ms() + PATIENCE_MS;
        for (number, heap) in self.heaps.iter().enumerate() {
            if let Some(_guard) = heap.lock.lock_until(RANK_HEAP, deadline) {
                self.relist(number);
            }
        }
    }

    /// An empty heap, whatever there was: only where nobody is left who uses it.
    pub(crate) fn rebuild_heap(&self) {
        self.reformat_pages();
        for heap in self.heaps {
            for head in &heap.classes {
                head.current.store(0, Ordering::Relaxed);
                head.partial.store(0, Ordering::Relaxed);
            }
        }
        let header = self.header;
        let names = known_names();
        for (at, words) in names.iter() {
            for (have, want) in header.tags[*at].0.iter().zip(words) {
                have.store(*want, Ordering::Relaxed);
            }
        }
        let least = names.keys().max().map_or(0, |last| *last as u32 + 1);
        let told = header.tag_count.load(Ordering::Relaxed);
        let count = if told > MAX_TAGS as u32 { least } else { told };
        header.tag_count.store(count.max(least), Ordering::Relaxed);
        header
            .suspicions
            .iter()
            .for_each(|word| word.store(0, Ordering::Relaxed));
        header.epoch.store(0, Ordering::SeqCst);
        self.slots.iter().for_each(|line| line.clear());
    }

    /// Visits every block that is not free, page by page under the page's heap lock. Pages whose lock
    /// cannot be had within a second are left out.
    pub(crate) fn for_each_block(&self, mut visit: impl FnMut(Block, State)) {
        let deadline = monotonic_ms() + PATIENCE_MS;
        for number in self.first_page()..self.pages.len() as u32 {
            let page = &self.pages[number as usize];
            let seen = page.state();
            if seen == PageState::LARGE {
                let lock = &self.header.pages_lock;
                let guard = lock.lock_until(crate::lock::RANK_PAGES, deadline);
                if guard.is_some() && page.state() == PageState::LARGE {
                    let block = Block(number * PAGE_GRANULES);
                    visit(block, block.state());
                }
            } else if let Some((heap, class)) = self.class_page(seen)
                && let Some(_guard) = self.heaps[heap].lock.lock_until(RANK_HEAP, deadline)
                && page.state() == seen
            {
                self.for_each_taken(number, class, &mut visit);
            }
        }
    }

    pub(crate) fn check_heaps(&self, checkup: &mut Checkup) {
        for heap in 0..self.heaps.len() {
            let lock = &self.heaps[heap].lock;
            let Some(_guard) = checkup.lock(lock, RANK_HEAP, "heap", heap) else {
                continue;
            };
            let listed = self.check_lists(heap, checkup);
            for (number, page) in self.pages.iter().enumerate() {
                if let Some((owner, class)) = self.class_page(page.state())
                    && owner == heap
                {
                    let full = page.full.load(Ordering::SeqCst);
                    if full > 1 || (full == 0) != listed.contains(&(number as u32)) {
                        let what = format!("page {number} says full: {full}, and its list not");
                        checkup.fault("heap", what);
                    }
                    self.check_page(number as u32, class, checkup);
                }
            }
        }
    }

    /// The pages that a heap's lists lead to.
    fn check_lists(&self, heap: usize, checkup: &mut Checkup) -> HashSet<u32> {
        let mut listed = HashSet::new();
        for (class, head) in self.heaps[heap].classes.iter().enumerate() {
            let current = head.current.load(Ordering::Relaxed);
            let mut next = head.partial.load(Ordering::Relaxed);
            let mut prev = 0;
            let mut place = |number: u32| {
                let page = self.pages.get(number as usize);
                let right = page.is_some_and(|p| p.state() == PageState::small(heap, class));
                if !right || !listed.insert(number) {
                    let what = format!("the lists of {heap}, {class} lead to page {number}");
                    checkup.fault("heap", what);
                    return None;
                }
                page
            };
            if current != 0 {
                place(current);
            }
            while next != 0 {
                let Some(page) = place(next) else {
                    break;
                };
                if page.prev.load(Ordering::Relaxed) != prev {
                    let what = format!("page {next} is linked wrongly");
                    checkup.fault("heap", what);
                    break;
                }
                prev = next;
                next = page.next.load(Ordering::Relaxed);
            }
        }
        listed
    }

    fn check_page(&self, number: u32, class: usize, checkup: &mut Checkup) {
        let page = &self.pages[number as usize];
        for (word, bits) in page.bits.iter().enumerate() {
            if bits.load(Ordering::Relaxed) & !word_mask(class, word) != 0 {
                let what = format!("page {number}: bits beyond its blocks are set");
                checkup.fault("heap", what);
            }
        }
        self.for_each_taken(number, class, &mut |block, state| {
            let unsound = self.sound(block.0).is_none() && self.is_taken(block);
            if unsound || state == State::Free {
                let (len, room) = (block.len(), self.room(block));
                let what = format!("block {} is {state:?}: {len} bytes of {room}", block.0);
                checkup.fault("heap", what);
            }
        });
    }

    /// Heap and class of a page of equal blocks; `None` of others, and where the state is garbage.
    pub(crate) fn class_page(&self, state: PageState) -> Option<(usize, usize)> {
        let (heap, class) = (state.heap(), state.class());
        (state.is_small() && heap < self.heaps.len() && class < CLASSES).then_some((heap, class))
    }

    /// Bytes behind a plausible block's header.
    pub(crate) fn room(&self, block: Block) -> usize {
        let number = block.0 / PAGE_GRANULES;
        let bytes = match self.class_page(self.pages[number as usize].state()) {
            Some((_, class)) => usize::from(CLASS_GRANULES[class]) * 16,
            None => self.run_of(number) as usize * PAGE,
        };
        bytes - HEADER
    }

    /// Is a plausible block's bit clear?
    pub(crate) fn is_taken(&self, block: Block) -> bool {
        let page = &self.pages[(block.0 / PAGE_GRANULES) as usize];
        let Some((_, class)) = self.class_page(page.state()) else {
            return true;
        };
        let at = index_in_page(block.0 % PAGE_GRANULES, class);
        page.bits[at / 64].load(Ordering::SeqCst) >> (at % 64) & 1 == 0
    }

    fn for_each_taken(&self, number: u32, class: usize, visit: &mut impl FnMut(Block, State)) {
        let page = &self.pages[number as usize];
        for word in 0..blocks_in_page(class).div_ceil(64) {
            let mut taken = !page.bits[word].load(Ordering::SeqCst) & word_mask(class, word);
            while taken != 0 {
                let at = word * 64 + taken.trailing_zeros() as usize;
                taken &= taken - 1;
                let block =
                    Block(number * PAGE_GRANULES + at as u32 * u32::from(CLASS_GRANULES[class]));
                visit(block, block.state());
            }
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

    fn link(&self, head: &ClassHead, number: u32) {
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

    /// Makes the page lists of a heap anew, from the pages. Under the heap's lock.
    fn relist(&self, heap: usize) {
        for head in &self.heaps[heap].classes {
            head.current.store(0, Ordering::Relaxed);
            head.partial.store(0, Ordering::Relaxed);
        }
        for number in self.first_page()..self.pages.len() as u32 {
            let page = &self.pages[number as usize];
            let state = page.state();
            if self
                .class_page(state)
                .is_none_or(|(owner, _)| owner != heap)
            {
                continue;
            }
            page.full.store(1, Ordering::SeqCst);
            if find_free(page, state.class()).is_some() {
                page.full.store(0, Ordering::SeqCst);
                if is_empty(page, state.class()) {
                    self.give_pages(number, 1);
                } else {
                    self.link(&self.heaps[heap].classes[state.class()], number);
                }
            }
        }
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
pub(crate) fn reserve_allowed() -> bool {
    RESERVE_USERS.load(Ordering::Relaxed) > 0
}

#[inline]
fn find_free(page: &PageDesc, class: usize) -> Option<usize> {
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

fn is_empty(page: &PageDesc, class: usize) -> bool {
    let words = blocks_in_page(class).div_ceil(64);
    (0..words).all(|word| page.bits[word].load(Ordering::SeqCst) == word_mask(class, word))
}

#[inline]
fn word_mask(class: usize, word: usize) -> u64 {
    let blocks = blocks_in_page(class).saturating_sub(word * 64);
    if blocks >= 64 {
        u64::MAX
    } else {
        (1 << blocks) - 1
    }
}

#[inline]
fn blocks_in_page(class: usize) -> usize {
    usize::from(CLASS_BLOCKS[class])
}

#[inline]
fn index_in_page(offset: u32, class: usize) -> usize {
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

/// The names this process registered: main's survive whatever is written over the directory.
fn known_names() -> MutexGuard<'static, HashMap<usize, [u64; 4]>> {
    static NAMES: OnceLock<Mutex<HashMap<usize, [u64; 4]>>> = OnceLock::new();
    NAMES
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn encode_name(name: &str) -> [u64; 4] {
    let mut bytes = [0_u8; 32];
    let mut end = name.len().min(31);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    bytes[..end].copy_from_slice(&name.as_bytes()[..end]);
    let mut words = [0; 4];
    for (word, chunk) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*chunk);
    }
    words
}

const CLASSES: usize = 71;
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

/// How long a walk waits, in all, for locks that may never be free again.
const PATIENCE_MS: u64 = 1_000;

// Process-private.
static RESERVE_USERS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

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

    #[test]
    fn a_stale_handle_finds_nothing() {
        let arena = crate::init_for_tests();
        let tag = Tag::register("heap-test");
        let name = Blob::from_bytes(b"mahalo", tag).unwrap().into_ref();
        let blob = Blob::adopt(name).unwrap();
        assert!(Blob::adopt(name).is_none(), "two owners");
        assert_eq!(blob.as_bytes(), b"mahalo");
        drop(blob);
        assert!(Blob::adopt(name).is_none());
        assert!(arena.find(name).is_none());
    }

    #[test]
    fn names_of_tags_are_kept() {
        crate::init_for_tests();
        assert_eq!(Tag::register("heap-name"), Tag::register("heap-name"));
        assert_eq!(Tag::register("heap-name").name(), "heap-name");
    }
}
