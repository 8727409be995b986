//! The `debugger` module: tracing of routing.

#![forbid(unsafe_code)]

use olelo_core::route::module::Module;

/// The module.
pub fn module() -> Module {
    Module::new("debugger").doc("Tracing of routing.")
}
