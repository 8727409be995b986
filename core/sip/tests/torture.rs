//! RFC 4475 and RFC 5118: valid messages read, invalid ones are told apart as the RFCs say.

mod common;

use common::{MESSAGES, Torture, Want};
use olelo_sip::{HeaderName, HostKind, Message, Method, Rport, Span, Transport, Via, sanity};

fn named(name: &str) -> Message {
    let t: &Torture = MESSAGES.iter().find(|t| t.name == name).unwrap();
    Message::from_bytes(&t.bytes()).unwrap()
}

#[test]
fn every_message_is_classified() {
    for t in MESSAGES {
        let got = match Message::from_bytes(&t.bytes()) {
            Err(_) => Want::Unreadable,
            Ok(m) => match sanity::check(&m) {
                Ok(()) => Want::Good,
                Err(f) => Want::Fault(f.code),
            },
        };
        assert_eq!(got, t.want, "{}", t.name);
    }
}

#[test]
fn a_tortuous_invite_reads_right() {
    let m = named("wsinv");
    let b = m.buf();
    assert_eq!(m.to_tag(), Some(&b"1918181833n"[..]));
    assert_eq!(m.from_tag(), Some(&b"98asjd8"[..]));
    assert_eq!(
        m.from().unwrap().display_unquoted(b),
        Some(&br#"J Rosenberg \\\""#[..])
    );
    assert_eq!(m.max_forwards(), Some(68));
    assert_eq!((m.cseq().unwrap().number, m.method()), (9, Method::Invite));
    assert_eq!(m.vias().unwrap().len(), 3);
    assert_eq!(m.via(2).unwrap().branch(b), Some(&b"z9hG4bK30239"[..]));
    assert_eq!(m.via(1).unwrap().transport, Transport::Tcp);
    let c = m.contacts().unwrap().list()[0];
    assert_eq!(c.q, Some(330));
    assert_eq!(c.addr.params(b).value(b"newparam"), Some(&b"newvalue"[..]));
    assert!(m.routes().unwrap()[0].is_loose(b));
    assert_eq!(m.header_body(HeaderName::Subject), Some(&b""[..]));
    assert!(m.sdp_span().is_some());
}

#[test]
fn details_of_the_others() {
    let m = named("intmeth");
    assert_eq!(m.method(), Method::Other);
    let m = named("esc02");
    assert_eq!(
        (m.method(), m.contacts().unwrap().list().len()),
        (Method::Other, 2)
    );
    let m = named("dblreq");
    assert_eq!(m.body(), b"");
    let m = named("noreason");
    assert_eq!((m.status(), m.reason()), (100, &b""[..]));
    let m = named("scalar02");
    assert_eq!(m.expires(), Some(u32::MAX));
    assert_eq!(m.contacts().unwrap().list()[0].expires, Some(u32::MAX));
    let m = named("bext01");
    assert_eq!(
        sanity::unknown_proxy_require(&m, &[b"NoProxiesSupportThis"]).count(),
        1
    );
    let m = named("regaut01");
    assert!(!m.authorizations().unwrap()[0].is_digest);
    let m = named("auth");
    let c = m.authorizations().unwrap()[0];
    assert_eq!(c.nonce_count(m.buf()), Some(10));
    assert_eq!(m.via(0).unwrap().rport, Rport::Asked);
    let m = named("ipv6-good");
    let uri = olelo_sip::Uri::parse(m.ruri()).unwrap();
    assert_eq!((uri.host_kind(), uri.port), (HostKind::V6, Some(5070)));
}

#[test]
fn via_hosts_of_rfc_5118() {
    for (host, kind) in [
        ("[2001:db8::9:1]", HostKind::V6),
        ("[::ffff:192.0.2.10]", HostKind::V6),
        ("[2001:db8:::192.0.2.1]", HostKind::Name),
    ] {
        let text = format!("SIP/2.0/UDP {host}:5060;branch=z9hG4bKas3");
        let via = Via::parse(text.as_bytes(), Span::all(text.as_bytes())).unwrap();
        assert_eq!(
            olelo_sip::uri::host_kind(via.host(text.as_bytes())),
            kind,
            "{host}"
        );
        assert_eq!(via.port, Some(5060));
    }
}
