//! The `rtpproxy` module: has media go through relays that speak rtpproxy's control protocol.
//!
//! [`flags`] reads what scripts ask for, [`media`] makes commands of the message and puts the relay's
//! answers into it, [`command`] finds the relay and asks it. Relays and calls are shared by all workers
//! (see `olelo-rtp-nodes`). A worker waits for an answer, at most `rtpproxy_tout` times `rtpproxy_retr`.

#![forbid(unsafe_code)]

mod command;
pub mod flags;
mod media;
mod params;

use command::{CALLS, Chosen, NO_NODE, NODES, remember, test};
use flags::Flags;
use olelo_core::pv::pv;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{Function, ScriptError, function};
use olelo_core::route::module::{ExtraProcess, Module};
use olelo_core::route::value::Val;
use olelo_core::rpc::{Answer, Fault, Params, Value, fields, rpc, text};
use olelo_ipc::signals::stopping;
use olelo_rtp_nodes::calls::{Calls, Offer};
use olelo_rtp_nodes::nodes::{Nodes, State};
use olelo_rtp_nodes::session::{self, Step};
use olelo_sip::Method;

/// The module.
pub fn module() -> Module {
    let m = Module::new("rtpproxy")
        .doc("Media through relays that speak rtpproxy's control protocol.")
        .pv(pv("rtppstat", |c, _| stat(c)).doc("Packets of the call, as the relay counts them."))
        .pv(pv("rtpstat", |c, _| stat(c)).doc("As $rtppstat."))
        .rpc(
            rpc("rtpproxy.list", list)
                .array()
                .doc("Relays and their state."),
        )
        .rpc(
            rpc("rtpproxy.enable", enable)
                .args("url|all 0|1")
                .doc("Switches relays off or on."),
        )
        .init(init)
        .processes(processes);
    let m = params::all().into_iter().fold(m, Module::param);
    functions().into_iter().fold(m, Module::function)
}

