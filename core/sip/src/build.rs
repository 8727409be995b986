//! Messages on their way out: forwarded requests and replies, replies of our own, hop-by-hop ACK
//! and CANCEL, and requests that begin here. All write onto the end of a caller's buffer.

use crate::edit::{Change, Changes, Edits, render};
use crate::header::HeaderName;
use crate::message::{FirstLine, Index, Message};
use crate::method::Method;
use crate::scan::{Commas, decimal, push_number};
use crate::span::{ParseError, Span};
use crate::via::{Rport, Via};

/// What to write into the top Via of a received request (RFC 3261 §18.2.1, RFC 3581 §4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ViaFixup<'a> {
    /// `received=` the source address; IPv6 without brackets.
    pub received: Option<&'a [u8]>,
    /// `rport=` the source port, added where the sender did not ask.
    pub rport: Option<u16>,
    /// More parameters, each with its `;`.
    pub params: &'a [u8],
}

/// How to forward a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct ForwardOptions<'a> {
    /// For the top Via as received.
    pub top_via: ViaFixup<'a>,
    /// Drop the first Route value.
    pub remove_top_route: bool,
    /// Whole header lines for this branch only, after the last header.
    pub extra_headers: &'a [u8],
    /// Whole `Route:` lines for this branch only, before the first remaining Route.
    pub routes: &'a [u8],
    /// Add a Content-Length where there is none (streams need one).
    pub need_content_length: bool,
}

/// Writes a request to forward: our Via above the first, the new Request-URI, the edits.
/// `via_to_add` is the value alone (`SIP/2.0/UDP host;branch=…`); empty adds none.
pub fn forward_request(
    msg: &Message,
    edits: &Edits,
    ruri: &[u8],
    via_to_add: &[u8],
    options: &ForwardOptions<'_>,
    out: &mut Vec<u8>,
) {
    let mut fix = FixBytes::default();
    let mut extra = Changes::new();
    if let FirstLine::Request { uri, .. } = msg.first_line()
        && msg.slice(uri) != ruri
        && !ruri.is_empty()
    {
        extra.push(Change::replace(uri, ruri));
    }
    let via_at = msg
        .header(HeaderName::Via)
        .map_or(msg.headers_start(), |h| h.whole.at());
    if !via_to_add.is_empty() {
        extra.push(Change::insert(via_at, b"Via: "));
        extra.push(Change::insert(via_at, via_to_add));
        extra.push(Change::insert(via_at, b"\r\n"));
    }
    if let Some(via) = msg.via(0) {
        fix.fill(&options.top_via);
        extra.extend(fix.changes(via, &options.top_via));
    }
    if options.remove_top_route
        && let Some(span) = first_value_to_remove(msg, HeaderName::Route)
    {
        extra.push(Change::replace(span, b""));
    }
    if !options.routes.is_empty() {
        let at = msg
            .header(HeaderName::Route)
            .map_or(msg.headers_end(), |h| h.whole.at());
        extra.push(Change::insert(at, options.routes));
    }
    if !options.extra_headers.is_empty() {
        extra.push(Change::insert(msg.headers_end(), options.extra_headers));
    }
    render(msg, edits, &extra, options.need_content_length, out);
}

/// Writes a reply to forward: without its top Via, with the edits. `need_content_length` as in
/// [`ForwardOptions`].
pub fn forward_reply(msg: &Message, edits: &Edits, need_content_length: bool, out: &mut Vec<u8>) {
    let top = first_value_to_remove(msg, HeaderName::Via).map(|s| Change::replace(s, b""));
    render(msg, edits, top.as_slice(), need_content_length, out);
}

/// What a reply of our own carries beyond what it copies.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplyOptions<'a> {
    /// Tag for To where the request has none.
    pub to_tag: Option<&'a [u8]>,
    /// Whole header lines.
    pub extra_headers: &'a [u8],
    /// (Content-Type value, body); an empty type writes no Content-Type.
    pub body: Option<(&'a [u8], &'a [u8])>,
    /// For the top Via.
    pub top_via: ViaFixup<'a>,
    /// Value of the Server header.
    pub server: Option<&'a [u8]>,
}

