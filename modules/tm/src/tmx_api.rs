//! What `tmx` needs of `tm`, and may be of use to others.

use crate::attrs::{self, Attr};
use crate::cancel;
use crate::mine::{Side, mine, mine_ref, node};
use crate::received;
use crate::script;
use crate::state::flag;
use crate::stats;
use crate::store::{self, LegPiece, Open, Piece, head_of};

use crate::upstream::{self, Answer};
use olelo_core::mem::NodeId;
use olelo_core::route::ctx::{Branch, Ctx};
use olelo_core::timer::monotonic_ms;

pub use crate::script::{find_call, status};
pub use crate::suspend::{resume, suspend};

/// What a transaction looks like from outside.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Last status sent upstream, or of the best leg of a local request; 0 for none.
    pub code: u16,
    /// The last reply was made here.
    pub local_reply: bool,
    /// The last reply upstream.
    pub last_reply: Vec<u8>,
    /// The request as received.
    pub request: Vec<u8>,
    /// The transaction was suspended.
    pub suspended: bool,
}

/// A leg from outside.
#[derive(Debug, Clone, Default)]
pub struct LegView {
    /// Last status.
    pub code: u16,
    /// Branch flags.
    pub flags: u32,
    /// Its final reply, where one is kept.
    pub reply: Vec<u8>,
    /// The request as sent.
    pub sent: Vec<u8>,
    /// What is known of its contact.
    pub contact: Branch,
}

/// How a leg takes part in `t_cancel_branches`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Every leg.
    All,
    /// All but this one.
    Others(usize),
    /// This one.
    This(usize),
}

/// The transaction of the message in `ctx`, also where only a look-up finds it.
pub fn transaction(ctx: &Ctx) -> Option<NodeId> {
    match mine_ref(ctx).and_then(|m| m.node.or(m.invite)) {
        Some(id) => Some(id),
        None if ctx.msg.is_request() => crate::lookup::request(ctx),
        None => received::leg_of(ctx).map(|(id, _)| id),
    }
}

/// In a branch route: the Via branch that the leg's request will have.
pub fn next_branch(ctx: &Ctx) -> Option<String> {
    if ctx.route != olelo_core::route::function::BRANCH {
        return None;
    }
    let leg = usize::try_from(ctx.branch_index).ok()?;
    Some(crate::ids::branch(transaction(ctx)?, leg))
}

/// The leg that the message or route is about.
pub fn leg(ctx: &Ctx) -> Option<usize> {
    match mine_ref(ctx).map(|m| m.side) {
        Some(Side::Failure { leg, .. }) => leg,
        Some(Side::LegFailure { leg, .. } | Side::Reply { leg }) => Some(leg),
        _ if !ctx.msg.is_request() => received::leg_of(ctx).map(|(_, leg)| leg),
        _ => usize::try_from(ctx.branch_index).ok(),
    }
}

/// The transaction from outside.
pub fn view(id: NodeId) -> Option<View> {
    let o = Open::node(id)?;
    let own = |p| o.piece(p).unwrap_or_default().to_vec();
    Some(View {
        code: o.tx.head.code,
        local_reply: o.tx.head.has(flag::LOCAL_REPLY),
        last_reply: own(Piece::Reply),
        request: own(Piece::Request),
        suspended: o.tx.head.has(flag::SUSPENDED),
    })
}

/// A leg from outside.
pub fn leg_view(id: NodeId, leg: usize) -> Option<LegView> {
    let o = Open::node(id)?;
    let l = *o.tx.legs.get(leg)?;
    let own = |p| o.leg_piece(leg, p).unwrap_or_default().to_vec();
    Some(LegView {
        code: l.code,
        flags: l.bflags,
        reply: own(LegPiece::Reply),
        sent: own(LegPiece::Sent),
        contact: attrs::contact(&own(LegPiece::Attrs)),
    })
}

