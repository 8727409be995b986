//! The arena: one memfd mapping, made before the first fork, at one address in every process.
//!
//! It begins with the metadata (header, tag names, a line of words per slot, heaps, page map and page
//! descriptors); the rest is 64 KiB pages, given out by [`crate::pages`] to size classes, to large
//! blocks, and to named regions. Places are named by 32-bit indices of 16-byte granules, never by
//! pointers, so a wrong one is an error rather than a wild write.
//!
//! Fresh pages are zero, and everything placed in the arena is made of atomics for which all-zero
//! bytes are valid: that is what makes handing out `&'static [AtomicU64]` safe.

use crate::atomic::{AtomicU32, AtomicU64};
use crate::classes::Heap;
use crate::lock::{RawLock, SUSPICION_WORDS};
use crate::pages::{PAGE, PageDesc};
use crate::slot::SlotLine;
use crate::trend::History;
use std::collections::HashMap;
use std::ffi::c_void;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Mutex, OnceLock};

/// How large the arena is to be.
#[derive(Debug, Clone, Copy)]
pub struct ArenaConfig {
    /// Bytes in all (`-m` megabytes); rounded up to whole 64 KiB pages.
    pub size: usize,
    /// Touch every page now: a machine without the memory fails at start, not under load.
    pub populate: bool,
    /// The most processes there can ever be at once.
    pub max_slots: u16,
}

/// Why there is no arena, or no room for a structure in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArenaError {
    /// The kernel refused a step of making the mapping.
    #[error(
        "cannot {step} {size} bytes of shared memory: {error}; lower -m, or raise the limit of the container"
    )]
    Kernel {
        /// What was attempted.
        step: &'static str,
        /// The arena's size, bytes.
        size: usize,
        /// The kernel's answer.
        error: std::io::Error,
    },
    /// The size leaves no room for anything.
    #[error("shared memory of {size} bytes is too small: at least {least} are needed; raise -m")]
    TooSmall {
        /// The size asked for, bytes.
        size: usize,
        /// The least that works, bytes.
        least: usize,
    },
    /// The arena exists already.
    #[error("the shared memory was set up twice in one process")]
    Twice,
    /// Two structures have one name.
    #[error("two shared-memory structures are called \"{0}\"; names must differ")]
    NameTaken(String),
    /// A structure does not fit.
    #[error(
        "no room for the {bytes} bytes of shared-memory structure \"{name}\" ({free} bytes are free); raise -m"
    )]
    NoRoom {
        /// The structure's name.
        name: String,
        /// What it needs, bytes.
        bytes: usize,
        /// What is left, bytes.
        free: usize,
    },
}

/// The mapped arena; one per server, reached through [`arena()`].
#[derive(Debug)]
pub struct Arena {
    base: usize,
    size: usize,
    max_slots: u16,
    fd: OwnedFd,
    first_page: u32,
    pub(crate) header: &'static Header,
    pub(crate) slots: &'static [SlotLine],
    /// The last one serves those who may use the reserve.
    pub(crate) heaps: &'static [Heap],
    pub(crate) history: &'static History,
    pub(crate) free_map: &'static [AtomicU64],
    pub(crate) pages: &'static [PageDesc],
    // Process-private: regions are made in main before the fork, and only read afterwards.
    regions: Mutex<Regions>,
}

/// Maps the arena. In main, once, before anything is forked.
pub fn init(cfg: ArenaConfig) -> Result<&'static Arena, ArenaError> {
    let mut fresh = false;
    let mut failure = None;
    let arena = ARENA.get_or_init(|| {
        fresh = true;
        Arena::map(cfg).map_err(|error| failure = Some(error)).ok()
    });
    match (fresh, arena, failure) {
        (true, Some(arena), _) => {
            crate::classes::register_locks(arena);
            Ok(arena)
        }
        (true, None, Some(error)) => Err(error),
        _ => Err(ArenaError::Twice),
    }
}

/// The arena of this server.
///
/// # Panics
/// If [`init`] has not been called: a programming error of the start-up order.
#[inline]
pub fn arena() -> &'static Arena {
    match ARENA.get() {
        Some(Some(arena)) => arena,
        _ => panic!("the shared memory is used before olelo_mem::init() mapped it"),
    }
}

