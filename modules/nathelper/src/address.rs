//! Which addresses are private, and how an address is written as a URI or an `alias` parameter.

use crate::NAT_ADDR_MODE;
use olelo_core::net::Proto;
use olelo_core::net::socket::host_text;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Networks that are not routed, as (network, prefix length, counts always).
const PRIVATE: &[(Ipv4Addr, u32, bool)] = &[
    (Ipv4Addr::new(10, 0, 0, 0), 8, true),     // RFC 1918
    (Ipv4Addr::new(172, 16, 0, 0), 12, true),  // RFC 1918
    (Ipv4Addr::new(192, 168, 0, 0), 16, true), // RFC 1918
    (Ipv4Addr::new(100, 64, 0, 0), 10, true),  // RFC 6598
    (Ipv4Addr::new(192, 0, 0, 0), 29, true),   // RFC 7335
    (Ipv4Addr::new(192, 0, 0, 0), 24, false),  // RFC 7335, with nat_addr_mode 1
];

/// Whether a host is written as an address of a private network.
pub fn is_private(host: &[u8]) -> bool {
    olelo_sip::uri::host_ip(host).is_some_and(is_private_ip)
}

/// Whether an address is of a private network.
pub fn is_private_ip(ip: IpAddr) -> bool {
    let IpAddr::V4(v4) = ip.to_canonical() else {
        return false;
    };
    PRIVATE.iter().any(|(net, len, always)| {
        (*always || NAT_ADDR_MODE.is_on()) && (u32::from(v4) ^ u32::from(*net)) >> (32 - len) == 0
    })
}

/// `sip:192.0.2.1:5060`, with `;transport=` unless that is UDP.
pub fn uri(addr: SocketAddr, proto: Proto) -> String {
    let mut out = format!("sip:{}:{}", host_text(addr.ip()), addr.port());
    if proto != Proto::Udp {
        out.push_str(";transport=");
        out.push_str(proto.name());
    }
    out
}

/// `192.0.2.1~5060~1`: the transport by its number.
pub fn alias(host: &str, port: u16, proto: Proto) -> String {
    format!("{host}~{port}~{}", proto as u8)
}

/// The URI that an alias stands for.
pub fn alias_uri(alias: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(alias).ok()?;
    let mut parts = text.split('~');
    let (host, port, proto) = (parts.next()?, parts.next()?, parts.next()?);
    olelo_sip::uri::host_ip(host.as_bytes())?;
    let port: u16 = port.parse().ok()?;
    let proto = Proto::from_number(proto.parse().ok()?)?;
    if parts.next().is_some() {
        return None;
    }
    Some(format!("sip:{host}:{port};transport={}", proto.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_networks() {
        for (host, want) in [
            ("10.0.0.1", true),
            ("11.0.0.1", false),
            ("172.15.255.255", false),
            ("172.16.0.0", true),
            ("172.31.255.255", true),
            ("172.32.0.0", false),
            ("192.168.255.1", true),
            ("192.169.0.1", false),
            ("100.63.0.1", false),
            ("100.64.0.1", true),
            ("192.0.0.7", true),
            ("192.0.0.200", true),
            ("192.0.1.1", false),
            ("[2001:db8::1]", false),
            ("example.org", false),
            ("", false),
        ] {
            assert_eq!(is_private(host.as_bytes()), want, "{host}");
        }
    }

    #[test]
    fn an_alias_leads_back_to_its_address() {
        let shown = alias("192.0.2.1", 5070, Proto::Tcp);
        assert_eq!(shown, "192.0.2.1~5070~2");
        assert_eq!(
            alias_uri(shown.as_bytes()).as_deref(),
            Some("sip:192.0.2.1:5070;transport=tcp")
        );
        for bad in [
            "",
            "x~1~1",
            "192.0.2.1~99999~1",
            "192.0.2.1~1~9",
            "192.0.2.1~1",
            "192.0.2.1~1~1~1",
        ] {
            assert_eq!(alias_uri(bad.as_bytes()), None, "{bad}");
        }
    }
}
