//! `$T…`: the message's transaction in pseudo-variables.
//!
//! `$T_req(pv)`, `$T_rpl(pv)` and `$T_inv(pv)` evaluate another pseudo-variable on another message
//! of the transaction. That message is copied from shared memory and parsed for the evaluation: a
//! rare need, so nothing is kept.

use olelo_core::mem::NodeId;
use olelo_core::pv::{PvClass, PvKey, pv, pv_named};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::value::Val;
use olelo_sip::{Message, Method};
use olelo_tm::tmx_api::{self as api, LegView, View};

/// All of them.
pub fn all() -> Vec<PvClass> {
    vec![
        pv("T_branch_idx", branch_idx).doc("Number of the leg the route works for; -1 for none."),
        pv("T_reply_code", reply_code)
            .doc("Status that the route is about, or last sent; 0 for none."),
        pv("T_reply_reason", reply_reason)
            .doc("Reason phrase of the reply that the route is about."),
        pv("T_reply_last", reply_last).doc("Last status received for the leg."),
        pv("T_reply_ruid", reply_ruid).doc("Unique id of the contact that the reply is of."),
        pv_named("T_req", on_request)
            .verbatim()
            .doc("A pseudo-variable of the transaction's request."),
        pv_named("T_rpl", on_reply)
            .verbatim()
            .doc("A pseudo-variable of the winning reply, in a failure route."),
        pv_named("T_inv", on_invite)
            .verbatim()
            .doc("A pseudo-variable of the INVITE that a CANCEL is for."),
        pv_named("T", transaction).doc(
            "Of the transaction: id_index, id_label, reply_code, reply_type, branch_index, ruid, …",
        ),
        pv_named("T_branch", branch)
            .doc("Of the leg: flags, uri, ruid, instance, user_agent, reply_code."),
    ]
}

fn branch_idx<'c>(ctx: &'c Ctx, _: &PvKey<'_>) -> Val<'c> {
    if ctx.route == olelo_core::route::function::BRANCH {
        return Val::Int(i64::from(ctx.branch_index));
    }
    match api::leg(ctx) {
        Some(leg) => Val::Int(leg as i64),
        // Before there are legs, a request is at its first.
        None if ctx.route == olelo_core::route::function::REQUEST => Val::Int(0),
        None => Val::Int(i64::from(ctx.branch_index)),
    }
}

fn reply_code<'c>(ctx: &'c Ctx, _: &PvKey<'_>) -> Val<'c> {
    Val::Int(api::status(ctx).map_or(0, i64::from))
}

fn reply_reason<'c>(ctx: &'c Ctx, _: &PvKey<'_>) -> Val<'c> {
    if api::transaction(ctx).is_none() {
        return Val::text("");
    }
    if !ctx.msg.is_request() {
        return Val::bytes(ctx.msg.reason());
    }
    let reply = leg_view(ctx)
        .map(|l| l.reply)
        .filter(|r| !r.is_empty())
        .or_else(|| view(ctx).map(|v| v.last_reply));
    reply
        .and_then(|r| Message::from_bytes(&r).ok())
        .map_or(Val::Null, |m| Val::owned(m.reason()))
}

fn reply_last<'c>(ctx: &'c Ctx, _: &PvKey<'_>) -> Val<'c> {
    let code = leg_view(ctx).map(|l| l.code).filter(|c| *c != 0);
    code.map_or(Val::Null, |c| Val::Int(i64::from(c)))
}

fn reply_ruid<'c>(ctx: &'c Ctx, _: &PvKey<'_>) -> Val<'c> {
    match leg_view(ctx).map(|l| l.contact.ruid) {
        Some(r) => Val::owned(r),
        None => Val::text(""),
    }
}

fn on_request<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    match api::transaction(ctx) {
        Some(id) => of_request(id, key),
        None => Val::Null,
    }
}

fn on_invite<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    if ctx.msg.method() != Method::Cancel {
        return on_request(ctx, key);
    }
    match olelo_tm::invite_of_cancel(ctx) {
        Some(id) => of_request(id, key),
        None => Val::Null,
    }
}

fn of_request(id: NodeId, key: &PvKey<'_>) -> Val<'static> {
    let text = spec_text(key.name());
    olelo_tm::with_request(id, |c| c.pv(&text).into_owned()).unwrap_or_default()
}

fn on_reply<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    let text = spec_text(key.name());
    if api::transaction(ctx).is_none() {
        return Val::Null;
    }
    if !ctx.msg.is_request() {
        return ctx.pv(&text);
    }
    let reply = leg_view(ctx)
        .map(|l| l.reply)
        .filter(|r| !r.is_empty())
        .or_else(|| view(ctx).map(|v| v.last_reply))
        .unwrap_or_default();
    if reply.is_empty() {
        return Val::Null;
    }
    let mut other = Ctx::new();
    other.msg.buf_mut().extend_from_slice(&reply);
    if other.msg.parse().is_err() {
        return Val::Null;
    }
    other.pv(&text).into_owned()
}

/// `hdr(X)` and `$hdr(X)` mean the same.
fn spec_text(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    if name.starts_with('$') {
        name.into_owned()
    } else {
        format!("${name}")
    }
}

fn transaction<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    let id = api::transaction(ctx);
    let number = |n: Option<i64>| n.map_or(Val::Null, Val::Int);
    match key.name() {
        b"id_index" | b"id_index_n" => number(id.map(|i| i64::from(i.bucket))),
        b"id_label" | b"id_label_n" => number(id.map(|i| i64::from(i.id))),
        b"reply_code" => reply_code(ctx, key),
        b"reply_reason" => reply_reason(ctx, key),
        b"reply_last" => reply_last(ctx, key),
        b"reply_type" => number(view(ctx).map(|v| i64::from(v.local_reply))),
        b"branch_index" => branch_idx(ctx, key),
        b"ruid" => reply_ruid(ctx, key),
        b"is_suspended" => number(view(ctx).map(|v| i64::from(v.suspended))),
        _ => Val::Null,
    }
}

fn branch<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    let Some(l) = leg_view(ctx) else {
        return Val::Null;
    };
    let text = |b: Vec<u8>| {
        if b.is_empty() {
            Val::Null
        } else {
            Val::owned(b)
        }
    };
    match key.name() {
        b"flags" => Val::Int(i64::from(l.flags)),
        b"reply_code" => Val::Int(i64::from(l.code)),
        b"ruid" => text(l.contact.ruid),
        b"instance" => text(l.contact.instance),
        b"user_agent" => text(l.contact.user_agent),
        b"uri" => {
            text(Message::from_bytes(&l.sent).map_or_else(|_| Vec::new(), |m| m.ruri().to_vec()))
        }
        _ => Val::Null,
    }
}

fn view(ctx: &Ctx) -> Option<View> {
    api::view(api::transaction(ctx)?)
}

fn leg_view(ctx: &Ctx) -> Option<LegView> {
    api::leg_view(api::transaction(ctx)?, api::leg(ctx)?)
}
