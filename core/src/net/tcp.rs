//! TCP: sending from anywhere, and a worker's event loop.
//!
//! A connection belongs to the worker that accepted or opened it. A shared table ([`tcp_table`]) maps
//! peer addresses (and their `;alias`es) to connections, so that any process finds the owner; bytes
//! for another worker's connection are posted to its queue and it is woken. Death of a worker closes
//! its connections; main sweeps the table.
//!
//! A peer costs its own connection at most: how many there are, and how many from one address, how
//! long a message may take to arrive, what waits to be sent and for how long are bounded
//! (`tcp_max_connections`, `tcp_accept_iplimit`, `tcp_msg_read_timeout`, `tcp_conn_wq_max`,
//! `tcp_wq_max`, `tcp_send_timeout`), and each bound has its counter.
//!
//! [`tcp_table`]: super::tcp_table

use super::socket::Listen;
use super::tcp_conn::{Conn, ConnError, Input};
use super::tcp_stats::{BAD_STREAM, CONNECT_FAILED, ESTABLISHED, OPENED, QUEUE_FULL, RESETS};
pub use super::tcp_stats::{STATS, WRITE_QUEUED};
use super::tcp_table::{
    POSTS, SHARED, decode_addr, encode_addr, forget, give_source, hash, remember, word,
};
pub use super::tcp_table::{connections, find, list};
pub(crate) use super::tcp_table::{create, worker_died};
use super::{ConnId, Dst, Proto, SendError, SendFlags, SocketId};
use crate::dns::blocklist;
use crate::route::ctx::Received;
use crate::timer::monotonic_ms;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use olelo_mem::heap::Blob;
use olelo_sip::framing::{Frame, Framer};
use socket2::{Domain, Protocol, Socket, Type};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::net::SocketAddr;

/// Sends on the connection to `dst`, opening one where there is none.
pub fn send(dst: &Dst, bytes: &[u8]) -> Result<(), SendError> {
    let conn = dst.conn.or_else(|| find(dst.addr));
    if conn.is_none() && (dst.flags.no_connect || crate::server().config.tcp_no_connect) {
        return Err(SendError::NoConnection(dst.addr));
    }
    if let Some(result) =
        WORKER.with_borrow_mut(|w| w.as_mut().and_then(|w| w.send_here(conn, dst, bytes)))
    {
        return result.map_err(|e| match e {
            ConnError::QueueFull(_) | ConnError::AllFull => SendError::Full(dst.addr),
            ConnError::Io(source) => SendError::Io {
                proto: "tcp",
                addr: dst.addr,
                bytes: bytes.len(),
                source,
            },
            _ => SendError::NoConnection(dst.addr),
        });
    }
    post(conn, dst, bytes)
}

/// Posts bytes to the worker that owns the connection, or that is to open it.
fn post(conn: Option<ConnId>, dst: &Dst, bytes: &[u8]) -> Result<(), SendError> {
    let s = SHARED
        .get()
        .filter(|s| !s.workers.is_empty())
        .ok_or(SendError::NoSocket("tcp"))?;
    let (slot, queue) = match conn {
        Some(c) => s.workers.iter().find(|(slot, _)| *slot == c.slot),
        // The same peer always goes to the same worker, so that two senders open one connection.
        None => s.workers.get(hash(dst.addr) as usize % s.workers.len()),
    }
    .ok_or(SendError::NoConnection(dst.addr))?;
    let mut head = conn.map_or(0, ConnId::to_bits).to_le_bytes().to_vec();
    head.extend(dst.socket.0.to_le_bytes());
    head.push(dst.flags.to_bits());
    head.extend(encode_addr(dst.addr));
    let blob = Blob::from_parts(&[&head, bytes], s.tag).map_err(|_| SendError::Full(dst.addr))?;
    if queue.push(blob).is_err() {
        QUEUE_FULL.inc();
        return Err(SendError::Full(dst.addr));
    }
    olelo_ipc::wake::post(*slot);
    Ok(())
}

thread_local! {
    static WORKER: RefCell<Option<Worker>> = const { RefCell::new(None) };
}

