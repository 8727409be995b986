//! The functions that scripts call. Return values as documented: above 0 true, below 0 false, 0 ends
//! the route.

use crate::attrs::Attr;
use crate::cancel;
use crate::ids;
use crate::lookup::{self, AckOf, Created};
use crate::mine::{Side, mine, mine_ref, node};
use crate::params;
use crate::received;
use crate::relay::{self, Target};
use crate::settings::{set_flag, set_fr, set_life, set_retr, set_route, t_drop_replies, t_is_set};
use crate::state::{Tx, flag, leg_flag};
use crate::store::{Open, Piece};
use crate::timers;
use crate::uac::{self, Request};
use crate::upstream;
use olelo_core::net::Proto;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{
    ANY, BRANCH, EVENT, FAILURE, Function, ONREPLY, REQUEST, Routes, TM_ONREPLY, function,
};
use olelo_core::timer::monotonic_ms;
use olelo_sip::{HeaderName, Message, Method};
use std::cell::RefCell;
use std::collections::HashMap;

const REQ_FAIL: Routes = Routes(REQUEST.0 | FAILURE.0 | EVENT.0);
const SETTERS: Routes = Routes(REQUEST.0 | FAILURE.0 | TM_ONREPLY.0 | BRANCH.0 | EVENT.0);
pub(crate) const TRUE: i64 = 1;
pub(crate) const FALSE: i64 = -1;

/// All functions.
pub fn functions() -> Vec<Function> {
    let mut v = relaying();
    v.extend(creating());
    v.extend(routes());
    v.extend(timing());
    v.extend(switches());
    v.extend(asking());
    v
}

fn relaying() -> Vec<Function> {
    let mut v = vec![
        function("t_relay", t_relay).cfg("t_relay").args(["host", "port"]).routes(REQ_FAIL).doc("Relays the request with state: to where routing has sent it, or to this host and port."),
        function("t_relay_to_proto", |c: &mut Ctx, p: &str| relay_proto(c, p, None, None)).args(["proto"]).routes(REQ_FAIL).doc("Relays over this transport."),
        function("t_relay_to_proto_addr", |c: &mut Ctx, p: &str, h: &str, n: i64| relay_proto(c, p, Some(h), Some(n))).args(["proto", "host", "port"]).routes(REQ_FAIL).doc("Relays over this transport to this host and port."),
        function("t_relay_to_proxy", |c: &mut Ctx, p: &str| relay_to(c, Some(p), 0)).cfg("t_relay_to_proxy").args(["proxy"]).routes(REQ_FAIL).doc("Relays to `proto:host:port`."),
        function("t_relay_to_flags", |c: &mut Ctx, f: i64| relay_to(c, None, f)).args(["flags"]).routes(REQ_FAIL).doc("Relays; flags are a sum of 1 (no 100), 2 (no reply on an error), 4 (no DNS failover)."),
        function("t_relay_to_proxy_flags", |c: &mut Ctx, p: &str, f: i64| relay_to(c, Some(p), f)).args(["proxy", "flags"]).routes(REQ_FAIL).doc("Relays to `proto:host:port` with flags, see t_relay_to_flags."),
        function("t_relay_to", relay_to_any).cfg("t_relay_to").args(["proxy", "flags"]).routes(REQ_FAIL).native_only().doc("Relays to `proto:host:port`, or with flags, or both."),
        function("t_forward_nonack", t_forward).cfg("t_forward_nonack").args(["host", "port"]).routes(REQUEST).native_only().doc("Relays a request other than ACK to this host and port."),
        function("t_forward_nonack_uri", |c: &mut Ctx| t_forward(c, None, None)).cfg("t_forward_nonack_uri").routes(REQUEST).native_only().doc("Relays a request other than ACK."),
        function("t_forward_nonack_to", |c: &mut Ctx, p: &str, hp: &str| forward_proto(c, p, hp)).cfg("t_forward_nonack_to").args(["proto", "hostport"]).routes(REQUEST).native_only().doc("Relays a request other than ACK over this transport."),
        function("t_replicate", t_replicate).cfg("t_replicate").args(["uri", "port"]).routes(REQUEST).doc("Sends a copy of the request; its replies are absorbed."),
        function("t_replicate_to", |c: &mut Ctx, p: &str, hp: &str| replicate_proto(c, p, hp)).cfg("t_replicate_to").args(["proto", "hostport"]).routes(REQUEST).native_only().doc("Sends a copy of the request over this transport."),
        function("t_relay_cancel", t_relay_cancel).cfg("t_relay_cancel").routes(REQUEST).native_only().doc("Relays a CANCEL whose INVITE is known: 0 then, true where it is not."),
    ];
    macro_rules! by_proto {
        ($($relay:literal $forward:literal $replicate:literal $proto:literal;)*) => {$(
            v.push(function($relay, |c: &mut Ctx, h: Option<&str>, p: Option<i64>| relay_proto(c, $proto, h, p)).cfg($relay).args(["host", "port"]).routes(REQ_FAIL).native_only().doc("Relays over the named transport."));
            v.push(function($forward, |c: &mut Ctx, h: &str, p: i64| relay_proto(c, $proto, Some(h), Some(p))).cfg($forward).args(["host", "port"]).routes(REQUEST).native_only().doc("Relays a request other than ACK over the named transport."));
            v.push(function($replicate, |c: &mut Ctx, h: &str, p: i64| replicate_proto(c, $proto, &format!("{h}:{p}"))).cfg($replicate).args(["host", "port"]).routes(REQUEST).native_only().doc("Sends a copy over the named transport."));
        )*};
    }
    by_proto! {
        "t_relay_to_udp" "t_forward_nonack_udp" "t_replicate_udp" "udp";
        "t_relay_to_tcp" "t_forward_nonack_tcp" "t_replicate_tcp" "tcp";
        "t_relay_to_tls" "t_forward_nonack_tls" "t_replicate_tls" "tls";
        "t_relay_to_sctp" "t_forward_nonack_sctp" "t_replicate_sctp" "sctp";
    }
    v
}

