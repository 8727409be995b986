//! Workers die at random stores while others go on: many more hits per kill than at random times.

extern crate olelo_mem_killable as olelo_mem;

#[path = "../../tests/load/mod.rs"]
mod load;

use load::{Random, Shared};
use olelo_mem::{
    Checkup, check_all, init_for_tests, kill_points, lock, repair_all, set_current_slot,
};
use std::sync::atomic::{AtomicU64, Ordering};

const WORKERS: u16 = 4;
const WATCHDOG_S: u32 = 120;
/// A worker dies at one of so many next points.
const LIFE: u64 = 2_000;

/// How often workers die; `OLELO_CHAOS_KILLS` asks for a longer run.
fn deaths() -> u32 {
    let asked = std::env::var("OLELO_CHAOS_KILLS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(1_500)
}

#[test]
fn workers_may_die_at_any_store_under_load() {
    // SAFETY: a plain system call; the default action of SIGALRM ends a test that hangs.
    unsafe { libc::alarm(WATCHDOG_S + deaths() / 20) };
    init_for_tests();
    let shared = Shared::create();
    let before = Shared::usage();
    let mut pids: Vec<i32> = (1..=WORKERS).map(|slot| spawn(slot, shared, 1)).collect();
    let (mut locks, mut blocks) = (0, 0);
    for death in 0..deaths() {
        let slot = bury(&mut pids);
        let report = repair_all(slot);
        assert_eq!(report.faults, [], "after death {death}");
        locks += report.locks_released.len();
        blocks += report.blocks_freed;
        if death % 50 == 0 {
            assert_eq!(check_all(), Checkup::default(), "after death {death}");
        }
        pids[usize::from(slot) - 1] = spawn(slot, shared, u64::from(death) + 2);
    }
    while pids.iter().any(|&pid| pid != 0) {
        repair_all(bury(&mut pids));
    }
    assert_eq!((check_all(), lock::held()), (Checkup::default(), vec![]));
    shared.clear();
    assert_eq!(Shared::usage(), before, "memory leaked");
    let done = shared
        .operations
        .get(0)
        .map_or(0, |word| word.load(Ordering::Relaxed));
    eprintln!(
        "{} deaths in {done} operations: {locks} locks held, {blocks} reserved blocks freed",
        deaths()
    );
    assert!(locks > deaths() as usize / 4 && blocks > deaths() as usize / 4);
}

/// Waits for the next death, which must be at a kill point; returns its slot.
fn bury(pids: &mut [i32]) -> u16 {
    let mut status = 0;
    // SAFETY: our own children; the status is ours.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, 0) };
    let by_kill = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
    assert!(by_kill, "worker {pid} ended by itself: status {status:#x}");
    let at = pids
        .iter()
        .position(|&known| known == pid)
        .expect("a worker");
    pids[at] = 0;
    at as u16 + 1
}

fn spawn(slot: u16, shared: Shared, seed: u64) -> i32 {
    // SAFETY: the child touches only shared memory, its own stack and the allocator, which glibc's
    // fork leaves usable in the child. It ends by `_exit` or a kill.
    match unsafe { libc::fork() } {
        0 => {
            set_current_slot(slot);
            let result = std::panic::catch_unwind(|| {
                let mut random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ u64::from(slot));
                kill_points::arm(1 + random.below(LIFE));
                loop {
                    shared.step(slot == 1, &mut random);
                    count(&shared);
                }
            });
            // SAFETY: ends this child at once, without the harness' exit handlers.
            unsafe { libc::_exit(if result.is_ok() { 0 } else { 101 }) }
        }
        pid => {
            assert!(pid > 0, "fork failed");
            pid
        }
    }
}

/// One more operation, past the kill points.
fn count(shared: &Shared) {
    let word = shared.operations.get(0).expect("a word");
    // SAFETY: the word is shared memory made of atomics of this size, mapped for ever.
    let word = unsafe { AtomicU64::from_ptr(word.as_ptr()) };
    word.fetch_add(1, Ordering::Relaxed);
}
