//! Destinations that failed lately: with `use_dst_blocklist`, nothing is sent to them for a while.
//!
//! An entry is transport, address and port, why it is listed and until when; it lies in shared
//! memory, in the bucket of its address. Port 0 stands for all ports, transport 0 for all. The list
//! never grows beyond `dst_blocklist_mem`: then nothing more is listed.

use super::params;
use crate::net::{Dst, Proto};
use crate::timer::monotonic_ms;
use olelo_mem::heap::Tag;
use olelo_mem::table::{NodeId, RecordView, Table};
use olelo_mem::words::Words;
use std::hash::{DefaultHasher, Hasher};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;

/// Why a destination is listed: bits of `dst_blocklist_*_imask` and of `dst_blocklist.add`.
pub mod reason {
    /// It stays until it is removed.
    pub const PERMANENT: u8 = 1;
    /// Sending failed.
    pub const SEND: u8 = 2;
    /// No connection could be opened.
    pub const CONNECT: u8 = 4;
    /// No reply came.
    pub const TIMEOUT: u8 = 16;
    /// It answered 503.
    pub const UNAVAILABLE: u8 = 32;
    /// An operator said so.
    pub const BY_HAND: u8 = 64;
}

/// Bytes that an entry costs.
const COST: u64 = 96;

struct List {
    table: Table,
    used: Words,
}

static LIST: OnceLock<List> = OnceLock::new();

/// One destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Transport; none for all.
    pub proto: Option<Proto>,
    /// Address, and port or 0 for all.
    pub addr: SocketAddr,
    /// See [`reason`].
    pub flags: u8,
    /// When it ends, in milliseconds of the monotonic clock.
    pub expires: u64,
}

/// Makes the list; main, before the forks.
pub(crate) fn create() -> Result<(), String> {
    if LIST.get().is_some() || !params::BLOCKLIST_INIT.is_on() {
        return Ok(());
    }
    let err = |e: olelo_mem::ArenaError| e.to_string();
    let tag = Tag::register("dst_blocklist");
    let table = Table::create("dst_blocklist", 256, tag).map_err(err)?;
    let used = Words::create("dst_blocklist.words", 2).map_err(err)?;
    let _ = LIST.set(List { table, used });
    Ok(())
}

/// Whether this destination failed lately. Always false where the list is not used.
pub fn is_listed(proto: Proto, addr: SocketAddr) -> bool {
    let Some(l) = LIST.get().filter(|_| params::USE_BLOCKLIST.is_on()) else {
        return false;
    };
    let now = monotonic_ms();
    let guard = l.table.lock(hash(addr.ip()));
    let found = guard.iter().filter_map(|v| decode(&v)).any(|e| {
        e.addr.ip() == addr.ip()
            && (e.addr.port() == 0 || e.addr.port() == addr.port())
            && e.proto.is_none_or(|p| p == proto)
            && !e.is_over(now)
    });
    drop(guard);
    if found && let Some(w) = l.used.get(1) {
        w.fetch_add(1, Relaxed);
    }
    found
}

/// Lists a destination that failed, for `dst_blocklist_expire` seconds. Must not be called while a
/// bucket of another table is locked.
pub fn failed(dst: &Dst, why: u8) {
    failed_for(dst, why, params::BLOCKLIST_EXPIRE.get());
}

/// As [`failed`], for so many seconds.
pub fn failed_for(dst: &Dst, why: u8, seconds: i64) {
    let ignored = match dst.proto {
        Proto::Udp => &params::BLOCKLIST_UDP_IMASK,
        Proto::Tcp | Proto::Ws => &params::BLOCKLIST_TCP_IMASK,
        Proto::Tls | Proto::Wss => &params::BLOCKLIST_TLS_IMASK,
        Proto::Sctp => &params::BLOCKLIST_SCTP_IMASK,
    };
    if seconds <= 0 || !params::USE_BLOCKLIST.is_on() || ignored.get() & i64::from(why) != 0 {
        return;
    }
    let listed = add(Some(dst.proto), dst.addr, why, seconds);
    crate::info!(
        "core",
        "{}:{} failed ({why}) and is avoided for {seconds} s{}",
        dst.proto.name(),
        dst.addr,
        if listed { "" } else { ": but the list is full" }
    );
}

/// Lists a destination; false where there is no room.
pub fn add(proto: Option<Proto>, addr: SocketAddr, flags: u8, seconds: i64) -> bool {
    let Some(l) = LIST.get() else { return false };
    let e = Entry {
        proto,
        addr,
        flags,
        expires: monotonic_ms() + seconds.max(0) as u64 * 1000,
    };
    let mut guard = l.table.lock(hash(addr.ip()));
    let same = |o: &Entry| o.proto == proto && o.addr == addr;
    let old: Option<NodeId> = guard
        .iter()
        .find(|v| decode(v).is_some_and(|o| same(&o)))
        .map(|v| v.id());
    if let Some(id) = old {
        return guard.replace(id, &[&encode(&e)], Vec::new()).is_ok();
    }
    let limit = params::BLOCKLIST_MEM.get().clamp(0, 1 << 22) as u64 * 1024;
    let used = l.used.get(0).map_or(0, |w| w.load(Relaxed));
    if used + COST > limit || guard.insert(&[&encode(&e)], Vec::new(), &[]).is_err() {
        return false;
    }
    if let Some(w) = l.used.get(0) {
        w.fetch_add(COST, Relaxed);
    }
    true
}

