//! Who is let in, and who has to go: the bounds that keep one peer's misbehaviour its own.
//!
//! A client is refused where there are too many connections, at all or from its address, or where
//! descriptors have run out. Once a second each worker closes those of its connections that were
//! idle, did not read or did not finish a message for too long. Counters are in [`tcp_stats`]; lines
//! of the log that a peer can cause at will are rare.
//!
//! [`tcp_stats`]: super::tcp_stats

use super::socket::Listen;
use super::tcp::{KEY_LISTEN, Worker};
use super::tcp_conn::Conn;
use super::tcp_stats::{
    ACCEPTED, CONNECT_FAILED, READ_TIMEOUTS, REFUSED, SEND_TIMEOUTS, TIMEOUTS, WRITE_QUEUED,
};
use super::tcp_table::{connections, give_source, take_source};
use crate::log::Seldom;
use crate::stats::Stat;
use nix::sys::epoll::{EpollEvent, EpollFlags};
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsFd;

impl Worker {
    /// Takes the clients that wait at a socket.
    pub(super) fn accept(&mut self, l: &'static Listen) {
        // A bounded number per event: the other connections of this worker want to be served too.
        for _ in 0..16 {
            let (s, peer) = match l.fd.accept() {
                Ok((s, p)) => (s, p.as_socket()),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(e) => {
                    self.cannot_accept(l, &e);
                    return;
                }
            };
            let Some(peer) = peer else { continue };
            let config = &crate::server().config;
            let most = config.tcp_max_connections;
            if connections() >= most {
                refused(peer, &format!("there are {most} (tcp_max_connections)"));
                continue;
            }
            let (ip, most) = (peer.ip(), config.tcp_accept_iplimit);
            if most > 0 && !take_source(ip, self.slot, most) {
                refused(peer, &format!("{ip} has {most} (tcp_accept_iplimit)"));
                continue;
            }
            let _ = s.set_nonblocking(true);
            let _ = s.set_tcp_nodelay(true);
            let local = s
                .local_addr()
                .ok()
                .and_then(|a| a.as_socket())
                .unwrap_or(l.addr);
            match self.adopt(s.into(), peer, local, l.id, false) {
                Ok(_) => ACCEPTED.inc(),
                Err(e) => {
                    if most > 0 {
                        give_source(ip, self.slot);
                    }
                    crate::warn!("core", "connection from {peer}: {e}");
                }
            }
        }
    }

    /// Where descriptors have run out, the next client is taken and turned away. Where that fails,
    /// too, the socket is left alone for a while: it would wake this worker without end.
    fn cannot_accept(&mut self, l: &'static Listen, e: &std::io::Error) {
        static SAID: Seldom = Seldom::new();
        if let Some(held) = SAID.pass() {
            let times = held + 1;
            crate::error!(
                "core",
                "accepting on {}: {e}; {times} times lately",
                l.text()
            );
        }
        self.spare = None;
        if l.fd.accept().is_ok() {
            REFUSED.inc();
        } else if self.epoll.delete(l.fd.as_fd()).is_ok() {
            self.deaf.push(l);
        }
        self.spare = File::open("/dev/null").ok();
    }

    /// Closes what has been idle, stuck or unfinished for too long, and tells what waits.
    pub(super) fn sweep(&mut self, now: u64) {
        let old: Vec<(u32, &Stat)> = self
            .conns
            .values()
            .filter_map(|c| Some((c.id.number, overdue(c, now)?)))
            .collect();
        for (number, why) in old {
            why.inc();
            self.close(number, false);
        }
        self.waiting = self.conns.values().map(Conn::waiting).sum();
        WRITE_QUEUED.add(self.waiting as i64 - self.queued);
        self.queued = self.waiting as i64;
        self.waiting_elsewhere = (WRITE_QUEUED.get() - self.queued).max(0) as usize;
        for l in std::mem::take(&mut self.deaf) {
            self.listen(l);
        }
    }

    /// Has clients at a socket wake one of the workers.
    pub(super) fn listen(&mut self, l: &'static Listen) {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE;
        let event = EpollEvent::new(flags, KEY_LISTEN + u64::from(l.id.0));
        if let Err(e) = self.epoll.add(l.fd.as_fd(), event) {
            crate::error!("core", "can't listen on {}: {e}", l.text());
        }
    }
}

/// What counts the end of a connection that has to be closed now.
fn overdue(c: &Conn, now: u64) -> Option<&'static Stat> {
    let config = &crate::server().config;
    let over = |since: u64, seconds: u64| since != 0 && now > since + seconds * 1000;
    if now > c.expires_ms {
        Some(if c.connecting {
            &CONNECT_FAILED
        } else {
            &TIMEOUTS
        })
    } else if over(c.blocked_since_ms, config.tcp_send_timeout) {
        Some(&SEND_TIMEOUTS)
    } else if over(c.unfinished_since_ms, c.time_to_finish()) {
        Some(&READ_TIMEOUTS)
    } else {
        None
    }
}

/// Counts a client that is turned away.
fn refused(peer: SocketAddr, why: &str) {
    static SAID: Seldom = Seldom::new();
    REFUSED.inc();
    if let Some(held) = SAID.pass() {
        let more = match held {
            0 => String::new(),
            n => format!("; {n} more lately"),
        };
        crate::warn!("core", "connection from {peer} refused: {why}{more}");
    }
}
