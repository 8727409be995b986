//! `t_suspend` and `t_continue`: a request waits, without its process, for something else.
//!
//! A suspended transaction has no leg; its final-response timer runs, so what is never continued
//! fails as a leg without reply does.

use crate::failure;
use crate::lookup::{self, Created};
use crate::machine::Do;
use crate::mine::{Side, mine};
use crate::promise::promise;
use crate::revive;
use crate::state::flag;
use crate::store::{Mark, Open, Piece};
use crate::upstream::{self, Answer};
use crate::{attrs, relay};
use olelo_core::mem::{NodeId, current_slot};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::FAILURE;
use olelo_core::route::run;
use olelo_core::timer::monotonic_ms;

/// Suspends the request in `ctx`; its transaction is created where there is none.
pub fn suspend(ctx: &mut Ctx) -> Option<NodeId> {
    if !ctx.msg.is_request() {
        olelo_core::error!("tm", "t_suspend: a reply can't be suspended");
        return None;
    }
    let id = match mine(ctx).node {
        Some(id) => id,
        None => match lookup::create(ctx, false) {
            Created::New(id) => id,
            Created::NoMemory => {
                relay::refuse_for_memory(ctx);
                return None;
            }
            _ => return None,
        },
    };
    let m = mine(ctx);
    let text = |s: &Option<String>| s.clone().unwrap_or_default().into_bytes();
    let routes = [
        (attrs::Attr::OnFailure, text(&m.on_failure)),
        (attrs::Attr::OnBranch, text(&m.on_branch)),
        (attrs::Attr::OnReply, text(&m.on_reply)),
    ];
    let mut all = Vec::with_capacity(256);
    for (what, name) in &routes {
        attrs::put(&mut all, *what, name);
    }
    attrs::put_ctx(&mut all, ctx);
    let mut open = Open::node(id)?;
    if open.tx.head.answered() {
        return None;
    }
    open.set(Piece::Attrs, &all);
    let h = &mut open.tx.head;
    h.put(flag::SUSPENDED, true);
    h.put(flag::HAS_FAILURE, !routes[0].1.is_empty());
    h.msg_flags = ctx.flags;
    h.fr_at = monotonic_ms() + u64::from(h.fr);
    open.commit().then_some(id)
}

/// Runs `route` for a suspended request, as a failure route. True where it was suspended.
pub fn resume(id: NodeId, route: &str) -> bool {
    let Some(mut open) = Open::node(id) else {
        return false;
    };
    if !open.tx.head.has(flag::SUSPENDED) || open.is_busy() {
        return false;
    }
    let _promise = promise(id);
    open.tx.head.put(flag::SUSPENDED, false);
    open.tx.head.fr_at = 0;
    open.set_mark(Some((Mark::Busy, current_slot())));
    open.commit();
    revive::with(id, |ctx| {
        mine(ctx).side = Side::Failure { leg: None, code: 0 };
        // The request URI counts as new: nothing was relayed yet.
        mine(ctx).uri_before = (Some(b"-".to_vec()), None);
        run::call(ctx, route, Some("tm:continue"), FAILURE);
        failure::keep_ctx(ctx, id);
    });
    let Some(mut open) = Open::node(id) else {
        return true;
    };
    open.set_mark(None);
    let h = open.tx.head;
    let (legs, settled) = (open.tx.legs.len(), open.tx.settle());
    if h.answered() || h.has(flag::SUSPENDED) || open.tx.active() > 0 {
        open.leave();
    } else if legs == 0 {
        open.leave();
        let code = if h.has(flag::CANCELED) { 487 } else { 500 };
        upstream::answer_node(
            id,
            &Answer {
                code,
                reason: upstream::reason_of(code),
                ..Answer::default()
            },
        );
    } else {
        open.leave();
        if settled == Some(Do::Final) {
            failure::finish(id);
        }
    }
    true
}
