//! RFC 3263: from the host of a URI to transports, addresses and ports, in the order to try them.
//!
//! A port, or a name that the hosts file has, leaves only the address to be found. Otherwise NAPTR
//! (with `dns_try_naptr`, where the URI names no transport) chooses transports; then the SRV records
//! of the transport, or of each that there is a socket for, by preference; and where there is none
//! the address of the name itself. What is asked is handed in ([`Means`]), so that the rules can be
//! tried without a network.

use super::record::{self, Kind, Record};
use super::{Unanswered, params};
use crate::net::Proto;
use std::net::{IpAddr, SocketAddr};

/// Most places found for one host.
pub const MOST_PLACES: usize = 12;
/// Most records of one set that are looked into.
const MOST_RECORDS: usize = 16;

/// How often silence about a server makes another be tried.
const MOST_SILENCES: usize = 2;

/// What a URI says about where it leads.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    /// Its host, which is a name.
    pub name: &'a str,
    /// Its port.
    pub port: Option<u16>,
    /// Its transport.
    pub proto: Option<Proto>,
}

/// What there is, or why nobody knows.
pub type Answer<T> = Result<Vec<T>, Unanswered>;

/// How to find out.
pub struct Means<'a> {
    /// Records of a name.
    pub records: &'a dyn Fn(&str, Kind) -> Answer<Record>,
    /// Addresses of a name that this transport can reach.
    pub addresses: &'a dyn Fn(&str, Proto) -> Answer<IpAddr>,
    /// The hosts file has the name.
    pub in_hosts: &'a dyn Fn(&str) -> bool,
    /// There is a socket of this transport.
    pub can: &'a dyn Fn(Proto) -> bool,
    /// A number below the given one.
    pub chance: &'a dyn Fn(u32) -> u32,
}

/// A transport, an address, a port.
pub type Place = (Proto, SocketAddr);

/// Where a host is: at most `most` places. Empty where it is nowhere.
pub fn locate(host: &Host<'_>, most: usize, means: &Means<'_>) -> Result<Vec<Place>, Unanswered> {
    let mut found = Found {
        places: Vec::new(),
        most: most.clamp(1, MOST_PLACES),
        means,
    };
    let proto = host.proto.unwrap_or(Proto::Udp);
    if host.port.is_some() || (means.in_hosts)(host.name) {
        let port = host.port.unwrap_or(proto.default_port());
        found.addresses(host.name, proto, port)?;
        return Ok(found.places);
    }
    if host.proto.is_none() && params::TRY_NAPTR.is_on() {
        found.services(host.name)?;
        if !found.places.is_empty() {
            return Ok(found.places);
        }
    }
    for p in transports(host.proto, means) {
        let Some(service) = service_name(p, host.name) else {
            continue;
        };
        if found.servers(&service, p)? {
            return Ok(found.places);
        }
    }
    found.addresses(host.name, proto, proto.default_port())?;
    Ok(found.places)
}

/// The transports whose SRV records are asked for.
fn transports(asked: Option<Proto>, means: &Means<'_>) -> Vec<Proto> {
    if let Some(p) = asked {
        return vec![p];
    }
    let mut all: Vec<Proto> = [Proto::Udp, Proto::Tcp, Proto::Tls, Proto::Sctp]
        .into_iter()
        .filter(|p| (means.can)(*p) && params::preference(*p) >= 0)
        .collect();
    all.sort_by_key(|p| -params::preference(*p));
    all
}

/// RFC 3263 §4.1.
fn service_name(p: Proto, host: &str) -> Option<String> {
    let service = match p {
        Proto::Udp => "_sip._udp",
        Proto::Tcp => "_sip._tcp",
        Proto::Tls => "_sips._tcp",
        Proto::Sctp => "_sip._sctp",
        Proto::Ws | Proto::Wss => return None,
    };
    Some(format!("{service}.{host}"))
}

