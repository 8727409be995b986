//! Replies made here, sent upstream through the transaction.

use crate::act::{self, Out};
use crate::events::{self, News};
use crate::ids;
use crate::mine::{Side, mine, mine_ref};
use crate::params;
use crate::promise::promise;
use crate::revive;
use crate::state::flag;
use crate::stats;
use crate::store::{Open, Piece};
use olelo_core::mem::NodeId;
use olelo_core::net::reply::{self as core_reply, Fixup, ReplyBody, ReplyHeaders};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::run;
use olelo_core::timer::monotonic_ms;
use olelo_sip::build::{self, ReplyOptions};

/// A reply to be made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Answer<'a> {
    /// Status.
    pub code: u16,
    /// Reason phrase.
    pub reason: &'a str,
    /// To-tag; ours where none is given.
    pub to_tag: Option<&'a str>,
    /// Whole header lines.
    pub headers: &'a [u8],
    /// Body; its Content-Type belongs to `headers`.
    pub body: &'a [u8],
}

/// Answers the request in `ctx`, whose transaction is `id`. 1 where it was sent, -1 where the
/// transaction has its final reply already or is gone.
pub fn answer(ctx: &mut Ctx, id: NodeId, a: &Answer<'_>) -> i64 {
    let code = a.code;
    if (300..400).contains(&code) {
        let lines = olelo_sl::redirect_contacts(ctx, params::RICH_REDIRECT.get());
        ctx.ext::<ReplyHeaders>().0.extend(lines);
    }
    let mut extra = std::mem::take(&mut ctx.ext::<ReplyHeaders>().0);
    extra.extend_from_slice(a.headers);
    let asked = asked_body(ctx, &mut extra, a.body);
    let a = &Answer {
        body: asked.as_deref().unwrap_or(a.body),
        ..*a
    };
    let bytes = bytes(ctx, id, a, &extra);
    let now = monotonic_ms();
    let Some(mut open) = Open::node(id) else {
        return -1;
    };
    let _promise = promise(id);
    if !open.tx.answer(code, true, now) {
        olelo_core::info!(
            "tm",
            "a reply {code} comes after the final one; it is not sent"
        );
        return -1;
    }
    if code > 100 {
        open.set(Piece::Reply, &bytes);
    } else {
        open.tx.head.flags |= flag::SENT_100;
    }
    let mut out = Vec::new();
    if code >= 200 && open.tx.active() > 0 {
        let mut todo = Vec::new();
        open.tx
            .cancel_legs(now, &params::rules(), |_| false, &mut todo);
        out = act::prepare(&mut open, &todo, None);
    }
    let (head, up) = (open.tx.head, open.tx.head.up.dst());
    if !open.commit() {
        olelo_core::error!("tm", "the reply {code} is sent but not kept");
    }
    act::up(&up, &bytes, Some(ctx));
    sent(ctx, id, &head, code, &bytes);
    act::carry_out(id, &head, out, None);
    core_reply::give_back(bytes);
    1
}

/// Answers a transaction's request from anywhere: the timer, a control command, another message.
pub fn answer_node(id: NodeId, a: &Answer<'_>) -> i64 {
    revive::with(id, |ctx| answer(ctx, id, a)).unwrap_or(-1)
}

/// Sends a 100 to the request in `ctx`, without keeping it: it can be made again.
pub fn trying(ctx: &mut Ctx, id: NodeId) {
    let reason = params::AUTO_100_REASON.text();
    let a = Answer {
        code: 100,
        reason,
        ..Answer::default()
    };
    let bytes = bytes(ctx, id, &a, b"");
    if let Some(up) = core_reply::destination(ctx) {
        act::up(&up, &bytes, Some(ctx));
        stats::RPL_GENERATED.inc();
        stats::RPL_SENT.inc();
    }
    core_reply::give_back(bytes);
}

