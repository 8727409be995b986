//! The CPU time of a script, and what keeps its other abuses in its own process.
//!
//! One interval timer of CPU time per worker ticks while the worker computes, so an idle worker is
//! never interrupted. The handler only compares; once the time is up it asks Lua to call [`stop`] at
//! its next instruction, and at every one after that, so that a script that catches the error is
//! stopped again. Where Lua runs no hook (a pattern that a C function tries for ever, a loop in a
//! finaliser or in the handler of `xpcall`), the worker ends itself a little later.

use mlua::ffi::{self, lua_State};
use std::ffi::c_int;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU64, Ordering};

/// How often the script's CPU time is looked at.
const TICK_US: i64 = 10_000;
/// CPU time that a script may go on for after it was told to stop; then its worker ends.
const GRACE_US: i64 = 1_000_000;

static RUNNING: AtomicPtr<lua_State> = AtomicPtr::new(ptr::null_mut());
static TICKS: AtomicU64 = AtomicU64::new(0);
static TICKS_AT_START: AtomicU64 = AtomicU64::new(0);
static TICKS_ALLOWED: AtomicI64 = AtomicI64::new(0);
pub(super) static STOPPED: AtomicU64 = AtomicU64::new(0);

/// The time of one message; ends when dropped.
pub(super) struct Budget(*mut lua_State);

impl Budget {
    /// Begins it.
    pub(super) fn start(l: *mut lua_State, ms: i64) -> Budget {
        STOPPED.store(0, Ordering::Relaxed);
        TICKS_AT_START.store(TICKS.load(Ordering::Relaxed), Ordering::Relaxed);
        TICKS_ALLOWED.store((ms * 1000 / TICK_US).max(1), Ordering::Relaxed);
        RUNNING.store(l, Ordering::Release);
        Budget(l)
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        RUNNING.store(ptr::null_mut(), Ordering::Release);
        if STOPPED.swap(0, Ordering::Relaxed) != 0 {
            // SAFETY: the state is live and not running; removing the hook is always allowed.
            unsafe { ffi::lua_sethook(self.0, None, 0, 0) };
        }
    }
}

extern "C" fn on_tick(_: c_int) {
    let used = TICKS.fetch_add(1, Ordering::Relaxed) + 1 - TICKS_AT_START.load(Ordering::Relaxed);
    let l = RUNNING.load(Ordering::Acquire);
    let over = used as i64 > TICKS_ALLOWED.load(Ordering::Relaxed);
    if !l.is_null() && (over || olelo_ipc::signals::interrupted()) {
        STOPPED.store(1, Ordering::Relaxed);
        if used as i64 > TICKS_ALLOWED.load(Ordering::Relaxed) + GRACE_US / TICK_US {
            // SAFETY: both calls may be made in a signal handler; the default action ends the
            // process, and the signal's name tells operators why.
            unsafe {
                libc::signal(libc::SIGXCPU, libc::SIG_DFL);
                libc::raise(libc::SIGXCPU);
            }
        }
        // SAFETY: `lua_sethook` is what Lua's own programs call from a signal handler; the state is
        // the one running in this very thread, which is the only one of the process.
        unsafe { ffi::lua_sethook(l, Some(stop), ffi::LUA_MASKCOUNT, 1) };
    }
}

unsafe extern "C-unwind" fn stop(l: *mut lua_State, _: *mut ffi::lua_Debug) {
    // SAFETY: a hook may raise an error; nothing on this frame needs dropping.
    unsafe { ffi::luaL_error(l, c"stopped: the script used up its time".as_ptr()) };
}

/// Starts the ticks of this process. Timers are not inherited over a fork, and each process builds
/// its states after it.
pub(super) fn arm_timer() {
    let every = libc::timeval {
        tv_sec: 0,
        tv_usec: TICK_US,
    };
    let timer = libc::itimerval {
        it_interval: every,
        it_value: every,
    };
    // SAFETY: the handler touches atomics and calls `lua_sethook` only; SA_RESTART keeps the
    // interrupted system calls of the worker going.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_tick as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigemptyset(&mut action.sa_mask);
        libc::sigaction(libc::SIGPROF, &action, ptr::null_mut());
        libc::setitimer(libc::ITIMER_PROF, &timer, ptr::null_mut());
    }
}

/// Whether an export runs: what that forks is its own business, as the canary of a reload.
pub(super) static IN_EXPORT: AtomicBool = AtomicBool::new(false);

/// Callbacks of C functions (`gsub`) nest on the native stack until Lua's own is full.
const STACK: libc::rlim_t = 96 << 20;

/// Makes two abuses of a script harmless, once per process: nesting that Lua doesn't count, and a
/// fork, whose child would be a second worker with the same slot and the same message.
pub(super) fn guard() {
    static ONCE: Once = Once::new();
    // SAFETY: the handler only reads atomics and may end its process; the limit is read into and
    // written from a local of the right type.
    ONCE.call_once(|| unsafe {
        libc::pthread_atfork(None, None, Some(in_forked_child));
        let mut stack: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_STACK, &mut stack) == 0 && stack.rlim_cur < STACK {
            stack.rlim_cur = STACK.min(stack.rlim_max);
            libc::setrlimit(libc::RLIMIT_STACK, &stack);
        }
    });
}

unsafe extern "C" fn in_forked_child() {
    if !RUNNING.load(Ordering::Acquire).is_null() && !IN_EXPORT.load(Ordering::Relaxed) {
        // SAFETY: `_exit` takes any integer and does not return.
        unsafe { libc::_exit(127) }
    }
}
