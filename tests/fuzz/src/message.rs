//! SIP messages: the index covers the header section without a gap, every accessor stays within
//! the buffer, and what is written of a message — as it is, edited, forwarded, answered — reads
//! again as what it was meant to be.

use crate::show;
use olelo_sip::build::{self, ForwardOptions, ReplyOptions, ViaFixup};
use olelo_sip::multipart::{boundary_of, split};
use olelo_sip::{Contacts, Edits, Frame, Framer, HeaderName, Message, Span, UriBuf, sanity};

/// See the file's essay.
pub fn target(bytes: &[u8]) {
    let _ = olelo_sip::framing::is_stun(bytes) | olelo_sip::framing::is_http(bytes);
    let _ = olelo_sip::framing::http_request_line(bytes);
    let mut msg = Message::new();
    msg.buf_mut().extend_from_slice(bytes);
    let read = msg.parse();
    ask(&msg);
    if read.is_err() {
        return;
    }
    index(&msg);
    unedited(&msg);
    edited(&msg);
    forwarded(&msg);
    answered(&msg);
}

/// The header lines lie behind one another and each holds its parts.
fn index(m: &Message) {
    let mut at = m.headers_start();
    for h in m.headers() {
        assert_eq!(h.whole.at(), at, "no gap between headers");
        assert!(h.whole.contains(h.name_text) && h.whole.contains(h.body));
        assert!(h.name_text.to() < h.body.at(), "a colon stands between");
        assert!(h.whole.of(m.buf()).ends_with(b"\n"));
        let by_text = m.headers_by_text(h.name_text.of(m.buf()));
        assert!(by_text.into_iter().any(|o| o == h), "found by its own name");
        assert!(m.headers_named(h.name).any(|o| o == h));
        at = h.whole.to();
    }
    assert_eq!(at, m.headers_end());
    assert!(m.headers_end() <= m.body_start() && m.body_start() <= m.buf().len());
    assert!(m.body_span().to() <= m.buf().len());
}

/// Asks a message everything there is to ask.
fn ask(m: &Message) {
    let b = m.buf();
    let _ = sanity::check(m);
    let _ = (m.via(0), m.via(5), m.method_text(), m.reason(), m.version());
    for v in m.vias().unwrap_or_default() {
        assert!(v.span.to() <= b.len());
    }
    let names = [
        HeaderName::ReferTo,
        HeaderName::PAssertedIdentity,
        HeaderName::Diversion,
    ];
    let addresses = m.from().into_iter().chain(m.to()).copied();
    for a in addresses.chain(names.into_iter().flat_map(|n| m.name_addrs(n))) {
        let _ = (a.display_unquoted(b), a.params(b).iter().count(), a.tag(b));
        if let Ok(u) = a.uri(b) {
            assert!(u.equals(&u));
            UriBuf::parse(u.text).expect("a URI that was read reads");
        }
    }
    if let Ok(Contacts::List(list)) = m.contacts() {
        assert!(list.len() <= b.len());
    }
    for routes in [m.routes(), m.record_routes(), m.paths()] {
        for r in routes.unwrap_or_default() {
            let _ = r.is_loose(b);
        }
    }
    for list in [m.authorizations(), m.proxy_authorizations()] {
        for c in list.unwrap_or_default() {
            let _ = (c.username_parts(b), c.expected_response(b, "", b"X", b""));
        }
    }
    let _ = (m.event(), m.rack(), m.rseq(), m.expires(), m.min_expires());
    let _ = (
        m.call_id(),
        m.max_forwards(),
        m.content_length(),
        m.sdp_span(),
    );
    if let Some(t) = m.content_type()
        && let Some(boundary) = boundary_of(b, &t)
    {
        let mut at = 0;
        for part in split(b, m.body_span(), boundary) {
            assert!(at <= part.whole.at() && m.body_span().contains(part.whole));
            assert!(part.whole.contains(part.headers) && part.whole.contains(part.body));
            at = part.whole.to();
        }
    }
    for name in [HeaderName::Via, HeaderName::Supported, HeaderName::Other] {
        for span in m.header_bodies(name) {
            assert!(span.to() <= b.len());
        }
    }
}

/// Without edits it is the same bytes, and those are the same message.
fn unedited(m: &Message) {
    let mut out = Vec::new();
    Edits::new().apply(m, &mut out);
    let end = m.body_span().to();
    let mut as_received = m.buf()[m.first_line_start()..end].to_vec();
    if m.body_start() == m.headers_end() {
        // It was cut before the empty line.
        as_received.extend_from_slice(b"\r\n");
    }
    assert_eq!(show(&out), show(&as_received));
    let again = Message::from_bytes(&out).expect("it has just been read");
    assert_eq!(again.headers().len(), m.headers().len());
    assert_eq!(again.body(), m.body());
}

