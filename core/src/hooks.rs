//! Places where modules join the path of a message without the core knowing them.
//!
//! Hooks are set in main by `Module::init`, before the forks, and then only read.

use crate::route::ctx::Ctx;
use std::sync::{OnceLock, RwLock};

/// What a module says to a reply that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyVerdict {
    /// It is mine; nothing is left to do.
    Taken,
    /// Not mine, or mine to be forwarded without state.
    Pass,
}

/// A list of functions that is filled in main and read everywhere.
pub struct Hook<F: Copy + 'static> {
    filling: RwLock<Vec<F>>,
    frozen: OnceLock<Vec<F>>,
}

impl<F: Copy + 'static> Hook<F> {
    /// An empty hook.
    pub const fn new() -> Self {
        Hook {
            filling: RwLock::new(Vec::new()),
            frozen: OnceLock::new(),
        }
    }

    /// Adds a function; main, before the forks.
    pub fn add(&self, f: F) {
        if let Ok(mut v) = self.filling.write() {
            v.push(f);
        }
    }

    /// The functions in the order they were added.
    pub fn list(&self) -> &[F] {
        if crate::server::started() {
            return self
                .frozen
                .get_or_init(|| self.filling.read().map(|v| v.clone()).unwrap_or_default());
        }
        &[]
    }
}

impl<F: Copy + 'static> Default for Hook<F> {
    fn default() -> Self {
        Hook::new()
    }
}

/// A reply has arrived and the stateless reply route let it pass.
pub static REPLY: Hook<fn(&mut Ctx) -> ReplyVerdict> = Hook::new();
/// A request or reply is about to be routed. A hook that leaves `End::Drop` in `ctx.end` has dealt
/// with a request: it is not routed.
pub static PRE_SCRIPT: Hook<fn(&mut Ctx)> = Hook::new();
/// The main route (request or reply) has ended.
pub static POST_SCRIPT: Hook<fn(&mut Ctx)> = Hook::new();
/// The main route failed (error, budget). Return true if the request has been answered.
pub static SCRIPT_FAILED: Hook<fn(&mut Ctx) -> bool> = Hook::new();
/// A route failed or was stopped, whichever it was: its name, and what went wrong with file:line.
pub static ROUTE_FAILED: Hook<fn(&str, &str)> = Hook::new();
/// A reply without state is about to be sent: status, reason, bytes.
pub static LOCAL_REPLY: Hook<LocalReply> = Hook::new();
/// Gets status, reason and bytes.
pub type LocalReply = fn(&mut Ctx, u16, &str, &[u8]);
/// A request is about to be built for this destination: the last moment to edit it for one branch.
pub static FORWARD: Hook<fn(&mut Ctx, &crate::net::Dst)> = Hook::new();
/// A message was taken over to be sent and could not be: the connection to its destination did not
/// open, or the kernel refused it at the end of a batch. Runs in the process that found out.
pub static UNSENT: Hook<fn(&crate::net::Dst, &[u8])> = Hook::new();
/// A message came over a stream whose first line says HTTP. It is given with whether it could be
/// indexed; true: it has been dealt with.
pub static HTTP: Hook<fn(&mut Ctx, bool) -> bool> = Hook::new();
