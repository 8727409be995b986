//! A hash table of immutable records, one lock per bucket.
//!
//! A bucket is a lock word, the head of a chain of records, and two counters. A record is one heap
//! block: link, id, the handles of its *children* (further blobs it owns), up to eight atomics that
//! may change in place, and bytes that never do. A change is a new record with the same id that
//! takes the old one's place by a single store to the link before it. A [`NodeId`] therefore names
//! an entry for its whole life, and one that outlived its entry finds nothing: timers and other
//! processes hold these.
//!
//! Death: what is new is RESERVED by its maker until it is published; what is about to go is
//! RESERVED by its remover before it is unlinked. So for each bucket whose lock a dead slot holds,
//! the repair re-marks whatever is reachable as LIVE, and the sweep that follows frees the rest,
//! whichever side of the publishing store the death fell on.
//!
//! Locks are ranked by order of creation: holding a bucket of one table, a process may lock one of a
//! table created later, never of an earlier one or a second bucket of the same.

use crate::arena::{ArenaError, arena};
use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::block::{Block, RECORD, State};
use crate::heap::{Blob, OutOfMemory, Ref, Tag, reserve_allowed};
use crate::lock::{LockGuard, RANK_TABLE_FIRST, RANK_TABLE_LAST, Rank, RawLock};
use crate::registry;
use crate::slot::current_slot;
use smallvec::SmallVec;
use std::marker::PhantomData;

/// A shared hash table; the handle is valid in every process forked after the creation.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    inner: &'static Inner,
}

/// Names one entry for its whole life, across `replace`; a stale one finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId {
    /// The bucket's number.
    pub bucket: u32,
    /// Counts the insertions into the bucket; never 0.
    pub id: u32,
}

impl NodeId {
    /// As one word: for timers, atomics, messages.
    pub fn to_bits(self) -> u64 {
        u64::from(self.bucket) << 32 | u64::from(self.id)
    }

    /// Back from [`NodeId::to_bits`].
    pub fn from_bits(bits: u64) -> NodeId {
        NodeId {
            bucket: (bits >> 32) as u32,
            id: bits as u32,
        }
    }
}

/// Why an entry was not replaced; it is then as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// No entry has that id (any more).
    #[error("the entry is gone")]
    Gone,
    /// A child to be kept is not one of the entry's, or is named twice, or there are over 255.
    #[error("child {0} cannot be kept: it is not a child of the entry, or was named twice")]
    BadChild(usize),
    /// No room.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
}

/// A child of the record that replaces another.
#[derive(Debug)]
pub enum Child {
    /// Taken over from the old record.
    Keep(Ref),
    /// New.
    New(Blob),
}

/// One record, as long as its bucket stays locked.
#[derive(Debug, Clone, Copy)]
pub struct RecordView<'a> {
    block: Block,
    bucket: u32,
    life: PhantomData<&'a ()>,
}

impl<'a> RecordView<'a> {
    /// The entry's name.
    pub fn id(&self) -> NodeId {
        NodeId {
            bucket: self.bucket,
            id: self.block.id().load(Ordering::Relaxed),
        }
    }

    /// The record's bytes.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        // SAFETY: `'a` borrows the bucket's guard: live records are never written, and only the
        // holder of the lock, through `&mut` of the same guard, retires them.
        unsafe { self.block.record_bytes() }
    }

    /// How many children it has.
    pub fn children_len(&self) -> usize {
        self.block.children_len()
    }

    /// The bytes of a child.
    pub fn child(&self, i: usize) -> Option<&'a [u8]> {
        let name = self.child_ref(i)?;
        let child = arena().find(name)?;
        // SAFETY: a child lives and dies with its record; see `bytes`.
        Some(unsafe { child.bytes() })
    }

    /// The handle of a child, for [`Child::Keep`].
    pub fn child_ref(&self, i: usize) -> Option<Ref> {
        self.block
            .children()
            .get(i)
            .map(|bits| Ref::from_bits(bits.load(Ordering::Relaxed)))
    }

    /// The atomics that change in place; they survive `replace`.
    #[inline]
    pub fn words(&self) -> &'a [AtomicU64] {
        self.block.words()
    }
}

