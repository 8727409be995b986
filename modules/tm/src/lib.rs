//! `tm`: transactions. Stateful relaying, forking, retransmission, failure routes, local requests.
//!
//! | file | what it is |
//! |---|---|
//! | `state`, `machine`, `best` | the state machine: plain data and pure decisions |
//! | `ids`, `lookup` | how messages find their transaction |
//! | `store`, `attrs` | transactions in shared memory |
//! | `relay` | requests go on: legs |
//! | `received` | replies come in |
//! | `upstream` | replies made here |
//! | `failover` | a leg goes on to the next place of its name |
//! | `failure` | all legs have failed |
//! | `cancel`, `uac`, `suspend` | CANCEL, local requests, waiting |
//! | `act`, `timers` | carrying out; the clock |
//! | `promise`, `orphan` | what is decided and not yet done, and whose process died over it |
//! | `events` | what other modules are told |
//! | `script`, `contacts`, `commands`, `params` | what operators see |
//!
//! Any process may act on any transaction: its bucket is locked while it is read and changed, never
//! while something is sent or a script runs. `LIFECYCLE.md` beside this draws the states.

#![forbid(unsafe_code)]

mod act;
mod attrs;
mod best;
mod cancel;
mod commands;
mod contacts;
pub mod events;
mod failover;
mod failure;
mod ids;
mod lookup;
mod machine;
#[cfg(test)]
mod machine_tests;
mod mine;
mod orphan;
#[cfg(test)]
mod orphan_tests;
mod params;
mod promise;
mod received;
mod relay;
mod revive;
mod script;
mod settings;
mod state;
pub mod stats;
mod store;
#[cfg(test)]
mod store_tests;
mod suspend;
mod timers;
pub mod tmx_api;
pub mod uac;
mod upstream;

use crate::mine::{Mine, mine};
use crate::state::flag;
use crate::store::Open;
use crate::upstream::Answer;
use olelo_core::hooks;
use olelo_core::mem::NodeId;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::module::Module;
use olelo_core::timer::{self, Pace, monotonic_ms};

pub use events::{Brief, Callback, Event, on};

/// The transaction of the message in `ctx`, if the script has created or found one.
pub fn current(ctx: &Ctx) -> Option<NodeId> {
    mine::node(ctx)
}

/// The transaction of the INVITE that the CANCEL in `ctx` is for.
pub fn invite_of_cancel(ctx: &Ctx) -> Option<NodeId> {
    lookup::canceled_invite(ctx)
}

/// Runs `f` with the request of a transaction, as it was relayed; `None` where it is gone.
pub fn with_request<R>(id: NodeId, f: impl FnOnce(&mut Ctx) -> R) -> Option<R> {
    revive::with(id, f)
}

/// Replies through a transaction from anywhere. 1 where it was sent, else -1.
pub fn reply(id: NodeId, code: u16, reason: &str) -> i64 {
    let a = Answer {
        code,
        reason,
        ..Answer::default()
    };
    upstream::answer_node(id, &a)
}

/// Relays the request in `ctx` with state, as `t_relay` does.
pub fn relay(ctx: &mut Ctx) -> i64 {
    relay::relay(ctx, &relay::Target::default())
}

/// Creates the transaction of the request in `ctx`, as `t_newtran` does.
pub fn new_transaction(ctx: &mut Ctx) -> i64 {
    script::t_newtran(ctx)
}

/// Sends CANCELs to what a transaction has still open.
pub fn cancel(id: NodeId) -> bool {
    cancel::cancel(id, b"", None)
}

/// How many transactions there are.
pub fn in_use() -> usize {
    store::store().map_or(0, |s| s.table.len())
}

/// `sl` asks: the request has a transaction?
fn reply_of_sl(ctx: &mut Ctx, code: u16, reason: &str) -> Option<i64> {
    mine::node(ctx)?;
    upstream::answer_here(ctx, code, reason)
}

fn stateless_reply_sent(ctx: &mut Ctx, code: u16, _: &str, _: &[u8]) {
    if code >= 200 && ctx.ext_ref::<Mine>().is_some() {
        mine(ctx).answered_stateless = true;
    }
}

