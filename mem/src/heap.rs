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
//! only those who may [`use_reserve`] get new ones. Exhaustion is an answer, never an abort.

use crate::Fault;
use crate::arena::{Arena, MAX_TAGS, arena};
use crate::block::{Block, HEADER, State};
use crate::lock::{RANK_HEAP, RANK_TAGS, RawLock};
use crate::pages::{PAGE, PAGE_GRANULES, PageDesc, PageState};
use crate::slot::current_slot;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

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
        let count = header.tag_count.load(Ordering::Acquire) as usize;
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
        for (at, user) in biggest_users().iter().take(3).enumerate() {
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
        if self.block.generation_and_state() == (self.generation, State::Reserved(current_slot())) {
            arena().free(self.block);
        }
    }
}

/// The heap in numbers (bytes, except `fragments`), as `core.shmmem` shows them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Size of the arena.
    pub total: usize,
    /// Free: whole pages and free blocks.
    pub free: usize,
    /// Asked for by users.
    pub used: usize,
    /// Taken, with headers, rounding and the arena's own tables.
    pub real_used: usize,
    /// The most ever taken, counted in pages.
    pub max_used: usize,
    /// How many free pieces there are: free blocks plus free pages.
    pub fragments: usize,
}

/// One tag's share of the heap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The tag's name.
    pub name: String,
    /// Bytes asked for.
    pub bytes: usize,
    /// Blocks.
    pub blocks: usize,
}

/// Counts the heap by walking it: exact at rest, a good estimate under load. Milliseconds per
/// hundred thousand blocks; for control commands, not for the path of a message.
pub fn stats() -> Stats {
    let arena = arena();
    let mut stats = Stats {
        total: arena.size(),
        ..Stats::default()
    };
    arena.for_each_block(|block, _| stats.used += block.len());
    let free_pages = arena.header.free_pages.load(Ordering::Relaxed) as usize;
    stats.free = free_pages * PAGE;
    stats.fragments = free_pages;
    for page in arena.pages {
        let state = page.state();
        if state.is_small() {
            let free: u32 = page
                .bits
                .iter()
                .map(|word| word.load(Ordering::Relaxed).count_ones())
                .sum();
            stats.free += free as usize * usize::from(CLASS_GRANULES[state.class()]) * 16;
            stats.fragments += free as usize;
        }
    }
    stats.real_used = stats.total.saturating_sub(stats.free);
    stats.max_used =
        stats.total - arena.header.least_free_pages.load(Ordering::Relaxed) as usize * PAGE;
    stats
}

