//! Forks of a script. `subprocess` works: what it forks becomes another program at once. The child of
//! any other fork ends: it would be a second worker with the same slot and the same message.
//!
//! While a script runs, the server's own guard ends such a child (see `olelo_ipc::budget`); Python's
//! hook does so for threads that go on while the worker waits.
//!
//! What the server forks itself, the canary of a reload that this process was asked for, needs Python:
//! the fork is made with its lock, and Python is told ([`watch`]). Else a thread of the script that
//! held the lock at that moment, and is not there in the child, would hold it for ever.

use super::export::{builtin, is_servers_turn};
use super::interpreter::{Attached, attached};
use super::library::{Obj, python};
use super::value::{Ref, make, make_tuple};
use olelo_core::route::value::Val;
use olelo_ipc::budget::Outside;
use olelo_ipc::signals::exit_now;
use std::cell::RefCell;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a child may live. Python's lock is held meanwhile: no other thread forks.
static STARTING: AtomicBool = AtomicBool::new(false);

/// `may_fork(f)`: the same function, whose fork is allowed.
///
/// # Safety
/// Called by Python only.
pub unsafe extern "C" fn may_fork(_: Obj, args: *const Obj, n: isize) -> Obj {
    // SAFETY: Python gives `n` live objects.
    let f = (n > 0).then(|| unsafe { Ref::more(*args) });
    f.and_then(|f| builtin("fork_exec", fork_exec, Some(&f)))
        .map_or(ptr::null_mut(), Ref::give)
}

unsafe extern "C" fn fork_exec(f: Obj, args: *const Obj, n: isize) -> Obj {
    // SAFETY: Python gives `n` live objects, and as `f` what `may_fork` was given.
    unsafe {
        let args = (0..n as usize).map(|i| Ref::more(*args.add(i)));
        let Some(args) = make_tuple(args) else {
            return ptr::null_mut();
        };
        let _outside = Outside::enter();
        STARTING.store(true, Ordering::Relaxed);
        let result = (python().f.PyObject_CallObject)(f, args.get());
        STARTING.store(false, Ordering::Relaxed);
        result
    }
}

/// What Python calls in the child of a fork.
///
/// # Safety
/// Called by Python only.
pub unsafe extern "C" fn in_forked_child(_: Obj, _: *const Obj, _: isize) -> Obj {
    if !STARTING.load(Ordering::Relaxed) {
        exit_now(127);
    }
    make(&Val::Null).map_or(ptr::null_mut(), Ref::give)
}

thread_local! {
    /// Python's lock, during a fork of the server's own.
    static LOCK: RefCell<Option<Attached>> = const { RefCell::new(None) };
}

/// Prepares the forks of this process; once Python has begun.
pub fn watch() {
    static ONCE: Once = Once::new();
    // SAFETY: the handlers do what Python documents for programs that fork by themselves.
    ONCE.call_once(|| unsafe {
        libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child));
    });
}

unsafe extern "C" fn before() {
    // The other forks are Python's own: it has prepared them.
    if is_servers_turn() {
        let lock = attached();
        // SAFETY: this thread holds the lock.
        unsafe { (python().f.PyOS_BeforeFork)() };
        LOCK.set(Some(lock));
    }
}

unsafe extern "C" fn in_parent() {
    if let Some(lock) = LOCK.take() {
        // SAFETY: as `before` has prepared.
        unsafe { (python().f.PyOS_AfterFork_Parent)() };
        drop(lock);
    }
}

unsafe extern "C" fn in_child() {
    if let Some(lock) = LOCK.take() {
        STARTING.store(true, Ordering::Relaxed);
        // SAFETY: as `before` has prepared.
        unsafe { (python().f.PyOS_AfterFork_Child)() };
        STARTING.store(false, Ordering::Relaxed);
        drop(lock);
    }
}
