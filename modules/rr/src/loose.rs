//! Route: following the route set of a request (RFC 3261 §16.4 and §16.12).
//!
//! Three senders are told apart. A loose router leaves our URI on top of the route set and the
//! target in the request URI. A strict router (RFC 2543) puts our URI into the request URI and the
//! target at the end of the route set. A user agent that was told to use an outbound proxy sends an
//! initial request with a route set "preloaded".

use crate::record::proto_of;
use crate::{ENABLE_DOUBLE_RR, FORCE_SEND_SOCKET};
use olelo_core::hooks::Hook;
use olelo_core::net::{SocketId, own};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::ScriptError;
use olelo_core::route::value::Val;
use olelo_sip::{HeaderName, Uri};
use regex::bytes::{Regex, RegexBuilder};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// The route set was followed.
pub const DRIVEN: i64 = 1;
/// There is nothing to follow.
pub const NOT_DRIVEN: i64 = -1;
/// The route set of an initial request was followed.
pub const PRELOADED: i64 = -3;

/// The way a request goes in its dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// As the request that began the dialog.
    Downstream,
    /// Against it.
    Upstream,
}

/// What following the route set found out.
#[derive(Default)]
struct Followed {
    /// Parameters of our URI.
    params: Option<Vec<u8>>,
    /// URI of the next Route; `None` where none is left.
    next: Option<Vec<u8>>,
    done: bool,
}

static LOOSE_ROUTED: Hook<fn(&mut Ctx, &[u8])> = Hook::new();

/// Calls `f` with the parameters of our Route whenever one is followed; from a module's `init`.
pub fn on_loose_route(f: fn(&mut Ctx, &[u8])) {
    LOOSE_ROUTED.add(f);
}

/// The parameters of our Route, once it was followed.
pub fn routed_params(ctx: &Ctx) -> Option<&[u8]> {
    ctx.ext_ref::<Followed>()?.params.as_deref()
}

/// Follows the route set of the request in `ctx`; returns one of the constants above. `mode` 1
/// leaves out the test for strict routers.
pub fn loose_route(ctx: &mut Ctx, mode: i64) -> i64 {
    let routes = match routes(ctx) {
        Some(r) if !r.is_empty() => r,
        _ => return NOT_DRIVEN,
    };
    let preloaded = ctx.msg.to_tag().is_none_or(<[u8]>::is_empty);
    let from_strict = !preloaded && mode == 0 && ruri_is_ours(ctx);
    if from_strict {
        after_strict(ctx, &routes)
    } else {
        after_loose(ctx, &routes, preloaded)
    }
}

/// The direction, by the `ftag` of our Route; downstream where nothing says otherwise.
pub fn direction(ctx: &Ctx) -> Direction {
    let ftag = routed_params(ctx).and_then(|p| olelo_sip::Params(p).value(b"ftag"));
    match (ftag, ctx.msg.from_tag()) {
        (Some(initial), Some(now)) if !initial.is_empty() && initial != now => Direction::Upstream,
        _ => Direction::Downstream,
    }
}

/// Whether the request goes this way.
pub fn is_direction(ctx: &Ctx, d: Direction) -> bool {
    direction(ctx) == d
}

/// [`is_direction`] for scripts.
pub(crate) fn is_direction_named(ctx: &mut Ctx, name: &str) -> Result<i64, ScriptError> {
    let want = match name.to_ascii_lowercase().as_str() {
        "downstream" => Direction::Downstream,
        "upstream" => Direction::Upstream,
        _ => {
            return Err(ScriptError(format!(
                "\"{name}\" is no direction; one of downstream, upstream"
            )));
        }
    };
    Ok(if is_direction(ctx, want) { 1 } else { -1 })
}

/// Whether the parameters of our Route match a regular expression, without regard to case.
pub(crate) fn check_route_param(ctx: &mut Ctx, regex: &str) -> Result<i64, ScriptError> {
    let re = compiled(regex)?;
    Ok(match routed_params(ctx) {
        Some(p) if re.is_match(p) => 1,
        _ => -1,
    })
}

/// `$fti` and `$tti`: the tags as they were in the dialog's first request.
pub(crate) fn initial_tag(ctx: &Ctx, from: bool) -> Val<'_> {
    let upstream = direction(ctx) == Direction::Upstream;
    Val::opt(if from != upstream {
        ctx.msg.from_tag()
    } else {
        ctx.msg.to_tag()
    })
}

