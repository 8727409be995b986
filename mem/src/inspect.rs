//! The heap looked at as a whole: walks, checks, and what is done to it after a death.
//!
//! The state of each page and the bitmap of its free blocks are the truth; lists of pages are made anew
//! from them. Walks take one heap's lock at a time, for a page; where a lock is never free they come to
//! an end all the same. Whatever bytes a descriptor or a header holds, nothing outside of its page is
//! touched.

use crate::arena::{Arena, MAX_TAGS};
use crate::atomic::Ordering;
use crate::block::{Block, HEADER, State};
use crate::classes::{
    CLASS_GRANULES, CLASSES, blocks_in_page, find_free, index_in_page, is_empty, word_mask,
};
use crate::heap::known_names;
use crate::lock::{PATIENCE_MS, RANK_HEAP};
use crate::pages::{PAGE, PAGE_GRANULES, PageState};
use crate::registry::Walk;
use crate::wheel::monotonic_ms;
use std::collections::HashSet;

impl Arena {
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
        for (number, heap) in self.heaps.iter().enumerate() {
            let deadline = monotonic_ms() + PATIENCE_MS;
            if let Ok(_guard) = heap.lock.lock_until(RANK_HEAP, deadline) {
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
    /// cannot be had for seconds are left out.
    pub(crate) fn for_each_block(&self, mut visit: impl FnMut(Block, State)) {
        let deadline = monotonic_ms() + PATIENCE_MS;
        for number in self.first_page()..self.pages.len() as u32 {
            let page = &self.pages[number as usize];
            let seen = page.state();
            if seen == PageState::LARGE {
                let lock = &self.header.pages_lock;
                let guard = lock.lock_until(crate::lock::RANK_PAGES, deadline);
                if guard.is_ok() && page.state() == PageState::LARGE {
                    let block = Block(number * PAGE_GRANULES);
                    visit(block, block.state());
                }
            } else if let Some((heap, class)) = self.class_page(seen)
                && let Ok(_guard) = self.heaps[heap].lock.lock_until(RANK_HEAP, deadline)
                && page.state() == seen
            {
                self.for_each_taken(number, class, &mut visit);
            }
        }
    }

    pub(crate) fn check_heaps(&self, walk: &mut Walk) {
        for heap in 0..self.heaps.len() {
            let lock = &self.heaps[heap].lock;
            let Some(_guard) = walk.lock(lock, RANK_HEAP, "heap", heap) else {
                continue;
            };
            let listed = self.check_lists(heap, walk);
            for (number, page) in self.pages.iter().enumerate() {
                if let Some((owner, class)) = self.class_page(page.state())
                    && owner == heap
                {
                    let full = page.full.load(Ordering::SeqCst);
                    if full > 1 || (full == 0) != listed.contains(&(number as u32)) {
                        let what = format!("page {number} says full: {full}, and its list not");
                        walk.fault("heap", what);
                    }
                    self.check_page(number as u32, class, walk);
                }
            }
        }
    }

    /// The pages that a heap's lists lead to.
    fn check_lists(&self, heap: usize, walk: &mut Walk) -> HashSet<u32> {
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
                    walk.fault("heap", what);
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
                    walk.fault("heap", what);
                    break;
                }
                prev = next;
                next = page.next.load(Ordering::Relaxed);
            }
        }
        listed
    }

    fn check_page(&self, number: u32, class: usize, walk: &mut Walk) {
        let page = &self.pages[number as usize];
        for (word, bits) in page.bits.iter().enumerate() {
            if bits.load(Ordering::Relaxed) & !word_mask(class, word) != 0 {
                let what = format!("page {number}: bits beyond its blocks are set");
                walk.fault("heap", what);
            }
        }
        self.for_each_taken(number, class, &mut |block, state| {
            let unsound = self.sound(block.0).is_none() && self.is_taken(block);
            if unsound || state == State::Free {
                let (len, room) = (block.len(), self.room(block));
                let what = format!("block {} is {state:?}: {len} bytes of {room}", block.0);
                walk.fault("heap", what);
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
