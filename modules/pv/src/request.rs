//! The request line and where the request goes: `$ru` `$rU` `$rd` … `$du` `$dd` … `$nh(…)`, and the
//! reply's line: `$rs` `$rr`.

use olelo_core::pv::{PvClass, PvKey, pv, pv_named};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::ScriptError;
use olelo_core::route::value::Val;
use olelo_sip::{ParseError, Scheme, Uri, UriBuf};

pub(crate) fn classes() -> Vec<PvClass> {
    let mut v = uri_classes();
    v.extend(destination_classes());
    v.extend(line_classes());
    v
}

fn uri_classes() -> Vec<PvClass> {
    let ru = |n| {
        pv(n, |c, _| request(c, c.ruri()))
            .set(set_ruri)
            .doc("The request URI as routing has it now.")
    };
    let ru_user = |n| {
        pv(n, |c, _| uri(c.ruri(), user))
            .set(set_user)
            .doc("User of the request URI.")
    };
    let ru_host = |n| {
        pv(n, |c, _| uri(c.ruri(), host))
            .set(set_host)
            .doc("Host of the request URI.")
    };
    let ou = |n| pv(n, |c, _| request(c, c.msg.ruri())).doc("The request URI as received.");
    vec![
        ru("ru"),
        ru("ruri"),
        ru_user("rU"),
        ru_user("ruri.user"),
        ru_host("rd"),
        ru_host("ruri.domain"),
        pv("rul", |c, _| uri(c.ruri(), |u| len(u.text))).doc("Length of the request URI."),
        pv("rUl", |c, _| {
            uri(c.ruri(), |u| len(u.user_name().unwrap_or_default()))
        })
        .doc("Length of the request URI's user."),
        pv("rp", |c, _| uri(c.ruri(), port))
            .set(set_port)
            .doc("Port of the request URI."),
        pv("rP", |c, _| uri(c.ruri(), transport)).doc("Transport of the request URI."),
        pv("rz", |c, _| uri(c.ruri(), scheme)).doc("Scheme of the request URI."),
        ou("ou"),
        ou("ouri"),
        pv("oU", |c, _| uri(c.msg.ruri(), user)).doc("User of the request URI as received."),
        pv("oUl", |c, _| {
            uri(c.msg.ruri(), |u| len(u.user_name().unwrap_or_default()))
        })
        .doc("Length of the user of the request URI as received."),
        pv("od", |c, _| uri(c.msg.ruri(), host)).doc("Host of the request URI as received."),
        pv("op", |c, _| uri(c.msg.ruri(), port)).doc("Port of the request URI as received."),
        pv("oP", |c, _| uri(c.msg.ruri(), transport))
            .doc("Transport of the request URI as received."),
    ]
}

fn destination_classes() -> Vec<PvClass> {
    let du = |n| {
        pv(n, |c, _| Val::opt(duri(c)))
            .set(set_duri)
            .doc("Where the request is sent, if not to its URI.")
    };
    vec![
        du("du"),
        du("duri"),
        pv("dd", |c, _| duri(c).map_or(Val::Null, |d| uri(d, host)))
            .doc("Host of the destination URI."),
        pv("dp", |c, _| duri(c).map_or(Val::Null, |d| uri(d, port)))
            .doc("Port of the destination URI."),
        pv("dP", |c, _| {
            duri(c).map_or(Val::Null, |d| uri(d, transport))
        })
        .doc("Transport of the destination URI."),
        pv_named("nh", next_hop).doc("The next hop: u URI, U user, d host, p port, P transport."),
    ]
}

fn line_classes() -> Vec<PvClass> {
    vec![
        pv("rm", |c, _| nonempty(c.msg.method_text()))
            .doc("The method; a reply's is that of its CSeq."),
        pv("rmid", |c, _| Val::Int(i64::from(c.msg.method().bit()))).doc("The method as a number."),
        pv("rs", |c, _| match c.msg.status() {
            0 => Val::Null,
            s => Val::Int(i64::from(s)),
        })
        .doc("The reply's status code."),
        pv("rsi", |c, _| Val::Int(i64::from(c.msg.status())))
            .doc("The reply's status code as an integer; 0 in a request."),
        pv("rr", |c, _| match c.msg.is_request() {
            true => Val::Null,
            false => Val::bytes(c.msg.reason()),
        })
        .doc("The reply's reason phrase."),
        pv("rv", |c, _| nonempty(c.msg.version())).doc("The version of the first line."),
    ]
}

/// A value that only requests have.
pub(crate) fn request<'c>(ctx: &Ctx, v: &'c [u8]) -> Val<'c> {
    if ctx.msg.is_request() {
        nonempty(v)
    } else {
        Val::Null
    }
}

/// Null for the empty string.
pub(crate) fn nonempty(v: &[u8]) -> Val<'_> {
    if v.is_empty() {
        Val::Null
    } else {
        Val::bytes(v)
    }
}

