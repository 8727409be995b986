//! Workers are killed at random instructions; nothing is lost, nothing is corrupt, nobody sticks.
//!
//! Forked children use nothing but shared memory and `_exit`, so forking from the test harness is
//! sound. The run is bounded by kills, and every wait by a watchdog.

mod load;

use load::{Random, Shared};
use olelo_mem::{Checkup, arena, check_all, heap, init_for_tests, repair_all, set_current_slot};
use std::sync::atomic::Ordering;

const WORKERS: u16 = 4;
const WATCHDOG_S: u32 = 120;

/// How often to kill; `OLELO_CHAOS_KILLS` asks for a longer run.
fn kills() -> u32 {
    std::env::var("OLELO_CHAOS_KILLS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(400)
}

#[test]
fn workers_may_die_at_any_instruction() {
    // SAFETY: a plain system call; the default action of SIGALRM ends a test that hangs.
    unsafe { libc::alarm(WATCHDOG_S + kills() / 20) };
    init_for_tests();
    let shared = Shared::create();
    let before = Shared::usage();
    let free_before = heap::stats().free;

    let mut pids: Vec<i32> = (1..=WORKERS).map(|slot| spawn(slot, shared, 1)).collect();
    let mut locks_held = 0;
    let mut blocks_freed = 0;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for kill in 0..kills() {
        sleep_us(1_000 + random.below(4_000));
        let victim = random.below(u64::from(WORKERS)) as usize;
        let slot = victim as u16 + 1;
        end(pids[victim]);
        let report = repair_all(slot);
        assert_eq!(report.faults, [], "after kill {kill}");
        locks_held += report.locks_released.len();
        blocks_freed += report.blocks_freed;
        if kill % 20 == 0 {
            assert_eq!(check_all(), Checkup::default(), "after kill {kill}");
            assert_progress(shared, kill);
        }
        pids[victim] = spawn(slot, shared, u64::from(kill) + 2);
    }
    for (victim, pid) in pids.into_iter().enumerate() {
        end(pid);
        repair_all(victim as u16 + 1);
    }

    assert_eq!(check_all(), Checkup::default());
    eprintln!(
        "{} kills, {locks_held} locks held at death, {blocks_freed} reserved blocks freed",
        kills()
    );
    assert!(
        blocks_freed > 0,
        "no kill hit anything: the test proves nothing"
    );
    shared.clear();
    assert_eq!(Shared::usage(), before, "memory leaked");
    let spare = free_before - heap::stats().free;
    assert!(
        spare < arena().size() / 4,
        "{spare} bytes of pages did not come back"
    );
}

/// Every worker did something since the last look, or the look waits until it has.
fn assert_progress(shared: Shared, kill: u32) {
    let count = |slot: u16| {
        shared
            .operations
            .get(usize::from(slot))
            .unwrap()
            .load(Ordering::Relaxed)
    };
    let start: Vec<u64> = (1..=WORKERS).map(count).collect();
    for _ in 0..5_000 {
        if (1..=WORKERS)
            .filter(|&slot| count(slot) > start[usize::from(slot) - 1])
            .count()
            >= usize::from(WORKERS) - 1
        {
            return;
        }
        sleep_us(1_000);
    }
    panic!(
        "workers stand still after kill {kill}; held: {:?}",
        olelo_mem::lock::held()
    );
}

fn spawn(slot: u16, shared: Shared, seed: u64) -> i32 {
    // SAFETY: the child touches only shared memory, its own stack and the allocator through small
    // vectors; glibc's fork leaves its allocator usable in the child. It ends by `_exit` or a kill.
    match unsafe { libc::fork() } {
        0 => {
            set_current_slot(slot);
            let result = std::panic::catch_unwind(|| work(slot, shared, seed));
            // SAFETY: ends this child at once, without the harness' exit handlers.
            unsafe { libc::_exit(if result.is_ok() { 0 } else { 101 }) }
        }
        pid => {
            assert!(pid > 0, "fork failed");
            pid
        }
    }
}

fn end(pid: i32) {
    let mut status = 0;
    // SAFETY: our own child; the status is ours.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
    }
    let by_kill = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
    assert!(by_kill, "worker {pid} ended by itself: status {status:#x}");
}

fn work(slot: u16, shared: Shared, seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ u64::from(slot));
    let operations = shared.operations.get(usize::from(slot)).unwrap();
    let timer = slot == 1;
    loop {
        shared.step(timer, &mut random);
        operations.fetch_add(1, Ordering::Relaxed);
    }
}

fn sleep_us(us: u64) {
    std::thread::sleep(std::time::Duration::from_micros(us));
}
