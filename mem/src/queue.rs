//! A bounded queue of blobs from any process to any process.
//!
//! A ring of handles under one owner-tagged lock. A blob is RESERVED by the pusher until the tail has
//! moved past it, LIVE while it is in the ring, and RESERVED by the popper once the head is about to
//! move past it; after a death under the lock whatever is between head and tail is live again. A
//! blob popped by a process that then dies goes with it.

use crate::arena::{ArenaError, arena};
use crate::block::{Block, State};
use crate::heap::{Blob, Ref};
use crate::lock::{RANK_QUEUE, RawLock};
use crate::registry::{self, Structure};
use crate::slot::current_slot;
use crate::{Fault, RepairReport};
use std::sync::atomic::{AtomicU64, Ordering};

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
        crate::lock::register(name, 1, |_| &shared.lock);
        registry::add(Box::new(queue));
        Ok(queue)
    }

    /// Appends a blob; gives it back when the queue is full.
    pub fn push(&self, blob: Blob) -> Result<(), Blob> {
        let shared = self.inner.shared;
        let _guard = shared.lock.lock(RANK_QUEUE);
        let (head, tail) = self.ends();
        if (tail - head) as usize >= self.inner.ring.len() {
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
        let (head, tail) = self.ends();
        if head == tail {
            return None;
        }
        let block = self.block_at(head)?;
        block.set_state(State::Reserved(current_slot()));
        shared.head.store(head + 1, Ordering::Release);
        Some(Blob::own(block))
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
        arena().find(Ref::from_bits(self.place(at).load(Ordering::Relaxed)))
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
        let (head, tail) = self.ends();
        for at in head..tail {
            if let Some(block) = self.block_at(at)
                && block.state() == State::Reserved(dead)
            {
                block.set_state(State::Live);
            }
        }
        lock.release_of(dead);
        report.locks_released.push(self.inner.name.clone());
    }

    fn check(&self, faults: &mut Vec<Fault>) {
        let _guard = self.inner.shared.lock.lock(RANK_QUEUE);
        let (head, tail) = self.ends();
        let mut fault = |what| {
            faults.push(Fault {
                structure: self.inner.name.clone(),
                what,
            })
        };
        if tail < head || tail - head > self.inner.ring.len() as u64 {
            return fault(format!(
                "head {head} and tail {tail} in a ring of {}",
                self.inner.ring.len()
            ));
        }
        for at in head..tail {
            if self.block_at(at).map(Block::state) != Some(State::Live) {
                fault(format!(
                    "entry {at} is {:?}",
                    self.block_at(at).map(Block::state)
                ));
            }
        }
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
