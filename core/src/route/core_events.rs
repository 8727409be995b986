//! The core's own event routes: a message has come, is about to be routed, could not be read; the
//! first worker is ready.
//!
//! Each runs `event_route[core:…]` of the native language, or the script function that a `kemi.…`
//! parameter names. Whether the configuration has any is found out once per process and generation
//! of the routing code and kept, so that a message pays one look at a flag for each.

use super::ctx::Ctx;
use super::engine::Outcome;
use super::function::EVENT;
use super::{generation, run};
use std::cell::Cell;
use std::sync::OnceLock;

/// An event of the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CoreEvent {
    /// `core:msg-received`: before parsing, where `received_route_mode` is on.
    MsgReceived,
    /// `core:pre-routing`: before `request_route` and `reply_route`.
    PreRouting,
    /// `core:receive-parse-error`: the message can't be read.
    ParseError,
    /// `core:worker-one-init`: in the first worker, before it receives anything.
    WorkerOneInit,
}

impl CoreEvent {
    /// The event's name.
    pub fn name(self) -> &'static str {
        match self {
            CoreEvent::MsgReceived => "core:msg-received",
            CoreEvent::PreRouting => "core:pre-routing",
            CoreEvent::ParseError => "core:receive-parse-error",
            CoreEvent::WorkerOneInit => "core:worker-one-init",
        }
    }

    /// The core parameter that names a script function for it.
    fn callback_param(self) -> &'static str {
        match self {
            CoreEvent::MsgReceived => "kemi.received_route_callback",
            CoreEvent::PreRouting => "kemi.pre_routing_callback",
            CoreEvent::ParseError | CoreEvent::WorkerOneInit => "kemi.event_route_callback",
        }
    }

    /// The script function that handles it, if the configuration names one.
    fn callback(self) -> Option<&'static str> {
        static NAMES: OnceLock<[Option<String>; 4]> = OnceLock::new();
        let names = NAMES.get_or_init(|| {
            [
                CoreEvent::MsgReceived,
                CoreEvent::PreRouting,
                CoreEvent::ParseError,
                CoreEvent::WorkerOneInit,
            ]
            .map(|e| {
                let config = &crate::server().config;
                let off = e == CoreEvent::MsgReceived && config.int("received_route_mode", 0) == 0;
                let native = format!("event_route[{}]", e.name());
                match config.text(e.callback_param()).filter(|s| !s.is_empty()) {
                    _ if off => None,
                    Some(f) => Some(f.to_string()),
                    None => Some(native),
                }
            })
        });
        names[self as usize].as_deref()
    }
}

/// Runs the event's route, if there is one. False where it said `drop`: the message goes no further.
pub fn run(ctx: &mut Ctx, event: CoreEvent) -> bool {
    let Some(route) = event.callback() else {
        return true;
    };
    if !exists(event, route) {
        return true;
    }
    run::call(ctx, route, Some(event.name()), EVENT) != Outcome::Drop
}

/// Whether the routing code that serves has this event's route.
fn exists(event: CoreEvent, route: &str) -> bool {
    thread_local! {
        /// For a generation, a bit per event: it was asked for; there is a route.
        static KNOWN: Cell<(u32, u8, u8)> = const { Cell::new((0, 0, 0)) };
    }
    let bit = 1 << event as u8;
    let now = generation::number();
    let (of, asked, there) = KNOWN.get();
    if of == now && asked & bit != 0 {
        return there & bit != 0;
    }
    let found = run::has(route);
    // Asking may have built a newer generation; what is known of none is not kept.
    let built = generation::number();
    let (asked, there) = if of == built { (asked, there) } else { (0, 0) };
    if built != 0 {
        let there = if found { there | bit } else { there & !bit };
        KNOWN.set((built, asked | bit, there));
    }
    found
}
