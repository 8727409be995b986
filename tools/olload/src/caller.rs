//! The UAC side: REGISTER, INVITE, ACK, BYE, one after another for each call.

use crate::clock::{Clock, Due, GIVE_UP, Resend};
use crate::message::{Message, Start};
use crate::{Plan, Report};
use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Everybody who calls, or registers.
pub struct Callers {
    socket: UdpSocket,
    addr: SocketAddr,
    callee: SocketAddr,
    server: SocketAddr,
    domain: String,
    users: u32,
    talk: Duration,
    expires: u32,
    calls: HashMap<u64, Call>,
    clock: Clock,
    next: u64,
    active: usize,
    report: Report,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Registering,
    Inviting,
    /// The 200 was acknowledged; the BYE is sent when the talk is over.
    Talking,
    Leaving,
    /// Its registration is being removed.
    Unregistering,
    /// Over: it stays to acknowledge a 200 that comes again.
    Over,
}

struct Call {
    stage: Stage,
    sent: Resend,
    begun: Instant,
    ack: Vec<u8>,
    bye: Vec<u8>,
}

/// How long an INVITE that rings is waited for.
const RINGING: Duration = Duration::from_secs(60);

impl Callers {
    pub(crate) fn new(
        socket: UdpSocket,
        plan: &Plan,
        callee: SocketAddr,
    ) -> std::io::Result<Callers> {
        Ok(Callers {
            addr: socket.local_addr()?,
            socket,
            callee,
            server: plan.server,
            domain: plan.domain.clone(),
            users: plan.users.max(1),
            talk: plan.talk,
            expires: plan.expires,
            calls: HashMap::new(),
            clock: Clock::default(),
            next: 1,
            active: 0,
            report: Report::default(),
        })
    }

    pub(crate) fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Calls that have not ended.
    pub(crate) fn active(&self) -> usize {
        self.active
    }

    pub(crate) fn report(self) -> Report {
        self.report
    }

    /// Begins the next call: its callee registers first.
    pub(crate) fn begin(&mut self, now: Instant) {
        let number = self.next;
        self.next += 1;
        self.report.calls += 1;
        let user = number % u64::from(self.users);
        let bytes = self.register(number, user, self.expires);
        self.start(number, Stage::Registering, bytes, now);
    }

    /// How many users were called.
    pub(crate) fn users_called(&self) -> u64 {
        u64::from(self.users).min(self.next - 1)
    }

    /// Removes the registration of a user.
    pub(crate) fn unregister(&mut self, user: u64, now: Instant) {
        let number = self.next;
        self.next += 1;
        let bytes = self.register(number, user % u64::from(self.users), 0);
        self.start(number, Stage::Unregistering, bytes, now);
    }

    fn start(&mut self, number: u64, stage: Stage, bytes: Vec<u8>, now: Instant) {
        self.active += 1;
        let _ = self.socket.send(&bytes);
        let sent = Resend::new(bytes, now, GIVE_UP);
        self.clock.set(sent.deadline(), number);
        let call = Call {
            stage,
            sent,
            begun: now,
            ack: Vec::new(),
            bye: Vec::new(),
        };
        self.calls.insert(number, call);
    }

    /// Takes what has come; returns how many replies.
    pub(crate) fn receive(&mut self, now: Instant) -> usize {
        let mut buf = [0u8; 8192];
        let mut replies = 0;
        while let Ok(n) = self.socket.recv(&mut buf) {
            let Some(m) = Message::new(&buf[..n]) else {
                continue;
            };
            let (Some(Start::Reply(status)), Some(number)) = (m.start(), m.call()) else {
                continue;
            };
            replies += 1;
            self.report.replies += 1;
            self.reply(number, status, &m, now);
        }
        replies
    }

    fn reply(&mut self, number: u64, status: u16, m: &Message<'_>, now: Instant) {
        let Some(call) = self.calls.get_mut(&number) else {
            return;
        };
        let method = m.method().unwrap_or("");
        match (call.stage, method, status) {
            (Stage::Inviting, "INVITE", 100..200) => {
                call.sent.stop();
                call.sent.end_at(call.begun + RINGING);
            }
            (Stage::Registering, "REGISTER", 100..200) | (Stage::Leaving, "BYE", 100..200) => {
                call.sent.slow_down();
            }
            (Stage::Registering, "REGISTER", 200..300) => {
                self.report.registered += 1;
                self.invite(number, now);
            }
            (Stage::Unregistering, "REGISTER", 200..300) => {
                self.report.registered += 1;
                self.over(number, None, now);
            }
            (Stage::Inviting, "INVITE", 200..300) => self.answered(number, m, now),
            (Stage::Inviting, "INVITE", _) => {
                let ack = self.negative_ack(number, m);
                let _ = self.socket.send(&ack);
                if let Some(c) = self.calls.get_mut(&number) {
                    c.ack = ack;
                }
                self.over(number, Some(format!("INVITE {status}")), now);
            }
            // The final reply to the INVITE again: its ACK was lost.
            (_, "INVITE", 200..) => {
                let _ = self.socket.send(&call.ack);
                self.report.sent_again += 1;
            }
            (Stage::Leaving, "BYE", 200..300) => {
                self.report.completed += 1;
                self.over(number, None, now);
            }
            (Stage::Leaving, "BYE", _) | (_, "REGISTER", 300..) if call.stage != Stage::Over => {
                self.over(number, Some(format!("{method} {status}")), now);
            }
            _ => {}
        }
    }

