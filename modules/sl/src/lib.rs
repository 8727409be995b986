//! `sl`: replies without state, and the filter for the ACKs that answer them.
//!
//! A stateless negative reply to an INVITE is answered by an ACK that must go no further. Our To-tag
//! is a keyed hash of the request's branch, Call-ID and From-tag; the ACK carries the same three, so
//! it is recognised by computing the tag again. Nothing is remembered anywhere, and no timeout is
//! needed to keep the check cheap: it costs one hash per ACK.
//!
//! [`reply`] is what other modules call: it goes through `tm` where the request has a transaction.
//! `tm` joins by [`STATEFUL`]; this module does not know it.

#![forbid(unsafe_code)]

mod redirect;
mod stats;

use olelo_core::hooks::{self, Hook};
use olelo_core::net::reply as core_reply;
use olelo_core::pv::{PvKey, pv_named};
use olelo_core::route::ctx::{Ctx, End};
use olelo_core::route::engine::Outcome;
use olelo_core::route::function::{FAILURE, ONREPLY, REQUEST, function};
use olelo_core::route::module::{IntParam, Module, StrParam, param_int, param_str};
use olelo_core::route::run;
use olelo_core::route::value::Val;
use olelo_core::rpc::rpc;
use olelo_sip::Method;
use olelo_sip::message::FirstLine;

pub use redirect::contacts as redirect_contacts;

static DEFAULT_CODE: IntParam = IntParam::new(500);
static DEFAULT_REASON: StrParam = StrParam::new("Internal Server Error");
static BIND_TM: IntParam = IntParam::new(1);
static RICH_REDIRECT: IntParam = IntParam::new(0);
static CB_FILTERED_ACK: StrParam = StrParam::unset();
static CB_RESPONSE_SENT: StrParam = StrParam::unset();

/// Answers a request with this code and reason; `None` where it has no transaction.
pub type StatefulReply = fn(&mut Ctx, u16, &str) -> Option<i64>;
/// Finds the To-tag of a stateful reply to a request.
pub type StatefulTag = fn(&Ctx) -> Option<Vec<u8>>;

/// Answers a request that has a transaction: `tm` adds itself here.
pub static STATEFUL: Hook<StatefulReply> = Hook::new();
/// The To-tag that a stateful reply to this request carries (`$ltt(t)`), from `tm`.
pub static STATEFUL_TAG: Hook<StatefulTag> = Hook::new();

/// What went wrong last while this message was routed: `sl_reply_error` and `t_reply_error` tell
/// the sender. 0 where nothing did.
#[derive(Debug, Default, Clone)]
pub struct LastError {
    /// Code to reply with.
    pub code: u16,
    /// Its reason phrase.
    pub reason: &'static str,
}

/// Remembers what went wrong, for [`reply_error`].
pub fn set_error(ctx: &mut Ctx, code: u16, reason: &'static str) {
    *ctx.ext::<LastError>() = LastError { code, reason };
}

/// Code and reason for what went wrong last; the module's default where nothing is known.
pub fn last_error(ctx: &Ctx) -> (u16, &'static str) {
    match ctx.ext_ref::<LastError>() {
        Some(e) if e.code != 0 => (e.code, e.reason),
        _ => (
            u16::try_from(DEFAULT_CODE.get()).unwrap_or(500),
            DEFAULT_REASON.text(),
        ),
    }
}

/// Replies to the request in `ctx`: through its transaction where it has one, else without state.
/// 1 where it was sent, -1 where not.
pub fn reply(ctx: &mut Ctx, code: u16, reason: &str) -> i64 {
    if BIND_TM.is_on() {
        let done = STATEFUL.list().iter().find_map(|f| f(ctx, code, reason));
        if let Some(rc) = done {
            return rc;
        }
    }
    reply_stateless(ctx, code, reason)
}

/// Replies to the request in `ctx` without state. 1 where it was sent, -1 where not.
pub fn reply_stateless(ctx: &mut Ctx, code: u16, reason: &str) -> i64 {
    if !ctx.msg.is_request() || ctx.msg.method() == Method::Ack {
        stats::FAILURES.inc();
        olelo_core::warn!(
            "sl",
            "a reply {code} is wanted for what is never replied to"
        );
        return -1;
    }
    if (300..400).contains(&code) {
        let lines = redirect::contacts(ctx, RICH_REDIRECT.get());
        ctx.ext::<core_reply::ReplyHeaders>().0.extend(lines);
    }
    if core_reply::stateless(ctx, code, reason, None) {
        1
    } else {
        stats::FAILURES.inc();
        -1
    }
}

