//! Main after the boot: fork the workers, watch them, end them.
//!
//! Main stays single-threaded, without interpreter, TLS or database, because it forks replacements
//! months later. A death is repaired before anything else: `mem` first, under the dead worker's own
//! locks, then what modules kept in its name; then the slot gets a new process.

use super::boot::tcp_workers;
use super::{rank, worker};
use crate::net::{Proto, tcp, udp};
use crate::server::Server;
use crate::timer::{Pace, monotonic_ms};
use nix::sys::signal::Signal;
use olelo_ipc::process::{self, table};
use olelo_ipc::signals::{self, Death, Fork, MainSignals};
use std::sync::RwLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// What runs in a slot.
#[derive(Clone)]
struct Job {
    slot: u16,
    rank: i32,
    run: Run,
    name: String,
    /// Monotonic milliseconds before which it is not started again.
    not_before: u64,
    /// Deaths in a row, each soon after its start.
    quick_deaths: u32,
    started: u64,
}

#[derive(Clone)]
enum Run {
    Udp(usize),
    Tcp,
    Timer(Pace),
    Extra(fn(usize), usize),
}

/// A worker that died, for `core.crashes`.
#[derive(Debug, Clone)]
pub struct Crash {
    /// When: seconds of the wall clock.
    pub at: i64,
    /// Slot.
    pub slot: u16,
    /// What ran there.
    pub name: String,
    /// Signal or exit code.
    pub how: String,
    /// Beginning of the message it worked on, if it worked on one.
    pub message: Option<String>,
}

/// The slot of the process that reloads upon SIGHUP.
static RELOADER: AtomicU16 = AtomicU16::new(0);
/// Its description; it is listed only while it runs.
pub(crate) const RELOADER_NAME: &str = "reloader";

static TCP_SLOTS: RwLock<Vec<u16>> = RwLock::new(Vec::new());

/// Reserves the slots of the TCP workers and makes what they share; main, during the boot.
pub(super) fn plan_tcp(server: &Server) -> Result<(), String> {
    let mut slots = Vec::new();
    for i in 0..tcp_workers(server) {
        let name = format!("tcp receiver (generic) child={i}");
        slots.push(
            table()
                .reserve(rank::TCP - i as i32, true, &name)
                .ok_or("the process table is full")?
                .slot(),
        );
    }
    tcp::create(&slots)?;
    udp::create_turns(server.sockets.0.len())?;
    if let Ok(mut t) = TCP_SLOTS.write() {
        *t = slots;
    }
    Ok(())
}

/// Forks all processes, calls `ready` once they run, and supervises until told to end. Returns the
/// exit code.
pub fn run(server: &'static Server, ready: impl FnOnce()) -> Result<i32, String> {
    let signals = MainSignals::new().map_err(|e| format!("can't take signals: {e}"))?;
    signals::ignore_pipe();
    let me = std::process::id() as i32;
    if let Some(s) = table().get(0) {
        s.start(me);
    }
    let mut jobs = plan(server)?;
    for j in &mut jobs {
        start(server, j, &signals, me)?;
    }
    wait_for_engines(&jobs);
    crate::notice!(
        "core",
        "olelo {} serves with {} processes",
        crate::server::VERSION,
        jobs.len() + 1
    );
    ready();
    loop {
        match signals.wait(Duration::from_millis(500)) {
            Some(Signal::SIGTERM | Signal::SIGINT) => break,
            Some(Signal::SIGHUP) => hang_up(&signals, me),
            Some(Signal::SIGUSR1) => log_usage(),
            _ => {}
        }
        while let Some(d) = signals::reap() {
            bury(server, &mut jobs, d);
        }
        let now = monotonic_ms();
        for j in &mut jobs {
            let dead = table().get(j.slot).is_some_and(|s| s.pid() == 0);
            if dead && now >= j.not_before {
                start(server, j, &signals, me)?;
            }
        }
    }
    end(server);
    Ok(0)
}

