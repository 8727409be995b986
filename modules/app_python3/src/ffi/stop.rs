//! The end of a script's time.
//!
//! [`stop`] runs in the handler of the budget's signal, at any instruction: it only marks a signal of
//! Python as arrived. Python looks at that mark between instructions, in calls that wait, and in long
//! work of its own, and then calls [`on_interrupt`], which raises `Stopped` and has [`on_event`]
//! raise it again at every event in every frame, so that a script that catches it is stopped again.
//!
//! The signal is SIGINT, the only one that every version can mark, but only inside of Python: what
//! the process does about it is the server's, before and after.

use super::export::CLASSES;
use super::library::{Obj, python};
use super::value::{Ref, make};
use olelo_core::route::value::Val;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the time is up.
static OVER: AtomicBool = AtomicBool::new(false);

/// Whether the route that runs was told to stop.
pub fn is_over() -> bool {
    OVER.load(Ordering::Relaxed)
}

/// Tells Python to stop what it runs.
///
/// # Safety
/// Called in the thread that runs the script, in a signal handler or not, while it runs.
pub unsafe fn stop(_: *mut c_void) {
    OVER.store(true, Ordering::Relaxed);
    // SAFETY: Python documents that this may be called by a signal handler.
    unsafe { (python().f.PyErr_SetInterrupt)() }
}

/// After the outermost call: whatever comes next has time again.
pub fn forget() {
    if OVER.swap(false, Ordering::Relaxed) {
        // SAFETY: this thread has Python's lock.
        unsafe { (python().f.PyEval_SetTrace)(None, ptr::null_mut()) };
    }
}

/// What Python calls once it sees the mark.
///
/// # Safety
/// Called by Python only.
pub unsafe extern "C" fn on_interrupt(_: Obj, _: *const Obj, _: isize) -> Obj {
    if !is_over() {
        // The mark was set as the script ended.
        return make(&Val::Null).map_or(ptr::null_mut(), Ref::give);
    }
    // SAFETY: this is the thread whose script is stopped; it has Python's lock.
    unsafe { (python().f.PyEval_SetTrace)(Some(on_event), ptr::null_mut()) };
    raise_stopped();
    ptr::null_mut()
}

/// Events that happen while code goes on: a call, a line, an instruction. At the others an error is on
/// its way, and one raised there would take its place and its traceback.
const GOES_ON: [c_int; 3] = [0, 2, 7];

unsafe extern "C" fn on_event(_: Obj, _: *mut c_void, what: c_int, _: Obj) -> c_int {
    if !is_over() || !GOES_ON.contains(&what) {
        return 0;
    }
    raise_stopped();
    -1
}

fn raise_stopped() {
    // SAFETY: the class lives as long as the process.
    unsafe { (python().f.PyErr_SetNone)(CLASSES.stopped.load(Ordering::Relaxed)) }
}

/// SIGINT as the process has it, put back when dropped: Python replaces it where a handler of its own
/// is registered.
pub struct KeepSigint(libc::sigaction);

impl KeepSigint {
    /// Remembers it.
    pub fn now() -> KeepSigint {
        // SAFETY: reads into a local of the right type.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(libc::SIGINT, ptr::null(), &mut action);
            KeepSigint(action)
        }
    }
}

impl Drop for KeepSigint {
    fn drop(&mut self) {
        // SAFETY: what was read before.
        unsafe { libc::sigaction(libc::SIGINT, &self.0, ptr::null_mut()) };
    }
}
