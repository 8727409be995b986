//! The `rtpengine` module: has media go through relays that speak the ng protocol.
//!
//! [`flags`] and [`bencode`] make commands of what scripts say, [`command`] finds the relay and asks it,
//! [`ops`] is what scripts call, [`quality`] reads statistics, [`control`] is for operators. Relays and
//! calls are shared by all workers (see `olelo-rtp-nodes`). A worker waits for the relay's answer, at most
//! `rtpengine_tout_ms` times `rtpengine_retr`.

#![forbid(unsafe_code)]

pub mod bencode;
mod command;
mod control;
pub mod flags;
mod ops;
mod params;
mod quality;

use command::{CALLS, Command, NODES, Tags};
use olelo_core::pv::pv;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{Function, function};
use olelo_core::route::module::Module;
use olelo_rtp_nodes::calls::Calls;
use olelo_rtp_nodes::nodes::Nodes;

/// What a function with flags and a branch does.
type Op = fn(&mut Ctx, Option<&str>, Option<&str>) -> i64;

/// The module.
pub fn module() -> Module {
    let m = Module::new("rtpengine")
        .doc("Media through relays that speak the ng protocol.")
        .event(control::DTMF_EVENT, "a relay has heard a DTMF digit")
        .pv(pv("rtpestat", |c, _| ops::stat(c))
            .doc("Packets of the call, as the relay counts them."))
        .pv(pv("rtpstat", |c, _| ops::stat(c)).doc("As $rtpestat."))
        .init(init)
        .processes(control::processes);
    let m = params::all().into_iter().fold(m, Module::param);
    let m = control::rpcs().into_iter().fold(m, Module::rpc);
    functions().into_iter().fold(m, Module::function)
}

fn init() -> Result<(), String> {
    let list = std::mem::take(&mut *params::LIST.lock().map_err(|e| e.to_string())?);
    if list.is_empty() {
        olelo_core::warn!(
            "rtpengine",
            "no relay is given with rtpengine_sock; every command will fail"
        );
    }
    let _ = NODES.set(Nodes::create("rtpengine-nodes", list)?);
    let buckets = params::HASH_TABLE_SIZE.get().max(1) as usize;
    let _ = CALLS.set(Calls::create("rtpengine", buckets)?);
    Ok(())
}

fn functions() -> Vec<Function> {
    let mut v = Vec::new();
    let three: [(&'static str, Op, &'static str); 6] = [
        (
            "rtpengine_offer",
            ops::offer,
            "Offers the session description to a relay; the body gets the relay's.",
        ),
        (
            "rtpengine_answer",
            ops::answer,
            "Completes a session with the description in the message.",
        ),
        (
            "rtpengine_delete",
            ops::delete,
            "Ends the session of the call.",
        ),
        (
            "rtpengine_manage",
            ops::manage,
            "Offers, answers or deletes, as the message asks for.",
        ),
        (
            "rtpengine_query",
            ops::query,
            "Asks for statistics of the call; fills the mos pseudo-variables.",
        ),
        (
            "rtpengine_connect",
            |c, f, b| ops::simple(c, Command::new("connect", Tags::Both), f, b),
            "Connects two legs directly.",
        ),
    ];
    for (name, op, doc) in three {
        with_arities(&mut v, name, op, doc);
    }
    let media: [(&'static str, Op, &'static str); 9] = [
        (
            "block_dtmf",
            |c, f, b| ops::simple(c, Command::new("block DTMF", Tags::None), f, b),
            "Stops DTMF events.",
        ),
        (
            "unblock_dtmf",
            |c, f, b| ops::simple(c, Command::new("unblock DTMF", Tags::None), f, b),
            "Lets DTMF events pass again.",
        ),
        (
            "block_media",
            |c, f, b| ops::simple(c, Command::new("block media", Tags::None), f, b),
            "Stops media.",
        ),
        (
            "unblock_media",
            |c, f, b| ops::simple(c, Command::new("unblock media", Tags::None), f, b),
            "Lets media pass again.",
        ),
        (
            "silence_media",
            |c, f, b| ops::simple(c, Command::new("silence media", Tags::None), f, b),
            "Puts silence in the place of media.",
        ),
        (
            "unsilence_media",
            |c, f, b| ops::simple(c, Command::new("unsilence media", Tags::None), f, b),
            "Takes back silence_media.",
        ),
        (
            "start_forwarding",
            |c, f, b| ops::simple(c, Command::new("start forwarding", Tags::None), f, b),
            "Starts forwarding to the recording daemon.",
        ),
        (
            "stop_forwarding",
            |c, f, b| ops::simple(c, Command::new("stop forwarding", Tags::None), f, b),
            "Stops forwarding to the recording daemon.",
        ),
        (
            "stop_media",
            |c, f, b| ops::simple(c, Command::new("stop media", Tags::Both), f, b),
            "Stops what play_media started.",
        ),
    ];
    for (name, op, doc) in media {
        with_arities(&mut v, name, op, doc);
    }
    v.extend(others());
    v
}

