//! Names to addresses: hosts file, cache, name servers; and where a SIP request goes (RFC 3263).
//!
//! | file | what it is |
//! |---|---|
//! | `locate` | RFC 3263: from a host of a URI to transports, addresses, ports |
//! | `cache` | what was asked for, shared by all processes |
//! | `query` | one question to the name servers |
//! | `record` | resource records |
//! | `conf` | `resolv.conf` and `hosts` |
//! | `blocklist` | destinations that failed lately |
//! | `params` | the settings |
//! | `commands` | `dns.*` and `dst_blocklist.*` |
//!
//! A worker that meets an unknown name waits for the answer; all waits end. A numeric address never
//! gets here, and neither does a name in `hosts` ever reach a name server. The answer, good or bad, is
//! kept for all processes, so a dead name server costs one wait per name, not one per message.

pub mod blocklist;
pub mod cache;
mod commands;
pub mod conf;
#[cfg(test)]
mod fake;
pub mod locate;
pub mod params;
pub mod query;
pub mod record;

pub use record::{Kind, Record, reverse_name, sort};

use crate::stats::Stat;
use crate::timer::{self, Pace};
use query::Found;
use std::net::IpAddr;
use std::time::Instant;

/// Most aliases of a name that are followed.
const MOST_ALIASES: usize = 8;

/// Questions that nobody answered.
static FAILED: Stat = Stat::counter(
    "dns",
    "failed_dns_request",
    "questions to name servers that were not answered",
);
/// Questions that took long.
static SLOW: Stat = Stat::counter(
    "dns",
    "slow_dns_request",
    "questions to name servers that took longer than dns_slow_query_ms",
);

/// Nobody could say. A name that does not exist is no error but has no records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unanswered(pub String);

/// Which addresses are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
    /// Both, where there are both; otherwise the second only where the first has none.
    pub all: bool,
}

/// The addresses of a name, IPv4 first; empty where it has none or nobody knows.
pub fn lookup(host: &str) -> Vec<IpAddr> {
    let all = Families {
        v4: true,
        v6: true,
        all: true,
    };
    addresses(host, all).unwrap_or_default()
}

/// The addresses of a name, in the order in which they are to be tried. `dns_cache_flags` and
/// `dns_try_ipv6` count besides `want`.
pub fn addresses(host: &str, want: Families) -> Result<Vec<IpAddr>, Unanswered> {
    let flags = params::CACHE_FLAGS.get();
    let v6_wanted = want.v6 && flags & 1 == 0;
    let v4 = want.v4 && flags & 2 == 0;
    let v6 = v6_wanted && (!v4 || flags & 4 != 0 || params::TRY_IPV6.is_on());
    if let Some(mut ips) = conf::hosts(host) {
        ips.retain(|ip| if ip.is_ipv6() { want.v6 } else { want.v4 });
        ips.sort_by_key(|ip| ip.is_ipv6() != (flags & 4 != 0));
        return Ok(ips);
    }
    let mut order = [(Kind::A, v4), (Kind::Aaaa, v6)];
    if flags & 4 != 0 {
        order.reverse();
    }
    let mut found = Vec::new();
    for (kind, wanted) in order {
        if !wanted || !want.all && !found.is_empty() {
            continue;
        }
        match records(host, kind) {
            Ok(r) => found.extend(r.into_iter().filter_map(|r| match r {
                Record::Address(ip) => Some(ip),
                _ => None,
            })),
            Err(e) if found.is_empty() => return Err(e),
            Err(_) => break,
        }
    }
    Ok(found)
}