/// Cancels legs of a transaction; a code other than 0 becomes the Reason.
pub fn cancel_legs(id: NodeId, which: Which, code: u16) -> bool {
    cancel::cancel_some(id, code, move |i| match which {
        Which::All => false,
        Which::Others(me) => i == me,
        Which::This(me) => i != me,
    })
}

/// Sets a message flag in a transaction.
pub fn set_flag(id: NodeId, bit: u32) -> bool {
    Open::node(id).is_some_and(|mut o| {
        o.tx.head.msg_flags |= 1u32.checked_shl(bit).unwrap_or(0);
        o.commit()
    })
}

/// Copies the message's flags into its transaction.
pub fn flush_flags(ctx: &Ctx) -> bool {
    node(ctx).and_then(Open::node).is_some_and(|mut o| {
        o.tx.head.msg_flags = ctx.flags;
        o.commit()
    })
}

/// Ends a transaction without a reply; it absorbs what comes late.
pub fn drop_transaction(ctx: &mut Ctx, code: u16) -> bool {
    let Some(id) = transaction(ctx) else {
        return false;
    };
    mine(ctx).dropped = true;
    Open::node(id).is_some_and(|mut o| {
        let mut todo = Vec::new();
        let now = monotonic_ms();
        o.tx.cancel_legs(now, &crate::params::rules(), |_| false, &mut todo);
        let out = crate::act::prepare(&mut o, &todo, None);
        o.tx.release(now);
        o.tx.head.code = code;
        let head = o.tx.head;
        let done = o.commit();
        crate::act::carry_out(id, &head, out, None);
        done
    })
}

/// In a branch failure route: the failed leg's destination is the request's again.
pub fn reuse_leg(ctx: &mut Ctx) -> bool {
    let Some(Side::LegFailure { leg, .. }) = mine_ref(ctx).map(|m| m.side) else {
        return false;
    };
    let Some(o) = node(ctx).and_then(Open::node) else {
        return false;
    };
    let own = o.leg_piece(leg, LegPiece::Attrs).unwrap_or_default();
    let sent = o
        .leg_piece(leg, LegPiece::Sent)
        .and_then(|b| olelo_sip::message::Index::of(b).ok().map(|i| (i, b)));
    let Some((index, bytes)) = sent else {
        return false;
    };
    let olelo_sip::FirstLine::Request { uri, .. } = index.first_line() else {
        return false;
    };
    let uri = uri.of(bytes).to_vec();
    ctx.path = attrs::get(own, Attr::Path).map(<[u8]>::to_vec);
    ctx.contact = attrs::contact(own);
    ctx.bflags = o.tx.legs.get(leg).map_or(0, |l| l.bflags);
    drop(o);
    ctx.set_ruri(&uri);
    // Counts as a new destination although the URI may be the same.
    mine(ctx).uri_before = (None, Some(b"-".to_vec()));
    true
}

/// Answers a transaction's request. 1 where it was sent, else -1.
pub fn answer(id: NodeId, code: u16, reason: &str) -> i64 {
    upstream::answer_node(
        id,
        &Answer {
            code,
            reason,
            ..Answer::default()
        },
    )
}

/// Makes a request of texts and sends it, as `t_uac_send`.
pub fn send_request(
    method: &str,
    ruri: &[u8],
    next_hop: &[u8],
    socket: &str,
    headers: &[u8],
    body: &[u8],
) -> Result<NodeId, String> {
    script::send_text(method, ruri, next_hop, socket, headers, body, false, None)
}

/// Transactions without a final reply.
pub fn active() -> i64 {
    (stats::CREATED.get() - stats::ENDED.get()).clamp(0, crate::in_use() as i64)
}

/// Calls `f` for each transaction; locks one bucket at a time.
pub fn for_each(mut f: impl FnMut(NodeId, &crate::state::Head)) {
    if let Some(s) = store::store() {
        s.table.for_each_bucket(|g| {
            for r in g.iter() {
                if let Some(h) = head_of(&r) {
                    f(r.id(), &h);
                }
            }
        });
    }
}
