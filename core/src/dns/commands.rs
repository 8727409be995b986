//! `dns.*` and `dst_blocklist.*`: what is remembered of names and destinations, and changing it.

use super::cache::{self, Entry};
use super::record::{Kind, Record};
use super::{blocklist, params};
use crate::net::Proto;
use crate::rpc::{Answer, Fault, Params, Rpc, Value, fields, rpc, text};
use crate::timer::monotonic_ms;
use std::net::{IpAddr, SocketAddr};

/// The commands.
pub(super) fn all() -> Vec<Rpc> {
    let mut v = of_the_cache();
    v.extend(of_the_blocklist());
    v
}

fn of_the_cache() -> Vec<Rpc> {
    vec![
        rpc("dns.mem_info", |_| {
            let (used, most) = cache::memory();
            Ok(vec![int(used), int(most)])
        })
        .doc("Memory of the DNS cache: bytes used, most bytes."),
        rpc("dns.debug", |_| Ok(cache::all().iter().flat_map(summary).collect()))
            .array()
            .doc("Entries of the DNS cache in short: name, type, size, references, expires, last used, flags."),
        rpc("dns.debug_all", |_| {
            Ok(cache::all().iter().flat_map(each_record).collect())
        })
        .array()
        .doc("Records of the DNS cache in short."),
        rpc("dns.view", |_| Ok(cache::all().iter().map(shown).collect()))
            .array()
            .doc("Entries of the DNS cache."),
        rpc("dns.lookup", lookup)
            .args("type name")
            .doc("Looks a name up: in the cache, and where it is not there at the name servers."),
        rpc("dns.delete_all", |_| {
            cache::remove_all(false);
            Ok(vec![fields([("status", text("ok"))])])
        })
        .doc("Empties the DNS cache but for permanent entries."),
        rpc("dns.delete_all_force", |_| {
            cache::remove_all(true);
            Ok(vec![fields([("status", text("ok"))])])
        })
        .doc("Empties the DNS cache."),
        rpc("dns.add_a", |p| add_address(p, IpAddr::is_ipv4))
            .args("name ttl ip flags")
            .doc("Adds an A record to the DNS cache; flags: 1 there is none, 2 permanent."),
        rpc("dns.add_aaaa", |p| add_address(p, IpAddr::is_ipv6))
            .args("name ttl ip flags")
            .doc("Adds an AAAA record to the DNS cache; flags: 1 there is none, 2 permanent."),
        rpc("dns.add_srv", add_srv)
            .args("name ttl priority weight port target flags")
            .doc("Adds an SRV record to the DNS cache; flags: 1 there is none, 2 permanent."),
        delete("dns.delete_a", |p| remove(p, Kind::A)),
        delete("dns.delete_aaaa", |p| remove(p, Kind::Aaaa)),
        delete("dns.delete_srv", |p| remove(p, Kind::Srv)),
        delete("dns.delete_naptr", |p| remove(p, Kind::Naptr)),
        delete("dns.delete_cname", |p| remove(p, Kind::Cname)),
        delete("dns.delete_txt", |p| remove(p, Kind::Txt)),
        delete("dns.delete_ebl", |p| remove(p, Kind::Ebl)),
        delete("dns.delete_ptr", |p| remove(p, Kind::Ptr)),
        rpc("dns.stats_get", |p| {
            let (hits, misses) = cache::hits_and_misses();
            let all = [("hits", hits), ("misses", misses), ("requests", hits + misses)];
            counts(p, &all, cache::reset_counts)
        })
        .args("[name] [reset]")
        .doc("How often the DNS cache was asked: hits, misses, requests; a second parameter 1 counts anew."),
        rpc("dns.set_server_state", |p| {
            let state = p.int(0, "state")?;
            if !(0..=1).contains(&state) {
                return Err(Fault::new(400, "the state is 1 (up) or 0 (down)"));
            }
            cache::set_servers_down(state == 0);
            Ok(vec![])
        })
        .args("state")
        .doc("Says whether name servers can be asked (1) or not (0): then old answers count."),
        rpc("dns.get_server_state", |_| {
            Ok(vec![Value::Int((!cache::servers_down()).into())])
        })
        .doc("Whether name servers can be asked: 1 or 0."),
    ]
}

