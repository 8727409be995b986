//! Digest credentials of the request: `$au` `$ar` `$adn` … The Proxy-Authorization is read first,
//! then Authorization, as these are what a proxy and a registrar ask for.

use crate::request::{nonempty, uri, user};
use olelo_core::pv::{PvClass, pv};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::value::Val;
use olelo_sip::{Credentials, Span};

pub(crate) fn classes() -> Vec<PvClass> {
    vec![
        pv("au", |c, _| {
            credentials(c).map_or(Val::Null, |a| nonempty(a.username_parts(c.msg.buf()).0))
        })
        .doc("User in the credentials."),
        pv("aU", |c, _| field(c, |a| Some(a.username)))
            .doc("Username in the credentials, with its domain."),
        pv("ar", |c, _| field(c, |a| Some(a.realm))).doc("Realm in the credentials."),
        pv("ad", |c, _| {
            credentials(c)
                .and_then(|a| a.username_parts(c.msg.buf()).1)
                .map_or_else(|| part(c, |_| None), nonempty)
        })
        .doc("Domain of the username in the credentials."),
        pv("aa", |c, _| part(c, |a| a.algorithm_text)).doc("Algorithm in the credentials."),
        pv("adu", |c, _| field(c, |a| Some(a.uri))).doc("URI in the credentials."),
        pv("adn", |c, _| field(c, |a| Some(a.nonce))).doc("Nonce in the credentials."),
        pv("adc", |c, _| part(c, |a| a.cnonce)).doc("Client's nonce in the credentials."),
        pv("adr", |c, _| field(c, |a| Some(a.response))).doc("Response in the credentials."),
        pv("ado", |c, _| part(c, |a| a.opaque)).doc("Opaque in the credentials."),
        pv("Au", |c, _| accounted(c, false)).doc(
            "Who is accounted: user and realm in the credentials, else user and host in From.",
        ),
        pv("AU", |c, _| accounted(c, true))
            .doc("Who is accounted: user in the credentials, else the user in From."),
    ]
}

/// The digest credentials.
pub(crate) fn credentials(ctx: &Ctx) -> Option<&Credentials> {
    let lists = [ctx.msg.proxy_authorizations(), ctx.msg.authorizations()];
    lists.into_iter().flatten().flatten().find(|c| c.is_digest)
}

fn field(ctx: &Ctx, of: impl Fn(&Credentials) -> Option<Span>) -> Val<'_> {
    credentials(ctx)
        .and_then(of)
        .map_or(Val::Null, |s| nonempty(ctx.msg.slice(s)))
}

/// A part that credentials may lack: then it is empty.
fn part(ctx: &Ctx, of: impl Fn(&Credentials) -> Option<Span>) -> Val<'_> {
    credentials(ctx).map_or(Val::Null, |a| {
        Val::bytes(of(a).map_or(b"", |s| ctx.msg.slice(s)))
    })
}

fn accounted(ctx: &Ctx, user_only: bool) -> Val<'_> {
    if let Some(a) = credentials(ctx) {
        return match user_only {
            true => nonempty(a.username_parts(ctx.msg.buf()).0),
            false => {
                let (user, realm) = (a.username_parts(ctx.msg.buf()).0, ctx.msg.slice(a.realm));
                Val::owned([user, b"@", realm].concat())
            }
        };
    }
    let Some(from) = ctx.msg.from().map(|f| ctx.msg.slice(f.uri)) else {
        return Val::Null;
    };
    uri(from, |u| match user(u) {
        Val::Null if user_only => Val::text(""),
        v if user_only => v,
        v => Val::owned([&v.as_bytes().unwrap_or_default(), &b"@"[..], u.host].concat()),
    })
}