fn creating() -> Vec<Function> {
    vec![
        function("t_newtran", t_newtran).cfg("t_newtran").routes(REQUEST).doc("Creates the transaction. 0 where the request was sent again: its last reply is repeated."),
        function("t_reply", t_reply).cfg("t_reply").args(["code", "reason"]).routes(REQUEST | ONREPLY | FAILURE).doc("Replies through the transaction."),
        function("t_reply_error", t_reply_error).cfg("t_reply_error").routes(REQUEST | ONREPLY | FAILURE).doc("Tells the sender what went wrong last, through the transaction."),
        function("t_send_reply", t_send_reply).cfg("t_send_reply").args(["code", "reason"]).routes(REQUEST | ONREPLY | FAILURE).doc("Creates the transaction where there is none, and replies."),
        function("t_release", t_release).cfg("t_release").routes(REQUEST).doc("Gives the transaction up; it absorbs what comes late."),
        function("t_check_trans", t_check_trans).cfg("t_check_trans").routes(REQUEST | ONREPLY | BRANCH).doc("Does the message belong to a transaction? 0 where it is dealt with: sent again, or the ACK of a negative reply."),
        function("t_lookup_request", t_lookup_request).cfg("t_lookup_request").routes(REQUEST).doc("Whether the request has a transaction."),
        function("t_lookup_cancel", |c: &mut Ctx| t_lookup_cancel(c, None)).cfg("t_lookup_cancel").routes(REQUEST).doc("Whether the INVITE of this CANCEL has a transaction."),
        function("t_lookup_cancel_flags", |c: &mut Ctx, f: i64| t_lookup_cancel(c, Some(f))).cfg("t_lookup_cancel").args(["flags"]).routes(REQUEST).doc("As t_lookup_cancel; 1 takes over the INVITE's message flags."),
        function("t_retransmit_reply", t_retransmit_reply).cfg("t_retransmit_reply").routes(REQUEST).doc("Repeats the last reply."),
        function("t_exists", |c: &mut Ctx| rc(node(c).is_some() || lookup::request(c).is_some())).cfg("t_exists").routes(ANY).doc("Whether the message has a transaction."),
        function("t_clean", |_: &mut Ctx| { timers::clean(); TRUE }).cfg("t_clean").doc("Removes transactions that are far too old."),
        function("t_save_lumps", t_save_lumps).cfg("t_save_lumps").routes(REQUEST).doc("Keeps the changes made so far for failure routes; later ones are for this leg only."),
        function("t_uac_send", t_uac_send).cfg("t_uac_send").args(["method", "ruri", "nexthop", "socket", "headers", "body"]).doc("Makes a request and sends it."),
        function("t_write_req", |_: &mut Ctx, _: &str, _: &str| no_outputs()).cfg("t_write_req").args(["fifo", "action"]).native_only().doc("Not there: writes to a FIFO."),
        function("t_write_unix", |_: &mut Ctx, _: &str, _: &str| no_outputs()).cfg("t_write_unix").args(["socket", "action"]).native_only().doc("Not there: writes to a UNIX socket."),
        function("t_msg_apply_changes", |_: &mut Ctx| TRUE).cfg("t_msg_apply_changes").routes(BRANCH).native_only().doc("Changes of a branch route always apply to its leg."),
        function("t_relay_to_avp", |c: &mut Ctx, p: &str, hp: &str| forward_proto(c, p, hp)).cfg("t_relay_to_avp").args(["proto", "hostport"]).routes(REQUEST).native_only().doc("Relays over this transport to the host and port in an AVP."),
        function("t_cell_append_branches", t_cell_append).cfg("t_cell_append_branches").args(["index", "label"]).native_only().doc("Adds the branches to another transaction."),
    ]
}

