//! Settings of name resolution and of the list of unreachable destinations.
//!
//! All are core parameters. Those that `cfg.set` may change while the server runs are shared words,
//! read anew at each use.

use crate::config::CoreConfig;
use crate::route::module::IntParam;

/// One setting.
pub struct Setting {
    /// Name of the core parameter.
    pub name: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// Its value; yes is 1.
    pub value: &'static IntParam,
    /// `cfg.set` may change it.
    pub dynamic: bool,
}

macro_rules! settings {
    ($($id:ident $name:literal $default:literal $dynamic:literal $doc:literal;)*) => {
        $(#[doc = $doc] pub static $id: IntParam = IntParam::new($default);)*
        /// All settings.
        pub static ALL: &[Setting] = &[
            $(Setting { name: $name, doc: $doc, value: &$id, dynamic: $dynamic }),*
        ];
    };
}

settings! {
    TRY_IPV6 "dns_try_ipv6" 1 true "Also ask for AAAA records where there is no A record.";
    TRY_NAPTR "dns_try_naptr" 0 true "Ask for NAPTR records as RFC 3263 says.";
    UDP_PREF "dns_udp_pref" 30 true "Preference of UDP; the higher wins, a negative one excludes it.";
    TCP_PREF "dns_tcp_pref" 20 true "Preference of TCP.";
    TLS_PREF "dns_tls_pref" 10 true "Preference of TLS.";
    SCTP_PREF "dns_sctp_pref" 20 true "Preference of SCTP.";
    RETR_TIME "dns_retr_time" -1 true "Seconds before a question is asked again; -1 as resolv.conf says.";
    SLOW_QUERY_MS "dns_slow_query_ms" 0 true "Log questions that take longer than this many milliseconds; 0 none.";
    RETR_NO "dns_retr_no" -1 true "How often a question is asked again; -1 as resolv.conf says.";
    SERVERS_NO "dns_servers_no" -1 true "How many of the servers in resolv.conf are asked; -1 all.";
    USE_SEARCH_LIST "dns_use_search_list" 1 true "Try the search domains of resolv.conf.";
    SEARCH_FULL_MATCH "dns_search_full_match" 1 true "Answers count only for the whole name asked for; always so here.";
    REINIT "dns_reinit" 0 true "Set to another value, resolv.conf and hosts are read again.";
    NAPTR_IGNORE_RFC "dns_naptr_ignore_rfc" 1 true "Let local preferences win over the order of NAPTR records.";
    USE_CACHE "use_dns_cache" 1 true "Use the cache.";
    CACHE_FLAGS "dns_cache_flags" 0 true "1 only A, 2 only AAAA, 4 AAAA first.";
    USE_FAILOVER "use_dns_failover" 0 true "Try the next address when one fails.";
    SRV_LB "dns_srv_lb" 0 true "Spread requests over SRV records by weight (RFC 2782).";
    NEGATIVE_TTL "dns_cache_negative_ttl" 60 true "Seconds a failed look-up is remembered.";
    MIN_TTL "dns_cache_min_ttl" 0 true "Fewest seconds a record is remembered.";
    MAX_TTL "dns_cache_max_ttl" 4294967295 true "Most seconds a record is remembered.";
    CACHE_MEM "dns_cache_mem" 500 true "Kilobytes the cache may take.";
    DEL_NONEXP "dns_cache_del_nonexp" 0 true "Remove what was not used for longest when the cache is full.";
    REC_PREF "dns_cache_rec_pref" 0 true "A new answer for what is cached: 1 the old stays, 3 the one that lives longer; else the new.";
    CACHE_INIT "dns_cache_init" 1 false "Set up the cache at start.";
    GC_INTERVAL "dns_cache_gc_interval" 120 false "Seconds between removals of expired records.";
    USE_BLOCKLIST "use_dst_blocklist" 0 true "Do not send to destinations that failed lately.";
    BLOCKLIST_EXPIRE "dst_blocklist_expire" 60 true "Seconds a destination stays on the list.";
    BLOCKLIST_MEM "dst_blocklist_mem" 250 true "Kilobytes the list may take.";
    BLOCKLIST_UDP_IMASK "dst_blocklist_udp_imask" 0 true "Reasons ignored for UDP, a sum of 2 send, 4 connect, 16 timeout, 32 503, 64 by hand.";
    BLOCKLIST_TCP_IMASK "dst_blocklist_tcp_imask" 0 true "Reasons ignored for TCP.";
    BLOCKLIST_TLS_IMASK "dst_blocklist_tls_imask" 0 true "Reasons ignored for TLS.";
    BLOCKLIST_SCTP_IMASK "dst_blocklist_sctp_imask" 0 true "Reasons ignored for SCTP.";
    BLOCKLIST_INIT "dst_blocklist_init" 1 false "Set up the list at start.";
    BLOCKLIST_GC "dst_blocklist_gc_interval" 60 false "Seconds between removals of expired destinations.";
}

/// Takes the values from the configuration; main, before the settings are shared.
pub(crate) fn apply(config: &CoreConfig) {
    for s in ALL {
        let Some(text) = config.text(s.name) else {
            continue;
        };
        let value = match text.to_ascii_lowercase().as_str() {
            "yes" | "on" | "true" | "enable" => Some(1),
            "no" | "off" | "false" | "disable" => Some(0),
            n => n.parse().ok(),
        };
        if let Some(v) = value {
            s.value.set(v);
        }
    }
}

/// The preference of a transport (`dns_udp_pref` …).
pub(crate) fn preference(proto: crate::net::Proto) -> i64 {
    use crate::net::Proto;
    match proto {
        Proto::Udp => UDP_PREF.get(),
        Proto::Tcp => TCP_PREF.get(),
        Proto::Tls => TLS_PREF.get(),
        Proto::Sctp => SCTP_PREF.get(),
        Proto::Ws | Proto::Wss => -1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_a_core_parameter_with_that_default() {
        for s in ALL.iter().filter(|s| s.name != "dns_reinit") {
            let p = olelo_cfg::params::find(s.name);
            let p = p.unwrap_or_else(|| panic!("{} is no core parameter", s.name));
            let default = match p.default {
                "yes" => "1",
                "no" => "0",
                n => n,
            };
            assert_eq!(default, s.value.default().to_string(), "{}", s.name);
        }
    }
}
