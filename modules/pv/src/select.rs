//! `$sel(…)`: selects, the older way to name a part of the message: `via[1].host`, `from.uri.user`,
//! `contact[0].params.expires`, `hf_value.x_foo`, `cfg_get.core.debug`, `msg.header.Subject`.

use crate::request::{nonempty, uri};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::value::{Val, parse_int};
use olelo_sip::{HeaderName, NameAddr, Params, Rport, Uri, Via, name_of};
use std::net::SocketAddr;

/// One word of a select with its index.
struct Word<'a> {
    name: &'a [u8],
    index: Option<i64>,
}

/// Reads a select; null where it names nothing.
pub(crate) fn read<'c>(ctx: &'c Ctx, text: &[u8]) -> Val<'c> {
    let text = text.strip_prefix(b"@").unwrap_or(text);
    let words: Vec<Word<'_>> = text.split(|b| *b == b'.').map(word).collect();
    let Some((first, rest)) = words.split_first() else {
        return Val::Null;
    };
    let i = first.index.unwrap_or(0);
    match first.name {
        b"ruri" => uri_part(ctx.ruri(), rest),
        b"dst_uri" => ctx
            .dst_uri
            .as_deref()
            .map_or(Val::Null, |u| uri_part(u, rest)),
        b"next_hop" => uri_part(ctx.next_hop(), rest),
        b"method" => crate::request::request(ctx, ctx.msg.method_text()),
        b"from" | b"f" => address(ctx, ctx.msg.from().copied(), rest),
        b"to" | b"t" => address(ctx, ctx.msg.to().copied(), rest),
        // Without more words the header as a whole.
        b"contact" | b"m" if rest.is_empty() && first.index.is_none() => {
            Val::opt(ctx.msg.header_body(HeaderName::Contact))
        }
        b"record_route" | b"rr" if rest.is_empty() && first.index.is_none() => {
            Val::opt(ctx.msg.header_body(HeaderName::RecordRoute))
        }
        b"contact" | b"m" => list(ctx, HeaderName::Contact, i, rest),
        b"record_route" | b"rr" => list(ctx, HeaderName::RecordRoute, i, rest),
        b"route" => list(ctx, HeaderName::Route, i, rest),
        b"refer_to" => list(ctx, HeaderName::ReferTo, i, rest),
        b"rpid" | b"remote_party_id" => list(ctx, HeaderName::RemotePartyId, i, rest),
        b"pai" => list(ctx, HeaderName::PAssertedIdentity, i, rest),
        b"via" | b"v" => {
            via_at(ctx, first.index.unwrap_or(1)).map_or(Val::Null, |v| via(ctx, v, rest))
        }
        b"call_id" | b"callid" => Val::opt(ctx.msg.call_id()),
        b"cseq" => cseq(ctx, rest),
        b"event" => event(ctx, rest),
        b"rack" | b"max_forwards" | b"subject" | b"expires" | b"user_agent" | b"server"
        | b"content_type" | b"content_length" | b"supported" | b"require" | b"allow"
        | b"organization" | b"priority" => header(ctx, first.name, i),
        b"msg" => message(ctx, rest),
        b"hf_value" | b"hf_value2" => rest.first().map_or(Val::Null, |w| values(ctx, w)),
        b"hf_value_exists" => match rest {
            [name, value] => {
                let all = all_values(ctx, name.name);
                Val::text(if all.contains(&value.name) { "1" } else { "0" })
            }
            _ => Val::Null,
        },
        b"hf_body" => rest
            .first()
            .map_or(Val::Null, |w| header(ctx, w.name, w.index.unwrap_or(i))),
        b"src" => endpoint(ctx, ctx.rcv.src, rest),
        b"dst" => endpoint(ctx, ctx.rcv.dst, rest),
        b"received" => received(ctx, rest),
        b"proxy_authorization" | b"authorization" => credentials(ctx, rest),
        b"cfg_get" => match rest {
            [group, name] => {
                let (group, name) = (
                    String::from_utf8_lossy(group.name),
                    String::from_utf8_lossy(name.name),
                );
                match crate::message::parameter_value(&group, &name) {
                    Val::Int(i) => Val::from(i.to_string()),
                    v => v,
                }
            }
            _ => Val::Null,
        },
        b"sys" => match rest.first().map(|w| w.name) {
            Some(b"pid") => Val::from(std::process::id().to_string()),
            Some(b"now") => Val::from(olelo_core::timer::wall_s().to_string()),
            Some(b"unique") => Val::from(format!(
                "{:x}-{}",
                olelo_core::proc::secret(),
                std::process::id()
            )),
            _ => Val::Null,
        },
        _ => Val::Null,
    }
}

