//! Commands of rtpproxy's control protocol, the relay they go to, and what it answers.
//!
//! A command is a line: a letter with options, then Call-ID, addresses and tags with spaces between.
//! Nothing of a message goes into it that would break the line.

use crate::flags::{Branch, Flags};
use crate::params as p;
use olelo_core::pv::Spec;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::module::StrParam;
use olelo_core::route::value::Val;
use olelo_rtp_nodes::calls::{Call, Calls, Offer};
use olelo_rtp_nodes::exchange::{Manner, ask};
use olelo_rtp_nodes::nodes::{HashKind, Node, Nodes, State, hash};
use std::sync::OnceLock;
use std::time::Duration;

pub(crate) static NODES: OnceLock<Nodes> = OnceLock::new();
pub(crate) static CALLS: OnceLock<Calls> = OnceLock::new();

/// The node number of a call for which none was chosen yet.
pub(crate) const NO_NODE: usize = u32::MAX as usize;
/// How long a call's relay is remembered, seconds.
const CALL_SECONDS: u64 = 12 * 3600;
/// The version of the protocol that a relay must know.
const VERSION: &[u8] = b"20040107";

/// Why a command failed; already logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failed;

/// Names of the session that a message is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    /// Call-ID, with what tells branches apart.
    pub id: String,
    /// From-tag.
    pub from: String,
    /// To-tag, empty where there is none.
    pub to: String,
}

/// The names of the session of the message in `ctx`.
pub(crate) fn session(ctx: &Ctx, flags: &Flags) -> Result<Session, Failed> {
    let failed = |why: &str| {
        olelo_core::error!("rtpproxy", "{why}");
        Failed
    };
    let word = |b: &[u8], what: &str| {
        let text = String::from_utf8_lossy(b).into_owned();
        let fits = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
        fits.then_some(text)
            .ok_or_else(|| failed(&format!("the {what} can't stand in a command")))
    };
    let call_id = ctx
        .msg
        .call_id()
        .ok_or_else(|| failed("the message has no Call-ID"))?;
    let mut id = word(call_id, "Call-ID")?;
    if let Some(b) = branch(ctx, flags.branch).map_err(failed)? {
        id.push(';');
        id.push_str(&word(&b, "branch")?);
    }
    let from = ctx.msg.from_tag().filter(|t| !t.is_empty());
    let from = word(from.ok_or_else(|| failed("From has no tag"))?, "From-tag")?;
    let to = match ctx.msg.to_tag().filter(|t| !t.is_empty()) {
        Some(t) => word(t, "To-tag")?,
        None => String::new(),
    };
    Ok(Session { id, from, to })
}

fn branch(ctx: &Ctx, which: Branch) -> Result<Option<Vec<u8>>, &'static str> {
    let via = |n: usize| {
        let b = ctx.msg.via(n).and_then(|v| v.branch(ctx.msg.buf()));
        b.map(|b| Some(b.to_vec()))
            .ok_or("there is no such Via branch")
    };
    match which {
        Branch::None => Ok(None),
        Branch::First => via(0),
        Branch::Second => via(1),
        Branch::ByKind => via(usize::from(!ctx.msg.is_request())),
        Branch::Extra => read_pv(ctx, &p::EXTRA_ID_PV)
            .filter(|v| !v.is_empty())
            .map(Some)
            .ok_or("extra_id_pv has no value"),
    }
}

/// The text in the pseudo-variable that a parameter names.
pub(crate) fn read_pv(ctx: &Ctx, name: &StrParam) -> Option<Vec<u8>> {
    let name = name.get().filter(|n| !n.is_empty())?;
    let value = Spec::parse_cached(name.as_bytes()).ok()?.get(ctx);
    value.as_bytes().map(|b| b.to_vec())
}

/// The set that the script chose.
#[derive(Default)]
pub(crate) struct Chosen(pub i64);

