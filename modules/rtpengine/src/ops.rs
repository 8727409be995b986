//! What scripts call: offer, answer, delete, manage, query, and commands about the media of a call.

use crate::bencode::Value;
use crate::command::{
    ANSWER, CALLS, Chosen, Command, DELETE, Failed, NO_NODE, NODES, OFFER, QUERY, Tags, question,
    read_pv, remember, send, sets, write_pv,
};
use crate::flags::Asked;
use crate::params as p;
use crate::quality;
use olelo_core::pv::Spec;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::ScriptError;
use olelo_core::route::value::Val;
use olelo_rtp_nodes::calls::Offer;
use olelo_rtp_nodes::session::{self, Step};
use olelo_sip::Method;

/// 1 for well, -1 for what went wrong: as scripts have it.
fn code(r: Result<Value, Failed>) -> i64 {
    if r.is_ok() { 1 } else { -1 }
}

/// Runs a command that carries no description.
pub(crate) fn plain(
    ctx: &mut Ctx,
    command: Command,
    flags: Option<&str>,
    branch: Option<&str>,
) -> Result<Value, Failed> {
    let q = question(
        ctx,
        command,
        Asked::parse(flags.unwrap_or("")),
        None,
        branch,
    )?;
    let (first, second) = sets(ctx);
    let (node, answer) = send(&q, first)?;
    tell_node(ctx, node);
    if let Some(set) = second {
        send(&q, set)?;
    }
    if command == DELETE
        && let Some(c) = CALLS.get()
    {
        c.remove(&q.call_id);
    }
    Ok(answer)
}

/// Runs a command of this name for scripts.
pub(crate) fn simple(
    ctx: &mut Ctx,
    command: Command,
    flags: Option<&str>,
    branch: Option<&str>,
) -> i64 {
    code(plain(ctx, command, flags, branch))
}

/// `rtpengine_offer`.
pub(crate) fn offer(ctx: &mut Ctx, flags: Option<&str>, branch: Option<&str>) -> i64 {
    let offer = if ctx.msg.is_request() {
        Offer::InRequest
    } else {
        Offer::InReply
    };
    code(describe(ctx, OFFER, flags, branch, offer))
}

/// `rtpengine_answer`.
pub(crate) fn answer(ctx: &mut Ctx, flags: Option<&str>, branch: Option<&str>) -> i64 {
    if ctx.msg.is_request() && !matches!(ctx.msg.method(), Method::Ack | Method::Prack) {
        olelo_core::error!("rtpengine", "an answer is in a reply, an ACK or a PRACK");
        return -1;
    }
    let offer = if ctx.msg.is_request() {
        Offer::InReply
    } else {
        Offer::InRequest
    };
    code(describe(ctx, ANSWER, flags, branch, offer))
}

/// `rtpengine_delete`.
pub(crate) fn delete(ctx: &mut Ctx, flags: Option<&str>, branch: Option<&str>) -> i64 {
    let r = plain(ctx, DELETE, flags, branch);
    if let Ok(answer) = &r {
        quality::fill(ctx, answer);
    }
    code(r)
}

/// `rtpengine_query`.
pub(crate) fn query(ctx: &mut Ctx, flags: Option<&str>, branch: Option<&str>) -> i64 {
    let r = plain(ctx, QUERY, flags, branch);
    if let Ok(answer) = &r {
        quality::fill(ctx, answer);
    }
    code(r)
}

/// `rtpengine_query_v`: the answer as JSON in a pseudo-variable.
pub(crate) fn query_v(ctx: &mut Ctx, format: &str, variable: &[u8]) -> Result<i64, ScriptError> {
    let spec = Spec::parse_cached(variable.trim_ascii())?;
    let Ok(answer) = plain(ctx, QUERY, None, None) else {
        return Ok(-1);
    };
    let json = answer.to_json();
    let text = if format.contains('p') {
        serde_json::to_string_pretty(&json)
    } else {
        serde_json::to_string(&json)
    };
    spec.set(ctx, Val::owned(text.unwrap_or_default()))?;
    Ok(1)
}

/// `$rtpestat`: asked anew each time it is read.
pub(crate) fn stat(ctx: &Ctx) -> Val<'static> {
    let asked = question(ctx, QUERY, Asked::default(), None, None);
    let answer = asked.and_then(|q| send(&q, sets(ctx).0));
    match answer.ok().and_then(|(_, a)| quality::totals(&a)) {
        Some(t) => Val::owned(t),
        None => Val::Null,
    }
}

/// `rtpengine_info`: a fragment of a description for a call that goes on.
pub(crate) fn info(ctx: &mut Ctx, flags: Option<&str>, branch: Option<&str>) -> i64 {
    let body = ctx.msg.body().to_vec();
    if body.is_empty() {
        olelo_core::error!("rtpengine", "rtpengine_info: the message has no body");
        return -1;
    }
    let asked = Asked::parse(flags.unwrap_or(""));
    let sent = question(ctx, OFFER, asked, Some(&body), branch).and_then(|q| send(&q, sets(ctx).0));
    if sent.is_ok() { 1 } else { -1 }
}

