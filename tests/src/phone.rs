//! A phone: sends and receives SIP over UDP or TCP, and knows just enough to answer.

use crate::{PATIENCE, unique};
use olelo_sip::framing::{Frame, Framer};
use olelo_sip::{HeaderName, Message, build};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// How a phone is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// One connection.
    Tcp,
}

enum Wire {
    Udp(UdpSocket),
    Tcp {
        stream: TcpStream,
        input: Vec<u8>,
        framer: Framer,
    },
}

/// A phone, connected to one server.
pub struct Phone {
    wire: Wire,
    server: SocketAddr,
    /// Its own address.
    pub addr: SocketAddr,
    /// Its user.
    pub user: String,
}

impl Phone {
    /// A phone for `user`, towards `server`.
    pub fn new(user: &str, server: SocketAddr, how: Transport) -> Phone {
        let (wire, addr) = match how {
            Transport::Udp => {
                let s = UdpSocket::bind("127.0.0.1:0").expect("a socket");
                let a = s.local_addr().expect("an address");
                (Wire::Udp(s), a)
            }
            Transport::Tcp => {
                let stream = TcpStream::connect(server).expect("a connection");
                let a = stream.local_addr().expect("an address");
                (
                    Wire::Tcp {
                        stream,
                        input: Vec::new(),
                        framer: Framer::new(1 << 20),
                    },
                    a,
                )
            }
        };
        Phone {
            wire,
            server,
            addr,
            user: user.to_string(),
        }
    }

    /// A phone over UDP.
    pub fn udp(user: &str, server: SocketAddr) -> Phone {
        Phone::new(user, server, Transport::Udp)
    }

