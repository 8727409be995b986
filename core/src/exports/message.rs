//! What the message is, where it came from, where it goes.

use crate::net::{self, Proto, own, reply, target};
use crate::route::ctx::{Ctx, End};
use crate::route::function::{ANY, CORE_ONREPLY, Function, ScriptError, function};
use crate::route::{engine::Outcome, run};
use olelo_sip::{Method, Uri, UriBuf};

pub(super) fn functions() -> Vec<Function> {
    let mut v = uri_functions();
    v.extend(method_functions());
    v.extend(transport_functions());
    v.extend(sending_functions());
    v
}

fn uri_functions() -> Vec<Function> {
    vec![
        function("is_myself", |_: &mut Ctx, u: &[u8]| uri_is_mine(u))
            .args(["uri"])
            .doc("Whether a URI's host and port are this server."),
        function("is_myself_ruri", |c: &mut Ctx| uri_is_mine(c.ruri()))
            .doc("Whether the request URI is this server."),
        function("is_myself_duri", |c: &mut Ctx| {
            c.dst_uri.as_deref().is_some_and(uri_is_mine)
        })
        .doc("Whether the destination URI is this server."),
        function("is_myself_nhuri", |c: &mut Ctx| uri_is_mine(c.next_hop()))
            .doc("Whether the next hop is this server."),
        function("is_myself_furi", |c: &mut Ctx| {
            c.msg
                .from()
                .is_some_and(|f| uri_is_mine(f.uri.of(c.msg.buf())))
        })
        .doc("Whether the URI in From is this server."),
        function("is_myself_turi", |c: &mut Ctx| {
            c.msg
                .to()
                .is_some_and(|f| uri_is_mine(f.uri.of(c.msg.buf())))
        })
        .doc("Whether the URI in To is this server."),
        function("is_myself_suri", src_is_mine)
            .doc("Whether the source address and port are this server."),
        function("is_myself_srcip", |c: &mut Ctx| {
            crate::server()
                .sockets
                .0
                .iter()
                .any(|l| l.addr.ip() == c.rcv.src.ip())
        })
        .doc("Whether the source address is this server."),
        function("seturi", |c: &mut Ctx, u: &[u8]| {
            c.set_ruri(u);
            true
        })
        .cfg("seturi")
        .cfg("rewriteuri")
        .args(["uri"])
        .doc("Sets the request URI."),
        function("setuser", |c: &mut Ctx, u: &[u8]| {
            edit_uri(c, |b| b.set_user(u))
        })
        .cfg("setuser")
        .cfg("rewriteuser")
        .args(["user"])
        .doc("Sets the user of the request URI."),
        function("sethost", |c: &mut Ctx, h: &[u8]| {
            edit_uri(c, |b| b.set_host(h))
        })
        .cfg("sethost")
        .cfg("rewritehost")
        .args(["host"])
        .doc("Sets the host of the request URI."),
        function("setdsturi", |c: &mut Ctx, u: &[u8]| {
            c.dst_uri = Some(u.to_vec());
            true
        })
        .args(["uri"])
        .doc("Sets where the request is sent, whatever its URI."),
        function("resetdsturi", |c: &mut Ctx| {
            c.dst_uri = None;
            true
        })
        .doc("Forgets the destination URI."),
        function("isdsturiset", |c: &mut Ctx| {
            c.dst_uri.as_ref().is_some_and(|d| !d.is_empty())
        })
        .doc("Whether a destination URI is set."),
    ]
}

