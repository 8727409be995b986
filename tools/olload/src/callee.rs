//! The UAS side: it rings, answers, and repeats its 200 until the ACK comes (RFC 3261 §13.3.1.4).

use crate::clock::{Clock, Due, GIVE_UP, Resend};
use crate::message::{Message, Start};
use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Everybody who is called.
pub struct Callees {
    socket: UdpSocket,
    addr: SocketAddr,
    ring: Duration,
    calls: HashMap<u64, Call>,
    clock: Clock,
    /// Replies sent again.
    pub sent_again: u64,
}

struct Call {
    ringing: Vec<u8>,
    /// The 200: sent when the ringing is over, and again until the ACK.
    ok: Vec<u8>,
    answer_at: Option<Instant>,
    resend: Option<Resend>,
    /// When it can be forgotten.
    end: Instant,
}

impl Callees {
    pub(crate) fn new(socket: UdpSocket, ring: Duration) -> std::io::Result<Callees> {
        Ok(Callees {
            addr: socket.local_addr()?,
            socket,
            ring,
            calls: HashMap::new(),
            clock: Clock::default(),
            sent_again: 0,
        })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    pub(crate) fn receive(&mut self, now: Instant) {
        let mut buf = [0u8; 8192];
        while let Ok(n) = self.socket.recv(&mut buf) {
            let Some(m) = Message::new(&buf[..n]) else {
                continue;
            };
            let (Some(Start::Request(method)), Some(call)) = (m.start(), m.call()) else {
                continue;
            };
            match method {
                "INVITE" => self.invite(call, &m, now),
                "ACK" => {
                    if let Some(c) = self.calls.get_mut(&call) {
                        c.resend = None;
                    }
                }
                // Answered from what it says itself, so a repeated one is answered again.
                _ => self.send(&reply(&m, "200 OK", self.addr, call)),
            }
        }
    }

    fn invite(&mut self, number: u64, m: &Message<'_>, now: Instant) {
        if let Some(c) = self.calls.get(&number) {
            let last = if c.answer_at.is_some() {
                &c.ringing
            } else {
                &c.ok
            };
            let _ = self.socket.send(last);
            self.sent_again += 1;
            return;
        }
        let call = Call {
            ringing: reply(m, "180 Ringing", self.addr, number),
            ok: reply(m, "200 OK", self.addr, number),
            answer_at: Some(now + self.ring),
            resend: None,
            end: now + self.ring + 2 * GIVE_UP,
        };
        self.send(&call.ringing);
        self.clock.set(now + self.ring, number);
        self.calls.insert(number, call);
    }

    pub(crate) fn tick(&mut self, now: Instant) {
        while let Some(number) = self.clock.due(now) {
            let Some(c) = self.calls.get_mut(&number) else {
                continue;
            };
            if c.answer_at.take().is_some() {
                let _ = self.socket.send(&c.ok);
                c.resend = Some(Resend::new(c.ok.clone(), now, GIVE_UP));
            } else if let Some(r) = &mut c.resend {
                match r.look(now) {
                    Due::Again => {
                        let _ = self.socket.send(&c.ok);
                        self.sent_again += 1;
                    }
                    Due::GiveUp => c.resend = None,
                    Due::No => {}
                }
            }
            if now >= c.end {
                self.calls.remove(&number);
            } else {
                let next = c.resend.as_ref().map_or(c.end, Resend::deadline);
                self.clock.set(next, number);
            }
        }
    }

    fn send(&self, bytes: &[u8]) {
        let _ = self.socket.send(bytes);
    }
}

/// A reply with what RFC 3261 §8.2.6 copies from the request.
fn reply(m: &Message<'_>, status: &str, addr: SocketAddr, call: u64) -> Vec<u8> {
    let mut out = format!("SIP/2.0 {status}\r\n");
    for name in ["Via", "Record-Route", "From"] {
        for line in m.lines(name) {
            out += line;
            out += "\r\n";
        }
    }
    let to = m.value("To").unwrap_or_default();
    out += &format!("To: {to}");
    if !to.contains(";tag=") {
        out += &format!(";tag=b{call}");
    }
    for name in ["Call-ID", "CSeq"] {
        out += &format!("\r\n{name}: {}", m.value(name).unwrap_or_default());
    }
    out += &format!("\r\nContact: <sip:callee@{addr}>\r\nContent-Length: 0\r\n\r\n");
    out.into_bytes()
}
