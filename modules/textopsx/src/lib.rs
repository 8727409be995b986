//! The `textopsx` module: changing a message at once, and changing values inside of headers.
//!
//! | file | what it is |
//! |---|---|
//! | `apply` | the message as it would be sent becomes the message; status of replies |
//! | `values` | single values and parameters of headers that are lists |
//! | `walk` | iterators over headers and lines of the body |
//! | `fnmatch` | patterns as shells have them |
//!
//! All but `apply` only add to the message's edits: a value is found in the message as received,
//! whatever was edited before. Nothing here is shared between processes.

#![forbid(unsafe_code)]

mod apply;
mod fnmatch;
mod values;
mod walk;

use olelo_core::pv::pv_named;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{Function, ScriptError, function};
use olelo_core::route::module::Module;
use olelo_sip::HeaderName;
use olelo_textops::posix::{USUAL, compiled};

/// The module.
pub fn module() -> Module {
    let m = Module::new("textopsx")
        .doc("Changing a message at once, values inside of headers, and walking over headers.")
        .event(
            "textopsx:msg-changed-route",
            "argument of the route that msg_changed_route() runs",
        )
        .pv(pv_named("hfitname", walk::header_name).doc("Name of the header an iterator is at."))
        .pv(pv_named("hfitbody", walk::header_body).doc("Body of the header an iterator is at."))
        .pv(pv_named("blitval", walk::line).doc("Line of the body an iterator is at."));
    [
        apply::functions(),
        values::functions(),
        walk::functions(),
        rest(),
    ]
    .into_iter()
    .flatten()
    .fold(m, Module::function)
}

fn rest() -> Vec<Function> {
    vec![
        function("remove_body", remove_body)
            .cfg("remove_body")
            .doc("Removes the body."),
        function("keep_hf", |c: &mut Ctx| keep(c, None))
            .doc("Removes all headers but those that SIP itself needs."),
        function("keep_hf_re", |c: &mut Ctx, re: &[u8]| keep(c, Some(re)))
            .args(["regex"])
            .doc("As keep_hf; keeps also headers whose name matches."),
        function("keep_hf_native", |c: &mut Ctx, re: Option<&[u8]>| {
            keep(c, re)
        })
        .native_only()
        .cfg("keep_hf")
        .args(["regex"])
        .doc("Removes all headers but those that SIP itself needs and those whose name matches."),
        function("fnmatch", |_: &mut Ctx, v: &[u8], p: &[u8]| {
            yes(fnmatch::matches(v, p, false))
        })
        .args(["value", "pattern"])
        .doc("Whether a value matches a pattern as shells have them: `*`, `?`, `[a-z]`."),
        function("fnmatch_ex", matches_flags)
            .args(["value", "pattern", "flags"])
            .doc("As fnmatch; with the flag `i` without regard to case."),
        function(
            "fnmatch_native",
            |c: &mut Ctx, v: &[u8], p: &[u8], f: Option<&[u8]>| {
                matches_flags(c, v, p, f.unwrap_or(b""))
            },
        )
        .native_only()
        .cfg("fnmatch")
        .args(["value", "pattern", "flags"])
        .doc("Whether a value matches a shell's pattern; flag `i`: without regard to case."),
    ]
}

/// What scripts take for true and false.
pub(crate) fn yes(b: bool) -> i64 {
    if b { 1 } else { -1 }
}

fn matches_flags(_: &mut Ctx, value: &[u8], pattern: &[u8], flags: &[u8]) -> i64 {
    yes(fnmatch::matches(value, pattern, flags.contains(&b'i')))
}

fn remove_body(ctx: &mut Ctx) -> i64 {
    if !ctx.msg.body().is_empty() {
        ctx.edits.set_body(b"");
    }
    1
}

/// Headers that `keep_hf` leaves alone.
const NEEDED: [HeaderName; 11] = [
    HeaderName::Via,
    HeaderName::From,
    HeaderName::To,
    HeaderName::CallId,
    HeaderName::CSeq,
    HeaderName::ContentLength,
    HeaderName::ContentType,
    HeaderName::MaxForwards,
    HeaderName::Contact,
    HeaderName::Route,
    HeaderName::RecordRoute,
];

fn keep(ctx: &mut Ctx, re: Option<&[u8]>) -> Result<i64, ScriptError> {
    let re = re
        .filter(|r| !r.is_empty())
        .map(|r| compiled(r, USUAL))
        .transpose()?;
    let go: Vec<_> = ctx
        .msg
        .headers()
        .iter()
        .filter(|h| !NEEDED.contains(&h.name))
        .filter(|h| {
            !re.as_ref()
                .is_some_and(|r| r.is_match(ctx.msg.slice(h.name_text)))
        })
        .map(|h| h.whole)
        .collect();
    go.into_iter().for_each(|s| ctx.edits.remove(s));
    Ok(1)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A context with this message.
    pub(crate) fn ctx_of(text: &str) -> Ctx {
        let mut c = Ctx::new();
        c.msg.buf_mut().extend_from_slice(text.as_bytes());
        c.msg.parse().unwrap();
        c
    }

    /// The message with its edits.
    pub(crate) fn sent(c: &Ctx) -> String {
        let mut out = Vec::new();
        c.edits.apply(&c.msg, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_needed_and_named_headers_are_kept() {
        let text = "INFO sip:a SIP/2.0\r\nv: x\r\nX-A: 1\r\nUser-Agent: u\r\ni: 1\r\n\r\n";
        for (re, want) in [
            (None, "v: x\r\ni: 1\r\n"),
            (Some(&b"^user"[..]), "v: x\r\nUser-Agent: u\r\ni: 1\r\n"),
        ] {
            let mut c = ctx_of(text);
            assert_eq!(keep(&mut c, re), Ok(1));
            assert_eq!(sent(&c), format!("INFO sip:a SIP/2.0\r\n{want}\r\n"));
        }
        assert!(keep(&mut ctx_of(text), Some(b"(")).is_err());
    }

    #[test]
    fn the_body_goes() {
        let mut c = ctx_of("INFO sip:a SIP/2.0\r\nContent-Length: 2\r\n\r\nxy");
        assert_eq!(remove_body(&mut c), 1);
        assert_eq!(sent(&c), "INFO sip:a SIP/2.0\r\nContent-Length: 0\r\n\r\n");
    }
}