/// The URI of the first Route that is left to follow.
pub(crate) fn next_route(ctx: &Ctx) -> Option<Vec<u8>> {
    match ctx.ext_ref::<Followed>() {
        Some(f) if f.done => f.next.clone(),
        _ => {
            let first = ctx.msg.routes().ok()?.first()?;
            Some(first.addr.uri_text(ctx.msg.buf()).to_vec())
        }
    }
}

/// One Route, copied out so that the message can be edited.
struct Hop {
    uri: Vec<u8>,
    loose: bool,
}

fn routes(ctx: &Ctx) -> Option<Vec<Hop>> {
    let buf = ctx.msg.buf();
    let list = match ctx.msg.routes() {
        Ok(l) => l,
        Err(e) => {
            olelo_core::info!(
                "rr",
                "the Route of a request from {} can't be read: {e}",
                ctx.rcv.src
            );
            return None;
        }
    };
    let hop = |r: &olelo_sip::Route| Hop {
        uri: r.addr.uri_text(buf).to_vec(),
        loose: r.is_loose(buf),
    };
    Some(list.iter().map(hop).collect())
}

fn ruri_is_ours(ctx: &Ctx) -> bool {
    Uri::parse(ctx.ruri()).is_ok_and(|u| u.gr().is_none() && is_ours(&u))
}

fn is_ours(u: &Uri<'_>) -> bool {
    named_socket(u).is_some() || own::is_myself(u.host, u.port.unwrap_or(0), Some(proto_of(u)))
}

fn named_socket(u: &Uri<'_>) -> Option<SocketId> {
    if !crate::SOCKNAME_MODE.is_on() {
        return None;
    }
    let name = u.param(b"sn")?;
    let sockets = &olelo_core::server().sockets;
    let named = |n: &Option<String>| n.as_deref().is_some_and(|n| n.as_bytes() == name);
    sockets.0.iter().find(|l| named(&l.name)).map(|l| l.id)
}

/// The socket that a URI of ours names.
fn socket_of(u: &Uri<'_>) -> Option<SocketId> {
    if let Some(id) = named_socket(u) {
        return Some(id);
    }
    let proto = proto_of(u);
    let port = u.port.unwrap_or(proto.default_port());
    let (host, ip) = (std::str::from_utf8(u.host).ok()?, u.host_ip());
    let sockets = &olelo_core::server().sockets;
    let fits = |l: &&olelo_core::net::socket::Listen| {
        let public = l.public();
        l.proto == proto
            && ((public.0.eq_ignore_ascii_case(host) && public.1 == port)
                || (ip == Some(l.addr.ip()) && l.addr.port() == port))
    };
    sockets.0.iter().find(fits).map(|l| l.id)
}

/// The previous hop is a loose router: our URI is on top, unless it left us out.
fn after_loose(ctx: &mut Ctx, routes: &[Hop], preloaded: bool) -> i64 {
    let mut gone = vec![false; routes.len()];
    let mut at = 0;
    let mut params = None;
    if let Some(top) = routes.first()
        && let Ok(u) = Uri::parse(&top.uri)
        && is_ours(&u)
    {
        gone[0] = true;
        at = 1;
        params = Some(u.params.to_vec());
        let second = routes.get(1).and_then(|r| Uri::parse(&r.uri).ok());
        if ENABLE_DOUBLE_RR.is_on()
            && u.r2().is_some()
            && let Some(second) = second.filter(|s| s.r2().is_some() && is_ours(s))
        {
            gone[1] = true;
            at = 2;
            ctx.send_socket = socket_of(&second).or(ctx.send_socket);
        } else if FORCE_SEND_SOCKET.is_on() {
            ctx.send_socket = socket_of(&u).or(ctx.send_socket);
        }
    }
    let ours = params.is_some();
    let verdict = match routes.get(at) {
        // All of the route set is ours: the request URI says where it goes.
        None if preloaded => NOT_DRIVEN,
        None => DRIVEN,
        Some(next) => {
            if next.loose {
                ctx.dst_uri = Some(next.uri.clone());
            } else {
                gone[at] = true;
                to_strict(ctx, &next.uri);
            }
            if preloaded { PRELOADED } else { DRIVEN }
        }
    };
    finish(ctx, routes, &gone, params);
    if ours && verdict != NOT_DRIVEN {
        notify(ctx);
    }
    verdict
}

