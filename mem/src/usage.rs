//! Who uses the heap: counted by walking it, or read off the header at once.

use crate::arena::arena;
use crate::atomic::Ordering;
use crate::classes::CLASS_GRANULES;
use crate::heap::Tag;
use crate::pages::PAGE;
use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

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
        if let Some((_, class)) = arena.class_page(page.state()) {
            let free: u32 = page
                .bits
                .iter()
                .map(|word| word.load(Ordering::Relaxed).count_ones())
                .sum();
            stats.free += free as usize * usize::from(CLASS_GRANULES[class]) * 16;
            stats.fragments += free as usize;
        }
    }
    stats.real_used = stats.total.saturating_sub(stats.free);
    let least = arena.header.least_free_pages.load(Ordering::Relaxed) as usize;
    stats.max_used = stats.total.saturating_sub(least * PAGE);
    stats
}

/// How full the heap is, in pages of 64 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Pages in all.
    pub total_pages: u32,
    /// Pages that serve nothing.
    pub free_pages: u32,
    /// The fewest that ever were free.
    pub least_free_pages: u32,
    /// When no more than these are free, only who may use the reserve gets new ones.
    pub reserve_pages: u32,
    /// What is not free, in percent of all but the reserve, rounded down: at 100 new work is refused.
    /// Free blocks in pages of their class count as used.
    pub used_percent: u8,
}

/// How full the heap is: two loads, for watermarks on the path of each message.
#[inline]
pub fn level() -> Level {
    let arena = arena();
    let total_pages = arena.pages.len() as u32;
    let free = arena.header.free_pages.load(Ordering::Relaxed);
    let free_pages = free.min(total_pages);
    let reserve_pages = arena.reserve_pages();
    let ordinary = u64::from(total_pages.saturating_sub(reserve_pages)).max(1);
    Level {
        total_pages,
        free_pages,
        least_free_pages: arena.header.least_free_pages.load(Ordering::Relaxed),
        reserve_pages,
        used_percent: (u64::from(total_pages - free_pages) * 100 / ordinary).min(100) as u8,
    }
}

/// Whether new work is to be refused: [`SHORT`] percent are used. What is left is for work that has begun,
/// since a transaction grows while it lives.
#[inline]
pub fn is_short() -> bool {
    level().used_percent >= SHORT
}

/// Percent of use from which memory counts as short.
pub const SHORT: u8 = 90;

/// Who uses the heap, the largest first. Walks it, as [`stats`] does.
pub fn usage() -> Vec<Usage> {
    let mut rows: Vec<Usage> = by_tag()
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

/// Bytes and blocks of each tag's number.
pub(crate) fn by_tag() -> HashMap<u16, (usize, usize)> {
    let mut by_tag: HashMap<u16, (usize, usize)> = HashMap::new();
    arena().for_each_block(|block, _| {
        let entry = by_tag.entry(block.tag().0).or_default();
        entry.0 += block.len();
        entry.1 += 1;
    });
    by_tag
}

/// At most one walk per second: an exhausted server prints this error often.
pub(crate) fn biggest() -> Vec<Usage> {
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
