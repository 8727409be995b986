//! A question to a relay and its answer: `cookie question` goes out, `cookie answer` comes back.
//!
//! The worker waits: scripts need the answer to go on. How long it waits at most is the caller's to
//! say, and is what parameters like `rtpengine_tout_ms` and `rtpengine_retr` are for. A datagram that is
//! lost is repeated with the same cookie, so that the relay does not do things twice; answers with
//! another cookie are late ones and are thrown away. Each process has its own sockets.

use crate::nodes::{Node, Place};
use socket2::{Domain, Socket, Type};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Largest answer, bytes.
const LARGEST: usize = 65535;

/// How a relay is asked.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// How long to wait for one answer.
    pub wait: Duration,
    /// How often to ask, at least once.
    pub tries: u32,
    /// Type of service of our datagrams, if not the system's.
    pub tos: Option<u32>,
    /// Our address, if not the system's choice.
    pub from: Option<IpAddr>,
}

thread_local! {
    static SOCKETS: RefCell<HashMap<SocketAddr, UdpSocket>> = RefCell::new(HashMap::new());
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// A text that no other question of this server had.
fn cookie() -> String {
    COUNT.set(COUNT.get() + 1);
    format!(
        "{:x}_{}_{}",
        olelo_core::proc::secret() as u32,
        std::process::id(),
        COUNT.get()
    )
}

/// Asks, and waits for the answer; without the cookie and what surrounds it.
pub fn ask(node: &Node, question: &[u8], how: &Manner) -> io::Result<Vec<u8>> {
    match &node.place {
        Place::Udp(addr) => over_udp(*addr, question, how),
        Place::Unix(path) => {
            // A stream has no use for repeats: one try with the whole of the time.
            let mut s = UnixStream::connect(path)?;
            s.set_read_timeout(Some(how.wait))?;
            s.set_write_timeout(Some(how.wait))?;
            s.write_all(&[question, b"\n"].concat())?;
            let mut answer = vec![0; LARGEST];
            let n = s.read(&mut answer)?;
            answer.truncate(n);
            Ok(answer.trim_ascii().to_vec())
        }
    }
}

fn over_udp(addr: SocketAddr, question: &[u8], how: &Manner) -> io::Result<Vec<u8>> {
    let cookie = cookie();
    let datagram = [cookie.as_bytes(), b" ", question].concat();
    SOCKETS.with_borrow_mut(|all| {
        let socket = match all.entry(addr) {
            std::collections::hash_map::Entry::Occupied(e) => e.into_mut(),
            std::collections::hash_map::Entry::Vacant(e) => e.insert(open(addr, how)?),
        };
        let mut last = io::Error::from(io::ErrorKind::TimedOut);
        for _ in 0..how.tries.max(1) {
            match once(socket, &datagram, cookie.as_bytes(), how.wait) {
                Ok(answer) => return Ok(answer),
                Err(e) => last = e,
            }
        }
        // A fresh one next time: the relay's host may have moved.
        all.remove(&addr);
        Err(last)
    })
}

fn open(addr: SocketAddr, how: &Manner) -> io::Result<UdpSocket> {
    let s = Socket::new(Domain::for_address(addr), Type::DGRAM, None)?;
    if let Some(ip) = how.from.filter(|ip| ip.is_ipv6() == addr.is_ipv6()) {
        s.bind(&SocketAddr::new(ip, 0).into())?;
    }
    if let (Some(tos), true) = (how.tos, addr.is_ipv4()) {
        s.set_tos_v4(tos)?;
    }
    s.connect(&addr.into())?;
    Ok(s.into())
}

/// Sends once and reads until the answer to this cookie is there or the time is over.
fn once(s: &UdpSocket, datagram: &[u8], cookie: &[u8], wait: Duration) -> io::Result<Vec<u8>> {
    let until = Instant::now() + wait;
    s.send(datagram)?;
    let mut buf = vec![0; LARGEST];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        s.set_read_timeout(Some(left))?;
        let n = match s.recv(&mut buf) {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(e) => return Err(e),
        };
        let rest = buf[..n].strip_prefix(cookie);
        if let Some(answer) = rest.and_then(|r| r.strip_prefix(b" ")) {
            return Ok(answer.to_vec());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(addr: SocketAddr) -> Node {
        Node {
            number: 0,
            set: 0,
            index: 0,
            url: String::new(),
            weight: 1,
            place: Place::Udp(addr),
        }
    }

    fn manner(wait: Duration, tries: u32) -> Manner {
        Manner {
            wait,
            tries,
            tos: None,
            from: None,
        }
    }

    #[test]
    fn a_lost_question_is_repeated_with_its_cookie_and_strange_answers_are_not_taken() {
        let relay = UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = relay.local_addr().unwrap();
        let peer = std::thread::spawn(move || {
            let mut buf = [0; 100];
            let (n, _) = relay.recv_from(&mut buf).unwrap();
            let first = buf[..n].to_vec();
            let (n, from) = relay.recv_from(&mut buf).unwrap();
            assert_eq!(first, &buf[..n]);
            relay.send_to(b"other answer", from).unwrap();
            let cookie = first.split(|b| *b == b' ').next().unwrap();
            relay.send_to(&[cookie, b" pong"].concat(), from).unwrap();
        });
        // The first try may only end by its time; the second has all the time there is.
        let short = manner(Duration::from_millis(50), 1000);
        assert_eq!(ask(&node(addr), b"ping", &short).unwrap(), b"pong");
        peer.join().unwrap();
    }

    #[test]
    fn nobody_there_is_an_error() {
        let gone = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        assert!(ask(&node(gone), b"ping", &manner(Duration::from_millis(20), 2)).is_err());
    }
}
