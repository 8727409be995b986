//! UDP: a worker's receive loop, and sending.
//!
//! The workers of a socket take turns at it ([`olelo_ipc::turn`]): one blocks in `recvmmsg`, takes what
//! is there, routes each message and sends what they caused with one `sendmmsg`. It takes no more than
//! it will have done in [`BATCH_TIME`], by what its messages have cost lately ([`Pace`]): quick ones
//! come and go by the dozen, slow ones singly, so that no message waits behind others while another
//! worker is idle. A batch that is full says that there is more, and the turn goes to the next worker.
//! The received bytes are copied once, from the batch's fixed buffers to the message's own: that
//! costs less than clearing a 64 KiB buffer before each receive.

use super::socket::Listen;
use super::{Dst, SendError, SendFlags, SocketId, wire};
use crate::dns::blocklist;
use crate::route::ctx::Received;
use crate::timer::monotonic_ms;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};
use olelo_ipc::turn::Turn;
use std::cell::RefCell;
use std::io::{IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Most messages taken with one system call.
const BATCH: usize = 32;
/// The longest that a batch may take: a worker takes no more messages than fit.
const BATCH_TIME: Duration = Duration::from_micros(250);
/// Largest datagram.
const LARGEST: usize = 65536;
/// From one buffer to the next. Not a power of two: buffers that are would share cache sets.
const STRIDE: usize = LARGEST + 1088;

/// A holder of the turn that works longer than this on a batch is relieved by the timer process.
const STUCK_MS: u64 = 5;

static TURNS: OnceLock<Vec<Turn>> = OnceLock::new();

/// Makes the turns of `n` sockets; main, before the forks.
pub(crate) fn create_turns(n: usize) -> Result<(), String> {
    let turns = olelo_ipc::turn::create(n).map_err(|e| e.to_string())?;
    let _ = TURNS.set(turns);
    Ok(())
}

/// Takes turns from workers that are stuck; the timer process calls it. One that works shows how
/// long. One that should receive, but is stopped, leaves datagrams lying from one look to the next.
pub(crate) fn relieve_stuck(now_ms: u64) {
    for (i, t) in TURNS.get().into_iter().flatten().enumerate() {
        t.relieve(now_ms.saturating_sub(STUCK_MS));
        let idle = t.holder().filter(|_| !t.is_working() && is_readable(i));
        let seen = idle.map(|slot| (slot, messages_of(slot)));
        let before = LYING.with_borrow_mut(|l| {
            l.resize(l.len().max(i + 1), None);
            std::mem::replace(&mut l[i], seen)
        });
        if let Some((slot, _)) = seen.filter(|_| seen == before) {
            t.release_of(slot);
        }
    }
}

thread_local! {
    /// Per socket: whose turn it was when datagrams lay there at the last look, and how many messages
    /// that process had worked on.
    static LYING: RefCell<Vec<Option<(u16, u64)>>> = const { RefCell::new(Vec::new()) };
}

fn messages_of(slot: u16) -> u64 {
    let place = olelo_ipc::process::table().get(slot);
    place.map_or(0, |p| p.messages())
}

fn is_readable(socket: usize) -> bool {
    let Some(l) = crate::server().sockets.0.get(socket) else {
        return false;
    };
    let mut fds = [PollFd::new(l.fd.as_fd(), PollFlags::POLLIN)];
    l.proto == super::Proto::Udp && poll(&mut fds, PollTimeout::ZERO).is_ok_and(|n| n > 0)
}

/// Takes the turns of a dead worker; main, after the repair.
pub(crate) fn worker_died(slot: u16) {
    for t in TURNS.get().into_iter().flatten() {
        t.release_of(slot);
    }
}

/// Receives on `listen` until `go_on` says stop, handing each message to `route`. A signal ends the
/// wait, so that `go_on` is asked and the worker can see what it was woken for.
pub fn receive_loop(
    listen: &Listen,
    slot: u16,
    mut go_on: impl FnMut() -> bool,
    mut route: impl FnMut(Received, &[u8]),
) {
    let Some(turn) = TURNS.get().and_then(|t| t.get(usize::from(listen.id.0))) else {
        return;
    };
    let mut batch = Batch::new();
    let mut pace = Pace::default();
    while go_on() {
        if !turn.take(slot) {
            continue;
        }
        let most = pace.batch();
        let received = batch.receive(listen, most);
        if received == 0 {
            continue;
        }
        // A full batch means that there is work for another; so does slow work.
        let keep = received < most;
        if keep {
            turn.set_working(monotonic_ms());
        } else {
            turn.give(slot);
        }
        let started = Instant::now();
        // One message, or slow ones, send as they go: a script that waits must not hold back the 100
        // that it has caused.
        if received > 1 {
            hold();
        }
        batch.each(listen, &mut route);
        flush();
        pace.took(started.elapsed(), received);
        if keep {
            turn.set_working(0);
        }
    }
    turn.release_of(slot);
}

/// What a message costs lately, and so how many make a batch.
#[derive(Default)]
struct Pace {
    /// Nanoseconds for one message.
    each: u64,
}

impl Pace {
    /// How many messages will be done in [`BATCH_TIME`]; at least one.
    fn batch(&self) -> usize {
        let most = BATCH_TIME.as_nanos() as u64 / self.each.max(1);
        most.clamp(1, BATCH as u64) as usize
    }

    /// `n` messages took this long. One that was held up must not make its successors seem slow for
    /// long, nor a slow script seem quick.
    fn took(&mut self, time: Duration, n: usize) {
        let each = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX) / n.max(1) as u64;
        self.each = (self.each / 4 * 3).saturating_add(each / 4);
    }
}

