//! The process that serves control clients: one poll loop, every socket non-blocking.
//!
//! A client has bounded input, and output that it must take within [`PATIENCE`]: while more than
//! [`ENOUGH`] of that waits, no further command of its is run. Where all places are taken, the client
//! that was silent for longest gives its own to a new one, so that an operator always gets in. A
//! command runs to its end before the next; commands are short, a reload is the longest.

use crate::address::{Address, Socket};
use nix::poll::{PollFd, PollFlags, poll};
use olelo_core::rpc::{self, Params, Value, fields, text};
use olelo_core::stats::Stat;
use olelo_core::timer::monotonic_ms;
use olelo_ipc::binrpc::{self, Body, Packet};
use olelo_ipc::signals::stopping;
use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

/// Most clients at once.
const MOST: usize = 128;
/// How long a client may leave an answer unread, or a packet unfinished.
const PATIENCE: u64 = 10_000;
/// Unread bytes of answers after which a client's next command waits.
const ENOUGH: usize = 64 << 10;
/// Room for one datagram.
const DATAGRAM: usize = 65_535;

/// What a UDP datagram holds.
const LONGEST_ANSWER: usize = 65_507;

/// Clients that had to go for new ones.
pub static EVICTED: Stat = Stat::counter(
    "ctl",
    "evicted",
    "silent control clients closed to let new ones in",
);
/// Answers that nobody took.
pub static LOST: Stat = Stat::counter(
    "ctl",
    "lost_answers",
    "answers to control commands that the client did not take",
);

trait Stream: Read + Write + AsFd {}
impl<T: Read + Write + AsFd> Stream for T {}

struct Client {
    stream: Box<dyn Stream>,
    name: String,
    input: Vec<u8>,
    output: Vec<u8>,
    /// When it was last heard or took something.
    seen: u64,
}

thread_local! {
    static NAMES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Clients connected, for `ctl.who`.
pub fn who() -> Vec<Value> {
    NAMES.with_borrow(|n| {
        n.iter()
            .map(|c| fields([("proto", text("binrpc")), ("client", text(c.clone()))]))
            .collect()
    })
}

/// Serves until told to end.
pub fn serve(addresses: &[Address]) {
    let mut clients: Vec<Client> = Vec::new();
    while !stopping() {
        let ready = wait(addresses, &clients);
        let now = monotonic_ms();
        let mut i = addresses.len();
        clients.retain_mut(|c| {
            let flags = ready.get(i).copied().unwrap_or(PollFlags::empty());
            i += 1;
            c.turn(flags, now)
        });
        for (a, flags) in addresses.iter().zip(&ready) {
            if !flags.is_empty() {
                take(a, &mut clients, now);
            }
        }
        NAMES.set(clients.iter().map(|c| c.name.clone()).collect());
    }
}

fn wait(addresses: &[Address], clients: &[Client]) -> Vec<PollFlags> {
    let listening = addresses
        .iter()
        .map(|a| PollFd::new(fd(&a.socket), PollFlags::POLLIN));
    let connected = clients.iter().map(|c| {
        let out = if c.output.is_empty() {
            PollFlags::POLLIN
        } else {
            PollFlags::POLLOUT
        };
        PollFd::new((*c.stream).as_fd(), out)
    });
    let mut fds: Vec<PollFd<'_>> = listening.chain(connected).collect();
    match poll(&mut fds, 1000u16) {
        Ok(_) => fds
            .iter()
            .map(|f| f.revents().unwrap_or(PollFlags::empty()))
            .collect(),
        Err(_) => vec![PollFlags::empty(); fds.len()],
    }
}

fn fd(s: &Socket) -> BorrowedFd<'_> {
    match s {
        Socket::Unix(s) => s.as_fd(),
        Socket::UnixDatagram(s) => s.as_fd(),
        Socket::Tcp(s) => s.as_fd(),
        Socket::Udp(s) => s.as_fd(),
    }
}

