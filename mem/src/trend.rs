//! How the use of the heap changes: a ring of samples, one column per minute or so, a cell per tag.
//!
//! Whoever is told to ([`sample`]) writes a column and then publishes it by one store; a death before
//! that leaves a column that is written again. Nothing is locked and nothing needs repair: a cell is
//! one word, and a wrong one is gone after an hour.

use crate::arena::arena;
use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::heap::Tag;
use crate::usage::by_tag;

/// How one tag's share of the heap changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrendRow {
    /// The tag's name.
    pub name: String,
    /// Bytes at the last sample.
    pub bytes: u64,
    /// Blocks at the last sample.
    pub blocks: u64,
    /// Change between the last two samples, bytes per minute.
    pub per_minute: i64,
    /// Change since the oldest sample kept, bytes per hour.
    pub per_hour: i64,
}

/// Takes a sample unless the last is younger than 50 seconds; true if it did. Walks the heap: 40 ms or
/// so per million blocks, for a slow timer. By one process at a time.
pub fn sample(now_ms: u64) -> bool {
    let history = arena().history;
    let taken = history.taken.load(Ordering::Acquire);
    if taken > 0
        && now_ms.saturating_sub(history.at(taken - 1).load(Ordering::Relaxed)) < SPACING_MS
    {
        return false;
    }
    let users = by_tag();
    let column = taken as usize % SAMPLES;
    let mut rest = (0, 0);
    for (tag, &(bytes, blocks)) in &users {
        if usize::from(*tag) >= TAGS - 1 {
            rest = (rest.0 + bytes, rest.1 + blocks);
        }
    }
    for (tag, row) in history.cells.iter().enumerate() {
        let (bytes, blocks) = match tag {
            OTHER => rest,
            _ => users.get(&(tag as u16)).copied().unwrap_or_default(),
        };
        row[column].store(pack(bytes, blocks), Ordering::Relaxed);
    }
    history.at(taken).store(now_ms, Ordering::Relaxed);
    history
        .taken
        .store(taken.wrapping_add(1), Ordering::Release);
    true
}

/// The users of the heap at the last [`sample`], the fastest growing (over the hour) first.
pub fn trend() -> Vec<TrendRow> {
    let history = arena().history;
    let taken = history.taken.load(Ordering::Acquire);
    let Some(last) = taken.checked_sub(1) else {
        return Vec::new();
    };
    // The column after the last may be in the making.
    let oldest = taken.saturating_sub(SAMPLES as u32 - 1);
    let mut rows: Vec<TrendRow> = (0..TAGS)
        .filter_map(|tag| {
            let (bytes, blocks) = history.cell(tag, last);
            let before = history.growth(tag, last.saturating_sub(1).max(oldest), last);
            let all = history.growth(tag, oldest, last);
            (blocks > 0 || before != 0.0 || all != 0.0).then(|| TrendRow {
                name: name(tag),
                bytes,
                blocks,
                per_minute: (before * 60_000.0) as i64,
                per_hour: (all * 3_600_000.0) as i64,
            })
        })
        .collect();
    rows.sort_by(|a, b| (b.per_hour, b.bytes, &a.name).cmp(&(a.per_hour, a.bytes, &b.name)));
    rows
}

/// The ring, in the arena.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct History {
    /// Samples ever taken; the last is in column `(taken - 1) % SAMPLES`.
    taken: AtomicU32,
    /// When, in monotonic milliseconds.
    times: [AtomicU64; SAMPLES],
    /// blocks << 40 | bytes; the last row is all further tags.
    cells: [[AtomicU64; SAMPLES]; TAGS],
}

impl History {
    fn at(&self, sample: u32) -> &AtomicU64 {
        &self.times[sample as usize % SAMPLES]
    }

    fn cell(&self, tag: usize, sample: u32) -> (u64, u64) {
        let word = self.cells[tag][sample as usize % SAMPLES].load(Ordering::Relaxed);
        (word & MAX_BYTES, word >> BYTES_BITS)
    }

    /// Bytes per millisecond.
    fn growth(&self, tag: usize, from: u32, to: u32) -> f64 {
        let [start, end] = [from, to].map(|sample| self.at(sample).load(Ordering::Relaxed));
        let [before, after] = [from, to].map(|sample| self.cell(tag, sample).0 as f64);
        (after - before) / end.saturating_sub(start).max(1) as f64
    }
}

fn pack(bytes: usize, blocks: usize) -> u64 {
    (blocks as u64).min(MAX_BLOCKS) << BYTES_BITS | (bytes as u64).min(MAX_BYTES)
}

fn name(tag: usize) -> String {
    match tag {
        OTHER => "(other)".into(),
        _ => Tag(tag as u16).name(),
    }
}

const SAMPLES: usize = 60;
const TAGS: usize = 128;
const OTHER: usize = TAGS - 1;
const SPACING_MS: u64 = 50_000;
const BYTES_BITS: u32 = 40;
const MAX_BYTES: u64 = (1 << BYTES_BITS) - 1;
const MAX_BLOCKS: u64 = (1 << (64 - BYTES_BITS)) - 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Blob;

    #[test]
    fn growth_is_told_per_minute_and_per_hour() {
        crate::init_for_tests();
        let tag = Tag::register("trend-test");
        let row = || trend().into_iter().find(|row| row.name == "trend-test");
        let mut kept = Vec::new();
        let (mut now, minute) = (1 << 40, 60_000);
        for _ in 0..70 {
            kept.push(Blob::from_bytes(&[1; 1_000], tag).unwrap());
            now += minute;
            assert!(sample(now));
            assert!(!sample(now + 1_000), "too soon");
        }
        let seen = row().unwrap();
        assert_eq!((seen.bytes, seen.blocks), (70_000, 70));
        assert_eq!((seen.per_minute, seen.per_hour), (1_000, 60_000));
        kept.clear();
        sample(now + minute);
        assert_eq!(row().unwrap().per_minute, -70_000);
    }
}
