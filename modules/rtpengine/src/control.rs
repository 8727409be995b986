//! Commands for operators, and the process that pings relays and receives their DTMF events.

use crate::command::{CALLS, NODES, test};
use crate::params as p;
use olelo_core::pv::Spec;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::module::ExtraProcess;
use olelo_core::route::run;
use olelo_core::route::value::Val;
use olelo_core::rpc::{Answer, Fault, Params, Rpc, Value, fields, rpc, text};
use olelo_core::timer::monotonic_ms;
use olelo_ipc::signals::stopping;
use olelo_rtp_nodes::nodes::{Node, Nodes, State};
use std::net::UdpSocket;
use std::time::Duration;

/// The event's name.
pub(crate) const DTMF_EVENT: &str = "rtpengine:dtmf-event";

/// The commands.
pub(crate) fn rpcs() -> Vec<Rpc> {
    vec![
        rpc("rtpengine.show", show)
            .args("url|all")
            .array()
            .doc("Relays and their state."),
        rpc("rtpengine.ping", ping)
            .args("url|all")
            .doc("Pings relays; one that does not answer is left alone for a while."),
        rpc("rtpengine.enable", enable)
            .args("url|all 0|1")
            .doc("Switches relays off or on."),
        rpc("rtpengine.reload", |_| {
            Err(Fault::new(500, "No Database URL"))
        })
        .doc("Always an error: relays are given with rtpengine_sock."),
        rpc("rtpengine.get_hash_total", |_| {
            Ok(vec![Value::Int(CALLS.get().map_or(0, |c| c.len()) as i64)])
        })
        .doc("How many calls are remembered."),
    ]
}

fn named(params: &Params) -> Result<(&'static Nodes, Vec<&'static Node>, String), Fault> {
    let url = params.text(0, "url")?;
    let nodes = NODES
        .get()
        .ok_or_else(|| Fault::new(404, "Instance not found"))?;
    let found = nodes.named(&url);
    if found.is_empty() {
        return Err(Fault::new(404, "Instance not found"));
    }
    Ok((nodes, found, url))
}

fn show(params: &Params) -> Answer {
    let (nodes, found, _) = named(params)?;
    let shown = |n: &Node| {
        let (disabled, recheck) = match nodes.state(n) {
            State::Up => (Value::Int(0), Value::Int(0)),
            State::Down(s) => (Value::Int(1), Value::Int(s as i64)),
            State::Off => (text("1(permanent)"), text("N/A")),
        };
        fields([
            ("url", text(&n.url)),
            ("set", Value::Int(n.set)),
            ("index", Value::Int(n.index as i64)),
            ("weight", Value::Int(n.weight.into())),
            ("disabled", disabled),
            ("recheck_ticks", recheck),
        ])
    };
    Ok(found.into_iter().map(shown).collect())
}

fn outcome(url: String, status: &str) -> Answer {
    Ok(vec![fields([("url", text(url)), ("status", text(status))])])
}

fn ping(params: &Params) -> Answer {
    let (nodes, found, url) = named(params)?;
    // All are asked, also after one has failed.
    let failed = found.into_iter().filter(|n| !test(nodes, n)).count();
    outcome(url, if failed == 0 { "success" } else { "fail" })
}

fn enable(params: &Params) -> Answer {
    let (nodes, found, url) = named(params)?;
    if params.int(1, "on")? == 0 {
        found.into_iter().for_each(|n| nodes.off(n));
        return outcome(url, "disable");
    }
    let mut failed = 0;
    for n in found {
        // No longer off by hand, whether it answers or not.
        nodes.retry(n, p::DISABLE_TOUT.get());
        if !test(nodes, n) {
            failed += 1;
        }
    }
    outcome(url, if failed == 0 { "enable" } else { "fail" })
}

/// The processes: one that pings, one for DTMF events, as far as they are asked for.
pub(crate) fn processes() -> Vec<ExtraProcess> {
    let mut v = Vec::new();
    if p::PING_MODE.get() != 0 && NODES.get().is_some_and(|n| !n.all().is_empty()) {
        v.push(ExtraProcess {
            description: "rtpengine pinger".into(),
            run: |_| ping_all(),
            index: 0,
            routes: false,
        });
    }
    if p::DTMF_SOCK.get().is_some_and(|s| !s.is_empty()) {
        v.push(ExtraProcess {
            description: "rtpengine DTMF events".into(),
            run: |_| receive_events(),
            index: 0,
            routes: true,
        });
    }
    v
}

/// Pings every relay at start, so that the first call need not find out who is dead.
fn ping_all() {
    let Some(nodes) = NODES.get() else { return };
    let mut next = 0;
    while !stopping() {
        let now = monotonic_ms();
        if now >= next {
            let every = p::PING_INTERVAL.get().max(1) as u64 * 1000;
            next = if p::PING_MODE.get() == 2 {
                now + every
            } else {
                u64::MAX
            };
            for n in nodes.all() {
                if !stopping() && nodes.state(n) != State::Off {
                    test(nodes, n);
                }
            }
        }
        // A signal ends the sleep early.
        let _ = nix::poll::poll(&mut [], 1000u16);
    }
}

/// Runs the event's route for each datagram.
fn receive_events() {
    let place = p::DTMF_SOCK.text();
    let addr = place
        .strip_prefix("udp:")
        .or(place.strip_prefix("udp6:"))
        .unwrap_or(place);
    let socket = UdpSocket::bind(addr)
        .and_then(|s| s.set_read_timeout(Some(Duration::from_secs(1))).map(|()| s));
    let socket = match socket {
        Ok(s) => s,
        Err(e) => {
            olelo_core::error!("rtpengine", "can't receive DTMF events on {place}: {e}");
            while !stopping() {
                let _ = nix::poll::poll(&mut [], 1000u16);
            }
            return;
        }
    };
    let mut buf = [0; 8192];
    while !stopping() {
        if let Ok((n, from)) = socket.recv_from(&mut buf) {
            match serde_json::from_slice(&buf[..n]) {
                Ok(event) => dtmf(&event),
                Err(e) => {
                    olelo_core::warn!("rtpengine", "a DTMF event from {from} can't be read: {e}")
                }
            }
        }
    }
}

fn dtmf(event: &serde_json::Value) {
    let mut ctx = Ctx::new();
    for ((_, part), to) in p::DTMF_PARTS.iter().zip(&p::DTMF) {
        let Some(name) = to.get().filter(|n| !n.is_empty()) else {
            continue;
        };
        let value = match &event[*part] {
            serde_json::Value::Null => Val::Null,
            serde_json::Value::String(s) => Val::text(s),
            serde_json::Value::Number(n) if n.is_i64() => Val::Int(n.as_i64().unwrap_or(0)),
            other => Val::owned(other.to_string()),
        };
        let done = Spec::parse_cached(name.as_bytes()).and_then(|s| s.set(&mut ctx, value));
        if let Err(e) = done {
            olelo_core::error!("rtpengine", "can't write {name}: {}", e.0);
        }
    }
    let native = format!("event_route[{DTMF_EVENT}]");
    match p::EVENT_CALLBACK.get().filter(|f| !f.is_empty()) {
        Some(f) => {
            run::event(&mut ctx, f, DTMF_EVENT);
        }
        None if run::has(&native) => {
            run::event(&mut ctx, &native, DTMF_EVENT);
        }
        None => {}
    }
}
