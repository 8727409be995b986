//! Requests made here: other modules' (dialog, registrations, notifications) and the operator's.
//!
//! A local request is a transaction without UAS side. Its bytes, without Via, take the place of the
//! received request, so relaying, timers and failure routes work on it as on any other. Who wants
//! to know its end names a module and leaves data; the module's function is called in whatever
//! process finds the end.

use crate::attrs::{self, Attr};
use crate::events::{self, News};
use crate::mine::mine;
use crate::params;
use crate::promise::promise;
use crate::relay::{self, Target};
use crate::revive;
use crate::state::flag;
use crate::stats;
use crate::store::{LegPiece, Open, Piece};
use crate::upstream;
use olelo_core::hooks::Hook;
use olelo_core::mem::NodeId;
use olelo_core::net::{Dst, SocketId, reply as core_reply, target};
use olelo_core::route::ctx::Ctx;
use olelo_core::timer::monotonic_ms;
use olelo_sip::build::{self, LocalRequest};
use olelo_sip::{HeaderName, Message, Method};
use std::hash::{BuildHasher, Hasher};

/// A request to be made. Values without header names.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request<'a> {
    /// Method.
    pub method: &'a str,
    /// Request URI.
    pub ruri: &'a [u8],
    /// From; a tag is added where it has none.
    pub from: &'a [u8],
    /// To; the request URI where none is given.
    pub to: &'a [u8],
    /// Call-ID; one is made where none is given.
    pub call_id: &'a [u8],
    /// CSeq number; 10 where 0.
    pub cseq: u32,
    /// Whole header lines.
    pub headers: &'a [u8],
    /// Body; its Content-Type belongs to `headers`.
    pub body: &'a [u8],
    /// Where to send, if not to the request URI.
    pub next_hop: &'a [u8],
    /// Socket to send from.
    pub socket: Option<SocketId>,
    /// Leave the ACK of a 2xx to somebody else.
    pub no_ack: bool,
    /// Who is told of the end: the name given to [`on_done`], and data for it.
    pub notify: Option<(&'a str, &'a [u8])>,
}

/// The end of a request made here.
#[derive(Debug, Clone, Copy)]
pub struct Done<'a> {
    /// Its transaction.
    pub node: NodeId,
    /// Final status; 408 where nothing came.
    pub code: u16,
    /// The reply, without its Via; empty where the status was made here.
    pub reply: &'a [u8],
    /// The data left with the request.
    pub data: &'a [u8],
}

/// Why no request was sent.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UacError {
    /// It makes no message.
    #[error("a {0} to \"{1}\" makes no SIP message; are From and To values complete?")]
    Malformed(String, String),
    /// It can't be sent.
    #[error("a {0} to \"{1}\" can't be sent: {2}")]
    Unsent(String, String, String),
}

/// Who hears of the end of a request: name, function.
type Listener = (&'static str, fn(&Done<'_>));

static LISTENERS: Hook<Listener> = Hook::new();

/// Names a function that hears of the end of requests; main, in a module's `init`.
pub fn on_done(name: &'static str, f: fn(&Done<'_>)) {
    LISTENERS.add((name, f));
}

/// Makes and sends a request.
pub fn request(r: &Request<'_>) -> Result<NodeId, UacError> {
    let shown = || String::from_utf8_lossy(r.ruri).into_owned();
    let mut ctx = revive::take();
    let filled = fill(&mut ctx, r);
    let result = if filled {
        send(&mut ctx, r).map_err(|why| UacError::Unsent(r.method.into(), shown(), why))
    } else {
        Err(UacError::Malformed(r.method.into(), shown()))
    };
    revive::give_back(ctx);
    result
}

/// A text that no other will be: for Call-ID and tags.
pub fn unique() -> String {
    let mut h = std::hash::RandomState::new().build_hasher();
    h.write_u64(monotonic_ms());
    h.write_u32(std::process::id());
    let a = h.finish();
    format!("{a:016x}-{:x}", std::process::id())
}

fn fill(ctx: &mut Ctx, r: &Request<'_>) -> bool {
    ctx.reset();
    let from = match Message::from_bytes(&[b"X x SIP/2.0\r\nFrom: ", r.from, b"\r\n\r\n"].concat())
    {
        Ok(m) if m.from_tag().is_some() => r.from.to_vec(),
        _ => [r.from, b";tag=", unique().as_bytes()].concat(),
    };
    let to = match r.to {
        b"" => [b"<", r.ruri, b">"].concat(),
        to => to.to_vec(),
    };
    let call_id = match r.call_id {
        b"" => unique().into_bytes(),
        id => id.to_vec(),
    };
    let mut headers = r.headers.to_vec();
    if let Some(ua) = olelo_core::server().config.user_agent_header.as_deref() {
        headers.extend_from_slice(ua.as_bytes());
        headers.extend_from_slice(b"\r\n");
    }
    let request = LocalRequest {
        method: r.method.as_bytes(),
        ruri: r.ruri,
        to: &to,
        from: &from,
        call_id: &call_id,
        cseq: if r.cseq == 0 { 10 } else { r.cseq },
        via: b"",
        headers: &headers,
        body: r.body,
    };
    build::local_request(&request, ctx.msg.buf_mut());
    let sound = ctx.msg.parse().is_ok() && ctx.msg.from_tag().is_some() && ctx.msg.to().is_some();
    ctx.local = true;
    ctx.dst_uri = (!r.next_hop.is_empty()).then(|| r.next_hop.to_vec());
    ctx.send_socket = r.socket;
    ctx.received_ms = monotonic_ms();
    sound
}

