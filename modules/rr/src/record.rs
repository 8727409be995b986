//! Record-Route: our URI in the dialog's route set.
//!
//! Which socket a request leaves by is known when it is sent, and may differ from branch to branch.
//! So the lines are written with what is known when the script asks, and [`before_send`] rewrites
//! them for each destination: one line, or two with `r2=on` where the sockets differ. Everything
//! needed for that (user, parameters) is read back from the line itself.

use crate::loose::{self, Direction};
use crate::{
    ADD_USERNAME, APPEND_FROMTAG, CUSTOM_USER_AVP, ENABLE_DOUBLE_RR, ENABLE_FULL_LR, IGNORE_SIPS,
    MISMATCH_WARNING, SOCKNAME_MODE,
};
use olelo_core::net::socket::Listen;
use olelo_core::net::{Dst, Proto, SocketId, target};
use olelo_core::route::ctx::Ctx;
use olelo_sip::{HeaderName, Scheme, Span, Uri};

/// Parameters that scripts added before the Record-Route was made.
#[derive(Default)]
struct Pending(Vec<u8>);

/// Adds Record-Route with these extra parameters. 1, or -1 where there is one of ours already.
pub fn record_route(ctx: &mut Ctx, params: &[u8]) -> i64 {
    if already(ctx) {
        olelo_core::warn!("rr", "record_route: the request is record-routed already");
        return -1;
    }
    let spec = Line {
        scheme: scheme(ctx),
        user: user(ctx),
        params: all_params(ctx, params),
    };
    let (inbound, outbound) = (ctx.rcv.socket, guess_outbound(ctx));
    let lines = spec.lines(inbound, outbound, None);
    write(ctx, &lines);
    1
}

/// Record-Route with an address of the operator's in place of the socket's.
pub fn advertised(ctx: &mut Ctx, address: &[u8]) -> i64 {
    if already(ctx) || address.is_empty() {
        return -1;
    }
    let spec = Line {
        scheme: scheme(ctx),
        user: user(ctx),
        params: all_params(ctx, b""),
    };
    let lines = spec.lines(ctx.rcv.socket, guess_outbound(ctx), Some(address));
    write(ctx, &lines);
    1
}

/// Record-Route with `host[:port][;params]` as given; two where `inbound` is given.
pub fn preset(ctx: &mut Ctx, outbound: &[u8], inbound: Option<&[u8]>) -> i64 {
    if already(ctx) {
        return -1;
    }
    let (scheme, user, params) = (scheme(ctx), user(ctx), all_params(ctx, b""));
    let mut lines = Vec::new();
    for address in [Some(outbound), inbound].into_iter().flatten() {
        let Ok(address) = olelo_core::pv::format::expand(ctx, address) else {
            return -1;
        };
        warn_of_mismatch(&address);
        lines.extend_from_slice(b"Record-Route: <");
        lines.extend_from_slice(scheme);
        push_user(&mut lines, &user);
        lines.extend_from_slice(&address);
        lines.extend_from_slice(lr());
        lines.extend_from_slice(&params);
        lines.extend_from_slice(b">\r\n");
    }
    write(ctx, &lines);
    1
}

/// Adds `;name=value` to our Record-Route, made or yet to be made. 1, or -1 for no parameter.
pub fn add_rr_param(ctx: &mut Ctx, param: &[u8]) -> i64 {
    if param.is_empty() || param.iter().any(|b| matches!(b, b'\r' | b'\n' | b'>')) {
        return -1;
    }
    let Some(lines) = ctx.edits.replacement(place(ctx)).filter(|l| !l.is_empty()) else {
        ctx.ext::<Pending>().0.extend_from_slice(param);
        return 1;
    };
    let mut with = Vec::with_capacity(lines.len() + 2 * param.len());
    for b in lines {
        if *b == b'>' {
            with.extend_from_slice(param);
        }
        with.push(*b);
    }
    write(ctx, &with);
    1
}