fn of_the_blocklist() -> Vec<Rpc> {
    vec![
        rpc("dst_blocklist.mem_info", |_| {
            let (used, most) = blocklist::memory();
            Ok(vec![int(used), int(most)])
        })
        .doc("Memory of the list of unreachable destinations: bytes used, most bytes."),
        rpc("dst_blocklist.debug", |_| {
            let of = |e: blocklist::Entry| {
                [
                    text(proto_name(&e)),
                    text(e.addr.ip().to_string()),
                    int(u64::from(e.addr.port())),
                    int(left(e.expires)),
                    int(u64::from(e.flags)),
                ]
            };
            Ok(blocklist::all().into_iter().flat_map(of).collect())
        })
        .array()
        .doc("Unreachable destinations in short: protocol, address, port, seconds left, flags."),
        rpc("dst_blocklist.view", |_| {
            let of = |e: blocklist::Entry| {
                fields([
                    ("protocol", text(proto_name(&e))),
                    ("ip", text(e.addr.ip().to_string())),
                    ("port", int(u64::from(e.addr.port()))),
                    ("expires in (s)", int(left(e.expires))),
                    ("flags", int(u64::from(e.flags))),
                ])
            };
            Ok(blocklist::all().into_iter().map(of).collect())
        })
        .array()
        .doc("Unreachable destinations."),
        rpc("dst_blocklist.delete_all", |_| {
            blocklist::remove_all();
            Ok(vec![])
        })
        .doc("Empties the list of unreachable destinations but for permanent ones."),
        rpc("dst_blocklist.add", add_destination)
            .args("ip port protocol flags")
            .doc("Lists a destination; port 0 is any, protocol 1 udp, 2 tcp, 3 tls, 4 sctp, 0 any; flag 1 is for ever."),
        rpc("dst_blocklist.stats_get", |p| {
            counts(p, &[("hits", blocklist::hits())], blocklist::reset_hits)
        })
        .args("[name] [reset]")
        .doc("How often a destination was avoided: hits; a second parameter 1 counts anew."),
    ]
}

fn delete(name: &'static str, run: fn(&Params) -> Answer) -> Rpc {
    rpc(name, run)
        .args("name")
        .doc("Removes what the DNS cache knows of a name, of this type.")
}

fn int(n: u64) -> Value {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

/// Seconds until then; 0 where it has passed or never comes.
fn left(at_ms: u64) -> u64 {
    at_ms.saturating_sub(monotonic_ms()).div_ceil(1000)
}

fn since(at_ms: u64) -> u64 {
    monotonic_ms().saturating_sub(at_ms) / 1000
}

fn yes_no(b: bool) -> Value {
    text(if b { "yes" } else { "no" })
}

fn proto_name(e: &blocklist::Entry) -> &'static str {
    e.proto.map_or("*", Proto::name)
}

fn lookup(p: &Params) -> Answer {
    let kind = p.text(0, "type")?;
    let name = p.text(1, "name")?;
    let kind = Kind::from_name(&kind).ok_or_else(|| Fault::new(400, "Invalid type"))?;
    let not_found = || Fault::new(400, "Not found");
    let found = super::records(&name, kind).map_err(|_| not_found())?;
    if found.is_empty() {
        return Err(not_found());
    }
    // The entry that the answer came from, which an alias may have led to.
    let mut name = super::record::name(&name);
    for _ in 0..8 {
        if let Some(e) = cache::get(&name, kind) {
            return Ok(vec![shown(&e)]);
        }
        let alias = cache::get(&name, Kind::Cname).and_then(|e| e.records.into_iter().next());
        match alias {
            Some((_, Record::Cname(to))) => name = to,
            _ => break,
        }
    }
    // The cache is not used, or the search list has completed the name.
    let entry = Entry {
        name,
        kind,
        flags: 0,
        expires: 0,
        last_used: monotonic_ms(),
        size: 0,
        records: found.into_iter().map(|r| (0, r)).collect(),
    };
    Ok(vec![shown(&entry)])
}