/// Buffers for one receive.
struct Batch {
    /// All of them, [`STRIDE`] apart.
    room: Vec<u8>,
    headers: MultiHeaders<SockaddrStorage>,
    got: Vec<(usize, Option<SocketAddr>)>,
}

impl Batch {
    fn new() -> Batch {
        Batch {
            room: vec![0u8; STRIDE * BATCH],
            headers: MultiHeaders::preallocate(BATCH, None),
            got: Vec::with_capacity(BATCH),
        }
    }

    /// Waits for datagrams and takes what is there, at most so many. Returns how many; 0 after a
    /// signal or an error.
    fn receive(&mut self, listen: &Listen, most: usize) -> usize {
        self.got.clear();
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH] = {
            let mut b = self.room.chunks_exact_mut(STRIDE);
            std::array::from_fn(|_| {
                [IoSliceMut::new(
                    b.next().map_or(&mut [][..], |b| &mut b[..LARGEST]),
                )]
            })
        };
        let fd = listen.fd.as_raw_fd();
        match recvmmsg(
            fd,
            &mut self.headers,
            slices.iter_mut().take(most),
            MsgFlags::MSG_WAITFORONE,
            None,
        ) {
            Ok(got) => self
                .got
                .extend(got.map(|m| (m.bytes, m.address.as_ref().and_then(to_std)))),
            Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => {}
            // An ICMP error of an earlier send, or memory: the socket itself is still good.
            Err(e) => crate::debug!("core", "receiving on {}: {e}", listen.text()),
        }
        self.got.len()
    }

    fn each(&self, listen: &Listen, route: &mut impl FnMut(Received, &[u8])) {
        for ((len, from), buffer) in self.got.iter().zip(self.room.chunks_exact(STRIDE)) {
            let (Some(src), Some(bytes)) = (*from, buffer.get(..*len)) else {
                continue;
            };
            let rcv = Received {
                proto: listen.proto,
                src,
                dst: listen.addr,
                socket: listen.id,
                conn: None,
            };
            route(rcv, bytes);
        }
    }
}

struct Outbox {
    holding: bool,
    waiting: Vec<(SocketId, SocketAddr, Vec<u8>)>,
    spare: Vec<Vec<u8>>,
}

thread_local! {
    static OUTBOX: RefCell<Outbox> = const { RefCell::new(Outbox { holding: false, waiting: Vec::new(), spare: Vec::new() }) };
}

/// Sends a datagram; inside a batch it waits for the batch's end.
pub fn send(dst: &Dst, bytes: &[u8]) -> Result<(), SendError> {
    let Some(listen) = crate::server().sockets.get(dst.socket) else {
        return Err(SendError::NoSocket("udp"));
    };
    let held = OUTBOX.with_borrow_mut(|o| {
        if !o.holding {
            return false;
        }
        let mut b = o.spare.pop().unwrap_or_default();
        b.clear();
        b.extend_from_slice(bytes);
        o.waiting.push((dst.socket, dst.addr, b));
        true
    });
    if held {
        return Ok(());
    }
    if let Some(wire) = wire::replaced() {
        return wire(dst, bytes);
    }
    match listen.fd.send_to(bytes, &dst.addr.into()) {
        Ok(_) => Ok(()),
        Err(source) => Err(SendError::Io {
            proto: "udp",
            addr: dst.addr,
            bytes: bytes.len(),
            source,
        }),
    }
}

