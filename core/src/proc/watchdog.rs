//! Processes that live but do not get on: stopped, stuck in a script or a library, or asleep with a
//! lock in hand.
//!
//! Main looks a few times a second. A worker that has been on one message for longer than
//! `watchdog_time` is interrupted: its engine stops the route, drops itself and goes on with the next
//! message. If that does not help it is killed, and its death is one like any other. Who waits on
//! purpose (a script's `sleep`, a debugger's hold) says so in the process table and is let be.
//!
//! Three more signs: a timer or TCP worker that has not said for seconds that it lives; and a lock
//! that others have been waiting for for seconds, since nothing slow ever runs under one.

use super::job::{Job, Run};
use crate::server::Server;
use crate::stats::Stat;
use olelo_ipc::process::Slot;
use olelo_ipc::signals;
use std::collections::HashMap;

/// Milliseconds between an interrupt and the kill.
const LAST_CHANCE: u64 = 2_000;
/// Milliseconds for which a process that beats may be silent.
const SILENCE: u64 = 4_000;

pub(super) static INTERRUPTED: Stat = Stat::counter(
    "core",
    "worker_interrupts",
    "workers interrupted because they took too long for a message",
);
pub(super) static KILLED: Stat = Stat::counter(
    "core",
    "worker_kills",
    "processes killed because they did not get on",
);

/// Milliseconds for which others may wait for the holder of a lock.
const HELD: u64 = 2_000;

/// What main remembers between looks.
#[derive(Default)]
pub(super) struct Watchdog {
    /// Per slot since when it has been on the message for which it was interrupted.
    interrupted: HashMap<u16, u64>,
    /// Why processes were killed that have not been buried yet.
    killed: HashMap<i32, Reason>,
}

/// Why main has killed a process.
#[derive(Debug, Clone)]
pub(super) struct Reason {
    /// For the log.
    pub text: String,
    /// It did not come back from its message; else the message had no part in it.
    pub message_to_blame: bool,
}

/// What is to be done about a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Nothing,
    Interrupt(u64),
    Kill(u64),
}

impl Watchdog {
    /// Looks after all processes.
    pub fn look(&mut self, server: &Server, jobs: &[Job], now: u64) {
        let limit = server.config.watchdog_ms;
        for job in jobs {
            let (Some(pid), Some(place)) = (job.pid(), job.place()) else {
                continue;
            };
            if limit != 0 {
                self.look_at_message(job, pid, place, limit, now);
            }
            let silent = now.saturating_sub(place.last_beat().max(place.waits_until()));
            let beats = matches!(job.run, Run::Timer(_) | Run::Tcp) && place.last_beat() != 0;
            if beats && place.busy_since() == 0 && silent > SILENCE {
                self.kill(pid, format!("no sign of life for {silent} ms"), false);
            }
        }
        olelo_mem::lock::relieve_orphans(HELD);
        let stuck = olelo_mem::lock::stuck(HELD);
        for s in &stuck {
            // Who waits for a lock itself is not the one who keeps the others waiting.
            let waits = stuck.iter().any(|other| other.waiter == s.holder_slot);
            let holder = jobs.iter().find(|j| j.slot == s.holder_slot && !waits);
            if let Some(pid) = holder.and_then(Job::pid) {
                let (name, index, ms) = (&s.name, s.index, s.waited_ms);
                let why = format!("others have waited {ms} ms for its lock of {name}[{index}]");
                self.kill(pid, why, false);
            }
        }
    }

    /// Why main killed this process, if it did.
    pub fn reason(&mut self, pid: i32) -> Option<Reason> {
        self.killed.remove(&pid)
    }

    fn look_at_message(&mut self, job: &Job, pid: i32, place: Slot, limit: u64, now: u64) {
        let since = place.busy_since();
        let asked = self.interrupted.get(&job.slot) == Some(&since);
        match step(since, place.waits_until(), asked, limit, now) {
            Step::Nothing => {}
            Step::Interrupt(ms) => {
                self.interrupted.insert(job.slot, since);
                INTERRUPTED.inc();
                crate::warn!(
                    "core",
                    "process {} \"{}\" has been on one message for {ms} ms; interrupted. It works on: {}",
                    job.slot,
                    job.name,
                    super::death::first_line(&place.summary())
                );
                signals::kill(pid, signals::INTERRUPT);
                signals::kill(pid, signals::WAKE);
            }
            Step::Kill(ms) => self.kill(pid, format!("{ms} ms on one message"), true),
        }
    }

    fn kill(&mut self, pid: i32, text: String, message_to_blame: bool) {
        let why = Reason {
            text,
            message_to_blame,
        };
        if self.killed.insert(pid, why).is_none() {
            KILLED.inc();
            signals::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    }
}

/// Main itself waits for a lock: it looks after the holder before it sleeps on. What main kills here
/// is repaired by the wait itself, and buried as any other when main is back.
pub(super) fn main_waits(holder: u16, waited_ms: u64) {
    let pid = olelo_ipc::process::table()
        .get(holder)
        .map_or(0, |p| p.pid());
    if waited_ms > HELD && holder != 0 {
        signals::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
}

/// `since`: when work on the message began, 0 for no message. `asked`: it was interrupted for it.
fn step(since: u64, waits_until: u64, asked: bool, limit: u64, now: u64) -> Step {
    if since == 0 {
        return Step::Nothing;
    }
    let over = now.saturating_sub(since.max(waits_until));
    if over > limit + LAST_CHANCE && asked {
        Step::Kill(now - since)
    } else if over > limit && !asked {
        Step::Interrupt(now - since)
    } else {
        Step::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_a_word_then_a_blow() {
        let limit = 10_000;
        let cases = [
            (0, 0, false, 90_000, Step::Nothing),
            (1_000, 0, false, 11_000, Step::Nothing),
            (1_000, 0, false, 11_001, Step::Interrupt(10_001)),
            (1_000, 0, true, 13_000, Step::Nothing),
            (1_000, 0, true, 13_001, Step::Kill(12_001)),
            (1_000, 30_000, false, 40_000, Step::Nothing),
            (1_000, 30_000, false, 40_001, Step::Interrupt(39_001)),
        ];
        for (since, waits, asked, now, expected) in cases {
            assert_eq!(step(since, waits, asked, limit, now), expected, "{now}");
        }
    }
}
