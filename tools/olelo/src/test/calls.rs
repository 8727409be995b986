//! The phones' side of a case: what they know of their calls, and the messages they make of it, so that
//! a case writes only what matters.
//!
//! Ids are counted, not drawn: a case is the same every time.

use super::case::{Phone, Receive, Reply};
use super::sip::{Sip, param, same_name, uri_of, user_host};
use olelo_core::net::Proto;
use olelo_core::net::socket::{host_text, socket_text, split_host_port};
use olelo_core::sip::digest::{self, ResponseInput};
use olelo_core::sip::{Challenge, Qop, Span};
use std::net::{IpAddr, SocketAddr};

/// Where a phone is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// Transport.
    pub proto: Proto,
    /// Address.
    pub addr: SocketAddr,
}

impl Place {
    /// From `[proto:]host[:port]`; UDP and its port where they are missing.
    pub fn parse(text: &str) -> Result<Place, String> {
        let wrong =
            || format!("`{text}` is neither a phone nor an address such as udp:192.0.2.10:5060");
        let (proto, rest) = match text.split_once(':') {
            Some((p, r)) if Proto::from_name(p.as_bytes()).is_some() => {
                (Proto::from_name(p.as_bytes()), r)
            }
            _ => (None, text),
        };
        let proto = proto.unwrap_or(Proto::Udp);
        let (host, port) = split_host_port(rest).ok_or_else(wrong)?;
        let ip: IpAddr = host.trim_matches(['[', ']']).parse().map_err(|_| wrong())?;
        Ok(Place {
            proto,
            addr: SocketAddr::new(ip, port.unwrap_or(proto.default_port())),
        })
    }

    /// `udp:192.0.2.10:5060`.
    pub fn text(&self) -> String {
        socket_text(self.addr, self.proto)
    }

    fn host_port(&self) -> String {
        format!("{}:{}", host_text(self.addr.ip()), self.addr.port())
    }

    /// The contact of this user here.
    pub fn contact(&self, user: &str) -> String {
        let transport = match self.proto {
            Proto::Udp => String::new(),
            p => format!(";transport={}", p.name()),
        };
        format!("sip:{user}@{}{transport}", self.host_port())
    }
}

/// A message that the server has sent.
#[derive(Debug, Clone)]
pub struct Sent {
    /// To where.
    pub to: Place,
    /// From which of its addresses.
    pub by: SocketAddr,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The same, read.
    pub sip: Sip,
}

/// A request that a phone has sent, with what came back.
#[derive(Debug, Clone)]
struct Asked {
    from: Place,
    sip: Sip,
    answers: Vec<Sip>,
    cseq: u32,
}

/// A request that the server has sent, with what was replied.
#[derive(Debug, Clone)]
struct Leg {
    sent: Sent,
    name: Option<String>,
    answer: Option<Sip>,
    tag: String,
}

/// All calls of a case.
#[derive(Debug, Default)]
pub struct Calls {
    phones: Vec<(Phone, Place)>,
    asked: Vec<Asked>,
    legs: Vec<Leg>,
    last: Option<(Place, Vec<u8>)>,
    /// Calls and branches so far.
    number: u32,
}

impl Calls {
    /// Adds a phone. Returns its contact.
    pub fn add_phone(&mut self, p: &Phone) -> Result<String, String> {
        let place = Place::parse(&p.address)?;
        self.phones.retain(|(o, _)| o.name != p.name);
        self.phones.push((p.clone(), place));
        Ok(place.contact(user_host(&p.uri).0.unwrap_or(&p.name)))
    }

    /// The place of a phone or an address.
    pub fn place(&self, text: &str) -> Result<Place, String> {
        match self.phone(text) {
            Some((_, place)) => Ok(*place),
            None => Place::parse(text),
        }
    }

    /// The phone of this name.
    pub fn phone(&self, name: &str) -> Option<&(Phone, Place)> {
        self.phones.iter().find(|(p, _)| p.name == name)
    }