fn routes() -> Vec<Function> {
    vec![
        function("t_on_failure", |c: &mut Ctx, n: &str| set_route(c, Attr::OnFailure, n)).cfg("t_on_failure").args(["name"]).routes(SETTERS).doc("Sets the failure route; an empty name clears it."),
        function("t_on_branch_failure", |c: &mut Ctx, n: &str| set_route(c, Attr::OnBranchFailure, n)).cfg("t_on_branch_failure").args(["name"]).routes(SETTERS).doc("Sets the branch failure route."),
        function("t_on_reply", |c: &mut Ctx, n: &str| set_route(c, Attr::OnReply, n)).cfg("t_on_reply").args(["name"]).routes(SETTERS).doc("Sets the reply route; in a branch route, for that leg."),
        function("t_on_branch", |c: &mut Ctx, n: &str| set_route(c, Attr::OnBranch, n)).cfg("t_on_branch").args(["name"]).routes(REQ_FAIL).doc("Sets the branch route."),
        function("t_is_set", t_is_set).cfg("t_is_set").args(["target"]).doc("Whether a route is set: branch_route, failure_route, onreply_route."),
        function("t_drop_replies", |c: &mut Ctx, m: Option<&str>| t_drop_replies(c, m)).cfg("t_drop_replies").args(["mode"]).routes(FAILURE).doc("Forgets the replies so far when a leg is added: `a` all, `l` those of the last step, `n` none."),
        function("t_drop_replies_all", |c: &mut Ctx| t_drop_replies(c, None)).routes(FAILURE).doc("Forgets all replies so far when a leg is added."),
    ]
}

fn timing() -> Vec<Function> {
    vec![
        function("t_set_fr", |c: &mut Ctx, inv: i64, fr: Option<i64>| set_fr(c, inv, fr.unwrap_or(0))).cfg("t_set_fr").args(["fr_inv", "fr"]).routes(SETTERS).doc("Milliseconds to wait for a final reply, with and without a provisional one; 0 leaves it."),
        function("t_set_fr_inv", |c: &mut Ctx, inv: i64| set_fr(c, inv, 0)).args(["fr_inv"]).routes(SETTERS).doc("Milliseconds to wait for a final reply to an INVITE that rings."),
        function("t_reset_fr", |c: &mut Ctx| set_fr(c, params::FR_INV_TIMER.get(), params::FR_TIMER.get())).cfg("t_reset_fr").routes(SETTERS).doc("Back to fr_timer and fr_inv_timer."),
        function("t_set_retr", set_retr).cfg("t_set_retr").args(["t1", "t2"]).routes(SETTERS).doc("Retransmission intervals in milliseconds; 0 leaves it."),
        function("t_reset_retr", |c: &mut Ctx| set_retr(c, params::RETR_TIMER1.get(), params::RETR_TIMER2.get())).cfg("t_reset_retr").routes(SETTERS).doc("Back to retr_timer1 and retr_timer2."),
        function("t_set_max_lifetime", set_life).cfg("t_set_max_lifetime").args(["inv", "noninv"]).routes(SETTERS).doc("Milliseconds that the transaction may last; 0 leaves it."),
        function("t_reset_max_lifetime", |c: &mut Ctx| set_life(c, params::MAX_INV_LIFETIME.get(), params::MAX_NONINV_LIFETIME.get())).cfg("t_reset_max_lifetime").routes(SETTERS).doc("Back to max_inv_lifetime and max_noninv_lifetime."),
    ]
}

