//! A REGISTER request as the registrar sees it: what it asks for, checked before anything is stored.
//!
//! Pure: reads the message and the parameters, changes nothing. Each reason to refuse is a
//! [`Refusal`] with the reply it causes.

use crate::params::*;
use olelo_core::net::SocketId;
use olelo_core::route::ctx::Ctx;
use olelo_sip::{HeaderName, Method, MethodSet, Uri};

/// Why a registration is refused; each has its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The message lacks To, Call-ID or CSeq.
    #[error("Message parse error")]
    BadMessage,
    /// A Contact cannot be read.
    #[error("Contact parse error")]
    BadContact,
    /// `*` with an expiry (RFC 3261 §10.2.2).
    #[error("* used in contact and expires is not zero")]
    StarExpires,
    /// `*` beside other contacts.
    #[error("* used in contact and more than 1 contact")]
    StarAndMore,
    /// An address is longer than `contact_max_size`.
    #[error("Contact/received too long")]
    TooLong,
    /// No address of record.
    #[error("Error while extracting AOR")]
    BadAor,
    /// The CSeq is older than what is stored (RFC 3261 §10.3 step 7).
    #[error("Invalid CSeq number")]
    OldCSeq,
    /// `max_contacts`.
    #[error("Too many registered contacts")]
    TooMany,
    /// Shorter than `min_expires`, where `min_expires_mode` says to refuse.
    #[error("Interval too brief")]
    TooBrief,
    /// A Path, and the client does not say it knows them (RFC 3327 §5.3).
    #[error("No support for found Path indicated")]
    PathUnsupported,
    /// Outbound is required by the client and not offered here.
    #[error("No support for Outbound on server")]
    OutboundUnsupported,
    /// Outbound is required here and not offered by the client.
    #[error("No support for Outbound indicated")]
    OutboundRequired,
    /// A `reg-id` without instance, or several with an expiry (RFC 5626 §6).
    #[error("Multiple Contact headers with reg-id")]
    ManyFlows,
    /// The first hop did not say it keeps the flow (RFC 5626 §6).
    #[error("First hop does not support Outbound")]
    FirstHopOutbound,
    /// There is no shared memory left for another contact.
    #[error("No memory for another contact")]
    NoMemory,
    /// Nothing could be stored.
    #[error("Server Internal Error")]
    Internal,
}

impl Refusal {
    /// Status and reason of the reply.
    pub fn status(self) -> (u16, &'static str) {
        match self {
            Refusal::TooMany | Refusal::NoMemory => (503, "Service Unavailable"),
            Refusal::TooBrief => (423, "Interval Too Brief"),
            Refusal::PathUnsupported | Refusal::OutboundUnsupported => (420, "Bad Extension"),
            Refusal::OutboundRequired => (421, "Extension Required"),
            Refusal::FirstHopOutbound => (439, "First Hop Lacks Outbound Support"),
            Refusal::Internal => (500, "Server Internal Error"),
            _ => (400, "Bad Request"),
        }
    }

    /// What the function returns to the script.
    pub fn code(self) -> i64 {
        if self == Refusal::TooMany { -2 } else { -1 }
    }
}

/// One contact asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wanted<'m> {
    /// Address.
    pub uri: &'m [u8],
    /// Seconds to live; 0 asks for removal.
    pub expires: i64,
    /// Preference, -1 for none.
    pub q: i16,
    /// `received`.
    pub received: Vec<u8>,
    /// `+sip.instance`; empty if none or `gruu_enabled` is off.
    pub instance: Vec<u8>,
    /// `reg-id` where it counts.
    pub reg_id: u32,
    /// `methods` of the contact, else Allow; all bits where neither is there.
    pub methods: u32,
}

/// What a REGISTER asks for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Register<'m> {
    /// Address of record.
    pub aor: Vec<u8>,
    /// `Contact: *`.
    pub star: bool,
    /// Contacts.
    pub contacts: Vec<Wanted<'m>>,
    /// Call-ID.
    pub call_id: &'m [u8],
    /// CSeq.
    pub cseq: u32,
    /// Value of Path, as it is to be stored.
    pub path: Vec<u8>,
    /// User-Agent.
    pub user_agent: &'m [u8],
    /// Socket to store.
    pub socket: Option<SocketId>,
    /// The client uses outbound (RFC 5626).
    pub outbound: bool,
}

