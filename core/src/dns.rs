//! Names to addresses, remembered for a while by each process.
//!
//! Look-ups go through the system's resolver (hosts file and DNS). A numeric address never gets
//! here. The answer, good or bad, is kept so that a slow or dead resolver costs one wait per name
//! and process, not one per message.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

/// How long an answer is kept.
const KEEP: Duration = Duration::from_secs(60);
/// How long a failure is kept.
const KEEP_FAILURE: Duration = Duration::from_secs(10);
/// Most names kept per process.
const MOST: usize = 4096;

/// The addresses of a name, IPv4 first; empty where it has none.
pub fn lookup(host: &str) -> Vec<IpAddr> {
    thread_local!(static CACHE: RefCell<HashMap<String, (Instant, Vec<IpAddr>)>> = RefCell::default());
    let name = host.to_ascii_lowercase();
    let now = Instant::now();
    CACHE.with_borrow_mut(|cache| {
        if let Some((until, found)) = cache.get(&name)
            && *until > now
        {
            return found.clone();
        }
        let mut found: Vec<IpAddr> = (name.as_str(), 0)
            .to_socket_addrs()
            .map(|a| a.map(|s| s.ip()).collect())
            .unwrap_or_default();
        found.sort_by_key(IpAddr::is_ipv6);
        found.dedup();
        if cache.len() >= MOST {
            cache.clear();
        }
        let keep = if found.is_empty() { KEEP_FAILURE } else { KEEP };
        cache.insert(name, (now + keep, found.clone()));
        found
    })
}