/// The relay for the message's call: the one that has it, else by hash of the Call-ID. Those in `not`
/// have been asked already.
pub(crate) fn relay(ctx: &Ctx, not: &[usize]) -> Option<&'static Node> {
    let nodes = NODES.get()?;
    let set = ctx.ext_ref::<Chosen>().map_or(0, |c| c.0);
    let call_id = ctx.msg.call_id()?;
    let has = CALLS
        .get()
        .and_then(|c| c.find(call_id))
        .and_then(|c| nodes.all().get(c.node))
        .filter(|n| n.set == set && !not.contains(&n.number));
    if let Some(n) = has {
        match nodes.state(n) {
            State::Up => return Some(n),
            State::Down(0) if test(nodes, n) => return Some(n),
            _ => {}
        }
    }
    for n in nodes.due(set).filter(|n| !not.contains(&n.number)) {
        test(nodes, n);
    }
    let h = hash(HashKind::Sum, call_id);
    nodes.choose(set, h, not).or_else(|| {
        // None is left: perhaps one is back.
        for n in nodes.resting(set).filter(|n| !not.contains(&n.number)) {
            test(nodes, n);
        }
        nodes.choose(set, h, not)
    })
}

/// Sends a command to a relay; one that does not answer is left alone for a while.
pub(crate) fn send(node: &Node, command: &str) -> Result<String, Failed> {
    let how = Manner {
        wait: Duration::from_secs(p::TOUT.get().clamp(1, 60) as u64),
        tries: p::RETR.get().clamp(1, 100) as u32,
        tos: None,
        from: None,
    };
    match ask(node, command.as_bytes(), &how) {
        Ok(a) => {
            let text = String::from_utf8_lossy(&a).trim().to_string();
            if text.starts_with('E') {
                olelo_core::error!("rtpproxy", "{} refuses \"{command}\": {text}", node.url);
                return Err(Failed);
            }
            Ok(text)
        }
        Err(e) => {
            let rest = p::DISABLE_TOUT.get();
            olelo_core::error!(
                "rtpproxy",
                "{} does not answer: {e}; it is left alone for {rest} s",
                node.url
            );
            if let Some(n) = NODES.get() {
                n.down(node, rest);
            }
            Err(Failed)
        }
    }
}

/// Sends a command to the relay of the call, or to the next one that answers.
pub(crate) fn send_any(ctx: &Ctx, command: &str) -> Result<(&'static Node, String), Failed> {
    let mut asked = Vec::new();
    while let Some(node) = relay(ctx, &asked) {
        match send(node, command) {
            Ok(a) => return Ok((node, a)),
            Err(_) if NODES.get().is_some_and(|n| n.state(node) == State::Up) => {
                return Err(Failed);
            }
            Err(_) => asked.push(node.number),
        }
    }
    olelo_core::error!("rtpproxy", "no relay answers");
    Err(Failed)
}

/// Whether a relay answers and knows the protocol; its state follows.
pub(crate) fn test(nodes: &Nodes, node: &Node) -> bool {
    let well = send(node, "V").is_ok_and(|a| a.as_bytes().starts_with(VERSION));
    if well && nodes.state(node) != State::Off {
        nodes.up(node);
    }
    well
}

/// Remembers which relay has a call, and where its offer came in.
pub(crate) fn remember(call_id: &[u8], node: usize, offer: Offer) {
    if let Some(c) = CALLS.get() {
        c.put(call_id, Call { node, offer }, CALL_SECONDS);
    }
}

/// Tells the script which relay was used.
pub(crate) fn tell_node(ctx: &mut Ctx, node: &Node) {
    let Some(name) = p::RTP_INST_PVAR.get().filter(|n| !n.is_empty()) else {
        return;
    };
    let done = Spec::parse_cached(name.as_bytes()).and_then(|s| s.set(ctx, Val::text(&node.url)));
    if let Err(e) = done {
        olelo_core::error!("rtpproxy", "can't write {name}: {}", e.0);
    }
}
