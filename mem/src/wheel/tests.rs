//! Entries come when they are due, deaths or not.

use super::*;

fn wheel(name: &str) -> Wheel {
    crate::init_for_tests();
    Wheel::create(name, 10, 8).unwrap()
}

#[test]
fn entries_come_when_due_and_not_before() {
    let wheel = wheel("w:due");
    wheel.advance(1_000, 100, |_| ());
    for due in [1_005, 1_020, 1_021, 1_500, 5_000, 900] {
        wheel.insert(due, [due, 0, 0]).unwrap();
    }
    let mut now = 1_000;
    let mut seen = Vec::new();
    while !wheel.is_empty() {
        now += 10;
        wheel.advance(now, 100, |[due, ..]| seen.push((due, now)));
    }
    assert_eq!(seen.len(), 6);
    for (due, at) in seen {
        assert!(
            at >= due && at < due.max(1_001) + 20,
            "due {due}, delivered {at}"
        );
    }
}

#[test]
fn a_stop_longer_than_the_horizon_loses_nothing() {
    let wheel = wheel("w:stop");
    wheel.advance(1_000, 100, |_| ());
    for i in 0..50 {
        wheel.insert(1_000 + i * 7, [i, 0, 0]).unwrap();
    }
    let mut seen = 0;
    while wheel.advance(1_000_000, 7, |_| seen += 1) == 7 {}
    assert_eq!(seen, 50);
}

#[test]
fn a_cut_delivery_is_repeated_and_then_given_up() {
    let wheel = wheel("w:cut");
    wheel.insert(5, [77, 0, 0]).unwrap();
    let mut rounds = 0;
    for now in 1..20_u64 {
        let mut died = false;
        // As if the process died inside the delivery: nothing after the callback runs.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wheel.advance(now * 10, 10, |_| {
                died = true;
                std::panic::resume_unwind(Box::new(()));
            })
        }));
        assert_eq!(result.is_err(), died);
        if died {
            rounds += 1;
            wheel.repair(current_slot(), &mut RepairReport::default());
        }
    }
    assert_eq!(rounds, 1 + MAX_REDELIVERIES);
    assert!(wheel.is_empty());
}

#[test]
fn a_living_holder_of_the_lock_is_no_fault_and_nothing_dangles() {
    const DEAD: u16 = 2;
    const HOLDER: u16 = 3;
    static PID: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(0);
    // SAFETY: a plain system call; the default action of SIGALRM ends a test that hangs.
    unsafe { libc::alarm(60) };
    let wheel = wheel("w:held");
    wheel.insert(5, [88, 0, 0]).unwrap();
    let list = (0..wheel.inner.lists.len()).find(|&list| wheel.blocks_of(list).next().is_some());
    let list = list.unwrap();
    let block = wheel.blocks_of(list).next().unwrap();
    let repair = || {
        // As if it died after the entry appeared and before it was marked.
        block.set_state(State::Reserved(DEAD));
        let word = &wheel.inner.pending[usize::from(DEAD)].push;
        word.store(pack(list, block), Ordering::Release);
        let mut report = RepairReport::default();
        wheel.repair(DEAD, &mut report);
        assert_eq!(block.state(), State::Live, "the sweep would free it");
        assert_eq!(report.faults, []);
        report.busy
    };
    let lock = &wheel.inner.shared.lock;
    // SAFETY: the child touches only shared memory and ends by a kill.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        crate::set_current_slot(HOLDER);
        let _guard = lock.lock(RANK_WHEEL);
        // SAFETY: plain system calls on this process.
        unsafe {
            libc::alarm(60);
            libc::raise(libc::SIGSTOP);
            libc::_exit(0);
        }
    }
    assert!(pid > 0, "fork failed");
    while lock.owner() != Some(HOLDER) {
        std::thread::yield_now();
    }
    let held = BusyLock {
        structure: "w:held".into(),
        index: 0,
        holder: HOLDER,
    };
    assert_eq!(repair(), [held], "nobody ends the holder");
    PID.store(pid, Ordering::SeqCst);
    crate::lock::on_main_waits(|_, waited_ms| {
        let pid = PID.load(Ordering::SeqCst);
        if waited_ms >= 2_000 && pid > 0 {
            // SAFETY: our own child.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    });
    assert_eq!(repair(), [], "the watchdog ended the holder");
    PID.store(0, Ordering::SeqCst);
    // SAFETY: our own child.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    let mut seen = Vec::new();
    wheel.advance(1_000, 100, |[what, ..]| seen.push(what));
    assert_eq!(seen, [88]);
}
