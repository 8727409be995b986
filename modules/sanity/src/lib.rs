//! The `sanity` module: refuses requests that break the protocol before they cost anything.
//!
//! The checks themselves are pure functions of `olelo_sip::sanity`; here are the bit numbers that
//! operators know, the checks of sizes and URIs that are configured, and the reply. ACK is never
//! answered. A check that fails sends the reply unless `noreply` is set, and ends the script where
//! `autodrop` is set.

#![forbid(unsafe_code)]

mod checks;

use checks::{Limits, run};
use olelo_core::net::reply;
use olelo_core::route::ctx::{Ctx, End};
use olelo_core::route::function::{ONREPLY, REQUEST, function};
use olelo_core::route::module::{IntParam, Module, StrParam, param_int, param_str};
use olelo_sip::Method;
use olelo_sip::sanity::Fault;

static DEFAULT_CHECKS: IntParam = IntParam::new(3047);
static URI_CHECKS: IntParam = IntParam::new(7);
static SIZE_CHECKS: IntParam = IntParam::new(0);
static SIZE_MESSAGE: IntParam = IntParam::new(16384);
static SIZE_METHOD: IntParam = IntParam::new(32);
static SIZE_RURI: IntParam = IntParam::new(256);
static SIZE_FROM_URI: IntParam = IntParam::new(256);
static SIZE_TO_URI: IntParam = IntParam::new(256);
static SIZE_CONTACT_URI: IntParam = IntParam::new(256);
static SIZE_ROUTE_URI: IntParam = IntParam::new(256);
static SIZE_PATH_URI: IntParam = IntParam::new(256);
static SIZE_PAI_URI: IntParam = IntParam::new(256);
static SIZE_HEADER: IntParam = IntParam::new(2048);
static SIZE_HEADERS: IntParam = IntParam::new(8192);
static SIZE_BODY: IntParam = IntParam::new(8192);
static PROXY_REQUIRE: StrParam = StrParam::unset();
static AUTODROP: IntParam = IntParam::new(1);
static NOREPLY: IntParam = IntParam::new(0);

/// The module.
pub fn module() -> Module {
    let size = |name, p, doc| param_int(name, p).doc(doc);
    let m = Module::new("sanity")
        .doc("Checks of incoming messages, with the reply that tells the sender what is wrong.")
        .param(
            param_int("default_checks", &DEFAULT_CHECKS)
                .doc("Sum of the checks made where a call names none."),
        )
        .param(
            param_int("uri_checks", &URI_CHECKS)
                .doc("URIs read by check 1024: 1 request URI, 2 From, 4 To, 8 Contact."),
        )
        .param(
            param_str("proxy_require", &PROXY_REQUIRE)
                .doc("Option tags that Proxy-Require may name, separated by commas."),
        )
        .param(
            param_int("autodrop", &AUTODROP)
                .doc("1 ends the script where a check fails; 0 returns -1 to it."),
        )
        .param(param_int("noreply", &NOREPLY).doc("1 leaves the reply to sanity_reply()."));
    let m = [
        size("size_checks", &SIZE_CHECKS, "Sum of the size checks made: 1 message, 2 method, 4 request URI, 8 From URI, 16 To URI, 32 Contact URI, 64 Route URI, 128 Path URI, 256 P-Asserted-Identity URI, 512 one header, 1024 all headers, 2048 body."),
        size("size_message", &SIZE_MESSAGE, "Largest message, in bytes."),
        size("size_method", &SIZE_METHOD, "Longest method, in bytes."),
        size("size_ruri", &SIZE_RURI, "Longest request URI, in bytes."),
        size("size_from_uri", &SIZE_FROM_URI, "Longest URI in From, in bytes."),
        size("size_to_uri", &SIZE_TO_URI, "Longest URI in To, in bytes."),
        size("size_contact_uri", &SIZE_CONTACT_URI, "Longest URI in Contact, in bytes."),
        size("size_route_uri", &SIZE_ROUTE_URI, "Longest URI in Route, in bytes."),
        size("size_path_uri", &SIZE_PATH_URI, "Longest URI in Path, in bytes."),
        size("size_pai_uri", &SIZE_PAI_URI, "Longest URI in P-Asserted-Identity, in bytes."),
        size("size_header", &SIZE_HEADER, "Longest header, in bytes."),
        size("size_headers", &SIZE_HEADERS, "Largest header section, in bytes."),
        size("size_body", &SIZE_BODY, "Largest body, in bytes."),
    ]
    .into_iter()
    .fold(m, Module::param);
    m.function(
        function("sanity_check", |c: &mut Ctx, m: i64, u: i64| sanity_check(c, m, u))
            .args(["checks", "uri_checks"])
            .routes(REQUEST | ONREPLY)
            .doc("Makes the checks whose bits are set; on a fault replies, and ends the script or returns -1."),
    )
    .function(
        function("sanity_check_defaults", |c: &mut Ctx| {
            sanity_check(c, DEFAULT_CHECKS.get(), URI_CHECKS.get())
        })
        .routes(REQUEST | ONREPLY)
        .doc("Makes the checks that the parameters name."),
    )
    .function(
        function("sanity_check_any", |c: &mut Ctx, m: Option<i64>, u: Option<i64>| {
            sanity_check(c, m.unwrap_or(DEFAULT_CHECKS.get()), u.unwrap_or(URI_CHECKS.get()))
        })
        .native_only()
        .cfg("sanity_check")
        .args(["checks", "uri_checks"])
        .routes(REQUEST | ONREPLY)
        .doc("Makes the checks named, or those that the parameters name."),
    )
    .function(
        function("sanity_reply", sanity_reply)
            .cfg("sanity_reply")
            .routes(REQUEST | ONREPLY)
            .doc("Sends the reply to the fault found last, where `noreply` held it back."),
    )
}

