//! Which addresses and names are this server: `myself`, `alias`, the listening sockets.

use super::Proto;
use olelo_cfg::ast;
use std::net::IpAddr;
use std::sync::RwLock;

/// Checks that other modules add (`corex`'s `alias_subdomains`, `domain`'s `register_myself`).
static MORE: RwLock<Vec<Check>> = RwLock::new(Vec::new());
/// Whether a host and port (0: none given) are this server.
pub type Check = fn(&str, u16, Option<Proto>) -> bool;

/// Adds a check; main, in a module's `init`.
pub fn add_check(f: Check) {
    if let Ok(mut m) = MORE.write() {
        m.push(f);
    }
}

/// Whether `host` and `port` (0: the URI has none) name this server.
pub fn is_myself(host: &[u8], port: u16, proto: Option<Proto>) -> bool {
    is_mine(host, Some(port), proto)
}

/// Whether `host` names this server, whatever the port.
pub fn is_my_host(host: &[u8]) -> bool {
    is_mine(host, None, None)
}

/// `port`: none for any, 0 for that which the protocol has where none is given.
fn is_mine(host: &[u8], port: Option<u16>, proto: Option<Proto>) -> bool {
    let s = crate::server();
    let Ok(host) = std::str::from_utf8(host) else {
        return false;
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    // Most hosts are names: a look at them costs less than an attempt to read an address.
    let maybe_ip = bare.starts_with(|c: char| c.is_ascii_hexdigit() || c == ':')
        && !bare.contains(|c: char| c.is_ascii_alphabetic() && !c.is_ascii_hexdigit());
    let ip: Option<IpAddr> = maybe_ip.then(|| bare.parse().ok()).flatten();
    let same_port = |own: u16, p: Proto| match port {
        None => true,
        Some(0) => own == p.default_port(),
        Some(port) => port == own,
    };
    for l in &s.sockets.0 {
        if proto.is_some_and(|p| p != l.proto) {
            continue;
        }
        if ip == Some(l.addr.ip()) && same_port(l.addr.port(), l.proto) {
            return true;
        }
        if l.given.iter().any(|g| g.eq_ignore_ascii_case(bare)) && same_port(l.addr.port(), l.proto)
        {
            return true;
        }
        if let Some((h, p)) = &l.advertise
            && h.trim_matches(['[', ']']).eq_ignore_ascii_case(bare)
            && same_port(*p, l.proto)
        {
            return true;
        }
    }
    if s.config
        .aliases
        .iter()
        .any(|a| alias_matches(a, bare, port, proto))
    {
        return true;
    }
    MORE.read()
        .is_ok_and(|m| m.iter().any(|f| f(bare, port.unwrap_or(0), proto)))
}

fn alias_matches(a: &ast::Alias, host: &str, port: Option<u16>, proto: Option<Proto>) -> bool {
    let alias_proto = a
        .proto
        .and_then(|p| Proto::from_name(p.as_str().as_bytes()));
    let port_fits = match (a.port, port) {
        (None, _) | (_, None) => true,
        (Some(p), Some(0)) => p == alias_proto.or(proto).unwrap_or(Proto::Udp).default_port(),
        (Some(p), Some(port)) => p == port,
    };
    port_fits
        && a.host.eq_ignore_ascii_case(host)
        && (alias_proto.is_none() || proto.is_none() || alias_proto == proto)
}
