//! The table after a death, under a check, and after garbage: each bucket by itself, under its lock.
//!
//! Links and headers are followed only as far as they lead to sound records of the table, each once.

use super::{Bucket, Table, child_blocks};
use crate::arena::arena;
use crate::atomic::Ordering;
use crate::block::{Block, State};
use crate::heap::Ref;
use crate::registry::{Structure, Walk};
use crate::{Fault, RepairReport};
use std::collections::HashSet;

impl Structure for Table {
    fn name(&self) -> &str {
        &self.inner.name
    }

    fn repair(&self, dead: u16, report: &mut RepairReport) {
        for number in 0..self.inner.buckets.len() {
            self.repair_bucket(number, dead, report);
        }
    }

    fn check(&self, walk: &mut Walk) {
        for (number, bucket) in self.inner.buckets.iter().enumerate() {
            let empty = bucket.head.load(Ordering::Relaxed) == 0
                && bucket.count.load(Ordering::Relaxed) == 0;
            if empty && bucket.lock.owner().is_none() {
                continue;
            }
            let name = &self.inner.name;
            if let Some(_guard) = walk.lock(&bucket.lock, self.inner.rank, name, number)
                && let Err(what) = self.check_bucket(bucket)
            {
                walk.fault(name, format!("bucket {number}: {what}"));
            }
        }
    }

    fn forget(&self) -> String {
        for bucket in self.inner.buckets {
            bucket.lock.wipe();
            bucket.head.store(0, Ordering::Release);
            bucket.count.store(0, Ordering::Relaxed);
        }
        format!("{}: empty", self.inner.name)
    }

    fn reach(&self, visit: &mut dyn FnMut(Block)) {
        for bucket in self.inner.buckets {
            for record in self.chain(bucket) {
                visit(record);
                child_blocks(record).for_each(&mut *visit);
            }
        }
    }
}

impl Table {
    pub(super) fn repair_bucket(&self, number: usize, dead: u16, report: &mut RepairReport) {
        let bucket = &self.inner.buckets[number];
        if bucket.lock.owner() != Some(dead) {
            return;
        }
        let mut count = 0;
        for block in self.chain(bucket) {
            revive(block, dead);
            child_blocks(block).for_each(|child| revive(child, dead));
            count += 1;
        }
        bucket.count.store(count, Ordering::Relaxed);
        if let Err(what) = self.check_bucket(bucket) {
            // Not to be trusted: what can no longer be followed is lost, the table goes on.
            report.faults.push(Fault {
                structure: self.inner.name.clone(),
                what: format!("bucket {number}: {what}; emptied"),
            });
            let mut lost = HashSet::new();
            for block in self.chain(bucket) {
                lost.extend(child_blocks(block).chain([block]));
            }
            bucket.head.store(0, Ordering::Release);
            bucket.count.store(0, Ordering::Relaxed);
            for block in lost {
                if block.state() == State::Live {
                    block.set_state(State::Reserved(dead));
                }
            }
        }
        bucket.lock.release_of(dead);
        report
            .locks_released
            .push(format!("{}[{number}]", self.inner.name));
    }

    /// What is wrong in a bucket, under its lock.
    fn check_bucket(&self, bucket: &'static Bucket) -> Result<(), String> {
        let last_id = bucket.last_id.load(Ordering::Relaxed);
        let counted = bucket.count.load(Ordering::Relaxed);
        let mut count = 0;
        let mut link = bucket.head.load(Ordering::Relaxed);
        while link != 0 {
            let block = arena()
                .sound_record(link)
                .ok_or_else(|| format!("a link leads to {link}, where no record is"))?;
            let (state, tag) = (block.state(), block.tag());
            if state != State::Live || tag != self.inner.tag {
                return Err(format!("record {link} is {state:?} of {}", tag.name()));
            }
            if block.id().load(Ordering::Relaxed) == 0 {
                return Err(format!("record {link} has no id (the last is {last_id})"));
            }
            for (at, bits) in block.children().iter().enumerate() {
                let name = Ref::from_bits(bits.load(Ordering::Relaxed));
                let child = arena().find(name).and_then(|child| arena().sound(child.0));
                if child.map(Block::state) != Some(State::Live) {
                    let state = child.map(Block::state);
                    return Err(format!("child {at} of record {link} is {state:?}"));
                }
            }
            count += 1;
            if count > counted {
                return Err(format!(
                    "{counted} records are counted, but more are linked"
                ));
            }
            link = block.link().load(Ordering::Relaxed);
        }
        if count < counted {
            return Err(format!("{counted} records are counted, {count} are linked"));
        }
        Ok(())
    }

    /// The records of a bucket as far as the links can be followed, each once.
    fn chain(&self, bucket: &'static Bucket) -> impl Iterator<Item = Block> + '_ {
        let mut link = bucket.head.load(Ordering::Acquire);
        let mut seen = HashSet::new();
        std::iter::from_fn(move || {
            let block = arena().sound_record(link)?;
            if block.tag() != self.inner.tag || !seen.insert(link) {
                return None;
            }
            link = block.link().load(Ordering::Relaxed);
            Some(block)
        })
    }
}

/// What a dead slot had marked as its own but is reachable is live.
fn revive(block: Block, dead: u16) {
    if block.state() == State::Reserved(dead) {
        block.set_state(State::Live);
    }
}