/// The previous hop is a strict router: our URI stands in the request URI, the target in the last
/// Route.
fn after_strict(ctx: &mut Ctx, routes: &[Hop]) -> i64 {
    let ruri = ctx.ruri().to_vec();
    let Ok(mine) = Uri::parse(&ruri) else {
        return NOT_DRIVEN;
    };
    let mut gone = vec![false; routes.len()];
    let params = Some(mine.params.to_vec());
    let mut at = 0;
    if ENABLE_DOUBLE_RR.is_on()
        && mine.r2().is_some()
        && let Some(second) = routes.first().and_then(|r| Uri::parse(&r.uri).ok())
        && second.r2().is_some()
        && is_ours(&second)
    {
        gone[0] = true;
        at = 1;
        ctx.send_socket = socket_of(&second).or(ctx.send_socket);
    } else if FORCE_SEND_SOCKET.is_on() {
        ctx.send_socket = socket_of(&mine).or(ctx.send_socket);
    }
    let last = routes.len() - 1;
    match routes.get(at) {
        None => return NOT_DRIVEN,
        Some(next) if next.loose || at == last => {
            // The last Route is the target; what is left before it is where the request goes first.
            gone[last] = true;
            ctx.set_ruri(&routes[last].uri);
            if at < last {
                ctx.dst_uri = Some(next.uri.clone());
            }
        }
        Some(next) => {
            // From one strict router to another: its URI takes our place in the request URI.
            gone[at] = true;
            ctx.set_ruri(&next.uri);
        }
    }
    finish(ctx, routes, &gone, params);
    notify(ctx);
    DRIVEN
}

/// Prepares the request for a strict router: its URI becomes the request URI, the target goes to the
/// end of the route set (RFC 3261 §16.6 step 6).
fn to_strict(ctx: &mut Ctx, router: &[u8]) {
    let line = [b"Route: <", ctx.ruri(), b">\r\n"].concat();
    let end = ctx
        .msg
        .headers_named(HeaderName::Route)
        .last()
        .map(|h| h.whole.to());
    if let Some(end) = end {
        ctx.edits.insert_after(end, &line, HeaderName::Route);
    }
    ctx.set_ruri(router);
    ctx.dst_uri = None;
}

fn finish(ctx: &mut Ctx, routes: &[Hop], gone: &[bool], params: Option<Vec<u8>>) {
    remove(ctx, gone);
    let next = gone.iter().position(|g| !g).map(|i| routes[i].uri.clone());
    *ctx.ext::<Followed>() = Followed {
        params,
        next,
        done: true,
    };
}

fn notify(ctx: &mut Ctx) {
    let Some(params) = routed_params(ctx).map(<[u8]>::to_vec) else {
        return;
    };
    for f in LOOSE_ROUTED.list() {
        f(ctx, &params);
    }
}

/// Removes the Routes marked, header by header: a header that keeps some is written anew with them.
fn remove(ctx: &mut Ctx, gone: &[bool]) {
    let headers: Vec<_> = ctx.msg.headers_named(HeaderName::Route).copied().collect();
    let spans: Vec<_> = ctx.msg.header_bodies(HeaderName::Route).collect();
    for h in headers {
        let here = || spans.iter().zip(gone).filter(|(s, _)| h.body.contains(**s));
        if here().all(|(_, g)| !g) {
            continue;
        }
        let kept: Vec<&[u8]> = here()
            .filter(|(_, g)| !**g)
            .map(|(s, _)| ctx.msg.slice(*s))
            .collect();
        if kept.is_empty() {
            ctx.edits.remove(h.whole);
        } else {
            let body = kept.join(&b", "[..]);
            ctx.edits.replace(h.body, &body);
        }
    }
}

/// Compiled expressions, for the life of the process; a script has few.
fn compiled(text: &str) -> Result<Rc<Regex>, ScriptError> {
    const MOST: usize = 256;
    thread_local!(static CACHE: RefCell<HashMap<String, Rc<Regex>>> = RefCell::default());
    CACHE.with_borrow_mut(|c| {
        if let Some(r) = c.get(text) {
            return Ok(r.clone());
        }
        let re = RegexBuilder::new(text)
            .case_insensitive(true)
            .build()
            .map_err(|e| ScriptError(format!("\"{text}\" is no regular expression: {e}")))?;
        if c.len() >= MOST {
            c.clear();
        }
        let re = Rc::new(re);
        c.insert(text.to_string(), re.clone());
        Ok(re)
    })
}
