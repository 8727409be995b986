//! Main after the boot: fork the workers, watch them, end them.
//!
//! Main stays single-threaded, without interpreter, TLS or database, because it forks replacements
//! months later. A death is repaired before anything else (`death`); what lives but does not get on
//! is interrupted or killed (`watchdog`).

use super::gauge::Gauge;
use super::job::{self, Job};
use super::last_resort::{self, Series};
use super::watchdog::Watchdog;
use super::{death, quarantine, rank};
use crate::server::Server;
use crate::timer::{monotonic_ms, wall_s};
use nix::sys::signal::Signal;
use olelo_ipc::process::{self, table};
use olelo_ipc::signals::{self, Death, Fork, MainSignals};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// The slot of the process that reloads upon SIGHUP.
static RELOADER: AtomicU16 = AtomicU16::new(0);
/// Its description; it is listed only while it runs.
pub(crate) const RELOADER_NAME: &str = "reloader";

/// Milliseconds between looks at processes that don't get on.
const LOOK: u64 = 250;

/// Forks all processes, calls `ready` once they run, and supervises until told to end. Returns the
/// exit code.
pub fn run(server: &'static Server, ready: impl FnOnce()) -> Result<i32, String> {
    let signals = MainSignals::new().map_err(|e| format!("can't take signals: {e}"))?;
    signals::ignore_pipe();
    let main = std::process::id() as i32;
    if let Some(s) = table().get(0) {
        s.start(main);
    }
    let jobs = job::plan(server)?;
    let reloader = job::reserve(rank::NOSIP, false, RELOADER_NAME)?;
    RELOADER.store(reloader, Ordering::Relaxed);
    let mut s = Supervisor {
        server,
        signals,
        main,
        jobs,
        watchdog: Watchdog::default(),
        series: Series::default(),
        gauge: Gauge::default(),
        next_look: 0,
    };
    s.start_what_is_due();
    s.wait_for_engines();
    crate::notice!(
        "core",
        "olelo {} serves with {} processes",
        crate::server::VERSION,
        s.jobs.len() + 1
    );
    ready();
    olelo_mem::lock::on_main_waits(super::watchdog::main_waits);
    while s.turn() {}
    end(server, &s.signals);
    Ok(0)
}

/// Main's state.
struct Supervisor {
    server: &'static Server,
    signals: MainSignals,
    main: i32,
    jobs: Vec<Job>,
    watchdog: Watchdog,
    series: Series,
    gauge: Gauge,
    /// When main looks for processes that don't get on.
    next_look: u64,
}

impl Supervisor {
    /// Waits for what happens next and deals with it. False: the server is to end.
    fn turn(&mut self) -> bool {
        match self.signals.wait(self.until_next()) {
            Some(Signal::SIGTERM | Signal::SIGINT) => return false,
            Some(Signal::SIGHUP) => self.hang_up(),
            Some(Signal::SIGUSR1) => log_usage(),
            _ => {}
        }
        while let Some(d) = signals::reap() {
            self.died(&d);
        }
        self.bury_canary();
        self.start_what_is_due();
        let now = monotonic_ms();
        if now >= self.next_look {
            self.next_look = now + LOOK;
            self.watchdog.look(self.server, &self.jobs, now);
            self.gauge.look(now);
            let suspicious = olelo_mem::take_suspicions();
            if !suspicious.is_empty() {
                crate::error!(
                    "core",
                    "a process failed inside while it held a lock of {}; looking at shared memory",
                    suspicious.join(", ")
                );
                self.examine();
            }
            quarantine::forget_old(wall_s());
        }
        true
    }

    /// How long nothing is to be done.
    fn until_next(&self) -> Duration {
        let now = monotonic_ms();
        let due = self.jobs.iter().filter_map(|j| j.due_in(now)).min();
        let look = self.next_look.saturating_sub(now);
        Duration::from_millis(due.unwrap_or(LOOK).min(look))
    }

    fn start_what_is_due(&mut self) {
        let now = monotonic_ms();
        for j in &mut self.jobs {
            if j.due_in(now) == Some(0) {
                j.start(self.server, &self.signals, self.main);
            }
        }
    }

