//! Replies: where they go (RFC 3261 §18.2.2, RFC 3581 §4), stateless ones made here, and stateless
//! forwarding of those that arrive.

pub use super::via::value as via_value;
use super::{Dst, Proto, SocketId, via as own_via};
use crate::hooks;
use crate::route::ctx::Ctx;
use crate::route::run::{FWD_REPLIES, FWD_REQUESTS};
use olelo_sip::build::{self, ForwardOptions, ReplyOptions, ViaFixup};
use olelo_sip::{Rport, Via};
use std::cell::Cell;
use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};

/// Owned text of a [`ViaFixup`]: what we add to the sender's Via.
#[derive(Debug, Default, Clone)]
pub struct Fixup {
    received: Option<IpText>,
    rport: Option<u16>,
    params: Vec<u8>,
}

/// An IP address as text, without a place on the heap.
#[derive(Debug, Clone)]
struct IpText {
    bytes: [u8; 46],
    len: u8,
}

impl IpText {
    fn of(ip: IpAddr) -> IpText {
        let mut text = IpText {
            bytes: [0; 46],
            len: 0,
        };
        match ip {
            IpAddr::V4(v4) => {
                for (i, n) in v4.octets().into_iter().enumerate() {
                    if i > 0 {
                        text.push(b'.');
                    }
                    if n >= 100 {
                        text.push(b'0' + n / 100);
                    }
                    if n >= 10 {
                        text.push(b'0' + n / 10 % 10);
                    }
                    text.push(b'0' + n % 10);
                }
            }
            IpAddr::V6(v6) => v6.to_string().bytes().for_each(|b| text.push(b)),
        }
        text
    }

