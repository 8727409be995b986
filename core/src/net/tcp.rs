//! TCP: who owns which connection, sending from anywhere, and a worker's event loop.
//!
//! A connection belongs to the worker that accepted or opened it. A shared table maps peer
//! addresses (and their `;alias`es) to connections, so that any process finds the owner; bytes for
//! another worker's connection are posted to its queue and it is woken. What is posted: connection
//! (or 0), peer, socket, bytes. Death of a worker closes its connections; main sweeps the table.

use super::socket::Listen;
use super::tcp_conn::{Conn, ConnError, Input};
use super::{ConnId, Dst, Proto, SendError, SendFlags, SocketId};
use crate::dns::blocklist;
use crate::route::ctx::Received;
use crate::stats::Stat;
use crate::timer::monotonic_ms;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use olelo_mem::heap::{Blob, Tag};
use olelo_mem::queue::Queue;
use olelo_mem::table::Table;
use olelo_sip::framing::{Frame, Framer};
use socket2::{Domain, Protocol, Socket, Type};
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::OnceLock;

/// Statistics of this file.
pub static STATS: [&Stat; 11] = [
    &OPENED,
    &ACCEPTED,
    &ESTABLISHED,
    &RESETS,
    &CONNECT_FAILED,
    &CURRENT,
    &QUEUE_FULL,
    &TIMEOUTS,
    &REFUSED,
    &SEND_TIMEOUTS,
    &WRITE_QUEUED,
];
static OPENED: Stat = Stat::counter("tcp", "connect_success", "connections opened");
static ACCEPTED: Stat = Stat::counter("tcp", "passive_open", "connections accepted");
static ESTABLISHED: Stat = Stat::counter("tcp", "established", "connections established");
static RESETS: Stat = Stat::counter("tcp", "con_reset", "connections ended by an error");
static CONNECT_FAILED: Stat = Stat::counter(
    "tcp",
    "connect_failed",
    "connections that could not be opened",
);
static QUEUE_FULL: Stat = Stat::counter(
    "tcp",
    "sendq_full",
    "messages refused because too much waits to be sent",
);
static TIMEOUTS: Stat = Stat::counter(
    "tcp",
    "con_timeout",
    "connections closed because they were idle",
);
static SEND_TIMEOUTS: Stat = Stat::counter(
    "tcp",
    "send_timeout",
    "connections closed because the peer did not read",
);
/// Bytes that wait to be sent, as the workers saw it within the last second.
pub static WRITE_QUEUED: Stat = Stat::counter(
    "tcp",
    "current_write_queue_size",
    "bytes that wait to be sent on all connections",
);
static REFUSED: Stat = Stat::counter(
    "tcp",
    "local_reject",
    "connections refused because there are too many",
);
static CURRENT: Stat = Stat::computed(
    "tcp",
    "current_opened_connections",
    "connections open now",
    || connections() as i64,
);

static SHARED: OnceLock<Shared> = OnceLock::new();

struct Shared {
    /// hash(peer address) → record [address 19][connection u64]
    table: Table,
    /// Slots of the TCP workers, and the queue of each.
    workers: Vec<(u16, Queue)>,
    tag: Tag,
}

/// Most messages that wait for one worker.
const POSTS: usize = 4096;

/// Makes the shared table and queues; main, before the forks. `slots` are the TCP workers'.
pub(crate) fn create(slots: &[u16]) -> Result<(), String> {
    let tag = Tag::register("tcp");
    let table = Table::create("tcp", 4096, tag).map_err(|e| e.to_string())?;
    let mut workers = Vec::new();
    for s in slots {
        workers.push((
            *s,
            Queue::create(&format!("tcp-{s}"), POSTS).map_err(|e| e.to_string())?,
        ));
    }
    let _ = SHARED.set(Shared {
        table,
        workers,
        tag,
    });
    Ok(())
}

/// Connections and aliases known.
pub fn connections() -> usize {
    SHARED.get().map_or(0, |s| s.table.len())
}

/// Every known connection: peer and connection.
pub fn list() -> Vec<(SocketAddr, ConnId)> {
    let mut out = Vec::new();
    if let Some(s) = SHARED.get() {
        s.table.for_each_bucket(|b| {
            out.extend(b.iter().filter_map(|r| decode_entry(r.bytes())));
        });
    }
    out
}