/// The connections of this process.
pub(super) struct Worker {
    pub(super) slot: u16,
    pub(super) epoll: Epoll,
    pub(super) conns: HashMap<u32, Conn>,
    next: u32,
    /// Bytes that wait to be sent on this worker's connections.
    pub(super) waiting: usize,
    /// What this worker has added to [`WRITE_QUEUED`].
    pub(super) queued: i64,
    /// Bytes that waited in other workers when it was last looked.
    pub(super) waiting_elsewhere: usize,
    /// Given up for a moment where descriptors have run out, to accept and close: a client that is
    /// left in the kernel's queue would wake the worker without end.
    pub(super) spare: Option<File>,
    /// Sockets left alone until the next sweep.
    pub(super) deaf: Vec<&'static Listen>,
    /// What waited for connections that did not open.
    unsent: Vec<(Dst, Vec<u8>)>,
}

/// A connection that bytes can be sent on.
enum Usable {
    /// Of this worker.
    Mine(ConnId),
    /// Of another worker.
    Others(ConnId),
    /// There is none.
    No,
}

/// How long a connection that we close waits for the peer to close its side, milliseconds.
const CLOSING_MS: u64 = 3000;

/// How often connections are looked at for what takes too long, milliseconds.
const SWEEP_MS: u64 = 1000;

/// Epoll keys: connections use their number.
const KEY_WAKE: u64 = 1 << 40;
pub(super) const KEY_LISTEN: u64 = 1 << 41;

/// Accepts, reads and sends until `go_on` says stop, handing each message to `route`. `upkeep` runs
/// whenever the worker was woken or a second has passed.
pub fn event_loop(
    slot: u16,
    mut go_on: impl FnMut() -> bool,
    mut route: impl FnMut(Received, &[u8]),
) -> Result<(), String> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(|e| format!("epoll: {e}"))?;
    let wake = olelo_ipc::wake::event_fd(slot).ok_or("no wake-up for this slot")?;
    epoll
        .add(wake, EpollEvent::new(EpollFlags::EPOLLIN, KEY_WAKE))
        .map_err(|e| format!("epoll: {e}"))?;
    // Numbers go on from the clock, so that a respawned worker doesn't take up a dead one's.
    let next = (monotonic_ms() as u32) | 1;
    let mut worker = Worker {
        slot,
        epoll,
        conns: HashMap::new(),
        next,
        waiting: 0,
        queued: 0,
        waiting_elsewhere: 0,
        spare: File::open("/dev/null").ok(),
        deaf: Vec::new(),
        unsent: Vec::new(),
    };
    let sockets = &crate::server().sockets;
    let streams = sockets.0.iter().filter(|l| l.proto == Proto::Tcp);
    streams.for_each(|l| worker.listen(l));
    WORKER.set(Some(worker));
    let mut events = vec![EpollEvent::empty(); 64];
    let mut swept = monotonic_ms();
    while go_on() {
        let n = WORKER.with_borrow(|w| {
            w.as_ref().map_or(0, |w| {
                w.epoll
                    .wait(&mut events, EpollTimeout::from(1000u16))
                    .unwrap_or(0)
            })
        });
        let mut input = Vec::new();
        let mut unsent = Vec::new();
        WORKER.with_borrow_mut(|w| {
            let Some(w) = w else { return };
            for e in &events[..n] {
                match e.data() {
                    KEY_WAKE => {
                        olelo_ipc::wake::drain(slot);
                        w.take_posts();
                    }
                    k if k >= KEY_LISTEN => {
                        if let Some(l) = sockets.get(SocketId((k - KEY_LISTEN) as u16)) {
                            w.accept(l);
                        }
                    }
                    k => w.ready(k as u32, e.events(), &mut input),
                }
            }
            let now = monotonic_ms();
            if now >= swept + SWEEP_MS {
                // After a pause of this process the peers get a round to be heard first.
                if now < swept + 5 * SWEEP_MS {
                    w.sweep(now);
                }
                swept = now;
                w.take_posts();
            }
            unsent = std::mem::take(&mut w.unsent);
        });
        // Routing may send on these very connections, so the worker is not borrowed here.
        super::udp::hold();
        for (rcv, bytes) in input {
            route(rcv, &bytes);
        }
        for (dst, bytes) in unsent {
            not_sent(&dst, &bytes);
        }
        super::udp::flush();
    }
    Ok(())
}

