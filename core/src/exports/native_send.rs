//! Functions of the native language that say where and how a message is sent: the `forward` family,
//! `force_send_socket`, `udp_mtu_try_proto`.

use super::message::alias;
use crate::net::{Proto, reply, target};
use crate::route::ctx::Ctx;
use crate::route::function::{AnyVal, Function, ScriptError, function};
use olelo_sip::Uri;
use std::net::SocketAddr;

pub(super) fn functions() -> Vec<Function> {
    let mut v = vec![
        function("force_send_socket", force_send_socket)
            .native_only()
            .cfg("force_send_socket")
            .args(["socket"])
            .doc("Sends from the listening socket proto:host:port."),
        function("udp_mtu_try_proto", udp_mtu_try_proto)
            .native_only()
            .cfg("udp_mtu_try_proto")
            .args(["proto"])
            .doc("Protocol for this request where it is larger than udp_mtu."),
        function("force_tcp_alias", |c: &mut Ctx, p: Option<i64>| {
            c.tcp_alias = p.and_then(|p| u16::try_from(p).ok());
            alias(c);
            1i64
        })
        .native_only()
        .cfg("force_tcp_alias")
        .cfg("add_tcp_alias")
        .args(["port"])
        .doc("Lets this connection be used for requests to the sender's address."),
    ];
    for (name, proto) in [
        ("forward", None),
        ("forward_udp", Some(Proto::Udp)),
        ("forward_tcp", Some(Proto::Tcp)),
        ("forward_tls", Some(Proto::Tls)),
        ("forward_sctp", Some(Proto::Sctp)),
    ] {
        v.push(
            function(
                name,
                move |c: &mut Ctx, host: Option<&str>, port: Option<AnyVal<'_>>| {
                    forward_to(c, proto, host, port)
                },
            )
            .native_only()
            .cfg(name)
            .args(["host", "port"])
            .doc("Forwards the request without state: to a host and port, else to its next hop."),
        );
    }
    v
}

fn force_send_socket(ctx: &mut Ctx, text: &str) -> Result<bool, ScriptError> {
    let sockets = &crate::server().sockets;
    let found = sockets.find(text).ok_or_else(|| {
        let all: Vec<String> = sockets.0.iter().map(|l| l.text()).collect();
        ScriptError(format!(
            "no listening socket \"{text}\"; there are {}",
            all.join(", ")
        ))
    })?;
    ctx.send_socket = Some(found.id);
    Ok(true)
}

fn udp_mtu_try_proto(ctx: &mut Ctx, name: &[u8]) -> Result<bool, ScriptError> {
    let proto = Proto::from_name(name).ok_or_else(|| {
        let shown = String::from_utf8_lossy(name);
        ScriptError(format!("\"{shown}\" is no protocol; udp, tcp, tls or sctp"))
    })?;
    ctx.ext::<target::LargeProto>().0 = Some(proto);
    Ok(true)
}

fn forward_to(
    ctx: &mut Ctx,
    proto: Option<Proto>,
    host: Option<&str>,
    port: Option<AnyVal<'_>>,
) -> Result<i64, ScriptError> {
    let host = host.filter(|h| !h.is_empty());
    if proto.is_none() && host.is_none() {
        return Ok(super::message::forward(ctx));
    }
    let port = match port.map(|p| p.0.as_int()) {
        None => None,
        Some(p) => Some(
            p.and_then(|p| u16::try_from(p).ok())
                .ok_or_else(|| ScriptError("a port is a number up to 65535".into()))?,
        ),
    };
    let (host, port, proto) = {
        let hop = Uri::parse(ctx.next_hop()).ok();
        let named = |t: olelo_sip::Transport| Proto::from_name(t.as_str().as_bytes());
        let proto = proto
            .or_else(|| hop.as_ref().and_then(|u| u.transport()).and_then(named))
            .unwrap_or(Proto::Udp);
        match (host, hop) {
            (Some(h), _) => (h.to_string(), port, proto),
            (None, Some(u)) => (
                String::from_utf8_lossy(u.host).into_owned(),
                port.or(u.port),
                proto,
            ),
            (None, None) => return Err(ScriptError("the next hop is no SIP URI".into())),
        }
    };
    let Some(ip) = target::resolve_host(&host, proto) else {
        crate::warn!(
            "core",
            "can't forward: the host \"{host}\" can't be resolved"
        );
        return Ok(-1);
    };
    let port = port.filter(|p| *p != 0).unwrap_or(proto.default_port());
    let came_by = Some(ctx.rcv.socket);
    match target::to(proto, SocketAddr::new(ip, port), ctx.send_socket, came_by) {
        Ok(mut dst) => {
            dst.flags = crate::net::wishes(ctx).request;
            Ok(if reply::forward_request(ctx, &dst) {
                1
            } else {
                -1
            })
        }
        Err(e) => {
            crate::warn!("core", "can't forward: {e}");
            Ok(-1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::value::Val;

    #[test]
    fn a_protocol_must_be_one() {
        let all = functions();
        let f = all.iter().find(|f| f.name == "udp_mtu_try_proto").unwrap();
        let mut ctx = Ctx::new();
        assert_eq!(f.call(&mut ctx, &[Val::text("TCP")]), Ok(Val::Bool(true)));
        assert_eq!(ctx.ext::<target::LargeProto>().0, Some(Proto::Tcp));
        assert!(f.call(&mut ctx, &[Val::text("xyz")]).is_err());
    }
}
