//! What the core itself exports to scripts: `KSR.info`, `KSR.is_myself`, `KSR.setflag`, `KSR.hdr.*` …

pub mod flags;
mod hdr;
mod log;
mod message;
mod native_misc;
mod native_send;
mod native_uri;
mod script;

use crate::route::function::Function;
use crate::route::module::Module;

/// The core as a module: always loaded, first.
pub fn module() -> Module {
    let m = Module::new("core")
        .prefix("")
        .doc("What the server offers without any module.")
        .event(
            "core:msg-received",
            "a message has been received; needs received_route_mode",
        )
        .event("core:pre-routing", "a message is about to be routed")
        .event("core:receive-parse-error", "a message can't be read")
        .event("core:worker-one-init", "the first worker is ready")
        .init(init);
    let m = m.answered(
        "core:tkv",
        "there are no groups of async workers whose values it could tell",
    );
    let functions = [
        log::functions(),
        message::functions(),
        flags::functions(),
        hdr::functions(),
        native_misc::functions(),
        native_send::functions(),
        native_uri::functions(),
        script::functions(),
    ];
    let m = functions.into_iter().flatten().fold(m, Module::function);
    let m = crate::rpc::core_cmds::all()
        .into_iter()
        .fold(m, Module::rpc);
    let m = crate::dns::commands().into_iter().fold(m, Module::rpc);
    let m = crate::stats::messages::all()
        .into_iter()
        .fold(m, Module::stat);
    let m = crate::route::run::STATS.iter().fold(m, |m, s| m.stat(s));
    let m = crate::proc::STATS.iter().fold(m, |m, s| m.stat(s));
    let m = crate::dns::STATS.iter().fold(m, |m, s| m.stat(s));
    let m = m.stat(&crate::log::LOST);
    crate::net::tcp::STATS.iter().fold(m, |m, s| m.stat(s))
}

/// What the core shares among all processes.
fn init() -> Result<(), String> {
    let sample = |now| {
        olelo_mem::heap::sample(now);
    };
    crate::timer::every("memory trend", 5_000, crate::timer::Pace::Slow, sample);
    crate::dns::init()
}

/// Functions of the core whose native names belong to the module `kex`, for that module to export.
pub fn of_kex() -> Vec<Function> {
    let mut v = flags::of_kex();
    v.extend(message::of_kex());
    v
}

/// Makes the connection that the message came on usable for requests to its sender's address and
/// this port; to the port in Via where none is given.
pub fn add_tcp_alias(ctx: &mut crate::route::ctx::Ctx, port: Option<u16>) {
    ctx.tcp_alias = port;
    message::alias(ctx);
}
