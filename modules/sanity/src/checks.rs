//! The checks by their bit numbers, as operators know them.

use olelo_sip::sanity::{self, Checked, Fault};
use olelo_sip::{HeaderName, Message, NameAddr, Params};

/// Request line says SIP/2.0.
const SIP_VERSION: i64 = 1;
/// The request URI's scheme is known.
const RURI_SCHEME: i64 = 1 << 1;
/// Via, From, To, Call-ID, CSeq are there.
const REQUIRED_HEADERS: i64 = 1 << 2;
/// CSeq's method is the request's.
const CSEQ_METHOD: i64 = 1 << 5;
/// CSeq's number is one.
const CSEQ_VALUE: i64 = 1 << 6;
/// The body is as long as Content-Length says.
const CONTENT_LENGTH: i64 = 1 << 7;
/// Expires is a number.
const EXPIRES_VALUE: i64 = 1 << 8;
/// Proxy-Require names nothing unknown.
const PROXY_REQUIRE: i64 = 1 << 9;
/// The URIs chosen can be read.
const PARSE_URIS: i64 = 1 << 10;
/// Credentials are digest and complete.
const DIGEST: i64 = 1 << 11;
/// From and To have one tag at most.
const DUPLICATED_TAGS: i64 = 1 << 12;
/// Credentials, where they are digest, are complete.
const AUTHORIZATION: i64 = 1 << 13;
/// The topmost Via can be read and has a host.
const FIRST_VIA: i64 = 1 << 14;

/// Sizes that are too large to be honest, and which of them are checked.
#[derive(Debug, Default)]
pub struct Limits {
    /// Sum of the bits of the size checks.
    pub checks: i64,
    /// Bytes of each.
    pub message: usize,
    /// Method.
    pub method: usize,
    /// Request URI.
    pub ruri: usize,
    /// URI in From.
    pub from: usize,
    /// URI in To.
    pub to: usize,
    /// URI in Contact.
    pub contact: usize,
    /// URI in Route.
    pub route: usize,
    /// URI in Path.
    pub path: usize,
    /// URI in P-Asserted-Identity.
    pub pai: usize,
    /// One header line.
    pub header: usize,
    /// All header lines.
    pub headers: usize,
    /// Body.
    pub body: usize,
}

/// A fault with what its reply must say beside the reason.
#[derive(Debug)]
pub struct Refused {
    /// Code and reason.
    pub fault: Fault,
    /// Header lines of the reply.
    pub extra_header: Vec<u8>,
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Refused {
        Refused {
            fault,
            extra_header: Vec::new(),
        }
    }
}

/// Makes the checks whose bits are set, in the order of their bits.
pub fn run(
    msg: &Message,
    checks: i64,
    uris: i64,
    known: &str,
    limits: &Limits,
) -> Result<(), Refused> {
    let on = |bit: i64| checks & bit != 0;
    if on(SIP_VERSION) {
        sanity::sip_version(msg)?;
    }
    if on(RURI_SCHEME) {
        sanity::ruri_scheme(msg)?;
    }
    if on(REQUIRED_HEADERS) {
        sanity::required_headers(msg)?;
    }
    if on(FIRST_VIA) {
        sanity::via_protocol(msg)?;
        refuse(
            msg.via(0).is_some_and(|v| !v.host(msg.buf()).is_empty()),
            "Invalid Via Header",
        )?;
    }
    if on(CSEQ_METHOD) {
        sanity::cseq_method(msg)?;
    }
    if on(CSEQ_VALUE) {
        sanity::cseq_value(msg)?;
    }
    if on(CONTENT_LENGTH) {
        sanity::content_length(msg)?;
    }
    if on(EXPIRES_VALUE) {
        sanity::expires_value(msg)?;
    }
    if on(PROXY_REQUIRE) {
        proxy_require(msg, known)?;
    }
    if on(PARSE_URIS) {
        parse_uris(msg, uris)?;
    }
    if on(DIGEST) {
        sanity::digest(msg)?;
        refuse(only_digest(msg), "Bad Credentials")?;
    }
    if on(DUPLICATED_TAGS) {
        refuse(
            one_tag(msg, msg.from()) && one_tag(msg, msg.to()),
            "Multiple Tags In From Or To",
        )?;
    }
    if on(AUTHORIZATION) {
        sanity::digest(msg)?;
    }
    sizes(msg, limits)?;
    Ok(())
}

