//! One queue of (key, value) pairs in shared memory.
//!
//! A queue that takes every pair is a ring of blobs ([`olelo_mem::Queue`]): adding and taking cost
//! the same however long it is. A queue of unique keys is one bucket of a table, searched from end
//! to end, as every look for a key must. Both repair themselves after a death; a pair that a process
//! had taken when it died is gone. A full queue loses its oldest pair.
//!
//! A pair is `[length of key][key][value]`.

use olelo_core::error;
use olelo_mem::heap::{Blob, Tag};
use olelo_mem::queue::Queue;
use olelo_mem::table::{BucketGuard, NodeId, Table};

/// Pairs that a queue without a size takes.
pub(crate) const UNSIZED: usize = 65_536;
/// Largest size.
const LARGEST: usize = 1 << 20;
/// Largest key and value together, bytes.
const LARGEST_PAIR: usize = 1 << 16;

/// What happens to a key that is in the queue already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum AddMode {
    /// It is added once more.
    #[default]
    Any,
    /// The old pair stays.
    KeepOldest,
    /// The old pair goes.
    KeepNewest,
}

impl AddMode {
    pub(crate) fn from_int(n: i64) -> Result<AddMode, String> {
        match n {
            0 => Ok(AddMode::Any),
            1 => Ok(AddMode::KeepOldest),
            2 => Ok(AddMode::KeepNewest),
            _ => Err(format!(
                "there is no addmode {n}; 0 takes all, 1 keeps the oldest of a key, 2 the newest"
            )),
        }
    }
}

/// How a queue was defined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Definition {
    pub(crate) name: String,
    /// Most pairs; 0 for [`UNSIZED`].
    pub(crate) size: usize,
    pub(crate) mode: AddMode,
    /// What a database would be used for; there is none.
    pub(crate) dbmode: i64,
}

impl Definition {
    /// Reads `name=myq;size=20;addmode=2`.
    pub(crate) fn parse(text: &str) -> Result<Definition, String> {
        let mut d = Definition {
            name: String::new(),
            size: 0,
            mode: AddMode::Any,
            dbmode: 0,
        };
        for part in text.split(';').map(str::trim).filter(|p| !p.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let (key, value) = (key.trim(), value.trim().trim_matches(['"', '\'']));
            let number = || {
                value
                    .parse::<i64>()
                    .map_err(|_| format!("{key}=\"{value}\" in \"{text}\" is no number"))
            };
            match key {
                "name" => d.name = value.to_string(),
                "size" => d.size = size(number()?)?,
                "addmode" => d.mode = AddMode::from_int(number()?)?,
                "dbmode" => d.dbmode = number()?,
                _ => {
                    return Err(format!(
                        "\"{key}\" in \"{text}\" is no attribute of a queue; there are name, size, addmode, dbmode"
                    ));
                }
            }
        }
        if d.name.is_empty() {
            return Err(format!(
                "\"{text}\" names no queue; write \"name=myq;size=20;\""
            ));
        }
        Ok(d)
    }
}

/// Checks a size.
pub(crate) fn size(n: i64) -> Result<usize, String> {
    usize::try_from(n)
        .ok()
        .filter(|n| *n <= LARGEST)
        .ok_or_else(|| {
            format!("a queue can't be of size {n}; 0 to {LARGEST}, where 0 is {UNSIZED}")
        })
}

/// A pair.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

/// A queue.
pub(crate) struct MQueue {
    pub(crate) def: Definition,
    pairs: Pairs,
    tag: Tag,
}

enum Pairs {
    Ring(Queue),
    /// The newest first.
    Unique(Table),
}

impl MQueue {
    /// Makes it; main, before the forks.
    pub(crate) fn create(def: Definition) -> Result<MQueue, String> {
        let name = format!("mqueue:{}", def.name);
        let wrong = |e| format!("can't make the queue \"{}\": {e}", def.name);
        let tag = Tag::register("mqueue");
        let most = if def.size == 0 { UNSIZED } else { def.size };
        let pairs = match def.mode {
            AddMode::Any => Pairs::Ring(Queue::create(&name, most).map_err(wrong)?),
            _ => Pairs::Unique(Table::create(&name, 1, tag).map_err(wrong)?),
        };
        Ok(MQueue { def, pairs, tag })
    }

    /// How many pairs wait.
    pub(crate) fn len(&self) -> usize {
        match &self.pairs {
            Pairs::Ring(q) => q.len(),
            Pairs::Unique(t) => t.len(),
        }
    }

    /// Adds a pair; false where there is no room for it.
    pub(crate) fn add(&self, key: &[u8], value: &[u8]) -> bool {
        if key.len() + value.len() > LARGEST_PAIR {
            error!(
                "mqueue",
                "a pair of {} bytes is too large for \"{}\"; at most {LARGEST_PAIR}",
                key.len() + value.len(),
                self.def.name
            );
            return false;
        }
        let len = (key.len() as u32).to_le_bytes();
        let parts: [&[u8]; 3] = [&len, key, value];
        let done = match &self.pairs {
            Pairs::Ring(q) => Blob::from_parts(&parts, self.tag).is_ok_and(|b| push(q, b)),
            Pairs::Unique(t) => self.add_unique(&mut t.lock_bucket(0), key, &parts),
        };
        if !done {
            error!(
                "mqueue",
                "no shared memory left for \"{}\"; start the server with more (-m)", self.def.name
            );
        }
        done
    }

