//! Offer and answer: a command for each medium of the description, and the relay's ports and addresses
//! put into it.

use crate::command::{
    Failed, Session, read_pv, relay, remember, send, send_any, session as session_of, tell_node,
};
use crate::flags::Flags;
use crate::params as p;
use olelo_core::route::ctx::Ctx;
use olelo_rtp_nodes::calls::Offer;
use olelo_rtp_nodes::session;
use olelo_sip::sdp::{Address, Media, Sdp};
use olelo_sip::{HeaderName, Span};
use std::net::IpAddr;

/// A place in the message and what is put there.
type Change = (Span, Vec<u8>);

/// Already goes through a relay.
pub(crate) const MARKED: i64 = -2;

/// Offers (or, `answers`, completes) the session in the description. `address` is put there in place of
/// the relay's.
pub(crate) fn describe(ctx: &mut Ctx, flags: &str, address: Option<&str>, answers: bool) -> i64 {
    let flags = Flags::parse(flags);
    let answers = answers || flags.lookup;
    match changes(ctx, &flags, address.filter(|a| !a.is_empty()), answers) {
        Ok(Some(list)) => {
            for (span, bytes) in list {
                if span.at() == span.to() {
                    ctx.edits.insert_after(span.at(), &bytes, HeaderName::Other);
                } else {
                    ctx.edits.replace(span, &bytes);
                }
            }
            1
        }
        Ok(None) => MARKED,
        Err(Failed) => -1,
    }
}

/// The changes to the description; `None` where a relay has marked it.
fn changes(
    ctx: &mut Ctx,
    flags: &Flags,
    address: Option<&str>,
    answers: bool,
) -> Result<Option<Vec<Change>>, Failed> {
    let failed = |why: &str| {
        olelo_core::error!("rtpproxy", "{why}");
        Failed
    };
    let span = session::description(ctx)
        .ok_or_else(|| failed("the message has no session description"))?;
    let sdp = Sdp::parse(ctx.msg.buf(), span)
        .ok_or_else(|| failed("the session description can't be read"))?;
    let mark = p::NORTPPROXY_STR.text().trim_end();
    if !mark.is_empty() && !flags.force {
        let marked = span.of(ctx.msg.buf()).split(|b| *b == b'\n');
        if marked.map(<[u8]>::trim_ascii).any(|l| l == mark.as_bytes()) {
            return Ok(None);
        }
    }
    let mut names = session_of(ctx, flags)?;
    if session::is_turned(ctx, answers) {
        std::mem::swap(&mut names.from, &mut names.to);
    }
    if names.from.is_empty() || (answers && names.to.is_empty()) {
        return Err(failed("a side of the session has no tag yet"));
    }
    let mut plan = Plan::default();
    for (n, media) in sdp.media().iter().enumerate() {
        let protocol = media.protocol.of(ctx.msg.buf()).to_ascii_uppercase();
        if media.port == 0 || memchr_rtp(&protocol).is_none() {
            continue;
        }
        let place = place(ctx, flags, &sdp, media)?;
        let command = command(ctx, flags, &names, media, &place, n + 1, answers);
        let (node, answer) = match plan.node {
            // All media of a session are with one relay.
            Some(node) => (node, send(node, &command)?),
            None => send_any(ctx, &command)?,
        };
        plan.node = Some(node);
        let given = Given::read(&answer).ok_or_else(|| {
            failed(&format!(
                "{} has no session for \"{command}\": {answer}",
                node.url
            ))
        })?;
        let ip = match address {
            Some(a) => a
                .trim_matches(['[', ']'])
                .parse()
                .map_err(|_| failed(&format!("\"{a}\" is no IP address")))?,
            None => given.ip.unwrap_or_else(|| ctx.rcv.dst.ip()),
        };
        plan.medium(ctx, &sdp, media, given.port, ip);
    }
    let Some(node) = plan.node else {
        return Err(failed(
            "the description has no medium that a relay can take",
        ));
    };
    plan.finish(ctx, flags, &sdp, span, mark);
    tell_node(ctx, node);
    if !answers && let Some(c) = ctx.msg.call_id() {
        let offer = if ctx.msg.is_request() {
            Offer::InRequest
        } else {
            Offer::InReply
        };
        remember(c, node.number, offer);
    }
    Ok(Some(plan.list))
}

