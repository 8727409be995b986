//! The location tables: one shared hash table of records, keyed by table and address of record.
//!
//! All location tables share the buckets; a record names its table by number. A change is made on a
//! copy ([`Table::read`]), without a lock, and stored with [`Table::commit`], which locks the bucket
//! and stores only if nobody else has changed the record meanwhile: so nothing of a module ever
//! runs under the lock, and [`Table::update`] just tries again. Callbacks run after the lock is gone.

use crate::contact::{Contact, Record, contacts_of, encode, head};
use olelo_core::hooks::Hook;
use olelo_core::{proc, timer};
use olelo_mem::heap::{Tag, is_short, use_reserve};
use olelo_mem::table::{BucketGuard, NodeId, Table as Buckets, TableError};
use olelo_mem::words::Words;
use std::cell::Cell;
use std::hash::{DefaultHasher, Hasher};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{OnceLock, RwLock};

/// Most location tables.
pub const MAX_TABLES: usize = 32;
/// Most contacts of one address of record, whatever `max_contacts` says.
pub const MAX_CONTACTS: usize = 256;

/// What happened to a contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Insert,
    /// It was registered again.
    Update,
    /// It was removed.
    Delete,
    /// Its time is over.
    Expire,
}

/// Functions told of each change, outside of any lock: change, table, address of record, contact.
/// Having any costs each registration a comparison of the contacts before and after.
pub static CHANGED: Hook<OnChange> = Hook::new();

/// Functions told of contacts whose time is over, outside of any lock.
pub static EXPIRED: Hook<OnExpired> = Hook::new();

/// A function told of a contact that has ended: table, address of record, contact.
pub type OnExpired = fn(&'static Table, &[u8], &Contact<'_>);

/// A function told of changes.
pub type OnChange = fn(Change, &'static Table, &[u8], &Contact<'_>);

/// Why nothing was stored.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum StoreError {
    /// No room.
    #[error("no shared memory left for the contacts of \"{0}\"; start the server with more (-m)")]
    NoMemory(String),
    /// Too many contacts.
    #[error("\"{0}\" has {MAX_CONTACTS} contacts already")]
    TooMany(String),
    /// Others changed the record each time.
    #[error("the contacts of \"{0}\" are being changed by others all the time")]
    Busy(String),
    /// The module is not loaded.
    #[error("usrloc is not initialised")]
    NotReady,
}

/// One location table.
#[derive(Debug)]
pub struct Table {
    number: u8,
    name: String,
}

struct Store {
    buckets: Buckets,
    /// Names of the tables, one bucket; bytes: number, name.
    names: Buckets,
    /// Per table: users, contacts, expired.
    counts: Words,
    ruids: Words,
}

static STORE: OnceLock<Store> = OnceLock::new();
static KNOWN: RwLock<Vec<&'static Table>> = RwLock::new(Vec::new());

/// Makes the shared structures; main, before the forks.
pub fn init(bits: u32) -> Result<(), String> {
    if STORE.get().is_some() {
        return Ok(());
    }
    let make = || -> Result<Store, olelo_mem::arena::ArenaError> {
        Ok(Store {
            buckets: Buckets::create("usrloc", 1 << bits.clamp(1, 24), Tag::register("usrloc"))?,
            names: Buckets::create("usrloc_tables", 1, Tag::register("usrloc"))?,
            counts: Words::create("usrloc_counts", MAX_TABLES * 3)?,
            ruids: Words::create("usrloc_ruids", 1)?,
        })
    };
    let store = make().map_err(|e| format!("can't make the location table: {e}"))?;
    let _ = STORE.set(store);
    Ok(())
}

/// The location table of this name, made on first use. `None`: usrloc is not loaded, or there are
/// [`MAX_TABLES`] already.
pub fn table(name: &str) -> Option<&'static Table> {
    if let Some(t) = known(|t| t.name == name) {
        return Some(t);
    }
    let store = STORE.get()?;
    let number = {
        let mut names = store.names.lock_bucket(0);
        let found = names
            .iter()
            .find(|r| r.bytes().get(1..) == Some(name.as_bytes()))
            .and_then(|r| r.bytes().first().copied());
        match found {
            Some(n) => n,
            None if names.len() < MAX_TABLES => {
                let number = names.len() as u8;
                names
                    .insert(&[&[number], name.as_bytes()], Vec::new(), &[])
                    .ok()?;
                number
            }
            None => return None,
        }
    };
    Some(remember(number, name))
}

