//! Statistics: each slot counts on its own cache lines, a reader sums.
//!
//! No locks and nothing to repair: a dead slot's numbers are part of the total and its successor
//! goes on with them.

use crate::arena::{ArenaError, arena};
use crate::atomic::{AtomicU64, Ordering};
use crate::slot::current_slot;

/// An array of counters (or gauges), one copy per slot.
#[derive(Debug, Clone, Copy)]
pub struct Counters {
    words: &'static [AtomicU64],
    /// Words from one slot's copy to the next: whole cache lines.
    stride: usize,
    count: usize,
}

impl Counters {
    /// Creates `n_max` counters, all zero. In main, before the first fork.
    pub fn create(name: &str, n_max: usize) -> Result<Counters, ArenaError> {
        let stride = n_max.max(1).next_multiple_of(8);
        let words = arena().region(name, stride * usize::from(arena().max_slots()) * 8)?;
        Ok(Counters {
            words,
            stride,
            count: n_max,
        })
    }

    /// Adds `n` (which may be negative) for this slot; an id out of range counts nothing.
    #[inline]
    pub fn add(&self, id: usize, n: i64) {
        if let Some(word) = self.word(current_slot(), id) {
            // Only this slot's process writes it: no need to lock the bus. A `reset` by another at
            // this very moment is lost.
            let now = word.load(Ordering::Relaxed).wrapping_add(n as u64);
            word.store(now, Ordering::Relaxed);
        }
    }

    /// Makes the sum `value` (not atomic with concurrent `add`s of others).
    pub fn set(&self, id: usize, value: i64) {
        self.add(id, value.wrapping_sub(self.sum(id)));
    }

    /// The sum over all slots.
    pub fn sum(&self, id: usize) -> i64 {
        let slots = 0..(self.words.len() / self.stride) as u16;
        slots
            .map(|slot| self.of_slot(slot, id))
            .fold(0, i64::wrapping_add)
    }

    /// One slot's part.
    pub fn of_slot(&self, slot: u16, id: usize) -> i64 {
        self.word(slot, id)
            .map_or(0, |word| word.load(Ordering::Relaxed) as i64)
    }

    /// Back to zero.
    pub fn reset(&self, id: usize) {
        for slot in 0..(self.words.len() / self.stride) as u16 {
            if let Some(word) = self.word(slot, id) {
                word.store(0, Ordering::Relaxed);
            }
        }
    }

    /// How many counters there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    #[inline]
    fn word(&self, slot: u16, id: usize) -> Option<&'static AtomicU64> {
        if id >= self.count {
            return None;
        }
        self.words.get(usize::from(slot) * self.stride + id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_go_over_slots_and_may_be_negative() {
        crate::init_for_tests();
        let counters = Counters::create("c:test", 3).unwrap();
        counters.add(0, 5);
        counters.add(0, -7);
        counters.add(3, 1);
        counters.word(9, 0).unwrap().store(10, Ordering::Relaxed);
        assert_eq!(
            (
                counters.sum(0),
                counters.of_slot(9, 0),
                counters.sum(1),
                counters.sum(3)
            ),
            (8, 10, 0, 0)
        );
        counters.set(0, -1);
        assert_eq!(counters.sum(0), -1);
        counters.reset(0);
        assert_eq!(counters.sum(0), 0);
    }
}