impl<'m> Register<'m> {
    /// Reads the request in `ctx`. `uri` stands in for To; `fixed` leaves the ranges of expiry alone.
    pub fn read(ctx: &'m Ctx, uri: Option<&[u8]>, fixed: bool) -> Result<Self, Refusal> {
        let msg = &ctx.msg;
        let buf = msg.buf();
        let to = msg.to().ok_or(Refusal::BadMessage)?;
        let mut r = Register {
            call_id: msg.call_id().ok_or(Refusal::BadMessage)?,
            cseq: msg.cseq().ok_or(Refusal::BadMessage)?.number,
            user_agent: msg.user_agent().unwrap_or_default(),
            socket: socket(ctx),
            ..Register::default()
        };
        let contacts = msg.contacts().map_err(|_| Refusal::BadContact)?;
        let header_expires = header_expires(ctx);
        // `*` stands alone (RFC 3261 §10.2.2), over all Contact lines.
        let mut values = msg.header_bodies(HeaderName::Contact);
        if values.any(|v| msg.slice(v) == b"*")
            && msg.header_bodies(HeaderName::Contact).count() > 1
        {
            return Err(Refusal::StarAndMore);
        }
        if contacts.is_star() {
            if header_expires != Some(0) {
                return Err(Refusal::StarExpires);
            }
            r.star = true;
        }
        r.outbound = outbound(ctx)?;
        let allow = allow(ctx);
        let avp = received_avp(ctx);
        for c in contacts.list() {
            let uri = c.addr.uri_text(buf);
            let received = match (&avp, c.received) {
                (Some(a), _) => a.clone(),
                (None, Some(s)) => s.of(buf).to_vec(),
                (None, None) => Vec::new(),
            };
            if uri.is_empty() || Uri::parse(uri).is_err() {
                return Err(Refusal::BadContact);
            }
            let most = CONTACT_MAX_SIZE.get().max(0) as usize;
            if uri.len() > most || received.len() > most {
                return Err(Refusal::TooLong);
            }
            let instance = c
                .instance
                .filter(|_| GRUU_ENABLED.is_on() || r.outbound)
                .map(|s| s.of(buf).to_vec())
                .unwrap_or_default();
            let reg_id = c.reg_id.filter(|_| {
                !instance.is_empty() && (supports(ctx, b"outbound") || REGID_MODE.is_on())
            });
            r.contacts.push(Wanted {
                uri,
                expires: expires(ctx, c.expires.map(i64::from).or(header_expires), fixed)?,
                q: q(ctx, c.q),
                received,
                instance,
                reg_id: reg_id.unwrap_or(0),
                methods: c
                    .methods
                    .and_then(|m| MethodSet::parse(m.of(buf)))
                    .map_or(allow, |m| m.0),
            });
        }
        if r.outbound
            && r.contacts
                .iter()
                .filter(|c| c.reg_id > 0 && c.expires > 0)
                .count()
                > 1
        {
            return Err(Refusal::ManyFlows);
        }
        r.aor = aor(uri.unwrap_or_else(|| to.uri_text(buf))).ok_or(Refusal::BadAor)?;
        r.path = path(ctx)?;
        if PATH_USE_RECEIVED.is_on()
            && !r.path.is_empty()
            && let Some(received) = received_of_path(ctx)
        {
            r.contacts
                .iter_mut()
                .for_each(|c| c.received.clone_from(&received));
        }
        Ok(r)
    }

    /// Whether nothing is to be changed: the client asks for what is stored.
    pub fn is_query(&self) -> bool {
        !self.star && self.contacts.is_empty()
    }
}

/// The address of record of a URI: user, or user@host with `use_domain`; `realm_prefix` is cut off
/// the host. `None` if it is no SIP URI.
pub fn aor(uri: &[u8]) -> Option<Vec<u8>> {
    let u = Uri::parse(uri).ok()?;
    let with_host = olelo_usrloc::USE_DOMAIN.is_on();
    let mut out = Vec::with_capacity(uri.len());
    u.write_aor(!CASE_SENSITIVE.is_on(), with_host, &mut out);
    if let (Some(prefix), true) = (REALM_PREFIX.get(), with_host) {
        let host = out.iter().rposition(|b| *b == b'@').map_or(0, |at| at + 1);
        if out[host..].starts_with(prefix.as_bytes()) {
            out.drain(host..host + prefix.len());
        }
    }
    (!out.is_empty()).then_some(out)
}

/// Whether the client supports an extension.
pub fn supports(ctx: &Ctx, tag: &[u8]) -> bool {
    ctx.msg.has_option_tag(HeaderName::Supported, tag)
        || ctx.msg.has_option_tag(HeaderName::Require, tag)
}

/// Expires, where it is a number (RFC 3261 §10.3: anything else counts as the default).
fn header_expires(ctx: &Ctx) -> Option<i64> {
    ctx.msg.expires().map(i64::from)
}

