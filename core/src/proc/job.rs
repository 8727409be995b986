//! What runs in a slot of the process table: planned once, started as often as its process dies.

use super::{rank, worker};
use crate::net::{Proto, tcp, udp};
use crate::server::Server;
use crate::timer::{Pace, monotonic_ms};
use olelo_ipc::process::{Slot, table};
use olelo_ipc::signals::{self, Death, Fork, MainSignals};
use std::collections::VecDeque;
use std::sync::RwLock;

/// A process to be kept running.
pub(super) struct Job {
    pub slot: u16,
    pub name: String,
    pub run: Run,
    rank: i32,
    /// Its process. Main trusts this, not the table: that is shared memory, which may be broken.
    child: Option<i32>,
    /// Monotonic milliseconds before which it is not started again.
    not_before: u64,
    /// Deaths in a row before it had begun to serve.
    stillborn: u32,
    /// When it died by its own fault lately.
    faults: VecDeque<u64>,
}

/// What kind of process.
#[derive(Clone, Copy)]
pub(super) enum Run {
    /// Receives on this UDP socket.
    Udp(usize),
    /// Serves TCP connections.
    Tcp,
    /// Runs the jobs of one pace.
    Timer(Pace),
    /// A module's own.
    Extra(fn(usize), usize),
}

/// Deaths by its own fault within [`FAULT_SPAN`] after which a process waits to be replaced.
const FAULTS: usize = 5;
/// Milliseconds.
const FAULT_SPAN: u64 = 10_000;
/// The longest that a process waits to be replaced, milliseconds.
const LONGEST_WAIT: u64 = 5_000;

static TCP_SLOTS: RwLock<Vec<u16>> = RwLock::new(Vec::new());

/// Reserves the slots of the TCP workers and makes what they share; main, during the boot.
pub(super) fn plan_tcp(server: &Server) -> Result<(), String> {
    let mut slots = Vec::new();
    for i in 0..super::boot::tcp_workers(server) {
        let name = tcp_name(i);
        slots.push(reserve(rank::TCP - i as i32, true, &name)?);
    }
    tcp::create(&slots)?;
    udp::create_turns(server.sockets.0.len())?;
    if let Ok(mut t) = TCP_SLOTS.write() {
        *t = slots;
    }
    Ok(())
}

/// Takes a slot of the process table.
pub(super) fn reserve(rank: i32, routes: bool, name: &str) -> Result<u16, String> {
    let slot = table().reserve(rank, routes, name);
    slot.map(|s| s.slot())
        .ok_or_else(|| "the process table is full".to_string())
}

/// The processes of this configuration, each with its slot.
pub(super) fn plan(server: &'static Server) -> Result<Vec<Job>, String> {
    let mut jobs = Vec::new();
    let mut udp_rank = rank::FIRST;
    let udp = server.sockets.0.iter().enumerate();
    for (i, l) in udp.filter(|(_, l)| l.proto == Proto::Udp) {
        for child in 0..l.workers.unwrap_or(server.config.children) {
            let (host, port) = (&l.host, l.addr.port());
            let name = format!("udp receiver child={child} sock={host}:{port}");
            let slot = reserve(udp_rank, true, &name)?;
            jobs.push(Job::new(slot, udp_rank, name, Run::Udp(i)));
            udp_rank += 1;
        }
    }
    for (pace, name) in [(Pace::Slow, "slow timer"), (Pace::Fast, "timer")] {
        let slot = reserve(rank::TIMER, true, name)?;
        jobs.push(Job::new(slot, rank::TIMER, name.into(), Run::Timer(pace)));
    }
    for m in server.registry.modules() {
        for e in m.processes.map(|f| f()).unwrap_or_default() {
            let slot = reserve(rank::NOSIP, e.routes, &e.description)?;
            let run = Run::Extra(e.run, e.index);
            jobs.push(Job::new(slot, rank::NOSIP, e.description, run));
        }
    }
    let tcp_slots = TCP_SLOTS.read().map(|t| t.clone()).unwrap_or_default();
    for (i, slot) in tcp_slots.into_iter().enumerate() {
        let rank = rank::TCP - i as i32;
        jobs.push(Job::new(slot, rank, tcp_name(i), Run::Tcp));
    }
    Ok(jobs)
}

fn tcp_name(i: usize) -> String {
    format!("tcp receiver (generic) child={i}")
}

impl Job {
    fn new(slot: u16, rank: i32, name: String, run: Run) -> Job {
        Job {
            slot,
            rank,
            run,
            name,
            child: None,
            not_before: 0,
            stillborn: 0,
            faults: VecDeque::new(),
        }
    }

    /// Its place in the process table.
    pub fn place(&self) -> Option<Slot> {
        table().get(self.slot)
    }

    /// Its process, if it has one.
    pub fn pid(&self) -> Option<i32> {
        self.child
    }

