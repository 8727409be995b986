//! An ng command for the message at hand: its members, the relay it goes to, what the answer says.
//!
//! A call stays with the relay that took it: the shared table [`Calls`] remembers which. A new call goes
//! to a relay of the wanted set by a hash of its Call-ID; one that does not answer is left alone for a
//! while, and the next is asked.

use crate::bencode::Value;
use crate::flags::{Asked, ViaBranch};
use crate::params as p;
use olelo_core::pv::Spec;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::value::Val;
use olelo_rtp_nodes::calls::{Call, Calls, Offer};
use olelo_rtp_nodes::exchange::{Manner, ask};
use olelo_rtp_nodes::nodes::{HashKind, Node, Nodes, State, hash};
use olelo_rtp_nodes::session;
use std::sync::OnceLock;
use std::time::Duration;

pub(crate) static NODES: OnceLock<Nodes> = OnceLock::new();
pub(crate) static CALLS: OnceLock<Calls> = OnceLock::new();

/// The node number of a call for which none was chosen yet.
pub(crate) const NO_NODE: usize = u32::MAX as usize;

/// Which tags a command carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tags {
    /// Both.
    Both,
    /// From; To only where the flags say so.
    From,
    /// None, unless the flags say who is meant.
    None,
}

/// A command of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Command {
    /// Its name.
    pub name: &'static str,
    /// Its tags.
    pub tags: Tags,
    /// It carries the session description and gets one back.
    pub sdp: bool,
    /// A relay may be chosen anew for it.
    pub begins: bool,
}

impl Command {
    pub(crate) const fn new(name: &'static str, tags: Tags) -> Command {
        Command {
            name,
            tags,
            sdp: false,
            begins: false,
        }
    }
}

pub(crate) const OFFER: Command = Command {
    sdp: true,
    begins: true,
    ..Command::new("offer", Tags::Both)
};
pub(crate) const ANSWER: Command = Command {
    sdp: true,
    ..Command::new("answer", Tags::Both)
};
pub(crate) const DELETE: Command = Command::new("delete", Tags::From);
pub(crate) const QUERY: Command = Command::new("query", Tags::Both);

/// The set that the script chose, and the second one for two relays in a row.
#[derive(Default)]
pub(crate) struct Chosen(pub Option<(i64, Option<i64>)>);

/// What to send.
pub(crate) struct Question {
    pub members: Vec<(Vec<u8>, Value)>,
    pub call_id: Vec<u8>,
    pub begins: bool,
}

/// Why a command failed; already logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failed;

/// Builds a command. `sdp` is the description to send; `via_branch` overrides the flags.
pub(crate) fn question(
    ctx: &Ctx,
    command: Command,
    mut asked: Asked,
    sdp: Option<&[u8]>,
    via_branch: Option<&str>,
) -> Result<Question, Failed> {
    let command = match asked.force_answer {
        true if command == OFFER => ANSWER,
        _ => command,
    };
    let failed = |why: String| {
        olelo_core::error!("rtpengine", "{}: {why}", command.name);
        Failed
    };
    let call_id = match &asked.call_id {
        Some(c) => c.clone().into_bytes(),
        None => ctx
            .msg
            .call_id()
            .ok_or_else(|| failed("the message has no Call-ID".into()))?
            .to_vec(),
    };
    let own = |t: Option<&[u8]>| t.unwrap_or_default().to_vec();
    let (mut from, mut to) = (own(ctx.msg.from_tag()), own(ctx.msg.to_tag()));
    if let Some(t) = &asked.from_tag {
        from = t.clone().into_bytes();
    }
    if let Some(t) = &asked.to_tag {
        to = t.clone().into_bytes();
    }
    if command.sdp && session::is_turned(ctx, command == ANSWER) {
        std::mem::swap(&mut from, &mut to);
    }
    let with_from = command.tags != Tags::None || asked.directional || asked.from_tag.is_some();
    let with_to = command.tags == Tags::Both || asked.with_to_tag;
    if command.sdp && from.is_empty() {
        return Err(failed("the side that speaks has no tag".into()));
    }
    if command == ANSWER && to.is_empty() {
        return Err(failed("the side that answers has no tag".into()));
    }
    let branch = match via_branch.filter(|b| !b.is_empty()) {
        Some(b) => Some(b.as_bytes().to_vec()),
        None => branch_of(ctx, &asked.via_branch).map_err(|e| failed(e.into()))?,
    };
    asked.put("supports", Value::List(vec!["load limit".into()]));
    asked.put("command", command.name.into());
    asked.put("call-id", Value::Bytes(call_id.clone()));
    if let Some(sdp) = sdp {
        asked.put("sdp", sdp.into());
    }
    if let Some(b) = branch {
        asked.put("via-branch", Value::Bytes(b));
    }
    let src = ctx.rcv.src.ip();
    let family = if src.is_ipv6() { "IP6" } else { "IP4" };
    let received = vec![family.into(), src.to_string().as_str().into()];
    asked.put("received-from", Value::List(received));
    if with_from && !from.is_empty() {
        asked.put("from-tag", Value::Bytes(from));
    }
    if with_to && !to.is_empty() {
        asked.put("to-tag", Value::Bytes(to));
    }
    Ok(Question {
        members: asked.members,
        call_id,
        begins: command.begins,
    })
}

