//! Traffic: a closed loop of transactions over UDP, a fixed number in flight.

use olelo_sip::{HeaderName, Message};
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Transactions in flight.
const WINDOW: usize = 32;
/// How long a transaction may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// How a run went.
#[derive(Debug, Default, Clone, Copy)]
pub struct Outcome {
    /// Transactions that ended with 200.
    pub done: u64,
    /// Transactions that did not.
    pub failed: u64,
}

/// An OPTIONS to the server itself.
pub fn options(me: SocketAddr, n: u64) -> String {
    request("OPTIONS", "sip:bench.local", me, n, "probe", "")
}

fn request(method: &str, uri: &str, me: SocketAddr, n: u64, user: &str, extra: &str) -> String {
    let id = format!("{}-{}-{n}", std::process::id(), me.port());
    let to = if method == "REGISTER" {
        format!("sip:{user}@bench.local")
    } else {
        uri.to_string()
    };
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bK{id};rport\r\nFrom: <sip:{user}@bench.local>;tag={id}\r\nTo: <{to}>\r\nCall-ID: {id}@bench\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\nUser-Agent: olelo-bench\r\n{extra}Content-Length: 0\r\n\r\n"
    )
}

/// Sends `count` requests made by `make` and counts their 200s.
fn closed_loop(
    server: SocketAddr,
    count: u64,
    make: impl Fn(SocketAddr, u64) -> String,
) -> io::Result<Outcome> {
    let s = UdpSocket::bind("127.0.0.1:0")?;
    s.set_read_timeout(Some(Duration::from_millis(20)))?;
    let me = s.local_addr()?;
    let mut flying: HashMap<u64, Instant> = HashMap::new();
    let (mut next, mut out, mut buf) = (0, Outcome::default(), [0u8; 4096]);
    while next < count || !flying.is_empty() {
        // A server that refuses everything is found out early.
        if out.failed > 1000 && out.done == 0 {
            return Err(io::Error::other(
                "no transaction succeeded; look at the server's log",
            ));
        }
        while flying.len() < WINDOW && next < count {
            s.send_to(make(me, next).as_bytes(), server)?;
            flying.insert(next, Instant::now());
            next += 1;
        }
        match s.recv(&mut buf) {
            Ok(n) => {
                let ok = buf.starts_with(b"SIP/2.0 200");
                if let Some(id) = transaction(&buf[..n])
                    && flying.remove(&id).is_some()
                {
                    if ok { out.done += 1 } else { out.failed += 1 }
                }
            }
            Err(_) => {
                let before = flying.len();
                flying.retain(|_, t| t.elapsed() < PATIENCE);
                out.failed += (before - flying.len()) as u64;
            }
        }
    }
    Ok(out)
}

/// The number that `request` put into the branch.
fn transaction(reply: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(reply).ok()?;
    let branch = text
        .split("branch=z9hG4bK")
        .nth(1)?
        .split([';', '\r'])
        .next()?;
    branch.rsplit('-').next()?.parse().ok()
}

/// OPTIONS to the server.
pub fn run_options(server: SocketAddr, count: u64) -> io::Result<Outcome> {
    closed_loop(server, count, options)
}

/// REGISTERs of `users` users, over and over.
pub fn run_register(
    server: SocketAddr,
    count: u64,
    users: u64,
    contact: Option<SocketAddr>,
) -> io::Result<Outcome> {
    closed_loop(server, count, |me, n| {
        let user = format!("u{}", n % users);
        let extra = format!(
            "Contact: <sip:{user}@{}>\r\nExpires: 3600\r\n",
            contact.unwrap_or(me)
        );
        request("REGISTER", "sip:bench.local", me, n, &user, &extra)
    })
}

