//! All structures ever created, so that a repair, a check or a reset misses none.
//!
//! The list is process-private: main creates structures before the first fork, and is the one that
//! repairs. There are three remedies, each for what the one before cannot make good:
//!
//! 1. [`repair_all`] after each death, online: nothing published is lost.
//! 2. [`reset`] of a structure that is broken beyond repair, with everybody else stopped: it is empty
//!    afterwards, the others are as before.
//! 3. [`rebuild`] where the heap itself is broken: everything is empty but plain words and counters,
//!    and the current generation of each published blob.
//!
//! Checks and remedies are total: whatever bytes they find, they come to an end without touching
//! anything outside of the arena.

use crate::arena::arena;
use crate::block::{Block, State};
use crate::lock::{LockGuard, PATIENCE_MS, Rank, RawLock};
use crate::slot::{MAIN, current_slot};
use crate::wheel::monotonic_ms;
use crate::{BusyLock, Checkup, Fault, RepairReport};
use std::collections::HashSet;
use std::sync::Mutex;

/// A structure in shared memory that can be checked, repaired after a death, and emptied.
pub(crate) trait Structure: Send + Sync {
    /// The name given at creation.
    fn name(&self) -> &str;

    /// Makes whatever `dead` left half-done whole: marks what is reachable as live, then releases
    /// the locks `dead` held. What it had reserved and is not reachable is swept afterwards.
    fn repair(&self, dead: u16, report: &mut RepairReport);

    /// Adds each broken invariant to the checkup.
    fn check(&self, walk: &mut Walk);

    /// Empties it whatever it holds, locks included, without looking at its blocks. Keeps what it can
    /// vouch for, and says what.
    fn forget(&self) -> String;

    /// Visits each block that hangs in it, as far as it can be followed.
    fn reach(&self, visit: &mut dyn FnMut(Block));

    /// The bytes that survive a [`rebuild`], with their generation: of published blobs only.
    fn save(&self) -> Option<(u32, Vec<u8>)> {
        None
    }

    /// Puts back what [`Structure::save`] gave.
    fn restore(&self, _generation: u32, _bytes: &[u8]) -> bool {
        false
    }
}

/// A walk over all structures that looks for faults, and what it may wait.
pub(crate) struct Walk {
    found: Checkup,
    /// When all waits together have taken long enough: from then on each is short.
    hurry_at: u64,
}

impl Walk {
    pub fn new() -> Walk {
        Walk {
            found: Checkup::default(),
            hurry_at: monotonic_ms() + PATIENCE_IN_ALL_MS,
        }
    }

    /// Adds a fault.
    pub fn fault(&mut self, structure: &str, what: String) {
        if self.found.faults.len() < MAX_FAULTS {
            let structure = structure.to_owned();
            self.found.faults.push(Fault { structure, what });
        }
    }

    /// Locks what is to be looked at. Where somebody keeps the lock it is busy, which is no fault;
    /// where the word names this process itself it is garbage.
    pub fn lock<'a>(
        &mut self,
        lock: &'a RawLock,
        rank: Rank,
        structure: &str,
        index: usize,
    ) -> Option<LockGuard<'a>> {
        let now = monotonic_ms();
        let deadline = (now + PATIENCE_MS).min(self.hurry_at.max(now + SHORT_PATIENCE_MS));
        match lock.lock_until(rank, deadline) {
            Ok(guard) => return Some(guard),
            Err(holder) if holder == current_slot() => {
                let what = format!("lock {index} names slot {holder}, which does not hold it");
                self.fault(structure, what);
            }
            Err(holder) if self.found.busy.len() < MAX_FAULTS => self.found.busy.push(BusyLock {
                structure: structure.to_owned(),
                index,
                holder,
            }),
            Err(_) => {}
        }
        None
    }

    /// All that was found.
    pub fn end(self) -> Checkup {
        self.found
    }
}

/// Repairs after the death of the process that was `dead_slot`. By main, before the slot is given
/// to another process; safe while all others go on working, or die.
pub fn repair_all(dead_slot: u16) -> RepairReport {
    let arena = arena();
    let mut report = RepairReport {
        slot: dead_slot,
        ..RepairReport::default()
    };
    // From the leaves up: what others need most is released first.
    if arena.header.tags_lock.release_of(dead_slot) {
        report.locks_released.push("tags".into());
    }
    if arena.repair_pages(dead_slot) {
        report.locks_released.push("pages".into());
    }
    for _ in 0..arena.repair_heaps(dead_slot) {
        report.locks_released.push("heap".into());
    }
    for structure in all() {
        structure.repair(dead_slot, &mut report);
    }
    if let Some(line) = crate::slot::line(dead_slot) {
        line.bury();
    }
    (report.blocks_freed, report.bytes_freed) = arena.sweep(dead_slot);
    let mut early = EARLY
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    early.retain_mut(|done| {
        if done.slot == dead_slot {
            report.locks_released.append(&mut done.locks_released);
            report.faults.append(&mut done.faults);
            report.busy.append(&mut done.busy);
        }
        done.slot != dead_slot
    });
    report
}