fn switches() -> Vec<Function> {
    vec![
        function("t_set_auto_inv_100", |c: &mut Ctx, on: i64| {
            mine(c).auto_100 = Some(on != 0);
            TRUE
        })
        .cfg("t_set_auto_inv_100")
        .args(["on"])
        .routes(REQUEST)
        .doc("Send 100 for this INVITE or not."),
        function("t_set_disable_6xx", |c: &mut Ctx, on: i64| {
            set_flag(c, flag::NO_6XX_BLOCK, on != 0)
        })
        .cfg("t_set_disable_6xx")
        .args(["on"])
        .routes(SETTERS)
        .doc("A 6xx is treated as any other negative reply."),
        function("t_set_no_auto_ack", |c: &mut Ctx, on: i64| {
            set_flag(c, flag::NO_AUTO_ACK, on != 0)
        })
        .cfg("t_set_no_auto_ack")
        .args(["on"])
        .routes(SETTERS)
        .doc("Send no ACK for a 2xx to a local INVITE."),
        function("t_set_disable_failover", |c: &mut Ctx, on: i64| {
            set_flag(c, flag::NO_FAILOVER, on != 0)
        })
        .cfg("t_set_disable_failover")
        .args(["on"])
        .routes(SETTERS)
        .doc("Only the first address of a destination is tried; see use_dns_failover."),
        function("t_set_no_e2e_cancel_reason", |c: &mut Ctx, on: i64| {
            set_flag(c, flag::NO_CANCEL_REASON, on != 0)
        })
        .cfg("t_set_no_e2e_cancel_reason")
        .cfg("t_disable_e2e_cancel_reason")
        .args(["on"])
        .routes(SETTERS)
        .doc("Reason of a CANCEL is not copied."),
        function("t_set_disable_internal_reply", |c: &mut Ctx, on: i64| {
            mine(c).no_internal_reply = on != 0;
            TRUE
        })
        .cfg("t_set_disable_internal_reply")
        .args(["on"])
        .routes(SETTERS)
        .doc("Send no reply of our own where relaying fails."),
        function("t_use_uac_headers", |_: &mut Ctx| TRUE)
            .cfg("t_use_uac_headers")
            .doc("ACK and CANCEL are always made from the request as sent."),
    ]
}

