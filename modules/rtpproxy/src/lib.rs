//! The `rtpproxy` module: relays media with rtpproxy.

#![forbid(unsafe_code)]

use olelo_core::route::module::Module;

/// The module.
pub fn module() -> Module {
    Module::new("rtpproxy").doc("Relays media with rtpproxy.")
}
