//! Who waits for whom is told while everybody stands still, and main never waits for the dead.

use olelo_mem::{
    BusyLock, Checkup, Table, Tag, Words, check_all, init_for_tests, lock, monotonic_ms,
    repair_all, set_current_slot, slot, take_suspicions,
};
use std::sync::atomic::{AtomicI32, Ordering};
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
    let table = Table::create("watched", 8, Tag::register("watched")).expect("room");
    let holder = child(HOLDER, || {
        let _guard = table.lock(BUCKET);
        // SAFETY: plain system calls on this process.
        unsafe { libc::kill(libc::getpid(), libc::SIGSTOP) };
    });
    until(|| lock::held().iter().any(|held| held.slot == HOLDER));
    PID.store(holder, Ordering::SeqCst);
    watchdog(|holder, waited_ms| {
        HOLDERS
            .lock()
            .expect("not poisoned")
            .push((holder, waited_ms));
        if waited_ms >= 60 {
            signal(libc::SIGKILL);
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

#[test]
fn the_living_child_of_another_keeps_its_lock_and_the_dead_one_does_not() {
    let _alone = alone();
    let table = Table::create("foreign", 8, Tag::register("foreign")).expect("room");
    let words = Words::create("foreign.words", 3).expect("room");
    let [pid, inside, go] = [0, 1, 2].map(|at| words.get(at).expect("a word"));
    let parent = child(WAITER, || {
        let grandchild = fork(HOLDER, || {
            for round in 0..2 {
                until(|| go.load(Ordering::SeqCst) == round);
                let _guard = table.lock(BUCKET);
                inside.store(1, Ordering::SeqCst);
                // SAFETY: plain system calls on this process.
                unsafe { libc::raise(libc::SIGSTOP) };
                inside.store(0, Ordering::SeqCst);
            }
        });
        pid.store(grandchild as u64, Ordering::SeqCst);
        // The parent never takes note of the end.
        loop {
            // SAFETY: a plain system call.
            unsafe { libc::pause() };
        }
    });
    until(|| pid.load(Ordering::SeqCst) != 0 && inside.load(Ordering::SeqCst) == 1);
    PID.store(pid.load(Ordering::SeqCst) as i32, Ordering::SeqCst);
    watchdog(|holder, _| {
        assert_eq!(holder, HOLDER);
        signal(libc::SIGCONT);
    });
    let guard = table.lock(BUCKET);
    assert_eq!(inside.load(Ordering::SeqCst), 0, "it was at work");
    drop(guard);
    go.store(1, Ordering::SeqCst);
    until(|| inside.load(Ordering::SeqCst) == 1);
    watchdog(|_, _| ());
    signal(libc::SIGKILL);
    drop(table.lock(BUCKET));
    assert_eq!(inside.load(Ordering::SeqCst), 1, "it died at work");
    end(parent, libc::SIGKILL);
    assert_eq!(repair_all(HOLDER).faults, []);
}

#[test]
fn a_check_tells_the_busy_from_the_broken_and_waits_for_the_slow() {
    let _alone = alone();
    let table = Table::create("busy", 8, Tag::register("busy")).expect("room");
    let holder = child(HOLDER, || {
        let _guard = table.lock(BUCKET);
        // SAFETY: plain system calls on this process.
        unsafe { libc::raise(libc::SIGSTOP) };
    });
    until(|| lock::held().iter().any(|held| held.slot == HOLDER));
    watchdog(|_, _| ());
    let busy = BusyLock {
        structure: "busy".into(),
        index: BUCKET as usize,
        holder: HOLDER,
    };
    let found = check_all();
    assert_eq!((found.faults, found.busy), (vec![], vec![busy]));
    PID.store(holder, Ordering::SeqCst);
    watchdog(|_, waited_ms| {
        if waited_ms >= 2_000 {
            signal(libc::SIGCONT);
        }
    });
    assert_eq!(check_all(), Checkup::default(), "it was slow, no more");
    end(holder, 0);
}

#[test]
fn a_lock_that_names_main_by_mistake_is_relieved() {
    let _alone = alone();
    let table = Table::create("stray", 8, Tag::register("stray")).expect("room");
    // A thread of its own, since it will never leave the lock's rank.
    let stray = || {
        std::thread::scope(|scope| {
            scope.spawn(|| std::mem::forget(table.lock(BUCKET)));
        });
    };
    take_suspicions();
    watchdog(|holder, _| panic!("slot {holder} is to blame, says main of itself"));
    stray();
    assert!(table.lock(BUCKET).insert(&[b"x"], vec![], &[]).is_ok());
    assert_eq!(take_suspicions(), ["stray"]);
    stray();
    assert_eq!(check_all(), Checkup::default());
    assert_eq!(take_suspicions(), ["stray"]);
    assert_eq!(table.len(), 1);
}

#[test]
fn others_do_not_wait_for_ever_for_main_or_for_nobody() {
    let _alone = alone();
    let table = Table::create("orphans", 8, Tag::register("orphans")).expect("room");
    take_suspicions();
    std::thread::scope(|scope| {
        scope.spawn(|| std::mem::forget(table.lock(BUCKET)));
    });
    let gone = child(HOLDER, || std::mem::forget(table.lock(BUCKET + 1)));
    end(gone, 0);
    let waiter = child(WAITER, || {
        drop(table.lock(BUCKET));
        drop(table.lock(BUCKET + 1));
    });
    for _ in 0..2 {
        until(|| !lock::stuck(50).is_empty());
        assert_eq!(lock::relieve_orphans(50), 1);
        assert_eq!(take_suspicions(), ["orphans"]);
    }
    end(waiter, 0);
    let slow = child(HOLDER, || {
        let _guard = table.lock(BUCKET);
        // SAFETY: plain system calls on this process.
        unsafe { libc::raise(libc::SIGSTOP) };
    });
    until(|| lock::held().iter().any(|held| held.slot == HOLDER));
    let waiter = child(WAITER, || drop(table.lock(BUCKET)));
    until(|| !lock::stuck(50).is_empty());
    assert_eq!(lock::relieve_orphans(50), 0, "its holder lives");
    PID.store(slow, Ordering::SeqCst);
    signal(libc::SIGCONT);
    end(waiter, 0);
    end(slow, 0);
}

/// Whom a watchdog has in view.
static PID: AtomicI32 = AtomicI32::new(0);

fn signal(signal: i32) {
    let pid = PID.load(Ordering::SeqCst);
    assert!(pid > 0, "nobody is in view");
    // SAFETY: a process that this test made and that has not been reaped.
    unsafe { libc::kill(pid, signal) };
}

/// Main's watchdog from now on.
fn watchdog(look: fn(u16, u64)) {
    type Look = fn(u16, u64);
    static LOOK: Mutex<Look> = Mutex::new(|_, _| ());
    *LOOK.lock().expect("not poisoned") = look;
    lock::on_main_waits(|holder, waited_ms| {
        let look = *LOOK.lock().expect("not poisoned");
        look(holder, waited_ms);
    });
}

fn until(mut come: impl FnMut() -> bool) {
    while !come() {
        std::thread::yield_now();
    }
}

fn child(slot: u16, work: impl FnOnce()) -> i32 {
    assert_eq!(slot::current_slot(), slot::MAIN);
    fork(slot, work)
}

fn fork(slot: u16, work: impl FnOnce()) -> i32 {
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
