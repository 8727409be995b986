//! What other modules are told of: accounting, dialogs and others add a [`Callback`] in `init`.
//!
//! `wants` is asked first, with facts that cost nothing, so that a message nobody cares about is not
//! parsed again for its callbacks. `run` gets a context of the request (revived from shared memory
//! where another message is being worked on), with its flags and AVPs. No lock is held.

use crate::revive;
use crate::state::Head;
use olelo_core::hooks::Hook;
use olelo_core::mem::NodeId;
use olelo_core::route::ctx::Ctx;
use olelo_sip::Method;

/// A request has got its transaction.
pub const REQUEST_IN: u32 = 1;
/// A reply has come for it.
pub const RESPONSE_IN: u32 = 1 << 1;
/// A reply was sent upstream, relayed or made here.
pub const RESPONSE_OUT: u32 = 1 << 2;
/// All legs have failed; the failure route, if any, runs next.
pub const ON_FAILURE: u32 = 1 << 3;
/// A request made here has its final reply.
pub const LOCAL_COMPLETED: u32 = 1 << 4;
/// The end-to-end ACK has come by.
pub const E2E_ACK: u32 = 1 << 5;
/// A CANCEL for it has come.
pub const CANCEL_IN: u32 = 1 << 6;
/// It is freed.
pub const DESTROY: u32 = 1 << 7;
/// A leg was sent.
pub const REQUEST_OUT: u32 = 1 << 8;

/// What is known without looking into messages.
#[derive(Debug, Clone, Copy)]
pub struct Brief {
    /// One of the bits above.
    pub what: u32,
    /// Status of the reply; 0 where it is not about one.
    pub code: u16,
    /// Message flags of the request.
    pub flags: u32,
    /// Method of the request.
    pub method: Method,
    /// The request was made here.
    pub local: bool,
}

/// An event.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// In brief.
    pub brief: Brief,
    /// The transaction.
    pub node: NodeId,
    /// The leg it is about.
    pub leg: Option<usize>,
    /// The reply, as sent or received; empty where it is not about one.
    pub reply: &'a [u8],
    /// The reply was made here.
    pub made_here: bool,
}

/// A module's interest in events.
#[derive(Clone, Copy)]
pub struct Callback {
    /// Which events.
    pub bits: u32,
    /// Whether this one.
    pub wants: fn(&Brief) -> bool,
    /// What to do.
    pub run: fn(&mut Ctx, &Event<'_>),
}

static CALLBACKS: Hook<Callback> = Hook::new();

/// Adds a callback; main, in a module's `init`.
pub fn on(c: Callback) {
    CALLBACKS.add(c);
}

/// Something to tell of.
pub(crate) struct News<'a> {
    pub what: u32,
    pub code: u16,
    pub leg: Option<usize>,
    pub reply: &'a [u8],
    pub made_here: bool,
}

/// Tells who wants to know. `ctx` is the request's own context, where it is at hand.
pub(crate) fn tell(id: NodeId, head: &Head, news: &News<'_>, ctx: Option<&mut Ctx>) {
    let list = CALLBACKS.list();
    if !list.iter().any(|c| c.bits & news.what != 0) {
        return;
    }
    let brief = Brief {
        what: news.what,
        code: news.code,
        flags: head.msg_flags,
        method: crate::ids::method_of(head.method),
        local: head.has(crate::state::flag::LOCAL),
    };
    let wanting: Vec<&Callback> = list
        .iter()
        .filter(|c| c.bits & news.what != 0 && (c.wants)(&brief))
        .collect();
    if wanting.is_empty() {
        return;
    }
    let event = Event {
        brief,
        node: id,
        leg: news.leg,
        reply: news.reply,
        made_here: news.made_here,
    };
    match ctx {
        Some(ctx) => wanting.iter().for_each(|c| (c.run)(ctx, &event)),
        None => {
            revive::with(id, |ctx| wanting.iter().for_each(|c| (c.run)(ctx, &event)));
        }
    }
}

/// Somebody wants events of this kind.
pub(crate) fn is_told(what: u32) -> bool {
    CALLBACKS.list().iter().any(|c| c.bits & what != 0)
}
