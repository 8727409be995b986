//! The `xhttp` module: HTTP requests that arrive on the SIP sockets.
//!
//! A request whose first line ends in `HTTP/1.x` comes to `event_route[xhttp:request]`, or to the script
//! function that `event_callback` names, as a message like any other: `$rm`, `$hu` (its target), `$rb`,
//! `$hdr(…)`. It gets a Via with the sender's address, so that functions which look for one work. The
//! script answers with `xhttp_reply`; the connection stays open as HTTP/1.1 says (RFC 9112 §9.3).
//!
//! It is no web server: no chunked bodies, no pipelining of unfinished answers, bodies up to
//! `msg_recv_max_size`. What the script does not answer stays unanswered.

#![forbid(unsafe_code)]

mod response;

use olelo_core::hooks;
use olelo_core::pv::{pv, transformation};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::engine::Outcome;
use olelo_core::route::function::function;
use olelo_core::route::module::{Module, StrParam, param_str};
use olelo_core::route::run;
use olelo_core::route::value::Val;
use regex::bytes::Regex;
use std::sync::OnceLock;

pub use response::{is_http, reply};

static URL_MATCH: StrParam = StrParam::unset();
static URL_SKIP: StrParam = StrParam::unset();
static EVENT_CALLBACK: StrParam = StrParam::unset();
static FILTER: OnceLock<Filter> = OnceLock::new();

/// The name of the event.
const EVENT: &str = "xhttp:request";
/// The native route for it.
const NATIVE: &str = "event_route[xhttp:request]";

/// The module.
pub fn module() -> Module {
    Module::new("xhttp")
        .doc("HTTP requests on the SIP sockets.")
        .param(
            param_str("url_match", &URL_MATCH)
                .doc("Regular expression: other targets are answered with 404."),
        )
        .param(
            param_str("url_skip", &URL_SKIP)
                .doc("Regular expression: these targets are answered with 404."),
        )
        .param(
            param_str("event_callback", &EVENT_CALLBACK).doc("Script function for HTTP requests."),
        )
        .event(EVENT, "an HTTP request has come")
        .function(
            function(
                "xhttp_reply",
                |c: &mut Ctx, code: i64, reason: &[u8], ctype: &[u8], body: &[u8]| {
                    if reply(c, code, reason, ctype, body) {
                        1i64
                    } else {
                        -1
                    }
                },
            )
            .cfg("xhttp_reply")
            .args(["code", "reason", "content_type", "body"])
            .doc("Answers the HTTP request."),
        )
        .function(
            function("get_hu", |c: &mut Ctx| target(c).map(<[u8]>::to_vec))
                .doc("The target of the HTTP request."),
        )
        .pv(pv("hu", |c, _| {
            target(c).map_or(Val::Null, |t| Val::Str(t.into()))
        })
        .doc("The target of the HTTP request: path and query."))
        .transformation(
            transformation("url", "path", 0..=0, |_, v, _| part(v, 0))
                .doc("The part of a URL's target before the question mark."),
        )
        .transformation(
            transformation("url", "querystring", 0..=0, |_, v, _| part(v, 1))
                .doc("The part of a URL's target behind the question mark."),
        )
        .init(init)
}

/// Which targets are for the script.
#[derive(Default)]
struct Filter {
    only: Option<Regex>,
    not: Option<Regex>,
}

impl Filter {
    fn wants(&self, target: &[u8]) -> bool {
        self.only.as_ref().is_none_or(|r| r.is_match(target))
            && !self.not.as_ref().is_some_and(|r| r.is_match(target))
    }
}

fn init() -> Result<(), String> {
    let compile = |name: &str, p: &StrParam| match p.get().filter(|t| !t.is_empty()) {
        Some(t) => Regex::new(t)
            .map(Some)
            .map_err(|e| format!("{name}: \"{t}\" is no regular expression: {e}")),
        None => Ok(None),
    };
    let _ = FILTER.set(Filter {
        only: compile("url_match", &URL_MATCH)?,
        not: compile("url_skip", &URL_SKIP)?,
    });
    hooks::HTTP.add(received);
    Ok(())
}