    fn add_unique(&self, bucket: &mut BucketGuard, key: &[u8], parts: &[&[u8]]) -> bool {
        let same = |b: &BucketGuard| {
            b.iter()
                .find(|r| split(r.bytes()).is_some_and(|(k, _)| k == key))
                .map(|r| r.id())
        };
        if let Some(id) = same(bucket) {
            if self.def.mode == AddMode::KeepOldest {
                return true;
            }
            bucket.remove(id);
        }
        let most = if self.def.size == 0 {
            UNSIZED
        } else {
            self.def.size
        };
        while bucket.len() >= most {
            match oldest(bucket) {
                Some(id) => bucket.remove(id),
                None => break,
            };
        }
        bucket.insert(parts, Vec::new(), &[]).is_ok()
    }

    /// Takes the oldest pair.
    pub(crate) fn take(&self) -> Option<Pair> {
        match &self.pairs {
            Pairs::Ring(q) => {
                let blob = q.pop()?;
                owned(blob.as_bytes())
            }
            Pairs::Unique(t) => {
                let mut bucket = t.lock_bucket(0);
                let id = oldest(&bucket)?;
                let pair = bucket.get(id).and_then(|r| owned(r.bytes()));
                bucket.remove(id);
                pair
            }
        }
    }
}

/// Adds at the end, taking the oldest away where there is no room.
fn push(queue: &Queue, mut blob: Blob) -> bool {
    // Others add at the same time: the room made may be gone.
    for _ in 0..64 {
        match queue.push(blob) {
            Ok(()) => return true,
            Err(back) => {
                blob = back;
                drop(queue.pop());
            }
        }
    }
    false
}

fn oldest(bucket: &BucketGuard) -> Option<NodeId> {
    bucket.iter().last().map(|r| r.id())
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*len) as usize)
}

fn owned(bytes: &[u8]) -> Option<Pair> {
    split(bytes).map(|(k, v)| (k.to_vec(), v.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(text: &str) -> MQueue {
        olelo_core::server::for_tests(vec![crate::module()]);
        MQueue::create(Definition::parse(text).unwrap()).unwrap()
    }

    fn taken(q: &MQueue) -> Vec<String> {
        std::iter::from_fn(|| q.take())
            .map(|(k, v)| {
                format!(
                    "{}={}",
                    String::from_utf8_lossy(&k),
                    String::from_utf8_lossy(&v)
                )
            })
            .collect()
    }

    #[test]
    fn pairs_come_out_as_the_modes_say() {
        for (name, def, want) in [
            ("t0", "size=3", vec!["a=3", "b=4", "a=5"]),
            ("t1", "addmode=1", vec!["a=1", "b=2"]),
            ("t2", "addmode=2", vec!["b=4", "a=5"]),
            ("t3", "addmode=2;size=1", vec!["a=5"]),
            ("t4", "addmode=1;size=1", vec!["a=5"]),
        ] {
            let q = queue(&format!("name={name};{def}"));
            for (k, v) in [("a", "1"), ("b", "2"), ("a", "3"), ("b", "4"), ("a", "5")] {
                assert!(q.add(k.as_bytes(), v.as_bytes()));
            }
            assert_eq!(q.len(), want.len(), "{def}");
            assert_eq!(taken(&q), want, "{def}");
            assert_eq!(q.len(), 0);
        }
    }

    #[test]
    fn keys_and_values_are_bytes_and_may_be_empty() {
        let q = queue("name=bytes");
        for (k, v) in [(&b""[..], &b"\0\xff"[..]), (b"=;", b"")] {
            assert!(q.add(k, v));
            assert_eq!(q.take(), Some((k.to_vec(), v.to_vec())));
        }
        assert!(!q.add(b"k", &vec![0; LARGEST_PAIR]));
        assert_eq!(q.take(), None);
    }

    #[test]
    fn definitions_are_read_or_refused() {
        let d = Definition::parse("name=myq;size=20;addmode=2;dbmode=1;").unwrap();
        assert_eq!(
            (d.name.as_str(), d.size, d.mode, d.dbmode),
            ("myq", 20, AddMode::KeepNewest, 1)
        );
        for (bad, part) in [
            ("size=2", "names no queue"),
            ("name=q;size=x", "no number"),
            ("name=q;size=-1", "size -1"),
            ("name=q;addmode=3", "addmode 3"),
            ("name=q;sise=3", "\"sise\""),
        ] {
            let e = Definition::parse(bad).unwrap_err();
            assert!(e.contains(part), "{bad}: {e}");
        }
    }

    #[test]
    fn many_may_add_and_take_at_once() {
        let q = queue("name=many;size=8");
        std::thread::scope(|s| {
            for t in 0..4u8 {
                let q = &q;
                s.spawn(move || {
                    for i in 0..500u16 {
                        assert!(q.add(&[t], &i.to_le_bytes()));
                        if i % 3 == 0 {
                            q.take();
                        }
                    }
                });
            }
        });
        assert!(q.len() <= 8);
        assert!(taken(&q).len() <= 8);
    }
}