fn expires(ctx: &Ctx, asked: Option<i64>, fixed: bool) -> Result<i64, Refusal> {
    let asked = cfg_int(ctx, b"expires").or(asked);
    let (mut e, range) = match asked {
        None => (DEFAULT_EXPIRES.get(), DEFAULT_EXPIRES_RANGE.get()),
        Some(0) => return Ok(0),
        Some(e) => (e.max(0), EXPIRES_RANGE.get()),
    };
    if range > 0 && !fixed {
        let least = e - e * range.min(100) / 100;
        e = rand::random_range(least..=e);
    }
    let (min, max) = (MIN_EXPIRES.get(), MAX_EXPIRES.get());
    if min > 0 && e < min {
        if MIN_EXPIRES_MODE.is_on() {
            return Err(Refusal::TooBrief);
        }
        e = min;
    }
    if max > 0 && e > max {
        e = max;
    }
    Ok(e)
}

fn q(ctx: &Ctx, given: Option<u16>) -> i16 {
    let q = cfg_int(ctx, b"q").or(given.map(i64::from));
    q.unwrap_or_else(|| DEFAULT_Q.get()).clamp(-1, 1000) as i16
}

fn allow(ctx: &Ctx) -> u32 {
    if ctx.msg.header(HeaderName::Allow).is_none() {
        return u32::MAX;
    }
    let mut set = MethodSet::default();
    for name in ctx.msg.header_bodies(HeaderName::Allow) {
        let method = Method::parse(ctx.msg.slice(name));
        set.insert(method);
    }
    set.0
}

fn received_avp(ctx: &Ctx) -> Option<Vec<u8>> {
    let value = ctx.pv(RECEIVED_AVP.get()?);
    value
        .as_bytes()
        .filter(|b| !b.is_empty())
        .map(|b| b.into_owned())
}

/// RFC 3327 §5.3 and `path_mode`.
fn path(ctx: &Ctx) -> Result<Vec<u8>, Refusal> {
    if !USE_PATH.is_on() || ctx.msg.header(HeaderName::Path).is_none() {
        return Ok(Vec::new());
    }
    if PATH_MODE.get() >= 2 && !supports(ctx, b"path") {
        return Err(Refusal::PathUnsupported);
    }
    Ok(received_path(ctx))
}

/// All Path values of the request, joined.
pub fn received_path(ctx: &Ctx) -> Vec<u8> {
    let values: Vec<&[u8]> = ctx
        .msg
        .headers_named(HeaderName::Path)
        .map(|h| ctx.msg.slice(h.body))
        .collect();
    values.join(&b", "[..])
}

fn received_of_path(ctx: &Ctx) -> Option<Vec<u8>> {
    let first = ctx.msg.paths().ok()?.first()?;
    let uri = first.uri(ctx.msg.buf()).ok()?;
    let value = uri.param(b"received")?;
    Some(olelo_sip::uri::unescape(value).into_owned())
}

/// RFC 5626 §6 and `outbound_mode`: whether outbound is used.
fn outbound(ctx: &Ctx) -> Result<bool, Refusal> {
    let required = ctx.msg.has_option_tag(HeaderName::Require, b"outbound");
    let supported = supports(ctx, b"outbound");
    match OUTBOUND_MODE.get() {
        0 if required => Err(Refusal::OutboundUnsupported),
        0 => Ok(false),
        2 if !supported => Err(Refusal::OutboundRequired),
        _ if !supported => Ok(false),
        _ => {
            // More than one Via: we are not the first hop, which must have added `ob` to its Path.
            if ctx.msg.via(1).is_some() {
                let paths = ctx.msg.paths().map_err(|_| Refusal::BadMessage)?;
                let first = paths.last().and_then(|p| p.uri(ctx.msg.buf()).ok());
                if !first.is_some_and(|u| u.ob()) {
                    return Err(Refusal::FirstHopOutbound);
                }
            }
            Ok(true)
        }
    }
}

/// The socket to store: what the script or another server's header says, else where it came by.
fn socket(ctx: &Ctx) -> Option<SocketId> {
    let sockets = &olelo_core::server().sockets;
    let named = cfg_text(ctx, b"socket").or_else(|| {
        let (flag, header) = (SOCK_FLAG.get(), SOCK_HDR_NAME.get()?);
        if !(0..32).contains(&flag) || ctx.flags & 1 << flag == 0 {
            return None;
        }
        let h = ctx.msg.headers_by_text(header.as_bytes()).next()?;
        Some(ctx.msg.slice(h.body).to_vec())
    });
    named
        .and_then(|n| sockets.find(&String::from_utf8_lossy(&n)).map(|l| l.id))
        .or(Some(ctx.rcv.socket))
}