/// Tells the sender what went wrong last; see [`reply`].
pub fn reply_error(ctx: &mut Ctx) -> i64 {
    let (code, reason) = last_error(ctx);
    stats::SENT_ERR.inc();
    let text = format!("{reason} ({}/SL)", code);
    reply_stateless(ctx, code, &text)
}

fn valid(code: i64) -> Option<u16> {
    u16::try_from(code)
        .ok()
        .filter(|c| (100..700).contains(c))
        .or_else(|| {
            olelo_core::error!("sl", "{code} is no reply code: 100 to 699 are");
            None
        })
}

fn sl_send_reply(ctx: &mut Ctx, code: i64, reason: &str) -> i64 {
    valid(code).map_or(-1, |c| reply_stateless(ctx, c, reason))
}

fn send_reply(ctx: &mut Ctx, code: i64, reason: &str) -> i64 {
    valid(code).map_or(-1, |c| reply(ctx, c, reason))
}

fn send_reply_mode(ctx: &mut Ctx, code: i64, reason: &str, _mode: i64) -> i64 {
    // A reply to a stream goes over its connection or not at all, so "do not connect" always holds.
    send_reply(ctx, code, reason)
}

fn send_reply_error(ctx: &mut Ctx) -> i64 {
    let (code, reason) = last_error(ctx);
    stats::SENT_ERR.inc();
    reply(ctx, code, &format!("{reason} ({}/SL)", code))
}

/// Forwards the reply in `ctx` now, maybe with another code of its class and another reason.
fn sl_forward_reply(ctx: &mut Ctx, code: Option<&str>, reason: Option<&str>) -> i64 {
    let FirstLine::Reply {
        status,
        status_text,
        reason: old,
        ..
    } = ctx.msg.first_line()
    else {
        return -1;
    };
    let before = ctx.edits.checkpoint();
    if let Some(code) = code.filter(|c| !c.is_empty()) {
        match code.parse::<u16>() {
            Ok(c) if c / 100 == status / 100 => ctx.edits.replace(status_text, code.as_bytes()),
            _ => {
                olelo_core::error!("sl", "can't make a {status} reply {code}: other class");
                return -1;
            }
        }
    }
    if let Some(reason) = reason.filter(|r| !r.is_empty()) {
        ctx.edits.replace(old, reason.as_bytes());
    }
    let sent = core_reply::forward(ctx);
    ctx.edits.rollback(before);
    if sent { 1 } else { -1 }
}

/// A request is about to be routed: an ACK to our own negative reply goes no further.
fn filter_ack(ctx: &mut Ctx) {
    if !ctx.msg.is_request() || ctx.msg.method() != Method::Ack {
        return;
    }
    let ours = ctx
        .msg
        .to_tag()
        .is_some_and(|t| t.starts_with(b"ol-") && t == core_reply::stateless_tag(ctx).as_bytes());
    if ours {
        stats::ACKS.inc();
        event(ctx, &CB_FILTERED_ACK, "event_route[sl:filtered-ack]");
        ctx.end = End::Drop;
    }
}

/// A stateless reply goes out.
fn reply_sent(ctx: &mut Ctx, code: u16, _reason: &str, _bytes: &[u8]) {
    stats::count(code);
    event(ctx, &CB_RESPONSE_SENT, "event_route[sl:local-response]");
}

/// `native` is the event's route in the native language; the event's name is inside its brackets.
fn event(ctx: &mut Ctx, callback: &StrParam, native: &str) -> Outcome {
    let name = || {
        let inner = native.strip_prefix("event_route[");
        inner.and_then(|n| n.strip_suffix(']')).unwrap_or(native)
    };
    match callback.get() {
        Some(cb) => run::event(ctx, cb, name()),
        None if run::has(native) => run::event(ctx, native, name()),
        None => Outcome::Missing,
    }
}

/// `$ltt(s|t|x)`: the To-tag of a reply of ours: stateless, stateful, or what the request has.
fn local_to_tag<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    let stateful = || STATEFUL_TAG.list().iter().find_map(|f| f(ctx));
    let stateless = || core_reply::stateless_tag(ctx).into_bytes();
    match key.name() {
        b"s" => Val::owned(stateless()),
        b"t" => stateful().map_or(Val::Null, Val::owned),
        _ => match ctx.msg.to_tag() {
            Some(tag) => Val::bytes(tag),
            None => Val::owned(stateful().unwrap_or_else(stateless)),
        },
    }
}

fn init() -> Result<(), String> {
    hooks::PRE_SCRIPT.add(filter_ack);
    hooks::LOCAL_REPLY.add(reply_sent);
    Ok(())
}

