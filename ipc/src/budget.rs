//! The time that an interpreter may use for one message, and what keeps its other abuses in its own
//! process.
//!
//! A timer of the thread's CPU time ticks while the worker computes: an idle worker is never
//! interrupted, and other threads of the process are not on the message's account. The handler only
//! compares. Once the time is up, or main's watchdog interrupts the process, it tells every
//! interpreter that runs to stop, and tells it again at every tick. What goes on all the same (a
//! native function that never ends, a loop where the interpreter asks nobody) ends its process
//! [`GRACE_US`] later, by a signal whose name tells operators why.
//!
//! One message at a time runs in a process. Interpreters nest (a Lua script calls JavaScript): all
//! are on the account of the outermost.

use crate::signals::interrupted;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{
    SaFlags, SigAction, SigEvent, SigHandler, SigSet, SigevNotify, Signal, raise, sigaction,
};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;
use std::cell::RefCell;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicI64, AtomicPtr, AtomicU64, AtomicUsize, Ordering,
};
use std::time::Duration;

/// How often the CPU time is looked at, microseconds.
const TICK_US: i64 = 10_000;
/// CPU time that a script may go on for after it was told to stop; then its process ends.
const GRACE_US: i64 = 1_000_000;
/// Interpreters within interpreters that are told to stop; those further in are not told themselves.
const DEEPEST: usize = 32;
/// Nesting in native code that interpreters don't count (callbacks of sorting and matching) needs room
/// until they do.
const STACK: u64 = 96 << 20;

/// Tells an interpreter to stop. It runs in a signal handler, on the thread that runs the
/// interpreter, and is given what [`Budget::start`] was.
pub type Stop = unsafe fn(*mut c_void);

struct Entry {
    /// A [`Stop`] as a pointer; null for none.
    stop: AtomicPtr<c_void>,
    data: AtomicPtr<c_void>,
}

static ENTRIES: [Entry; DEEPEST] = [const {
    Entry {
        stop: AtomicPtr::new(ptr::null_mut()),
        data: AtomicPtr::new(ptr::null_mut()),
    }
}; DEEPEST];
static DEPTH: AtomicUsize = AtomicUsize::new(0);
static TICKS: AtomicU64 = AtomicU64::new(0);
static TICKS_AT_START: AtomicU64 = AtomicU64::new(0);
static TICKS_ALLOWED: AtomicI64 = AtomicI64::new(i64::MAX);
static STOPPED: AtomicBool = AtomicBool::new(false);
/// The thread that runs interpreters; 0 before [`arm`].
static THREAD: AtomicI32 = AtomicI32::new(0);
/// Whether the server's own code runs, called by a script: what that forks is its own business.
static OUTSIDE: AtomicBool = AtomicBool::new(false);

/// The time of one call into an interpreter; ends when dropped.
#[must_use]
pub struct Budget {
    outside: bool,
    /// It belongs to the thread that runs the interpreter.
    _thread: PhantomData<*mut ()>,
}

impl Budget {
    /// Begins a call that may use this much CPU time, 0 for any. Within another call only `stop` is
    /// added: the outer call's time goes on.
    ///
    /// # Safety
    /// `stop(data)` must be sound in a signal handler on this thread until the budget is dropped.
    /// Budgets must be dropped in reverse order.
    pub unsafe fn start(ms: i64, stop: Stop, data: *mut c_void) -> Budget {
        let depth = DEPTH.load(Ordering::Relaxed);
        if depth == 0 {
            STOPPED.store(false, Ordering::Relaxed);
            TICKS_AT_START.store(TICKS.load(Ordering::Relaxed), Ordering::Relaxed);
            let allowed = match ms {
                ..=0 => i64::MAX,
                ms => (ms.saturating_mul(1000) / TICK_US).max(1),
            };
            TICKS_ALLOWED.store(allowed, Ordering::Relaxed);
        }
        if let Some(e) = ENTRIES.get(depth) {
            e.data.store(data, Ordering::Relaxed);
            e.stop.store(stop as *mut c_void, Ordering::Relaxed);
        }
        DEPTH.store(depth + 1, Ordering::Release);
        Budget {
            outside: OUTSIDE.swap(false, Ordering::Relaxed),
            _thread: PhantomData,
        }
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        if DEPTH.fetch_sub(1, Ordering::Release) == 1 {
            STOPPED.store(false, Ordering::Relaxed);
        }
        OUTSIDE.store(self.outside, Ordering::Relaxed);
    }
}

/// Whether the interpreters that run were told to stop: for those that ask.
#[inline]
pub fn is_over() -> bool {
    STOPPED.load(Ordering::Relaxed)
}

/// What to tell operators of a call that was stopped.
pub fn complaint(ms: i64) -> String {
    if interrupted() {
        "it took longer than watchdog_time".into()
    } else {
        format!("it used more than {ms} ms of CPU (time_limit)")
    }
}

