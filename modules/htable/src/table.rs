//! One htable: named values in shared memory, each with an optional end.
//!
//! An entry's record is `[kind][length of key][key][text]`; its two in-place words are the integer
//! value and the end (seconds of the wall clock, 0 for none). So an integer is changed and counted
//! up where it is, under the bucket's lock and without allocating; a text is a new record. Hashes
//! are keyed per server. Nothing runs under a lock but this file.

use olelo_core::{proc, timer};
use olelo_mem::heap::Tag;
use olelo_mem::table::{BucketGuard, NodeId, RecordView, Table};
use std::hash::{DefaultHasher, Hasher};
use std::sync::atomic::Ordering;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Integer.
    Int(i64),
    /// Text.
    Str(Vec<u8>),
}

impl Value {
    /// As text: an integer in decimal.
    pub fn text(&self) -> Vec<u8> {
        match self {
            Value::Int(i) => i.to_string().into_bytes(),
            Value::Str(s) => s.clone(),
        }
    }
}

/// An entry as a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Key.
    pub key: Vec<u8>,
    /// Value.
    pub value: Value,
    /// End: seconds of the wall clock; 0 for none.
    pub ends: i64,
}

/// How a table was defined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Name.
    pub name: String,
    /// Buckets as a power of two.
    pub size: u32,
    /// Seconds an entry lives; 0 for ever.
    pub autoexpire: i64,
    /// What a missing key reads as.
    pub initval: Option<Value>,
    /// Whether a change begins an entry's time anew.
    pub updateexpire: bool,
}

impl Definition {
    /// Reads `name=>size=8;autoexpire=7200;…`. The error says what is wrong with which attribute.
    pub fn parse(text: &str) -> Result<Definition, String> {
        let (name, attributes) = text.split_once("=>").unwrap_or((text, ""));
        let name = name.trim();
        if name.is_empty() {
            return Err(format!(
                "\"{text}\" has no table name; write \"name=>size=8;\""
            ));
        }
        let mut d = Definition {
            name: name.to_owned(),
            size: 3,
            autoexpire: 0,
            initval: None,
            updateexpire: true,
        };
        for attribute in attributes
            .split(';')
            .map(str::trim)
            .filter(|a| !a.is_empty())
        {
            let (key, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            let (key, value) = (key.trim(), value.trim().trim_matches('"'));
            let number = || {
                value
                    .parse::<i64>()
                    .map_err(|_| format!("{key}=\"{value}\" of the htable \"{name}\" is no number"))
            };
            match key {
                // Outside of 2…31 the original takes 3; above 14 it takes 14.
                "size" => {
                    d.size = match number()? {
                        n @ 2..=14 => n as u32,
                        15.. => 14,
                        _ => 3,
                    }
                }
                "autoexpire" => d.autoexpire = number()?.max(0),
                "initval" => {
                    d.initval = Some(match value.parse() {
                        Ok(n) => Value::Int(n),
                        Err(_) => Value::Str(value.as_bytes().to_vec()),
                    })
                }
                "updateexpire" => d.updateexpire = number()? != 0,
                "dbtable" if !value.is_empty() => olelo_core::warn!(
                    "htable",
                    "the htable \"{name}\" begins empty: there is no database in this build to load \
                     \"{value}\" from"
                ),
                "dmqreplicate" if value != "0" => olelo_core::warn!(
                    "htable",
                    "the htable \"{name}\" is not replicated: there is no dmq in this build"
                ),
                "dbtable" | "dbmode" | "cols" | "dmqreplicate" => {}
                _ => {
                    return Err(format!(
                        "\"{key}\" is no attribute of an htable (in \"{text}\"); there are size, \
                         autoexpire, initval, updateexpire, dbtable, dbmode, cols, dmqreplicate"
                    ));
                }
            }
        }
        Ok(d)
    }
}

/// A table.
#[derive(Debug)]
pub struct HTable {
    /// How it was defined.
    pub def: Definition,
    entries: Table,
}

impl HTable {
    /// Makes it; main, before the forks.
    pub fn create(def: Definition) -> Result<HTable, String> {
        let name = format!("htable:{}", def.name);
        let entries = Table::create(&name, 1 << def.size, Tag::register("htable"))
            .map_err(|e| format!("can't make the htable \"{}\": {e}", def.name))?;
        Ok(HTable { def, entries })
    }

    /// The number of buckets.
    pub fn bucket_count(&self) -> u32 {
        self.entries.bucket_count()
    }

    /// The value of `key`; `initval` where there is none.
    pub fn get(&self, key: &[u8]) -> Option<Value> {
        self.entry(key)
            .map(|e| e.value)
            .or(self.def.initval.clone())
    }

    /// The entry of `key`, if it has not ended.
    pub fn entry(&self, key: &[u8]) -> Option<Entry> {
        let now = timer::wall_s();
        let guard = self.entries.lock(hash(key));
        find(&guard, key)
            .map(copy)
            .filter(|e| e.ends == 0 || e.ends > now)
    }