/// Writes a reply to `msg` (RFC 3261 §8.2.6): all Via, From, To, Call-ID, CSeq; Record-Route where
/// the reply may form a dialog; Timestamp for 100.
pub fn reply(
    msg: &Message,
    code: u16,
    reason: &[u8],
    options: &ReplyOptions<'_>,
    out: &mut Vec<u8>,
) {
    let buf = msg.buf();
    out.reserve(buf.len().min(2048) + 256);
    out.extend_from_slice(b"SIP/2.0 ");
    push_number(out, u64::from(code));
    out.push(b' ');
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
    let with_routes = (101..300).contains(&code) && msg.method().forms_dialog();
    let mut fix = FixBytes::default();
    fix.fill(&options.top_via);
    // The top Via is not on the first Via line where that one is empty.
    let top_via = msg.via(0);
    for h in msg.headers() {
        match h.name {
            HeaderName::Via => {
                let mut at = h.whole.at();
                if let Some(via) = top_via.filter(|v| h.whole.contains(v.span)) {
                    for c in fix.changes(via, &options.top_via) {
                        at = c.write(buf, at, out);
                    }
                }
                out.extend_from_slice(Span::new(at, h.whole.to()).of(buf));
            }
            HeaderName::To => {
                let line = h.whole.of(buf);
                match options.to_tag {
                    Some(tag) if msg.to_tag().is_none() => {
                        let end = msg.to().map_or(h.body, |t| match t.tag {
                            // `;tag=` with nothing behind: fill it.
                            Some(empty) => Span::new(h.body.at(), empty.to()),
                            None => h.body,
                        });
                        out.extend_from_slice(Span::new(h.whole.at(), end.to()).of(buf));
                        if msg.to().is_none_or(|t| t.tag.is_none()) {
                            out.extend_from_slice(b";tag=");
                        }
                        out.extend_from_slice(tag);
                        out.extend_from_slice(Span::new(end.to(), h.whole.to()).of(buf));
                    }
                    _ => out.extend_from_slice(line),
                }
            }
            HeaderName::From | HeaderName::CallId | HeaderName::CSeq => {
                out.extend_from_slice(h.whole.of(buf));
            }
            HeaderName::RecordRoute if with_routes => out.extend_from_slice(h.whole.of(buf)),
            HeaderName::Timestamp if code == 100 => out.extend_from_slice(h.whole.of(buf)),
            _ => {}
        }
    }
    out.extend_from_slice(options.extra_headers);
    if let Some(server) = options.server {
        line(out, b"Server", server);
    }
    write_body(options.body, out);
}

/// Writes the ACK for a negative reply to an INVITE we sent (RFC 3261 §17.1.1.3), from the INVITE's
/// bytes as sent. To comes from the reply.
pub fn ack_for_negative(
    request_as_sent: &[u8],
    reply: &Message,
    out: &mut Vec<u8>,
) -> Result<(), ParseError> {
    let to = reply
        .header(HeaderName::To)
        .map(|h| h.whole.of(reply.buf()));
    hop_by_hop(request_as_sent, Method::Ack, to, b"", out)
}

/// Writes the CANCEL for an INVITE we sent (RFC 3261 §9.1), from the INVITE's bytes as sent.
/// `extra_headers` are whole lines, as Reason.
pub fn cancel(
    request_as_sent: &[u8],
    extra_headers: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ParseError> {
    hop_by_hop(request_as_sent, Method::Cancel, None, extra_headers, out)
}

/// What a request that begins here is made of; all values without header names.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalRequest<'a> {
    /// The method.
    pub method: &'a [u8],
    /// The Request-URI.
    pub ruri: &'a [u8],
    /// To, with its tag inside a dialog.
    pub to: &'a [u8],
    /// From, with its tag.
    pub from: &'a [u8],
    /// Call-ID.
    pub call_id: &'a [u8],
    /// CSeq's number; the method is added.
    pub cseq: u32,
    /// The Via value.
    pub via: &'a [u8],
    /// Whole header lines; a Max-Forwards among them replaces the default of 70.
    pub headers: &'a [u8],
    /// The body; its Content-Type belongs to `headers`.
    pub body: &'a [u8],
}

