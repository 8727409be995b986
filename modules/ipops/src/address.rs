//! Addresses as text: what they are, of which kind, whether two are one, in which network.
//!
//! An IPv6 address in brackets is a reference (RFC 3986 §3.2.2). An IPv4 address inside of an IPv6
//! one is another address than itself alone.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A text that is an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Address {
    /// IPv4.
    V4(Ipv4Addr),
    /// IPv6.
    V6(Ipv6Addr),
    /// IPv6 in brackets.
    Reference(Ipv6Addr),
}

impl Address {
    /// Reads a whole text.
    pub(crate) fn parse(text: &[u8]) -> Option<Address> {
        let text = std::str::from_utf8(text).ok()?;
        if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
            return inner.parse().ok().map(Address::Reference);
        }
        match text.parse().ok()? {
            IpAddr::V4(a) => Some(Address::V4(a)),
            IpAddr::V6(a) => Some(Address::V6(a)),
        }
    }

    /// As `ip_type()` numbers them.
    pub(crate) fn number(self) -> i64 {
        match self {
            Address::V4(_) => 1,
            Address::V6(_) => 2,
            Address::Reference(_) => 3,
        }
    }

    /// The address without brackets.
    pub(crate) fn ip(self) -> IpAddr {
        match self {
            Address::V4(a) => a.into(),
            Address::V6(a) | Address::Reference(a) => a.into(),
        }
    }

    /// The address, if it is written without brackets.
    pub(crate) fn pure(self) -> Option<IpAddr> {
        (!matches!(self, Address::Reference(_))).then_some(self.ip())
    }
}

/// Whether an address without brackets is in one of the networks of a comma list. Entries that are
/// no networks are passed over.
pub(crate) fn in_subnets(address: &[u8], list: &[u8]) -> bool {
    let Some(ip) = Address::parse(address).and_then(Address::pure) else {
        return false;
    };
    list.split(|b| *b == b',')
        .any(|one| in_subnet(ip, one.trim_ascii()))
}

fn in_subnet(ip: IpAddr, net: &[u8]) -> bool {
    let Ok(net) = std::str::from_utf8(net) else {
        return false;
    };
    match net.parse::<IpNet>() {
        Ok(n) => n.contains(&ip),
        Err(_) => net.parse() == Ok(ip),
    }
}

/// RFC 1918.
pub(crate) fn is_private(address: Address) -> bool {
    matches!(address, Address::V4(a) if a.is_private())
}

/// The kind of network an address is of, in the words of the original.
pub(crate) fn kind(ip: IpAddr) -> &'static str {
    let (table, rest) = match ip {
        IpAddr::V4(_) => (V4, "PUBLIC"),
        IpAddr::V6(_) => (V6, "RESERVED"),
    };
    table
        .iter()
        .find(|(net, _)| in_subnet(ip, net.as_bytes()))
        .map_or(rest, |(_, kind)| kind)
}

/// RFC 6890 and the registries it began; the first that fits counts.
const V4: &[(&str, &str)] = &[
    ("0.0.0.0/8", "PRIVATE"),
    ("10.0.0.0/8", "PRIVATE"),
    ("100.64.0.0/10", "SHARED"),
    ("127.0.0.0/8", "LOOPBACK"),
    ("169.254.0.0/16", "LINK-LOCAL"),
    ("172.16.0.0/12", "PRIVATE"),
    ("192.0.0.0/24", "RESERVED"),
    ("192.0.2.0/24", "TEST-NET"),
    ("192.88.99.0/24", "6TO4-RELAY"),
    ("192.168.0.0/16", "PRIVATE"),
    ("198.18.0.0/15", "RESERVED"),
    ("198.51.100.0/24", "TEST-NET"),
    ("203.0.113.0/24", "TEST-NET"),
    ("224.0.0.0/4", "MULTICAST"),
    ("255.255.255.255/32", "BROADCAST"),
    ("240.0.0.0/4", "RESERVED"),
];