/// The fault found in this message that has not been answered yet.
#[derive(Default)]
struct Unanswered(Option<Fault>);

/// Makes `checks` on the message. 1: it is sane; -1: it is not; 0: it is not, and the script ends.
pub fn sanity_check(ctx: &mut Ctx, checks: i64, uri_checks: i64) -> i64 {
    let fault = match run(
        &ctx.msg,
        checks,
        uri_checks,
        PROXY_REQUIRE.text(),
        &limits(),
    ) {
        Ok(()) => return 1,
        Err(refused) => refused,
    };
    olelo_core::warn!(
        "sanity",
        "a message from {} fails a sanity check: {}",
        ctx.rcv.src,
        fault.fault
    );
    let quiet = !ctx.msg.is_request() || ctx.msg.method() == Method::Ack;
    if !quiet {
        if !fault.extra_header.is_empty() {
            ctx.ext::<reply::ReplyHeaders>()
                .0
                .extend(&fault.extra_header);
        }
        ctx.ext::<Unanswered>().0 = Some(fault.fault);
        if !NOREPLY.is_on() {
            sanity_reply(ctx);
        }
    }
    if AUTODROP.is_on() {
        ctx.end = if ctx.msg.is_request() {
            End::Exit
        } else {
            End::Drop
        };
        return 0;
    }
    -1
}

fn sanity_reply(ctx: &mut Ctx) -> i64 {
    let Some(fault) = ctx.ext::<Unanswered>().0.take() else {
        return 1;
    };
    if reply::stateless(ctx, fault.code, fault.reason, None) {
        1
    } else {
        -1
    }
}

fn limits() -> Limits {
    let n = |p: &IntParam| usize::try_from(p.get()).unwrap_or(usize::MAX);
    Limits {
        checks: SIZE_CHECKS.get(),
        message: n(&SIZE_MESSAGE),
        method: n(&SIZE_METHOD),
        ruri: n(&SIZE_RURI),
        from: n(&SIZE_FROM_URI),
        to: n(&SIZE_TO_URI),
        contact: n(&SIZE_CONTACT_URI),
        route: n(&SIZE_ROUTE_URI),
        path: n(&SIZE_PATH_URI),
        pai: n(&SIZE_PAI_URI),
        header: n(&SIZE_HEADER),
        headers: n(&SIZE_HEADERS),
        body: n(&SIZE_BODY),
    }
}