fn target(ctx: &Ctx) -> Option<&[u8]> {
    is_http(ctx).then(|| ctx.msg.ruri())
}

/// Part 0 before the first `?`, 1 behind it.
fn part<'c>(v: Val<'c>, which: usize) -> Val<'c> {
    let Some(b) = v.as_bytes() else {
        return Val::Null;
    };
    let mut parts = b.splitn(2, |c| *c == b'?');
    Val::owned(parts.nth(which).unwrap_or_default())
}

/// A message over a stream says it is HTTP.
fn received(ctx: &mut Ctx, indexed: bool) -> bool {
    if !indexed {
        return response::refuse(ctx, 400, "Bad Request");
    }
    if !ctx.msg.is_request() {
        return false;
    }
    if ctx
        .msg
        .headers_by_text(b"Transfer-Encoding")
        .next()
        .is_some()
    {
        return response::refuse(ctx, 501, "Transfer-Encoding Not Implemented");
    }
    if FILTER.get().is_some_and(|f| !f.wants(ctx.msg.ruri())) {
        return response::refuse(ctx, 404, "Not Found");
    }
    if !add_via(ctx) {
        return response::refuse(ctx, 400, "Bad Request");
    }
    let outcome = match EVENT_CALLBACK.get().filter(|c| !c.is_empty()) {
        Some(f) => run::event(ctx, f, EVENT),
        None => run::event(ctx, NATIVE, EVENT),
    };
    match outcome {
        Outcome::Missing => {
            olelo_core::error!(
                "xhttp",
                "the script has no {NATIVE} and event_callback names none; the request is answered with 500"
            );
            reply(ctx, 500, b"Internal Server Error", b"", b"");
        }
        Outcome::Failed(_) | Outcome::OutOfBudget(_) => {
            reply(ctx, 500, b"Internal Server Error", b"", b"");
        }
        _ => {}
    }
    true
}

/// Puts a Via with the sender's address behind the first line.
fn add_via(ctx: &mut Ctx) -> bool {
    let via = format!(
        "Via: SIP/2.0/{} {}\r\n",
        ctx.rcv.proto.via_name(),
        ctx.rcv.src
    );
    let at = ctx.msg.headers_start();
    let mut bytes = ctx.msg.buf().to_vec();
    bytes.splice(at..at, via.into_bytes());
    ctx.msg.reset();
    ctx.msg.buf_mut().extend_from_slice(&bytes);
    ctx.msg.parse().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_lets_some_targets_through() {
        let f = Filter {
            only: Regex::new("^/(rpc|info)").ok(),
            not: Regex::new("secret").ok(),
        };
        assert!(f.wants(b"/rpc/x") && !f.wants(b"/other") && !f.wants(b"/rpc/secret"));
        assert!(Filter::default().wants(b"/"));
    }

    #[test]
    fn a_target_has_a_path_and_a_query() {
        for (url, path, query) in [
            ("/a/b?c=d?e", "/a/b", "c=d?e"),
            ("/a", "/a", ""),
            ("", "", ""),
        ] {
            assert_eq!(part(Val::text(url), 0), Val::text(path));
            assert_eq!(part(Val::text(url), 1), Val::text(query));
        }
    }

    #[test]
    fn a_request_gets_a_via() {
        let mut ctx = Ctx::new();
        ctx.msg
            .buf_mut()
            .extend_from_slice(b"POST /rpc?x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi");
        ctx.msg.parse().unwrap();
        assert!(add_via(&mut ctx));
        assert!(ctx.msg.via(0).is_some());
        assert_eq!(ctx.msg.body(), b"hi");
        assert_eq!(target(&ctx), Some(&b"/rpc?x"[..]));
    }
}