/// Takes back what [`record_route`] and its like added.
pub fn remove(ctx: &mut Ctx) -> i64 {
    if already(ctx) {
        write(ctx, b"");
    }
    1
}

/// Rewrites our Record-Route for the socket that the request leaves by. Lines with an address of the
/// operator's stay as they are.
pub fn before_send(ctx: &mut Ctx, dst: &Dst) {
    let at = place(ctx);
    let Some(old) = ctx.edits.replacement(at).filter(|l| !l.is_empty()) else {
        return;
    };
    let Some(spec) = Line::read_back(old) else {
        return;
    };
    let new = spec.lines(ctx.rcv.socket, dst.socket, None);
    if new != old {
        write(ctx, &new);
    }
}

/// One Record-Route of ours, without its address.
struct Line {
    scheme: &'static [u8],
    user: Vec<u8>,
    /// What follows `;lr`.
    params: Vec<u8>,
}

impl Line {
    /// One line, or two where the sockets differ: the one it leaves by first (RFC 5658 §5).
    fn lines(&self, inbound: SocketId, outbound: SocketId, host: Option<&[u8]>) -> Vec<u8> {
        let sockets = &olelo_core::server().sockets;
        let (Some(i), Some(o)) = (sockets.get(inbound), sockets.get(outbound)) else {
            return self.line(None, host, false);
        };
        let differ = match host {
            Some(_) => i.proto != o.proto,
            None => i.public() != o.public() || i.proto != o.proto,
        };
        match ENABLE_DOUBLE_RR.get() {
            0 => self.line(Some(i), host, false),
            1 if !differ => self.line(Some(i), host, false),
            _ => [
                self.line(Some(o), host, true),
                self.line(Some(i), host, true),
            ]
            .concat(),
        }
    }

    fn line(&self, l: Option<&Listen>, host: Option<&[u8]>, double: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        out.extend_from_slice(b"Record-Route: <");
        out.extend_from_slice(self.scheme);
        push_user(&mut out, &self.user);
        match (host, l) {
            (Some(h), _) => out.extend_from_slice(h),
            (None, Some(l)) => {
                let (h, p) = l.public();
                out.extend_from_slice(h.as_bytes());
                if p != l.proto.default_port() {
                    out.push(b':');
                    olelo_sip::push_number(&mut out, u64::from(p));
                }
            }
            (None, None) => out.extend_from_slice(b"127.0.0.1"),
        }
        if let Some(l) = l {
            if l.proto != Proto::Udp || ENABLE_DOUBLE_RR.get() == 2 {
                out.extend_from_slice(format!(";transport={}", l.proto.name()).as_bytes());
            }
            if let (true, Some(n)) = (SOCKNAME_MODE.is_on(), &l.name) {
                out.extend_from_slice(format!(";sn={n}").as_bytes());
            }
        }
        if double {
            out.extend_from_slice(b";r2=on");
        }
        out.extend_from_slice(lr());
        out.extend_from_slice(&self.params);
        out.extend_from_slice(b">\r\n");
        out
    }

    /// What the first of our own lines says; `None` where the address in it is no socket's.
    fn read_back(lines: &[u8]) -> Option<Line> {
        let open = lines.iter().position(|b| *b == b'<')? + 1;
        let close = open + lines.get(open..)?.iter().position(|b| *b == b'>')?;
        let text = lines.get(open..close)?;
        let uri = Uri::parse(text).ok()?;
        let proto = proto_of(&uri);
        let own = |l: &Listen| {
            let (h, p) = l.public();
            l.proto == proto
                && h.as_bytes() == uri.host
                && p == uri.port.unwrap_or(proto.default_port())
        };
        if !olelo_core::server().sockets.0.iter().any(own) {
            return None;
        }
        let at = find(text, lr())? + lr().len();
        Some(Line {
            scheme: if uri.scheme == Scheme::Sips {
                b"sips:"
            } else {
                b"sip:"
            },
            user: uri.user.unwrap_or_default().to_vec(),
            params: text.get(at..)?.to_vec(),
        })
    }
}

