//! The clock: one armed entry on the wheel for each transaction, and a sweep that trusts nothing.
//!
//! The `timer` process takes what is due off the wheel. An entry that is not the armed one (its
//! number differs) is void: nobody searches the wheel to remove entries. The sweep finds what has no
//! armed entry though something is due, because a process died or memory was short in between.

use crate::act;
use crate::events::{self, News};
use crate::failover;
use crate::failure;
use crate::machine::Do;
use crate::params;
use crate::stats;
use crate::store::{self, Open, head_of};
use olelo_core::dns::blocklist::{self, reason};
use olelo_core::mem::NodeId;
use olelo_core::mem::heap::use_reserve;
use olelo_core::net::udp;
use olelo_core::timer::monotonic_ms;

/// Most timers handled before what they sent goes out.
const BATCH: usize = 256;
/// Milliseconds that a deadline must have passed before the sweep takes care.
const OVERDUE: u64 = 2_000;

/// Kind of an entry: the armed timer of a transaction.
const TIMER: u64 = 0;
/// Kind of an entry: the process whose script worked on the transaction is dead.
const ORPHAN: u64 = 1;

/// The job of the `timer` process.
pub fn tick(now: u64) {
    let Some(store) = store::store() else { return };
    loop {
        udp::hold();
        let n = store.wheel.advance(now, BATCH, |[node, number, kind]| {
            let id = NodeId::from_bits(node);
            match kind {
                ORPHAN => failure::orphaned(id, number as u16),
                _ => fired(id, number),
            }
        });
        udp::flush();
        if n < BATCH {
            return;
        }
    }
}

/// The armed timer of a transaction has fired.
pub fn fired(id: NodeId, number: u64) {
    if let Some(open) = Open::node(id)
        && open.timer_fired(number)
    {
        due(open, id, monotonic_ms());
    }
}

/// Does what is due in a transaction.
pub fn due(mut open: Open, id: NodeId, now: u64) {
    let next = open.tx.next_deadline();
    if next == 0 || next > now {
        return open.leave();
    }
    let busy = open.is_busy();
    let (elsewhere, mute) = failover::after_timeout(&mut open, now);
    let todo = open.tx.on_timer(now, busy, &params::rules());
    let head = open.tx.head;
    if todo.contains(&Do::Delete) {
        if events::is_told(events::DESTROY) {
            open.leave();
            let news = News {
                what: events::DESTROY,
                code: head.code,
                leg: None,
                reply: b"",
                made_here: false,
            };
            events::tell(id, &head, &news, None);
            let Some(again) = Open::node(id) else { return };
            open = again;
        }
        if open.delete() {
            stats::FREED.inc();
        }
        return;
    }
    let out = act::prepare(&mut open, &todo, None);
    open.commit();
    for dst in &mute {
        blocklist::failed(dst, reason::TIMEOUT);
    }
    act::carry_out(id, &head, out, None);
    for new in elsewhere {
        failover::send(id, new);
    }
}

/// The job of the slow timer: transactions whose timer was lost, requests nobody works on any more.
pub fn sweep(_now: u64) {
    let Some(store) = store::store() else { return };
    let now = monotonic_ms();
    let mut lost = Vec::new();
    store.table.for_each_bucket(|guard| {
        for r in guard.iter() {
            let old = head_of(&r).is_some_and(|h| h.created + OVERDUE < now);
            if old {
                lost.push(r.id());
            }
        }
    });
    for id in lost {
        let Some(open) = Open::node(id) else { continue };
        let next = open.tx.next_deadline();
        let armed = open.armed();
        let late = next != 0 && next + OVERDUE < now && (armed == 0 || armed + OVERDUE < now);
        if late {
            due(open, id, now);
        } else if next == 0 && open.mark().is_none() && open.tx.active() == 0 {
            // No leg, no timer, no script: created and forgotten.
            let mut open = open;
            open.tx.release(now);
            open.commit();
        }
    }
}

/// Ends transactions that have lived far longer than they may (`t_clean`, `tm.clean`).
pub fn clean() -> i64 {
    let Some(store) = store::store() else {
        return 0;
    };
    let now = monotonic_ms();
    let longest = params::MAX_INV_LIFETIME
        .get()
        .max(params::MAX_NONINV_LIFETIME.get())
        .max(0) as u64;
    let limit = longest.max(180_000) + 120_000;
    let mut gone = 0;
    store.table.for_each_bucket(|guard| {
        gone += guard.retain(|r| head_of(&r).is_some_and(|h| h.created + limit > now));
    });
    stats::FREED.add(gone as i64);
    gone as i64
}

/// A worker is dead: hands what its scripts had marked to the `timer` process. Runs in main.
pub fn worker_died(slot: u16) {
    let Some(store) = store::store() else { return };
    let _reserve = use_reserve();
    let now = monotonic_ms();
    let mut marked = Vec::new();
    store.table.for_each_bucket(|guard| {
        for r in guard.iter() {
            let mark = r.words().first();
            let word = mark.map_or(0, |w| w.load(std::sync::atomic::Ordering::Relaxed));
            if word & 0xffff == u64::from(slot) + 1 {
                marked.push(r.id());
            }
        }
    });
    for id in marked {
        if let Err(e) = store
            .wheel
            .insert(now, [id.to_bits(), u64::from(slot), ORPHAN])
        {
            olelo_core::error!("tm", "an orphaned transaction waits for its timers: {e}");
        }
    }
    let _ = TIMER;
}