/// Forgets the connections of a dead worker; main, after the repair.
pub(crate) fn worker_died(slot: u16) {
    let Some(s) = SHARED.get() else { return };
    s.table.for_each_bucket(|b| {
        let gone: Vec<_> = b
            .iter()
            .filter(|r| decode_entry(r.bytes()).is_some_and(|(_, c)| c.slot == slot))
            .map(|r| r.id())
            .collect();
        for id in gone {
            b.remove(id);
        }
    });
}

/// The connection to a peer, if there is one.
pub fn find(peer: SocketAddr) -> Option<ConnId> {
    let s = SHARED.get()?;
    let b = s.table.lock(hash(peer));
    b.iter()
        .filter_map(|r| decode_entry(r.bytes()))
        .find(|(a, _)| *a == peer)
        .map(|(_, c)| c)
}

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
            ConnError::QueueFull(_) => SendError::Full(dst.addr),
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
struct Worker {
    slot: u16,
    epoll: Epoll,
    conns: HashMap<u32, Conn>,
    next: u32,
    /// What this worker has added to [`WRITE_QUEUED`].
    queued: i64,
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

/// Epoll keys: connections use their number.
const KEY_WAKE: u64 = 1 << 40;
const KEY_LISTEN: u64 = 1 << 41;

/// Accepts, reads and sends until `go_on` says stop, handing each message to `route`. `upkeep` runs
/// whenever the worker was woken or a second has passed.
pub fn event_loop(
    slot: u16,
    mut go_on: impl FnMut() -> bool,
    mut route: impl FnMut(Received, &[u8]),
) -> Result<(), String> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(|e| format!("epoll: {e}"))?;
    let listens: Vec<&Listen> = crate::server()
        .sockets
        .0
        .iter()
        .filter(|l| l.proto == Proto::Tcp)
        .collect();
    for (i, l) in listens.iter().enumerate() {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE;
        epoll
            .add(l.fd.as_fd(), EpollEvent::new(flags, KEY_LISTEN + i as u64))
            .map_err(|e| format!("epoll: {e}"))?;
    }
    let wake = olelo_ipc::wake::event_fd(slot).ok_or("no wake-up for this slot")?;
    epoll
        .add(wake, EpollEvent::new(EpollFlags::EPOLLIN, KEY_WAKE))
        .map_err(|e| format!("epoll: {e}"))?;
    // Numbers go on from the clock, so that a respawned worker doesn't take up a dead one's.
    let next = (monotonic_ms() as u32) | 1;
    WORKER.set(Some(Worker {
        slot,
        epoll,
        conns: HashMap::new(),
        next,
        queued: 0,
        unsent: Vec::new(),
    }));
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
                        if let Some(l) = listens.get((k - KEY_LISTEN) as usize) {
                            w.accept(l);
                        }
                    }
                    k => w.ready(k as u32, e.events(), &mut input),
                }
            }
            let now = monotonic_ms();
            if now >= swept + 1000 {
                swept = now;
                w.sweep(now);
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
        let c = self.conns.get_mut(&id.number)?;
        if c.closing {
            return Some(Err(ConnError::Closed));
        }
        let sent = c.send(bytes, now);
        let lifetime = crate::server().config.tcp_connection_lifetime * 1000;
        if !c.closing {
            c.expires_ms = c.expires_ms.max(now + lifetime);
        }
        if let Err(e) = &sent {
            if matches!(e, ConnError::QueueFull(_)) {
                QUEUE_FULL.inc();
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

    fn accept(&mut self, l: &Listen) {
        // A bounded number per event: the other connections of this worker want to be served too.
        for _ in 0..16 {
            let (s, peer) = match l.fd.accept() {
                Ok((s, p)) => (s, p.as_socket()),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(e) => {
                    crate::warn!("core", "accepting on {}: {e}", l.text());
                    return;
                }
            };
            let Some(peer) = peer else { continue };
            if connections() >= crate::server().config.tcp_max_connections {
                REFUSED.inc();
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
                Err(e) => crate::warn!("core", "connection from {peer}: {e}"),
            }
        }
    }

    fn adopt(
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
                    let more = c.read(&mut |i| match i {
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
                    c.send(b"\r\n", now)?;
                }
            }
            Ok::<(), ConnError>(())
        })();
        match result {
            Ok(()) => self.watch(number),
            Err(e) => {
                let failed = c.connecting;
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

    fn sweep(&mut self, now: u64) {
        let config = &crate::server().config;
        let stuck = |c: &Conn| {
            c.blocked_since_ms != 0 && now > c.blocked_since_ms + config.tcp_send_timeout * 1000
        };
        let old: Vec<(u32, bool, bool)> = self
            .conns
            .values()
            .filter(|c| now > c.expires_ms || stuck(c))
            .map(|c| (c.id.number, c.connecting, stuck(c)))
            .collect();
        let waiting = self.conns.values().map(|c| c.waiting() as i64).sum();
        WRITE_QUEUED.add(waiting - self.queued);
        self.queued = waiting;
        for (number, connecting, stuck) in old {
            if connecting {
                CONNECT_FAILED.inc();
            } else if stuck {
                SEND_TIMEOUTS.inc();
            } else {
                TIMEOUTS.inc();
            }
            self.close(number, false);
        }
    }

    fn close(&mut self, number: u32, reset: bool) {
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
        let _ = self.epoll.delete(c.stream());
        forget(c.peer, c.id);
        for a in &c.aliases {
            forget(*a, c.id);
        }
    }
}

fn remember(peer: SocketAddr, id: ConnId) {
    let Some(s) = SHARED.get() else { return };
    let mut b = s.table.lock(hash(peer));
    let entry = encode_addr(peer);
    if b.insert(&[&entry, &id.to_bits().to_le_bytes()], Vec::new(), &[])
        .is_err()
    {
        crate::warn!(
            "core",
            "shared memory is short: the connection to {peer} won't be reused by other workers"
        );
    }
}

fn forget(peer: SocketAddr, id: ConnId) {
    let Some(s) = SHARED.get() else { return };
    let mut b = s.table.lock(hash(peer));
    let found = b
        .iter()
        .find(|r| decode_entry(r.bytes()) == Some((peer, id)))
        .map(|r| r.id());
    if let Some(n) = found {
        b.remove(n);
    }
}

/// The address may be any peer's, so the hash is keyed per server.
fn hash(a: SocketAddr) -> u32 {
    let mut h = DefaultHasher::new();
    crate::proc::secret().hash(&mut h);
    a.hash(&mut h);
    h.finish() as u32
}

/// `[family][16 bytes of address][port]`.
fn encode_addr(a: SocketAddr) -> [u8; 19] {
    let mut out = [0u8; 19];
    match a.ip() {
        IpAddr::V4(v) => {
            out[0] = 4;
            out[1..5].copy_from_slice(&v.octets());
        }
        IpAddr::V6(v) => {
            out[0] = 6;
            out[1..17].copy_from_slice(&v.octets());
        }
    }
    out[17..].copy_from_slice(&a.port().to_le_bytes());
    out
}

fn decode_addr(b: &[u8]) -> Option<SocketAddr> {
    let ip = match b.first()? {
        4 => IpAddr::from(<[u8; 4]>::try_from(b.get(1..5)?).ok()?),
        6 => IpAddr::from(<[u8; 16]>::try_from(b.get(1..17)?).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(
        ip,
        u16::from_le_bytes(b.get(17..19)?.try_into().ok()?),
    ))
}

fn decode_entry(b: &[u8]) -> Option<(SocketAddr, ConnId)> {
    Some((decode_addr(b)?, ConnId::from_bits(word(b, 19)?)?))
}

fn word(b: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(b.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip_and_garbage_is_refused() {
        for text in ["127.0.0.1:5060", "[2001:db8::1]:65535"] {
            let a: SocketAddr = text.parse().unwrap();
            assert_eq!(decode_addr(&encode_addr(a)), Some(a));
        }
        assert_eq!(decode_addr(&[9; 19]), None);
        assert_eq!(decode_addr(&[4, 1]), None);
    }
}
