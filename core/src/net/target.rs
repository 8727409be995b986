//! From a URI to a destination: transport, address and socket (RFC 3263 without NAPTR and SRV).

use super::{Dst, Proto, SendFlags, SocketId};
use crate::route::ctx::Ctx;
use olelo_sip::uri::Uri;
use std::net::{IpAddr, SocketAddr};

/// Why a URI leads nowhere.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum TargetError {
    /// It is no URI.
    #[error("\"{0}\" is no SIP URI")]
    BadUri(String),
    /// Its host has no address.
    #[error("the host \"{0}\" can't be resolved")]
    Unresolved(String),
    /// No socket fits.
    #[error("no {0} socket of this address family to send from")]
    NoSocket(&'static str),
}

/// Where a request with this next hop goes. `force` is the socket asked for (`$fs`), `came_by` the
/// socket the message arrived on, which is preferred among equals.
pub fn resolve(
    uri: &[u8],
    force: Option<SocketId>,
    came_by: Option<SocketId>,
) -> Result<Dst, TargetError> {
    let shown = || String::from_utf8_lossy(uri).into_owned();
    let u = Uri::parse(uri).map_err(|_| TargetError::BadUri(shown()))?;
    let proto = match u.transport() {
        Some(t) => {
            Proto::from_name(t.as_str().as_bytes()).ok_or_else(|| TargetError::BadUri(shown()))?
        }
        None if u.scheme == olelo_sip::Scheme::Sips => Proto::Tls,
        None => Proto::Udp,
    };
    let host = u.maddr().unwrap_or(u.host);
    let host = std::str::from_utf8(host).map_err(|_| TargetError::BadUri(shown()))?;
    let port = u.port.filter(|p| *p != 0).unwrap_or(proto.default_port());
    let ip = resolve_host(host, proto).ok_or_else(|| TargetError::Unresolved(host.to_string()))?;
    to(proto, SocketAddr::new(ip, port), force, came_by)
}

/// The destination for a transport and address, with a socket to send from.
pub fn to(
    proto: Proto,
    addr: SocketAddr,
    force: Option<SocketId>,
    came_by: Option<SocketId>,
) -> Result<Dst, TargetError> {
    let sockets = &crate::server().sockets;
    let fits = |id: SocketId| {
        sockets
            .get(id)
            .filter(|l| l.proto == proto && l.addr.is_ipv6() == addr.is_ipv6())
            .map(|l| l.id)
    };
    let socket = force
        .and_then(fits)
        .or_else(|| {
            crate::server()
                .config
                .mhomed
                .then(|| by_route(proto, addr))
                .flatten()
        })
        .or_else(|| came_by.and_then(fits))
        .or_else(|| sockets.first(proto, addr.is_ipv6()).map(|l| l.id));
    match socket {
        Some(socket) => Ok(Dst {
            proto,
            addr,
            socket,
            conn: None,
            flags: SendFlags::default(),
        }),
        None => Err(TargetError::NoSocket(proto.name())),
    }
}

/// The destination of the request in `ctx` (`$du`, else the request URI).
pub fn of_request(ctx: &Ctx) -> Result<Dst, TargetError> {
    let mut dst = resolve(ctx.next_hop(), ctx.send_socket, Some(ctx.rcv.socket))?;
    dst.conn = ctx.dst_conn;
    dst.flags = super::wishes(ctx).request;
    Ok(dst)
}

/// Protocol for this message where it is too large for UDP (`udp_mtu_try_proto(…)`).
#[derive(Default)]
pub struct LargeProto(pub Option<Proto>);

/// Where a request of this many bytes goes instead, if it is larger than `udp_mtu` and was to go over
/// UDP (RFC 3261 §18.1.1).
pub fn for_size(ctx: &Ctx, dst: &Dst, bytes: usize) -> Option<Dst> {
    let config = &crate::server::try_server()?.config;
    if dst.proto != Proto::Udp || config.udp_mtu == 0 || bytes <= config.udp_mtu {
        return None;
    }
    let asked = ctx.ext_ref::<LargeProto>().and_then(|l| l.0);
    let proto = asked.or(config.udp_mtu_try_proto)?;
    if proto == Proto::Udp {
        return None;
    }
    let mut other = to(proto, dst.addr, ctx.send_socket, Some(ctx.rcv.socket)).ok()?;
    other.flags = dst.flags;
    Some(other)
}

/// The address of a host: numeric, or resolved, preferring a family that a socket exists for.
pub fn resolve_host(host: &str, proto: Proto) -> Option<IpAddr> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse() {
        return Some(ip);
    }
    let sockets = &crate::server().sockets;
    let found = crate::dns::lookup(bare);
    found
        .iter()
        .find(|ip| sockets.first(proto, ip.is_ipv6()).is_some())
        .or(found.first())
        .copied()
}

/// The socket whose address the kernel would use towards `addr` (`mhomed`).
fn by_route(proto: Proto, addr: SocketAddr) -> Option<SocketId> {
    let any: SocketAddr = if addr.is_ipv6() {
        "[::]:0".parse().ok()?
    } else {
        "0.0.0.0:0".parse().ok()?
    };
    let probe = std::net::UdpSocket::bind(any).ok()?;
    probe.connect(addr).ok()?;
    let local = probe.local_addr().ok()?.ip();
    crate::server()
        .sockets
        .0
        .iter()
        .find(|l| l.proto == proto && l.addr.ip() == local)
        .map(|l| l.id)
}
