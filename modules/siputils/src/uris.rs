//! Parameters and parts of URIs: the request's, or one in a pseudo-variable.

use crate::yes;
use olelo_core::pv::Spec;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{
    BRANCH, EVENT, FAILURE, Function, ONREPLY, REQUEST, ScriptError, function,
};
use olelo_core::route::value::Val;
use olelo_sip::{Uri, UriBuf};

pub(crate) fn functions() -> Vec<Function> {
    let in_request = REQUEST | BRANCH | FAILURE | EVENT;
    vec![
        function("uri_param", |c: &mut Ctx, p: &[u8]| {
            yes(param(c, p, Want::NoValue))
        })
        .args(["name"])
        .routes(in_request)
        .doc("Whether the request URI has a parameter without a value."),
        function("uri_param_value", |c: &mut Ctx, p: &[u8], v: &[u8]| {
            yes(param(c, p, Want::Value(v)))
        })
        .args(["name", "value"])
        .routes(in_request)
        .doc("Whether the request URI has a parameter with this value."),
        function(
            "uri_param_native",
            |c: &mut Ctx, p: &[u8], v: Option<&[u8]>| {
                yes(param(c, p, v.map_or(Want::NoValue, Want::Value)))
            },
        )
        .native_only()
        .cfg("uri_param")
        .args(["name", "value"])
        .routes(in_request)
        .doc("Whether the request URI has a parameter, with this value or none."),
        function("uri_param_any", |c: &mut Ctx, p: &[u8]| {
            yes(param(c, p, Want::Any))
        })
        .cfg("uri_param_any")
        .args(["name"])
        .routes(in_request)
        .doc("Whether the request URI has a parameter, whatever its value."),
        function("uri_param_rm", uri_param_rm)
            .cfg("uri_param_rm")
            .args(["name"])
            .routes(in_request)
            .doc("Removes a parameter from the request URI."),
        function("add_uri_param", add_uri_param)
            .cfg("add_uri_param")
            .args(["param"])
            .routes(REQUEST)
            .doc("Adds a parameter `name=value` to the request URI."),
        function("get_uri_param", get_uri_param)
            .native_only()
            .cfg("get_uri_param")
            .args(["name", "var"])
            .raw(&["var"])
            .routes(REQUEST)
            .doc("Puts the value of a parameter of the request URI into a pseudo-variable."),
        function("tel2sip", tel2sip)
            .native_only()
            .cfg("tel2sip")
            .cfg("tel2sip2")
            .args(["uri", "host", "var"])
            .raw(&["var"])
            .routes(in_request | ONREPLY)
            .doc(
                "Makes a sip: URI of a tel: URI (RFC 3261 §19.1.6). 1 converted, 2 nothing to do.",
            ),
        function("set_uri_user", |c: &mut Ctx, n: &[u8], u: &[u8]| {
            change(c, n, |b| b.set_user(u))
        })
        .native_only()
        .cfg("set_uri_user")
        .args(["var", "user"])
        .raw(&["var"])
        .doc("Sets the user of the URI in a pseudo-variable."),
        function("set_uri_host", |c: &mut Ctx, n: &[u8], h: &[u8]| {
            change(c, n, |b| b.set_host(h))
        })
        .native_only()
        .cfg("set_uri_host")
        .args(["var", "host"])
        .raw(&["var"])
        .doc("Sets the host of the URI in a pseudo-variable."),
    ]
}

enum Want<'a> {
    Any,
    NoValue,
    Value(&'a [u8]),
}

fn param(ctx: &Ctx, name: &[u8], want: Want<'_>) -> bool {
    let Ok(uri) = Uri::parse(ctx.ruri()) else {
        return false;
    };
    let Some(p) = uri.params().get(name) else {
        return false;
    };
    match want {
        Want::Any => true,
        Want::NoValue => p.value.is_none_or(<[u8]>::is_empty),
        Want::Value(v) => p.value == Some(v),
    }
}

fn uri_param_rm(ctx: &mut Ctx, name: &[u8]) -> i64 {
    let Ok(mut b) = UriBuf::parse(ctx.ruri()) else {
        return -1;
    };
    if b.remove_param(name) != Ok(true) {
        return -1;
    }
    ctx.new_uri = Some(b.into_bytes());
    1
}