/// The module.
pub fn module() -> Module {
    let m = Module::new("sl")
        .doc("Replies without state.")
        .function(function("sl_send_reply", sl_send_reply).cfg("sl_send_reply").cfg("sl_reply").args(["code", "reason"]).routes(REQUEST).doc("Replies without state. A 3xx carries the destination set as Contact."))
        .function(function("send_reply", send_reply).cfg("send_reply").args(["code", "reason"]).routes(REQUEST | ONREPLY | FAILURE).doc("Replies through the transaction if there is one, else without state."))
        .function(function("send_reply_mode", send_reply_mode).cfg("send_reply_mode").args(["code", "reason", "mode"]).routes(REQUEST | ONREPLY | FAILURE).doc("As send_reply; `mode` is a sum of 1 (open no connection) and 2 (close the connection)."))
        .function(function("sl_reply_error", reply_error).cfg("sl_reply_error").routes(REQUEST).doc("Tells the sender, without state, what went wrong last."))
        .function(function("send_reply_error", send_reply_error).cfg("send_reply_error").routes(REQUEST | ONREPLY | FAILURE).doc("Tells the sender what went wrong last, through the transaction if there is one."))
        .function(function("sl_forward_reply", sl_forward_reply).cfg("sl_forward_reply").args(["code", "reason"]).routes(ONREPLY).doc("Forwards the reply now, with another code of its class or another reason."))
        .param(param_int("default_code", &DEFAULT_CODE).doc("Code of an error reply where nothing is known."))
        .param(param_str("default_reason", &DEFAULT_REASON).doc("Reason of an error reply where nothing is known."))
        .param(param_int("bind_tm", &BIND_TM).doc("Reply through the transaction where there is one."))
        .param(param_int("rich_redirect", &RICH_REDIRECT).doc("Contacts of a 3xx carry: 1 branch flags, 2 the path; may be added."))
        .param(param_str("event_callback_fl_ack", &CB_FILTERED_ACK).doc("Function that runs when an ACK is filtered."))
        .param(param_str("event_callback_lres_sent", &CB_RESPONSE_SENT).doc("Function that runs when a stateless reply is sent."))
        .pv(pv_named("ltt", local_to_tag).doc("To-tag of our reply: `s` stateless, `t` stateful, `x` what the request has or the one used."))
        .event("sl:filtered-ack", "An ACK to a stateless reply was absorbed.")
        .event("sl:local-response", "A stateless reply was sent.")
        .rpc(rpc("sl.stats", stats::rpc_stats).doc("Replies sent, by code."))
        .init(init);
    stats::ALL.iter().fold(m, |m, s| m.stat(s))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &str = "INVITE sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKq\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n";

    fn ctx_of(text: &str) -> Ctx {
        olelo_core::server::for_tests(vec![module()]);
        let mut ctx = Ctx::new();
        ctx.msg.buf_mut().extend_from_slice(text.as_bytes());
        ctx.msg.parse().unwrap();
        ctx
    }

    #[test]
    fn the_ack_to_our_reply_is_known_by_its_tag_and_another_is_not() {
        let tag = core_reply::stateless_tag(&ctx_of(INVITE));
        let ack = |to: &str| {
            INVITE
                .replace("INVITE", "ACK")
                .replace("To: <sip:b@h>", &format!("To: <sip:b@h>;tag={to}"))
        };
        let mut ours = ctx_of(&ack(&tag));
        filter_ack(&mut ours);
        assert_eq!(ours.end, End::Drop);
        for other in ["x", "ol-00000000000000000000000"] {
            let mut theirs = ctx_of(&ack(other));
            filter_ack(&mut theirs);
            assert_eq!(theirs.end, End::None);
        }
    }

    #[test]
    fn codes_out_of_range_and_acks_are_refused() {
        let mut ctx = ctx_of(INVITE);
        assert_eq!(sl_send_reply(&mut ctx, 99, "x"), -1);
        assert_eq!(sl_send_reply(&mut ctx, 700, "x"), -1);
        let mut ack = ctx_of(&INVITE.replace("INVITE", "ACK"));
        assert_eq!(sl_send_reply(&mut ack, 200, "OK"), -1);
    }

    #[test]
    fn the_last_error_is_told() {
        let mut ctx = ctx_of(INVITE);
        assert_eq!(last_error(&ctx), (500, "Internal Server Error"));
        set_error(&mut ctx, 478, "Unresolvable destination");
        assert_eq!(last_error(&ctx).0, 478);
    }
}
