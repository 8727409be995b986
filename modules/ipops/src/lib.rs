//! The `ipops` module: questions about IP addresses, and to name servers.
//!
//! | file | what it is |
//! |---|---|
//! | `address` | texts that are addresses, networks, kinds |
//! | `found` | answers as scripts read them |
//!
//! A question to a name server makes its worker wait, at most two seconds for `srv_query`,
//! `naptr_query` and `ptr_query`, as long as the system's resolver takes for addresses.
//!
//! What differs from the original: a network with an empty mask (`1.0.0.0/`) contains nothing, not
//! everything; `srv_query` and the like are false where no server answers.

#![forbid(unsafe_code)]

mod address;
mod found;

use address::Address;
use olelo_core::dns::{self, Kind, lookup};
use olelo_core::error;
use olelo_core::pv::{PvKey, Spec, pv_named};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{Function, ScriptError, function};
use olelo_core::route::module::Module;
use olelo_core::route::value::Val;
use std::net::IpAddr;

/// The module.
pub fn module() -> Module {
    let m = Module::new("ipops")
        .doc("Questions about IP addresses, and to name servers.")
        .pv(pv_named("dns", found::address).doc("What dns_query() found: id=>count, ipv4, ipv6, addr[i], type[i]."))
        .pv(pv_named("srvquery", |c, k| found::record(c, k, Kind::Srv))
            .doc("What srv_query() found: id=>count, port[i], priority[i], target[i], weight[i]."))
        .pv(pv_named("naptrquery", |c, k| found::record(c, k, Kind::Naptr))
            .doc("What naptr_query() found: id=>count, order[i], pref[i], flags[i], services[i], regex[i], replace[i]."))
        .pv(pv_named("ptrquery", |c, k| found::record(c, k, Kind::Ptr))
            .doc("What ptr_query() found: id=>hostname, count."))
        .pv(pv_named("HN", host_name).doc("This host: n name, f with its domain, d domain, i address."));
    [kinds(), comparing(), asking()]
        .into_iter()
        .flatten()
        .fold(m, Module::function)
}

fn yes(b: bool) -> i64 {
    if b { 1 } else { -1 }
}

fn is(text: &[u8], which: impl FnOnce(Address) -> bool) -> i64 {
    yes(Address::parse(text).is_some_and(which))
}

fn kinds() -> Vec<Function> {
    vec![
        function("is_ip", |_: &mut Ctx, t: &[u8]| is(t, |_| true))
            .cfg("is_ip")
            .args(["text"])
            .doc("Whether a text is an address, an IPv6 reference included."),
        function("is_pure_ip", |_: &mut Ctx, t: &[u8]| {
            is(t, |a| a.pure().is_some())
        })
        .cfg("is_pure_ip")
        .args(["text"])
        .doc("Whether a text is an address, not in brackets."),
        function("is_ip4", |_: &mut Ctx, t: &[u8]| is(t, |a| a.number() == 1))
            .cfg("is_ipv4")
            .args(["text"])
            .doc("Whether a text is an IPv4 address."),
        function("is_ip6", |_: &mut Ctx, t: &[u8]| is(t, |a| a.number() == 2))
            .cfg("is_ipv6")
            .args(["text"])
            .doc("Whether a text is an IPv6 address, not in brackets."),
        function("is_ip6_reference", |_: &mut Ctx, t: &[u8]| {
            is(t, |a| a.number() == 3)
        })
        .cfg("is_ipv6_reference")
        .args(["text"])
        .doc("Whether a text is an IPv6 address in brackets."),
        function("ip_type", |_: &mut Ctx, t: &[u8]| {
            Address::parse(t).map_or(-1, Address::number)
        })
        .cfg("ip_type")
        .args(["text"])
        .doc("1 for IPv4, 2 for IPv6, 3 for an IPv6 reference, -1 for no address."),
        function("detailed_ipv4_type", |c: &mut Ctx, t: &[u8], r: &[u8]| {
            detailed(c, t, r, |a| a.number() == 1)
        })
        .cfg("detailed_ipv4_type")
        .args(["address", "result"])
        .raw(&["result"])
        .doc("Puts the kind of an IPv4 address (PUBLIC, PRIVATE, ...) into a pseudo-variable."),
        function("detailed_ipv6_type", |c: &mut Ctx, t: &[u8], r: &[u8]| {
            detailed(c, t, r, |a| a.number() > 1)
        })
        .cfg("detailed_ipv6_type")
        .args(["address", "result"])
        .raw(&["result"])
        .doc("Puts the kind of an IPv6 address (GLOBAL-UNICAST, ...) into a pseudo-variable."),
        function("detailed_ip_type", |c: &mut Ctx, t: &[u8], r: &[u8]| {
            detailed(c, t, r, |_| true)
        })
        .cfg("detailed_ip_type")
        .args(["address", "result"])
        .raw(&["result"])
        .doc("Puts the kind of an address into a pseudo-variable."),
    ]
}

