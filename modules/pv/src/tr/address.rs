//! `{uri.…}`, `{nameaddr.…}`, `{tobody.…}`, `{urialias.…}`: parts of URIs and addresses.
//!
//! What is missing from a URI reads as the empty string; every part of what is no URI is null.

use super::{Row, arg, bytes, class, part, text};
use olelo_core::net::Proto;
use olelo_core::pv::Transformation;
use olelo_core::route::value::Val;
use olelo_sip::{NameAddr, Scheme, Span, Uri, UriBuf};
use std::ops::Range;

pub(crate) fn all() -> Vec<Transformation> {
    let mut v = class("uri", uri_rows());
    v.extend(class(
        "nameaddr",
        vec![
            (
                "uri",
                0,
                0,
                |_, v, _| part(v, |b| name_addr(b).map(|a| a.uri)),
                "The URI.",
            ),
            (
                "name",
                0,
                0,
                |_, v, _| part(v, |b| name_addr(b).map(|a| a.name)),
                "The display name, as written.",
            ),
            (
                "len",
                0,
                0,
                |_, v, _| {
                    let found = bytes(&v).and_then(|b| name_addr(&b));
                    found.map_or(Val::Null, |a| Val::Int(a.end as i64))
                },
                "Length of name and URI.",
            ),
        ],
    ));
    v.extend(class(
        "tobody",
        vec![
            (
                "uri",
                0,
                0,
                |_, v, _| addr(v, |a, _| Some(a.uri)),
                "The URI.",
            ),
            ("tag", 0, 0, |_, v, _| addr(v, |a, _| a.tag), "The tag."),
            (
                "user",
                0,
                0,
                |_, v, _| from_uri(&addr(v, |a, _| Some(a.uri)), user),
                "User of the URI.",
            ),
            (
                "host",
                0,
                0,
                |_, v, _| from_uri(&addr(v, |a, _| Some(a.uri)), host),
                "Host of the URI.",
            ),
            (
                "params",
                0,
                0,
                |_, v, _| {
                    addr(v, |a, b| {
                        // From the first parameter's name to the end of the text.
                        let blank = |c: &&u8| **c == b';' || c.is_ascii_whitespace();
                        let p = b.get(a.params.at()..)?;
                        let start = a.params.at() + p.iter().take_while(blank).count();
                        Some(Span::new(start, b.len()))
                    })
                },
                "Parameters behind the URI.",
            ),
            (
                "display",
                0,
                0,
                |_, v, _| addr(v, |a, _| a.display),
                "The display name, as written.",
            ),
        ],
    ));
    v.extend(class(
        "urialias",
        vec![
            (
                "encode",
                0,
                0,
                |_, v, _| present(&v, |b| Some(alias_of(b).unwrap_or_default())),
                "Address, port and transport of a URI as `ip~port~proto`.",
            ),
            (
                "decode",
                0,
                0,
                |_, v, _| present(&v, |b| Some(alias_uri(b).unwrap_or_default())),
                "The URI that a parameter `alias=ip~port~proto` stands for.",
            ),
        ],
    ));
    v
}