/// The transport a URI means.
pub(crate) fn proto_of(uri: &Uri<'_>) -> Proto {
    uri.transport()
        .and_then(|t| Proto::from_name(t.as_str().as_bytes()))
        .unwrap_or(if uri.scheme == Scheme::Sips {
            Proto::Tls
        } else {
            Proto::Udp
        })
}

fn lr() -> &'static [u8] {
    if ENABLE_FULL_LR.is_on() {
        b";lr=on"
    } else {
        b";lr"
    }
}

fn push_user(out: &mut Vec<u8>, user: &[u8]) {
    if !user.is_empty() {
        out.extend_from_slice(user);
        out.push(b'@');
    }
}

/// The empty part of the message in whose place our lines stand: before the first Record-Route, else
/// behind the last Via.
fn place(ctx: &Ctx) -> Span {
    let msg = &ctx.msg;
    let at = match msg.header(HeaderName::RecordRoute) {
        Some(h) => h.whole.at(),
        None => msg
            .headers_named(HeaderName::Via)
            .last()
            .map_or(msg.headers_start(), |h| h.whole.to()),
    };
    Span::new(at, at)
}

fn already(ctx: &Ctx) -> bool {
    ctx.edits
        .replacement(place(ctx))
        .is_some_and(|l| !l.is_empty())
}

fn write(ctx: &mut Ctx, lines: &[u8]) {
    let at = place(ctx);
    ctx.edits.replace(at, lines);
}

/// The socket the request will leave by, where that is known without asking the DNS.
fn guess_outbound(ctx: &Ctx) -> SocketId {
    if let Some(s) = ctx.send_socket {
        return s;
    }
    let numeric = Uri::parse(ctx.next_hop()).is_ok_and(|u| u.host_ip().is_some());
    if !numeric {
        return ctx.rcv.socket;
    }
    target::of_request(ctx).map_or(ctx.rcv.socket, |d| d.socket)
}

fn scheme(ctx: &Ctx) -> &'static [u8] {
    let sips = ctx
        .ruri()
        .get(..5)
        .is_some_and(|s| s.eq_ignore_ascii_case(b"sips:"));
    if sips && !IGNORE_SIPS.is_on() {
        b"sips:"
    } else {
        b"sip:"
    }
}

fn user(ctx: &Ctx) -> Vec<u8> {
    if !ADD_USERNAME.is_on() {
        return Vec::new();
    }
    if let Some(avp) = CUSTOM_USER_AVP.get()
        && let Some(v) = ctx.pv(avp).as_bytes()
    {
        return olelo_sip::uri::escape_user(&v).into_owned();
    }
    let uri = Uri::parse(ctx.ruri()).ok();
    uri.and_then(|u| u.user_name()).unwrap_or_default().to_vec()
}

/// `ftag`, what was added before, and these.
fn all_params(ctx: &mut Ctx, more: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if APPEND_FROMTAG.is_on() {
        // A request inside the dialog is record-routed too, some against the dialog's direction.
        let tag = match loose::direction(ctx) {
            Direction::Upstream => ctx.msg.to_tag(),
            Direction::Downstream => ctx.msg.from_tag(),
        };
        if let Some(tag) = tag {
            out.extend_from_slice(b";ftag=");
            out.extend_from_slice(tag);
        }
    }
    out.extend(std::mem::take(&mut ctx.ext::<Pending>().0));
    out.extend_from_slice(more);
    out
}

fn warn_of_mismatch(address: &[u8]) {
    if !MISMATCH_WARNING.is_on() {
        return;
    }
    let text = [b"sip:", address].concat();
    let Ok(uri) = Uri::parse(&text) else { return };
    if !olelo_core::net::own::is_myself(uri.host, uri.port.unwrap_or(0), None) {
        olelo_core::warn!(
            "rr",
            "the preset Record-Route \"{}\" names no socket of ours: later requests of the dialog won't come here, unless an alias or NAT leads them",
            String::from_utf8_lossy(address)
        );
    }
}

fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|w| w == needle)
}