fn detailed(
    ctx: &mut Ctx,
    text: &[u8],
    result: &[u8],
    which: fn(Address) -> bool,
) -> Result<i64, ScriptError> {
    let Some(a) = Address::parse(text).filter(|a| which(*a)) else {
        return Ok(-1);
    };
    Spec::parse_cached(result)?.set(ctx, Val::text(address::kind(a.ip())))?;
    Ok(1)
}

fn comparing() -> Vec<Function> {
    vec![
        function("compare_ips", |_: &mut Ctx, a: &[u8], b: &[u8]| {
            same(a, b, |a| Some(a.ip()))
        })
        .cfg("compare_ips")
        .args(["one", "other"])
        .doc("Whether two texts are one address; brackets don't matter."),
        function("compare_pure_ips", |_: &mut Ctx, a: &[u8], b: &[u8]| {
            same(a, b, Address::pure)
        })
        .cfg("compare_pure_ips")
        .args(["one", "other"])
        .doc("Whether two texts without brackets are one address."),
        function("is_ip_rfc1918", |_: &mut Ctx, t: &[u8]| {
            is(t, address::is_private)
        })
        .cfg("is_ip_rfc1918")
        .args(["text"])
        .doc("Whether a text is a private IPv4 address (RFC 1918)."),
        function("is_in_subnet", |_: &mut Ctx, a: &[u8], l: &[u8]| {
            yes(address::in_subnets(a, l))
        })
        .cfg("is_in_subnet")
        .args(["address", "networks"])
        .doc("Whether an address is in one of a comma list of networks."),
        function("ip_is_in_subnet", |_: &mut Ctx, a: &[u8], l: &[u8]| {
            yes(address::in_subnets(a, l))
        })
        .args(["address", "networks"])
        .doc("As is_in_subnet."),
    ]
}

fn same(a: &[u8], b: &[u8], form: fn(Address) -> Option<IpAddr>) -> i64 {
    let read = |t| Address::parse(t).and_then(form);
    yes(matches!((read(a), read(b)), (Some(a), Some(b)) if a == b))
}

