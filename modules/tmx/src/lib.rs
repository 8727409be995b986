//! `tmx`: what scripts want of transactions beyond `tm` itself.
//!
//! Functions here look at or steer the message's transaction through `olelo_tm::tmx_api`. The
//! pre-check (`precheck`) is the one thing with state of its own: it knows which requests are being
//! routed right now, before there is a transaction.

#![forbid(unsafe_code)]

mod precheck;
mod stats;
mod vars;

use olelo_core::hooks;
use olelo_core::mem::NodeId;
use olelo_core::route::ctx::{Ctx, End};
use olelo_core::route::function::{
    ANY, BRANCH, CORE_ONREPLY, EVENT, FAILURE, Function, ONREPLY, REQUEST, Routes, TM_ONREPLY,
    function,
};
use olelo_core::route::module::{IntParam, Module, param_int};
use olelo_tm::tmx_api::{self as api, Which};

static PRECHECK: IntParam = IntParam::new(1);

const TRUE: i64 = 1;
const FALSE: i64 = -1;

fn rc(b: bool) -> i64 {
    if b { TRUE } else { FALSE }
}

fn functions() -> Vec<Function> {
    vec![
        function("t_precheck_trans", precheck::check)
            .cfg("t_precheck_trans")
            .routes(REQUEST)
            .doc("Whether another process is routing this request right now."),
        function("t_is_request_route", |c: &mut Ctx| is_route(c, REQUEST))
            .cfg("t_is_request_route")
            .doc("Whether a request route runs."),
        function("t_is_reply_route", |c: &mut Ctx| {
            rc(c.route == TM_ONREPLY || c.route == CORE_ONREPLY)
        })
        .cfg("t_is_reply_route")
        .doc("Whether a reply route runs."),
        function("t_is_failure_route", |c: &mut Ctx| is_route(c, FAILURE))
            .cfg("t_is_failure_route")
            .doc("Whether a failure route runs."),
        function("t_is_branch_route", |c: &mut Ctx| is_route(c, BRANCH))
            .cfg("t_is_branch_route")
            .doc("Whether a branch route runs."),
        function("t_suspend", |c: &mut Ctx| rc(api::suspend(c).is_some()))
            .cfg("t_suspend")
            .doc("The request waits for t_continue; $T(id_index) and $T(id_label) name it."),
        function("t_continue", t_continue)
            .cfg("t_continue")
            .args(["index", "label", "route"])
            .doc("Runs a route for a suspended request."),
        function("t_flush_flags", |c: &mut Ctx| rc(api::flush_flags(c)))
            .cfg("t_flush_flags")
            .doc("Copies the message's flags into its transaction."),
        function("t_flush_xflags", |c: &mut Ctx| rc(api::flush_flags(c)))
            .cfg("t_flush_xflags")
            .doc("Copies the message's flags into its transaction."),
        function("t_cancel_branches", t_cancel_branches)
            .cfg("t_cancel_branches")
            .args(["which"])
            .routes(Routes(ONREPLY.0 | FAILURE.0 | EVENT.0 | REQUEST.0))
            .doc("Cancels legs: `all`, `others`, `this`."),
        function("t_cancel_branch_idx", t_cancel_branch_idx)
            .cfg("t_cancel_branch_idx")
            .args(["index", "label", "branch"])
            .native_only()
            .doc("Cancels a leg of the transaction of this index and label."),
        function("t_reuse_branch", |c: &mut Ctx| rc(api::reuse_leg(c)))
            .cfg("t_reuse_branch")
            .routes(EVENT)
            .doc("In a branch failure route: the failed leg's destination once more."),
        function(
            "t_cancel_callid",
            |c: &mut Ctx, i: &[u8], n: i64, f: i64| cancel_callid(c, i, n, f, 0),
        )
        .args(["callid", "cseq", "flag"])
        .doc("Cancels the INVITE of this Call-ID and CSeq; sets a flag in it, where above 0."),
        function("t_cancel_callid_reason", cancel_callid)
            .args(["callid", "cseq", "flag", "code"])
            .doc("As t_cancel_callid, with a status as the Reason."),
        function(
            "t_cancel_callid_native",
            |c: &mut Ctx, i: &[u8], n: i64, f: i64, r: Option<i64>| {
                cancel_callid(c, i, n, f, r.unwrap_or(0))
            },
        )
        .cfg("t_cancel_callid")
        .args(["callid", "cseq", "flag", "code"])
        .native_only()
        .doc("Cancels the INVITE of this Call-ID and CSeq."),
        function("t_uac_ack_local", uac_ack_local)
            .args(["callid", "cseq", "headers", "body"])
            .doc("Not there: sends the ACK that t_set_no_auto_ack left out."),
        function(
            "t_uac_ack_local_native",
            |c: &mut Ctx, i: &str, n: &str, h: Option<&str>, b: Option<&str>| {
                uac_ack_local(c, i, n, h.unwrap_or(""), b.unwrap_or(""))
            },
        )
        .cfg("t_uac_ack_local")
        .args(["callid", "cseq", "headers", "body"])
        .native_only()
        .doc("Not there: sends the ACK that t_set_no_auto_ack left out."),
        function("t_reply_callid", t_reply_callid)
            .cfg("t_reply_callid")
            .args(["callid", "cseq", "code", "reason"])
            .doc("Replies to the request of this Call-ID and CSeq."),
        function("t_drop", |c: &mut Ctx| t_drop(c, 500))
            .doc("Ends the transaction without a reply."),
        function("t_drop_rcode", |c: &mut Ctx, code: i64| t_drop(c, code))
            .args(["code"])
            .doc("Ends the transaction without a reply; its status is this."),
        function("t_drop_native", |c: &mut Ctx, code: Option<i64>| {
            t_drop(c, code.unwrap_or(500))
        })
        .cfg("t_drop")
        .args(["code"])
        .native_only()
        .doc("Ends the transaction without a reply."),
        function("t_vbflag_set", |c: &mut Ctx, bit: i64| {
            vbflag(c, bit, Some(true))
        })
        .cfg("t_vbflag_set")
        .args(["bit"])
        .routes(ANY)
        .native_only()
        .doc("Sets a branch flag of the leg at hand."),
        function("t_vbflag_reset", |c: &mut Ctx, bit: i64| {
            vbflag(c, bit, Some(false))
        })
        .cfg("t_vbflag_reset")
        .args(["bit"])
        .native_only()
        .doc("Clears a branch flag of the leg at hand."),
        function("t_vbflag_is_set", |c: &mut Ctx, bit: i64| {
            vbflag(c, bit, None)
        })
        .cfg("t_vbflag_is_set")
        .args(["bit"])
        .native_only()
        .doc("Whether a branch flag of the leg at hand is set."),
    ]
}

