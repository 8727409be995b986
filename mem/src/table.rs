use crate::heap::{Blob, OutOfMemory, Ref, Tag};
use crate::arena::ArenaError;
use std::sync::atomic::AtomicU64;
#[derive(Debug, Clone, Copy)]
pub struct Table { inner: &'static () }
/// Names one entry for its whole life, across `replace`; stale ones find nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId { pub bucket: u32, pub id: u32 }
impl NodeId { pub fn to_bits(self) -> u64 { unimplemented!() } pub fn from_bits(bits: u64) -> NodeId { unimplemented!() } }
#[derive(Debug, thiserror::Error)]
pub enum TableError { #[error("gone")] Gone, #[error("child")] BadChild, #[error(transparent)] OutOfMemory(#[from] OutOfMemory) }
pub enum Child { Keep(Ref), New(Blob) }
pub struct BucketGuard { t: Table }
#[derive(Clone, Copy)]
pub struct RecordView<'a> { b: &'a [u8] }
impl<'a> RecordView<'a> {
    pub fn id(&self) -> NodeId { unimplemented!() }
    pub fn bytes(&self) -> &'a [u8] { unimplemented!() }
    pub fn children_len(&self) -> usize { unimplemented!() }
    pub fn child(&self, i: usize) -> Option<&'a [u8]> { unimplemented!() }
    pub fn child_ref(&self, i: usize) -> Option<Ref> { unimplemented!() }
    pub fn words(&self) -> &'a [AtomicU64] { unimplemented!() }
}
impl Table {
    /// `buckets` is rounded up to a power of two.
    pub fn create(name: &str, buckets: usize, tag: Tag) -> Result<Table, ArenaError> { unimplemented!() }
    pub fn name(&self) -> &'static str { unimplemented!() }
    pub fn lock(&self, hash: u32) -> BucketGuard { unimplemented!() }
    pub fn lock_bucket(&self, bucket: u32) -> BucketGuard { unimplemented!() }
    /// Locks the node's bucket if the node still exists.
    pub fn lock_node(&self, id: NodeId) -> Option<BucketGuard> { unimplemented!() }
    pub fn len(&self) -> usize { unimplemented!() }
    pub fn bucket_count(&self) -> u32 { unimplemented!() }
    pub fn for_each_bucket(&self, f: impl FnMut(&mut BucketGuard)) { unimplemented!() }
    pub fn clear(&self) { unimplemented!() }
}
impl BucketGuard {
    pub fn bucket(&self) -> u32 { unimplemented!() }
    pub fn iter(&self) -> impl Iterator<Item = RecordView<'_>> + '_ { std::iter::empty() }
    pub fn get(&self, id: NodeId) -> Option<RecordView<'_>> { unimplemented!() }
    /// `parts` are concatenated; `words` (0..=8) are the initial values of the in-place atomics; at most 255 children.
    pub fn insert(&mut self, parts: &[&[u8]], children: Vec<Blob>, words: &[u64]) -> Result<NodeId, OutOfMemory> { unimplemented!() }
    /// New bytes and children under the same id; the words carry over; children not kept are freed.
    pub fn replace(&mut self, id: NodeId, parts: &[&[u8]], children: Vec<Child>) -> Result<(), TableError> { unimplemented!() }
    pub fn remove(&mut self, id: NodeId) -> bool { unimplemented!() }
}