fn asking() -> Vec<Function> {
    const ASK: Routes = SETTERS;
    vec![
        function("t_check_status", t_check_status).cfg("t_check_status").args(["regex"]).routes(Routes(REQUEST.0 | FAILURE.0 | ONREPLY.0 | EVENT.0 | BRANCH.0)).doc("Whether the status matches: of the reply in hand, of the best reply, or the last one sent."),
        function("t_grep_status", t_grep_status).cfg("t_grep_status").args(["code"]).routes(ASK).doc("Whether some leg ended with this status."),
        function("t_get_status_code", |c: &mut Ctx| status(c).map_or(-1, i64::from)).cfg("t_get_status_code").routes(Routes(REQUEST.0 | FAILURE.0 | ONREPLY.0 | BRANCH.0 | EVENT.0)).doc("The status that t_check_status looks at, or -1."),
        function("t_get_branch_index", |c: &mut Ctx| i64::from(c.branch_index)).doc("Number of the leg that the route works for, or -1."),
        function("t_is_canceled", |c: &mut Ctx| ask(c, |t| t.head.has(flag::CANCELED))).cfg("t_is_canceled").routes(ASK).doc("Whether the transaction was canceled."),
        function("t_is_expired", |c: &mut Ctx| ask(c, |t| t.is_expired(monotonic_ms()))).cfg("t_is_expired").routes(ASK).doc("Whether the transaction has lasted as long as it may."),
        function("t_is_retr_async_reply", |_: &mut Ctx| FALSE).cfg("t_is_retr_async_reply").routes(TM_ONREPLY).doc("Replies are not suspended: false."),
        function("t_any_timeout", |c: &mut Ctx| ask(c, |t| t.legs.iter().any(|l| l.has(leg_flag::TIMEOUT)))).cfg("t_any_timeout").routes(ASK).doc("Whether some leg has timed out."),
        function("t_any_replied", |c: &mut Ctx| ask(c, |t| t.legs.iter().any(|l| l.has(leg_flag::REPLIED)))).cfg("t_any_replied").routes(ASK).doc("Whether some leg has got a reply."),
        function("t_branch_timeout", |c: &mut Ctx| ask_leg(c, leg_flag::TIMEOUT)).cfg("t_branch_timeout").routes(FAILURE | EVENT).doc("Whether the leg of this route has timed out."),
        function("t_branch_replied", |c: &mut Ctx| ask_leg(c, leg_flag::REPLIED)).cfg("t_branch_replied").routes(FAILURE | EVENT).doc("Whether the leg of this route has got a reply."),
    ]
}

pub(crate) fn rc(b: bool) -> i64 {
    if b { TRUE } else { FALSE }
}

fn t_relay(ctx: &mut Ctx, host: Option<&str>, port: Option<i64>) -> i64 {
    let uri = host.map(|h| sip_uri(h, port, ctx.rcv.proto));
    relay::relay(
        ctx,
        &Target {
            uri,
            ..Target::default()
        },
    )
}

fn t_forward(ctx: &mut Ctx, host: Option<&str>, port: Option<i64>) -> i64 {
    if ctx.msg.method() == Method::Ack {
        return FALSE;
    }
    t_relay(ctx, host, port)
}

fn sip_uri(host: &str, port: Option<i64>, proto: Proto) -> Vec<u8> {
    let port = port
        .filter(|p| *p > 0)
        .map_or_else(String::new, |p| format!(":{p}"));
    format!("sip:{host}{port};transport={}", proto.name()).into_bytes()
}

fn relay_proto(ctx: &mut Ctx, proto: &str, host: Option<&str>, port: Option<i64>) -> i64 {
    let Some(p) = Proto::from_name(proto.as_bytes()) else {
        olelo_core::error!("tm", "\"{proto}\" is no transport");
        return FALSE;
    };
    let to = Target {
        uri: host.map(|h| sip_uri(h, port, p)),
        proto: Some(p),
        ..Target::default()
    };
    relay::relay(ctx, &to)
}

fn split_host_port(text: &str) -> (&str, Option<i64>) {
    match text.rsplit_once(':') {
        Some((h, p)) if !h.is_empty() && !h.ends_with(':') => match p.parse() {
            Ok(n) => (h, Some(n)),
            Err(_) => (text, None),
        },
        _ => (text, None),
    }
}

fn forward_proto(ctx: &mut Ctx, proto: &str, host_port: &str) -> i64 {
    let (host, port) = split_host_port(host_port);
    relay_proto(ctx, proto, Some(host), port)
}

/// `proto:host:port`, of which proto and port may be missing.
fn proxy_target(proxy: &str) -> Option<Target> {
    let (proto, rest) = match proxy.split_once(':') {
        Some((p, rest)) if Proto::from_name(p.as_bytes()).is_some() => {
            (Proto::from_name(p.as_bytes()), rest)
        }
        _ => (None, proxy),
    };
    let (host, port) = split_host_port(rest);
    (!host.is_empty()).then(|| Target {
        uri: Some(sip_uri(host, port, proto.unwrap_or(Proto::Udp))),
        proto,
        ..Target::default()
    })
}