fn branch_of(ctx: &Ctx, which: &ViaBranch) -> Result<Option<Vec<u8>>, &'static str> {
    let via = |n: usize| {
        let branch = ctx.msg.via(n).and_then(|v| v.branch(ctx.msg.buf()));
        branch
            .map(|b| Some(b.to_vec()))
            .ok_or("there is no such Via branch")
    };
    let request = ctx.msg.is_request();
    let extra = || {
        let value = read_pv(ctx, &p::EXTRA_ID_PV).filter(|v| !v.is_empty());
        value.map(Some).ok_or("extra_id_pv has no value")
    };
    match which {
        ViaBranch::None => Ok(None),
        ViaBranch::First => via(0),
        ViaBranch::Second => via(1),
        ViaBranch::Auto => via(usize::from(!request)),
        ViaBranch::Extra => extra(),
        ViaBranch::AutoExtra if request => extra(),
        ViaBranch::AutoExtra => via(0),
        ViaBranch::AutoNext if !request => via(0),
        ViaBranch::Next | ViaBranch::AutoNext => match olelo_tm::tmx_api::next_branch(ctx) {
            Some(b) => Ok(Some(b.into_bytes())),
            None => {
                Err("the branch of the next request is not known here; call it in a branch_route")
            }
        },
        ViaBranch::Text(t) => Ok(Some(t.clone().into_bytes())),
    }
}

/// The text in the pseudo-variable that a parameter names.
pub(crate) fn read_pv(ctx: &Ctx, name: &olelo_core::route::module::StrParam) -> Option<Vec<u8>> {
    let name = name.get().filter(|n| !n.is_empty())?;
    let value = Spec::parse_cached(name.as_bytes()).ok()?.get(ctx);
    value.as_bytes().map(|b| b.to_vec())
}

/// Puts a value into the pseudo-variable that a parameter names, if it names one.
pub(crate) fn write_pv(ctx: &mut Ctx, name: &olelo_core::route::module::StrParam, value: Val<'_>) {
    let Some(name) = name.get().filter(|n| !n.is_empty()) else {
        return;
    };
    let done = Spec::parse_cached(name.as_bytes()).and_then(|s| s.set(ctx, value));
    if let Err(e) = done {
        olelo_core::error!("rtpengine", "can't write {name}: {}", e.0);
    }
}

/// Sends a command to the relay of the call, or chooses one; the relay's number and answer.
pub(crate) fn send(q: &Question, set: i64) -> Result<(usize, Value), Failed> {
    let nodes = NODES.get().ok_or(Failed)?;
    let encoded = encode(&q.members);
    let mut tried: Vec<usize> = Vec::new();
    if let Some(node) = known(nodes, &q.call_id, set) {
        match one(nodes, node, &encoded) {
            Some(a) if !is_busy(&a) => return checked(node, a),
            _ => tried.push(node.number),
        }
    }
    let kind = match p::HASH_ALGO.get() {
        0 => HashKind::Sum,
        1 => HashKind::Sha1,
        _ => HashKind::Crc32,
    };
    let h = hash(kind, &q.call_id);
    let most = p::QUERIED_NODES_LIMIT.get().clamp(1, 30) as usize;
    while tried.len() < most {
        let Some(node) = choose(nodes, set, h, &tried) else {
            break;
        };
        match one(nodes, node, &encoded) {
            Some(a) if !(q.begins && is_busy(&a)) => return checked(node, a),
            Some(_) => olelo_core::info!("rtpengine", "{} takes no more calls", node.url),
            None => {}
        }
        tried.push(node.number);
    }
    olelo_core::error!("rtpengine", "no relay of set {set} answers");
    Err(Failed)
}

