//! The `xhttp` module: HTTP on the SIP sockets.

#![forbid(unsafe_code)]

use olelo_core::route::module::Module;

/// The module.
pub fn module() -> Module {
    Module::new("xhttp").doc("HTTP on the SIP sockets.")
}
