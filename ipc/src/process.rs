//! The process table: a slot in shared memory for each process of the server.
//!
//! Main reserves slots before the first fork and keeps them for ever: a respawned process takes the
//! slot of the dead one, so that its number stays the same in locks, statistics and logs. Each slot
//! is written by its owner (and by main while the owner is dead); everyone may read. All fields are
//! atomics: a torn text can only look odd, never be unsafe ([`crate::text`]).

use crate::text;
use olelo_mem::arena::{ArenaError, arena};
use olelo_mem::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;

/// Bytes of the message worked on that the table keeps.
pub const SUMMARY_BYTES: usize = 256;
const DESCRIPTION_BYTES: usize = 64;
const ERROR_BYTES: usize = 512;

// Words of a slot. Texts start with their length.
const PID: usize = 0;
const RANK: usize = 1;
const ROUTES: usize = 2;
const LOADED: usize = 3;
const REFUSED: usize = 4;
const LOADED_AT: usize = 5;
const BUSY_SINCE: usize = 6;
const MESSAGES: usize = 7;
const DEATHS: usize = 8;
const STARTED_AT: usize = 9;
const READY: usize = 10;
const BEAT: usize = 11;
const WAITS_UNTIL: usize = 12;
const DESCRIPTION: usize = 13;
const ERROR: usize = DESCRIPTION + text::words(DESCRIPTION_BYTES);
const SUMMARY: usize = ERROR + text::words(ERROR_BYTES);
/// A multiple of a cache line, so that slots do not share one.
const WORDS: usize = (SUMMARY + text::words(SUMMARY_BYTES)).next_multiple_of(8);

static TABLE: OnceLock<Table> = OnceLock::new();

/// The table.
pub struct Table {
    words: &'static [AtomicU64],
    used: AtomicU64,
    most: u16,
}

/// One slot.
#[derive(Clone, Copy)]
pub struct Slot {
    number: u16,
    words: &'static [AtomicU64],
}

/// What a process did with a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ack {
    /// It serves with it.
    Loaded,
    /// It could not load it.
    Refused(String),
    /// Not yet known.
    Pending,
}

/// Makes the table; main, once.
pub fn create(most: u16) -> Result<(), ArenaError> {
    let words = arena().region("processes", usize::from(most) * WORDS * 8)?;
    let _ = TABLE.set(Table {
        words,
        used: AtomicU64::new(0),
        most,
    });
    Ok(())
}

/// The table of this server. An empty one before [`create`].
pub fn table() -> &'static Table {
    static EMPTY: Table = Table {
        words: &[],
        used: AtomicU64::new(0),
        most: 0,
    };
    TABLE.get().unwrap_or(&EMPTY)
}

impl Table {
    /// Takes the next slot; main, before the forks. `None` where there are no more.
    pub fn reserve(&self, rank: i32, routes: bool, description: &str) -> Option<Slot> {
        let n = self.used.load(Ordering::Relaxed);
        if n >= u64::from(self.most) {
            return None;
        }
        self.used.store(n + 1, Ordering::Relaxed);
        let s = self.at(n as u16)?;
        s.words[RANK].store(rank as u32 as u64, Ordering::Relaxed);
        s.words[ROUTES].store(u64::from(routes), Ordering::Relaxed);
        s.put_text(DESCRIPTION, DESCRIPTION_BYTES, description.as_bytes());
        Some(s)
    }

    /// The slots taken.
    pub fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        (0..self.used.load(Ordering::Relaxed)).filter_map(|n| self.at(n as u16))
    }

    /// A slot by number.
    pub fn get(&self, slot: u16) -> Option<Slot> {
        (u64::from(slot) < self.used.load(Ordering::Relaxed)).then(|| self.at(slot))?
    }

    fn at(&self, number: u16) -> Option<Slot> {
        let start = usize::from(number) * WORDS;
        Some(Slot {
            number,
            words: self.words.get(start..start + WORDS)?,
        })
    }
}