/// All that is listed.
pub fn all() -> Vec<Entry> {
    let (mut entries, now) = (Vec::new(), monotonic_ms());
    if let Some(l) = LIST.get() {
        l.table.for_each_bucket(|guard| {
            entries.extend(guard.iter().filter_map(|v| decode(&v)));
        });
    }
    entries.retain(|e| !e.is_over(now));
    entries
}

/// Removes all but what is permanent.
pub fn remove_all() {
    retain(|e| e.flags & reason::PERMANENT != 0);
}

/// Removes what has ended; the job of the slow timer.
pub(crate) fn collect(now: u64) {
    retain(|e| !e.is_over(now));
}

/// Bytes used, and how many may be.
pub fn memory() -> (u64, u64) {
    let used = LIST.get().and_then(|l| l.used.get(0));
    let limit = params::BLOCKLIST_MEM.get().max(0) as u64 * 1024;
    (used.map_or(0, |w| w.load(Relaxed)), limit)
}

/// How often a destination was avoided.
pub fn hits() -> u64 {
    let word = LIST.get().and_then(|l| l.used.get(1));
    word.map_or(0, |w| w.load(Relaxed))
}

/// Starts counting anew.
pub fn reset_hits() {
    if let Some(w) = LIST.get().and_then(|l| l.used.get(1)) {
        w.store(0, Relaxed);
    }
}

impl Entry {
    fn is_over(&self, now: u64) -> bool {
        self.flags & reason::PERMANENT == 0 && self.expires <= now
    }
}

fn retain(keep: impl Fn(&Entry) -> bool) {
    let Some(l) = LIST.get() else { return };
    let mut left = 0;
    l.table.for_each_bucket(|guard| {
        guard.retain(|v| {
            let stays = decode(&v).is_some_and(|e| keep(&e));
            left += u64::from(stays) * COST;
            stays
        });
    });
    if let Some(w) = l.used.get(0) {
        w.store(left, Relaxed);
    }
}

fn hash(ip: IpAddr) -> u32 {
    let mut h = DefaultHasher::new();
    h.write_u64(crate::proc::secret());
    h.write(&bits(ip));
    h.finish() as u32
}

fn bits(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
        IpAddr::V6(a) => a.octets(),
    }
}

fn encode(e: &Entry) -> Vec<u8> {
    let mut out = Vec::with_capacity(28);
    out.extend_from_slice(&e.expires.to_le_bytes());
    out.extend_from_slice(&bits(e.addr.ip()));
    out.extend_from_slice(&e.addr.port().to_le_bytes());
    out.push(e.proto.map_or(0, |p| p as u8));
    out.push(e.flags);
    out
}

fn decode(v: &RecordView<'_>) -> Option<Entry> {
    let b: &[u8; 28] = v.bytes().try_into().ok()?;
    let (expires, rest) = b.split_first_chunk()?;
    let (ip, rest) = rest.split_first_chunk::<16>()?;
    let &[p0, p1, proto, flags] = rest else {
        return None;
    };
    let v6 = Ipv6Addr::from(*ip);
    let ip = v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4);
    Some(Entry {
        proto: Proto::from_number(proto),
        addr: SocketAddr::new(ip, u16::from_le_bytes([p0, p1])),
        flags,
        expires: u64::from_le_bytes(*expires),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{SendFlags, SocketId};

    fn dst(proto: Proto, addr: &str) -> Dst {
        Dst {
            proto,
            addr: addr.parse().unwrap(),
            socket: SocketId(0),
            conn: None,
            flags: SendFlags::default(),
        }
    }

    #[test]
    fn what_failed_is_avoided_for_a_while() {
        crate::server::for_tests(vec![]);
        create().unwrap();
        let d = dst(Proto::Udp, "192.0.2.1:5060");
        failed(&d, reason::SEND);
        assert!(!is_listed(d.proto, d.addr), "the list is not used");
        params::USE_BLOCKLIST.set(1);
        params::BLOCKLIST_UDP_IMASK.set(reason::SEND.into());
        failed(&d, reason::SEND);
        assert!(!is_listed(d.proto, d.addr), "this reason is ignored");
        failed(&d, reason::TIMEOUT);
        failed(&d, reason::UNAVAILABLE);
        assert!(is_listed(d.proto, d.addr));
        assert!(!is_listed(Proto::Tcp, d.addr));
        assert!(!is_listed(d.proto, "192.0.2.1:5061".parse().unwrap()));
        assert_eq!(all().len(), 1);
        assert_eq!((all()[0].flags, hits()), (reason::UNAVAILABLE, 1));
        failed_for(&dst(Proto::Tcp, "192.0.2.2:1"), reason::CONNECT, 0);
        assert_eq!(all().len(), 1);
        // All ports, all transports, for ever.
        assert!(add(
            None,
            "[2001:db8::1]:0".parse().unwrap(),
            reason::PERMANENT,
            0
        ));
        assert!(is_listed(Proto::Tcp, "[2001:db8::1]:99".parse().unwrap()));
        collect(monotonic_ms() + 61_000);
        assert_eq!(all().len(), 1);
        remove_all();
        assert_eq!((all().len(), memory().0), (1, COST));
        params::BLOCKLIST_MEM.set(1);
        let fits = (1..100)
            .filter(|n| add(None, ([10, 0, 0, *n], 1).into(), 0, 60))
            .count();
        assert_eq!(fits as u64, 1024 / COST - 1);
        params::BLOCKLIST_MEM.set(250);
        params::BLOCKLIST_UDP_IMASK.set(0);
        params::USE_BLOCKLIST.set(0);
    }
}