/// Reads a part of a URI; null where it is none.
pub(crate) fn uri<'c>(text: &'c [u8], part: impl Fn(&Uri<'c>) -> Val<'c>) -> Val<'c> {
    Uri::parse(text).map_or(Val::Null, |u| part(&u))
}

pub(crate) fn user<'c>(u: &Uri<'c>) -> Val<'c> {
    // Without its parameters (`;npdi`); a tel: number is the user too.
    match (u.user_name(), u.scheme) {
        (Some(user), _) => nonempty(user),
        (None, Scheme::Tel) => nonempty(u.host),
        (None, _) => Val::Null,
    }
}

pub(crate) fn host<'c>(u: &Uri<'c>) -> Val<'c> {
    nonempty(u.host)
}

pub(crate) fn port<'c>(u: &Uri<'c>) -> Val<'c> {
    // As text: this is what scripts get, and some compare it so.
    match u.port.filter(|p| *p != 0) {
        Some(p) => Val::from(p.to_string()),
        None => Val::text("5060"),
    }
}

pub(crate) fn transport<'c>(u: &Uri<'c>) -> Val<'c> {
    match u.param(b"transport") {
        Some(t) if !t.is_empty() => Val::bytes(t),
        _ => Val::text("UDP"),
    }
}

/// The scheme; a telephone number in a sip: URI (`user=phone`) counts as tel.
pub(crate) fn scheme<'c>(u: &Uri<'c>) -> Val<'c> {
    let phone = u
        .param(b"user")
        .is_some_and(|p| p.eq_ignore_ascii_case(b"phone"));
    if phone && matches!(u.scheme, Scheme::Sip | Scheme::Sips) {
        return Val::text("tel");
    }
    let end = u.text.iter().position(|b| *b == b':').unwrap_or(0);
    nonempty(u.text.get(..end).unwrap_or_default())
}

fn len(b: &[u8]) -> Val<'static> {
    Val::Int(b.len() as i64)
}

fn duri(ctx: &Ctx) -> Option<&[u8]> {
    ctx.dst_uri.as_deref().filter(|d| !d.is_empty())
}

fn next_hop<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    let to = ctx.next_hop();
    match key.name() {
        b"u" | b"" => request(ctx, to),
        b"U" => uri(to, user),
        b"d" => uri(to, host),
        b"p" => uri(to, port),
        b"P" => uri(to, transport),
        _ => Val::Null,
    }
}

fn set_ruri(ctx: &mut Ctx, _: &PvKey<'_>, v: Val<'_>) -> Result<(), ScriptError> {
    match v.as_bytes() {
        None => ctx.new_uri = None,
        Some(b) => {
            Uri::parse(&b).map_err(|e| {
                ScriptError(format!(
                    "\"{}\" is no URI for $ru: {e}",
                    String::from_utf8_lossy(&b)
                ))
            })?;
            ctx.set_ruri(&b);
        }
    }
    Ok(())
}

/// Changes the request URI through its parts.
pub(crate) fn edit(
    ctx: &mut Ctx,
    f: impl FnOnce(&mut UriBuf) -> Result<(), ParseError>,
) -> Result<(), ScriptError> {
    let fault = |e: ParseError| ScriptError(format!("can't change the request URI: {e}"));
    let mut b = UriBuf::parse(ctx.ruri()).map_err(fault)?;
    f(&mut b).map_err(fault)?;
    ctx.new_uri = Some(b.into_bytes());
    Ok(())
}

fn set_user(ctx: &mut Ctx, _: &PvKey<'_>, v: Val<'_>) -> Result<(), ScriptError> {
    let user = v.as_bytes().unwrap_or_default();
    edit(ctx, |b| b.set_user(&user))
}

fn set_host(ctx: &mut Ctx, _: &PvKey<'_>, v: Val<'_>) -> Result<(), ScriptError> {
    let host = v
        .as_bytes()
        .filter(|h| !h.is_empty())
        .ok_or_else(|| ScriptError::new("a request URI needs a host: $rd can't be null"))?;
    edit(ctx, |b| b.set_host(&host))
}

fn set_port(ctx: &mut Ctx, _: &PvKey<'_>, v: Val<'_>) -> Result<(), ScriptError> {
    let port = match &v {
        Val::Null => None,
        v if v.as_bytes().is_some_and(|b| b.is_empty()) => None,
        v => Some(
            v.as_int()
                .and_then(|p| u16::try_from(p).ok())
                .ok_or_else(|| ScriptError::new("a port is a number up to 65535"))?,
        ),
    };
    edit(ctx, |b| b.set_port(port))
}

fn set_duri(ctx: &mut Ctx, _: &PvKey<'_>, v: Val<'_>) -> Result<(), ScriptError> {
    match v.as_bytes().filter(|b| !b.is_empty()) {
        None => ctx.dst_uri = None,
        Some(b) => {
            Uri::parse(&b).map_err(|e| {
                ScriptError(format!(
                    "\"{}\" is no URI for $du: {e}",
                    String::from_utf8_lossy(&b)
                ))
            })?;
            ctx.dst_uri = Some(b.into_owned());
        }
    }
    Ok(())
}
