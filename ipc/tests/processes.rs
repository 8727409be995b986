//! Real processes: forking, waking one out of a system call, reaping, and the death of a parent.
//!
//! Without the test harness, whose threads `os::fork` rightly refuses.

use olelo_ipc::os::{
    End, Fork, die_with_parent, exit_now, fork, kill, pidfd_open, set_process_name, wait_any,
};
use olelo_ipc::signals::{MainSignals, reset_child};
use olelo_ipc::{ProcessKind, ProcessTable, wake};

fn main() {
    // SAFETY: a plain system call; its default action ends a test that hangs.
    unsafe { libc::alarm(60) };
    olelo_mem::init_for_tests();
    let table = ProcessTable::create(8).expect("a process table");
    let main_slot = table.reserve(ProcessKind::Main, 0, "main").expect("a slot");
    let slot = table
        .reserve(ProcessKind::Udp, 1, "worker")
        .expect("a slot");
    table.set_pid(main_slot, std::process::id() as i32);
    let mut signals = MainSignals::block().expect("signalfd");
    wake::install().expect("a handler");

    let parent = std::process::id() as i32;
    let child = match fork().expect("fork") {
        Fork::Child => worker(table, slot, parent),
        Fork::Parent(pid) => pid,
    };
    table.set_pid(slot, child);
    assert!(pidfd_open(child).is_ok());
    // A wake-up before the call sleeps is lost: keep waking until it tells it came back.
    let end = loop {
        let _ = wake::interrupt(child);
        if let Some(end) = wait_any().expect("wait") {
            break end;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    };
    assert_eq!(end, (child, End::Exited(7)));
    assert_eq!(
        table.get(slot).map(|row| row.last_error),
        Some("woken".to_owned())
    );
    let came = signals.take().expect("a signal");
    assert_eq!(came.map(|(signal, _)| signal as i32), Some(libc::SIGCHLD));

    let child = match fork().expect("fork") {
        Fork::Child => loop {
            // SAFETY: sleeps until a signal ends the process.
            unsafe { libc::pause() };
        },
        Fork::Parent(pid) => pid,
    };
    kill(child, libc::SIGKILL).expect("kill");
    let end = loop {
        if let Some((_, end)) = wait_any().expect("wait") {
            break end;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    };
    assert_eq!(end, End::Killed(libc::SIGKILL, false));
    println!("processes: ok");
}

fn worker(table: ProcessTable, slot: u16, parent: i32) -> ! {
    let prepared = reset_child().and_then(|()| die_with_parent(parent));
    if prepared.is_err() {
        exit_now(1);
    }
    set_process_name("olelo-test");
    // SAFETY: sleeps until any handled signal.
    unsafe { libc::pause() };
    table.set_error(slot, "woken");
    exit_now(7)
}