    /// Sets a value. `seconds` to live instead of the table's own. False: no room.
    pub fn set(&self, key: &[u8], value: &Value, seconds: Option<i64>) -> bool {
        let now = timer::wall_s();
        let mut guard = self.entries.lock(hash(key));
        let found = find(&guard, key).map(|r| (r.id(), kind(&r), ends(&r)));
        let end = match (seconds, found) {
            (Some(s), _) => end_after(now, s),
            (None, Some((_, _, e))) if (e == 0 || e > now) && !self.def.updateexpire => e,
            (None, _) => end_after(now, self.def.autoexpire),
        };
        if let (Some((id, Some(0), _)), Value::Int(n)) = (found, value)
            && let Some(r) = guard.get(id)
        {
            put_words(&r, Some(*n), end);
            return true;
        }
        store(&mut guard, found.map(|(id, ..)| id), key, value, end)
    }

    /// Sets the seconds `key` still has to live; false if there is no such key.
    pub fn set_expire(&self, key: &[u8], seconds: i64) -> bool {
        let now = timer::wall_s();
        let guard = self.entries.lock(hash(key));
        match find(&guard, key) {
            Some(r) => {
                put_words(&r, None, end_after(now, seconds));
                true
            }
            None => false,
        }
    }

    /// Adds `by` to the integer `key` in one step and gives the sum. A missing key begins at
    /// `initval`; `None` where there is none of that either, or the value is a text.
    pub fn add(&self, key: &[u8], by: i64) -> Option<i64> {
        let now = timer::wall_s();
        let mut guard = self.entries.lock(hash(key));
        let found = find(&guard, key).map(|r| (r.id(), kind(&r), ends(&r)));
        match found {
            Some((id, Some(0), e)) if e == 0 || e > now => {
                let r = guard.get(id)?;
                let word = r.words().first()?;
                let sum = (word.load(Ordering::Relaxed) as i64).wrapping_add(by);
                let end = if self.def.updateexpire {
                    end_after(now, self.def.autoexpire)
                } else {
                    e
                };
                put_words(&r, Some(sum), end);
                Some(sum)
            }
            Some((_, Some(_), e)) if e == 0 || e > now => None,
            other => {
                let Some(Value::Int(first)) = self.def.initval else {
                    return None;
                };
                let sum = first.wrapping_add(by);
                let end = end_after(now, self.def.autoexpire);
                let id = other.map(|(id, ..)| id);
                store(&mut guard, id, key, &Value::Int(sum), end).then_some(sum)
            }
        }
    }

    /// Removes a key; false if there was none.
    pub fn remove(&self, key: &[u8]) -> bool {
        let mut guard = self.entries.lock(hash(key));
        match find(&guard, key).map(|r| r.id()) {
            Some(id) => guard.remove(id),
            None => false,
        }
    }

    /// Copies of the live entries of one bucket.
    pub fn bucket(&self, number: u32) -> Vec<Entry> {
        let now = timer::wall_s();
        let guard = self.entries.lock_bucket(number);
        guard
            .iter()
            .map(copy)
            .filter(|e| e.ends == 0 || e.ends > now)
            .collect()
    }

    /// Copies of all live entries, bucket by bucket; no lock is held while `visit` runs.
    pub fn for_each(&self, mut visit: impl FnMut(Entry)) {
        (0..self.bucket_count()).for_each(|b| self.bucket(b).into_iter().for_each(&mut visit));
    }

    /// Removes the entries that `which` names; how many went.
    pub fn remove_if(&self, which: impl Fn(&Entry) -> bool) -> usize {
        let mut gone = 0;
        self.for_each(|e| {
            if which(&e) && self.remove(&e.key) {
                gone += 1;
            }
        });
        gone
    }

    /// Removes all entries.
    pub fn clear(&self) {
        self.entries.clear();
    }

    /// Removes the entries that have ended and gives them back.
    pub fn sweep(&self, now: i64) -> Vec<Entry> {
        let mut gone = Vec::new();
        self.entries.for_each_bucket(|guard| {
            guard.retain(|r| {
                let end = ends(&r);
                let over = end != 0 && end <= now;
                if over {
                    gone.push(copy(r));
                }
                !over
            });
        });
        gone
    }
}

/// The keyed hash of a key.
pub fn hash(key: &[u8]) -> u32 {
    let mut h = DefaultHasher::new();
    h.write_u64(proc::secret());
    h.write(key);
    h.finish() as u32
}

fn end_after(now: i64, seconds: i64) -> i64 {
    if seconds > 0 {
        now.saturating_add(seconds)
    } else {
        0
    }
}

fn find<'g>(guard: &'g BucketGuard, key: &[u8]) -> Option<RecordView<'g>> {
    guard
        .iter()
        .find(|r| parts(r.bytes()).is_some_and(|(_, k, _)| k == key))
}

/// Kind, key, text.
fn parts(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&kind, rest) = bytes.split_first()?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let (key, text) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    Some((kind, key, text))
}

fn kind(r: &RecordView<'_>) -> Option<u8> {
    r.bytes().first().copied()
}

fn ends(r: &RecordView<'_>) -> i64 {
    r.words()
        .get(1)
        .map_or(0, |w| w.load(Ordering::Relaxed) as i64)
}