/// Checks every invariant of every structure, online: locks are taken one at a time, briefly. Ends
/// whatever the arena holds. A lock that a living process keeps for seconds is told apart from faults:
/// its holder may be killed, and the rest be checked again. In main the watchdog of
/// [`on_main_waits`](crate::lock::on_main_waits) does so within the walk.
pub fn check_all() -> Checkup {
    let mut walk = Walk::new();
    arena().check_pages(&mut walk);
    arena().check_heaps(&mut walk);
    for structure in all() {
        structure.check(&mut walk);
    }
    walk.end()
}

/// Empties the structures of these names whatever they hold, locks included, and frees what then
/// hangs nowhere. Of a published blob the current generation is kept if it is sound. One line per
/// structure says what became of it.
///
/// By main, while no other process is inside shared memory nor will go on inside it: they are dead
/// and [repaired](repair_all), or not yet forked.
pub fn reset(names: &[&str]) -> Vec<String> {
    let wanted = |structure: &&&dyn Structure| names.contains(&structure.name());
    let told = all()
        .iter()
        .filter(wanted)
        .map(|structure| structure.forget())
        .collect();
    arena().relist_all();
    free_unreachable();
    told
}

/// The last resort: makes the whole heap anew, whatever the arena holds. Everything is empty afterwards
/// but plain words and counters, and the current generation of each published blob, if it is sound. One
/// line per structure says what became of it. By main, as [`reset`].
pub fn rebuild() -> Vec<String> {
    let structures = all();
    let saved: Vec<_> = structures
        .iter()
        .map(|structure| structure.save())
        .collect();
    let mut told: Vec<String> = structures
        .iter()
        .map(|structure| structure.forget())
        .collect();
    crate::lock::wipe_all();
    arena().rebuild_heap();
    for ((structure, saved), told) in structures.iter().zip(saved).zip(&mut told) {
        structure.forget();
        if let Some((generation, bytes)) = saved
            && !structure.restore(generation, &bytes)
        {
            *told = format!(
                "{}: generation {generation} lost, no room",
                structure.name()
            );
        }
    }
    told
}

/// The names of all structures, in the order of creation.
pub fn structures() -> Vec<String> {
    all()
        .iter()
        .map(|structure| structure.name().to_owned())
        .collect()
}

pub(crate) fn add(structure: impl Structure + 'static) {
    STRUCTURES
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
        .push(Box::leak(Box::new(structure)));
}

/// Repairs what one lock of a dead holder protects, ahead of the rest: see [`crate::lock`].
pub(crate) fn repair_early(dead: u16, repair: impl FnOnce(&mut RepairReport)) {
    let mut report = RepairReport {
        slot: dead,
        ..RepairReport::default()
    };
    repair(&mut report);
    if dead == MAIN {
        // Nobody buries main; the lock is suspicious already.
        return;
    }
    EARLY
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
        .push(report);
}

/// Frees what is taken but hangs in no structure and was not let go under its name. Only while everybody else stands still.
fn free_unreachable() {
    let arena = arena();
    let mut reached = HashSet::new();
    for structure in all() {
        structure.reach(&mut |block| {
            reached.insert(block);
        });
    }
    let mine = State::Reserved(current_slot());
    let mut lost = Vec::new();
    arena.for_each_block(|block, state| {
        let kept = state == mine || state == State::Loose;
        let kept = kept && arena.sound(block.0).is_some();
        if !kept && !reached.contains(&block) {
            lost.push(block);
        }
    });
    for block in lost {
        block.set_state(mine);
        arena.free(block);
    }
}

fn all() -> Vec<&'static dyn Structure> {
    STRUCTURES
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
        .clone()
}

static STRUCTURES: Mutex<Vec<&'static dyn Structure>> = Mutex::new(Vec::new());
/// What was repaired before its slot's turn came.
static EARLY: Mutex<Vec<RepairReport>> = Mutex::new(Vec::new());

/// How long a walk waits for locks in all before it gets short with each.
const PATIENCE_IN_ALL_MS: u64 = 20_000;
/// Enough for who is at work under a lock on a busy machine.
const SHORT_PATIENCE_MS: u64 = 500;
const MAX_FAULTS: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_in_a_hurry_still_waits_for_who_is_at_work() {
        // SAFETY: a plain system call; the default action of SIGALRM ends a test that hangs.
        unsafe { libc::alarm(60) };
        let lock = RawLock::default();
        let taken = std::sync::Barrier::new(2);
        let mut walk = Walk::new();
        walk.hurry_at = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _guard = lock.lock(1);
                taken.wait();
                while !lock.has_waiters() {
                    std::thread::yield_now();
                }
            });
            taken.wait();
            assert!(walk.lock(&lock, 1, "lock", 0).is_some());
        });
        assert_eq!(walk.end(), Checkup::default());
    }
}
