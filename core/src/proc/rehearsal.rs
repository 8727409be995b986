//! A rehearsal: one process plays the whole server for the length of a few messages.
//!
//! For tests of routing scripts. Main prepares the server with `Purpose::Rehearse`; then, for each
//! play, a forked child calls [`begin`] and feeds messages with [`deliver`] and time with [`pass`].
//! Nothing is bound, nothing leaves but through [`wire`], no name server is asked, and the clock
//! stands still between two steps. From [`begin`] on the child's shared memory is its own, so each
//! play starts from what main had prepared and leaves nothing behind.
//!
//! It is no simulator of workers that work at once or die: `modules/tm/tests/simulation` is.

use super::{rank, worker};
use crate::net::{ConnId, Proto, udp, wire};
use crate::route::ctx::{Ctx, Received};
use crate::route::run;
use crate::server;
use crate::timer::{Job, Pace, jobs, monotonic_ms, set_clock, set_wall};
use olelo_ipc::process::{self, table};
use std::net::SocketAddr;

/// The monotonic clock at the beginning of every rehearsal, milliseconds.
pub const START_MS: u64 = 1_000_000_000;
/// Most runs of the timers in one [`pass`]: a long time is passed in larger steps.
const MOST_TURNS: u64 = 20_000;

/// Makes every rehearsal the same: the clock stands, with this time on the wall, and tags that are
/// made of a secret repeat. Main, before it prepares the server.
pub fn settle(wall_ms: u64) {
    set_clock(START_MS);
    set_wall(wall_ms);
    super::set_secret(START_MS);
}

/// A process that plays.
pub struct Rehearsal {
    worker: u16,
    timer: u16,
    /// Each job with when it is due.
    jobs: Vec<(Job, u64)>,
}

/// Makes this process the players; in a fresh child of main. What would be sent goes to `out`.
pub fn begin(out: wire::Wire) -> Result<Rehearsal, String> {
    olelo_mem::arena().part().map_err(|e| e.to_string())?;
    wire::replace(out);
    let take = |rank, name: &str| {
        let slot = table().reserve(rank, true, name).ok_or("no free slot")?;
        slot.start(std::process::id() as i32);
        Ok::<u16, String>(slot.slot())
    };
    let worker = take(rank::FIRST, "rehearsal")?;
    let timer = take(rank::TIMER, "timer")?;
    olelo_mem::set_current_slot(worker);
    if !worker::begin(server(), rank::FIRST) {
        return Err("the routing code does not load, or a module can't start".into());
    }
    process::ready(timer);
    let now = monotonic_ms();
    let all = jobs(Pace::Fast).into_iter().chain(jobs(Pace::Slow));
    Ok(Rehearsal {
        worker,
        timer,
        jobs: all.map(|j| (j, now + j.every_ms)).collect(),
    })
}

impl Rehearsal {
    /// A message arrives from `src`, at `at` or at the first address of this transport. The context
    /// is left in `ctx` as routing left it.
    pub fn deliver(
        &self,
        ctx: &mut Ctx,
        proto: Proto,
        src: SocketAddr,
        at: Option<SocketAddr>,
        bytes: &[u8],
    ) -> Result<(), String> {
        let sockets = &server().sockets;
        let listen = match at {
            Some(a) => sockets.0.iter().find(|l| l.proto == proto && l.addr == a),
            None => sockets.first(proto, src.is_ipv6()),
        };
        let Some(listen) = listen else {
            let family = if src.is_ipv6() { 6 } else { 4 };
            let at = at.map_or(format!("over IPv{family}"), |a| format!("at {a}"));
            return Err(format!("nobody listens on {} {at}", proto.name()));
        };
        let rcv = Received {
            proto,
            src,
            dst: listen.addr,
            socket: listen.id,
            conn: proto.is_reliable().then(|| self.connection(src)),
        };
        olelo_mem::set_current_slot(self.worker);
        run::receive(ctx, rcv, bytes);
        udp::flush();
        Ok(())
    }

    /// Time goes by: the timers run as they would.
    pub fn pass(&mut self, ms: u64) {
        let end = monotonic_ms() + ms;
        let step = ms.div_ceil(MOST_TURNS).max(1);
        loop {
            let due = self.jobs.iter().map(|(_, d)| *d).min().unwrap_or(u64::MAX);
            // Jobs that are due a little later run together with the first.
            let now = due.max(monotonic_ms()).next_multiple_of(step);
            if now > end {
                break;
            }
            set_clock(now);
            olelo_mem::set_current_slot(self.timer);
            for (job, due) in self.jobs.iter_mut().filter(|(_, d)| *d <= now) {
                (job.run)(now);
                *due = now + job.every_ms;
            }
            udp::flush();
        }
        set_clock(end);
        olelo_mem::set_current_slot(self.worker);
    }

    /// The connection from this address: one per address and port.
    fn connection(&self, src: SocketAddr) -> ConnId {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut h = DefaultHasher::new();
        src.hash(&mut h);
        ConnId {
            slot: self.worker,
            number: h.finish() as u32 | 1,
        }
    }
}