/// The records of a locked bucket, the newest first.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    link: u32,
    bucket: u32,
    life: PhantomData<&'a ()>,
}

impl<'a> Iterator for Records<'a> {
    type Item = RecordView<'a>;

    #[inline]
    fn next(&mut self) -> Option<RecordView<'a>> {
        if self.link == 0 {
            return None;
        }
        let block = Block(self.link);
        self.link = block.link().load(Ordering::Relaxed);
        Some(RecordView {
            block,
            bucket: self.bucket,
            life: PhantomData,
        })
    }
}

/// A locked bucket.
#[derive(Debug)]
pub struct BucketGuard {
    table: &'static Inner,
    number: u32,
    _lock: LockGuard<'static>,
}

impl Table {
    /// Creates a table of at least `buckets` buckets (rounded up to a power of two). In main,
    /// before the first fork.
    pub fn create(name: &str, buckets: usize, tag: Tag) -> Result<Table, ArenaError> {
        let count = buckets.max(1).next_power_of_two().min(1 << 24);
        // SAFETY: a bucket is four 32-bit atomics.
        let buckets: &'static [Bucket] = unsafe { arena().region_of(name, count)? };
        let rank = NEXT_RANK
            .fetch_add(1, Ordering::Relaxed)
            .min(u32::from(RANK_TABLE_LAST)) as Rank;
        let inner: &'static Inner = Box::leak(Box::new(Inner {
            name: name.to_owned(),
            buckets,
            mask: count as u32 - 1,
            tag,
            rank,
        }));
        let table = Table { inner };
        crate::lock::register(
            name,
            count,
            |at| &buckets[at].lock,
            move |at, dead| {
                registry::repair_early(dead, |report| table.repair_bucket(at, dead, report));
            },
        );
        registry::add(table);
        Ok(table)
    }

    /// The name given at creation.
    pub fn name(&self) -> &'static str {
        &self.inner.name
    }

    /// Locks the bucket of a hash.
    #[inline]
    pub fn lock(&self, hash: u32) -> BucketGuard {
        self.lock_bucket(hash & self.inner.mask)
    }

    /// Locks a bucket by number (modulo their count).
    #[inline]
    pub fn lock_bucket(&self, bucket: u32) -> BucketGuard {
        let number = bucket & self.inner.mask;
        let lock = self.inner.buckets[number as usize]
            .lock
            .lock(self.inner.rank);
        BucketGuard {
            table: self.inner,
            number,
            _lock: lock,
        }
    }

    /// Locks the bucket of an entry, if the entry still exists.
    pub fn lock_node(&self, id: NodeId) -> Option<BucketGuard> {
        if id.bucket > self.inner.mask {
            return None;
        }
        let guard = self.lock_bucket(id.bucket);
        guard.get(id).is_some().then_some(guard)
    }

    /// The number of entries: a sum over all buckets, without locks.
    pub fn len(&self) -> usize {
        self.inner
            .buckets
            .iter()
            .map(|bucket| bucket.count.load(Ordering::Relaxed) as usize)
            .sum()
    }

    /// Are all buckets empty?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of buckets.
    pub fn bucket_count(&self) -> u32 {
        self.inner.mask + 1
    }

    /// The tag of the table's records.
    pub fn tag(&self) -> Tag {
        self.inner.tag
    }

    /// Visits each bucket that is not empty, locking one at a time.
    pub fn for_each_bucket(&self, mut visit: impl FnMut(&mut BucketGuard)) {
        for (number, bucket) in self.inner.buckets.iter().enumerate() {
            if bucket.head.load(Ordering::Relaxed) != 0 {
                visit(&mut self.lock_bucket(number as u32));
            }
        }
    }

    /// Removes every entry, bucket by bucket.
    pub fn clear(&self) {
        self.for_each_bucket(BucketGuard::clear);
    }
}

impl BucketGuard {
    /// The bucket's number.
    pub fn bucket(&self) -> u32 {
        self.number
    }

    /// The number of entries in this bucket.
    pub fn len(&self) -> usize {
        self.this().count.load(Ordering::Relaxed) as usize
    }

    /// Is the bucket empty?
    pub fn is_empty(&self) -> bool {
        self.this().head.load(Ordering::Relaxed) == 0
    }

