//! What takes the place of the kernel where messages leave: a simulation's network, a rehearsal's notes.
//!
//! A server never replaces it. Everything before the system call stays as it is, the outbox of a
//! batch included, so what a process had not flushed when it died is lost here as well. Asking
//! whether it is replaced is one load beside a system call.

use super::{Dst, SendError};
use std::sync::OnceLock;

/// Takes a message that would be sent.
pub type Wire = fn(&Dst, &[u8]) -> Result<(), SendError>;

static WIRE: OnceLock<Wire> = OnceLock::new();

/// From now on messages go to `wire`; once, before the first is sent.
pub fn replace(wire: Wire) {
    let _ = WIRE.set(wire);
}

/// What messages go to instead of a socket.
pub(super) fn replaced() -> Option<Wire> {
    WIRE.get().copied()
}