/// Who uses the heap, the largest first. Walks it, as [`stats`] does.
pub fn usage() -> Vec<Usage> {
    let mut by_tag: HashMap<u16, (usize, usize)> = HashMap::new();
    arena().for_each_block(|block, _| {
        let entry = by_tag.entry(block.tag().0).or_default();
        entry.0 += block.len();
        entry.1 += 1;
    });
    let mut rows: Vec<Usage> = by_tag
        .into_iter()
        .map(|(tag, (bytes, blocks))| Usage {
            name: Tag(tag).name(),
            bytes,
            blocks,
        })
        .collect();
    rows.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    rows
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
            return self.give_pages(number, page.run.load(Ordering::Relaxed));
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
        let held =
            (0..self.heaps.len()).filter(|&heap| self.heaps[heap].lock.owner() == Some(dead));
        held.map(|heap| {
            self.relist(heap);
            usize::from(self.heaps[heap].lock.release_of(dead))
        })
        .sum()
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
        for heap in 0..self.heaps.len() {
            let _guard = self.heaps[heap].lock.lock(RANK_HEAP);
            self.relist(heap);
        }
        (lost.len(), bytes)
    }

    /// Visits every block that is not free, page by page under the page's heap lock.
    pub(crate) fn for_each_block(&self, mut visit: impl FnMut(Block, State)) {
        for number in self.first_page()..self.pages.len() as u32 {
            let page = &self.pages[number as usize];
            let seen = page.state();
            if seen == PageState::LARGE {
                let _guard = self.header.pages_lock.lock(crate::lock::RANK_PAGES);
                if page.state() == PageState::LARGE {
                    let block = Block(number * PAGE_GRANULES);
                    visit(block, block.state());
                }
            } else if seen.is_small() {
                let _guard = self.heaps[seen.heap()].lock.lock(RANK_HEAP);
                if page.state() == seen {
                    self.for_each_taken(number, seen.class(), &mut visit);
                }
            }
        }
    }

    pub(crate) fn check_heaps(&self, faults: &mut Vec<Fault>) {
        for (number, page) in self.pages.iter().enumerate() {
            let state = page.state();
            if !state.is_small() {
                continue;
            }
            let _guard = self.heaps[state.heap()].lock.lock(RANK_HEAP);
            if page.state() != state {
                continue;
            }
            for (word, bits) in page.bits.iter().enumerate() {
                if bits.load(Ordering::Relaxed) & !word_mask(state.class(), word) != 0 {
                    let what = format!("page {number}: bits beyond its blocks are set");
                    faults.push(Fault {
                        structure: "heap".into(),
                        what,
                    });
                }
            }
            let room = usize::from(CLASS_GRANULES[state.class()]) * 16 - HEADER;
            self.for_each_taken(number as u32, state.class(), &mut |block, _| {
                let (len, generation) = (block.len(), block.name().generation);
                if len > room {
                    let what = format!(
                        "block {}.{generation}: {len} bytes in a place of {room}",
                        block.0
                    );
                    faults.push(Fault {
                        structure: "heap".into(),
                        what,
                    });
                }
            });
        }
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
        let heap = usize::from(current_slot()) % self.heaps.len();
        let block = self.take_block(heap, class, len, tag, Some(dip));
        if block.is_some() {
            return block;
        }
        self.scrape_together(heap, class, len, tag, dip)
    }

    /// No page was to be had: gives back empty ones, then looks for a block anywhere.
    #[cold]
    fn scrape_together(
        &self,
        heap: usize,
        class: usize,
        len: usize,
        tag: Tag,
        dip: bool,
    ) -> Option<Block> {
        for number in 0..self.heaps.len() {
            let heap = &self.heaps[number];
            let _guard = heap.lock.lock(RANK_HEAP);
            for (class, head) in heap.classes.iter().enumerate() {
                let current = head.current.load(Ordering::Relaxed);
                if current != 0 && is_empty(&self.pages[current as usize], class) {
                    head.current.store(0, Ordering::Release);
                    self.give_pages(current, 1);
                }
            }
        }
        if let Some(block) = self.take_block(heap, class, len, tag, Some(dip)) {
            return Some(block);
        }
        (class..(class + 6).min(CLASSES))
            .flat_map(|class| (0..self.heaps.len()).map(move |heap| (heap, class)))
            .find_map(|(heap, class)| self.take_block(heap, class, len, tag, None))
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
        if first != 0 {
            self.pages[first as usize]
                .prev
                .store(number, Ordering::Relaxed);
        }
        head.partial.store(number, Ordering::Release);
    }

    fn unlink(&self, head: &ClassHead, number: u32) {
        let page = &self.pages[number as usize];
        let (prev, next) = (
            page.prev.load(Ordering::Relaxed),
            page.next.load(Ordering::Relaxed),
        );
        if prev == 0 {
            head.partial.store(next, Ordering::Relaxed);
        } else {
            self.pages[prev as usize]
                .next
                .store(next, Ordering::Relaxed);
        }
        if next != 0 {
            self.pages[next as usize]
                .prev
                .store(prev, Ordering::Relaxed);
        }
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
            if !state.is_small() || state.heap() != heap {
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
    crate::lock::register("heap", arena.heaps.len(), |heap| &arena.heaps[heap].lock);
    crate::lock::register("pages", 1, |_| &arena.header.pages_lock);
    crate::lock::register("tags", 1, |_| &arena.header.tags_lock);
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

/// At most one walk per second: an exhausted server prints this error often.
fn biggest_users() -> Vec<Usage> {
    type Cached = (std::time::Instant, Vec<Usage>);
    static CACHE: OnceLock<Mutex<Option<Cached>>> = OnceLock::new();
    let mut cache = CACHE
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some((when, rows)) = cache.as_ref()
        && when.elapsed().as_secs() < 1
    {
        return rows.clone();
    }
    let rows = usage();
    *cache = Some((std::time::Instant::now(), rows.clone()));
    rows
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

static RESERVE_USERS: AtomicU32 = AtomicU32::new(0);

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
