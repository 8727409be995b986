//! The heap as its users see it: handles, tags, owned blocks.
//!
//! Blocks come in size classes; how they are found and given back is in [`crate::classes`]. When less
//! than the reserve is free, only those who may [`use_reserve`] get new ones. Exhaustion is an
//! answer, never an abort.

use crate::arena::{MAX_TAGS, arena};
use crate::atomic::{AtomicU64, Ordering};
use crate::block::{Block, State};
use crate::lock::RANK_TAGS;
use crate::slot::current_slot;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, OnceLock};

pub use crate::trend::{TrendRow, sample, trend};
pub use crate::usage::{Level, SHORT, Stats, Usage, is_short, level, stats, usage};

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
        let count = (header.tag_count.load(Ordering::Acquire) as usize).min(MAX_TAGS);
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
        known_names().insert(count, words);
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
        for (at, user) in crate::usage::biggest().iter().take(3).enumerate() {
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
        crate::atomic::before_change();
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

    /// As [`Blob::into_ref`], leaving the handle in `word`, whatever instant this process may die at:
    /// the word names the block before the block is let go, and until then nobody can adopt it.
    pub fn hand_over(self, word: &AtomicU64) {
        let block = self.into_block();
        word.store(block.name().to_bits(), Ordering::Release);
        block.set_state(State::Loose);
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
        let name = Ref {
            index: self.block.0,
            generation: self.generation,
        };
        if let Some(block) = arena().find(name)
            && block.state() == State::Reserved(current_slot())
        {
            arena().free(block);
        }
    }
}

#[inline]
pub(crate) fn reserve_allowed() -> bool {
    RESERVE_USERS.load(Ordering::Relaxed) > 0
}

/// The names this process registered: main's survive whatever is written over the directory.
pub(crate) fn known_names() -> MutexGuard<'static, HashMap<usize, [u64; 4]>> {
    static NAMES: OnceLock<Mutex<HashMap<usize, [u64; 4]>>> = OnceLock::new();
    NAMES
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
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

// Process-private.
static RESERVE_USERS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

#[cfg(test)]
mod tests {
    use super::*;

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
