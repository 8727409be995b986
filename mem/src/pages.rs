//! The page map: which 64 KiB page of the arena serves what.
//!
//! The truth is the `state` word of each page's descriptor; the bitmap of free pages and the
//! counts are derived from it and can be rebuilt at any time. Every change runs under one lock and
//! behind an *intent* word (operation, first page, count), so that the repair after a death in
//! mid-change can undo an allocation or finish a release.
//!
//! This file knows nothing of blocks: what is inside a page is the matter of [`crate::heap`].

use crate::arena::Arena;
use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::lock::RANK_PAGES;
use crate::registry::Walk;

/// Bytes per page.
pub(crate) const PAGE: usize = 64 << 10;
/// 16-byte granules per page.
pub(crate) const PAGE_GRANULES: u32 = (PAGE / 16) as u32;
/// Words of the free-block bitmap of a page: the smallest block is two granules.
pub(crate) const BITMAP_WORDS: usize = PAGE / 32 / 64;

/// What a page is, packed in one word: kind, heap and size class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageState(pub u32);

impl PageState {
    pub const FREE: PageState = PageState(0);
    /// Metadata of the arena, or a named region.
    pub const FIXED: PageState = PageState(1 << 28);
    /// First page of one large block.
    pub const LARGE: PageState = PageState(2 << 28);
    /// A further page of a large block.
    pub const TAIL: PageState = PageState(3 << 28);
    const SMALL: u32 = 4 << 28;

    /// A page of equal blocks of `class`, owned by `heap`.
    pub fn small(heap: usize, class: usize) -> PageState {
        PageState(Self::SMALL | (heap as u32) << 8 | class as u32)
    }

    pub fn is_small(self) -> bool {
        self.0 >> 28 == 4
    }

    pub fn heap(self) -> usize {
        (self.0 >> 8 & 0xffff) as usize
    }

    pub fn class(self) -> usize {
        (self.0 & 0xff) as usize
    }
}

/// One page's descriptor. All but `bits` and `state` change under the lock of the page's heap.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct PageDesc {
    pub state: AtomicU32,
    /// Pages of the run that starts here (large blocks and regions).
    pub run: AtomicU32,
    /// The last block generation given out on this page; never reset, so that a handle to a block
    /// of an earlier life of the page stays stale.
    pub generation: AtomicU32,
    /// Where to look first for a free block.
    pub hint: AtomicU32,
    /// 1 while the page is off its heap's lists because it had no free block.
    pub full: AtomicU32,
    pub prev: AtomicU32,
    pub next: AtomicU32,
    unused: AtomicU32,
    /// One bit per block, set when the block is free: the one truth about a block being free.
    pub bits: [AtomicU64; BITMAP_WORDS],
}

impl PageDesc {
    pub fn state(&self) -> PageState {
        PageState(self.state.load(Ordering::Acquire))
    }
}

impl Arena {
    /// Takes `count` contiguous pages; `prepare` fills the first one's descriptor and contents
    /// before its state is published.
    pub(crate) fn take_pages(
        &self,
        count: u32,
        state: PageState,
        dip_into_reserve: bool,
        prepare: impl FnOnce(u32),
    ) -> Option<u32> {
        let _guard = self.header.pages_lock.lock(RANK_PAGES);
        let free = self.header.free_pages.load(Ordering::Relaxed);
        let reserve = if dip_into_reserve {
            0
        } else {
            self.reserve_pages()
        };
        if free < count.saturating_add(reserve) {
            return None;
        }
        let first = self.find_run(count)?;
        self.header
            .intent
            .store(intent(TAKE, first, count), Ordering::Release);
        for page in first + 1..first + count {
            self.pages[page as usize]
                .state
                .store(PageState::TAIL.0, Ordering::Release);
        }
        self.pages[first as usize]
            .run
            .store(count, Ordering::Relaxed);
        prepare(first);
        self.pages[first as usize]
            .state
            .store(state.0, Ordering::Release);
        for page in first..first + count {
            self.free_map[page as usize / 64].fetch_and(!(1 << (page % 64)), Ordering::Relaxed);
        }
        let free = free.saturating_sub(count);
        self.header.free_pages.store(free, Ordering::Relaxed);
        self.header
            .least_free_pages
            .fetch_min(free, Ordering::Relaxed);
        self.header.intent.store(0, Ordering::Release);
        Some(first)
    }