    /// A place as a report shows it, with the phone that is there.
    pub fn shown(&self, place: &Place) -> String {
        match self.phones.iter().find(|(_, p)| p == place) {
            Some((p, _)) => format!("{} ({})", p.name, place.text()),
            None => place.text(),
        }
    }

    /// Notes what the server has sent.
    pub fn sent(&mut self, sent: &Sent) {
        let s = &sent.sip;
        if s.is_request() {
            if s.method() != "ACK" {
                self.number += 1;
                self.legs.push(Leg {
                    sent: sent.clone(),
                    name: None,
                    answer: None,
                    tag: format!("callee-{}", self.number),
                });
            }
            return;
        }
        let same =
            |a: &Asked| a.sip.get("Call-ID") == s.get("Call-ID") && a.sip.method() == s.method();
        if let Some(a) = self.asked.iter_mut().rev().find(|a| same(a)) {
            a.answers.push(s.clone());
        }
    }

    /// Gives the last request that was sent a name.
    pub fn name_last(&mut self, sent: &Sent, name: &str) {
        if let Some(l) = self
            .legs
            .iter_mut()
            .rev()
            .find(|l| l.sent.bytes == sent.bytes)
        {
            l.name = Some(name.into());
        }
    }

    /// Whence the request came that this reply answers.
    pub fn asker(&self, reply: &Sip) -> Option<Place> {
        let same = |a: &&Asked| {
            a.sip.get("Call-ID") == reply.get("Call-ID") && a.sip.method() == reply.method()
        };
        self.asked.iter().rev().find(same).map(|a| a.from)
    }

    /// The message of a `receive` step, filled in, and whence it comes.
    pub fn receive(&mut self, r: &Receive) -> Result<(Place, Vec<u8>), String> {
        if r.again && r.with.is_none() && r.block.is_empty() {
            return self
                .last
                .clone()
                .ok_or("nothing was received before".into());
        }
        let mut given = Sip::default();
        let whole = r.method.is_none() && !r.again;
        if whole {
            given = Sip::read(r.block.join("\n").as_bytes());
            if !given.body.is_empty() {
                given.body.push('\n');
            }
        } else {
            given.take(&r.block);
        }
        let from = self.sender(r)?;
        if r.raw {
            let bytes = r.block.join("\r\n").into_bytes();
            let end: &[u8] = if r.block.iter().any(String::is_empty) {
                b""
            } else {
                b"\r\n\r\n"
            };
            let bytes = [bytes.as_slice(), end].concat();
            self.note(from, &bytes);
            return Ok((from, bytes));
        }
        let method = r.method.as_deref().unwrap_or_default();
        let inside =
            r.in_dialog || matches!(method, "ACK" | "CANCEL" | "BYE" | "PRACK") && r.uri.is_none();
        let mut sip = if r.again {
            self.again(r)?
        } else if inside {
            self.within(method, &from)?
        } else if whole {
            let mut sip = given.clone();
            if sip.is_request() {
                self.fill(&mut sip, r.from.as_deref(), &from);
            }
            sip
        } else {
            self.fresh(method, r, &from)?
        };
        sip.overlay(given.clone());
        if whole {
            sip.headers.retain(|(_, v)| v != "-");
        }
        sip.finish(&given);
        let bytes = sip.bytes();
        self.note(from, &bytes);
        Ok((from, bytes))
    }

    fn note(&mut self, from: Place, bytes: &[u8]) {
        self.last = Some((from, bytes.to_vec()));
        let sip = Sip::read(bytes);
        if sip.is_request() && sip.method() != "ACK" {
            self.asked.push(Asked {
                from,
                cseq: sip.cseq(),
                sip,
                answers: Vec::new(),
            });
        }
    }