fn add_uri_param(ctx: &mut Ctx, text: &[u8]) -> i64 {
    let text = text.strip_prefix(b";").unwrap_or(text);
    if text.is_empty() {
        return 1;
    }
    let (name, value) = match text.iter().position(|b| *b == b'=') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let Ok(mut b) = UriBuf::parse(ctx.ruri()) else {
        return -1;
    };
    if b.set_param(name, value).is_err() {
        return -1;
    }
    ctx.new_uri = Some(b.into_bytes());
    1
}

fn get_uri_param(ctx: &mut Ctx, name: &[u8], var: &[u8]) -> Result<i64, ScriptError> {
    let value = Uri::parse(ctx.ruri())
        .ok()
        .and_then(|u| u.param(name).map(<[u8]>::to_vec));
    let Some(value) = value else { return Ok(-1) };
    Spec::parse_cached(var)?.set(ctx, Val::owned(value))?;
    Ok(1)
}

fn change(
    ctx: &mut Ctx,
    var: &[u8],
    f: impl FnOnce(&mut UriBuf) -> Result<(), olelo_sip::ParseError>,
) -> Result<i64, ScriptError> {
    let spec = Spec::parse_cached(var)?;
    let old = spec
        .get(ctx)
        .as_bytes()
        .map(std::borrow::Cow::into_owned)
        .unwrap_or_default();
    let Ok(mut b) = UriBuf::parse(&old) else {
        return Ok(-1);
    };
    if f(&mut b).is_err() {
        return Ok(-1);
    }
    spec.set(ctx, Val::owned(b.into_bytes()))?;
    Ok(1)
}

fn tel2sip(ctx: &mut Ctx, uri: &[u8], host: &[u8], var: &[u8]) -> Result<i64, ScriptError> {
    let is_tel = uri
        .get(..4)
        .is_some_and(|s| s.eq_ignore_ascii_case(b"tel:"));
    if !is_tel {
        return Ok(2);
    }
    let Some(sip) = converted(&uri[4..], host) else {
        return Ok(-1);
    };
    Spec::parse_cached(var)?.set(ctx, Val::owned(sip))?;
    Ok(1)
}

/// The sip: URI for the part of a tel: URI behind its scheme.
fn converted(tel: &[u8], host: &[u8]) -> Option<Vec<u8>> {
    let (number, params) = match tel.iter().position(|b| *b == b';') {
        Some(at) => tel.split_at(at),
        None => (tel, &b""[..]),
    };
    if host.is_empty() || number.is_empty() {
        return None;
    }
    let mut out = b"sip:".to_vec();
    out.extend(
        number
            .iter()
            .filter(|b| !matches!(b, b'-' | b'.' | b'(' | b')')),
    );
    out.extend(params.iter().map(u8::to_ascii_lowercase));
    out.push(b'@');
    out.extend_from_slice(host);
    out.extend_from_slice(b";user=phone");
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ctx(uri: &str) -> Ctx {
        let mut c = Ctx::new();
        c.msg
            .buf_mut()
            .extend_from_slice(format!("INVITE {uri} SIP/2.0\r\n\r\n").as_bytes());
        c.msg.parse().unwrap();
        c
    }

    #[test]
    fn parameters_of_the_request_uri() {
        let c = ctx("sip:a@h;lr;x=1;e=");
        for (name, want, yes) in [
            ("lr", Want::NoValue, true),
            ("x", Want::NoValue, false),
            ("x", Want::Value(b"1"), true),
            ("x", Want::Value(b"2"), false),
            ("x", Want::Any, true),
            ("y", Want::Any, false),
        ] {
            assert_eq!(param(&c, name.as_bytes(), want), yes, "{name}");
        }
    }

    #[test]
    fn parameters_come_and_go() {
        let mut c = ctx("sip:a@h;x=1");
        assert_eq!(uri_param_rm(&mut c, b"x"), 1);
        assert_eq!(c.ruri(), b"sip:a@h");
        assert_eq!(uri_param_rm(&mut c, b"x"), -1);
        assert_eq!(add_uri_param(&mut c, b"nat=yes"), 1);
        assert_eq!(c.ruri(), b"sip:a@h;nat=yes");
    }

    #[test]
    fn tel_becomes_sip() {
        for (tel, want) in [
            ("+(34)-999-888-777", "sip:+34999888777@foo.com;user=phone"),
            (
                "+12-(34)-56-78;Ext=200;ISUB=+123-456",
                "sip:+12345678;ext=200;isub=+123-456@foo.com;user=phone",
            ),
        ] {
            assert_eq!(
                converted(tel.as_bytes(), b"foo.com").unwrap(),
                want.as_bytes()
            );
        }
    }
}