/// The arena, if there is one yet.
pub(crate) fn mapped() -> Option<&'static Arena> {
    ARENA.get()?.as_ref()
}

/// An arena for tests, made on first use: 64 MiB, lazily touched, 64 slots.
pub fn init_for_tests() -> &'static Arena {
    match init(ArenaConfig {
        size: 64 << 20,
        populate: false,
        max_slots: 64,
    }) {
        Ok(arena) => arena,
        Err(_) => arena(),
    }
}

impl Arena {
    /// A named zeroed region of at least `bytes` bytes (a multiple of 8), 64-byte aligned, that
    /// lives as long as the arena. For structures made in main before the first fork.
    pub fn region(&self, name: &str, bytes: usize) -> Result<&'static [AtomicU64], ArenaError> {
        let words = bytes.div_ceil(8);
        let at = self.region_at(name, words * 8)?;
        // SAFETY: `region_at` reserved these bytes for this caller alone, 64-byte aligned, inside
        // the mapping, which is never unmapped; all-zero bytes are valid AtomicU64s.
        Ok(unsafe { std::slice::from_raw_parts(at as *const AtomicU64, words) })
    }

    /// The arena's size, bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The most processes there can be.
    pub fn max_slots(&self) -> u16 {
        self.max_slots
    }

    /// The memfd behind the mapping, for tools that attach to a running server.
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// From now on what this process writes is its own: it keeps what the arena held, and neither
    /// sees nor shows what changes later. For a rehearsal, whose steps must leave no trace.
    pub fn part(&self) -> Result<(), ArenaError> {
        // SAFETY: the same bytes at the same address with the same rights, from the same file: every
        // reference into the arena stays what it was. The old mapping goes in the same call, so
        // there is no moment without one.
        let there = unsafe {
            libc::mmap(
                self.base as *mut c_void,
                self.size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_FIXED,
                self.fd.as_raw_fd(),
                0,
            )
        };
        if there == libc::MAP_FAILED {
            return Err(ArenaError::Kernel {
                step: "take a copy of",
                size: self.size,
                error: std::io::Error::last_os_error(),
            });
        }
        Ok(())
    }

    /// The named regions and their sizes in bytes, in the order of creation.
    pub fn regions(&self) -> Vec<(String, usize)> {
        let regions = self
            .regions
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        regions.order.clone()
    }

    /// Where a named region is: bytes from the beginning of the mapping, and its size in bytes. For
    /// tools that attach by [`Arena::fd`].
    pub fn region_place(&self, name: &str) -> Option<(usize, usize)> {
        let regions = self
            .regions
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let &(at, bytes) = regions.names.get(name)?;
        Some((at - self.base, bytes))
    }

    /// A region typed as a slice of `T`.
    ///
    /// # Safety
    /// All-zero bytes must be a valid `T`, and `T` must be made of atomics only, since every
    /// process shares it.
    pub(crate) unsafe fn region_of<T>(
        &self,
        name: &str,
        count: usize,
    ) -> Result<&'static [T], ArenaError> {
        const { assert!(align_of::<T>() <= 64) };
        let at = self.region_at(name, count * size_of::<T>())?;
        // SAFETY: as in `region`; the caller vouches for `T`.
        Ok(unsafe { std::slice::from_raw_parts(at as *const T, count) })
    }

    /// The runs of pages that hold named regions: first page and count.
    pub(crate) fn region_runs(&self) -> Vec<(u32, u32)> {
        let regions = self
            .regions
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        regions.runs.clone()
    }

    /// The address of a granule; out-of-range indices panic rather than reach outside.
    #[inline]
    pub(crate) fn address(&self, granule: u32) -> usize {
        let offset = (granule as usize) << 4;
        // The smallest block is a header and as much again.
        assert!(
            offset + 32 <= self.size,
            "granule {granule} is outside of the shared memory"
        );
        self.base + offset
    }

    /// The first page that can be given out.
    pub(crate) fn first_page(&self) -> u32 {
        self.first_page
    }

    fn region_at(&self, name: &str, bytes: usize) -> Result<usize, ArenaError> {
        let mut regions = self
            .regions
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if regions.names.contains_key(name) {
            return Err(ArenaError::NameTaken(name.to_owned()));
        }
        let bytes = bytes.next_multiple_of(64);
        if regions.left < bytes {
            let pages = bytes.div_ceil(PAGE) as u32;
            let Some(first) = self.take_region_pages(pages) else {
                return Err(ArenaError::NoRoom {
                    name: name.to_owned(),
                    bytes,
                    free: self.free_bytes(),
                });
            };
            regions.runs.push((first, pages));
            let run = pages as usize * PAGE;
            // Small structures share pages: keep whichever remainder is the larger.
            let at = self.base + first as usize * PAGE;
            if run - bytes >= regions.left {
                regions.next = at;
                regions.left = run;
            } else {
                regions.add(name, at, bytes);
                return Ok(at);
            }
        }
        let at = regions.next;
        regions.next += bytes;
        regions.left -= bytes;
        regions.add(name, at, bytes);
        Ok(at)
    }

    fn map(cfg: ArenaConfig) -> Result<Arena, ArenaError> {
        let size = cfg.size.next_multiple_of(PAGE);
        let n_pages = size / PAGE;
        let max_slots = cfg.max_slots.max(1);
        let n_heaps = (size / BYTES_PER_HEAP)
            .clamp(1, MAX_HEAPS)
            .min(usize::from(max_slots))
            + 1;
        let mut layout = Layout { end: 0 };
        let header_at = layout.place::<Header>(1);
        let slots_at = layout.place::<SlotLine>(usize::from(max_slots));
        let heaps_at = layout.place::<Heap>(n_heaps);
        let history_at = layout.place::<History>(1);
        let map_words = n_pages.div_ceil(64);
        let map_at = layout.place::<AtomicU64>(map_words);
        let pages_at = layout.place::<PageDesc>(n_pages);
        let first_page = layout.end.div_ceil(PAGE);
        let least = (first_page + MIN_PAGES) * PAGE;
        if size < least {
            return Err(ArenaError::TooSmall { size, least });
        }
        if size > MAX_SIZE {
            let error = std::io::Error::from_raw_os_error(libc::EFBIG);
            return Err(ArenaError::Kernel {
                step: "address",
                size,
                error,
            });
        }
        let (fd, base) = map_memfd(size, cfg.populate)?;
        // SAFETY: each place was laid out aligned and without overlap inside the `size` bytes at
        // `base`, which stay mapped for the life of the process; the bytes are zero, and all-zero
        // bytes are valid for these types of atomics only.
        let arena = unsafe {
            Arena {
                base,
                size,
                max_slots,
                fd,
                first_page: first_page as u32,
                header: &*((base + header_at) as *const Header),
                slots: std::slice::from_raw_parts(
                    (base + slots_at) as *const SlotLine,
                    usize::from(max_slots),
                ),
                heaps: std::slice::from_raw_parts((base + heaps_at) as *const Heap, n_heaps),
                history: &*((base + history_at) as *const History),
                free_map: std::slice::from_raw_parts(
                    (base + map_at) as *const AtomicU64,
                    map_words,
                ),
                pages: std::slice::from_raw_parts((base + pages_at) as *const PageDesc, n_pages),
                regions: Mutex::new(Regions::default()),
            }
        };
        arena.format_pages();
        Ok(arena)
    }
}