    /// The entries, the newest first.
    #[inline]
    pub fn iter(&self) -> Records<'_> {
        let link = self.this().head.load(Ordering::Acquire);
        Records {
            link,
            bucket: self.number,
            life: PhantomData,
        }
    }

    /// The entry of that name.
    pub fn get(&self, id: NodeId) -> Option<RecordView<'_>> {
        let (block, _) = self.locate(id)?;
        Some(self.view(block))
    }

    /// Adds an entry: the concatenation of `parts` as its bytes, `children` (at most 255) it will
    /// own, and the first values of its in-place `words` (at most 8; more are not kept).
    pub fn insert(
        &mut self,
        parts: &[&[u8]],
        children: Vec<Blob>,
        words: &[u64],
    ) -> Result<NodeId, OutOfMemory> {
        let words = &words[..words.len().min(MAX_WORDS)];
        if children.len() > MAX_CHILDREN {
            return Err(OutOfMemory {
                tag: self.table.tag,
                size: usize::MAX,
            });
        }
        let record = self.new_record(parts, children.len(), words.len())?;
        let block = record.block();
        for (word, value) in block.words().iter().zip(words) {
            word.store(*value, Ordering::Relaxed);
        }
        for (place, child) in block.children().iter().zip(&children) {
            place.store(child.block().name().to_bits(), Ordering::Relaxed);
        }
        let bucket = self.this();
        let id = bucket
            .last_id
            .load(Ordering::Relaxed)
            .wrapping_add(1)
            .max(1);
        bucket.last_id.store(id, Ordering::Relaxed);
        block.id().store(id, Ordering::Relaxed);
        block
            .link()
            .store(bucket.head.load(Ordering::Relaxed), Ordering::Relaxed);
        let block = record.into_block();
        bucket.head.store(block.0, Ordering::Release);
        // Published. A death before the marks below is made good by the repair of this bucket.
        block.set_state(State::Live);
        for child in children {
            child.into_block().set_state(State::Live);
        }
        bucket.count.fetch_add(1, Ordering::Relaxed);
        Ok(NodeId {
            bucket: self.number,
            id,
        })
    }

    /// Gives an entry new bytes and children under the same name; its words carry over, and
    /// children that are not kept are freed.
    pub fn replace(
        &mut self,
        id: NodeId,
        parts: &[&[u8]],
        children: impl AsRef<[Child]> + IntoIterator<Item = Child>,
    ) -> Result<(), TableError> {
        let (old, before) = self.locate(id).ok_or(TableError::Gone)?;
        let count = children.as_ref().len();
        if count > MAX_CHILDREN {
            return Err(TableError::BadChild(MAX_CHILDREN));
        }
        let kept = kept_children(old, children.as_ref())?;
        let words = old.words();
        let record = self.new_record(parts, count, words.len())?;
        let block = record.block();
        for (new, old) in block.words().iter().zip(words) {
            new.store(old.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        let mut fresh = SmallVec::<[Blob; 8]>::new();
        for (place, child) in block.children().iter().zip(children) {
            let name = match child {
                Child::Keep(name) => name,
                Child::New(blob) => {
                    let name = blob.block().name();
                    fresh.push(blob);
                    name
                }
            };
            place.store(name.to_bits(), Ordering::Relaxed);
        }
        block.id().store(id.id, Ordering::Relaxed);
        block
            .link()
            .store(old.link().load(Ordering::Relaxed), Ordering::Relaxed);
        let mine = State::Reserved(current_slot());
        let dropped: SmallVec<[Block; 8]> = child_blocks(old)
            .enumerate()
            .filter(|(at, _)| !kept.has(*at))
            .map(|(_, block)| block)
            .collect();
        old.set_state(mine);
        for child in &dropped {
            child.set_state(mine);
        }
        let block = record.into_block();
        before.store(block.0, Ordering::Release);
        // Published; see `insert`.
        block.set_state(State::Live);
        for child in fresh {
            child.into_block().set_state(State::Live);
        }
        arena().free(old);
        for child in dropped {
            arena().free(child);
        }
        Ok(())
    }

    /// Removes an entry and frees it with its children; false if there was none.
    pub fn remove(&mut self, id: NodeId) -> bool {
        let Some((block, before)) = self.locate(id) else {
            return false;
        };
        self.unlink(block, before);
        true
    }

    /// Removes every entry for which `keep` says no; returns how many went.
    pub fn retain(&mut self, mut keep: impl FnMut(RecordView<'_>) -> bool) -> usize {
        let mut gone = 0;
        let mut before = &self.this().head;
        loop {
            let next = before.load(Ordering::Relaxed);
            if next == 0 {
                return gone;
            }
            let block = Block(next);
            if keep(self.view(block)) {
                before = block.link();
            } else {
                self.unlink(block, before);
                gone += 1;
            }
        }
    }

    /// Removes every entry of this bucket.
    pub fn clear(&mut self) {
        self.retain(|_| false);
    }

    fn unlink(&self, block: Block, before: &AtomicU32) {
        let mine = State::Reserved(current_slot());
        let bucket = self.this();
        block.set_state(mine);
        for child in child_blocks(block) {
            child.set_state(mine);
        }
        before.store(block.link().load(Ordering::Relaxed), Ordering::Release);
        bucket.count.fetch_sub(1, Ordering::Relaxed);
        for child in child_blocks(block) {
            arena().free(child);
        }
        arena().free(block);
    }

    fn new_record(
        &self,
        parts: &[&[u8]],
        children: usize,
        words: usize,
    ) -> Result<Blob, OutOfMemory> {
        let len = parts.iter().map(|part| part.len()).sum::<usize>();
        let blob = arena().alloc(
            RECORD + (children + words) * 8 + len,
            self.table.tag,
            reserve_allowed(),
        )?;
        blob.block().make_record(len, children, words);
        blob.block().fill_record(parts);
        Ok(blob)
    }

    fn view(&self, block: Block) -> RecordView<'_> {
        RecordView {
            block,
            bucket: self.number,
            life: PhantomData,
        }
    }

    #[inline]
    fn this(&self) -> &'static Bucket {
        &self.table.buckets[self.number as usize]
    }

    /// The record of that id, and the link that leads to it.
    fn locate(&self, id: NodeId) -> Option<(Block, &'static AtomicU32)> {
        if id.bucket != self.number {
            return None;
        }
        let mut before = &self.this().head;
        loop {
            let block = match before.load(Ordering::Relaxed) {
                0 => return None,
                index => Block(index),
            };
            if block.id().load(Ordering::Relaxed) == id.id {
                return Some((block, before));
            }
            before = block.link();
        }
    }
}

