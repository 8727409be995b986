//! What runs in a forked process: receive or tick, route, and look up when woken.

use crate::net::{Proto, tcp, udp};
use crate::route::core_events::{self, CoreEvent};
use crate::route::ctx::Ctx;
use crate::route::{generation, run};
use crate::server::Server;
use crate::timer::{self, Pace, monotonic_ms};
use olelo_ipc::process;
use olelo_ipc::signals::stopping;
use std::time::Duration;

/// Receives on UDP socket number `socket`.
pub(super) fn udp(server: &'static Server, slot: u16, rank: i32, socket: usize) -> i32 {
    let Some(listen) = server.sockets.0.get(socket) else {
        return 1;
    };
    if !begin(server, rank) {
        return 1;
    }
    let mut ctx = Ctx::new();
    udp::receive_loop(
        listen,
        slot,
        || {
            generation::current();
            !stopping()
        },
        |rcv, bytes| run::receive(&mut ctx, rcv, bytes),
    );
    0
}

/// Serves TCP connections.
pub(super) fn tcp(server: &'static Server, slot: u16, rank: i32) -> i32 {
    if !begin(server, rank) {
        return 1;
    }
    let mut ctx = Ctx::new();
    let served = tcp::event_loop(
        slot,
        || {
            process::beat(slot, monotonic_ms());
            generation::current();
            !stopping()
        },
        |rcv, bytes| run::receive(&mut ctx, rcv, bytes),
    );
    match served {
        Ok(()) => 0,
        Err(e) => {
            crate::crit!("core", "TCP worker {slot}: {e}");
            1
        }
    }
}

/// Runs the jobs of one pace.
pub(super) fn timer(server: &'static Server, slot: u16, rank: i32, pace: Pace) -> i32 {
    if !begin(server, rank) {
        return 1;
    }
    let jobs = timer::jobs(pace);
    let now = monotonic_ms();
    let mut due: Vec<u64> = jobs.iter().map(|j| now + j.every_ms).collect();
    while !stopping() {
        let now = monotonic_ms();
        process::beat(slot, now);
        generation::current();
        udp::relieve_stuck(now);
        for (j, d) in jobs.iter().zip(&mut due) {
            if now >= *d {
                process::begin(slot, monotonic_ms(), j.name.as_bytes());
                olelo_ipc::signals::forget_interrupt();
                let done = std::panic::catch_unwind(|| (j.run)(now));
                process::end(slot);
                if done.is_err() {
                    crate::crit!("core", "the timer job \"{}\" failed inside", j.name);
                }
                *d = now + j.every_ms;
            }
        }
        let next = due
            .iter()
            .min()
            .copied()
            .unwrap_or(now + 1000)
            .saturating_sub(monotonic_ms());
        // A wake-up ends the sleep early. The fast timer looks after stuck receivers as well.
        let longest = if pace == Pace::Fast { 20 } else { 1000 };
        nix_sleep(Duration::from_millis(next.clamp(1, longest)));
    }
    0
}

/// Runs a module's own process.
pub(super) fn extra(
    server: &'static Server,
    slot: u16,
    rank: i32,
    run: fn(usize),
    index: usize,
) -> i32 {
    if !begin(server, rank) {
        return 1;
    }
    run(index);
    if stopping() {
        return 0;
    }
    crate::error!("core", "the process in slot {slot} ended by itself");
    1
}

/// What every child does first: the modules' hooks, its engine.
pub(super) fn begin(server: &Server, rank: i32) -> bool {
    for m in server.registry.modules() {
        if let Some(f) = m.child_init
            && let Err(e) = f(rank)
        {
            crate::crit!(
                "core",
                "module \"{}\" can't start in this process: {e}",
                m.name
            );
            return false;
        }
    }
    let slot = olelo_mem::slot::current_slot();
    if process::table().get(slot).is_some_and(|s| s.routes()) {
        // Without an engine it could only refuse what others can serve.
        if generation::current().is_none() && generation::number() != 0 {
            return false;
        }
        let no_udp = || !server.sockets.0.iter().any(|l| l.proto == Proto::Udp);
        if rank == super::rank::FIRST || (rank == super::rank::TCP && no_udp()) {
            let mut ctx = crate::route::ctx::Ctx::new();
            core_events::run(&mut ctx, CoreEvent::WorkerOneInit);
        }
    }
    process::ready(slot);
    true
}

/// Sleeps until the time is over or a signal comes (`std::thread::sleep` would go on sleeping).
fn nix_sleep(d: Duration) {
    let ms = u16::try_from(d.as_millis()).unwrap_or(1000);
    let _ = nix::poll::poll(&mut [], ms);
}
