//! The timer wheel: any process inserts, the timer process delivers.
//!
//! A wheel is an array of lists, one per tick of the horizon. Inserting is one compare-and-swap at
//! the head of the due tick's list; only the timer process takes entries off, one at a time, under
//! the wheel's lock (which keeps the repair and the timer process apart, and nobody else). The tick
//! being worked on is shared, so a respawned timer process goes on where the dead one was. What is
//! due beyond the horizon waits in the last list and is put back from there.
//!
//! There is no deletion: the payload names an entry and a sequence number, and whoever gets it
//! checks whether it still means anything. Delivery is *at least once*: an entry whose delivery
//! died with the timer process is delivered again (at most twice more), and an inserter that was
//! held up for whole ticks may cause a second copy.
//!
//! Death: per slot two words name the entry being inserted and the one being delivered, with the
//! list concerned, so the repair looks into that one list only.

use crate::arena::{ArenaError, arena};
use crate::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use crate::block::{Block, State};
use crate::heap::{OutOfMemory, Tag, reserve_allowed};
use crate::lock::{PATIENCE_MS, RANK_WHEEL, RawLock};
use crate::registry::{self, Structure, Walk};
use crate::slot::current_slot;
use crate::{BusyLock, RepairReport};
use std::collections::HashSet;

/// A shared timer wheel.
#[derive(Debug, Clone, Copy)]
pub struct Wheel {
    inner: &'static Inner,
}

impl Wheel {
    /// Creates a wheel of `slots` ticks of `tick_ms` milliseconds. In main, before the first fork.
    pub fn create(name: &str, tick_ms: u64, slots: usize) -> Result<Wheel, ArenaError> {
        let ticks = slots.clamp(2, 1 << 20);
        // SAFETY: these types are made of atomics.
        let (shared, lists, pending) = unsafe {
            let shared: &'static [Shared] = arena().region_of(name, 1)?;
            let lists: &'static [AtomicU32] =
                arena().region_of(&format!("{name}.lists"), ticks + 1)?;
            let pending: &'static [Pending] =
                arena().region_of(&format!("{name}.pending"), usize::from(arena().max_slots()))?;
            (&shared[0], lists, pending)
        };
        let tag = Tag::register(name);
        let inner = Inner {
            name: name.to_owned(),
            tick_ms: tick_ms.max(1),
            ticks: ticks as u64,
            tag,
            shared,
            lists,
            pending,
        };
        let wheel = Wheel {
            inner: Box::leak(Box::new(inner)),
        };
        crate::lock::register(
            name,
            1,
            |_| &shared.lock,
            move |_, dead| registry::repair_early(dead, |report| wheel.repair(dead, report)),
        );
        registry::add(wheel);
        Ok(wheel)
    }

