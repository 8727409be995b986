//! Failover: a leg whose place failed goes on, as a new leg, to the next place of its name.
//!
//! RFC 3263 §4.3, with `use_dns_failover`. The places that a name leads to are found once, when the
//! request is relayed, and kept with its leg; each with the Via that a request to it would have. A leg
//! has failed where sending fails, where no reply at all comes in time, and where the reply is 503 or
//! one of `failover_reply_codes`. Then the same bytes, with another Via, make another leg of the same
//! transaction: the decisions in `machine` see one leg end while another is active, and that is all
//! they need to know. A reply to the old leg that comes late still counts.

use crate::attrs::{self, Attr};
use crate::promise::promise;
use crate::state::{Leg, LegState, MAX_LEGS, Place, flag, leg_flag};
use crate::store::{LegPiece, Open};
use crate::{act, ids, params};
use olelo_core::dns::blocklist::{self, reason};
use olelo_core::mem::NodeId;
use olelo_core::net::reply as core_reply;
use olelo_core::net::{self, Dst};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::run;
use olelo_core::timer::monotonic_ms;
use olelo_sip::{HeaderName, Message, Method};
use zerocopy::{FromBytes, IntoBytes};

/// The script wants none (`t_set_disable_failover`).
pub fn is_off(id: NodeId) -> bool {
    Open::node(id).is_some_and(|o| o.tx.head.has(flag::NO_FAILOVER))
}

/// Packs the places that come after the first, for the attributes of leg `index`.
pub fn pack(ctx: &Ctx, id: NodeId, index: usize, rest: &[Dst]) -> Vec<u8> {
    let mut out = Vec::new();
    for dst in rest {
        let via = core_reply::via_value(ctx, dst, &ids::branch(id, index));
        let Ok(len) = u16::try_from(via.len()) else {
            continue;
        };
        out.extend_from_slice(Place::new(dst).as_bytes());
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&via);
    }
    out
}

/// Adds the leg to the next place, where leg `at` is about to fail and there is one. The caller
/// commits and then [`send`]s it. A script that is at work may decide otherwise, so nothing happens
/// meanwhile unless it is `ours`.
pub fn next(open: &mut Open, at: usize, ours: bool) -> Option<usize> {
    let old = *open.tx.legs.get(at)?;
    let stays = open.tx.head.answered()
        || open
            .tx
            .head
            .has(flag::CANCELED | flag::RELEASED | flag::NO_FAILOVER)
        || old.has(leg_flag::CANCELED | leg_flag::CANCEL_WANTED)
        || open.is_busy() && !ours;
    if !old.has(leg_flag::MORE) || !old.is_active() || stays || open.tx.legs.len() >= MAX_LEGS {
        return None;
    }
    let now = monotonic_ms();
    if open.tx.is_expired(now) {
        return None;
    }
    let number = open.tx.legs.len();
    let attrs = open.leg_piece(at, LegPiece::Attrs)?;
    let (place, via, rest) = unpack(attrs::get(attrs, Attr::Places)?)?;
    let dst = place.dst();
    let branch = (ids::branch(open.id, at), ids::branch(open.id, number));
    let via = replaced(via, branch.0.as_bytes(), branch.1.as_bytes());
    // The places further on say the branch of the new leg, too.
    let mut later = Vec::new();
    let mut rest = rest;
    while let Some((p, v, tail)) = unpack(rest) {
        let v = replaced(v, branch.0.as_bytes(), branch.1.as_bytes());
        later.extend_from_slice(p.as_bytes());
        later.extend_from_slice(&(v.len() as u16).to_le_bytes());
        later.extend_from_slice(&v);
        rest = tail;
    }
    let attrs = attrs::with(attrs, Attr::Places, &later);
    let bytes = with_via(open.leg_piece(at, LegPiece::Sent)?, &via, &dst)?;
    let mut leg = Leg {
        to: place,
        bflags: old.bflags,
        flags: old.flags & leg_flag::BRANCH_FAILURE,
        ..Leg::default()
    };
    if dst.proto.is_reliable() {
        leg.flags |= leg_flag::RELIABLE;
    }
    if !later.is_empty() {
        leg.flags |= leg_flag::MORE;
    }
    let new = open.tx.start_leg(leg, now);
    let kept = open.set_leg(new, LegPiece::Sent, &bytes);
    if !kept || !open.set_leg(new, LegPiece::Attrs, &attrs) {
        // No memory: it ends before it began.
        open.tx.fail_leg(new, 503);
        return None;
    }
    // Its failure is nobody's business any more.
    open.tx.legs[at].flags &= !(leg_flag::MORE | leg_flag::BRANCH_FAILURE);
    Some(new)
}

/// As [`next`], where the reply in hand says so.
pub fn after_reply(open: &mut Open, at: usize, status: u16) -> Option<usize> {
    params::fails_over(status).then(|| next(open, at, false))?
}

/// As [`next`] for every leg whose time is up and that has no reply. Returns the new legs, and the
/// destinations that did not answer (`blst_methods_add`).
pub fn after_timeout(open: &mut Open, now: u64) -> (Vec<usize>, Vec<Dst>) {
    let (mut added, mut mute) = (Vec::new(), Vec::new());
    let listed = params::blocklist_adds(ids::method_of(open.tx.head.method));
    for at in 0..open.tx.legs.len() {
        let l = open.tx.legs[at];
        let over = l.fr_at != 0 && l.fr_at <= now;
        if !over || l.state() != LegState::Calling || l.has(leg_flag::REPLIED) {
            continue;
        }
        if listed {
            mute.push(l.to.dst());
        }
        added.extend(next(open, at, false));
    }
    (added, mute)
}