/// Code of the server that a script called; ends when dropped.
pub struct Outside(bool);

impl Outside {
    /// Begins it.
    #[inline]
    pub fn enter() -> Outside {
        Outside(OUTSIDE.swap(true, Ordering::Relaxed))
    }
}

impl Drop for Outside {
    #[inline]
    fn drop(&mut self) {
        OUTSIDE.store(self.0, Ordering::Relaxed);
    }
}

thread_local! {
    /// This process' timer, with its pid: a child has none after a fork.
    static TIMER: RefCell<Option<(u32, Timer)>> = const { RefCell::new(None) };
}

/// Prepares this process for interpreters: starts the ticks, makes forks of scripts harmless. Call it
/// on the thread that will run them; more than once does no harm.
pub fn arm() {
    let me = std::process::id();
    TIMER.with_borrow_mut(|t| {
        if t.as_ref().is_some_and(|(pid, _)| *pid == me) {
            return;
        }
        // An inherited one names a timer of the parent: never delete it here.
        std::mem::forget(t.take());
        THREAD.store(nix::unistd::gettid().as_raw(), Ordering::Relaxed);
        guard();
        *t = ticks().map(|timer| (me, timer)).ok();
    });
}

fn ticks() -> nix::Result<Timer> {
    // SA_RESTART keeps the interrupted system calls of the worker going.
    let action = SigAction::new(
        SigHandler::Handler(on_tick),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    // SAFETY: the handler touches atomics and calls `Stop` functions, whose callers promised that
    // they may be called there.
    unsafe { sigaction(Signal::SIGPROF, &action) }?;
    let to_this_thread = SigEvent::new(SigevNotify::SigevThreadId {
        signal: Signal::SIGPROF,
        thread_id: nix::unistd::gettid().as_raw(),
        si_value: 0,
    });
    let mut timer = Timer::new(ClockId::CLOCK_THREAD_CPUTIME_ID, to_this_thread)?;
    let every = Duration::from_micros(TICK_US as u64);
    timer.set(
        Expiration::Interval(every.into()),
        TimerSetTimeFlags::empty(),
    )?;
    Ok(timer)
}

extern "C" fn on_tick(_: i32) {
    let used = TICKS.fetch_add(1, Ordering::Relaxed) + 1 - TICKS_AT_START.load(Ordering::Relaxed);
    let used = used as i64;
    if DEPTH.load(Ordering::Acquire) == 0 {
        return;
    }
    let allowed = TICKS_ALLOWED.load(Ordering::Relaxed);
    if used > allowed || interrupted() {
        stop_all();
        if used > allowed.saturating_add(GRACE_US / TICK_US) {
            end();
        }
    }
}

/// Main has interrupted this process; called by that signal's handler, for scripts that wait rather
/// than compute. The kernel may hand the signal to any thread; interpreters are told on their own.
pub(crate) fn on_interrupt() {
    if DEPTH.load(Ordering::Acquire) == 0 {
        return;
    }
    let thread = THREAD.load(Ordering::Relaxed);
    if thread == 0 || thread == nix::unistd::gettid().as_raw() {
        stop_all();
    } else {
        // SAFETY: sends a signal to a thread of this process; numbers only.
        unsafe {
            libc::syscall(
                libc::SYS_tgkill,
                libc::getpid(),
                thread,
                crate::signals::INTERRUPT as i32,
            )
        };
    }
}

fn stop_all() {
    STOPPED.store(true, Ordering::Relaxed);
    let depth = DEPTH.load(Ordering::Acquire);
    for e in ENTRIES.iter().take(depth) {
        let stop = e.stop.load(Ordering::Relaxed);
        if stop.is_null() {
            continue;
        }
        // SAFETY: `start` stored a `Stop` here, together with its data; its caller promised that
        // this call is sound until the budget ends, which `depth` says it has not.
        unsafe {
            let stop: Stop = std::mem::transmute(stop);
            stop(e.data.load(Ordering::Relaxed));
        }
    }
}

/// Ends the process by the signal for too much CPU time.
fn end() {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action installs no code; both calls may be made in a handler.
    let _ = unsafe { sigaction(Signal::SIGXCPU, &default) };
    let _ = raise(Signal::SIGXCPU);
}

/// Makes two abuses of a script harmless, once per process and its children: nesting that the
/// interpreter doesn't count, and a fork, whose child would be a second worker with the same slot and
/// the same message.
fn guard() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handler only reads atomics and may end its process.
        unsafe { libc::pthread_atfork(None, None, Some(in_forked_child)) };
        if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_STACK)
            && soft < STACK
        {
            let _ = setrlimit(Resource::RLIMIT_STACK, STACK.min(hard), hard);
        }
    });
}

unsafe extern "C" fn in_forked_child() {
    if DEPTH.load(Ordering::Acquire) > 0 && !OUTSIDE.load(Ordering::Relaxed) {
        crate::signals::exit_now(127);
    }
}
