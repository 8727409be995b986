//! Contacts that carry their own address through NAT: encoded into the user (`encode_contact`) or
//! into a parameter (`contact_param_encode`), and back.

use crate::{SEPARATOR, yes};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use olelo_core::net::Proto;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{FAILURE, Function, ONREPLY, REQUEST, function};
use olelo_sip::{NameAddr, Uri, UriBuf};

pub(crate) fn functions() -> Vec<Function> {
    let routes = REQUEST | FAILURE | ONREPLY;
    vec![
        function("encode_contact", |c: &mut Ctx, p: &[u8], h: &[u8]| {
            yes(each(c, |u| encode(u, p, h)))
        })
        .cfg("encode_contact")
        .args(["prefix", "host"])
        .routes(routes)
        .doc("Contact becomes sip:prefix*user*password*ip*port*proto@host."),
        function("decode_contact", decode_contact)
            .cfg("decode_contact")
            .routes(REQUEST)
            .doc("Undoes encode_contact in the request URI."),
        function("decode_contact_header", |c: &mut Ctx| yes(each(c, decode)))
            .cfg("decode_contact_header")
            .routes(routes)
            .doc("Undoes encode_contact in Contact."),
        function("contact_param_encode", |c: &mut Ctx, n: &[u8], a: &[u8]| {
            yes(each(c, |u| param_encode(u, n, a)))
        })
        .cfg("contact_param_encode")
        .args(["name", "address"])
        .routes(routes)
        .doc("Contact becomes `address;name=<its URI, encoded>`."),
        function(
            "contact_param_encode_alias",
            |c: &mut Ctx, n: &[u8], a: &[u8]| yes(each(c, |u| alias_encode(u, n, a))),
        )
        .cfg("contact_param_encode_alias")
        .args(["name", "address"])
        .routes(routes)
        .doc("As contact_param_encode, with `ip~port~proto` as value."),
        function("contact_param_decode", |c: &mut Ctx, n: &[u8]| {
            // Where nothing is encoded, nothing is to be done.
            each(c, |u| param_decode(u, n));
            1
        })
        .cfg("contact_param_decode")
        .args(["name"])
        .routes(routes)
        .doc("Undoes contact_param_encode in Contact."),
        function("contact_param_decode_ruri", param_decode_ruri)
            .cfg("contact_param_decode_ruri")
            .args(["name"])
            .routes(REQUEST)
            .doc("Undoes contact_param_encode in the request URI."),
        function("contact_param_rm", |c: &mut Ctx, n: &[u8]| {
            yes(each(c, |u| without(u, n)))
        })
        .cfg("contact_param_rm")
        .args(["name"])
        .routes(routes)
        .doc("Removes a parameter of the URIs in Contact."),
        function("contact_param_check", contact_param_check)
            .cfg("contact_param_check")
            .args(["name"])
            .doc("Whether the URI in Contact has a parameter."),
    ]
}

/// Replaces the URI of each Contact; false where there is none or one can't be.
fn each(ctx: &mut Ctx, f: impl Fn(&[u8]) -> Option<Vec<u8>>) -> bool {
    let Ok(contacts) = ctx.msg.contacts() else {
        return false;
    };
    let all: Vec<NameAddr> = contacts.list().iter().map(|c| c.addr).collect();
    let mut done = !all.is_empty();
    for a in all {
        let Some(new) = f(ctx.msg.slice(a.uri)) else {
            done = false;
            continue;
        };
        let new = if a.bracketed {
            new
        } else {
            [b"<", new.as_slice(), b">"].concat()
        };
        ctx.edits.replace(a.uri, &new);
    }
    done
}

fn separator() -> u8 {
    SEPARATOR.text().bytes().next().unwrap_or(b'*')
}

fn encode(uri: &[u8], prefix: &[u8], host: &[u8]) -> Option<Vec<u8>> {
    let u = Uri::parse(uri).ok()?;
    let port = u.port.map(|p| p.to_string()).unwrap_or_default();
    let transport = u.param(b"transport").unwrap_or_default();
    let fields = [
        prefix,
        u.user.unwrap_or_default(),
        u.password.unwrap_or_default(),
        u.host,
        port.as_bytes(),
        transport,
    ];
    Some([b"sip:", fields.join(&separator()).as_slice(), b"@", host].concat())
}

