//! Promises: what a process has published and not yet carried out.
//!
//! A decision is published first and carried out after, so a process that dies in between leaves a
//! transaction that says "done". Over UDP the peers' retransmissions, and our own, make up for that.
//! Nobody makes up for a reply to a caller on TCP, a leg over TCP, or the end of the last leg, whose
//! consequence is still to be drawn. So a process notes the transactions it is at work on in shared
//! words of its own slot, before it publishes, and takes the note back when all is sent. Main finds
//! the notes of the dead and hands them to the `timer` process ([`crate::orphan`]); a process that
//! panics over a message, and lives on, hands over its own.
//!
//! A note costs a few plain stores to a cache line that no other process writes.

use crate::orphan;
use olelo_core::mem::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use olelo_core::mem::words::Words;
use olelo_core::mem::{NodeId, arena, current_slot};
use std::sync::OnceLock;

/// Transactions that one process can be at work on, one within the other: a cache line.
const MOST: usize = 8;

static NOTES: OnceLock<Words> = OnceLock::new();

/// Makes the words; main, before the forks.
pub fn create() -> Result<(), String> {
    let slots = usize::from(arena().max_slots());
    let words = Words::create("tm.promises", slots * MOST).map_err(|e| e.to_string())?;
    let _ = NOTES.set(words);
    Ok(())
}

/// A note that holds until it is dropped.
#[must_use]
pub struct Promise(Option<&'static AtomicU64>);

/// Notes that this process is at work on a transaction.
pub fn promise(id: NodeId) -> Promise {
    let bits = id.to_bits();
    let mut free = None;
    for word in of_slot(current_slot()) {
        match word.load(Relaxed) {
            0 => free = free.or(Some(word)),
            noted if noted == bits => return Promise(None),
            _ => {}
        }
    }
    if let Some(word) = free {
        word.store(bits, SeqCst);
    }
    Promise(free)
}

impl Drop for Promise {
    fn drop(&mut self) {
        let Some(word) = self.0 else { return };
        if std::thread::panicking() {
            orphan::adopt(NodeId::from_bits(word.load(Relaxed)), current_slot());
        }
        word.store(0, SeqCst);
    }
}

/// What the process that was in `slot` has left undone; the notes are taken back.
pub fn left_by(slot: u16) -> Vec<NodeId> {
    of_slot(slot)
        .map(|w| w.swap(0, SeqCst))
        .filter(|bits| *bits != 0)
        .map(NodeId::from_bits)
        .collect()
}

fn of_slot(slot: u16) -> impl Iterator<Item = &'static AtomicU64> {
    let first = usize::from(slot) * MOST;
    let words = NOTES.get();
    (first..first + MOST).filter_map(move |i| words?.get(i))
}
