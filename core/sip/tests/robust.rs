//! No input makes the parser panic: every message cut at every byte, mutated, and pure noise.
//! What is accepted can also be answered, forwarded and edited.

mod common;

use common::MESSAGES;
use olelo_sip::build::{self, ForwardOptions, ReplyOptions, ViaFixup};
use olelo_sip::multipart::{boundary_of, split};
use olelo_sip::sdp::Sdp;
use olelo_sip::{Edits, Framer, HeaderName, Message, Span, Uri, UriBuf, sanity};
use proptest::prelude::*;

/// Asks a message everything there is to ask, and writes it in every way.
fn exercise(bytes: &[u8]) {
    let mut msg = Message::new();
    msg.buf_mut().extend_from_slice(bytes);
    let read = msg.parse();
    ask(&msg);
    if read.is_ok() {
        write(&msg);
    }
    let mut framer = Framer::new(2000);
    for n in [bytes.len() / 3, bytes.len()] {
        let _ = framer.next(&bytes[..n]);
    }
    let _ = olelo_sip::framing::is_stun(bytes) | olelo_sip::framing::is_http(bytes);
    let _ = olelo_sip::framing::http_request_line(bytes);
}

fn ask(msg: &Message) {
    let b = msg.buf();
    let _ = sanity::check(msg);
    let _ = (
        msg.via(0),
        msg.via(5),
        msg.vias().is_ok(),
        msg.method_text(),
        msg.reason(),
    );
    for a in [
        msg.from().copied(),
        msg.to().copied(),
        msg.refer_to(),
        msg.pai(),
        msg.rpid(),
    ] {
        let Some(a) = a else { continue };
        let _ = (a.display_unquoted(b), a.params(b).iter().count());
        if let Ok(u) = a.uri(b) {
            let _ = (
                u.aor(true),
                u.equals(&u),
                u.host_ip(),
                u.user_params().iter().count(),
            );
            let mut owned = UriBuf::parse(u.text).unwrap();
            let _ = owned.set_param(b"x", Some(b"1"));
            let _ = owned.remove_param(b"lr");
            let _ = owned.strip(1);
        }
    }
    let _ = msg.contacts().map(|c| c.list().len());
    for routes in [msg.routes(), msg.record_routes(), msg.paths()] {
        for r in routes.unwrap_or_default() {
            let _ = r.is_loose(b);
        }
    }
    for c in msg.authorizations().unwrap_or_default() {
        let _ = (c.username_parts(b), c.expected_response(b, "", b"X", b""));
    }
    let _ = (
        msg.event(),
        msg.rack(),
        msg.rseq(),
        msg.expires(),
        msg.call_id(),
    );
    if let Some(t) = msg.content_type()
        && let Some(boundary) = boundary_of(b, &t)
    {
        let _ = split(b, msg.body_span(), boundary).count();
    }
    for span in [msg.body_span(), Span::all(b)] {
        if let Some(sdp) = Sdp::parse(b, span) {
            let _ = (
                sdp.has_codec(b, b"PCMU"),
                sdp.connections().count(),
                sdp.session_lines().len(),
            );
        }
    }
    let _ = (
        msg.headers_by_text(b"v").count(),
        msg.header_bodies(HeaderName::Other).count(),
    );
}

fn write(msg: &Message) {
    let mut edits = Edits::new();
    edits.append_header(b"X: 1\r\n");
    edits.prepend_header(b"Y: 1\r\n");
    for h in msg.headers().iter().step_by(3) {
        edits.replace(h.body, b"z");
        edits.insert_after(h.whole.at() + 1, b"", HeaderName::Other);
    }
    edits.remove(Span::new(msg.body_start(), msg.buf().len() + 5));
    edits.insert_before(usize::MAX >> 40, b"q", HeaderName::Other);
    let mut out = Vec::new();
    edits.apply(msg, &mut out);
    let none = Edits::new();
    let fix = ViaFixup {
        received: Some(b"::1"),
        params: b"",
        rport: Some(1),
    };
    let options = ForwardOptions {
        top_via: fix,
        remove_top_route: true,
        ..ForwardOptions::default()
    };
    out.clear();
    build::forward_request(
        msg,
        &none,
        b"sip:x",
        b"SIP/2.0/UDP u;branch=z9hG4bKx",
        &options,
        &mut out,
    );
    if msg.is_request() {
        let again = Message::from_bytes(&out).expect("what we forward reads");
        if let Ok(vias) = msg.vias() {
            let text = String::from_utf8_lossy(&out);
            assert_eq!(again.vias().map(<[_]>::len), Ok(vias.len() + 1), "{text}");
        }
        let mut ack = Vec::new();
        if build::ack_for_negative(&out, msg, &mut ack).is_ok() {
            Message::from_bytes(&ack).expect("our ACK reads");
        }
    }
    out.clear();
    build::forward_reply(msg, &none, true, &mut out);
    out.clear();
    let options = ReplyOptions {
        to_tag: Some(b"t"),
        top_via: fix,
        ..ReplyOptions::default()
    };
    build::reply(msg, 200, b"OK", &options, &mut out);
    Message::from_bytes(&out).expect("our reply reads");
}