    fn died(&mut self, d: &Death) {
        let job = self.jobs.iter_mut().find(|j| j.pid() == Some(d.pid));
        let Some(job) = job else {
            let reloader = table().get(RELOADER.load(Ordering::Relaxed));
            if let Some(slot) = reloader.filter(|s| s.pid() == d.pid) {
                let verdict = death::clean_up(self.server, slot.slot());
                slot.set_pid(0);
                if !verdict.faults.is_empty() {
                    self.examine();
                }
            }
            return;
        };
        let by_us = self.watchdog.reason(d.pid);
        let verdict = death::bury(self.server, job, d, by_us);
        let series = verdict.own_fault && self.series.died(monotonic_ms());
        if series || !verdict.faults.is_empty() {
            self.examine();
        }
    }

    /// Repairs what a canary left that is gone.
    fn bury_canary(&mut self) {
        let left = crate::route::canary::gone();
        if let Some(slot) = left {
            let report = death::clean_up(self.server, slot.slot());
            slot.set_pid(0);
            if !report.faults.is_empty() {
                self.examine();
            }
        }
    }

    /// Looks at all of shared memory, and begins anew with what is broken.
    fn examine(&mut self) {
        let zones = last_resort::broken_zones();
        if !zones.is_empty() {
            last_resort::restart_all(self.server, &mut self.jobs, &zones);
            self.watchdog = Watchdog::default();
        }
    }

    /// Workers build their engines as they start; being ready means that all have.
    fn wait_for_engines(&self) {
        let wanted = crate::route::generation::number();
        let ready = || {
            self.jobs
                .iter()
                .filter_map(Job::place)
                .filter(|s| s.routes())
                .all(|s| s.generation_state(wanted) != process::Ack::Pending)
        };
        signals::wait_until(Duration::from_secs(10), ready);
    }

    /// SIGHUP: reload the routing. Main keeps clear of files and canaries, a child does the work, in
    /// a slot of its own: memory and locks are owned by slots.
    fn hang_up(&self) {
        let Some(slot) = table().get(RELOADER.load(Ordering::Relaxed)) else {
            return;
        };
        if slot.pid() != 0 {
            crate::notice!("core", "a reload is under way already");
            return;
        }
        match signals::fork() {
            Ok(Fork::Child) => {
                olelo_mem::slot::set_current_slot(slot.slot());
                signals::child_setup(self.main);
                self.signals.unblock();
                signals::exit_now(reload());
            }
            Ok(Fork::Parent(pid)) => slot.start(pid),
            Err(e) => crate::error!("core", "can't fork to reload: {e}"),
        }
    }
}

/// Reloads the routing and says how it went; returns the exit code.
fn reload() -> i32 {
    match crate::route::generation::reload(None) {
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

/// Kills the process that reloads, if there is one.
pub(super) fn kill_reloader() {
    let slot = table().get(RELOADER.load(Ordering::Relaxed));
    if let Some(s) = slot {
        signals::kill(s.pid(), Signal::SIGKILL);
        s.set_pid(0);
    }
}

/// Ends all processes: SIGTERM, patience, SIGKILL. Who asks again has no more patience.
fn end(server: &Server, signals: &MainSignals) {
    crate::notice!("core", "ending");
    crate::route::canary::kill();
    let mut asked_again = false;
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
                // One that is killed while it ends must not hold up the others by its locks.
                olelo_mem::repair_all(s.slot());
                s.set_pid(0);
            }
        }
        let signal = signals.wait(Duration::ZERO);
        asked_again |= matches!(signal, Some(Signal::SIGTERM | Signal::SIGINT));
        pids().is_empty() || asked_again
    });
    if !gone || asked_again {
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

/// The processes of all slots but main's and the canary's, which is no child of main.
fn pids() -> Vec<i32> {
    let children = table().iter().skip(1);
    children
        .filter(|s| s.description() != crate::route::canary::NAME)
        .map(|s| s.pid())
        .filter(|p| *p > 1)
        .collect()
}
