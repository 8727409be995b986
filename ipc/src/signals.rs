//! Fork, signals and what surrounds them: the few calls that need `unsafe` or care about order.
//!
//! Main is single-threaded and sees its signals through a `signalfd`; a child sets flags from plain
//! handlers and finds its blocking call interrupted.

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Which side of a fork this is.
pub enum Fork {
    /// The new process.
    Child,
    /// The old one, with the child's pid.
    Parent(i32),
}

/// Forks. Only for a single-threaded process: another thread's locks would stay locked in the child.
pub fn fork() -> io::Result<Fork> {
    // SAFETY: callers are main, the control processes and tests, all of them single-threaded as the
    // rule of this function asks, so no lock of the allocator or of stdio can be held by a thread
    // that the child does not have.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Child => Ok(Fork::Child),
        nix::unistd::ForkResult::Parent { child } => Ok(Fork::Parent(child.as_raw())),
    }
}

/// Ends the process now: no destructors, no exit handlers of the parent's libraries.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes any integer and does not return; nothing in shared memory relies on
    // destructors, by the design of the arena.
    unsafe { libc::_exit(code) }
}

/// Kills a child that is no longer needed and collects it.
pub fn kill_and_reap(pid: i32) {
    if pid <= 1 {
        return;
    }
    let pid = Pid::from_raw(pid);
    let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
    let _ = waitpid(pid, None);
}

/// Sends a signal to a process of ours.
pub fn kill(pid: i32, signal: Signal) {
    if pid > 1 {
        let _ = nix::sys::signal::kill(Pid::from_raw(pid), signal);
    }
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    /// Its pid.
    pub pid: i32,
    /// Exit code, where it ended by itself.
    pub code: Option<i32>,
    /// Signal, where one killed it.
    pub signal: Option<i32>,
}

/// Collects one dead child, if there is one.
pub fn reap() -> Option<Death> {
    loop {
        return match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(p, code)) => Some(Death {
                pid: p.as_raw(),
                code: Some(code),
                signal: None,
            }),
            Ok(WaitStatus::Signaled(p, s, _)) => Some(Death {
                pid: p.as_raw(),
                code: None,
                signal: Some(s as i32),
            }),
            Ok(WaitStatus::StillAlive) | Err(_) => None,
            Ok(_) => continue,
        };
    }
}

/// Main's signals, to be waited for.
pub struct MainSignals {
    fd: SignalFd,
    mask: SigSet,
}

impl MainSignals {
    /// Blocks the signals that main handles and opens the descriptor.
    pub fn new() -> io::Result<MainSignals> {
        let mut mask = SigSet::empty();
        for s in [
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGHUP,
            Signal::SIGCHLD,
            Signal::SIGUSR1,
            Signal::SIGUSR2,
        ] {
            mask.add(s);
        }
        mask.thread_block()?;
        let fd = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(MainSignals { fd, mask })
    }

    /// Waits for a signal at most this long.
    pub fn wait(&self, most: Duration) -> Option<Signal> {
        use std::os::fd::AsFd;
        let ms = u16::try_from(most.as_millis()).unwrap_or(u16::MAX);
        let mut fds = [nix::poll::PollFd::new(
            self.fd.as_fd(),
            nix::poll::PollFlags::POLLIN,
        )];
        let _ = nix::poll::poll(&mut fds, ms);
        let got = self.fd.read_signal().ok().flatten()?;
        Signal::try_from(got.ssi_signo as i32).ok()
    }

    /// In a child: lets the signals through again.
    pub fn unblock(&self) {
        let _ = self.mask.thread_unblock();
    }
}

static STOPPING: AtomicBool = AtomicBool::new(false);

extern "C" fn on_term(_: i32) {
    STOPPING.store(true, Ordering::Relaxed);
}

extern "C" fn on_wake(_: i32) {}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_interrupt(_: i32) {
    INTERRUPTED.store(true, Ordering::Relaxed);
    crate::budget::on_interrupt();
}