fn refuse(good: bool, reason: &'static str) -> Checked {
    if good {
        Ok(())
    } else {
        Err(Fault { code: 400, reason })
    }
}

fn proxy_require(msg: &Message, known: &str) -> Result<(), Refused> {
    if msg.header(HeaderName::ProxyRequire).is_none() {
        return Ok(());
    }
    let known: Vec<&[u8]> = known.split(',').map(|k| k.trim().as_bytes()).collect();
    let unknown: Vec<&[u8]> = sanity::unknown_proxy_require(msg, &known).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let fault = Fault {
        code: 420,
        reason: "Bad Extension",
    };
    let extra_header = [
        b"Unsupported: ",
        unknown.join(&b", "[..]).as_slice(),
        b"\r\n",
    ]
    .concat();
    Err(Refused {
        fault,
        extra_header,
    })
}

/// 1 request URI, 2 From, 4 To, 8 Contact.
fn parse_uris(msg: &Message, uris: i64) -> Checked {
    if uris & 1 != 0 {
        sanity::ruri(msg)?;
    }
    let good = |a: Option<&NameAddr>| a.is_some_and(|a| a.uri(msg.buf()).is_ok());
    if uris & 2 != 0 {
        refuse(good(msg.from()), "Bad From URI")?;
    }
    if uris & 4 != 0 {
        refuse(good(msg.to()), "Bad To URI")?;
    }
    if uris & 8 != 0 {
        sanity::contacts(msg)?;
    }
    Ok(())
}

fn only_digest(msg: &Message) -> bool {
    [msg.authorizations(), msg.proxy_authorizations()]
        .into_iter()
        .all(|list| list.is_ok_and(|l| l.iter().all(|c| c.is_digest)))
}

fn one_tag(msg: &Message, addr: Option<&NameAddr>) -> bool {
    addr.is_none_or(|a| {
        let params: Params<'_> = a.params(msg.buf());
        params
            .iter()
            .filter(|p| p.name.eq_ignore_ascii_case(b"tag"))
            .count()
            < 2
    })
}