const V6: &[(&str, &str)] = &[
    ("::/128", "UNSPECIFIED"),
    ("::1/128", "LOOPBACK"),
    ("::ffff:0:0/96", "IPV4MAP"),
    ("100::/64", "DISCARD"),
    ("2001::/32", "TEREDO"),
    ("2001:2::/48", "BMWG"),
    ("2001:db8::/32", "DOCUMENTATION"),
    ("2001:10::/28", "ORCHID"),
    ("2002::/16", "6TO4"),
    ("2000::/3", "GLOBAL-UNICAST"),
    ("fc00::/7", "UNIQUE-LOCAL-UNICAST"),
    ("fe80::/10", "LINK-LOCAL-UNICAST"),
    ("ff00::/8", "MULTICAST"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_what_the_original_takes_them_for() {
        for (text, number) in [
            ("1.2.3.4", 1),
            ("::1", 2),
            ("[::1]", 3),
            ("::ffff:1.2.3.4", 2),
            ("1080:0:0:0:8:800:200C:417A", 2),
            ("300.1.1.1", -1),
            ("1.2.3", -1),
            ("01.2.3.4", -1),
            ("1.2.3.4:5060", -1),
            ("[1.2.3.4]", -1),
            ("fe80::1%eth0", -1),
            ("abc", -1),
            ("", -1),
        ] {
            let n = Address::parse(text.as_bytes()).map_or(-1, Address::number);
            assert_eq!(n, number, "{text}");
        }
    }

    #[test]
    fn kinds_are_those_of_the_original() {
        for (ip, want) in [
            ("0.1.2.3", "PRIVATE"),
            ("10.1.1.1", "PRIVATE"),
            ("100.64.1.1", "SHARED"),
            ("100.128.0.1", "PUBLIC"),
            ("127.0.0.1", "LOOPBACK"),
            ("169.254.1.1", "LINK-LOCAL"),
            ("172.16.0.1", "PRIVATE"),
            ("172.32.0.1", "PUBLIC"),
            ("192.0.0.1", "RESERVED"),
            ("192.0.2.1", "TEST-NET"),
            ("192.88.99.1", "6TO4-RELAY"),
            ("198.18.0.1", "RESERVED"),
            ("239.1.1.1", "MULTICAST"),
            ("240.0.0.1", "RESERVED"),
            ("255.255.255.255", "BROADCAST"),
            ("8.8.8.8", "PUBLIC"),
            ("::", "UNSPECIFIED"),
            ("::1", "LOOPBACK"),
            ("::ffff:1.2.3.4", "IPV4MAP"),
            ("::1.2.3.4", "RESERVED"),
            ("64:ff9b::1", "RESERVED"),
            ("100::1", "DISCARD"),
            ("100:1::1", "RESERVED"),
            ("2001::1", "TEREDO"),
            ("2001:2::1", "BMWG"),
            ("2001:db8::1", "DOCUMENTATION"),
            ("2001:10::1", "ORCHID"),
            ("2001:20::1", "GLOBAL-UNICAST"),
            ("2002::1", "6TO4"),
            ("2400::1", "GLOBAL-UNICAST"),
            ("3fff::1", "GLOBAL-UNICAST"),
            ("4000::1", "RESERVED"),
            ("fd00::1", "UNIQUE-LOCAL-UNICAST"),
            ("fe80::1", "LINK-LOCAL-UNICAST"),
            ("fec0::1", "RESERVED"),
            ("ff02::1", "MULTICAST"),
        ] {
            assert_eq!(kind(ip.parse().unwrap()), want, "{ip}");
        }
        let all = V4.iter().chain(V6);
        assert!(all.into_iter().all(|(n, _)| n.parse::<IpNet>().is_ok()));
    }

    #[test]
    fn networks_contain() {
        for (ip, list, want) in [
            ("10.0.123.123", "10.0.123.1/24", true),
            ("10.0.123.123", "10.0.0.0/16,192.168.0.0/24", true),
            ("192.168.0.5", "10.0.0.0/16, 192.168.0.0/24", true),
            ("192.168.1.5", "10.0.0.0/16, 192.168.0.0/24", false),
            ("1.2.3.4", "1.2.3.4", true),
            ("1.2.3.4", "1.2.3.4/33", false),
            ("::1", "::/64", true),
            ("[::1]", "::/64", false),
            ("::1", "[::]/64", false),
            ("1.2.3.4", "bad,1.0.0.0/8", true),
            ("bad", "1.0.0.0/8", false),
            ("1.2.3.4", "0.0.0.0/0", true),
            ("1.2.3.4", "1.2.3.0/255.255.255.0", false),
            ("1.2.3.4", "1.0.0.0/", false),
            ("1.2.3.4", "", false),
        ] {
            assert_eq!(
                in_subnets(ip.as_bytes(), list.as_bytes()),
                want,
                "{ip} in {list}"
            );
        }
    }
}
