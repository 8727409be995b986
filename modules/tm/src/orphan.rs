//! What dead processes leave: scripts that did not end, promises that were not kept.
//!
//! Main calls [`worker_died`] after the repair of shared memory. It only puts entries on the wheel;
//! the `timer` process does the rest. It goes on without the script of the dead, but for one case: a
//! request of which nobody has heard more than a 100 is routed once more from its beginning. If it is
//! what killed, it has a strike by then, and is not routed a third time (`proc::quarantine`).

use crate::act::{self, Out};
use crate::attrs::{self, Attr};
use crate::failure;
use crate::promise;
use crate::revive;
use crate::state::{Leg, LegState, Uas, flag, leg_flag};
use crate::store::{self, LegPiece, Mark, Open, Piece};
use crate::timers;
use crate::uac;
use crate::upstream::{self, Answer};
use olelo_core::mem::NodeId;
use olelo_core::mem::heap::use_reserve;
use olelo_core::route::run;
use olelo_core::timer::monotonic_ms;
use olelo_sip::{Message, build};
use std::sync::atomic::Ordering::Relaxed;

/// Kind of an entry on the wheel: the process whose script had marked a transaction is dead.
pub const SCRIPT: u64 = 1;
/// Kind of an entry on the wheel: the process that was at work on a transaction is dead.
pub const PROMISE: u64 = 2;

/// A worker is dead: hands what it left to the `timer` process. Runs in main.
pub fn worker_died(slot: u16) {
    let Some(store) = store::store() else { return };
    let mut left = Vec::new();
    store.table.for_each_bucket(|guard| {
        for r in guard.iter() {
            let word = r.words().first().map_or(0, |w| w.load(Relaxed));
            if word & 0xffff == u64::from(slot) + 1 {
                left.push((r.id(), SCRIPT));
            }
        }
    });
    for id in promise::left_by(slot) {
        // What a script's death leads to includes the promises.
        if !left.contains(&(id, SCRIPT)) {
            left.push((id, PROMISE));
        }
    }
    for (id, kind) in left {
        hand_over(id, slot, kind);
    }
}

/// What this process, in `slot`, does with a transaction ends in a panic: others go on with it.
pub fn adopt(id: NodeId, slot: u16) {
    hand_over(id, slot, SCRIPT);
    hand_over(id, slot, PROMISE);
}

fn hand_over(id: NodeId, slot: u16, kind: u64) {
    let Some(store) = store::store() else { return };
    let _reserve = use_reserve();
    let entry = [id.to_bits(), u64::from(slot), kind];
    if let Err(e) = store.wheel.insert(monotonic_ms(), entry) {
        olelo_core::error!("tm", "an orphaned transaction waits for the sweep: {e}");
    }
}

/// The process in `slot` died while its script worked on a transaction: goes on without the script.
pub fn script_died(id: NodeId, slot: u16) {
    let Some(mut open) = Open::node(id) else {
        return;
    };
    let Some((kind, _)) = open.mark().filter(|(_, owner)| *owner == slot) else {
        return;
    };
    open.set_mark(None);
    let h = open.tx.head;
    if h.uas() != Uas::Proceeding {
        open.leave();
        return make_good(id);
    }
    olelo_core::warn!(
        "tm",
        "the process in slot {slot} died while routing a request"
    );
    if kind != Mark::Busy && h.has(flag::SUSPENDED) {
        // It waits for somebody else, and its timer runs.
        open.leave();
        return make_good(id);
    }
    if open.tx.legs.is_empty() || h.has(flag::SUSPENDED) {
        return without_legs(open, id, kind, slot);
    }
    if kind == Mark::Busy && open.tx.active() == 0 {
        // The failure route, cleared when it began, does not run again, whatever it had set since.
        open.tx.head.put(flag::HAS_FAILURE, false);
        open.commit();
    } else {
        open.leave();
    }
    make_good(id);
}