    /// Gives the `count` pages from `first` back.
    pub(crate) fn give_pages(&self, first: u32, count: u32) {
        let _guard = self.header.pages_lock.lock(RANK_PAGES);
        self.header
            .intent
            .store(intent(GIVE, first, count), Ordering::Release);
        for page in first..first + count {
            self.pages[page as usize]
                .state
                .store(PageState::FREE.0, Ordering::Release);
            self.free_map[page as usize / 64].fetch_or(1 << (page % 64), Ordering::Relaxed);
        }
        self.header.free_pages.fetch_add(count, Ordering::Relaxed);
        self.header
            .next_page_hint
            .fetch_min(first, Ordering::Relaxed);
        self.header.intent.store(0, Ordering::Release);
    }

    pub(crate) fn take_region_pages(&self, count: u32) -> Option<u32> {
        self.take_pages(count, PageState::FIXED, false, |_| ())
    }

    /// Bytes of pages that serve nothing.
    pub(crate) fn free_bytes(&self) -> usize {
        self.header.free_pages.load(Ordering::Relaxed) as usize * PAGE
    }

    /// Pages that ordinary allocations leave alone: 2 %, but enough in a small arena as well for
    /// some of each size that a call's end takes.
    pub(crate) fn reserve_pages(&self) -> u32 {
        let all = self.pages.len() as u32;
        (all / 50).max((all / 8).min(RESERVE_WANTED)).max(1)
    }

    pub(crate) fn format_pages(&self) {
        for page in self.pages.iter().take(self.first_page() as usize) {
            page.state.store(PageState::FIXED.0, Ordering::Relaxed);
        }
        self.rebuild_map();
        let free = self.header.free_pages.load(Ordering::Relaxed);
        self.header.least_free_pages.store(free, Ordering::Relaxed);
    }

    /// Undoes or finishes what `dead` was doing to the page map, and releases its lock.
    pub(crate) fn repair_pages(&self, dead: u16) -> bool {
        if self.header.pages_lock.owner() != Some(dead) {
            return false;
        }
        let word = self.header.intent.load(Ordering::Acquire);
        if word != 0 {
            // Half taken: nobody else knows of it. Half given back: the giver had emptied it.
            // Either way the pages end up free.
            let (first, count) = ((word >> 28 & 0xfff_ffff) as usize, word & 0xfff_ffff);
            let fixed = self.region_runs();
            for (number, page) in self
                .pages
                .iter()
                .enumerate()
                .skip(first)
                .take(count as usize)
            {
                let number = number as u32;
                let in_region = fixed
                    .iter()
                    .any(|(first, count)| (*first..first + count).contains(&number));
                if number >= self.first_page() && !in_region {
                    page.state.store(PageState::FREE.0, Ordering::Release);
                }
            }
        }
        self.rebuild_map();
        self.header.intent.store(0, Ordering::Release);
        self.header.pages_lock.release_of(dead)
    }

    /// The pages of the large block that begins at `first`: as many as its run says, and hang on.
    pub(crate) fn run_of(&self, first: u32) -> u32 {
        let run = self.pages[first as usize].run.load(Ordering::Relaxed);
        let tails = self.pages[first as usize + 1..]
            .iter()
            .take(run.saturating_sub(1) as usize)
            .take_while(|page| page.state() == PageState::TAIL);
        1 + tails.count() as u32
    }

    /// Every page is free again but the arena's own and those of the regions.
    pub(crate) fn reformat_pages(&self) {
        for page in self.pages {
            page.state.store(PageState::FREE.0, Ordering::Relaxed);
        }
        for (first, count) in self.region_runs() {
            let run = &self.pages[first as usize..][..count as usize];
            run.iter()
                .for_each(|page| page.state.store(PageState::TAIL.0, Ordering::Relaxed));
            run[0].run.store(count, Ordering::Relaxed);
            run[0].state.store(PageState::FIXED.0, Ordering::Relaxed);
        }
        self.header.intent.store(0, Ordering::Release);
        self.format_pages();
    }

