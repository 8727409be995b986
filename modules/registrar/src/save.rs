//! `save`: RFC 3261 §10.3, the registrar's steps in their order, and the reply.
//!
//! The request is checked first ([`Register::read`]), then the new list of contacts is made from a
//! copy of the record, then stored in one step; where another worker changed the record meanwhile
//! the list is made again. A refusal therefore leaves everything as it was.

use crate::params::*;
use crate::request::{Refusal, Register, received_path, supports};
use crate::{ACCEPTED, REJECTED};
use olelo_core::log::short_of_memory;
use olelo_core::net::reply::ReplyHeaders;
use olelo_core::route::avp::Avp;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{FAILURE, REQUEST};
use olelo_sip::Method;
use olelo_sip::contact::format_q;
use olelo_usrloc::store::{aor_hash, insert_ordered, new_ruid};
use olelo_usrloc::{Contact, DESC_TIME_ORDER, Record, StoreError, Table, same_contact};
use std::cell::OnceCell;
use std::io::Write;

/// Send no reply.
pub const NO_REPLY: i64 = 0x02;
/// Keep only the contacts of this request.
pub const ONE_CONTACT: i64 = 0x04;
/// Leave `expires_range` and `default_expires_range` alone.
pub const FIXED_EXPIRES: i64 = 0x08;
/// With [`NO_REPLY`]: make the headers for a reply that is sent by others.
pub const MAKE_HEADERS: i64 = 0x10;

/// What a registration did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Done {
    Inserted = 1,
    Updated = 2,
    Deleted = 3,
    Listed = 4,
}