    /// Its process is gone, and what it left has been repaired.
    pub fn is_gone(&mut self) {
        self.child = None;
        if let Some(place) = self.place() {
            place.died();
        }
    }

    /// Milliseconds until it is to be started; `None` while it runs.
    pub fn due_in(&self, now: u64) -> Option<u64> {
        match self.child {
            Some(_) => None,
            None => Some(self.not_before.saturating_sub(now)),
        }
    }

    /// Forks its process. Where that fails, it is due again in a second.
    pub fn start(&mut self, server: &'static Server, signals: &MainSignals, main: i32) {
        let Some(place) = self.place() else { return };
        match signals::fork() {
            Ok(Fork::Parent(pid)) => {
                self.child = Some(pid);
                place.start(pid);
            }
            Ok(Fork::Child) => self.be(server, place, signals, main),
            Err(e) => {
                crate::crit!(
                    "core",
                    "can't fork {}: {e}; tried again in a second",
                    self.name
                );
                self.not_before = monotonic_ms() + 1000;
            }
        }
    }

    /// The child's whole life.
    fn be(&self, server: &'static Server, place: Slot, signals: &MainSignals, main: i32) -> ! {
        olelo_mem::slot::set_current_slot(self.slot);
        if !signals::child_setup(main) {
            signals::exit_now(1);
        }
        // Only now: a signal that has come meanwhile would end a process without handlers.
        signals.unblock();
        place.set_pid(std::process::id() as i32);
        signals::set_name(&format!("olelo/{}{}", self.kind(), self.slot));
        let life = std::panic::AssertUnwindSafe(|| match self.run {
            Run::Udp(socket) => worker::udp(server, self.slot, self.rank, socket),
            Run::Tcp => worker::tcp(server, self.slot, self.rank),
            Run::Timer(pace) => worker::timer(server, self.slot, self.rank, pace),
            Run::Extra(run, index) => worker::extra(server, self.slot, self.rank, run, index),
        });
        signals::exit_now(std::panic::catch_unwind(life).unwrap_or(70));
    }

    /// Whether it works on messages from the network: those may be to blame for its death.
    pub fn serves_peers(&self) -> bool {
        matches!(self.run, Run::Udp(_) | Run::Tcp)
    }

    /// What it is, in a word: `ps` shows it with the slot's number.
    fn kind(&self) -> &str {
        match self.run {
            Run::Udp(_) => "udp",
            Run::Tcp => "tcp",
            Run::Timer(_) => "timer",
            Run::Extra(..) => self.name.split(' ').next().unwrap_or("extra"),
        }
    }

    /// Decides when it is replaced, and returns in how many milliseconds: at once, unless it died
    /// before it served, or keeps dying by its own fault.
    pub fn replace_after(&mut self, served: bool, own_fault: bool, now: u64) -> u64 {
        self.stillborn = if served { 0 } else { self.stillborn + 1 };
        if own_fault {
            self.faults.push_back(now);
        }
        self.faults.retain(|at| at + FAULT_SPAN > now);
        let more = self.faults.len().saturating_sub(FAULTS) as u32;
        let tries = self.stillborn.saturating_sub(1).max(more);
        let wait = if tries == 0 { 0 } else { 10 << tries.min(9) };
        self.not_before = now + wait.min(LONGEST_WAIT);
        wait.min(LONGEST_WAIT)
    }

    /// It is replaced at once, whatever its past.
    pub fn forgive(&mut self) {
        self.not_before = 0;
        self.stillborn = 0;
        self.faults.clear();
    }
}

/// How a process ended, in the words of the log.
pub(super) fn how(d: &Death) -> String {
    use nix::sys::signal::Signal;
    match (d.signal, d.code) {
        (Some(s), _) => {
            Signal::try_from(s).map_or_else(|_| format!("signal {s}"), |s| s.as_str().to_string())
        }
        (None, code) => format!("exit code {}", code.unwrap_or(-1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job::new(3, 1, "test".into(), Run::Tcp)
    }

    #[test]
    fn who_was_killed_while_it_served_is_replaced_at_once() {
        let mut j = job();
        for now in 0..1000 {
            assert_eq!(j.replace_after(true, false, now * 20), 0);
        }
    }

    #[test]
    fn who_can_not_start_waits_longer_each_time() {
        let mut j = job();
        let waits: Vec<u64> = (0..12).map(|i| j.replace_after(false, true, i)).collect();
        assert_eq!(waits[..4], [0, 20, 40, 80]);
        assert_eq!(waits[11], LONGEST_WAIT);
        assert_eq!(j.replace_after(true, false, 60_000), 0);
    }

    #[test]
    fn who_keeps_crashing_is_slowed_down_and_forgiven_in_time() {
        let mut j = job();
        let waits: Vec<u64> = (0..8)
            .map(|i| j.replace_after(true, true, i * 10))
            .collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 20, 40, 80]);
        assert_eq!(j.replace_after(true, true, FAULT_SPAN + 100), 0);
    }
}