/// The processes of this configuration, each with its slot.
fn plan(server: &'static Server) -> Result<Vec<Job>, String> {
    let mut jobs = Vec::new();
    let mut add = |slot: u16, rank: i32, name: String, run: Run| {
        jobs.push(Job {
            slot,
            rank,
            run,
            name,
            not_before: 0,
            quick_deaths: 0,
            started: 0,
        });
    };
    let take = |rank: i32, routes: bool, name: &str| {
        table()
            .reserve(rank, routes, name)
            .map(|s| s.slot())
            .ok_or_else(|| "the process table is full".to_string())
    };
    let mut udp_rank = 1;
    for (i, l) in server
        .sockets
        .0
        .iter()
        .enumerate()
        .filter(|(_, l)| l.proto == Proto::Udp)
    {
        for child in 0..l.workers.unwrap_or(server.config.children) {
            let name = format!(
                "udp receiver child={child} sock={}:{}",
                l.host,
                l.addr.port()
            );
            add(take(udp_rank, true, &name)?, udp_rank, name, Run::Udp(i));
            udp_rank += 1;
        }
    }
    for (pace, name) in [(Pace::Slow, "slow timer"), (Pace::Fast, "timer")] {
        add(
            take(rank::TIMER, true, name)?,
            rank::TIMER,
            name.into(),
            Run::Timer(pace),
        );
    }
    for m in server.registry.modules() {
        for e in m.processes.map(|f| f()).unwrap_or_default() {
            let slot = take(rank::NOSIP, e.routes, &e.description)?;
            add(
                slot,
                rank::NOSIP,
                e.description.clone(),
                Run::Extra(e.run, e.index),
            );
        }
    }
    RELOADER.store(take(rank::NOSIP, false, RELOADER_NAME)?, Ordering::Relaxed);
    let tcp_slots = TCP_SLOTS.read().map(|t| t.clone()).unwrap_or_default();
    for (i, slot) in tcp_slots.into_iter().enumerate() {
        add(
            slot,
            rank::TCP - i as i32,
            format!("tcp receiver (generic) child={i}"),
            Run::Tcp,
        );
    }
    Ok(jobs)
}

fn start(
    server: &'static Server,
    job: &mut Job,
    signals: &MainSignals,
    me: i32,
) -> Result<(), String> {
    let slot = table().get(job.slot).ok_or("a job without a slot")?;
    job.started = monotonic_ms();
    match signals::fork() {
        Ok(Fork::Parent(pid)) => {
            slot.start(pid);
            Ok(())
        }
        Ok(Fork::Child) => {
            signals.unblock();
            olelo_mem::slot::set_current_slot(job.slot);
            if !signals::child_setup(me) {
                signals::exit_now(1);
            }
            slot.set_pid(std::process::id() as i32);
            signals::set_name(&format!("olelo/{}", job.slot));
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match job.run {
                Run::Udp(socket) => worker::udp(server, job.slot, job.rank, socket),
                Run::Tcp => worker::tcp(server, job.slot, job.rank),
                Run::Timer(pace) => worker::timer(server, job.slot, job.rank, pace),
                Run::Extra(run, index) => worker::extra(server, job.slot, job.rank, run, index),
            }))
            .unwrap_or(70);
            signals::exit_now(code);
        }
        Err(e) => {
            crate::crit!(
                "core",
                "can't fork {}: {e}; tried again in a second",
                job.name
            );
            job.not_before = monotonic_ms() + 1000;
            Ok(())
        }
    }
}

/// Repairs what a dead process left behind and decides when it is replaced.
fn bury(server: &Server, jobs: &mut [Job], d: Death) {
    let Some(job) = jobs
        .iter_mut()
        .find(|j| table().get(j.slot).is_some_and(|s| s.pid() == d.pid))
    else {
        let reloader = table().get(RELOADER.load(Ordering::Relaxed));
        if let Some(slot) = reloader.filter(|s| s.pid() == d.pid) {
            olelo_mem::repair_all(slot.slot());
            slot.set_pid(0);
        }
        return;
    };
    let Some(slot) = table().get(job.slot) else {
        return;
    };
    let report = olelo_mem::repair_all(job.slot);
    tcp::worker_died(job.slot);
    udp::worker_died(job.slot);
    for m in server.registry.modules() {
        if let Some(f) = m.worker_died {
            f(job.slot);
        }
    }
    let now = monotonic_ms();
    let message = (slot.busy_since() != 0).then(|| slot.summary());
    let how = match (d.signal, d.code) {
        (Some(s), _) => {
            Signal::try_from(s).map_or_else(|_| format!("signal {s}"), |s| s.as_str().to_string())
        }
        (None, code) => format!("exit code {}", code.unwrap_or(-1)),
    };
    slot.died();
    // The first replacement is at once; one that dies young waits longer each time, up to 5 s.
    job.quick_deaths = if now < job.started + 1000 {
        job.quick_deaths + 1
    } else {
        0
    };
    let wait = if job.quick_deaths == 0 {
        0
    } else {
        10u64 << job.quick_deaths.min(9)
    };
    job.not_before = now + wait.min(5000);
    crate::error!(
        "core",
        "process {} \"{}\" pid {} ended by {how}{}; repaired ({report:?}), replaced in {wait} ms",
        job.slot,
        job.name,
        d.pid,
        message
            .as_deref()
            .map(|m| format!(", it worked on: {}", m.lines().next().unwrap_or("")))
            .unwrap_or_default()
    );
    // Kept in shared memory so that control processes can show it.
    crate::rpc::core_cmds::remember_crash(&Crash {
        at: crate::timer::wall_s(),
        slot: job.slot,
        name: job.name.clone(),
        how,
        message,
    });
}