    fn push(&mut self, b: u8) {
        if let Some(at) = self.bytes.get_mut(usize::from(self.len)) {
            *at = b;
            self.len += 1;
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl Fixup {
    /// For the message in `ctx`: `received` where the Via's host isn't the source address or the
    /// sender wrote one of its own, `rport` where asked for by the sender or the script.
    pub fn of(ctx: &Ctx) -> Fixup {
        let Some(via) = ctx.msg.via(0) else {
            return Fixup::default();
        };
        let wants_rport = !matches!(via.rport, Rport::Absent) || ctx.force_rport;
        let src = ctx.rcv.src.ip();
        let same = olelo_sip::uri::host_ip(via.host(ctx.msg.buf())) == Some(src);
        // What the sender says it was received from is not to be believed: replies would go there.
        let claimed = via.received_whole.is_some();
        Fixup {
            received: (!same || wants_rport || claimed).then(|| IpText::of(src)),
            rport: wants_rport.then(|| ctx.rcv.src.port()),
            params: own_via::reply_params(ctx),
        }
    }

    /// As the message builder takes it.
    pub fn as_via(&self) -> ViaFixup<'_> {
        ViaFixup {
            received: self.received.as_ref().map(IpText::as_bytes),
            rport: self.rport,
            params: &self.params,
        }
    }
}

/// Where a reply to the request in `ctx` goes.
pub fn destination(ctx: &Ctx) -> Option<Dst> {
    let via = ctx.msg.via(0)?;
    let rcv = &ctx.rcv;
    if rcv.proto.is_reliable() {
        return Some(Dst {
            proto: rcv.proto,
            addr: rcv.src,
            socket: rcv.socket,
            conn: rcv.conn,
            flags: super::wishes(ctx).reply,
        });
    }
    let buf = ctx.msg.buf();
    let port = if !matches!(via.rport, Rport::Absent) || ctx.force_rport {
        rcv.src.port()
    } else {
        via.port.filter(|p| *p != 0).unwrap_or(5060)
    };
    let maddr = via.maddr.and_then(|m| olelo_sip::uri::host_ip(m.of(buf)));
    let addr = SocketAddr::new(maddr.unwrap_or_else(|| rcv.src.ip()), port);
    Some(Dst {
        proto: rcv.proto,
        addr,
        socket: rcv.socket,
        conn: None,
        flags: super::wishes(ctx).reply,
    })
}

/// Where a received reply goes on to: the Via below the topmost.
pub fn next_destination(ctx: &Ctx) -> Option<Dst> {
    via_destination(ctx.msg.buf(), ctx.msg.via(1)?, Some(ctx.rcv.socket))
}

/// The address that a Via in `buf` asks replies to be sent to.
pub fn via_destination(buf: &[u8], via: &Via, came_by: Option<SocketId>) -> Option<Dst> {
    let proto = Proto::from_name(via.transport.as_str().as_bytes())?;
    let received = via
        .received
        .and_then(|r| olelo_sip::uri::host_ip(r.of(buf)));
    let maddr = via.maddr.and_then(|m| olelo_sip::uri::host_ip(m.of(buf)));
    let ip = match maddr.or(received) {
        Some(ip) => ip,
        None => super::target::resolve_host(std::str::from_utf8(via.host(buf)).ok()?, proto)?,
    };
    let port = match via.rport {
        Rport::Port(p) => p,
        _ => via.port.filter(|p| *p != 0).unwrap_or(proto.default_port()),
    };
    super::target::to(proto, SocketAddr::new(ip, port), None, came_by).ok()
}

/// The tag we put on To of replies without state: the same for retransmissions of a request, and
/// recognised again in the ACK.
pub fn stateless_tag(ctx: &Ctx) -> String {
    let mut h = std::hash::DefaultHasher::new();
    h.write_u64(crate::proc::secret());
    if let Some(v) = ctx.msg.via(0).and_then(|v| v.branch(ctx.msg.buf())) {
        h.write(v);
    }
    h.write(ctx.msg.call_id().unwrap_or_default());
    h.write(ctx.msg.from_tag().unwrap_or_default());
    let a = h.finish();
    h.write_u8(1);
    let mut tag = String::with_capacity(27);
    tag.push_str("ol-");
    push_hex(&mut tag, a, 16);
    push_hex(&mut tag, h.finish(), 8);
    tag
}

/// The last `digits` hexadecimal digits of `n`.
pub fn push_hex(out: &mut String, n: u64, digits: u32) {
    for i in (0..digits).rev() {
        let d = (n >> (4 * i)) as u8 & 15;
        out.push(char::from(if d < 10 { b'0' + d } else { b'a' + d - 10 }));
    }
}

thread_local! {
    /// The buffer that messages are built in, between two of them.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Largest buffer that is kept for the next message, bytes.
const LARGEST_SPARE: usize = 16 * 1024;

/// An empty buffer to build a message in; [`give_back`] keeps it for the next.
pub fn take_buffer() -> Vec<u8> {
    let mut b = SPARE.take();
    b.clear();
    b
}

/// Keeps a buffer of [`take_buffer`].
pub fn give_back(buffer: Vec<u8>) {
    if buffer.capacity() <= LARGEST_SPARE {
        SPARE.set(buffer);
    }
}

/// The value of our Server header.
pub fn server_value() -> Option<&'static [u8]> {
    let line = crate::server().config.server_header.as_deref()?;
    Some(
        line.strip_prefix("Server:")
            .unwrap_or(line)
            .trim()
            .as_bytes(),
    )
}

/// Header lines that the script asked to be added to replies made here (`append_to_reply`).
#[derive(Default)]
pub struct ReplyHeaders(pub Vec<u8>);

/// Content-Type and body that the script asked replies made here to have (`set_reply_body`).
#[derive(Default)]
pub struct ReplyBody(pub Option<(Vec<u8>, Vec<u8>)>);

/// Replies to the request in `ctx` without keeping state. `body` is (Content-Type, bytes). True if
/// it was sent.
pub fn stateless(ctx: &mut Ctx, code: u16, reason: &str, body: Option<(&[u8], &[u8])>) -> bool {
    let Some(dst) = destination(ctx) else {
        return false;
    };
    let fix = Fixup::of(ctx);
    let tag = stateless_tag(ctx);
    let extra = ctx
        .ext_mut::<ReplyHeaders>()
        .map(|h| std::mem::take(&mut h.0))
        .unwrap_or_default();
    let asked = ctx.ext_mut::<ReplyBody>().and_then(|b| b.0.take());
    let body = body.or(asked.as_ref().map(|(t, b)| (t.as_slice(), b.as_slice())));
    let mut out = take_buffer();
    let options = ReplyOptions {
        to_tag: (code > 100).then_some(tag.as_bytes()),
        extra_headers: &extra,
        body,
        top_via: fix.as_via(),
        server: server_value(),
    };
    build::reply(&ctx.msg, code, reason.as_bytes(), &options, &mut out);
    hooks::LOCAL_REPLY
        .list()
        .iter()
        .for_each(|h| h(ctx, code, reason, &out));
    let sent = send(ctx, &dst, &out);
    give_back(out);
    sent
}

/// Sends a reply, through `onsend_route` where that is asked for.
pub fn send(ctx: &mut Ctx, dst: &Dst, bytes: &[u8]) -> bool {
    if crate::server().config.onsend_route_reply && !crate::route::run::onsend(ctx, bytes, dst) {
        return false;
    }
    match super::send(dst, bytes) {
        Ok(()) => true,
        Err(e) => {
            crate::error!("core", "reply lost: {e}");
            false
        }
    }
}

/// Forwards the reply in `ctx` without state.
pub fn forward(ctx: &mut Ctx) -> bool {
    let Some(dst) = next_destination(ctx) else {
        crate::info!(
            "core",
            "a reply from {} has no second Via to go to; it is dropped",
            ctx.rcv.src
        );
        return false;
    };
    let mut out = take_buffer();
    build::forward_reply(&ctx.msg, &ctx.edits, dst.proto.is_reliable(), &mut out);
    FWD_REPLIES.inc();
    let sent = send(ctx, &dst, &out);
    give_back(out);
    sent
}

/// Forwards the request in `ctx` to `dst` without state. True if it was sent.
pub fn forward_request(ctx: &mut Ctx, dst: &Dst) -> bool {
    forward_branch(ctx, dst, 0)
}

/// As [`forward_request`], with this number at the end of the Via's branch: for one of several
/// copies.
pub fn forward_branch(ctx: &mut Ctx, dst: &Dst, number: u32) -> bool {
    hooks::FORWARD.list().iter().for_each(|h| h(ctx, dst));
    let out = forwarded(ctx, dst, number);
    let (out, dst) = match super::target::for_size(ctx, dst, out.len()) {
        Some(other) => (forwarded(ctx, &other, number), other),
        None => (out, *dst),
    };
    if !crate::route::run::onsend(ctx, &out, &dst) {
        return false;
    }
    match super::send(&dst, &out) {
        Ok(()) => {
            FWD_REQUESTS.inc();
            give_back(out);
            true
        }
        Err(e) => {
            crate::error!("core", "request lost: {e}");
            false
        }
    }
}

/// The request in `ctx` as it is sent to `dst` without state.
fn forwarded(ctx: &Ctx, dst: &Dst, number: u32) -> Vec<u8> {
    let mut branch = String::with_capacity(32);
    branch.push_str("z9hG4bK");
    branch.push_str(&stateless_tag(ctx)[3..19]);
    branch.push('.');
    branch.push_str(&number.to_string());
    let via = own_via::value(ctx, dst, &branch);
    let fix = Fixup::of(ctx);
    let routes = ctx
        .path
        .as_ref()
        .map(|p| [b"Route: ", p.as_slice(), b"\r\n"].concat())
        .unwrap_or_default();
    let options = ForwardOptions {
        top_via: fix.as_via(),
        routes: &routes,
        need_content_length: dst.proto.is_reliable(),
        ..ForwardOptions::default()
    };
    let mut out = take_buffer();
    build::forward_request(&ctx.msg, &ctx.edits, ctx.ruri(), &via, &options, &mut out);
    out
}