fn asking() -> Vec<Function> {
    vec![
        function("dns_sys_match_ip", |_: &mut Ctx, h: &str, a: &[u8]| {
            host_has(h, a)
        })
        .cfg("dns_sys_match_ip")
        .args(["host", "address"])
        .doc("Whether a host has an address, by the system's resolver."),
        function("dns_int_match_ip", |_: &mut Ctx, h: &str, a: &[u8]| {
            host_has(h, a)
        })
        .cfg("dns_int_match_ip")
        .args(["host", "address"])
        .doc("As dns_sys_match_ip: this server has one resolver for both."),
        function("dns_query", found::addresses)
            .cfg("dns_query")
            .args(["host", "id"])
            .doc("Finds the addresses of a host for $dns(id=>...)."),
        function(
            "ptr_query",
            |c: &mut Ctx, a: &[u8], id: &[u8]| match Address::parse(a) {
                Some(a) => found::records(c, &dns::reverse_name(a.ip()), id, Kind::Ptr),
                None => {
                    error!(
                        "ipops",
                        "ptr_query: \"{}\" is no address",
                        String::from_utf8_lossy(a)
                    );
                    -1
                }
            },
        )
        .cfg("ptr_query")
        .args(["address", "id"])
        .doc("Finds the name of an address for $ptrquery(id=>hostname)."),
        function("srv_query", |c: &mut Ctx, n: &str, id: &[u8]| {
            found::records(c, n, id, Kind::Srv)
        })
        .cfg("srv_query")
        .args(["name", "id"])
        .doc("Finds SRV records (RFC 2782) for $srvquery(id=>...)."),
        function("naptr_query", |c: &mut Ctx, n: &str, id: &[u8]| {
            found::records(c, n, id, Kind::Naptr)
        })
        .cfg("naptr_query")
        .args(["name", "id"])
        .doc("Finds NAPTR records (RFC 2915) for $naptrquery(id=>...)."),
        function("dns_set_local_ttl", |_: &mut Ctx, s: i64| {
            found::set_ttl(s);
            1i64
        })
        .cfg("dns_set_local_ttl")
        .args(["seconds"])
        .doc("Seconds that this process remembers SRV, NAPTR and PTR records; 0 for not at all."),
    ]
}

fn host_has(host: &str, address: &[u8]) -> i64 {
    let Some(ip) = Address::parse(address).map(Address::ip) else {
        error!(
            "ipops",
            "\"{}\" is no address",
            String::from_utf8_lossy(address)
        );
        return -3;
    };
    match lookup(host) {
        found if found.is_empty() => -4,
        found => yes(found.contains(&ip)),
    }
}

