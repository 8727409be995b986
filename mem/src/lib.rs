//! Olelo's shared memory: one arena, mapped before the first fork, and what lives in it.
//!
//! | file | what it is |
//! |---|---|
//! | `arena` | the mapping, its layout, named regions |
//! | `atomic` | the atomics it is made of; with the feature `kill-points`, death at any store |
//! | `pages` | which 64 KiB page serves what |
//! | `block` | the header of a block: FREE, RESERVED(slot), LIVE |
//! | `heap` | handles, tags, owned blocks, the reserve |
//! | `classes`, `inspect` | blocks by size class: taken and freed; walked, checked, repaired |
//! | `usage`, `trend` | who uses how much, and how that changes |
//! | `lock` | the lock word that names its owner |
//! | `table` | hash table of immutable records, a lock per bucket |
//! | `wheel` | the timers |
//! | `queue` | blobs from process to process |
//! | `published` | a blob all read and one replaces: configuration, scripts |
//! | `counters`, `words` | statistics per slot; plain shared atomics |
//! | `registry` | all structures: [`check_all`], [`repair_all`], [`reset`], [`rebuild`] |
//! | `slot` | which process this is; who lives |
//!
//! **The one rule.** A process may be killed at any instruction. Therefore what is published is never
//! half-made: a record is written in full while only its maker can reach it, and appears (or goes)
//! by one store. Locks and reserved blocks carry the slot of their holder. After a death main calls
//! [`repair_all`], which goes over what the dead slot held, marks as live what is reachable, releases
//! the locks, and frees the rest. Nothing here relies on `Drop` having run. What cannot be made good so
//! is emptied by [`reset`], and where even the heap is broken, [`rebuild`] makes it anew.
//!
//! Structures are created in main before the first fork; their handles are `Copy` and valid in
//! every child. The API is safe; all `unsafe` of the server's memory is in this crate.
#![deny(clippy::undocumented_unsafe_blocks)]

pub mod arena;
pub mod atomic;
mod block;
mod classes;
pub mod counters;
pub mod heap;
mod inspect;
#[cfg(feature = "kill-points")]
pub mod kill_points;
pub mod lock;
mod pages;
pub mod published;
pub mod queue;
mod registry;
pub mod slot;
pub mod table;
mod trend;
mod usage;
pub mod wheel;
pub mod words;

pub use arena::{Arena, ArenaConfig, ArenaError, arena, init, init_for_tests};
pub use atomic::{AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64};
pub use counters::Counters;
pub use heap::{Blob, OutOfMemory, Ref, Tag};
pub use lock::take_suspicions;
pub use published::{PublishError, Published};
pub use queue::Queue;
pub use registry::{check_all, rebuild, repair_all, reset, structures};
pub use slot::{current_slot, set_current_slot};
pub use table::{BucketGuard, Child, NodeId, RecordView, Records, Table, TableError};
pub use wheel::{Wheel, monotonic_ms, set_clock};
pub use words::{Words, Words32};

/// One broken invariant, found by [`check_all`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The name of the structure it is in.
    pub structure: String,
    /// What is wrong where.
    pub what: String,
}

/// What [`check_all`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkup {
    /// Memory is broken here. At most a thousand.
    pub faults: Vec<Fault>,
    /// These parts were not looked at.
    pub busy: Vec<BusyLock>,
}

/// A lock that a living process did not let go of in time: nothing is known of what it protects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusyLock {
    /// The name of the structure it belongs to.
    pub structure: String,
    /// Which of the structure's locks.
    pub index: usize,
    /// The holder's slot.
    pub holder: u16,
}

/// What the repair after one death found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// The slot of the process that died.
    pub slot: u16,
    /// The locks it held, now released.
    pub locks_released: Vec<String>,
    /// Blocks it had reserved and nothing reaches, now free.
    pub blocks_freed: usize,
    /// Their bytes.
    pub bytes_freed: usize,
    /// What could not be made good: the part concerned was emptied.
    pub faults: Vec<Fault>,
    /// What could not be looked at. Nothing is broken, but what the dead process had in hand may be
    /// lost.
    pub busy: Vec<BusyLock>,
}