fn sizes(msg: &Message, l: &Limits) -> Checked {
    if l.checks == 0 {
        return Ok(());
    }
    let addr = |a: Option<&NameAddr>| a.map_or(0, |a| a.uri.len());
    let longest = |name: HeaderName| msg.name_addrs(name).map(|a| a.uri.len()).max().unwrap_or(0);
    let line = msg
        .headers()
        .iter()
        .map(|h| h.whole.len())
        .max()
        .unwrap_or(0);
    let rows = [
        (1, msg.buf().len(), l.message, "Message Too Large"),
        (1 << 1, msg.method_text().len(), l.method, "Method Too Long"),
        (1 << 2, msg.ruri().len(), l.ruri, "Request-URI Too Long"),
        (1 << 3, addr(msg.from()), l.from, "From URI Too Long"),
        (1 << 4, addr(msg.to()), l.to, "To URI Too Long"),
        (
            1 << 5,
            longest(HeaderName::Contact),
            l.contact,
            "Contact URI Too Long",
        ),
        (
            1 << 6,
            longest(HeaderName::Route),
            l.route,
            "Route URI Too Long",
        ),
        (
            1 << 7,
            longest(HeaderName::Path),
            l.path,
            "Path URI Too Long",
        ),
        (
            1 << 8,
            longest(HeaderName::PAssertedIdentity),
            l.pai,
            "P-Asserted-Identity URI Too Long",
        ),
        (1 << 9, line, l.header, "Header Too Long"),
        (
            1 << 10,
            msg.headers_end().saturating_sub(msg.headers_start()),
            l.headers,
            "Headers Too Large",
        ),
        (1 << 11, msg.body().len(), l.body, "Body Too Large"),
    ];
    rows.iter().try_for_each(|(bit, have, most, reason)| {
        refuse(l.checks & bit == 0 || have <= most, reason)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "INVITE sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP 1.2.3.4;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
        To: <sip:b@h>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";

    fn verdict(text: &str, checks: i64, uris: i64) -> u16 {
        let msg = Message::from_bytes(text.as_bytes()).unwrap();
        run(&msg, checks, uris, "foo, bar", &Limits::default())
            .map_or_else(|r| r.fault.code, |()| 0)
    }

    #[test]
    fn each_bit_finds_its_fault_and_no_other_bit_does() {
        let rows: &[(&str, &str, i64, u16)] = &[
            ("SIP/2.0\r\nVia", "SIP/3.0\r\nVia", SIP_VERSION, 505),
            ("INVITE sip:b@h", "INVITE foo:b@h", RURI_SCHEME, 416),
            ("Call-ID: x\r\n", "", REQUIRED_HEADERS, 400),
            ("CSeq: 1 INVITE", "CSeq: 1 BYE", CSEQ_METHOD, 400),
            ("CSeq: 1 INVITE", "CSeq: 3000000000 INVITE", CSEQ_VALUE, 400),
            (
                "Content-Length: 0",
                "Content-Length: 9",
                CONTENT_LENGTH,
                400,
            ),
            (
                "Call-ID: x\r\n",
                "Call-ID: x\r\nExpires: soon\r\n",
                EXPIRES_VALUE,
                400,
            ),
            (
                "Call-ID: x\r\n",
                "Call-ID: x\r\nProxy-Require: foo, baz\r\n",
                PROXY_REQUIRE,
                420,
            ),
            ("To: <sip:b@h>", "To: <xyz", PARSE_URIS, 400),
            ("tag=1", "tag=1;tag=2", DUPLICATED_TAGS, 400),
            (
                "Call-ID: x\r\n",
                "Call-ID: x\r\nAuthorization: Basic abc\r\n",
                DIGEST,
                400,
            ),
        ];
        for (from, to, bit, code) in rows {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from}");
            assert_eq!(verdict(&text, *bit, 7), *code, "{to}");
            assert_eq!(verdict(GOOD, *bit, 7), 0, "{to}");
        }
    }

    #[test]
    fn known_extensions_and_unselected_checks_pass() {
        let text = GOOD.replace("Call-ID: x\r\n", "Call-ID: x\r\nProxy-Require: FOO\r\n");
        assert_eq!(verdict(&text, PROXY_REQUIRE, 7), 0);
        assert_eq!(
            verdict(&GOOD.replace("To: <sip:b@h>", "To: <xyz"), PARSE_URIS, 3),
            0
        );
        assert_eq!(
            verdict(&GOOD.replace("CSeq: 1 INVITE", "CSeq: 1 BYE"), 0, 0),
            0
        );
    }

    #[test]
    fn the_reply_names_what_is_not_supported() {
        let text = GOOD.replace(
            "Call-ID: x\r\n",
            "Call-ID: x\r\nProxy-Require: a, foo, b\r\n",
        );
        let msg = Message::from_bytes(text.as_bytes()).unwrap();
        let r = run(&msg, PROXY_REQUIRE, 7, "foo", &Limits::default()).unwrap_err();
        assert_eq!(r.extra_header, b"Unsupported: a, b\r\n");
    }

    #[test]
    fn sizes_are_checked_where_asked_for() {
        let msg = Message::from_bytes(GOOD.as_bytes()).unwrap();
        let small = Limits {
            checks: 4,
            ruri: 3,
            ..Limits::default()
        };
        assert!(run(&msg, 0, 0, "", &small).is_err());
        let off = Limits {
            checks: 0,
            ruri: 3,
            ..Limits::default()
        };
        assert!(run(&msg, 0, 0, "", &off).is_ok());
    }
}
