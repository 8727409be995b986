//! A message's way through the server: index, check, route, answer for what went wrong.
//!
//! This is the third of the five files of a request's path. It knows no module: `tm` and others
//! join through [`crate::hooks`].

use super::core_events::{self, CoreEvent};
use super::ctx::{Ctx, End, Received};
use super::engine::Outcome;
use super::function::{CORE_ONREPLY, EVENT, REQUEST, Routes};
use super::generation;
use crate::hooks::{self, ReplyVerdict};
use crate::log::Level;
use crate::net;
use crate::proc::quarantine;
use crate::pv::Format;
use crate::stats::Stat;
use olelo_ipc::process;
use olelo_sip::Method;
use std::cell::Cell;
use std::sync::OnceLock;

/// Statistics of the core that this file counts.
pub static STATS: [&Stat; 17] = [
    &RCV_REQUESTS,
    &RCV_REPLIES,
    &FWD_REQUESTS,
    &FWD_REPLIES,
    &DROP_REQUESTS,
    &DROP_REPLIES,
    &ERR_REQUESTS,
    &ERR_REPLIES,
    &BAD_URIS,
    &BAD_HDRS,
    &KEEPALIVES,
    &QUARANTINE_REFUSED,
    &SCRIPT_ERRORS,
    &SCRIPT_STOPPED,
    &PANICS,
    &net::ERR_SEND,
    &UNSUPPORTED,
];
/// Requests received.
pub static RCV_REQUESTS: Stat = Stat::counter("core", "rcv_requests", "requests received");
/// Replies received.
pub static RCV_REPLIES: Stat = Stat::counter("core", "rcv_replies", "replies received");
/// Requests forwarded.
pub static FWD_REQUESTS: Stat = Stat::counter("core", "fwd_requests", "requests forwarded");
/// Replies forwarded.
pub static FWD_REPLIES: Stat = Stat::counter("core", "fwd_replies", "replies forwarded");
static DROP_REQUESTS: Stat =
    Stat::counter("core", "drop_requests", "requests dropped by the script");
static DROP_REPLIES: Stat = Stat::counter("core", "drop_replies", "replies dropped by the script");
static ERR_REQUESTS: Stat = Stat::counter("core", "err_requests", "bogus requests");
static ERR_REPLIES: Stat = Stat::counter("core", "err_replies", "bogus replies");
/// Messages whose request URI can't be read.
pub static BAD_URIS: Stat = Stat::counter(
    "core",
    "bad_URIs_rcvd",
    "messages with a URI that can't be read",
);
static BAD_HDRS: Stat = Stat::counter(
    "core",
    "bad_msg_hdr",
    "messages with a header that can't be read",
);
static UNSUPPORTED: Stat = Stat::counter(
    "core",
    "unsupported_methods",
    "requests of a method that isn't supported",
);
static QUARANTINE_REFUSED: Stat = Stat::counter(
    "core",
    "quarantine_refused",
    "messages not routed because they have killed workers",
);
static KEEPALIVES: Stat = Stat::counter("core", "rcv_keepalives", "keep-alives received");
static SCRIPT_ERRORS: Stat = Stat::counter("core", "script_errors", "messages whose route failed");
static SCRIPT_STOPPED: Stat = Stat::counter(
    "core",
    "script_stopped",
    "messages whose route used up its budget",
);
static PANICS: Stat = Stat::counter(
    "core",
    "panics",
    "messages that made the server's own code fail",
);

/// Routes one received message. Nothing that the bytes say can end the process: a panic costs the
/// message.
pub fn receive(ctx: &mut Ctx, rcv: Received, bytes: &[u8]) {
    if is_keepalive(bytes) {
        KEEPALIVES.inc();
        return;
    }
    ctx.reset();
    ctx.rcv = rcv;
    ctx.id += 1;
    ctx.received_ms = crate::timer::monotonic_ms();
    let now = crate::timer::wall();
    ctx.received_at = (now.as_secs() as i64, now.subsec_micros());
    ctx.msg.buf_mut().extend_from_slice(bytes);
    let slot = olelo_mem::slot::current_slot();
    process::begin(slot, ctx.received_ms, bytes);
    olelo_ipc::signals::forget_interrupt();
    let verdict = quarantine::look(bytes);
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match verdict {
        quarantine::Verdict::Route => route(ctx),
        quarantine::Verdict::Answer => refuse(ctx),
        quarantine::Verdict::Drop => QUARANTINE_REFUSED.inc(),
    }));
    process::end(slot);
    if done.is_err() {
        PANICS.inc();
        crate::crit!(
            "core",
            "the server's own code failed on a message from {}; it is left alone",
            rcv.src
        );
        generation::discard();
    }
}

/// Answers a message that has killed its worker twice, as far as it can be answered.
fn refuse(ctx: &mut Ctx) {
    QUARANTINE_REFUSED.inc();
    let fit = ctx.msg.parse().is_ok() && ctx.msg.via(0).is_some();
    if fit && ctx.msg.is_request() && ctx.msg.method() != Method::Ack {
        net::reply::stateless(ctx, 500, "Server Internal Error", None);
    }
}