fn flags_of(p: &Params, i: usize) -> Result<u8, Fault> {
    let flags = p.int(i, "flags")?;
    u8::try_from(flags).map_err(|_| Fault::new(400, format!("{flags} are no flags")))
}

fn ttl_of(p: &Params) -> Result<u32, Fault> {
    let ttl = p.int(1, "ttl")?;
    u32::try_from(ttl).map_err(|_| Fault::new(400, format!("{ttl} is no time to live")))
}

fn added(done: bool) -> Answer {
    if done {
        return Ok(vec![]);
    }
    Err(Fault::new(400, "Failed to add the entry to the cache"))
}

fn add_address(p: &Params, fits: fn(&IpAddr) -> bool) -> Answer {
    let (name, ttl, ip) = (p.text(0, "name")?, ttl_of(p)?, p.text(2, "ip")?);
    let flags = flags_of(p, 3)?;
    match ip.parse::<IpAddr>() {
        Ok(ip) if fits(&ip) => added(cache::add(&name, Record::Address(ip), ttl, flags)),
        _ => added(false),
    }
}

fn add_srv(p: &Params) -> Answer {
    let number = |i, what: &str| {
        let n = p.int(i, what)?;
        u16::try_from(n).map_err(|_| Fault::new(400, format!("{n} is no {what}")))
    };
    let record = Record::Srv {
        priority: number(2, "priority")?,
        weight: number(3, "weight")?,
        port: number(4, "port")?,
        target: super::record::name(&p.text(5, "target")?),
    };
    let (name, flags) = (p.text(0, "name")?, flags_of(p, 6)?);
    added(cache::add(&name, record, ttl_of(p)?, flags))
}

fn remove(p: &Params, kind: Kind) -> Answer {
    if cache::remove(&p.text(0, "name")?, kind) {
        Ok(vec![])
    } else {
        Err(Fault::new(400, "Not found"))
    }
}

fn add_destination(p: &Params) -> Answer {
    let ip = p.text(0, "ip")?;
    let ip: IpAddr = ip
        .trim_matches(['[', ']'])
        .parse()
        .map_err(|_| Fault::new(400, "Malformed ip address"))?;
    let port = p.int(1, "port")?;
    let port = u16::try_from(port).map_err(|_| Fault::new(400, format!("{port} is no port")))?;
    let proto = match p.int(2, "protocol")? {
        0 => None,
        n => {
            let known = u8::try_from(n).ok().and_then(Proto::from_number);
            Some(known.ok_or_else(|| Fault::new(400, format!("{n} is no protocol")))?)
        }
    };
    let flags = flags_of(p, 3)?;
    let seconds = params::BLOCKLIST_EXPIRE.get();
    if blocklist::add(proto, SocketAddr::new(ip, port), flags, seconds) {
        Ok(vec![])
    } else {
        Err(Fault::new(500, "there is no room on the list"))
    }
}

fn counts(p: &Params, all: &[(&str, u64)], reset: fn()) -> Answer {
    let found: Vec<&(&str, u64)> = match p.opt_text(0) {
        None => all.iter().collect(),
        Some(n) => {
            let one = all.iter().find(|(name, _)| *name == n);
            vec![one.ok_or_else(|| Fault::new(404, format!("no counter {n}")))?]
        }
    };
    if p.opt_int(1).unwrap_or(0) != 0 {
        reset();
    }
    let members = found.iter().map(|(n, v)| ((*n).to_string(), int(*v)));
    Ok(vec![Value::Struct(members.collect())])
}

