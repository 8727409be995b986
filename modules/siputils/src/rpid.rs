//! Remote-Party-ID from an AVP: the caller's identity that a database gave.

use crate::{RPID_AVP, RPID_PREFIX, RPID_SUFFIX, checks, yes};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{BRANCH, FAILURE, Function, REQUEST, function};
use olelo_sip::{NameAddr, Span, Uri};

pub(crate) fn functions() -> Vec<Function> {
    vec![
        function("append_rpid_hf", append)
            .native_only()
            .cfg("append_rpid_hf")
            .args(["prefix", "suffix"])
            .routes(REQUEST | BRANCH | FAILURE)
            .doc("Adds Remote-Party-ID with the URI in `rpid_avp`."),
        function("is_rpid_user_e164", is_e164)
            .native_only()
            .cfg("is_rpid_user_e164")
            .routes(REQUEST)
            .doc("Whether the user of the URI in `rpid_avp` is an E.164 number."),
    ]
}

fn rpid(ctx: &Ctx) -> Option<Vec<u8>> {
    let v = ctx.pv(RPID_AVP.get()?);
    v.as_bytes()
        .map(std::borrow::Cow::into_owned)
        .filter(|b| !b.is_empty())
}

fn append(ctx: &mut Ctx, prefix: Option<&[u8]>, suffix: Option<&[u8]>) -> i64 {
    let Some(rpid) = rpid(ctx) else { return -1 };
    let prefix = prefix.unwrap_or(RPID_PREFIX.text().as_bytes());
    let suffix = suffix.unwrap_or(RPID_SUFFIX.text().as_bytes());
    let line = [
        b"Remote-Party-ID: ",
        prefix,
        rpid.as_slice(),
        suffix,
        b"\r\n",
    ]
    .concat();
    ctx.edits.append_header(&line);
    1
}

fn is_e164(ctx: &mut Ctx) -> i64 {
    let Some(rpid) = rpid(ctx) else { return -1 };
    let uri = NameAddr::parse(&rpid, Span::all(&rpid)).map_or(&rpid[..], |a| a.uri_text(&rpid));
    let user = Uri::parse(uri).ok().and_then(|u| u.user_name());
    yes(user.or(Some(uri)).is_some_and(checks::is_e164))
}
