//! Plain shared atomics by index: nonce counts, configuration values, flags.
//!
//! No locks, nothing to repair: each word is always whole.

use crate::arena::{ArenaError, arena};
use crate::atomic::{AtomicU32, AtomicU64};

/// An array of shared 64-bit atomics.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    words: &'static [AtomicU64],
}

impl Words {
    /// Creates `n` words, all zero. In main, before the first fork.
    pub fn create(name: &str, n: usize) -> Result<Words, ArenaError> {
        Ok(Words {
            words: arena().region(name, n * 8)?,
        })
    }

    /// The word at `i`.
    #[inline]
    pub fn get(&self, i: usize) -> Option<&'static AtomicU64> {
        self.words.get(i)
    }

    /// `n` words from `start` on.
    pub fn range(&self, start: usize, n: usize) -> Option<&'static [AtomicU64]> {
        self.words.get(start..start.checked_add(n)?)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }
}

/// An array of shared 32-bit atomics.
#[derive(Debug, Clone, Copy)]
pub struct Words32 {
    words: &'static [AtomicU32],
}

impl Words32 {
    /// Creates `n` words, all zero. In main, before the first fork.
    pub fn create(name: &str, n: usize) -> Result<Words32, ArenaError> {
        // SAFETY: the elements are atomics.
        let words = unsafe { arena().region_of(name, n)? };
        Ok(Words32 { words })
    }

    /// The word at `i`.
    #[inline]
    pub fn get(&self, i: usize) -> Option<&'static AtomicU32> {
        self.words.get(i)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }
}