/// Of an entry: name, type, size, references, expires, last used, flags.
fn summary(e: &Entry) -> Vec<Value> {
    vec![
        text(e.name.clone()),
        int(e.kind as u64),
        int(e.size),
        int(1),
        int(left(e.expires)),
        int(since(e.last_used)),
        int(u64::from(e.flags & (cache::NEGATIVE | cache::PERMANENT))),
    ]
}

/// Of each record of an entry: that of the entry with its number, and what it says in short.
fn each_record(e: &Entry) -> Vec<Value> {
    let mut out = Vec::new();
    for (i, (end, r)) in e.records.iter().enumerate() {
        let mut head = summary(e);
        head.insert(2, int(i as u64));
        out.extend(head);
        let (kind, says) = match r {
            Record::Address(ip) => ("ip", ip.to_string()),
            Record::Srv { target, .. } => ("srv", target.clone()),
            Record::Naptr {
                flags,
                services,
                regexp,
                replacement,
                ..
            } => (
                "naptr",
                [flags, services, regexp, replacement]
                    .map(String::as_str)
                    .concat(),
            ),
            Record::Cname(n) => ("cname", n.clone()),
            Record::Ptr(n) => ("ptr", n.clone()),
            Record::Txt(t) => ("txt", t.first().cloned().unwrap_or_default()),
        };
        out.extend([text(kind), text(says), int(left(*end))]);
    }
    out
}

/// An entry in full.
fn shown(e: &Entry) -> Value {
    let mut all = vec![
        ("name".to_string(), text(e.name.clone())),
        ("type".into(), text(e.kind.name())),
        ("size_bytes".into(), int(e.size)),
        ("reference_counter".into(), int(1)),
        ("permanent".into(), yes_no(e.is_permanent())),
        ("expires".into(), int(left(e.expires))),
        ("last_used".into(), int(since(e.last_used))),
        ("negative_entry".into(), yes_no(e.is_negative())),
    ];
    if !e.is_negative() {
        let of = |(i, r): (usize, &(u64, Record))| (String::new(), record_shown(i, r));
        let records = e.records.iter().enumerate().map(of).collect();
        all.push(("records".into(), Value::Struct(records)));
    }
    Value::Struct(all)
}

fn record_shown(i: usize, (end, r): &(u64, Record)) -> Value {
    let number = |n: u16| int(u64::from(n));
    let says = match r {
        Record::Address(ip) => vec![("rr_ip", text(ip.to_string()))],
        Record::Srv {
            priority,
            weight,
            port,
            target,
        } => vec![
            ("rr_name", text(target.clone())),
            ("rr_port", number(*port)),
            ("rr_priority", number(*priority)),
            ("rr_weight", number(*weight)),
        ],
        Record::Naptr {
            order,
            preference,
            flags,
            services,
            regexp,
            replacement,
        } => vec![
            ("rr_order", number(*order)),
            ("rr_preference", number(*preference)),
            ("rr_flags", text(flags.clone())),
            ("rr_service", text(services.clone())),
            ("rr_regexp", text(regexp.clone())),
            ("rr_replacement", text(replacement.clone())),
        ],
        Record::Cname(n) | Record::Ptr(n) => vec![("rr_name", text(n.clone()))],
        Record::Txt(all) => {
            let each = all.iter().enumerate().map(|(i, t)| {
                let one = fields([("idx", int(i as u64)), ("rr_txt", text(t.clone()))]);
                (String::new(), one)
            });
            vec![("txt", Value::Struct(each.collect()))]
        }
    };
    let mut members = vec![("rr_idx".to_string(), int(i as u64))];
    members.extend(says.into_iter().map(|(n, v)| (n.to_string(), v)));
    members.push(("rr_permanent".into(), yes_no(*end == 0)));
    members.push(("rr_expires".into(), int(left(*end))));
    Value::Struct(members)
}
