//! From a URI to destinations: transport, address and socket. [`crate::dns::locate`] has the rules.

use super::{Dst, Proto, SendFlags, SocketId};
use crate::dns::{self, blocklist, locate, params};
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
    /// It failed lately and is avoided for a while.
    #[error("{0} failed lately; dst_blocklist.view shows for how long it is avoided")]
    Avoided(SocketAddr),
}

/// A next hop, and how it may be reached.
#[derive(Debug, Clone, Copy)]
pub struct Hop<'a> {
    /// The URI.
    pub uri: &'a [u8],
    /// The socket asked for (`$fs`).
    pub force: Option<SocketId>,
    /// The socket the message arrived on, which is preferred among equals.
    pub came_by: Option<SocketId>,
    /// The transport, whatever the URI says.
    pub proto: Option<Proto>,
    /// Leave out what failed lately (`use_dst_blocklist`).
    pub avoid_listed: bool,
}

/// Where a request with this next hop goes. `force` is the socket asked for (`$fs`), `came_by` the
/// socket the message arrived on, which is preferred among equals.
pub fn resolve(
    uri: &[u8],
    force: Option<SocketId>,
    came_by: Option<SocketId>,
) -> Result<Dst, TargetError> {
    let hop = Hop {
        uri,
        force,
        came_by,
        proto: None,
        avoid_listed: false,
    };
    Ok(find(&hop, 1)?.0)
}

/// The first place that a next hop leads to, and with `use_dns_failover` those to try if it fails.
pub fn resolve_all(hop: &Hop<'_>) -> Result<(Dst, Vec<Dst>), TargetError> {
    let most = match params::USE_FAILOVER.is_on() {
        true => locate::MOST_PLACES,
        false => 1,
    };
    find(hop, most)
}

fn find(hop: &Hop<'_>, most: usize) -> Result<(Dst, Vec<Dst>), TargetError> {
    let shown = || String::from_utf8_lossy(hop.uri).into_owned();
    let u = Uri::parse(hop.uri).map_err(|_| TargetError::BadUri(shown()))?;
    let proto = match (hop.proto, u.transport()) {
        (Some(p), _) => Some(p),
        (None, Some(t)) => Some(
            Proto::from_name(t.as_str().as_bytes()).ok_or_else(|| TargetError::BadUri(shown()))?,
        ),
        (None, None) if u.scheme == olelo_sip::Scheme::Sips => Some(Proto::Tls),
        (None, None) => None,
    };
    let host = u.maddr().unwrap_or(u.host);
    let host = std::str::from_utf8(host).map_err(|_| TargetError::BadUri(shown()))?;
    let port = u.port.filter(|p| *p != 0);
    let listed = |proto, addr| hop.avoid_listed && blocklist::is_listed(proto, addr);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse() {
        let proto = proto.unwrap_or(Proto::Udp);
        let addr = SocketAddr::new(ip, port.unwrap_or(proto.default_port()));
        if listed(proto, addr) {
            return Err(TargetError::Avoided(addr));
        }
        return Ok((to(proto, addr, hop.force, hop.came_by)?, Vec::new()));
    }
    let sockets = &crate::server().sockets;
    let reaches = |p| [false, true].map(|v6| sockets.first(p, v6).is_some());
    if let Some(p) = proto
        && reaches(p) == [false, false]
    {
        return Err(TargetError::NoSocket(p.name()));
    }
    let means = locate::Means {
        records: &dns::records,
        addresses: &|name, p| {
            let [v4, v6] = reaches(p);
            let all = most > 1;
            dns::addresses(name, dns::Families { v4, v6, all })
        },
        in_hosts: &|name| dns::conf::hosts(name).is_some(),
        can: &|p| reaches(p) != [false, false],
        chance: &|below| rand::random_range(0..below.max(1)),
    };
    let name = locate::Host {
        name: bare,
        port,
        proto,
    };
    // One that is avoided must not hide the next.
    let look_at = if hop.avoid_listed && params::USE_BLOCKLIST.is_on() {
        locate::MOST_PLACES
    } else {
        most
    };
    let places = locate::locate(&name, look_at, &means)
        .map_err(|_| TargetError::Unresolved(host.to_string()))?;
    let mut why = TargetError::Unresolved(host.to_string());
    let mut found = Vec::new();
    for (proto, addr) in places {
        if listed(proto, addr) {
            why = TargetError::Avoided(addr);
            continue;
        }
        match to(proto, addr, hop.force, hop.came_by) {
            Ok(dst) => found.push(dst),
            Err(e) => why = e,
        }
    }
    found.truncate(most);
    if found.is_empty() {
        return Err(why);
    }
    Ok((found.remove(0), found))
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
    let hop = Hop {
        uri: ctx.next_hop(),
        force: ctx.send_socket,
        came_by: Some(ctx.rcv.socket),
        proto: None,
        avoid_listed: true,
    };
    let mut dst = find(&hop, 1)?.0;
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
    let [v4, v6] = [false, true].map(|v6| sockets.first(proto, v6).is_some());
    // Without any socket an address is as good as another.
    let any = !v4 && !v6;
    let want = dns::Families {
        v4: v4 || any,
        v6: v6 || any,
        all: false,
    };
    dns::addresses(bare, want).ok()?.first().copied()
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