/// The transport of a NAPTR service.
fn transport_of(service: &str) -> Option<Proto> {
    let of = [
        ("SIP+D2U", Proto::Udp),
        ("SIP+D2T", Proto::Tcp),
        ("SIPS+D2T", Proto::Tls),
        ("SIP+D2S", Proto::Sctp),
    ];
    let is = |(name, _): &&(&str, Proto)| service.eq_ignore_ascii_case(name);
    of.iter().find(is).map(|(_, p)| *p)
}

struct Found<'a> {
    places: Vec<Place>,
    most: usize,
    means: &'a Means<'a>,
}

impl Found<'_> {
    fn is_full(&self) -> bool {
        self.places.len() >= self.most
    }

    /// What NAPTR records lead to.
    fn services(&mut self, name: &str) -> Result<(), Unanswered> {
        let mut all: Vec<(Proto, u16, u16, String, String)> =
            (self.means.records)(name, Kind::Naptr)?
                .into_iter()
                .filter_map(|r| match r {
                    Record::Naptr {
                        order,
                        preference,
                        flags,
                        services,
                        replacement,
                        ..
                    } => Some((
                        transport_of(&services)?,
                        order,
                        preference,
                        flags,
                        replacement,
                    )),
                    _ => None,
                })
                .filter(|(p, ..)| (self.means.can)(*p) && params::preference(*p) >= 0)
                .take(MOST_RECORDS)
                .collect();
        if params::NAPTR_IGNORE_RFC.is_on() {
            all.sort_by_key(|(p, order, pref, ..)| (-params::preference(*p), *order, *pref));
        } else {
            all.sort_by_key(|(p, order, pref, ..)| (*order, *pref, -params::preference(*p)));
        }
        for (proto, .., flags, replacement) in all {
            if self.is_full() {
                break;
            }
            if flags.eq_ignore_ascii_case("s") {
                self.servers(&replacement, proto)?;
            } else if flags.eq_ignore_ascii_case("a") {
                self.addresses(&replacement, proto, proto.default_port())?;
            }
        }
        Ok(())
    }

    /// What SRV records lead to. False where there are none.
    fn servers(&mut self, service: &str, proto: Proto) -> Result<bool, Unanswered> {
        let mut all = (self.means.records)(service, Kind::Srv)?;
        if params::SRV_LB.is_on() {
            record::sort(&mut all, |most| (self.means.chance)(most));
        } else {
            all.sort_by_key(|r| match r {
                Record::Srv {
                    priority, weight, ..
                } => (*priority, u16::MAX - weight),
                _ => (u16::MAX, u16::MAX),
            });
        }
        let any = !all.is_empty();
        let mut why = None;
        let mut unanswered = 0;
        for r in all.into_iter().take(MOST_RECORDS) {
            let Record::Srv { port, target, .. } = r else {
                continue;
            };
            // RFC 2782: "." says that there is no such service here.
            if target.is_empty() || self.is_full() {
                continue;
            }
            if let Err(e) = self.addresses(&target, proto, port) {
                why = Some(e);
                unanswered += 1;
            }
            // Each silence is a wait: what was found must do.
            if unanswered == MOST_SILENCES || unanswered > 0 && !self.places.is_empty() {
                break;
            }
        }
        match why {
            Some(e) if self.places.is_empty() => Err(e),
            _ => Ok(any),
        }
    }

    fn addresses(&mut self, name: &str, proto: Proto, port: u16) -> Result<(), Unanswered> {
        let ips = match name.parse() {
            Ok(ip) => vec![ip],
            Err(_) => (self.means.addresses)(name, proto)?,
        };
        for ip in ips {
            let place = (proto, SocketAddr::new(ip, port));
            if !self.is_full() && !self.places.contains(&place) {
                self.places.push(place);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::Zone;
    use super::*;
    use std::cell::RefCell;

    fn zone() -> Zone {
        Zone::new()
            .srv("_sip._udp.one.test", 20, 1, 5072, "h2.one.test")
            .srv("_sip._udp.one.test", 10, 1, 5070, "h1.one.test")
            .srv("_sip._udp.one.test", 10, 9, 5071, "h1.one.test")
            .srv("_sip._tcp.one.test", 10, 1, 5080, "h1.one.test")
            .srv("_sips._tcp.one.test", 10, 1, 5081, "h1.one.test")
            .srv("_sip._tcp.tcponly.test", 10, 1, 5090, "h1.one.test")
            .srv("_sip._udp.gone.test", 0, 0, 0, "")
            .a("gone.test", [192, 0, 2, 99])
            .a("h1.one.test", [192, 0, 2, 1])
            .a("h2.one.test", [192, 0, 2, 2])
            .a("h2.one.test", [192, 0, 2, 3])
            .a("one.test", [192, 0, 2, 9])
            .naptr("nap.test", 5, 1, "s", "SIP+D2T", "_sip._tcp.one.test")
            .naptr("nap.test", 9, 1, "s", "SIP+D2U", "_sip._udp.one.test")
            .naptr("nap.test", 1, 1, "s", "SIPS+D2T", "_sips._tcp.one.test")
            .naptr("nap.test", 0, 1, "u", "E2U+sip", "")
            .naptr("direct.test", 0, 1, "a", "SIP+D2U", "h2.one.test")
            .a("hosted.test", [192, 0, 2, 50])
            .srv("_sip._udp.hosted.test", 1, 1, 5099, "h1.one.test")
            .srv("_sip._udp.half.test", 1, 1, 1, "x.down.test")
            .srv("_sip._udp.half.test", 2, 1, 5070, "h1.one.test")
            .srv("_sip._udp.half.test", 3, 1, 5070, "h2.one.test")
            .srv("_sip._udp.dead.test", 1, 1, 1, "x.down.test")
            .srv("_sip._udp.dead.test", 2, 1, 1, "y.down.test")
            .srv("_sip._udp.dead.test", 3, 1, 5070, "h1.one.test")
            .fails("down.test")
    }

    /// Finds and returns it as text, with all that was asked.
    fn find(name: &str, port: Option<u16>, proto: Option<Proto>, most: usize) -> (String, String) {
        let (z, asked) = (zone(), RefCell::new(Vec::new()));
        let records = |n: &str, k: Kind| {
            asked.borrow_mut().push(format!("{}:{n}", k.name()));
            if n.ends_with("down.test") {
                return Err(Unanswered("silence".into()));
            }
            Ok(z.find(n, k))
        };
        let means = Means {
            records: &records,
            addresses: &|n, _| {
                let ips = records(n, Kind::A)?;
                Ok(ips
                    .into_iter()
                    .filter_map(|r| match r {
                        Record::Address(ip) => Some(ip),
                        _ => None,
                    })
                    .collect())
            },
            in_hosts: &|n| n == "hosted.test",
            can: &|p| matches!(p, Proto::Udp | Proto::Tcp),
            chance: &|most| most - 1,
        };
        let host = Host { name, port, proto };
        let found = match locate(&host, most, &means) {
            Ok(places) => places
                .iter()
                .map(|(p, a)| format!("{}:{a} ", p.name()))
                .collect(),
            Err(e) => e.to_string(),
        };
        let asked = asked.borrow().join(" ");
        (found.trim_end().to_string(), asked)
    }

    /// One test: all rows share the settings.
    #[test]
    fn the_rules_of_rfc_3263() {
        let _alone = super::super::fake::ALONE.lock();
        let (udp, tcp) = (Some(Proto::Udp), Some(Proto::Tcp));
        let srv = "udp:192.0.2.1:5071 udp:192.0.2.1:5070 udp:192.0.2.2:5072 udp:192.0.2.3:5072";
        let rows = [
            // §4.2: a port makes it an address.
            (
                "one.test",
                Some(5062),
                None,
                "udp:192.0.2.9:5062",
                "A:one.test",
            ),
            (
                "one.test",
                Some(5062),
                tcp,
                "tcp:192.0.2.9:5062",
                "A:one.test",
            ),
            // The hosts file wins over SRV.
            (
                "hosted.test",
                None,
                None,
                "udp:192.0.2.50:5060",
                "A:hosted.test",
            ),
            // SRV of the transport that is named, or of each by preference.
            (
                "one.test",
                None,
                None,
                srv,
                "SRV:_sip._udp.one.test A:h1.one.test A:h1.one.test A:h2.one.test",
            ),
            (
                "one.test",
                None,
                udp,
                srv,
                "SRV:_sip._udp.one.test A:h1.one.test A:h1.one.test A:h2.one.test",
            ),
            (
                "one.test",
                None,
                tcp,
                "tcp:192.0.2.1:5080",
                "SRV:_sip._tcp.one.test A:h1.one.test",
            ),
            (
                "tcponly.test",
                None,
                None,
                "tcp:192.0.2.1:5090",
                "SRV:_sip._udp.tcponly.test SRV:_sip._tcp.tcponly.test A:h1.one.test",
            ),
            // No SRV: the name itself.
            (
                "h2.one.test",
                None,
                None,
                "udp:192.0.2.2:5060 udp:192.0.2.3:5060",
                "SRV:_sip._udp.h2.one.test SRV:_sip._tcp.h2.one.test A:h2.one.test",
            ),
            // An SRV of "." is an end.
            ("gone.test", None, None, "", "SRV:_sip._udp.gone.test"),
            (
                "nowhere.test",
                None,
                udp,
                "",
                "SRV:_sip._udp.nowhere.test A:nowhere.test",
            ),
            // Nobody answers: nothing more is asked.
            (
                "down.test",
                None,
                None,
                "silence",
                "SRV:_sip._udp.down.test",
            ),
            // Silence about a server is a wait, of which there are few.
            (
                "half.test",
                None,
                udp,
                "udp:192.0.2.1:5070",
                "SRV:_sip._udp.half.test A:x.down.test A:h1.one.test",
            ),
            (
                "dead.test",
                None,
                udp,
                "silence",
                "SRV:_sip._udp.dead.test A:x.down.test A:y.down.test",
            ),
        ];
        for (name, port, proto, want, asked) in rows {
            assert_eq!(
                find(name, port, proto, 9),
                (want.into(), asked.into()),
                "{name} {port:?} {proto:?}"
            );
        }
        // Only the first is wanted: no more is asked than it takes.
        let first = find("one.test", None, None, 1);
        assert_eq!(
            first,
            (
                "udp:192.0.2.1:5071".into(),
                "SRV:_sip._udp.one.test A:h1.one.test".into()
            )
        );

        params::TRY_NAPTR.set(1);
        let (found, asked) = find("nap.test", None, None, 9);
        assert!(
            found.starts_with(srv) && found.ends_with("tcp:192.0.2.1:5080"),
            "{found}"
        );
        assert!(
            asked.starts_with("NAPTR:nap.test SRV:_sip._udp.one.test"),
            "{asked}"
        );
        assert_eq!(
            find("direct.test", None, None, 9).0,
            "udp:192.0.2.2:5060 udp:192.0.2.3:5060"
        );
        assert!(
            find("one.test", None, None, 9)
                .1
                .starts_with("NAPTR:one.test SRV:_sip._udp.one.test")
        );
        assert!(
            find("nap.test", None, udp, 9).1.starts_with("SRV:"),
            "a transport is named: no NAPTR"
        );
        params::NAPTR_IGNORE_RFC.set(0);
        assert!(
            find("nap.test", None, None, 9)
                .0
                .starts_with("tcp:192.0.2.1:5080"),
            "the order of the records"
        );
        params::NAPTR_IGNORE_RFC.set(1);
        params::TCP_PREF.set(50);
        assert!(
            find("nap.test", None, None, 9)
                .0
                .starts_with("tcp:192.0.2.1:5080"),
            "our own preference"
        );
        params::TCP_PREF.set(20);
        params::TRY_NAPTR.set(0);

        // By weight.
        params::SRV_LB.set(1);
        let first = find("one.test", None, udp, 1).0;
        assert_eq!(first, "udp:192.0.2.1:5071");
        params::SRV_LB.set(0);
    }
}
