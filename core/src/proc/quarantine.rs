//! Messages that kill: one that has cost two workers is not routed a third time.
//!
//! Main gives a strike to the message on which a worker died. With two strikes the message is
//! answered with 500 by the core itself, without the script; if even that kills, it is dropped
//! unread. A kill from outside (SIGKILL that main has not sent) is worth half a strike: an operator or
//! the kernel chose the moment, not the message. A strike is forgotten after [`KEPT_S`] seconds.
//!
//! Main writes, everybody reads. While nobody is in quarantine a look costs one load.

use olelo_ipc::process::message_key;
use olelo_mem::Words;
use olelo_mem::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;

/// Messages that can have strikes at a time; the oldest goes.
const ROOM: usize = 64;
/// Seconds for which strikes are remembered.
const KEPT_S: i64 = 600;

/// Half strikes.
const TWO: u64 = 4;
const THREE: u64 = 6;

static TABLE: OnceLock<Words> = OnceLock::new();

// Word 0: how many are in quarantine. Then for each message its key, half strikes, time.
const ENTRY: usize = 3;

/// What is to be done with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may be routed.
    Route,
    /// It is answered with 500, and not routed.
    Answer,
    /// It is not even read.
    Drop,
}

/// A message with strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Struck {
    /// What tells it from others.
    pub key: u64,
    /// Deaths that it has caused, in halves.
    pub half_strikes: u64,
    /// When it struck last: seconds of the wall clock.
    pub at: i64,
}

impl Struck {
    /// Whether it is not routed any more.
    pub fn is_quarantined(&self) -> bool {
        self.half_strikes >= TWO
    }
}

/// Makes the table; main, before the forks.
pub fn create() -> Result<(), String> {
    let words = Words::create("quarantine", 1 + ROOM * ENTRY).map_err(|e| e.to_string())?;
    let _ = TABLE.set(words);
    Ok(())
}

/// What is to be done with a message that has come.
#[inline]
pub fn look(message: &[u8]) -> Verdict {
    match TABLE.get().and_then(|t| t.get(0)) {
        Some(active) if active.load(Ordering::Relaxed) != 0 => look_closer(message),
        _ => Verdict::Route,
    }
}

#[cold]
fn look_closer(message: &[u8]) -> Verdict {
    let key = message_key(message);
    let half_strikes = list().iter().find(|s| s.key == key).map(|s| s.half_strikes);
    match half_strikes {
        Some(THREE..) => Verdict::Drop,
        Some(TWO..) => Verdict::Answer,
        _ => Verdict::Route,
    }
}

/// Messages with strikes.
pub fn list() -> Vec<Struck> {
    let entries = (0..ROOM).filter_map(entry);
    entries
        .map(|w| Struck {
            key: w[0].load(Ordering::Acquire),
            half_strikes: w[1].load(Ordering::Relaxed),
            at: w[2].load(Ordering::Relaxed) as i64,
        })
        .filter(|s| s.key != 0)
        .collect()
}

/// A worker has died on the message of this key; `outside`: killed by somebody else. True where the
/// message is in quarantine from now on. Main only.
pub(super) fn strike(key: u64, outside: bool, now_s: i64) -> bool {
    let entries: Vec<_> = (0..ROOM).filter_map(entry).collect();
    let age = |w: &&&[AtomicU64]| {
        (
            w[0].load(Ordering::Relaxed) != 0,
            w[2].load(Ordering::Relaxed),
        )
    };
    let known = entries.iter().find(|w| w[0].load(Ordering::Relaxed) == key);
    let Some(w) = known.or_else(|| entries.iter().min_by_key(age)) else {
        return false;
    };
    let before = match known {
        Some(w) => w[1].load(Ordering::Relaxed),
        None => 0,
    };
    let after = before + if outside { 1 } else { 2 };
    if known.is_none() {
        w[0].store(0, Ordering::Release);
    }
    w[1].store(after, Ordering::Relaxed);
    w[2].store(now_s as u64, Ordering::Relaxed);
    w[0].store(key, Ordering::Release);
    count_active();
    before < TWO && after >= TWO
}

/// Forgets what struck long ago. Main only.
pub(super) fn forget_old(now_s: i64) {
    for w in (0..ROOM).filter_map(entry) {
        let old = w[2].load(Ordering::Relaxed) as i64 + KEPT_S < now_s;
        if w[0].load(Ordering::Relaxed) != 0 && old {
            w[0].store(0, Ordering::Release);
        }
    }
    count_active();
}

/// Lets all messages go, or the one of this key; returns how many were in quarantine.
pub fn release(key: Option<u64>) -> usize {
    let mut gone = 0;
    for w in (0..ROOM).filter_map(entry) {
        let own = w[0].load(Ordering::Relaxed);
        if own != 0 && key.is_none_or(|k| k == own) {
            gone += usize::from(w[1].load(Ordering::Relaxed) >= TWO);
            w[0].store(0, Ordering::Release);
        }
    }
    count_active();
    gone
}

fn count_active() {
    if let Some(active) = TABLE.get().and_then(|t| t.get(0)) {
        let n = list().iter().filter(|s| s.is_quarantined()).count();
        active.store(n as u64, Ordering::Relaxed);
    }
}

fn entry(i: usize) -> Option<&'static [AtomicU64]> {
    TABLE.get()?.range(1 + i * ENTRY, ENTRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_strikes_are_an_answer_and_three_are_silence() {
        olelo_mem::init_for_tests();
        create().expect("room");
        let bad = b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP b;branch=z9hG4bK1\r\n\r\n";
        let key = message_key(bad);
        assert!(!strike(key, false, 100));
        assert_eq!(look(bad), Verdict::Route);
        assert!(strike(key, false, 101));
        assert_eq!(look(bad), Verdict::Answer);
        assert_eq!(look(b"OPTIONS sip:other"), Verdict::Route);
        strike(key, false, 102);
        assert_eq!(look(bad), Verdict::Drop);
        forget_old(102 + KEPT_S);
        assert_eq!(look(bad), Verdict::Drop);
        forget_old(103 + KEPT_S);
        assert_eq!(look(bad), Verdict::Route);

        for i in 0..3 {
            assert!(!strike(key, true, 900 + i), "kills from outside count half");
        }
        assert!(strike(key, true, 903));
        for other in 1..=ROOM as u64 {
            strike(other, true, 950);
        }
        assert_eq!(look(bad), Verdict::Route, "the oldest made room");
        assert_eq!(list().len(), ROOM);
        assert_eq!(release(None), 0);
        assert_eq!(list(), []);
    }
}