fn word(text: &[u8]) -> Word<'_> {
    let text = text.trim_ascii();
    match text.iter().position(|b| *b == b'[') {
        Some(at) => Word {
            name: &text[..at],
            index: text
                .get(at + 1..)
                .and_then(|t| t.strip_suffix(b"]"))
                .and_then(parse_int),
        },
        None => Word {
            name: text,
            index: None,
        },
    }
}

fn uri_part<'c>(text: &'c [u8], rest: &[Word<'_>]) -> Val<'c> {
    let Some((first, rest)) = rest.split_first() else {
        return nonempty(text);
    };
    uri(text, |u: &Uri<'c>| match first.name {
        b"uri" => uri_part(text, rest),
        b"user" => u.user_name().map_or(Val::Null, nonempty),
        b"rn_user" => u.user.map_or(Val::Null, nonempty),
        b"pwd" | b"password" => Val::opt(u.password),
        b"host" => nonempty(u.host),
        b"port" => u.port.map_or(Val::Null, |p| Val::from(p.to_string())),
        b"hostport" => match u.port {
            Some(_) => nonempty(host_port(u)),
            None => Val::owned([u.host, b":5060"].concat()),
        },
        b"type" | b"scheme" => crate::request::scheme(u),
        b"params" => match rest.first() {
            None => nonempty(u.params),
            Some(p) => Val::opt(u.param(p.name)),
        },
        b"transport" => Val::opt(u.param(b"transport")),
        _ => Val::Null,
    })
}

/// `host:port` as it stands in the URI.
fn host_port<'c>(u: &Uri<'c>) -> &'c [u8] {
    let tail =
        u.params.len() + usize::from(!u.params.is_empty() && u.params.first() != Some(&b';'));
    let headers = if u.headers.is_empty() {
        0
    } else {
        u.headers.len() + 1
    };
    let end = u.text.len().saturating_sub(tail + headers);
    let host_at = u
        .text
        .windows(u.host.len().max(1))
        .rposition(|w| w == u.host)
        .unwrap_or(0);
    u.text.get(host_at..end).unwrap_or(u.host)
}

