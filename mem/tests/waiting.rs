//! Who waits for whom is told while everybody stands still, and main never waits for the dead.

use olelo_mem::{
    Table, Tag, init_for_tests, lock, monotonic_ms, repair_all, set_current_slot, slot,
};
use std::sync::{Mutex, MutexGuard};

const HOLDER: u16 = 1;
const WAITER: u16 = 2;
const WATCHDOG_S: u32 = 60;
const BUCKET: u32 = 5;

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // SAFETY: a plain system call; the default action of SIGALRM ends a test that hangs.
    unsafe { libc::alarm(WATCHDOG_S) };
    init_for_tests();
    ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[test]
fn the_stuck_are_named_with_whom_they_wait_for() {
    let _alone = alone();
    let table = Table::create("stuck", 8, Tag::register("stuck")).expect("room");
    // The holder never lets go: it stands still, as under a debugger.
    let holder = child(HOLDER, || {
        let _guard = table.lock(BUCKET);
        // SAFETY: plain system calls on this process.
        unsafe { libc::kill(libc::getpid(), libc::SIGSTOP) };
    });
    until(|| lock::held().iter().any(|held| held.slot == HOLDER));
    assert_eq!(lock::stuck(0), [], "nobody waits yet");
    let waiter = child(WAITER, || {
        let _ = table.lock(BUCKET).insert(&[b"at last"], vec![], &[]);
    });
    let began = monotonic_ms();
    until(|| !lock::stuck(100).is_empty());
    assert!(monotonic_ms() - began >= 90, "told too early");
    let stuck = lock::stuck(100).remove(0);
    assert_eq!(
        (stuck.holder_slot, &*stuck.name, stuck.index, stuck.waiter),
        (HOLDER, "stuck", BUCKET as usize, WAITER)
    );
    let held = lock::held().remove(0);
    assert_eq!((held.slot, held.waiters), (HOLDER, vec![WAITER]));
    assert!(held.waited_ms >= 100);
    assert_eq!(lock::stuck(1_000_000), []);

    end(holder, libc::SIGKILL);
    let report = repair_all(HOLDER);
    assert_eq!(report.locks_released, [format!("stuck[{BUCKET}]")]);
    end(waiter, 0);
    assert_eq!(table.len(), 1, "the waiter got the lock");
    assert_eq!((lock::held(), lock::stuck(0)), (vec![], vec![]));
}

#[test]
fn main_takes_the_locks_of_the_dead() {
    let _alone = alone();
    let table = Table::create("inherited", 8, Tag::register("inherited")).expect("room");
    let holder = child(HOLDER, || {
        std::mem::forget(table.lock(BUCKET));
        // SAFETY: as a crash: nothing runs after it.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    });
    until(|| lock::held().iter().any(|held| held.slot == HOLDER));
    // Main was not told of the death yet, nor did it repair anything.
    let inserted = table.lock(BUCKET).insert(&[b"by main"], vec![], &[]);
    assert!(inserted.is_ok());
    end(holder, libc::SIGKILL);
    let report = repair_all(HOLDER);
    assert_eq!(report.locks_released, [format!("inherited[{BUCKET}]")]);
    assert_eq!(table.len(), 1);
}

#[test]
fn main_s_watchdog_runs_while_main_itself_waits() {
    let _alone = alone();
    static HOLDERS: Mutex<Vec<(u16, u64)>> = Mutex::new(Vec::new());
    static PID: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(0);
    let table = Table::create("watched", 8, Tag::register("watched")).expect("room");
    let holder = child(HOLDER, || {
        let _guard = table.lock(BUCKET);
        // SAFETY: plain system calls on this process.
        unsafe { libc::kill(libc::getpid(), libc::SIGSTOP) };
    });
    until(|| lock::held().iter().any(|held| held.slot == HOLDER));
    PID.store(holder, std::sync::atomic::Ordering::SeqCst);
    lock::on_main_waits(|holder, waited_ms| {
        HOLDERS
            .lock()
            .expect("not poisoned")
            .push((holder, waited_ms));
        if waited_ms >= 60 {
            let pid = PID.load(std::sync::atomic::Ordering::SeqCst);
            // SAFETY: our own child.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    });
    drop(table.lock(BUCKET));
    end(holder, libc::SIGKILL);
    repair_all(HOLDER);
    let told = HOLDERS.lock().expect("not poisoned");
    assert!(
        told.iter().all(|&(slot, _)| slot == HOLDER) && told.len() >= 2,
        "{told:?}"
    );
}

fn until(mut come: impl FnMut() -> bool) {
    while !come() {
        std::thread::yield_now();
    }
}

fn child(slot: u16, work: impl FnOnce()) -> i32 {
    assert_eq!(slot::current_slot(), slot::MAIN);
    // SAFETY: the child touches only shared memory, its own stack and the allocator, which glibc's
    // fork leaves usable in the child. It ends by `_exit` or a kill.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: a plain system call.
            unsafe { libc::alarm(WATCHDOG_S) };
            set_current_slot(slot);
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // SAFETY: ends this child at once, without the harness' exit handlers.
            unsafe { libc::_exit(if result.is_ok() { 0 } else { 101 }) }
        }
        pid => {
            assert!(pid > 0, "fork failed");
            pid
        }
    }
}

/// Sends a signal, if any, and waits for the end by it, or without fault.
fn end(pid: i32, signal: i32) {
    let mut status = 0;
    // SAFETY: our own child; the status is ours.
    unsafe {
        libc::kill(pid, signal);
        assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
    }
    if signal == 0 {
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0);
    } else {
        assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == signal);
    }
}
