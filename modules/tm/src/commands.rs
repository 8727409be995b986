//! The control commands `tm.*`.

use crate::attrs::{self, Attr};
use crate::cancel;
use crate::script;
use crate::state::{LegState, flag};
use crate::stats;
use crate::store::{LegPiece, Open, Piece, store};
use crate::timers;
use crate::upstream::{self, Answer};
use olelo_core::mem::NodeId;
use olelo_core::rpc::{Answer as RpcAnswer, Fault, Params, Rpc, Value, fields, rpc, text};
use olelo_core::timer::monotonic_ms;
use olelo_sip::{HeaderName, Message};
use std::time::Duration;

/// Most transactions that one `tm.list` shows.
const MOST_LISTED: usize = 10_000;

/// All commands.
pub fn rpcs() -> Vec<Rpc> {
    const UAC: &str = "method ruri next_hop socket headers [body]";
    let mut v = vec![
        rpc("tm.list", list).doc("All transactions.").array(),
        rpc("tm.stats", stats_now).doc("What transactions have done so far."),
        rpc("tm.hash_stats", hash_stats).doc("How full the buckets of the table are."),
        rpc("tm.cancel", cancel_call)
            .args("callid cseq")
            .doc("Cancels an INVITE."),
        rpc("tm.reply", reply)
            .args("code reason trans_id to_tag headers [body]")
            .doc("Replies to a request; trans_id is index:label."),
        rpc("tm.reply_callid", reply_callid)
            .args("code reason callid cseq to_tag headers [body]")
            .doc("Replies to a request."),
        rpc("tm.retransmit_reply", retransmit)
            .args("trans_id")
            .doc("Repeats the last reply."),
        rpc("tm.retransmit_reply_callid", retransmit_callid)
            .args("callid cseq")
            .doc("Repeats the last reply."),
        rpc("tm.clean", |_| {
            timers::clean();
            Ok(vec![])
        })
        .doc("Removes transactions that are far too old."),
        rpc("tm.t_uac_attrs", attrs_start)
            .args("method ruri next_hop socket headers attrs [body]")
            .doc("As tm.t_uac_start; the attributes are kept for nobody.")
            .array(),
    ];
    for (name, run) in [
        ("tm.t_uac_start", start as fn(&Params) -> RpcAnswer),
        ("tm.t_uac_start_hex", |p| start(&unhex(p)?)),
        ("tm.t_uac_start_noack", start_noack),
        ("tm.t_uac_start_noack_hex", |p| start_noack(&unhex(p)?)),
    ] {
        v.push(
            rpc(name, run)
                .args(UAC)
                .doc("Makes a request and sends it."),
        );
    }
    for (name, run) in [
        ("tm.t_uac_wait", wait as fn(&Params) -> RpcAnswer),
        ("tm.t_uac_wait_hex", |p| wait(&unhex(p)?)),
        ("tm.t_uac_wait_noack", wait_noack),
        ("tm.t_uac_wait_noack_hex", |p| wait_noack(&unhex(p)?)),
    ] {
        v.push(
            rpc(name, run)
                .args(UAC)
                .doc("Makes a request, sends it, and shows its final reply.")
                .array(),
        );
    }
    for (name, run) in [
        ("tm.t_uac_wait_block", block as fn(&Params) -> RpcAnswer),
        ("tm.t_uac_wait_block_hex", |p| block(&unhex(p)?)),
        ("tm.t_uac_wait_block_noack", block_noack),
        ("tm.t_uac_wait_block_noack_hex", |p| block_noack(&unhex(p)?)),
    ] {
        v.push(
            rpc(name, run)
                .args(UAC)
                .doc("Makes a request, sends it, and shows the final status."),
        );
    }
    v
}

fn list(_: &Params) -> RpcAnswer {
    let Some(store) = store() else {
        return Ok(vec![]);
    };
    let mut ids: Vec<NodeId> = Vec::new();
    store.table.for_each_bucket(|g| {
        if ids.len() < MOST_LISTED {
            ids.extend(g.iter().map(|r| r.id()));
        }
    });
    let now = monotonic_ms();
    Ok(ids.into_iter().filter_map(|id| shown(id, now)).collect())
}

