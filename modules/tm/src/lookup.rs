//! Which transaction a request belongs to (RFC 3261 §17.2.3), and creating one where there is none.
//!
//! Searching and adding happen under one bucket lock, so of two processes with the same request one
//! creates the transaction and the other finds it.

use crate::events::{self, News};
use crate::ids;
use crate::mine::{mine, mine_ref};
use crate::params::{self, ms};
use crate::state::{Head, Place, Tx, Uas, flag};
use crate::stats;
use crate::store::{self, Open, head_of};
use olelo_core::log::short_of_memory;
use olelo_core::mem::heap::{is_short, use_reserve};
use olelo_core::mem::table::BucketGuard;
use olelo_core::mem::{NodeId, current_slot};
use olelo_core::net::{Dst, reply as core_reply};
use olelo_core::route::ctx::Ctx;
use olelo_core::timer::monotonic_ms;
use olelo_sip::Method;

/// What [`create`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// A new transaction.
    New(NodeId),
    /// It exists: the request was sent again.
    Again(NodeId),
    /// Memory is short.
    NoMemory,
    /// The request has not what it takes.
    Unfit,
}

/// What an ACK belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckOf {
    /// Our negative reply, or our 2xx.
    Ours(NodeId),
    /// A 2xx that was relayed.
    Relayed(NodeId),
    /// Nothing we know.
    Unknown,
}

/// The transaction of this very request: the message was sent again, or its transaction was created
/// earlier in this route.
pub fn request(ctx: &Ctx) -> Option<NodeId> {
    if let Some(id) = mine_ref(ctx).and_then(|m| m.node) {
        return Some(id);
    }
    let (key, method) = key_and_method(ctx)?;
    find(ctx, |h| h.key == key && h.method == method)
}

/// The INVITE that a CANCEL is for.
pub fn canceled_invite(ctx: &Ctx) -> Option<NodeId> {
    let key = ids::request_key(&ctx.msg, params::old_matching())?;
    find(ctx, |h| {
        h.key == key && h.has(flag::INVITE) && !h.has(flag::LOCAL)
    })
}

/// What an ACK belongs to. One that is ours has its effect here.
pub fn ack(ctx: &mut Ctx) -> AckOf {
    let (Some(key), Some(dialog)) = (
        ids::request_key(&ctx.msg, params::old_matching()),
        ids::dialog_key(&ctx.msg),
    ) else {
        return AckOf::Unknown;
    };
    let now = monotonic_ms();
    let hop = find(ctx, |h| h.key == key && h.has(flag::INVITE));
    if let Some(id) = hop
        && let Some(mut open) = Open::node(id)
    {
        let was = open.tx.head.uas();
        if open.tx.on_ack(now) {
            match was {
                Uas::Completed => open.commit(),
                _ => true,
            };
            return AckOf::Ours(id);
        }
    }
    let end = find(ctx, |h| {
        h.dialog == dialog && h.has(flag::INVITE) && h.uas() == Uas::Accepted
    });
    let Some((id, mut open)) = end.and_then(|id| Some((id, Open::node(id)?))) else {
        return AckOf::Unknown;
    };
    let (ours, first) = (
        open.tx.head.has(flag::REPEAT_2XX),
        !open.tx.head.has(flag::ACKED),
    );
    let local = open.tx.head.has(flag::LOCAL_REPLY);
    let head = open.tx.head;
    if first {
        open.tx.on_e2e_ack(now);
        open.commit();
    }
    if ours || local {
        return AckOf::Ours(id);
    }
    let news = News {
        what: events::E2E_ACK,
        code: head.code,
        leg: None,
        reply: b"",
        made_here: false,
    };
    events::tell(id, &head, &news, None);
    AckOf::Relayed(id)
}