#[test]
fn cut_at_every_byte() {
    for t in MESSAGES {
        let bytes = t.bytes();
        for n in 0..=bytes.len() {
            exercise(&bytes[..n]);
        }
    }
}

#[test]
fn every_byte_struck() {
    for t in MESSAGES {
        let mut bytes = t.bytes();
        for n in 0..bytes.len() {
            for b in [b'"', b'<', b',', b';', b'\n', b'\\', 0xff] {
                let old = std::mem::replace(&mut bytes[n], b);
                exercise(&bytes);
                bytes[n] = old;
            }
        }
    }
}

#[test]
fn no_edits_means_the_same_bytes() {
    for t in MESSAGES {
        let Ok(m) = Message::from_bytes(&t.bytes()) else {
            continue;
        };
        let mut out = Vec::new();
        Edits::new().apply(&m, &mut out);
        assert_eq!(out, m.buf()[..m.body_span().to()], "{}", t.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn noise(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        exercise(&bytes);
    }

    #[test]
    fn noise_in_a_header(
        name in prop::sample::select(vec!["Via", "From", "Contact", "CSeq", "Route", "Authorization", "Content-Type", "Event"]),
        value in "[ -~\r\n\t\"<>;,=@:]{0,80}",
    ) {
        exercise(format!("INVITE sip:a@b SIP/2.0\r\n{name}: {value}\r\n\r\nv=0\r\n").as_bytes());
    }

    #[test]
    fn digest_like_header(value in "Digest (([a-z]{1,8})=(\"[^\"]{0,6}\"|[a-z]{0,5}),? ?){0,6}") {
        exercise(format!("INVITE sip:a@b SIP/2.0\r\nAuthorization: {value}\r\n\r\n").as_bytes());
    }

    #[test]
    fn uris_round_trip(
        user in proptest::option::of("[a-z0-9+;=%_.-]{1,12}"),
        host in "[a-z0-9.-]{1,12}|\\[::[0-9a-f]{1,4}\\]",
        port in proptest::option::of(any::<u16>()),
    ) {
        let built = UriBuf::from_parts(b"sip", user.as_deref().map(str::as_bytes), host.as_bytes(), port);
        let uri = Uri::parse(built.as_bytes()).unwrap();
        prop_assert_eq!(uri.user, user.as_deref().map(str::as_bytes));
        prop_assert_eq!(uri.host, host.as_bytes());
        prop_assert_eq!(uri.port, port);
        prop_assert!(uri.equals(&uri));
    }

    #[test]
    fn escapes_round_trip(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        use olelo_sip::uri::{escape_param, escape_user, unescape};
        prop_assert_eq!(unescape(&escape_user(&bytes)).to_vec(), bytes.clone());
        prop_assert_eq!(unescape(&escape_param(&bytes)).to_vec(), bytes.clone());
    }

    #[test]
    fn framing_does_not_depend_on_chunks(steps in proptest::collection::vec(1usize..40, 1..60)) {
        let one: Vec<u8> = MESSAGES.iter().find(|t| t.name == "auth").unwrap().bytes();
        let stream = [one.as_slice(), b"\r\n\r\n", &one, &one].concat();
        let (mut framer, mut buf, mut found, mut at) = (Framer::new(65536), Vec::new(), 0, 0);
        for step in steps.iter().cycle() {
            let n = (at + step).min(stream.len());
            buf.extend_from_slice(&stream[at..n]);
            at = n;
            loop {
                match framer.next(&buf) {
                    olelo_sip::Frame::Message(n) => { prop_assert_eq!(&buf[..n], &one[..]); buf.drain(..n); found += 1; }
                    olelo_sip::Frame::KeepAlive(n) => { buf.drain(..n); }
                    other => { prop_assert_eq!(other, olelo_sip::Frame::Incomplete); break; }
                }
            }
            if at == stream.len() { break; }
        }
        prop_assert_eq!(found, 3);
    }
}