/// Keep-alives that aren't SIP: line ends, zeros, STUN (RFC 5626 §3.5).
fn is_keepalive(bytes: &[u8]) -> bool {
    bytes.len() < 20 && bytes.iter().all(|b| matches!(b, b'\r' | b'\n' | 0 | b' '))
        || bytes.len() >= 20 && bytes[0] < 4 && bytes[4..8] == [0x21, 0x12, 0xa4, 0x42]
}

fn route(ctx: &mut Ctx) {
    if !core_events::run(ctx, CoreEvent::MsgReceived) {
        return;
    }
    let parsed = ctx.msg.parse();
    if ctx.rcv.conn.is_some()
        && olelo_sip::framing::is_http(ctx.msg.buf())
        && hooks::HTTP.list().iter().any(|h| h(ctx, parsed.is_ok()))
    {
        return;
    }
    if let Err(e) = parsed {
        BAD_HDRS.inc();
        crate::info!("core", "a message from {} can't be read: {e}", ctx.rcv.src);
        core_events::run(ctx, CoreEvent::ParseError);
        return;
    }
    if ctx.msg.via(0).is_none() {
        ERR_REQUESTS.inc();
        crate::info!(
            "core",
            "a message from {} has no Via that can be read",
            ctx.rcv.src
        );
        return;
    }
    if let Some(prefix) = log_prefix() {
        crate::log::set_prefix(&prefix.eval(ctx));
    }
    if !core_events::run(ctx, CoreEvent::PreRouting) {
        crate::debug!("core", "core:pre-routing said drop");
    } else if ctx.msg.is_request() {
        request(ctx);
    } else {
        reply(ctx);
    }
    if log_prefix().is_some() {
        crate::log::set_prefix(b"");
    }
}

/// With `log_prefix_mode=1` the prefix is evaluated anew for what a function of the script may write.
pub(crate) fn refresh_log_prefix(ctx: &Ctx) {
    static EACH: OnceLock<bool> = OnceLock::new();
    let wanted = || {
        crate::server::try_server()
            .is_some_and(|s| s.config.log_prefix_mode == 1 && s.config.log_prefix.is_some())
    };
    if *EACH.get_or_init(wanted)
        && let Some(prefix) = log_prefix()
    {
        crate::log::set_prefix(&prefix.eval(ctx));
    }
}

fn log_prefix() -> Option<&'static Format> {
    static FORMAT: OnceLock<Option<Format>> = OnceLock::new();
    FORMAT
        .get_or_init(|| {
            let text = crate::server().config.log_prefix.as_ref()?;
            Format::parse(text.as_bytes())
                .map_err(|e| crate::error!("core", "log_prefix: {e}"))
                .ok()
        })
        .as_ref()
}

fn request(ctx: &mut Ctx) {
    RCV_REQUESTS.inc();
    crate::stats::messages::count_request(ctx.msg.method());
    if crate::server().config.force_rport {
        ctx.force_rport = true;
    }
    adopt_alias(ctx);
    hooks::PRE_SCRIPT.list().iter().for_each(|h| h(ctx));
    if ctx.end == End::Drop {
        // A module has dealt with it, as `sl` with the ACK to one of its replies.
        ctx.end = End::None;
        return;
    }
    let started = latency_level().map(|level| (level, std::time::Instant::now()));
    let outcome = call(ctx, main_route("request_route"), None, REQUEST);
    if let Some((level, t)) = started {
        crate::log!(
            level,
            "core",
            "request-route executed in: {} usec",
            t.elapsed().as_micros()
        );
    }
    match outcome {
        Outcome::Failed(_) | Outcome::OutOfBudget(_) => {
            let answered = hooks::SCRIPT_FAILED.list().iter().any(|h| h(ctx));
            if !answered && ctx.msg.method() != Method::Ack {
                net::reply::stateless(ctx, 500, "Server Internal Error", None);
            }
        }
        Outcome::Missing => {
            crate::error!(
                "core",
                "the script has no {}; the request is answered with 500",
                main_route("request_route")
            );
            if ctx.msg.method() != Method::Ack {
                net::reply::stateless(ctx, 500, "Server Internal Error", None);
            }
        }
        Outcome::Drop => DROP_REQUESTS.inc(),
        _ => {}
    }
    hooks::POST_SCRIPT.list().iter().for_each(|h| h(ctx));
}

fn reply(ctx: &mut Ctx) {
    RCV_REPLIES.inc();
    crate::stats::messages::count_reply(ctx.msg.method(), ctx.msg.status());
    hooks::PRE_SCRIPT.list().iter().for_each(|h| h(ctx));
    // Without such a route the outcome is `Missing`: the reply goes on.
    let outcome = call(ctx, main_route("reply_route"), None, CORE_ONREPLY);
    if outcome == Outcome::Drop {
        DROP_REPLIES.inc();
    } else {
        ctx.route = CORE_ONREPLY;
        let taken = hooks::REPLY
            .list()
            .iter()
            .any(|h| h(ctx) == ReplyVerdict::Taken);
        if !taken {
            net::reply::forward(ctx);
        }
    }
    hooks::POST_SCRIPT.list().iter().for_each(|h| h(ctx));
}

