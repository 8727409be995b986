//! What the operating system is told about names: `resolv.conf` and `hosts`.
//!
//! Each process keeps both parsed and looks once a second, when it needs them, whether the files
//! have changed. `OLELO_RESOLV_CONF` and `OLELO_HOSTS` in the environment name other files; in these
//! a name server may have a port: `nameserver 127.0.0.1:5353`, `nameserver [::1]:5353`.

use super::params;
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

/// Most name servers and search domains that count.
const MOST_SERVERS: usize = 8;
const MOST_DOMAINS: usize = 6;
/// Most names taken from `hosts`.
const MOST_HOSTS: usize = 65536;
/// How often the files are looked at.
const LOOK_MS: u64 = 1000;

/// `resolv.conf`, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conf {
    /// Whom to ask, in this order.
    pub servers: Vec<SocketAddr>,
    /// Domains to complete a name with.
    pub search: Vec<String>,
    /// Names with fewer dots are completed first.
    pub ndots: usize,
    /// How long one server may take.
    pub timeout: Duration,
    /// How often the servers are gone through.
    pub attempts: u32,
}

impl Conf {
    /// Reads the text of a `resolv.conf`. Without a server in it, the local host is asked.
    pub fn parse(text: &str) -> Conf {
        let mut c = Conf {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
        };
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => c.servers.extend(words.next().and_then(server)),
                Some("search" | "domain") => {
                    c.search = words
                        .map(|d| d.trim_matches('.').to_ascii_lowercase())
                        .filter(|d| !d.is_empty())
                        .take(MOST_DOMAINS)
                        .collect();
                }
                Some("options") => words.for_each(|o| c.option(o)),
                _ => {}
            }
        }
        c.servers.truncate(MOST_SERVERS);
        if c.servers.is_empty() {
            c.servers.push((Ipv4Addr::LOCALHOST, 53).into());
        }
        c
    }

    fn option(&mut self, o: &str) {
        let Some((name, n)) = o.split_once(':') else {
            return;
        };
        let Ok(n) = n.parse::<u32>() else { return };
        match name {
            "ndots" => self.ndots = n.min(15) as usize,
            "timeout" => self.timeout = Duration::from_secs(u64::from(n.clamp(1, 30))),
            "attempts" => self.attempts = n.clamp(1, 5),
            _ => {}
        }
    }

    /// With what the operator has set (`dns_retr_time`, `dns_retr_no`, `dns_servers_no`).
    pub fn tuned(mut self) -> Conf {
        if let Ok(s @ 1..) = u64::try_from(params::RETR_TIME.get()) {
            self.timeout = Duration::from_secs(s.min(30));
        }
        if let Ok(n) = u32::try_from(params::RETR_NO.get()) {
            self.attempts = n.saturating_add(1).min(10);
        }
        if let Ok(n @ 1..) = usize::try_from(params::SERVERS_NO.get()) {
            self.servers.truncate(n);
        }
        if !params::USE_SEARCH_LIST.is_on() {
            self.search.clear();
        }
        self
    }

    /// The names to ask for, in order: as given, and completed. One that ends in a dot is complete.
    pub fn names(&self, name: &str) -> Vec<String> {
        let bare = name.trim_end_matches('.').to_ascii_lowercase();
        if name.ends_with('.') || self.search.is_empty() {
            return vec![bare];
        }
        let completed = self.search.iter().map(|d| format!("{bare}.{d}"));
        if bare.bytes().filter(|b| *b == b'.').count() >= self.ndots {
            std::iter::once(bare.clone()).chain(completed).collect()
        } else {
            completed.chain([bare.clone()]).collect()
        }
    }
}

/// Addresses by name, lower case.
pub type Hosts = HashMap<String, Vec<IpAddr>>;

/// Reads the text of a `hosts` file. `localhost` is always there (RFC 6761 §6.3).
pub fn parse_hosts(text: &str) -> Hosts {
    let mut hosts = Hosts::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let Some(ip) = words.next().and_then(|w| w.parse::<IpAddr>().ok()) else {
            continue;
        };
        for name in words {
            if hosts.len() >= MOST_HOSTS {
                return hosts;
            }
            let all = hosts.entry(name.to_ascii_lowercase()).or_default();
            if !all.contains(&ip) {
                all.push(ip);
            }
        }
    }
    hosts
        .entry("localhost".into())
        .or_insert_with(|| vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    hosts
}

/// `resolv.conf` as it is now.
pub fn conf() -> Conf {
    with(|f| f.conf.clone()).tuned()
}

