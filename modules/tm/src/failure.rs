//! All legs have failed: the failure route, then the best reply upstream (RFC 3261 §16.7 step 6).
//!
//! The process that finds the end marks the transaction busy, so that whatever comes meanwhile is
//! recorded only; it alone decides afterwards, as often as the route starts new legs that have
//! failed by then. Should it die, [`crate::orphan`] leads the timer process here, which goes on
//! without the route.

use crate::act;
use crate::attrs::{self, Attr};
use crate::best;
use crate::events::{self, News};
use crate::machine::Do;
use crate::mine::{Side, mine};
use crate::params;
use crate::promise::promise;
use crate::revive;
use crate::state::{Head, flag, leg_flag};
use crate::stats;
use crate::store::{LegPiece, Mark, Open, Piece};
use crate::uac;
use crate::upstream::{self, Answer};
use olelo_core::mem::{NodeId, current_slot};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{EVENT, FAILURE};
use olelo_core::route::run;
use olelo_core::timer::monotonic_ms;
use olelo_sip::build;
use olelo_sip::{Edits, HeaderName, Message};

/// Most steps of serial forking that one call follows: legs that can't be sent fail at once.
const MOST_STEPS: usize = 40;

/// Ends a transaction all of whose legs have failed, or starts its failure route.
pub fn finish(id: NodeId) {
    let _promise = promise(id);
    for _ in 0..MOST_STEPS {
        let Some(open) = Open::node(id) else { return };
        if open.tx.head.answered() || open.is_busy() || open.tx.active() > 0 {
            return;
        }
        if open.tx.is_silent() {
            return finish_silent(open, id);
        }
        let winner = best::choose(&open.tx, params::FAKED_REPLY_PRIO.get() as i32);
        if !open.tx.head.has(flag::HAS_FAILURE) && !events::is_told(events::ON_FAILURE) {
            return relay_best(open, id, winner);
        }
        if !run_route(open, id, winner) {
            return;
        }
    }
    olelo_core::error!("tm", "serial forking does not end; the request is answered");
    let Some(open) = Open::node(id) else { return };
    let winner = best::choose(&open.tx, 0);
    relay_best(open, id, winner);
}

/// A leg has failed: its branch failure route.
pub fn leg_failed(id: NodeId, leg: usize) {
    let Some(open) = Open::node(id) else { return };
    if open.tx.head.answered() || open.is_busy() {
        return;
    }
    let own = open.leg_piece(leg, LegPiece::Attrs).unwrap_or_default();
    let name = attrs::text(own, Attr::OnBranchFailure)
        .or_else(|| attrs::text(open.attrs(), Attr::OnBranchFailure))
        .map(str::to_string);
    let code = open.tx.legs.get(leg).map_or(0, |l| l.code);
    let Some(name) = name else { return };
    let _promise = promise(id);
    open.set_mark(Some((Mark::Busy, current_slot())));
    open.leave();
    revive::with(id, |ctx| {
        mine(ctx).side = Side::LegFailure { leg, code };
        mine(ctx).uri_before = (ctx.new_uri.clone(), ctx.dst_uri.clone());
        ctx.branch_index = leg as i32;
        let event = format!("tm:branch-failure:{name}");
        let route = format!("event_route[{event}]");
        let name = if run::has(&route) { route } else { name };
        run::call(ctx, &name, Some(&event), EVENT);
        keep_ctx(ctx, id);
    });
    if let Some(open) = Open::node(id) {
        open.set_mark(None);
        open.leave();
    }
}

/// Runs the failure route. True where the decision is open again.
fn run_route(mut open: Open, id: NodeId, winner: Option<usize>) -> bool {
    let name = attrs::text(open.attrs(), Attr::OnFailure).map(str::to_string);
    let (code, head) = (winner.map_or(408, |w| open.tx.legs[w].code), open.tx.head);
    if name.is_some() {
        // The route must set itself again to run again.
        let rest = attrs::with(open.attrs(), Attr::OnFailure, b"");
        open.set(Piece::Attrs, &rest);
        open.tx.head.put(flag::HAS_FAILURE, false);
    }
    let reply = winner
        .and_then(|w| open.leg_piece(w, LegPiece::Reply))
        .map(<[u8]>::to_vec)
        .unwrap_or_default();
    open.set_mark(Some((Mark::Busy, current_slot())));
    open.commit();
    let started = monotonic_ms();
    revive::with(id, |ctx| {
        let m = mine(ctx);
        m.side = Side::Failure { leg: winner, code };
        m.on_failure = None;
        // The branch route was for the legs so far; the reply route stays.
        m.on_branch = None;
        mine(ctx).uri_before = (ctx.new_uri.clone(), ctx.dst_uri.clone());
        ctx.branch_index = winner.map_or(-1, |w| w as i32);
        let news = News {
            what: events::ON_FAILURE,
            code,
            leg: winner,
            reply: &reply,
            made_here: reply.is_empty(),
        };
        events::tell(id, &head, &news, Some(ctx));
        if let Some(name) = &name {
            run::call(ctx, name, None, FAILURE);
            keep_ctx(ctx, id);
        }
    });
    let limit = params::EXEC_TIME_CHECK.get();
    let took = monotonic_ms().saturating_sub(started);
    if limit > 0 && took > limit as u64 {
        olelo_core::warn!("tm", "the failure route took {took} ms");
    }
    let Some(mut open) = Open::node(id) else {
        return false;
    };
    open.set_mark(None);
    if open.tx.settle() != Some(Do::Final) {
        open.leave();
        return false;
    }
    if open.tx.head.has(flag::HAS_FAILURE) {
        return true;
    }
    let winner = best::choose(&open.tx, params::FAKED_REPLY_PRIO.get() as i32);
    relay_best(open, id, winner);
    false
}

