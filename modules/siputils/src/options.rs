//! `options_reply`: what this server can do (RFC 3261 §11.2).

use crate::{OPTIONS_ACCEPT, OPTIONS_ACCEPT_ENCODING, OPTIONS_ACCEPT_LANGUAGE, OPTIONS_SUPPORT};
use olelo_core::net::reply::{self, ReplyHeaders};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{Function, REQUEST, function};
use olelo_sip::{Method, Uri};

pub(crate) fn functions() -> Vec<Function> {
    vec![
        function("options_reply", options_reply)
            .cfg("options_reply")
            .routes(REQUEST)
            .doc("Answers an OPTIONS that is for this server itself: its URI has no user."),
    ]
}

fn options_reply(ctx: &mut Ctx) -> i64 {
    let for_us = ctx.msg.method() == Method::Options
        && Uri::parse(ctx.ruri()).is_ok_and(|u| u.user.is_none());
    if !for_us {
        return -1;
    }
    let lines: String = [
        ("Accept", OPTIONS_ACCEPT.text()),
        ("Accept-Encoding", OPTIONS_ACCEPT_ENCODING.text()),
        ("Accept-Language", OPTIONS_ACCEPT_LANGUAGE.text()),
        ("Supported", OPTIONS_SUPPORT.text()),
    ]
    .iter()
    .map(|(name, value)| format!("{name}: {value}\r\n"))
    .collect();
    ctx.ext::<ReplyHeaders>().0.extend(lines.into_bytes());
    crate::yes(reply::stateless(ctx, 200, "OK", None))
}
