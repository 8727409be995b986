//! How much memory Python holds, and the end of it.
//!
//! Python's two sources of memory are wrapped before it is initialised: arenas, in which all small
//! objects live, and the raw allocator, from which everything else comes. Both add up what they hand
//! out. Over the limit they hand out nothing, which Python raises as `MemoryError`; the limit holds
//! only while a script runs ([`Limit`]), so that Python's own start and the text of an error are
//! never refused. What C extensions take by `malloc` itself is not seen.
//!
//! The raw allocator may be called by any thread, with or without Python's lock: all is atomic.

use super::library::{Allocator, ArenaAllocator, Python};
use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering};

/// Bytes handed out. Blocks from before the wrapping may come back, so it may be below zero.
static HELD: AtomicIsize = AtomicIsize::new(0);
/// The most that may be.
static MOST: AtomicUsize = AtomicUsize::new(usize::MAX);
/// Whether something was refused since the limit began.
static REFUSED: AtomicBool = AtomicBool::new(false);

/// Python's number of the raw allocator.
const RAW: c_int = 0;

/// The allocators that were there before; written once, before Python is initialised.
struct Wrapped {
    raw: UnsafeCell<MaybeUninit<Allocator>>,
    arena: UnsafeCell<MaybeUninit<ArenaAllocator>>,
}

// SAFETY: written by `wrap` in a process with one thread that runs no Python; only read later.
unsafe impl Sync for Wrapped {}

static WRAPPED: Wrapped = Wrapped {
    raw: UnsafeCell::new(MaybeUninit::uninit()),
    arena: UnsafeCell::new(MaybeUninit::uninit()),
};

/// Puts the counting allocators around Python's own. Called once, before Python is initialised.
pub fn wrap(python: &Python) {
    let raw: *mut Allocator = WRAPPED.raw.get().cast();
    let arena: *mut ArenaAllocator = WRAPPED.arena.get().cast();
    let mut counting = Allocator {
        ctx: ptr::null_mut(),
        malloc,
        calloc,
        realloc,
        free,
    };
    let mut counting_arenas = ArenaAllocator {
        ctx: ptr::null_mut(),
        alloc: arena_alloc,
        free: arena_free,
    };
    // SAFETY: the first two fill the structures they are given, the others copy theirs; nothing has
    // allocated through Python yet.
    unsafe {
        (python.f.PyMem_GetAllocator)(RAW, raw);
        (python.f.PyObject_GetArenaAllocator)(arena);
        (python.f.PyMem_SetAllocator)(RAW, &mut counting);
        (python.f.PyObject_SetArenaAllocator)(&mut counting_arenas);
    }
}

/// Bytes that Python holds.
pub fn held() -> usize {
    HELD.load(Ordering::Relaxed).max(0) as usize
}

/// Whether something has been refused since the limit began.
pub fn refused() -> bool {
    REFUSED.load(Ordering::Relaxed)
}

/// A limit of what Python may hold; the one before it comes back when dropped, and keeps in mind
/// what was refused within.
pub struct Limit {
    most: usize,
    refused: bool,
}

impl Limit {
    /// At most so many bytes.
    pub fn begin(most: usize) -> Limit {
        Limit {
            most: MOST.swap(most, Ordering::Relaxed),
            refused: REFUSED.swap(false, Ordering::Relaxed),
        }
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        MOST.store(self.most, Ordering::Relaxed);
        REFUSED.fetch_or(self.refused, Ordering::Relaxed);
    }
}

/// Whether so many more may be handed out.
fn fits(more: usize) -> bool {
    let fits = held().saturating_add(more) <= MOST.load(Ordering::Relaxed);
    if !fits {
        REFUSED.store(true, Ordering::Relaxed);
    }
    fits
}

fn count(got: *mut c_void) -> *mut c_void {
    HELD.fetch_add(size_of_block(got) as isize, Ordering::Relaxed);
    got
}

fn discount(size: usize) {
    HELD.fetch_sub(size as isize, Ordering::Relaxed);
}

fn size_of_block(block: *mut c_void) -> usize {
    // SAFETY: Python's raw allocator is the C library's `malloc`; null is allowed.
    unsafe { libc::malloc_usable_size(block) }
}

fn raw() -> &'static Allocator {
    // SAFETY: `wrap` has filled it before any of the functions below could be called.
    unsafe { (*WRAPPED.raw.get()).assume_init_ref() }
}

fn arena() -> &'static ArenaAllocator {
    // SAFETY: as above.
    unsafe { (*WRAPPED.arena.get()).assume_init_ref() }
}

unsafe extern "C" fn malloc(_: *mut c_void, size: usize) -> *mut c_void {
    if !fits(size) {
        return ptr::null_mut();
    }
    // SAFETY: as Python would have called it.
    count(unsafe { (raw().malloc)(raw().ctx, size) })
}

unsafe extern "C" fn calloc(_: *mut c_void, n: usize, size: usize) -> *mut c_void {
    if !fits(n.saturating_mul(size)) {
        return ptr::null_mut();
    }
    // SAFETY: as Python would have called it.
    count(unsafe { (raw().calloc)(raw().ctx, n, size) })
}

unsafe extern "C" fn realloc(_: *mut c_void, block: *mut c_void, size: usize) -> *mut c_void {
    let before = size_of_block(block);
    if size > before && !fits(size - before) {
        return ptr::null_mut();
    }
    // SAFETY: as Python would have called it.
    let got = unsafe { (raw().realloc)(raw().ctx, block, size) };
    if !got.is_null() {
        discount(before);
        count(got);
    }
    got
}

unsafe extern "C" fn free(_: *mut c_void, block: *mut c_void) {
    discount(size_of_block(block));
    // SAFETY: as Python would have called it.
    unsafe { (raw().free)(raw().ctx, block) }
}

unsafe extern "C" fn arena_alloc(_: *mut c_void, size: usize) -> *mut c_void {
    if !fits(size) {
        return ptr::null_mut();
    }
    // SAFETY: as Python would have called it.
    let got = unsafe { (arena().alloc)(arena().ctx, size) };
    if !got.is_null() {
        HELD.fetch_add(size as isize, Ordering::Relaxed);
    }
    got
}

unsafe extern "C" fn arena_free(_: *mut c_void, block: *mut c_void, size: usize) {
    discount(size);
    // SAFETY: as Python would have called it.
    unsafe { (arena().free)(arena().ctx, block, size) }
}
