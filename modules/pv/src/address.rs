//! Addresses: where the message came from and to (`$si` `$sp` `$Ri` …), the socket it leaves by
//! (`$fs`), and where it is being sent (`$snd(…)` …).

use olelo_core::net::socket::{Listen, host_text, sip_uri, socket_text};
use olelo_core::net::{Proto, SocketId};
use olelo_core::pv::{PvClass, PvKey, pv, pv_named};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::ScriptError;
use olelo_core::route::value::Val;
use std::net::{IpAddr, SocketAddr};

pub(crate) fn classes() -> Vec<PvClass> {
    let si = |n| pv(n, |c, _| Val::from(c.rcv.src.ip().to_string())).doc("The source address.");
    let pr = |n| pv(n, |c, _| Val::text(c.rcv.proto.name())).doc("The transport it came over.");
    let rcv = |n| {
        pv_named(n, received).doc("How it was received: buf, len, proto, protoid, srcip, srcport, rcvip, rcvport, rcvaip, rcvaport, af.")
    };
    vec![
        si("si"),
        si("src_ip"),
        pv("siz", |c, _| Val::from(host_text(c.rcv.src.ip())))
            .doc("The source address, IPv6 in brackets."),
        pv("sid", |_, _| {
            Val::Int(olelo_core::server().config.server_id)
        })
        .doc("The server's id."),
        pv("sp", |c, _| Val::Int(i64::from(c.rcv.src.port()))).doc("The source port."),
        pv("su", |c, _| {
            Val::from(sip_uri(c.rcv.src, c.rcv.proto, false))
        })
        .doc("The source as a URI."),
        pv("sut", |c, _| {
            Val::from(sip_uri(c.rcv.src, c.rcv.proto, true))
        })
        .doc("The source as a URI with its transport."),
        pv("sas", |c, _| Val::from(socket_text(c.rcv.src, c.rcv.proto)))
            .doc("The source as a socket: proto:address:port."),
        pr("pr"),
        pr("proto"),
        pv("prid", |c, _| Val::Int(c.rcv.proto as i64)).doc("The transport as a number."),
        pv("conid", |c, _| {
            c.rcv
                .conn
                .map_or(Val::Null, |n| Val::Int(n.to_bits() as i64))
        })
        .doc("The connection it came over."),
        pv("Ri", |c, _| Val::from(c.rcv.dst.ip().to_string())).doc("Our address that it came to."),
        pv("Rp", |c, _| Val::Int(i64::from(c.rcv.dst.port()))).doc("Our port that it came to."),
        pv("Ru", |c, _| {
            Val::from(sip_uri(c.rcv.dst, c.rcv.proto, false))
        })
        .doc("Our address that it came to, as a URI."),
        pv("Rut", |c, _| {
            Val::from(sip_uri(c.rcv.dst, c.rcv.proto, true))
        })
        .doc("Our address that it came to, as a URI with its transport."),
        pv("Ras", |c, _| Val::from(socket_text(c.rcv.dst, c.rcv.proto)))
            .doc("Our socket that it came to: proto:address:port."),
        pv("Rn", |c, _| {
            listen(c.rcv.socket)
                .and_then(|l| l.name.as_deref())
                .map_or(Val::Null, Val::text)
        })
        .doc("Name of the socket that it came to."),
        pv("RAi", |c, _| Val::from(public(c).0)).doc("Our advertised address."),
        pv("RAp", |c, _| Val::Int(i64::from(public(c).1))).doc("Our advertised port."),
        pv("RAu", |c, _| Val::from(public_uri(c, false))).doc("Our advertised address as a URI."),
        pv("RAut", |c, _| Val::from(public_uri(c, true)))
            .doc("Our advertised address as a URI with its transport."),
        pv("fs", |c, _| {
            c.send_socket
                .and_then(listen)
                .map_or(Val::Null, |l| Val::from(l.text()))
        })
        .set(set_fs)
        .doc("The socket that the request leaves by: proto:address:port."),
        pv("fsn", |c, _| {
            c.send_socket
                .and_then(listen)
                .and_then(|l| l.name.as_deref())
                .map_or(Val::Null, Val::text)
        })
        .set(set_fs)
        .doc("The socket that the request leaves by, by its name."),
        pv("fsp", |c, _| {
            c.send_socket
                .and_then(listen)
                .map_or(Val::Int(0), |l| Val::Int(i64::from(l.addr.port())))
        })
        .doc("Port of the socket that the request leaves by."),
        pv_named("snd", sending)
            .doc("Where it is being sent, in onsend_route: ip, port, proto, sproto, buf, len, af."),
        pv_named("sndto", sending).doc("As $snd."),
        pv_named("sndfrom", sending_from).doc(
            "The socket it is being sent from, in onsend_route: ip, port, proto, sproto, af, name.",
        ),
        rcv("rcv").set(set_received),
        rcv("recv").set(set_received),
        pv_named("af", family).doc("The address family of an IP address: 4 or 6."),
    ]
}