/// Calls through the proxy: INVITE 180 200 ACK BYE 200, caller and callee in this process.
pub fn run_calls(server: SocketAddr, count: u64, users: u64) -> io::Result<Outcome> {
    let callee = UdpSocket::bind("127.0.0.1:0")?;
    let caller = UdpSocket::bind("127.0.0.1:0")?;
    run_register(server, users, users, Some(callee.local_addr()?))?;
    for s in [&callee, &caller] {
        s.set_nonblocking(true)?;
    }
    let me = caller.local_addr()?;
    let mut flying: HashMap<u64, Instant> = HashMap::new();
    let (mut next, mut out, mut buf) = (0, Outcome::default(), [0u8; 4096]);
    while next < count || !flying.is_empty() {
        while flying.len() < WINDOW && next < count {
            let uri = format!("sip:u{}@bench.local", next % users);
            caller.send_to(
                request(
                    "INVITE",
                    &uri,
                    me,
                    next,
                    "caller",
                    &format!("Contact: <sip:caller@{me}>\r\n"),
                )
                .as_bytes(),
                server,
            )?;
            flying.insert(next, Instant::now());
            next += 1;
        }
        let mut idle = true;
        while let Ok(n) = callee.recv(&mut buf) {
            idle = false;
            answer(&callee, server, &buf[..n])?;
        }
        while let Ok(n) = caller.recv(&mut buf) {
            idle = false;
            if !buf.starts_with(b"SIP/2.0 2") {
                continue;
            }
            let Ok(m) = Message::from_bytes(&buf[..n]) else {
                continue;
            };
            let Some(id) = transaction(&buf[..n]) else {
                continue;
            };
            match m.cseq().map(|c| c.number) {
                Some(1) if flying.contains_key(&id) => {
                    caller.send_to(in_dialog("ACK", 1, me, id, &m).as_bytes(), server)?;
                    caller.send_to(in_dialog("BYE", 2, me, id, &m).as_bytes(), server)?;
                }
                Some(2) if flying.remove(&id).is_some() => out.done += 1,
                _ => {}
            }
        }
        if idle {
            let before = flying.len();
            flying.retain(|_, t| t.elapsed() < PATIENCE);
            out.failed += (before - flying.len()) as u64;
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    Ok(out)
}

/// The callee: rings and answers an INVITE, answers a BYE.
fn answer(s: &UdpSocket, server: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    let Ok(m) = Message::from_bytes(bytes) else {
        return Ok(());
    };
    let replies: &[(u16, &str)] = match m.method_text() {
        b"INVITE" => &[(180, "Ringing"), (200, "OK")],
        b"BYE" => &[(200, "OK")],
        _ => &[],
    };
    let contact = format!("Contact: <sip:callee@{}>\r\n", s.local_addr()?);
    for (code, reason) in replies {
        let mut out = Vec::new();
        let options = olelo_sip::build::ReplyOptions {
            to_tag: Some(b"callee"),
            extra_headers: contact.as_bytes(),
            ..Default::default()
        };
        olelo_sip::build::reply(&m, *code, reason.as_bytes(), &options, &mut out);
        s.send_to(&out, server)?;
    }
    Ok(())
}

fn in_dialog(method: &str, cseq: u32, me: SocketAddr, id: u64, ok: &Message) -> String {
    let text = |n: HeaderName| {
        ok.header_body(n)
            .map(|b| String::from_utf8_lossy(b).into_owned())
            .unwrap_or_default()
    };
    let contact = text(HeaderName::Contact);
    let target = contact
        .trim_start_matches('<')
        .split('>')
        .next()
        .unwrap_or("");
    let mut routes: Vec<_> = ok
        .headers_named(HeaderName::RecordRoute)
        .map(|h| format!("Route: {}\r\n", String::from_utf8_lossy(ok.slice(h.body))))
        .collect();
    routes.reverse();
    format!(
        "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bK{method}-{id};rport\r\n{}From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
        routes.concat(),
        text(HeaderName::From),
        text(HeaderName::To),
        text(HeaderName::CallId),
    )
}