fn method_functions() -> Vec<Function> {
    let mut v = vec![
        function("is_method", |c: &mut Ctx, m: &[u8]| c.msg.method_text() == m).args(["method"]).doc("Whether the method is this one."),
        function("is_method_in", method_in).args(["letters"]).doc("Whether the method is one of these: I INVITE, A ACK, B BYE, C CANCEL, R REGISTER, O OPTIONS, S SUBSCRIBE, P PUBLISH, N NOTIFY, M MESSAGE, U UPDATE, F REFER, G GET, K KDMQ."),
    ];
    macro_rules! is_method {
        ($($name:literal $m:ident),*) => { $(v.push(function($name, |c: &mut Ctx| c.msg.method() == Method::$m).doc("Whether the method is the named one.")));* };
    }
    is_method!(
        "is_INVITE" Invite, "is_ACK" Ack, "is_BYE" Bye, "is_CANCEL" Cancel, "is_REGISTER" Register, "is_OPTIONS" Options,
        "is_SUBSCRIBE" Subscribe, "is_PUBLISH" Publish, "is_NOTIFY" Notify, "is_REFER" Refer, "is_INFO" Info, "is_UPDATE" Update,
        "is_PRACK" Prack, "is_MESSAGE" Message, "is_KDMQ" Kdmq, "is_GET" Get, "is_POST" Post, "is_PUT" Put, "is_DELETE" Delete
    );
    v
}

fn method_in(ctx: &mut Ctx, letters: &[u8]) -> bool {
    let letter = match ctx.msg.method() {
        Method::Invite => b'I',
        Method::Ack => b'A',
        Method::Bye => b'B',
        Method::Cancel => b'C',
        Method::Register => b'R',
        Method::Options => b'O',
        Method::Subscribe => b'S',
        Method::Publish => b'P',
        Method::Notify => b'N',
        Method::Message => b'M',
        Method::Update => b'U',
        Method::Refer => b'F',
        Method::Get => b'G',
        Method::Kdmq => b'K',
        _ => return false,
    };
    letters.contains(&letter)
}

fn transport_functions() -> Vec<Function> {
    let from = |p: Proto| move |c: &mut Ctx| c.rcv.proto == p;
    let to = |p: &'static [Proto]| {
        move |c: &mut Ctx| c.outgoing.as_ref().is_some_and(|(_, _, o)| p.contains(o))
    };
    let v6 = |want: bool| {
        move |c: &mut Ctx| {
            c.outgoing
                .as_ref()
                .is_some_and(|(_, a, _)| a.is_ipv6() == want)
        }
    };
    vec![
        function("is_UDP", from(Proto::Udp)).doc("Whether it came over UDP."),
        function("is_TCP", from(Proto::Tcp)).doc("Whether it came over TCP."),
        function("is_TCPX", |c: &mut Ctx| {
            matches!(
                c.rcv.proto,
                Proto::Tcp | Proto::Tls | Proto::Ws | Proto::Wss
            )
        })
        .doc("Whether it came over a stream."),
        function("is_TLS", from(Proto::Tls)).doc("Whether it came over TLS."),
        function("is_WS", from(Proto::Ws)).doc("Whether it came over WebSocket."),
        function("is_WSS", from(Proto::Wss)).doc("Whether it came over secure WebSocket."),
        function("is_WSX", |c: &mut Ctx| {
            matches!(c.rcv.proto, Proto::Ws | Proto::Wss)
        })
        .doc("Whether it came over WebSocket, secure or not."),
        function("is_SCTP", from(Proto::Sctp)).doc("Whether it came over SCTP."),
        function("is_proto", is_proto).args(["letters"]).doc(
            "Whether it came over one of these: U UDP, T TCP, S TLS, C SCTP, W WS, N WSS, E any.",
        ),
        function("is_IPv4", |c: &mut Ctx| c.rcv.src.is_ipv4()).doc("Whether it came over IPv4."),
        function("is_IPv6", |c: &mut Ctx| c.rcv.src.is_ipv6()).doc("Whether it came over IPv6."),
        function("to_UDP", to(&[Proto::Udp])).doc("In onsend_route: whether it goes over UDP."),
        function("to_TCP", to(&[Proto::Tcp])).doc("In onsend_route: whether it goes over TCP."),
        function("to_TLS", to(&[Proto::Tls])).doc("In onsend_route: whether it goes over TLS."),
        function("to_SCTP", to(&[Proto::Sctp])).doc("In onsend_route: whether it goes over SCTP."),
        function("to_WS", to(&[Proto::Ws])).doc("In onsend_route: whether it goes over WebSocket."),
        function("to_WSS", to(&[Proto::Wss]))
            .doc("In onsend_route: whether it goes over secure WebSocket."),
        function("to_WSX", to(&[Proto::Ws, Proto::Wss]))
            .doc("In onsend_route: whether it goes over WebSocket, secure or not."),
        function("to_IPv4", v6(false)).doc("In onsend_route: whether it goes over IPv4."),
        function("to_IPv6", v6(true)).doc("In onsend_route: whether it goes over IPv6."),
        function("is_src_port", |c: &mut Ctx, p: i64| {
            i64::from(c.rcv.src.port()) == p
        })
        .args(["port"])
        .doc("Whether it came from this port."),
        function("is_dst_port", |c: &mut Ctx, p: i64| {
            i64::from(c.rcv.dst.port()) == p
        })
        .args(["port"])
        .doc("Whether it came to this port."),
    ]
}