/// `$HN(n)`, `$HN(f)`, `$HN(d)`, `$HN(i)`.
fn host_name<'c>(_: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    let Some(full) = nix::unistd::gethostname()
        .ok()
        .and_then(|n| n.into_string().ok())
    else {
        return Val::Null;
    };
    let (name, domain) = match full.split_once('.') {
        Some((n, d)) => (n.to_string(), Some(d.to_string())),
        None => (full.clone(), None),
    };
    let value = match key.name() {
        b"n" => Some(name),
        b"f" => Some(full),
        b"d" => domain,
        b"i" => lookup(&full).first().map(IpAddr::to_string),
        _ => None,
    };
    value.map_or(Val::Null, Val::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use olelo_core::dns::Record;

    fn ready() -> Ctx {
        // A pseudo-variable that can be written.
        let class = pv_named("x", |c, _| {
            c.dst_uri.as_deref().map_or(Val::Null, Val::bytes)
        })
        .set(|c, _, v| {
            c.dst_uri = v.as_bytes().map(|b| b.into_owned());
            Ok(())
        });
        olelo_core::server::for_tests(vec![module(), Module::new("x").pv(class)]);
        Ctx::new()
    }

    fn call(c: &mut Ctx, name: &str, args: &[&str]) -> i64 {
        let m = module();
        let f = m.functions.iter().find(|f| f.name == name).unwrap();
        let args: Vec<Val<'_>> = args.iter().map(|a| Val::text(a)).collect();
        f.call(c, &args).unwrap().as_int().unwrap()
    }

    #[test]
    fn addresses_are_told_apart_and_compared() {
        let mut c = ready();
        for (f, args, want) in [
            ("is_ip", &["[::1]"][..], 1),
            ("is_pure_ip", &["[::1]"], -1),
            ("is_ip4", &["1.2.3.4"], 1),
            ("is_ip6", &["::1"], 1),
            ("is_ip6", &["[::1]"], -1),
            ("is_ip6_reference", &["[::1]"], 1),
            ("ip_type", &["[::1]"], 3),
            ("ip_type", &["x"], -1),
            ("is_ip_rfc1918", &["10.0.123.123"], 1),
            ("is_ip_rfc1918", &["8.8.8.8"], -1),
            ("compare_ips", &["::1", "[0::1]"], 1),
            ("compare_pure_ips", &["::1", "[0::1]"], -1),
            ("compare_pure_ips", &["::1", "0::1"], 1),
            ("compare_ips", &["x", "x"], -1),
            ("compare_ips", &["::ffff:1.2.3.4", "1.2.3.4"], -1),
            ("is_in_subnet", &["10.0.123.123", "10.0.123.1/24"], 1),
            ("ip_is_in_subnet", &["10.1.123.123", "10.0.123.1/24"], -1),
            ("dns_sys_match_ip", &["localhost", "127.0.0.1"], 1),
            ("dns_sys_match_ip", &["localhost", "127.0.0.2"], -1),
            ("dns_int_match_ip", &["localhost", "bad"], -3),
            ("ptr_query", &["bad", "p"], -1),
            ("dns_set_local_ttl", &["0"], 1),
        ] {
            assert_eq!(call(&mut c, f, args), want, "{f} {args:?}");
        }
    }

    #[test]
    fn kinds_go_into_pseudo_variables() {
        let mut c = ready();
        for (f, ip, rc, kind) in [
            ("detailed_ip_type", "192.168.1.2", 1, "PRIVATE"),
            ("detailed_ip_type", "[2001:db8::1]", 1, "DOCUMENTATION"),
            ("detailed_ipv4_type", "::1", -1, "DOCUMENTATION"),
            ("detailed_ipv6_type", "[fe80::1]", 1, "LINK-LOCAL-UNICAST"),
        ] {
            assert_eq!(call(&mut c, f, &[ip, "$x(a)"]), rc, "{f} {ip}");
            assert_eq!(c.pv("$x(a)"), Val::text(kind), "{f} {ip}");
        }
    }

    #[test]
    fn answers_are_read_by_id_field_and_index() {
        let mut c = ready();
        assert_eq!(call(&mut c, "dns_query", &["1.2.3.4", "q"]), 1);
        assert_eq!(call(&mut c, "dns_query", &["localhost", "l"]), 1);
        let srv = |port| Record::Srv {
            priority: 1,
            weight: 2,
            port,
            target: "h.example".into(),
        };
        found::remember(&mut c, b"s", Kind::Srv, vec![srv(5060), srv(5070)]);
        let naptr = Record::Naptr {
            order: 1,
            preference: 2,
            flags: "s".into(),
            services: "SIP+D2U".into(),
            regexp: "!x!y!".into(),
            replacement: "r.example".into(),
        };
        found::remember(&mut c, b"n", Kind::Naptr, vec![naptr]);
        found::remember(
            &mut c,
            b"p",
            Kind::Ptr,
            vec![Record::Ptr("a.example".into())],
        );
        for (pv, want) in [
            ("$dns(q=>count)", Val::Int(1)),
            ("$dns(q=>ipv4)", Val::Int(1)),
            ("$dns(q=>ipv6)", Val::Int(0)),
            ("$dns(q=>addr)", Val::text("1.2.3.4")),
            ("$dns(q=>addr[0])", Val::text("1.2.3.4")),
            ("$dns(q=>addr[-1])", Val::text("1.2.3.4")),
            ("$dns(q=>addr[9])", Val::Null),
            ("$dns(q=>type[0])", Val::Int(4)),
            ("$dns(l=>addr[0])", Val::text("127.0.0.1")),
            ("$dns(zz=>count)", Val::Null),
            ("$dns(q)", Val::Null),
            ("$srvquery(s=>count)", Val::Int(2)),
            ("$srvquery(s=>port[1])", Val::Int(5070)),
            ("$srvquery(s=>target[0])", Val::text("h.example")),
            ("$srvquery(s=>weight[0])", Val::Int(2)),
            ("$srvquery(n=>count)", Val::Null),
            ("$naptrquery(n=>order[0])", Val::Int(1)),
            ("$naptrquery(n=>services[0])", Val::text("SIP+D2U")),
            ("$naptrquery(n=>replace[0])", Val::text("r.example")),
            ("$ptrquery(p=>hostname)", Val::text("a.example")),
        ] {
            assert_eq!(c.pv(pv), want, "{pv}");
        }
        assert!(!c.pv("$HN(n)").is_null());
        assert!(c.pv("$HN(x)").is_null());
    }
}
