//! The message as it would be sent becomes the message that the script sees; and the status of
//! replies.
//!
//! The new message is made and indexed aside: one that can't be read changes nothing. What other
//! modules have remembered about the message stays; the request URI that routing has set becomes
//! that of the first line.

use crate::yes;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::engine::Outcome;
use olelo_core::route::function::{Function, ONREPLY, REQUEST, function};
use olelo_core::route::run;
use olelo_core::{error, warn};
use olelo_sip::message::FirstLine;
use olelo_sip::{Message, Span};

/// Largest message that a script may make, bytes.
const MAX_MESSAGE: usize = 65_535;

pub(crate) fn functions() -> Vec<Function> {
    vec![
        function("msg_apply_changes", |c: &mut Ctx| yes(apply(c)))
            .cfg("msg_apply_changes")
            .routes(REQUEST | ONREPLY)
            .doc("Makes the edited message the message that the script sees; before the transaction is created."),
        function("msg_set_buffer", |c: &mut Ctx, text: &[u8]| yes(set_buffer(c, text)))
            .args(["text"])
            .routes(REQUEST | ONREPLY)
            .doc("Replaces the whole message; before the transaction is created."),
        // A message that can't be read ends the route, as one from the network would.
        function("msg_set_buffer_native", |c: &mut Ctx, text: &[u8]| i64::from(set_buffer(c, text)))
            .native_only()
            .cfg("msg_set_buffer")
            .args(["text"])
            .routes(REQUEST | ONREPLY)
            .doc("Replaces the whole message; before the transaction is created."),
        function("msg_changed_route", changed_route)
            .native_only()
            .cfg("msg_changed_route")
            .args(["route"])
            .doc("Runs a route that sees the edited message; afterwards the message is as before."),
        function("change_reply_status", |c: &mut Ctx, code: i64, reason: &[u8]| yes(change_status(c, code, Some(reason))))
            .cfg("change_reply_status")
            .args(["code", "reason"])
            .routes(ONREPLY)
            .doc("Changes status and reason of the reply."),
        function("change_reply_status_code", |c: &mut Ctx, code: i64| yes(change_status(c, code, None)))
            .cfg("change_reply_status_code")
            .args(["code"])
            .routes(ONREPLY)
            .doc("Changes the status of the reply, not its reason."),
    ]
}

/// The message with all changes; `None` where they make something that can't be read.
fn changed(ctx: &Ctx) -> Option<Message> {
    let mut edits = ctx.edits.clone();
    if let (Some(uri), FirstLine::Request { uri: old, .. }) = (&ctx.new_uri, ctx.msg.first_line()) {
        edits.replace(old, uri);
    }
    let mut bytes = Vec::with_capacity(ctx.msg.buf().len() + 256);
    edits.apply(&ctx.msg, &mut bytes);
    read(&bytes)
}

fn read(bytes: &[u8]) -> Option<Message> {
    if bytes.len() > MAX_MESSAGE {
        error!(
            "textopsx",
            "the new message would be {} bytes; at most {MAX_MESSAGE} are sent",
            bytes.len()
        );
        return None;
    }
    Message::from_bytes(bytes)
        .map_err(|e| {
            error!(
                "textopsx",
                "the new message can't be read: {e}; the old one stays"
            )
        })
        .ok()
}

fn apply(ctx: &mut Ctx) -> bool {
    let Some(new) = changed(ctx) else {
        return false;
    };
    ctx.msg = new;
    ctx.edits.clear();
    ctx.new_uri = None;
    true
}

fn set_buffer(ctx: &mut Ctx, text: &[u8]) -> bool {
    let Some(new) = read(text) else {
        return false;
    };
    if new.is_request() != ctx.msg.is_request() || new.via(0).is_none() {
        error!(
            "textopsx",
            "the new message is no {} with a Via; the old one stays",
            if ctx.msg.is_request() {
                "request"
            } else {
                "reply"
            }
        );
        return false;
    }
    ctx.msg = new;
    ctx.edits.clear();
    ctx.new_uri = None;
    true
}

fn changed_route(ctx: &mut Ctx, route: &str) -> i64 {
    if !run::has(route) {
        warn!(
            "textopsx",
            "msg_changed_route: the script has no route {route}"
        );
        return -1;
    }
    let Some(new) = changed(ctx) else { return -1 };
    let old = std::mem::replace(&mut ctx.msg, new);
    let edits = std::mem::take(&mut ctx.edits);
    let uri = ctx.new_uri.take();
    let kind = ctx.route;
    let outcome = run::call(ctx, route, Some("textopsx:msg-changed-route"), kind);
    (ctx.msg, ctx.edits, ctx.new_uri) = (old, edits, uri);
    match outcome {
        Outcome::Return(_) | Outcome::Exit | Outcome::Drop => 1,
        _ => -1,
    }
}