    fn sender(&self, r: &Receive) -> Result<Place, String> {
        if let Some(f) = &r.from {
            return self.place(f);
        }
        let last = self.last.as_ref().map(|(p, _)| *p);
        let first = self.phones.first().map(|(_, p)| *p);
        match r.again {
            true => last.ok_or("nothing was received before".into()),
            false => last
                .or(first)
                .map_or_else(|| Place::parse("udp:192.0.2.1:5060"), Ok),
        }
    }

    /// A request outside of any dialog.
    fn fresh(&mut self, method: &str, r: &Receive, from: &Place) -> Result<Sip, String> {
        let aor = self.aor(r.from.as_deref(), from);
        let uri = match &r.uri {
            Some(u) => match self.phone(u) {
                Some((p, _)) => p.uri.clone(),
                None => u.clone(),
            },
            None if method == "REGISTER" => format!("sip:{}", user_host(&aor).1),
            None => return Err(format!("receive {method}: to which URI?")),
        };
        let mut sip = Sip {
            first: format!("{method} {uri} SIP/2.0"),
            ..Sip::default()
        };
        self.fill(&mut sip, r.from.as_deref(), from);
        Ok(sip)
    }

    fn aor(&self, name: Option<&str>, from: &Place) -> String {
        let by_name = name.and_then(|n| self.phone(n));
        let phone = by_name.or_else(|| self.phones.iter().find(|(_, p)| p == from));
        phone.map_or_else(
            || format!("sip:caller@{}", host_text(from.addr.ip())),
            |(p, _)| p.uri.clone(),
        )
    }

    fn via(&mut self, from: &Place) -> String {
        self.number += 1;
        let (proto, host) = (from.proto.via_name(), from.host_port());
        format!(
            "SIP/2.0/{proto} {host};branch=z9hG4bK-{};rport",
            self.number
        )
    }

    /// What a request lacks.
    fn fill(&mut self, sip: &mut Sip, name: Option<&str>, from: &Place) {
        let aor = self.aor(name, from);
        let user = user_host(&aor).0.unwrap_or("caller").to_string();
        let method = sip.method().to_string();
        let target = match method.as_str() {
            "REGISTER" => aor.clone(),
            _ => sip
                .word(1)
                .split([';', '?'])
                .next()
                .unwrap_or_default()
                .to_string(),
        };
        if sip.get("Via").is_none() {
            let via = self.via(from);
            sip.headers.insert(0, ("Via".into(), via));
        }
        let n = self.number;
        sip.fill("Max-Forwards", || "70".into());
        sip.fill("From", || format!("<{aor}>;tag={user}-{n}"));
        sip.fill("To", || format!("<{target}>"));
        sip.fill("Call-ID", || {
            format!("call-{n}@{}", host_text(from.addr.ip()))
        });
        sip.fill("CSeq", || format!("{n} {method}"));
        if matches!(
            method.as_str(),
            "INVITE" | "REGISTER" | "SUBSCRIBE" | "UPDATE" | "REFER"
        ) {
            sip.fill("Contact", || format!("<{}>", from.contact(&user)));
        }
    }

    /// The last request once more, as the caller's next try: with credentials where they are given.
    fn again(&mut self, r: &Receive) -> Result<Sip, String> {
        let at = self
            .asked
            .len()
            .checked_sub(1)
            .ok_or("nothing was received before")?;
        let mut sip = self.asked[at].sip.clone();
        let (method, next) = (sip.method().to_string(), self.asked[at].cseq + 1);
        if let Some(with) = &r.with {
            let (user, password) = with.split_once(':').ok_or("with user:password")?;
            let asked = self.asked[at].answers.iter().rev();
            let challenge = asked.filter_map(|a| {
                let find = |n| a.get(n);
                find("WWW-Authenticate")
                    .map(|c| ("Authorization", c))
                    .or_else(|| find("Proxy-Authenticate").map(|c| ("Proxy-Authorization", c)))
            });
            let (name, value) = challenge
                .clone()
                .next()
                .ok_or("no challenge to answer was received")?;
            let value = credentials(value, user, password, &method, sip.word(1))?;
            sip.set(name, value);
        }
        let from = self.asked[at].from;
        let via = self.via(&from);
        sip.set("Via", via);
        sip.set("CSeq", format!("{next} {method}"));
        Ok(sip)
    }