/// Begins a batch: datagrams wait until [`flush`].
pub fn hold() {
    OUTBOX.with_borrow_mut(|o| o.holding = true);
}

/// Sends what waits and ends the batch. Who made a message that can't be sent hears of it
/// ([`crate::hooks::UNSENT`]).
pub fn flush() {
    let mut unsent = Vec::new();
    OUTBOX.with_borrow_mut(|o| {
        o.holding = false;
        let mut waiting = std::mem::take(&mut o.waiting);
        let mut rest = waiting.as_slice();
        while let Some((socket, ..)) = rest.first() {
            let n = rest
                .iter()
                .take(MOST)
                .take_while(|(s, ..)| s == socket)
                .count();
            send_run(*socket, &rest[..n], &mut unsent);
            rest = &rest[n..];
        }
        for (.., b) in waiting.drain(..) {
            if o.spare.len() < 64 && b.capacity() <= LARGEST {
                o.spare.push(b);
            }
        }
        o.waiting = waiting;
    });
    for (dst, bytes) in unsent {
        blocklist::failed(&dst, blocklist::reason::SEND);
        crate::hooks::UNSENT
            .list()
            .iter()
            .for_each(|h| h(&dst, &bytes));
    }
}

/// Most messages sent with one system call.
const MOST: usize = 64;

thread_local! {
    /// Room for the headers of one `sendmmsg`, made once.
    static HEADERS: RefCell<Option<MultiHeaders<SockaddrStorage>>> = const { RefCell::new(None) };
}

/// Sends messages of one socket, one system call for all of them where that works.
fn send_run(
    socket: SocketId,
    run: &[(SocketId, SocketAddr, Vec<u8>)],
    unsent: &mut Vec<(Dst, Vec<u8>)>,
) {
    let Some(listen) = crate::server().sockets.get(socket) else {
        return;
    };
    if let Some(wire) = wire::replaced() {
        for (_, addr, bytes) in run {
            let _ = wire(&plain(listen, *addr), bytes);
        }
        return;
    }
    let mut one = |(_, addr, bytes): &(SocketId, SocketAddr, Vec<u8>)| {
        if let Err(e) = listen.fd.send_to(bytes, &(*addr).into()) {
            super::ERR_SEND.inc();
            crate::error!(
                "core",
                "can't send {} bytes to udp:{addr}: {e}",
                bytes.len()
            );
            unsent.push((plain(listen, *addr), bytes.clone()));
        }
    };
    let mut sent = 0;
    if run.len() > 1 {
        let slices: Vec<[IoSlice<'_>; 1]> = run.iter().map(|(.., b)| [IoSlice::new(b)]).collect();
        let addrs: Vec<Option<SockaddrStorage>> = run
            .iter()
            .map(|(_, a, _)| Some(SockaddrStorage::from(*a)))
            .collect();
        HEADERS.with_borrow_mut(|headers| {
            let headers = headers.get_or_insert_with(|| MultiHeaders::preallocate(MOST, None));
            if let Ok(done) = sendmmsg(
                listen.fd.as_raw_fd(),
                headers,
                &slices,
                &addrs,
                [],
                MsgFlags::empty(),
            ) {
                sent = done.count();
            }
        });
    }
    // What the kernel did not take in one go is tried singly, so that one bad destination does not
    // cost the messages behind it.
    run[sent..].iter().for_each(&mut one);
}

/// The destination of a datagram from this socket.
fn plain(listen: &Listen, addr: SocketAddr) -> Dst {
    Dst {
        proto: listen.proto,
        addr,
        socket: listen.id,
        conn: None,
        flags: SendFlags::default(),
    }
}

fn to_std(a: &SockaddrStorage) -> Option<SocketAddr> {
    a.as_sockaddr_in()
        .map(|s| SocketAddr::new(s.ip().into(), s.port()))
        .or_else(|| {
            a.as_sockaddr_in6()
                .map(|s| SocketAddr::new(s.ip().into(), s.port()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_messages_come_by_the_dozen_and_slow_ones_singly() {
        let mut p = Pace::default();
        p.took(Duration::from_micros(40), 8);
        assert_eq!(p.batch(), BATCH);
        for _ in 0..30 {
            p.took(Duration::from_micros(50), 1);
        }
        assert_eq!(p.batch(), 5);
        p.took(Duration::from_secs(1), 1);
        assert_eq!(p.batch(), 1);
        for _ in 0..100 {
            p.took(Duration::from_micros(4), 1);
        }
        assert_eq!(p.batch(), BATCH);
    }
}
