//! When repair is not enough: zones of shared memory are emptied, and all workers start anew.
//!
//! A repair after a death makes good what a death can break. What it can't is memory that was written
//! to at random, by a library's or an interpreter's bug. Its signs are a repair or a panic under a
//! lock that leaves faults, or workers that die one after another by themselves, each on another
//! message. Then main looks at everything (`mem.check`); where it finds faults it kills all workers,
//! empties the zones that are broken, and only those, and starts the workers again. If that does not
//! make memory sound, all of it is made anew. Sockets stay open all along: what comes meanwhile waits
//! in them.

use super::death;
use super::job::Job;
use super::main_loop;
use crate::route::canary;
use crate::server::Server;
use crate::stats::Stat;
use nix::sys::signal::Signal;
use olelo_ipc::signals;
use std::collections::VecDeque;
use std::time::Duration;

pub(super) static RESETS: Stat = Stat::counter(
    "core",
    "zone_resets",
    "zones of shared memory emptied because they were broken",
);
pub(super) static RESTARTS: Stat = Stat::counter(
    "core",
    "full_restarts",
    "times that all workers were started anew",
);

/// Deaths of different processes by themselves within [`SPAN`] that make main look at memory.
const DEATHS: usize = 6;
/// Milliseconds.
const SPAN: u64 = 3_000;
/// Milliseconds between looks for that reason.
const PAUSE: u64 = 10_000;

/// How long killed processes may take to be gone.
const PATIENCE: Duration = Duration::from_secs(2);

/// What main remembers to see a series of deaths.
#[derive(Default)]
pub(super) struct Series {
    deaths: VecDeque<u64>,
    looked: Option<u64>,
}

impl Series {
    /// A process died by itself. True where it is time to look at memory.
    pub fn died(&mut self, now: u64) -> bool {
        self.deaths.push_back(now);
        self.deaths.retain(|at| at + SPAN > now);
        let rested = self.looked.is_none_or(|at| at + PAUSE <= now);
        let look = self.deaths.len() >= DEATHS && rested;
        if look {
            self.looked = Some(now);
        }
        look
    }
}

/// Zones with faults, by name. Who keeps a lock so long that what it protects could not be looked at is
/// killed first.
pub(super) fn broken_zones() -> Vec<String> {
    let mut found = olelo_mem::check_all();
    if !found.busy.is_empty() {
        found.busy.iter().for_each(kill_holder);
        found = olelo_mem::check_all();
    }
    let mut names: Vec<String> = Vec::new();
    for f in found.faults {
        if !names.contains(&f.structure) {
            crate::crit!(
                "core",
                "shared memory is broken: {}: {}",
                f.structure,
                f.what
            );
            names.push(f.structure);
        }
    }
    names
}

/// Its death is one like any other: it is buried when main is back.
fn kill_holder(lock: &olelo_mem::BusyLock) {
    let place = olelo_ipc::process::table().get(lock.holder);
    let pid = place.map_or(0, |p| p.pid());
    if lock.holder != 0 && pid != 0 {
        crate::error!(
            "core",
            "process {} keeps the lock of {}[{}] from being checked; killed",
            lock.holder,
            lock.structure,
            lock.index
        );
        signals::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
}

/// Kills all workers, empties these zones (or all, where that does not do) and lets the workers be
/// started again.
pub(super) fn restart_all(server: &Server, jobs: &mut [Job], zones: &[String]) {
    crate::crit!("core", "all workers are started anew");
    end_all(jobs);
    for slot in olelo_ipc::process::table().iter().skip(1) {
        death::clean_up(server, slot.slot());
    }
    for job in jobs.iter_mut() {
        job.is_gone();
        job.forgive();
    }
    let names: Vec<&str> = zones.iter().map(String::as_str).collect();
    let mut told = olelo_mem::reset(&names);
    RESETS.add(told.len() as i64);
    if !olelo_mem::check_all().faults.is_empty() {
        told = olelo_mem::rebuild();
        RESETS.add(told.len() as i64);
    }
    for line in told {
        crate::warn!("core", "shared memory: {line}");
    }
    crate::route::generation::restore();
    RESTARTS.inc();
}

/// Kills all processes but main, and collects them. One that does not even end of that (it hangs in the
/// kernel) is not waited for long: it can do no harm there.
fn end_all(jobs: &[Job]) {
    let mut pids: Vec<i32> = jobs.iter().filter_map(Job::pid).collect();
    for pid in &pids {
        signals::kill(*pid, Signal::SIGKILL);
    }
    main_loop::kill_reloader();
    canary::kill();
    let gone = signals::wait_until(PATIENCE, || {
        while let Some(d) = signals::reap() {
            pids.retain(|p| *p != d.pid);
        }
        pids.is_empty() && !canary::is_there()
    });
    if !gone {
        crate::crit!("core", "processes {pids:?} do not end; going on without");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_seen_once_in_a_while() {
        let mut s = Series::default();
        let seen: Vec<u64> = (0..200)
            .map(|i| i * 100)
            .filter(|now| s.died(*now))
            .collect();
        assert_eq!(seen, [500, 10_500]);
        let mut s = Series::default();
        assert!(
            !(0..50).any(|i| s.died(i * 1000)),
            "now and then is no series"
        );
    }
}
