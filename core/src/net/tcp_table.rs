//! The shared table of TCP connections: which worker owns the one to a peer, and how many there are
//! from each address.
//!
//! Every worker writes only of its own connections; a record is immutable, and found under its
//! bucket's lock. What a dead worker had is swept by main ([`worker_died`]). What is posted to a
//! worker's queue: connection (or 0), socket, flags, peer, bytes.

use super::ConnId;
use olelo_mem::heap::Tag;
use olelo_mem::queue::Queue;
use olelo_mem::table::Table;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

pub(super) static SHARED: OnceLock<Shared> = OnceLock::new();

pub(super) struct Shared {
    /// hash(peer address) → record [address 19][connection u64]
    table: Table,
    /// hash(address) → record [address 17][slot u16], one word: connections accepted from there
    sources: Table,
    /// Slots of the TCP workers, and the queue of each.
    pub(super) workers: Vec<(u16, Queue)>,
    pub(super) tag: Tag,
}

/// Most messages that wait for one worker.
pub(super) const POSTS: usize = 4096;

/// Makes the shared table and queues; main, before the forks. `slots` are the TCP workers'.
pub(crate) fn create(slots: &[u16]) -> Result<(), String> {
    let tag = Tag::register("tcp");
    let table = Table::create("tcp", 4096, tag).map_err(|e| e.to_string())?;
    let sources = Table::create("tcp-sources", 1024, tag).map_err(|e| e.to_string())?;
    let mut workers = Vec::new();
    for s in slots {
        workers.push((
            *s,
            Queue::create(&format!("tcp-{s}"), POSTS).map_err(|e| e.to_string())?,
        ));
    }
    let _ = SHARED.set(Shared {
        table,
        sources,
        workers,
        tag,
    });
    Ok(())
}

/// Connections and aliases known.
pub fn connections() -> usize {
    SHARED.get().map_or(0, |s| s.table.len())
}

/// Every known connection: peer and connection.
pub fn list() -> Vec<(SocketAddr, ConnId)> {
    let mut out = Vec::new();
    if let Some(s) = SHARED.get() {
        s.table.for_each_bucket(|b| {
            out.extend(b.iter().filter_map(|r| decode_entry(r.bytes())));
        });
    }
    out
}

/// Forgets the connections of a dead worker; main, after the repair.
pub(crate) fn worker_died(slot: u16) {
    let Some(s) = SHARED.get() else { return };
    s.table.for_each_bucket(|b| {
        let gone: Vec<_> = b
            .iter()
            .filter(|r| decode_entry(r.bytes()).is_some_and(|(_, c)| c.slot == slot))
            .map(|r| r.id())
            .collect();
        for id in gone {
            b.remove(id);
        }
    });
    s.sources.for_each_bucket(|b| {
        b.retain(|r| r.bytes().get(17..) != Some(&slot.to_le_bytes()[..]));
    });
}

/// Counts a connection that worker `slot` accepted from `ip`. False, and not counted, where that
/// address has `limit` already.
pub(super) fn take_source(ip: IpAddr, slot: u16, limit: usize) -> bool {
    let Some(s) = SHARED.get() else { return true };
    let key = encode_ip(ip);
    let mut b = s.sources.lock(hash(ip));
    let mut total = 0;
    let mut mine = None;
    for r in b.iter().filter(|r| r.bytes().starts_with(&key)) {
        let n = r.words().first().map_or(0, |w| w.load(Ordering::Relaxed));
        total += n;
        if r.bytes().get(17..) == Some(&slot.to_le_bytes()[..]) {
            mine = Some(r.id());
        }
    }
    if total >= limit as u64 {
        return false;
    }
    match mine.and_then(|id| b.get(id)) {
        Some(r) => {
            r.words()[0].fetch_add(1, Ordering::Relaxed);
        }
        // Without memory the connection is not counted, but served.
        None => drop(b.insert(&[&key, &slot.to_le_bytes()], Vec::new(), &[1])),
    }
    true
}