/// The script has failed: a request with a transaction is answered through it.
fn script_failed(ctx: &mut Ctx) -> bool {
    let Some(id) = mine::node(ctx).filter(|_| mine(ctx).created) else {
        return false;
    };
    let Some(open) = Open::node(id) else {
        return false;
    };
    let (answered, legs) = (open.tx.head.answered(), open.tx.active());
    drop(open);
    if !answered && legs == 0 {
        let a = Answer {
            code: 500,
            reason: "Server Internal Error",
            ..Answer::default()
        };
        upstream::answer(ctx, id, &a);
    }
    true
}

/// The route of a request has ended: nobody works on its transaction any more.
fn script_ended(ctx: &mut Ctx) {
    let Some(id) = mine::node(ctx).filter(|_| ctx.msg.is_request() && mine(ctx).created) else {
        return;
    };
    let _promise = promise::promise(id);
    let Some(mut open) = Open::node(id) else {
        return;
    };
    if open.is_busy() {
        // Its legs have failed already, elsewhere: that process runs the failure route and decides.
        return open.leave();
    }
    open.set_mark(None);
    let h = open.tx.head;
    let running = open.tx.active() > 0 || h.answered() || h.has(flag::SUSPENDED);
    if running {
        return open.leave();
    }
    let m = mine(ctx);
    let (delayed, stateless) = (m.delayed.take(), m.answered_stateless);
    if delayed.is_none() && !stateless && !m.no_internal_reply && open.tx.settle().is_some() {
        // It was relayed and its last leg has ended just now: whoever comes first finishes it.
        drop(open);
        return failure::finish(id);
    }
    if h.has(flag::CANCELED) && !stateless {
        drop(open);
        let a = Answer {
            code: 487,
            reason: "Request Terminated",
            ..Answer::default()
        };
        upstream::answer(ctx, id, &a);
        return;
    }
    match delayed.filter(|_| !stateless && params::DELAYED_REPLY.is_on()) {
        Some((code, reason)) => {
            drop(open);
            let text = format!("{reason} ({code}/TM)");
            let a = Answer {
                code,
                reason: &text,
                ..Answer::default()
            };
            upstream::answer(ctx, id, &a);
        }
        None => {
            if !stateless && !h.has(flag::RELEASED) {
                olelo_core::warn!(
                    "tm",
                    "a transaction was created and neither relayed nor answered; it is released"
                );
            }
            open.tx.release(monotonic_ms());
            open.commit();
        }
    }
}

fn init() -> Result<(), String> {
    // Before the forks: every process must have the same.
    let _ = olelo_core::proc::secret();
    store::create()?;
    promise::create()?;
    hooks::REPLY.add(received::reply);
    hooks::SCRIPT_FAILED.add(script_failed);
    hooks::POST_SCRIPT.add(script_ended);
    hooks::LOCAL_REPLY.add(stateless_reply_sent);
    hooks::UNSENT.add(failover::not_sent);
    olelo_sl::STATEFUL.add(reply_of_sl);
    olelo_sl::STATEFUL_TAG.add(|ctx| mine::node(ctx).map(|id| ids::to_tag(id).into_bytes()));
    timer::every("tm timers", 10, Pace::Fast, timers::tick);
    timer::every("tm sweep", 5_000, Pace::Slow, timers::sweep);
    Ok(())
}

/// The module.
pub fn module() -> Module {
    let mut m = Module::new("tm")
        .doc("Transactions: stateful relaying, forking, timers, failure routes, local requests.")
        .event(
            "tm:local-request",
            "A request made here is about to be sent.",
        )
        .event(
            "tm:local-response",
            "A reply was made here and sent through its transaction.",
        )
        .event("tm:local-ack-sent", "The ACK of a local INVITE was sent.")
        .event(
            "tm:branch-failure:<name>",
            "A branch has failed; see t_on_branch_failure.",
        )
        .event("tm:continue", "A suspended transaction goes on.")
        .init(init)
        .worker_died(orphan::worker_died);
    m.functions = script::functions();
    m.functions.extend(contacts::functions());
    m.params = params::all();
    m.rpcs = commands::rpcs();
    m.stats = stats::ALL.to_vec();
    m.dynamic(params::DYNAMIC)
}