fn shown(id: NodeId, now: u64) -> Option<Value> {
    let o = Open::node(id)?;
    let (h, legs) = (o.tx.head, o.tx.legs.len());
    let request = o.piece(Piece::Request).unwrap_or_default().to_vec();
    let marked = o.mark().is_some();
    drop(o);
    let msg = Message::from_bytes(&request).ok()?;
    let line = |n: HeaderName| {
        let h = msg.header(n);
        text(h.map_or_else(String::new, |h| {
            String::from_utf8_lossy(msg.slice(h.whole)).into_owned()
        }))
    };
    let left = if h.life_end == 0 {
        0
    } else {
        h.life_end.saturating_sub(now)
    };
    Some(fields([
        ("cell", text(format!("{}:{}", id.bucket, id.id))),
        ("tindex", Value::Int(i64::from(id.bucket))),
        ("tlabel", Value::Int(i64::from(id.id))),
        ("method", text(String::from_utf8_lossy(msg.method_text()))),
        ("from", line(HeaderName::From)),
        ("to", line(HeaderName::To)),
        ("callid", line(HeaderName::CallId)),
        (
            "cseq",
            text(format!("CSeq: {}", msg.cseq().map_or(0, |c| c.number))),
        ),
        (
            "uas_request",
            text(if h.has(flag::LOCAL) { "no" } else { "yes" }),
        ),
        ("tflags", Value::Int(i64::from(h.flags))),
        ("outgoings", Value::Int(legs as i64)),
        ("ref_count", Value::Int(1 + i64::from(marked))),
        ("lifetime", Value::Int(left as i64)),
    ]))
}

fn stats_now(_: &Params) -> RpcAnswer {
    let n = |s: &olelo_core::stats::Stat| Value::Int(s.get());
    let current = crate::in_use() as i64;
    let active = crate::tmx_api::active();
    Ok(vec![fields([
        ("current", Value::Int(current)),
        ("waiting", Value::Int((current - active).max(0))),
        ("total", n(&stats::CREATED)),
        ("total_local", n(&stats::UAC)),
        ("rpl_received", n(&stats::RPL_RECEIVED)),
        ("rpl_generated", n(&stats::RPL_GENERATED)),
        ("rpl_sent", n(&stats::RPL_SENT)),
        ("6xx", n(&stats::C6XX)),
        ("5xx", n(&stats::C5XX)),
        ("4xx", n(&stats::C4XX)),
        ("3xx", n(&stats::C3XX)),
        ("2xx", n(&stats::C2XX)),
        ("created", n(&stats::CREATED)),
        ("freed", n(&stats::FREED)),
        ("delayed_free", Value::Int(0)),
    ])])
}

fn hash_stats(_: &Params) -> RpcAnswer {
    let Some(store) = store() else {
        return Ok(vec![]);
    };
    let (mut used, mut longest, mut all) = (0, 0, 0);
    store.table.for_each_bucket(|g| {
        used += 1;
        all += g.len();
        longest = longest.max(g.len());
    });
    Ok(vec![fields([
        ("buckets", Value::Int(i64::from(store.table.bucket_count()))),
        ("used", Value::Int(used)),
        ("transactions", Value::Int(all as i64)),
        ("longest", Value::Int(longest as i64)),
    ])])
}

fn of_call(p: &Params, at: usize) -> Result<NodeId, Fault> {
    let call_id = p.text(at, "callid")?;
    let cseq = p.int(at + 1, "cseq")?;
    script::find_call(call_id.as_bytes(), u32::try_from(cseq).unwrap_or(0))
        .ok_or_else(|| Fault::new(400, "Transaction not found"))
}

fn by_number(p: &Params, at: usize) -> Result<NodeId, Fault> {
    let given = p.text(at, "trans_id")?;
    given
        .split_once(':')
        .and_then(|(a, b)| {
            Some(NodeId {
                bucket: a.parse().ok()?,
                id: b.parse().ok()?,
            })
        })
        .ok_or_else(|| Fault::new(400, format!("\"{given}\" is no index:label")))
}

fn cancel_call(p: &Params) -> RpcAnswer {
    let id = of_call(p, 0)?;
    cancel::cancel_some(id, 0, |_| false);
    Ok(vec![])
}

fn send_reply(p: &Params, id: NodeId, at: usize) -> RpcAnswer {
    let code = u16::try_from(p.int(0, "code")?)
        .ok()
        .filter(|c| (100..700).contains(c))
        .ok_or_else(|| Fault::new(400, "the code must be 100 to 699"))?;
    let reason = p.text(1, "reason")?;
    let tag = p.opt_text(at).filter(|t| t != ".").unwrap_or_default();
    let mut headers = p.opt_text(at + 1).filter(|t| t != ".").unwrap_or_default();
    if !headers.is_empty() && !headers.ends_with('\n') {
        headers.push_str("\r\n");
    }
    let body = p.opt_text(at + 2).unwrap_or_default();
    let a = Answer {
        code,
        reason: &reason,
        to_tag: Some(&tag),
        headers: headers.as_bytes(),
        body: body.as_bytes(),
    };
    match upstream::answer_node(id, &a) {
        1 => Ok(vec![]),
        _ => Err(Fault::new(500, "the transaction takes no reply any more")),
    }
}

