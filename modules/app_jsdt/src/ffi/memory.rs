//! The memory of one interpreter: counted, bounded, and it remembers whether it was asked for more
//! than it may give. A script that catches every error hides that it has none left.

use rquickjs::allocator::{Allocator, RustAllocator};
use std::cell::Cell;
use std::ptr;
use std::rc::Rc;

/// Gives an interpreter its memory.
pub struct Bounded {
    used: usize,
    limit: usize,
    refused: Rc<Cell<bool>>,
}

impl Bounded {
    /// One that gives at most so many bytes, and says in the second value that it refused some.
    pub fn new(limit: usize) -> (Bounded, Rc<Cell<bool>>) {
        let refused = Rc::new(Cell::new(false));
        let memory = Bounded {
            used: 0,
            limit,
            refused: refused.clone(),
        };
        (memory, refused)
    }

    fn may_have(&self, more: usize) -> bool {
        let fits = more <= self.limit.saturating_sub(self.used);
        if !fits {
            self.refused.set(true);
        }
        fits
    }

    fn counted(&mut self, p: *mut u8) -> *mut u8 {
        if !p.is_null() {
            // SAFETY: the block was given by this allocator a moment ago.
            self.used += unsafe { RustAllocator::usable_size(p) };
        }
        p
    }
}

// SAFETY: blocks are those of `RustAllocator`; only their sizes are counted beside.
unsafe impl Allocator for Bounded {
    fn alloc(&mut self, size: usize) -> *mut u8 {
        if !self.may_have(size) {
            return ptr::null_mut();
        }
        let p = RustAllocator.alloc(size);
        self.counted(p)
    }

    fn calloc(&mut self, count: usize, size: usize) -> *mut u8 {
        match count.checked_mul(size) {
            Some(n) if self.may_have(n) => {
                let p = RustAllocator.calloc(count, size);
                self.counted(p)
            }
            _ => ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&mut self, p: *mut u8) {
        // SAFETY: the caller's promise: the block is of this allocator.
        unsafe {
            self.used = self.used.saturating_sub(RustAllocator::usable_size(p));
            RustAllocator.dealloc(p);
        }
    }

    unsafe fn realloc(&mut self, p: *mut u8, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise: the block is of this allocator. Where there is no room it
        // stays as it is.
        unsafe {
            let before = RustAllocator::usable_size(p);
            if size > before && !self.may_have(size - before) {
                return ptr::null_mut();
            }
            let q = RustAllocator.realloc(p, size);
            if !q.is_null() {
                self.used = self.used.saturating_sub(before);
            }
            self.counted(q)
        }
    }

    unsafe fn usable_size(p: *mut u8) -> usize {
        // SAFETY: the caller's promise: the block is of this allocator.
        unsafe { RustAllocator::usable_size(p) }
    }
}
