//! `lookup` and its kin: from an address of record to the request's destinations.

use crate::params::*;
use crate::request::aor;
use crate::server_id;
use olelo_core::net::Proto;
use olelo_core::net::{own, tcp};
use olelo_core::route::avp::{Avp, AvpVal};
use olelo_core::route::ctx::{Branch, Ctx};
use olelo_sip::{NameAddr, Span, Uri};
use olelo_usrloc::{Contact, Record, Table, now};
use std::collections::HashSet;

/// No contact.
pub const NOT_FOUND: i64 = -1;
/// Contacts, but none that knows the method.
pub const METHOD_UNSUPPORTED: i64 = -2;
/// The URI cannot be read.
pub const FAILED: i64 = -3;

/// What to do with the contacts found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Into {
    /// The first into the request URI, the others as branches.
    Request,
    /// All as branches.
    Branches,
}

/// `lookup` and `lookup_to_dset`.
pub fn lookup(ctx: &mut Ctx, table: &'static Table, uri: Option<&[u8]>, into: Into) -> i64 {
    let uri = uri.unwrap_or_else(|| ctx.ruri()).to_vec();
    let found = match find(ctx, table, &uri) {
        Ok(found) => found,
        Err(code) => return code,
    };
    let mut branches: Vec<Branch> = found.contacts().iter().map(branch).collect();
    remember(ctx, &found.contacts());
    if into == Into::Request {
        let first = branches.remove(0);
        use_as_request(ctx, first);
        if !APPEND_BRANCHES.is_on() {
            return 1;
        }
    }
    for b in branches {
        if !ctx.add_branch(b) {
            break;
        }
    }
    1
}

/// `lookup_branches`: the request URI, then each branch that has nothing but its URI.
pub fn lookup_branches(ctx: &mut Ctx, table: &'static Table) -> i64 {
    let before = ctx.branches.len();
    let code = lookup(ctx, table, None, Into::Request);
    let mut at = 0;
    for _ in 0..before {
        let Some(b) = ctx.branches.get(at) else { break };
        if !b.dst_uri.is_empty() || !b.path.is_empty() || b.socket.is_some() || b.flags != 0 {
            at += 1;
            continue;
        }
        let uri = b.uri.clone();
        if let Ok(found) = find(ctx, table, &uri) {
            let mut fresh = found
                .contacts()
                .iter()
                .map(branch)
                .collect::<Vec<_>>()
                .into_iter();
            if let Some(first) = fresh.next() {
                ctx.branches[at] = first;
            }
            for b in fresh {
                ctx.add_branch(b);
            }
        }
        at += 1;
    }
    code
}

/// `lookup_xavp`: the contacts as fields of an xavp, the message untouched.
pub fn lookup_xavp(
    ctx: &mut Ctx,
    table: &'static Table,
    uri: &[u8],
    root: &[u8],
    record: &[u8],
) -> i64 {
    let found = match find(ctx, table, uri) {
        Ok(found) => found,
        Err(code) => return code,
    };
    let records: Vec<Avp> = found
        .contacts()
        .iter()
        .rev()
        .map(|c| Avp {
            name: record.to_vec(),
            val: AvpVal::Fields(fields(&branch(c))),
        })
        .collect();
    ctx.avps.xavp.push(root, AvpVal::Fields(records));
    1
}

/// Which contacts `registered` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match(pub i64);

/// `registered`: whether a contact is there that matches what `xavp_cfg` asks for.
pub fn registered(
    ctx: &mut Ctx,
    table: &'static Table,
    uri: Option<&[u8]>,
    matching: Match,
    action: i64,
) -> i64 {
    let uri = uri.map(<[u8]>::to_vec).unwrap_or_else(|| {
        if ctx.msg.is_request() {
            ctx.ruri().to_vec()
        } else {
            let to = ctx.msg.to().map(|t| t.uri_text(ctx.msg.buf()));
            to.unwrap_or_default().to_vec()
        }
    });
    let Some(aor) = aor(&uri) else { return -1 };
    let record = table.read(&aor);
    let now = now();
    let wanted = |bit: i64, name: &[u8]| {
        (matching.0 & bit != 0)
            .then(|| cfg_text(ctx, name))
            .flatten()
    };
    let call_id = wanted(1, b"match_callid");
    let received = wanted(2, b"match_received");
    let contact = wanted(4, b"match_contact");
    let is = |want: &Option<Vec<u8>>, has: &[u8]| want.as_deref().is_none_or(|w| w == has);
    let found = record
        .valid(now)
        .find(|c| is(&call_id, c.call_id) && is(&received, c.received) && is(&contact, c.uri));
    let Some(found) = found else { return -1 };
    if action & 2 == 0 {
        remember(ctx, &[found]);
    }
    1
}