/// Honours `;alias` in a Via that came over a stream (`tcp_accept_aliases`): requests to the
/// sender's port use this connection.
fn adopt_alias(ctx: &Ctx) {
    if let (true, Some(conn), Some(via)) = (
        crate::server().config.tcp_accept_aliases,
        ctx.rcv.conn,
        ctx.msg.via(0).filter(|v| v.alias),
    ) {
        let port = via.port.unwrap_or(ctx.rcv.proto.default_port());
        net::tcp::add_alias(conn, std::net::SocketAddr::new(ctx.rcv.src.ip(), port));
    }
}

/// The level at which the main route's time is logged, if lines of it are written at all.
fn latency_level() -> Option<Level> {
    let level = Level::from_int(crate::server().config.latency_cfg_log);
    crate::log::enabled(level, "core").then_some(level)
}

/// The script's name of a main route: `kemi.request_route_callback` or `ksr_request_route`; in the
/// native language its keyword.
fn main_route(which: &str) -> &'static str {
    static NAMES: OnceLock<[String; 3]> = OnceLock::new();
    let names = NAMES.get_or_init(|| {
        let native =
            super::engine::find(&crate::server().config.engine).is_none_or(|k| k.name == "native");
        ["request_route", "reply_route", "onsend_route"].map(|w| {
            if native {
                return w.to_string();
            }
            let given = crate::server().config.text(&format!("kemi.{w}_callback"));
            given
                .filter(|s| !s.is_empty())
                .map_or_else(|| format!("ksr_{w}"), str::to_string)
        })
    });
    match which {
        "request_route" => &names[0],
        "reply_route" => &names[1],
        _ => &names[2],
    }
}

/// Runs the route `name`, as a route block of this kind, for the message in `ctx`. What the route
/// left in `ctx.end` is taken from it; failures are logged and counted here, once.
pub fn call(ctx: &mut Ctx, name: &str, arg: Option<&str>, kind: Routes) -> Outcome {
    let Some(engine) = engine_of(name) else {
        return Outcome::Missing;
    };
    let before = (ctx.route, ctx.end);
    ctx.route = kind;
    ctx.end = End::None;
    let outcome = match Nested::enter() {
        Ok(_nested) => engine.call(name, arg.as_slice(), ctx),
        Err(depth) => Outcome::Failed(format!(
            "routes that functions call are nested {depth} deep; it is left out"
        )),
    };
    (ctx.route, ctx.end) = before;
    match &outcome {
        Outcome::Failed(e) => {
            SCRIPT_ERRORS.inc();
            hooks::ROUTE_FAILED.list().iter().for_each(|h| h(name, e));
            crate::error!("core", "route {name}: {e}");
        }
        Outcome::OutOfBudget(e) => {
            SCRIPT_STOPPED.inc();
            hooks::ROUTE_FAILED.list().iter().for_each(|h| h(name, e));
            crate::error!("core", "route {name} was stopped: {e}");
            generation::discard();
        }
        _ => {}
    }
    outcome
}

/// Deepest nesting of routes that are called by functions of routes.
const MAX_DEPTH: usize = 24;

thread_local! {
    /// How many calls of routes are under way.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// A call of a route, until it is dropped: a panic ends it as well.
struct Nested;

impl Nested {
    fn enter() -> Result<Nested, usize> {
        let depth = DEPTH.get();
        if depth >= MAX_DEPTH {
            return Err(depth);
        }
        DEPTH.set(depth + 1);
        Ok(Nested)
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
        if DEPTH.get() == 0 {
            generation::route_ended();
        }
    }
}

/// Whether this process is routing a message right now.
pub(super) fn is_under_way() -> bool {
    DEPTH.get() > 0
}

/// Whether the script has a route of this name.
pub fn has(name: &str) -> bool {
    engine_of(name).is_some_and(|e| e.has(name))
}

/// The engine that has the route `name`: native event routes run beside a script, too.
fn engine_of(name: &str) -> Option<std::rc::Rc<dyn super::engine::Engine>> {
    if name.starts_with("event_route[") {
        return generation::beside("native");
    }
    generation::current()
}

/// Runs an event route: `callback` is the script function that a module's `event_callback` names,
/// `event` the event's name.
pub fn event(ctx: &mut Ctx, callback: &str, event: &str) -> Outcome {
    call(ctx, callback, Some(event), EVENT)
}

/// Runs `onsend_route`, if the script has one, on bytes about to be sent. False: don't send.
pub fn onsend(ctx: &mut Ctx, bytes: &[u8], dst: &net::Dst) -> bool {
    let name = main_route("onsend_route");
    let Some(engine) = generation::current() else {
        return true;
    };
    if !engine.has(name) {
        return true;
    }
    let mut copy = net::reply::take_buffer();
    copy.extend_from_slice(bytes);
    ctx.outgoing = Some((copy, dst.addr, dst.proto));
    let outcome = call(ctx, name, None, super::function::ONSEND);
    if let Some((copy, ..)) = ctx.outgoing.take() {
        net::reply::give_back(copy);
    }
    outcome != Outcome::Drop
}