/// Edits of whole lines and values give a message with just those lines and values.
fn edited(m: &Message) {
    let mut edits = Edits::new();
    edits.append_header(b"X-Last: 1\r\n");
    edits.prepend_header(b"X-First: 1\r\n");
    let mut replaced = 0;
    for h in m
        .headers()
        .iter()
        .filter(|h| h.name == HeaderName::Other)
        .step_by(2)
    {
        edits.replace(h.body, b"z");
        replaced += 1;
    }
    edits.set_body(b"v=0\r\n");
    let mut code = Vec::new();
    edits.encode(&mut code);
    let decoded = Edits::decode(&code).expect("what was encoded");
    let (mut out, mut same) = (Vec::new(), Vec::new());
    edits.apply(m, &mut out);
    decoded.apply(m, &mut same);
    assert_eq!(show(&out), show(&same), "edits survive being kept");
    let now = Message::from_bytes(&out).expect("what we edit reads");
    let values = now.headers().iter().filter(|h| now.slice(h.body) == b"z");
    assert!(values.count() >= replaced, "{}", show(&out));
    assert_eq!(now.header_body(now.headers()[0].name), Some(&b"1"[..]));
    assert!(
        now.headers_by_text(b"X-Last").next().is_some(),
        "{}",
        show(&out)
    );
    if now.content_length().is_some() {
        assert_eq!(now.body(), b"v=0\r\n", "{}", show(&out));
    }
    // Nonsense is applied somehow, within the buffer.
    edits.remove(Span::new(m.body_start(), m.buf().len() + 5));
    edits.insert_before(usize::MAX >> 40, b"q", HeaderName::Other);
    for h in m.headers().iter().step_by(3) {
        edits.insert_after(h.whole.at() + 1, b"", HeaderName::Other);
        edits.remove(Span::new(h.body.at(), h.whole.to() + 3));
    }
    edits.apply(m, &mut out);
    let mark = edits.checkpoint();
    edits.append_header(b"Y: 1\r\n");
    edits.rollback(mark);
    assert_eq!(edits.len(), mark_len(&edits));
}

fn mark_len(e: &Edits) -> usize {
    let mut code = Vec::new();
    e.encode(&mut code);
    Edits::decode(&code).map_or(0, |d| d.len())
}

const FIX: ViaFixup<'static> = ViaFixup {
    received: Some(b"::1"),
    params: b"",
    rport: Some(1),
};

/// What is forwarded reads, has one Via more (a reply: one less), and is one frame of a stream.
fn forwarded(m: &Message) {
    let none = Edits::new();
    let mut out = Vec::new();
    if !m.is_request() {
        build::forward_reply(m, &none, true, &mut out);
        let again = Message::from_bytes(&out).expect("what we forward reads");
        if let (Ok(before), Ok(after)) = (m.vias(), again.vias()) {
            let want = before.len().saturating_sub(1);
            assert_eq!(after.len(), want, "{}", show(&out));
        }
        one_frame(m, &out);
        return;
    }
    let options = ForwardOptions {
        top_via: FIX,
        remove_top_route: true,
        need_content_length: true,
        ..ForwardOptions::default()
    };
    let via = b"SIP/2.0/UDP u;branch=z9hG4bKx";
    build::forward_request(m, &none, b"sip:x", via, &options, &mut out);
    let again = Message::from_bytes(&out).expect("what we forward reads");
    assert_eq!(again.ruri(), b"sip:x");
    assert_eq!(again.method_text(), m.method_text());
    assert_eq!(again.body(), m.body(), "{}", show(&out));
    if let Ok(vias) = m.vias() {
        let now = again.vias().map(<[_]>::len);
        assert_eq!(now, Ok(vias.len() + 1), "{}", show(&out));
    }
    if let (Ok(before), Ok(after)) = (m.routes(), again.routes()) {
        assert_eq!(
            after.len(),
            before.len().saturating_sub(1),
            "{}",
            show(&out)
        );
    }
    one_frame(m, &out);
    let mut ack = Vec::new();
    if build::ack_for_negative(&out, m, &mut ack).is_ok() {
        Message::from_bytes(&ack).expect("our ACK reads");
    }
    let mut cancel = Vec::new();
    if build::cancel(&out, b"", &mut cancel).is_ok() {
        let cancel = Message::from_bytes(&cancel).expect("our CANCEL reads");
        assert_eq!(cancel.call_id(), again.call_id());
        assert_eq!(cancel.vias().map(<[_]>::len).unwrap_or(1), 1);
    }
}

/// A sane message is one frame for the next hop, not two and not a part of one. The checks that
/// a proxy makes before it forwards are assumed to have been made.
fn one_frame(m: &Message, out: &[u8]) {
    if sanity::check(m).is_err() || m.headers_named(HeaderName::ContentLength).count() > 1 {
        return;
    }
    let frame = Framer::new(1 << 20).next(out);
    assert_eq!(frame, Frame::Message(out.len()), "{}", show(out));
}

/// Our reply reads, and is recognised as this request's.
fn answered(m: &Message) {
    let options = ReplyOptions {
        to_tag: Some(b"t"),
        top_via: FIX,
        ..ReplyOptions::default()
    };
    let mut out = Vec::new();
    build::reply(m, 200, b"OK", &options, &mut out);
    let reply = Message::from_bytes(&out).expect("our reply reads");
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.call_id(), m.call_id());
    assert_eq!(reply.cseq().map(|c| c.number), m.cseq().map(|c| c.number));
    assert_eq!(reply.from_tag(), m.from_tag());
    if let (Ok(theirs), Ok(ours)) = (m.vias(), reply.vias()) {
        assert_eq!(ours.len(), theirs.len(), "{}", show(&out));
    }
    let one_to = m.headers_named(HeaderName::To).count() == 1;
    if one_to && m.to().is_some() {
        assert!(reply.to_tag().is_some(), "{}", show(&out));
    }
    assert_eq!(reply.body(), b"");
}