/// A reply that was made and not sent, for `reg_send_reply`.
#[derive(Default)]
pub(crate) struct Kept(pub(crate) Option<(u16, &'static str)>);

/// `save(table, flags, uri)`: its return code.
pub fn save(ctx: &mut Ctx, table: &'static Table, flags: i64, uri: Option<&[u8]>) -> i64 {
    let done = Register::read(ctx, uri, flags & FIXED_EXPIRES != 0)
        .map_err(|e| (e, Vec::new()))
        .and_then(|r| store(ctx, table, &r, flags));
    let mut shown = Vec::new();
    let (status, headers, code) = match done {
        Ok(accepted) => {
            ACCEPTED.inc();
            shown = accepted.fields;
            ((200, "OK"), accepted.headers, accepted.done as i64)
        }
        Err((why, headers)) => {
            REJECTED.inc();
            olelo_core::info!("registrar", "REGISTER from {} refused: {why}", ctx.rcv.src);
            (why.status(), refused_headers(ctx, why, headers), why.code())
        }
    };
    crate::lookup::remember_saved(ctx, shown);
    let may_reply = REQUEST.contains(ctx.route) || FAILURE.contains(ctx.route);
    if flags & NO_REPLY != 0 || !may_reply || !ctx.msg.is_request() {
        if flags & MAKE_HEADERS != 0 {
            ctx.ext::<ReplyHeaders>().0.extend_from_slice(&headers);
        }
        *ctx.ext::<Kept>() = Kept(Some(status));
        return code;
    }
    let asked = &mut ctx.ext::<ReplyHeaders>().0;
    if asked.is_empty() {
        *asked = headers;
    } else {
        asked.extend_from_slice(&headers);
    }
    send(ctx, status);
    code
}

/// `reg_send_reply()`: sends the reply that `save` with flag 0x02 kept back.
pub fn send_kept(ctx: &mut Ctx) -> i64 {
    match ctx.ext::<Kept>().0.take() {
        Some(status) if send(ctx, status) => 1,
        _ => -1,
    }
}

fn send(ctx: &mut Ctx, (code, reason): (u16, &str)) -> bool {
    olelo_sl::reply(ctx, code, reason) > 0
}

/// An accepted registration.
struct Accepted {
    done: Done,
    /// Header lines of the reply.
    headers: Vec<u8>,
    /// What the xavp of `xavp_rcd` will hold.
    fields: Vec<Avp>,
}

impl Accepted {
    /// With `list` stored now.
    fn of(ctx: &Ctx, done: Done, list: &[Contact<'_>], r: &Register<'_>) -> Accepted {
        Accepted {
            done,
            headers: accepted_headers(ctx, list, r),
            fields: crate::lookup::saved_fields(list),
        }
    }
}

/// Makes and stores the new list of contacts. Gives the headers that show what is stored, on a
/// refusal as well.
fn store(
    ctx: &Ctx,
    table: &'static Table,
    r: &Register<'_>,
    flags: i64,
) -> Result<Accepted, (Refusal, Vec<u8>)> {
    let most = cfg_int(ctx, b"max_contacts").unwrap_or_else(|| MAX_CONTACTS.get());
    // A contact that is registered again keeps its id: one is made only where it is needed.
    let ruids: Vec<OnceCell<String>> = r.contacts.iter().map(|_| OnceCell::new()).collect();
    for _ in 0..32 {
        let old = table.read(&r.aor);
        let now = now(ctx);
        if r.is_query() {
            let list: Vec<Contact<'_>> = old.valid(now).collect();
            return Ok(Accepted::of(ctx, Done::Listed, &list, r));
        }
        let planned = plan(ctx, r, &old, &ruids, flags, most);
        let (list, done) = match planned {
            Ok(p) => p,
            Err(why) => {
                let list: Vec<Contact<'_>> = old.valid(now).collect();
                return Err((why, contact_header(ctx, &list, r, false)));
            }
        };
        match table.commit(&r.aor, &old, &list) {
            Ok(true) => return Ok(Accepted::of(ctx, done, &list, r)),
            Ok(false) => {}
            Err(e) => {
                let what = "registration not stored";
                let why = match e {
                    StoreError::NoMemory(_) => {
                        short_of_memory("registrar", what, &e);
                        Refusal::NoMemory
                    }
                    _ => {
                        olelo_core::error!("registrar", "{what}: {e}");
                        Refusal::Internal
                    }
                };
                return Err((why, Vec::new()));
            }
        }
    }
    Err((Refusal::Internal, Vec::new()))
}

/// The contacts after this request (RFC 3261 §10.3 steps 6 and 7). Pure.
fn plan<'a>(
    ctx: &Ctx,
    r: &'a Register<'_>,
    old: &'a Record,
    ruids: &'a [OnceCell<String>],
    flags: i64,
    most: i64,
) -> Result<(Vec<Contact<'a>>, Done), Refusal> {
    let now = now(ctx);
    let newest_first = DESC_TIME_ORDER.is_on();
    let mut list: Vec<Contact<'a>> = old.valid(now).collect();
    if r.star {
        // RFC 3261 §10.3 step 6: the order of requests of one Call-ID counts for `*` too.
        if list
            .iter()
            .any(|c| c.call_id == r.call_id && c.cseq > r.cseq)
        {
            return Err(Refusal::OldCSeq);
        }
        return Ok((Vec::new(), Done::Deleted));
    }
    let mut done = None;
    let mut mark = |d: Done| done = done.max(Some(d));
    for (wanted, ruid) in r.contacts.iter().zip(ruids) {
        let mut new = Contact {
            uri: wanted.uri,
            received: &wanted.received,
            path: &r.path,
            call_id: r.call_id,
            user_agent: r.user_agent,
            instance: &wanted.instance,
            ruid: b"",
            expires: now + wanted.expires,
            modified: now,
            q: wanted.q,
            cseq: r.cseq,
            methods: wanted.methods,
            flags: 0,
            cflags: ctx.bflags,
            socket: r.socket,
            conn: ctx.rcv.conn,
            reg_id: wanted.reg_id,
            server_id: crate::server_id(),
            last_keepalive: 0,
            roundtrip: 0,
        };
        if PATH_USE_RECEIVED.is_on() && !new.received.is_empty() && !r.path.is_empty() {
            let flag = olelo_usrloc::NAT_BFLAG.get();
            if (0..32).contains(&flag) {
                new.cflags |= 1 << flag;
            }
        }
        let at = list.iter().position(|c| same_contact(c, &new));
        if let Some(at) = at {
            let was = &list[at];
            if was.call_id == r.call_id && was.cseq > r.cseq {
                return Err(Refusal::OldCSeq);
            }
            let delay = olelo_usrloc::CSEQ_DELAY.get();
            if was.call_id == r.call_id && was.cseq == r.cseq && now < was.modified + delay {
                mark(Done::Inserted); // a retransmission: it has been done
                continue;
            }
            new.ruid = was.ruid;
            // Registered again at the same place, a contact keeps its place in the order.
            if wanted.expires > 0 && was.q == new.q && !newest_first {
                list[at] = new;
                mark(Done::Updated);
                continue;
            }
            list.remove(at);
        }
        if wanted.expires > 0 {
            if new.ruid.is_empty() {
                new.ruid = ruid.get_or_init(new_ruid).as_bytes();
            }
            insert_ordered(&mut list, new, newest_first);
            mark(if at.is_some() {
                Done::Updated
            } else {
                Done::Inserted
            });
        } else if at.is_some() {
            mark(Done::Deleted);
        } else {
            mark(Done::Inserted);
        }
    }
    if flags & ONE_CONTACT != 0 {
        list.retain(|c| r.contacts.iter().any(|w| w.uri == c.uri));
    }
    if most > 0 && list.len() as i64 > most && list.len() > old.valid(now).count() {
        olelo_core::info!(
            "registrar",
            "too many contacts for \"{}\": {} of at most {most}",
            String::from_utf8_lossy(&r.aor),
            list.len()
        );
        return Err(Refusal::TooMany);
    }
    Ok((list, done.unwrap_or(Done::Inserted)))
}

/// The time of the registration, seconds of the wall clock: when the message was received.
fn now(ctx: &Ctx) -> i64 {
    match ctx.received_at.0 {
        0 => olelo_usrloc::now(),
        at => at,
    }
}

fn accepted_headers(ctx: &Ctx, list: &[Contact<'_>], r: &Register<'_>) -> Vec<u8> {
    let mut out = contact_header(ctx, list, r, true);
    if !r.path.is_empty()
        && (PATH_MODE.get() >= 2 || PATH_MODE.get() == 1 && supports(ctx, b"path"))
    {
        line(&mut out, "Path: ", &r.path);
    }
    if r.outbound {
        line(&mut out, "Require: ", b"outbound");
        if FLOW_TIMER.get() > 0 {
            line(
                &mut out,
                "Flow-Timer: ",
                FLOW_TIMER.get().to_string().as_bytes(),
            );
        }
    } else if OUTBOUND_MODE.get() > 0 {
        line(&mut out, "Supported: ", b"outbound");
    }
    out
}

fn refused_headers(ctx: &Ctx, why: Refusal, mut out: Vec<u8>) -> Vec<u8> {
    match why {
        Refusal::NoMemory if RETRY_AFTER.get() <= 0 => line(&mut out, "Retry-After: ", b"10"),
        Refusal::TooMany | Refusal::NoMemory if RETRY_AFTER.get() > 0 => {
            line(
                &mut out,
                "Retry-After: ",
                RETRY_AFTER.get().to_string().as_bytes(),
            );
        }
        Refusal::TooBrief => {
            line(
                &mut out,
                "Min-Expires: ",
                MIN_EXPIRES.get().to_string().as_bytes(),
            );
        }
        Refusal::PathUnsupported => {
            line(&mut out, "Unsupported: ", b"path");
            line(&mut out, "Path: ", &received_path(ctx));
        }
        Refusal::OutboundUnsupported => line(&mut out, "Unsupported: ", b"outbound"),
        Refusal::OutboundRequired => line(&mut out, "Require: ", b"outbound"),
        _ => {}
    }
    line(&mut out, "P-Registrar-Error: ", why.to_string().as_bytes());
    out
}

/// The Contact line that lists what is stored; nothing where nothing is.
fn contact_header(ctx: &Ctx, list: &[Contact<'_>], r: &Register<'_>, with_gruu: bool) -> Vec<u8> {
    let now = now(ctx);
    let mut out = Vec::with_capacity(32 + list.len() * 128);
    let gruu = with_gruu && GRUU_ENABLED.is_on() && supports(ctx, b"gruu");
    for c in list {
        out.extend_from_slice(if out.is_empty() {
            b"Contact: <"
        } else {
            b", <"
        });
        out.extend_from_slice(c.uri);
        out.push(b'>');
        if c.q >= 0 {
            out.extend_from_slice(b";q=");
            out.extend_from_slice(format_q(c.q as u16).as_bytes());
        }
        let left = if c.expires == 0 { 0 } else { c.expires - now };
        out.extend_from_slice(b";expires=");
        olelo_sip::push_number(&mut out, left.max(0) as u64);
        if let (Some(name), false) = (RECEIVED_PARAM.get(), c.received.is_empty()) {
            let _ = write!(out, ";{name}=\"");
            out.extend_from_slice(c.received);
            out.push(b'"');
        }
        if gruu && !c.instance.is_empty() {
            push_gruus(ctx, c, r, &mut out);
        }
        if !c.instance.is_empty() {
            out.extend_from_slice(b";+sip.instance=\"");
            out.extend_from_slice(c.instance);
            out.push(b'"');
        }
        if c.reg_id > 0 {
            let _ = write!(out, ";reg-id={}", c.reg_id);
        }
    }
    if !out.is_empty() {
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// `pub-gruu` and `temp-gruu` (RFC 5627 §5). The temporary one carries the record's unique id and
/// the hash of its address of record, so that it is found without an index.
fn push_gruus(ctx: &Ctx, c: &Contact<'_>, r: &Register<'_>, out: &mut Vec<u8>) {
    let Some(uri) = ctx.msg.to().and_then(|t| t.uri(ctx.msg.buf()).ok()) else {
        return;
    };
    let instance = c.instance.strip_prefix(b"<").unwrap_or(c.instance);
    let instance = instance.strip_suffix(b">").unwrap_or(instance);
    out.extend_from_slice(b";pub-gruu=\"sip:");
    if let Some(user) = uri.user {
        out.extend_from_slice(user);
        out.push(b'@');
    }
    out.extend_from_slice(uri.host);
    out.extend_from_slice(b";gr=");
    out.extend_from_slice(instance);
    out.extend_from_slice(b"\";temp-gruu=\"sip:");
    out.extend_from_slice(c.ruid);
    out.extend_from_slice(format!("-{:x}@", aor_hash(&r.aor)).as_bytes());
    out.extend_from_slice(uri.host);
    out.extend_from_slice(b";gr\"");
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Whether the message is one that `save` can work on.
pub fn is_register(ctx: &Ctx) -> bool {
    ctx.msg.method() == Method::Register
}