fn decode(uri: &[u8]) -> Option<Vec<u8>> {
    let u = Uri::parse(uri).ok()?;
    let sep = separator();
    let fields: Vec<&[u8]> = u.user?.split(|b| *b == sep).collect();
    let [_prefix, user, password, host, port, transport] = fields[..] else {
        return None;
    };
    let mut out = b"sip:".to_vec();
    if !user.is_empty() {
        out.extend_from_slice(user);
        if !password.is_empty() {
            out.push(b':');
            out.extend_from_slice(password);
        }
        out.push(b'@');
    }
    out.extend_from_slice(host);
    for (sign, part) in [(&b":"[..], port), (b";transport=", transport)] {
        if !part.is_empty() {
            out.extend_from_slice(sign);
            out.extend_from_slice(part);
        }
    }
    Some(out)
}

fn decode_contact(ctx: &mut Ctx) -> i64 {
    match decode(ctx.ruri()) {
        Some(uri) => {
            ctx.set_ruri(&uri);
            1
        }
        None => -1,
    }
}

/// Text as a URI parameter may hold it: in base 64 for URLs, without padding.
fn pack(text: &[u8]) -> Vec<u8> {
    URL_SAFE_NO_PAD.encode(text).into_bytes()
}

fn unpack(text: &[u8]) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

fn param_encode(uri: &[u8], name: &[u8], address: &[u8]) -> Option<Vec<u8>> {
    Uri::parse(uri).ok()?;
    Some([address, b";", name, b"=", pack(uri).as_slice()].concat())
}

fn alias_encode(uri: &[u8], name: &[u8], address: &[u8]) -> Option<Vec<u8>> {
    let u = Uri::parse(uri).ok()?;
    let proto = u
        .transport()
        .and_then(|t| Proto::from_name(t.as_str().as_bytes()))
        .unwrap_or(Proto::Udp);
    let port = u.port.unwrap_or(proto.default_port());
    let alias = [u.host, format!("~{port}~{}", proto as u8).as_bytes()].concat();
    Some([address, b";", name, b"=", alias.as_slice()].concat())
}

fn param_decode(uri: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let u = Uri::parse(uri).ok()?;
    let value = u.param(name)?;
    if value.contains(&b'~') {
        let mut fields = value.split(|b| *b == b'~');
        let (host, port, proto) = (fields.next()?, fields.next()?, fields.next()?);
        let proto = Proto::from_number(std::str::from_utf8(proto).ok()?.parse().ok()?)?;
        return Some(
            [
                b"sip:",
                host,
                b":",
                port,
                b";transport=",
                proto.name().as_bytes(),
            ]
            .concat(),
        );
    }
    unpack(value).filter(|d| Uri::parse(d).is_ok())
}

fn param_decode_ruri(ctx: &mut Ctx, name: &[u8]) -> i64 {
    let there = Uri::parse(ctx.ruri()).is_ok_and(|u| u.params().has(name));
    match param_decode(ctx.ruri(), name) {
        Some(uri) => {
            ctx.set_ruri(&uri);
            1
        }
        // Where nothing is encoded, nothing is to be done.
        None if !there => 1,
        None => -1,
    }
}

fn without(uri: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let mut b = UriBuf::parse(uri).ok()?;
    b.remove_param(name).ok()?;
    Some(b.into_bytes())
}

fn contact_param_check(ctx: &mut Ctx, name: &[u8]) -> i64 {
    let Ok(contacts) = ctx.msg.contacts() else {
        return -1;
    };
    let has = |a: &NameAddr| a.uri(ctx.msg.buf()).is_ok_and(|u| u.params().has(name));
    yes(contacts.list().iter().any(|c| has(&c.addr)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_can_be_decoded() {
        for uri in [
            "sip:u:p@1.2.3.4:5062;transport=tcp",
            "sip:u@1.2.3.4",
            "sip:1.2.3.4:5060",
        ] {
            let there = encode(uri.as_bytes(), b"nat", b"9.9.9.9").unwrap();
            assert!(there.starts_with(b"sip:nat*"), "{uri}");
            assert_eq!(decode(&there).unwrap(), uri.as_bytes(), "{uri}");
            let there = param_encode(uri.as_bytes(), b"a", b"sip:x@9.9.9.9").unwrap();
            assert_eq!(param_decode(&there, b"a").unwrap(), uri.as_bytes(), "{uri}");
        }
        assert_eq!(decode(b"sip:plain@h"), None);
        let alias = alias_encode(b"sip:u@1.2.3.4:7;transport=tcp", b"a", b"sip:9.9.9.9").unwrap();
        assert_eq!(alias, b"sip:9.9.9.9;a=1.2.3.4~7~2");
        assert_eq!(
            param_decode(&alias, b"a").unwrap(),
            b"sip:1.2.3.4:7;transport=tcp"
        );
    }
}
