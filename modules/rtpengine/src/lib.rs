//! The `rtpengine` module: relays media with rtpengine.

#![forbid(unsafe_code)]

use olelo_core::route::module::Module;

/// The module.
pub fn module() -> Module {
    Module::new("rtpengine").doc("Relays media with rtpengine.")
}
