//! The cache of names, shared by all processes.
//!
//! One entry for a name and type: a record of a [`Table`], replaced as a whole, so a reader never sees
//! half an answer and a process that dies leaves the old one or the new one. An entry lists its
//! records, each with its own end; one without records says that there is nothing (*negative*). What
//! an operator added with flag 2 is *permanent*. The only thing that changes in place is the time of
//! last use.
//!
//! Memory is bounded by `dns_cache_mem`. Where it is full, what has expired goes; then, with
//! `dns_cache_del_nonexp`, what was not used for longest; otherwise the new answer is not kept.

use super::params;
use super::record::{self, Kind, Record};
use crate::timer::monotonic_ms;
use olelo_mem::atomic::{AtomicU64, Ordering::Relaxed};
use olelo_mem::heap::Tag;
use olelo_mem::table::{BucketGuard, RecordView, Table};
use olelo_mem::words::Words;
use std::hash::{DefaultHasher, Hasher};
use std::sync::OnceLock;

/// There is no such name or record.
pub const NEGATIVE: u8 = 1;
/// Stays until it is removed.
pub const PERMANENT: u8 = 2;
/// Nobody could be asked; only with [`NEGATIVE`].
pub const UNANSWERED: u8 = 8;

/// Bytes that an entry costs besides its own.
const OVERHEAD: u64 = 64;
/// Milliseconds between two removals of expired entries for want of room.
const SWEEP_PAUSE_MS: u64 = 1000;

/// Words: bytes used, hits, misses, whether the servers are down, last sweep.
const USED: usize = 0;
const HITS: usize = 1;
const MISSES: usize = 2;
const SERVERS_DOWN: usize = 3;
const SWEPT: usize = 4;
const WORDS: usize = 8;

struct Cache {
    table: Table,
    words: Words,
}

static CACHE: OnceLock<Cache> = OnceLock::new();

/// What is known of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, lower case, without the last dot.
    pub name: String,
    /// Which of its records.
    pub kind: Kind,
    /// See [`NEGATIVE`], [`PERMANENT`], [`UNANSWERED`].
    pub flags: u8,
    /// When it ends, in milliseconds of the monotonic clock; 0 for never.
    pub expires: u64,
    /// When it was last used.
    pub last_used: u64,
    /// Bytes that it takes.
    pub size: u64,
    /// Its records and when each ends.
    pub records: Vec<(u64, Record)>,
}

impl Entry {
    /// It says that there is nothing.
    pub fn is_negative(&self) -> bool {
        self.flags & NEGATIVE != 0
    }

    /// It stays until it is removed.
    pub fn is_permanent(&self) -> bool {
        self.flags & PERMANENT != 0
    }

    fn is_over(&self, now: u64) -> bool {
        self.expires != 0 && self.expires <= now
    }
}

/// Makes the cache; main, before the forks.
pub(crate) fn create() -> Result<(), String> {
    if CACHE.get().is_some() || !params::CACHE_INIT.is_on() {
        return Ok(());
    }
    let err = |e: olelo_mem::ArenaError| e.to_string();
    let table = Table::create("dns", 1024, Tag::register("dns")).map_err(err)?;
    let words = Words::create("dns.words", WORDS).map_err(err)?;
    let _ = CACHE.set(Cache { table, words });
    Ok(())
}

/// What is known of a name and has not ended. Nothing where the cache is not used.
pub fn get(name: &str, kind: Kind) -> Option<Entry> {
    let c = CACHE.get().filter(|_| params::USE_CACHE.is_on())?;
    let now = monotonic_ms();
    // While no server can be asked, old answers are better than none.
    let down = servers_down();
    let guard = c.table.lock(hash(name, kind));
    let found = find(&guard, name, kind).and_then(|view| {
        let mut e = decode(&view)?;
        if e.is_over(now) && !down {
            return None;
        }
        if !down {
            e.records.retain(|(end, _)| *end == 0 || *end > now);
        }
        if let Some(w) = view.words().first() {
            w.store(now, Relaxed);
        }
        Some(e)
    });
    drop(guard);
    let count = if found.is_some() { HITS } else { MISSES };
    if let Some(w) = c.words.get(count) {
        w.fetch_add(1, Relaxed);
    }
    found
}