/// Whether main has asked this process to stop what it is doing. An engine asks while it runs.
#[inline]
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Something new begins: what was asked before does not concern it.
#[inline]
pub fn forget_interrupt() {
    INTERRUPTED.store(false, Ordering::Relaxed);
}

/// Whether this child was told to end.
pub fn stopping() -> bool {
    STOPPING.load(Ordering::Relaxed)
}

/// Sets a child up: default dispositions, a flag for SIGTERM, a wake-up that interrupts blocking
/// calls, and death with its parent. False: the parent died before this could be arranged.
pub fn child_setup(parent: i32) -> bool {
    STOPPING.store(false, Ordering::Relaxed);
    let set = |s: Signal, h: SigHandler| {
        // No SA_RESTART: a blocking receive must return so that the loop sees the flag.
        let action = SigAction::new(h, SaFlags::empty(), SigSet::empty());
        // SAFETY: the handlers store to an atomic or do nothing, which is async-signal-safe.
        let _ = unsafe { sigaction(s, &action) };
    };
    set(Signal::SIGTERM, SigHandler::Handler(on_term));
    set(WAKE, SigHandler::Handler(on_wake));
    // The terminal's Ctrl-C reaches all; main decides what follows.
    set(Signal::SIGINT, SigHandler::SigIgn);
    set(Signal::SIGHUP, SigHandler::SigIgn);
    set(Signal::SIGUSR1, SigHandler::SigIgn);
    set(Signal::SIGPIPE, SigHandler::SigIgn);
    set(INTERRUPT, SigHandler::Handler(on_interrupt));
    set(Signal::SIGCHLD, SigHandler::SigDfl);
    die_with(parent)
}

/// In a child: ends with its parent. False: the parent is dead already.
pub fn die_with(parent: i32) -> bool {
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    nix::unistd::getppid().as_raw() == parent
}

/// Whether there is a process of this pid.
pub fn is_there(pid: i32) -> bool {
    nix::sys::signal::kill(Pid::from_raw(pid), None) != Err(nix::errno::Errno::ESRCH)
}

/// In main: a peer that goes away must not end it.
pub fn ignore_pipe() {
    let action = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: ignoring a signal installs no code.
    let _ = unsafe { sigaction(Signal::SIGPIPE, &action) };
}

/// The signal that wakes a worker.
pub const WAKE: Signal = Signal::SIGUSR2;

/// The signal that asks a worker's engine to stop what it is doing; see [`interrupted`].
pub const INTERRUPT: Signal = Signal::SIGVTALRM;

/// Names the process as `ps` and `top` show it.
pub fn set_name(name: &str) {
    if let Ok(c) = std::ffi::CString::new(name.chars().take(15).collect::<String>()) {
        let _ = nix::sys::prctl::set_name(&c);
    }
}

/// Goes to the background: the caller's process ends when `ready` says so, with its code. Returns in
/// the new process the end of a pipe to write that code to.
pub fn daemonise() -> io::Result<std::os::unix::net::UnixStream> {
    use std::io::Read;
    let (mut ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    match fork()? {
        Fork::Parent(_) => {
            drop(theirs);
            let _ = ours.set_read_timeout(Some(Duration::from_secs(60)));
            let mut code = [1u8];
            let _ = ours.read_exact(&mut code);
            exit_now(i32::from(code[0]));
        }
        Fork::Child => {
            drop(ours);
            nix::unistd::setsid()?;
            if let Fork::Parent(_) = fork()? {
                exit_now(0);
            }
            Ok(theirs)
        }
    }
}

/// Points the standard streams at /dev/null.
pub fn detach_streams(keep_stderr: bool) -> io::Result<()> {
    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    if !keep_stderr {
        nix::unistd::dup2_stderr(&null)?;
    }
    Ok(())
}

/// Raises the limit of open files to `wanted`, as far as allowed.
pub fn raise_open_files(wanted: u64) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < wanted
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard);
    }
}

/// Waits until `done` or the time is over; for shutdown. True if done.
pub fn wait_until(most: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + most;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