fn address<'c>(ctx: &'c Ctx, a: Option<NameAddr>, rest: &[Word<'_>]) -> Val<'c> {
    let Some(a) = a else { return Val::Null };
    let buf = ctx.msg.buf();
    let Some((first, rest)) = rest.split_first() else {
        return nonempty(a.span.of(buf));
    };
    let params: Params<'c> = a.params(buf);
    match first.name {
        b"uri" => uri_part(a.uri_text(buf), rest),
        b"name" => Val::opt(a.display.map(|d| d.of(buf))),
        b"tag" => Val::opt(a.tag(buf)),
        b"params" => match rest.first() {
            None => nonempty(params.0),
            Some(p) => Val::opt(params.value(p.name)),
        },
        b"q" | b"expires" | b"received" | b"methods" | b"instance" => {
            Val::opt(params.value(first.name))
        }
        _ => uri_part(a.uri_text(buf), std::slice::from_ref(first)),
    }
}

fn list<'c>(ctx: &'c Ctx, name: HeaderName, index: i64, rest: &[Word<'_>]) -> Val<'c> {
    let all: Vec<NameAddr> = ctx.msg.name_addrs(name).collect();
    let at = if index < 0 {
        all.len().checked_sub(index.unsigned_abs() as usize)
    } else {
        Some(index as usize)
    };
    let found = at.and_then(|i| all.get(i)).copied();
    match (address(ctx, found, rest), rest) {
        // A value without a name has an empty one.
        (Val::Null, [w]) if w.name == b"name" && found.is_some() => Val::text(""),
        (v, _) => v,
    }
}

fn via_at(ctx: &Ctx, index: i64) -> Option<&Via> {
    match usize::try_from(index) {
        // The topmost is number 1.
        Ok(i) => ctx.msg.via(i.checked_sub(1)?),
        Err(_) => {
            let all = ctx.msg.vias().ok()?;
            all.get(all.len().checked_sub(index.unsigned_abs() as usize)?)
        }
    }
}

fn via<'c>(ctx: &'c Ctx, v: &Via, rest: &[Word<'_>]) -> Val<'c> {
    let text = |s| nonempty(ctx.msg.slice(s));
    let Some((first, rest)) = rest.split_first() else {
        return text(v.span);
    };
    match first.name {
        b"name" => text(v.protocol),
        b"version" => text(v.version),
        b"transport" => text(v.transport_text),
        b"host" => text(v.host),
        b"port" => v.port.map_or(Val::Null, |p| Val::from(p.to_string())),
        b"params" => match rest.first() {
            None => text(v.params),
            Some(p) => Val::opt(v.params(ctx.msg.buf()).value(p.name)),
        },
        b"branch" => v.branch.map_or(Val::Null, text),
        b"received" => v.received.map_or(Val::Null, text),
        b"rport" => match v.rport {
            Rport::Port(p) => Val::from(p.to_string()),
            _ => Val::Null,
        },
        b"i" => v.i.map_or(Val::Null, text),
        name => Val::opt(
            v.params(ctx.msg.buf())
                .value(name)
                .filter(|v| !v.is_empty()),
        ),
    }
}

fn cseq<'c>(ctx: &'c Ctx, rest: &[Word<'_>]) -> Val<'c> {
    let Some(c) = ctx.msg.cseq() else {
        return Val::Null;
    };
    match rest.first().map(|w| w.name) {
        None => Val::opt(ctx.msg.header_body(HeaderName::CSeq)),
        Some(b"num") => Val::bytes(ctx.msg.slice(c.number_text)),
        Some(b"method") => Val::bytes(ctx.msg.slice(c.method_text)),
        _ => Val::Null,
    }
}

fn event<'c>(ctx: &'c Ctx, rest: &[Word<'_>]) -> Val<'c> {
    let Some(e) = ctx.msg.event() else {
        return Val::Null;
    };
    match rest.first().map(|w| w.name) {
        Some(b"id") => e.id.map_or(Val::Null, |i| Val::bytes(ctx.msg.slice(i))),
        None | Some(b"name") => Val::bytes(ctx.msg.slice(e.package)),
        _ => Val::Null,
    }
}

/// All values of a header, separated by commas, or one of them, the first being number 1.
fn values<'c>(ctx: &'c Ctx, w: &Word<'_>) -> Val<'c> {
    let all = all_values(ctx, w.name);
    let Some(index) = w.index else {
        return nonempty_owned(all.join(&b","[..]));
    };
    let at = match usize::try_from(index) {
        Ok(i) => i.checked_sub(1),
        Err(_) => all.len().checked_sub(index.unsigned_abs() as usize),
    };
    at.and_then(|i| all.get(i))
        .map_or(Val::Null, |v| Val::bytes(v))
}

fn nonempty_owned<'c>(b: Vec<u8>) -> Val<'c> {
    if b.is_empty() {
        Val::Null
    } else {
        Val::owned(b)
    }
}

/// The values of all headers of a name with `_` for `-`.
fn all_values<'c>(ctx: &'c Ctx, name: &[u8]) -> Vec<&'c [u8]> {
    let all = headers(ctx, name).into_iter();
    all.flat_map(|h| ctx.msg.slice(h.body).split(|b| *b == b','))
        .map(<[u8]>::trim_ascii)
        .collect()
}

/// A header by its name with `_` for `-`.
fn header<'c>(ctx: &'c Ctx, name: &[u8], index: i64) -> Val<'c> {
    let all = headers(ctx, name);
    let at = if index < 0 {
        all.len().checked_sub(index.unsigned_abs() as usize)
    } else {
        Some(index as usize)
    };
    at.and_then(|i| all.get(i))
        .map_or(Val::Null, |h| Val::bytes(ctx.msg.slice(h.body)))
}

fn headers<'c>(ctx: &'c Ctx, name: &[u8]) -> Vec<&'c olelo_sip::Header> {
    let name: Vec<u8> = name
        .iter()
        .map(|b| if *b == b'_' { b'-' } else { *b })
        .collect();
    let same = |h: &&olelo_sip::Header| {
        let known = name_of(&name);
        h.name == known
            && (known != HeaderName::Other
                || ctx.msg.slice(h.name_text).eq_ignore_ascii_case(&name))
    };
    ctx.msg.headers().iter().filter(same).collect()
}