/// The relay that has the call, if it may be asked.
fn known<'a>(nodes: &'a Nodes, call_id: &[u8], set: i64) -> Option<&'a Node> {
    let call = CALLS.get()?.find(call_id)?;
    let node = nodes.all().get(call.node).filter(|n| n.set == set)?;
    let allowed = match (nodes.state(node), p::ALLOW_OP.get()) {
        (State::Up, _) | (_, 1) | (State::Off, 2) => true,
        (State::Down(0), _) => test(nodes, node),
        _ => false,
    };
    allowed.then_some(node)
}

/// A relay by hash; those whose rest is over are tried again first, and all where none is left.
fn choose<'a>(nodes: &'a Nodes, set: i64, h: u32, not: &[usize]) -> Option<&'a Node> {
    for n in nodes.due(set).filter(|n| !not.contains(&n.number)) {
        test(nodes, n);
    }
    let chosen = nodes.choose(set, h, not);
    if chosen.is_some() || !p::AGGRESSIVE.is_on() {
        return chosen;
    }
    for n in nodes.resting(set).filter(|n| !not.contains(&n.number)) {
        test(nodes, n);
    }
    nodes.choose(set, h, not)
}

/// Asks one relay; `None` where it does not answer, which it is left alone for.
fn one(nodes: &Nodes, node: &Node, encoded: &[u8]) -> Option<Value> {
    match ask(node, encoded, &manner()) {
        Ok(a) => match Value::decode(&a) {
            Some(v) => Some(v),
            None => {
                olelo_core::error!("rtpengine", "{}: the answer can't be read", node.url);
                None
            }
        },
        Err(e) => {
            olelo_core::error!(
                "rtpengine",
                "{} does not answer: {e}; it is left alone for {} s",
                node.url,
                p::DISABLE_TOUT.get()
            );
            nodes.down(node, p::DISABLE_TOUT.get());
            None
        }
    }
}

/// Whether a relay answers a ping; its state follows.
pub(crate) fn test(nodes: &Nodes, node: &Node) -> bool {
    let ping = encode(&[(b"command".to_vec(), "ping".into())]);
    let well = one(nodes, node, &ping)
        .is_some_and(|v| v.get("result").and_then(Value::as_bytes) == Some(b"pong"));
    if well && nodes.state(node) != State::Off {
        nodes.up(node);
    }
    well
}

fn is_busy(a: &Value) -> bool {
    a.get("result").and_then(Value::as_bytes) == Some(b"load limit")
}

fn checked(node: &Node, a: Value) -> Result<(usize, Value), Failed> {
    match a.get("result").and_then(Value::as_bytes) {
        Some(b"error") => {
            let why = a
                .get("error-reason")
                .and_then(Value::as_bytes)
                .unwrap_or_default();
            olelo_core::error!(
                "rtpengine",
                "{} refuses: {}",
                node.url,
                String::from_utf8_lossy(why)
            );
            Err(Failed)
        }
        Some(b"load limit") => Err(Failed),
        _ => {
            if let Some(w) = a.get("warning").and_then(Value::as_bytes) {
                olelo_core::warn!("rtpengine", "{}: {}", node.url, String::from_utf8_lossy(w));
            }
            Ok((node.number, a))
        }
    }
}

fn encode(members: &[(Vec<u8>, Value)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    Value::Dict(members.to_vec()).encode(&mut out);
    out
}

fn manner() -> Manner {
    Manner {
        wait: Duration::from_millis(p::TOUT_MS.get().clamp(1, 60_000) as u64),
        tries: p::RETR.get().clamp(1, 100) as u32,
        tos: u32::try_from(p::TOS.get()).ok().filter(|t| *t < 256),
        from: p::SEND_FROM.get().and_then(|a| a.parse().ok()),
    }
}

/// Remembers which relay has a call, and where its offer came in.
pub(crate) fn remember(call_id: &[u8], node: usize, offer: Offer) {
    if let Some(c) = CALLS.get() {
        let seconds = p::HASH_TABLE_TOUT.get().max(1) as u64;
        c.put(call_id, Call { node, offer }, seconds);
    }
}

/// The sets for this message: the script's choice, `setid_avp`, `setid_default`.
pub(crate) fn sets(ctx: &Ctx) -> (i64, Option<i64>) {
    if let Some(chosen) = ctx.ext_ref::<Chosen>().and_then(|c| c.0) {
        return chosen;
    }
    let by_avp = read_pv(ctx, &p::SETID_AVP)
        .and_then(|v| String::from_utf8(v).ok())
        .and_then(|v| v.trim().parse().ok());
    (by_avp.unwrap_or(p::SETID_DEFAULT.get()), None)
}
