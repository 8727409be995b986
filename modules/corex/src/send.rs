//! Sending from and to other places than routing would: sockets, raw data, copies.

use olelo_core::net::{self, Dst, reply, target};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{ANY, FAILURE, Function, REQUEST, ScriptError, function};
use olelo_sip::Uri;

/// The functions.
pub fn functions() -> Vec<Function> {
    vec![
        function("set_send_socket", set_send_socket)
            .cfg("set_send_socket")
            .args(["socket"])
            .doc("Sends from the listening socket proto:host:port."),
        function("set_send_socket_name", set_send_socket)
            .cfg("set_send_socket_name")
            .args(["name"])
            .doc("Sends from the listening socket of this name."),
        function("set_recv_socket", set_recv_socket)
            .cfg("set_recv_socket")
            .args(["socket"])
            .doc("Takes the message as received on the socket proto:host:port."),
        function("set_recv_socket_name", set_recv_socket)
            .cfg("set_recv_socket_name")
            .args(["name"])
            .doc("Takes the message as received on the socket of this name."),
        function("set_source_address", set_source_address)
            .cfg("set_source_address")
            .args(["address"])
            .doc("Takes the message as received from proto:host:port."),
        function("is_socket_name", |_: &mut Ctx, n: &str| {
            if olelo_core::server()
                .sockets
                .0
                .iter()
                .any(|l| l.name.as_deref() == Some(n))
            {
                1i64
            } else {
                -1
            }
        })
        .cfg("is_socket_name")
        .args(["name"])
        .doc("1 where a listening socket has this name, else -1."),
        function("forward_uac_branch", |c: &mut Ctx, n: i64| {
            forward(c, None, n)
        })
        .args(["branch"])
        .routes(REQUEST)
        .doc("Forwards the request without state, with this number in the Via's branch."),
        function("forward_uac_uri_branch", |c: &mut Ctx, u: &[u8], n: i64| {
            forward(c, Some(u), n)
        })
        .args(["uri", "branch"])
        .routes(REQUEST)
        .doc("Forwards the request to a URI without state, with this number in the Via's branch."),
        function("forward_uac_number", |c: &mut Ctx, n: i64| {
            forward(c, None, n)
        })
        .native_only()
        .cfg("forward_uac")
        .args(["branch"])
        .routes(REQUEST)
        .doc("Forwards the request without state, with this number in the Via's branch."),
        function("forward_uac_uri_number", |c: &mut Ctx, u: &[u8], n: i64| {
            forward(c, Some(u), n)
        })
        .native_only()
        .cfg("forward_uac_uri")
        .args(["uri", "branch"])
        .routes(REQUEST)
        .doc("Forwards the request to a URI without state, with this number in the Via's branch."),
        function("forward_uac", |c: &mut Ctx| forward(c, None, 0))
            .cfg("forward_uac")
            .routes(REQUEST)
            .doc("Forwards the request without state."),
        function("forward_uac_uri", |c: &mut Ctx, u: &[u8]| {
            forward(c, Some(u), 0)
        })
        .cfg("forward_uac_uri")
        .args(["uri"])
        .routes(REQUEST)
        .doc("Forwards the request to a URI without state."),
        function("send_data", send_data)
            .cfg("send_data")
            .args(["uri", "data"])
            .routes(ANY)
            .doc("Sends bytes to the address of a URI."),
        function(
            "sendx",
            |c: &mut Ctx, uri: &[u8], socket: &str, data: &[u8]| {
                set_send_socket(c, socket)?;
                send_data(c, uri, data)
            },
        )
        .cfg("sendx")
        .args(["uri", "socket", "data"])
        .doc("Sends bytes to the address of a URI from a socket."),
        function("send_udp", |c: &mut Ctx, to: Option<&[u8]>| {
            copy(c, net::Proto::Udp, to)
        })
        .native_only()
        .cfg("send_udp")
        .args(["to"])
        .routes(REQUEST | FAILURE)
        .doc("Sends the received message as it is over UDP."),
        function("send_tcp", |c: &mut Ctx, to: Option<&[u8]>| {
            copy(c, net::Proto::Tcp, to)
        })
        .native_only()
        .cfg("send_tcp")
        .args(["to"])
        .routes(REQUEST | FAILURE)
        .doc("Sends the received message as it is over TCP."),
        function(
            "forward_reply",
            |c: &mut Ctx| if reply::forward(c) { 1i64 } else { -1 },
        )
        .native_only()
        .cfg("forward_reply")
        .doc("Forwards the reply without state."),
    ]
}

