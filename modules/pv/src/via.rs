//! `$via0(…)`, `$via1(…)`, `$viaZ(…)`: parts of the first, second and last Via (RFC 3261 §20.42).

use olelo_core::net::Proto;
use olelo_core::pv::{PvClass, PvKey, pv_named};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::value::Val;
use olelo_sip::{Rport, Via};

pub(crate) fn classes() -> Vec<PvClass> {
    const DOC: &str = "A part of a Via: host, port, proto, protoid, branch, received, rport, i, alias, version, oc.";
    vec![
        pv_named("via0", |c, k| {
            c.msg.via(0).map_or(Val::Null, |v| part(c, v, k))
        })
        .doc(DOC),
        pv_named("via1", |c, k| {
            c.msg.via(1).map_or(Val::Null, |v| part(c, v, k))
        })
        .doc(DOC),
        pv_named("viaZ", |c, k| {
            c.msg
                .vias()
                .ok()
                .and_then(|v| v.last())
                .map_or(Val::Null, |v| part(c, v, k))
        })
        .doc(DOC),
    ]
}

fn part<'c>(ctx: &'c Ctx, via: &Via, key: &PvKey<'_>) -> Val<'c> {
    let text = |s| Val::bytes(ctx.msg.slice(s));
    match key.name() {
        b"host" => text(via.host),
        b"port" => Val::Int(i64::from(via.port.unwrap_or(5060))),
        b"proto" => Val::text(via.transport.via_name()),
        b"protoid" => Proto::from_name(via.transport.as_str().as_bytes())
            .map_or(Val::Null, |p| Val::Int(p as i64)),
        b"branch" => via.branch.map_or(Val::Null, text),
        b"received" => via.received.map_or(Val::Null, text),
        b"rport" => match via.rport {
            Rport::Port(p) => Val::from(p.to_string()),
            _ => Val::Null,
        },
        b"i" => via.i.map_or(Val::Null, text),
        b"alias" => Val::Int(i64::from(via.alias)),
        b"version" => text(via.version),
        name => Val::opt(via.params(ctx.msg.buf()).value(name)),
    }
}