/// The location tables that exist.
pub fn tables() -> Vec<&'static Table> {
    let Some(store) = STORE.get() else {
        return Vec::new();
    };
    let mut names: Vec<(u8, String)> = store
        .names
        .lock_bucket(0)
        .iter()
        .filter_map(|r| {
            let (number, name) = r.bytes().split_first()?;
            Some((*number, String::from_utf8_lossy(name).into_owned()))
        })
        .collect();
    names.sort();
    names.iter().map(|(n, name)| remember(*n, name)).collect()
}

/// The number of buckets.
pub fn bucket_count() -> u32 {
    STORE.get().map_or(0, |s| s.buckets.bucket_count())
}

/// A new unique id for a contact's record: `uloc-<start>-<process>-<count>`.
pub fn new_ruid() -> String {
    static SEEN: AtomicU32 = AtomicU32::new(0);
    let count = match STORE.get().and_then(|s| s.ruids.get(0)) {
        Some(word) => word.fetch_add(1, Ordering::Relaxed) + 1,
        None => u64::from(SEEN.fetch_add(1, Ordering::Relaxed)) + 1,
    };
    let started = olelo_core::server::try_server().map_or(0, |s| s.started_at);
    format!("uloc-{:x}-{:x}-{count:x}", started, process_id())
}

/// This process' id without a system call each time. A fork takes the memory along, but the child
/// has another slot.
fn process_id() -> u32 {
    thread_local! {
        static KNOWN_ID: Cell<(u16, u32)> = const { Cell::new((u16::MAX, 0)) };
    }
    let slot = olelo_mem::slot::current_slot();
    match KNOWN_ID.get() {
        (s, id) if s == slot && id != 0 => id,
        _ => {
            let id = std::process::id();
            KNOWN_ID.set((slot, id));
            id
        }
    }
}

/// The hash of an address of record: shown as `aorhash`, and part of temporary GRUUs.
pub fn aor_hash(aor: &[u8]) -> u32 {
    let mut h = DefaultHasher::new();
    h.write_u64(proc::secret());
    h.write(aor);
    h.finish() as u32
}

/// Visits a copy of every record, of one table or all. No lock is held while `visit` runs; records
/// that change meanwhile may be seen as before or after.
pub fn for_each(only: Option<&Table>, mut visit: impl FnMut(&Record)) {
    for bucket in 0..bucket_count() {
        for_bucket(bucket, only, &mut visit);
    }
}

/// As [`for_each`] for one bucket: what sweeps use to divide their work.
pub fn for_bucket(bucket: u32, only: Option<&Table>, visit: &mut impl FnMut(&Record)) {
    let Some(store) = STORE.get() else { return };
    for record in copies(&store.buckets.lock_bucket(bucket), only) {
        visit(&record);
    }
}

/// Removes the contacts of one bucket that ended before `now`, and tells [`CHANGED`].
pub fn expire_bucket(bucket: u32, now: i64) -> usize {
    let Some(store) = STORE.get() else { return 0 };
    let due: Vec<Record> = {
        let guard = store.buckets.lock_bucket(bucket);
        guard
            .iter()
            .filter(|r| {
                head(r.bytes()).is_some_and(|h| h.first_expiry > 0 && h.first_expiry <= now)
            })
            .map(|r| Record {
                bytes: r.bytes().to_vec(),
            })
            .collect()
    };
    let mut gone = 0;
    for record in due {
        let Some(t) = by_number(record.table()) else {
            continue;
        };
        let kept: Vec<Contact<'_>> = record.valid(now).collect();
        // Changed meanwhile: the next sweep sees it again.
        if t.store(record.aor(), &record, &kept)
            .is_ok_and(|stored| stored.is_some())
        {
            for c in record.contacts().filter(|c| !c.is_valid(now)) {
                gone += 1;
                t.count(2, 1);
                tell(Change::Expire, t, record.aor(), &c);
                EXPIRED.list().iter().for_each(|f| f(t, record.aor(), &c));
            }
        }
    }
    gone
}

impl Table {
    /// Name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Addresses of record with a contact.
    pub fn users(&self) -> i64 {
        self.counted(0)
    }

    /// Contacts.
    pub fn contacts(&self) -> i64 {
        self.counted(1)
    }

    /// Contacts that have expired since the start.
    pub fn expired(&self) -> i64 {
        self.counted(2)
    }