fn send(ctx: &mut Ctx, r: &Request<'_>) -> Result<NodeId, String> {
    upstream::event(ctx, params::EVENT_CALLBACK.get(), "tm:local-request");
    if r.no_ack {
        mine(ctx).set_flags |= flag::NO_AUTO_ACK;
    }
    if let Some((who, data)) = r.notify {
        mine(ctx).notify = [who.as_bytes(), b"\0", data].concat();
    }
    let to = Target {
        no_100: true,
        no_internal_reply: true,
        ..Target::default()
    };
    let rc = relay::relay_request(ctx, &to);
    let node = mine(ctx).node;
    let why = olelo_sl::last_error(ctx).1;
    let Some(id) = node else {
        return Err(why.into());
    };
    if let Some(mut open) = Open::node(id) {
        open.set_mark(None);
        if rc > 0 {
            open.leave();
        } else {
            open.tx.release(monotonic_ms());
            open.commit();
        }
    }
    if rc > 0 { Ok(id) } else { Err(why.into()) }
}

/// A request made here has a final reply, maybe not its first. `reply` has it, where one came.
pub(crate) fn done(id: NodeId, leg: usize, reply: Option<&mut Ctx>) {
    let Some(mut open) = Open::node(id) else {
        return;
    };
    if open.tx.head.has(flag::REPLICA) {
        return;
    }
    let _promise = promise(id);
    let head = open.tx.head;
    let code = open.tx.legs.get(leg).map_or(408, |l| l.code);
    let notify = attrs::get(open.attrs(), Attr::Notify).map(<[u8]>::to_vec);
    let kept = open.leg_piece(leg, LegPiece::Reply).map(<[u8]>::to_vec);
    let ack =
        (head.has(flag::INVITE) && (200..300).contains(&code) && !head.has(flag::NO_AUTO_ACK))
            .then(|| reply.as_ref().and_then(|r| ack_for_2xx(&open, leg, r)))
            .flatten();
    let first = notify.is_some();
    if first {
        let rest = attrs::with(open.attrs(), Attr::Notify, b"");
        open.set(Piece::Attrs, &rest);
        open.commit();
    } else {
        open.leave();
    }
    if let Some((dst, bytes)) = ack {
        crate::act::down(&dst, &bytes);
        revive::with(id, |ctx| {
            upstream::event(ctx, params::CB_LOCAL_ACK.get(), "tm:local-ack-sent");
        });
    }
    let bytes = kept.unwrap_or_default();
    if let Some(text) = notify
        && let Some(at) = text.iter().position(|b| *b == 0)
    {
        let done = Done {
            node: id,
            code,
            reply: &bytes,
            data: &text[at + 1..],
        };
        let who = &text[..at];
        for (_, f) in LISTENERS.list().iter().filter(|(n, _)| n.as_bytes() == who) {
            f(&done);
        }
    }
    if first || !head.has(flag::INVITE) {
        stats::ended(code);
    }
    let news = News {
        what: events::LOCAL_COMPLETED,
        code,
        leg: Some(leg),
        reply: &bytes,
        made_here: bytes.is_empty(),
    };
    events::tell(id, &head, &news, None);
}

/// The ACK for a 2xx to our INVITE (RFC 3261 §13.2.2.4), and where it goes.
fn ack_for_2xx(open: &Open, leg: usize, reply: &Ctx) -> Option<(Dst, Vec<u8>)> {
    let request = Message::from_bytes(open.piece(Piece::Request)?).ok()?;
    let msg = &reply.msg;
    let routes = route_set(&request, msg);
    let contact = msg
        .contacts()
        .ok()
        .and_then(|c| c.list().first().map(|c| msg.slice(c.addr.uri).to_vec()))
        .unwrap_or_else(|| request.ruri().to_vec());
    let sent_to = open.tx.legs.get(leg)?.to.dst();
    let next = first_uri(&routes).unwrap_or_else(|| contact.clone());
    let dst = match params::LOCAL_ACK_MODE.get() {
        1 => sent_to,
        2 => Dst {
            addr: reply.rcv.src,
            proto: reply.rcv.proto,
            socket: reply.rcv.socket,
            conn: reply.rcv.conn,
            flags: Default::default(),
        },
        _ => target::resolve(&next, Some(sent_to.socket), Some(sent_to.socket)).ok()?,
    };
    let via = core_reply::via_value(reply, &dst, &format!("z9hG4bK{}", unique()));
    let value = |m: &Message, n| m.header_body(n).unwrap_or_default().to_vec();
    let ack = LocalRequest {
        method: Method::Ack.as_bytes(),
        ruri: &contact,
        to: &value(msg, HeaderName::To),
        from: &value(&request, HeaderName::From),
        call_id: request.call_id()?,
        cseq: request.cseq()?.number,
        via: &via,
        headers: &routes,
        body: b"",
    };
    let mut out = Vec::with_capacity(512);
    build::local_request(&ack, &mut out);
    Some((dst, out))
}

/// The Route lines of the dialog: Record-Route of the reply in reverse, else those of the request.
fn route_set(request: &Message, reply: &Message) -> Vec<u8> {
    let mut values: Vec<&[u8]> = reply
        .header_bodies(HeaderName::RecordRoute)
        .map(|s| reply.slice(s))
        .collect();
    values.reverse();
    if values.is_empty() {
        values = request
            .header_bodies(HeaderName::Route)
            .map(|s| request.slice(s))
            .collect();
    }
    values
        .iter()
        .flat_map(|v| [b"Route: ", *v, b"\r\n"].concat())
        .collect()
}

fn first_uri(routes: &[u8]) -> Option<Vec<u8>> {
    let open = routes.iter().position(|b| *b == b'<')?;
    let len = routes[open..].iter().position(|b| *b == b'>')?;
    Some(routes[open + 1..open + len].to_vec())
}
