//! All structures ever created, so that a repair or a check misses none.
//!
//! The list is process-private: main creates structures before the first fork, and is the one that
//! repairs.

use crate::arena::arena;
use crate::{Fault, RepairReport};
use std::sync::Mutex;

/// A structure in shared memory that can be checked, and repaired after a death.
pub(crate) trait Structure: Send {
    /// The name given at creation.
    fn name(&self) -> &str;

    /// Makes whatever `dead` left half-done whole: marks what is reachable as live, then releases
    /// the locks `dead` held. What it had reserved and is not reachable is swept afterwards.
    fn repair(&self, dead: u16, report: &mut RepairReport);

    /// Adds each broken invariant to `faults`.
    fn check(&self, faults: &mut Vec<Fault>);
}

/// Repairs after the death of the process that was `dead_slot`. By main, before the slot is given
/// to another process; safe while all others go on working.
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
    let structures = STRUCTURES
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    for structure in structures.iter() {
        structure.repair(dead_slot, &mut report);
    }
    drop(structures);
    crate::published::clear_epoch(dead_slot);
    (report.blocks_freed, report.bytes_freed) = arena.sweep(dead_slot);
    report
}

/// Checks every invariant of every structure, online: locks are taken one at a time, briefly.
pub fn check_all() -> Vec<Fault> {
    let mut faults = Vec::new();
    arena().check_pages(&mut faults);
    arena().check_heaps(&mut faults);
    let structures = STRUCTURES
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    for structure in structures.iter() {
        structure.check(&mut faults);
    }
    faults
}

/// The names of all structures, in the order of creation.
pub fn structures() -> Vec<String> {
    let structures = STRUCTURES
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    structures
        .iter()
        .map(|structure| structure.name().to_owned())
        .collect()
}

pub(crate) fn add(structure: Box<dyn Structure>) {
    STRUCTURES
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
        .push(structure);
}

static STRUCTURES: Mutex<Vec<Box<dyn Structure>>> = Mutex::new(Vec::new());