    fn invite(&mut self, number: u64, now: Instant) {
        let user = number % u64::from(self.users);
        let (domain, addr) = (&self.domain, self.addr);
        let bytes = format!(
            "INVITE sip:u{user}@{domain} SIP/2.0\r\nVia: SIP/2.0/UDP {addr};branch=z9hG4bKi{number};rport\r\nMax-Forwards: 70\r\nFrom: <sip:caller@{domain}>;tag=a{number}\r\nTo: <sip:u{user}@{domain}>\r\nCall-ID: {number}@{addr}\r\nCSeq: 1 INVITE\r\nContact: <sip:caller@{addr}>\r\nContent-Length: 0\r\n\r\n"
        );
        self.next_step(number, Stage::Inviting, bytes.into_bytes(), now);
        if let Some(c) = self.calls.get_mut(&number) {
            c.begun = now;
        }
    }

    fn next_step(&mut self, number: u64, stage: Stage, bytes: Vec<u8>, now: Instant) {
        let _ = self.socket.send(&bytes);
        if let Some(c) = self.calls.get_mut(&number) {
            c.stage = stage;
            c.sent = Resend::new(bytes, now, GIVE_UP);
            self.clock.set(c.sent.deadline(), number);
        }
    }

    /// The 200 has come: ACK and BYE follow the route that it names (RFC 3261 §12.1.2).
    fn answered(&mut self, number: u64, m: &Message<'_>, now: Instant) {
        let routes: String = m
            .record_routes()
            .collect::<Vec<_>>()
            .iter()
            .rev()
            .map(|r| format!("Route: {r}\r\n"))
            .collect();
        let target = m.contact().unwrap_or_default();
        let (from, to) = (m.value("From"), m.value("To"));
        let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
        let addr = self.addr;
        let request = |method: &str, seq: u32| {
            format!(
                "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {addr};branch=z9hG4bK{method}{number};rport\r\nMax-Forwards: 70\r\n{routes}From: {from}\r\nTo: {to}\r\nCall-ID: {number}@{addr}\r\nCSeq: {seq} {method}\r\nContent-Length: 0\r\n\r\n"
            )
            .into_bytes()
        };
        let ack = request("ACK", 1);
        let _ = self.socket.send(&ack);
        let Some(c) = self.calls.get_mut(&number) else {
            return;
        };
        self.report.set_up.push(now - c.begun);
        c.ack = ack;
        c.bye = request("BYE", 2);
        c.stage = Stage::Talking;
        c.sent.stop();
        c.sent.end_at(now + self.talk);
        self.clock.set(now + self.talk, number);
    }

    /// RFC 3261 §17.1.1.3: the ACK for a negative reply has the INVITE's branch.
    fn negative_ack(&self, number: u64, m: &Message<'_>) -> Vec<u8> {
        let user = number % u64::from(self.users);
        let (domain, addr) = (&self.domain, self.addr);
        let (from, to) = (m.value("From"), m.value("To"));
        format!(
            "ACK sip:u{user}@{domain} SIP/2.0\r\nVia: SIP/2.0/UDP {addr};branch=z9hG4bKi{number};rport\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {number}@{addr}\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n",
            from.unwrap_or_default(),
            to.unwrap_or_default(),
        )
        .into_bytes()
    }

    fn register(&self, number: u64, user: u64, expires: u32) -> Vec<u8> {
        let (domain, addr) = (&self.domain, self.addr);
        format!(
            "REGISTER sip:{} SIP/2.0\r\nVia: SIP/2.0/UDP {addr};branch=z9hG4bKr{number};rport\r\nMax-Forwards: 70\r\nFrom: <sip:u{user}@{domain}>;tag=r{number}\r\nTo: <sip:u{user}@{domain}>\r\nCall-ID: {number}@{addr}\r\nCSeq: {number} REGISTER\r\nContact: <sip:u{user}@{}>\r\nExpires: {expires}\r\nContent-Length: 0\r\n\r\n",
            self.server,
            self.callee,
        )
        .into_bytes()
    }

    pub(crate) fn tick(&mut self, now: Instant) {
        while let Some(number) = self.clock.due(now) {
            let Some(c) = self.calls.get_mut(&number) else {
                continue;
            };
            match c.sent.look(now) {
                Due::Again => {
                    let _ = self.socket.send(c.sent.bytes());
                    self.report.sent_again += 1;
                }
                Due::GiveUp if c.stage == Stage::Talking => {
                    let bye = std::mem::take(&mut c.bye);
                    self.next_step(number, Stage::Leaving, bye, now);
                    continue;
                }
                Due::GiveUp if c.stage == Stage::Over => {
                    self.calls.remove(&number);
                    continue;
                }
                Due::GiveUp => {
                    let what = match c.stage {
                        Stage::Registering => "REGISTER",
                        Stage::Unregistering => "REGISTER (removal)",
                        Stage::Inviting => "INVITE",
                        _ => "BYE",
                    };
                    self.over(number, Some(format!("{what}: no answer")), now);
                    continue;
                }
                Due::No => {}
            }
            self.clock.set(c.sent.deadline(), number);
        }
    }

    /// A call has ended, well or for this reason.
    fn over(&mut self, number: u64, failure: Option<String>, now: Instant) {
        if let Some(why) = failure {
            *self.report.failed.entry(why).or_default() += 1;
        }
        self.active -= 1;
        if let Some(c) = self.calls.get_mut(&number) {
            c.stage = Stage::Over;
            c.sent = Resend::new(Vec::new(), now, GIVE_UP);
            c.sent.stop();
            self.clock.set(c.sent.deadline(), number);
        }
    }
}