/// The contacts that a lookup may use.
struct Found {
    record: Record,
    usable: Vec<usize>,
}

impl Found {
    fn contacts(&self) -> Vec<Contact<'_>> {
        self.record
            .contacts()
            .enumerate()
            .filter(|(i, _)| self.usable.contains(i))
            .map(|(_, c)| c)
            .collect()
    }
}

fn find(ctx: &Ctx, table: &'static Table, uri: &[u8]) -> Result<Found, i64> {
    let parsed = Uri::parse(uri).map_err(|_| FAILED)?;
    let (record, only) = match parsed.gr() {
        // A temporary GRUU: `uloc-…-<hash>@domain;gr`.
        Some([]) => {
            let user = parsed.user.ok_or(NOT_FOUND)?;
            let cut = user.iter().rposition(|b| *b == b'-').ok_or(NOT_FOUND)?;
            let (ruid, hash) = (&user[..cut], &user[cut + 1..]);
            let hash = std::str::from_utf8(hash)
                .ok()
                .and_then(|h| u32::from_str_radix(h, 16).ok())
                .ok_or(NOT_FOUND)?;
            let record = table.by_ruid(hash, ruid).ok_or(NOT_FOUND)?;
            (record, Only::Ruid(ruid))
        }
        Some(instance) => (
            table.read(&aor(uri).ok_or(FAILED)?),
            Only::Instance(instance),
        ),
        None => (table.read(&aor(uri).ok_or(FAILED)?), Only::Any),
    };
    let now = now();
    let filter_method =
        METHOD_FILTERING.is_on() && ctx.msg.is_request() && ctx.msg.to_tag().is_none();
    let bflags = (LOOKUP_FILTER_MODE.get() & 1 != 0)
        .then(|| cfg_int(ctx, b"rlf_bflags"))
        .flatten();
    let alive: Option<HashSet<_>> = (LOOKUP_FILTER_MODE.get() & 2 != 0)
        .then(|| tcp::list().into_iter().map(|(_, conn)| conn).collect());
    let mut deaf = false;
    let usable = record
        .contacts()
        .enumerate()
        .filter(|(_, c)| USE_EXPIRED_CONTACTS.is_on() || c.is_valid(now))
        .filter(|(_, c)| only.takes(c))
        .filter(|(_, c)| {
            let knows = !filter_method || c.methods & ctx.msg.method().bit() != 0;
            deaf |= !knows;
            knows
        })
        .filter(|(_, c)| bflags.is_none_or(|b| i64::from(c.cflags) & b != 0))
        .filter(|(_, c)| match (&alive, c.conn) {
            (Some(alive), Some(conn)) => alive.contains(&conn),
            _ => true,
        })
        .map(|(i, _)| i)
        .collect::<Vec<_>>();
    match usable.is_empty() {
        false => Ok(Found { record, usable }),
        true if deaf => Err(METHOD_UNSUPPORTED),
        true => Err(NOT_FOUND),
    }
}

/// What a GRUU narrows a lookup to.
enum Only<'a> {
    Any,
    Instance(&'a [u8]),
    Ruid(&'a [u8]),
}

impl Only<'_> {
    fn takes(&self, c: &Contact<'_>) -> bool {
        match self {
            Only::Any => true,
            Only::Ruid(r) => c.ruid == *r,
            Only::Instance(i) => {
                let bare = c.instance.strip_prefix(b"<").unwrap_or(c.instance);
                bare.strip_suffix(b">").unwrap_or(bare) == *i
            }
        }
    }
}

/// A contact as a destination: its Path decides where to send, else `received`, else its address.
fn branch(c: &Contact<'_>) -> Branch {
    let mut path = c.path;
    if PATH_CHECK_LOCAL.is_on() {
        path = without_local_hop(path);
    }
    let dst_uri = match first_hop(path) {
        Some(hop) => hop.to_vec(),
        None => c.received.to_vec(),
    };
    let here = i64::from(c.server_id) == i64::from(server_id());
    Branch {
        uri: c.uri.to_vec(),
        dst_uri,
        path: path.to_vec(),
        q: c.q,
        flags: c.cflags,
        socket: c.socket.filter(|_| here),
        instance: c.instance.to_vec(),
        reg_id: c.reg_id,
        ruid: c.ruid.to_vec(),
        user_agent: c.user_agent.to_vec(),
        // A Path leads elsewhere than to the contact's own connection, unless the flow to the
        // first hop is the one the registration came by.
        conn: c.conn.filter(|_| here && path.is_empty()),
    }
}