/// What every process shares besides the pages.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Header {
    /// Guards the page map.
    pub pages_lock: RawLock,
    /// Guards the registration of tags.
    pub tags_lock: RawLock,
    /// The change of the page map in progress: see `pages`.
    pub intent: AtomicU64,
    pub free_pages: AtomicU32,
    pub least_free_pages: AtomicU32,
    pub next_page_hint: AtomicU32,
    pub tag_count: AtomicU32,
    /// The epoch of published blobs; starts at 0, which means 1 to readers.
    pub epoch: AtomicU64,
    /// A bit per set of locks under one of which somebody panicked.
    pub suspicions: [AtomicU64; SUSPICION_WORDS],
    pub tags: [TagName; MAX_TAGS],
}

/// The name of a tag: up to 31 bytes, zero-padded.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct TagName(pub [AtomicU64; 4]);

/// The most tags there can be.
pub(crate) const MAX_TAGS: usize = 512;

#[derive(Debug, Default)]
struct Regions {
    names: HashMap<String, (usize, usize)>,
    order: Vec<(String, usize)>,
    runs: Vec<(u32, u32)>,
    next: usize,
    left: usize,
}

impl Regions {
    fn add(&mut self, name: &str, at: usize, bytes: usize) {
        self.names.insert(name.to_owned(), (at, bytes));
        self.order.push((name.to_owned(), bytes));
    }
}