fn reply(p: &Params) -> RpcAnswer {
    send_reply(p, by_number(p, 2)?, 3)
}

fn reply_callid(p: &Params) -> RpcAnswer {
    send_reply(p, of_call(p, 2)?, 4)
}

fn repeat(id: NodeId) -> RpcAnswer {
    crate::revive::with(id, |ctx| upstream::repeat(ctx, id))
        .map(|()| vec![])
        .ok_or_else(|| Fault::new(400, "Transaction not found"))
}

fn retransmit(p: &Params) -> RpcAnswer {
    repeat(by_number(p, 0)?)
}

fn retransmit_callid(p: &Params) -> RpcAnswer {
    repeat(of_call(p, 0)?)
}

/// The last parameter in hexadecimal, as the `_hex` commands take headers and body.
fn unhex(p: &Params) -> Result<Params, Fault> {
    let mut out = p.clone();
    for v in out.0.iter_mut().skip(4) {
        let Value::Str(s) = v else { continue };
        if s == "." {
            continue;
        }
        let bytes: Option<Vec<u8>> = (0..s.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(s.get(i..i + 2)?, 16).ok())
            .collect();
        let bytes = bytes.ok_or_else(|| Fault::new(400, "a parameter is not hexadecimal"))?;
        *s = String::from_utf8_lossy(&bytes).into_owned();
    }
    Ok(out)
}

fn launch(p: &Params, no_ack: bool, body_at: usize) -> Result<NodeId, Fault> {
    let dot = |i, name| p.text(i, name);
    script::send_text(
        &dot(0, "method")?,
        dot(1, "ruri")?.as_bytes(),
        dot(2, "next_hop")?.as_bytes(),
        &dot(3, "socket")?,
        dot(4, "headers")?.as_bytes(),
        p.opt_text(body_at)
            .filter(|b| b != ".")
            .unwrap_or_default()
            .as_bytes(),
        no_ack,
        None,
    )
    .map_err(|e| Fault::new(400, e))
}

fn start(p: &Params) -> RpcAnswer {
    launch(p, false, 5).map(|_| vec![])
}

fn start_noack(p: &Params) -> RpcAnswer {
    launch(p, true, 5).map(|_| vec![])
}

fn attrs_start(p: &Params) -> RpcAnswer {
    launch(p, false, 6).map(|_| vec![])
}

/// The final status and reply of a local request. This process does nothing else meanwhile.
fn outcome(id: NodeId) -> Result<(u16, Vec<u8>), Fault> {
    let gone = || Fault::new(500, "the request's transaction is gone");
    let end = monotonic_ms() + 80_000;
    while monotonic_ms() < end {
        let o = Open::node(id).ok_or_else(gone)?;
        if o.tx.head.answered() {
            let w = usize::from(o.tx.head.winner);
            let leg = o.tx.legs.get(w).copied().unwrap_or_default();
            let code = if leg.state() == LegState::Calling {
                408
            } else {
                leg.code
            };
            let reply = o.leg_piece(w, LegPiece::Reply).unwrap_or_default().to_vec();
            return Ok((code, reply));
        }
        let _ = attrs::get(o.attrs(), Attr::Notify);
        drop(o);
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(Fault::new(500, "no reply within 80 seconds"))
}

fn reason_of(code: u16, reply: &[u8]) -> String {
    match Message::from_bytes(reply) {
        Ok(m) => String::from_utf8_lossy(m.reason()).into_owned(),
        Err(_) => upstream::reason_of(code).to_string(),
    }
}

fn whole(id: NodeId) -> RpcAnswer {
    let (code, reply) = outcome(id)?;
    let line = format!("{code} {}", reason_of(code, &reply));
    Ok(vec![text(line), text(String::from_utf8_lossy(&reply))])
}

fn brief(id: NodeId) -> RpcAnswer {
    let (code, reply) = outcome(id)?;
    Ok(vec![fields([
        ("code", Value::Int(i64::from(code))),
        ("text", text(reason_of(code, &reply))),
    ])])
}

fn wait(p: &Params) -> RpcAnswer {
    whole(launch(p, false, 5)?)
}

fn wait_noack(p: &Params) -> RpcAnswer {
    whole(launch(p, true, 5)?)
}

fn block(p: &Params) -> RpcAnswer {
    brief(launch(p, false, 5)?)
}

fn block_noack(p: &Params) -> RpcAnswer {
    brief(launch(p, true, 5)?)
}