/// Sends a leg that was added; where that fails, goes on to the next place at once, and where there
/// is none, the leg has failed.
pub fn send(id: NodeId, at: usize) {
    let Some((dst, bytes)) = sent(id, at) else {
        return;
    };
    let Err(e) = net::send(&dst, &bytes) else {
        run::FWD_REQUESTS.inc();
        return;
    };
    olelo_core::info!("tm", "{e}");
    unsent(id, at, false);
}

/// Leg `at` could not be sent: goes on to the next place, or ends it.
pub fn unsent(id: NodeId, at: usize, ours: bool) {
    let _promise = promise(id);
    if let Err(last) = go_on(id, at, ours) {
        let Some(mut open) = Open::node(id) else {
            return;
        };
        open.tx.fail_leg(last, 477);
        let ended = open.tx.active() == 0 && !open.is_busy() && !open.tx.head.answered();
        let head = open.tx.head;
        open.commit();
        if ended {
            act::carry_out(id, &head, vec![act::Out::Final], None);
        }
    }
}

/// Leg `at` could not be sent: the next place that takes the request. The error names the last leg,
/// which has failed as well and is left to the caller.
pub fn go_on(id: NodeId, mut at: usize, ours: bool) -> Result<(), usize> {
    loop {
        let Some(mut open) = Open::node(id) else {
            return Ok(());
        };
        let new = next(&mut open, at, ours).ok_or(at)?;
        open.tx.fail_leg(at, 477);
        open.commit();
        let Some((dst, bytes)) = sent(id, new) else {
            return Ok(());
        };
        match net::send(&dst, &bytes) {
            Ok(()) => return Ok(()),
            Err(e) => olelo_core::info!("tm", "{e}"),
        }
        at = new;
    }
}

/// A request that was taken over to be sent was not: the hook for messages that waited for a
/// connection or for the end of a batch. A request that was sent before and is only repeated is left
/// to its timers.
pub fn not_sent(_dst: &Dst, bytes: &[u8]) {
    let Ok(msg) = Message::from_bytes(bytes) else {
        return;
    };
    let branch = msg.via(0).and_then(|v| v.branch(msg.buf()));
    let leg = branch.filter(|_| msg.is_request() && msg.method() != Method::Cancel);
    let Some((id, at)) = leg.and_then(ids::parse_branch) else {
        return;
    };
    let is_new = |o: &Open| {
        let t1 = o.tx.head.t1;
        let leg = o.tx.legs.get(at);
        leg.is_some_and(|l| l.state() == LegState::Calling && l.interval == t1)
    };
    if Open::node(id).is_some_and(|o| is_new(&o)) {
        unsent(id, at, false);
    }
}

/// A 503: its source is avoided for as long as it asks for, within the operator's limits.
pub fn unavailable(ctx: &Ctx) {
    if ctx.msg.status() != 503 || !params::BLST_503.is_on() {
        return;
    }
    let asked = ctx
        .msg
        .header_body(HeaderName::RetryAfter)
        .and_then(|v| std::str::from_utf8(v).ok())
        .and_then(|v| v.split([';', '(', ' ']).next()?.parse::<i64>().ok());
    let most = params::BLST_503_MAX.get();
    let seconds = match asked {
        Some(s) => s.max(params::BLST_503_MIN.get()).min(most),
        None => params::BLST_503_DEF.get(),
    };
    let source = Dst {
        proto: ctx.rcv.proto,
        addr: ctx.rcv.src,
        socket: ctx.rcv.socket,
        conn: None,
        flags: Default::default(),
    };
    blocklist::failed_for(&source, reason::UNAVAILABLE, seconds);
}

fn sent(id: NodeId, at: usize) -> Option<(Dst, Vec<u8>)> {
    let open = Open::node(id)?;
    let dst = open.tx.legs.get(at)?.to.dst();
    let bytes = open.leg_piece(at, LegPiece::Sent)?.to_vec();
    Some((dst, bytes))
}

fn unpack(b: &[u8]) -> Option<(Place, &[u8], &[u8])> {
    let (place, rest) = Place::read_from_prefix(b).ok()?;
    let (len, rest) = rest.split_first_chunk()?;
    let (via, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
    Some((place, via, rest))
}

fn replaced(text: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    match text.windows(old.len()).position(|w| w == old) {
        Some(at) => [&text[..at], new, &text[at + old.len()..]].concat(),
        None => text.to_vec(),
    }
}

/// The request with another topmost Via, which is ours and has a line of its own.
fn with_via(bytes: &[u8], via: &[u8], dst: &Dst) -> Option<Vec<u8>> {
    let msg = Message::from_bytes(bytes).ok()?;
    let line = msg.headers_named(HeaderName::Via).next()?;
    let (at, end) = (line.whole.start as usize, line.whole.end as usize);
    let mut out = Vec::with_capacity(bytes.len() + via.len() + 32);
    out.extend_from_slice(bytes.get(..at)?);
    out.extend_from_slice(b"Via: ");
    out.extend_from_slice(via);
    out.extend_from_slice(b"\r\n");
    let missing = msg
        .headers_named(HeaderName::ContentLength)
        .next()
        .is_none();
    if missing && dst.proto.is_reliable() {
        let len = format!("Content-Length: {}\r\n", msg.body().len());
        out.extend_from_slice(len.as_bytes());
    }
    out.extend_from_slice(bytes.get(end..)?);
    Some(out)
}