fn relay_to(ctx: &mut Ctx, proxy: Option<&str>, flags: i64) -> i64 {
    let base = match proxy {
        None => Some(Target::default()),
        Some(p) => proxy_target(p),
    };
    let Some(to) = base else {
        olelo_core::error!("tm", "t_relay_to: no host in the address");
        return FALSE;
    };
    let to = Target {
        no_100: flags & 1 != 0,
        no_internal_reply: flags & 2 != 0,
        no_failover: flags & 4 != 0,
        ..to
    };
    relay::relay(ctx, &to)
}

fn relay_to_any(ctx: &mut Ctx, first: Option<&str>, flags: Option<i64>) -> i64 {
    let number = first.and_then(|t| olelo_core::route::value::parse_int(t.as_bytes()));
    match number {
        Some(n) if flags.is_none() => relay_to(ctx, None, n),
        _ => relay_to(ctx, first.filter(|s| !s.is_empty()), flags.unwrap_or(0)),
    }
}

fn t_replicate(ctx: &mut Ctx, uri: Option<&str>, port: Option<i64>) -> i64 {
    let uri = uri.filter(|u| !u.is_empty()).map(|u| match port {
        Some(p) => sip_uri(u, Some(p), ctx.rcv.proto),
        None => u.as_bytes().to_vec(),
    });
    let to = Target {
        uri,
        replicate: true,
        ..Target::default()
    };
    relay::relay(ctx, &to)
}

fn replicate_proto(ctx: &mut Ctx, proto: &str, host_port: &str) -> i64 {
    let (host, port) = split_host_port(host_port);
    let Some(p) = Proto::from_name(proto.as_bytes()) else {
        return FALSE;
    };
    let to = Target {
        uri: Some(sip_uri(host, port, p)),
        proto: Some(p),
        replicate: true,
        ..Target::default()
    };
    relay::relay(ctx, &to)
}

fn t_relay_cancel(ctx: &mut Ctx) -> i64 {
    if ctx.msg.method() != Method::Cancel || cancel::invite(ctx).is_none() {
        return TRUE;
    }
    match cancel::relay(ctx, &Target::default()) {
        1 => 0,
        _ => FALSE,
    }
}

/// `t_newtran`.
pub fn t_newtran(ctx: &mut Ctx) -> i64 {
    if ctx.msg.method() == Method::Ack {
        return match lookup::ack(ctx) {
            AckOf::Ours(_) => 0,
            _ => FALSE,
        };
    }
    if mine(ctx).node.is_some() {
        olelo_core::debug!("tm", "the transaction exists already");
        return FALSE;
    }
    match lookup::create(ctx, false) {
        Created::New(_) => TRUE,
        Created::Again(id) => {
            upstream::repeat(ctx, id);
            0
        }
        Created::NoMemory => {
            relay::refuse_for_memory(ctx);
            0
        }
        Created::Unfit => FALSE,
    }
}

fn t_reply(ctx: &mut Ctx, code: i64, reason: &str) -> i64 {
    if ctx.msg.is_request() && ctx.msg.method() == Method::Ack {
        return FALSE;
    }
    let Some(code) = u16::try_from(code).ok().filter(|c| (100..700).contains(c)) else {
        olelo_core::error!("tm", "{code} is no reply code: 100 to 699 are");
        return FALSE;
    };
    upstream::answer_here(ctx, code, reason).unwrap_or_else(|| {
        olelo_core::error!(
            "tm",
            "t_reply: the request has no transaction; use t_newtran or t_send_reply"
        );
        FALSE
    })
}

fn t_reply_error(ctx: &mut Ctx) -> i64 {
    let (code, reason) = olelo_sl::last_error(ctx);
    let text = format!("{reason} ({code}/TM)");
    t_reply(ctx, i64::from(code), &text)
}

fn t_send_reply(ctx: &mut Ctx, code: i64, reason: &str) -> i64 {
    if node(ctx).is_none() {
        let made = t_newtran(ctx);
        if made <= 0 {
            return made;
        }
    }
    t_reply(ctx, code, reason)
}

fn t_release(ctx: &mut Ctx) -> i64 {
    let Some(mut open) = node(ctx).and_then(Open::node) else {
        return FALSE;
    };
    open.tx.release(monotonic_ms());
    rc(open.commit())
}

