//! The shared-memory arena: heap, locks, tables, queues, published blobs, counters, and the repair of each.
#![deny(clippy::undocumented_unsafe_blocks)]
#![allow(unused_variables, dead_code, missing_docs, clippy::all)]
pub mod arena;
pub mod counters;
pub mod heap;
pub mod lock;
pub mod published;
pub mod queue;
pub mod slot;
pub mod table;
pub mod wheel;
pub mod words;

pub use arena::{Arena, ArenaConfig, ArenaError, arena, init, init_for_tests};
pub use counters::Counters;
pub use heap::{Blob, OutOfMemory, Ref, Tag};
pub use published::Published;
pub use queue::Queue;
pub use slot::{current_slot, set_current_slot};
pub use table::{BucketGuard, Child, NodeId, RecordView, Table, TableError};
pub use wheel::Wheel;
pub use words::{Words, Words32};

/// One broken invariant found by a `check()`.
#[derive(Debug, Clone)]
pub struct Fault {
    pub structure: String,
    pub what: String,
}
/// What the repair of one dead slot found and did.
#[derive(Debug, Clone, Default)]
pub struct RepairReport {
    pub slot: u16,
    pub locks_released: Vec<String>,
    pub blocks_freed: usize,
    pub bytes_freed: usize,
    pub faults: Vec<Fault>,
}
/// Main only, before the slot is used again.
pub fn repair_all(dead_slot: u16) -> RepairReport { unimplemented!() }
pub fn check_all() -> Vec<Fault> { unimplemented!() }