/// The request in `ctx` was sent again: its transaction's last reply again.
pub fn repeat(ctx: &mut Ctx, id: NodeId) {
    let Some(open) = Open::node(id) else {
        return;
    };
    let (up, head) = (open.tx.head.up.dst(), open.tx.head);
    let last = open.piece(Piece::Reply).map(<[u8]>::to_vec);
    drop(open);
    match last {
        Some(bytes) => act::carry_out(id, &head, vec![Out::Repeat(up, bytes)], None),
        None if head.has(flag::SENT_100) => trying(ctx, id),
        None => {}
    }
}

/// The text of a status that is made here.
pub fn reason_of(code: u16) -> &'static str {
    match code {
        100 => "Trying",
        200 => "OK",
        403 => "Forbidden",
        404 => "Not Found",
        408 => params::REPLY_408_REASON.text(),
        477 => "Unfortunately error on sending to next hop occurred",
        478 => "Unresolvable destination",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        486 => "Busy Here",
        487 => "Request Terminated",
        500 => "Server Internal Error",
        503 => "Service Unavailable",
        600 => "Busy Everywhere",
        603 => "Decline",
        _ => "Failed",
    }
}

/// The body that the script asked for (`set_reply_body`), where the reply has none of its own; its
/// Content-Type goes to `headers`.
fn asked_body(ctx: &mut Ctx, headers: &mut Vec<u8>, own: &[u8]) -> Option<Vec<u8>> {
    let (kind, body) = ctx.ext::<ReplyBody>().0.take()?;
    if !own.is_empty() {
        return None;
    }
    headers.extend_from_slice(b"Content-Type: ");
    headers.extend_from_slice(&kind);
    headers.extend_from_slice(b"\r\n");
    Some(body)
}

fn bytes(ctx: &Ctx, id: NodeId, a: &Answer<'_>, extra: &[u8]) -> Vec<u8> {
    let fix = Fixup::of(ctx);
    let tag = match a.to_tag {
        Some(t) if !t.is_empty() => t.to_string(),
        _ => ids::to_tag(id),
    };
    let options = ReplyOptions {
        to_tag: (a.code > 100).then_some(tag.as_bytes()),
        extra_headers: extra,
        body: (!a.body.is_empty()).then_some((b"".as_slice(), a.body)),
        top_via: fix.as_via(),
        server: core_reply::server_value(),
    };
    let mut out = core_reply::take_buffer();
    build::reply(&ctx.msg, a.code, a.reason.as_bytes(), &options, &mut out);
    out
}

fn sent(ctx: &mut Ctx, id: NodeId, head: &crate::state::Head, code: u16, bytes: &[u8]) {
    stats::RPL_GENERATED.inc();
    stats::RPL_SENT.inc();
    if code >= 200 {
        stats::ended(code);
    }
    let news = News {
        what: events::RESPONSE_OUT,
        code,
        leg: None,
        reply: bytes,
        made_here: true,
    };
    events::tell(id, head, &news, Some(ctx));
    event(ctx, params::CB_LRES_SENT.get(), "tm:local-response");
}

/// Runs an event route, where the script has it.
pub fn event(ctx: &mut Ctx, callback: Option<&str>, name: &str) -> bool {
    match callback {
        Some(cb) => {
            run::event(ctx, cb, name);
            true
        }
        None => {
            let native = format!("event_route[{name}]");
            let there = run::has(&native);
            if there {
                run::event(ctx, &native, name);
            }
            there
        }
    }
}

/// Answers the message being routed: the request in `ctx`, or the request of the reply in `ctx`.
pub fn answer_here(ctx: &mut Ctx, code: u16, reason: &str) -> Option<i64> {
    let id = mine_ref(ctx)?.node?;
    let a = Answer {
        code,
        reason,
        ..Answer::default()
    };
    let rc = match mine(ctx).side {
        Side::Reply { .. } => {
            let mut extra = std::mem::take(&mut ctx.ext::<ReplyHeaders>().0);
            let asked = asked_body(ctx, &mut extra, b"");
            answer_node(
                id,
                &Answer {
                    headers: &extra,
                    body: asked.as_deref().unwrap_or_default(),
                    ..a
                },
            )
        }
        _ => answer(ctx, id, &a),
    };
    Some(rc)
}
