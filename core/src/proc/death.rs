//! What main does after the death of a process: repair, account, decide what follows.
//!
//! The order matters. First `mem`, under the locks that the dead process still holds; then the
//! server's own tables; then the modules, which may rely on both. Only then is the slot free for the
//! next process.

use super::crashes::{self, Crash};
use super::job::{self, Job};
use super::quarantine;
use super::watchdog::Reason;
use crate::net::{tcp, udp};
use crate::route::generation;
use crate::server::Server;
use crate::stats::Stat;
use crate::timer::{monotonic_ms, wall_s};
use nix::sys::signal::Signal;
use olelo_ipc::signals::Death;
use olelo_mem::RepairReport;

pub(super) static DEATHS: Stat = Stat::counter("core", "worker_deaths", "processes that died");
pub(super) static WITH_LOCK: Stat = Stat::counter(
    "core",
    "worker_deaths_with_lock",
    "processes that died with a shared lock held",
);
pub(super) static SWEPT: Stat = Stat::counter(
    "core",
    "worker_blocks_swept",
    "blocks of shared memory that dead processes had reserved",
);
pub(super) static QUARANTINED: Stat = Stat::counter(
    "core",
    "quarantined",
    "messages that killed their worker twice",
);

/// A death as main sees it.
#[derive(Default)]
pub(super) struct Verdict {
    /// The repair could not make these good.
    pub faults: Vec<olelo_mem::Fault>,
    /// Nobody outside has killed it.
    pub own_fault: bool,
}

/// Repairs what a dead process left behind, accounts for it, and decides when it is replaced.
/// `by_us`: why main killed it, if it did.
pub(super) fn bury(server: &Server, job: &mut Job, d: &Death, by_us: Option<Reason>) -> Verdict {
    let Some(place) = job.place() else {
        return Verdict::default();
    };
    let began = monotonic_ms();
    let report = clean_up(server, job.slot);
    let now = monotonic_ms();
    let message = (place.busy_since() != 0).then(|| place.summary());
    // A timer's own jobs are no messages, but it may route one that a dead worker left.
    let is_message = job.serves_peers() || place.summary().contains("SIP/2.0");
    let key = place.message_key().filter(|_| is_message);
    let served = place.is_ready();
    job.is_gone();
    let outside = d.signal == Some(Signal::SIGKILL as i32) && by_us.is_none();
    let how = match &by_us {
        Some(why) => format!("{} by main: {}", job::how(d), why.text),
        None => job::how(d),
    };
    let wait = job.replace_after(served, !outside, now);
    crate::error!(
        "core",
        "process {} \"{}\" pid {} ended by {how}{}; repaired in {} ms{}, replaced {}",
        job.slot,
        job.name,
        d.pid,
        message.as_deref().map_or(String::new(), |m| format!(
            ", it worked on: {}",
            first_line(m)
        )),
        now - began,
        told(&report),
        if wait == 0 {
            "at once".into()
        } else {
            format!("in {wait} ms")
        }
    );
    crashes::remember(&Crash {
        at: wall_s(),
        slot: job.slot,
        pid: d.pid,
        name: job.name.clone(),
        how,
        locks: report.locks_released.len() as u64,
        message: message.clone().unwrap_or_default(),
        key: key.unwrap_or(0),
    });
    let to_blame = by_us.is_none_or(|why| why.message_to_blame);
    if let Some(key) = key.filter(|_| to_blame)
        && quarantine::strike(key, outside, wall_s())
    {
        QUARANTINED.inc();
        crate::crit!(
            "core",
            "this message has killed its worker twice; it is answered with 500 from now on (core.quarantine): {}",
            first_line(&message.unwrap_or_default())
        );
    }
    // Last: who has seen the count sees the rest.
    count(&report);
    Verdict {
        faults: report.faults,
        own_fault: !outside,
    }
}

/// Repairs all that the process in a slot may have left: shared structures, turns, connections, what
/// modules kept in its name. What fails inside is a fault like any other: main must not end of it.
pub(super) fn clean_up(server: &Server, slot: u16) -> RepairReport {
    let repair = || {
        let report = olelo_mem::repair_all(slot);
        tcp::worker_died(slot);
        udp::worker_died(slot);
        for m in server.registry.modules() {
            if let Some(f) = m.worker_died {
                f(slot);
            }
        }
        generation::asker_died(slot);
        report
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(repair)).unwrap_or_else(|_| {
        let mut report = RepairReport {
            slot,
            ..RepairReport::default()
        };
        report.faults.push(olelo_mem::Fault {
            structure: "repair".into(),
            what: "it failed inside".into(),
        });
        report
    })
}

/// The first line of a message, as far as it can be printed.
pub(super) fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or("");
    line.chars().filter(|c| !c.is_control()).collect()
}

fn count(r: &RepairReport) {
    DEATHS.inc();
    if !r.locks_released.is_empty() {
        WITH_LOCK.inc();
    }
    SWEPT.add(r.blocks_freed as i64);
}

fn told(r: &RepairReport) -> String {
    let mut text = String::new();
    if !r.locks_released.is_empty() {
        text += &format!(", released the locks of {}", r.locks_released.join(", "));
    }
    if r.blocks_freed > 0 {
        text += &format!(
            ", freed {} blocks ({} bytes)",
            r.blocks_freed, r.bytes_freed
        );
    }
    for f in &r.faults {
        text += &format!(", can't make good {}: {}", f.structure, f.what);
    }
    text
}