fn t_check_trans(ctx: &mut Ctx) -> i64 {
    if !ctx.msg.is_request() {
        return rc(received::leg_of(ctx).is_some_and(|(id, _)| Open::node(id).is_some()));
    }
    match ctx.msg.method() {
        Method::Cancel => rc(cancel::invite(ctx).is_some()),
        Method::Ack => match lookup::ack(ctx) {
            AckOf::Ours(_) => 0,
            AckOf::Relayed(_) => TRUE,
            AckOf::Unknown => FALSE,
        },
        _ => match lookup::request(ctx) {
            Some(_) if mine(ctx).created => FALSE,
            Some(id) => {
                upstream::repeat(ctx, id);
                0
            }
            None => FALSE,
        },
    }
}

fn t_lookup_request(ctx: &mut Ctx) -> i64 {
    match lookup::request(ctx) {
        Some(id) => {
            mine(ctx).node = Some(id);
            TRUE
        }
        None => FALSE,
    }
}

fn t_lookup_cancel(ctx: &mut Ctx, flags: Option<i64>) -> i64 {
    let Some(id) = cancel::invite(ctx).filter(|_| ctx.msg.method() == Method::Cancel) else {
        return FALSE;
    };
    if flags == Some(1)
        && let Some(open) = Open::node(id)
    {
        ctx.flags = open.tx.head.msg_flags;
    }
    TRUE
}

fn t_retransmit_reply(ctx: &mut Ctx) -> i64 {
    match lookup::request(ctx) {
        Some(id) => {
            upstream::repeat(ctx, id);
            TRUE
        }
        None => FALSE,
    }
}

fn t_save_lumps(ctx: &mut Ctx) -> i64 {
    if node(ctx).is_none() {
        olelo_core::error!(
            "tm",
            "t_save_lumps: create the transaction first, with t_newtran"
        );
        return FALSE;
    }
    let edits = ctx.edits.clone();
    mine(ctx).saved_edits = Some(edits);
    TRUE
}

fn no_outputs() -> i64 {
    olelo_core::error!(
        "tm",
        "requests can't be written to a FIFO or UNIX socket; use evapi or another module"
    );
    FALSE
}

fn t_cell_append(_: &mut Ctx, _index: i64, _label: i64) -> i64 {
    olelo_core::error!(
        "tm",
        "t_cell_append_branches: branches of another message can't be added yet"
    );
    FALSE
}

fn t_uac_send(
    ctx: &mut Ctx,
    method: &str,
    ruri: &[u8],
    next_hop: &[u8],
    socket: &str,
    headers: &[u8],
    body: &[u8],
) -> i64 {
    let _ = ctx;
    match send_text(method, ruri, next_hop, socket, headers, body, false, None) {
        Ok(_) => TRUE,
        Err(e) => {
            olelo_core::error!("tm", "t_uac_send: {e}");
            FALSE
        }
    }
}