    /// A copy of what is stored for `aor`; empty if nothing is.
    pub fn read(&self, aor: &[u8]) -> Record {
        let Some(store) = STORE.get() else {
            return Record::default();
        };
        let guard = store.buckets.lock(self.hash(aor));
        let bytes = self
            .locate(&guard, aor)
            .map(|(_, bytes)| bytes.to_vec())
            .unwrap_or_default();
        Record { bytes }
    }

    /// The record in the bucket of `hash` ([`aor_hash`]) that has a contact with this unique id.
    pub fn by_ruid(&self, hash: u32, ruid: &[u8]) -> Option<Record> {
        let store = STORE.get()?;
        let guard = store.buckets.lock(hash);
        guard.iter().find_map(|r| {
            let h = head(r.bytes())?;
            (h.table == self.number && contacts_of(&h).any(|c| c.ruid == ruid)).then(|| Record {
                bytes: r.bytes().to_vec(),
            })
        })
    }

    /// Stores `contacts` (in order of preference; none: removes the record) in place of `old`, which
    /// [`Table::read`] gave. False: somebody else has changed the record since.
    pub fn commit(
        &'static self,
        aor: &[u8],
        old: &Record,
        contacts: &[Contact<'_>],
    ) -> Result<bool, StoreError> {
        Ok(self.commit_record(aor, old, contacts)?.is_some())
    }

    /// As [`Table::commit`]; gives what is stored now, or `None` where somebody else was faster.
    pub fn commit_record(
        &'static self,
        aor: &[u8],
        old: &Record,
        contacts: &[Contact<'_>],
    ) -> Result<Option<Record>, StoreError> {
        let new = self.store(aor, old, contacts)?;
        if new.is_some() && !CHANGED.list().is_empty() {
            self.tell_differences(aor, old, contacts);
        }
        Ok(new)
    }

    /// Reads, lets `change` decide, and stores; again where somebody else was faster. `change` gives
    /// the new list of contacts, or `None` to leave all as it is.
    pub fn update(
        &'static self,
        aor: &[u8],
        mut change: impl for<'r> FnMut(&'r Record) -> Option<Vec<Contact<'r>>>,
    ) -> Result<(), StoreError> {
        for _ in 0..32 {
            let old = self.read(aor);
            let Some(new) = change(&old) else {
                return Ok(());
            };
            if self.commit(aor, &old, &new)? {
                return Ok(());
            }
        }
        Err(StoreError::Busy(String::from_utf8_lossy(aor).into_owned()))
    }

    /// Removes the contacts that `which` names; how many went.
    pub fn remove(
        &'static self,
        aor: &[u8],
        which: impl Fn(&Contact<'_>) -> bool,
    ) -> Result<usize, StoreError> {
        let mut gone = 0;
        self.update(aor, |old| {
            let all = old.contacts().count();
            let kept: Vec<Contact<'_>> = old.contacts().filter(|c| !which(c)).collect();
            gone = all - kept.len();
            (gone > 0).then_some(kept)
        })?;
        Ok(gone)
    }

    /// Removes every record of this table.
    pub fn flush(&'static self) {
        for_each(Some(self), |r| {
            let _ = self.remove(r.aor(), |_| true);
        });
    }

    /// What was stored (nothing, where there are no contacts); `None` if `old` is no longer there.
    fn store(
        &self,
        aor: &[u8],
        old: &Record,
        contacts: &[Contact<'_>],
    ) -> Result<Option<Record>, StoreError> {
        let store = STORE.get().ok_or(StoreError::NotReady)?;
        let shown = || String::from_utf8_lossy(aor).into_owned();
        if contacts.len() > MAX_CONTACTS {
            return Err(StoreError::TooMany(shown()));
        }
        let mut bytes = Vec::with_capacity(old.bytes.len() + 320);
        encode(self.number, aor, contacts, &mut bytes);
        // What does not grow is no new work: renewals and removals go on when memory is short.
        let grows = contacts.len() > old.count();
        if grows && is_short() {
            return Err(StoreError::NoMemory(shown()));
        }
        let _reserve = (!grows).then(use_reserve);
        let mut guard = store.buckets.lock(self.hash(aor));
        let found = self
            .locate(&guard, aor)
            .map(|(id, now)| (id, now == old.bytes));
        match (found, contacts.is_empty()) {
            (Some((_, false)), _) => return Ok(None),
            (None, _) if !old.is_empty() => return Ok(None),
            (None, true) => {}
            (None, false) => {
                guard
                    .insert(&[&bytes], Vec::new(), &[])
                    .map_err(|_| StoreError::NoMemory(shown()))?;
            }
            (Some((id, true)), true) => {
                guard.remove(id);
            }
            (Some((id, true)), false) => {
                guard
                    .replace(id, &[&bytes], Vec::new())
                    .map_err(|e| match e {
                        TableError::Gone => StoreError::Busy(shown()),
                        _ => StoreError::NoMemory(shown()),
                    })?;
            }
        }
        drop(guard);
        self.count(
            0,
            i64::from(!contacts.is_empty()) - i64::from(!old.is_empty()),
        );
        self.count(1, contacts.len() as i64 - old.count() as i64);
        if contacts.is_empty() {
            bytes.clear();
        }
        Ok(Some(Record { bytes }))
    }

    fn tell_differences(&'static self, aor: &[u8], old: &Record, new: &[Contact<'_>]) {
        for c in new {
            match old.contacts().find(|o| o.ruid == c.ruid) {
                None => tell(Change::Insert, self, aor, c),
                Some(o) if o != *c => tell(Change::Update, self, aor, c),
                Some(_) => {}
            }
        }
        for o in old.contacts() {
            if !new.iter().any(|c| c.ruid == o.ruid) {
                tell(Change::Delete, self, aor, &o);
            }
        }
    }

    fn locate<'g>(&self, guard: &'g BucketGuard, aor: &[u8]) -> Option<(NodeId, &'g [u8])> {
        guard.iter().find_map(|r| {
            let h = head(r.bytes())?;
            (h.table == self.number && h.aor == aor).then(|| (r.id(), r.bytes()))
        })
    }

    /// Tables share buckets; the same user in two tables shares the bucket too, so that the hash
    /// in a temporary GRUU needs no table.
    fn hash(&self, aor: &[u8]) -> u32 {
        aor_hash(aor)
    }

    fn count(&self, which: usize, by: i64) {
        if by == 0 {
            return;
        }
        if let Some(word) = STORE
            .get()
            .and_then(|s| s.counts.get(usize::from(self.number) * 3 + which))
        {
            word.fetch_add(by as u64, Ordering::Relaxed);
        }
    }

    fn counted(&self, which: usize) -> i64 {
        STORE
            .get()
            .and_then(|s| s.counts.get(usize::from(self.number) * 3 + which))
            .map_or(0, |w| w.load(Ordering::Relaxed) as i64)
    }
}

/// Inserts `contact` so that the list stays ordered: by q, the highest first and equals in order of
/// arrival, or (`newest_first`, `desc_time_order`) by time.
pub fn insert_ordered<'a>(list: &mut Vec<Contact<'a>>, contact: Contact<'a>, newest_first: bool) {
    let at = if newest_first {
        list.iter().position(|c| c.modified <= contact.modified)
    } else {
        list.iter().position(|c| c.q < contact.q)
    };
    list.insert(at.unwrap_or(list.len()), contact);
}

