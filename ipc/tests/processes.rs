//! Real processes: forking, waking one out of a system call, reaping.
//!
//! Without the test harness, whose threads would not survive a fork.

use olelo_ipc::signals::{
    Fork, MainSignals, child_setup, exit_now, fork, kill_and_reap, reap, wait_until,
};
use olelo_ipc::{process, wake};
use std::time::Duration;

fn main() {
    // Without the harness, which has threads; but test runners ask what there is.
    let args: Vec<String> = std::env::args().collect();
    if args.iter().any(|a| a == "--list") {
        if !args.iter().any(|a| a == "--ignored") {
            println!("processes: test");
        }
        return;
    }
    // SAFETY: a plain system call; its default action ends a test that hangs.
    unsafe { libc::alarm(60) };
    olelo_mem::init_for_tests();
    process::create(8).expect("a process table");
    wake::create(8).expect("eventfds");
    let table = process::table();
    table.reserve(0, false, "main").expect("a slot");
    let slot = table.reserve(1, true, "worker").expect("a slot");
    let signals = MainSignals::new().expect("signalfd");

    let parent = std::process::id() as i32;
    let child = match fork().expect("fork") {
        Fork::Child => {
            signals.unblock();
            if !child_setup(parent) {
                exit_now(1);
            }
            process::acknowledge(slot.slot(), 1);
            // SAFETY: sleeps until any handled signal.
            unsafe { libc::pause() };
            exit_now(7)
        }
        Fork::Parent(pid) => pid,
    };
    slot.set_pid(child);
    // Before the acknowledgement the handler may be missing; and a wake-up that comes just before
    // the call sleeps is lost: keep waking until it came back.
    assert!(wait_until(Duration::from_secs(30), || slot.generation() == 1));
    let mut death = None;
    assert!(wait_until(Duration::from_secs(30), || {
        wake::wake(slot.slot());
        death = reap();
        death.is_some()
    }));
    let death = death.expect("a death");
    assert_eq!(
        (death.pid, death.code, death.signal),
        (child, Some(7), None)
    );

    let child = match fork().expect("fork") {
        Fork::Child => loop {
            // SAFETY: sleeps until a signal ends the process.
            unsafe { libc::pause() };
        },
        Fork::Parent(pid) => pid,
    };
    kill_and_reap(child);
    assert!(reap().is_none());
    println!("processes: ok");
}