/// Sends a request given as texts: From, To, Call-ID and CSeq may be among the headers.
#[allow(clippy::too_many_arguments)]
pub fn send_text(
    method: &str,
    ruri: &[u8],
    next_hop: &[u8],
    socket: &str,
    headers: &[u8],
    body: &[u8],
    no_ack: bool,
    notify: Option<(&str, &[u8])>,
) -> Result<olelo_core::mem::NodeId, String> {
    let given = |s: &[u8]| !s.is_empty() && s != b".";
    let mut text = b"X x SIP/2.0\r\n".to_vec();
    text.extend_from_slice(headers);
    if !headers.ends_with(b"\n") {
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    let msg = Message::from_bytes(&text).map_err(|e| format!("the headers can't be read: {e}"))?;
    let own = [
        HeaderName::From,
        HeaderName::To,
        HeaderName::CallId,
        HeaderName::CSeq,
        HeaderName::ContentLength,
    ];
    let rest: Vec<u8> = msg
        .headers()
        .iter()
        .filter(|h| !own.contains(&h.name))
        .flat_map(|h| msg.slice(h.whole).to_vec())
        .collect();
    let from = msg
        .header_body(HeaderName::From)
        .ok_or("a From header is needed")?;
    let socket = if given(socket.as_bytes()) {
        let found = olelo_core::server().sockets.find(socket);
        Some(
            found
                .ok_or_else(|| format!("there is no socket \"{socket}\""))?
                .id,
        )
    } else {
        None
    };
    let number = msg.header_body(HeaderName::CSeq).and_then(|b| {
        std::str::from_utf8(b)
            .ok()?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    });
    let r = Request {
        method,
        ruri,
        from,
        to: msg.header_body(HeaderName::To).unwrap_or_default(),
        call_id: msg.header_body(HeaderName::CallId).unwrap_or_default(),
        cseq: number.unwrap_or(0),
        headers: &rest,
        body,
        next_hop: if given(next_hop) { next_hop } else { b"" },
        socket,
        no_ack,
        notify,
    };
    uac::request(&r).map_err(|e| e.to_string())
}

/// Asks the message's transaction; false where it has none.
fn ask(ctx: &mut Ctx, f: impl FnOnce(&Tx) -> bool) -> i64 {
    rc(of_message(ctx).is_some_and(|o| f(&o.tx)))
}

fn ask_leg(ctx: &mut Ctx, f: u16) -> i64 {
    let leg = match mine_ref(ctx).map(|m| m.side) {
        Some(
            Side::Failure { leg: Some(leg), .. }
            | Side::LegFailure { leg, .. }
            | Side::Reply { leg },
        ) => leg,
        _ => return FALSE,
    };
    ask(ctx, |t| t.legs.get(leg).is_some_and(|l| l.has(f)))
}

fn of_message(ctx: &Ctx) -> Option<Open> {
    let id = match mine_ref(ctx).and_then(|m| m.node.or(m.invite)) {
        Some(id) => id,
        None if ctx.msg.is_request() => lookup::request(ctx)?,
        None => received::leg_of(ctx)?.0,
    };
    Open::node(id)
}

/// The status that a route is about.
pub fn status(ctx: &Ctx) -> Option<u16> {
    match mine_ref(ctx).map(|m| m.side) {
        Some(Side::Failure { code, .. } | Side::LegFailure { code, .. }) if code != 0 => Some(code),
        Some(Side::Reply { .. }) => Some(ctx.msg.status()),
        _ if !ctx.msg.is_request() => Some(ctx.msg.status()),
        _ => of_message(ctx).map(|o| o.tx.head.code).filter(|c| *c != 0),
    }
}

fn t_check_status(ctx: &mut Ctx, pattern: &str) -> i64 {
    thread_local!(static PATTERNS: RefCell<HashMap<String, Option<regex::Regex>>> = RefCell::default());
    let Some(code) = status(ctx) else {
        return FALSE;
    };
    PATTERNS.with_borrow_mut(|known| {
        if known.len() > 256 {
            known.clear();
        }
        let re = known.entry(pattern.to_string()).or_insert_with(|| {
            regex::Regex::new(pattern)
                .map_err(|e| olelo_core::error!("tm", "t_check_status: {e}"))
                .ok()
        });
        rc(re.as_ref().is_some_and(|r| r.is_match(&code.to_string())))
    })
}

fn t_grep_status(ctx: &mut Ctx, code: i64) -> i64 {
    ask(ctx, |t| {
        t.legs
            .iter()
            .any(|l| !l.is_active() && i64::from(l.code) == code)
    })
}

/// Answers a transaction named by Call-ID and CSeq number.
pub fn find_call(call_id: &[u8], cseq: u32) -> Option<olelo_core::mem::NodeId> {
    let guard = crate::store::lock(ids::bucket_hash(call_id, cseq))?;
    let ids: Vec<_> = guard.iter().map(|r| r.id()).collect();
    drop(guard);
    ids.into_iter().find(|id| {
        Open::node(*id).is_some_and(|o| {
            let request = o.piece(Piece::Request).map(Message::from_bytes);
            request.is_some_and(|m| {
                m.is_ok_and(|m| {
                    m.call_id() == Some(call_id)
                        && m.cseq().is_some_and(|c| c.number == cseq)
                        && m.method() != Method::Cancel
                })
            })
        })
    })
}