    fn transport(&self) -> &'static str {
        match self.wire {
            Wire::Udp(_) => "UDP",
            Wire::Tcp { .. } => "TCP",
        }
    }

    /// Its contact's URI.
    pub fn contact(&self) -> String {
        match self.wire {
            Wire::Udp(_) => format!("sip:{}@{}", self.user, self.addr),
            Wire::Tcp { .. } => format!("sip:{}@{};transport=tcp", self.user, self.addr),
        }
    }

    /// A request outside of a dialog. `extra` are whole header lines.
    pub fn request(&self, method: &str, uri: &str, extra: &str, body: &str) -> String {
        let to = if method == "REGISTER" {
            format!("sip:{}@test.local", self.user)
        } else {
            uri.to_string()
        };
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{} {};branch=z9hG4bK{};rport\r\nFrom: <sip:{}@test.local>;tag={}\r\nTo: <{to}>\r\nCall-ID: {}\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\nContact: <{}>\r\n{extra}Content-Length: {}\r\n\r\n{body}",
            self.transport(),
            self.addr,
            unique(),
            self.user,
            unique(),
            unique(),
            self.contact(),
            body.len(),
        )
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        match &mut self.wire {
            Wire::Udp(s) => drop(s.send_to(bytes.as_ref(), self.server).expect("sent")),
            Wire::Tcp { stream, .. } => stream.write_all(bytes.as_ref()).expect("sent"),
        }
    }

    /// The next message, if one comes within `most`.
    pub fn receive_within(&mut self, most: Duration) -> Option<Message> {
        let end = Instant::now() + most;
        let mut buf = vec![0u8; 65536];
        loop {
            let left = end
                .checked_duration_since(Instant::now())
                .filter(|d| !d.is_zero())?;
            match &mut self.wire {
                Wire::Udp(s) => {
                    s.set_read_timeout(Some(left)).expect("a timeout");
                    let Ok((n, _)) = s.recv_from(&mut buf) else {
                        continue;
                    };
                    if let Ok(m) = Message::from_bytes(&buf[..n]) {
                        return Some(m);
                    }
                }
                Wire::Tcp {
                    stream,
                    input,
                    framer,
                } => {
                    match framer.next(input) {
                        Frame::Message(n) => {
                            let m: Vec<u8> = input.drain(..n).collect();
                            return Some(Message::from_bytes(&m).expect("a message"));
                        }
                        Frame::KeepAlive(n) => {
                            input.drain(..n);
                            continue;
                        }
                        Frame::Incomplete => {}
                        other => panic!("the server sent what is no SIP: {other:?}"),
                    }
                    stream.set_read_timeout(Some(left)).expect("a timeout");
                    match stream.read(&mut buf) {
                        Ok(0) => return None,
                        Ok(n) => input.extend_from_slice(&buf[..n]),
                        Err(_) => continue,
                    }
                }
            }
        }
    }

    /// The next message.
    pub fn receive(&mut self) -> Message {
        self.receive_within(PATIENCE)
            .unwrap_or_else(|| panic!("nothing came to {}", self.user))
    }

    /// The next final reply; provisional ones and retransmitted requests are passed over.
    pub fn final_reply(&mut self) -> Message {
        loop {
            let m = self.receive();
            if !m.is_request() && m.status() >= 200 {
                return m;
            }
        }
    }

    /// The next reply with this status.
    pub fn reply(&mut self, status: u16) -> Message {
        loop {
            let m = self.receive();
            if !m.is_request() {
                if m.status() == status {
                    return m;
                }
                assert!(m.status() < 200, "wanted {status}, got {}", text(&m));
            }
        }
    }

    /// The next request of this method.
    pub fn expect(&mut self, method: &str) -> Message {
        loop {
            let m = self.receive();
            if m.is_request() && m.method_text() == method.as_bytes() {
                return m;
            }
        }
    }

    /// Answers a request. `extra` are whole header lines.
    pub fn answer(&mut self, request: &Message, status: u16, reason: &str, extra: &str) {
        let mut out = Vec::new();
        let tag = format!("{}-tag", self.user);
        let options = build::ReplyOptions {
            to_tag: (status > 100).then_some(tag.as_bytes()),
            extra_headers: extra.as_bytes(),
            ..Default::default()
        };
        build::reply(request, status, reason.as_bytes(), &options, &mut out);
        self.send(out);
    }

    /// Sends a request and returns its final reply.
    pub fn ask(&mut self, request: &str) -> Message {
        self.send(request);
        self.final_reply()
    }

    /// Sends a request, and again each half second until its final reply comes (RFC 3261 §17.1.2.1):
    /// what a phone does whose datagram was in the hands of a process that is gone.
    pub fn insist(&mut self, request: &str) -> Message {
        let end = Instant::now() + PATIENCE;
        let branch = |text: &str| {
            let rest = text.split_once("branch=").map_or("", |(_, r)| r);
            rest.split([';', '\r', ',']).next().map(str::to_string)
        };
        while Instant::now() < end {
            self.send(request);
            while let Some(m) = self.receive_within(Duration::from_millis(500)) {
                let own = branch(&String::from_utf8_lossy(m.buf())) == branch(request);
                if own && !m.is_request() && m.status() >= 200 {
                    return m;
                }
            }
        }
        panic!("no final reply for {}", self.user)
    }

    /// Registers its contact for this many seconds and returns the reply.
    pub fn register(&mut self, expires: u32) -> Message {
        let r = self.request(
            "REGISTER",
            "sip:test.local",
            &format!("Expires: {expires}\r\n"),
            "",
        );
        self.ask(&r)
    }

    /// A request inside the dialog that `reply` to `invite` made: route set, tags, remote target.
    pub fn in_dialog(&self, method: &str, cseq: u32, invite: &str, reply: &Message) -> String {
        let line = |name: &str| {
            invite
                .lines()
                .find(|l| l.starts_with(name))
                .unwrap_or("")
                .to_string()
        };
        let contact = header(reply, HeaderName::Contact);
        let target = contact
            .trim_start_matches('<')
            .split('>')
            .next()
            .unwrap_or("")
            .to_string();
        let mut routes: Vec<String> = reply
            .headers_named(HeaderName::RecordRoute)
            .map(|h| String::from_utf8_lossy(reply.slice(h.body)).into_owned())
            .collect();
        routes.reverse();
        let routes: String = routes.iter().map(|r| format!("Route: {r}\r\n")).collect();
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/{} {};branch=z9hG4bK{};rport\r\n{routes}{}\r\nTo: {}\r\n{}\r\nCSeq: {cseq} {method}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
            self.transport(),
            self.addr,
            unique(),
            line("From:"),
            header(reply, HeaderName::To),
            line("Call-ID:"),
        )
    }
}

/// A header's body as text; empty where there is none.
pub fn header(m: &Message, name: HeaderName) -> String {
    m.header_body(name)
        .map(|b| String::from_utf8_lossy(b).into_owned())
        .unwrap_or_default()
}

/// The whole message as text.
pub fn text(m: &Message) -> String {
    String::from_utf8_lossy(m.buf()).into_owned()
}