#[derive(Debug)]
struct Inner {
    name: String,
    buckets: &'static [Bucket],
    mask: u32,
    tag: Tag,
    rank: Rank,
}

#[derive(Debug)]
#[repr(C)]
struct Bucket {
    lock: RawLock,
    head: AtomicU32,
    last_id: AtomicU32,
    count: AtomicU32,
}

fn child_blocks(block: Block) -> impl Iterator<Item = Block> {
    block
        .children()
        .iter()
        .filter_map(|bits| arena().find(Ref::from_bits(bits.load(Ordering::Relaxed))))
}

/// Which children of a record are kept: a bit for each.
#[derive(Default)]
struct Kept([u64; 4]);

impl Kept {
    fn has(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|w| w >> (at % 64) & 1 != 0)
    }

    fn add(&mut self, at: usize) {
        if let Some(w) = self.0.get_mut(at / 64) {
            *w |= 1 << (at % 64);
        }
    }
}

/// For each child of `old`, whether `children` keeps it; an error if one keeps what is not there.
fn kept_children(old: Block, children: &[Child]) -> Result<Kept, TableError> {
    let mut kept = Kept::default();
    for (at, child) in children.iter().enumerate() {
        let Child::Keep(name) = child else {
            continue;
        };
        let found = old
            .children()
            .iter()
            .position(|bits| Ref::from_bits(bits.load(Ordering::Relaxed)) == *name);
        match found {
            Some(index) if !kept.has(index) => kept.add(index),
            _ => return Err(TableError::BadChild(at)),
        }
    }
    Ok(kept)
}

const MAX_CHILDREN: usize = 255;
const MAX_WORDS: usize = 8;

static NEXT_RANK: AtomicU32 = AtomicU32::new(RANK_TABLE_FIRST as u32);

mod repair;
#[cfg(test)]
mod tests;