/// Keeps an answer: seconds and record of each; none for "there is nothing".
pub fn put(name: &str, kind: Kind, records: Vec<(u32, Record)>, flags: u8) -> bool {
    if !params::USE_CACHE.is_on() {
        return false;
    }
    let now = monotonic_ms();
    if records.is_empty() {
        let seconds = params::NEGATIVE_TTL.get().max(0) as u64;
        return seconds > 0 && store(name, kind, now + seconds * 1000, flags | NEGATIVE, &[]);
    }
    let (least, most) = (params::MIN_TTL.get().max(0), params::MAX_TTL.get().max(0));
    let records: Vec<(u64, Record)> = records
        .into_iter()
        .map(|(ttl, r)| {
            let ttl = i64::from(ttl).max(least).min(most.max(least));
            (now + ttl as u64 * 1000, r)
        })
        .filter(|(end, _)| *end > now)
        .collect();
    let Some(expires) = records.iter().map(|(end, _)| *end).max() else {
        return false;
    };
    let old = || peek(name, kind).filter(|e| !e.is_over(now) && !e.is_negative());
    let keep_old = match params::REC_PREF.get() {
        1 => old().is_some(),
        3 => old().is_some_and(|e| e.expires == 0 || e.expires > expires),
        _ => old().is_some_and(|e| e.is_permanent()),
    };
    !keep_old && store(name, kind, expires, flags, &records)
}

/// Adds a record by hand, to those that the name has. `seconds` counts unless `flags` say
/// [`PERMANENT`]; with [`NEGATIVE`] the entry says that there is nothing.
pub fn add(name: &str, record: Record, seconds: u32, flags: u8) -> bool {
    let (name, kind, now) = (record::name(name), record.kind(), monotonic_ms());
    let flags = flags & (NEGATIVE | PERMANENT);
    let end = match flags & PERMANENT {
        0 => now + u64::from(seconds) * 1000,
        _ => 0,
    };
    if flags & NEGATIVE != 0 {
        return store(&name, kind, end, flags, &[]);
    }
    let before = peek(&name, kind).filter(|e| !e.is_over(now));
    let mut records = before.map(|e| e.records).unwrap_or_default();
    records.retain(|(end, r)| *r != record && (*end == 0 || *end > now));
    records.push((end, record));
    let ends = records.iter().map(|(end, _)| *end);
    let expires = if records.iter().any(|(end, _)| *end == 0) {
        0
    } else {
        ends.max().unwrap_or(end)
    };
    let flags = if expires == 0 { PERMANENT } else { 0 };
    store(&name, kind, expires, flags, &records)
}

/// Removes what is known of a name; false where nothing is.
pub fn remove(name: &str, kind: Kind) -> bool {
    let Some(c) = CACHE.get() else { return false };
    let name = record::name(name);
    let mut guard = c.table.lock(hash(&name, kind));
    let found = find(&guard, &name, kind).map(|v| (v.id(), cost(v.bytes().len())));
    let Some((id, size)) = found else {
        return false;
    };
    guard.remove(id);
    c.used(-(size as i64));
    true
}

/// Removes everything; without `force`, what is permanent stays.
pub fn remove_all(force: bool) {
    retain(|e| !force && e.is_permanent());
}

/// All entries, for showing.
pub fn all() -> Vec<Entry> {
    let mut entries = Vec::new();
    if let Some(c) = CACHE.get() {
        c.table.for_each_bucket(|guard| {
            entries.extend(guard.iter().filter_map(|v| decode(&v)));
        });
    }
    let now = monotonic_ms();
    entries.retain(|e| !e.is_over(now));
    entries
}

/// Removes what has ended; the job of the slow timer.
pub(crate) fn collect(now: u64) {
    if !servers_down() {
        retain(|e| !e.is_over(now));
    }
}

/// Bytes used, and how many may be.
pub fn memory() -> (u64, u64) {
    let used = CACHE.get().map_or(0, |c| c.word(USED));
    (used, limit())
}

/// How often what was looked for was there, and was not.
pub fn hits_and_misses() -> (u64, u64) {
    CACHE
        .get()
        .map_or((0, 0), |c| (c.word(HITS), c.word(MISSES)))
}

/// Starts counting hits and misses anew.
pub fn reset_counts() {
    for i in [HITS, MISSES] {
        if let Some(w) = CACHE.get().and_then(|c| c.words.get(i)) {
            w.store(0, Relaxed);
        }
    }
}

/// An operator has said that no name server answers: nobody is asked, and old answers count.
pub fn servers_down() -> bool {
    CACHE.get().is_some_and(|c| c.word(SERVERS_DOWN) != 0)
}

/// Says whether name servers can be asked.
pub fn set_servers_down(down: bool) {
    if let Some(w) = CACHE.get().and_then(|c| c.words.get(SERVERS_DOWN)) {
        w.store(down.into(), Relaxed);
    }
}

impl Cache {
    fn word(&self, i: usize) -> u64 {
        self.words.get(i).map_or(0, |w| w.load(Relaxed))
    }

    fn used(&self, change: i64) {
        if let Some(w) = self.words.get(USED) {
            let _ = w.fetch_update(Relaxed, Relaxed, |n| Some(n.saturating_add_signed(change)));
        }
    }
}

fn limit() -> u64 {
    params::CACHE_MEM.get().clamp(0, 1 << 22) as u64 * 1024
}

