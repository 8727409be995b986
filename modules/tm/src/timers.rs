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
use crate::orphan;
use crate::params;
use crate::promise::promise;
use crate::stats;
use crate::store::{self, Open, head_of};
use olelo_core::dns::blocklist::{self, reason};
use olelo_core::mem::NodeId;
use olelo_core::net::udp;
use olelo_core::timer::monotonic_ms;

/// Most timers handled before what they sent goes out.
const BATCH: usize = 256;
/// Milliseconds that a deadline must have passed before the sweep takes care.
const OVERDUE: u64 = 2_000;

/// The job of the `timer` process.
pub fn tick(now: u64) {
    let Some(store) = store::store() else { return };
    loop {
        udp::hold();
        let n = store.wheel.advance(now, BATCH, |[node, number, kind]| {
            let id = NodeId::from_bits(node);
            match kind {
                orphan::SCRIPT => orphan::script_died(id, number as u16),
                orphan::PROMISE => orphan::make_good(id),
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
        return delete(open, id);
    }
    let _promise = promise(id);
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

/// A transaction is over: who wants to know is told, and it is removed.
pub fn delete(mut open: Open, id: NodeId) {
    if events::is_told(events::DESTROY) {
        let head = open.tx.head;
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
            // Nothing runs and no timer does: its end is still to be drawn.
            open.leave();
            failure::finish(id);
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