/// Says of each message that waited for a connection that it will not be sent.
fn not_sent(dst: &Dst, bytes: &[u8]) {
    let mut framer = Framer::new(bytes.len()).accept_no_content_length(true);
    let mut rest = bytes;
    loop {
        match framer.next(rest) {
            Frame::KeepAlive(n) => rest = rest.get(n..).unwrap_or_default(),
            Frame::Message(n) => {
                let (message, tail) = rest.split_at(n.min(rest.len()));
                crate::hooks::UNSENT
                    .list()
                    .iter()
                    .for_each(|h| h(dst, message));
                rest = tail;
            }
            _ => return,
        }
    }
}

/// Registers another address for a connection of this worker (`;alias`, `tcp_accept_aliases`).
pub fn add_alias(conn: ConnId, alias: SocketAddr) {
    WORKER.with_borrow_mut(|w| {
        let Some(c) = w.as_mut().and_then(|w| w.conns.get_mut(&conn.number)) else {
            return;
        };
        if c.id == conn && c.aliases.len() < 8 && !c.aliases.contains(&alias) {
            c.aliases.push(alias);
            remember(alias, conn);
        }
    });
}

/// Asks the owner to close the connection once what waits is sent. False: not known here.
pub fn set_lifetime(conn: ConnId, seconds: u64) -> bool {
    WORKER.with_borrow_mut(
        |w| match w.as_mut().and_then(|w| w.conns.get_mut(&conn.number)) {
            Some(c) if c.id == conn => {
                c.expires_ms = monotonic_ms() + seconds * 1000;
                true
            }
            _ => false,
        },
    )
}

impl Worker {
    /// Sends on this worker's connection, opening one where there is none; hands over what belongs to
    /// another worker.
    fn send_here(
        &mut self,
        conn: Option<ConnId>,
        dst: &Dst,
        bytes: &[u8],
    ) -> Option<Result<(), ConnError>> {
        let id = match self.usable(conn, dst.addr) {
            Usable::Mine(c) => c,
            Usable::Others(c) => {
                let posted = post(Some(c), dst, bytes);
                return Some(posted.map_err(|_| ConnError::QueueFull(POSTS)));
            }
            Usable::No if dst.flags.no_connect => return Some(Err(ConnError::NotAllowed)),
            Usable::No => match self.connect(dst) {
                Ok(c) => c,
                Err(e) => return Some(Err(e)),
            },
        };
        let now = monotonic_ms();
        let config = &crate::server().config;
        let room = config
            .tcp_wq_max
            .saturating_sub(self.waiting + self.waiting_elsewhere);
        let c = self.conns.get_mut(&id.number)?;
        if c.closing {
            return Some(Err(ConnError::Closed));
        }
        let before = c.waiting();
        let sent = c.send(bytes, room, now);
        self.waiting = (self.waiting + c.waiting()).saturating_sub(before);
        if !c.closing {
            c.expires_ms = c
                .expires_ms
                .max(now + config.tcp_connection_lifetime * 1000);
        }
        if let Err(e) = &sent {
            if matches!(e, ConnError::QueueFull(_) | ConnError::AllFull) {
                QUEUE_FULL.inc();
            }
            if matches!(e, ConnError::AllFull) {
                return Some(sent);
            }
            crate::warn!("core", "connection to {}: {e}", dst.addr);
            self.close(id.number, true);
        } else {
            if dst.flags.close {
                self.end_after_output(id.number);
            }
            self.watch(id.number);
        }
        Some(sent)
    }

