//! Resource records that routing cares about, and how they lie in shared memory.

use simple_dns::TYPE;
use simple_dns::rdata::RData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The type of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Kind {
    /// IPv4 address.
    A = 1,
    /// Another name for a name.
    Cname = 5,
    /// Name of an address.
    Ptr = 12,
    /// Text.
    Txt = 16,
    /// IPv6 address (RFC 3596).
    Aaaa = 28,
    /// Server of a service (RFC 2782).
    Srv = 33,
    /// Services of a domain (RFC 3403).
    Naptr = 35,
    /// Enum branch location; known by name only.
    Ebl = 65300,
}

impl Kind {
    /// All types.
    pub const ALL: [Kind; 8] = [
        Kind::A,
        Kind::Aaaa,
        Kind::Srv,
        Kind::Naptr,
        Kind::Cname,
        Kind::Txt,
        Kind::Ebl,
        Kind::Ptr,
    ];

    /// Its name, upper case.
    pub fn name(self) -> &'static str {
        match self {
            Kind::A => "A",
            Kind::Cname => "CNAME",
            Kind::Ptr => "PTR",
            Kind::Txt => "TXT",
            Kind::Aaaa => "AAAA",
            Kind::Srv => "SRV",
            Kind::Naptr => "NAPTR",
            Kind::Ebl => "EBL",
        }
    }

    /// From its name in any case.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL
            .into_iter()
            .find(|k| k.name().eq_ignore_ascii_case(name))
    }

    /// From its number.
    pub fn from_number(n: u16) -> Option<Kind> {
        Kind::ALL.into_iter().find(|k| *k as u16 == n)
    }

    /// As the codec of packets has it; `None` where nobody can be asked.
    pub(super) fn on_the_wire(self) -> Option<TYPE> {
        Some(match self {
            Kind::A => TYPE::A,
            Kind::Cname => TYPE::CNAME,
            Kind::Ptr => TYPE::PTR,
            Kind::Txt => TYPE::TXT,
            Kind::Aaaa => TYPE::AAAA,
            Kind::Srv => TYPE::SRV,
            Kind::Naptr => TYPE::NAPTR,
            Kind::Ebl => return None,
        })
    }
}

/// What a record says. Names are without the last dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// RFC 1035 §3.4.1, RFC 3596 §2.2.
    Address(IpAddr),
    /// RFC 2782.
    Srv {
        /// The lower comes first.
        priority: u16,
        /// Chance among those of one priority.
        weight: u16,
        /// Port.
        port: u16,
        /// Host.
        target: String,
    },
    /// RFC 3403.
    Naptr {
        /// The lower comes first.
        order: u16,
        /// The lower comes first among those of one order.
        preference: u16,
        /// What the replacement is: `s`, `a`, `u`.
        flags: String,
        /// Such as `SIP+D2U`.
        services: String,
        /// Substitution.
        regexp: String,
        /// Name to go on with.
        replacement: String,
    },
    /// RFC 1035 §3.3.1.
    Cname(String),
    /// RFC 1035 §3.3.12.
    Ptr(String),
    /// RFC 1035 §3.3.14.
    Txt(Vec<String>),
}

impl Record {
    /// The type.
    pub fn kind(&self) -> Kind {
        match self {
            Record::Address(IpAddr::V4(_)) => Kind::A,
            Record::Address(IpAddr::V6(_)) => Kind::Aaaa,
            Record::Srv { .. } => Kind::Srv,
            Record::Naptr { .. } => Kind::Naptr,
            Record::Cname(_) => Kind::Cname,
            Record::Ptr(_) => Kind::Ptr,
            Record::Txt(_) => Kind::Txt,
        }
    }

    /// From a packet; `None` for a type that is nobody's business.
    pub(super) fn from_packet(data: &RData<'_>) -> Option<Record> {
        let text =
            |c: &simple_dns::CharacterString<'_>| String::try_from(c.clone()).unwrap_or_default();
        Some(match data {
            RData::A(a) => Record::Address(Ipv4Addr::from(a.address).into()),
            RData::AAAA(a) => Record::Address(Ipv6Addr::from(a.address).into()),
            RData::CNAME(n) => Record::Cname(name(&n.0.to_string())),
            RData::PTR(n) => Record::Ptr(name(&n.0.to_string())),
            RData::TXT(t) => Record::Txt(String::try_from(t.clone()).ok().into_iter().collect()),
            RData::SRV(r) => Record::Srv {
                priority: r.priority,
                weight: r.weight,
                port: r.port,
                target: name(&r.target.to_string()),
            },
            RData::NAPTR(r) => Record::Naptr {
                order: r.order,
                preference: r.preference,
                flags: text(&r.flags),
                services: text(&r.services),
                regexp: text(&r.regexp),
                replacement: name(&r.replacement.to_string()),
            },
            _ => return None,
        })
    }