fn use_as_request(ctx: &mut Ctx, b: Branch) {
    ctx.set_ruri(&b.uri);
    ctx.dst_uri = (!b.dst_uri.is_empty()).then(|| b.dst_uri.clone());
    ctx.path = (!b.path.is_empty()).then(|| b.path.clone());
    if b.socket.is_some() {
        ctx.send_socket = b.socket;
    }
    ctx.dst_conn = b.conn;
    ctx.ruri_q = b.q;
    ctx.bflags = b.flags;
    ctx.contact = b;
}

/// Fills the xavp of `xavp_rcd`, the best contact under index 0.
fn remember(ctx: &mut Ctx, contacts: &[Contact<'_>]) {
    let Some(class) = XAVP_RCD.get() else { return };
    for c in contacts.iter().rev() {
        let mut fields = Vec::new();
        describe(c, &mut fields);
        ctx.avps.xavp.push(class.as_bytes(), AvpVal::Fields(fields));
    }
}

/// What `save` leaves in the xavp of `xavp_rcd`: one value, whose fields repeat for each contact,
/// the newest first.
pub(crate) fn remember_saved(ctx: &mut Ctx, fields: Vec<Avp>) {
    let Some(class) = XAVP_RCD.get() else { return };
    if !fields.is_empty() {
        ctx.avps.xavp.push(class.as_bytes(), AvpVal::Fields(fields));
    }
}

/// The fields for [`remember_saved`]; none where `xavp_rcd` is not set.
pub(crate) fn saved_fields(contacts: &[Contact<'_>]) -> Vec<Avp> {
    let mut fields = Vec::new();
    if XAVP_RCD.get().is_some() {
        contacts.iter().for_each(|c| describe(c, &mut fields));
    }
    fields
}

/// Adds one contact's fields, without those which `xavp_rcd_mask` skips.
fn describe(c: &Contact<'_>, fields: &mut Vec<Avp>) {
    let skip = XAVP_RCD_MASK.get();
    let mut field = |bit: i64, name: &str, val: AvpVal| {
        if skip & bit == 0 {
            fields.push(Avp {
                name: name.as_bytes().to_vec(),
                val,
            });
        }
    };
    field(1, "ruid", AvpVal::Str(c.ruid.to_vec()));
    field(2, "contact", AvpVal::Str(c.uri.to_vec()));
    field(4, "expires", AvpVal::Int((c.expires - now()).max(0)));
    if !c.received.is_empty() {
        field(8, "received", AvpVal::Str(c.received.to_vec()));
    }
    if !c.path.is_empty() {
        field(16, "path", AvpVal::Str(c.path.to_vec()));
    }
}

fn fields(b: &Branch) -> Vec<Avp> {
    let text = |name: &str, v: &[u8]| Avp {
        name: name.as_bytes().to_vec(),
        val: AvpVal::Str(v.to_vec()),
    };
    let mut out = vec![text("uri", &b.uri)];
    for (name, v) in [
        ("dst_uri", &b.dst_uri),
        ("path", &b.path),
        ("instance", &b.instance),
        ("ruid", &b.ruid),
        ("user_agent", &b.user_agent),
    ] {
        if !v.is_empty() {
            out.push(text(name, v));
        }
    }
    if let Some(l) = b.socket.and_then(|s| olelo_core::server().sockets.get(s)) {
        out.push(text("socket", l.text().as_bytes()));
    }
    for (name, n) in [("q", i64::from(b.q)), ("flags", i64::from(b.flags))] {
        out.push(Avp {
            name: name.as_bytes().to_vec(),
            val: AvpVal::Int(n),
        });
    }
    out
}

/// The URI of the first value of a Path.
fn first_hop(path: &[u8]) -> Option<&[u8]> {
    if path.is_empty() {
        return None;
    }
    Some(
        NameAddr::parse(path, Span::new(0, first_value(path).1))
            .ok()?
            .uri_text(path),
    )
}

/// The end of the first value, and where the next begins.
fn first_value(path: &[u8]) -> (usize, usize) {
    let (mut quoted, mut bracket) = (false, false);
    for (i, b) in path.iter().enumerate() {
        match b {
            b'"' => quoted = !quoted,
            b'<' if !quoted => bracket = true,
            b'>' if !quoted => bracket = false,
            b',' if !quoted && !bracket => return (i + 1, i),
            _ => {}
        }
    }
    (path.len(), path.len())
}

/// The Path without its first hop where that is this server.
fn without_local_hop(path: &[u8]) -> &[u8] {
    let local = first_hop(path)
        .and_then(|hop| Uri::parse(hop).ok())
        .is_some_and(|u| {
            let proto = u
                .transport()
                .and_then(|t| Proto::from_name(t.as_str().as_bytes()));
            own::is_myself(u.host, u.port.unwrap_or(0), proto)
        });
    if local {
        olelo_sip::trim(path.get(first_value(path).0..).unwrap_or_default())
    } else {
        path
    }
}
