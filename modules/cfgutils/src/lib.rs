//! The `cfgutils` module: random values, locks, sleeps and other helpers.

#![forbid(unsafe_code)]

use olelo_core::route::module::Module;

/// The module.
pub fn module() -> Module {
    Module::new("cfgutils").doc("Random values, locks, sleeps and other helpers.")
}