    /// A request within the last dialog of the phone at `from`.
    fn within(&mut self, method: &str, from: &Place) -> Result<Sip, String> {
        let begins = |m: &str| matches!(m, "INVITE" | "SUBSCRIBE" | "REFER");
        let own = self
            .asked
            .iter()
            .rposition(|a| a.from == *from && begins(a.sip.method()));
        let leg = self
            .legs
            .iter()
            .rposition(|l| l.sent.to == *from && l.answer.is_some() && begins(l.sent.sip.method()));
        match (own, leg) {
            (Some(at), _) => self.as_caller(method, at, from),
            (None, Some(at)) => Ok(self.as_callee(method, at, from)),
            (None, None) => Err(format!(
                "{} has no call for this {method}",
                self.shown(from)
            )),
        }
    }

    fn as_caller(&mut self, method: &str, at: usize, from: &Place) -> Result<Sip, String> {
        let asked = self.asked[at].clone();
        let tagged = |a: &&Sip| a.get("To").and_then(|t| param(t, "tag")).is_some();
        let end = asked.answers.iter().rev().find(|a| a.status() >= 200);
        let answer = end.or_else(|| asked.answers.iter().rev().find(tagged));
        let request = &asked.sip;
        let same_transaction =
            method == "CANCEL" || method == "ACK" && end.is_some_and(|a| a.status() >= 300);
        let mut sip = Sip::default();
        let mut uri = request.word(1).to_string();
        if same_transaction {
            let via = request.all("Via").first().map(|v| v.to_string());
            sip.set("Via", via.unwrap_or_default());
            copy(request, &mut sip, &["Route"]);
        } else {
            let answer = answer.ok_or(format!(
                "{method}: nothing has answered the {}",
                request.method()
            ))?;
            sip.set("Via", self.via(from));
            if let Some(c) = answer.get("Contact") {
                uri = uri_of(c).into();
            }
            for r in answer.all("Record-Route").into_iter().rev() {
                sip.headers.push(("Route".into(), r.into()));
            }
        }
        sip.set("Max-Forwards", "70");
        copy(request, &mut sip, &["From"]);
        let to = answer.filter(|_| method != "CANCEL").unwrap_or(request);
        copy(to, &mut sip, &["To"]);
        copy(request, &mut sip, &["Call-ID"]);
        let number = match method {
            "ACK" | "CANCEL" => request.cseq(),
            _ => {
                self.asked[at].cseq += 1;
                self.asked[at].cseq
            }
        };
        sip.set("CSeq", format!("{number} {method}"));
        sip.first = format!("{method} {uri} SIP/2.0");
        Ok(sip)
    }

    fn as_callee(&mut self, method: &str, at: usize, from: &Place) -> Sip {
        let (request, answer) = {
            let l = &self.legs[at];
            (l.sent.sip.clone(), l.answer.clone().unwrap_or_default())
        };
        let mut sip = Sip::default();
        sip.set("Via", self.via(from));
        for r in request.all("Record-Route") {
            sip.headers.push(("Route".into(), r.into()));
        }
        sip.set("Max-Forwards", "70");
        sip.set("From", answer.get("To").unwrap_or_default());
        sip.set("To", request.get("From").unwrap_or_default());
        copy(&request, &mut sip, &["Call-ID"]);
        sip.set("CSeq", format!("{} {method}", self.number));
        let uri = uri_of(request.get("Contact").unwrap_or_default());
        sip.first = format!("{method} {uri} SIP/2.0");
        sip
    }