/// `rtpengine_manage`.
pub(crate) fn manage(ctx: &mut Ctx, flags: Option<&str>, branch: Option<&str>) -> i64 {
    let call = ctx.msg.call_id().and_then(|c| CALLS.get()?.find(c));
    match session::step(ctx, call) {
        Step::Offer => offer(ctx, flags, branch),
        Step::Answer => answer(ctx, flags, branch),
        Step::Delete => delete(ctx, flags, branch),
        Step::Nothing => {
            // The reply to it will offer.
            if ctx.msg.is_request()
                && ctx.msg.method() == Method::Invite
                && let Some(c) = ctx.msg.call_id()
            {
                remember(c, call.map_or(NO_NODE, |c| c.node), Offer::InReply);
                return 1;
            }
            -1
        }
    }
}

/// `play_media`: fills `media_duration`.
pub(crate) fn play_media(ctx: &mut Ctx, flags: Option<&str>, branch: Option<&str>) -> i64 {
    let r = plain(ctx, Command::new("play media", Tags::Both), flags, branch);
    if let Ok(answer) = &r {
        let ms = answer.get("duration").and_then(Value::as_int).unwrap_or(-1);
        write_pv(ctx, &p::MEDIA_DURATION, Val::Int(ms));
    }
    code(r)
}

/// `set_rtpengine_set`.
pub(crate) fn set_set(ctx: &mut Ctx, first: i64, second: Option<i64>) -> Result<i64, ScriptError> {
    let nodes = NODES.get();
    for set in [Some(first), second].into_iter().flatten() {
        if !nodes.is_some_and(|n| n.has_set(set)) {
            return Err(ScriptError(format!(
                "no relay in rtpengine_sock is of set {set}"
            )));
        }
    }
    if second == Some(first) {
        return Err(ScriptError("two relays in a row are of two sets".into()));
    }
    ctx.ext::<Chosen>().0 = Some((first, second));
    Ok(1)
}

/// Sends the description and puts the one that comes back into its place; with two sets through both.
fn describe(
    ctx: &mut Ctx,
    command: Command,
    flags: Option<&str>,
    branch: Option<&str>,
    offer: Offer,
) -> Result<Value, Failed> {
    let sdp = match read_pv(ctx, &p::READ_SDP_PV).filter(|s| !s.is_empty()) {
        Some(s) => s,
        None => match session::description(ctx) {
            Some(span) => span.of(ctx.msg.buf()).to_vec(),
            None => {
                olelo_core::error!(
                    "rtpengine",
                    "{}: the message has no session description",
                    command.name
                );
                return Err(Failed);
            }
        },
    };
    let asked = Asked::parse(flags.unwrap_or(""));
    let mut q = question(ctx, command, asked, Some(&sdp), branch)?;
    let (first, second) = sets(ctx);
    let (node, mut answer) = send(&q, first)?;
    tell_node(ctx, node);
    if command.begins {
        remember(&q.call_id, node, offer);
    }
    if let (Some(set), Some(sdp)) = (second, answer.get("sdp")) {
        let sdp = sdp.clone();
        q.members.retain(|(k, _)| k != b"sdp");
        q.members.push((b"sdp".to_vec(), sdp));
        answer = send(&q, set)?.1;
    }
    let Some(new) = answer.get("sdp").and_then(Value::as_bytes) else {
        olelo_core::error!(
            "rtpengine",
            "{}: the relay gives no session description back",
            command.name
        );
        return Err(Failed);
    };
    let to_pv = p::WRITE_SDP_PV.get().is_some_and(|n| !n.is_empty());
    if to_pv {
        write_pv(ctx, &p::WRITE_SDP_PV, Val::owned(new));
    }
    if !to_pv || p::WRITE_SDP_PV_MODE.get() == 1 {
        session::replace(ctx, new);
    }
    Ok(answer)
}

fn tell_node(ctx: &mut Ctx, number: usize) {
    if let Some(n) = NODES.get().and_then(|n| n.all().get(number)) {
        write_pv(ctx, &p::RTP_INST_PVAR, Val::text(&n.url));
    }
}

/// `rtpengine_subscribe_request`: asks for a copy of a call's media. The description to send to the
/// subscriber and the tag of the subscription go into pseudo-variables.
pub(crate) fn subscribe(
    ctx: &mut Ctx,
    flags: &str,
    sdp: &[u8],
    to_tag: &[u8],
    streams: &[u8],
    branch: Option<&str>,
) -> Result<i64, ScriptError> {
    let command = Command::new("subscribe request", Tags::From);
    let Ok(answer) = plain(ctx, command, Some(flags), branch) else {
        return Ok(-1);
    };
    for (name, key) in [(sdp, "sdp"), (to_tag, "to-tag"), (streams, "tag-medias")] {
        let name = name.trim_ascii();
        let value = answer.get(key);
        if name.is_empty() || value.is_none() {
            continue;
        }
        let text = match value {
            Some(Value::Bytes(b)) => b.clone(),
            Some(v) => v.to_json().to_string().into_bytes(),
            None => Vec::new(),
        };
        Spec::parse_cached(name)?.set(ctx, Val::owned(text))?;
    }
    Ok(1)
}

/// `rtpengine_subscribe_answer`: the subscriber's description.
pub(crate) fn subscribe_answer(ctx: &mut Ctx, flags: &str, branch: Option<&str>) -> i64 {
    let body = session::description(ctx).map(|s| s.of(ctx.msg.buf()).to_vec());
    let command = Command::new("subscribe answer", Tags::Both);
    let asked = Asked::parse(flags);
    let sent =
        question(ctx, command, asked, body.as_deref(), branch).and_then(|q| send(&q, sets(ctx).0));
    if sent.is_ok() { 1 } else { -1 }
}