fn listen(id: SocketId) -> Option<&'static Listen> {
    olelo_core::server().sockets.get(id)
}

/// Host and port that others are told.
pub(crate) fn public(ctx: &Ctx) -> (String, u16) {
    match listen(ctx.rcv.socket) {
        Some(l) => {
            let (h, p) = l.public();
            (h.to_string(), p)
        }
        None => (host_text(ctx.rcv.dst.ip()), ctx.rcv.dst.port()),
    }
}

fn public_uri(ctx: &Ctx, transport: bool) -> String {
    let (h, p) = public(ctx);
    let base = format!("sip:{h}:{p}");
    if transport || ctx.rcv.proto != Proto::Udp {
        format!("{base};transport={}", ctx.rcv.proto.name())
    } else {
        base
    }
}

fn set_fs(ctx: &mut Ctx, _: &PvKey<'_>, v: Val<'_>) -> Result<(), ScriptError> {
    let Some(text) = v.as_bytes().filter(|b| !b.is_empty()) else {
        ctx.send_socket = None;
        return Ok(());
    };
    let text = String::from_utf8_lossy(&text);
    match olelo_core::server().sockets.find(&text) {
        Some(l) => {
            ctx.send_socket = Some(l.id);
            Ok(())
        }
        None => Err(ScriptError(format!(
            "\"{text}\" is no socket of this server; is it in `listen`?"
        ))),
    }
}

fn of_address<'c>(a: SocketAddr, p: Proto, name: &[u8]) -> Val<'c> {
    match name {
        b"ip" | b"addr" => Val::from(a.ip().to_string()),
        b"port" => Val::Int(i64::from(a.port())),
        b"proto" => Val::Int(p as i64),
        b"sproto" => Val::text(p.name()),
        b"af" => Val::Int(if a.is_ipv6() { 6 } else { 4 }),
        _ => Val::Null,
    }
}

fn sending<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    match (&ctx.outgoing, key.name()) {
        (Some((bytes, ..)), b"buf") => Val::bytes(bytes),
        (Some((bytes, ..)), b"len") => Val::Int(bytes.len() as i64),
        (Some((_, a, p)), name) => of_address(*a, *p, name),
        (None, _) => Val::Null,
    }
}

fn sending_from<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    let socket = match &ctx.outgoing {
        Some((_, a, p)) => {
            olelo_core::net::target::to(*p, *a, ctx.send_socket, Some(ctx.rcv.socket))
                .ok()
                .map(|d| d.socket)
        }
        None => return Val::Null,
    };
    let Some(l) = socket.and_then(listen) else {
        return Val::Null;
    };
    match key.name() {
        b"name" => l.name.as_deref().map_or(Val::Null, Val::text),
        n => of_address(l.addr, l.proto, n),
    }
}

fn received<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    let r = &ctx.rcv;
    match key.name() {
        b"buf" => Val::bytes(ctx.msg.buf()),
        b"len" => Val::Int(ctx.msg.buf().len() as i64),
        b"proto" => Val::text(r.proto.name()),
        b"protoid" => Val::Int(r.proto as i64),
        b"srcip" => Val::from(r.src.ip().to_string()),
        b"srcport" => Val::Int(i64::from(r.src.port())),
        b"rcvip" => Val::from(r.dst.ip().to_string()),
        b"rcvport" => Val::Int(i64::from(r.dst.port())),
        b"rcvaip" => Val::from(public(ctx).0),
        b"rcvaport" => Val::Int(i64::from(public(ctx).1)),
        b"af" => Val::Int(if r.src.is_ipv6() { 6 } else { 4 }),
        _ => Val::Null,
    }
}

/// `$rcv(srcip)` and `$rcv(srcport)` may be set by a script that knows the true source.
fn set_received(ctx: &mut Ctx, key: &PvKey<'_>, v: Val<'_>) -> Result<(), ScriptError> {
    let text = v.as_bytes().unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let bad = || ScriptError(format!("\"{text}\" is no value for $rcv"));
    match key.name() {
        b"srcip" => ctx
            .rcv
            .src
            .set_ip(text.trim_matches(['[', ']']).parse().map_err(|_| bad())?),
        b"srcport" => ctx.rcv.src.set_port(text.parse().map_err(|_| bad())?),
        _ => {
            return Err(ScriptError::new(
                "of $rcv only srcip and srcport can be changed",
            ));
        }
    }
    Ok(())
}

fn family<'c>(_: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    match olelo_sip::uri::host_ip(key.name()) {
        Some(IpAddr::V4(_)) => Val::Int(4),
        Some(IpAddr::V6(_)) => Val::Int(6),
        None => Val::Null,
    }
}