    pub(crate) fn check_pages(&self, walk: &mut Walk) {
        let header = self.header;
        let Some(_guard) = walk.lock(&header.pages_lock, RANK_PAGES, "pages", 0) else {
            return;
        };
        let mut fault = |what: String| walk.fault("pages", what);
        let mut free = 0;
        let mut tails_due = 0;
        for (number, page) in self.pages.iter().enumerate() {
            let state = page.state();
            let mapped_free =
                self.free_map[number / 64].load(Ordering::Relaxed) >> (number % 64) & 1 == 1;
            free += u32::from(state == PageState::FREE);
            if mapped_free != (state == PageState::FREE) {
                fault(format!(
                    "page {number}: the map and the state {:#x} disagree",
                    state.0
                ));
            }
            if state.is_small() && self.class_page(state).is_none() {
                fault(format!("page {number}: no state is {:#x}", state.0));
            }
            if tails_due > 0 {
                tails_due -= 1;
                if state != PageState::TAIL {
                    fault(format!(
                        "page {number}: a run is broken by state {:#x}",
                        state.0
                    ));
                }
            } else if state == PageState::TAIL {
                fault(format!("page {number}: a tail without a head"));
            }
            if state == PageState::LARGE
                || (state == PageState::FIXED && number >= self.first_page() as usize)
            {
                tails_due = page.run.load(Ordering::Relaxed).saturating_sub(1);
            }
        }
        if tails_due > 0 {
            fault("the last run is longer than the arena".into());
        }
        let counted = self.header.free_pages.load(Ordering::Relaxed);
        if counted != free {
            fault(format!("{counted} pages are counted free, {free} are"));
        }
        let hint = self.header.next_page_hint.load(Ordering::Relaxed);
        let first = self
            .pages
            .iter()
            .position(|page| page.state() == PageState::FREE);
        if first.is_some_and(|first| hint as usize > first) {
            fault(format!(
                "page {first:?} is free, but looked for from {hint}"
            ));
        }
        if self.header.intent.load(Ordering::Relaxed) != 0 {
            fault("an intent is left without a change in progress".into());
        }
    }

    fn rebuild_map(&self) {
        let mut free = 0;
        for (word, pages) in self.free_map.iter().zip(self.pages.chunks(64)) {
            let mut bits = 0_u64;
            for (bit, page) in pages.iter().enumerate() {
                if page.state() == PageState::FREE {
                    bits |= 1 << bit;
                    free += 1;
                }
            }
            word.store(bits, Ordering::Relaxed);
        }
        self.header.free_pages.store(free, Ordering::Relaxed);
        self.header.next_page_hint.store(0, Ordering::Relaxed);
    }

    /// First fit. The hint is a lower bound of the first free page, kept up by single pages.
    fn find_run(&self, count: u32) -> Option<u32> {
        let end = self.pages.len() as u32;
        let hint = self.header.next_page_hint.load(Ordering::Relaxed);
        let mut page = if hint < end { hint } else { 0 };
        let (mut start, mut length) = (page, 0);
        let mut first_free = None;
        while page < end {
            let word = self.free_map[page as usize / 64].load(Ordering::Relaxed);
            if word == 0 && page.is_multiple_of(64) {
                page += 64;
                length = 0;
                continue;
            }
            if word >> (page % 64) & 1 == 0 {
                page += 1;
                length = 0;
                continue;
            }
            first_free.get_or_insert(page);
            if length == 0 {
                start = page;
            }
            length += 1;
            page += 1;
            if length == count {
                let lowest = first_free.unwrap_or(start);
                let hint = if lowest == start { page } else { lowest };
                self.header.next_page_hint.store(hint, Ordering::Relaxed);
                return Some(start);
            }
        }
        None
    }
}

/// Pages.
const RESERVE_WANTED: u32 = 24;
const TAKE: u64 = 1;
const GIVE: u64 = 2;

fn intent(operation: u64, first: u32, count: u32) -> u64 {
    operation << 60 | u64::from(first) << 28 | u64::from(count)
}