fn uri_rows() -> Vec<Row> {
    vec![
        ("user", 0, 0, |_, v, _| from_uri(&v, user), "The user."),
        (
            "passwd",
            0,
            0,
            |_, v, _| from_uri(&v, |u| u.password),
            "The password.",
        ),
        ("host", 0, 0, |_, v, _| from_uri(&v, host), "The host."),
        ("domain", 0, 0, |_, v, _| from_uri(&v, host), "The host."),
        (
            "port",
            0,
            0,
            |_, v, _| {
                let port = bytes(&v).and_then(|b| parsed(&b).map(|u| u.port.unwrap_or(0)));
                port.map_or(Val::Null, |p| Val::Int(i64::from(p)))
            },
            "The port; 0 where none is written.",
        ),
        (
            "params",
            0,
            0,
            |_, v, _| {
                from_uri(&v, |u| {
                    // A telephone number's parameters belong to the number.
                    (u.scheme != Scheme::Tel).then(|| bare(u.params))
                })
            },
            "The parameters.",
        ),
        (
            "headers",
            0,
            0,
            |_, v, _| from_uri(&v, |u| Some(u.headers)),
            "The headers.",
        ),
        (
            "param",
            1,
            1,
            |_, v, a| {
                let name = arg(a, 0);
                from_uri(&v, |u| u.param(&name))
            },
            "The value of a parameter.",
        ),
        (
            "rmparam",
            1,
            1,
            |_, v, a| {
                text(&v, |b| {
                    let Ok(mut u) = UriBuf::parse(b) else {
                        return b.to_vec();
                    };
                    let _ = u.remove_param(&arg(a, 0));
                    u.into_bytes()
                })
            },
            "The URI without a parameter.",
        ),
        (
            "transport",
            0,
            0,
            |_, v, _| from_uri(&v, |u| u.param(b"transport")),
            "The transport parameter.",
        ),
        (
            "ttl",
            0,
            0,
            |_, v, _| from_uri(&v, |u| u.param(b"ttl")),
            "The ttl parameter.",
        ),
        (
            "uparam",
            0,
            0,
            |_, v, _| from_uri(&v, |u| u.param(b"user")),
            "The user parameter.",
        ),
        (
            "maddr",
            0,
            0,
            |_, v, _| from_uri(&v, |u| u.maddr()),
            "The maddr parameter.",
        ),
        (
            "method",
            0,
            0,
            |_, v, _| from_uri(&v, |u| u.param(b"method")),
            "The method parameter.",
        ),
        (
            "lr",
            0,
            0,
            |_, v, _| from_uri(&v, |u| u.param(b"lr")),
            "The value of the lr parameter.",
        ),
        (
            "r2",
            0,
            0,
            |_, v, _| from_uri(&v, |u| u.param(b"r2")),
            "The value of the r2 parameter.",
        ),
        (
            "scheme",
            0,
            0,
            |_, v, _| {
                part(v, |b| {
                    parsed(b)?;
                    Some(0..b.iter().position(|c| *c == b':')?)
                })
            },
            "The scheme.",
        ),
        (
            "saor",
            0,
            0,
            |_, v, _| present(&v, |b| parsed(b).map(|u| aor(&u))),
            "Scheme, user and host.",
        ),
        (
            "suri",
            0,
            0,
            |_, v, _| present(&v, |b| parsed(b).map(|u| short(&u, true))),
            "Scheme, user, host, port and transport.",
        ),
        (
            "duri",
            0,
            0,
            |_, v, _| present(&v, |b| parsed(b).map(|u| short(&u, false))),
            "Scheme, host, port and transport: where it leads.",
        ),
        (
            "tosocket",
            0,
            0,
            |_, v, _| present(&v, |b| parsed(b).map(|u| socket(&u))),
            "As a socket: proto:host:port; empty where no transport is written.",
        ),
    ]
}

/// Parameters without the semicolon they begin with.
fn bare(p: &[u8]) -> &[u8] {
    p.strip_prefix(b";").unwrap_or(p)
}

/// The text as a URI of a scheme that requests are routed by; nothing for any other.
fn parsed(b: &[u8]) -> Option<Uri<'_>> {
    let u = Uri::parse(b).ok()?;
    (u.scheme != Scheme::Other).then_some(u)
}

/// A new text from one that is not empty; null where there is none.
fn present<'c>(v: &Val<'c>, f: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> Val<'c> {
    bytes(v)
        .filter(|b| !b.is_empty())
        .and_then(|b| f(&b))
        .map_or(Val::Null, Val::owned)
}

/// A part of the URI in the text: the empty string where it is missing, null where there is no URI.
fn from_uri<'c>(v: &Val<'c>, f: impl for<'u> Fn(&Uri<'u>) -> Option<&'u [u8]>) -> Val<'c> {
    present(v, |b| {
        parsed(b).map(|u| f(&u).map(<[u8]>::to_vec).unwrap_or_default())
    })
}

/// The user; of `urn:service:sos` the first word.
fn user<'u>(u: &Uri<'u>) -> Option<&'u [u8]> {
    match u.scheme {
        Scheme::Urn => u.host.split(|c| *c == b':').next(),
        _ => u.user_name(),
    }
}