fn functions() -> Vec<Function> {
    type Op = fn(&mut Ctx, Option<&str>, Option<&str>) -> i64;
    let ops: [(&'static str, Op, &'static str); 3] = [
        (
            "rtpproxy_offer",
            offer,
            "Offers the session description to a relay; its ports and addresses are put into it.",
        ),
        (
            "rtpproxy_answer",
            answer,
            "Completes a session with the description in the message.",
        ),
        (
            "rtpproxy_manage",
            manage,
            "Offers, answers or destroys, as the message asks for.",
        ),
    ];
    let mut v = Vec::new();
    for (name, op, doc) in ops {
        let names: [&'static str; 3] = ["0", "_ip", "_cfg"].map(|e| &*format!("{name}{e}").leak());
        v.push(function(names[0], move |c: &mut Ctx| op(c, None, None)).doc(doc));
        v.push(
            function(name, move |c: &mut Ctx, f: &str| op(c, Some(f), None))
                .args(["flags"])
                .doc(doc),
        );
        v.push(
            function(names[1], move |c: &mut Ctx, f: &str, a: &str| {
                op(c, Some(f), Some(a))
            })
            .args(["flags", "address"])
            .doc(doc),
        );
        v.push(
            function(
                names[2],
                move |c: &mut Ctx, f: Option<&str>, a: Option<&str>| op(c, f, a),
            )
            .native_only()
            .cfg(name)
            .args(["flags", "address"])
            .doc(doc),
        );
    }
    let end = "Ends the session of the call.";
    v.extend([
        function("rtpproxy_destroy0", |c: &mut Ctx| destroy(c, None)).doc(end),
        function("rtpproxy_destroy", |c: &mut Ctx, f: &str| {
            destroy(c, Some(f))
        })
        .args(["flags"])
        .doc(end),
        function("rtpproxy_destroy_cfg", destroy)
            .native_only()
            .cfg("rtpproxy_destroy")
            .cfg("unforce_rtp_proxy")
            .args(["flags"])
            .doc(end),
        function("set_rtpproxy_set", set_set)
            .cfg("set_rtp_proxy_set")
            .args(["set"])
            .doc("Chooses the set of relays for this message."),
        function("start_recording", |c: &mut Ctx| {
            simple(c, |s| format!("R {} {} {}", s.id, s.from, s.to))
        })
        .cfg("start_recording")
        .doc("Starts recording the call."),
        function("rtpproxy_stream2uac", |c: &mut Ctx, p: &str, n: i64| {
            stream(c, p, n, true)
        })
        .cfg("rtpproxy_stream2uac")
        .args(["prompt", "count"])
        .doc("Plays a prompt to the caller; -1 for ever."),
        function("rtpproxy_stream2uas", |c: &mut Ctx, p: &str, n: i64| {
            stream(c, p, n, false)
        })
        .cfg("rtpproxy_stream2uas")
        .args(["prompt", "count"])
        .doc("Plays a prompt to the called side; -1 for ever."),
        function("rtpproxy_stop_stream2uac", |c: &mut Ctx| {
            simple(c, |s| format!("S {} {};1 {};1", s.id, s.from, s.to))
        })
        .cfg("rtpproxy_stop_stream2uac")
        .doc("Stops the prompt to the caller."),
        function("rtpproxy_stop_stream2uas", |c: &mut Ctx| {
            simple(c, |s| format!("S {} {};1 {};1", s.id, s.to, s.from))
        })
        .cfg("rtpproxy_stop_stream2uas")
        .doc("Stops the prompt to the called side."),
    ]);
    v
}

fn init() -> Result<(), String> {
    let list = std::mem::take(&mut *params::LIST.lock().map_err(|e| e.to_string())?);
    if list.is_empty() {
        olelo_core::warn!(
            "rtpproxy",
            "no relay is given with rtpproxy_sock; every command will fail"
        );
    }
    let _ = NODES.set(Nodes::create("rtpproxy-nodes", list)?);
    let _ = CALLS.set(Calls::create("rtpproxy", 1024)?);
    Ok(())
}

/// One process asks every relay for its version at start, so that the first call need not find out who
/// is dead.
fn processes() -> Vec<ExtraProcess> {
    if NODES.get().is_none_or(|n| n.all().is_empty()) {
        return Vec::new();
    }
    vec![ExtraProcess {
        description: "rtpproxy prober".into(),
        run: |_| {
            let Some(nodes) = NODES.get() else { return };
            for n in nodes.all() {
                if !stopping() {
                    test(nodes, n);
                }
            }
            while !stopping() {
                let _ = nix::poll::poll(&mut [], 1000u16);
            }
        },
        index: 0,
        routes: false,
    }]
}

fn offer(ctx: &mut Ctx, flags: Option<&str>, address: Option<&str>) -> i64 {
    media::describe(ctx, flags.unwrap_or(""), address, false)
}

fn answer(ctx: &mut Ctx, flags: Option<&str>, address: Option<&str>) -> i64 {
    if ctx.msg.is_request() && !matches!(ctx.msg.method(), Method::Ack | Method::Prack) {
        olelo_core::error!("rtpproxy", "an answer is in a reply, an ACK or a PRACK");
        return -1;
    }
    media::describe(ctx, flags.unwrap_or(""), address, true)
}

fn destroy(ctx: &mut Ctx, flags: Option<&str>) -> i64 {
    let flags = Flags::parse(flags.unwrap_or(""));
    let whole = flags.whole_call;
    let done = media::about(ctx, &flags, |s| {
        if whole || s.to.is_empty() {
            format!("D {} {}", s.id, s.from)
        } else {
            format!("D {} {} {}", s.id, s.from, s.to)
        }
    });
    if let (Some(c), Some(id)) = (CALLS.get(), ctx.msg.call_id()) {
        c.remove(id);
    }
    if done.is_ok() { 1 } else { -1 }
}

fn manage(ctx: &mut Ctx, flags: Option<&str>, address: Option<&str>) -> i64 {
    let call = ctx.msg.call_id().and_then(|c| CALLS.get()?.find(c));
    match session::step(ctx, call) {
        Step::Offer => offer(ctx, flags, address),
        Step::Answer => answer(ctx, flags, address),
        Step::Delete => destroy(ctx, flags),
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

fn simple(ctx: &mut Ctx, make: impl Fn(&command::Session) -> String) -> i64 {
    match media::about(ctx, &Flags::default(), make) {
        Ok(_) => 1,
        Err(_) => -1,
    }
}

fn stream(ctx: &mut Ctx, prompt: &str, count: i64, to_caller: bool) -> Result<i64, ScriptError> {
    if prompt.is_empty() || !prompt.chars().all(|c| c.is_ascii_graphic()) {
        return Err(ScriptError(format!(
            "\"{prompt}\" can't be the name of a prompt"
        )));
    }
    Ok(simple(ctx, |s| {
        let (first, second) = if to_caller {
            (&s.from, &s.to)
        } else {
            (&s.to, &s.from)
        };
        format!("P{count} {} {prompt} session {first};1 {second};1", s.id)
    }))
}

fn set_set(ctx: &mut Ctx, set: i64) -> Result<i64, ScriptError> {
    if !NODES.get().is_some_and(|n| n.has_set(set)) {
        return Err(ScriptError(format!(
            "no relay in rtpproxy_sock is of set {set}"
        )));
    }
    ctx.ext::<Chosen>().0 = set;
    Ok(1)
}

/// `$rtppstat`: asked anew each time it is read.
fn stat(ctx: &Ctx) -> Val<'static> {
    let asked = command::session(ctx, &Flags::default()).and_then(|s| {
        let node = command::relay(ctx, &[]).ok_or(command::Failed)?;
        command::send(node, &format!("Q {} {};1 {}", s.id, s.from, s.to))
    });
    asked.map_or(Val::Null, Val::owned)
}

fn list(_: &Params) -> Answer {
    let Some(nodes) = NODES.get() else {
        return Ok(vec![]);
    };
    Ok(nodes
        .all()
        .iter()
        .map(|n| {
            let (disabled, recheck) = match nodes.state(n) {
                State::Up => (0, 0),
                State::Down(s) => (1, s as i64),
                State::Off => (1, -1),
            };
            fields([
                ("setid", Value::Int(n.set)),
                ("url", text(&n.url)),
                ("index", Value::Int(n.index as i64)),
                ("disabled", Value::Int(disabled)),
                ("weight", Value::Int(n.weight.into())),
                ("recheck", Value::Int(recheck)),
            ])
        })
        .collect())
}

fn enable(p: &Params) -> Answer {
    let url = p.text(0, "url")?;
    let on = p.int(1, "on")? != 0;
    let nodes = NODES.get().ok_or_else(|| Fault::new(404, "no relays"))?;
    let found = nodes.named(&url);
    if found.is_empty() {
        return Err(Fault::new(404, format!("no relay {url}")));
    }
    for n in found {
        if on {
            nodes.retry(n, 0);
            test(nodes, n);
        } else {
            nodes.off(n);
        }
    }
    Ok(vec![])
}