struct Layout {
    end: usize,
}

impl Layout {
    fn place<T>(&mut self, count: usize) -> usize {
        let at = self.end.next_multiple_of(align_of::<T>().max(64));
        self.end = at + count * size_of::<T>();
        at
    }
}

fn map_memfd(size: usize, populate: bool) -> Result<(OwnedFd, usize), ArenaError> {
    let fail = |step| ArenaError::Kernel {
        step,
        size,
        error: std::io::Error::last_os_error(),
    };
    // SAFETY: a plain system call with a NUL-terminated name.
    let raw = unsafe { libc::memfd_create(c"olelo".as_ptr(), libc::MFD_CLOEXEC) };
    if raw < 0 {
        return Err(fail("create a file of"));
    }
    // SAFETY: `raw` was just opened and belongs to nobody else.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: plain system calls on our own descriptor.
    if unsafe { libc::ftruncate(fd.as_raw_fd(), size as libc::off_t) } != 0 {
        return Err(fail("size a file of"));
    }
    // Without this a full tmpfs or cgroup would be a SIGBUS later.
    // SAFETY: as above.
    if populate && unsafe { libc::fallocate(fd.as_raw_fd(), 0, 0, size as libc::off_t) } != 0 {
        return Err(fail("allocate"));
    }
    let flags = libc::MAP_SHARED | if populate { libc::MAP_POPULATE } else { 0 };
    // SAFETY: a new mapping of our own descriptor at an address of the kernel's choice.
    let base = unsafe {
        libc::mmap(
            std::ptr::null_mut::<c_void>(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            flags,
            fd.as_raw_fd(),
            0,
        )
    };
    if base == libc::MAP_FAILED {
        return Err(fail("map"));
    }
    Ok((fd, base as usize))
}

static ARENA: OnceLock<Option<Arena>> = OnceLock::new();

/// Slots share heaps (slot modulo their number), so that a small arena is not eaten up by
/// half-empty pages of many workers.
const BYTES_PER_HEAP: usize = 16 << 20;
const MAX_HEAPS: usize = 32;
const MIN_PAGES: usize = 16;
/// 2^32 granules of 16 bytes.
const MAX_SIZE: usize = 1 << 36;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atomic::Ordering;

    #[test]
    fn a_parted_process_writes_for_itself() {
        let arena = init_for_tests();
        let words = arena.region("test:part", 64).unwrap();
        words[0].store(1, Ordering::Relaxed);
        arena.part().unwrap();
        assert_eq!(words[0].load(Ordering::Relaxed), 1, "what was there stays");
        words[0].store(2, Ordering::Relaxed);
        let (at, _) = arena.region_place("test:part").unwrap();
        let file = std::fs::File::from(arena.fd().try_clone().unwrap());
        let mut shared = [0; 8];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut shared, at as u64).unwrap();
        assert_eq!(
            u64::from_ne_bytes(shared),
            1,
            "others don't see what is new"
        );
    }

    #[test]
    fn regions_are_zero_apart_and_named_once() {
        let arena = init_for_tests();
        let a = arena.region("test:a", 100).unwrap();
        let b = arena.region("test:b", 200_000).unwrap();
        assert_eq!((a.len(), b.len()), (13, 25_000));
        assert!(b.iter().all(|word| word.load(Ordering::Relaxed) == 0));
        for word in a {
            word.store(u64::MAX, Ordering::Relaxed);
        }
        assert!(b.iter().all(|word| word.load(Ordering::Relaxed) == 0));
        assert!(matches!(
            arena.region("test:a", 8),
            Err(ArenaError::NameTaken(_))
        ));
        assert!(matches!(
            arena.region("test:huge", 1 << 40),
            Err(ArenaError::NoRoom { .. })
        ));
    }
}