/// Creates the transaction of the request in `ctx`, unless it exists.
pub fn create(ctx: &mut Ctx, local: bool) -> Created {
    let Some((store, hash, (key, method))) = store::store().and_then(|s| {
        let keyed = if local {
            // A request made here has no sender who could send it again.
            (0, ids::method_number(ctx.msg.method()))
        } else {
            key_and_method(ctx)?
        };
        Some((s, ids::bucket_of(&ctx.msg)?, keyed))
    }) else {
        return Created::Unfit;
    };
    let up = match core_reply::destination(ctx) {
        Some(d) => d,
        None if local => from_of(ctx),
        None => return Created::Unfit,
    };
    let mut tx = Tx {
        head: new_head(ctx, &up, local),
        legs: Default::default(),
    };
    (tx.head.key, tx.head.method) = (key, method);
    // What has begun goes on when memory is short; new work does not, since it grows while it lives.
    let initial = ctx.msg.to_tag().is_none_or(<[u8]>::is_empty);
    if initial && !local && is_short() && ctx.msg.method() != Method::Cancel {
        let guard = store.table.lock(hash);
        return match same(&guard, key, method) {
            Some(id) => Created::Again(id),
            None => {
                stats::NO_MEMORY.inc();
                Created::NoMemory
            }
        };
    }
    // What ends calls may use the reserve.
    let _reserve = matches!(ctx.msg.method(), Method::Bye | Method::Cancel).then(use_reserve);
    let guard = store.table.lock(hash);
    if !local && let Some(id) = same(&guard, key, method) {
        return Created::Again(id);
    }
    match store::insert(store, guard, &mut tx, ctx.msg.buf(), b"", current_slot()) {
        Ok(id) => {
            stats::CREATED.inc();
            if local { &stats::UAC } else { &stats::UAS }.inc();
            let m = mine(ctx);
            (m.node, m.created) = (Some(id), true);
            let news = News {
                what: events::REQUEST_IN,
                code: 0,
                leg: None,
                reply: b"",
                made_here: false,
            };
            events::tell(id, &tx.head, &news, Some(ctx));
            Created::New(id)
        }
        Err(e) => {
            stats::NO_MEMORY.inc();
            short_of_memory("tm", "no transaction for a request", &e);
            Created::NoMemory
        }
    }
}

/// The transaction of the same request, if it is there (RFC 3261 §17.2.3).
fn same(bucket: &BucketGuard, key: u64, method: u8) -> Option<NodeId> {
    let is_it = |h: Head| h.key == key && h.method == method;
    let mut records = bucket.iter();
    let found = records.find(|r| head_of(r).is_some_and(is_it));
    found.map(|r| r.id())
}

fn new_head(ctx: &Ctx, up: &Dst, local: bool) -> Head {
    let now = monotonic_ms();
    let default = crate::mine::Mine::default();
    let m = mine_ref(ctx).unwrap_or(&default);
    let invite = ctx.msg.method() == Method::Invite;
    let pick = |own: u32, param| if own != 0 { own } else { ms(param) };
    let life = if invite {
        pick(m.life[0], &params::MAX_INV_LIFETIME)
    } else {
        pick(m.life[1], &params::MAX_NONINV_LIFETIME)
    };
    let mut h = Head {
        dialog: ids::dialog_key(&ctx.msg).unwrap_or(0),
        created: now,
        life_end: if life == 0 { 0 } else { now + u64::from(life) },
        up: Place::new(up),
        src: Place::new(&from_of(ctx)),
        msg_flags: ctx.flags,
        sflags: ctx.sflags,
        fr: avp_seconds(ctx, params::FR_TIMER_AVP.get())
            .unwrap_or_else(|| pick(m.timers[0], &params::FR_TIMER)),
        fr_inv: avp_seconds(ctx, params::FR_INV_TIMER_AVP.get())
            .unwrap_or_else(|| pick(m.timers[1], &params::FR_INV_TIMER)),
        t1: pick(m.timers[2], &params::RETR_TIMER1).max(10),
        t2: pick(m.timers[3], &params::RETR_TIMER2).max(10),
        wait: ms(&params::WT_TIMER),
        winner: 255,
        ..Head::default()
    };
    h.put(flag::INVITE, invite);
    h.put(flag::LOCAL, local);
    h.put(flag::UP_RELIABLE, up.proto.is_reliable());
    h.put(flag::FORCE_RPORT, ctx.force_rport);
    h.put(flag::NO_6XX_BLOCK, params::DISABLE_6XX_BLOCK.is_on());
    h.put(flag::NO_CANCEL_REASON, !params::E2E_CANCEL_REASON.is_on());
    h.flags = (h.flags | m.set_flags) & !m.clear_flags;
    h
}

/// `fr_timer_avp` and `fr_inv_timer_avp`: seconds in an AVP that the script has set.
fn avp_seconds(ctx: &Ctx, name: Option<&str>) -> Option<u32> {
    let seconds = ctx.pv(name?).as_int()?;
    u32::try_from(seconds)
        .ok()?
        .checked_mul(1000)
        .filter(|v| *v != 0)
}

fn from_of(ctx: &Ctx) -> Dst {
    Dst {
        proto: ctx.rcv.proto,
        addr: ctx.rcv.src,
        socket: ctx.rcv.socket,
        conn: ctx.rcv.conn,
        flags: Default::default(),
    }
}

fn key_and_method(ctx: &Ctx) -> Option<(u64, u8)> {
    let key = ids::request_key(&ctx.msg, params::old_matching())?;
    Some((key, ids::method_number(ctx.msg.method())))
}

fn find(ctx: &Ctx, is_it: impl Fn(&Head) -> bool) -> Option<NodeId> {
    let guard = store::lock(ids::bucket_of(&ctx.msg)?)?;
    guard
        .iter()
        .find(|r| head_of(r).is_some_and(|h| is_it(&h)))
        .map(|r| r.id())
}