/// Keeps the flags and AVPs that a route has changed.
pub fn keep_ctx(ctx: &Ctx, id: NodeId) {
    let Some(mut open) = Open::node(id) else {
        return;
    };
    let avps = if ctx.avps.is_empty() {
        Vec::new()
    } else {
        ctx.avps.encode()
    };
    let were = attrs::get(open.attrs(), Attr::Avps).unwrap_or_default();
    let same = were == avps && open.tx.head.msg_flags == ctx.flags;
    if same {
        return;
    }
    let all = attrs::with(open.attrs(), Attr::Avps, &avps);
    open.set(Piece::Attrs, &all);
    open.tx.head.msg_flags = ctx.flags;
    open.commit();
}

/// Sends the best reply upstream.
fn relay_best(mut open: Open, id: NodeId, winner: Option<usize>) {
    let canceled = open.tx.head.has(flag::CANCELED);
    let Some(w) = winner else {
        open.leave();
        let code = if canceled { 487 } else { 500 };
        make(id, code, upstream::reason_of(code));
        return;
    };
    let (leg, stored) = (open.tx.legs[w], open.leg_piece(w, LegPiece::Reply));
    let Some(stored) = stored.map(<[u8]>::to_vec) else {
        open.leave();
        match leg.code {
            _ if canceled => make(id, 487, upstream::reason_of(487)),
            408 if silent_timeout(&open_head(id)) => {
                drop_silently(id);
            }
            408 => {
                let code = u16::try_from(params::REPLY_408_CODE.get()).unwrap_or(408);
                make(id, code, params::REPLY_408_REASON.text());
            }
            code => make(id, code, upstream::reason_of(code)),
        };
        return;
    };
    let bytes = dress(&open, w, stored);
    let code = if leg.code == 503 && params::REMAP_503_500.is_on() {
        500
    } else {
        leg.code
    };
    open.tx.head.winner = w as u8;
    if !open.tx.answer(code, false, monotonic_ms()) {
        return open.leave();
    }
    open.set(Piece::Reply, &bytes);
    let out = vec![act::Out::Relay(open.tx.head.up.dst(), code, w, bytes)];
    let head = open.tx.head;
    open.commit();
    act::carry_out(id, &head, out, None);
}

/// The stored reply as it goes upstream: a 503 becomes a 500, challenges of others are added.
fn dress(open: &Open, winner: usize, stored: Vec<u8>) -> Vec<u8> {
    let code = open.tx.legs[winner].code;
    let wants_others = matches!(code, 401 | 407) && params::AGGREGATE_CHALLENGES.is_on();
    let remap = code == 503 && params::REMAP_503_500.is_on();
    if !wants_others && !remap {
        return stored;
    }
    let Ok(msg) = Message::from_bytes(&stored) else {
        return stored;
    };
    let mut edits = Edits::new();
    if remap && let olelo_sip::FirstLine::Reply { status_text, .. } = msg.first_line() {
        edits.replace(status_text, b"500");
    }
    let others = open.tx.legs.iter().enumerate().filter(|(i, l)| {
        wants_others
            && *i != winner
            && matches!(l.code, 401 | 407)
            && !l.has(leg_flag::DROPPED | leg_flag::FAKED)
    });
    for (i, _) in others {
        let Some(Ok(other)) = open.leg_piece(i, LegPiece::Reply).map(Message::from_bytes) else {
            continue;
        };
        for name in [HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate] {
            for h in other.headers_named(name) {
                edits.append_header(other.slice(h.whole));
            }
        }
    }
    let mut out = Vec::with_capacity(stored.len() + 256);
    edits.apply(&msg, &mut out);
    debug_assert!(build::first_value_to_remove(&msg, HeaderName::Via).is_some());
    out
}

fn make(id: NodeId, code: u16, reason: &str) {
    let sent = upstream::answer_node(
        id,
        &Answer {
            code,
            reason,
            ..Answer::default()
        },
    );
    if sent < 0 {
        olelo_core::debug!("tm", "a transaction has its final reply already");
    }
}

fn open_head(id: NodeId) -> Head {
    Open::node(id).map(|o| o.tx.head).unwrap_or_default()
}

/// An INVITE that rang until it timed out, and the operator wants no reply for that.
fn silent_timeout(head: &Head) -> bool {
    head.has(flag::INVITE) && head.code > 100 && !params::NOISY_CTIMER.is_on()
}

fn drop_silently(id: NodeId) {
    if let Some(mut open) = Open::node(id) {
        open.tx.release(monotonic_ms());
        open.commit();
    }
}

/// A request made here, or a copy: nobody is upstream.
fn finish_silent(mut open: Open, id: NodeId) {
    let winner = open.tx.local_final(monotonic_ms());
    if winner.is_none() {
        open.tx.release(monotonic_ms());
    }
    let replica = open.tx.head.has(flag::REPLICA);
    open.commit();
    if let Some(w) = winner.filter(|_| !replica) {
        stats::ended(408);
        uac::done(id, w, None);
    }
}