    /// From any process: `payload` is to be delivered once the clock reads `due_ms`
    /// ([`monotonic_ms`]), within a tick.
    pub fn insert(&self, due_ms: u64, payload: [u64; 3]) -> Result<(), OutOfMemory> {
        let block = self.new_entry(due_ms, payload)?;
        let (tick, list) = self.push(block, None);
        self.inner.shared.count.fetch_add(1, Ordering::Relaxed);
        if self.inner.shared.cursor.load(Ordering::SeqCst) >= tick && list != self.late_list() {
            // We were held up and the tick has passed: the entry may wait a whole turn. A copy in
            // the list that is looked at every time is on time.
            if let Ok(copy) = self.new_entry(due_ms, payload) {
                self.push(copy, Some(self.late_list()));
                self.inner.shared.count.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// By the timer process only: delivers what is due at `now_ms`, at most `max` payloads; returns
    /// how many. Call again when it returned `max`. No lock is held during `deliver`.
    pub fn advance(&self, now_ms: u64, max: usize, mut deliver: impl FnMut([u64; 3])) -> usize {
        let now = now_ms / self.inner.tick_ms;
        let cursor = &self.inner.shared.cursor;
        let mut tick = cursor.load(Ordering::SeqCst);
        if tick > now || now - tick >= self.inner.ticks {
            // After a long stop, or where the tick is garbage (clocks do not go back), one turn is
            // enough: it visits every list.
            tick = now.saturating_sub(self.inner.ticks - 1);
            cursor.store(tick, Ordering::SeqCst);
        }
        let mut delivered = self.drain(self.late_list(), now, max, &mut deliver);
        loop {
            let list = (tick % self.inner.ticks) as usize;
            delivered += self.drain(list, now, max - delivered, &mut deliver);
            if tick >= now || delivered >= max {
                return delivered;
            }
            tick += 1;
            cursor.store(tick, Ordering::SeqCst);
        }
    }

    /// How many entries wait (after a death: about).
    pub fn len(&self) -> usize {
        self.inner.shared.count.load(Ordering::Relaxed).max(0) as usize
    }

    /// Does nothing wait?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Milliseconds per tick.
    pub fn tick_ms(&self) -> u64 {
        self.inner.tick_ms
    }

    /// Drops every entry undelivered. By the timer process, or where there is none.
    pub fn clear(&self) {
        for list in 0..self.inner.lists.len() {
            while let Some(block) = self.pop(list) {
                self.finish(block);
            }
        }
    }

    fn drain(
        &self,
        list: usize,
        now: u64,
        max: usize,
        deliver: &mut impl FnMut([u64; 3]),
    ) -> usize {
        let mut delivered = 0;
        while delivered < max {
            let Some(block) = self.pop(list) else {
                break;
            };
            let [_, due, a, b, c] = block.fixed::<5>();
            if self.tick_of(due.load(Ordering::Relaxed)) > now {
                self.push(block, None);
                self.my_pending().pop.store(0, Ordering::Release);
                continue;
            }
            deliver([a, b, c].map(|word| word.load(Ordering::Relaxed)));
            self.finish(block);
            delivered += 1;
        }
        delivered
    }

    fn finish(&self, block: Block) {
        self.my_pending().pop.store(0, Ordering::Release);
        arena().free(block);
        self.inner.shared.count.fetch_sub(1, Ordering::Relaxed);
    }

    fn new_entry(&self, due_ms: u64, payload: [u64; 3]) -> Result<Block, OutOfMemory> {
        let block = arena()
            .alloc(ENTRY_BYTES, self.inner.tag, reserve_allowed())?
            .into_block();
        let values = [0, due_ms, payload[0], payload[1], payload[2]];
        for (word, value) in block.fixed::<5>().iter().zip(values) {
            word.store(value, Ordering::Relaxed);
        }
        Ok(block)
    }

    /// Puts a block this process has reserved on its list. Returns the tick and the list.
    fn push(&self, block: Block, list: Option<usize>) -> (u64, usize) {
        let [link, due, ..] = block.fixed::<5>();
        let cursor = self.inner.shared.cursor.load(Ordering::SeqCst);
        let cursor = cursor.min(u64::MAX - self.inner.ticks);
        let tick = self
            .tick_of(due.load(Ordering::Relaxed))
            .clamp(cursor + 1, cursor + self.inner.ticks - 1);
        let list = list.unwrap_or((tick % self.inner.ticks) as usize);
        let generation = block.name().generation;
        let pending = self.my_pending();
        pending.push.store(pack(list, block), Ordering::Release);
        let attempts = link.load(Ordering::Relaxed) & ATTEMPTS;
        let head = &self.inner.lists[list];
        let mut first = head.load(Ordering::Relaxed);
        loop {
            link.store(attempts | u64::from(first), Ordering::Relaxed);
            match head.compare_exchange_weak(first, block.0, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => first = now,
            }
        }
        // The timer process may have taken it already: then it is no longer ours to mark.
        block.change_state(generation, State::Reserved(current_slot()), State::Live);
        pending.push.store(0, Ordering::Release);
        (tick, list)
    }

    /// Takes the newest entry off a list. It stays named in the `pop` word until it is finished.
    fn pop(&self, list: usize) -> Option<Block> {
        let head = &self.inner.lists[list];
        if head.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let _guard = self.inner.shared.lock.lock(RANK_WHEEL);
        let mine = State::Reserved(current_slot());
        loop {
            let block = match head.load(Ordering::SeqCst) {
                0 => return None,
                index => match self.entry(index) {
                    Some(block) => block,
                    None => {
                        // What hangs behind garbage is lost; the list goes on.
                        let _ =
                            head.compare_exchange(index, 0, Ordering::SeqCst, Ordering::Relaxed);
                        continue;
                    }
                },
            };
            self.my_pending()
                .pop
                .store(pack(list, block), Ordering::Release);
            // Its inserter may not have marked it live yet: take it from whatever it is.
            loop {
                let (generation, state) = block.generation_and_state();
                if block.change_state(generation, state, mine) {
                    break;
                }
            }
            let next = block.fixed::<5>()[0].load(Ordering::Relaxed) as u32;
            if head
                .compare_exchange(block.0, next, Ordering::SeqCst, Ordering::Relaxed)
                .is_ok()
            {
                return Some(block);
            }
            // Somebody pushed in front of it.
            block.set_state(State::Live);
            self.my_pending().pop.store(0, Ordering::Release);
        }
    }

    fn tick_of(&self, due_ms: u64) -> u64 {
        due_ms.div_ceil(self.inner.tick_ms)
    }

    fn late_list(&self) -> usize {
        self.inner.ticks as usize
    }

    fn my_pending(&self) -> &'static Pending {
        &self.inner.pending[usize::from(current_slot()).min(self.inner.pending.len() - 1)]
    }

    /// The entry at `index`, if one is there.
    fn entry(&self, index: u32) -> Option<Block> {
        let block = arena().plausible(index)?;
        let fits = block.len() == ENTRY_BYTES && arena().room(block) >= ENTRY_BYTES;
        let fits = fits && arena().is_taken(block);
        (fits && block.tag() == self.inner.tag).then_some(block)
    }

    /// What waits: due time and payload. For tests.
    #[cfg(feature = "kill-points")]
    pub fn contents(&self) -> Vec<(u64, [u64; 3])> {
        let _guard = self.inner.shared.lock.lock(RANK_WHEEL);
        let blocks = (0..self.inner.lists.len()).flat_map(|list| self.blocks_of(list));
        blocks
            .map(|block| {
                let [_, due, a, b, c] = block.fixed::<5>();
                let payload = [a, b, c].map(|word| word.load(Ordering::Relaxed));
                (due.load(Ordering::Relaxed), payload)
            })
            .collect()
    }

    /// What the dead had in hand stays, though nobody can tell now whether it is on a list: a lost
    /// entry is better than a list that leads to a free block.
    fn spare(&self, pending: &Pending, dead: u16) {
        for word in [&pending.push, &pending.pop] {
            let block = unpack(word.swap(0, Ordering::AcqRel));
            let block = block.and_then(|(_, block)| self.entry(block.0));
            if let Some(block) = block {
                let (generation, _) = block.generation_and_state();
                block.change_state(generation, State::Reserved(dead), State::Live);
            }
        }
    }

    fn contains(&self, list: usize, wanted: Block) -> bool {
        self.blocks_of(list).any(|block| block == wanted)
    }

    /// Under the wheel's lock: then entries are added only.
    fn blocks_of(&self, list: usize) -> impl Iterator<Item = Block> + '_ {
        let mut link = self.inner.lists[list].load(Ordering::SeqCst);
        let bound = arena().size() / 64;
        std::iter::from_fn(move || {
            if link == 0 {
                return None;
            }
            let block = self.entry(link)?;
            link = block.fixed::<5>()[0].load(Ordering::Relaxed) as u32;
            Some(block)
        })
        .take(bound)
    }
}

/// CLOCK_MONOTONIC in milliseconds: one clock for all processes of the machine.
#[inline]
pub fn monotonic_ms() -> u64 {
    match SET_CLOCK.load(Ordering::Relaxed) {
        0 => machine_ms(),
        ms => ms,
    }
}

/// From now on the clock of this process stands at `ms`, until it is set again; with 0 it is the
/// machine's once more. For simulations: in a server nobody calls it, and asking whether somebody has
/// is one load of a line that never changes, a fiftieth of the system's own clock.
pub fn set_clock(ms: u64) {
    SET_CLOCK.store(ms, Ordering::Relaxed);
}

static SET_CLOCK: AtomicU64 = AtomicU64::new(0);

fn machine_ms() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel fills the struct we own; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

#[derive(Debug)]
struct Inner {
    name: String,
    tick_ms: u64,
    ticks: u64,
    tag: Tag,
    shared: &'static Shared,
    /// One list per tick of a turn, and the one of the late.
    lists: &'static [AtomicU32],
    pending: &'static [Pending],
}

#[derive(Debug)]
#[repr(C, align(64))]
struct Shared {
    lock: RawLock,
    /// The tick whose list the timer process works on: new entries go behind it.
    cursor: AtomicU64,
    count: AtomicI64,
}

/// What one slot is doing to the wheel: list << 32 | block, or 0.
#[derive(Debug)]
#[repr(C, align(64))]
struct Pending {
    push: AtomicU64,
    pop: AtomicU64,
}

impl Structure for Wheel {
    fn name(&self) -> &str {
        &self.inner.name
    }