/// From now on this process knows these names only, and asks nobody: for a rehearsal. Again: with
/// these instead.
pub fn seal(hosts: Hosts) {
    SEALED.set(Some(Rc::new(hosts)));
}

/// Whether nobody is to be asked.
pub(super) fn is_sealed() -> bool {
    SEALED.with_borrow(Option::is_some)
}

thread_local! {
    static SEALED: RefCell<Option<Rc<Hosts>>> = const { RefCell::new(None) };
}

/// The addresses that `hosts` has for a name.
pub fn hosts(name: &str) -> Option<Vec<IpAddr>> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    if let Some(sealed) = SEALED.with_borrow(Clone::clone) {
        return sealed.get(&name).cloned();
    }
    with(|f| f.hosts.get(&name).cloned())
}

/// Both files, as a process has them.
struct Files {
    looked_ms: u64,
    reinit: i64,
    stamps: [Option<(SystemTime, u64)>; 2],
    conf: Conf,
    hosts: Rc<Hosts>,
}

fn with<T>(f: impl FnOnce(&Files) -> T) -> T {
    thread_local!(static FILES: RefCell<Option<Files>> = const { RefCell::new(None) });
    let now = crate::timer::monotonic_ms();
    FILES.with_borrow_mut(|slot| {
        let reinit = params::REINIT.get();
        let fresh = slot
            .as_ref()
            .is_some_and(|s| s.reinit == reinit && now < s.looked_ms + LOOK_MS);
        if !fresh {
            let paths = [
                path("OLELO_RESOLV_CONF", "/etc/resolv.conf"),
                path("OLELO_HOSTS", "/etc/hosts"),
            ];
            let stamps = paths.each_ref().map(|p| {
                let m = std::fs::metadata(p).ok()?;
                Some((m.modified().ok()?, m.len()))
            });
            match slot {
                Some(s) if s.reinit == reinit && s.stamps == stamps => s.looked_ms = now,
                _ => {
                    let text = |p: &PathBuf| std::fs::read_to_string(p).unwrap_or_default();
                    *slot = Some(Files {
                        looked_ms: now,
                        reinit,
                        stamps,
                        conf: Conf::parse(&text(&paths[0])),
                        hosts: Rc::new(parse_hosts(&text(&paths[1]))),
                    });
                }
            }
        }
        match slot {
            Some(s) => f(s),
            // Filled just above.
            None => f(&Files {
                looked_ms: 0,
                reinit,
                stamps: [None, None],
                conf: Conf::parse(""),
                hosts: Rc::default(),
            }),
        }
    })
}

fn path(variable: &str, usual: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| usual.into(), PathBuf::from)
}

/// An address with port 53, or with a port of its own.
fn server(text: &str) -> Option<SocketAddr> {
    let bare = text.split('%').next().unwrap_or(text);
    bare.parse()
        .ok()
        .or_else(|| Some(SocketAddr::new(bare.parse().ok()?, 53)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_is_read() {
        let c = Conf::parse(
            "# x\nnameserver 192.0.2.1 # office\nnameserver ::1\nnameserver bad\nnameserver [::1]:5353\nsearch Example.com. lan\noptions ndots:2 timeout:3 attempts:99 rotate x:y\n",
        );
        let servers: Vec<String> = c.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.1:53", "[::1]:53", "[::1]:5353"]);
        assert_eq!(c.search, ["example.com", "lan"]);
        assert_eq!((c.ndots, c.attempts, c.timeout.as_secs()), (2, 5, 3));
        assert_eq!(Conf::parse("").servers, ["127.0.0.1:53".parse().unwrap()]);
    }

    #[test]
    fn names_are_completed_by_their_dots() {
        let mut c = Conf::parse("search a.test b.test");
        for (name, want) in [
            ("pbx", vec!["pbx.a.test", "pbx.b.test", "pbx"]),
            ("Pbx.c", vec!["pbx.c", "pbx.c.a.test", "pbx.c.b.test"]),
            ("pbx.", vec!["pbx"]),
        ] {
            assert_eq!(c.names(name), want);
        }
        c.search.clear();
        assert_eq!(c.names("pbx"), ["pbx"]);
    }

    #[test]
    fn hosts_are_read() {
        let h = parse_hosts("192.0.2.7 PBX pbx.lan # x\nbad name\n2001:db8::7 pbx\n192.0.2.7 pbx");
        assert_eq!(
            h["pbx"],
            [
                "192.0.2.7".parse::<IpAddr>().unwrap(),
                "2001:db8::7".parse().unwrap()
            ]
        );
        assert_eq!(h["pbx.lan"].len(), 1);
        assert_eq!(h["localhost"][0], IpAddr::from(Ipv4Addr::LOCALHOST));
    }
}