fn cost(bytes: usize) -> u64 {
    bytes as u64 + OVERHEAD
}

/// An entry as it is, whether it has ended or not, without touching it.
fn peek(name: &str, kind: Kind) -> Option<Entry> {
    let guard = CACHE.get()?.table.lock(hash(name, kind));
    find(&guard, name, kind).and_then(|v| decode(&v))
}

fn store(name: &str, kind: Kind, expires: u64, flags: u8, records: &[(u64, Record)]) -> bool {
    let Some(c) = CACHE.get() else { return false };
    let name = record::name(name);
    let bytes = encode(&name, kind, expires, flags, records);
    let size = cost(bytes.len());
    if !make_room(c, size) {
        return false;
    }
    let mut guard = c.table.lock(hash(&name, kind));
    let old = find(&guard, &name, kind).map(|v| (v.id(), cost(v.bytes().len())));
    if let Some((id, old_size)) = old {
        guard.remove(id);
        c.used(-(old_size as i64));
    }
    match guard.insert(&[&bytes], Vec::new(), &[monotonic_ms()]) {
        Ok(_) => {
            c.used(size as i64);
            true
        }
        Err(e) => {
            drop(guard);
            crate::warn!("core", "{name} is not remembered: {e}");
            false
        }
    }
}

/// Sees to it that so many bytes fit.
fn make_room(c: &Cache, size: u64) -> bool {
    let fits = || c.word(USED) + size <= limit();
    if fits() {
        return true;
    }
    let now = monotonic_ms();
    if let Some(w) = c.words.get(SWEPT)
        && w.load(Relaxed) + SWEEP_PAUSE_MS <= now
    {
        w.store(now, Relaxed);
        collect(now);
    }
    if !fits() && params::DEL_NONEXP.is_on() && size <= limit() {
        evict(size);
    }
    fits()
}

/// Removes what was not used for longest: so much that this size fits, and a sixteenth of the whole
/// besides, so that a full cache is not gone through for every new name.
fn evict(size: u64) {
    let target = (limit() - limit() / 16).saturating_sub(size);
    let mut oldest = all();
    oldest.retain(|e| !e.is_permanent());
    oldest.sort_by_key(|e| e.last_used);
    for e in oldest {
        if memory().0 <= target {
            return;
        }
        remove(&e.name, e.kind);
    }
}

/// Removes all but what `keep` says, and counts the bytes anew: a process that died while it added
/// may have left the sum wrong.
fn retain(mut keep: impl FnMut(&Entry) -> bool) {
    let Some(c) = CACHE.get() else { return };
    let mut left = 0;
    c.table.for_each_bucket(|guard| {
        guard.retain(|v| {
            let stays = decode(&v).is_some_and(|e| keep(&e));
            if stays {
                left += cost(v.bytes().len());
            }
            stays
        });
    });
    if let Some(w) = c.words.get(USED) {
        w.store(left, Relaxed);
    }
}

/// The bucket: keyed, since names come from the network.
fn hash(name: &str, kind: Kind) -> u32 {
    let mut h = DefaultHasher::new();
    h.write_u64(crate::proc::secret());
    h.write_u16(kind as u16);
    h.write(name.as_bytes());
    h.finish() as u32
}

fn find<'a>(guard: &'a BucketGuard, name: &str, kind: Kind) -> Option<RecordView<'a>> {
    guard
        .iter()
        .find(|v| key(v.bytes()) == Some((kind as u16, name.as_bytes())))
}

/// Type and name of an encoded entry.
fn key(mut b: &[u8]) -> Option<(u16, &[u8])> {
    record::take::<9>(&mut b)?;
    let kind = record::take_number(&mut b)?;
    let len = usize::from(record::take_number(&mut b)?);
    Some((kind, b.get(..len)?))
}