/// `name0()`, `name(flags)` and `name2(flags, branch)` for KEMI; `name` with up to two arguments natively.
fn with_arities(v: &mut Vec<Function>, name: &'static str, op: Op, doc: &'static str) {
    let (none, two): (&'static str, &'static str) =
        (format!("{name}0").leak(), format!("{name}2").leak());
    v.push(function(none, move |c: &mut Ctx| op(c, None, None)).doc(doc));
    v.push(
        function(name, move |c: &mut Ctx, f: &str| op(c, Some(f), None))
            .args(["flags"])
            .doc(doc),
    );
    v.push(
        function(two, move |c: &mut Ctx, f: &str, b: &str| {
            op(c, Some(f), Some(b))
        })
        .args(["flags", "via_branch"])
        .doc(doc),
    );
    v.push(native(name, op, doc));
}

fn native(name: &'static str, op: Op, doc: &'static str) -> Function {
    let inner: &'static str = format!("{name}_cfg").leak();
    let f = function(
        inner,
        move |c: &mut Ctx, f: Option<&str>, b: Option<&str>| op(c, f, b),
    )
    .native_only()
    .cfg(name)
    .args(["flags", "via_branch"])
    .doc(doc);
    if name == "rtpengine_delete" {
        return f.cfg("rtpengine_destroy");
    }
    f
}

fn others() -> Vec<Function> {
    let record: Op = |c, f, b| ops::simple(c, Command::new("start recording", Tags::Both), f, b);
    let stop: Op = |c, f, b| ops::simple(c, Command::new("stop recording", Tags::Both), f, b);
    let play_dtmf: Op = |c, f, b| ops::simple(c, Command::new("play DTMF", Tags::Both), f, b);
    let unsubscribe: Op = |c, f, b| ops::simple(c, Command::new("unsubscribe", Tags::Both), f, b);
    vec![
        function("start_recording", move |c: &mut Ctx| record(c, None, None)).doc("Starts recording the call."),
        native("start_recording", record, "Starts recording the call."),
        function("stop_recording", move |c: &mut Ctx| stop(c, None, None)).doc("Stops recording the call."),
        native("stop_recording", stop, "Stops recording the call."),
        native("rtpengine_info", ops::info, "Hands a fragment of a description (trickle ICE) to the relay."),
        function("play_media", |c: &mut Ctx, f: &str| ops::play_media(c, Some(f), None)).args(["flags"]).doc("Plays media to a side of the call: file=, blob= or db-id=."),
        function("play_media2", |c: &mut Ctx, f: &str, b: &str| ops::play_media(c, Some(f), Some(b))).args(["flags", "via_branch"]).doc("The same for one branch."),
        native("play_media", ops::play_media, "Plays media to a side of the call: file=, blob= or db-id=."),
        function("play_dtmf", move |c: &mut Ctx, f: &str| play_dtmf(c, Some(f), None)).args(["flags"]).doc("Plays a DTMF digit into the call: code= duration= volume= pause=."),
        native("play_dtmf", play_dtmf, "Plays a DTMF digit into the call: code= duration= volume= pause=."),
        function("rtpengine_query_v", |c: &mut Ctx, f: &str, v: &[u8]| ops::query_v(c, f, v)).cfg("rtpengine_query_v").args(["format", "variable"]).raw(&["variable"]).doc("The relay's answer about the call as JSON (j; jp on several lines) in a pseudo-variable."),
        function("set_rtpengine_set", |c: &mut Ctx, s: i64| ops::set_set(c, s, None)).args(["set"]).doc("Chooses the set of relays for this message."),
        function("set_rtpengine_set2", |c: &mut Ctx, s: i64, t: i64| ops::set_set(c, s, Some(t))).args(["set", "second"]).doc("Chooses two sets, whose relays media goes through one after the other."),
        function("set_rtpengine_set_cfg", ops::set_set).native_only().cfg("set_rtpengine_set").args(["set", "second"]).doc("Chooses the set of relays for this message; with two, media goes through both."),
        function("rtpengine_subscribe_request", |c: &mut Ctx, f: &str, s: &[u8], t: &[u8], m: &[u8]| ops::subscribe(c, f, s, t, m, None)).args(["flags", "sdp", "to_tag", "streams"]).doc("Asks for a copy of the call's media; description, tag and streams go into pseudo-variables."),
        function("rtpengine_subscribe_request_cfg", |c: &mut Ctx, f: &str, s: &[u8], t: &[u8], m: &[u8], b: Option<&str>| ops::subscribe(c, f, s, t, m, b)).native_only().cfg("rtpengine_subscribe_request").args(["flags", "sdp", "to_tag", "streams", "via_branch"]).raw(&["sdp", "to_tag", "streams"]).doc("Asks for a copy of the call's media; description, tag and streams go into pseudo-variables."),
        function("rtpengine_subscribe_answer", |c: &mut Ctx, f: &str| ops::subscribe_answer(c, f, None)).args(["flags"]).doc("Completes a subscription with the description in the message."),
        function("rtpengine_subscribe_answer_cfg", |c: &mut Ctx, f: &str, b: Option<&str>| ops::subscribe_answer(c, f, b)).native_only().cfg("rtpengine_subscribe_answer").args(["flags", "via_branch"]).doc("Completes a subscription with the description in the message."),
        function("rtpengine_unsubscribe", move |c: &mut Ctx, f: &str| unsubscribe(c, Some(f), None)).args(["flags"]).doc("Ends a subscription."),
        native("rtpengine_unsubscribe", unsubscribe, "Ends a subscription."),
    ]
}