    fn repair(&self, dead: u16, report: &mut RepairReport) {
        let Some(pending) = self.inner.pending.get(usize::from(dead)) else {
            return;
        };
        let shared = self.inner.shared;
        let held = shared.lock.owner() == Some(dead);
        let mut again = None;
        {
            // Either the dead slot's lock keeps the lists from shrinking, or our own does.
            let deadline = monotonic_ms() + PATIENCE_MS;
            let guard = (!held).then(|| shared.lock.lock_until(RANK_WHEEL, deadline));
            if let Some(Err(holder)) = guard {
                self.spare(pending, dead);
                report.busy.push(BusyLock {
                    structure: self.inner.name.clone(),
                    index: 0,
                    holder,
                });
                return;
            }
            for word in [&pending.push, &pending.pop] {
                let Some((list, block)) = unpack(word.load(Ordering::Acquire)) else {
                    continue;
                };
                if list >= self.inner.lists.len()
                    || self.entry(block.0).is_none()
                    || block.state() != State::Reserved(dead)
                {
                    continue;
                }
                if self.contains(list, block) {
                    block.set_state(State::Live);
                } else if std::ptr::eq(word, &raw const pending.pop) {
                    again = Some(block);
                }
            }
            pending.push.store(0, Ordering::Release);
            pending.pop.store(0, Ordering::Release);
        }
        if held && shared.lock.release_of(dead) {
            report.locks_released.push(self.inner.name.clone());
        }
        if let Some(block) = again {
            // Its delivery was cut short. Once more, unless it seems to be what kills.
            let link = &block.fixed::<5>()[0];
            let attempts = link.load(Ordering::Relaxed) >> 32;
            if attempts < MAX_REDELIVERIES {
                link.store((attempts + 1) << 32, Ordering::Relaxed);
                block.set_state(State::Reserved(current_slot()));
                self.push(block, None);
            } else {
                shared.count.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    fn check(&self, walk: &mut Walk) {
        let (name, shared) = (&self.inner.name, self.inner.shared);
        let Some(_guard) = walk.lock(&shared.lock, RANK_WHEEL, name, 0) else {
            return;
        };
        let mut seen = HashSet::new();
        for (list, head) in self.inner.lists.iter().enumerate() {
            let mut link = head.load(Ordering::SeqCst);
            while link != 0 {
                let entry = self.entry(link).filter(|_| seen.insert(link));
                let Some(block) = entry.filter(|block| block.state() != State::Free) else {
                    walk.fault(
                        name,
                        format!("list {list} leads to {link}: no entry of its"),
                    );
                    break;
                };
                link = block.fixed::<5>()[0].load(Ordering::Relaxed) as u32;
            }
        }
    }

    fn forget(&self) -> String {
        let Inner {
            shared,
            lists,
            pending,
            ..
        } = self.inner;
        shared.lock.wipe();
        for list in *lists {
            list.store(0, Ordering::SeqCst);
        }
        for pending in *pending {
            pending.push.store(0, Ordering::Release);
            pending.pop.store(0, Ordering::Release);
        }
        shared.cursor.store(0, Ordering::SeqCst);
        shared.count.store(0, Ordering::Relaxed);
        format!("{}: empty", self.inner.name)
    }

    fn reach(&self, visit: &mut dyn FnMut(Block)) {
        for list in 0..self.inner.lists.len() {
            self.blocks_of(list).for_each(&mut *visit);
        }
    }
}

fn pack(list: usize, block: Block) -> u64 {
    (list as u64) << 32 | u64::from(block.0)
}

fn unpack(word: u64) -> Option<(usize, Block)> {
    (word != 0).then_some(((word >> 32) as usize, Block(word as u32)))
}

const ENTRY_BYTES: usize = 40;
const ATTEMPTS: u64 = 0xffff_ffff << 32;
const MAX_REDELIVERIES: u64 = 2;

#[cfg(test)]
mod tests;