/// Workers build their engines as they start; being ready means that all have.
fn wait_for_engines(jobs: &[Job]) {
    let wanted = crate::route::generation::number();
    let ready = || {
        jobs.iter()
            .filter_map(|j| table().get(j.slot))
            .filter(|s| s.routes())
            .all(|s| s.generation_state(wanted) != process::Ack::Pending)
    };
    signals::wait_until(Duration::from_secs(10), ready);
}

/// SIGHUP: reload the routing. Main keeps clear of files and canaries, a child does the work, in a
/// slot of its own: memory and locks are owned by slots.
fn hang_up(signals: &MainSignals, me: i32) {
    let Some(slot) = table().get(RELOADER.load(Ordering::Relaxed)) else {
        return;
    };
    if slot.pid() != 0 {
        crate::notice!("core", "a reload is under way already");
        return;
    }
    match signals::fork() {
        Ok(Fork::Child) => {
            signals.unblock();
            olelo_mem::slot::set_current_slot(slot.slot());
            signals::child_setup(me);
            let code = match crate::route::generation::reload(None) {
                Ok(r) => {
                    crate::notice!(
                        "core",
                        "reloaded: generation {} serves, {} workers",
                        r.generation,
                        r.workers
                    );
                    0
                }
                Err(e) => {
                    crate::error!("core", "not reloaded: {e}");
                    1
                }
            };
            signals::exit_now(code);
        }
        Ok(Fork::Parent(pid)) => slot.start(pid),
        Err(e) => crate::error!("core", "can't fork to reload: {e}"),
    }
}

fn log_usage() {
    for u in olelo_mem::heap::usage() {
        crate::notice!(
            "core",
            "shared memory: {} holds {} bytes in {} blocks",
            u.name,
            u.bytes,
            u.blocks
        );
    }
}

/// How long processes may take to end: `exit_timeout` where it is set (0: as long as they need), else
/// what an operator waits for gladly.
fn patience(server: &Server) -> Duration {
    let config = &server.config;
    match config.text("exit_timeout").map(|_| config.exit_timeout) {
        None => Duration::from_secs(4),
        Some(0) => Duration::from_secs(365 * 24 * 3600),
        Some(s) => Duration::from_secs(s),
    }
}

fn end(server: &Server) {
    crate::notice!("core", "ending");
    let pids = || {
        table()
            .iter()
            .skip(1)
            .map(|s| s.pid())
            .filter(|p| *p != 0)
            .collect::<Vec<_>>()
    };
    for p in pids() {
        signals::kill(p, Signal::SIGTERM);
    }
    let gone = signals::wait_until(patience(server), || {
        for p in pids() {
            // A worker may have checked the flag just before it went to sleep.
            signals::kill(p, signals::WAKE);
        }
        while let Some(d) = signals::reap() {
            if let Some(s) = table().iter().find(|s| s.pid() == d.pid) {
                s.set_pid(0);
            }
        }
        pids().is_empty()
    });
    if !gone {
        for p in pids() {
            crate::warn!("core", "process {p} does not end; killed");
            signals::kill_and_reap(p);
        }
    }
    for m in server.registry.modules() {
        if let Some(f) = m.destroy {
            f();
        }
    }
}