/// Nothing went on yet. A caller that has heard nothing and repeats its request starts anew.
fn without_legs(mut open: Open, id: NodeId, kind: Mark, slot: u16) {
    let h = open.tx.head;
    let unheard = kind == Mark::Request && h.code == 0 && !h.has(flag::SENT_100 | flag::CANCELED);
    let connection = h.up.dst().conn;
    let nobody = h.has(flag::LOCAL) || connection.is_some_and(|c| c.slot == slot);
    if nobody || unheard && !h.has(flag::UP_RELIABLE) {
        timers::delete(open, id);
        return;
    }
    if kind != Mark::Busy && h.code <= 100 && !h.has(flag::CANCELED | flag::SUSPENDED) {
        return route_again(open, id);
    }
    open.tx.head.put(flag::SUSPENDED, false);
    open.commit();
    let code = if h.has(flag::CANCELED) { 487 } else { 500 };
    let a = Answer {
        code,
        reason: upstream::reason_of(code),
        ..Answer::default()
    };
    upstream::answer_node(id, &a);
}

/// A caller that has heard a 100 does not repeat its request, so that is done here: as if it had come
/// just now.
fn route_again(open: Open, id: NodeId) {
    let from = revive::received(&open);
    let request = open.piece(Piece::Request).map(<[u8]>::to_vec);
    timers::delete(open, id);
    if let Some(bytes) = request {
        let mut ctx = revive::take();
        run::receive(&mut ctx, from, &bytes);
        revive::give_back(ctx);
    }
}

/// A process died between publishing and carrying out: does what nobody else would, most of it
/// perhaps a second time. A peer that gets a message twice takes it for a retransmission.
pub fn make_good(id: NodeId) {
    let Some(open) = Open::node(id) else { return };
    let h = open.tx.head;
    let out = unsent(&open);
    let told = attrs::get(open.attrs(), Attr::Notify).is_none();
    let local_end = (h.has(flag::LOCAL) && h.answered() && !told).then_some(usize::from(h.winner));
    let nobody_works = match open.mark() {
        None => true,
        Some((Mark::Busy, _)) => false,
        Some(_) => !open.tx.legs.is_empty(),
    };
    let ended = !h.answered() && !h.has(flag::SUSPENDED) && open.tx.active() == 0;
    open.leave_and_arm();
    act::carry_out(id, &h, out, None);
    if let Some(leg) = local_end {
        uac::done(id, leg, None);
    }
    if ended && nobody_works {
        failure::finish(id);
    }
}

/// What may not have been sent and nobody repeats: the last reply, and what is on reliable legs.
pub(crate) fn unsent(open: &Open) -> Vec<Out> {
    let h = &open.tx.head;
    let legs = open.tx.legs.iter().enumerate();
    let mut out: Vec<Out> = legs
        .filter(|(_, leg)| leg.has(leg_flag::RELIABLE))
        .filter_map(|(i, leg)| of_leg(open, i, leg))
        .collect();
    if h.answered() && h.has(flag::UP_RELIABLE) && !h.has(flag::RELEASED) {
        let last = open.piece(Piece::Reply).map(<[u8]>::to_vec);
        out.extend(last.map(|bytes| Out::Repeat(h.up.dst(), bytes)));
    }
    out
}

/// What may not have been sent on a reliable leg.
fn of_leg(open: &Open, i: usize, leg: &Leg) -> Option<Out> {
    let sent = open.leg_piece(i, LegPiece::Sent)?;
    let to = leg.to.dst();
    if leg.cancel_end != 0 {
        return act::cancel(open, i);
    }
    match leg.state() {
        LegState::Calling => Some(Out::Down(to, sent.to_vec())),
        LegState::Completed if open.tx.head.has(flag::INVITE) && !leg.has(leg_flag::FAKED) => {
            let reply = Message::from_bytes(open.leg_piece(i, LegPiece::Reply)?).ok()?;
            let mut bytes = Vec::with_capacity(512);
            build::ack_for_negative(sent, &reply, &mut bytes).ok()?;
            Some(Out::Down(to, bytes))
        }
        _ => None,
    }
}