fn encode(name: &str, kind: Kind, expires: u64, flags: u8, records: &[(u64, Record)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(&expires.to_le_bytes());
    out.push(flags);
    out.extend_from_slice(&(kind as u16).to_le_bytes());
    record::put_text(&mut out, name);
    for (end, r) in records {
        out.extend_from_slice(&end.to_le_bytes());
        r.encode(&mut out);
    }
    out
}

fn decode(v: &RecordView<'_>) -> Option<Entry> {
    let mut b = v.bytes();
    let b = &mut b;
    let size = cost(b.len());
    let expires = u64::from_le_bytes(record::take(b)?);
    let [flags] = record::take(b)?;
    let kind = Kind::from_number(record::take_number(b)?)?;
    let name = record::take_text(b)?;
    let mut records = Vec::new();
    while !b.is_empty() {
        let end = u64::from_le_bytes(record::take(b)?);
        records.push((end, Record::decode(b)?));
    }
    let last_used = |w: &AtomicU64| w.load(Relaxed);
    Some(Entry {
        name,
        kind,
        flags,
        expires,
        last_used: v.words().first().map_or(0, last_used),
        size,
        records,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u8) -> Record {
        Record::Address([192, 0, 2, n].into())
    }

    fn records(name: &str, kind: Kind) -> Option<Vec<Record>> {
        Some(
            get(name, kind)?
                .records
                .into_iter()
                .map(|(_, r)| r)
                .collect(),
        )
    }

    /// One test, since all share one cache and its settings.
    #[test]
    fn names_are_kept_replaced_and_forgotten() {
        let _alone = super::super::fake::ALONE.lock();
        crate::server::for_tests(vec![]);
        create().unwrap();
        assert_eq!(get("a.cache.test", Kind::A), None);
        assert!(put(
            "a.cache.test",
            Kind::A,
            vec![(60, ip(1)), (0, ip(2))],
            0
        ));
        assert_eq!(
            records("a.cache.test", Kind::A),
            Some(vec![ip(1)]),
            "a TTL of 0 is for once"
        );
        assert_eq!(get("a.cache.test", Kind::Srv), None);
        assert!(put("a.cache.test", Kind::A, vec![(60, ip(3))], 0));
        assert_eq!(records("a.cache.test", Kind::A), Some(vec![ip(3)]));
        // By hand, to what is there.
        assert!(add("A.cache.test.", ip(4), 60, 0));
        assert!(add("a.cache.test", ip(4), 60, 0));
        assert_eq!(records("a.cache.test", Kind::A), Some(vec![ip(3), ip(4)]));
        // Nothing is an answer too.
        assert!(put("none.cache.test", Kind::A, vec![], 0));
        assert!(get("none.cache.test", Kind::A).unwrap().is_negative());
        params::NEGATIVE_TTL.set(0);
        assert!(!put("none2.cache.test", Kind::A, vec![], 0));
        params::NEGATIVE_TTL.set(60);
        // What is over is gone, unless nobody can be asked.
        assert!(add("over.cache.test", ip(1), 0, 0));
        assert_eq!(get("over.cache.test", Kind::A), None);
        set_servers_down(true);
        assert_eq!(records("over.cache.test", Kind::A), Some(vec![ip(1)]));
        set_servers_down(false);
        // Limits of the time.
        params::MIN_TTL.set(10);
        assert!(put("over.cache.test", Kind::A, vec![(0, ip(5))], 0));
        assert_eq!(records("over.cache.test", Kind::A), Some(vec![ip(5)]));
        params::MIN_TTL.set(0);
        params::MAX_TTL.set(100);
        assert!(put("long.cache.test", Kind::A, vec![(9999, ip(5))], 0));
        assert!(get("long.cache.test", Kind::A).unwrap().expires <= monotonic_ms() + 100_000);
        params::MAX_TTL.set(4_294_967_295);
        // Which of two answers wins.
        params::REC_PREF.set(1);
        assert!(!put("long.cache.test", Kind::A, vec![(9999, ip(6))], 0));
        params::REC_PREF.set(3);
        assert!(!put("long.cache.test", Kind::A, vec![(9, ip(6))], 0));
        assert!(put("long.cache.test", Kind::A, vec![(9999, ip(6))], 0));
        params::REC_PREF.set(0);
        // Permanent.
        assert!(add("always.cache.test", ip(7), 0, PERMANENT));
        assert!(
            !put("always.cache.test", Kind::A, vec![(9, ip(6))], 0),
            "what was said by hand stays"
        );
        remove_all(false);
        assert_eq!(all().len(), 1);
        assert!(memory().0 > 0 && memory().0 < 300, "{:?}", memory());
        assert!(remove("always.cache.test", Kind::A) && !remove("always.cache.test", Kind::A));
        assert_eq!(memory().0, 0);
        // The bound.
        params::CACHE_MEM.set(1);
        let kept =
            (0..50).filter(|i| put(&format!("n{i}.cache.test"), Kind::A, vec![(60, ip(1))], 0));
        let kept = kept.count();
        assert!((3..15).contains(&kept), "{kept}");
        assert!(memory().0 <= 1024);
        params::DEL_NONEXP.set(1);
        assert!(put("new.cache.test", Kind::A, vec![(60, ip(1))], 0));
        assert!(records("new.cache.test", Kind::A).is_some() && memory().0 <= 1024);
        params::DEL_NONEXP.set(0);
        params::CACHE_MEM.set(500);
        remove_all(true);
        params::USE_CACHE.set(0);
        assert!(!put("n.cache.test", Kind::A, vec![(60, ip(1))], 0));
        params::USE_CACHE.set(1);
        assert_eq!(olelo_mem::check_all(), olelo_mem::Checkup::default());
    }
}
