//! What scripts set for a transaction: routes, timeouts, flags.
//!
//! Before there is a transaction the settings wait in [`crate::mine::Mine`]; where there is one they
//! change it at once, under its bucket's lock.

use crate::attrs::{self, Attr};
use crate::mine::{Side, mine, node};
use crate::script::{FALSE, TRUE, rc};
use crate::state::{Tx, flag};
use crate::store::{Open, Piece};
use olelo_core::route::ctx::Ctx;
use olelo_core::timer::monotonic_ms;

/// Sets or, by an empty name, clears a route that the transaction will call.
pub fn set_route(ctx: &mut Ctx, what: Attr, name: &str) -> i64 {
    let value = (!name.is_empty()).then(|| name.to_string());
    let m = mine(ctx);
    let place = match what {
        Attr::OnFailure => &mut m.on_failure,
        Attr::OnBranchFailure => &mut m.on_branch_failure,
        Attr::OnBranch => &mut m.on_branch,
        _ => &mut m.on_reply,
    };
    *place = value;
    // A reply route changes its transaction at once; others when they relay.
    if matches!(m.side, Side::Reply { .. })
        && let Some(mut open) = m.node.and_then(Open::node)
    {
        let all = attrs::with(open.attrs(), what, name.as_bytes());
        open.set(Piece::Attrs, &all);
        match what {
            Attr::OnFailure => open.tx.head.put(flag::HAS_FAILURE, !name.is_empty()),
            Attr::OnReply => open.tx.head.put(flag::HAS_REPLY, !name.is_empty()),
            _ => {}
        }
        open.commit();
    }
    TRUE
}

/// `t_is_set`.
pub fn t_is_set(ctx: &mut Ctx, target: &str) -> i64 {
    let what = match target {
        "failure_route" => Attr::OnFailure,
        "branch_route" => Attr::OnBranch,
        "onreply_route" => Attr::OnReply,
        "branch_failure_route" => Attr::OnBranchFailure,
        _ => {
            olelo_core::error!(
                "tm",
                "t_is_set: \"{target}\" is none of branch_route, failure_route, onreply_route, branch_failure_route"
            );
            return FALSE;
        }
    };
    let m = mine(ctx);
    let own = match what {
        Attr::OnFailure => &m.on_failure,
        Attr::OnBranch => &m.on_branch,
        Attr::OnReply => &m.on_reply,
        _ => &m.on_branch_failure,
    };
    if own.is_some() {
        return TRUE;
    }
    let in_reply = matches!(m.side, Side::Reply { .. });
    let open = m.node.filter(|_| in_reply).and_then(Open::node);
    rc(open.is_some_and(|o| attrs::get(o.attrs(), what).is_some()))
}

/// `t_drop_replies`: which replies are forgotten when legs are added.
pub fn t_drop_replies(ctx: &mut Ctx, mode: Option<&str>) -> i64 {
    mine(ctx).drop_replies = Some(match mode {
        Some("n") => b'n',
        Some("l") => b'l',
        _ => b'a',
    });
    TRUE
}

fn as_ms(v: i64) -> u32 {
    u32::try_from(v).unwrap_or(0)
}

/// Timeouts in milliseconds, of an INVITE's legs that ring and of all others; 0 keeps one.
pub fn set_fr(ctx: &mut Ctx, fr_inv: i64, fr: i64) -> i64 {
    let (fr_inv, fr) = (as_ms(fr_inv), as_ms(fr));
    let m = mine(ctx);
    if fr != 0 {
        m.timers[0] = fr;
    }
    if fr_inv != 0 {
        m.timers[1] = fr_inv;
    }
    change(ctx, |t| t.set_fr(fr, fr_inv, monotonic_ms()))
}

/// Retransmission intervals T1 and T2 in milliseconds; 0 keeps one.
pub fn set_retr(ctx: &mut Ctx, t1: i64, t2: i64) -> i64 {
    let new = [as_ms(t1), as_ms(t2)];
    let m = mine(ctx);
    for (own, n) in m.timers[2..].iter_mut().zip(new) {
        if n != 0 {
            *own = n;
        }
    }
    change(ctx, |t| {
        let h = &mut t.head;
        let was = h.t2;
        for (own, n) in [&mut h.t1, &mut h.t2].into_iter().zip(new) {
            if n != 0 {
                *own = n.max(10);
            }
        }
        let (t1, t2) = (h.t1, h.t2);
        for l in t.legs.iter_mut().filter(|l| l.resend != 0) {
            l.interval = if l.interval >= was {
                t2
            } else {
                (t1 / 2).max(1)
            };
        }
    })
}

/// Lifetimes in milliseconds, of INVITE and of other transactions; 0 keeps one.
pub fn set_life(ctx: &mut Ctx, inv: i64, noninv: i64) -> i64 {
    let new = [as_ms(inv), as_ms(noninv)];
    let m = mine(ctx);
    for (own, n) in m.life.iter_mut().zip(new) {
        if n != 0 {
            *own = n;
        }
    }
    change(ctx, |t| {
        let n = new[usize::from(!t.head.has(flag::INVITE))];
        if n == 0 {
            return;
        }
        let end = t.head.created + u64::from(n);
        t.head.life_end = end;
        for l in t.legs.iter_mut().filter(|l| l.fr_at != 0) {
            l.fr_at = l.fr_at.min(end);
        }
    })
}

/// Sets or clears a flag of the transaction, or of the one to be.
pub fn set_flag(ctx: &mut Ctx, f: u32, on: bool) -> i64 {
    let m = mine(ctx);
    m.set_flags &= !f;
    m.clear_flags &= !f;
    if on {
        m.set_flags |= f;
    } else {
        m.clear_flags |= f;
    }
    change(ctx, |t| t.head.put(f, on))
}

/// Changes the message's transaction, where it has one.
fn change(ctx: &mut Ctx, f: impl FnOnce(&mut Tx)) -> i64 {
    let Some(mut open) = node(ctx).and_then(Open::node) else {
        return TRUE;
    };
    f(&mut open.tx);
    rc(open.commit())
}