/// A connection that [`take_source`] counted has ended.
pub(super) fn give_source(ip: IpAddr, slot: u16) {
    let Some(s) = SHARED.get() else { return };
    let key = [&encode_ip(ip)[..], &slot.to_le_bytes()].concat();
    let mut b = s.sources.lock(hash(ip));
    let last = b.iter().find(|r| r.bytes() == key).and_then(|r| {
        let before = r.words()[0].fetch_sub(1, Ordering::Relaxed);
        (before <= 1).then(|| r.id())
    });
    if let Some(id) = last {
        b.remove(id);
    }
}

/// The connection to a peer, if there is one.
pub fn find(peer: SocketAddr) -> Option<ConnId> {
    let s = SHARED.get()?;
    let b = s.table.lock(hash(peer));
    b.iter()
        .filter_map(|r| decode_entry(r.bytes()))
        .find(|(a, _)| *a == peer)
        .map(|(_, c)| c)
}

pub(super) fn remember(peer: SocketAddr, id: ConnId) {
    let Some(s) = SHARED.get() else { return };
    let mut b = s.table.lock(hash(peer));
    let entry = encode_addr(peer);
    if b.insert(&[&entry, &id.to_bits().to_le_bytes()], Vec::new(), &[])
        .is_err()
    {
        crate::warn!(
            "core",
            "shared memory is short: the connection to {peer} won't be reused by other workers"
        );
    }
}

pub(super) fn forget(peer: SocketAddr, id: ConnId) {
    let Some(s) = SHARED.get() else { return };
    let mut b = s.table.lock(hash(peer));
    let found = b
        .iter()
        .find(|r| decode_entry(r.bytes()) == Some((peer, id)))
        .map(|r| r.id());
    if let Some(n) = found {
        b.remove(n);
    }
}

/// The address may be any peer's, so the hash is keyed per server.
pub(super) fn hash(a: impl Hash) -> u32 {
    let mut h = DefaultHasher::new();
    crate::proc::secret().hash(&mut h);
    a.hash(&mut h);
    h.finish() as u32
}

/// `[family][16 bytes of address][port]`.
pub(super) fn encode_addr(a: SocketAddr) -> [u8; 19] {
    let mut out = [0u8; 19];
    out[..17].copy_from_slice(&encode_ip(a.ip()));
    out[17..].copy_from_slice(&a.port().to_le_bytes());
    out
}

/// `[family][16 bytes of address]`.
fn encode_ip(ip: IpAddr) -> [u8; 17] {
    let mut out = [0u8; 17];
    match ip {
        IpAddr::V4(v) => {
            out[0] = 4;
            out[1..5].copy_from_slice(&v.octets());
        }
        IpAddr::V6(v) => {
            out[0] = 6;
            out[1..17].copy_from_slice(&v.octets());
        }
    }
    out
}

pub(super) fn decode_addr(b: &[u8]) -> Option<SocketAddr> {
    let ip = match b.first()? {
        4 => IpAddr::from(<[u8; 4]>::try_from(b.get(1..5)?).ok()?),
        6 => IpAddr::from(<[u8; 16]>::try_from(b.get(1..17)?).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(
        ip,
        u16::from_le_bytes(b.get(17..19)?.try_into().ok()?),
    ))
}

fn decode_entry(b: &[u8]) -> Option<(SocketAddr, ConnId)> {
    Some((decode_addr(b)?, ConnId::from_bits(word(b, 19)?)?))
}

pub(super) fn word(b: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(b.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip_and_garbage_is_refused() {
        for text in ["127.0.0.1:5060", "[2001:db8::1]:65535"] {
            let a: SocketAddr = text.parse().unwrap();
            assert_eq!(decode_addr(&encode_addr(a)), Some(a));
        }
        assert_eq!(decode_addr(&[9; 19]), None);
        assert_eq!(decode_addr(&[4, 1]), None);
    }
}