fn change_status(ctx: &mut Ctx, code: i64, reason: Option<&[u8]>) -> bool {
    let FirstLine::Reply {
        status,
        status_text,
        reason: old_reason,
        ..
    } = ctx.msg.first_line()
    else {
        error!("textopsx", "change_reply_status: this is no reply");
        return false;
    };
    if reason.is_some_and(|r| r.is_empty() || r.contains(&b'\n')) {
        error!(
            "textopsx",
            "change_reply_status: the reason is empty or has a line end"
        );
        return false;
    }
    let Some(new) = u16::try_from(code).ok().filter(|c| (100..700).contains(c)) else {
        error!(
            "textopsx",
            "change_reply_status: {code} is no status; one of 100 to 699"
        );
        return false;
    };
    // Provisional and positive replies have made other state than negative ones.
    if (status < 300 || new < 300) && status / 100 != new / 100 {
        error!(
            "textopsx",
            "change_reply_status: a {status} can't become a {new}: provisional and positive replies stay in their class"
        );
        return false;
    }
    if let Some(r) = reason {
        let place = Span::new(status_text.to(), old_reason.to().max(status_text.to()));
        ctx.edits.replace(place, &[b" ", r].concat());
    }
    // At once and in place, so that the transaction sees the new status: three digits stay three.
    let digits = new.to_string();
    if let Some(place) = ctx
        .msg
        .buf_mut()
        .get_mut(status_text.at()..status_text.to())
    {
        place.copy_from_slice(digits.as_bytes());
    }
    ctx.msg.parse().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{ctx_of, sent};

    const REQUEST: &str = "INVITE sip:a@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nX: 1\r\nContent-Length: 0\r\n\r\n";

    #[test]
    fn changes_are_seen_once_applied() {
        let mut c = ctx_of(REQUEST);
        c.edits.append_header(b"Z: 1\r\n");
        c.set_ruri(b"sip:new@x");
        assert_eq!(c.msg.headers_by_text(b"Z").count(), 0);
        assert!(apply(&mut c));
        assert_eq!(c.msg.headers_by_text(b"Z").count(), 1);
        assert_eq!(
            (c.ruri(), c.msg.ruri()),
            (&b"sip:new@x"[..], &b"sip:new@x"[..])
        );
        assert!(c.edits.is_empty());
        assert!(apply(&mut c), "nothing to change is no failure");
    }

    #[test]
    fn what_can_not_be_read_changes_nothing() {
        let mut c = ctx_of(REQUEST);
        for bad in [
            "garbage",
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h\r\n\r\n",
            "INVITE sip:a SIP/2.0\r\n\r\n",
        ] {
            assert!(!set_buffer(&mut c, bad.as_bytes()), "{bad}");
            assert_eq!(c.msg.buf(), REQUEST.as_bytes());
        }
        c.edits.prepend_header(b"no header at all\r\n");
        assert!(!apply(&mut c));
        assert_eq!(c.msg.buf(), REQUEST.as_bytes());
        let new = REQUEST.replace("sip:a@h", "sip:b@h");
        assert!(set_buffer(&mut c, new.as_bytes()));
        assert_eq!(c.ruri(), b"sip:b@h");
    }

    #[test]
    fn a_status_changes_within_its_class_or_among_negative_ones() {
        for (was, code, reason, want) in [
            ("180 Ringing", 404, Some("Not Here"), None),
            ("180 Ringing", 183, Some("Ring"), Some("183 Ring")),
            ("180 Ringing", 99, Some("x"), None),
            ("180 Ringing", 700, Some("x"), None),
            ("200 OK", 404, None, None),
            ("200 OK", 200, Some("OK now"), Some("200 OK now")),
            ("603 Decline", 404, Some("Not Here"), Some("404 Not Here")),
            ("603 Decline", 404, None, Some("404 Decline")),
            ("603 Decline", 200, Some("x"), None),
            ("603 Decline", 503, Some(""), None),
            ("603", 486, Some("Busy"), Some("486 Busy")),
        ] {
            let text = |first: &str| {
                format!("SIP/2.0 {first}\r\nVia: SIP/2.0/UDP h\r\nContent-Length: 0\r\n\r\n")
            };
            let mut c = ctx_of(&text(was));
            let done = change_status(&mut c, code, reason.map(str::as_bytes));
            assert_eq!(done, want.is_some(), "{was} to {code}");
            assert_eq!(sent(&c), text(want.unwrap_or(was)), "{was} to {code}");
            if done {
                assert_eq!(i64::from(c.msg.status()), code);
            }
        }
    }
}