fn tell(change: Change, t: &'static Table, aor: &[u8], c: &Contact<'_>) {
    CHANGED.list().iter().for_each(|f| f(change, t, aor, c));
}

fn copies(guard: &BucketGuard, only: Option<&Table>) -> Vec<Record> {
    guard
        .iter()
        .filter(|r| only.is_none_or(|t| r.bytes().first() == Some(&t.number)))
        .map(|r| Record {
            bytes: r.bytes().to_vec(),
        })
        .collect()
}

fn known(is: impl Fn(&Table) -> bool) -> Option<&'static Table> {
    KNOWN
        .read()
        .ok()
        .and_then(|k| k.iter().copied().find(|t| is(t)))
}

fn by_number(number: u8) -> Option<&'static Table> {
    known(|t| t.number == number).or_else(|| tables().into_iter().find(|t| t.number == number))
}

fn remember(number: u8, name: &str) -> &'static Table {
    if let Some(t) = known(|t| t.number == number) {
        return t;
    }
    // At most MAX_TABLES of these per process, for its whole life.
    let t: &'static Table = Box::leak(Box::new(Table {
        number,
        name: name.to_owned(),
    }));
    if let Ok(mut k) = KNOWN.write() {
        k.push(t);
    }
    t
}

/// Seconds of the wall clock.
pub fn now() -> i64 {
    timer::wall_s()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> &'static Table {
        olelo_core::server::for_tests(vec![crate::module()]);
        init(10).unwrap();
        table("location").unwrap()
    }

    #[test]
    fn a_record_is_stored_changed_and_removed() {
        let t = ready();
        let none = t.read(b"alice");
        assert!(none.is_empty());
        let c = Contact {
            uri: b"sip:alice@192.0.2.1",
            ruid: b"r1",
            expires: now() + 60,
            ..Contact::default()
        };
        assert_eq!(
            t.commit(b"alice", &none, std::slice::from_ref(&c)),
            Ok(true)
        );
        let one = t.read(b"alice");
        assert_eq!(one.contacts().collect::<Vec<_>>(), vec![c.clone()]);
        let other = table("aliases").unwrap();
        assert!(other.read(b"alice").is_empty(), "tables are apart");
        assert_eq!(
            t.commit(b"alice", &none, &[c]),
            Ok(false),
            "a stale copy stores nothing"
        );
        assert_eq!(t.remove(b"alice", |c| c.ruid == b"r1"), Ok(1));
        assert!(t.read(b"alice").is_empty());
    }

    #[test]
    fn contacts_end_with_their_time() {
        let t = table_of_its_own("expiry");
        let at = 1_000_000;
        let contact = |ruid, expires| Contact {
            uri: b"sip:b@192.0.2.1",
            ruid,
            expires,
            ..Contact::default()
        };
        let list = [contact(b"a", at), contact(b"b", at + 1), contact(b"c", 0)];
        assert_eq!(t.commit(b"bob", &Record::default(), &list), Ok(true));
        let bucket = aor_hash(b"bob") & (bucket_count() - 1);
        assert_eq!(expire_bucket(bucket, at), 1);
        assert_eq!(t.read(b"bob").contacts().count(), 2);
        assert_eq!(expire_bucket(bucket, at + 100), 1);
        assert_eq!(
            t.read(b"bob").contacts().map(|c| c.ruid).next(),
            Some(&b"c"[..])
        );
        assert_eq!((t.users(), t.contacts(), t.expired()), (1, 1, 2));
    }

    #[test]
    fn an_address_with_one_contact_takes_few_bytes() {
        let t = table_of_its_own("small");
        let n = 2000;
        let before = olelo_mem::heap::stats();
        for i in 0..n {
            let user = format!("user{i:06}");
            let uri = format!(
                "sip:user{i:06}@203.0.113.17:40{:03};transport=udp",
                i % 1000
            );
            let ruid = new_ruid();
            let c = Contact {
                uri: uri.as_bytes(),
                call_id: b"3c26700c1adb-lu1lyoetbcmg@snom190.example",
                user_agent: b"Grandstream GXP2160 1.0.9.132",
                ruid: ruid.as_bytes(),
                expires: now() + 3600,
                modified: now(),
                cseq: 4711,
                socket: Some(olelo_core::net::SocketId(0)),
                ..Contact::default()
            };
            t.commit(user.as_bytes(), &Record::default(), &[c]).unwrap();
        }
        let after = olelo_mem::heap::stats();
        let each = (after.used - before.used) / n;
        assert!(each <= 450, "{each} bytes per address of record");
    }

    #[test]
    fn contacts_are_ordered_by_preference_or_time() {
        let with = |q, modified, ruid| Contact {
            q,
            modified,
            ruid,
            ..Contact::default()
        };
        let mut by_q = Vec::new();
        for c in [
            with(-1, 1, &b"a"[..]),
            with(700, 2, b"b"),
            with(700, 3, b"c"),
            with(100, 4, b"d"),
        ] {
            insert_ordered(&mut by_q, c, false);
        }
        assert_eq!(
            by_q.iter().map(|c| c.ruid).collect::<Vec<_>>().concat(),
            b"bcda"
        );
        let mut by_time = Vec::new();
        for c in [with(-1, 1, &b"a"[..]), with(700, 2, b"b"), with(1, 3, b"c")] {
            insert_ordered(&mut by_time, c, true);
        }
        assert_eq!(
            by_time.iter().map(|c| c.ruid).collect::<Vec<_>>().concat(),
            b"cba"
        );
    }

    fn table_of_its_own(name: &str) -> &'static Table {
        ready();
        table(name).unwrap()
    }
}