/// The host; of `urn:service:sos` what follows the first word.
fn host<'u>(u: &Uri<'u>) -> Option<&'u [u8]> {
    let first = match u.scheme {
        Scheme::Urn => u.host.iter().position(|c| *c == b':'),
        _ => None,
    };
    u.host.get(first.map_or(0, |p| p + 1)..)
}

fn addr<'c>(v: Val<'c>, f: impl FnOnce(&NameAddr, &[u8]) -> Option<Span>) -> Val<'c> {
    part(v, |b| {
        let a = NameAddr::parse(b, Span::all(b)).ok()?;
        parsed(a.uri.of(b))?;
        Some(f(&a, b).map_or(0..0, |s| s.at()..s.to()))
    })
}

/// Where name and URI of an address stand, and where the address ends.
struct Places {
    name: Range<usize>,
    uri: Range<usize>,
    end: usize,
}

/// Reads `name <uri>` without asking what the URI is; what has no brackets is a URI as a whole.
fn name_addr(b: &[u8]) -> Option<Places> {
    let (mut quoted, mut open, mut i) = (false, None, 0);
    while let Some(c) = b.get(i) {
        match c {
            b'"' => quoted = !quoted,
            b'\\' if quoted => i += 1,
            b'<' if !quoted => {
                open = Some(i);
                break;
            }
            _ => {}
        }
        i += 1;
    }
    match open {
        None => (!b.is_empty()).then_some(Places {
            name: 0..0,
            uri: 0..b.len(),
            end: b.len(),
        }),
        Some(at) => {
            let close = at + b.get(at..)?.iter().position(|c| *c == b'>')?;
            Some(Places {
                name: 0..at,
                uri: at + 1..close,
                end: close + 1,
            })
        }
    }
}

fn head(u: &Uri<'_>) -> Vec<u8> {
    let end = u.text.iter().position(|c| *c == b':').map_or(0, |p| p + 1);
    u.text.get(..end).unwrap_or_default().to_vec()
}

fn aor(u: &Uri<'_>) -> Vec<u8> {
    let mut out = head(u);
    if let Some(user) = u.user_name() {
        out.extend_from_slice(user);
        out.push(b'@');
    }
    out.extend_from_slice(u.host);
    out
}

fn short(u: &Uri<'_>, with_user: bool) -> Vec<u8> {
    let mut out = if with_user {
        aor(u)
    } else {
        [head(u).as_slice(), u.host].concat()
    };
    if let Some(p) = u.port {
        out.extend_from_slice(format!(":{p}").as_bytes());
    }
    if let Some(t) = u.param(b"transport") {
        out.extend_from_slice(b";transport=");
        out.extend_from_slice(t);
    }
    out
}

/// The port, else 5060 whatever the transport: this is how a socket without one is looked up.
fn port(u: &Uri<'_>) -> u16 {
    u.port.unwrap_or(5060)
}

fn socket(u: &Uri<'_>) -> Vec<u8> {
    let Some(transport) = u.param(b"transport") else {
        return Vec::new();
    };
    let port = port(u).to_string();
    [
        transport.to_ascii_lowercase().as_slice(),
        b":",
        u.host,
        b":",
        port.as_bytes(),
    ]
    .concat()
}

fn alias_of(b: &[u8]) -> Option<Vec<u8>> {
    let u = parsed(b)?;
    let proto = u.param(b"transport").and_then(Proto::from_name);
    let proto = proto.unwrap_or(Proto::Udp) as u8;
    let place = format!("~{}~{proto}", port(&u));
    Some([host(&u)?, place.as_bytes()].concat())
}

fn alias_uri(b: &[u8]) -> Option<Vec<u8>> {
    let found = Uri::parse(b)
        .ok()
        .and_then(|u| u.param(b"alias").map(<[u8]>::to_vec));
    let alias = found.unwrap_or_else(|| b.strip_prefix(b"alias=").unwrap_or(b).to_vec());
    let mut fields = alias.split(|c| *c == b'~');
    let (host, port, proto) = (fields.next()?, fields.next()?, fields.next()?);
    let proto = Proto::from_number(std::str::from_utf8(proto).ok()?.parse().ok()?)?;
    let mut out = [b"sip:", host, b":", port].concat();
    if proto != Proto::Udp {
        out.extend_from_slice(b";transport=");
        out.extend_from_slice(proto.name().as_bytes());
    }
    Some(out)
}
