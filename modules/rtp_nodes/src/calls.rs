//! Which relay has which call: a shared table from Call-ID to node.
//!
//! A record is `[until, seconds][node][flags][Call-ID]`. An entry that is past its time goes when its
//! bucket is next used. Nothing is done under a bucket's lock but reading and writing it.

use olelo_core::timer::monotonic_ms;
use olelo_mem::heap::Tag;
use olelo_mem::table::Table;
use std::hash::{DefaultHasher, Hasher};

/// Where the session description of a call's last offer came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// In a request: the reply to it answers.
    InRequest,
    /// Not in the request: the reply to it offers.
    InReply,
}

/// What is known about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// The relay's number.
    pub node: usize,
    /// Where the last offer came in.
    pub offer: Offer,
}

/// The table.
#[derive(Debug)]
pub struct Calls {
    table: Table,
}

impl Calls {
    /// Makes the table; main, before the forks.
    pub fn create(name: &'static str, buckets: usize) -> Result<Calls, String> {
        let buckets = buckets.clamp(1, 1 << 16).next_power_of_two();
        let table = Table::create(name, buckets, Tag::register(name)).map_err(|e| e.to_string())?;
        Ok(Calls { table })
    }

    /// How many calls are known.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is known about a call.
    pub fn find(&self, call_id: &[u8]) -> Option<Call> {
        let now = monotonic_ms() / 1000;
        let mut b = self.table.lock(key(call_id));
        b.retain(|r| decode(r.bytes()).is_some_and(|(until, ..)| until > now));
        b.iter()
            .filter_map(|r| decode(r.bytes()))
            .find(|(_, _, id)| *id == call_id)
            .map(|(_, call, _)| call)
    }

    /// Remembers a call for this many seconds.
    pub fn put(&self, call_id: &[u8], call: Call, seconds: u64) {
        let until = monotonic_ms() / 1000 + seconds.max(1);
        let flags = [u8::from(call.offer == Offer::InRequest)];
        let node = (call.node as u32).to_le_bytes();
        let mut b = self.table.lock(key(call_id));
        b.retain(|r| decode(r.bytes()).is_some_and(|(_, _, id)| id != call_id));
        let parts: [&[u8]; 4] = [&until.to_le_bytes(), &node, &flags, call_id];
        if b.insert(&parts, Vec::new(), &[]).is_err() {
            olelo_core::warn!(
                self.table.name(),
                "shared memory is short: a call is not remembered; its relay is chosen anew each time"
            );
        }
    }

    /// Forgets a call.
    pub fn remove(&self, call_id: &[u8]) {
        let mut b = self.table.lock(key(call_id));
        b.retain(|r| decode(r.bytes()).is_some_and(|(_, _, id)| id != call_id));
    }
}

/// Call-IDs are anybody's, so the hash is keyed per server.
fn key(call_id: &[u8]) -> u32 {
    let mut h = DefaultHasher::new();
    h.write_u64(olelo_core::proc::secret());
    h.write(call_id);
    h.finish() as u32
}

fn decode(b: &[u8]) -> Option<(u64, Call, &[u8])> {
    let until = u64::from_le_bytes(b.get(..8)?.try_into().ok()?);
    let node = u32::from_le_bytes(b.get(8..12)?.try_into().ok()?) as usize;
    let offer = if *b.get(12)? == 1 {
        Offer::InRequest
    } else {
        Offer::InReply
    };
    Some((until, Call { node, offer }, b.get(13..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_found_until_it_is_removed() {
        olelo_core::server::for_tests(vec![]);
        let calls = Calls::create("test-calls", 3).unwrap();
        let call = |node, offer| Call { node, offer };
        calls.put(b"a@b", call(3, Offer::InRequest), 60);
        calls.put(b"c@d", call(1, Offer::InReply), 60);
        calls.put(b"a@b", call(3, Offer::InReply), 60);
        assert_eq!(calls.find(b"a@b"), Some(call(3, Offer::InReply)));
        assert_eq!((calls.len(), calls.find(b"x")), (2, None));
        calls.remove(b"a@b");
        assert_eq!(calls.find(b"a@b"), None);
        assert_eq!(calls.find(b"c@d"), Some(call(1, Offer::InReply)));
    }
}