/// Where `RTP` is in a protocol such as `UDP/TLS/RTP/SAVP`: others are no relay's matter.
fn memchr_rtp(protocol: &[u8]) -> Option<usize> {
    protocol.windows(3).position(|w| w == b"RTP")
}

/// Where the sender of the description wants media: by the description, or where the message came from.
fn place(ctx: &Ctx, flags: &Flags, sdp: &Sdp, media: &Media) -> Result<IpAddr, Failed> {
    let told = sdp
        .connection_of(media)
        .and_then(|a| olelo_sip::uri::host_ip(a.address.of(ctx.msg.buf())));
    match (told, flags.trust) {
        (Some(ip), true) => Ok(ip),
        (Some(_), false) => Ok(ctx.rcv.src.ip()),
        (None, _) => {
            olelo_core::error!("rtpproxy", "a medium has no connection address");
            Err(Failed)
        }
    }
}

fn command(
    ctx: &Ctx,
    flags: &Flags,
    names: &Session,
    media: &Media,
    place: &IpAddr,
    number: usize,
    answers: bool,
) -> String {
    let mut line = String::from(if answers { "L" } else { "U" });
    line.push_str(&flags.options);
    if flags.cross {
        line.push_str(if place.is_ipv6() { "EI" } else { "IE" });
    }
    if place.is_ipv6() {
        line.push('6');
    }
    let formats: Vec<_> = Sdp::formats(media, ctx.msg.buf())
        .filter(|f| f.iter().all(u8::is_ascii_digit))
        .map(|f| String::from_utf8_lossy(f).into_owned())
        .collect();
    if !formats.is_empty() {
        line.push('c');
        line.push_str(&formats.join(","));
    }
    line.push_str(&format!(
        " {} {place} {} {};{number}",
        names.id, media.port, names.from
    ));
    if !names.to.is_empty() {
        line.push_str(&format!(" {};{number}", names.to));
        if let Some(s) = p::TIMEOUT_SOCKET
            .get()
            .filter(|s| !s.is_empty() && !answers)
        {
            line.push_str(&format!(" {s}"));
            let tag =
                read_pv(ctx, &p::TIMEOUT_TAG_PV).filter(|t| t.iter().all(u8::is_ascii_graphic));
            if let Some(t) = tag.filter(|t| !t.is_empty()) {
                line.push_str(&format!(" {}", String::from_utf8_lossy(&t)));
            }
        }
    }
    line
}

/// What a relay gives for a medium: `port [address]`.
#[derive(Debug, PartialEq)]
struct Given {
    port: u16,
    ip: Option<IpAddr>,
}

impl Given {
    fn read(answer: &str) -> Option<Given> {
        let mut words = answer.split_whitespace();
        let port = words.next()?.parse().ok().filter(|p| *p != 0)?;
        Some(Given {
            port,
            ip: words.next().and_then(|a| a.parse().ok()),
        })
    }
}

/// The changes, as they come together.
#[derive(Default)]
struct Plan {
    node: Option<&'static olelo_rtp_nodes::nodes::Node>,
    list: Vec<Change>,
    /// The address of the first medium: also the session's.
    ip: Option<IpAddr>,
    /// A medium without an address of its own is through the relay.
    uses_session: bool,
}

impl Plan {
    fn medium(&mut self, ctx: &Ctx, sdp: &Sdp, media: &Media, port: u16, ip: IpAddr) {
        let buf = ctx.msg.buf();
        self.ip = self.ip.or(Some(ip));
        self.list
            .push((media.port_text, port.to_string().into_bytes()));
        match media.connection {
            Some(c) => self.address(buf, &c, ip),
            None => self.uses_session = true,
        }
        let lines = sdp.media_lines(media);
        for l in lines.iter().filter(|l| l.kind == b'a') {
            if let Some(rest) = l.value.of(buf).strip_prefix(b"rtcp:") {
                let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
                let start = l.value.at() + 5;
                let next = port.wrapping_add(1).to_string().into_bytes();
                self.list.push((Span::new(start, start + digits), next));
            }
        }
        self.candidates(ctx, sdp, media, port, ip);
    }

