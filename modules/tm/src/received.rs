//! A reply has come: the leg it belongs to, its reply route, what follows.
//!
//! The reply route runs before the state changes, without a lock, as it must: it may look at and
//! change the reply. What it changed in the transaction's flags and AVPs is kept in the same step in
//! which the reply takes effect.

use crate::act::{self, Out};
use crate::attrs::{self, Attr};
use crate::events::{self, News};
use crate::failover;
use crate::ids;
use crate::mine::{Side, mine};
use crate::params;
use crate::promise::promise;
use crate::state::{Head, flag};
use crate::stats;
use crate::store::{LegPiece, Open, Piece};
use olelo_core::hooks::ReplyVerdict;
use olelo_core::mem::NodeId;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::engine::Outcome;
use olelo_core::route::function::TM_ONREPLY;
use olelo_core::route::run;
use olelo_core::timer::monotonic_ms;
use olelo_sip::Method;

/// The leg that a reply belongs to, by our Via branch.
pub fn leg_of(ctx: &Ctx) -> Option<(NodeId, usize)> {
    let via = ctx.msg.via(0)?;
    ids::parse_branch(via.branch(ctx.msg.buf())?)
}

/// The hook for replies.
pub fn reply(ctx: &mut Ctx) -> ReplyVerdict {
    match leg_of(ctx).and_then(|(id, leg)| Some((Open::node(id)?, id, leg))) {
        Some((open, id, leg)) if leg < open.tx.legs.len() => {
            of_leg(ctx, open, id, leg);
            ReplyVerdict::Taken
        }
        _ => stray(ctx),
    }
}

/// A reply without transaction goes on without state, unless the operator's route says no.
fn stray(ctx: &mut Ctx) -> ReplyVerdict {
    let Some(name) = params::ON_SL_REPLY.get() else {
        return ReplyVerdict::Pass;
    };
    match run::call(ctx, name, Some("tm:stateless-reply"), TM_ONREPLY) {
        Outcome::Drop | Outcome::Return(0) => ReplyVerdict::Taken,
        _ => ReplyVerdict::Pass,
    }
}

fn of_leg(ctx: &mut Ctx, open: Open, id: NodeId, leg: usize) {
    stats::RPL_RECEIVED.inc();
    let status = ctx.msg.status();
    let head = open.tx.head;
    let method = ctx.msg.method();
    if method == Method::Cancel && head.has(flag::INVITE) {
        cancel_reply(open, leg, status);
        return;
    }
    if ids::method_number(method) != head.method {
        olelo_core::info!("tm", "a reply to {} has another method", method.as_str());
        return;
    }
    let before = (head.msg_flags, Vec::new());
    let routed = head.has(flag::HAS_REPLY) && !head.has(flag::REPLICA);
    let (mut dropped, mut avps_were) = (false, before.1);
    let mut open = Some(open);
    if routed || events::is_told(events::RESPONSE_IN) {
        let Some(o) = open.take() else { return };
        avps_were = attrs::get(o.attrs(), Attr::Avps)
            .unwrap_or_default()
            .to_vec();
        let name = restore(ctx, &o, leg);
        drop(o);
        told(ctx, id, &head, leg, status);
        if let Some(name) = name.filter(|_| routed) {
            let outcome = run::call(ctx, &name, None, TM_ONREPLY);
            dropped = outcome == Outcome::Drop && status < 200;
        }
        open = Open::node(id);
    }
    let Some(mut open) = open else { return };
    if routed {
        keep_changes(ctx, &mut open, leg, &avps_were);
    }
    let _promise = promise(id);
    let busy = open.is_busy();
    let now = monotonic_ms();
    let elsewhere = failover::after_reply(&mut open, leg, status);
    let mut todo = open.tx.on_reply(leg, status, now, busy, &params::rules());
    if dropped {
        todo.retain(|d| *d != crate::machine::Do::Forward);
    }
    let out = act::prepare(&mut open, &todo, Some((ctx, leg)));
    let head = open.tx.head;
    let relayed = out.iter().any(|o| matches!(o, Out::Relay(..)));
    if !relayed {
        stats::RPL_ABSORBED.inc();
    }
    open.commit();
    failover::unavailable(ctx);
    act::carry_out(id, &head, out, Some(ctx));
    if let Some(new) = elsewhere {
        failover::send(id, new);
    }
}

fn cancel_reply(mut open: Open, leg: usize, status: u16) {
    stats::RPL_ABSORBED.inc();
    let waits = open.tx.legs.get(leg).is_some_and(|l| l.cancel_end != 0);
    if waits && status >= 200 {
        open.tx.on_cancel_reply(leg, status);
        open.commit();
    }
}

/// Puts what the transaction knows into the reply's context. Returns the reply route's name.
fn restore(ctx: &mut Ctx, open: &Open, leg: usize) -> Option<String> {
    let h = &open.tx.head;
    (ctx.flags, ctx.sflags) = (h.msg_flags, h.sflags);
    ctx.bflags = open.tx.legs[leg].bflags;
    ctx.branch_index = leg as i32;
    attrs::restore_avps(open.attrs(), ctx);
    let own = open.leg_piece(leg, LegPiece::Attrs).unwrap_or_default();
    ctx.contact = attrs::contact(own);
    let name = attrs::text(own, Attr::OnReply).or_else(|| attrs::text(open.attrs(), Attr::OnReply));
    let m = mine(ctx);
    m.node = Some(open.id);
    m.side = Side::Reply { leg };
    name.map(str::to_string)
}

/// Keeps what the reply route changed in the transaction.
fn keep_changes(ctx: &Ctx, open: &mut Open, leg: usize, avps_were: &[u8]) {
    let h = &mut open.tx.head;
    (h.msg_flags, h.sflags) = (ctx.flags, ctx.sflags);
    if let Some(l) = open.tx.legs.get_mut(leg) {
        l.bflags = ctx.bflags;
    }
    let avps = if ctx.avps.is_empty() {
        Vec::new()
    } else {
        ctx.avps.encode()
    };
    if avps != avps_were {
        let all = attrs::with(open.attrs(), Attr::Avps, &avps);
        open.set(Piece::Attrs, &all);
    }
}

fn told(ctx: &mut Ctx, id: NodeId, head: &Head, leg: usize, status: u16) {
    if events::is_told(events::RESPONSE_IN) {
        let bytes = ctx.msg.buf().to_vec();
        let news = News {
            what: events::RESPONSE_IN,
            code: status,
            leg: Some(leg),
            reply: &bytes,
            made_here: false,
        };
        events::tell(id, head, &news, Some(ctx));
    }
}