fn sending_functions() -> Vec<Function> {
    vec![
        function("set_drop", |c: &mut Ctx| c.end = End::Drop)
            .doc("Ends the routing; a reply or branch is not forwarded."),
        function("force_rport", |c: &mut Ctx| {
            c.force_rport = true;
            true
        })
        .cfg("force_rport")
        .cfg("add_rport")
        .doc("Sends replies to the source port, as if the sender had asked (RFC 3581)."),
        function("add_local_rport", |c: &mut Ctx| {
            c.add_local_rport = true;
            true
        })
        .cfg("add_local_rport")
        .doc("Adds rport to our Via."),
        function("forward", forward).doc("Forwards the request without state."),
        function("forward_uri", |c: &mut Ctx, u: &[u8]| {
            c.dst_uri = Some(u.to_vec());
            forward(c)
        })
        .args(["uri"])
        .doc("Forwards the request to a URI without state."),
        function("set_forward_close", |c: &mut Ctx| {
            c.ext::<net::Wishes>().request.close = true;
            true
        })
        .cfg("set_forward_close")
        .doc("Close the connection after forwarding."),
        function("set_forward_no_connect", |c: &mut Ctx| {
            c.ext::<net::Wishes>().request.no_connect = true;
            true
        })
        .cfg("set_forward_no_connect")
        .doc("Open no connection to forward the request."),
        function("set_reply_close", |c: &mut Ctx| {
            c.ext::<net::Wishes>().reply.close = true;
            true
        })
        .cfg("set_reply_close")
        .doc("Close the connection after the reply."),
        function("set_reply_no_connect", |c: &mut Ctx| {
            c.ext::<net::Wishes>().reply.no_connect = true;
            true
        })
        .cfg("set_reply_no_connect")
        .doc("Open no connection to send the reply."),
        function("set_advertised_address", |c: &mut Ctx, a: &str| {
            c.advertised.0 = Some(a.to_string());
            1i64
        })
        .cfg("set_advertised_address")
        .args(["host"])
        .doc("Host for our Via and Record-Route."),
        function("set_advertised_port", set_advertised_port)
            .cfg("set_advertised_port")
            .args(["port"])
            .doc("Port for our Via and Record-Route."),
        function("add_tcp_alias", |c: &mut Ctx, p: i64| {
            c.tcp_alias = u16::try_from(p).ok();
            alias(c);
            1i64
        })
        .args(["port"])
        .doc("Lets this connection be used for requests to the sender's address and this port."),
        function("add_tcp_alias_via", |c: &mut Ctx| {
            alias(c);
            1i64
        })
        .doc("Lets this connection be used for requests to the address in Via."),
        function("route", call_route)
            .args(["name"])
            .routes(ANY)
            .doc("Runs a route of the script by name."),
    ]
}

/// The native names of these that belong to the module `kex`.
pub(super) fn of_kex() -> Vec<Function> {
    let names = ["setdsturi", "resetdsturi", "isdsturiset", "is_myself"];
    uri_functions()
        .into_iter()
        .filter(|f| names.contains(&f.name))
        .map(|f| {
            let name = f.name;
            f.native_only().cfg(name)
        })
        .collect()
}

