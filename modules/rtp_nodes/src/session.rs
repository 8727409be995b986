//! What the message at hand means for a media session: does it offer, answer or end one, and where is
//! its session description.

use crate::calls::{Call, Offer};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{EVENT, FAILURE};
use olelo_sip::{Method, Span};

/// What a `…_manage()` has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Offer the description to a relay.
    Offer,
    /// Complete a session.
    Answer,
    /// End it.
    Delete,
    /// Nothing.
    Nothing,
}

/// The step for the message in `ctx`. `call` is what is known about its call.
pub fn step(ctx: &Ctx, call: Option<Call>) -> Step {
    let has_sdp = description(ctx).is_some();
    let method = ctx.msg.method();
    if ctx.route == EVENT && !ctx.msg.is_request() {
        return Step::Nothing;
    }
    if ctx.route == FAILURE {
        return Step::Delete;
    }
    if ctx.msg.is_request() {
        return match method {
            Method::Cancel | Method::Bye => Step::Delete,
            Method::Invite | Method::Update if has_sdp => Step::Offer,
            Method::Ack | Method::Prack if has_sdp => Step::Answer,
            _ => Step::Nothing,
        };
    }
    if !matches!(method, Method::Invite | Method::Update) {
        return Step::Nothing;
    }
    match ctx.msg.status() {
        300.. => Step::Delete,
        _ if !has_sdp => Step::Nothing,
        _ if call.is_some_and(|c| c.offer == Offer::InReply) => Step::Offer,
        _ => Step::Answer,
    }
}

/// Whether the tags in a command change places: the one who offers comes first, and in a reply that
/// offers, or a request that answers, that is not the sender of the request.
pub fn is_turned(ctx: &Ctx, answers: bool) -> bool {
    ctx.msg.is_request() == answers
}

/// The session description of the message: its place in the buffer.
pub fn description(ctx: &Ctx) -> Option<Span> {
    ctx.msg.sdp_span().filter(|s| s.to() > s.at())
}

/// Puts another description in the place of the message's.
pub fn replace(ctx: &mut Ctx, sdp: &[u8]) {
    match description(ctx) {
        Some(span) if span == ctx.msg.body_span() => ctx.edits.set_body(sdp),
        Some(span) => ctx.edits.replace(span, sdp),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use olelo_core::route::function::{ONREPLY, REQUEST};

    fn message(first: &str, method: &str, sdp: bool) -> Ctx {
        let body = "v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nt=0 0\r\n";
        let (ctype, body) = if sdp {
            ("Content-Type: application/sdp\r\n", body)
        } else {
            ("", "")
        };
        let mut c = Ctx::new();
        let text = format!(
            "{first}\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nFrom: <sip:a@a>;tag=1\r\nTo: <sip:b@b>\r\n\
             Call-ID: c\r\nCSeq: 1 {method}\r\n{ctype}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        c.msg.buf_mut().extend_from_slice(text.as_bytes());
        c.msg.parse().unwrap();
        c.route = if c.msg.is_request() { REQUEST } else { ONREPLY };
        c
    }

    #[test]
    fn the_message_decides() {
        let known = |offer| Some(Call { node: 0, offer });
        for (first, method, sdp, call, want) in [
            ("INVITE sip:b@b SIP/2.0", "INVITE", true, None, Step::Offer),
            (
                "INVITE sip:b@b SIP/2.0",
                "INVITE",
                false,
                None,
                Step::Nothing,
            ),
            ("ACK sip:b@b SIP/2.0", "ACK", true, None, Step::Answer),
            ("BYE sip:b@b SIP/2.0", "BYE", false, None, Step::Delete),
            (
                "CANCEL sip:b@b SIP/2.0",
                "CANCEL",
                false,
                None,
                Step::Delete,
            ),
            (
                "SIP/2.0 200 OK",
                "INVITE",
                true,
                known(Offer::InRequest),
                Step::Answer,
            ),
            (
                "SIP/2.0 183 P",
                "INVITE",
                true,
                known(Offer::InReply),
                Step::Offer,
            ),
            ("SIP/2.0 200 OK", "INVITE", true, None, Step::Answer),
            ("SIP/2.0 180 R", "INVITE", false, None, Step::Nothing),
            ("SIP/2.0 486 Busy", "INVITE", false, None, Step::Delete),
            ("SIP/2.0 200 OK", "BYE", false, None, Step::Nothing),
        ] {
            let c = message(first, method, sdp);
            assert_eq!(step(&c, call), want, "{first} {method} {sdp}");
        }
        let mut failed = message("INVITE sip:b@b SIP/2.0", "INVITE", true);
        failed.route = FAILURE;
        assert_eq!(step(&failed, None), Step::Delete);
    }

    #[test]
    fn a_description_is_replaced() {
        let mut c = message("INVITE sip:b@b SIP/2.0", "INVITE", true);
        replace(&mut c, b"v=0\r\n");
        assert_eq!(c.edits.new_body(), Some(&b"v=0\r\n"[..]));
    }
}