fn socket(text: &str) -> Result<&'static net::socket::Listen, ScriptError> {
    let sockets = &olelo_core::server().sockets;
    sockets.find(text).ok_or_else(|| {
        let all: Vec<String> = sockets.0.iter().map(|l| l.text()).collect();
        ScriptError(format!(
            "no listening socket \"{text}\"; there are {}",
            all.join(", ")
        ))
    })
}

fn set_send_socket(ctx: &mut Ctx, text: &str) -> Result<i64, ScriptError> {
    ctx.send_socket = Some(socket(text)?.id);
    Ok(1)
}

fn set_recv_socket(ctx: &mut Ctx, text: &str) -> Result<i64, ScriptError> {
    let l = socket(text)?;
    ctx.rcv.socket = l.id;
    ctx.rcv.dst = l.addr;
    Ok(1)
}

fn set_source_address(ctx: &mut Ctx, text: &str) -> Result<i64, ScriptError> {
    let rest = text.split_once(':').map_or(text, |(p, r)| {
        if net::Proto::from_name(p.as_bytes()).is_some() {
            r
        } else {
            text
        }
    });
    let parsed = net::socket::split_host_port(rest).and_then(|(h, p)| {
        Some(std::net::SocketAddr::new(
            h.parse().ok()?,
            p.unwrap_or(5060),
        ))
    });
    ctx.rcv.src = parsed.ok_or_else(|| {
        ScriptError(format!(
            "\"{text}\" is no address such as udp:192.0.2.1:5060"
        ))
    })?;
    Ok(1)
}

fn forward(ctx: &mut Ctx, uri: Option<&[u8]>, number: i64) -> i64 {
    if let Some(u) = uri {
        ctx.dst_uri = Some(u.to_vec());
    }
    match target::of_request(ctx) {
        Ok(d) if reply::forward_branch(ctx, &d, u32::try_from(number).unwrap_or(0)) => 1,
        Ok(_) => -1,
        Err(e) => {
            olelo_core::warn!("corex", "can't forward: {e}");
            -1
        }
    }
}

fn send_data(ctx: &mut Ctx, uri: &[u8], data: &[u8]) -> Result<i64, ScriptError> {
    let dst = target::resolve(uri, ctx.send_socket, Some(ctx.rcv.socket))
        .map_err(|e| ScriptError(e.to_string()))?;
    Ok(sent(&dst, data))
}

fn copy(ctx: &mut Ctx, proto: net::Proto, to: Option<&[u8]>) -> Result<i64, ScriptError> {
    let text = match to {
        Some(t) => [b"sip:", t].concat(),
        None => ctx.next_hop().to_vec(),
    };
    let u = Uri::parse(&text)
        .map_err(|e| ScriptError(format!("{}: {e}", String::from_utf8_lossy(&text))))?;
    let host = String::from_utf8_lossy(u.host).into_owned();
    let ip = target::resolve_host(&host, proto)
        .ok_or_else(|| ScriptError(format!("the host {host} can't be resolved")))?;
    let addr = std::net::SocketAddr::new(ip, u.port.unwrap_or(5060));
    let dst = target::to(proto, addr, ctx.send_socket, Some(ctx.rcv.socket))
        .map_err(|e| ScriptError(e.to_string()))?;
    Ok(sent(&dst, ctx.msg.buf()))
}

fn sent(dst: &Dst, bytes: &[u8]) -> i64 {
    match net::send(dst, bytes) {
        Ok(()) => 1,
        Err(e) => {
            olelo_core::warn!("corex", "{e}");
            -1
        }
    }
}
