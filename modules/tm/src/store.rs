//! Transactions in shared memory: one record each, with its pieces, in a table of locked buckets.
//!
//! A record is the [`Tx`] as bytes; its children are the *pieces*: the request as received, what
//! routing decided, the last reply upstream, and for each leg the request as sent and the reply
//! kept. A change is a new record put in place by one store (see `olelo_mem::table`), so a process
//! that dies anywhere leaves the transaction either before or after the change. Three words change in
//! place: the mark of a script at work, and the due time and number of the armed timer.
//!
//! [`Open`] is a locked, loaded transaction. It is changed, then [`Open::commit`]ted, which unlocks;
//! what the change asks for is done after that. Changes to existing transactions may use the
//! memory reserve: only new transactions are refused when memory is short.

use crate::promise::promise;
use crate::state::{Head, Leg, Tx};
use olelo_core::log::short_of_memory;
use olelo_core::mem::atomic::{AtomicU64, Ordering::Relaxed};
use olelo_core::mem::heap::{Blob, OutOfMemory, Tag, use_reserve};
use olelo_core::mem::table::{BucketGuard, Child, NodeId, RecordView, Table};
use olelo_core::mem::wheel::Wheel;
use olelo_core::timer::monotonic_ms;
use smallvec::SmallVec;
use std::sync::OnceLock;
use zerocopy::{FromBytes, IntoBytes};

/// Pieces of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// The request as received.
    Request,
    /// What routing decided, see `attrs`.
    Attrs,
    /// The last reply sent upstream, as sent.
    Reply,
    /// Reason lines of the CANCEL.
    Reason,
}

/// Pieces of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegPiece {
    /// The request as sent.
    Sent,
    /// See `attrs`.
    Attrs,
    /// The final reply, ready to go upstream.
    Reply,
}

const HEAD_PIECES: usize = 4;
const LEG_PIECES: usize = 3;

/// Word 0: slot + 1 of the process whose script works on the transaction, and the kind of script.
const MARK: usize = 0;
/// Word 1: when the armed timer is due.
const DUE: usize = 1;
/// Word 2: number of the armed timer; older ones are void.
const SEQ: usize = 2;

/// Milliseconds ahead that a timer is armed at most; what is due later is armed again then.
const FARTHEST: u64 = 8_000;

/// What kind of script has marked a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mark {
    /// The request's own route: others may act meanwhile.
    Request = 1,
    /// The same, and a 100 was sent: the sender no longer repeats its request.
    Trying = 3,
    /// A failure route, or the route of `t_continue`: others only record.
    Busy = 2,
}

/// The table and the timers.
pub struct Store {
    /// Transactions.
    pub table: Table,
    /// Their timers: payload is node, number, kind.
    pub wheel: Wheel,
    tag: Tag,
}

static STORE: OnceLock<Store> = OnceLock::new();

/// Creates the store; main, before the forks.
pub fn create() -> Result<(), String> {
    let tag = Tag::register("tm");
    let table = Table::create("tm", 1 << 15, tag).map_err(|e| e.to_string())?;
    let wheel = Wheel::create("tm.timer", 10, 4096).map_err(|e| e.to_string())?;
    let _ = STORE.set(Store { table, wheel, tag });
    Ok(())
}

/// The store, once the module is initialised.
pub fn store() -> Option<&'static Store> {
    STORE.get()
}

/// A piece: taken over, new, or not there.
#[derive(Debug, Default)]
enum Part {
    #[default]
    None,
    Kept(usize),
    New(Blob),
}

/// A transaction whose bucket is locked.
pub struct Open {
    guard: BucketGuard,
    /// Its name.
    pub id: NodeId,
    /// Its state; changes count once committed.
    pub tx: Tx,
    head: [Part; HEAD_PIECES],
    legs: SmallVec<[[Part; LEG_PIECES]; 1]>,
}

/// Locks the bucket of a hash.
pub fn lock(hash: u32) -> Option<BucketGuard> {
    Some(store()?.table.lock(hash))
}

/// The head of a record, without its legs: for searching a bucket.
pub fn head_of(record: &RecordView<'_>) -> Option<Head> {
    Some(Head::read_from_prefix(record.bytes()).ok()?.0)
}

