//! CANCEL: a request of its own that ends another's legs (RFC 3261 §9, §16.10).

use crate::act;
use crate::events::{self, News};
use crate::lookup::{self, Created};
use crate::mine::{mine, mine_ref};
use crate::params;
use crate::promise::promise;
use crate::relay::{self, Target};
use crate::state::flag;
use crate::store::{Open, Piece};
use crate::upstream::{self, Answer};
use olelo_core::mem::NodeId;
use olelo_core::net::{reply as core_reply, target};
use olelo_core::route::ctx::Ctx;
use olelo_core::timer::monotonic_ms;
use olelo_sip::{HeaderName, Message};

/// Relays the CANCEL in `ctx`: answers it and cancels its INVITE's legs, hop by hop. Without an
/// INVITE it goes the way of any request, or as `unmatched_cancel` says.
pub fn relay(ctx: &mut Ctx, to: &Target) -> i64 {
    match invite(ctx) {
        Some(invite) => answer_and_cancel(ctx, invite),
        None => match params::UNMATCHED_CANCEL.get() {
            1 => match target::of_request(ctx) {
                Ok(dst) if core_reply::forward_request(ctx, &dst) => 1,
                _ => -1,
            },
            2 => 1,
            _ => relay::relay_request(ctx, to),
        },
    }
}

/// The INVITE of the CANCEL in `ctx`.
pub fn invite(ctx: &mut Ctx) -> Option<NodeId> {
    if let Some(id) = mine_ref(ctx).and_then(|m| m.invite) {
        return Some(id);
    }
    let id = lookup::canceled_invite(ctx);
    mine(ctx).invite = id;
    id
}

fn answer_and_cancel(ctx: &mut Ctx, invite: NodeId) -> i64 {
    let own = match lookup::create(ctx, false) {
        Created::New(id) => Some(id),
        Created::Again(id) => {
            upstream::repeat(ctx, id);
            return 1;
        }
        _ => None,
    };
    match own {
        Some(id) => {
            let a = Answer {
                code: 200,
                reason: "canceling",
                ..Answer::default()
            };
            upstream::answer(ctx, id, &a);
        }
        // Not even the reserve has room: the CANCEL still has its effect.
        None => {
            core_reply::stateless(ctx, 200, "canceling", None);
        }
    }
    let reason = reason_lines(&ctx.msg);
    cancel(invite, &reason, Some(ctx));
    1
}

/// Cancels a transaction as if a CANCEL with these Reason lines had come.
pub fn cancel(id: NodeId, reason: &[u8], ctx: Option<&mut Ctx>) -> bool {
    let Some(mut open) = Open::node(id) else {
        return false;
    };
    let _promise = promise(id);
    if !reason.is_empty() && !open.tx.head.has(flag::NO_CANCEL_REASON) {
        open.set(Piece::Reason, reason);
    }
    let busy = open.mark().is_some();
    let (answer_now, todo) = open.tx.on_cancel(monotonic_ms(), busy, &params::rules());
    let out = act::prepare(&mut open, &todo, None);
    let head = open.tx.head;
    open.commit();
    let news = News {
        what: events::CANCEL_IN,
        code: 0,
        leg: None,
        reply: b"",
        made_here: false,
    };
    events::tell(id, &head, &news, ctx);
    act::carry_out(id, &head, out, None);
    if answer_now {
        let a = Answer {
            code: 487,
            reason: "Request Terminated",
            ..Answer::default()
        };
        upstream::answer_node(id, &a);
    }
    true
}

/// Cancels some legs of a transaction, with a status as the reason; 0 for none.
pub fn cancel_some(id: NodeId, code: u16, keep_out: impl Fn(usize) -> bool) -> bool {
    let Some(mut open) = Open::node(id) else {
        return false;
    };
    let _promise = promise(id);
    if code != 0 {
        let line = format!("Reason: SIP;cause={code}\r\n");
        open.set(Piece::Reason, line.as_bytes());
    }
    let mut todo = Vec::new();
    open.tx
        .cancel_legs(monotonic_ms(), &params::rules(), keep_out, &mut todo);
    let busy = open.is_busy();
    if !busy && open.tx.settle().is_some() {
        todo.push(crate::machine::Do::Final);
    }
    let out = act::prepare(&mut open, &todo, None);
    let head = open.tx.head;
    open.commit();
    act::carry_out(id, &head, out, None);
    true
}

fn reason_lines(msg: &Message) -> Vec<u8> {
    msg.headers_named(HeaderName::Reason)
        .flat_map(|h| msg.slice(h.whole).to_vec())
        .collect()
}