    /// The message of a `reply` step: whence, at which of the server's addresses, the bytes.
    pub fn reply(&mut self, r: &Reply) -> Result<(Place, SocketAddr, Vec<u8>), String> {
        let from = r.from.as_ref().map(|f| self.place(f)).transpose()?;
        let wanted = |l: &Leg| {
            from.is_none_or(|f| l.sent.to == f)
                && r.to
                    .as_ref()
                    .is_none_or(|t| l.name.as_ref() == Some(t) || l.sent.sip.method() == t)
        };
        let at = self
            .legs
            .iter()
            .rposition(wanted)
            .ok_or("no such request was relayed that could be replied to")?;
        let request = &self.legs[at].sent.sip;
        let reason = match r.reason.as_str() {
            "" => reason_of(r.status),
            given => given,
        };
        let mut sip = Sip {
            first: format!("SIP/2.0 {} {reason}", r.status),
            ..Sip::default()
        };
        copy(
            request,
            &mut sip,
            &["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"],
        );
        let tagged = sip.get("To").is_some_and(|t| param(t, "tag").is_some());
        if r.status > 100 && !tagged {
            let to = format!(
                "{};tag={}",
                sip.get("To").unwrap_or_default(),
                self.legs[at].tag
            );
            sip.set("To", to);
        }
        let place = self.legs[at].sent.to;
        if r.status < 300
            && r.status > 100
            && matches!(request.method(), "INVITE" | "SUBSCRIBE" | "UPDATE")
        {
            let user = user_host(request.word(1)).0.unwrap_or("callee");
            sip.set("Contact", format!("<{}>", place.contact(user)));
        }
        let mut given = Sip::default();
        given.take(&r.block);
        sip.overlay(given.clone());
        sip.finish(&given);
        let by = self.legs[at].sent.by;
        self.legs[at].answer = Some(sip.clone());
        Ok((place, by, sip.bytes()))
    }
}

/// Copies all headers of these names.
fn copy(from: &Sip, to: &mut Sip, names: &[&str]) {
    for n in names {
        to.headers.extend(
            from.headers
                .iter()
                .filter(|(name, _)| same_name(name, n))
                .cloned(),
        );
    }
}

/// The usual reason phrase.
fn reason_of(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        302 => "Moved Temporarily",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        500 => "Server Internal Error",
        503 => "Service Unavailable",
        600 => "Busy Everywhere",
        603 => "Decline",
        _ => "Reply",
    }
}

/// The answer to a challenge (RFC 7616).
fn credentials(
    challenge: &str,
    user: &str,
    password: &str,
    method: &str,
    uri: &str,
) -> Result<String, String> {
    let buf = challenge.as_bytes();
    let c = Challenge::parse(buf, Span::all(buf))
        .map_err(|e| format!("the challenge `{challenge}`: {e}"))?;
    let text = |s: Span| String::from_utf8_lossy(s.of(buf)).into_owned();
    let (realm, nonce) = (text(c.realm), text(c.nonce));
    let has_auth = c
        .qop
        .is_some_and(|q| text(q).split(',').any(|q| q.trim() == "auth"));
    let qop = if has_auth { Qop::Auth } else { Qop::None };
    let ha1 = digest::ha1(
        c.algorithm,
        user.as_bytes(),
        realm.as_bytes(),
        password.as_bytes(),
    );
    let response = digest::response(&ResponseInput {
        algorithm: c.algorithm,
        ha1: &ha1,
        nonce: nonce.as_bytes(),
        nc: b"00000001",
        cnonce: b"olelo",
        qop,
        method: method.as_bytes(),
        uri: uri.as_bytes(),
        body: b"",
    });
    let mut out = format!(
        "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\", algorithm={}",
        c.algorithm.as_str()
    );
    if has_auth {
        out += ", qop=auth, nc=00000001, cnonce=\"olelo\"";
    }
    if let Some(o) = c.opaque {
        out += &format!(", opaque=\"{}\"", text(o));
    }
    Ok(out)
}
