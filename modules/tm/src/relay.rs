//! `t_relay`: the request goes on, to one or many destinations, each a leg of its transaction.
//!
//! All legs of one call are built first, each after its branch route; then one change adds them to
//! the transaction, and only then they are sent. So no reply can find a transaction that has some of
//! its legs, and nobody decides that all have failed while one is still being made.

use crate::attrs::{self, Attr};
use crate::events::{self, News};
use crate::ids;
use crate::lookup::{self, AckOf, Created};
use crate::mine::{Side, mine, mine_ref};
use crate::params;
use crate::promise::promise;
use crate::state::{Leg, MAX_LEGS, Place, flag, leg_flag};
use crate::store::{LegPiece, Mark, Open, Piece};
use crate::upstream::{self, Answer};
use crate::{act, cancel, failover};
use olelo_core::mem::NodeId;
use olelo_core::net::reply::{self as core_reply, Fixup};
use olelo_core::net::target::{self, Hop, TargetError};
use olelo_core::net::{self, Dst, Proto};
use olelo_core::route::ctx::{Branch, Ctx};
use olelo_core::route::engine::Outcome;
use olelo_core::route::function::BRANCH;
use olelo_core::route::run;
use olelo_core::timer::monotonic_ms;
use olelo_sip::Method;
use olelo_sip::build::{self, ForwardOptions};
use smallvec::SmallVec;

/// Where to, and how.
#[derive(Debug, Clone, Default)]
pub struct Target {
    /// Next hop for all legs; by the request where none is given.
    pub uri: Option<Vec<u8>>,
    /// Transport for all legs.
    pub proto: Option<Proto>,
    /// Send no 100.
    pub no_100: bool,
    /// Send no reply where relaying fails.
    pub no_internal_reply: bool,
    /// Only the first address of a destination is tried.
    pub no_failover: bool,
    /// It is a copy: replies are nobody's business.
    pub replicate: bool,
}

/// A leg that is ready to be sent.
struct Ready {
    leg: Leg,
    dst: Dst,
    bytes: Vec<u8>,
    attrs: Vec<u8>,
}