fn message<'c>(ctx: &'c Ctx, rest: &[Word<'_>]) -> Val<'c> {
    let m = &ctx.msg;
    match rest {
        [] => Val::bytes(m.buf()),
        [w, more @ ..] => match w.name {
            b"len" => Val::from(m.buf().len().to_string()),
            b"type" => Val::text(if m.is_request() { "1" } else { "2" }),
            b"id" => Val::Int(ctx.id as i64),
            b"flags" => Val::Int(i64::from(ctx.flags)),
            b"body" if more.is_empty() => Val::bytes(m.body()),
            b"first_line" => Val::opt(m.buf().get(m.first_line_start()..m.headers_start())),
            b"header" => match more.first() {
                None => Val::opt(m.buf().get(m.headers_start()..m.headers_end() + 2)),
                Some(h) => header(ctx, h.name, h.index.unwrap_or(0)),
            },
            _ => Val::Null,
        },
    }
}

fn endpoint<'c>(ctx: &'c Ctx, a: SocketAddr, rest: &[Word<'_>]) -> Val<'c> {
    match rest.first().map(|w| w.name) {
        Some(b"ip") => Val::from(a.ip().to_string()),
        Some(b"port") => Val::from(a.port().to_string()),
        Some(b"ip_port") => Val::from(format!(
            "{}:{}",
            olelo_core::net::socket::host_text(a.ip()),
            a.port()
        )),
        None => Val::from(olelo_core::net::socket::socket_text(a, ctx.rcv.proto)),
        _ => Val::Null,
    }
}

fn received<'c>(ctx: &'c Ctx, rest: &[Word<'_>]) -> Val<'c> {
    match rest.first().map(|w| w.name) {
        Some(b"proto") => Val::text(ctx.rcv.proto.name()),
        Some(b"proto_ip_port") => Val::from(olelo_core::net::socket::socket_text(
            ctx.rcv.dst,
            ctx.rcv.proto,
        )),
        Some(b"ip") => Val::from(ctx.rcv.dst.ip().to_string()),
        Some(b"port") => Val::from(ctx.rcv.dst.port().to_string()),
        Some(b"ip_port") => Val::from(format!(
            "{}:{}",
            olelo_core::net::socket::host_text(ctx.rcv.dst.ip()),
            ctx.rcv.dst.port()
        )),
        _ => Val::Null,
    }
}

fn credentials<'c>(ctx: &'c Ctx, rest: &[Word<'_>]) -> Val<'c> {
    let Some(a) = crate::auth::credentials(ctx) else {
        return Val::Null;
    };
    let text = |s| nonempty(ctx.msg.slice(s));
    match rest.first().map(|w| w.name) {
        Some(b"username") => text(a.username),
        Some(b"realm") => text(a.realm),
        Some(b"nonce") => text(a.nonce),
        Some(b"uri") => text(a.uri),
        Some(b"response") => text(a.response),
        _ => Val::Null,
    }
}