fn put_words(r: &RecordView<'_>, value: Option<i64>, end: i64) {
    if let [v, e, ..] = r.words() {
        if let Some(n) = value {
            v.store(n as u64, Ordering::Relaxed);
        }
        e.store(end as u64, Ordering::Relaxed);
    }
}

fn copy(r: RecordView<'_>) -> Entry {
    let (kind, key, text) = parts(r.bytes()).unwrap_or((1, b"", b""));
    let value = match kind {
        0 => Value::Int(
            r.words()
                .first()
                .map_or(0, |w| w.load(Ordering::Relaxed) as i64),
        ),
        _ => Value::Str(text.to_vec()),
    };
    Entry {
        key: key.to_vec(),
        value,
        ends: ends(&r),
    }
}

fn store(
    guard: &mut BucketGuard,
    old: Option<NodeId>,
    key: &[u8],
    value: &Value,
    end: i64,
) -> bool {
    let (kind, number, text): (u8, i64, &[u8]) = match value {
        Value::Int(n) => (0, *n, b""),
        Value::Str(s) => (1, 0, s),
    };
    let len = (key.len() as u32).to_le_bytes();
    let bytes: [&[u8]; 4] = [&[kind], &len, key, text];
    let id = match old {
        Some(id) => guard.replace(id, &bytes, Vec::new()).is_ok().then_some(id),
        None => guard
            .insert(&bytes, Vec::new(), &[number as u64, end as u64])
            .ok(),
    };
    match id.and_then(|id| guard.get(id)) {
        Some(r) => {
            put_words(&r, Some(number), end);
            true
        }
        None => {
            olelo_core::error!(
                "htable",
                "no shared memory left for \"{}\"; start the server with more (-m)",
                String::from_utf8_lossy(key)
            );
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(definition: &str) -> HTable {
        olelo_core::server::for_tests(vec![crate::module()]);
        HTable::create(Definition::parse(definition).unwrap()).unwrap()
    }

    #[test]
    fn definitions_are_read_as_operators_write_them() {
        let d = Definition::parse("a=>size=4;autoexpire=7200;initval=1;updateexpire=0;").unwrap();
        assert_eq!(
            (
                d.name.as_str(),
                d.size,
                d.autoexpire,
                d.initval,
                d.updateexpire
            ),
            ("a", 4, 7200, Some(Value::Int(1)), false)
        );
        for (text, size) in [
            ("a", 3),
            ("a=>size=1;", 3),
            ("a=>size=20", 14),
            ("a => size=8", 8),
        ] {
            assert_eq!(Definition::parse(text).unwrap().size, size, "{text}");
        }
        assert!(
            Definition::parse("a=>sise=4")
                .unwrap_err()
                .contains("\"sise\"")
        );
        assert!(Definition::parse("=>size=4").is_err());
    }

    #[test]
    fn values_change_kind_and_count() {
        let t = table("kinds=>size=2");
        assert_eq!(t.get(b"x"), None);
        assert_eq!(t.add(b"x", 1), None, "nothing to begin with");
        assert!(t.set(b"x", &Value::Int(5), None));
        assert_eq!(t.add(b"x", 1), Some(6));
        assert!(t.set(b"x", &Value::Str(b"text".to_vec()), None));
        assert_eq!(t.add(b"x", 1), None, "a text does not count");
        assert_eq!(t.get(b"x"), Some(Value::Str(b"text".to_vec())));
        assert!(t.set(b"x", &Value::Int(-1), None));
        assert_eq!(t.get(b"x"), Some(Value::Int(-1)));
        assert!(t.remove(b"x") && !t.remove(b"x"));
        for i in 0..100 {
            assert!(t.set(format!("k{i}").as_bytes(), &Value::Int(i), None));
        }
        assert_eq!(t.remove_if(|e| e.key.ends_with(b"7")), 10);
        t.clear();
        assert_eq!(t.get(b"k1"), None);
    }

    #[test]
    fn missing_keys_read_as_initval_and_count_from_it() {
        let t = table("init=>size=2;initval=7");
        assert_eq!(t.get(b"x"), Some(Value::Int(7)));
        assert_eq!(t.add(b"x", 1), Some(8));
        assert_eq!(t.add(b"y", -1), Some(6));
    }

    #[test]
    fn entries_end() {
        let t = table("ends=>size=2;autoexpire=100;updateexpire=0");
        let now = timer::wall_s();
        t.set(b"x", &Value::Int(1), None);
        let first = t.entry(b"x").unwrap().ends;
        assert!(first >= now + 100);
        assert!(t.set_expire(b"x", 10));
        t.set(b"x", &Value::Str(b"v".to_vec()), None);
        let end = t.entry(b"x").unwrap().ends;
        assert!(
            end < now + 60,
            "updateexpire=0 keeps the end, also when the record is a new one"
        );
        t.set(b"y", &Value::Int(1), Some(1000));
        assert_eq!(t.sweep(now + 500).len(), 1);
        assert!(t.entry(b"x").is_none() && t.entry(b"y").is_some());
    }
}