    /// Appends the record to what goes into shared memory.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let number = |out: &mut Vec<u8>, n: u16| out.extend_from_slice(&n.to_le_bytes());
        number(out, self.kind() as u16);
        match self {
            Record::Address(IpAddr::V4(a)) => out.extend_from_slice(&a.octets()),
            Record::Address(IpAddr::V6(a)) => out.extend_from_slice(&a.octets()),
            Record::Srv {
                priority,
                weight,
                port,
                target,
            } => {
                [priority, weight, port]
                    .into_iter()
                    .for_each(|n| number(out, *n));
                put_text(out, target);
            }
            Record::Naptr {
                order,
                preference,
                flags,
                services,
                regexp,
                replacement,
            } => {
                [order, preference]
                    .into_iter()
                    .for_each(|n| number(out, *n));
                [flags, services, regexp, replacement]
                    .into_iter()
                    .for_each(|t| put_text(out, t));
            }
            Record::Cname(n) | Record::Ptr(n) => put_text(out, n),
            Record::Txt(all) => {
                number(out, all.len().min(255) as u16);
                all.iter().take(255).for_each(|t| put_text(out, t));
            }
        }
    }

    /// Takes a record off the front of `b`.
    pub(super) fn decode(b: &mut &[u8]) -> Option<Record> {
        Some(match Kind::from_number(take_number(b)?)? {
            Kind::A => Record::Address(take::<4>(b)?.into()),
            Kind::Aaaa => Record::Address(take::<16>(b)?.into()),
            Kind::Srv => Record::Srv {
                priority: take_number(b)?,
                weight: take_number(b)?,
                port: take_number(b)?,
                target: take_text(b)?,
            },
            Kind::Naptr => Record::Naptr {
                order: take_number(b)?,
                preference: take_number(b)?,
                flags: take_text(b)?,
                services: take_text(b)?,
                regexp: take_text(b)?,
                replacement: take_text(b)?,
            },
            Kind::Cname => Record::Cname(take_text(b)?),
            Kind::Ptr => Record::Ptr(take_text(b)?),
            Kind::Txt => {
                let n = take_number(b)?;
                Record::Txt((0..n).map(|_| take_text(b)).collect::<Option<_>>()?)
            }
            Kind::Ebl => return None,
        })
    }
}

/// A name as it is compared and kept: lower case, without the last dot.
pub fn name(text: &str) -> String {
    text.trim_end_matches('.').to_ascii_lowercase()
}

/// The name under which an address' name is found (RFC 1035 §3.5, RFC 3596 §2.5).
pub fn reverse_name(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(a) => {
            let [a, b, c, d] = a.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(a) => {
            let nibbles = a.octets().into_iter().rev().flat_map(|o| [o & 15, o >> 4]);
            let labels: String = nibbles.map(|n| format!("{n:x}.")).collect();
            format!("{labels}ip6.arpa")
        }
    }
}

/// The order in which records are tried: by priority, within one by chance in proportion to the
/// weights (RFC 2782); NAPTR by order and preference (RFC 3403). `chance` gives a number below its
/// argument.
pub fn sort(records: &mut Vec<Record>, mut chance: impl FnMut(u32) -> u32) {
    let rank = |r: &Record| match r {
        // Weight 0 first, so that it has a small chance.
        Record::Srv {
            priority, weight, ..
        } => (*priority, *weight),
        Record::Naptr {
            order, preference, ..
        } => (*order, *preference),
        _ => (0, 0),
    };
    records.sort_by_key(rank);
    if !matches!(records.first(), Some(Record::Srv { .. })) {
        return;
    }
    let mut left = std::mem::take(records);
    while let Some((first, _)) = left.first().map(rank) {
        let group = left.iter().take_while(|r| rank(r).0 == first).count();
        let total: u32 = left[..group].iter().map(|r| u32::from(rank(r).1)).sum();
        let mut pick = chance(total + 1);
        let at = left[..group].iter().position(|r| {
            let weight = u32::from(rank(r).1);
            let here = pick <= weight;
            pick = pick.saturating_sub(weight);
            here
        });
        records.push(left.remove(at.unwrap_or(0)));
    }
}