/// Writes a request that begins here.
pub fn local_request(r: &LocalRequest<'_>, out: &mut Vec<u8>) {
    out.reserve(r.headers.len() + r.body.len() + 512);
    request_line(out, r.method, r.ruri);
    if !r.via.is_empty() {
        line(out, b"Via", r.via);
    }
    line(out, b"To", r.to);
    line(out, b"From", r.from);
    cseq_line(out, r.cseq, r.method);
    line(out, b"Call-ID", r.call_id);
    let has_hops = r.headers.split(|b| *b == b'\n').any(|l| {
        l.get(..13)
            .is_some_and(|n| n.eq_ignore_ascii_case(b"Max-Forwards:"))
    });
    if !has_hops {
        line(out, b"Max-Forwards", b"70");
    }
    out.extend_from_slice(r.headers);
    if !r.headers.is_empty() && !r.headers.ends_with(b"\n") {
        out.extend_from_slice(b"\r\n");
    }
    write_body(Some((b"", r.body)), out);
}

/// The part to remove so that the first value of a list header is gone: its line, or the value and
/// its comma.
pub fn first_value_to_remove(msg: &Message, name: HeaderName) -> Option<Span> {
    msg.headers_named(name).find_map(|h| {
        let mut values = Commas::new(msg.buf(), h.body);
        values.next()?;
        Some(match values.next() {
            Some(second) => Span {
                start: h.body.start,
                end: second.start,
            },
            None => h.whole,
        })
    })
}