/// Whether a URI's host and port are this server; where it has no port, whatever port we listen on. A
/// host alone will do.
pub fn uri_is_mine(uri: &[u8]) -> bool {
    let is_uri = [&b"sip:"[..], b"sips:"].iter().any(|s| {
        uri.get(..s.len())
            .is_some_and(|u| u.eq_ignore_ascii_case(s))
    });
    if !is_uri {
        return own::is_my_host(uri);
    }
    Uri::parse(uri).is_ok_and(|u| match u.port {
        Some(port) => own::is_myself(u.host, port, None),
        None => own::is_my_host(u.host),
    })
}

/// Changes the request URI in place. False where it is none, or would be none.
pub fn edit_uri(
    ctx: &mut Ctx,
    f: impl FnOnce(&mut UriBuf) -> Result<(), olelo_sip::ParseError>,
) -> bool {
    let Ok(mut b) = UriBuf::parse(ctx.ruri()) else {
        return false;
    };
    let done = f(&mut b).is_ok();
    if done {
        ctx.new_uri = Some(b.into_bytes());
    }
    done
}

fn src_is_mine(ctx: &mut Ctx) -> bool {
    own::is_myself(
        ctx.rcv.src.ip().to_string().as_bytes(),
        ctx.rcv.src.port(),
        Some(ctx.rcv.proto),
    )
}

fn is_proto(ctx: &mut Ctx, letters: &[u8]) -> bool {
    let letter = match ctx.rcv.proto {
        Proto::Udp => b'u',
        Proto::Tcp => b't',
        Proto::Tls => b's',
        Proto::Sctp => b'c',
        Proto::Ws => b'w',
        Proto::Wss => b'n',
    };
    letters
        .iter()
        .any(|l| l.eq_ignore_ascii_case(&letter) || l.eq_ignore_ascii_case(&b'e'))
}

fn set_advertised_port(ctx: &mut Ctx, port: &str) -> Result<i64, ScriptError> {
    let p = port
        .trim()
        .parse()
        .map_err(|_| ScriptError(format!("\"{port}\" is no port")))?;
    ctx.advertised.1 = Some(p);
    Ok(1)
}

/// Forwards the request to its next hop without state: 1, or -1 where that failed.
pub(super) fn forward(ctx: &mut Ctx) -> i64 {
    match target::of_request(ctx) {
        Ok(dst) => {
            if reply::forward_request(ctx, &dst) {
                1
            } else {
                -1
            }
        }
        Err(e) => {
            crate::warn!("core", "can't forward: {e}");
            -1
        }
    }
}

/// Makes the connection usable for requests to the sender's advertised port (RFC 5923's idea).
pub(super) fn alias(ctx: &mut Ctx) {
    let Some(conn) = ctx.rcv.conn else { return };
    let port = ctx
        .tcp_alias
        .filter(|p| *p != 0)
        .or_else(|| ctx.msg.via(0).and_then(|v| v.port))
        .unwrap_or(5060);
    crate::net::tcp::add_alias(conn, std::net::SocketAddr::new(ctx.rcv.src.ip(), port));
}

fn call_route(ctx: &mut Ctx, name: &str) -> Result<i64, ScriptError> {
    let kind = if ctx.msg.is_request() {
        ctx.route
    } else {
        CORE_ONREPLY
    };
    match run::call(ctx, name, None, kind) {
        Outcome::Return(n) => Ok(n),
        Outcome::Exit => {
            ctx.end = End::Exit;
            Ok(0)
        }
        Outcome::Drop => {
            ctx.end = End::Drop;
            Ok(0)
        }
        Outcome::Missing => Err(ScriptError(format!("no route {name}"))),
        Outcome::Failed(e) | Outcome::OutOfBudget(e) => Err(ScriptError(e)),
        Outcome::Suspended(_) => Ok(0),
    }
}
