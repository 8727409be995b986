//! UDP: a worker's receive loop, and sending.
//!
//! All workers of a socket block in `recvmmsg` on it; the kernel wakes one. A worker takes what is
//! there, at most [`BATCH`], routes each message and sends what they caused with one `sendmmsg`.
//! The received bytes are copied once, from the batch's fixed buffers to the message's own: that
//! costs less than clearing a 64 KiB buffer before each receive.

use super::socket::Listen;
use super::{Dst, SendError, SocketId};
use crate::route::ctx::Received;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};
use std::cell::RefCell;
use std::io::{IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

/// Most messages taken with one system call.
const BATCH: usize = 16;
/// Largest datagram.
const LARGEST: usize = 65536;

/// Receives on `listen` until `go_on` says stop, handing each message to `route`. A signal ends the
/// wait, so that `go_on` is asked and the worker can see what it was woken for.
pub fn receive_loop(
    listen: &Listen,
    mut go_on: impl FnMut() -> bool,
    mut route: impl FnMut(Received, &[u8]),
) {
    let fd = listen.fd.as_raw_fd();
    let mut buffers = vec![vec![0u8; LARGEST]; BATCH];
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, None);
    let mut lengths: Vec<(usize, Option<SocketAddr>)> = Vec::with_capacity(BATCH);
    while go_on() {
        lengths.clear();
        {
            let mut slices: Vec<[IoSliceMut<'_>; 1]> =
                buffers.iter_mut().map(|b| [IoSliceMut::new(b)]).collect();
            match recvmmsg(
                fd,
                &mut headers,
                slices.iter_mut(),
                MsgFlags::MSG_WAITFORONE,
                None,
            ) {
                Ok(got) => {
                    lengths.extend(got.map(|m| (m.bytes, m.address.as_ref().and_then(to_std))))
                }
                Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => continue,
                Err(e) => {
                    // An ICMP error of an earlier send, or memory: the socket itself is still good.
                    crate::debug!("core", "receiving on {}: {e}", listen.text());
                    continue;
                }
            }
        }
        hold();
        for (i, (len, from)) in lengths.iter().enumerate() {
            let (Some(src), Some(bytes)) = (*from, buffers[i].get(..*len)) else {
                continue;
            };
            route(
                Received {
                    proto: listen.proto,
                    src,
                    dst: listen.addr,
                    socket: listen.id,
                    conn: None,
                },
                bytes,
            );
        }
        flush();
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

/// Sends what waits and ends the batch.
pub fn flush() {
    OUTBOX.with_borrow_mut(|o| {
        o.holding = false;
        let mut waiting = std::mem::take(&mut o.waiting);
        let mut rest = waiting.as_slice();
        while let Some((socket, ..)) = rest.first() {
            let n = rest
                .iter()
                .take(64)
                .take_while(|(s, ..)| s == socket)
                .count();
            send_run(*socket, &rest[..n]);
            rest = &rest[n..];
        }
        for (.., b) in waiting.drain(..) {
            if o.spare.len() < 64 && b.capacity() <= LARGEST {
                o.spare.push(b);
            }
        }
        o.waiting = waiting;
    });
}

/// Sends messages of one socket, one system call for all of them where that works.
fn send_run(socket: SocketId, run: &[(SocketId, SocketAddr, Vec<u8>)]) {
    let Some(listen) = crate::server().sockets.get(socket) else {
        return;
    };
    let one = |(_, addr, bytes): &(SocketId, SocketAddr, Vec<u8>)| {
        if let Err(e) = listen.fd.send_to(bytes, &(*addr).into()) {
            super::ERR_SEND.inc();
            crate::error!(
                "core",
                "can't send {} bytes to udp:{addr}: {e}",
                bytes.len()
            );
        }
    };
    let mut sent = 0;
    if run.len() > 1 {
        let slices: Vec<[IoSlice<'_>; 1]> = run.iter().map(|(.., b)| [IoSlice::new(b)]).collect();
        let addrs: Vec<Option<SockaddrStorage>> = run
            .iter()
            .map(|(_, a, _)| Some(SockaddrStorage::from(*a)))
            .collect();
        let mut headers = MultiHeaders::preallocate(run.len(), None);
        if let Ok(done) = sendmmsg(
            listen.fd.as_raw_fd(),
            &mut headers,
            &slices,
            &addrs,
            [],
            MsgFlags::empty(),
        ) {
            sent = done.count();
        }
    }
    // What the kernel did not take in one go is tried singly, so that one bad destination does not
    // cost the messages behind it.
    run[sent..].iter().for_each(one);
}

fn to_std(a: &SockaddrStorage) -> Option<SocketAddr> {
    a.as_sockaddr_in()
        .map(|s| SocketAddr::new(s.ip().into(), s.port()))
        .or_else(|| {
            a.as_sockaddr_in6()
                .map(|s| SocketAddr::new(s.ip().into(), s.port()))
        })
}
