//! A transaction's request as a context again: for failure routes, replies of the timer, callbacks.
//!
//! Contexts are kept per process and used again; a stack, because a failure route may run while a
//! reply is worked on, and end the transaction in a way that revives it once more.

use crate::attrs::{self, Attr};
use crate::mine::mine;
use crate::state::flag;
use crate::store::{Open, Piece};
use olelo_core::mem::NodeId;
use olelo_core::route::ctx::{Ctx, Received};
use std::cell::RefCell;

/// Contexts kept for use again.
const SPARE: usize = 8;

thread_local! {
    static POOL: RefCell<Vec<Ctx>> = const { RefCell::new(Vec::new()) };
}

/// Runs `f` with the request of a transaction as it was relayed; `None` where it is gone or can't be
/// read.
pub fn with<R>(id: NodeId, f: impl FnOnce(&mut Ctx) -> R) -> Option<R> {
    let open = Open::node(id)?;
    let mut ctx = take();
    fill(&open, &mut ctx);
    drop(open);
    let parsed = ctx.msg.parse().is_ok();
    mine(&mut ctx).node = Some(id);
    let result = parsed.then(|| f(&mut ctx));
    give_back(ctx);
    result
}

/// An empty context of this process.
pub fn take() -> Ctx {
    POOL.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Returns a context for use again.
pub fn give_back(mut ctx: Ctx) {
    ctx.reset();
    POOL.with_borrow_mut(|p| {
        if p.len() < SPARE {
            p.push(ctx);
        }
    });
}

/// Copies a transaction's request and decisions into a context; the message is not parsed yet.
pub fn fill(open: &Open, ctx: &mut Ctx) {
    ctx.reset();
    ctx.msg
        .buf_mut()
        .extend_from_slice(open.piece(Piece::Request).unwrap_or_default());
    attrs::restore(open.attrs(), ctx);
    let h = &open.tx.head;
    ctx.flags = h.msg_flags;
    ctx.sflags = h.sflags;
    ctx.force_rport = h.has(flag::FORCE_RPORT);
    ctx.received_ms = h.created;
    ctx.rcv = received(open);
    ctx.local = h.has(flag::LOCAL);
    let own = |a| attrs::text(open.attrs(), a).map(str::to_string);
    let routes = (
        own(Attr::OnBranch),
        own(Attr::OnReply),
        own(Attr::OnBranchFailure),
    );
    let m = mine(ctx);
    (m.on_branch, m.on_reply, m.on_branch_failure) = routes;
}

/// Where a transaction's request came from.
pub fn received(open: &Open) -> Received {
    let from = open.tx.head.src.dst();
    let own = olelo_core::server()
        .sockets
        .get(from.socket)
        .map(|l| l.addr);
    Received {
        proto: from.proto,
        src: from.addr,
        dst: own.unwrap_or(Received::default().dst),
        socket: from.socket,
        conn: from.conn,
    }
}
