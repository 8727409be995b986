//! The ranks this thread holds, checked on each acquisition in debug builds; nothing in others.

use super::Rank;

#[cfg(debug_assertions)]
thread_local! {
    static HELD: std::cell::RefCell<Vec<Rank>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Before a lock of this rank is taken.
#[cfg(debug_assertions)]
pub(super) fn enter(rank: Rank) {
    HELD.with_borrow_mut(|held| {
        if let Some(&highest) = held.iter().max() {
            assert!(
                rank > highest,
                "lock of rank {rank} asked for while one of rank {highest} is held: \
                 locks are taken upwards only, or two processes can wait for each other for ever"
            );
        }
        held.push(rank);
    });
}

/// After a lock of this rank was given back, or could not be had.
#[cfg(debug_assertions)]
pub(super) fn leave(rank: Rank) {
    HELD.with_borrow_mut(|held| {
        if let Some(at) = held.iter().rposition(|&r| r == rank) {
            held.remove(at);
        }
    });
}

#[cfg(not(debug_assertions))]
#[inline]
pub(super) fn enter(_: Rank) {}

#[cfg(not(debug_assertions))]
#[inline]
pub(super) fn leave(_: Rank) {}