fn hop_by_hop(
    sent: &[u8],
    method: Method,
    to: Option<&[u8]>,
    extra_headers: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ParseError> {
    let index = Index::of(sent)?;
    let FirstLine::Request { uri, .. } = index.first_line() else {
        return Err(ParseError::new("what was sent is no request", 0));
    };
    let missing = |what| ParseError::new(what, index.headers_end());
    let via = index
        .header(HeaderName::Via)
        .and_then(|h| Commas::new(sent, h.body).next())
        .ok_or(missing("the sent request has no Via"))?;
    let cseq = index
        .header(HeaderName::CSeq)
        .ok_or(missing("the sent request has no CSeq"))?;
    let cseq = crate::cseq::CSeq::parse(sent, cseq.body)?;
    request_line(out, method.as_bytes(), uri.of(sent));
    line(out, b"Via", via.of(sent));
    for h in index.headers() {
        match h.name {
            HeaderName::To => out.extend_from_slice(to.unwrap_or(h.whole.of(sent))),
            HeaderName::From | HeaderName::CallId | HeaderName::Route => {
                out.extend_from_slice(h.whole.of(sent));
            }
            _ => {}
        }
    }
    cseq_line(out, cseq.number, method.as_bytes());
    line(out, b"Max-Forwards", b"70");
    out.extend_from_slice(extra_headers);
    write_body(None, out);
    Ok(())
}

fn request_line(out: &mut Vec<u8>, method: &[u8], ruri: &[u8]) {
    out.extend_from_slice(method);
    out.push(b' ');
    out.extend_from_slice(ruri);
    out.extend_from_slice(b" SIP/2.0\r\n");
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn cseq_line(out: &mut Vec<u8>, number: u32, method: &[u8]) {
    out.extend_from_slice(b"CSeq: ");
    push_number(out, u64::from(number));
    out.push(b' ');
    out.extend_from_slice(method);
    out.extend_from_slice(b"\r\n");
}

fn write_body(body: Option<(&[u8], &[u8])>, out: &mut Vec<u8>) {
    let (kind, body) = body.unwrap_or_default();
    if !kind.is_empty() {
        line(out, b"Content-Type", kind);
    }
    out.extend_from_slice(b"Content-Length: ");
    push_number(out, body.len() as u64);
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

/// The texts of `;received=` and `;rport=`, kept while changes refer to them.
#[derive(Default)]
struct FixBytes<'f> {
    received: Short,
    rport: Short,
    params: &'f [u8],
}

/// A text of a few bytes, without a place on the heap. What does not fit is left out whole.
struct Short {
    bytes: [u8; 72],
    len: usize,
}

impl Default for Short {
    fn default() -> Short {
        Short {
            bytes: [0; 72],
            len: 0,
        }
    }
}

impl Short {
    fn put(&mut self, text: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.len..self.len + text.len()) {
            room.copy_from_slice(text);
            self.len += text.len();
        }
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl<'f> FixBytes<'f> {
    fn fill(&mut self, fix: &ViaFixup<'f>) {
        if let Some(ip) = fix.received {
            self.received.put(b";received=");
            self.received.put(ip);
        }
        self.params = fix.params;
        if let Some(port) = fix.rport {
            let mut digits = [0; 20];
            self.rport.put(b";rport=");
            self.rport.put(decimal(u64::from(port), &mut digits));
        }
    }

    /// The changes in order of their offsets.
    fn changes<'a>(&'a self, via: &Via, fix: &ViaFixup<'_>) -> impl Iterator<Item = Change<'a>> {
        let at_end = Span::new(via.params.to(), via.params.to());
        let more = (!self.params.is_empty()).then_some((at_end, self.params));
        let mut list = [None, None];
        if fix.rport.is_some() {
            let span = via
                .rport_whole
                .filter(|_| via.rport != Rport::Absent)
                .unwrap_or(at_end);
            list[0] = Some((span, self.rport.as_slice()));
        }
        if fix.received.is_some() {
            list[1] = Some((
                via.received_whole.unwrap_or(at_end),
                self.received.as_slice(),
            ));
        }
        if let [Some(a), Some(b)] = list
            && b.0.start < a.0.start
        {
            list.swap(0, 1);
        }
        list.into_iter()
            .chain([more])
            .flatten()
            .map(|(span, data)| Change::replace(span, data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &[u8] = b"INVITE sip:bob@b SIP/2.0\r\nVia: SIP/2.0/UDP c;branch=z9hG4bKc;rport, SIP/2.0/UDP d\r\n\
        Record-Route: <sip:r;lr>\r\nMax-Forwards: 70\r\nRoute: <sip:p1;lr>, <sip:p2;lr>\r\nFrom: <sip:a@a>;tag=1\r\n\
        To: <sip:bob@b>\r\nCall-ID: x@y\r\nCSeq: 5 INVITE\r\nTimestamp: 3\r\nContent-Length: 0\r\n\r\n";

    fn text(out: Vec<u8>) -> String {
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn forwarded_request() {
        let m = Message::from_bytes(INVITE).unwrap();
        let mut out = Vec::new();
        let options = ForwardOptions {
            top_via: ViaFixup {
                received: Some(b"192.0.2.1"),
                rport: Some(9),
                params: b"",
            },
            remove_top_route: true,
            extra_headers: b"X: 1\r\n",
            ..ForwardOptions::default()
        };
        forward_request(
            &m,
            &Edits::new(),
            b"sip:bob@phone",
            b"SIP/2.0/UDP us;branch=z9hG4bKu",
            &options,
            &mut out,
        );
        assert_eq!(
            text(out),
            "INVITE sip:bob@phone SIP/2.0\r\nVia: SIP/2.0/UDP us;branch=z9hG4bKu\r\n\
             Via: SIP/2.0/UDP c;branch=z9hG4bKc;rport=9;received=192.0.2.1, SIP/2.0/UDP d\r\n\
             Record-Route: <sip:r;lr>\r\nMax-Forwards: 70\r\nRoute: <sip:p2;lr>\r\nFrom: <sip:a@a>;tag=1\r\n\
             To: <sip:bob@b>\r\nCall-ID: x@y\r\nCSeq: 5 INVITE\r\nTimestamp: 3\r\nContent-Length: 0\r\nX: 1\r\n\r\n"
        );
    }

    #[test]
    fn forwarded_reply_loses_one_via() {
        let m = Message::from_bytes(b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP us\r\nv: SIP/2.0/UDP c,SIP/2.0/UDP d\r\nX: 1\r\n\r\n").unwrap();
        let mut out = Vec::new();
        forward_reply(&m, &Edits::new(), false, &mut out);
        assert_eq!(
            out,
            b"SIP/2.0 200 OK\r\nv: SIP/2.0/UDP c,SIP/2.0/UDP d\r\nX: 1\r\n\r\n"
        );
        let m = Message::from_bytes(&out).unwrap();
        let mut out = Vec::new();
        forward_reply(&m, &Edits::new(), true, &mut out);
        assert_eq!(
            out,
            b"SIP/2.0 200 OK\r\nv: SIP/2.0/UDP d\r\nX: 1\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn replies() {
        let m = Message::from_bytes(INVITE).unwrap();
        let mut out = Vec::new();
        let options = ReplyOptions {
            to_tag: Some(b"tt"),
            extra_headers: b"X: y\r\n",
            top_via: ViaFixup {
                received: Some(b"::1"),
                rport: Some(7),
                params: b";x=y",
            },
            server: Some(b"olelo"),
            ..ReplyOptions::default()
        };
        reply(&m, 180, b"Ringing", &options, &mut out);
        assert_eq!(
            text(out),
            "SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP c;branch=z9hG4bKc;rport=7;received=::1;x=y, SIP/2.0/UDP d\r\n\
             Record-Route: <sip:r;lr>\r\nFrom: <sip:a@a>;tag=1\r\nTo: <sip:bob@b>;tag=tt\r\nCall-ID: x@y\r\nCSeq: 5 INVITE\r\n\
             X: y\r\nServer: olelo\r\nContent-Length: 0\r\n\r\n"
        );
        let mut out = Vec::new();
        reply(
            &m,
            404,
            b"Not Found",
            &ReplyOptions {
                body: Some((b"text/plain", b"no")),
                ..ReplyOptions::default()
            },
            &mut out,
        );
        let t = text(out);
        assert!(
            !t.contains("Record-Route")
                && t.ends_with("Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nno")
        );
        let mut out = Vec::new();
        reply(&m, 100, b"Trying", &ReplyOptions::default(), &mut out);
        assert!(text(out).contains("Timestamp: 3\r\n"));
    }

    #[test]
    fn ack_cancel_and_local() {
        let r = Message::from_bytes(b"SIP/2.0 486 Busy\r\nTo: <sip:bob@b>;tag=z\r\n\r\n").unwrap();
        let mut out = Vec::new();
        ack_for_negative(INVITE, &r, &mut out).unwrap();
        assert_eq!(
            text(out),
            "ACK sip:bob@b SIP/2.0\r\nVia: SIP/2.0/UDP c;branch=z9hG4bKc;rport\r\nRoute: <sip:p1;lr>, <sip:p2;lr>\r\n\
             From: <sip:a@a>;tag=1\r\nTo: <sip:bob@b>;tag=z\r\nCall-ID: x@y\r\nCSeq: 5 ACK\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        let mut out = Vec::new();
        cancel(INVITE, b"Reason: SIP;cause=200\r\n", &mut out).unwrap();
        let t = text(out);
        assert!(
            t.starts_with("CANCEL sip:bob@b SIP/2.0\r\n")
                && t.contains("CSeq: 5 CANCEL\r\n")
                && t.contains("To: <sip:bob@b>\r\n")
        );
        assert!(cancel(b"junk", b"", &mut Vec::new()).is_err());
        let mut out = Vec::new();
        local_request(
            &LocalRequest {
                method: b"OPTIONS",
                ruri: b"sip:x",
                to: b"<sip:x>",
                from: b"<sip:y>;tag=1",
                call_id: b"c",
                cseq: 1,
                via: b"SIP/2.0/UDP h",
                headers: b"",
                body: b"hi",
            },
            &mut out,
        );
        let m = Message::from_bytes(&out).unwrap();
        assert_eq!(
            (m.body(), m.max_forwards(), m.cseq().unwrap().method),
            (&b"hi"[..], Some(70), Method::Options)
        );
    }
}
