//! What the core itself exports to scripts: `KSR.info`, `KSR.is_myself`, `KSR.setflag`, `KSR.hdr.*` …

mod flags;
mod hdr;
mod log;
mod message;

use crate::route::module::Module;

/// The core as a module: always loaded, first.
pub fn module() -> Module {
    let m = Module::new("core")
        .prefix("")
        .doc("What the server offers without any module.")
        .init(crate::rpc::core_cmds::init);
    let functions = [
        log::functions(),
        message::functions(),
        flags::functions(),
        hdr::functions(),
    ];
    let m = functions.into_iter().flatten().fold(m, Module::function);
    let m = crate::rpc::core_cmds::all()
        .into_iter()
        .fold(m, Module::rpc);
    let m = crate::stats::messages::all()
        .into_iter()
        .fold(m, Module::stat);
    let m = crate::route::run::STATS.iter().fold(m, |m, s| m.stat(s));
    crate::net::tcp::STATS.iter().fold(m, |m, s| m.stat(s))
}