    /// Which connection to use for what was meant for `conn`: that one, or, if it has ended since
    /// (a contact's from when it registered), another one with the same peer.
    fn usable(&self, conn: Option<ConnId>, peer: SocketAddr) -> Usable {
        let lives = |c: &ConnId| self.conns.get(&c.number).is_some_and(|l| l.id == *c);
        match conn {
            Some(c) if c.slot != self.slot => return Usable::Others(c),
            Some(c) if lives(&c) => return Usable::Mine(c),
            _ => {}
        }
        match find(peer) {
            Some(c) if c.slot != self.slot => Usable::Others(c),
            Some(c) if lives(&c) => Usable::Mine(c),
            _ => Usable::No,
        }
    }

    fn connect(&mut self, dst: &Dst) -> Result<ConnId, ConnError> {
        let domain = if dst.addr.is_ipv6() {
            Domain::IPV6
        } else {
            Domain::IPV4
        };
        let s = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        s.set_nonblocking(true)?;
        s.set_tcp_nodelay(true)?;
        if let Some(l) = crate::server()
            .sockets
            .get(dst.socket)
            .filter(|l| !l.addr.ip().is_unspecified())
        {
            s.bind(&SocketAddr::new(l.addr.ip(), 0).into())?;
        }
        if let Err(e) = s.connect(&dst.addr.into())
            && e.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32)
        {
            CONNECT_FAILED.inc();
            return Err(e.into());
        }
        let local = s.local_addr()?.as_socket().unwrap_or(dst.addr);
        self.adopt(s.into(), dst.addr, local, dst.socket, true)
    }

    pub(super) fn adopt(
        &mut self,
        s: std::net::TcpStream,
        peer: SocketAddr,
        local: SocketAddr,
        socket: SocketId,
        connecting: bool,
    ) -> Result<ConnId, ConnError> {
        let id = ConnId {
            slot: self.slot,
            number: self.next,
        };
        self.next = self.next.wrapping_add(1).max(1);
        let mut c = Conn::new(id, s, peer, local, socket, connecting);
        c.counted = !connecting && crate::server().config.tcp_accept_iplimit > 0;
        let config = &crate::server().config;
        let life = if connecting {
            config.tcp_connect_timeout
        } else {
            config.tcp_connection_lifetime
        };
        c.expires_ms = monotonic_ms() + life * 1000;
        let mut flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
        flags.set(EpollFlags::EPOLLOUT, connecting);
        self.epoll
            .add(c.stream(), EpollEvent::new(flags, u64::from(id.number)))
            .map_err(std::io::Error::from)?;
        remember(peer, id);
        self.conns.insert(id.number, c);
        if !connecting {
            ESTABLISHED.inc();
        }
        Ok(id)
    }

    /// A connection can be read or written.
    fn ready(&mut self, number: u32, events: EpollFlags, input: &mut Vec<(Received, Vec<u8>)>) {
        let now = monotonic_ms();
        let Some(c) = self.conns.get_mut(&number) else {
            return;
        };
        let config = &crate::server().config;
        let waited = c.waiting();
        let result = (|| {
            if c.connecting
                && events
                    .intersects(EpollFlags::EPOLLOUT | EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP)
            {
                c.take_error()?;
                c.connecting = false;
                c.expires_ms = now + config.tcp_connection_lifetime * 1000;
                OPENED.inc();
                ESTABLISHED.inc();
            }
            if events.contains(EpollFlags::EPOLLOUT) {
                c.flush(now)?;
            }
            if events
                .intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLRDHUP)
            {
                let rcv = Received {
                    proto: Proto::Tcp,
                    src: c.peer,
                    dst: c.local,
                    socket: c.socket,
                    conn: Some(c.id),
                };
                let mut pings = 0;
                let closing = c.closing;
                // A peer that never stops sending gets a bounded share of each turn.
                for _ in 0..4 {
                    let more = c.read(now, &mut |i| match i {
                        _ if closing => {}
                        Input::Message(bytes) => input.push((rcv, bytes)),
                        Input::Ping => pings += 1,
                    })?;
                    if !more {
                        break;
                    }
                }
                if !closing {
                    c.expires_ms = c
                        .expires_ms
                        .max(now + config.tcp_connection_lifetime * 1000);
                }
                if pings > 0 && config.tcp_crlf_ping {
                    c.send(b"\r\n", config.tcp_wq_max, now)?;
                }
            }
            Ok::<(), ConnError>(())
        })();
        self.waiting = (self.waiting + c.waiting()).saturating_sub(waited);
        match result {
            Ok(()) => self.watch(number),
            Err(e) => {
                let failed = c.connecting;
                if matches!(e, ConnError::Framing(_)) {
                    BAD_STREAM.inc();
                }
                let orderly = matches!(e, ConnError::Closed);
                if failed {
                    CONNECT_FAILED.inc();
                }
                if !orderly {
                    crate::info!("core", "connection with {}: {e}", c.peer);
                }
                self.close(number, !orderly && !failed);
            }
        }
    }

    /// Takes the bytes that other processes posted.
    fn take_posts(&mut self) {
        let Some(s) = SHARED.get() else { return };
        let Some((_, queue)) = s.workers.iter().find(|(slot, _)| *slot == self.slot) else {
            return;
        };
        for _ in 0..POSTS {
            let Some(blob) = queue.pop() else { return };
            let b = blob.as_bytes();
            let (Some(conn), Some(socket), Some(flags), Some(addr)) = (
                word(b, 0),
                b.get(8..10),
                b.get(10),
                b.get(11..30).and_then(decode_addr),
            ) else {
                continue;
            };
            let conn = ConnId::from_bits(conn).filter(|c| c.slot == self.slot);
            let dst = Dst {
                proto: Proto::Tcp,
                addr,
                socket: SocketId(u16::from_le_bytes([socket[0], socket[1]])),
                conn,
                flags: SendFlags::from_bits(*flags),
            };
            if let Some(Err(e)) = self.send_here(conn, &dst, b.get(30..).unwrap_or_default()) {
                super::ERR_SEND.inc();
                crate::warn!("core", "can't send to tcp:{addr}: {e}");
                if matches!(e, ConnError::Io(_)) {
                    blocklist::failed(&dst, blocklist::reason::CONNECT);
                }
                let bytes = b.get(30..).unwrap_or_default().to_vec();
                self.unsent.push((dst, bytes));
            }
        }
    }

    /// Has a connection closed once all is sent; nobody else finds it any more.
    fn end_after_output(&mut self, number: u32) {
        let Some(c) = self.conns.get_mut(&number) else {
            return;
        };
        c.closing = true;
        c.expires_ms = monotonic_ms() + CLOSING_MS;
        forget(c.peer, c.id);
        for a in std::mem::take(&mut c.aliases) {
            forget(a, c.id);
        }
    }

    /// Asks for write events only while something waits; no system call where nothing changed.
    fn watch(&mut self, number: u32) {
        let Some(c) = self.conns.get_mut(&number) else {
            return;
        };
        let wanted = c.has_output();
        if c.closing && !wanted {
            c.end_output();
        }
        if wanted == c.watched_for_output {
            return;
        }
        c.watched_for_output = wanted;
        let mut flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
        flags.set(EpollFlags::EPOLLOUT, wanted);
        let _ = self
            .epoll
            .modify(c.stream(), &mut EpollEvent::new(flags, u64::from(number)));
    }

    pub(super) fn close(&mut self, number: u32, reset: bool) {
        let Some(mut c) = self.conns.remove(&number) else {
            return;
        };
        if c.connecting {
            let dst = Dst {
                proto: Proto::Tcp,
                addr: c.peer,
                socket: c.socket,
                conn: None,
                flags: SendFlags::default(),
            };
            blocklist::failed(&dst, blocklist::reason::CONNECT);
            self.unsent.push((dst, c.take_output()));
        }
        if reset {
            RESETS.inc();
        }
        if c.counted {
            give_source(c.peer.ip(), self.slot);
        }
        self.waiting = self.waiting.saturating_sub(c.waiting());
        let _ = self.epoll.delete(c.stream());
        forget(c.peer, c.id);
        for a in &c.aliases {
            forget(*a, c.id);
        }
    }
}
