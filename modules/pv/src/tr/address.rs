//! `{uri.…}`, `{nameaddr.…}`, `{tobody.…}`, `{urialias.…}`: parts of URIs and addresses.
//!
//! What is missing from a URI reads as the empty string, as does every part of what is no URI.

use super::{Row, arg, bytes, class, part, text};
use olelo_core::net::Proto;
use olelo_core::pv::Transformation;
use olelo_core::route::value::Val;
use olelo_sip::{NameAddr, Span, Uri, UriBuf};

pub(crate) fn all() -> Vec<Transformation> {
    let mut v = class("uri", uri_rows());
    v.extend(class(
        "nameaddr",
        vec![
            (
                "uri",
                0,
                0,
                |_, v, _| addr(v, |a, _| Some(a.uri)),
                "The URI.",
            ),
            (
                "name",
                0,
                0,
                |_, v, _| addr(v, |a, _| a.display),
                "The display name, as written.",
            ),
            (
                "len",
                0,
                0,
                |_, v, _| match bytes(&v).and_then(|b| {
                    NameAddr::parse(&b, Span::all(&b))
                        .ok()
                        .map(|a| a.span.at()..name_end(&a, &b))
                }) {
                    Some(r) => Val::Int(r.len() as i64),
                    None => Val::Int(0),
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
                |_, v, _| from_uri(&addr(v, |a, _| Some(a.uri)), |u| u.user_name()),
                "User of the URI.",
            ),
            (
                "host",
                0,
                0,
                |_, v, _| from_uri(&addr(v, |a, _| Some(a.uri)), |u| Some(u.host)),
                "Host of the URI.",
            ),
            (
                "params",
                0,
                0,
                |_, v, _| {
                    addr(v, |a, b| {
                        let p = a.params;
                        let semicolon = p.of(b).first() == Some(&b';');
                        Some(Span::new(p.at() + usize::from(semicolon), p.to()))
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
                |_, v, _| text(&v, |b| alias_of(b).unwrap_or_default()),
                "Address, port and transport of a URI as `ip~port~proto`.",
            ),
            (
                "decode",
                0,
                0,
                |_, v, _| text(&v, |b| alias_uri(b).unwrap_or_default()),
                "The URI that a parameter `alias=ip~port~proto` stands for.",
            ),
        ],
    ));
    v
}

fn uri_rows() -> Vec<Row> {
    vec![
        (
            "user",
            0,
            0,
            |_, v, _| from_uri(&v, |u| u.user_name()),
            "The user.",
        ),
        (
            "passwd",
            0,
            0,
            |_, v, _| from_uri(&v, |u| u.password),
            "The password.",
        ),
        (
            "host",
            0,
            0,
            |_, v, _| from_uri(&v, |u| Some(u.host)),
            "The host.",
        ),
        (
            "domain",
            0,
            0,
            |_, v, _| from_uri(&v, |u| Some(u.host)),
            "The host.",
        ),
        (
            "port",
            0,
            0,
            |_, v, _| {
                text(&v, |b| {
                    Uri::parse(b)
                        .ok()
                        .and_then(|u| u.port)
                        .map_or_else(Vec::new, |p| p.to_string().into_bytes())
                })
            },
            "The port, if it is written.",
        ),
        (
            "params",
            0,
            0,
            |_, v, _| from_uri(&v, |u| Some(bare(u.params))),
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
            |_, v, _| whole_param(&v, b"lr"),
            "The lr parameter as written.",
        ),
        (
            "r2",
            0,
            0,
            |_, v, _| whole_param(&v, b"r2"),
            "The r2 parameter as written.",
        ),
        (
            "scheme",
            0,
            0,
            |_, v, _| {
                part(v, |b| {
                    Some(0..b.iter().position(|c| *c == b':').unwrap_or(0))
                })
            },
            "The scheme.",
        ),
        (
            "saor",
            0,
            0,
            |_, v, _| {
                text(&v, |b| {
                    Uri::parse(b).map_or_else(|_| Vec::new(), |u| aor(&u))
                })
            },
            "Scheme, user and host.",
        ),
        (
            "suri",
            0,
            0,
            |_, v, _| {
                text(&v, |b| {
                    Uri::parse(b).map_or_else(|_| Vec::new(), |u| short(&u, true))
                })
            },
            "Scheme, user, host, port and transport.",
        ),
        (
            "duri",
            0,
            0,
            |_, v, _| {
                text(&v, |b| {
                    Uri::parse(b).map_or_else(|_| Vec::new(), |u| short(&u, false))
                })
            },
            "Scheme, host, port and transport: where it leads.",
        ),
        (
            "tosocket",
            0,
            0,
            |_, v, _| {
                text(&v, |b| {
                    Uri::parse(b).map_or_else(|_| Vec::new(), |u| socket(&u))
                })
            },
            "As a socket: proto:host:port.",
        ),
    ]
}

/// Parameters without the semicolon they begin with.
fn bare(p: &[u8]) -> &[u8] {
    p.strip_prefix(b";").unwrap_or(p)
}

/// A part of the URI in the text; the empty string where it is missing.
fn from_uri<'c>(v: &Val<'c>, f: impl for<'u> Fn(&Uri<'u>) -> Option<&'u [u8]>) -> Val<'c> {
    text(v, |b| {
        Uri::parse(b)
            .ok()
            .and_then(|u| f(&u).map(<[u8]>::to_vec))
            .unwrap_or_default()
    })
}

fn addr<'c>(v: Val<'c>, f: impl FnOnce(&NameAddr, &[u8]) -> Option<Span>) -> Val<'c> {
    part(v, |b| {
        let found = NameAddr::parse(b, Span::all(b)).ok().and_then(|a| f(&a, b));
        Some(found.map_or(0..0, |s| s.at()..s.to()))
    })
}

fn name_end(a: &NameAddr, b: &[u8]) -> usize {
    let end = a.uri.to();
    if a.bracketed && b.get(end) == Some(&b'>') {
        end + 1
    } else {
        end
    }
}

fn whole_param<'c>(v: &Val<'c>, name: &'static [u8]) -> Val<'c> {
    text(v, |b| {
        let Ok(u) = Uri::parse(b) else {
            return Vec::new();
        };
        match u.params().get(name) {
            Some(p) => match p.value {
                Some(v) => [p.name, b"=", v].concat(),
                None => p.name.to_vec(),
            },
            None => Vec::new(),
        }
    })
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

fn proto(u: &Uri<'_>) -> Proto {
    let fallback = if u.scheme == olelo_sip::Scheme::Sips {
        Proto::Tls
    } else {
        Proto::Udp
    };
    u.param(b"transport")
        .and_then(Proto::from_name)
        .unwrap_or(fallback)
}

fn socket(u: &Uri<'_>) -> Vec<u8> {
    let p = proto(u);
    let port = u.port.unwrap_or(p.default_port());
    [
        p.name().as_bytes(),
        b":",
        u.host,
        b":",
        port.to_string().as_bytes(),
    ]
    .concat()
}

fn alias_of(b: &[u8]) -> Option<Vec<u8>> {
    let u = Uri::parse(b).ok()?;
    let p = proto(&u);
    let port = u.port.unwrap_or(p.default_port());
    Some([u.host, format!("~{port}~{}", p as u8).as_bytes()].concat())
}

fn alias_uri(b: &[u8]) -> Option<Vec<u8>> {
    let found = Uri::parse(b)
        .ok()
        .and_then(|u| u.param(b"alias").map(<[u8]>::to_vec));
    let alias = found.unwrap_or_else(|| b.to_vec());
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