/// The records of a name, the search list included; aliases are followed. Empty where there are
/// none.
pub fn records(name: &str, kind: Kind) -> Result<Vec<Record>, Unanswered> {
    if conf::is_sealed() {
        return Ok(Vec::new());
    }
    let conf = conf::conf();
    for full in conf.names(name) {
        let found = of_full_name(&conf, full, kind)?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// What the cache or the servers have under exactly this name, or what it is an alias of.
fn of_full_name(
    conf: &conf::Conf,
    mut name: String,
    kind: Kind,
) -> Result<Vec<Record>, Unanswered> {
    for _ in 0..MOST_ALIASES {
        if let Some(e) = cache::get(&name, kind) {
            if e.flags & cache::UNANSWERED != 0 {
                let text = format!("no name server knew {name} ({}) lately", kind.name());
                return Err(Unanswered(text));
            }
            return Ok(e.records.into_iter().map(|(_, r)| r).collect());
        }
        if let Some(alias) = known_alias(&name, kind) {
            name = alias;
            continue;
        }
        let found = ask(conf, &name, kind)?;
        let end = end_of_aliases(&found, &name);
        keep(&found, &end, kind);
        let there: Vec<Record> = found
            .into_iter()
            .filter(|f| f.name == end && f.record.kind() == kind)
            .map(|f| f.record)
            .collect();
        if !there.is_empty() || end == name {
            return Ok(there);
        }
        name = end;
    }
    crate::info!("core", "{name} has too many aliases");
    Ok(Vec::new())
}

fn known_alias(name: &str, kind: Kind) -> Option<String> {
    let e = (kind != Kind::Cname).then(|| cache::get(name, Kind::Cname))??;
    e.records.into_iter().find_map(|(_, r)| match r {
        Record::Cname(n) => Some(n),
        _ => None,
    })
}

/// Asks, counts, and remembers where nobody answered.
fn ask(conf: &conf::Conf, name: &str, kind: Kind) -> Result<Vec<Found>, Unanswered> {
    if cache::servers_down() {
        let text = format!("{name} is not known, and name servers are said to be down");
        return Err(Unanswered(text));
    }
    let started = Instant::now();
    let answer = query::ask(conf, name, kind);
    let took = started.elapsed().as_millis();
    let limit = params::SLOW_QUERY_MS.get();
    if limit > 0 && took > limit as u128 {
        SLOW.inc();
        crate::warn!("core", "asking for {name} ({}) took {took} ms", kind.name());
    }
    answer.map_err(|e| {
        FAILED.inc();
        crate::warn!("core", "{e}");
        cache::put(name, kind, Vec::new(), cache::UNANSWERED);
        Unanswered(e)
    })
}

/// Where the aliases in an answer lead.
fn end_of_aliases(found: &[Found], name: &str) -> String {
    let mut end = name.to_string();
    for _ in 0..MOST_ALIASES {
        let next = found.iter().find_map(|f| match &f.record {
            Record::Cname(to) if f.name == end => Some(to),
            _ => None,
        });
        match next {
            Some(n) => end.clone_from(n),
            None => break,
        }
    }
    end
}

/// Remembers an answer, each name and type by itself; that there is nothing at its end, too.
fn keep(found: &[Found], end: &str, kind: Kind) {
    type Set<'a> = (&'a str, Kind, Vec<(u32, Record)>);
    let mut sets: Vec<Set<'_>> = Vec::new();
    for f in found {
        let of = f.record.kind();
        let entry = (f.ttl, f.record.clone());
        match sets.iter_mut().find(|(n, k, _)| *n == f.name && *k == of) {
            Some((.., set)) => set.push(entry),
            None => sets.push((&f.name, of, vec![entry])),
        }
    }
    let aliased = end_is_elsewhere(found, end, kind);
    if !aliased && !sets.iter().any(|(n, k, _)| *n == end && *k == kind) {
        cache::put(end, kind, Vec::new(), 0);
    }
    for (name, of, set) in sets {
        cache::put(name, of, set, 0);
    }
}

/// The answer stopped at an alias whose own records have to be asked for.
fn end_is_elsewhere(found: &[Found], end: &str, kind: Kind) -> bool {
    let led_here = |f: &Found| matches!(&f.record, Record::Cname(to) if to == end);
    kind != Kind::Cname && found.iter().any(led_here)
}

/// Makes what all processes share; main, before the forks.
pub(crate) fn init() -> Result<(), String> {
    let sweep = |seconds: i64| (seconds.clamp(1, 86_400) * 1000) as u64;
    cache::create()?;
    blocklist::create()?;
    let every = sweep(params::GC_INTERVAL.get());
    timer::every("dns", every, Pace::Slow, cache::collect);
    let every = sweep(params::BLOCKLIST_GC.get());
    timer::every("dst_blocklist", every, Pace::Slow, blocklist::collect);
    Ok(())
}

/// The control commands.
pub(crate) fn commands() -> Vec<crate::rpc::Rpc> {
    commands::all()
}

/// The statistics.
pub(crate) static STATS: &[&Stat] = &[&FAILED, &SLOW];

#[cfg(test)]
mod tests {
    use super::fake::Zone;
    use super::*;

    fn conf_of(zone: Zone) -> conf::Conf {
        conf::Conf {
            servers: vec![fake::server(zone)],
            attempts: 1,
            timeout: std::time::Duration::from_secs(10),
            ..conf::Conf::parse("")
        }
    }

    #[test]
    fn aliases_are_followed_in_one_answer_and_over_several() {
        let _alone = fake::ALONE.lock();
        let c = conf_of(
            Zone::new()
                .cname("www.alias.test", "web.alias.test")
                .cname("web.alias.test", "host.alias.test")
                .a("host.alias.test", [192, 0, 2, 9]),
        );
        let ip = Record::Address([192, 0, 2, 9].into());
        for name in ["www.alias.test", "web.alias.test", "host.alias.test"] {
            let found = of_full_name(&c, name.into(), Kind::A).unwrap();
            assert_eq!(found, std::slice::from_ref(&ip), "{name}");
        }
        assert_eq!(
            of_full_name(&c, "www.alias.test".into(), Kind::Aaaa),
            Ok(vec![])
        );
        let circle = conf_of(
            Zone::new()
                .cname("a.circle.test", "b.circle.test")
                .cname("b.circle.test", "a.circle.test"),
        );
        assert_eq!(
            of_full_name(&circle, "a.circle.test".into(), Kind::A),
            Ok(vec![])
        );
    }

    #[test]
    fn hosts_come_first() {
        let ips = lookup("localhost");
        assert!(ips.iter().all(IpAddr::is_loopback) && !ips.is_empty());
        let only_v6 = Families {
            v4: false,
            v6: true,
            all: true,
        };
        assert!(
            addresses("localhost", only_v6)
                .unwrap()
                .iter()
                .all(IpAddr::is_ipv6)
        );
    }
}