    /// Adds the relay to the ICE candidates of a medium, where the script wants it.
    fn candidates(&mut self, ctx: &Ctx, sdp: &Sdp, media: &Media, port: u16, ip: IpAddr) {
        let wanted = read_pv(ctx, &p::ICE_PRIORITY_AVP);
        let type_preference: u32 = match wanted.as_deref() {
            Some(b"1") => 130,
            Some(b"2") => 0,
            _ => return,
        };
        let buf = ctx.msg.buf();
        let lines = sdp.media_lines(media);
        let is_candidate = |l: &&olelo_sip::sdp::SdpLine| {
            l.kind == b'a' && l.value.of(buf).starts_with(b"candidate:")
        };
        let Some(last) = lines.iter().rfind(is_candidate) else {
            return;
        };
        let mut text = String::new();
        for component in 1..=2u32 {
            let priority = (type_preference << 24) | (65535 << 8) | (256 - component);
            let port = u32::from(port) + component - 1;
            text.push_str(&format!(
                "a=candidate:relay {component} UDP {priority} {ip} {port} typ relay raddr {ip} rport {port}\r\n"
            ));
        }
        let at = last.whole.to();
        self.list.push((Span::new(at, at), text.into_bytes()));
    }

    fn address(&mut self, buf: &[u8], a: &Address, ip: IpAddr) {
        // On hold the old way (RFC 2543): it stays.
        if matches!(a.address.of(buf), b"0.0.0.0" | b"::") {
            return;
        }
        let kind = if ip.is_ipv6() { "IP6" } else { "IP4" };
        self.list.push((a.kind, kind.into()));
        self.list.push((a.address, ip.to_string().into_bytes()));
    }

    fn finish(&mut self, ctx: &Ctx, flags: &Flags, sdp: &Sdp, span: Span, mark: &str) {
        let buf = ctx.msg.buf();
        let Some(ip) = self.ip else { return };
        if let Some(c) = sdp
            .connection()
            .filter(|_| self.uses_session || flags.session)
        {
            self.address(buf, &c, ip);
        }
        if let Some(o) = sdp.origin().filter(|_| flags.origin) {
            self.address(buf, &o, ip);
        }
        if !mark.is_empty()
            && !span
                .of(buf)
                .windows(mark.len())
                .any(|w| w == mark.as_bytes())
        {
            let mut tail = Vec::new();
            if !span.of(buf).ends_with(b"\n") {
                tail.extend_from_slice(b"\r\n");
            }
            tail.extend_from_slice(mark.as_bytes());
            tail.extend_from_slice(b"\r\n");
            self.list.push((Span::new(span.to(), span.to()), tail));
        }
    }
}

/// A command about the session that wants no answer but success: `D`, `R`, `P`, `S`.
pub(crate) fn about(
    ctx: &mut Ctx,
    flags: &Flags,
    make: impl Fn(&Session) -> String,
) -> Result<String, Failed> {
    let names = session_of(ctx, flags)?;
    let node = relay(ctx, &[]).ok_or_else(|| {
        olelo_core::error!("rtpproxy", "no relay answers");
        Failed
    })?;
    let answer = send(node, &make(&names))?;
    tell_node(ctx, node);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_relay_gives() {
        let v4 = Given {
            port: 35000,
            ip: Some("9.9.9.9".parse().unwrap()),
        };
        assert_eq!(Given::read("35000 9.9.9.9"), Some(v4));
        let v6 = Given {
            port: 35000,
            ip: Some("2001:db8::1".parse().unwrap()),
        };
        assert_eq!(Given::read("35000 2001:db8::1 6"), Some(v6));
        assert_eq!(
            Given::read("35000"),
            Some(Given {
                port: 35000,
                ip: None
            })
        );
        for bad in ["0", "", "E8", "99999 1.2.3.4"] {
            assert_eq!(Given::read(bad), None, "{bad}");
        }
    }
}