/// What went wrong: reply code, and its standard reason.
type Refused = (u16, &'static str);

/// Relays the request in `ctx`. 1 where it was sent or is taken care of, 0 where the route ends, -1
/// where it could not be sent.
pub fn relay(ctx: &mut Ctx, to: &Target) -> i64 {
    match ctx.msg.method() {
        Method::Ack if mine_ref(ctx).is_none_or(|m| m.side == Side::Request) => {
            return relay_ack(ctx, to);
        }
        Method::Cancel => return cancel::relay(ctx, to),
        _ => {}
    }
    relay_request(ctx, to)
}

/// Relays a request that is neither ACK nor a CANCEL with its INVITE.
pub fn relay_request(ctx: &mut Ctx, to: &Target) -> i64 {
    let id = match own_transaction(ctx) {
        Ok(id) => id,
        Err(Denied::NoMemory) if goes_without_state(ctx) => return relay_stateless(ctx, to),
        Err(Denied::NoMemory) => {
            refuse_for_memory(ctx);
            return 1;
        }
        Err(Denied::With(rc)) => return rc,
    };
    let first = mine(ctx).side == Side::Request;
    let wants_100 = mine(ctx).auto_100.unwrap_or(params::AUTO_INV_100.is_on()) && !to.no_100;
    let send_100 = first
        && wants_100
        && !ctx.local
        && !to.replicate
        && ctx.msg.method() == Method::Invite
        && will_try(id);
    if send_100 {
        // Resolving names and branch routes may take long: the sender shall not repeat meanwhile.
        upstream::trying(ctx, id);
    }
    match forward(ctx, id, to, send_100) {
        Ok(()) => 1,
        Err((code, reason)) => {
            olelo_sl::set_error(ctx, code, reason);
            let m = mine(ctx);
            if first && !to.no_internal_reply && !m.no_internal_reply && !to.replicate {
                m.delayed = Some((code, reason));
            }
            -1
        }
    }
}

/// No reply was sent yet. That a 100 will be is noted first: who has got it no longer repeats its
/// request, and waits for a reply even if this process should die.
fn will_try(id: NodeId) -> bool {
    let Some(open) = Open::node(id).filter(|o| o.tx.head.code == 0) else {
        return false;
    };
    if let Some((Mark::Request, slot)) = open.mark() {
        open.set_mark(Some((Mark::Trying, slot)));
    }
    true
}

/// Why a request has no transaction.
enum Denied {
    /// There is no room for one.
    NoMemory,
    /// `t_relay` returns this.
    With(i64),
}

/// The transaction of the request, created where there is none.
fn own_transaction(ctx: &mut Ctx) -> Result<NodeId, Denied> {
    if let Some(id) = mine(ctx).node {
        return Ok(id);
    }
    let local = ctx.local;
    match lookup::create(ctx, local) {
        Created::New(id) => Ok(id),
        Created::Again(id) => {
            upstream::repeat(ctx, id);
            Err(Denied::With(1))
        }
        Created::NoMemory => Err(Denied::NoMemory),
        Created::Unfit => {
            olelo_sl::set_error(ctx, 400, "Bad Request");
            Err(Denied::With(-1))
        }
    }
}

/// Answers a request for which there is no room, without state.
pub fn refuse_for_memory(ctx: &mut Ctx) {
    let more = &mut ctx.ext::<core_reply::ReplyHeaders>().0;
    more.extend_from_slice(b"Retry-After: 5\r\n");
    core_reply::stateless(ctx, 503, "Service Unavailable", None);
}

/// An ACK to a 2xx goes on without state; one to a reply of ours ends here.
fn relay_ack(ctx: &mut Ctx, to: &Target) -> i64 {
    if let AckOf::Ours(_) = lookup::ack(ctx) {
        return 1;
    }
    relay_stateless(ctx, to)
}

/// Whether a request for which there is no room may still get through: a call that stands can then be
/// ended. Its ends repeat what is lost; only forking and failure routes are not to be had.
fn goes_without_state(ctx: &Ctx) -> bool {
    let in_dialog = ctx.msg.to_tag().is_some_and(|t| !t.is_empty());
    in_dialog && ctx.msg.method() != Method::Invite && !ctx.local
}

fn relay_stateless(ctx: &mut Ctx, to: &Target) -> i64 {
    match destination(ctx, to) {
        Ok((dst, _)) if core_reply::forward_request(ctx, &dst) => 1,
        Ok(_) => -1,
        Err(e) => {
            refused(ctx, &e);
            -1
        }
    }
}

fn forward(ctx: &mut Ctx, id: NodeId, to: &Target, sent_100: bool) -> Result<(), Refused> {
    let Some(open) = Open::node(id) else {
        return Err((500, "Server Internal Error"));
    };
    let (base, head) = (open.tx.legs.len(), open.tx.head);
    let expired = open.tx.is_expired(monotonic_ms());
    drop(open);
    if head.answered() {
        olelo_core::info!("tm", "a request that has its final reply is not relayed");
        return Err((500, "Server Internal Error"));
    }
    if head.has(flag::CANCELED) {
        return canceled(ctx, id);
    }
    if expired {
        // A new leg would time out at once.
        return Err((408, upstream::reason_of(408)));
    }
    let mut ready = SmallVec::<[Ready; 1]>::new();
    let mut error = (500, "No branches for forwarding");
    for target in targets(ctx) {
        match make_leg(ctx, id, base + ready.len(), target, to) {
            Ok(Some(r)) => ready.push(r),
            Ok(None) => {}
            Err(e) => error = e,
        }
    }
    ctx.branches.clear();
    ctx.branch_index = -1;
    if ready.is_empty() {
        return Err(error);
    }
    let _promise = promise(id);
    publish(ctx, id, base, &mut ready, to, sent_100)?;
    let sent = send_all(ctx, id, base, &ready);
    ready
        .into_iter()
        .for_each(|r| core_reply::give_back(r.bytes));
    sent
}

/// The INVITE was canceled before it went anywhere.
fn canceled(ctx: &mut Ctx, id: NodeId) -> Result<(), Refused> {
    let side = mine(ctx).side;
    if side == Side::Request {
        let a = Answer {
            code: 487,
            reason: "Request Terminated",
            ..Answer::default()
        };
        upstream::answer(ctx, id, &a);
        return Ok(());
    }
    Err((487, "Request Terminated"))
}

/// The destinations of this call: the request URI, where it is new, and the branches.
fn targets(ctx: &mut Ctx) -> Vec<Branch> {
    let m = mine(ctx);
    let before = std::mem::take(&mut m.uri_before);
    let fresh = m.side == Side::Request || before != (ctx.new_uri.clone(), ctx.dst_uri.clone());
    let own = fresh.then(|| Branch {
        uri: ctx.ruri().to_vec(),
        dst_uri: ctx.dst_uri.clone().unwrap_or_default(),
        path: ctx.path.clone().unwrap_or_default(),
        q: ctx.ruri_q,
        flags: ctx.bflags,
        socket: ctx.send_socket,
        conn: ctx.dst_conn,
        ..ctx.contact.clone()
    });
    own.into_iter()
        .chain(ctx.branches.iter().cloned())
        .collect()
}

/// Builds one leg: branch route, destination, bytes. `None` where the branch route dropped it.
fn make_leg(
    ctx: &mut Ctx,
    id: NodeId,
    index: usize,
    mut b: Branch,
    to: &Target,
) -> Result<Option<Ready>, Refused> {
    if index >= MAX_LEGS {
        return Err((500, "Too many branches"));
    }
    let before = Before::of(ctx);
    let opt = |v: Vec<u8>| (!v.is_empty()).then_some(v);
    // What remains in `ctx.contact` is what is known of the contact beside its URIs.
    ctx.new_uri = Some(std::mem::take(&mut b.uri));
    ctx.dst_uri = opt(std::mem::take(&mut b.dst_uri));
    ctx.path = opt(std::mem::take(&mut b.path));
    ctx.bflags = b.flags;
    ctx.send_socket = b.socket;
    ctx.dst_conn = b.conn;
    ctx.branch_index = index as i32;
    ctx.contact = b;
    let made = run_and_build(ctx, id, index, to);
    before.restore(ctx);
    made
}

fn run_and_build(
    ctx: &mut Ctx,
    id: NodeId,
    index: usize,
    to: &Target,
) -> Result<Option<Ready>, Refused> {
    let m = mine(ctx);
    let route = m.on_branch.clone();
    let (reply, branch_failure) = (m.on_reply.clone(), m.on_branch_failure.clone());
    if let Some(name) = route
        && run::call(ctx, &name, None, BRANCH) == Outcome::Drop
    {
        return Ok(None);
    }
    let (mut dst, mut places) = destination(ctx, to).map_err(|e| refused(ctx, &e))?;
    if !places.is_empty() && (to.no_failover || failover::is_off(id)) {
        places.clear();
    }
    for h in olelo_core::hooks::FORWARD.list() {
        h(ctx, &dst);
    }
    let mut bytes = leg_bytes(ctx, id, index, &dst);
    if let Some(other) = target::for_size(ctx, &dst, bytes.len()) {
        dst = other;
        bytes = leg_bytes(ctx, id, index, &dst);
    }
    let mut leg_attrs = Vec::new();
    // What the branch route has set for its own leg.
    let m = mine(ctx);
    for (what, now, was) in [
        (Attr::OnReply, &m.on_reply, &reply),
        (Attr::OnBranchFailure, &m.on_branch_failure, &branch_failure),
    ] {
        if now != was {
            attrs::put(
                &mut leg_attrs,
                what,
                now.as_deref().unwrap_or("").as_bytes(),
            );
        }
    }
    let has_branch_failure = m.on_branch_failure.is_some();
    (m.on_reply, m.on_branch_failure) = (reply, branch_failure);
    attrs::put_contact(&mut leg_attrs, &ctx.contact);
    attrs::put(
        &mut leg_attrs,
        Attr::Path,
        ctx.path.as_deref().unwrap_or_default(),
    );
    if !places.is_empty() {
        let rest = failover::pack(ctx, id, index, &places);
        attrs::put(&mut leg_attrs, Attr::Places, &rest);
    }
    let mut leg = Leg {
        to: Place::new(&dst),
        bflags: ctx.bflags,
        ..Leg::default()
    };
    if dst.proto.is_reliable() {
        leg.flags |= leg_flag::RELIABLE;
    }
    if has_branch_failure {
        leg.flags |= leg_flag::BRANCH_FAILURE;
    }
    if !places.is_empty() {
        leg.flags |= leg_flag::MORE;
    }
    Ok(Some(Ready {
        leg,
        dst,
        bytes,
        attrs: leg_attrs,
    }))
}

fn leg_bytes(ctx: &Ctx, id: NodeId, index: usize, dst: &Dst) -> Vec<u8> {
    let via = core_reply::via_value(ctx, dst, &ids::branch(id, index));
    let fix = Fixup::of(ctx);
    let routes = match &ctx.path {
        Some(p) => [b"Route: ", p.as_slice(), b"\r\n"].concat(),
        None => Vec::new(),
    };
    let options = ForwardOptions {
        top_via: fix.as_via(),
        routes: &routes,
        need_content_length: dst.proto.is_reliable(),
        ..ForwardOptions::default()
    };
    let mut out = core_reply::take_buffer();
    build::forward_request(&ctx.msg, &ctx.edits, ctx.ruri(), &via, &options, &mut out);
    out
}

/// Adds the legs to the transaction, with what a failure route will need.
fn publish(
    ctx: &mut Ctx,
    id: NodeId,
    base: usize,
    ready: &mut [Ready],
    to: &Target,
    sent_100: bool,
) -> Result<(), Refused> {
    let now = monotonic_ms();
    let saved = mine(ctx).saved_edits.take();
    let with_edits = saved.map(|s| std::mem::replace(&mut ctx.edits, s));
    let mut all = Vec::with_capacity(512);
    let m = mine(ctx);
    let side = m.side;
    let drop_mode = m.drop_replies.take();
    attrs::put(&mut all, Attr::Notify, &std::mem::take(&mut m.notify));
    for (what, name) in [
        (Attr::OnFailure, &m.on_failure),
        (Attr::OnBranchFailure, &m.on_branch_failure),
        (Attr::OnBranch, &m.on_branch),
        (Attr::OnReply, &m.on_reply),
    ] {
        attrs::put(&mut all, what, name.as_deref().unwrap_or("").as_bytes());
    }
    let is_set = |name: &Option<String>| name.as_ref().is_some_and(|n| !n.is_empty());
    let (failure_route, reply_route) = (is_set(&m.on_failure), is_set(&m.on_reply));
    attrs::put_ctx(&mut all, ctx);
    if let Some(e) = with_edits {
        ctx.edits = e;
    }
    let Some(mut open) = Open::node(id) else {
        return Err((500, "Server Internal Error"));
    };
    if open.tx.head.has(flag::CANCELED) && !open.tx.head.answered() {
        drop(open);
        return canceled(ctx, id).and(Err((487, "Request Terminated")));
    }
    if open.tx.head.answered() || open.tx.legs.len() != base {
        return Err((500, "Server Internal Error"));
    }
    if let Some(notify) = attrs::get(open.attrs(), Attr::Notify).filter(|_| base > 0) {
        attrs::put(&mut all, Attr::Notify, notify);
    }
    if base > 0 {
        forget_replies(&mut open, side, drop_mode);
        open.tx.head.step = open.tx.head.step.saturating_add(1);
    }
    let h = &mut open.tx.head;
    h.put(flag::HAS_FAILURE, failure_route);
    h.put(flag::SUSPENDED, false);
    h.fr_at = 0;
    h.put(flag::REPLICA, to.replicate);
    (h.msg_flags, h.sflags) = (ctx.flags, ctx.sflags);
    if sent_100 {
        h.put(flag::SENT_100, true);
        h.code = 100;
    }
    let own = ready
        .iter()
        .any(|r| attrs::get(&r.attrs, Attr::OnReply).is_some());
    h.put(flag::HAS_REPLY, reply_route || own);
    let mut kept = open.set(Piece::Attrs, &all);
    for r in ready.iter() {
        let at = open.tx.start_leg(r.leg, now);
        kept &= open.set_leg(at, LegPiece::Sent, &r.bytes);
        kept &= open.set_leg(at, LegPiece::Attrs, &r.attrs);
    }
    if kept && open.commit() {
        Ok(())
    } else {
        Err((503, "Service Unavailable"))
    }
}

/// Serial forking goes on: which earlier replies still count (`failure_reply_mode`, `t_drop_replies`).
fn forget_replies(open: &mut Open, side: Side, asked: Option<u8>) {
    let mode = match (asked, params::FAILURE_REPLY_MODE.get(), side) {
        (Some(m), ..) => m,
        (None, 1 | 3, Side::Failure { .. }) => b'a',
        (None, 2, Side::Failure { .. }) => b'l',
        _ => b'n',
    };
    let step = open.tx.head.step;
    for l in &mut open.tx.legs {
        if !l.is_active() && (mode == b'a' || mode == b'l' && l.step == step) {
            l.flags |= leg_flag::DROPPED;
        }
    }
}

fn send_all(ctx: &mut Ctx, id: NodeId, base: usize, ready: &[Ready]) -> Result<(), Refused> {
    let mut failed = Vec::new();
    for (i, r) in ready.iter().enumerate() {
        if !run::onsend(ctx, &r.bytes, &r.dst) {
            failed.push((base + i, 403));
            continue;
        }
        if let Err(e) = net::send(&r.dst, &r.bytes) {
            olelo_core::error!("tm", "{e}");
            if let Err(last) = failover::go_on(id, base + i, true) {
                failed.push((last, 477));
                continue;
            }
        }
        run::FWD_REQUESTS.inc();
    }
    let news = News {
        what: events::REQUEST_OUT,
        code: 0,
        leg: Some(base),
        reply: b"",
        made_here: false,
    };
    if failed.is_empty() {
        if let Some(head) = head_if_told(id, &news) {
            events::tell(id, &head, &news, Some(ctx));
        }
        return Ok(());
    }
    let mut all = false;
    if let Some(mut open) = Open::node(id) {
        for (at, code) in &failed {
            open.tx.fail_leg(*at, *code);
        }
        all = failed.len() == ready.len();
        let ended = open.tx.active() == 0 && !open.is_busy() && !open.tx.head.answered();
        open.commit();
        if ended && (!all || params::FAILURE_EXEC_MODE.is_on()) {
            act::carry_out(id, &Default::default(), vec![act::Out::Final], None);
            return Ok(());
        }
    }
    if all {
        Err((477, upstream::reason_of(477)))
    } else {
        Ok(())
    }
}

fn head_if_told(id: NodeId, news: &News<'_>) -> Option<crate::state::Head> {
    events::is_told(news.what)
        .then(|| Open::node(id).map(|o| o.tx.head))
        .flatten()
}

/// The destination of the leg in `ctx`, and those to try where it fails.
fn destination(ctx: &Ctx, to: &Target) -> Result<(Dst, Vec<Dst>), TargetError> {
    let hop = Hop {
        uri: to.uri.as_deref().unwrap_or_else(|| ctx.next_hop()),
        force: ctx.send_socket,
        came_by: Some(ctx.rcv.socket),
        proto: to.proto,
        avoid_listed: params::blocklist_looked_up(ctx.msg.method()),
    };
    let (mut dst, mut rest) = target::resolve_all(&hop)?;
    if to.uri.is_none() {
        dst.conn = ctx.dst_conn;
    }
    dst.flags = net::wishes(ctx).request;
    rest.iter_mut().for_each(|d| d.flags = dst.flags);
    Ok((dst, rest))
}

fn refused(ctx: &mut Ctx, e: &TargetError) -> Refused {
    olelo_core::error!("tm", "a request can't be relayed: {e}");
    let why = match e {
        TargetError::BadUri(_) => (478, "Unresolvable destination"),
        TargetError::Unresolved(_) => (478, "Unresolvable destination"),
        TargetError::NoSocket(_) | TargetError::Avoided(_) => (477, upstream::reason_of(477)),
    };
    olelo_sl::set_error(ctx, why.0, why.1);
    why
}

/// What a leg changes in the context, to be put back.
struct Before {
    uris: [Option<Vec<u8>>; 3],
    contact: Branch,
    bflags: u32,
    socket: Option<net::SocketId>,
    conn: Option<net::ConnId>,
    edits: olelo_sip::Checkpoint,
}

impl Before {
    fn of(ctx: &mut Ctx) -> Before {
        Before {
            uris: [ctx.new_uri.take(), ctx.dst_uri.take(), ctx.path.take()],
            contact: std::mem::take(&mut ctx.contact),
            bflags: ctx.bflags,
            socket: ctx.send_socket,
            conn: ctx.dst_conn,
            edits: ctx.edits.checkpoint(),
        }
    }

    fn restore(self, ctx: &mut Ctx) {
        [ctx.new_uri, ctx.dst_uri, ctx.path] = self.uris;
        ctx.contact = self.contact;
        ctx.bflags = self.bflags;
        ctx.send_socket = self.socket;
        ctx.dst_conn = self.conn;
        ctx.edits.rollback(self.edits);
    }
}
