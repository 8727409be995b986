//! Media relays that a SIP server controls: what the modules `rtpproxy` and `rtpengine` have in common.
//!
//! - [`nodes`]: sets of relays with weights, which of them answer, the choice of one by Call-ID;
//! - [`calls`]: which relay has which call;
//! - [`exchange`]: a question and its answer over a datagram socket, with repeats and a time limit;
//! - [`session`]: what the message at hand means for a media session.
//!
//! This is no module of its own: nothing here is exported to scripts.

#![forbid(unsafe_code)]

pub mod calls;
pub mod exchange;
pub mod nodes;
pub mod session;