impl Slot {
    /// Its number.
    pub fn slot(&self) -> u16 {
        self.number
    }

    /// The process in it; 0 for none.
    pub fn pid(&self) -> i32 {
        self.words[PID].load(Ordering::Acquire) as i32
    }

    /// Puts a process in; 0 for none.
    pub fn set_pid(&self, pid: i32) {
        self.words[PID].store(pid as u64, Ordering::Release);
    }

    /// Puts a process in if there is none; of several who try, one does.
    pub fn claim(&self, pid: i32) -> bool {
        self.words[PID]
            .compare_exchange(0, pid as u64, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Rank, as modules see it.
    pub fn rank(&self) -> i32 {
        self.words[RANK].load(Ordering::Relaxed) as u32 as i32
    }

    /// Whether it routes messages and so builds an engine.
    pub fn routes(&self) -> bool {
        self.routes_by_plan() && self.pid() != 0
    }

    /// Whether the processes of this slot route, be there one at the moment or not.
    pub fn routes_by_plan(&self) -> bool {
        self.words[ROUTES].load(Ordering::Relaxed) != 0
    }

    /// As `core.psx` shows it.
    pub fn description(&self) -> String {
        self.text(DESCRIPTION, DESCRIPTION_BYTES)
    }

    /// The generation it serves with.
    pub fn generation(&self) -> u32 {
        self.words[LOADED].load(Ordering::Acquire) as u32
    }

    /// When it loaded that: seconds of the wall clock.
    pub fn loaded_at(&self) -> u64 {
        self.words[LOADED_AT].load(Ordering::Relaxed)
    }

    /// The last error of loading.
    pub fn error(&self) -> String {
        self.text(ERROR, ERROR_BYTES)
    }

    /// What it did with a generation.
    pub fn generation_state(&self, generation: u32) -> Ack {
        if self.generation() == generation {
            Ack::Loaded
        } else if self.words[REFUSED].load(Ordering::Acquire) as u32 == generation {
            Ack::Refused(self.error())
        } else {
            Ack::Pending
        }
    }

    /// Since when it works on a message (monotonic milliseconds); 0 while it waits.
    pub fn busy_since(&self) -> u64 {
        self.words[BUSY_SINCE].load(Ordering::Relaxed)
    }

    /// Whether its process has begun to serve: it is past its own start.
    pub fn is_ready(&self) -> bool {
        self.words[READY].load(Ordering::Relaxed) != 0
    }

    /// When its process last said that it lives (monotonic milliseconds); 0 where it never does.
    pub fn last_beat(&self) -> u64 {
        self.words[BEAT].load(Ordering::Relaxed)
    }

    /// Until when it waits on purpose (monotonic milliseconds), as [`wait_until`] announced.
    pub fn waits_until(&self) -> u64 {
        self.words[WAITS_UNTIL].load(Ordering::Relaxed)
    }

    /// What tells the message that it works on from others, if it works on one: [`message_key`].
    pub fn message_key(&self) -> Option<u64> {
        if self.busy_since() == 0 {
            return None;
        }
        let (len, bytes) = self.stored(SUMMARY, SUMMARY_BYTES);
        Some(key_of(len, &bytes))
    }

    /// Messages worked on, over all processes that had the slot.
    pub fn messages(&self) -> u64 {
        self.words[MESSAGES].load(Ordering::Relaxed)
    }

    /// How many processes died in it.
    pub fn deaths(&self) -> u64 {
        self.words[DEATHS].load(Ordering::Relaxed)
    }

    /// When its process started: seconds of the wall clock.
    pub fn started_at(&self) -> u64 {
        self.words[STARTED_AT].load(Ordering::Relaxed)
    }

    /// The beginning of the message it works on, or worked on last.
    pub fn summary(&self) -> String {
        self.text(SUMMARY, SUMMARY_BYTES)
    }

    /// A process starts in the slot; called by main.
    pub fn start(&self, pid: i32) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        self.words[STARTED_AT].store(now.map_or(0, |d| d.as_secs()), Ordering::Relaxed);
        self.set_pid(pid);
    }

    /// The process in the slot died; called by main.
    pub fn died(&self) {
        self.set_pid(0);
        self.words[DEATHS].fetch_add(1, Ordering::Relaxed);
        for word in [BUSY_SINCE, LOADED, REFUSED, READY, BEAT, WAITS_UNTIL] {
            self.words[word].store(0, Ordering::Relaxed);
        }
    }

    fn put_text(&self, at: usize, most: usize, text: &[u8]) {
        text::put(&self.words[at..at + text::words(most)], most, text);
    }

    fn text(&self, at: usize, most: usize) -> String {
        String::from_utf8_lossy(&self.stored(at, most).1).into_owned()
    }

    /// The whole length of a text, and the bytes of it that were kept.
    fn stored(&self, at: usize, most: usize) -> (usize, Vec<u8>) {
        text::get(&self.words[at..at + text::words(most)], most)
    }
}

/// The process in `slot` serves with `generation`.
pub fn acknowledge(slot: u16, generation: u32) {
    let Some(s) = table().get(slot) else { return };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    s.words[LOADED_AT].store(now.map_or(0, |d| d.as_secs()), Ordering::Relaxed);
    s.put_text(ERROR, ERROR_BYTES, b"");
    s.words[LOADED].store(u64::from(generation), Ordering::Release);
    // What it refused before may be tried again.
    s.words[REFUSED].store(0, Ordering::Release);
}

/// The process in `slot` could not load `generation`.
pub fn refuse(slot: u16, generation: u32, why: &str) {
    let Some(s) = table().get(slot) else { return };
    s.put_text(ERROR, ERROR_BYTES, why.as_bytes());
    s.words[REFUSED].store(u64::from(generation), Ordering::Release);
}

/// The process in `slot` is past its own start, and serves.
pub fn ready(slot: u16) {
    if let Some(s) = table().get(slot) {
        s.words[READY].store(1, Ordering::Relaxed);
    }
}

/// The process in `slot` lives: for those that nobody sends messages to.
pub fn beat(slot: u16, now_ms: u64) {
    if let Some(s) = table().get(slot) {
        s.words[BEAT].store(now_ms, Ordering::Relaxed);
    }
}

/// This process waits on purpose until `until_ms` (a script's `sleep`, a debugger's hold): it is not
/// stuck before, and has its whole time again from then on.
pub fn wait_until(until_ms: u64) {
    if let Some(s) = table().get(olelo_mem::slot::current_slot()) {
        s.words[WAITS_UNTIL].store(until_ms, Ordering::Relaxed);
    }
}

/// What tells a message from others: its beginning (in which there is a Via branch) and its length.
/// The same for a retransmission.
pub fn message_key(message: &[u8]) -> u64 {
    key_of(message.len(), &message[..message.len().min(SUMMARY_BYTES)])
}

/// FNV-1a; never 0.
fn key_of(len: usize, beginning: &[u8]) -> u64 {
    let step = |h: u64, b: &u8| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
    let start = 0xcbf2_9ce4_8422_2325 ^ len as u64;
    beginning.iter().fold(start, step).max(1)
}

/// The process in `slot` begins to work on a message, of which the beginning is kept. A handful of
/// stores: it is done for each.
pub fn begin(slot: u16, now_ms: u64, message: &[u8]) {
    let Some(s) = table().get(slot) else { return };
    s.put_text(SUMMARY, SUMMARY_BYTES, message);
    s.words[BUSY_SINCE].store(now_ms, Ordering::Relaxed);
}

/// The process in `slot` is done with the message.
pub fn end(slot: u16) {
    let Some(s) = table().get(slot) else { return };
    s.words[BUSY_SINCE].store(0, Ordering::Relaxed);
    let n = &s.words[MESSAGES];
    // Only the owner writes, so a load and a store do.
    n.store(n.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}
