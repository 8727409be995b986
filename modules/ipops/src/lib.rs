//! The `ipops` module: IP addresses and DNS questions.

#![forbid(unsafe_code)]

use olelo_core::route::module::Module;

/// The module.
pub fn module() -> Module {
    Module::new("ipops").doc("IP addresses and DNS questions.")
}