/// Adds a transaction with this request to a locked bucket; marks it as in its request's route.
/// Says whether the timer has to be armed through [`arm`].
pub fn insert(
    store: &Store,
    mut guard: BucketGuard,
    tx: &mut Tx,
    request: &[u8],
    attrs: &[u8],
    slot: u16,
) -> Result<NodeId, OutOfMemory> {
    let mut children = vec![Blob::from_bytes(request, store.tag)?];
    tx.head.pieces = 1;
    if !attrs.is_empty() {
        children.push(Blob::from_bytes(attrs, store.tag)?);
        tx.head.pieces |= 2;
    }
    let due = tx.next_deadline();
    let words = [mark_word(Mark::Request, slot), due, 1];
    let id = guard.insert(&[tx.head.as_bytes(), tx.legs.as_bytes()], children, &words)?;
    drop(guard);
    if due != 0 {
        arm(id, due, 1);
    }
    Ok(id)
}

impl Open {
    /// Locks and loads a transaction; `None` where it is gone.
    pub fn node(id: NodeId) -> Option<Open> {
        let guard = store()?.table.lock_node(id)?;
        Open::in_guard(guard, id)
    }

    /// Loads a transaction of a bucket that is locked.
    pub fn in_guard(guard: BucketGuard, id: NodeId) -> Option<Open> {
        let (mut tx, mut next) = (Tx::default(), 0);
        let mut take = |present: bool| {
            if present {
                next += 1;
                Part::Kept(next - 1)
            } else {
                Part::None
            }
        };
        let record = guard.get(id)?;
        let (head, mut rest) = Head::read_from_prefix(record.bytes()).ok()?;
        let head_parts = std::array::from_fn(|i| take(head.pieces & (1 << i) != 0));
        let mut legs = SmallVec::with_capacity(rest.len() / size_of::<Leg>());
        while let Ok((leg, tail)) = Leg::read_from_prefix(rest) {
            legs.push(std::array::from_fn(|i| take(leg.pieces & (1 << i) != 0)));
            tx.legs.push(leg);
            rest = tail;
        }
        tx.head = head;
        Some(Open {
            guard,
            id,
            tx,
            head: head_parts,
            legs,
        })
    }

    /// The bytes of a piece.
    pub fn piece(&self, p: Piece) -> Option<&[u8]> {
        self.bytes_of(&self.head[p as usize])
    }

    /// The bytes of a leg's piece.
    pub fn leg_piece(&self, leg: usize, p: LegPiece) -> Option<&[u8]> {
        self.bytes_of(&self.legs.get(leg)?[p as usize])
    }

    /// What routing decided, or nothing.
    pub fn attrs(&self) -> &[u8] {
        self.piece(Piece::Attrs).unwrap_or_default()
    }

    /// Replaces a piece; empty bytes remove it. False where memory is short: it is as before.
    pub fn set(&mut self, p: Piece, bytes: &[u8]) -> bool {
        match new_part(bytes) {
            Some(part) => {
                self.head[p as usize] = part;
                true
            }
            None => false,
        }
    }

    /// Replaces a leg's piece; as [`Open::set`].
    pub fn set_leg(&mut self, leg: usize, p: LegPiece, bytes: &[u8]) -> bool {
        while self.legs.len() <= leg {
            self.legs.push(Default::default());
        }
        match new_part(bytes) {
            Some(part) => {
                self.legs[leg][p as usize] = part;
                true
            }
            None => false,
        }
    }

    /// The mark: kind of script and slot of its process.
    pub fn mark(&self) -> Option<(Mark, u16)> {
        let word = self.word(MARK)?.load(Relaxed);
        let slot = (word & 0xffff).checked_sub(1)? as u16;
        let kind = match word >> 16 {
            2 => Mark::Busy,
            3 => Mark::Trying,
            _ => Mark::Request,
        };
        Some((kind, slot))
    }

    /// A script decides on the transaction: ends are recorded only.
    pub fn is_busy(&self) -> bool {
        matches!(self.mark(), Some((Mark::Busy, _)))
    }

    /// Sets or clears the mark. Takes effect at once.
    pub fn set_mark(&self, mark: Option<(Mark, u16)>) {
        if let Some(w) = self.word(MARK) {
            w.store(mark.map_or(0, |(m, slot)| mark_word(m, slot)), Relaxed);
        }
    }

    /// The timer of this number has fired: true where it is the armed one, which it then no longer is.
    pub fn timer_fired(&self, seq: u64) -> bool {
        let armed = self.word(SEQ).is_some_and(|w| w.load(Relaxed) == seq);
        if armed && let Some(w) = self.word(DUE) {
            w.store(0, Relaxed);
        }
        armed
    }