/// Accepts a client or answers a datagram.
fn take(a: &Address, clients: &mut Vec<Client>, now: u64) {
    let mut add = |stream: Box<dyn Stream>, name: String| {
        if clients.len() >= MOST
            && let Some((i, _)) = clients.iter().enumerate().min_by_key(|(_, c)| c.seen)
        {
            let gone = clients.remove(i);
            EVICTED.inc();
            olelo_core::notice!("ctl", "{} clients: {} has to go", MOST, gone.name);
        }
        clients.push(Client {
            stream,
            name,
            input: Vec::new(),
            output: Vec::new(),
            seen: now,
        });
    };
    let mut buf = vec![0u8; DATAGRAM];
    match &a.socket {
        Socket::Unix(s) => {
            if let Ok((c, _)) = s.accept()
                && c.set_nonblocking(true).is_ok()
            {
                add(Box::new(c), "unix socket".into());
            }
        }
        Socket::Tcp(s) => {
            if let Ok((c, peer)) = s.accept()
                && c.set_nonblocking(true).is_ok()
            {
                add(Box::new(c), peer.to_string());
            }
        }
        Socket::UnixDatagram(s) => {
            if let Ok((n, from)) = s.recv_from(&mut buf)
                && let Some(path) = from.as_pathname()
                && let Some(answer) = buf.get(..n).and_then(datagram)
                && s.send_to(&answer, path).is_err()
            {
                LOST.inc();
            }
        }
        Socket::Udp(s) => {
            if let Ok((n, from)) = s.recv_from(&mut buf)
                && let Some(answer) = buf.get(..n).and_then(datagram)
                && s.send_to(&answer, from).is_err()
            {
                LOST.inc();
            }
        }
    }
}

/// The answer to a datagram; nothing for what is no command.
fn datagram(bytes: &[u8]) -> Option<Vec<u8>> {
    let (packet, _) = binrpc::decode(bytes, DATAGRAM).ok()??;
    let cookie = packet.cookie;
    let whole = answer(packet);
    if whole.len() <= LONGEST_ANSWER {
        return Some(whole);
    }
    let why = format!("an answer of {} bytes fits no datagram", whole.len());
    let body = Body::Fault(500, why);
    Some(binrpc::encode(&Packet { cookie, body }))
}

fn answer(p: Packet) -> Vec<u8> {
    let body = match p.body {
        Body::Request(name, args) => match rpc::run(&name, &Params(args)) {
            Ok(values) => Body::Reply(values.into_iter().map(without_arrays).collect()),
            Err(f) => Body::Fault(i64::from(f.code), f.message),
        },
        _ => Body::Fault(400, "not a request".into()),
    };
    binrpc::encode(&Packet {
        cookie: p.cookie,
        body,
    })
}

/// kamcmd reads arrays at the top only: one inside is sent as a structure of nameless members, which
/// it prints the same way and which JSON clients turn back into an array.
fn without_arrays(v: Value) -> Value {
    match v {
        Value::Array(items) => Value::Struct(
            items
                .into_iter()
                .map(|i| (String::new(), without_arrays(i)))
                .collect(),
        ),
        Value::Struct(members) => Value::Struct(
            members
                .into_iter()
                .map(|(n, v)| (n, without_arrays(v)))
                .collect(),
        ),
        plain => plain,
    }
}

impl Client {
    /// Takes what the client sent, answers, sends. False: the client is gone.
    fn turn(&mut self, flags: PollFlags, now: u64) -> bool {
        if flags.is_empty() {
            let waits = !self.output.is_empty() || !self.input.is_empty();
            let patient = !waits || now <= self.seen + PATIENCE;
            if !patient && !self.output.is_empty() {
                LOST.inc();
            }
            return patient;
        }
        if flags.contains(PollFlags::POLLOUT) {
            let before = self.output.len();
            let lives = self.write();
            if self.output.len() < before {
                self.seen = now;
            }
            return lives && self.run();
        }
        self.seen = now;
        let mut buf = [0u8; 8192];
        let n = match self.stream.read(&mut buf) {
            Ok(0) => return false,
            Ok(n) => n,
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                return true;
            }
            Err(_) => return false,
        };
        self.input.extend_from_slice(&buf[..n]);
        self.run()
    }

    /// Runs the commands that have come whole, as long as the client takes the answers.
    fn run(&mut self) -> bool {
        while self.output.len() < ENOUGH {
            match binrpc::decode(&self.input, binrpc::MAX_REQUEST) {
                Ok(Some((packet, used))) => {
                    self.input.drain(..used);
                    self.output.extend(answer(packet));
                    if !self.write() {
                        return false;
                    }
                }
                Ok(None) => break,
                Err(e) => {
                    olelo_core::info!("ctl", "a client sent what is no command: {e}");
                    return false;
                }
            }
        }
        true
    }

    fn write(&mut self) -> bool {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(0) => return false,
                Ok(n) => drop(self.output.drain(..n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return true,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }
}