pub(super) fn put_text(out: &mut Vec<u8>, t: &str) {
    let b = t.as_bytes();
    let n = b.len().min(usize::from(u16::MAX));
    out.extend_from_slice(&(n as u16).to_le_bytes());
    out.extend_from_slice(&b[..n]);
}

pub(super) fn take<const N: usize>(b: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = b.split_first_chunk()?;
    *b = tail;
    Some(*head)
}

pub(super) fn take_number(b: &mut &[u8]) -> Option<u16> {
    take(b).map(u16::from_le_bytes)
}

pub(super) fn take_text(b: &mut &[u8]) -> Option<String> {
    let n = usize::from(take_number(b)?);
    let (head, tail) = b.split_at_checked(n)?;
    *b = tail;
    Some(String::from_utf8_lossy(head).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_record() -> impl Strategy<Value = Record> {
        let text = "[a-z0-9.+!\\\\^-]{0,40}";
        prop_oneof![
            any::<[u8; 4]>().prop_map(|a| Record::Address(a.into())),
            any::<[u8; 16]>().prop_map(|a| Record::Address(a.into())),
            text.prop_map(Record::Cname),
            text.prop_map(Record::Ptr),
            proptest::collection::vec(text, 0..4).prop_map(Record::Txt),
            (any::<[u16; 3]>(), text).prop_map(|([priority, weight, port], target)| Record::Srv {
                priority,
                weight,
                port,
                target
            }),
            (any::<[u16; 2]>(), [text; 4]).prop_map(
                |([order, preference], [flags, services, regexp, replacement])| Record::Naptr {
                    order,
                    preference,
                    flags,
                    services,
                    regexp,
                    replacement
                }
            ),
        ]
    }

    proptest! {
        #[test]
        fn a_record_comes_back_and_a_cut_one_does_not(r in any_record()) {
            let mut bytes = Vec::new();
            r.encode(&mut bytes);
            let mut b = bytes.as_slice();
            prop_assert_eq!(Record::decode(&mut b), Some(r));
            prop_assert!(b.is_empty());
            for n in 0..bytes.len() {
                prop_assert_eq!(Record::decode(&mut &bytes[..n]), None);
            }
        }

        #[test]
        fn sorting_loses_nothing_and_keeps_priorities(
            all in proptest::collection::vec((0..4u16, any::<u16>()), 0..20), seed in any::<u32>()
        ) {
            let mut records: Vec<Record> = all.iter().map(|(priority, weight)| Record::Srv {
                priority: *priority, weight: *weight, port: 1, target: String::new()
            }).collect();
            sort(&mut records, |most| seed % most);
            let of = |r: &Record| match r { Record::Srv { priority, weight, .. } => (*priority, *weight), _ => (9, 9) };
            prop_assert!(records.windows(2).all(|w| of(&w[0]).0 <= of(&w[1]).0));
            let (mut a, mut b) = (all, records.iter().map(of).collect::<Vec<_>>());
            a.sort_unstable();
            b.sort_unstable();
            prop_assert_eq!(a, b);
        }
    }

    #[test]
    fn weights_are_chances() {
        let srv = |priority, weight| Record::Srv {
            priority,
            weight,
            port: weight,
            target: String::new(),
        };
        for (chance, want) in [(0, 0), (1, 1), (5, 9)] {
            let mut r = vec![srv(1, 9), srv(1, 0), srv(1, 1), srv(0, 7)];
            let mut first = true;
            sort(&mut r, |most| {
                if std::mem::take(&mut first) || most < 8 {
                    0
                } else {
                    chance
                }
            });
            let ports: Vec<u16> = r
                .iter()
                .map(|r| match r {
                    Record::Srv { port, .. } => *port,
                    _ => 0,
                })
                .collect();
            assert_eq!(ports[0], 7, "the lowest priority comes first");
            assert_eq!(ports[1], want, "{chance}: {ports:?}");
        }
    }

    #[test]
    fn reverse_names() {
        assert_eq!(
            reverse_name([192, 0, 2, 1].into()),
            "1.2.0.192.in-addr.arpa"
        );
        let v6 = reverse_name("2001:db8::1".parse().unwrap());
        assert!(v6.starts_with("1.0.0.0."));
        assert!(v6.ends_with(".8.b.d.0.1.0.0.2.ip6.arpa"));
    }
}