fn is_route(ctx: &mut Ctx, which: Routes) -> i64 {
    rc(ctx.route == which)
}

fn node(index: i64, label: i64) -> Option<NodeId> {
    Some(NodeId {
        bucket: u32::try_from(index).ok()?,
        id: u32::try_from(label).ok()?,
    })
}

fn t_continue(_: &mut Ctx, index: i64, label: i64, route: &str) -> i64 {
    rc(node(index, label).is_some_and(|id| api::resume(id, route)))
}

fn t_cancel_branches(ctx: &mut Ctx, which: &str) -> i64 {
    let (Some(id), leg) = (api::transaction(ctx), api::leg(ctx)) else {
        return FALSE;
    };
    let which = match (which, leg) {
        ("all", _) => Which::All,
        ("others", Some(leg)) => Which::Others(leg),
        ("this", Some(leg)) => Which::This(leg),
        ("others" | "this", None) => return FALSE,
        (other, _) => {
            olelo_core::error!(
                "tmx",
                "t_cancel_branches: \"{other}\" is none of all, others, this"
            );
            return FALSE;
        }
    };
    rc(api::cancel_legs(id, which, 0))
}

fn t_cancel_branch_idx(_: &mut Ctx, index: i64, label: i64, branch: i64) -> i64 {
    let leg = usize::try_from(branch).ok();
    rc(node(index, label)
        .zip(leg)
        .is_some_and(|(id, leg)| api::cancel_legs(id, Which::This(leg), 0)))
}

fn cancel_callid(_: &mut Ctx, call_id: &[u8], cseq: i64, flag: i64, code: i64) -> i64 {
    let Some(id) = u32::try_from(cseq)
        .ok()
        .and_then(|n| api::find_call(call_id, n))
    else {
        return FALSE;
    };
    if let Ok(bit @ 1..) = u32::try_from(flag) {
        api::set_flag(id, bit);
    }
    let code = u16::try_from(code).unwrap_or(0);
    rc(api::cancel_legs(id, Which::All, code))
}

fn uac_ack_local(_: &mut Ctx, _call_id: &str, _cseq: &str, _headers: &str, _body: &str) -> i64 {
    olelo_core::error!(
        "tmx",
        "t_uac_ack_local: the ACK of a local INVITE is sent by tm"
    );
    FALSE
}

fn t_reply_callid(_: &mut Ctx, call_id: &[u8], cseq: i64, code: i64, reason: &str) -> i64 {
    let code = u16::try_from(code).ok().filter(|c| (100..700).contains(c));
    let found = u32::try_from(cseq)
        .ok()
        .and_then(|n| api::find_call(call_id, n));
    match (found, code) {
        (Some(id), Some(code)) => api::answer(id, code, reason),
        _ => FALSE,
    }
}

fn t_drop(ctx: &mut Ctx, code: i64) -> i64 {
    let done = api::drop_transaction(ctx, u16::try_from(code).unwrap_or(500));
    ctx.end = End::Drop;
    // 0 ends the route.
    if done { 0 } else { FALSE }
}

fn vbflag(ctx: &mut Ctx, bit: i64, set: Option<bool>) -> i64 {
    let Some(mask) = u32::try_from(bit).ok().and_then(|b| 1u32.checked_shl(b)) else {
        return FALSE;
    };
    match set {
        Some(true) => ctx.bflags |= mask,
        Some(false) => ctx.bflags &= !mask,
        None => return rc(ctx.bflags & mask != 0),
    }
    TRUE
}

fn init() -> Result<(), String> {
    if PRECHECK.is_on() {
        precheck::create()?;
        hooks::POST_SCRIPT.add(precheck::done);
    }
    Ok(())
}

/// The module.
pub fn module() -> Module {
    let mut m = Module::new("tmx")
        .doc("More on transactions: pre-check, pseudo-variables, suspending, statistics.")
        .depends("tm")
        .param(
            param_int("precheck_trans", &PRECHECK)
                .doc("Know which requests are being routed, for t_precheck_trans."),
        )
        .event("tmx:continue", "A suspended transaction goes on.")
        .init(init)
        .worker_died(precheck::worker_died);
    m.functions = functions();
    m.pvs = vars::all();
    m.stats = stats::ALL.to_vec();
    m
}
