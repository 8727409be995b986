//! A bounded queue of blobs from any process to any process.
//!
//! A ring of handles under one owner-tagged lock. A blob is RESERVED by the pusher until the tail has
//! moved past it, LIVE while it is in the ring, and RESERVED by the popper once the head is about to
//! move past it; after a death under the lock whatever is between head and tail is live again. A
//! blob popped by a process that then dies goes with it.

use crate::RepairReport;
use crate::arena::{ArenaError, arena};
use crate::atomic::{AtomicU64, Ordering};
use crate::block::{Block, State};
use crate::heap::{Blob, Ref};
use crate::lock::{RANK_QUEUE, RawLock};
use crate::registry::{self, Structure, Walk};
use crate::slot::current_slot;

/// A shared queue.
#[derive(Debug, Clone, Copy)]
pub struct Queue {
    inner: &'static Inner,
}

impl Queue {
    /// Creates a queue for at most `capacity` blobs. In main, before the first fork.
    pub fn create(name: &str, capacity: usize) -> Result<Queue, ArenaError> {
        // SAFETY: these types are made of atomics.
        let (shared, ring) = unsafe {
            let shared: &'static [Shared] = arena().region_of(name, 1)?;
            (
                &shared[0],
                arena().region_of::<AtomicU64>(&format!("{name}.ring"), capacity.max(1))?,
            )
        };
        let queue = Queue {
            inner: Box::leak(Box::new(Inner {
                name: name.to_owned(),
                shared,
                ring,
            })),
        };
        crate::lock::register(
            name,
            1,
            |_| &shared.lock,
            move |_, dead| registry::repair_early(dead, |report| queue.repair(dead, report)),
        );
        registry::add(queue);
        Ok(queue)
    }

    /// Appends a blob; gives it back when the queue is full.
    pub fn push(&self, blob: Blob) -> Result<(), Blob> {
        let shared = self.inner.shared;
        let _guard = shared.lock.lock(RANK_QUEUE);
        let (head, tail) = self.ends();
        // Ends that cannot be are as good as full.
        if tail < head || tail - head >= self.inner.ring.len() as u64 {
            return Err(blob);
        }
        self.place(tail)
            .store(blob.block().name().to_bits(), Ordering::Relaxed);
        let block = blob.into_block();
        shared.tail.store(tail + 1, Ordering::Release);
        block.set_state(State::Live);
        Ok(())
    }

    /// Takes the oldest blob.
    pub fn pop(&self) -> Option<Blob> {
        if self.is_empty() {
            return None;
        }
        let shared = self.inner.shared;
        let _guard = shared.lock.lock(RANK_QUEUE);
        let (mut head, tail) = self.ends();
        while head < tail {
            let block = self.block_at(head);
            if let Some(block) = block {
                block.set_state(State::Reserved(current_slot()));
            }
            head += 1;
            shared.head.store(head, Ordering::Release);
            // An entry that is no blob is passed over.
            if let Some(block) = block {
                return Some(Blob::own(block));
            }
        }
        None
    }

    /// How many blobs wait.
    pub fn len(&self) -> usize {
        let (head, tail) = self.ends();
        tail.saturating_sub(head) as usize
    }

    /// Does none wait?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most that can wait.
    pub fn capacity(&self) -> usize {
        self.inner.ring.len()
    }

    fn ends(&self) -> (u64, u64) {
        let head = self.inner.shared.head.load(Ordering::Acquire);
        (head, self.inner.shared.tail.load(Ordering::Acquire))
    }

    fn place(&self, at: u64) -> &'static AtomicU64 {
        &self.inner.ring[(at % self.inner.ring.len() as u64) as usize]
    }

    fn block_at(&self, at: u64) -> Option<Block> {
        let name = Ref::from_bits(self.place(at).load(Ordering::Relaxed));
        arena().find(name).and_then(|block| arena().sound(block.0))
    }

    /// The places between head and tail; none where these cannot be.
    fn entries(&self) -> std::ops::Range<u64> {
        let (head, tail) = self.ends();
        match tail.checked_sub(head) {
            Some(waiting) if waiting <= self.inner.ring.len() as u64 => head..tail,
            _ => 0..0,
        }
    }

    /// What waits, the oldest first. For tests.
    #[cfg(feature = "kill-points")]
    pub fn contents(&self) -> Vec<Vec<u8>> {
        let _guard = self.inner.shared.lock.lock(RANK_QUEUE);
        self.entries()
            .filter_map(|at| self.block_at(at))
            // SAFETY: what is in the ring is only taken under the lock.
            .map(|block| unsafe { block.bytes() }.to_vec())
            .collect()
    }
}

#[derive(Debug)]
struct Inner {
    name: String,
    shared: &'static Shared,
    ring: &'static [AtomicU64],
}

#[derive(Debug)]
#[repr(C, align(64))]
struct Shared {
    lock: RawLock,
    head: AtomicU64,
    tail: AtomicU64,
}

impl Structure for Queue {
    fn name(&self) -> &str {
        &self.inner.name
    }

    fn repair(&self, dead: u16, report: &mut RepairReport) {
        let lock = &self.inner.shared.lock;
        if lock.owner() != Some(dead) {
            return;
        }
        for block in self.entries().filter_map(|at| self.block_at(at)) {
            if block.state() == State::Reserved(dead) {
                block.set_state(State::Live);
            }
        }
        lock.release_of(dead);
        report.locks_released.push(self.inner.name.clone());
    }

    fn check(&self, walk: &mut Walk) {
        let (name, shared) = (&self.inner.name, self.inner.shared);
        let Some(_guard) = walk.lock(&shared.lock, RANK_QUEUE, name, 0) else {
            return;
        };
        let (head, tail) = self.ends();
        if self.entries() != (head..tail) {
            let capacity = self.capacity();
            walk.fault(
                name,
                format!("head {head} and tail {tail} in a ring of {capacity}"),
            );
        }
        for at in self.entries() {
            let state = self.block_at(at).map(Block::state);
            if state != Some(State::Live) {
                walk.fault(name, format!("entry {at} is {state:?}"));
            }
        }
    }

    fn forget(&self) -> String {
        let shared = self.inner.shared;
        shared.lock.wipe();
        shared.head.store(0, Ordering::Relaxed);
        shared.tail.store(0, Ordering::Release);
        format!("{}: empty", self.inner.name)
    }

    fn reach(&self, visit: &mut dyn FnMut(Block)) {
        self.entries()
            .filter_map(|at| self.block_at(at))
            .for_each(visit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tag;

    #[test]
    fn first_in_first_out_and_no_more_than_capacity() {
        crate::init_for_tests();
        let tag = Tag::register("queue-test");
        let queue = Queue::create("q:fifo", 3).unwrap();
        for round in 0..5_u8 {
            for i in 0..3 {
                queue
                    .push(Blob::from_bytes(&[round, i], tag).unwrap())
                    .unwrap();
            }
            let back = queue
                .push(Blob::from_bytes(b"much", tag).unwrap())
                .unwrap_err();
            assert_eq!(back.as_bytes(), b"much");
            for i in 0..3 {
                assert_eq!(queue.pop().unwrap().as_bytes(), [round, i]);
            }
            assert!(queue.pop().is_none());
        }
    }
}
