//! The lock word, and locks among threads.

use super::*;

#[test]
fn the_word_names_its_owner() {
    let lock = RawLock::default();
    assert_eq!(lock.owner(), None);
    let guard = lock.lock(1);
    assert_eq!(lock.owner(), Some(current_slot()));
    assert!(lock.try_lock(2).is_none());
    drop(guard);
    assert_eq!(lock.owner(), None);
}

#[test]
fn threads_exclude_each_other() {
    let lock = RawLock::default();
    let shared = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    let _guard = lock.lock(1);
                    let seen = shared.load(Ordering::Relaxed);
                    std::hint::spin_loop();
                    shared.store(seen + 1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(shared.load(Ordering::Relaxed), 80_000);
}

#[test]
fn a_dead_owner_is_relieved() {
    let lock = RawLock {
        word: AtomicU32::new(7 + 1),
    };
    assert!(!lock.release_of(6));
    assert!(lock.release_of(7));
    assert_eq!(lock.owner(), None);
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "upwards only")]
fn taking_locks_downwards_panics_in_debug() {
    let (low, high) = (RawLock::default(), RawLock::default());
    let _high = high.lock(9);
    let _low = low.lock(8);
}