    /// When the armed timer is due; 0 where none is.
    pub fn armed(&self) -> u64 {
        self.word(DUE).map_or(0, |w| w.load(Relaxed))
    }

    /// Publishes the changes, unlocks, and arms the timer where it must fire earlier than armed.
    /// False where memory is short: the transaction is as before.
    pub fn commit(mut self) -> bool {
        // The change and its timer belong together.
        let _promise = promise(self.id);
        let _reserve = use_reserve();
        let (Some(record), true) = (
            self.guard.get(self.id),
            self.legs.len() <= self.tx.legs.len(),
        ) else {
            return false;
        };
        while self.legs.len() < self.tx.legs.len() {
            self.legs.push(Default::default());
        }
        let mut children = SmallVec::<[Child; 8]>::new();
        let mut add = |part: &mut Part| match std::mem::take(part) {
            Part::None => false,
            Part::Kept(i) => record
                .child_ref(i)
                .map(|r| children.push(Child::Keep(r)))
                .is_some(),
            Part::New(blob) => {
                children.push(Child::New(blob));
                true
            }
        };
        let bits = self.head.iter_mut().enumerate();
        self.tx.head.pieces = bits.fold(0, |b, (i, p)| b | u16::from(add(p)) << i);
        for (leg, parts) in self.tx.legs.iter_mut().zip(&mut self.legs) {
            let bits = parts.iter_mut().enumerate();
            leg.pieces = bits.fold(0, |b, (i, p)| b | u8::from(add(p)) << i);
        }
        let bytes = [self.tx.head.as_bytes(), self.tx.legs.as_bytes()];
        if let Err(e) = self.guard.replace(self.id, &bytes, children) {
            short_of_memory("tm", "a transaction can't be changed", &e);
            return false;
        }
        self.rearm();
        true
    }

    /// Unlocks without publishing; only arms the timer.
    pub fn leave(self) {
        self.rearm();
    }

    /// As [`Open::leave`], whatever is said to be armed: who has said so may have died before.
    pub fn leave_and_arm(self) {
        if let Some(due) = self.word(DUE) {
            due.store(0, Relaxed);
        }
        self.rearm();
    }

    /// Removes the transaction.
    pub fn delete(mut self) -> bool {
        self.guard.remove(self.id)
    }

    fn rearm(self) {
        // Entries of the wheel are not taken back, so none is put far ahead: those of transactions
        // that have ended are gone soon.
        let next = match self.tx.next_deadline() {
            0 => 0,
            at => at.min(monotonic_ms() + FARTHEST),
        };
        let (Some(due), Some(seq)) = (self.word(DUE), self.word(SEQ)) else {
            return;
        };
        let armed = due.load(Relaxed);
        if next == 0 || armed != 0 && armed <= next {
            return;
        }
        let _promise = promise(self.id);
        let number = seq.load(Relaxed) + 1;
        seq.store(number, Relaxed);
        due.store(next, Relaxed);
        let id = self.id;
        drop(self);
        arm(id, next, number);
    }

    fn word(&self, at: usize) -> Option<&AtomicU64> {
        self.guard.get(self.id)?.words().get(at)
    }

    fn bytes_of<'a>(&'a self, part: &'a Part) -> Option<&'a [u8]> {
        match part {
            Part::None => None,
            Part::Kept(i) => self.guard.get(self.id)?.child(*i),
            Part::New(b) => Some(b.as_bytes()),
        }
    }
}

/// Puts the timer of a transaction on the wheel. Where memory is short even in the reserve, the
/// sweep finds the transaction later.
fn arm(id: NodeId, due: u64, seq: u64) {
    let _reserve = use_reserve();
    if let Some(s) = store()
        && let Err(e) = s.wheel.insert(due, [id.to_bits(), seq, 0])
    {
        short_of_memory("tm", "a timer can't be set", &e);
    }
}

fn new_part(bytes: &[u8]) -> Option<Part> {
    if bytes.is_empty() {
        return Some(Part::None);
    }
    let _reserve = use_reserve();
    match Blob::from_bytes(bytes, store()?.tag) {
        Ok(b) => Some(Part::New(b)),
        Err(e) => {
            short_of_memory("tm", "a message can't be kept", &e);
            None
        }
    }
}

fn mark_word(mark: Mark, slot: u16) -> u64 {
    (mark as u64) << 16 | (u64::from(slot) + 1)
}
